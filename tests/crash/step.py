"""One process that does one piece of work and ends, or works on and on: something to be killed."""

import logging
import sys
from pathlib import Path

from api.service import Service
from api.settings import Settings
from api.worker import Worker
from policies.access import Actor

ADMINISTRATOR = Actor("admin-1", "office", frozenset({"administrator"}))


def main(data: Path, kind: str) -> None:
    """Rotate the root, work until killed, or do the job that waits."""
    logging.basicConfig(level=logging.WARNING)
    service = Service.open(Settings(data=data))
    if kind == "rotation":
        service.rotate_root(ADMINISTRATOR)
    elif kind == "forever":
        Worker(service).run(lambda: True)
    else:
        assert Worker(service).step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
