"""The parts that every process of a service holds: settings, database, vault, objects, clock."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from api import store
from api.objects import ObjectFault, Objects
from api.operations import Work
from api.problems import Problem, problem_of
from api.settings import Clock, Settings
from keyvault.custody import FileCustody
from keyvault.errors import (
    EnrolmentError,
    LedgerError,
    PermitAbsentError,
    PermitChangedError,
    PermitError,
    SignatureError,
)
from keyvault.vault import Vault
from policies.access import Actor
from policies.refusals import Refused


class NotFounded(Exception):  # noqa: N818 - the state it is in
    """There is no service in this folder yet; `schakel init` founds one."""


@dataclass(frozen=True)
class Service:
    """One process's hold on a service."""

    settings: Settings
    engine: Engine
    vault: Vault
    objects: Objects
    clock: Clock

    @classmethod
    def open(cls, settings: Settings, clock: Clock | None = None) -> "Service":
        """Open what `schakel init` founded."""
        if not settings.root_key.exists():
            raise NotFounded(
                f"There is no service in {settings.data} yet. Run `schakel init` first."
            )
        engine = store.connect(settings.database)
        with engine.begin() as connection:
            vault = Vault.open(connection, FileCustody.open(settings.root_key))
        return cls(settings, engine, vault, Objects(settings.objects), clock or Clock())

    @contextmanager
    def work(self, actor: Actor) -> Iterator[Work]:
        """One transaction in somebody's name; a refusal is written down after it was taken back."""
        with self._refusals_noted(actor), store.writing(self.engine) as session:
            yield Work(session, self.vault, self.objects, actor, self.clock.now())

    @contextmanager
    def look(self, actor: Actor) -> Iterator[Work]:
        """The same for work that changes nothing: it waits for no writer."""
        with self._refusals_noted(actor), store.reading(self.engine) as session:
            yield Work(session, self.vault, self.objects, actor, self.clock.now())

    @contextmanager
    def _refusals_noted(self, actor: Actor) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            problem = as_problem(error)
            if problem is not None and problem.status < 500:
                self.note_refusal(actor, problem)
                raise problem from error
            raise

    def note_refusal(self, actor: Actor, problem: Problem, **facts: Any) -> None:
        """A refusal of somebody known is an event like any other."""
        with store.writing(self.engine) as session:
            connection = session.connection()
            self.vault.ledger(connection).append(
                connection,
                "request.refused",
                {"type": problem.type, "status": problem.status, **facts},
                actor=actor.person,
                now=self.clock.now(),
            )


def whereabouts(error: BaseException) -> str:
    """Kind of an error and the line it came from: what a log may say, its text may hold data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


NEEDS_PERMIT = "A researcher applies (`schakel apply`); an approval makes the vault seal a permit."


def as_problem(error: Exception) -> Problem | None:
    """The problem that an error of ours stands for, or None for a fault: mapped once, here."""
    match error:
        case Problem():
            return error
        case Refused():
            return problem_of(error.refusal)
        case PermitAbsentError():
            return Problem("no-permit", str(error), NEEDS_PERMIT)
        case PermitChangedError():
            return Problem("permit-changed", str(error), "Nothing happens under it meanwhile.")
        case PermitError():
            return Problem("permit-not-in-force", str(error), "`schakel permit show` tells more.")
        case EnrolmentError():
            return Problem("needs-two-administrators", str(error), "")
        case SignatureError():
            return Problem("bad-signature", str(error), "Sign the document as it stands now.")
        case LedgerError():
            return Problem("ledger-unwritable", str(error), "Ask the office to look at its store.")
        case ObjectFault():
            return Problem("fault", str(error), "Ask the office to look at its store.")
        case OperationalError():
            return Problem(
                "ledger-unwritable",
                "The database can't be written, and with it the ledger, so nothing was done.",
                "Try again; if it stays so, ask the office to look at its store.",
            )
    return None
