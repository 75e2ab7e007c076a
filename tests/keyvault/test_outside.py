"""Vectors by others: NIST, Wycheproof, transparency-dev."""

import base64
import gzip
import json
import re
import tarfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cryptography_vectors
import numpy as np
import pytest

from keyvault.errors import LedgerError, SealError, SignatureError, TokenError
from keyvault.merkle import (
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from keyvault.primitives import hkdf, is_mac, mac
from keyvault.pseudonyms import _Cmac
from keyvault.sealing import gcm_open
from keyvault.secret import FileKey
from keyvault.signing import check_bytes, to_base64url
from keyvault.tokens import verify_assertion, verify_token

NOW = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)


def test_cmac_of_whole_blocks_is_nists() -> None:
    """NIST SP 800-38B, AES-256: the cases whose messages are whole blocks, as ours all are."""
    with cryptography_vectors.open_vector_file("CMAC/nist-800-38b-aes256.txt", "r") as file:
        text = file.read()
    cases = re.findall(r"KEY = (\w+)\s+MESSAGE = (\w+)\s+OUTPUT = (\w+)", text)
    whole = [case for case in cases if len(case[1]) % 32 == 0]
    assert {len(message) // 2 for _, message, _ in whole} == {16, 64}
    for key, message, output in whole:
        mac = _Cmac(FileKey(bytes.fromhex(key), "pseudonym", "nist"))
        data = bytes.fromhex(message)
        state, last = mac.state(data[:-16]), mac.state(bytes(0))
        blocks = (state ^ last).reshape(1, 2) ^ _words(data[-16:])
        assert mac.finish(blocks).tobytes().hex() == output.lower()


def _words(block: bytes) -> Any:
    return np.frombuffer(block, dtype=np.uint64).reshape(1, 2)


def _wycheproof(vectors: Path, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    with gzip.open(vectors / "wycheproof" / f"{name}_test.json.gz") as file:
        groups = json.load(file)["testGroups"]
    return [(group, case) for group in groups for case in group["tests"]]


@pytest.mark.vectors
def test_aes_gcm(vectors: Path) -> None:
    """Our wrapper takes 256-bit keys, nonces of 96 bits and whole tags; nothing invalid opens."""
    tried = Counter[str]()
    for group, case in _wycheproof(vectors, "aes_gcm"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        key, iv, aad, ct, tag = (bytes.fromhex(case[n]) for n in ("key", "iv", "aad", "ct", "tag"))
        tried[case["result"]] += 1
        if case["result"] == "valid":
            assert gcm_open(key, iv + ct + tag, aad).hex() == case["msg"]
        else:
            with pytest.raises(SealError):
                gcm_open(key, iv + ct + tag, aad)
    assert tried["valid"] > 30
    assert tried["invalid"] > 20


@pytest.mark.vectors
def test_ed25519(vectors: Path) -> None:
    tried = Counter[str]()
    for group, case in _wycheproof(vectors, "ed25519"):
        public = to_base64url(bytes.fromhex(group["publicKey"]["pk"]))
        signature = to_base64url(bytes.fromhex(case["sig"]))
        tried[case["result"]] += 1
        if case["result"] == "valid":
            check_bytes(bytes.fromhex(case["msg"]), signature, public)
        else:
            with pytest.raises(SignatureError):
                check_bytes(bytes.fromhex(case["msg"]), signature, public)
    assert tried["valid"] > 80
    assert tried["invalid"] > 50


@pytest.mark.vectors
def test_hkdf(vectors: Path) -> None:
    """Ours has no salt and gives 32 bytes; of the cases without salt, as many as they ask for."""
    tried = 0
    for _, case in _wycheproof(vectors, "hkdf_sha256"):
        if case["salt"] or case["result"] != "valid":
            continue
        given = hkdf(bytes.fromhex(case["ikm"]), bytes.fromhex(case["info"]))
        expected = bytes.fromhex(case["okm"])[:32]
        assert given[: len(expected)] == expected
        tried += 1
    assert tried > 15


@pytest.mark.vectors
def test_hmac(vectors: Path) -> None:
    """Whole tags only: a cut one is no tag, valid as others may call it."""
    tried = Counter[str]()
    for group, case in _wycheproof(vectors, "hmac_sha256"):
        key, data, tag = (bytes.fromhex(case[name]) for name in ("key", "msg", "tag"))
        whole = group["tagSize"] == 256
        tried[f"{case['result']} {whole}"] += 1
        assert is_mac(tag, key, data) == (case["result"] == "valid" and whole)
        if case["result"] == "valid":
            assert mac(key, data)[: len(tag)] == tag
    assert tried["valid True"] > 20
    assert tried["invalid True"] > 40
    assert tried["valid False"] > 20


@pytest.mark.vectors
def test_no_jws_of_another_kind_is_taken_for_a_token(vectors: Path) -> None:
    """None of these is EdDSA, so neither door opens to any, whatever key the attacker names."""
    cases = _wycheproof(vectors, "json_web_signature")
    for group, case in cases:
        jws = case["jws"] if isinstance(case["jws"], str) else json.dumps(case["jws"])
        key = group.get("public") or group["private"]
        x = key.get("x")
        with pytest.raises(TokenError):
            verify_token(jws, {"keys": [key]}, issuer="i", audience="a", now=NOW)
        with pytest.raises(TokenError):
            verify_assertion(jws, lambda _: x, audience="a", now=NOW)  # noqa: B023
    assert len(cases) == 401


@pytest.mark.vectors
def test_merkle_proofs(vectors: Path) -> None:
    """All 518 inclusion and consistency proofs, of trees and of subtrees, good and damaged."""
    tried = Counter[str]()
    with tarfile.open(vectors / "merkle" / "testdata.tar.gz") as archive:
        for member in archive:
            if not member.name.endswith(".json"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            case, kind = json.load(file), member.name.split("/")[1]
            tried[kind] += 1
            assert _proof_fails(kind, case) == case["wantErr"], member.name
    assert tried.total() == 518
    assert len(tried) == 4


def _proof_fails(kind: str, case: dict[str, Any]) -> bool:
    def raw(text: str) -> bytes:
        return base64.b64decode(text or "")

    proof = [raw(item) for item in case["proof"] or []]
    try:
        if kind == "inclusion":
            hashed, root = raw(case["leafHash"]), raw(case["root"])
            verify_inclusion(hashed, case["leafIdx"], case["treeSize"], proof, root)
        elif kind == "subtreeinclusion":
            hashed, root = raw(case["leafHash"]), raw(case["root"])
            place = (case["leafIdx"], case["start"], case["end"])
            verify_subtree_inclusion(hashed, *place, proof, root)
        elif kind == "consistency":
            roots = (raw(case["root1"]), raw(case["root2"]))
            verify_consistency(case["size1"], case["size2"], proof, *roots)
        else:
            roots = (raw(case["root1"]), raw(case["root2"]))
            place = (case["start"], case["end"], case["size"])
            verify_subtree_consistency(*place, proof, *roots)
    except LedgerError:
        return True
    return False
