"""Clients by others upload a real age file over lines that break and servers that die (V24)."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api import store
from api.client import Client
from api.store import Delivery
from tests.api.house import House
from tests.api.tus import Door, send
from tests.clients.bad_line import BadLine
from tests.conftest import missing

HERE = Path(__file__).parent
DATASET = "employment-service"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running service; its worker waits until a test wants it."""
    house = House(tmp_path_factory.mktemp("clients")).inhabited()
    house["holder-vdab"].post("/datasets", house.story.truths[DATASET, "2024"].dataset.to_mapping())
    yield house
    house.stop()


@pytest.fixture(scope="module")
def door(house: House) -> Iterator[Door]:
    """The API process that the clients talk to: one that can be killed."""
    door = Door(house.settings.data)
    yield door
    door.kill()


@pytest.fixture(scope="module")
def sealed(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real extract, as often as it takes to make some requests of it, encrypted with age."""
    folder = tmp_path_factory.mktemp("sealed")
    content = house.story.truths[DATASET, "2024"].content
    head, _, rows = content.partition(b"\n")
    (folder / "extract.csv").write_bytes(head + b"\n" + rows * 8)
    house["holder-vdab"].encrypt(folder / "extract.csv", folder / "extract.csv.age")
    return folder / "extract.csv.age"


@dataclass(frozen=True)
class Upload:
    """One client's upload of one file for one period, as often as it takes."""

    command: list[str]
    holder: Client
    file: Path
    period: str
    memory: Path
    asked: dict[str, Any]

    def run(self, server: str) -> subprocess.CompletedProcess[str]:
        """Begin, or go on."""
        sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        told = {
            "endpoint": f"{server}/uploads",
            "token": self.holder.token(),
            "file": str(self.file),
            "memory": str(self.memory),
            "metadata": {"dataset": DATASET, "period": self.period, "sha256": sha256},
            **self.asked,
        }
        return subprocess.run(
            self.command, input=json.dumps(told), capture_output=True, text=True, timeout=60
        )


def _tuspy() -> list[str]:
    return [sys.executable, str(HERE / "with_tuspy.py")]


def _tus_js() -> list[str]:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "tus-js-client").is_dir():
        missing("tus-js-client is not installed: with Node and npm here, run tests/outside.sh")
    return [str(node), str(HERE / "with_tus_js.mjs")]


PROGRAMS = {"tuspy": _tuspy, "tus-js-client": _tus_js}


@pytest.fixture(params=PROGRAMS)
def client(
    request: pytest.FixtureRequest, house: House, sealed: Path, tmp_path: Path
) -> Callable[..., Upload]:
    """Each of the clients, for a period of its own."""
    command = PROGRAMS[request.param]()
    house.working = False

    def made(**asked: Any) -> Upload:
        taken = len(house["holder-vdab"].get("/deliveries"))
        return Upload(
            command, house["holder-vdab"], sealed, str(1900 + taken), tmp_path / "memory",
            {"chunk": 0, "retries": 0, **asked},
        )  # fmt: skip

    return made


def test_the_lock_of_npms_packages_names_no_registry() -> None:
    """Whoever installs them takes them from the registry of their own choice, bytes unchanged."""
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for entry in packages.values():
        assert "resolved" not in entry
        assert entry["integrity"].startswith("sha512-")


def _accepted(house: House, address: str, file: Path) -> None:
    """What is stored is bit-identical, has its receipt, and is taken in."""
    identifier = address.strip().rpartition("/")[2]
    with store.reading(house.service.engine) as session:
        row = session.get(Delivery, identifier)
    assert row is not None
    assert house.service.objects.path(str(row.upload)).read_bytes() == file.read_bytes()
    assert row.receipt is not None
    assert row.receipt["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    house.working = True
    assert house["holder-vdab"].wait_delivery(identifier)["state"] == "accepted"


def _shares(size: int, *shares: float) -> list[int]:
    return [int(size * share) for share in shares]


def test_a_client_uploads(house: House, door: Door, client: Callable[..., Upload]) -> None:
    """In one go, on a good line."""
    upload = client()
    done = upload.run(door.server)
    assert done.returncode == 0, done.stderr
    _accepted(house, done.stdout, upload.file)


def test_a_client_mends_broken_lines_by_itself(
    house: House, door: Door, client: Callable[..., Upload]
) -> None:
    """Cut at several points of one run; it asks for the offset and goes on."""
    upload = client(retries=8)
    cuts = _shares(upload.file.stat().st_size, 0.05, 0.5, 0.9)
    with BadLine(door.port, cuts) as line:
        done = upload.run(line.server)
        assert done.returncode == 0, done.stderr
        assert line.cuts_left == 0
    _accepted(house, done.stdout, upload.file)


def test_a_client_that_is_run_again_goes_on(
    house: House, door: Door, client: Callable[..., Upload]
) -> None:
    """It gives up at each cut; given again it finds the upload it began, and nothing goes twice."""
    upload = client(chunk=60_000)
    size = upload.file.stat().st_size
    cuts = _shares(size, 0.3, 0.8)
    with BadLine(door.port, cuts) as line:
        assert [upload.run(line.server).returncode for _ in cuts] == [1, 1]
        assert line.cuts_left == 0
        opened = _open(house, upload.period)
        assert len(opened) == 1
        assert 0 < opened[0].offset < size
        done = _finished(upload, line.server)
    _accepted(house, done.stdout, upload.file)
    assert len(_open(house, upload.period)) == 0


def _open(house: House, period: str) -> list[Delivery]:
    with store.reading(house.service.engine) as session:
        return session.query(Delivery).filter_by(period=period, state="uploading").all()


def _finished(upload: Upload, server: str) -> subprocess.CompletedProcess[str]:
    """Run until it ends well: the service may need a moment to notice that a line is dead."""
    for _ in range(5):
        done = upload.run(server)
        if done.returncode == 0:
            return done
    raise AssertionError(done.stderr)


def test_a_server_killed_in_the_middle_is_gone_on_with(
    house: House, door: Door, client: Callable[..., Upload]
) -> None:
    """`kill -9` of the API process half-way, and another at its place: nothing is lost."""
    upload = client(chunk=60_000, retries=20)
    cut = _shares(upload.file.stat().st_size, 0.6)
    with BadLine(door.port, cut, broken=door.again) as line:
        done = _finished(upload, line.server)
        assert line.cuts_left == 0
    _accepted(house, done.stdout, upload.file)


def test_what_else_they_can_do(house: House, door: Door, client: Callable[..., Upload]) -> None:
    """tuspy: each request with its SHA-1; tus-js-client: a POST that means PATCH."""
    upload = client(chunk=100_000, checksum=True, overridden=True)
    done = upload.run(door.server)
    assert done.returncode == 0, done.stderr
    _accepted(house, done.stdout, upload.file)


def test_tus_js_client_gives_up_and_the_bytes_are_gone(
    house: House, door: Door, sealed: Path, tmp_path: Path
) -> None:
    """Its `abort(true)` is tus termination."""
    holder = house["holder-vdab"]
    before = {name for name, _ in house.service.objects.names()}
    upload = Upload(_tus_js(), holder, sealed, "2090", tmp_path / "memory",
                    {"chunk": 50_000, "retries": 0, "giveUpAt": 100_000})  # fmt: skip
    done = upload.run(door.server)
    assert done.returncode == 0, done.stderr
    location = "/uploads/" + done.stdout.strip().rpartition("/")[2]
    assert send(holder, "HEAD", location).status_code == 410
    assert {name for name, _ in house.service.objects.names()} <= before
    states = [row["state"] for row in holder.get("/deliveries") if row["period"] == "2090"]
    assert states == ["withdrawn"]
