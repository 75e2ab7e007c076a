"""What combinations of values tell: everything that follows from how many share them.

A *class* is the set of rows that agree on every key, and f its number of distinct units. A row
whose every key is missing says nothing about anybody: it is **suppressed** and forms no class. From
the sizes of classes alone follow k, the sample uniques, the risks of El Emam and two measures of
utility (`Sizes`); from how a sensitive value is spread in each class, l-diversity and t-closeness
(`Diversity`).

A missing key is a category of its own here. Where it should match every value there are no classes
any more; `policies.disclosure.wildcards` says what each measure means then.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.encoding import (
    ROOM,
    Coded,
    DisclosureError,
    Floats,
    Integers,
    Keys,
    coded,
    cores,
    dense,
    lengths,
    of_units,
    ordered_rows,
    side_by_side,
    starts,
)

_SPLIT: Final = 500_000
"""Rows from which on the work is split in two by value."""
_TOP: Final = 2**62
RECURSION: Final = 2.0
"""The constant c of recursive (c, l)-diversity unless another is given, as in sdcMicro."""


@dataclass(frozen=True)
class Sizes:
    """How many classes there are of each size.

    `size` ascends and `classes` counts the classes of that size; `rows` are all rows, `units` all
    distinct units, `suppressed` the rows that show no key at all. A *record* is one unit in one
    class: a unit with two rows in the same class is one record, in two classes it is two.
    """

    size: Integers
    classes: Integers
    rows: int
    units: int
    suppressed: int

    @property
    def number(self) -> int:
        """Classes: distinct combinations of values (J in El Emam)."""
        return int(self.classes.sum())

    @property
    def records(self) -> int:
        """Records that show something: sum of f over the classes."""
        return int((self.size * self.classes).sum())

    @property
    def k(self) -> int:
        """The size of the smallest class: min f. (Samarati and Sweeney, 1998.) 0 without rows."""
        return int(self.size[0]) if len(self.size) else 0

    @property
    def sample_uniques(self) -> int:
        """Records that are alone with their combination: classes of one unit, sum I(f = 1)."""
        return self._below(2)

    def below(self, k: int) -> int:
        """Records that violate k-anonymity: sum I(f < k) over records. (Templ, Kowarik and Meindl,
        2015; SDC Practice Guide, "k-anonymity".)"""
        return self._below(k)

    def _below(self, k: int) -> int:
        small = self.size < k
        return int((self.size[small] * self.classes[small]).sum())

    @property
    def prosecutor_max(self) -> float:
        """The largest chance that an intruder who knows that a unit is in the file picks the right
        record: 1 / min f. (El Emam, Guide to the De-Identification of Personal Health Information,
        2013: pRb.)"""
        return 1 / self.k if self.k else 0.0

    @property
    def prosecutor_mean(self) -> float:
        """The mean of 1/f over records: J / n. (El Emam, 2013: pRc.) It is the marketer's risk too,
        where the file is the whole population."""
        return self.number / self.records if self.records else 0.0

    @property
    def average_class_size(self) -> float:
        """Records per class: n / J. (LeFevre, DeWitt and Ramakrishnan, Mondrian, 2006; there
        divided by k, here not.)"""
        return self.records / self.number if self.number else 0.0

    @property
    def discernibility(self) -> int:
        """The sum of f squared over classes, and the number of all rows for each suppressed row.
        (Bayardo and Agrawal, Data privacy through optimal k-anonymization, 2005: C_DM.)"""
        return int((self.size**2 * self.classes).sum()) + self.suppressed * self.rows


@dataclass(frozen=True)
class Diversity:
    """How a sensitive variable is spread in the classes; each figure is that of the worst class.

    Counts are of distinct (unit, value) pairs: a unit with the same value twice counts once. A
    missing sensitive value is a value like any other, as in sdcMicro. Suppressed rows take part in
    the whole file's distribution, and form no class. Without rows, l is 0 and t is 0.
    """

    distinct: int
    """Distinct l-diversity: the fewest values in a class. (Machanavajjhala, Kifer, Gehrke and
    Venkitasubramaniam, 2007.)"""
    entropy: float
    """Entropy l-diversity: the least exp(-sum p log p), so that the file is entropy l-diverse for
    every l up to it. (The same.)"""
    recursive: int
    """Recursive (c, l)-diversity: the least, over the classes, of the largest l for which
    r1 < c (r_l + … + r_m), r being the counts of the values in descending order; at least 1. (The
    same; c is `RECURSION` unless given.)"""
    t: float
    """t-closeness with equal distances: the largest 1/2 sum |p - q|, p being the distribution in a
    class and q that in the file. (Li, Li and Venkatasubramanian, 2007.)"""
    t_ordered: float | None
    """t-closeness with ordered distances: the largest 1/(m - 1) sum |sum_{j <= i} (p_j - q_j)| over
    the m values in order: numbers as numbers, other values as texts. None unless asked for. (The
    same.)"""

    @classmethod
    def worst(cls, parts: Sequence[Self]) -> Self:
        """That of several together."""
        ordered = [one.t_ordered for one in parts if one.t_ordered is not None]
        return cls(
            min(one.distinct for one in parts),
            min(one.entropy for one in parts),
            min(one.recursive for one in parts),
            max(one.t for one in parts),
            max(ordered) if ordered else None,
        )


_NONE: Final = Diversity(0, 0.0, 0, 0.0, None)


@dataclass(frozen=True)
class Sensitive:
    """A sensitive variable: its coded column, with codes in the order of the values where order
    matters."""

    column: Coded
    ordered: bool

    @classmethod
    def of(cls, values: Any, *, ordered: bool = False) -> Self:
        """Code it; `ordered` asks for t-closeness with ordered distances too: numbers (texts that
        are all numbers as well) by size, others as texts, missing last."""
        column = values if isinstance(values, Coded) else coded(values, absent=())
        return cls(_in_order(column.used()) if ordered else column, ordered)


def _in_order(column: Coded) -> Coded:
    values = column.values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        with suppress(pa.ArrowInvalid):
            values = pc.cast(values, pa.float64())
    order = np.asarray(pc.array_sort_indices(values))
    place = np.empty(len(order), column.codes.dtype)
    place[order] = np.arange(len(order))
    missing = int(place[column.missing]) if column.missing >= 0 else -1
    values = column.values.take(pa.array(order))
    return Coded(place[column.codes], column.size, missing, values)


def sizes(keys: Keys, units: Any = None) -> Sizes:
    """Count the classes of a table of keys; `units` names the unit of each row (each row is one
    unless given)."""
    return measure(keys, {}, units)[0]


def measure(
    keys: Keys,
    sensitive: Mapping[str, Sensitive],
    units: Any = None,
    c: float = RECURSION,
) -> tuple[Sizes, dict[str, Diversity]]:
    """Everything that classes tell, in one sweep: their sizes, and the diversity of each sensitive
    variable."""
    rows = len(keys)
    unit = of_units(units, rows)
    values, room = keys.packed
    gone = keys.suppressed
    hidden = int(values[gone[0]]) if len(gone) and len(gone) < rows else -1
    wanted: Mapping[str, Sensitive | None] = sensitive or {"": None}
    swept = {name: _swept(values, room, hidden, unit, one, c) for name, one in wanted.items()}
    (size, _), *_ = swept.values()
    found = {name: spread for name, (_, spread) in swept.items() if name in sensitive}
    distinct = rows if unit is None else unit.size
    return Sizes(*size, rows, distinct, len(gone) if hidden >= 0 else 0), found


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
    return (size, total[size]), Diversity.worst(spread) if spread else _NONE


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

    def _spread(self, ordered: Integers, bits: int) -> _Part:
        """Sizes and diversity from ordered (class, value) pairs, the value in the low bits."""
        begins = starts(ordered)
        count = lengths(begins, len(ordered))
        which = ordered[begins]
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
        return np.bincount(size, minlength=1), self._worst(count, value, first, size)

    def _worst(
        self, count: Integers, value: Integers, first: Integers, size: Integers
    ) -> Diversity:
        """The diversity of the worst class: `count` of each `value` in classes that begin at
        `first` and have `size` pairs."""
        assert self.sensitive is not None  # noqa: S101 - asked only then
        share = self.share
        far = _Line.of(share) if self.sensitive.ordered else None
        number = lengths(first, len(count))
        alone = number == 1
        if not alone.any():
            return Diversity(
                int(number.min()),
                _entropy(count, first, size),
                _recursive(count, first, number, self.c),
                _equal(count, value, first, size, share),
                far.farthest(count, value, first, size) if far else None,
            )
        # a class of one value is as bad as can be in all but t, which such classes share by value
        seen = np.zeros(len(share), bool)
        seen[value[first[alone]]] = True
        t, t_ordered = float((1 - share[seen]).max()), None
        if far:
            t_ordered = float(far.alone[seen].max())
        if not alone.all():
            several = np.repeat(~alone, number)
            count, value = count[several], value[several]
            number, size = number[~alone], size[~alone]
            first = np.cumsum(number) - number
            t = max(t, _equal(count, value, first, size, share))
            if far and t_ordered is not None:
                t_ordered = max(t_ordered, far.farthest(count, value, first, size))
        return Diversity(1, 1.0, 1, t, t_ordered)


def _entropy(count: Integers, first: Integers, size: Integers) -> float:
    """The least entropy l of all classes."""
    times_log = np.arange(int(count.max()) + 1, dtype=np.float64)
    times_log[1:] *= np.log(times_log[1:])
    entropy = np.log(size) - np.add.reduceat(times_log[count], first) / size
    return float(np.exp(max(entropy.min(), 0.0)))


def _equal(
    count: Integers, value: Integers, first: Integers, size: Integers, share: Floats
) -> float:
    """The largest distance of a class from the file, all values being equally far apart.

    Half the sum of |p - q| is the sum of p - q where p is larger, and p is larger only for values
    that the class has.
    """
    more = share[value]
    more *= np.repeat(size, lengths(first, len(count)))
    np.subtract(count, more, out=more)
    np.maximum(more, 0, out=more)
    return float((np.add.reduceat(more, first) / size).max())


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


def _recursive(count: Integers, first: Integers, number: Integers, c: float) -> int:
    """The least recursive l of all classes, for constant c."""
    most, bits = int(count.max()), int(count.max()).bit_length()
    group = np.repeat(np.arange(len(first)), number)
    down = np.sort((group << bits) | (most - count))
    down = most - (down & ((1 << bits) - 1))
    total = np.cumsum(down)
    end = np.append(first[1:], len(down)) - 1
    tail = np.repeat(total[end], number) - total + down  # r_l + … + r_m, in descending order
    enough = np.repeat(down[first], number) < c * tail
    return max(1, int(np.add.reduceat(enough.astype(np.int64), first).min()))


@dataclass(frozen=True)
class _Line:
    """The values of a file in order: its cumulative shares, and their running sum."""

    climbing: Floats
    summed: Floats

    @classmethod
    def of(cls, share: Floats) -> Self:
        climbing = np.cumsum(share)
        return cls(climbing, np.concatenate(([0.0], np.cumsum(climbing))))

    @property
    def alone(self) -> Floats:
        """For each value, how far a class is that has only this one."""
        places = np.arange(len(self.climbing))
        after = len(places) - 1 - places - (self.summed[-2] - self.summed[places])
        distance: Floats = (self.summed[places] + after) / max(len(places) - 1, 1)
        return distance

    def farthest(self, count: Integers, value: Integers, first: Integers, size: Integers) -> float:
        """The largest earth mover's distance on ordered values of any class.

        Between two values that a class has, its cumulative share stands still and the file's
        climbs: where they cross is looked up, and sums of the file's are kept, so that a value
        that a class doesn't have costs nothing.
        """
        last = len(self.climbing) - 1
        number = lengths(first, len(count))
        total = np.cumsum(count)
        total -= np.repeat(total[first] - count[first], number)
        here = total / np.repeat(size, number)
        until = np.empty_like(value)
        until[:-1] = value[1:]
        until[np.append(first[1:], len(value)) - 1] = last  # the last place adds nothing
        cross = np.clip(np.searchsorted(self.climbing, here), value, until)
        inside = here * (2 * cross - value - until)
        inside += self.summed[value] + self.summed[until] - 2 * self.summed[cross]
        before = self.summed[value[first]]  # where the class has nothing yet
        return float((np.add.reduceat(inside, first) + before).max()) / max(last, 1)


def per_row(keys: Keys, units: Any = None) -> Integers:
    """f of each row: the distinct units that share its combination; for a suppressed row all units.

    One sort of class and row in one integer, where they fit.
    """
    rows = len(keys)
    values, room = keys.packed
    unit = of_units(units, rows)
    row, value = ordered_rows(values, room)
    begins = starts(value)
    many = lengths(begins, rows)
    found = np.empty(rows, np.int64)
    if unit is None:
        found[row] = np.repeat(many, many)
        total = rows
    else:
        group = np.repeat(np.arange(len(begins)), many)
        bits = (unit.size - 1).bit_length()
        pairs = _distinct((group << bits) | unit.codes[row])
        number = np.bincount(pairs >> bits, minlength=len(begins))
        found[row] = np.repeat(number, many)
        total = unit.size
    found[keys.suppressed] = total
    return found


def k_of_subsets(
    keys: Keys, subsets: Sequence[Sequence[str]], units: Any = None
) -> Iterator[tuple[tuple[str, ...], Sizes]]:
    """The classes of chosen subsets of the keys, each counted by itself.

    Nothing is inferred from the whole key: where a definition leaves rows out (pandas drops those
    with a missing key), a file can have k = 5 on all keys and a unique on one of them.
    """
    for subset in subsets:
        yield tuple(subset), sizes(keys.only(subset), units)
