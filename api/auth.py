"""Who are you: client assertions in, short-lived tokens out, and the actor behind a token.

People and programs prove themselves with `private_key_jwt` (RFC 7523): a short assertion signed
with their enrolled authentication key, usable once. What they get is an EdDSA access token of ten
minutes. Roles are looked up anew at every request, so that a changed enrolment counts at once.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from api.problems import Problem
from api.settings import Settings
from api.store import Stranger, UsedAssertion
from keyvault.errors import EnrolmentError, TokenError
from keyvault.tokens import ASSERTION_TYPE, verify_assertion, verify_token
from keyvault.vault import Vault
from policies.access import Actor


def issue_token(
    session: Session, vault: Vault, settings: Settings, form: dict[str, str], now: datetime
) -> dict[str, Any]:
    """Answer a token request (RFC 6749 client credentials with a client assertion)."""
    if (
        form.get("grant_type") != "client_credentials"
        or form.get("client_assertion_type") != ASSERTION_TYPE
    ):
        raise Problem(
            "bad-request",
            "A token is given for client credentials with a JWT assertion.",
            f"Send grant_type=client_credentials and client_assertion_type={ASSERTION_TYPE}.",
        )
    connection = session.connection()

    def key_of(person: str) -> str | None:
        try:
            return vault.person(connection, person).authentication_key
        except EnrolmentError:
            return None

    try:
        claims = verify_assertion(
            form.get("client_assertion", ""), key_of, audience=settings.issuer, now=now
        )
    except TokenError as fault:
        raise Problem(
            "bad-assertion",
            str(fault),
            "Sign a fresh assertion with your enrolled authentication key, once two administrators "
            "have enrolled you; check this machine's clock.",
        ) from None
    session.execute(delete(UsedAssertion).where(UsedAssertion.expires_at < now))
    used = hashlib.sha256(f"{claims['sub']} {claims['jti']}".encode()).hexdigest()
    if session.get(UsedAssertion, used) is not None:
        raise Problem(
            "bad-assertion",
            "This assertion was used before.",
            "Sign a fresh one for each token.",
        )
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    session.add(UsedAssertion(used=used, expires_at=expires_at))
    token = vault.sign_token(
        connection,
        subject=claims["sub"],
        issuer=settings.issuer,
        audience=settings.issuer,
        lifetime=timedelta(seconds=settings.token_seconds),
        now=now,
    )
    return {"access_token": token, "token_type": "Bearer", "expires_in": settings.token_seconds}


def actor(
    session: Session, vault: Vault, settings: Settings, header: str | None, now: datetime
) -> Actor:
    """The person behind an Authorization header, with the roles they have now."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(
            "no-token",
            "This route wants an access token.",
            "Get one at POST /token with a client assertion; `schakel` does it by itself.",
        )
    connection = session.connection()
    try:
        claims = verify_token(
            token,
            vault.jwks(connection),
            issuer=settings.issuer,
            audience=settings.issuer,
            now=now,
        )
    except TokenError as fault:
        raise Problem("bad-token", str(fault), "Get a fresh token at POST /token.") from None
    try:
        enrolled = vault.person(connection, claims["sub"])
    except EnrolmentError:
        raise Problem(
            "bad-token",
            "Nobody is enrolled under this name.",
            "Ask two administrators to enrol you.",
        ) from None
    return Actor(enrolled.id, enrolled.organisation, frozenset(enrolled.roles))


def count_stranger(session: Session, kind: str, now: datetime) -> None:
    """Count a refusal of somebody unknown; a list would let anybody fill the ledger."""
    day = now.date().isoformat()
    row = session.get(Stranger, (day, kind))
    if row is None:
        session.add(Stranger(day=day, type=kind, count=1))
    else:
        row.count += 1
