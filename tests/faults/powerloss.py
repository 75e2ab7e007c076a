"""Power that goes: what a disk holds when everything is dropped that wasn't synced.

An act's calls are recorded with what they wrote (`strace`), and replayed on a model of a disk that
keeps nothing by itself: a file's bytes are there once the file was synced, a name in a folder once
the folder was. Between two syncs nothing that is durable changes, so that the state after each of
them is every state that there is. SQLite's index (`-shm`) is memory and never comes back.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RECORDED = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "ftruncate,mkdir,lseek"
)
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_UNFINISHED = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_HANDLE = re.compile(r"(\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class _File:
    now: bytearray
    kept: bytes = b""


@dataclass
class Disk:
    """Files below a folder, as they are now and as they would be after the power went."""

    place: Path
    names: dict[str, _File] = field(default_factory=dict)
    kept_names: dict[str, _File] = field(default_factory=dict)
    _offsets: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.place.rglob("*"):
            if path.is_file() and not path.name.endswith("-shm"):
                data = path.read_bytes()
                self.names[str(path)] = _File(bytearray(data), data)
        self.kept_names = dict(self.names)

    def after(self) -> dict[str, bytes]:
        """What is there when the power has come back: path → bytes."""
        return {name: file.kept for name, file in self.kept_names.items()}

    def states(self, log: str) -> Iterator[dict[str, bytes]]:
        """The state before anything was done, and after each sync that a log tells of."""
        yield self.after()
        for line in _whole_lines(log):
            found = _CALL.match(line)
            if found and int(found[4]) >= 0:
                call, arguments, given = found[2], found[3], int(found[4])
                handle = _HANDLE.match(arguments)
                path = _decoded(handle[2]).decode() if handle else ""
                texts = [_decoded(text) for text in _TEXT.findall(arguments)]
                if self._does(call, arguments, handle[1] if handle else "", path, texts, given):
                    yield self.after()

    def _does(
        self, call: str, arguments: str, handle: str, path: str, texts: list[bytes], given: int
    ) -> bool:
        """Do a call on the model; whether it made something durable."""
        match call:
            case "openat":
                self._opened(texts[0].decode(), arguments, str(given))
            case "lseek":
                self._offsets[handle] = given
            case "write":
                offset = self._offsets.get(handle, 0)
                self._written(path, offset, texts, given)
                self._offsets[handle] = offset + given
            case "pwrite64":
                self._written(path, int(arguments.rpartition(", ")[2]), texts, given)
            case "ftruncate":
                if path in self.names:
                    data, size = self.names[path].now, int(arguments.rpartition(", ")[2])
                    del data[size:]
                    data.extend(bytes(size - len(data)))
            case "rename" | "renameat" | "renameat2":
                old, new = (text.decode() for text in texts)
                if old in self.names:
                    self.names[new] = self.names.pop(old)
            case "unlink" | "unlinkat":
                self.names.pop(texts[0].decode(), None)
            case "link" | "linkat":
                raise NotImplementedError("nothing here makes hard links")
            case "fsync" | "fdatasync":
                return self._synced(path)
        return False

    def _opened(self, name: str, arguments: str, handle: str) -> None:
        self._offsets[handle] = 0
        if name.startswith(str(self.place)) and not name.endswith("-shm"):
            if "O_CREAT" in arguments:
                self.names.setdefault(name, _File(bytearray()))
            if "O_TRUNC" in arguments and name in self.names:
                self.names[name].now.clear()

    def _written(self, path: str, offset: int, texts: list[bytes], given: int) -> None:
        if path in self.names:
            data = self.names[path].now
            data.extend(bytes(max(offset - len(data), 0)))
            data[offset : offset + given] = texts[0][:given]

    def _synced(self, path: str) -> bool:
        if path in self.names:
            self.names[path].kept = bytes(self.names[path].now)
            return True
        inside = {name for name in {*self.names, *self.kept_names} if _folder(name) == path}
        for name in inside:
            if name in self.names:
                self.kept_names[name] = self.names[name]
            else:
                del self.kept_names[name]
        return bool(inside)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _decoded(text: str | bytes) -> bytes:
    data: bytes = codecs.escape_decode(text)[0]  # type: ignore[attr-defined]
    return data


def _whole_lines(log: str) -> Iterator[str]:
    """The log's calls, those put together that were interrupted by another thread's."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        if found := _UNFINISHED.match(line):
            begun[found[1]] = line.removesuffix(" <unfinished ...>")
        elif found := _RESUMED.match(line):
            yield begun.pop(found[1], "") + found[2]
        else:
            yield line


def restored(place: Path, state: dict[str, bytes], original: Path) -> Path:
    """A folder with a state in it, in the place of the original."""
    for name, data in state.items():
        path = place / Path(name).relative_to(original)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(data)
        path.chmod(0o600)
    return place
