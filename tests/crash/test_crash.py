"""Killed at any moment: nothing acknowledged is lost, nothing half-done shows, all ends the same.

The same with two hundred deaths and every crash point is `make crash`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import update

from api import store
from api.service import Service
from api.settings import Settings
from api.store import Delivery, Job, Release
from tests.conftest import missing
from tests.crash.killer import STAGES, Score, owed, still_owed
from tests.crash.outcome import copied, faults
from tests.crash.points import CrashPoints
from tests.crash.processes import APART, EMBEDDED, Nursery
from tests.crash.rounds import Rounds
from tests.crash.stages import Stages
from tests.crash.story import small_requests
from tests.crash.witness import Witness


@pytest.fixture(scope="module")
def rounds() -> Iterator[Rounds]:
    """A story to be disturbed; in a folder whose name is short enough for a Unix socket."""
    with (
        tempfile.TemporaryDirectory(prefix="crash-") as folder,
        Nursery() as nursery,
        pytest.MonkeyPatch.context() as patched,
    ):
        small_requests(patched.setattr)
        yield Rounds(Path(folder), nursery)


BUSY = [("api", "upload"), ("worker", "linkage")]
EVERY = [(process, stage) for process in APART for stage in STAGES]


@pytest.mark.parametrize(
    ("names", "pairs"), [(EMBEDDED, BUSY), (APART, EVERY)], ids=["embedded", "apart"]
)
def test_deaths_change_nothing(
    rounds: Rounds,
    names: tuple[str, ...],
    pairs: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With roles apart every process dies in every stage, twenty-five deaths; embedded, two more.

    Links, spine and package stay the same byte for byte.
    """
    debt, rounds.score = owed(pairs, 1), Score()
    wrong = rounds.kill(names, debt, seed=20, most_rounds=12)
    with capsys.disabled():
        rounds.score.show(Console(), names)
    assert wrong == []
    assert still_owed(debt) == 0
    assert all(rounds.score.deaths[pair] for pair in pairs)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> CrashPoints:
    """Stages to die in; needs `strace`."""
    if shutil.which("strace") is None:
        missing("the program `strace` is not installed (Debian package strace)")
    return CrashPoints(tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize(
    ("kind", "number"),
    [("intake", 6), ("link", 8), ("build", 5), ("envelopes", 4), ("rotation", 4), ("rotation", 6)],
)
def test_a_death_between_two_durable_states(points: CrashPoints, kind: str, number: int) -> None:
    """Objects written and not recorded, a root version made and not used: gone on with or swept."""
    assert points.fault_at(kind, number) == []


# -- the judge is judged ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service to which nothing happened."""
    return Stages(tmp_path_factory.mktemp("judged")).folders["nothing"]


def _without_an_object(settings: Settings) -> None:
    sorted((settings.objects / "release").iterdir())[0].unlink()


def _another_object(settings: Settings) -> None:
    sorted((settings.objects / "linkage").iterdir())[0].write_bytes(b"something else")


def _a_running_job(settings: Settings) -> None:
    _changed(settings, update(Job).values(state="running"))


def _an_undecided_delivery(settings: Settings) -> None:
    _changed(settings, update(Delivery).values(state="checking"))


def _half_a_release(settings: Settings) -> None:
    _changed(settings, update(Release).values(package=None))


def _changed(settings: Settings, statement: object) -> None:
    service = Service.open(settings)
    with store.writing(service.engine) as session:
        session.execute(statement)  # type: ignore[call-overload]
    service.engine.dispose()


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (_without_an_object, "an object is gone"),
        (_another_object, "not the recorded one"),
        (_a_running_job, "is running"),
        (_an_undecided_delivery, "a delivery is checking"),
        (_half_a_release, "a release is cleared, whole: False"),
    ],
)
def test_what_is_broken_is_found(whole: Path, tmp_path: Path, breaks: object, told: str) -> None:
    """A judge who finds nothing has to be able to find something."""
    settings = copied(whole, tmp_path / "broken")
    assert faults(settings, Witness()) == []
    assert callable(breaks)
    breaks(settings)
    assert any(told in fault for fault in faults(settings, Witness()))


def test_a_broken_promise_is_found(whole: Path, tmp_path: Path) -> None:
    """An acknowledged offset or receipt that isn't there, a state that went back."""
    settings, witness = copied(whole, tmp_path / "broken"), Witness()
    witness.offsets["delivery-gone"] = 5
    witness.rotations.append(2)
    for state in ("accepted", "received"):
        witness._thing({"id": "delivery-x", "state": state, "receipt": None})
    told = "; ".join(faults(settings, witness))
    assert "5 bytes were acknowledged" in told
    assert "root version 2 was told of" in told
    assert "delivery-x was accepted and is received" in told
    assert "delivery-x: its receipt isn't there" in told
