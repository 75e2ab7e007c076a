"""People with known identities, and what careless clerks make of them.

Written apart from the engine and from the demo: no rate of this file is a parameter of either.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from linkage.deliveries import Delivery
from tests.linkage.helpers import Row, delivery


def _listed(text: str) -> list[str]:
    return text.split("|")


FIRST = {
    "M": _listed(
        "Jan|Noah|Liam|Arthur|Lucas|Louis|Adam|Jules|Victor|Mohamed|Gabriel|Oscar|"
        "Leon|Finn|Matteo|Hugo|Rayan|Lewis|Mathis|Thomas|Elias|Senne|Milan|Mats|"
        "Vince|Kobe|Lars|Stan|Wout|Seppe|Daan|Nathan|Maxime|Antoine|Simon|"
        "Alexandre|Nicolas|Pierre|Luc|Marc|Philippe|Michel|Patrick|Dirk|Johan|"
        "Peter|Bart|Koen|Geert|Wim|Stijn|Tom|Kevin|Jeroen|Pieter|Frederik|Bilal|"
        "Yusuf|Ali|Omar|Ahmed|Ibrahim|Hamza|Youssef|Karim|Rachid|Hassan|Said|Jean|"
        "Paul|André|Jacques|Jean-Pierre|Jean-Luc|Elif|Emir|Kerem|Piotr|Jakub|"
        "Andrei|Mihai|Florin|Diego|Enzo|Nino|Gust"
    ),
    "F": _listed(
        "Luna|Lina|Noa|Nora|Olivia|Emma|Louise|Mila|Juliette|Alice|Marie|Camille|"
        "Elena|Lena|Julia|Anna|Ella|Chloé|Zoé|Léa|Manon|Sofia|Sarah|Inaya|"
        "Yasmine|Amira|Aya|Fatima|Hanne|Lotte|Femke|Fien|Lore|Jana|Amber|Laura|"
        "Lisa|Lise|Julie|Charlotte|Elise|Eline|Jolien|Sofie|Sophie|Katrien|An|Ann|"
        "Els|Ilse|Ingrid|Karin|Martine|Nathalie|Isabelle|Véronique|Monique|"
        "Christine|Anne|Anne-Marie|Marie-Louise|Kim|Sandra|Nancy|Sabine|Griet|Leen|"
        "Tine|Nele|Khadija|Malika|Nadia|Samira|Zeynep|Elin|Magda|Agnieszka|Ioana|"
        "Elif|Maria|Ana|Carmen|Giulia|Chiara|Rosa|Lola"
    ),
}
LAST = _listed(
    "Peeters|Janssens|Maes|Jacobs|Mertens|Willems|Claes|Goossens|Wouters|"
    "De Smet|Dubois|Lambert|Martin|Dupont|Dumont|Leroy|Simon|Laurent|Renard|"
    "Lejeune|Van den Broeck|Van Damme|De Vos|De Clercq|D'Hondt|Vandenberghe|"
    "Van de Velde|Vermeulen|Hermans|Aerts|Michiels|Pauwels|Desmet|Bogaerts|"
    "Segers|Smets|Thys|Lemmens|Cools|Verhoeven|Coppens|Hendrickx|Declercq|"
    "Stevens|Van Acker|Baert|El Amrani|Yilmaz|Kaya|Nguyen|Diallo|Benali|Bakkali|"
    "Ouali|Nowak|Popescu|Rossi|Garcia|Ait Said|Kowalski|Ivanov|Haddad|Özdemir|"
    "Verstraete|Lefèvre|Gérard|François|Carlier|Collard|Noël|Verbeke|Verdonck|"
    "Vermeersch|Verhove|Verkerk|Verwinne|Verstraete|Verbroucke|Vercauwer|Vanbeke|"
    "Vandonck|Vanmeersch|Vanhove|Vankerk|Vanwinne|Vanstraete|Vanbroucke|Vancauwer|"
    "Debeke|Dedonck|Demeersch|Dehove|Dekerk|Dewinne|Destraete|Debroucke|Decauwer|"
    "Opbeke|Opdonck|Opmeersch|Ophove|Opkerk|Opwinne|Opstraete|Opbroucke|Opcauwer"
)
STREETS = _listed(
    "Kerkstraat|Stationsstraat|Schoolstraat|Molenstraat|Nieuwstraat|Dorpsstraat|"
    "Veldstraat|Rue de l'Église|Rue du Moulin|Avenue Louise|Chaussée de Wavre|"
    "Place Royale|Rue Haute|Koningin Astridlaan|Gentsesteenweg|Lindenlaan|"
    "Beukenlaan|Rue Neuve|Sint-Jansstraat|Hoogstraat"
)


@dataclass(frozen=True)
class Person:
    """Somebody, as they are."""

    id: int
    household: int
    first_name: str
    last_name: str
    birth_date: str
    sex: str
    number: str
    mother: int | None = None
    father: int | None = None
    twin: int | None = None


def national_number(year: int, month: int, day: int, serial: int) -> str:
    """A valid number; serial is odd for a man."""
    base = f"{year % 100:02d}{month:02d}{day:02d}{serial:03d}"
    check = 97 - int(("2" if year >= 2000 else "") + base) % 97
    return f"{base}{check:02d}"


class Town:
    """Families of two parents and one to four children: namesakes, twins, some that move.

    `homes` has the address of each household in the first and in the second year.
    """

    def __init__(self, families: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._weights = 1.0 / np.arange(1, len(LAST) + 1) ** 0.8
        self._weights /= self._weights.sum()
        self._serials: dict[tuple[str, str], int] = {}
        self._postcodes = max(20, families // 40)
        self.people: list[Person] = []
        self.children: list[int] = []
        self.relatives: dict[int, list[int]] = {}
        self.homes: list[tuple[Row, Row]] = []
        for _ in range(families):
            self._family()

    def _family(self) -> None:
        home = self._address()
        self.homes.append((home, self._address() if self._rng.random() < 0.12 else home))
        last = self._last_name()
        mother = self._add(self._first_name("F"), self._last_name(), self._date(1960, 1978), "F")
        father = self._add(self._first_name("M"), last, self._date(1958, 1978), "M")
        children: list[Person] = []
        for _ in range(int(self._rng.choice([1, 2, 3, 4], p=[0.3, 0.45, 0.2, 0.05]))):
            children += self._children(mother, father, {child.first_name for child in children})
        self.children += [child.id for child in children]
        members = [mother.id, father.id, *(child.id for child in children)]
        for member in members:
            self.relatives[member] = [other for other in members if other != member]

    def _children(self, mother: Person, father: Person, taken: set[str]) -> list[Person]:
        """A child, or twins; now and then a son has his father's name."""
        sex = "MF"[self._rng.integers(2)]
        name = self._first_name(sex)
        if sex == "M" and self._rng.random() < 0.02:
            name = father.first_name
        if name in taken:
            return []
        kin = {"mother": mother.id, "father": father.id}
        one = self._add(name, father.last_name, self._date(1995, 2009), sex, **kin)
        if self._rng.random() >= 0.03:
            return [one]
        name, sex = self._twin(one, taken | {name})
        two = self._add(name, father.last_name, one.birth_date, sex, twin=one.id, **kin)
        self.people[one.id] = replace(one, twin=two.id)
        return [self.people[one.id], two]

    def _twin(self, one: Person, taken: set[str]) -> tuple[str, str]:
        """Half of the twins have names much alike."""
        close = [
            name
            for name in FIRST[one.sex]
            if name[0] == one.first_name[0]
            and abs(len(name) - len(one.first_name)) < 2
            and name not in taken
        ]
        if close and self._rng.random() < 0.5:
            return close[self._rng.integers(len(close))], one.sex
        while True:
            sex = "MF"[self._rng.integers(2)]
            name = self._first_name(sex)
            if name not in taken:
                return name, sex

    def _add(self, first: str, last: str, born: str, sex: str, **kin: int) -> Person:
        serial = self._serials.get((born, sex), int(self._rng.integers(0, 200))) + 1
        self._serials[born, sex] = serial
        year, month, day = (int(part) for part in born.split("-"))
        number = national_number(year, month, day, 2 * serial - (sex == "M"))
        household = len(self.homes) - 1
        person = Person(len(self.people), household, first, last, born, sex, number, **kin)
        self.people.append(person)
        return person

    def _first_name(self, sex: str) -> str:
        return FIRST[sex][int(len(FIRST[sex]) * self._rng.random() ** 1.4)]

    def _last_name(self) -> str:
        return LAST[self._rng.choice(len(LAST), p=self._weights)]

    def _date(self, low: int, high: int) -> str:
        start = np.datetime64(f"{low}-01-01")
        days = int((np.datetime64(f"{high}-12-31") - start).astype(int))
        return str(start + self._rng.integers(0, days + 1))

    def _address(self) -> Row:
        box = "" if self._rng.random() < 0.9 else f" bus {self._rng.integers(1, 9)}"
        return {
            "street": STREETS[self._rng.integers(len(STREETS))],
            "house_number": f"{self._rng.integers(1, 250)}{box}",
            "postcode": str(1000 + 10 * int(self._rng.integers(0, self._postcodes))),
        }


@dataclass(frozen=True)
class Faults:
    """How often a clerk does what."""

    no_number: float = 0.03
    wrong_check: float = 0.01
    foreign_number: float = 0.005
    first_typo: float = 0.03
    last_typo: float = 0.03
    swapped: float = 0.015
    date_swap: float = 0.01
    date_digit: float = 0.015
    no_date: float = 0.01
    default_date: float = 0.004
    no_first: float = 0.003
    sex: float = 0.01
    street: float = 0.05
    duplicate: float = 0.005


@dataclass(frozen=True)
class Told:
    """Who an entry is, whether it has their own number, and their first name in its place."""

    person: int
    own_number: bool
    agreeing: bool


@dataclass
class Extract:
    """A delivery, and who each (record, reference) of it is."""

    delivery: Delivery
    truth: dict[tuple[int, str], Told] = field(default_factory=dict)


class Clerk:
    """Writes down people of a town, with mistakes. Parents come without birth date if so told."""

    def __init__(
        self, town: Town, seed: int, faults: Faults | None = None, *, parent_dates: bool = True
    ) -> None:
        self._town = town
        self._rng = np.random.default_rng(seed)
        self._faults = faults or Faults()
        self._parent_dates = parent_dates

    def waves(self) -> Iterator[Extract]:
        """In each of two years benefit (with parents) and spells; then a new holder's studies."""
        children = np.array(self._town.children)
        for year in (0, 1):
            some = children[self._rng.random(len(children)) < 0.95]
            yield self._extract("benefit", year, some, unit=True, parents=True)
            some = children[self._rng.random(len(children)) < 0.4]
            spells = np.repeat(some, self._rng.integers(1, 5, len(some)))
            yield self._extract("spells", year, spells, unit=False)
        some = children[self._rng.random(len(children)) < 0.7]
        yield self._extract("studies", 1, some, unit=True)

    def _extract(
        self, dataset: str, year: int, who: Any, *, unit: bool, parents: bool = False
    ) -> Extract:
        rows: list[tuple[Row, ...]] = []
        truth: dict[tuple[int, str], Told] = {}
        for person in self._rng.permutation(who).tolist():
            row = self._row(person, year, parents=parents)
            written = [row]
            if unit and self._rng.random() < self._faults.duplicate:
                exact = self._rng.random() < 0.5
                written.append(row if exact else self._row(person, year, parents=parents))
            for entries in written:
                rows.append(tuple(entry for entry, _ in entries))
                truth |= {(len(rows), entry["reference"]): told for entry, told in entries}
        made = delivery(rows, dataset=dataset, period=str(2024 + year), unit=unit)
        return Extract(made, truth)

    def _row(self, who: int, year: int, *, parents: bool) -> list[tuple[Row, Told]]:
        child = self._town.people[who]
        named = {"self": child.id}
        if parents and child.mother is not None and child.father is not None:
            named |= {"mother": child.mother, "father": child.father}
        home = self._town.homes[child.household][year]
        entries = []
        for reference, person in named.items():
            entry, told = self._entry(self._town.people[person])
            entry |= home | {"reference": reference}
            if self._strikes("street"):
                entry["street"] = self._typo(home["street"])
            if reference != "self":
                entry["sex"] = None
                entry["birth_date"] = entry["birth_date"] if self._parent_dates else None
            entries.append((entry, told))
        return entries

    def _strikes(self, fault: str) -> bool:
        return bool(self._rng.random() < getattr(self._faults, fault))

    def _entry(self, person: Person) -> tuple[Row, Told]:
        number = self._number(person)
        first: str | None = person.first_name
        if self._strikes("first_typo"):
            first = self._typo(person.first_name)
        if self._strikes("no_first"):
            first = None
        last: str | None = person.last_name
        if self._strikes("last_typo"):
            last = self._typo(person.last_name)
        if first is not None and self._strikes("swapped"):
            first, last = last, first
        entry = {
            "national_number": number,
            "first_name": first,
            "last_name": last,
            "birth_date": self._birth_date(person),
            "sex": "MF"[person.sex == "M"] if self._strikes("sex") else person.sex,
        }
        return entry, Told(person.id, number == person.number, first == person.first_name)

    def _number(self, person: Person) -> str | None:
        if self._strikes("no_number"):
            return None
        if self._strikes("wrong_check"):
            return person.number[:9] + f"{(int(person.number[9:]) + 12) % 97 + 1:02d}"
        if self._strikes("foreign_number"):
            kin = self._town.relatives[person.id]
            twin = person.twin is not None and self._rng.random() < 0.5
            other = person.twin if twin else kin[self._rng.integers(len(kin))]
            return self._town.people[other].number  # type: ignore[index]
        return person.number

    def _birth_date(self, person: Person) -> str | None:
        born = person.birth_date
        year, month, day = born.split("-")
        if self._strikes("date_swap") and int(day) <= 12:
            return f"{year}-{day}-{month}"
        if self._strikes("date_digit"):
            return self._digit(born)
        if self._strikes("default_date"):
            return f"{year}-01-01"
        return None if self._strikes("no_date") else born

    def _digit(self, born: str) -> str:
        """One digit wrong, of the year's last two as often as of the month or the day."""
        while True:
            at = int(self._rng.choice([2, 3, 5, 6, 8, 9]))
            wrong = born[:at] + str(self._rng.integers(10)) + born[at + 1 :]
            if wrong != born and 1 <= int(wrong[5:7]) <= 12 and 1 <= int(wrong[8:]) <= 28:
                return wrong

    def _typo(self, text: str) -> str:
        """A letter added, dropped, exchanged with the next or replaced."""
        at = int(self._rng.integers(1, max(2, len(text))))
        letter = "abcdefghijklmnopqrstuvwxyz"[self._rng.integers(26)]
        kinds = (
            text[:at] + letter + text[at:],
            text[: at - 1] + text[at:],
            text[: at - 1] + text[at : at + 1] + text[at - 1] + text[at + 1 :],
            text[: at - 1] + letter + text[at:],
        )
        return kinds[self._rng.integers(4)]
