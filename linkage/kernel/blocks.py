"""Which pairs are worth a look: rows that share a key, rule by rule, in bounded chunks.

A rule is a list of parts; two rows are candidates when they agree on all of them. Keys are packed
with row numbers into one integer and sorted, so that a block is a run. A pair that several rules
find belongs to the first of them. Nothing is kept of a chunk, so that memory doesn't depend on how
many candidates there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.columns import Bools, Encoded, Ints, Packed, key

Rows = npt.NDArray[np.int32]

CHUNK: Final = 1 << 17
"""Candidates looked at at a time."""
PARTS: Final = {"first_name": "head", "last_name": "last"}
"""The part that a blocking rule means by a field; of a full first name the first one counts."""


@dataclass(frozen=True)
class Blocked:
    """The rows of both sides in the order of a rule's key.

    Row `a[i]` has the candidates `b[start[i]:start[i] + count[i]]`.
    """

    a: Rows
    b: Rows
    start: Ints
    count: Ints

    @property
    def candidates(self) -> int:
        """How many pairs the rule finds."""
        return int(self.count.sum())

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Ranges of `a` with some CHUNK candidates each."""
        ends = np.cumsum(self.count)
        first = 0
        while first < len(ends):
            done = int(ends[first - 1]) if first else 0
            last = max(int(np.searchsorted(ends, done + CHUNK)), first + 1)
            yield first, min(last, len(ends))
            first = last


def block(encoded: Encoded, parts: Sequence[str], rows: Bools | None = None) -> Blocked:
    """Sort both sides by a rule's key and find the runs; `rows` leaves rows of `a` out."""
    bits = max(encoded.a.rows, encoded.b.rows, 1).bit_length()
    left, left_keys = _sorted(key(encoded.a, parts), rows, bits)
    if encoded.one_file and rows is None:
        right, keys = left, left_keys
    else:
        right, keys = _sorted(key(encoded.b, parts), None, bits)
    start = np.searchsorted(keys, left_keys, side="left")
    end = np.searchsorted(keys, left_keys, side="right")
    if encoded.one_file and rows is None:
        start = np.arange(1, len(left) + 1)  # each pair of rows of one file once
    count = np.maximum(end - start, 0)
    some = np.flatnonzero(count)
    return Blocked(left[some], right, start[some], count[some])


def _sorted(keys: Packed, rows: Bools | None, bits: int) -> tuple[Rows, Packed]:
    """Rows that have a key, in its order, and their keys, cut to make room for the row's bits."""
    which = keys != 0 if rows is None else (keys != 0) & rows
    there = np.flatnonzero(which).astype(np.uint64)
    shift = np.uint64(bits)
    packed = (keys[which] >> shift << shift) | there
    packed.sort()
    return (packed & ((np.uint64(1) << shift) - np.uint64(1))).astype(np.int32), packed >> shift


def pairs_of(blocked: Blocked, first: int, last: int) -> tuple[Ints, Ints]:
    """The candidates of a range of `a`: places in `blocked.a` and in `blocked.b`."""
    count = blocked.count[first:last]
    ends = np.cumsum(count)
    shift = blocked.start[first:last] - (ends - count)
    place = np.arange(int(ends[-1])) + np.repeat(shift, count)
    return np.repeat(np.arange(first, last), count), place
