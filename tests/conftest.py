"""What every test shares: a fixed random path, and outside parts named when they're missing."""

import os
import shutil
from collections.abc import Iterator
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

COVERING = ("tests/keyvault/", "tests/policies/test_permits.py", "tests/policies/test_access.py")
"""The tests that must reach every branch of keyvault, permits and access (`make test`)."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count branches in those tests only: watching all the others would cost them half their time
    again, and a line that some journey comes by isn't a line that somebody checked."""
    watching = item.config.pluginmanager.getplugin("_cov")
    if watching is None or watching.cov_controller is None or item.nodeid.startswith(COVERING):
        return (yield)
    watching.cov_controller.pause()
    try:
        return (yield)
    finally:
        watching.cov_controller.resume()


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
