"""Rounds of one story: the first undisturbed, every other one with processes dying in it."""

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from api.demo.population import PERIODS
from tests.crash.killer import Debt, Killer, Score, still_owed
from tests.crash.outcome import (
    Outcome,
    copied,
    faults,
    files_of,
    outcome,
    wait_for_jobs,
    whoever_delivered,
)
from tests.crash.processes import EMBEDDED, Nursery, Processes
from tests.crash.story import Story, Troupe, patiently
from tests.crash.witness import Witness


@dataclass(frozen=True)
class Round:
    """How one round ended."""

    faults: list[str]
    outcome: Outcome
    seconds: float


class Rounds:
    """A founded service as a snapshot, and rounds that begin from it."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self._folder, self._snapshot = folder, folder / "snapshot"
        self._nursery = nursery
        self.score = Score()
        self._troupe = Troupe(folder / "founding")
        self.story = Story(self._troupe)
        self._found()
        self._expected: dict[tuple[str, ...], Outcome] = {}

    def _found(self) -> None:
        self._troupe.found()
        processes = Processes(self._troupe.settings.data, self._nursery, EMBEDDED)
        witness = Witness()
        processes.start()
        try:
            self._troupe.meet(processes.address, witness)
            patiently(self._troupe["admin-1"].public)
            self.story.begin()
        finally:
            self._troupe.part()
            processes.stop()
        shutil.copytree(self._troupe.settings.data, self._snapshot)

    def expected(self, periods: tuple[str, ...]) -> Outcome:
        """What the story comes to when nobody is killed."""
        if periods not in self._expected:
            undisturbed = self.play(periods, EMBEDDED, Debt(), random.Random(0))
            assert not undisturbed.faults, undisturbed.faults
            self._expected[periods] = undisturbed.outcome
        return self._expected[periods]

    def play(
        self, periods: tuple[str, ...], names: tuple[str, ...], debt: Debt, rng: random.Random
    ) -> Round:
        """One round from a fresh copy of the snapshot."""
        place = self._folder / "round"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        settings, witness = copied(self._snapshot, place / "service"), Witness()
        processes = Processes(settings.data, self._nursery, names)
        begun = time.monotonic()
        processes.start()
        try:
            self._troupe.meet(processes.address, witness)
            with Killer(settings, processes, witness, self.score, debt, rng) as killer:
                packages = self.story.tell(place, periods)
            if killer.fault is not None:
                raise killer.fault
            wait_for_jobs(settings)
        except Exception as error:
            error.add_note("The service's log ends with:\n" + processes.log.read_text()[-3000:])
            raise
        finally:
            self._troupe.part()
            processes.stop()
        return Round(
            faults(settings, witness),
            outcome(settings, self.story.scope, whoever_delivered(settings, files_of(packages))),
            time.monotonic() - begun,
        )

    def kill(self, names: tuple[str, ...], debt: Debt, seed: int, most_rounds: int) -> list[str]:
        """Rounds until every owed death was died; what was wrong in any of them, with its seed.

        What is expected is what the embedded service made undisturbed, whoever plays now.
        """
        wrong = []
        for number in range(most_rounds):
            if not still_owed(debt):
                break
            rng = random.Random(f"{seed} {number}")
            periods = PERIODS if number % 3 == 2 else PERIODS[:1]
            expected = self.expected(periods)
            ended = self.play(periods, names, debt, rng)
            told = [*ended.faults, *ended.outcome.differences(expected)]
            wrong += [f"round {number} of seed {seed}: {fault}" for fault in told]
        return wrong
