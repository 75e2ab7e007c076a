"""Key ceremonies: what people do, one after another, so that a custody comes into being.

Nothing depends on a custody before every one of its people has shown that they can open it: a
passphrase is typed again, every share is said again by the one who holds it. At a terminal what is
typed isn't shown, and a share leaves the screen before the next one comes; otherwise it is a line
of the standard input or output each. None of it is written anywhere by us.
"""

import re
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

import typer

from keyvault.custody import Custody, FileCustody, hsm, passphrase, shares
from keyvault.custody.passphrase import PassphraseLock
from keyvault.custody.shares import ShareLock
from keyvault.errors import CustodyError

Make = Callable[[Path, int], Custody]
"""Makes a custody at a path, its versions beginning with a number."""


def maker(kind: str, split: str, token: str, library: str) -> Make:
    """The ceremony for a kind of custody; `split` is `m of n`.

    CustodyError when something it takes isn't said.
    """
    if kind == "file":
        return lambda path, first: FileCustody.create(path, first=first)
    if kind == "passphrase":
        return _passphrase
    if kind == "shares":
        numbers = re.fullmatch(r"(\d{1,2}) of (\d{1,2})", split)
        if numbers is None:
            raise CustodyError(
                "Say how many custodians and how many are enough: --shares '2 of 3'."
            )
        needed, count = map(int, numbers.groups())
        return lambda path, first: _shares(path, needed, count, first)
    if kind == "hsm" and token and library:
        return lambda path, first: hsm.create(path, library, token, ask("PIN"), first=first)
    raise CustodyError(
        "A custody is file, passphrase, shares (with --shares), or hsm (with --token, its label, "
        "and --library, the file of its PKCS#11 module)."
    )


_CLEARED = "\033[2J\033[3J\033[H"
"""Clears a terminal's screen and what was scrolled off it (ECMA-48, and xterm's own 3J)."""


def ask(what: str) -> str:
    """What one person says; hidden at a terminal. CustodyError when nobody says anything."""
    if sys.stdin.isatty():
        return getpass(f"{what}: ")
    line = sys.stdin.readline()
    if not line:
        raise CustodyError(f"Nothing was said for: {what}. Give it at a terminal, or as a line.")
    return line.rstrip("\n")


def _passphrase(path: Path, first: int) -> Custody:
    said = ask("New passphrase")
    passphrase.create(path, said, first=first)
    return _proven(path, lambda: PassphraseLock(path).offer(ask("The same again")))


def _shares(path: Path, needed: int, count: int, first: int) -> Custody:
    for number, share in enumerate(shares.create(path, needed, count, first=first), 1):
        _hand_out(f"Share {number} of {count}", share)
    return _proven(path, lambda: _gathered(path, count))


def _hand_out(whose: str, share: str) -> None:
    if sys.stdin.isatty():
        input(f"{whose}: is its custodian alone at the screen? [Enter]")
        typer.echo(f"\n{share}\n")
        input("Written down, all 33 words? [Enter]")
        typer.echo(_CLEARED, nl=False)
    else:
        typer.echo(share)


def _gathered(path: Path, count: int) -> Custody:
    """Every custodian says their share again; a mistyped one can be typed again."""
    lock = ShareLock(path, everybody=True)
    while True:
        try:
            custody = lock.offer(ask(f"{lock.held + 1} of {count} custodians: your share"))
        except CustodyError as fault:
            if not sys.stdin.isatty():
                raise
            typer.echo(str(fault), err=True)
            continue
        if custody is not None:
            return custody


def _proven(path: Path, prove: Callable[[], Custody]) -> Custody:
    """A custody that wasn't proven to open is none."""
    try:
        return prove()
    except BaseException:
        path.unlink()
        raise
