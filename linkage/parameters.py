"""What a linkage may use, and how sure it must be: the parameter file of the service."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

import yaml

from linkage.datasets import LinkageError
from linkage.identities import FIELDS

KEYS: Final = (*FIELDS, "conversion")
_SECTIONS: Final = ["keys", "thresholds", "population", "household", "blocking"]


class PlanError(LinkageError):
    """The parameter file of a linkage can't be used as it stands."""


@dataclass(frozen=True)
class Plan:
    """What may be used, and how sure one must be.

    `keys` are the identity fields that may be used (and `conversion`); `link_threshold` and
    `review_threshold` are probabilities. The comments in `parameters.yaml` explain each figure.
    """

    keys: tuple[str, ...]
    link_threshold: float
    review_threshold: float
    smallest_population: int
    household_members: float
    largest_block: int

    @classmethod
    def from_mapping(cls, doc: object) -> "Plan":
        """Read a parameter file as YAML gives it. Raises PlanError with the first thing unclear."""
        top = _mapping(doc, "A plan")
        _only(top, _SECTIONS, "A plan")
        thresholds = _mapping(top.get("thresholds"), "`thresholds`")
        plan = cls(
            keys=_words(top.get("keys"), KEYS, "`keys`"),
            link_threshold=_number(thresholds, "link", "`thresholds`", 1.0),
            review_threshold=_number(thresholds, "review", "`thresholds`", 1.0),
            smallest_population=int(_amount(top, "population", "smallest")),
            household_members=_amount(top, "household", "members"),
            largest_block=int(_amount(top, "blocking", "largest")),
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
