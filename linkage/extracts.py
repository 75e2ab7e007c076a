"""What came in, and is it well-formed: strict reading of one extract.

A file is read as a stream, every value as text (`linkage.reading` for CSV, `linkage.parquet` for
Parquet); then each value is checked against its variable's semantic type (`linkage.values`).
*Errors* (structure, type, code list, encoding) reject the whole delivery, *warnings* (check digit,
duplicate row, implausible value) are accepted and told. Faults name a data record (the first line
under the header is record 1), a variable and a reason, never a value (`linkage.findings`).

Nothing of the file is kept here but eight bytes per record, by which repeated rows are found. What
was read is handed on, block by block, to whoever wants it.

Spaces, tabs and no-break spaces around a value don't count.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage import parquet
from linkage.datasets import (
    Dataset,
    DatasetFault,
    FileFormat,
    LinkageError,
    Reference,
    Variable,
)
from linkage.findings import REASONS, Fault, Findings, Limits, Rows, Stopped
from linkage.parquet import ParquetFile
from linkage.reading import TRIMMED, Records, TextBlocks, filled, likely_delimiter, parse_line
from linkage.values import Amounts, Column, Exists

__all__ = [
    "Checked",
    "Dataset",
    "DatasetFault",
    "ExtractError",
    "Fault",
    "FileFormat",
    "Limits",
    "Reference",
    "Variable",
    "check",
    "conversions",
    "split",
]

Sink = Callable[[Any], None]
"""Takes blocks of records that are well-formed so far, as tables: `record` (int64, from 1) and a
column for each variable. Dates are ISO text there, so that a partial one survives; amounts float64,
integers int64, yes/no bool, everything else text as delivered; missing is null."""

_PARTED: Final = 4_000_000
"""From so many records on, repeated rows are looked for in parts, which needs less memory."""


class ExtractError(LinkageError):
    """A step was asked for that this delivery doesn't allow."""


@dataclass(frozen=True)
class Checked:
    """What reading an extract found; `detected` names what of the format was found out."""

    dataset: str
    records: int
    format: FileFormat
    detected: tuple[str, ...]
    faults: tuple[Fault, ...]
    limits: Limits = field(default_factory=Limits)

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
                {
                    "severity": severity,
                    "reason": reason,
                    "variable": variable,
                    "message": REASONS[reason][1].format(**vars(self.limits)),
                    **_counted(list(faults)),
                }
                for (severity, reason, variable), faults in groups
            ],
        }


def _counted(faults: list[Fault]) -> dict[str, Any]:
    return {
        "count": sum(fault.count for fault in faults),
        "rows": [fault.row for fault in faults if fault.row is not None],
    }


def check(
    source: BinaryIO,
    dataset: Dataset,
    *,
    period: str | None = None,
    progress: Callable[[int], None] | None = None,
    sink: Sink | None = None,
    exists: Mapping[str, Exists] | None = None,
    limits: Limits | None = None,
) -> Checked:
    """Read an extract and say what is wrong with it.

    `source` is read once, forwards (a pipe will do), and not necessarily to its end when the file
    can't be understood any further. `period` starts with the year that births must not lie after.
    `progress` hears how many bytes have been read. `exists` says for a semantic type which texts
    stand for something. Never raises for what is in the file.

    `sink` is handed what was read until the first error; only what comes back tells whether the
    file as a whole is accepted.
    """
    reading = _Reading(dataset, period, progress, sink, exists or {}, limits or Limits())
    return reading.run(source)


def split(rows: Any, dataset: Dataset) -> tuple[Any, Any]:
    """Records of an accepted extract as two tables, `identifiers` and `payload`, by row key.

    `rows` is what a sink was handed and a column `row_key`, one random 16-byte value per record
    (fixed_size_binary(16)); both tables are sorted by it. Identifiers has row_key, record (int64,
    from 1) and the variables that references are recognised by, as text; payload has row_key and
    every variable whose role isn't identifier, dates as date32 (a partial date is null there).
    Raises ExtractError when the keys don't fit.
    """
    if rows["row_key"].type != pa.binary(16) or rows["row_key"].null_count:
        raise ExtractError("Row keys must be one random 16-byte value per record.")
    keys = rows["row_key"].combine_chunks()
    halves = np.frombuffer(keys.buffers()[1], ">u8")[2 * keys.offset :].reshape(-1, 2)[: len(keys)]
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    if (halves[order[1:]] == halves[order[:-1]]).all(axis=1).any():
        raise ExtractError("Two records have the same row key; draw the keys again.")
    rows = rows.combine_chunks().take(pa.array(order))
    payload = {"row_key": rows["row_key"]}
    for name in dataset.payload:
        is_date = dataset.variable(name).type in ("birth_date", "date")
        payload[name] = _whole_dates(rows[name]) if is_date else rows[name]
    return rows.select(["row_key", "record", *dataset.identifying]), pa.table(payload)


def conversions(identifiers: Any, dataset: Dataset) -> Any:
    """The pairs of a conversion list, as a table of bis and national numbers as delivered.

    Rows where either is missing are left out. Raises ExtractError for another kind of dataset.
    """
    if dataset.conversion is None:
        raise ExtractError(f"Dataset {dataset.id} isn't a conversion list.")
    bis, national = dataset.conversion
    pairs = pa.table({"bis": identifiers[bis], "national": identifiers[national]})
    return pairs.filter(pc.and_(pc.is_valid(pairs["bis"]), pc.is_valid(pairs["national"])))


def _whole_dates(text: Any) -> Any:
    whole = pc.match_substring_regex(text, "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
    return pc.cast(pc.if_else(whole, text, pa.scalar(None, pa.string())), pa.date32())


class _Reading:
    """One pass over one file."""

    def __init__(
        self,
        dataset: Dataset,
        period: str | None,
        progress: Callable[[int], None] | None,
        sink: Sink | None,
        exists: Mapping[str, Exists],
        limits: Limits,
    ) -> None:
        self.dataset = dataset
        self.limits = limits
        self.progress = progress
        self.sink = sink
        self.faults = Findings()
        self.columns = [
            Column(variable, dataset, self.faults, period, exists.get(variable.type))
            for variable in dataset.variables
        ]
        self.in_file = self.columns
        self.amounts = Amounts(dataset.format.decimal, dataset.format.thousands)
        self.delimiter = dataset.format.delimiter
        self.encoding = dataset.format.encoding
        self.kind = dataset.format.kind
        self.repeats = _Repeats()
        self.records = 0

    def run(self, source: BinaryIO) -> Checked:
        try:
            self._read(source)
        except Stopped:
            pass
        else:
            if not self.faults.errors and len(again := self.repeats.rows()):
                self.faults.note("duplicate_row", rows=again)
        declared = self.dataset.format
        found = FileFormat(
            self.delimiter, self.encoding, self.amounts.decimal, declared.thousands, self.kind
        )
        detected = tuple(
            name
            for name, value in vars(found).items()
            if value is not None and getattr(declared, name) is None
        )
        return Checked(
            self.dataset.id, self.records, found, detected, self.faults.listed(), self.limits
        )

    def _read(self, source: BinaryIO) -> None:
        first = filled(source, len(parquet.MAGIC))
        is_parquet = parquet.is_parquet(first)
        if self.kind is not None and (self.kind == "parquet") != is_parquet:
            raise self.faults.stop("kind_contradicted" if first else "empty_file")
        if is_parquet:
            self.kind = "parquet"
            self._read_parquet(first, source)
        else:
            self._read_csv(first, source)
        if not self.records:
            raise self.faults.stop("no_records")

    def _read_csv(self, first: bytes, source: BinaryIO) -> None:
        text = TextBlocks(self.encoding, self.faults, self.progress)
        blocks = text.blocks(first, source)
        try:
            start = next(blocks, "")
            header = next(iter(io.StringIO(start, newline="")), "")
            rows = self._header(header)
            self._texts(rows, start[len(header) :])
            for block in blocks:
                self._texts(rows, block)
            rows.end()
            self.records = rows.records
        finally:
            self.encoding = text.encoding

    def _read_parquet(self, first: bytes, source: BinaryIO) -> None:
        self.delimiter = self.encoding = None
        with ParquetFile(first, source, self.limits, self.faults, self.progress) as file:
            names = file.names([column.variable for column in self.columns])
            self._match(names)
            file.judge([column.variable for column in self.in_file])
            for arrays in file.blocks():
                numbers = np.arange(self.records + 1, self.records + len(arrays[0]) + 1)
                self.records += len(numbers)
                texts = [
                    file.texts(array, column.variable, numbers)
                    for array, column in zip(arrays, self.in_file, strict=True)
                ]
                self._block(numbers, texts, file.amounts(self.amounts))

    def _header(self, line: str) -> Records:
        names = [variable.name for variable in self.dataset.variables]
        if not line.strip():
            raise self.faults.stop("empty_file" if not line else "unreadable_header")
        self.delimiter = self.delimiter or likely_delimiter(line, names)
        header = parse_line(line, self.delimiter)
        if header is None:
            raise self.faults.stop("unreadable_header")
        self._match([name.strip(TRIMMED) for name in header])
        ending = line[len(line.rstrip("\r\n")) :]
        return Records(self.delimiter, len(header), ending, self.faults)

    def _match(self, header: list[str]) -> None:
        """Find the declared variables among the file's columns: all of them, once, no others."""
        names = [variable.name for variable in self.dataset.variables]
        for position, name in enumerate(header):
            if name in header[:position]:
                self.faults.note("duplicate_column", name if name in names else _nth(position))
            elif name not in names:
                self.faults.note("unknown_column", _nth(position))
        for name in names:
            if name not in header:
                self.faults.note("missing_column", name)
        if self.faults.errors:
            raise Stopped
        self.in_file = sorted(self.columns, key=lambda c: header.index(c.variable.name))

    def _texts(self, rows: Records, text: str) -> None:
        numbers, arrays = rows.parse(text)
        self.records = rows.records
        self._block(numbers, arrays, [self.amounts] * len(arrays))

    def _block(self, numbers: Rows, arrays: list[Any], amounts: Iterable[Amounts]) -> None:
        """Check a block and hand it on: a dictionary of texts per column, in the file's order."""
        if self.records > self.limits.records:
            raise self.faults.stop("too_many_records")
        if not len(numbers):
            return
        typed, hashed = {}, np.zeros(len(numbers), np.uint64)
        for column, array, marks in zip(self.in_file, arrays, amounts, strict=True):
            typed[column.variable.name], hashes = column.read(array, numbers, marks)
            hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + hashes
        if self.faults.errors:
            return
        self.repeats.add(hashed)
        if self.sink is not None:
            names = [variable.name for variable in self.dataset.variables]
            self.sink(pa.table({"record": numbers, **{name: typed[name] for name in names}}))


class _Repeats:
    """Rows seen before, by a hash of 64 bits: a warning, so one chance in millions may be wrong."""

    def __init__(self) -> None:
        self._hashes: list[npt.NDArray[np.uint64]] = []

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """The hashes of the records that come next."""
        self._hashes.append(hashes)

    def rows(self) -> Rows:
        """Records that equal an earlier one, in order.

        Of a large file, a sixteenth of the hashes at a time is put beside its record numbers.
        """
        if sum(map(len, self._hashes)) < _PARTED:
            found = [self._among(lambda hashes: np.arange(len(hashes)))]
        else:
            found = [self._among(_sixteenth(part)) for part in range(16)]
        return np.sort(np.concatenate(found))

    def _among(self, wanted: Callable[[npt.NDArray[np.uint64]], Rows]) -> Rows:
        hashes, rows, before = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], 1
        for block in self._hashes:
            places = wanted(block)
            hashes.append(block[places])
            rows.append(places + before)
            before += len(block)
        all_hashes, all_rows = np.concatenate(hashes), np.concatenate(rows)
        order = np.argsort(all_hashes, kind="stable")
        same = all_hashes[order[1:]] == all_hashes[order[:-1]]
        return np.asarray(all_rows[order[1:][same]], np.int64)


def _sixteenth(part: int) -> Callable[[npt.NDArray[np.uint64]], Rows]:
    return lambda hashes: np.flatnonzero(hashes >> np.uint64(60) == part)


def _nth(position: int) -> str:
    return f"column {position + 1}"
