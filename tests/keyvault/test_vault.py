"""The door: founding, permits, pseudonyms, signatures, and the list of keys."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from keyvault import keyring, tables
from keyvault.custody import FileCustody
from keyvault.errors import (
    EnrolmentError,
    KeyringError,
    PermitAbsentError,
    PermitChangedError,
    PermitError,
    PseudonymError,
    SealError,
    SignatureError,
)
from keyvault.ledger import entries, verify
from keyvault.ownkeys import KeyRows
from keyvault.pseudonyms import Origins, check, subject_ids
from keyvault.safe import Safe
from keyvault.secret import reveal
from keyvault.signing import canonical, check_bytes, public_text, verify_receipt
from keyvault.vault import Vault
from keyvault.wrapping import _pair_aad
from policies.permits import sha256
from tests.keyvault.conftest import (
    NOW,
    House,
    Request,
    Someone,
    approval_of,
    new_engine,
    request_of,
    someone,
)

KEY = tables.sealed_key.c
PERMIT = tables.permit.c
SUBJECTS = pa.array([bytes([n]) * 16 for n in range(5)], pa.binary(16))


# Founding


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    """A database with tables and no keys, and a custody."""
    engine = new_engine(tmp_path / "empty.db")
    with engine.begin() as conn:
        tables.metadata.create_all(conn)
        yield conn, FileCustody.create(tmp_path / "empty.json")
    engine.dispose()


def test_founding_takes_two_administrators(empty: Any) -> None:
    conn, custody = empty
    ann, bob, dora = someone("ann", "administrator"), someone("bob", "dpo"), someone("dora", "dpo")
    one_key = Someone("carl", ("administrator",), ann.signing, bob.authentication)
    for founders in (
        [],
        [ann.enrolment()],
        [ann.enrolment(), bob.enrolment(), dora.enrolment()],
        [ann.enrolment(), ann.enrolment()],
        [ann.enrolment(), one_key.enrolment()],
    ):
        with pytest.raises(EnrolmentError):
            Vault.found(conn, custody, founders, now=NOW)


def test_a_vault_is_founded_once(house: House, conn: Connection) -> None:
    founders = [house.ann.enrolment(), house.bob.enrolment()]
    with pytest.raises(KeyringError, match="has its keys already"):
        Vault.found(conn, house.custody, founders, now=NOW)


def test_an_empty_database_says_what_to_do(empty: Any) -> None:
    conn, custody = empty
    with pytest.raises(KeyringError, match="schakel init"):
        Vault.open(conn, custody)
    with pytest.raises(KeyringError, match="schakel init"):
        Safe(custody).rotate(conn, now=NOW, actor=None)


def test_the_sealed_founders_are_needed(house: House, conn: Connection) -> None:
    conn.execute(delete(tables.founders))
    with pytest.raises(SealError, match="founders are gone"):
        Vault.open(conn, house.custody).people(conn)


def test_what_is_there_from_the_start(house: House, conn: Connection) -> None:
    found = {(key.purpose, key.owner) for key in house.vault.keys(conn)}
    assert {("role", role) for role in keyring.ROLES} <= found
    own = {("permit", "service"), ("receipt", "service"), ("token", "service")}
    assert own | {("intake-identity", "service"), ("root", "service")} <= found
    assert all(key.state == "active" for key in house.vault.keys(conn))
    assert all(key.age(NOW + timedelta(days=1)) == timedelta(days=1) for key in _first(house, conn))


def _first(house: House, conn: Connection) -> list[keyring.KeyInfo]:
    return [key for key in house.vault.keys(conn) if key.purpose in ("root", "role", "permit")]


def test_roles(house: House, conn: Connection) -> None:
    for role in keyring.ROLES:
        key, sealed = house.vault.sealer(conn).new_key(role, "payload", "d-1")
        assert reveal(house.vault.role(role).open(sealed)) == reveal(key)
    with pytest.raises(KeyringError, match="no process role"):
        house.vault.role("courier")


def test_a_swapped_public_half_is_noticed(house: House, conn: Connection) -> None:
    """Whoever captured the database can't have new keys sealed to themselves."""
    _, public = keyring.new_halves()
    row = tables.role_key.c.role == "linkage"
    conn.execute(update(tables.role_key).where(row).values(public=public))
    with pytest.raises(SealError):
        house.vault.sealer(conn)
    with pytest.raises(SealError):
        Vault.open(conn, house.custody)


def test_a_swapped_private_half_is_noticed(house: House, conn: Connection) -> None:
    wrapped = {row.role: row.wrapped for row in conn.execute(select(tables.role_key))}
    row = tables.role_key.c.role == "linkage"
    conn.execute(update(tables.role_key).where(row).values(wrapped=wrapped["release"]))
    with pytest.raises(SealError):
        Vault.open(conn, house.custody)


def test_a_new_version_of_a_role_is_taken_up(house: House, conn: Connection) -> None:
    """What another process did is seen by this one: here linkage's pair made anew."""
    other = Vault.open(conn, house.custody)
    row = conn.execute(select(tables.role_key).where(tables.role_key.c.role == "linkage")).one()
    _, old = house.vault.sealer(conn).new_key("linkage", "identifiers", "d-1")
    private, public = keyring.new_halves()
    conn.execute(
        update(tables.role_key)
        .where(tables.role_key.c.role == "linkage")
        .values(state="decrypt-only")
    )
    wrapped = house.custody.wrap(1, private, _pair_aad("linkage", 2, public))
    values = {**row._asdict(), "version": 2, "public": public, "wrapped": wrapped}
    conn.execute(insert(tables.role_key).values(values))
    key, sealed = other.sealer(conn).new_key("linkage", "identifiers", "d-2")
    assert sealed.role_version == 2
    assert reveal(other.role("linkage").open(sealed)) == reveal(key)
    other.role("linkage").open(old)


# The vault's own keys


def test_scope_keys_are_made_once(house: House, conn: Connection) -> None:
    first = house.vault.scope_keys(conn, "neet", now=NOW)
    again = Vault.open(conn, house.custody).scope_keys(conn, "neet", now=NOW)
    assert first == again
    other = house.vault.scope_keys(conn, "other", now=NOW)
    linkage = house.vault.role("linkage")
    opened = [linkage.open(key) for keys in (first, other) for key in (keys.spine, keys.subject_id)]
    assert len({reveal(key) for key in opened}) == 4
    made = [entry.facts for entry in entries(conn) if entry.kind == "key.created"]
    assert [(fact["purpose"], fact["owner"]) for fact in made] == [
        ("spine", "neet"),
        ("subject-id", "neet"),
        ("spine", "other"),
        ("subject-id", "other"),
    ]
    assert len(subject_ids(opened[1], Origins("d", "2024", 1, pa.array([1, 2]), "self"))) == 2


def test_two_processes_make_one_scope_key(
    house: House, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race on "create if absent": the other one's row comes between look and insert."""
    made = house.vault.scope_keys(conn, "neet", now=NOW)
    look = KeyRows._select
    seen: list[bool] = []

    def too_early(*args: Any) -> Any:
        seen.append(True)
        return [] if len(seen) == 1 else look(*args)

    monkeypatch.setattr(KeyRows, "_select", too_early)
    monkeypatch.setattr("keyvault.ownkeys.next_version", lambda *_: 1)
    assert house.vault.scope_keys(conn, "neet", now=NOW) == made


def test_a_destroyed_key_is_not_made_anew(house: House, conn: Connection) -> None:
    """S15, S36: after the key's destruction there is no next wave."""
    house.vault.scope_keys(conn, "neet", now=NOW)
    row = (KEY.purpose == "subject-id") & (KEY.owner == "neet")
    conn.execute(update(tables.sealed_key).where(row).values(state="destroyed", sealed=b""))
    with pytest.raises(KeyringError, match="was destroyed"):
        house.vault.scope_keys(conn, "neet", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"proof": None},
        {"proof": b""},
        {"proof": b"\0\0\0\1" + b"p" * 32},
        {"proof": b"\0\0\0\7" + b"p" * 32},
        {"public": public_text(someone("x").signing)},
        {"owner": "elsewhere"},
        {"id": "key-other"},
        {"version": 2},
        {"role": "linkage"},
    ],
)
def test_a_changed_key_row_is_not_used(
    house: House, conn: Connection, change: dict[str, Any]
) -> None:
    row = conn.execute(select(tables.sealed_key).where(KEY.purpose == "ledger")).one()
    house.vault.ledger(conn)
    conn.execute(update(tables.sealed_key).where(KEY.id == row.id).values(change))
    with pytest.raises(SealError, match="not made by this vault"):
        house.vault.ledger(conn)


def test_a_key_of_ones_own_slipped_in_is_not_used(house: House, conn: Connection) -> None:
    """Sealing takes public halves only, so anybody can; the proof is what they can't."""
    sealer = house.vault.sealer(conn)
    for purpose in ("permit", "token"):
        _, sealed = sealer.new_key("vault", purpose, "service")
        row = KEY.purpose == purpose
        public = public_text(someone("mallory").signing)
        values = {"sealed": sealed.to_bytes(), "public": public}
        conn.execute(update(tables.sealed_key).where(row).values(values))
    vault = Vault.open(conn, house.custody)
    with pytest.raises(SealError):
        vault.jwks(conn)
    with pytest.raises(SealError):
        request_of(house.others["dora"], house.others["dirk"]).seal(vault, conn)


def test_intake_identities(house: House, conn: Connection) -> None:
    recipient = house.vault.public_keys(conn)["uploads"]
    upload = pyrage.encrypt(b"rows", [pyrage.x25519.Recipient.from_str(recipient)])
    intake = house.vault.role("intake")
    identities = [intake.open_identity(key) for key in house.vault.intake_identities(conn)]
    assert pyrage.decrypt(upload, identities) == b"rows"


def test_keys_that_are_missing_or_spent(house: House, conn: Connection) -> None:
    token = KEY.purpose == "token"
    conn.execute(update(tables.sealed_key).where(token).values(state="decrypt-only"))
    with pytest.raises(KeyringError, match="no active key for token"):
        house.vault.sign_token(
            conn, issuer="i", audience="a", subject="s", lifetime=timedelta(minutes=1), now=NOW
        )
    assert len(house.vault.jwks(conn)["keys"]) == 1, "it still verifies"
    conn.execute(update(tables.sealed_key).where(token).values(state="destroyed"))
    with pytest.raises(KeyringError, match="no key for token"):
        house.vault.jwks(conn)


def test_rotating_what_does_not_rotate(house: House, conn: Connection) -> None:
    for purpose in ("subject-id", "spine", "payload"):
        with pytest.raises(KeyringError, match="next version"):
            house.vault.rotate_key(conn, purpose, now=NOW)


# Permits


def test_a_permit_is_sealed(house: House, conn: Connection, request_: Request) -> None:
    envelope = request_.seal(house.vault, conn)
    check_bytes(canonical(envelope["permit"]), envelope["signature"], envelope["key"])
    assert envelope["key"] in house.vault.public_keys(conn)["permit"]
    assert envelope["state"] == "in_force"
    assert envelope["permit"]["signatures"]["advice"] == request_.advice
    assert house.vault.permit_envelope(conn, "permit-1") == envelope
    permit = Vault.open(conn, house.custody).permit(conn, "permit-1", "release", now=NOW)
    assert (permit.id, permit.project) == ("permit-1", "neet")
    *_, sealed = entries(conn)
    assert (sealed.kind, sealed.actor) == ("permit.sealed", "dirk")
    assert sealed.facts["sha256"] == sha256(envelope["permit"])


def _resign(who: Someone, signed: dict[str, Any], **changes: Any) -> dict[str, Any]:
    document = {**signed["document"], **changes}
    return {"document": document, "signature": who.sign(document)}


Spoil = Callable[[House, Request], None]


def _one_person(house: House, request: Request) -> None:
    both = house.others["both"]
    request.advice = _resign(both, request.advice, by="both")
    request.approval = both.decide(approval_of(request.advice["document"]))


def _wrong_dpo(house: House, request: Request) -> None:
    request.advice = _resign(house.others["dirk"], request.advice, by="dirk")
    request.approval = house.others["dirk"].decide(approval_of(request.advice["document"]))


def _wrong_director(house: House, request: Request) -> None:
    dora = house.others["both2"]
    request.approval = dora.decide(approval_of(request.advice["document"]))


def _changed_advice(house: House, request: Request) -> None:
    request.advice = _resign(house.others["dora"], request.advice, text="On second thoughts.")


def _unsigned_change(house: House, request: Request) -> None:
    request.advice = {**request.advice, "document": {**request.advice["document"], "text": "x"}}


def _unfavourable(house: House, request: Request) -> None:
    request.advice = _resign(house.others["dora"], request.advice, opinion="unfavourable")
    request.approval = house.others["dirk"].decide(approval_of(request.advice["document"]))


def _refused(house: House, request: Request) -> None:
    request.approval = _resign(house.others["dirk"], request.approval, decision="refused")


def _another_text(house: House, request: Request) -> None:
    request.application = {**request.application, "motivation": "Something else."}


def _wider_permit(house: House, request: Request) -> None:
    request.permit = {**request.permit, "valid_until": "2026-12-31"}


def _finer_permit(house: House, request: Request) -> None:
    [dataset] = request.permit["datasets"]
    variables = [{"name": "birth", "as": "age", "rule": [{"year": {}}]}]
    request.permit = {**request.permit, "datasets": [{**dataset, "variables": variables}]}


def _another_application(house: House, request: Request) -> None:
    request.permit = {**request.permit, "application": "other-1"}


def _anothers_scope(house: House, request: Request) -> None:
    request.permit = {**request.permit, "scope": "standard"}


def _no_permit(house: House, request: Request) -> None:
    request.permit = {**request.permit, "kind": "identified"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_one_person, "two different people"),
        (_wrong_dpo, "not enrolled as dpo"),
        (_wrong_director, "not enrolled as director"),
        (_changed_advice, "another text of the advice"),
        (_unsigned_change, "signature of the dpo"),
        (_unfavourable, "not favourable"),
        (_refused, "not an approval"),
        (_another_text, "another text of the application"),
        (_wider_permit, "something else than was applied for"),
        (_finer_permit, "something else than was applied for"),
        (_another_application, "another application"),
        (_anothers_scope, "its own project"),
        (_no_permit, "kind"),
    ],
)
def test_what_is_not_sealed(
    house: House, conn: Connection, request_: Request, spoil: Spoil, reason: str
) -> None:
    """S26, P05: two people, each in their own part, and exactly what was asked."""
    later = NOW + timedelta(minutes=1)
    house.enrol(conn, someone("both", "dpo", "director"), later)
    house.enrol(conn, someone("both2", "dpo"), later)
    spoil(house, request_)
    with pytest.raises(PermitError, match=reason):
        request_.seal(house.vault, conn)
    assert conn.execute(select(tables.permit)).first() is None


def test_a_project_links_in_its_own_scope(
    house: House, conn: Connection, request_: Request
) -> None:
    """S15: a permit that named another project's spine would open what was linked for that one."""
    request_.permit = {**request_.permit, "scope": "another"}
    with pytest.raises(PermitError, match="scope is its own project"):
        request_.seal(house.vault, conn)


def test_a_vault_in_ones_own_process_gives_its_roles_and_nothing_else(house: House) -> None:
    """Closing it is for vaults elsewhere; here it changes nothing."""
    house.vault.close()
    assert house.vault.role("linkage").credential() == house.safe.role("linkage").credential()
    with pytest.raises(KeyringError, match="no process role reader"):
        house.vault.role("reader")


def test_a_permits_id_is_used_once(house: House, conn: Connection, request_: Request) -> None:
    request_.seal(house.vault, conn)
    with pytest.raises(PermitError, match="of that id already"):
        request_.seal(house.vault, conn)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_permit_changed_by_one_byte(
    house: House, conn: Connection, request_: Request, data: st.DataObject
) -> None:
    """Body or signature, any byte: no use of it is allowed any more."""
    if conn.execute(select(tables.permit)).first() is None:
        request_.seal(house.vault, conn)
    row = conn.execute(select(tables.permit)).one()
    body = bytearray(row.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with conn.begin_nested() as savepoint:
        conn.execute(update(tables.permit).values(body=bytes(body)))
        for use in ("link", "release", "pseudonymise", "download"):
            with pytest.raises(PermitChangedError, match="not the one that was signed"):
                house.vault.permit(conn, "permit-1", use, now=NOW)
        for call in (house.vault.suspend, house.vault.resume):
            with pytest.raises(PermitError):
                call(conn, "permit-1", now=NOW)
        with pytest.raises(PermitError):
            house.vault.permit_envelope(conn, "permit-1")
        with pytest.raises(PermitError):
            house.vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
        savepoint.rollback()
    house.vault.permit(conn, "permit-1", "release", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "A" * 86},
        {"signature": ""},
        {"key_version": 2},
        {"project": "other"},
        {"id": "permit-2"},
    ],
)
def test_a_permits_row_is_held_to_its_bytes(
    house: House, conn: Connection, request_: Request, change: dict[str, Any]
) -> None:
    request_.seal(house.vault, conn)
    conn.execute(update(tables.permit).values(change))
    with pytest.raises(PermitError):
        house.vault.permit(conn, change.get("id", "permit-1"), "release", now=NOW)


def test_a_permits_times_and_state(house: House, conn: Connection, request_: Request) -> None:
    """S36: outside its time, or suspended, it allows nothing, and says why."""
    vault = house.vault
    request_.seal(vault, conn)
    for now, reason in (
        (datetime(2024, 12, 31, 22, 59, tzinfo=UTC), "before 2025-01-01"),
        (datetime(2025, 12, 31, 23, tzinfo=UTC), "expired"),  # midnight in Brussels
    ):
        with pytest.raises(PermitError, match=reason):
            vault.permit(conn, "permit-1", "release", now=now)
        with pytest.raises(PermitError, match=reason):
            vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=now)
    vault.suspend(conn, "permit-1", now=NOW, actor="dirk")
    assert vault.permit_envelope(conn, "permit-1")["state"] == "suspended"
    with pytest.raises(PermitError, match="suspended"):
        vault.permit(conn, "permit-1", "download", now=NOW)
    with pytest.raises(PermitError, match="not in force"):
        vault.suspend(conn, "permit-1", now=NOW)
    vault.resume(conn, "permit-1", now=NOW, actor="dirk")
    vault.permit(conn, "permit-1", "download", now=NOW)
    with pytest.raises(PermitError, match="not suspended"):
        vault.resume(conn, "permit-1", now=NOW)
    assert [entry.kind for entry in entries(conn)][-2:] == ["permit.suspended", "permit.resumed"]


def test_no_permit_no_pseudonyms(house: House, conn: Connection) -> None:
    with pytest.raises(PermitAbsentError, match="no permit of that id"):
        house.vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)


def test_a_suspended_permit_can_not_be_had_again(
    house: House, conn: Connection, request_: Request
) -> None:
    """The same signatures under another id would undo a suspension."""
    request_.seal(house.vault, conn)
    house.vault.suspend(conn, "permit-1", now=NOW)
    request_.permit = {**request_.permit, "id": "permit-2"}
    with pytest.raises(PermitError, match="has its permit already"):
        request_.seal(house.vault, conn)


# Pseudonyms


def test_pseudonyms_under_a_permit(house: House, conn: Connection, request_: Request) -> None:
    """S15: the same in every wave and every process, another for every project."""
    request_.seal(house.vault, conn)
    ask = {"unit_type": "person", "subject_ids": SUBJECTS, "now": NOW}
    first = house.vault.pseudonyms(conn, "permit-1", actor="release", **ask)
    again = Vault.open(conn, house.custody).pseudonyms(conn, "permit-1", **ask)
    assert first.equals(again)
    assert {check(text).version for text in first.to_pylist()} == {1}

    other = request_of(house.others["dora"], house.others["dirk"])
    other.application = {**other.application, "project": "other"}
    dora, dirk = house.others["dora"], house.others["dirk"]
    other.advice = _resign(dora, other.advice, application_sha256=sha256(other.application))
    other.approval = dirk.decide(approval_of(other.advice["document"]))
    other.permit = {**other.permit, "project": "other", "scope": "other", "id": "permit-2"}
    other.seal(house.vault, conn)
    elsewhere = house.vault.pseudonyms(conn, "permit-2", **ask)
    assert not set(first.to_pylist()) & set(elsewhere.to_pylist())

    given_ = [entry for entry in entries(conn) if entry.kind == "pseudonyms.given"]
    assert [entry.facts["project"] for entry in given_] == ["neet", "neet", "other"]
    assert given_[0].facts["count"] == 5
    assert given_[0].actor == "release"
    with pytest.raises(PseudonymError):
        house.vault.pseudonyms(conn, "permit-1", "dog", SUBJECTS, now=NOW)


def test_two_permits_of_one_project_share_pseudonyms(
    house: House, conn: Connection, request_: Request
) -> None:
    """S15, S30: what a project gets later lines up with what it has."""
    request_.seal(house.vault, conn)
    later = request_of(house.others["dora"], house.others["dirk"])
    dora, dirk = house.others["dora"], house.others["dirk"]
    later.advice = _resign(dora, later.advice, application="neet-2")
    later.approval = dirk.decide(approval_of(later.advice["document"]))
    later.permit = {**later.permit, "application": "neet-2", "id": "permit-2"}
    later.seal(house.vault, conn)
    ask = {"unit_type": "person", "subject_ids": SUBJECTS, "now": NOW}
    one, two = (house.vault.pseudonyms(conn, permit, **ask) for permit in ("permit-1", "permit-2"))
    assert one.equals(two)


def test_a_next_pseudonym_key(house: House, conn: Connection, request_: Request) -> None:
    request_.seal(house.vault, conn)
    old = house.vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
    assert house.vault.rotate_key(conn, "pseudonym", "neet", now=NOW) == 2
    new = house.vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
    assert {check(text).version for text in new.to_pylist()} == {2}
    assert not {text[2:] for text in old.to_pylist()} & {text[2:] for text in new.to_pylist()}
    states = [
        (key.version, key.state) for key in house.vault.keys(conn) if key.purpose == "pseudonym"
    ]
    assert states == [(1, "decrypt-only"), (2, "active")]
    for version in range(3, 32):
        assert house.vault.rotate_key(conn, "pseudonym", "neet", now=NOW) == version
    with pytest.raises(KeyringError, match="31 key versions"):
        house.vault.rotate_key(conn, "pseudonym", "neet", now=NOW)


def test_a_next_permit_key(house: House, conn: Connection, request_: Request) -> None:
    """Permits signed under the key before stay good."""
    request_.seal(house.vault, conn)
    assert house.vault.rotate_key(conn, "permit", now=NOW) == 2
    house.vault.permit(conn, "permit-1", "release", now=NOW)
    assert house.vault.permit_envelope(conn, "permit-1")["key_version"] == 1
    spent = (KEY.purpose == "permit") & (KEY.version == 1)
    conn.execute(update(tables.sealed_key).where(spent).values(state="destroyed"))
    with pytest.raises(PermitError, match="no longer valid"):
        house.vault.permit(conn, "permit-1", "release", now=NOW)


# Signatures of the service


def test_receipts_and_manifests(house: House, conn: Connection) -> None:
    [public] = house.vault.public_keys(conn)["receipt"]
    receipt = house.vault.sign_receipt(conn, {"type": "receipt", "version": 1, "delivery": "d-1"})
    manifest = house.vault.sign_manifest(conn, {"type": "manifest", "version": 1, "files": []})
    verify_receipt(receipt, public)
    verify_receipt(manifest, public)
    with pytest.raises(SignatureError):
        verify_receipt({**receipt, "delivery": "d-2"}, public)
    with pytest.raises(SignatureError, match="is `manifest`"):
        house.vault.sign_manifest(conn, {"type": "receipt", "version": 1})
    assert house.vault.rotate_key(conn, "receipt", now=NOW) == 2
    new, old = house.vault.public_keys(conn)["receipt"]
    assert old == public
    signed = house.vault.sign_receipt(conn, {"type": "receipt", "version": 1})
    assert signed["signature"]["key"] == new
    with pytest.raises(SignatureError, match="receipts and manifests"):
        house.safe.sign_document(conn, {"type": "permit", "version": 1})
    with pytest.raises(SignatureError, match="is `receipt`"):
        house.vault.sign_receipt(conn, {"type": "permit", "version": 1})


def test_the_ledger_of_all_this_is_whole(house: House, conn: Connection) -> None:
    [verifier] = house.vault.public_keys(conn)["ledger"]
    assert verify(conn, verifier) == []
