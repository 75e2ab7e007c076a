"""A whole service inside the test's own process: real HTTP, real database, real files, a worker."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
from rich.console import Console

from api.app import create_app
from api.client import Client, ServiceRefusal
from api.demo.cast import ADMINISTRATORS, ORGANISATIONS, PEOPLE, Cast
from api.demo.evaluate import Package
from api.demo.extracts import declarations, extracts
from api.demo.population import population
from api.demo.story import Story
from api.service import Service
from api.settings import Clock
from api.worker import Worker

REGIONS = [{"geography": {"level": "region", "situation": 2025}}]


class House(Cast):
    """The demo's people around a service that runs in threads of this process."""

    def __init__(self, folder: Path, persons: int = 1_200, seed: int = 5) -> None:
        super().__init__(folder)
        self.story = Story(persons, seed, folder, Console(quiet=True))
        self.story.area = "arrondissement"  # tests coarsen it further themselves
        self.story.datasets = ("child-benefit", "employment-service", "social-security")
        self.story.universe = ("child-benefit", "employment-service")
        self.people = population(persons, seed)
        for period in ("2024", "2025"):
            for name, file in extracts(self.people, period).items():
                self.story.truths[name, period] = file

    working = True
    """Whether a worker runs; tests of the worker take its steps themselves."""

    def start(self, days: int = 0) -> None:
        """Start API and worker in threads, `days` from today."""
        self.clock = Clock(timedelta(days=days))
        self.service = Service.open(self.settings, self.clock)
        config = uvicorn.Config(
            create_app(self.service), host="127.0.0.1", port=0, log_config=None, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        socket = config.bind_socket()
        address = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self._over = threading.Event()
        worker = Worker(self.service)
        self._threads = [
            threading.Thread(target=self._server.run, args=([socket],), daemon=True),
            threading.Thread(target=self._work, args=(worker,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._clients = {
            person: Client(replace(profile, server=address), clock=self.clock)
            for person, profile in self.profiles.items()
        }

    def _work(self, worker: Worker) -> None:
        while not self._over.wait(0.02):
            while self.working and not self._over.is_set() and worker.step():
                pass

    def stop(self) -> None:
        """Stop both threads and let go of the database."""
        for client in self._clients.values():
            client.close()
        self._clients = {}
        self._over.set()
        self._server.should_exit = True
        for thread in self._threads:
            thread.join(timeout=20)
        self.service.engine.dispose()

    def inhabited(self) -> "House":
        """Founded, running, with everybody enrolled."""
        self.found()
        self.start()
        for identifier, name in ORGANISATIONS.items():
            self[ADMINISTRATORS[0]].post("/organisations", {"id": identifier, "name": name})
        for person in PEOPLE:
            self.enrol(person)
        return self

    def delivered(self, *names: str, period: str = "2024") -> None:
        """Declare (once) and deliver these datasets of the demo's population."""
        known = {row["id"] for row in self["auditor-1"].get("/datasets")}
        for name in names:
            declared = declarations()[name]
            if name not in known:
                self[f"holder-{declared.holder}"].post("/datasets", declared.to_mapping())
        self.story.deliver(self, period, names)

    def application(
        self, project: str, researcher: str = "researcher-1", **changes: Any
    ) -> dict[str, Any]:
        """A request coarse enough for a small population: regions instead of arrondissements."""
        document = self.story.application(self, project, researcher, **changes)
        for dataset in document["datasets"]:
            for variable in dataset["variables"]:
                if variable.get("as") == self.story.area:
                    variable["rule"] = REGIONS
        return document

    def granted(self, project: str, researcher: str = "researcher-1", **changes: Any) -> str:
        """A permit for such a request."""
        document = self.application(project, researcher, **changes)
        return self.story.granted(self, researcher, document)

    def built(self, permit: str, period: str = "2024", **asked: Any) -> dict[str, Any]:
        """A release, built or refused."""
        return self.story.build(self, permit, period, **asked)

    def cleared(self, permit: str, period: str = "2024", **asked: Any) -> dict[str, Any]:
        """A release that a second person cleared."""
        release = self.built(permit, period, **asked)
        assert release["state"] == "built", release["refusal"]
        self.story.clear(self, release)
        return self["statistician-1"].get(f"/releases/{release['id']}")

    def package(self, release: str, person: str = "researcher-1") -> Package:
        """A downloaded package."""
        return self.story.download(self, release, person)

    def ledger_kinds(self) -> list[str]:
        """The kinds of the ledger's entries, in order."""
        import json

        entries = self["auditor-1"].get("/ledger?most=10000")["entries"]
        return [json.loads(entry["leaf"])["kind"] for entry in entries]


def refusal_of(attempt: Callable[[], Any]) -> ServiceRefusal:
    """What an attempt is refused with; that it is refused is part of the test."""
    try:
        attempt()
    except ServiceRefusal as refusal:
        return refusal
    raise AssertionError("this was not refused")
