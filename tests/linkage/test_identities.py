"""How alike two identity records are, and that it doesn't matter which comes first."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.identities import ABSENT, FIELDS, Identities, birth_dates, build
from linkage.kernel.levels import BirthDate
from linkage.standardise import standardise
from tests.linkage.helpers import ADDRESS as HOME
from tests.linkage.helpers import Row

BORN = BirthDate()
LUNA = ("Luna", "Peeters")


def identities(*records: Row, known: int = 0, unit_type: str = "person") -> Identities:
    """Identity records; the first `known` are the spine's, each of another subject."""
    names = {"last_name": "company_name"} if unit_type == "enterprise" else {}
    columns = {
        field: standardise(
            names.get(field, field), pa.array([r.get(field) for r in records], pa.string())
        )
        for field in FIELDS
    }
    subject = np.where(np.arange(len(records)) < known, np.arange(len(records)), ABSENT)
    return build(pa.table(columns), subject, unit_type, {})


def levels(one: Row, other: Row, *context: Row, unit_type: str = "person") -> dict[str, str]:
    """The level of every field between two records, in words."""
    made = identities(one, other, *context, unit_type=unit_type)
    found = made.compare(np.array([0]), np.array([1]))
    return {one.name: one.words[found[one.name][0]] for one in made.comparisons}


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("2004-03-12", "2004-03-12", "exact"),
        ("2004-03-12", "2004-12-03", "swapped"),
        ("2004-03-12", "2004-03-13", "digit"),
        ("2004-03-12", "2004-03-21", "digit"),
        ("2004-03-12", "2014-03-12", "digit"),
        ("2004-03-12", "2040-03-12", "digit"),
        ("2004-03-12", "2004-03-27", "near"),
        ("2000-03-12", "1999-03-12", "near"),
        ("2004-03-12", "1974-03-12", "generation"),
        ("2004-03-12", "2004-01-01", "vague"),
        ("2004-03-12", "2004-00-00", "vague"),
        ("2004-03-12", "2004-03-00", "vague"),
        ("2004-03-12", "2005-00-00", "different"),
        ("2004-03-12", "2001-07-25", "different"),
        ("2004-03-12", None, "missing"),
    ],
)
def test_dates(one: str, other: str | None, level: str) -> None:
    codes = birth_dates(pa.array([one, other], pa.string()))
    assert BORN.words[BORN.between(codes[:1], codes[1:])[0]] == level
    assert BORN.words[BORN.between(codes[1:], codes[:1])[0]] == level


@given(st.dates(date(1950, 1, 1), date(2020, 1, 1)), st.dates(date(1950, 1, 1), date(2020, 1, 1)))
def test_dates_compare_the_same_either_way(one: date, other: date) -> None:
    a, b = (birth_dates(pa.array([day.isoformat()])) for day in (one, other))
    assert BORN.between(a, b)[0] == BORN.between(b, a)[0]
    assert (BORN.words[BORN.between(a, b)[0]] == "exact") == (one == other)


@pytest.mark.parametrize(
    ("one", "other", "first", "last"),
    [
        (LUNA, ("luna", "PEETERS"), "exact", "exact"),
        (("Anne-Marie", "Peeters"), ("Annemarie", "Peeters"), "exact", "exact"),
        (LUNA, ("Luana", "Peters"), "similar", "similar"),
        (("Axl", "Peeters"), ("Alx", "Peeters"), "similar", "exact"),
        (("Jef", "Peeters"), ("Jf", "Peeters"), "similar", "exact"),
        (("Els", "Peeters"), ("Elisabeth", "Peeters"), "nickname", "exact"),
        (LUNA, ("L.", "Peeters"), "initial", "exact"),
        (LUNA, ("Luna Maria", "Claes"), "head", "different"),
        (("Maria", "Peeters"), ("Luna Maria", "Peeters"), "second", "exact"),
        (LUNA, ("Victor", "Peeters-Claes"), "different", "part"),
        (("Luna", "Van den Broeck"), ("Luna", "Broeck"), "exact", "part"),
        (LUNA, (None, "Peeters"), "missing", "exact"),
        (LUNA, ("Peeters", "Luna"), "exact", "exact"),
        (LUNA, ("Luna", None), "exact", "missing"),
    ],
)
def test_names(one: Any, other: Any, first: str, last: str) -> None:
    records = [{"first_name": names[0], "last_name": names[1]} for names in (one, other)]
    for a, b in (records, records[::-1]):
        found = levels(a, b)
        assert (found["first_name"], found["last_name"]) == (first, last)


def test_names_across_of_which_one_is_misspelt() -> None:
    """Which of the two is the first name can't be told from one pair."""
    one, other = ({"first_name": f, "last_name": s} for f, s in (LUNA, ("Peters", "Luna")))
    for a, b in ((one, other), (other, one)):
        found = levels(a, b)
        assert {found["first_name"], found["last_name"]} == {"exact", "similar"}


def test_two_names_in_their_own_right_are_no_misspelling() -> None:
    luna, lina = ({"first_name": name, "last_name": "Peeters"} for name in ("Luna", "Lina"))
    assert levels(luna, lina)["first_name"] == "similar"
    others = [{"first_name": n, "last_name": f"M{e}s"} for n in ("Luna", "Lina") for e in "aei"]
    assert levels(luna, lina, *others)["first_name"] == "other_name"
    many = [{"first_name": "Luna", "last_name": f"M{n}s"} for n in range(200)]
    assert levels(luna, lina, *others, *many)["first_name"] == "similar", (
        "too rare beside the other"
    )


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, "exact"),
        ({"street": "Kerkstr."}, "exact"),
        ({"street": "Kerktsraat"}, "exact"),
        ({"house_number": "12 bus 3"}, "exact"),
        ({"house_number": "14"}, "street"),
        ({"house_number": None}, "street"),
        ({"street": "Molenstraat"}, "postcode"),
        ({"street": None, "house_number": None}, "postcode"),
        ({"postcode": "2000"}, "elsewhere"),
        ({"postcode": "2000", "street": "Molenstraat"}, "different"),
        ({"postcode": "9050", "street": "Molenstraat"}, "region"),
        ({"street": None, "house_number": None, "postcode": None}, "missing"),
    ],
)
def test_addresses(change: Row, level: str) -> None:
    for a, b in ((HOME, HOME | change), (HOME | change, HOME)):
        assert levels(a, b)["address"] == level


def test_two_boxes_of_one_building_are_not_one_home() -> None:
    one, other = (HOME | {"house_number": f"12 bus {box}"} for box in (1, 2))
    assert levels(one, other)["address"] == "building"


def test_a_legal_form_is_no_part_of_an_enterprises_name() -> None:
    one, other = {"last_name": "Bakkerij Maes nv"}, {"last_name": "S.A. BAKKERIJ MAES"}
    found = levels(one, other, unit_type="enterprise")
    assert (found["company_name"], found["legal_form"]) == ("exact", "exact")
    found = levels(one, {"last_name": "Bakkerij Maes BVBA"}, unit_type="enterprise")
    assert (found["company_name"], found["legal_form"]) == ("exact", "different")


def test_what_nobody_says_is_not_compared() -> None:
    assert set(levels({"first_name": "Luna"}, {"first_name": "Lina"})) == {"first_name"}
    assert levels({}, {}) == {}


FIELD = st.sampled_from(["Luna", "Lina", "Lun", "Peeters", "Peters", "Van Peeters", "Thomas", None])


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "first_name": FIELD,
                "last_name": FIELD,
                "birth_date": st.sampled_from(["2004-03-12", "2004-12-03", "2004-00-00", None]),
                "sex": st.sampled_from(["M", "F", None]),
                "street": st.sampled_from(["Kerkstraat", "Kerkstrat", "Molenstraat", None]),
                "house_number": st.sampled_from(["1", "1 bus 2", "1 bus 3", None]),
                "postcode": st.sampled_from(["9000", "2000", None]),
            }
        ),
        min_size=2,
        max_size=6,
    )
)
def test_comparing_is_symmetric(records: list[Row]) -> None:
    made = identities(*records)
    left, right = np.array([0]), np.array([1])
    forth, back = made.compare(left, right), made.compare(right, left)
    assert {f: c[0] for f, c in forth.items()} == {f: c[0] for f, c in back.items()}
