"""What a service came to: read with the root key of its own, and compared byte for byte."""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from api import founding, store
from api import worker as workers
from api.objects import READERS
from api.operations.linkage import admissions
from api.operations.sealed import open_object
from api.service import Service
from api.settings import Settings
from api.store import Delivery, Envelope, Job, Release, StoredObject
from keyvault import ledger as ledgers
from keyvault import tables
from keyvault.custody import FileCustody
from keyvault.keyring import stored_key
from keyvault.safe import Safe
from keyvault.sealing import open_bytes
from policies.releases import MANIFEST, SIGNATURE, contents
from tests.crash.witness import Witness

REPEATABLE = (
    *("upload.opened", "delivery.rejected", "pseudonyms.given", "release.downloaded"),
    *("root.rotated", "root.dropped", "request.refused"),
)
"""What may stand in the ledger more often when a request or an attempt is repeated."""


@dataclass(frozen=True)
class Outcome:
    """Everything that has to be the same however often a service was killed."""

    links: Mapping[str, str]
    """Per delivery, a hash of every (record, reference) with its subject and how it was decided."""
    spine: Mapping[str, str]
    """Per delivery, a hash of the identity records that it added."""
    quality: Mapping[str, Any]
    packages: Mapping[str, bytes]
    """The files in the packages, by period and path."""
    deliveries: Mapping[str, Any]
    """Per delivery: rows and fault report."""
    releases: Mapping[str, str]
    """By period, the state."""
    objects: Mapping[str, int]
    jobs: Mapping[str, int]
    ledger: Mapping[str, int]

    def differences(self, other: "Outcome") -> list[str]:
        """Which parts differ; an empty list when none does."""
        return [
            f"{field.name} differ: {_first_difference(mine, its)}"
            for field in fields(self)
            if (mine := getattr(self, field.name)) != (its := getattr(other, field.name))
        ]


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    # a manifest differs wherever anything else does, and says least
    for name in sorted({*one, *other}, key=lambda name: (name.endswith(MANIFEST), name)):
        mine, its = str(one.get(name)), str(other.get(name))
        if mine != its:
            same = sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine, its, strict=False))
            )
            start = max(same - 100, 0)
            return f"{name}: …{mine[start : start + 300]}… / …{its[start : start + 300]}…"
    return ""


def outcome(settings: Settings, scope: str, packages: Mapping[str, bytes]) -> Outcome:
    """What came of it, in a service that has ended."""
    service = Service.open(settings)
    try:
        with store.reading(service.engine) as session:
            admitted = dict(_admitted(service, session, scope))
            return Outcome(
                links={name: parts[0] for name, parts in admitted.items()},
                spine={name: parts[1] for name, parts in admitted.items()},
                quality={name: parts[2] for name, parts in admitted.items()},
                packages=packages,
                deliveries={
                    f"{row.dataset} {row.period}": (row.rows, row.report)
                    for row in session.scalars(select(Delivery).where(Delivery.state == "accepted"))
                },
                releases={
                    row.request["period"]: row.state for row in session.scalars(select(Release))
                },
                objects=Counter(session.scalars(select(StoredObject.kind))),
                jobs=Counter(session.scalars(select(Job.kind))),
                ledger=Counter(kind for kind in kinds(settings) if kind not in REPEATABLE),
            )
    finally:
        service.engine.dispose()


def plaintext(settings: Settings) -> dict[str, bytes]:
    """What is in the packages, opened with the release role's key."""
    service = Service.open(settings)
    try:
        with store.reading(service.engine) as session:
            packages = {}
            for release in session.scalars(select(Release)):
                row = session.get(StoredObject, release.package)
                assert row is not None
                assert row.key is not None
                key = service.vault.role("release").open(stored_key(session.connection(), row.key))
                sealed = service.objects.get(row.name, row.sha256)
                packages[release.request["period"]] = open_bytes(
                    sealed, key, f"package|{release.id}|1"
                )
            return files_of(packages)
    finally:
        service.engine.dispose()


def files_of(archives: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files in archives by period, under the period and their path."""
    return {
        f"{period}/{path}": data
        for period, archive in archives.items()
        for path, data in contents(archive).items()
    }


def whoever_delivered(settings: Settings, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same files as they would be for any upload of the same extracts.

    Manifest and report name deliveries and earlier releases, and one that is begun anew gets
    another id. So these are called by dataset and period, hashes are those of the files so told,
    and the signature is left out; it was verified at the download.
    """
    service = Service.open(settings)
    with store.reading(service.engine) as session:
        names = {row.id: f"{row.dataset} {row.period}" for row in session.scalars(select(Delivery))}
        for row in session.scalars(select(Release)):
            names[row.id] = row.request["period"]
    service.engine.dispose()
    told = dict(files)
    for path, data in files.items():
        for identifier, name in names.items():
            told[path] = told[path].replace(identifier.encode(), name.encode())
        old, new = (hashlib.sha256(one).hexdigest() for one in (data, told[path]))
        manifest = f"{path.partition('/')[0]}/{MANIFEST}"
        told[manifest] = told[manifest].replace(old.encode(), new.encode())
    return {path: data for path, data in told.items() if not path.endswith(SIGNATURE)}


def kinds(settings: Settings) -> list[str]:
    """The kinds of the ledger's entries, in order."""
    entries = founding.ledger_of(settings)["entries"]
    return [json.loads(entry["leaf"])["kind"] for entry in entries]


def _admitted(
    service: Service, session: Session, scope: str
) -> Iterator[tuple[str, tuple[str, str, Any]]]:
    linkage, release = service.vault.role("linkage"), service.vault.role("release")
    for admission in admissions(session, scope):
        delivery = session.get(Delivery, admission.delivery)
        assert delivery is not None
        where = f"{scope}|{admission.position}"
        tables = {
            kind: open_object(session, service.objects, role, name, binding)
            for kind, role, name, binding in (
                ("records", linkage, admission.records, f"spine-records|{where}"),
                ("seen", linkage, admission.seen, f"spine-seen|{where}"),
                ("links", release, admission.links, f"links|{scope}|{delivery.id}"),
            )
        }
        links = tables["links"].drop_columns(["subject"])
        linked = tables["seen"].join(links, ["row_key", "reference"]).drop_columns(["row_key"])
        yield (
            f"{delivery.dataset} {delivery.period}",
            (_hashed(linked), _hashed(tables["records"]), _counts(admission.quality)),
        )


def _counts(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but how long it took.

    Rows come in a random order, which tells nothing; the last digits of a sum follow it.
    """
    return {name: _rounded(value) for name, value in quality.items() if name != "seconds"}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _hashed(table: Any) -> str:
    """A hash of a table's rows, in whatever order they come."""
    lines = sorted(repr(sorted(row.items())) for row in table.to_pylist())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# -- what must hold whatever happened --------------------------------------------------------------


def wait_for_jobs(settings: Settings, seconds: float = 60.0) -> None:
    """Every job ends by itself."""
    engine = store.connect(settings.database)
    until = time.monotonic() + seconds
    try:
        while True:
            with store.reading(engine) as session:
                open_ones = session.scalars(
                    select(Job).where(Job.state.in_(("queued", "running")))
                ).all()
            if not open_ones:
                return
            if time.monotonic() > until:
                raise TimeoutError("; ".join(f"{job.kind} stays {job.state}" for job in open_ones))
            time.sleep(0.05)
    finally:
        engine.dispose()


def faults(settings: Settings, witness: Witness) -> list[str]:
    """What is wrong with a service that has ended: sentences, none when all is well."""
    swept = Settings(data=settings.data, upload_days=0)
    service = Service.open(swept)
    try:
        _sweep(service)
        with store.reading(service.engine) as session:
            found = [
                *witness.faults,
                *_database_faults(session),
                *_state_faults(session),
                *_object_faults(service, session),
                *_promise_faults(session, witness),
            ]
        return [
            *found,
            *_root_faults(service, settings, witness),
            *ledger_faults(settings, witness),
        ]
    finally:
        service.engine.dispose()


def _sweep(service: Service) -> None:
    """Sweep as if all that was left behind were old."""
    age, workers.ORPHAN_AGE = workers.ORPHAN_AGE, -1.0
    try:
        workers.sweep(service, READERS)
    finally:
        workers.ORPHAN_AGE = age


def _database_faults(session: Session) -> Iterator[str]:
    if session.scalar(text("PRAGMA integrity_check")) != "ok":
        yield "the database is damaged"
    if session.execute(text("PRAGMA foreign_key_check")).first() is not None:
        yield "a row refers to nothing"


def _state_faults(session: Session) -> Iterator[str]:
    """No job failed or is under way, and nothing is in a state between two others."""
    for job in session.scalars(select(Job).where(Job.state != "done")):
        yield f"a job ({job.kind}) is {job.state}: {job.problem}"
    for row in session.scalars(select(Delivery).where(Delivery.state != "accepted")):
        if (row.state, row.report) != ("rejected", {"problem": "upload-expired"}):
            yield f"a delivery is {row.state}: {row.report}"
    for row in session.scalars(select(Delivery)):
        if row.upload is not None:
            yield f"a delivery that is {row.state} keeps its ciphertext"
        if (row.state == "accepted") != (row.identifiers is not None and row.payload is not None):
            yield f"a delivery is {row.state} and has half of its objects"
    for release in session.scalars(select(Release)):
        sealed = session.scalars(select(Envelope).where(Envelope.release == release.id)).all()
        whole = None not in (release.package, release.profile, release.manifest_sha256)
        if not whole or (release.state, bool(sealed)) not in (("built", False), ("cleared", True)):
            yield f"a release is {release.state}, whole: {whole}, envelopes: {len(sealed)}"


def _object_faults(service: Service, session: Session) -> Iterator[str]:
    """What is recorded is there with its hash, and nothing else is there."""
    recorded = {row.name: row.sha256 for row in session.scalars(select(StoredObject))}
    here = {name for name, _ in service.objects.names()}
    yield from (f"an object is gone: {name}" for name in recorded.keys() - here)
    yield from (f"an orphan wasn't swept: {name}" for name in here - recorded.keys())
    for name in recorded.keys() & here:
        if service.objects.sha256(name) != recorded[name]:
            yield f"an object is not the recorded one: {name}"
    referred = {
        *session.scalars(select(Delivery.identifiers)),
        *session.scalars(select(Delivery.payload)),
        *session.scalars(select(Release.package)),
        *session.scalars(select(Release.profile)),
        *session.scalars(select(Envelope.object)),
        *session.scalars(text("SELECT records FROM admission UNION SELECT seen FROM admission")),
        *session.scalars(text("SELECT links FROM admission UNION SELECT review FROM admission")),
    }
    yield from (
        f"nothing refers to a recorded object: {name}" for name in recorded.keys() - referred
    )


def _promise_faults(session: Session, witness: Witness) -> Iterator[str]:
    """Whatever was answered with yes is there."""
    for identifier, offset in witness.offsets.items():
        row = session.get(Delivery, identifier)
        if row is None or row.offset < offset:
            yield f"{identifier}: {offset} bytes were acknowledged and are not there"
    for identifier, told in witness.things.items():
        if identifier.startswith("delivery-"):
            delivery = session.get(Delivery, identifier)
            if delivery is None or (told["receipt"] and delivery.receipt != told["receipt"]):
                yield f"{identifier}: its receipt isn't there any more"
        else:
            release = session.get(Release, identifier)
            if release is None or (
                told["manifest_sha256"] and release.manifest_sha256 != told["manifest_sha256"]
            ):
                yield f"{identifier}: what was built isn't there any more"


def _root_faults(service: Service, settings: Settings, witness: Witness) -> Iterator[str]:
    """No root version is lost, and what a cut-off rotation left over goes."""
    custody = FileCustody.open(settings.root_key)
    finish_rotation(service)
    held = custody.versions()
    active = _root_in_use(service)
    if held != (active,):
        yield f"root versions {held} are held, and {active} is in use"
    if witness.rotations and active < max(witness.rotations):
        yield f"root version {max(witness.rotations)} was told of and isn't there"
    if witness.rotations != sorted(set(witness.rotations)):
        yield f"root versions went back: {witness.rotations}"


def finish_rotation(service: Service) -> None:
    """What whoever holds the root does when it starts."""
    safe = Safe(FileCustody.open(service.settings.root_key))
    with service.engine.begin() as connection:
        safe.publics(connection)
        safe.finish(connection, now=service.clock.now(), actor=None)


def _root_in_use(service: Service) -> int:
    """The root version in use."""
    with store.reading(service.engine) as session:
        active = select(tables.root.c.version).where(tables.root.c.state == "active")
        return int(session.scalars(active).one())


def ledger_faults(settings: Settings, witness: Witness) -> list[str]:
    """The ledger verifies from end to end, and grew from every checkpoint that was handed out."""
    pack = founding.ledger_of(settings)
    entries = [
        ledgers.Stored(position, entry["leaf"].encode(), entry["checkpoint"])
        for position, entry in enumerate(pack["entries"])
    ]
    receipts = [thing["receipt"] for thing in witness.things.values() if thing.get("receipt")]
    olds: Sequence[str] = [receipt["checkpoint"] for receipt in receipts]
    return [str(fault) for fault in ledgers.verify(entries, pack["ledger"], checkpoints=olds)]


def copied(snapshot: Path, folder: Path) -> Settings:
    """A service of one's own, from the snapshot."""
    shutil.copytree(snapshot, folder)
    return Settings(data=folder)
