"""Bad files: each class with its fault, then thousands of mutations of them (row S15, V24).

What shows that an acceptance is right: for CSV, Python's own csv module reads the same rows from
the same bytes, and a line break inside a free text is told. For Parquet with page checksums, the
rows are the original ones, nothing else; without checksums a changed page can't be told from one
that was written so: that is told, and the rows are those that a plain reading of the bytes gives.
"""

import csv
import io
import json
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage import reading
from linkage.findings import REASONS
from linkage.reading import TRIMMED
from tests.linkage import bad_files
from tests.linkage.bad_files import DECLARED, MALFORMED_CSV, MALFORMED_PARQUET, BadFile
from tests.linkage.helpers import Extract, read_extract

ALL = {
    **{f"CSV, {name}": file for name, file in MALFORMED_CSV.items()},
    **{f"Parquet, {name}": file for name, file in MALFORMED_PARQUET.items()},
}


def test_there_are_many_classes() -> None:
    assert len(MALFORMED_CSV) >= 30
    assert len(MALFORMED_PARQUET) >= 30


@pytest.mark.parametrize("name", ALL)
def test_each_class_has_its_fault(name: str) -> None:
    """And no error beside it that would hide it."""
    file: BadFile = ALL[name]
    checked = read_extract(io.BytesIO(file.data), file.declared, period="2024")
    assert not checked.accepted
    assert checked.columns is None
    first = checked.faults[0]
    assert first.reason == file.reason, checked.report()["faults"]
    found = dict.fromkeys(fault.row for fault in checked.faults if fault.reason == file.reason)
    assert tuple(found) == file.rows


def test_the_file_that_they_are_made_from_is_good() -> None:
    """Otherwise each of them would be refused for another reason."""
    by_csv = read_extract(io.BytesIO(bad_files.GOOD.encode()), DECLARED)
    by_parquet = read_extract(io.BytesIO(bad_files.PARQUET), DECLARED)
    assert by_csv.accepted
    assert by_parquet.columns == by_csv.columns


def test_a_line_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LONGEST_LINE", 4000)
    monkeypatch.setattr(reading, "_BLOCK", 1000)
    data = io.BytesIO(bad_files.HEADER.encode() + b"n" * 20_000)
    assert read_extract(data, DECLARED).faults[0].reason == "field_too_long"
    assert data.tell() < 10_000


def reported(data: bytes) -> Extract:
    """A report that can be sent, whatever the bytes."""
    checked = read_extract(io.BytesIO(data), DECLARED, period="2024")
    report = checked.report()
    assert json.loads(json.dumps(report)) == report
    assert all(group["reason"] in REASONS for group in report["faults"])
    assert checked.accepted == (report["errors"] == 0)
    assert checked.accepted == (checked.columns is not None)
    return checked


def test_mutations_of_csv_end_in_a_report() -> None:
    """1,500 of them: what is accepted is what csv reads, and broken lines in a text are told."""
    chance = random.Random(20241231)
    good = [bad_files.GOOD.encode(), bad_files.as_csv(bad_files.ROWS, quote='"').encode()]
    bases = [*good * 12, *(file.data for file in MALFORMED_CSV.values() if file.data)]
    accepted = 0
    for number in range(1_500):
        data = bad_files.damaged(bases[number % len(bases)], chance)
        checked = reported(data)
        if not checked.accepted:
            continue
        accepted += 1
        read = by_csv_module(data, checked.format.encoding, checked.format.delimiter)
        for name in ("insz", "naam", "nota"):
            assert checked.columns[name].to_pylist() == [row[name] or None for row in read]
        broken = any("\n" in row["nota"] or "\r" in row["nota"] for row in read)
        told = {fault.reason for fault in checked.faults}
        assert broken == ("line_break_in_text" in told)
    assert 20 < accepted < 750


def by_csv_module(data: bytes, encoding: Any, delimiter: Any) -> list[dict[str, str]]:
    """The file as Python's csv module reads it, blank lines at the end left out."""
    text = io.StringIO(data.decode(encoding), newline="")
    header, *rows = list(csv.reader(text, delimiter=delimiter, strict=True))
    names = [name.strip(TRIMMED) for name in header]
    assert all(len(row) == len(names) for row in rows if row)
    trimmed = [[value.strip(TRIMMED) for value in row] for row in rows if row]
    return [dict(zip(names, row, strict=True)) for row in trimmed]


def test_mutations_of_parquet_end_in_a_report() -> None:
    """1,000 of them, unpacked by processes that may break; what is accepted is what was written."""
    chance = random.Random(20241231)
    table = bad_files.as_table(bad_files.rows(200))
    ways: list[dict[str, Any]] = [
        {"write_page_checksum": True},
        {"write_page_checksum": True, "use_dictionary": False, "compression": "none"},
        {},
        {"use_dictionary": False, "compression": "none", "data_page_version": "2.0"},
    ]
    good = [bad_files.as_parquet(table, **way) for way in ways]
    original = read_extract(io.BytesIO(good[0]), DECLARED).columns
    bad = [file.data for file in MALFORMED_PARQUET.values() if len(file.data) < 20_000]
    accepted = 0
    for number in range(1_000):
        which = number % 5
        base = good[which] if which < 4 else bad[number // 5 % len(bad)]
        data = bad_files.damaged(base, chance, most=2)
        checked = reported(data)
        if not checked.accepted:
            continue
        accepted += 1
        if which < 2:
            assert checked.columns == original
            assert "pages_unchecked" not in {fault.reason for fault in checked.faults}
        else:
            assert "pages_unchecked" in {fault.reason for fault in checked.faults}
            read = pq.read_table(pa.BufferReader(data), use_threads=False)
            for name in ("insz", "naam", "nota"):
                texts = [(text or "").strip(TRIMMED) or None for text in read[name].to_pylist()]
                assert checked.columns[name].to_pylist() == texts
    assert 5 < accepted < 500
