"""`make crash`: two hundred deaths and more, every crash point, and the figures."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.crash.killer import STAGES, Score, owed, still_owed
from tests.crash.points import POINTS, CrashPoints
from tests.crash.processes import APART, EMBEDDED, Nursery
from tests.crash.rounds import Rounds
from tests.crash.story import small_requests


def main() -> int:
    """Run it all; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="tests.crash")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2026)
    given = parser.parse_args()
    console = Console()
    small_requests(setattr)
    with tempfile.TemporaryDirectory() as folder:
        wrong = [
            *_deaths(console, Path(folder) / "rounds", given.kills, given.seed),
            *_points(console, Path(folder) / "points"),
        ]
    for fault in wrong:
        console.print(fault, markup=False)
    console.print("Nothing was lost, and nothing differs." if not wrong else "That must not be.")
    return int(bool(wrong))


def _deaths(console: Console, folder: Path, kills: int, seed: int) -> list[str]:
    """Deaths at random moments, spread over every process and stage."""
    wrong = []
    with Nursery() as nursery:
        rounds = Rounds(folder, nursery)
        for names, share in ((EMBEDDED, kills // 5), (APART, kills)):
            rounds.score = Score()
            begun = time.monotonic()
            pairs = [(process, stage) for process in names for stage in STAGES]
            debt = owed(pairs, -(-share // len(pairs)))
            wrong += rounds.kill(names, debt, seed, most_rounds=kills)
            rounds.score.show(console, names)
            seconds = time.monotonic() - begun
            console.print(f"{rounds.score.total} deaths in {seconds:.0f} s, seed {seed}.")
            if still_owed(debt):
                wrong.append(f"{still_owed(debt)} deaths were never died")
    return wrong


def _points(console: Console, folder: Path) -> list[str]:
    """A death at each call that makes something durable."""
    wrong, points = [], CrashPoints(folder)
    for kind in POINTS:
        begun, found = time.monotonic(), list(points.enumerate(kind))
        wrong += [fault for faults in found for fault in faults]
        seconds = time.monotonic() - begun
        console.print(f"{kind}: {len(found)} crash points in {seconds:.0f} s.")
        if not found:
            wrong.append(f"{kind} has no crash point")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
