"""Asked twice, done once: answers that are cut off after the commit, on every mutating route."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select

from api import idempotency, routes, store, uploads
from api.client import AGAIN, AnswerLost, Client, ServiceRefusal, Unreachable
from api.store import Answer, Organisation
from tests.api.house import House

NOT_NEEDED = {
    "POST /token": "an assertion buys one token, and a token changes nothing",
    "POST /vault/root": "in transactions of the vault's own; a ceremony is good once",
    "POST /vault/roles/{role}": "the same; asked again, it goes on with the next step",
    "PATCH /uploads/{delivery}": "bytes have an offset, and are taken once",
    "DELETE /uploads/{delivery}": "an upload is given up once",
}


class Cut(httpx.BaseTransport):
    """A line that loses the answers to changes, once each, after the service has given them."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self._seen: set[str] = set()
        self.lost: list[tuple[str, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        answer.read()
        key = request.headers.get("idempotency-key")
        if key is not None and key not in self._seen:
            self._seen.add(key)
            self.lost.append((f"{request.method} {request.url.path}", answer.status_code))
            raise httpx.ReadError("cut")
        return answer

    def close(self) -> None:
        """It is everybody's: closed at the end."""


@pytest.fixture(scope="module")
def cut(house: House) -> Iterator[Cut]:
    """Everybody's line is such a one."""
    line = Cut()
    whole = house._clients
    house._clients = {
        person: Client(client.profile, clock=house.clock, transport=line, pause=lambda _: None)
        for person, client in whole.items()
    }
    yield line
    for client in house._clients.values():
        client.close()
    line._inner.close()
    house._clients = whole


def entries(house: House) -> list[dict[str, Any]]:
    """What the ledger says happened."""
    page = house["auditor-1"].get("/ledger?most=10000")
    return [json.loads(entry["leaf"]) for entry in page["entries"]]


def test_every_mutating_route_takes_a_key() -> None:
    """Or says here why it needs none."""
    for route in (*routes.router.routes, *uploads.router.routes):
        assert isinstance(route, APIRoute)
        for method in route.methods & {"POST", "PUT", "PATCH", "DELETE"}:
            name = f"{method} {route.path}"
            takes = any(
                dependency.call is routes.the_change for dependency in route.dependant.dependencies
            )
            assert takes or name in NOT_NEEDED or name == "POST /uploads", (
                f"{name} changes something and takes no key: let it ask `change: Once` for its "
                "transaction, or say here why a repetition does no harm"
            )


def test_a_day_whose_answers_are_all_lost(house: House, cut: Cut) -> None:
    """V24: everything is done, and nothing twice: as many entries as there were requests."""
    start = len(entries(house))
    house["admin-1"].post("/organisations", {"id": "cut-off", "name": "Cut off"})
    house.delivered("employment-service", "child-benefit", "social-security")
    permit = house.granted("cut-off")
    house["dpo-1"].post(f"/permits/{permit}/suspend", {"reason": "just so"})
    house["director-1"].post(f"/permits/{permit}/resume")
    release = house.cleared(permit)["id"]
    other = house.built(permit)
    house["dpo-1"].post(f"/releases/{other['id']}/withdraw", {"reason": "one too many"})
    draft = house["researcher-1"].post("/applications", house.application("cut-off"))
    changed = {**draft["document"], "title": draft["document"]["title"]}
    house["researcher-1"].call("PUT", f"/applications/{draft['id']}", changed)
    house["researcher-1"].post(f"/applications/{draft['id']}/withdraw")
    delivery = house["holder-rsz"].get("/deliveries")[0]["id"]
    house["holder-rsz"].post(f"/deliveries/{delivery}/withdraw", {"reason": "wrong file"})
    told = [entry["kind"] for entry in entries(house)[start:]]
    once = {
        "organisation.added": 1, "dataset.added": 3, "upload.opened": 3, "upload.received": 3,
        "application.submitted": 1, "application.advised": 1, "application.approved": 1,
        "permit.sealed": 1, "permit.suspended": 1, "permit.resumed": 1, "release.requested": 2,
        "release.cleared": 1, "release.withdrawn": 1, "application.drafted": 2,
        "application.edited": 1, "application.withdrawn": 1, "delivery.withdrawn": 1,
    }  # fmt: skip
    assert {kind: told.count(kind) for kind in once} == once
    assert "request.refused" not in told
    assert release != other["id"]
    asked = {name.split("/")[-1] for name, _ in cut.lost}
    assert {"organisations", "datasets", "uploads", "applications", "submit", "advice", "decision",
            "suspend", "resume", "releases", "clearance", "withdraw"} <= asked  # fmt: skip
    assert all(status < 300 for _, status in cut.lost)


@pytest.fixture
def ask(house: House) -> Callable[..., httpx.Response]:
    """Send a request as it is."""

    def send(person: str, path: str, body: Any, key: str | None, method: str = "POST") -> Any:
        client = house[person]
        headers = {"Authorization": f"Bearer {client.token()}"}
        headers |= {"Idempotency-Key": key} if key is not None else {}
        address = f"{client.profile.server}{path}"
        return httpx.request(method, address, json=body, headers=headers)

    return send


def test_an_answer_is_given_again_as_it_was(house: House, ask: Callable[..., Any]) -> None:
    body, key = {"id": "again", "name": "Again"}, str(uuid4())
    answers = [ask("admin-1", "/organisations", body, text) for text in (key, key, f'"{key}"')]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.content for answer in answers}) == 1
    told = [entry for entry in entries(house) if entry["facts"].get("organisation") == "again"]
    assert len(told) == 1
    assert ask("admin-1", "/organisations", body, None).status_code == 409
    assert ask("admin-1", "/organisations", body, str(uuid4())).status_code == 409


def test_a_key_stands_for_one_request_of_one_person(house: House, ask: Callable[..., Any]) -> None:
    key = str(uuid4())
    assert ask("admin-1", "/organisations", {"id": "one", "name": "1"}, key).status_code == 201
    for path, body in (("/organisations", {"id": "two", "name": "2"}), ("/releases", {})):
        refused = ask("admin-1", path, body, key)
        assert refused.status_code in (400, 422)
    told = ask("admin-1", "/organisations", {"id": "two", "name": "2"}, key).json()
    assert told["type"].endswith("key-reused")
    assert ask("admin-2", "/organisations", {"id": "two", "name": "2"}, key).status_code == 201


def test_a_refusal_is_not_kept(house: House, ask: Callable[..., Any]) -> None:
    """Who corrects what was wrong may ask again with the same key."""
    key, body = str(uuid4()), {"id": "later", "name": "Later"}
    assert ask("researcher-1", "/organisations", body, key).status_code == 403
    with store.reading(house.service.engine) as session:
        assert session.get(Answer, ("researcher-1", key)) is None


@pytest.mark.parametrize("key", ["", "x" * 65, "two words", "é".encode("latin-1")])
def test_what_is_no_key(house: House, ask: Callable[..., Any], key: Any) -> None:
    refused = ask("admin-1", "/organisations", {"id": "none", "name": "None"}, key)
    assert (refused.status_code, refused.json()["type"][-11:]) == (400, "bad-request")


def test_answers_are_forgotten_after_a_week(house: House, ask: Callable[..., Any]) -> None:
    key = str(uuid4())
    ask("admin-1", "/organisations", {"id": "week", "name": "Week"}, key)
    now = house.clock.now()
    for days, kept in ((6, 1), (8, 0)):
        with store.writing(house.service.engine) as session:
            idempotency.forget(session, now + timedelta(days=days))
            count = select(func.count()).select_from(Answer).where(Answer.key == key)
            assert session.scalar(count) == kept


# -- the client ------------------------------------------------------------------------------------


class Failing(httpx.BaseTransport):
    """A line on which changes end badly as often as one likes."""

    def __init__(self, times: int, failure: Exception | httpx.Response) -> None:
        self._inner, self._times, self._failure = httpx.HTTPTransport(), times, failure
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "idempotency-key" in request.headers:
            self.keys.append(request.headers["idempotency-key"])
            if len(self.keys) <= self._times:
                if isinstance(self._failure, Exception):
                    raise self._failure
                return self._failure
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


UNKNOWN = httpx.Response(503, json={"type": "urn:schakel:problem:commit-unknown"})


@pytest.mark.parametrize("failure", [httpx.ReadError("x"), httpx.ReadTimeout("x"), UNKNOWN])
def test_the_client_asks_again_with_the_same_key(
    house: House, failure: Exception | httpx.Response
) -> None:
    line = Failing(2, failure)
    profile = house["admin-1"].profile
    name = f"client-{str(failure)[:3].strip('<').lower()}{type(failure).__name__.lower()}"
    with Client(profile, clock=house.clock, transport=line, pause=lambda _: None) as client:
        client.post("/organisations", {"id": name, "name": name})
    assert len(line.keys) == 3
    assert len(set(line.keys)) == 1
    line = Failing(99, failure)
    with (
        Client(profile, clock=house.clock, transport=line, pause=lambda _: None) as client,
        pytest.raises((AnswerLost, ServiceRefusal)),
    ):
        client.post("/organisations", {"id": "never", "name": "Never"})
    assert len(line.keys) == len(AGAIN) + 1


def test_nobody_there_is_said_at_once(house: House) -> None:
    line = Failing(99, httpx.ConnectError("x"))
    profile = replace(house["admin-1"].profile)
    with (
        Client(profile, clock=house.clock, transport=line, pause=lambda _: None) as client,
        pytest.raises(Unreachable, match="Is it running"),
    ):
        client.post("/organisations", {"id": "nobody", "name": "Nobody"})
    assert len(line.keys) == 1


def test_two_at_once_are_one(house: House, ask: Callable[..., Any]) -> None:
    """The second waits for the first, and hears what that came to."""
    key, body = str(uuid4()), {"id": "at-once", "name": "At once"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask("admin-1", "/organisations", body, key), range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    with store.reading(house.service.engine) as session:
        count = select(func.count()).select_from(Organisation).where(Organisation.id == "at-once")
        assert session.scalar(count) == 1
