"""`schakel serve` as a process: it starts, works, and ends; and it doesn't speak in the clear."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from api.demo.cast import Cast
from api.serving import Unsafe, _NoTraces, check_transport
from api.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_certificate(host: str) -> None:
    """Nobody else hears it."""
    check_transport(Settings(host=host))


def test_outside_loopback_it_wants_tls(tmp_path: Path) -> None:
    """V24: no token and no file travels in the clear."""
    with pytest.raises(Unsafe, match="--behind-proxy"):
        check_transport(Settings(host="0.0.0.0"))  # noqa: S104 - what is refused here
    with pytest.raises(Unsafe):
        check_transport(Settings(host="example.org"))
    check_transport(Settings(host="0.0.0.0", behind_proxy=True))  # noqa: S104
    both = {"certificate": tmp_path / "c", "certificate_key": tmp_path / "k"}
    check_transport(Settings(host="0.0.0.0", **both))  # noqa: S104
    with pytest.raises(Unsafe):
        check_transport(Settings(host="0.0.0.0", certificate=tmp_path / "c"))  # noqa: S104


def _started(cast: Cast) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "api.demo.service", "--data", str(cast.settings.data)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().rpartition(" ")[2].strip()


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has its own
    return [int(text) for listing in lists for text in listing.read_text().split()]


def test_a_service_starts_keeps_its_worker_and_ends(tmp_path: Path) -> None:
    """A killed worker is replaced; when the service stops, both are gone."""
    cast = Cast(tmp_path)
    cast.found()
    process, address = _started(cast)
    try:
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        workers = _wait_for(lambda: _workers(process.pid))
        os.kill(workers[0], signal.SIGKILL)
        replaced = _wait_for(lambda: [pid for pid in _workers(process.pid) if pid != workers[0]])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
    assert not Path(f"/proc/{replaced[0]}").exists()


def _workers(pid: int) -> list[int]:
    """The worker among the children: multiprocessing keeps a resource tracker beside it."""
    found = []
    for child in _children(pid):
        with contextlib.suppress(FileNotFoundError):  # it may end while one looks
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def _wait_for(found: object) -> list[int]:
    assert callable(found)
    for _ in range(200):
        answer: list[int] = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_logs_hold_the_kind_of_a_fault_and_its_place_and_no_text() -> None:
    """An error's message could hold what came from somebody's data."""
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "Exception in application", (), None)
    try:
        int("85.07.30-033.28")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert _NoTraces().filter(record)
    told = logging.Formatter().format(record)
    assert "ValueError at test_serving.py" in told
    assert "85.07" not in told
