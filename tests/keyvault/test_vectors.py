"""Byte formats that must not change: each against vectors made by a second description."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault import signing
from keyvault.checkpoints import read_checkpoint
from keyvault.custody import Lock, custody_at
from keyvault.keyring import RoleKeys, SealedKey, Sealer, public_half
from keyvault.ledger import Ledger, verify
from keyvault.merkle import Frontier, leaf_hash
from keyvault.pseudonyms import Origins, Reading, check, pseudonyms, subject_ids
from keyvault.sealing import open_bytes, read_table
from keyvault.secret import FileKey, reveal
from keyvault.signing import public_text
from keyvault.tiles import Layers, bundle, read_bundle, read_name, tile_name
from tests.keyvault.vectors.generate import FOLDER, VECTORS


def load(name: str) -> dict[str, Any]:
    """One vector file."""
    vectors: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return vectors


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_the_generator_still_makes_these_files(name: str) -> None:
    assert VECTORS[name]() == load(name)


def test_every_vector_file_is_described() -> None:
    described = (FOLDER / "README.md").read_text()
    assert {file.stem for file in FOLDER.glob("*.json")} == set(VECTORS)
    assert all(f"`{name}.json`" in described for name in VECTORS)


def test_a_format_changes_by_a_new_version_only() -> None:
    """The vectors of every version that was ever written under are the ones they were."""
    frozen = [line.split() for line in (FOLDER / "frozen.txt").read_text().splitlines()]
    assert {name for name, _, _ in frozen} == set(VECTORS)
    for name, version, sha256 in frozen:
        data = (FOLDER / f"{name}.json").read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, (
            f"{name} is not version {version} any more: keep its vectors, and give what is new a "
            "version and vectors of its own"
        )


def test_subject_ids() -> None:
    """S15: the same first sighting gives the same subject for ever."""
    vectors = load("subject_id")
    cases = vectors["cases"]
    columns = {name: pa.array([case[name] for case in cases]) for name in Origins._fields}
    key = FileKey(bytes.fromhex(vectors["key"]), "subject-id", "neet")
    found = subject_ids(key, Origins(**columns))
    assert [value.hex() for value in found.to_pylist()] == [case["subject_id"] for case in cases]


def test_pseudonyms() -> None:
    """S15: the pseudonyms of a project never change."""
    vectors = load("pseudonym")
    key = FileKey(bytes.fromhex(vectors["key"]), "pseudonym", "neet")
    for case in vectors["cases"]:
        subject = pa.array([bytes.fromhex(case["subject_id"])], pa.binary(16))
        found = pseudonyms(key, case["unit_type"], case["version"], subject)
        assert found.to_pylist() == [case["pseudonym"]]
        assert check(case["pseudonym"]) == Reading(case["unit_type"], case["version"])


def test_signatures() -> None:
    vectors = load("signature")
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["private"]))
    assert signing.canonical(vectors["document"]).decode() == vectors["signed_bytes"]
    assert signing.sign(vectors["document"], private, person="dirk") == vectors["signature"]
    signing.verify(vectors["document"], vectors["signature"], vectors["signature"]["key"])


def test_receipts() -> None:
    vectors = load("receipt")
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["private"]))
    unsigned = {name: value for name, value in vectors["receipt"].items() if name != "signature"}
    assert signing.seal_document(unsigned, private) == vectors["receipt"]
    signing.verify_receipt(vectors["receipt"], vectors["receipt"]["signature"]["key"])


def test_manifests() -> None:
    vectors = load("manifest")
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["private"]))
    document = vectors["manifest"]
    assert signing.canonical(document).decode() == vectors["signed_bytes"]
    sealed = signing.seal_document(document, private)
    assert signing.canonical(sealed["signature"]).decode() == vectors["signature"]
    signing.verify_receipt(sealed, json.loads(vectors["signature"])["key"])


def test_tiles() -> None:
    vectors = load("tiles")
    layers, made = Layers(), []
    for position in range(vectors["leaves"]):
        made += layers.push(leaf_hash(signing.canonical({"position": position})))
    found = {
        tile_name(level, number, len(hashes) // 32): hashes.hex()
        for level, number, hashes in (*made, *layers.rest())
    }
    assert found == vectors["tiles"]
    leaves = [leaf.encode() for leaf in vectors["bundle"]["leaves"]]
    assert bundle(leaves).hex() == vectors["bundle"]["data"]
    assert read_bundle(bytes.fromhex(vectors["bundle"]["data"])) == leaves
    for case in vectors["names"]:
        place = (case["level"], case["number"], case["width"])
        assert (tile_name(*place), read_name(case["name"])) == (case["name"], place)


def test_permits() -> None:
    vectors = load("permit")
    body, envelope = vectors["body"].encode(), vectors["envelope"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["private"]))
    assert signing.canonical(envelope["permit"]) == body
    assert signing.sign_bytes(body, private) == envelope["signature"]
    signing.check_bytes(body, envelope["signature"], envelope["key"])


def test_ledger_leaves_and_checkpoints() -> None:
    vectors = load("ledger")
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vectors["private"]))
    ledger = Ledger(vectors["origin"], public_text(private), lambda *_: "")
    assert ledger.verifier == vectors["verifier"]
    frontier = Frontier()
    assert frontier.root().hex() == vectors["empty_root"]
    for entry in vectors["entries"]:
        frontier.push(leaf_hash(entry["leaf"].encode()))
        checkpoint = read_checkpoint(entry["checkpoint"], [vectors["verifier"]])
        assert (checkpoint.size, checkpoint.root) == (frontier.size, frontier.root())
        assert checkpoint.origin == vectors["origin"]
    leaves = [entry["leaf"].encode() for entry in vectors["entries"]]
    last = vectors["entries"][-1]["checkpoint"]
    assert verify(leaves, vectors["verifier"], checkpoints=[last]) == []


def test_sealed_keys_and_credentials() -> None:
    vectors = load("sealed_key")
    private = bytes.fromhex(vectors["private"])
    keys = RoleKeys.from_credential(vectors["credential"].encode())
    assert keys.credential().decode() == vectors["credential"]
    assert public_half(private).hex() == vectors["public"]
    assert Sealer.from_json(vectors["publics"]).to_json() == vectors["publics"]
    for case in vectors["cases"]:
        sealed = SealedKey.from_bytes(case["sealed"].encode())
        assert sealed.to_bytes().decode() == case["sealed"]
        assert sealed.info.decode() == case["info"]
        assert reveal(keys.open(sealed)).hex() == case["key"]


def test_sealed_bytes() -> None:
    vectors = load("sealed_bytes")
    key = FileKey(bytes.fromhex(vectors["key"]), "payload", "d-1")
    for case in vectors["cases"]:
        assert open_bytes(bytes.fromhex(case["sealed"]), key, case["binding"]).hex() == case["data"]


def test_sealed_tables() -> None:
    vectors = load("sealed_table")
    key = FileKey(bytes.fromhex(vectors["key"]), "payload", "d-1")
    table = read_table(base64.b64decode(vectors["file"]), key, vectors["binding"])
    rows = [{**row, "row_key": row["row_key"].hex()} for row in table.to_pylist()]
    assert rows == vectors["rows"]


@pytest.mark.parametrize("name", ["custody", "custody_passphrase", "custody_shares"])
def test_root_key_files(tmp_path: Path, name: str) -> None:
    """Bare, and locked by what people hold: it opens for ever with what they wrote down."""
    vectors = load(name)
    path = tmp_path / "root.json"
    path.write_text(vectors["file"])
    path.chmod(0o600)
    custody = custody_at(path)
    if isinstance(custody, Lock):
        words = [vectors["passphrase"]] if "passphrase" in vectors else vectors["shares"][1:]
        custody = [custody.offer(said) for said in words][-1]
    assert custody.versions() == (1, 3)
    for case in vectors["cases"]:
        wrapped, aad = bytes.fromhex(case["wrapped"]), bytes.fromhex(case["aad"])
        assert custody.unwrap(case["version"], wrapped, aad).hex() == case["data"]
