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
from itertools import combinations
from typing import Any, Final

import numpy as np

from linkage.kernel.blocks import Blocked, pairs_of
from linkage.kernel.columns import Encoded, Ints
from linkage.kernel.levels import EXACT, Comparison, Levels, Pairs, compared
from linkage.kernel.weights import Floats, Singles, Weights, rarities, rarity_of

SAMPLE: Final = 250_000
"""Candidates that are compared in full for the estimation."""
RANDOM: Final = 250_000
"""Random pairs on which agreement between strangers is counted."""
STRENGTH: Final = {"m": (40.0, 0.002), "h": (200.0, 0.002), "u": (50.0, 0.002)}
"""Pairs of each class that the usual rates count for: so many, or such a share of those counted if
that is more. A level that never occurs keeps the usual proportion between the classes."""
ROUNDS: Final = 300
SETTLED: Final = 1e-7
SHORT: Final = 8
"""Rounds of each start, before the likeliest alone goes on."""
MEMBERS: Final = 3.0
"""Other members of its household that a record meets at most: more aren't a household any more."""
STARTS: Final = (0.7, 0.2, 0.95)
"""Shares of the smaller file that are matched, at the start."""


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
    levels = compared(pairs, which)
    rarity = rarity_of(which, tables, levels, pairs)
    return Sample(levels, found, rarity, float(chosen.mean()) if len(chosen) else 1.0)


def strangers(
    encoded: Encoded, which: Sequence[Comparison], generator: np.random.Generator
) -> tuple[Floats, ...]:
    """How often each level occurs between random rows (one array per comparison)."""
    left = generator.integers(0, encoded.a.rows, RANDOM)
    right = generator.integers(0, encoded.b.rows, RANDOM)
    different = left != right if encoded.one_file else np.ones(RANDOM, np.bool_)
    pairs = Pairs(encoded, left[different], right[different])
    return tuple(
        _shares(one, np.bincount(levels, minlength=len(one.words)), 2)
        for one, levels in zip(which, compared(pairs, which), strict=True)
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
    most: float,
    once: bool,
) -> tuple[Weights, Mapping[str, Singles]]:
    """The model of two files, and the rarity of their values; at most `most` pairs are matches.

    `once`: whether a unit has one row in `a`.
    """
    generator = np.random.default_rng(seed)
    tables = rarities(encoded, which, once=once)
    some = sample(encoded, rules, blocked, which, tables, generator)
    u = strangers(encoded, which, generator)
    exact = _exact(encoded, which, u)
    smaller = min(encoded.a.rows, encoded.b.rows)
    space = encoded.a.rows * encoded.b.rows / (2 if encoded.one_file else 1)
    begun = Weights(
        comparisons=which,
        m=tuple(_shares(one, np.zeros(len(one.words)), 0) for one in which),
        h=tuple(_shares(one, np.zeros(len(one.words)), 1) for one in which),
        u=exact,
        matches=1.0,
        household=1.0,
        space=float(space),
        once=once,
    )
    expected = smaller * (0.2 if encoded.one_file else 1.0)
    climb = _Climb(which, some, rules, most, MEMBERS * max(encoded.a.rows, encoded.b.rows))
    classes = (float(encoded.a.rows), 0.0) if households and _has_households(which) else (0.0,)
    ends = [
        climb.on(replace(begun, matches=max(expected * start, 1.0), household=household), SHORT)
        for household in classes
        for start in STARTS
    ]
    for weights, _ in sorted(ends, key=lambda end: -end[1]):
        settled, _ = climb.on(weights, ROUNDS)
        if not _takes_matches(settled):
            return settled, tables
    return settled, tables


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
    encoded: Encoded, which: Sequence[Comparison], u: Sequence[Floats]
) -> tuple[Floats, ...]:
    """u with the level `exact` counted instead of sampled: the chance that two rows agree."""
    result = []
    for one, rates in zip(which, u, strict=True):
        part = one.rarity.get("exact")
        rates = rates.copy()
        if part is not None and part != "address":
            a, b = (
                np.bincount(
                    side.codes[part][side.codes[part] >= 0], minlength=_width(encoded, part)
                )
                for side in (encoded.a, encoded.b)
            )
            pairs = float(a.sum()) * float(b.sum())
            same = float(a.astype(np.float64) @ b.astype(np.float64))
            if encoded.one_file:
                same, pairs = same - float(a.sum()), pairs - float(a.sum())
            chance = max(same / pairs, 1e-9) if pairs > 0 else rates[EXACT]
        elif part == "address":
            share = encoded.share("address")
            chance = float(np.nanmean(share)) if not np.isnan(share).all() else rates[EXACT]
        else:
            chance = rates[EXACT]
        scale = (1.0 - chance) / max(1.0 - rates[EXACT], 1e-9)
        rates[2:] *= scale
        rates[EXACT] = chance
        result.append(rates)
    return tuple(result)


def _width(encoded: Encoded, part: str) -> int:
    return len(encoded.counts[part])


class _Climb:
    """Expectation maximisation on a sample; pairs with one pattern of levels go together."""

    def __init__(
        self,
        which: tuple[Comparison, ...],
        some: Sample,
        rules: Sequence[Sequence[str]],
        most: float,
        members: float,
    ) -> None:
        """At most `most` pairs are matches, and `members` pairs members of one household."""
        first, self._inverse = _patterns(which, some)
        self._levels = [column[first] for column in some.levels]
        self._learned_from = [_without(one, rules, some.found[first]) for one in which]
        self._some, self._rules, self._most = some, rules, most
        self._patterns = len(first)
        self._members = members

    def on(self, weights: Weights, rounds: int) -> tuple[Weights, float]:
        """Some rounds more, or until nothing moves; the model and its logarithm of likelihood."""
        likelihood, before = -np.inf, -np.inf
        for _ in range(rounds):
            posterior, likelihood = _posterior(weights, self._levels, self._inverse, self._some)
            if abs(likelihood - before) < SETTLED * abs(likelihood):
                break
            before = likelihood
            counts: Floats = np.vstack(
                [np.bincount(self._inverse, one, minlength=self._patterns) for one in posterior]
            ).astype(np.float64)
            weights = _maximised(
                weights, counts, self._levels, self._learned_from, self._some.share, self._rules,
                self._members,
            )  # fmt: skip
            weights = replace(weights, matches=min(weights.matches, self._most))
        return weights, likelihood


def _patterns(which: Sequence[Comparison], some: Sample) -> tuple[Ints, Ints]:
    """The first pair of each pattern of levels and rules, and each pair's pattern."""
    whole = some.found.astype(np.int64)
    for one, column in zip(which, some.levels, strict=True):
        whole = whole * len(one.words) + column
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first, inverse


def _without(one: Comparison, rules: Sequence[Sequence[str]], found: Ints) -> Any:
    """Which patterns a rule found that has nothing to do with the comparison."""
    others = sum(1 << n for n, rule in enumerate(rules) if not set(rule) & _touched(one))
    return (found & others) != 0


def _touched(one: Comparison) -> set[str]:
    more = {"first_name": {"given", "head"}, "sex": {"sex", "head"}}
    return set(one.atoms) | more.get(one.name, set())


def _posterior(
    weights: Weights, levels: list[Levels], inverse: Ints, some: Sample
) -> tuple[Floats, float]:
    """The chance of each class for each pair (3 × pairs), and the logarithm of likelihood."""
    m, h, u = weights.sums(levels)
    logs = np.vstack(
        [
            (m + weights.prior)[inverse],
            (h + weights.household_prior)[inverse],
            u[inverse] + some.rarity,
        ]
    )
    most = logs.max(axis=0)
    parts = np.exp(logs - most)
    whole = parts.sum(axis=0)
    return parts / whole, float((np.log(whole) + most).sum())


def _maximised(
    weights: Weights,
    counts: Floats,
    levels: list[Levels],
    learned_from: list[Any],
    share: float,
    rules: Sequence[Sequence[str]],
    members: float,
) -> Weights:
    m: list[Floats] = []
    h: list[Floats] = []
    for place, one in enumerate(weights.comparisons):
        rows = learned_from[place]
        for kind, target in ((0, m), (1, h)):
            size = len(one.words)
            heard = np.bincount(levels[place][rows], counts[kind][rows], minlength=size)
            if kind == 0:
                for word, (other, ratio) in one.rare.items():
                    at = one.level(word)
                    heard[at] = min(heard[at], ratio * heard[one.level(other)])
            target.append(_shares(one, heard, kind))
    moved = replace(weights, m=tuple(m), h=tuple(h))
    matches = counts[0].sum() / share / _coverage(moved.m, weights.comparisons, rules)
    household = counts[1].sum() / share / _coverage(moved.h, weights.comparisons, rules)
    return replace(
        moved,
        matches=float(np.clip(matches, 0.5, weights.space / 2)),
        household=min(float(household), members) if weights.household else 0.0,
    )


def _coverage(
    rates: Sequence[Floats], which: Sequence[Comparison], rules: Sequence[Sequence[str]]
) -> float:
    """The chance that at least one rule finds a pair of a class, fields being independent."""
    agree: dict[str, float] = {}
    for one, rate in zip(which, rates, strict=True):
        agree.update(_agreement(one, rate))
    chance = 0.0
    for size in range(1, len(rules) + 1):
        for some in combinations(rules, size):
            parts = {part for rule in some for part in rule}
            every = float(np.prod([agree.get(part, 1.0) for part in parts]))
            chance += every if size % 2 else -every
    return float(np.clip(chance, 0.05, 1.0))


def _agreement(one: Comparison, rate: Floats) -> dict[str, float]:
    """How often the parts of a comparison agree in a class."""
    if one.name == "first_name":
        return {"given": rate[EXACT], "head": rate[EXACT] + rate[one.level("head")]}
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
