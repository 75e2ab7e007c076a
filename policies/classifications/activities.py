"""Economic activities and their levels: NACE Revision 2 (2008) and 2.1 (2025).

NACE-BEL is NACE with a fifth digit (and, since 2025, up to seven): its codes are read by their
first four, with or without the dot. The levels are a chain, each one a grouping of the one before::

    class 62.01 → group 62.0 → division 62 → A64 J62-63 → A38 J62-63 → section J → A21 J → A10 J

`A10`, `A21`, `A38` and `A64` are the aggregations of the European system of accounts (ESA 2010).
Their codes are made from what they hold: the letters of whole sections (`J`, `B-E`), or a letter
and divisions (`C10-12`). For the 2025 version they group the divisions of the same numbers, so that
`A21` joins sections J and K, and `A64` has 63 groups since division 45 is gone; see PROVENANCE.md.
"""

from functools import cache
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError
from policies.classifications import UnmappedCodeError, encoded_once, spread, table

Level = Literal["class", "group", "division", "A64", "A38", "section", "A21", "A10"]
Version = Literal[2008, 2025]

LEVELS: tuple[Level, ...] = get_args(Level)
"""From fine to coarse."""
VERSIONS: tuple[Version, ...] = get_args(Version)
REVISIONS: dict[Version, str] = {2008: "Rev. 2 (NACE-BEL 2008)", 2025: "Rev. 2.1 (NACE-BEL 2025)"}
_DIGITS = 4
"""Digits of a class; more of them are Belgian subdivisions."""
_SHAPE = r"^([A-Z]|[0-9]{2}([.]?[0-9]{1,5})?)$"
_DELIVERED = ("class", "group", "division", "section")
"""Levels that codes are delivered at."""


def _place(level: str) -> int:
    return [str(one) for one in LEVELS].index(level)


@cache
def _mapping(level: Level, version: Version) -> tuple[Any, Any]:
    """Codes as they may be delivered (without dot) and their code at the level, as Arrow arrays."""
    rows = [row for row in table("activities.csv") if row["version"] == str(version)]
    parent = {(row["level"], row["code"]): row["parent"] for row in rows}
    mapping = {}
    for row in rows:
        at, to = _place(row["level"]), _place(level)
        if row["level"] in _DELIVERED and at <= to:
            code = row["code"]
            for step in LEVELS[at:to]:
                code = parent[step, code]
            mapping[row["code"].replace(".", "")] = code
    return pa.array(list(mapping), pa.string()), pa.array(list(mapping.values()), pa.string())


def level(codes: pa.Array, level: Level, version: Version) -> pa.Array:
    """The activity of each code at a level: text in, text of the same length out; null stays null.

    A code that isn't in the version, or is coarser than the level, raises `UnmappedCodeError`.
    """
    if level not in LEVELS or version not in VERSIONS:
        raise PolicyError(
            f"NACE has no level {level} in {version}: levels are {', '.join(LEVELS)}, versions "
            f"{' and '.join(map(str, VERSIONS))}"
        )
    keys, activities = _mapping(level, version)
    encoded = encoded_once(codes)
    texts = encoded.dictionary.cast(pa.string())
    shaped = pc.match_substring_regex(texts, _SHAPE)
    plain = pc.utf8_slice_codeunits(pc.replace_substring(texts, ".", ""), 0, _DIGITS)
    known = pc.if_else(shaped, plain, pa.scalar(None, pa.string()))
    found = pc.index_in(known, value_set=keys)
    what = f"code of NACE {REVISIONS[version]} with a known {level}"
    try:
        return spread(encoded, pc.take(activities, found), what, "version")
    except UnmappedCodeError as error:
        [other] = set(VERSIONS) - {version}
        theirs = pc.and_(pc.is_null(found), pc.is_in(known, value_set=_mapping(level, other)[0]))
        values = pc.sum(theirs.take(encoded.indices)).as_py() or 0
        hint = f", but {values} of them are of NACE {REVISIONS[other]}" if values else ""
        raise UnmappedCodeError(
            error.what, error.edition, error.values, error.distinct, hint
        ) from None


@cache
def lasting() -> list[str]:
    """The classes that every version has, without their dot, in order."""
    codes = [set(_mapping("class", version)[0].to_pylist()) for version in VERSIONS]
    return sorted(set.intersection(*codes))


@cache
def labels(level: Level, version: Version) -> dict[str, dict[str, str]]:
    """Code → titles by language of a level, as published; an aggregation's are those of what it
    holds."""
    return {
        row["code"]: {at: row[at] for at in ("en", "nl", "fr", "de")}
        for row in table("activities.csv")
        if row["version"] == str(version) and row["level"] == level
    }
