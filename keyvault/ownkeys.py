"""The keys that the vault makes: its own, its scopes' and its projects'.

Anybody can seal to a public half, so a row that opens is not yet a row to believe: who captured
the database could put in a key of their own and sign permits with it. Each row made here therefore
carries a proof, an HMAC-SHA256 over everything in it that never changes, under a secret derived
from the vault role's private half (version of that half in 4 bytes ‖ 32 bytes of HMAC). No row is
used before its proof was checked. A state isn't covered: it changes.

    KeyRows    the rows in the database: finds, has proved, keeps; no key bytes
    KeyMaker   makes, proves and opens; only where the vault role's private half is
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from keyvault import tables
from keyvault.ceremonies import SERVICE
from keyvault.errors import KeyringError, SealError
from keyvault.keyring import RoleKeys, SealedKey, Sealer, new_key_id, next_version
from keyvault.primitives import is_mac, mac
from keyvault.secret import AGE_PURPOSE, SIGNING_PURPOSES, FileKey, reveal
from keyvault.signing import canonical, public_text, to_base64url, utc_text

PROVED = ("id", "purpose", "owner", "version", "role", "sealed", "public")
"""Columns of a key row that never change."""

_READABLE = ("active", "decrypt-only")
_OPENERS = {"spine": "linkage", "subject-id": "linkage", AGE_PURPOSE: "intake"}
"""Process roles that keys are sealed to; the vault's own are the rest."""

Values = dict[str, Any]


class KeyRows:
    """Key rows of the database, each held against its proof before it is used.

    `prove` raises SealError for a row (PROVED columns, proof) that the vault didn't make; what it
    let pass once is remembered.
    """

    def __init__(self, prove: Callable[[Mapping[str, Any], bytes], None]) -> None:
        self._ask = prove
        self._proved: set[tuple[Any, ...]] = set()

    def keep(self, conn: Connection, made: Values, now: datetime) -> Row[Any]:
        """Put in what a KeyMaker made, active; the version before becomes decrypt-only."""
        column = tables.sealed_key.c
        this = (column.purpose == made["purpose"]) & (column.owner == made["owner"])
        conn.execute(
            update(tables.sealed_key)
            .where(this, column.state == "active")
            .values(state="decrypt-only")
        )
        values = {**made, "state": "active", "created_at": utc_text(now)}
        conn.execute(insert(tables.sealed_key).values(values))
        return self.current(conn, made["purpose"], made["owner"])

    def ensure(
        self, conn: Connection, make: Callable[[], Values], purpose: str, owner: str, now: datetime
    ) -> tuple[Row[Any], bool]:
        """The active key, made if there never was one; and whether it was made just now."""
        if self._select(conn, purpose, owner):
            return self.current(conn, purpose, owner), False
        if next_version(conn, purpose, owner) > 1:
            raise KeyringError(
                f"The {purpose} key was destroyed: what it was for has ended, and isn't begun anew."
            )
        made = make()
        try:
            with conn.begin_nested():
                return self.keep(conn, made, now), True
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
        held = row._asdict()
        values = {name: held[name] for name in PROVED}
        seen = (*values.values(), row.proof)
        if seen not in self._proved:
            self._ask(values, row.proof or b"")
            self._proved.add(seen)


class KeyMaker:
    """Makes key rows with their proof; keeps opened keys in memory, by what they are sealed as."""

    def __init__(self, role: Callable[[str], RoleKeys], sealer: Callable[[], Sealer]) -> None:
        self._role = role
        self._sealer = sealer
        self._opened: dict[bytes, FileKey] = {}
        self._signers: dict[bytes, Ed25519PrivateKey] = {}

    def make(self, conn: Connection, purpose: str, owner: str) -> Values:
        """The next version of a key: a row with its proof, for `KeyRows.keep`."""
        role = _OPENERS.get(purpose, "vault")
        sealed, public = self._new(role, purpose, owner)
        values: Values = {
            "id": new_key_id(),
            "purpose": purpose,
            "owner": owner,
            "version": next_version(conn, purpose, owner),
            "role": role,
            "sealed": sealed.to_bytes(),
            "public": public,
        }
        return {**values, "proof": self._proof_of(values)}

    def reseal(self, row: Row[Any]) -> Values:
        """What changes in a row when its key is sealed to the present version of its role.

        A row that the vault made is proved, and gets its proof anew; the key stays the same.
        """
        values = {name: row._asdict()[name] for name in PROVED}
        if row.proof:
            self.prove(values, row.proof)
        if row.state != "destroyed":
            old = SealedKey.from_bytes(row.sealed)
            values["sealed"] = self._role(row.role).reseal(old, self._sealer()).to_bytes()
        return {"sealed": values["sealed"], "proof": row.proof and self._proof_of(values)}

    def _proof_of(self, values: Values) -> bytes:
        version = self._sealer().version("vault")
        secret = self._role("vault").derived("row proof")[version]
        return version.to_bytes(4) + mac(reveal(secret), _proved(values))

    def prove(self, values: Mapping[str, Any], proof: bytes) -> None:
        """SealError unless this vault made the row; `values` are its PROVED columns."""
        secret = self._role("vault").derived("row proof").get(int.from_bytes(proof[:4]))
        if secret is None or not is_mac(proof[4:], reveal(secret), _proved(values)):
            raise SealError(
                f"The row of a key for {values['purpose']} was not made by this vault, or was "
                "changed; restore the key table from its backup and find out who wrote to it."
            )

    def open(self, row: Row[Any]) -> FileKey:
        """Open a proved row that is sealed to the vault role."""
        if row.sealed not in self._opened:
            self._opened[row.sealed] = self._role("vault").open(SealedKey.from_bytes(row.sealed))
        return self._opened[row.sealed]

    def signer(self, row: Row[Any]) -> Ed25519PrivateKey:
        """The private key of a proved row."""
        if row.sealed not in self._signers:
            private = Ed25519PrivateKey.from_private_bytes(reveal(self.open(row)))
            self._signers[row.sealed] = private
        return self._signers[row.sealed]

    def _new(self, role: str, purpose: str, owner: str) -> tuple[SealedKey, str | None]:
        if purpose == AGE_PURPOSE:
            recipient, sealed = self._sealer().new_identity(owner)
            return sealed, recipient
        key, sealed = self._sealer().new_key(role, purpose, owner)
        if purpose in SIGNING_PURPOSES:
            return sealed, public_text(Ed25519PrivateKey.from_private_bytes(reveal(key)))
        return sealed, None


def _proved(values: Mapping[str, Any]) -> bytes:
    document = {name: values[name] for name in PROVED}
    document["sealed"] = to_base64url(values["sealed"])
    return canonical(document)
