"""What each holder would send about the demo's population, and the truth about every row of it.

`extracts(population, period)` gives a file per dataset, as its declaration in `datasets/` says. The
truth lies beside the file for whoever judges the result; no part of the service reads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from api.demo import faults, names
from api.demo.faults import Clerk, Identities
from api.demo.names import Integers, Texts
from api.demo.population import PERIODS, QUARTERS, Flags, Population
from linkage.extracts import Dataset

Columns = dict[str, Texts]

COVERAGE: Final = {"child-benefit": 0.99, "employment-service": 0.985, "education": 0.98}
"""Share of the people that should be in a source who are."""

_UNSEEN: Final = 0.05  # students of age who are registered at the employment service as well
_LEVELS: Final = ("SO3", "HBO5", "BA1", "BA2", "MA", "DOC")


@dataclass(frozen=True)
class ExtractFile:
    """One file as the holder writes it, and the truth about its rows.

    `truth` has a line per (row, reference) that names somebody: record (int64, from 1), reference,
    unit_type, person (int64; for an enterprise its position in `Population.enterprises`),
    own_number (the row holds this unit's own valid number) and name_agrees (with this unit's first
    name, accents and case aside; null for enterprises).
    """

    dataset: Dataset
    period: str
    content: bytes
    truth: Any


@cache
def declarations() -> Mapping[str, Dataset]:
    """The demo's datasets by id."""
    folder = Path(__file__).parent / "datasets"
    documents = (yaml.safe_load(path.read_text("utf-8")) for path in sorted(folder.glob("*.yaml")))
    return {dataset.id: dataset for dataset in map(Dataset.from_mapping, documents)}


def extracts(population: Population, period: str) -> dict[str, ExtractFile]:
    """What every holder sends for a period (2024 or 2025), by dataset id."""
    if period not in PERIODS:
        raise ValueError(f"the demo knows the periods {', '.join(PERIODS)}")
    writers: dict[str, Callable[[Population, int], _Draft]] = {
        "child-benefit": _child_benefit,
        "employment-service": _employment_service,
        "social-security": _social_security,
        "conversions": _conversions,
    }
    if period == PERIODS[-1]:
        writers["education"] = _education
    return {
        name: _sent(write(population, int(period)), population, name, period)
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
    found.update(_enterprise_texts(population.enterprises))
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
    dataset = declarations()[name]
    rng = np.random.default_rng((population.seed, crc32(name.encode()), int(period)))
    rows = len(next(iter(draft.columns.values())))
    again, differing = faults.duplicates(rng, rows)
    taken = np.concatenate([np.arange(rows), again])
    columns = {key: column[taken] for key, column in draft.columns.items()}
    if draft.retyped:
        retyped = columns[draft.retyped]
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
    """The bytes of a CSV file in the holder's format."""
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


@dataclass(frozen=True)
class _Style:
    delimiter: str
    encoding: str = "utf-8"
    quoted: bool = False
    line_end: str = "\n"


_STYLES: Final = {
    "child-benefit": _Style(";", line_end="\r\n"),
    "employment-service": _Style(",", quoted=True),
    "social-security": _Style(";", encoding="utf-8-sig", line_end="\r\n"),
    "education": _Style("|", encoding="cp1252"),
    "conversions": _Style(","),
}


def _child_benefit(population: Population, year: int) -> _Draft:
    """One row per child up to 18, or up to 25 and studying, with both parents."""
    people = population.present(year)
    ages, studying = population.ages(year)[people], population.in_education[year][people]
    due = (ages <= 18) | ((ages <= 25) & studying)
    people = people[due & _covered(population, "child-benefit")[people]]
    child = Clerk(population, "child-benefit", "self", year).write(people)
    rng = np.random.default_rng((population.seed, 1, year))
    columns = {
        "insz": faults.written_number(child.number),
        "voornaam": child.first_name,
        "naam": child.last_name,
        "geboortedatum": _day_first(child),
        "geslacht": _sexes(child, "MV"),
        **_address(population, child, ("straat", "huisnummer", "postcode", "gemeente"), year),
        "in_onderwijs": _texts(np.where(population.in_education[year][people], "ja", "nee")),
        "bedrag": _amounts(rng.choice([17_320, 18_440, 19_950, 25_980], len(people)), ","),
    }
    truth = {"self": _about(child)}
    for reference, dutch in (("mother", "moeder"), ("father", "vader")):
        of_children = getattr(population, reference)[people]
        known = of_children >= 0
        parent = Clerk(population, "child-benefit", reference, year).write(of_children)
        written = {
            "insz": faults.written_number(parent.number),
            "voornaam": parent.first_name,
            "naam": parent.last_name,
            "geboortedatum": _day_first(parent),
        }
        for key, column in written.items():
            columns[f"{dutch}_{key}"] = np.where(known, column, "")
        truth[reference] = _about(parent, known)
    return _Draft(columns, truth, retyped="naam")


def _employment_service(population: Population, year: int) -> _Draft:
    """Spells of everybody who left education, each with what the person was doing."""
    people = population.present(year)
    ages, studying = population.ages(year)[people], population.in_education[year][people]
    covered = _covered(population, "employment-service")[people]
    also = Clerk(population, "employment-service", "self", year).on_file("student", _UNSEEN)[people]
    people = people[covered & ((ages > 25) | ~studying | (also & (ages >= 18)))]
    spells = _spells(population, people, year)
    person = Clerk(population, "employment-service", "self", year).write(people[spells["who"]])
    columns = {
        "rijksregisternummer": faults.written_number(person.number, punctuated=True),
        "voornaam": person.first_name,
        "achternaam": person.last_name,
        "geboortedatum": _texts(person.birth.astype(str)),
        "geslacht": _sexes(person, "MV"),
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


def _social_security(population: Population, year: int) -> _Draft:
    """One row per person, employer and quarter, in capitals without accents."""
    people = population.present(year)
    parts = []
    for jobs, share in ((population.employer[year], 1.0), (population.second_employer[year], 0.25)):
        row, quarter = np.nonzero(jobs[people] >= 0)
        at = people[row]
        wage = (population.wage[year][at, quarter] * share).astype(np.int64)
        parts.append(np.stack([at, quarter, jobs[at, quarter], wage]))
    who, quarter, employer, wage = np.concatenate(parts, axis=1)
    person = Clerk(population, "social-security", "self", year).write(who)
    enterprise, own = _employer_numbers(population, employer, year)
    columns = {
        "niss": faults.written_number(person.number),
        "nom": _capitals(person.last_name),
        "prenom": _capitals(person.first_name),
        "date_naissance": _texts(person.birth.astype(str)),
        "sexe": _sexes(person, "12"),
        **_address(population, person, ("rue", "numero", "code_postal", "commune"), year),
        "entreprise": enterprise,
        "trimestre": _texts(np.char.add(f"{year}Q", (quarter + 1).astype(str))),
        "salaire_brut": _amounts(wage, "."),
        "statut": _texts(np.where(population.in_education[year][who], "E", "O")),
    }
    columns["rue"] = _capitals(columns["rue"])
    truth = {
        "self": _about(person),
        "employer": _Truth("enterprise", employer, enterprise != "", own, None),
    }
    return _Draft(columns, truth, retyped="nom")


def _education(population: Population, year: int) -> _Draft:
    """One row per enrolled person."""
    people = population.present(year)
    enrolled = population.in_education[year] & _covered(population, "education")[: population.young]
    people = people[enrolled[people]]
    person = Clerk(population, "education", "self", year).write(people)
    ages = population.ages(year)[people]
    level = np.searchsorted([18, 19, 21, 22, 24], ages, side="right")
    columns = {
        "insz": faults.written_number(person.number),
        "voornamen": person.first_name,
        "familienaam": person.last_name,
        "geboortedatum": _day_first(person),
        "geslacht": _sexes(person, "MV"),
        **_address(population, person, ("straat", "huisnummer", "postcode", "gemeente"), year),
        "niveau": names.texts(_LEVELS)[level],
        "schooljaar": _texts(np.full(len(people), str(year))),
    }
    return _Draft(columns, {"self": _about(person)}, retyped="straat")


def _conversions(population: Population, year: int) -> _Draft:
    """Everybody whose bis number was replaced by a national number so far."""
    people = np.flatnonzero((population.turned > 0) & (population.turned <= year))
    columns = {
        "bisnummer": faults.written_number(population.former[people]),
        "rijksregisternummer": faults.written_number(population.number[people]),
    }
    sure = np.ones(len(people), np.bool_)
    truth = {"conversion": _Truth("person", people, sure, sure, None)}
    return _Draft(columns, truth)


def _covered(population: Population, source: str) -> Flags:
    """Who is in a source's files, of those who should be."""
    return Clerk(population, source, "self", 0).on_file("covered", COVERAGE[source])


def _about(written: Identities, named: Flags | None = None) -> _Truth:
    everybody = np.ones(len(written.person), np.bool_)
    return _Truth(
        "person",
        written.person,
        everybody if named is None else named,
        written.own_number,
        written.name_agrees,
    )


def _employer_numbers(population: Population, employer: Integers, year: int) -> tuple[Texts, Flags]:
    """Numbers as written (a few missing, a few with a wrong check digit), and which are right."""
    rng = np.random.default_rng((population.seed, 3, year))
    numbers = _enterprise_texts(population.enterprises)[employer]
    luck = rng.random(len(employer))
    wrong, missing = luck < 0.01, luck > 0.99
    numbers[wrong] = [text[:-1] + str((int(text[-1]) + 1) % 10) for text in numbers[wrong]]
    numbers[missing] = ""
    return numbers, ~wrong & ~missing


def _enterprise_texts(numbers: Integers) -> Texts:
    return names.texts(f"{number:010d}" for number in numbers.tolist())


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


def _sexes(written: Identities, codes: str) -> Texts:
    return _texts(np.where(written.female, codes[1], codes[0]))


def _day_first(written: Identities) -> Texts:
    """Dates as dd/mm/yyyy."""
    iso = written.birth.astype(str).tolist()
    return names.texts(f"{day[8:]}/{day[5:7]}/{day[:4]}" for day in iso)


def _amounts(cents: Integers, decimal: str) -> Texts:
    return names.texts(f"{c // 100}{decimal}{c % 100:02d}" for c in cents.tolist())


def _capitals(column: Texts) -> Texts:
    return names.texts(faults.without_accents(text).upper() for text in column)
