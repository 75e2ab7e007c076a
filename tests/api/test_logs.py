"""What processes say of faults: kind and place, never a text that could hold somebody's data."""

import subprocess
import sys
import textwrap

import pytest

SECRET = "85.07.30-033.28"


def _said(program: str) -> str:
    """Everything a process prints that began its logs as ours do."""
    begun = f"from api import logs\nlogs.begin()\nsecret = {SECRET!r}\n{textwrap.dedent(program)}"
    done = subprocess.run([sys.executable, "-c", begun], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("int(secret)", "ended: ValueError at <string>"),
        (
            "import threading; t = threading.Thread(target=int, args=(secret,)); t.start(); "
            "t.join()",
            "fault aside: ValueError",
        ),
        ("import warnings; warnings.warn(secret)", "WARNING py.warnings at"),
        ("import logging; logging.getLogger('another.library').warning(secret)", "at <string>"),
        (
            "import logging\ntry:\n    int(secret)\nexcept ValueError:\n"
            "    logging.getLogger('uvicorn.error').exception('Exception in application')",
            "fault: ValueError at <string>",
        ),
    ],
)
def test_wherever_an_error_ends_its_place_is_told_and_no_text(program: str, told: str) -> None:
    """V24: an error's message could hold what came from somebody's data."""
    said = _said(program)
    assert told in said
    assert SECRET not in said


def test_our_own_messages_are_told_as_they_are() -> None:
    said = _said("import logging; logging.getLogger('schakel').warning('the worker ended')")
    assert "WARNING schakel the worker ended" in said
