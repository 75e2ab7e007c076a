"""Jobs, keys and the ledger: what happened and what is kept."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from api.commands import BadInput, connected, existing, job_app, ledger_app, the_screen
from api.show import REFUSED

if TYPE_CHECKING:
    from api.client import Client
    from keyvault.ledger import Problem


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
    pack: Annotated[
        Path | None, typer.Option(help="Verify an auditor's pack, without asking anybody.")
    ] = None,
    verifier: Annotated[
        list[str] | None,
        typer.Option(help="The ledger's verifier key, learned elsewhere than from the pack."),
    ] = None,
) -> None:
    """Recompute the whole ledger and compare it with every checkpoint at hand.

    Who may not read its entries has the service prove that it only grew since those checkpoints.
    """
    from api import founding
    from api.settings import Settings
    from keyvault import ledger as ledgers
    from keyvault.memory import close_memory
    from keyvault.packs import Pack
    from policies.access import ACTIONS

    olds = [_checkpoint(path) for path in checkpoint or []]
    if pack is not None:
        held = Pack(_folder(pack))
        problems = held.verify(verifier or held.verifiers, olds)
        _tell_verified(problems, sum(1 for _ in held.leaves()) if not problems else 0, olds)
        if not verifier:
            the_screen().note(
                "The verifier key is the pack's own word: compare it with one learned elsewhere."
            )
        return
    if data is not None:
        close_memory()
        found = founding.ledger_of(Settings(data=_folder(data)))
    else:
        with connected() as client:
            if client.profile.checkpoint:
                olds.append(client.profile.checkpoint)
            readers = ACTIONS["ledger.read"].roles
            if not readers & set(client.get("/people/me")["roles"]):
                _verify_growth(client, olds)
                return
            found = _fetch_ledger(client)
    stored = [
        ledgers.Stored(position, entry["leaf"].encode(), entry["checkpoint"])
        for position, entry in enumerate(found["entries"])
    ]
    problems = ledgers.verify(stored, found["ledger"], checkpoints=olds)
    if len(stored) != found["size"]:
        text = f"The head counts {found['size']} entries, and there are {len(stored)}."
        problems.append(ledgers.Problem("removed", None, text))
    problems += [ledgers.Problem(**fault) for fault in found.get("tiles", [])]
    _tell_verified(problems, len(stored), olds)


def _tell_verified(problems: "list[Problem]", entries: int, olds: list[str]) -> None:
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


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise BadInput(f"There is no folder {path}.")
    return path


@ledger_app.command("pack")
def ledger_pack(
    out: Annotated[Path, typer.Option(help="A folder that isn't there yet.")],
) -> None:
    """Write the auditor's pack: the whole ledger, to be verified where nobody asks the service."""
    from keyvault.packs import write_pack

    if out.exists():
        raise BadInput(f"{out} is there already; name a new folder.")
    with connected() as client:
        found = _fetch_ledger(client)
    leaves = (entry["leaf"].encode() for entry in found["entries"])
    checkpoint = found["entries"][-1]["checkpoint"]
    entries = write_pack(out, leaves, checkpoint, found["ledger"])
    the_screen().answer(
        {"folder": str(out), "entries": entries},
        text=f"{entries} entries in {out}; `schakel ledger verify --pack {out}` verifies them "
        "anywhere.",
    )


@ledger_app.command("prove")
def ledger_prove(
    position: Annotated[int, typer.Argument(help="The entry's position; a receipt names one.")],
) -> None:
    """Have it proven that an entry stands in the ledger, and check the proof here."""
    with connected() as client:
        found = client.proven(position)
    leaf = found["leaf"]
    said = leaf or "The entry itself is for those who read the ledger, and whom it concerns."
    the_screen().answer(
        found, text=f"Entry {position} stands in the ledger of {found['size']} entries.\n{said}"
    )


@ledger_app.command("who")
def ledger_who(
    dataset: Annotated[str, typer.Argument(help="A dataset's id.")],
    variable: Annotated[str | None, typer.Option(help="One of its variables only.")] = None,
) -> None:
    """Who touched which variables of a dataset, when, under which permit."""
    asked = {"dataset": dataset} | ({"variable": variable} if variable else {})
    with connected() as client:
        rows = client.get(f"/ledger/who?{urlencode(asked)}")
    columns = ["at", "actor", "kind", "variables", "permit"]
    the_screen().table(rows, columns)


@ledger_app.command("what")
def ledger_what(
    person: Annotated[str, typer.Argument(help="A person's id.")],
) -> None:
    """What a person touched: datasets, variables, and everything else they did."""
    with connected() as client:
        rows = client.get(f"/ledger/what?{urlencode({'person': person})}")
    columns = ["at", "kind", "dataset", "variables", "permit"]
    the_screen().table(rows, columns)


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
