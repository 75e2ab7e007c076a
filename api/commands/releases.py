"""Building, clearing and downloading releases."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.commands import (
    BadInput,
    Yes,
    app,
    confirm,
    connected,
    existing,
    now,
    own_profile,
    release_app,
    the_screen,
)
from api.show import REFUSED


def _show_release(row: dict[str, Any]) -> None:
    screen = the_screen()
    if screen.as_json:
        screen.answer(row)
        return
    screen.line(f"release {row['id']} is {row['state']}")
    if row["refusal"]:
        screen.line(f"{row['refusal']['detail']}\n{row['refusal']['next_step']}")
    summary = row["summary"]
    if summary:
        screen.fields(summary)


def _pairs(items: list[str] | None, wanted: str) -> list[tuple[str, str]]:
    """Options written as KEY=VALUE."""
    pairs = []
    for item in items or []:
        key, separator, value = item.partition("=")
        if not separator:
            raise BadInput(wanted)
        pairs.append((key, value))
    return pairs


@release_app.command("build")
def release_build(
    permit: Annotated[str, typer.Argument(help="The permit that allows it.")],
    period: Annotated[str, typer.Option(help="The reference period.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this dataset; more than once for more.")
    ] = None,
    universe: Annotated[list[str] | None, typer.Option(help="Only units of this dataset.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only units with this value: KEY=VALUE. Nothing is suppressed then."),
    ] = None,
    coarser: Annotated[
        list[str] | None,
        typer.Option(help="Show a key coarser: KEY=HOW, as a refusal proposes (or withheld)."),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Go without a column that is permitted: DATASET.COLUMN."),
    ] = None,
    suppress: Annotated[
        bool, typer.Option(help="Suppress single values where the permit allows it.")
    ] = True,
    file_format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Only parquet, csv, dta (Stata) or sav (SPSS); else all."),
    ] = None,
    language: Annotated[
        str, typer.Option(help="Of the labels in Stata and SPSS files: en, nl, fr or de.")
    ] = "en",
) -> None:
    """Link what isn't linked yet, build the package and test it."""
    chosen: dict[str, list[str]] = {}
    for key, value in _pairs(only, "--only wants KEY=VALUE, such as arrondissement=21000."):
        chosen.setdefault(key, []).append(value)
    shown = dict(_pairs(coarser, "--coarser wants KEY=HOW, such as arrondissement=province."))
    with connected() as client, the_screen().progress() as tell:
        row = client.post(
            "/releases",
            {
                "permit": permit,
                "period": period,
                "datasets": dataset or None,
                "universe": universe or None,
                "only": chosen,
                "suppress": suppress,
                "coarser": shown,
                "leave_out": leave_out or [],
                "language": language,
                **({"formats": file_format} if file_format else {}),
            },
        )
        row = client.wait_release(row["id"], tell)
    _show_release(row)
    if row["state"] == "refused":
        raise typer.Exit(REFUSED)


@release_app.command("list")
def release_list() -> None:
    """A project's releases; staff see all."""
    with connected() as client:
        rows = client.get("/releases")
    shown = ("units", "smallest_cell", "suppressed_share", "intruder_names_rightly")
    if not the_screen().as_json:
        rows = [
            {**row, **{name: (row["summary"] or {}).get(name) for name in shown}} for row in rows
        ]
    the_screen().table(rows, ["id", "project", "period", "state", "builder", *shown])


@release_app.command("show")
def release_show(release: str) -> None:
    """One release: state, disclosure figures, and the reason if it was refused."""
    with connected() as client:
        _show_release(client.get(f"/releases/{release}"))


@release_app.command("clear")
def release_clear(release: str, yes: Yes = False) -> None:
    """Clear a release that somebody else built, having read its report."""
    profile = own_profile()
    with connected() as client:
        row = client.get(f"/releases/{release}")
        document = {
            "type": "clearance",
            "version": 1,
            "release": release,
            "manifest_sha256": row["manifest_sha256"],
            "by": profile.person,
            "at": now(),
        }
        confirm(
            {
                "you sign": "the release may leave",
                **{name: row[name] for name in ("id", "project", "permit", "period", "builder")},
                **(row["summary"] or {}),
            },
            f"SHA-256 of the manifest: {row['manifest_sha256']}",
            yes=yes,
        )
        client.post(
            f"/releases/{release}/clearance",
            {"document": document, "signature": profile.sign(document)},
        )
        with the_screen().progress() as tell:
            row = client.wait_release(release, tell)
    _show_release(row)


@release_app.command("withdraw")
def release_withdraw(release: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Withdraw a release: nobody can download it from now on."""
    with connected() as client:
        row = client.post(f"/releases/{release}/withdraw", {"reason": reason})
    _show_release(row)


@app.command()
def download(
    release: str,
    identity: Annotated[Path, typer.Option(help="File with the age identity.")],
    out: Annotated[Path, typer.Option(help="Folder for the package's files.")],
) -> None:
    """Download a release, open it here and check it against its signed manifest."""
    with connected() as client, the_screen().progress() as tell:
        files = client.download(release, existing(identity), out, tell)
    listing = [{"file": str(file), "bytes": file.stat().st_size} for file in files]
    the_screen().table(listing, ["file", "bytes"])


@app.command("identity")
def identity(
    out: Annotated[Path, typer.Argument(help="File for the identity; keep it to yourself.")],
) -> None:
    """Make an age identity to receive releases with (as `age-keygen` does)."""
    import pyrage

    if out.exists():
        raise BadInput(f"{out} exists already; an identity is never overwritten.")
    made = pyrage.x25519.Identity.generate()
    out.touch(mode=0o600)
    out.write_text(f"# public key: {made.to_public()}\n{made}\n", encoding="utf-8")
    the_screen().answer(
        {"age_recipient": str(made.to_public()), "file": str(out)}, text=str(made.to_public())
    )
