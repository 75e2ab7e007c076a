"""What a holder consents to, and whether a document says so.

A dataset whose conditions ask for consent is used in a project only when its holder has said yes
to the application that the project's permit came from (rows S05, V10). The holder signs a document

    {type: consent, version: 1, application, application_sha256, terms_sha256, dataset, project,
     given: true or false, reason (why not, where it isn't given), by, at}

`terms_sha256` is the hash of what it was shown: the application's terms about its own dataset.
A later document takes an earlier one's place, so consent can be withdrawn, and given again.
Signatures are the vault's to verify.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from policies import permits

SKEW = timedelta(minutes=5)
"""How far ahead of ours a signer's clock may be."""


def terms(
    asked: permits.Application, application: str, dataset: str, organisations: Sequence[str]
) -> dict[str, Any]:
    """What a holder has to know before it consents: all that is asked of its own dataset.

    `organisations` are those of the recipients. Of other holders' datasets only the names are
    told, since being linked with them is part of what is consented to. A conversion list isn't
    asked for by name: it is linked by, and nothing of it leaves.
    """
    entry = asked.dataset(dataset)
    return {
        "application": application,
        "application_sha256": permits.sha256(asked.document()),
        "project": asked.project,
        "title": asked.title,
        "purpose": asked.purpose,
        "motivation": asked.motivation,
        "legal_basis": asked.legal_basis,
        "dataset": entry.model_dump(by_alias=True) if entry else {"id": dataset, "variables": []},
        "linked_with": [other.id for other in asked.datasets if other.id != dataset],
        "linkage_keys": list(asked.linkage_keys),
        "unit_type": asked.unit_type,
        "k": asked.thresholds.k,
        "recipients_of": sorted(set(organisations)),
        "valid_from": asked.valid_from,
        "valid_until": asked.valid_until,
        "retention_until": asked.retention_until,
    }


def covers(
    document: Mapping[str, Any], *, application: str, sha256: str, dataset: str, project: str
) -> bool:
    """Whether a document decides on this dataset in this very application."""
    wanted = {
        "type": "consent",
        "version": 1,
        "application": application,
        "application_sha256": sha256,
        "dataset": dataset,
        "project": project,
    }
    return all(document.get(name) == value for name, value in wanted.items())


def fault(
    document: Mapping[str, Any],
    shown: Mapping[str, Any],
    last: Mapping[str, Any] | None,
    now: datetime,
) -> str | None:
    """Why a document can't be taken as a decision on what was `shown` (`terms`), or None.

    `last` is the decision that counts so far. A yes has to be later than it, and a no may not be
    earlier, so that which of them counts can be told from what was signed.
    """
    about = {
        "application": shown["application"],
        "sha256": shown["application_sha256"],
        "dataset": shown["dataset"]["id"],
        "project": shown["project"],
    }
    if not covers(document, **about):
        return "The document is no consent, or it is about another application or another text."
    if document.get("terms_sha256") != permits.sha256(shown):
        return "The document is about other terms than those that are asked for now."
    given, reason = document.get("given"), document.get("reason")
    if not isinstance(given, bool):
        return "The document doesn't say whether consent is given."
    if not given and not (isinstance(reason, str) and 0 < len(reason) <= 2000):
        return "Consent that isn't given has its reason, in 2,000 characters at most."
    at = moment(document)
    if at is None or at > now + SKEW:
        return "The document doesn't say when it was signed, or names a moment to come."
    if last is not None and order(document) <= order(last):
        return "The document isn't later than the decision that counts so far."
    return None


def moment(document: Mapping[str, Any]) -> datetime | None:
    """When a document says that it was signed; None where it doesn't."""
    try:
        at = datetime.fromisoformat(str(document.get("at")))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def order(document: Mapping[str, Any]) -> tuple[bool, float, bool]:
    """Sorts decisions by when they were signed; of two at one moment the no comes last.

    What names no moment comes last of all: nobody could have signed it, and it gives nothing.
    """
    at = moment(document)
    return at is None, at.timestamp() if at else 0.0, document.get("given") is not True
