"""tus 1.0's extensions, one writer at a time, and offsets that never go back (V24)."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import store
from api.client import Client
from api.objects import Objects
from api.operations.deliveries import AGE_MAGIC
from api.store import Delivery
from api.worker import sweep
from tests.api.house import House, refusal_of
from tests.api.tus import Door, half_sent, patch, send

DATASET = "employment-service"
WHOLE = AGE_MAGIC[0] + bytes(hashlib.sha512(b"schakel").digest() * 40)
"""What begins like an age file and holds no long run of one byte."""


@pytest.fixture(scope="module")
def holder(house: House) -> Client:
    """The employment service's own person, with its dataset declared."""
    client = house["holder-vdab"]
    client.post("/datasets", house.story.truths[DATASET, "2024"].dataset.to_mapping())
    return client


@pytest.fixture(scope="module")
def door(house: House, holder: Client) -> Iterator[Door]:
    """A second API process over the same data folder."""
    door = Door(house.settings.data)
    yield door
    door.kill()


@pytest.fixture(scope="module")
def opened(holder: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Opens an upload of `WHOLE`; each call for a period of its own."""
    file = tmp_path_factory.mktemp("sealed") / "extract.csv.age"
    file.write_bytes(WHOLE)
    years = iter(range(1900, 2000))
    return lambda: holder.open_upload(file, DATASET, str(next(years)))


def _row(house: House, location: str) -> Delivery:
    with store.reading(house.service.engine) as session:
        row = session.get(Delivery, location.rpartition("/")[2])
        assert row is not None
        return row


def _moved(house: House, location: str, **back: int) -> None:
    """Let an upload have stood still since then."""
    with store.writing(house.service.engine) as session:
        row = session.get(Delivery, location.rpartition("/")[2])
        assert row is not None
        row.moved_at = house.service.clock.now() - timedelta(**back)


def _files(house: House) -> set[str]:
    return {name for name, _ in house.service.objects.names()}


# -- termination -----------------------------------------------------------------------------------


def test_a_withdrawn_upload_is_gone_from_disk_and_stands_in_the_ledger(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """V24: DELETE answers 204, the bytes are gone, and whatever comes afterwards hears 410."""
    location = opened()
    assert patch(holder, location, 0, WHOLE[:500]).status_code == 204
    name = str(_row(house, location).upload)
    assert name in _files(house)
    answer = send(holder, "DELETE", location)
    assert (answer.status_code, answer.headers["Tus-Resumable"]) == (204, "1.0.0")
    assert name not in _files(house)
    row = _row(house, location)
    assert (row.state, row.upload, row.receipt) == ("withdrawn", None, None)
    entries = house["auditor-1"].get("/ledger?most=10000")["entries"]
    last = [json.loads(entry["leaf"]) for entry in entries if row.id in entry["leaf"]]
    assert "upload.withdrawn" in [entry["kind"] for entry in last]
    for again in (
        send(holder, "HEAD", location),
        send(holder, "DELETE", location),
        patch(holder, location, 500, WHOLE[500:]),
    ):
        assert again.status_code == 410
        assert again.headers["Tus-Resumable"] == "1.0.0"
        assert "Upload-Offset" not in again.headers
    assert name not in _files(house)


def test_what_has_a_receipt_is_not_withdrawn(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """Only its own holder ends an upload, and only until it came in whole."""
    location = opened()
    assert send(house["holder-rsz"], "DELETE", location).status_code == 404
    assert send(house["researcher-1"], "DELETE", location).status_code in (403, 404)
    assert patch(holder, location, 0, WHOLE).status_code == 204
    answer = send(holder, "DELETE", location)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:schakel:problem:wrong-state")
    assert _row(house, location).receipt is not None
    assert send(holder, "HEAD", location).headers["Upload-Offset"] == str(len(WHOLE))


def test_a_writer_ends_when_its_upload_is_withdrawn(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """Bytes that are still on their way when DELETE comes are kept nowhere."""
    location = opened()
    before = _files(house)
    with half_sent(holder, location, 0, WHOLE[:500], len(WHOLE)) as line:
        _until_busy(holder, location)
        assert send(holder, "DELETE", location).status_code == 204
        line.sendall(WHOLE[500:])
        line.settimeout(10)
        assert line.recv(4000).startswith(b"HTTP/1.1 410")
    assert _files(house) <= before


def _until_busy(client: Client, location: str, server: str = "") -> None:
    """Until another request holds the upload."""
    for _ in range(200):
        if patch(client, location, 0, b"", server).status_code == 423:
            return
        time.sleep(0.02)
    raise AssertionError("nobody holds this upload")


# -- expiration ------------------------------------------------------------------------------------


def test_an_open_upload_says_when_it_expires(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """Creation, HEAD and PATCH; it moves with each PATCH and ends with the receipt."""
    days = timedelta(days=house.settings.upload_days)
    location = opened()
    _moved(house, location, days=3)
    told = _expiry(send(holder, "HEAD", location))
    assert abs(told - (house.service.clock.now() + days - timedelta(days=3))) < timedelta(minutes=1)
    told = _expiry(patch(holder, location, 0, WHOLE[:100]))
    assert abs(told - (house.service.clock.now() + days)) < timedelta(minutes=1)
    assert _expiry(send(holder, "HEAD", location)) == told
    last = patch(holder, location, 100, WHOLE[100:])
    assert "Upload-Expires" not in last.headers
    assert "Upload-Expires" not in send(holder, "HEAD", location).headers


def _expiry(answer: httpx.Response) -> Any:
    assert answer.is_success
    return parsedate_to_datetime(answer.headers["Upload-Expires"])


def test_creation_tells_the_expiry_and_head_the_metadata(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """tus creation and expiration: both are in the answers; unknown metadata is not kept."""
    known = send(holder, "HEAD", opened()).headers["Upload-Metadata"]
    period = "period MjA2MA=="
    told = ",".join([pair for pair in known.split(",") if not pair.startswith("period")])
    metadata = f"{told},{period},filename UGVldGVycw=="
    answer = send(holder, "POST", "/uploads",
                  **{"Upload-Metadata": metadata, "Upload-Length": str(len(WHOLE))})  # fmt: skip
    assert _expiry(answer) > house.service.clock.now()
    kept = send(holder, "HEAD", answer.headers["Location"]).headers["Upload-Metadata"]
    assert period in kept
    assert "mode bmV3" in kept
    assert "filename" not in kept


def test_an_expired_upload_is_over_before_any_sweep(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """410 at once, and the same after the sweep, which takes the bytes."""
    location = opened()
    assert patch(holder, location, 0, WHOLE[:100]).status_code == 204
    name = str(_row(house, location).upload)
    _moved(house, location, days=house.settings.upload_days, seconds=1)
    _hears_that_it_expired(holder, location)
    assert name in _files(house)
    sweep(house.service)
    assert name not in _files(house)
    _hears_that_it_expired(holder, location)


def _hears_that_it_expired(holder: Client, location: str) -> None:
    answers = [
        send(holder, "HEAD", location),
        send(holder, "DELETE", location),
        patch(holder, location, 100, WHOLE[100:]),
    ]
    assert [answer.status_code for answer in answers] == [410, 410, 410]
    for answer in answers[1:]:
        assert answer.json()["type"] == "urn:schakel:problem:upload-expired"
        assert "again" in answer.json()["next_step"]


def test_our_own_client_begins_anew_after_an_expiry(
    house: House, holder: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its notes point to an upload that is over: it encrypts and sends the extract again."""
    source = tmp_path / "extract.csv"
    source.write_bytes(house.story.truths[DATASET, "2024"].content)
    monkeypatch.setattr("api.client.REQUEST_PIECE", 20_000)
    locations: list[str] = []

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "sending":
            locations.append(
                json.loads((tmp_path / "extract.csv.upload.json").read_text())["location"]
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        holder.upload(source, DATASET, "2061", dying)
    _moved(house, locations[0], days=30)
    assert holder.upload(source, DATASET, "2061")["state"] == "accepted"


def test_an_organisation_has_so_many_uploads_open_and_no_more(
    house: House, opened: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear refusal; finished, withdrawn and expired ones don't count."""
    locations = [opened(), opened()]
    sweep(house.service)
    with store.reading(house.service.engine) as session:
        under_way = session.query(Delivery).filter_by(state="uploading").count()
    monkeypatch.setitem(vars(house.service.settings), "open_uploads", under_way)
    refusal = refusal_of(opened)
    assert (refusal.status, refusal.type) == (429, "too-many-uploads")
    assert str(under_way) in refusal.problem["detail"]
    _moved(house, locations[0], days=30)
    third = opened()
    assert refusal_of(opened).status == 429
    assert send(house["holder-vdab"], "DELETE", third).status_code == 204
    assert opened()


# -- manners ---------------------------------------------------------------------------------------


def test_another_version_of_tus_is_told_which_one_is_spoken(
    holder: Client, opened: Callable[..., str]
) -> None:
    """412 with Tus-Version, as the protocol wants it."""
    answer = send(holder, "HEAD", opened(), **{"Tus-Resumable": "0.2.2"})
    assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")


def test_a_method_may_be_meant(holder: Client, opened: Callable[..., str]) -> None:
    """X-HTTP-Method-Override: for clients behind proxies that know no PATCH; uploads only."""
    location = opened()
    meant = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    answer = send(holder, "POST", location, WHOLE[:100],
                  **meant, **{"X-HTTP-Method-Override": "PATCH"})  # fmt: skip
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "100")
    answer = send(holder, "POST", location, **{"X-HTTP-Method-Override": "DELETE"})
    assert answer.status_code == 204
    elsewhere = send(holder, "POST", "/uploadsandmore", **{"X-HTTP-Method-Override": "PATCH"})
    assert elsewhere.status_code == 404
    long = b'{"id":"' + b"a" * (5 << 20) + b'"}'
    answer = send(holder, "POST", "/organisations", long, **{"X-HTTP-Method-Override": "PATCH"})
    assert answer.status_code == 413


# -- one writer, one offset ------------------------------------------------------------------------


def test_two_processes_have_one_writer(
    house: House, holder: Client, door: Door, opened: Callable[..., str]
) -> None:
    """A second PATCH to one upload is refused, whichever process it comes to; 423 for both."""
    location = opened()
    for first, second in (("", door.server), (door.server, "")):
        offset = int(send(holder, "HEAD", location).headers["Upload-Offset"])
        with half_sent(holder, location, offset, WHOLE[offset:][:40], len(WHOLE) - offset, first):
            _until_busy(holder, location, second)
            refused = patch(holder, location, offset, WHOLE[offset:], second)
            assert refused.status_code == 423
            assert refused.json()["type"] == "urn:schakel:problem:upload-busy"
            assert refused.headers["Tus-Resumable"] == "1.0.0"
            other = opened()  # and no other upload waits for it
            assert patch(holder, other, 0, WHOLE[:50], second).status_code == 204
        reached = _free(holder, location)
        assert reached == offset + 40
    assert patch(holder, location, reached, WHOLE[reached:], door.server).status_code == 204
    assert _row(house, location).receipt is not None


def _free(client: Client, location: str) -> int:
    """The offset once nobody holds the upload any more."""
    for _ in range(300):
        offset = int(send(client, "HEAD", location).headers["Upload-Offset"])
        if patch(client, location, offset, b"").status_code == 204:
            return offset
        time.sleep(0.02)
    raise AssertionError("the upload is never let go")


def test_a_lock_dies_with_its_process(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """`kill -9` of the process in the middle of a PATCH: another goes on where it stood."""
    door, location = Door(house.settings.data), opened()
    assert patch(holder, location, 0, WHOLE[:300], door.server).status_code == 204
    with half_sent(holder, location, 300, WHOLE[300:700], len(WHOLE) - 300, door.server):
        _until_busy(holder, location)
        door.kill()
        assert int(send(holder, "HEAD", location).headers["Upload-Offset"]) == 300
        assert patch(holder, location, 300, WHOLE[300:]).status_code == 204
    receipt = _row(house, location).receipt
    assert receipt is not None
    assert receipt["sha256"] == hashlib.sha256(WHOLE).hexdigest()


def test_a_restart_in_between_changes_no_hash(
    house: House, holder: Client, opened: Callable[..., str]
) -> None:
    """Killed, restarted and helped by another process: the receipt is for the bytes on the disk."""
    door, location = Door(house.settings.data), opened()
    try:
        for place, server in ((0, door.server), (500, ""), (900, door.server), (1300, door.server)):
            answer = patch(holder, location, place, WHOLE[place:][:400], server)
            if place == 0:
                assert patch(holder, location, 400, WHOLE[400:500], door.server).status_code == 204
                door.again()
            assert answer.status_code == 204
        assert patch(holder, location, 1700, WHOLE[1700:], door.server).status_code == 204
    finally:
        door.kill()
    receipt = _row(house, location).receipt
    assert receipt is not None
    assert receipt["sha256"] == hashlib.sha256(WHOLE).hexdigest()


def _named(**pairs: str) -> dict[str, str]:
    """Upload-Metadata."""
    told = (f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in pairs.items())
    return {"Upload-Metadata": ",".join(told)}


def test_a_hash_may_be_declared_with_the_last_bytes(house: House, holder: Client) -> None:
    """V24: whoever encrypts while sending knows it at the end; without it no last byte is kept."""
    location = _undeclared(holder, "2090")
    told = send(holder, "HEAD", location).headers["Upload-Metadata"]
    assert [pair.split()[0] for pair in told.split(",")] == ["dataset", "period", "mode"]
    assert patch(holder, location, 0, WHOLE[:700]).status_code == 204
    refused = patch(holder, location, 700, WHOLE[700:])
    assert (refused.status_code, refused.json()["type"]) == (400, "urn:schakel:problem:bad-request")
    assert "sha256" in refused.json()["next_step"]
    row = _row(house, location)
    assert (row.offset, row.state, row.receipt) == (700, "uploading", None)
    assert house.service.objects.path(str(row.upload)).read_bytes() == WHOLE[:700]

    sha256 = hashlib.sha256(WHOLE).hexdigest()
    for wrong in ("0" * 63, "banana"):
        answer = patch(holder, location, 700, WHOLE[700:], **_named(sha256=wrong))
        assert answer.status_code == 400
    assert _row(house, location).declared_sha256 == ""
    assert patch(holder, location, 700, WHOLE[700:800], **_named(sha256=sha256)).status_code == 204
    other = patch(holder, location, 800, WHOLE[800:], **_named(sha256="0" * 64))
    assert (other.status_code, _row(house, location).offset) == (400, 800)
    assert patch(holder, location, 800, WHOLE[800:]).status_code == 204
    receipt = _row(house, location).receipt
    assert receipt is not None
    assert receipt["sha256"] == sha256


def _undeclared(holder: Client, period: str) -> str:
    """An upload of `WHOLE` that was opened without its hash."""
    about = _named(dataset=DATASET, period=period)
    answer = send(holder, "POST", "/uploads", **about, **{"Upload-Length": str(len(WHOLE))})
    assert answer.status_code == 201
    return answer.headers["Location"]


def test_other_bytes_than_were_declared_last_give_no_receipt(house: House, holder: Client) -> None:
    """A damaged line is noticed by the service as well, however late the hash came."""
    location = _undeclared(holder, "2091")
    assert patch(holder, location, 0, WHOLE[:700]).status_code == 204
    sha256 = hashlib.sha256(WHOLE).hexdigest()
    damaged = WHOLE[700:-1] + b"\0"
    answer = patch(holder, location, 700, damaged, **_named(sha256=sha256))
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:schakel:problem:ciphertext-mismatch"
    assert _row(house, location).receipt is None


def test_the_offset_is_looked_at_under_the_lock(
    house: House,
    holder: Client,
    door: Door,
    opened: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process acknowledges bytes just before this one gets the lock: they stay."""
    location, true_append, others = opened(), Objects.append, [0]

    def append(objects: Objects, name: str) -> Any:
        if others:
            answer = patch(holder, location, others.pop(), WHOLE[:400], door.server)
            assert answer.status_code == 204
        return true_append(objects, name)

    monkeypatch.setattr(Objects, "append", append)
    late = patch(holder, location, 0, WHOLE[:200])
    assert (late.status_code, late.headers["Upload-Offset"]) == (409, "400")
    assert house.service.objects.path(str(_row(house, location).upload)).read_bytes() == WHOLE[:400]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["patch", "patch", "cut", "wrong", "damaged", "busy", "replay"]),
        st.integers(1, 900),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=10)
@given(steps=STEPS)
def test_offsets_never_go_back(
    house: House, holder: Client, door: Door, opened: Callable[..., str], steps: Any
) -> None:
    """Whatever is sent, cut, damaged or repeated at two processes: acknowledged bytes stay."""
    location, known = opened(), 0
    for kind, size, there in steps:
        server = door.server if there else ""
        known = _stepped(holder, location, known, kind, size, server, "" if there else door.server)
        stands = _free(holder, location) if kind in ("cut", "busy") else known
        assert stands >= known
        row = _row(house, location)
        if row.receipt is not None:
            break
        known = stands
        assert row.offset == known
        stored = house.service.objects.path(str(row.upload))
        assert known == 0 or stored.read_bytes()[:known] == WHOLE[:known]
    if _row(house, location).receipt is None:
        assert patch(holder, location, known, WHOLE[known:]).status_code == 204
    receipt = _row(house, location).receipt
    assert receipt is not None
    assert receipt["sha256"] == hashlib.sha256(WHOLE).hexdigest()


def _stepped(
    client: Client, location: str, known: int, kind: str, size: int, here: str, other: str
) -> int:
    """One step; the highest offset that was acknowledged so far comes back."""
    piece, rest = WHOLE[known : known + size], len(WHOLE) - known
    match kind:
        case "patch":
            answer = patch(client, location, known, piece, here)
            assert answer.status_code == 204
            return int(answer.headers["Upload-Offset"])
        case "cut":
            with half_sent(client, location, known, piece, rest + 1 if rest else 1, here):
                pass
        case "busy":
            with half_sent(client, location, known, piece[:1], rest + 1, here):
                answer = patch(client, location, known, piece, other)
                assert answer.status_code in (204, 423)
                if answer.status_code == 204:  # it was quicker than the other one
                    return int(answer.headers["Upload-Offset"])
        case "damaged":
            wrong = {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
            assert patch(client, location, known, piece, here, **wrong).status_code == 460
        case "wrong":
            answer = patch(client, location, known + size, piece, here)
            assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, str(known))
        case "replay":
            answer = patch(client, location, max(known - size, 0), piece, here)
            assert answer.status_code == (409 if known else 204)
            if not known:
                return int(answer.headers["Upload-Offset"])
    return known
