"""All measures in one call, against plain Python and against each other."""

from math import prod

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.disclosure.assessment import Population, Question, assess
from policies.disclosure.diversity import Sensitive
from policies.disclosure.encoding import DisclosureError, Keys, coded
from policies.disclosure.frequencies import Missing
from tests.policies import plain
from tests.policies.test_measures import keys_of

rows = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y", None])),
        st.integers(0, 8),
        st.sampled_from(["h1", "h2", None]),
    ),
    min_size=1,
    max_size=15,
)
Rows = list[tuple[tuple[str | None, str | None], int, str | None]]


@given(rows, st.sampled_from(Missing))
def test_figures_agree_with_each_other(table: Rows, missing: Missing) -> None:
    """Without weights or a population, the file is the population in all its figures."""
    keys, units = keys_of([row for row, _, _ in table]), [unit for _, unit, _ in table]
    found = assess(keys, Question(units=units, missing=missing, k=2))
    prosecutor = found["prosecutor_risk"]
    journalist = found["journalist_risk"]
    assert (journalist["max"], journalist["from"]) == (pytest.approx(prosecutor["max"]), "file")
    assert journalist["mean"] == pytest.approx(prosecutor["mean"])
    assert found["marketer_risk"] == pytest.approx(prosecutor["mean"])
    assert found["individual_risk"]["max"] == pytest.approx(prosecutor["max"])
    assert found["individual_risk"]["mean"] == pytest.approx(prosecutor["mean"])
    assert found["below_k"] == found["sample_uniques"]
    shown = any(plain.shown(row) for row, _, _ in table)
    assert not shown or (found["suda"]["max"] > 0) == (found["sample_uniques"] > 0)
    population = Population(keys, units)
    itself = assess(keys, Question(units=units, missing=missing, k=2, population=population))
    assert itself["k_map"] == found["k"]
    assert itself["not_in_population"] == 0
    assert itself["journalist_risk"]["mean"] == pytest.approx(journalist["mean"])


@given(rows)
def test_households(table: Rows) -> None:
    """1 - prod (1 - r) over the units of a household, each as much at risk as in its worst row."""
    keys = keys_of([row for row, _, _ in table])
    units = [unit for _, unit, _ in table]
    home = {unit: house for _, unit, house in reversed(table)}  # one household for each unit
    houses = [home[unit] for unit in units]
    found = assess(keys, Question(units=units, household=coded(houses)))["household_risk"]
    f = plain.per_row([row for row, _, _ in table], units, wildcard=False)
    worst: dict[int, float] = {}
    for unit, many in zip(units, f, strict=True):
        worst[unit] = max(worst.get(unit, 0), 1 / many)
    members: dict[object, list[float]] = {}
    for unit, risk in worst.items():
        members.setdefault(home[unit] or unit, []).append(risk)
    wanted = {house: 1 - prod(1 - risk for risk in each) for house, each in members.items()}
    assert found["households"] == len(wanted)
    assert found["max"] == pytest.approx(max(wanted.values()))
    assert found["mean"] == pytest.approx(sum(wanted.values()) / len(wanted))
    people = sum(wanted[house] * len(each) for house, each in members.items())
    assert found["mean_of_members"] == pytest.approx(people / len(worst))


def test_several_sensitive_columns_and_the_worst_of_them() -> None:
    keys = Keys.of({"a": [1, 1, 2, 2]})
    two = {"p": Sensitive.of(["x", "y", "x", "y"]), "q": Sensitive.of(["x", "x", "y", "z"])}
    found = assess(keys, Question(sensitive=two))
    assert found["l_distinct"] == 1
    assert found["sensitive"]["p"]["l_distinct"] == 2
    assert found["t"] == found["sensitive"]["q"]["t"] == 0.5


def test_more_keys_than_all_sizes_can_be_searched_of() -> None:
    """Of eleven keys and more, special uniques of three keys at most are looked for."""
    rng = np.random.default_rng(2)
    keys = Keys.of(pd.DataFrame({f"k{at}": rng.integers(0, 3, 60) for at in range(11)}))
    assert len(assess(keys, Question())["suda"]["sizes"]) == 3
    assert len(assess(keys.only(keys.names[:10]), Question())["suda"]["sizes"]) == 10


@pytest.mark.parametrize("missing", Missing)
def test_a_table_without_rows_tells_nothing(missing: Missing) -> None:
    """Zeros, and no error: a release may be empty."""
    keys = Keys.of({"a": [], "b": []})
    people = Population(Keys.of({"a": [1], "b": [2]}))
    asked = Question(
        sensitive={"s": Sensitive.of([], ordered=True)}, weights=[], household=coded([]),
        population=people, missing=missing, amounts=[], original=keys,
    )  # fmt: skip
    found = assess(keys, asked)
    assert (found["rows"], found["k"], found["k_map"], found["suda"]["max"]) == (0, 0, 0, 0)
    for name in ("prosecutor_risk", "journalist_risk", "individual_risk", "household_risk"):
        assert (found[name]["max"], found[name]["mean"]) == (0, 0)


def test_what_cant_be_assessed() -> None:
    keys = Keys.of({"a": [1, 2]})
    with pytest.raises(DisclosureError, match="k is how many"):
        assess(keys, Question(k=0))
    with pytest.raises(DisclosureError, match="household"):
        assess(keys, Question(household=coded(["x"])))
    with pytest.raises(DisclosureError, match="another length"):
        assess(keys, Question(sensitive={"s": Sensitive.of(["x"])}))
