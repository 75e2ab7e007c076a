"""Writes the vectors beside it: `python -m tests.keyvault.vectors.generate`.

Keys are SHA-256 of a name, so that nothing here is secret and everything can be made again. Three
formats take randomness that can't be chosen (HPKE, Parquet, SLIP-39): their files are made when
they are absent and otherwise opened and kept, because what was sealed once must open for ever.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import shamir_mnemonic
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.keyvault.vectors import plain

FOLDER = Path(__file__).parent


def key(name: str) -> bytes:
    """A key that everybody may know."""
    return hashlib.sha256(f"schakel test key: {name}".encode()).digest()


def subject_id() -> dict[str, Any]:
    origins = [
        ("child-benefit", "2024", 1, 1, "self"),
        ("child-benefit", "2024", 1, 1, "mother"),
        ("child-benefit", "2024", 1, 2, "self"),
        ("child-benefit", "2024", 2, 1, "self"),
        ("child-benefit", "2025", 1, 1, "self"),
        ("employment-service", "2024", 3, 10_000_000, "self"),
        ("a", "bc", 1, 1, "d"),
        ("ab", "c", 1, 1, "d"),
        ("é", "2024Q1", 2**63 - 1, 2**63 - 1, "père"),
        ("x" * 300, "2024", 1, 1, "self"),
    ]
    cases = []
    for dataset, period, generation, record, reference in origins:
        message = plain.subject_message(dataset, period, generation, record, reference)
        cases.append(
            {
                "dataset": dataset,
                "period": period,
                "generation": generation,
                "record": record,
                "reference": reference,
                "message": message.hex(),
                "subject_id": plain.cmac(key("subject id"), message).hex(),
            }
        )
    return {"key": key("subject id").hex(), "cases": cases}


def pseudonym() -> dict[str, Any]:
    cases = []
    for unit_type, letter in (("person", "P"), ("household", "H"), ("enterprise", "E")):
        for version in (1, 2, 31):
            for subject in (bytes(16), b"\xff" * 16, key(f"subject {unit_type}")[:16]):
                text = plain.pseudonym(key("pseudonym"), letter, version, subject)
                cases.append(
                    {
                        "unit_type": unit_type,
                        "version": version,
                        "subject_id": subject.hex(),
                        "pseudonym": text,
                    }
                )
    return {"key": key("pseudonym").hex(), "cases": cases}


def signature() -> dict[str, Any]:
    seed = key("person")
    document = {
        "type": "approval",
        "version": 1,
        "application": "neet-1",
        "advice_sha256": key("advice").hex(),
        "decision": "approved",
        "reason": "Évenredig: “ja”.",
        "by": "dirk",
        "at": "2025-03-03T12:00:00Z",
    }
    signed = plain.canonical(document)
    return {
        "private": seed.hex(),
        "document": document,
        "signed_bytes": signed.decode(),
        "signature": {
            "person": "dirk",
            "key": plain.b64u(plain.ed25519_public(seed)),
            "signature": plain.b64u(plain.ed25519_sign(seed, signed)),
        },
    }


def receipt() -> dict[str, Any]:
    seed = key("receipt")
    document = {
        "type": "receipt",
        "version": 1,
        "delivery": "d-1",
        "sha256": key("upload").hex(),
        "position": 7,
        "at": "2025-03-03T12:00:00Z",
    }
    signature = {
        "key": plain.b64u(plain.ed25519_public(seed)),
        "signature": plain.b64u(plain.ed25519_sign(seed, plain.canonical(document))),
    }
    return {"private": seed.hex(), "receipt": {**document, "signature": signature}}


def manifest() -> dict[str, Any]:
    seed = key("receipt")
    document = {
        "type": "manifest",
        "version": 1,
        "project": "neet",
        "permit": "permit-1",
        "period": "2024",
        "deliveries": ["d-1", "d-2"],
        "files": [{"path": "data/units.csv", "bytes": 12, "sha256": key("file").hex()}],
    }
    signature = {
        "key": plain.b64u(plain.ed25519_public(seed)),
        "signature": plain.b64u(plain.ed25519_sign(seed, plain.canonical(document))),
    }
    return {
        "about": "the package holds the two as manifest.json and manifest.sig; what a manifest "
        "lists is policies' to say, what is signed are its canonical bytes",
        "private": seed.hex(),
        "manifest": document,
        "signed_bytes": plain.canonical(document).decode(),
        "signature": plain.canonical(signature).decode(),
    }


def tiles() -> dict[str, Any]:
    leaves = [plain.canonical({"position": number}) for number in range(300)]
    return {
        "about": 'leaves are {"position":n} for n = 0 … 299',
        "leaves": len(leaves),
        "tiles": {name: data.hex() for name, data in plain.tiles(leaves).items()},
        "bundle": {"leaves": ["", "a", "é"], "data": plain.bundle([b"", b"a", "é".encode()]).hex()},
        "names": [
            {"level": level, "number": number, "width": width, "name": name}
            for level, number, width, name in (
                (0, 0, 256, "tile/0/000"),
                (0, 1234067, 256, "tile/0/x001/x234/067"),
                (2, 5, 17, "tile/2/005.p/17"),
                (None, 999, 256, "tile/entries/999"),
                (None, 1000, 1, "tile/entries/x001/000.p/1"),
            )
        ],
    }


def permit() -> dict[str, Any]:
    seed = key("permit")
    document = {
        "type": "permit",
        "version": 1,
        "id": "permit-1",
        "project": "neet",
        "thresholds": {"k": 5, "suppression": 0.1},
    }
    body = plain.canonical(document)
    return {
        "about": "the signature covers exactly `body`; members of a permit are policies' to say",
        "private": seed.hex(),
        "body": body.decode(),
        "envelope": {
            "permit": document,
            "key": plain.b64u(plain.ed25519_public(seed)),
            "key_version": 1,
            "signature": plain.b64u(plain.ed25519_sign(seed, body)),
            "state": "in_force",
        },
    }


def ledger() -> dict[str, Any]:
    seed, origin = key("ledger"), "schakel/ledger/0123456789abcdef"
    leaves: list[bytes] = []
    entries = []
    for position in range(9):
        document = {
            "version": 1,
            "position": position,
            "at": f"2025-03-03T12:00:0{position}Z",
            "kind": "delivery.received",
            "actor": None if position == 0 else "holder-1",
            "facts": {"delivery": f"d-{position}", "bytes": 1000 * position},
        }
        leaves.append(plain.canonical(document))
        entries.append(
            {
                "at": document["at"],
                "kind": document["kind"],
                "actor": document["actor"],
                "facts": document["facts"],
                "leaf": leaves[-1].decode(),
                "checkpoint": plain.checkpoint(origin, seed, leaves),
            }
        )
    return {
        "private": seed.hex(),
        "origin": origin,
        "verifier": plain.verifier(origin, seed),
        "empty_root": plain.merkle_root([]).hex(),
        "entries": entries,
    }


def sealed_key() -> dict[str, Any]:
    private = hashlib.sha512(b"schakel test key: role").digest() + key("role exchange")
    public = plain.role_public(private)
    kept = _kept("sealed_key")
    cases = kept["cases"] if kept else [_new_sealed(private, owner) for owner in ("d-1", "neet")]
    for case in cases:
        header = json.loads(case["sealed"])
        ciphertext = plain.unb64u(header.pop("ciphertext"))
        opened = plain.open_hpke(private, ciphertext, plain.canonical(header))
        if opened.hex() != case["key"]:
            raise ValueError("a kept sealed key opens to something else")
    halves = {"1": plain.b64u(private)}
    credential = {"type": "role-credential", "version": 1, "role": "linkage", "halves": halves}
    roles = {"linkage": {"version": 1, "public": plain.b64u(public)}}
    publics = {"type": "role-keys", "version": 1, "roles": roles}
    return {
        "private": private.hex(),
        "public": public.hex(),
        "credential": plain.canonical(credential).decode(),
        "publics": plain.canonical(publics).decode(),
        "cases": cases,
    }


def _new_sealed(private: bytes, owner: str) -> dict[str, Any]:
    header = {
        "type": "sealed-key",
        "version": 1,
        "role": "linkage",
        "role_version": 1,
        "purpose": "identifiers",
        "owner": owner,
    }
    info = plain.canonical(header)
    ciphertext = plain.b64u(plain.seal_hpke(private, key(owner), info))
    sealed = plain.canonical({**header, "ciphertext": ciphertext}).decode()
    return {"info": info.decode(), "sealed": sealed, "key": key(owner).hex()}


def sealed_bytes() -> dict[str, Any]:
    cases = []
    for binding, data in (("d-1 payload 1", b"hello"), ("", b""), ("é", bytes(range(256)))):
        derived = plain.hkdf(key("file"), b"schakel/1 bytes\n" + binding.encode())
        nonce = key(f"nonce {binding}")[:12]
        sealed = b"\x01" + nonce + AESGCM(derived).encrypt(nonce, data, binding.encode())
        cases.append({"binding": binding, "data": data.hex(), "sealed": sealed.hex()})
    return {"key": key("file").hex(), "cases": cases}


def sealed_table() -> dict[str, Any]:
    binding = "d-1 payload 1"
    derived = plain.hkdf(key("file"), b"schakel/1 table\n" + binding.encode())
    rows = [
        {"row_key": (bytes([n]) * 16).hex(), "name": name, "amount": amount}
        for n, name, amount in ((1, "a", 1.5), (2, None, 2.25), (3, "é", None))
    ]
    kept = _kept("sealed_table")
    file = kept["file"] if kept else base64.b64encode(_new_file(rows, derived, binding)).decode()
    return {"key": key("file").hex(), "binding": binding, "rows": rows, "file": file}


def _new_file(rows: list[dict[str, Any]], derived: bytes, binding: str) -> bytes:
    keys = pa.array([bytes.fromhex(row["row_key"]) for row in rows], pa.binary(16))
    columns = {name: [row[name] for row in rows] for name in ("name", "amount")}
    properties = pe.create_encryption_properties(
        derived, aad_prefix=binding.encode(), store_aad_prefix=False
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"row_key": keys, **columns}), sink, encryption_properties=properties)
    return bytes(sink.getvalue().to_pybytes())


def custody() -> dict[str, Any]:
    roots = {number: key(f"root {number}") for number in (1, 3)}
    file = {
        "type": "schakel-root",
        "version": 1,
        "last": 3,
        "roots": {str(number): plain.b64u(root) for number, root in roots.items()},
    }
    return {"file": json.dumps(file), "cases": _wrapped(roots)}


def _wrapped(roots: dict[int, bytes]) -> list[dict[str, Any]]:
    cases = []
    for number, root in roots.items():
        data, aad, nonce = b"private half", b"what it is", key(f"root nonce {number}")[:12]
        context = f"schakel/1 root {number}\n".encode() + aad
        wrapped = nonce + AESGCM(root).encrypt(nonce, data, context)
        case = {"version": number, "data": data.hex(), "aad": aad.hex(), "wrapped": wrapped.hex()}
        cases.append(case)
    return cases


def custody_passphrase() -> dict[str, Any]:
    said, salt = "caf\u00e9 au lait, merci", key("salt")[:16]
    lock = {"kdf": "argon2id", "salt": plain.b64u(salt), "memory": 64, "passes": 2, "lanes": 2}
    lid = Argon2id(salt=salt, length=32, iterations=2, lanes=2, memory_cost=64).derive(
        said.encode()
    )
    return {"passphrase": said, **_locked("schakel-root-passphrase", lock, lid)}


def custody_shares() -> dict[str, Any]:
    kept, lid = _kept("custody_shares"), key("lid of shares")
    words = (
        kept["shares"]
        if kept
        else shamir_mnemonic.generate_mnemonics(1, [(2, 3)], lid, iteration_exponent=0)[0]
    )
    split = shamir_mnemonic.Share.from_mnemonic(words[0]).identifier
    lock = {"scheme": "slip39", "needed": 2, "count": 3, "split": split}
    return {"shares": words, **_locked("schakel-root-shares", lock, lid)}


def _locked(kind: str, lock: dict[str, Any], lid: bytes) -> dict[str, Any]:
    roots = {number: key(f"root {number}") for number in (1, 3)}
    header = {"type": kind, "version": 1, "lock": lock}
    sealed = {}
    for number, root in roots.items():
        nonce = key(f"lid nonce {number}")[:12]
        binding = plain.canonical({**header, "root": number})
        sealed[str(number)] = plain.b64u(nonce + AESGCM(lid).encrypt(nonce, root, binding))
    check = plain.hkdf(lid, plain.canonical({**header, "use": "check"}))
    file = {**header, "check": plain.b64u(check), "last": 3, "roots": sealed, "about": ""}
    return {"file": json.dumps(file), "cases": _wrapped(roots)}


VECTORS = {
    "subject_id": subject_id,
    "pseudonym": pseudonym,
    "signature": signature,
    "receipt": receipt,
    "manifest": manifest,
    "permit": permit,
    "ledger": ledger,
    "tiles": tiles,
    "sealed_key": sealed_key,
    "sealed_bytes": sealed_bytes,
    "sealed_table": sealed_table,
    "custody": custody,
    "custody_passphrase": custody_passphrase,
    "custody_shares": custody_shares,
}


def _kept(name: str) -> dict[str, Any] | None:
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


if __name__ == "__main__":
    for name, make in VECTORS.items():
        text = json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text)
