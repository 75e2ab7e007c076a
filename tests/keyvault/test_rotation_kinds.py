"""Every key rotates, on every custody, killed anywhere: what was made before stays as it was."""

import os
import random
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Connection, Engine, event, select, update

from keyvault import pairs, pseudonyms, tables
from keyvault.ceremonies import document, standing_of
from keyvault.custody import FileCustody, last_version
from keyvault.errors import CustodyError, EnrolmentError, KeyringError, SealError
from keyvault.keyring import ROLES, SealedKey, store_key, stored_key
from keyvault.ledger import entries, verify
from keyvault.ownkeys import KeyRows
from keyvault.safe import Safe
from keyvault.sealing import open_bytes, seal_bytes
from keyvault.secret import reveal
from keyvault.vault import Vault
from tests.keyvault.conftest import NOW, House, Request, new_engine, safe_of
from tests.keyvault.custodies import Kept
from tests.keyvault.test_rotation import SUBJECTS, Work

STEPS = ("pending", "active", "rewrapped", "destroyed")


def rotate_role(house: House, role: str, vault: Vault | None = None) -> list[str]:
    """A whole rotation; the steps it took."""
    vault, steps = vault or house.vault, list[str]()
    while steps[-1:] != ["destroyed"]:
        steps.append(vault.rotate_role(house.engine.begin, role, now=NOW).step)
    return steps


@pytest.fixture
def work(house: House, request_: Request) -> Work:
    with house.engine.begin() as conn:
        return Work(house.vault, conn, request_)


# Process roles


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_key_pair_rotates(house: House, work: Work, role: str) -> None:
    """S15: no file and no pseudonym changes; nothing is left that the old half would open."""
    with house.engine.begin() as conn:
        before = {row.id: row for row in conn.execute(select(tables.sealed_key))}
    steps = rotate_role(house, role)
    assert set(steps) <= set(STEPS)
    assert [steps[0], steps[1], steps[-1]] == ["pending", "active", "destroyed"]
    with house.engine.begin() as conn:
        work.goes_on(house.vault, conn)
        column = tables.role_key.c
        rows = conn.execute(select(tables.role_key).where(column.role == role)).all()
        states = {row.version: (row.state, bool(row.wrapped)) for row in rows}
        assert states == {1: ("destroyed", False), 2: ("active", True)}
        after = {row.id: row for row in conn.execute(select(tables.sealed_key)) if row.id in before}
        for identifier, row in after.items():
            same = row._asdict() == before[identifier]._asdict()
            assert same == (row.role != role and role != "vault") or role == "vault"
            version = SealedKey.from_bytes(row.sealed).role_version
            assert version == (2 if row.role == role else 1)
        assert list(pairs.sealed_to(conn, (role, 1))) == []
        kinds = [entry.kind for entry in entries(conn) if entry.kind.startswith("role.")]
        assert kinds == ["role.pending", "role.rotated", "role.destroyed"]
        assert verify(conn, house.vault.ledger(conn).verifier) == []
    with house.engine.begin() as conn:
        fresh = Vault.open(conn, FileCustody.open(house.custody._path))
        work.goes_on(fresh, conn)
        assert fresh.public_keys(conn) == house.vault.public_keys(conn)


def test_a_worker_that_has_not_learned_a_key_meets_nothing_sealed_with_it(
    house: House, work: Work
) -> None:
    """Two workers with different keyrings: pending is what keeps the one that knows less safe."""
    with house.engine.begin() as conn:
        slow = house.vault.role("release")
    progress = house.vault.rotate_role(house.engine.begin, "release", now=NOW)
    assert progress.step == "pending"
    with house.engine.begin() as conn:
        quick = Vault.open(conn, FileCustody.open(house.custody._path))
        key, sealed = quick.sealer(conn).new_key("release", "payload", "d-9")
        assert sealed.role_version == 1, "known, and not yet sealed to"
        assert reveal(slow.open(sealed)) == reveal(key)
        learned = quick.role("release")
    assert house.vault.rotate_role(house.engine.begin, "release", now=NOW).step == "active"
    with house.engine.begin() as conn:
        key, sealed = quick.sealer(conn).new_key("release", "payload", "d-10")
        assert sealed.role_version == 2
        assert reveal(learned.open(sealed)) == reveal(key)
        with pytest.raises(KeyringError, match="wasn't given"):
            slow.open(sealed)  # what pending spares everybody who learns meanwhile


def test_another_process_learns_before_its_next_piece_of_work(house: House, work: Work) -> None:
    """Of every role: a vault that was opened before the rotation began."""
    with house.engine.begin() as conn:
        other = Vault.open(conn, FileCustody.open(house.custody._path))
        other.learn(conn)
    for role in ROLES:
        assert house.vault.rotate_role(house.engine.begin, role, now=NOW).step == "pending"
        with house.engine.begin() as conn:
            other.learn(conn)
        rotate_role(house, role)
        with house.engine.begin() as conn:
            other._keys = KeyRows(safe_of(other).prove)
            work.goes_on(other, conn)


def test_a_key_sealed_to_what_was_destroyed_is_not_kept(house: House, work: Work) -> None:
    """Work that took longer than the rotation begins again, rather than lose what it made."""
    with house.engine.begin() as conn:
        late = house.vault.sealer(conn)
    _, sealed = late.new_key("release", "payload", "d-9")
    rotate_role(house, "release")
    with house.engine.begin() as conn, pytest.raises(KeyringError, match="begin again"):
        store_key(conn, sealed, now=NOW)


def test_what_is_sealed_meanwhile_is_rewrapped_too(house: House, work: Work) -> None:
    """The old half goes when nothing needs it, however long somebody seals to it."""
    with house.engine.begin() as conn:
        late = house.vault.sealer(conn)
    for _ in range(2):
        house.vault.rotate_role(house.engine.begin, "release", now=NOW)
    for number in range(3):
        key, sealed = late.new_key("release", "payload", f"d-late-{number}")
        with house.engine.begin() as conn:
            name = store_key(conn, sealed, now=NOW)
        progress = house.vault.rotate_role(house.engine.begin, "release", now=NOW)
        assert progress.step == "rewrapped"
        with house.engine.begin() as conn:
            assert reveal(house.vault.role("release").open(stored_key(conn, name))) == reveal(key)
    assert house.vault.rotate_role(house.engine.begin, "release", now=NOW).step == "destroyed"


def test_a_rotation_says_how_far_it_is(house: House, work: Work) -> None:
    with house.engine.begin() as conn:
        for number in range(7):
            _, sealed = house.vault.sealer(conn).new_key("release", "payload", f"d-{number}")
            store_key(conn, sealed, now=NOW)
        waiting = len(list(pairs.sealed_to(conn, ("release", 1))))
    told = []
    while not told or told[-1][0] != "destroyed":
        progress = house.safe.rotate_role(
            house.engine.begin, "release", now=NOW, actor=None, signed=None, most=3
        )
        told.append((progress.step, progress.left))
    rewrapped = [("rewrapped", max(0, waiting - done)) for done in range(3, waiting + 3, 3)]
    assert told == [("pending", 0), ("active", 0), *rewrapped, ("destroyed", 0)]


def test_a_ceremony_is_good_until_its_rotation_is_over(house: House, work: Work) -> None:
    signed = house.ceremony("rotate", "role", "linkage")
    ask: dict[str, Any] = {"now": NOW, "actor": "ann"}
    steps = []
    while steps[-1:] != ["destroyed"]:
        progress = house.vault.rotate_role(house.engine.begin, "linkage", **ask, signed=signed)
        steps.append(progress.step)
    assert steps[:2] == ["pending", "active"]
    with pytest.raises(KeyringError, match="doesn't stand any more"):
        house.vault.rotate_role(house.engine.begin, "linkage", **ask, signed=signed)
    with pytest.raises(KeyringError, match="another key"):
        house.vault.rotate_role(house.engine.begin, "release", **ask, signed=signed)
    with pytest.raises(KeyringError, match="no process role"):
        house.vault.rotate_role(house.engine.begin, "boss", **ask, signed=signed)


def test_a_row_somebody_slipped_in_is_not_proved_by_a_rotation(house: House, work: Work) -> None:
    """A rotation gives proofs anew, and only to rows that had one that holds."""
    with house.engine.begin() as conn:
        row = conn.execute(
            select(tables.sealed_key).where(tables.sealed_key.c.purpose == "permit")
        ).one()
        forged = (tables.sealed_key.c.id == row.id, row.proof[:4] + bytes(32))
        conn.execute(update(tables.sealed_key).where(forged[0]).values(proof=forged[1]))
    house.vault.rotate_role(house.engine.begin, "vault", now=NOW)
    house.vault.rotate_role(house.engine.begin, "vault", now=NOW)
    with pytest.raises(SealError, match="not made by this vault"):
        house.vault.rotate_role(house.engine.begin, "vault", now=NOW)


# The service's own keys


def test_the_ledgers_key_rotates(house: House, work: Work) -> None:
    """One ledger, two keys: every checkpoint holds, and a note kept from before does too."""
    with house.engine.begin() as conn:
        origin = house.vault.ledger(conn).origin
        old = list(entries(conn))[-1].checkpoint
        assert house.vault.rotate_key(conn, "ledger", origin, now=NOW) == 2
    with house.engine.begin() as conn:
        house.vault.suspend(conn, "permit-1", now=NOW)
        new, before = house.vault.public_keys(conn)["ledger"]
        assert verify(conn, [new, before], checkpoints=[old]) == []
        assert verify(conn, new) != []
        assert house.vault.ledger(conn).verifier == new


def test_the_intake_recipient_rotates(house: House, work: Work) -> None:
    """Uploads under way, encrypted to the old one, still open."""
    with house.engine.begin() as conn:
        old = house.vault.public_keys(conn)["uploads"]
        assert house.vault.rotate_key(conn, "intake-identity", now=NOW) == 2
        new = house.vault.public_keys(conn)["uploads"]
        role = house.vault.role("intake")
        opened = [role.open_identity(one) for one in house.vault.intake_identities(conn)]
    assert [str(identity.to_public()) for identity in opened] == [new, old]


def test_keys_tell_their_age_and_when_they_are_due(house: House, conn: Connection) -> None:
    keys = house.vault.keys(conn)
    by_purpose = {key.purpose: key for key in keys}
    assert by_purpose["token"].due == NOW + timedelta(days=90)
    assert by_purpose["root"].age(NOW + timedelta(days=3)) == timedelta(days=3)
    house.vault.rotate_key(conn, "token", now=NOW)
    due = {(key.version, key.due) for key in house.vault.keys(conn) if key.purpose == "token"}
    assert due == {(1, None), (2, NOW + timedelta(days=90))}
    house.vault.scope_keys(conn, "neet", now=NOW)
    assert {key.due for key in house.vault.keys(conn) if key.purpose == "subject-id"} == {None}


def test_which_key_a_ceremony_is_about() -> None:
    keys = [
        {"purpose": "role", "owner": "intake", "version": 3, "state": "active"},
        {"purpose": "role", "owner": "intake", "version": 2, "state": "destroyed"},
        {"purpose": "role", "owner": "release", "version": 1, "state": "active"},
    ]
    assert standing_of(keys, "role", "intake").key_version == 3
    for purpose, owner in (("role", None), ("token", None), ("role", "vault")):
        with pytest.raises(KeyringError, match="say whose"):
            standing_of(keys, purpose, owner)
    assert document("rotate", standing_of(keys, "role", "intake"), reason="x", at="y")["type"]


# On every custody


@pytest.fixture
def held(kept: Kept, tmp_path: Path, house: House, request_: Request) -> Iterator[House]:
    """The house founded anew on each custody."""
    engine = new_engine(tmp_path / "held.db")
    with engine.begin() as conn:
        tables.metadata.create_all(conn)
        founders = [house.ann.enrolment(), house.bob.enrolment()]
        custody: Any = kept.create()
        vault = Vault.found(conn, custody, founders, now=NOW)
        other = House(engine, custody, vault, house.ann, house.bob, {})
        for person in list(house.others.values()):
            other.enrol(conn, person, NOW + timedelta(seconds=1))
    yield other
    engine.dispose()


def test_the_root_rotates_on_every_custody(held: House, kept: Kept, request_: Request) -> None:
    """And opens again from what its people hold."""
    with held.engine.begin() as conn:
        work = Work(held.vault, conn, request_)
    for version in (2, 3):
        assert held.vault.rotate_root(held.engine.begin, now=NOW) == version
        assert held.custody.versions() == (version,)
        with held.engine.begin() as conn:
            vault = Vault.open(conn, kept.open())
            work.goes_on(vault, conn)
        held.vault = vault
        held.custody = kept.opened[-1]


def test_an_old_root_is_kept_when_the_new_one_does_not_open_anew(
    held: House, kept: Kept, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every custody path is proven before the old one goes; a system once lost all its shares."""
    with held.engine.begin() as conn:
        work = Work(held.vault, conn, request_)

    def nothing() -> None:
        raise CustodyError("What its people hold opens nothing any more.")

    with monkeypatch.context() as patch:
        patch.setattr(held.custody, "afresh", nothing)
        with pytest.raises(CustodyError, match="opens nothing"):
            held.vault.rotate_root(held.engine.begin, now=NOW)
        assert held.custody.versions() == (1, 2)
    with held.engine.begin() as conn:
        vault = Vault.open(conn, kept.open())
        work.goes_on(vault, conn)
        assert safe_of(vault).finish(conn, now=NOW, actor=None) == (1,)


# From one custody to another


def test_moving_through_every_custody_and_back(
    house: House, work: Work, tmp_path: Path, token_library: str
) -> None:
    """S15: a command, and no pseudonym changes; the copies of before open nothing any more."""
    custody: Any = house.custody
    steps = [Kept("file", house.custody._path)]
    for number, kind in enumerate(("passphrase", "shares", "hsm", "shares", "file"), 2):
        kept = Kept(kind, tmp_path / f"custody-{number}.json", token_library)
        with house.engine.begin() as conn:
            safe = Safe(custody)
            safe.publics(conn)
        to = kept.create(first=number)
        assert last_version(kept.path) == number
        signed = house.ceremony("move", "root", version=number - 1)
        assert safe.move(house.engine.begin, to, kind, now=NOW, signed=signed) == number
        with house.engine.begin() as conn:
            work.goes_on(Vault.open(conn, to), conn)
            moved = [entry for entry in entries(conn) if entry.kind == "custody.moved"][-1]
            assert moved.facts["custody"] == kind
            assert moved.facts["signed_by"] == ["ann", "bob"]
        copy = steps[-1]
        if copy.kind != "hsm":
            with house.engine.begin() as conn, pytest.raises(CustodyError, match="Root version"):
                Vault.open(conn, copy.open())
        custody.end()
        copy.opened.clear()
        custody = to
        steps.append(kept)
    with house.engine.begin() as conn:
        states = [
            (key.version, key.state) for key in house.vault.keys(conn) if key.purpose == "root"
        ]
        assert states == [*((n, "destroyed") for n in range(1, 6)), (6, "active")]
        verifier = house.vault.public_keys(conn)["ledger"]
        assert verify(conn, verifier) == []


def test_a_move_takes_two_administrators(house: House, tmp_path: Path) -> None:
    to = Kept("file", tmp_path / "next.json").create(first=2)
    wrong = house.ceremony("rotate", "root")
    with pytest.raises(KeyringError, match="another key"):
        house.safe.move(house.engine.begin, to, "file", now=NOW, signed=wrong)
    alone = house.ceremony("move", "root")
    alone["signatures"].pop()
    with pytest.raises(EnrolmentError, match="two different"):
        house.safe.move(house.engine.begin, to, "file", now=NOW, signed=alone)
    assert house.custody.versions() == (1,)


def test_a_custody_whose_last_version_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_text('{"type": "schakel-root", "version": 1, "last": "1"}')
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="damaged"):
        last_version(path)


# Killed


OWN = ("permit", "receipt", "token", "job", "ledger", "intake-identity")


def killed_inside(house: House, purpose: str, owner: str, after: int) -> bool:
    """A process begins or goes on with a rotation, and is killed at one of its statements.

    Whether it came that far before it was done.
    """
    child = os.fork()
    if child == 0:
        try:
            engine = new_engine(Path(str(house.engine.url.database)))
            with engine.begin() as conn:
                vault = Vault.open(conn, FileCustody.open(house.custody._path))
                safe_of(vault).finish(conn, now=NOW, actor=None)
            seen = [0]

            @event.listens_for(engine, "before_cursor_execute")
            def _count(*_: object) -> None:
                seen[0] += 1
                if seen[0] > after:
                    os.kill(os.getpid(), signal.SIGKILL)

            _rotate(engine, vault, purpose, owner)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _rotate(engine: Engine, vault: Vault, purpose: str, owner: str) -> None:
    if purpose == "root":
        vault.rotate_root(engine.begin, now=NOW)
    elif purpose == "role":
        while vault.rotate_role(engine.begin, owner, now=NOW).step != "destroyed":
            pass
    else:
        with engine.begin() as conn:
            vault.rotate_key(conn, purpose, owner, now=NOW)


def test_twenty_rotations_with_kills_inside(house: House, work: Work) -> None:
    """S15: every old pseudonym recomputed equal, every sealed thing opens, the ledger is whole."""
    chance = random.Random(6)
    with house.engine.begin() as conn:
        origin = house.vault.ledger(conn).origin
        key, sealed = house.vault.sealer(conn).new_key("linkage", "identifiers", "d-1")
        kept = store_key(conn, sealed, now=NOW), seal_bytes(b"names", key, "d-1")
    house.engine.dispose()
    spoken: dict[int, pa.Array] = {1: work.pseudonyms}
    asked = ["root", *ROLES, *OWN, "pseudonym"] * 3
    chance.shuffle(asked)
    kills = 0
    for purpose in asked:
        owner = {"ledger": origin, "pseudonym": "neet"}.get(purpose, "service")
        name, of = ("role", purpose) if purpose in ROLES else (purpose, owner)
        kills += killed_inside(house, name, of, chance.randrange(0, 20))
        with house.engine.begin() as conn:
            vault = Vault.open(conn, FileCustody.open(house.custody._path))
            safe_of(vault).finish(conn, now=NOW, actor=None)
            work.pseudonyms = vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
            version = pseudonyms.check(work.pseudonyms[0].as_py()).version
            spoken.setdefault(version, work.pseudonyms)
            work.goes_on(vault, conn)
            safe = safe_of(vault)
            for row in safe.keys.rows(conn, "pseudonym", "neet"):
                if row.version in spoken:
                    key = safe.maker.open(row)
                    again = pseudonyms.pseudonyms(key, "person", row.version, SUBJECTS)
                    assert again.equals(spoken[row.version])
            opened = vault.role("linkage").open(stored_key(conn, kept[0]))
            assert open_bytes(kept[1], opened, "d-1") == b"names"
            assert verify(conn, vault.public_keys(conn)["ledger"]) == []
        house.engine.dispose()
    assert kills >= 20
    for role in ROLES:  # what was cut off goes on to its end
        rotate_role(house, role, vault)
    with house.engine.begin() as conn:
        work.goes_on(Vault.open(conn, FileCustody.open(house.custody._path)), conn)
