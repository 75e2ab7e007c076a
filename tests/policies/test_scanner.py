"""Planted identifiers are found in any column; clean columns stay clean."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import iban
from stdnum.be import nn, vat

from policies.scanner import (
    Finding,
    is_enterprise_number,
    is_iban,
    is_national_number,
    scan,
)
from tests.policies import planted


def national(body: int, *, since_2000: bool = False) -> str:
    """Nine digits and their check number, the century's."""
    check = 97 - (body + (2_000_000_000 if since_2000 else 0)) % 97
    return f"{body:09d}{check:02d}"


def enterprise(body: int) -> str:
    return f"{body:08d}{97 - body % 97:02d}"


def kinds(*values: object) -> set[str]:
    return {finding.kind for finding in scan(pa.table({"column": pa.array(values)}))}


PERSON = national(850730033)
YOUNG = national(10203005, since_2000=True)
BIS = national(854730033)
COMPANY = enterprise(4174971)


@pytest.mark.parametrize("number", [PERSON, YOUNG, BIS, national(850000001)])
@pytest.mark.parametrize(
    "written",
    ["{}", "nr {}.", "{0[0]}{0[1]}.{0[2]}{0[3]}.{0[4]}{0[5]}-{0[6]}{0[7]}{0[8]}.{0[9]}{0[10]}",
     "{0[0]}{0[1]} {0[2]}{0[3]} {0[4]}{0[5]} {0[6]}{0[7]}{0[8]} {0[9]}{0[10]}", "id={};x"],
)  # fmt: skip
def test_national_numbers(number: str, written: str) -> None:
    """S07: born before and since 2000, bis numbers, unknown birthdays; formatted, inside text."""
    assert "national_number" in kinds("fine", written.format(number))


@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 28), st.integers(1, 997))
def test_an_oracle_agrees_on_national_numbers(year: int, month: int, day: int, serial: int) -> None:
    """python-stdnum (LGPL) calls the same numbers valid."""
    body = ((year * 100 + month) * 100 + day) * 1000 + serial
    for text in (national(body), national(body, since_2000=True)):
        assert is_national_number(text)
        wrong = f"{text[:9]}{int(text[9:]) % 97 + 1:02d}"
        assert is_national_number(wrong) or not nn.is_valid(wrong)
    assert nn.is_valid(national(body)) or nn.is_valid(national(body, since_2000=True))


@given(st.integers(2_000_000, 19_999_999))
def test_an_oracle_agrees_on_enterprise_numbers(body: int) -> None:
    text = enterprise(body)
    assert is_enterprise_number(text) == vat.is_valid(text)
    wrong = f"{text[:8]}{(int(text[8:]) + 1) % 100:02d}"
    assert is_enterprise_number(wrong) == vat.is_valid(wrong)


@pytest.mark.parametrize(
    "text",
    [COMPANY, f"BE{COMPANY}", f"BE {COMPANY[:4]}.{COMPANY[4:7]}.{COMPANY[7:]}",
     f"{COMPANY[:4]}.{COMPANY[4:7]}.{COMPANY[7:]}", f"werkgever {COMPANY}", f"BE{COMPANY[1:]}"],
)  # fmt: skip
def test_enterprise_numbers(text: str) -> None:
    """S07"""
    assert "enterprise_number" in kinds("fine", text)


@pytest.mark.parametrize(
    "text",
    ["0470123456", "0470/12.34.56", "0470 12 34 56", "+32 470 12 34 56", "+32470123456",
     "0032470123456", "02 345 67 89", "02/345.67.89", "+32 2 345 67 89", "+32 (0)9 123 45 67",
     "053 12 34 56", "bel 0470-123456 na 5u"],
)  # fmt: skip
def test_telephone_numbers(text: str) -> None:
    """S07"""
    assert kinds("fine", text) == {"phone"}


@pytest.mark.parametrize("text", ["jan.peeters@voorbeeld.be", "mail a+b@x.co.uk!", "<é@x.be>"])
def test_mail_addresses(text: str) -> None:
    """S07"""
    assert kinds("fine", text) == {"email"}


@pytest.mark.parametrize(
    "text", ["BE68539007547034", "BE68 5390 0754 7034", "iban be68539007547034"]
)
def test_ibans(text: str) -> None:
    """S07"""
    assert "iban" in kinds("fine", text)
    assert not is_iban("BE68539007547035")
    assert not is_iban("BE685390075470")
    assert iban.is_valid("BE68539007547034", check_country=False)


@pytest.mark.parametrize(
    "text",
    ["Kerkstraat 12", "Grote Markt 5", "Steenweg op Gent 120", "Lange Nieuwstraat 12 bus 3",
     "Koningin Astridlaan, 4", "Dorpsplein nr. 7", "rue de la Loi 16", "16, rue de la Loi",
     "Avenue Louise 54 bte 3", "Chaussée de Wavre, 1200", "woont Stationsstraat 9 te Gent",
     "12b rue Neuve", "Boulevard de l’Empereur 4"],
)  # fmt: skip
def test_addresses(text: str) -> None:
    """S07: street and number, Dutch and French."""
    assert kinds("fine", text) == {"address"}


@pytest.mark.parametrize("text", ["1985-07-30", "30/07/1985", "30.7.1985", "geboren 2001-02-03"])
def test_whole_days(text: str) -> None:
    """S09: no date of birth in any release, written as text or not."""
    assert "date" in kinds("fine", text)


@pytest.mark.parametrize("value", [date(1985, 7, 30), datetime(1985, 7, 30)])  # noqa: DTZ001
def test_date_columns(value: object) -> None:
    """S09"""
    assert kinds(value, None) == {"date"}
    assert kinds(pa.scalar(None, pa.date32())) == set()


@pytest.mark.parametrize("number", [PERSON, YOUNG, COMPANY, "32470123456"])
@pytest.mark.parametrize("kind", [int, float])
def test_numbers_that_lost_their_zeros(number: str, kind: type) -> None:
    """S07: in number columns too, where leading zeros are gone."""
    assert kinds(*map(kind, (0, 17, 250, int(number))))


def test_labels_that_no_row_uses() -> None:
    """S07: category labels included."""
    labels = pa.DictionaryArray.from_arrays([0, 0], ["fine", PERSON])
    assert scan(pa.table({"c": labels})) == [Finding("c", "national_number", 1)]


def test_findings_say_where_and_how_many_and_no_value() -> None:
    table = pa.table(
        {"a": ["fine", PERSON, PERSON, None], "b": [1.5, 2.5, 3.5, None], "c": ["x@y.be"] * 4}
    )
    assert scan(table) == [Finding("a", "national_number", 2), Finding("c", "email", 4)]
    assert PERSON not in repr(scan(table))


def test_a_planted_number_is_found_among_a_million() -> None:
    values = [f"P1{number:027d}" for number in range(10_000)]
    assert scan(pa.table({"unit": values})) == []
    values[5000] = PERSON
    assert scan(pa.table({"unit": values})) == [Finding("unit", "national_number", 1)]


@pytest.mark.parametrize(
    "text",
    ["2024Q3", "2024", "15-19", ">=30", "11000", "02000", "_suppressed", "observed", "01.11",
     "P1ABCDEFGHJKMNPQRSTVWXYZ01234", "E10123456789012345678901234567", "1200.5", "2024-12",
     "werkzoekend", "straat", "de weg naar werk", "place", "zone 30", "85.07.30", "100 200 300",
     "12345678901", "0123456788", "1/2", "hof van beroep", "a@b", "31/31/2001"],
)  # fmt: skip
def test_clean_values(text: str) -> None:
    """What a release is full of is no finding."""
    assert kinds(text) == set()


def test_clean_columns() -> None:
    """Rounded wages, codes, weights, booleans, pseudonyms: nothing."""
    rng = np.random.default_rng(5)
    table = pa.table(
        {
            "unit": [f"P1{number:027d}" for number in range(10_000)],
            "wage": rng.integers(0, 200, 10_000) * 100.0,
            "weight": np.round(rng.gamma(2, 20, 10_000), 0),
            "place": rng.integers(11001, 11600, 10_000),
            "postcode": [str(number) for number in rng.integers(1000, 9999, 10_000)],
            "nace": [f"{one:02d}.{two:02d}" for one, two in rng.integers(1, 99, (10_000, 2))],
            "employed": rng.integers(0, 2, 10_000) == 1,
            "nothing": pa.nulls(10_000),
        }
    )
    assert scan(table) == []


def test_columns_as_good_as_an_identifier() -> None:
    """S07: exact amounts, moments and values that no other row has, in numbers and in text."""
    rng = np.random.default_rng(5)
    amounts = rng.integers(10**5, 10**8, 10_000) / 100
    moments = rng.integers(1_600_000_000, 1_700_000_000, 10_000)
    table = pa.table(
        {
            "amount": amounts,
            "in_text": [f"{amount:.2f}".replace(".", ",") for amount in amounts],
            "counter": rng.permutation(10_000) + 5,
            "case": [f"D-{number:06d}" for number in rng.permutation(10_000)],
            "epoch": moments,
            "milliseconds": moments * 1000.0,
            "clock": ["2024-05 at 13:05:59", *["later"] * 9_999],
        }
    )
    kinds_of = {(finding.column, finding.kind) for finding in scan(table)}
    assert kinds_of == {
        ("amount", "exact_amount"),
        ("in_text", "exact_amount"),
        ("counter", "exact_amount"),
        ("case", "near_unique"),
        ("epoch", "timestamp"),
        ("milliseconds", "timestamp"),
        ("clock", "timestamp"),
    }


@pytest.mark.parametrize(
    "text",
    ["Jan Peeters", "PEETERS, Jan", "volgens Marie Dubois niet", "Sofie Van den Broeck",
     "jan peeters"],
)  # fmt: skip
def test_names(text: str) -> None:
    """S07: a first name beside a published surname is enough, wherever it stands."""
    assert kinds("fine", text) == {"name"}


def test_a_column_of_names() -> None:
    """S07: first names or surnames alone, and full names of which no list knows the surname."""
    assert kinds("An", "Jan", "Piet", "Sofie", "Lotte", "Emma") == {"name"}
    assert kinds("Peeters", "Janssens", "Maes", "Van Damme", "Dubois", "Onbekendsma") == {"name"}
    rare = [f"{first} Qu{letter}xelmans" for first, letter in zip(
        ("Jan", "Piet", "Emma", "Lotte"), "aeio", strict=True)]  # fmt: skip
    assert kinds(*rare) == {"name"}
    assert kinds("Mechelen", "Gent", "Halle", "Antwerpen", "Brugge", "Luik", "Jan") == set()


@pytest.mark.parametrize("text", ["206010123456789", "sim 206200987654321."])
def test_sim_cards(text: str) -> None:
    """S07: an IMSI of a Belgian network alone; others by their share of a column."""
    assert kinds("fine", text) == {"imsi"}
    assert kinds(*[int(f"20810{number:010d}") for number in range(30)]) == {"imsi"}
    assert kinds("310150123456789") == set()


@pytest.mark.parametrize("text", ["9000 Gent", "woont te 2800 Mechelen", "Hauptstraße 12"])
def test_places_to_find_somebody(text: str) -> None:
    """S07: a postcode with its place, a German street."""
    assert kinds("fine", text) == {"address"}
    assert kinds("9000 euro", "in 2800 Antwerpen") == set()


def test_misses_and_false_alarms_are_within_what_is_stated() -> None:
    """S07: on planted and clean columns from a generator of its own (seeded): no clean column is a
    finding but the chance ones stated, and of planted columns one in fifty at most is missed. A
    name alone in free text is found in one of four columns at least."""
    measured = planted.measure(seed=7, columns=6)
    assert measured.clean >= 90
    assert measured.false_alarms <= 0.02 * measured.clean
    assert measured.missed <= 0.02 * measured.planted
    assert measured.hard.wrong <= 0.75 * measured.hard.columns
    assert {row.kind for row in measured.rows} >= {
        "national_number", "enterprise_number", "email", "phone", "iban", "imsi", "name", "address",
        "date", "timestamp", "exact_amount", "near_unique",
    }  # fmt: skip


def test_the_false_alarms_of_arbitrary_numbers_are_few() -> None:
    """The figure that the module states: some 2 in 1,000 of arbitrary eleven digits are valid."""
    rng = np.random.default_rng(6)
    drawn = rng.integers(10**10, 10**11, 100_000)
    [found] = [one for one in scan(pa.table({"n": drawn})) if one.kind == "national_number"]
    assert 0.001 < found.count / len(drawn) < 0.004
    assert found.count == sum(is_national_number(str(number)) for number in drawn.tolist())


def test_a_column_of_another_kind_is_no_clean_one() -> None:
    assert kinds([PERSON]) == {"unreadable"}
    assert kinds(b"bytes") == {"unreadable"}


def test_empty_tables_are_clean() -> None:
    assert scan(pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.int64())})) == []
    assert scan(pa.table({})) == []
