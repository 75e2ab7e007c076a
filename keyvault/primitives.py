"""HKDF and HMAC as this package uses them: one hash, whole tags, no salt.

Keys that are derived or proved with here are random already, so that HKDF needs no salt; which use
one is for stands in `info`.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(key: bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256 (RFC 5869) without salt."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104), all 32 bytes of it."""
    return hmac.new(key, data, hashlib.sha256).digest()


def is_mac(tag: bytes, key: bytes, data: bytes) -> bool:
    """Whether this is the whole tag of the data, compared in constant time."""
    return hmac.compare_digest(tag, mac(key, data))
