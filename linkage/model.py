"""What does likeness weigh: Fellegi and Sunter's model with a class for members of one household.

A pair of records belongs to one person (m), to two members of one household (h), or to two people
with nothing in common (u). The probability that it is one person is

    p = P(m) m / (P(m) m + P(h) h + P(u) u)

with m, h and u the products over fields of the probabilities in `parameters.yaml` (fields are taken
as independent within a class). I. P. Fellegi and A. B. Sunter, A Theory for Record Linkage, Journal
of the American Statistical Association 64 (1969).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from linkage.comparison import EXACT, LEVELS, Pairs
from linkage.datasets import LinkageError
from linkage.identities import ABSENT, FIELDS, Ints

Floats = npt.NDArray[np.float64]

BLOCKING_PARTS: Final = (
    "names",
    "first_name",
    "last_name",
    "birth_date",
    "postcode",
    "street",
    "house_number",
)
KEYS: Final = (*FIELDS, "conversion")
_SECTIONS: Final = [
    "keys",
    "thresholds",
    "population",
    "household",
    "frequencies",
    "blocking",
    "levels",
]


class PlanError(LinkageError):
    """The parameter file of a linkage can't be used as it stands."""


@dataclass(frozen=True)
class Rates:
    """How often a level occurs between records of one person, one household, nothing in common."""

    m: float
    h: float
    u: float


@dataclass(frozen=True)
class Plan:
    """What may be used, and how sure one must be.

    `keys` are the identity fields that may be used (and `conversion`); `link_threshold` and
    `review_threshold` are probabilities; `levels` gives the rates by field and level. The comments
    in `parameters.yaml` explain each figure.
    """

    keys: tuple[str, ...]
    link_threshold: float
    review_threshold: float
    smallest_population: int
    household_members: float
    frequency_weight: float
    blocking: tuple[tuple[str, ...], ...]
    largest_block: int
    levels: Mapping[str, Mapping[str, Rates]]

    @classmethod
    def from_mapping(cls, doc: object) -> "Plan":
        """Read a parameter file as YAML gives it. Raises PlanError with the first thing unclear."""
        top = _mapping(doc, "A plan")
        _only(top, _SECTIONS, "A plan")
        thresholds = _mapping(top.get("thresholds"), "`thresholds`")
        blocking = _mapping(top.get("blocking"), "`blocking`")
        plan = cls(
            keys=_words(top.get("keys"), KEYS, "`keys`"),
            link_threshold=_number(thresholds, "link", "`thresholds`", 1.0),
            review_threshold=_number(thresholds, "review", "`thresholds`", 1.0),
            smallest_population=int(_amount(top, "population", "smallest")),
            household_members=_amount(top, "household", "members"),
            frequency_weight=_amount(top, "frequencies", "weight"),
            blocking=_blocking(blocking.get("keys")),
            largest_block=int(_number(blocking, "largest", "`blocking`")),
            levels=_levels(top.get("levels")),
        )
        if plan.review_threshold > plan.link_threshold:
            raise PlanError("`thresholds`: `review` can't be above `link`; lower it.")
        return plan

    @classmethod
    def default(cls) -> "Plan":
        """The plan of `linkage/parameters.yaml`."""
        text = files("linkage").joinpath("parameters.yaml").read_text(encoding="utf-8")
        return cls.from_mapping(yaml.safe_load(text))

    def restricted(self, keys: tuple[str, ...] | list[str]) -> "Plan":
        """This plan with no other keys than these. Raises PlanError when one isn't known."""
        allowed = _words(list(keys), KEYS, "`keys`")
        return replace(self, keys=tuple(key for key in self.keys if key in allowed))


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{what} must be a mapping of names to values.")
    return value


def _only(doc: Mapping[str, Any], known: list[str], what: str) -> None:
    for key in doc:
        if key not in known:
            raise PlanError(f"{what}: `{key}` is not known here; use {', '.join(known)}.")


def _number(doc: Mapping[str, Any], key: str, what: str, most: float = float("inf")) -> float:
    value = doc.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise PlanError(f"{what}: `{key}` must be a number above 0 and at most {most:g}.")
    return float(value)


def _amount(top: Mapping[str, Any], section: str, key: str) -> float:
    return _number(_mapping(top.get(section), f"`{section}`"), key, f"`{section}`")


def _words(value: object, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise PlanError(f"{what} must be a list with at least one entry.")
    for word in value:
        if word not in known:
            raise PlanError(f"{what}: {word!r} is not known here; use {', '.join(known)}.")
    return tuple(value)


def _blocking(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not value:
        raise PlanError("`blocking`: `keys` must be a list of lists of fields.")
    return tuple(_words(key, BLOCKING_PARTS, "`blocking`") for key in value)


def _levels(value: object) -> dict[str, dict[str, Rates]]:
    doc = _mapping(value, "`levels`")
    _only(doc, list(LEVELS), "`levels`")
    return {
        name: _field_levels(doc.get(name), name, [w for w in words if w != "missing"])
        for name, words in LEVELS.items()
    }


def _field_levels(value: object, field: str, words: list[str]) -> dict[str, Rates]:
    what = f"`levels`, {field}"
    doc = _mapping(value, what)
    _only(doc, words, what)
    return {word: _rates(doc.get(word), f"{what}, {word}") for word in words}


def _rates(value: object, what: str) -> Rates:
    doc = _mapping(value, what)
    _only(doc, ["m", "h", "u"], what)
    return Rates(*(_number(doc, key, what, 1.0) for key in ("m", "h", "u")))


@dataclass(frozen=True)
class Frequencies:
    """How many people carry each value (an array by code for each field), of how many in all."""

    people: int
    counts: Mapping[str, Ints]


class Model:
    """The probability that pairs of records are one person, given how often values occur."""

    def __init__(self, plan: Plan, frequencies: Frequencies, *, households: bool) -> None:
        """`households`: whether units can be members of one household (persons can)."""
        self._plan = plan
        self._frequencies = frequencies
        self._tables = {field: _table(field, plan.levels[field]) for field in LEVELS}
        people = max(frequencies.people, plan.smallest_population)
        self._one = -np.log(people)
        self._household = np.log(plan.household_members / people) if households else -np.inf

    def probability(self, pairs: Pairs) -> Floats:
        """The probability, for each pair, that it is one person."""
        m, h, u = (np.zeros(len(pairs.left)) for _ in range(3))
        for field, levels in pairs.levels.items():
            table = self._tables[field]
            m += table[0, levels]
            h += table[1, levels]
            u += table[2, levels]
        for field, values in pairs.values.items():
            u += self._rarity(field, values)
        with np.errstate(over="ignore"):
            odds_against = np.exp(h + self._household - m - self._one) + np.exp(u - m - self._one)
        result: Floats = 1.0 / (1.0 + odds_against)
        return result

    def _rarity(self, field: str, values: Ints) -> Floats:
        """What to add to log u where the pair agrees on a value: log(its own u / the usual u)."""
        usual = self._plan.levels[field][LEVELS[field][EXACT[field]]].u
        weight = self._plan.frequency_weight
        counts = np.append(self._frequencies.counts[field], 0).astype(np.float64)
        share = (counts + weight * usual) / (self._frequencies.people + weight)
        result: Floats = np.where(values == ABSENT, 0.0, np.log(share / usual)[values])
        return result


def _table(field: str, rates: Mapping[str, Rates]) -> Floats:
    """Logarithms of m, h and u by level number; a level without a line is no evidence."""
    table = np.zeros((3, len(LEVELS[field])))
    for word, rate in rates.items():
        table[:, LEVELS[field].index(word)] = np.log([rate.m, rate.h, rate.u])
    return table
