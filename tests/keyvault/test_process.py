"""The vault's process: it does the same as one's own, for those it is for, and for nobody else."""

import logging
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Connection, delete, select, update

from keyvault import calls, errors, proxy, server, signing, tables, tokens
from keyvault.calls import CREDENTIALS, Broken, receive, send
from keyvault.custody import Custody, shares
from keyvault.custody.shares import ShareLock
from keyvault.errors import (
    CustodyError,
    EnrolmentError,
    KeyringError,
    KeyvaultError,
    LedgerError,
    NotForYouError,
    PermitError,
    PseudonymError,
    SealError,
    SignatureError,
    VaultAwayError,
    VaultSealedError,
)
from keyvault.ledger import Ledger, entries, verify
from keyvault.merkle import Frontier
from keyvault.proxy import Proxy
from keyvault.safe import Safe
from keyvault.secret import reveal
from keyvault.server import CALLERS, CUSTODIAN, Gate, Server, listen, own_user_only
from keyvault.signing import to_base64url, utc_text, verify_receipt
from keyvault.vault import Vault
from tests.keyvault.conftest import NOW, House, Request, someone

LATER = NOW + timedelta(minutes=1)
SUBJECTS = pa.array([bytes([n]) * 16 for n in range(5)], pa.binary(16))


@dataclass
class Remote:
    """A vault's process (here a thread) on the house's database, and a way to ask it."""

    house: House
    path: Path
    roles: frozenset[str] = frozenset(CALLERS)
    now: datetime = NOW
    over: threading.Event = field(default_factory=threading.Event)
    gate: Gate | None = None

    def start(self) -> None:
        reading = self.house.engine.execution_options(read_only=True).connect
        begin = self.house.engine.begin
        gate = self.gate or Gate(self.house.custody, lambda _: self.house.safe)
        self.server = Server(gate, reading, begin, lambda _: self.roles, lambda: self.now)
        self.over.clear()
        self.listening = listen(self.path)
        running = (self.listening, lambda: not self.over.is_set())
        self.thread = threading.Thread(target=self.server.run, args=running)
        self.thread.start()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.listening.close()

    @contextmanager
    def work(self) -> Iterator[Connection]:
        """A caller's transaction."""
        with self.house.engine.begin() as conn:
            yield conn

    def ask(self, call: str, data: bytes = b"", **held: Any) -> tuple[dict[str, Any], bytes]:
        """One call, past the proxy."""
        return self.server.answer({"call": call, **held}, data, self.roles)

    def refused(self, call: str, data: bytes = b"", **held: Any) -> str:
        """The error that a call is answered with."""
        answer, _ = self.ask(call, data, **held)
        return str(answer.get("error"))


@pytest.fixture
def remote(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setattr(proxy, "AWAY", 0.2)
    remote = Remote(house, tmp_path / "vault.sock")
    remote.start()
    yield remote
    remote.stop()


@pytest.fixture
def asking(remote: Remote) -> Iterator[Proxy]:
    asking = Proxy(remote.path)
    yield asking
    asking.close()


@pytest.fixture
def vault(remote: Remote) -> Iterator[Vault]:
    vault = Vault.at(remote.path, patience=5.0)
    yield vault
    vault.close()


@pytest.fixture
def sealed(remote: Remote, vault: Vault, request_: Request) -> Vault:
    """The vault with a permit in force."""
    with remote.work() as conn:
        request_.seal(vault, conn)
    return vault


# It does the same


def test_permits_people_and_pseudonyms(remote: Remote, sealed: Vault, house: House) -> None:
    """A permit sealed there is the one that is sealed here, and so are its pseudonyms."""
    with remote.work() as conn:
        envelope = sealed.permit_envelope(conn, "permit-1")
        assert envelope == house.vault.permit_envelope(conn, "permit-1")
        assert sealed.permit(conn, "permit-1", "release", now=NOW).project == "neet"
        assert sealed.people(conn) == house.vault.people(conn)
        there = sealed.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW, actor="rita")
        here = house.vault.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
        assert there.equals(here)
        carl = someone("carl", "auditor")
        document = carl.enrolment(LATER)
        signatures = [house.ann.sign(document), house.bob.sign(document)]
        assert sealed.enrol(conn, document, signatures, now=LATER).id == "carl"
        sealed.suspend(conn, "permit-1", now=NOW)
        sealed.resume(conn, "permit-1", now=NOW)
    with remote.work() as conn:
        assert verify(conn, sealed.ledger(conn).verifier) == []
        kinds = [entry.kind for entry in entries(conn)]
        assert kinds[-6:] == [
            "permit.sealed",
            "pseudonyms.given",
            "pseudonyms.given",
            "person.enrolled",
            "permit.suspended",
            "permit.resumed",
        ]


def test_keys_and_signatures(remote: Remote, vault: Vault, house: House) -> None:
    with remote.work() as conn:
        keys = vault.scope_keys(conn, "neet", now=NOW)
        assert vault.role("linkage").open(keys.spine).owner == "neet"
        assert vault.public_keys(conn) == house.vault.public_keys(conn)
        assert vault.keys(conn) == house.vault.keys(conn)
        key, sealed = vault.sealer(conn).new_key("release", "payload", "d-1")
        assert reveal(vault.role("release").open(sealed)) == reveal(key)
        assert (
            vault.rotate_key(
                conn, "receipt", now=NOW, actor="ann", signed=house.ceremony("rotate", "receipt")
            )
            == 2
        )
    with remote.work() as conn:
        receipt = vault.sign_receipt(conn, {"type": "receipt", "version": 1, "delivery": "d-1"})
        verify_receipt(receipt, vault.public_keys(conn)["receipt"][0])
        where = {"issuer": "i", "audience": "a"}
        token = vault.sign_token(
            conn, **where, subject="rita", lifetime=timedelta(minutes=5), now=LATER
        )
        claims = tokens.verify_token(token, vault.jwks(conn), **where, now=NOW)
        assert claims["iat"] == NOW.timestamp(), "by the vault's own clock"


def test_the_root_is_rotated_there(remote: Remote, vault: Vault, house: House) -> None:
    """By the vault's process, in transactions of its own; the caller goes on with what it has."""
    with remote.work() as conn:
        before = vault.person(conn, "dora")
    begin, signed = house.engine.begin, house.ceremony("rotate", "root")
    assert vault.rotate_root(begin, now=NOW, actor="ann", signed=signed) == 2
    assert house.custody.versions() == (2,)
    with remote.work() as conn:
        assert vault.person(conn, "dora") == before
        told = list(entries(conn))[-2:]
        assert [entry.kind for entry in told] == ["root.rotated", "root.dropped"]
        assert told[0].facts["signed_by"] == ["ann", "bob"]
    with pytest.raises(KeyringError, match="version that doesn't stand"):
        vault.rotate_root(begin, now=NOW, actor="ann", signed=signed)
    with pytest.raises(KeyringError, match="document with its signatures"):
        vault.rotate_root(begin, now=NOW, actor="ann")
    alone = house.ceremony("rotate", "root", version=2)
    alone["signatures"] = alone["signatures"][:1]
    with pytest.raises(EnrolmentError, match="two different administrators"):
        vault.rotate_root(begin, now=NOW, actor="ann", signed=alone)
    signed = house.ceremony("rotate", "root", version=2)
    assert house.vault.rotate_root(begin, now=NOW, actor="bob", signed=signed) == 3
    assert house.custody.versions() == (3,)


def test_a_roles_key_pair_is_rotated_there(remote: Remote, vault: Vault, house: House) -> None:
    """Step by step; a key that was destroyed before is proved anew too, and stays destroyed."""
    with remote.work() as conn:
        vault.rotate_key(conn, "token", now=NOW, signed=house.ceremony("rotate", "token"))
        column = tables.sealed_key.c
        spent = (column.purpose == "token") & (column.version == 1)
        conn.execute(update(tables.sealed_key).where(spent).values(state="destroyed"))
        vault.learn(conn)
    signed, steps = house.ceremony("rotate", "role", "vault"), list[str]()
    while steps[-1:] != ["destroyed"]:
        step = vault.rotate_role(house.engine.begin, "vault", now=NOW, actor="ann", signed=signed)
        steps.append(step.step)
    assert steps == ["pending", "active", "rewrapped", "destroyed"]
    with remote.work() as conn:
        house.vault.learn(conn)
        house.vault.learn(conn)
        assert vault.public_keys(conn) == house.vault.public_keys(conn)
        row = conn.execute(select(tables.sealed_key).where(spent)).one()
        assert (row.state, int.from_bytes(row.proof[:4])) == ("destroyed", 2)


def _job(**changes: Any) -> dict[str, Any]:
    return {
        "type": "job",
        "version": 1,
        "id": "job-1",
        "kind": "intake",
        "queue": "intake",
        "arguments": {"delivery": "d-1"},
        "exclusive": None,
        "actor": "rita",
        "organisation": "office",
        "created_at": utc_text(NOW),
        **changes,
    }


def test_jobs(remote: Remote, vault: Vault) -> None:
    """Signed there, held against the published key here, with an older one too."""
    with remote.work() as conn:
        signature = vault.sign_job(conn, _job())
        vault.verify_job(conn, _job(), signature)
        for changed in (_job(queue="release"), _job(actor="dora"), _job(arguments={})):
            with pytest.raises(SignatureError, match="not one that the vault signed"):
                vault.verify_job(conn, changed, signature)
        signed = remote.house.ceremony("rotate", "job")
        vault.rotate_key(conn, "job", now=NOW, actor="ann", signed=signed)
    with remote.work() as conn:
        vault.verify_job(conn, _job(), signature)
        assert vault.sign_job(conn, _job()) != signature
        with pytest.raises(SignatureError, match="is `job`"):
            vault.sign_job(conn, {**_job(), "type": "receipt"})


# Columns


@pytest.mark.parametrize(
    "column",
    [
        SUBJECTS,
        SUBJECTS.slice(1, 3),
        pa.chunked_array([SUBJECTS.slice(0, 2), SUBJECTS.slice(2)]),
        pa.array([None, b"1" * 16, None, b"2" * 16], pa.binary(16)),
        pa.array([None, None], pa.binary(16)),
        pa.array([], pa.binary(16)),
    ],
    ids=["whole", "slice", "chunks", "nulls", "nulls-only", "empty"],
)
def test_columns_of_ids(
    remote: Remote, sealed: Vault, house: House, column: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of two, the same as in one's own process."""
    monkeypatch.setattr(proxy, "PIECE", 2)
    with remote.work() as conn:
        there = sealed.pseudonyms(conn, "permit-1", "person", column, now=NOW)
        assert there.equals(house.vault.pseudonyms(conn, "permit-1", "person", column, now=NOW))
        there.validate(full=True)


def test_no_columns_of_ids(remote: Remote, sealed: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    with remote.work() as conn:
        with pytest.raises(PseudonymError, match="16 bytes"):
            sealed.pseudonyms(conn, "permit-1", "person", pa.array(["x"]), now=NOW)
        monkeypatch.setattr(proxy, "MOST", 2)
        with pytest.raises(PseudonymError, match="2 at a time"):
            sealed.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
    assert remote.refused("pseudonyms", b"x", permit="permit-1", unit_type="person") != "None"


def test_a_key_rotated_between_two_pieces(
    remote: Remote, sealed: Vault, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One column is under one version, or there is none."""
    monkeypatch.setattr(proxy, "PIECE", 2)
    give = remote.house.safe.pseudonyms
    given: list[int] = []

    def rotated(conn: Connection, *about: Any, **more: Any) -> Any:
        spoken = give(conn, *about, **more)
        given.append(1)
        version = spoken.key_version + (len(given) > 1)
        return type(spoken)(spoken.project, version, spoken.column)

    monkeypatch.setattr(house.safe, "pseudonyms", rotated)
    with remote.work() as conn, pytest.raises(KeyringError, match="rotated meanwhile"):
        sealed.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)


# It gives nothing to others

MAY: Mapping[str, set[str]] = {
    "state": {*CALLERS, CUSTODIAN},
    "open": {CUSTODIAN},
    "publics": set(CALLERS),
    "founders": set(CALLERS),
    "endorse": set(CALLERS),
    "prove": set(CALLERS),
    "vouch": set(CALLERS),
    "role": {"intake", "linkage", "release", "identified"},
    "make_first": {"api", "linkage"},
    "make_next": {"api"},
    "sign_token": {"api"},
    "sign_job": {"api"},
    "seal_permit": {"api"},
    "rotate_root": {"api"},
    "rotate_role": {"api"},
    "sign_document": {"api", "release"},
    "pseudonyms": {"release"},
    "reveal": set(),
}


@pytest.mark.parametrize("role", [*CALLERS, CUSTODIAN])
def test_who_may_ask_for_what(remote: Remote, role: str) -> None:
    """S16: the table, call by call; whatever else is wrong with the call comes after."""
    remote.roles = frozenset({role})
    refused = {call for call in MAY if remote.refused(call) == "NotForYouError"}
    assert refused == {call for call, roles in MAY.items() if role not in roles}
    assert set(MAY) - {"reveal"} == set(remote.server._calls)


@pytest.mark.parametrize("role", CALLERS)
def test_a_private_half_is_its_own_roles_only(remote: Remote, vault: Vault, role: str) -> None:
    remote.roles = frozenset({role})
    vault.close()  # who one is, is told when one connects
    for name in (*CALLERS, "vault"):
        if name == role != "api":
            assert vault.role(name).role == role
        else:
            with pytest.raises(NotForYouError):
                vault.role(name)


def test_linkage_makes_no_pseudonym_key(remote: Remote) -> None:
    remote.roles = frozenset({"linkage"})
    assert remote.refused("make_first", purpose="pseudonym", owner="x") == "NotForYouError"
    assert remote.refused("make_first", purpose="spine", owner="x") == "None"
    assert remote.refused("make_first", purpose="permit", owner="x") == "KeyringError"


def test_no_second_first_key(remote: Remote, vault: Vault) -> None:
    """What is committed counts: a scope's key isn't made anew for whoever deleted its row here."""
    with remote.work() as conn:
        vault.scope_keys(conn, "neet", now=NOW)
    assert remote.refused("make_first", purpose="spine", owner="neet") == "KeyringError"


def test_keys_are_rotated_for_two_administrators(remote: Remote) -> None:
    """S16: never by the leave of the process that asks."""
    asked = {"purpose": "token", "owner": "service"}
    for actor in ("rita", "nobody", None):
        assert remote.refused("make_next", **asked, actor=actor, signed=None) == "KeyringError"
    signed = remote.house.ceremony("rotate", "token")
    rita = remote.house.others["rita"]
    for signers in ([], signed["signatures"][:1], [rita.sign(signed["document"])] * 2, ["x"]):
        held = {**signed, "signatures": signers}
        assert remote.refused("make_next", **asked, actor="ann", signed=held) == "EnrolmentError"
    for about in (
        remote.house.ceremony("rotate", "receipt"),
        remote.house.ceremony("rotate", "token", version=2),
        remote.house.ceremony("destroy", "token"),
        {**signed, "document": {**signed["document"], "reason": " "}},
        {**signed, "document": {**signed["document"], "at": 7}},
        {**signed, "document": {**signed["document"], "more": "x"}},
    ):
        assert remote.refused("make_next", **asked, actor="ann", signed=about) == "KeyringError"
    assert remote.refused("make_next", **asked, actor="ann", signed=signed) == "None"


def test_tokens_are_for_people_enrolled(remote: Remote) -> None:
    asked: dict[str, Any] = {"issuer": "i", "audience": "a", "seconds": 60, "claims": {}}
    assert remote.refused("sign_token", **asked, subject="mallory") == "EnrolmentError"
    assert remote.refused("sign_token", **asked, subject="rita") == "None"
    asked["seconds"] = 10**6
    assert remote.refused("sign_token", **asked, subject="rita") == "TokenError"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "None"),
        ({"actor": "mallory"}, "EnrolmentError"),
        ({"organisation": "elsewhere"}, "SignatureError"),
        ({"queue": "identified"}, "NotForYouError"),
        ({"queue": "vault"}, "NotForYouError"),
        ({"version": 2}, "SignatureError"),
        ({"more": 1}, "SignatureError"),
    ],
)
def test_jobs_that_are_not_signed(remote: Remote, changes: dict[str, Any], error: str) -> None:
    remote.roles = frozenset({"api"})
    assert remote.refused("sign_job", document=_job(**changes)) == error


def _manifest(**changes: Any) -> dict[str, Any]:
    return {"type": "manifest", "version": 1, "permit": "permit-1", "project": "neet", **changes}


def test_manifests_are_signed_under_their_permit(remote: Remote, sealed: Vault) -> None:
    remote.roles = frozenset({"release"})
    with remote.work() as conn:
        verify_receipt(
            sealed.sign_manifest(conn, _manifest()), sealed.public_keys(conn)["receipt"][0]
        )
        with pytest.raises(PermitError, match="another project"):
            sealed.sign_manifest(conn, _manifest(project="other"))
        with pytest.raises(PermitError, match="no permit"):
            sealed.sign_manifest(conn, _manifest(permit="permit-2"))
    receipt = {"type": "receipt", "version": 1}
    assert remote.refused("sign_document", document=receipt) == "NotForYouError"
    remote.roles = frozenset({"api"})
    assert remote.refused("sign_document", document=_manifest()) == "NotForYouError"
    assert remote.refused("sign_document", document={**receipt, "type": "permit"}) != "None"


def test_it_reads_permit_and_clock_itself(remote: Remote, sealed: Vault) -> None:
    """S26: a caller who says it is still last year gets nothing under an expired permit."""
    remote.now = NOW + timedelta(days=400)
    with remote.work() as conn, pytest.raises(PermitError):
        sealed.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)
    remote.now = NOW
    with remote.work() as conn:
        sealed.suspend(conn, "permit-1", now=NOW)
    with remote.work() as conn:
        sealed.resume(conn, "permit-1", now=NOW)  # not committed yet
        with pytest.raises(PermitError):
            sealed.pseudonyms(conn, "permit-1", "person", SUBJECTS, now=NOW)


def test_it_checks_who_decided_itself(remote: Remote, vault: Vault, request_: Request) -> None:
    """P05: a director whom nobody enrolled for good can't have anything sealed."""
    mallory = someone("mallory", "director")
    request_.approval = {
        "document": request_.approval["document"] | {"by": "mallory"},
        "signature": mallory.sign(request_.approval["document"] | {"by": "mallory"}),
    }
    with remote.work() as conn, pytest.raises(PermitError, match="director doesn't stand"):
        request_.seal(vault, conn)


def test_a_row_it_did_not_make(remote: Remote, vault: Vault) -> None:
    with remote.work() as conn:
        this = tables.sealed_key.c.purpose == "token"
        conn.execute(update(tables.sealed_key).where(this).values(owner="x"))
        conn.execute(update(tables.sealed_key).where(this).values(owner="service", version=2))
        with pytest.raises(SealError, match="not made by this vault"):
            vault.jwks(conn)


# The ledger


def _append(ledger: Ledger, conn: Connection, kind: str = "a.b") -> None:
    ledger.append(conn, kind, {"n": 1}, actor=None, now=NOW)


def test_several_entries_of_one_transaction(remote: Remote, vault: Vault) -> None:
    """The vault sees none of them until they are committed, and gets the leaves handed over."""
    with remote.work() as conn:
        for _ in range(3):
            _append(vault.ledger(conn), conn)
    with remote.work() as conn:
        _append(vault.ledger(conn), conn)
        conn.rollback()
    with remote.work() as conn:
        _append(vault.ledger(conn), conn)
        assert verify(conn, vault.ledger(conn).verifier) == []


def test_no_fork_of_what_is_committed_is_signed(remote: Remote, vault: Vault) -> None:
    """Another history, of whatever length, gets no signature."""
    with remote.work() as conn:
        leaves = [entry.leaf.decode() for entry in entries(conn)]
    size = len(leaves)
    assert remote.ask("vouch", start=0, leaves=leaves)[0] == {"from": size}
    assert remote.ask("vouch", start=size - 1, leaves=[leaves[-1]])[0] == {"from": size}
    assert remote.refused("vouch", start=size, leaves=[leaves[-1]]) == "LedgerError"
    assert remote.refused("vouch", start=size, leaves=["{}"]) == "LedgerError"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"facts": {"name": "Jan Peeters"}},
        {"facts": {"number": "85.07.30-033.28"}},
        {"facts": ["x"]},
        {"actor": "85073003328"},
        {"kind": "A b"},
        {"at": "the day before yesterday"},
        {"at": 1},
        {"version": 2},
        {"more": 1},
    ],
)
def test_what_no_entry_may_hold_gets_no_signature(remote: Remote, changes: dict[str, Any]) -> None:
    """V24: a captured process can't put what has to be erasable where nothing ever is."""
    with remote.work() as conn:
        size = len(list(entries(conn)))
    leaf = {"version": 1, "position": size, "at": utc_text(NOW), "kind": "a.b", "actor": "ann"}
    said = signing.canonical({**leaf, "facts": {"n": 1}, **changes}).decode()
    assert remote.refused("vouch", start=size, leaves=[said]) == (
        "LedgerError" if changes else "None"
    )


def test_a_ledger_rewritten_behind_its_back(remote: Remote, vault: Vault) -> None:
    """V24 and all that receipts promise: while the vault lives, a changed past ends the signing."""
    with remote.work() as conn:
        _append(vault.ledger(conn), conn)
    with remote.work() as conn:
        head = conn.execute(select(tables.ledger_head)).one()
        _append(vault.ledger(conn), conn)
    remote.ask("vouch", start=head.size + 1, leaves=[])  # seen committed
    with remote.work() as conn:  # the last entry is taken away, tidily
        last = tables.ledger_entry.c.position == head.size
        conn.execute(delete(tables.ledger_entry).where(last))
        values = {"size": head.size, "frontier": head.frontier}
        conn.execute(update(tables.ledger_head).values(values))
    with remote.work() as conn, pytest.raises(LedgerError, match="not the one that stood there"):
        _append(vault.ledger(conn), conn)


def test_a_vault_that_never_agrees(house: House) -> None:
    """The pen asks once more and no more."""
    ledger = Ledger("o", to_base64url(bytes(32)), lambda _grown, _leaves: 0)
    with house.engine.begin() as conn, pytest.raises(LedgerError, match="Somebody else"):
        _append(ledger, conn)


def test_a_pen_with_an_old_head(remote: Remote, asking: Proxy) -> None:
    """Leaves that don't fit what is committed: the transaction is to be run again."""
    with remote.work():
        frontier = Frontier()
        frontier.push(bytes(32))
        vouch = asking.vouch()
        assert isinstance(vouch(frontier, [b"{}"]), int)


# Who is let in


def test_strangers_are_shown_out(
    remote: Remote, asking: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    remote.roles = frozenset()
    with caplog.at_level(logging.WARNING), pytest.raises(VaultAwayError):
        asking.prove({"sealed": b""}, b"")
    assert f"shows user {os.getuid()} out" in caplog.text


def test_one_user_does_not_take_all_connections(
    remote: Remote, asking: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    first = Proxy(remote.path)
    first.wait(1.0)
    with pytest.raises(VaultAwayError):
        asking.wait(0.1)
    first.close()
    asking.wait(5.0)


def test_without_a_mapping_only_ones_own_user_is_let_in() -> None:
    assert own_user_only(os.geteuid()) == {*CALLERS, CUSTODIAN}
    assert own_user_only(os.geteuid() + 1) == set()


# Connections


def test_a_vault_started_anew_is_found_again(remote: Remote, vault: Vault) -> None:
    """Its socket is replaced; a call on a dead connection is made again."""
    remote.stop()
    with remote.work() as conn, pytest.raises(VaultAwayError, match="--roles vault"):
        vault.sign_receipt(conn, {"type": "receipt", "version": 1})
    remote.start()
    with remote.work() as conn:
        vault.sign_receipt(conn, {"type": "receipt", "version": 1})


def test_two_vaults_do_not_listen_at_one_place(remote: Remote) -> None:
    with pytest.raises(VaultAwayError, match="Another vault"):
        listen(remote.path)


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        listen(tmp_path / "nowhere" / "vault.sock")
    with pytest.raises(VaultAwayError):
        Vault.at(tmp_path / ("x" * 200))


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 8,
        b"\0\0\0\2\xff\xff\xff\xff{}",
        b"\0\0\0\4\0\0\0\0{ } ",
        b"\0\0\0\3\0\0\0\0[1]",
        b"\0\0\0\2",
        b"\0\0\0\xff\0\0\0\0{}",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["long", "long-data", "spaces", "list", "cut-length", "cut", "http"],
)
def test_what_is_no_call_ends_the_connection(
    remote: Remote, vault: Vault, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else: the vault goes on."""
    monkeypatch.setattr(calls, "PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(remote.path))
        connection.sendall(said)
        with suppress(ConnectionResetError):  # it went without reading the rest
            assert connection.recv(1) == b""
    assert vault.role("intake").role == "intake"


def test_messages_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        send(one, {"a": 1}, b"xy")
        assert receive(other) == ({"a": 1}, b"xy")
        monkeypatch.setattr(calls, "LONGEST_DATA", 1)
        with pytest.raises(Broken, match="longer"):
            send(one, {}, b"xy")
        other.close()
        with pytest.raises(Broken, match="no more"):
            send(one, {})


def test_a_message_is_whole_in_time_however_it_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps nobody's turn for ever."""
    monkeypatch.setattr(calls, "PATIENCE", 0.3)
    one, other = socket.socketpair()
    over = threading.Event()

    def trickle() -> None:
        one.sendall(b"\0\0\4\0\0\0\0\0")
        while not over.wait(0.05):
            with suppress(OSError):
                one.sendall(b"x")

    thread = threading.Thread(target=trickle)
    with one, other:
        thread.start()
        try:
            with pytest.raises(Broken, match="silent"):
                receive(other)
        finally:
            over.set()
            thread.join()


def test_what_is_announced_takes_no_memory() -> None:
    """Eight bytes don't make the vault set thirty-two megabytes aside."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"\0\0\0\2" + calls.LONGEST_DATA.to_bytes(4) + b"{}")
        one.close()
        tracemalloc.start()
        try:
            with pytest.raises(Broken, match="gone"):
                receive(other)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_a_user_who_keeps_its_turns_keeps_nobody_elses(
    remote: Remote, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that are begun and not finished hold up their own user, and that not for long."""
    monkeypatch.setattr(server, "MOST_CALLS", 1)
    monkeypatch.setattr(calls, "PATIENCE", 0.5)
    remote.server._turns.clear()
    vault.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stalling:
        stalling.connect(str(remote.path))
        stalling.sendall(b"\0\0\0\2\0\0\0\0")
        until = time.monotonic() + 5
        turns = lambda: list(remote.server._turns.values())  # noqa: E731
        while not (turns() and turns()[0]._value == 0) and time.monotonic() < until:
            time.sleep(0.01)
        assert turns()[0]._value == 0
        another = server.Server._enters(remote.server, stalling, os.geteuid() + 1)
        assert another is not None
        assert another.acquire(blocking=False)
        assert vault.role("intake").role == "intake", "once the staller's time is over"


@pytest.mark.parametrize(
    "call", sorted(set(MAY) - {"reveal", "publics", "founders", "endorse", "state", "open"})
)
def test_a_call_that_lacks_everything(
    remote: Remote, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered, without a word of what it held in answer or log."""
    with caplog.at_level(logging.WARNING):
        answer, _ = remote.ask(call, secret="85.07.30-033.28")
    assert issubclass(getattr(errors, answer["error"]), KeyvaultError)
    assert "85.07" not in str(answer) + caplog.text


def test_an_error_nobody_knows(
    remote: Remote, asking: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a newer vault, say: still an error, and ours."""
    answer: Callable[..., Any] = lambda *_: ({"error": "NewError", "text": "x"}, b"")  # noqa: E731
    monkeypatch.setattr(remote.server, "answer", answer)
    with pytest.raises(VaultAwayError, match="x"):
        asking.role("intake")


def test_two_doors_that_are_closed(remote: Remote, vault: Vault, house: House) -> None:
    """A vault in this process has nothing to let go of; the other one opens again by itself."""
    for door in (vault, house.vault):
        door.close()
        assert door.role("intake").role == "intake"


def test_nothing_prints(remote: Remote, vault: Vault, house: House) -> None:
    assert repr(vault) == f"<Vault on <Proxy to {remote.path}>>"
    assert "bytes hidden" in repr(house.vault)


# It is sealed until its custodians have opened it


@pytest.fixture
def gated(remote: Remote, tmp_path: Path) -> tuple[Remote, list[str]]:
    """The same process, begun with its root in shares; and the shares."""
    path = tmp_path / "shares.json"
    words = shares.create(path, 2, 3, first=2)
    lock = ShareLock(path)
    remote.stop()

    def opened(_: Custody) -> Safe:
        return remote.house.safe

    remote.gate, remote.roles = Gate(lock, opened), own_user_only(os.geteuid())
    remote.start()
    return remote, words


def test_a_sealed_vault_says_so_and_does_nothing(gated: tuple[Remote, list[str]]) -> None:
    """S14: whatever is asked, the answer is that it is sealed."""
    remote, _ = gated
    vault = Vault.at(remote.path, patience=5.0)
    assert vault.sealed
    for call in set(MAY) - {"state", "open", "reveal"}:
        assert remote.refused(call) == "VaultSealedError", call
    with remote.work() as conn, pytest.raises(VaultSealedError, match="custody open"):
        vault.refresh(conn)
    vault.close()


def test_custodians_open_it_one_after_another(
    gated: tuple[Remote, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Two of three, in calls of their own; no share stands in a log, nor in an answer."""
    remote, words = gated
    caplog.set_level(logging.DEBUG)
    asking = Proxy(remote.path)
    assert asking.state() == {"sealed": True, "custody": "shares", "held": 0, "needed": 2}
    with pytest.raises(CustodyError, match="no share"):
        asking.offer("hello")
    assert asking.offer(words[2])["held"] == 1
    with pytest.raises(CustodyError, match="given already"):
        asking.offer(words[2])
    assert asking.offer(words[0]) == {
        "sealed": False, "custody": "shares", "held": 2, "needed": 2,
    }  # fmt: skip
    with pytest.raises(CustodyError, match="is open"):
        asking.offer(words[1])
    asking.close()
    vault = Vault.at(remote.path)
    assert not vault.sealed
    with remote.work() as conn:
        vault.refresh(conn)
    vault.close()
    assert not any(word in caplog.text for share in words for word in share.split()[4:])


def test_a_vault_that_opens_by_itself_needs_nobody(remote: Remote, asking: Proxy) -> None:
    assert asking.state() == {"sealed": False, "custody": "file", "held": 0, "needed": 0}
    assert not remote.house.vault.sealed
    remote.roles = own_user_only(os.geteuid())
    asking.close()
    with pytest.raises(CustodyError, match="is open"):
        asking.offer("anything")


def test_a_listener_who_is_not_the_vaults_user_is_told_nothing(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says who listens; only the owner of the socket's folder is taken for the vault."""
    answered: list[str] = []
    monkeypatch.setattr(remote.server, "answer", lambda held, *_: answered.append(held["call"]))
    stranger = CREDENTIALS.pack(1, os.geteuid() + 1, 1)
    monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: stranger)
    with pytest.raises(VaultAwayError, match="passing for the vault"):
        Vault.at(remote.path)
    assert answered == []
