"""Parquet extracts: what CSV would have said, types that can't hold a value, and hostile files."""

import datetime
import io
import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage import parquet
from linkage.extracts import Dataset, Limits
from tests.linkage.helpers import Extract, read_extract
from tests.linkage.test_extracts import BAD, GOOD, dataset, reasons


def written(columns: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"write_page_checksum": True, **options})
    return sink.getvalue()


def read(data: bytes, declared: Dataset, **options: Any) -> Extract:
    return read_extract(io.BytesIO(data), declared, **options)


def column(name: str, values: Any, **options: Any) -> Extract:
    """One column of these values (and one of names)."""
    file = written({name: values, "whoever": ["x"] * len(values)})
    return read(file, dataset(name, **options))


# ------------------------------------------------------------------------- the same as CSV says


@pytest.mark.parametrize("name", GOOD)
def test_texts_are_read_as_in_csv(name: str) -> None:
    checked = column(name, [*GOOD[name], None, ""])
    assert checked.accepted, checked.faults
    assert checked.columns[name].to_pylist() == [*GOOD[name].values(), None, None]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_bad_texts_are_the_same_faults(name: str, text: str) -> None:
    assert reasons(column(name, ["", text])) == {BAD[name, text]: [2]}


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20))
def test_any_text_says_what_it_says_in_csv(rows: list[tuple[str, str]]) -> None:
    """Values, counts, record numbers and reasons, quotation marks and all (row S15)."""
    declared = dataset("note", "wage", file={"delimiter": ";", "encoding": "utf-8"})
    texts = [[note, wage, "x"] for note, wage in rows]
    lines = [["note", "wage", "whoever"], *texts]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in line] for line in lines]
    by_csv = read("".join(";".join(line) + "\n" for line in quoted).encode(), declared)
    names = ("note", "wage", "whoever")
    table = pa.table(dict(zip(names, map(list, zip(*texts, strict=True)), strict=True)))
    by_parquet = read(written(table), declared)
    assert by_parquet.report()["faults"] == by_csv.report()["faults"]
    assert by_parquet.columns == by_csv.columns


MIDNIGHT = datetime.datetime.fromisoformat("1999-04-03")
TYPED: dict[str, tuple[str, pa.Array, list[Any]]] = {
    "whole amounts": ("wage", pa.array([12, None, -3]), [12.0, None, -3.0]),
    "doubles": ("wage", pa.array([12.5, None, 1e-7, 1.125]), [12.5, None, 1e-7, 1.125]),
    "weights": ("stands_for", pa.array([12.5, None, 1e-7]), [12.5, None, 1e-7]),
    "decimals": ("wage", pa.array([Decimal("12.50"), None]), [12.5, None]),
    "small decimals": (
        "wage",
        pa.array([Decimal("0"), Decimal("1E-8"), None], pa.decimal128(18, 8)),
        [0.0, 1e-8, None],
    ),
    "integers": ("count", pa.array([7, None], pa.int16()), [7, None]),
    "large integers": ("count", pa.array([10**17], pa.uint64()), [10**17]),
    "whole doubles": ("count", pa.array([7.0, None]), [7, None]),
    "years": ("year", pa.array([1999, None]), ["1999", None]),
    "postcodes": ("post", pa.array([9000, None]), ["9000", None]),
    "places": ("place", pa.array([44021, None]), ["44021", None]),
    "sexes": ("sex", pa.array([1, 2]), ["1", "2"]),
    "truths": ("studies", pa.array([True, None, False]), [True, None, False]),
    "ones and zeros": ("studies", pa.array([1, 0], pa.int8()), [True, False]),
    "days": ("born", pa.array([MIDNIGHT.date(), None]), ["1999-04-03", None]),
    "midnights": ("day", pa.array([MIDNIGHT, None], pa.timestamp("us")), ["1999-04-03", None]),
    "categories": ("first", pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "large texts": ("first", pa.array(["a", None], pa.large_string()), ["a", None]),
    "nothing": ("number", pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize("case", TYPED)
def test_types_that_hold_a_variable_exactly(case: str) -> None:
    name, values, expected = TYPED[case]
    checked = column(name, values)
    assert checked.accepted, checked.faults
    assert checked.columns[name].to_pylist() == expected


@pytest.mark.parametrize("texts", [pa.array([], pa.string()), pa.nulls(0)])
def test_no_records(texts: pa.Array) -> None:
    assert reasons(column("first", texts)) == {"no_records": [None]}


UNFIT: dict[str, tuple[str, pa.Array, str, list[int | None]]] = {
    "a number as a float": ("number", pa.array([85073003328.0]), "number_without_zeros", [None]),
    "a number as an integer": ("number", pa.array([85073003328]), "number_without_zeros", [None]),
    "an enterprise as an integer": ("firm", pa.array([202239951]), "number_without_zeros", [None]),
    "a branch as a double": ("branch", pa.array([62.01]), "number_without_zeros", [None]),
    "a code as an integer": ("state", pa.array([1]), "number_without_zeros", [None]),
    "a short float": ("wage", pa.array([1.1], pa.float32()), "type_unsuitable", [None]),
    "a name as a number": ("first", pa.array([1]), "type_unsuitable", [None]),
    "bytes": ("first", pa.array([b"a"]), "type_unsuitable", [None]),
    "a date as a number": ("born", pa.array([19990403]), "type_unsuitable", [None]),
    "a moment with a zone": (
        "day",
        pa.array([MIDNIGHT], pa.timestamp("us", "Europe/Brussels")),
        "type_unsuitable",
        [None],
    ),
    "a time": ("day", pa.array([1], pa.time32("s")), "type_unsuitable", [None]),
    "a list": ("first", pa.array([["a"]]), "nested_column", [None]),
    "a structure": ("first", pa.array([{"a": "b"}]), "nested_column", [None]),
    "a moment at noon": (
        "day",
        pa.array([MIDNIGHT, MIDNIGHT + datetime.timedelta(hours=12)]),
        "not_a_date",
        [2],
    ),
    "a broken integer": ("count", pa.array([1.0, 1.5]), "not_an_integer", [2]),
    "an integer that lost digits": ("count", pa.array([2.0**60]), "not_an_integer", [1]),
    "no number": ("wage", pa.array([1.0, float("nan"), float("inf")]), "not_an_amount", [2, 3]),
    "a year with three digits": ("year", pa.array([1999, 999]), "not_a_year", [2]),
    "a postcode with three": ("post", pa.array([900]), "not_a_postcode", [1]),
    "two as a truth": ("studies", pa.array([1, 2]), "not_yes_or_no", [2]),
    "not UTF-8": (
        "first",
        pa.array([b"a", b"\xff", None, b"\xff"]).view(pa.string()),
        "undecodable",
        [2, 4],
    ),
    "a long value": ("first", pa.array(["a", "b" * 131_073]), "field_too_long", [2]),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_a_type_can_not_hold_is_a_fault(case: str) -> None:
    """Nothing is repaired: digits that a float lost stay lost (row S15)."""
    name, values, reason, rows = UNFIT[case]
    found = column(name, values)
    assert reasons(found) == {reason: rows}
    assert found.faults[0].variable == (None if reason == "field_too_long" else name)


def test_days_are_given_in_the_declared_form() -> None:
    declared = dataset("born", born={"format": "%d/%m/%Y"})
    file = written({"born": [MIDNIGHT.date()], "whoever": ["x"]})
    assert read(file, declared).columns["born"].to_pylist() == ["1999-04-03"]


def test_a_listed_code_may_be_a_number() -> None:
    codes = {"1": {"en": "works"}, "02": {"en": "seeks work"}}
    assert column("state", pa.array([1]), state={"codes": codes}).accepted
    found = column("state", pa.array([1, 2]), state={"codes": codes})
    assert reasons(found) == {"not_in_code_list": [2]}
    codes["2"] = {"en": "studies"}  # was a 2 that, or 02?
    assert "number_without_zeros" in reasons(column("state", pa.array([2]), state={"codes": codes}))


def test_columns_are_found_by_name() -> None:
    file = written({"whoever": ["x"], "first": ["a"], "wa.ge": ["1"]})
    doc = dataset("first").to_mapping()
    doc["variables"].append({"name": "wa.ge", "type": "amount", "role": "other"})
    assert read(file, Dataset.from_mapping(doc)).columns.to_pylist() == [
        {"first": "a", "whoever": "x", "wa.ge": 1.0}
    ]


def test_pandas_metadata_is_not_acted_upon() -> None:
    """An index that pandas hid in the file is a column like others."""
    frame = pd.DataFrame({"first": ["a"], "whoever": ["x"]}, index=pd.Index([7], name="insz"))
    sink = io.BytesIO()
    frame.to_parquet(sink)
    assert reasons(read(sink.getvalue(), dataset("first"))) == {"unknown_column": [None]}


def test_repeated_rows_and_many_groups() -> None:
    file = written({"first": ["a", "b"] * 5, "whoever": ["x"] * 10}, row_group_size=3)
    assert reasons(read(file, dataset("first"))) == {"duplicate_row": [*range(3, 11)]}


def test_pages_without_checksums_are_told() -> None:
    """What a damaged page says can't be told from what was written; so it is said beforehand."""
    file = written({"first": ["a"], "whoever": ["x"]}, write_page_checksum=False)
    assert reasons(read(file, dataset("first"))) == {"pages_unchecked": [None]}


def test_a_null_too_many_is_noticed() -> None:
    """Without checksums; every value behind it would stand one row off."""
    options = {"write_page_checksum": False, "use_dictionary": False, "compression": "none"}
    names = [None, *(f"person {row}" for row in range(31))]
    file = written({"first": names, "whoever": ["x"] * 32}, **options)
    original, refused = read(file, dataset("first")).columns, 0
    values = file.index(b"\x08\0\0\0person 0")  # the levels, which say what is null, lie before
    for bit in range(64):
        at = values - 1 - bit // 8
        other = file[:at] + bytes([file[at] ^ 1 << bit % 8]) + file[at + 1 :]
        checked = read(other, dataset("first"))
        refused += not checked.accepted
        assert not checked.accepted or checked.columns == original
    assert refused > 20


def test_a_declared_kind_holds() -> None:
    file = written({"first": ["a"], "whoever": ["x"]})
    declared = dataset("first", file={"kind": "csv"})
    assert reasons(read(file, declared)) == {"kind_contradicted": [None]}
    declared = dataset("first", file={"kind": "parquet"})
    assert read(file, declared).accepted
    assert read(file, declared).detected == ()
    assert read(file, dataset("first")).detected == ("kind",)
    assert reasons(read(b"first;whoever\na;x\n", declared)) == {"kind_contradicted": [None]}


# ------------------------------------------------------------------------------- hostile files


def test_the_limit_on_a_files_size_is_named() -> None:
    """It is held in memory, so the limit is stated; half of such a file is never looked at."""
    file = written({"first": ["a"], "whoever": ["x"]})
    limits = Limits(parquet=len(file) - 1)
    checked = read(file, dataset("first"), limits=limits)
    assert reasons(checked) == {"parquet_too_large": [None]}
    assert f"{limits.parquet:,} bytes" in checked.report()["faults"][0]["message"]
    assert read(file, dataset("first"), limits=Limits(parquet=len(file))).accepted


def test_the_limit_on_records_is_named() -> None:
    file = written({"first": ["a"] * 11, "whoever": ["x"] * 11})
    checked = read(file, dataset("first"), limits=Limits(records=10))
    assert reasons(checked) == {"too_many_records": [None]}
    assert "10 records" in checked.report()["faults"][0]["message"]
    csv = b"first;whoever\n" + b"a;x\n" * 11
    checked = read(csv, dataset("first"), limits=Limits(records=10))
    assert reasons(checked) == {"too_many_records": [None]}


def by_dictionary() -> bytes:
    """500 KB that become 4 GB: a few long values, named by many rows."""
    values = [np.random.default_rng(row).bytes(32_000).hex() for row in range(8)]
    notes = pa.DictionaryArray.from_arrays(pa.array([row % 8 for row in range(70_000)]), values)
    return written({"note": notes, "whoever": ["x"] * 70_000}, dictionary_pagesize_limit=1 << 30)


def by_compression() -> bytes:
    """The same with pages of one letter, packed 30,000 to 1."""
    table = pa.table({"note": ["a" * 100_000] * 400, "whoever": ["x"] * 400})
    return repeated(table, 10, use_dictionary=False, compression="zstd")


def by_one_page() -> bytes:
    """A page that has to be unpacked whole, before anything of it can be looked at."""
    table = pa.table({"note": ["a" * 100_000] * 1_500, "whoever": ["x"] * 1_500})
    return repeated(table, 1, use_dictionary=False, compression="zstd", data_page_size=1 << 30)


def by_numbers() -> bytes:
    """60 million rows in a few kilobytes of run lengths."""
    count = 20_000_000
    whoever = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), ["x"])
    table = pa.table({"count": pa.array(np.zeros(count, np.int8)), "whoever": whoever})
    return repeated(table, 3, data_page_size=1 << 24)


def repeated(table: pa.Table, times: int, **options: Any) -> bytes:
    """A file with the same rows over and over."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True, **options) as writer:
        for _ in range(times):
            writer.write_table(table, row_group_size=len(table))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (by_dictionary, "note", "expands_too_much"),
        (by_compression, "note", "expands_too_much"),
        (by_one_page, "note", "expands_too_much"),
        (by_numbers, "count", "too_many_records"),
    ],
)
def test_a_small_file_that_would_become_gigabytes(make: Any, name: str, reason: str) -> None:
    """A fault of its own, found in little memory: the child's is measured (row V24)."""
    file = make()
    assert len(file) < 1_100_000
    faults = parquet.Findings()
    declared = dataset(name)
    with parquet.ParquetFile(file[:4], io.BytesIO(file[4:]), Limits(), faults, None) as opened:
        opened.names(declared.variables)
        with pytest.raises(parquet.Stopped):
            for _ in opened.blocks():
                pass
        (fault,) = faults.listed()
        assert fault.reason == reason
        last = next(opened._frames)
    assert 0 < last["peak"] < 256 << 20
    assert reasons(read(file, declared)) == {reason: [None]}


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(text) for listing in lists for text in listing.read_text().split()]


@pytest.mark.parametrize(
    ("deadly", "told"),
    [
        (signal.SIGSEGV, parquet.Stopped),  # what its own file does to it
        (signal.SIGABRT, parquet.Stopped),
        (signal.SIGKILL, parquet.Interrupted),  # somebody else, or a machine without memory
        (signal.SIGTERM, parquet.Interrupted),
    ],
)
def test_a_process_that_dies_is_a_files_fault_unless_it_was_killed(
    deadly: signal.Signals, told: type[Exception]
) -> None:
    """A good delivery isn't rejected because a process was killed; the next file is read anew."""
    big = written({"first": [f"{row:050}" for row in range(400_000)], "whoever": ["x"] * 400_000})
    small = written({"first": ["a"], "whoever": ["x"]})
    declared, faults = dataset("first"), parquet.Findings()
    with parquet.ParquetFile(big[:4], io.BytesIO(big[4:]), Limits(), faults, None) as file:
        assert len(file.names(declared.variables)) == 2
        process = parquet._server()._process
        assert process is not None
        (keeper,) = _children(process.pid)
        (child,) = _children(keeper)
        os.kill(child, deadly)
        with pytest.raises(told):
            list(file.blocks())
    damaged = ["parquet_damaged"] if told is parquet.Stopped else []
    assert [fault.reason for fault in faults.listed()] == damaged
    assert read(small, declared).accepted
    process.kill()
    process.wait()
    assert read(small, declared).accepted
    assert parquet._server()._process is not process


def test_the_process_that_unpacks_holds_nothing_of_ours() -> None:
    """Started afresh: no environment, no handle, no dump (row V24)."""
    assert read(written({"first": ["a"], "whoever": ["x"]}), dataset("first")).accepted
    process = parquet._server()._process
    assert process is not None
    proc = Path(f"/proc/{process.pid}")
    names = {entry.partition(b"=")[0] for entry in (proc / "environ").read_bytes().split(b"\0")}
    assert names <= {
        b"", b"PATH", b"LD_LIBRARY_PATH", b"PYTHONPATH", b"ARROW_DEFAULT_MEMORY_POOL", b"LC_CTYPE"
    }  # fmt: skip
    handles = {str(handle.readlink()).partition(":")[0] for handle in (proc / "fd").iterdir()}
    assert handles <= {"/dev/null", "socket"}
