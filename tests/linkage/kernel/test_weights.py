"""The one dependence between fields that the class of households has (S26)."""

import numpy as np

from linkage.kernel.levels import Levels
from tests.linkage.kernel.country import learned


def household(**words: str) -> float:
    """Logarithm of the chance of a pair's levels between members of one household."""
    weights = learned(3000).weights
    levels: list[Levels] = [
        np.array([one.level(words.get(one.name, "different"))], np.int8)
        for one in weights.comparisons
    ]
    return float(weights.sums(levels)[1][0])


def test_who_is_born_on_one_day_in_one_household_has_one_last_name() -> None:
    """Twins do; a person both of whose names changed was taken for two once."""
    weights = learned(3000).weights
    at = {one.name: place for place, one in enumerate(weights.comparisons)}
    born, named = weights.h[at["birth_date"]][1], weights.h[at["last_name"]]
    twins = household(birth_date="exact", last_name="exact")
    others = household(birth_date="exact", last_name="different")
    independent = np.log(named[1] / named[-1])
    assert twins - others > independent + 2
    no_day = household(last_name="exact") - household(last_name="different")
    assert np.isclose(no_day, independent)
    # and in all, no more are born on one day than were before
    assert born < 0.05
