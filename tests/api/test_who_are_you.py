"""Tokens and assertions: nobody gets further than three open routes without a good one."""

import json
import threading
import time
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import jobs, store
from api.demo.extracts import declarations
from api.operations import Work
from api.profiles import private_key
from keyvault.tokens import ASSERTION_TYPE
from policies.access import Actor
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


def _leaves(house: House, start: int) -> list[dict[str, Any]]:
    entries = house["auditor-1"].get(f"/ledger?most=10000&start={start}")["entries"]
    return [json.loads(entry["leaf"]) for entry in entries]


def test_refusals_of_known_people_stand_in_the_ledger(house: House) -> None:
    """Row P04: what somebody tried and may not is an event like any other; it names the thing."""
    house["holder-vdab"].post("/datasets", declarations()["employment-service"].to_mapping())
    before = len(house.ledger_kinds())
    refusal = refusal_of(lambda: house["researcher-1"].get("/ledger"))
    assert (refusal.status, refusal.type) == (403, "wrong-role")
    auditor = house["auditor-1"]
    assert refusal_of(lambda: auditor.call("PATCH", "/uploads/85.07.30-033.28")).status == 412
    (first, second) = _leaves(house, before)
    assert (first["kind"], first["actor"]) == ("request.refused", "researcher-1")
    assert first["facts"] == {
        "type": "wrong-role", "status": 403, "method": "GET", "path": "/ledger",
    }  # fmt: skip
    assert second["facts"] == {
        "type": "tus-version", "status": 412, "method": "PATCH", "path": "/uploads/{delivery}",
    }  # fmt: skip


def test_a_refusal_names_what_it_was_about_if_that_is_ours(house: House) -> None:
    """A caller's own text stays outside; malformed requests are recorded like others."""
    document = {"project": "p", "title": "t"}
    application = house["researcher-1"].post("/applications", document)["id"]
    before = len(house.ledger_kinds())
    holder = house["holder-rsz"]
    path = f"/applications/{application}/advice"
    assert refusal_of(lambda: holder.post(path, {"document": 1})).status == 400
    assert refusal_of(lambda: holder.get("/jobs/85073003328")).status == 404
    first, second = (leaf["facts"] for leaf in _leaves(house, before))
    assert (first["type"], first["application"]) == ("bad-request", application)
    assert set(second) == {"type", "status", "method", "path"}


def test_the_same_refusal_is_written_once_an_hour_and_counted(house: House) -> None:
    """Nobody can fill the ledger with what they may not."""
    before = len(house.ledger_kinds())
    for number in range(4):
        refusal_of(lambda number=number: house["researcher-2"].get(f"/releases/nope-{number}"))
    assert house.ledger_kinds()[before:] == ["request.refused"]
    (counted,) = [
        row for row in house["auditor-1"].get("/ledger/refusals") if row["person"] == "researcher-2"
    ]
    assert (counted["route"], counted["count"]) == ("GET /releases/{release}", 4)


NESTED = "[" * 50 + "]" * 50
ODD = [
    f'{{"id": {NESTED}}}',
    '{"id": ' + "[" * 100_000,
    '{"id": NaN}',
    '{"id": 1e999}',
    '{"id": 9007199254740993}',
    '{"id": ' + "9" * 5000 + "}",
    '{"id": "\\ud800"}',
    '{"\\ud800": 1}',
    '{"id": ',
    "\xff",
]


@pytest.mark.parametrize("route", ["/datasets", "/applications", "/releases"])
@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_json_that_others_read_otherwise_is_refused(house: House, route: str, body: str) -> None:
    """Before anything is stored, and with a sentence about the body."""
    client = house["researcher-1"]
    answer = httpx.post(
        client.profile.server + route,
        content=body.encode("latin-1"),
        headers={"Authorization": f"Bearer {client.token()}", "Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:schakel:problem:bad-request"
    assert answer.json()["detail"].startswith("The body is")


def test_others_are_answered_while_a_token_waits_for_the_database(house: House) -> None:
    """Who waits for the write lock waits in a thread of its own."""
    assertion = _assertion(house, jti="patient")
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(house, assertion).status_code))
    with store.writing(house.service.engine) as session:
        session.connection()  # the write lock is ours
        asking.start()
        time.sleep(0.3)
        server = house["auditor-1"].profile.server
        assert httpx.get(f"{server}/health", timeout=5).status_code == 200
        assert answers == []
    asking.join()
    assert answers == [200]


def test_old_jobs_are_found_behind_many_of_others(house: House) -> None:
    """One's own hundred newest, however many others there are."""
    now = house.clock.now()
    with store.writing(house.service.engine) as session:
        for organisation, count in (("vdab", 1), ("rsz", 120)):
            actor = Actor("holder", organisation, frozenset())
            work = Work(session, house.service.vault, house.service.objects, actor, now)
            for _ in range(count):
                job = jobs.enqueue(work, "intake", "nobody", {})
                job.state = "done"
    assert len(house["holder-vdab"].get("/jobs")) == 1
    assert len(house["holder-rsz"].get("/jobs")) == 100


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
    assert (refusal.status, refusal.type) == (422, "incomplete")
    assert "researcher can't also be" in refusal.problem["detail"]


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
