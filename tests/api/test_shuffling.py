"""Records in random order: all of them, once each, ordered by key, with little in memory."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from api.objects import Objects
from api.operations import shuffling
from api.operations.shuffling import Shuffle


def block(start: int, count: int) -> pa.Table:
    """So many records of a text that tells which one it is."""
    records = np.arange(start, start + count)
    return pa.table({"record": records, "name": [f"person {record}" for record in records]})


@pytest.mark.parametrize("held", [1 << 20, 20_000, 1])
def test_all_records_come_back_ordered_by_key(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they fit, or went through the scratch (row S16)."""
    monkeypatch.setattr(shuffling, "HELD", held)
    objects = Objects(tmp_path)
    shuffle = Shuffle(lambda: objects.scratch("intake"))
    for start in range(1, 5_000, 500):
        shuffle.add(block(start, 500))
    tables = list(shuffle.tables())
    assert (len(tables) > 1) == (held < 1 << 20)
    whole = pa.concat_tables(tables)
    assert sorted(whole["record"].to_pylist()) == [*range(1, 5_001)]
    assert whole["name"].to_pylist() == [
        f"person {record}" for record in whole["record"].to_pylist()
    ]
    keys = [sorted(table["row_key"].to_pylist()) for table in tables]
    assert all(len(key) == 16 for some in keys for key in some)
    assert [key for some in keys for key in some] == sorted({key for some in keys for key in some})
    shuffle.close()


def test_the_scratch_has_no_name_and_nothing_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash leaves nothing to sweep; the file is seen through its handle only (row V24)."""
    monkeypatch.setattr(shuffling, "HELD", 1)
    objects = Objects(tmp_path)
    file = objects.scratch("intake")
    shuffle = Shuffle(lambda: file)
    shuffle.add(block(1, 500))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    data = os.pread(file.fileno(), 1 << 20, 0)
    assert len(data) > 10_000
    assert b"person" not in data
    shuffle.close()
    assert file.closed


def test_nothing_gives_nothing(tmp_path: Path) -> None:
    assert list(Shuffle(lambda: Objects(tmp_path).scratch("intake")).tables()) == []
