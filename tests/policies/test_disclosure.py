"""Cells count distinct units, whatever the table looks like."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.disclosure import DisclosureError, cells, pack
from policies.permits import LEAST_K

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.sampled_from([1, 2, 3, None]),
        st.integers(0, 6).map(lambda number: f"P{number}"),
    ),
    max_size=40,
)


def table(data: list[tuple[str | None, int | None, str]]) -> tuple[pa.Table, pa.Array]:
    first, second, units = zip(*data, strict=True) if data else ((), (), ())
    keys = pa.table({"x": pa.array(first, pa.string()), "y": pa.array(second, pa.int64())})
    return keys, pa.array(units, pa.string())


@given(rows)
def test_cells_are_what_a_set_per_combination_says(
    data: list[tuple[str | None, int | None, str]],
) -> None:
    """S08: distinct units of every combination, null being a value like any other."""
    expected: dict[tuple[str | None, int | None], set[str]] = defaultdict(set)
    for x, y, unit in data:
        expected[x, y].add(unit)
    found = cells(*table(data))
    counted = zip(found.keys.to_pylist(), found.counts.tolist(), strict=True)
    assert {(row["x"], row["y"]): units for row, units in counted} == {
        combination: len(units) for combination, units in expected.items()
    }
    assert found.k_of_row.tolist() == [len(expected[x, y]) for x, y, _ in data]
    assert found.smallest == min(map(len, expected.values()), default=0)
    assert found.units == len({unit for _, _, unit in data})


@given(rows, st.randoms(use_true_random=False))
def test_order_and_encoding_of_rows_change_nothing(
    data: list[tuple[str | None, int | None, str]], random: np.random.RandomState
) -> None:
    shuffled = list(data)
    random.shuffle(shuffled)
    keys, units = table(shuffled)
    encoded = pa.table({"x": keys["x"].dictionary_encode(), "y": keys["y"]})
    chunked = pa.chunked_array([units[:3], units[3:]])
    assert cells(encoded, chunked).below(4) == cells(*table(data)).below(4)


def test_rows_of_one_unit_count_once() -> None:
    """S08: four quarters of work are one person."""
    found = cells(pa.table({"place": ["x"] * 5}), pa.array(["P1"] * 4 + ["P2"]))
    assert found.smallest == 2


def test_the_smallest_cells_come_first_and_are_spelled_out() -> None:
    keys = pa.table({"place": ["x", "x", "y", None], "age": ["15-19"] * 4})
    found = cells(keys, pa.array(["P1", "P2", "P3", "P4"]))
    assert [(cell.labels["place"], cell.units) for cell in found.lowest(3)] == [
        ("", 1),
        ("y", 1),
        ("x", 2),
    ]
    assert found.below(2) == found.lowest(2)
    assert found.below(1) == []


@pytest.mark.parametrize("unit_type", ["person", "household", "enterprise"])
def test_every_kind_of_unit_is_counted_alike(unit_type: str) -> None:
    """S34, S35: enterprises and the deceased pass the same test; the unit is whatever is given."""
    k = LEAST_K[unit_type]
    letter = {"person": "P", "household": "H", "enterprise": "E"}[unit_type]
    units = pa.array([f"{letter}{number}" for number in range(2 * k - 1)])
    keys = pa.table({"nace": ["A"] * k + ["B"] * (k - 1)})
    assert [cell.labels for cell in cells(keys, units).below(k)] == [{"nace": "B"}]


def test_thresholds_are_the_stated_ones() -> None:
    assert LEAST_K == {"person": 5, "household": 5, "enterprise": 3}


def test_many_wide_keys_dont_overflow() -> None:
    """More combinations than fit in 64 bits are renumbered on the way."""
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 50_000, (50_000, 9))
    drawn[1] = drawn[0]
    keys = pa.table({f"k{at}": column for at, column in enumerate(drawn.T)})
    found = cells(keys, pa.array(range(50_000)))
    assert len(found.counts) == len(np.unique(drawn, axis=0))
    assert found.k_of_row[:3].tolist() == [2, 2, 1]


@pytest.mark.parametrize("sizes", [[3, 4], [1, 1], [3_000_000, 5], [2**31, 2**20], [2**40, 2**40]])
def test_groups_are_numbered_in_the_order_of_their_codes(sizes: list[int]) -> None:
    """Every way of numbering (counting, packed sort, stable sort) gives the same numbers."""
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, size, 500) for size in sizes]
    columns = [np.concatenate((column, column[:100])) for column in columns]
    group, number = pack(columns, sizes, 600)
    ordered, expected = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    assert number == len(ordered)
    assert group.tolist() == expected.ravel().tolist()


def test_what_cant_be_tested_is_refused() -> None:
    keys = pa.table({"x": ["a", "b"]})
    with pytest.raises(DisclosureError, match="one unit for each row"):
        cells(keys, pa.array(["P1"]))
    with pytest.raises(DisclosureError, match="at least one key"):
        cells(pa.table({}), pa.array(["P1"]))
    with pytest.raises(DisclosureError, match="without a unit"):
        cells(keys, pa.array(["P1", None]))
