"""What happened, provably.

An append-only Merkle tree as in RFC 6962: entry n is canonical JSON

    {"version":1, "position":n, "at":…, "kind":…, "actor":…, "facts":{…}}

its leaf hash is SHA-256(0x00 ‖ entry), an inner node SHA-256(0x01 ‖ left ‖ right). With each entry
a checkpoint over all entries so far is signed and kept (C2SP tlog-checkpoint in a signed note,
Ed25519), in the transaction of the change that the entry tells of. Receipts carry checkpoints out
of the house; whoever holds one can tell later whether history was rewritten.

Facts are opaque ids, hashes, counts and dates: nothing with a space in it and no numbers of
people, so that nothing here ever has to be erased. Names that answers to "who" and "what" look at:
`project`, `permit`, `application`, `delivery`, `release`, `dataset`, `period`, `scope`, `person`,
`key` (texts) and `variables` (list).
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, insert, select, update

from keyvault import tables
from keyvault.errors import LedgerError, SignatureError
from keyvault.signing import (
    canonical,
    check_bytes,
    from_base64url,
    public_text,
    read_canonical,
    to_base64url,
    utc_text,
)

_KIND = re.compile(r"[a-z][a-z-]{0,39}(\.[a-z][a-z-]{0,39})?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_OPAQUE = re.compile(r"[\x21-\x7e]{0,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
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


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's signer vouches for."""

    origin: str
    size: int
    root: bytes


# The tree

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees of a growing tree, largest first."""

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)
        if len(self._roots) != size.bit_count():
            raise LedgerError("The ledger's head doesn't fit its size; run the ledger check.")

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` gave."""
        return cls(size, (data[start : start + 32] for start in range(0, len(data), 32)))

    def to_bytes(self) -> bytes:
        """32 bytes per subtree."""
        return b"".join(self._roots)

    def push(self, hashed: bytes) -> None:
        """Add a leaf's hash on the right."""
        size = self.size
        while size & 1:
            hashed = _node(self._roots.pop(), hashed)
            size >>= 1
        self._roots.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = _node(left, root)
        return root


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over some leaf hashes."""
    frontier = Frontier()
    for hashed in hashes:
        frontier.push(hashed)
    return frontier.root()


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 6962, section 2.1.1: that leaf `index` is in the tree over these leaf hashes."""
    if not 0 <= index < len(hashes):
        raise LedgerError("There is no entry at that position.")
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*inclusion_proof(hashes[:split], index), tree_root(hashes[split:])]
    return [*inclusion_proof(hashes[split:], index - split), tree_root(hashes[:split])]


def consistency_proof(hashes: Sequence[bytes], size: int) -> list[bytes]:
    """RFC 6962, section 2.1.2: that the tree over the first `size` leaf hashes only grew."""
    if not 0 < size <= len(hashes):
        raise LedgerError("Consistency is between a tree of one entry or more and a later one.")
    return _consistency(hashes, size, whole=True)


def _consistency(hashes: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    if size == len(hashes):
        return [] if whole else [tree_root(hashes)]
    split = _split(len(hashes))
    if size <= split:
        return [*_consistency(hashes[:split], size, whole=whole), tree_root(hashes[split:])]
    left = tree_root(hashes[:split])
    return [*_consistency(hashes[split:], size - split, whole=False), left]


def verify_inclusion(
    hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2); LedgerError when it fails."""
    if not 0 <= index < size or any(len(item) != 32 for item in (hashed, root, *proof)):
        raise LedgerError(_BROKEN)
    first, last = index, size - 1
    for sibling in proof:
        if last == 0:
            raise LedgerError(_BROKEN)
        if first & 1 or first == last:
            hashed = _node(sibling, hashed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            hashed = _node(hashed, sibling)
        first, last = first >> 1, last >> 1
    if last or hashed != root:
        raise LedgerError(_BROKEN)


def verify_consistency(
    old_size: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes
) -> None:
    """Check a consistency proof (RFC 9162, section 2.1.4.2); LedgerError when it fails."""
    if old_size < 1:
        raise LedgerError("Every tree is consistent with an empty one; compare with a later one.")
    verify_subtree_consistency(0, old_size, size, proof, old_root, root)


def verify_subtree_inclusion(
    hashed: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf `index` is in the subtree [start, end) of that root; LedgerError if not."""
    if not _is_subtree(start, end) or index < start:
        raise LedgerError(_BROKEN)
    verify_inclusion(hashed, index - start, end - start, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Check that the subtree [start, end) is part of the tree of `size` leaves; LedgerError if not.

    The procedure is that of draft-ietf-plants-merkle-tree-certs, section 4.4.3; with start 0 it is
    RFC 9162's consistency proof.
    """
    if start == end <= size and not proof and subtree_root == EMPTY_ROOT:
        return
    if not _is_subtree(start, end) or end > size or any(len(item) != 32 for item in proof):
        raise LedgerError(_BROKEN)
    first, last, top = start, end - 1, size - 1
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    rest = list(proof)
    if first != last and not rest:
        raise LedgerError(_BROKEN)
    old = new = subtree_root if first == last else rest.pop(0)
    for sibling in rest:
        if top == 0:
            raise LedgerError(_BROKEN)
        if last & 1 or last == top:
            old = _node(sibling, old) if first < last else old
            new = _node(sibling, new)
            while not last & 1:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            new = _node(new, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top or old != subtree_root or new != root:
        raise LedgerError(_BROKEN)


def _is_subtree(start: int, end: int) -> bool:
    """Whether [start, end) is a subtree at all: it starts at a multiple of its rounded-up size."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


_BROKEN = "The proof doesn't hold: it belongs to another entry or tree, or one of them was changed."


# Checkpoints


def verifier_key(origin: str, public: str) -> str:
    """The public key of a checkpoint's signer as C2SP signed-note writes it."""
    identified = b"\x01" + from_base64url(public)
    key_id = _key_id(origin, identified)
    return f"{origin}+{key_id.hex()}+{base64.b64encode(identified).decode()}"


def read_checkpoint(note: str, verifiers: Iterable[str]) -> Checkpoint:
    """Read a checkpoint that one of these verifier keys signed; LedgerError for any other note.

    Signatures of others (witnesses) are passed over, as the specification asks.
    """
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    keys = dict(_read_verifier(verifier) for verifier in verifiers)
    signed = False
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        data = _from_base64(encoded)
        public = keys.get((name, data[:4]))
        if dash == "\u2014" and public is not None:
            try:
                check_bytes(text.encode(), to_base64url(data[4:]), public)
            except SignatureError:
                raise LedgerError("The checkpoint's signature doesn't hold.") from None
            signed = True
    lines = text.split("\n")
    sound = separator and signed and len(lines) > 3 and _SIZE.fullmatch(lines[1])
    if not sound or lines[0] not in {name for name, _ in keys}:
        raise LedgerError("This is no checkpoint signed by that ledger; check which key it names.")
    return Checkpoint(lines[0], int(lines[1]), _from_base64(lines[2]))


def _key_id(name: str, identified: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + identified).digest()[:4]


def _read_verifier(text: str) -> tuple[tuple[str, bytes], str]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    identified = _from_base64(encoded)
    if key_id != _key_id(name, identified).hex() or identified[:1] != b"\x01":
        raise LedgerError("This is no Ed25519 verifier key of a ledger: name+id+key is expected.")
    return (name, bytes.fromhex(key_id)), to_base64url(identified[1:])


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise LedgerError("A checkpoint or key holds something that isn't base64.") from None


# Writing


class Ledger:
    """The pen: appends entries and signs what stands there. Made by the vault, which has the key.

    `origin` names this ledger for ever; `verifier` is its public key for auditors.
    """

    def __init__(self, origin: str, private: Ed25519PrivateKey) -> None:
        self.origin = origin
        self.verifier = verifier_key(origin, public_text(private))
        self._private = private

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
        frontier = Frontier.from_bytes(head.size, head.frontier)
        frontier.push(leaf_hash(leaf))
        checkpoint = self._sign(frontier.size, frontier.root())
        conn.execute(
            insert(tables.ledger_entry).values(position=head.size, leaf=leaf, checkpoint=checkpoint)
        )
        moved = conn.execute(
            update(tables.ledger_head)
            .where(tables.ledger_head.c.size == head.size)
            .values(size=frontier.size, frontier=frontier.to_bytes())
        )
        if moved.rowcount != 1:
            raise LedgerError("Somebody else wrote to the ledger; run the transaction again.")
        return _entry(head.size, leaf, checkpoint)

    def _sign(self, size: int, root: bytes) -> str:
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        key_id = bytes.fromhex(self.verifier.removeprefix(f"{self.origin}+")[:8])
        signature = base64.b64encode(key_id + self._private.sign(text.encode())).decode()
        return f"{text}\n\u2014 {self.origin} {signature}\n"


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
        yield Stored(row.position, row.leaf, row.checkpoint)


def size(conn: Connection) -> int:
    """How many entries the head counts; there are as many unless somebody took some."""
    return int(conn.scalar(select(tables.ledger_head.c.size)) or 0)


def latest_checkpoint(conn: Connection) -> str | None:
    """The checkpoint over all entries, or None while there are none."""
    column = tables.ledger_entry.c
    return conn.scalar(select(column.checkpoint).order_by(column.position.desc()).limit(1))


def leaf_hashes(conn: Connection, size: int | None = None) -> list[bytes]:
    """The leaf hashes of the first `size` entries, for proofs."""
    return [leaf_hash(stored.leaf) for stored in stored_entries(conn, stop=size)]


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
    return problems


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
