"""Applications and permits: what was asked, what people decided, what the vault sealed."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import pyrage
from sqlalchemy import select

from api import jobs
from api.operations import ABSENT_THING, Work, found, imports
from api.problems import Problem, refuse
from api.store import Application, Dataset, Envelope, Project, Reason, Release, new_id
from keyvault.errors import EnrolmentError, PermitAbsentError
from linkage import datasets
from linkage.engine import FIELDS
from policies import access, applications, coarsening, permits
from policies.access import Thing
from policies.applications import Command
from policies.refusals import Refusal


def _domain(row: Application) -> applications.Application:
    return applications.Application(
        id=row.id,
        applicant=row.applicant,
        state=row.state,  # type: ignore[arg-type]
        document=row.document,
        advice=row.advice and row.advice["document"],
        approval=row.approval and row.approval["document"],
    )


def thing(row: Application | None) -> Thing:
    """How people stand to a request."""
    if row is None:
        return ABSENT_THING
    return Thing(row.state, members=frozenset({row.applicant}))


def _step(
    work: Work, identifier: str, action: str, command: Command
) -> tuple[Application, applications.Event]:
    """Check access, decide, apply; the row and the event come back."""
    row = work.session.get(Application, identifier)
    work.demand(action, thing(row))
    row = found(row)
    outcome = applications.decide(
        _domain(row), command, work.actor.person, work.actor.roles, work.now
    )
    if isinstance(outcome, Refusal):
        refuse(outcome)
    event = outcome[0]  # type: ignore[index]
    after = applications.apply(_domain(row), event)
    row.state = after.state
    row.document = dict(after.document)
    return row, event


def draft(work: Work, document: dict[str, Any]) -> Application:
    """Start a request. What it asks for may be incomplete until it is submitted."""
    work.demand("application.create")
    project = str(document.get("project"))
    if not permits.is_slug(document.get("project")):
        raise Problem(
            "incomplete",
            "An application names its project.",
            "Give it a `project`: a short name of small letters, digits and hyphens.",
        )
    standing = work.session.get(Project, project)
    if standing is None:
        work.session.add(Project(id=project, applicant=work.actor.person, created_at=work.now))
    elif standing.applicant != work.actor.person:
        raise Problem(
            "already-there",
            "This project name is taken.",
            "Choose another name, or let the project's applicant ask for the extension.",
        )
    row = Application(
        id=new_id("application"),
        project=project,
        applicant=work.actor.person,
        state="draft",
        document=permits.plain(document),
        created_at=work.now,
    )
    work.session.add(row)
    work.session.flush()
    work.note("application.drafted", application=row.id, project=project)
    return row


def edit(work: Work, identifier: str, document: dict[str, Any]) -> Application:
    """Replace a draft's text."""
    row, _ = _step(work, identifier, "application.edit", Command("edit", permits.plain(document)))
    if row.document["project"] != row.project:
        raise Problem(
            "incomplete",
            "A request stays within the project it was drafted for.",
            "Draft a new one for another project.",
        )
    work.note("application.edited", application=row.id, sha256=permits.sha256(row.document))
    return row


def submit(work: Work, identifier: str) -> Application:
    """Hand a complete request in; it is checked against catalogue and minimum coarsening."""
    row, _ = _step(work, identifier, "application.submit", Command("submit"))
    asked = permits.Application.from_document(row.document)
    row.document = asked.document()
    _check_terms(work, asked)
    work.note(
        "application.submitted",
        application=row.id,
        project=row.project,
        sha256=permits.sha256(row.document),
    )
    return row


SHARED_TYPES = frozenset({"birth_date", "sex", "municipality", "postcode"})
"""Types that neighbours and registers know, whatever role a holder gave them."""


def _check_terms(work: Work, asked: permits.Application) -> None:
    """Everything asked for exists, is tested, and is as coarse as it must be (S05, S09–S11)."""
    if unknown := set(asked.linkage_keys) - {*FIELDS, "conversion"}:
        raise Problem(
            "incomplete",
            f"These are no linkage keys: {', '.join(sorted(unknown))}.",
            f"Choose from {', '.join((*FIELDS, 'conversion'))}.",
        )
    for recipient in asked.recipients:
        _check_recipient(work, recipient.person)
        try:
            pyrage.x25519.Recipient.from_str(recipient.age_recipient)
        except pyrage.RecipientError:
            raise Problem(
                "incomplete",
                f"The age recipient of {recipient.person} has a typing error in it.",
                "Copy it from the identity's file; `schakel identity` makes a new one.",
            ) from None
    for entry in asked.datasets:
        _check_dataset(work, asked, entry)
    if asked.imported_pseudonyms is not None:
        row = work.session.get(Dataset, asked.imported_pseudonyms.dataset)
        if row is None:
            raise Problem(
                "unknown-dataset",
                f"There is no dataset {asked.imported_pseudonyms.dataset} of old pseudonyms.",
                "`schakel dataset list` shows what there is.",
            )
        imports.refuse_others(asked, datasets.Dataset.from_mapping(row.declaration))


def _check_recipient(work: Work, person: str) -> None:
    """A permit for somebody who can't sign in would be a permit for nobody."""
    try:
        roles = work.vault.person(work.session.connection(), person).roles
    except EnrolmentError:
        roles = ()
    if "researcher" not in roles:
        raise Problem(
            "incomplete",
            f"The recipient {person} is no enrolled researcher.",
            "Two administrators enrol recipients before they are applied for.",
        )


def _check_dataset(work: Work, asked: permits.Application, entry: permits.PermittedDataset) -> None:
    row = work.session.get(Dataset, entry.id)
    declared = datasets.Dataset.from_mapping(row.declaration) if row else None
    if declared is None or declared.kind != "extract":
        raise Problem(
            "unknown-dataset",
            f"There is no dataset {entry.id} to be asked for.",
            "`schakel dataset list` shows what there is.",
        )
    references = {reference.name: reference.unit_type for reference in declared.references}
    if unknown := set(entry.references) - set(references):
        raise Problem(
            "unknown-dataset",
            f"Dataset {entry.id} has no reference {', '.join(sorted(unknown))}.",
            f"`schakel dataset show {entry.id}` lists its references.",
        )
    if references.get(asked.universe.reference) != asked.unit_type:
        raise Problem(
            "unknown-dataset",
            f"Dataset {entry.id} names no {asked.unit_type} as {asked.universe.reference}.",
            "Units, and the rows about them, are found by one reference in every dataset.",
        )
    _check_variables(asked, entry, declared)


def _leaving(entry: permits.PermittedDataset) -> set[str]:
    """The names under which a dataset's variables leave."""
    return {variable.as_ for variable in entry.variables}


def _check_variables(
    asked: permits.Application, entry: permits.PermittedDataset, declared: datasets.Dataset
) -> None:
    origins = {variable.name: variable for variable in declared.variables}
    for variable in entry.variables:
        where = f"{variable.name} of {entry.id}"
        origin = origins.get(variable.name)
        if origin is None:
            raise Problem(
                "unknown-dataset",
                f"Dataset {entry.id} has no variable {variable.name}.",
                f"`schakel dataset show {entry.id}` lists its variables.",
            )
        try:
            rule = coarsening.parse_rule(variable.rule)
            for period in entry.periods:
                rule.resolve(period)
        except coarsening.RuleError as fault:
            raise Problem(
                "incomplete",
                f"The rule for {where}: {fault}",
                "Correct the rule; README.md of policies lists the rules.",
            ) from None
        too_fine = coarsening.fault_against_minimum(origin.type, rule)
        if too_fine is not None or origin.role == "identifier":
            raise Problem(
                "finer-than-minimum",
                f"{where}: {too_fine or 'its holder calls it an identifier, so it never leaves.'}",
                "Ask for a coarser value; no permit goes below the minimum.",
            )
        if rule.computed_on == "universe" and variable.as_ in asked.join.keys:
            raise Problem(
                "incomplete",
                f"{where} is a key, and its percentile would be computed on the units that keys "
                "choose.",
                "Have it computed over the delivery.",
            )
        givers = sum(variable.as_ in _leaving(other) for other in asked.datasets)
        if rule.computed_on and variable.as_ in asked.join.keys and givers > 1:
            raise Problem(
                "incomplete",
                f"{where} is a key that several datasets give, and each would have percentiles of "
                "its own: one label would mean several things.",
                "Take it from one dataset, or take classes.",
            )
        known = origin.role == "quasi-identifier" or origin.type in SHARED_TYPES
        if known and variable.as_ not in asked.join.keys:
            raise Problem(
                "incomplete",
                f"{where} is something an intruder may know, and it would leave untested.",
                "Make it a key: name it under join.keys and scenario.known.",
            )


def withdraw(work: Work, identifier: str) -> Application:
    """Take one's request back."""
    row, _ = _step(work, identifier, "application.withdraw", Command("withdraw"))
    work.note("application.withdrawn", application=row.id)
    return row


def advise(
    work: Work, identifier: str, document: dict[str, Any], signature: dict[str, Any]
) -> Application:
    """The data protection officer's advice, signed by them (row S26)."""
    signed_by_actor(work, document, signature)
    row, _ = _step(work, identifier, "application.advise", Command("advise", document))
    row.advice = {"document": document, "signature": signature}
    work.note(
        "application.advised",
        application=row.id,
        opinion=document.get("opinion"),
        sha256=permits.sha256(document),
    )
    return row


def decide(
    work: Work, identifier: str, document: dict[str, Any], signature: dict[str, Any]
) -> Application:
    """The director's decision; an approval makes the vault seal the permit (rows S26, S33)."""
    signed_by_actor(work, document, signature)
    approving = document.get("decision") == "approved"
    row, _ = _step(
        work,
        identifier,
        "application.decide",
        Command("approve" if approving else "refuse", document),
    )
    row.approval = {"document": document, "signature": signature}
    work.note(
        f"application.{row.state}",
        application=row.id,
        sha256=permits.sha256(document),
    )
    if approving:
        row.permit = _seal_permit(work, row)
    return row


def signed_by_actor(work: Work, document: dict[str, Any], signature: dict[str, Any]) -> None:
    """The signature holds, and is the actor's own."""
    signer = work.vault.verify(work.session.connection(), document, signature)
    if signer.id != work.actor.person or document.get("by") != work.actor.person:
        raise Problem(
            "signed-by-another",
            "The signature is somebody else's.",
            "Everybody signs with a key of their own, and sends it in themselves.",
        )


def _seal_permit(work: Work, row: Application) -> str:
    asked = permits.Application.from_document(row.document)
    terms = {
        **asked.terms(),
        "type": "permit",
        "version": 1,
        "id": new_id("permit"),
        "application": row.id,
        "scope": asked.project,
        "kind": "pseudonymised",
        "conditions": [],
    }
    envelope = work.vault.seal_permit(
        work.session.connection(),
        terms,
        application=row.document,
        advice=found(row.advice),
        approval=found(row.approval),
        now=work.now,
    )
    work.vault.scope_keys(work.session.connection(), asked.project, now=work.now)
    return str(envelope["permit"]["id"])


def application(work: Work, identifier: str) -> Application:
    """One request, for its applicant and those who judge."""
    row = work.session.get(Application, identifier)
    work.demand("application.read", thing(row))
    return found(row)  # type: ignore[no-any-return]


def applications_of(work: Work) -> list[Application]:
    """The requests that the actor may read, oldest first."""
    rows = work.session.scalars(select(Application).order_by(Application.created_at))
    return [
        row for row in rows if access.refusal(work.actor, "application.read", thing(row)) is None
    ]


@dataclass(frozen=True)
class Sealed:
    """A permit with the vault's signature, the state stored for it, and whose affair it is."""

    permit: permits.Permit
    state: str
    signature: str
    members: frozenset[str]

    @property
    def thing(self) -> Thing:
        """How people stand to it."""
        return Thing(self.state, members=self.members)


def sealed_permit(work: Work, identifier: str) -> Sealed | None:
    """A permit whose signature holds, whatever its state; None when there is none of that id."""
    try:
        envelope = work.vault.permit_envelope(work.session.connection(), identifier)
    except PermitAbsentError:
        return None
    permit = permits.Permit.from_document(envelope["permit"])
    project: Project = found(work.session.get(Project, permit.project))
    recipients = {recipient.person for recipient in permit.recipients}
    return Sealed(
        permit,
        permits.state(permit, envelope["state"], work.now),
        envelope["signature"],
        frozenset(recipients | {project.applicant}),
    )


def _demand_permit(work: Work, identifier: str, action: str) -> Sealed:
    sealed = sealed_permit(work, identifier)
    work.demand(action, sealed.thing if sealed else ABSENT_THING)
    return found(sealed)  # type: ignore[no-any-return]


def permit(work: Work, identifier: str) -> dict[str, Any]:
    """The permit as it was sealed, and the state it is in."""
    sealed = _demand_permit(work, identifier, "permit.read")
    return {
        "state": sealed.state,
        "permit": sealed.permit.document(),
        "signature": sealed.signature,
        "reasons": reasons(work, identifier),
    }


def suspend(work: Work, identifier: str, reason: str) -> dict[str, Any]:
    """Stop everything under a permit, at once."""
    _demand_permit(work, identifier, "permit.suspend")
    work.vault.suspend(work.session.connection(), identifier, now=work.now, actor=work.actor.person)
    keep_reason(work, identifier, reason)
    return permit(work, identifier)


def keep_reason(work: Work, about: str, text: str) -> None:
    """Keep why something was stopped where it can be erased, and a commitment to it for ever."""
    salt = secrets.token_hex(32)
    reason = Reason(
        id=new_id("reason"),
        about=about,
        text=text,
        salt=salt,
        person=work.actor.person,
        given_at=work.now,
    )
    work.session.add(reason)
    commitment = hashlib.sha256(f"{salt}{text}".encode()).hexdigest()
    work.note("reason.given", reason=reason.id, about=about, commitment=commitment)


def reasons(work: Work, about: str) -> list[dict[str, Any]]:
    """The reasons that were given for stopping something, oldest first."""
    rows = work.session.scalars(
        select(Reason).where(Reason.about == about).order_by(Reason.given_at)
    )
    return [
        {"text": row.text, "person": row.person, "given_at": row.given_at.isoformat()}
        for row in rows
    ]


def resume(work: Work, identifier: str) -> dict[str, Any]:
    """Let work under a suspended permit go on."""
    _demand_permit(work, identifier, "permit.resume")
    work.vault.resume(work.session.connection(), identifier, now=work.now, actor=work.actor.person)
    return permit(work, identifier)


def seal_again(work: Work, permit: str) -> None:
    """Have sealed what was cleared under a permit and has no envelopes yet."""
    rows = work.session.scalars(
        select(Release).where(Release.permit == permit, Release.state == "cleared")
    )
    for row in rows:
        if not work.session.scalar(select(Envelope).where(Envelope.release == row.id).limit(1)):
            row.refusal = None
            jobs.enqueue(work, "envelopes", "release", {"release": row.id})


def describe(row: Application) -> dict[str, Any]:
    """A request as its readers see it."""
    return {
        "id": row.id,
        "project": row.project,
        "applicant": row.applicant,
        "state": row.state,
        "sha256": permits.sha256(row.document),
        "document": row.document,
        "advice": row.advice,
        "decision": row.approval,
        "permit": row.permit,
        "next_step": applications.NEXT_STEP[row.state],  # type: ignore[index]
    }
