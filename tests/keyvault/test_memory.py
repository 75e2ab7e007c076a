"""Memory that holds keys: not dumped, not read by others."""

import ctypes
import resource
from collections.abc import Iterator

import pytest

from keyvault import memory
from keyvault.memory import close_memory

GET_DUMPABLE = 3  # PR_GET_DUMPABLE of prctl(2)


@pytest.fixture
def restored() -> Iterator[ctypes.CDLL]:
    """The C library; this process is made as open as it was afterwards, as far as that goes."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.prctl(GET_DUMPABLE, 0, 0, 0, 0)
    yield libc
    libc.prctl(memory._SET_DUMPABLE, before, 0, 0, 0)


def test_no_dump_and_no_readers(restored: ctypes.CDLL) -> None:
    """V24: no core file, and the kernel counts the process among those that nobody attaches to."""
    close_memory()
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    assert restored.prctl(GET_DUMPABLE, 0, 0, 0, 0) == 0


def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the process doesn't start, rather than with open memory."""
    monkeypatch.setattr(memory, "_SET_DUMPABLE", -1)
    with pytest.raises(OSError, match=r"Invalid argument"):
        close_memory()
