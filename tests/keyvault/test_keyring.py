"""Keys sealed to process roles, and the rows they are kept in."""

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from keyvault import tables
from keyvault.errors import KeyringError, SealError
from keyvault.keyring import ROLES, RoleKeys, SealedKey, Sealer, new_halves, store_key, stored_key
from keyvault.secret import reveal
from tests.keyvault.conftest import NOW, House

PAIRS = {role: new_halves() for role in ROLES}
KEYS = {role: RoleKeys(role, {1: private}) for role, (private, _) in PAIRS.items()}
SEALER = Sealer({role: (1, public) for role, (_, public) in PAIRS.items()})


@pytest.mark.parametrize("role", ROLES)
def test_only_the_named_role_opens(role: str) -> None:
    """S16: who may read what is decided by keys."""
    key, sealed = SEALER.new_key(role, "payload", "d-1")
    for other in ROLES:
        if other == role:
            assert reveal(KEYS[other].open(sealed)) == reveal(key)
        else:
            with pytest.raises(KeyringError, match=f"worker of the role {role}"):
                KEYS[other].open(sealed)


@pytest.mark.parametrize("role", ROLES)
def test_calling_oneself_another_role_does_not_help(role: str) -> None:
    _, sealed = SEALER.new_key(role, "payload", "d-1")
    for other in set(ROLES) - {role}:
        private, _ = PAIRS[other]
        with pytest.raises(SealError):
            RoleKeys(role, {1: private}).open(sealed)


@given(st.sampled_from(["purpose", "owner", "ciphertext"]), st.data())
def test_a_sealed_key_moved_or_changed_does_not_open(member: str, data: st.DataObject) -> None:
    _, sealed = SEALER.new_key("linkage", "identifiers", "d-1")
    if member == "ciphertext":
        place = data.draw(st.integers(0, len(sealed.ciphertext) - 1))
        damaged = bytearray(sealed.ciphertext)
        damaged[place] ^= data.draw(st.integers(1, 255))
        value: Any = bytes(damaged)
    else:
        value = data.draw(st.text(max_size=20).filter(lambda text: text != getattr(sealed, member)))
    changed = dataclasses.replace(sealed, **{member: value})
    with pytest.raises(SealError, match="changed, or moved"):
        KEYS["linkage"].open(changed)


def test_an_unknown_version_says_to_restart() -> None:
    _, sealed = SEALER.new_key("linkage", "identifiers", "d-1")
    with pytest.raises(KeyringError, match="version 2"):
        KEYS["linkage"].open(dataclasses.replace(sealed, role_version=2))


def test_a_key_of_another_length_is_not_used() -> None:
    sealed = SEALER.seal("linkage", "identifiers", "d-1", b"short")
    with pytest.raises(SealError, match="another length"):
        KEYS["linkage"].open(sealed)


@given(st.text(max_size=50), st.text(max_size=50), st.binary(max_size=50))
def test_stored_form_is_read_back(purpose: str, owner: str, ciphertext: bytes) -> None:
    sealed = SealedKey("linkage", 1, purpose, owner, ciphertext)
    assert SealedKey.from_bytes(sealed.to_bytes()) == sealed


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.update(type="other"),
        lambda held: held.update(version=2),
        lambda held: held.update(more=1),
        lambda held: held.pop("owner"),
        lambda held: held.update(ciphertext="AB=="),
        lambda held: held.update(ciphertext=7),
    ],
)
def test_other_bytes_are_no_sealed_key(change: Any) -> None:
    held = json.loads(SealedKey("linkage", 1, "spine", "neet", b"c").to_bytes())
    change(held)
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    with pytest.raises(KeyringError, match="no sealed key"):
        SealedKey.from_bytes(text.encode())


@pytest.mark.parametrize("data", [b"", b"[]", b'{"type": "sealed-key"}', b"\xff"])
def test_no_json_is_no_sealed_key(data: bytes) -> None:
    with pytest.raises(KeyringError):
        SealedKey.from_bytes(data)


def test_the_age_identity_is_opened_by_intake_only() -> None:
    recipient, sealed = SEALER.new_identity("service")
    identity = KEYS["intake"].open_identity(sealed)
    message = pyrage.encrypt(b"hello", [pyrage.x25519.Recipient.from_str(recipient)])
    assert pyrage.decrypt(message, [identity]) == b"hello"
    with pytest.raises(KeyringError):
        KEYS["linkage"].open_identity(sealed)
    with pytest.raises(SealError, match="another length"):
        KEYS["intake"].open(sealed)


def test_another_key_is_no_age_identity() -> None:
    _, sealed = SEALER.new_key("intake", "payload", "d-1")
    with pytest.raises(KeyringError, match="not an age identity"):
        KEYS["intake"].open_identity(sealed)
    for data in (b"AGE-SECRET-KEY-1NONSENSE", b"\xff" * 32):
        sealed = SEALER.seal("intake", "intake-identity", "service", data)
        with pytest.raises(SealError, match="no age identity"):
            KEYS["intake"].open_identity(sealed)


def test_sealing_to_an_unknown_role() -> None:
    with pytest.raises(KeyringError, match="no process role"):
        SEALER.new_key("courier", "payload", "d-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type": "other", "version": 1, "roles": {}}',
        '{"type": "role-keys", "version": 2, "roles": {}}',
        '{"type": "role-keys", "version": 1, "roles": {"vault": {}}}',
        '{"type": "role-keys", "version": 1, "roles": {"vault": {"version": 1, "public": "AA"}}}',
        '{"type": "role-keys", "version": 1, "roles": []}',
    ],
)
def test_other_text_is_no_sealer(text: str) -> None:
    with pytest.raises(KeyringError, match="ask the vault"):
        Sealer.from_json(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"type":"role-credential"}',
        b'{"halves":{"1":"AA"},"role":"linkage","type":"role-credential","version":1}',
        b'{"halves":{},"role":"linkage","type":"role-credential","version":1}',
        b'{"halves":[],"role":"linkage","type":"role-credential","version":1}',
    ],
)
def test_other_bytes_are_no_credential(data: bytes) -> None:
    with pytest.raises(KeyringError, match="no credential"):
        RoleKeys.from_credential(data)


def test_a_credential_of_an_unknown_role() -> None:
    credential = KEYS["linkage"].credential().replace(b'"linkage"', b'"courier"')
    with pytest.raises(KeyringError, match="no credential"):
        RoleKeys.from_credential(credential)


def test_rows(house: House, conn: Connection) -> None:
    """A sealed key is kept beside its object by id; a second one becomes version 2."""
    key, sealed = house.vault.sealer(conn).new_key("release", "payload", "d-1")
    first = store_key(conn, sealed, now=NOW)
    second = store_key(conn, sealed, now=NOW)
    assert first != second
    assert reveal(house.vault.role("release").open(stored_key(conn, first))) == reveal(key)
    kept = [info for info in house.vault.keys(conn) if info.purpose == "payload"]
    assert [(info.id, info.version, info.state, info.role) for info in kept] == [
        (first, 1, "active", "release"),
        (second, 2, "active", "release"),
    ]
    assert kept[0].age(NOW + timedelta(days=3)) == timedelta(days=3)


def test_absent_and_destroyed_rows(house: House, conn: Connection) -> None:
    _, sealed = house.vault.sealer(conn).new_key("release", "payload", "d-1")
    key_id = store_key(conn, sealed, now=NOW)
    with pytest.raises(KeyringError, match="no key of that id"):
        stored_key(conn, "key-none")
    row = tables.sealed_key.c.id == key_id
    conn.execute(update(tables.sealed_key).where(row).values(state="destroyed", sealed=b""))
    with pytest.raises(KeyringError, match="destroyed"):
        stored_key(conn, key_id)


@pytest.mark.parametrize("purpose", ["permit", "pseudonym", "subject-id", "spine"])
def test_the_vaults_purposes_are_not_for_others(
    house: House, conn: Connection, purpose: str
) -> None:
    _, sealed = house.vault.sealer(conn).new_key("vault", purpose, "neet")
    with pytest.raises(KeyringError, match="the vault's to make"):
        store_key(conn, sealed, now=NOW)
