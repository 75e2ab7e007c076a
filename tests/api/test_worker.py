"""The worker: what becomes of jobs that fail, come back, were done before, or were taken over."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from api import jobs, store
from api import worker as workers
from api.client import Client
from api.objects import ObjectFault
from api.operations import building, intake, linkage, releases
from api.problems import Problem
from api.store import Delivery, Job
from api.worker import Worker
from policies.access import Actor
from tests.api.house import House

DATASET = "employment-service"


@pytest.fixture
def still(tmp_path: Path) -> Iterator[House]:
    """A house whose worker does nothing unless a test takes its step."""
    house = House(tmp_path)
    house.working = False
    house.inhabited()
    yield house
    house.stop()


def sent(house: House, tmp_path: Path, period: str = "2024") -> str:
    """A delivery that came in and waits for intake."""
    client: Client = house["holder-vdab"]
    if not client.get("/datasets"):
        declared = house.story.truths[DATASET, "2024"].dataset
        client.post("/datasets", declared.to_mapping())
    plain, sealed = tmp_path / "x.csv", tmp_path / "x.csv.age"
    plain.write_bytes(house.story.truths[DATASET, "2024"].content)
    client.encrypt(plain, sealed)
    location = client.open_upload(sealed, DATASET, period)
    client.send(location, sealed)
    return location.rpartition("/")[2]


def state(house: House, delivery: str) -> str:
    """A delivery's state."""
    return str(house["holder-vdab"].get(f"/deliveries/{delivery}")["state"])


def ready(house: House) -> None:
    """Let jobs that wait before they are tried again be tried now."""
    with store.writing(house.service.engine) as session:
        session.execute(update(Job).values(not_before=house.clock.now()))


def test_a_fault_is_tried_again_and_leaves_no_half(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is visible of an attempt that failed; the log has its kind and no text."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    secret = "85.07.30-033.28"
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(intake, "record_intake", _raises(RuntimeError(secret)))
        assert worker.step()
    assert state(still, delivery) == "checking"
    assert "RuntimeError at test_worker.py" in caplog.text
    assert secret not in caplog.text
    assert not worker.step()
    ready(still)
    assert worker.step()
    assert state(still, delivery) == "accepted"


def _raises(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_fault_that_stays_ends_the_job_and_says_so(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five attempts the delivery is rejected, and its holder hears it."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    monkeypatch.setattr(intake, "take_in", _raises(MemoryError()))
    for _ in range(jobs.MOST_ATTEMPTS):
        ready(still)
        assert worker.step()
    assert state(still, delivery) == "rejected"
    (row,) = still["holder-vdab"].get("/jobs")
    assert (row["state"], row["problem"]["status"]) == ("failed", 500)
    assert still.ledger_kinds()[-1] == "delivery.rejected"


def stored(house: House) -> list[str]:
    """Names of the stored objects."""
    return sorted(name for name, _ in house.service.objects.names())


@pytest.mark.parametrize(
    "fault",
    [OperationalError("", {}, Exception("database is locked")), ObjectFault("unreadable")],
    ids=["database", "disk"],
)
def test_one_fault_of_the_store_rejects_nothing(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """A problem that is ours is tried again like any other fault."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    with monkeypatch.context() as broken:
        broken.setattr(intake, "record_intake", _raises(fault))
        assert worker.step()
    assert state(still, delivery) == "checking"
    ready(still)
    assert worker.step()
    assert state(still, delivery) == "accepted"


def test_a_job_that_kills_its_workers_is_given_up(still: House, tmp_path: Path) -> None:
    """A process that dies tells nobody; its attempts are counted, and the delivery ends too."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    with store.writing(still.service.engine) as session:
        session.execute(update(Job).values(attempts=jobs.MOST_ATTEMPTS))
    assert worker.step()
    assert state(still, delivery) == "rejected"
    (row,) = still["holder-vdab"].get("/jobs")
    assert (row["state"], row["problem"]["status"]) == ("failed", 500)
    assert not worker.step()
    assert stored(still) == []


def test_a_lease_lost_while_a_job_fails_does_not_end_the_worker(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it would be put back or ended: another has it, and the log holds no text."""
    sent(still, tmp_path)
    worker = Worker(still.service)
    secret = "85.07.30-033.28"

    errors = [RuntimeError(secret), Problem("damaged-delivery", secret, "")]

    def lost(*_: Any) -> None:
        with store.writing(still.service.engine) as session:
            session.execute(update(Job).values(fence=Job.fence + 1))
        raise errors.pop()

    monkeypatch.setattr(intake, "take_in", lost)
    while errors:
        with store.writing(still.service.engine) as session:
            session.execute(update(Job).values(state="queued", not_before=still.clock.now()))
        with caplog.at_level(logging.WARNING):
            assert worker.step()
    assert "LeaseLost at jobs.py" in caplog.text
    assert secret not in caplog.text
    with store.reading(still.service.engine) as session:
        row = session.scalars(select(Job)).one()
        assert (row.state, row.problem) == ("running", None)


def test_a_worker_outlives_a_store_that_is_away(
    still: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it can't take now it takes a moment later."""
    turns = iter([True, True, False])
    monkeypatch.setattr(workers, "BEAT", 0.0)
    monkeypatch.setattr(jobs, "waiting", _raises(OperationalError("", {}, Exception("locked"))))
    with caplog.at_level(logging.WARNING):
        Worker(still.service).run(lambda: next(turns))
    assert caplog.text.count("OperationalError") == 2


def test_what_is_rejected_leaves_no_ciphertext(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that nobody can use isn't kept."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    assert len(stored(still)) == 1
    monkeypatch.setattr(intake, "take_in", _raises(Problem("damaged-delivery", "", "")))
    assert worker.step()
    assert state(still, delivery) == "rejected"
    assert stored(still) == []


def test_envelopes_that_cannot_be_sealed_are_told(
    still: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a cleared release hears that nothing comes, and why."""
    told: list[tuple[str, str]] = []

    def failed(_work: Any, release: str, problem: Problem) -> None:
        told.append((release, problem.type))

    monkeypatch.setattr(building, "seal_envelopes", _raises(Problem("permit-not-in-force", "", "")))
    monkeypatch.setattr(releases, "envelopes_failed", failed)
    actor = Actor("statistician-2", "office", frozenset())
    with still.service.work(actor) as work:
        jobs.enqueue(work, "envelopes", "release", {"release": "release-1"})
    assert Worker(still.service).step()
    assert told == [("release-1", "permit-not-in-force")]


def test_what_another_worker_took_over_does_not_count_twice(
    still: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one's results are thrown away with its transaction."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    took_over: list[bool] = []
    true_record = intake.record_intake

    def meanwhile(*arguments: Any) -> Any:
        if not took_over:
            took_over.append(True)
            work = arguments[0]
            work.session.execute(update(Job).values(fence=Job.fence + 1))
        return true_record(*arguments)

    with monkeypatch.context() as slow:
        slow.setattr(intake, "record_intake", meanwhile)
        assert worker.step()
    assert state(still, delivery) == "checking"
    with store.writing(still.service.engine) as session:
        session.execute(update(Job).values(state="queued", leased_until=None))
    assert worker.step()
    assert state(still, delivery) == "accepted"
    assert still.ledger_kinds().count("delivery.accepted") == 1


def test_an_intake_that_was_done_is_not_done_again(still: House, tmp_path: Path) -> None:
    """A repeated job finds its work done, and ends."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    assert worker.step()
    objects = stored(still)
    with store.writing(still.service.engine) as session:
        session.execute(update(Job).values(state="queued", leased_until=None))
    assert worker.step()
    assert state(still, delivery) == "accepted"
    assert stored(still) == objects
    with store.reading(still.service.engine) as session:
        row = session.get(Delivery, delivery)
        assert row is not None
        assert row.upload is None


def test_a_job_put_back_after_it_was_done_rejects_nothing(still: House, tmp_path: Path) -> None:
    """What a job's signature doesn't cover is how far it has come: with that changed, and no
    attempt left, what it did before stands all the same."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    assert worker.step()
    with store.writing(still.service.engine) as session:
        session.execute(update(Job).values(state="queued", attempts=99, leased_until=None))
    assert worker.step()
    assert state(still, delivery) == "accepted"


def test_a_changed_upload_is_noticed_before_it_is_read(still: House, tmp_path: Path) -> None:
    """What is read is held against the recorded hash: another good file in its place is none."""
    delivery, worker = sent(still, tmp_path), Worker(still.service)
    with store.reading(still.service.engine) as session:
        row = session.get(Delivery, delivery)
        assert row is not None
        path = still.service.objects.path(str(row.upload))
    other, sealed = tmp_path / "y.csv", tmp_path / "y.csv.age"
    other.write_bytes((tmp_path / "x.csv").read_bytes())
    still["holder-vdab"].encrypt(other, sealed)
    path.write_bytes(sealed.read_bytes())
    assert worker.step()
    told = still["holder-vdab"].get(f"/deliveries/{delivery}")
    assert (told["state"], told["report"]) == ("rejected", {"problem": "ciphertext-mismatch"})


def test_a_delivery_is_admitted_once(still: House, tmp_path: Path) -> None:
    """A repeated linkage finds it in the spine; another dataset than the permit's is refused."""
    sent(still, tmp_path)
    worker = Worker(still.service)
    assert worker.step()
    still.working = True
    service = still.service
    still.delivered("child-benefit", "social-security")
    permit = still.granted("once")
    assert still.built(permit)["state"] == "built"
    first = still["holder-vdab"].get("/deliveries")[0]["id"]
    tools = (service.engine, service.vault, service.objects)
    now = still.clock.now()
    assert linkage.admit(*tools, permit, first, now, lambda *_: None) is None
    assert building.build(*tools, _any_release(still), now, lambda *_: None) is None


def _any_release(house: House) -> str:
    return str(house["statistician-1"].get("/releases")[0]["id"])
