"""What the service publishes about its keys, and how it is believed when that changes.

Whoever knew the keys before a rotation holds a receipt key of then. The list of now carries a
signature by every receipt key that still stands, over canonical JSON of

    {"type":"public-keys","version":1,"uploads":…,"receipt":[…],"permit":[…],"ledger":[…]}

so a list that one of the known receipt keys signed is the service's own next one. A receipt key
that was destroyed, after a compromise say, vouches for nothing: then people compare by another way.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from keyvault.checkpoints import verifier_key
from keyvault.errors import SignatureError
from keyvault.ownkeys import KeyRows
from keyvault.secret import AGE_PURPOSE
from keyvault.signing import canonical, check_bytes

LISTED = ("uploads", "receipt", "permit", "ledger")


def published(conn: Connection, keys: KeyRows) -> dict[str, Any]:
    """`uploads`: age recipient. `receipt`, `permit`: Ed25519 keys (base64url). `ledger`: verifier
    keys of checkpoints. Lists are newest first."""
    ledger = keys.rows(conn, "ledger", owner=None)
    return {
        "uploads": keys.current(conn, AGE_PURPOSE).public,
        "receipt": [row.public for row in keys.rows(conn, "receipt")],
        "permit": [row.public for row in keys.rows(conn, "permit")],
        "ledger": [verifier_key(row.owner, row.public) for row in ledger],
    }


def endorsable(shown: Mapping[str, Any]) -> bytes:
    """The bytes that receipt keys sign."""
    listed = {name: shown.get(name) for name in LISTED}
    return canonical({"type": "public-keys", "version": 1, **listed})


def endorsed(shown: Mapping[str, Any], known: Iterable[str]) -> bool:
    """Whether one of the receipt keys that somebody knows signed what the service shows now."""
    trusted = set(known)
    given = shown.get("endorsements")
    for one in given if isinstance(given, list) else []:
        if isinstance(one, Mapping) and one.get("key") in trusted:
            with suppress(SignatureError):
                check_bytes(endorsable(shown), str(one.get("signature")), str(one["key"]))
                return True
    return False
