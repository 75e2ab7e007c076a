"""Is a column as good as an identifier, though no value in it looks like one.

A case number, an exact amount or the second at which something was written down is nearly
everybody's own: whoever holds the same file elsewhere finds everybody in it. Three signs, each of a
whole column:

- `near_unique`: at least half of the rows, `FEWEST` of them or more, have a value that no other row
  has;
- `exact_amount`: numbers of four significant digits or more in most of at least 200 different
  values (1,000 of whole numbers). Codes are no amounts: whole numbers that are all as long, such as
  years, postcodes or NIS codes, and texts of which some begin with a zero;
- `timestamp`: a time of the day beside a day or with its seconds, or whole numbers that are all
  seconds (or thousandths) since 1970 in this century.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FEWEST = 50
"""With fewer rows, that most values stand alone says nothing."""
_ALONE = 0.5
_EXACT, _DISTINCT, _DISTINCT_WHOLE = 0.5, 200, 1000
_NUMBER = r"^-?\d{1,3}(?:[ .]?\d{3})*(?:[.,]\d{1,4})?$"
_TIME = (
    r"\d[T ](?:[01]?\d|2[0-3]):[0-5]\d(?:\D|$)|(?:^|\D)(?:[01]?\d|2[0-3]):[0-5]\d:[0-5]\d(?:\D|$)"
)
_SINCE, _UNTIL = 946_684_800, 2_208_988_800
"""1 January 2000 and 2040, in seconds."""


def in_text(values: Any, rows: Any) -> dict[str, int]:
    """Kind → rows, of a column's distinct texts with the rows that have each."""
    found = {}
    timed = _matching(values, _TIME)
    if timed.any():
        found["timestamp"] = max(int(rows[timed].sum()), 1)
    numeric = _matching(values, _NUMBER)
    exact = 0
    if numeric.sum() >= max(_DISTINCT, 0.9 * len(values)) and not _matching(values, r"^0\d").any():
        texts = values.filter(pa.array(numeric)).to_pylist()
        numbers = np.array([_read(text) for text in texts])
        exact = _exact(numbers, rows[numeric])
    return found or _of_the_column(exact, rows)


def in_numbers(numbers: Any, rows: Any) -> dict[str, int]:
    """The same of distinct numbers."""
    finite = np.isfinite(numbers)
    numbers, rows = numbers[finite], rows[finite]
    found = {}
    whole = np.floor(numbers) == numbers
    seconds = np.where(np.abs(numbers) >= 10**11, numbers / 1000, numbers)
    dated = whole & (seconds >= _SINCE) & (seconds < _UNTIL)
    if len(numbers) >= FEWEST and dated.mean() >= 0.95:
        found["timestamp"] = int(rows[dated].sum())
    return found or _of_the_column(_exact(numbers, rows), rows)


def _of_the_column(exact: int, rows: Any) -> dict[str, int]:
    """Whether amounts are exact; if not, whether most rows have a value of their own."""
    if exact:
        return {"exact_amount": exact}
    alone = int((rows == 1).sum())
    if alone >= FEWEST and alone >= _ALONE * rows.sum():
        return {"near_unique": alone}
    return {}


def _matching(values: Any, pattern: str) -> Any:
    return pc.match_substring_regex(values, pattern).to_numpy(zero_copy_only=False)


def _read(text: str) -> float:
    """A number as people write it: the last point or comma is the decimal one, unless three digits
    follow it."""
    plain = text.replace(" ", "")
    head, separator, tail = plain.replace(",", ".").rpartition(".")
    if not separator or (len(tail) == 3 and head.lstrip("-").replace(".", "").isdigit()):
        return float(plain.replace(".", "").replace(",", ""))
    return float(f"{head.replace('.', '')}.{tail}")


def _exact(numbers: Any, rows: Any) -> int:
    """Rows with four significant digits or more, where that is so of most of many values; else
    0."""
    if len(numbers) < _DISTINCT:
        return 0
    size = np.abs(numbers[numbers != 0])
    if len(size) < _DISTINCT:
        return 0
    # three significant digits of a number are what is left after dividing by this power of ten
    unit = 10.0 ** (np.floor(np.log10(size)) - 2)
    steps = size / unit
    fine = np.abs(steps - np.rint(steps)) > 1e-6 * steps
    whole = bool((np.floor(size) == size).all())
    if fine.sum() < _EXACT * len(size) or (whole and len(size) < _DISTINCT_WHOLE):
        return 0
    if whole and np.floor(np.log10(size.min())) == np.floor(np.log10(size.max())):
        return 0
    return int(rows[numbers != 0][fine].sum())
