"""What a process of the service may say: which kind of thing went wrong and where, never with what.

An error's text, a warning's and another library's message can hold what came from somebody's data.
So tracebacks are never written, wherever an error ends (in a thread, in the interpreter itself),
and only messages of our own and of the HTTP server's are written as they are.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from api.service import whereabouts

log = logging.getLogger("schakel")

SPOKEN = ("schakel", "uvicorn")
"""Loggers whose messages are known to hold no data."""


class _Places(logging.Formatter):
    """Level, logger and message; of errors their kind and place, of other libraries the place."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{record.levelname} {record.name}"
        if record.exc_info and record.exc_info[1] is not None:
            return f"{head} fault: {whereabouts(record.exc_info[1])}"
        if record.name.partition(".")[0] in SPOKEN:
            return f"{head} {record.getMessage()}"
        return f"{head} at {record.filename}:{record.lineno}"


def begin() -> None:
    """Called first in every process: from now on nothing but places is written."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Places())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _told
    threading.excepthook = lambda fault: _thread_told(fault.exc_value)
    sys.unraisablehook = lambda fault: _thread_told(fault.exc_value)


def _told(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    log.error("ended: %s", whereabouts(error))


def _thread_told(error: BaseException | None) -> None:
    log.error("fault aside: %s", whereabouts(error) if error else "unknown")


@contextmanager
def ending() -> Iterator[None]:
    """Around everything that a child process does: whoever started it would print its traceback.

    Extensions raise errors that no `except Exception` stops.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        log.error("ended: %s", whereabouts(error))
        sys.exit(1)
