"""The root under a key that m of n custodians share: SLIP-39 mnemonics of 33 words.

What is split is the lid's key, not the root: a root's rotation leaves every share as it is, so
that none can be lost by it. Any m of the n open it. That each of them does is proven without trying
every choice: shares lie on one polynomial of degree m-1, which m of them fix; another share lies on
it if and only if it gives the same secret with m-1 of those (the secret is the m-th point).
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from keyvault.custody import files
from keyvault.custody.files import FileCustody, KeyedLid
from keyvault.errors import CustodyError
from keyvault.secret import Secret, reveal

TYPE = "schakel-root-shares"

MOST = 16
"""Custodians at most (SLIP-39)."""


def create(path: Path, needed: int, count: int, *, first: int = 1) -> list[str]:
    """Make the file, with one version, under a new key; the shares of its custodians come back.

    They are nowhere else: hand each to one custodian, and have all of them said again
    (`ShareLock` of everybody) before anything depends on them.
    """
    if not 2 <= needed <= count <= MOST:
        raise CustodyError(
            f"Shares are m of n with 2 ≤ m ≤ n ≤ {MOST}: with one alone it is a passphrase, and "
            "nobody is missed."
        )
    slip39, key = _slip39(), os.urandom(32)
    mnemonics = slip39.generate_mnemonics(1, [(needed, count)], key, iteration_exponent=0)[0]
    split = slip39.Share.from_mnemonic(mnemonics[0]).identifier
    lock = {"scheme": "slip39", "needed": needed, "count": count, "split": split}
    FileCustody.create(path, KeyedLid(TYPE, lock, Secret(key)), first=first)
    return list(mnemonics)


class ShareLock:
    """Waits for m custodians; for all n when that is to prove that every one of them can."""

    kind = "shares"

    def __init__(self, path: Path, *, everybody: bool = False) -> None:
        self._path = Path(path)
        file = files.read(self._path)
        try:
            self._lock: dict[str, Any] = dict(file["lock"])
            self._enough, self._split = int(self._lock["needed"]), int(self._lock["split"])
            self.needed = int(self._lock["count"]) if everybody else self._enough
        except (TypeError, ValueError, KeyError):
            raise CustodyError(files.damaged(self._path)) from None
        self._given: dict[int, Secret] = {}

    @property
    def held(self) -> int:
        """How many custodians have given their share."""
        return len(self._given)

    def offer(self, words: str) -> FileCustody | None:
        """Take one share; when they are enough, open the file with them and forget them."""
        index = self._index(words)
        if index in self._given:
            raise CustodyError("That share was given already; another custodian's is needed.")
        self._given[index] = Secret(words.encode())
        if len(self._given) < self.needed:
            return None
        given, self._given = list(self._given.values()), {}
        return self._open(given)

    def _open(self, given: Sequence[Secret]) -> FileCustody:
        """CustodyError unless each of the shares opens the file."""
        file = files.read(self._path)
        known = given[: self._enough - 1]
        for another in islice(given, self._enough - 1, None):
            lid = KeyedLid(TYPE, self._lock, _combined([*known, another]))
            if not lid.fits(file):
                raise CustodyError(_WRONG)
        return FileCustody.open(self._path, lid)

    def _index(self, words: str) -> int:
        """Which custodian's share it is."""
        slip39, share = _slip39(), None
        with suppress(slip39.MnemonicError, ValueError):  # whose text quotes words of the share
            share = slip39.Share.from_mnemonic(words)
        if share is None:
            raise CustodyError(
                "Those words are no share; look whether one is mistyped or left out."
            )
        if share.identifier != self._split or share.member_threshold != self._enough:
            raise CustodyError("That is a share of another key; look for the one of this ceremony.")
        return int(share.index)


_WRONG = (
    "One of the shares is not what was handed out. None is kept: begin again, and leave out one "
    "custodian at a time to find which."
)


def _combined(shares: Sequence[Secret]) -> Secret:
    slip39, key = _slip39(), None
    with suppress(slip39.MnemonicError):  # its text quotes words of a share
        key = slip39.combine_mnemonics([reveal(share).decode() for share in shares])
    if key is None:
        raise CustodyError(_WRONG)
    return Secret(key)


def _slip39() -> Any:
    try:
        return import_module("shamir_mnemonic")
    except ImportError:
        raise CustodyError(
            "Custody by shares takes the package shamir-mnemonic: pip install 'schakel[shares]'."
        ) from None
