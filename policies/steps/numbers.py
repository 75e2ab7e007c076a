"""Steps on numbers: rounding, top and bottom coding, classes, size classes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.steps import LANGUAGES, Interval, Language, Names, RuleError, Step, once_per_value

Numbers = np.ndarray[Any, Any]

LOWEST, HIGHEST = -(2**53), 2**53
"""Ends of an open interval of hundredths."""
_MOST_BREAKS = 1000
_LARGEST = 10**12
"""No break is larger than this either way, so that hundredths stay far from the ends."""


def number(value: Any, what: str) -> int | float:
    """A finite number of a permit's settings."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RuleError(f"{what} has to be a number")
    return value


_BLOCK = 1 << 16
"""Numbers that are worked on at a time, so that what comes in between stays in the cache."""
_FEW = 16
"""Bounds up to which comparing with each is faster than searching."""


def numerically(column: Any, work: Callable[[Numbers], Any]) -> Any:
    """Apply `work` to the numbers of a column; its type and its nulls stay."""
    filled = pc.fill_null(column, 0) if column.null_count else column
    values = pa.array(_in_blocks(filled.to_numpy(zero_copy_only=False), work)).cast(column.type)
    if not column.null_count:
        return values
    return pc.if_else(pc.is_valid(column), values, pa.scalar(None, column.type))


def _in_blocks(values: Numbers, work: Callable[[Numbers], Any]) -> Numbers:
    if len(values) <= _BLOCK:
        return np.asarray(work(values))
    first = np.asarray(work(values[:_BLOCK]))
    done = np.empty(len(values), first.dtype)
    done[:_BLOCK] = first
    for start in range(_BLOCK, len(values), _BLOCK):
        done[start : start + _BLOCK] = work(values[start : start + _BLOCK])
    return done


def there(column: Any) -> Any:
    """Which values of a column of numbers are there; what isn't a number isn't."""
    valid = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        return pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(column), False)))
    return valid


def labelled(column: Any, labels: Sequence[str], work: Callable[[Numbers], Any]) -> Any:
    """The label at the place that `work` gives to each number, as a dictionary array; null stays
    null."""
    names = pa.array(labels, pa.string())
    if not column.null_count:
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind in "iu" or not np.isnan(values).any():
            places = _in_blocks(values, lambda block: work(block).astype(np.int32))
            return pa.DictionaryArray.from_arrays(pa.array(places), names)
    present = there(column)
    filled = pc.if_else(present, column, pa.scalar(0, column.type))
    places = pa.array(_in_blocks(filled.to_numpy(zero_copy_only=False), work), pa.int32())
    known = pc.if_else(present, places, pa.scalar(None, pa.int32()))
    return pa.DictionaryArray.from_arrays(known, names)


def reached(values: Numbers, bounds: Sequence[int | float]) -> Numbers:
    """For each number, how many of the ascending bounds it reaches."""
    if len(bounds) > _FEW:
        return np.digitize(values, bounds)
    found = np.zeros(len(values), np.int8)
    for bound in bounds:
        found += values >= bound
    return found


@dataclass(frozen=True)
class Round(Step):
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
    limits: ClassVar[Mapping[str, str]] = {"at_least": "to {} or more"}

    @classmethod
    def parse(cls, to: Any) -> "Round":
        if type(to) is not int or to < 1:
            raise RuleError("round needs `to`: a whole number of 1 or more")
        return cls(to)

    def apply(self, column: Any) -> Any:
        return numerically(column, self._rounded)

    def _rounded(self, values: Numbers) -> Numbers:
        doubled = 2 * np.abs(values) + self.to
        if values.dtype.kind == "f":
            # many times faster than //, which a quotient that was rounded up has to agree with
            steps = np.floor(doubled / (2 * self.to))
            steps -= steps * (2 * self.to) > doubled
            return np.asarray(np.copysign(steps * self.to, values) + 0)  # no negative zero
        return np.asarray(np.sign(values) * (doubled // (2 * self.to)) * self.to)

    def describe(self, language: Language) -> str:
        return self.says[language].format(to=self.to)

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.to >= int(limits.get("at_least", 1))


@dataclass(frozen=True)
class Significant(Step):
    """To so many significant digits; a tie goes to the even digit.

    For weights: a calibrated weight is nearly as good as a number to whoever knows how it was
    made, and what its rounding does to a total is small and averages out.
    """

    digits: int
    name: ClassVar[str] = "significant"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "number"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "rounded to {digits} significant digits",
        "nl": "afgerond op {digits} significante cijfers",
        "fr": "arrondi à {digits} chiffres significatifs",
        "de": "auf {digits} signifikante Stellen gerundet",
    }
    limits: ClassVar[Mapping[str, str]] = {"most_digits": "to {} digits or fewer"}

    @classmethod
    def parse(cls, digits: Any) -> "Significant":
        if type(digits) is not int or not 1 <= digits <= 15:
            raise RuleError("significant needs `digits`: a whole number from 1 to 15")
        return cls(digits)

    def apply(self, column: Any) -> Any:
        return once_per_value(column, lambda values: numerically(values, self._rounded))

    def _rounded(self, values: Numbers) -> Numbers:
        rounded = [float(f"{value:.{self.digits - 1}e}") for value in values.tolist()]
        return np.array(rounded, values.dtype)

    def describe(self, language: Language) -> str:
        return self.says[language].format(digits=self.digits)

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.digits <= int(limits.get("most_digits", self.digits))


@dataclass(frozen=True)
class TopCode(Step):
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
    limits: ClassVar[Mapping[str, str]] = {"at_most": "at {} or less"}

    @classmethod
    def parse(cls, at: Any) -> "TopCode":
        return cls(number(at, "top_code's `at`"))

    def apply(self, column: Any) -> Any:
        bound = _bound(self.at, column)
        return numerically(column, lambda values: np.minimum(values, bound))

    def describe(self, language: Language) -> str:
        return self.says[language].format(at=self.at)

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.at <= float(limits.get("at_most", math.inf))


@dataclass(frozen=True)
class BottomCode(Step):
    """Everything up to a bound is shown as the bound."""

    at: int | float
    name: ClassVar[str] = "bottom_code"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "number"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "{at} stands for {at} or less",
        "nl": "{at} staat voor {at} of minder",
        "fr": "{at} signifie {at} ou moins",
        "de": "{at} steht für {at} oder weniger",
    }
    limits: ClassVar[Mapping[str, str]] = {"at_least": "at {} or more"}

    @classmethod
    def parse(cls, at: Any) -> "BottomCode":
        return cls(number(at, "bottom_code's `at`"))

    def apply(self, column: Any) -> Any:
        bound = _bound(self.at, column)
        return numerically(column, lambda values: np.maximum(values, bound))

    def describe(self, language: Language) -> str:
        return self.says[language].format(at=self.at)

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.at >= float(limits.get("at_least", -math.inf))


def _bound(at: int | float, column: Any) -> int | float:
    """A bound in the column's own kind of number, in which it has to be exact."""
    if not pa.types.is_integer(column.type):
        return at
    if at != int(at):
        raise RuleError("top_code and bottom_code of whole numbers have to be at a whole number")
    return int(at)


def fault_of_bounds(steps: Sequence[Step]) -> str | None:
    """What is wrong with rounding, top and bottom coding together; in whatever order they stand,
    they give the same values when nothing is."""
    roundings = [step.to for step in steps if isinstance(step, Round)]
    tops = [step.at for step in steps if isinstance(step, TopCode)]
    bottoms = [step.at for step in steps if isinstance(step, BottomCode)]
    if any(bound % to for bound in [*tops, *bottoms] for to in roundings):
        return "top_code and bottom_code have to be at a multiple of what the values are rounded to"
    if tops and bottoms and max(bottoms) >= min(tops):
        return "bottom_code has to be below top_code"
    return None


# --- classes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classes(Step):
    """Classes between breaks: below the first, from one up to but not including the next, and from
    the last on. The labels say so; `titles` are names of one's own, one for each class."""

    breaks: tuple[int | float, ...]
    titles: tuple[Mapping[str, str], ...] = ()
    name: ClassVar[str] = "classes"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "class: {classes}",
        "nl": "klasse: {classes}",
        "fr": "classe : {classes}",
        "de": "Klasse: {classes}",
    }
    limits: ClassVar[Mapping[str, str]] = {
        "narrowest": "with classes at least {} wide",
        "last_at_most": "the last of them from {} or less on",
    }

    @classmethod
    def parse(cls, breaks: Any, titles: Any = ()) -> "Classes":
        listed = isinstance(breaks, Sequence) and not isinstance(breaks, str)
        if not listed or not 1 <= len(breaks) <= _MOST_BREAKS:
            raise RuleError("classes needs breaks: 1 to 1000 numbers in ascending order")
        bounds = [number(item, "each of the breaks of classes") for item in breaks]
        if any(low >= high for low, high in pairwise(bounds)):
            raise RuleError("the breaks of classes have to ascend")
        if any(abs(bound) > _LARGEST or round(bound, 2) != bound for bound in bounds):
            raise RuleError("a break has two decimals at most, and is no larger than 10^12")
        return cls(tuple(bounds), cls._titles(titles, len(bounds) + 1))

    @staticmethod
    def _titles(titles: Any, classes: int) -> tuple[Mapping[str, str], ...]:
        if not titles:
            return ()
        listed = isinstance(titles, Sequence) and len(titles) == classes
        if not listed or not all(isinstance(one, Mapping) and one for one in titles):
            raise RuleError("titles has one mapping of languages to texts for each class")
        fine = all(
            language in LANGUAGES and isinstance(text, str) and 0 < len(text) <= 100
            for one in titles
            for language, text in one.items()
        )
        if not fine:
            raise RuleError(
                f"titles are texts of 100 characters at most, by language: {', '.join(LANGUAGES)}"
            )
        return tuple(dict(one) for one in titles)

    @property
    def labels(self) -> tuple[str, ...]:
        inner = [f"{low}..<{high}" for low, high in pairwise(self.breaks)]
        return (f"<{self.breaks[0]}", *inner, f">={self.breaks[-1]}")

    def apply(self, column: Any) -> Any:
        return labelled(column, self.labels, lambda values: reached(values, self.breaks))

    def describe(self, language: Language) -> str:
        return self.says[language].format(classes=", ".join(self.labels))

    def names(self) -> Names:
        inner = [_in_words(_CLASS, low=low, high=high) for low, high in pairwise(self.breaks)]
        first, last = _in_words(_BELOW, high=self.breaks[0]), _in_words(_FROM, low=self.breaks[-1])
        own = [dict(title) for title in self.titles]
        return dict(zip(self.labels, own or [first, *inner, last], strict=True))

    def intervals(self) -> dict[str, Interval]:
        return _hundredths(self.labels, self.breaks, LOWEST)

    def within(self, limits: Mapping[str, Any]) -> bool:
        narrowest = min((high - low for low, high in pairwise(self.breaks)), default=math.inf)
        wide = narrowest >= float(limits.get("narrowest", 0))
        return wide and self.breaks[-1] <= float(limits.get("last_at_most", math.inf))


def _in_words(texts: Mapping[Language, str], **bounds: int | float) -> dict[str, str]:
    return {language: text.format(**bounds) for language, text in texts.items()}


def _hundredths(
    labels: Sequence[str], breaks: Sequence[int | float], lowest: int
) -> dict[str, Interval]:
    """Label → first and last hundredth. Values with more decimals lie in their floor's class,
    since breaks have no more than two."""
    edges = [round(bound * 100) for bound in breaks]
    ends = [lowest, *edges, HIGHEST + 1]
    spans = [(low, high - 1) for low, high in pairwise(ends)]
    return dict(zip(labels, spans, strict=True))


_BELOW: Mapping[Language, str] = {
    "en": "less than {high}",
    "nl": "minder dan {high}",
    "fr": "moins de {high}",
    "de": "weniger als {high}",
}
_CLASS: Mapping[Language, str] = {
    "en": "from {low} to less than {high}",
    "nl": "van {low} tot minder dan {high}",
    "fr": "de {low} à moins de {high}",
    "de": "von {low} bis unter {high}",
}
_FROM: Mapping[Language, str] = {
    "en": "{low} or more",
    "nl": "{low} of meer",
    "fr": "{low} ou plus",
    "de": "{low} oder mehr",
}

# --- size classes --------------------------------------------------------------------------------

_SCHEMES: Mapping[str, tuple[int, ...]] = {
    "rsz": (1, 5, 10, 20, 50, 100, 200, 500, 1000),
    "eu": (10, 50, 250),
}
"""Scheme → first number of employees of each class after the lowest. `rsz`: the size classes of
the National Social Security Office's (RSZ/ONSS) employment statistics, with a class for employers
without employees. `eu`: the headcounts of Commission Recommendation 2003/361/EC; turnover and
balance sheet, which it looks at as well, aren't."""

_EU: tuple[Mapping[Language, str], ...] = (
    {"en": "micro", "nl": "micro", "fr": "micro", "de": "Kleinst"},
    {"en": "small", "nl": "klein", "fr": "petite", "de": "klein"},
    {"en": "medium-sized", "nl": "middelgroot", "fr": "moyenne", "de": "mittel"},
    {"en": "large", "nl": "groot", "fr": "grande", "de": "groß"},
)


@dataclass(frozen=True)
class SizeClass(Step):
    """An enterprise's class by its number of employees, under a named scheme."""

    scheme: str
    name: ClassVar[str] = "size_class"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "size class by number of employees (scheme {scheme}: {classes})",
        "nl": "grootteklasse naar aantal werknemers (indeling {scheme}: {classes})",
        "fr": "classe de taille selon le nombre de salariés (classification {scheme} : {classes})",
        "de": "Größenklasse nach Zahl der Beschäftigten (Einteilung {scheme}: {classes})",
    }

    @classmethod
    def parse(cls, scheme: Any) -> "SizeClass":
        if scheme not in _SCHEMES:
            raise RuleError(f"size_class knows the schemes {', '.join(_SCHEMES)}")
        return cls(scheme)

    @property
    def breaks(self) -> tuple[int, ...]:
        return _SCHEMES[self.scheme]

    @property
    def labels(self) -> tuple[str, ...]:
        spans = [
            str(low) if high == low + 1 else f"{low}-{high - 1}"
            for low, high in pairwise((0, *self.breaks))
        ]
        return (*spans, f">={self.breaks[-1]}")

    def apply(self, column: Any) -> Any:
        below = pc.sum(pc.less(column, 0)).as_py() or 0
        if below:
            raise RuleError(
                f"{below} numbers of employees are below zero; have the holder correct them"
            )
        return labelled(column, self.labels, lambda values: reached(values, self.breaks))

    def describe(self, language: Language) -> str:
        scheme = self.scheme.upper()
        return self.says[language].format(scheme=scheme, classes=", ".join(self.labels))

    def names(self) -> Names:
        if self.scheme != "eu":
            return {}
        titles = zip(self.labels, _EU, strict=True)
        return {code: {at: f"{title[at]} ({code})" for at in LANGUAGES} for code, title in titles}

    def intervals(self) -> dict[str, Interval]:
        return _hundredths(self.labels, self.breaks, 0)
