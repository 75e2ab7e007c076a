"""What one wants to see of a linkage: counts and shares, ready for drawing; nobody's values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.explained import BIT
from linkage.kernel.columns import Encoded, Side
from linkage.kernel.estimate import found_by
from linkage.kernel.levels import Pairs, compared
from linkage.kernel.rules import named
from linkage.kernel.weights import rarities, rarity_of
from linkage.matching import Matched, Model
from linkage.truth import Truth

Floats = npt.NDArray[np.float64]

LIMITS: Final = (-10, 40)
"""Bits between which pairs are counted one by one; what lies beyond counts with the last."""
SELVES: Final = 100_000
"""Rows of a side that are compared with themselves."""
NEITHER, REVIEW, LINKED = range(3)


@dataclass(frozen=True)
class Scores:
    """How many pairs ended at which odds: by whole bits from LIMITS[0] on, an array per outcome."""

    neither: Any
    review: Any
    linked: Any


def scores(matched: Matched) -> Scores:
    """Weighed pairs by the odds of their probability in the end, and what became of them."""
    pairs = matched.pairs
    width = max(matched.encoded.b.rows, 1)

    def keys(left: Any, right: Any) -> Any:
        return left.astype(np.int64) * width + right

    every = keys(pairs.left, pairs.right)
    outcome = np.full(len(pairs), NEITHER)
    for rule, became in ((1, LINKED), (2, REVIEW)):
        which = matched.rule == rule
        outcome[np.isin(every, keys(matched.left[which], matched.right[which]))] = became
    place = np.floor(_bits(matched.chances)).astype(np.int64)
    place = np.clip(place, LIMITS[0], LIMITS[1] - 1) - LIMITS[0]
    counts = [
        np.bincount(place[outcome == became], minlength=LIMITS[1] - LIMITS[0])
        for became in (NEITHER, REVIEW, LINKED)
    ]
    return Scores(*counts)


def _bits(probability: Floats) -> Floats:
    inside = np.clip(probability, 2.0**-50, 1.0 - 2.0**-50)
    bits: Floats = np.log2(inside / (1.0 - inside))
    return bits


@dataclass(frozen=True)
class Blocking:
    """What a blocking rule costs and brings: candidates, pairs found, pairs found by it alone."""

    rule: str
    candidates: int
    found: int
    alone: int


def blocking(matched: Matched, model: Model, left: Any, right: Any) -> tuple[list[Blocking], int]:
    """What each rule adds to the finding of some pairs, and how many of them no rule finds."""
    rules = model.rules
    bits = found_by(rules, Pairs(matched.encoded, left, right))
    told = [
        Blocking(
            named(rule),
            candidates,
            int(((bits >> n) & 1).sum()),
            int((bits == 1 << n).sum()),
        )
        for n, (rule, candidates) in enumerate(zip(rules, matched.candidates.values(), strict=True))
    ]
    return told, int((bits == 0).sum())


def best_possible(encoded: Encoded, model: Model) -> list[Floats]:
    """By side: the odds, in bits, that its rows would have with a row that says the very same.

    Of large files SELVES rows, evenly spread. A row whose best isn't good enough can't be linked
    with anything.
    """
    sides: Sequence[Side] = [encoded.a] if encoded.one_file else [encoded.a, encoded.b]
    best = []
    for side in sides:
        tables = model.rarities
        if side is not encoded.a:
            turned = replace(encoded, a=encoded.b, b=encoded.a)
            tables = rarities(turned, model.weights.comparisons, once=model.weights.once)
        rows = np.unique(np.linspace(0, side.rows - 1, SELVES).astype(np.int64))
        pairs = Pairs(replace(encoded, a=side, b=side), rows, rows)
        levels = compared(pairs, model.weights.comparisons)
        rarity = rarity_of(model.weights.comparisons, tables, levels, pairs)
        best.append(model.weights.odds(levels, rarity)[1] / BIT)
    return best


def least_sure(matched: Matched) -> int | None:
    """The place, among what is listed, of the link by likeness that is least sure."""
    linked = np.flatnonzero(matched.rule == 1)
    if not len(linked):
        return None
    return int(linked[np.argmin(matched.probability[linked])])


def to_be_found(matched: Matched, truth: Truth | None) -> tuple[Any, Any]:
    """The pairs that blocking is judged by: the true ones where they are known, else the links."""
    if truth is not None:
        return truth.all_pairs()
    linked = matched.rule == 1
    return matched.left[linked], matched.right[linked]
