"""What a common number proves: one unit, where name or birth date corroborates it.

A check digit catches hardly any wrong number in practice. The false ones are somebody else's valid
number, mostly a relative's, so that a number alone is no proof: it links when the first name or the
birth date agrees and neither contradicts. A number that stands twice on a side on which each unit
has one row proves nothing there.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from linkage.kernel.columns import Encoded
from linkage.kernel.levels import Comparison, Pairs, compared

AGREEING: Final = {
    "first_name": ("exact", "head", "nickname", "initial", "close", "similar"),
    "birth_date": ("exact",),
    "birth_year": ("exact",),
    "company_name": ("exact", "close"),
    "address": ("exact", "building"),
}
CONTRADICTING: Final = {
    "first_name": ("other_name", "different"),
    "birth_date": ("different",),
    "birth_year": ("different",),
    "company_name": ("different",),
}


@dataclass(frozen=True)
class Numbered:
    """Pairs of rows with one number: those that it links, and those that contradict it."""

    left: Any
    right: Any
    contradicted: tuple[Any, Any]


def by_number(
    encoded: Encoded, part: str, which: tuple[Comparison, ...], *, lefts: bool, rights: bool
) -> Numbered:
    """Link by a number; `lefts` and `rights` say on which side a unit has one row."""
    left, right = _equal(encoded, part, lefts=lefts, rights=rights)
    told = [one for one in which if one.name in AGREEING]
    if not told:
        nothing = np.zeros(0, np.int64)
        return Numbered(left, right, (nothing, nothing))
    pairs = Pairs(encoded, left, right)
    agrees, contradicts = np.zeros(len(left), np.bool_), np.zeros(len(left), np.bool_)
    for one, levels in zip(told, compared(pairs, told), strict=True):
        agrees |= np.isin(levels, [one.level(word) for word in AGREEING[one.name]])
        against = [one.level(word) for word in CONTRADICTING.get(one.name, ())]
        contradicts |= np.isin(levels, against)
    sure = agrees & ~contradicts
    return Numbered(left[sure], right[sure], (left[contradicts], right[contradicts]))


def _equal(encoded: Encoded, part: str, *, lefts: bool, rights: bool) -> tuple[Any, Any]:
    """Rows with the same number, where each side that may have it once does so.

    Numbers of both sides are packed with side and row into one integer and sorted, so that rows
    with one number stand together. Within one file each row goes with the next of its number: the
    chain joins them all.
    """
    sides = [encoded.a] if encoded.one_file else [encoded.a, encoded.b]
    bits = np.uint64(max(side.rows for side in sides).bit_length() + 1)
    packed = np.concatenate([_packed(side.codes[part], bits, n) for n, side in enumerate(sides)])
    packed.sort()
    number, place = packed >> bits, packed & ((np.uint64(1) << bits) - np.uint64(1))
    row, right = (place >> np.uint64(1)).astype(np.int64), (place & np.uint64(1)).astype(np.bool_)
    same = number[1:] == number[:-1]
    if encoded.one_file:
        at = np.flatnonzero(same)
        return np.minimum(row[at], row[at + 1]), np.maximum(row[at], row[at + 1])
    starts = np.flatnonzero(np.append(True, ~same)[: len(number)])
    ends = np.append(starts[1:], len(number))
    of_b = np.add.reduceat(right, starts, dtype=np.int64) if len(starts) else starts
    of_a = ends - starts - of_b
    good = (of_a > 0) & (of_b > 0)
    good &= (of_a == 1) if lefts else True
    good &= (of_b == 1) if rights else True
    starts, of_a, of_b = starts[good], of_a[good], of_b[good]
    if len(starts) and (of_a == 1).all() and (of_b == 1).all():
        # `a` comes before `b` only where its row number is lower: look which it is
        first, second = row[starts], row[starts + 1]
        turned = right[starts]
        return np.where(turned, second, first), np.where(turned, first, second)
    return _products(row, right, starts, of_a, of_b)


def _packed(numbers: Any, bits: np.uint64, side: int) -> Any:
    """Valid numbers with their row and side in the lowest bits."""
    rows = np.flatnonzero(numbers >= 0)
    low = (rows.astype(np.uint64) << np.uint64(1)) | np.uint64(side)
    return (numbers[rows].astype(np.uint64) << bits) | low


def _products(row: Any, right: Any, starts: Any, of_a: Any, of_b: Any) -> tuple[Any, Any]:
    """Every row of `a` with every row of `b` in runs that begin at `starts`."""
    size = of_a + of_b
    run = np.repeat(np.arange(len(starts)), size)
    place = np.arange(len(run)) + np.repeat(starts - (np.cumsum(size) - size), size)
    left, other = place[~right[place]], place[right[place]]
    of_left = run[~right[place]]
    count = of_b[of_left]
    first = np.cumsum(of_b) - of_b
    at = np.arange(int(count.sum())) + np.repeat(first[of_left] - (np.cumsum(count) - count), count)
    return row[np.repeat(left, count)], row[other[at]]
