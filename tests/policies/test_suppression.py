"""Local suppression: safe under the reading that is stated, checked row by row; how near to the
fewest cells. Row S08: nobody stands out."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.disclosure import DisclosureError
from policies.disclosure.suppression import Suppression, suppress

Rows = list[tuple[str | None, ...]]


def sharing(rows: Rows, units: list[int], row: int, reading: str) -> int:
    """Distinct units that a row shares its keys with, one row at a time."""

    def alike(mine: str | None, other: str | None) -> bool:
        return mine == other or (reading == "wildcard" and None in (mine, other))

    return len(
        {unit for unit, other in zip(units, rows, strict=True) if all(map(alike, rows[row], other))}
    )


def after(rows: Rows, found: Suppression) -> Rows:
    gone = list(found.gone.values())
    return [
        tuple(None if gone[key][at] else value for key, value in enumerate(row))
        for at, row in enumerate(rows)
    ]


def columns(rows: Rows) -> dict[str, Any]:
    return {
        f"key{place}": pa.array(column, pa.string())
        for place, column in enumerate(zip(*rows, strict=True))
    }


@st.composite
def tables(draw: st.DrawFn) -> tuple[Rows, list[int], int]:
    """Rows, their units, and a k that can be had."""
    keys, count = draw(st.integers(1, 4)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values: list[str | None] = ["a", "b", "c", "d"][: draw(st.integers(1, 4))]
    if draw(st.booleans()):
        values.append(None)
    rows = [tuple(values[rng.integers(len(values))] for _ in range(keys)) for _ in range(count)]
    units = list(range(count))
    if draw(st.booleans()):
        units = rng.integers(0, max(count // 2, 1), count).tolist()
    return rows, units, draw(st.integers(1, min(5, len(set(units)))))


@settings(max_examples=300)
@given(tables(), st.sampled_from(["wildcard", "category"]))
def test_nobody_stands_out(case: tuple[Rows, list[int], int], reading: str) -> None:
    """Each row shares its keys with k units under the reading; `category` holds under both, a row
    without any key apart."""
    rows, units, k = case
    found = suppress(columns(rows), k, units=pa.array(units), reading=reading)
    left = after(rows, found)
    for row in range(len(rows)):
        assert sharing(left, units, row, "wildcard") >= k
        if reading == "category" and any(left[row]):
            marked = [
                tuple(
                    "gone" if found.gone[f"key{key}"][at] else value
                    for key, value in enumerate(one)
                )
                for at, one in enumerate(rows)
            ]
            assert sharing(marked, units, row, "category") >= k
    assert (
        found.cells
        == sum(
            value is not None and new is None
            for one, other in zip(rows, left, strict=True)
            for value, new in zip(one, other, strict=True)
        )
        or reading == "category"
    )


@settings(max_examples=150)
@given(tables(), st.integers(1, 3))
def test_nobody_stands_out_on_subsets(case: tuple[Rows, list[int], int], size: int) -> None:
    """On every subset of some size, each by itself; k on the whole key doesn't say that."""
    rows, units, k = case
    keys = columns(rows)
    chosen = list(itertools.combinations(keys, min(size, len(keys))))
    left = after(rows, suppress(keys, k, units=pa.array(units), subsets=chosen))
    for subset in chosen:
        places = [list(keys).index(name) for name in subset]
        part = [tuple(row[place] for place in places) for row in left]
        assert all(sharing(part, units, row, "wildcard") >= k for row in range(len(rows)))


def test_the_whole_key_says_nothing_of_its_parts() -> None:
    """An emptied cell matches everything on the whole key; on the other keys its row is alone."""
    rows: Rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    keys = columns([*rows, ("c", "x")])
    whole = suppress(keys, 2)
    both = suppress(keys, 2, subsets=[["key0", "key1"], ["key0"], ["key1"]])
    assert whole.cells <= both.cells
    assert both.gone["key0"][4]


def fewest(rows: Rows, k: int, reading: str) -> int:
    """The fewest cells, by trying every set of cells."""
    spots = list(itertools.product(range(len(rows)), range(len(rows[0]))))
    for cells in range(len(spots) + 1):
        for gone in itertools.combinations(spots, cells):
            # what was emptied is its own value when empty is a value
            left = [
                tuple(None if (at, key) in gone else value for key, value in enumerate(row))
                for at, row in enumerate(rows)
            ]
            if all(
                sharing(left, list(range(len(rows))), at, reading) >= k
                or (reading == "category" and not any(row))
                for at, row in enumerate(left)
            ):
                return cells
    raise AssertionError("everything empty is always enough")


@pytest.mark.parametrize(("reading", "most"), [("wildcard", 1.25), ("category", 1.0)])
def test_how_near_to_the_fewest_cells(reading: str, most: float) -> None:
    """On 30 random tables of five rows and two or three keys, all cells together."""
    rng = np.random.default_rng(7)
    ours = best = 0
    for _ in range(30):
        keys, k = int(rng.integers(2, 4)), int(rng.integers(2, 4))
        rows = [tuple("abc"[rng.integers(3)] for _ in range(keys)) for _ in range(5)]
        found = suppress(columns(rows), k, reading=reading)  # type: ignore[arg-type]
        fewest_cells = fewest(rows, k, reading)
        assert found.cells >= fewest_cells
        ours, best = ours + found.cells, best + fewest_cells
    assert best <= ours <= most * best, f"{ours} cells where {best} would do"


def test_a_dearer_key_is_kept() -> None:
    keys = columns([("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")])
    assert suppress(keys, 2, importance={"key0": 3}).by_key == {"key0": 0, "key1": 2}
    assert suppress(keys, 2, importance={"key1": 3}).by_key == {"key0": 2, "key1": 0}


def test_equal_tables_lose_equal_cells() -> None:
    """Nothing depends on chance, or on how columns are kept."""
    rng = np.random.default_rng(3)
    keys = {f"key{size}": pa.array(rng.integers(0, size, 3_000)) for size in (3, 7, 40)}
    found = suppress(keys, 3)
    again = suppress({name: column.dictionary_encode() for name, column in keys.items()}, 3)
    assert all((found.gone[name] == again.gone[name]).all() for name in keys)
    left = found.apply(pa.table(keys))
    assert [left[name].null_count for name in keys] == list(found.by_key.values())
    assert found.rows <= found.cells


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"k": 0}, "k is 1 or more"),
        ({"k": 4}, "3 units can't share anything with 4"),
        ({"subsets": [["other"]]}, "only keys that are given"),
        ({"subsets": [[]]}, "one key or more"),
        ({"subsets": [["key"]], "reading": "category"}, "the wildcard reading only"),
        ({"importance": {"other": 1}}, "other has an importance and is no key"),
        ({"importance": {"key": 0}}, "a number above 0"),
        ({"units": pa.array(["x", None, "y"])}, "a row without a unit"),
        ({"units": pa.array(["x"])}, "columns of one length"),
    ],
)
def test_what_does_not_fit(more: dict[str, Any], says: str) -> None:
    with pytest.raises(DisclosureError, match=says):
        suppress({"key": pa.array(["a", "b", "c"])}, **({"k": 2} | more))


def test_too_many_keys() -> None:
    with pytest.raises(DisclosureError, match="1 to 12 keys"):
        suppress({f"key{place}": pa.array(["a"]) for place in range(13)}, 1)
