"""Keys: which there are, how old, and having them rotated by two administrators."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import (
    BadInput,
    Yes,
    confirm,
    connected,
    document_in,
    keys_app,
    now,
    own_profile,
    sign_app,
    the_screen,
)

if TYPE_CHECKING:
    from api.client import Client

PAUSE = 2.0
"""Seconds between two looks at what a rotation waits for."""


@keys_app.command("list")
def keys_list() -> None:
    """Which keys live, in which state, how old, and when their rotation is due; no key byte."""
    moment = datetime.now(UTC)
    with connected() as client:
        rows = client.get("/vault/keys")
    for row in rows:
        row["age"] = f"{(moment - datetime.fromisoformat(row['created_at'])).days} d"
        row["due"] = (row["due"] or "")[:10]
    the_screen().table(rows, ["purpose", "owner", "version", "state", "role", "age", "due"])


@keys_app.command("propose")
def keys_propose(
    action: Annotated[str, typer.Argument(help="What to do: rotate, move or destroy.")],
    purpose: Annotated[str, typer.Argument(help="Which key, as `schakel keys list` names it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    out: Annotated[Path, typer.Option(help="File for the ceremony.")],
    owner: Annotated[str | None, typer.Option(help="Whose, when there are several.")] = None,
    version: Annotated[
        int | None, typer.Option(help="Which version; the active one unless given.")
    ] = None,
) -> None:
    """Write a key ceremony and sign it as first administrator."""
    from keyvault import ceremonies

    if action not in ceremonies.ACTIONS:
        raise BadInput(f"A ceremony is to {' or '.join(ceremonies.ACTIONS)}.")
    profile = own_profile()
    with connected() as client:
        standing = ceremonies.standing_of(client.get("/vault/keys"), purpose, owner, version)
    document = ceremonies.document(action, standing, reason=reason, at=now())
    signed = {"document": document, "signatures": [profile.sign(document)]}
    out.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")
    the_screen().answer(
        signed,
        text=f"{out} carries one signature. Another administrator signs it next: "
        f"`schakel sign ceremony {out}`.",
    )


@sign_app.command("ceremony")
def sign_ceremony(
    ceremony: Annotated[Path, typer.Argument(help="The file; the signature is added to it.")],
    yes: Yes = False,
) -> None:
    """Sign a key ceremony as another administrator."""
    profile = own_profile()
    signed = signed_in(ceremony)
    confirm(signed["document"], yes=yes)
    others = [one for one in signed["signatures"] if one.get("person") != profile.person]
    signed["signatures"] = [*others, profile.sign(signed["document"])]
    ceremony.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")
    action, purpose = signed["document"]["action"], signed["document"]["purpose"]
    command = "custody move" if action == "move" else f"keys {action}"
    if action == "rotate":
        command += f" {purpose}"
    the_screen().answer(
        signed,
        text=f"{ceremony} carries {len(signed['signatures'])} signatures. "
        f"`schakel {command} {ceremony}` does it.",
    )


@keys_app.command("rotate")
def keys_rotate(
    purpose: Annotated[str, typer.Argument(help="Which key: root, role, pseudonym, token, …")],
    ceremony: Annotated[Path, typer.Argument(help="The ceremony, signed by two administrators.")],
) -> None:
    """Give a key its next version; nothing that was made before changes.

    A rotation that was cut off goes on when the command is given again.
    """
    signed = signed_in(ceremony)
    if signed["document"].get("purpose") != purpose:
        raise BadInput(f"{ceremony} is about another key than {purpose}.")
    with connected() as client:
        if purpose == "root":
            row = client.post("/vault/root", signed)
            text = (
                f"The root key is at version {row['root_version']} now. Copy the key file again: "
                "earlier copies open nothing any more."
            )
        elif purpose == "role":
            row = _rotate_role(client, signed)
            text = f"The role's key pair is at version {row['version']} now; the old one is gone."
        else:
            row = client.post("/vault/keys", signed)
            text = f"The {purpose} key of {row['owner']} is at version {row['version']} now."
    the_screen().answer(row, text=text)


@keys_app.command("destroy")
def keys_destroy(
    ceremony: Annotated[Path, typer.Argument(help="The ceremony, signed by two administrators.")],
) -> None:
    """Destroy a key that nothing needs any more; refused otherwise, naming what does."""
    with connected() as client:
        row = client.post("/vault/keys/destroy", signed_in(ceremony))
    the_screen().answer(
        row,
        text=f"The {row['purpose']} key of {row['owner']}, version {row['version']}, is destroyed. "
        "Make a new backup of the keys, and destroy the copies of before.",
    )


def _rotate_role(client: "Client", signed: dict[str, Any]) -> dict[str, Any]:
    """Step by step, saying which; until the old private half is destroyed."""
    role = signed["document"]["owner"]
    while True:
        row: dict[str, Any] = client.post(f"/vault/roles/{role}", signed)
        the_screen().note(f"{role}: {row['step']}, {row['left']} left")
        if row["step"] == "destroyed":
            return row
        if row["step"] == "learning":
            time.sleep(PAUSE)


def signed_in(path: Path) -> dict[str, Any]:
    """A key ceremony's file: {document, signatures}."""
    signed = document_in(path)
    document, signatures = signed.get("document"), signed.get("signatures")
    if not isinstance(document, dict) or document.get("type") != "key-ceremony":
        raise BadInput(f"{path} is no key ceremony; `schakel keys propose` writes one.")
    if not isinstance(signatures, list) or not all(isinstance(one, dict) for one in signatures):
        raise BadInput(f"{path} holds something else than signatures.")
    return signed
