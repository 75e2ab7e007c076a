"""What two administrators sign before a key is rotated, moved or destroyed.

The document names the key by purpose, owner and the version that stands; when the ceremony is over
another one stands, so that a document is good once.

    {"type":"key-ceremony","version":1,"action":…,"purpose":…,"owner":…,"key_version":n,
     "reason":…,"at":…}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keyvault.errors import KeyringError

ACTIONS = ("rotate", "move", "destroy")
"""What can be done with a key."""

Signed = Mapping[str, Any]
"""A ceremony's document with its signatures: {document, signatures}."""

SERVICE = "service"
"""Owner of the keys that are the service's own."""


@dataclass(frozen=True)
class Standing:
    """A key as it stands: what a ceremony is about."""

    purpose: str
    owner: str
    key_version: int


def standing_of(
    keys: Iterable[Mapping[str, Any]],
    purpose: str,
    owner: str | None = None,
    version: int | None = None,
) -> Standing:
    """The active key of a purpose among those listed (`purpose`, `owner`, `version`, `state`), or
    the one of a version.

    KeyringError when there is none, or several and no owner is said.
    """
    found = [
        Standing(purpose, str(key["owner"]), int(key["version"]))
        for key in keys
        if key["purpose"] == purpose
        and owner in (None, key["owner"])
        and (key["state"] == "active" if version is None else key["version"] == version)
    ]
    if len(found) != 1:
        raise KeyringError(
            f"There are {len(found)} such keys for {purpose}; say whose (`schakel keys list`)."
        )
    return found[0]


def document(action: str, standing: Standing, *, reason: str, at: str) -> dict[str, Any]:
    """What is to be signed."""
    return {
        "type": "key-ceremony",
        "version": 1,
        "action": action,
        "purpose": standing.purpose,
        "owner": standing.owner,
        "key_version": standing.key_version,
        "reason": reason,
        "at": at,
    }


def fault(held: Mapping[str, Any], action: str, standing: Standing) -> str | None:
    """Why a document doesn't stand for this action on the key as it stands; None when it does."""
    expected = document(action, standing, reason="", at="")
    texts = ("reason", "at")
    if set(held) != set(expected) or not all(isinstance(held[name], str) for name in texts):
        return "This is no key ceremony; `schakel keys propose` writes one."
    if not held["reason"].strip():
        return "A ceremony says why it is held; propose it with a reason."
    asked = {name: held[name] for name in expected if name not in texts}
    if asked != {name: value for name, value in expected.items() if name not in texts}:
        return (
            "That ceremony is about another key, or about a version that doesn't stand any more; "
            "propose it anew."
        )
    return None
