"""How many share a combination: in the file, and in the population that it stands for.

f of a record is the number of distinct units that its combination could be of, and F the number in
the population: known from a population file, or estimated by the sum of sampling weights. A missing
key is a category of its own, or a **wildcard** that matches every value, as in sdcMicro's freqCalc
(Templ, Kowarik and Meindl, 2015): then f is the size of a record's *crowd*, the units of all rows
that agree with it wherever both show a value. Crowds overlap, so they aren't classes; every measure
of classes is taken over records and their crowds instead, and is the same where nothing is missing.
A record that shows nothing has all units for its crowd, in both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.encoding import (
    Coded,
    Codes,
    DisclosureError,
    Floats,
    Integers,
    Keys,
    gathered,
    lengths,
    of_units,
    ordered_rows,
    packed,
    starts,
)

_AT_ONCE: Final = 8_000_000
"""Pairs of a combination and what its crowd has that are held at a time."""


_MOST_KEYS: Final = 62
"""Keys, of which each has a bit."""
_FILTERED: Final = 20_000
"""Combinations from which on it pays to look first which could match at all."""


class Missing(StrEnum):
    """What a missing key is."""

    CATEGORY = "category"
    WILDCARD = "wildcard"


@dataclass(frozen=True)
class Groups:
    """The distinct combinations of a table of keys, missing being a value like any other.

    `row` has all rows, those of the first combination first, and `begins` where each combination's
    begin; `unit` is the unit of each row, None where each row is its own.
    """

    keys: Keys
    row: Integers
    begins: Integers
    unit: Coded | None

    @classmethod
    def of(cls, keys: Keys, units: Any = None) -> Self:
        """Sort the rows by combination."""
        if len(keys.names) > _MOST_KEYS:
            raise DisclosureError(
                f"{len(keys.names)} keys are more than anybody knows; name {_MOST_KEYS} at most"
            )
        row, value = ordered_rows(*keys.packed)
        return cls(keys, row, starts(value), of_units(units, len(keys)))

    def __len__(self) -> int:
        return len(self.begins)

    @cached_property
    def of_row(self) -> Integers:
        """The combination of each row."""
        found = np.empty(len(self.row), np.int64)
        found[self.row] = np.repeat(np.arange(len(self)), lengths(self.begins, len(self.row)))
        return found

    @cached_property
    def first(self) -> Integers:
        """A row of each combination."""
        return self.row[self.begins]

    @cached_property
    def records(self) -> tuple[Integers, Integers]:
        """One row for each distinct unit in each combination, and where each combination's rows
        begin among them."""
        if self.unit is None:
            return self.row, self.begins
        group = np.repeat(np.arange(len(self)), lengths(self.begins, len(self.row)))
        bits = (self.unit.size - 1).bit_length()
        pair = (group << bits) | self.unit.codes[self.row]
        order = np.argsort(pair, kind="stable")
        order = order[starts(pair[order])]
        return self.row[order], starts(group[order])

    @cached_property
    def shown(self) -> Integers:
        """Which keys each combination shows: bit i for key i."""
        found = np.zeros(len(self), np.int64)
        for at, one in enumerate(self.keys.columns):
            if one.missing >= 0:
                found |= (one.codes[self.first] != one.missing).astype(np.int64) << at
            else:
                found |= 1 << at
        return found

    @cached_property
    def codes(self) -> tuple[Codes, ...]:
        """The codes of each key, by combination."""
        return tuple(one.codes[self.first] for one in self.keys.columns)

    def projected(self, chosen: int, which: Integers) -> tuple[Integers, int]:
        """Numbers of some combinations that are equal where all chosen keys are, and what they stay
        below."""
        at = [key for key in range(len(self.codes)) if chosen >> key & 1]
        columns = [self.codes[key][which] for key in at]
        return packed(columns, [self.keys.columns[key].size for key in at])


@dataclass(frozen=True)
class Frequencies:
    """f and F of each combination; `records` counts its own distinct units (f is larger where
    wildcards match others)."""

    groups: Groups
    records: Integers
    f: Integers
    F: Floats

    @property
    def per_row(self) -> tuple[Integers, Floats]:
        """f and F of each row."""
        return gathered(self.f, self.groups.of_row), gathered(self.F, self.groups.of_row)


def frequencies(
    groups: Groups, weights: Any = None, missing: Missing = Missing.CATEGORY
) -> Frequencies:
    """f and F of every combination; F is the sum of the weights of the units that f counts, or f
    without weights.

    `weights` has a positive number for each row; of a unit with several rows in a combination the
    first counts. (SDC Practice Guide, "Categorical key variables and frequency counts".)
    """
    rows, begins = groups.records
    own = lengths(begins, len(rows))
    sums = own.astype(np.float64)
    if weights is not None:
        checked = numbers(weights, len(groups.row))
        sums = np.add.reduceat(gathered(checked, rows), begins) if len(begins) else sums
    if missing is Missing.WILDCARD and (groups.shown != (1 << len(groups.keys.names)) - 1).any():
        group = np.repeat(np.arange(len(groups)), own)
        unit = None if groups.unit is None else groups.unit.codes[rows]
        f, F = _crowds(groups, group, unit, None if weights is None else checked[rows])  # noqa: N806
        return Frequencies(groups, own, f, F)
    f, F = own.copy(), sums.copy()  # noqa: N806
    hidden = np.flatnonzero(groups.shown == 0)
    if len(hidden):
        some = _first_of_units(groups)
        f[hidden] = len(some)
        F[hidden] = len(some) if weights is None else checked[some].sum()
    return Frequencies(groups, own, f, F)


def numbers(weights: Any, rows: int) -> Floats:
    """Weights as positive numbers."""
    try:
        found = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise DisclosureError("a weight is no number; give each row a positive one") from None
    if len(found) != rows:
        raise DisclosureError("give one weight for each row of the keys")
    if not (np.isfinite(found) & (found > 0)).all():
        raise DisclosureError(
            "a weight is missing or isn't above zero; give each row a positive one"
        )
    return found


def _first_of_units(groups: Groups) -> Integers:
    """A row of every unit."""
    if groups.unit is None:
        return groups.row
    return np.unique(groups.unit.codes, return_index=True)[1]


def _crowds(
    groups: Groups, group: Integers, unit: Codes | None, weight: Floats | None
) -> tuple[Integers, Floats]:
    """f and F of each combination where missing keys match every value.

    `group` has the combination of each record, `unit` its unit (None: each its own). Units of one
    combination only are counted by combination. A unit that has several could be counted twice, so
    that of those each is looked at by itself.
    """
    crowds, number = Crowds(groups), len(groups)
    weight = np.ones(len(group)) if weight is None else weight
    several = np.zeros(len(group), bool)
    if unit is not None:
        several = np.bincount(unit)[unit] > 1
    once = group[~several]
    columns = [np.bincount(once, minlength=number), np.bincount(once, weight[~several], number)]
    f, F = crowds.summed(np.stack([one.astype(np.float64) for one in columns], 1)).T  # noqa: N806
    if unit is not None and several.any():
        bits = int(unit.max()).bit_length()
        for target, item, _ in crowds.joined(group[several], np.flatnonzero(several)):
            pair = (target << bits) | unit[item]
            order = np.argsort(pair, kind="stable")
            order = order[starts(pair[order])]
            f = f + np.bincount(target[order], minlength=number)
            F = F + np.bincount(target[order], weight[item[order]], number)  # noqa: N806
    return np.rint(f).astype(np.int64), F


class Crowds:
    """Which combinations match which, where missing keys match every value.

    Two match if they agree on the keys that both show. Combinations are taken together by which
    keys they show; for each such pattern, and each set of keys that it shares with others, one sort
    finds who agrees. With m keys there are 3^m such pairs at most, however many rows.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        patterns, which = np.unique(groups.shown, return_inverse=True)
        self._by_pattern = {
            int(pattern): np.flatnonzero(which == at) for at, pattern in enumerate(patterns)
        }

    def _steps(self, pattern: int, among: dict[int, Integers]) -> Iterator[tuple[int, Integers]]:
        """For a pattern, every set of keys it shares with others, and who shares just these."""
        shared: dict[int, list[Integers]] = {}
        for other, which in among.items():
            shared.setdefault(pattern & other, []).append(which)
        for common, parts in shared.items():
            yield common, np.concatenate(parts)

    def summed(self, columns: Floats) -> Floats:
        """For each combination the sum of each column over its crowd. (combinations × columns)"""
        found = np.zeros(columns.shape)
        for pattern, targets in self._by_pattern.items():
            for common, sources in self._steps(pattern, self._by_pattern):
                if common == 0:
                    found[targets] += columns[sources].sum(0)
                    continue
                sources, targets_hit, from_, to, room = self._matched(common, sources, targets)
                if not len(sources):
                    continue
                order, ordered = ordered_rows(from_, room)
                begins = starts(ordered)
                sums = np.add.reduceat(columns[sources[order]], begins, axis=0)
                there = ordered[begins]
                at = np.minimum(np.searchsorted(there, to), len(there) - 1)
                hit = there[at] == to
                found[targets_hit[hit]] += sums[at[hit]]
        return found

    def joined(
        self, group: Integers, item: Integers
    ) -> Iterator[tuple[Integers, Integers, Integers]]:
        """Every (combination, item) where an item of some combination is in its crowd, some
        combinations at a time, with how often.

        `group[i]` is the combination that `item[i]` belongs to.
        """
        here: dict[int, Integers] = {}
        shown = self._groups.shown[group]
        for pattern in np.unique(shown):
            here[int(pattern)] = np.flatnonzero(shown == pattern)
        for pattern, targets in self._by_pattern.items():
            steps = [
                self._ranges(common, group, entries, targets)
                for common, entries in self._steps(pattern, here)
            ]
            if not steps:
                continue
            size = np.sum([high - low for _, low, high in steps], axis=0)
            cut = np.searchsorted(np.cumsum(size), np.arange(_AT_ONCE, int(size.sum()), _AT_ONCE))
            for part in np.split(np.arange(len(targets)), np.unique(cut)):
                pairs = [
                    _expanded(targets[part], entries, low[part], high[part])
                    for entries, low, high in steps
                ]
                target = np.concatenate([one for one, _ in pairs])
                entry = np.concatenate([two for _, two in pairs])
                yield target, item[entry], entry

    def _ranges(
        self, common: int, group: Integers, entries: Integers, targets: Integers
    ) -> tuple[Integers, Integers, Integers]:
        """Entries in an order in which those that match a target stand together, and from where to
        where they stand for each target."""
        if common == 0:
            zero = np.zeros(len(targets), np.int64)
            return entries, zero, zero + len(entries)
        low, high = (np.zeros(len(targets), np.int64) for _ in range(2))
        kept, hit, from_, to, room = self._matched(common, group[entries], targets, which=True)
        order, ordered = ordered_rows(from_, room)
        low[hit] = np.searchsorted(ordered, to)
        high[hit] = np.searchsorted(ordered, to, side="right")
        return entries[kept[order]], low, high

    def _matched(
        self, common: int, sources: Integers, targets: Integers, *, which: bool = False
    ) -> tuple[Integers, Integers, Integers, Integers, int]:
        """Sources and targets that could agree on the common keys, numbers of them that are equal
        where they do, and what these stay below; `which` asks for their places instead of them.

        Most have no counterpart: those of which no number with the same hash is on the other side
        leave before anything is sorted.
        """
        both, room = self._groups.projected(common, np.concatenate([sources, targets]))
        from_, to = both[: len(sources)], both[len(sources) :]
        keep, hit = (np.arange(len(one)) for one in (from_, to))
        if len(both) > _FILTERED:
            keep = np.flatnonzero(_hashed(to)[_hash(from_)])
            from_ = from_[keep]
            hit = np.flatnonzero(_hashed(from_)[_hash(to)])
            to = to[hit]
        if not which:
            return sources[keep], targets[hit], from_, to, room
        return keep, hit, from_, to, room


def _hash(values: Integers) -> Codes:
    """Twenty bits of each."""
    return (values.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(44)


def _hashed(values: Integers) -> Any:
    """For each hash, whether one of the values has it."""
    found = np.zeros(1 << 20, bool)
    found[_hash(values)] = True
    return found


def _expanded(
    targets: Integers, entries: Integers, low: Integers, high: Integers
) -> tuple[Integers, Integers]:
    """Each target with every entry from `low` to `high`."""
    many = high - low
    at = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
    return np.repeat(targets, many), entries[at + np.repeat(low, many)]


def in_population(
    keys: Keys, population: Keys, units: Any = None, missing: Missing = Missing.CATEGORY
) -> Floats:
    """For each row of a file, how many units of a population file share its combination.

    The population has the file's keys, under the same names; `units` names the unit of each of its
    rows (each row is one unless given). A missing key of either is taken as `missing` says. 0 where
    nobody in the population has the combination.
    """
    rows = len(keys)
    columns = [
        _after(one, population.only([name]).columns[0])
        for name, one in zip(keys.names, keys.columns, strict=True)
    ]
    groups = Groups.of(Keys(keys.names, tuple(columns)))
    unit = of_units(units, len(population))
    counted = groups.of_row[rows:]
    people = None
    if unit is not None:
        pair = (counted << (unit.size - 1).bit_length()) | unit.codes
        each = np.unique(pair, return_index=True)[1]
        counted, people = counted[each], unit.codes[each]
    if missing is Missing.WILDCARD:
        found = _crowds(groups, counted, people, None)[1]
    else:
        found = np.bincount(counted, minlength=len(groups)).astype(np.float64)
        found[groups.shown == 0] = len(population) if unit is None else unit.size
    return found[groups.of_row[:rows]]


def _after(one: Coded, other: Coded) -> Coded:
    """Two columns after one another, equal values under equal codes."""
    values, more = one.values, other.values
    if values.type != more.type:
        values, more = values.cast(pa.string()), more.cast(pa.string())
    into = np.asarray(pc.index_in(more, value_set=values).fill_null(-1)).astype(np.int64)
    missing = one.missing
    if other.missing >= 0:
        into[other.missing] = missing
    new = np.flatnonzero(into < 0)
    into[new] = one.size + np.arange(len(new))
    if missing < 0 and other.missing >= 0:
        missing = int(into[other.missing])
    codes = np.concatenate([one.codes.astype(np.int64), into[other.codes]])
    return Coded(codes, one.size + len(new), missing, pa.concat_arrays([values, more.take(new)]))
