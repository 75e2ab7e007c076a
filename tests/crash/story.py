"""A small story that a client tells, going on where a killed service left off.

Deliveries come in by pieces, a release is built, cleared and downloaded, the root key is rotated
now and then; a second wave may follow. Whoever's request got no answer looks how things stand
before asking again, as a person would.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from api import client as clients
from api.client import Client, ServiceRefusal, Unreachable
from api.demo import examples
from api.demo.cast import ADMINISTRATORS, ORGANISATIONS, PEOPLE, Cast
from api.demo.extracts import PAYERS, ExtractFile, extracts
from api.demo.population import PERIODS, population
from policies import permits
from tests.crash.witness import Witness

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds after which a client gives up on a service that doesn't come back."""
DATASETS = (PAYERS[0], "employment-service", "social-security")
"""Three holders are enough; units are taken from the first two."""
LONGEST = 240.0
"""Seconds that a story may take, killed as it may be."""
REQUEST_PIECE = 16 << 10
"""Bytes of one request: small, so that every upload takes several."""


class Troupe(Cast):
    """The demo's people around a service that somebody else keeps running."""

    def meet(self, address: str, witness: Witness) -> None:
        """Give everybody a client of their own, on a line that the witness hears."""
        self.part()
        self._until = time.monotonic() + LONGEST
        self._clients = {
            person: Client(
                replace(profile, server=address),
                clock=self.clock,
                transport=witness.line(),
                pause=self._pause,
            )
            for person, profile in self.profiles.items()
        }

    def _pause(self, seconds: float) -> None:
        """What clients do while they wait; not for ever."""
        if time.monotonic() > self._until:
            raise TimeoutError("the story doesn't go on; look into the service's log")
        time.sleep(min(seconds, 0.3))

    def part(self) -> None:
        """Let go of every connection."""
        for client in self._clients.values():
            client.close()
        self._clients = {}


def patiently(attempt: Callable[[], T], look: Callable[[], T | None] = lambda: None) -> T:
    """Do it, as often as it takes; `look` finds what an attempt without an answer has done."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except (Unreachable, httpx.TransportError):
            if time.monotonic() > until:
                raise
        except ServiceRefusal as refusal:
            if refusal.status < 500 or time.monotonic() > until:
                raise
        time.sleep(0.05)
        found = patiently(look)
        if found is not None:
            return found


class Story:
    """What is told: the files, the permit, and every step of it."""

    def __init__(self, troupe: Troupe, persons: int = 1500, seed: int = 7) -> None:
        self.troupe, self.scope = troupe, "crash-test"
        people = population(persons, seed)
        self._application = examples.application(
            self.scope,
            "researcher-1",
            troupe.recipient("researcher-1"),
            datetime.now(UTC).date(),
            "region",
            DATASETS,
            DATASETS[:2],
        )
        self._application["thresholds"]["suppression"] = 0.3  # few people, and many cells
        names = [entry["id"] for entry in self._application["datasets"]]
        self.files: dict[tuple[str, str], ExtractFile] = {
            (name, period): extracts(people, period)[name] for period in PERIODS for name in names
        }
        self.permit = ""

    # -- before anything is killed ----------------------------------------------------------------

    def begin(self) -> None:
        """People, datasets and a permit: what every round finds."""
        admin = self.troupe[ADMINISTRATORS[0]]
        for identifier, name in ORGANISATIONS.items():
            admin.post("/organisations", {"id": identifier, "name": name})
        for person in PEOPLE:
            self.troupe.enrol(person)
        for (_, period), file in self.files.items():
            if period == PERIODS[0]:
                self._holder(file).post("/datasets", file.dataset.to_mapping())
        self.permit = self.granted(self.scope)

    def _holder(self, file: ExtractFile) -> Client:
        return self.troupe[f"holder-{file.dataset.holder}"]

    def granted(self, project: str) -> str:
        """A permit of the same terms for a project."""
        researcher = self.troupe["researcher-1"]
        document = {**self._application, "project": project}
        row = researcher.post("/applications", document)
        row = researcher.post(f"/applications/{row['id']}/submit")
        advice = self.troupe.sign(
            "dpo-1",
            "advice",
            application=row["id"],
            application_sha256=permits.sha256(row["document"]),
            opinion="favourable",
            text="Proportionate.",
        )
        row = self.troupe["dpo-1"].post(f"/applications/{row['id']}/advice", advice)
        approval = self.troupe.sign(
            "director-1",
            "approval",
            application=row["id"],
            advice_sha256=permits.sha256(row["advice"]["document"]),
            decision="approved",
            reason="The advice is followed.",
        )
        row = self.troupe["director-1"].post(f"/applications/{row['id']}/decision", approval)
        return str(row["permit"])

    # -- what is killed ---------------------------------------------------------------------------

    def tell(self, folder: Path, periods: Sequence[str]) -> dict[str, bytes]:
        """All of it; the plaintext packages by period come back."""
        packages = {}
        for period in periods:
            for (name, when), file in self.files.items():
                if when == period:
                    self.deliver(folder, name, file)
                    self.rotate()
            release = self.request(period)
            self.rotate()  # while a worker links
            packages[period] = self.received(release)
            self._compare_ledgers()
        return packages

    def _compare_ledgers(self) -> None:
        """The ledger only grew since each of the receipts."""
        auditor = self.troupe["auditor-1"]
        rows = patiently(lambda: auditor.get("/deliveries"))
        notes = [row["receipt"]["checkpoint"] for row in rows if row["receipt"]]
        assert notes
        patiently(lambda: auditor.grown_since(notes))

    def deliver(self, folder: Path, name: str, file: ExtractFile) -> None:
        """Upload a file in several requests and wait for intake."""
        source = folder / f"{name}-{file.period}.csv"
        source.write_bytes(file.content)
        holder = self._holder(file)
        delivery = patiently(lambda: holder.upload(source, name, file.period))
        assert delivery["state"] == "accepted", delivery

    def send(self, folder: Path, file: ExtractFile) -> None:
        """The same upload, without waiting for intake."""
        source = folder / f"{file.dataset.id}-{file.period}.csv"
        source.write_bytes(file.content)
        sealed, holder = source.with_suffix(".age"), self._holder(file)
        holder.encrypt(source, sealed)
        holder.send(holder.open_upload(sealed, file.dataset.id, file.period), sealed)

    def rotate(self) -> None:
        """A new root key; asked again when nobody answered, for one more does no harm."""
        admin = self.troupe[ADMINISTRATORS[0]]

        def attempt() -> None:
            try:
                admin.post("/vault/root", self.troupe.ceremony("rotate", "root"))
            except ServiceRefusal as refusal:  # what nobody answered was done meanwhile
                if not refusal.problem["type"].endswith("key-stands-otherwise"):
                    raise

        patiently(attempt)

    def request(self, period: str, permit: str | None = None) -> str:
        """Ask for a release of a period; its id."""
        builder = self.troupe["statistician-1"]
        asked = {"permit": permit or self.permit, "period": period}

        def standing() -> dict[str, Any] | None:
            rows = (row for row in builder.get("/releases") if asked.items() <= row.items())
            return next(rows, None)

        return str(patiently(lambda: builder.post("/releases", asked), standing)["id"])

    def received(self, release: str) -> bytes:
        """Wait for it, clear it, download it."""
        self.clear(release)
        second = self.troupe["statistician-2"]
        patiently(lambda: second.wait_release(release))
        researcher = self.troupe["researcher-1"]
        identity = [self.troupe.identities["researcher-1"]]
        return patiently(lambda: researcher.fetch(release, identity))

    def clear(self, release: str) -> None:
        """Wait until it's built, and clear it."""
        builder, second = self.troupe["statistician-1"], self.troupe["statistician-2"]
        built = patiently(lambda: builder.wait_release(release))
        assert built["state"] == "built", built["refusal"]
        signed = self.troupe.sign(
            "statistician-2", "clearance", release=release, manifest_sha256=built["manifest_sha256"]
        )

        def cleared() -> dict[str, Any] | None:
            row: dict[str, Any] = second.get(f"/releases/{release}")
            return row if row["state"] == "cleared" else None

        patiently(lambda: second.post(f"/releases/{release}/clearance", signed), cleared)


def small_requests(change: Callable[[object, str, int], object]) -> None:
    """Let the client send little at a time, as it would a file of gigabytes."""
    change(clients, "REQUEST_PIECE", REQUEST_PIECE)
