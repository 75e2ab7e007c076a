"""Suppression touches few units, and gives back what it needn't have withheld."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.coarsening import SUPPRESSED
from policies.cumulative import Displayed, assess, suppress
from policies.panel import Flags, Panel
from policies.permits import Scenario
from policies.restoring import give_back
from policies.withholding import withhold
from tests.policies.naive import Naive
from tests.policies.population import SCENARIO
from tests.policies.test_cumulative import panels, people, shown, waves


def test_who_is_touched_anyway_fills_up() -> None:
    """Eight moved to where nobody is like them and lose their home; two crossed into a class, and
    need three more: those three of the eight that the others can do without."""
    old = [row for at in range(8) for row in people(f"z{at}", 6, "old", f"z{at}")]
    young = people("a", 60, "young", "x")
    moved = [(unit, age, f"z{at}") for at, (unit, age, _) in enumerate(young[:8])]
    crossed = [(unit, "middle", "x") for unit, _, _ in young[8:10]]
    middle = people("m", 10, "middle", "x")
    one = shown("one", "2024", young + middle + old)
    two = shown("two", "2025", moved + crossed + young[10:] + middle + old, year=1)
    found = suppress([one], two, SCENARIO, 5, 1.0)
    assert found.after.passes
    assert found.units == 8 + 2
    hidden = {
        row["unit"] for row in found.displayed.table.to_pylist() if row["age_class"] == SUPPRESSED
    }
    assert len(hidden) == 5
    assert {unit for unit, _, _ in crossed} < hidden
    assert len(hidden & {unit for unit, _, _ in moved}) == 3


def test_fillers_are_those_that_their_groups_can_do_without() -> None:
    """Two of ten crossed and need three more. One of the eight others moved away: it goes first,
    so that five remain at either moment."""
    ten, many = people("a", 10, "young", "x"), people("b", 30, "young", "y")
    one = shown("one", "2024", ten + many)
    away = [("a007", "young", "y")]
    crossed = [(unit, "middle", "x") for unit, _, _ in ten[8:]]
    middle = people("m", 10, "middle", "x")
    two = shown("two", "2025", ten[:7] + away + crossed + many + middle, year=1)
    found = suppress([one], two, SCENARIO, 5, 1.0)
    assert found.after.passes
    assert found.units == 5
    rows = {row["unit"]: row for row in found.displayed.table.to_pylist()}
    assert rows["a007"]["age_class"] == SUPPRESSED


def test_the_demo_s_second_wave_touches_few() -> None:
    """S08: well below the 10% that its permit allows."""
    shares = []
    for seed in range(4):
        _, one, two, _ = waves(seed)
        first = suppress([], one, SCENARIO, 5, 0.1).displayed
        shares.append(suppress([first], two, SCENARIO, 5, 0.1).share)
    assert max(shares) <= 0.07


# --- giving back ---------------------------------------------------------------------------------


def full(panel: Panel, number: int) -> list[Flags]:
    """Everything about some units that are here, by column."""
    flags = np.zeros(len(panel.here), bool)
    flags[np.flatnonzero(panel.here)[:number]] = True
    return [flags.copy() for _ in panel.columns()]


def test_what_was_withheld_in_vain_is_given_back() -> None:
    one = shown("one", "2024", people("a", 30, "young", "x") + people("b", 20, "old", "x"))
    panel = Panel(
        [one], shown("two", "2025", one.table.to_pandas().to_numpy().tolist()), SCENARIO, 5
    )
    nothing = panel.hidden()
    panel.restore(full(panel, 10))
    assert panel.passes()
    give_back(panel, nothing)
    assert not panel.silent().any()


def test_what_has_to_stay_withheld_stays_so() -> None:
    """A value withheld by an earlier release about the same moment; and its companions with it."""
    one = shown("one", "2024", people("a", 30, "young", "x"))
    panel = Panel([one], shown("two", "2025", people("a", 30, "young", "x")), SCENARIO, 5)
    kept = full(panel, 1)
    panel.restore(full(panel, 9))
    give_back(panel, kept)
    assert panel.passes()
    assert panel.silent()[0]
    assert panel.silent().sum() == 5


def test_who_left_is_heeded_when_giving_back() -> None:
    """All who stay could be told from the two that left, but for the three that are silent."""
    one = shown("one", "2024", people("a", 40, "young", "x"))
    two = shown("two", "2025", people("a", 38, "middle", "x"), year=1)
    panel = Panel([one], two, SCENARIO, 5)
    nothing = panel.hidden()
    panel.restore(full(panel, 12))
    assert panel.passes()
    give_back(panel, nothing)
    assert panel.passes()
    assert panel.silent().sum() == 5


@settings(max_examples=80)
@given(panels(), st.integers(0, 2**32), st.sampled_from([0.1, 0.5]))
def test_giving_back_never_breaks_the_assessment(
    panel_of: tuple[list[Displayed], Scenario, int], seed: int, share: float
) -> None:
    """Whatever was withheld before: values are only given back, none that has to stay withheld, and
    both tests go on passing."""
    (*history, current), scenario, k = panel_of
    rng = np.random.default_rng(seed)
    panel = Panel(history, current, scenario, k)
    panel.restore([panel.here & (rng.random(len(panel.here)) < share) for _ in panel.columns()])
    withhold(panel)
    if not panel.passes():
        return
    before = panel.hidden()
    kept = [flags & (rng.random(len(flags)) < 0.1) for flags in before]
    give_back(panel, kept)
    for was, now, stays in zip(before, panel.hidden(), kept, strict=True):
        assert not (now & ~was).any()
        assert not (stays & ~now).any()
    mended = panel.displayed()
    assert assess(history, mended, scenario, k).passes
    assert Naive(history, mended, scenario, k).failing() == (set(), set())


@settings(max_examples=40)
@given(panels())
def test_no_unit_is_touched_in_vain(panel_of: tuple[list[Displayed], Scenario, int]) -> None:
    """Unless a release tells nothing about those it looked like, a unit that is touched can't be
    spared by itself."""
    (*history, current), scenario, k = panel_of
    panel = Panel(history, current, scenario, k)
    withhold(panel)
    if not panel.passes():
        return
    profile, told = panel.fixed_profile(), panel.here.copy()
    for look in panel.looks(profile):
        told[look.members[~look.told]] = False
    mended = panel.hidden()
    for unit in np.flatnonzero(panel.silent() & told).tolist():
        panel.restore(mended)
        for column in panel.columns():
            column.hidden[unit] = False
        assert not panel.passes()


@pytest.mark.parametrize("moments", [1, 2])
def test_a_later_release_about_the_same_moment_keeps_it_so(moments: int) -> None:
    """Giving back is done once: the third wave shows what the second did, no more."""
    scenario = SCENARIO.model_copy(update={"moments": moments})
    _, one, two, three = waves(5, 1500)
    history = [suppress([], one, scenario, 4, 1.0).displayed]
    history.append(suppress(history, two, scenario, 4, 1.0).displayed)
    third = suppress(history, three, scenario, 4, 1.0)
    assert third.after.passes
    assert third.displayed.table.equals(history[-1].table)
