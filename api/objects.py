"""Stored bytes: ciphertext only, under random names, durable before anybody hears yes.

A local folder, written by us because no library fsyncs both the file and its folder. The database
is the only commit point: an object that no row refers to is an orphan, and is swept.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class ObjectFault(Exception):  # noqa: N818 - what is wrong with an object
    """A stored object is missing or is not the one that was recorded."""


PIECE = 1 << 20


class Objects:
    """A folder of immutable objects, each known by a random name and its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @staticmethod
    def new_name() -> str:
        """A name that says nothing: 128 random bits."""
        return secrets.token_hex(16)

    def path(self, name: str) -> Path:
        """Where an object lives; names are ours, never a caller's."""
        if len(name) != 32 or not set(name) <= set("0123456789abcdef"):
            raise ObjectFault("That is no name of a stored object.")
        return self._folder / name

    def put(self, data: bytes) -> tuple[str, str]:
        """Store bytes durably; name and hex SHA-256 come back."""
        name = self.new_name()
        final = self.path(name)
        unfinished = final.with_suffix(".new")
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(final)
        self.sync_folder()
        return name, hashlib.sha256(data).hexdigest()

    def get(self, name: str, sha256: str) -> bytes:
        """The object's bytes, if they are still the recorded ones."""
        try:
            data = self.path(name).read_bytes()
        except FileNotFoundError:
            raise ObjectFault("A stored object is missing; restore it from a backup.") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ObjectFault("A stored object was changed; restore it from a backup.")
        return data

    def open(self, name: str) -> BinaryIO:
        """The object as a stream, for what is too large to hold; its reader checks the hash."""
        return self.path(name).open("rb")

    def sha256(self, name: str) -> str:
        """Hex SHA-256 of what is stored, read in pieces."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                digest.update(piece)
        return digest.hexdigest()

    def append(self, name: str, offset: int) -> "Growing":
        """An upload that grows: opened at `offset`, whatever a broken connection left behind it."""
        return Growing(self.path(name), offset, self)

    def delete(self, name: str) -> None:
        """Remove an object; that it's gone already is fine."""
        self.path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[str, float]]:
        """Every file in the folder with the moment it was last changed (for sweeping)."""
        for entry in self._folder.iterdir():
            yield entry.name, entry.stat().st_mtime

    def sweep(self, name: str) -> None:
        """Remove a file of the folder by its file name, unfinished ones included."""
        (self._folder / Path(name).name).unlink(missing_ok=True)

    def sync_folder(self) -> None:
        """Make the folder's entries durable."""
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Growing:
    """The file behind an upload that is still coming in."""

    def __init__(self, path: Path, offset: int, objects: Objects) -> None:
        self._objects = objects
        self._fresh = not path.exists()
        self._file = path.open("r+b" if not self._fresh else "x+b")
        self._file.truncate(offset)
        self._file.seek(offset)

    def start(self, count: int) -> bytes:
        """The first bytes that are there already (the magic number may come in pieces)."""
        here = self._file.tell()
        self._file.seek(0)
        first = self._file.read(count)
        self._file.seek(here)
        return first

    def write(self, data: bytes) -> None:
        """Add bytes; not durable before `sync`."""
        self._file.write(data)

    def sync(self) -> int:
        """Make everything written durable; the new length comes back."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._fresh:
            self._objects.sync_folder()
        return self._file.tell()

    def cut(self, offset: int) -> None:
        """Forget everything after `offset` (a checksum that didn't match)."""
        self._file.flush()
        self._file.truncate(offset)
        self._file.seek(offset)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
