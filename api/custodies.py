"""Which custody the root key is in, and moving it to another.

`root.json` describes the custody in use. A move makes the new one beside it, `root.next.json`, has
its people prove that they can open it, and then in one transaction wraps under its root what was
wrapped under the old one. From that commit on the new one is in use; that it takes the other's
place is finished by the next start, if a crash comes between. No root is carried from one to the
other, and no pseudonym changes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from api.ceremonies import Make, ask
from api.settings import Settings
from keyvault.ceremonies import Signed
from keyvault.custody import Custody, Lock, custody_at, last_version, sync_folder
from keyvault.errors import CustodyError
from keyvault.safe import Safe
from keyvault.wrapping import active_root


def custody_of(settings: Settings, engine: Engine) -> Custody | Lock:
    """The custody in use, or what has to be opened first; an end is made to a move."""
    path, after = settings.root_key, _next(settings.root_key)
    if after.exists():
        with engine.connect() as connection:
            moved = last_version(after) == active_root(connection)
        if moved:
            _take_over(after, path)
    return custody_at(path)


@contextmanager
def holding(settings: Settings, *, alone: bool = False) -> Iterator[None]:
    """Hold the root: with the service's other processes, or alone to move it.

    CustodyError when that can't be; it ends with the process at the latest.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    held = os.open(settings.root_key.with_name(".held"), flags, 0o600)
    try:
        fcntl.flock(held, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        what = "Stop the service first" if alone else "The root key is being moved; wait for that"
        raise CustodyError(f"{what}, and try again; nothing was done.") from None
    finally:
        os.close(held)


def move(
    settings: Settings,
    engine: Engine,
    before: Custody,
    make: Make,
    kind: str,
    signed: Signed,
    now: datetime,
) -> int:
    """Move the root from the custody that was opened to a new one; its version comes back."""
    path, after = settings.root_key, _next(settings.root_key)
    with engine.connect() as connection:
        last = active_root(connection)
    safe = Safe(before)
    with engine.begin() as connection:
        safe.publics(connection)
        safe.finish(connection, now=now, actor=None)
        safe.may_move(connection, signed)  # before its people are asked for anything
    after.unlink(missing_ok=True)  # of a move that was cut off before it was one
    to = make(after, max(last, *before.versions()) + 1)
    version = safe.move(engine.begin, to, kind, now=now, signed=signed)
    before.end()
    _take_over(after, path)
    return version


def opened(custody: Custody | Lock) -> Custody:
    """The custody, when its people have opened it here, one after another."""
    found: Custody | None = None if isinstance(custody, Lock) else custody
    while found is None:
        assert isinstance(custody, Lock)  # noqa: S101 - otherwise it is open
        found = custody.offer(
            ask(f"{custody.held + 1} of {custody.needed}, to open ({custody.kind})")
        )
    return found


def _next(path: Path) -> Path:
    return path.with_name(f"{path.stem}.next{path.suffix}")


def _take_over(after: Path, path: Path) -> None:
    with suppress(FileNotFoundError):  # another process of the service was faster
        after.replace(path)
    sync_folder(path.parent)
