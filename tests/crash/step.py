"""One process that does one piece of work and ends, or works on and on: something to be killed."""

import sys
from pathlib import Path

from api import store, worker
from api.operations import Work, administration
from api.service import Service
from api.settings import Clock, Settings
from policies.access import Actor

ADMINISTRATOR = Actor("admin-1", "office", frozenset({"administrator"}))


def main(data: Path, kind: str) -> None:
    """Rotate the root, work until killed, or do the job that waits."""
    if kind == "forever":
        worker.main(Settings(data=data), Clock())
    service = Service.open(Settings(data=data))
    if kind != "rotation":
        assert worker.Worker(service).step()
        return
    for change in (administration.rotate_root, administration.finish_rotation):
        with store.writing(service.engine) as session:
            now = service.clock.now()
            change(Work(session, service.vault, service.objects, ADMINISTRATOR, now))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
