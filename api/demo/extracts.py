"""What each holder would send about the demo's population, and the truth about every row of it.

`extracts(population, period)` gives a file per dataset, as its declaration in `datasets/` says. The
truth lies beside the file for whoever judges the result; no part of the service reads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

from api.demo import faults, names
from api.demo.faults import Clerk, Identities
from api.demo.names import Integers, Texts
from api.demo.population import PERIODS, QUARTERS, Days, Flags, Population
from linkage.extracts import Dataset

Columns = dict[str, Texts]

PAYERS: Final = ("child-benefit", "child-benefit-kleuterkas", "child-benefit-familia")
"""The datasets of the child-benefit payers, who divide the families among them."""
AGENCIES: Final = ("education", "education-fr")
"""The datasets of the education agencies, by the language of the schools."""
NEWCOMER: Final = "education-fr"
"""The dataset of the holder that joins in the third wave."""
CONVERSIONS: Final = "conversions"

COVERAGE: Final = {"child-benefit": 0.99, "employment-service": 0.985, "education": 0.928}
"""Share of the people that should be in a kind of source who are; some study abroad."""

AT_60000: Final = {
    "employment-service": 18_000,
    "social-security": 140_000,
    "child-benefit": 45_000,
    "education": 52_000,
}
"""Rows of each kind of source in a wave of 60,000 persons, nearly: what the rates come to."""

_LAST_AGE: Final = 25  # until which a payer keeps a child on file
_WITHIN_THE_YEAR: Final = 0.5  # of changes of payer; both send the child for that year
_REGISTERS: Final = 0.9  # of those without work for a quarter or more
_STILL_ON_FILE: Final = 0.11  # at the employment service: in work all year, or studying
_LEVELS: Final = ("SO3", "HBO5", "BA1", "BA2", "MA", "DOC")


@dataclass(frozen=True)
class ExtractFile:
    """One file as the holder writes it, and the truth about its rows.

    `truth` has a line per (row, reference) that names somebody: record (int64, from 1), reference,
    unit_type, person (int64; for an enterprise its position among `Population.enterprises`),
    own_number (the row holds this unit's own valid number) and name_agrees (with this unit's first
    name, accents and case aside; null for enterprises).
    """

    dataset: Dataset
    period: str
    content: bytes
    truth: Any

    @property
    def name(self) -> str:
        """What the holder calls the file."""
        return f"{self.dataset.id}-{self.period}.{self.dataset.format.kind or 'csv'}"


@cache
def declarations() -> Mapping[str, Dataset]:
    """The demo's datasets by id."""
    folder = Path(__file__).parent / "datasets"
    documents = (yaml.safe_load(path.read_text("utf-8")) for path in sorted(folder.glob("*.yaml")))
    return {dataset.id: dataset for dataset in map(Dataset.from_mapping, documents)}


def extracts(population: Population, period: str) -> dict[str, ExtractFile]:
    """What every holder sends for a period (2024 or 2025), by dataset id.

    The newcomer sends nothing for the first; the list of conversions is no extract, but sent too.
    """
    if period not in PERIODS:
        raise ValueError(f"the demo knows the periods {', '.join(PERIODS)}")
    writers: dict[str, Callable[[Population, str, int], _Draft]] = {
        **dict.fromkeys(PAYERS, _child_benefit),
        "employment-service": _employment_service,
        "social-security": _social_security,
        **dict.fromkeys(AGENCIES, _education),
        CONVERSIONS: _conversions,
    }
    if period != PERIODS[-1]:
        del writers[NEWCOMER]
    return {
        name: _sent(write(population, name, int(period)), population, name, period)
        for name, write in writers.items()
    }


def names_numbers_addresses(population: Population) -> list[str]:
    """Every name, number and address there is, in the forms in which sources write them."""
    first, last = population.first_name, population.last_name
    homes = population.homes
    numbers = np.concatenate([population.number, population.former[population.former > 0]])
    found: set[str] = {*first, *last, *(first + " " + last), *(last + " " + first)}
    found.update(homes.street + " " + homes.house)
    found.update(faults.written_number(numbers), faults.written_number(numbers, punctuated=True))
    found.update(_enterprise_texts(population.enterprises.number), population.enterprises.name)
    return sorted(found)


@dataclass(frozen=True)
class _Draft:
    """Rows before they are copied by mistake, shuffled and written."""

    columns: Columns
    truth: dict[str, "_Truth"]
    retyped: str | None = None  # the column that may differ in a row that is sent twice


@dataclass(frozen=True)
class _Truth:
    unit_type: str
    person: Integers
    named: Flags
    own_number: Flags
    name_agrees: Any


def _sent(draft: _Draft, population: Population, name: str, period: str) -> ExtractFile:
    """Copy some rows, shuffle all, write the file and the truth."""
    dataset, headers = declarations()[name], _STYLES[name].headers
    rng = np.random.default_rng((population.seed, crc32(name.encode()), int(period)))
    rows = len(next(iter(draft.columns.values())))
    again, differing = faults.duplicates(rng, rows)
    taken = np.concatenate([np.arange(rows), again])
    columns = {headers.get(key, key): column[taken] for key, column in draft.columns.items()}
    if draft.retyped:
        retyped = columns[headers.get(draft.retyped, draft.retyped)]
        retyped[rows + differing] = [
            faults.typo(text, int(rng.integers(2**40))) for text in retyped[rows + differing]
        ]
    shuffled = rng.permutation(len(taken))
    truth = [
        _truth_table(reference, about, taken[shuffled]) for reference, about in draft.truth.items()
    ]
    return ExtractFile(
        dataset=dataset,
        period=period,
        content=_written({key: column[shuffled] for key, column in columns.items()}, dataset),
        truth=pa.concat_tables(truth).sort_by(
            [("record", "ascending"), ("reference", "ascending")]
        ),
    )


def _truth_table(reference: str, about: _Truth, rows: Integers) -> Any:
    named = np.flatnonzero(about.named[rows])
    rows = rows[named]
    agrees = None if about.name_agrees is None else about.name_agrees[rows]
    return pa.table(
        {
            "record": named + 1,
            "reference": [reference] * len(rows),
            "unit_type": [about.unit_type] * len(rows),
            "person": about.person[rows],
            "own_number": about.own_number[rows],
            "name_agrees": pa.nulls(len(rows), pa.bool_()) if agrees is None else agrees,
        }
    )


def _written(columns: Columns, dataset: Dataset) -> bytes:
    """The bytes of a file in the holder's format."""
    if dataset.format.kind == "parquet":
        return _parquet(columns, dataset)
    style = _STYLES[dataset.id]
    table = pa.table({key: pa.array(column, pa.string()) for key, column in columns.items()})
    out = BytesIO()
    pyarrow.csv.write_csv(
        table,
        out,
        pyarrow.csv.WriteOptions(
            include_header=False,
            delimiter=style.delimiter,
            quoting_style="all_valid" if style.quoted else "none",
        ),
    )
    text = style.delimiter.join(columns) + "\n" + out.getvalue().decode()
    return text.replace("\n", style.line_end).encode(style.encoding)


def _parquet(columns: Columns, dataset: Dataset) -> bytes:
    """A Parquet file, dates and years in their own types."""
    types = {"birth_date": pa.date32(), "year": pa.int16()}
    table = pa.table(
        {
            key: pa.array([text or None for text in column], pa.string()).cast(
                types.get(dataset.variable(key).type, pa.string())
            )
            for key, column in columns.items()
        }
    )
    out = BytesIO()
    pyarrow.parquet.write_table(table, out, write_page_checksum=True)
    return out.getvalue()


@dataclass(frozen=True)
class _Style:
    """How a holder writes: the file, its headers where they differ from its kind's, and values."""

    delimiter: str = ","
    encoding: str = "utf-8"
    quoted: bool = False
    line_end: str = "\n"
    day_first: bool = False
    decimal: str = ","
    sexes: str = "MV"
    yes_no: tuple[str, str] = ("ja", "nee")
    headers: Mapping[str, str] = field(default_factory=dict)

    def dates(self, days: Days) -> Texts:
        """Dates as dd/mm/yyyy or yyyy-mm-dd."""
        iso = days.astype(str)
        if not self.day_first:
            return _texts(iso)
        distinct, codes = np.unique(iso, return_inverse=True)
        return names.texts(f"{d[8:]}/{d[5:7]}/{d[:4]}" for d in distinct.tolist())[codes]

    def flags(self, flags: Flags) -> Texts:
        """Yes or no."""
        return _texts(np.where(flags, *self.yes_no))

    def sex(self, written: Identities) -> Texts:
        """The holder's codes of the sexes."""
        return _texts(np.where(written.female, self.sexes[1], self.sexes[0]))


_STYLES: Final = {
    "child-benefit": _Style(";", line_end="\r\n", day_first=True),
    "child-benefit-kleuterkas": _Style(
        ",",
        quoted=True,
        decimal=".",
        headers={
            "insz": "rijksregister",
            "naam": "familienaam",
            "geboortedatum": "geboren",
            "huisnummer": "nr",
            "in_onderwijs": "studeert",
            "bedrag": "maandbedrag",
            **{
                f"{dutch}_{key}": f"{own}_{header}"
                for dutch, own in (("moeder", "mama"), ("vader", "papa"))
                for key, header in (
                    ("insz", "rijksregister"),
                    ("voornaam", "voornaam"),
                    ("naam", "familienaam"),
                    ("geboortedatum", "geboren"),
                )
            },
        },
    ),
    "child-benefit-familia": _Style(
        ";",
        encoding="cp1252",
        day_first=True,
        sexes="MF",
        yes_no=("oui", "non"),
        headers={
            "insz": "niss",
            "voornaam": "prenom",
            "naam": "nom",
            "geboortedatum": "naissance",
            "geslacht": "sexe",
            "straat": "rue",
            "huisnummer": "numero",
            "postcode": "code_postal",
            "gemeente": "commune",
            "in_onderwijs": "aux_etudes",
            "bedrag": "montant",
            **{
                f"{dutch}_{key}": f"{own}_{header}"
                for dutch, own in (("moeder", "mere"), ("vader", "pere"))
                for key, header in (
                    ("insz", "niss"),
                    ("voornaam", "prenom"),
                    ("naam", "nom"),
                    ("geboortedatum", "naissance"),
                )
            },
        },
    ),
    "employment-service": _Style(",", quoted=True),
    "social-security": _Style(";", encoding="utf-8-sig", line_end="\r\n", decimal=".", sexes="12"),
    "education": _Style("|", encoding="cp1252", day_first=True),
    "education-fr": _Style(
        sexes="MF",
        headers={
            "insz": "niss",
            "voornamen": "prenom",
            "familienaam": "nom",
            "geboortedatum": "date_naissance",
            "geslacht": "sexe",
            "straat": "rue",
            "huisnummer": "numero",
            "postcode": "code_postal",
            "gemeente": "commune",
            "niveau": "niveau_etudes",
            "schooljaar": "annee_scolaire",
        },
    ),
    CONVERSIONS: _Style(),
}


def _child_benefit(population: Population, name: str, year: int) -> _Draft:
    """One row per child on a payer's file, with both parents.

    Who changed payers within the year is sent by both. A payer keeps children on file up to 25,
    and pays (otherwise the amount is 0) up to 18, or as long as they study.
    """
    style = _STYLES[name]
    people = population.present(year)
    ages = population.ages(year)
    here = _at_payer(population, PAYERS.index(name), year) & (ages <= _LAST_AGE)
    people = people[(here & _covered(population, "child-benefit")[: population.young])[people]]
    ages, studying = ages[people], population.in_education[year][people]
    child = Clerk(population, name, "self", year).write(people)
    rng = np.random.default_rng((population.seed, 1, year, PAYERS.index(name)))
    due = (ages <= 18) | studying
    amount = np.where(due, rng.choice([17_320, 18_440, 19_950, 25_980], len(people)), 0)
    columns = {
        "insz": faults.written_number(child.number),
        "voornaam": child.first_name,
        "naam": child.last_name,
        "geboortedatum": style.dates(child.birth),
        "geslacht": style.sex(child),
        **_address(population, child, ("straat", "huisnummer", "postcode", "gemeente"), year),
        "in_onderwijs": style.flags(studying),
        "bedrag": _amounts(amount, style.decimal),
    }
    truth = {"self": _about(child)}
    for reference, dutch in (("mother", "moeder"), ("father", "vader")):
        of_children = getattr(population, reference)[people]
        known = of_children >= 0
        parent = Clerk(population, name, reference, year).write(of_children)
        written = {
            "insz": faults.written_number(parent.number),
            "voornaam": parent.first_name,
            "naam": parent.last_name,
            "geboortedatum": style.dates(parent.birth),
        }
        for key, column in written.items():
            columns[f"{dutch}_{key}"] = np.where(known, column, "")
        truth[reference] = _about(parent, known)
    return _Draft(columns, truth, retyped="naam")


def _at_payer(population: Population, payer: int, year: int) -> Flags:
    """Whose family the payer paid at the year's end, or until some day of that year."""
    now, before = population.payer[year] == payer, population.payer[year - 1] == payer
    rng = np.random.default_rng((population.seed, 4, year))
    late = rng.random(int(population.family[-1]) + 1) < _WITHIN_THE_YEAR
    return np.asarray(now | (before & late[population.family]))


def _employment_service(population: Population, name: str, year: int) -> _Draft:
    """Spells of those who looked for work at some time of the year, and of some still on file."""
    people = population.present(year)
    ages, studying = population.ages(year)[people], population.in_education[year][people]
    clerk = Clerk(population, name, "self", year)
    idle = ~studying & (population.employer[year][people] < 0).any(axis=1)
    registered = idle & clerk.on_file("registered", _REGISTERS)[people]
    others = ~idle & (ages >= 18) & clerk.on_file("still on file", _STILL_ON_FILE)[people]
    people = people[(registered | others) & _covered(population, name)[people]]
    spells = _spells(population, people, year)
    person = clerk.write(people[spells["who"]])
    style = _STYLES[name]
    columns = {
        "rijksregisternummer": faults.written_number(person.number, punctuated=True),
        "voornaam": person.first_name,
        "achternaam": person.last_name,
        "geboortedatum": style.dates(person.birth),
        "geslacht": style.sex(person),
        **_address(population, person, ("straat", "nummer", "postcode", "gemeente"), year),
        "categorie": _texts(np.char.zfill(spells["state"].astype(str), 2)),
        "begin": _texts(spells["start"].astype(str)),
        "einde": np.where(spells["open"], "", _texts(spells["end"].astype(str))),
    }
    return _Draft(columns, {"self": _about(person)}, retyped="straat")


def _spells(population: Population, people: Integers, year: int) -> dict[str, Any]:
    """Runs of quarters in one state: 1 seeking work, 2 working, 3 not available, 4 studying."""
    rng = np.random.default_rng((population.seed, 2, year))
    employed = population.employer[year][people] >= 0
    idle = np.where(rng.random(len(people)) < 0.85, 1, 3)
    resting = np.where(population.in_education[year][people], 4, idle)
    state = np.where(employed, 2, resting[:, None])
    starts = np.concatenate([np.ones((len(people), 1), np.bool_), state[:, 1:] != state[:, :-1]], 1)
    who, first = np.nonzero(starts)
    last = np.append(first[1:], 0) - 1
    last[last < first] = QUARTERS - 1
    opening = np.datetime64(f"{year}-01", "M") + 3 * np.arange(QUARTERS + 1)
    days = opening.astype("datetime64[D]")
    before = np.where(first == 0, -rng.integers(0, 400, len(who)), rng.integers(0, 20, len(who)))
    return {
        "who": who,
        "state": state[who, first],
        "start": days[first] + before,
        "end": days[last + 1] - 1,
        "open": last == QUARTERS - 1,
    }


def _social_security(population: Population, name: str, year: int) -> _Draft:
    """One row per person, employer and quarter, in capitals without accents."""
    people = population.present(year)
    parts = []
    for jobs, share in ((population.employer[year], 1.0), (population.second_employer[year], 0.25)):
        row, quarter = np.nonzero(jobs[people] >= 0)
        at = people[row]
        wage = (population.wage[year][at, quarter] * share).astype(np.int64)
        parts.append(np.stack([at, quarter, jobs[at, quarter], wage]))
    who, quarter, employer, wage = np.concatenate(parts, axis=1)
    person = Clerk(population, name, "self", year).write(who)
    enterprise = faults.enterprises(population, employer, year)
    seat = population.enterprises.home[employer]
    style = _STYLES[name]
    columns = {
        "niss": faults.written_number(person.number),
        "nom": _capitals(person.last_name),
        "prenom": _capitals(person.first_name),
        "date_naissance": style.dates(person.birth),
        "sexe": style.sex(person),
        **_address(population, person, ("rue", "numero", "code_postal", "commune"), year),
        "entreprise": _enterprise_texts(enterprise.number),
        "employeur": _capitals(enterprise.name),
        "employeur_rue": _capitals(population.homes.street[seat]),
        "employeur_numero": population.homes.house[seat],
        "employeur_code_postal": faults.postcode(population, seat),
        "employeur_commune": faults.municipality(population, seat, year),
        "activite": population.enterprises.activity[employer],
        "effectif": _texts(population.enterprises.employees[employer].astype(str)),
        "trimestre": _texts(np.char.add(f"{year}Q", (quarter + 1).astype(str))),
        "salaire_brut": _amounts(wage, style.decimal),
        "statut": _texts(np.where(population.in_education[year][who], "E", "O")),
    }
    columns["rue"] = _capitals(columns["rue"])
    truth = {
        "self": _about(person),
        "employer": _Truth(
            "enterprise", employer, np.ones(len(employer), np.bool_), enterprise.own_number, None
        ),
    }
    return _Draft(columns, truth, retyped="nom")


def _education(population: Population, name: str, year: int) -> _Draft:
    """One row per enrolment: this school year's, and last one's of those who were 15 then."""
    people = population.present(year)
    french = AGENCIES.index(name) == 1
    schooled = (population.speaks_french == french) & _covered(population, "education")[
        : population.young
    ]
    people = people[schooled[people]]
    before = population.in_education[year - 1][people] & (population.ages(year - 1)[people] >= 15)
    rows = [people[before], people[population.in_education[year][people]]]
    who = np.concatenate(rows)
    begun = np.repeat([year - 1, year], [len(part) for part in rows])
    person = Clerk(population, name, "self", year).write(who)
    ages = population.ages(year)[who] - (year - begun)
    level = np.searchsorted([18, 19, 21, 22, 24], ages, side="right")
    style = _STYLES[name]
    columns = {
        "insz": faults.written_number(person.number),
        "voornamen": person.first_name,
        "familienaam": person.last_name,
        "geboortedatum": style.dates(person.birth),
        "geslacht": style.sex(person),
        **_address(population, person, ("straat", "huisnummer", "postcode", "gemeente"), year),
        "niveau": names.texts(_LEVELS)[level],
        "schooljaar": _texts(begun.astype(str)),
    }
    return _Draft(columns, {"self": _about(person)}, retyped="straat")


def _conversions(population: Population, _name: str, year: int) -> _Draft:
    """Everybody whose bis number was replaced by a national number so far."""
    people = np.flatnonzero((population.turned > 0) & (population.turned <= year))
    columns = {
        "bisnummer": faults.written_number(population.former[people]),
        "rijksregisternummer": faults.written_number(population.number[people]),
    }
    sure = np.ones(len(people), np.bool_)
    truth = {"conversion": _Truth("person", people, sure, sure, None)}
    return _Draft(columns, truth)


def _covered(population: Population, kind: str) -> Flags:
    """Who is in the files of a kind of source, of those who should be."""
    return Clerk(population, kind, "self", 0).on_file("covered", COVERAGE[kind])


def _about(written: Identities, named: Flags | None = None) -> _Truth:
    everybody = np.ones(len(written.person), np.bool_)
    return _Truth(
        "person",
        written.person,
        everybody if named is None else named,
        written.own_number,
        written.name_agrees,
    )


def _enterprise_texts(numbers: Integers) -> Texts:
    return _per_value(lambda number: f"{number:010d}" if number else "", numbers)


def _address(
    population: Population, written: Identities, headers: tuple[str, str, str, str], year: int
) -> Columns:
    street, house, postcode, municipality = headers
    return {
        street: written.street,
        house: written.house,
        postcode: faults.postcode(population, written.home),
        municipality: faults.municipality(population, written.home, year),
    }


def _texts(values: Any) -> Texts:
    return np.asarray(values).astype(object)


def _amounts(cents: Integers, decimal: str) -> Texts:
    return _per_value(lambda c: f"{c // 100}{decimal}{c % 100:02d}", cents)


def _capitals(column: Texts) -> Texts:
    distinct = {text: faults.without_accents(text).upper() for text in set(column.tolist())}
    return names.texts(map(distinct.__getitem__, column.tolist()))


def _per_value(written: Callable[[int], str], numbers: Integers) -> Texts:
    """Numbers as texts, each distinct one written once."""
    distinct, codes = np.unique(numbers, return_inverse=True)
    return names.texts(map(written, distinct.tolist()))[codes]
