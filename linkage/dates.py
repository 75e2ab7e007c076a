"""Birth dates and birth years in the notations people use.

Without a format a column's notation is found out from the column as a whole: year first or last
is seen from each text, day before month or after it is what most of the column allows.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import date_pattern
from linkage.folding import integers, only, split

Ints = npt.NDArray[np.int64]

FIRST_BIRTH_YEAR: Final = 1850
LAST_BIRTH_YEAR: Final = 2099
DEFAULT_DATES: Final = frozenset({"1900-01-01", "1901-01-01", "1970-01-01", "9999-12-31"})
"""What systems write when they must write a date and have none."""

_TIME: Final = r"(?:[T ]\d{1,2}:\d{2}.*)?"
_YEAR_FIRST: Final = (
    rf"^(?P<year>\d{{4}})[-/. ](?P<two>\d{{1,2}})(?:[-/. ](?P<three>\d{{1,2}}){_TIME})?$"
)
_YEAR_LAST: Final = (
    rf"^(?:(?P<one>\d{{1,2}})[-/. ])?(?P<two>\d{{1,2}})[-/. ](?P<year>\d{{4}}){_TIME}$"
)
_TOGETHER: Final = r"^(?P<one>\d{2})(?P<two>\d{2})(?P<three>\d{2})(?P<four>\d{2})$"
_YEAR_ALONE: Final = r"^(?P<year>\d{4})$"


class Parts:
    """Years, months and days of an array of texts; a year of 0 where nothing was read."""

    def __init__(self, year: Ints, month: Ints, day: Ints) -> None:
        self.year, self.month, self.day = year, month, day

    def turned(self) -> "Parts":
        """Month and day the other way round where they can't be what they say."""
        swap = (self.month > 12) & (self.day <= 12) & (self.day > 0)
        return Parts(
            self.year, np.where(swap, self.day, self.month), np.where(swap, self.month, self.day)
        )

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Whether somebody can be born then."""
        seen: npt.NDArray[np.bool_] = (
            (self.year >= FIRST_BIRTH_YEAR)
            & (self.year <= LAST_BIRTH_YEAR)
            & (self.month <= 12)
            & (self.day <= 31)
        )
        return seen

    def otherwise(self, other: "Parts") -> "Parts":
        """These, and the other's where nothing was read here."""
        read = self.year > 0
        return Parts(
            np.where(read, self.year, other.year),
            np.where(read, self.month, other.month),
            np.where(read, self.day, other.day),
        )

    def texts(self) -> Any:
        """ISO dates with 00 for what isn't known; null for what nobody is born on."""
        day = np.where(self.month > 0, self.day, 0)
        digits = pa.array(self.year * 10_000 + self.month * 100 + day).cast(pa.string())
        iso = pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(digits, 0, 4),
            pc.utf8_slice_codeunits(digits, 4, 6),
            pc.utf8_slice_codeunits(digits, 6, 8),
            "-",
        )
        default = pc.is_in(iso, pa.array(sorted(DEFAULT_DATES)))
        return only(pc.and_(pa.array(self.possible), pc.invert(default)), iso)


def birth_dates(values: Any, form: str | None = None) -> Any:
    """Texts as yyyy-mm-dd with 00 for an unknown month or day; null for no or no possible date.

    `form` is a format of `%d`, `%m` and `%Y`, once each. Without it ISO, yyyymmdd, d/m/yyyy (with
    any separator), month and year, and the year alone are read. A month above 12 with a day up to
    12 was written the other way round, and is turned.
    """
    values = pc.utf8_trim_whitespace(values)
    parts = _read(values) if form is None else _formatted(values, form)
    return parts.turned().texts()


def birth_years(values: Any) -> Any:
    """Texts as yyyy: a year, or the year of a date; null when nobody is born then."""
    return pc.utf8_slice_codeunits(birth_dates(values), 0, 4)


def _formatted(values: Any, form: str) -> Parts:
    pattern = date_pattern(form).replace(r"\d{2}", r"\d{1,2}").removesuffix("$") + f"{_TIME}$"
    if not any(mark in form for mark in "-/. ,"):
        pattern = date_pattern(form)
    return Parts(*map(integers, split(values, pattern, "year", "month", "day")))


def _read(values: Any) -> Parts:
    year, two, three = map(integers, split(values, _YEAR_FIRST, "year", "two", "three"))
    first = Parts(year, two, three)
    year, two, one = map(integers, split(values, _YEAR_LAST, "year", "two", "one"))
    last = _likelier(
        Parts(year, two, one), Parts(year, np.where(one > 0, one, two), two * (one > 0))
    )
    year = integers(split(values, _YEAR_ALONE, "year")[0])
    alone = Parts(year, np.zeros_like(year), np.zeros_like(year))
    a, b, c, d = map(integers, split(values, _TOGETHER, "one", "two", "three", "four"))
    together = _likelier(Parts(a * 100 + b, c, d), Parts(c * 100 + d, b, a))
    return first.otherwise(last).otherwise(together).otherwise(alone)


def _likelier(one: Parts, other: Parts) -> Parts:
    """The reading under which more of the column are dates; the first one when it's a draw."""
    return other if other.possible.sum() > one.possible.sum() else one
