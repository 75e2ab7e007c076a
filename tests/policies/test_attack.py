"""An intruder with a register tries to name rows: what it gets right stays within the measures."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from policies import attack, evidence
from policies.attack import Attack, simulate
from policies.coarsening import MISSING_CODES, SUPPRESSED
from policies.cumulative import Displayed, suppress
from tests.policies.population import SCENARIO
from tests.policies.test_cumulative import waves

KEYS = ["age_class", "arrondissement"]


def drawn(released: pa.Table, register: pa.Table, rng: np.random.Generator) -> tuple[float, float]:
    """The same intruder in plain Python, who really draws: shares right and sure."""
    people = register.to_pylist()
    right = sure = 0
    for row in released.to_pylist():
        could_be = [
            one["unit"]
            for one in people
            if all(
                row[key] in MISSING_CODES or one[key] in MISSING_CODES or row[key] == one[key]
                for key in KEYS
            )
        ]
        sure += len(could_be) == 1
        right += bool(could_be) and could_be[int(rng.integers(0, len(could_be)))] == row["unit"]
    return right / released.num_rows, sure / released.num_rows


@pytest.mark.parametrize("withheld", [0.0, 0.2])
def test_the_expected_share_is_that_of_an_intruder_who_draws(withheld: float) -> None:
    """S08: held against one who goes through the register person by person and draws, twenty
    times."""
    rng = np.random.default_rng(3)
    _, one, _, _ = waves(3, 300)
    register = one.table
    hidden = rng.random(300) < withheld
    homes = np.where(hidden, SUPPRESSED, np.array(register["arrondissement"].to_pylist()))
    released = register.set_column(2, "arrondissement", pa.array(homes)).slice(50)
    found = attack.attack("test", released, register)
    tried = np.array([drawn(released, register, rng) for _ in range(20)])
    assert found.right == pytest.approx(tried[:, 0].mean(), abs=0.03)
    assert found.sure == tried[0, 1]
    assert (found.register, found.rows) == (300, 250)


@pytest.mark.parametrize("seed", range(3))
def test_an_intruder_does_no_better_than_the_measures_state(seed: int) -> None:
    """S08: a release that passed with k = 5, and a second wave that passed with it: of no row is
    the intruder sure, and it is right about no more rows than the prosecutor's risk; errors in the
    register make it worse off, and never right when sure more often than by chance allows."""
    _, one, two, _ = waves(seed)
    first = suppress([], one, SCENARIO, 5, 0.1)
    second = suppress([first.displayed], two, SCENARIO, 5, 0.1)
    alone, wrong = simulate([], first.displayed, one.table, ["arrondissement"], 1, seed=1)
    stated = attack.bounds(first.after.sizes)
    assert alone.sure == 0
    assert alone.right_when_sure is None
    assert alone.right <= stated["prosecutor_mean"] <= stated["prosecutor_max"] <= 0.2
    assert wrong.right < alone.right
    assert wrong.errors == attack.ERRORS
    tries = simulate([first.displayed], second.displayed, two.table, ["arrondissement"], 1, seed=1)
    assert [one.name for one in tries] == [
        "this release, exact", "this release, with errors",
        "all releases, exact", "all releases, with errors",
    ]  # fmt: skip
    together = tries[2]
    assert together.sure == 0
    assert together.right <= attack.bounds(second.after.sizes_together)["prosecutor_max"] <= 0.2
    assert together.right > tries[0].right
    assert together.knows == ("age_class (first)", "age_class (second)", "arrondissement (second)")
    assert tries == simulate(
        [first.displayed], second.displayed, two.table, ["arrondissement"], 1, seed=1
    )


def test_an_intruder_is_sure_where_nothing_protects() -> None:
    """The attack finds what it should: exact keys name nearly everybody."""
    units = [f"u{number:03d}" for number in range(200)]
    exact = pa.table({"unit": units, "birth": [f"d{number}" for number in range(200)]})
    found = attack.attack("exact", exact, exact)
    assert (found.right, found.sure, found.right_when_sure) == (1.0, 1.0, 1.0)
    rng = np.random.default_rng(1)
    wrong = attack.attack("wrong", exact, exact, errors=0.3, rng=rng)
    assert wrong.right == pytest.approx(0.7, abs=0.1)
    assert wrong.right_when_sure is not None
    assert 0.8 < wrong.right_when_sure < 1  # who has another's value is taken for that other
    assert found.to_doc()["right_when_sure"] == 1.0


def test_nobody_is_named_where_nobody_is() -> None:
    nobody = pa.table({"unit": pa.array([], pa.string()), "birth": pa.array([], pa.string())})
    somebody = pa.table({"unit": ["a"], "birth": ["d"]})
    empty: Attack = attack.attack("nobody", nobody, somebody)
    assert (empty.right, empty.sure, empty.right_when_sure) == (0.0, 0.0, None)
    assert attack.attack("no register", somebody, nobody).right == 0.0
    assert attack.bounds({}) == {"prosecutor_max": 0.0, "prosecutor_mean": 0.0}


# --- what else the report tells ------------------------------------------------------------------


def shown(release: str, rows: list[tuple[str, str]], **columns: Any) -> Displayed:
    table = pa.table({"unit": [unit for unit, _ in rows], "place": [label for _, label in rows]})
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return Displayed(release, release, table)


def test_changes_since_the_last_release_hide_small_counts() -> None:
    before = shown("one", [(f"u{n:02d}", "x") for n in range(20)], old=["o"] * 20)
    rows = [(f"u{n:02d}", "y" if n < 13 else SUPPRESSED) for n in range(3, 30)]
    found = evidence.changes(before, shown("two", rows, new=["n"] * 27), 5)
    assert found["units"] == [20, 27]
    assert (found["joined"], found["left"]) == (10, None)
    assert found["changed"] == {"place": 17}
    assert found["withheld"] == [0, 17]
    assert (found["keys_shown_no_more"], found["keys_shown_first"]) == (["old"], ["new"])
    same = evidence.changes(before, before, 5)
    assert (same["joined"], same["left"], same["changed"]) == (0, 0, {"place": 0, "old": 0})


def test_measures_and_diversity_are_those_of_the_tables_that_leave() -> None:
    """S08: k on the table of units; l and t of sensitive columns of the rows."""
    units = shown("one", [(f"u{n:02d}", "x" if n < 10 else "y") for n in range(20)])
    assert evidence.measures(units, 5)["k"] == 10
    rows = pa.table(
        {
            "unit": [f"u{n:02d}" for n in range(20)],
            "status": ["at work"] * 10 + ["at work", "not"] * 5,
            "wage": pa.array([None] * 10 + [1.0] * 10),
            "wage_status": ["_not_in_source"] * 10 + ["observed"] * 10,
        }
    )
    told = evidence.diversity(units, {"work": rows, "none": rows.slice(0, 0)}, ["status", "wage"])
    assert [(one["dataset"], one["variable"], one["l_distinct"]) for one in told] == [
        ("work", "status", 1), ("work", "wage", 1),
    ]  # fmt: skip
    assert told[0]["t"] == pytest.approx(0.25)
    assert evidence.diversity(units, {"work": rows}, ["other"]) == []


def test_the_order_of_rows_changes_no_figure() -> None:
    """V14: a package that is made again is the same; its rows were joined in another order."""
    _, one, two, _ = waves(4)
    first, second = suppress([], one, SCENARIO, 5, 0.1), suppress([], two, SCENARIO, 5, 0.1)
    order = pa.array(np.random.default_rng(1).permutation(two.table.num_rows))
    tries = [
        simulate([first.displayed], second.displayed, table, ["arrondissement"], 1, seed=1)
        for table in (two.table, two.table.take(order))
    ]
    assert tries[0] == tries[1]
