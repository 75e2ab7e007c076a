"""The spine: what an admission adds, and what it refuses."""

import pyarrow as pa
import pytest

from linkage.datasets import Dataset
from linkage.deliveries import RECORDS, reference_records
from linkage.engine import Plan, link
from linkage.spine import Spine, SpineError
from tests.linkage.helpers import Scope, admitted, delivery, person, subject_ids

LUNA = person("Luna", "Peeters", "2004-03-12")
VICTOR = person("Victor", "Claes", "1999-01-02", house_number="40")


def test_a_segment_has_what_is_new_and_who_was_seen() -> None:
    scope, [one, _] = admitted(LUNA, VICTOR)
    moved = LUNA | {"street": "Molenstraat"}
    again = delivery([LUNA, moved], period="2025", unit=False)
    assert scope.admit(again) == [one, one]
    assert scope.spine.version == 2
    first, second = scope.spine.segments
    assert first.records.num_rows == 2
    assert second.records["street"].to_pylist() == ["MOLENSTRAAT"], "only what wasn't known"
    assert second.records["subject"].to_pylist() == [one]
    assert second.seen.num_rows == 2
    assert second.seen.column_names == ["row_key", "reference", "record", "subject"]
    assert second.seen["record"].to_pylist() == [1, 2]
    assert (second.delivery, second.dataset, second.period) == ("benefit-2025", "benefit", "2025")


def test_admitting_changes_nothing_of_what_was() -> None:
    scope, _ = admitted(LUNA)
    before = scope.spine
    scope.admit(delivery([VICTOR], period="2025"))
    assert before.version == 1
    assert scope.spine.segments[0] is before.segments[0]


def test_an_identity_record_holds_standardised_text() -> None:
    scope, _ = admitted(LUNA | {"sex": "v", "house_number": "12 bus 3", "first_name": "Lúna"})
    [record] = scope.spine.records().to_pylist()
    assert {field: record[field] for field in ("first_name", "sex", "house_number", "street")} == {
        "first_name": "LUNA",
        "sex": "F",
        "house_number": "12/3",
        "street": "KERKSTRAAT",
    }
    assert record["unit_type"] == "person"


def test_ids_that_do_not_fit_are_refused() -> None:
    coming = delivery([LUNA, VICTOR])
    result = link(coming, Spine.empty(), Plan.default())
    ids = subject_ids(coming, result)
    with pytest.raises(SpineError, match="one subject id per group"):
        Spine.empty().admit(coming, result, ids[:1])
    with pytest.raises(SpineError, match="has no subject id"):
        Spine.empty().admit(coming, result, pa.array([None, b"x" * 16], pa.binary(16)))
    with pytest.raises(SpineError, match="Two units would get one subject id"):
        Spine.empty().admit(coming, result, pa.array([b"x" * 16] * 2, pa.binary(16)))


def test_a_new_unit_never_gets_a_known_ones_id() -> None:
    """Another file of the same dataset and period has somebody else in the same place."""
    scope, _ = admitted(LUNA)
    with pytest.raises(SpineError, match="was admitted before"):
        scope.admit(delivery([VICTOR]))


def test_a_known_subject_keeps_its_id_whatever_is_offered() -> None:
    scope, [one] = admitted(LUNA)
    coming = delivery([LUNA], period="2025")
    result = link(coming, scope.spine, Plan.default())
    segment = scope.spine.admit(coming, result, pa.array([b"x" * 16], pa.binary(16)))
    assert segment.seen["subject"].to_pylist() == [one]


def test_a_spine_without_segments_is_empty() -> None:
    assert Spine.empty().version == 0
    assert Spine.empty().records().num_rows == 0
    assert Scope().spine == Spine.empty()


def _dataset(shape: str) -> Dataset:
    return Dataset.from_mapping(
        {
            "id": "benefit",
            "title": {"en": "Benefit"},
            "holder": "office",
            "kind": "extract",
            "shape": shape,
            "variables": [
                {"name": "nr", "role": "identifier", "type": "national_number"},
                {"name": "naam", "role": "identifier", "type": "last_name"},
                {"name": "moeder", "role": "identifier", "type": "last_name"},
            ],
            "references": [
                {
                    "name": "self",
                    "unit_type": "person",
                    "columns": {"national_number": "nr", "last_name": "naam"},
                },
                {"name": "mother", "unit_type": "person", "columns": {"last_name": "moeder"}},
            ],
        }
    )


def test_reference_records_has_a_line_per_unit_that_a_row_names() -> None:
    identifiers = pa.table(
        {
            "row_key": pa.array([b"a" * 16, b"b" * 16], pa.binary(16)),
            "record": pa.array([2, 1], pa.int64()),
            "nr": pa.array(["1", None]),
            "naam": pa.array(["Peeters", "Maes"]),
            "moeder": pa.array([None, "Claes"]),
        }
    )
    records = reference_records(identifiers, _dataset("unit"))
    assert records.schema == RECORDS
    told = ("record", "reference", "national_number", "last_name", "distinct")
    assert [tuple(line[column] for column in told) for line in records.to_pylist()] == [
        (2, "self", "1", "Peeters", True),
        (1, "self", None, "Maes", True),
        (1, "mother", None, "Claes", False),
    ]
    spells = reference_records(identifiers, _dataset("spells"))
    assert not any(spells["distinct"].to_pylist())
