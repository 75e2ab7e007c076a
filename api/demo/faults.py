"""What holders get wrong about people: identities as one source writes them, with planted faults.

Every fault strikes by chance, in two ways. Some 60% belong to the source's file on a person: they
are the same in every row and every year. The others happen in one row of one delivery. Sources err
independently of each other. What was done is known: for each row whether the person's own valid
number and an agreeing first name are still there.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Final
from zlib import crc32

import numpy as np

from api.demo.names import Integers, Texts, places
from api.demo.population import Days, Flags, Population

RATES: Final = {
    "missing number": 0.02,
    "wrong check digit": 0.03,
    "number of another": 0.005,
    "first name typo": 0.015,
    "last name typo": 0.015,
    "accents lost": 0.02,
    "names swapped": 0.01,
    "day and month swapped": 0.01,
    "digit of date": 0.01,
    "old address": 0.02,
    "street typo": 0.015,
    "house number": 0.01,
    "duplicate": 0.005,
}
"""Share of rows that each fault strikes."""

OF_ENTERPRISES: Final = {
    "missing number": 0.02,
    "wrong check digit": 0.03,
    "number of another": 0.005,
    "name typo": 0.015,
}
"""The same for the employer of a row."""

_OF_THE_FILE: Final = 0.6
_TWIN_MIXED_UP: Final = 0.05  # how often a twin is given the other's number
_STILL_BIS: Final = 0.5  # sources that go on with the bis number of somebody who turned national
_NOT_TOLD: Final = 0.4  # sources that didn't hear of a move within the year
_SWAPPABLE: Final = (12 * 12 - 12) / 365  # of all dates
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Identities:
    """Who rows are about, as written. `number` is 0 where missing; `home` a position in homes."""

    person: Integers
    number: Integers
    first_name: Texts
    last_name: Texts
    birth: Days
    female: Flags
    home: Integers
    street: Texts
    house: Texts
    own_number: Flags
    name_agrees: Flags


@dataclass(frozen=True)
class Employers:
    """Employers as written, a row each; `number` is 0 where missing."""

    number: Integers
    name: Texts
    own_number: Flags


@dataclass(frozen=True)
class Struck:
    """Rows that a fault strikes, and a number for each that decides how."""

    rows: Integers
    how: Integers


class Clerk:
    """One source in one year, writing down the people who stand in one reference of its rows."""

    def __init__(self, population: Population, source: str, reference: str, year: int) -> None:
        self._population = population
        self._file = (population.seed, crc32(source.encode()))
        self._delivery = (*self._file, crc32(reference.encode()), year)
        self._year = year
        self._everybody = len(population.birth)

    def chance(self, fault: str, people: Integers, rates: Any = None) -> Struck:
        """Which of these rows a fault strikes; `rates` (one, or one per person) for the usual."""
        wanted = np.broadcast_to(RATES[fault] if rates is None else rates, self._everybody)
        file = np.random.default_rng((*self._file, crc32(fault.encode())))
        row = np.random.default_rng((*self._delivery, crc32(fault.encode())))
        luck, how = file.random(self._everybody), file.integers(2**40, size=self._everybody)
        always = (luck < _OF_THE_FILE * wanted)[people]
        once = row.random(len(people)) < (1 - _OF_THE_FILE) * wanted[people]
        fresh = row.integers(2**40, size=len(people))
        rows = np.flatnonzero(always | once)
        return Struck(rows, np.where(always, how[people], fresh)[rows])

    def on_file(self, what: str, rate: float) -> Flags:
        """Something true of the source's file on each person, in every year."""
        rng = np.random.default_rng((*self._file, crc32(what.encode())))
        return np.asarray(rng.random(self._everybody) < rate)

    def write(self, people: Integers) -> Identities:
        """These people, one row each, with faults."""
        population = self._population
        number, own_number = self._numbers(people)
        first, last = population.first_name[people], population.last_name[people]
        for column, fault in ((first, "first name typo"), (last, "last name typo")):
            _apply(typo, column, self.chance(fault, people))
        lost = self.chance("accents lost", people)
        for column in (first, last):
            _apply(lambda text, _: without_accents(text), column, lost)
        swapped = self.chance("names swapped", people).rows
        first[swapped], last[swapped] = last[swapped], first[swapped]
        home = self._homes(people)
        street, house = population.homes.street[home], population.homes.house[home]
        _apply(typo, street, self.chance("street typo", people))
        _apply(_other_house, house, self.chance("house number", people))
        return Identities(
            person=people,
            number=number,
            first_name=first,
            last_name=last,
            birth=self._births(people),
            female=population.female[people],
            home=home,
            street=street,
            house=house,
            own_number=own_number,
            name_agrees=_folded(first) == _folded(population.first_name[people]),
        )

    def _numbers(self, people: Integers) -> tuple[Integers, Flags]:
        population = self._population
        own = population.numbers_in(self._year)
        still = self.on_file("still bis", _STILL_BIS) & (population.former > 0)
        own = np.where(still, population.former, own)
        number = own[people]
        relative, twin = relatives(population)
        mixed = self.chance("number of another", people, self._mixed_up(twin))
        number[mixed.rows] = own[relative[people[mixed.rows], mixed.how % 2]]
        _apply(_with_wrong_digit, number, self.chance("wrong check digit", people))
        number[self.chance("missing number", people).rows] = 0
        return number, number == own[people]

    def _mixed_up(self, twin: Flags) -> Any:
        """How often each is given another's number: twins often, all the young as often as said."""
        rate, young = RATES["number of another"], self._population.young
        twins = twin[:young].mean()
        rates = np.full(self._everybody, rate)
        rates[:young] = max(0.0, (rate - twins * _TWIN_MIXED_UP) / (1 - twins))
        return np.where(twin, _TWIN_MIXED_UP, rates)

    def _homes(self, people: Integers) -> Integers:
        now, before = (self._population.home[year] for year in (self._year, self._year - 1))
        home = np.where(self.on_file(f"not told {self._year}", _NOT_TOLD), before, now)[people]
        old = self.chance("old address", people).rows
        home[old] = self._population.home[2023][people[old]]
        return home

    def _births(self, people: Integers) -> Days:
        birth = self._population.birth[people]
        day, month = _day_and_month(birth)
        can_swap = (day <= 12) & (day != month)
        rate = RATES["day and month swapped"] / _SWAPPABLE
        swapped = self.chance("day and month swapped", people, rate).rows
        swapped = swapped[can_swap[swapped]]
        days = birth.astype(object)
        days[swapped] = [date(d.year, d.day, d.month) for d in days[swapped]]
        struck = self.chance("digit of date", people)
        _apply(self._other_digit, days, struck)
        return days.astype("datetime64[D]")

    def _other_digit(self, day: date, how: int) -> date:
        """A date that differs in one digit, and could be right."""
        iso = day.isoformat()
        found = []
        for position in (3, 5, 6, 8, 9):
            for digit in "0123456789":
                try:
                    other = date.fromisoformat(iso[:position] + digit + iso[position + 1 :])
                except ValueError:
                    continue
                if other != day and other.year < self._year - 10:
                    found.append(other)
        return found[how % len(found)]


def enterprises(population: Population, employer: Integers, year: int) -> Employers:
    """These employers as their quarterly declarations name them."""
    rng = np.random.default_rng((population.seed, 3, year))
    known = population.enterprises

    def struck(fault: str) -> Struck:
        rows = np.flatnonzero(rng.random(len(employer)) < OF_ENTERPRISES[fault])
        return Struck(rows, rng.integers(2**40, size=len(rows)))

    number, name = known.number[employer], known.name[employer]
    another = struck("number of another")
    number[another.rows] = known.number[another.how % len(known.number)]
    _apply(
        lambda value, _: value // 100 * 100 + (value % 100 + 1) % 100,
        number,
        struck("wrong check digit"),
    )
    number[struck("missing number").rows] = 0
    _apply(typo, name, struck("name typo"))
    return Employers(number, name, number == known.number[employer])


def duplicates(rng: np.random.Generator, rows: int) -> tuple[Integers, Integers]:
    """Rows that were sent twice, and which of the copies (positions among them) differ a little."""
    again = np.flatnonzero(rng.random(rows) < RATES["duplicate"])
    return again, np.flatnonzero(rng.random(len(again)) < 0.5)


def relatives(population: Population) -> tuple[Integers, Flags]:
    """Two near relatives of everybody (twin before sibling before parent or partner), and twins.

    Somebody without any is paired with the next person.
    """
    everybody, young = len(population.birth), population.young
    families = (everybody - young) // 2
    family, birth = population.family, population.birth[:young]
    near = np.stack([(np.arange(everybody) + 1) % everybody] * 2, axis=1)
    near[young : young + families] = np.arange(young + families, everybody)[:, None]
    near[young + families :] = np.arange(young, young + families)[:, None]
    near[:young] = np.where(
        population.mother >= 0, population.mother, np.maximum(population.father, 0)
    )[:, None]
    twin = np.zeros(everybody, np.bool_)
    for step in (1, -1):
        other = np.roll(np.arange(young), -step)
        sibling = family[other] == family
        near[:young, 0] = np.where(sibling, other, near[:young, 0])
    for step in (1, -1):
        other = np.roll(np.arange(young), -step)
        same = (family[other] == family) & (birth[other] == birth)
        near[:young][same] = other[same, None]
        twin[:young] |= same
    return near, twin


def typo(text: str, how: int) -> str:
    """A slip of the pen: a letter replaced, left out, doubled, or swapped with the next one."""
    if len(text) < 2:
        return text
    how, kind = divmod(how, 4)
    how, place = divmod(how, len(text) - 1)
    place += 1 if len(text) > 2 and kind != 3 else 0
    before, letter, after = text[:place], text[place], text[place + 1 :]
    if kind == 0:
        return before + _LETTERS[how % 26] + after
    if kind == 1:
        return before + after
    if kind == 2:
        return before + letter + letter + after
    return before + after[:1] + letter + after[1:]


@cache
def without_accents(text: str) -> str:
    """The text without accents."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c))


def _apply(function: Callable[[Any, int], Any], column: Any, struck: Struck) -> None:
    values = column[struck.rows].tolist()
    column[struck.rows] = [
        function(value, how) for value, how in zip(values, struck.how.tolist(), strict=True)
    ]


def _folded(column: Texts) -> Texts:
    return np.array([without_accents(text).casefold() for text in column], dtype=object)


def _other_house(text: str, how: int) -> str:
    number = "".join(c for c in text.split()[0] if c.isdigit())
    return text.replace(number, str(int(number) + 1 + how % 9), 1)


def _day_and_month(birth: Days) -> tuple[Integers, Integers]:
    months = birth.astype("datetime64[M]")
    return (birth - months).astype(np.int64) + 1, months.astype(np.int64) % 12 + 1


def _with_wrong_digit(number: int, how: int) -> int:
    """One digit of the serial or the check changed, so that no century's check agrees."""
    how, place = divmod(how, 5)
    digit = number // 10**place % 10
    for step in range(9):
        other = (digit + 1 + (how + step) % 9) % 10
        changed: int = number + (other - digit) * 10**place
        checks = {97 - (changed // 100 + century) % 97 for century in (0, 2 * 10**9)}
        if changed % 100 not in checks:
            return changed
    raise AssertionError("nine digits can't all agree with two checks")


def written_number(number: Integers, punctuated: bool = False) -> Texts:
    """National numbers as text, blank where missing: 11 digits, or yy.mm.dd-sss.cc."""
    digits = [f"{n:011d}" if n else "" for n in number.tolist()]
    if punctuated:
        digits = [d and f"{d[:2]}.{d[2:4]}.{d[4:6]}-{d[6:9]}.{d[9:]}" for d in digits]
    return np.array(digits, dtype=object)


def postcode(population: Population, home: Integers) -> Texts:
    """Postcodes of homes."""
    return places().postcode[population.homes.place[home]]


def municipality(population: Population, home: Integers, year: int) -> Texts:
    """NIS codes of homes, as they were in that year."""
    situation = 2019 if year < 2025 else 2025
    return places().municipality[situation][population.homes.place[home]]
