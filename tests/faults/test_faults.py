"""Disks that fail: what can't be made durable isn't done, and the caller hears which it was.

A few of the classes that `make faults` goes through, and the judge judged.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api import founding, idempotency, store
from api.demo.cast import Cast
from api.operations import Work
from api.service import Service, as_problem
from api.settings import Settings
from api.store import Organisation
from policies.access import Actor
from tests.conftest import missing
from tests.crash.outcome import copied, kinds
from tests.faults.acts import JOBS, UPLOADS
from tests.faults.disturbed import FAULTS, Acting, Site, _attached
from tests.faults.harness import Harness, _type
from tests.faults.powerloss import Disk
from tests.faults.tampering import HARMS, Kept, Tampering, noticed

ADMINISTRATOR = Actor("admin-1", "office", frozenset({"administrator"}))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Flows to be disturbed; needs `strace`."""
    if shutil.which("strace") is None:
        missing("the program `strace` is not installed (Debian package strace)")
    folder = tmp_path_factory.mktemp("faults")
    with Acting(folder) as acting:
        yield Harness(folder, acting)


SHORT = [
    ("note", "pwrite64", "log", "EIO"),
    ("note", "fsync", "log", "ENOSPC"),
    ("append", "fsync", "object", "EIO"),
    ("finish", "fsync", "log", "KILL"),
    ("intake", "write", "unfinished object", "ENOSPC"),
    ("envelopes", "fsync", "objects' folder", "EIO"),
    ("rotate", "fsync", "root key", "EIO"),
    ("rotate", "rename", "root key", "KILL"),
]


@pytest.mark.parametrize(("flow", "call", "target", "fault"), SHORT)
def test_a_fault_loses_nothing(
    harness: Harness, flow: str, call: str, target: str, fault: str
) -> None:
    """V24: one call of a class fails, or is the last; the rest is `make faults`."""
    [sites] = [
        sites
        for sites in harness.classes(flow)
        if (sites[0].call, sites[0].target) == (call, target)
    ]
    assert harness.wrong(flow, sites[-1], fault) == []


@pytest.mark.parametrize("fault", ["write:error=EIO", "read,pread64:error=EIO"])
def test_a_disk_that_fails_is_no_damaged_delivery(harness: Harness, fault: str) -> None:
    """What can't be read or passed on just now is tried again; the holder's file is well."""
    settings, ended = harness.disturbed("intake", f"{fault}:when=1")
    assert harness.judged("intake", settings, ended) == []


def test_a_full_disk_is_told_and_nothing_happens(harness: Harness) -> None:
    """From one call on nothing can be written: it isn't known to be done, and never a yes."""
    for number in (1, 3):
        settings, ended = harness.disturbed("note", f"pwrite64:error=ENOSPC:when={number}+")
        assert ended.told is not None
        assert (ended.told["status"], _type(ended.told)) == (503, "commit-unknown")
        assert harness.judged("note", settings, ended) == []


def test_a_commit_that_was_not_confirmed_is_no_yes(harness: Harness) -> None:
    """The log's fsync fails: whether it happened isn't known, and that is what the caller hears."""
    settings, ended = harness.disturbed("note", "fsync,fdatasync:error=EIO:when=1+")
    assert ended.told is not None
    assert (ended.told["status"], _type(ended.told)) == (503, "commit-unknown")
    assert harness.judged("note", settings, ended) == []


def test_no_answer_leaves_before_its_entry_is_durable(harness: Harness) -> None:
    """Storage that hangs for two seconds: the answer waits for it."""
    settings, ended = harness.disturbed("note", "fsync,fdatasync:delay_enter=2000000:when=1")
    assert ended.told is not None
    assert ended.told["status"] == 201
    assert ended.seconds > 2.0
    assert harness.judged("note", settings, ended) == []


def test_whatever_is_changed_is_noticed(harness: Harness) -> None:
    """V24: every kind of stored thing, each harm to it; `make faults` does more of it."""
    tampering = Tampering(harness.service())
    tampering.run(4)
    assert tampering.tried.total() > 1500
    assert {harm for _, harm in tampering.tried} == set(HARMS)
    assert +tampering.missed == {}
    kinds = {kind for kind, _ in tampering.tried}
    assert {"package, hash and all", "envelope on the disk", "proof of a key row", "permit's body",
            "receipt", "job", "ledger entry", "checkpoint", "sealed key"} <= kinds  # fmt: skip
    whole = Kept("nothing", b"x", lambda _: None)
    assert not noticed(whole, b"y"), "what reads anything notices nothing"


@pytest.mark.parametrize("flow", ["note", "rotate"])
def test_power_that_goes_takes_nothing_acknowledged(harness: Harness, flow: str) -> None:
    """V24: everything that wasn't synced is dropped, at each moment; the rest is `make faults`."""
    dark = list(harness.without_power(flow))
    assert [told for found in dark for told in found] == []
    assert len(dark) > 3


def test_a_disk_that_keeps_what_was_synced(tmp_path: Path) -> None:
    """The model: bytes need a sync of their file, and names one of their folder."""
    place = tmp_path.resolve()
    (place / "old").write_bytes(b"old")

    def hexed(text: object) -> str:
        return "".join(f"\\x{byte:02x}" for byte in str(text).encode())

    def handle(number: int, name: str) -> str:
        return f"{number}<{hexed(place / name) if name else hexed(place)}>"

    new = f'"{hexed(place / "new")}"'
    log = [
        f"7 openat(AT_FDCWD<{hexed('/')}>, {new}, O_RDWR|O_CREAT, 0666) = 3<x>",
        f'7 write({handle(3, "new")}, "{hexed("abc")}", 3) = 3',
        f'8 pwrite64({handle(3, "new")}, "{hexed("X")}", 1, 4 <unfinished ...>',
        f"7 fsync({handle(9, 'old')}) = 0",
        "8 <... pwrite64 resumed>) = 1",
        f"7 fsync({handle(3, 'new')}) = 0",
        f"7 fsync({handle(4, '')}) = 0",
        f'7 rename({new}, "{hexed(place / "old")}") = 0',
        f"7 ftruncate({handle(3, 'old')}, 2) = 0",
        f"7 fsync({handle(3, 'old')}) = 0",
        f"7 fsync({handle(4, '')}) = 0",
        f'7 unlink("{hexed(place / "old")}") = 0',
        f"7 fsync({handle(4, '')}) = -1 EIO",
        f"7 fsync({handle(4, '')}) = 0",
    ]
    told = [
        {Path(name).name: data for name, data in state.items()}
        for state in Disk(place).states("\n".join(log))
    ]
    whole = b"abc\0X"
    assert told == [
        {"old": b"old"},
        {"old": b"old"},
        {"old": b"old"},
        {"old": b"old", "new": whole},
        {"old": b"old", "new": b"ab"},
        {"old": b"ab"},
        {},
    ]


def test_the_judge_is_judged(harness: Harness) -> None:
    """An answer that says yes to what isn't there is found; so is a refusal that did it."""
    settings, ended = harness.disturbed("note", "openat:error=EIO:when=9999")
    assert ended.told is not None
    (harness._folder / "lost").mkdir()
    lost = Settings(data=harness._folder / "lost" / "service")
    shutil.copytree(harness._stages.folders["nothing"], lost.data)
    assert "it was acknowledged and isn't there" in harness.judged("note", lost, ended)
    assert harness.judged("note", settings, ended) == []
    ended.told.update(status=503, content={"type": "urn:schakel:problem:ledger-unwritable"})
    assert "nothing was done, it said, and yet it is there" in harness.judged(
        "note", settings, ended
    )


def test_a_failed_commit_ends_the_process(harness: Harness) -> None:
    """The caller hears that it isn't known, and the process ends: its supervisor starts it anew."""
    settings = copied(harness._stages.folders["nothing"], harness._folder / "serving")
    token = harness._token(settings, "admin-1")
    arguments = ["serve", "--data", str(settings.data), "--port", "0"]
    command = [sys.executable, "-c", "from api.cli import main; main()", *arguments]
    with (harness._folder / "serving.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        told = httpx.get(f"{address}/health").json()
        assert told == {"status": "ok"}
        tracer = _attached(
            process.pid, harness._folder / "serving.strace", ("fsync,fdatasync:error=EIO",), "none"
        )
        answer = httpx.post(
            f"{address}/organisations",
            json={"id": "unknown", "name": "Unknown"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.json()["type"].endswith("commit-unknown")
        assert process.wait(timeout=30) == 1
        tracer.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert "didn't confirm" in (harness._folder / "serving.log").read_text()


# -- the store by itself ---------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A founded service, and nothing in it."""
    cast = Cast(tmp_path)
    cast.found()
    service = Service.open(cast.settings)
    yield service
    service.engine.dispose()


def _add(service: Service, name: str) -> None:
    with service.work(ADMINISTRATOR) as work:
        work.session.add(Organisation(id=name, name=name, added_at=work.now))
        work.session.flush()
        work.note("organisation.added", organisation=name)


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_a_database_that_was_removed_takes_nothing_more(service: Service, ending: str) -> None:
    """SQLite would go on writing into a file that nobody can open again."""
    _add(service, "before")
    file = Path(f"{service.settings.data / 'schakel.sqlite'}{ending}")
    kept = file.with_suffix(".kept")
    file.rename(kept)
    if not ending:
        shutil.copy(kept, file)
    with pytest.raises(store.StorageGone) as caught:
        _add(service, "lost")
    problem = as_problem(caught.value)
    assert problem is not None
    assert problem.type == "ledger-unwritable"
    assert store.stopped(service.engine)
    assert not store.there("sqlite:////nowhere")
    with pytest.raises(store.Unconfirmed):
        _add(service, "later")


def test_a_process_whose_commit_failed_writes_no_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the disk seems to be well again: an fsync isn't to be believed twice."""
    dialect = service.engine.dialect

    def fails(_connection: object) -> None:
        raise dialect.loaded_dbapi.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_commit", fails)
        with pytest.raises(store.Unconfirmed):
            _add(service, "unknown")
    assert store.stopped(service.engine)
    with pytest.raises(store.Unconfirmed):
        _add(service, "another")
    other = store.connect(service.settings.database)
    with store.reading(other) as session:
        assert session.get(Organisation, "another") is None
    other.dispose()


@pytest.mark.parametrize("persisted", [True, False], ids=["persisted", "not"])
def test_a_commit_that_failed_and_its_repetition_are_one(
    service: Service, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    """Failed and on the disk, failed and not: with the same key it comes to one effect."""
    commit = service.engine.dialect.do_commit

    def fails(connection: object) -> None:
        if persisted:
            commit(connection)  # type: ignore[arg-type]
        raise service.engine.dialect.loaded_dbapi.OperationalError("disk I/O error")

    def ask(of: Service) -> object:
        def do(work: Work) -> dict[str, str]:
            work.session.add(Organisation(id="once", name="Once", added_at=work.now))
            work.session.flush()
            work.note("organisation.added", organisation="once")
            return {"id": "once"}

        return idempotency.Change(of, ADMINISTRATOR, "a-key", b"POST /organisations")(do)

    with monkeypatch.context() as patched:
        patched.setattr(service.engine.dialect, "do_commit", fails)
        with pytest.raises(store.Unconfirmed):
            ask(service)
    restarted = Service.open(service.settings)
    assert ("organisation.added" in kinds(service.settings)) == persisted
    assert ask(restarted) == ask(restarted) == {"id": "once"}
    restarted.engine.dispose()
    assert kinds(service.settings).count("organisation.added") == 1


def test_a_writer_who_waits_in_vain_stops_nothing(service: Service) -> None:
    """The lock is somebody else's for too long: a refusal, after commits that went well too."""
    with service.engine.execution_options(read_only=True).connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    _add(service, "before")
    other = store.connect(service.settings.database)
    with store.writing(other) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(OperationalError, match="locked") as caught:
            _add(service, "waits")
    problem = as_problem(caught.value)
    assert problem is not None
    assert problem.type == "ledger-unwritable"
    assert not store.stopped(service.engine)
    _add(service, "after")
    other.dispose()


def test_a_statement_that_fails_stops_nothing(service: Service) -> None:
    """A full disk before the commit is a refusal: what was begun is taken back."""
    with store.writing(service.engine) as session:
        session.execute(text("CREATE TRIGGER full BEFORE INSERT ON ledger_entry "
                             "BEGIN SELECT RAISE(FAIL, 'disk full'); END"))  # fmt: skip
    with pytest.raises(Exception, match="disk full"):
        _add(service, "refused")
    assert not store.stopped(service.engine)
    with store.writing(service.engine) as session:
        session.execute(text("DROP TRIGGER full"))
    _add(service, "taken")
    assert "organisation.added" in str(founding.ledger_of(service.settings)["entries"][-1])


def test_every_flow_has_calls_that_can_fail(harness: Harness) -> None:
    """The flows that the table is about, and the faults."""
    for flow in ("append", "intake", "rotate"):
        assert {"fsync", "pwrite64"} <= {site.call for site in harness.sites(flow)}
    assert set(UPLOADS) | set(JOBS) >= {"create", "append", "finish", "intake", "link", "release"}
    assert set(FAULTS) == {"KILL", "EIO", "ENOSPC"}
    assert all(isinstance(site, Site) for site in harness.sites("append"))
