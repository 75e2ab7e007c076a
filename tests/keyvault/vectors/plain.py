"""The byte formats once more, written for reading and from their descriptions alone.

Nothing of keyvault is imported here: a vector that the code under test made would prove nothing.
Ed25519 is written out after RFC 8032; HPKE (RFC 9180 with X-Wing), CMAC messages, base 32, the
check digit and the Merkle tree likewise. AES, ML-KEM, X25519 and SHA come from libraries.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(document: Any) -> bytes:
    """RFC 8785 for what the vectors use: ASCII names, texts, whole numbers, 0.1 and null."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES256(key))
    mac.update(message)
    return mac.finalize()


# Subject ids and pseudonyms


def subject_message(
    dataset: str, period: str, generation: int, record: int, reference: str
) -> bytes:
    message = b"schakel/subject1"
    for text in (dataset, period, reference):
        message += len(text.encode()).to_bytes(2, "big") + text.encode()
    while len(message) % 16:
        message += b"\0"
    return message + generation.to_bytes(8, "big") + record.to_bytes(8, "big")


def pseudonym(key: bytes, letter: str, version: int, subject: bytes) -> str:
    tag = cmac(key, b"schakel/pseudo1" + letter.encode() + subject)
    bits = f"{int.from_bytes(tag, 'big'):0130b}"
    body = "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, 130, 5))
    text = letter + ALPHABET[version] + body
    return text + check_digit(text)


def check_digit(text: str) -> str:
    """Through logarithms to the base 2 in GF(32), unlike the code under test."""
    powers = [1]
    while len(powers) < 31:
        doubled = powers[-1] * 2
        powers.append(doubled ^ 0b100101 if doubled > 31 else doubled)
    total = 0
    for place, character in enumerate(text):
        digit = ALPHABET.index(character)
        if digit:
            total ^= powers[(place + 1 + powers.index(digit)) % 31]
    return ALPHABET[total]


# Keys


def hkdf(key: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), no salt, 32 bytes."""
    extracted = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def seal_hpke(private: bytes, data: bytes, info: bytes) -> bytes:
    """RFC 9180 base mode, to the public half of `private`; random."""
    encapsulation = MLKEM768PrivateKey.from_seed_bytes(private[:64]).public_key()
    theirs = X25519PrivateKey.from_private_bytes(private[64:]).public_key()
    first, encapsulated = encapsulation.encapsulate()
    ephemeral = X25519PrivateKey.generate()
    ours = ephemeral.public_key().public_bytes_raw()
    shared = _x_wing(first, ephemeral.exchange(theirs), ours, theirs.public_bytes_raw())
    key, nonce = _hpke_schedule(shared, info)
    return encapsulated + ours + AESGCM(key).encrypt(nonce, data, b"")


def open_hpke(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """RFC 9180 base mode: X-Wing (KEM 0x647a), HKDF-SHA256, AES-256-GCM."""
    encapsulated, theirs, ciphertext = sealed[:1088], sealed[1088:1120], sealed[1120:]
    exchange = X25519PrivateKey.from_private_bytes(private[64:])
    first = MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(encapsulated)
    second = exchange.exchange(X25519PublicKey.from_public_bytes(theirs))
    shared = _x_wing(first, second, theirs, exchange.public_key().public_bytes_raw())
    key, nonce = _hpke_schedule(shared, info)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


def _x_wing(first: bytes, second: bytes, ephemeral: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(first + second + ephemeral + public + b"\\.//^\\").digest()


def _hpke_schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, label: bytes, data: bytes) -> bytes:
        message = b"HPKE-v1" + suite + label + data
        return hmac.new(salt or bytes(32), message, hashlib.sha256).digest()

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")

    def expand(label: bytes, length: int) -> bytes:
        message = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context + b"\x01"
        return hmac.new(secret, message, hashlib.sha256).digest()[:length]

    return expand(b"key", 32), expand(b"base_nonce", 12)


def role_public(private: bytes) -> bytes:
    """The public half of a role: ML-KEM-768 (1,184 bytes), X25519 (32 bytes)."""
    encapsulation = MLKEM768PrivateKey.from_seed_bytes(private[:64]).public_key()
    exchange = X25519PrivateKey.from_private_bytes(private[64:]).public_key()
    return encapsulation.public_bytes_raw() + exchange.public_bytes_raw()


# Ed25519 (RFC 8032, section 5.1), slow and simple

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)


def _recover_x(y: int) -> int:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    return _P - x if x & 1 else x


_BASE = (_recover_x(4 * pow(5, -1, _P) % _P), 4 * pow(5, -1, _P) % _P)


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    cross = _D * a[0] * b[0] * a[1] * b[1] % _P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + cross, -1, _P) % _P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - cross, -1, _P) % _P
    return x, y


def _point(scalar: int) -> bytes:
    total, step = (0, 1), _BASE
    while scalar:
        if scalar & 1:
            total = _add(total, step)
        step, scalar = _add(step, step), scalar >> 1
    return (total[1] | (total[0] & 1) << 255).to_bytes(32, "little")


def _expanded(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    return scalar, digest[32:]


def ed25519_public(seed: bytes) -> bytes:
    return _point(_expanded(seed)[0])


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    scalar, prefix = _expanded(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % _L
    commitment = _point(nonce)
    digest = hashlib.sha512(commitment + _point(scalar) + message).digest()
    answer = (nonce + int.from_bytes(digest, "little") * scalar) % _L
    return commitment + answer.to_bytes(32, "little")


# The ledger


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is defined there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(
        b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])
    ).digest()


def checkpoint(origin: str, seed: bytes, leaves: list[bytes]) -> str:
    """C2SP tlog-checkpoint in a C2SP signed-note."""
    root = base64.b64encode(merkle_root(leaves)).decode()
    text = f"{origin}\n{len(leaves)}\n{root}\n"
    signature = base64.b64encode(key_id(origin, seed) + ed25519_sign(seed, text.encode())).decode()
    return f"{text}\n— {origin} {signature}\n"


def key_id(origin: str, seed: bytes) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n\x01" + ed25519_public(seed)).digest()[:4]


def verifier(origin: str, seed: bytes) -> str:
    identified = base64.b64encode(b"\x01" + ed25519_public(seed)).decode()
    return f"{origin}+{key_id(origin, seed).hex()}+{identified}"


def bundle(leaves: list[bytes]) -> bytes:
    """C2SP tlog-tiles: entries, each after its length."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def tiles(leaves: list[bytes]) -> dict[str, bytes]:
    """C2SP tlog-tiles of fewer than 65,536 leaves: level 0, and level 1 over complete tiles."""
    hashes = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    complete = [merkle_root(leaves[at : at + 256]) for at in range(0, len(leaves) - 255, 256)]
    made = {}
    for level, nodes in enumerate((hashes, complete)):
        for number, at in enumerate(range(0, len(nodes), 256)):
            part = nodes[at : at + 256]
            partial = f".p/{len(part)}" if len(part) < 256 else ""
            made[f"tile/{level}/{number:03}{partial}"] = b"".join(part)
    return made
