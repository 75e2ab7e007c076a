"""What can be wrong with an extract, and what was found: counts and records, never a value."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Severity = Literal["error", "warning"]

LISTED: Final = 1000
"""So many rows are named per variable and reason; the others are counted."""

REASONS: Final[dict[str, tuple[Severity, str]]] = {
    "empty_file": ("error", "The file is empty; export it again."),
    "no_records": ("error", "The file has a header and no records; export it again."),
    "too_many_records": (
        "error",
        "More than {records:,} records, the most that one delivery may have; deliver it in parts.",
    ),
    "kind_contradicted": (
        "error",
        "The file's first bytes don't fit the declared kind (csv or parquet); declare the right "
        "one or none.",
    ),
    "parquet_too_large": (
        "error",
        "A Parquet file is held in memory while it is read and may have {parquet:,} bytes at most; "
        "deliver it in parts, or as CSV.",
    ),
    "parquet_encrypted": (
        "error",
        "The Parquet file is encrypted itself; write it without, the delivery is encrypted anyway.",
    ),
    "parquet_damaged": (
        "error",
        "The Parquet file can't be read: it was cut off, damaged or badly made. Export it again.",
    ),
    "directory_contradicted": (
        "error",
        "The Parquet file's footer contradicts its pages; export it with another program.",
    ),
    "expands_too_much": (
        "error",
        "The Parquet file would become more than {expansion} times its size, or one of its pages "
        "is too large to be unpacked; write values as they are, in pages of a few megabytes.",
    ),
    "encoding_contradicted": (
        "error",
        "The file's first bytes don't fit the declared encoding; declare the right one or none.",
    ),
    "undecodable": (
        "error",
        "Bytes that the file's encoding doesn't know; declare the encoding it was written in.",
    ),
    "unknown_place": (
        "error",
        "No place has this code; correct it, or declare it under `missing` if it means abroad.",
    ),
    "null_byte": ("error", "A NUL byte; the file was damaged or isn't text."),
    "unreadable_header": ("error", "The first line isn't a header; write one, in one line."),
    "duplicate_column": ("error", "This name stands in the header more than once."),
    "unknown_column": ("error", "The header has a column that isn't declared; remove it."),
    "missing_column": ("error", "The header doesn't have this declared column; add it."),
    "nested_column": ("error", "The column holds lists or structures; write one value per row."),
    "type_unsuitable": (
        "error",
        "The Parquet column's type can't hold this variable exactly; write it as text, or as the "
        "guide to declarations says.",
    ),
    "number_without_zeros": (
        "error",
        "A number that identifies has lost its leading zeros, or its last digits, in a column of "
        "numbers; write it as text.",
    ),
    "too_many_fields": (
        "error",
        "More fields than the header; put values that hold the delimiter in quotation marks.",
    ),
    "too_few_fields": ("error", "Fewer fields than the header; is the line broken or empty?"),
    "unterminated_quote": (
        "error",
        "A quotation mark opens here and never closes; reading stopped. Double every quotation "
        "mark inside a value.",
    ),
    "text_after_quote": (
        "error",
        "Text after a closing quotation mark; reading stopped. Double every quotation mark inside "
        "a value.",
    ),
    "field_too_long": (
        "error",
        "A value or line is longer than any real one; reading stopped. Is a quotation mark open?",
    ),
    "stray_line_break": ("error", "A line ends in another way than the header does."),
    "line_break": ("error", "A line break inside a value; replace it by a space."),
    "missing_value": ("error", "This variable is required and has no value here."),
    "not_in_code_list": ("error", "The value isn't in the declared code list."),
    "number_shape": (
        "error",
        "A national number has 11 digits, an enterprise number 10; did a program drop zeros?",
    ),
    "not_a_date": ("error", "No such day, or not in the declared date format."),
    "not_an_amount": (
        "error",
        "Not an amount: digits with the file's decimal mark, no thousands separator.",
    ),
    "ambiguous_amount": (
        "error",
        "A mark before three digits may be a thousands separator; declare `decimal`.",
    ),
    "negative_weight": ("error", "A weight says how many units this one stands for: 0 or more."),
    "not_in_form": (
        "error",
        "Not an old pseudonym: one word of 64 characters at most, in the declared form.",
    ),
    "not_an_integer": ("error", "Not a whole number of at most 18 digits."),
    "not_a_sex": ("error", "Not a known mark for a sex; declare the codes."),
    "not_yes_or_no": ("error", "Neither yes nor no in a known spelling; declare it as a code."),
    "not_a_postcode": ("error", "A postcode has four digits and doesn't start with 0."),
    "not_a_municipality": ("error", "A municipality is a NIS code of five digits."),
    "not_a_nace": ("error", "Not the form of a NACE code, such as 62.01 or 6201."),
    "not_a_quarter": ("error", "A quarter is written YYYYQn, such as 2024Q3."),
    "not_a_year": ("error", "A year has four digits."),
    "not_an_email": ("error", "An e-mail address has one @ between two parts."),
    "pages_unchecked": (
        "warning",
        "The Parquet file's pages have no checksums: if one was damaged before it was encrypted, "
        "nobody can notice. Most programs write them when asked.",
    ),
    "lost_character": (
        "warning",
        "A replacement character: an earlier conversion of this file lost what stood here.",
    ),
    "check_digit": (
        "warning",
        "The number contradicts its own check digits or date; it will count as missing.",
    ),
    "partial_date": ("warning", "A date of which the day or month is unknown."),
    "implausible_date": ("warning", "A birth after the period, or more than 120 years before it."),
    "line_break_in_text": ("warning", "A line break inside a text; is a quotation mark missing?"),
    "duplicate_row": ("warning", "The same as an earlier record in every column."),
}
"""Each reason: how severe, and what it says to the holder."""


@dataclass(frozen=True)
class Limits:
    """What an extract may be at most; the reasons that name a limit say it in its own units."""

    records: int = 50_000_000
    """Records of one delivery: each costs eight bytes of memory while repeated rows are found."""
    parquet: int = 256 << 20
    """Bytes of a Parquet file: it is read from its end, so it is held in memory."""
    expansion: int = 200
    """So many times its own size a Parquet file may become (64 MiB are always allowed)."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong: in one record, or (record None) `count` times further on or in the file.

    `variable` is a declared name, or `column N` for a column of the file that isn't declared (its
    name is not repeated: in a file without a header it would be somebody's data).
    """

    severity: Severity
    reason: str
    row: int | None
    variable: str | None
    count: int = 1


class Stopped(Exception):  # noqa: N818  (not an error: the findings say what happened)
    """The file can't be understood any further; what is wrong has been noted."""


class Findings:
    """Exact counts and the first records of each reason and variable, in the order first met."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str | None], int] = {}
        self._rows: dict[tuple[str, str | None], list[int]] = {}
        self.errors = False

    def note(self, reason: str, variable: str | None = None, rows: Rows | None = None) -> None:
        """A fault of the file, or of each of these records."""
        key = (reason, variable)
        self._counts[key] = self._counts.get(key, 0) + (1 if rows is None else len(rows))
        listed = self._rows.setdefault(key, [])
        if rows is not None and len(listed) < LISTED:
            listed.extend(rows[: LISTED - len(listed)].tolist())
        self.errors = self.errors or REASONS[reason][0] == "error"

    def stop(self, reason: str, row: int | None = None) -> Stopped:
        self.note(reason, rows=None if row is None else np.array([row]))
        return Stopped()

    def listed(self) -> tuple[Fault, ...]:
        """Errors first; per reason and variable its records, then one fault for the others."""
        faults: list[Fault] = []
        for key in sorted(self._counts, key=lambda key: REASONS[key[0]][0]):
            reason, variable = key
            severity = REASONS[reason][0]
            rows = self._rows[key]
            faults += [Fault(severity, reason, row, variable) for row in rows]
            if (rest := self._counts[key] - len(rows)) > 0:
                faults.append(Fault(severity, reason, None, variable, rest))
        return tuple(faults)
