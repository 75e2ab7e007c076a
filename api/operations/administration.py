"""People, keys and the ledger: what administrators do and auditors look at."""

import base64
from typing import Any

from sqlalchemy import select

from api.operations import ABSENT_THING, Work, found
from api.problems import Problem
from api.store import Job, Organisation, RefusedRequest, Stranger
from keyvault import ledger as ledgers
from keyvault import merkle
from keyvault.errors import EnrolmentError
from keyvault.people import read_enrolment
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
        }
        for key in work.vault.keys(work.session.connection())
    ]


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
    proof = merkle.consistency_proof(ledgers.leaf_hashes(connection), since) if since else []
    return {
        "checkpoint": ledgers.latest_checkpoint(connection),
        "size": size,
        "proof": [base64.b64encode(part).decode() for part in proof],
    }


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
