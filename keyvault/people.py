"""Whose key is whose, and who vouched for it.

An enrolment is a signed document: a person's name, organisation, roles and two public keys. The
founding administrators' enrolments are sealed with the root; each later one carries the signatures
of two persons who were administrators at that moment, which can be followed back to the founders.
That is done whenever a person's key is used, so that a row put into the table by somebody who
captured the database is not believed. Of several believed enrolments of one person the latest (by
the `at` that was signed) counts; one with no roles ends what the person may do.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from keyvault import tables
from keyvault.errors import EnrolmentError, SignatureError
from keyvault.signing import canonical, instant, public_key, read_canonical, verify

ROLES = ("administrator", "statistician", "dpo", "director", "researcher", "holder", "auditor")
"""What people are. A process role is something else: see `keyring.ROLES`."""

_INSIDERS = frozenset({"statistician", "administrator", "director", "dpo", "auditor"})
_KEYS = ("signing_key", "authentication_key")
_FIELDS = ("type", "version", "person", "name", "organisation", "roles", *_KEYS, "at")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Person:
    """An enrolled person; keys are Ed25519 public keys in base64url."""

    id: str
    name: str = field(repr=False)
    organisation: str
    roles: tuple[str, ...]
    signing_key: str
    authentication_key: str
    at: datetime


def read_enrolment(document: Mapping[str, Any]) -> Person:
    """The person that an enrolment tells of; EnrolmentError when it isn't a sound one."""
    if set(document) != set(_FIELDS) or document["type"] != "enrolment" or document["version"] != 1:
        raise EnrolmentError(f"An enrolment has exactly these members: {', '.join(_FIELDS)}.")
    texts = [document[name] for name in ("person", "name", "organisation")]
    roles = document["roles"]
    if not all(isinstance(text, str) and text for text in texts) or not _ID.fullmatch(texts[0]):
        raise EnrolmentError(
            "Person, name and organisation are texts, none empty; `person` is up to 63 lower-case "
            "letters, digits, dots, dashes and underscores."
        )
    if not isinstance(roles, list | tuple) or any(role not in ROLES for role in roles):
        raise EnrolmentError(f"Roles are some of: {', '.join(ROLES)}.")
    if "researcher" in roles and _INSIDERS & set(roles):
        raise EnrolmentError(
            "A researcher can't also be statistician, administrator, director, DPO or auditor: who "
            "receives research files neither makes them nor sees what they withhold."
        )
    signing_key, authentication_key = (document[name] for name in _KEYS)
    try:
        public_key(signing_key)
        public_key(authentication_key)
        at = instant(document["at"])
    except (SignatureError, ValueError) as error:
        raise EnrolmentError(f"The enrolment doesn't hold together: {error}") from None
    if signing_key == authentication_key:
        raise EnrolmentError("Signing and logging in take two different keys; make another one.")
    person, name, organisation = texts
    return Person(person, name, organisation, tuple(roles), signing_key, authentication_key, at)


class People:
    """Everybody the founders vouch for, directly or through others.

    `founders` reads the sealed founding enrolments. What was proved once is remembered by the
    hash of the row.
    """

    def __init__(self, founders: Callable[[Connection], Sequence[Person]]) -> None:
        self._founders = founders
        self._believed: dict[bytes, Person] = {}

    def person(self, conn: Connection, person: str) -> Person:
        """The person as enrolled now; EnrolmentError when nobody vouches for one."""
        found = self._as_of(conn, person, None)
        if found is None:
            raise EnrolmentError(
                "Nobody of that name is enrolled with the signatures of two administrators."
            )
        return found

    def everybody(self, conn: Connection) -> list[Person]:
        """All persons as enrolled now, by id."""
        rows: dict[str, list[Row[Any]]] = {founder.id: [] for founder in self._founders(conn)}
        for row in conn.execute(select(tables.enrolment)):
            rows.setdefault(row.person, []).append(row)
        found = (self._latest(conn, person, rows[person], None) for person in sorted(rows))
        return [person for person in found if person is not None]

    def enrol(
        self,
        conn: Connection,
        document: Mapping[str, Any],
        signatures: Sequence[Mapping[str, Any]],
        now: datetime,
    ) -> Person:
        """Take in an enrolment that two administrators of today have signed."""
        person = read_enrolment(document)
        self._refuse_out_of_order(conn, person, now)
        self._refuse_shared_keys(conn, person)
        then = self._vouched_for(conn, document, signatures, before=person.at)
        if not then or not self.administrators(conn, document, signatures):
            raise EnrolmentError(
                "An enrolment takes the signatures of two different administrators (now, and at "
                "its `at`); ask two of them to sign this very document."
            )
        conn.execute(
            insert(tables.enrolment).values(
                person=person.id,
                at=document["at"],
                document=canonical(document),
                signatures=canonical({"signatures": [dict(item) for item in signatures]}),
            )
        )
        return self.person(conn, person.id)

    def administrators(
        self, conn: Connection, document: Mapping[str, Any], signatures: Iterable[Any]
    ) -> list[str]:
        """The administrators of today who signed a document, by id: two or more, or nobody."""
        return self._vouched_for(conn, document, signatures, before=None)

    def _refuse_out_of_order(self, conn: Connection, person: Person, now: datetime) -> None:
        last = self._as_of(conn, person.id, None)
        if person.at > now + _SKEW or (last is not None and person.at <= last.at):
            raise EnrolmentError(
                "An enrolment's `at` lies after the person's last one and not in the future; make "
                "the document anew and have it signed."
            )

    def _refuse_shared_keys(self, conn: Connection, person: Person) -> None:
        """One key for two people would let one of them sign as both."""
        keys = {person.signing_key, person.authentication_key}
        for other in self.everybody(conn):
            if other.id != person.id and keys & {other.signing_key, other.authentication_key}:
                raise EnrolmentError("Somebody else is enrolled with one of these keys.")

    def _as_of(self, conn: Connection, person: str, before: datetime | None) -> Person | None:
        """The latest believed enrolment of a person, before a moment if one is given."""
        this = tables.enrolment.c.person == person
        rows = conn.execute(select(tables.enrolment).where(this)).all()
        return self._latest(conn, person, rows, before)

    def _latest(
        self,
        conn: Connection,
        person: str,
        rows: Sequence[Row[Any]],
        before: datetime | None,
    ) -> Person | None:
        dated = sorted(((_moment(row.at), row) for row in rows), key=lambda pair: pair[0])
        for at, row in reversed(dated):
            if before is None or at < before:
                believed = self._believe(conn, row)
                if believed is not None:
                    return believed
        for founder in self._founders(conn):
            # A founder may vouch for others in the very moment of founding.
            if founder.id == person and (before is None or founder.at <= before):
                return founder
        return None

    def _believe(self, conn: Connection, row: Row[Any]) -> Person | None:
        """The person of a row whose signatures lead back to the founders, or None."""
        proof = hashlib.sha256(
            b"".join(
                hashlib.sha256(part).digest()
                for part in (row.person.encode(), row.at.encode(), row.document, row.signatures)
            )
        ).digest()
        if proof not in self._believed:
            try:
                document = read_canonical(row.document)
                signatures = list(read_canonical(row.signatures)["signatures"])
                person = read_enrolment(document)
            except (SignatureError, EnrolmentError, KeyError, TypeError):
                return None
            if (person.id, document["at"]) != (row.person, row.at):
                return None
            if not self._vouched_for(conn, document, signatures, before=person.at):
                return None
            self._believed[proof] = person
        return self._believed[proof]

    def _vouched_for(
        self,
        conn: Connection,
        document: Mapping[str, Any],
        signatures: Iterable[Any],
        *,
        before: datetime | None,
    ) -> list[str]:
        """The administrators, two or more with different keys, who signed the document."""
        vouching: dict[str, str] = {}
        for signature in signatures:
            if not isinstance(signature, Mapping):
                continue
            signer = self._as_of(conn, str(signature.get("person")), before)
            if signer is None or "administrator" not in signer.roles:
                continue
            try:
                verify(document, signature, signer.signing_key)
            except SignatureError:
                continue
            vouching[signer.id] = signer.signing_key
        return sorted(vouching) if len(set(vouching.values())) >= 2 else []


def _moment(text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
