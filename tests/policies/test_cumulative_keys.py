"""Permits of one project that show other keys: everything is known together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import cumulative
from policies.coarsening import NOT_IN_SOURCE, SUPPRESSED
from policies.cumulative import Displayed, assess, suppress
from policies.disclosure import DisclosureError
from policies.panel import Panel
from policies.permits import Scenario
from tests.policies.naive import Naive


def shown(
    release: str, moment: str, scenario: Scenario, k: int = 5, **columns: Sequence[str]
) -> Displayed:
    """A release of units u000, u001, … (or those of a column `unit`)."""
    size = len(next(iter(columns.values())))
    table = pa.table({"unit": [f"u{at:03d}" for at in range(size)]} | columns)
    return Displayed.under(release, moment, table, {}, scenario, k)


AGES_AND_AREAS = Scenario(known=["age", "area"], changing=["area"])
SEXES = Scenario(known=["sex"])


def drawn(seed: int, size: int, **kinds: str) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    return {name: rng.choice(list(letters), size).tolist() for name, letters in kinds.items()}


def smallest(*releases: Displayed, but: str = SUPPRESSED) -> int:
    """The smallest cell over all columns of all releases joined on the unit, of units without a
    withheld value."""
    joined = releases[0].table.to_pandas()
    for one in releases[1:]:
        joined = joined.merge(one.table.to_pandas(), on="unit")
    rows = joined.drop(columns="unit").itertuples(index=False, name=None)
    return min(count for row, count in Counter(rows).items() if but not in row)


# --- attacks -------------------------------------------------------------------------------------


def test_two_permits_with_other_keys_are_joined_on_the_unit() -> None:
    """V07: each pair of keys is safe, the four together hold cells of one."""
    said = drawn(1, 400, sex="MV", age="abcd", area="ABCD", nationality="pqrs")
    first, second = Scenario(known=["age", "area"]), Scenario(known=["sex", "nationality"])
    one = shown("one", "2024", first, age=said["age"], area=said["area"])
    two = shown("two", "2024", second, sex=said["sex"], nationality=said["nationality"])
    assert assess([], one, first, 5).passes
    assert assess([], two, second, 5).passes
    found = assess([one], two, second, 5)
    assert found.fails_only_together
    assert found.smallest_together == smallest(one, two) == 1
    assert set(found.together[0].labels) == {"age", "area", "sex", "nationality"}
    assert found.units_at_risk == sum(
        count for count in Counter(zip(*said.values(), strict=True)).values() if count < 5
    )
    mended = suppress([one], two, second, 5, 1.0)
    assert mended.after.passes
    assert set(mended.values) == {"sex", "nationality"}
    assert smallest(one, mended.displayed) >= 5


@pytest.mark.parametrize("moment", ["2024", "2025"])
def test_a_changing_key_stays_known_when_a_later_permit_is_silent_about_it(moment: str) -> None:
    """V07: the later permit has no changing keys, and may be about another moment."""
    said = drawn(2, 120, age="ab", area="ABC", sex="MV")
    one = shown("one", "2024", AGES_AND_AREAS, age=said["age"], area=said["area"])
    two = shown("two", moment, SEXES, sex=said["sex"])
    cells = Counter(zip(*said.values(), strict=True))
    k = min(cells.values()) + 1
    assert assess([], two, SEXES, k).passes
    found = assess([one], two, SEXES, k)
    assert found.fails_only_together
    assert found.smallest_together == k - 1
    assert found.together[0].labels.keys() == {"age", "area (2024)", "sex"}
    mended = suppress([one], two, SEXES, k, 1.0)
    assert mended.after.passes
    assert mended.displayed.keys == ["sex"]
    assert smallest(one, mended.displayed) >= k


def test_a_smaller_k_of_a_later_permit_doesnt_undo_the_first() -> None:
    """V07: what was shown under k = 10 stays safe at 10."""
    ages, sexes = ["a"] * 12 + ["b"] * 12, ["M"] * 6 + ["V"] * 6 + ["M"] * 12
    scenario = Scenario(known=["age"])
    one = shown("one", "2024", scenario, 10, age=ages)
    two = shown("two", "2024", SEXES, 5, sex=sexes)
    assert assess([replace(one, k=5)], two, SEXES, 5).passes
    found = assess([one], two, SEXES, 5)
    assert (found.k, found.passes, found.smallest_together) == (10, False, 6)
    assert assess([one], two, SEXES, 12).k == 12


def test_moments_that_an_earlier_permit_feared_are_still_feared() -> None:
    """V07: who is known at two moments stays so when the next permit speaks of one."""
    once, twice = (AGES_AND_AREAS.model_copy(update={"moments": number}) for number in (1, 2))
    ages, before = ["a"] * 40, ["A"] * 20 + ["B"] * 20
    after = ["B", *before[1:]]
    one = shown("one", "2024", once, age=ages, area=before)
    two = shown("two", "2025", once, age=ages, area=after)
    assert assess([one], two, once, 5).passes
    assert not assess([replace(one, moments=2)], two, once, 5).passes
    assert not assess([one], two, twice, 5).passes


def test_a_key_that_one_permit_calls_changing_and_another_doesnt_is_taken_as_fixed() -> None:
    """Then all its labels are known at once: here one who moved, at whatever moment one looks."""
    fixed = Scenario(known=["age", "area"])
    ages, before = ["a"] * 40, ["A"] * 20 + ["B"] * 20
    after = ["B", *before[1:]]
    for first, second in [(AGES_AND_AREAS, fixed), (fixed, AGES_AND_AREAS)]:
        one = shown("one", "2024", first, age=ages, area=before)
        two = shown("two", "2025", second, age=ages, area=after)
        found = assess([one], two, second, 5)
        assert [cell.labels["area"] for cell in found.together[:1]] == ["A → B"]
        assert suppress([one], two, second, 5, 1.0).after.passes
    one = shown("one", "2024", AGES_AND_AREAS, age=ages, area=before)
    two = shown("two", "2025", AGES_AND_AREAS, age=ages, area=after)
    assert assess([one], two, AGES_AND_AREAS, 5).passes


def test_a_key_that_isnt_shown_neither_splits_nor_joins() -> None:
    """Newcomers, of whom the first key was never shown, stand apart; the others as they stood.
    Who knows the first moment sees the twenty, who knows the second all."""
    one = shown("one", "2024", Scenario(known=["age"]), age=["a"] * 10 + ["b"] * 10)
    two = shown("two", "2025", SEXES, sex=["M"] * 25)
    found = assess([one], two, SEXES, 5)
    assert found.passes
    assert found.sizes_together == {10: 4, 5: 1}


def test_what_an_earlier_release_shows_isnt_withheld_again() -> None:
    """Nor asked for: a release can only withhold what it shows."""
    said = drawn(3, 60, age="abc", sex="MV")
    said["age"][:5] = [SUPPRESSED] * 5
    one = shown("one", "2024", Scenario(known=["age"]), age=said["age"])
    two = shown("two", "2024", SEXES, sex=said["sex"])
    mended = suppress([one], two, SEXES, 5, 1.0)
    assert mended.values.keys() == {"sex"}
    assert mended.displayed.table.column_names == ["unit", "sex"]
    assert mended.after.passes


def test_only_changing_keys_and_somebody_who_left() -> None:
    """Without a key that never changes nobody who left can be told by elimination."""
    scenario = Scenario(known=["area"], changing=["area"])
    one = shown("one", "2024", scenario, area=["A"] * 10 + ["B"] * 10)
    two = shown("two", "2025", scenario, area=["A"] * 10 + ["B"] * 6 + ["C"] * 2)
    mended = suppress([one], two, scenario, 5, 1.0)
    assert mended.after.passes
    assert mended.units == 5


def test_too_many_combinations_are_refused_rather_than_guessed() -> None:
    """Ten thousand labels of two keys each, and somebody who left."""
    many = [f"x{at}" for at in range(10_000)]
    one = shown("one", "2024", Scenario(known=["a"]), k=0, a=many)
    two = shown("two", "2024", Scenario(known=["b"]), k=0, b=many)
    three = shown("three", "2025", Scenario(known=["c"]), k=0, c=["y"] * 9_000)
    with pytest.raises(DisclosureError, match="too many combinations"):
        assess([one, two], three, Scenario(known=["c"]), 5)


def test_what_a_release_was_tested_with_is_kept() -> None:
    scenario = AGES_AND_AREAS.model_copy(update={"moments": 3})
    one = shown("one", "2024", scenario, 7, age=["a"], area=["A"])
    kept = Displayed.from_table(one.to_table())
    assert kept == one
    assert (kept.changing, kept.moments, kept.k) == (("area",), 3, 7)
    assert kept.keys == ["age", "area"]


# --- what was withheld ---------------------------------------------------------------------------


def test_units_whose_value_was_withheld() -> None:
    """At the same moment, of the same key, in any release."""
    hidden = SUPPRESSED
    history = [
        shown("one", "2024", AGES_AND_AREAS, age=["a", hidden, "b"], area=[hidden, "A", "A"]),
        shown("two", "2024", SEXES, sex=[hidden, hidden, hidden]),
        shown("three", "2024", AGES_AND_AREAS, age=["a"] * 4, area=["A", "A", "A", hidden]),
        shown("four", "2025", AGES_AND_AREAS, age=["a"] * 3, area=["A", hidden, NOT_IN_SOURCE]),
    ]
    found = {
        (moment, key): cumulative.withheld(history, moment, key).to_pylist()
        for moment in ("2024", "2025")
        for key in ("age", "area", "sex")
    }
    assert found == {
        ("2024", "age"): ["u001"],
        ("2024", "area"): ["u000", "u003"],
        ("2024", "sex"): ["u000", "u001", "u002"],
        ("2025", "age"): [],
        ("2025", "area"): ["u001"],
        ("2025", "sex"): [],
    }


def test_units_are_filtered_by_what_was_withheld() -> None:
    """S08: subject ids as they are kept, also where there is no history."""
    ids = pa.array([bytes([number]) * 16 for number in range(3)], pa.binary(16))
    one = shown("one", "2024", SEXES, unit=ids, sex=[SUPPRESSED, "M", SUPPRESSED])
    for history, left in [([], 3), ([one], 1), ([one, one], 1)]:
        hidden = cumulative.withheld(history, "2024", "sex")
        assert len(hidden) == len(pc.unique(hidden))
        assert pc.sum(pc.invert(pc.is_in(ids, value_set=hidden))).as_py() == left


# --- against the promise -------------------------------------------------------------------------

KINDS = {"age": "abc", "sex": "MV", "area": "ABC", "work": "pq"}


@st.composite
def projects(draw: st.DrawFn) -> list[tuple[Displayed, Scenario, int]]:
    """A few releases of one project, each with keys, changing keys, moments and k of its own."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size, year, found = draw(st.integers(5, 70)), 0, []
    presence, missing = draw(st.sampled_from([1, 0.9, 0.6])), draw(st.sampled_from([0, 0.04]))
    people = {key: rng.choice(list(KINDS[key]), size) for key in KINDS}
    disputed = draw(st.booleans())
    for number in range(draw(st.integers(1, 4))):
        year += int(number > 0 and draw(st.booleans()))
        for key in ("area", "work"):
            moved = rng.choice(list(KINDS[key]), size)
            people[key] = np.where(rng.random(size) < 0.1, moved, people[key])
        keys = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3, unique=True))
        changing = [
            key for key in keys if key in ("area", "work") and not (disputed and rng.random() < 0.4)
        ]
        scenario = Scenario(known=keys, changing=changing, moments=draw(st.integers(1, 2)))
        k = draw(st.integers(3, 5))
        there = rng.permutation(np.flatnonzero(rng.random(size) < presence))
        columns = {
            key: np.where(rng.random(size) < missing, NOT_IN_SOURCE, people[key])[there].tolist()
            for key in keys
        }
        units = [f"u{at:03d}" for at in there.tolist()]
        release = shown(f"r{number}", f"m{year}", scenario, k, unit=units, **columns)
        found.append((release, scenario, k))
    return found


@settings(max_examples=150)
@given(projects())
def test_other_keys_keep_the_promise(project: list[tuple[Displayed, Scenario, int]]) -> None:
    """S08, V07: agrees with the slow test, release after release, and what `suppress` calls safe is
    safe by the slow one too; nothing but the release's own keys is withheld."""
    history: list[Displayed] = []
    for current, scenario, k in project:
        found = assess(history, current, scenario, k)
        alone, together = Naive(history, current, scenario, k).failing()
        assert found.failing_alone == len(alone)
        assert found.passes == (not alone and not together)
        mended = suppress(history, current, scenario, k, 1.0)
        alone, together = Naive(history, mended.displayed, scenario, k).failing()
        assert mended.after.passes == (not alone and not together)
        assert mended.values.keys() == set(scenario.known)
        assert mended.displayed.table.column_names == current.table.column_names
        assert mended.units == sum(
            SUPPRESSED in row.values() for row in mended.displayed.table.to_pylist()
        )
        if mended.after.passes:
            history.append(mended.displayed)


@settings(max_examples=60)
@given(projects())
def test_every_key_is_tested_and_only_the_release_s_own_are_withheld(
    project: list[tuple[Displayed, Scenario, int]],
) -> None:
    """And k is no less than any release's."""
    *earlier, (current, scenario, k) = project
    history = [release for release, _, _ in earlier]
    panel = Panel(history, current, scenario, k)
    keys = {*panel.fixed, *(column.key for columns in panel.changing for column in columns)}
    assert keys == {key for release in [*history, current] for key in release.keys}
    assert panel.k == max(k for _, _, k in project)
    assert panel.withheld() == dict.fromkeys(scenario.known, 0)
