"""The root key's custody: what its custodians do, at the machine of the vault."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import custody_app, the_screen
from api.commands.keys import signed_in

if TYPE_CHECKING:
    from keyvault.proxy import Proxy

KindOption = Annotated[
    str,
    typer.Option(
        "--custody", help="Who holds the root key: a file, a passphrase, shares, or a token (hsm)."
    ),
]
SharesOption = Annotated[
    str, typer.Option(help="How many custodians are enough, of how many: `2 of 3`.")
]
TokenOption = Annotated[str, typer.Option(help="The token's label, for hsm.")]
LibraryOption = Annotated[str, typer.Option(help="The token's PKCS#11 module, for hsm.")]
DataOption = Annotated[Path | None, typer.Option(help="Where the service keeps everything.")]


@custody_app.command("show")
def show(data: DataOption = None) -> None:
    """Whether the vault is sealed, and how many custodians are awaited."""
    proxy = _vault(data)
    state = proxy.state()
    proxy.close()
    the_screen().answer(state, text=_told(state))


@custody_app.command("open")
def open_vault(data: DataOption = None) -> None:
    """Say what one custodian holds to a sealed vault: passphrase, share or PIN."""
    from api import ceremonies

    proxy = _vault(data)
    state = proxy.state()
    if state["sealed"]:
        what = {"passphrase": "Passphrase", "shares": "Your share", "hsm": "PIN"}
        state = proxy.offer(ceremonies.ask(what[state["custody"]]))
    proxy.close()
    the_screen().answer(state, text=_told(state))


@custody_app.command("move")
def move(
    ceremony: Annotated[
        Path, typer.Argument(help="`keys propose move root`, signed by two administrators.")
    ],
    custody: KindOption,
    shares: SharesOption = "2 of 3",
    token: TokenOption = "",
    library: LibraryOption = "",
    data: DataOption = None,
) -> None:
    """Move the root key to another custody, or to new people, while the service is stopped.

    A new root is made there; copies of the old one open nothing any more. No pseudonym changes.
    This is also how a passphrase is changed, or the custodians.
    """
    from api import ceremonies, custodies, store
    from api.settings import Clock, Settings
    from keyvault.memory import close_memory

    close_memory()
    settings = Settings(data=data) if data else Settings()
    signed = signed_in(ceremony)
    make = ceremonies.maker(custody, shares, token, library)
    engine = store.connect(settings.database)
    with custodies.holding(settings, alone=True):
        before = custodies.opened(custodies.custody_of(settings, engine))
        version = custodies.move(settings, engine, before, make, custody, signed, Clock().now())
    engine.dispose()
    the_screen().answer(
        {"custody": custody, "root_version": version},
        text=f"The root key is at version {version}, in custody by {custody}, and opens from "
        "there. Make a new copy of the key file and destroy the earlier ones, with what opened "
        "them.",
    )


def _vault(data: Path | None) -> "Proxy":
    from api.settings import Settings
    from keyvault.memory import close_memory
    from keyvault.proxy import Proxy

    close_memory()
    settings = Settings(data=data) if data else Settings()
    return Proxy(settings.socket)


def _told(state: dict[str, Any]) -> str:
    if not state["sealed"]:
        return f"The vault is open. Its root key's custody: {state['custody']}."
    missing = state["needed"] - state["held"]
    return (
        f"The vault is sealed ({state['custody']}): {state['held']} of {state['needed']} custodians"
        f" came, {missing} more: `schakel custody open`."
    )
