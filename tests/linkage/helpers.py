"""Deliveries from a few lines, and admitting them as a linkage job does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.deliveries import RECORDS, Delivery, LinkResult
from linkage.engine import Plan, link
from linkage.extracts import Checked, Dataset, check, split
from linkage.spine import Spine

Row = dict[str, Any]

ADDRESS = {"street": "Kerkstraat", "house_number": "12", "postcode": "9000"}


def person(first: str | None, last: str | None, born: str | None, **more: Any) -> Row:
    """A record of somebody at the usual address."""
    return {"first_name": first, "last_name": last, "birth_date": born, **ADDRESS, **more}


def delivery(
    rows: Iterable[Mapping[str, Any] | tuple[Mapping[str, Any], ...]],
    *,
    dataset: str = "benefit",
    period: str = "2024",
    unit: bool = True,
    whole: bool = True,
) -> Delivery:
    """A delivery with a row per item: a record of `self`, or a tuple of records with a `reference`.

    Row keys are made of the dataset, the period and the record number.
    """
    lines = []
    for record, row in enumerate(rows, start=1):
        key = blake2b(f"{dataset} {period} {record}".encode(), digest_size=16).digest()
        for entry in row if isinstance(row, tuple) else (row,):
            line = {"reference": "self", "unit_type": "person", **entry}
            distinct = unit and line["reference"] == "self"
            lines.append({**line, "row_key": key, "record": record, "distinct": distinct})
    table = pa.Table.from_pylist(lines, schema=RECORDS)
    return Delivery(f"{dataset}-{period}", dataset, period, table, whole)


def subject_ids(coming: Delivery, result: LinkResult) -> Any:
    """An id per group: the one it has, or one from where it was first seen."""
    groups = result.groups.sort_by("group")
    places = zip(
        groups["first_record"].to_pylist(), groups["first_reference"].to_pylist(), strict=True
    )
    made = [
        blake2b(f"{coming.dataset} {coming.period} {place}".encode(), digest_size=16).digest()
        for place in places
    ]
    return pc.coalesce(groups["subject"].combine_chunks(), pa.array(made, pa.binary(16)))


class Scope:
    """A spine that grows, and what every delivery came to."""

    def __init__(self, plan: Plan | None = None, conversions: Any = None) -> None:
        self.plan = plan or Plan.default()
        self.conversions = conversions
        self.spine = Spine.empty()
        self.results: list[LinkResult] = []

    def admit(self, coming: Delivery) -> list[bytes]:
        """Link and admit a delivery; the subject of each of its lines, in their order."""
        result = link(coming, self.spine, self.plan, conversions=self.conversions)
        ids = subject_ids(coming, result)
        self.spine = self.spine.with_segment(self.spine.admit(coming, result, ids))
        self.results.append(result)
        subjects: list[bytes] = ids.take(result.links["group"].combine_chunks()).to_pylist()
        return subjects

    @property
    def rules(self) -> list[str]:
        """The rules of the last delivery's links."""
        rules: list[str] = self.results[-1].links["rule"].to_pylist()
        return rules

    @property
    def reasons(self) -> list[str]:
        """The reasons of the last delivery's pairs in review."""
        reasons: list[str] = self.results[-1].review["reason"].to_pylist()
        return reasons


def admitted(*rows: Mapping[str, Any] | tuple[Mapping[str, Any], ...]) -> tuple[Scope, list[bytes]]:
    """A scope that has admitted one delivery of these rows, and their subjects."""
    scope = Scope()
    return scope, scope.admit(delivery(rows))


@dataclass(frozen=True)
class Extract:
    """What reading an extract found, and what was read: `columns` is None when it is rejected."""

    checked: Checked
    columns: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.checked, name)


def read_extract(source: BinaryIO, declared: Dataset, **options: Any) -> Extract:
    """`check`, with all blocks kept."""
    blocks: list[Any] = []
    checked = check(source, declared, sink=blocks.append, **options)
    kept = checked.accepted and blocks
    return Extract(checked, pa.concat_tables(blocks).drop_columns("record") if kept else None)


def row_keys(count: int, seed: int = 1) -> Any:
    """Distinct row keys, the same ones each time."""
    raw = np.random.default_rng(seed).bytes(16 * count)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(raw)])


def halves(source: BinaryIO, declared: Dataset, keys: Any = None, **options: Any) -> Any:
    """An extract's identifiers and payload, as intake makes them."""
    columns = read_extract(source, declared, **options).columns
    record = np.arange(1, columns.num_rows + 1)
    keys = row_keys(columns.num_rows) if keys is None else keys
    rows = columns.append_column("record", pa.array(record)).append_column("row_key", keys)
    return split(rows, declared)
