"""Who one is on this machine: keys and server of a person, in one file that only they can read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.signing import from_base64url, public_text, sign, to_base64url


class ProfileFault(Exception):  # noqa: N818 - what is wrong with it
    """The profile can't be used."""


def folder() -> Path:
    """Where profiles live: SCHAKEL_PROFILES, or the usual place for settings."""
    chosen = os.environ.get("SCHAKEL_PROFILES")
    base = os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config"))
    return Path(chosen) if chosen else Path(base) / "schakel" / "profiles"


@dataclass(frozen=True)
class Profile:
    """A person's keys, the server they talk to, and what they remember of its ledger."""

    person: str
    name: str
    signing_key: str = field(repr=False)
    authentication_key: str = field(repr=False)
    server: str
    checkpoint: str | None = None
    """The checkpoint on the last receipt: what a rewritten ledger can't agree with."""
    service: dict[str, Any] | None = None
    """Public keys that the service is known by since the first time it was spoken to."""

    @classmethod
    def new(cls, person: str, name: str, server: str) -> "Profile":
        """Fresh keys: one to prove who one is, one to sign decisions with."""
        return cls(person, name, _new_key(), _new_key(), server)

    def request(self) -> dict[str, Any]:
        """What administrators need in order to enrol this person: public halves only."""
        return {
            "person": self.person,
            "name": self.name,
            "signing_key": public_text(private_key(self.signing_key)),
            "authentication_key": public_text(private_key(self.authentication_key)),
        }

    def sign(self, document: dict[str, Any]) -> dict[str, Any]:
        """This person's signature on a document."""
        return sign(document, private_key(self.signing_key), person=self.person)

    def with_checkpoint(self, checkpoint: str) -> "Profile":
        """The same person, remembering more."""
        return replace(self, checkpoint=checkpoint)


def _new_key() -> str:
    return to_base64url(Ed25519PrivateKey.generate().private_bytes_raw())


def private_key(text: str) -> Ed25519PrivateKey:
    """A private key from the text that a profile keeps it as."""
    return Ed25519PrivateKey.from_private_bytes(from_base64url(text))


def path(name: str, within: Path | None = None) -> Path:
    """The file of a profile, in a folder of one's own or the usual one; a name is no path."""
    if not name or "/" in name or name.startswith("."):
        raise ProfileFault("A profile's name is one word.")
    return (within or folder()) / f"{name}.json"


def save(name: str, profile: Profile, *, new: bool = False, within: Path | None = None) -> Path:
    """Write a profile so that only its owner reads it; a new one replaces nothing."""
    target = path(name, within)
    if new and target.exists():
        raise ProfileFault(
            f"There is a profile {name} already; choose another name for the new one."
        )
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = target.with_suffix(f".{os.getpid()}.new")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(profile), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(target)
    return target


@contextmanager
def kept(made: list[Profile]) -> Iterator[None]:
    """New profiles under their persons' ids, taken back if what they were made for fails."""
    written: list[Path] = []
    try:
        for profile in made:
            written.append(save(profile.person, profile, new=True))
        yield
    except BaseException:
        for file in written:
            file.unlink()
        raise


def load(name: str, within: Path | None = None) -> Profile:
    """Read a profile by name."""
    target = path(name, within)
    if not target.exists():
        raise ProfileFault(
            f"There is no profile {name}. `schakel profile list` shows which there are; "
            "`schakel profile new` makes one."
        )
    try:
        profile = Profile(**json.loads(target.read_text(encoding="utf-8")))
        profile.request()  # its keys are keys
    except (ValueError, TypeError, AttributeError):
        raise ProfileFault(
            f"The profile {name} can't be read: {target} was changed or cut short. Put a copy "
            "back, or move it away and be enrolled with a new one (`schakel profile new`)."
        ) from None
    return profile


def names() -> list[str]:
    """The profiles on this machine."""
    return sorted(entry.stem for entry in folder().glob("*.json")) if folder().is_dir() else []
