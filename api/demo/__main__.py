"""`make demo`: play the story and write its figures to report.json."""

import argparse
import shutil
from pathlib import Path

from rich.console import Console

from api.demo.cast import Cast
from api.demo.story import Story
from api.demo.summary import show

FEWEST = 1000


def main() -> None:
    """Read the size from the command line, play, show what came out."""
    parser = argparse.ArgumentParser(prog="api.demo", description=__doc__)
    parser.add_argument("--persons", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=Path("var/demo"))
    given = parser.parse_args()
    if given.persons < FEWEST:
        parser.error(f"a story needs {FEWEST} persons at least: nobody can hide among fewer")
    console = Console(highlight=False)
    shutil.rmtree(given.out, ignore_errors=True)
    report = Story(given.persons, given.seed, given.out, console).run(Cast(given.out))
    show(report, given.out, console)


if __name__ == "__main__":
    main()
