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
    """Rows with the same number, where it is the only one of a side that may have it once."""
    left, a = _once(encoded.a.codes[part], lefts and not encoded.one_file)
    if encoded.one_file:
        return _neighbours(left, a)
    right, b = _once(encoded.b.codes[part], rights)
    if rights or lefts:
        if not rights:  # many rows on the right: look each of them up on the left
            found = _looked_up(a, b)
            return left[found[1]], right[found[0]]
        found = _looked_up(b, a)
        return left[found[0]], right[found[1]]
    start, end = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    count = end - start
    at = np.repeat(np.arange(len(a)), count)
    ends = np.cumsum(count)
    place = np.arange(len(at)) + np.repeat(start - (ends - count), count)
    return left[at], right[place]


def _once(numbers: Any, once: bool) -> tuple[Any, Any]:
    """Rows that have a number, in its order, and the numbers; with `once` no number twice."""
    rows = np.flatnonzero(numbers >= 0)
    order = np.argsort(numbers[rows])
    rows, ordered = rows[order], numbers[rows][order]
    if once and len(rows):
        same = ordered[1:] == ordered[:-1]
        single = ~(np.append(same, False) | np.append(False, same))
        rows, ordered = rows[single], ordered[single]
    return rows, ordered


def _looked_up(keys: Any, values: Any) -> tuple[Any, Any]:
    """Where each of the sorted `values` stands among sorted `keys` without repetition."""
    if not len(keys) or not len(values):
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    found = np.flatnonzero(keys[place] == values)
    return found, place[found]


def _neighbours(rows: Any, numbers: Any) -> tuple[Any, Any]:
    """Each row of one file with the next that has its number: a chain joins them all."""
    same = np.flatnonzero(numbers[1:] == numbers[:-1])
    one, other = rows[same], rows[same + 1]
    return np.minimum(one, other), np.maximum(one, other)
