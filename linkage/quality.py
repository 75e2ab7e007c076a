"""How good are the links, in figures that name nobody."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkage.identities import Ints


def measure(
    rules: Sequence[str], rule: Ints, groups: int, known: int, reasons: Sequence[str]
) -> dict[str, Any]:
    """Counts and rates of one linkage.

    `rule` indexes `rules`, one entry per (row, reference); `groups` units were met, of which
    `known` had a subject already; `reasons` are those of the pairs in review.
    """
    counts = np.bincount(rule, minlength=len(rules)).tolist()
    references = len(rule)
    return {
        "references": references,
        "by_rule": dict(zip(rules, counts, strict=True)),
        "units": groups,
        "units_known": known,
        "linkage_rate": 1.0 - counts[rules.index("new")] / references if references else 0.0,
        "review": len(reasons),
        "review_by_reason": dict(sorted(Counter(reasons).items())),
    }


@dataclass(frozen=True)
class Expected:
    """What the probabilities say about links by likeness, where nobody knows the truth.

    Of `links` so many are expected to be `right`; so many were `missed`: one was likely that came
    to nothing, or the records share no key and were never compared.
    """

    links: int
    right: float
    missed: float


def expected(parts: Sequence[Expected]) -> dict[str, float | None]:
    """Precision and recall of links by likeness as the probabilities have it; None without any.

    An estimate from the model alone: as good as the model is, and blind to what it leaves out.
    """
    links, right = sum(part.links for part in parts), sum(part.right for part in parts)
    every = right + sum(part.missed for part in parts)
    return {
        "precision": right / links if links else None,
        "recall": right / every if every else None,
    }


def total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several sets of counts."""
    result: Counter[str] = Counter()
    for some in counts:
        result.update(some)
    return dict(result)
