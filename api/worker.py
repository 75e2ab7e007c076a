"""A worker: takes jobs from the queues of its roles and does them, one at a time.

The heavy part of a job reads and computes; then one short transaction records the results, ends the
job and writes the ledger. (Building a release also asks the vault for pseudonyms and a signature on
its way, each in a short transaction of its own that tells nothing when it is repeated.) Killing a
worker at any moment loses nothing: the lease ends, another attempt begins, and orphaned objects
are swept. A job whose workers keep dying is given up like one that keeps failing.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select

from api import idempotency, jobs, store
from api.jobs import QUEUES, LeaseLost, Taken
from api.objects import READERS
from api.operations import NOBODY, Work, building, deliveries, intake, linkage, releases, review
from api.problems import Problem
from api.processes import this_process
from api.service import Service, as_problem, whereabouts
from api.store import StoredObject
from linkage.extracts import Limits
from policies.access import Actor

log = logging.getLogger("schakel")

PAUSE = 0.1
BEAT = 1.0
ORPHAN_AGE = 3600.0
SWEEP_EVERY = 3600.0


class Worker:
    """Does the jobs of some queues, with the role keys that its vault opens."""

    def __init__(self, service: Service, queues: tuple[str, ...] = QUEUES) -> None:
        self._service = service
        self._queues = queues
        self._tools = (service.engine, service.vault, service.objects)
        self._process = this_process()
        self._lease = timedelta(seconds=service.settings.lease_seconds)
        self._kinds: dict[str, Callable[[Taken], None]] = {
            "intake": self._intake,
            "link": self._link,
            "decide": self._decide,
            "build": self._build,
            "envelopes": self._envelopes,
        }

    def run(self, wanted: Callable[[], bool]) -> None:
        """Work as long as it is wanted; the database being away for a while ends nothing.

        A commit that the disk didn't confirm does: see `store.stopped`.
        """
        next_sweep = time.monotonic()
        while wanted() and not store.stopped(self._service.engine):
            try:
                if time.monotonic() >= next_sweep:
                    next_sweep += SWEEP_EVERY
                    sweep(self._service, READERS if self._queues == QUEUES else self._queues)
                    self._audit()
                if not self.step():
                    time.sleep(PAUSE)
            except Exception as error:
                log.warning("worker: %s", whereabouts(error))
                time.sleep(BEAT)

    def _audit(self) -> None:
        service = self._service
        with store.writing(service.engine) as session:
            work = Work(session, service.vault, service.objects, NOBODY, service.clock.now())
            service.vault.learn(session.connection())
            forged = jobs.audit(work)
        if forged:
            log.error("%d forged jobs were refused; the ledger has an id", forged)

    def step(self) -> bool:
        """Do one job, if there is one; whether there was."""
        service = self._service
        with store.reading(service.engine) as session:
            if not jobs.waiting(session, self._queues, service.clock.now()):
                return False
        with store.writing(service.engine) as session:
            now = service.clock.now()
            taken = jobs.take(session, self._queues, now, self._lease, self._process)
            if taken is None:
                return False
            work = Work(session, service.vault, service.objects, NOBODY, now)
            service.vault.learn(session.connection())
            forged = jobs.refuse_forged(work, taken)
        if forged:
            log.error("a forged job was refused; the ledger has its id")
            return True
        with self._beating(taken):
            error = self._tried(taken)
            if error is not None:
                self._settle(taken, error)
        return True

    def _tried(self, taken: Taken) -> Exception | None:
        """Do the job; the error comes back, so that what is done about it isn't chained to it."""
        try:
            if taken.attempt > jobs.MOST_ATTEMPTS:
                return GivenUp()
            self._kinds[taken.kind](taken)
        except Exception as error:
            return error
        return None

    def _settle(self, taken: Taken, error: Exception) -> None:
        """Put a job back after a fault of ours, or end it; the log hears kinds and places only."""
        log.warning("job %s (%s): %s", taken.id, taken.kind, whereabouts(error))
        problem = as_problem(error)
        ours = problem is None or problem.status >= 500
        try:
            if isinstance(error, LeaseLost):
                return
            if ours and taken.attempt < jobs.MOST_ATTEMPTS:
                with store.writing(self._service.engine) as session:
                    jobs.again(session, taken, self._service.clock.now())
            else:
                self._failed(taken, problem or FAULT)
        except Exception as another:  # its lease runs out, and it is taken again
            log.warning("job %s can't be ended: %s", taken.id, whereabouts(another))

    def _failed(self, taken: Taken, problem: Problem) -> None:
        """End the job with its problem, and whatever it was about with it."""
        leftover = None
        with self._work(taken) as work:
            match taken.kind:
                case "intake":
                    leftover = intake.unusable(work, taken.arguments["delivery"], problem)
                case "decide":
                    review.refuse(work, taken.arguments["decision"], problem)
                case "link" | "build":
                    releases.refuse(work, taken.arguments["release"], problem)
                case "envelopes":
                    releases.envelopes_failed(work, taken.arguments["release"], problem)
            jobs.fail(work.session, taken, problem.document(), work.now)
        if leftover is not None:
            self._service.objects.delete(leftover)

    @contextmanager
    def _work(self, taken: Taken) -> Iterator[Work]:
        service = self._service
        actor = Actor(taken.actor, taken.organisation, frozenset())
        with store.writing(service.engine) as session:
            yield Work(session, service.vault, service.objects, actor, service.clock.now())

    @contextmanager
    def _beating(self, taken: Taken) -> Iterator[None]:
        """Renew the lease from a thread of its own: a long computation doesn't look dead."""
        over = threading.Event()
        self._progress: tuple[str, float] = ("", 0.0)

        def beats() -> None:
            while not over.wait(BEAT):
                try:
                    with store.writing(self._service.engine) as session:
                        now = self._service.clock.now()
                        jobs.beat(session, taken, *self._progress, now, self._lease)
                except LeaseLost:
                    return
                except Exception as error:
                    log.warning("beat of job %s: %s", taken.id, whereabouts(error))

        thread = threading.Thread(target=beats, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _tell(self, stage: str, share: float) -> None:
        self._progress = (stage, share)

    def _intake(self, taken: Taken) -> None:
        service, identifier = self._service, taken.arguments["delivery"]
        with self._work(taken) as work:
            if not intake.start_checking(work, identifier):
                jobs.finish(work.session, taken, {}, work.now)
                return
        settings = service.settings
        limits = Limits(records=settings.most_records, parquet=settings.longest_parquet)
        made = intake.take_in(*self._tools, identifier, self._tell, limits)
        with self._work(taken) as work:
            delivery = intake.record_intake(work, identifier, made)
            leftover = deliveries.release_upload(work, identifier)
            result = {"delivery": identifier, "state": delivery.state, "rows": delivery.rows}
            jobs.finish(work.session, taken, result, work.now)
        if leftover is not None:
            service.objects.delete(leftover)

    def _link(self, taken: Taken) -> None:
        service, arguments = self._service, taken.arguments
        made = linkage.admit(
            *self._tools,
            arguments["permit"],
            arguments["delivery"],
            service.clock.now(),
            self._tell,
        )
        with self._work(taken) as work:
            if made is not None:
                linkage.record_admission(work, made)
            jobs.finish(work.session, taken, made.quality if made else {}, work.now)

    def _decide(self, taken: Taken) -> None:
        made = review.settle(*self._tools, taken.arguments, self._tell)
        with self._work(taken) as work:
            if made is not None:
                review.record_settled(work, made)
            jobs.finish(work.session, taken, {}, work.now)

    def _build(self, taken: Taken) -> None:
        service, release = self._service, taken.arguments["release"]
        made = building.build(
            *self._tools,
            release,
            service.clock.now(),
            self._tell,
        )
        with self._work(taken) as work:
            if made is not None:
                releases.record_build(work, release, made)
            jobs.finish(work.session, taken, {"release": release}, work.now)

    def _envelopes(self, taken: Taken) -> None:
        service, release = self._service, taken.arguments["release"]
        made = building.seal_envelopes(
            *self._tools,
            release,
            service.clock.now(),
            self._tell,
        )
        with self._work(taken) as work:
            if made is not None:
                releases.record_envelopes(work, release, made)
            jobs.finish(work.session, taken, {"release": release}, work.now)


def sweep(service: Service, readers: Sequence[str] = READERS) -> None:
    """Give up abandoned uploads, and remove objects of these roles that no row refers to.

    Those are left by a crash between writing and committing. Uploads are intake's to read.
    """
    now = service.clock.now()
    if "api" in readers:
        with store.writing(service.engine) as session:
            idempotency.forget(session, now)
    if "intake" in readers:
        with store.writing(service.engine) as session:
            work = Work(session, service.vault, service.objects, NOBODY, now)
            limit = now - timedelta(days=service.settings.upload_days)
            abandoned = deliveries.expire_uploads(work, limit)
        for name in abandoned:
            service.objects.delete(name)
    with store.reading(service.engine) as session:
        meant = set(session.scalars(select(StoredObject.name)))
        meant |= set(deliveries.uploads_under_way(session))
    for reader in readers:
        for name, changed in service.objects.names((reader,)):
            ours = name in meant and name.startswith(f"{reader}-")
            if not ours and time.time() - changed > ORPHAN_AGE:
                service.objects.sweep(reader, name)


class GivenUp(Exception):  # noqa: N818 - what became of it
    """A job whose every attempt ended with its worker."""


FAULT = Problem(
    "fault",
    "This could not be done, and trying again didn't help. What was finished before it stands.",
    "Ask the office to look at its worker's log; the job's id is what they need.",
)
