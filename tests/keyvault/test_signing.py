"""Signatures over canonical documents: raised when they don't hold, never returned as a boolean."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyvault.errors import SignatureError
from keyvault.signing import (
    canonical,
    from_base64url,
    instant,
    public_key,
    public_text,
    read_canonical,
    seal_document,
    sign,
    to_base64url,
    utc_text,
    verify,
    verify_receipt,
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = public_text(PRIVATE)
DOCUMENT = {"type": "approval", "version": 1, "reason": "Ja — naturally.", "count": 3}


def test_a_signature_holds_for_its_document_and_key() -> None:
    signature = sign(DOCUMENT, PRIVATE, person="dirk")
    assert signature["person"] == "dirk"
    verify(DOCUMENT, signature, PUBLIC)
    verify(dict(reversed(DOCUMENT.items())), signature, PUBLIC)


@pytest.mark.parametrize(
    "document",
    [
        {**DOCUMENT, "count": 4},
        {**DOCUMENT, "type": "advice"},
        {**DOCUMENT, "version": 2},
        {**DOCUMENT, "more": None},
        {name: value for name, value in DOCUMENT.items() if name != "count"},
    ],
)
def test_a_changed_document_has_no_signature(document: dict[str, Any]) -> None:
    """S26: a changed document invalidates its signature."""
    with pytest.raises(SignatureError, match="doesn't hold"):
        verify(document, sign(DOCUMENT, PRIVATE, person="dirk"), PUBLIC)


def test_another_key() -> None:
    signature = sign(DOCUMENT, OTHER, person="dirk")
    with pytest.raises(SignatureError, match="another key"):
        verify(DOCUMENT, signature, PUBLIC)
    with pytest.raises(SignatureError, match="doesn't hold"):
        verify(DOCUMENT, {**signature, "key": PUBLIC}, PUBLIC)


@pytest.mark.parametrize("text", ["", "AA", "!", None, 7])
def test_a_damaged_signature(text: Any) -> None:
    with pytest.raises(SignatureError):
        verify(DOCUMENT, {"person": "dirk", "key": PUBLIC, "signature": text}, PUBLIC)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": "approval"},
        {"type": 1, "version": 1},
        {"type": "approval", "version": "1"},
        {"type": "approval", "version": True},
        {**DOCUMENT, "number": 2**60},
        {**DOCUMENT, "number": float("nan")},
        {**DOCUMENT, "text": "\ud800"},
        {**DOCUMENT, "thing": object()},
        {**DOCUMENT, 7: "name"},
    ],
)
def test_what_can_not_be_signed(document: dict[Any, Any]) -> None:
    with pytest.raises(SignatureError) as caught:
        sign(document, PRIVATE, person="dirk")
    assert caught.value.__context__ is None, "a library's message could hold the value"


def test_documents_too_deep_for_anybody() -> None:
    deep: dict[str, Any] = {"type": "approval", "version": 1}
    for _ in range(100_000):
        deep = {"type": "approval", "version": 1, "in": deep}
    with pytest.raises(SignatureError):
        sign(deep, PRIVATE, person="dirk")
    with pytest.raises(SignatureError):
        read_canonical(b"[" * 100_000)


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
    )
)
def test_canonical_bytes_are_read_back(document: dict[str, Any]) -> None:
    assert read_canonical(canonical(document)) == document


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"7", b'{"a": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"\xff", b"{}\n"]
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError, match="not a canonical"):
        read_canonical(data)


def test_receipts() -> None:
    receipt = seal_document(DOCUMENT, PRIVATE)
    verify_receipt(receipt, PUBLIC)
    with pytest.raises(SignatureError, match="doesn't hold"):
        verify_receipt({**receipt, "count": 4}, PUBLIC)
    with pytest.raises(SignatureError, match="another key"):
        verify_receipt(receipt, public_text(OTHER))
    with pytest.raises(SignatureError, match="no signature"):
        verify_receipt(DOCUMENT, PUBLIC)
    with pytest.raises(SignatureError, match="signed already"):
        seal_document(receipt, PRIVATE)


@given(st.binary(max_size=40))
def test_base64url(data: bytes) -> None:
    text = to_base64url(data)
    assert "=" not in text
    assert from_base64url(text) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+/A", "A A", "A\n", "é"])
def test_other_spellings_are_no_base64url(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)


@pytest.mark.parametrize("text", ["", "AA", "é", 7, None])
def test_no_public_keys(text: Any) -> None:
    with pytest.raises(SignatureError, match="32 bytes"):
        public_key(text)


def test_moments() -> None:
    noon = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)
    assert utc_text(noon) == "2025-03-03T12:00:00Z"
    assert utc_text(noon.astimezone(timezone(timedelta(hours=1)))) == "2025-03-03T12:00:00Z"
    assert instant("2025-03-03T13:00:00+01:00") == noon
    with pytest.raises(ValueError, match="time zone"):
        utc_text(datetime(2025, 3, 3, 12, 0))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize("text", ["2025-03-03T12:00:00", "yesterday", "", None, 7])
def test_no_moments(text: Any) -> None:
    with pytest.raises(ValueError, match=r"moment|isoformat"):
        instant(text)
