"""Rotating a process role's key pair: pending, active, everything rewrapped, the old one destroyed.

    pending      the new pair exists, and every process of the role that starts a job learns it
    active       new keys are sealed to it; the old one still opens what it sealed
    rewrapped    each key sealed to the old one is sealed to the new one, some at a time
    destroyed    the old private half is no more, when nothing is sealed to it

Each step is a transaction. Cut off anywhere the next call goes on where it was; the ceremony that
began it stays good until it is over. No file changes: what is sealed anew are their keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, select, update

from keyvault import tables
from keyvault.errors import KeyringError
from keyvault.keyring import ROLES, SealedKey

Pair = tuple[str, int]
"""A role and the version of its key pair."""


@dataclass(frozen=True)
class Progress:
    """Which version a role is getting, the step that was done, and how many keys are left."""

    version: int
    step: str
    left: int


def standing(conn: Connection, role: str) -> tuple[int, int | None, int | None]:
    """The active version of a role, and its pending and superseded ones if there are any."""
    if role not in ROLES:
        raise KeyringError(f"There is no process role {role}; use one of {', '.join(ROLES)}.")
    column = tables.role_key.c
    states = {
        row.state: int(row.version)
        for row in conn.execute(select(column.state, column.version).where(column.role == role))
    }
    return states["active"], states.get("pending"), states.get("decrypt-only")


def activate(conn: Connection, role: str, old: int, new: int) -> None:
    """From now on keys are sealed to the new version."""
    _set_state(conn, (role, old), state="decrypt-only")
    _set_state(conn, (role, new), state="active")


def retire(conn: Connection, pair: Pair) -> None:
    """Destroy a superseded version; what it wrapped is taken out of the row."""
    _set_state(conn, pair, state="destroyed", wrapped=b"")


def sealed_to(conn: Connection, pair: Pair) -> Iterator[Row[tuple[object, ...]]]:
    """Rows of keys sealed to a version of a role, and not destroyed."""
    column = tables.sealed_key.c
    living: Select[tuple[object, ...]] = select(tables.sealed_key).where(
        column.role == pair[0], column.state != "destroyed"
    )
    for row in conn.execute(living.order_by(column.id)):
        if SealedKey.from_bytes(row.sealed).role_version == pair[1]:
            yield row


def proved_by(conn: Connection, version: int) -> Iterator[Row[tuple[object, ...]]]:
    """Rows that a version of the vault's own pair proves."""
    for row in conn.execute(select(tables.sealed_key).order_by(tables.sealed_key.c.id)):
        if row.proof and int.from_bytes(row.proof[:4]) == version:
            yield row


def _set_state(conn: Connection, pair: Pair, **values: object) -> None:
    column = tables.role_key.c
    this = (column.role == pair[0]) & (column.version == pair[1])
    conn.execute(update(tables.role_key).where(this).values(**values))
