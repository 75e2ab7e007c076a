"""The ledger: whatever is done to it afterwards is found."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, func, select, update

from keyvault import tables
from keyvault.checkpoints import Checkpoint, read_checkpoint, verifier_key, write_checkpoint
from keyvault.errors import LedgerError
from keyvault.ledger import (
    Ledger,
    Problem,
    Stored,
    entries,
    export,
    latest_checkpoint,
    read_export,
    stored_entries,
    verify,
    vouched_by,
)
from keyvault.ledger import size as head_size
from keyvault.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from keyvault.signing import canonical, public_text
from keyvault.tiles import LONGEST_LEAF, Tree
from tests.keyvault.conftest import NOW, House, ledger_key, new_engine
from tests.keyvault.vectors import plain

COLUMN = tables.ledger_entry.c


def kinds(problems: list[Problem]) -> list[tuple[str, int | None]]:
    return [(problem.kind, problem.position) for problem in problems]


@pytest.fixture
def ledger(house: House, conn: Connection) -> Ledger:
    """Ten entries and more."""
    ledger = house.vault.ledger(conn)
    for number in range(10):
        facts = {"delivery": f"d-{number}", "rows": number, "variables": ["age", "sex"]}
        ledger.append(conn, "delivery.received", facts, actor="holder-1", now=NOW)
    return ledger


def test_entries_are_read_back(conn: Connection, ledger: Ledger) -> None:
    """P04: who did what, with which delivery and variables, when."""
    *_, last = entries(conn)
    assert last.kind == "delivery.received"
    assert last.actor == "holder-1"
    assert last.at == "2025-03-03T12:00:00Z"
    assert last.facts == {"delivery": "d-9", "rows": 9, "variables": ["age", "sex"]}
    assert last.checkpoint == latest_checkpoint(conn)
    [one] = entries(conn, start=last.position, stop=last.position + 1)
    assert one == last


def test_append_gives_position_and_checkpoint(conn: Connection, ledger: Ledger) -> None:
    size = conn.scalar(select(func.count()).select_from(tables.ledger_entry))
    entry = ledger.append(conn, "upload", {}, actor=None, now=NOW)
    assert entry.position == size
    assert head_size(conn) == size + 1
    checkpoint = read_checkpoint(entry.checkpoint, [ledger.verifier])
    assert checkpoint.size == entry.position + 1
    assert checkpoint.root == plain.merkle_root([stored.leaf for stored in stored_entries(conn)])


def test_a_whole_ledger_has_no_problems(conn: Connection, ledger: Ledger) -> None:
    assert verify(conn, ledger.verifier) == []
    notes = [entry.checkpoint for entry in entries(conn)]
    assert verify(conn, [ledger.verifier], checkpoints=notes) == []
    assert verify(read_export(export(conn)), ledger.verifier, checkpoints=notes) == []


def test_an_empty_ledger_says_nothing() -> None:
    assert verify([], verifier_key("o", public_text(Ed25519PrivateKey.generate()))) == []


def edit(conn: Connection, at: int, **values: Any) -> None:
    conn.execute(update(tables.ledger_entry).where(COLUMN.position == at).values(**values))


def leaf_at(conn: Connection, position: int) -> dict[str, Any]:
    leaf = conn.scalar(select(COLUMN.leaf).where(COLUMN.position == position))
    held: dict[str, Any] = json.loads(leaf or b"")
    return held


def test_an_edited_entry_is_found(conn: Connection, ledger: Ledger) -> None:
    edit(conn, 7, leaf=canonical({**leaf_at(conn, 7), "actor": "somebody-else"}))
    assert kinds(verify(conn, ledger.verifier)) == [("edited", 7), ("removed", None)]
    assert kinds(verify(read_export(export(conn)), ledger.verifier)) == [("edited", 7)]


def test_an_entry_that_is_none_any_more_is_found(conn: Connection, ledger: Ledger) -> None:
    edit(conn, 7, leaf=b"{}")
    assert kinds(verify(conn, ledger.verifier))[0] == ("edited", 7)
    with pytest.raises(LedgerError, match="Entry 7 is no ledger entry"):
        list(entries(conn))
    edit(conn, 7, leaf=b"nonsense")
    assert kinds(verify(conn, ledger.verifier))[0] == ("edited", 7)


def test_a_removed_entry_is_found(conn: Connection, ledger: Ledger) -> None:
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position == 6))
    assert ("removed", 6) in kinds(verify(conn, ledger.verifier))
    assert kinds(verify(read_export(export(conn)), ledger.verifier)) == [("removed", 6)]
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position.in_([7, 8])))
    [problem] = verify(read_export(export(conn)), ledger.verifier)
    assert problem.text == "Entries 6 to 8 are missing."


def test_a_removed_first_entry_is_found(conn: Connection, ledger: Ledger) -> None:
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position == 0))
    assert ("removed", 0) in kinds(verify(conn, ledger.verifier))


def test_removing_and_moving_up_is_found(conn: Connection, ledger: Ledger) -> None:
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position == 6))
    for position in range(7, 14):
        edit(conn, position, position=position - 1)
    assert ("removed", 6) in kinds(verify(conn, ledger.verifier))


def test_a_cut_off_end_is_found_by_an_older_checkpoint(conn: Connection, ledger: Ledger) -> None:
    receipt = latest_checkpoint(conn)
    assert receipt is not None
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position >= 9))
    assert kinds(verify(conn, ledger.verifier)) == [("removed", None)]
    frontier = Frontier()
    for stored in stored_entries(conn):
        frontier.push(leaf_hash(stored.leaf))
    conn.execute(update(tables.ledger_head).values(size=9, frontier=frontier.to_bytes()))
    assert verify(conn, ledger.verifier) == [], "nothing inside tells"
    [problem] = verify(conn, ledger.verifier, checkpoints=[receipt])
    assert (problem.kind, problem.position) == ("removed", 9)


def test_reordered_entries_are_found(conn: Connection, ledger: Ledger) -> None:
    edit(conn, 6, position=99)
    edit(conn, 8, position=6)
    edit(conn, 99, position=8)
    found = kinds(verify(conn, ledger.verifier))
    assert ("reordered", 8) in found
    assert all(kind in ("reordered", "removed") for kind, _ in found)


def test_an_entry_told_twice_is_found(conn: Connection, ledger: Ledger) -> None:
    stored = list(stored_entries(conn))
    doubled = [*stored[:5], stored[4], *stored[5:]]
    assert ("reordered", 5) in kinds(verify(doubled, ledger.verifier))


def rewrite(conn: Connection, pen: Ledger, change: Callable[[dict[str, Any]], None]) -> None:
    """The whole ledger anew, signed as well as the writer can."""
    documents = [json.loads(stored.leaf) for stored in stored_entries(conn)]
    change(documents[3])
    conn.execute(delete(tables.ledger_entry))
    conn.execute(update(tables.ledger_head).values(size=0, frontier=b""))
    for document in documents:
        pen.append(conn, document["kind"], document["facts"], actor=document["actor"], now=NOW)


def test_a_ledger_rewritten_by_a_stranger_is_found(conn: Connection, ledger: Ledger) -> None:
    private = Ed25519PrivateKey.generate()
    vouch = vouched_by(ledger.origin, private)
    stranger = Ledger(ledger.origin, public_text(private), vouch)
    rewrite(conn, stranger, lambda document: document.update(actor=None))
    [problem, *_] = verify(conn, ledger.verifier)
    assert (problem.kind, problem.position) == ("unsigned", 0)


def test_a_ledger_rewritten_with_the_real_key_is_found_by_a_receipt(
    house: House, conn: Connection, ledger: Ledger
) -> None:
    """Whoever holds an older checkpoint finds out, even about the house itself."""
    checkpoints = [entry.checkpoint for entry in entries(conn)]
    private = ledger_key(house.vault, conn)
    stolen = Ledger(ledger.origin, public_text(private), vouched_by(ledger.origin, private))
    rewrite(conn, stolen, lambda document: document["facts"].update(person="somebody-else"))
    assert verify(conn, ledger.verifier) == [], "nothing inside tells"
    for note in checkpoints[3:]:
        [problem] = verify(conn, ledger.verifier, checkpoints=[note])
        assert problem.kind == "rewritten"
    assert kinds(verify(conn, ledger.verifier, checkpoints=checkpoints[5:7])) == [
        ("rewritten", None)
    ]


def test_a_swapped_checkpoint_is_found(conn: Connection, ledger: Ledger) -> None:
    notes = [entry.checkpoint for entry in entries(conn)]
    edit(conn, 4, checkpoint=notes[5])
    assert kinds(verify(conn, ledger.verifier)) == [("edited", 4)]
    edit(conn, 4, checkpoint="nonsense")
    assert kinds(verify(conn, ledger.verifier)) == [("unsigned", 4)]


def test_bare_leaves_need_a_checkpoint(conn: Connection, ledger: Ledger) -> None:
    leaves = [stored.leaf for stored in stored_entries(conn)]
    notes = [entry.checkpoint for entry in entries(conn)]
    assert verify(leaves, ledger.verifier, checkpoints=notes[-1:]) == []
    assert kinds(verify(leaves, ledger.verifier)) == [("unsigned", 0)]
    assert kinds(verify(leaves, ledger.verifier, checkpoints=notes[:5])) == [("unsigned", 5)]
    assert kinds(verify(leaves, ledger.verifier, checkpoints=["x", notes[-1]])) == [
        ("unsigned", None)
    ]


def test_a_position_of_astronomical_size_is_no_trouble(ledger: Ledger) -> None:
    leaf = canonical({"version": 1, "position": 2**52})
    problems = verify([Stored(0, leaf)], ledger.verifier)
    assert problems == [Problem("removed", 0, f"Entries 0 to {2**52 - 1} are missing.")]
    for position in (-1, "0", True, None):
        leaf = canonical({"version": 1, "position": position})
        assert kinds(verify([Stored(0, leaf)], ledger.verifier)) == [("edited", 0)]


# What may stand in it


@pytest.mark.parametrize(
    ("kind", "facts", "actor"),
    [
        ("Delivery", {}, None),
        ("delivery.received.twice", {}, None),
        ("a b", {}, None),
        ("upload", {"Name": 1}, None),
        ("upload", {"text": "Jan Janssens"}, None),
        ("upload", {"text": "Élise"}, None),
        ("upload", {"number": "85073003328"}, None),
        ("upload", {"number": "85.07.30-033.28"}, None),
        ("upload", {"deep": {"list": ["two words"]}}, None),
        ("upload", {"deep": {"two words": 1}}, None),
        ("upload", {"share": 0.5}, None),
        ("upload", {"data": b"bytes"}, None),
        ("upload", {"long": "x" * 201}, None),
        ("upload", {}, "Jan Janssens"),
    ],
)
def test_personal_data_stays_out(
    conn: Connection, ledger: Ledger, kind: str, facts: dict[str, Any], actor: str | None
) -> None:
    """Nothing in the ledger ever has to be erased."""
    with pytest.raises(LedgerError, match="opaque ids") as caught:
        ledger.append(conn, kind, facts, actor=actor, now=NOW)
    assert all(str(value) not in str(caught.value) for value in facts.values())
    assert verify(conn, ledger.verifier) == []


def test_facts_of_every_kind(conn: Connection, ledger: Ledger) -> None:
    facts = {"sha256": "ab" * 32, "count": 12345678901, "ok": True, "none": None, "by": {"P": 3}}
    assert ledger.append(conn, "upload", facts, actor="rita", now=NOW).facts == facts


# Two writers


def test_two_writers_can_not_fork_it(tmp_path: Path) -> None:
    """Many threads, each its own connection: every entry is in, in one line."""
    engine = new_engine(tmp_path / "ledger.db")
    private = Ed25519PrivateKey.generate()
    ledger = Ledger("o", public_text(private), vouched_by("o", private))
    with engine.begin() as conn:
        tables.metadata.create_all(conn)
        Ledger.found(conn)

    def write(writer: int) -> None:
        for number in range(20):
            with engine.begin() as conn:
                facts = {"writer": writer, "number": number}
                ledger.append(conn, "upload", facts, actor=None, now=NOW)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.begin() as conn:
        assert verify(conn, ledger.verifier) == []
        told = [(entry.facts["writer"], entry.facts["number"]) for entry in entries(conn)]
    assert sorted(told) == [(writer, number) for writer in range(4) for number in range(20)]
    engine.dispose()


def test_a_head_that_moved_meanwhile_is_refused(
    conn: Connection, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check in the UPDATE is for: another writer's row came between."""

    def meanwhile(checkpoint: Checkpoint, private: Ed25519PrivateKey) -> str:
        conn.execute(update(tables.ledger_head).values(size=checkpoint.size + 5))
        return write_checkpoint(checkpoint, private)

    monkeypatch.setattr("keyvault.ledger.write_checkpoint", meanwhile)
    with pytest.raises(LedgerError, match="run the transaction again"):
        ledger.append(conn, "upload", {}, actor=None, now=NOW)


def test_a_head_that_fits_nothing_is_refused(conn: Connection, ledger: Ledger) -> None:
    conn.execute(update(tables.ledger_head).values(frontier=b""))
    with pytest.raises(LedgerError, match="run the ledger check"):
        ledger.append(conn, "upload", {}, actor=None, now=NOW)


def test_an_entry_is_no_longer_than_a_bundle_takes(conn: Connection, ledger: Ledger) -> None:
    """C2SP tlog-tiles: the length of an entry has two bytes."""
    with pytest.raises(LedgerError, match=f"{LONGEST_LEAF} bytes at most"):
        ledger.append(conn, "upload", {"long": ["x" * 200] * 400}, actor=None, now=NOW)
    assert verify(conn, ledger.verifier) == []


# Never a checkpoint that doesn't extend the last


def _forgets(conn: Connection, to: int = 9) -> None:
    """What an older database put back in the place of this one looks like."""
    conn.execute(delete(tables.ledger_entry).where(COLUMN.position >= to))
    frontier = Frontier()
    for stored in stored_entries(conn):
        frontier.push(leaf_hash(stored.leaf))
    conn.execute(update(tables.ledger_head).values(size=to, frontier=frontier.to_bytes()))


def _edits_one(conn: Connection) -> None:
    """An edit that is carried through to the head."""
    edit(conn, 3, leaf=canonical({**leaf_at(conn, 3), "actor": "another"}))
    frontier = Frontier()
    for stored in stored_entries(conn):
        frontier.push(leaf_hash(stored.leaf))
    conn.execute(update(tables.ledger_head).values(frontier=frontier.to_bytes()))


@pytest.mark.parametrize("harm", [_forgets, _edits_one])
def test_what_does_not_extend_the_last_is_not_signed(
    house: House, harm: Callable[[Connection], None]
) -> None:
    """Behind a running process's back the ledger is shortened, or edited and made to fit."""

    def append() -> None:
        with house.engine.begin() as conn:
            pen = house.vault.ledger(conn)
            pen.append(conn, "upload", {}, actor=None, now=NOW)
            pen.append(conn, "upload", {}, actor=None, now=NOW)

    for _ in range(5):
        append()
    with house.engine.begin() as conn:
        before = head_size(conn)
        harm(conn)
    with pytest.raises(LedgerError, match="not the one that stood there before"):
        append()
    with house.engine.begin() as conn:
        assert head_size(conn) in (before, 9)


def test_what_was_taken_back_may_come_another_way(house: House) -> None:
    """A transaction that failed leaves nothing behind that stands in the way of the next."""
    for told in ("first", "second", "third"):
        with house.engine.connect() as conn:
            house.vault.ledger(conn).append(conn, "upload", {"x": told}, actor=None, now=NOW)
            conn.rollback()
        with house.engine.begin() as conn:
            house.vault.ledger(conn).append(conn, "upload", {"y": told}, actor=None, now=NOW)
    with house.engine.begin() as conn:
        assert verify(conn, house.vault.ledger(conn).verifier) == []


def test_no_entry_no_change(house: House) -> None:
    """The entry stands in the transaction of what it tells of: both or neither."""
    with house.engine.begin() as conn:
        before = latest_checkpoint(conn)

    def change() -> None:
        with house.engine.begin() as conn:
            house.vault.scope_keys(conn, "neet", now=NOW)
            ledger = house.vault.ledger(conn)
            ledger.append(conn, "upload", {"x": "two words"}, actor=None, now=NOW)

    with pytest.raises(LedgerError):
        change()
    with house.engine.begin() as conn:
        assert latest_checkpoint(conn) == before
        assert not [key for key in house.vault.keys(conn) if key.owner == "neet"]


def test_what_is_no_export() -> None:
    for line in ("", "[]", "{}", '{"leaf": 7, "checkpoint": ""}'):
        with pytest.raises(LedgerError, match="Line 1"):
            list(read_export([line]))


def test_proofs_about_the_ledger(conn: Connection, ledger: Ledger) -> None:
    """An auditor with one receipt and the latest checkpoint needs nothing else of us."""
    told = list(entries(conn))
    early, late = (read_checkpoint(told[n].checkpoint, [ledger.verifier]) for n in (4, -1))
    steps = consistency_proof(Tree(conn, late.size).root, early.size, late.size)
    verify_consistency(early.size, late.size, steps, early.root, late.root)
    proof = inclusion_proof(Tree(conn, early.size).root, 2, early.size)
    verify_inclusion(leaf_hash(told[2].leaf), 2, early.size, proof, early.root)
