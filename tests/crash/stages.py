"""A service brought to the moment before each stage: what a worker then finds.

The API runs in a thread and nobody works, so that each job waits until a test has it done.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from api.app import create_app
from api.demo.population import PERIODS
from api.service import Service
from api.settings import Settings
from api.worker import Worker
from tests.crash.story import Story, Troupe
from tests.crash.witness import Witness


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[str, Service]]:
    """The API of a folder, in a thread of this process, without a worker."""
    service = Service.open(settings)
    config = uvicorn.Config(
        create_app(service), host="127.0.0.1", port=0, log_config=None, lifespan="off"
    )
    server, socket = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        socket.close()
        service.engine.dispose()


class Stages:
    """One story, stopped before each stage: `folders` by the kind of job that is to be done."""

    def __init__(self, folder: Path, persons: int = 1500) -> None:
        self.troupe = Troupe(folder / "founding")
        self.troupe.found()
        self.story = Story(self.troupe, persons)
        self.folders: dict[str, Path] = {}
        self._folder = folder
        with listening(self.troupe.settings) as (address, service):
            self.troupe.meet(address, Witness())
            self._go_through(Worker(service))
            self.troupe.part()

    def _go_through(self, worker: Worker) -> None:
        self.story.begin()
        files = [file for file in self.story.files.values() if file.period == PERIODS[0]]
        self.story.send(self._folder, files[0])
        self._keep("intake")
        assert worker.step()
        for file in files[1:]:
            self.story.send(self._folder, file)
            assert worker.step()
        release = self.story.request(PERIODS[0])
        self._keep("link")
        for _ in files:
            assert worker.step()
        self._keep("build")
        assert worker.step()
        self.story.clear(release)
        self._keep("envelopes")
        assert worker.step()
        self._keep("nothing")

    def _keep(self, stage: str) -> None:
        """The folder as it is now; nobody writes to it at this moment."""
        self.folders[stage] = self._folder / stage
        shutil.copytree(self.troupe.settings.data, self.folders[stage])
