"""The root under a passphrase: argon2id (RFC 9106), salt and costs kept in the file."""

import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from keyvault.custody import files
from keyvault.custody.files import FileCustody, KeyedLid
from keyvault.errors import CustodyError
from keyvault.secret import Secret
from keyvault.signing import from_base64url, to_base64url

TYPE = "schakel-root-passphrase"

SHORTEST = 12
"""Characters of a passphrase at least."""


@dataclass(frozen=True)
class Cost:
    """What one guess costs: memory in KiB, passes over it, lanes. A second on one core here."""

    memory: int = 1 << 17
    passes: int = 4
    lanes: int = 4


def create(path: Path, passphrase: str, *, first: int = 1, cost: Cost | None = None) -> FileCustody:
    """Make the file, with one version, under a new passphrase."""
    if len(_normal(passphrase)) < SHORTEST:
        raise CustodyError(f"A passphrase has {SHORTEST} characters or more; six words are better.")
    lock = {"kdf": "argon2id", "salt": to_base64url(os.urandom(16)), **asdict(cost or Cost())}
    return FileCustody.create(path, _lid(lock, passphrase), first=first)


class PassphraseLock:
    """Waits for the passphrase."""

    kind = "passphrase"
    needed = 1
    held = 0

    def __init__(self, path: Path) -> None:
        self._path = Path(path)

    def offer(self, words: str) -> FileCustody:
        """Open the file; CustodyError for another passphrase."""
        file = files.read(self._path)
        try:
            lid = _lid(file["lock"], words)
        except (KeyError, TypeError, ValueError, HashingError):
            raise CustodyError(files.damaged(self._path)) from None
        if not lid.fits(file):
            raise CustodyError("That is not the passphrase; try again.")
        return FileCustody.open(self._path, lid)


def _lid(lock: dict[str, object], passphrase: str) -> KeyedLid:
    key = hash_secret_raw(
        _normal(passphrase).encode(errors="surrogatepass"),
        from_base64url(str(lock["salt"])),
        time_cost=int(str(lock["passes"])),
        memory_cost=int(str(lock["memory"])),
        parallelism=int(str(lock["lanes"])),
        hash_len=32,
        type=Type.ID,
    )
    return KeyedLid(TYPE, lock, Secret(key))


def _normal(passphrase: str) -> str:
    """The same text whichever keyboard typed it (NFC, as RFC 8265 has it for passwords)."""
    return unicodedata.normalize("NFC", passphrase)
