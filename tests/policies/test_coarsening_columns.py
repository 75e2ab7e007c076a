"""Whole columns: whatever way the values come, a rule says what it says of each one alone."""

from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.classifications import UnmappedCodeError
from policies.coarsening import NOT_LINKED, SUPPRESSED, parse_rule, shown

numbers = st.floats(-1e9, 1e9) | st.integers(-10_000, 10_000).map(lambda one: one / 2)


@given(numbers, st.integers(1, 5_000))
def test_rounding_is_exact(value: float, to: int) -> None:
    """S11: to the nearest multiple, halves away from zero; reckoned in fractions."""
    steps = (2 * abs(Fraction(value)) + to) // (2 * to)
    rounded = parse_rule([{"round": {"to": to}}]).apply(pa.array([value]), "amount")[0].as_py()
    assert rounded == pytest.approx(float(steps * to * (1 if value >= 0 else -1)), abs=0)


RULES = {
    "birth_date": [{"age_class": {"reference_date": "2024-12-31", "breaks": [15, 20, 40]}}],
    "date": [{"quarter": {}}],
    "municipality": [{"geography": {"level": "province"}}],
    "amount": [{"classes": {"breaks": [0, 10, 250.5]}}],
    "employees": [{"classes": {"breaks": list(range(0, 200, 10))}}],
    "integer": [{"round": {"to": 7}}, {"top_code": {"at": 700}}],
    "code": [{"yes_no": {"codes": ["W"]}}],
}


def column(semantic_type: str, rows: int) -> Any:
    rng = np.random.default_rng(rows)
    drawn: dict[str, Any] = {
        "birth_date": rng.integers(-9_000, 19_000, rows).astype("datetime64[D]"),
        "date": rng.integers(0, 20_000, rows).astype("datetime64[D]"),
        "municipality": rng.choice(["11002", "21004", "62063"], rows),
        "amount": rng.integers(-100_000, 100_000, rows) / 100,
        "employees": rng.integers(0, 300, rows),
        "integer": rng.integers(-2_000, 2_000, rows),
        "code": rng.choice(["W", "Z"], rows),
    }
    return pa.array(drawn[semantic_type], mask=rng.random(rows) < 0.1)


@pytest.mark.parametrize("semantic_type", RULES)
def test_a_column_is_its_values(semantic_type: str) -> None:
    """More rows than are worked on at a time, plain, in pieces, encoded, without a null: the same
    as a few values by themselves."""
    rule = parse_rule(RULES[semantic_type])
    values = column(semantic_type, 70_000)
    done = rule.apply(values, semantic_type)
    few = [0, 1, 65_535, 65_536, 69_999]
    assert done.take(pa.array(few)).to_pylist() == [
        rule.apply(values.slice(at, 1), semantic_type)[0].as_py() for at in few
    ]
    assert rule.apply(values.dictionary_encode(), semantic_type).equals(done)
    pieces = pa.chunked_array([values.slice(0, 10), values.slice(10)])
    assert rule.apply(pieces, semantic_type).equals(done)
    whole = values.drop_null()
    assert rule.apply(whole, semantic_type).equals(done.drop_null())
    labels = rule.coarsen(values, semantic_type)
    if pa.types.is_dictionary(labels.type):
        assert labels.dictionary_decode().equals(done)


def test_days_far_apart_are_dates_too() -> None:
    rule = parse_rule([{"year": {}}])
    days = pa.array([date(1, 1, 1), None, date(9999, 12, 31)])
    assert rule.apply(days, "date").to_pylist() == ["1", None, "9999"]
    assert rule.apply(pa.nulls(2, pa.date32()), "date").to_pylist() == [None, None]


def test_a_value_that_no_row_has_is_no_fault() -> None:
    """Codes of a dictionary that aren't used needn't be known; used ones are counted in rows."""
    rule = parse_rule([{"geography": {"level": "region"}}])
    places = pa.array(["11002", "nowhere"])
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), places)
    assert rule.coarsen(unused, "municipality").to_pylist() == ["02000", "02000", None]
    used = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), places)
    with pytest.raises(UnmappedCodeError, match=r"2 values \(1 distinct\)"):
        rule.coarsen(used, "municipality")


@pytest.mark.parametrize("value", ["x", 5])
def test_what_is_shown_is_the_same_encoded_and_plain(value: Any) -> None:
    values = pa.array([value, None, None, None])
    why = pa.array([None, NOT_LINKED, SUPPRESSED, None])
    for missing in (None, why):
        plain = shown("v", values, missing)
        encoded = shown("v", values.dictionary_encode(), missing, encoded=True)
        assert {name: one.to_pylist() for name, one in plain.items()} == {
            name: one.to_pylist() for name, one in encoded.items()
        }
