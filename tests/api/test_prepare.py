"""`schakel roles prepare`: what root gives to whom, and what it doesn't touch."""

import os
from pathlib import Path

import pytest

from api import roles
from api.demo.cast import Cast
from api.roles import BadUsers, User
from tests import conftest
from tests.six import GROUP, USERS

SIX = {role: User(uid, uid) for role, uid in USERS.items()}


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    cast = Cast(tmp_path)
    cast.found()
    return cast


def _as_root() -> None:
    if os.geteuid() != 0:
        conftest.missing("giving files to other users takes root")


@pytest.mark.parametrize(
    ("changes", "group", "why"),
    [
        ({"vault": None}, GROUP, "Every role has a user"),
        ({"api": SIX["vault"]}, GROUP, "can read the root key"),
        ({"api": User(61050, 61050), "intake": User(61051, 61050)}, GROUP, "primary group"),
        ({"api": User(61050, GROUP)}, GROUP, "primary group"),
    ],
    ids=["nobody", "the vault's", "one primary group for two", "the shared group as primary"],
)
def test_users_that_are_not_kept_apart_are_refused(
    cast: Cast, changes: dict[str, User | None], group: int, why: str
) -> None:
    """S16: a group that two roles share would let each read the other's objects."""
    users = {role: user for role, user in {**SIX, **changes}.items() if user is not None}
    before = cast.settings.data.stat()
    with pytest.raises(BadUsers, match=why):
        roles.prepare(cast.settings, users, group)
    after = cast.settings.data.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.parametrize("planted", ["symbolic", "hard", "fifo"])
def test_root_follows_no_link_that_a_role_left(cast: Cast, tmp_path: Path, planted: str) -> None:
    """Some role's user may put files into the folders; root doing its rounds gives away none but
    the service's own."""
    _as_root()
    roles.prepare(cast.settings, SIX, GROUP)
    target, place = tmp_path / "root-only", cast.settings.objects / "linkage" / "planted"
    target.write_text("x")
    target.chmod(0o600)
    if planted == "symbolic":
        place.symlink_to(target)
    elif planted == "hard":
        place.hardlink_to(target)
    else:
        os.mkfifo(place)
    with pytest.raises(BadUsers, match="no program of the service made it"):
        roles.prepare(cast.settings, SIX, GROUP)
    assert (target.stat().st_mode & 0o777, target.stat().st_uid) == (0o600, 0)
    place.unlink()
    roles.prepare(cast.settings, SIX, GROUP)


def test_a_folder_that_is_not_the_services_stays_as_it_is(cast: Cast, tmp_path: Path) -> None:
    """With the socket somewhere else (/run, say), that folder isn't given to the vault."""
    _as_root()
    elsewhere = tmp_path / "run"
    elsewhere.mkdir(mode=0o755)
    before = elsewhere.stat()
    settings = cast.settings.model_copy(update={"vault_socket": elsewhere / "vault.sock"})
    roles.prepare(settings, SIX, GROUP)
    assert (elsewhere.stat().st_uid, elsewhere.stat().st_mode) == (before.st_uid, before.st_mode)
    roles.prepare(cast.settings, SIX, GROUP)
    held = cast.settings.socket.parent.stat()
    assert (held.st_uid, held.st_mode & 0o7777) == (USERS["vault"], 0o2750)
