"""`schakel serve` as a process: it starts, works, and ends; and it doesn't speak in the clear."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from api.demo.cast import Cast
from api.service import NotFounded
from api.serving import UnknownRole, Unsafe, check_transport, serve
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


def test_ctrl_c_while_a_worker_is_still_starting_leaves_no_complaint(tmp_path: Path) -> None:
    """The signal goes to all processes of a terminal; the worker may not have begun to listen."""
    cast = Cast(tmp_path)
    cast.found()
    for wait in (0.0, 0.1, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "api.demo.service", "--data", str(cast.settings.data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert "Traceback" not in said, said[-2000:]
        assert process.returncode == 0


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
        _ended(process)
    assert not Path(f"/proc/{replaced[0]}").exists()


def test_no_process_of_a_service_is_dumped(tmp_path: Path) -> None:
    """V24: in the embedded form too, where both processes have the root in their hands."""
    cast = Cast(tmp_path)
    cast.found()
    process, _ = _started(cast)
    try:
        pids = [process.pid, *_wait_for(lambda: _closed(_workers(process.pid)))]
        assert _closed(pids) == pids
    finally:
        _ended(process)


def _closed(pids: list[int]) -> list[int]:
    """Those that write no core file."""
    limits = {pid: Path(f"/proc/{pid}/limits").read_text() for pid in pids}
    return [pid for pid in pids if re.search(r"Max core file size +0 +0 ", limits[pid])]


def _ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    if process.stdout is not None:
        process.stdout.close()


def test_several_roles_under_one_hand(tmp_path: Path) -> None:
    """A process for each, kept alive; all end together."""
    cast = Cast(tmp_path)
    cast.found()
    command = ["serve", "--roles", "vault,api", "--port", "0", "--data", str(cast.settings.data)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from api.cli import main; main()", *command],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        address = next(line for line in lines if "http" in line).rpartition(" ")[2].strip()
        assert httpx.get(f"{address}/keys").json()["ledger"]
        running = _workers(process.pid)
        assert len(running) == 2
        os.kill(running[0], signal.SIGKILL)
        assert "listens" in process.stdout.readline()
        assert len(_workers(process.pid)) == 2
        running = _workers(process.pid)
    finally:
        _ended(process)
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)


def test_a_role_that_is_none(tmp_path: Path) -> None:
    """Said before anything is opened."""
    with pytest.raises(UnknownRole, match="courier"):
        serve(Settings(data=tmp_path), roles=["courier"])
    with pytest.raises(NotFounded, match="schakel init"):
        serve(Settings(data=tmp_path), roles=["intake"])


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
