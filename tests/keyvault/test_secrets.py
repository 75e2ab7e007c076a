"""Key bytes never show, and processes open only what their role may."""

import ast
import copy
import io
import json
import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from keyvault import tables
from keyvault.custody import FileCustody
from keyvault.errors import KeyvaultError, SealError
from keyvault.keyring import RoleKeys
from keyvault.sealing import open_bytes, read_table, seal_bytes
from keyvault.secret import FileKey, Secret, reveal
from keyvault.signing import from_base64url, to_base64url
from keyvault.vault import Vault
from tests.keyvault.conftest import NOW, House

PACKAGES = ("api", "keyvault", "linkage", "policies")


def secrets_of(house: House, conn: Connection) -> list[Any]:
    """One of everything that holds key bytes."""
    key, sealed = house.vault.sealer(conn).new_key("linkage", "identifiers", "d-1")
    return [
        Secret(b"0123456789abcdef0123456789abcdef"),
        key,
        house.vault.role("linkage").open(sealed),
        house.vault.role("linkage"),
        house.custody._roots[1],
        house.vault,
    ]


def bytes_of(house: House, conn: Connection) -> list[bytes]:
    """The raw bytes of some of those."""
    credential = house.vault.role("linkage").credential()
    root = reveal(house.custody._root(1))
    return [root, credential, b"0123456789abcdef0123456789abcdef"]


def spellings(data: bytes) -> list[str]:
    return [repr(data)[2:-1], data.hex(), to_base64url(data), str(list(data))]


def test_nothing_prints(house: House, conn: Connection) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("keyvault.test")
    logger.addHandler(handler)
    others = [house.custody, house.vault.ledger(conn), house.vault.sealer(conn)]
    for secret in [*secrets_of(house, conn), *others]:
        logger.error("%s %r %s", secret, secret, f"{secret}")
        logger.error("%s", getattr(secret, "__dict__", None))
    shown = log.getvalue()
    logger.removeHandler(handler)
    assert "bytes hidden" in shown
    for data in bytes_of(house, conn):
        assert not any(spelling in shown for spelling in spellings(data))


def test_nothing_pickles_or_copies(house: House, conn: Connection) -> None:
    for secret in secrets_of(house, conn):
        for spread in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="can't be pickled or copied"):
                spread(secret)


def test_no_exception_holds_a_key(house: House, conn: Connection) -> None:
    """Message, arguments, causes and contexts, all the way down."""
    key = FileKey(b"0123456789abcdef0123456789abcdef", "payload", "d-1")
    other = FileKey(b"fedcba9876543210fedcba9876543210", "payload", "d-1")
    damaged = house.custody._path.with_name("damaged.json")
    text = house.custody._path.read_text()
    damaged.write_text(text.replace("}", ""))
    damaged.chmod(0o600)
    credential = house.vault.role("linkage").credential()
    attempts = [
        lambda: open_bytes(seal_bytes(b"x", key, "b"), other, "b"),
        lambda: read_table(b"PARE", key, "b"),
        lambda: FileCustody.open(damaged),
        lambda: RoleKeys.from_credential(credential[:-3]),
        lambda: RoleKeys.from_credential(credential.replace(b'"1"', b'"x"')),
        lambda: RoleKeys.from_credential(credential.replace(b'"halves"', b'"helves"')),
        lambda: house.vault.role("intake").open(house.vault.scope_keys(conn, "n", now=NOW).spine),
        lambda: pickle.dumps(key),
    ]
    shown = []
    for attempt in attempts:
        with pytest.raises((KeyvaultError, TypeError)) as caught:
            attempt()
        fault: BaseException | None = caught.value
        while fault is not None:
            shown += [*traceback.format_exception_only(fault), repr(fault.args), str(vars(fault))]
            fault = fault.__cause__ or fault.__context__
    roots = [from_base64url(root) for root in _roots_in(text)]
    for data in [reveal(key), reveal(other), *roots, *bytes_of(house, conn), text.encode()]:
        assert not any(spelling in line for line in shown for spelling in spellings(data))


def _roots_in(text: str) -> list[str]:
    return list(json.loads(text)["roots"].values())


def test_only_keyvault_reveals() -> None:
    """The module with `reveal` is imported nowhere else, not even inside functions."""
    root = Path(tables.__file__).parents[1]
    for package in PACKAGES:
        for file in (root / package).rglob("*.py"):
            if package == "keyvault":
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                assert "keyvault.secret" not in _names(node), f"{file}: ask keyvault to do it"


def _names(node: ast.AST) -> set[str]:
    """The modules that a node may import, and attributes that reach for the bytes."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return {module, *(f"{module}.{alias.name}" for alias in node.names)}
    reached = isinstance(node, ast.Attribute) and node.attr in ("_secret_bytes", "_raw")
    return {"keyvault.secret"} if reached else set()


@pytest.mark.parametrize(
    "planted",
    [
        "from keyvault.secret import reveal",
        "def f():\n    import keyvault.secret",
        "from keyvault import secret",
        "key._secret_bytes",
    ],
)
def test_the_search_bites(planted: str) -> None:
    assert any("keyvault.secret" in _names(node) for node in ast.walk(ast.parse(planted)))


def test_the_database_holds_no_key_in_the_clear(house: House, conn: Connection) -> None:
    keys = house.vault.scope_keys(conn, "neet", now=NOW)
    linkage = house.vault.role("linkage")
    raw = [reveal(linkage.open(key)) for key in (keys.spine, keys.subject_id)]
    raw += [reveal(house.custody._root(1)), *(reveal(half) for half in linkage._raw.values())]
    dump = b"".join(
        repr(tuple(row)).encode()
        for table in tables.metadata.tables.values()
        for row in conn.execute(table.select())
    )
    for data in raw:
        assert not any(spelling.encode() in dump for spelling in spellings(data))


CHILD = """
import sys
from keyvault.errors import KeyvaultError
from keyvault.keyring import RoleKeys, SealedKey
from keyvault.sealing import open_bytes
credential, *files = (bytes.fromhex(line) for line in sys.stdin.read().split())
role = RoleKeys.from_credential(credential) if credential != b"none" else None
for sealed, data in zip(files[::2], files[1::2]):
    try:
        key = role.open(SealedKey.from_bytes(sealed))
        print(open_bytes(data, key, "d-1").decode())
    except (KeyvaultError, AttributeError) as fault:
        print(type(fault).__name__)
"""


@pytest.mark.parametrize(
    ("role", "reads"),
    [
        ("linkage", ["identifiers", "KeyringError"]),
        ("release", ["KeyringError", "payload"]),
        ("intake", ["KeyringError", "KeyringError"]),
        ("vault", ["KeyringError", "KeyringError"]),
        (None, ["AttributeError", "AttributeError"]),
    ],
)
def test_a_child_process_opens_only_what_its_role_may(
    house: House, conn: Connection, role: str | None, reads: list[str]
) -> None:
    """S16: one role's key in one process; linkage no payload, release no identifiers."""
    lines = [house.vault.role(role).credential() if role else b"none"]
    for opener, purpose in (("linkage", "identifiers"), ("release", "payload")):
        key, sealed = house.vault.sealer(conn).new_key(opener, purpose, "d-1")
        lines += [sealed.to_bytes(), seal_bytes(purpose.encode(), key, "d-1")]
    told = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(line.hex() for line in lines),
        capture_output=True,
        check=True,
        text=True,
    )
    assert told.stdout.split() == reads


def test_a_child_that_lies_about_its_role_opens_nothing(house: House, conn: Connection) -> None:
    _, sealed = house.vault.sealer(conn).new_key("linkage", "identifiers", "d-1")
    credential = house.vault.role("release").credential()
    liar = RoleKeys.from_credential(credential.replace(b'"release"', b'"linkage"'))
    with pytest.raises(SealError):
        liar.open(sealed)


def test_vaults_are_not_shared_by_pickle(house: House) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(house.vault)
    assert isinstance(house.vault, Vault)
