"""Names, streets and jobs to draw from, for the population of `tests.bench.population`.

First names are those of the country by sex, region and age (`first_names.csv`, Statbel 2013; see
`build_first_names.py`). The published last names (`api/demo/surnames.csv`, Statbel 2022) belong to
45% of the native people; the long tail behind them, and the names of people whose family came from
elsewhere, are composed of ordinary parts (`words.yaml`), so that most rare names have near
neighbours, as they have in the country. Streets and jobs are made up. All of it is the same
whatever the population's seed.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

import api.demo

Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

ORIGINS: Final = ("V", "W", "B", "maghreb", "turkish", "southern", "eastern", "african")
"""Families by where their names come from: Flanders, Wallonia, Brussels, and elsewhere."""
NATIVE: Final = 3
"""How many of them are native."""
SOUTHERN: Final = ORIGINS.index("southern")
DECADES: Final = tuple(range(1920, 2030, 10))

_PUBLISHED: Final = 0.45
_LANGUAGE: Final = {"V": "dutch", "W": "french"}
_TAIL: Final = {"dutch": 36_000, "french": 26_000}
_ELSEWHERE: Final = 4_000
_MIDDLES: Final = (2005, 1972, 1933)
"""The middle year of birth of the age groups of `first_names.csv`."""


@dataclass(frozen=True)
class Draws:
    """Several weighted lists in one: `pick` draws positions in `texts`, one per group asked for."""

    texts: list[str]
    member: Integers
    cumulative: Weights

    def pick(self, rng: np.random.Generator, groups: Any) -> Integers:
        """One position in `texts` for each group number."""
        point = np.asarray(groups) + rng.random(len(groups))
        at = np.searchsorted(self.cumulative, point, side="right")
        return self.member[np.minimum(at, len(self.member) - 1)]


def _draws(texts: list[str], groups: Iterable[tuple[Any, Any]]) -> Draws:
    """Groups in order, each as (positions in texts, weights)."""
    members, cumulated = [], []
    for number, (positions, weights) in enumerate(groups):
        total = np.cumsum(np.asarray(weights, np.float64))
        members.append(np.asarray(positions, np.int64))
        cumulated.append(number + total / total[-1])
        cumulated[-1][-1] = number + 1
    return Draws(texts, np.concatenate(members), np.concatenate(cumulated))


@cache
def _parts() -> dict[str, Any]:
    path = Path(__file__).with_name("words.yaml")
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def words(*path: str) -> list[str]:
    """A list of `words.yaml`."""
    found: Any = _parts()
    for step in path:
        found = found[step]
    return [word.replace("_", " ") for word in found.split()]


def _weighted(*path: str) -> dict[str, float]:
    pairs = (word.rsplit(":", 1) for word in words(*path))
    return {word if word != " " else "": float(weight) for word, weight in pairs}


def _zipf(count: int, shift: float, power: float) -> Weights:
    return np.asarray((np.arange(count, dtype=np.float64) + shift) ** -power)


def _composed(kind: str, size: int) -> list[str]:
    """So many last names of prefix, stem and ending, those with common prefixes sooner."""
    prefixes = _weighted("last_names", kind, "prefixes")
    made: dict[str, float] = {}
    stems, endings = words("last_names", kind, "stems"), words("last_names", kind, "endings")
    for (prefix, weight), stem, ending in product(prefixes.items(), stems, endings):
        glued = prefix and prefix[-1].isalpha()
        made[prefix + (stem if glued else stem.capitalize()) + ending.strip()] = weight
    luck = np.random.default_rng(7).gumbel(size=len(made))
    order = np.argsort(-(np.log(list(made.values())) + luck))
    names = list(made)
    return [names[at] for at in order[:size]]


@cache
def last_names() -> Draws:
    """One group per origin."""
    weighted: dict[str, dict[str, float]] = {}
    for region, published in _published().items():
        tail = [
            name
            for name in _composed(_LANGUAGE[region], _TAIL[_LANGUAGE[region]])
            if name not in published
        ]
        scale = _PUBLISHED / sum(published.values())
        shares = _zipf(len(tail), 500, 1.1)
        shares *= (1 - _PUBLISHED) / shares.sum()
        weighted[region] = {name: count * scale for name, count in published.items()}
        weighted[region] |= dict(zip(tail, shares.tolist(), strict=True))
    weighted["B"] = {name: 0.4 * share for name, share in weighted["V"].items()}
    for name, share in weighted["W"].items():
        weighted["B"][name] = weighted["B"].get(name, 0.0) + 0.6 * share
    for origin in ORIGINS[NATIVE:]:
        names = _composed(origin, _ELSEWHERE)
        weighted[origin] = dict(zip(names, _zipf(len(names), 12, 1).tolist(), strict=True))
    texts = list(dict.fromkeys(name for group in weighted.values() for name in group))
    at = {name: position for position, name in enumerate(texts)}
    groups = (weighted[origin] for origin in ORIGINS)
    return _draws(texts, (([at[name] for name in group], list(group.values())) for group in groups))


def _published() -> dict[str, dict[str, float]]:
    with (Path(api.demo.__file__).parent / "surnames.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        region: {row["name"]: float(row[region]) for row in rows if row[region]}
        for region in _LANGUAGE
    }


@cache
def first_names() -> Draws:
    """One group per origin, sex (M, F) and decade of birth; see `first_name_group`."""
    with Path(__file__).with_name("first_names.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    elsewhere = {
        (origin, sex): words("first_names", origin, sex)
        for origin, sex in product(ORIGINS[NATIVE:], "MF")
    }
    texts = [row["name"] for row in rows]
    texts = list(dict.fromkeys([*texts, *(name for given in elsewhere.values() for name in given)]))
    at = {name: position for position, name in enumerate(texts)}
    positions = np.array([at[row["name"]] for row in rows])
    sexes = np.array([row["sex"] for row in rows])
    counts = {
        region: np.array([[float(row[f"{region}{age}"] or 0) for row in rows] for age in range(3)])
        for region in ORIGINS[:NATIVE]
    }
    fashion = _fashion(np.sum(list(counts.values()), axis=0))
    groups: list[tuple[Any, Any]] = []
    for origin, sex, (turn, decade) in product(ORIGINS, "MF", enumerate(DECADES)):
        if origin in counts:
            age = int(np.argmin([abs(decade + 5 - middle) for middle in _MIDDLES]))
            known = np.flatnonzero((sexes == sex) & (counts[origin].sum(0) > 0))
            bearers = 0.9 * counts[origin][age, known] + 0.1 * counts[origin][:, known].mean(0)
            groups.append((positions[known], bearers * fashion[turn, known] + 1e-9))
        else:  # the list's order is a fashion that turns with the decades
            given = elsewhere[origin, sex]
            groups.append(([at[name] for name in given], np.roll(_zipf(len(given), 2, 1), turn)))
    return _draws(texts, groups)


def _fashion(counts: Weights) -> Weights:
    """How much in fashion a name was per decade: one peak, about when its bearers were born."""
    years = np.array(_MIDDLES, np.float64)
    middle = (counts * years[:, None]).sum(0) / np.maximum(counts.sum(0), 1)
    peak = middle + np.random.default_rng(9).normal(0, 9, len(middle))
    decades = np.array(DECADES)[:, None] + 5
    return np.asarray(0.05 + np.exp(-(((decades - peak) / 16) ** 2) / 2))


def first_name_group(origin: Any, female: Any, year: Any) -> Integers:
    """The number of the group of `first_names` for these people."""
    decade = np.clip((np.asarray(year) - DECADES[0]) // 10, 0, len(DECADES) - 1)
    sexes = np.asarray(origin) * 2 + np.asarray(female)
    return np.asarray(sexes * len(DECADES) + decade, np.int64)


@cache
def nicknames() -> dict[int, list[str]]:
    """What else somebody of a first name (its position in `first_names`) may be called."""
    at = {name: position for position, name in enumerate(first_names().texts)}
    table = dict(entry.split(":") for entry in words("nicknames"))
    return {at[name]: informal.split(",") for name, informal in table.items() if name in at}


@dataclass(frozen=True)
class Streets:
    """Street names; `other` is the position of the same name in Dutch, or -1.

    Groups of `draw`: 0 Dutch, 1 French, 2 Brussels (French ones that have a Dutch form), 3 German.
    """

    texts: list[str]
    other: Integers
    draw: Draws


@cache
def streets() -> Streets:
    """Every street name there is; some are met everywhere.

    The French stems and types stand in the order of the Dutch ones: that pairs them in Brussels.
    """
    kinds = {
        tongue: _weighted("streets", tongue, "types") for tongue in ("dutch", "french", "german")
    }
    stems = {tongue: words("streets", tongue, "stems") for tongue in kinds}
    texts: list[str] = []
    weights: list[float] = []
    bounds = [0]
    for tongue, types in kinds.items():
        for (rank, name), (kind, weight) in product(enumerate(stems[tongue]), types.items()):
            texts.append(f"{kind} {name}" if tongue == "french" else name + kind)
            weights.append(weight / (rank + 15))
        bounds.append(len(texts))
    shares = np.array(weights) * np.random.default_rng(11).lognormal(0, 0.8, len(texts))
    dutch, french, german = (np.arange(start, end) for start, end in pairwise(bounds))
    other = np.full(len(texts), -1)
    stem, type_ = np.divmod(np.arange(len(french)), len(kinds["french"]))
    paired = stem * len(kinds["dutch"]) + type_ % len(kinds["dutch"])
    other[french] = np.where(stem < len(stems["dutch"]), paired, -1)
    bilingual = french[other[french] >= 0]
    groups = ((here, shares[here]) for here in (dutch, french, bilingual, german))
    return Streets(texts, other, _draws(texts, groups))


@cache
def jobs() -> list[str]:
    """What people do for a living."""
    return words("jobs")
