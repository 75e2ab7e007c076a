"""People, keys and the ledger: what administrators do and auditors look at."""

import base64
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from api import store
from api.operations import ABSENT_THING, Work, found
from api.problems import ABSENT, Problem
from api.store import Dataset, Delivery, Job, Organisation, RefusedRequest, StoredObject, Stranger
from keyvault import ledger as ledgers
from keyvault import merkle, questions, tiles
from keyvault.ceremonies import Signed
from keyvault.errors import EnrolmentError, LedgerError
from keyvault.ledger import Entry
from keyvault.people import read_enrolment
from keyvault.questions import Touch
from policies import access
from policies.access import Thing


def add_organisation(work: Work, identifier: str, name: str) -> Organisation:
    """Make an organisation known; people and datasets belong to one."""
    work.demand("organisation.add")
    if work.session.get(Organisation, identifier) is not None:
        raise Problem(
            "already-there", "There is an organisation with this id.", "Choose another id."
        )
    organisation = Organisation(id=identifier, name=name, added_at=work.now)
    work.session.add(organisation)
    work.session.flush()
    work.note("organisation.added", organisation=identifier)
    return organisation


def enrol(work: Work, document: dict[str, Any], signatures: list[dict[str, Any]]) -> dict[str, Any]:
    """Enrol a person, or change roles or keys: two administrators signed it (S16: roles apart)."""
    work.demand("person.enrol")
    if work.session.get(Organisation, str(document.get("organisation"))) is None:
        raise Problem(
            "incomplete",
            "The enrolment names an organisation that isn't known here.",
            "Add the organisation first: `schakel organisation add`.",
        )
    try:
        read_enrolment(document)
    except EnrolmentError as fault:
        raise Problem(
            "incomplete", str(fault), "Correct the enrolment, and have it signed anew."
        ) from None
    try:
        enrolled = work.vault.enrol(work.session.connection(), document, signatures, now=work.now)
    except EnrolmentError as fault:
        raise Problem(
            "needs-two-administrators",
            str(fault),
            "Two administrators sign it (`schakel sign enrolment`), and one sends it in.",
        ) from None
    return {
        "person": enrolled.id,
        "organisation": enrolled.organisation,
        "roles": sorted(enrolled.roles),
    }


def people(work: Work) -> list[dict[str, Any]]:
    """Everybody who is enrolled, and with which roles."""
    work.demand("person.list")
    return [
        {
            "person": enrolled.id,
            "name": enrolled.name,
            "organisation": enrolled.organisation,
            "roles": sorted(enrolled.roles),
        }
        for enrolled in work.vault.people(work.session.connection())
    ]


def organisations(work: Work) -> list[Organisation]:
    """The organisations known here."""
    work.demand("dataset.read")
    return list(work.session.scalars(select(Organisation).order_by(Organisation.id)))


def keys(work: Work) -> list[dict[str, Any]]:
    """Every key with purpose, owner, version and state; never a key byte."""
    work.demand("keys.list")
    return [
        {
            "id": key.id,
            "purpose": key.purpose,
            "owner": key.owner,
            "version": key.version,
            "state": key.state,
            "role": key.role,
            "created_at": key.created_at,
            "due": key.due,
        }
        for key in work.vault.keys(work.session.connection())
    ]


def rotate_key(work: Work, signed: Signed) -> dict[str, Any]:
    """A next version of the key that a ceremony is about; the root and roles have their own way."""
    work.demand("keys.rotate")
    about = signed["document"]
    purpose, owner = str(about.get("purpose")), str(about.get("owner"))
    version = work.vault.rotate_key(
        work.session.connection(),
        purpose,
        owner,
        now=work.now,
        actor=work.actor.person,
        signed=signed,
    )
    return {"purpose": purpose, "owner": owner, "version": version}


def destroy_key(work: Work, signed: Signed) -> dict[str, Any]:
    """Destroy the key that a ceremony is about; a problem names what needs it."""
    work.demand("keys.destroy")
    about = signed["document"]
    purpose, owner = str(about.get("purpose")), str(about.get("owner"))
    version = about.get("key_version")
    if type(version) is not int:
        raise Problem(
            "incomplete", "A ceremony names the key's version.", "`schakel keys propose` does."
        )

    def needed(key: str) -> list[str]:
        return [*_uploads_open(work, purpose), *_objects_under(work, key)]

    work.vault.destroy_key(
        work.session.connection(),
        purpose,
        owner,
        version,
        now=work.now,
        actor=work.actor.person,
        signed=signed,
        needed=needed,
    )
    return {"purpose": purpose, "owner": owner, "version": version, "state": "destroyed"}


ENDED = {"delivery": ("withdrawn", "rejected"), "release": ("withdrawn", "refused")}
"""States of things whose own objects nobody needs any more."""


def _uploads_open(work: Work, purpose: str) -> list[str]:
    """Deliveries that may be encrypted to an age identity: intake isn't done with them."""
    if purpose != "intake-identity":
        return []
    waiting = Delivery.state.in_(("uploading", "received", "checking"))
    rows = work.session.scalars(select(Delivery.id).where(waiting).order_by(Delivery.id))
    return [f"delivery {identifier}" for identifier in rows]


def _objects_under(work: Work, key: str) -> list[str]:
    """What refers to objects that are sealed under a key, by every reference there is."""
    names = select(StoredObject.name).where(StoredObject.key == key)
    found: list[str] = []
    for table in store.Base.metadata.sorted_tables:
        for column in table.columns:
            if not any(one.column.table.name == "stored_object" for one in column.foreign_keys):
                continue
            rows = select(*table.primary_key.columns).where(column.in_(names))
            if table.name in ENDED:
                rows = rows.where(table.c.state.not_in(ENDED[table.name]))
            kept = work.session.execute(rows).all()
            found += [f"{table.name} {' '.join(map(str, row))}" for row in kept]
    return sorted(set(found))


def jobs_before_pair(work: Work, role: str) -> int:
    """How many running jobs may have begun before the role's pending key pair was made."""
    made = [
        key.created_at
        for key in work.vault.keys(work.session.connection())
        if (key.purpose, key.owner, key.state) == ("role", role, "pending")
    ]
    running = select(func.count()).select_from(Job).where(Job.state == "running")
    return int(work.session.scalar(running.where(Job.created_at < made[0])) or 0) if made else 0


def ledger_entries(work: Work, start: int, most: int) -> dict[str, Any]:
    """A stretch of the ledger as it stands, leaves byte for byte, and the present checkpoint."""
    work.demand("ledger.read")
    connection = work.session.connection()
    stored = ledgers.stored_entries(connection, start=start, stop=start + most)
    return {
        "entries": [
            {"leaf": entry.leaf.decode(), "checkpoint": entry.checkpoint} for entry in stored
        ],
        "checkpoint": ledgers.latest_checkpoint(connection),
        "size": ledgers.size(connection),
    }


def checkpoint(work: Work, since: int | None) -> dict[str, Any]:
    """The present checkpoint, and the proof that the first `since` entries are still the same.

    For everybody: whoever kept a checkpoint can check it without reading an entry. The proof is
    that of RFC 6962, section 2.1.2, as a list of base64 hashes.
    """
    work.demand("ledger.checkpoint")
    connection = work.session.connection()
    size = ledgers.size(connection)
    if since is not None and since > size:
        raise Problem(
            "ledger-shorter",
            f"The ledger has {size} entries.",
            "If you hold a checkpoint of this service over more, entries were removed since: "
            "show it to an auditor.",
        )
    tree = tiles.Tree(connection, size)
    proof = merkle.consistency_proof(tree.root, since, size) if since else []
    return {
        "checkpoint": ledgers.latest_checkpoint(connection),
        "size": size,
        "proof": _base64(proof),
    }


def _base64(proof: list[bytes]) -> list[str]:
    return [base64.b64encode(part).decode() for part in proof]


def inclusion(work: Work, position: int) -> dict[str, Any]:
    """The proof that an entry is in the tree of the present checkpoint (RFC 6962, section 2.1.1).

    For everybody, as a hash; the entry itself for those who read the ledger, and for the holder
    of the delivery that it is about.
    """
    work.demand("ledger.checkpoint")
    connection = work.session.connection()
    size = ledgers.size(connection)
    entry = next(ledgers.entries(connection, start=position, stop=position + 1), None)
    if entry is None:
        raise Problem("ledger-shorter", f"The ledger has {size} entries.", "They count from 0.")
    proof = merkle.inclusion_proof(tiles.Tree(connection, size).root, position, size)
    return {
        "position": position,
        "leaf": entry.leaf.decode() if _may_see(work, entry) else None,
        "leaf_hash": base64.b64encode(merkle.leaf_hash(entry.leaf)).decode(),
        "proof": _base64(proof),
        "size": size,
        "checkpoint": ledgers.latest_checkpoint(connection),
    }


def _may_see(work: Work, entry: Entry) -> bool:
    about = work.session.get(Delivery, str(entry.facts.get("delivery")))
    own = about is not None and about.organisation == work.actor.organisation
    return own or access.refusal(work.actor, "ledger.read", Thing()) is None


def tile(work: Work, name: str) -> bytes:
    """A tile or bundle of the ledger (C2SP tlog-tiles), by its path; absent ones are not found."""
    try:
        level, number, width = tiles.read_name(name)
    except LedgerError:
        raise ABSENT from None
    work.demand("ledger.checkpoint" if level is not None else "ledger.read")
    connection = work.session.connection()
    size = ledgers.size(connection)
    if width > (size >> 8 * (level or 0)) - number * tiles.WIDTH:
        raise ABSENT
    tree = tiles.Tree(connection, size)
    if level is None:
        return tiles.bundle(tree.entries(number)[:width])
    return tree.tile(level, number)[: 32 * width]


def note(work: Work) -> str:
    """The present checkpoint as a signed note."""
    work.demand("ledger.checkpoint")
    return ledgers.latest_checkpoint(work.session.connection()) or ""


def who(work: Work, dataset: str, variable: str | None) -> list[dict[str, Any]]:
    """Who touched which variables of a dataset, when, under which permit; oldest first."""
    row = work.session.get(Dataset, dataset)
    work.demand("ledger.who", Thing(organisation=row.organisation) if row else ABSENT_THING)
    found(row)
    return _told(questions.who(lambda: _entries(work), dataset, variable))


def what(work: Work, person: str) -> list[dict[str, Any]]:
    """What a person did, and with which variables of which dataset; oldest first."""
    work.demand("ledger.read")
    return _told(questions.what(lambda: _entries(work), person))


def _entries(work: Work) -> Iterable[Entry]:
    return ledgers.entries(work.session.connection())


def _told(touches: Iterable[Touch]) -> list[dict[str, Any]]:
    return [asdict(touch) for touch in touches]


def refused_requests(work: Work) -> list[dict[str, Any]]:
    """What people known here were refused, counted by the hour; the ledger names the first."""
    work.demand("ledger.read")
    rows = work.session.scalars(
        select(RefusedRequest).order_by(RefusedRequest.hour, RefusedRequest.person)
    )
    return [
        {"hour": row.hour, "person": row.person, "route": row.route, "type": row.type,
         "count": row.count}
        for row in rows
    ]  # fmt: skip


def strangers(work: Work) -> list[dict[str, Any]]:
    """Refusals of callers who never proved who they are, counted by day."""
    work.demand("ledger.read")
    return [
        {"day": row.day, "type": row.type, "count": row.count}
        for row in work.session.scalars(select(Stranger).order_by(Stranger.day, Stranger.type))
    ]


def job(work: Work, identifier: str) -> Job:
    """A job, for those it belongs to."""
    row = work.session.get(Job, identifier)
    work.demand("job.read", Thing(organisation=row.organisation) if row else ABSENT_THING)
    return found(row)  # type: ignore[no-any-return]


def readable_jobs(work: Work) -> list[Job]:
    """The jobs the actor may look at, newest first, a hundred at most."""
    readable = [
        organisation
        for organisation in work.session.scalars(select(Job.organisation).distinct())
        if access.refusal(work.actor, "job.read", Thing(organisation=organisation)) is None
    ]
    rows = select(Job).where(Job.organisation.in_(readable))
    return list(work.session.scalars(rows.order_by(Job.sequence.desc()).limit(100)))
