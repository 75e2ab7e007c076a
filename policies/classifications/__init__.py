"""Belgian places and their levels: which arrondissement, province and region a code lies in.
(`activities` has those of economic activities.)

The tables beside this file are made by `build.py`; `PROVENANCE.md` names who published them. Three
situations are known: 2018 (589 municipalities, before 2019), 2019 (581, 2019 to 2024) and 2025
(565). Codes of an older one are followed into the newer; the other way round is an error, because a
merged municipality can't be taken apart. Postcodes are known in 2019 and 2025. Codes are text and
keep their leading zeros.

Brussels has no province. At that level its 19 municipalities have `BRUSSELS` (04000), the code of
the region itself, as in the publisher's own tables, so that no level has holes.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError

Level = Literal["municipality", "arrondissement", "province", "region"]
Source = Literal["postcode", "municipality", "arrondissement", "province", "region"]
Situation = Literal[2018, 2019, 2025]

LEVELS: tuple[Level, ...] = get_args(Level)
"""From fine to coarse."""
SOURCES: tuple[Source, ...] = get_args(Source)
SITUATIONS: tuple[Situation, ...] = get_args(Situation)
BRUSSELS = "04000"
PROVENANCE = (
    "Statbel, REFNIS codes (situation of 1 January 2019, and of 1 January 2025 after the mergers) "
    "and the conversion of postcodes to REFNIS codes of 1 January 2019; Eurostat, degrees of "
    "urbanisation, NACE Rev. 2 and Rev. 2.1, with the aggregations of ESA 2010"
)


class UnmappedCodeError(PolicyError):
    """Codes without a place in the asked classification; says how many, never which."""

    def __init__(self, what: str, edition: str, values: int, distinct: int, hint: str = "") -> None:
        super().__init__(
            f"{values} values ({distinct} distinct) are no {what}{hint}; correct them at the "
            f"source, or choose the {edition} that the codes were made for"
        )
        self.what, self.edition = what, edition
        self.values = values
        self.distinct = distinct


def spread(encoded: pa.DictionaryArray, mapped: pa.Array, what: str, edition: str) -> pa.Array:
    """The mapped distinct values over the rows of a dictionary array. A value without a mapping
    is an `UnmappedCodeError`."""
    found = mapped.take(encoded.indices)
    lost = pc.and_(pc.is_valid(encoded), pc.is_null(found))
    values = pc.sum(lost).as_py() or 0
    if values:
        distinct = pc.count_distinct(encoded.indices.filter(lost)).as_py()
        raise UnmappedCodeError(what, edition, values, distinct)
    return found


def encoded_once(codes: pa.Array) -> pa.DictionaryArray:
    """Codes (plain, chunked or encoded already) as one dictionary array."""
    encoded = codes if pa.types.is_dictionary(codes.type) else codes.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def _parents() -> dict[tuple[str, str], str]:
    """(level, code) → code one level up, for arrondissements and provinces."""
    return {(row["level"], row["code"]): row["parent"] for row in table("areas.csv")}


def _municipality(source: Source, situation: Situation) -> dict[str, str]:
    """Source code → municipality code of the situation."""
    if source == "postcode":
        column = f"municipality_{situation}"
        return {row["postcode"]: row[column] for row in table("postcodes.csv")}
    places = table("municipalities.csv")
    if situation == 2018:
        return {row["code"]: row["code"] for row in places if row["since"] == "2018"}
    column = "successor" if situation == 2025 else "in_2019"
    return {row["code"]: row[column] for row in places if row[column]}


@cache
def _mapping(source: Source, level: Level, situation: Situation) -> tuple[Any, Any]:
    """Source codes and the codes of the level, as two Arrow arrays of one length."""
    at: str
    if source in ("postcode", "municipality"):
        mapping, at = _municipality(source, situation), "municipality"
        if level != "municipality":
            rows = table("municipalities.csv")
            up = {row["code"]: row[f"arrondissement_{situation}"] for row in rows}
            mapping, at = {code: up[place] for code, place in mapping.items()}, "arrondissement"
    else:
        mapping, at = {code: code for kind, code in _parents() if kind == source}, source
    while at != level:
        above = LEVELS[LEVELS.index(at) + 1]
        mapping = {code: _parents()[at, area] for code, area in mapping.items()}
        at = above
    return pa.array(list(mapping), pa.string()), pa.array(list(mapping.values()), pa.string())


def level(
    codes: pa.Array,
    source: Source = "municipality",
    level: Level = "arrondissement",
    situation: Situation = 2025,
) -> pa.Array:
    """The area of each code: text in, text of the same length out; null stays null.

    `source` says what the codes are; a level may be its own source or a finer one's. A code
    without a mapping raises `UnmappedCodeError`. Postcodes are an approximation: some straddle
    municipalities, and the table names one of them.
    """
    if source not in SOURCES or level not in LEVELS or situation not in SITUATIONS:
        raise PolicyError(
            f"no classification from {source} to {level} in {situation}: levels are "
            f"{', '.join(LEVELS)}, situations {' and '.join(map(str, SITUATIONS))}"
        )
    if source in LEVELS and LEVELS.index(source) > LEVELS.index(level):
        raise PolicyError(f"a {source} is coarser than a {level}; ask for its own level or above")
    if situation not in situations_of(source):
        raise PolicyError(
            f"a {source} is known in the situations {_spelled(source)}; choose one of these"
        )
    keys, areas = _mapping(source, level, situation)
    encoded = encoded_once(codes)
    found = pc.index_in(encoded.dictionary.cast(pa.string()), value_set=keys)
    what = f"{source} code with a known {level} in the situation of {situation}"
    return spread(encoded, pc.take(areas, found), what, "situation")


def known(codes: pa.Array, source: Source) -> pa.Array:
    """Whether each code stands for a place in some situation; null stays null."""
    tables = [_mapping(source, "region", situation)[0] for situation in situations_of(source)]
    return pc.if_else(pc.is_valid(codes), pc.is_in(codes, value_set=pa.concat_arrays(tables)), None)


@cache
def lasting(source: Source) -> list[str]:
    """The municipality codes or postcodes that have a place in every situation, in order."""
    codes = [
        set(_mapping(source, "region", situation)[0].to_pylist())
        for situation in situations_of(source)
    ]
    return sorted(set.intersection(*codes))


@cache
def labels(level: Level) -> dict[str, dict[str, str]]:
    """Code → names by language (nl, fr, de) of a level, as published; a name not published in
    German is left out."""
    if level == "municipality":
        rows = table("municipalities.csv")
    else:
        rows = tuple(row for row in table("areas.csv") if row["level"] == level)
    return {row["code"]: {n: row[n] for n in ("nl", "fr", "de") if row[n]} for row in rows}


def situations_of(source: Source) -> tuple[Situation, ...]:
    """The situations that codes of a source are known in."""
    return SITUATIONS[1:] if source == "postcode" else SITUATIONS


def _spelled(source: Source) -> str:
    return " and ".join(map(str, situations_of(source)))


DEGREES = ("1", "2", "3", "mixed")
"""Degrees of urbanisation (Eurostat): cities, towns and suburbs, rural areas; and municipalities
merged from parts of several degrees, of which no degree was published."""


@cache
def _degrees(situation: Situation) -> dict[str, str]:
    rows = table("urbanisation.csv")
    return {
        row["municipality"]: row["degree"] for row in rows if row["situation"] == str(situation)
    }


def degree(
    codes: pa.Array, source: Source, situation: Situation, override: Mapping[str, str]
) -> pa.Array:
    """The degree of urbanisation of each municipality or postcode in a situation; null stays null.

    `override` gives the degree of municipalities whose own is `mixed`.
    """
    degrees = _degrees(situation) | dict(override)
    encoded = encoded_once(level(codes, source, "municipality", situation))
    found = pa.array([degrees[one] for one in encoded.dictionary.to_pylist()], pa.string())
    return found.take(encoded.indices)


def without_degree(situation: Situation) -> list[str]:
    """The municipalities whose degree of urbanisation is `mixed`."""
    return sorted(code for code, degree in _degrees(situation).items() if degree == "mixed")


Grouping = Literal["origin", "member"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
"""`origin`: Belgium, neighbours (DE, FR, LU, NL, UK), the other EU27, all others. `member`:
Belgium, the 14 (EU15 without the United Kingdom), the 13 that came from 2004 on, all others."""


@cache
def _nationalities(grouping: Grouping) -> tuple[Any, Any]:
    rows = table("countries.csv")
    pairs = [(row[code], row[grouping]) for row in rows for code in ("alpha_2", "alpha_3")]
    return tuple(pa.array(column, pa.string()) for column in zip(*pairs, strict=True))


def nationality(codes: pa.Array, grouping: Grouping) -> pa.Array:
    """The group of each nationality, ISO 3166-1 with two or three letters; null stays null. A code
    that isn't in the standard (stateless, former countries) raises `UnmappedCodeError`."""
    keys, groups = _nationalities(grouping)
    encoded = encoded_once(codes)
    found = pc.index_in(encoded.dictionary.cast(pa.string()), value_set=keys)
    what = "country code of ISO 3166-1 (two or three letters)"
    return spread(encoded, pc.take(groups, found), what, "classification")


def straddles(codes: pa.Array) -> int:
    """How many values are postcodes that the published table gives to several municipalities."""
    several = [row["postcode"] for row in table("postcodes.csv") if row["several"] == "1"]
    encoded = encoded_once(codes)
    there = pc.is_in(encoded.dictionary.cast(pa.string()), value_set=pa.array(several))
    return int(pc.sum(there.take(encoded.indices)).as_py() or 0)


def straddling() -> int:
    """How many postcodes the published table itself gives to several municipalities."""
    return sum(row["several"] == "1" for row in table("postcodes.csv"))
