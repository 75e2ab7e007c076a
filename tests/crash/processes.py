"""A service's processes, kept up as an operating system's supervisor would, and killed at will."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
NAMES = ("api", "worker")


class Nursery:
    """The process that others are forked from (`tests.crash.nursery`); `with` ends it."""

    def __init__(self, lease: int = 2) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SCHAKEL_LEASE_SECONDS": str(lease), "OPENBLAS_NUM_THREADS": "1"},
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
    """`schakel serve` over one folder, on one port that stays the same."""

    def __init__(self, data: Path, nursery: Nursery) -> None:
        self._nursery, self._port = nursery, _free_port()
        self._arguments = ["serve", "--data", str(data), "--port", str(self._port)]
        self.log = data.parent / "service.log"
        self._seen: set[int] = set()
        self._main: int | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it; whoever talks to it waits by asking again."""
        self._main = self._nursery.born(self._arguments, self.log)

    def pid(self, name: str) -> int | None:
        """The process of that name, if it is alive now."""
        if self._main is None or not alive(self._main):
            return None
        if name == "api":
            return self._main
        workers = _workers(self._main)
        self._seen.update(workers)
        return workers[0] if workers else None

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
            if name == "api":
                self.pid("worker")  # outlives it for the rest of its job
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: not alive(pid), 30.0)
            if name == "api":
                self.start()
            return seen
        return None

    def stop(self) -> None:
        """End everything in good order; a worker that outlived its parent ends after its job."""
        if self._main is not None:
            self.pid("worker")
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._main, signal.SIGTERM)
            self._seen.add(self._main)
        _wait_until(lambda: not any(alive(pid) for pid in self._seen), 40.0)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
