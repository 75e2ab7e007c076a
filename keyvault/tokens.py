"""Short-lived bearer tokens, and how programs ask for them.

    access token       JWT as in RFC 9068 (`typ` at+jwt), EdDSA, signed by the vault's token key;
                       the key is found by `kid` in the published JWKS
    client assertion   JWT as in RFC 7523 (`private_key_jwt`), EdDSA, signed by a person's or
                       program's own enrolled authentication key

Both sides are here. The library checks signatures; what it lets through by default (no `exp`,
another `typ`, several audiences, lifetimes of decades) is refused here, with the moment passed in.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.errors import SignatureError, TokenError
from keyvault.signing import from_base64url, public_key, public_text, to_base64url

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""What RFC 7523 calls a client assertion that is a JWT."""
LONGEST_TOKEN = timedelta(hours=1)
LONGEST_ASSERTION = timedelta(minutes=5)
SKEW = timedelta(seconds=30)
"""How far another machine's clock may be ahead of ours."""

_ALGORITHM = "EdDSA"
_TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type (RFC 9068)
_ASSERTION_TYPES = (None, "JWT", "client-authentication+jwt")
_LONGEST_TEXT = 8192
_RESERVED = frozenset({"iss", "aud", "sub", "exp", "iat", "nbf", "jti"})


def jwk(public: str) -> dict[str, str]:
    """The public key as a JWK (RFC 8037), `kid` being its thumbprint (RFC 7638)."""
    key = {"crv": "Ed25519", "kty": "OKP", "x": public}
    kid = to_base64url(hashlib.sha256(rfc8785.dumps(key)).digest())
    return {**key, "alg": _ALGORITHM, "use": "sig", "kid": kid}


def sign_token(
    private: Ed25519PrivateKey,
    *,
    issuer: str,
    audience: str,
    subject: str,
    lifetime: timedelta,
    now: datetime,
    claims: Mapping[str, Any],
) -> str:
    """An access token; `claims` are added to the registered ones and can't replace them."""
    if not timedelta() < lifetime <= LONGEST_TOKEN:
        raise TokenError(f"An access token lives for {LONGEST_TOKEN} at most.")
    if _RESERVED & claims.keys():
        raise TokenError(f"These claims are the vault's to set: {', '.join(sorted(_RESERVED))}.")
    registered = _registered(issuer, audience, subject, lifetime, now)
    headers = {"typ": _TOKEN_TYPE, "kid": jwk(public_text(private))["kid"]}
    return jwt.encode({**claims, **registered}, private, algorithm=_ALGORITHM, headers=headers)


def verify_token(
    token: str, jwks: Mapping[str, Any], *, issuer: str, audience: str, now: datetime
) -> dict[str, Any]:
    """The claims of an access token that holds here and now; TokenError for any other."""
    header = _header(token, types=(_TOKEN_TYPE,))
    publics = [key["x"] for key in jwks["keys"] if key["kid"] == header.get("kid")]
    claims = _signed_claims(token, publics)
    _check_registered(claims, audience, now, longest=LONGEST_TOKEN)
    if claims.get("iss") != issuer or "iat" not in claims:
        raise TokenError(_REFUSED)
    return claims


def sign_assertion(
    private: Ed25519PrivateKey,
    *,
    subject: str,
    audience: str,
    now: datetime,
    lifetime: timedelta = timedelta(minutes=1),
) -> str:
    """A client assertion: what a program shows to get an access token."""
    claims = _registered(subject, audience, subject, lifetime, now)
    return jwt.encode(claims, private, algorithm=_ALGORITHM)


def verify_assertion(
    assertion: str,
    public_key_lookup: Callable[[str], str | None],
    *,
    audience: str,
    now: datetime,
) -> dict[str, Any]:
    """The claims of a client assertion; TokenError, the same for every fault, for any other.

    `public_key_lookup` gives the enrolled authentication key (base64url) of a subject, or None.
    The caller remembers `jti` until `exp` and refuses to see it twice.
    """
    _header(assertion, types=_ASSERTION_TYPES)
    claimed = _unverified_subject(assertion)
    public = public_key_lookup(claimed) if claimed else None
    claims = _signed_claims(assertion, [public] if public else [])
    _check_registered(claims, audience, now, longest=LONGEST_ASSERTION)
    if claims.get("iss") != claims["sub"]:
        raise TokenError(_REFUSED)
    return claims


_REFUSED = (
    "The token or assertion isn't accepted: it is damaged, out of date, for somebody else, or not "
    "signed by the key known here. Ask for a new one, and check this machine's clock."
)


def _registered(
    issuer: str, audience: str, subject: str, lifetime: timedelta, now: datetime
) -> dict[str, Any]:
    issued = int(now.timestamp())
    return {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "jti": secrets.token_urlsafe(16),
    }


def _header(token: str, *, types: Iterable[str | None]) -> dict[str, Any]:
    """The protected header of a compact JWS of the one kind that is read here."""
    try:
        if len(token) > _LONGEST_TEXT:
            raise ValueError
        for part in token.split("."):
            from_base64url(part)
        header = jwt.get_unverified_header(token)
    except (ValueError, jwt.PyJWTError):
        raise TokenError(_REFUSED) from None
    known = set(header) <= {"alg", "typ", "kid"}
    if not known or header["alg"] != _ALGORITHM or header.get("typ") not in types:
        raise TokenError(_REFUSED)
    return header


def _unverified_subject(token: str) -> str | None:
    """Whom an assertion says it is from: only to find the key that it must then hold against."""
    try:
        subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.PyJWTError:
        return None
    return subject if isinstance(subject, str) else None


def _signed_claims(token: str, publics: list[str]) -> dict[str, Any]:
    if len(publics) != 1:
        raise TokenError(_REFUSED)
    try:
        return jwt.decode(
            token,
            public_key(publics[0]),
            algorithms=[_ALGORITHM],
            options={  # times and audience are checked here, against the moment passed in
                "require": ["aud", "exp", "iss", "jti", "sub"],
                "verify_aud": False,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, SignatureError, ValueError, TypeError):
        raise TokenError(_REFUSED) from None


def _check_registered(
    claims: Mapping[str, Any], audience: str, now: datetime, *, longest: timedelta
) -> None:
    moment, skew = now.astimezone(UTC).timestamp(), SKEW.total_seconds()
    expires, issued = claims["exp"], claims.get("iat", int(moment))
    whole = all(type(claims.get(name, 0)) is int for name in ("exp", "iat", "nbf"))
    texts = all(isinstance(claims[name], str) and claims[name] for name in ("iss", "sub", "jti"))
    if not whole or not texts or claims["aud"] != audience:
        raise TokenError(_REFUSED)
    in_time = issued <= moment + skew and claims.get("nbf", 0) <= moment + skew
    seconds = longest.total_seconds()
    short = expires - issued <= seconds and expires - moment <= seconds + skew
    if not in_time or not short or expires <= moment:
        raise TokenError(_REFUSED)
