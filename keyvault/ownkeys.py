"""The keys that the vault makes: its own, its scopes' and its projects'.

Anybody can seal to a public half, so a row that opens is not yet a row to believe: who captured
the database could put in a key of their own and sign permits with it. Each row made here therefore
carries a proof, an HMAC-SHA256 over everything in it that never changes, under a secret derived
from the vault role's private half (version of that half in 4 bytes ‖ 32 bytes of HMAC). No row is
used before its proof was checked. A state isn't covered: it changes.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from keyvault import tables
from keyvault.errors import KeyringError, SealError
from keyvault.keyring import RoleKeys, SealedKey, Sealer, new_key_id, next_version
from keyvault.secret import AGE_PURPOSE, SIGNING_PURPOSES, FileKey, Secret, reveal
from keyvault.signing import canonical, public_text, to_base64url, utc_text

SERVICE = "service"
"""Owner of the keys that are the service's own."""

_READABLE = ("active", "decrypt-only")


class OwnKeys:
    """Key rows with a proof; keeps opened keys in memory, by everything that proves them."""

    def __init__(self, vault_role: Callable[[], RoleKeys], sealer: Callable[[], Sealer]) -> None:
        self._vault_role = vault_role
        self._sealer = sealer
        self._proved: set[tuple[Any, ...]] = set()
        self._opened: dict[bytes, FileKey] = {}
        self._signers: dict[bytes, Ed25519PrivateKey] = {}

    def create(
        self, conn: Connection, role: str, purpose: str, owner: str, now: datetime
    ) -> Row[Any]:
        """Make the next version of a key, active; the one before becomes decrypt-only."""
        sealed, public = self._make(role, purpose, owner)
        column = tables.sealed_key.c
        this = (column.purpose == purpose) & (column.owner == owner)
        conn.execute(
            update(tables.sealed_key)
            .where(this, column.state == "active")
            .values(state="decrypt-only")
        )
        values: dict[str, Any] = {
            "id": new_key_id(),
            "purpose": purpose,
            "owner": owner,
            "version": next_version(conn, purpose, owner),
            "role": role,
            "sealed": sealed.to_bytes(),
            "public": public,
        }
        secrets = self._vault_role().derived("row proof")
        version = max(secrets)
        proof = version.to_bytes(4) + _proof(secrets[version], values)
        values |= {"state": "active", "proof": proof, "created_at": utc_text(now)}
        conn.execute(insert(tables.sealed_key).values(values))
        return self.current(conn, purpose, owner)

    def ensure(
        self, conn: Connection, role: str, purpose: str, owner: str, now: datetime
    ) -> tuple[Row[Any], bool]:
        """The active key, made if there never was one; and whether it was made just now."""
        if self._select(conn, purpose, owner):
            return self.current(conn, purpose, owner), False
        if next_version(conn, purpose, owner) > 1:
            raise KeyringError(
                f"The {purpose} key was destroyed: what it was for has ended, and isn't begun anew."
            )
        try:
            with conn.begin_nested():
                return self.create(conn, role, purpose, owner, now), True
        except IntegrityError:  # another process made it between the look and the insert
            return self.current(conn, purpose, owner), False

    def current(self, conn: Connection, purpose: str, owner: str | None = SERVICE) -> Row[Any]:
        """The active key's row, proved."""
        row = self.rows(conn, purpose, owner)[0]
        if row.state != "active":
            raise KeyringError(f"There is no active key for {purpose}; look at `keys list`.")
        return row

    def rows(self, conn: Connection, purpose: str, owner: str | None = SERVICE) -> list[Row[Any]]:
        """The rows of all versions that may still be used, newest first, each proved."""
        rows = self._select(conn, purpose, owner)
        if not rows:
            raise KeyringError(f"There is no key for {purpose} of that owner; look at `keys list`.")
        for row in rows:
            self._prove(row)
        return rows

    def open(self, row: Row[Any]) -> FileKey:
        """Open a proved row that is sealed to the vault role."""
        if row.sealed not in self._opened:
            self._opened[row.sealed] = self._vault_role().open(SealedKey.from_bytes(row.sealed))
        return self._opened[row.sealed]

    def signer(self, row: Row[Any]) -> Ed25519PrivateKey:
        """The private key of a proved row."""
        if row.sealed not in self._signers:
            private = Ed25519PrivateKey.from_private_bytes(reveal(self.open(row)))
            self._signers[row.sealed] = private
        return self._signers[row.sealed]

    def _make(self, role: str, purpose: str, owner: str) -> tuple[SealedKey, str | None]:
        if purpose == AGE_PURPOSE:
            recipient, sealed = self._sealer().new_identity(owner)
            return sealed, recipient
        key, sealed = self._sealer().new_key(role, purpose, owner)
        if purpose in SIGNING_PURPOSES:
            return sealed, public_text(Ed25519PrivateKey.from_private_bytes(reveal(key)))
        return sealed, None

    def _select(self, conn: Connection, purpose: str, owner: str | None) -> list[Row[Any]]:
        column = tables.sealed_key.c
        query = select(tables.sealed_key).where(
            column.purpose == purpose, column.state.in_(_READABLE)
        )
        if owner is not None:
            query = query.where(column.owner == owner)
        # `active` sorts before `decrypt-only`.
        return list(conn.execute(query.order_by(column.state, column.version.desc())).all())

    def _prove(self, row: Row[Any]) -> None:
        values = _unchanging(row._asdict())
        seen = (*values.values(), row.proof)
        if seen in self._proved:
            return
        proof = row.proof or b""
        secret = self._vault_role().derived("row proof").get(int.from_bytes(proof[:4]))
        if secret is None or not hmac.compare_digest(proof[4:], _proof(secret, values)):
            raise SealError(
                f"The row of a key for {row.purpose} was not made by this vault, or was changed; "
                "restore the key table from its backup and find out who wrote to it."
            )
        self._proved.add(seen)


def _unchanging(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: values[name]
        for name in ("id", "purpose", "owner", "version", "role", "sealed", "public")
    }


def _proof(secret: Secret, values: Mapping[str, Any]) -> bytes:
    document = {**_unchanging(values), "sealed": to_base64url(values["sealed"])}
    return hmac.new(reveal(secret), canonical(document), hashlib.sha256).digest()
