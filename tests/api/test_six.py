"""Six processes under six users: the whole path, and nobody opens what is another's."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api import roles, store
from api.roles import BadUsers, read_group, read_users, roles_by_user
from api.serving import ROLES
from api.store import Admission, Delivery, Release, StoredObject
from keyvault.keyring import stored_key
from tests.api.house import House
from tests.conftest import missing
from tests.six import GROUP, STRANGER, USERS, Six, open_folder, users_text

CALLERS = [role for role in ROLES if role != "vault"]


class SixHouse(Six, House):
    """The house's people and stories around six processes."""


@pytest.fixture(scope="module")
def six() -> Iterator[SixHouse]:
    """Founded, delivered, released and downloaded through six processes of six users."""
    if os.geteuid() != 0:
        missing("six processes under six users: needs root")
    with open_folder() as folder:
        six = SixHouse(folder, USERS)
        try:
            six.inhabited()
            yield six
        finally:
            six.stop()


@pytest.fixture(scope="module")
def released(six: SixHouse) -> dict[str, Any]:
    """A release that went all the way."""
    six.delivered("child-benefit", "employment-service", "social-security")
    return six.cleared(six.granted("six"))


ATTEMPT = """
import json, os, sys
from pathlib import Path
from sqlalchemy import create_engine

given = json.load(sys.stdin)
told = {}

def attempt(name, what):
    try:
        what()
        told[name] = "done"
    except Exception as error:
        told[name] = type(error).__name__

for name, path in given["read"].items():
    attempt("read " + name, lambda: open(path, "rb").read())
for name, path in given["list"].items():
    attempt("list " + name, lambda: os.listdir(path))
for name, path in given["remove"].items():
    attempt("remove " + name, lambda: os.unlink(path))
    attempt("replace " + name, lambda: os.rename(path, path + ".x"))
for name, path in given["write"].items():
    attempt("write " + name, lambda: open(path, "ab"))

from keyvault.keyring import SealedKey
from keyvault.proxy import Proxy
proxy = Proxy(Path(given["socket"]))
halves = {}
for name in given["roles"]:
    def take():
        halves[name] = proxy.role(name)
    attempt("half " + name, take)
for held in halves.values():
    for name, sealed in given["keys"].items():
        attempt("open " + name, lambda: held.open(SealedKey.from_bytes(bytes.fromhex(sealed))))
proxy.close()
print(json.dumps(told))
"""


Asked = dict[str, Any]
Told = dict[str, str]


def attempts(six: SixHouse, asked: dict[str | int, Asked]) -> dict[str | int, Told]:
    """What comes of the attempts of several users, made at the same time."""
    nothing: Asked = {"read": {}, "list": {}, "remove": {}, "write": {}, "roles": [], "keys": {}}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    running = {who: six.run(who, "-c", ATTEMPT, **pipes) for who in asked}
    told = {}
    for who, process in running.items():
        given = {**nothing, "socket": str(six.settings.socket), **asked[who]}
        out, err = process.communicate(json.dumps(given), timeout=60)
        assert process.returncode == 0, err
        told[who] = json.loads(out)
    return told


def objects_of(six: SixHouse, reader: str) -> list[Path]:
    """The files in a role's folder."""
    return sorted((six.settings.objects / reader).iterdir())


def test_the_whole_path_goes_through_six_processes(six: SixHouse, released: dict[str, Any]) -> None:
    """S16: from founding to download; every process is its role's user's."""
    package = six.package(released["id"])
    assert package.tables
    for role, process in six.processes.items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert set(uids) == {str(USERS[role])}
    assert six["admin-1"].post("/vault/root", six.ceremony("rotate", "root"))["root_version"] >= 2
    kinds = six.ledger_kinds()
    assert {"release.downloaded", "pseudonyms.given", "root.rotated", "root.dropped"} <= set(kinds)
    for reader in ("api", "linkage", "release"):
        files = objects_of(six, reader)
        assert files
        for file in files:
            status = file.stat()
            assert status.st_mode & 0o777 == 0o640
            assert status.st_gid == USERS[reader]
    assert objects_of(six, "intake") == [], "uploads are gone once they are taken in"


SEALED_TO = {
    "identifiers": "linkage", "records": "linkage", "seen": "linkage",
    "payload": "release", "links": "release", "package": "release",
}  # fmt: skip
"""Which role opens what."""


def sealed_keys(six: SixHouse) -> dict[str, str]:
    """One sealed key of each kind, as whoever captured the database has them."""
    engine = store.connect(six.settings.database)
    with store.reading(engine) as session:
        delivery = session.scalars(select(Delivery)).first()
        admission = session.scalars(select(Admission)).first()
        release = session.scalars(select(Release)).first()
        assert delivery is not None
        assert admission is not None
        assert release is not None
        names = {
            "identifiers": delivery.identifiers, "payload": delivery.payload,
            "records": admission.records, "seen": admission.seen, "links": admission.links,
            "package": release.package,
        }  # fmt: skip
        found = {}
        for kind, name in names.items():
            row = session.get_one(StoredObject, name)
            assert row.key is not None
            found[kind] = stored_key(session.connection(), row.key).to_bytes().hex()
    engine.dispose()
    return found


def forbidden(six: SixHouse, role: str) -> Asked:
    """Everything on the disk that is another role's, but for files that this one wrote itself."""
    others = [reader for reader in CALLERS if reader != role]
    read = {
        f"{reader} {number}": str(file)
        for reader in others
        for number, file in enumerate(objects_of(six, reader))
        if file.stat().st_uid != USERS[role]
    }
    folders = {reader: str(six.settings.objects / reader) for reader in others}
    if role == "vault":
        return {"read": read, "list": folders, "remove": read, "write": read}
    keys = six.settings.root_key
    read["root"] = str(keys)
    more = {"database": str(six.settings.data / "schakel.sqlite"), "keys": str(keys.parent)}
    return {"read": read, "list": folders, "remove": {**read, **more}, "write": read}


@pytest.fixture(scope="module")
def told(six: SixHouse, released: dict[str, Any]) -> dict[str | int, Told]:
    """What comes of it when each role's user, and strangers, try to get at the others' things."""
    keys, asked = sealed_keys(six), dict[str | int, Asked]()
    for role in ROLES:
        pid = six.processes[role].pid
        memory = {f"own {name}": f"/proc/{pid}/{name}" for name in ("environ", "mem", "maps")}
        asked[role] = forbidden(six, role)
        asked[role]["read"] = {**asked[role]["read"], **memory}
        if role != "vault":
            asked[role] |= {"roles": list(ROLES), "keys": keys}
    for stranger in (STRANGER, USERS["vault"]):
        asked[stranger] = {"roles": ["intake", "release"]}
    return attempts(six, asked)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_gets_at_what_is_anothers(told: dict[str | int, Told], role: str) -> None:
    """S16, V24: root, folders and objects, for each pair of roles."""
    verbs = ("read", "list", "remove", "replace", "write")
    outcomes = {name: told[role][name] for name in told[role] if name.startswith(verbs)}
    shown = {"linkage", "release", "api"} if role != "release" else {"linkage"}
    for other in shown - {role}:  # the others' folders are empty now; api's is full of release's
        assert any(name.startswith(f"read {other} ") for name in outcomes)
    assert set(outcomes.values()) == {"PermissionError"}, outcomes


@pytest.mark.parametrize("role", CALLERS)
def test_a_private_half_is_given_to_its_own_user_only(
    told: dict[str | int, Told], role: str
) -> None:
    """S16: and with it only that role's objects open."""
    for name in ROLES:
        given = name == role != "api"
        assert told[role][f"half {name}"] == ("done" if given else "NotForYouError")
    opened = {name for name in SEALED_TO if told[role].get(f"open {name}") == "done"}
    assert opened == {name for name, opener in SEALED_TO.items() if opener == role}


def test_strangers_are_shown_out(told: dict[str | int, Told]) -> None:
    """Somebody of the group who is no role's user; the vault's own user may open it, no more."""
    assert set(told[STRANGER].values()) == {"VaultAwayError"}
    assert set(told[USERS["vault"]].values()) == {"NotForYouError"}


@pytest.mark.parametrize("role", ROLES)
def test_no_memory_of_a_process_is_dumped_or_read(
    six: SixHouse, told: dict[str | int, Told], role: str
) -> None:
    """V24: neither into a core file, nor by another process of the same user."""
    limits = Path(f"/proc/{six.processes[role].pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    for name in ("environ", "mem", "maps"):
        assert told[role][f"read own {name}"] == "PermissionError"


def test_it_goes_on_when_the_vault_was_killed(six: SixHouse, released: dict[str, Any]) -> None:
    """The others find the one that is started anew, and say 503 meanwhile."""
    six.kill("vault")
    six.begin("vault")
    six.ready("vault")
    assert six["auditor-1"].get("/ledger?most=1")["size"] > 0
    six.delivered("child-benefit", period="2025")


# Who is who


def test_users_by_name_and_number() -> None:
    """A number that nobody has is its own group's too."""
    users = read_users("api=root, intake=61003")
    assert (users["api"].uid, users["intake"].uid, users["intake"].gid) == (0, 61003, 61003)
    assert read_group("root") == 0
    assert read_group("61000") == 61000
    of = roles_by_user("api=61001,linkage=61001,release=61002,vault=61000")
    assert of(61001) == {"api", "linkage"}
    assert of(61000) == of(0) == {"custodian"}
    assert of(61003) == set()


@pytest.mark.parametrize("text", ["", "api", "api=", "courier=1", "api=nobody-of-that-name"])
def test_users_that_cannot_be(text: str) -> None:
    """Said before anything is changed."""
    with pytest.raises(BadUsers):
        read_users(text)


def test_no_group_of_that_name() -> None:
    """Nor guessed."""
    with pytest.raises(BadUsers, match="no group"):
        read_group("nobodys-group")


def test_every_role_has_a_user(tmp_path: Path) -> None:
    """Half a separation is none."""
    from api.settings import Settings

    with pytest.raises(BadUsers, match="vault"):
        roles.prepare(Settings(data=tmp_path), read_users("api=61002"), GROUP)
    assert users_text({"api": 1}) == "api=1"
