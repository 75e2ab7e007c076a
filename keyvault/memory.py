"""Keeping the memory of a process that holds keys from other processes, and from disks."""

import ctypes
import os
import resource

_SET_DUMPABLE = 4  # PR_SET_DUMPABLE of prctl(2)


def close_memory() -> None:
    """From now on no core dump of this process is written, and its memory is root's alone to read.

    A program begun by exec starts open again; every process that is to hold keys calls this first.
    OSError when the kernel won't.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
