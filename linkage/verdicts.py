"""From clusters to what is told: who each entry is, how that was decided, what a human must see."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.identities import ABSENT, Bools, Ints
from linkage.quality import Expected
from linkage.units import Entries, Units

Floats = npt.NDArray[np.float64]

RULES: Final = ("new", "national_number", "enterprise_number", "conversion", "fuzzy", "decided")
REASONS: Final = (
    "number_contradicted",
    "different_numbers",
    "uncertain",
    "two_subjects",
    "decided",
)


@dataclass(frozen=True)
class Review:
    """Pairs for a human: an entry, the other cluster (a final one), the reason, the probability.

    Those that a human decided never to be one are among them, with the reason `decided`.
    """

    entry: Ints
    other: Ints
    reason: Ints
    probability: Floats


@dataclass(frozen=True)
class Verdicts:
    """Who each entry is: a final cluster (those below `subjects` are subjects), rule, probability.

    `rule` indexes RULES; `probability` is NaN unless the rule is fuzzy. `expected` is what the
    probabilities say about the links, `model` what likeness weighed.
    """

    entries: Entries
    cluster: Ints
    founder: Ints
    rule: Ints
    probability: Floats
    review: Review
    subjects: int
    expected: Expected
    model: dict[str, Any]
    counts: dict[str, int]


def verdicts(
    entries: Entries,
    units: Units,
    again: Ints,
    unit_type: str,
    apart: frozenset[tuple[int, int]] = frozenset(),
) -> Verdicts:
    """Tell for each entry who it is.

    `again` is the subject of an entry that came before, word for word, in the same place of an
    earlier delivery, and stays that; ABSENT for the others. `apart` are pairs of subjects, the
    lower first, that a human decided never to be one: two subjects never meet in any case.
    """
    final = _final(units)
    cluster = final[units.cluster[units.identity]]
    alone = np.flatnonzero(units.apart)
    cluster[alone] = len(final) + alone
    back = (again != ABSENT) & (again != cluster)
    cluster[back] = again[back]
    founder = _founders(entries, units, cluster)
    rule, probability = _rules(units, cluster, founder, back, unit_type)
    return Verdicts(
        entries=entries,
        cluster=cluster,
        founder=founder,
        rule=rule,
        probability=probability,
        review=_review(entries, units, final, cluster, apart),
        subjects=units.subjects,
        expected=_expected(units, final, rule, probability),
        model=units.model,
        counts=units.counts,
    )


def _expected(units: Units, final: Ints, rule: Ints, chance: Floats) -> Expected:
    """What the probabilities say about the entries of which no number says whose they are."""
    by_likeness = ~np.isnan(chance)
    right = float(chance[by_likeness].sum())
    found, ended = units.found, final[units.cluster]
    apart = ended[found.left] != ended[found.right]
    best = np.zeros(len(units.identities))
    for side in (found.left, found.right):
        np.maximum.at(best, side[apart], found.probability[apart])
    alone = (rule == RULES.index("new")) & ~units.numbers.own[units.identity]
    return Expected(
        links=int(by_likeness.sum()),
        right=right,
        missed=float(best[units.identity[alone]].sum()) + right * (1.0 / units.coverage - 1.0),
    )


def _final(units: Units) -> Ints:
    """Where each cluster ended; a cluster with a subject is called after it."""
    final = np.arange(max(int(units.cluster.max(initial=ABSENT)) + 1, units.subjects))
    for start, end in units.assignment.merged.items():
        final[start] = end
    return final


def _founders(entries: Entries, units: Units, cluster: Ints) -> Ints:
    """For each entry the entry in which its unit was first seen in this delivery.

    An entry that its own number identifies comes before one that likeness brought, so that a unit
    is founded by what is surest about it; then the first record, then the first reference.
    """
    doubt = ~units.numbers.own[units.identity]
    order = np.lexsort((entries.reference, entries.record, doubt, cluster))
    first = np.ones(len(order), np.bool_)
    first[1:] = cluster[order[1:]] != cluster[order[:-1]]
    founder = np.empty(len(order), np.int64)
    founder[order] = np.repeat(order[first], np.diff(np.append(np.flatnonzero(first), len(order))))
    return founder


def _rules(
    units: Units, cluster: Ints, founder: Ints, back: Bools, unit_type: str
) -> tuple[Ints, Floats]:
    """By which rule each entry came to its unit, and how probable that is where not certain."""
    identity, identities, claim = units.identity, units.identities, units.numbers.claim
    part = units.cluster[identity]
    known = cluster < units.subjects
    numbered = identities.number[identity] != ABSENT
    with_founder = ~known & (claim[identity] == claim[identity[founder]]) & numbered
    by_number = np.where(known, _by_number(units, part, cluster), with_founder) & ~back
    stated = np.where(
        known,
        _stated_in_spine(units)[identity],
        identities.number[identity] == identities.number[identity[founder]],
    )
    own_rule = RULES.index("enterprise_number" if unit_type == "enterprise" else "national_number")
    rule = np.where(stated, own_rule, RULES.index("conversion"))
    rule[~by_number] = RULES.index("fuzzy")
    rule[~known & (founder == np.arange(len(founder)))] = RULES.index("new")
    merged = np.ones(int(units.cluster.max(initial=units.subjects)) + 1)
    for key, merging in units.assignment.probability.items():
        merged[key] = merging
    probability = np.minimum(units.own_probability[identity], merged[part])
    probability[back] = 1.0
    probability[rule != RULES.index("fuzzy")] = np.nan
    return rule, probability


def _by_number(units: Units, part: Ints, cluster: Ints) -> Bools:
    """Whether the number of an entry leads to its subject by itself.

    It does through a claim of the subject's own number, and through any claim when the subject has
    no other: what once came to a subject by likeness doesn't become proof by being repeated.
    """
    identities, claim = units.identities, units.numbers.claim
    in_spine = np.flatnonzero(~identities.delivered & (identities.number != ABSENT))
    subject, own = identities.subject[in_spine], units.numbers.own[in_spine]
    owned = np.zeros(units.subjects + 1, np.bool_)
    owned[subject[own]] = True
    earliest = np.full(units.subjects + 1, len(identities))
    np.minimum.at(earliest, subject, in_spine)
    main = claim[np.minimum(earliest, len(identities) - 1)]
    leads = np.zeros(len(identities), np.bool_)
    leads[in_spine] = np.where(owned[subject], own, claim[in_spine] == main[subject])
    claim_leads = np.zeros(len(identities), np.bool_)
    claim_leads[claim[in_spine][leads[in_spine]]] = True
    by_number: Bools = (
        claim_leads[claim[units.identity]]
        & (part == cluster)
        & (identities.number[units.identity] != ABSENT)
    )
    return by_number


def _stated_in_spine(units: Units) -> Bools:
    """Per record, whether the spine's records of its claim state its very number."""
    identities, claim = units.identities, units.numbers.claim
    size = len(identities.numbers) + 1
    key = claim * size + identities.number
    result: Bools = np.isin(key, key[~identities.delivered & (identities.number != ABSENT)])
    return result


def _review(
    entries: Entries,
    units: Units,
    final: Ints,
    cluster: Ints,
    apart: frozenset[tuple[int, int]],
) -> Review:
    """All pairs that stay apart until a human decides, or since: one per pair of units."""
    edges, undecided = units.edges, units.assignment.undecided
    edge = np.array([item.edge for item in undecided], np.int64)
    contradicted, conflicts = units.numbers.contradicted, units.two_subjects
    record = np.concatenate([contradicted[0], edges.record[edge], conflicts[0]])
    other = np.concatenate([contradicted[1], edges.other[edge], conflicts[1]])
    reason = np.concatenate(
        [
            np.full(len(contradicted[0]), REASONS.index("number_contradicted")),
            np.array([REASONS.index(item.reason) for item in undecided], np.int64),
            np.full(len(conflicts[0]), REASONS.index("two_subjects")),
        ]
    )
    probability = np.concatenate(
        [
            np.full(len(contradicted[0]), np.nan),
            np.array([item.probability for item in undecided]),
            np.full(len(conflicts[0]), np.nan),
        ]
    )
    entry_of = _first_entry(entries, units)
    turn = entry_of[record] == ABSENT
    record, other = np.where(turn, other, record), np.where(turn, record, other)
    entry = entry_of[record]
    here, there = cluster[entry], final[units.cluster[other]]
    keep = np.flatnonzero((here != there) & (entry != ABSENT))
    low, high = np.minimum(here, there)[keep], np.maximum(here, there)[keep]
    order = np.lexsort((entry[keep], -np.nan_to_num(probability[keep], nan=2.0), high, low))
    first = np.ones(len(order), np.bool_)
    first[1:] = (low[order[1:]] != low[order[:-1]]) | (high[order[1:]] != high[order[:-1]])
    pick = keep[order[first]]
    if apart:
        pairs = zip(low[order[first]].tolist(), high[order[first]].tolist(), strict=True)
        never = np.array([pair in apart for pair in pairs], np.bool_)
        reason[pick[never]] = REASONS.index("decided")
    return Review(entry[pick], there[pick], reason[pick], probability[pick])


def _first_entry(entries: Entries, units: Units) -> Ints:
    """For each identity record its first entry in this delivery, ABSENT when there is none."""
    result = np.full(len(units.identities), ABSENT)
    order = np.lexsort((entries.reference, entries.record, units.apart))[::-1]
    result[units.identity[order]] = order
    return result
