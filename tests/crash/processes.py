"""A service's processes, kept up as an operating system's supervisor would, and killed at will."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
EMBEDDED = ("api", "worker")
"""The processes of `schakel serve`: the second is the first one's child, and kept by it."""
APART = ("vault", "api", "intake", "linkage", "release")
"""The processes of `schakel serve --roles …`, one each."""


class Nursery:
    """The process that others are forked from (`tests.crash.nursery`); `with` ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def born(self, arguments: list[str], log: Path) -> int:
        """A new process that runs `schakel` with these arguments; its id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"arguments": arguments, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Processes:
    """A service over one folder, on one port that stays the same: embedded, or roles apart."""

    def __init__(self, data: Path, nursery: Nursery, names: tuple[str, ...]) -> None:
        self.names, self._nursery, self._port = names, nursery, _free_port()
        self._arguments = ["serve", "--data", str(data), "--port", str(self._port)]
        self.log = data.parent / "service.log"
        self._pids: dict[str, int] = {}
        self._seen: set[int] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it; whoever talks to it waits by asking again."""
        for name in self.names:
            self._start(name)

    def _start(self, name: str) -> None:
        if name != "worker":
            role = [] if self.names == EMBEDDED else ["--roles", name]
            self._pids[name] = self._nursery.born([*self._arguments, *role], self.log)
            self._seen.add(self._pids[name])

    def pid(self, name: str) -> int | None:
        """The process of that name, if it is alive now."""
        if name == "worker":
            workers = _workers(self._pids["api"])
            self._seen.update(workers)
            return workers[0] if workers else None
        return self._pids[name] if alive(self._pids[name]) else None

    def kill(self, name: str, look: Callable[[], T]) -> T | None:
        """SIGKILL, and start anew what nobody else does; what `look` saw of the frozen moment.

        The process is stopped first, so that what is seen is what it is killed in.
        """
        pid = self.pid(name)
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            seen = look()
            if self.names == EMBEDDED:
                self.pid("worker")  # outlives its parent for the rest of its job
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: not alive(pid), 30.0)
            self._start(name)
            return seen
        return None

    def stop(self) -> None:
        """End everything in good order; a worker that outlived its parent ends after its job."""
        if self.names == EMBEDDED:
            self.pid("worker")
        try:
            for pid in reversed(self._pids.values()):  # the vault last
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                _wait_until(lambda pid=pid: not alive(pid), 30.0)  # type: ignore[misc]
            _wait_until(lambda: not any(map(alive, self._seen)), 40.0)
        finally:
            for pid in filter(alive, self._seen):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process is there, or any thread of it: it holds its port until the last is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(reached: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError("a process of the service doesn't end")
        time.sleep(0.02)


def _workers(parent: int) -> list[int]:
    """The workers among the children: multiprocessing keeps a resource tracker beside them."""
    return [pid for pid in _children(parent) if b"spawn_main" in _command_line(pid)]


def _children(parent: int) -> Iterator[int]:
    for listing in Path(f"/proc/{parent}/task").glob("*/children"):  # each thread has its own
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from (int(text) for text in listing.read_text().split())


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _free_port() -> int:
    """A port that nobody is given by chance while the service is away: below those for clients."""
    for port in random.SystemRandom().sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("a hundred ports are taken")
