"""Process roles as users of the machine: who is who, and whose files are whose.

    data/               vault's; the group's to enter and to add to, nobody's to remove from others
        schakel.sqlite  vault's, and the group's to write: one database for all
        keys/           the vault's alone: the root key
        run/            vault's, the group's to enter: the socket
        objects/        vault's, the group's to enter
            <reader>/   the reader's; who comes that far may put files in, which get the reader's
                        group, but can't list, nor remove another's

Each role's user has a group of its own (its primary one) and is in the one group that they share.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.objects import READERS
from api.settings import Settings
from keyvault.server import CALLERS, CUSTODIAN

ROLES = ("vault", *CALLERS)


class BadUsers(Exception):  # noqa: N818 - what was given
    """Which user each role runs as was not said in a form that can be used."""


@dataclass(frozen=True)
class User:
    """A user's number and that of its own group."""

    uid: int
    gid: int


def read_users(text: str) -> dict[str, User]:
    """`api=schakel-api,intake=1002,…`: names, or numbers (whose own group has the same one)."""
    found = {}
    for item in text.split(","):
        role, _, user = (part.strip() for part in item.partition("="))
        if role not in ROLES or not user:
            raise BadUsers(
                f"`{item}` is not ROLE=USER; roles are {', '.join(ROLES)}, users names or numbers."
            )
        found[role] = _user(user)
    return found


def _user(text: str) -> User:
    try:
        known = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():
            return User(int(text), int(text))
        raise BadUsers(
            f"There is no user {text} on this machine; make it, or give a number."
        ) from None
    return User(known.pw_uid, known.pw_gid)


def read_group(text: str) -> int:
    """The number of a group, given by name or number."""
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise BadUsers(f"There is no group {text} on this machine; make it first.") from None


def roles_by_user(text: str) -> Callable[[int], frozenset[str]]:
    """The process roles that a user may take, by uid; none for a stranger.

    Whom the custodians' machine belongs to (root, and the vault's own user) lets them open it.
    """
    held = {0: frozenset({CUSTODIAN})}
    for role, user in read_users(text).items():
        may = role if role in CALLERS else CUSTODIAN
        held[user.uid] = held.get(user.uid, frozenset()) | {may}
    return lambda uid: held.get(uid, frozenset())


def prepare(settings: Settings, users: Mapping[str, User], group: int) -> None:
    """Give a founded service's files to the users of its roles; for root, while nothing runs.

    Again after an interruption, or with other users, sets everything right. A socket that is
    somewhere else has a folder that the operator made.
    """
    _refuse_unfit(users, group)
    vault, data = users["vault"], settings.data.resolve()
    _give(data, vault.uid, group, 0o3770)
    for name in ("schakel.sqlite", "schakel.sqlite-wal", "schakel.sqlite-shm"):
        if (data / name).exists():
            _give(data / name, vault.uid, group, 0o660)
    keys, objects = settings.root_key.parent, settings.objects
    _give(keys, vault.uid, vault.gid, 0o700)
    for path in keys.iterdir():
        _give(path, vault.uid, vault.gid, 0o600)
    if settings.vault_socket is None:
        settings.socket.parent.mkdir(exist_ok=True)
        _give(settings.socket.parent, vault.uid, group, 0o2750)
    objects.mkdir(exist_ok=True)
    _give(objects, vault.uid, group, 0o2750)
    for reader in READERS:
        folder = objects / reader
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            _give(path, users[reader].uid, users[reader].gid, 0o640)
        _give(folder, users[reader].uid, users[reader].gid, 0o3733)


def _refuse_unfit(users: Mapping[str, User], group: int) -> None:
    """What keeps roles apart is that neither user nor own group is another's."""
    if missing := set(ROLES) - set(users):
        raise BadUsers(f"Every role has a user; say which of {', '.join(sorted(missing))} too.")
    if any(users[role].uid == users["vault"].uid for role in CALLERS):
        raise BadUsers("The vault's user can read the root key: give no other role the same one.")
    own = {user.gid for user in users.values()}
    if group in own or len(own) < len({user.uid for user in users.values()}):
        raise BadUsers(
            "Objects are readable to their reader's own group: give each user a primary group of "
            "its own (`useradd --user-group`), and the shared group besides."
        )


def _give(path: Path, uid: int, gid: int, mode: int) -> None:
    """Of what lies there itself: root follows no link that some role's user put there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise BadUsers(_NOT_OURS.format(path)) from None
    try:
        held = os.fstat(handle)
        if not (stat.S_ISDIR(held.st_mode) or (stat.S_ISREG(held.st_mode) and held.st_nlink == 1)):
            raise BadUsers(_NOT_OURS.format(path))
        os.fchown(handle, uid, gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


_NOT_OURS = (
    "{} is a link, or no file at all; no program of the service made it. Remove it, find out who "
    "put it there, and run this again."
)
