"""The parts that every process of a service holds: settings, database, vault, objects, clock."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api import store
from api.custodies import custody_of
from api.objects import ObjectFault, Objects
from api.operations import Work, administration
from api.problems import Problem, problem_of
from api.settings import Clock, Settings
from api.store import Application, Dataset, Delivery, Job, Release
from keyvault.ceremonies import Signed
from keyvault.custody import Custody, Lock
from keyvault.errors import (
    CustodyError,
    EnrolmentError,
    KeyringError,
    LedgerError,
    PermitAbsentError,
    PermitChangedError,
    PermitError,
    SignatureError,
    VaultAwayError,
    VaultSealedError,
)
from keyvault.safe import Safe
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
        """Open what `schakel init` founded, with the root key in this process."""
        clock = clock or Clock()
        if not settings.root_key.exists():
            raise NotFounded(
                f"There is no service in {settings.data} yet. Run `schakel init` first."
            )
        engine = store.connect(settings.database)
        custody = custody_of(settings, engine)
        if isinstance(custody, Lock):
            raise CustodyError(
                f"The root key's custody is {custody.kind}: one process of its own holds it, and "
                "people open it there. Run `schakel serve --roles "
                "vault,api,intake,linkage,release`, then `schakel custody open`."
            )
        vault = Vault(open_safe(custody, engine, clock))
        return cls(settings, engine, vault, Objects(settings.objects), clock)

    @classmethod
    def behind_vault(cls, settings: Settings, clock: Clock, patience: float) -> "Service":
        """The same for a process of one role: the vault's process has the keys.

        That one brings the database up to date before it listens, so it is waited for.
        """
        vault = Vault.at(settings.socket, patience=patience)
        engine = store.connect(settings.database)
        return cls(settings, engine, vault, Objects(settings.objects), clock)

    @contextmanager
    def work(self, actor: Actor) -> Iterator[Work]:
        """One transaction in somebody's name; a refusal takes all of it back."""
        with _problems(), store.writing(self.engine) as session:
            yield Work(session, self.vault, self.objects, actor, self.clock.now())

    @contextmanager
    def look(self, actor: Actor) -> Iterator[Work]:
        """The same for work that changes nothing: it waits for no writer."""
        with _problems(), store.reading(self.engine) as session:
            yield Work(session, self.vault, self.objects, actor, self.clock.now())

    def rotate_root(self, actor: Actor, signed: Signed) -> int:
        """Rewrap every private half under a new root; no file is rewritten, no pseudonym changes.

        Whoever holds the root does it in transactions of its own, so none is open here meanwhile.
        """
        with self.look(actor) as work:
            work.demand("keys.rotate")
        with _problems():
            return self.vault.rotate_root(
                self.engine.begin, now=self.clock.now(), actor=actor.person, signed=signed
            )

    def rotate_role(self, actor: Actor, role: str, signed: Signed) -> dict[str, Any]:
        """The next step of the rotation of a process role's key pair.

        A job that began before the new pair was made may not know it: as long as one runs, the
        pair stays pending, and the step that comes back is `learning`.
        """
        with self.look(actor) as work:
            work.demand("keys.rotate")
            unaware = administration.jobs_before_pair(work, role)
        if unaware:
            return {"version": None, "step": "learning", "left": unaware}
        with _problems():
            return asdict(
                self.vault.rotate_role(
                    self.engine.begin, role, now=self.clock.now(), actor=actor.person, signed=signed
                )
            )

    def note_refusal(
        self, actor: Actor, problem: Problem, method: str, template: str, named: Mapping[str, Any]
    ) -> None:
        """Write a refusal into the ledger, once an hour for each person, route and type.

        All are counted; a ledger with every one of them could be filled by anybody who is known.
        """
        now, route = self.clock.now(), f"{method} {template}"
        with store.writing(self.engine) as session:
            if not store.counted_once(session, now, actor.person, route, problem.type):
                return
            facts = {"type": problem.type, "status": problem.status, "method": method}
            facts |= {"path": template, **_ours(session, named)}
            work = Work(session, self.vault, self.objects, actor, now)
            work.note("request.refused", **facts)


def open_safe(custody: Custody, engine: Engine, clock: Clock) -> Safe:
    """The safe with the root in it, and an end made to a rotation that a crash cut off."""
    safe = Safe(custody)
    with engine.begin() as connection:
        safe.publics(connection)
        safe.finish(connection, now=clock.now(), actor=None)
    return safe


def _ours(session: Session, named: Mapping[str, Any]) -> dict[str, str]:
    """The ids in a path that are those of things here; a caller's other texts stay outside."""
    return {
        name: str(value)
        for name, value in named.items()
        if (name in THINGS and session.get(THINGS[name], value) is not None)
        or (name == "permit" and session.scalar(_application_of(value)) is not None)
    }


def _application_of(permit: str) -> Select[str]:
    return select(Application.id).where(Application.permit == permit)


THINGS: Mapping[str, type[store.Base]] = {
    "application": Application,
    "dataset": Dataset,
    "delivery": Delivery,
    "job": Job,
    "release": Release,
}


@contextmanager
def _problems() -> Iterator[None]:
    """Errors of ours as the problems that they stand for."""
    try:
        yield
    except Exception as error:
        problem = as_problem(error)
        if problem is not None and problem.status < 500:
            raise problem from error
        raise


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
        case KeyringError():
            return Problem("key-stands-otherwise", str(error), "`schakel keys list` shows it.")
        case LedgerError():
            return Problem("ledger-unwritable", str(error), "Ask the office to look at its store.")
        case VaultSealedError():
            return Problem("vault-sealed", str(error), "Ask the office; nothing was lost.")
        case VaultAwayError():
            return Problem("vault-away", str(error), "Try again in a moment.")
        case ObjectFault():
            return Problem("fault", str(error), "Ask the office to look at its store.")
        case store.Unconfirmed():
            return Problem(
                "commit-unknown",
                "The disk didn't confirm the last step of this, so it may have been done or not. "
                "This process ends, and the next one sees what is there.",
                "Send it again with the same Idempotency-Key, or look how it stands.",
            )
        case OperationalError() | store.StorageGone():
            return Problem(
                "ledger-unwritable",
                "The database can't be written, and with it the ledger, so nothing was done.",
                "Try again; if it stays so, ask the office to look at its store.",
            )
    return None
