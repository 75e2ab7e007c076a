"""The door to all of it.

A `Vault` is made from a custody and a database connection, and keeps what it unwrapped in memory.
Every method is handed a connection inside the caller's transaction and works in it; the ledger
entries about keys, people and permits are written there too, by the vault itself, so callers don't
write them again: `vault.founded`, `person.enrolled`, `permit.sealed`, `permit.suspended`,
`permit.resumed`, `key.created`, `key.rotated`, `root.rotated`, `root.dropped`,
`pseudonyms.given`.

Why it can be believed when the database can't: key pairs and founders are wrapped by the root
(`wrapping`), rows of the vault's own keys carry a proof (`ownkeys`), enrolments lead back to the
founders (`people`), and permits are signed bytes. What a captured database can still do is forget:
put old rows back, or set a state back. The ledger's checkpoints are there to notice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from keyvault import keyring, pseudonyms, signing, tables, tokens
from keyvault.custody import Custody
from keyvault.errors import (
    EnrolmentError,
    KeyringError,
    PermitAbsentError,
    PermitChangedError,
    PermitError,
    SignatureError,
)
from keyvault.keyring import KeyInfo, RoleKeys, SealedKey, Sealer
from keyvault.ledger import Ledger
from keyvault.ownkeys import SERVICE, OwnKeys
from keyvault.people import People, Person, read_enrolment
from keyvault.secret import AGE_PURPOSE, SIGNING_PURPOSES, Secret
from keyvault.wrapping import Wrapped
from policies import permits
from policies.permits import Application, Permit, PermitFault, Purpose, Terms

_ROTATABLE = ("permit", "receipt", "token", "pseudonym")


@dataclass(frozen=True)
class ScopeKeys:
    """The two keys of a scope, sealed to linkage."""

    spine: SealedKey
    subject_id: SealedKey


class Vault:
    """Keys, people and permits of one installation. Make one with `found` or `open`."""

    def __init__(self, custody: Custody) -> None:
        self._wrapped = Wrapped(custody)
        self._roles: dict[str, RoleKeys] = {}
        self._publics: dict[str, tuple[int, bytes]] = {}
        self._keys = OwnKeys(lambda: self._roles["vault"], lambda: Sealer(self._publics))
        self._people = People(self._founders)

    def __repr__(self) -> str:
        return f"<Vault, roles {', '.join(self._roles)}, bytes hidden>"

    __reduce_ex__ = Secret.__reduce_ex__

    # First start, every start

    @classmethod
    def found(
        cls,
        conn: Connection,
        custody: Custody,
        founders: Sequence[Mapping[str, Any]],
        *,
        now: datetime,
    ) -> "Vault":
        """First start: make every key and seal the founding administrators with the root.

        `founders` are enrolment documents, two administrators or more. EnrolmentError when they
        won't do, KeyringError when this database has keys already.
        """
        people = _admit(founders)
        vault = cls(custody)
        root = vault._wrapped.found(conn, founders, now)
        vault.refresh(conn)
        origin = f"schakel/ledger/{keyring.new_key_id().removeprefix('key-')}"
        for purpose in SIGNING_PURPOSES:
            owner = origin if purpose == "ledger" else SERVICE
            vault._keys.create(conn, "vault", purpose, owner, now)
        vault._keys.create(conn, "intake", AGE_PURPOSE, SERVICE, now)
        Ledger.found(conn)
        facts = {"root": root, "founders": [person.id for person in people]}
        vault._record(conn, "vault.founded", facts, None, now)
        return vault

    @classmethod
    def open(cls, conn: Connection, custody: Custody) -> "Vault":
        """Every later start."""
        vault = cls(custody)
        vault.refresh(conn)
        return vault

    def refresh(self, conn: Connection) -> None:
        """Unwrap the role keys as they stand now, when another process has added versions."""
        self._roles, self._publics = self._wrapped.role_keys(conn)

    # Process roles and sealed keys

    def role(self, name: str) -> RoleKeys:
        """The private half of one process role: to use, or to hand over as a credential."""
        try:
            return self._roles[name]
        except KeyError:
            raise KeyringError(
                f"There is no process role {name}; use one of {', '.join(keyring.ROLES)}."
            ) from None

    def sealer(self, conn: Connection) -> Sealer:
        """The public halves to seal with now, proved to belong to the private ones."""
        column = tables.role_key.c
        active = select(column.role, column.version, column.public).where(column.state == "active")
        if {row.role: (row.version, row.public) for row in conn.execute(active)} != self._publics:
            self.refresh(conn)
        return Sealer(self._publics)

    def keys(self, conn: Connection) -> list[KeyInfo]:
        """Every key with its state and age, and no bytes."""
        return keyring.list_keys(conn)

    def scope_keys(self, conn: Connection, scope: str, *, now: datetime) -> ScopeKeys:
        """The spine and subject-id keys of a scope, made when it is first asked for."""
        return ScopeKeys(
            spine=self._ensure(conn, "linkage", "spine", scope, now),
            subject_id=self._ensure(conn, "linkage", "subject-id", scope, now),
        )

    def intake_identities(self, conn: Connection) -> list[SealedKey]:
        """The age identities uploads may be encrypted to, for `intake` to open; newest first."""
        rows = self._keys.rows(conn, AGE_PURPOSE)
        return [SealedKey.from_bytes(row.sealed) for row in rows]

    def rotate_key(
        self,
        conn: Connection,
        purpose: str,
        owner: str = SERVICE,
        *,
        now: datetime,
        actor: str | None = None,
    ) -> int:
        """A next version of a permit, receipt or token key, or of a project's pseudonym key.

        Older versions only verify. The new version comes back.
        """
        if purpose not in _ROTATABLE:
            raise KeyringError(f"Keys that get a next version are: {', '.join(_ROTATABLE)}.")
        if self._keys.current(conn, purpose, owner).version == pseudonyms.VERSIONS[-1]:
            raise KeyringError(f"There are {pseudonyms.VERSIONS[-1]} key versions at most.")
        row = self._keys.create(conn, "vault", purpose, owner, now)
        self._record(conn, "key.rotated", _key_facts(row), actor, now)
        return int(row.version)

    def rotate_root(self, conn: Connection, *, now: datetime, actor: str | None = None) -> int:
        """Rewrap what the root wraps under a new version; commit, then `finish_rotation`.

        No file is rewritten and no pseudonym changes. Running processes go on: what they have
        unwrapped stays valid, and they find either version in custody.
        """
        old, new = self._wrapped.rotate(conn, now)
        self._record(conn, "root.rotated", {"old": old, "new": new}, actor, now)
        return new

    def finish_rotation(
        self, conn: Connection, *, now: datetime, actor: str | None = None
    ) -> tuple[int, ...]:
        """Drop the root versions that nothing refers to any more; they come back.

        In a transaction after the rotation's own. Again, after a crash, does no harm.
        """
        gone = self._wrapped.finish(conn)
        for version in gone:
            self._record(conn, "root.dropped", {"old": version}, actor, now)
        return gone

    # People

    def enrol(
        self,
        conn: Connection,
        document: Mapping[str, Any],
        signatures: Sequence[Mapping[str, Any]],
        *,
        now: datetime,
    ) -> Person:
        """Enrol a person, or change one's roles and keys, with two administrators' signatures."""
        person = self._people.enrol(conn, document, signatures, now)
        facts = {
            "person": person.id,
            "roles": list(person.roles),
            "signed_by": sorted({str(signature["person"]) for signature in signatures}),
            "sha256": permits.sha256(document),
        }
        self._record(conn, "person.enrolled", facts, None, now)
        return person

    def person(self, conn: Connection, person: str) -> Person:
        """The person as enrolled now; EnrolmentError when nobody vouches for one."""
        return self._people.person(conn, person)

    def people(self, conn: Connection) -> list[Person]:
        """Everybody enrolled, by id."""
        return self._people.everybody(conn)

    def verify(
        self, conn: Connection, document: Mapping[str, Any], signature: Mapping[str, Any]
    ) -> Person:
        """Who signed the document; SignatureError or EnrolmentError when nobody did.

        A document that says `by` whom it is must be signed by that person.
        """
        person = self.person(conn, str(signature.get("person")))
        signing.verify(document, signature, person.signing_key)
        if "by" in document and document["by"] != person.id:
            raise SignatureError("The document is by another person than the one who signed it.")
        return person

    # Permits

    def seal_permit(
        self,
        conn: Connection,
        permit: Mapping[str, Any],
        *,
        application: Mapping[str, Any],
        advice: Mapping[str, Any],
        approval: Mapping[str, Any],
        now: datetime,
    ) -> dict[str, Any]:
        """Sign a permit that two people decided on; its envelope comes back.

        `permit` has every member but `signatures`; `advice` and `approval` are
        {"document", "signature"}. PermitError says what is missing: a DPO's signed favourable
        advice on this very application, a director's signed approval of this very advice, two
        different people, and a permit that grants exactly the terms that were applied for. An
        application gets one permit.
        """
        self._refuse_undecided(conn, application, advice, approval)
        document = {**permit, "signatures": {"advice": dict(advice), "approval": dict(approval)}}
        try:
            granted = Permit.from_document(document)
            asked = Application.from_document(application)
        except PermitFault as fault:
            raise PermitError(str(fault)) from None
        if granted.scope != granted.project:
            raise PermitError("A permit's scope is its own project; no other project's spine.")
        if granted.application != approval["document"]["application"]:
            raise PermitError("The permit names another application than the approval.")
        if granted.model_dump(by_alias=True, include=set(Terms.model_fields)) != asked.terms():
            raise PermitError("The permit grants something else than was applied for and approved.")
        self._ensure(conn, "vault", "pseudonym", granted.project, now)
        row = self._write_permit(conn, granted, now)
        facts = {
            "permit": granted.id,
            "project": granted.project,
            "application": granted.application,
            "scope": granted.scope,
            "sha256": permits.sha256(granted.document()),
        }
        self._record(conn, "permit.sealed", facts, approval["document"]["by"], now)
        return self._envelope(conn, row)

    def permit(
        self, conn: Connection, permit_id: str, purpose: Purpose, *, now: datetime
    ) -> Permit:
        """The permit, when it allows this purpose now; PermitError with the reason when not."""
        row = _permit_row(conn, permit_id)
        permit = self._read_permit(conn, row)
        reason = permits.refusal(permit, purpose=purpose, now=now, state=row.state)
        if reason is not None:
            raise PermitError(reason)
        return permit

    def permit_envelope(self, conn: Connection, permit_id: str) -> dict[str, Any]:
        """{permit, key, key_version, signature, state}, verified, whatever the state."""
        row = _permit_row(conn, permit_id)
        self._read_permit(conn, row)
        return self._envelope(conn, row)

    def suspend(
        self, conn: Connection, permit_id: str, *, now: datetime, actor: str | None = None
    ) -> None:
        """Take a permit out of force until it is resumed."""
        self._change(conn, permit_id, "in_force", "suspended")
        self._record(conn, "permit.suspended", {"permit": permit_id}, actor, now)

    def resume(
        self, conn: Connection, permit_id: str, *, now: datetime, actor: str | None = None
    ) -> None:
        """Put a suspended permit back in force."""
        self._change(conn, permit_id, "suspended", "in_force")
        self._record(conn, "permit.resumed", {"permit": permit_id}, actor, now)

    def pseudonyms(
        self,
        conn: Connection,
        permit_id: str,
        unit_type: str,
        subject_ids: Any,
        *,
        now: datetime,
        actor: str | None = None,
    ) -> Any:
        """Pseudonyms of the permit's project for a column of subject ids (pyarrow), in order."""
        permit = self.permit(conn, permit_id, "pseudonymise", now=now)
        row = self._keys.current(conn, "pseudonym", permit.project)
        column = pseudonyms.pseudonyms(self._keys.open(row), unit_type, row.version, subject_ids)
        facts = {
            "permit": permit_id,
            "project": permit.project,
            "unit_type": unit_type,
            "count": len(column),
            "key_version": row.version,
        }
        self._record(conn, "pseudonyms.given", facts, actor, now)
        return column

    # The service's own signatures

    def ledger(self, conn: Connection) -> Ledger:
        """The pen for the ledger."""
        row = self._keys.current(conn, "ledger", owner=None)
        return Ledger(row.owner, self._keys.signer(row))

    def sign_receipt(self, conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document (with `type` and `version`) with the service's signature in it."""
        row = self._keys.current(conn, "receipt")
        return signing.seal_document(document, self._keys.signer(row))

    def sign_manifest(self, conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a release's manifest, whose `type` is `manifest`."""
        if document.get("type") != "manifest":
            raise SignatureError("A manifest's `type` is `manifest`.")
        return self.sign_receipt(conn, document)

    def sign_token(
        self,
        conn: Connection,
        *,
        issuer: str,
        audience: str,
        subject: str,
        lifetime: timedelta,
        now: datetime,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """An access token (RFC 9068) with further claims; see `tokens`."""
        return tokens.sign_token(
            self._keys.signer(self._keys.current(conn, "token")),
            issuer=issuer,
            audience=audience,
            subject=subject,
            lifetime=lifetime,
            now=now,
            claims=claims or {},
        )

    def jwks(self, conn: Connection) -> dict[str, Any]:
        """The public keys that access tokens are checked with (RFC 7517)."""
        return {"keys": [tokens.jwk(row.public) for row in self._keys.rows(conn, "token")]}

    def public_keys(self, conn: Connection) -> dict[str, Any]:
        """What the service publishes about itself; lists are newest first.

        `uploads`: age recipient. `receipt`, `permit`: Ed25519 keys (base64url). `ledger`: verifier
        keys of checkpoints. `token`: JWKS.
        """
        return {
            "uploads": self._keys.current(conn, AGE_PURPOSE).public,
            "receipt": [row.public for row in self._keys.rows(conn, "receipt")],
            "permit": [row.public for row in self._keys.rows(conn, "permit")],
            "ledger": [self.ledger(conn).verifier],
            "token": self.jwks(conn),
        }

    # Inside

    def _founders(self, conn: Connection) -> list[Person]:
        return [read_enrolment(document) for document in self._wrapped.founders(conn)]

    def _record(
        self,
        conn: Connection,
        kind: str,
        facts: Mapping[str, Any],
        actor: str | None,
        now: datetime,
    ) -> None:
        self.ledger(conn).append(conn, kind, facts, actor=actor, now=now)

    def _ensure(
        self, conn: Connection, role: str, purpose: str, owner: str, now: datetime
    ) -> SealedKey:
        row, made = self._keys.ensure(conn, role, purpose, owner, now)
        if made:
            self._record(conn, "key.created", _key_facts(row), None, now)
        return SealedKey.from_bytes(row.sealed)

    def _refuse_undecided(
        self,
        conn: Connection,
        application: Mapping[str, Any],
        advice: Mapping[str, Any],
        approval: Mapping[str, Any],
    ) -> None:
        for decision, role in ((advice, "dpo"), (approval, "director")):
            try:
                signer = self.verify(conn, decision["document"], decision["signature"])
            except (SignatureError, EnrolmentError) as error:
                raise PermitError(f"The signature of the {role} doesn't stand: {error}") from None
            if role not in signer.roles:
                raise PermitError(f"Somebody signed who is not enrolled as {role}.")
        if advice["signature"]["person"] == approval["signature"]["person"]:
            raise PermitError("Advice and approval must come from two different people.")
        fault = permits.approval_fault(
            permits.sha256(application), advice["document"], approval["document"]
        )
        if fault is not None:
            raise PermitError(fault)

    def _write_permit(self, conn: Connection, permit: Permit, now: datetime) -> Row[Any]:
        column = tables.permit.c
        if conn.scalar(select(column.id).where(column.id == permit.id)):
            raise PermitError("There is a permit of that id already; a changed one gets a new id.")
        # Otherwise a suspended permit could be had again under another id.
        for row in conn.execute(select(tables.permit).where(column.project == permit.project)):
            if self._read_permit(conn, row).application == permit.application:
                raise PermitError("That application has its permit already; a new one is needed.")
        body = signing.canonical(permit.document())
        key = self._keys.current(conn, "permit")
        conn.execute(
            insert(tables.permit).values(
                id=permit.id,
                project=permit.project,
                body=body,
                signature=signing.sign_bytes(body, self._keys.signer(key)),
                key_version=key.version,
                state="in_force",
                sealed_at=signing.utc_text(now),
            )
        )
        return _permit_row(conn, permit.id)

    def _read_permit(self, conn: Connection, row: Row[Any]) -> Permit:
        """The permit of a row, when its bytes are still those that were signed."""
        try:
            signing.check_bytes(row.body, row.signature, self._permit_key(conn, row.key_version))
            permit = Permit.from_document(signing.read_canonical(row.body))
        except (SignatureError, PermitFault):
            raise PermitChangedError(
                "The stored permit is not the one that was signed; restore it from a backup and "
                "find out who changed it."
            ) from None
        if (permit.id, permit.project) != (row.id, row.project):
            raise PermitChangedError("The stored permit stands in the place of another one.")
        return permit

    def _permit_key(self, conn: Connection, version: int) -> str:
        for row in self._keys.rows(conn, "permit"):
            if row.version == version:
                return str(row.public)
        raise PermitError("The key that signed this permit is no longer valid; have it renewed.")

    def _envelope(self, conn: Connection, row: Row[Any]) -> dict[str, Any]:
        return {
            "permit": signing.read_canonical(row.body),
            "key": self._permit_key(conn, row.key_version),
            "key_version": row.key_version,
            "signature": row.signature,
            "state": row.state,
        }

    def _change(self, conn: Connection, permit_id: str, old: str, new: str) -> None:
        self._read_permit(conn, _permit_row(conn, permit_id))
        column = tables.permit.c
        changed = conn.execute(
            update(tables.permit)
            .where(column.id == permit_id, column.state == old)
            .values(state=new)
        )
        if changed.rowcount != 1:
            raise PermitError(f"The permit is not {old.replace('_', ' ')}; look at its state.")


def _admit(founders: Sequence[Mapping[str, Any]]) -> list[Person]:
    people = [read_enrolment(document) for document in founders]
    keys = [key for person in people for key in (person.signing_key, person.authentication_key)]
    if len({person.id for person in people}) < len(people) or len(set(keys)) < len(keys):
        raise EnrolmentError("The founders are different people with keys of their own.")
    if sum("administrator" in person.roles for person in people) < 2:
        raise EnrolmentError("It takes two administrators to found a vault; name one more.")
    return people


def _key_facts(row: Row[Any]) -> dict[str, Any]:
    return {
        "key": row.id,
        "purpose": row.purpose,
        "owner": row.owner,
        "key_version": row.version,
    }


def _permit_row(conn: Connection, permit_id: str) -> Row[Any]:
    row = conn.execute(select(tables.permit).where(tables.permit.c.id == permit_id)).first()
    if row is None:
        raise PermitAbsentError("There is no permit of that id.")
    return row
