"""The auditor's pack: a whole ledger as files, to be verified where nobody asks the service.

Its layout is that of a log that is served by C2SP tlog-tiles, so that other people's tools read it:

    checkpoint              the signed note over all entries
    tile/entries/…          the entries
    tile/0/…, tile/1/…      the tree's hashes
    verifiers               the ledger's verifier keys (C2SP signed-note), one in a line

Who verifies it takes the verifier keys from elsewhere: those in the pack are its maker's word.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from keyvault.errors import LedgerError
from keyvault.ledger import Problem, Stored, verify
from keyvault.merkle import leaf_hash
from keyvault.tiles import WIDTH, Layers, bundle, names, read_bundle, tile_name

CHECKPOINT = "checkpoint"
VERIFIERS = "verifiers"
_MOST = 1 << 24
"""Bytes of one file in a pack: 256 entries of the longest are as many."""


def write_pack(
    folder: Path, leaves: Iterable[bytes], checkpoint: str, verifiers: Iterable[str]
) -> int:
    """Write a pack into a new folder; how many entries it holds."""
    folder.mkdir(parents=True)
    layers, held, size = Layers(), list[bytes](), 0
    for leaf in leaves:
        for level, number, hashes in layers.push(leaf_hash(leaf)):
            _write(folder, tile_name(level, number), hashes)
        held.append(leaf)
        size += 1
        if len(held) == WIDTH:
            _write(folder, tile_name(None, size // WIDTH - 1), bundle(held))
            held.clear()
    if held:
        _write(folder, tile_name(None, size // WIDTH, len(held)), bundle(held))
    for level, number, hashes in layers.rest():
        _write(folder, tile_name(level, number, len(hashes) // 32), hashes)
    _write(folder, CHECKPOINT, checkpoint.encode())
    _write(folder, VERIFIERS, "".join(f"{key}\n" for key in verifiers).encode())
    return size


def _write(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Pack:
    """A pack on the disk, not yet believed."""

    def __init__(self, folder: Path) -> None:
        """LedgerError when the folder holds no pack."""
        self._folder = folder
        self.checkpoint = self._text(CHECKPOINT)
        self.verifiers = self._text(VERIFIERS).split("\n")[:-1]
        parts = (_relative(folder, path) for path in _files(folder / "tile"))
        self._names = frozenset(parts)

    def _text(self, name: str) -> str:
        try:
            return self._bytes(name).decode()
        except UnicodeDecodeError:
            raise LedgerError(f"The pack's {name} is no text.") from None

    def _bytes(self, name: str) -> bytes:
        path = self._folder / name
        try:
            if path.stat().st_size > _MOST:
                raise LedgerError(f"The pack's {name} is too long to be one.")
            return path.read_bytes()
        except OSError:
            raise LedgerError(f"The pack has no {name}, or it can't be read.") from None

    def leaves(self) -> Iterator[bytes]:
        """The entries, in order; LedgerError for a bundle that is cut off."""
        number = 0
        while True:
            widths = [w for w in range(WIDTH, 0, -1) if tile_name(None, number, w) in self._names]
            if not widths:
                return
            yield from read_bundle(self._bytes(tile_name(None, number, widths[0])))
            if widths[0] < WIDTH:
                return
            number += 1

    def verify(self, verifiers: Iterable[str], checkpoints: Iterable[str] = ()) -> list[Problem]:
        """Everything that is wrong with it: see `keyvault.ledger.verify`."""
        try:
            return [*self._verified(list(verifiers), list(checkpoints))]
        except LedgerError as fault:
            return [Problem("removed", None, str(fault))]

    def _verified(self, verifiers: list[str], checkpoints: list[str]) -> Iterator[Problem]:
        layers, size, expected = Layers(), 0, {CHECKPOINT: b""}

        def seen() -> Iterator[Stored]:
            nonlocal size
            for leaf in self.leaves():
                for level, number, hashes in layers.push(leaf_hash(leaf)):
                    expected[tile_name(level, number)] = hashes
                yield Stored(size, leaf)
                size += 1

        yield from verify(seen(), verifiers, checkpoints=[self.checkpoint, *checkpoints])
        for level, number, hashes in layers.rest():
            expected[tile_name(level, number, len(hashes) // 32)] = hashes
        meant = {tile_name(*place) for place in names(size)}
        for name in sorted(meant | self._names):
            if name not in meant:
                yield Problem("edited", None, f"{name} doesn't belong to this ledger.")
            elif name not in self._names:
                yield Problem("removed", None, f"{name} is missing.")
            elif name in expected and self._bytes(name) != expected[name]:
                yield Problem("edited", None, f"{name} is not that of the entries.")


def _files(folder: Path) -> Iterator[Path]:
    for place, _, files in os.walk(folder):
        yield from (Path(place) / name for name in files)


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
