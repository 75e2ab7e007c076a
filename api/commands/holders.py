"""Datasets, checks and deliveries: what data holders do."""

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.commands import (
    BadInput,
    Yes,
    app,
    confirm,
    connected,
    consent_app,
    dataset_app,
    delivery_app,
    document_in,
    existing,
    now,
    own_profile,
    the_screen,
)
from api.problems import PROBLEMS
from api.show import REFUSED

if TYPE_CHECKING:
    from api.client import Client


@dataset_app.command("add")
def dataset_add(
    declaration: Annotated[Path, typer.Argument(help="The dataset's declaration (YAML).")],
) -> None:
    """Declare a dataset of one's organisation."""
    from linkage import datasets

    document = document_in(declaration)
    datasets.Dataset.from_mapping(document)
    with connected() as client:
        added = client.post("/datasets", document)
    the_screen().answer(added, text=f"Dataset {added['id']} was added.")


@dataset_app.command("list")
def dataset_list() -> None:
    """The catalogue."""
    with connected() as client:
        rows = [
            {
                **row,
                "title": row["title"].get("en") or next(iter(row["title"].values())),
                "variables": [variable["name"] for variable in row["variables"]],
            }
            for row in client.get("/datasets")
        ]
    the_screen().table(rows, ["id", "holder", "title", "variables"])


@dataset_app.command("show")
def dataset_show(dataset: str) -> None:
    """One dataset's declaration."""
    with connected() as client:
        row = client.get(f"/datasets/{dataset}")
    the_screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@app.command()
def check(
    extract: Annotated[Path, typer.Argument(help="The extract (CSV).")],
    dataset: Annotated[Path, typer.Option(help="The dataset's declaration (YAML).")],
    period: Annotated[
        str | None, typer.Option(help="The reference period: later dates are implausible.")
    ] = None,
) -> None:
    """Check an extract on this machine, before anything is sent."""
    from api import checking
    from linkage import datasets

    declared = datasets.Dataset.from_mapping(document_in(dataset))
    with existing(extract).open("rb") as file:
        checked = checking.check(file, declared, period=period)
    _show_report(checked.report(), accepted=checked.accepted)
    if not checked.accepted:
        raise typer.Exit(REFUSED)


def _show_report(report: dict[str, Any], *, accepted: bool) -> None:
    screen = the_screen()
    if screen.as_json:
        screen.answer({"accepted": accepted, "report": report})
        return
    form = report["format"]
    read_as = ", ".join(
        f"{name} {form[name]!r}" + (" (detected)" if name in form["detected"] else "")
        for name in ("delimiter", "encoding", "decimal", "thousands")
        if form[name] is not None
    )
    screen.out.print(
        f"{'accepted' if accepted else 'not accepted'}: {report['records']} records, "
        f"{report['errors']} errors, {report['warnings']} warnings; read with {read_as}",
        markup=False,
    )
    if report["faults"]:
        faults = [{**fault, "rows": _some(fault["rows"])} for fault in report["faults"]]
        screen.table(faults, ["severity", "count", "variable", "message", "rows"])


def _some(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return shown + (", …" if len(rows) > 5 else "")


def _refuse_sealed(extract: Path) -> None:
    """A file that is encrypted already would be encrypted twice, and be no table any more."""
    with extract.open("rb") as file:
        start = file.read(64)
    if start.startswith((b"age-encryption.org/", b"-----BEGIN AGE ")):
        raise BadInput(
            f"{extract} is encrypted already. Give the extract itself: it is encrypted here before "
            "anything leaves this machine; any tus client sends what is encrypted already."
        )


class Mode(Enum):
    """What a delivery does to earlier ones of its dataset and period."""

    new = "new"
    replace = "replace"
    append = "append"
    correct = "correct"


@app.command()
def upload(
    extract: Annotated[Path, typer.Argument(help="The extract (CSV).")],
    dataset: Annotated[str, typer.Option(help="The dataset's id.")],
    period: Annotated[str, typer.Option(help="The reference period, such as 2025.")],
    mode: Annotated[
        Mode,
        typer.Option(
            help="Towards what stands for this dataset and period: replace all of it, append "
            "rows, or correct the rows of the units that the file names."
        ),
    ] = Mode.new,
) -> None:
    """Encrypt an extract, send it, and wait until it has been checked."""
    screen = the_screen()
    _refuse_sealed(existing(extract))
    with connected() as client, screen.progress() as tell:
        delivery = client.upload(extract, dataset, period, tell, mode=mode.value)
        receipt = delivery.get("receipt")
        if receipt is not None:
            # one for each delivery: a receipt is a proof, and no later one may take its place
            place = [dataset, period, *([str(receipt["generation"])] if mode != Mode.new else [])]
            kept = extract.with_name(f"{extract.name}.{'.'.join(place)}.receipt.json")
            kept.write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
            client.profile = own_profile()  # others may have learned more during a long upload
            client.remember(receipt["checkpoint"])
    if screen.as_json:
        screen.answer(delivery)
    else:
        by = f" by {delivery['superseded_by']}" if delivery["superseded_by"] else ""
        screen.line(f"delivery {delivery['id']} is {delivery['state']}{by}")
        if receipt is not None:
            screen.out.print(
                f"receipt: {receipt['bytes']} bytes, SHA-256 {receipt['sha256']}, "
                f"ledger position {receipt['ledger_position']}",
            )
        if delivery["report"] and "faults" in delivery["report"]:
            _show_report(delivery["report"], accepted=delivery["state"] != "rejected")
        elif delivery["report"]:
            problem = delivery["report"]["problem"]
            screen.line(PROBLEMS[problem][1] if problem in PROBLEMS else problem)
    if delivery["state"] == "rejected":
        raise typer.Exit(REFUSED)


@delivery_app.command("list")
def delivery_list() -> None:
    """Deliveries of one's organisation."""
    with connected() as client:
        the_screen().table(
            client.get("/deliveries"),
            ["id", "dataset", "period", "generation", "mode", "state", "rows", "bytes"],
        )


@delivery_app.command("show")
def delivery_show(delivery: str) -> None:
    """One delivery with receipt and fault report."""
    with connected() as client:
        row = client.get(f"/deliveries/{delivery}")
    the_screen().answer(row)


@delivery_app.command("withdraw")
def delivery_withdraw(delivery: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Take an accepted delivery back: no release that isn't cleared yet uses it."""
    with connected() as client:
        row = client.post(f"/deliveries/{delivery}/withdraw", {"reason": reason})
    the_screen().answer(row, text=f"Delivery {delivery} is {row['state']}.")


@consent_app.command("list")
def consent_list() -> None:
    """Requests that one's organisation is asked to consent to."""
    with connected() as client:
        cases = client.get("/consents")
    rows = [{**case, **{name: case["terms"][name] for name in _ABOUT}} for case in cases]
    the_screen().table(rows, ["application", "dataset", "holder", *_ABOUT, "state"])


_ABOUT = ("project", "title")


@consent_app.command("show")
def consent_show(
    application: str, dataset: Annotated[str, typer.Option(help="The dataset's id.")]
) -> None:
    """What is asked of a dataset, and what was decided."""
    with connected() as client:
        case = client.get(f"/applications/{application}/consents/{dataset}")
    the_screen().answer(case, text=yaml.safe_dump(case, sort_keys=False, allow_unicode=True))


@consent_app.command("give")
def consent_give(
    application: str,
    dataset: Annotated[str, typer.Option(help="The dataset's id.")],
    yes: Yes = False,
) -> None:
    """Consent to what an application asks of a dataset, having read it."""
    with connected() as client:
        _decide(client, application, dataset, {"given": True}, yes=yes)


@consent_app.command("withhold")
def consent_withhold(
    application: str,
    dataset: Annotated[str, typer.Option(help="The dataset's id.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    yes: Yes = False,
) -> None:
    """Withhold consent, or withdraw what was given: nothing is built or downloaded from then on."""
    with connected() as client:
        _decide(client, application, dataset, {"given": False, "reason": reason}, yes=yes)


def _decide(
    client: "Client", application: str, dataset: str, decision: dict[str, Any], *, yes: bool
) -> None:
    """Show the terms, and sign a decision on the very ones that were shown."""
    from policies import permits

    profile, path = own_profile(), f"/applications/{application}/consents/{dataset}"
    case = client.get(path)
    terms = case["terms"]
    document = {
        "type": "consent",
        "version": 1,
        "application": application,
        "application_sha256": terms["application_sha256"],
        "terms_sha256": permits.sha256(terms),
        "dataset": dataset,
        "project": terms["project"],
        **decision,
        "by": profile.person,
        "at": now(),
    }
    told = {
        "you sign": f"consent is {'given' if decision['given'] else 'withheld'}",
        "reason": decision.get("reason"),
        **{name: value for name, value in terms.items() if name != "dataset"},
        "dataset": f"{dataset} {', '.join(terms['dataset'].get('periods', []))}".strip(),
        **{f"variable {name}": rule for name, rule in _rules(terms["dataset"]).items()},
        "conditions": (case["conditions"].get("text") or {}).values(),
    }
    confirm(told, f"SHA-256 of these terms: {document['terms_sha256']}", yes=yes)
    answer = client.post(path, {"document": document, "signature": profile.sign(document)})
    the_screen().answer(
        answer,
        text=f"Consent to the use of {dataset} in application {application} is {answer['state']}.",
    )


def _rules(entry: dict[str, Any]) -> dict[str, str]:
    """How each variable would leave."""
    return {
        variable["name"]: f"as {variable['as']}: {json.dumps(variable['rule'])}"
        for variable in entry["variables"]
    }
