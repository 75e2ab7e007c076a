"""Everyone a scope knows: subjects, and the identity records they were seen under.

A spine is a sequence of immutable segments, one per admitted delivery. Nothing in it is ever
changed: what an admission learns is added, so that an earlier state can always be had again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import LinkageError
from linkage.deliveries import Delivery, LinkResult
from linkage.identities import FIELDS, distinct_rows

SUBJECT = pa.binary(16)
RECORDS = pa.schema(
    [("subject", SUBJECT), ("unit_type", pa.string()), *((f, pa.string()) for f in FIELDS)]
)
SEEN = pa.schema(
    [
        ("row_key", SUBJECT),
        ("reference", pa.string()),
        ("record", pa.int64()),
        ("subject", SUBJECT),
    ]
)


class SpineError(LinkageError):
    """A delivery can't be added to the spine as asked."""


@dataclass(frozen=True)
class Segment:
    """What one admission adds.

    `records` are identity records that their subject wasn't seen under before (subject, unit_type,
    and the identity fields as standardised text); `seen` says which (row, reference) is whom
    (row_key, reference, record, subject). `whole` is the delivery's.
    """

    records: Any
    seen: Any
    delivery: str
    dataset: str
    period: str
    whole: bool = True


@dataclass(frozen=True)
class Spine:
    """The segments of a scope, in the order of admission."""

    segments: tuple[Segment, ...] = ()

    @classmethod
    def empty(cls) -> "Spine":
        """A spine that knows nobody yet."""
        return cls()

    @property
    def version(self) -> int:
        """How many deliveries were admitted."""
        return len(self.segments)

    def records(self) -> Any:
        """All identity records in one table, in the order in which they came."""
        tables = [segment.records.select(RECORDS.names) for segment in self.segments]
        return pa.concat_tables([RECORDS.empty_table(), *tables])

    def of(self, subjects: Any) -> Any:
        """The identity records of some subjects, in the order in which they came."""
        records = self.records()
        return records.filter(pc.is_in(records["subject"], value_set=subjects))

    def with_segment(self, segment: Segment) -> "Spine":
        """The spine with one more segment."""
        return Spine((*self.segments, segment))

    def admit(self, delivery: Delivery, result: LinkResult, subject_ids: Any) -> Segment:
        """The segment that a linked delivery adds.

        `subject_ids` has one 16-byte id per group of the result, in the order of the group numbers;
        a group that already has a subject keeps it. Raises SpineError when an id is missing, or
        when two units would get the same one.
        """
        subjects = self._subjects(result.groups.sort_by("group"), subject_ids)
        whose = subjects.take(_whole(result.identities["group"]))
        records = result.identities.append_column("subject", whose).select(RECORDS.names)
        seen = pa.table(
            {
                "row_key": delivery.records["row_key"],
                "reference": delivery.records["reference"],
                "record": delivery.records["record"],
                "subject": subjects.take(_whole(result.links["group"])),
            }
        )
        return Segment(
            records=self._unknown(records),
            seen=seen.cast(SEEN),
            delivery=delivery.delivery,
            dataset=delivery.dataset,
            period=delivery.period,
            whole=delivery.whole,
        )

    def _subjects(self, groups: Any, subject_ids: Any) -> Any:
        """The id of each group: none missing, none twice, no known one's for a new unit."""
        if len(subject_ids) != groups.num_rows:
            raise SpineError("There must be one subject id per group; make them from the groups.")
        subjects = pc.coalesce(_whole(groups["subject"]), _whole(subject_ids).cast(SUBJECT))
        if subjects.null_count:
            raise SpineError("A group has no subject id; make one from where it was first seen.")
        if pc.count_distinct(subjects).as_py() != len(subjects):
            raise SpineError(
                "Two units would get one subject id. Ids must come from where a unit was first "
                "seen (dataset, period, generation, record, reference), different for each."
            )
        new = subjects.filter(pc.is_null(_whole(groups["subject"])))
        if pc.any(pc.is_in(self.records()["subject"], value_set=new)).as_py():
            raise SpineError(
                "A new unit would get the subject id of another: a delivery of the same dataset, "
                "period and generation, with other rows, was admitted before. Generations tell "
                "such deliveries apart; look for what gave two the same one."
            )
        return subjects

    def _unknown(self, records: Any) -> Any:
        """Those of `records` that don't stand in the spine yet, each once."""
        known = self.of(pc.unique(records["subject"]))
        codes = distinct_rows(pa.concat_tables([known, records]), RECORDS.names)
        codes, first = np.unique(codes, return_index=True)
        return records.take(pa.array(np.sort(first[first >= known.num_rows]) - known.num_rows))


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
