"""Work in the background: once, in order, and not by a worker that was thought dead."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, column, select, table, text, update

from api import jobs, store
from api.jobs import LeaseLost, Taken
from api.objects import Objects
from api.operations import Work
from api.processes import this_process
from api.store import Base, Job
from keyvault import tables
from keyvault.custody import FileCustody
from keyvault.ledger import entries
from keyvault.vault import Vault
from policies.access import Actor
from tests.keyvault.conftest import someone

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
ACTOR = Actor("statistician-1", "office", frozenset({"statistician"}))


@dataclass
class Place:
    """A database of its own with a vault in it."""

    engine: Engine
    vault: Vault
    objects: Objects

    @contextmanager
    def work(self) -> Iterator[Work]:
        """A transaction in the actor's name."""
        with store.writing(self.engine) as session:
            yield Work(session, self.vault, self.objects, ACTOR, NOW)

    def add(self, kind: str = "build", queue: str = "release", group: str | None = None) -> str:
        """Enqueue a job."""
        with self.work() as work:
            return jobs.enqueue(work, kind, queue, {"n": 1}, group).id


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place for jobs."""
    engine = store.connect(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    Base.metadata.create_all(engine)
    founders = [someone(name, "administrator").enrolment() for name in ("ann", "bob")]
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        custody = FileCustody.create(tmp_path / "root.json")
        vault = Vault.found(connection, custody, founders, now=NOW)
    yield Place(engine, vault, Objects(tmp_path / "objects"))
    engine.dispose()


@pytest.fixture
def engine(place: Place) -> Engine:
    """Its database."""
    return place.engine


def take(engine: Engine, now: datetime = NOW, *queues: str) -> Taken | None:
    """Take a job as some worker."""
    with store.writing(engine) as session:
        return jobs.take(session, queues or ("release",), now, LEASE)


def state(engine: Engine, identifier: str) -> str:
    """The state of a job."""
    with store.reading(engine) as session:
        job = session.get(Job, identifier)
        assert job is not None
        return job.state


def test_jobs_come_in_the_order_in_which_they_were_asked_for(place: Place, engine: Engine) -> None:
    """First in, first out; each is taken once."""
    first, second = place.add(), place.add()
    taken = [take(engine), take(engine), take(engine)]
    assert [job.id if job else None for job in taken] == [first, second, None]


def test_a_queue_is_one_roles(place: Place, engine: Engine) -> None:
    """A worker that holds another role's key doesn't get the job."""
    place.add(queue="linkage")
    assert take(engine) is None
    assert take(engine, NOW, "linkage") is not None


def test_one_scope_has_one_job_at_a_time(place: Place, engine: Engine) -> None:
    """Two workers started at once never admit to one spine together."""
    first, second = place.add(group="scope:a"), place.add(group="scope:a")
    other = place.add(group="scope:b")
    assert [getattr(take(engine), "id", None) for _ in range(3)] == [first, other, None]
    with store.writing(engine) as session:
        jobs.finish(session, _taken(engine, first), {}, NOW)
    again = take(engine)
    assert again is not None
    assert again.id == second


def _taken(engine: Engine, identifier: str) -> Taken:
    with store.reading(engine) as session:
        job = session.get(Job, identifier)
        assert job is not None
        who = job.actor, job.organisation
        return Taken(job.id, job.kind, {}, *who, job.attempts, job.fence, {}, job.signature)


def test_a_worker_thought_dead_cannot_finish(place: Place, engine: Engine) -> None:
    """Lease over, taken by another: the first one's results don't count, nor do its beats."""
    identifier = place.add()
    first = take(engine)
    assert first is not None
    assert take(engine, NOW + LEASE / 2) is None
    second = take(engine, NOW + LEASE * 2)
    assert second is not None
    assert (second.id, second.fence, second.attempt) == (identifier, first.fence + 1, 2)
    for late in (
        lambda session: jobs.finish(session, first, {}, NOW),
        lambda session: jobs.fail(session, first, {}, NOW),
        lambda session: jobs.beat(session, first, "x", 0.5, NOW, LEASE),
        lambda session: jobs.again(session, first, NOW),
    ):
        with pytest.raises(LeaseLost), store.writing(engine) as session:
            late(session)
    with store.writing(engine) as session:
        jobs.finish(session, second, {"ok": True}, NOW)
    assert state(engine, identifier) == "done"


def test_nobody_waits_for_a_dead_workers_lease(place: Place, engine: Engine) -> None:
    """A process that can be seen to be over has its job taken at once; a living one keeps it."""
    here, _, began = str(this_process()).rpartition(" ")
    for process, again in ((str(this_process()), False), (f"{here} {int(began) - 1}", True)):
        identifier = place.add(queue=process[-8:])
        queues = (process[-8:],)
        with store.writing(engine) as session:
            assert jobs.take(session, queues, NOW, LEASE, process) is not None
        with store.reading(engine) as session:
            assert jobs.waiting(session, queues, NOW) == again
        with store.writing(engine) as session:
            taken = jobs.take(session, queues, NOW, LEASE, str(this_process()))
        assert (taken is not None) == again
        assert state(engine, identifier) == "running"


def test_a_beat_keeps_the_lease_and_tells_how_far_it_is(place: Place, engine: Engine) -> None:
    """Progress never passes 100%."""
    identifier = place.add()
    taken = take(engine)
    assert taken is not None
    with store.writing(engine) as session:
        jobs.beat(session, taken, "compare", 1.7, NOW + LEASE, LEASE)
    assert take(engine, NOW + LEASE * 1.5) is None
    with store.reading(engine) as session:
        job = session.get(Job, identifier)
        assert job is not None
        assert (jobs.describe(job)["stage"], jobs.describe(job)["share"]) == ("compare", 1.0)


def test_a_fault_comes_back_later_and_later(place: Place, engine: Engine) -> None:
    """A retry waits, and doesn't lose what the job was."""
    place.add()
    now = NOW
    for attempt in (1, 2, 3):
        taken = take(engine, now)
        assert taken is not None
        assert taken.attempt == attempt
        with store.writing(engine) as session:
            jobs.again(session, taken, now)
        assert take(engine, now + timedelta(seconds=2**attempt - 1)) is None
        now += timedelta(seconds=2**attempt)


def test_a_job_is_there_only_if_its_cause_is(place: Place, engine: Engine) -> None:
    """Enqueued in the transaction that causes it; taken back with it."""

    def cause_that_fails() -> None:
        with place.work() as work:
            jobs.enqueue(work, "build", "release", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cause_that_fails()
    assert take(engine) is None
    with store.reading(engine) as session:
        assert not jobs.waiting(session, ("release",), NOW)


def test_arguments_hold_ids_and_counts_only(place: Place, engine: Engine) -> None:
    """Whoever reads the table learns nothing about anybody."""
    identifier = place.add()
    with store.reading(engine) as session:
        job = session.get(Job, identifier)
        assert job is not None
        assert job.arguments == {"n": 1}


def _step(place: Place) -> bool | None:
    """Take a job and hold it against its signature, as a worker does; None when there is none."""
    with place.work() as work:
        taken = jobs.take(work.session, ("release",), NOW, LEASE)
        return None if taken is None else jobs.refuse_forged(work, taken)


def _alarms(place: Place) -> int:
    with place.engine.connect() as connection:
        return [entry.kind for entry in entries(connection)].count("job.forged")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "envelopes"},
        {"actor": "mallory"},
        {"arguments": '{"n": 2}'},
        {"arguments": "[" * 100_000},
        {"arguments": "no JSON"},
        {"signature": b"\xff\xfe"},
        {"created_at": "yesterday"},
        {"attempts": 2**63 - 1},
        {"fence": "a text"},
        {"id": b"\xff\xfe"},
        {"id": "85.07.30-033.28"},
    ],
    ids=lambda changes: "-".join(f"{name} {str(value)[:12]}" for name, value in changes.items()),
)
def test_a_forged_row_raises_an_alarm_and_nothing_else(
    place: Place, changes: dict[str, Any]
) -> None:
    """It is ended, whatever is in it, and doesn't stand in the way of the job behind it."""
    place.add()
    true = place.add()
    with place.engine.begin() as connection:
        job = table("job", column("sequence"), *map(column, changes))  # without the types of ours
        connection.execute(update(job).where(job.c.sequence == 1).values(changes))
    assert _step(place) is True
    assert _alarms(place) == 1
    assert _step(place) is False
    assert state(place.engine, true) == "running"
    assert _step(place) is None


def test_many_forged_rows_do_not_fill_the_ledger(place: Place) -> None:
    """V24: the first of an hour is in the ledger for ever, and all are counted."""
    for _ in range(5):
        place.add()
    with place.engine.begin() as connection:
        connection.execute(text("UPDATE job SET actor = 'mallory'"))
    assert [_step(place) for _ in range(6)] == [True] * 5 + [None]
    assert _alarms(place) == 1
    with store.reading(place.engine) as session:
        assert [row.count for row in session.scalars(select(store.RefusedRequest))] == [5]


@pytest.mark.parametrize(
    "changes",
    [{"queue": "85.07.30-033.28"}, {"queue": b"\xff"}, {"not_before": "9999-01-01 00:00"}],
)
def test_a_forged_row_that_nobody_takes_blocks_its_scope_until_the_audit_only(
    place: Place, changes: dict[str, Any]
) -> None:
    """Of no queue, or of a far year: its group goes on, and the alarm holds nothing of its text."""
    place.add(group="scope:a")
    true = place.add(group="scope:a")
    with place.engine.begin() as connection:
        job = table("job", column("sequence"), column("actor"), *map(column, changes))
        forged = {**changes, "actor": "mallory"}
        connection.execute(update(job).where(job.c.sequence == 1).values(forged))
    assert _step(place) is None
    with place.work() as work:
        assert jobs.audit(work) == 1
        assert jobs.audit(work) == 0
    assert _alarms(place) == 1
    assert _step(place) is False
    assert state(place.engine, true) == "running"
