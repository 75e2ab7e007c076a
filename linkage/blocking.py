"""Which pairs are worth comparing: those that share a key, each pair once, in bounded portions.

A key is a list of parts (`Plan.blocking`). `names` are first and last name in either order and
`birth_date` has day and month in either order, so that what was swapped is still found; a first or
last name is cut to two letters, so that a typing error further on does no harm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linkage.grouping import Groups
from linkage.identities import ABSENT, Bools, Identities, Ints, combine
from linkage.model import Plan

Packed = npt.NDArray[np.uint64]

PORTION = 2_000_000
"""Candidates generated at a time, before those found by several keys are counted once."""


@dataclass(frozen=True)
class Blocks:
    """Groups of records for each key; `skipped` counts blocks that were too large to mean much."""

    groups: list[Groups]
    keys: list[Ints]
    skipped: int


def blocks(identities: Identities, among: Bools, plan: Plan) -> Blocks:
    """The blocks of the records in `among`, one grouping per key of the plan."""
    found, keys, skipped = [], [], 0
    for parts in plan.blocking:
        key = combine(*(_part(identities, part) for part in parts), absent_if_any=True)
        key[~among] = ABSENT
        sizes = np.bincount(key[key != ABSENT], minlength=1)
        large = sizes > plan.largest_block
        skipped += int(large.sum())
        key[(key != ABSENT) & large[key]] = ABSENT
        found.append(Groups(key))
        keys.append(key)
    return Blocks(found, keys, skipped)


def candidates(
    blocked: Blocks, identities: Identities, needy: Bools
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (left < right) that share a block, in portions; each pair comes once.

    At least one of the two is needy (a number doesn't already say who it is) and at least one comes
    from the delivery.
    """
    delivered = identities.delivered
    rows = np.flatnonzero(needy)
    costs = np.zeros(len(rows), np.int64)
    for groups, key in zip(blocked.groups, blocked.keys, strict=True):
        costs += groups.having(key[rows])[1]
    portions = np.cumsum(costs) // PORTION
    for portion in np.unique(portions):
        some = rows[portions == portion]
        packed = [
            _pack(some, *groups.partners(key[some]))
            for groups, key in zip(blocked.groups, blocked.keys, strict=True)
        ]
        left, right = _unpack(np.unique(np.concatenate(packed)))
        # A pair of two needy records is met from both sides; it counts in the lower one's portion.
        wanted = (delivered[left] | delivered[right]) & ((left < right) | ~needy[right])
        left, right = left[wanted], right[wanted]
        yield np.minimum(left, right), np.maximum(left, right)


def _pack(rows: Ints, at: Ints, partner: Ints) -> Packed:
    left = rows[at]
    other = left != partner
    packed: Packed = (left[other].astype(np.uint64) << np.uint64(32)) | partner[other].astype(
        np.uint64
    )
    return packed


def _unpack(packed: Packed) -> tuple[Ints, Ints]:
    low = np.uint64(0xFFFFFFFF)
    return (packed >> np.uint64(32)).astype(np.int64), (packed & low).astype(np.int64)


def _part(identities: Identities, part: str) -> Ints:
    """The codes of one part of a key, ABSENT where it is missing."""
    first, last = identities.first_name, identities.last_name
    if part == "names":
        return combine(np.minimum(first, last), np.maximum(first, last), absent_if_any=True)
    if part == "birth_date":
        born = identities.born
        low, high = np.minimum(born.month, born.day), np.maximum(born.month, born.day)
        whole = born.year * 10_000 + high * 100 + low
        return np.where(born.full, whole, ABSENT)
    if part in ("first_name", "last_name"):
        starts = np.unique([name[:2] for name in identities.names], return_inverse=True)[1]
        codes = first if part == "first_name" else last
        return np.where(codes == ABSENT, ABSENT, starts[codes])
    return {
        "postcode": identities.postcode,
        "street": identities.street,
        "house_number": identities.house,
    }[part]
