"""The root in one file of mode 0600, bare or under a lid.

The file is JSON: `type` and `version`, `last` (the highest root version ever given) and `roots`
(version numbers to base64url). It is written whole, synced and renamed into place. Bare roots are
the embedded default. Under a lid each root is sealed (AES-256-GCM, nonce in front) with the lid's
key, bound to its number and to what the file says of the lock; `lock` says what makes that key of
what people hold, and `check` tells a wrong key from a damaged file.
"""

import fcntl
import hmac
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from keyvault.custody.kinds import FOREIGN, LAST, Root, absent, context
from keyvault.errors import CustodyError, SealError
from keyvault.primitives import hkdf
from keyvault.sealing import gcm_open, gcm_seal
from keyvault.secret import Secret, reveal
from keyvault.signing import canonical, from_base64url, to_base64url

TYPE = "schakel-root"

_ABOUT = (
    "Schakel's root key. Whoever has this file and the database can open everything, and without "
    "it nothing opens. Keep its backup apart from the data's."
)
_ABOUT_LOCKED = (
    "Schakel's root key, locked. It opens with what its custodians hold, and without both nothing "
    "opens. Keep its backup apart from the data's."
)


class Lid(Protocol):
    """What lies over the roots in the file."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Members of the file that stay as they are."""

    def put(self, version: int, root: Root) -> bytes:
        """A root as the file holds it."""

    def take(self, version: int, kept: bytes) -> Root:
        """The inverse; SealError when it doesn't open."""


class Bare:
    """No lid: whoever reads the file has the root."""

    header: Mapping[str, Any] = {"type": TYPE, "version": 1, "about": _ABOUT}

    def put(self, _version: int, root: Root) -> bytes:
        """The root itself."""
        return reveal(root)

    def take(self, _version: int, kept: bytes) -> Root:
        """The root itself."""
        return Root(kept)


class KeyedLid:
    """Roots under a key that people hold; `lock` says how it is had from them."""

    def __init__(self, kind: str, lock: Mapping[str, Any], key: Secret) -> None:
        self._key = key
        self.header: Mapping[str, Any] = {
            "type": kind,
            "version": 1,
            "about": _ABOUT_LOCKED,
            "lock": dict(lock),
            "check": to_base64url(_check(kind, lock, key)),
        }

    def fits(self, file: Mapping[str, Any]) -> bool:
        """Whether this lid's key is the one that a file was written with."""
        return hmac.compare_digest(str(file.get("check")), str(self.header["check"]))

    def put(self, version: int, root: Root) -> bytes:
        """The root, sealed."""
        return gcm_seal(reveal(self._key), reveal(root), self._binding(version))

    def take(self, version: int, kept: bytes) -> Root:
        """The root, opened."""
        return Root(gcm_open(reveal(self._key), kept, self._binding(version)))

    def _binding(self, version: int) -> bytes:
        header = {name: self.header[name] for name in ("type", "version", "lock")}
        return canonical({**header, "root": version})


class FileCustody:
    """The root in one file: bare, the embedded default, or under a lid."""

    def __init__(self, path: Path, lid: Lid | None = None) -> None:
        self._path = Path(path)
        self._lid = lid or Bare()
        self._roots = self._read()[0]

    def __repr__(self) -> str:
        return f"<FileCustody, root versions {sorted(self._roots)}>"

    @classmethod
    def create(cls, path: Path, lid: Lid | None = None, *, first: int = 1) -> "FileCustody":
        """Make the file with one version; CustodyError when something is there already."""
        roots = {first: Root(os.urandom(32))}
        create(path, _document(lid or Bare(), roots, last=first))
        return cls(path, lid)

    @classmethod
    def open(cls, path: Path, lid: Lid | None = None) -> "FileCustody":
        """Read the file; CustodyError when it is absent, damaged or readable by others."""
        return cls(path, lid)

    def versions(self) -> tuple[int, ...]:
        """The version numbers that stand in the file now."""
        return tuple(sorted(self._read()[0]))

    def wrap(self, version: int, data: bytes, aad: bytes) -> bytes:
        """nonce ‖ AES-256-GCM under the root, associated with the version and `aad`."""
        return gcm_seal(reveal(self._root(version)), data, context(version, aad))

    def unwrap(self, version: int, wrapped: bytes, aad: bytes) -> bytes:
        """The inverse of `wrap`."""
        root = self._root(version)
        try:
            return gcm_open(reveal(root), wrapped, context(version, aad))
        except SealError:
            raise SealError(FOREIGN) from None

    def add(self) -> int:
        """Add a version to the file."""
        with locked(self._path):
            roots, last = self._read()
            version = last + 1
            roots = {**roots, version: Root(os.urandom(32))}
            replace(self._path, _document(self._lid, roots, last=version))
        return version

    def drop(self, version: int) -> None:
        """Take a version out of the file; one that isn't there is no matter."""
        with locked(self._path):
            roots, last = self._read()
            kept = {number: root for number, root in roots.items() if number != version}
            if not kept:
                raise CustodyError(LAST)
            if len(kept) < len(roots):
                replace(self._path, _document(self._lid, kept, last=last))

    def afresh(self) -> "FileCustody":
        """Read anew, under the same lid: its lock has to be the one that people opened."""
        return FileCustody(self._path, self._lid)

    def end(self) -> None:
        """Nothing is left but the file, which another takes the place of."""
        self._roots = {}

    def _root(self, version: int) -> Root:
        """A version from memory or, when another process has added it, from the file.

        What was read once stays in memory: a reader whose database snapshot is older than a
        rotation still finds the version its rows name.
        """
        if version not in self._roots:
            self._roots = {**self._roots, **self._read()[0]}
        try:
            return self._roots[version]
        except KeyError:
            raise CustodyError(absent(version, self._path)) from None

    def _read(self) -> tuple[dict[int, Root], int]:
        held = read(self._path)
        try:
            kept = {int(number): from_base64url(text) for number, text in held["roots"].items()}
            roots = {number: self._lid.take(number, data) for number, data in kept.items()}
            last = int(held["last"])
            sizes = {len(reveal(root)) for root in roots.values()}
            sound = sizes == {32} and all(
                held[name] == value
                for name, value in self._lid.header.items()
                if name != "about"  # for people
            )
        except (SealError, ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise CustodyError(damaged(self._path))
        return roots, last


def read(path: Path) -> dict[str, Any]:
    """The file that describes a custody; CustodyError when it is absent, open to others or no such
    file."""
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
        held = json.loads(content)
        sound = isinstance(held, dict) and held["version"] == 1
        sound = sound and isinstance(held["type"], str)
    except (ValueError, KeyError):
        sound = False
    if not sound:
        raise CustodyError(damaged(path))
    return dict(held)


def damaged(path: Path) -> str:
    """What to do about a file that isn't what was written."""
    return f"{path} is no root key file, or damaged; restore it from its backup."


def create(path: Path, document: Mapping[str, Any]) -> None:
    """Put a new file there, durably; CustodyError when something is there already."""
    path = Path(path)
    try:
        with locked(path):
            _write(path, document, new=True)
    except FileExistsError:
        raise CustodyError(
            f"{path} exists already; open it, or move it away if it isn't in use."
        ) from None
    except OSError as error:
        raise CustodyError(f"{path} can't be made: {error.strerror}.") from None


def replace(path: Path, document: Mapping[str, Any]) -> None:
    """Put the file in place whole and durably; under the lock."""
    _write(path, document, new=False)


def _document(lid: Lid, roots: Mapping[int, Root], *, last: int) -> dict[str, Any]:
    kept = {str(number): to_base64url(lid.put(number, root)) for number, root in roots.items()}
    return {**lid.header, "last": last, "roots": kept}


def _check(kind: str, lock: Mapping[str, Any], key: Secret) -> bytes:
    info = canonical({"type": kind, "version": 1, "lock": dict(lock), "use": "check"})
    return hkdf(reveal(key), info)


def _write(path: Path, document: Mapping[str, Any], *, new: bool) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # of a process that was killed here
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(draft, path)  # unlike a rename this fails when the file exists
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time, by a lock on the folder that ends with the process."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
