"""Requests: what researchers do before there is a permit."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from api.commands import app, application_app, connected, document_in, the_screen


@app.command()
def apply(
    application: Annotated[Path, typer.Argument(help="The application (YAML).")],
    draft: Annotated[bool, typer.Option(help="Keep it a draft for now.")] = False,
) -> None:
    """Apply for data: write a request and hand it in."""
    from api.client import ServiceRefusal
    from policies import permits

    document = permits.plain(document_in(application))
    if not draft:
        permits.Application.from_document(document)
    with connected() as client:
        row = client.post("/applications", document)
        if not draft:
            try:
                row = client.post(f"/applications/{row['id']}/submit")
            except ServiceRefusal as refusal:
                refusal.problem["next_step"] = (
                    f"{refusal.problem.get('next_step', '')} It was kept as draft {row['id']}: "
                    "`schakel application edit` mends it, `schakel application withdraw` ends it."
                )
                raise
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@app.command()
def dummy(
    application: Annotated[str, typer.Argument(help="The application, once handed in.")],
    out: Annotated[Path, typer.Option(help="Folder for the dummy's files.")],
    units: Annotated[int, typer.Option(help="Units to invent.")] = 1000,
    period: Annotated[
        str | None, typer.Option(help="Reference period; the first asked for if not said.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Of labels in Stata and SPSS files: en, nl, fr or de.")
    ] = "en",
) -> None:
    """Get dummy data with the exact shape of an application's release, to write programs on."""
    with connected() as client:
        files = client.dummy(application, out, units, period, language)
    the_screen().line("Dummy data: invented, about nobody.", aside=True)
    listing = [{"file": str(file), "bytes": file.stat().st_size} for file in files]
    the_screen().table(listing, ["file", "bytes"])


@application_app.command("list")
def application_list() -> None:
    """One's own requests; those who judge see all."""
    with connected() as client:
        the_screen().table(
            client.get("/applications"), ["id", "project", "applicant", "state", "permit"]
        )


@application_app.command("show")
def application_show(application: str) -> None:
    """One request: text, state, advice and decision."""
    with connected() as client:
        row = client.get(f"/applications/{application}")
    the_screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@application_app.command("edit")
def application_edit(
    application: str, document: Annotated[Path, typer.Argument(help="The new text (YAML).")]
) -> None:
    """Rewrite a draft."""
    from policies import permits

    with connected() as client:
        row = client.call(
            "PUT", f"/applications/{application}", permits.plain(document_in(document))
        )
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@application_app.command("submit")
def application_submit(application: str) -> None:
    """Hand a draft in."""
    with connected() as client:
        row = client.post(f"/applications/{application}/submit")
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@application_app.command("withdraw")
def application_withdraw(application: str) -> None:
    """Take a request back."""
    with connected() as client:
        row = client.post(f"/applications/{application}/withdraw")
    the_screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")
