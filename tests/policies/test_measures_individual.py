"""Individual, household and population risk: published figures, and the integral they come from."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from policies.disclosure.encoding import DisclosureError, Keys, coded
from policies.disclosure.frequencies import Groups, Missing, frequencies, in_population
from policies.disclosure.individual import Method, Risk, household_risk, individual_risk
from tests.policies import plain
from tests.policies.test_measures import GUIDE, keys_of

WEIGHTS = [180, 180, 215, 76, 186, 76, 180, 215, 186, 76]


def risks(
    table: dict[str, list[object]],
    weights: list[float],
    method: Method = Method.APPROXIMATE,
    missing: Missing = Missing.CATEGORY,
) -> list[float]:
    found = frequencies(Groups.of(Keys.of(table)), weights, missing)
    f, F = found.per_row  # noqa: N806
    assert (individual_risk(found.f, found.F)[found.groups.of_row] == individual_risk(f, F)).all()
    return [float(one) for one in individual_risk(f, F, method)]


def test_the_practice_guide() -> None:
    """Table 4.1 of the SDC Practice Guide: F, the risk of each record, and the global risk."""
    found = frequencies(Groups.of(Keys.of(GUIDE)), WEIGHTS)
    f, F = found.per_row  # noqa: N806
    assert F.tolist() == [360, 360, 215, 152, 186, 152, 180, 215, 262, 262]
    published = [0.0054, 0.0054, 0.0251, 0.0126, 0.0282, 0.0126, 0.0290, 0.0251, 0.0074, 0.0074]
    assert individual_risk(f, F) == pytest.approx(published, abs=0.00006)
    risk = Risk.of(individual_risk(found.f, found.F), found.records)
    assert risk.mean == pytest.approx(0.01582, abs=0.000006)
    assert risk.expected == pytest.approx(10 * risk.mean)


SAMPLE = {
    "A": [2, 3, 2, 2, 3, 3, 1, 2],
    "B": [3, 3, 3, 3, 3, 3, 4, 3],
    "C": [1, 3, 1, 2, 1, 1, 1, 1],
}
HOLES = {
    "A": [2, 3, 2, 2, 3, 3, 1, None],
    "B": [3, 3, 3, 3, 3, 3, 4, 3],
    "C": [1, 3, None, 2, 1, 1, None, 1],
}


@pytest.mark.parametrize(
    ("table", "method", "published"),
    [
        (SAMPLE, Method.APPROXIMATE, [0.01369863, 0.08579129, 0.01369863, 0.17707583, 0.01877883, 0.01877883, 0.03931625, 0.01369863]),  # noqa: E501
        (SAMPLE, Method.EXACT, [0.01355297, 0.08579129, 0.01355297, 0.17707583, 0.01877883, 0.01877883, 0.03931625, 0.01355297]),  # noqa: E501
        (HOLES, Method.APPROXIMATE, [0.013698630, 0.085791288, 0.010554090, 0.032466112, 0.009836066, 0.009836066, 0.039316254, 0.005973716]),  # noqa: E501
        (HOLES, Method.EXACT, [0.013552968, 0.085791288, 0.010504889, 0.032466112, 0.009756889, 0.009756889, 0.039316254, 0.005962551]),  # noqa: E501
    ],
)  # fmt: skip
def test_what_sdcmicro_finds(
    table: dict[str, list[object]], method: Method, published: list[float]
) -> None:
    """The figures of sdcMicro's own test of indivRisk, with and without missing keys, which match
    every value there."""
    weights = [18.0, 45.5, 39.0, 17.0, 92.0, 8.0, 123.5, 51]
    found = risks(table, weights, method, Missing.WILDCARD)
    assert found == pytest.approx(published, rel=1e-6)


@given(st.integers(1, 400), st.floats(0.002, 0.9999))
def test_exact_is_the_expectation_of_the_inverse(f: int, p: float) -> None:
    """r = E(1/F) with F negative binomial: the integral of (p e^-t / (1 - q e^-t))^f over t."""

    def inside(u: float) -> float:  # u = f t, so that the integrand has one width
        small = np.exp(-u / f)
        return float((p * small / (1 - (1 - p) * small)) ** f) / f

    edges = sorted({0, p, min(10 * p, 1), 1, 10, 60, 800 * f})
    wanted = sum(quad(inside, *part)[0] for part in pairwise(edges))
    many, big = np.array([f]), np.array([f / p])
    exact = individual_risk(many, big, Method.EXACT)[0]
    assert exact == pytest.approx(wanted, rel=1e-5)
    near = individual_risk(many, big)[0]
    assert exact * (1 - 1e-9) <= near <= min(1.02, 1 / f * 1.0001 + 0.02)
    assert near == pytest.approx(exact, rel=0.16 if f > 2 else 1e-9)


def test_a_sample_that_is_the_population() -> None:
    """p = 1: the risk is 1/f, from both sides; near it nothing is lost to rounding."""
    for method in Method:
        f = np.array([1, 2, 3, 20])
        assert individual_risk(f, f * 1.0, method).tolist() == [1, 1 / 2, 1 / 3, 1 / 20]
        near = individual_risk(f, f * (1 + 1e-9), method)
        assert near == pytest.approx([1, 1 / 2, 1 / 3, 1 / 20], rel=1e-6)
        assert individual_risk(f, f * 0.5, method).tolist() == [1, 1 / 2, 1 / 3, 1 / 20]


def test_a_household_of_three() -> None:
    """SDC Practice Guide, "Household risk": members of 0.02, 0.03 and 0.03 make 0.0779."""
    households = coded(["a", "a", "a", "b", None, None])
    risk, members = household_risk(np.array([0.02, 0.03, 0.03, 1.0, 0.5, 0.1]), households)
    assert risk[0] == pytest.approx(0.0779, abs=0.00005)
    assert risk.tolist()[1:] == pytest.approx([1.0, 0.5, 0.1])
    assert members.tolist() == [3, 1, 1, 1]


units_and_rows = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=20,
)
Rows = list[tuple[tuple[str | None, int | None], int]]


@given(units_and_rows, units_and_rows, st.sampled_from(Missing))
def test_population_counts(sample: Rows, population: Rows, missing: Missing) -> None:
    """k-map: units of the population that a row of the file could be of."""
    rows, people = [row for row, _ in sample], [row for row, _ in population]
    units = [unit for _, unit in population]
    found = in_population(keys_of(rows), keys_of(people), units, missing)
    wild = missing is Missing.WILDCARD
    assert found.tolist() == [len(plain.crowd(people, units, row, wildcard=wild)) for row in rows]


@given(units_and_rows, st.sampled_from(Missing))
def test_weights_of_a_crowd_are_added_up(sample: Rows, missing: Missing) -> None:
    """F: the weights of the distinct units that a row could be of."""
    rows, units = [row for row, _ in sample], [unit for _, unit in sample]
    weights = [1.5 + unit for unit in units]
    F = frequencies(Groups.of(keys_of(rows), units), weights, missing).per_row[1]  # noqa: N806
    wild = missing is Missing.WILDCARD
    crowds = [plain.crowd(rows, units, row, wildcard=wild) for row in rows]
    assert pytest.approx([sum(1.5 + int(str(unit)) for unit in one) for one in crowds]) == F


@pytest.mark.parametrize("weights", [[1, -1], [1, None], [1, float("nan")], ["x", "y"], [1]])
def test_weights_that_are_none(weights: list[object]) -> None:
    with pytest.raises(DisclosureError, match="weight"):
        frequencies(Groups.of(Keys.of({"a": [1, 2]})), weights)


def test_keys_of_another_kind_in_the_population() -> None:
    """Numbers in one file and texts in the other are the same codes."""
    found = in_population(
        Keys.of({"a": pa.array([1, 2])}), Keys.of({"a": ["2", "2", "1"], "b": [1, 1, 1]})
    )
    assert found.tolist() == [1, 2]
