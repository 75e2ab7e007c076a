"""What mends a release that is fine alone and not together; a panel that stays releasable."""

from datetime import date
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from policies import classifications, mending
from policies.classifications import activities
from policies.coarsening import NOT_IN_SOURCE, SUPPRESSED, Rule, parse_rule
from policies.cumulative import Displayed, assess, suppress
from policies.mending import WITHHELD, NoSuchViewError, mildest, shown_as, views
from policies.permits import Scenario
from tests.policies.population import BREAKS, SCENARIO
from tests.policies.test_cumulative import SECOND, waves

AGE = parse_rule([{"age_class": {"reference_date": SECOND.isoformat(), "breaks": BREAKS}}])
PLACE = parse_rule([{"geography": {"level": "arrondissement"}}])
RULES = {"age_class": AGE, "arrondissement": PLACE}


# --- views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "doc",
    [
        {"age_class": {"reference_date": "2025-12-31", "breaks": [15, 20, 25, 30]}},
        {"age_class": {"reference_date": "2025-12-31", "breaks": list(range(10, 90, 5))}},
        {"classes": {"breaks": [100, 200, 500]}},
        {"geography": {"level": "arrondissement"}},
        {"nace": {"level": "division", "version": 2025}},
        {"nace": {"level": "section", "version": 2008}},
    ],
)
def test_a_view_joins_what_the_rule_parts_and_parts_nothing_it_joins(
    doc: dict[str, object],
) -> None:
    """S08: every view is a function of the finer labels, and what its own rule would make."""
    rule = parse_rule([doc])
    found = views(rule)
    assert found[-1].name == WITHHELD
    assert len({view.name for view in found}) == len(found) > 1
    if "age_class" in doc:
        raw = pa.array([date(1930 + year, 1 + year % 12, 3) for year in range(95)])
        kind = "birth_date"
    elif "classes" in doc:
        raw, kind = pa.array(np.arange(0, 1000, 7)), "amount"
    elif "geography" in doc:
        raw, kind = pa.array(classifications.lasting("municipality")), "municipality"
    else:
        raw, kind = pa.array(activities.lasting()), "nace"
    fine = rule.apply(raw, kind)
    for view in found[:-1]:
        assert view.apply(fine).equals(view.rule.apply(raw, kind))
        assert view.describe() in view.rule.describe("en")
    assert set(found[-1].apply(fine).to_pylist()) == {SUPPRESSED}


def test_other_rules_can_only_be_withheld_and_missing_values_stay() -> None:
    assert [view.name for view in views(parse_rule([{"keep": {}}]))] == [WITHHELD]
    province = next(view for view in views(PLACE) if view.name == "province")
    shown = province.apply(pa.chunked_array([["11000", NOT_IN_SOURCE, SUPPRESSED]]))
    assert shown.to_pylist() == ["10000", NOT_IN_SOURCE, SUPPRESSED]


def test_a_view_that_isnt_there_is_refused_with_those_that_are() -> None:
    table = pa.table({"unit": ["a"], "arrondissement": ["11000"]})
    with pytest.raises(NoSuchViewError, match="coarser than permitted are: province; region; with"):
        shown_as(table, RULES, {"arrondissement": "municipality"})
    shown, rules = shown_as(table, RULES, {"arrondissement": "region"})
    assert shown["arrondissement"].to_pylist() == ["02000"]
    assert rules["arrondissement"].describe("en").startswith("Region")


# --- the mildest change --------------------------------------------------------------------------


def test_the_mildest_change_is_the_least_loss_of_all_choices() -> None:
    """S08: held against every choice, tried one by one."""
    _, one, two, _ = waves(1, 1500)
    first = suppress([], one, SCENARIO, 5, 0.1).displayed
    for limit in (0.0, 0.3):
        found = mildest([first], two, RULES, SCENARIO, 5, limit)
        assert found is not None
        assert found.suppression.allowed
        assert assess([first], found.suppression.displayed, SCENARIO, 5).passes
        losses = []
        for names in product(*([None, *views(RULES[key])] for key in RULES)):
            chosen = {key: v.name for key, v in zip(RULES, names, strict=True) if v is not None}
            table, rules = shown_as(two.table, RULES, chosen)
            asked = Displayed.under("second", two.moment, table, rules, SCENARIO, 5)
            outcome = suppress([first], asked, SCENARIO, 5, limit)
            if outcome.allowed:
                losses.append(mending._loss(two.table, outcome.displayed.table, two.keys))
        assert found.loss == pytest.approx(min(losses))
        assert found.choices <= 64
        assert found.to_doc()["says"] == found.describe()
    assert "suppress" in found.describe()
    assert found.coarser == {}


def test_no_change_mends_a_handful_of_people() -> None:
    _, one, two, _ = waves(1, 3)
    assert mildest([one], two, RULES, SCENARIO, 5, 0.0) is None


# --- what the issue names, case by case ----------------------------------------------------------


def _release(name: str, moment: str, key: str, labels: list[str], rule: Rule) -> Displayed:
    units = [f"u{number:03d}" for number in range(len(labels))]
    scenario = Scenario(known=[key])
    table = pa.table({"unit": units, key: labels})
    return Displayed.under(name, moment, table, {key: rule}, scenario, 5)


def test_two_geographic_groupings_are_laid_over_each_other() -> None:
    """S08: provinces in one release and regions of another kind in the next, never changing: who
    is alone in the crossing is found, and the mildest change is told."""
    provinces = ["10000"] * 20 + ["20001"] * 20
    arrondissements = ["11000"] * 17 + ["12000"] * 3 + ["23000"] * 20
    one = _release(
        "one", "2024", "place", provinces, parse_rule([{"geography": {"level": "province"}}])
    )
    two = _release("two", "2025", "place", arrondissements, PLACE)
    crossed = ["11000"] * 17 + ["23000"] * 3 + ["23000"] * 20
    scenario = Scenario(known=["place"])
    mixed = _release("two", "2025", "place", crossed, PLACE)
    found = assess([one], mixed, scenario, 5)
    assert found.fails_only_together
    assert found.together[0].labels == {"place": "10000 → 23000"}
    assert found.together[0].units == 3
    mend = mildest([one], mixed, {"place": PLACE}, scenario, 5, 0.0)
    assert mend is not None
    assert mend.coarser == {"place": "region"}
    assert not assess([], two, scenario, 5).passes


def test_two_roundings_of_one_amount_are_laid_over_each_other() -> None:
    """S08: to 1,000 in one release and to 300 in another: 900 and 1,000 leave 850 to 1,049."""
    one = _release("one", "2024", "wage", ["1000"] * 12, parse_rule([{"round": {"to": 1000}}]))
    again = ["900"] * 9 + ["1200"] * 3
    two = _release("two", "2024", "wage", again, parse_rule([{"round": {"to": 300}}]))
    both = [*again, *["1200"] * 9]
    full = _release("two", "2024", "wage", both, parse_rule([{"round": {"to": 300}}]))
    scenario = Scenario(known=["wage"])
    assert assess([], full, scenario, 5).passes
    found = assess([one], full, scenario, 5)
    assert found.fails_only_together
    assert found.together[0].labels == {"wage": "1000 → 1200"}
    assert not assess([one], two, scenario, 5).passes


def test_a_panel_of_fifteen_waves_stays_releasable() -> None:
    """S08, V07: 15,000 adults, 15 years: sex, three age classes and region (which changes, and is
    known at one moment); 3% move and 4% are replaced each year. Each wave passes with at most 2%
    of its people touched, although the classes together give the year of birth of thirty years."""
    rng = np.random.default_rng(15)
    number, scenario = 15_000, Scenario(known=["sex", "age_class", "region"], changing=["region"])
    ids = np.arange(number)
    birth = np.datetime64("1950-01-01") + rng.integers(0, 18_000, number)
    sex, home = rng.integers(0, 2, number), rng.choice(3, number, p=[0.12, 0.57, 0.31])
    history: list[Displayed] = []
    regions = np.array(["04000", "02000", "03000"])
    for year in range(2010, 2025):
        rule = parse_rule([{"age_class": {"reference_date": f"{year}-12-31", "breaks": [30, 60]}}])
        table = pa.table(
            {
                "unit": pc.binary_join_element_wise("P", pa.array(ids).cast(pa.string()), ""),
                "sex": pa.array(np.array(["F", "M"])[sex]),
                "age_class": rule.apply(pa.array(birth), "birth_date"),
                "region": pa.array(regions[home]),
            }
        )
        wave = Displayed.under(str(year), str(year), table, {"age_class": rule}, scenario, 5)
        outcome = suppress(history, wave, scenario, 5, 0.02)
        assert outcome.allowed, (year, outcome.reason())
        history.append(outcome.displayed)
        moved, replaced = rng.random(number) < 0.03, rng.random(number) < 0.04
        home = np.where(moved, rng.choice(3, number), home)
        fresh = int(replaced.sum())
        ids = np.where(replaced, ids.max() + 1 + np.arange(number), ids)
        birth[replaced] = np.datetime64("1950-01-01") + rng.integers(0, 18_000, fresh)
        sex[replaced], home[replaced] = rng.integers(0, 2, fresh), rng.choice(3, fresh)
    assert len(history) == 15
    assert assess(history[:-1], history[-1], scenario, 5).smallest_together >= 5
