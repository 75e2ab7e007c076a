"""Columns with identifiers planted in them, and clean ones: what the scanner is measured on.

Made apart from the scanner: numbers get their check digits from python-stdnum (LGPL), names are
drawn from the demo's population (more than half of its surnames stand in no list), addresses from
its homes, and clean columns are what releases are full of.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from stdnum import luhn
from stdnum.be import vat
from stdnum.iso7064 import mod_97_10

from api.demo.population import population
from policies import classifications
from policies.classifications import activities
from policies.scanner import scan

ROWS = 500
Random = np.random.Generator


@dataclass(frozen=True)
class Row:
    """One kind in one form: columns, and those in which it wasn't found (of clean ones: in which
    something was)."""

    kind: str
    form: str
    columns: int
    wrong: int

    @property
    def hard(self) -> bool:
        return (self.kind, self.form) == ("name", HARD)


@dataclass(frozen=True)
class Measured:
    """What came of it."""

    rows: list[Row]
    alarms: list[Row]

    @property
    def planted(self) -> int:
        return sum(row.columns for row in self.rows if not row.hard)

    @property
    def missed(self) -> int:
        return sum(row.wrong for row in self.rows if not row.hard)

    @property
    def hard(self) -> Row:
        """Names that stand alone in free text, which nothing can tell from other words."""
        return next(row for row in self.rows if row.hard)

    @property
    def clean(self) -> int:
        return sum(row.columns for row in self.alarms)

    @property
    def false_alarms(self) -> int:
        return sum(row.wrong for row in self.alarms)


def _national(rng: Random) -> str:
    year, month, day = rng.integers(30, 100), rng.integers(1, 13), rng.integers(1, 29)
    body = f"{year:02d}{month:02d}{day:02d}{rng.integers(1, 998):03d}"
    return f"{body}{97 - int(body) % 97:02d}"


def _enterprise(rng: Random) -> str:
    body = f"0{rng.integers(2_000_000, 9_999_999):07d}"
    number = f"{body}{97 - int(body) % 97:02d}"
    assert vat.is_valid(number)
    return number


def _iban(rng: Random) -> str:
    account = f"{rng.integers(0, 10**12):012d}"
    return f"BE{mod_97_10.calc_check_digits(account + 'BE')}{account}"


def _phone(rng: Random) -> str:
    forms = ("04{}{} {} {} {}", "+32 4{}{} {} {} {}", "04{}{}/{}.{}.{}", "004{}")
    tens = [f"{number:02d}" for number in rng.integers(0, 100, 3)]
    form = forms[int(rng.integers(0, 3))]
    return form.format(int(rng.integers(6, 10)), int(rng.integers(0, 10)), *tens)


def _imsi(rng: Random) -> str:
    network = ("01", "10", "20")[int(rng.integers(0, 3))]
    return f"206{network}{rng.integers(0, 10**10):010d}"


class _People:
    """Names and homes to draw from."""

    def __init__(self, seed: int) -> None:
        self.people = population(1000, seed)

    def name(self, rng: Random) -> str:
        person = int(rng.integers(0, len(self.people.first_name)))
        return f"{self.people.first_name[person]} {self.people.last_name[person]}"

    def first(self, rng: Random) -> str:
        return str(self.people.first_name[int(rng.integers(0, len(self.people.first_name)))])

    def last(self, rng: Random) -> str:
        return str(self.people.last_name[int(rng.integers(0, len(self.people.last_name)))])

    def address(self, rng: Random) -> str:
        home = int(rng.integers(0, len(self.people.homes.street)))
        return f"{self.people.homes.street[home]} {self.people.homes.house[home]}"

    def street(self, rng: Random) -> str:
        return str(self.people.homes.street[int(rng.integers(0, len(self.people.homes.street)))])

    def mail(self, rng: Random) -> str:
        letters = "".join(chr(97 + number) for number in rng.integers(0, 26, 7))
        return f"{letters}.{letters[::-1]}@{letters[:4]}.be"


HARD = "one in free text"
"""A name alone in free text: found when its surname is a common one, as fewer than half are."""
NOTES = (
    "vraagt uitstel tot volgende maand", "a déménagé, dossier transmis", "geen antwoord ontvangen",
    "zoekt werk in de zorg", "formation terminée", "rien à signaler", "opleiding stopgezet",
    "heeft recht op een toeslag", "Bezoek aan het kantoor", "wird im Herbst geprüft",
)  # fmt: skip
LABELS = ("werkzoekend", "aan het werk", "in opleiding", "inactief", "onbekend")


def _column(rng: Random, made: Callable[[Random], str], share: float) -> pa.Array:
    """Notes, a share of which holds what is planted."""
    texts = []
    for _ in range(ROWS):
        note = NOTES[int(rng.integers(0, len(NOTES)))]
        texts.append(f"{note}; {made(rng)} gebeld" if rng.random() < share else note)
    texts[int(rng.integers(0, ROWS))] = f"{NOTES[0]} {made(rng)}"
    return pa.array(texts)


def _full(rng: Random, made: Callable[[Random], str]) -> pa.Array:
    return pa.array([made(rng) for _ in range(ROWS)])


def _label(rng: Random, made: Callable[[Random], str]) -> pa.Array:
    codes = rng.integers(0, len(LABELS), ROWS)
    return pa.DictionaryArray.from_arrays(pa.array(codes), [*LABELS, made(rng)])


def planted_columns(rng: Random, seed: int) -> list[tuple[str, str, Callable[[], pa.Array]]]:
    """(kind, form, maker) of every planted column."""
    people = _People(seed)
    kinds: list[tuple[str, Callable[[Random], str]]] = [
        ("national_number", _national), ("enterprise_number", _enterprise), ("iban", _iban),
        ("phone", _phone), ("imsi", _imsi), ("email", people.mail), ("address", people.address),
    ]  # fmt: skip
    found: list[tuple[str, str, Callable[[], pa.Array]]] = []
    for kind, made in kinds:
        found += [
            (kind, "a column", lambda made=made: _full(rng, made)),  # type: ignore[misc]
            (kind, "one in free text", lambda made=made: _column(rng, made, 0)),  # type: ignore[misc]
            (kind, "a label nobody uses", lambda made=made: _label(rng, made)),  # type: ignore[misc]
        ]
    for kind, number in (("national_number", _national), ("enterprise_number", _enterprise),
                         ("imsi", _imsi)):  # fmt: skip
        found.append(
            (kind, "numbers", lambda number=number: pa.array(  # type: ignore[misc]
                [int(number(rng)) for _ in range(ROWS)]))
        )  # fmt: skip
    return [
        *found,
        ("name", "a column", lambda: _full(rng, people.name)),
        ("name", "capitals", lambda: _full(rng, lambda rng: people.name(rng).upper())),
        ("name", "first names", lambda: _full(rng, people.first)),
        ("name", "surnames", lambda: _full(rng, people.last)),
        ("name", "in a fifth of free texts", lambda: _column(rng, people.name, 0.2)),
        ("name", HARD, lambda: _column(rng, people.name, 0)),
        ("address", "streets alone", lambda: _full(rng, people.street)),
        ("date", "a column", lambda: _full(
            rng, lambda rng: f"{rng.integers(1950, 2010)}-{rng.integers(1, 13):02d}-07")),
        ("timestamp", "a column", lambda: _full(
            rng, lambda rng: f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:07")),
        ("timestamp", "seconds since 1970", lambda: pa.array(
            rng.integers(1_500_000_000, 1_750_000_000, ROWS))),
        ("exact_amount", "numbers", lambda: pa.array(np.round(rng.gamma(2, 1500, ROWS), 2))),
        ("exact_amount", "text", lambda: pa.array(
            [f"{amount:.2f}" for amount in rng.gamma(2, 1500, ROWS)])),
        ("near_unique", "case numbers", lambda: pa.array(
            [luhn.calc_check_digit(str(n)) + f"/D{n}" for n in rng.permutation(ROWS) + 7000])),
    ]  # fmt: skip


def clean_columns(rng: Random) -> list[tuple[str, Callable[[], pa.Array]]]:
    """(what, maker) of columns that a release is full of."""
    places = [
        [*map(str, names.values())] for names in classifications.labels("municipality").values()
    ]
    titles = [text for level in ("section", "division") for names in
              activities.labels(level, 2025).values() for text in names.values()]  # fmt: skip

    def of(texts: list[str]) -> Callable[[], pa.Array]:
        return lambda: pa.array([texts[at] for at in rng.integers(0, len(texts), ROWS)])

    return [
        ("notes", of(list(NOTES))),
        ("labels", of(list(LABELS))),
        ("names of places", of([names[0] for names in places])),
        ("names of places in French", of([names[-1] for names in places])),
        ("titles of activities", of(titles)),
        ("codes of places", of(list(classifications.labels("arrondissement")))),
        ("codes of municipalities", of(list(classifications.labels("municipality")))),
        ("age classes", of(["<15", "15-19", "20-24", "25-29", ">=30"])),
        ("quarters", of([f"{year}Q{q}" for year in range(2015, 2026) for q in range(1, 5)])),
        ("months", of(["januari", "februari", "maart", "april", "mei", "juni", "juli"])),
        ("rounded wages", lambda: pa.array(np.round(rng.gamma(2, 1500, ROWS), -2))),
        ("weights", lambda: pa.array([float(f"{w:.1e}") for w in rng.gamma(2, 30, ROWS)])),
        ("years", lambda: pa.array(rng.integers(1950, 2025, ROWS))),
        ("counts", lambda: pa.array(rng.integers(0, 366, ROWS))),
        ("pseudonyms", lambda: pa.array([f"P1{n:027d}" for n in rng.permutation(ROWS)])),
        ("ten digits without a check", lambda: pa.array(rng.integers(2 * 10**9, 2.1 * 10**9, 40))),
    ]  # fmt: skip


def measure(seed: int, columns: int) -> Measured:
    """Scan so many columns of each kind and form, and of each clean sort."""
    rng = np.random.default_rng(seed)
    rows, alarms = [], []
    for kind, form, make in planted_columns(rng, seed):
        missed = sum(kind not in _kinds(make()) for _ in range(columns))
        rows.append(Row(kind, form, columns, missed))
    for what, clean in clean_columns(rng):
        alarms.append(
            Row("clean", what, columns, sum(bool(_kinds(clean())) for _ in range(columns)))
        )
    return Measured(rows, alarms)


def _kinds(column: pa.Array) -> set[str]:
    return {finding.kind for finding in scan(pa.table({"column": column}))}
