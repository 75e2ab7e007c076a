"""SIGKILL at moments drawn by chance, spread so that every process dies in every stage.

A stage is what goes on at a moment: requests that wait for an answer, jobs that run. Each time a
stage is entered, the killer may choose one of the deaths it still owes there, waits for a random
part of the time that the stage usually takes, and kills. What counts is what was going on when the
process stood still, not what was meant.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import pysqlite3.dbapi2 as sqlite
from rich.console import Console
from rich.table import Table

from api.settings import Settings
from tests.crash.processes import Processes
from tests.crash.witness import Witness

STAGES = ("upload", "intake", "linkage", "release", "rotation")
BETWEEN = "between"
_REQUESTS = (
    ("PATCH /uploads", "upload"),
    ("POST /uploads", "upload"),
    ("HEAD /uploads", "upload"),
    ("POST /vault/root", "rotation"),
    ("POST /releases", "release"),
)
_JOBS = {"intake": "intake", "link": "linkage", "build": "release", "envelopes": "release"}
_RUNNING = "SELECT id, kind, attempts FROM job WHERE state = 'running'"
TICK = 0.003
SPARED = 3
"""Attempts of a job after which it is left alone: one that kills five workers is given up, and a
fault (the vault being away, say) has it wait twice as long each time."""

CHANCES = {"upload": 0.15}
"""How often an occasion is taken: an upload is many requests, and any of them is to be met."""

Debt = Counter[tuple[str, str]]
"""(process, stage) → how many deaths are still owed there."""


@dataclass(frozen=True)
class Going:
    """Something that goes on: one request, or one attempt at a job."""

    stage: str
    what: str
    attempts: int = 0


@dataclass
class Score:
    """Deaths so far by process and stage, and how long stages take."""

    deaths: Debt = field(default_factory=Counter)
    lengths: dict[str, list[float]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many processes died."""
        return sum(self.deaths.values())

    def usual(self, stage: str) -> float:
        """Seconds that a stage usually takes, undisturbed."""
        return median(self.lengths.get(stage) or [0.05])

    def show(self, console: Console, processes: Sequence[str]) -> None:
        """The table of deaths."""
        table = Table("killed", *STAGES, BETWEEN, "all", box=None)
        for process in processes:
            counts = [self.deaths[process, stage] for stage in (*STAGES, BETWEEN)]
            table.add_row(process, *map(str, counts), str(sum(counts)))
        console.print(table)


class Killer:
    """Watches one round, and kills in it; `rng` decides where and when."""

    def __init__(
        self,
        settings: Settings,
        processes: Processes,
        witness: Witness,
        score: Score,
        debt: Debt,
        rng: random.Random,
    ) -> None:
        # asked some hundred times a second, so without anything between
        self._database = sqlite.connect(
            settings.data / "schakel.sqlite", isolation_level=None, check_same_thread=False
        )
        self._processes, self._witness = processes, witness
        self._score, self._debt, self._rng = score, debt, rng
        self._since: dict[Going, float] = {}
        self._due: dict[Going, tuple[float, str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.fault: Exception | None = None

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._database.close()

    def going(self) -> set[Going]:
        """What goes on at this moment."""
        requests = (
            Going(stage, f"{number} {request}")
            for number, request in [*self._witness.under_way.items()]
            for start, stage in _REQUESTS
            if request.startswith(start)
        )
        running = self._database.execute(_RUNNING).fetchall()
        jobs = (Going(_JOBS[kind], f"{name} {tries}", tries) for name, kind, tries in running)
        return {*requests, *jobs}

    def _run(self) -> None:
        try:
            while not self._over.wait(TICK):
                self._tick()
        except Exception as fault:
            self.fault = fault

    def _tick(self) -> None:
        try:
            now, going = time.monotonic(), self.going()
        except sqlite.OperationalError:  # the database is being made anew
            return
        for ended in self._since.keys() - going:
            self._score.lengths.setdefault(ended.stage, []).append(now - self._since.pop(ended))
            self._due.pop(ended, None)
        for begun in going - self._since.keys():
            self._since[begun] = now
            self._choose(begun, now)
        for due, (moment, process) in [*self._due.items()]:
            if moment <= now:
                del self._due[due]
                self._kill(process)

    def _choose(self, begun: Going, now: float) -> None:
        """One of the deaths that are owed in this stage, or none this time."""
        owed = sorted(process for (process, stage), n in self._debt.items()
                      if stage == begun.stage and n > 0)  # fmt: skip
        chance = CHANCES.get(begun.stage, 0.8)
        if owed and begun.attempts < SPARED and self._rng.random() < chance:
            wait = self._rng.random() * self._score.usual(begun.stage)
            self._due[begun] = (now + wait, self._rng.choice(owed))

    def _kill(self, process: str) -> None:
        seen = self._processes.kill(process, self.going)
        if seen is None:  # it isn't there just now
            return
        stages = {going.stage for going in seen} or {BETWEEN}
        for stage in stages:
            self._score.deaths[process, stage] += 1
            self._debt[process, stage] -= 1


def owed(pairs: Iterable[tuple[str, str]], each: int) -> Debt:
    """So many deaths for each pair of process and stage."""
    return Counter(dict.fromkeys(pairs, each))


def still_owed(debt: Mapping[tuple[str, str], int]) -> int:
    """How many deaths are left to die."""
    return sum(max(n, 0) for n in debt.values())
