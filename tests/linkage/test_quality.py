"""How good the links are on towns with truth, over several seeds, none of which was tuned for."""

import pytest

from tests.linkage.helpers import Scope
from tests.linkage.judge import admit_all, judge
from tests.linkage.people import Clerk, Faults, Town


@pytest.mark.parametrize("seed", range(101, 107))
def test_links_of_a_town_over_two_years(seed: int) -> None:
    """S15, V07: no false link by number, hardly one by likeness; everybody keeps their subject."""
    figures = judge(admit_all(Scope(), Clerk(Town(500, seed), seed).waves()))
    assert figures.false_by_number == 0
    assert figures.by_number > 5000
    assert figures.unstable == 0
    assert figures.compared > 1500
    assert figures.numberless > 200
    assert figures.precision >= 0.995
    assert figures.recall >= 0.98


@pytest.mark.parametrize("seed", [7, 8])
def test_parents_that_come_without_a_birth_date(seed: int) -> None:
    """Fathers and sons of one name, and nothing but the number's birth date tells them apart."""
    clerk = Clerk(Town(500, seed), seed, parent_dates=False)
    figures = judge(admit_all(Scope(), clerk.waves()))
    assert figures.false_by_number == 0
    assert figures.unstable == 0
    assert figures.precision >= 0.99
    assert figures.recall >= 0.95


@pytest.mark.parametrize("seed", [11, 12])
def test_ten_times_as_many_numbers_of_relatives(seed: int) -> None:
    """One record in twenty carries a twin's, a sister's or a parent's valid number."""
    clerk = Clerk(Town(400, seed), seed, Faults(foreign_number=0.05))
    figures = judge(admit_all(Scope(), clerk.waves()))
    assert figures.false_by_number == 0
    assert figures.unstable == 0
    assert figures.precision >= 0.99
    assert figures.recall >= 0.97


def test_no_numbers_at_all() -> None:
    """Names, birth dates and addresses alone still bring most records together, and few wrongly."""
    clerk = Clerk(Town(400, 21), 21, Faults(no_number=1.0))
    figures = judge(admit_all(Scope(), clerk.waves()))
    assert figures.by_number == 0
    assert figures.precision >= 0.99
    assert figures.recall >= 0.98
