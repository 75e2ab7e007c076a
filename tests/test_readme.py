"""The README's session is run as a newcomer would run it, and prints what it shows."""

import re
import shutil
from pathlib import Path

import pytest

from tests import readme
from tests.conftest import missing


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The session's blocks as they stand in the README."""
    return readme.BLOCK.findall(readme.README.read_text(encoding="utf-8"))


def test_the_session_prints_what_the_readme_shows(blocks: list[str], tmp_path: Path) -> None:
    """Ids, keys, hashes and sizes aside; `python -m tests.readme` renews it."""
    for program in ("jq", "age", "curl"):
        if shutil.which(program) is None:
            missing(f"the program `{program}`, which the README's session uses, is not installed")
    assert len(blocks) >= 7
    played = readme.play(blocks, tmp_path)
    for shown, printed in zip(blocks, played, strict=True):
        assert readme.normal(printed) == readme.normal(shown)


def test_the_two_commands_and_the_figures_come_first() -> None:
    """Two sentences, two commands, what came out."""
    text = readme.README.read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test") < text.index("<!-- demo -->")
    assert text.index("<!-- demo -->") < 1500
    targets = re.findall(r"^(\w+):", (readme.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "lint", "bench"} <= set(targets)


def test_every_file_the_readme_points_at_is_there() -> None:
    """No dead links in any page of the tree."""
    for page in (readme.README, *readme.ROOT.glob("*/README.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
