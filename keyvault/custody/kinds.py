"""What the vault asks of whoever holds the root, and of whoever has to open it first."""

from typing import Protocol, runtime_checkable

from keyvault.secret import Secret


class Root(Secret):
    """One version of the root key."""

    __slots__ = ()


class Custody(Protocol):
    """One or more numbered versions of the root, which never has to leave."""

    def versions(self) -> tuple[int, ...]:
        """The version numbers held, ascending; read afresh."""

    def wrap(self, version: int, data: bytes, aad: bytes) -> bytes:
        """Encrypt under one version of the root; `aad` says what is wrapped."""

    def unwrap(self, version: int, wrapped: bytes, aad: bytes) -> bytes:
        """The inverse; CustodyError for an unknown version, SealError when it doesn't open."""

    def add(self) -> int:
        """Make a new version, durable when this returns; its number was never used before."""

    def drop(self, version: int) -> None:
        """Forget a version, durably; the last one can't be dropped."""

    def afresh(self) -> "Custody":
        """The same as it would open after a new start, nothing remembered.

        CustodyError when what people hold wouldn't open it any more.
        """

    def end(self) -> None:
        """Forget everything: another custody has taken over."""


@runtime_checkable
class Lock(Protocol):
    """A custody that people have to open, one after another."""

    kind: str
    needed: int
    """How many have to say something."""

    @property
    def held(self) -> int:
        """How many have."""

    def offer(self, words: str) -> Custody | None:
        """Take what one person says; the custody when it was enough.

        CustodyError when it won't do; the message never repeats it.
        """


def context(version: int, aad: bytes) -> bytes:
    """What wrapped bytes are bound to besides their key."""
    return f"schakel/1 root {version}\n".encode() + aad


FOREIGN = (
    "What the root wrapped doesn't open: the row was changed, or the root key file belongs to "
    "another installation. Restore the two that belong together."
)
LAST = "The last root version can't be dropped; add one first."


def absent(version: int, where: object) -> str:
    """What to do about a version that isn't held."""
    return (
        f"Root version {version} is not in {where}; restore the copy of the key file that belongs "
        "to this database."
    )
