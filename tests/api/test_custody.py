"""A service whose root key people hold: founded, sealed, opened, one process per role."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from sqlalchemy import update

from api import custodies, founding, store
from api.ceremonies import maker
from api.profiles import Profile
from api.service import Service
from api.settings import Settings
from keyvault import ceremonies
from keyvault import ledger as ledgers
from keyvault.ceremonies import Standing
from keyvault.custody import custody_at
from keyvault.errors import CustodyError
from keyvault.safe import Safe
from keyvault.signing import utc_text
from keyvault.vault import Vault
from policies.access import Actor

FIRST, SECOND = "correct horse battery staple", "another horse, another staple"
NOW = datetime(2026, 3, 3, tzinfo=UTC)


class GoneError(Exception):
    """The process is gone."""


def gone(*_: object, **__: object) -> NoReturn:
    raise GoneError


MAIN = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "SCHAKEL_PROFILES": str(tmp_path / "profiles"), "HOME": str(tmp_path)}


def ended(
    environment: dict[str, str], *arguments: str, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """One command, with what is said at its standard input."""
    return subprocess.run(
        [*MAIN, *arguments],
        text=True,
        input=said,
        capture_output=True,
        env=environment,
        check=False,
    )


def found_with_shares(environment: dict[str, str], data: Path) -> list[str]:
    """Two of three: each share is read from the screen, and said again by its custodian."""
    command = [*MAIN, "init", "--custody", "shares", "--shares", "2 of 3", "--data", str(data)]
    command += ["--administrator", "admin-1=One", "--administrator", "admin-2=Two"]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        shares = [process.stdout.readline().strip() for _ in range(3)]
        process.stdin.write("".join(f"{share}\n" for share in shares))
        process.stdin.close()
        told = process.stdout.read()
        assert process.wait(timeout=60) == 0
    assert "locked" in told
    return shares


@contextmanager
def serving(environment: dict[str, str], data: Path) -> Iterator[tuple[str, Any]]:
    """Vault, API and a worker; the API's address, and the lines they say."""
    command = [*MAIN, "serve", "--roles", "vault,api,intake", "--data", str(data), "--port", "0"]
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("Schakel listens on "):
                    yield line.rpartition(" ")[2].strip(), process.stdout
                    break
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_two_of_three_custodians_open_a_sealed_service(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """S14: sealed after every start; it says so, and no share is written anywhere."""
    data = tmp_path / "service"
    shares = found_with_shares(environment, data)
    assert not any(
        share.encode() in path.read_bytes()
        for share in shares
        for path in tmp_path.rglob("*")
        if path.is_file()
    )
    refused = ended(environment, "serve", "--data", str(data), "--port", "0")
    assert refused.returncode == 1
    assert "--roles" in refused.stderr
    with serving(environment, data) as (address, lines):
        sealed = httpx.get(f"{address}/keys")
        assert sealed.status_code == 503
        assert sealed.json()["type"].endswith("vault-sealed")
        assert "custody open" in sealed.json()["detail"]
        state = json.loads(
            ended(environment, "--json", "custody", "show", "--data", str(data)).stdout
        )
        assert state == {"sealed": True, "custody": "shares", "held": 0, "needed": 2}
        opening = ("custody", "open", "--data", str(data))
        wrong = shares[0].rsplit(" ", 1)[0] + " academic"
        told = ended(environment, *opening, said=wrong + "\n")
        assert told.returncode == 1
        assert "no share" in told.stderr
        assert not any(word in told.stderr.split() for word in wrong.split()[4:])
        assert ended(environment, *opening).returncode == 1, "nobody said anything"
        assert "1 more" in ended(environment, *opening, said=shares[2] + "\n").stdout
        assert "is open" in ended(environment, *opening, said=shares[0] + "\n").stdout
        assert httpx.get(f"{address}/keys").status_code == 200
        said = next(line for line in lines if line.startswith("Schakel's intake"))
        assert said == "Schakel's intake works\n"
        verify = ended(environment, "ledger", "verify", "--data", str(data))
        assert verify.returncode == 0, verify.stderr


# From one custody to another


@pytest.fixture
def founded(tmp_path: Path) -> tuple[Settings, list[Profile]]:
    """A service in a file's custody, not running, and its two administrators."""
    settings = Settings(data=tmp_path / "service")
    people = [Profile.new(person, person, "") for person in ("admin-1", "admin-2")]
    founding.found(settings, [person.request() for person in people], datetime.now(UTC))
    return settings, people


def signed_move(people: list[Profile], version: int) -> dict[str, Any]:
    standing = Standing("root", "service", version)
    document = ceremonies.document("move", standing, reason="New people.", at=utc_text(NOW))
    return {"document": document, "signatures": [person.sign(document) for person in people]}


def moved(settings: Settings, people: list[Profile], kind: str, version: int) -> int:
    """One move, by the people who hold the root now."""
    engine = store.connect(settings.database)
    with custodies.holding(settings, alone=True):
        before = custodies.opened(custodies.custody_of(settings, engine))
        make = maker(kind, "2 of 3", "", "")
        signed = signed_move(people, version)
        done = custodies.move(settings, engine, before, make, kind, signed, NOW)
    engine.dispose()
    return done


def speaking(monkeypatch: pytest.MonkeyPatch, lines: Sequence[str]) -> None:
    """People who say these, one after another."""
    text = io.StringIO("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(sys, "stdin", text)


def opens(settings: Settings) -> list[str]:
    """Open the vault from where the root is now; the kinds of its ledger's entries."""
    engine = store.connect(settings.database)
    custody = custodies.opened(custodies.custody_of(settings, engine))
    with engine.begin() as connection:
        vault = Vault.open(connection, custody)
        assert ledgers.verify(connection, vault.public_keys(connection)["ledger"]) == []
        kinds = [entry.kind for entry in ledgers.entries(connection)]
    engine.dispose()
    return kinds


def test_a_service_moves_to_a_passphrase_to_another_and_back(
    founded: tuple[Settings, list[Profile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passphrase is changed by moving to a new one; the old file's copies open nothing."""
    settings, people = founded
    old = settings.root_key.read_bytes()
    speaking(monkeypatch, [FIRST, FIRST])
    assert moved(settings, people, "passphrase", 1) == 2
    assert custody_at(settings.root_key).kind == "passphrase"  # type: ignore[union-attr]
    speaking(monkeypatch, [FIRST, SECOND, SECOND])
    assert moved(settings, people, "passphrase", 2) == 3
    speaking(monkeypatch, [FIRST])
    with pytest.raises(CustodyError, match="not the passphrase"):
        opens(settings)
    speaking(monkeypatch, [SECOND])
    assert moved(settings, people, "file", 3) == 4
    assert opens(settings)[-2:] == ["custody.moved", "root.dropped"]
    settings.root_key.write_bytes(old)
    with pytest.raises(CustodyError, match="Root version 4"):
        opens(settings)


def test_nothing_moves_to_a_custody_that_was_not_proven(
    founded: tuple[Settings, list[Profile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passphrase mistyped the second time; and then nobody says anything."""
    settings, people = founded
    for lines in ([FIRST, SECOND], [FIRST], []):
        speaking(monkeypatch, lines)
        with pytest.raises(CustodyError):
            moved(settings, people, "passphrase", 1)
        assert [path.name for path in settings.root_key.parent.glob("root*")] == ["root.json"]
        assert "custody.moved" not in opens(settings)


def test_a_move_cut_off_before_or_after_its_commit(
    founded: tuple[Settings, list[Profile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start finds the custody that is in use, and finishes; the next move begins anew."""
    settings, people = founded
    with monkeypatch.context() as patch:
        speaking(patch, [FIRST, FIRST])
        patch.setattr(Safe, "move", gone)
        with pytest.raises(GoneError):
            moved(settings, people, "passphrase", 1)
    assert settings.root_key.with_name("root.next.json").exists()
    assert "custody.moved" not in opens(settings)
    with monkeypatch.context() as patch:
        speaking(patch, [SECOND, SECOND])
        patch.setattr(custodies, "_take_over", gone)
        with pytest.raises(GoneError):
            moved(settings, people, "passphrase", 1)
    speaking(monkeypatch, [SECOND])
    assert opens(settings)[-2:] == ["custody.moved", "root.dropped"]
    assert not settings.root_key.with_name("root.next.json").exists()


def test_a_service_that_runs_is_not_moved(founded: tuple[Settings, list[Profile]]) -> None:
    settings, people = founded
    running = custodies.holding(settings)
    with running, pytest.raises(CustodyError, match="Stop the service first"):
        moved(settings, people, "file", 1)
    moving = custodies.holding(settings, alone=True)
    with moving, pytest.raises(CustodyError, match="being moved"), custodies.holding(settings):
        pass


@pytest.mark.parametrize(
    ("kind", "split"), [("hsm", "2 of 3"), ("shares", "two of three"), ("cloud", "")]
)
def test_a_custody_that_was_not_said_whole(kind: str, split: str) -> None:
    with pytest.raises(CustodyError, match=r"--shares|--token"):
        maker(kind, split, "", "")


def test_a_pair_stays_pending_while_a_job_from_before_runs(
    founded: tuple[Settings, list[Profile]],
) -> None:
    """Whoever began before there was a new key may not know it; who begins afterwards learns it."""
    settings, people = founded
    service = Service.open(settings)
    standing = Standing("role", "intake", 1)
    document = ceremonies.document("rotate", standing, reason="Due.", at=utc_text(NOW))
    signed = {"document": document, "signatures": [person.sign(document) for person in people]}
    actor = Actor("admin-1", founding.OFFICE, frozenset({"administrator"}))
    with store.writing(service.engine) as session:
        session.add(
            store.Job(
                id="job-1", sequence=1, queue="intake", kind="intake", arguments={},
                state="running", actor="admin-1", organisation=founding.OFFICE, signature="",
                not_before=NOW,
                created_at=NOW,
            )
        )  # fmt: skip

    def step() -> tuple[str, int]:
        told = service.rotate_role(actor, "intake", signed)
        return told["step"], told["left"]

    assert step() == ("pending", 0)
    assert step() == step() == ("learning", 1)
    with store.writing(service.engine) as session:
        session.execute(update(store.Job).values(state="done"))
    assert step() == ("active", 0)
    service.engine.dispose()
