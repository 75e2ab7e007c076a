"""Jobs, keys and the ledger: what happened and what is kept."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import BadInput, connected, existing, job_app, keys_app, ledger_app, the_screen
from api.show import REFUSED

if TYPE_CHECKING:
    from api.client import Client


@job_app.command("list")
def job_list() -> None:
    """The latest jobs."""
    with connected() as client:
        the_screen().table(client.get("/jobs"), ["id", "kind", "state", "stage", "share"])


@job_app.command("show")
def job_show(job: str) -> None:
    """One job, and what became of it."""
    with connected() as client:
        the_screen().answer(client.get(f"/jobs/{job}"))


@keys_app.command("list")
def keys_list() -> None:
    """Which keys live, since when, in which state; never a key byte."""
    with connected() as client:
        the_screen().table(
            client.get("/vault/keys"),
            ["purpose", "owner", "version", "state", "role", "created_at"],
        )


rotate_app = typer.Typer(help="Rotate a key.", no_args_is_help=True, rich_markup_mode=None)
keys_app.add_typer(rotate_app, name="rotate")


@rotate_app.command("root")
def keys_rotate_root() -> None:
    """Rewrap the private halves under a new root key; pseudonyms and files stay as they are."""
    with connected() as client:
        row = client.post("/vault/root")
    the_screen().answer(
        row,
        text=f"The root key is at version {row['root_version']} now. "
        "Copy the key file again: earlier copies open nothing any more.",
    )


@rotate_app.callback()
def rotate_options() -> None:
    """Which key."""


@ledger_app.command("list")
def ledger_list(
    start: Annotated[int, typer.Option(help="First position.")] = 0,
    most: Annotated[int, typer.Option(help="How many entries at most.")] = 50,
) -> None:
    """Entries of the ledger."""
    with connected() as client:
        page = client.get(f"/ledger?start={start}&most={most}")
    rows = [json.loads(entry["leaf"]) for entry in page["entries"]]
    the_screen().table(rows, ["position", "at", "kind", "actor", "facts"])


@ledger_app.command("verify")
def ledger_verify(
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="An older checkpoint, or a receipt that carries one; repeatable."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Verify the service in this folder, without asking it.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write what was verified to this file.")
    ] = None,
) -> None:
    """Recompute the whole ledger and compare it with every checkpoint at hand.

    Who may not read its entries has the service prove that it only grew since those checkpoints.
    """
    from api import founding
    from api.settings import Settings
    from keyvault import ledger as ledgers
    from policies.access import ACTIONS

    olds = [_checkpoint(path) for path in checkpoint or []]
    if data is not None:
        if not data.is_dir():
            raise BadInput(f"There is no folder {data}.")
        pack = founding.ledger_of(Settings(data=data))
    else:
        with connected() as client:
            if client.profile.checkpoint:
                olds.append(client.profile.checkpoint)
            readers = ACTIONS["ledger.read"].roles
            if export is None and not readers & set(client.get("/people/me")["roles"]):
                _verify_growth(client, olds)
                return
            pack = _fetch_ledger(client)
    if export is not None:
        export.write_text(json.dumps(pack, indent=2) + "\n", encoding="utf-8")
    stored = [
        ledgers.Stored(position, entry["leaf"].encode(), entry["checkpoint"])
        for position, entry in enumerate(pack["entries"])
    ]
    problems = ledgers.verify(stored, pack["ledger"], checkpoints=olds)
    entries = len(stored)
    if entries != pack["size"]:
        text = f"The head counts {pack['size']} entries, and there are {entries}."
        problems.append(ledgers.Problem("removed", None, text))
    if problems:
        listing = [
            {"kind": found.kind, "position": found.position, "text": found.text}
            for found in problems
        ]
        the_screen().table(listing, ["kind", "position", "text"])
        raise typer.Exit(REFUSED)
    the_screen().answer(
        {"entries": entries, "checkpoints": len(olds), "problems": []},
        text=f"{entries} entries, nothing edited, removed or reordered; "
        f"agrees with {len(olds)} checkpoint(s) kept elsewhere.",
    )


def _verify_growth(client: "Client", olds: list[str]) -> None:
    """What can be verified without reading the ledger: that nothing before was touched."""
    if not olds:
        raise BadInput(
            "There is nothing to compare the ledger with: give --checkpoint, such as a receipt; "
            "`schakel upload` remembers one by itself."
        )
    present = client.grown_since(olds)
    size = int(present.split("\n")[1])
    client.remember(present)
    the_screen().answer(
        {"entries": size, "checkpoints": len(olds), "entries_read": 0, "problems": []},
        text=f"{size} entries; the service proved that nothing before {len(olds)} checkpoint(s) "
        "kept elsewhere was edited, removed or reordered. Its entries were not read: that is for "
        "auditors.",
    )


def _checkpoint(path: Path) -> str:
    try:
        text = existing(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{path} carries no checkpoint.") from None
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text).get("checkpoint")
        except ValueError:
            raise BadInput(f"{path} is no JSON; a receipt or a checkpoint is expected.") from None
        if not isinstance(found, str):
            raise BadInput(f"{path} carries no checkpoint.")
        return found
    return text


def _fetch_ledger(client: "Client") -> dict[str, Any]:
    entries: list[Any] = []
    while True:
        page = client.get(f"/ledger?start={len(entries)}&most=5000")
        entries += page["entries"]
        if not page["entries"]:
            return {
                "entries": entries,
                "checkpoint": page["checkpoint"],
                "size": page["size"],
                "ledger": client.public()["ledger"],
            }
