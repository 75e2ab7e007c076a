"""Records in random order, however many: sorted by row key with little in memory.

Row keys are drawn as the records come. What doesn't fit waits in sealed scratch, parted by the
first byte of the key; part by part it is then sorted, and the parts follow one another. So the
order of the rows tells nothing of the order in the file, and no more than a part is ever held.
"""

import secrets
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa

from keyvault.scratch import Scratch

HELD: Final = 64 << 20
"""Bytes of records that are held before they go to the scratch, and that are given back at once."""
_PARTS: Final = 256


class Shuffle:
    """Takes blocks of records and gives them back ordered by a random `row_key`."""

    def __init__(self, file: Callable[[], BinaryIO]) -> None:
        """`file` opens the scratch's file; it isn't asked for one while everything fits."""
        self._file = file
        self._scratch: Scratch | None = None
        self._held: list[Any] = []
        self._bytes = 0
        self._of_part = np.zeros(_PARTS, np.int64)

    def add(self, block: Any) -> None:
        """Take a table of records; each gets its row key now."""
        random = pa.py_buffer(secrets.token_bytes(16 * block.num_rows))
        keys = pa.Array.from_buffers(pa.binary(16), block.num_rows, [None, random])
        self._held.append(block.append_column("row_key", keys))
        self._bytes += block.nbytes
        if self._bytes > HELD:
            self._spill()

    def _spill(self) -> None:
        """Part what is held by the first byte of its keys."""
        if self._scratch is None:
            self._scratch = Scratch(self._file())
        table = pa.concat_tables(self._held).combine_chunks()
        self._held, self._bytes = [], 0
        first = np.frombuffer(table["row_key"].chunk(0).buffers()[1], np.uint8)[::16]
        order = np.argsort(first, kind="stable")
        cuts = np.searchsorted(first[order], np.arange(_PARTS + 1))
        table = table.take(pa.array(order))
        for part, (start, end) in enumerate(pairwise(cuts)):
            if start < end:
                piece = _packed(table.slice(start, end - start))
                self._scratch.put(part, piece)
                self._of_part[part] += len(piece)

    def tables(self) -> Iterator[Any]:
        """All records: each table's keys lie after those of the one before, its rows as they fell.

        Sorting within a table is left to whoever splits it.
        """
        if self._scratch is None:
            if self._held:
                yield pa.concat_tables(self._held)
            return
        if self._held:
            self._spill()
        start = 0
        for end in range(1, _PARTS + 1):
            if end == _PARTS or self._of_part[start : end + 1].sum() > HELD:
                pieces = [p for part in range(start, end) for p in self._scratch.take(part)]
                if pieces:
                    yield pa.concat_tables(map(_unpacked, pieces))
                start = end

    def close(self) -> None:
        """Forget everything."""
        self._held = []
        if self._scratch is not None:
            self._scratch.close()


def _packed(table: Any) -> Any:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return memoryview(sink.getvalue()).cast("B")


def _unpacked(piece: bytes) -> Any:
    with pa.ipc.open_stream(piece) as stream:
        return stream.read_all()
