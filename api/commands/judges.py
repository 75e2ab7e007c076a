"""Signatures and permits: what those who judge do."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.commands import (
    BadInput,
    Yes,
    confirm,
    connected,
    document_in,
    now,
    own_profile,
    permit_app,
    sign_app,
    the_screen,
)

if TYPE_CHECKING:
    from api.client import Client


@sign_app.command("enrolment")
def sign_enrolment(
    enrolment: Annotated[Path, typer.Argument(help="The file; the signature is added to it.")],
) -> None:
    """Sign an enrolment as another administrator."""
    profile = own_profile()
    signed = document_in(enrolment)
    if not isinstance(signed.get("document"), dict) or not isinstance(
        signed.get("signatures"), list
    ):
        raise BadInput(f"{enrolment} is no enrolment; `schakel person enrol` writes one.")
    given = signed["signatures"]
    if not all(isinstance(one, dict) and isinstance(one.get("person"), str) for one in given):
        raise BadInput(f"{enrolment} holds a signature that doesn't say whose it is.")
    others = [one for one in given if one["person"] != profile.person]
    signed["signatures"] = [*others, profile.sign(signed["document"])]
    enrolment.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")
    the_screen().answer(
        signed,
        text=f"{enrolment} carries {len(signed['signatures'])} signatures. "
        f"`schakel person add {enrolment}` sends it.",
    )


def _awaiting(client: "Client", application: str, state: str) -> dict[str, Any]:
    """An application that waits for this decision; nobody signs what can't be taken."""
    row: dict[str, Any] = client.get(f"/applications/{application}")
    if row["state"] != state:
        raise BadInput(f"Application {application} is {row['state']}. {row['next_step']}")
    return row


@sign_app.command("advice")
def sign_advice(
    application: str,
    text: Annotated[str, typer.Option(help="The advice itself.")],
    unfavourable: Annotated[bool, typer.Option(help="Advise against it.")] = False,
    yes: Yes = False,
) -> None:
    """Give the data protection officer's advice on the application as it reads now."""
    from policies import permits

    profile = own_profile()
    with connected() as client:
        row = _awaiting(client, application, "submitted")
        document = {
            "type": "advice",
            "version": 1,
            "application": application,
            "application_sha256": permits.sha256(row["document"]),
            "opinion": "unfavourable" if unfavourable else "favourable",
            "text": text,
            "by": profile.person,
            "at": now(),
        }
        confirm(
            {
                "you sign": f"{document['opinion']} advice",
                "text": text,
                **_told(row),
            },
            f"SHA-256 of the application: {document['application_sha256']}",
            yes=yes,
        )
        row = client.post(
            f"/applications/{application}/advice",
            {"document": document, "signature": profile.sign(document)},
        )
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@sign_app.command("approval")
def sign_approval(
    application: str,
    reason: Annotated[str, typer.Option(help="Why.")],
    refuse: Annotated[bool, typer.Option(help="Refuse it.")] = False,
    yes: Yes = False,
) -> None:
    """Decide as director, by signing the advice."""
    from api.client import Distrust
    from policies import permits

    profile = own_profile()
    with connected() as client:
        row = _awaiting(client, application, "advised")
        advice = (row["advice"] or {}).get("document", {})
        if advice and advice.get("application_sha256") != permits.sha256(row["document"]):
            raise Distrust(
                "The advice is about another text than the application that the service shows. "
                "Nothing was signed; ask the data protection officer which one was judged."
            )
        document = {
            "type": "approval",
            "version": 1,
            "application": application,
            "advice_sha256": permits.sha256(advice),
            "decision": "refused" if refuse else "approved",
            "reason": reason,
            "by": profile.person,
            "at": now(),
        }
        confirm(
            {
                "you sign": f"the application is {document['decision']}",
                "reason": reason,
                **_told(row),
                "advice": f"{advice.get('opinion')}, by {advice.get('by')}: {advice.get('text')}"
                if advice
                else None,
            },
            f"SHA-256 of the advice: {document['advice_sha256']}",
            yes=yes,
        )
        row = client.post(
            f"/applications/{application}/decision",
            {"document": document, "signature": profile.sign(document)},
        )
    permit = f" Its permit is {row['permit']}." if row["permit"] else ""
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}.{permit}")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """What an application asks for, from the very document that is hashed."""
    from policies import permits

    asked = permits.Application.from_document(row["document"])
    return {
        "application": row["id"],
        "title": asked.title,
        "project": asked.project,
        "purpose": asked.purpose,
        "datasets": [
            f"{one.id} {', '.join(one.periods)} "
            f"({', '.join(variable.name for variable in one.variables)})"
            for one in asked.datasets
        ],
        "unit type": asked.unit_type,
        "smallest cell (k)": asked.thresholds.k,
        "suppressed at most": asked.thresholds.suppression,
        "recipients": [one.person for one in asked.recipients],
        "valid": f"{asked.valid_from} to {asked.valid_until}",
        "consent of holders": [
            f"{one['dataset']} ({one['holder']}): {one['state']}" for one in row["consents"]
        ]
        or None,
    }


@permit_app.command("show")
def permit_show(permit: str) -> None:
    """A permit as it was sealed, and its present state."""
    with connected() as client:
        row = client.get(f"/permits/{permit}")
    the_screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@permit_app.command("suspend")
def permit_suspend(permit: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Stop everything under a permit at once."""
    with connected() as client:
        row = client.post(f"/permits/{permit}/suspend", {"reason": reason})
    the_screen().answer(row, text=f"Permit {permit} is {row['state']}.")


@permit_app.command("resume")
def permit_resume(permit: str) -> None:
    """End a suspension."""
    with connected() as client:
        row = client.post(f"/permits/{permit}/resume")
    the_screen().answer(row, text=f"Permit {permit} is {row['state']}.")
