"""Who plays in the demo: organisations, people with keys of their own, and the service they use."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage

from api import founding
from api.client import Client
from api.profiles import Profile
from api.settings import Clock, Settings
from keyvault import ceremonies
from keyvault.ceremonies import Standing

ORGANISATIONS = {
    "vdab": "Public employment service",
    "rsz": "Social security office, which keeps the list of conversions too",
    "groeipakket": "Child benefit payer of most families",
    "kleuterkas": "Child benefit payer of some families",
    "familia": "Child benefit payer that writes French",
    "onderwijs": "Agency of the Dutch-speaking schools",
    "enseignement": "Agency of the French-speaking schools",
    "university-a": "University A",
    "university-b": "University B",
}

PEOPLE = {
    "statistician-1": ("office", ["statistician"]),
    "statistician-2": ("office", ["statistician"]),
    "dpo-1": ("office", ["dpo"]),
    "director-1": ("office", ["director"]),
    "both-1": ("office", ["dpo", "director"]),
    "auditor-1": ("office", ["auditor"]),
    **{
        f"holder-{organisation}": (organisation, ["holder"])
        for organisation in ORGANISATIONS
        if not organisation.startswith("university")
    },
    "researcher-1": ("university-a", ["researcher"]),
    "researcher-2": ("university-b", ["researcher"]),
}
LONGEST_PAUSE = 0.25
ADMINISTRATORS = ("admin-1", "admin-2")


class Cast:
    """The people of the demo and the running service; `with` starts and stops it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data=folder / "service")
        self.clock = Clock()
        self._process: subprocess.Popen[str] | None = None
        self._clients: dict[str, Client] = {}
        self.profiles = {
            person: Profile.new(person, f"Demo {person}", "")
            for person in (*ADMINISTRATORS, *PEOPLE)
        }
        self.identities = {
            person: pyrage.x25519.Identity.generate() for person in ("researcher-1", "researcher-2")
        }

    def found(self, days: int = 0) -> None:
        """Found the service with its two administrators, `days` from today."""
        self.clock = Clock(timedelta(days=days))
        requests = [self.profiles[person].request() for person in ADMINISTRATORS]
        founding.found(self.settings, requests, self.clock.now())

    def start(self, days: int = 0) -> None:
        """Start the service in its own process, `days` from today."""
        self.clock = Clock(timedelta(days=days))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "api.demo.service",
             "--data", str(self.settings.data), "--days", str(days)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        line = self._process.stdout.readline()
        address = line.rpartition(" ")[2].strip()
        if not address.startswith("http"):
            raise RuntimeError("the demo's service didn't start; its last lines are above")
        self._clients = {
            person: Client(replace(profile, server=address), clock=self.clock, pause=_soon)
            for person, profile in self.profiles.items()
        }

    def stop(self) -> None:
        """Stop the service, and wait until it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        for client in self._clients.values():
            client.close()
        self._clients = {}

    def memory(self) -> dict[str, float]:
        """The most memory each process held so far, in MiB: the service and its children."""
        assert self._process is not None  # noqa: S101 - asked while it runs
        service = self._process.pid
        threads = Path(f"/proc/{service}/task").glob("*/children")
        children = [int(child) for thread in threads for child in thread.read_text().split()]
        peaks = {"service": _peak(service), "worker": max(map(_peak, children))}
        return {**peaks, "demo": _peak(os.getpid())}

    def __enter__(self) -> "Cast":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getitem__(self, person: str) -> Client:
        """The client of one person."""
        return self._clients[person]

    def enrolment(self, person: str, organisation: str, roles: list[str]) -> dict[str, Any]:
        """An enrolment's document, not signed yet."""
        return {
            "type": "enrolment",
            "version": 1,
            **self.profiles[person].request(),
            "organisation": organisation,
            "roles": roles,
            "at": self.clock.now().isoformat(timespec="seconds"),
        }

    def enrol(self, person: str, signers: tuple[str, ...] = ADMINISTRATORS) -> None:
        """Enrol one of the people with these administrators' signatures."""
        document = self.enrolment(person, *PEOPLE[person])
        signatures = [self.profiles[signer].sign(document) for signer in signers]
        self[ADMINISTRATORS[0]].post("/people", {"document": document, "signatures": signatures})

    def ceremony(self, action: str, purpose: str, owner: str | None = None) -> dict[str, Any]:
        """A key ceremony on a key as it stands now, with both founders' signatures."""
        keys = self[ADMINISTRATORS[0]].get("/vault/keys")
        return self.signed(action, ceremonies.standing_of(keys, purpose, owner))

    def signed(self, action: str, standing: Standing) -> dict[str, Any]:
        """The same on a key that is known."""
        at = self.clock.now().isoformat(timespec="seconds")
        document = ceremonies.document(action, standing, reason="As every year.", at=at)
        signatures = [self.profiles[signer].sign(document) for signer in ADMINISTRATORS]
        return {"document": document, "signatures": signatures}

    def recipient(self, person: str) -> str:
        """The age recipient that releases are sealed to for a researcher."""
        return str(self.identities[person].to_public())

    def sign(self, person: str, kind: str, **content: Any) -> dict[str, Any]:
        """A document of some kind by a person, with their signature."""
        document = {
            "type": kind,
            "version": 1,
            **content,
            "by": person,
            "at": self.clock.now().isoformat(timespec="seconds"),
        }
        return {"document": document, "signature": self.profiles[person].sign(document)}


def _soon(seconds: float) -> None:
    """Nobody waits long for a service on the same machine."""
    time.sleep(min(seconds, LONGEST_PAUSE))


def _peak(process: int) -> float:
    """The most memory (resident, MiB) that a process ever held; proc(5), VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024, 1)
