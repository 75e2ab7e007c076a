"""match(): two files, or one, as tables in; who is whom out.

The outer door of the engine (`linkage/kernel`): encode, link what numbers prove, learn the weights
from the data, weigh every candidate, let rivals share their chances, assign. The same files and
seed give the same links, with any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from linkage.kernel import assign
from linkage.kernel.blocks import PARTS, Blocked, block
from linkage.kernel.columns import NUMBERS, Encoded, encode
from linkage.kernel.estimate import Room, estimate
from linkage.kernel.levels import Comparison, Pairs, compared, comparisons
from linkage.kernel.numbers import Numbered, by_number
from linkage.kernel.rules import chosen, named
from linkage.kernel.score import Scored, Scorer, joined, weigh
from linkage.kernel.weights import Floats, Singles, Weights
from linkage.plans import FilePlan

RULES: Final = ("national_number", "fuzzy", "review")
STAGES: Final = ("encode", "numbers", "block", "estimate", "score", "assign")
FLOOR: Final = 0.02
"""Pairs less probable than this are nobody's rivals, and aren't kept."""
Progress = Callable[[str, float], None]


class Engine(Protocol):
    """What weighs all candidates of all rules, like `Scorer.run`, and in its order."""

    def __call__(
        self, scorer: Scorer, blocked: Sequence[Blocked], *, told: Callable[[float], None]
    ) -> Scored: ...


@dataclass(frozen=True)
class Matched:
    """Links, and pairs for review, between rows `left` of one file and `right` of the other.

    `weight` is the logarithm (base 2) of the odds that the fields give, `probability` takes
    households and rival pairs into account; both are NaN where a number links. `rule` indexes
    RULES. `group` is, for one file, a number per row and unit. `pairs` are all pairs that were
    weighed, with their levels; `chances` their probabilities.
    """

    left: Any
    right: Any
    weight: Floats
    probability: Floats
    rule: Any
    group: Any
    pairs: Scored
    chances: Floats
    model: "Model | None"
    encoded: Encoded
    candidates: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Model:
    """What was learned of two files: the weights, the rarity of values, the blocking rules.

    The weights are those of the rows that no number linked.
    """

    weights: Weights
    rarities: Mapping[str, Singles]
    rules: tuple[tuple[str, ...], ...]


def match(
    a: Any,
    b: Any | None,
    plan: FilePlan,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Matched:
    """Who is whom: rows of `a` and of `b`, or, without `b`, rows of `a` among themselves.

    `engine` weighs the candidates elsewhere than in `workers` threads of this process.
    """
    clock = _Clock(progress)
    with clock.stage("encode"):
        encoded = encode(a, b, plan, workers=workers)
        del a, b  # where the caller lets go of them too, they needn't stay in memory
    once = _Once.of(plan)
    fields = comparisons(encoded.parts)
    with clock.stage("numbers"):
        proof = _proof(encoded, fields, once)
    if all(one.name in NUMBERS for one in fields):
        return _numbers_alone(encoded, proof, clock.seconds)
    with clock.stage("block"), ThreadPoolExecutor(workers) as pool:
        rules = _rules(encoded, plan)
        names = [encoded.vocabularies[part] for part in ("last",) if part in encoded.parts]
        prepared = [pool.submit(words.prepare) for words in names]
        blocked = list(pool.map(lambda rule: block(encoded, rule), rules))
        for one in prepared:
            one.result()
        cost = {named(rule): one.candidates for rule, one in zip(rules, blocked, strict=True)}
    with clock.stage("estimate"), ThreadPoolExecutor(workers) as pool:
        weights, tables = estimate(
            encoded,
            rules,
            blocked,
            fields,
            seed,
            households=plan.unit == "person",
            room=Room.of(encoded, once.most(encoded), once=once.a and not encoded.one_file),
            each=pool.map,
        )
    with clock.stage("score"):
        rest = _Rest.of(encoded, proof, once)
        if rest.smaller:
            with ThreadPoolExecutor(workers) as pool:
                blocked = list(pool.map(lambda rule: block(rest.encoded, rule), rules))
        floor = float(np.log(min(FLOOR, plan.review / 5)))
        model = rest.prior(weights, len(proof.left))
        scorer = Scorer(rest.encoded, rules, model, rest.rarities(tables), floor)
        run = engine or partial(Scorer.run, workers=workers)
        pairs = rest.back(run(scorer, blocked, told=lambda share: clock.tell("score", share)))
        pairs = _with_contradicted(encoded, pairs, proof, model, tables)
    with clock.stage("assign"):
        decided = _decided(encoded, pairs, proof, plan, once, rest.matched(weights, proof))
    clock.finish()
    return Matched(
        **decided,
        pairs=pairs,
        model=Model(model, tables, rules),
        encoded=encoded,
        candidates=cost,
        seconds=clock.seconds,
    )


@dataclass(frozen=True)
class _Once:
    """Whether a unit has one row at most in `a`, in `b`."""

    a: bool
    b: bool

    def most(self, encoded: Encoded) -> float:
        """How many pairs can be matches."""
        a, b = encoded.a.rows, encoded.b.rows
        if encoded.one_file or not (self.a or self.b):
            return float(a) * b
        return float(min(a if self.b else b, b if self.a else a))

    @classmethod
    def of(cls, plan: FilePlan) -> "_Once":
        return cls(
            plan.assignment in ("one-to-one", "one-to-many"),
            plan.assignment in ("one-to-one", "many-to-one"),
        )


class _Clock:
    """Seconds per stage; tells progress as the stages pass."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        self.tell(name, 0.0)
        start = perf_counter()
        yield
        self.seconds[name] += perf_counter() - start

    def tell(self, name: str, share: float) -> None:
        """Tell the stage and the share of it that is done."""
        if self._progress:
            self._progress(name, share)

    def finish(self) -> None:
        """Tell that all is done."""
        self.tell(STAGES[-1], 1.0)


def _proof(encoded: Encoded, fields: tuple[Comparison, ...], once: _Once) -> Numbered:
    """What numbers prove, of all numbers that there are; each pair once."""
    found = [
        by_number(encoded, part, fields, lefts=once.a, rights=once.b)
        for part in NUMBERS
        if part in encoded.parts
    ]
    nothing = np.zeros(0, np.int64)
    left = np.concatenate([nothing, *(one.left for one in found)])
    right = np.concatenate([nothing, *(one.right for one in found)])
    against = tuple(
        np.concatenate([nothing, *(one.contradicted[side] for one in found)]) for side in (0, 1)
    )
    return Numbered(left, right, (against[0], against[1]))


def _numbers_alone(encoded: Encoded, proof: Numbered, seconds: Mapping[str, float]) -> Matched:
    """The result of a plan that has nothing but numbers."""
    unknown = np.full(len(proof.left), np.nan)
    return Matched(
        left=proof.left,
        right=proof.right,
        weight=unknown,
        probability=unknown,
        rule=np.zeros(len(proof.left), np.int8),
        group=assign.groups(encoded.a.rows, proof.left, proof.right) if encoded.one_file else None,
        pairs=joined([], 0),
        chances=np.zeros(0),
        model=None,
        encoded=encoded,
        candidates={},
        seconds=seconds,
    )


def _rules(encoded: Encoded, plan: FilePlan) -> tuple[tuple[str, ...], ...]:
    """The plan's blocking rules in parts, or those that are cheap enough for these files."""
    if plan.blocking is not None:
        return tuple(tuple(_part(encoded, field) for field in rule) for rule in plan.blocking)
    return chosen(encoded)


def _part(encoded: Encoded, field: str) -> str:
    part = PARTS.get(field, field)
    if part in encoded.parts:
        return part
    return next(one for one in encoded.parts if one.split(":")[0] == field)


@dataclass(frozen=True)
class _Rest:
    """The rows that no number has linked, as files of their own."""

    encoded: Encoded
    a: Any
    b: Any
    smaller: bool

    @classmethod
    def of(cls, encoded: Encoded, proof: Numbered, once: _Once) -> "_Rest":
        # a row may have further partners where the other side has several rows per unit
        a = _others(encoded.a.rows, proof.left if once.b else proof.left[:0])
        if encoded.one_file:
            return cls(encoded, a, a, smaller=False)
        b = _others(encoded.b.rows, proof.right if once.a else proof.right[:0])
        smaller = len(a) < encoded.a.rows or len(b) < encoded.b.rows
        if not smaller:
            return cls(encoded, a, b, smaller=False)
        return cls(replace(encoded, a=encoded.a.take(a), b=encoded.b.take(b)), a, b, smaller=True)

    def prior(self, weights: Weights, linked: int) -> Weights:
        """The weights, with the matches and pairs that are left."""
        if not self.smaller:
            return weights
        share = max(weights.matches - linked, 1.0) / weights.matches
        space = float(max(self.encoded.a.rows, 1)) * max(self.encoded.b.rows, 1)
        kept = space / weights.space
        return replace(
            weights,
            matches=weights.matches * share,
            household=weights.household * kept,
            space=space,
        )

    def matched(self, weights: Weights, proof: Numbered) -> tuple[float, float]:
        """Which share of the rows that are left, in `a` and in `b`, has a partner."""
        left = max(weights.matches - (len(proof.left) if self.smaller else 0), 0.0)
        return left / max(len(self.a), 1), left / max(len(self.b), 1)

    def rarities(self, tables: Mapping[str, Singles]) -> Mapping[str, Singles]:
        """The tables for the rows that are left."""
        if not self.smaller:
            return tables
        return {part: table[self.a] for part, table in tables.items()}

    def back(self, pairs: Scored) -> Scored:
        """Pairs with the row numbers of the whole files."""
        if not self.smaller:
            return pairs
        return replace(pairs, left=self.a[pairs.left], right=self.b[pairs.right])


def _others(rows: int, taken: Any) -> Any:
    left = np.ones(rows, np.bool_)
    left[taken] = False
    return np.flatnonzero(left).astype(np.int32)


def _decided(
    encoded: Encoded,
    pairs: Scored,
    proof: Numbered,
    plan: FilePlan,
    once: _Once,
    matched: tuple[float, float],
) -> dict[str, Any]:
    """Links and review pairs; `matched` are the shares of rows of `a` and `b` with a partner."""
    left, right = pairs.left, pairs.right
    if encoded.one_file:
        return _grouped(encoded, pairs, proof, plan)
    chances = assign.rivalled(
        left,
        right,
        pairs.odds,
        lefts=matched[0] if once.b else None,
        rights=matched[1] if once.a else None,
    )
    own = 1.0 / (1.0 + np.exp(-pairs.odds))
    capped = _contradicted(encoded, pairs, proof)
    able = np.flatnonzero((own >= plan.review) & ~capped)
    taken = np.zeros(len(left), np.bool_)
    if once.a and once.b:
        taken[able] = assign.one_to_one(left[able], right[able], pairs.odds[able])
    elif once.b or once.a:
        side = left if once.b else right
        taken[able] = assign.best_of(side[able], pairs.odds[able])
    else:
        taken[able] = True
    linked = taken & (chances >= plan.link)
    review = ~linked & ((chances >= plan.review) | ((own >= plan.link) & (chances >= FLOOR)))
    review |= capped
    gone = [np.zeros(encoded.a.rows, np.bool_), np.zeros(encoded.b.rows, np.bool_)]
    gone[0][np.concatenate([left[linked], proof.left])] = once.b
    gone[1][np.concatenate([right[linked], proof.right])] = once.a
    review &= ~gone[0][left] & ~gone[1][right]
    return _listed(pairs, chances, np.flatnonzero(linked), np.flatnonzero(review), proof)


def _with_contradicted(
    encoded: Encoded,
    pairs: Scored,
    proof: Numbered,
    weights: Weights,
    tables: Mapping[str, Singles],
) -> Scored:
    """The pairs, and those whose number name or birth date contradict, wherever they were found."""
    left, right = proof.contradicted
    if not len(left):
        return pairs
    known = np.isin(_key(encoded, left, right), _key(encoded, pairs.left, pairs.right))
    more = weigh(weights, tables, Pairs(encoded, left[~known], right[~known]))
    return joined([pairs, more], len(weights.comparisons))


def _contradicted(encoded: Encoded, pairs: Scored, proof: Numbered) -> Any:
    """Pairs with one number that name or birth date contradict: never linked by likeness."""
    if not len(proof.contradicted[0]):
        return np.zeros(len(pairs), np.bool_)
    return np.isin(_key(encoded, pairs.left, pairs.right), _key(encoded, *proof.contradicted))


def _key(encoded: Encoded, left: Any, right: Any) -> Any:
    """One integer per pair of rows."""
    return left.astype(np.int64) * max(encoded.b.rows, 1) + right


def _listed(
    pairs: Scored, chances: Floats, linked: Any, review: Any, proof: Numbered
) -> dict[str, Any]:
    """Links by number, links by likeness, pairs for review, in this order."""
    unknown = np.full(len(proof.left), np.nan)
    weight = pairs.strangers / np.log(2.0)
    return {
        "left": np.concatenate([proof.left, pairs.left[linked], pairs.left[review]]),
        "right": np.concatenate([proof.right, pairs.right[linked], pairs.right[review]]),
        "weight": np.concatenate([unknown, weight[linked], weight[review]]),
        "probability": np.concatenate([unknown, chances[linked], chances[review]]),
        "rule": np.repeat(np.arange(3, dtype=np.int8), (len(proof.left), len(linked), len(review))),
        "group": None,
        "chances": chances,
    }


def _grouped(encoded: Encoded, pairs: Scored, proof: Numbered, plan: FilePlan) -> dict[str, Any]:
    """Groups of rows of one file, and the pairs that hold them together."""
    chances = 1.0 / (1.0 + np.exp(-pairs.odds))
    capped = _contradicted(encoded, pairs, proof)
    sure = np.flatnonzero((chances >= plan.link) & ~capped)
    odds = np.concatenate([np.full(len(proof.left), assign.PROVEN), pairs.odds[sure]])
    group = assign.groups(
        encoded.a.rows,
        np.concatenate([proof.left, pairs.left[sure]]),
        np.concatenate([proof.right, pairs.right[sure]]),
        odds,
    )
    same = group[pairs.left] == group[pairs.right]
    linked = np.zeros(len(pairs), np.bool_)
    linked[sure] = True
    linked &= same
    review = ~same & ((chances >= plan.review) | capped)
    listed = _listed(pairs, chances, np.flatnonzero(linked), np.flatnonzero(review), proof)
    return {**listed, "group": group}


def levels_of(encoded: Encoded, model: Model, left: Any, right: Any) -> Any:
    """The levels of any pairs of rows, a column per comparison of the model."""
    pairs = Pairs(encoded, np.asarray(left), np.asarray(right))
    return np.column_stack(compared(pairs, model.weights.comparisons))
