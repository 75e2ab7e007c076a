"""Whether a process that a row names is over, told without waiting for its lease to run out.

A process is named by where it can be seen (the machine's start, the namespace of process ids), its
id and the moment it began, so that neither a restart nor a number given anew is mistaken for it.
Only what can be seen from here is ever said to be over: of another machine, container or system
nothing is known, and leases decide.
"""

import os
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@cache
def _here() -> str:
    """What two processes share that can see each other."""
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {(PROC / 'self/ns/pid').readlink()}"


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the machine's start (proc(5)); None if it's over."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]  # the second field may hold anything


def this_process() -> str | None:
    """The name of this process; None where processes can't be seen."""
    try:
        return f"{_here()} {os.getpid()} {_began(os.getpid())}"
    except OSError:
        return None


def is_over(process: object) -> bool:
    """Whether the process of that name has ended, as far as that can be known here."""
    try:
        here, pid, began = str(process).rsplit(" ", 2)
        return here == _here() and _began(int(pid)) != began and _seen()
    except (OSError, ValueError):
        return False


def _seen() -> bool:
    """Whether other users' processes are shown here at all (proc(5), hidepid)."""
    return (PROC / "1").exists()
