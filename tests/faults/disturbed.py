"""One act with one fault in one system call, by `strace`; and where there are calls to fail."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.powerloss import RECORDED

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "link", "linkat",
    "unlink", "unlinkat", "ftruncate", "mkdir",
)  # fmt: skip
FAULTS = {"KILL": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
PATIENCE = 60.0
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")


@dataclass(frozen=True)
class Site:
    """A call that an act makes: what is called, on what, and the how manieth it is in a thread."""

    call: str
    target: str
    number: int


@dataclass(frozen=True)
class Ended:
    """What became of an act: what it acknowledged (None: nothing was heard), and how it went."""

    told: dict[str, Any] | None
    seconds: float
    log: str


class Acting:
    """Starts acts in processes of their own and disturbs them; `with` ends the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.acts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "Acting":
        return self

    def __exit__(self, *_: object) -> None:
        self._nursery.communicate()

    def run(
        self,
        asked: dict[str, Any],
        *injections: str,
        trace: str = "none",
        ready: Callable[[], object] = lambda: None,
    ) -> Ended:
        """Do an act with injections; `trace` names the calls that the log shall hold.

        `ready` is called when everything but the act itself has been done.
        """
        path = self._folder / "told"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
            heard.bind(str(path))
            pid = self._born({**asked, "told": str(path), "log": str(self._folder / "act.log")})
            log = self._folder / "strace.log"
            tracer = _attached(pid, log, injections, trace)
            begun = time.monotonic()
            try:
                ready()
                os.kill(pid, signal.SIGCONT)
                ready, _, _ = select.select([heard, _Death(pid)], [], [], PATIENCE)
                told = json.loads(heard.recv(1 << 20)) if heard in ready else None
                seconds = time.monotonic() - begun
            finally:
                _end(pid)
                tracer.wait(timeout=PATIENCE)
        return Ended(told, seconds, log.read_text())

    def _born(self, asked: dict[str, Any]) -> int:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(asked) + "\n")
        self._nursery.stdin.flush()
        pid = int(self._nursery.stdout.readline())
        until = time.monotonic() + PATIENCE
        while _state(pid) != "T":
            if time.monotonic() > until or _state(pid) is None:
                raise RuntimeError(f"the act isn't ready: {Path(asked['log']).read_text()[-2000:]}")
            time.sleep(0.002)
        return pid

    def sites(self, asked: dict[str, Any]) -> Iterator[Site]:
        """The calls that an undisturbed act makes, told apart by what they are called on."""
        ended = self.run(asked, trace=",".join(CALLS))
        if ended.told is None or ended.told["status"] >= 300:
            raise RuntimeError(f"undisturbed, the act ended with {ended.told}")
        counts = Counter[tuple[str, str]]()
        for line in ended.log.splitlines():
            found = _LINE.match(line)
            if found and "resumed" not in found[3][:20]:
                counts[found[1], found[2]] += 1
                yield Site(found[2], _target(found[3]), counts[found[1], found[2]])


def _target(arguments: str) -> str:
    """What kind of file a call is about: strace writes a descriptor's path behind it."""
    for pattern, kind in (
        (r"sqlite-wal", "log"), (r"sqlite-shm", "index"), (r"sqlite", "database"),
        (r"objects/\w+/[\w-]+\.new", "unfinished object"), (r"objects/\w+/[\w-]+", "object"),
        (r"objects/\w+", "objects' folder"), (r"root\.json|/keys/", "root key"),
        (r"/memfd|pipe:|anon_inode|socket:|eventfd", "memory"),
    ):  # fmt: skip
        if re.search(pattern, arguments):
            return kind
    return "other"


def _attached(
    pid: int, log: Path, injections: tuple[str, ...], trace: str
) -> "subprocess.Popen[bytes]":
    named = {injection.partition(":")[0] for injection in injections} - {""}
    calls = ",".join([*named, *([trace] if trace != "none" else [])]) or "none"
    command = ["strace", "-f", "-y", "-p", str(pid), "-o", str(log), "-e", f"trace={calls}"]
    command += ["-e", "signal=none"]
    if trace == RECORDED:  # with all that was written, in hexadecimal digits
        command += ["-xx", "-s", str(1 << 28)]
    for injection in injections:
        command += ["-e", f"inject={injection}"]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE
    while not _traced(pid):
        if time.monotonic() > until or tracer.poll() is not None:
            raise RuntimeError("strace can't attach")
        time.sleep(0.002)
    return tracer


def _traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return re.search(r"TracerPid:\s+[1-9]", status) is not None


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until = time.monotonic() + PATIENCE
    while _state(pid) not in (None, "Z") and time.monotonic() < until:
        time.sleep(0.002)


class _Death:
    """Something that `select` wakes up for when a process has ended."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)

    def fileno(self) -> int:
        """The process's descriptor."""
        return self._handle

    def __del__(self) -> None:
        os.close(self._handle)
