"""Bytes that never show.

A `Secret` has no repr of its content, can't be pickled, copied or compared, and gives its bytes
only to `reveal`, which nothing outside keyvault imports (a test walks the sources). What Python
can't promise is to wipe memory; a process that shouldn't know a key is never given it.
"""

from typing import NoReturn, SupportsIndex

MAC_PURPOSES = frozenset({"subject-id", "pseudonym"})
"""Purposes of keys that compute subject ids and pseudonyms, and never seal anything."""

SIGNING_PURPOSES = ("permit", "receipt", "token", "ledger", "job")
"""Purposes of the service's own Ed25519 keys."""

AGE_PURPOSE = "intake-identity"
"""Purpose of the age identity that uploads are encrypted to."""


class Secret:
    """Some bytes in memory that only keyvault reads."""

    __slots__ = ("_secret_bytes",)

    def __init__(self, data: bytes) -> None:
        self._secret_bytes = data

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, bytes hidden>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"A {type(self).__name__} can't be pickled or copied.")


class FileKey(Secret):
    """An opened key: 32 bytes with the purpose and owner it was sealed for.

    Functions that take one look at its purpose, so that a key for pseudonyms can't seal a file.
    """

    __slots__ = ("owner", "purpose")

    def __init__(self, data: bytes, purpose: str, owner: str) -> None:
        super().__init__(data)
        self.purpose = purpose
        self.owner = owner

    def __repr__(self) -> str:
        return f"<FileKey {self.purpose} of {self.owner}, bytes hidden>"


def reveal(secret: Secret) -> bytes:
    """The bytes themselves; for use inside keyvault only."""
    return secret._secret_bytes
