"""Which pairs are compared: each once, none that a number decides, whatever the portions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage import blocking
from linkage.blocking import blocks, candidates
from linkage.grouping import components, pairs_within
from linkage.identities import ABSENT
from linkage.model import Plan
from tests.linkage.helpers import person
from tests.linkage.test_comparison import identities

PLAN = Plan.default()
HERE = person("Luna", "Peeters", "2004-03-12")
ELSEWHERE = {"street": "Molenstraat", "house_number": "3", "postcode": "2000"}


def pairs(
    *records: dict[str, str | None], needy: list[bool] | None = None
) -> list[tuple[int, int]]:
    made = identities(*records)
    wanted = np.array(needy or [True] * len(records))
    blocked = blocks(made, np.ones(len(records), np.bool_), PLAN)
    return [
        (int(a), int(b))
        for left, right in candidates(blocked, made, wanted)
        for a, b in zip(left, right, strict=True)
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            {"first_name": "Peeters", "last_name": "Luna", "birth_date": None}, id="swapped"
        ),
        pytest.param({"first_name": "Lunaa", "birth_date": "2004-12-03"}, id="date swapped"),
        pytest.param({"last_name": "Claes"}, id="another last name"),
        pytest.param({"first_name": "Luuna", "last_name": "Pieters"}, id="both misspelt"),
    ],
)
def test_what_is_worth_comparing_is_found(other: dict[str, str | None]) -> None:
    assert pairs(HERE, HERE | other | ELSEWHERE) == [(0, 1)]


def test_an_address_alone_is_enough() -> None:
    assert pairs(HERE, person("Victor", "Claes", None)) == [(0, 1)]


def test_strangers_are_not_compared() -> None:
    assert pairs(HERE, person("Victor", "Claes", "1999-01-02", **ELSEWHERE)) == []
    assert pairs({}, {}) == []


def test_pairs_that_numbers_decide_are_left_out() -> None:
    assert pairs(HERE, HERE, HERE, needy=[False, False, False]) == []
    assert pairs(HERE, HERE, HERE, needy=[False, True, False]) == [(0, 1), (1, 2)]


def test_a_block_that_is_too_large_is_skipped_and_counted() -> None:
    made = identities(*[HERE] * 12)
    everyone = np.ones(12, np.bool_)
    blocked = blocks(made, everyone, replace(PLAN, largest_block=11))
    assert blocked.skipped == len(PLAN.blocking)
    assert [len(left) for left, _ in candidates(blocked, made, everyone)] == [0]


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [HERE | {"first_name": f"L{n}una"} for n in "abcdefghij"]
    whole = pairs(*records)
    assert len(whole) == len(set(whole)) == 45
    monkeypatch.setattr(blocking, "PORTION", 7)
    assert sorted(pairs(*records)) == sorted(whole)


@given(st.lists(st.integers(-1, 4), max_size=12))
def test_pairs_within_groups(keys: list[int]) -> None:
    left, right = pairs_within(np.array(keys, np.int64), largest=4)
    expected = {
        (a, b)
        for a, one in enumerate(keys)
        for b, other in enumerate(keys)
        if a < b and one == other != ABSENT and keys.count(one) <= 4
    }
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)


@given(st.integers(1, 12), st.data())
def test_components_are_what_edges_connect(size: int, data: st.DataObject) -> None:
    node = st.integers(0, size - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=15))
    label = list(range(size))
    for _ in range(size):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    ends = np.array(edges, np.int64).reshape(-1, 2)
    assert components(size, ends[:, 0], ends[:, 1]).tolist() == label
