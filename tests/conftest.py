"""What every test shares: a fixed random path, and outside parts named when they're missing."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def missing(reason: str) -> None:
    """Skip on somebody's laptop, fail in CI: a check that nobody ran is no check."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of outside vectors (Wycheproof, Merkle proofs, Adult)."""
    if not VECTORS.is_dir():
        missing("the outside vectors (../shared/vectors) are not here")
    return VECTORS


@pytest.fixture(scope="session")
def age_program() -> str:
    """Debian's `age`, an implementation of the format that isn't ours."""
    program = shutil.which("age")
    if program is None:
        missing("the program `age` is not installed (Debian package age)")
    assert program is not None
    return program
