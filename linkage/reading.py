"""Bytes into records: encodings, lines, quotation marks and delimiters, read as a stream.

Python's `csv` module with `strict=True` says what a well-formed file is. A block of whole lines
without a single quotation mark is read by Arrow's reader instead, which agrees with it there and is
faster; a block that Arrow refuses goes back to `csv`, which says why. Nothing is repaired: a row
with a field too many is a fault, and never shifts its neighbours.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from linkage.datasets import DELIMITERS
from linkage.findings import Findings, Rows

TRIMMED: Final = " \t\u00a0"
"""Spaces, tabs and no-break spaces around a name or value don't count."""

_BLOCK = 4 << 20
_LONGEST_LINE = 16 << 20


def likely_delimiter(header: str, names: list[str]) -> str:
    """The delimiter under which the header names most declared variables."""

    def known(delimiter: str) -> tuple[int, int]:
        parsed = parse_line(header, delimiter) or []
        return len(set(names) & {name.strip(TRIMMED) for name in parsed}), len(parsed)

    return max(DELIMITERS, key=known)


def parse_line(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def filled(source: BinaryIO, wanted: int) -> bytes:
    """So many bytes, however small the pieces that a pipe gives; fewer only at its end."""
    pieces: list[bytes] = []
    while wanted and (piece := source.read(wanted)):
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)


class TextBlocks:
    """Bytes into blocks of text that end where a line ends, in a declared or detected encoding."""

    def __init__(
        self, declared: str | None, faults: Findings, progress: Callable[[int], None] | None
    ) -> None:
        self.encoding = declared
        self._faults = faults
        self._progress = progress
        self._decoder: codecs.IncrementalDecoder | None = None
        self._held = b""
        self._read = 0

    def blocks(self, first: bytes, source: BinaryIO) -> Iterator[str]:
        """Texts of one or more whole lines; only the last may lack its line end.

        `first` are bytes that were taken off the source already.
        """
        data = first + self._fill(source, len(first))
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

    def _fill(self, source: BinaryIO, before: int = 0) -> bytes:
        data = filled(source, _BLOCK)
        self._read += before + len(data)
        if self._progress and (before or data):
            self._progress(self._read)
        return data

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


class Records:
    """Blocks of text into columns of text, with the number of each record."""

    def __init__(self, delimiter: str, width: int, ending: str, faults: Findings) -> None:
        self.records = 0
        self._delimiter = delimiter
        self._width = width
        self._ending = ending
        self._faults = faults
        self._open = ""
        self._blank = 0

    def parse(self, text: str) -> tuple[Rows, list[Any]]:
        """The records that end in this block: numbers, and an Arrow dictionary per column."""
        columns = None if self._open or self._blank else self._quick(text)
        if columns is None:
            numbers, rows = self._careful(self._open + text)
            return numbers, self._encode(numbers, rows)
        first = self.records + 1
        self.records += len(columns[0])
        return np.arange(first, self.records + 1), columns

    def end(self) -> None:
        """The file is over: an open quotation mark is a fault, blank lines at the end aren't."""
        if self._open:
            raise self._faults.stop("unterminated_quote", self.records + 1)
        self.records -= self._blank

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
        columns = [column.combine_chunks() for column in table.columns]
        lengths = (pc.max(pc.binary_length(column.dictionary)).as_py() for column in columns)
        if max(length or 0 for length in lengths) > csv.field_size_limit():
            return None
        return columns

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
            self._blank += 1
        elif self._blank:
            blank = np.arange(self.records - self._blank, self.records)
            self._faults.note("too_few_fields", rows=blank)
            self._blank = 0

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
