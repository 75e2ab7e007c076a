"""The example in policies/disclosure/README.md is what the program prints."""

import re
from pathlib import Path

import pytest

from api.cli import run

ROOT = Path(__file__).parents[2]
README = ROOT / "policies" / "disclosure" / "README.md"
EXAMPLE = re.compile(r"(?<=<!-- assess -->\n```console\n).*?(?=```\n<!-- /assess -->)", re.DOTALL)


def test_the_readmes_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run it, compare it line by line."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "96")
    found = EXAMPLE.search(README.read_text(encoding="utf-8"))
    assert found is not None
    command, *shown = found[0].splitlines()
    assert run(command.removeprefix("$ schakel ").split()) == 0
    assert capsys.readouterr().out.splitlines() == shown
