"""How a sensitive value is spread in each class: l-diversity and t-closeness.

Knowing that somebody is in a class tells what all of the class have in common. Both measures say
how much that is, each for the worst class: of how many values, and how far from the whole file.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.encoding import Coded, Floats, Integers, coded, lengths

RECURSION: Final = 2.0
"""The constant c of recursive (c, l)-diversity unless another is given, as in sdcMicro."""


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


NONE: Final = Diversity(0, 0.0, 0, 0.0, None)


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
        column = values if isinstance(values, Coded) else coded(values)
        return cls(_in_order(column.used()) if ordered else column, ordered)


def _in_order(column: Coded) -> Coded:
    """The same with codes in the order of the values."""
    values = column.values
    if column.missing >= 0:
        gone = np.arange(len(values)) == column.missing
        values = pc.if_else(pa.array(gone), pa.scalar(None, values.type), values)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        with suppress(pa.ArrowInvalid):
            values = pc.cast(values, pa.float64())
    order = np.asarray(pc.array_sort_indices(values))
    place = np.empty(len(order), column.codes.dtype)
    place[order] = np.arange(len(order))
    missing = int(place[column.missing]) if column.missing >= 0 else -1
    return Coded(place[column.codes], column.size, missing, column.values.take(pa.array(order)))


def worst_class(
    count: Integers,
    value: Integers,
    first: Integers,
    size: Integers,
    share: Floats,
    ordered: bool,
    c: float,
) -> Diversity:
    """The diversity of the worst class: `count` of each `value` in classes that begin at `first`
    and have `size` of them; `share` is that of each value in the file."""
    far = _Line.of(share) if ordered else None
    number = lengths(first, len(count))
    alone = number == 1
    if not alone.any():
        return Diversity(
            int(number.min()),
            _entropy(count, first, size),
            _recursive(count, first, number, c),
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
            t_ordered = far.farthest(count, value, first, size, t_ordered)
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

    def farthest(
        self,
        count: Integers,
        value: Integers,
        first: Integers,
        size: Integers,
        least: float = 0.0,
    ) -> float:
        """The largest earth mover's distance on ordered values of any class, or `least`.

        No class is farther than its values by themselves are on average (the distance is convex),
        so that most needn't be looked at once one that could be the farthest has been.
        """
        bound = np.add.reduceat(count * self.alone[value], first) / size
        number = lengths(first, len(count))
        for chosen in (np.arange(len(first)) == np.argmax(bound), bound > 0):
            could = chosen & (bound > least * (1 - 1e-12))
            if could.any():
                pairs = np.repeat(could, number)
                begin = np.cumsum(number[could]) - number[could]
                found = self._distances(count[pairs], value[pairs], begin, size[could])
                least = max(least, float(found.max()))
        return least

    def _distances(
        self, count: Integers, value: Integers, first: Integers, size: Integers
    ) -> Floats:
        """The distance of each class.

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
        found: Floats = (np.add.reduceat(inside, first) + before) / max(last, 1)
        return found
