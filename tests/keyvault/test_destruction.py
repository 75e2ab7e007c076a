"""Destroying keys: refused with the names of what needs them, and final."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select

from keyvault import tables
from keyvault.errors import EnrolmentError, KeyringError
from keyvault.keyring import SealedKey, store_key, stored_key
from keyvault.ledger import entries
from tests.keyvault.conftest import NOW, House, Request
from tests.keyvault.test_rotation_kinds import rotate_role

AFTER = NOW + timedelta(days=800)
"""The permit's retention is over."""


def destroy(
    house: House, conn: Connection, purpose: str, owner: str = "service", version: int = 1,
    *, now: Any = NOW, needed: tuple[str, ...] = (),
) -> None:  # fmt: skip
    house.vault.destroy_key(
        conn, purpose, owner, version, now=now, actor="ann",
        signed=house.ceremony("destroy", purpose, owner, version), needed=lambda _: needed,
    )  # fmt: skip


def test_a_key_that_a_project_needs_is_kept(
    house: House, conn: Connection, request_: Request
) -> None:
    """Until the end of the permit's retention, and then not a day longer than two people say."""
    request_.seal(house.vault, conn)
    house.vault.scope_keys(conn, "neet", now=NOW)
    for purpose in ("pseudonym", "spine", "subject-id"):
        for now in (NOW, NOW.replace(year=2027, month=1, day=1)):
            with pytest.raises(KeyringError, match=r"permit permit-1 \(until 2027-01-01\)"):
                destroy(house, conn, purpose, "neet", now=now)
        destroy(house, conn, purpose, "neet", now=AFTER)
    with pytest.raises(KeyringError, match="destroyed"):
        house.vault.scope_keys(conn, "neet", now=AFTER)
    facts = [entry.facts for entry in entries(conn) if entry.kind == "key.destroyed"]
    assert [fact["purpose"] for fact in facts] == ["pseudonym", "spine", "subject-id"]
    assert all(fact["signed_by"] == ["ann", "bob"] for fact in facts)


def test_what_the_caller_keeps_is_named(house: House, conn: Connection) -> None:
    """A few of them; and when nothing is left the sealed bytes go out of the row."""
    _, sealed = house.vault.sealer(conn).new_key("release", "payload", "d-1")
    name = store_key(conn, sealed, now=NOW)
    for needed, told in ((("delivery d-1",), "d-1. It"), (tuple("abcdefgh"), "e and 3 more")):
        with pytest.raises(KeyringError, match=told):
            destroy(house, conn, "payload", "d-1", needed=needed)
    destroy(house, conn, "payload", "d-1")
    row = conn.execute(select(tables.sealed_key).where(tables.sealed_key.c.id == name)).one()
    assert (row.state, SealedKey.from_bytes(row.sealed).ciphertext) == ("destroyed", b"")
    with pytest.raises(KeyringError, match="destroyed"):
        stored_key(conn, name)
    with pytest.raises(KeyringError, match="no such key"):
        destroy(house, conn, "payload", "d-1")


def test_the_services_own_keys(house: House, conn: Connection, request_: Request) -> None:
    """The active one never; one before when what it signed is over; ledger and receipts stay."""
    request_.seal(house.vault, conn)
    origin = house.vault.ledger(conn).origin
    for purpose in ("permit", "token", "job", "intake-identity"):
        with pytest.raises(KeyringError, match="rotate it first"):
            destroy(house, conn, purpose)
        house.vault.rotate_key(conn, purpose, now=NOW)
    for purpose, owner in (("ledger", origin), ("receipt", "service")):
        with pytest.raises(KeyringError, match="that it signed"):
            destroy(house, conn, purpose, owner)
    with pytest.raises(KeyringError, match="less than an hour"):
        destroy(house, conn, "token", now=NOW + timedelta(minutes=59))
    destroy(house, conn, "token", now=NOW + timedelta(minutes=61))
    assert len(house.vault.jwks(conn)["keys"]) == 1
    with pytest.raises(KeyringError, match="permit-1"):
        destroy(house, conn, "permit")
    destroy(house, conn, "permit", now=AFTER)
    destroy(house, conn, "intake-identity")
    destroy(house, conn, "job")


def test_two_administrators_destroy(house: House, conn: Connection) -> None:
    _, sealed = house.vault.sealer(conn).new_key("release", "payload", "d-1")
    store_key(conn, sealed, now=NOW)
    alone = house.ceremony("destroy", "payload", "d-1")
    alone["signatures"].pop()
    ask: dict[str, Any] = {"now": NOW, "actor": "ann", "needed": lambda _: ()}
    with pytest.raises(EnrolmentError, match="two different"):
        house.vault.destroy_key(conn, "payload", "d-1", 1, signed=alone, **ask)
    other = house.ceremony("rotate", "payload", "d-1")
    with pytest.raises(KeyringError, match="another key"):
        house.vault.destroy_key(conn, "payload", "d-1", 1, signed=other, **ask)


def test_a_rotation_after_it(house: House) -> None:
    """A destroyed key stays one, and hinders no rotation of the roles."""
    with house.engine.begin() as conn:
        house.vault.rotate_key(conn, "token", now=NOW)
        destroy(house, conn, "token", now=AFTER)
    for role in ("release", "vault"):
        assert rotate_role(house, role)[-1] == "destroyed"
    with house.engine.begin() as conn:
        assert len(house.vault.jwks(conn)["keys"]) == 1
