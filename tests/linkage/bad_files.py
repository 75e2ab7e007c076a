"""Malformed extracts by name, each with the fault that is expected of it, and ways to damage more.

Every class stands for something that happens: an export that was cut off, a program that opened
the file and saved it, a page of a login form where a file should be, somebody who wishes us ill.
"""

import gzip
import io
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from linkage.extracts import Dataset

NAMES = ["Jan", "Zoë", "An-Sofie", "Öykü", "Mohamed", "Jean-Luc", "d'Artagnan", "Noor"]
COLUMNS = ["insz", "naam", "geboren", "loon", "nota"]
DOCUMENT: dict[str, Any] = {
    "id": "persons",
    "holder": "vdab",
    "shape": "unit",
    "variables": [
        {"name": "insz", "role": "identifier", "type": "national_number"},
        {"name": "naam", "role": "identifier", "type": "last_name"},
        {"name": "geboren", "role": "quasi-identifier", "type": "birth_date"},
        {"name": "loon", "role": "sensitive", "type": "amount"},
        {"name": "nota", "role": "other", "type": "text"},
    ],
    "references": [{"name": "self", "unit_type": "person", "columns": {"national_number": "insz"}}],
}
DECLARED = Dataset.from_mapping(DOCUMENT)


def rows(count: int, start: int = 0) -> list[tuple[str, ...]]:
    """Records with a valid number each; the note says which row it is."""
    return [
        (
            f"{(nine := 850730000 + i % 997):09}{97 - nine % 97:02}",
            NAMES[i % 8],
            f"19{i % 90 + 10}-0{i % 9 + 1}-17",
            f"{i},50",
            f"n{i}",
        )
        for i in range(start, start + count)
    ]


def as_csv(
    records: list[tuple[str, ...]], *, delimiter: str = ";", quote: str = "", end: str = "\n"
) -> str:
    """Records as the text of a CSV file."""
    lines = [(quote + delimiter + quote).join(row).join([quote] * 2) for row in records]
    return end.join([delimiter.join(COLUMNS), *lines]) + end


def as_table(records: list[tuple[str, ...]], **other: Any) -> pa.Table:
    """Records as a table, some columns replaced (None: left out)."""
    texts = dict(zip(COLUMNS, map(list, zip(*records, strict=True)), strict=True))
    columns = {**texts, **other}
    return pa.table({name: column for name, column in columns.items() if column is not None})


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@dataclass(frozen=True)
class BadFile:
    """A file, the reason that is expected, and the records that are named (None: the file)."""

    data: bytes
    reason: str
    rows: tuple[int | None, ...] = (None,)
    format: dict[str, str] | None = None

    @property
    def declared(self) -> Dataset:
        """The declaration that it is read with."""
        return Dataset.from_mapping({**DOCUMENT, "format": self.format or {}})


ROWS = rows(12)
GOOD = as_csv(ROWS)
HEADER, *LINES = GOOD.splitlines(keepends=True)


def _with_line(number: int, line: str) -> bytes:
    """The good file with one record's line (from 1) replaced."""
    lines = [*LINES[: number - 1], line, *LINES[number:]]
    return (HEADER + "".join(lines)).encode("utf-8", "surrogateescape")


def _changed(number: int, old: str, new: str) -> bytes:
    return _with_line(number, LINES[number - 1].replace(old, new))


LATIN = GOOD.encode("cp1252")
UTF8 = {"encoding": "utf-8"}
MALFORMED_CSV: dict[str, BadFile] = {
    "empty": BadFile(b"", "empty_file"),
    "byte order mark only": BadFile(b"\xef\xbb\xbf", "empty_file"),
    "header only": BadFile(HEADER.encode(), "no_records"),
    "header and blank lines": BadFile((HEADER + "\n\r\n\n").encode(), "no_records"),
    "no header": BadFile("".join(LINES).encode(), "unknown_column"),
    "blank first line": BadFile(("\n" + GOOD).encode(), "unreadable_header"),
    "duplicate header": BadFile(GOOD.replace("nota", "naam", 1).encode(), "duplicate_column"),
    "column missing": BadFile(GOOD.replace(";nota", "", 1).encode(), "missing_column"),
    "header twice": BadFile((GOOD + GOOD).encode(), "number_shape", (13,)),
    "cut inside a record": BadFile(GOOD.encode()[:-8], "too_few_fields", (12,)),
    "cut inside quotes": BadFile(
        as_csv(ROWS, quote='"').encode()[:-5], "unterminated_quote", (12,)
    ),
    "another delimiter than declared": BadFile(
        as_csv(ROWS, delimiter=",").encode(), "unknown_column", format={"delimiter": ";"}
    ),
    "delimiter changes": BadFile(_changed(7, ";", "|"), "too_few_fields", (7,)),
    "delimiter in a value": BadFile(_changed(3, "An-Sofie", "An;Sofie"), "too_many_fields", (3,)),
    "decimal comma as delimiter": BadFile(
        as_csv(ROWS, delimiter=",").encode(), "too_many_fields", tuple(range(1, 13))
    ),
    "blank line between": BadFile(_with_line(5, "\n"), "too_few_fields", (5,)),
    "line ends mixed": BadFile(_changed(4, "\n", "\r"), "stray_line_break", (4,)),
    "line break in a name": BadFile(_changed(2, "Zoë", '"Z\noë"'), "line_break", (2,)),
    "NUL in a value": BadFile(_changed(9, "Jan", "J\0n"), "null_byte", (9,)),
    "quotation mark never closed": BadFile(_changed(9, "Jan", '"Jan'), "unterminated_quote", (9,)),
    "text after a quotation mark": BadFile(_changed(9, "Jan", '"Ja"n'), "text_after_quote", (9,)),
    "latin-1 instead of UTF-8": BadFile(LATIN, "undecodable", (2, 4, 10, 12), UTF8),
    "one byte of another encoding": BadFile(
        _changed(8, "Noor", "No\udce9r"), "undecodable", (8,), UTF8
    ),
    "UTF-16 instead of UTF-8": BadFile(GOOD.encode("utf-16"), "encoding_contradicted", format=UTF8),
    "UTF-16 of odd length": BadFile(GOOD.encode("utf-16") + b"\x41", "undecodable"),
    "UTF-16 with half a character": BadFile(
        GOOD.encode("utf-16") + b"\x00\xd8\x41\x00", "undecodable"
    ),
    "UTF-16 without its mark": BadFile(GOOD.encode("utf-16-le"), "unknown_column"),
    "value too long": BadFile(_changed(3, "n2", f'"{"n" * 140_000}"'), "field_too_long", (3,)),
    "number in scientific notation": BadFile(
        _changed(6, LINES[5][:11], "8.5073E+10"), "number_shape", (6,)
    ),
    "zeros dropped": BadFile(_changed(6, LINES[5][:11], LINES[5][1:11]), "number_shape", (6,)),
    "two decimal marks": BadFile(_changed(6, "5,50", "5.50"), "not_an_amount", (6,)),
    "day and month swapped": BadFile(_changed(5, "1914-05-17", "1914-17-05"), "not_a_date", (5,)),
    "a page of HTML": BadFile(
        b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n", "unknown_column"
    ),
    "compressed": BadFile(gzip.compress(GOOD.encode(), mtime=0), "unknown_column"),
    "declared as Parquet": BadFile(GOOD.encode(), "kind_contradicted", format={"kind": "parquet"}),
}

TABLE = as_table(ROWS)
PARQUET = as_parquet(TABLE)
FOOTER = len(PARQUET) - 8 - int.from_bytes(PARQUET[-8:-4], "little")
CHECKED = as_parquet(TABLE, write_page_checksum=True, compression="none", use_dictionary=False)
MANY = 12_345
"""So many records are found again in a footer as these bytes, and as nothing else."""


def _varint(number: int) -> bytes:
    number, out = number * 2, b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _lying(times: int) -> bytes:
    """A footer that claims one record more, at the first so many places where it counts them."""
    file = as_parquet(as_table(rows(MANY)))
    footer = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
    told = file[footer:].replace(_varint(MANY), _varint(MANY + 1), times)
    return file[:footer] + told


def _encrypted(plaintext_footer: bool) -> bytes:
    properties = pe.create_encryption_properties(b"k" * 16, plaintext_footer=plaintext_footer)
    return as_parquet(TABLE, encryption_properties=properties)


def _with(name: str, column: Any) -> bytes:
    return as_parquet(as_table(ROWS, **{name: column}))


def _expanding() -> bytes:
    """200 KB that would be a hundred megabytes: long values, each named by many rows."""
    values = [np.random.default_rng(row).bytes(50_000).hex() for row in range(2)]
    notes = pa.DictionaryArray.from_arrays(pa.array([row % 2 for row in range(1_200)]), values)
    return as_parquet(as_table(rows(1_200), nota=notes), dictionary_pagesize_limit=1 << 24)


def _inflating() -> bytes:
    """Ten kilobytes of one letter, packed ten thousand to one."""
    notes = ["n" * 100_000] * 800
    return as_parquet(as_table(rows(800), nota=notes), use_dictionary=False, compression="zstd")


def _twice_named() -> bytes:
    return as_parquet(TABLE.rename_columns(["insz", "naam", "geboren", "loon", "naam"]))


def _flipped(data: bytes, at: int, bits: int = 0xFF) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


NUMBERS = pa.array([int(row[0]) for row in ROWS])
MALFORMED_PARQUET: dict[str, BadFile] = {
    "without its first bytes": BadFile(PARQUET[4:], "unknown_column"),
    "without its last bytes": BadFile(PARQUET[:-4], "parquet_damaged"),
    "cut in half": BadFile(PARQUET[: len(PARQUET) // 2], "parquet_damaged"),
    "first bytes only": BadFile(b"PAR1", "parquet_damaged"),
    "nothing but magic": BadFile(b"PAR1\0\0\0\0PAR1", "parquet_damaged"),
    "footer longer than the file": BadFile(
        PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1", "parquet_damaged"
    ),
    "footer damaged": BadFile(_flipped(PARQUET, FOOTER + 2), "parquet_damaged"),
    "footer of zeros": BadFile(
        PARQUET[:FOOTER] + bytes(len(PARQUET) - 8 - FOOTER) + PARQUET[-8:], "parquet_damaged"
    ),
    "page damaged": BadFile(_flipped(CHECKED, 120), "parquet_damaged"),
    "page header damaged": BadFile(_flipped(PARQUET, 5), "parquet_damaged"),
    "pages of zeros": BadFile(
        PARQUET[:4] + bytes(FOOTER - 4) + PARQUET[FOOTER:], "parquet_damaged"
    ),
    "two files in a row": BadFile(PARQUET + as_parquet(as_table(rows(40, 12))), "parquet_damaged"),
    "footer lies about all records": BadFile(_lying(1), "directory_contradicted"),
    "footer lies everywhere": BadFile(_lying(-1), "directory_contradicted"),
    "expands by repetition": BadFile(_expanding(), "expands_too_much"),
    "expands by compression": BadFile(_inflating(), "expands_too_much"),
    "encrypted by its own means": BadFile(_encrypted(False), "parquet_encrypted"),
    "encrypted, its footer in the clear": BadFile(_encrypted(True), "parquet_encrypted"),
    "no records": BadFile(as_parquet(TABLE.slice(0, 0)), "no_records"),
    "column twice": BadFile(_twice_named(), "duplicate_column"),
    "unknown column": BadFile(_with("index", list(range(12))), "unknown_column"),
    "no such column": BadFile(_with("nota", None), "missing_column"),
    "numbers as doubles": BadFile(
        _with("insz", NUMBERS.cast(pa.float64())), "number_without_zeros"
    ),
    "numbers as integers": BadFile(_with("insz", NUMBERS), "number_without_zeros"),
    "amounts as short floats": BadFile(
        _with("loon", pa.array(range(12), pa.float32())), "type_unsuitable"
    ),
    "amount that is no number": BadFile(
        _with("loon", [1.5] * 11 + [float("nan")]), "not_an_amount", (12,)
    ),
    "names as bytes": BadFile(_with("naam", [b"Jan"] * 12), "type_unsuitable"),
    "names as lists": BadFile(_with("naam", [["Jan"]] * 12), "nested_column"),
    "names as structures": BadFile(_with("naam", [{"a": "Jan"}] * 12), "nested_column"),
    "names that aren't UTF-8": BadFile(
        _with("naam", pa.array([b"Jan"] * 11 + [b"No\xe9l"]).view(pa.string())),
        "undecodable",
        (12,),
    ),
    "dates as numbers": BadFile(_with("geboren", [19_850_730] * 12), "type_unsuitable"),
    "dates with a clock": BadFile(
        _with("geboren", pa.array([0] * 11 + [3600], pa.timestamp("s"))), "not_a_date", (12,)
    ),
    "text too long": BadFile(_with("nota", ["n"] * 11 + ["n" * 140_000]), "field_too_long", (12,)),
    "declared as CSV": BadFile(PARQUET, "kind_contradicted", format={"kind": "csv"}),
    "another format of Arrow": BadFile(b"ARROW1\0\0" + PARQUET[8:], "unknown_column"),
}

INSERTED = [
    b'"', b";", b",", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b'""', b" ", b"\t",
]  # fmt: skip


def damaged(data: bytes, chance: random.Random, most: int = 3) -> bytes:
    """Some bytes changed, added, left out or doubled, two blocks exchanged, the end cut off."""
    for _ in range(chance.randint(1, most)):
        if not data:
            return data
        at = chance.randrange(len(data))
        match chance.randrange(8):
            case 0:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 1:
                data = _flipped(data, at, 1 << chance.randrange(8))
            case 2:
                data = data[:at] + chance.choice(INSERTED) + data[at:]
            case 3:
                data = data[:at] + data[at + chance.randint(1, 4) :]
            case 4:
                data = data[: at + 1] + data[at:]
            case 5:
                data = data[: max(at, 1)]
            case 6:
                data = data[at:] + data[:at]
            case 7:
                size = chance.randint(1, 64)
                other = chance.randrange(len(data))
                first, second = sorted((at, other))
                if second - first >= size:
                    data = (
                        data[:first]
                        + data[second : second + size]
                        + data[first + size : second]
                        + data[first : first + size]
                        + data[second + size :]
                    )
    return data
