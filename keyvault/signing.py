"""Who signed, and is it true.

What gets signed is canonical JSON (RFC 8785) of a document with a `type` and a `version`, so that
a signature under one kind of document is never one under another. Signatures are Ed25519
(RFC 8032); keys and signatures are written in base64url without padding.

    people's    {"person": …, "key": public key, "signature": …}, beside the document
    service's   {"key": …, "signature": …} as the document's own member `signature`, computed over
                the document without that member (receipts, manifests)
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keyvault.errors import SignatureError


def to_base64url(data: bytes) -> str:
    """base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The inverse; ValueError for any other spelling of the same bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise ValueError("not base64url") from None
    if to_base64url(data) != text:
        raise ValueError("not base64url without padding")
    return data


def canonical(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON of a document; SignatureError when it can't be one."""
    # Raised outside the handler: the library's message holds the value, and must not be carried on.
    with suppress(rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError):
        return rfc8785.dumps(dict(document))
    raise SignatureError(
        "The document holds something that JSON can't; use texts, whole numbers up to 2^53, lists "
        "and objects."
    )


def read_canonical(data: bytes) -> dict[str, Any]:
    """A document from its canonical bytes; SignatureError for any other spelling."""
    document = None
    with suppress(ValueError, RecursionError):
        document = json.loads(data)
    if not isinstance(document, dict) or canonical(document) != data:
        raise SignatureError("These bytes are not a canonical JSON document (RFC 8785).")
    return document


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key as documents name it."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return to_base64url(public.public_bytes_raw())


def public_key(text: str) -> Ed25519PublicKey:
    """A public key from its text; SignatureError when it is none."""
    try:
        return Ed25519PublicKey.from_public_bytes(from_base64url(text))
    except (ValueError, TypeError):
        raise SignatureError(
            "This is no Ed25519 public key: 32 bytes in base64url are expected."
        ) from None


def sign(document: Mapping[str, Any], private: Ed25519PrivateKey, *, person: str) -> dict[str, str]:
    """A person's signature on a document, to be kept beside it."""
    signature = private.sign(_signed_bytes(document))
    return {
        "person": person,
        "key": public_text(private),
        "signature": to_base64url(signature),
    }


def verify(document: Mapping[str, Any], signature: Mapping[str, Any], public: str) -> None:
    """Hold a signature against a document and the key its signer is known by; raises or returns.

    That the key is this person's is for the caller to know: `Vault.verify` does.
    """
    if signature.get("key") != public:
        raise SignatureError("The document was signed with another key than the enrolled one.")
    check_bytes(_signed_bytes(document), str(signature.get("signature")), public)


def seal_document(document: Mapping[str, Any], private: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with the service's signature as its member `signature`."""
    if "signature" in document:
        raise SignatureError("The document is signed already.")
    signature = to_base64url(private.sign(_signed_bytes(document)))
    return {**document, "signature": {"key": public_text(private), "signature": signature}}


def verify_receipt(document: Mapping[str, Any], public: str) -> None:
    """Check the service's signature in a receipt or manifest; SignatureError when it fails.

    `public` is the receipt key that the service publishes, or an older one kept beside it.
    """
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    signature = document.get("signature")
    if not isinstance(signature, Mapping):
        raise SignatureError("The document has no signature.")
    verify(unsigned, signature, public)


def sign_bytes(data: bytes, private: Ed25519PrivateKey) -> str:
    """A bare signature, for formats that say themselves what is signed."""
    return to_base64url(private.sign(data))


def check_bytes(data: bytes, signature: str, public: str) -> None:
    """Check a bare signature; SignatureError when it fails."""
    try:
        public_key(public).verify(from_base64url(signature), data)
    except (InvalidSignature, ValueError):
        raise SignatureError(
            "The signature doesn't hold: the document was changed, or somebody else signed it."
        ) from None


def instant(text: object) -> datetime:
    """A moment written in a document; ValueError unless it is ISO 8601 with a UTC offset."""
    moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("not a moment in time with its offset from UTC")
    return moment.astimezone(UTC)


def utc_text(now: datetime) -> str:
    """A moment as documents and rows write it: UTC, with `Z`."""
    if now.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment; pass an aware datetime")
    return now.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _signed_bytes(document: Mapping[str, Any]) -> bytes:
    if not isinstance(document.get("type"), str) or type(document.get("version")) is not int:
        raise SignatureError("Only a document with a `type` and a `version` can be signed.")
    return canonical(document)
