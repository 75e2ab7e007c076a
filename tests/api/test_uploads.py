"""The front door: ciphertext in pieces, receipts, and nothing that the service could read (V24)."""

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyrage
import pytest

from api import store
from api.client import TUS, Client
from api.operations.deliveries import plaintext_problem
from api.store import Delivery
from api.uploads import _finish_if_complete
from keyvault import ledger as ledgers
from keyvault.signing import verify_receipt
from policies.access import Actor
from tests.api.house import House, refusal_of
from tests.api.tus import half_sent, patch, send

DATASET = "employment-service"


@pytest.fixture(scope="module")
def holder(house: House) -> Client:
    """The employment service's own person, with its dataset declared."""
    client = house["holder-vdab"]
    declared = house.story.truths[DATASET, "2024"].dataset
    client.post("/datasets", declared.to_mapping())
    return client


@pytest.fixture
def ciphertext(house: House, holder: Client, tmp_path: Path) -> Path:
    """An extract, encrypted to the service."""
    plain = tmp_path / "extract.csv"
    plain.write_bytes(house.story.truths[DATASET, "2024"].content)
    sealed = tmp_path / "extract.csv.age"
    holder.encrypt(plain, sealed)
    return sealed


def _object_of(house: House, location: str) -> str:
    with store.reading(house.service.engine) as session:
        row = session.get(Delivery, location.rpartition("/")[2])
        assert row is not None
        assert row.upload is not None
        return row.upload


def _stored(house: House, location: str) -> bytes:
    """What the service holds of an upload."""
    return house.service.objects.path(_object_of(house, location)).read_bytes()


def test_an_upload_cut_at_several_points_resumes_bit_identical(
    house: House, holder: Client, ciphertext: Path
) -> None:
    """V24: the line breaks in the middle of a request, several times; every byte is there once."""
    whole = ciphertext.read_bytes()
    location = holder.open_upload(ciphertext, DATASET, "2030")
    for cut in (10, 33, 1000, len(whole) // 2):
        offset = holder.offset(location)
        with half_sent(holder, location, offset, whole[offset:cut], len(whole) - offset):
            pass
        reached = _settled(holder, location, cut)
        assert reached <= cut
        assert _stored(house, location)[:reached] == whole[:reached]
    offset = holder.offset(location)
    last = patch(holder, location, offset, whole[offset:-1])
    assert last.status_code == 204
    assert _stored(house, location) == whole[:-1]
    holder.send(location, ciphertext)
    delivery = holder.wait_delivery(location.rpartition("/")[2])
    assert delivery["receipt"]["sha256"] == hashlib.sha256(whole).hexdigest()
    assert delivery["state"] == "accepted"


def _settled(client: Client, location: str, expected: int) -> int:
    """The offset once the service has noticed that the line is dead."""
    import time

    reached = 0
    for _ in range(100):
        reached = client.offset(location)
        if reached >= expected:
            break
        time.sleep(0.02)
    return reached


def test_the_receipt_is_signed_and_stands_in_the_ledger(house: House, tmp_path: Path) -> None:
    """V24: checksum receipt with time, dataset, period, signature and ledger position."""
    client = house["holder-rsz"]
    house.delivered("social-security")
    receipt = client.get("/deliveries")[-1]["receipt"]
    public = client.public()
    verify_receipt(receipt, public["receipt"][0])
    assert {"sha256", "received_at", "dataset", "period", "signature", "ledger_position"} <= set(
        receipt
    )
    entries = house["auditor-1"].get("/ledger?most=10000")["entries"]
    stored = [
        ledgers.Stored(place, entry["leaf"].encode(), entry["checkpoint"])
        for place, entry in enumerate(entries)
    ]
    assert receipt["sha256"] in entries[receipt["ledger_position"]]["leaf"]
    assert ledgers.verify(stored, public["ledger"], checkpoints=[receipt["checkpoint"]]) == []


def test_plaintext_is_refused_and_no_byte_of_it_is_kept(
    house: House, holder: Client, tmp_path: Path
) -> None:
    """V24: the first bytes decide, and the answer holds the command that encrypts."""
    plain = tmp_path / "plain.csv"
    plain.write_bytes(house.story.truths[DATASET, "2024"].content)
    location = holder.open_upload(plain, DATASET, "2031")
    refusal = refusal_of(lambda: holder.send(location, plain))
    assert (refusal.status, refusal.type) == (415, "plaintext-upload")
    assert "age -R" in refusal.problem["next_step"]
    assert _stored(house, location) == b""
    one_by_one = [patch(holder, location, 0, plain.read_bytes()[:1])]
    assert one_by_one[0].status_code == 415


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_the_first_bytes_may_come_in_pieces(cut: int) -> None:
    """What can still become an age file is waited for; what can't is refused at once."""
    assert plaintext_problem(b"age-encryption.org/v1\n"[:cut]) is None
    assert plaintext_problem(b"-----BEGIN AGE ENCRYPTED FILE-----"[:cut]) is None
    assert plaintext_problem(b"age-encryption.org/v2\n") is not None
    assert plaintext_problem(b"name;number\n"[:cut]) is not None
    for line in (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"):
        assert plaintext_problem(line) is None
        assert plaintext_problem(line + b"name;number\n"[:cut]) is not None


def test_a_damaged_request_is_not_kept(holder: Client, house: House, ciphertext: Path) -> None:
    """tus checksum: 460, and the offset stays where it was."""
    location = holder.open_upload(ciphertext, DATASET, "2032")
    data = ciphertext.read_bytes()[:4000]
    right = base64.b64encode(hashlib.sha256(data).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    damaged = patch(holder, location, 0, data, **{"Upload-Checksum": f"sha256 {wrong}"})
    assert damaged.status_code == 460
    assert holder.offset(location) == 0
    assert _stored(house, location) == b""
    whole = patch(holder, location, 0, data, **{"Upload-Checksum": f"sha256 {right}"})
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (204, "4000")


def test_a_checksum_that_is_none_is_told(holder: Client, ciphertext: Path) -> None:
    """A header may hold any byte; the answer is a sentence."""
    location = holder.open_upload(ciphertext, DATASET, "2045")
    for checksum in ("sha256 \xe9", "sha256 %", "md5 AAAA"):
        answer = patch(
            holder, location, 0, b"age", **{"Upload-Checksum": checksum.encode("latin-1")}
        )
        assert answer.status_code == 400
        assert answer.json()["next_step"]


def test_a_line_that_is_half_open_is_let_go(
    holder: Client, ciphertext: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a byte for a while the request ends: what came stays, and another may go on."""
    monkeypatch.setattr("api.uploads.IDLE", 0.3)
    location = holder.open_upload(ciphertext, DATASET, "2046")
    data = ciphertext.read_bytes()
    with half_sent(holder, location, 0, data[:1000], len(data)) as line:
        line.settimeout(10)
        answer = line.recv(4000)
        assert answer.startswith(b"HTTP/1.1 408")
        assert holder.offset(location) == 1000
        assert patch(holder, location, 1000, data[1000:2000]).status_code == 204


def test_what_does_not_fit_its_hash_is_not_kept(
    house: House, holder: Client, ciphertext: Path
) -> None:
    """A rejected upload's bytes leave the disk with it."""
    location = holder.open_upload(ciphertext, DATASET, "2047")
    name = _object_of(house, location)
    data = ciphertext.read_bytes()
    assert patch(holder, location, 0, data[:-1]).status_code == 204
    assert house.service.objects.path(name).exists()
    assert patch(holder, location, len(data) - 1, b"\0").status_code == 422
    assert not house.service.objects.path(name).exists()
    for over in (patch(holder, location, len(data), b""), send(holder, "HEAD", location)):
        assert over.status_code == 410


@pytest.mark.parametrize("at", ["before the hash", "after the hash"])
def test_two_requests_may_find_an_upload_whole(
    house: House, holder: Client, ciphertext: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The slower one's hash, or its file, is of no use any more: no fault, and one receipt."""
    period = {"before the hash": "2048", "after the hash": "2049"}[at]
    location = holder.open_upload(ciphertext, DATASET, period)
    identifier = location.rpartition("/")[2]
    true_hash, slower = house.service.objects.__class__.sha256, [True]

    def sha256(objects: Any, name: str) -> str:
        if not slower or at == "before the hash":
            digest = true_hash(objects, name)
        if slower.pop() if slower else False:
            with store.reading(house.service.engine) as session:
                row = session.get(Delivery, identifier)
            assert row is not None
            actor = Actor(row.person, row.organisation, frozenset({"holder"}))
            _finish_if_complete(house.service, actor, row)
            assert holder.wait_delivery(identifier)["state"] == "accepted"
            digest = digest if at == "before the hash" else true_hash(objects, name)
        return digest

    monkeypatch.setattr(house.service.objects.__class__, "sha256", sha256)
    assert patch(holder, location, 0, ciphertext.read_bytes()).status_code == 204
    assert slower == []
    assert house.ledger_kinds().count("upload.received") == len(
        [row for row in house["auditor-1"].get("/deliveries") if row["receipt"]]
    )


def test_offsets_never_go_back(holder: Client, ciphertext: Path) -> None:
    """Bytes for another offset are refused with the right one."""
    location = holder.open_upload(ciphertext, DATASET, "2033")
    data = ciphertext.read_bytes()
    assert patch(holder, location, 0, data[:100]).status_code == 204
    again = patch(holder, location, 0, data[:100])
    assert (again.status_code, again.headers["Upload-Offset"]) == (409, "100")
    ahead = patch(holder, location, 200, data[200:300])
    assert ahead.status_code == 409


def test_more_bytes_than_declared_are_refused(holder: Client, ciphertext: Path) -> None:
    """The declared length is the limit."""
    location = holder.open_upload(ciphertext, DATASET, "2034")
    longer = ciphertext.read_bytes() + b"more"
    assert patch(holder, location, 0, longer).status_code == 413
    assert holder.offset(location) == 0


def test_other_bytes_than_declared_are_noticed(holder: Client, ciphertext: Path) -> None:
    """The SHA-256 of the whole is declared first; other bytes give no receipt."""
    location = holder.open_upload(ciphertext, DATASET, "2035")
    other = bytearray(ciphertext.read_bytes())
    other[-1] ^= 1
    answer = patch(holder, location, 0, bytes(other))
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("ciphertext-mismatch")
    delivery = holder.get(f"/deliveries/{location.rpartition('/')[2]}")
    assert (delivery["state"], delivery["receipt"]) == ("rejected", None)


def test_a_damaged_age_file_is_rejected_whole(holder: Client, ciphertext: Path) -> None:
    """No row of a file that doesn't authenticate to its end is accepted."""
    damaged = ciphertext.with_name("damaged.age")
    data = bytearray(ciphertext.read_bytes())
    data[-5] ^= 1
    damaged.write_bytes(bytes(data))
    location = holder.open_upload(damaged, DATASET, "2036")
    holder.send(location, damaged)
    delivery = holder.wait_delivery(location.rpartition("/")[2])
    assert delivery["state"] == "rejected"
    assert delivery["report"] == {"problem": "damaged-delivery"}


def test_a_file_for_somebody_else_is_rejected(holder: Client, ciphertext: Path) -> None:
    """Encrypted, but to another key: told so, and nothing else."""
    other = pyrage.x25519.Identity.generate().to_public()
    foreign = ciphertext.with_name("foreign.age")
    foreign.write_bytes(pyrage.encrypt(b"a;b\n1;2\n", [other]))
    location = holder.open_upload(foreign, DATASET, "2037")
    holder.send(location, foreign)
    assert holder.wait_delivery(location.rpartition("/")[2])["state"] == "rejected"


def test_the_same_period_is_delivered_once(house: House, holder: Client, ciphertext: Path) -> None:
    """A second file for one dataset and period is refused, and says where the first stands."""
    first = holder.open_upload(ciphertext, DATASET, "2038")
    holder.send(first, ciphertext)
    refusal = refusal_of(lambda: holder.open_upload(ciphertext, DATASET, "2038"))
    assert (refusal.status, refusal.type) == (409, "already-delivered")


def test_of_two_open_uploads_the_first_that_is_whole_counts(
    holder: Client, ciphertext: Path
) -> None:
    """A dataset and period never gets two accepted deliveries."""
    first = holder.open_upload(ciphertext, DATASET, "2044")
    second = holder.open_upload(ciphertext, DATASET, "2044")
    holder.send(second, ciphertext)
    refusal = refusal_of(lambda: holder.send(first, ciphertext))
    assert (refusal.status, refusal.type) == (409, "already-delivered")
    states = {
        holder.wait_delivery(location.rpartition("/")[2])["state"] for location in (first, second)
    }
    assert states == {"accepted", "rejected"}


def test_another_holder_hears_what_a_missing_thing_answers(
    house: House, holder: Client, ciphertext: Path
) -> None:
    """S16: a holder sees its own files only, and can't find out which others exist."""
    location = holder.open_upload(ciphertext, DATASET, "2039")
    stranger = house["holder-rsz"]
    existing = refusal_of(lambda: stranger.get(f"/deliveries/{location.rpartition('/')[2]}"))
    missing = refusal_of(lambda: stranger.get("/deliveries/delivery-0000000000000000"))
    assert existing.problem == missing.problem
    assert patch(stranger, location, 0, b"age-encryption.org/v1\n").status_code == 404
    assert refusal_of(lambda: stranger.open_upload(ciphertext, DATASET, "2039")).status in (
        403,
        404,
    )


def test_the_library_uploads_in_one_call_and_resumes(
    house: House, holder: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken upload goes on with the very same ciphertext when the command is given again."""
    source = tmp_path / "extract.csv"
    source.write_bytes(house.story.truths[DATASET, "2024"].content)
    monkeypatch.setattr("api.client.REQUEST_PIECE", 20_000)
    pieces: list[int] = []

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "sending" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        holder.upload(source, DATASET, "2040", dying)
    first = (tmp_path / "extract.csv.age").read_bytes()

    def counting(stage: str, done: int, total: int) -> None:
        if stage == "sending":
            pieces.append(done)

    delivery = holder.upload(source, DATASET, "2040", counting)
    assert delivery["state"] == "accepted"
    assert delivery["receipt"]["sha256"] == hashlib.sha256(first).hexdigest()
    assert pieces[0] > len(first) / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extract.csv"]


@pytest.mark.age
@pytest.mark.parametrize(
    ("period", "options"),
    [
        ("2041", []),
        ("2042", ["-a"]),
        ("2062", ["-R", "colleagues"]),
        ("2063", ["-a", "-R", "colleagues"]),
    ],
)
def test_a_file_encrypted_by_debians_age_is_accepted(
    house: House, holder: Client, tmp_path: Path, age_program: str, period: str, options: list[str]
) -> None:
    """Any age client will do: binary or armoured, to the service alone or to others besides."""
    plain, sealed = tmp_path / "extract.csv", tmp_path / "extract.csv.age"
    plain.write_bytes(house.story.truths[DATASET, "2024"].content)
    own = [pyrage.x25519.Identity.generate() for _ in range(3)]
    (tmp_path / "colleagues").write_text("".join(f"{each.to_public()}\n" for each in own))
    recipient = holder.public()["uploads"]
    subprocess.run(
        [age_program, *options, "-r", recipient, "-o", sealed, plain], check=True, cwd=tmp_path
    )
    location = holder.open_upload(sealed, DATASET, period)
    holder.send(location, sealed)
    assert holder.wait_delivery(location.rpartition("/")[2])["state"] == "accepted"


def test_tus_says_what_it_can(holder: Client) -> None:
    """Version, extensions, checksums."""
    answer = httpx.options(
        holder.profile.server + "/uploads", headers={"Authorization": f"Bearer {holder.token()}"}
    )
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,checksum,termination,expiration"


def _metadata(**changes: str) -> str:
    pairs = {"dataset": DATASET, "period": "2043", "sha256": "0" * 64, **changes}
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.0"}, 412),
        ({"Upload-Length": "many"}, 400),
        ({"Upload-Metadata": "dataset %%%"}, 400),
        ({"Upload-Metadata": "dataset ZQ=="}, 400),
        ({"Upload-Length": str(2**50)}, 413),
        ({"Upload-Length": "9" * 5000}, 400),
        ({"Upload-Length": "0"}, 400),
        ({"Upload-Metadata": "dataset \xe9"}, 400),
        ({"Upload-Metadata": _metadata(period="banana")}, 400),
        ({"Upload-Metadata": _metadata(period="85073003328")}, 400),
        ({"Upload-Metadata": _metadata(period="\u0662\u0660\u0662\u0664")}, 400),
        ({"Upload-Metadata": _metadata(sha256="not-a-hash")}, 400),
    ],
)
def test_a_badly_made_request_is_told_what_is_wrong(
    holder: Client, headers: dict[str, str], status: int
) -> None:
    """Each with a sentence that says what to do."""
    given = {
        **TUS,
        "Authorization": f"Bearer {holder.token()}",
        "Upload-Length": "10",
        "Upload-Metadata": _metadata(),
        **headers,
    }
    answer = httpx.post(
        holder.profile.server + "/uploads",
        headers={name: value.encode("latin-1") for name, value in given.items()},
    )
    assert answer.status_code == status
    assert answer.json()["next_step"]
