"""Who one is, who is enrolled, and the organisations they belong to."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import (
    DEFAULT_SERVER,
    Chosen,
    app,
    confirm,
    connected,
    document_in,
    organisation_app,
    own_profile,
    person_app,
    profile_app,
    the_screen,
)

if TYPE_CHECKING:
    from api.profiles import Profile


@profile_app.command("new")
def profile_new(
    person: Annotated[str, typer.Argument(help="An opaque id, such as researcher-7.")],
    name: Annotated[str, typer.Option(help="The person's name, for the administrators.")],
    request: Annotated[Path, typer.Option(help="File for the enrolment request.")],
    server: Annotated[
        str, typer.Option(help="The service's address.", envvar="SCHAKEL_SERVER")
    ] = DEFAULT_SERVER,
) -> None:
    """Make keys for a person on this machine, and a request to be enrolled."""
    from api import profiles
    from api.profiles import Profile

    profile = Profile.new(person, name, server)
    with profiles.kept([profile]):
        request.write_text(json.dumps(profile.request(), indent=2) + "\n", encoding="utf-8")
    where = profiles.path(person)
    the_screen().answer(
        {"profile": person, "file": str(where), "request": str(request)},
        text=f"Profile {person} was made. Send {request} (public keys only) to an administrator.",
    )


@profile_app.command("list")
def profile_list() -> None:
    """The profiles on this machine."""
    from api import profiles

    rows = []
    for name in profiles.names():
        try:
            rows.append({"profile": name, **_public(profiles.load(name))})
        except profiles.ProfileFault as fault:
            rows.append({"profile": name, "fault": str(fault)})
            the_screen().note(str(fault))
    the_screen().table(rows, ["profile", "person", "name", "server"])


def _public(profile: "Profile") -> dict[str, Any]:
    return {"person": profile.person, "name": profile.name, "server": profile.server}


@profile_app.command("trust")
def profile_trust(
    yes: Annotated[bool, typer.Option("--yes", help="Take them on without being asked.")] = False,
) -> None:
    """Take on the public keys that the service shows now, in place of those known so far."""
    from dataclasses import replace

    from api import profiles
    from api.client import Client

    known = own_profile()
    with Client(replace(known, service=None)) as client:
        client.public()
    shown = client.profile.service or {}
    same_ledger = known.service is None or known.service["ledger"] == shown["ledger"]
    confirm(
        {
            "known so far": known.service,
            "shown now": shown,
        },
        yes=yes,
        question="Trust these keys?",
    )
    checkpoint = known.checkpoint if same_ledger else None
    profiles.save(Chosen.profile, replace(known, service=shown, checkpoint=checkpoint))
    the_screen().answer(
        {"service": shown, "checkpoint": checkpoint, "checkpoint_before": known.checkpoint},
        text="The profile knows the service by these keys from now on."
        + (
            ""
            if same_ledger
            else f" It is another ledger; of the former one it kept:\n{known.checkpoint}"
        ),
    )


@app.command()
def whoami() -> None:
    """Who the service takes me for, and in which roles."""
    with connected() as client:
        the_screen().answer(client.get("/people/me"))


@app.command()
def token() -> None:
    """Print an access token, for programs by others (a tus client, curl); it lives ten minutes."""
    with connected() as client:
        made = client.token()
    the_screen().answer({"access_token": made}, text=made)


@person_app.command("enrol")
def person_enrol(
    request: Annotated[Path, typer.Argument(help="The person's enrolment request.")],
    organisation: Annotated[str, typer.Option(help="Where the person belongs.")],
    role: Annotated[list[str], typer.Option(help="A role; more than once for more.")],
    out: Annotated[Path, typer.Option(help="File for the enrolment.")],
) -> None:
    """Write an enrolment and sign it as first administrator."""
    asked = document_in(request)
    profile = own_profile()
    document = {
        "type": "enrolment",
        "version": 1,
        **{key: asked.get(key) for key in ("person", "name", "signing_key", "authentication_key")},
        "organisation": organisation,
        "roles": sorted(role),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    signed = {"document": document, "signatures": [profile.sign(document)]}
    out.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")
    the_screen().answer(
        signed,
        text=f"{out} carries one signature. Another administrator signs it next: "
        f"`schakel sign enrolment {out}`.",
    )


@person_app.command("add")
def person_add(enrolment: Annotated[Path, typer.Argument(help="A file signed twice.")]) -> None:
    """Send an enrolment that two administrators signed."""
    with connected() as client:
        added = client.post("/people", document_in(enrolment))
    the_screen().answer(
        added, text=f"{added['person']} is enrolled as {', '.join(added['roles'])}."
    )


@person_app.command("list")
def person_list() -> None:
    """Who is enrolled."""
    with connected() as client:
        the_screen().table(client.get("/people"), ["person", "name", "organisation", "roles"])


@organisation_app.command("add")
def organisation_add(
    identifier: Annotated[str, typer.Argument(help="Short name.")],
    name: Annotated[str, typer.Option(help="Full name.")],
) -> None:
    """Make an organisation known."""
    with connected() as client:
        added = client.post("/organisations", {"id": identifier, "name": name})
    the_screen().answer(added, text=f"Organisation {added['id']} was added.")


@organisation_app.command("list")
def organisation_list() -> None:
    """The organisations known here."""
    with connected() as client:
        the_screen().table(client.get("/organisations"), ["id", "name"])
