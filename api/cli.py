"""`schakel`: every job from a terminal, for every role.

Each command reads what it is given, asks the service (or, for `check`, works on this machine alone)
and shows the answer: a table for people, `--json` for programs. Exit codes: 0 done, 1 refused or
failed, 2 bad input.
"""

import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from typer.exceptions import TyperException

from api.problems import PROBLEMS
from api.show import BAD_INPUT, REFUSED, Screen

# A command imports what it needs when it runs: most need little, and nobody likes to wait a second
# for `--help`.
if TYPE_CHECKING:
    from api.client import Client
    from api.profiles import Profile

DEFAULT_SERVER = "http://127.0.0.1:8470"

app = typer.Typer(
    help="Schakel: link data about people without anyone learning who they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class BadInput(Exception):  # noqa: N818 - what it is
    """What was given on the command line can't be used."""


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


profile_app = _group("profile", "Who one is on this machine: keys and server.")
person_app = _group("person", "People: enrolments, signed by two administrators.")
organisation_app = _group("organisation", "Organisations.")
dataset_app = _group("dataset", "Datasets: what holders can deliver.")
delivery_app = _group("delivery", "Deliveries and their fault reports.")
application_app = _group("application", "Requests of researchers.")
permit_app = _group("permit", "Permits.")
release_app = _group("release", "Releases: build, clear, list.")
job_app = _group("job", "Work in the background.")
keys_app = _group("keys", "Keys: list, rotate.")
ledger_app = _group("ledger", "The record of everything that happened.")
sign_app = _group("sign", "Sign a decision with one's own key.")


class _Chosen:
    """What the options before the command said."""

    profile = "default"
    screen = Screen(as_json=False)


def _screen() -> Screen:
    return _Chosen.screen


@app.callback()
def options(
    profile: Annotated[str, typer.Option(help="Who one is.", envvar="SCHAKEL_PROFILE")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Options for every command."""
    _Chosen.profile = profile
    _Chosen.screen = Screen(as_json=as_json)


def _profile() -> "Profile":
    from api import profiles

    return profiles.load(_Chosen.profile)


def _client() -> "Client":
    from api import profiles
    from api.client import Client

    return Client(_profile(), keep=partial(profiles.save, _Chosen.profile))


def _document(path: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds one object."""
    try:
        document = yaml.safe_load(_existing(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadInput(f"{path} is not YAML (or JSON) in UTF-8.") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path} should hold one object with named fields.")
    return document


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name a file.")
    if not path.exists():
        raise BadInput(f"There is no file {path}.")
    return path


def _confirm(
    told: dict[str, Any], last: str = "", *, yes: bool, question: str = "Sign this?"
) -> None:
    """Show what is about to be signed, the hash in the last line, and ask.

    What is shown is read from the same answer that the hash is made of.
    """
    screen = _screen()
    if not (screen.as_json and yes):
        screen.fields(told, aside=True)
        screen.line(last, aside=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(
            "Nothing was done: there is no terminal to confirm at. Read what is shown and add "
            "--yes."
        )
    typer.confirm(question, abort=True, err=True)


Yes = Annotated[bool, typer.Option("--yes", help="Sign without being asked.")]


# -- the service -----------------------------------------------------------------------------------


@app.command()
def init(
    administrator: Annotated[
        list[str],
        typer.Option(
            help="A founding administrator, twice or more: ID=NAME (keys are made here, into a "
            "profile ID), or the file of an enrolment request (`schakel profile new`)."
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="Where the service keeps everything.")] = None,
    server: Annotated[
        str, typer.Option(help="Address for the profiles.", envvar="SCHAKEL_SERVER")
    ] = DEFAULT_SERVER,
) -> None:
    """Found a service: database, root key, and its first administrators."""
    from api import founding, profiles
    from api.profiles import Profile
    from api.settings import Settings

    settings = Settings(data=data) if data else Settings()
    requests, made = [], []
    for item in administrator:
        person, separator, name = item.partition("=")
        if separator:
            made.append(Profile.new(person, name, server))
            requests.append(made[-1].request())
        else:
            requests.append(_document(Path(item)))
    with profiles.kept(made):  # before the founding, which without these keys is nobody's
        told = founding.found(settings, requests, datetime.now(UTC))
    names = [profile.person for profile in made]
    _screen().answer(
        {**told, "profiles": names},
        text=(
            f"A service was founded in {settings.data}.\n"
            f"Its root key is in {settings.root_key}, readable by you alone: keep a copy of it "
            "elsewhere, apart from copies of the data. Without it nothing can be opened.\n"
            f"Administrators: {', '.join(told['administrators'])}"
            + (f"; their keys are in the profiles {', '.join(names)}." if made else ".")
            + "\nNext: `schakel serve`."
        ),
    )


@app.command()
def serve(
    data: Annotated[Path | None, typer.Option(help="Where the service keeps everything.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option(help="A proxy in front of the service speaks TLS.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
) -> None:
    """Start the API and its worker."""
    from api import serving
    from api.settings import Settings

    given = {
        "data": data,
        "host": host,
        "port": port,
        "behind_proxy": behind_proxy or None,
        "certificate": certificate,
        "certificate_key": certificate_key,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    serving.serve(settings)


@app.command()
def example(
    out: Annotated[Path, typer.Argument(help="Folder for the files; it is made.")],
    recipient: Annotated[str, typer.Option(help="The researcher's age recipient.")],
    researcher: Annotated[str, typer.Option(help="The researcher's id.")] = "researcher-1",
    persons: Annotated[int, typer.Option(help="Size of the invented population.")] = 2000,
) -> None:
    """Write files to try everything with: a dataset, its extract and an application."""
    from api.demo import examples

    written = examples.write(out, persons, researcher, recipient, datetime.now(UTC).date())
    _screen().answer(
        {"files": [str(path) for path in written]},
        text="\n".join(str(path) for path in written),
    )


# -- people ----------------------------------------------------------------------------------------


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
    _screen().answer(
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
            _screen().note(str(fault))
    _screen().table(rows, ["profile", "person", "name", "server"])


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

    known = _profile()
    with Client(replace(known, service=None)) as client:
        client.public()
    shown = client.profile.service or {}
    same_ledger = known.service is None or known.service["ledger"] == shown["ledger"]
    _confirm(
        {
            "known so far": known.service,
            "shown now": shown,
        },
        yes=yes,
        question="Trust these keys?",
    )
    checkpoint = known.checkpoint if same_ledger else None
    profiles.save(_Chosen.profile, replace(known, service=shown, checkpoint=checkpoint))
    _screen().answer(
        {"service": shown, "checkpoint": checkpoint, "checkpoint_before": known.checkpoint},
        text="The profile knows the service by these keys from now on."
        + (
            ""
            if same_ledger
            else f" It is another ledger; of the former one it kept:\n{known.checkpoint}"
        ),
    )


@person_app.command("enrol")
def person_enrol(
    request: Annotated[Path, typer.Argument(help="The person's enrolment request.")],
    organisation: Annotated[str, typer.Option(help="Where the person belongs.")],
    role: Annotated[list[str], typer.Option(help="A role; more than once for more.")],
    out: Annotated[Path, typer.Option(help="File for the enrolment.")],
) -> None:
    """Write an enrolment and sign it as first administrator."""
    asked = _document(request)
    profile = _profile()
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
    _screen().answer(
        signed,
        text=f"{out} carries one signature. Another administrator signs it next: "
        f"`schakel sign enrolment {out}`.",
    )


@person_app.command("add")
def person_add(enrolment: Annotated[Path, typer.Argument(help="A file signed twice.")]) -> None:
    """Send an enrolment that two administrators signed."""
    with _client() as client:
        added = client.post("/people", _document(enrolment))
    _screen().answer(added, text=f"{added['person']} is enrolled as {', '.join(added['roles'])}.")


@person_app.command("list")
def person_list() -> None:
    """Who is enrolled."""
    with _client() as client:
        _screen().table(client.get("/people"), ["person", "name", "organisation", "roles"])


@organisation_app.command("add")
def organisation_add(
    identifier: Annotated[str, typer.Argument(help="Short name.")],
    name: Annotated[str, typer.Option(help="Full name.")],
) -> None:
    """Make an organisation known."""
    with _client() as client:
        added = client.post("/organisations", {"id": identifier, "name": name})
    _screen().answer(added, text=f"Organisation {added['id']} was added.")


@organisation_app.command("list")
def organisation_list() -> None:
    """The organisations known here."""
    with _client() as client:
        _screen().table(client.get("/organisations"), ["id", "name"])


# -- holders ---------------------------------------------------------------------------------------


@dataset_app.command("add")
def dataset_add(
    declaration: Annotated[Path, typer.Argument(help="The dataset's declaration (YAML).")],
) -> None:
    """Declare a dataset of one's organisation."""
    from linkage import datasets

    document = _document(declaration)
    datasets.Dataset.from_mapping(document)
    with _client() as client:
        added = client.post("/datasets", document)
    _screen().answer(added, text=f"Dataset {added['id']} was added.")


@dataset_app.command("list")
def dataset_list() -> None:
    """The catalogue."""
    with _client() as client:
        rows = [
            {
                **row,
                "title": row["title"].get("en") or next(iter(row["title"].values())),
                "variables": [variable["name"] for variable in row["variables"]],
            }
            for row in client.get("/datasets")
        ]
    _screen().table(rows, ["id", "holder", "title", "variables"])


@dataset_app.command("show")
def dataset_show(dataset: str) -> None:
    """One dataset's declaration."""
    with _client() as client:
        row = client.get(f"/datasets/{dataset}")
    _screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@app.command()
def check(
    extract: Annotated[Path, typer.Argument(help="The extract (CSV).")],
    dataset: Annotated[Path, typer.Option(help="The dataset's declaration (YAML).")],
    period: Annotated[
        str | None, typer.Option(help="The reference period: later dates are implausible.")
    ] = None,
) -> None:
    """Check an extract on this machine, before anything is sent."""
    from linkage import datasets, extracts

    declared = datasets.Dataset.from_mapping(_document(dataset))
    with _existing(extract).open("rb") as file:
        checked = extracts.check(file, declared, period=period)
    _show_report(checked.report(), accepted=checked.accepted)
    if not checked.accepted:
        raise typer.Exit(REFUSED)


def _show_report(report: dict[str, Any], *, accepted: bool) -> None:
    screen = _screen()
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


@app.command()
def upload(
    extract: Annotated[Path, typer.Argument(help="The extract (CSV).")],
    dataset: Annotated[str, typer.Option(help="The dataset's id.")],
    period: Annotated[str, typer.Option(help="The reference period, such as 2025.")],
) -> None:
    """Encrypt an extract, send it, and wait until it has been checked."""
    screen = _screen()
    with _client() as client, screen.progress() as tell:
        delivery = client.upload(_existing(extract), dataset, period, tell)
        receipt = delivery.get("receipt")
        if receipt is not None:
            extract.with_name(extract.name + ".receipt.json").write_text(
                json.dumps(receipt, indent=2) + "\n", encoding="utf-8"
            )
            client.profile = _profile()  # others may have learned more during a long upload
            client.remember(receipt["checkpoint"])
    if screen.as_json:
        screen.answer(delivery)
    else:
        screen.line(f"delivery {delivery['id']} is {delivery['state']}")
        if receipt is not None:
            screen.out.print(
                f"receipt: {receipt['bytes']} bytes, SHA-256 {receipt['sha256']}, "
                f"ledger position {receipt['ledger_position']}",
            )
        if delivery["report"] and "faults" in delivery["report"]:
            _show_report(delivery["report"], accepted=delivery["state"] == "accepted")
        elif delivery["report"]:
            problem = delivery["report"]["problem"]
            screen.line(PROBLEMS[problem][1] if problem in PROBLEMS else problem)
    if delivery["state"] != "accepted":
        raise typer.Exit(REFUSED)


@delivery_app.command("list")
def delivery_list() -> None:
    """Deliveries of one's organisation."""
    with _client() as client:
        _screen().table(
            client.get("/deliveries"), ["id", "dataset", "period", "state", "rows", "bytes"]
        )


@delivery_app.command("show")
def delivery_show(delivery: str) -> None:
    """One delivery with receipt and fault report."""
    with _client() as client:
        row = client.get(f"/deliveries/{delivery}")
    _screen().answer(row)


# -- researchers -----------------------------------------------------------------------------------


@app.command()
def apply(
    application: Annotated[Path, typer.Argument(help="The application (YAML).")],
    draft: Annotated[bool, typer.Option(help="Keep it a draft for now.")] = False,
) -> None:
    """Apply for data: write a request and hand it in."""
    from policies import permits

    document = permits.plain(_document(application))
    if not draft:
        permits.Application.from_document(document)
    with _client() as client:
        row = client.post("/applications", document)
        if not draft:
            row = client.post(f"/applications/{row['id']}/submit")
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@application_app.command("list")
def application_list() -> None:
    """One's own requests; those who judge see all."""
    with _client() as client:
        _screen().table(
            client.get("/applications"), ["id", "project", "applicant", "state", "permit"]
        )


@application_app.command("show")
def application_show(application: str) -> None:
    """One request: text, state, advice and decision."""
    with _client() as client:
        row = client.get(f"/applications/{application}")
    _screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@application_app.command("edit")
def application_edit(
    application: str, document: Annotated[Path, typer.Argument(help="The new text (YAML).")]
) -> None:
    """Rewrite a draft."""
    from policies import permits

    with _client() as client:
        row = client.call("PUT", f"/applications/{application}", permits.plain(_document(document)))
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@application_app.command("submit")
def application_submit(application: str) -> None:
    """Hand a draft in."""
    with _client() as client:
        row = client.post(f"/applications/{application}/submit")
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


@application_app.command("withdraw")
def application_withdraw(application: str) -> None:
    """Take a request back."""
    with _client() as client:
        row = client.post(f"/applications/{application}/withdraw")
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


# -- those who judge -------------------------------------------------------------------------------


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@sign_app.command("enrolment")
def sign_enrolment(
    enrolment: Annotated[Path, typer.Argument(help="The file; the signature is added to it.")],
) -> None:
    """Sign an enrolment as another administrator."""
    profile = _profile()
    signed = _document(enrolment)
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
    _screen().answer(
        signed,
        text=f"{enrolment} carries {len(signed['signatures'])} signatures. "
        f"`schakel person add {enrolment}` sends it.",
    )


@sign_app.command("advice")
def sign_advice(
    application: str,
    text: Annotated[str, typer.Option(help="The advice itself.")],
    unfavourable: Annotated[bool, typer.Option(help="Advise against it.")] = False,
    yes: Yes = False,
) -> None:
    """Give the data protection officer's advice on the application as it reads now."""
    from policies import permits

    profile = _profile()
    with _client() as client:
        row = client.get(f"/applications/{application}")
        document = {
            "type": "advice",
            "version": 1,
            "application": application,
            "application_sha256": permits.sha256(row["document"]),
            "opinion": "unfavourable" if unfavourable else "favourable",
            "text": text,
            "by": profile.person,
            "at": _now(),
        }
        _confirm(
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
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}. {row['next_step']}")


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

    profile = _profile()
    with _client() as client:
        row = client.get(f"/applications/{application}")
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
            "at": _now(),
        }
        _confirm(
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
    _screen().answer(row, text=f"Application {row['id']} is {row['state']}.{permit}")


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
    }


@permit_app.command("show")
def permit_show(permit: str) -> None:
    """A permit as it was sealed, and its present state."""
    with _client() as client:
        row = client.get(f"/permits/{permit}")
    _screen().answer(row, text=yaml.safe_dump(row, sort_keys=False, allow_unicode=True))


@permit_app.command("suspend")
def permit_suspend(permit: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Stop everything under a permit at once."""
    with _client() as client:
        row = client.post(f"/permits/{permit}/suspend", {"reason": reason})
    _screen().answer(row, text=f"Permit {permit} is {row['state']}.")


@permit_app.command("resume")
def permit_resume(permit: str) -> None:
    """End a suspension."""
    with _client() as client:
        row = client.post(f"/permits/{permit}/resume")
    _screen().answer(row, text=f"Permit {permit} is {row['state']}.")


# -- releases --------------------------------------------------------------------------------------


def _show_release(row: dict[str, Any]) -> None:
    screen = _screen()
    if screen.as_json:
        screen.answer(row)
        return
    screen.line(f"release {row['id']} is {row['state']}")
    if row["refusal"]:
        screen.line(f"{row['refusal']['detail']}\n{row['refusal']['next_step']}")
    summary = row["summary"]
    if summary:
        screen.fields(summary)


@release_app.command("build")
def release_build(
    permit: Annotated[str, typer.Argument(help="The permit that allows it.")],
    period: Annotated[str, typer.Option(help="The reference period.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this dataset; more than once for more.")
    ] = None,
    universe: Annotated[list[str] | None, typer.Option(help="Only units of this dataset.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only units with this value: KEY=VALUE.")
    ] = None,
    suppress: Annotated[
        bool, typer.Option(help="Suppress single values where the permit allows it.")
    ] = True,
) -> None:
    """Link what isn't linked yet, build the package and test it."""
    chosen: dict[str, list[str]] = {}
    for item in only or []:
        key, separator, value = item.partition("=")
        if not separator:
            raise BadInput("--only wants KEY=VALUE, such as arrondissement=21000.")
        chosen.setdefault(key, []).append(value)
    with _client() as client, _screen().progress() as tell:
        row = client.post(
            "/releases",
            {
                "permit": permit,
                "period": period,
                "datasets": dataset or None,
                "universe": universe or None,
                "only": chosen,
                "suppress": suppress,
            },
        )
        row = client.wait_release(row["id"], tell)
    _show_release(row)
    if row["state"] == "refused":
        raise typer.Exit(REFUSED)


@release_app.command("list")
def release_list() -> None:
    """A project's releases; staff see all."""
    with _client() as client:
        _screen().table(client.get("/releases"), ["id", "project", "period", "state", "builder"])


@release_app.command("show")
def release_show(release: str) -> None:
    """One release: state, disclosure figures, and the reason if it was refused."""
    with _client() as client:
        _show_release(client.get(f"/releases/{release}"))


@release_app.command("clear")
def release_clear(release: str, yes: Yes = False) -> None:
    """Clear a release that somebody else built, having read its report."""
    profile = _profile()
    with _client() as client:
        row = client.get(f"/releases/{release}")
        document = {
            "type": "clearance",
            "version": 1,
            "release": release,
            "manifest_sha256": row["manifest_sha256"],
            "by": profile.person,
            "at": _now(),
        }
        _confirm(
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
        with _screen().progress() as tell:
            row = client.wait_release(release, tell)
    _show_release(row)


@release_app.command("withdraw")
def release_withdraw(release: str, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Withdraw a release: nobody can download it from now on."""
    with _client() as client:
        row = client.post(f"/releases/{release}/withdraw", {"reason": reason})
    _show_release(row)


@app.command()
def download(
    release: str,
    identity: Annotated[Path, typer.Option(help="File with the age identity.")],
    out: Annotated[Path, typer.Option(help="Folder for the package's files.")],
) -> None:
    """Download a release, open it here and check it against its signed manifest."""
    with _client() as client, _screen().progress() as tell:
        files = client.download(release, _existing(identity), out, tell)
    listing = [{"file": str(file), "bytes": file.stat().st_size} for file in files]
    _screen().table(listing, ["file", "bytes"])


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
    _screen().answer(
        {"age_recipient": str(made.to_public()), "file": str(out)}, text=str(made.to_public())
    )


# -- background, keys, ledger ----------------------------------------------------------------------


@job_app.command("list")
def job_list() -> None:
    """The latest jobs."""
    with _client() as client:
        _screen().table(client.get("/jobs"), ["id", "kind", "state", "stage", "share"])


@job_app.command("show")
def job_show(job: str) -> None:
    """One job, and what became of it."""
    with _client() as client:
        _screen().answer(client.get(f"/jobs/{job}"))


@keys_app.command("list")
def keys_list() -> None:
    """Which keys live, since when, in which state; never a key byte."""
    with _client() as client:
        _screen().table(
            client.get("/vault/keys"),
            ["purpose", "owner", "version", "state", "role", "created_at"],
        )


rotate_app = typer.Typer(help="Rotate a key.", no_args_is_help=True, rich_markup_mode=None)
keys_app.add_typer(rotate_app, name="rotate")


@rotate_app.command("root")
def keys_rotate_root() -> None:
    """Rewrap the private halves under a new root key; pseudonyms and files stay as they are."""
    with _client() as client:
        row = client.post("/vault/root")
    _screen().answer(row, text=f"The root key is at version {row['root_version']} now.")


@rotate_app.callback()
def rotate_options() -> None:
    """Which key."""


@ledger_app.command("list")
def ledger_list(
    start: Annotated[int, typer.Option(help="First position.")] = 0,
    most: Annotated[int, typer.Option(help="How many entries at most.")] = 50,
) -> None:
    """Entries of the ledger."""
    with _client() as client:
        page = client.get(f"/ledger?start={start}&most={most}")
    rows = [json.loads(entry["leaf"]) for entry in page["entries"]]
    _screen().table(rows, ["position", "at", "kind", "actor", "facts"])


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
        with _client() as client:
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
        _screen().table(listing, ["kind", "position", "text"])
        raise typer.Exit(REFUSED)
    _screen().answer(
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
    _screen().answer(
        {"entries": size, "checkpoints": len(olds), "entries_read": 0, "problems": []},
        text=f"{size} entries; the service proved that nothing before {len(olds)} checkpoint(s) "
        "kept elsewhere was edited, removed or reordered. Its entries were not read: that is for "
        "auditors.",
    )


def _checkpoint(path: Path) -> str:
    try:
        text = _existing(path).read_text(encoding="utf-8")
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


def main() -> None:
    """The console script: run a command, turn errors into sentences and exit codes."""
    sys.exit(run(sys.argv[1:]))


def _options_first(arguments: list[str]) -> list[str]:
    """`--json` and `--profile NAME` may stand anywhere on the line."""
    first, rest, coming = [], [], list(arguments)
    while coming:
        item = coming.pop(0)
        if item == "--json" or item.startswith("--profile="):
            first.append(item)
        elif item == "--profile" and coming:
            first += [item, coming.pop(0)]
        else:
            rest.append(item)
    return first + rest


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code comes back."""
    _Chosen.screen = Screen(as_json="--json" in arguments)
    arguments = _options_first(arguments)
    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except TyperException as error:
        text = f"{error.format_message()} `schakel --help` shows what there is."
        return _screen().fail({"detail": text}, BAD_INPUT)
    except (typer.Abort, KeyboardInterrupt):
        return _screen().fail({"detail": "Stopped."}, REFUSED)
    except BadInput as error:
        return _screen().fail({"detail": str(error)}, BAD_INPUT)
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """The exit code for an error of ours, said as a sentence; a fault is nobody's to hide."""
    from httpx import InvalidURL
    from pydantic import ValidationError

    from api.client import Distrust, IdentityFault, PackageFault, ServiceRefusal, Unreachable
    from api.founding import Founded
    from api.profiles import ProfileFault
    from api.service import NotFounded
    from api.serving import Unsafe
    from keyvault.errors import KeyvaultError
    from linkage import LinkageError
    from policies import PolicyError

    match error:
        case ServiceRefusal():
            return _screen().fail(error.problem, REFUSED)
        case ProfileFault() | IdentityFault() | LinkageError() | PolicyError():
            return _screen().fail({"detail": str(error)}, BAD_INPUT)
        case Unreachable() | Distrust() | PackageFault() | KeyvaultError():
            return _screen().fail({"detail": str(error)}, REFUSED)
        case NotFounded() | Founded() | Unsafe():
            return _screen().fail({"detail": str(error)}, REFUSED)
        case ValidationError():  # of the settings; documents have errors of their own
            names = ", ".join(f"SCHAKEL_{str(one['loc'][0]).upper()}" for one in error.errors())
            return _screen().fail({"detail": f"The setting {names} can't be used."}, BAD_INPUT)
        case InvalidURL():
            text = "What was given can't stand in an address; check the ids on the command line."
            return _screen().fail({"detail": text}, BAD_INPUT)
        case OSError():
            text = f"{error.filename or 'A file or line'}: {error.strerror or 'it failed'}."
            return _screen().fail({"detail": text}, BAD_INPUT if _misnamed(error) else REFUSED)
    raise error


def _misnamed(error: OSError) -> bool:
    """Whether another file or folder on the command line would mend it."""
    return isinstance(
        error,
        FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
        | PermissionError,
    )  # fmt: skip
