"""Whom and what the vault believes, read from rows that anybody may have written.

A person counts when two administrators vouch for them, back to the founders; a permit when it is
byte for byte what was signed. It takes no key bytes to find that out, so every process does it for
itself; the vault's own process does it again, on what it reads itself, before it signs or gives
anything.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from keyvault import ceremonies, signing, tables
from keyvault.ceremonies import Standing
from keyvault.errors import (
    EnrolmentError,
    KeyringError,
    PermitAbsentError,
    PermitChangedError,
    PermitError,
    SignatureError,
)
from keyvault.ownkeys import KeyRows
from keyvault.people import People, Person, read_enrolment
from policies import permits
from policies.permits import Application, Permit, PermitFault, Purpose, Terms

Founders = Callable[[Connection], Sequence[Mapping[str, Any]]]


class Authority:
    """People and permits as they stand in one database.

    `founders` reads the sealed founding enrolments, `keys` the proved rows of the service's keys.
    """

    def __init__(self, founders: Founders, keys: KeyRows) -> None:
        self._keys = keys
        self.people = People(lambda conn: [read_enrolment(item) for item in founders(conn)])

    def verify(
        self, conn: Connection, document: Mapping[str, Any], signature: Mapping[str, Any]
    ) -> Person:
        """Who signed the document; SignatureError or EnrolmentError when nobody did.

        A document that says `by` whom it is must be signed by that person.
        """
        person = self.people.person(conn, str(signature.get("person")))
        signing.verify(document, signature, person.signing_key)
        if "by" in document and document["by"] != person.id:
            raise SignatureError("The document is by another person than the one who signed it.")
        return person

    def ceremony(
        self, conn: Connection, signed: Mapping[str, Any], action: str, standing: Standing
    ) -> dict[str, Any]:
        """What the ledger tells of a ceremony: who signed it, and its hash.

        `signed` is {document, signatures}. KeyringError when it is about something else,
        EnrolmentError when it isn't two administrators who signed it.
        """
        document, signatures = signed.get("document"), signed.get("signatures")
        if not isinstance(document, Mapping) or not isinstance(signatures, Sequence):
            raise KeyringError("A ceremony comes as a document with its signatures.")
        wrong = ceremonies.fault(document, action, standing)
        if wrong is not None:
            raise KeyringError(wrong)
        signers = self.people.administrators(conn, document, signatures)
        if not signers:
            raise EnrolmentError(
                "A key ceremony takes the signatures of two different administrators; ask another "
                "one to sign it (`schakel sign ceremony`)."
            )
        return {"signed_by": signers, "sha256": permits.sha256(document)}

    def permit(self, conn: Connection, permit_id: str, purpose: Purpose, now: datetime) -> Permit:
        """The permit, when it allows this purpose now; PermitError with the reason when not."""
        row = permit_row(conn, permit_id)
        permit = self.read_permit(conn, row)
        reason = permits.refusal(permit, purpose=purpose, now=now, state=row.state)
        if reason is not None:
            raise PermitError(reason)
        return permit

    def read_permit(self, conn: Connection, row: Row[Any]) -> Permit:
        """The permit of a row, when its bytes are still those that were signed."""
        try:
            signing.check_bytes(row.body, row.signature, self.permit_key(conn, row.key_version))
            permit = Permit.from_document(signing.read_canonical(row.body))
        except (SignatureError, PermitFault):
            raise PermitChangedError(
                "The stored permit is not the one that was signed; restore it from a backup and "
                "find out who changed it."
            ) from None
        if (permit.id, permit.project) != (row.id, row.project):
            raise PermitChangedError("The stored permit stands in the place of another one.")
        return permit

    def permit_key(self, conn: Connection, version: int) -> str:
        """The public key that permits of this version are signed with."""
        for row in self._keys.rows(conn, "permit"):
            if row.version == version:
                return str(row.public)
        raise PermitError("The key that signed this permit is no longer valid; have it renewed.")

    def decided(
        self,
        conn: Connection,
        permit: Mapping[str, Any],
        application: Mapping[str, Any],
        advice: Mapping[str, Any],
        approval: Mapping[str, Any],
    ) -> Permit:
        """The permit that two people decided on and that may be signed now.

        PermitError says what is missing; see `Vault.seal_permit`.
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
        self._refuse_another(conn, granted)
        return granted

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

    def _refuse_another(self, conn: Connection, permit: Permit) -> None:
        column = tables.permit.c
        if conn.scalar(select(column.id).where(column.id == permit.id)):
            raise PermitError("There is a permit of that id already; a changed one gets a new id.")
        # Otherwise a suspended permit could be had again under another id.
        for row in conn.execute(select(tables.permit).where(column.project == permit.project)):
            if self.read_permit(conn, row).application == permit.application:
                raise PermitError("That application has its permit already; a new one is needed.")


def permit_row(conn: Connection, permit_id: str) -> Row[Any]:
    """A permit's row; PermitAbsentError when there is none."""
    row = conn.execute(select(tables.permit).where(tables.permit.c.id == permit_id)).first()
    if row is None:
        raise PermitAbsentError("There is no permit of that id.")
    return row
