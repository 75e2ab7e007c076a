"""Scratch: what is written comes back, the disk holds nothing readable, and changes are noticed."""

import io
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from keyvault.errors import SealError
from keyvault.scratch import Scratch


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    """A file as a scratch has it, kept open beside it."""
    with tempfile.TemporaryFile(buffering=0) as opened:
        yield opened


def test_parts_come_back_in_order(file: BinaryIO) -> None:
    scratch = Scratch(file)
    for number in range(20):
        scratch.put(number % 3, f"piece {number}".encode())
    taken = [list(scratch.take(part)) for part in range(4)]
    expected = [[f"piece {n}".encode() for n in range(20) if n % 3 == part] for part in range(3)]
    assert taken == [*expected, []]
    scratch.close()
    assert file.closed


def test_the_disk_holds_nothing_readable(file: BinaryIO) -> None:
    """Row V24: the same piece twice isn't the same twice on the disk either."""
    scratch = Scratch(file)
    scratch.put(0, b"85073003328" * 10)
    scratch.put(0, b"85073003328" * 10)
    file.seek(0)
    data = file.read()
    assert b"85073003328" not in data
    half = len(data) // 2
    assert data[:half] != data[half:]


def test_what_was_changed_or_exchanged_is_noticed(file: BinaryIO) -> None:
    scratch = Scratch(file)
    for part in range(2):
        scratch.put(part, bytes(64))
    file.seek(0)
    data = io.BytesIO(file.read())
    file.seek(0)
    file.write(data.getvalue()[80:] + data.getvalue()[:80])
    for part in range(2):
        with pytest.raises(SealError, match="disk"):
            list(scratch.take(part))
    file.truncate(10)
    with pytest.raises(SealError, match="disk"):
        list(scratch.take(0))
