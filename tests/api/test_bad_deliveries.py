"""Bad age files through the real intake, and what a good one of either kind becomes.

No row of a file is accepted that doesn't authenticate to its end (row V24), whatever its plaintext
looked like until then.
"""

import base64
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from sqlalchemy import update

from api import store
from api.client import Client
from api.operations import intake, shuffling
from api.operations.sealed import open_object
from api.problems import Problem
from api.store import Delivery
from api.worker import Worker
from tests.api.house import House, refusal_of
from tests.linkage import bad_files

RECORDS = bad_files.rows(997)
CSV = bad_files.as_csv(RECORDS).replace(";n1\n", f";{'long ' * 20_000}\n", 1).encode()
CHUNK = 65_536 + 16


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose worker does nothing unless a test takes its step."""
    house = House(tmp_path_factory.mktemp("house"))
    house.working = False
    house.inhabited()
    house["holder-vdab"].post("/datasets", bad_files.DOCUMENT)
    yield house
    house.stop()


@pytest.fixture
def holder(house: House) -> Client:
    return house["holder-vdab"]


def sealed(holder: Client, plain: bytes, **options: Any) -> bytes:
    """Encrypted to the service."""
    recipient = pyrage.x25519.Recipient.from_str(holder.public()["uploads"])
    return pyrage.encrypt(plain, [recipient], **options)


def taken_in(house: House, holder: Client, data: bytes, folder: Path) -> dict[str, Any]:
    """What becomes of a ciphertext: sent by the client, dealt with by the worker."""
    file = folder / "extract.age"
    file.write_bytes(data)
    location = holder.open_upload(file, "persons", "2024")
    holder.send(location, file)
    assert Worker(house.service).step()
    delivery: dict[str, Any] = holder.get(f"/deliveries/{location.rpartition('/')[2]}")
    return delivery


def chunks(data: bytes) -> int:
    """Where a binary age file's chunks begin: after the header, its MAC and the nonce."""
    return data.index(b"\n", data.index(b"\n--- ") + 1) + 1 + 16


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def _of_somebody_else(_: Client) -> bytes:
    return pyrage.encrypt(CSV, [pyrage.x25519.Identity.generate().to_public()])


def _without(holder: Client, count: int, more: int = 0) -> bytes:
    data = sealed(holder, CSV)
    return data[: chunks(data) + count * CHUNK + more]


def _armoured(holder: Client, cut: int) -> bytes:
    text = sealed(holder, CSV, armored=True)
    return text[:-cut]


DAMAGED: dict[str, Any] = {
    "cut in its header": lambda holder: sealed(holder, CSV)[:60],
    "cut in the middle of its first chunk": lambda holder: _without(holder, 0, 1000),
    "cut in the middle of its second chunk": lambda holder: _without(holder, 1, 500),
    "last chunk missing": lambda holder: _without(holder, 1),
    "no chunk at all": lambda holder: _without(holder, 0),
    "last byte missing": lambda holder: sealed(holder, CSV)[:-1],
    "a bit flipped in its stanza": lambda holder: _flip(sealed(holder, CSV), 60),
    "a bit flipped in its MAC": lambda h: _flip(data := sealed(h, CSV), data.index(b"--- ") + 9),
    "a bit flipped in its nonce": lambda h: _flip(data := sealed(h, CSV), chunks(data) - 3),
    "a bit flipped in its body": lambda h: _flip(data := sealed(h, CSV), chunks(data) + 999),
    "a bit flipped in its last byte": lambda h: _flip(data := sealed(h, CSV), len(data) - 1),
    "to another recipient": _of_somebody_else,
    "armour cut off": lambda holder: _armoured(holder, 400),
    "armour without its last line": lambda holder: _armoured(holder, 34),
    "two files in a row": lambda holder: sealed(holder, CSV) * 2,
    "chunks exchanged": lambda holder: _exchanged(sealed(holder, CSV)),
    "something behind it": lambda holder: sealed(holder, CSV) + b"\0",
}


def _exchanged(data: bytes) -> bytes:
    start = chunks(data)
    first, second = data[start : start + 1000], data[start + CHUNK : start + CHUNK + 1000]
    return data.replace(first, b"?" * 1000).replace(second, first).replace(b"?" * 1000, second)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_age_file_is_rejected(
    name: str, house: House, holder: Client, tmp_path: Path
) -> None:
    """Whole, with one reason; nothing of it is stored."""
    before = sorted(house.service.objects.names())
    delivery = taken_in(house, holder, DAMAGED[name](holder), tmp_path)
    assert delivery["state"] == "rejected"
    assert delivery["report"] == {"problem": "damaged-delivery"}
    assert sorted(house.service.objects.names()) == before


CONTENTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty_file"),
    "noise": (random.Random(1).randbytes(300_000), "unknown_column"),
    "compressed": (bad_files.MALFORMED_CSV["compressed"].data, "unknown_column"),
    "a late fault": (CSV + b"1;2\n", "too_few_fields"),
    "an expanding Parquet file": (
        bad_files.MALFORMED_PARQUET["expands by repetition"].data,
        "expands_too_much",
    ),
    "half a Parquet file": (bad_files.PARQUET[:1000], "parquet_damaged"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_an_age_file_of_something_else_is_reported_on(
    name: str, house: House, holder: Client, tmp_path: Path
) -> None:
    plain, reason = CONTENTS[name]
    delivery = taken_in(house, holder, sealed(holder, plain), tmp_path)
    assert delivery["state"] == "rejected"
    assert reason in {fault["reason"] for fault in delivery["report"]["faults"]}


def test_an_age_file_in_an_age_file(house: House, holder: Client, tmp_path: Path) -> None:
    twice = sealed(holder, sealed(holder, CSV))
    delivery = taken_in(house, holder, twice, tmp_path)
    assert delivery["report"]["faults"][0]["reason"] in ("unknown_column", "unreadable_header")


@pytest.mark.parametrize("plain", [CSV, bad_files.PARQUET, b"age-encryption.org/v2\n" + CSV])
def test_plaintext_is_refused_at_the_door(holder: Client, tmp_path: Path, plain: bytes) -> None:
    file = tmp_path / "plain"
    file.write_bytes(plain)
    location = holder.open_upload(file, "persons", "2024")
    assert refusal_of(lambda: holder.send(location, file)).type == "plaintext-upload"


def halves(house: House, identifier: str) -> tuple[Any, Any]:
    """A delivery's sealed halves, opened by the roles that may."""
    service = house.service
    with store.reading(service.engine) as session:
        row = session.get(Delivery, identifier)
        assert row is not None
        return tuple(  # type: ignore[return-value]
            open_object(
                session,
                service.objects,
                service.vault.role(role),
                getattr(row, kind),
                f"{kind}|{identifier}|1",
            )
            for role, kind in (("linkage", "identifiers"), ("release", "payload"))
        )


def withdrawn(house: House, identifier: str) -> None:
    """Make room for another delivery of the period."""
    with store.writing(house.service.engine) as session:
        session.execute(update(Delivery).where(Delivery.id == identifier).values(state="withdrawn"))


KINDS = {
    "CSV": (CSV, 1 << 26),
    "CSV through the scratch": (CSV, 30_000),
    "Parquet": (bad_files.as_parquet(bad_files.as_table(RECORDS)), 1 << 26),
    "Parquet through the scratch": (bad_files.as_parquet(bad_files.as_table(RECORDS)), 30_000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_is_all_there(
    kind: str, house: House, holder: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both halves, sorted by a key that tells nothing, record numbers beside it (row S16)."""
    plain, held = KINDS[kind]
    monkeypatch.setattr(shuffling, "HELD", held)
    delivery = taken_in(house, holder, sealed(holder, plain), tmp_path)
    assert (delivery["state"], delivery["rows"]) == ("accepted", len(RECORDS))
    identifiers, payload = halves(house, delivery["id"])
    withdrawn(house, delivery["id"])
    keys = identifiers["row_key"].to_pylist()
    assert keys == sorted(set(keys)) == payload["row_key"].to_pylist()
    records = identifiers["record"].to_pylist()
    assert sorted(records) == [*range(1, len(RECORDS) + 1)]
    assert records != sorted(records)
    numbers = dict(zip(records, identifiers["insz"].to_pylist(), strict=True))
    assert [numbers[record] for record in sorted(records)] == [row[0] for row in RECORDS]
    wages = dict(zip(records, payload["loon"].to_pylist(), strict=True))
    assert [wages[record] for record in sorted(records)] == [i + 0.5 for i in range(len(RECORDS))]


def test_mutations_of_age_files(house: House, holder: Client, tmp_path: Path) -> None:
    """500 of them: each is refused, but for one that decrypts to the very same bytes."""
    service, chance = house.service, random.Random(20241231)
    plain = bad_files.as_csv(bad_files.ROWS).encode()
    file = tmp_path / "extract.age"
    good = [sealed(holder, plain), sealed(holder, plain, armored=True), sealed(holder, CSV)]
    file.write_bytes(good[0])
    location = holder.open_upload(file, "persons", "2024")
    holder.send(location, file)
    identifier = location.rpartition("/")[2]
    with store.reading(service.engine) as session:
        row = session.get(Delivery, identifier)
        assert row is not None
        upload = service.objects.path(str(row.upload))
    accepted = 0
    for number in range(500):
        data = bad_files.damaged(good[number % 3], chance)
        upload.write_bytes(data)
        with store.writing(service.engine) as session:
            session.execute(
                update(Delivery)
                .where(Delivery.id == identifier)
                .values(declared_sha256=hashlib.sha256(data).hexdigest(), length=len(data))
            )
        taken = taken_or_refused(house, identifier)
        if taken is None:
            continue
        accepted += 1
        assert taken.identifiers is not None
        assert taken.rows == (len(RECORDS) if number % 3 == 2 else len(bad_files.ROWS))
        assert _same(data, good[number % 3])
    assert accepted < 50


def taken_or_refused(house: House, identifier: str) -> intake.TakenIn | None:
    """What intake made of a delivery; None when it couldn't be decrypted."""
    service = house.service
    tools = (service.engine, service.vault, service.objects)
    try:
        return intake.take_in(*tools, identifier, lambda *_: None)
    except Problem as problem:
        if problem.type != "damaged-delivery":
            raise
        return None


def _same(data: bytes, good: bytes) -> bool:
    """Whether nothing but the white space around an armour differs."""
    if not good.startswith(b"-----"):
        return data == good
    bodies = [b"".join(text.split(b"-----")[2].split()) for text in (data, good)]
    return base64.b64decode(bodies[0]) == base64.b64decode(bodies[1])
