"""The pairs that may be one unit, out of all candidates: prune on integers first, compare texts last.

Each chunk of candidates goes through three sieves. Equality of codes bounds the weight that a pair
can still reach; nine in ten end there. Of the others every field is looked at as integers, which
bounds it closer; and only what is left has its texts compared. The bounds are never below the
weight, so that no pair is lost that `floor` would keep.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.blocks import Blocked, Rows, pairs_of
from linkage.kernel.columns import Encoded
from linkage.kernel.levels import Comparison, Levels, Pairs
from linkage.kernel.weights import Floats, Singles, Weights

ABSENT: Final = -2
"""What a missing code becomes on the right, so that two missing ones aren't equal."""


@dataclass(frozen=True)
class Scored:
    """Pairs of rows, with the logarithm of the odds that they are one unit, and their levels.

    `strangers` are the odds were there no households: what the fields weigh, with the prior.
    """

    left: Rows
    right: Rows
    odds: Floats
    strangers: Floats
    levels: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.left)

    def some(self, rows: Any) -> "Scored":
        """A few of the pairs."""
        return Scored(
            self.left[rows], self.right[rows], self.odds[rows], self.strangers[rows],
            self.levels[rows],
        )  # fmt: skip


def joined(parts: Sequence[Scored], comparisons: int) -> Scored:
    """Several sets of pairs as one."""
    nothing = Scored(
        np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros(0),
        np.zeros((0, comparisons), np.int8),
    )  # fmt: skip
    every = [nothing, *parts]
    return Scored(
        *(
            np.concatenate([getattr(one, name) for one in every])
            for name in ("left", "right", "odds", "strangers", "levels")
        )
    )


class Scorer:
    """Weighs candidates under a model; those whose odds stay below `floor` are dropped."""

    def __init__(
        self,
        encoded: Encoded,
        rules: Sequence[Sequence[str]],
        weights: Weights,
        tables: Mapping[str, Singles],
        floor: float,
    ) -> None:
        """`floor`: natural logarithm of the smallest odds worth keeping."""
        self._encoded, self._rules, self._weights = encoded, rules, weights
        self._tables, self._floor = tables, floor
        self._gain = [table[0] - table[2] for table in weights.tables]
        self._sieve = _Sieve(encoded, weights, self._gain, tables)

    def run(
        self,
        blocked: Sequence[Blocked],
        workers: int,
        told: Callable[[float], None] = lambda _: None,
    ) -> Scored:
        """All candidates of all rules; the order of the result doesn't depend on `workers`."""
        total = max(sum(one.candidates for one in blocked), 1)
        found, done = [], 0
        with ThreadPoolExecutor(workers) as pool:
            for rule, one in enumerate(blocked):
                sides = self._sieve.ordered(one)
                work = self._ranges(one)
                for scored, size in _ahead(
                    pool, lambda span, r=rule, b=one, s=sides: self._chunk(r, b, s, *span), work,
                    workers + 1,
                ):  # fmt: skip
                    found.append(scored)
                    done += size
                    told(done / total)
        return joined(found, len(self._weights.comparisons))

    @staticmethod
    def _ranges(one: Blocked) -> Iterator[tuple[int, int]]:
        return one.chunks()

    def _chunk(
        self, rule: int, blocked: Blocked, sides: "_Ordered", first: int, last: int
    ) -> tuple[Scored, int]:
        at, place, count = pairs_of(blocked, first, last)
        rows = np.flatnonzero(self._sieve.passes(sides, first, last, place, count, self._floor))
        pairs = Pairs(self._encoded, blocked.a[at[rows]], blocked.b[place[rows]])
        pairs = pairs.some(np.flatnonzero(~self._earlier(rule, pairs)))
        return self._weighed(pairs), len(at)

    def _earlier(self, rule: int, pairs: Pairs) -> Any:
        """Pairs that a rule before this one has found already."""
        found = np.zeros(len(pairs), np.bool_)
        for parts in self._rules[:rule]:
            whole = np.ones(len(pairs), np.bool_)
            for part in parts:
                left, right = pairs.straight(part)
                whole &= (left == right) & (left >= 0)
            found |= whole
        return found

    def _weighed(self, pairs: Pairs) -> Scored:
        """Second and third sieve, and the odds of what is left."""
        comparisons = self._weights.comparisons
        levels = np.zeros((len(comparisons), len(pairs)), np.int8)
        opened: dict[int, Any] = {}
        bound = np.full(len(pairs), self._weights.prior, np.float32)
        for n, one in enumerate(comparisons):
            levels[n], open_ = one.glance(pairs)
            best = self._gain[n].astype(np.float32)[levels[n]]
            if open_ is not None:
                opened[n] = open_
                # an open level is the best that letters allow; a worse one may still weigh more
                best[open_] = self._best_from(n)[levels[n][open_]]
            bound += best
            for word, part in one.rarity.items():
                rows = np.flatnonzero(levels[n] == one.level(word))
                bound[rows] -= self._tables[part][pairs.left[rows]]
        kept = np.flatnonzero(bound >= self._floor)
        pairs, levels, bound = pairs.some(kept), levels[:, kept], bound[kept]
        opened = {n: open_[kept] for n, open_ in opened.items()}
        for n in opened:
            rows = np.flatnonzero(opened[n])
            before = self._best_from(n)[levels[n][rows]]
            comparisons[n].settle(pairs, levels[n], rows)
            bound[rows] += self._gain[n][levels[n][rows]] - before
            kept = np.flatnonzero(bound >= self._floor - 1e-3)
            pairs, levels, bound = pairs.some(kept), levels[:, kept], bound[kept]
            opened = {n: open_[kept] for n, open_ in opened.items()}
        return self.scored(pairs, levels)

    def _best_from(self, n: int) -> Any:
        """Per level the most that this level, or a later one but `missing`, can weigh."""
        gain = self._gain[n]
        return np.maximum.accumulate(gain[::-1])[::-1].astype(np.float32)

    def scored(self, pairs: Pairs, levels: npt.NDArray[np.int8]) -> Scored:
        """Pairs whose levels are exact, with their odds; those below the floor are left out."""
        rarity = np.zeros(len(pairs), np.float32)
        for n, one in enumerate(self._weights.comparisons):
            for word, part in one.rarity.items():
                rows = np.flatnonzero(levels[n] == one.level(word))
                rarity[rows] += self._tables[part][pairs.left[rows]]
        strangers, odds = self._weights.odds(list(levels), rarity)
        result = Scored(
            pairs.left.astype(np.int32), pairs.right.astype(np.int32), odds, strangers,
            np.ascontiguousarray(levels.T),
        )  # fmt: skip
        return result.some(np.flatnonzero(odds >= self._floor))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterator[Any], ahead: int
) -> Iterator[Any]:
    """Like map, with so many items under way at a time: results are few, chunks are large."""
    waiting: list[Any] = []
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


@dataclass(frozen=True)
class _Ordered:
    """Columns of both sides in the order of a rule's key: reading them is reading on."""

    left: Mapping[str, Any]
    right: Mapping[str, Any]


class _Sieve:
    """The bound that equality of codes alone gives.

    Only parts that can move it take part. A missing value counts as the best that isn't equality,
    or as no evidence if that is more.
    """

    def __init__(
        self,
        encoded: Encoded,
        weights: Weights,
        gains: Sequence[Floats],
        tables: Mapping[str, Singles],
    ) -> None:
        self._encoded, self._tables = encoded, tables
        self._base = weights.prior
        self._names = [one for one in weights.comparisons if one.name in _NAMED]
        self._bounds: list[tuple[Comparison, tuple[str, ...], Any]] = []
        for one, gain in zip(weights.comparisons, gains, strict=True):
            table = _table(one, gain)
            if table.max() - table.min() < _LITTLE:
                self._base += float(table.max())  # not worth a look at this stage
                continue
            self._bounds.append((one, one.atoms, table.astype(np.float32)))
        self._swaps = {"given", "last"} <= set(encoded.parts)
        parts = {atom for _, atoms, _ in self._bounds for atom in atoms}
        self._parts = sorted(parts | ({"given", "last"} if self._swaps else set()))
        self._bonus = {one.name: self._most_rare(one) for one, _, _ in self._bounds if one.rarity}

    def _most_rare(self, one: Comparison) -> Singles:
        """Per row of `a`, the most that rarity can add where the comparison agrees."""
        columns = [-self._tables[part] for part in set(one.rarity.values())]
        return np.maximum.reduce([*columns, np.zeros_like(columns[0])])

    def ordered(self, blocked: Blocked) -> _Ordered:
        """The columns that `passes` needs, in a rule's order."""
        a, b = self._encoded.a.codes, self._encoded.b.codes
        left = {part: a[part][blocked.a] for part in self._parts}
        right = {}
        for part in self._parts:
            codes = b[part][blocked.b]
            codes[codes < 0] = ABSENT
            right[part] = codes
        bonus = {f"+{name}": column[blocked.a] for name, column in self._bonus.items()}
        return _Ordered({**left, **bonus}, right)

    def passes(
        self, sides: _Ordered, first: int, last: int, place: Any, count: Any, floor: float
    ) -> Any:
        """Which candidates can still reach the floor."""

        def left(name: str) -> Any:
            return np.repeat(sides.left[name][first:last], count)

        def right(name: str) -> Any:
            return sides.right[name][place]

        across = None
        if self._swaps:
            across = left("given") == right("last")
            across |= left("last") == right("given")
        bound = np.full(len(place), self._base, np.float32)
        for one, atoms, table in self._bounds:
            state = np.zeros(len(place), np.uint8)
            agrees = None
            for bit, atom in enumerate(atoms):
                equal = left(atom) == right(atom)
                if one.name in _NAMED and across is not None:
                    equal |= across
                agrees = equal if agrees is None else agrees | equal
                if len(atoms) > 1:
                    state |= equal.view(np.uint8) << np.uint8(bit)
            if len(atoms) > 1:
                bound += table[state]
            else:
                bound += table[0]
                bound += agrees * (table[1] - table[0])
            if one.rarity:
                bound += agrees * left(f"+{one.name}")
        return bound >= floor


_NAMED: Final = ("first_name", "last_name")
_LITTLE: Final = 1.5


def _table(one: Comparison, gain: Floats) -> Floats:
    """The most a comparison can weigh, by which of its atoms agree (a bit each)."""
    atoms = one.atoms
    table = np.zeros(1 << len(atoms))
    for equal in product((False, True), repeat=len(atoms)):
        state = sum(1 << bit for bit, agrees in enumerate(equal) if agrees)
        best = -np.inf
        # what doesn't agree is another value or a missing one
        for gone in product((False, True), repeat=len(atoms)):
            if any(g and e for g, e in zip(gone, equal, strict=True)):
                continue
            words = one.possible(dict(zip(atoms, equal, strict=True)),
                                 dict(zip(atoms, gone, strict=True)))  # fmt: skip
            best = max(best, *(float(gain[one.level(word)]) for word in words))
        table[state] = best
    return table
