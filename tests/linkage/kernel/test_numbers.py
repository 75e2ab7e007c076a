"""Rows with one number are found (S25), whatever stands how often on which side."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.kernel.columns import Encoded, Side
from linkage.kernel.numbers import by_number

NUMBERS = st.lists(st.integers(-1, 6), max_size=9)


def files(a: list[int], b: list[int] | None) -> Encoded:
    left = Side(len(a), {"national_number": np.array(a, np.int64)})
    right = left if b is None else Side(len(b), {"national_number": np.array(b, np.int64)})
    return Encoded(left, right, {}, {}, len(a), ("national_number",))


def pairs(found: Any) -> list[tuple[int, int]]:
    return sorted(zip(found.left.tolist(), found.right.tolist(), strict=True))


@pytest.mark.parametrize("lefts", [True, False])
@pytest.mark.parametrize("rights", [True, False])
@given(a=NUMBERS, b=NUMBERS)
@settings(max_examples=100, deadline=None)
def test_every_pair_of_rows_with_one_number(
    lefts: bool, rights: bool, a: list[int], b: list[int]
) -> None:
    found = by_number(files(a, b), "national_number", (), lefts=lefts, rights=rights)
    expected = [
        (left, right)
        for left, one in enumerate(a)
        for right, other in enumerate(b)
        if one == other >= 0
        and (a.count(one) == 1 or not lefts)
        and (b.count(one) == 1 or not rights)
    ]
    assert pairs(found) == expected


@given(a=NUMBERS)
@settings(max_examples=100, deadline=None)
def test_rows_of_one_file_with_one_number_are_a_chain(a: list[int]) -> None:
    found = by_number(files(a, None), "national_number", (), lefts=True, rights=True)
    places: dict[int, list[int]] = {}
    for row, number in enumerate(a):
        if number >= 0:
            places.setdefault(number, []).append(row)
    chains = [pair for rows in places.values() for pair in pairwise(rows)]
    assert pairs(found) == sorted(chains)


def test_names_that_differ_contradict_a_number() -> None:
    told = SimpleNamespace(
        name="first_name",
        level=lambda word: ["missing", "exact", "different"].index(word)
        if word in ("exact", "different") else 9,
        glance=lambda _: (np.array([1, 2, 0], np.int8), None),
    )  # fmt: skip
    found = by_number(files([1, 2, 3], [1, 2, 3]), "national_number", (told,), lefts=True,
                      rights=True)  # type: ignore[arg-type]  # fmt: skip
    assert pairs(found) == [(0, 0)]
    assert found.contradicted[0].tolist() == [1]
