"""link(): who is who in a delivery, given everyone the scope already knows.

Every delivery, first or tenth, goes the same way: standardise, collect distinct identity records,
let numbers decide what they prove, compare the rest, assign. Nothing is random, and the order of
the rows changes nothing. A pair that isn't certain stays apart and goes to review.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import LinkageError
from linkage.dates import LAST_BIRTH_YEAR
from linkage.decisions import SUPERSEDED, Decided, places, subjects_of, superseded, told_apart
from linkage.deliveries import Delivery, LinkResult, reference_records
from linkage.grouping import pairs_within
from linkage.identities import (
    ABSENT,
    COMPANIES,
    FIELDS,
    Bools,
    Ints,
    birth_dates,
    distinct_rows,
    encode,
    told_by,
)
from linkage.kernel.columns import Codes, date_parts
from linkage.nearby import nearby
from linkage.parameters import Plan, PlanError
from linkage.quality import expected, measure, total
from linkage.spine import SUBJECT, Spine
from linkage.standardise import national_numbers, standardise
from linkage.units import Entries, link_units
from linkage.verdicts import REASONS, RULES, Verdicts, verdicts

__all__ = [
    "FIELDS",
    "Delivery",
    "LinkResult",
    "LinkageError",
    "Plan",
    "PlanError",
    "link",
    "reference_records",
]

Floats = npt.NDArray[np.float64]

STAGES: Final = (
    "standardise",
    "nearby",
    "collect",
    "numbers",
    "weigh",
    "compare",
    "assign",
    "report",
)
PARENTS: Final = ("mother", "father")
PARENT_YEARS: Final = 12
"""A parent is at least this many years older than the child."""

_REFERENCES: Final = 20  # a row that names more units than this is none
_YEAR: Final = re.compile(r"(?:19|20)\d\d")


def link(
    delivery: Delivery,
    spine: Spine,
    plan: Plan,
    *,
    conversions: Any = None,
    decisions: Any = None,
    progress: Callable[[str, float], None] | None = None,
    workers: int = 2,
) -> LinkResult:
    """Decide for every (row, reference) of a delivery which subject it is, or that it is a new one.

    `conversions` has the columns bis and national: numbers that were replaced. `decisions` are what
    people decided on pairs (`decisions.DECISIONS`). `progress` is told the stage and the share of
    stages done. `workers` threads compare; the result is the same with any number. Raises
    LinkageError when a table lacks a column.
    """
    clock = _Clock(progress)
    with clock.stage("standardise"):
        table = _standardised(delivery, plan)
        replaced = _conversions(conversions, plan)
    known = _allowed(spine.records(), plan)
    with clock.stage("nearby"):
        again = _seen_before(delivery, spine, table, known)
        merged = SUPERSEDED.empty_table() if decisions is None else superseded(decisions)
        concerned = subjects_of(decisions, known)
    found: list[_Found] = []
    for unit_type in sorted(pc.unique(table["unit_type"]).to_pylist()):
        entries = _entries(table, unit_type)
        came = again.take(pa.array(entries.line))
        with clock.stage("nearby"):
            always = pa.chunked_array([came, concerned], SUBJECT)
            near = nearby(known, entries.table, unit_type, replaced, always, merged, workers)
            everyone = pc.unique(near.known["subject"])
            decided = Decided.of(decisions, everyone)
            subject = places(near.known["subject"], everyone)
            local, position = np.unique(decided.into[subject], return_inverse=True)
        units = link_units(
            entries,
            near,
            position.astype(np.int64),
            plan,
            replaced,
            unit_type,
            clock.stage,
            workers,
        )
        with clock.stage("report"):
            who = places(came, everyone)
            before = _local(decided.counted_as(who), local)
            told = verdicts(entries, units, before, unit_type, decided.apart(local))
            told, own = told_apart(told, decided, local, near.known, subject, who)
            found.append(_Found(unit_type, told, everyone.take(pa.array(own))))
    with clock.stage("report"):
        result = _assembled(table, found)
    clock.finish()
    result.quality["seconds"] = clock.seconds
    return result


@dataclass(frozen=True)
class _Found:
    """The verdicts on the units of one type, and the ids of the subjects that the spine knows."""

    unit_type: str
    verdicts: Verdicts
    subjects: Any


class _Clock:
    """Seconds per stage; tells progress as the stages pass."""

    def __init__(self, progress: Callable[[str, float], None] | None) -> None:
        self._progress = progress
        self._share = 0.0
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside; several visits to a stage add up."""
        if self._progress:
            self._share = max(self._share, STAGES.index(name) / len(STAGES))
            self._progress(name, self._share)
        start = perf_counter()
        yield
        self.seconds[name] += perf_counter() - start

    def finish(self) -> None:
        """Tell progress that all is done."""
        if self._progress:
            self._progress(STAGES[-1], 1.0)


def _standardised(delivery: Delivery, plan: Plan) -> Any:
    """The delivery's records with standardised fields, and only those that may be used."""
    records = delivery.records
    for column in ("row_key", "record", "reference", "unit_type", "distinct"):
        if column not in records.column_names:
            raise LinkageError(f"The records of a delivery need the column {column}; add it.")
    stated = _YEAR.search(delivery.period)
    latest = int(stated[0]) + 1 if stated else LAST_BIRTH_YEAR
    columns = {c: records[c] for c in ("row_key", "record", "reference", "unit_type", "distinct")}
    for field in FIELDS:
        usable = field in plan.keys and field in records.column_names
        columns[field] = (
            standardise(field, records[field], latest_birth_year=latest)
            if usable
            else pa.nulls(records.num_rows, pa.string())
        )
    if "last_name" in plan.keys and "last_name" in records.column_names:
        company = pc.is_in(records["unit_type"], value_set=pa.array(sorted(COMPANIES)))
        names = standardise("company_name", records["last_name"])
        columns["last_name"] = pc.if_else(company, names, columns["last_name"])
    return _without_relatives_numbers(pa.table(columns).combine_chunks())


def _without_relatives_numbers(table: Any) -> Any:
    """The records, without the numbers that their own row shows to be a relative's.

    Where somebody's birth date isn't stated, nothing but the row would show that the number is that
    of a father or son of the same name. It counts as missing when it tells the birth date of a
    namesake in the same row, or a birth too near the child's for a parent's.
    """
    row = distinct_rows(table, ["row_key"])
    stated, implied = _birth_dates(table)
    undated = (stated == ABSENT) & (implied != ABSENT)
    child = _equal(table["reference"], "self") & (stated == implied) & (stated != ABSENT)
    year = np.where(implied == ABSENT, 0, date_parts(implied)[0])
    born = np.zeros(int(row.max(initial=ABSENT)) + 1, np.int64)
    born[row[child]] = year[child]
    too_young = (born[row] > 0) & (year > born[row] - PARENT_YEARS)
    parent = np.asarray(pc.is_in(table["reference"], value_set=pa.array(PARENTS)))
    wrong = undated & ((parent & too_young) | _a_namesakes(table, row, stated, implied))
    numbers = pc.if_else(pa.array(wrong), pa.scalar(None, pa.string()), table["national_number"])
    return table.set_column(table.column_names.index("national_number"), "national_number", numbers)


def _a_namesakes(table: Any, row: Ints, stated: Codes, implied: Codes) -> Bools:
    """Whether a record's number tells the birth date that its row states for a namesake."""
    given = pc.replace_substring(table["first_name"], " ", "")
    (first, last), _ = encode([given, table["last_name"]])
    left, right = pairs_within(row, _REFERENCES)
    result = np.zeros(len(row), np.bool_)
    for one, other in ((left, right), (right, left)):
        namesakes = (first[one] == first[other]) & (first[one] != ABSENT)
        namesakes |= (first[one] == last[other]) & (first[one] != ABSENT)
        namesakes |= (last[one] == first[other]) & (last[one] != ABSENT)
        told = (implied[one] == stated[other]) & (stated[other] != ABSENT)
        result[one[namesakes & told]] = True
    return result


def _birth_dates(table: Any) -> tuple[Codes, Codes]:
    """The birth dates stated, and those that the national numbers tell, as the kernel's codes."""
    numbers = pc.fill_null(pc.cast(table["national_number"], pa.int64()), 0)
    told, _ = told_by(np.asarray(numbers).astype(np.int64), "national_number")
    return birth_dates(table["birth_date"]), told[:-1]


def _equal(column: Any, value: str) -> Bools:
    result: Bools = np.asarray(pc.fill_null(pc.equal(column, value), False))
    return result


def _conversions(pairs: Any, plan: Plan) -> dict[int, int]:
    """From each replaced number to the one that counts now; pairs with an invalid one are left out.

    Where a list contradicts itself (one number, two successors) neither counts. A chain is followed
    to its end.
    """
    if pairs is None or "conversion" not in plan.keys:
        return {}
    old, new = (
        pc.cast(national_numbers(_text(pairs[column])), pa.int64()).to_pylist()
        for column in ("bis", "national")
    )
    successors: dict[int, set[int]] = {}
    for before, after in zip(old, new, strict=True):
        if before is not None and after is not None and before != after:
            successors.setdefault(before, set()).add(after)
    direct = {before: after.pop() for before, after in successors.items() if len(after) == 1}
    return {before: _end(direct, before) for before in direct}


def _end(direct: Mapping[int, int], number: int) -> int:
    seen = {number}
    while number in direct and direct[number] not in seen:
        number = direct[number]
        seen.add(number)
    return number


def _text(column: Any) -> Any:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.cast(pa.string())


def _allowed(records: Any, plan: Plan) -> Any:
    """The spine's records with only those fields that may be used."""
    for field in FIELDS:
        if field not in plan.keys:
            at = records.column_names.index(field)
            records = records.set_column(at, field, pa.nulls(records.num_rows, pa.string()))
    return records


def _seen_before(delivery: Delivery, spine: Spine, table: Any, known: Any) -> Any:
    """Per line the id of the subject whose it was when this dataset and period came before.

    Only where the same place of another whole file says the very same: this is a delivery sent
    again, in which even those who say too little to be linked can be told apart; the latest such
    file is heard. Null otherwise.
    """
    result = pa.nulls(table.num_rows, SUBJECT)
    mine = (delivery.dataset, delivery.period)
    same = [s for s in spine.segments if s.whole and (s.dataset, s.period) == mine]
    if not delivery.whole or not table.num_rows:
        return result
    for segment in same:
        before = _at_the_same_place(segment.seen, table)
        result = pc.if_else(_says_the_same(table, before, known), before, result)
    return result


def _says_the_same(table: Any, subject: Any, known: Any) -> Any:
    """Per line whether a subject was seen under the very words that the line says."""
    theirs = known.filter(pc.is_in(known["subject"], value_set=pc.unique(subject.drop_null())))
    lines = table.select(["unit_type", *FIELDS]).append_column("subject", subject)
    said = distinct_rows(
        pa.concat_tables([theirs.select(lines.column_names), lines]), lines.column_names
    )
    the_same = np.isin(said[theirs.num_rows :], said[: theirs.num_rows])
    return pc.and_(pa.array(the_same), pc.is_valid(subject))


def _at_the_same_place(seen: Any, table: Any) -> Any:
    """Per line the subject whose its record and reference were in another file; else null."""
    places = pa.concat_tables(
        [seen.select(["record", "reference"]), table.select(["record", "reference"])]
    )
    place = distinct_rows(places, ["record", "reference"])
    line = np.full(int(place.max(initial=ABSENT)) + 1, ABSENT)
    line[place[: seen.num_rows]] = np.arange(seen.num_rows)
    found = line[place[seen.num_rows :]]
    return _whole(seen["subject"]).take(pa.array(found, mask=found == ABSENT))


def _local(subject: Ints, local: Ints) -> Ints:
    """Subjects → their place among those that others count as."""
    place = np.minimum(np.searchsorted(local, subject), max(len(local) - 1, 0))
    if not len(local):
        return np.full(len(subject), ABSENT)
    return np.where((subject != ABSENT) & (local[place] == subject), place, ABSENT)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _entries(table: Any, unit_type: str) -> Entries:
    which = _equal(table["unit_type"], unit_type)
    some = table.filter(pa.array(which))
    names = sorted(
        pc.unique(some["reference"]).to_pylist(), key=lambda name: (name != "self", name)
    )
    reference = np.asarray(pc.index_in(some["reference"], value_set=pa.array(names, pa.string())))
    row = distinct_rows(some, ["row_key"])
    return Entries(
        table=some,
        line=np.flatnonzero(which),
        row=row,
        record=np.asarray(some["record"]).astype(np.int64),
        reference=reference.astype(np.int64),
        distinct=np.asarray(some["distinct"]).astype(np.bool_),
        several=np.bincount(row)[row] > 1 if len(row) else np.zeros(0, np.bool_),
    )


def _assembled(table: Any, found: list[_Found]) -> LinkResult:
    """The tables of the result; groups are numbered by where they were first seen."""
    lines = table.num_rows
    group = np.full(lines, ABSENT)
    rule = np.zeros(lines, np.int64)
    probability = np.full(lines, np.nan)
    parts: list[_Part] = []
    offset = 0
    for one in found:
        told = one.verdicts
        clusters, first, local = np.unique(told.cluster, return_index=True, return_inverse=True)
        founder = told.founder[first]
        entries = told.entries
        order = np.lexsort((entries.reference[founder], entries.record[founder]))
        number = np.empty(len(order), np.int64)
        number[order] = offset + np.arange(len(order))
        group[entries.line] = number[local]
        rule[entries.line] = told.rule
        probability[entries.line] = told.probability
        parts.append(_Part(one, clusters[order], entries.line[founder[order]], number))
        offset += len(order)
    review = _review(table, parts)
    return LinkResult(
        links=_links(table, group, rule, probability),
        groups=_groups(table, parts),
        review=review,
        identities=_identities(table, group),
        quality=_quality(rule, parts, review),
    )


@dataclass(frozen=True)
class _Part:
    """The groups of one unit type, in their final order.

    `clusters` are their clusters, `founders` the lines they were first seen in, `numbers` leads
    from a place among the sorted clusters to the group number.
    """

    found: _Found
    clusters: Ints
    founders: Ints
    numbers: Ints


def _links(table: Any, group: Ints, rule: Ints, probability: Floats) -> Any:
    return pa.table(
        {
            "row_key": table["row_key"],
            "reference": table["reference"],
            "group": pa.array(group, pa.int32()),
            "rule": pa.array(RULES).take(pa.array(rule)),
            "probability": pa.array(probability, mask=np.isnan(probability)),
        }
    )


def _groups(table: Any, parts: list[_Part]) -> Any:
    schema = pa.schema(
        [
            ("group", pa.int32()),
            ("unit_type", pa.string()),
            ("subject", SUBJECT),
            ("first_record", pa.int64()),
            ("first_reference", pa.string()),
        ]
    )
    tables = [schema.empty_table()]
    for part in parts:
        founders = pa.array(part.founders)
        columns = [
            np.sort(part.numbers),
            pa.repeat(part.found.unit_type, len(part.clusters)),
            _subjects(part, part.clusters),
            _whole(table["record"]).take(founders),
            _whole(table["reference"]).take(founders),
        ]
        tables.append(pa.table(columns, names=schema.names).cast(schema))
    return pa.concat_tables(tables).combine_chunks()


def _subjects(part: _Part, clusters: Ints) -> Any:
    """The spine's ids of those clusters that are subjects, null for the others."""
    known = clusters < part.found.verdicts.subjects
    return part.found.subjects.take(pa.array(clusters, mask=~known)).cast(SUBJECT)


def _review(table: Any, parts: list[_Part]) -> Any:
    schema = pa.schema(
        [
            ("row_key", SUBJECT),
            ("reference", pa.string()),
            ("other_subject", SUBJECT),
            ("other_group", pa.int32()),
            ("reason", pa.string()),
            ("probability", pa.float64()),
        ]
    )
    tables = [schema.empty_table()]
    for part in parts:
        told = part.found.verdicts
        pairs = told.review
        line = told.entries.line[pairs.entry]
        present = np.sort(part.clusters)
        place = np.minimum(np.searchsorted(present, pairs.other), max(len(present) - 1, 0))
        here = present[place] == pairs.other
        columns = [
            _whole(table["row_key"]).take(pa.array(line)),
            _whole(table["reference"]).take(pa.array(line)),
            _subjects(part, pairs.other),
            pa.array(part.numbers[place], pa.int32(), mask=~here),
            pa.array(REASONS).take(pa.array(pairs.reason)),
            pa.array(pairs.probability, mask=np.isnan(pairs.probability)),
        ]
        tables.append(pa.table(columns, names=schema.names).cast(schema))
    return pa.concat_tables(tables).combine_chunks()


def _identities(table: Any, group: Ints) -> Any:
    """The distinct identity records of each group."""
    columns = ["unit_type", *FIELDS]
    records = table.select(columns).add_column(0, "group", pa.array(group, pa.int32()))
    _, first = np.unique(distinct_rows(records, ["group", *columns]), return_index=True)
    return records.take(pa.array(np.sort(first)))


def _quality(rule: Ints, parts: list[_Part], review: Any) -> dict[str, Any]:
    groups = sum(len(part.clusters) for part in parts)
    known = sum(int((p.clusters < p.found.verdicts.subjects).sum()) for p in parts)
    figures = measure(RULES, rule, groups, known, review["reason"].to_pylist())
    told = {part.found.unit_type: part.found.verdicts for part in parts}
    return {
        **figures,
        **total([one.counts for one in told.values()]),
        "expected": expected([one.expected for one in told.values()]),
        "models": {unit_type: one.model for unit_type, one in told.items()},
    }
