"""Fine alone and not fine together, and how it is mended."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.coarsening import EARLIEST, LATEST, NOT_IN_SOURCE, SUPPRESSED
from policies.cumulative import Displayed, assess, suppress
from policies.disclosure import DisclosureError
from policies.permits import Scenario
from tests.policies.naive import Naive
from tests.policies.population import SCENARIO, Population, young_people

FIRST, SECOND = date(2024, 12, 31), date(2025, 12, 31)
KEYS = ["age_class", "arrondissement"]


def waves(seed: int, persons: int = 5000) -> tuple[Population, Displayed, Displayed, Displayed]:
    """The same people at two moments, 3% of them moved, and once more at the second."""
    rng = np.random.default_rng(seed)
    before = young_people(rng, persons)
    after = before.moved(rng, 0.03)
    return (
        after,
        before.displayed("first", FIRST),
        after.displayed("second", SECOND),
        after.displayed("third", SECOND),
    )


def smallest(tables: Sequence[pa.Table], keys: Sequence[str]) -> int:
    """Distinct units in the smallest cell of joined tables, counted by pandas."""
    joined = tables[0].to_pandas().add_suffix("_1").rename(columns={"unit_1": "unit"})
    for number, table in enumerate(tables[1:], 2):
        other = table.to_pandas().add_suffix(f"_{number}")
        joined = joined.merge(other.rename(columns={f"unit_{number}": "unit"}), on="unit")
    return int(joined.groupby(list(keys))["unit"].nunique().min())


# --- the demo's figures --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_panel_of_three_waves_is_releasable(seed: int) -> None:
    """S08, V07: 5,000 young people, 3 age classes × 43 arrondissements, k = 5: the second wave
    fails with the first, and passes with at most 10% of the units suppressed; the third follows."""
    _, one, two, three = waves(seed)
    first = suppress([], one, SCENARIO, 5, 0.1)
    assert first.allowed
    assert first.share < 0.01

    history = [first.displayed]
    second = suppress(history, two, SCENARIO, 5, 0.1)
    assert second.before.failing_together > 40
    assert second.allowed
    assert second.share <= 0.08
    assert assess(history, second.displayed, SCENARIO, 5).passes

    history.append(second.displayed)
    third = suppress(history, three, SCENARIO, 5, 0.1)
    assert third.allowed
    assert third.displayed.table.equals(second.displayed.table)

    tables = [shown.table for shown in (*history, third.displayed)]
    for table in tables:
        assert smallest([table], ["age_class_1", "arrondissement_1"]) >= 5
    for place in ("arrondissement_1", "arrondissement_2"):
        assert smallest(tables[:2], ["age_class_1", "age_class_2", place]) >= 5
    both = ["age_class_1", "age_class_2", "age_class_3", "arrondissement_2", "arrondissement_3"]
    assert smallest(tables, both) >= 5


def test_those_from_whom_something_was_withheld_are_not_alone() -> None:
    """An intruder who knows the algorithm finds, at every place of the first wave, no suppressed
    unit or at least k that looked alike."""
    _, one, two, _ = waves(1)
    first = suppress([], one, SCENARIO, 5, 0.1).displayed
    second = suppress([first], two, SCENARIO, 5, 0.1)
    joined = first.table.to_pandas().merge(second.displayed.table.to_pandas(), on="unit")
    hidden = joined[joined["age_class_y"] == SUPPRESSED]
    assert len(hidden) == second.values["age_class"] > 0
    assert hidden.groupby(["age_class_x", "arrondissement_x"]).size().min() >= 5


def test_an_intruder_with_the_register_finds_at_least_k() -> None:
    """Attack: exact dates of birth, and homes at one moment of choice; candidates are those whose
    labels in both releases are possible for such a person. Withheld labels exclude nobody."""
    people, one, two, _ = waves(2)
    first = suppress([], one, SCENARIO, 5, 0.1).displayed
    second = suppress([first], two, SCENARIO, 5, 0.1).displayed
    columns = [
        {key: np.array(shown.table[key].to_pylist()) for key in KEYS} for shown in (first, second)
    ]
    for known, truth in enumerate((one, two)):
        homes = np.array(truth.table["arrondissement"].to_pylist())
        for person in range(0, len(people.ids), 50):
            day = int(people.birth[person].astype("datetime64[D]").astype(int))
            possible = np.ones(len(people.ids), bool)
            for shown, column in zip((first, second), columns, strict=True):
                fitting = [
                    label
                    for label, (low, high) in shown.intervals["age_class"].items()
                    if low <= day <= high
                ]
                possible &= np.isin(column["age_class"], [*fitting, SUPPRESSED])
            place = columns[known]["arrondissement"]
            possible &= np.isin(place, [homes[person], SUPPRESSED])
            assert possible[person]
            assert possible.sum() >= 5


def test_people_come_and_go() -> None:
    """Who turned 15 joins, who turned 30 leaves: still releasable, and those who left are safe."""
    rng = np.random.default_rng(4)
    everybody = young_people(rng, 5300, at=SECOND)
    oldest = np.datetime64("1994-12-31")
    shifted = Population(
        everybody.ids,
        np.where(rng.random(5300) < 0.07, oldest + rng.integers(1, 366, 5300), everybody.birth),
        everybody.home,
    )
    before = shifted.only(shifted.birth <= np.datetime64("2009-12-31"))
    after = shifted.moved(rng, 0.03)
    after = after.only(after.birth > np.datetime64("1995-12-31"))
    first = suppress([], before.displayed("first", FIRST), SCENARIO, 5, 0.1)
    second = suppress([first.displayed], after.displayed("second", SECOND), SCENARIO, 5, 0.1)
    assert first.allowed
    assert second.allowed


# --- fine alone and not fine together ------------------------------------------------------------


def shown(
    release: str, moment: str, rows: Sequence[tuple[str, str, str]], year: int = 0
) -> Displayed:
    """Rows of (unit, age class, home), with classes of ten days that shift by one day a year."""
    edges = [10 + year, 20 + year]
    table = pa.table(
        {
            "unit": pa.array([unit for unit, _, _ in rows], pa.string()),
            "age_class": pa.array([age for _, age, _ in rows], pa.string()),
            "arrondissement": pa.array([home for _, _, home in rows], pa.string()),
        }
    )
    intervals = {
        "young": (edges[1], LATEST),
        "middle": (edges[0], edges[1] - 1),
        "old": (EARLIEST, edges[0] - 1),
    }
    return Displayed(release, moment, table, {"age_class": intervals}, ("arrondissement",))


def people(letter: str, number: int, age: str, home: str) -> list[tuple[str, str, str]]:
    return [(f"{letter}{at:03d}", age, home) for at in range(number)]


def test_a_birthday_given_away_between_two_waves() -> None:
    """The later wave has no small cell of its own; six of its people crossed into a class."""
    one = shown("one", "2024", people("a", 30, "young", "x"))
    two = shown(
        "two", "2025", people("a", 30, "young", "x")[:26] + people("a", 30, "middle", "x")[26:]
        + people("b", 30, "middle", "x"), year=1,
    )  # fmt: skip
    assert assess([], two, SCENARIO, 5).passes
    found = assess([one], two, SCENARIO, 5)
    assert found.fails_only_together
    assert found.smallest_alone >= 5
    assert found.smallest_together == 4
    assert found.units_at_risk == 4
    assert found.together[0].units == 4
    assert found.together[0].labels["age_class"] == "young → middle"
    assert found.reason().startswith("It is fine alone, but together with what this project")
    assert "young → middle" in found.reason()

    mended = suppress([one], two, SCENARIO, 5, 0.2)
    assert mended.allowed
    assert mended.units == 5  # the four, and one more who hides them
    assert mended.values == {"age_class": 5, "arrondissement": 0}

    refused = suppress([one], two, SCENARIO, 5, 0.05)
    assert not refused.allowed
    assert refused.after.passes
    assert "the permit allows 5.0%" in refused.reason()


def test_a_small_universe_fails_only_together() -> None:
    """The demo's refusal: a small universe a year later, of large cells at a coarse level."""
    rng = np.random.default_rng(0)
    everybody = young_people(rng, 5000)
    one = suppress([], everybody.displayed("first", FIRST), SCENARIO, 5, 0.1).displayed
    large = np.flatnonzero(everybody.home >= 40)
    small = everybody.only(rng.choice(large, 200, replace=False)).displayed("second", SECOND)
    assert assess([], small, SCENARIO, 5).passes
    found = assess([one], small, SCENARIO, 5)
    assert found.fails_only_together
    assert not suppress([one], small, SCENARIO, 5, 0.0).allowed
    assert suppress([one], small, SCENARIO, 5, 0.1).allowed


def test_two_moments_are_more_than_one() -> None:
    """Movers are safe from who knows one home, not from who knows both."""
    rows = people("a", 20, "young", "x") + people("b", 20, "young", "y")
    moved = [*people("a", 20, "young", "x")[:19], ("a019", "young", "y"), *rows[20:]]
    one, two = shown("one", "2024", rows), shown("two", "2025", moved)
    assert assess([one], two, SCENARIO, 5).passes
    twice = SCENARIO.model_copy(update={"moments": 2})
    found = assess([one], two, twice, 5)
    assert found.failing_together == 1
    assert found.together[0].labels == {
        "age_class": "young → young",
        "arrondissement (2024)": "x",
        "arrondissement (2025)": "y",
    }
    assert suppress([one], two, twice, 5, 1.0).after.passes


def test_releases_about_one_moment_are_known_together() -> None:
    """A coarser and a finer grouping of one place at one moment are both known to who knows it."""
    one = shown("one", "2024", people("a", 10, "young", "x"))
    two = shown("two", "2024", people("a", 8, "young", "p") + people("a", 10, "young", "q")[8:])
    assert assess([], two, SCENARIO, 2).passes
    found = assess([one], two, SCENARIO, 3)
    assert {cell.units for cell in found.together} <= {2}
    assert not found.passes


def test_who_left_is_safe_from_elimination() -> None:
    """All that stay turn out to be middle: who is known to be young can only be one who left."""
    one = shown("one", "2024", people("a", 12, "young", "x"))
    two = shown("two", "2025", people("a", 10, "middle", "x"), year=1)
    assert assess([], two, SCENARIO, 5).passes
    found = assess([one], two, SCENARIO, 5)
    assert found.fails_only_together
    assert found.smallest_together == 2
    mended = suppress([one], two, SCENARIO, 5, 0.5)
    assert mended.allowed
    assert mended.values["age_class"] == 5


def test_a_corrected_date_of_birth_is_a_category_of_its_own() -> None:
    """Old in one wave and young in the next can't be: the pair of labels names the person."""
    one = shown("one", "2024", people("a", 10, "young", "x") + people("b", 10, "old", "x"))
    rows = people("a", 10, "young", "x") + people("b", 10, "old", "x")
    rows[-1] = ("b009", "young", "x")
    two = shown("two", "2025", rows)
    found = assess([one], two, SCENARIO, 5)
    assert [cell.labels["age_class"] for cell in found.together[:1]] == ["old → young"]
    assert suppress([one], two, SCENARIO, 5, 0.3).allowed
    three = shown("three", "2026", rows)
    history = [one, suppress([one], two, SCENARIO, 5, 0.3).displayed]
    assert suppress(history, three, SCENARIO, 5, 0.3).allowed


def test_a_contradiction_that_many_share_passes() -> None:
    one = shown("one", "2024", people("a", 10, "old", "x"))
    two = shown("two", "2025", people("a", 10, "young", "x"))
    assert assess([one], two, SCENARIO, 5).passes
    three = shown("three", "2026", people("a", 7, "young", "x"))
    assert assess([one, two], three, SCENARIO, 5).passes


def test_labels_without_intervals_are_compared_as_they_are() -> None:
    """A never-changing key such as sex; a label that changed is a category of its own."""
    scenario = Scenario(known=["sex"], changing=[])

    def wave(release: str, sexes: str) -> Displayed:
        units = [f"u{at:02d}" for at in range(len(sexes))]
        return Displayed(release, release, pa.table({"unit": units, "sex": list(sexes)}))

    one = wave("one", "mmmmmffffff")
    assert assess([one], wave("two", "mmmmmffffff"), scenario, 5).passes
    found = assess([one], wave("two", "mmmmmmfffff"), scenario, 5)
    assert {tuple(cell.labels.items()) for cell in found.together} == {(("sex", "f → m"),)}
    assert suppress([one], wave("two", "mmmmmmfffff"), scenario, 5, 1.0).after.passes


def test_a_key_that_was_never_shown_before() -> None:
    """A later release may show more keys than an earlier one, and is tested on all."""
    one = shown("one", "2024", people("a", 12, "young", "x"))
    rows = people("a", 12, "young", "x")
    two = shown("two", "2024", rows)
    sexes = pa.array(["m"] * 10 + ["f"] * 2)
    two = replace(two, table=two.table.append_column("sex", sexes))
    scenario = Scenario(known=["age_class", "arrondissement", "sex"], changing=["arrondissement"])
    assert assess([one], shown("two", "2024", rows), SCENARIO, 5).passes
    assert assess([one], two, scenario, 5).failing_alone == 1
    assert suppress([one], two, scenario, 5, 1.0).allowed


def test_missing_and_suppressed_are_categories() -> None:
    """Three people without a value in the source stand out as three."""
    rows = people("a", 10, "young", "x") + people("m", 3, NOT_IN_SOURCE, "x")
    found = assess([], shown("one", "2024", rows), SCENARIO, 5)
    assert [(cell.labels["age_class"], cell.units) for cell in found.alone] == [(NOT_IN_SOURCE, 3)]
    assert suppress([], shown("one", "2024", rows), SCENARIO, 5, 1.0).after.passes


def test_enterprises_pass_the_same_test_with_their_own_k() -> None:
    """S34, S35: units are what the table says; k = 3 for enterprises."""
    one = shown("one", "2024", people("E", 3, "young", "x") + people("F", 2, "young", "y"))
    found = assess([], one, SCENARIO, 3)
    assert (found.units, found.failing_alone, found.smallest_alone) == (5, 1, 2)


def test_too_few_units_cant_be_mended() -> None:
    found = suppress([], shown("one", "2024", people("a", 4, "young", "x")), SCENARIO, 5, 1.0)
    assert not found.allowed
    assert not found.after.passes
    assert "Suppression of values can't mend it" in found.reason()
    assert "larger universe" in found.reason()


def test_an_empty_release_shows_nobody() -> None:
    empty = shown("none", "2024", [])
    found = suppress([], empty, SCENARIO, 5, 0.1)
    assert found.allowed
    assert (found.share, found.before.units, found.before.smallest_alone) == (0.0, 0, 0)
    one = shown("one", "2024", people("a", 10, "young", "x"))
    assert assess([one], empty, SCENARIO, 5).passes
    assert assess([empty], one, SCENARIO, 5).passes


# --- what is kept, and what is refused -----------------------------------------------------------


def test_history_can_be_kept_as_one_table() -> None:
    _, one, two, _ = waves(0, 300)
    kept = Displayed.from_table(one.to_table())
    assert kept == one
    assert assess([kept], two, SCENARIO, 5) == assess([one], two, SCENARIO, 5)
    with pytest.raises(DisclosureError, match="isn't the history"):
        Displayed.from_table(one.table)


def test_subject_ids_serve_as_units_too() -> None:
    one = shown("one", "2024", people("a", 10, "young", "x"))
    ids = pa.array([bytes([number]) * 16 for number in range(10)], pa.binary(16))
    binary = replace(one, table=one.table.set_column(0, "unit", ids))
    assert assess([binary], binary, SCENARIO, 5).passes


def test_row_order_changes_nothing() -> None:
    """Deterministic: neither the order of rows nor of the earlier ones matters."""
    _, one, two, _ = waves(3, 2000)
    order = np.random.default_rng(0).permutation(2000)

    def mixed(wave: Displayed) -> Displayed:
        return replace(wave, table=wave.table.take(pa.array(order)))

    straight = suppress([one], two, SCENARIO, 5, 1.0)
    other = suppress([mixed(one)], mixed(two), SCENARIO, 5, 1.0)
    assert straight.units == other.units > 0
    assert straight.displayed.table.sort_by("unit").equals(other.displayed.table.sort_by("unit"))


def broken(**columns: Any) -> Displayed:
    one = shown("one", "2024", people("a", 2, "young", "x"))
    table = one.table
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return replace(one, table=table)


@pytest.mark.parametrize(
    ("current", "says"),
    [
        (broken(unit=["a000", "a000"]), "stands twice"),
        (broken(age_class=["young", None]), "say why they are missing"),
        (broken(age_class=["young", "ancient"]), "interval isn't known"),
        (replace(broken(), table=broken().table.drop_columns("age_class")), "aren't columns"),
    ],
)
def test_tables_that_cant_be_tested_are_refused(current: Displayed, says: str) -> None:
    with pytest.raises(DisclosureError, match=says):
        assess([], current, SCENARIO, 5)


def test_a_name_with_two_meanings_is_compared_by_its_labels() -> None:
    """Days of birth in one release and texts in another: who shows the same pair is alike."""
    one = shown("one", "2024", people("a", 9, "young", "x"))
    other = shown("two", "2024", people("a", 9, "young", "x")[:5] + people("a", 9, "old", "x")[5:])
    assert assess([replace(one, intervals={})], one, SCENARIO, 5).passes
    found = assess([replace(one, intervals={})], other, SCENARIO, 5)
    assert (found.failing_alone, found.smallest_together) == (1, 4)


def test_a_refusal_names_no_unit() -> None:
    _, one, two, _ = waves(0, 400)
    found = suppress([one], two, SCENARIO, 5, 0.0)
    text = found.reason() + str(found.before.to_doc())
    assert not any(unit in text for unit in one.table["unit"].to_pylist())


# --- against the promise, written down once more -------------------------------------------------


@st.composite
def panels(draw: st.DrawFn) -> tuple[list[Displayed], Scenario, int]:
    """A few releases of a small population that comes, goes, moves, ages and is corrected."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(5, 70))
    missing, presence = draw(st.sampled_from([0, 0.04])), draw(st.sampled_from([1, 0.95, 0.6]))
    corrected, places = draw(st.sampled_from([0, 0.03])), draw(st.integers(1, 4))
    birth, home, year = rng.integers(0, 30, size), rng.integers(0, places, size), 0
    releases = []
    for number in range(draw(st.integers(1, 4))):
        year += int(number > 0 and draw(st.booleans()))
        wrong = np.where(rng.random(size) < corrected, rng.integers(0, 30, size), birth)
        ages = np.array(["old", "middle", "young"])[np.digitize(wrong, [10 + year, 20 + year])]
        home = np.where(rng.random(size) < 0.1, rng.integers(0, places, size), home)
        ages = np.where(rng.random(size) < missing, NOT_IN_SOURCE, ages)
        there = rng.permutation(np.flatnonzero(rng.random(size) < presence)).tolist()
        rows = [(f"u{at:03d}", str(ages[at]), f"h{home[at]}") for at in there]
        releases.append(shown(f"r{number}", f"m{year}", rows, year=year))
    scenario = SCENARIO.model_copy(update={"moments": draw(st.integers(1, 2))})
    return releases, scenario, draw(st.integers(3, 5))


@settings(max_examples=120)
@given(panels())
def test_assess_and_suppress_keep_the_promise(
    panel: tuple[list[Displayed], Scenario, int],
) -> None:
    """S08: the fast test agrees with a slow one written from the promise, release after release,
    and what `suppress` calls safe is safe by the slow one too."""
    releases, scenario, k = panel
    history: list[Displayed] = []
    for current in releases:
        found = assess(history, current, scenario, k)
        alone, together = Naive(history, current, scenario, k).failing()
        assert found.failing_alone == len(alone)
        assert found.passes == (not alone and not together)
        mended = suppress(history, current, scenario, k, 1.0)
        alone, together = Naive(history, mended.displayed, scenario, k).failing()
        assert mended.after.passes == (not alone and not together)
        assert mended.units == sum(
            SUPPRESSED in (row["age_class"], row["arrondissement"])
            for row in mended.displayed.table.to_pylist()
        )
        if mended.after.passes:
            history.append(mended.displayed)
