"""Bytes at rest: encrypted Parquet for tables, AES-256-GCM for everything else.

Each sealed thing has a *binding*, a text that says what it is (`delivery 7f3a… payload 1`). The
file's own AES key is HKDF-SHA256 of the sealed key with the binding in its info, and the binding
is authenticated data as well. A file put in another's place therefore doesn't open, and one key
may seal many files. Rotation rewraps the key and leaves the file.

Formats (version 1):

    table   Parquet modular encryption, uniform AES_GCM_V1, footer encrypted;
            key = HKDF(key, info="schakel/1 table\\n" + binding), AAD prefix = binding, not stored
    bytes   0x01 ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag, AAD = binding;
            key = HKDF(key, info="schakel/1 bytes\\n" + binding)
"""

import io
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyvault.errors import SealError
from keyvault.primitives import hkdf
from keyvault.secret import AGE_PURPOSE, MAC_PURPOSES, SIGNING_PURPOSES, FileKey, reveal

_NONCE = 12
_TAG = 16
_FORMAT = b"\x01"
_MAGIC = b"PARE"
"""How an encrypted Parquet file begins and ends."""
_NOT_FOR_FILES = MAC_PURPOSES | {AGE_PURPOSE, *SIGNING_PURPOSES}


def write_table(table: pa.Table, key: FileKey, binding: str) -> bytes:
    """Seal a table as one encrypted Parquet file, column types kept."""
    sink = pa.BufferOutputStream()
    with TableWriter(sink, table.schema, key, binding) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


class Written(Protocol):
    """Whatever takes bytes in order."""

    def write(self, data: Any) -> int:
        """Add bytes; how many."""


class TableWriter:
    """Seals a table that comes in pieces, as a stream; the same format as `write_table`.

    The file is whole when the block has ended well. `sink` stays open; it is the caller's.
    """

    def __init__(self, sink: Written, schema: pa.Schema, key: FileKey, binding: str) -> None:
        properties = pe.create_encryption_properties(
            _derived(key, "table", binding), aad_prefix=binding.encode(), store_aad_prefix=False
        )
        where = sink if isinstance(sink, pa.NativeFile) else _Unseekable(sink)
        self._writer = pq.ParquetWriter(
            where, schema, compression="zstd", encryption_properties=properties
        )

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Add rows of the table's schema; they are sealed and passed on at once.

        None are not written: nobody would read the pages that hold nothing, or see them changed.
        """
        if table.num_rows:
            self._writer.write_table(table)


class _Unseekable(io.RawIOBase):
    """A sink as the file that Arrow writes to."""

    def __init__(self, sink: Written) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._sink.write(data)


def read_table(
    data: bytes, key: FileKey, binding: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Open a sealed table, or only some of its columns.

    SealError when the key or the binding is another one, or the bytes aren't what was written.
    """
    properties = pe.create_decryption_properties(
        _derived(key, "table", binding), aad_prefix=binding.encode()
    )
    wanted = None if columns is None else list(columns)
    if data[: len(_MAGIC)] != _MAGIC:  # Arrow looks at the one at the end only
        raise SealError(_CLOSED)
    try:
        return pq.read_table(
            pa.BufferReader(data), columns=wanted, decryption_properties=properties
        )
    except (OSError, pa.ArrowException):
        raise SealError(_CLOSED) from None


def seal_bytes(data: bytes, key: FileKey, binding: str) -> bytes:
    """Seal some bytes; see the module's text for the format."""
    return _FORMAT + gcm_seal(_derived(key, "bytes", binding), data, binding.encode())


def open_bytes(data: bytes, key: FileKey, binding: str) -> bytes:
    """Open what `seal_bytes` made; SealError when it doesn't."""
    if data[:1] != _FORMAT:
        raise SealError(_CLOSED)
    return gcm_open(_derived(key, "bytes", binding), data[1:], binding.encode())


def gcm_seal(key: bytes, data: bytes, aad: bytes) -> bytes:
    """nonce ‖ ciphertext ‖ tag, with a random nonce of 96 bits."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, aad)


def gcm_open(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The inverse of `gcm_seal`; SealError when key, bytes or associated data differ."""
    if len(sealed) < _NONCE + _TAG:
        raise SealError(_CLOSED)
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], aad)
    except InvalidTag:
        raise SealError(_CLOSED) from None


_CLOSED = (
    "The sealed bytes don't open: another key, another binding, or they were changed. "
    "Compare the object's SHA-256 with the recorded one, and restore it from a backup."
)


def _derived(key: FileKey, use: str, binding: str) -> bytes:
    if key.purpose in _NOT_FOR_FILES:
        raise SealError(f"A key for {key.purpose} never seals files; ask for a key of their own.")
    info = f"schakel/1 {use}\n{binding}".encode()
    return hkdf(reveal(key), info)
