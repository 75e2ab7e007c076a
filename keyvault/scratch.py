"""Room on a disk for what doesn't fit in memory, readable by nobody else and by nobody later.

Everything written is AES-256-GCM under a key drawn for this one scratch, which exists in this
object and nowhere else. The file behind it should have no name, so that a crash leaves nothing to
sweep; what its blocks still hold then is ciphertext whose key is gone.

    piece   AES-256-GCM ciphertext and tag; nonce = its number (96 bits, big-endian), no other data

A piece is found again by its number, offset and length, which are kept in memory: pieces can't be
exchanged, shortened or replayed.
"""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyvault.errors import SealError

_NONCE = 12


class Scratch:
    """Pieces of bytes in numbered parts, given back part by part in the order of writing."""

    def __init__(self, file: BinaryIO) -> None:
        """`file` is open for reading and writing, empty, and this object's alone."""
        self._file = file
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._places: dict[int, list[tuple[int, int, int]]] = {}
        self._count = self._end = 0

    def put(self, part: int, piece: Any) -> None:
        """Add a piece (anything with a buffer) to a part."""
        sealed = self._cipher.encrypt(self._count.to_bytes(_NONCE, "big"), piece, None)
        rest, at = memoryview(sealed), self._end
        while rest:
            written = os.pwrite(self._file.fileno(), rest, at)
            rest, at = rest[written:], at + written
        self._places.setdefault(part, []).append((self._count, self._end, len(sealed)))
        self._count, self._end = self._count + 1, at

    def take(self, part: int) -> Iterator[bytes]:
        """A part's pieces. SealError when the disk doesn't give back what was written."""
        for number, start, length in self._places.get(part, ()):
            sealed = os.pread(self._file.fileno(), length, start)
            try:
                yield self._cipher.decrypt(number.to_bytes(_NONCE, "big"), sealed, None)
            except InvalidTag:
                raise SealError("Scratch was changed on the disk; check the disk.") from None

    def close(self) -> None:
        """Forget the key and let go of the file."""
        del self._cipher
        self._places.clear()
        self._file.close()
