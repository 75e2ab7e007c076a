"""Linking the units of one type: from identity records to clusters that are one person each.

Numbers first (`corroboration`), then everything that a number doesn't decide: candidates
(`blocking`), levels (`comparison`), probabilities (`model`), clusters (`assignment`).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linkage.assignment import Assignment, Cluster, Edges, assign, best_edges
from linkage.blocking import blocks, candidates
from linkage.comparison import LEVELS, NUMBER, Levels, Pairs, compare
from linkage.corroboration import Corroboration, corroborate, uses_as_first_name
from linkage.grouping import Groups, pairs_within
from linkage.identities import (
    ABSENT,
    FIELDS,
    Bools,
    Dates,
    Identities,
    Ints,
    build,
    combine,
    distinct_rows,
)
from linkage.model import Frequencies, Model, Plan

Floats = npt.NDArray[np.float64]
Stage = Callable[[str], AbstractContextManager[None]]

NUMBER_FIELDS: Final = {"person": "national_number", "enterprise": "enterprise_number"}
"""Which number each unit type has; the others have none."""

_NO_DIFFERENCE: Final = {
    field: [n for n, word in enumerate(words) if word in ("missing", "exact", "equal", "same")]
    for field, words in LEVELS.items()
}


@dataclass(frozen=True)
class Entries:
    """The (row, reference) pairs of one unit type in a delivery, an array entry each.

    `table` has the standardised identity fields, `line` the place in the delivery's records, `row`
    a code per row, `reference` a code per reference name (`self` first), `several` whether the row
    names several units of this type.
    """

    table: Any
    line: Ints
    row: Ints
    record: Ints
    reference: Ints
    distinct: Bools
    several: Bools

    def __len__(self) -> int:
        return len(self.line)


@dataclass(frozen=True)
class Units:
    """What linking one unit type found.

    `identity` leads from an entry to its identity record, `cluster` from a record to the cluster it
    was put in before likeness was looked at: clusters below `subjects` are the spine's subjects.
    `apart` marks entries that say too little to be anybody's, or that can't be who their record is:
    each is a unit of its own. `own_probability` is how sure one may be that two records saying
    exactly this are one unit. `two_subjects` are pairs (record, record of the spine) whose number
    leads to another subject than the one that the record went to.
    """

    identities: Identities
    identity: Ints
    cluster: Ints
    subjects: int
    numbers: Corroboration
    apart: Bools
    own_probability: Floats
    edges: Edges
    assignment: Assignment
    two_subjects: tuple[Ints, Ints]
    counts: dict[str, int]


def link_units(
    entries: Entries,
    spine: Any,
    subject: Ints,
    plan: Plan,
    conversions: Mapping[int, int],
    unit_type: str,
    stage: Stage,
) -> Units:
    """Link the entries with one another and with the spine's records (subject: their positions)."""
    persons = unit_type == "person"
    subjects = int(subject.max(initial=ABSENT)) + 1
    with stage("collect"):
        table, subject, identity = _distinct(entries, spine, subject)
        identities = build(
            table, subject, number=NUMBER_FIELDS.get(unit_type), conversions=conversions
        )
    with stage("numbers"):
        uses = uses_as_first_name(identities)
        single = np.zeros(len(identities), np.bool_)
        single[identity[entries.distinct]] = True
        seen = np.maximum(np.bincount(identity, minlength=len(identities)), 1)
        numbers = corroborate(identities, uses, single, seen, unit_type)
        identities = _told_by_numbers(identities, numbers)
    with stage("weigh"):
        values = identities.values()
        cluster, conflict = _clusters(identities, numbers, subjects)
        model = Model(plan, _frequencies(cluster, values), households=persons)
        scorer = _Scorer(identities, values, uses, numbers, model)
        own_probability = scorer.own()
        weak = (identities.number == ABSENT) & (own_probability < plan.link_threshold)
        cluster = _repeated(identities, table, cluster, weak)
    with stage("compare"):
        edges, counts = scorer.edges(cluster, weak, plan)
    with stage("assign"):
        apart = weak[identity] | _met_in_one_row(entries, cluster[identity])
        describe = _describer(identities, numbers, cluster, subjects, entries, identity, apart)
        assignment = assign(edges, describe, plan.link_threshold)
    return Units(
        identities=identities,
        identity=identity,
        cluster=cluster,
        subjects=subjects,
        numbers=numbers,
        apart=apart,
        own_probability=own_probability,
        edges=edges,
        assignment=assignment,
        two_subjects=conflict,
        counts=counts | {"too_little": int(weak[identity].sum())},
    )


def _distinct(entries: Entries, spine: Any, subject: Ints) -> tuple[Any, Ints, Ints]:
    """The distinct identity records (the spine's first), their subjects, and the entries' records.

    The records of a delivery are put in the order of what they say, so that the order of its rows
    decides nothing.
    """
    together = pa.concat_tables([spine.select(FIELDS), entries.table.select(FIELDS)])
    codes = distinct_rows(together, FIELDS)
    known = len(subject)
    per_subject = combine(subject, codes[:known])
    _, spine_first = np.unique(per_subject, return_index=True)
    spine_first = np.sort(spine_first)
    _, first, identity = np.unique(codes[known:], return_index=True, return_inverse=True)
    sort_keys = [(field, "ascending") for field in FIELDS]
    delivered = entries.table.select(FIELDS).take(pa.array(first))
    order = np.asarray(pa.compute.sort_indices(delivered, sort_keys=sort_keys)).astype(np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    table = pa.concat_tables(
        [spine.select(FIELDS).take(pa.array(spine_first)), delivered.take(pa.array(order))]
    ).combine_chunks()
    subjects = np.concatenate([subject[spine_first], np.full(len(order), ABSENT)])
    return table, subjects, len(spine_first) + rank[identity]


def _told_by_numbers(identities: Identities, numbers: Corroboration) -> Identities:
    """Birth date and sex from a number that is the record's own, where the record has none."""
    told = identities.implied
    known = Dates(*(np.where(numbers.own, part, 0) for part in (told.year, told.month, told.day)))
    no_sex = numbers.own & (identities.sex == ABSENT)
    return replace(
        identities,
        born=identities.born.otherwise(known),
        sex=np.where(no_sex, identities.implied_sex, identities.sex),
    )


def _clusters(
    identities: Identities, numbers: Corroboration, subjects: int
) -> tuple[Ints, tuple[Ints, Ints]]:
    """Clusters by number alone, and pairs of records where a claim leads to a second subject.

    A delivered record goes where the spine's records of its claim are. Should these be several
    subjects (which are never merged), it goes to one with its very first name, the one seen first.
    """
    claim = numbers.claim
    in_spine = ~identities.delivered
    earliest = _first_in(in_spine, numbers.sure)
    earliest = np.where(earliest < len(identities), earliest, _first_in(in_spine, claim))
    by_number = (earliest < len(identities)) & identities.delivered
    cluster = np.where(in_spine, identities.subject, subjects + claim)
    cluster[by_number] = identities.subject[earliest[by_number]]
    groups = Groups(np.where(in_spine, claim, ABSENT))
    rows = np.flatnonzero(by_number)
    at, other = groups.partners(claim[rows])
    record = rows[at]
    elsewhere = identities.subject[other] != cluster[record]
    return cluster, (record[elsewhere], other[elsewhere])


def _first_in(which: Bools, labels: Ints) -> Ints:
    """Per record the first record in `which` with its label; the number of records if none."""
    first = np.full(len(labels), len(labels))
    rows = np.flatnonzero(which)
    np.minimum.at(first, labels[rows], rows)
    return first[labels]


def _frequencies(cluster: Ints, values: Mapping[str, Ints]) -> Frequencies:
    """Values are counted once per cluster: somebody met often doesn't make a name common."""
    people = len(np.unique(cluster))
    counts = {}
    for field, codes in values.items():
        present = codes != ABSENT
        both = combine(codes[present], cluster[present])
        _, first = np.unique(both, return_index=True)
        counts[field] = np.bincount(
            codes[present][first], minlength=int(codes.max(initial=ABSENT)) + 1
        )
    return Frequencies(people, counts)


def _repeated(identities: Identities, table: Any, cluster: Ints, weak: Bools) -> Ints:
    """Delivered records that one subject alone was already seen under, word for word, are its."""
    codes = distinct_rows(table, FIELDS)
    in_spine = np.flatnonzero(~identities.delivered)
    size = int(codes.max(initial=ABSENT)) + 1
    owner = np.full(size, ABSENT)
    owner[codes[in_spine]] = identities.subject[in_spine]
    lowest = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(lowest, codes[in_spine], identities.subject[in_spine])
    highest = np.full(size, ABSENT)
    np.maximum.at(highest, codes[in_spine], identities.subject[in_spine])
    alone = (lowest == highest)[codes] & identities.delivered & ~weak
    fresh = cluster > int(identities.subject.max(initial=ABSENT))
    return np.where(alone & fresh, owner[codes], cluster)


def _met_in_one_row(entries: Entries, cluster: Ints) -> Bools:
    """Entries whose row names the same cluster before: a child and its mother are never one."""
    result = np.zeros(len(entries), np.bool_)
    rows = np.flatnonzero(entries.several)
    both = combine(entries.row[rows], cluster[rows])
    order = np.lexsort((entries.reference[rows], both))
    again = np.zeros(len(rows), np.bool_)
    again[order[1:]] = both[order[1:]] == both[order[:-1]]
    result[rows[again]] = True
    return result


class _Scorer:
    """Compares and weighs the pairs of records that a number doesn't decide."""

    def __init__(
        self,
        identities: Identities,
        values: dict[str, Ints],
        uses: Ints,
        numbers: Corroboration,
        model: Model,
    ) -> None:
        self._identities = identities
        self._values = values
        self._uses = uses
        self._numbers = numbers
        self._model = model

    def own(self) -> Floats:
        """How sure one may be that two records saying exactly what this one says are one unit."""
        every = np.arange(len(self._identities))
        pairs = self._compare(every, every)
        pairs.levels["number"] = np.where(
            self._identities.number == ABSENT, NUMBER.index("missing"), NUMBER.index("equal")
        ).astype(np.int8)
        return self._model.probability(pairs)

    def edges(self, cluster: Ints, weak: Bools, plan: Plan) -> tuple[Edges, dict[str, int]]:
        """All pairs of clusters that may be one with the probability of review or more."""
        needy = ~self._numbers.own & ~weak
        blocked = blocks(self._identities, ~weak, plan)
        scored = [self._same_number(cluster, plan), self._different_numbers(cluster, plan)]
        compared = 0
        numbered = np.zeros(int(cluster.max(initial=ABSENT)) + 1, np.bool_)
        numbered[cluster[self._numbers.own]] = True
        for left, right in candidates(blocked, self._identities, needy):
            open_ = cluster[left] != cluster[right]
            open_ &= ~(numbered[cluster[left]] & numbered[cluster[right]])
            left, right = left[open_], right[open_]
            compared += len(left)
            scored.append(self._scored(left, right, plan.review_threshold, number="missing"))
        left, right = (np.concatenate([part[n] for part in scored]) for n in range(2))
        probability = np.concatenate([part[2] for part in scored])
        agreeing = np.concatenate([part[3] for part in scored])
        edges = best_edges(cluster, left, right, probability, agreeing)
        return edges, {"candidates": compared, "blocks_skipped": blocked.skipped}

    def _same_number(self, cluster: Ints, plan: Plan) -> tuple[Ints, Ints, Floats, Bools]:
        """Pairs with one number that it doesn't link by itself: it is evidence like the rest."""
        left, right = self._numbers.weak
        delivered = self._identities.delivered
        open_ = (cluster[left] != cluster[right]) & (delivered[left] | delivered[right])
        return self._scored(left[open_], right[open_], plan.review_threshold, number="equal")

    def _different_numbers(self, cluster: Ints, plan: Plan) -> tuple[Ints, Ints, Floats, Bools]:
        """Pairs that are alike in all but their own numbers: never linked, but worth a look."""
        identities = self._identities
        described = combine(
            np.minimum(identities.first_name, identities.last_name),
            np.maximum(identities.first_name, identities.last_name),
            self._values["birth_date"],
            absent_if_any=True,
        )
        described[~self._numbers.own] = ABSENT
        left, right = pairs_within(described, plan.largest_block)
        open_ = (cluster[left] != cluster[right]) & (
            identities.delivered[left] | identities.delivered[right]
        )
        return self._scored(left[open_], right[open_], plan.link_threshold, number="missing")

    def _scored(
        self, left: Ints, right: Ints, threshold: float, *, number: str
    ) -> tuple[Ints, Ints, Floats, Bools]:
        pairs = self._compare(left, right)
        pairs.levels["number"] = np.full(len(left), NUMBER.index(number), np.int8)
        probability = self._model.probability(pairs)
        keep = probability >= threshold
        return left[keep], right[keep], probability[keep], _agreeing(pairs.levels)[keep]

    def _compare(self, left: Ints, right: Ints) -> Pairs:
        return compare(self._identities, self._values, left, right, self._uses)


def _agreeing(levels: Mapping[str, Levels]) -> Bools:
    """Whether no field differs."""
    result = np.ones(len(levels["number"]), np.bool_)
    for field, column in levels.items():
        result &= np.isin(column, _NO_DIFFERENCE[field])
    return result


def _describer(
    identities: Identities,
    numbers: Corroboration,
    cluster: Ints,
    subjects: int,
    entries: Entries,
    identity: Ints,
    apart: Bools,
) -> Callable[[Iterable[int]], Mapping[int, Cluster]]:
    """What may not meet in a cluster, worked out for those that are asked for."""

    def describe(keys: Iterable[int]) -> Mapping[int, Cluster]:
        wanted = list(keys)
        number = _numbers(identities, numbers, cluster)
        asked = np.zeros(int(cluster.max(initial=ABSENT)) + 1, np.bool_)
        asked[wanted] = True
        place = cluster[identity]
        present = asked[place] & ~apart
        slots = _sets(place, entries.reference, present & entries.distinct)
        rows = _sets(place, entries.row, present & entries.several)
        nothing: frozenset[int] = frozenset()
        return {
            key: Cluster(
                subject=key if key < subjects else ABSENT,
                number=number.get(key, ABSENT),
                slots=slots.get(key, nothing),
                rows=rows.get(key, nothing),
                parts=[key],
            )
            for key in wanted
        }

    return describe


def _numbers(identities: Identities, numbers: Corroboration, cluster: Ints) -> dict[int, int]:
    """The number of each cluster: its own, else one that may be its own."""
    result: dict[int, int] = {}
    for which in ((identities.canonical != ABSENT) & ~numbers.disowned, numbers.own):
        result.update(
            zip(cluster[which].tolist(), identities.canonical[which].tolist(), strict=True)
        )
    return result


def _sets(keys: Ints, values: Ints, which: Bools) -> dict[int, frozenset[int]]:
    groups = Groups(np.where(which, keys, ABSENT))
    return {
        key: frozenset(values[groups.members[start : start + size]].tolist())
        for key, start, size in zip(
            groups.keys.tolist(), groups.starts.tolist(), groups.sizes.tolist(), strict=True
        )
    }
