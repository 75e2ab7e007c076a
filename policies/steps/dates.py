"""Steps on dates: age, age class, year, quarter, week."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.steps import Interval, Language, Plain, RuleError, Step, once_per_value

EARLIEST, LATEST = -1_000_000, 1_000_000
"""Ends of an open interval of days since 1 January 1970."""


def _day(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise RuleError("a reference date has to be a day, as 2024-12-31") from None


def _epoch(day: date) -> int:
    return (day - date(1970, 1, 1)).days


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


@dataclass(frozen=True)
class Dated(Step):
    """A step that needs a reference date: one day, or one for each period."""

    reference_date: date | Mapping[str, date]

    @staticmethod
    def read(value: Any) -> date | Mapping[str, date]:
        if isinstance(value, Mapping):
            if not value:
                raise RuleError("reference_date names no period; give a day for each")
            return {str(period): _day(day) for period, day in value.items()}
        return _day(value)

    def resolve(self, period: str) -> Self:
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
class Age(Dated):
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
        return once_per_value(column, lambda days: pa.array(ages(days, self.on), pa.int64()))

    def describe(self, language: Language) -> str:
        return self.says[language].format(date=self.spelled)


@dataclass(frozen=True)
class AgeClass(Dated):
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
    limits: ClassVar[Mapping[str, str]] = {
        "narrowest": "with classes of at least {} years, the lowest counted from birth"
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

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.narrowest >= int(limits["narrowest"])

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
        return once_per_value(
            column, lambda days: names.take(pa.array(np.digitize(ages(days, self.on), self.breaks)))
        )

    def describe(self, language: Language) -> str:
        return self.says[language].format(date=self.spelled, classes=", ".join(self.labels))


@dataclass(frozen=True)
class Year(Plain):
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
        return once_per_value(column, lambda days: pc.year(days).cast(pa.string()))


@dataclass(frozen=True)
class Quarter(Plain):
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
        return once_per_value(
            column,
            lambda days: pc.binary_join_element_wise(
                pc.year(days).cast(pa.string()), pc.quarter(days).cast(pa.string()), "Q"
            ),
        )


@dataclass(frozen=True)
class Week(Plain):
    """The week of a date after ISO 8601, as 2024-W07; its year is that of its Thursday."""

    name: ClassVar[str] = "week"
    takes: ClassVar[str] = "date"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "week (ISO 8601)",
        "nl": "week (ISO 8601)",
        "fr": "semaine (ISO 8601)",
        "de": "Woche (ISO 8601)",
    }

    def apply(self, column: Any) -> Any:
        return once_per_value(
            column,
            lambda days: pc.binary_join_element_wise(
                pc.iso_year(days).cast(pa.string()),
                pc.utf8_lpad(pc.iso_week(days).cast(pa.string()), 2, "0"),
                "-W",
            ),
        )
