"""Crash points, one after the other: killed at the n-th call that makes something durable.

`strace` delivers SIGKILL as the n-th fsync, fdatasync or rename of a thread begins, so that every
boundary between two durable states is met, SQLite's own among them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from api.service import Service
from api.settings import Clock, Settings
from api.worker import Worker
from tests.crash.outcome import Outcome, copied, faults, finish_rotation, outcome, plaintext
from tests.crash.stages import Stages
from tests.crash.witness import Witness

CALLS = "fsync,fdatasync,rename,renameat,renameat2"
POINTS = ("intake", "link", "build", "envelopes", "rotation")
LATER = Clock(timedelta(minutes=2))
"""When every lease of the dead has run out."""


class CrashPoints:
    """Each stage of a story, killed at one point and gone on with."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stages = folder, Stages(folder / "stages")
        self._expected: dict[str, Outcome] = {}

    def fault_at(self, kind: str, number: int) -> list[str] | None:
        """What is wrong after a death at the n-th call; None when there are fewer calls."""
        settings = self._copied(kind, f"{kind}-{number}")
        if not _killed(settings.data, kind, number):
            return None
        self._go_on(settings)
        found = [*faults(settings, Witness()), *self._ends(settings).differences(self._end(kind))]
        shutil.rmtree(settings.data)
        return [f"{kind}, killed at call {number}: {fault}" for fault in found]

    def enumerate(self, kind: str) -> Iterator[list[str]]:
        """What is wrong after a death at the first call, at the second, and so on."""
        number = 1
        while (found := self.fault_at(kind, number)) is not None:
            yield found
            number += 1

    def _copied(self, kind: str, name: str) -> Settings:
        source = "nothing" if kind == "rotation" else kind
        return copied(self._stages.folders[source], self._folder / name)

    def _end(self, kind: str) -> Outcome:
        """What the stage comes to when nobody dies."""
        if kind not in self._expected:
            settings = self._copied(kind, f"{kind}-undisturbed")
            self._go_on(settings)
            assert not faults(settings, Witness())
            self._expected[kind] = self._ends(settings)
        return self._expected[kind]

    def _ends(self, settings: Settings) -> Outcome:
        return outcome(settings, self._stages.story.scope, plaintext(settings))

    @staticmethod
    def _go_on(settings: Settings) -> None:
        """What `schakel serve` does when it starts again, until nothing is left to do."""
        service = Service.open(settings, LATER)
        finish_rotation(service)
        worker = Worker(service)
        while worker.step():
            pass
        service.engine.dispose()


def _killed(data: Path, kind: str, number: int) -> bool:
    """Whether the process that does this stage died at that call; else it did it all."""
    tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
              "-e", f"inject={CALLS}:signal=KILL:when={number}"]  # fmt: skip
    ended = subprocess.run(
        [*tracer, sys.executable, "-m", "tests.crash.step", str(data), kind],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    if ended.returncode not in (0, -9, 137):
        raise RuntimeError(ended.stderr.decode()[-2000:])
    return ended.returncode != 0
