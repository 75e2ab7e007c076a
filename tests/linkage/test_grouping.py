"""Groups of records in whole columns, against the obvious way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linkage.grouping import components, pairs_within
from linkage.identities import ABSENT, combine


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


CODES = st.integers(ABSENT, 3) | st.integers(2**29, 2**30)


@given(st.lists(st.tuples(CODES, CODES, CODES), max_size=10))
def test_combinations_are_told_apart_in_their_order(rows: list[tuple[int, int, int]]) -> None:
    """Also where three codes together are more than an integer holds."""
    columns = [np.array([row[n] for row in rows], np.int64) for n in range(3)]
    order = sorted(set(rows))
    assert combine(*columns).tolist() == [order.index(row) for row in rows]
    whole = combine(*columns, absent_if_any=True).tolist()
    assert [code == ABSENT for code in whole] == [ABSENT in row for row in rows]
