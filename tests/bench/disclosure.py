"""`make bench-disclosure`: disclosure measures, and what would mend a file, beside their peers.

    make bench-disclosure ARGS="--only k suda"

Each side of a row runs in a process of its own that first makes its data (not timed) and then works
on it several times; the best time on the wall counts, and beside it stand the seconds of all
processors together and the most memory that the first time took on top of the data. Peers that live
in environments of their own come from `tests.bench.peers`; where one can't be had here, its figure
is printed as it was given. A figure that isn't reached is printed as it is; nothing is tried twice.

A module with rows has two dictionaries: `SIDES`, by name a function without arguments that makes
the data and returns the work; and `ROWS`, by name a function from a `Bench` to `Figure`s.
"""

import argparse
import ctypes
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

MODULES: Final = ("tests.bench.disclosure_measures", "tests.bench.mildest")
"""Where sides and rows come from."""

_ENOUGH: Final = 3.0
"""Seconds after which a side isn't repeated any more."""
_REPEATS: Final = 9

Prepare = Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Run:
    """What one side took: the best time, seconds of all processors then, and memory in bytes on top
    of its data."""

    seconds: float
    processor: float
    extra: int
    answer: Any = None
    """What the work returned, where it is a number or a list or dictionary of some."""

    @property
    def mib(self) -> str:
        """Memory, to read."""
        return f"{self.extra / (1 << 20):,.0f}"


@dataclass(frozen=True)
class Figure:
    """One line: what was done, ours, the peer's, and a value to be at most (or at least)
    `reach`."""

    what: str
    ours: Run | None
    beside: str
    value: float
    unit: str
    reach: float
    aim: float
    at_least: bool = False

    def verdict(self) -> str:
        """Whether it is reached."""
        good = [self.value >= x if self.at_least else self.value <= x for x in self._wanted()]
        return "aim" if good[1] else "reached" if good[0] else "NOT reached"

    def _wanted(self) -> tuple[float, float]:
        return self.reach, self.aim


class Bench:
    """Runs sides, each in a fresh process."""

    def run(self, side: str) -> Run:
        """One side; asked for twice it runs once."""
        if side not in self._ran:
            command = [sys.executable, "-m", "tests.bench.disclosure", "--side", side]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            self._ran[side] = Run(**json.loads(said.stdout.splitlines()[-1]))
        return self._ran[side]

    def __init__(self) -> None:
        self._ran: dict[str, Run] = {}

    def ratio(
        self, what: str, ours: str, theirs: str, peer: str, reach: float, aim: float
    ) -> list[Figure]:
        """Our time as a share of a peer's, in the same run."""
        a, b = self.run(ours), self.run(theirs)
        beside = f"{peer}: {b.seconds:.3f} s, {b.mib} MiB"
        return [Figure(what, a, beside, a.seconds / b.seconds, "×", reach, aim)]

    def seconds(self, what: str, ours: str, given: str, reach: float, aim: float) -> list[Figure]:
        """Our time against a fixed one."""
        a = self.run(ours)
        return [Figure(what, a, given, a.seconds, "s", reach, aim)]


def sides() -> Mapping[str, Prepare]:
    """Every side of every module."""
    return {k: v for module in MODULES for k, v in import_module(module).SIDES.items()}


def rows() -> Mapping[str, Callable[[Bench], list[Figure]]]:
    """Every row of every module."""
    return {k: v for module in MODULES for k, v in import_module(module).ROWS.items()}


def measured(prepare: Prepare) -> Run:
    """Do the work of a side several times in this process."""
    work = prepare()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the data's making left behind isn't there to be used
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _memory("VmRSS:")
    runs: list[tuple[float, float]] = []
    extra, begun, answer = 0, time.perf_counter(), None
    while len(runs) < _REPEATS and (not runs or time.perf_counter() - begun < _ENOUGH):
        wall, processor = time.perf_counter(), _processor()
        answer = work()
        runs.append((time.perf_counter() - wall, _processor() - processor))
        extra = extra or _memory("VmHWM:") - before
    best = min(runs)
    simple = answer if isinstance(answer, int | float | list | dict) else None
    return Run(best[0], best[1], max(extra, 0), simple)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory(which: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(which))


def main() -> None:
    """Print every row, or those that are asked for."""
    parser = argparse.ArgumentParser(description="Disclosure measures beside their peers.")
    parser.add_argument("--only", nargs="+", choices=sorted(rows()), help="rows to print")
    parser.add_argument("--side", choices=sorted(sides()), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(vars(measured(sides()[asked.side]))))
        return
    bench = Bench()
    titles = ("work", "seconds", "processor", "MiB", "beside", "value", "reach", "aim", "verdict")
    table = Table(*titles, box=None)
    for name in asked.only or list(rows()):
        try:
            figures = rows()[name](bench)
        except subprocess.CalledProcessError as failed:
            table.add_row(name, "", "", "", (failed.stderr.splitlines() or ["failed"])[-1])
            continue
        for one in figures:
            shown = ["", "", ""]
            if one.ours is not None:
                shown = [f"{one.ours.seconds:.3f}", f"{one.ours.processor:.3f}", one.ours.mib]
            wanted = [f"{x:.3g} {one.unit}" for x in (one.value, one.reach, one.aim)]
            table.add_row(one.what, *shown, one.beside, *wanted, one.verdict())
        print(name, "done", file=sys.stderr)
    Console(highlight=False, width=200).print(table)


if __name__ == "__main__":
    main()
