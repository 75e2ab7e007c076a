"""Tokens and assertions: nobody gets further than three open routes without a good one."""

import json
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.profiles import private_key
from keyvault.tokens import ASSERTION_TYPE
from tests.api.house import House, refusal_of

OPEN = {"/health", "/keys", "/token", "/openapi.json"}


def _paths(house: House) -> dict[str, Any]:
    server = house["auditor-1"].profile.server
    document: dict[str, Any] = httpx.get(f"{server}/openapi.json").json()
    return document["paths"]


def test_every_route_but_four_demands_a_token(house: House) -> None:
    """The OpenAPI document names every route; each is tried without a token."""
    server = house["auditor-1"].profile.server
    tried = 0
    for path, methods in _paths(house).items():
        for method in methods:
            if path in OPEN:
                continue
            body = "{}" if method in ("post", "put") else None
            answer = httpx.request(
                method.upper(),
                server + path.replace("{", "").replace("}", ""),
                content=body,
                headers={"Tus-Resumable": "1.0.0", "Content-Type": "application/json"},
            )
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            tried += 1
    assert tried > 30


def test_open_routes_tell_nothing_about_anybody(house: House) -> None:
    """Health, OpenAPI and public keys hold no name, no dataset, no project."""
    server = house["auditor-1"].profile.server
    for path in ("/health", "/keys"):
        text = httpx.get(server + path).text
        assert not any(person in text for person in house.profiles)


def _ask(house: House, assertion: str, **form: str) -> httpx.Response:
    return httpx.post(
        house["auditor-1"].profile.server + "/token",
        data={
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            **form,
        },
    )


def _assertion(house: House, key: Any = None, **claims: Any) -> str:
    profile = house.profiles["auditor-1"]
    now = house.clock.now()
    content = {
        "iss": profile.person,
        "sub": profile.person,
        "aud": house.settings.issuer,
        "iat": now,
        "exp": now + timedelta(minutes=1),
        "jti": "one-of-a-kind-" + json.dumps(sorted(claims)),
        **claims,
    }
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, key or private_key(profile.authentication_key), "EdDSA")


def test_an_assertion_buys_one_token(house: House) -> None:
    """RFC 7523: a replayed assertion is refused."""
    assertion = _assertion(house, jti="once")
    first, second = _ask(house, assertion), _ask(house, assertion)
    assert first.status_code == 200
    assert first.json()["token_type"] == "Bearer"
    assert (second.status_code, second.json()["type"].rpartition(":")[2]) == (401, "bad-assertion")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://somebody.else"},
        {"exp": None},
        {"jti": None},
        {"iss": "admin-1"},
        {"sub": "nobody-7", "iss": "nobody-7"},
    ],
    ids=lambda claims: ",".join(claims),
)
def test_other_assertions_buy_nothing(house: House, claims: dict[str, Any]) -> None:
    """Wrong audience, no end, no identity, somebody else's name."""
    assert _ask(house, _assertion(house, **claims)).status_code == 401


def test_an_old_or_long_lived_assertion_buys_nothing(house: House) -> None:
    """A minute is enough; five are the most, and the past is over."""
    now = house.clock.now()
    for times in (
        {"iat": now - timedelta(hours=1), "exp": now - timedelta(minutes=50)},
        {"exp": now + timedelta(hours=1)},
    ):
        assert _ask(house, _assertion(house, **times)).status_code == 401


def test_a_foreign_key_buys_nothing(house: House) -> None:
    """The signing key is no authentication key, and a stranger's is none at all."""
    signing = private_key(house.profiles["auditor-1"].signing_key)
    assert _ask(house, _assertion(house, key=signing)).status_code == 401
    assert _ask(house, _assertion(house, key=Ed25519PrivateKey.generate())).status_code == 401


def test_another_grant_is_told_what_is_taken(house: House) -> None:
    """The answer names what to send."""
    answer = _ask(house, _assertion(house), grant_type="password")
    assert answer.status_code == 400
    assert ASSERTION_TYPE in answer.json()["next_step"]


def test_strangers_are_counted_and_not_listed(house: House) -> None:
    """Refusals of unknown callers don't fill the ledger."""
    before = len(house.ledger_kinds())
    server = house["auditor-1"].profile.server
    for _ in range(3):
        httpx.get(f"{server}/deliveries", headers={"Authorization": "Bearer nonsense"})
    counted = house["auditor-1"].get("/ledger/strangers")
    assert sum(row["count"] for row in counted if row["type"] == "bad-token") >= 3
    assert len(house.ledger_kinds()) == before


def test_refusals_of_known_people_stand_in_the_ledger(house: House) -> None:
    """Row P04: what somebody tried and may not is an event like any other."""
    before = house.ledger_kinds()
    refusal = refusal_of(lambda: house["researcher-1"].get("/ledger"))
    assert (refusal.status, refusal.type) == (403, "wrong-role")
    assert house.ledger_kinds()[len(before) :] == ["request.refused"]


def test_an_enrolment_takes_two_administrators(house: House) -> None:
    """Neither one signature, nor one twice, nor a director's makes a person."""
    for signers in (("admin-1",), ("admin-1", "admin-1"), ("admin-1", "director-1")):
        refusal = refusal_of(lambda signers=signers: house.enrol("auditor-1", signers))
        assert (refusal.status, refusal.type) == (403, "needs-two-administrators")


def test_only_an_administrator_hands_an_enrolment_in(house: House) -> None:
    """Two good signatures in the wrong hands do nothing."""
    document = house.enrolment("auditor-1", "office", ["auditor"])
    signatures = [house.profiles[name].sign(document) for name in ("admin-1", "admin-2")]
    body = {"document": document, "signatures": signatures}
    refusal = refusal_of(lambda: house["researcher-1"].post("/people", body))
    assert refusal.type == "wrong-role"


def test_no_person_is_researcher_and_statistician(house: House) -> None:
    """S16: who receives research files has no hand in making them."""
    document = house.enrolment("auditor-1", "office", ["researcher", "statistician"])
    signatures = [house.profiles[name].sign(document) for name in ("admin-1", "admin-2")]
    refusal = refusal_of(
        lambda: house["admin-1"].post("/people", {"document": document, "signatures": signatures})
    )
    assert refusal.status in (403, 422)


def test_a_body_that_makes_no_sense_is_answered_without_repeating_it(house: House) -> None:
    """Problem details name the place, never the value."""
    client = house["admin-1"]
    secret = "85.07.30-033.28"
    refusal = refusal_of(lambda: client.post("/organisations", {"id": [secret], "wrong": secret}))
    assert refusal.status == 400
    assert secret not in json.dumps(refusal.problem)
    assert "id" in refusal.problem["detail"]


def test_a_body_may_not_be_endless(house: House) -> None:
    """Bodies are held in memory, so they have a limit; data comes by upload."""
    refusal = refusal_of(lambda: house["admin-1"].post("/datasets", {"id": "x" * (5 << 20)}))
    assert (refusal.status, refusal.type) == (413, "too-large")


def test_an_unknown_path_is_a_problem_too(house: House) -> None:
    """The same form for every refusal."""
    answer = httpx.get(house["admin-1"].profile.server + "/nothing/here")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
