"""Where the weights come from: the data themselves, starting from what is usual in registers.

How often strangers agree (u) is counted on random pairs; how often records of one unit and of one
household agree (m, h) is found by expectation maximisation over candidates (A. P. Dempster, N. M.
Laird and D. B. Rubin, JRSS B 39 (1977)). Candidates were chosen for agreeing on the fields of a
rule, so a field is only learned from candidates that a rule without it found; and the number of
matches is the number found, divided by the share that the rules can find.

Several starts, the likeliest end; the usual rates stay as a weak prior, so that small files get
sensible weights. The class of households is dropped where it isn't needed or takes matches for
households (no address, or a class that agrees on first names).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from linkage.kernel.blocks import Blocked, pairs_of
from linkage.kernel.columns import Encoded, Ints, address_parts, key, runs
from linkage.kernel.levels import EXACT, Comparison, Levels, Pairs, compared
from linkage.kernel.weights import Floats, Singles, Weights, rarities, rarity_of, with_more

SAMPLE: Final = 250_000
"""Candidates that are compared in full for the estimation."""
RANDOM: Final = 250_000
"""Random pairs on which agreement between strangers is counted."""
OFTEN: Final = 25
"""Random pairs at most for each row of a small file."""
STRENGTH: Final = {"m": (40.0, 0.002), "h": (200.0, 0.002), "u": (50.0, 0.002)}
"""Pairs of each class that the usual rates count for: so many, or such a share of those counted if
that is more. A level that never occurs keeps the usual proportion between the classes."""
FEW: Final = 10_000.0
"""Pairs of strangers that the usual rates count for where agreement is counted exactly."""
TELLING: Final = 0.05
"""Pairs less likely to be of a class say nothing about it: there are so very many of them that, all
together, they would drown those that are."""
GRAIN: Final = 0.05
"""Logarithms of rarity so near to one another count as one."""
PIECE: Final = 1 << 16
"""Pairs of a sample that are compared at a time."""
ROUNDS: Final = 300
SETTLED: Final = 1e-7
SHORT: Final = 8
"""Rounds of each start, before the likeliest alone goes on."""
MEMBERS: Final = 3.0
"""Other members of its household that a record meets at most: more aren't a household any more."""
STARTS: Final = (0.7, 0.2, 0.95)
"""Shares of the smaller file that are matched, at the start."""


@dataclass(frozen=True)
class Room:
    """How many pairs of rows there are, and what may be among them.

    `expected` matches are those were every row to have one; at most `most` pairs are matches, and
    `members` pairs members of one household. `before` are pairs, matches and pairs of members that
    count as seen before: what is usual where there is little to learn from. `once` says that a unit
    has one row in `a`.
    """

    pairs: float
    expected: float
    most: float
    members: float
    once: bool = False
    before: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, encoded: Encoded, most: float, *, once: bool) -> "Room":
        """All pairs of two files, or of one."""
        a, b = encoded.a.rows, encoded.b.rows
        one = encoded.one_file
        return cls(
            pairs=a * b / (2 if one else 1),
            expected=min(a, b) * (0.2 if one else 1.0),
            most=most,
            members=MEMBERS * max(a, b),
            once=once,
        )

    @property
    def space(self) -> float:
        """All pairs, those before too."""
        return float(self.pairs + self.before[0])


@dataclass(frozen=True)
class Sample:
    """Candidates with all their levels: `found` has a bit per rule that finds the pair."""

    levels: list[Levels]
    found: Ints
    rarity: Singles
    share: float


def found_by(rules: Sequence[Sequence[str]], pairs: Pairs) -> Ints:
    """For each pair a bit per rule that finds it."""
    agree: dict[str, Any] = {}
    for part in {part for rule in rules for part in rule}:
        left, right = pairs.straight(part)
        agree[part] = (left == right) & (left >= 0)
    bits = np.zeros(len(pairs), np.int64)
    for place, rule in enumerate(rules):
        whole = np.ones(len(pairs), np.bool_)
        for part in rule:
            whole &= agree[part]
        bits |= whole.astype(np.int64) << place
    return bits


def sample(
    encoded: Encoded,
    rules: Sequence[Sequence[str]],
    blocked: Sequence[Blocked],
    which: Sequence[Comparison],
    tables: Mapping[str, Singles],
    generator: np.random.Generator,
    each: Any = map,
) -> Sample:
    """All candidates of randomly chosen rows of `a`, about SAMPLE of them."""
    total = sum(one.candidates for one in blocked)
    share = min(1.0, SAMPLE / max(total, 1))
    chosen = generator.random(encoded.a.rows) < share
    nothing = np.zeros(0, np.int32)
    left, right, rules_ = [nothing], [nothing], [nothing]
    for number, one in enumerate(blocked):
        some = np.flatnonzero(chosen[one.a])
        part = Blocked(one.a[some], one.b, one.start[some], one.count[some])
        if part.candidates:
            at, place = pairs_of(part, 0, len(part.a))
            left.append(part.a[at])
            right.append(part.b[place])
            rules_.append(np.full(len(at), number, np.int32))
    pairs = Pairs(encoded, np.concatenate(left), np.concatenate(right))
    found = found_by(rules, pairs)
    rule = np.concatenate(rules_)
    first = np.flatnonzero((found & ((1 << rule) - 1)) == 0)
    pairs, found = pairs.some(first), found[first]
    levels = _compared(pairs, which, each)
    rarity = rarity_of(which, tables, levels, pairs)
    return Sample(levels, found, rarity, float(chosen.mean()) if len(chosen) else 1.0)


def _compared(pairs: Pairs, which: Sequence[Comparison], each: Any) -> list[Levels]:
    """The levels of every comparison, a piece of the pairs at a time."""
    spans = [slice(start, start + PIECE) for start in range(0, max(len(pairs), 1), PIECE)]
    found = list(each(lambda span: compared(pairs.some(span), which), spans))
    return [np.concatenate([piece[n] for piece in found]) for n in range(len(which))]


def strangers(
    encoded: Encoded,
    which: Sequence[Comparison],
    generator: np.random.Generator,
    among: Ints | None = None,
    each: Any = map,
) -> tuple[Floats, ...]:
    """How often each level occurs between random rows (one array per comparison).

    Of one file only the rows `among` are drawn, if given. However often they are paired, few rows
    tell little: all pairs together count for no more than there are rows.
    """
    lefts = np.arange(encoded.a.rows) if among is None else among
    rights = lefts if encoded.one_file else np.arange(encoded.b.rows)
    rows = len(lefts) + (0 if encoded.one_file else len(rights))
    size = min(RANDOM, OFTEN * rows) if len(lefts) and len(rights) else 0
    left = lefts[generator.integers(0, max(len(lefts), 1), size)]
    right = rights[generator.integers(0, max(len(rights), 1), size)]
    different = left != right if encoded.one_file else np.ones(size, np.bool_)
    pairs = Pairs(encoded, left[different], right[different])
    counting = min(1.0, rows / max(len(pairs), 1))
    return tuple(
        _shares(one, counting * np.bincount(levels, minlength=len(one.words)), 2)
        for one, levels in zip(which, _compared(pairs, which, each), strict=True)
    )


def _usual(one: Comparison, place: int) -> Floats:
    rates = np.array([0.0, *(one.rates[word][place] for word in one.words[1:])])
    shares: Floats = rates / rates.sum()
    return shares


def _shares(one: Comparison, counts: Any, place: int) -> Floats:
    """Counts per level as shares of what isn't missing, with the usual rates as a prior."""
    usual = _usual(one, place)
    least, part = STRENGTH["mhu"[place]]
    strength = max(least, part * float(np.sum(counts[1:])))
    whole = np.where(np.arange(len(usual)) == 0, 0.0, counts) + strength * usual
    result: Floats = whole / whole.sum()
    result[0] = 1.0  # missing is no evidence
    return result


def estimate(
    encoded: Encoded,
    rules: Sequence[Sequence[str]],
    blocked: Sequence[Blocked],
    which: tuple[Comparison, ...],
    seed: int,
    *,
    households: bool,
    room: Room,
    among: Ints | None = None,
    each: Any = map,
) -> tuple[Weights, Mapping[str, Singles]]:
    """The model of two files, and the rarity of their values.

    `among`: see `strangers`. `each` is a map; a pool's does independent work on all cores.
    """
    generator = np.random.default_rng(seed)
    tables = rarities(encoded, which, once=room.once, each=each)
    some = sample(encoded, rules, blocked, which, tables, generator, each)
    if among is not None:  # rows that aren't among them decide nothing about what is drawn
        generator = np.random.default_rng(seed)
    u = strangers(encoded, which, generator, among, each)
    begun = usual(encoded, which, room, households=False, u=u)
    climb = _Climb(which, some, [encoded.atoms(rule) for rule in rules], room, begun.u)
    members = room.members / MEMBERS
    classes = (members, 0.0) if households and _has_households(which) else (0.0,)
    starts = [
        replace(begun, matches=max(room.expected * start, 1.0), household=household)
        for household in classes
        for start in STARTS
    ]
    ends = list(each(lambda one: climb.on(one, SHORT), starts))
    # where households are known to be, the class goes only if it has become one of matches
    known = room.before[2] > 0
    for weights, _ in sorted(ends, key=lambda end: (known and not end[0].household, -end[1])):
        settled, _ = climb.on(weights, ROUNDS)
        if not _takes_matches(settled):
            return settled, tables
    return settled, tables


def usual(
    encoded: Encoded,
    which: tuple[Comparison, ...],
    room: Room,
    *,
    households: bool,
    u: Sequence[Floats] | None = None,
) -> Weights:
    """What is usual in registers, where there is nothing to learn from but how rare values are."""
    nothing = [np.zeros(len(one.words)) for one in which]
    m, h, strange = (
        tuple(_shares(one, none, place) for one, none in zip(which, nothing, strict=True))
        for place in range(3)
    )
    _, matches, members = room.before
    return Weights(
        comparisons=which,
        m=m,
        h=h,
        u=_exact(encoded, which, u or strange, once=room.once),
        matches=max(matches, 1.0),
        household=members if households and _has_households(which) else 0.0,
        space=room.space,
        once=room.once,
    )


def _has_households(which: Sequence[Comparison]) -> bool:
    return {"first_name", "last_name", "address"} <= {one.name for one in which}


def _takes_matches(weights: Weights) -> bool:
    """Whether the class of households has become one of matches: it agrees on first names."""
    if not weights.household:
        return False
    names = {one.name: place for place, one in enumerate(weights.comparisons)}
    first = weights.h[names["first_name"]][EXACT]
    return bool(first > 0.25 or weights.household > 40 * max(weights.matches, 1.0))


def _exact(
    encoded: Encoded, which: Sequence[Comparison], u: Sequence[Floats], *, once: bool
) -> tuple[Floats, ...]:
    """u with the level `exact` counted instead of sampled: the chance that strangers agree.

    `Encoded.behind` rows with the usual chance are reckoned to stand behind those that there are.
    """
    result = []
    for one, rates in zip(which, u, strict=True):
        part = one.rarity.get("exact")
        counted = rates.copy()
        if part is not None:
            same, pairs = _agreeing(encoded, part, once=once)
            # a file of ten rows was drawn from a population too
            common = _usual(one, 2)[EXACT]
            chance = (same + FEW * common) / (pairs + FEW) if pairs > 0 else rates[EXACT]
            chance = with_more(chance, encoded.people, common, encoded.behind)
            counted[2:] *= (1.0 - chance) / max(1.0 - rates[EXACT], 1e-9)
            counted[EXACT] = chance
        result.append(counted)
    return tuple(result)


def _agreeing(encoded: Encoded, part: str, *, once: bool) -> tuple[float, float]:
    """How many pairs of rows agree on a part, of how many that have it.

    Where a unit has one row in `a`, pairs of rows of `a` are counted: no match is among them.
    """
    if part in encoded.chances:
        return encoded.chances[part]
    if part == "address" and not once:
        share = encoded.share("address")
        others = share[~np.isnan(share)].astype(np.float64) * encoded.people - 1.0
        return float(np.maximum(others, 0.0).sum()), float(len(others)) * max(encoded.people - 1, 1)
    if part == "address":
        keys = key(encoded.a, address_parts(encoded.parts))
        return _of_one_file(runs(np.sort(keys[keys != 0])).astype(np.float64))
    a, b = (counts.astype(np.float64) for counts in _counts(encoded, part))
    if once or encoded.one_file:
        return _of_one_file(a)
    return float(a @ b), float(a.sum()) * float(b.sum())


def _of_one_file(counts: Floats) -> tuple[float, float]:
    """Pairs of different rows that have the same value, and all pairs, twice each."""
    return float(counts @ (counts - 1.0)), float(counts.sum() * max(counts.sum() - 1.0, 0.0))


def _counts(encoded: Encoded, part: str) -> tuple[Ints, Ints]:
    """How often each value occurs on either side."""
    counts = encoded.counts[part]
    if encoded.one_file:
        return counts, counts
    codes = encoded.a.codes[part]
    a = np.bincount(codes[codes >= 0], minlength=len(counts))
    return a, counts - a


class _Climb:
    """Expectation maximisation on a sample.

    Pairs with one pattern of levels, and values that are rare alike, go together: `inverse` is the
    pattern of each such group, `counts` its pairs, `rarity` their mean.
    """

    def __init__(
        self,
        which: tuple[Comparison, ...],
        some: Sample,
        rules: Sequence[frozenset[str]],
        room: Room,
        counted: tuple[Floats, ...],
    ) -> None:
        """`counted`: how often each level occurs between pairs that were taken for strangers."""
        first, inverse = _patterns(which, some)
        grain = np.round(some.rarity / GRAIN).astype(np.int64)
        grain -= grain.min(initial=0)
        span = int(grain.max(initial=0)) + 1
        groups, at = np.unique(inverse * span + grain, return_inverse=True)
        self._inverse = groups // span
        self._counts = np.bincount(at, minlength=len(groups)).astype(np.float64)
        self._rarity = np.bincount(at, some.rarity, len(groups)) / self._counts
        self._levels = [column[first] for column in some.levels]
        self._learned_from = [_without(one, rules, some.found[first]) for one in which]
        self._some, self._room = some, room
        self._coverage = Coverage(rules)
        self._patterns = len(first)
        self._counted = counted

    def on(self, weights: Weights, rounds: int) -> tuple[Weights, float]:
        """Some rounds more, or until nothing moves; the model and its logarithm of likelihood."""
        likelihood, before = -np.inf, -np.inf
        for _ in range(rounds):
            posterior, likelihood = self._posterior(weights)
            if abs(likelihood - before) < SETTLED * abs(likelihood):
                break
            before = likelihood
            telling = np.where(posterior < TELLING, 0.0, posterior)
            weights = self._maximised(weights, *map(self._by_pattern, (posterior, telling)))
        return weights, likelihood

    def _by_pattern(self, posterior: Floats) -> Floats:
        """How many pairs of each class there are by pattern (3 × patterns)."""
        return np.vstack(
            [
                np.bincount(self._inverse, one * self._counts, minlength=self._patterns)
                for one in posterior
            ]
        ).astype(np.float64)

    def _posterior(self, weights: Weights) -> tuple[Floats, float]:
        """The chance of each class by group (3 × groups), and the logarithm of likelihood."""
        m, h, u = weights.sums(self._levels)
        at = self._inverse
        logs = np.vstack(
            [
                (m + weights.prior)[at],
                (h + weights.household_prior)[at],
                u[at] + self._rarity,
            ]
        )
        most = logs.max(axis=0)
        parts = np.exp(logs - most)
        whole = parts.sum(axis=0)
        return parts / whole, float(self._counts @ (np.log(whole) + most))

    def _maximised(self, weights: Weights, counts: Floats, telling: Floats) -> Weights:
        """The weights that fit the pairs of each class best; `counts` are 3 × patterns.

        `telling` are those of the pairs from which is learned what a class looks like.
        """
        m: list[Floats] = []
        h: list[Floats] = []
        for place, one in enumerate(weights.comparisons):
            rows = self._learned_from[place]
            for kind, target in ((0, m), (1, h)):
                size = len(one.words)
                heard = np.bincount(self._levels[place][rows], telling[kind][rows], minlength=size)
                if kind == 0:
                    for word, (other, ratio) in one.rare.items():
                        at = one.level(word)
                        heard[at] = min(heard[at], ratio * heard[one.level(other)])
                target.append(_shares(one, heard, kind))
        moved = replace(weights, m=tuple(m), h=tuple(h))
        _, matches, members = self._room.before
        matches += self._found(counts[0], moved, moved.m)
        members += self._found(counts[1], moved, moved.h)
        moved = replace(
            moved,
            matches=float(min(np.clip(matches, 0.5, weights.space / 2), self._room.most)),
            household=min(members, self._room.members) if weights.household else 0.0,
        )
        return self._without_matches(moved)

    def _without_matches(self, weights: Weights) -> Weights:
        """The weights, without the matches among the pairs that were counted as strangers.

        Where a unit has one row in a file there are none. Elsewhere, and most in small files, much
        of what agrees by chance on a rare value would be the matches themselves.
        """
        if self._room.once or self._room.before[0]:
            return weights
        share = weights.matches / weights.space
        return replace(
            weights,
            u=tuple(
                _less(one, counted, share * m)
                for one, counted, m in zip(
                    weights.comparisons, self._counted, weights.m, strict=True
                )
            ),
        )

    def _found(self, counts: Floats, weights: Weights, rates: Sequence[Floats]) -> float:
        """How many pairs of a class there are, found by the rules or not."""
        chance = self._coverage.of(rates, weights.comparisons)
        return float(counts.sum()) / self._some.share / chance


def _less(one: Comparison, counted: Floats, matches: Floats) -> Floats:
    """How often levels occur between strangers, after taking away what are matches."""
    rest = np.maximum(counted - matches, 0.01 * counted + 0.001 * _usual(one, 2))
    rest[0] = 0.0
    rest /= rest.sum()
    rest[0] = 1.0
    return rest


def _patterns(which: Sequence[Comparison], some: Sample) -> tuple[Ints, Ints]:
    """The first pair of each pattern of levels and rules, and each pair's pattern."""
    whole = some.found.astype(np.int64)
    for one, column in zip(which, some.levels, strict=True):
        whole = whole * len(one.words) + column
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first, inverse


def _without(one: Comparison, rules: Sequence[frozenset[str]], found: Ints) -> Any:
    """Which patterns a rule found that has nothing to do with the comparison."""
    others = sum(1 << n for n, rule in enumerate(rules) if not rule & _touched(one))
    return (found & others) != 0


def _touched(one: Comparison) -> set[str]:
    more = {"first_name": {"given", "joined", "head"}, "sex": {"sex", "head"}}
    return set(one.atoms) | more.get(one.name, set())


class Coverage:
    """The chance that at least one rule finds a pair of a class, fields being independent.

    By inclusion and exclusion over the sets of rules. Sets that ask for the same parts are one, and
    often cancel, so that many rules aren't dear; and in the order of the parts' names, so that the
    chance is the same to the last bit in every process.
    """

    def __init__(self, rules: Sequence[frozenset[str]]) -> None:
        self._parts = sorted({part for rule in rules for part in rule})
        asked = np.zeros((1, len(self._parts)), np.bool_)
        signs = -np.ones(1)
        for rule in rules:
            with_it = asked | np.array([part in rule for part in self._parts])
            asked, place = np.unique(np.vstack([asked, with_it]), axis=0, return_inverse=True)
            signs = np.bincount(place.ravel(), np.concatenate([signs, -signs])).astype(np.float64)
            asked, signs = asked[signs != 0], signs[signs != 0]
        self._asked, self._signs = asked, signs

    def of(self, rates: Sequence[Floats], which: Sequence[Comparison]) -> float:
        """The chance in the class that has these rates."""
        agree: dict[str, float] = {}
        for one, rate in zip(which, rates, strict=True):
            agree.update(_agreement(one, rate))
        chances = np.array([agree.get(part, 1.0) for part in self._parts])
        every = np.where(self._asked, chances, 1.0).prod(axis=1)
        return float(np.clip(1.0 + (self._signs * every).sum(), 0.05, 1.0))


def _agreement(one: Comparison, rate: Floats) -> dict[str, float]:
    """How often the parts of a comparison agree in a class."""
    if one.name == "first_name":
        whole, head = rate[EXACT], rate[EXACT] + rate[one.level("head")]
        return {"given": whole, "joined": whole, "head": head}
    if one.name == "address":
        upto = np.cumsum(rate) - 1.0
        street, postcode = upto[one.level("street")], upto[one.level("postcode")]
        return {
            "street": street,
            "house_number": street,
            "box": 1.0,
            "postcode": postcode,
            "municipality": upto[one.level("municipality")],
        }
    return {one.atoms[0]: rate[EXACT]}
