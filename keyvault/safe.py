"""The part of the vault that holds key bytes.

A `Safe` has the custody, the private halves it unwrapped, and the service's own keys. It signs,
proves and gives; it writes nothing, but for the root's rotation, which belongs to whoever holds the
custody. The vault's callers hold one in their own process, or speak to a process that does
(`proxy`, `server`). Each method is handed a connection to read from.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, update

from keyvault import keyring, pairs, pseudonyms, publishing, signing, tables, tokens
from keyvault.authority import Authority
from keyvault.ceremonies import SERVICE, Signed, Standing
from keyvault.custody import Custody
from keyvault.errors import KeyringError, SignatureError
from keyvault.keyring import RoleKeys, Sealer
from keyvault.ledger import Ledger, Vouch, Watch, vouched_by
from keyvault.ownkeys import KeyMaker, KeyRows, Values
from keyvault.pairs import Progress
from keyvault.secret import AGE_PURPOSE, SIGNING_PURPOSES, Secret
from keyvault.wrapping import Wrapped, active_root

REWRAPPED = 500
"""Keys sealed anew in one transaction: others write between two of them."""

_SCOPED = ("spine", "subject-id", "pseudonym")
_ROTATABLE = (*SIGNING_PURPOSES, AGE_PURPOSE, "pseudonym")

Publics = dict[str, tuple[int, bytes]]
"""The active public half of each process role, with its version."""

Begin = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction of one's own, which the block's end commits."""


@dataclass(frozen=True)
class SignedPermit:
    """A permit's canonical bytes with the service's signature."""

    body: bytes
    signature: str
    key_version: int


@dataclass(frozen=True)
class Spoken:
    """A column of pseudonyms, and whose key of which version gave them."""

    project: str
    key_version: int
    column: Any


class Safe:
    """Custody, private halves and the service's own keys, in this process's memory."""

    def __init__(self, custody: Custody) -> None:
        self._wrapped = Wrapped(custody)
        self._roles: dict[str, RoleKeys] = {}
        self._publics: Publics = {}
        self.maker = KeyMaker(self.role, lambda: Sealer(self._publics))
        self.keys = KeyRows(self.maker.prove)
        self.watch = Watch()
        self.authority = Authority(self.founders, self.keys)

    def __repr__(self) -> str:
        return f"<Safe, roles {', '.join(self._roles)}, bytes hidden>"

    __reduce_ex__ = Secret.__reduce_ex__

    def found(self, conn: Connection, founders: Sequence[Mapping[str, Any]], now: datetime) -> int:
        """Make the role key pairs and seal the founders; the root version comes back."""
        root = self._wrapped.found(conn, founders, now)
        self.publics(conn)
        return root

    def publics(self, conn: Connection) -> Publics:
        """The public halves as they stand now, proved to belong to the private ones."""
        self._roles, self._publics = self._wrapped.role_keys(conn)
        return self._publics

    def founders(self, conn: Connection) -> tuple[dict[str, Any], ...]:
        """The founding enrolments."""
        return self._wrapped.founders(conn)

    def role(self, name: str) -> RoleKeys:
        """The private half of one process role."""
        try:
            return self._roles[name]
        except KeyError:
            raise KeyringError(
                f"There is no process role {name}; use one of {', '.join(keyring.ROLES)}."
            ) from None

    # Key rows

    def prove(self, values: Mapping[str, Any], proof: bytes) -> None:
        """SealError unless the vault made this key row."""
        self.maker.prove(values, proof)

    def make_first(self, conn: Connection, purpose: str, owner: str) -> Values:
        """The first key of a scope or project, as a row with its proof."""
        if purpose not in _SCOPED:
            raise KeyringError(f"Scopes and projects have keys for {', '.join(_SCOPED)}.")
        return self.maker.make(conn, purpose, owner)

    def make_next(
        self,
        conn: Connection,
        purpose: str,
        owner: str,
        actor: str | None,
        signed: Signed | None,
    ) -> Values:
        """The next version of a key that rotates, as a row with its proof."""
        if purpose not in _ROTATABLE:
            raise KeyringError(f"Keys that get a next version are: {', '.join(_ROTATABLE)}.")
        version = int(self.keys.current(conn, purpose, owner).version)
        if purpose == "pseudonym" and version == pseudonyms.VERSIONS[-1]:
            raise KeyringError(f"There are {pseudonyms.VERSIONS[-1]} key versions at most.")
        self.authorised(conn, actor, signed, "rotate", Standing(purpose, owner, version))
        return self.maker.make(conn, purpose, owner)

    def authorised(
        self,
        conn: Connection,
        actor: str | None,
        signed: Signed | None,
        action: str,
        standing: Standing,
    ) -> dict[str, Any]:
        """What the ledger tells of the ceremony; without anybody it is who runs this process."""
        if actor is None and signed is None:
            return {}
        return self.authority.ceremony(conn, signed or {}, action, standing)

    # Signatures

    def vouch(self, row: Row[Any]) -> Vouch:
        """What signs checkpoints with the ledger key of a row."""
        return vouched_by(row.owner, self.maker.signer(row))

    def sign_document(self, conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """A receipt or a manifest with the service's signature in it."""
        if document.get("type") not in ("receipt", "manifest"):
            raise SignatureError("The service signs receipts and manifests, by their `type`.")
        row = self.keys.current(conn, "receipt")
        return signing.seal_document(document, self.maker.signer(row))

    def endorse(self, conn: Connection) -> list[dict[str, str]]:
        """What every standing receipt key says to the list of public keys; see `publishing`."""
        data = publishing.endorsable(publishing.published(conn, self.keys))
        return [
            {"key": row.public, "signature": signing.sign_bytes(data, self.maker.signer(row))}
            for row in self.keys.rows(conn, "receipt")
        ]

    def sign_token(
        self,
        conn: Connection,
        *,
        issuer: str,
        audience: str,
        subject: str,
        lifetime: timedelta,
        now: datetime,
        claims: Mapping[str, Any],
    ) -> str:
        """An access token."""
        return tokens.sign_token(
            self.maker.signer(self.keys.current(conn, "token")),
            issuer=issuer,
            audience=audience,
            subject=subject,
            lifetime=lifetime,
            now=now,
            claims=claims,
        )

    def sign_job(self, conn: Connection, document: Mapping[str, Any]) -> str:
        """A signature on what a job is to do; the document's `type` is `job`."""
        if document.get("type") != "job":
            raise SignatureError("A job's `type` is `job`.")
        signer = self.maker.signer(self.keys.current(conn, "job"))
        return signing.sign_bytes(signing.canonical(document), signer)

    def seal_permit(
        self,
        conn: Connection,
        permit: Mapping[str, Any],
        *,
        application: Mapping[str, Any],
        advice: Mapping[str, Any],
        approval: Mapping[str, Any],
    ) -> SignedPermit:
        """Sign a permit that two people decided on; see `Vault.seal_permit`."""
        granted = self.authority.decided(conn, permit, application, advice, approval)
        body = signing.canonical(granted.document())
        key = self.keys.current(conn, "permit")
        return SignedPermit(body, signing.sign_bytes(body, self.maker.signer(key)), key.version)

    # Pseudonyms

    def pseudonyms(
        self, conn: Connection, permit_id: str, unit_type: str, subject_ids: Any, *, now: datetime
    ) -> Spoken:
        """Pseudonyms for a column of subject ids, under a permit in force."""
        permit = self.authority.permit(conn, permit_id, "pseudonymise", now)
        row = self.keys.current(conn, "pseudonym", permit.project)
        key = self.maker.open(row)
        column = pseudonyms.pseudonyms(key, unit_type, row.version, subject_ids)
        return Spoken(permit.project, row.version, column)

    # The root

    def rotate_root(
        self, begin: Begin, *, now: datetime, actor: str | None, signed: Signed | None
    ) -> int:
        """Both halves of a rotation, each in a transaction of its own; the new version."""
        with begin() as conn:
            standing = Standing("root", SERVICE, active_root(conn))
            told = self.authorised(conn, actor, signed, "rotate", standing)
            version = self.rotate(conn, now=now, actor=actor, told=told)
        with begin() as conn:
            self.finish(conn, now=now, actor=actor)
        return version

    def rotate(
        self,
        conn: Connection,
        *,
        now: datetime,
        actor: str | None,
        told: Mapping[str, Any] | None = None,
    ) -> int:
        """Rewrap what the root wraps under a new version; commit, then `finish`."""
        old, new = self._wrapped.rotate(conn, now)
        self._record(conn, "root.rotated", {"old": old, "new": new, **(told or {})}, actor, now)
        return new

    def may_move(self, conn: Connection, signed: Signed | None) -> dict[str, Any]:
        """What the ledger tells of a move; KeyringError or EnrolmentError when it may not be."""
        standing = Standing("root", SERVICE, active_root(conn))
        return self.authorised(conn, None, signed, "move", standing)

    def move(
        self, begin: Begin, to: Custody, kind: str, *, now: datetime, signed: Signed | None
    ) -> int:
        """Rewrap what the root wraps under another custody's root; the new version.

        What was wrapped opens from there, read anew, before this returns: only then may the
        custody before be ended.
        """
        with begin() as conn:
            told = self.may_move(conn, signed)
            old, new = self._wrapped.move(conn, to, now)
            facts = {"old": old, "new": new, "custody": kind, **told}
            self._record(conn, "custody.moved", facts, None, now)
        with begin() as conn:
            self.finish(conn, now=now, actor=None)
        return new

    # A role's key pair

    def rotate_role(
        self,
        begin: Begin,
        role: str,
        *,
        now: datetime,
        actor: str | None,
        signed: Signed | None,
        most: int = REWRAPPED,
    ) -> Progress:
        """The next step of a role's rotation, in a transaction of its own; see `pairs`.

        `step` is pending, active, rewrapped (`left` keys wait still) or destroyed: it is over then.
        """
        with begin() as conn:
            active, pending, superseded = pairs.standing(conn, role)
            about = Standing("role", role, superseded or active)
            told = self.authorised(conn, actor, signed, "rotate", about)
            facts: dict[str, Any] = {"role": role, **told}

            def note(kind: str, version: int) -> None:
                self._record(conn, kind, {**facts, "key_version": version}, actor, now)

            if superseded is not None:
                progress = self._rewrapped(conn, role, superseded, active, most)
                if progress.step == "destroyed":
                    note("role.destroyed", superseded)
            elif pending is not None:
                pairs.activate(conn, role, active, pending)
                note("role.rotated", pending)
                progress = Progress(pending, "active", 0)
            else:
                new = self._wrapped.add_pair(conn, role, now)
                note("role.pending", new)
                progress = Progress(new, "pending", 0)
        with begin() as conn:
            self.publics(conn)
        return progress

    def _rewrapped(self, conn: Connection, role: str, old: int, new: int, most: int) -> Progress:
        self.publics(conn)
        rows = {str(row.id): row for row in pairs.sealed_to(conn, (role, old))}
        if role == "vault":
            rows |= {str(row.id): row for row in pairs.proved_by(conn, old)}
        for row in list(rows.values())[:most]:
            this = tables.sealed_key.c.id == row.id
            conn.execute(update(tables.sealed_key).where(this).values(self.maker.reseal(row)))
        if rows:
            return Progress(new, "rewrapped", max(0, len(rows) - most))
        pairs.retire(conn, (role, old))
        return Progress(new, "destroyed", 0)

    # The root, left over

    def finish(self, conn: Connection, *, now: datetime, actor: str | None) -> tuple[int, ...]:
        """Drop the root versions that nothing refers to any more; they come back.

        In a transaction after the rotation's own. Again, after a crash, does no harm.
        """
        gone = self._wrapped.finish(conn)
        for version in gone:
            self._record(conn, "root.dropped", {"old": version}, actor, now)
        return gone

    def _record(
        self, conn: Connection, kind: str, facts: dict[str, Any], actor: str | None, now: datetime
    ) -> None:
        self.pen(conn, self.keys).append(conn, kind, facts, actor=actor, now=now)

    def pen(self, conn: Connection, keys: KeyRows) -> Ledger:
        """The pen for the ledger, which this process signs."""
        row = keys.current(conn, "ledger", owner=None)
        return Ledger(row.owner, row.public, self.vouch(row), self.watch)
