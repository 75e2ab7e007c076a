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

from linkage.kernel.columns import Encoded, Ints, Packed, key

Rows = npt.NDArray[np.int32]

CHUNK: Final = 1 << 17
"""Candidates looked at at a time."""
FILTER: Final = 22
"""Bits of a key by which a few rows choose their candidates among many."""
PARTS: Final = {"first_name": "head", "last_name": "last"}
"""The part that a blocking rule means by a field; of a full first name the first one counts."""
FIELDS: Final = {part: field for field, part in PARTS.items()}


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


def block(
    encoded: Encoded, parts: Sequence[str], window: tuple[Ints, Ints] | None = None
) -> Blocked:
    """Sort both sides by a rule's key and find the runs.

    Of one file row i is paired with later rows only, so that each pair comes once; with a `window`
    (first, end) with rows from `first[i]` up to `end[i]` instead, none where that is empty.
    """
    bits = np.uint64(max(encoded.a.rows, encoded.b.rows, 1).bit_length())
    keys_of_a = key(encoded.a, parts)
    keys_of_b = keys_of_a if encoded.one_file else key(encoded.b, parts)
    packed = _sorted(_among(keys_of_a, keys_of_b), bits)
    left = _rows(packed, bits)
    if encoded.one_file and window is not None:
        right, keys = left, packed >> bits << bits
        start, end = (np.searchsorted(packed, keys | to[left].astype(np.uint64)) for to in window)
    else:
        others = packed if encoded.one_file else _sorted(_among(keys_of_b, keys_of_a), bits)
        right, keys = _rows(others, bits), packed >> bits
        start = np.searchsorted(others >> bits, keys, side="left")
        end = np.searchsorted(others >> bits, keys, side="right")
        if encoded.one_file:
            start = np.arange(1, len(left) + 1)
    count = np.maximum(end - start, 0)
    some = np.flatnonzero(count)
    return Blocked(left[some], right, start[some], count[some])


def _among(keys: Packed, others: Packed) -> Packed:
    """Keys, without most of those that the other side doesn't have if it is much smaller."""
    if len(others) * 8 > len(keys):
        return keys
    there = np.zeros(1 << FILTER, np.bool_)
    shift = np.uint64(64 - FILTER)
    there[others >> shift] = True
    return np.where(there[keys >> shift], keys, np.uint64(0))


def _sorted(keys: Packed, bits: np.uint64) -> Packed:
    """Keys of rows that have one, cut to make room for the row in the lowest bits, in order."""
    there = np.flatnonzero(keys).astype(np.uint64)
    packed = (keys[there] >> bits << bits) | there
    packed.sort()
    return packed


def _rows(packed: Packed, bits: np.uint64) -> Rows:
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)


def pairs_of(blocked: Blocked, first: int, last: int) -> tuple[Ints, Ints]:
    """The candidates of a range of `a`: places in `blocked.a` and in `blocked.b`."""
    count = blocked.count[first:last]
    ends = np.cumsum(count)
    shift = blocked.start[first:last] - (ends - count)
    place = np.arange(int(ends[-1])) + np.repeat(shift, count)
    return np.repeat(np.arange(first, last), count), place
