"""Who goes with whom: clusters of identity records, merged best pair first under constraints.

Never in one cluster: two subjects of the spine, two different numbers that are each somebody's
own, two rows of a delivery that has one row per unit (unless all their fields agree), two units
that one row names (a child and its mother). A pair whose candidates exclude each other shares its
probability with them, so that two equally good candidates are nobody's and go to a human.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from linkage.identities import ABSENT, Bools, Ints
from linkage.weighing import Weighed

Reason = Literal["number_contradicted", "different_numbers", "uncertain", "two_subjects"]
Floats = npt.NDArray[np.float64]

_CERTAIN: Final = 1.0 - 1e-12


@dataclass(frozen=True)
class Edges:
    """Pairs of clusters that may be one, each once: the best pair of records between them.

    `left` and `right` are clusters, `record` and `other` the records; `agreeing` says whether no
    field of the two records differs.
    """

    left: Ints
    right: Ints
    record: Ints
    other: Ints
    probability: Floats
    agreeing: Bools


@dataclass
class Cluster:
    """What may not meet in one cluster; `slots` are one-row-per-unit references it has rows of."""

    subject: int
    number: int
    slots: frozenset[int]
    rows: frozenset[int]
    parts: list[int]

    @property
    def anchored(self) -> bool:
        """Whether something says who this is: a subject or a number of its own."""
        return self.subject != ABSENT or self.number != ABSENT


@dataclass(frozen=True)
class Undecided:
    """An edge that wasn't merged, and why; `probability` takes rival candidates into account."""

    edge: int
    reason: Reason
    probability: float


@dataclass
class Assignment:
    """Where each cluster ended (`merged`: only those that moved) and how sure that was."""

    merged: dict[int, int] = field(default_factory=dict)
    probability: dict[int, float] = field(default_factory=dict)
    undecided: list[Undecided] = field(default_factory=list)


class Assigner:
    """Merges clusters along edges, the most probable first."""

    def __init__(self, clusters: Mapping[int, Cluster], edges: Edges, threshold: float) -> None:
        self._clusters = dict(clusters)
        self._edges = edges
        self._threshold = threshold
        self._home = {key: key for key in clusters}
        self._odds: dict[int, dict[int, float]] = {key: {} for key in clusters}
        p = np.minimum(edges.probability, _CERTAIN)
        self._edge_odds = p / (1.0 - p)
        for a, b, odds in zip(
            edges.left.tolist(), edges.right.tolist(), self._edge_odds.tolist(), strict=True
        ):
            self._odds[a][b] = self._odds[b][a] = odds
        self._result = Assignment()

    def run(self) -> Assignment:
        """Merge until nothing more may be merged, and tell what stayed undecided."""
        edges = self._edges
        order = np.lexsort((edges.other, edges.record, -edges.probability)).tolist()
        while True:
            left_over = [edge for edge in order if not self._try(edge)]
            if len(left_over) == len(order):
                break
            order = left_over
        for edge in order:
            self._give_up(edge)
        self._result.merged = {key: self._find(key) for key in self._home}
        return self._result

    def _find(self, key: int) -> int:
        while self._home[key] != key:
            self._home[key] = self._home[self._home[key]]
            key = self._home[key]
        return key

    def _ends(self, edge: int) -> tuple[int, int]:
        return (
            self._find(int(self._edges.left[edge])),
            self._find(int(self._edges.right[edge])),
        )

    def _try(self, edge: int) -> bool:
        """Merge along this edge if that may be; True when nothing is left to decide about it."""
        a, b = self._ends(edge)
        if a == b:
            return True
        if self._obstacle(a, b, agreeing=bool(self._edges.agreeing[edge])):
            return False
        probability = self._shared(a, b, edge)
        if probability < self._threshold:
            return False
        self._merge(a, b, probability)
        return True

    def _give_up(self, edge: int) -> None:
        a, b = self._ends(edge)
        if a == b:
            return
        reason = self._obstacle(a, b, agreeing=bool(self._edges.agreeing[edge]))
        probability = float(self._edges.probability[edge])
        if reason is None:
            probability = self._shared(a, b, edge)
        self._result.undecided.append(Undecided(edge, reason or "uncertain", probability))

    def _obstacle(self, a: int, b: int, *, agreeing: bool = False) -> Reason | None:
        """Why two clusters can't be one; None when they can."""
        one, two = self._clusters[a], self._clusters[b]
        if ABSENT not in (one.number, two.number) and one.number != two.number:
            return "different_numbers"
        if ABSENT not in (one.subject, two.subject) and one.subject != two.subject:
            return "two_subjects"
        if one.rows & two.rows or (one.slots & two.slots and not agreeing):
            return "uncertain"
        return None

    def _shared(self, a: int, b: int, edge: int) -> float:
        """The probability of a pair, shared with candidates of either that exclude the other."""
        odds = float(self._edge_odds[edge])
        rivals = self._rivals(a, b) + self._rivals(b, a)
        return odds / (1.0 + odds + rivals)

    def _rivals(self, a: int, b: int) -> float:
        return sum(
            odds
            for other, odds in self._odds[a].items()
            if other != b and self._obstacle(b, other) and not self._obstacle(a, other)
        )

    def _merge(self, a: int, b: int, probability: float) -> None:
        one, two = self._clusters[a], self._clusters[b]
        for cluster, other in ((one, two), (two, one)):
            if not cluster.anchored or other.subject != ABSENT:
                for part in cluster.parts:
                    known = self._result.probability.get(part, 1.0)
                    self._result.probability[part] = min(known, probability)
        keep, gone = (a, b) if a < b else (b, a)
        self._home[gone] = keep
        self._clusters[keep] = Cluster(
            subject=max(one.subject, two.subject),
            number=max(one.number, two.number),
            slots=one.slots | two.slots,
            rows=one.rows | two.rows,
            parts=one.parts + two.parts,
        )
        for neighbour, odds in self._odds.pop(gone).items():
            self._odds[neighbour].pop(gone)
            if neighbour != keep:
                best = max(odds, self._odds[keep].get(neighbour, 0.0))
                self._odds[keep][neighbour] = self._odds[neighbour][keep] = best


def best_edges(cluster: Ints, pairs: Weighed) -> Edges:
    """Weighed pairs of records → one edge per pair of clusters, from its most probable pair."""
    left, right, probability, agreeing = pairs.left, pairs.right, pairs.probability, pairs.agreeing
    a, b = cluster[left], cluster[right]
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((right, left, ~agreeing, -probability, high, low))
    order = order[low[order] != high[order]]
    new = np.ones(len(order), np.bool_)
    new[1:] = (low[order][1:] != low[order][:-1]) | (high[order][1:] != high[order][:-1])
    pick = order[new]
    return Edges(low[pick], high[pick], left[pick], right[pick], probability[pick], agreeing[pick])


def assign(
    edges: Edges, describe: Callable[[Iterable[int]], Mapping[int, Cluster]], threshold: float
) -> Assignment:
    """Merge the clusters that edges connect; `describe` tells what may not meet in each of them."""
    touched = np.unique(np.concatenate([edges.left, edges.right])).tolist()
    return Assigner(describe(touched), edges, threshold).run()
