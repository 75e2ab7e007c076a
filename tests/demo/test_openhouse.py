"""`schakel serve --demo` as somebody at a terminal has it: started, used, stopped, started anew."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 240.0


def schakel(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The program in a session of its own, as a terminal runs it: Ctrl-C goes to all of it."""
    return subprocess.Popen(
        [sys.executable, "-c", "from api.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment, "COLUMNS": "100"},
    )


@pytest.fixture(scope="module")
def port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """The service with its demo, and what it said until it listened; stopped by Ctrl-C."""
    process = schakel(
        "serve", "--demo", "--data", str(folder), "--port", str(port), "--persons", "1000"
    )
    assert process.stdout is not None
    end = threading.Timer(PATIENCE, process.kill)
    end.start()
    told = ""
    try:
        for line in process.stdout:
            told += line
            if "Schakel listens on" in line:
                break
        assert "Schakel listens on" in told, told[-3000:]
        yield told
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=30) == 0
        assert rest == "", "it ends without complaint"
        until = time.monotonic() + 10
        while alive(process.pid):
            assert time.monotonic() < until, "it ends with all its processes"
            time.sleep(0.1)
    finally:
        end.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def alive(group: int) -> list[str]:
    """Processes of a group that run; proc(5): state and group are the first and third of these."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(stat.parent.name)
    return found


def ask(folder: Path, *arguments: str) -> Any:
    """What one command answers, as JSON."""
    process = schakel("--json", *arguments, SCHAKEL_PROFILES=str(folder / "profiles"))
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 0, answer
    return json.loads(answer)


def test_the_demo_s_service_is_left_running_for_everybody(tmp_path: Path, port: int) -> None:
    """V25: every role has a profile and a command; two of them do their part; it can go on."""
    folder = tmp_path / "open"
    with serving(folder, port) as told:
        offered = dict(re.findall(r"schakel --profile (\S+) (.+?) *\n", told))
        assert {"researcher-1", "dpo-1", "director-1", "statistician-1", "admin-1"} <= set(offered)
        assert sum(profile.startswith("holder-") for profile in offered) == 7
        assert str(folder / "profiles") in told.replace("\n", "")
        advised = ask(folder, "--profile", "dpo-1", *offered["dpo-1"].split(), "--yes")
        assert advised["state"] == "advised"
        files = ask(folder, "--profile", "researcher-1", *offered["researcher-1"].split())
        assert any(Path(file["file"]).name == "units.csv" for file in files)
        assert (folder / "report.json").exists()
        assert (folder / "researcher-1.identity").stat().st_mode & 0o077 == 0
    with serving(folder, port) as told:
        assert "A population" not in told, "the story isn't played again"
        cleared = ask(
            folder, "--profile", "statistician-2", *offered["statistician-2"].split(), "--yes"
        )
        assert cleared["state"] == "cleared"


def test_a_folder_of_something_else_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    """Before anything is played or removed."""
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = str(taken.getsockname()[1])
        for arguments, reason in (
            (("--data", str(tmp_path), "--port", "8999"), "something else"),
            (("--data", str(tmp_path / "new"), "--port", busy), "taken"),
        ):
            process = schakel("serve", "--demo", *arguments)
            answer, _ = process.communicate(timeout=60)
            assert process.returncode == 2
            assert reason in " ".join(answer.split())
    assert kept.read_text() == "mine"
    assert not (tmp_path / "new").exists()
