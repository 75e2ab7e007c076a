"""Access tokens and client assertions: what holds, and everything that doesn't."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from keyvault.errors import TokenError
from keyvault.signing import public_text
from keyvault.tokens import (
    LONGEST_TOKEN,
    jwk,
    sign_assertion,
    sign_token,
    verify_assertion,
    verify_token,
)
from tests.keyvault.conftest import NOW, House

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
JWKS = {"keys": [jwk(public_text(OTHER)), jwk(public_text(PRIVATE))]}
WHERE: dict[str, Any] = {"issuer": "https://schakel.test", "audience": "https://schakel.test/api"}
MINUTES = timedelta(minutes=10)
KEYS = {"rita": public_text(PRIVATE)}


def token(**claims: Any) -> str:
    return sign_token(PRIVATE, **WHERE, subject="rita", lifetime=MINUTES, now=NOW, claims=claims)


def forge(private: Any = PRIVATE, algorithm: str = "EdDSA", **changes: Any) -> str:
    """A token with some claims and header members as one likes; None takes one out."""
    moment = int(NOW.timestamp())
    claims = {"iss": WHERE["issuer"], "aud": WHERE["audience"], "sub": "rita", "jti": "j"}
    claims |= {"iat": moment, "exp": moment + 600}
    header = {"typ": "at+jwt", "kid": JWKS["keys"][1]["kid"]}
    header |= {name[4:]: value for name, value in changes.items() if name.startswith("hdr_")}
    claims |= {name: value for name, value in changes.items() if not name.startswith("hdr_")}
    claims = {name: value for name, value in claims.items() if value is not None}
    kept = {name: value for name, value in header.items() if value is not None}
    if "typ" not in kept:
        kept["typ"] = ""  # the library puts its own in otherwise
    return jwt.encode(claims, private, algorithm=algorithm, headers=kept)


def test_a_token_holds() -> None:
    claims = verify_token(token(client_id="c", scope="upload"), JWKS, **WHERE, now=NOW)
    assert (claims["sub"], claims["scope"]) == ("rita", "upload")
    assert verify_token(forge(), JWKS, **WHERE, now=NOW)["sub"] == "rita"
    assert token() != token(), "jti differs"


@pytest.mark.parametrize("seconds", [-31, 600, 601, 10**6])
def test_a_token_out_of_its_time(seconds: int) -> None:
    with pytest.raises(TokenError):
        verify_token(token(), JWKS, **WHERE, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-30, 0, 599])
def test_a_token_in_its_time(seconds: int) -> None:
    verify_token(token(), JWKS, **WHERE, now=NOW + timedelta(seconds=seconds))


MOMENT = int(NOW.timestamp())


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.test"},
        {"iss": None},
        {"aud": "https://schakel.test"},
        {"aud": None},
        {"aud": [WHERE["audience"]]},
        {"aud": [WHERE["audience"], "https://elsewhere.test"]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"jti": None},
        {"jti": ""},
        {"exp": None},
        {"exp": MOMENT},
        {"exp": "tomorrow"},
        {"exp": MOMENT + 0.5},
        {"exp": True},
        {"exp": MOMENT + 3601},
        {"exp": MOMENT + 10**9},
        {"iat": None},
        {"iat": MOMENT + 31},
        {"iat": str(MOMENT)},
        {"iat": MOMENT - 3500, "exp": MOMENT + 600},
        {"nbf": MOMENT + 31},
        {"nbf": "now"},
        {"hdr_typ": "JWT"},
        {"hdr_typ": None},
        {"hdr_kid": None},
        {"hdr_kid": "nobody"},
        {"hdr_kid": JWKS["keys"][0]["kid"]},
        {"hdr_crit": ["b64"], "hdr_b64": True},
        {"hdr_jku": "https://elsewhere.test/jwks"},
        {"hdr_jwk": JWKS["keys"][1]},
        {"private": OTHER},
        {"private": "a-secret-that-everybody-knows-01", "algorithm": "HS256"},
        {"private": "", "algorithm": "none"},
    ],
)
def test_tokens_that_are_not_accepted(changes: dict[str, Any]) -> None:
    """Each is signed by the right key unless that is what's wrong with it."""
    with pytest.raises(TokenError, match="isn't accepted"):
        verify_token(forge(**changes), JWKS, **WHERE, now=NOW)


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """The classic: an HMAC under the public key."""
    public = JWKS["keys"][1]["x"]
    head = {"alg": "HS256", "typ": "at+jwt", "kid": JWKS["keys"][1]["kid"]}
    forged = jwt.encode(jwt.decode(token(), options={"verify_signature": False}), public, "HS256")
    parts = [base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode()]
    with pytest.raises(TokenError):
        verify_token(".".join([*parts, *forged.split(".")[1:]]), JWKS, **WHERE, now=NOW)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.hex() + ".a.b"))
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(TokenError):
        verify_token(text, JWKS, **WHERE, now=NOW)
    with pytest.raises(TokenError):
        verify_assertion(text, KEYS.get, audience="a", now=NOW)


SIGNED = forge()


@given(st.data())
def test_a_changed_token_is_not_accepted(data: st.DataObject) -> None:
    """Any character: the spelling is strict too, so that one token has one text."""
    text = SIGNED
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from("ABCZaz09-_.=+").filter(lambda c: c != text[place]))
    with pytest.raises(TokenError):
        verify_token(text[:place] + character + text[place + 1 :], JWKS, **WHERE, now=NOW)


def test_absurdly_long_tokens_are_not_read() -> None:
    with pytest.raises(TokenError):
        verify_token(token(padding="x" * 9000), JWKS, **WHERE, now=NOW)


@pytest.mark.parametrize("lifetime", [timedelta(), -MINUTES, LONGEST_TOKEN * 2])
def test_lifetimes_that_are_not_given(lifetime: timedelta) -> None:
    with pytest.raises(TokenError, match="lives for"):
        sign_token(PRIVATE, **WHERE, subject="rita", lifetime=lifetime, now=NOW, claims={})


def test_claims_do_not_replace_the_registered_ones() -> None:
    with pytest.raises(TokenError, match="the vault's to set"):
        token(sub="ann")


def test_the_vault_signs_and_publishes(house: House, conn: Connection) -> None:
    def give() -> str:
        claims = {"client_id": "rita"}
        return house.vault.sign_token(
            conn, **WHERE, subject="rita", lifetime=MINUTES, now=NOW, claims=claims
        )

    old = give()
    verify_token(old, house.vault.jwks(conn), **WHERE, now=NOW)
    assert house.vault.rotate_key(conn, "token", now=NOW) == 2
    published = house.vault.jwks(conn)
    assert len(published["keys"]) == 2
    assert {key["alg"] for key in published["keys"]} == {"EdDSA"}
    for text in (old, give()):
        verify_token(text, published, **WHERE, now=NOW)
    assert jwt.get_unverified_header(give())["kid"] == published["keys"][0]["kid"]


def test_a_jwk_is_named_by_its_thumbprint() -> None:
    """RFC 8037, appendix A.3."""
    key = jwk("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert key["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


# Client assertions


def assertion(**changes: Any) -> str:
    return forge(
        **{"iss": "rita", "aud": "token-url", "exp": MOMENT + 60, "hdr_typ": "JWT", **changes}
    )


def prove(text: str, lookup: Callable[[str], str | None] = KEYS.get) -> dict[str, Any]:
    return verify_assertion(text, lookup, audience="token-url", now=NOW)


def test_an_assertion_holds() -> None:
    made = sign_assertion(PRIVATE, subject="rita", audience="token-url", now=NOW)
    assert prove(made)["sub"] == "rita"
    assert prove(made)["jti"]
    for changes in ({}, {"iat": None}, {"hdr_typ": None}, {"hdr_kid": None}, {"nbf": MOMENT}):
        assert prove(assertion(**changes))["iss"] == "rita"
    assert prove(assertion(hdr_typ="client-authentication+jwt"))["sub"] == "rita"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "ann"},
        {"iss": None},
        {"sub": "ann", "iss": "ann"},
        {"sub": None},
        {"aud": "elsewhere"},
        {"aud": ["token-url"]},
        {"aud": None},
        {"exp": None},
        {"exp": MOMENT},
        {"exp": MOMENT + 331, "iat": None},
        {"exp": MOMENT + 301},
        {"exp": MOMENT + 60, "iat": MOMENT + 31},
        {"jti": None},
        {"jti": ""},
        {"nbf": MOMENT + 31},
        {"hdr_typ": "at+jwt"},
        {"hdr_jwk": JWKS["keys"][1]},
        {"private": OTHER},
        {"private": "a-secret-that-everybody-knows-01", "algorithm": "HS256"},
        {"private": "", "algorithm": "none"},
    ],
)
def test_assertions_that_are_not_accepted(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError, match="isn't accepted"):
        prove(assertion(**changes))


def test_an_unknown_program_hears_the_same_as_a_wrong_key() -> None:
    with pytest.raises(TokenError) as unknown:
        prove(assertion(), lambda _: None)
    with pytest.raises(TokenError) as wrong:
        prove(assertion(private=OTHER))
    with pytest.raises(TokenError) as damaged:
        prove(assertion(), lambda _: "no key")
    assert str(unknown.value) == str(wrong.value) == str(damaged.value)


def test_claims_that_are_no_object() -> None:
    header, _, signature = assertion().split(".")
    with pytest.raises(TokenError):
        prove(f"{header}.{base64.urlsafe_b64encode(b'[1]').rstrip(b'=').decode()}.{signature}")
    listed = base64.urlsafe_b64encode(b'{"sub":["rita"]}').rstrip(b"=").decode()
    with pytest.raises(TokenError):
        prove(f"{header}.{listed}.{signature}")
