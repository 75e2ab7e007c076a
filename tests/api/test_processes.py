"""Whether the process that holds a lease is over: said only of what can be seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api import processes
from api.processes import is_over, this_process

NAME_ITSELF = "from api.processes import this_process; print(this_process(), flush=True); input()"


def test_a_living_process_is_not_over_and_a_killed_one_is() -> None:
    """Nor is one that stands still: it may wake up, and its lease has to run out."""
    with subprocess.Popen(
        [sys.executable, "-c", NAME_ITSELF],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not is_over(name)
        assert name != this_process()
        process.kill()
    assert is_over(name)
    assert not is_over(this_process())


def test_a_number_given_anew_is_another_process() -> None:
    """Same id, another beginning."""
    here, _, began = str(this_process()).rpartition(" ")
    assert is_over(f"{here} {int(began) - 1}")


@pytest.mark.parametrize("position", [0, 1])
def test_of_other_machines_and_containers_nothing_is_known(position: int) -> None:
    """Leases decide there."""
    words = str(this_process()).split(" ")
    words[2] = "4194305"  # over the largest id there is
    assert is_over(" ".join(words))
    words[position] += "1"
    assert not is_over(" ".join(words))


@pytest.mark.parametrize("name", [None, "", "x", "a b c", b"\0", 7])
def test_what_is_no_name_tells_nothing(name: object) -> None:
    """Whoever can write to the database writes what they like."""
    assert not is_over(name)
    assert not is_over(f"{os.getpid()}")


def test_where_processes_are_hidden_none_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine that hides others' processes (hidepid) doesn't make the living look dead."""
    name = str(this_process())
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert not is_over(name)
    (tmp_path / "1").mkdir()
    assert is_over(name)
