"""S39: what a recipient that is itself a holder finds with its own file."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from policies.coarsening import MISSING_CODES, SUPPRESSED
from policies.joinback import join_back

K = 5


def release(seed: int, persons: int = 300) -> tuple[pa.Table, pa.Table, pa.Table]:
    """A table of units with suppressed values, wages by quarter of two thirds of them, and what
    their payer knows of the keys: nothing of some, something else of others."""
    rng = np.random.default_rng(seed)
    units = np.array([f"u{number:04d}" for number in range(persons)])
    age, place = rng.choice(["young", "old"], persons), rng.choice(["x", "y", "z"], persons)
    shown = pa.table(
        {
            "unit": units,
            "age": np.where(rng.random(persons) < 0.1, SUPPRESSED, age),
            "place": np.where(rng.random(persons) < 0.05, SUPPRESSED, place),
        }
    )
    paid = rng.integers(0, persons * 2 // 3, 400)
    wages = pa.table(
        {"unit": units[paid], "wage": rng.choice([1000, 2000, 3000], 400, p=[0.8, 0.15, 0.05])}
    )
    known = [str(one) if rng.random() < 0.9 else None for one in place]
    said = [one if rng.random() < 0.95 else "x" for one in known]
    return shown, wages, pa.table({"unit": units, "place": pa.array(said, pa.string())})


def naive(shown: pa.Table, wages: pa.Table, knows: pa.Table) -> dict[str, int]:
    """Candidates of every unit with a wage, person by person."""
    profiles: dict[str, Any] = {}
    for row in wages.to_pylist():
        profiles.setdefault(row["unit"], Counter())[row["wage"]] += 1
    places = {row["unit"]: row["place"] for row in shown.to_pylist()}
    own = {row["unit"]: row["place"] for row in knows.to_pylist()}

    def could_be(person: str, other: str) -> bool:
        fits = own[person] is None or places[other] in (own[person], *MISSING_CODES)
        return fits and profiles[person] == profiles[other]

    return {person: sum(could_be(person, other) for other in profiles) for person in profiles}


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_those_that_a_person_would_find(seed: int) -> None:
    """S39: held against a search person by person: rows hang together by the pseudonym, what is
    withheld excludes nobody, what isn't known isn't compared."""
    shown, wages, knows = release(seed)
    found = join_back("payer", shown, {"wages": wages}, knows, K)
    slow = {unit: count for unit, count in naive(shown, wages, knows).items() if count}
    assert found.units == len(set(wages["unit"].to_pylist()))
    assert found.smallest == min(slow.values())
    assert found.failing == sum(count < K for count in slow.values()) > 0
    assert found.example is not None
    assert found.example.units == found.smallest
    assert found.example.labels.keys() == {"place", "wages.wage"}
    assert "payer receives the release and delivered wages" in found.reason()
    assert found.spelled().startswith(f"For instance, {found.smallest} of them: place ")
    assert "example" not in found.to_doc()


def test_the_fewest_columns_are_left_out() -> None:
    """One column alone points people out; without it everybody has enough who look alike."""
    shown = pa.table({"unit": [f"u{n:02d}" for n in range(20)], "place": ["x", "y"] * 10})
    rows = pa.table(
        {
            "unit": shown["unit"],
            "status": ["at work"] * 20,
            "wage": [1000.0] * 18 + [2000.0, 3000.0],
            "wage_status": ["observed"] * 20,
        }
    )
    found = join_back("payer", shown, {"work": rows}, shown, K)
    assert (found.failing, found.leave_out) == (2, ("work.wage",))
    assert "--leave-out work.wage" in found.next_step()
    without = {"work": rows.drop_columns(["wage", "wage_status"])}
    assert join_back("payer", shown, without, shown, K).passes


def test_keys_are_left_out_where_columns_dont_do_and_nothing_where_nothing_does() -> None:
    shown = pa.table({"unit": [f"u{n}" for n in range(12)], "place": ["x"] * 10 + ["y"] * 2})
    rows = pa.table({"unit": shown["unit"], "status": ["at work"] * 12})
    knows = shown.select(["unit", "place"])
    found = join_back("payer", shown, {"work": rows}, knows, K)
    assert (found.failing, found.smallest, found.leave_out) == (2, 2, ("place",))
    assert "--coarser place=withheld" in found.next_step()
    few = join_back("payer", shown.slice(9), {"work": rows.slice(9)}, knows, K)
    assert few.leave_out is None
    assert "leave out its datasets, or name no recipient of payer" in few.next_step()


def test_an_organisation_whose_units_arent_there_finds_nobody() -> None:
    shown = pa.table({"unit": ["u1"], "place": ["x"]})
    rows = pa.table({"unit": pa.array([], pa.string()), "status": pa.array([], pa.string())})
    found = join_back("payer", shown, {"work": rows}, shown, K)
    assert found.passes
    assert (found.units, found.smallest, found.example, found.leave_out) == (0, 0, None, None)
    assert found.spelled() == ""
