"""Founding and running a service, and something to try it with."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands import DEFAULT_SERVER, BadInput, app, document_in, roles_app, the_screen
from api.commands.custody import KindOption, LibraryOption, SharesOption, TokenOption

if TYPE_CHECKING:
    from api.settings import Settings


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
    custody: KindOption = "file",
    shares: SharesOption = "2 of 3",
    token: TokenOption = "",
    library: LibraryOption = "",
) -> None:
    """Found a service: database, root key, and its first administrators."""
    from api import ceremonies, founding, profiles
    from api.profiles import Profile
    from api.settings import Settings
    from keyvault.memory import close_memory

    close_memory()
    settings = Settings(data=data) if data else Settings()
    requests, made = [], []
    for item in administrator:
        person, separator, name = item.partition("=")
        if separator:
            made.append(Profile.new(person, name, server))
            requests.append(made[-1].request())
        else:
            requests.append(document_in(Path(item)))
    with profiles.kept(made):  # before the founding, which without these keys is nobody's
        make = ceremonies.maker(custody, shares, token, library)
        told = founding.found(settings, requests, datetime.now(UTC), make)
    names = [profile.person for profile in made]
    the_screen().answer(
        {**told, "profiles": names},
        text=(
            f"A service was founded in {settings.data}.\n"
            f"{_kept(custody, settings)}\n"
            f"Administrators: {', '.join(told['administrators'])}"
            + (f"; their keys are in the profiles {', '.join(names)}." if made else ".")
            + f"\nNext: `{'schakel serve' if custody == 'file' else APART}`."
        ),
    )


APART = "schakel serve --roles vault,api,intake,linkage,release` and `schakel custody open"


def _kept(custody: str, settings: "Settings") -> str:
    """Where the root key is, and what to do so that it isn't lost."""
    file = (
        f"in {settings.root_key}, readable by you alone: keep a copy of it elsewhere, apart from "
        "copies of the data. Without it nothing can be opened."
    )
    return {
        "file": f"Its root key is {file}",
        "hsm": f"Its root key is on the token, and stays there. Which token stands {file}",
    }.get(custody, f"Its root key, locked, is {file} Nor without what its custodians hold.")


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
    roles: Annotated[
        str,
        typer.Option(
            help="Process roles to run, comma separated: vault, api, intake, linkage, release, "
            "identified. All of them in two processes unless given."
        ),
    ] = "",
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Play the demo first, in a folder of its own, and leave it running with a "
            "profile for each role.",
        ),
    ] = False,
    persons: Annotated[int, typer.Option(help="Size of the demo's population.")] = 2000,
) -> None:
    """Start the API and its worker, or the processes of some roles."""
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
    chosen = [role.strip() for role in roles.split(",") if role.strip()]
    if demo:
        _serve_demo(data or Path("var/demo-service"), settings, persons, chosen)
    else:
        serving.serve(settings, roles=chosen)


def _serve_demo(folder: Path, settings: "Settings", persons: int, roles: list[str]) -> None:
    from rich.console import Console

    from api.demo import openhouse

    if roles:
        raise BadInput("The demo's service plays every role; --demo and --roles don't go together.")
    try:
        openhouse.serve(folder, settings, persons, Console(highlight=False))
    except openhouse.NotPrepared as fault:
        raise BadInput(str(fault)) from None


@roles_app.command("prepare")
def prepare(
    users: Annotated[
        str,
        typer.Option(
            help="Which user each role runs as: vault=U,api=U,intake=U,linkage=U,release=U,"
            "identified=U; names or numbers."
        ),
    ],
    group: Annotated[str, typer.Option(help="The group that these users share; name or number.")],
    data: Annotated[Path | None, typer.Option(help="Where the service keeps everything.")] = None,
) -> None:
    """Give a founded service's files to the users of its roles; as root, while nothing runs."""
    from api import roles
    from api.settings import Settings

    settings = Settings(data=data) if data else Settings()
    roles.prepare(settings, roles.read_users(users), roles.read_group(group))
    the_screen().answer(
        {"data": str(settings.data), "role_users": users},
        text=(
            f"The files in {settings.data} are these users' now. Start each role as its user, in "
            f"the group {group} besides its own:\n"
            f"SCHAKEL_ROLE_USERS={users} schakel serve --roles vault, then the others."
        ),
    )


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
    the_screen().answer(
        {"files": [str(path) for path in written]},
        text="\n".join(str(path) for path in written),
    )
