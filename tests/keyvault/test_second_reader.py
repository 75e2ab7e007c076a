"""The auditor's pack, read by a program that shares no code with ours (`reader.mjs`, Node)."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.checkpoints import Checkpoint, write_checkpoint
from keyvault.ledger import Ledger
from keyvault.merkle import leaf_hash, tree_root
from keyvault.packs import Pack, write_pack
from keyvault.signing import canonical, public_text
from tests.conftest import missing

READER = Path(__file__).with_name("reader.mjs")
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
ORIGIN = "schakel/ledger/reader"
VERIFIER = Ledger(ORIGIN, public_text(PRIVATE), lambda *_: "").verifier
LEAVES = [
    canonical({"version": 1, "position": n, "kind": "upload.received", "facts": {"n": "é"}})
    for n in range(600)
]


@pytest.fixture(scope="module")
def node() -> str:
    """Debian's package nodejs."""
    program = shutil.which("node")
    if program is None:
        missing("the program `node` is not installed (Debian package nodejs)")
    assert program is not None
    return program


def note(size: int) -> str:
    """The checkpoint over the first entries."""
    root = tree_root([leaf_hash(leaf) for leaf in LEAVES[:size]])
    return write_checkpoint(Checkpoint(ORIGIN, size, root), PRIVATE)


def packed(folder: Path, size: int) -> Path:
    write_pack(folder, LEAVES[:size], note(size), [VERIFIER])
    return folder


def read(node: str, pack: Path, *notes: Path) -> tuple[int, str]:
    """The reader's exit code, and what it says."""
    ended = subprocess.run(
        [node, READER, pack, VERIFIER, *notes], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout or ended.stderr


@pytest.mark.parametrize("size", [1, 256, 257, 600])
def test_both_readers_agree_on_a_whole_pack(node: str, tmp_path: Path, size: int) -> None:
    """P07: an auditor needs no program of ours."""
    pack = packed(tmp_path / "pack", size)
    kept = tmp_path / "kept"
    kept.write_text(note(max(size // 3, 1)))
    code, told = read(node, pack, kept)
    assert code == 0, told
    root = tree_root([leaf_hash(leaf) for leaf in LEAVES[:size]])
    expected = {"size": size, "root": root.hex(), "kinds": {"upload.received": size}}
    assert json.loads(told) == expected
    assert Pack(pack).verify([VERIFIER], [kept.read_text()]) == []


def test_both_readers_find_the_same_harm(node: str, tmp_path: Path) -> None:
    """A bit anywhere, a file that is gone or doesn't belong, a history that was rewritten."""
    pack, rng = packed(tmp_path / "pack", 300), random.Random(3)
    files = sorted(path for path in pack.rglob("*") if path.is_file() and path.name != "verifiers")
    assert len(files) == 6
    for path in files:
        kept = path.read_bytes()
        place = rng.randrange(len(kept))
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 4]) + kept[place + 1 :])
        code, told = read(node, pack)
        assert (code, bool(Pack(pack).verify([VERIFIER]))) == (1, True), (path, told)
        path.unlink()
        assert read(node, pack)[0] == 1
        path.write_bytes(kept)
    stray = pack / "tile/0/007"
    stray.write_bytes(b"")
    assert "doesn't belong" in read(node, pack)[1]
    stray.unlink()
    forged = tmp_path / "forged"
    forged.write_text(write_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), PRIVATE))
    assert read(node, pack, forged) == (1, "history was rewritten\n")
    forged.write_text(note(301))
    assert "removed" in read(node, pack, forged)[1]
    assert read(node, pack)[0] == 0
