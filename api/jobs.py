"""Durable work: a leased table in the service's own database.

A job is enqueued in the transaction that causes it. A worker takes one with a lease and a fence
number, beats while it works, and ends it in the transaction that holds the job's results; whoever
lost the lease meanwhile carries an older fence and can't. Arguments are ids and counts. A lease
runs out when its worker is silent, and is over at once when it can be seen to have died.

Whoever can write to the database could write jobs. So each row carries the vault's signature over
all that says what is to be done, in whose name (`document`), and a worker holds it against the row
before it does anything. What isn't covered (state, attempts, lease, fence) says how far it has
come: a true job that is put back is done again, which changes nothing.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.orm import Session

from api.operations import Work
from api.problems import Problem
from api.processes import is_over
from api.store import Job, counted_once, new_id
from keyvault.errors import SignatureError
from keyvault.signing import utc_text

QUEUES = ("intake", "linkage", "release", "identified")
"""One for each role that works. Nothing is enqueued for `identified` yet: its operations
(identified data for the bodies that the law names, reversal of pseudonyms) aren't built."""
RUNNABLE = ("queued", "running")
MOST_ATTEMPTS = 5
_MOST = 1 << 31
"""Attempts and fences that no job of ours comes to."""


class LeaseLost(Exception):  # noqa: N818 - what happened, from the worker's side
    """Another worker took this job over; nothing of this attempt counts."""


@dataclass(frozen=True)
class Taken:
    """A job that this worker holds, as long as the fence stands."""

    id: str
    kind: str
    arguments: dict[str, Any]
    actor: str
    organisation: str
    attempt: int
    fence: int
    document: dict[str, Any]
    """What the row says is to be done; not to be believed before `refuse_forged`."""
    signature: str


def document(job: Job) -> dict[str, Any]:
    """What a job's signature covers."""
    return {
        "type": "job",
        "version": 1,
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "arguments": job.arguments,
        "exclusive": job.exclusive,
        "actor": job.actor,
        "organisation": job.organisation,
        "created_at": utc_text(job.created_at),
    }


def enqueue(
    work: Work, kind: str, queue: str, arguments: dict[str, Any], exclusive: str | None = None
) -> Job:
    """Add work to be done once the present transaction has been committed."""
    last = work.session.scalar(select(func.max(Job.sequence))) or 0
    job = Job(
        id=new_id("job"),
        sequence=last + 1,
        queue=queue,
        kind=kind,
        arguments=arguments,
        exclusive=exclusive,
        state="queued",
        actor=work.actor.person,
        organisation=work.actor.organisation,
        not_before=work.now,
        created_at=work.now,
    )
    job.signature = work.vault.sign_job(work.session.connection(), document(job))
    work.session.add(job)
    work.session.flush()
    return job


_OURS = re.compile(r"job-[0-9a-hjkmnp-tv-z]{16}")

FORGED = Problem(
    "job-forged",
    "This job doesn't carry the vault's signature, or was changed since. Nothing of it was done.",
    "Find out who wrote to the database; what is still wanted is asked for again.",
)


def refuse_forged(work: Work, taken: Taken) -> bool:
    """End a job that the vault didn't sign, with an entry in the ledger; whether it was one.

    In the transaction that took it, so that nothing else ever happens of it. The first of an hour
    in a queue is in the ledger and all are counted: whoever writes rows doesn't fill it.
    """
    if _is_true(work, taken.document, taken.signature):
        return False
    fail(work.session, taken, FORGED.document(), work.now)
    _raise_alarm(work, taken.id, taken.document["queue"])
    return True


def audit(work: Work) -> int:
    """End every forged job, those as well that no worker would ever take (of no queue that there
    is, or not before next year) and that stand in the way of their group; how many there were."""
    count = 0
    rows = select(Job.id).where(Job.state.in_(RUNNABLE))
    for identifier in work.session.scalars(rows).all():
        job, said = _read(work.session, identifier, work.now)
        if not _is_true(work, said, job.signature):
            job.state, job.problem, job.ended_at = "failed", FORGED.document(), work.now
            work.session.flush()
            _raise_alarm(work, job.id, job.queue)
            count += 1
    return count


def _is_true(work: Work, said: dict[str, Any], signature: str) -> bool:
    try:
        work.vault.verify_job(work.session.connection(), said, str(signature))
    except SignatureError:
        return False
    return True


def _raise_alarm(work: Work, identifier: str, queue: str) -> None:
    """Neither text is believed: whoever wrote the row chose them."""
    queue = queue if queue in QUEUES else "unknown"
    if counted_once(work.session, work.now, "", f"JOB {queue}", FORGED.type):
        ours = _OURS.fullmatch(str(identifier)) is not None
        work.note("job.forged", queue=queue, job=identifier if ours else "unreadable")


def waiting(session: Session, queues: tuple[str, ...], now: datetime) -> bool:
    """Whether anything might be there to take; asked without the write lock."""
    return session.scalar(_takeable(session, queues, now).limit(1)) is not None


def _takeable(session: Session, queues: tuple[str, ...], now: datetime) -> Select[str]:
    """Ids of what is queued, or running under a lease that ran out or was a dead one's."""
    running = select(Job.process).where(Job.queue.in_(queues), Job.state == "running")
    dead = [process for process in session.scalars(running.distinct()) if is_over(process)]
    return (
        select(Job.id)
        .where(Job.queue.in_(queues), Job.state.in_(RUNNABLE), Job.not_before <= now)
        .where(or_(Job.state == "queued", Job.leased_until < now, Job.process.in_(dead)))
        .order_by(Job.sequence)
    )


def take(
    session: Session,
    queues: tuple[str, ...],
    now: datetime,
    lease: timedelta,
    process: str | None = None,
) -> Taken | None:
    """The oldest job that may run now, for a worker in the process of this name."""
    for identifier in session.scalars(_takeable(session, queues, now)).all():
        job, said = _read(session, identifier, now)
        if job.exclusive is not None and _blocked(session, job):
            continue
        job.state = "running"
        job.attempts += 1
        job.fence += 1
        job.leased_until = now + lease
        job.process = process
        return Taken(
            job.id, job.kind, dict(job.arguments), job.actor, job.organisation,
            job.attempts, job.fence, said, job.signature,
        )  # fmt: skip
    return None


def _read(session: Session, identifier: str, now: datetime) -> tuple[Job, dict[str, Any]]:
    """A job, and what its signature is held against.

    No program of ours wrote a row that can't even be read. It is emptied, or it would stand in the
    way of everything behind it; what is left bears no signature.
    """
    try:
        job = session.get_one(Job, identifier)
        dict(job.arguments)
        if max(job.attempts, job.fence) >= _MOST:
            raise ValueError
        return job, document(job)
    except (ValueError, TypeError, AttributeError, RecursionError):
        session.expunge_all()
        session.execute(update(Job).where(Job.id == identifier).values(_emptied(now)))
        job = session.get_one(Job, identifier)
        return job, document(job)


def _emptied(now: datetime) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("exclusive", "leased_until", "process", "result", "problem", "ended_at")
    )
    numbers = dict.fromkeys(("attempts", "fence", "share"), 0)
    moments = dict.fromkeys(("not_before", "created_at"), now)
    return {**nothing, **numbers, **moments, "arguments": {}, "signature": "", "stage": ""}


def _blocked(session: Session, job: Job) -> bool:
    """Whether an earlier job of the same exclusive group isn't over yet."""
    earlier = select(Job.id).where(
        Job.exclusive == job.exclusive, Job.sequence < job.sequence, Job.state.in_(RUNNABLE)
    )
    return session.scalar(earlier.limit(1)) is not None


def beat(
    session: Session, taken: Taken, stage: str, share: float, now: datetime, lease: timedelta
) -> None:
    """Say that the work goes on, and how far it is (`share` of the stage, 0 to 1)."""
    _change(
        session,
        taken,
        stage=stage,
        share=min(max(share, 0.0), 1.0),
        leased_until=now + lease,
    )


def finish(session: Session, taken: Taken, result: dict[str, Any], now: datetime) -> None:
    """End a job in the transaction that holds what it did."""
    _change(session, taken, state="done", result=result, share=1.0, ended_at=now, stage="")


def fail(session: Session, taken: Taken, problem: dict[str, Any], now: datetime) -> None:
    """End a job that can't be done, with the problem that its asker gets to see."""
    _change(session, taken, state="failed", problem=problem, ended_at=now, stage="")


def again(session: Session, taken: Taken, now: datetime) -> None:
    """Put a job back after a fault of ours, each time a little later."""
    wait = timedelta(seconds=2**taken.attempt)
    _change(session, taken, state="queued", not_before=now + wait, leased_until=None)


def _change(session: Session, taken: Taken, **values: Any) -> None:
    done = session.execute(
        update(Job)
        .where(Job.id == taken.id, Job.fence == taken.fence, Job.state == "running")
        .values(**values)
    )
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise LeaseLost("Another worker took this job over.")


def describe(job: Job) -> dict[str, Any]:
    """A job as its asker sees it."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "stage": job.stage,
        "share": job.share,
        "result": job.result,
        "problem": job.problem,
    }
