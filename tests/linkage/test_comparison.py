"""How alike two values are, and that it doesn't matter which comes first."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.comparison import ADDRESS, DATE, LEVELS, addresses, compare, dates, likeness, one_slip
from linkage.corroboration import uses_as_first_name
from linkage.identities import ABSENT, FIELDS, Dates, Identities, build
from linkage.standardise import standardise
from tests.linkage.helpers import ADDRESS as HOME
from tests.linkage.helpers import Row


def identities(*records: Row) -> Identities:
    """Identity records of persons, as if all came in one delivery."""
    columns = {
        field: standardise(field, pa.array([r.get(field) for r in records], pa.string()))
        for field in FIELDS
    }
    return build(
        pa.table(columns),
        np.full(len(records), ABSENT),
        number="national_number",
        conversions={},
    )


def levels(one: Row, other: Row, *context: Row) -> dict[str, str]:
    """The level of every field between two records, in words."""
    made = identities(one, other, *context)
    left, right = np.array([0]), np.array([1])
    pairs = compare(made, made.values(), left, right, uses_as_first_name(made))
    return {field: LEVELS[field][codes[0]] for field, codes in pairs.levels.items()}


def born(*texts: str) -> Dates:
    parts = np.array([[int(part) for part in text.split("-")] for text in texts]).T
    return Dates(*parts)


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
        ("2004-03-12", "1974-03-12", "different"),
        ("2004-03-12", "2004-01-01", "same_year"),
        ("2004-03-12", "2004-00-00", "same_year"),
        ("2004-03-12", "2004-03-00", "same_year"),
        ("2004-03-12", "2004-05-00", "different"),
        ("2004-03-12", "2005-00-00", "different"),
        ("2004-03-12", "0000-00-00", "missing"),
        ("2004-03-12", "2001-07-25", "different"),
    ],
)
def test_dates(one: str, other: str, level: str) -> None:
    assert DATE[dates(born(one), born(other))[0]] == level
    assert DATE[dates(born(other), born(one))[0]] == level


@given(st.dates(date(1950, 1, 1), date(2020, 1, 1)), st.dates(date(1950, 1, 1), date(2020, 1, 1)))
def test_dates_compare_the_same_either_way(one: date, other: date) -> None:
    a, b = born(one.isoformat()), born(other.isoformat())
    assert dates(a, b)[0] == dates(b, a)[0]
    assert (DATE[dates(a, b)[0]] == "exact") == (one == other)


WORDS = st.text("ABCDEFGH", min_size=1, max_size=8)


@given(WORDS, WORDS)
def test_likeness_is_symmetric(one: str, other: str) -> None:
    texts = np.array([*sorted({one, other}), ""], dtype=object)
    a = np.array([list(texts).index(one)])
    b = np.array([list(texts).index(other)])
    assert likeness(texts, a, b)[0] == likeness(texts, b, a)[0]
    assert (likeness(texts, a, b)[0] == 1.0) == (one == other)
    assert one_slip(texts, a, b)[0] == one_slip(texts, b, a)[0]
    assert likeness(texts, a, np.array([ABSENT]))[0] == 0.0


@pytest.mark.parametrize(
    ("one", "other", "first", "last"),
    [
        (("Luna", "Peeters"), ("luna", "PEETERS"), "exact", "exact"),
        (("Luna", "Peeters"), ("Luana", "Peters"), "similar", "similar"),
        (("Luna", "Peeters"), ("L.", "Peeters"), "initial", "exact"),
        (("Luna", "Peeters"), ("Luna Maria", "Claes"), "initial", "different"),
        (("Luna", "Peeters"), ("Victor", "Peeters-Claes"), "different", "part"),
        (("Luna", "Van den Broeck"), ("Luna", "Broeck"), "exact", "part"),
        (("Luna", "Peeters"), (None, "Peeters"), "missing", "exact"),
        (("Luna", "Peeters"), ("Peeters", "Luna"), "exact", "exact"),
        (("Luna", "Peeters"), ("Peters", "Luna"), "exact", "similar"),
        (("Luna", "Peeters"), ("Luna", None), "exact", "missing"),
    ],
)
def test_names(one: Any, other: Any, first: str, last: str) -> None:
    met = [{"first_name": "Luna", "last_name": f"Mo{n}l"} for n in "aeiou"]
    records = [{"first_name": names[0], "last_name": names[1]} for names in (one, other)]
    for a, b in (records, records[::-1]):
        found = levels(a, b, *met)
        assert (found["first_name"], found["last_name"]) == (first, last)


def test_two_names_in_their_own_right_are_no_misspelling() -> None:
    luna, lina = ({"first_name": name, "last_name": "Peeters"} for name in ("Luna", "Lina"))
    assert levels(luna, lina)["first_name"] == "similar"
    others = [{"first_name": n, "last_name": f"M{e}s"} for n in ("Luna", "Lina") for e in "ae"]
    assert levels(luna, lina, *others)["first_name"] == "other_name"
    many = [
        {"first_name": "Luna", "last_name": f"M{a}{b}s"} for a in "aeiou" for b in "bcdfghklmnpr"
    ]
    assert levels(luna, lina, *others, *many)["first_name"] == "similar", (
        "too rare beside the other"
    )


def test_names_turned_in_both_records_are_read_the_right_way() -> None:
    """An equal surname where the first name should stand is no equal first name."""
    town = [
        {"first_name": first, "last_name": last}
        for first in ("Luna", "Victor")
        for last in ("Peeters", "Claes", "Maes")
    ]
    one = {"first_name": "Peeters", "last_name": "Luna"}
    other = {"first_name": "Peeters", "last_name": "Victor"}
    assert levels(one, other, *town)["first_name"] == "different"
    assert levels(one, other, *town)["last_name"] == "exact"


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, "same"),
        ({"street": "Kerkstr."}, "same"),
        ({"street": "Kerktsraat"}, "same"),
        ({"house_number": "12 bus 3"}, "same"),
        ({"house_number": "14"}, "same_street"),
        ({"house_number": None}, "same_street"),
        ({"street": "Molenstraat"}, "same_postcode"),
        ({"street": None, "house_number": None}, "same_postcode"),
        ({"postcode": "2000"}, "different"),
        ({"postcode": None}, "same_street"),
        ({"street": None, "house_number": None, "postcode": None}, "missing"),
        ({"street": "Molenstraat", "postcode": None}, "different"),
    ],
)
def test_addresses(change: Row, level: str) -> None:
    made = identities(HOME, HOME | change)
    for pair in ((0, 1), (1, 0)):
        left, right = (np.array([record]) for record in pair)
        assert ADDRESS[addresses(made, left, right)[0]] == level


def test_two_boxes_of_one_building_are_not_one_home() -> None:
    one, other = (HOME | {"house_number": f"12 bus {box}"} for box in (1, 2))
    assert levels(one, other)["address"] == "same_street"


FIELD = st.sampled_from(["Luna", "Lina", "Lun", "Peeters", "Peters", "Van Peeters", "Thomas", None])


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
    uses = uses_as_first_name(made)
    forth = compare(made, made.values(), left, right, uses)
    back = compare(made, made.values(), right, left, uses)
    assert {f: c[0] for f, c in forth.levels.items()} == {f: c[0] for f, c in back.levels.items()}
    assert {f: c[0] for f, c in forth.values.items()} == {f: c[0] for f, c in back.values.items()}
