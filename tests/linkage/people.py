"""People with known identities, and what careless clerks make of them.

Written apart from the engine and from the demo: no rate of this file is a parameter of either.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from linkage.deliveries import RECORDS, Delivery

FIRST = {
    "M": [
        "Jan",
        "Noah",
        "Liam",
        "Arthur",
        "Lucas",
        "Louis",
        "Adam",
        "Jules",
        "Victor",
        "Mohamed",
        "Gabriel",
        "Oscar",
        "Leon",
        "Finn",
        "Matteo",
        "Hugo",
        "Rayan",
        "Lewis",
        "Mathis",
        "Thomas",
        "Elias",
        "Senne",
        "Milan",
        "Mats",
        "Vince",
        "Kobe",
        "Lars",
        "Stan",
        "Wout",
        "Seppe",
        "Daan",
        "Nathan",
        "Maxime",
        "Antoine",
        "Simon",
        "Alexandre",
        "Nicolas",
        "Pierre",
        "Luc",
        "Marc",
        "Philippe",
        "Michel",
        "Patrick",
        "Dirk",
        "Johan",
        "Peter",
        "Bart",
        "Koen",
        "Geert",
        "Wim",
        "Stijn",
        "Tom",
        "Kevin",
        "Jeroen",
        "Pieter",
        "Frederik",
        "Bilal",
        "Yusuf",
        "Ali",
        "Omar",
        "Ahmed",
        "Ibrahim",
        "Hamza",
        "Youssef",
        "Karim",
        "Rachid",
        "Hassan",
        "Said",
        "Jean",
        "Paul",
        "André",
        "Jacques",
        "Jean-Pierre",
        "Jean-Luc",
        "Elif",
        "Emir",
        "Kerem",
        "Piotr",
        "Jakub",
        "Andrei",
        "Mihai",
        "Florin",
        "Diego",
        "Enzo",
        "Nino",
        "Gust",
    ],
    "F": [
        "Luna",
        "Lina",
        "Noa",
        "Nora",
        "Olivia",
        "Emma",
        "Louise",
        "Mila",
        "Juliette",
        "Alice",
        "Marie",
        "Camille",
        "Elena",
        "Lena",
        "Julia",
        "Anna",
        "Ella",
        "Chloé",
        "Zoé",
        "Léa",
        "Manon",
        "Sofia",
        "Sarah",
        "Inaya",
        "Yasmine",
        "Amira",
        "Aya",
        "Fatima",
        "Hanne",
        "Lotte",
        "Femke",
        "Fien",
        "Lore",
        "Jana",
        "Amber",
        "Laura",
        "Lisa",
        "Lise",
        "Julie",
        "Charlotte",
        "Elise",
        "Eline",
        "Jolien",
        "Sofie",
        "Sophie",
        "Katrien",
        "An",
        "Ann",
        "Els",
        "Ilse",
        "Ingrid",
        "Karin",
        "Martine",
        "Nathalie",
        "Isabelle",
        "Véronique",
        "Monique",
        "Christine",
        "Anne",
        "Anne-Marie",
        "Marie-Louise",
        "Kim",
        "Sandra",
        "Nancy",
        "Sabine",
        "Griet",
        "Leen",
        "Tine",
        "Nele",
        "Khadija",
        "Malika",
        "Nadia",
        "Samira",
        "Zeynep",
        "Elin",
        "Magda",
        "Agnieszka",
        "Ioana",
        "Elif",
        "Maria",
        "Ana",
        "Carmen",
        "Giulia",
        "Chiara",
        "Rosa",
        "Lola",
    ],
}
LAST = (
    "Peeters|Janssens|Maes|Jacobs|Mertens|Willems|Claes|Goossens|Wouters|De Smet|Dubois|Lambert|"
    "Martin|Dupont|Dumont|Leroy|Simon|Laurent|Renard|Lejeune|Van den Broeck|Van Damme|De Vos|"
    "De Clercq|D'Hondt|Vandenberghe|Van de Velde|Vermeulen|Hermans|Aerts|Michiels|Pauwels|Desmet|"
    "Bogaerts|Segers|Smets|Thys|Lemmens|Cools|Verhoeven|Coppens|Hendrickx|Declercq|Stevens|"
    "Van Acker|Baert|El Amrani|Yilmaz|Kaya|Nguyen|Diallo|Benali|Bakkali|Ouali|Nowak|Popescu|Rossi|"
    "Garcia|Ait Said|Kowalski|Ivanov|Haddad|Özdemir|Verstraete|Lefèvre|Gérard|François|Carlier|"
    "Collard|Noël"
).split("|")
LAST += [
    start + end
    for start in ("Ver", "Van", "De", "Op")
    for end in "beke donck meersch hove kerk winne straete broucke cauwer".split()
]
STREETS = (
    "Kerkstraat|Stationsstraat|Schoolstraat|Molenstraat|Nieuwstraat|Dorpsstraat|Veldstraat|"
    "Rue de l'Église|Rue du Moulin|Avenue Louise|Chaussée de Wavre|Place Royale|Rue Haute|"
    "Koningin Astridlaan|Gentsesteenweg|Lindenlaan|Beukenlaan|Rue Neuve|Sint-Jansstraat|Hoogstraat"
).split("|")


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


@dataclass(frozen=True)
class World:
    """People and the addresses of their households, before and after a year."""

    people: tuple[Person, ...]
    addresses: tuple[Mapping[int, tuple[str, str, str]], ...]
    children: tuple[int, ...]
    relatives: Mapping[int, tuple[int, ...]]


def national_number(year: int, month: int, day: int, serial: int) -> str:
    """A valid number; serial is odd for a man."""
    base = f"{year % 100:02d}{month:02d}{day:02d}{serial:03d}"
    check = 97 - int(("2" if year >= 2000 else "") + base) % 97
    return f"{base}{check:02d}"


def world(families: int, seed: int) -> World:
    """Families of two parents and one to four children, some of them twins with close names."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, len(LAST) + 1) ** 0.8
    weights /= weights.sum()
    serials: dict[tuple[str, str], int] = {}
    people: list[Person] = []
    before: dict[int, tuple[str, str, str]] = {}
    after: dict[int, tuple[str, str, str]] = {}
    children: list[int] = []
    relatives: dict[int, tuple[int, ...]] = {}

    def number(date: str, sex: str) -> str:
        key = (date, sex)
        serials[key] = serials.get(key, int(rng.integers(0, 200))) + 1
        year, month, day = (int(part) for part in date.split("-"))
        return national_number(year, month, day, 2 * serials[key] - (sex == "M"))

    def date(low: int, high: int) -> str:
        start = np.datetime64(f"{low}-01-01")
        days = int((np.datetime64(f"{high}-12-31") - start).astype(int))
        return str(start + rng.integers(0, days + 1))

    def name(sex: str) -> str:
        pool = FIRST[sex]
        return pool[int(len(pool) * rng.random() ** 1.4)]

    def address() -> tuple[str, str, str]:
        return (
            STREETS[rng.integers(len(STREETS))],
            str(rng.integers(1, 250))
            + ("" if rng.random() < 0.9 else f" bus {rng.integers(1, 9)}"),
            str(1000 + 10 * int(rng.integers(0, max(20, families // 40)))),
        )

    def add(household: int, first: str, last: str, born: str, sex: str, **kin: Any) -> Person:
        person = Person(len(people), household, first, last, born, sex, number(born, sex), **kin)
        people.append(person)
        return person

    for household in range(families):
        before[household] = address()
        after[household] = address() if rng.random() < 0.12 else before[household]
        last = LAST[rng.choice(len(LAST), p=weights)]
        maiden = LAST[rng.choice(len(LAST), p=weights)]
        mother = add(household, name("F"), maiden, date(1960, 1978), "F")
        father = add(household, name("M"), last, date(1958, 1978), "M")
        kin = {"mother": mother.id, "father": father.id}
        siblings: list[Person] = []
        for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.3, 0.45, 0.2, 0.05]))):
            sex = "MF"[int(rng.random() < 0.5)]
            first = name(sex)
            if sex == "M" and rng.random() < 0.02:
                first = father.first_name
            taken = {s.first_name for s in siblings}
            if first in taken:
                continue
            siblings.append(add(household, first, last, date(1995, 2009), sex, **kin))
            if rng.random() < 0.03:
                one = siblings.pop()
                other = _twin_name(one, taken, rng, name)
                sex = one.sex if other in FIRST[one.sex] else "MF"[one.sex == "M"]
                two = add(household, other, last, one.birth_date, sex, twin=one.id, **kin)
                people[one.id] = replace(one, twin=two.id)
                siblings += [people[one.id], two]
        ids = [s.id for s in siblings]
        children += ids
        for member in [mother.id, father.id, *ids]:
            relatives[member] = tuple(x for x in [*ids, mother.id, father.id] if x != member)
    return World(tuple(people), (before, after), tuple(children), relatives)


def _twin_name(one: Person, taken: set[str], rng: np.random.Generator, name: Any) -> str:
    taken = taken | {one.first_name}
    close = [
        n
        for n in FIRST[one.sex]
        if n not in taken and n[0] == one.first_name[0] and abs(len(n) - len(one.first_name)) <= 1
    ]
    if close and rng.random() < 0.5:
        return close[rng.integers(len(close))]
    while True:
        other = str(name("MF"[int(rng.random() < 0.5)]))
        if other not in taken:
            return other


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


@dataclass
class Extract:
    """Rows as delivered and, beside them, who each (row, reference) is and in what state."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    truth: dict[tuple[bytes, str], int] = field(default_factory=dict)
    own_number: dict[tuple[bytes, str], bool] = field(default_factory=dict)
    agreeing: dict[tuple[bytes, str], bool] = field(default_factory=dict)


def _typo(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, max(2, len(text))))
    kind = rng.integers(4)
    letter = "abcdefghijklmnopqrstuvwxyz"[rng.integers(26)]
    if kind == 0:
        return text[:at] + letter + text[at:]
    if kind == 1 and len(text) > 2:
        return text[: at - 1] + text[at:]
    if kind == 2 and at < len(text):
        return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
    return text[: at - 1] + letter + text[at:]


def _wrong_check(number: str) -> str:
    return number[:9] + f"{(int(number[9:]) + 12) % 97 + 1:02d}"


def write(
    extract: Extract,
    world_: World,
    people: Iterable[tuple[int, Mapping[str, int | None]]],
    year: int,
    faults: Faults,
    rng: np.random.Generator,
    *,
    unit: bool,
    parent_dates: bool = True,
) -> None:
    """Add a row for each (person, other references) to the extract."""
    record = 0
    for who, others in people:
        copies = 2 if unit and rng.random() < faults.duplicate else 1
        exact = rng.random() < 0.5
        entries: list[dict[str, Any]] = []
        for copy in range(copies):
            record += 1
            key = rng.bytes(16)
            if copy == 0 or not exact:
                entries = [
                    _entry(
                        extract,
                        world_,
                        person,
                        name,
                        year,
                        faults,
                        rng,
                        key,
                        who,
                        dated=name == "self" or parent_dates,
                    )
                    for name, person in [("self", who), *others.items()]
                    if person is not None
                ]
            else:
                for entry in entries:
                    old = (entry["row_key"], entry["reference"])
                    for table in (extract.truth, extract.own_number, extract.agreeing):
                        table[(key, entry["reference"])] = table[old]  # type: ignore[index,assignment]
            for entry in entries:
                extract.rows.append(
                    entry
                    | {
                        "row_key": key,
                        "record": record,
                        "distinct": unit and entry["reference"] == "self",
                    }
                )


def _entry(
    extract: Extract,
    world_: World,
    who: int,
    reference: str,
    year: int,
    faults: Faults,
    rng: np.random.Generator,
    key: bytes,
    row_of: int,
    *,
    dated: bool,
) -> dict[str, Any]:
    person = world_.people[who]
    chance = rng.random(16)
    number: str | None = person.number
    own = True
    if chance[0] < faults.no_number:
        number, own = None, False
    elif chance[1] < faults.wrong_check:
        number, own = _wrong_check(person.number), False
    elif chance[2] < faults.foreign_number:
        kin = world_.relatives[who]
        other = person.twin if person.twin is not None and rng.random() < 0.5 else None
        number, own = (
            world_.people[other if other is not None else kin[rng.integers(len(kin))]].number,
            False,
        )
    first: str | None = person.first_name
    last: str = person.last_name
    agreeing = True
    if chance[3] < faults.first_typo:
        first, agreeing = _typo(person.first_name, rng), False
    if chance[4] < faults.last_typo:
        last = _typo(last, rng)
    if chance[5] < faults.no_first:
        first, agreeing = None, False
    born: str | None = person.birth_date
    y, m, d = person.birth_date.split("-")
    if chance[6] < faults.date_swap and int(d) <= 12:
        born = f"{y}-{d}-{m}"
    elif chance[7] < faults.date_digit:
        born = _digit(person.birth_date, rng)
    elif chance[8] < faults.default_date:
        born = f"{y}-01-01"
    elif chance[9] < faults.no_date:
        born = None
    if not dated:
        born = None
    sex = person.sex if chance[10] >= faults.sex else "MF"[person.sex == "M"]
    street, house, postcode = world_.addresses[year][world_.people[row_of].household]
    if chance[11] < faults.street:
        street = _typo(street, rng)
    if first is not None and chance[12] < faults.swapped:
        first, last = last, first
    identity = (key, reference)
    extract.truth[identity] = who
    extract.own_number[identity] = own
    extract.agreeing[identity] = agreeing
    return {
        "row_key": key,
        "reference": reference,
        "unit_type": "person",
        "national_number": number,
        "first_name": first,
        "last_name": last,
        "birth_date": born,
        "sex": sex if reference == "self" else None,
        "street": street,
        "house_number": house,
        "postcode": postcode,
    }


def _digit(date: str, rng: np.random.Generator) -> str:
    while True:
        at = int(
            rng.choice([0, 1, 2, 3, 5, 6, 8, 9], p=[0.01, 0.02, 0.1, 0.27, 0.1, 0.2, 0.1, 0.2])
        )
        changed = date[:at] + str(rng.integers(10)) + date[at + 1 :]
        y, m, d = (int(part) for part in changed.split("-"))
        if changed != date and 1850 < y < 2100 and 1 <= m <= 12 and 1 <= d <= 28:
            return changed


def table(rows: list[dict[str, Any]]) -> Any:
    """Records of a delivery, in the order of their row keys as intake gives them."""
    return pa.Table.from_pylist(rows, schema=RECORDS).sort_by(
        [("row_key", "ascending"), ("reference", "ascending")]
    )


def waves(
    world_: World, seed: int, faults: Faults | None = None, *, parent_dates: bool = True
) -> list[tuple[Delivery, Extract]]:
    """Five deliveries: in each of two years benefit (with parents) and spells, then studies."""
    rng = np.random.default_rng(seed + 1000)
    faults = faults or Faults()
    made: list[tuple[Delivery, Extract]] = []

    def deliver(dataset: str, year: int, extract: Extract) -> None:
        name = f"{dataset}-{2024 + year}"
        made.append((Delivery(name, dataset, str(2024 + year), table(extract.rows)), extract))

    for year in (0, 1):
        benefit, spells = Extract(), Extract()
        kids = [k for k in world_.children if rng.random() < 0.95]
        parents = [
            (k, {"mother": world_.people[k].mother, "father": world_.people[k].father})
            for k in rng.permutation(kids).tolist()
        ]
        write(benefit, world_, parents, year, faults, rng, unit=True, parent_dates=parent_dates)
        deliver("benefit", year, benefit)
        some = [k for k in world_.children if rng.random() < 0.4]
        many = rng.permutation([k for k in some for _ in range(int(rng.integers(1, 5)))]).tolist()
        write(spells, world_, [(k, {}) for k in many], year, faults, rng, unit=False)
        deliver("spells", year, spells)
    studies = Extract()
    kids = [(int(k), {}) for k in rng.permutation(world_.children) if rng.random() < 0.7]
    write(studies, world_, kids, 1, faults, rng, unit=True)
    deliver("studies", 1, studies)
    return made
