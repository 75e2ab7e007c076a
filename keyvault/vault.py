"""The door to all of it.

A `Vault` does the database's part and leaves what takes key bytes to a safe: one in this process's
memory (`found`, `open`), or a process of its own behind a Unix socket (`at`). Every method is
handed a connection inside the caller's transaction and works in it; the ledger entries about keys,
people and permits are written there too, by the vault itself, so callers don't write them again:
`vault.founded`, `person.enrolled`, `permit.sealed`, `permit.suspended`, `permit.resumed`,
`key.created`, `key.rotated`, `pseudonyms.given`. (`root.rotated` and `root.dropped` are written by
whoever holds the root, in transactions of its own.)

Why it can be believed when the database can't: key pairs and founders are wrapped by the root
(`wrapping`), rows of the vault's own keys carry a proof (`ownkeys`), enrolments lead back to the
founders (`people`), and permits are signed bytes (`authority`). What a captured database can still
do is forget: put old rows back, or set a state back. The ledger's checkpoints are there to notice.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from keyvault import destruction, keyring, publishing, signing, tables, tokens
from keyvault.authority import Authority, permit_row
from keyvault.ceremonies import SERVICE, Signed, Standing
from keyvault.custody import Custody
from keyvault.errors import EnrolmentError, PermitError, SignatureError
from keyvault.keyring import KeyInfo, RoleKeys, SealedKey, Sealer
from keyvault.ledger import Ledger
from keyvault.ownkeys import KeyRows, Values
from keyvault.pairs import Progress
from keyvault.people import Person, read_enrolment
from keyvault.proxy import Proxy
from keyvault.safe import Begin, Publics, Safe, SignedPermit
from keyvault.secret import AGE_PURPOSE, SIGNING_PURPOSES, Secret
from policies import permits
from policies.permits import Permit, Purpose


@dataclass(frozen=True)
class ScopeKeys:
    """The two keys of a scope, sealed to linkage."""

    spine: SealedKey
    subject_id: SealedKey


class Vault:
    """Keys, people and permits of one installation. Make one with `found`, `open` or `at`."""

    def __init__(self, safe: Safe | Proxy) -> None:
        self._safe = safe
        self._publics: Publics = {}
        self._learnt: set[tuple[str, int]] = set()
        self._keys = KeyRows(safe.prove)
        self._authority = Authority(safe.founders, self._keys)

    def __repr__(self) -> str:
        return f"<Vault on {self._safe!r}>"

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
        safe = Safe(custody)
        root = safe.found(conn, founders, now)
        vault = cls(safe)
        origin = f"schakel/ledger/{keyring.new_key_id().removeprefix('key-')}"
        for purpose in (*SIGNING_PURPOSES, AGE_PURPOSE):
            owner = origin if purpose == "ledger" else SERVICE
            vault._keys.keep(conn, safe.maker.make(conn, purpose, owner), now)
        Ledger.found(conn)
        facts = {"root": root, "founders": [person.id for person in people]}
        vault._record(conn, "vault.founded", facts, None, now)
        return vault

    @classmethod
    def open(cls, conn: Connection, custody: Custody) -> "Vault":
        """Every later start, with the root in this process's hands."""
        vault = cls(Safe(custody))
        vault.refresh(conn)
        return vault

    @classmethod
    def at(cls, socket: Path, *, patience: float = 0.0) -> "Vault":
        """The vault whose process listens there, within `patience` seconds; it may be sealed.

        VaultAwayError when it doesn't.
        """
        proxy = Proxy(socket)
        proxy.wait(patience)
        return cls(proxy)

    @property
    def sealed(self) -> bool:
        """Whether its custodians have yet to open it; everything else is VaultSealedError then."""
        return isinstance(self._safe, Proxy) and bool(self._safe.state()["sealed"])

    def close(self) -> None:
        """Let go of what connects this process to the vault's, if there is one."""
        if isinstance(self._safe, Proxy):
            self._safe.close()

    def refresh(self, conn: Connection) -> None:
        """Unwrap the role keys as they stand now, when another process has added versions."""
        self._publics = self._safe.publics(conn)

    # Process roles and sealed keys

    def role(self, name: str) -> RoleKeys:
        """The private half of one process role; a vault's process gives it to that role only."""
        return self._safe.role(name)

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
            spine=self._ensure(conn, "spine", scope, now),
            subject_id=self._ensure(conn, "subject-id", scope, now),
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
        signed: Signed | None = None,
    ) -> int:
        """A next version of one of the service's own keys, or of a project's pseudonym key.

        Older versions only verify, or open what was encrypted to them. The new version comes back.
        Two administrators signed the ceremony (`ceremonies`); without it, and without an `actor`,
        it is whoever runs this process, who has the root.
        """
        made = self._safe.make_next(conn, purpose, owner, actor, signed)
        told = {}
        if signed is not None:
            standing = Standing(purpose, owner, int(made["version"]) - 1)
            told = self._authority.ceremony(conn, signed, "rotate", standing)
        row = self._keys.keep(conn, made, now)
        self._record(conn, "key.rotated", {**_key_facts(row), **told}, actor, now)
        return int(row.version)

    def rotate_root(
        self,
        begin: Begin,
        *,
        now: datetime,
        actor: str | None = None,
        signed: Signed | None = None,
    ) -> int:
        """Rewrap what the root wraps under a new version, and drop the old one.

        No file is rewritten and no pseudonym changes. Running processes go on: what they have
        unwrapped stays valid. Whoever holds the custody does it in two transactions of its own
        (begun by `begin` if that is this process), so the caller must have none open. Cut off at
        any point it is finished by the next start, or the next rotation.
        """
        return self._safe.rotate_root(begin, now=now, actor=actor, signed=signed)

    def rotate_role(
        self,
        begin: Begin,
        role: str,
        *,
        now: datetime,
        actor: str | None = None,
        signed: Signed | None = None,
    ) -> Progress:
        """The next step of the rotation of a process role's key pair; until it is `destroyed`.

        Like the root's, by whoever holds the custody, in transactions of its own. Between the
        steps `pending` and `active` the caller waits for every job that began before the first.
        """
        return self._safe.rotate_role(begin, role, now=now, actor=actor, signed=signed)

    def destroy_key(
        self,
        conn: Connection,
        purpose: str,
        owner: str,
        version: int,
        *,
        now: datetime,
        actor: str,
        signed: Signed,
        needed: Callable[[str], Sequence[str]],
    ) -> None:
        """Destroy a key that two administrators say is to go and that nothing needs any more.

        KeyringError names what needs it: permits that aren't over, and what `needed` finds for
        the key's id among what the caller keeps.
        """
        row = destruction.key_row(conn, purpose, owner, version)
        told = self._authority.ceremony(conn, signed, "destroy", Standing(purpose, owner, version))
        found = destruction.needs(conn, self._authority, row, now)
        destruction.destroy(conn, row, [*found, *needed(row.id)])
        self._record(conn, "key.destroyed", {**_key_facts(row), **told}, actor, now)

    def learn(self, conn: Connection) -> None:
        """Take in key pairs that another process of this machine has made since, if any.

        Whoever works for a role calls it before each piece of work; the vault's own process always
        has them.
        """
        if isinstance(self._safe, Safe):
            column = tables.role_key.c
            known = select(column.role, column.version).where(column.state != "destroyed")
            found = {(row.role, row.version) for row in conn.execute(known)}
            if found != self._learnt:
                self.refresh(conn)
                self._learnt = found

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
        person = self._authority.people.enrol(conn, document, signatures, now)
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
        return self._authority.people.person(conn, person)

    def people(self, conn: Connection) -> list[Person]:
        """Everybody enrolled, by id."""
        return self._authority.people.everybody(conn)

    def verify(
        self, conn: Connection, document: Mapping[str, Any], signature: Mapping[str, Any]
    ) -> Person:
        """Who signed the document; SignatureError or EnrolmentError when nobody did.

        A document that says `by` whom it is must be signed by that person.
        """
        return self._authority.verify(conn, document, signature)

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
        signed = self._safe.seal_permit(
            conn, permit, application=application, advice=advice, approval=approval
        )
        granted = Permit.from_document(signing.read_canonical(signed.body))
        self._ensure(conn, "pseudonym", granted.project, now)
        row = _write_permit(conn, granted, signed, now)
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
        return self._authority.permit(conn, permit_id, purpose, now)

    def permit_envelope(self, conn: Connection, permit_id: str) -> dict[str, Any]:
        """{permit, key, key_version, signature, state}, verified, whatever the state."""
        row = permit_row(conn, permit_id)
        self._authority.read_permit(conn, row)
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
        spoken = self._safe.pseudonyms(conn, permit_id, unit_type, subject_ids, now=now)
        facts = {
            "permit": permit_id,
            "project": spoken.project,
            "unit_type": unit_type,
            "count": len(spoken.column),
            "key_version": spoken.key_version,
        }
        self._record(conn, "pseudonyms.given", facts, actor, now)
        return spoken.column

    # The service's own signatures

    def ledger(self, conn: Connection) -> Ledger:
        """The pen for the ledger."""
        return self._safe.pen(conn, self._keys)

    def sign_receipt(self, conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document, whose `type` is `receipt`, with the service's signature in it."""
        if document.get("type") != "receipt":
            raise SignatureError("A receipt's `type` is `receipt`.")
        return self._safe.sign_document(conn, document)

    def sign_manifest(self, conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a release's manifest, whose `type` is `manifest`."""
        if document.get("type") != "manifest":
            raise SignatureError("A manifest's `type` is `manifest`.")
        return self._safe.sign_document(conn, document)

    def sign_job(self, conn: Connection, document: Mapping[str, Any]) -> str:
        """A signature on what a job is to do, for its worker to hold against `verify_job`."""
        return self._safe.sign_job(conn, document)

    def verify_job(self, conn: Connection, document: Mapping[str, Any], signature: str) -> None:
        """SignatureError unless the vault signed this job, with its present key or an older one."""
        body = signing.canonical(document)
        for row in self._keys.rows(conn, "job"):
            with suppress(SignatureError):
                return signing.check_bytes(body, signature, row.public)
        raise SignatureError("This job is not one that the vault signed.")

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
        return self._safe.sign_token(
            conn,
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
        """What the service publishes about itself (`publishing`), with the tokens' JWKS."""
        return {
            **publishing.published(conn, self._keys),
            "token": self.jwks(conn),
            "endorsements": self._safe.endorse(conn),
        }

    # Inside

    def _record(
        self,
        conn: Connection,
        kind: str,
        facts: Mapping[str, Any],
        actor: str | None,
        now: datetime,
    ) -> None:
        self.ledger(conn).append(conn, kind, facts, actor=actor, now=now)

    def _ensure(self, conn: Connection, purpose: str, owner: str, now: datetime) -> SealedKey:
        def make() -> Values:
            return self._safe.make_first(conn, purpose, owner)

        row, made = self._keys.ensure(conn, make, purpose, owner, now)
        if made:
            self._record(conn, "key.created", _key_facts(row), None, now)
        return SealedKey.from_bytes(row.sealed)

    def _envelope(self, conn: Connection, row: Row[Any]) -> dict[str, Any]:
        return {
            "permit": signing.read_canonical(row.body),
            "key": self._authority.permit_key(conn, row.key_version),
            "key_version": row.key_version,
            "signature": row.signature,
            "state": row.state,
        }

    def _change(self, conn: Connection, permit_id: str, old: str, new: str) -> None:
        self._authority.read_permit(conn, permit_row(conn, permit_id))
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


def _write_permit(
    conn: Connection, permit: Permit, signed: SignedPermit, now: datetime
) -> Row[Any]:
    conn.execute(
        insert(tables.permit).values(
            id=permit.id,
            project=permit.project,
            body=signed.body,
            signature=signed.signature,
            key_version=signed.key_version,
            state="in_force",
            sealed_at=signing.utc_text(now),
        )
    )
    return permit_row(conn, permit.id)
