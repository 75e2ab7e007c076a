"""Assignment (S26): nobody twice, the best sum, ties to nobody, weak bridges don't hold."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.kernel import assign

ODDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.1, 20)), max_size=9)


def best_sum(pairs: dict[tuple[int, int], float]) -> float:
    """The largest sum of odds over all ways in which nobody is taken twice."""
    return max(
        sum(pairs.get((left, right), 0.0) for left, right in enumerate(order))
        for order in permutations(range(4))
    )


@given(ODDS)
@settings(max_examples=300, deadline=None)
def test_one_to_one_is_the_best_there_is(found: list[tuple[int, int, float]]) -> None:
    pairs = {(left, right): odds for left, right, odds in found}
    left = np.array([pair[0] for pair in pairs], np.int64)
    right = np.array([pair[1] for pair in pairs], np.int64)
    odds = np.array(list(pairs.values()))
    taken = assign.one_to_one(left, right, odds)
    assert len(set(left[taken])) == taken.sum() == len(set(right[taken]))
    assert np.isclose(odds[taken].sum(), best_sum(pairs))


def test_of_unlikely_rivals_none_is_taken() -> None:
    taken = assign.one_to_one(np.array([0, 0]), np.array([0, 1]), np.array([-1.0, -2.0]))
    assert not taken.any()


def test_two_equal_rivals_are_nobodys() -> None:
    left, right = np.array([0, 0, 1]), np.array([0, 1, 2])
    chances = assign.rivalled(left, right, np.array([9.0, 9.0, 9.0]), lefts=0.5, rights=0.5)
    assert (chances[:2] < 0.51).all()
    assert chances[2] > 0.99


def test_a_rival_counts_only_where_a_row_has_one_partner() -> None:
    left, right, odds = np.array([0, 0]), np.array([0, 1]), np.array([9.0, 9.0])
    several = assign.rivalled(left, right, odds, lefts=None, rights=0.5)
    assert (several > 0.99).all()


def test_rivals_with_better_partners_count_for_little() -> None:
    """Twins: each fits the other's row a little, and its own well."""
    left, right = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    odds = np.array([12.0, 4.6, 3.0, 12.0])
    chances = assign.rivalled(left, right, odds, lefts=0.8, rights=0.8)
    assert (chances[[0, 3]] > 0.999).all()
    assert (chances[[1, 2]] < 0.001).all()


@given(st.lists(st.floats(-3, 6), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_chances_are_those_of_counting_all_ways(odds: list[float]) -> None:
    """A path of four pairs: 0-0, 1-0, 1-1, 2-1; every way of taking some is weighed."""
    left, right = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1])
    chances = assign.rivalled(left, right, np.array(odds), lefts=0.0, rights=0.0)
    total, of = 0.0, np.zeros(4)
    for taken in range(16):
        pairs = [n for n in range(4) if taken >> n & 1]
        if len(set(left[pairs])) == len(pairs) == len(set(right[pairs])):
            weight = float(np.exp(sum(odds[n] for n in pairs)))
            total += weight
            of[pairs] += weight
    np.testing.assert_allclose(chances, of / total, atol=2e-3)


def test_where_nearly_everybody_has_a_partner_a_lone_pair_is_likelier() -> None:
    left, right, odds = np.array([0]), np.array([0]), np.array([1.0])
    few = assign.rivalled(left, right, odds, lefts=0.1, rights=0.1)
    many = assign.rivalled(left, right, odds, lefts=0.9, rights=0.9)
    assert few[0] < many[0]


def test_a_chain_falls_apart_at_its_weak_bridge() -> None:
    """Two households of three rows, joined by one pair only."""
    left = np.array([0, 0, 1, 3, 3, 4, 2])
    right = np.array([1, 2, 2, 4, 5, 5, 3])
    odds = np.array([9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 4.0])
    group = assign.groups(6, left, right, odds)
    assert group[0] == group[1] == group[2] != group[3] == group[4] == group[5]


def test_three_rows_of_one_person_stay_together() -> None:
    group = assign.groups(4, np.array([0, 1]), np.array([1, 2]), np.array([12.0, 12.0]))
    assert group[0] == group[1] == group[2] != group[3]


@given(ODDS)
def test_few_pairs_and_many_are_assigned_alike(found: list[tuple[int, int, float]]) -> None:
    """Trying every way out gives what scipy gives."""
    pairs = {(left, right): odds for left, right, odds in found}
    left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    odds = np.array(list(pairs.values()))
    with pytest.MonkeyPatch.context() as patch:
        tried = odds[assign.one_to_one(left, right, odds)].sum()
        patch.setattr(assign, "FEW", 0)
        assert np.isclose(tried, odds[assign.one_to_one(left, right, odds)].sum())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.booleans())
def test_what_pairs_connect_is_one_group(edges: list[tuple[int, int]], chain: bool) -> None:
    """Compared with a search from each node; long chains included."""
    edges = edges + [(n, n + 1) for n in range(10, 30)] * chain
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    group = assign.groups(31, left, right)
    for start in range(31):
        reached, coming = {start}, [start]
        while coming:
            node = coming.pop()
            near = {a + b - node for a, b in edges if node in (a, b)} - reached
            reached |= near
            coming += near
        assert set(np.flatnonzero(group == group[start]).tolist()) == reached
