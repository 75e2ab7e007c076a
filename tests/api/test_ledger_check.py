"""`schakel ledger verify` finds what somebody with the database in hands could do to the past."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pysqlite3.dbapi2 as sqlite
import pytest

from api.cli import run
from keyvault import ledger as ledgers
from keyvault.checkpoints import read_checkpoint
from keyvault.errors import LedgerError
from keyvault.ledger import Ledger, vouched_by
from keyvault.merkle import leaf_hash, tree_root, verify_consistency
from keyvault.signing import public_text
from keyvault.tiles import names, read_bundle, tile_name
from tests.api.house import House, refusal_of
from tests.keyvault.conftest import ledger_key


@pytest.fixture(scope="module")
def receipt(house: House) -> dict[str, Any]:
    """An early receipt, kept by a holder outside the house; more happened since."""
    house.delivered("employment-service")
    found: dict[str, Any] = house["holder-vdab"].get("/deliveries")[0]["receipt"]
    house.delivered("child-benefit")
    return found


@pytest.fixture
def copy(house: House, receipt: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the service's folder to do harm to."""
    connection = sqlite.connect(str(house.settings.data / "schakel.sqlite"))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    target = tmp_path / "copy"
    shutil.copytree(house.settings.data, target, ignore=shutil.ignore_patterns("objects"))
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    return target


def _harm(folder: Path, *statements: str) -> None:
    connection = sqlite.connect(str(folder / "schakel.sqlite"), isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def _verify(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, Any]:
    code = run(["--json", "ledger", "verify", "--data", str(folder), *more])
    return code, json.loads(capsys.readouterr().out)


def test_an_honest_ledger_agrees_with_every_receipt(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row P04's ground: what was written stands as it was written."""
    code, answer = _verify(copy, capsys, "--checkpoint", str(copy.parent / "receipt.json"))
    assert (code, answer["problems"]) == (0, [])
    assert answer["entries"] > 20


EDITED = (
    "UPDATE ledger_entry SET leaf = CAST(replace(CAST(leaf AS TEXT), 'admin-1', 'admin-2') AS BLOB)"
    " WHERE position = (SELECT min(position) FROM ledger_entry"
    ' WHERE CAST(leaf AS TEXT) LIKE \'%"actor":"admin-1"%\')'
)
LEFT_AS_TEXT = "UPDATE ledger_entry SET leaf = CAST(leaf AS TEXT) || ' ' WHERE position = 9"
REMOVED = "DELETE FROM ledger_entry WHERE position = 7"
CLOSED_UP = "UPDATE ledger_entry SET position = position - 1 WHERE position > 7"
REORDERED = (
    "UPDATE ledger_entry SET position = -1 WHERE position = 5",
    "UPDATE ledger_entry SET position = 5 WHERE position = 6",
    "UPDATE ledger_entry SET position = 6 WHERE position = -1",
)
CUT_SHORT = "DELETE FROM ledger_entry WHERE position > 10"


@pytest.mark.parametrize(
    "statements",
    [(EDITED,), (LEFT_AS_TEXT,), (REMOVED,), (REMOVED, CLOSED_UP), REORDERED, (CUT_SHORT,)],
    ids=["edited", "left as text", "removed", "removed and closed up", "reordered", "cut short"],
)
def test_an_edited_removed_or_reordered_entry_is_found(
    copy: Path, capsys: pytest.CaptureFixture[str], statements: tuple[str, ...]
) -> None:
    """By the checkpoints that stand beside the entries; no help from outside is needed."""
    _harm(copy, *statements)
    code, problems = _verify(copy, capsys)
    assert code == 1
    assert problems


def _rewritten(house: House, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """What somebody who has the ledger's key too could do: write all of history anew."""
    from api import store
    from keyvault import tables

    engine = store.connect(f"sqlite:///{folder / 'schakel.sqlite'}")
    with engine.begin() as connection:
        private = ledger_key(house.service.vault, connection)
        origin = house.service.vault.ledger(connection).origin
        pen = Ledger(origin, public_text(private), vouched_by(origin, private))
        entries = list(ledgers.entries(connection))
        connection.execute(tables.ledger_entry.delete())
        connection.execute(tables.ledger_head.delete())
        connection.execute(tables.ledger_tile.delete())
        pen.found(connection)
        for entry in entries:
            document = {"actor": entry.actor, "facts": dict(entry.facts)}
            change(document)
            from datetime import datetime

            pen.append(
                connection,
                entry.kind,
                document["facts"],
                actor=document["actor"],
                now=datetime.fromisoformat(entry.at),
            )
    engine.dispose()


def test_a_ledger_recomputed_as_a_whole_is_found_by_an_earlier_receipt(
    house: House, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every hash and signature holds, and yet a receipt in a holder's hands disagrees."""

    def blame_another(document: dict[str, Any]) -> None:
        if document["actor"] == "admin-1":
            document["actor"] = "admin-2"

    _rewritten(house, copy, blame_another)
    code, answer = _verify(copy, capsys)
    assert code == 0, answer
    code, problems = _verify(copy, capsys, "--checkpoint", str(copy.parent / "receipt.json"))
    assert code == 1
    assert "rewritten" in {problem["kind"] for problem in problems}


def test_a_ledger_rewritten_word_for_word_is_the_same_ledger(
    house: House, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the test above fails for the change, and not for the copying."""
    _rewritten(house, copy, lambda _document: None)
    code, answer = _verify(copy, capsys, "--checkpoint", str(copy.parent / "receipt.json"))
    assert (code, answer["problems"]) == (0, [])


def test_anybody_known_can_check_a_checkpoint_without_reading_an_entry(
    house: House, receipt: dict[str, Any]
) -> None:
    """The present checkpoint and the RFC 6962 proof that it only grew."""
    holder = house["holder-vdab"]
    keys = holder.public()["ledger"]
    old = read_checkpoint(receipt["checkpoint"], keys)
    assert refusal_of(lambda: holder.get("/ledger")).type == "wrong-role"
    answer = holder.get(f"/ledger/checkpoint?since={old.size}")
    new = read_checkpoint(answer["checkpoint"], keys)
    proof = [base64.b64decode(part) for part in answer["proof"]]
    assert (new.size, new.size > old.size) == (answer["size"], True)
    verify_consistency(old.size, new.size, proof, old.root, new.root)
    with pytest.raises(LedgerError):
        verify_consistency(old.size, new.size, proof, b"\0" * 32, new.root)
    assert holder.get("/ledger/checkpoint")["proof"] == []


def test_a_checkpoint_over_more_than_there_is_says_what_that_means(house: House) -> None:
    """A holder whose checkpoint is longer than the ledger has found something."""
    size = house["holder-vdab"].get("/ledger/checkpoint")["size"]
    refusal = refusal_of(
        lambda: house["holder-vdab"].get(f"/ledger/checkpoint?since={size + 10_000}")
    )
    assert (refusal.status, refusal.type) == (409, "ledger-shorter")
    assert "auditor" in refusal.problem["next_step"]


@pytest.mark.parametrize("asked", ["start", "most", "checkpoint?since"])
@pytest.mark.parametrize("number", [10**20, -1, "x", "9" * 5000])
def test_a_place_that_cannot_be_is_bad_input(house: House, asked: str, number: object) -> None:
    """Numbers that no ledger reaches are the asker's mistake, not ours."""
    path = f"/ledger/{asked}={number}" if "?" in asked else f"/ledger?{asked}={number}"
    refusal = refusal_of(lambda: house["auditor-1"].get(path))
    assert (refusal.status, refusal.type) == (400, "bad-request")


def test_a_file_that_is_no_checkpoint_is_bad_input(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a sentence."""
    (copy.parent / "other.json").write_text("{}")
    code = run(
        ["ledger", "verify", "--data", str(copy), "--checkpoint", str(copy.parent / "other.json")]
    )
    assert code == 2
    assert "carries no checkpoint" in capsys.readouterr().err


def test_the_ledger_is_a_log_for_programs_by_others(house: House, receipt: dict[str, Any]) -> None:
    """C2SP tlog-tiles: checkpoint, tiles and bundles below one address."""

    def get(person: str, name: str) -> bytes:
        client = house[person]
        headers = {"Authorization": f"Bearer {client.token()}"}
        answer = httpx.get(f"{client.profile.server}/tlog/{name}", headers=headers)
        if not answer.is_success:
            client._answer(answer)
        return answer.content

    checkpoint = read_checkpoint(get("holder-vdab", "checkpoint").decode(),
                                 house["holder-vdab"].public()["ledger"])  # fmt: skip
    leaves: list[bytes] = []
    for level, number, width in names(checkpoint.size):
        name = tile_name(level, number, width)
        data = get("auditor-1", name)
        if level is None:
            leaves += read_bundle(data)
            assert refusal_of(lambda name=name: get("holder-vdab", name)).type == "wrong-role"
        else:
            assert get("holder-vdab", name) == data
    assert tree_root([leaf_hash(leaf) for leaf in leaves]) == checkpoint.root
    assert get("holder-vdab", "tile/0/000.p/3") == b"".join(map(leaf_hash, leaves[:3]))
    for name in ("tile/0/000.p/255", "tile/0/001", "tile/1/000", "tile/5/x", "", "tile/63/000"):
        assert refusal_of(lambda name=name: get("auditor-1", name)).type == "not-found", name


def test_if_the_ledger_cannot_be_written_nothing_happens(fresh_house: House) -> None:
    """The action and its entry are one transaction: no entry, no action, and the caller is told."""
    from api import store
    from api.store import Organisation

    _harm(
        fresh_house.settings.data,
        "CREATE TRIGGER full BEFORE INSERT ON ledger_entry "
        "BEGIN SELECT RAISE(FAIL, 'disk full'); END",
    )
    client = fresh_house["admin-1"]
    answer = httpx.post(
        f"{client.profile.server}/organisations",
        json={"id": "late", "name": "Too late"},
        headers={"Authorization": f"Bearer {client.token()}"},
    )
    assert answer.status_code >= 500
    _harm(fresh_house.settings.data, "DROP TRIGGER full")
    with store.reading(fresh_house.service.engine) as session:
        assert session.get(Organisation, "late") is None
