"""What came in, and is it well-formed: strict reading of one extract.

A file is read as a stream, every value as text (`linkage.reading`); then each value is checked
against its variable's semantic type (`linkage.values`). *Errors* (structure, type, code list,
encoding) reject the whole delivery, *warnings* (check digit, duplicate row, implausible value) are
accepted and told. Faults name a data record (the first line under the header is record 1), a
variable and a reason, never a value (`linkage.findings`).

Spaces, tabs and no-break spaces around a value don't count.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import (
    Dataset,
    DatasetFault,
    FileFormat,
    LinkageError,
    Reference,
    Variable,
)
from linkage.findings import REASONS, Fault, Findings, Rows, Stopped
from linkage.reading import TRIMMED, Records, TextBlocks, likely_delimiter, parse_line
from linkage.values import Amounts, Column

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


class ExtractError(LinkageError):
    """A step was asked for that this delivery doesn't allow."""


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


class _Reading:
    """One pass over one file."""

    def __init__(
        self, dataset: Dataset, period: str | None, progress: Callable[[int], None] | None
    ) -> None:
        self.dataset = dataset
        self.faults = Findings()
        self.text = TextBlocks(dataset.format.encoding, self.faults, progress)
        self.columns = [
            Column(variable, dataset, self.faults, period) for variable in dataset.variables
        ]
        self.in_file = self.columns
        self.amounts = Amounts(dataset.format.decimal, dataset.format.thousands)
        self.delimiter = dataset.format.delimiter
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.records = 0

    def run(self, source: BinaryIO) -> Checked:
        try:
            self._read(source)
        except Stopped:
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

    def _header(self, line: str) -> Records:
        names = [variable.name for variable in self.dataset.variables]
        if not line.strip():
            raise self.faults.stop("empty_file" if not line else "unreadable_header")
        self.delimiter = self.delimiter or likely_delimiter(line, names)
        header = parse_line(line, self.delimiter)
        if header is None:
            raise self.faults.stop("unreadable_header")
        header = [name.strip(TRIMMED) for name in header]
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
        ending = line[len(line.rstrip("\r\n")) :]
        return Records(self.delimiter, len(header), ending, self.faults)

    def _block(self, rows: Records, text: str) -> None:
        numbers, arrays = rows.parse(text)
        self.records = rows.records
        if not len(numbers):
            return
        hashed = np.zeros(len(numbers), np.uint64)
        for column, array in zip(self.in_file, arrays, strict=True):
            distinct, codes = column.add(array, numbers, self.amounts)
            hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + distinct[codes]
        self.hashes.append(hashed)

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
