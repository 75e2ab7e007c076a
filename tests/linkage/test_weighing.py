"""Which pairs of identity records are compared, and what they weigh where little is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage import rules
from linkage.identities import Identities
from linkage.kernel.blocks import block, pairs_of
from linkage.kernel.columns import Encoded, Side
from linkage.nearby import COUNTED, Nearby
from linkage.parameters import Plan
from linkage.weighing import BEHIND, ENOUGH, Frequencies, Weighing, _Kinds
from tests.linkage.helpers import Row, person
from tests.linkage.people import Clerk, Town
from tests.linkage.test_identities import identities

PLAN = Plan.default()
HERE = person("Luna", "Peeters", "2004-03-12")
ELSEWHERE = {"street": "Molenstraat", "house_number": "3", "postcode": "2000"}


def near(made: Identities) -> Nearby:
    """A spine of the known ones of some records: all take part, without numbers, all different."""
    known = int((~made.delivered).sum())
    tallies = {part: np.full(len(made), min(known, 1)) for part in COUNTED}
    sums = {part: (float(known), float(known)) for part in COUNTED}
    return Nearby(None, known, known, (*rules.RULES, *rules.WIDE), known, tallies, {}, sums)


def weighing(
    made: Identities,
    needy: list[bool] | None = None,
    plan: Plan = PLAN,
    *,
    households: bool = True,
    people: int | None = None,
    shared: int | None = None,
) -> Weighing:
    """The pairs of some records; `shared`: how many of `people` have each value."""
    around, every = near(made), np.arange(len(made))
    counted = Frequencies.of(made, every, around, every)
    if people is not None and shared is not None:
        counts = {part: np.full(len(values), shared) for part, values in counted.counts.items()}
        usual = {part: (1e-3 * people**2, float(people) ** 2) for part in counts}
        counted = Frequencies(people, counts, usual)
    wanted = np.array(needy or [True] * len(made))
    return Weighing(made, counted, wanted, around, plan, households=households)


def candidates(*records: Row, needy: list[bool] | None = None, known: int = 0) -> int:
    return weighing(identities(*records, known=known), needy).candidates


def chance(one: Row, other: Row, **more: Any) -> float:
    """The probability that two records, the first of them the spine's, are one unit."""
    made = identities(one, other, known=1)
    found = weighing(made, **more).weighed(np.array([0]), np.array([1]), same_number=False)
    return float(found.probability[0])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            {"first_name": "Peeters", "last_name": "Luna", "birth_date": None}, id="swapped"
        ),
        pytest.param({"first_name": "Luna Maria", "birth_date": None}, id="a second name"),
        pytest.param({"first_name": "Lunaa", "birth_date": "2004-12-03"}, id="date swapped"),
        pytest.param({"last_name": "Claes"}, id="another last name"),
        pytest.param({"first_name": "Luuna", "last_name": "Pieters"}, id="both misspelt"),
    ],
)
def test_what_is_worth_comparing_is_found(other: dict[str, str | None]) -> None:
    assert candidates(HERE, HERE | other | ELSEWHERE) > 0


def test_an_address_alone_is_enough() -> None:
    assert candidates(HERE, person("Victor", "Claes", None)) == 1


def test_strangers_are_not_compared() -> None:
    assert candidates(HERE, person("Victor", "Claes", "1999-01-02", **ELSEWHERE)) == 0
    assert candidates({}, {}) == 0


def test_pairs_that_numbers_decide_are_left_out() -> None:
    assert candidates(HERE, HERE, HERE, needy=[False, False, False]) == 0
    assert candidates(HERE, HERE, needy=[True, True], known=2) == 0, "nothing is new"
    assert candidates(HERE, HERE, needy=[True, False], known=1) > 0


KIND = st.tuples(st.booleans(), st.booleans(), st.integers(-1, 2))


@given(st.lists(KIND, max_size=12))
def test_each_pair_that_may_matter_comes_once(records: list[tuple[bool, bool, int]]) -> None:
    """One of the two needs somebody, and one is new: once, in whatever order they come."""
    delivered, needy = (np.array([r[n] for r in records], np.bool_) for n in range(2))
    kinds = _Kinds.of(delivered, needy)
    keys = np.array([record[2] for record in records], np.int32)[kinds.record]
    side = Side(len(records), {"key": keys})
    blocked = block(Encoded(side, side, {}, {}, len(records)), ("key",), kinds.window)
    at, place = pairs_of(blocked, 0, len(blocked.a)) if blocked.candidates else ([], [])
    one, other = (kinds.record[rows] for rows in (blocked.a[at], blocked.b[place]))
    found = [tuple(sorted(pair)) for pair in zip(one.tolist(), other.tolist(), strict=True)]
    expected = {
        (a, b)
        for b in range(len(records))
        for a in range(b)
        if records[a][2] == records[b][2] >= 0
        and (delivered[a] or delivered[b])
        and (needy[a] or needy[b])
    }
    assert sorted(found) == sorted(expected)
    assert kinds.pairs(np.zeros(len(records), np.int64), 1)[0] == sum(
        bool((delivered[a] or delivered[b]) and (needy[a] or needy[b]))
        for b in range(len(records))
        for a in range(b)
    )


def test_a_value_with_too_many_candidates_is_left_out_and_counted() -> None:
    """A default value would else be compared with itself without end; the rest still counts."""
    crowd = [person(f"Luna{n}", "Peeters", "1970-01-02", house_number=str(n)) for n in range(12)]
    made = identities(*crowd, HERE, HERE | {"sex": "F"})
    found = weighing(made, plan=replace(PLAN, largest_block=65))
    assert found.skipped > 0
    assert weighing(made).skipped == 0
    pair = found.found(1)
    assert (12, 13) in zip(pair.left.tolist(), pair.right.tolist(), strict=True)


def test_few_candidates_are_weighed_as_usual() -> None:
    """A small delivery says too little about how people are written, or how many there are."""
    found = weighing(identities(HERE, HERE | ELSEWHERE, known=1))
    assert not found.learned
    told = found.told()
    assert told["matches"] / told["pairs"] == pytest.approx(1 / PLAN.smallest_population, rel=0.01)
    for levels in told["levels"].values():
        for kind in ("m", "h"):
            assert sum(level[kind] for level in levels.values()) == pytest.approx(1.0)


def test_a_rare_value_proves_more_than_a_common_one() -> None:
    bare = {"birth_date": None, "street": None, "house_number": None, "postcode": None}
    one = HERE | bare
    assert chance(one, one, people=100_000, shared=2000) < 0.1
    assert chance(one, one, people=100_000, shared=2) > 0.9


def test_what_a_household_shares_is_no_proof() -> None:
    """Twins: address, last name and birth date are the same."""
    twin = HERE | {"first_name": "Victor"}
    assert chance(HERE, twin) < 0.5 < chance(HERE, twin, households=False)
    assert chance(HERE, HERE) > 0.99
    assert chance(HERE, twin | {"birth_date": "2007-11-28"}) < 0.1


def test_missing_is_no_evidence() -> None:
    man, woman = HERE | {"sex": "M", "first_name": None}, HERE | {"sex": "F", "first_name": None}
    assert chance(man, HERE | {"first_name": None}) > chance(man, woman)
    assert chance(man, man) > chance(man, HERE | {"first_name": None})


def test_a_common_number_that_proves_nothing_is_evidence() -> None:
    made = identities(HERE, HERE | {"first_name": "Lunette", **ELSEWHERE}, known=1)
    some, pair = weighing(made), (np.array([0]), np.array([1]))
    without = some.weighed(*pair, same_number=False).probability[0]
    assert some.weighed(*pair, same_number=True).probability[0] > max(without, 0.99)
    own = some.own(np.array([False, True]))
    assert 0.9 < own[0] < own[1]


@pytest.fixture(scope="module")
def town() -> Identities:
    """Everybody of a town as two waves write them down, nobody with a number."""
    clerk = Clerk(Town(400, 31), 31)
    tables = [extract.delivery.records for extract in clerk.waves()]
    rows = [row for table in tables[:2] for row in table.to_pylist()]
    return identities(*[{**row, "national_number": None} for row in rows])


def test_many_candidates_are_learned_from(town: Identities) -> None:
    """S26: the weights fit the data, and add up; workers change no pair."""
    found = weighing(town)
    assert found.learned
    assert found.candidates >= ENOUGH
    told = found.told()
    assert told["matches"] > BEHIND
    first = told["levels"]["first_name"]
    assert 0.6 < first["exact"]["m"] < 1.0
    assert first["exact"]["u"] < 0.05 < first["different"]["h"]
    assert 0.9 < found.coverage <= 1.0
    one, two = found.found(1), weighing(town).found(3)
    for name in ("left", "right", "probability", "agreeing"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
