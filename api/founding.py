"""How a service begins, and what can be read of it without asking it."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config

from api import store
from api.service import NotFounded
from api.settings import Settings
from api.store import Organisation
from keyvault import ledger as ledgers
from keyvault.custody import Custody, FileCustody, Lock, custody_at
from keyvault.errors import CustodyError
from keyvault.vault import Vault

OFFICE = "office"
"""The organisation of the office's own people; founders belong to it."""


class Founded(Exception):  # noqa: N818 - the state it is in
    """There is a service in this folder already."""


def migrate(settings: Settings) -> None:
    """Bring the database to the tables of this version of the program."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = settings.database
    command.upgrade(config, "head")


def found(
    settings: Settings,
    requests: list[dict[str, Any]],
    now: datetime,
    make: Callable[[Path, int], Custody] | None = None,
) -> dict[str, Any]:
    """Make folder, root key, database and vault; the founders' keys are sealed with the root.

    `make` is the ceremony that makes another custody than a file at a path.

    `requests` are enrolment requests (public keys only), of two people or more. A first start that
    was cut off can be started again; one that was finished can't.
    """
    for folder in (settings.data, settings.root_key.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:  # it was there, open to others
            folder.chmod(0o700)
    migrate(settings)
    engine = store.connect(settings.database)
    with store.writing(engine) as session:
        if session.get(Organisation, OFFICE) is not None:
            raise Founded(
                f"There is a service in {settings.data} already; `schakel serve` starts it."
            )
        custody = _custody(settings.root_key, make)
        session.add(Organisation(id=OFFICE, name="The office", added_at=now))
        session.flush()
        founders = [
            {
                "type": "enrolment",
                "version": 1,
                **request,
                "organisation": OFFICE,
                "roles": ["administrator"],
                "at": now.isoformat(timespec="seconds"),
            }
            for request in requests
        ]
        Vault.found(session.connection(), custody, founders, now=now)
    engine.dispose()
    return {
        "data": str(settings.data),
        "root_key": str(settings.root_key),
        "administrators": [founder["person"] for founder in founders],
    }


def _custody(path: Path, make: Callable[[Path, int], Custody] | None) -> Custody:
    """A new custody; a file's that a first start left before it was cut off is taken up again."""
    if not path.exists():
        return make(path, 1) if make else FileCustody.create(path)
    custody = custody_at(path)
    if isinstance(custody, Lock):
        raise CustodyError(
            f"A first start that was cut off left {path}. Nothing depends on it: remove it, tell "
            "its custodians to destroy what they hold, and found the service again."
        )
    return custody


def ledger_of(settings: Settings) -> dict[str, Any]:
    """The ledger of the service in a folder, read straight from its database."""
    if not settings.root_key.is_file():
        raise NotFounded(f"There is no service in {settings.data}.")
    engine = store.connect(settings.database)
    try:
        with store.reading(engine) as session:
            connection = session.connection()
            custody = custody_at(settings.root_key)
            vault = (
                Vault.at(settings.socket)
                if isinstance(custody, Lock)
                else Vault.open(connection, custody)
            )
            return {
                "entries": [
                    {"leaf": entry.leaf.decode(), "checkpoint": entry.checkpoint}
                    for entry in ledgers.stored_entries(connection)
                ],
                "checkpoint": ledgers.latest_checkpoint(connection),
                "size": ledgers.size(connection),
                "ledger": vault.public_keys(connection)["ledger"],
                "tiles": [asdict(fault) for fault in ledgers.tile_problems(connection)],
            }
    finally:
        engine.dispose()
