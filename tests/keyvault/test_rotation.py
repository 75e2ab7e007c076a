"""Rotating the root: nothing that was made before changes, nothing stops, no crash loses a key."""

import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import Connection, select, update

from keyvault import tables
from keyvault.custody import FileCustody
from keyvault.errors import CustodyError, KeyringError
from keyvault.keyring import SealedKey, store_key, stored_key
from keyvault.ledger import entries, verify
from keyvault.pseudonyms import Origins, subject_ids
from keyvault.sealing import open_bytes, seal_bytes
from keyvault.vault import Vault
from tests.keyvault.conftest import NOW, House, Request, safe_of

SUBJECTS = pa.array([bytes([n]) * 16 for n in range(5)], pa.binary(16))


def rotate(house: House, vault: Vault | None = None) -> None:
    """The whole rotation, as an operation does it."""
    vault = vault or house.vault
    with house.engine.begin() as conn:
        safe_of(vault).rotate(conn, now=NOW, actor="ann")
    with house.engine.begin() as conn:
        safe_of(vault).finish(conn, now=NOW, actor="ann")


def roots(house: House) -> list[tuple[int, str]]:
    with house.engine.begin() as conn:
        rows = conn.execute(select(tables.root).order_by(tables.root.c.version))
        return [(row.version, row.state) for row in rows]


class Work:
    """Everything that must go on as before: what was made under an older root, used now."""

    def __init__(self, vault: Vault, conn: Connection, request: Request) -> None:
        request.seal(vault, conn)
        key, sealed = vault.sealer(conn).new_key("release", "payload", "d-1")
        self.key_id = store_key(conn, sealed, now=NOW)
        self.sealed = seal_bytes(b"rows", key, "d-1")
        self.pseudonyms, self.subjects = self._speak(vault, conn)

    def _speak(self, vault: Vault, conn: Connection) -> tuple[pa.Array, pa.Array]:
        keys = vault.scope_keys(conn, "neet", now=NOW)
        key = vault.role("linkage").open(keys.subject_id)
        subjects = subject_ids(key, Origins("d", "2024", 1, pa.array([1, 2, 3]), "self"))
        return vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW), subjects

    def goes_on(self, vault: Vault, conn: Connection) -> None:
        """Uploads, files, pseudonyms, permits, people."""
        opened = vault.role("release").open(stored_key(conn, self.key_id))
        assert open_bytes(self.sealed, opened, "d-1") == b"rows"
        pseudonyms, subjects = self._speak(vault, conn)
        assert pseudonyms.equals(self.pseudonyms)
        assert subjects.equals(self.subjects)
        assert vault.person(conn, "dora").roles == ("dpo",)
        vault.sealer(conn).new_key("linkage", "identifiers", "d-2")
        vault.permit(conn, "permit-1", "release", now=NOW)


@pytest.fixture
def work(house: House, request_: Request) -> Work:
    with house.engine.begin() as conn:
        return Work(house.vault, conn, request_)


def test_nothing_made_before_changes(house: House, work: Work) -> None:
    """S15 over a rotation: sealed keys byte for byte, files, pseudonyms, subject ids."""

    def all_sealed() -> list[tuple[str, bytes]]:
        with house.engine.begin() as conn:
            rows = conn.execute(select(tables.sealed_key.c.id, tables.sealed_key.c.sealed))
            return sorted((row.id, row.sealed) for row in rows)

    before = all_sealed()
    rotate(house)
    assert all_sealed() == before
    assert roots(house) == [(1, "destroyed"), (2, "active")]
    assert house.custody.versions() == (2,)
    with house.engine.begin() as conn:
        work.goes_on(house.vault, conn)
        work.goes_on(Vault.open(conn, FileCustody.open(house.custody._path)), conn)
        kinds = [entry.kind for entry in entries(conn)]
        assert kinds.index("root.rotated") < kinds.index("root.dropped")
        assert verify(conn, house.vault.ledger(conn).verifier) == []


def test_the_old_root_opens_nothing_any_more(house: House, tmp_path: Path, work: Work) -> None:
    stolen = tmp_path / "stolen.json"
    stolen.write_bytes(house.custody._path.read_bytes())
    stolen.chmod(0o600)
    rotate(house)
    with house.engine.begin() as conn, pytest.raises(CustodyError, match="Root version 2"):
        Vault.open(conn, FileCustody.open(stolen))


def test_another_process_goes_on_before_between_and_after(house: House, work: Work) -> None:
    """Another Vault on the same database and its own view of the key file."""
    with house.engine.begin() as conn:
        other = Vault.open(conn, FileCustody.open(house.custody._path))
        lazy = Vault.open(conn, FileCustody.open(house.custody._path))
        work.goes_on(other, conn)
        house.safe.rotate(conn, now=NOW, actor=None)
    with house.engine.begin() as conn:
        work.goes_on(other, conn)
    with house.engine.begin() as conn:
        assert house.safe.finish(conn, now=NOW, actor=None) == (1,)
    with house.engine.begin() as conn:
        work.goes_on(other, conn)
        # This one had unwrapped no founders yet: it re-reads row and key file.
        work.goes_on(lazy, conn)
        lazy.refresh(conn)
        work.goes_on(lazy, conn)
        assert safe_of(other).rotate(conn, now=NOW, actor=None) == 3


def test_while_others_work_all_the_time(house: House, work: Work) -> None:
    """Three rotations while two other vaults upload, pseudonymise and reopen."""
    stop = threading.Event()
    faults: list[BaseException] = []
    rounds = [0, 0]

    def keep_working(number: int) -> None:
        try:
            while not stop.is_set():
                with house.engine.begin() as conn:
                    vault = Vault.open(conn, FileCustody.open(house.custody._path))
                    work.goes_on(vault, conn)
                with house.engine.begin() as conn:
                    work.goes_on(vault, conn)
                rounds[number] += 1
                stop.wait(0.005)  # SQLite's waiting writers poll; don't starve them
        except BaseException as fault:
            faults.append(fault)

    workers = [threading.Thread(target=keep_working, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for _ in range(3):
        done = list(rounds)
        rotate(house)
        while not faults and any(now <= before for now, before in zip(rounds, done, strict=True)):
            stop.wait(0.01)
    stop.set()
    for worker in workers:
        worker.join()
    assert faults == []
    assert roots(house)[-1] == (4, "active")


class CrashError(Exception):
    """The process is gone."""


def crash_after_adding(house: House) -> None:
    with house.engine.begin() as conn:
        house.safe.rotate(conn, now=NOW, actor=None)
        raise CrashError


def crash_after_rewrapping(house: House) -> None:
    with house.engine.begin() as conn:
        house.safe.rotate(conn, now=NOW, actor=None)
    raise CrashError


def crash_after_dropping(house: House) -> None:
    with house.engine.begin() as conn:
        house.safe.rotate(conn, now=NOW, actor=None)
    with house.engine.begin() as conn:
        house.safe.finish(conn, now=NOW, actor=None)
        raise CrashError


@pytest.mark.parametrize(
    ("crash", "held", "known"),
    [
        (crash_after_adding, (1, 2), [(1, "active")]),
        (crash_after_rewrapping, (1, 2), [(1, "decrypt-only"), (2, "active")]),
        (crash_after_dropping, (2,), [(1, "decrypt-only"), (2, "active")]),
    ],
)
def test_a_crash_between_any_two_steps(
    house: House,
    work: Work,
    crash: Callable[[House], None],
    held: tuple[int, ...],
    known: list[tuple[int, str]],
) -> None:
    """The next process finds every key, and both finishing and rotating again set things right."""
    with pytest.raises(CrashError):
        crash(house)
    assert house.custody.versions() == held
    assert roots(house) == known
    with house.engine.begin() as conn:
        custody = FileCustody.open(house.custody._path)
        vault = Vault.open(conn, custody)
        work.goes_on(vault, conn)
    with house.engine.begin() as conn:
        safe_of(vault).finish(conn, now=NOW, actor=None)
        active = known[-1][0]
        assert custody.versions() == (active,)
    with house.engine.begin() as conn:
        work.goes_on(vault, conn)
    rotate(house, vault)
    assert [state for _, state in roots(house)].count("active") == 1
    assert {state for _, state in roots(house)[:-1]} == {"destroyed"}
    with house.engine.begin() as conn:
        work.goes_on(Vault.open(conn, FileCustody.open(house.custody._path)), conn)


def test_rotating_again_without_finishing(house: House, work: Work) -> None:
    for expected in (2, 3):
        with house.engine.begin() as conn:
            assert house.safe.rotate(conn, now=NOW, actor=None) == expected
    assert house.custody.versions() == (2, 3), "the first drops out: nothing refers to it"
    with house.engine.begin() as conn:
        assert house.safe.finish(conn, now=NOW, actor=None) == (1, 2)
        assert house.safe.finish(conn, now=NOW, actor=None) == ()
        work.goes_on(house.vault, conn)


def test_finishing_in_the_same_transaction_is_refused(house: House, work: Work) -> None:
    """A rollback would leave rows under a root that is no more."""
    with house.engine.begin() as conn:
        house.safe.rotate(conn, now=NOW, actor=None)
        with pytest.raises(KeyringError, match="isn't committed yet"):
            house.safe.finish(conn, now=NOW, actor=None)
        with conn.begin_nested(), pytest.raises(KeyringError, match="isn't committed yet"):
            house.safe.finish(conn, now=NOW, actor=None)
        conn.rollback()
    with house.engine.begin() as conn:
        work.goes_on(Vault.open(conn, FileCustody.open(house.custody._path)), conn)


def test_a_root_that_rows_still_name_is_kept(house: House, work: Work) -> None:
    """Whatever the states say, only versions that no row names are dropped."""
    with house.engine.begin() as conn:
        old = conn.execute(select(tables.founders)).one()
        house.safe.rotate(conn, now=NOW, actor=None)
        values = {"root_version": old.root_version, "wrapped": old.wrapped}
        conn.execute(update(tables.founders).values(values))
    with house.engine.begin() as conn:
        assert house.safe.finish(conn, now=NOW, actor=None) == ()
        assert house.custody.versions() == (1, 2)
        work.goes_on(Vault.open(conn, FileCustody.open(house.custody._path)), conn)


def test_a_sealed_key_names_what_opens_it(house: House, work: Work) -> None:
    """Each stored value says which version it was made under; a rotation can be tested by it."""
    rotate(house)
    with house.engine.begin() as conn:
        versions = set(conn.scalars(select(tables.role_key.c.root_version)))
        assert versions == {2}
        assert isinstance(stored_key(conn, work.key_id), SealedKey)
        assert stored_key(conn, work.key_id).role_version == 1
