"""Destroying a key: refused as long as anything needs it, and then its sealed bytes are gone.

What remains is a row that says that there was a key and that it is no more. An older backup of the
data holds the sealed bytes still, and opens none of them with the key backup of after: which copies
of keys are superseded, the ledger's entry lets people tell.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from keyvault import tables
from keyvault.authority import Authority
from keyvault.errors import KeyringError
from keyvault.keyring import SealedKey
from keyvault.secret import AGE_PURPOSE, MAC_PURPOSES
from keyvault.signing import instant
from keyvault.tokens import LONGEST_TOKEN

_ROTATED = ("permit", "token", "job", AGE_PURPOSE)
"""Keys of the service's own that can go when another took their place and nothing needs them."""

_KEPT = {
    "ledger": "every checkpoint that it signed",
    "receipt": "every receipt and manifest that it signed",
}
"""Keys whose signatures are held by people outside: they are needed for ever."""

_MOST_NAMED = 5


def key_row(conn: Connection, purpose: str, owner: str, version: int) -> Row[Any]:
    """The row of a key that isn't destroyed yet; KeyringError when there is none."""
    column = tables.sealed_key.c
    row = conn.execute(
        select(tables.sealed_key).where(
            column.purpose == purpose, column.owner == owner, column.version == version
        )
    ).first()
    if row is None or row.state == "destroyed":
        raise KeyringError("There is no such key any more; look at `schakel keys list`.")
    return row


def needs(conn: Connection, authority: Authority, row: Row[Any], now: datetime) -> list[str]:
    """What needs a key, as far as the vault knows: named by kind and id."""
    if row.purpose in _KEPT:
        return [_KEPT[row.purpose]]
    if row.purpose in _ROTATED and row.state == "active":
        return ["whatever comes next: it is the active one; rotate it first"]
    if row.purpose == "token" and now - _superseded(conn, row) <= LONGEST_TOKEN:
        return ["tokens that it signed less than an hour ago"]
    if row.purpose == "permit":
        return _permits(conn, authority, now, tables.permit.c.key_version == row.version)
    if row.purpose in {*MAC_PURPOSES, "spine"}:
        return _permits(conn, authority, now, tables.permit.c.project == row.owner)
    return []


def destroy(conn: Connection, row: Row[Any], needed: Sequence[str]) -> None:
    """Take the sealed bytes out of the row; KeyringError names what needs the key."""
    if needed:
        more = len(needed) - _MOST_NAMED
        named = ", ".join(needed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise KeyringError(f"That key is needed by {named}. It isn't destroyed.")
    empty = replace(SealedKey.from_bytes(row.sealed), ciphertext=b"")
    conn.execute(
        update(tables.sealed_key)
        .where(tables.sealed_key.c.id == row.id)
        .values(state="destroyed", sealed=empty.to_bytes(), proof=None)
    )


def _superseded(conn: Connection, row: Row[Any]) -> datetime:
    """When the next version took a key's place."""
    column = tables.sealed_key.c
    this = (column.purpose == row.purpose) & (column.owner == row.owner)
    after = select(column.created_at).where(this, column.version == row.version + 1)
    return instant(conn.scalars(after).one())


def _permits(conn: Connection, authority: Authority, now: datetime, which: Any) -> list[str]:
    """Permits whose retention isn't over; days end in UTC here, never too early for Brussels."""
    rows = conn.execute(select(tables.permit).where(which).order_by(tables.permit.c.id)).all()
    return [
        f"permit {row.id} (until {authority.read_permit(conn, row).retention_until})"
        for row in rows
        if str(authority.read_permit(conn, row).retention_until) >= now.date().isoformat()
    ]
