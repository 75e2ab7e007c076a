"""What happened, provably.

An append-only Merkle tree (`merkle`) over entries in canonical JSON

    {"version":1, "position":n, "at":…, "kind":…, "actor":…, "facts":{…}}

With each entry a checkpoint over all entries so far (`checkpoints`) is signed and kept, in the
transaction of the change that the entry tells of. Receipts carry checkpoints out of the house;
whoever holds one can tell later whether history was rewritten.

Facts are opaque ids, hashes, counts and dates: nothing with a space in it and no numbers of
people, so that nothing here ever has to be erased. Names that answers to "who" and "what" look at:
`project`, `permit`, `application`, `delivery`, `release`, `dataset`, `period`, `scope`, `person`,
`key` (texts) and `variables` (list).
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakSet

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Transaction, insert, select, update

from keyvault import tables
from keyvault.checkpoints import Checkpoint, read_checkpoint, verifier_key, write_checkpoint
from keyvault.errors import LedgerError, SignatureError
from keyvault.merkle import Frontier, leaf_hash
from keyvault.signing import canonical, read_canonical, utc_text
from keyvault.tiles import LONGEST_LEAF, Layers, keep

_KIND = re.compile(r"[a-z][a-z-]{0,39}(\.[a-z][a-z-]{0,39})?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_OPAQUE = re.compile(r"[\x21-\x7e]{0,200}")
_PERSONAL = re.compile(r"\d([ .\-/]?\d){10}")  # the eleven digits of a national number


@dataclass(frozen=True)
class Entry:
    """One entry: what it says, its bytes, and the checkpoint signed when it was added."""

    position: int
    at: str
    kind: str
    actor: str | None
    facts: dict[str, Any]
    leaf: bytes
    checkpoint: str


@dataclass(frozen=True)
class Stored:
    """An entry as it lies in the database or in an export, not yet believed."""

    position: int
    leaf: bytes
    checkpoint: str | None = None


@dataclass(frozen=True)
class Problem:
    """Something `verify` found. `kind`: edited, removed, reordered, rewritten, unsigned."""

    kind: str
    position: int | None
    text: str


# Writing


Vouch = Callable[[Frontier, Sequence[bytes]], str | int]
"""Signs the checkpoint of a ledger grown by these last leaves; see `Ledger`."""


def vouched_by(origin: str, private: Ed25519PrivateKey) -> Vouch:
    """A signature of whoever holds the ledger's key and believes the frontier it is shown."""
    return lambda grown, _leaves: write_checkpoint(
        Checkpoint(origin, grown.size, grown.root()), private
    )


class Ledger:
    """The pen: appends entries and has signed what stands there. Made by the vault.

    `origin` names this ledger for ever; `verifier` is its public key for auditors. `vouch` signs:
    it is shown the ledger as it will stand and the leaves that are new. One that looks for itself
    knows what is committed and nothing of an open transaction; it may answer with the position
    from which on it wants the leaves, and is asked once more. Where nobody else looks, `watch` does
    before the first entry of each transaction: nothing is signed that doesn't extend the last.
    """

    def __init__(
        self, origin: str, public: str, vouch: Vouch, watch: "Watch | None" = None
    ) -> None:
        self.origin = origin
        self.verifier = verifier_key(origin, public)
        self._vouch = vouch
        self._watch = watch

    def __repr__(self) -> str:
        return f"<Ledger {self.verifier}>"

    @staticmethod
    def found(conn: Connection) -> None:
        """Write the empty head; once."""
        conn.execute(insert(tables.ledger_head).values(id=1, size=0, frontier=b""))

    def append(
        self,
        conn: Connection,
        kind: str,
        facts: Mapping[str, Any],
        *,
        actor: str | None,
        now: datetime,
    ) -> Entry:
        """Write an entry in the caller's transaction; if it can't be written, nothing happened.

        Two writers can't both take a position: the second waits (PostgreSQL), or gets a
        LedgerError or the database's own error and should run its transaction again.
        """
        head = conn.execute(select(tables.ledger_head).with_for_update()).one()
        if self._watch is not None:
            self._watch.look_once(conn)
        document = {
            "version": 1,
            "position": head.size,
            "at": utc_text(now),
            "kind": kind,
            "actor": actor,
            "facts": dict(facts),
        }
        _refuse_unfit(document)
        leaf = canonical(document)
        _refuse_long(leaf)
        frontier = Frontier.from_bytes(head.size, head.frontier)
        frontier.push(leaf_hash(leaf))
        checkpoint = self._vouched(conn, frontier, leaf)
        conn.execute(
            insert(tables.ledger_entry).values(position=head.size, leaf=leaf, checkpoint=checkpoint)
        )
        moved = conn.execute(
            update(tables.ledger_head)
            .where(tables.ledger_head.c.size == head.size)
            .values(size=frontier.size, frontier=frontier.to_bytes())
        )
        if moved.rowcount != 1:
            raise LedgerError(_OVERTAKEN)
        keep(conn, frontier.size)
        return _entry(head.size, leaf, checkpoint)

    def _vouched(self, conn: Connection, grown: Frontier, leaf: bytes) -> str:
        answer = self._vouch(grown, [leaf])
        if isinstance(answer, int):
            uncommitted = [stored.leaf for stored in stored_entries(conn, start=answer)]
            answer = self._vouch(grown, [*uncommitted, leaf])
        if isinstance(answer, int):
            raise LedgerError(_OVERTAKEN)
        return answer


_OVERTAKEN = "Somebody else wrote to the ledger; run the transaction again."


class Watch:
    """What was seen committed, remembered: it can't become something else behind one's back.

    Whoever signs checkpoints looks through it, so that neither a caller nor who captured the
    database, or put an older one back, gets a fork of what was committed signed while the process
    lives. What isn't committed yet may be signed and never come: a transaction that was taken back
    leaves a checkpoint that no ledger fits, and so can a caller who means to.
    """

    def __init__(self) -> None:
        self._seen: Frontier | None = None
        self._begun: WeakSet[Transaction] = WeakSet()
        self._one_at_a_time = threading.Lock()

    def look_once(self, conn: Connection) -> None:
        """`look` from inside a writer's transaction, before it writes its first entry: what is to
        be seen then is what was committed."""
        transaction = conn.get_transaction()
        assert transaction is not None  # noqa: S101 - SQLAlchemy begins one before anything else
        with self._one_at_a_time:
            if transaction not in self._begun:
                self.look(conn)
                self._begun.add(transaction)

    def look(self, conn: Connection) -> Frontier:
        """The committed ledger's frontier, to grow; LedgerError when it isn't the one seen before.

        `conn` is a snapshot taken after that of the look before.
        """
        head = conn.execute(select(tables.ledger_head)).one()
        stated = Frontier.from_bytes(head.size, head.frontier)
        seen = _copied(self._seen or stated)
        if seen.size < stated.size:
            for stored in stored_entries(conn, start=seen.size, stop=stated.size):
                seen.push(leaf_hash(stored.leaf))
        if (seen.size, seen.to_bytes()) != (stated.size, stated.to_bytes()):
            raise LedgerError(
                "The ledger in the database is not the one that stood there before; run `schakel "
                "ledger verify`, and start the vault anew once it is restored."
            )
        self._seen = seen
        return stated


def _copied(frontier: Frontier) -> Frontier:
    return Frontier.from_bytes(frontier.size, frontier.to_bytes())


def grow(frontier: Frontier, leaves: Sequence[bytes]) -> None:
    """Push leaves that claim the very places they come to; LedgerError for any other, and for what
    the pen wouldn't have written."""
    for leaf in leaves:
        if _claimed_position(leaf) != frontier.size:
            raise LedgerError(_OVERTAKEN)
        _refuse_strange(leaf)
        frontier.push(leaf_hash(leaf))


def _refuse_strange(leaf: bytes) -> None:
    document = read_canonical(leaf)
    shapes = {"version": int, "position": int, "at": str, "kind": str, "facts": dict}
    whole = document.keys() == {*shapes, "actor"} and all(
        isinstance(document[name], shape) for name, shape in shapes.items()
    )
    if not whole or document["version"] != 1 or not _is_fit(document["at"]):
        raise LedgerError("That is no ledger entry.")
    _refuse_unfit(document)
    _refuse_long(leaf)


def _refuse_long(leaf: bytes) -> None:
    if len(leaf) > LONGEST_LEAF:
        raise LedgerError(
            f"A ledger entry has {LONGEST_LEAF} bytes at most; put what is long where it can be "
            "erased, and its hash here."
        )


def _refuse_unfit(document: Mapping[str, Any]) -> None:
    """Keep texts and numbers of people out; see the module's text."""
    facts = document["facts"]
    fit = (
        _KIND.fullmatch(document["kind"])
        and (document["actor"] is None or _is_fit(document["actor"]))
        and all(_NAME.fullmatch(name) and _is_fit(value) for name, value in facts.items())
    )
    if not fit:
        raise LedgerError(
            "A ledger entry holds opaque ids, hashes, counts and dates only; put the rest where "
            "it can be erased, and its id here."
        )


def _is_fit(value: object) -> bool:
    if isinstance(value, str):
        return bool(_OPAQUE.fullmatch(value)) and not _PERSONAL.fullmatch(value)
    if isinstance(value, list | tuple):
        return all(_is_fit(item) for item in value)
    if isinstance(value, Mapping):
        return all(_is_fit(name) and _is_fit(item) for name, item in value.items())
    return value is None or isinstance(value, int)


# Reading


def entries(conn: Connection, *, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
    """Entries start … stop - 1, or to the end, in order."""
    for stored in stored_entries(conn, start=start, stop=stop):
        yield _entry(stored.position, stored.leaf, stored.checkpoint or "")


def stored_entries(
    conn: Connection, *, start: int = 0, stop: int | None = None
) -> Iterator[Stored]:
    """The same as they lie in the database."""
    column = tables.ledger_entry.c
    query = select(tables.ledger_entry).where(column.position >= start).order_by(column.position)
    if stop is not None:
        query = query.where(column.position < stop)
    for row in conn.execute(query):
        # a tamperer may have left text where bytes belong; the check then finds it edited
        leaf = row.leaf if isinstance(row.leaf, bytes) else str(row.leaf).encode()
        yield Stored(row.position, leaf, row.checkpoint)


def size(conn: Connection) -> int:
    """How many entries the head counts; there are as many unless somebody took some."""
    return int(conn.scalar(select(tables.ledger_head.c.size)) or 0)


def latest_checkpoint(conn: Connection) -> str | None:
    """The checkpoint over all entries, or None while there are none."""
    column = tables.ledger_entry.c
    return conn.scalar(select(column.checkpoint).order_by(column.position.desc()).limit(1))


def export(conn: Connection) -> Iterator[str]:
    """The whole ledger as lines of JSON, for an auditor; `read_export` reads it back."""
    for stored in stored_entries(conn):
        yield json.dumps({"leaf": stored.leaf.decode(), "checkpoint": stored.checkpoint}) + "\n"


def read_export(lines: Iterable[str]) -> Iterator[Stored]:
    """What `export` wrote; LedgerError when a line is something else."""
    for position, line in enumerate(lines):
        try:
            held = json.loads(line)
            yield Stored(position, held["leaf"].encode(), held["checkpoint"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LedgerError(f"Line {position + 1} is no exported ledger entry.") from None


def _entry(position: int, leaf: bytes, checkpoint: str) -> Entry:
    try:
        held = read_canonical(leaf)
        said = (held["at"], held["kind"], held["actor"], held["facts"])
    except (SignatureError, KeyError):
        raise LedgerError(
            f"Entry {position} is no ledger entry any more; run `schakel ledger verify`."
        ) from None
    return Entry(position, *said, leaf, checkpoint)


# Checking


def verify(
    source: Connection | Iterable[Stored | bytes],
    verifiers: str | Iterable[str],
    *,
    checkpoints: Iterable[str] = (),
) -> list[Problem]:
    """Everything that is wrong with a ledger; an empty list says it is whole.

    `source` is the database, an export (`read_export`) or bare leaves. `verifiers` are the
    ledger's verifier keys. `checkpoints` are notes that were kept elsewhere, on receipts for
    instance: against them even a ledger rewritten and signed anew from one end to the other is
    found out.
    """
    keys = [verifiers] if isinstance(verifiers, str) else list(verifiers)
    outside, problems = _outside(checkpoints, keys)
    check = _Check(keys, outside)
    for stored in stored_entries(source) if isinstance(source, Connection) else _number(source):
        check.take(stored)
    problems += check.finish()
    if isinstance(source, Connection):
        head = source.execute(select(tables.ledger_head)).one()
        if (head.size, head.frontier) != (check.frontier.size, check.frontier.to_bytes()):
            problems.append(Problem("removed", None, "The head doesn't fit the entries."))
        problems += tile_problems(source)
    return problems


def tile_problems(conn: Connection) -> Iterator[Problem]:
    """Kept tiles that aren't those of the entries."""
    layers, made = Layers(), dict[tuple[int, int], bytes]()
    for stored in stored_entries(conn):
        tiles = layers.push(leaf_hash(stored.leaf))
        made |= {(level, number): hashes for level, number, hashes in tiles}
    made |= {(level, number): hashes for level, number, hashes in layers.rest() if level}
    for row in conn.execute(select(tables.ledger_tile)):
        if made.pop((row.level, row.number), None) != row.hashes:
            text = f"Tile {row.level}/{row.number} is not that of the entries."
            yield Problem("edited", None, text)
    for level, number in made:
        yield Problem("removed", None, f"Tile {level}/{number} is missing.")


def _number(source: Iterable[Stored | bytes]) -> Iterator[Stored]:
    for position, item in enumerate(source):
        yield Stored(position, item) if isinstance(item, bytes) else item


def _outside(notes: Iterable[str], keys: list[str]) -> tuple[dict[int, set[bytes]], list[Problem]]:
    """The roots that checkpoints from outside vouch for, by size; and the notes that are none."""
    roots: dict[int, set[bytes]] = {}
    problems = []
    for note in notes:
        try:
            checkpoint = read_checkpoint(note, keys)
        except LedgerError as error:
            problems.append(Problem("unsigned", None, f"A checkpoint given along: {error}"))
            continue
        roots.setdefault(checkpoint.size, set()).add(checkpoint.root)
    return roots, problems


class _Check:
    """Goes through entries in order and gathers what is wrong.

    What an entry calls its own position tells removal from reordering. The signed root tells where
    the first edited entry stands; after that no root can agree, so later ones aren't compared.
    """

    def __init__(self, keys: list[str], outside: dict[int, set[bytes]]) -> None:
        self.frontier = Frontier()
        self._keys = keys
        self._outside = outside
        self._problems: list[Problem] = []
        self._claimed: set[int] = set()
        self._highest = -1
        self._broken = False
        self._vouched = 0

    def take(self, stored: Stored) -> None:
        """Look at the next entry."""
        place = self.frontier.size
        self.frontier.push(leaf_hash(stored.leaf))
        claimed = _claimed_position(stored.leaf)
        if claimed is None:
            self._found("edited", place, f"Entry {place} is no ledger entry any more.")
            self._claimed.add(place)
            self._highest = max(self._highest, place)
            return
        if claimed <= self._highest:
            self._found("reordered", place, f"Entry {claimed} stands at place {place}.")
        self._broken |= claimed != place
        self._claimed.add(claimed)
        self._highest = max(self._highest, claimed)
        if not self._broken and stored.checkpoint is not None:
            self._compare_stored(place, stored.checkpoint)
        if not self._broken:
            self._compare_outside()

    def finish(self) -> list[Problem]:
        """What can only be said at the end, and all that was found."""
        size = self.frontier.size
        end = max(size, *self._outside, self._highest + 1)
        before = -1
        for claimed in sorted({*self._claimed, end}):
            if claimed > before + 1:
                self._found("removed", before + 1, _missing(before + 1, claimed - 1))
            before = claimed
        if not self._broken and self._vouched < size:
            self._found(
                "unsigned",
                self._vouched,
                f"No checkpoint vouches for the entries from {self._vouched} on; give a later one.",
            )
        return self._problems

    def _found(self, kind: str, position: int | None, text: str) -> None:
        self._problems.append(Problem(kind, position, text))
        self._broken = True

    def _compare_stored(self, place: int, note: str) -> None:
        try:
            checkpoint = read_checkpoint(note, self._keys)
        except LedgerError as error:
            self._found("unsigned", place, f"The checkpoint of entry {place}: {error}")
            return
        if (checkpoint.size, checkpoint.root) != (place + 1, self.frontier.root()):
            self._found(
                "edited", place, f"Entry {place} is not what was signed when it was written."
            )
            return
        self._vouched = place + 1

    def _compare_outside(self) -> None:
        roots = self._outside.get(self.frontier.size)
        if not roots:
            return
        size = self.frontier.size
        if roots != {self.frontier.root()}:
            self._found(
                "rewritten",
                None,
                f"The first {size} entries are not those of the checkpoint given along: "
                "history was rewritten.",
            )
            return
        self._vouched = size


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Entry {first} is missing."
    return f"Entries {first} to {last} are missing."


def _claimed_position(leaf: bytes) -> int | None:
    try:
        position = read_canonical(leaf).get("position")
    except SignatureError:
        return None
    return position if type(position) is int and position >= 0 else None
