"""Linking the units of one type: from identity records to clusters that are one person each.

Numbers first (`corroboration`), then everything that a number doesn't decide: candidates and what
they weigh (`weighing`), clusters (`assignment`).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linkage.assignment import Assignment, Cluster, Edges, assign, best_edges
from linkage.corroboration import Corroboration, corroborate
from linkage.grouping import Groups, pairs_within
from linkage.identities import (
    ABSENT,
    FIELDS,
    Bools,
    Identities,
    Ints,
    build,
    combine,
    distinct_rows,
)
from linkage.nearby import Nearby
from linkage.parameters import Plan
from linkage.weighing import Frequencies, Weighed, Weighing, counted

Floats = npt.NDArray[np.float64]
Stage = Callable[[str], AbstractContextManager[None]]

LARGEST: Final = 2000
"""Records of one description with numbers of their own up to which pairs of them are looked at."""


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
    leads to another subject than the one that the record went to. `found` are the pairs of records
    that are one unit with the probability of review or more, `coverage` the chance that a pair of
    records of one unit is looked at at all, `model` what likeness weighed.
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
    found: Weighed
    coverage: float
    model: dict[str, Any]
    counts: dict[str, int]


def link_units(
    entries: Entries,
    near: Nearby,
    subject: Ints,
    plan: Plan,
    conversions: Mapping[int, int],
    unit_type: str,
    stage: Stage,
    workers: int,
) -> Units:
    """Link the entries with one another and with a spine's records (subject: their positions)."""
    subjects = int(subject.max(initial=ABSENT)) + 1
    with stage("collect"):
        table, subject, identity, lines = _distinct(entries, near.known, subject)
        identities = build(table, subject, unit_type, conversions)
    with stage("numbers"):
        uses = _uses(identities, near.uses, lines)
        identities = counted(_turned(identities, uses), near, lines)
        single = np.zeros(len(identities), np.bool_)
        single[identity[entries.distinct]] = True
        seen = np.maximum(np.bincount(identity, minlength=len(identities)), 1)
        numbers = corroborate(identities, uses, single, seen, unit_type)
    with stage("weigh"):
        cluster, conflict = _clusters(identities, numbers, subjects)
        identities = _told_by_numbers(identities, numbers)
        frequencies = Frequencies.of(identities, cluster, near, lines)
        weighing = Weighing(
            identities,
            frequencies,
            ~numbers.own,
            near,
            plan,
            households=unit_type == "person",
        )
        numbered = identities.number != ABSENT
        own_probability = weighing.own(numbered)
        weak = ~numbered & (own_probability < plan.link_threshold)
        cluster = _repeated(identities, table, cluster, weak)
    with stage("compare"):
        found = weighing.found(workers)
        edges = _edges(identities, numbers, cluster, weak, weighing, found, plan)
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
        found=found,
        coverage=weighing.coverage,
        model=weighing.told(),
        counts={
            "taking_part": near.known.num_rows,
            "candidates": weighing.candidates,
            "blocks_skipped": weighing.skipped,
            "too_little": int(weak[identity].sum()),
        },
    )


def _distinct(entries: Entries, spine: Any, subject: Ints) -> tuple[Any, Ints, Ints, Ints]:
    """The distinct identity records (the spine's first), their subjects, and the entries' records.

    And for each record a line of the spine, or of the entries after them, that says it. The records
    of a delivery are put in the order of what they say, so that the order of its rows decides
    nothing.
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
    lines = np.concatenate([spine_first, known + first[order]])
    return table, subjects, len(spine_first) + rank[identity], lines


def _uses(identities: Identities, uses: Mapping[str, Ints], lines: Ints) -> Ints:
    """By code of a name how often it is in use as a first name; 0 at the end for a missing one."""
    found = np.zeros(len(identities.names) + 1, np.int64)
    if "first_name" in uses:
        found[identities.first_name] = uses["first_name"][lines]
    if "last_name" in uses:
        found[identities.last_name] = uses["last_name"][lines]
    found[ABSENT] = 0
    return found


def _turned(identities: Identities, uses: Ints) -> Identities:
    """Records whose names changed places, read the right way.

    What stands as first name is in use as none, and what stands as last name is.
    """
    first, last = identities.first_name, identities.last_name
    turned = (uses[first] == 0) & (uses[last] > 0) & (first != ABSENT)
    if not turned.any():
        return identities
    nothing = np.full(len(identities), ABSENT)
    across = {"given": last, "joined": last, "head": last, "last": first, "second": nothing}
    return identities.with_codes(
        {part: np.where(turned, codes, identities.codes(part)) for part, codes in across.items()}
    )


def _told_by_numbers(identities: Identities, numbers: Corroboration) -> Identities:
    """Birth date and sex from a number that is the record's own, where the record has none."""
    told = {"birth_date": identities.implied, "sex": identities.implied_sex}
    said = {part: identities.codes(part) for part in told}
    return identities.with_codes(
        {
            part: np.where(numbers.own & (said[part] == ABSENT), codes, said[part])
            for part, codes in told.items()
        }
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


def _edges(
    identities: Identities,
    numbers: Corroboration,
    cluster: Ints,
    weak: Bools,
    weighing: Weighing,
    found: Weighed,
    plan: Plan,
) -> Edges:
    """All pairs of clusters that may be one with the probability of review or more."""
    numbered = np.zeros(int(cluster.max(initial=ABSENT)) + 1, np.bool_)
    numbered[cluster[numbers.own]] = True
    open_ = ~(numbered[cluster[found.left]] & numbered[cluster[found.right]])
    open_ &= ~(weak[found.left] | weak[found.right])
    same = weighing.weighed(*_of_two(identities, cluster, *numbers.weak), same_number=True)
    apart = _described_alike(identities, numbers.own)
    different = weighing.weighed(*_of_two(identities, cluster, *apart), same_number=False)
    parts = [
        found.some(open_),
        same.some(same.probability >= plan.review_threshold),
        different.some(different.probability >= plan.link_threshold),
    ]
    return best_edges(cluster, Weighed.joined(parts))


def _of_two(identities: Identities, cluster: Ints, left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Pairs of two clusters of which the delivery has at least one record."""
    delivered = identities.delivered
    open_ = (cluster[left] != cluster[right]) & (delivered[left] | delivered[right])
    return left[open_], right[open_]


def _described_alike(identities: Identities, own: Bools) -> tuple[Ints, Ints]:
    """Pairs that are alike in all but their own numbers: never linked, but worth a look."""
    first, last = identities.first_name, identities.last_name
    described = combine(
        np.minimum(first, last), np.maximum(first, last), identities.born, absent_if_any=True
    )
    described[~own] = ABSENT
    return pairs_within(described, LARGEST)


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
