"""A holder's consent, where its conditions ask for it: decided, kept, and asked after everywhere.

`demand` is the one check; linkage, building, clearance, sealing and download each make it. Every
time, the last decision is read back and its signature verified anew: somebody who captured the
database can add rows to it, and none of them counts for a yes. (Rows taken away are another matter:
with its no removed, an older yes counts again.) A signer who isn't the holder's any more, or has
other keys by now, makes that decision count for nothing, and the holder signs another. What a scope
linked under a yes stays in its spine when that is withdrawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.operations import Work, found
from api.operations.projects import seal_again, signed_by_actor
from api.problems import Problem
from api.store import Application, Consent, Dataset, new_id
from keyvault.errors import EnrolmentError, SignatureError
from keyvault.vault import Vault
from policies import access, consents, permits
from policies.access import Thing
from policies.permits import Permit


@dataclass(frozen=True)
class Asked:
    """One dataset in one application: what a holder decides on."""

    application: str
    sha256: str
    project: str
    dataset: Dataset

    @classmethod
    def of(cls, row: Application, dataset: Dataset) -> "Asked":
        """A dataset in an application as it reads now."""
        return cls(row.id, permits.sha256(row.document), row.project, dataset)

    @classmethod
    def under(cls, permit: Permit, dataset: Dataset) -> "Asked":
        """A dataset in the application that a permit was sealed for: the advice names its text."""
        advice = permit.signatures["advice"]["document"]
        sha256 = str(advice["application_sha256"])
        return cls(permit.application, sha256, permit.project, dataset)


def asks_consent(dataset: Dataset) -> bool:
    """Whether a dataset's conditions ask for its holder's consent."""
    return bool(dataset.declaration.get("conditions", {}).get("consent", False))


# -- where it stands -------------------------------------------------------------------------------


def _last(session: Session, asked: Asked) -> Consent | None:
    """The last decision, whoever put it there."""
    rows = session.scalars(
        select(Consent).where(
            Consent.application == asked.application, Consent.dataset == asked.dataset.id
        )
    )
    return max(rows, key=lambda row: consents.order(row.document), default=None)


def state(session: Session, vault: Vault, asked: Asked) -> str:
    """given, withheld, missing, or void: decided with a signature that doesn't hold any more."""
    row = _last(session, asked)
    if row is None:
        return "missing"
    try:
        signer = vault.verify(session.connection(), row.document, row.signature)
    except (SignatureError, EnrolmentError):
        return "void"
    mine = signer.organisation == asked.dataset.organisation and "holder" in signer.roles
    covered = consents.covers(
        row.document,
        application=asked.application,
        sha256=asked.sha256,
        dataset=asked.dataset.id,
        project=asked.project,
    )
    if not mine or not covered:
        return "void"
    return "given" if row.document.get("given") is True else "withheld"


SAID = {
    "missing": "hasn't given it yet",
    "withheld": "withholds it",
    "void": "has to sign it again, because the signature that was given doesn't hold any more",
}


def demand(session: Session, vault: Vault, permit: Permit, datasets: Iterable[str]) -> None:
    """Raise a Problem unless every one of these datasets may be used under the permit now."""
    for name in datasets:
        dataset: Dataset = found(session.get(Dataset, name))
        stands = under(session, vault, permit, dataset)
        if stands != "given":
            raise Problem(
                "no-consent",
                f"Dataset {name} takes the consent of its holder, {dataset.organisation}, for "
                f"each project; for {permit.project} it {SAID[stands]}.",
                f"Ask {dataset.organisation} to look at application {permit.application} "
                "(`schakel consent list`).",
                {"dataset": name, "holder": dataset.organisation, "consent": stands},
            )


def under(session: Session, vault: Vault, permit: Permit, dataset: Dataset) -> str:
    """How consent stands for a dataset under a permit; given where no consent is asked for."""
    if not asks_consent(dataset):
        return "given"
    return state(session, vault, Asked.under(permit, dataset))


def told(work: Work, row: Application) -> list[dict[str, Any]]:
    """Where consent stands for each dataset of an application that asks for it."""
    return [
        {
            "dataset": dataset.id,
            "holder": dataset.organisation,
            "state": state(work.session, work.vault, Asked.of(row, dataset)),
        }
        for dataset in _conditional(work.session, row)
    ]


def _conditional(session: Session, row: Application) -> list[Dataset]:
    """The datasets that an application would use and that ask for consent.

    A conversion list is used by every project that may link by conversions. A draft may say
    anything.
    """
    try:
        asked = permits.Application.from_document(row.document)
    except permits.PermitFault:
        return []
    names = [entry.id for entry in asked.datasets]
    if asked.imported_pseudonyms is not None:
        names.append(asked.imported_pseudonyms.dataset)
    named = [session.get(Dataset, name) for name in names]
    if "conversion" in asked.linkage_keys:
        every = session.scalars(select(Dataset).order_by(Dataset.id))
        named += [dataset for dataset in every if dataset.declaration["kind"] == "conversion"]
    return [dataset for dataset in named if dataset is not None and asks_consent(dataset)]


# -- deciding --------------------------------------------------------------------------------------


def _thing(row: Application, dataset: Dataset) -> Thing:
    return Thing(row.state, dataset.organisation)


def _case(work: Work, identifier: str, name: str, action: str) -> tuple[Application, Dataset]:
    row: Application = found(work.session.get(Application, identifier))
    datasets = {dataset.id: dataset for dataset in _conditional(work.session, row)}
    dataset: Dataset = found(datasets.get(name))
    work.demand(action, _thing(row, dataset))
    return row, dataset


def _terms(work: Work, row: Application, dataset: Dataset) -> dict[str, Any]:
    """What the holder is shown: purpose, variables and rules, and who would receive it."""
    asked = permits.Application.from_document(row.document)
    organisations = [
        work.vault.person(work.session.connection(), recipient.person).organisation
        for recipient in asked.recipients
    ]
    return consents.terms(asked, row.id, dataset.id, organisations)


def _described(work: Work, row: Application, dataset: Dataset) -> dict[str, Any]:
    asked = Asked.of(row, dataset)
    last = _last(work.session, asked)
    return {
        "application": row.id,
        "application_state": row.state,
        "dataset": dataset.id,
        "holder": dataset.organisation,
        "conditions": dataset.declaration["conditions"],
        "state": state(work.session, work.vault, asked),
        "terms": _terms(work, row, dataset),
        "decision": last and {"document": last.document, "signature": last.signature},
    }


def cases(work: Work) -> list[dict[str, Any]]:
    """What the actor's organisation is asked to consent to; staff see all. Oldest first."""
    rows = work.session.scalars(select(Application).order_by(Application.created_at))
    return [
        _described(work, row, dataset)
        for row in rows
        for dataset in _conditional(work.session, row)
        if access.refusal(work.actor, "consent.read", _thing(row, dataset)) is None
    ]


def case(work: Work, identifier: str, name: str) -> dict[str, Any]:
    """One dataset in one application: what is asked of it, and what was decided."""
    return _described(work, *_case(work, identifier, name, "consent.read"))


def decide(
    work: Work, identifier: str, name: str, document: dict[str, Any], signature: dict[str, Any]
) -> dict[str, Any]:
    """Give consent, withhold it, or withdraw what was given: signed by a person of the holder."""
    row, dataset = _case(work, identifier, name, "consent.decide")
    signed_by_actor(work, document, signature)
    asked = Asked.of(row, dataset)
    row_before = _last(work.session, asked)
    last = row_before.document if row_before else None
    fault = consents.fault(document, _terms(work, row, dataset), last, work.now)
    if fault is not None:
        raise Problem(
            "consent-unfit", fault, "Read what is asked for again and sign (`schakel consent`)."
        )
    before = state(work.session, work.vault, asked)
    kept = Consent(
        id=new_id("consent"),
        application=row.id,
        dataset=dataset.id,
        document=document,
        signature=signature,
        given_at=work.now,
    )
    work.session.add(kept)
    work.session.flush()
    what = "given" if document["given"] else "withdrawn" if before == "given" else "withheld"
    work.note(
        f"consent.{what}",
        consent=kept.id,
        dataset=dataset.id,
        organisation=dataset.organisation,
        project=row.project,
        application=row.id,
        sha256=permits.sha256(document),
    )
    if document["given"] and row.permit is not None:
        seal_again(work, row.permit)  # what was cleared, and not sealed before consent went away
    return _described(work, row, dataset)
