"""`schakel serve --demo`: the story played small, and its service left running for who comes by.

A folder of its own holds the service, a CLI profile for each role, the researchers' age identities
and a file to check. It is played once; started again, the same service goes on.
"""

import json
import shutil
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from api import profiles, serving
from api.demo.cast import ORGANISATIONS, PEOPLE, Cast
from api.demo.population import PERIODS
from api.demo.story import Story
from api.settings import Settings

SEED = 2026
_MARK = "open-house.json"


class NotPrepared(Exception):  # noqa: N818 - the state it is in
    """The folder isn't a demo's, or the port is taken."""


@dataclass(frozen=True)
class _LooseEnds:
    """What is left for people to do: ids of an application to advise on and one to decide, of a
    permit, of a release to clear and of one to download."""

    to_advise: str
    to_decide: str
    permit: str
    to_clear: str
    to_download: str


def serve(folder: Path, settings: Settings, persons: int, console: Console) -> None:
    """Play the story into the folder unless it was before, say who can do what, and serve.

    Raises NotPrepared, before anything is played, when the folder or the port can't be used.
    """
    serving.check_transport(settings)
    _refuse_taken(settings)
    ends = _played(folder) or _play(folder, persons, console)
    settings = settings.model_copy(update={"data": folder / "service"})
    _address(folder, f"http://{settings.host}:{settings.port}")
    _tell(folder, ends, console)
    serving.serve(settings)


def _refuse_taken(settings: Settings) -> None:
    """The profiles name a port, so it has to be a known one and free."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((settings.host, settings.port))
        except OSError:
            raise NotPrepared(
                f"Port {settings.port} is taken; choose another with --port."
            ) from None
    if settings.port == 0:
        raise NotPrepared("Profiles need a port to name; choose one with --port.")


def _played(folder: Path) -> _LooseEnds | None:
    """What an earlier start left to do; None when the story has to be played (again)."""
    mark = folder / _MARK
    if mark.exists():
        told = json.loads(mark.read_text(encoding="utf-8"))
        return _LooseEnds(**told) if told else None
    if folder.exists() and list(folder.iterdir()):
        raise NotPrepared(f"{folder} holds something else; choose another folder with --data.")
    return None


def _play(folder: Path, persons: int, console: Console) -> _LooseEnds:
    shutil.rmtree(folder, ignore_errors=True)  # of a start that was cut off
    folder.mkdir(parents=True, mode=0o700)
    mark = folder / _MARK
    mark.write_text("null\n", encoding="utf-8")
    story = Story(persons, SEED, folder, console)
    with Cast(folder) as cast:
        story.play(cast)
        ends = _leave(story, cast)
        _keep(folder, cast)
    story.finish()
    file = story.truths["employment-service", "2024"]
    (folder / "employment-service-2024.csv").write_bytes(file.content)
    mark.write_text(json.dumps(asdict(ends)) + "\n", encoding="utf-8")
    return ends


def _leave(story: Story, cast: Cast) -> _LooseEnds:
    """Begin what others may finish."""
    story.say("\nSomething is left to do for everybody.")
    wished = [
        story.apply(
            cast, "researcher-2", story.application(cast, project, "researcher-2", title=title)
        )
        for project, title in (
            ("apprentices", "Apprentices a year later"),
            ("commuters", "Who works far from home"),
        )
    ]
    story.advise(cast, wished[1])
    given = cast["statistician-1"].get(f"/releases/{story.newest_release}")
    waiting = story.build(cast, given["permit"], given["period"])
    return _LooseEnds(
        to_advise=wished[0]["id"],
        to_decide=wished[1]["id"],
        permit=given["permit"],
        to_clear=waiting["id"],
        to_download=given["id"],
    )


def _keep(folder: Path, cast: Cast) -> None:
    """Profiles and identities of everybody, readable by their owner alone."""
    for person, profile in cast.profiles.items():
        profiles.save(person, profile, within=folder / "profiles")
    for person, identity in cast.identities.items():
        file = folder / f"{person}.identity"
        file.touch(mode=0o600)
        file.write_text(f"{identity}\n", encoding="utf-8")


def _address(folder: Path, server: str) -> None:
    """Have every profile name the address that is served this time."""
    within = folder / "profiles"
    for file in within.glob("*.json"):
        profile = profiles.load(file.stem, within)
        if profile.server != server:
            profiles.save(file.stem, replace(profile, server=server), within=within)


def _tell(folder: Path, ends: _LooseEnds, console: Console) -> None:
    rows = [
        (person, _organisation(person), f"schakel --profile {person} {command}")
        for person, command in _commands(folder, ends).items()
    ]
    table = Table(title="Who can do what", box=None, title_justify="left")
    for place, name in enumerate(("profile", "of", "to try")):
        width = max(len(row[place]) for row in rows)  # commands are there to be copied whole
        table.add_column(name, no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table, crop=False)
    console.print(
        "\nIn another terminal, first:\n"
        f"  export SCHAKEL_PROFILES={folder.resolve() / 'profiles'}\n"
        "Ctrl-C ends the service; the same command starts it again.\n",
        markup=False,
        soft_wrap=True,
    )


def _organisation(person: str) -> str:
    identifier = PEOPLE.get(person, ("office", []))[0]
    return "the office" if identifier == "office" else ORGANISATIONS[identifier].partition(",")[0]


def _commands(folder: Path, ends: _LooseEnds) -> Mapping[str, str]:
    """Something to try for each role, by profile."""
    lists = {person: "delivery list" for person in PEOPLE if person.startswith("holder-")}
    return {
        **lists,
        "researcher-1": f"download {ends.to_download} "
        f"--identity {folder / 'researcher-1.identity'} --out {folder / 'package'}",
        "researcher-2": "application list",
        "dpo-1": f"sign advice {ends.to_advise} --text Proportionate.",
        "director-1": f"sign approval {ends.to_decide} --reason Agreed.",
        "statistician-1": f"release build {ends.permit} --period {PERIODS[0]}",
        "statistician-2": f"release clear {ends.to_clear}",
        "admin-1": "person list",
        "admin-2": "keys list",
        "auditor-1": "ledger verify",
    }
