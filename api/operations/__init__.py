"""Everything a person or program can ask for, one function each.

Every operation takes a `Work` first: the transaction it is part of, the vault, the stored objects,
who asks and what time it is. It checks access, does its work, writes the ledger entry in the same
transaction and hands domain values back. Routes, jobs and CLI only authenticate, call, render.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.objects import Objects
from api.problems import ABSENT, refuse
from api.store import StoredObject
from keyvault.keyring import SealedKey, store_key
from keyvault.ledger import Entry
from keyvault.vault import Vault
from policies import access
from policies.access import Actor, Thing

Progress = Callable[[str, float], None]
"""Hears the stage that a long piece of work is in, and how far that is (0 to 1)."""


@dataclass(frozen=True)
class Stored:
    """An object on the disk that no row refers to yet; a crash now makes it an orphan."""

    name: str
    sha256: str
    key: SealedKey | None = None


@dataclass(frozen=True)
class Work:
    """One piece of work: its transaction, its tools, who asks for it and when."""

    session: Session
    vault: Vault
    objects: Objects
    actor: Actor
    now: datetime

    def demand(self, action: str, thing: Thing | None = None) -> None:
        """Raise the refusal if the actor may not do this."""
        refuse(access.refusal(self.actor, action, thing or Thing()))

    def note(self, kind: str, **facts: Any) -> Entry:
        """Write what happens into the ledger, in the transaction in which it happens."""
        connection = self.session.connection()
        ledger = self.vault.ledger(connection)
        return ledger.append(connection, kind, facts, actor=self.actor.person or None, now=self.now)

    def recorded(self, stored: Stored, kind: str) -> str:
        """Record a stored object and its key, so that both are meant to be there; its name."""
        key = stored.key and store_key(self.session.connection(), stored.key, now=self.now)
        self.session.add(StoredObject(name=stored.name, sha256=stored.sha256, kind=kind, key=key))
        self.session.flush()
        return stored.name


NOBODY = Actor("", "", frozenset())
"""Who does what the service does by itself; the ledger names no actor then."""

ABSENT_THING = Thing(organisation="\0", members=frozenset({"\0"}))
"""What isn't there belongs to nobody, so that asking for it is refused like asking for others'."""


def found(thing: Any) -> Any:
    """The thing, or the one answer that absent and hidden things share."""
    if thing is None:
        raise ABSENT
    return thing
