"""How fine may a value leave.

A rule is a list of steps as a permit states them, for example::

    [{"age_class": {"reference_date": {"2024": "2024-12-31"}, "breaks": [15, 20, 25, 30]}}]
    [{"geography": {"level": "arrondissement", "situation": 2025}}]
    [{"round": {"to": 100}}, {"top_code": {"at": 20000}}]

`parse_rule` reads it, `Rule.resolve` fixes the period, `Rule.apply` coarsens a column, and
`fault_against_minimum` holds it against `minimum_coarsening.yaml`, which no permit undercuts.

A missing value stays null through `Rule.apply`; `shown`, the last step before a column leaves,
says why it is missing: `NOT_IN_SOURCE`, `NOT_LINKED` or `SUPPRESSED`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from policies import PolicyError, classifications

Language = Literal["en", "nl", "fr", "de"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Interval = tuple[int, int]

NOT_IN_SOURCE = "_not_in_source"
NOT_LINKED = "_not_linked"
SUPPRESSED = "_suppressed"
MISSING_CODES: Mapping[str, Mapping[Language, str]] = {
    NOT_IN_SOURCE: {
        "en": "the holder's file has no value",
        "nl": "het bestand van de houder heeft geen waarde",
        "fr": "le fichier du détenteur ne contient pas de valeur",
        "de": "die Datei des Inhabers enthält keinen Wert",
    },
    NOT_LINKED: {
        "en": "no record of this unit was found in the dataset",
        "nl": "geen record van deze eenheid gevonden in de dataset",
        "fr": "aucun enregistrement de cette unité n'a été trouvé dans le jeu de données",
        "de": "kein Datensatz dieser Einheit im Datenbestand gefunden",
    },
    SUPPRESSED: {
        "en": "left out to protect the people concerned",
        "nl": "weggelaten om de betrokkenen te beschermen",
        "fr": "omis afin de protéger les personnes concernées",
        "de": "zum Schutz der Betroffenen weggelassen",
    },
}
"""Why a value is missing, by the code that stands in its place. The underscore keeps the codes
apart from every label a rule makes; `shown` refuses delivered values that look like one."""

OBSERVED = "observed"
STATUS = "_status"
"""A number can't hold a code: it is null, and the column `<name>_status` beside it holds the code,
or `OBSERVED`."""

EARLIEST, LATEST = -1_000_000, 1_000_000
"""Ends of an open interval of days since 1 January 1970."""


class RuleError(PolicyError):
    """A coarsening rule can't be read, or doesn't fit the values it is applied to."""


def _day(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise RuleError("a reference date has to be a day, as 2024-12-31") from None


def _epoch(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _once_per_value(column: Any, work: Callable[[Any], Any]) -> Any:
    """Apply `work` to the distinct values of a column, and spread the answers over its rows."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return work(encoded.dictionary).take(encoded.indices)


def ages(birth: Any, reference: date) -> np.ndarray[Any, Any]:
    """Completed years on the reference date of an array of dates (no nulls).

    Who was born on 29 February becomes a year older on 1 March of a year without that day.
    """
    days = birth.cast(pa.date32()).to_numpy(zero_copy_only=False).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]")
    in_year = (months - years.astype("datetime64[M]")).astype(np.int64) + 1
    in_month = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    to_come = in_year * 100 + in_month > reference.month * 100 + reference.day
    completed: np.ndarray[Any, Any] = reference.year - (years.astype(np.int64) + 1970) - to_come
    return completed


def _latest_birth(age: int, reference: date) -> date:
    """The last birthday that makes somebody at least `age` on the reference date."""
    year = reference.year - age
    leap_day = (reference.month, reference.day) == (2, 29)
    if leap_day and not (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)):
        return date(year, 2, 28)
    return date(year, reference.month, reference.day)


class _Plain:
    """A step without settings."""

    says: ClassVar[Mapping[Language, str]]

    @classmethod
    def parse(cls) -> Self:
        return cls()

    def describe(self, language: Language) -> str:
        return self.says[language]


@dataclass(frozen=True)
class _Dated:
    """A step that needs a reference date: one day, or one for each period."""

    reference_date: date | Mapping[str, date]

    @staticmethod
    def read(value: Any) -> date | Mapping[str, date]:
        if isinstance(value, Mapping):
            if not value:
                raise RuleError("reference_date names no period; give a day for each")
            return {str(period): _day(day) for period, day in value.items()}
        return _day(value)

    def resolve(self, period: str) -> Any:
        if isinstance(self.reference_date, date):
            return self
        if period not in self.reference_date:
            known = ", ".join(sorted(self.reference_date))
            raise RuleError(f"the rule has no reference date for period {period}; it has {known}")
        return replace(self, reference_date=self.reference_date[period])

    @property
    def on(self) -> date:
        if not isinstance(self.reference_date, date):
            raise RuleError("the rule has a reference date for each period: resolve(period) first")
        return self.reference_date

    @property
    def spelled(self) -> str:
        if isinstance(self.reference_date, date):
            return self.reference_date.isoformat()
        days = sorted(self.reference_date.items())
        return ", ".join(f"{day.isoformat()} ({period})" for period, day in days)


@dataclass(frozen=True)
class Age(_Dated):
    """Completed years on a reference date."""

    name: ClassVar[str] = "age"
    takes: ClassVar[str] = "date"
    gives: ClassVar[str] = "number"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "age in completed years on {date}",
        "nl": "leeftijd in voltooide jaren op {date}",
        "fr": "âge en années révolues au {date}",
        "de": "Alter in vollendeten Jahren am {date}",
    }

    @classmethod
    def parse(cls, reference_date: Any) -> "Age":
        return cls(cls.read(reference_date))

    def apply(self, column: Any) -> Any:
        return _once_per_value(column, lambda days: pa.array(ages(days, self.on), pa.int64()))

    def describe(self, language: Language) -> str:
        return self.says[language].format(date=self.spelled)


@dataclass(frozen=True)
class AgeClass(_Dated):
    """A class of completed years on a reference date: below the first break, between two, and
    from the last one on."""

    breaks: tuple[int, ...]
    name: ClassVar[str] = "age_class"
    takes: ClassVar[str] = "date"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "age class on {date}: {classes}",
        "nl": "leeftijdsklasse op {date}: {classes}",
        "fr": "classe d'âge au {date} : {classes}",
        "de": "Altersklasse am {date}: {classes}",
    }

    @classmethod
    def parse(cls, reference_date: Any, breaks: Any) -> "AgeClass":
        whole = isinstance(breaks, Sequence) and all(type(item) is int for item in breaks)
        if not whole or not breaks or list(breaks) != sorted(set(breaks)) or breaks[0] < 1:
            raise RuleError("age_class needs breaks: whole years in ascending order, as [15, 20]")
        if breaks[-1] > 150:
            raise RuleError("age_class has a break above 150 years")
        return cls(cls.read(reference_date), tuple(breaks))

    @property
    def labels(self) -> tuple[str, ...]:
        inner = [
            str(low) if high == low + 1 else f"{low}-{high - 1}"
            for low, high in zip(self.breaks, self.breaks[1:], strict=False)
        ]
        return (f"<{self.breaks[0]}", *inner, f">={self.breaks[-1]}")

    @property
    def narrowest(self) -> int:
        """Years in the narrowest class; the lowest starts at birth, the highest is open."""
        return int(min(np.diff((0, *self.breaks))))

    def intervals(self) -> dict[str, Interval]:
        """Label → first and last day of birth that it implies, in days since 1 January 1970."""
        lasts = [_epoch(_latest_birth(age, self.on)) for age in self.breaks]
        highs = [LATEST, *lasts]
        lows = [*(last + 1 for last in lasts), EARLIEST]
        return dict(zip(self.labels, zip(lows, highs, strict=True), strict=True))

    def apply(self, column: Any) -> Any:
        names = pa.array(self.labels, pa.string())
        return _once_per_value(
            column, lambda days: names.take(pa.array(np.digitize(ages(days, self.on), self.breaks)))
        )

    def describe(self, language: Language) -> str:
        return self.says[language].format(date=self.spelled, classes=", ".join(self.labels))


_LEVEL_NAMES: Mapping[str, Mapping[Language, str]] = {
    "municipality": {"en": "municipality", "nl": "gemeente", "fr": "commune", "de": "Gemeinde"},
    "arrondissement": {
        "en": "arrondissement",
        "nl": "arrondissement",
        "fr": "arrondissement",
        "de": "Bezirk",
    },
    "province": {"en": "province", "nl": "provincie", "fr": "province", "de": "Provinz"},
    "region": {"en": "region", "nl": "gewest", "fr": "région", "de": "Region"},
}


@dataclass(frozen=True)
class Geography:
    """The area of a municipality or postcode, at a level, in the borders of a situation."""

    level: classifications.Level
    situation: classifications.Situation
    name: ClassVar[str] = "geography"
    takes: ClassVar[str] = "place"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "{level} (NIS code, situation of {situation})",
        "nl": "{level} (NIS-code, toestand van {situation})",
        "fr": "{level} (code INS, situation de {situation})",
        "de": "{level} (NIS-Code, Stand {situation})",
    }

    @classmethod
    def parse(cls, level: Any, situation: Any = 2025) -> "Geography":
        if level not in classifications.LEVELS:
            raise RuleError(f"geography knows the levels {', '.join(classifications.LEVELS)}")
        if situation not in classifications.SITUATIONS:
            known = " and ".join(map(str, classifications.SITUATIONS))
            raise RuleError(f"geography knows the situations of {known}")
        return cls(level, situation)

    def apply(self, column: Any, source: str) -> Any:
        place: classifications.Source = "postcode" if source == "postcode" else "municipality"
        return classifications.level(column, place, self.level, self.situation)

    def describe(self, language: Language) -> str:
        level = _LEVEL_NAMES[self.level][language]
        return self.says[language].format(level=level, situation=self.situation)


def _number(value: Any, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RuleError(f"{what} has to be a number")
    return value


@dataclass(frozen=True)
class Round:
    """To the nearest multiple; halves away from zero."""

    to: int
    name: ClassVar[str] = "round"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "number"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "rounded to the nearest multiple of {to}",
        "nl": "afgerond op het dichtstbijzijnde veelvoud van {to}",
        "fr": "arrondi au multiple de {to} le plus proche",
        "de": "auf das nächste Vielfache von {to} gerundet",
    }

    @classmethod
    def parse(cls, to: Any) -> "Round":
        if type(to) is not int or to < 1:
            raise RuleError("round needs `to`: a whole number of 1 or more")
        return cls(to)

    def apply(self, column: Any) -> Any:
        return _numerically(column, self._rounded)

    def _rounded(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        size = np.abs(values)
        steps = (2 * size + self.to) // (2 * self.to)
        rounded: np.ndarray[Any, Any] = np.sign(values) * steps * self.to
        return rounded + 0  # no negative zero

    def describe(self, language: Language) -> str:
        return self.says[language].format(to=self.to)


@dataclass(frozen=True)
class TopCode:
    """Everything from a bound on is shown as the bound."""

    at: int | float
    name: ClassVar[str] = "top_code"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "number"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "{at} stands for {at} or more",
        "nl": "{at} staat voor {at} of meer",
        "fr": "{at} signifie {at} ou plus",
        "de": "{at} steht für {at} oder mehr",
    }

    @classmethod
    def parse(cls, at: Any) -> "TopCode":
        return cls(_number(at, "top_code's `at`"))

    def apply(self, column: Any) -> Any:
        return _numerically(column, lambda values: np.minimum(values, self.at))

    def describe(self, language: Language) -> str:
        return self.says[language].format(at=self.at)


def _numerically(column: Any, work: Callable[[np.ndarray[Any, Any]], Any]) -> Any:
    """Apply `work` to the numbers of a column; its type and its nulls stay."""
    filled = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    values = pa.array(work(filled)).cast(column.type)
    return pc.if_else(pc.is_valid(column), values, pa.scalar(None, column.type))


@dataclass(frozen=True)
class Year(_Plain):
    """The calendar year of a date, as 2024."""

    name: ClassVar[str] = "year"
    takes: ClassVar[str] = "date"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "year",
        "nl": "jaar",
        "fr": "année",
        "de": "Jahr",
    }

    def apply(self, column: Any) -> Any:
        return _once_per_value(column, lambda days: pc.year(days).cast(pa.string()))


@dataclass(frozen=True)
class Quarter(_Plain):
    """The quarter of a date, as 2024Q3."""

    name: ClassVar[str] = "quarter"
    takes: ClassVar[str] = "date"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "quarter of the year",
        "nl": "kwartaal",
        "fr": "trimestre",
        "de": "Quartal",
    }

    def apply(self, column: Any) -> Any:
        return _once_per_value(
            column,
            lambda days: pc.binary_join_element_wise(
                pc.year(days).cast(pa.string()), pc.quarter(days).cast(pa.string()), "Q"
            ),
        )


@dataclass(frozen=True)
class Keep(_Plain):
    """The value as it was delivered."""

    name: ClassVar[str] = "keep"
    takes: ClassVar[str] = "any"
    gives: ClassVar[str] = "any"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "as delivered",
        "nl": "zoals aangeleverd",
        "fr": "tel que fourni",
        "de": "wie geliefert",
    }

    def apply(self, column: Any) -> Any:
        return column


Step = Age | AgeClass | Geography | Round | TopCode | Year | Quarter | Keep
STEPS: Mapping[str, type[Step]] = {step.name: step for step in get_args(Step)}

_KINDS: Mapping[str, str] = {
    "birth_date": "date",
    "date": "date",
    "municipality": "place",
    "postcode": "place",
    "amount": "number",
    "integer": "number",
}
"""What the values of a semantic type are; every other type is text."""


@dataclass(frozen=True)
class Rule:
    """What is done to a variable before it leaves; made by `parse_rule`."""

    steps: tuple[Step, ...]

    def resolve(self, period: str) -> "Rule":
        """The rule with the reference dates of one period; `RuleError` when it has none."""
        dated = (step.resolve(period) if isinstance(step, _Dated) else step for step in self.steps)
        return Rule(tuple(dated))

    def apply(self, column: Any, semantic_type: str) -> Any:
        """Coarsen an Arrow array (or chunked array) of the type's values, nulls staying null.

        Gives labels (string), numbers (the column's own type) or, with `keep`, the values
        themselves. Raises `RuleError` when a step doesn't fit the type, and
        `classifications.UnmappedCodeError` for a place that isn't in the tables.
        """
        kind = _KINDS.get(semantic_type, "text")
        values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for step in self.steps:
            if step.takes not in ("any", kind):
                raise RuleError(f"{step.name} needs a {step.takes}; {semantic_type} is a {kind}")
            if isinstance(step, Geography):
                values = step.apply(values, semantic_type)
            else:
                values = step.apply(values)
            kind = kind if step.gives == "any" else step.gives
        return values

    def intervals(self) -> dict[str, Interval] | None:
        """For a rule on dates of birth: what each label says about the day; else None."""
        last = self.steps[-1]
        return last.intervals() if isinstance(last, AgeClass) else None

    def names(self) -> dict[str, dict[str, str]]:
        """Names by language of the codes this rule makes; empty where labels speak for
        themselves."""
        last = self.steps[-1]
        return classifications.labels(last.level) if isinstance(last, Geography) else {}

    def describe(self, language: Language) -> str:
        """The rule as one sentence."""
        text = "; ".join(step.describe(language) for step in self.steps)
        return text[0].upper() + text[1:] + "."


def parse_rule(doc: Any) -> Rule:
    """Read a permit's rule: a list of steps, each a mapping of its name to its settings."""
    if not isinstance(doc, Sequence) or isinstance(doc, str) or not doc:
        raise RuleError("a rule is a list of at least one step, as [{keep: {}}]")
    rule = Rule(tuple(_parse_step(item) for item in doc))
    for before, after in zip(rule.steps, rule.steps[1:], strict=False):
        if after.takes != before.gives:
            raise RuleError(f"{after.name} can't follow {before.name}; it needs a {after.takes}")
    roundings = [step.to for step in rule.steps if isinstance(step, Round)]
    bounds = [step.at for step in rule.steps if isinstance(step, TopCode)]
    if any(bound % to for bound in bounds for to in roundings):
        raise RuleError("top_code has to be at a multiple of what the values are rounded to")
    return rule


def _parse_step(item: Any) -> Step:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise RuleError("a step is a mapping of one name to its settings, as {round: {to: 100}}")
    [(name, settings)] = item.items()
    if name not in STEPS:
        raise RuleError(f"no such step; there are {', '.join(STEPS)}")
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise RuleError(f"the settings of {name} have to be a mapping")
    try:
        return STEPS[name].parse(**settings)
    except TypeError:
        raise RuleError(f"the settings of {name} are not the ones it has") from None


# --- the minimum -------------------------------------------------------------------------------


@cache
def _minimum() -> dict[str, list[dict[str, dict[str, Any]]]]:
    text = (Path(__file__).parent / "minimum_coarsening.yaml").read_text(encoding="utf-8")
    document: dict[str, list[dict[str, dict[str, Any]]]] = yaml.safe_load(text)
    return document


def _within(step: Step, limits: Mapping[str, Any]) -> bool:
    if isinstance(step, AgeClass):
        return step.narrowest >= int(limits["narrowest"])
    if isinstance(step, Geography):
        levels = classifications.LEVELS
        return levels.index(step.level) >= levels.index(limits["finest"])
    if isinstance(step, Round):
        return step.to >= int(limits.get("at_least", 1))
    if isinstance(step, TopCode):
        return step.at <= float(limits.get("at_most", math.inf))
    return True


_LIMITS: Mapping[str, str] = {
    "narrowest": "with classes of at least {} years, the lowest counted from birth",
    "finest": "at the level of {} or above",
    "at_least": "to {} or more",
    "at_most": "at {} or less",
}


def _spell(alternative: Mapping[str, Mapping[str, Any]]) -> str:
    return " and ".join(
        " ".join([name, *(_LIMITS[limit].format(value) for limit, value in limits.items())])
        for name, limits in alternative.items()
    )


def fault_against_minimum(semantic_type: str, rule: Rule) -> str | None:
    """Why a rule is finer than any permit may allow, with what would be allowed; None if it isn't.

    The limits are `minimum_coarsening.yaml`'s; a type that isn't there never leaves.
    """
    alternatives = _minimum().get(semantic_type, [])
    if not alternatives:
        return f"a variable of type {semantic_type} never leaves; take it out of the request"
    steps = {step.name: step for step in rule.steps}
    for alternative in alternatives:
        same = len(rule.steps) == len(steps) and steps.keys() == alternative.keys()
        if same and all(_within(steps[name], limits) for name, limits in alternative.items()):
            return None
    allowed = ", or ".join(map(_spell, alternatives))
    asked = " and ".join(step.name for step in rule.steps)
    return f"{semantic_type} may leave as {allowed}; the rule ({asked}) is not within that"


# --- what stands in a missing value's place ----------------------------------------------------


def shown(name: str, values: Any, missing: Any = None) -> dict[str, Any]:
    """The column or columns under which coarsened values leave; no null is left unexplained.

    `missing` is a text array of the same length with the code that stands for a null
    (`NOT_IN_SOURCE` where it is null or absent). Text takes the code itself. Other types stay
    null and get a second column `<name>_status`.
    """
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    nowhere = pa.nulls(len(values), pa.string())
    codes = pc.fill_null(nowhere if missing is None else missing, NOT_IN_SOURCE)
    if not pa.types.is_string(values.type):
        status = pc.if_else(pc.is_valid(values), pa.scalar(OBSERVED), codes)
        return {name: values, name + STATUS: status}
    reserved = pc.is_in(values, value_set=pa.array(list(MISSING_CODES)))
    if pc.any(reserved).as_py():
        raise RuleError(
            f"{name} has delivered values that look like a code for a missing value; have the "
            "holder declare them as missing"
        )
    return {name: pc.coalesce(values, codes)}
