"""Process roles are held by keys: a child that is given one role's key opens only its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api import store
from api.store import Admission, Delivery, Release, StoredObject
from keyvault.keyring import stored_key
from tests.api.house import House

CHILD = """
import json, sys
from keyvault.errors import KeyvaultError
from keyvault.keyring import RoleKeys, SealedKey
from keyvault.sealing import open_bytes, read_table

given = json.loads(sys.stdin.buffer.readline())
credential = sys.stdin.buffer.read()
opened = {}
for thing in given:
    try:
        role = RoleKeys.from_credential(credential)
        key = role.open(SealedKey.from_bytes(bytes.fromhex(thing["key"])))
        data = open(thing["path"], "rb").read()
        if thing["kind"] == "package":
            size = len(open_bytes(data, key, thing["binding"]))
        else:
            size = read_table(data, key, thing["binding"]).num_rows
        opened[thing["kind"]] = size > 0
    except KeyvaultError:
        opened[thing["kind"]] = False
print(json.dumps(opened))
"""

OPENS = {
    "linkage": {"identifiers", "spine-records", "spine-seen"},
    "release": {"payload", "links", "package"},
    "intake": set(),
    "vault": set(),
    "none": set(),
}


@pytest.fixture(scope="module")
def things(house: House) -> list[dict[str, Any]]:
    """One object of each kind, with its sealed key, as a captured store would give them."""
    house.delivered("child-benefit", "employment-service", "social-security")
    house.cleared(house.granted("roles"))
    with store.reading(house.service.engine) as session:
        delivery = session.scalars(select(Delivery)).first()
        admission = session.scalars(select(Admission)).first()
        release = session.scalars(select(Release)).first()
        assert delivery is not None
        assert admission is not None
        assert release is not None
        where = f"{admission.scope}|{admission.position}"
        named = {
            "identifiers": (delivery.identifiers, f"identifiers|{delivery.id}|1"),
            "payload": (delivery.payload, f"payload|{delivery.id}|1"),
            "spine-records": (admission.records, f"spine-records|{where}"),
            "spine-seen": (admission.seen, f"spine-seen|{where}"),
            "links": (admission.links, f"links|{admission.scope}|{admission.delivery}"),
            "package": (release.package, f"package|{release.id}|1"),
        }
        found = []
        for kind, (name, binding) in named.items():
            row = session.get(StoredObject, name)
            assert row is not None
            assert row.key is not None
            sealed = stored_key(session.connection(), row.key)
            found.append(
                {
                    "kind": kind,
                    "path": str(house.service.objects.path(row.name)),
                    "key": sealed.to_bytes().hex(),
                    "binding": binding,
                }
            )
        return found


@pytest.mark.parametrize("role", list(OPENS))
def test_a_child_with_one_roles_key_opens_that_roles_objects_only(
    house: House, things: list[dict[str, Any]], role: str
) -> None:
    """S16: linkage fails on payload, release on identifiers, and without a key all fails."""
    credential = b"" if role == "none" else house.service.vault.role(role).credential()
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(things).encode() + b"\n" + credential,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    opened = json.loads(child.stdout)
    assert set(opened) == {
        "identifiers",
        "payload",
        "spine-records",
        "spine-seen",
        "links",
        "package",
    }
    assert {kind for kind, did in opened.items() if did} == OPENS[role]


def test_what_lies_on_the_disk_names_nobody(house: House, things: list[dict[str, Any]]) -> None:
    """V24: encrypted at rest. No name or number of the population is in any file of the service."""
    texts = [
        text.encode()
        for text in (
            *(f"{number:011d}" for number in house.people.number[:200].tolist()),
            *(
                f"{street} {house_number}"
                for street, house_number in zip(
                    house.people.homes.street[:100], house.people.homes.house[:100], strict=True
                )
            ),
        )
    ]
    for file in house.settings.data.rglob("*"):
        if file.is_file() and file.name != "root.json":
            content = file.read_bytes()
            assert not [text for text in texts if text in content], file.name
