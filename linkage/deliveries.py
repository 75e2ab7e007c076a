"""What goes into a linkage and what comes out: a delivery's records, and who each of them is."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import Dataset
from linkage.identities import FIELDS

ROW_KEY = pa.binary(16)


@dataclass(frozen=True)
class Delivery:
    """What one delivery says about whom.

    `records` has one line per (row, reference): row_key (16 bytes), record (int64, 1-based number
    in the delivered file), reference, unit_type, distinct (whether this reference has one row per
    unit in this delivery), and the identity fields as text, null where missing; a field nobody
    delivered may be absent. `whole` says that the file is all of its dataset for the period, so
    that its places can be compared with those of another such file; further rows and corrections
    are numbered from 1 as well, and their places say nothing.
    """

    delivery: str
    dataset: str
    period: str
    records: Any
    whole: bool = True


@dataclass(frozen=True)
class LinkResult:
    """Who is who in a delivery, in tables.

    - `links`, a line per line of the delivery's records, in their order: row_key, reference, group
      (int32), rule (national_number, enterprise_number, conversion, fuzzy, decided, new),
      probability (float64, null unless the rule is fuzzy).
    - `groups`, one line per unit met in the delivery, by group number: group, unit_type, subject
      (16 bytes, null when first seen here), first_record, first_reference: where it was first seen.
    - `review`, pairs a human must decide, which stay apart until then: row_key, reference,
      other_subject (null when first seen here), other_group (null when not in this delivery),
      reason (number_contradicted, different_numbers, uncertain, two_subjects), probability. A pair
      that a human decided never to be one is there as well, with the reason `decided`.
    - `identities`, the distinct identity records of each group, as standardised: group, unit_type
      and the identity fields. This is what the spine will know.
    - `quality`: counts by rule, linkage rate, review count, candidates compared, seconds per stage;
      `models`, by unit type what likeness weighed (m, h and u of every level, and whether they were
      learned here); `expected`, what the probabilities say of precision and recall.
    """

    links: Any
    groups: Any
    review: Any
    identities: Any
    quality: dict[str, Any]


def reference_records(identifiers: Any, dataset: Dataset) -> Any:
    """The `records` of a Delivery, from a delivery's identifiers and its dataset's declaration.

    A reference whose own columns are all missing in a row isn't there and is left out: columns that
    it shares with another reference, such as the child's address, make nobody.
    """
    tables = [RECORDS.empty_table()]
    for reference in dataset.references:
        rows = identifiers.num_rows
        columns = {
            "row_key": identifiers["row_key"],
            "record": identifiers["record"],
            "reference": pa.repeat(reference.name, rows),
            "unit_type": pa.repeat(reference.unit_type, rows),
            "distinct": pa.repeat(dataset.shape == "unit" and reference.name == "self", rows),
        }
        for field in FIELDS:
            variable = reference.columns.get(field)
            columns[field] = (
                pa.nulls(rows, pa.string()) if variable is None else identifiers[variable]
            )
        table = pa.table(columns).cast(RECORDS)
        own = set(dataset.own_columns(reference))
        telling = [field for field in FIELDS if reference.columns.get(field) in own]
        stated = pc.is_valid(pc.coalesce(*(table[field] for field in telling)))
        tables.append(table.filter(stated))
    return pa.concat_tables(tables)


RECORDS = pa.schema(
    [
        ("row_key", ROW_KEY),
        ("record", pa.int64()),
        ("reference", pa.string()),
        ("unit_type", pa.string()),
        ("distinct", pa.bool_()),
        *((field, pa.string()) for field in FIELDS),
    ]
)
