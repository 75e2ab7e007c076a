"""Stored bytes: ciphertext only, under random names, durable before anybody hears yes.

A local folder, written by us because no library fsyncs both the file and its folder. The database
is the only commit point: an object that no row refers to is an orphan, and is swept.

A name begins with the process role that is to read the object, and each role has a folder of its
own, so that where roles are users the file system keeps them apart as well: others of the group put
files into it, which get the reader's group, and can't list it (`api.roles.prepare`).
"""

import ctypes
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from api.flow import Flow


class ObjectFault(Exception):  # noqa: N818 - what is wrong with an object
    """A stored object is missing or is not the one that was recorded."""


class ObjectBusy(Exception):  # noqa: N818 - the state it is in
    """Another writer holds this object."""


PIECE = 1 << 20
READERS = ("api", "intake", "linkage", "release", "identified")
"""Process roles that objects are written for."""
_NAME = re.compile(rf"({'|'.join(READERS)})-[0-9a-f]{{32}}")


class Objects:
    """Folders of immutable objects, each known by a random name and its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun = Begun()
        for reader in READERS:
            (folder / reader).mkdir(parents=True, exist_ok=True, mode=0o700)

    @staticmethod
    def new_name(reader: str) -> str:
        """A name that says who reads it and nothing else: 128 random bits."""
        return f"{reader}-{secrets.token_hex(16)}"

    def path(self, name: str) -> Path:
        """Where an object lives; names are ours, never a caller's."""
        matched = _NAME.fullmatch(name)
        if matched is None:
            raise ObjectFault("That is no name of a stored object.")
        return self._folder / matched[1] / name

    def put(self, data: bytes, reader: str) -> tuple[str, str]:
        """Store bytes durably for a reader; name and hex SHA-256 come back."""
        with self.writing(reader) as file:
            file.write(data)
        return file.name, file.sha256

    @contextmanager
    def writing(self, reader: str) -> Iterator["Writing"]:
        """An object written piece by piece; it is there, durably, once the block has ended well.

        Its name is `name` throughout and its hash `sha256` at the end; an error leaves nothing.
        """
        name = self.new_name(reader)
        final = self.path(name)
        unfinished = final.with_suffix(".new")
        try:
            with _opened(unfinished, os.O_CREAT | os.O_EXCL) as file:
                written = Writing(name, file)
                yield written
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.rename(final)
        _sync_folder(final.parent)

    def scratch(self, reader: str) -> BinaryIO:
        """An empty file without a name in a reader's folder: gone when it is closed, or at a crash.

        What is written to it is sealed by its user; it is on the same disk as the objects.
        """
        return tempfile.TemporaryFile(dir=self._folder / reader, buffering=0)

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
        """Hex SHA-256 of what is stored: hashed while it came in, or read in pieces."""
        digest = self._begun.at(name, self.path(name).stat().st_size)
        if digest is not None:
            return str(digest.hexdigest())
        digest = hashlib.sha256()
        with self.open(name) as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                digest.update(piece)
        return digest.hexdigest()

    def append(self, name: str) -> "Growing":
        """An upload that grows, held by this caller alone until it is closed.

        Raises `ObjectBusy` when somebody else holds it, in this process or in any other.
        """
        return Growing(self.path(name), self._begun)

    def delete(self, name: str) -> None:
        """Remove an object durably; that it's gone already is fine."""
        path = self.path(name)
        self._begun.forget(name)
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def names(self, readers: Sequence[str] = READERS) -> Iterator[tuple[str, float]]:
        """Every file in these roles' folders and when it was last changed (for sweeping)."""
        for reader in readers:
            for entry in (self._folder / reader).iterdir():
                with suppress(FileNotFoundError):  # finished, or removed, a moment ago
                    yield entry.name, entry.lstat().st_mtime

    def sweep(self, reader: str, name: str) -> None:
        """Remove a file from a role's folder by its file name, unfinished and foreign ones too.

        What can't be removed (a folder that somebody put there) is left to the operator.
        """
        with suppress(OSError):
            (self._folder / reader / Path(name).name).unlink()


def _opened(path: Path, how: int) -> BinaryIO:
    """A file to write to: its writer's, and readable to the folder's group, whatever the umask."""
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o640)
    os.fchmod(handle, 0o640)
    return os.fdopen(handle, "r+b")


def _sync_folder(folder: Path) -> None:
    """Make a folder's entries durable.

    Who may put something into another role's folder but not read it can't sync it either; there
    the whole file system is asked to (syncfs(2), by the folder above it).
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        handle = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        sync: Callable[[int], None] = _sync_file_system
    else:
        sync = os.fsync
    try:
        sync(handle)
    finally:
        os.close(handle)


def _sync_file_system(handle: int) -> None:
    if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
        raise OSError(ctypes.get_errno(), "the file system can't be synced")


class Writing:
    """An object that is being written: `write` takes what comes, in order."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self._file, self._digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Add bytes (anything with a buffer); how many."""
        self._digest.update(data)
        return self._file.write(data)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of what was written so far."""
        return self._digest.hexdigest()


class Begun:
    """Hashes of the beginnings of uploads, as far as this process wrote them itself.

    Only beginnings that were acknowledged are kept: those never change, whichever process goes on.
    The longest unused is forgotten first; what isn't known is read again.
    """

    MOST = 1000

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, Any]] = {}
        self._lock = threading.Lock()

    def at(self, name: str, offset: int) -> Any:
        """A SHA-256 to go on with of an upload's first `offset` bytes, None if it isn't known."""
        if offset == 0:
            return hashlib.sha256()
        with self._lock:
            reached, digest = self._kept.get(name, (0, None))
            return digest.copy() if reached == offset else None

    def keep(self, name: str, offset: int, digest: Any) -> None:
        """`offset` was acknowledged, and this is the hash of what is before it."""
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = offset, digest.copy()
            if len(self._kept) > self.MOST:
                del self._kept[next(iter(self._kept))]

    def forget(self, name: str) -> None:
        """The upload is gone."""
        with self._lock:
            self._kept.pop(name, None)


class Growing:
    """The file behind an upload that is still coming in, with one writer at a time.

    The lock is the kernel's, on the open file: it holds across processes and ends with its holder.
    Bytes are hashed as they come, sent to the disk soon and not kept in memory.
    """

    def __init__(self, path: Path, begun: Begun) -> None:
        self._path, self._begun = path, begun
        self._digest: Any = None
        self._file = _opened(path, os.O_CREAT)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ObjectBusy from None
        self._fresh = os.fstat(self._file.fileno()).st_size == 0

    def begin(self, offset: int) -> None:
        """Go on at `offset`, whatever a broken connection left behind it."""
        if os.fstat(self._file.fileno()).st_size < offset:
            raise ObjectFault("Bytes of an upload are missing; restore them from a backup.")
        self.cut(offset)
        self._digest = self._begun.at(self._path.name, offset)
        self._flow = Flow(self._file.fileno(), offset)

    @property
    def removed(self) -> bool:
        """Whether the object was deleted while it was held: what is written now is lost."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def abandon(self) -> None:
        """Leave no empty file behind, where nothing was to be written after all."""
        if self._fresh and not self.removed:
            self._path.unlink(missing_ok=True)

    def start(self, count: int) -> bytes:
        """The first bytes that are there already (the magic number may come in pieces)."""
        here = self._file.tell()
        self._file.seek(0)
        first = self._file.read(count)
        self._file.seek(here)
        return first

    def write(self, data: bytes) -> None:
        """Add bytes; not durable before `sync`."""
        if self._digest is not None:
            self._digest.update(data)
        self._file.write(data)
        self._file.flush()
        self._flow.written(self._file.tell())
        self._flow.passed(self._file.tell())

    def sync(self) -> int:
        """Make everything written durable; the new length comes back."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._fresh:
            _sync_folder(self._path.parent)
            self._fresh = False
        return self._file.tell()

    def acknowledged(self) -> None:
        """What the last `sync` made durable is committed: it will not change any more."""
        if self._digest is not None:
            self._begun.keep(self._path.name, self._file.tell(), self._digest)

    def cut(self, offset: int) -> None:
        """Forget everything after `offset` (a checksum that didn't match) and stand there."""
        self._digest = None
        self._file.flush()
        self._file.truncate(offset)
        self._file.seek(offset)

    def close(self) -> None:
        """Let go of the file, and of the lock with it."""
        self._file.close()
