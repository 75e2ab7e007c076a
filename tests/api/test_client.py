"""The client against a service, or a line, that isn't what it should be."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.client import (
    PAUSES,
    Client,
    Distrust,
    IdentityFault,
    ServiceRefusal,
    Unreachable,
    read_identities,
)
from api.demo.extracts import declarations
from api.profiles import Profile, ProfileFault
from api.sealing import ExtractChanged
from keyvault.checkpoints import Checkpoint, write_checkpoint
from keyvault.signing import seal_document
from tests.api.house import House, refusal_of
from tests.keyvault.conftest import ledger_key

DATASET = "employment-service"
Answer = Callable[[httpx.Request, Callable[[], httpx.Response]], httpx.Response]


class Between(httpx.BaseTransport):
    """Somebody on the line who can change every answer; `requests` are the ones they saw."""

    def __init__(self) -> None:
        self._line = httpx.HTTPTransport()
        self.answer: Answer = lambda _request, ask: ask()
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)

        def ask() -> httpx.Response:
            response = self._line.handle_request(request)
            response.read()
            return response

        return self.answer(request, ask)

    def close(self) -> None:
        self._line.close()


def changed(response: httpx.Response, change: Callable[[Any], None]) -> httpx.Response:
    """The same answer with its JSON changed."""
    held = json.loads(response.content)
    change(held)
    return httpx.Response(response.status_code, json=held)


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def pauses() -> list[float]:
    """How long the client waited each time; it doesn't really."""
    return []


@pytest.fixture
def holder(house: House, between: Between, pauses: list[float]) -> Iterator[Client]:
    """A holder's client with somebody on its line."""
    known = {row["id"] for row in house["auditor-1"].get("/datasets")}
    if DATASET not in known:
        house["holder-vdab"].post("/datasets", declarations()[DATASET].to_mapping())
    profile = replace(house["holder-vdab"].profile, service=None, checkpoint=None)
    with Client(profile, clock=house.clock, transport=between, pause=pauses.append) as client:
        yield client


@pytest.fixture
def extract(house: House, tmp_path: Path) -> Path:
    """A good extract of the dataset."""
    plain = tmp_path / "extract.csv"
    plain.write_bytes(house.story.truths[DATASET, "2024"].content)
    return plain


def _resigned(receipt: dict[str, Any]) -> None:
    del receipt["signature"]
    receipt.update(seal_document(receipt, Ed25519PrivateKey.generate()))


def _other_ledger(receipt: dict[str, Any]) -> None:
    origin = receipt["checkpoint"].split("\n")[0]
    forged = write_checkpoint(Checkpoint(origin, 1, bytes(32)), Ed25519PrivateKey.generate())
    receipt["checkpoint"] = forged
    _resigned(receipt)


FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unsigned": lambda receipt: receipt.pop("signature"),
    "signed by another": _resigned,
    "another ledger's checkpoint": _other_ledger,
    "another hash": lambda receipt: receipt.update(sha256="0" * 64),
    "another delivery": lambda receipt: receipt.update(delivery="delivery-0000000000000000"),
    "another dataset": lambda receipt: receipt.update(dataset="work"),
    "another period": lambda receipt: receipt.update(period="1999"),
    "empty": lambda receipt: receipt.clear(),
}


def test_a_receipt_that_doesnt_hold_deletes_nothing(
    holder: Client, between: Between, extract: Path
) -> None:
    """The ciphertext stays until there is a receipt for it from the service that one knows."""
    ciphertext = extract.with_name("extract.csv.age")
    for name, forge in FORGERIES.items():

        def answer(
            request: httpx.Request, ask: Callable[[], httpx.Response], forge: Any = forge
        ) -> httpx.Response:
            response = ask()
            if request.url.path.startswith("/deliveries/"):
                return changed(response, lambda row: row["receipt"] and forge(row["receipt"]))
            return response

        between.answer = answer
        with pytest.raises(Distrust, match="receipt doesn't hold"):
            holder.upload(extract, DATASET, "2041")
        assert ciphertext.exists(), name
        assert holder.profile.checkpoint is None, name
    between.answer = lambda _request, ask: ask()
    assert holder.upload(extract, DATASET, "2041")["state"] == "accepted"
    assert not ciphertext.exists()


def test_a_true_receipt_for_other_bytes_is_none_for_these(
    holder: Client, between: Between, extract: Path
) -> None:
    """Replaying the receipt of an earlier delivery proves nothing about this one."""
    earlier = holder.upload(extract, DATASET, "2042")["receipt"]

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        response = ask()
        if request.url.path.startswith("/deliveries/"):
            return changed(response, lambda row: row["receipt"] and row.update(receipt=earlier))
        return response

    between.answer = answer
    with pytest.raises(Distrust, match="its delivery is another"):
        holder.upload(extract, DATASET, "2043")


def test_a_service_is_known_by_its_keys_from_the_first_use_on(
    house: House, between: Between
) -> None:
    """Another key later, whichever it is, and nothing is sent."""
    kept: list[Profile] = []
    profile = replace(house["researcher-1"].profile, service=None)
    with Client(profile, clock=house.clock, transport=between, keep=kept.append) as client:
        client.get("/datasets")
    known = kept[-1].service
    assert known is not None
    assert set(known) == {"issuer", "uploads", "receipt", "ledger"}
    for name in known:

        def answer(
            request: httpx.Request, ask: Callable[[], httpx.Response], name: str = name
        ) -> httpx.Response:
            return changed(ask(), lambda keys: keys.update({name: "another"}))

        between.answer, between.requests = answer, []
        with (
            Client(kept[-1], clock=house.clock, transport=between) as client,
            pytest.raises(Distrust, match=rf"{name}.*schakel profile trust"),
        ):
            client.get("/datasets")
        assert [request.url.path for request in between.requests] == ["/keys"]


def _busy(request: httpx.Request) -> httpx.Response:
    return httpx.Response(423, json={"type": "urn:schakel:problem:upload-busy", "detail": "Busy."})


def test_an_upload_that_is_held_is_waited_for_for_a_minute(
    holder: Client, between: Between, extract: Path, pauses: list[float]
) -> None:
    """A dead line holds an upload until the service notices; that may take half a minute."""
    between.answer = lambda request, ask: (
        _busy(request) if request.method == "PATCH" and sum(pauses) < 60 else ask()
    )
    assert holder.upload(extract, DATASET, "2044")["state"] == "accepted"
    assert sum(pauses) >= 60


def test_an_upload_that_stays_held_is_given_up(
    holder: Client, between: Between, extract: Path, pauses: list[float]
) -> None:
    """With the service's own words; a later try goes on with the same bytes."""
    between.answer = lambda request, ask: _busy(request) if request.method == "PATCH" else ask()
    refusal = refusal_of(lambda: holder.upload(extract, DATASET, "2045"))
    assert refusal.type == "upload-busy"
    assert pauses == list(PAUSES)
    between.answer = lambda _request, ask: ask()
    assert holder.upload(extract, DATASET, "2045")["state"] == "accepted"


@pytest.mark.parametrize("broken", [httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_line_that_breaks_while_hashes_are_compared_is_no_failure(
    house: House, holder: Client, between: Between, extract: Path, broken: type[httpx.ReadError]
) -> None:
    """The last request came through and its answer didn't: the delivery is asked how it stands."""
    period = {httpx.ReadTimeout: "2046"}.get(broken, "2047")
    lost = []

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        if request.method == "PATCH" or (request.method == "HEAD" and lost):
            ask()
            lost.append(request.method)
            raise broken("broken")
        return ask()

    between.answer = answer
    assert holder.upload(extract, DATASET, period)["state"] == "accepted"
    assert lost == ["PATCH"]


def test_a_service_that_was_restarted_before_it_compared_hashes_is_reminded(
    holder: Client, between: Between, extract: Path, pauses: list[float]
) -> None:
    """It has every byte and does nothing more by itself; asking for the offset sets it going."""

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        response = ask()
        asked = [seen.method for seen in between.requests]
        reminded = "PATCH" in asked and "HEAD" in asked[asked.index("PATCH") :]
        if request.url.path.startswith("/deliveries/") and not reminded:
            return changed(response, lambda row: row.update(state="uploading"))
        return response

    between.answer = answer
    assert holder.upload(extract, DATASET, "2051")["state"] == "accepted"
    assert sum(pauses) > 60


def test_a_proxy_that_loses_patience_is_no_failure_either(
    holder: Client, between: Between, extract: Path
) -> None:
    """504 instead of the answer to the last request."""

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        response = ask()
        return httpx.Response(504, text="<html>") if request.method == "PATCH" else response

    between.answer = answer
    assert holder.upload(extract, DATASET, "2048")["state"] == "accepted"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and pieces so small that an extract of the demo takes several."""
    monkeypatch.setattr("api.client.REQUEST_PIECE", 200_000)
    monkeypatch.setattr("api.sealing.PIECE", 50_000)
    monkeypatch.setattr("api.sealing.AHEAD", 1)


@pytest.fixture
def long_extract(extract: Path) -> Path:
    """More than age takes at once, and rows that are there twice: its content isn't looked at."""
    extract.write_bytes(extract.read_bytes() * 40)
    assert extract.stat().st_size > 1_500_000
    return extract


@pytest.mark.usefixtures("small")
def test_an_extract_is_sent_while_it_is_still_being_encrypted(
    holder: Client, between: Between, long_extract: Path
) -> None:
    """The service has its first bytes before the last ones exist; the hash comes with those."""
    arrived = threading.Event()

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        response = ask()
        if request.method == "PATCH":
            arrived.set()
        return response

    def held_up(stage: str, done: int, total: int) -> None:
        if stage == "encrypting" and done > total / 2:
            assert arrived.wait(20)

    between.answer = answer
    location = holder.hand_in(long_extract, DATASET, "2060", held_up)
    sent = [seen.headers for seen in between.requests if seen.method == "PATCH"]
    declared = ["Upload-Metadata" in headers for headers in sent]
    assert len(declared) > 5
    assert declared == [False] * (len(declared) - 1) + [True]
    receipt = holder.get(f"/deliveries/{location.rpartition('/')[2]}")["receipt"]
    assert receipt["bytes"] > long_extract.stat().st_size


def _cut(
    holder: Client, extract: Path, period: str, stage: str, kind: type[BaseException]
) -> tuple[str, dict[str, Any]]:
    """The location of an upload that something ended half-way in a stage, and what was noted."""

    def ending(told: str, done: int, total: int) -> None:
        if told == stage and done > total / 2:
            raise kind

    with pytest.raises(kind):
        holder.upload(extract, DATASET, period, ending)
    noted = json.loads(extract.with_name("extract.csv.upload.json").read_text())
    return str(noted["location"]), noted


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("kind", "period"), [(KeyboardInterrupt, "2061"), (OSError, "2062")])
def test_what_ends_during_encryption_is_given_up_and_begun_anew(
    holder: Client, long_extract: Path, kind: type[BaseException], period: str
) -> None:
    """age is randomised: the same ciphertext can't be made again, so nothing of it is left."""
    location, noted = _cut(holder, long_extract, period, "encrypting", kind)
    assert "sha256" not in noted
    assert holder.get(f"/deliveries/{location.rpartition('/')[2]}")["state"] == "uploading"
    again = holder.hand_in(long_extract, DATASET, period)
    assert again != location
    assert holder.get(f"/deliveries/{location.rpartition('/')[2]}")["state"] == "withdrawn"
    assert holder.get(f"/deliveries/{again.rpartition('/')[2]}")["receipt"] is not None


@pytest.mark.usefixtures("small")
def test_what_was_begun_for_another_period_is_given_up(holder: Client, long_extract: Path) -> None:
    """There is one ciphertext beside an extract; what the first was for will not be finished."""
    location, noted = _cut(holder, long_extract, "2063", "sending", KeyboardInterrupt)
    assert noted["sha256"]
    holder.hand_in(long_extract, DATASET, "2064")
    assert holder.get(f"/deliveries/{location.rpartition('/')[2]}")["state"] == "withdrawn"


@pytest.mark.usefixtures("small")
def test_an_extract_that_changes_while_it_is_encrypted_is_not_delivered(
    holder: Client, long_extract: Path
) -> None:
    """Longer or shorter than at the beginning: one sentence, and no receipt for half a file."""
    whole = long_extract.read_bytes()
    for period, other in (("2065", whole + b"more"), ("2066", whole[: len(whole) // 2])):
        long_extract.write_bytes(whole)

        def changing(stage: str, done: int, total: int, other: bytes = other) -> None:
            if stage == "encrypting" and done < total / 4:
                long_extract.write_bytes(other)

        with pytest.raises(ExtractChanged, match="changed while it was being encrypted"):
            holder.upload(long_extract, DATASET, period, changing)
        rows = [row for row in holder.get("/deliveries") if row["period"] == period]
        assert [row["receipt"] for row in rows] == [None]


def test_a_line_that_breaks_during_a_download_is_one_sentence(
    house: House, between: Between
) -> None:
    """Nothing was written, and it says so."""

    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"age-encryption.org/v1\n"
            raise httpx.ReadError("cut")

    def answer(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        if request.url.path.endswith("/package"):
            return httpx.Response(200, stream=Cut())
        return ask()

    between.answer = answer
    profile = house["researcher-1"].profile
    with (
        Client(profile, clock=house.clock, transport=between) as client,
        pytest.raises(Unreachable, match="line broke"),
    ):
        client.fetch("release-1", [house.identities["researcher-1"]])


def test_what_is_no_service_is_said_to_be_none(house: House, between: Between) -> None:
    """A page instead of keys, another program's JSON, an address that is none."""
    profile = replace(house["researcher-1"].profile, service=None)
    for page in (httpx.Response(200, text="<html>"), httpx.Response(200, json=["other"])):
        between.answer = lambda _request, _ask, page=page: page  # type: ignore[misc]
        with (
            Client(profile, transport=between) as client,
            pytest.raises(Unreachable, match="no Schakel service"),
        ):
            client.get("/datasets")
    between.answer = lambda _request, _ask: httpx.Response(502, json=["other"])
    with Client(profile, transport=between) as client, pytest.raises(ServiceRefusal):
        client.get("/datasets")
    with pytest.raises(ProfileFault, match="no address"):
        Client(replace(profile, server="http://a:b"))


def test_a_checkpoint_is_kept_only_if_the_ledger_grew(
    house: House, holder: Client, between: Between, extract: Path
) -> None:
    """A later checkpoint takes the place of the one kept when the service proves it."""
    first = holder.upload(extract, DATASET, "2049")["receipt"]["checkpoint"]
    holder.remember(first)
    later = holder.upload(extract, DATASET, "2050")["receipt"]["checkpoint"]

    def lying(request: httpx.Request, ask: Callable[[], httpx.Response]) -> httpx.Response:
        response = ask()
        if request.url.path == "/ledger/checkpoint":
            wrong = [base64.b64encode(bytes(32)).decode()]
            return changed(response, lambda row: row.update(proof=wrong))
        return response

    between.answer = lying
    with pytest.raises(Distrust, match="not the one"):
        holder.remember(later)
    assert holder.profile.checkpoint == first
    between.answer = lambda _request, ask: ask()
    holder.remember(later)
    assert holder.profile.checkpoint == later
    holder.remember(first)
    assert holder.profile.checkpoint == later
    assert holder.grown_since([first, later]) != later


def test_a_checkpoint_of_another_history_is_told_from_ours(house: House, holder: Client) -> None:
    """Signed with the right key and still not what the ledger grew from: it was rewritten."""
    vault, engine = house.service.vault, house.service.engine
    with engine.begin() as connection:
        ledger, private = vault.ledger(connection), ledger_key(vault, connection)
    forged = write_checkpoint(Checkpoint(ledger.origin, 3, bytes(32)), private)
    for notes in ([forged], [forged, house["auditor-1"].get("/ledger")["checkpoint"]]):
        with pytest.raises(Distrust, match="not the one"):
            holder.grown_since(notes)
    longer = write_checkpoint(Checkpoint(ledger.origin, 10**6, bytes(32)), private)
    with pytest.raises(Distrust, match="taken away"):
        holder.grown_since([longer])
    with pytest.raises(Distrust, match="kept elsewhere"):
        holder.grown_since(["no checkpoint"])


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"AGE-SECRET-KEY-1NOTONE\n", b"\xff\xfe\x00"]
)
def test_a_file_without_an_age_identity_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """And nothing of what stands in it."""
    file = tmp_path / "identity.txt"
    file.write_bytes(content)
    with pytest.raises(IdentityFault) as fault:
        read_identities(file)
    assert "schakel identity" in str(fault.value)
    assert "NOTONE" not in str(fault.value)
