"""Documents that the program writes itself; `python -m tests.documents` renews them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import typer
import yaml
from typer.testing import CliRunner

from api import cli, problems
from policies import access, applications
from policies.coarsening import parse_rule

ROOT = Path(__file__).parents[1]


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The text with everything between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, make in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert pattern.search(text), f"the marks for {name} are missing"
        made = make()
        text = pattern.sub(lambda match, made=made: match[1] + made + match[2], text)
    return text


def diagram() -> str:
    """The application's states."""
    return f"```mermaid\n{applications.diagram()}```\n"


RULES = """
age: {reference_date: 2025-12-31}
age_class: {reference_date: {"2024": 2024-12-31, "2025": 2025-12-31}, breaks: [15, 20, 25, 30]}
week: {}
quarter: {}
year: {}
geography: {level: arrondissement, situation: 2025}
urbanisation: {situation: 2025, override: {"11002": 1}}
nationality: {groups: origin}
nace: {level: A38, version: 2025}
round: {to: 100}
significant: {digits: 2}
top_code: {at: 15000}
bottom_code: {at: 0}
classes: {breaks: [0, 1000, 2500]}
size_class: {scheme: rsz}
percentile: {groups: 10, over: universe}
yes_no: {codes: [W, Z]}
keep: {}
"""
"""One example of each step of a rule."""


def rules() -> str:
    """What each step does, in its own words."""
    rows = ["| step, for instance | what the data dictionary says |", "|---|---|"]
    for line in RULES.strip().splitlines():
        said = parse_rule([yaml.safe_load(line)]).describe("en")
        rows.append(f"| `{{{line}}}` | {said} |")
    return "\n".join(rows) + "\n"


def help_texts() -> str:
    """What every command says about itself."""
    lines = []
    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb"})
    for words in _commands(typer.main.get_command(cli.app), ()):
        told = runner.invoke(cli.app, [*words, "--help"], prog_name="schakel").stdout
        lines.append(
            f"### schakel {' '.join(words)}\n\n```\n{_trimmed(told)}```\n".replace(" \n", "\n")
        )
    return "\n".join(lines)


def _commands(command: click.Command, words: tuple[str, ...]) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [words]
    return [found for name, child in inner.items() for found in _commands(child, (*words, name))]


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


GENERATED: Mapping[str, tuple[Path, Mapping[str, Callable[[], str]]]] = {
    "policies": (
        ROOT / "policies" / "README.md",
        {
            "diagram": diagram,
            "states": applications.table,
            "actions": access.table,
            "rules": rules,
        },
    ),
    "api": (
        ROOT / "api" / "README.md",
        {"problems": problems.table, "help": help_texts},
    ),
}


def main() -> None:
    """Renew every document."""
    for path, parts in GENERATED.values():
        path.write_text(filled(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main()
