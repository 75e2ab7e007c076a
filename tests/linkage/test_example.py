"""What linkage/README.md shows of the example is what the program says, in nearly those figures."""

import re

import pytest
import yaml

from linkage.files import read_all
from linkage.suggestions import suggest
from tests import example

NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")


def _words(text: str) -> list[str]:
    """The words, with marks for numbers, without bars and blanks."""
    return NUMBER.sub("#", re.sub("[█▒]", "", text)).split()


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def _texts(svg: str) -> str:
    return "\n".join(re.findall(r"<(?:text|title|desc)[^>]*>([^<]*)<", svg))


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The guide and the picture as they would be made today."""
    return example.made(tmp_path_factory.mktemp("example"))


def test_the_session_and_the_picture_are_of_today(today: tuple[str, str]) -> None:
    """`python -m tests.example` renews both. A weight may be off by half a bit, so that not every
    change to the engine asks for it."""
    guide, picture = (path.read_text(encoding="utf-8") for path in (example.GUIDE, example.PICTURE))
    shown = [
        (example.SESSION.findall(text)[0], _texts(svg)) for text, svg in (today, (guide, picture))
    ]
    for new, old in zip(*shown, strict=True):
        assert _words(new) == _words(old), "run `python -m tests.example`"
        assert _numbers(new) == pytest.approx(_numbers(old), abs=0.5, rel=0.2)


def test_the_picture_is_of_the_pair_that_is_explained(today: tuple[str, str]) -> None:
    """Every field that the session names is in it, with its words."""
    session = example.SESSION.findall(today[0])[0]
    fields = re.findall(r"^([a-z_:]+)  +(\S.*?)  +[+-]\d", session, re.MULTILINE)
    assert len(fields) > 6
    assert all(words in today[1] for _, words in fields)


def test_the_example_is_small_and_made_up() -> None:
    """Some hundred rows, each known to the truth."""
    for side in ("a", "b"):
        rows = (example.FILES / f"{side}.csv").read_text(encoding="utf-8").splitlines()
        truth = (example.FILES / f"truth_{side}.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == len(truth) == 301
        assert [row.split(",")[0] for row in rows] == [row.split(",")[0] for row in truth]


def test_the_plan_of_the_example_is_the_one_suggested() -> None:
    """So that the guide's first step leads to its second."""
    plan = yaml.safe_load((example.FILES / "plan.yaml").read_text(encoding="utf-8"))
    assert suggest(*(read_all(example.FILES / f"{side}.csv") for side in ("a", "b"))) == plan
