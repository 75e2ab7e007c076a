"""A vault on a fresh database, the people around it, and a permit as they sign it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pysqlite3.dbapi2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, create_engine, event

from keyvault import ceremonies, tables
from keyvault.ceremonies import Standing
from keyvault.custody import KINDS, FileCustody
from keyvault.safe import Safe
from keyvault.signing import public_text, sign, utc_text
from keyvault.vault import Vault
from policies.permits import sha256
from tests.keyvault.custodies import Kept, token

NOW = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)


@dataclass
class Someone:
    """A person with both private keys, who writes and signs documents."""

    id: str
    roles: tuple[str, ...]
    signing: Ed25519PrivateKey
    authentication: Ed25519PrivateKey

    def enrolment(self, at: datetime = NOW, **changes: Any) -> dict[str, Any]:
        """The enrolment document, with members changed."""
        return {
            "type": "enrolment",
            "version": 1,
            "person": self.id,
            "name": f"Name of {self.id}",
            "organisation": "office",
            "roles": list(self.roles),
            "signing_key": public_text(self.signing),
            "authentication_key": public_text(self.authentication),
            "at": utc_text(at),
            **changes,
        }

    def sign(self, document: Mapping[str, Any]) -> dict[str, str]:
        """This person's signature."""
        return sign(document, self.signing, person=self.id)

    def decide(self, document: dict[str, Any]) -> dict[str, Any]:
        """{document, signature} of a document by this person."""
        document = {**document, "by": self.id, "at": utc_text(NOW)}
        return {"document": document, "signature": self.sign(document)}


def someone(person: str, *roles: str) -> Someone:
    """A new person with new keys."""
    return Someone(person, roles, Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())


@pytest.fixture(scope="session")
def token_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SoftHSM2's library, with a token of this test run's own."""
    with token(tmp_path_factory.mktemp("token")) as library:
        yield library


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """Each custody in turn, not yet made."""
    library = request.getfixturevalue("token_library") if request.param == "hsm" else ""
    kept = Kept(request.param, tmp_path / "custody.json", library)
    yield kept
    kept.close()


@dataclass
class House:
    """An installation: database, custody, vault, and the people enrolled in it."""

    engine: Engine
    custody: FileCustody
    vault: Vault
    ann: Someone
    bob: Someone
    others: dict[str, Someone]

    @property
    def safe(self) -> Safe:
        """What the vault leaves the key bytes to."""
        return safe_of(self.vault)

    def ceremony(
        self, action: str, purpose: str, owner: str = "service", version: int = 1
    ) -> dict[str, Any]:
        """A key ceremony with both founders' signatures."""
        standing = Standing(purpose, owner, version)
        document = ceremonies.document(action, standing, reason="Due.", at=utc_text(NOW))
        signatures = [self.ann.sign(document), self.bob.sign(document)]
        return {"document": document, "signatures": signatures}

    def enrol(self, conn: Connection, person: Someone, at: datetime, **changes: Any) -> None:
        """Enrol with both founders' signatures."""
        document = person.enrolment(at, **changes)
        signatures = [self.ann.sign(document), self.bob.sign(document)]
        self.vault.enrol(conn, document, signatures, now=at)
        self.others[person.id] = person


def safe_of(vault: Vault) -> Safe:
    """The safe in this process that a vault uses."""
    assert isinstance(vault._safe, Safe)
    return vault._safe


def ledger_key(vault: Vault, conn: Connection) -> Ed25519PrivateKey:
    """The ledger's own key, as somebody would have it who captured all."""
    safe = safe_of(vault)
    return safe.maker.signer(safe.keys.current(conn, "ledger", owner=None))


def new_engine(path: Path) -> Engine:
    """A SQLite engine set up the way the service does it."""
    engine = create_engine(f"sqlite:///{path}", module=pysqlite3.dbapi2)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA busy_timeout=30000")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        reading = conn.get_execution_options().get("read_only", False)
        conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A founded vault with a DPO, a director and a researcher enrolled."""
    engine = new_engine(tmp_path / "vault.db")
    custody = FileCustody.create(tmp_path / "root.json")
    ann, bob = someone("ann", "administrator"), someone("bob", "administrator")
    with engine.begin() as conn:
        tables.metadata.create_all(conn)
        founders = [ann.enrolment(), bob.enrolment()]
        vault = Vault.found(conn, custody, founders, now=NOW)
        house = House(engine, custody, vault, ann, bob, {})
        for person in (
            someone("dora", "dpo"),
            someone("dirk", "director"),
            someone("rita", "researcher"),
        ):
            house.enrol(conn, person, NOW + timedelta(seconds=1))
    yield house
    engine.dispose()


@pytest.fixture
def conn(house: House) -> Iterator[Connection]:
    """A transaction on the house's database."""
    with house.engine.begin() as connection:
        yield connection


def terms() -> dict[str, Any]:
    """What a project asks for."""
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    return {
        "project": "neet",
        "unit_type": "person",
        "datasets": [
            {
                "id": "child-benefit",
                "periods": ["2024"],
                "variables": [{"name": "birth", "as": "age", "rule": [{"age": {}}]}],
                "references": ["self", "mother"],
            }
        ],
        "universe": {"datasets": ["child-benefit"], "reference": "self"},
        "join": {"keys": ["age"]},
        "linkage_keys": ["national_number"],
        "scenario": {"known": ["age"], "changing": [], "moments": 1, "sensitive": []},
        "thresholds": {"k": 5, "suppression": 0.1},
        "recipients": [{"person": "rita", "age_recipient": recipient}],
        "legal_basis": "Wet van 4 juli 1962",
        "valid_from": "2025-01-01",
        "valid_until": "2026-01-01",
        "retention_until": "2027-01-01",
    }


@dataclass
class Request:
    """The four documents that `seal_permit` takes."""

    permit: dict[str, Any]
    application: dict[str, Any]
    advice: dict[str, Any]
    approval: dict[str, Any]

    def seal(self, vault: Vault, conn: Connection) -> dict[str, Any]:
        """Have the permit sealed."""
        return vault.seal_permit(
            conn,
            self.permit,
            application=self.application,
            advice=self.advice,
            approval=self.approval,
            now=NOW,
        )


def request_of(dpo: Someone, director: Someone) -> Request:
    """An application, its advice and approval by these two, and the permit that follows."""
    asked = terms()
    application = {
        **asked,
        "title": "Young people",
        "purpose": "scientific",
        "motivation": "Because.",
        "necessity": "Open tables are too coarse.",
    }
    advice = dpo.decide(
        {
            "type": "advice",
            "version": 1,
            "application": "neet-1",
            "application_sha256": sha256(application),
            "opinion": "favourable",
            "text": "Fine.",
        }
    )
    approval = director.decide(approval_of(advice["document"]))
    permit = {
        **asked,
        "type": "permit",
        "version": 1,
        "id": "permit-1",
        "application": "neet-1",
        "scope": "neet",
        "kind": "pseudonymised",
        "conditions": [],
    }
    return Request(permit, application, advice, approval)


def approval_of(advice: Mapping[str, Any]) -> dict[str, Any]:
    """An approval of this advice, not yet by anybody."""
    return {
        "type": "approval",
        "version": 1,
        "application": advice["application"],
        "advice_sha256": sha256(advice),
        "decision": "approved",
        "reason": "Proportionate.",
    }


@pytest.fixture
def request_(house: House) -> Request:
    """A permit request decided on by the DPO and the director."""
    return request_of(house.others["dora"], house.others["dirk"])
