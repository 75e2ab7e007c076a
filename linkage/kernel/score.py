"""The pairs that may be one unit, out of all candidates: integers first, texts last.

Each chunk of candidates goes through three sieves. Equality of codes bounds the weight that a pair
can still reach; nine in ten end there. Of the others every field is looked at as integers, which
bounds it closer; and only what is left has its texts compared. The bounds are never below the
weight, so that no pair is lost that `floor` would keep.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.blocks import Blocked, Rows, pairs_of
from linkage.kernel.columns import Encoded, Side
from linkage.kernel.levels import SIMILAR, Comparison, Levels, Pairs, compared
from linkage.kernel.weights import Floats, Singles, Weights, rarity_of


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
        self.encoded, self._rules, self.weights = encoded, rules, weights
        self.tables, self._floor = tables, floor
        self._gains = [(table[0] - table[2]).astype(np.float32) for table in weights.tables]
        self._sieve = _Sieve(encoded, weights, self._gains, floor)

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
                work = _InOrder(self, rule, one, pool.map)
                for scored, size in _ahead(pool, work.chunk, one.chunks(), 2 * workers):
                    found.append(scored)
                    done += size
                    told(done / total)
                del work  # before the next rule's copies are made
        return joined(found, len(self.weights.comparisons))

    def of(self, encoded: Encoded, tables: Mapping[str, Singles]) -> "Scorer":
        """The same for other rows in the same codes."""
        other = copy(self)
        other.encoded, other.tables = encoded, tables
        return other

    def weighed(self, rule: int, blocked: Blocked) -> Scored:
        """All candidates of one rule."""
        work = _InOrder(self, rule, blocked)
        found = [work.chunk(span)[0] for span in blocked.chunks()]
        return joined(found, len(self.weights.comparisons))


def weigh(
    weights: Weights,
    tables: Mapping[str, Singles],
    pairs: Pairs,
    levels: Sequence[Levels] | None = None,
) -> Scored:
    """Any pairs with their odds; `levels` if they are known already."""
    if levels is None:
        levels = compared(pairs, weights.comparisons)
    rarity = rarity_of(weights.comparisons, tables, levels, pairs)
    strangers, odds = weights.odds(levels, rarity)
    return Scored(
        pairs.left.astype(np.int32), pairs.right.astype(np.int32), odds, strangers,
        np.column_stack(levels).astype(np.int8),
    )  # fmt: skip


class _InOrder:
    """A rule's work, on copies of both sides in the order of its key: reading is reading on."""

    def __init__(self, scorer: Scorer, rule: int, blocked: Blocked, each: Any = map) -> None:
        """`each`: what applies a function to many columns; a pool's does it on all cores."""
        self._scorer, self._blocked = scorer, blocked
        self._earlier = scorer._rules[:rule]
        encoded = scorer.encoded
        self._turn = _turns(scorer.weights.comparisons, encoded.atoms(scorer._rules[rule]))
        tables = list(scorer.tables)
        columns = [(encoded.a.codes[part], blocked.a) for part in encoded.a.codes]
        columns += [(encoded.b.codes[part], blocked.b) for part in encoded.b.codes]
        columns += [(scorer.tables[part], blocked.a) for part in tables]
        taken = iter(list(each(lambda one: one[0][one[1]], columns)))
        sides = [
            Side(len(rows), {part: next(taken) for part in side.codes})
            for side, rows in ((encoded.a, blocked.a), (encoded.b, blocked.b))
        ]
        self._encoded = replace(encoded, a=sides[0], b=sides[1])
        self._tables = {part: next(taken) for part in tables}
        self._sieve = scorer._sieve.ordered(self._encoded, self._tables, scorer._rules[rule], each)

    def chunk(self, span: tuple[int, int]) -> tuple[Scored, int]:
        """What is left of a range of candidates, and how many there were."""
        left, right = pairs_of(self._blocked, *span)
        scorer = self._scorer
        pairs = Pairs(self._encoded, left, right)
        pairs = pairs.some(np.flatnonzero(self._sieve.worth(pairs)))
        bound, shares = self._sieve.bound(pairs)
        rows = np.flatnonzero(bound >= scorer._floor)
        rows = rows[~self._found_before(pairs.some(rows))]
        some = self._weighed(pairs.some(rows), bound[rows], [share[rows] for share in shares])
        blocked = self._blocked
        return replace(some, left=blocked.a[some.left], right=blocked.b[some.right]), len(left)

    def _found_before(self, pairs: Pairs) -> Any:
        """Pairs that an earlier rule finds, and that are its."""
        found = np.zeros(len(pairs), np.bool_)
        for parts in self._earlier:
            whole = np.ones(len(pairs), np.bool_)
            for part in parts:
                left, right = pairs.straight(part)
                whole &= (left == right) & (left >= 0)
            found |= whole
        return found

    def _weighed(self, pairs: Pairs, bound: Singles, shares: list[Singles]) -> Scored:
        """Second and third sieve: fields one after the other, first as integers, then as texts.

        `shares` are what each field can add to the bound as far as is known.
        """
        scorer = self._scorer
        which, gains = scorer.weights.comparisons, scorer._gains
        pairs = pairs.some(slice(None))
        levels: list[Any] = [None] * len(which)
        opened: dict[int, Any] = {}
        for n in self._turn:
            level, open_ = which[n].glance(pairs)
            bound += self._most(n, level, open_, pairs) - shares[n]
            levels[n] = level
            if open_ is not None:
                opened[n] = open_
            kept = np.flatnonzero(bound >= scorer._floor - SLACK)
            if len(kept) < 0.9 * len(pairs):
                pairs, bound = pairs.some(kept), bound[kept]
                levels = [None if old is None else old[kept] for old in levels]
                shares = [share[kept] for share in shares]
                opened = {m: still[kept] for m, still in opened.items()}
        for n in list(opened):
            rows = np.flatnonzero(opened[n])
            before = _best_from(gains[n])[levels[n][rows]]
            which[n].settle(pairs, levels[n], rows)
            bound[rows] += gains[n][levels[n][rows]] - before
            kept = np.flatnonzero(bound >= scorer._floor - SLACK)
            pairs, bound = pairs.some(kept), bound[kept]
            levels = [level[kept] for level in levels]
            opened = {m: still[kept] for m, still in opened.items()}
        scored = weigh(scorer.weights, self._tables, pairs, levels)
        return scored.some(np.flatnonzero(scored.odds >= scorer._floor))

    def _most(self, n: int, levels: Levels, open_: Any, pairs: Pairs) -> Singles:
        """The most that a field can add now that its levels, some of them open, are known."""
        gain = self._scorer._gains[n]
        most = gain[levels]
        if open_ is not None:
            rows = np.flatnonzero(open_)
            most[rows] = _best_from(gain)[levels[rows]]
        one = self._scorer.weights.comparisons[n]
        for word, part in one.rarity.items():
            rows = np.flatnonzero(levels == one.level(word))
            most[rows] -= self._tables[part][pairs.left[rows]]
        result: Singles = most
        return result


def _turns(which: Sequence[Comparison], told: frozenset[str]) -> list[int]:
    """Which field is looked at first: what the rule doesn't tell, the cheap before the dear."""
    return sorted(
        range(len(which)), key=lambda n: (not told.isdisjoint(which[n].atoms), which[n].cost, n)
    )


LITTLE: Final = 1.5
"""Logarithm of odds that a field may add unseen, where looking would cost more than it saves."""
SLACK: Final = 1e-3
"""Single precision: what bounds may be off by."""


def _best_from(gain: Singles) -> Singles:
    """Per level the most that this level, or a later one, weighs: letters only bound from above."""
    return np.maximum.accumulate(gain[::-1])[::-1]


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterator[Any], ahead: int
) -> Iterator[Any]:
    """Like map, with so many items under way at a time: results are few, chunks are large."""
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Sieve:
    """What equal codes, and the letters of names, say about the weight that a pair can reach.

    A field that agrees has the weight of agreement and what the rarity of the value can add; one
    that doesn't has the best of its other levels, and a name that has too few letters in common
    with the other that of a difference. A record that lacks a field may save what a difference
    would cost: that is added for each such record.
    """

    def __init__(
        self, encoded: Encoded, weights: Weights, gains: Sequence[Singles], floor: float
    ) -> None:
        self._prior, self._floor = weights.prior, floor
        self._swaps = {"joined", "last"} <= set(encoded.parts)
        self._fields = []
        for one, gain in zip(weights.comparisons, gains, strict=True):
            tight, loose = _table(one, gain, missing=False), _table(one, gain, missing=True)
            self._fields.append((one, tight, float((loose - tight).max())))
        self._unlike = {
            one.name: gain[one.level("different")]
            for one, gain in zip(weights.comparisons, gains, strict=True)
            if one.name in _NAMED
        }

    def ordered(
        self, encoded: Encoded, tables: Mapping[str, Singles], rule: Sequence[str], each: Any
    ) -> "_OrderedSieve":
        """The sieve for sides in the order of a rule's key."""
        named = [name for name in self._unlike if _NAMED[name] not in rule]
        sides = [(side, name) for name in named for side in (encoded.a, encoded.b)]
        letters = iter(list(each(lambda one: _Letters.of(one[0], encoded, one[1]), sides)))
        names = {name: (next(letters), next(letters)) for name in named}
        slack = list(each(self._slack, (encoded.a, encoded.b)))
        bonus = {}
        for one, _, _ in self._fields:
            if one.rarity:
                columns = [-tables[part] for part in set(one.rarity.values())]
                bonus[one.name] = np.maximum.reduce([*columns, np.zeros_like(columns[0])])
        least = self._least(encoded, bonus, rule) + slack[0]
        evidence = self._evidence(rule, encoded)
        return _OrderedSieve(
            self._prior, self._fields, self._swaps, slack, bonus, names, self._unlike, least,
            evidence, self._floor,
        )  # fmt: skip

    def _least(
        self, encoded: Encoded, bonus: Mapping[str, Singles], rule: Sequence[str]
    ) -> Singles:
        """For each row of `a`, the most that a pair weighs that agrees on the rule and no more."""
        told = encoded.atoms(rule)
        total = np.full(encoded.a.rows, self._prior, np.float32)
        for one, table, _ in self._fields:
            agree = sum(1 << bit for bit, atom in enumerate(one.atoms) if atom in told)
            if not agree and one.name in self._unlike:
                total += self._unlike[one.name]
                continue
            total += table.max() if self._little(table, agree) else table[agree]
            if agree and one.rarity:
                total += bonus[one.name]
        return total

    def _evidence(self, rule: Sequence[str], encoded: Encoded) -> tuple[str, ...]:
        """Parts whose equality, beside what the rule tells, can make a pair weigh more."""
        told = encoded.atoms(rule)
        return tuple(
            atom
            for one, table, _ in self._fields
            if one.name not in _NAMED
            for bit, atom in enumerate(one.atoms)
            if atom not in told and self._adds(one, table, bit, told)
        )

    @staticmethod
    def _adds(one: Comparison, table: Singles, bit: int, told: frozenset[str]) -> bool:
        known = sum(1 << n for n, atom in enumerate(one.atoms) if atom in told)
        if _Sieve._little(table, known):
            return False
        return bool(table[known | 1 << bit] > table[known]) or known != 0

    @staticmethod
    def _little(table: Singles, known: int) -> bool:
        """Whether a field can hardly add to what is known of it: it is granted without a look."""
        return float(table.max() - table[known]) < LITTLE

    def _slack(self, side: Side) -> Singles:
        total = np.zeros(side.rows, np.float32)
        for one, _, slack in self._fields:
            missing = np.zeros(side.rows, np.bool_)
            for atom in one.atoms:
                missing |= side.codes[atom] < 0
            total += missing * np.float32(slack)
        return total


@dataclass(frozen=True)
class _OrderedSieve:
    prior: float
    fields: Sequence[tuple[Comparison, Singles, float]]
    swaps: bool
    slack: Sequence[Singles]
    bonus: Mapping[str, Singles]
    names: Mapping[str, tuple["_Letters", "_Letters"]]
    unlike: Mapping[str, np.float32]
    least: Singles
    evidence: tuple[str, ...]
    floor: float

    def worth(self, pairs: Pairs) -> Any:
        """Which pairs can reach the floor: they agree on more than the rule, or needn't.

        The cheapest look there is, since most candidates end here.
        """
        left, right = pairs.left, pairs.right
        lacking = self.slack[1][right]
        lacking += self.least[left]
        worth = lacking >= self.floor
        if self.swaps:
            worth |= self._across(pairs)
        for name in self.names:
            worth |= self._alike(name, pairs)
        for part in self.evidence:
            worth |= _equal(pairs, part)
        return worth

    def bound(self, pairs: Pairs) -> tuple[Singles, list[Singles]]:
        """The most that each pair can weigh with its prior, and each field's share of that."""
        bound = self.slack[0][pairs.left]
        bound += self.slack[1][pairs.right]
        bound += np.float32(self.prior)
        across = self._across(pairs) if self.swaps else None
        if across is not None:
            pairs.may_be_crossed(across)
        shares = []
        for one, table, _ in self.fields:
            equal = [_equal(pairs, atom) for atom in one.atoms]
            if across is not None and one.name in _NAMED:
                equal[0] |= across
            if one.name == "first_name":
                equal[0] |= _equal(pairs, "joined")
            agrees = equal[0]
            if one.name in self.names:
                share = np.where(self._alike(one.name, pairs), table[0], self.unlike[one.name])
                np.copyto(share, table[1], where=agrees)
            elif len(equal) == 1:
                share = np.where(agrees, table[1], table[0])
            else:
                state = agrees.view(np.uint8).copy()
                for bit, other in enumerate(equal[1:], 1):
                    state |= other.view(np.uint8) << np.uint8(bit)
                share = table[state]
                agrees = state != 0
            if one.rarity:
                share += agrees * self.bonus[one.name][pairs.left]
            bound += share
            shares.append(share)
        return bound, shares

    def _alike(self, name: str, pairs: Pairs) -> Any:
        """Whether two names, should they differ, can be more than two different names."""
        one, other = self.names[name]
        left, right = pairs.left, pairs.right
        common = np.bitwise_count(one.letters[left] & other.letters[right])
        common += other.others[right]
        alike = common * (one.inverse[left] + other.inverse[right]) >= _ENOUGH
        alike |= one.group[left] == other.group[right]
        return alike

    def _across(self, pairs: Pairs) -> Any:
        """Whether a first name stands in the other's last name, or the other way round."""
        a, b = pairs.encoded.a.codes, pairs.encoded.b.codes
        left, right = pairs.left, pairs.right
        across = a["joined"][left] == b["last"][right]
        across |= a["last"][left] == b["joined"][right]
        return across


def _equal(pairs: Pairs, part: str) -> Any:
    """Equal codes; two missing ones count too, which a bound may."""
    left, right = pairs.straight(part)
    return left == right


@dataclass(frozen=True)
class _Letters:
    """Of a name in each row: its letters, how many more it has, one divided by its length.

    A name that is missing or an initial gets figures with which it may be alike to any. The letters
    of a second first name count too. `group` is the same for equal names and for nicknames.
    """

    letters: npt.NDArray[np.uint64]
    others: npt.NDArray[np.uint8]
    inverse: Singles
    group: Any

    @classmethod
    def of(cls, side: Side, encoded: Encoded, name: str) -> "_Letters":
        """The letters of a side's first or last names."""
        codes = side.codes[_NAMED[name]]
        words = encoded.vocabularies[_NAMED[name]]
        short = (codes < 0) | (words.lengths[codes] < 2)
        letters, others = words.letters[codes], words.others[codes].astype(np.uint8)
        letters[short], others[short] = ~np.uint64(0), 0
        # of longer ones a name of four letters could be a part without having ENOUGH in common
        inverse = np.float32(1) / np.clip(words.lengths[codes], 1, 18).astype(np.float32)
        inverse[short] = 10.0
        if name != "first_name":
            return cls(letters, others, inverse, codes)
        second = side.codes["second"]
        letters |= np.where(second < 0, np.uint64(0), words.letters[second])
        others += np.where(second < 0, np.uint8(0), words.others[second].astype(np.uint8))
        group = words.nicknames[codes]
        group = np.where((codes < 0) | (group < 0), codes, -3 - group)  # a name alone is a group
        return cls(letters, others, inverse, group)


_NAMED: Final = {"first_name": "head", "last_name": "last"}
_ENOUGH: Final = np.float32(3 * (SIMILAR - 0.4) / 0.6 - 1)
"""Letters in common, divided by either length, without which likeness stays below SIMILAR.

With a prefix of four characters a likeness of Jaro of (SIMILAR - 0.4)/0.6 is needed; see `alike`.
"""


def _table(one: Comparison, gain: Singles, *, missing: bool) -> Singles:
    """The most a comparison can weigh, by which of its atoms agree (a bit each).

    With `missing`, what doesn't agree may be another value or a missing one.
    """
    atoms = one.atoms
    table = np.full(1 << len(atoms), -np.inf, np.float32)
    for equal in product((False, True), repeat=len(atoms)):
        state = sum(1 << bit for bit, agrees in enumerate(equal) if agrees)
        for gone in product((False, True) if missing else (False,), repeat=len(atoms)):
            if any(g and e for g, e in zip(gone, equal, strict=True)):
                continue
            words = one.possible(
                dict(zip(atoms, equal, strict=True)), dict(zip(atoms, gone, strict=True))
            )
            table[state] = max(table[state], *(gain[one.level(word)] for word in words))
    return table
