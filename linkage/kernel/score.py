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
from itertools import combinations
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
        self.encoded = _with_hints(encoded, weights.comparisons)
        self._rules, self.weights = rules, weights
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
        other.encoded, other.tables = _with_hints(encoded, self.weights.comparisons), tables
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


def _with_hints(encoded: Encoded, which: Sequence[Comparison]) -> Encoded:
    """The files with the comparisons' hints as further codes."""
    both = (encoded.a,) if encoded.one_file else (encoded.a, encoded.b)
    sides: list[dict[str, Any]] = [dict(side.codes) for side in both]
    for side in sides:
        for one in which:
            # a scorer that travels to other machines has no rows of its own
            for part in set(one.hints.values()) & set(side):
                side.update(one.hinted(side[part], encoded.vocabularies.get(part)))
    a, b = Side(encoded.a.rows, sides[0]), Side(encoded.b.rows, sides[-1])
    return replace(encoded, a=a, b=a if encoded.one_file else b)


class _InOrder:
    """A rule's work on its candidates.

    On copies of both sides in the order of the rule's key, where reading is reading on; or, where
    earlier rules have found nearly all of them, on the files as they are: the copies would be the
    dearer part.
    """

    def __init__(self, scorer: Scorer, rule: int, blocked: Blocked, each: Any = map) -> None:
        """`each`: what applies a function to many columns; a pool's does it on all cores."""
        self._scorer, self._blocked = scorer, blocked
        encoded = scorer.encoded
        parts = scorer._rules[rule]
        self._earlier = [sorted(set(one) - set(parts)) for one in scorer._rules[:rule]]
        self._turn = _turns(scorer.weights.comparisons, encoded.atoms(parts))
        self._encoded, self._tables = encoded, scorer.tables
        self._copied = False
        self._copied = self._new() * blocked.candidates > FEW * (len(blocked.a) + len(blocked.b))
        if self._copied:
            self._copy(sorted(encoded.a.codes), list(scorer.tables), each)
        self._sieve = scorer._sieve.ordered(
            self._encoded, self._tables, parts, each, names=self._copied
        )

    def _copy(self, parts: Sequence[str], tables: Sequence[str], each: Any) -> None:
        """Copy some columns of both sides into the order of the key."""
        encoded, blocked = self._scorer.encoded, self._blocked
        columns = [(encoded.a.codes[part], blocked.a) for part in parts]
        columns += [(encoded.b.codes[part], blocked.b) for part in parts]
        columns += [(self._scorer.tables[part], blocked.a) for part in tables]
        taken = iter(list(each(lambda one: one[0][one[1]], columns)))
        sides = [
            Side(len(rows), {part: next(taken) for part in parts})
            for rows in (blocked.a, blocked.b)
        ]
        self._encoded = replace(encoded, a=sides[0], b=sides[1])
        self._tables = {part: next(taken) for part in tables}

    def _new(self) -> float:
        """The share of candidates that no earlier rule finds, judged by some of them."""
        spans = list(self._blocked.chunks()) if self._earlier else []
        some = spans[:: len(spans) // PROBED + 1]
        found = [self._found_before(self._pairs(span)) for span in some]
        return 1.0 - float(np.concatenate(found).mean()) if found else 1.0

    def _pairs(self, span: tuple[int, int]) -> Pairs:
        """The candidates of a range."""
        left, right = pairs_of(self._blocked, *span)
        if not self._copied:
            return Pairs(self._encoded, self._blocked.a[left], self._blocked.b[right])
        return Pairs(self._encoded, left, right)

    def chunk(self, span: tuple[int, int]) -> tuple[Scored, int]:
        """What is left of a range of candidates, and how many there were."""
        every = self._pairs(span)
        pairs = every.some(np.flatnonzero(self._sieve.worth(every)))
        pairs = pairs.some(np.flatnonzero(~self._found_before(pairs)))
        bound, shares = self._sieve.bound(pairs)
        rows = np.flatnonzero(bound >= self._scorer._floor)
        some = self._weighed(pairs.some(rows), bound[rows], [share[rows] for share in shares])
        if self._copied:
            blocked = self._blocked
            some = replace(some, left=blocked.a[some.left], right=blocked.b[some.right])
        return some, len(every)

    def _found_before(self, pairs: Pairs) -> Any:
        """Pairs that an earlier rule finds, and that are its."""
        found = np.zeros(len(pairs), np.bool_)
        agree: dict[str, Any] = {}
        for parts in self._earlier:
            whole = np.ones(len(pairs), np.bool_)
            for part in parts:
                if part not in agree:
                    left, right = pairs.straight(part)
                    agree[part] = (left == right) & (left >= 0)
                whole &= agree[part]
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
        one = self._scorer.weights.comparisons[n]
        most = gain[levels]
        known = np.ones(len(levels), np.bool_) if open_ is None else ~open_
        for word, part in one.rarity.items():
            rows = np.flatnonzero((levels == one.level(word)) & known)
            most[rows] -= self._tables[part][pairs.left[rows]]
        if open_ is not None:
            rows = np.flatnonzero(open_)
            most[rows] = _best_from(gain)[levels[rows]]
            if one.rarity:  # whichever level it will be
                most[rows] += self._sieve.bonus[one.name][pairs.left[rows]]
        result: Singles = most
        return result


def _turns(which: Sequence[Comparison], told: frozenset[str]) -> list[int]:
    """Which field is looked at first: what the rule doesn't tell, the cheap before the dear."""
    return sorted(
        range(len(which)), key=lambda n: (not told.isdisjoint(which[n].atoms), which[n].cost, n)
    )


FEW: Final = 0.25
"""Candidates per row below which copying all rows would take longer than skipping about."""
PROBED: Final = 3
"""Chunks, or one more, in which is counted how many candidates earlier rules find."""
LITTLE: Final = 3.0
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
            self._fields.append((one, *_table(one, gain)))
        self._unlike = {
            one.name: gain[one.level("different")]
            for one, gain in zip(weights.comparisons, gains, strict=True)
            if one.name in _NAMED
        }

    def ordered(
        self,
        encoded: Encoded,
        tables: Mapping[str, Singles],
        rule: Sequence[str],
        each: Any,
        *,
        names: bool,
    ) -> "_OrderedSieve":
        """The sieve for sides in the order of a rule's key; `names`: look at letters too.

        That takes a moment for each row, and is worth it for many candidates.
        """
        named = [name for name in self._unlike if names and _NAMED[name] not in rule]
        sides = [(side, name) for name in named for side in (encoded.a, encoded.b)]
        letters = iter(list(each(lambda one: _Letters.of(one[0], encoded, one[1]), sides)))
        seen = {name: (next(letters), next(letters)) for name in named}
        slack = list(each(self._slack, (encoded.a, encoded.b)))
        bonus = {}
        for one, _, _ in self._fields:
            if one.rarity:
                columns = [-tables[part] for part in set(one.rarity.values())]
                bonus[one.name] = np.maximum.reduce([*columns, np.zeros_like(columns[0])])
        least = self._least(encoded, bonus, rule) + slack[0]
        every = not names or not len(least) or bool(least.min() >= self._floor)
        evidence = self._evidence(rule, encoded)
        return _OrderedSieve(
            self._prior, self._fields, self._swaps, slack, bonus, seen, self._unlike, least, every,
            evidence, self._floor,
        )  # fmt: skip

    def _least(
        self, encoded: Encoded, bonus: Mapping[str, Singles], rule: Sequence[str]
    ) -> Singles:
        """For each row of `a`, the most that a pair weighs that agrees on the rule and no more."""
        told = encoded.atoms(rule)
        total = np.full(encoded.a.rows, self._prior, np.float32)
        for one, table, _ in self._fields:
            agree = _known(one, told)
            if told.isdisjoint(one.atoms) and one.name in self._unlike:
                total += self._unlike[one.name]
                continue
            total += table.max() if self._little(table, agree) else table[agree]
            if one.rarity and not told.isdisjoint(one.atoms):
                total += bonus[one.name]
        return total

    def _evidence(self, rule: Sequence[str], encoded: Encoded) -> tuple[str, ...]:
        """Parts whose equality, beside what the rule tells, can make a pair weigh more."""
        told = encoded.atoms(rule)
        found = []
        for one, table, _ in self._fields:
            known = _known(one, told)
            if one.name in _NAMED or self._little(table, known):
                continue
            found += [
                atom
                for bit, atom in enumerate(one.atoms)
                if atom not in told
                and (table[known | 1 << bit] > table[known] or not told.isdisjoint(one.atoms))
            ]
        return tuple(found)

    @staticmethod
    def _little(table: Singles, known: int) -> bool:
        """Whether a field can hardly add to what is known of it: it is granted without a look."""
        return float(table.max() - table[known]) < LITTLE

    def _slack(self, side: Side) -> Singles:
        total = np.zeros(side.rows, np.float32)
        for one, _, slack in self._fields:
            most = np.zeros(side.rows, np.float32)
            for atom in one.atoms:
                if slack[atom]:
                    np.maximum(most, np.float32(slack[atom]), out=most, where=side.codes[atom] < 0)
            total += most
        return total


@dataclass(frozen=True)
class _OrderedSieve:
    prior: float
    fields: Sequence[tuple[Comparison, Singles, Mapping[str, float]]]
    swaps: bool
    slack: Sequence[Singles]
    bonus: Mapping[str, Singles]
    names: Mapping[str, tuple["_Letters", "_Letters"]]
    unlike: Mapping[str, np.float32]
    least: Singles
    every: bool
    evidence: tuple[str, ...]
    floor: float

    def worth(self, pairs: Pairs) -> Any:
        """Which pairs can reach the floor: they agree on more than the rule, or needn't.

        The cheapest look there is, since most candidates end here.
        """
        if self.every:
            return np.ones(len(pairs), np.bool_)
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
            equal = [_equal(pairs, atom) for atom in _looked_at(one)]
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


def _looked_at(one: Comparison) -> tuple[str, ...]:
    """The codes whose equality tells which levels are possible."""
    return (*one.atoms, *one.hints)


def _known(one: Comparison, told: frozenset[str]) -> int:
    """What a rule tells of a comparison, a bit for each code; hints are granted unseen."""
    return sum(
        1 << bit for bit, code in enumerate(_looked_at(one)) if code in told or code in one.hints
    )


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


def _table(one: Comparison, gain: Singles) -> tuple[Singles, Mapping[str, float]]:
    """The most a comparison can weigh, by which of its atoms and hints agree (a bit each).

    That holds where none of them is missing. Where some are, it can be more by as much as the
    largest of the figures that go with them, one per atom; what both records lack counts twice.
    """
    table = _most_of(one, gain, ())
    more = {
        gone: float(np.max(_most_of(one, gain, gone) - table, initial=0.0))
        for size in range(1, len(one.atoms) + 1)
        for gone in combinations(one.atoms, size)
    }
    slack: dict[str, float] = {}
    for atom in sorted(one.atoms, key=lambda atom: -more[(atom,)]):
        slack[atom] = max(
            most for gone, most in more.items() if atom in gone and slack.keys().isdisjoint(gone)
        )
    return table, slack


def _most_of(one: Comparison, gain: Singles, gone: Sequence[str]) -> Singles:
    """The most a comparison can weigh, by which of its codes agree; nothing where `gone` would."""
    codes = _looked_at(one)
    missing = {code: code in gone or one.hints.get(code) in gone for code in codes}
    most = np.full(1 << len(codes), -np.inf, np.float32)
    for state in range(len(most)):
        equal = {code: bool(state >> bit & 1) for bit, code in enumerate(codes)}
        if not any(equal[code] and missing[code] for code in codes):
            most[state] = max(gain[one.level(word)] for word in one.possible(equal, missing))
    return most
