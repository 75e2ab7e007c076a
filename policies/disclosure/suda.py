"""Special uniques: records that few values suffice to single out.

A set of keys on which a record's unit is alone is a *sample unique* of the record, and a
**minimal** one (MSU) if the unit is alone on no smaller part of it. The smaller and the more, the
riskier (Elliot, Manning and Ford, 2002; Elliot, Manning, Mayes, Gurd and Bane, SUDA: A Program for
Detecting Special Uniques, 2005; Manning, Haglin and Keane, A recursive search algorithm for
statistical disclosure assessment, 2008).

All sizes are searched, on distinct combinations instead of rows. A combination that is unique on a
part of a set is no candidate there, and nobody's witness either: what differs from all others on
the part does so on the whole. Both leave, so that large sets, of which there are most, have little
left to sort.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from itertools import combinations
from math import comb, factorial, prod
from typing import Any, Final

import numpy as np

from policies.disclosure.encoding import (
    DisclosureError,
    Floats,
    Integers,
    lengths,
    packed,
    side_by_side,
    starts,
)
from policies.disclosure.frequencies import Groups, Missing

FRACTION: Final = 0.01
"""The sampling fraction of DIS unless one is given, as in sdcMicro."""
_MOST_SETS: Final = 100_000
_ROOM: Final = 1 << 29
"""Bytes that one level of the search may hold."""
_DENSE: Final = 1 << 18
"""Combinations up to which counting beats sorting: the counts stay in the processor's cache."""

Bits = np.ndarray[Any, np.dtype[np.uint8]]


class Scores(StrEnum):
    """What an MSU of s keys weighs, of n keys in all and M as the largest size that is searched.

    `ELLIOT`: the product of n - i over i = s … M, the last factor that isn't zero being i = n - 1
    (Elliot et al., 2005; sdcMicro's `original_scores`). `IHSN`: (2^(n-s) - 1) s! (n-s)! / n!, of
    the implementation by the International Household Survey Network, with which the SDC Practice
    Guide's table 4.5 has its DIS-SUDA scores.
    """

    ELLIOT = "elliot"
    IHSN = "ihsn"

    def weight(self, size: int, keys: int, largest: int) -> float:
        """The weight of an MSU."""
        if self is Scores.ELLIOT:
            return float(prod(keys - i for i in range(size, min(largest, keys - 1) + 1)))
        share = factorial(size) * factorial(keys - size) / factorial(keys)
        return float((2 ** (keys - size) - 1) * share)


@dataclass(frozen=True)
class Suda:
    """The SUDA scores of combinations.

    `score` has the sum of the weights of each combination's MSUs, and `parts` (keys × combinations)
    how much of it each key is part of: a key gets the whole weight of each MSU that it is in, so
    that parts add up to more than the score. `sizes` counts MSUs of 1, 2, … keys; `records` the
    records of each combination.
    """

    groups: Groups
    records: Integers
    score: Floats
    parts: Floats
    sizes: tuple[int, ...]

    @property
    def per_row(self) -> Floats:
        """The score of each row."""
        return self.score[self.groups.of_row]

    @cached_property
    def contributions(self) -> dict[str, float]:
        """For each key the share, in percent, of all scores that it is part of: 100 times its parts
        over the scores (sdcMicro's attribute contributions)."""
        total = float(self.score.sum())
        shares = 100 * self.parts.sum(1) / total if total else np.zeros(len(self.parts))
        return dict(zip(self.groups.keys.names, shares.tolist(), strict=True))

    @property
    def max(self) -> float:
        """The largest score."""
        return float(self.score.max(initial=0))

    @property
    def mean(self) -> float:
        """The mean score of records."""
        number = int(self.records.sum())
        return float((self.score * self.records).sum()) / number if number else 0.0

    def file_dis(self, fraction: float = FRACTION) -> float:
        """DIS, the chance that a unique match is right, for a simple random sample of this
        fraction: U π / (U π + P (1 - π)), with U unique records and P records in pairs. (Skinner
        and Elliot, A measure of disclosure risk for microdata, 2002.)"""
        if not 0 < fraction <= 1:
            raise DisclosureError("a sampling fraction is above 0 and at most 1; give such a one")
        unique = int((self.records == 1).sum())
        pairs = 2 * int((self.records == 2).sum())
        return unique * fraction / (unique * fraction + pairs * (1 - fraction)) if unique else 0.0

    def dis(self, fraction: float = FRACTION) -> Floats:
        """DIS-SUDA of each combination: the file's DIS shared out by score, 0 for the score 0.

        1 / (1 + (U/DIS - U) / (s^Q A)) with A = sum of s^-Q over records with a score, and
        Q = 1 + (8 - n)/20 for n keys. (Elliot and Manning, Using DIS to modify the classification
        of special uniques, 2003; as sdcMicro has it.)
        """
        found = np.zeros(len(self.score))
        scored = self.score > 0
        if scored.any():
            unique = int((self.records == 1).sum())
            file = self.file_dis(fraction)
            power = self.score[scored] ** (1 + (8 - len(self.parts)) / 20)
            found[scored] = 1 / (1 + (unique / file - unique) / (power * (1 / power).sum()))
        return found


def suda(
    groups: Groups,
    missing: Missing = Missing.CATEGORY,
    scores: Scores = Scores.ELLIOT,
    largest: int | None = None,
) -> Suda:
    """Find every MSU of up to `largest` keys (all sizes unless given) and score the combinations.

    A missing key is a category, or a wildcard: then a set with a missing key is never minimal, and
    a record matches whoever agrees where both show a value. Keys that are all missing single nobody
    out. A record is unique if the combination's rows are all of one unit.
    """
    names = groups.keys.names
    most = min(largest or len(names), len(names))
    levels = [comb(len(names), size) for size in range(1, most + 1)]
    if sum(levels) > _MOST_SETS or max(levels) * len(groups) // 8 > _ROOM:
        raise DisclosureError(
            f"special uniques of up to {most} of {len(names)} keys are in any of {sum(levels):,} "
            f"sets of keys, too many for {len(groups):,} combinations; look for those of fewer keys"
        )
    search = _Search(groups, missing)
    score, parts, sizes = np.zeros(len(groups)), np.zeros((len(names), len(groups))), []
    for size in range(1, most + 1):
        weight, found = scores.weight(size, len(names), most), 0
        for chosen, alone in search.level(size):
            score[alone] += weight
            for key in chosen:
                parts[key, alone] += weight
            found += len(alone)
        sizes.append(found)
    return Suda(groups, search.records, score, parts, tuple(sizes))


class _Search:
    """Level by level through the sets of keys.

    `_unique` has, for each set of the last level, the combinations that are unique on it or a part
    of it, one bit each.
    """

    def __init__(self, groups: Groups, missing: Missing) -> None:
        rows, begins = groups.records
        self._groups = groups
        self.records = lengths(begins, len(rows))
        owner = np.arange(len(groups))
        if groups.unit is not None:
            owner = groups.unit.codes[rows[begins]].astype(np.int64)
        self._owner: Integers = np.where(self.records == 1, owner, -1)
        self._wild = missing is Missing.WILDCARD
        every = (1 << len(groups.keys.names)) - 1
        self._complete = bool((groups.shown == every).all())
        self._codes = groups.codes
        self._unique: dict[tuple[int, ...], Bits] = {(): np.packbits(np.zeros(len(groups), bool))}

    def level(self, size: int) -> list[tuple[tuple[int, ...], Integers]]:
        """Every set of this size and the combinations for which it is minimal."""
        sets = list(combinations(range(len(self._codes)), size))
        done = side_by_side([partial(self._one, chosen) for chosen in sets], len(self._owner) * 4)
        self._unique = {chosen: unique for chosen, (unique, _) in zip(sets, done, strict=True)}
        return [(chosen, alone) for chosen, (_, alone) in zip(sets, done, strict=True)]

    def _one(self, chosen: tuple[int, ...]) -> tuple[Bits, Integers]:
        """Those unique on a set or a part of it, and those for which it is minimal."""
        unique: Bits = self._unique[chosen[1:]].copy()
        for at in range(1, len(chosen)):
            unique |= self._unique[chosen[:at] + chosen[at + 1 :]]
        there = np.unpackbits(~unique, count=len(self._owner)).view(bool)
        mask = sum(1 << key for key in chosen)
        if self._wild and not self._complete:
            there &= self._groups.shown & mask == mask
        live = np.flatnonzero(there)
        alone = self._alone(chosen, live)
        if not self._complete and len(alone):
            alone = self._kept(alone, mask) if self._wild else self._showing(alone, mask)
        if len(alone):
            new = np.zeros(len(self._owner), bool)
            new[alone] = True
            unique |= np.packbits(new)
        return unique, alone

    def _alone(self, chosen: Sequence[int], live: Integers) -> Integers:
        """Of some combinations, those whose unit is alone among them on a set of keys."""
        if not len(live):
            return live
        sizes = [self._groups.keys.columns[key].size for key in chosen]
        if len(live) == len(self._owner):
            columns = [self._codes[key] for key in chosen]
        else:
            columns = [self._codes[key][live] for key in chosen]
        values, room = packed(columns, sizes)
        owner = self._owner[live] if len(live) < len(self._owner) else self._owner
        if room <= min(_DENSE, 16 * len(live)) and self._groups.unit is None:
            once = np.bincount(values, minlength=room) == 1
            return np.compress(once[values] & (owner >= 0), live)
        order: Integers
        bits = len(live).bit_length()
        if room.bit_length() + bits < 64:
            values <<= bits
            values |= np.arange(len(live))
            values.sort()
            order = values & ((1 << bits) - 1)
            values >>= bits
        else:
            order = np.argsort(values, kind="stable")
            values = values[order]
        if self._groups.unit is None:
            differs = np.ones(len(live) + 1, bool)
            np.not_equal(values[1:], values[:-1], out=differs[1:-1])
            order = order[differs[1:] & differs[:-1]]
            order = order[owner[order] >= 0]
            return live[order]
        begins = starts(values)
        held = owner[order]
        one = np.minimum.reduceat(held, begins)
        same = (one == np.maximum.reduceat(held, begins)) & (one >= 0)
        order = order[np.repeat(same, lengths(begins, len(order)))]
        return live[order]

    def _showing(self, alone: Integers, mask: int) -> Integers:
        """Those that show any of the keys."""
        return np.compress(self._groups.shown[alone] & mask != 0, alone)

    def _kept(self, alone: Integers, mask: int) -> Integers:
        """Those that no combination with a missing key among these could be."""
        shown = self._groups.shown & mask
        for common in np.unique(shown[shown != mask]).tolist():
            others = np.flatnonzero(shown == common)
            if common == 0:
                free = np.unique(self._owner[others])
                alone = alone[self._owner[alone] == free[0]] if len(free) == 1 else alone[:0]
            if common == 0 or not len(alone):
                continue
            both, _ = self._groups.projected(common, np.concatenate([others, alone]))
            order = np.argsort(both[: len(others)], kind="stable")
            begins = starts(both[order])
            there, held = both[order][begins], self._owner[others[order]]
            least, most = np.minimum.reduceat(held, begins), np.maximum.reduceat(held, begins)
            at = np.minimum(np.searchsorted(there, both[len(others) :]), len(there) - 1)
            hit = there[at] == both[len(others) :]
            own = (least[at] == self._owner[alone]) & (most[at] == self._owner[alone])
            alone = alone[~hit | own]
        return alone
