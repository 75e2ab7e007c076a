"""What linkage/README.md shows of the example is what the program says today."""

from pathlib import Path

from tests import example


def test_the_session_and_the_picture_are_of_today(tmp_path: Path) -> None:
    """Run `python -m tests.example` where they aren't."""
    text, picture = example.made(tmp_path)
    assert text == example.GUIDE.read_text(encoding="utf-8")
    assert picture == example.PICTURE.read_text(encoding="utf-8")
