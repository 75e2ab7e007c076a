"""Weights come from the data (S26), not from the generator: they are compared with the truth."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.kernel.estimate import Coverage, Room, estimate
from linkage.kernel.levels import EXACT, Pairs, compared, comparisons
from tests.linkage.kernel.country import RULES, country, learned


def test_agreement_of_matches_is_found_without_the_truth() -> None:
    some, found = country(20_000), learned(20_000)
    order = np.argsort(some.persons_b)
    place = np.searchsorted(some.persons_b[order], some.persons_a)
    right = order[np.minimum(place, len(order) - 1)]
    both = np.flatnonzero(some.persons_b[right] == some.persons_a)
    pairs = Pairs(found.encoded, both, right[both])
    which = found.weights.comparisons
    for one, levels, m in zip(which, compared(pairs, which), found.weights.m, strict=True):
        true = np.bincount(levels[levels > 0], minlength=len(one.words)) / (levels > 0).sum()
        if one.name == "sex":
            continue  # only where first names differ, which is seldom
        assert abs(m[1] - true[1]) < 0.02, (one.name, m[1], true[1])
    assert abs(found.weights.matches / some.common - 1.0) < 0.03


def test_the_same_seed_gives_the_same_weights() -> None:
    found = learned(3000)
    again, _ = estimate(
        found.encoded, RULES, found.blocked, comparisons(found.encoded.parts), 0,
        households=True, room=Room.of(found.encoded, 3000.0, once=True),
    )  # fmt: skip
    for one, other in zip(again.m, found.weights.m, strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_of_a_household_share_name_and_address() -> None:
    weights = learned(20_000).weights
    at = {one.name: place for place, one in enumerate(weights.comparisons)}
    assert weights.household > 0.3 * weights.matches
    assert weights.h[at["last_name"]][1] > 0.5
    assert weights.h[at["first_name"]][1] < 0.05
    assert weights.h[at["birth_date"]][1] < 0.05


def test_where_everybody_lives_alone_matches_are_not_taken_for_households() -> None:
    some, found = country(8000, 3, "alone"), learned(8000, 3, "alone")
    assert abs(found.weights.matches / some.common - 1.0) < 0.03


def test_names_go_together_by_origin() -> None:
    """Strangers agree on both names oftener than on each by itself would give."""
    found = learned(20_000)
    assert found.rarities["head+last"].max() > np.log(1.5)
    without, tables = estimate(
        found.encoded, RULES, found.blocked, comparisons(found.encoded.parts), 0,
        households=True, room=Room.of(found.encoded, 20_000.0, once=False),
    )  # fmt: skip
    assert "head+last" not in tables
    assert replace(without, once=True) != found.weights


PARTS = ("birth_date", "last", "phone", "email")


@given(
    st.lists(st.frozensets(st.sampled_from(PARTS), min_size=1), max_size=5),
    st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
)
def test_what_rules_find_is_counted_over_all_outcomes(
    rules: list[frozenset[str]], chances: list[float]
) -> None:
    """Compared with a sum over which fields of a pair agree."""
    which = comparisons(PARTS)
    rates = {one.atoms[0]: np.zeros(len(one.words)) for one in which}
    for part, chance in zip(PARTS, chances, strict=True):
        rates[part][EXACT] = chance
    told = Coverage(rules).of([rates[one.atoms[0]] for one in which], which)
    whole = 0.0
    for outcome in product((False, True), repeat=len(PARTS)):
        agree = {part for part, yes in zip(PARTS, outcome, strict=True) if yes}
        if any(rule <= agree for rule in rules):
            whole += float(
                np.prod([c if yes else 1 - c for c, yes in zip(chances, outcome, strict=True)])
            )
    assert told == pytest.approx(max(whole, 0.05), abs=1e-9)
