"""What came in, and is it well-formed: strict reading of one extract.

A file is read as a stream, in blocks of whole lines, every value as text. Python's `csv` module
with `strict=True` says what a well-formed file is; a block without a single quotation mark is read
by Arrow's reader instead, which agrees with it there and is faster (a block that Arrow refuses
goes back to `csv`, which says why). Nothing is repaired: a row with a field too many is a fault,
and never shifts its neighbours.

Then each value is checked against its variable's semantic type, once per distinct value of a block.
*Errors* (structure, type, code list, encoding) reject the whole delivery, *warnings* (check digit,
duplicate row, implausible value) are accepted and told. Faults name a data record (the first line
under the header is record 1), a variable and a reason, never a value.

Spaces, tabs and no-break spaces around a value don't count.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from linkage.datasets import (
    DELIMITERS,
    Dataset,
    DatasetFault,
    FileFormat,
    LinkageError,
    Reference,
    Variable,
    date_pattern,
)
from linkage.standardise import enterprise_numbers, national_numbers, sex

__all__ = [
    "Checked",
    "Dataset",
    "DatasetFault",
    "ExtractError",
    "Fault",
    "FileFormat",
    "Reference",
    "Variable",
    "check",
    "conversions",
    "split",
]

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Severity = Literal["error", "warning"]

LISTED: Final = 1000
"""So many rows are named per variable and reason; the others are counted."""

_BLOCK = 4 << 20
_LONGEST_LINE = 16 << 20
_TRIMMED = " \t\u00a0"
_OLDEST = 120

REASONS: Final[dict[str, tuple[Severity, str]]] = {
    "empty_file": ("error", "The file is empty; export it again."),
    "no_records": ("error", "The file has a header and no records; export it again."),
    "encoding_contradicted": (
        "error",
        "The file's first bytes don't fit the declared encoding; declare the right one or none.",
    ),
    "undecodable": (
        "error",
        "Bytes that the file's encoding doesn't know; declare the encoding it was written in.",
    ),
    "null_byte": ("error", "A NUL byte; the file was damaged or isn't text."),
    "unreadable_header": ("error", "The first line isn't a header; write one, in one line."),
    "duplicate_column": ("error", "This name stands in the header more than once."),
    "unknown_column": ("error", "The header has a column that isn't declared; remove it."),
    "missing_column": ("error", "The header doesn't have this declared column; add it."),
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
    "not_an_integer": ("error", "Not a whole number of at most 18 digits."),
    "not_a_sex": ("error", "Not a known mark for a sex; declare the codes."),
    "not_yes_or_no": ("error", "Neither yes nor no in a known spelling; declare it as a code."),
    "not_a_postcode": ("error", "A postcode has four digits and doesn't start with 0."),
    "not_a_municipality": ("error", "A municipality is a NIS code of five digits."),
    "not_a_nace": ("error", "Not the form of a NACE code, such as 62.01 or 6201."),
    "not_a_quarter": ("error", "A quarter is written YYYYQn, such as 2024Q3."),
    "not_a_year": ("error", "A year has four digits."),
    "not_an_email": ("error", "An e-mail address has one @ between two parts."),
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


class ExtractError(LinkageError):
    """A step was asked for that this delivery doesn't allow."""


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


@dataclass(frozen=True)
class Checked:
    """What reading an extract found. `columns` (None when rejected) has a column for each variable.

    Dates are ISO text there, so that a partial one survives; amounts float64, integers int64,
    yes/no bool, everything else text as delivered; missing is null. `detected` names what of the
    format was found out rather than declared.
    """

    dataset: str
    records: int
    format: FileFormat
    detected: tuple[str, ...]
    faults: tuple[Fault, ...]
    columns: Any

    @property
    def accepted(self) -> bool:
        """Whether there is no error; warnings don't count."""
        return not any(fault.severity == "error" for fault in self.faults)

    def report(self) -> dict[str, Any]:
        """The findings as JSON-able data: exact counts, at most `LISTED` records each, no value."""
        groups = groupby(self.faults, key=attrgetter("severity", "reason", "variable"))
        return {
            "dataset": self.dataset,
            "accepted": self.accepted,
            "records": self.records,
            "format": {**vars(self.format), "detected": list(self.detected)},
            "errors": sum(f.count for f in self.faults if f.severity == "error"),
            "warnings": sum(f.count for f in self.faults if f.severity == "warning"),
            "faults": [
                _report_group(severity, reason, variable, list(faults))
                for (severity, reason, variable), faults in groups
            ],
        }


def _report_group(
    severity: str, reason: str, variable: str | None, faults: list[Fault]
) -> dict[str, Any]:
    return {
        "severity": severity,
        "reason": reason,
        "variable": variable,
        "message": REASONS[reason][1],
        "count": sum(fault.count for fault in faults),
        "rows": [fault.row for fault in faults if fault.row is not None],
    }


def check(
    source: BinaryIO,
    dataset: Dataset,
    *,
    period: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Checked:
    """Read an extract and say what is wrong with it.

    `source` is read once, forwards (a pipe will do), and not necessarily to its end when the file
    can't be understood any further. `period` starts with the year that births must not lie after.
    `progress` hears how many bytes have been read. Never raises for what is in the file.
    """
    return _Reading(dataset, period, progress).run(source)


def split(checked: Checked, dataset: Dataset, row_keys: Any) -> tuple[Any, Any]:
    """An accepted extract as two tables, `identifiers` and `payload`, both sorted by row key.

    `row_keys` holds one random 16-byte value per record (fixed_size_binary(16)). Identifiers has
    row_key, record (int64, from 1) and the variables that references are recognised by, as text;
    payload has row_key and every variable whose role isn't identifier, dates as date32 (a partial
    date is null there). Raises ExtractError when the extract was rejected or the keys don't fit.
    """
    if not checked.accepted or checked.columns is None:
        raise ExtractError("This extract was rejected; mend the reported errors and send it again.")
    order, sorted_keys = _sorted_keys(row_keys, checked.records)
    columns = checked.columns.take(order)
    record = pc.add(pa.array(order), 1)
    identifiers = pa.table(
        {
            "row_key": sorted_keys,
            "record": record,
            **{name: columns[name] for name in dataset.identifying},
        }
    )
    payload = {"row_key": sorted_keys}
    for name in dataset.payload:
        is_date = dataset.variable(name).type in ("birth_date", "date")
        payload[name] = _whole_dates(columns[name]) if is_date else columns[name]
    return identifiers, pa.table(payload)


def conversions(identifiers: Any, dataset: Dataset) -> Any:
    """The pairs of a conversion list, as a table of bis and national numbers as delivered.

    Rows where either is missing are left out. Raises ExtractError for another kind of dataset.
    """
    if dataset.conversion is None:
        raise ExtractError(f"Dataset {dataset.id} isn't a conversion list.")
    bis, national = dataset.conversion
    pairs = pa.table({"bis": identifiers[bis], "national": identifiers[national]})
    return pairs.filter(pc.and_(pc.is_valid(pairs["bis"]), pc.is_valid(pairs["national"])))


def _sorted_keys(row_keys: Any, records: int) -> tuple[Rows, Any]:
    keys = row_keys.combine_chunks() if isinstance(row_keys, pa.ChunkedArray) else row_keys
    if keys.type != pa.binary(16) or len(keys) != records or keys.null_count:
        raise ExtractError("Row keys must be one random 16-byte value per record.")
    order = pc.sort_indices(keys).to_numpy().astype(np.int64)
    in_order = keys.take(pa.array(order))
    if records > 1 and pc.any(pc.equal(in_order[1:], in_order[:-1])).as_py():
        raise ExtractError("Two records have the same row key; draw the keys again.")
    return order, in_order


def _whole_dates(text: Any) -> Any:
    whole = pc.match_substring_regex(text, "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
    return pc.cast(pc.if_else(whole, text, pa.scalar(None, pa.string())), pa.date32())


class _Stop(Exception):  # noqa: N818  (not an error: the faults say what happened)
    """The file can't be understood any further; what is wrong has been noted."""


class _Faults:
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

    def stop(self, reason: str, row: int | None = None) -> _Stop:
        self.note(reason, rows=None if row is None else np.array([row]))
        return _Stop()

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


class _Reading:
    """One pass over one file."""

    def __init__(
        self, dataset: Dataset, period: str | None, progress: Callable[[int], None] | None
    ) -> None:
        self.dataset = dataset
        self.faults = _Faults()
        self.text = _Text(dataset.format.encoding, self.faults, progress)
        self.columns = [
            _Column(variable, dataset, self.faults, period) for variable in dataset.variables
        ]
        self.in_file = self.columns
        self.amounts = _Amounts(dataset.format.decimal, dataset.format.thousands)
        self.delimiter = dataset.format.delimiter
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.records = 0

    def run(self, source: BinaryIO) -> Checked:
        try:
            self._read(source)
        except _Stop:
            pass
        else:
            self._note_duplicates()
        columns = None
        if not self.faults.errors:
            columns = pa.table({c.variable.name: c.whole() for c in self.columns})
        declared = self.dataset.format
        found = FileFormat(
            self.delimiter, self.text.encoding, self.amounts.decimal, declared.thousands
        )
        detected = tuple(
            name
            for name, value in vars(found).items()
            if value is not None and getattr(declared, name) is None
        )
        return Checked(
            self.dataset.id, self.records, found, detected, self.faults.listed(), columns
        )

    def _read(self, source: BinaryIO) -> None:
        blocks = self.text.blocks(source)
        first = next(blocks, "")
        header = next(iter(io.StringIO(first, newline="")), "")
        rows = self._header(header)
        self._block(rows, first[len(header) :])
        for block in blocks:
            self._block(rows, block)
        rows.end()
        self.records = rows.records
        if not self.records:
            raise self.faults.stop("no_records")

    def _header(self, line: str) -> "_Rows":
        names = [variable.name for variable in self.dataset.variables]
        if not line.strip():
            raise self.faults.stop("empty_file" if not line else "unreadable_header")
        self.delimiter = self.delimiter or _likely_delimiter(line, names)
        header = _parse_line(line, self.delimiter)
        if header is None:
            raise self.faults.stop("unreadable_header")
        header = [name.strip(_TRIMMED) for name in header]
        for position, name in enumerate(header):
            if name in header[:position]:
                self.faults.note("duplicate_column", name if name in names else _nth(position))
            elif name not in names:
                self.faults.note("unknown_column", _nth(position))
        for name in names:
            if name not in header:
                self.faults.note("missing_column", name)
        if self.faults.errors:
            raise _Stop
        self.in_file = sorted(self.columns, key=lambda c: header.index(c.variable.name))
        ending = line[len(line.rstrip("\r\n")) :]
        return _Rows(self.delimiter, len(header), ending, self.faults)

    def _block(self, rows: "_Rows", text: str) -> None:
        for numbers, arrays in rows.parse(text):
            hashed = np.zeros(len(numbers), np.uint64)
            for column, array in zip(self.in_file, arrays, strict=True):
                distinct, codes = column.add(array, numbers, self.amounts)
                hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + distinct[codes]
            self.hashes.append(hashed)
            self.records = rows.records

    def _note_duplicates(self) -> None:
        """Rows with equal hashes (64 bits): a warning, so one chance in millions may be wrong."""
        if self.faults.errors or not self.hashes:
            return
        hashes = np.concatenate(self.hashes)
        order = np.argsort(hashes, kind="stable")
        same = hashes[order[1:]] == hashes[order[:-1]]
        if same.any():
            self.faults.note("duplicate_row", rows=np.sort(order[1:][same]) + 1)


def _nth(position: int) -> str:
    return f"column {position + 1}"


def _likely_delimiter(header: str, names: list[str]) -> str:
    """The delimiter under which the header names most declared variables."""

    def known(delimiter: str) -> tuple[int, int]:
        parsed = _parse_line(header, delimiter) or []
        return len(set(names) & {name.strip(_TRIMMED) for name in parsed}), len(parsed)

    return max(DELIMITERS, key=known)


def _parse_line(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


class _Text:
    """Bytes into blocks of text that end where a line ends, in a declared or detected encoding."""

    def __init__(
        self, declared: str | None, faults: _Faults, progress: Callable[[int], None] | None
    ) -> None:
        self.encoding = declared
        self._faults = faults
        self._progress = progress
        self._decoder: codecs.IncrementalDecoder | None = None
        self._held = b""
        self._read = 0

    def blocks(self, source: BinaryIO) -> Iterator[str]:
        """Texts of one or more whole lines; only the last may lack its line end."""
        data = self._fill(source)
        if not data:
            return
        data = self._begin(data)
        rest = ""
        while data:
            text = rest + self._decode(data)
            cut = text.rfind("\n") + 1 or text.rstrip("\r").rfind("\r") + 1
            if cut:
                yield text[:cut]
            rest = text[cut:]
            if len(rest) > _LONGEST_LINE:
                raise self._faults.stop("field_too_long")
            data = self._fill(source)
        rest += self._decode(b"", final=True)
        if rest:
            yield rest
        self.encoding = self.encoding or "utf-8"

    def _fill(self, source: BinaryIO) -> bytes:
        """A block, however small the pieces that a pipe gives."""
        pieces: list[bytes] = []
        wanted = _BLOCK
        while wanted and (piece := source.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        self._read += _BLOCK - wanted
        if self._progress and pieces:
            self._progress(self._read)
        return b"".join(pieces)

    def _begin(self, data: bytes) -> bytes:
        """Settle what the first bytes say, and take the byte order mark off."""
        marked = None
        if data.startswith(codecs.BOM_UTF8):
            marked = "utf-8-sig"
        elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            marked = "utf-16"
        fits = {
            None: self.encoding != "utf-16",
            "utf-8-sig": self.encoding in (None, "utf-8", "utf-8-sig"),
            "utf-16": self.encoding in (None, "utf-16"),
        }
        if not fits[marked]:
            raise self._faults.stop("encoding_contradicted")
        if marked == "utf-8-sig":
            data = data[len(codecs.BOM_UTF8) :]
        self.encoding = marked or self.encoding
        if self.encoding is not None:
            self._decoder = _decoder(self.encoding)
        return data

    def _decode(self, data: bytes, final: bool = False) -> str:
        if self._decoder is None:
            data = self._held + data
            self._held = b""
            if data.isascii():
                return data.decode("ascii")
            verdict = _utf8_so_far(data, final)
            if verdict is None:
                # All that isn't ASCII is one character cut by the block's end: wait for the rest.
                start = len(data) - next(i for i in range(1, 4) if data[-i] >= 0xC0)
                data, self._held = data[:start], data[start:]
                return data.decode("ascii")
            self.encoding = "utf-8" if verdict else "cp1252"
            self._decoder = _decoder(self.encoding)
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise self._faults.stop("undecodable") from None


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    """A decoder that marks bytes it doesn't know, so that rows can be named (not in UTF-16)."""
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    name = "utf-8" if encoding == "utf-8-sig" else encoding
    return codecs.getincrementaldecoder(name)(errors=errors)


def _utf8_so_far(data: bytes, final: bool) -> bool | None:
    """Whether bytes that aren't all ASCII are UTF-8; None when only a cut character tells."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final)
    except UnicodeDecodeError:
        return False
    return None if text.isascii() else True


class _Rows:
    """Blocks of text into columns of text, with the number of each record."""

    def __init__(self, delimiter: str, width: int, ending: str, faults: _Faults) -> None:
        self.records = 0
        self._delimiter = delimiter
        self._width = width
        self._ending = ending
        self._faults = faults
        self._open = ""
        self._blank: list[int] = []

    def parse(self, text: str) -> Iterator[tuple[Rows, list[Any]]]:
        """The records that end in this block: numbers, and an Arrow dictionary per column."""
        columns = None if self._open or self._blank else self._quick(text)
        if columns is None:
            numbers, rows = self._careful(self._open + text)
            columns = self._encode(numbers, rows)
        else:
            first = self.records + 1
            self.records += len(columns[0])
            numbers = np.arange(first, self.records + 1)
        if len(numbers):
            yield numbers, columns

    def end(self) -> None:
        """The file is over: an open quotation mark is a fault, blank lines at the end aren't."""
        if self._open:
            raise self._faults.stop("unterminated_quote", self.records + 1)
        self.records -= len(self._blank)

    def _quick(self, text: str) -> list[Any] | None:
        """Arrow's reader, where it can't differ from `csv`; None when that isn't certain."""
        if (
            not text
            or self._width == 1
            or text[0] in "\ufeff\r\n"  # Arrow would take the first for a byte order mark
            or any(mark in text for mark in ('"', "\0", "\n\n", "\n\r\n"))
            or text.count("\r") != text.count("\r\n")
        ):
            return None
        names = [str(position) for position in range(self._width)]
        try:
            table = pyarrow.csv.read_csv(
                io.BytesIO(text.encode()),
                pyarrow.csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=4 * len(text) + 16
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self._delimiter, quote_char=False, ignore_empty_lines=False
                ),
                pyarrow.csv.ConvertOptions(
                    column_types={name: pa.dictionary(pa.int32(), pa.string()) for name in names},
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowInvalid, UnicodeEncodeError):
            return None
        return [column.combine_chunks() for column in table.columns]

    def _careful(self, text: str) -> tuple[Rows, list[list[str]]]:
        """Python's csv module, record by record; keeps a record that goes on in the next block."""
        numbers: list[int] = []
        rows: list[list[str]] = []
        wrong: dict[str, list[int]] = {}
        lines: list[str] = []

        def feed() -> Iterator[str]:
            for line in io.StringIO(text, newline=""):
                lines.append(line)
                yield line

        stopped = None
        self._open = ""
        try:
            for row in csv.reader(feed(), delimiter=self._delimiter, strict=True):
                self._count(row)
                if len(row) == self._width:
                    numbers.append(self.records)
                    rows.append(row)
                elif row:
                    short = len(row) < self._width
                    reason = "too_few_fields" if short else "too_many_fields"
                    wrong.setdefault(reason, []).append(self.records)
                if lines[-1].endswith("\r") and not self._ending.endswith("\r"):
                    wrong.setdefault("stray_line_break", []).append(self.records)
                lines.clear()
        except csv.Error as fault:
            stopped = _csv_reason(fault)
            self._open = "".join(lines)
        for reason, where in wrong.items():
            self._faults.note(reason, rows=np.array(where))
        if stopped not in (None, "unterminated_quote"):
            raise self._faults.stop(stopped, self.records + 1)
        return np.array(numbers, np.int64), rows

    def _count(self, row: list[str]) -> None:
        """Number a record. Blank lines are faults, unless nothing but blank lines follows."""
        self.records += 1
        if not row:
            self._blank.append(self.records)
        elif self._blank:
            self._faults.note("too_few_fields", rows=np.array(self._blank))
            self._blank = []

    def _encode(self, numbers: Rows, rows: list[list[str]]) -> list[Any]:
        columns = []
        for values in zip(*rows, strict=True):
            try:
                array = pa.array(values, pa.string())
            except UnicodeEncodeError:
                bad = [n for n, v in zip(numbers, values, strict=True) if not _encodable(v)]
                self._faults.note("undecodable", rows=np.array(bad))
                array = pa.array([v if _encodable(v) else "" for v in values], pa.string())
            columns.append(array.dictionary_encode())
        return columns


def _encodable(text: str) -> bool:
    """Whether no byte of it was marked as unknown to the encoding."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _csv_reason(fault: csv.Error) -> str:
    message = str(fault)
    if "unexpected end of data" in message:
        return "unterminated_quote"
    return "field_too_long" if "field limit" in message else "text_after_quote"


class _Column:
    """One variable: checks the values of each block and keeps them typed."""

    def __init__(
        self, variable: Variable, dataset: Dataset, faults: _Faults, period: str | None
    ) -> None:
        self.variable = variable
        self._faults = faults
        self._missing = pa.array(dataset.missing, pa.string())
        self._last_year = int(period[:4]) if period and period[:4].isdecimal() else None
        self._chunks: list[Any] = []

    def add(
        self, values: Any, numbers: Rows, amounts: "_Amounts"
    ) -> tuple[npt.NDArray[np.uint64], Rows]:
        """Check and keep a block (an Arrow dictionary of texts); gives hashes and codes."""
        codes = values.indices.to_numpy()
        distinct = pc.utf8_trim(values.dictionary, _TRIMMED)
        missing = pc.is_in(distinct, self._missing)
        present = pc.if_else(missing, pa.scalar(None, pa.string()), distinct)
        typed, bad = self._typed(present, amounts)
        if self.variable.required:
            bad["missing_value"] = missing
        for reason, mask in bad.items():
            wrong = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
            if wrong.any():
                self._faults.note(reason, self.variable.name, numbers[wrong[codes]])
        if not self._faults.errors:
            self._chunks.append(typed.take(values.indices))
        hashes = [hash(text) & 0xFFFFFFFFFFFFFFFF for text in distinct.to_pylist()]
        return np.array(hashes, np.uint64), codes

    def _typed(self, present: Any, amounts: "_Amounts") -> tuple[Any, dict[str, Any]]:
        """Distinct values (null: missing) as their type, and a mask of the bad ones per reason."""
        breaks = "line_break_in_text" if self.variable.type == "text" else "line_break"
        bad = {
            "null_byte": pc.match_substring(present, "\0"),
            breaks: pc.match_substring_regex(present, "[\r\n]"),
            "lost_character": pc.match_substring(present, "\ufffd"),
        }
        if self.variable.codes is not None:
            bad["not_in_code_list"] = pc.and_(
                pc.is_valid(present), _not(pc.is_in(present, pa.array(self.variable.codes)))
            )
        if self.variable.type in ("birth_date", "date"):
            typed, found = self._dates(present)
        elif self.variable.type == "amount":
            typed, found = amounts.read(present)
        elif self.variable.type == "sex" and self.variable.codes is not None:
            typed, found = present, {}
        else:
            typed, found = _TYPED.get(self.variable.type, _as_text)(present)
        return typed, {**bad, **found}

    def _dates(self, present: Any) -> tuple[Any, dict[str, Any]]:
        """ISO text. A birth date may lack its day, or day and month, as zeros: yyyy-00-00."""
        birth = self.variable.type == "birth_date"
        parts = pc.extract_regex(present, date_pattern(self.variable.format or "%Y-%m-%d"))
        year, month, day = (
            pc.fill_null(pc.cast(pc.struct_field(parts, name), pa.int64()), -1).to_numpy()
            for name in ("year", "month", "day")
        )
        known = (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
        known &= day <= _days_in_month(year, month)
        partial = birth & (year >= 0) & (day == 0) & (month >= 0) & (month <= 12) & ~known
        present_here = pc.is_valid(present).to_numpy(zero_copy_only=False)
        bad = {"not_a_date": pa.array(present_here & ~known & ~partial)}
        if birth:
            bad["partial_date"] = pa.array(partial)
            bad["implausible_date"] = pa.array(known & self._implausible(year))
        iso = pc.binary_join_element_wise(
            *(pc.struct_field(parts, name) for name in ("year", "month", "day")), "-"
        )
        return iso, bad

    def _implausible(self, year: Rows) -> Mask:
        if self._last_year is None:
            return np.zeros(len(year), np.bool_)
        return (year > self._last_year) | (year < self._last_year - _OLDEST)

    def whole(self) -> Any:
        return pa.chunked_array(self._chunks).combine_chunks()


def _days_in_month(year: Rows, month: Rows) -> Rows:
    days = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return np.asarray(days[np.clip(month, 0, 12)] + ((month == 2) & leap), np.int64)


class _Amounts:
    """Amounts of a whole file: one decimal mark, declared or shown by the first clear value."""

    def __init__(self, decimal: str | None, thousands: str | None) -> None:
        self.decimal = decimal
        self._thousands = thousands

    def read(self, present: Any) -> tuple[Any, dict[str, Any]]:
        if self.decimal is None:
            self.decimal = _decimal_mark(present)
        if self.decimal is None:
            ambiguous = pc.match_substring_regex(present, r"^-?\d+[.,]\d+$")
            return self._numbers(
                present, r"^-?\d{1,15}([.,]\d+)?$", {"ambiguous_amount": ambiguous}
            )
        return self._numbers(present, self._pattern(self.decimal), {})

    def _pattern(self, decimal: str) -> str:
        whole = r"\d{1,15}"
        if self._thousands is not None:
            whole = rf"({whole}|\d{{1,3}}([{self._thousands}]\d{{3}}){{1,4}})"
        return rf"^-?{whole}([{decimal}]\d+)?$"

    def _numbers(
        self, present: Any, pattern: str, bad: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        fits = pc.match_substring_regex(present, pattern)
        plain = pc.if_else(fits, present, pa.scalar(None, pa.string()))
        if self._thousands is not None:
            plain = pc.replace_substring(plain, self._thousands, "")
        plain = pc.replace_substring(plain, ",", ".")
        return pc.cast(plain, pa.float64()), {"not_an_amount": _not(fits), **bad}


def _decimal_mark(present: Any) -> str | None:
    """The mark of an amount that can't be read otherwise; None when every value leaves it open.

    Three digits after a mark may be thousands. Two clear values that differ: the first one counts,
    and the other is then a fault.
    """
    clear = present.filter(
        pc.fill_null(pc.match_substring_regex(present, r"^-?\d+[.,](\d{1,2}|\d{4,})$"), False)
    )
    return None if not len(clear) else ("," if "," in clear[0].as_py() else ".")


def _not(mask: Any) -> Any:
    return pc.invert(mask)


def _as_text(present: Any) -> tuple[Any, dict[str, Any]]:
    return present, {}


def _matching(reason: str, pattern: str) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    def typed(present: Any) -> tuple[Any, dict[str, Any]]:
        return present, {reason: _not(pc.match_substring_regex(present, pattern))}

    return typed


def _as_integer(present: Any) -> tuple[Any, dict[str, Any]]:
    fits = pc.match_substring_regex(present, r"^-?\d{1,18}$")
    plain = pc.if_else(fits, present, pa.scalar(None, pa.string()))
    return pc.cast(plain, pa.int64()), {"not_an_integer": _not(fits)}


_YES = ("1", "yes", "y", "ja", "j", "oui", "o", "true", "t")
_NO = ("0", "no", "n", "nee", "neen", "non", "nein", "false", "f")


def _as_yes_or_no(present: Any) -> tuple[Any, dict[str, Any]]:
    lower = pc.utf8_lower(present)
    yes = pc.and_(pc.is_valid(lower), pc.is_in(lower, pa.array(_YES)))
    no = pc.and_(pc.is_valid(lower), pc.is_in(lower, pa.array(_NO)))
    known = pc.or_(yes, no)
    typed = pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
    return typed, {"not_yes_or_no": pc.and_(pc.is_valid(present), _not(known))}


def _as_national_number(present: Any) -> tuple[Any, dict[str, Any]]:
    shape = pc.match_substring_regex(present, r"^[ ./-]*([0-9][ ./-]*){11}$")
    return present, _number_faults(shape, national_numbers(pc.fill_null(present, "")))


def _as_enterprise_number(present: Any) -> tuple[Any, dict[str, Any]]:
    shape = pc.match_substring_regex(present, r"^(?i:be)?[ .]*([0-9][ .]*){9,10}$")
    return present, _number_faults(shape, enterprise_numbers(pc.fill_null(present, "")))


def _number_faults(shape: Any, valid: Any) -> dict[str, Any]:
    return {"number_shape": _not(shape), "check_digit": pc.and_(shape, pc.is_null(valid))}


def _as_sex(present: Any) -> tuple[Any, dict[str, Any]]:
    known = [text is None or sex(text) is not None for text in present.to_pylist()]
    return present, {"not_a_sex": _not(pa.array(known, pa.bool_()))}


_TYPED: Final[dict[str, Callable[[Any], tuple[Any, dict[str, Any]]]]] = {
    "national_number": _as_national_number,
    "enterprise_number": _as_enterprise_number,
    "integer": _as_integer,
    "yes_no": _as_yes_or_no,
    "sex": _as_sex,
    "postcode": _matching("not_a_postcode", "^[1-9][0-9]{3}$"),
    "municipality": _matching("not_a_municipality", "^[0-9]{5}$"),
    "nace": _matching("not_a_nace", r"^([A-V]|[0-9]{2}([.]?[0-9]{1,3}|[.]?[0-9]{5})?)$"),
    "quarter": _matching("not_a_quarter", "^[0-9]{4}Q[1-4]$"),
    "year": _matching("not_a_year", "^[0-9]{4}$"),
    "email": _matching("not_an_email", "^[^@]+@[^@]+$"),
}
