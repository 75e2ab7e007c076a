"""Jobs are what the vault signed: a row that somebody wrote into the database does nothing."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select, text, update
from sqlalchemy.orm import Session

from api import jobs, store
from api.store import Admission, Delivery, Envelope, Job, RefusedRequest, Release, StoredObject
from api.worker import Worker
from tests.api.house import House
from tests.api.test_worker import sent

Forge = Callable[[Session, str], str]


def altered(**values: Any) -> Forge:
    """A true job's row with some columns changed, as SQL would."""

    def forge(session: Session, job: str) -> str:
        names = ", ".join(f"{name} = :{name}" for name in values)
        statement = f"UPDATE job SET {names} WHERE id = :job"  # noqa: S608 - names are the test's
        session.execute(text(statement), {**values, "job": job})
        return job

    return forge


def added(**values: Any) -> Forge:
    """A row of somebody's own beside the true one, like it but for some columns."""

    def forge(session: Session, job: str) -> str:
        rows = session.execute(text("SELECT * FROM job WHERE id = :job"), {"job": job})
        true: Row[Any] = rows.one()
        first = session.execute(text("SELECT min(sequence) FROM job")).scalar_one()
        fresh = {"id": store.new_id("job"), "sequence": first - 1}
        new = {**true._asdict(), **fresh, **values}
        names = ", ".join(new)
        places = ", ".join(f":{name}" for name in new)
        statement = f"INSERT INTO job ({names}) VALUES ({places})"  # noqa: S608 - the same
        session.execute(text(statement), new)
        return str(new["id"])

    return forge


FORGERIES: dict[str, Forge] = {
    "copied signature": added(),
    "no signature": added(signature=""),
    "a signature of one's own": added(signature="A" * 86),
    "an id that tells something": added(id="85.07.30-033.28 Jan"),
    "another kind": altered(kind="link", arguments='{"permit": "p", "delivery": "d"}'),
    "another queue": altered(queue="release"),
    "altered arguments": altered(arguments='{"delivery": "delivery-of-another"}'),
    "more arguments": altered(arguments='{"delivery": "x", "more": 1}'),
    "another actor": altered(actor="admin-1"),
    "another organisation": altered(organisation="office"),
    "an exclusive group": altered(exclusive="scope:x"),
    "another moment": altered(created_at="2001-01-01 00:00:00.000000"),
    "arguments that are no JSON": altered(arguments="{"),
    "arguments that are a list": altered(arguments="[1]"),
    "arguments beyond measure": altered(arguments='{"n": 1e999}'),
    "a moment that is none": altered(created_at="yesterday"),
    "attempts that are no number": altered(attempts="many"),
}


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose worker does nothing unless a test takes its step."""
    house = House(tmp_path_factory.mktemp("forged"))
    house.working = False
    house.inhabited()
    yield house
    house.stop()


@pytest.mark.parametrize("forgery", list(FORGERIES))
def test_a_forged_job_does_nothing_but_raise_an_alarm(
    still: House, tmp_path: Path, forgery: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails with a problem of its own, the ledger has its id and no more, the log a line."""
    worker, engine = Worker(still.service), still.service.engine
    period = str(2024 + list(FORGERIES).index(forgery))
    delivery = sent(still, tmp_path, period)
    before = _state(still, delivery)
    with store.writing(engine) as session:
        session.query(RefusedRequest).delete()  # as if the last one had been an hour ago
        true = session.query(Job.id).where(Job.state == "queued").one().id
        forged = FORGERIES[forgery](session, true)
    with caplog.at_level(logging.ERROR):
        assert worker.step()
    with store.reading(engine) as session:
        row = session.get_one(Job, forged)
        assert (row.state, (row.problem or {})["type"]) == (
            "failed",
            "urn:schakel:problem:job-forged",
        )
        assert row.attempts == 1
    entry = json.loads(still["auditor-1"].get("/ledger?most=10000")["entries"][-1]["leaf"])
    assert (entry["kind"], entry["actor"]) == ("job.forged", None)
    told = forged if forged.startswith("job-") else "unreadable"
    assert entry["facts"] == {"job": told, "queue": row.queue}
    assert "forged" in caplog.text
    assert _state(still, delivery) == {**before, "ledger": before["ledger"] + 1}
    still["auditor-1"].get("/jobs")  # nobody stumbles over what is left of it
    assert worker.step() == (true != forged), "the true one is done, if it still stands"
    assert not worker.step()


def _state(house: House, delivery: str) -> dict[str, Any]:
    return {
        "delivery": house["auditor-1"].get(f"/deliveries/{delivery}"),
        "objects": sorted(name for name, _ in house.service.objects.names()),
        "ledger": house["auditor-1"].get("/ledger?most=1")["size"],
    }


def test_true_jobs_put_back_change_nothing(fresh_house: House) -> None:
    """Done again from the first to the last: the same links, releases, envelopes and objects."""
    house = fresh_house
    house.delivered("child-benefit", "employment-service", "social-security")
    house.cleared(house.granted("again"))
    with store.reading(house.service.engine) as session:
        count = session.query(Job).count()
    before = _everything(house)
    house.working = False
    with store.writing(house.service.engine) as session:
        again = {
            "state": "queued",
            "attempts": 0,
            "leased_until": None,
            "not_before": house.clock.now(),
        }
        session.execute(update(Job).values(again))
    worker = Worker(house.service)
    steps = 0
    while worker.step():
        steps += 1
    assert steps == count
    assert _everything(house) == before
    with store.reading(house.service.engine) as session:
        assert {row.state for row in session.query(Job.state)} == {"done"}


def _everything(house: House) -> dict[str, Any]:
    """All rows that work leaves behind."""
    with store.reading(house.service.engine) as session:
        rows = {
            kind.__tablename__: session.execute(select(kind.__table__)).all()
            for kind in (Delivery, Admission, Release, Envelope, StoredObject)
        }
    return {**rows, "ledger": house.ledger_kinds()}


def test_a_document_holds_all_that_says_what_is_to_be_done() -> None:
    """Every column is signed, or says how far the job has come."""
    progress = {
        "sequence", "state", "signature", "attempts", "fence", "leased_until", "process",
        "not_before", "stage", "share", "result", "problem", "ended_at",
    }  # fmt: skip
    signed = set(jobs.document(Job(created_at=store.datetime.now(store.UTC)))) - {"type", "version"}
    assert signed | progress == set(Job.__table__.columns.keys())
    assert not signed & progress
