"""Harm done to every kind of thing that is stored, and whether it is noticed before it is used.

Whoever does it has the disk (objects as files) or the database as well (their recorded hashes,
names and keys too, key rows, permits, enrolments, jobs, the ledger), and no key. Each kind is
flipped, truncated, lengthened, replaced by another of its kind and by an older one of itself, and
read the way the service reads it. Noticed means refused.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from api import jobs, store
from api.objects import ObjectFault
from api.service import Service
from api.store import Admission, Delivery, Job, Release, StoredObject
from keyvault import ledger as ledgers
from keyvault import signing, tables
from keyvault.authority import Authority
from keyvault.errors import KeyvaultError
from keyvault.keyring import SealedKey, stored_key
from keyvault.ownkeys import PROVED
from keyvault.sealing import open_bytes, read_table
from keyvault.secret import AGE_PURPOSE, FileKey

HARMS = ("flip", "truncate", "lengthen", "swap", "roll back")
Read = Callable[[bytes], Any]


@dataclass(frozen=True)
class Kept:
    """Some bytes that are kept, how they are read, and which others could stand in their place."""

    kind: str
    data: bytes
    read: Read
    others: tuple[bytes, ...] = ()
    older: tuple[bytes, ...] = ()


def harmed(kept: Kept, harm: str, rng: random.Random) -> bytes | None:
    """The bytes after some harm; None where there is nothing to do it with."""
    data = kept.data
    match harm:
        case "flip":
            place = rng.randrange(len(data))
            flipped = data[place] ^ 1 << rng.randrange(8)
            return data[:place] + bytes([flipped]) + data[place + 1 :]
        case "truncate":
            return data[: rng.randrange(len(data))]
        case "lengthen":
            return data + rng.randbytes(rng.randrange(1, 40))
        case "swap":
            found = [other for other in kept.others if other != data]
            return rng.choice(found) if found else None
    return rng.choice(kept.older) if kept.older else None


def noticed(kept: Kept, data: bytes) -> bool:
    """Whether reading this instead is refused."""
    try:
        kept.read(data)
    except (KeyvaultError, ObjectFault):
        return True
    return False


class Tampering:
    """Tries on one service; `tried` and `missed` count them by kind and harm."""

    def __init__(self, service: Service, seed: int = 6) -> None:
        self._service, self._rng = service, random.Random(seed)
        self.tried: Counter[tuple[str, str]] = Counter()
        self.missed: Counter[tuple[str, str]] = Counter()

    def run(self, each: int) -> None:
        """So many tries of each harm on each thing."""
        with store.reading(self._service.engine) as session:
            for kept in [*self.things(session)]:
                for harm in HARMS:
                    for _ in range(each):
                        data = harmed(kept, harm, self._rng)
                        if data is None or data == kept.data:
                            continue
                        self.tried[kept.kind, harm] += 1
                        self.missed[kept.kind, harm] += not noticed(kept, data)

    def things(self, session: Any) -> Iterator[Kept]:
        """Everything that is kept: first that it is read as it stands, then what else it could be.

        AssertionError when something whole is refused: then no refusal would mean anything.
        """
        conn = session.connection()
        for kept in (
            *self._on_the_disk(session),
            *self._in_their_rows(session),
            *self._keys(conn),
            *self._signed(session, conn),
            *self._ledger(conn),
        ):
            assert not noticed(kept, kept.data), kept.kind
            yield kept

    # Objects

    def _on_the_disk(self, session: Any) -> Iterator[Kept]:
        """Somebody has the disk: the database says which hash each has to have."""
        objects = self._service.objects
        rows = list(session.scalars(select(StoredObject)))
        whole = {row.name: objects.get(row.name, row.sha256) for row in rows}
        for row in rows:
            path = objects.path(row.name)

            def read(data: bytes, row: StoredObject = row, path: Any = path) -> Any:
                before = path.read_bytes()
                path.write_bytes(data)
                try:
                    return objects.get(row.name, row.sha256)
                finally:
                    path.write_bytes(before)

            others = tuple(data for name, data in whole.items() if name != row.name)
            yield Kept(f"{row.kind} on the disk", whole[row.name], read, others)

    def _in_their_rows(self, session: Any) -> Iterator[Kept]:
        """Somebody has the database too, and writes the hash that fits: what remains is the seal.

        Others of a kind come with their keys: names, hashes and keys of two rows are exchanged.
        """
        found = list(self._sealed(session))
        for kind, role, binding, data, key in found:
            opener = open_bytes if kind == "package" else read_table
            same = {other[3]: other[4] for other in found if other[:2] == (kind, role)}

            def read(
                data: bytes,
                opener: Any = opener,
                key: FileKey = key,
                binding: str = binding,
                same: Mapping[bytes, FileKey] = same,
            ) -> Any:
                return opener(data, same.get(data, key), binding)

            yield Kept(f"{kind}, hash and all", data, read, tuple(same))

    def _sealed(self, session: Any) -> Iterator[tuple[str, str, str, bytes, FileKey]]:
        vault, objects = self._service.vault, self._service.objects
        places: list[tuple[str, str, str | None, str]] = []
        for row in session.scalars(select(Admission)):
            where = f"{row.scope}|{row.position}"
            places += [
                ("records", "linkage", row.records, f"spine-records|{where}"),
                ("seen", "linkage", row.seen, f"spine-seen|{where}"),
                ("review", "linkage", row.review, f"review|{where}"),
                ("links", "release", row.links, f"links|{row.scope}|{row.delivery}"),
            ]
        for row in session.scalars(select(Delivery).where(Delivery.state == "accepted")):
            places.append(("identifiers", "linkage", row.identifiers, f"identifiers|{row.id}|1"))
            places.append(("payload", "release", row.payload, f"payload|{row.id}|1"))
        for row in session.scalars(select(Release)):
            places.append(("profile", "release", row.profile, f"profile|{row.id}|1"))
            places.append(("package", "release", row.package, f"package|{row.id}|1"))
        for kind, role, name, binding in places:
            stored = session.get(StoredObject, name)
            key = vault.role(role).open(stored_key(session.connection(), stored.key))
            yield kind, role, binding, objects.get(stored.name, stored.sha256), key

    # Keys

    def _keys(self, conn: Connection) -> Iterator[Kept]:
        """Rows of keys: what is sealed to a role, and what the vault proves."""
        vault = self._service.vault
        rows = list(conn.execute(select(tables.sealed_key)))
        for row in rows:
            role = vault.role(row.role)
            others = tuple(other.sealed for other in rows if other.role != row.role)
            identity = row.purpose == AGE_PURPOSE

            def read(data: bytes, role: Any = role, identity: bool = identity) -> None:
                sealed = SealedKey.from_bytes(data)
                (role.open_identity if identity else role.open)(sealed)

            yield Kept("sealed key", row.sealed, read, others)
            if row.proof is not None:
                yield from self._proved(row, rows)

    def _proved(self, row: Row[Any], rows: list[Row[Any]]) -> Iterator[Kept]:
        prove = self._service.vault._safe.prove
        values = {name: row._mapping[name] for name in PROVED}
        proofs = tuple(other.proof for other in rows if other.proof)

        def read(data: bytes) -> None:
            prove(values, data)

        def read_sealed(data: bytes) -> None:
            prove({**values, "sealed": data}, row.proof)

        yield Kept("proof of a key row", row.proof, read, proofs)
        sealed = tuple(other.sealed for other in rows)
        yield Kept("sealed key in a proved row", row.sealed, read_sealed, sealed)

    # What is signed

    def _signed(self, session: Any, conn: Connection) -> Iterator[Kept]:
        vault = self._service.vault
        for row in conn.execute(select(tables.permit)):
            authority: Authority = vault._authority

            def body(data: bytes, row: Row[Any] = row, authority: Authority = authority) -> Any:
                held = _Row({**row._mapping, "body": data})
                return authority.read_permit(conn, held)  # type: ignore[arg-type]

            def signature(data: bytes, row: Row[Any] = row) -> Any:
                held = _Row({**row._mapping, "signature": data.decode("latin-1")})
                return vault._authority.read_permit(conn, held)  # type: ignore[arg-type]

            yield Kept("permit's body", row.body, body)
            yield Kept("permit's signature", row.signature.encode(), signature)
        receipts = vault.public_keys(conn)["receipt"]
        for delivery in session.scalars(select(Delivery).where(Delivery.receipt.is_not(None))):
            data = signing.canonical(delivery.receipt)
            yield Kept("receipt", data, lambda data: _receipt(data, receipts[0]))
        for job in session.scalars(select(Job)):
            document = jobs.document(job)

            def read(data: bytes, job: Job = job) -> None:
                vault.verify_job(conn, _document(data), job.signature)

            others = tuple(
                signing.canonical(jobs.document(other)) for other in session.scalars(select(Job))
            )
            yield Kept("job", signing.canonical(document), read, others)

    # The ledger

    def _ledger(self, conn: Connection) -> Iterator[Kept]:
        """An entry or a checkpoint among the others, as `ledger verify` goes through them."""
        stored = list(ledgers.stored_entries(conn))
        keys = self._service.vault.public_keys(conn)["ledger"]
        leaves = tuple(entry.leaf for entry in stored)
        for place in sorted(self._rng.sample(range(len(stored)), 6)):
            one = stored[place]

            def read(data: bytes, place: int = place, one: ledgers.Stored = one) -> None:
                changed = replace(one, leaf=data)
                _whole([*stored[:place], changed, *stored[place + 1 :]], keys)

            yield Kept("ledger entry", one.leaf, read, leaves)

            def note(data: bytes, place: int = place, one: ledgers.Stored = one) -> None:
                changed = replace(one, checkpoint=data.decode("utf-8", "replace"))
                _whole([*stored[:place], changed, *stored[place + 1 :]], keys)

            notes = tuple(str(entry.checkpoint).encode() for entry in stored)
            yield Kept("checkpoint", notes[place], note, notes, notes[:place])


class _Row:
    """A row as the database would give it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def _document(data: bytes) -> dict[str, Any]:
    return signing.read_canonical(data)


def _receipt(data: bytes, key: str) -> None:
    signing.verify_receipt(signing.read_canonical(data), key)


def _whole(stored: list[ledgers.Stored], keys: list[str]) -> None:
    problems = ledgers.verify(stored, keys)
    if problems:
        raise KeyvaultError(problems[0].text)
