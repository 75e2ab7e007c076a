"""Several worker processes on one queue, and what one does that was thought dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError

from api import store
from api.settings import Settings
from api.store import Job


class Workers:
    """Worker processes of a folder, each with a log; `with` ends them."""

    def __init__(self, settings: Settings, lease: int = 1) -> None:
        self._settings, self._lease = settings, lease
        self._processes: list[subprocess.Popen[bytes]] = []
        self._engine = store.connect(settings.database)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._engine.dispose()

    def start(self) -> int:
        """One more; its number."""
        number = len(self._processes)
        with self._log(number).open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.crash.step", str(self._settings.data), "forever"],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "SCHAKEL_LEASE_SECONDS": str(self._lease)},
                )
            )
        return number

    def _log(self, number: int) -> Path:
        return self._settings.data.parent / f"{self._settings.data.name}-worker-{number}.log"

    def told(self, number: int) -> str:
        """What a worker wrote into its log."""
        return self._log(number).read_text()

    def pause(self, number: int) -> None:
        """Let it stand still, but not while everybody would wait for it: it holds no lock."""
        while True:
            self._processes[number].send_signal(signal.SIGSTOP)
            if _writable(self._engine):
                return
            self.go_on(number)
            time.sleep(0.002)

    def go_on(self, number: int) -> None:
        """Let it wake up again."""
        self._processes[number].send_signal(signal.SIGCONT)

    def jobs(self, state: str) -> int:
        """How many jobs are in a state."""
        with store.reading(self._engine) as session:
            counted = session.scalar(select(func.count()).where(Job.state == state))
            return int(counted or 0)


def _writable(engine: Engine) -> bool:
    """Whether nobody holds the write lock."""
    with engine.connect().execution_options(read_only=True) as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
        try:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            return False
        finally:
            connection.exec_driver_sql("PRAGMA busy_timeout=30000")
        return True


def soon(reached: Callable[[], bool], seconds: float = 30.0, every: float = 0.002) -> None:
    """Wait for something to be so."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError("it didn't come")
        time.sleep(every)
