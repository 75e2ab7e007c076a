"""How good are links where somebody knows who is who: figures that name nobody."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BIN: Final = 500
"""Pairs that a bin of the calibration has at least."""
_EDGES: Final = 20


@dataclass(frozen=True)
class Truth:
    """Whom each row of `a`, and of `b`, is about, as a code; -1 where nobody knows.

    Within one file `b` is None.
    """

    a: Ints
    b: Ints | None

    @classmethod
    def of(cls, a: Any, b: Any | None) -> "Truth":
        """From arrays of texts, null where nobody knows."""
        every = pa.chunked_array([a] if b is None else [a, b], pa.string())
        coded = every.combine_chunks().dictionary_encode().indices
        codes = np.asarray(pc.fill_null(coded, -1)).astype(np.int64)
        return cls(codes[: len(a)], None if b is None else codes[len(a) :])

    @property
    def pairs(self) -> int:
        """How many pairs of rows are about one unit."""
        size = int(max(self.a.max(initial=-1), -1 if self.b is None else self.b.max(initial=-1)))
        a = np.bincount(self.a[self.a >= 0], minlength=size + 1)
        if self.b is None:
            return int((a * (a - 1)).sum() // 2)
        return int(a @ np.bincount(self.b[self.b >= 0], minlength=size + 1))

    @property
    def unknown(self) -> int:
        """How many rows nobody knows; links of theirs count as wrong."""
        return int(sum((side < 0).sum() for side in (self.a, self.b) if side is not None))

    def all_pairs(self) -> tuple[Ints, Ints]:
        """The pairs of rows that are about one unit; within one file each pair once."""
        a = np.flatnonzero(self.a >= 0)
        if self.b is None:
            order = a[np.argsort(self.a[a], kind="stable")]
            codes = self.a[order]
            first = np.arange(1, len(order) + 1)
            left, right = order, order
        else:
            there = np.flatnonzero(self.b >= 0)
            right = there[np.argsort(self.b[there], kind="stable")]
            codes, left = self.b[right], a
            first = np.searchsorted(codes, self.a[left], side="left")
        count = np.searchsorted(codes, self.a[left], side="right") - first
        place = np.arange(int(count.sum())) + np.repeat(first - (np.cumsum(count) - count), count)
        return np.repeat(left, count), right[place]

    def right(self, left: Any, right: Any) -> npt.NDArray[np.bool_]:
        """Which pairs of rows are about one unit."""
        one, other = self.a[left], (self.a if self.b is None else self.b)[right]
        agree: npt.NDArray[np.bool_] = (one == other) & (one >= 0)
        return agree

    def figures(self, right: Any, rule: Any, probability: Any) -> dict[str, Any]:
        """Precision, recall and F1 of links (rules 0 and 1), and at the best of all thresholds.

        `right` says which of the listed pairs, links and review, are right. For the best threshold
        links by number come first and the others by probability; pairs without one are no links.
        """
        linked = rule < 2
        return {
            "true_pairs": self.pairs,
            "at_threshold": _rates(int(right[linked].sum()), int(linked.sum()), self.pairs),
            "best": self._best(right, rule, probability),
        }

    def _best(self, right: Any, rule: Any, probability: Any) -> dict[str, Any]:
        rank = np.where(rule == 0, np.inf, np.nan_to_num(probability, nan=-1.0))
        order = np.argsort(-rank, kind="stable")
        order = order[rank[order] >= 0]
        if not len(order):
            return {"threshold": None, **_rates(0, 0, self.pairs)}
        found, rank = np.cumsum(right[order]), rank[order]
        ends = np.flatnonzero(np.append(rank[1:] != rank[:-1], True))
        at = ends[np.argmax(2 * found[ends] / (ends + 1 + self.pairs))]
        threshold = None if np.isinf(rank[at]) else float(rank[at])
        return {"threshold": threshold, **_rates(int(found[at]), int(at) + 1, self.pairs)}

    def of_groups(self, group: Ints) -> dict[str, Any]:
        """The same for groups of rows of one file: all pairs of rows within a group."""
        sizes = np.bincount(group)
        both = np.unique(np.column_stack([group, self.a])[self.a >= 0], axis=0, return_counts=True)
        counts = both[1]
        right = int((counts * (counts - 1)).sum() // 2)
        return _rates(right, int((sizes * (sizes - 1)).sum() // 2), self.pairs)


def _rates(right: int, found: int, true: int) -> dict[str, Any]:
    return {
        "links": found,
        "right": right,
        "precision": right / found if found else None,
        "recall": right / true if true else None,
        "f1": 2 * right / (found + true) if found + true else None,
    }


def calibration(probability: Floats, right: Any) -> dict[str, Any]:
    """What the stated probability is worth: bins of BIN pairs or more, stated and true share.

    Bins are a twentieth wide, neighbours put together until they are large enough; with fewer than
    BIN pairs there is one bin.
    """
    counts = np.bincount(
        np.clip((probability * _EDGES).astype(np.int64), 0, _EDGES - 1), minlength=_EDGES
    )
    bins = []
    for first, last in _merged(counts.tolist()):
        which = (probability >= first / _EDGES) & ((probability < last / _EDGES) | (last == _EDGES))
        if which.any():
            stated, true = float(probability[which].mean()), float(right[which].mean())
            bins.append(
                {
                    "from": first / _EDGES,
                    "to": last / _EDGES,
                    "pairs": int(which.sum()),
                    "stated": stated,
                    "true": true,
                }
            )
    apart = [abs(one["stated"] - one["true"]) for one in bins]
    return {"bins": bins, "mean_difference": float(np.mean(apart)) if apart else None}


def _merged(counts: list[int]) -> list[tuple[int, int]]:
    spans, first, held = [], 0, 0
    for place, count in enumerate(counts):
        held += count
        if held >= BIN:
            spans.append((first, place + 1))
            first, held = place + 1, 0
    if first < len(counts):  # what is left over goes to the bin before
        last = spans.pop() if spans else (0, 0)
        spans.append((last[0], len(counts)))
    return spans
