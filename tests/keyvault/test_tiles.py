"""Tiles: the tree by pieces, as C2SP tlog-tiles names them; and packs, which are made of them."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from keyvault import tables
from keyvault.checkpoints import Checkpoint, write_checkpoint
from keyvault.errors import LedgerError
from keyvault.ledger import Ledger, stored_entries, verify, vouched_by
from keyvault.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from keyvault.packs import Pack, write_pack
from keyvault.signing import canonical, public_text
from keyvault.tiles import (
    LONGEST_LEAF,
    Layers,
    Tree,
    bundle,
    keep,
    names,
    read_bundle,
    read_name,
    tile_name,
)
from tests.keyvault.conftest import NOW, new_engine
from tests.keyvault.vectors import plain

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"t" * 32)
ORIGIN = "schakel/ledger/tiles"
SIZE = 600


def pen() -> Ledger:
    """A ledger of its own, without a vault."""
    return Ledger(ORIGIN, public_text(PRIVATE), vouched_by(ORIGIN, PRIVATE))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A ledger of 600 entries: two complete tiles, and one that isn't."""
    engine = new_engine(tmp_path_factory.mktemp("tiles") / "ledger.db")
    with engine.connect() as conn:
        tables.metadata.create_all(conn)
        Ledger.found(conn)
        for number in range(SIZE):
            pen().append(conn, "upload", {"number": number}, actor=None, now=NOW)
        conn.commit()
        yield conn
    engine.dispose()


def leaves_of(conn: Connection) -> list[bytes]:
    """The entries' bytes."""
    return [stored.leaf for stored in stored_entries(conn)]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((0, 0, 256), "tile/0/000"),
        ((0, 1234067, 256), "tile/0/x001/x234/067"),
        ((1, 7, 5), "tile/1/007.p/5"),
        ((None, 1000, 255), "tile/entries/x001/000.p/255"),
        ((63, 999, 1), "tile/63/999.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(
    place: tuple[int | None, int, int], name: str
) -> None:
    assert tile_name(*place) == name
    assert read_name(name) == place


@pytest.mark.parametrize(
    "name",
    [
        "", "tile", "tile/0/0", "tile/0/0000", "tile/64/000", "tile/00/000", "tile/0/x000/000",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/05", "tile/0/001/000", "/tile/0/000",
        "tile/0/../000", "tile/data/000", "tile/0/000\n", "tile/0/٠٠٠",
    ],
)  # fmt: skip
def test_other_paths_are_not_taken(name: str) -> None:
    with pytest.raises(LedgerError, match="no tile's path"):
        read_name(name)


@given(st.integers(0, 63), st.integers(0, 2**56), st.integers(1, 256))
def test_every_path_is_read_back(level: int, number: int, width: int) -> None:
    assert read_name(tile_name(level, number, width)) == (level, number, width)


def test_which_tiles_a_tree_has() -> None:
    assert list(names(0)) == []
    assert [tile_name(*place) for place in names(600)] == [
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
        "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2",
    ]  # fmt: skip


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_are_read_back_and_cut_ones_are_not(leaves: list[bytes]) -> None:
    data = bundle(leaves)
    assert read_bundle(data) == leaves
    ends = {len(bundle(leaves[:count])) for count in range(len(leaves) + 1)}
    for end in range(len(data)):
        if end not in ends:
            with pytest.raises(LedgerError, match="cut off"):
                read_bundle(data[:end])


def test_what_is_too_long_for_a_bundle() -> None:
    with pytest.raises(LedgerError, match="bytes at most"):
        bundle([b"x" * (LONGEST_LEAF + 1)])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_every_tree_on_the_way_has_its_tiles(grown: Connection, size: int) -> None:
    """The hashes are those of the plain definition, at every level."""
    leaves = leaves_of(grown)[:size]
    tree = Tree(grown, size)
    for level, number, width in names(size):
        if level is None:
            expected = leaves[number * 256 : number * 256 + width]
            assert tree.entries(number) == expected
            continue
        step = 256**level
        roots = [
            plain.merkle_root(leaves[start * step : (start + 1) * step])
            for start in range(number * 256, number * 256 + width)
        ]
        assert tree.tile(level, number) == b"".join(roots)
    assert tree.root(0, size) == plain.merkle_root(leaves)


def test_proofs_out_of_tiles_hold(grown: Connection) -> None:
    """RFC 6962 out of a handful of tiles, for every entry and many pairs of sizes."""
    leaves = leaves_of(grown)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    rng = random.Random(6)
    for size in (1, 2, 3, 255, 256, 257, 300, 512, SIZE):
        root, tree = tree_root(hashes[:size]), Tree(grown, size)
        for index in {0, size - 1, *rng.choices(range(size), k=20)}:
            proof = inclusion_proof(tree.root, index, size)
            verify_inclusion(hashes[index], index, size, proof, root)
        for old in {1, size, *rng.choices(range(1, size + 1), k=20)}:
            proof = consistency_proof(tree.root, old, size)
            verify_consistency(old, size, proof, tree_root(hashes[:old]), root)


@pytest.mark.parametrize(("level", "number"), [(0, 3), (0, -1), (1, 1), (2, 0), (-1, 0)])
def test_tiles_that_are_not_there(grown: Connection, level: int, number: int) -> None:
    with pytest.raises(LedgerError, match="no such tile"):
        Tree(grown, SIZE).tile(level, number)


def test_layers_are_the_tiles(grown: Connection) -> None:
    layers, made = Layers(), {}
    for leaf in leaves_of(grown):
        made |= {(level, number): h for level, number, h in layers.push(leaf_hash(leaf))}
    made |= {(level, number): hashes for level, number, hashes in layers.rest()}
    tree = Tree(grown, SIZE)
    places = [(level, number) for level, number, _ in names(SIZE) if level is not None]
    assert made == {place: tree.tile(*place) for place in places}


def test_a_third_level_begins_when_the_second_is_full() -> None:
    """65,537 leaves, without a database."""
    layers, made = Layers(), []
    for number in range(65_537):
        made += [(level, index) for level, index, _ in layers.push(leaf_hash(b"%d" % number))]
    assert made[-2:] == [(0, 255), (1, 0)]
    assert [(level, number) for level, number, _ in layers.rest()] == [(0, 256), (2, 0)]


# Harm to kept tiles


@pytest.mark.parametrize("level", [0, 1])
def test_a_changed_or_missing_tile_is_found(grown: Connection, level: int) -> None:
    column = tables.ledger_tile.c
    kept = Tree(grown, SIZE).tile(level, 0)
    row = (column.level == level, column.number == 0)
    for hashes in (kept[:-1] + bytes([kept[-1] ^ 1]), kept[:-32], kept + kept[:32]):
        with grown.begin_nested() as point:
            grown.execute(update(tables.ledger_tile).where(*row).values(hashes=hashes))
            assert [found.kind for found in verify(grown, pen().verifier)] == ["edited"]
            point.rollback()
    with grown.begin_nested() as point:
        grown.execute(delete(tables.ledger_tile).where(*row))
        text = f"Tile {level}/0 is missing."
        assert [found.text for found in verify(grown, pen().verifier)] == [text]
        with pytest.raises(LedgerError, match=f"Tile {level}/0 of the ledger is gone"):
            Tree(grown, SIZE).tile(level, 0)
        point.rollback()
    with grown.begin_nested() as point:
        grown.execute(insert(tables.ledger_tile).values(level=level, number=9, hashes=b""))
        assert [found.kind for found in verify(grown, pen().verifier)] == ["edited"]
        point.rollback()
    with grown.begin_nested() as point:
        grown.execute(delete(tables.ledger_entry).where(tables.ledger_entry.c.position == 599))
        with pytest.raises(LedgerError, match="Entries of the ledger are gone"):
            Tree(grown, SIZE).tile(0, 2)
        point.rollback()
    assert verify(grown, pen().verifier) == []


def test_a_second_level_grows_and_a_third_begins(
    grown: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiles of four instead of 256, so that there are five levels."""
    monkeypatch.setattr("keyvault.tiles.WIDTH", 4)
    with grown.begin_nested() as point:
        grown.execute(delete(tables.ledger_tile))
        for size in range(1, SIZE + 1):
            keep(grown, size)
        leaves = leaves_of(grown)
        for level, step in enumerate((1, 4, 16, 64, 256)):
            query = select(tables.ledger_tile.c.hashes).where(tables.ledger_tile.c.level == level)
            held = b"".join(grown.scalars(query.order_by(tables.ledger_tile.c.number)))
            roots = [plain.merkle_root(leaves[at : at + step]) for at in range(0, SIZE, step)]
            assert held == b"".join(roots)[: 32 * (SIZE // step)]
        point.rollback()


# Packs


def packed(folder: Path, leaves: list[bytes]) -> Path:
    """The auditor's pack over some entries."""
    root = tree_root([leaf_hash(leaf) for leaf in leaves])
    note = write_checkpoint(Checkpoint(ORIGIN, len(leaves), root), PRIVATE)
    assert write_pack(folder, leaves, note, [pen().verifier]) == len(leaves)
    return folder


def small(count: int) -> list[bytes]:
    """Entries without a database."""
    return [canonical({"version": 1, "position": n, "facts": {}}) for n in range(count)]


@pytest.mark.parametrize("size", [1, 5, 255, 256, 257, 512, 600])
def test_a_pack_is_verified_without_anybody(tmp_path: Path, size: int) -> None:
    """P07: with the checkpoints that others kept, too."""
    leaves = small(size)
    pack = Pack(packed(tmp_path / "pack", leaves))
    assert list(pack.leaves()) == leaves
    assert pack.verifiers == [pen().verifier]
    root = tree_root([leaf_hash(leaf) for leaf in leaves[:1]])
    old = write_checkpoint(Checkpoint(ORIGIN, 1, root), PRIVATE)
    assert pack.verify([pen().verifier], [old]) == []
    forged = write_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), PRIVATE)
    assert pack.verify(pack.verifiers, [forged])[0].kind == "rewritten"
    stranger = Ledger(ORIGIN, public_text(Ed25519PrivateKey.generate()), lambda *_: "").verifier
    assert pack.verify([stranger])[0].kind == "unsigned"


def flipped(folder: Path, path: Path, place: int, bit: int) -> list[str]:
    """What is found when one bit of a pack is another; the pack is whole again afterwards."""
    kept = path.read_bytes()
    changed = bytearray(kept)
    changed[place] ^= 1 << bit
    path.write_bytes(bytes(changed))
    try:
        return [found.kind for found in Pack(folder).verify([pen().verifier])]
    except LedgerError as fault:
        return [str(fault)]
    finally:
        path.write_bytes(kept)


def test_every_bit_of_a_small_tree_counts(tmp_path: Path) -> None:
    """Whichever bit is flipped, of entries, hashes or checkpoint: it is found."""
    folder = packed(tmp_path / "pack", small(2))
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "verifiers"]
    assert len(files) == 3
    tried = 0
    for path in files:
        for place in range(path.stat().st_size):
            for bit in range(8):
                assert flipped(folder, path, place, bit), (path, place, bit)
                tried += 1
    assert tried > 2500
    assert Pack(folder).verify([pen().verifier]) == []


def test_bits_of_a_large_tree_count(tmp_path: Path) -> None:
    folder = packed(tmp_path / "pack", small(1300))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if path.name != "verifiers"]
    assert len(files) == 14
    rng = random.Random(7)
    for path in files:
        for _ in range(4):
            place = rng.randrange(path.stat().st_size)
            assert flipped(folder, path, place, rng.randrange(8)), (path, place)


def test_what_does_not_belong_or_is_missing(tmp_path: Path) -> None:
    folder = packed(tmp_path / "pack", small(300))
    verifiers = [pen().verifier]
    stray = folder / "tile/0/002"
    stray.write_bytes(b"")
    assert [f.text for f in Pack(folder).verify(verifiers)] == [
        "tile/0/002 doesn't belong to this ledger."
    ]
    stray.unlink()
    (folder / "tile/1/000.p/1").unlink()
    assert [f.text for f in Pack(folder).verify(verifiers)] == ["tile/1/000.p/1 is missing."]
    (folder / "tile/entries/001.p/44").unlink()
    assert Pack(folder).verify(verifiers)[0].kind == "removed"
    (folder / "tile/entries/000").write_bytes(b"\xff")
    assert "cut off" in Pack(folder).verify(verifiers)[0].text


def test_what_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no checkpoint"):
        Pack(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"\xff")
    with pytest.raises(LedgerError, match="no text"):
        Pack(tmp_path)
    with (tmp_path / "checkpoint").open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(LedgerError, match="too long"):
        Pack(tmp_path)


def test_the_leaf_hash_is_the_specifications() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
