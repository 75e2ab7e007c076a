"""Who holds the root.

The root key wraps the private halves of the role keys and the founding administrators, and
nothing else. A custody holds one or more numbered versions of it. Which version is in use is
written in the database, beside what is wrapped, so that there is one truth: a rotation adds a
version here, rewraps there, and drops the old version here once the database has let go of it.
A crash between any two of these steps leaves both versions here, and either is found by number.

    file         a file of mode 0600; opens by itself                            `files`
    passphrase   the same file, locked by a passphrase (argon2id)                `passphrase`
    shares       the same file, locked by a key that m of n custodians share     `shares`
    hsm          keys on a PKCS#11 token that never leave it; opened by its PIN  `hsm`

Each is described by one file, whose `type` says which it is. All but the first start locked: a
`Lock` takes what people say, one after another, and gives the custody when it was enough. None of
it is written anywhere, nor repeated in an error. What the root wraps moves from one custody to
another under a new version made there, so that no root is ever carried about.
"""

from pathlib import Path

from keyvault.custody import files, hsm, passphrase, shares
from keyvault.custody.files import FileCustody, sync_folder
from keyvault.custody.kinds import Custody, Lock
from keyvault.errors import CustodyError

__all__ = ["KINDS", "Custody", "FileCustody", "Lock", "custody_at", "last_version", "sync_folder"]

KINDS = ("file", "passphrase", "shares", "hsm")
"""The custodies there are."""


def custody_at(path: Path) -> Custody | Lock:
    """The custody that a file describes, or what has to be opened first.

    CustodyError when it is absent, damaged or readable by others.
    """
    match files.read(path)["type"]:
        case files.TYPE:
            return FileCustody.open(path)
        case passphrase.TYPE:
            return passphrase.PassphraseLock(path)
        case shares.TYPE:
            return shares.ShareLock(path)
        case hsm.TYPE:
            return hsm.PinLock(path)
        case _:
            raise CustodyError(f"{path} is of a later version of this program; use that one.")


def last_version(path: Path) -> int:
    """The highest root version ever given by the custody that a file describes."""
    last = files.read(path).get("last")
    if type(last) is not int:
        raise CustodyError(files.damaged(path))
    return last
