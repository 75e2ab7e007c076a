"""Columns of any file as their types: examples, and the fast way against the rule for one value."""

import csv
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage import companies, folding, standardise
from linkage.datasets import LinkageError
from linkage.plans import TYPES
from linkage.standardise import MISSING, nicknames, standard_columns
from tests.linkage.people import national_number

LIKE_NAMES = st.text("abcéèÉïVANdeSTRBUS.-&' ’,(/0123459\t\b", max_size=20)
TEXTS = st.lists(st.none() | st.text(max_size=20) | LIKE_NAMES, max_size=20)

RULES: dict[str, Callable[[str], str | None]] = {
    "first_name": standardise.given_names,
    "last_name": standardise.name,
    "sex": standardise.sex,
    "street": standardise.street,
    "postcode": standardise.any_postcode,
    "text": standardise.words,
    "code": standardise.code,
    "municipality": standardise.municipality,
}


def _said(type_: str, values: Any, **options: Any) -> dict[str, list[str | None]]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return {n: c.to_pylist() for n, c in standard_columns(type_, column, **options).items()}


def test_folding_is_the_same_for_every_character() -> None:
    """Alone and between letters, in the basic plane; by Arrow or by Python."""
    characters = [chr(c) for c in range(1, 0x10000) if not 0xD800 <= c < 0xE000]
    for texts in (characters, [f"a{c}B" for c in characters]):
        assert folding.folded(pa.array(texts)).to_pylist() == [folding.fold(t) for t in texts]


@given(st.sampled_from(sorted(RULES)), TEXTS)
def test_a_column_says_what_its_values_say(type_: str, texts: list[str | None]) -> None:
    """Also as a dictionary, as Parquet has it, or as a slice; and each text has one code."""
    rule = RULES[type_]
    column = pa.array(texts, pa.string())
    expected = [None if text is None or text in MISSING else rule(text) for text in texts]
    longer = pa.array(["Before", *texts, "After"])
    for delivered in (
        column,
        column.cast(pa.large_string()),
        longer.slice(1, len(texts)),
        column.dictionary_encode(),
        longer.dictionary_encode().slice(1, len(texts)),
        pa.chunked_array([column.dictionary_encode(), longer.slice(1, 0).dictionary_encode()]),
    ):
        standard = standard_columns(type_, delivered)[type_]
        assert standard.type == pa.dictionary(pa.int32(), pa.string())
        assert standard.to_pylist() == expected
        assert len(set(standard.dictionary.to_pylist())) == len(standard.dictionary)


@given(TEXTS)
def test_companies_in_a_column_are_as_they_are_alone(texts: list[str | None]) -> None:
    name, form = companies.companies(pa.array(texts, pa.string()))
    pairs = [(None, None) if text is None else companies.company(text) for text in texts]
    assert list(zip(name.to_pylist(), form.to_pylist(), strict=True)) == pairs


@given(st.sampled_from(TYPES), TEXTS)
def test_standardising_twice_changes_nothing(type_: str, texts: list[str | None]) -> None:
    """Of types that stay of one type."""
    once = standard_columns(type_, pa.array(texts, pa.string()))
    if set(once) == {type_}:
        assert standard_columns(type_, once[type_])[type_].to_pylist() == once[type_].to_pylist()
    assert all(len(column) == len(texts) for column in once.values())


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("DE SMET, Jan Piet", "JAN PIET", "DESMET"),
        ("Jan Piet De Smet", "JAN PIET", "DESMET"),
        ("JAN PIET DE SMET", "JAN PIET", "DESMET"),
        ("DE SMET Jan", "JAN", "DESMET"),
        ("Jan DE SMET", "JAN", "DESMET"),
        ("Jan van den Broeck", "JAN", "VANDENBROECK"),
        ("Marie d'Hondt", "MARIE", "DHONDT"),
        ("Jan-Willem van 't Hoff", "JAN WILLEM", "VANTHOFF"),
        ("Dhr. Jan Peeters", "JAN", "PEETERS"),
        ("Peeters,", None, "PEETERS"),
        ("Janssens", None, "JANSSENS"),
        ("-", None, None),
    ],
)
def test_whole_names(written: str, first: str | None, last: str | None) -> None:
    assert _said("full_name", [written]) == {"first_name": [first], "last_name": [last]}


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("Kerkstraat 12 bus 3, 9000 Gent", ("KERKSTRAAT", "12", "3", "9000")),
        ("Kerkstraat 12b3 9000 Gent", ("KERKSTRAAT", "12", "3", "9000")),
        ("Rue de l'Église 5/2 1000 Bruxelles", ("RUEDELEGLISE", "5", "2", "1000")),
        ("9000 Gent, Kerkstr. 12A", ("KERKSTRAAT", "12A", None, "9000")),
        ("12, rue Haute 1000 Bruxelles", ("RUEHAUTE", "12", None, "1000")),
        ("Rue du 11 Novembre 5", ("RUEDU11NOVEMBRE", "5", None, None)),
        ("Av. du 8 Mai 1945 12, B-1000 Brussel", ("AVENUEDU8MAI1945", "12", None, "1000")),
        ("Bd. Louis 23, bte 4 - 1170 Watermael-Boitsfort", ("BOULEVARDLOUIS", "23", "4", "1170")),
        ("Kerkstraat nr. 12/0301 9000", ("KERKSTRAAT", "12", "301", "9000")),
        ("Steenweg 1200", ("STEENWEG", "1200", None, None)),
        ("Grote Markt 1\n9000 Gent", ("GROTEMARKT", "1", None, "9000")),
        ("9000 Gent", (None, None, None, "9000")),
        ("Dorpsplein", ("DORPSPLEIN", None, None, None)),
        ("onbekend", (None, None, None, None)),
    ],
)
def test_address_lines(written: str, parts: tuple[str | None, ...]) -> None:
    columns = _said("address", [written])
    assert tuple(columns) == ("street", "house_number", "box", "postcode")
    assert tuple(column[0] for column in columns.values()) == parts


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1985-03-12", "1985-03-12"),
        ("1985-03-12T00:00:00", "1985-03-12"),
        ("19850312", "1985-03-12"),
        ("12/03/1985", "1985-03-12"),
        ("3-4-1985", "1985-04-03"),
        ("31121985", "1985-12-31"),
        ("1985-23-05", "1985-05-23"),
        ("1985-00-00", "1985-00-00"),
        ("00/00/1985", "1985-00-00"),
        ("03/1985", "1985-03-00"),
        ("1985", "1985-00-00"),
        ("1985-01-01", "1985-01-01"),
        ("1900-01-01", None),
        ("25/13/1985", None),
        ("1700-03-12", None),
        ("yesterday", None),
    ],
)
def test_birth_dates_in_any_notation(written: str, meant: str | None) -> None:
    assert _said("birth_date", [written])["birth_date"] == [meant]
    assert _said("birth_year", [written])["birth_year"] == [meant and meant[:4]]


def test_the_column_tells_whether_the_month_comes_first() -> None:
    assert _said("birth_date", ["12/31/1985", "12/03/1985"])["birth_date"] == [
        *("1985-12-31", "1985-12-03")
    ]
    assert _said("birth_date", ["12.3.1985", "1985-03-12"], format="%d.%m.%Y")["birth_date"] == [
        *("1985-03-12", None)
    ]


@given(st.dates(datetime.date(1902, 2, 2), datetime.date(2024, 12, 31)))
def test_a_date_is_the_same_in_every_type(day: datetime.date) -> None:
    moment = datetime.datetime(day.year, day.month, day.day, 3)  # noqa: DTZ001
    columns = [
        pa.array([day]),
        pa.array([day], pa.date64()),
        pa.array([moment]),
        pa.array([int(f"{day:%Y%m%d}")]),
        pa.array([float(f"{day:%Y%m%d}"), None]),
        pa.array([day.isoformat()]),
    ]
    said = {_said("birth_date", column)["birth_date"][0] for column in columns}
    assert said == ({day.isoformat()} if str(day) != "1970-01-01" else {None})


@pytest.mark.parametrize(
    ("type_", "written", "meant"),
    [
        ("phone", ["09 225 11 22", "+32 9 225 11 22", "0032 (0)9 225.11.22"], "+3292251122"),
        (
            "phone",
            ["0477/12.34.56", "32477123456", "477123456", "0477123456 ext 5"],
            "+32477123456",
        ),
        ("phone", ["+33 1 42 68 53 00", "0033142685300"], "+33142685300"),
        ("phone", ["1234", "00000000000", "n/a"], None),
        ("email", [" Jan@Example.ORG ", "mailto:jan@example.org"], "jan@example.org"),
        ("email", ["jan", "a@b@c", "onbekend"], None),
        ("postcode", ["1000", "B-1000", "BE 1000", "1000.0", "1000 Brussel"], "1000"),
        ("postcode", ["0872"], "0872"),
        ("postcode", ["SW1A 1AA"], "SW1A1AA"),
        ("postcode", ["0000", "?", ""], None),
        ("municipality", ["44021"], "44021"),
        ("municipality", ["St. Niklaas", "Sint-Niklaas"], "SINTNIKLAAS"),
        ("sex", ["M", "1", "1.0", "homme"], "M"),
        ("code", [" ab-1 ", "AB-1"], "AB-1"),
        ("code", ["-", "?", "n/a", "unknown"], None),
        ("text", ["Bakker / slager", "bakker  SLAGER"], "BAKKER SLAGER"),
        ("text", ["l'eau", "l’eau"], "L EAU"),
        ("first_name", ["Anne-Marie J.", "ANNE MARIE J"], "ANNE MARIE J"),
        ("last_name", ["Broeck, Van den", "Vandenbroeck"], "VANDENBROECK"),
        ("first_name", ["NN", "N/A", "onbekend", "-", "?"], None),
        ("enterprise_number", ["BE 0403.019.261", "403019261"], "0403019261"),
    ],
)
def test_values_written_several_ways(type_: str, written: list[str], meant: str | None) -> None:
    assert _said(type_, written)[type_] == [meant] * len(written)


@pytest.mark.parametrize(
    ("written", "name", "form"),
    [
        ("Janssens & Zonen N.V.", "JANSSENS & ZONEN", "NV"),
        ("JANSSENS EN ZONEN", "JANSSENS & ZONEN", None),
        ("S.A. Dubois et Fils", "DUBOIS & FILS", "NV"),
        ("Bakkerij De Smet BV BVBA", "BAKKERIJ DE SMET", "BV"),
        ("De Smet (SPRL)", "DE SMET", "BV"),
        ("vzw De Brug", "DE BRUG", "VZW"),
        ("A.B.C. Motors NV", "ABC MOTORS", "NV"),
        ("Café L'Étoile", "CAFE LETOILE", None),
        ("onbekend", None, None),
    ],
)
def test_company_names(written: str, name: str | None, form: str | None) -> None:
    assert _said("company_name", [written]) == {"company_name": [name], "legal_form": [form]}


@given(st.integers(10_000_000, 999_999_999))
def test_a_belgian_number_has_one_form(number: int) -> None:
    """However it is written, unless it is one digit over and over."""
    text = str(number)
    spaced = " ".join((text[:1], text[1:4], text[4:]))
    forms = [
        *(f"0{text}", f"+32{text}", f"0032 {spaced}", f"+32 (0){spaced}", f"(0){spaced}", text),
        *(f"0{spaced} tst 12", f"tel. 0{text[:2]}/{text[2:]}"),
    ]
    if len(set(text)) > 1:
        assert _said("phone", forms)["phone"] == [f"+32{text}"] * len(forms)


def test_columns_of_numbers() -> None:
    """As Parquet and pandas write what once was text."""
    assert _said("house_number", [12, None]) == {"house_number": ["12", None], "box": [None] * 2}
    assert _said("postcode", [9000.0, None, float("nan")])["postcode"] == ["9000", None, None]
    number = national_number(2001, 2, 3, 5)
    assert _said("national_number", [int(number)])["national_number"] == [number]
    assert _said("text", pa.array([None, None], pa.null()))["text"] == [None, None]
    assert _said("text", pa.array([], pa.large_string()))["text"] == []


def test_columns_that_hold_no_single_values_are_refused() -> None:
    for column in (pa.array([[1]]), pa.array([b"x"]), pa.array([{"a": 1}])):
        with pytest.raises(LinkageError, match="holds no texts"):
            standard_columns("text", column)


@pytest.mark.parametrize(
    "names",
    [
        "Jan Johan Johannes Joannes",
        "Elisabeth Els Liesbeth Betty",
        "Wilhelmus Willem Guillaume Wim",
        "Petrus Pieter Piet Peter",
        "Catharina Katrien Catherine Kathy",
        "Mohamed Muhammad Mohammed",
        "Jean-Pierre Jeanpierre",
        "Léon Leo",
    ],
)
def test_names_one_person_goes_by(names: str) -> None:
    groups = {nicknames()[standardise.given_names(name) or ""] for name in names.split()}
    assert len(groups) == 1


def test_names_of_two_brothers_or_sisters_are_no_nicknames() -> None:
    for names in ("Jan Jean Jens", "Willem Guy", "Pieter Pierre", "Luc Lucas Luca", "Sofie Fien"):
        groups = [nicknames().get(name.upper(), name) for name in names.split()]
        assert len(set(groups)) == len(groups)


def test_every_nickname_is_in_one_group_and_none_is_alone() -> None:
    path = Path(standardise.__file__).with_name("nicknames.csv")
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    names = [standardise.given_names(n) for head, rest in rows for n in (head, *rest.split())]
    assert len(names) == len(set(names)) == len(nicknames())
    assert len(rows) == len(set(nicknames().values())) >= 250
    assert all(rest for _, rest in rows)
