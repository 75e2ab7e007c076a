"""The commands of `schakel`, by who gives them; and what they share.

A command imports what it needs when it runs: most need little, and nobody likes to wait a second
for `--help`.
"""

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.show import Screen

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


def group(name: str, text: str) -> typer.Typer:
    """Commands that share a first word."""
    made = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made


profile_app = group("profile", "Who one is on this machine: keys and server.")
person_app = group("person", "People: enrolments, signed by two administrators.")
organisation_app = group("organisation", "Organisations.")
dataset_app = group("dataset", "Datasets: what holders can deliver.")
delivery_app = group("delivery", "Deliveries and their fault reports.")
consent_app = group("consent", "A holder's consent to the use of its datasets.")
application_app = group("application", "Requests of researchers.")
review_app = group("review", "Pairs that a human must decide about.")
permit_app = group("permit", "Permits.")
release_app = group("release", "Releases: build, clear, list.")
job_app = group("job", "Work in the background.")
keys_app = group("keys", "Keys: list, rotate.")
custody_app = group("custody", "The root key's custody: who holds it, opening it, moving it.")
ledger_app = group("ledger", "The record of everything that happened.")
roles_app = group("roles", "Process roles as users of the machine.")
plan_app = group("plan", "Plans: what the columns of files to link mean.")
sign_app = group("sign", "Sign a decision with one's own key.")


class Chosen:
    """What the options before the command said."""

    profile = "default"
    screen = Screen(as_json=False)


def the_screen() -> Screen:
    """Where this command's answer goes."""
    return Chosen.screen


@app.callback()
def options(
    profile: Annotated[str, typer.Option(help="Who one is.", envvar="SCHAKEL_PROFILE")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Options for every command."""
    Chosen.profile = profile
    Chosen.screen = Screen(as_json=as_json)


def own_profile() -> "Profile":
    """Who gives this command."""
    from api import profiles

    return profiles.load(Chosen.profile)


def connected() -> "Client":
    """A connection to the service of the chosen profile."""
    from api import profiles
    from api.client import Client

    return Client(own_profile(), keep=partial(profiles.save, Chosen.profile))


def document_in(path: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds one object."""
    try:
        document = yaml.safe_load(existing(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadInput(f"{path} is not YAML (or JSON) in UTF-8.") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path} should hold one object with named fields.")
    return document


def existing(path: Path) -> Path:
    """A file that has to be there."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name a file.")
    if not path.exists():
        raise BadInput(f"There is no file {path}.")
    return path


def confirm(
    told: dict[str, Any], last: str = "", *, yes: bool, question: str = "Sign this?"
) -> None:
    """Show what is about to be signed, the hash in the last line, and ask.

    What is shown is read from the same answer that the hash is made of.
    """
    screen = the_screen()
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


def now() -> str:
    """The present moment, as documents say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
