"""What likeness weighs among a scope's identity records: the kernel's candidates, weights, odds.

Only pairs are looked at of which a number doesn't already say who is who, and of which one at least
is new. Their weights are learned from themselves where there are enough of them, and are the usual
ones otherwise; what is usual stands behind what is learned, so that a small delivery is weighed
much like a large one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from linkage import rules
from linkage.identities import ABSENT, Bools, Identities, Ints
from linkage.kernel.blocks import Blocked, block, pairs_of
from linkage.kernel.columns import Encoded, Packed, Side
from linkage.kernel.estimate import Coverage, Room, estimate, usual
from linkage.kernel.levels import EXACT, Number, Pairs, compared
from linkage.kernel.score import Scored, Scorer, joined, weigh
from linkage.kernel.weights import Floats, Singles, Weights, rarities
from linkage.nearby import COUNTED, Nearby
from linkage.parameters import Plan
from linkage.rules import Rule

SEED: Final = 4
"""Where there are very many candidates the weights are learned from some of them."""
ENOUGH: Final = 1000
"""Candidates from which weights are learned; with fewer they are the usual ones."""
UNSEEN: Final = 3000
"""People in whose records values are as rare as is usual who are reckoned to stand behind those
that were met: that one of ten is called so says little about how rare the name is."""
FEW: Final = 5000
"""Candidates up to which all are compared in full: sieving them first would take longer."""
BEHIND: Final = 30.0
"""Records that are reckoned to have found one match each before anything is looked at."""


@dataclass(frozen=True)
class Frequencies:
    """How many people carry each value (an array by code for each part), of how many in all.

    `chances` is how many pairs of people agree on a part, of how many.
    """

    people: int
    counts: Mapping[str, Ints]
    chances: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, identities: Identities, cluster: Ints, near: Nearby, lines: Ints) -> "Frequencies":
        """What was counted over the whole spine, and what the delivery adds.

        Values are counted once per cluster: somebody met often makes no name common. `lines` lead
        from a record to a line of `near`.
        """
        delivered = identities.delivered
        fresh = len(np.unique(cluster[delivered & (cluster >= _subjects(identities))]))
        counts, chances = {}, {}
        for part, before in tallies(identities, near, lines).items():
            codes, size = identities.encoded.a.codes[part], len(before)
            every = codes != ABSENT
            counts[part] = before + _once(codes, cluster, every, size)
            counts[part] -= _once(codes, cluster, every & ~delivered, size)
            total, squares = near.sums.get(part, (0.0, 0.0))
            total += float((counts[part] - before).sum())
            squares += float((counts[part] ** 2 - before**2).sum())
            chances[part] = squares - total, total * max(total - 1.0, 0.0)
        return cls(near.people + fresh, counts, chances)


def tallies(identities: Identities, near: Nearby, lines: Ints) -> dict[str, Ints]:
    """By part and code, how many of the spine's people have each value that some records have."""
    found = {}
    for part, codes in identities.encoded.a.codes.items():
        if part not in COUNTED:
            continue
        words = identities.encoded.vocabularies.get(part, ())
        before = np.zeros(max(int(codes.max(initial=ABSENT)) + 1, len(words)) + 1, np.int64)
        if part in near.tallies:  # a value that only a number tells has no tally
            np.maximum.at(before, codes, near.tallies[part][lines])
        found[part] = before[:-1]
    return found


def counted(identities: Identities, near: Nearby, lines: Ints) -> Identities:
    """The records, with how often values occur in the whole spine and in the delivery."""
    encoded, new = identities.encoded, identities.delivered
    counts = dict(encoded.counts)
    for part, before in tallies(identities, near, lines).items():
        said = encoded.a.codes[part][new]
        counts[part] = before + np.bincount(said[said != ABSENT], minlength=len(before))
    return replace(identities, encoded=replace(encoded, counts=counts))


def _subjects(identities: Identities) -> int:
    return int(identities.subject.max(initial=ABSENT)) + 1


def _once(codes: Any, cluster: Ints, which: Bools, size: int) -> Ints:
    """How many clusters have each code among some records."""
    several = int(cluster.max(initial=ABSENT)) + 1
    both = np.sort(codes[which].astype(np.int64) * several + cluster[which])
    both = both[np.append(True, both[1:] != both[:-1])[: len(both)]]
    return np.bincount(both // max(several, 1), minlength=size)


@dataclass(frozen=True)
class Weighed:
    """Pairs of records, the probability that they are one unit, and whether no field differs."""

    left: Ints
    right: Ints
    probability: Floats
    agreeing: Bools

    def some(self, which: Any) -> "Weighed":
        """A few of the pairs."""
        return Weighed(
            self.left[which], self.right[which], self.probability[which], self.agreeing[which]
        )

    @classmethod
    def joined(cls, parts: Sequence["Weighed"]) -> "Weighed":
        """Several sets of pairs as one."""
        names = ("left", "right", "probability", "agreeing")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Weighing:
    """Finds and weighs the pairs of identity records that numbers leave open."""

    def __init__(
        self,
        identities: Identities,
        frequencies: Frequencies,
        needy: Bools,
        near: Nearby,
        plan: Plan,
        *,
        households: bool,
    ) -> None:
        """`needy` are the records of which no number says who they are."""
        self._delivered, self._plan = identities.delivered, plan
        encoded = replace(
            identities.encoded,
            counts=frequencies.counts,
            people=frequencies.people,
            chances=frequencies.chances,
            behind=UNSEEN,
        )
        self._kinds = _Kinds.of(identities.delivered, needy)
        self._which = identities.comparisons
        ordered = self._kinds.ordered(encoded)
        found = _Candidates.of(ordered, self._kinds, near.keys, plan.largest_block)
        self._encoded, self._rules, self._blocked = found.encoded, found.rules, found.blocked
        self.candidates = sum(one.candidates for one in found.blocked)
        self.skipped = found.skipped
        room = _room(self._kinds, max(frequencies.people, 1), near, plan)
        self.learned = self.candidates >= ENOUGH
        if self.learned:
            self.weights, tables = estimate(
                self._encoded,
                self._rules,
                self._blocked,
                self._which,
                SEED,
                households=households,
                room=room,
                among=self._kinds.delivered,
            )
        else:
            self.weights = usual(self._encoded, self._which, room, households=households)
            tables = rarities(self._encoded, self._which, once=False)
        self._tables: Mapping[str, Singles] = tables

    @property
    def coverage(self) -> float:
        """The chance that two records of one unit share a key, and so are compared at all."""
        told = [self._encoded.atoms(rule) for rule in self._rules]
        return Coverage(told).of(self.weights.m, self._which) if told else 1.0

    def told(self) -> dict[str, Any]:
        """The weights, in figures that name nobody: see `quality`."""
        weights = self.weights
        levels = {
            one.name: {
                word: {"m": float(m[n]), "h": float(h[n]), "u": float(u[n])}
                for n, word in enumerate(one.words)
                if n
            }
            for one, m, h, u in zip(
                weights.comparisons, weights.m, weights.h, weights.u, strict=True
            )
        }
        return {
            "learned": self.learned,
            "candidates": self.candidates,
            "pairs": weights.space,
            "matches": weights.matches,
            "household_members": weights.household,
            "levels": levels,
        }

    def own(self, numbered: Bools) -> Floats:
        """How sure one may be that two records saying exactly what each says are one unit.

        `numbered` records have a number that is equal too.
        """
        every = np.arange(len(numbered))
        without = self.weighed(every, every, same_number=False).probability
        return np.where(numbered, self.weighed(every, every, same_number=True).probability, without)

    def weighed(self, left: Ints, right: Ints, *, same_number: bool) -> Weighed:
        """Any pairs; `same_number` if they have a number in common that links nothing by itself."""
        if not self._which and not same_number:
            return Weighed(left, right, np.zeros(len(left)), np.ones(len(left), np.bool_))
        pairs = Pairs(self._encoded, self._kinds.place[left], self._kinds.place[right])
        levels = compared(pairs, self._which)
        weights = self.weights
        if same_number:
            weights = _with_number(weights)
            levels = [*levels, np.full(len(left), EXACT, np.int8)]
        return self._told(weigh(weights, self._tables, pairs, levels))

    def found(self, workers: int) -> Weighed:
        """All candidates that are one unit with the probability of review or more."""
        review = self._plan.review_threshold
        floor = float(np.log(review / (1.0 - review)))
        if self.candidates > FEW:
            scorer = Scorer(self._encoded, self._rules, self.weights, self._tables, floor)
            return self._told(scorer.run(self._blocked, workers))
        every = self._all()
        if not len(every):
            return self._told(joined([], len(self._which)))
        scored = weigh(self.weights, self._tables, Pairs(self._encoded, *every.T))
        return self._told(scored.some(np.flatnonzero(scored.odds >= floor)))

    def _all(self) -> Any:
        """All candidates, each once: a line per pair of places."""
        found = [np.zeros((0, 2), np.int64)]
        for one in self._blocked:
            if one.candidates:
                at, place = pairs_of(one, 0, len(one.a))
                found.append(np.column_stack([one.a[at], one.b[place]]))
        return np.unique(np.concatenate(found), axis=0)

    def _told(self, scored: Scored) -> Weighed:
        left, right = self._kinds.record[scored.left], self._kinds.record[scored.right]
        with np.errstate(over="ignore"):
            probability = 1.0 / (1.0 + np.exp(-scored.odds))
        agreeing = np.asarray((scored.levels <= EXACT).all(axis=1))
        return Weighed(np.minimum(left, right), np.maximum(left, right), probability, agreeing)


@dataclass(frozen=True)
class _Kinds:
    """Records in an order in which those that a record is compared with follow one another.

    First the spine's needy records and its other ones, then the delivery's others and its needy
    ones: a needy delivered record is compared with all before it, a needy one of the spine with the
    delivered others. `record` leads from a place in that order to the record, `place` back; `ends`
    are where the four kinds end.
    """

    record: Ints
    place: Ints
    ends: tuple[int, int, int, int]

    @classmethod
    def of(cls, delivered: Bools, needy: Bools) -> "_Kinds":
        kind = np.where(delivered, np.where(needy, 3, 2), np.where(needy, 0, 1))
        record = np.argsort(kind, kind="stable")
        place = np.empty(len(record), np.int64)
        place[record] = np.arange(len(record))
        ends = np.cumsum(np.bincount(kind, minlength=4)).tolist()
        return cls(record, place, (ends[0], ends[1], ends[2], ends[3]))

    @property
    def delivered(self) -> Ints:
        """The places of the delivery's records."""
        return np.arange(self.ends[1], self.ends[3])

    @property
    def sizes(self) -> Ints:
        """How many records there are of each kind."""
        return np.diff(np.array([0, *self.ends]))

    @property
    def window(self) -> tuple[Ints, Ints]:
        """For each place from where to where the places are that it is compared with."""
        known, _, others, whole = self.ends
        first, end = np.zeros(whole, np.int64), np.zeros(whole, np.int64)
        first[:known], end[:known] = self.ends[1], others
        end[others:] = np.arange(others, whole)
        return first, end

    def ordered(self, encoded: Encoded) -> Encoded:
        side = encoded.a.take(self.record)
        return replace(encoded, a=side, b=side)

    def pairs(self, groups: Ints, size: int) -> Ints:
        """How many pairs are compared in each of `size` groups of places."""
        needy_known, rest_known, rest_new, needy_new = (
            np.bincount(groups[begin:end], minlength=size)
            for begin, end in zip((0, *self.ends[:3]), self.ends, strict=True)
        )
        before = needy_known + rest_known + rest_new
        pairs: Ints = needy_new * before + needy_new * (needy_new - 1) // 2
        return pairs + needy_known * rest_new


def _room(kinds: _Kinds, people: int, near: Nearby, plan: Plan) -> Room:
    """How many pairs there are to compare, and what one may expect of them.

    Those with records of the spine count that nobody looks at because they share no key.
    """
    _, _, others, needy = (float(size) for size in kinds.sizes)
    pairs = needy * (near.records + others) + needy * (needy - 1.0) / 2.0
    pairs += near.numberless * others
    population = max(people, plan.smallest_population)
    per_person = max((near.records + others + needy) / people, 1.0)
    finding = needy + others * near.numberless / max(near.records, 1)
    return Room(
        pairs=pairs,
        expected=max(finding, 1.0),
        most=max(pairs / 2.0, 1.0),
        members=plan.household_members * (finding * per_person + BEHIND),
        before=(BEHIND * population, BEHIND, BEHIND * plan.household_members),
    )


def _with_number(weights: Weights) -> Weights:
    """The weights with one comparison more: of numbers, which are equal."""
    one = Number("number")
    m, h, u = (np.array([1.0, *(one.rates[word][n] for word in one.words[1:])]) for n in range(3))
    return replace(
        weights,
        comparisons=(*weights.comparisons, one),
        m=(*weights.m, m),
        h=(*weights.h, h),
        u=(*weights.u, u),
    )


@dataclass(frozen=True)
class _Candidates:
    """The rules that some records allow, the pairs that each finds, and what was left out.

    In `encoded` each rule has a code of its own, missing where its value has no candidates or too
    many.
    """

    encoded: Encoded
    rules: tuple[Rule, ...]
    blocked: list[Blocked]
    skipped: int

    @classmethod
    def of(
        cls, encoded: Encoded, kinds: _Kinds, wanted: tuple[Rule, ...], largest: int
    ) -> "_Candidates":
        codes: dict[str, Any] = {}
        made_of: dict[str, tuple[str, ...]] = {}
        skipped = 0
        for rule in rules.possible(encoded.a.codes, wanted):
            name = "rule: " + " + ".join(rule)
            whole = rules.keys(encoded.a.codes, encoded.vocabularies, rule, encoded.a.rows)
            codes[name], large = _with_few(whole, kinds, largest)
            made_of[name] = rules.atoms(rule)
            skipped += large
        both = Side(encoded.a.rows, {**encoded.a.codes, **codes})
        encoded = replace(encoded, a=both, b=both, made_of=made_of)
        names = tuple((name,) for name in codes)
        return cls(encoded, names, [block(encoded, name, kinds.window) for name in names], skipped)


def _with_few(keys: Packed, kinds: _Kinds, largest: int) -> tuple[Ints, int]:
    """Codes of keys with candidates, but not too many; how many values have too many."""
    order = np.argsort(keys)
    ordered = keys[order]
    fresh = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    groups = np.empty(len(keys), np.int64)
    groups[order] = np.cumsum(fresh) - 1
    pairs = kinds.pairs(groups, int(fresh.sum()))
    if len(keys) and ordered[0] == 0:
        pairs[0] = 0  # something is missing
    large = pairs > largest
    codes = np.where((pairs > 0) & ~large, np.arange(len(pairs)), ABSENT)
    return codes[groups], int(large.sum())
