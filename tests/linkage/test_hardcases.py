"""Each hard case has its figures, with and without the truth (S15, S26)."""

import numpy as np
import pytest

from linkage.hardcases import hard_cases
from linkage.matching import Matched, match
from linkage.truth import Truth
from tests.linkage.kernel.country import Country, country, plan

LABELS = {
    "names swapped": "swapped_names",
    "first name by a nickname or an initial": "nickname_or_initial",
    "partner's name, or a part of the name": "partner_name",
    "birth date missing or by default": "birth_date_default_or_missing",
    "moved, and birth date differs": "moved_birth_date_differs",
    "moved, and last name differs": "moved_last_name_differs",
    "a bis number became another number": "bis_became_national",
}
"""Our cases, and what the generator that made the files calls them."""


@pytest.fixture(scope="module")
def some() -> Country:
    return country(8000)


@pytest.fixture(scope="module")
def matched(some: Country) -> Matched:
    return match(some.a, some.b, plan(number=True))


@pytest.mark.parametrize("case", LABELS)
def test_most_links_of_a_case_are_counted_as_it(some: Country, matched: Matched, case: str) -> None:
    hard = some.hard.filter(some.hard[LABELS[case]])
    persons = np.array(hard["person"].to_pylist())
    linked = matched.rule < 2
    of = some.persons_a[matched.left[linked]]
    right = some.right(matched.left[linked], matched.right[linked])
    labelled = int((np.isin(of, persons) & right).sum())
    counted = hard_cases(matched)[case]["links"]
    assert labelled > 10
    assert 0.5 * labelled <= counted <= 1.5 * labelled  # a number may be gone, a name misspelt


def test_what_is_expected_to_be_right_is_right(some: Country, matched: Matched) -> None:
    truth = Truth.of(list(map(str, some.persons_a)), list(map(str, some.persons_b)))
    told = hard_cases(matched, truth)
    assert told["twins, or one of them"]["links"] > 0
    for figures in told.values():
        assert figures["right"] <= figures["links"]
        assert abs(figures["right"] - figures["expected_right"]) <= 3 + 0.02 * figures["links"]


def test_a_case_that_the_fields_cannot_tell_is_absent(some: Country) -> None:
    told = hard_cases(match(some.a.slice(0, 500), some.b.slice(0, 500), plan()))
    assert "a bis number became another number" not in told
    assert "names swapped" in told
