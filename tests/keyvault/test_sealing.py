"""Sealed files: what was written comes back, anything else doesn't open."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.errors import SealError
from keyvault.sealing import TableWriter, open_bytes, read_table, seal_bytes, write_table
from keyvault.secret import FileKey

KEY = FileKey(b"k" * 32, "payload", "d-1")
OTHER = FileKey(b"o" * 32, "payload", "d-1")
TABLE = pa.table(
    {
        "row_key": pa.array([b"a" * 16, b"b" * 16, b"c" * 16], pa.binary(16)),
        "name": pa.array(["Jan", None, "Élise"]),
        "sex": pa.array(["M", "F", "F"]).dictionary_encode(),
        "wage": pa.array([1.25, None, 3.5]),
        "born": pa.array([0, 1, None], pa.date32()),
        "works": pa.array([True, None, False]),
        "record": pa.array([1, 2, 3], pa.int64()),
    }
)


@given(st.binary(max_size=200), st.text(max_size=30))
def test_bytes_come_back(data: bytes, binding: str) -> None:
    assert open_bytes(seal_bytes(data, KEY, binding), KEY, binding) == data


@given(st.data())
def test_changed_bytes_do_not_open(data: st.DataObject) -> None:
    sealed = bytearray(seal_bytes(b"twenty-six bytes of secret", KEY, "b"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        open_bytes(bytes(sealed), KEY, "b")


@pytest.mark.parametrize("length", [0, 1, 12, 28])
def test_short_bytes_do_not_open(length: int) -> None:
    with pytest.raises(SealError):
        open_bytes(seal_bytes(b"", KEY, "b")[:length], KEY, "b")


@pytest.mark.parametrize(("key", "binding"), [(OTHER, "b"), (KEY, "c"), (KEY, "")])
def test_another_key_or_binding_does_not_open(key: FileKey, binding: str) -> None:
    with pytest.raises(SealError):
        open_bytes(seal_bytes(b"secret", KEY, "b"), key, binding)
    with pytest.raises(SealError):
        read_table(write_table(TABLE, KEY, "b"), key, binding)


def test_a_table_comes_back_with_its_types() -> None:
    table = read_table(write_table(TABLE, KEY, "d-1 payload"), KEY, "d-1 payload")
    assert table.equals(TABLE)
    assert table.schema.equals(TABLE.schema)


def test_some_columns_of_a_table() -> None:
    data = write_table(TABLE, KEY, "b")
    assert read_table(data, KEY, "b", ["name"]).equals(TABLE.select(["name"]))


def test_an_empty_table() -> None:
    empty = TABLE.slice(0, 0)
    assert read_table(write_table(empty, KEY, "b"), KEY, "b").equals(empty)


@pytest.mark.parametrize("rows", [0, 1])
def test_every_byte_of_a_sealed_table_counts(rows: int) -> None:
    """Its beginning, and a table that holds nothing, too."""
    data = write_table(TABLE.slice(0, rows), KEY, "b")
    for place in range(len(data)):
        with pytest.raises(SealError):
            read_table(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], KEY, "b")


@pytest.mark.parametrize("text", ["Jan", "Élise", "name", "row_key"])
def test_no_plaintext_in_a_sealed_table(text: str) -> None:
    """V24: neither values nor column names, footer and statistics included."""
    assert text.encode() not in write_table(TABLE, KEY, "b")


def test_a_cut_or_changed_table_does_not_open() -> None:
    data = write_table(TABLE, KEY, "b")
    for damaged in (
        b"",
        b"PAR1",
        data[:-1],
        data[: len(data) // 2],
        data[:200] + b"x" + data[201:],
    ):
        with pytest.raises(SealError):
            read_table(damaged, KEY, "b")


@pytest.mark.parametrize("purpose", ["pseudonym", "subject-id", "permit", "intake-identity"])
def test_keys_for_something_else_seal_no_files(purpose: str) -> None:
    key = FileKey(b"k" * 32, purpose, "neet")
    with pytest.raises(SealError, match="never seals files"):
        seal_bytes(b"", key, "b")
    with pytest.raises(SealError, match="never seals files"):
        write_table(TABLE, key, "b")


class _Pipe:
    """A sink that can only be written to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def test_a_table_is_sealed_as_a_stream() -> None:
    """Piece by piece, and read like one that was written at once; empty ones too."""
    pipe = _Pipe()
    with TableWriter(pipe, TABLE.schema, KEY, "b") as writer:
        for start in range(TABLE.num_rows):
            writer.write(TABLE.slice(start, 1))
    assert len(pipe.pieces) > TABLE.num_rows
    assert read_table(b"".join(pipe.pieces), KEY, "b").equals(TABLE)
    empty = _Pipe()
    with TableWriter(empty, TABLE.schema, KEY, "b"):
        pass
    assert read_table(b"".join(empty.pieces), KEY, "b").num_rows == 0
