"""Checkpoints: read when the ledger signed them, and in no other case."""

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.checkpoints import Checkpoint, read_checkpoint, verifier_key, write_checkpoint
from keyvault.errors import LedgerError
from keyvault.ledger import verify
from keyvault.signing import public_text

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
VERIFIER = verifier_key("o", public_text(PRIVATE))
ROOT = b"r" * 32
NOTE = write_checkpoint(Checkpoint("o", 3, ROOT), PRIVATE)


def test_a_checkpoint_is_read_back() -> None:
    assert read_checkpoint(NOTE, [VERIFIER]) == Checkpoint("o", 3, ROOT)
    empty = Checkpoint("o", 0, ROOT)
    assert read_checkpoint(write_checkpoint(empty, PRIVATE), [VERIFIER]) == empty


def test_checkpoints_of_others_are_not_taken() -> None:
    """Another ledger's; and one in our name under another key."""
    for origin, private in (("other", PRIVATE), ("o", OTHER)):
        note = write_checkpoint(Checkpoint(origin, 3, ROOT), private)
        with pytest.raises(LedgerError, match="no checkpoint signed by that ledger"):
            read_checkpoint(note, [VERIFIER])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n3\n", "\n4\n"),
        lambda note: note.replace("\n3\n", "\n03\n"),
        lambda note: note[:-6] + "AAAA\n",
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.replace("\u2014", "-"),
        lambda note: note.replace(" ", "  ", 1),
        lambda note: note[:0],
        lambda note: note + "and more\n",
        lambda note: note + "\u2014 w+1 AAAAAAAA\n",
        lambda note: note.split("\n\n")[0] + "\n\n",
        lambda note: "\n".join(note.split("\n")[1:]),
    ],
)
def test_changed_checkpoints_are_not_taken(change: Callable[[str], str]) -> None:
    with pytest.raises(LedgerError):
        read_checkpoint(change(NOTE), [VERIFIER])


def test_witnesses_are_passed_over() -> None:
    witness = write_checkpoint(Checkpoint("w", 3, ROOT), OTHER).splitlines()[-1]
    assert "\u2014 w " in witness
    assert read_checkpoint(f"{NOTE}{witness}\n", [VERIFIER]).size == 3


def test_a_note_signed_under_another_origin_is_refused() -> None:
    """The key's name and the first line must be one ledger."""
    text = write_checkpoint(Checkpoint("other", 3, ROOT), PRIVATE).partition("\n\n")[0] + "\n"
    key_id = bytes.fromhex(VERIFIER.split("+")[1])
    signature = base64.b64encode(key_id + PRIVATE.sign(text.encode())).decode()
    with pytest.raises(LedgerError, match="no checkpoint"):
        read_checkpoint(f"{text}\n\u2014 o {signature}\n", [VERIFIER])


@pytest.mark.parametrize("text", ["", "o", "o+00000000+AAAA", "o+00000000+!", "o+00000000"])
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(LedgerError):
        read_checkpoint("a\n\nb", [text])
    assert verify([], text, checkpoints=["x"])[0].kind == "unsigned"
