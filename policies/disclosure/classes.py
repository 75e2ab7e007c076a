"""What combinations of values tell: everything that follows from how many share them.

A *class* is the set of rows that agree on every key, and f its number of distinct units. A row
whose every key is missing says nothing about anybody: it is **suppressed** and forms no class. From
the sizes of classes alone follow k, the sample uniques, the risks of El Emam and two measures of
utility (`Sizes`); from how a sensitive value is spread in each class, l-diversity and t-closeness
(`Diversity`).

A missing key is a category of its own, unless asked to be a wildcard: then there are no classes any
more, and every measure is taken over records and the crowds that they could be of
(`policies.disclosure.frequencies`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np

from policies.disclosure.diversity import NONE, RECURSION, Diversity, Sensitive, worst_class
from policies.disclosure.encoding import (
    ROOM,
    Coded,
    DisclosureError,
    Floats,
    Integers,
    Keys,
    cores,
    dense,
    lengths,
    of_units,
    side_by_side,
    starts,
)
from policies.disclosure.frequencies import Crowds, Groups, Missing, frequencies

_SPLIT: Final = 500_000
"""Rows from which on the work is split in two by value."""
_TOP: Final = 2**62


@dataclass(frozen=True)
class Sizes:
    """How many records share their combination with how many.

    `size` ascends, and `at` counts the records of each size f. A *record* is one unit in one
    combination: a unit with two rows of the same combination is one record, of two combinations it
    is two. `number` counts the distinct combinations, `rows` all rows, `units` all distinct units,
    `suppressed` the rows that show no key at all and are no record.

    With wildcards f is the size of a record's crowd, and suppressed rows are records like others.
    """

    size: Integers
    at: Integers
    number: int
    rows: int
    units: int
    suppressed: int

    @property
    def records(self) -> int:
        """Records that show something (n in El Emam)."""
        return int(self.at.sum())

    @property
    def k(self) -> int:
        """The size of the smallest class or crowd: min f. (Samarati and Sweeney, 1998.) 0 without
        rows."""
        return int(self.size[0]) if len(self.size) else 0

    @property
    def sample_uniques(self) -> int:
        """Records that are alone with their combination: sum I(f = 1)."""
        return self.below(2)

    def below(self, k: int) -> int:
        """Records that violate k-anonymity: sum I(f < k). (Templ, Kowarik and Meindl, 2015; SDC
        Practice Guide, "k-anonymity".)"""
        return int(self.at[self.size < k].sum())

    @property
    def prosecutor_max(self) -> float:
        """The largest chance that an intruder who knows that a unit is in the file picks the right
        record: 1 / min f. (El Emam, Guide to the De-Identification of Personal Health Information,
        2013: pRb.)"""
        return 1 / self.k if self.k else 0.0

    @property
    def prosecutor_mean(self) -> float:
        """The mean of 1/f over records, which for classes is J / n. (El Emam, 2013: pRc.) It is the
        marketer's risk too, where the file is the whole population."""
        return self._classes / self.records if self.records else 0.0

    @property
    def average_class_size(self) -> float:
        """Records over the sum of 1/f, which for classes is n / J. (LeFevre, DeWitt and
        Ramakrishnan, Mondrian, 2006; there divided by k, here not.)"""
        return self.records / self._classes if self.records else 0.0

    @property
    def discernibility(self) -> int:
        """The sum of f over records, which for classes is that of f squared, and the number of all
        rows for each suppressed row. (Bayardo and Agrawal, Data privacy through optimal
        k-anonymization, 2005: C_DM.)"""
        return int((self.size * self.at).sum()) + self.suppressed * self.rows

    @property
    def _classes(self) -> float:
        """The sum of 1/f over records; for classes their number."""
        return float((self.at / self.size).sum())


def sizes(keys: Keys, units: Any = None, missing: Missing = Missing.CATEGORY) -> Sizes:
    """Count the classes of a table of keys; `units` names the unit of each row (each row is one
    unless given)."""
    return measure(keys, {}, units, missing=missing)[0]


def measure(
    keys: Keys,
    sensitive: Mapping[str, Sensitive],
    units: Any = None,
    c: float = RECURSION,
    missing: Missing = Missing.CATEGORY,
) -> tuple[Sizes, dict[str, Diversity]]:
    """Everything that classes tell, in one sweep: their sizes, and the diversity of each sensitive
    variable."""
    for name, one in sensitive.items():
        if len(one.column) != len(keys):
            raise DisclosureError(f"the sensitive column {name} has another length than the keys")
    if missing is Missing.WILDCARD and any(one.missing >= 0 for one in keys.columns):
        return _of_crowds(Groups.of(keys, units), sensitive, c)
    rows = len(keys)
    unit = of_units(units, rows)
    values, room = keys.packed
    gone = keys.suppressed
    hidden = int(values[gone[0]]) if len(gone) and len(gone) < rows else -1
    wanted: Mapping[str, Sensitive | None] = sensitive or {"": None}
    swept = {name: _swept(values, room, hidden, unit, one, c) for name, one in wanted.items()}
    ((size, classes), _), *_ = swept.values()
    found = {name: spread for name, (_, spread) in swept.items() if name in sensitive}
    distinct = rows if unit is None else unit.size
    outside = len(gone) if hidden >= 0 else 0
    return Sizes(size, size * classes, int(classes.sum()), rows, distinct, outside), found


def _of_crowds(
    groups: Groups, sensitive: Mapping[str, Sensitive], c: float
) -> tuple[Sizes, dict[str, Diversity]]:
    """The same where missing keys match every value: of the crowd of each combination."""
    counted = frequencies(groups, missing=Missing.WILDCARD)
    at = np.bincount(counted.f, counted.records, minlength=1).astype(np.int64)
    size = np.flatnonzero(at)
    unit, rows = groups.unit, len(groups.row)
    found = Sizes(size, at[size], len(groups), rows, rows if unit is None else unit.size, 0)
    return found, {name: _crowded(groups, one, c) for name, one in sensitive.items()}


def _crowded(groups: Groups, sensitive: Sensitive, c: float) -> Diversity:
    """The diversity of the worst crowd. A unit with several combinations counts in a crowd once for
    each value that it has there."""
    column, unit = sensitive.column, groups.unit
    bits = (column.size - 1).bit_length()
    counts = _value_counts(column, unit)
    share = counts / max(counts.sum(), 1)
    pair = (groups.of_row << bits) | column.codes
    if unit is None:  # equal values of a combination are looked at together
        pair.sort()
        begins = starts(pair)
        group, item, many = pair[begins] >> bits, pair[begins], lengths(begins, len(pair))
    else:
        unit_bits = (unit.size - 1).bit_length()
        pair = _distinct((pair << unit_bits) | unit.codes)
        group, item, many = pair >> (unit_bits + bits), pair, np.ones(len(pair), np.int64)
        item = pair & ((1 << (unit_bits + bits)) - 1)
    parts = []
    for target, one, entry in Crowds(groups).joined(group, item):
        if unit is None:
            held = (target << bits) | (one & ((1 << bits) - 1))
            order = np.argsort(held, kind="stable")
            ordered, repeats = held[order], many[entry[order]]
        else:
            ordered = _distinct((target << (unit_bits + bits)) | one) >> unit_bits
            repeats = np.ones(len(ordered), np.int64)
        begins = starts(ordered)
        count = np.add.reduceat(repeats, begins)
        which, value = ordered[begins] >> bits, ordered[begins] & ((1 << bits) - 1)
        first = starts(which)
        size = np.add.reduceat(count, first)
        parts.append(worst_class(count, value, first, size, share, sensitive.ordered, c))
    return Diversity.worst(parts) if parts else NONE


_Part = tuple[Integers, "Diversity | None"]
"""How many classes of each size there are, by size, and their diversity."""


def _swept(
    values: Integers,
    room: int,
    hidden: int,
    unit: Coded | None,
    sensitive: Sensitive | None,
    c: float,
) -> tuple[tuple[Integers, Integers], Diversity]:
    """Sizes of classes and the diversity in them, from packed keys."""
    wanted = _Wanted.of(values, room, hidden, unit, sensitive, c)
    parts = side_by_side(
        [partial(wanted.part, *share) for share in _shares(wanted.values)],
        worth=len(values),
    )
    most = max((len(counts) for counts, _ in parts), default=0)
    total = np.zeros(most, np.int64)
    for counts, _ in parts:
        total[: len(counts)] += counts
    size = np.flatnonzero(total)
    spread = [one for _, one in parts if one is not None]
    return (size, total[size]), Diversity.worst(spread) if spread else NONE


def _shares(values: Integers) -> list[tuple[int, int]]:
    """Ranges of values (from, below) that hold about as many rows each, one per processor."""
    parts = cores() if len(values) >= _SPLIT else 1
    sample = np.sort(values[:: max(1, len(values) // 1024)])
    edges = [int(sample[len(sample) * part // parts]) for part in range(1, parts)]
    return list(pairwise([0, *edges, _TOP]))


@dataclass(frozen=True)
class _Wanted:
    """What one sweep works on: `values` hold a row's class, or class and sensitive value, or class,
    sensitive value and unit, in this order from the highest bits down."""

    values: Integers
    class_shift: int
    """Bits below the class."""
    unit_shift: int
    """Bits of the unit."""
    hidden: int
    """The class that is none: suppressed rows."""
    pairs: Integers | None
    """Where units repeat: class and unit."""
    sensitive: Sensitive | None
    share: Floats
    """The share of each sensitive value in the file."""
    c: float

    @classmethod
    def of(
        cls,
        values: Integers,
        room: int,
        hidden: int,
        unit: Coded | None,
        sensitive: Sensitive | None,
        c: float,
    ) -> Self:
        """Pack what is wanted, renumbering classes where they don't fit as they are."""
        value_bits = (sensitive.column.size - 1).bit_length() if sensitive else 0
        unit_bits = (unit.size - 1).bit_length() if unit else 0
        if room << (value_bits + unit_bits) >= ROOM:
            shown = int(np.flatnonzero(values == hidden)[0]) if hidden >= 0 else -1
            values, room = dense(values, room)
            hidden = int(values[shown]) if shown >= 0 else -1
            if max(room, 1) << (value_bits + unit_bits) >= ROOM:
                raise DisclosureError("the table is too large to test in one piece")
        pairs = None
        if unit is not None:
            numbers = unit.codes.astype(np.int64, copy=False)
            pairs = (values << unit_bits) | numbers
        if sensitive is not None:
            values = values << value_bits
            values |= sensitive.column.codes
            if unit is not None:
                values <<= unit_bits
                values |= numbers
        share = np.empty(0)
        if sensitive is not None:
            counts = _value_counts(sensitive.column, unit)
            share = counts / max(counts.sum(), 1)
        shift = value_bits + (unit_bits if sensitive is not None else 0)
        return cls(values, shift, unit_bits, hidden, pairs, sensitive, share, c)

    def part(self, begin: int, below: int) -> _Part:
        """Count the classes in a range of values, and measure the diversity in them."""
        first, last = begin >> self.class_shift, below >> self.class_shift

        def records(values: Integers, shift: int) -> Integers:
            return _chosen(values, first << shift, last << shift if below < _TOP else _TOP)

        if self.pairs is None:
            held = records(self.values, self.class_shift)
            held.sort()
            if self.sensitive is None:
                return self._sizes(held), None
            return self._spread(held, self.class_shift)
        counts = self._sizes(_distinct(records(self.pairs, self.unit_shift)) >> self.unit_shift)
        if self.sensitive is None:
            return counts, None
        held = _distinct(records(self.values, self.class_shift)) >> self.unit_shift
        return counts, self._spread(held, self.class_shift - self.unit_shift)[1]

    def _sizes(self, ordered: Integers) -> Integers:
        """How many classes of each size there are, from the class of each record in order."""
        begins = starts(ordered)
        size = lengths(begins, len(ordered))
        if self.hidden >= 0:
            size = size[ordered[begins] != self.hidden]
        return np.bincount(size, minlength=1)

    def _spread(self, pairs: Integers, bits: int) -> _Part:
        """Sizes and diversity from ordered (class, value) pairs, the value in the low bits."""
        begins = starts(pairs)
        count = lengths(begins, len(pairs))
        which = pairs[begins]
        value = which & ((1 << bits) - 1)
        which >>= bits
        first = starts(which)
        if self.hidden >= 0:
            keep = np.flatnonzero(which != self.hidden)
            count, value, which = count[keep], value[keep], which[keep]
            first = starts(which)
        if not len(first):
            return np.zeros(1, np.int64), None
        size = np.add.reduceat(count, first)
        assert self.sensitive is not None  # noqa: S101 - asked only then
        ordered = self.sensitive.ordered
        spread = worst_class(count, value, first, size, self.share, ordered, self.c)
        return np.bincount(size, minlength=1), spread


def _value_counts(column: Coded, unit: Coded | None) -> Integers:
    """How often each sensitive value occurs in the file, a unit with it counting once."""
    if unit is None:
        return np.bincount(column.codes, minlength=column.size)
    bits = (unit.size - 1).bit_length()
    pairs = (column.codes.astype(np.int64) << bits) | unit.codes
    return np.bincount(_distinct(pairs) >> bits, minlength=column.size)


def _chosen(values: Integers, begin: int, below: int) -> Integers:
    """A copy of the values from `begin` on and below `below`."""
    if begin == 0:
        return values.copy() if below == _TOP else values[values < below]
    if below == _TOP:
        return values[values >= begin]
    return values[(values >= begin) & (values < below)]


def _distinct(values: Integers) -> Integers:
    """Distinct values in order; the array given is used up."""
    values.sort()
    return values[starts(values)]


def per_row(keys: Keys, units: Any = None, missing: Missing = Missing.CATEGORY) -> Integers:
    """f of each row: the distinct units that its combination could be of; for a suppressed row all
    units.

    One sort of combination and row in one integer, where they fit.
    """
    groups = Groups.of(keys, units)
    if groups.unit is not None or missing is Missing.WILDCARD:
        return frequencies(groups, missing=missing).per_row[0]
    many = lengths(groups.begins, len(keys))
    found = np.empty(len(keys), np.int64)
    found[groups.row] = np.repeat(many, many)
    found[keys.suppressed] = len(keys)
    return found


def k_of_subsets(
    keys: Keys,
    subsets: Sequence[Sequence[str]],
    units: Any = None,
    missing: Missing = Missing.CATEGORY,
) -> Iterator[tuple[tuple[str, ...], Sizes]]:
    """The classes of chosen subsets of the keys, each counted by itself.

    Nothing is inferred from the whole key: where a definition leaves rows out (pandas drops those
    with a missing key), a file can have k = 5 on all keys and a unique on one of them.
    """
    for subset in subsets:
        yield tuple(subset), sizes(keys.only(subset), units, missing)
