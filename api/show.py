"""How the command line speaks: tables and progress for people, JSON for programs."""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

Tell = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and of how much."""

DONE, REFUSED, BAD_INPUT = 0, 1, 2
"""Exit codes: done; refused or failed; bad input."""


class Screen:
    """Where answers go: standard output; everything about the way there goes to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Names and titles are other people's: nothing in them is markup.
        plain: Any = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}
        self.out = Console(**plain)
        self.err = Console(stderr=True, **plain)

    def answer(self, value: Any, *, text: str | None = None) -> None:
        """One answer: JSON for programs, otherwise the text or the value's fields in lines."""
        if self.as_json:
            json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
            sys.stdout.write("\n")
        elif text is not None:
            self.line(text)
        else:
            self.fields(value)

    def line(self, text: str, *, aside: bool = False) -> None:
        """A line (or more) of an answer for people; `aside` of it, on standard error."""
        (self.err if aside else self.out).print(_harmless(text))

    def fields(self, value: Mapping[str, Any], *, aside: bool = False) -> None:
        """A thing's fields, one a line; `aside` of the answer they go to standard error."""
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, field in value.items():
            table.add_row(name.replace("_", " "), _plain(field))
        self._print(table, self.err if aside else self.out)

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Rows as a table, or as JSON with everything in them."""
        if self.as_json:
            self.answer(list(rows))
            return
        if not rows:
            self.line("none")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_plain(row.get(column)) for column in columns))
        self._print(table, self.out)

    @staticmethod
    def _print(table: Table, where: Console) -> None:
        """Without the blanks that fill a table up on the right."""
        with where.capture() as captured:
            where.print(table)
        for line in captured.get().splitlines():
            where.print(line.rstrip())

    def note(self, text: str) -> None:
        """A remark on the way; never in the answer."""
        if not self.as_json:
            self.err.print(_harmless(text))

    def fail(self, problem: Mapping[str, Any], code: int) -> int:
        """What went wrong and what to do next; the exit code comes back."""
        if self.as_json:
            json.dump(problem, sys.stderr, indent=2, ensure_ascii=False)
            sys.stderr.write("\n")
        else:
            self.err.print(_harmless(str(problem.get("detail", ""))), style="red")
            if problem.get("next_step"):
                self.err.print(_harmless(str(problem["next_step"])))
        return code

    @contextmanager
    def progress(self) -> Iterator[Tell]:
        """A progress bar on standard error; silent for programs and where nobody looks."""
        shown = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
            disable=self.as_json or not self.err.is_terminal,
        )
        with shown:
            task = shown.add_task("", total=None)

            def tell(stage: str, done: int, total: int) -> None:
                shown.update(
                    task, description=stage, completed=min(done, total), total=total or None
                )

            yield tell


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(field)}" for name, field in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return _harmless(str(value))


def _harmless(text: str) -> str:
    """The text without characters that would move the cursor or turn the line around: what is
    shown before somebody signs is what stands there."""
    return "".join(
        "\ufffd"
        if unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign not in "\n\t"
        else sign
        for sign in text
    )
