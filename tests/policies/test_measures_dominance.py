"""Dominance and the p% rule: by hand, and in plain Python."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.disclosure.dominance import dominance
from policies.disclosure.encoding import DisclosureError, Keys
from policies.disclosure.frequencies import Groups


def test_by_hand() -> None:
    """A cell of 80, 10, 6, 4: its largest is 80% of it, its two largest 90%; without them 10 are
    left, 12.5% of the largest."""
    found = dominance(Groups.of(Keys.of({"nace": ["A"] * 4})), [80, 10, 6, 4], n=1)
    assert (found.units.tolist(), found.total.tolist(), found.share) == ([4], [100], 80)
    assert (found.dominated(79).tolist(), found.dominated(80).tolist()) == ([True], [False])
    assert found.closest == 12.5
    assert (found.within(12).tolist(), found.within(13).tolist()) == ([False], [True])
    assert dominance(Groups.of(Keys.of({"nace": ["A"] * 4})), [80, 10, 6, 4]).share == 90


def test_of_two_each_knows_the_other() -> None:
    """With two contributors nothing is left beside them: every p finds the cell unsafe."""
    found = dominance(Groups.of(Keys.of({"nace": ["A", "A", "B"]})), [50, 50, 7], n=2)
    assert found.within(1).all()
    assert (found.closest, found.share) == (0, 100)


rows = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", None]), st.integers(0, 5), st.sampled_from([0, 1, 5, 40, -20])
    ),
    min_size=1,
    max_size=20,
)


@given(rows, st.integers(1, 3))
def test_cells_are_what_the_rules_say(table: list[tuple[str | None, int, int]], n: int) -> None:
    """S34: rows of one enterprise are added up before its cell is looked at."""
    cells: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for branch, unit, amount in table:
        if branch is not None:
            cells[branch][unit] += amount
    branches, units, amounts = zip(*table, strict=True)
    keys = Keys.of({"nace": list(branches)})
    groups = Groups.of(keys, list(units))
    found = dominance(groups, amounts, n)
    names = [keys.columns[0].values[code].as_py() for code in keys.columns[0].codes[groups.first]]
    assert {names[cell] for cell in found.cell.tolist()} == set(cells)
    for at, cell in enumerate(found.cell.tolist()):
        sizes = sorted((abs(amount) for amount in cells[names[cell]].values()), reverse=True)
        assert found.units[at] == len(sizes)
        assert found.dominated(75)[at] == (sum(sizes[:n]) > 0.75 * sum(sizes))
        assert found.within(10)[at] == (sum(sizes[2:]) < 0.1 * sizes[0])


def test_nothing_but_zeros_tells_nothing() -> None:
    found = dominance(Groups.of(Keys.of({"nace": ["A", "A"]})), [0, None])
    assert (found.share, found.closest) == (0, None)
    assert not found.dominated(0).any()
    assert not found.within(10).any()


@pytest.mark.parametrize("amounts", [[1], ["x", 2], [float("inf"), 1]])
def test_what_cant_be_measured_is_refused(amounts: list[object]) -> None:
    groups = Groups.of(Keys.of({"nace": ["A", "A"]}))
    with pytest.raises(DisclosureError, match="amount"):
        dominance(groups, amounts)
    with pytest.raises(DisclosureError, match="n of 1"):
        dominance(groups, [1, 2], n=0)
