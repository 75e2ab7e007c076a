"""Who holds the root.

The root key wraps the private halves of the role keys and the founding administrators, and
nothing else. A custody holds one or more numbered versions of it. Which version is in use is
written in the database, beside what is wrapped, so that there is one truth: a rotation adds a
version here, rewraps there, and drops the old version here once the database has let go of it.
A crash between any two of these steps leaves both versions here, and either is found by number.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from keyvault.errors import CustodyError, SealError
from keyvault.sealing import gcm_open, gcm_seal
from keyvault.secret import Secret, reveal
from keyvault.signing import from_base64url, to_base64url


class Custody(Protocol):
    """What the vault asks of whoever holds the root; the root never has to leave."""

    def versions(self) -> tuple[int, ...]:
        """The version numbers held, ascending; read afresh."""

    def wrap(self, version: int, data: bytes, aad: bytes) -> bytes:
        """Encrypt under one version of the root; `aad` says what is wrapped."""

    def unwrap(self, version: int, wrapped: bytes, aad: bytes) -> bytes:
        """The inverse; CustodyError for an unknown version, SealError when it doesn't open."""

    def add(self) -> int:
        """Make a new version, durable when this returns; its number was never used before."""

    def drop(self, version: int) -> None:
        """Forget a version, durably; the last one can't be dropped."""


class Root(Secret):
    """One version of the root key."""

    __slots__ = ()


_ABOUT = (
    "Schakel's root key. Whoever has this file and the database can open everything, and without "
    "it nothing opens. Keep its backup apart from the data's."
)


class FileCustody:
    """The root in one file of mode 0600: the embedded default.

    The file is JSON: `last` is the highest version number ever given, `roots` maps version
    numbers to base64url keys. It is written whole, synced and renamed into place.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._roots = _read(self._path)[0]

    def __repr__(self) -> str:
        return f"<FileCustody, root versions {sorted(self._roots)}>"

    @classmethod
    def create(cls, path: Path) -> "FileCustody":
        """Make the file with version 1; CustodyError when something is there already."""
        path = Path(path)
        try:
            with _locked(path):
                _write(path, {1: Root(os.urandom(32))}, last=1, new=True)
        except FileExistsError:
            raise CustodyError(
                f"{path} exists already; open it, or move it away if it isn't in use."
            ) from None
        except OSError as error:
            raise CustodyError(f"{path} can't be made: {error.strerror}.") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "FileCustody":
        """Read the file; CustodyError when it is absent, damaged or readable by others."""
        return cls(path)

    def versions(self) -> tuple[int, ...]:
        """The version numbers that stand in the file now."""
        return tuple(sorted(_read(self._path)[0]))

    def wrap(self, version: int, data: bytes, aad: bytes) -> bytes:
        """nonce ‖ AES-256-GCM under the root, associated with the version and `aad`."""
        return gcm_seal(reveal(self._root(version)), data, _context(version, aad))

    def unwrap(self, version: int, wrapped: bytes, aad: bytes) -> bytes:
        """The inverse of `wrap`."""
        root = self._root(version)
        try:
            return gcm_open(reveal(root), wrapped, _context(version, aad))
        except SealError:
            raise SealError(
                "What the root wrapped doesn't open: the row was changed, or the root key file "
                "belongs to another installation. Restore the two that belong together."
            ) from None

    def add(self) -> int:
        """Add a version to the file."""
        with _locked(self._path):
            roots, last = _read(self._path)
            version = last + 1
            _write(self._path, {**roots, version: Root(os.urandom(32))}, last=version)
        return version

    def drop(self, version: int) -> None:
        """Take a version out of the file; one that isn't there is no matter."""
        with _locked(self._path):
            roots, last = _read(self._path)
            kept = {number: root for number, root in roots.items() if number != version}
            if not kept:
                raise CustodyError("The last root version can't be dropped; add one first.")
            if len(kept) < len(roots):
                _write(self._path, kept, last=last)

    def _root(self, version: int) -> Root:
        """A version from memory or, when another process has added it, from the file.

        What was read once stays in memory: a reader whose database snapshot is older than a
        rotation still finds the version its rows name.
        """
        if version not in self._roots:
            self._roots = {**self._roots, **_read(self._path)[0]}
        try:
            return self._roots[version]
        except KeyError:
            raise CustodyError(
                f"Root version {version} is not in {self._path}; restore the copy of the key file "
                "that belongs to this database."
            ) from None


def _context(version: int, aad: bytes) -> bytes:
    return f"schakel/1 root {version}\n".encode() + aad


def _read(path: Path) -> tuple[dict[int, Root], int]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise CustodyError(f"The root key file {path} can't be read: {error.strerror}.") from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise CustodyError(
            f"The root key file {path} must be a file that only its owner can open; "
            f"check who has read it, then: chmod 600 {path}"
        )
    try:
        held: dict[str, Any] = json.loads(content)
        roots = {int(number): Root(from_base64url(text)) for number, text in held["roots"].items()}
        last = int(held["last"])
        sound = held["type"] == "schakel-root" and held["version"] == 1 and roots
        sound = sound and all(len(reveal(root)) == 32 for root in roots.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise CustodyError(f"{path} is no root key file, or damaged; restore it from its backup.")
    return roots, last


def _write(path: Path, roots: dict[int, Root], *, last: int, new: bool = False) -> None:
    """Put the file in place whole and durably, under the lock; a `new` one replaces no other."""
    held = {
        "type": "schakel-root",
        "version": 1,
        "about": _ABOUT,
        "last": last,
        "roots": {str(number): to_base64url(reveal(root)) for number, root in roots.items()},
    }
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # of a process that was killed here
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(held, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(draft, path)  # unlike a rename this fails when the file exists
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, by a lock on the folder that ends with the process."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
