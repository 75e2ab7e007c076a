"""The ledger's tree in tiles (C2SP tlog-tiles): what proofs are made of, and what is handed out.

A tile is up to 256 hashes of one level, counted from the left: tile n of level 0 holds leaf hashes
256 n …, tile n of level 1 the roots over tiles 256 n … of level 0, and so on. What is complete is
kept in the database when the ledger grows over it, and never changes; the last leaf hashes are
made from entries when somebody asks. Entries travel in bundles of 256, each after its length in
two bytes (big-endian). The names are those of the specification:

    tile/0/x001/234          complete, number 1234 of level 0
    tile/0/x001/234.p/17     the same while it holds 17 hashes
    tile/entries/000.p/5     the first five entries
"""

import re
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, insert, select, update

from keyvault import tables
from keyvault.errors import LedgerError
from keyvault.merkle import leaf_hash, tree_root

WIDTH = 256
LONGEST_LEAF = (1 << 16) - 1
_HASH = 32
_NAME = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


def tile_name(level: int | None, number: int, width: int = WIDTH) -> str:
    """The path of a tile, or with level None of a bundle of entries."""
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.append(f"x{number % 1000:03}")
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{'entries' if level is None else level}/{'/'.join(reversed(parts))}{partial}"


def read_name(name: str) -> tuple[int | None, int, int]:
    """Level (None for entries), number and width in a path; LedgerError when it is no tile's."""
    found = _NAME.fullmatch(name)
    if found:
        level = None if found[1] == "entries" else int(found[1])
        number, width = int(re.sub("[x/]", "", found[2])), int(found[3] or WIDTH)
        if tile_name(level, number, width) == name:
            return level, number, width
    raise LedgerError("That is no tile's path; they look like tile/0/000 and tile/0/x001/234.p/5.")


def names(size: int) -> Iterator[tuple[int | None, int, int]]:
    """Every tile and bundle of a tree of `size` leaves: level, number, width."""
    levels: list[tuple[int | None, int]] = [(None, size)]
    level, count = 0, size
    while count:
        levels.append((level, count))
        level, count = level + 1, count // WIDTH
    for which, held in levels:
        for number in range(-(-held // WIDTH)):
            yield which, number, min(WIDTH, held - number * WIDTH)


def bundle(leaves: Iterable[bytes]) -> bytes:
    """Entries as they travel; LedgerError for one that is too long to."""
    return b"".join(_prefixed(leaf) for leaf in leaves)


def _prefixed(leaf: bytes) -> bytes:
    if len(leaf) > LONGEST_LEAF:
        raise LedgerError(
            f"A ledger entry has {LONGEST_LEAF} bytes at most; put what is long where it can be "
            "erased, and its hash here."
        )
    return len(leaf).to_bytes(2, "big") + leaf


def read_bundle(data: bytes) -> list[bytes]:
    """The entries in a bundle; LedgerError when it is cut off."""
    leaves, place = [], 0
    while place < len(data):
        end = place + 2 + int.from_bytes(data[place : place + 2], "big")
        if end > len(data) or place + 2 > len(data):
            raise LedgerError("A bundle of ledger entries is cut off.")
        leaves.append(data[place + 2 : end])
        place = end
    return leaves


class Tree:
    """The tree over the first `size` entries in the database, read tile by tile."""

    def __init__(self, conn: Connection, size: int) -> None:
        self.size = size
        self._conn = conn
        self._read: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile, as many as there are at this size."""
        if (level, number) not in self._read:
            self._read[level, number] = self._tile(level, number)
        return self._read[level, number]

    def _tile(self, level: int, number: int) -> bytes:
        width = self._width(level, number)
        if level == 0 and width < WIDTH:
            return b"".join(leaf_hash(leaf) for leaf in _leaves(self._conn, number, width))
        hashes = _kept(self._conn, level, number)
        if not isinstance(hashes, bytes) or len(hashes) < width * _HASH:
            raise LedgerError(f"Tile {level}/{number} of the ledger is gone; {_RUN}")
        return hashes[: width * _HASH]

    def _width(self, level: int, number: int) -> int:
        width = (self.size >> 8 * level) - number * WIDTH if min(level, number) >= 0 else 0
        if width < 1:
            raise LedgerError("The ledger has no such tile.")
        return min(width, WIDTH)

    def entries(self, number: int) -> list[bytes]:
        """The leaves of a bundle."""
        return _leaves(self._conn, number, self._width(0, number))

    def root(self, start: int, end: int) -> bytes:
        """The root over the leaves start … end - 1, where that is a subtree of RFC 6962."""
        count = end - start
        if count & count - 1 == 0:
            return self._node(count.bit_length() - 1, start // count)
        middle = start + (1 << count.bit_length() - 1)
        return tree_root([self._whole(start, middle), self.root(middle, end)])

    def _whole(self, start: int, end: int) -> bytes:
        return self._node((end - start).bit_length() - 1, start // (end - start))

    def _node(self, height: int, place: int) -> bytes:
        """The root of the complete subtree at a place among those of its height."""
        level, up = divmod(height, 8)
        number, first = divmod(place << up, WIDTH)
        hashes = _split(self.tile(level, number))
        return tree_root(hashes[first : first + (1 << up)])


_RUN = "run `schakel ledger verify`."


def keep(conn: Connection, size: int) -> None:
    """Keep what a ledger grown to `size` completed; in the transaction of the growth.

    A tile of leaf hashes once it is complete, and its root in the tile above it, which grows.
    """
    if size % WIDTH:
        return
    number = size // WIDTH - 1
    hashes = b"".join(leaf_hash(leaf) for leaf in _leaves(conn, number, WIDTH))
    conn.execute(insert(tables.ledger_tile).values(level=0, number=number, hashes=hashes))
    level, place = 0, WIDTH - 1
    while place == WIDTH - 1:
        root, level = tree_root(_split(hashes)), level + 1
        number, place = divmod(number, WIDTH)
        hashes = root
        if place:
            hashes = (_kept(conn, level, number) or b"") + root
            column = tables.ledger_tile.c
            row = (column.level == level, column.number == number)
            conn.execute(update(tables.ledger_tile).where(*row).values(hashes=hashes))
        else:
            row_above = {"level": level, "number": number, "hashes": root}
            conn.execute(insert(tables.ledger_tile).values(**row_above))


def _kept(conn: Connection, level: int, number: int) -> bytes | None:
    column = tables.ledger_tile.c
    query = select(column.hashes).where(column.level == level, column.number == number)
    return conn.scalar(query)


def _leaves(conn: Connection, number: int, width: int) -> list[bytes]:
    column = tables.ledger_entry.c
    first = number * WIDTH
    query = select(column.leaf).where(column.position.between(first, first + width - 1))
    leaves = list(conn.scalars(query.order_by(column.position)))
    if len(leaves) != width or not all(isinstance(leaf, bytes) for leaf in leaves):
        raise LedgerError(f"Entries of the ledger are gone; {_RUN}")
    return leaves


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + _HASH] for start in range(0, len(hashes), _HASH)]


class Layers:
    """Makes tiles out of leaf hashes, one after the other: for whoever goes through all entries."""

    def __init__(self) -> None:
        self._open: list[list[bytes]] = []
        self._done: list[int] = []

    def push(self, hashed: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf's hash; level, number and hashes of each tile that it completes."""
        level = 0
        while True:
            if level == len(self._open):
                self._open.append([])
                self._done.append(0)
            self._open[level].append(hashed)
            if len(self._open[level]) < WIDTH:
                return
            yield level, self._done[level], b"".join(self._open[level])
            hashed = tree_root(self._open[level])
            self._open[level] = []
            self._done[level] += 1
            level += 1

    def rest(self) -> Iterator[tuple[int, int, bytes]]:
        """The tiles that are not complete."""
        for level, (number, hashes) in enumerate(zip(self._done, self._open, strict=True)):
            if hashes:
                yield level, number, b"".join(hashes)
