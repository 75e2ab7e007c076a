"""Large files that are written once and read once: to the disk soon, and not kept in memory.

Left to itself, a system finds a page of memory for every page of a file that passes through, and
writes most of it to the disk only when a sync waits for it. A `Flow` gives each stretch to the disk
as soon as it's written and lets its memory go when it's there, so that the same few pages carry
gigabytes and a sync at the end has little left to do. Nothing is durable by this; where a system
has no such calls, nothing happens.
"""

import ctypes
import os
import sys
from collections.abc import Callable

STRETCH = 8 << 20
WRITE, WAIT_FOR_ALL = 2, 7
"""Of sync_file_range(2): begin to write; wait for what is under way, write, and wait for that."""


class Flow:
    """What passes through one open file, from an offset on; it is told how far it came."""

    def __init__(self, handle: int, offset: int = 0) -> None:
        self._handle, self._begun, self._over = handle, offset, offset

    def written(self, offset: int) -> None:
        """The file was written up to here, past any buffer of this process."""
        if offset - self._begun >= STRETCH:
            _sync_range(self._handle, self._begun, offset - self._begun, WRITE)
            self._begun = offset

    def passed(self, offset: int) -> None:
        """Nobody needs what is before this soon; it waits for the disk a stretch behind."""
        end = offset - STRETCH
        if end - self._over >= STRETCH:
            _sync_range(self._handle, self._over, end - self._over, WAIT_FOR_ALL)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._handle, self._over, end - self._over, os.POSIX_FADV_DONTNEED)
            self._over = end


def _nothing(_handle: int, _offset: int, _length: int, _how: int) -> None:
    """Not on this system."""


def _by_libc() -> Callable[[int, int, int, int], object]:
    function = ctypes.CDLL(None).sync_file_range
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function  # what fails is found out by the sync that counts


_sync_range = _by_libc() if sys.platform == "linux" else _nothing
