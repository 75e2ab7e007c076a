"""Which rows of a dataset go into a release: what they say decides, never where they stand."""

import datetime
from itertools import permutations
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from api.demo.examples import application
from api.demo.extracts import PAYERS, declarations
from api.operations.assembly import Source, dataset_rows
from policies.permits import Application

NAME = PAYERS[0]
ASKED = Application.from_document(
    application(
        "p", "researcher-1", "age1" + "q" * 58, datetime.date(2026, 6, 1), "region",
        (NAME, "employment-service"), (NAME, "employment-service"),
    )
)  # fmt: skip
"""What a permit on this application would allow."""


def source(rows: list[tuple[int, str, str]]) -> Source:
    """A dataset with one row per unit: (unit, rule of its link, a value) in this order of rows."""
    declared, permitted = declarations()[NAME], ASKED.dataset(NAME)
    assert permitted is not None
    keys = [number.to_bytes(16) for number in range(len(rows))]
    shown = "in_onderwijs"
    columns = {
        variable.name: pa.array(
            [value for _, _, value in rows] if variable.name == shown else [None] * len(rows),
            pa.string(),
        )
        for variable in declared.variables
    }
    units = [unit.to_bytes(16) for unit, _, _ in rows]
    return Source.of(
        declared,
        permitted,
        "2024",
        pa.table({"row_key": pa.array(keys, pa.binary(16)), **columns}),
        pa.table(
            {
                "row_key": pa.array(keys, pa.binary(16)),
                "reference": ["self"] * len(rows),
                "subject": pa.array(units, pa.binary(16)),
                "rule": [rule for _, rule, _ in rows],
                "probability": pa.array([0.999] * len(rows)),
            }
        ),
    )


def shown(rows: list[tuple[int, str, str]]) -> Any:
    """What a release about all of these units shows, by unit."""
    units = pa.array(sorted({unit.to_bytes(16) for unit, _, _ in rows}), pa.binary(16))
    made = dataset_rows(source(rows), ASKED, units)
    table = pa.table({"unit": made.subjects["self"], "quality": made.quality, **made.columns})
    return table.sort_by("unit").to_pylist(), made.repeated


ROWS = st.lists(
    st.tuples(
        st.integers(1, 4), st.sampled_from(["national_number", "fuzzy", "new"]),
        st.sampled_from(["J", "N", ""]),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(ROWS)
def test_the_order_of_rows_decides_nothing(rows: list[tuple[int, str, str]]) -> None:
    """S35: a unit stands once, by the same row, whatever keys intake drew for a repeated file."""
    told, repeated = shown(rows)
    assert [row["unit"] for row in told] == sorted({unit.to_bytes(16) for unit, _, _ in rows})
    assert repeated == len(rows) - len(told)
    for others in permutations(rows):
        assert shown(list(others)) == (told, repeated)


def test_of_two_rows_the_better_linked_is_shown() -> None:
    """A number outweighs likeness, whatever the values are."""
    told, _ = shown([(1, "fuzzy", "J"), (1, "national_number", "N")])
    assert [row["quality"] for row in told] == ["number"]
