"""Two workers started at once, or one that woke up too late, never do a step twice."""

import random
import time
from pathlib import Path

import pytest

from api.demo.population import PERIODS
from api.service import Service
from api.settings import Settings
from api.worker import Worker
from tests.crash.outcome import Outcome, copied, faults, kinds, outcome, plaintext, wait_for_jobs
from tests.crash.points import LATER
from tests.crash.stages import Stages, listening
from tests.crash.witness import Witness
from tests.crash.workers import Workers, soon

PROJECTS = 2


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """A story stopped before each stage."""
    return Stages(tmp_path_factory.mktemp("workers"))


@pytest.mark.parametrize("kind", ["intake", "link", "build", "envelopes"])
def test_who_wakes_up_too_late_is_refused(stages: Stages, tmp_path: Path, kind: str) -> None:
    """Paused past its lease, its job done by another: nothing of what it made counts."""
    expected = _done_by_one(stages, kind, tmp_path / "one")
    settings = copied(stages.folders[kind], tmp_path / "two")
    with Workers(settings) as workers:
        first = workers.start()
        soon(lambda: workers.jobs("running") == 1)
        workers.pause(first)
        if workers.jobs("running") != 1:
            pytest.fail("the first worker was done before it could be paused")
        workers.start()
        wait_for_jobs(settings)
        workers.go_on(first)
        soon(lambda: "LeaseLost at jobs.py" in workers.told(first))
    assert faults(settings, Witness()) == []
    assert outcome(settings, stages.story.scope, plaintext(settings)).differences(expected) == []


def _done_by_one(stages: Stages, kind: str, folder: Path) -> Outcome:
    settings = copied(stages.folders[kind], folder)
    service = Service.open(settings, LATER)
    worker = Worker(service)
    while worker.step():
        pass
    service.engine.dispose()
    return outcome(settings, stages.story.scope, plaintext(settings))


@pytest.mark.parametrize("count", [2, 4])
def test_workers_started_at_once_do_every_step_once(
    stages: Stages, tmp_path: Path, count: int
) -> None:
    """Many jobs, several scopes, leases of a second, workers that stand still now and then."""
    settings = copied(stages.folders["nothing"], tmp_path / "crowd")
    rng = random.Random(count)
    story = stages.story
    with listening(settings) as (address, _service), Workers(settings) as workers:
        stages.troupe.meet(address, Witness())
        permits = [story.permit, *(story.granted(f"project-{n}") for n in range(PROJECTS))]
        for file in story.files.values():
            if file.period == PERIODS[1]:
                story.send(tmp_path, file)
        for _ in range(count):
            workers.start()
        soon(lambda: workers.jobs("queued") == 0)
        wait_for_jobs(settings)
        for permit in permits:
            for period in PERIODS[1:] if permit == story.permit else PERIODS:
                story.request(period, permit)
        soon(lambda: workers.jobs("running") > 1)  # in two scopes at once
        while workers.jobs("queued") + workers.jobs("running"):
            asleep = rng.randrange(count)
            workers.pause(asleep)
            time.sleep(rng.choice([0.05, 1.3]))
            workers.go_on(asleep)
        stages.troupe.part()
    assert faults(settings, Witness()) == []
    _every_effect_once(settings)


def _every_effect_once(settings: Settings) -> None:
    """As many entries of each kind as there are things: 6 deliveries, scopes of 2 periods."""
    told = kinds(settings)
    wanted = {
        "upload.received": 6,
        "delivery.accepted": 6,
        "delivery.linked": 6 * (PROJECTS + 1),
        "release.requested": 2 * (PROJECTS + 1),
        "release.built": 2 * (PROJECTS + 1),
        "release.cleared": 1,
        "release.sealed": 1,
    }
    assert {kind: told.count(kind) for kind in wanted} == wanted
