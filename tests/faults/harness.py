"""Each flow, with a fault in each call that it makes: nothing acknowledged is lost.

The oracle is what the client heard: an offset, a delivery, a release's state, a root version, an
organisation. After the fault the process is killed, the service starts again (in under five
seconds), the client goes on from what it was told, and in the end everything has to be as if
nothing had happened.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from api import store
from api.client import _metadata
from api.demo.population import PERIODS
from api.service import Service
from api.settings import Settings
from api.store import Delivery, Organisation
from api.worker import Worker
from keyvault.ceremonies import Standing
from tests.crash.outcome import (
    Outcome,
    copied,
    faults,
    finish_rotation,
    kinds,
    outcome,
    plaintext,
)
from tests.crash.points import LATER
from tests.crash.stages import Stages, listening
from tests.crash.witness import Witness
from tests.faults.acts import JOBS, UPLOADS
from tests.faults.disturbed import FAULTS, Acting, Ended, Site
from tests.faults.powerloss import RECORDED, Disk, restored

SOONEST = 5.0
"""Seconds within which a service that was cut off answers again."""


class Harness:
    """Acts on copies of a service, each with one fault; `tried` counts them by class."""

    def __init__(self, folder: Path, acting: Acting, persons: int = 1500) -> None:
        self._folder, self._acting = folder, acting
        self._stages = Stages(folder / "stages", persons)
        self._expected: dict[str, Outcome] = {}
        self._sites: dict[str, list[Site]] = {}
        self.tried: Counter[tuple[str, str, str, str]] = Counter()
        """(flow, call, target, fault) → how often."""
        self.slowest = 0.0
        self._upload()

    def _upload(self) -> None:
        """An extract of the second period, encrypted: what the upload flows send."""
        story, troupe = self._stages.story, self._stages.troupe
        self._file = next(file for key, file in story.files.items() if key[1] == PERIODS[1])
        source = self._folder / "extract.csv"
        source.write_bytes(self._file.content)
        self._sealed = self._folder / "extract.age"
        with listening(troupe.settings) as (address, _):
            troupe.meet(address, Witness())
            holder = troupe[f"holder-{self._file.dataset.holder}"]
            self._sha256 = holder.encrypt(source, self._sealed)
            troupe.part()

    def service(self) -> Service:
        """A service to which everything happened and nothing bad: something to do harm to."""
        return Service.open(copied(self._stages.folders["nothing"], self._folder / "harmed"))

    # -- acts --------------------------------------------------------------------------------------

    def _prepared(self, flow: str) -> tuple[Settings, dict[str, Any]]:
        """A copy of the service at the moment before a flow, and what to ask an act for."""
        place = self._folder / "service"
        shutil.rmtree(place, ignore_errors=True)
        settings = copied(self._stages.folders[JOBS.get(flow, "nothing")], place)
        asked: dict[str, Any] = {"data": str(place), "flow": flow}
        if flow not in JOBS:
            person = f"holder-{self._file.dataset.holder}" if flow in UPLOADS else "admin-1"
            asked["token"] = self._token(settings, person)
        if flow == "rotate":
            standing = Standing("root", "service", 1)
            asked["ceremony"] = self._stages.troupe.signed("rotate", standing)
        if flow in UPLOADS:
            what = {"dataset": self._file.dataset.id, "period": PERIODS[1], "mode": "new"}
            asked |= {
                "metadata": _metadata({**what, "sha256": self._sha256}),
                "length": self._sealed.stat().st_size,
                "ciphertext": str(self._sealed),
            }
        return settings, asked

    @staticmethod
    def _token(settings: Settings, person: str) -> str:
        service = Service.open(settings)
        with service.engine.begin() as conn:
            token = service.vault.sign_token(
                conn,
                issuer=settings.issuer,
                audience=settings.issuer,
                subject=person,
                lifetime=timedelta(minutes=10),
                now=datetime.now(UTC),
            )
        service.engine.dispose()
        return token

    def sites(self, flow: str) -> list[Site]:
        """Where a flow can be disturbed: every call that reaches the disk."""
        if flow not in self._sites:
            _, asked = self._prepared(flow)
            found = self._acting.sites(asked)
            self._sites[flow] = list(
                dict.fromkeys(site for site in found if site.target != "memory")
            )
        return self._sites[flow]

    def classes(self, flow: str) -> Iterator[list[Site]]:
        """The same by class: calls of one kind on files of one kind."""
        grouped: dict[tuple[str, str], list[Site]] = {}
        for site in self.sites(flow):
            grouped.setdefault((site.call, site.target), []).append(site)
        yield from grouped.values()

    # -- the oracle --------------------------------------------------------------------------------

    def wrong(self, flow: str, site: Site, fault: str) -> list[str]:
        """What is wrong after an act with one fault; nothing should be."""
        settings, asked = self._prepared(flow)
        ended = self._acting.run(asked, f"{site.call}:{FAULTS[fault]}:when={site.number}")
        self.tried[flow, site.call, site.target, fault] += 1
        found = self.judged(flow, settings, ended)
        where = f"{flow}, {fault} at {site.call} {site.number} ({site.target})"
        return [f"{where}: {told}" for told in found]

    def disturbed(self, flow: str, *injections: str) -> tuple[Settings, Ended]:
        """An act with faults of one's own; not yet judged."""
        settings, asked = self._prepared(flow)
        return settings, self._acting.run(asked, *injections)

    def without_power(self, flow: str) -> Iterator[list[str]]:
        """What is wrong after a power loss at each moment of a flow, one after the other.

        In all but the last the client has heard nothing; in the last it has its answer.
        """
        settings, asked = self._prepared(flow)
        disks: list[Disk] = []
        ended = self._acting.run(
            asked, trace=RECORDED, ready=lambda: disks.append(Disk(settings.data))
        )
        states = list(disks[0].states(ended.log))
        for number, state in enumerate(states):
            told = ended.told if number == len(states) - 1 else None
            place = self._folder / "dark"
            shutil.rmtree(place, ignore_errors=True)
            dark = Settings(data=restored(place, state, settings.data))
            found = self.judged(flow, dark, Ended(told, 0.0, ""))
            yield [f"{flow}, power gone after sync {number}: {fault}" for fault in found]

    def judged(self, flow: str, settings: Settings, ended: Ended) -> list[str]:
        """The service starts again, the client goes on, and all has to be well in the end."""
        begun = time.monotonic()
        service = Service.open(settings, LATER)
        finish_rotation(service)
        restarted = time.monotonic() - begun
        self.slowest = max(self.slowest, restarted)
        found = [f"it started in {restarted:.1f} s"] if restarted > SOONEST else []
        service.engine.dispose()
        witness = Witness()
        found += self._heard(flow, settings, ended.told or {"status": 0}, witness)
        if flow in UPLOADS:
            found += self._goes_on(settings, ended.told or {}, witness)
        self._work(settings)
        found += faults(settings, witness)
        if flow in JOBS:
            scope = self._stages.story.scope
            end = outcome(settings, scope, plaintext(settings))
            found += end.differences(self._end(flow))
        return found

    def _end(self, flow: str) -> Outcome:
        """What a flow comes to undisturbed."""
        if flow not in self._expected:
            place = self._folder / f"undisturbed-{flow}"
            settings = copied(self._stages.folders[JOBS[flow]], place)
            self._work(settings)
            self._expected[flow] = outcome(settings, self._stages.story.scope, plaintext(settings))
        return self._expected[flow]

    @staticmethod
    def _work(settings: Settings) -> None:
        service = Service.open(settings, LATER)
        worker = Worker(service)
        while worker.step():
            pass
        service.engine.dispose()

    def _heard(
        self, flow: str, settings: Settings, told: dict[str, Any], witness: Witness
    ) -> Iterator[str]:
        """What the client was told, for the witness; and whether it was true at that moment."""
        done, refused = 200 <= told["status"] < 300, _type(told)
        if flow == "rotate" and done:
            witness.rotations.append(told["content"]["root_version"])
        if flow in UPLOADS and done:
            path = told["location"]
            headers = httpx.Headers({"upload-offset": str(told.get("offset") or 0)})
            witness.heard("PATCH", path, headers, b"")
        if flow == "note":
            service = Service.open(settings)
            with store.reading(service.engine) as session:
                there = session.get(Organisation, "late") is not None
            service.engine.dispose()
            entry = "organisation.added" in kinds(settings)[self._entries :]
            if there != entry:
                yield f"the organisation is there: {there}, and its entry: {entry}"
            if done and not there:
                yield "it was acknowledged and isn't there"
            if refused == "ledger-unwritable" and there:
                yield "nothing was done, it said, and yet it is there"

    @property
    def _entries(self) -> int:
        return len(kinds(Settings(data=self._stages.folders["nothing"])))

    def _goes_on(self, settings: Settings, told: dict[str, Any], witness: Witness) -> Iterator[str]:
        """The client sends what is missing, from where it is told to, and gets its receipt."""
        troupe = self._stages.troupe
        with listening(settings) as (address, service):
            troupe.meet(address, witness)
            holder = troupe[f"holder-{self._file.dataset.holder}"]
            location = told.get("location") or self._standing(service)
            if location is None:
                location = holder.open_upload(
                    self._sealed, self._file.dataset.id, PERIODS[1], sha256=self._sha256
                )
            holder.send(location, self._sealed)
            row = holder.get(f"/deliveries/{location.rpartition('/')[2]}")
            troupe.part()
        if row["receipt"] is None or row["receipt"]["sha256"] != self._sha256:
            yield f"the upload is {row['state']} and has no receipt for what was sent"

    @staticmethod
    def _standing(service: Service) -> str | None:
        """The upload that was begun, as a client finds it that looks before it asks again."""
        with store.reading(service.engine) as session:
            begun = select(Delivery.id).where(Delivery.period == PERIODS[1])
            found = session.scalar(begun)
        return f"/uploads/{found}" if found else None


def _type(told: dict[str, Any]) -> str:
    content = told.get("content")
    return str(content.get("type", "")).rpartition(":")[2] if isinstance(content, dict) else ""
