"""Checkpoints: what the signer of a tree vouches for, in a form that anybody's tools read.

The text is a C2SP tlog-checkpoint (origin, size, root), signed as a C2SP signed-note with Ed25519:

    schakel/ledger/0123456789abcdef
    9
    <root, base64>

    — schakel/ledger/0123456789abcdef <key id and signature, base64>
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.errors import LedgerError, SignatureError
from keyvault.signing import check_bytes, from_base64url, public_text, to_base64url

_SIGNATURE = re.compile(r"\u2014 ([^ +]+) ([A-Za-z0-9+/=]{8,})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's signer vouches for."""

    origin: str
    size: int
    root: bytes


def write_checkpoint(checkpoint: Checkpoint, private: Ed25519PrivateKey) -> str:
    """Sign a checkpoint, in the name of its origin."""
    origin = checkpoint.origin
    text = f"{origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"
    identified = b"\x01" + from_base64url(public_text(private))
    signature = _key_id(origin, identified) + private.sign(text.encode())
    return f"{text}\n\u2014 {origin} {base64.b64encode(signature).decode()}\n"


def verifier_key(origin: str, public: str) -> str:
    """The public key of a checkpoint's signer as C2SP signed-note writes it."""
    identified = b"\x01" + from_base64url(public)
    key_id = _key_id(origin, identified)
    return f"{origin}+{key_id.hex()}+{base64.b64encode(identified).decode()}"


def read_checkpoint(note: str, verifiers: Iterable[str]) -> Checkpoint:
    """Read a checkpoint that one of these verifier keys signed; LedgerError for any other note.

    Signatures of others (witnesses) are passed over, as the specification asks.
    """
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    keys = dict(_read_verifier(verifier) for verifier in verifiers)
    signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            raise LedgerError("A checkpoint ends with signature lines, and with nothing else.")
        data = _from_base64(found[2])
        public = keys.get((found[1], data[:4]))
        if public is not None:
            try:
                check_bytes(text.encode(), to_base64url(data[4:]), public)
            except SignatureError:
                raise LedgerError("The checkpoint's signature doesn't hold.") from None
            signed = True
    lines = text.split("\n")
    sound = (
        separator
        and note.endswith("\n")
        and signed
        and len(lines) > 3
        and _SIZE.fullmatch(lines[1])
    )
    if not sound or lines[0] not in {name for name, _ in keys}:
        raise LedgerError("This is no checkpoint signed by that ledger; check which key it names.")
    return Checkpoint(lines[0], int(lines[1]), _from_base64(lines[2]))


def _key_id(name: str, identified: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + identified).digest()[:4]


def _read_verifier(text: str) -> tuple[tuple[str, bytes], str]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    identified = _from_base64(encoded)
    if key_id != _key_id(name, identified).hex() or identified[:1] != b"\x01":
        raise LedgerError("This is no Ed25519 verifier key of a ledger: name+id+key is expected.")
    return (name, bytes.fromhex(key_id)), to_base64url(identified[1:])


def _from_base64(text: str) -> bytes:
    """The bytes; no other spelling of them is taken, such as one with stray bits at its end."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise LedgerError("A checkpoint or key holds something that isn't base64.")
    return data
