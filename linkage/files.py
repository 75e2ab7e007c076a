"""Files for `schakel link`: what a plan names is read, no more; what was decided is written.

CSV and Parquet, told apart by their first bytes. Every fault is one sentence (FileFault) that names
files, columns and rows, and never a value.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import LinkageError
from linkage.plans import MOSTLY_DISTINCT, FilePlan

DELIMITERS: Final = (";", ",", "\t", "|")
KEY: Final = b"schakel"
"""Where a file of links says in its metadata how it came about."""

_HEAD: Final = 1 << 16
_RAGGED: Final = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")


class FileFault(LinkageError):  # noqa: N818  (as in DatasetFault)
    """A file can't be read or written as asked; the message says what to do next."""


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns."""
    if _is_parquet(path):
        return list(_parquet(path).schema_arrow.names)
    return _header(path)[0]


def read_all(path: Path) -> Any:
    """Every column of a file, no dictionaries."""
    names = columns_of(path)
    table = read(path, names, names)
    for place, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            plain = pc.cast(column, column.type.value_type)
            table = table.set_column(place, table.field(place).with_type(plain.type), plain)
    return table


def read(path: Path, columns: Sequence[str], distinct: Sequence[str] = ()) -> Any:
    """The named columns of a CSV or Parquet file, as a pyarrow Table with rows.

    Columns of CSV are texts. Texts of Parquet come as dictionaries, which saves most of the time,
    but for those of which nearly every value is `distinct`.
    """
    names = columns_of(path)
    for name in columns:
        if name not in names:
            raise FileFault(
                f"{path} has no column {name}; it has {', '.join(names[:30]) or 'none at all'}"
            )
        if names.count(name) > 1:
            raise FileFault(f"{path} has several columns {name}; give each its own name")
    wanted = list(dict.fromkeys(columns))
    table = _read_parquet(path, wanted, distinct) if _is_parquet(path) else _read_csv(path, wanted)
    if not table.num_rows:
        raise FileFault(f"{path} has no rows; name a file with something in it")
    return table


def read_for(plan: FilePlan, side: str, path: Path) -> Any:
    """What a plan names of side `a` or `b`: the row's id first."""
    own = id_on(plan, side)
    named = {one.a if side == "a" or one.b is None else one.b: one.type for one in plan.fields}
    distinct = [own, *(name for name, kind in named.items() if kind in MOSTLY_DISTINCT)]
    return read(path, [own, *named], distinct)


def id_on(plan: FilePlan, side: str) -> str:
    """The column of side `a` or `b` that names each row."""
    return plan.id_a if side == "a" or plan.id_b is None else plan.id_b


def ids(table: Any, column: str, path: Path) -> Any:
    """The column that names each row, after a look that it does: none missing, none twice."""
    found = table[column].combine_chunks()
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    absent = pc.is_null(found)
    if pa.types.is_string(found.type) or pa.types.is_large_string(found.type):
        absent = pc.or_kleene(absent, pc.equal(pc.binary_length(found), 0))
    if pc.any(absent).as_py():
        row = pc.index(absent, True).as_py() + 1
        raise FileFault(f"row {row} of {path} has no id in column {column}; every row needs one")
    if _repeated(found):
        first, again = _twice(found)
        raise FileFault(
            f"rows {first} and {again} of {path} have the same id in column {column}; the id must "
            "be a row's own"
        )
    return found


def _repeated(values: Any) -> bool:
    if pa.types.is_integer(values.type):
        ordered = np.sort(np.asarray(values))
        return bool((ordered[1:] == ordered[:-1]).any())
    return len(pc.unique(values)) < len(values)


def _twice(values: Any) -> tuple[int, int]:
    """Two rows, counted from 1, that have the same value."""
    codes = np.asarray(values.dictionary_encode().indices)
    order = np.argsort(codes, kind="stable")
    again = order[1:][codes[order][1:] == codes[order][:-1]].min()
    return int(np.flatnonzero(codes == codes[again])[0]) + 1, int(again) + 1


def units(truth: Path, rows: Any) -> Any:
    """Whom each row is about, as texts; null where the truth doesn't know the row.

    `truth` has rows' ids in its first column, and in its second whom they are about; `rows` are the
    ids of a file.
    """
    names = columns_of(truth)
    if len(names) < 2:
        raise FileFault(f"{truth} needs two columns: a row's id, and whom the row is about")
    table = read(truth, names[:2], distinct=names[:2])
    known = _text(ids(table, names[0], truth))
    at = pc.index_in(_text(rows), value_set=known)
    if at.null_count == len(at):
        raise FileFault(
            f"{truth} knows none of the rows by the ids in its first column, {names[0]}"
        )
    return _text(table[names[1]].combine_chunks()).take(at)


def _text(values: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if pa.types.is_string(values.type) else pc.cast(values, pa.string())


def writable(path: Path) -> None:
    """Refuse, before any work is done, a name that can't be written to."""
    if not path.parent.is_dir():
        raise FileFault(
            f"there is no folder {path.parent} to write {path.name} into; make it first"
        )
    if path.is_dir():
        raise FileFault(f"{path} is a folder; name a file to write")


def write(path: Path, links: Any, about: Mapping[str, Any]) -> None:
    """Write a table of links: CSV where the name ends in .csv, else Parquet that holds `about` too.

    The file appears whole or not at all.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".csv":
            from pyarrow import csv as arrow_csv

            arrow_csv.write_csv(links, partial)
        else:
            from pyarrow import parquet

            told = {KEY: json.dumps(about, ensure_ascii=False).encode()}
            parquet.write_table(
                links.replace_schema_metadata(told), partial, use_dictionary=["rule"]
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def written(path: Path) -> tuple[Any, dict[str, Any]]:
    """A file of links and what it says about how it came about."""
    told = (_parquet(path).schema_arrow.metadata or {}).get(KEY) if _is_parquet(path) else None
    if told is None:
        raise FileFault(
            f"{path} doesn't say how it was made; give a Parquet file that `schakel link` or "
            "`schakel dedupe` wrote"
        )
    about = json.loads(told)
    return _parquet(path).read(), about


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        raise FileFault(f"{path} is a folder; name a file")
    if not path.exists():
        raise FileFault(f"there is no file {path}; look at its name and folder")
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path, texts: Sequence[str] = ()) -> Any:
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, memory_map=True, read_dictionary=list(texts))
    except (pa.ArrowException, OSError):
        raise FileFault(f"{path} is no Parquet file that can be read; write it again") from None


def _read_parquet(path: Path, columns: Sequence[str], distinct: Sequence[str]) -> Any:
    schema = _parquet(path).schema_arrow
    texts = [
        name
        for name in columns
        if name not in distinct and (pa.types.is_string(schema.field(name).type))
    ]
    try:
        return _parquet(path, texts).read(columns=list(columns))
    except (pa.ArrowException, OSError):
        raise FileFault(f"{path} is a damaged Parquet file; write it again") from None


def _header(path: Path) -> tuple[list[str], str, str]:
    """Column names, delimiter and encoding of a CSV file, by its first line."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise FileFault(f"{path} is empty; name a file with a header and rows")
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head.decode(encoding, errors="replace")
    if "\0" in text:
        raise FileFault(f"{path} is neither CSV nor Parquet")
    line = text.splitlines()[0]
    bare = re.sub(r'"[^"]*"', "", line)
    delimiter = max(DELIMITERS, key=bare.count)
    names = next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
    return names, delimiter, encoding.removesuffix("-sig")


def _read_csv(path: Path, columns: Sequence[str]) -> Any:
    """All columns as texts; what isn't UTF-8 is read as Latin-1."""
    _, delimiter, encoding = _header(path)
    try:
        return _parsed(path, columns, delimiter, encoding)
    except pa.ArrowInvalid as fault:
        if "UTF8" not in str(fault):
            raise _bad_csv(path, fault) from None
    try:
        return _parsed(path, columns, delimiter, "latin-1")
    except pa.ArrowInvalid as fault:
        raise _bad_csv(path, fault) from None


def _parsed(path: Path, columns: Sequence[str], delimiter: str, encoding: str) -> Any:
    from pyarrow import csv as arrow_csv

    return arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(encoding=encoding),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=False,
        ),
    )


def _bad_csv(path: Path, fault: Exception) -> FileFault:
    """Arrow's message quotes the row; ours only counts its fields."""
    ragged = _RAGGED.search(str(fault))
    if ragged is None:
        return FileFault(f"{path} can't be read as CSV; write it again, quoting what needs it")
    row = f"row {int(ragged[1]) - 1}" if ragged[1] else "a row"
    return FileFault(
        f"{row} of {path} has {ragged[3]} fields where the header has {ragged[2]}; mend the file"
    )
