"""One process that does one piece of work and ends, or works on and on: something to be killed."""

import logging
import sys
from pathlib import Path

from api.service import Service
from api.settings import Settings
from api.worker import Worker


def main(data: Path, kind: str) -> None:
    """Rotate the root, work until killed, or do the job that waits."""
    logging.basicConfig(level=logging.WARNING)
    service = Service.open(Settings(data=data))
    if kind == "rotation":
        service.vault.rotate_root(service.engine.begin, now=service.clock.now())
    elif kind == "forever":
        Worker(service).run(lambda: True)
    else:
        assert Worker(service).step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
