"""Datasets and deliveries: from a declaration to two sealed objects.

The front door's half (`create_upload` to `finish_upload`) handles ciphertext that it can't read;
`take_in` is a worker's, with the intake role's key.
"""

import hashlib
import io
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyrage
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api import checking, jobs
from api.objects import Objects
from api.operations import ABSENT_THING, Stored, Work, found
from api.problems import Problem
from api.store import Dataset, Delivery, new_id, reading
from keyvault.sealing import write_table
from keyvault.vault import Vault
from linkage import datasets, extracts
from policies import access, permits
from policies.access import Thing

SHA256 = re.compile(r"[0-9a-f]{64}")
AGE_MAGIC = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")
MAGIC_LENGTH = max(len(magic) for magic in AGE_MAGIC)

Progress = Callable[[str, float], None]


def add_dataset(work: Work, declaration: dict[str, Any]) -> Dataset:
    """Declare a dataset of one's own organisation."""
    try:
        declared = datasets.Dataset.from_mapping(declaration)
    except datasets.DatasetFault as fault:
        raise Problem(
            "bad-declaration", str(fault), "Correct the declaration and send it again."
        ) from None
    work.demand("dataset.add", Thing(organisation=declared.holder))
    if work.session.get(Dataset, declared.id) is not None:
        raise Problem(
            "already-there",
            "A dataset with this id was declared before.",
            "Choose another id; a declaration that deliveries rest on doesn't change.",
        )
    dataset = Dataset(
        id=declared.id,
        organisation=declared.holder,
        declaration=declared.to_mapping(),
        added_at=work.now,
    )
    work.session.add(dataset)
    work.session.flush()
    work.note(
        "dataset.added",
        dataset=declared.id,
        organisation=declared.holder,
        sha256=permits.sha256(dataset.declaration),
    )
    return dataset


def list_datasets(work: Work) -> list[Dataset]:
    """The catalogue: declarations, which hold no data."""
    work.demand("dataset.read")
    return list(work.session.scalars(select(Dataset).order_by(Dataset.id)))


def dataset(work: Work, identifier: str) -> Dataset:
    """One catalogue entry."""
    work.demand("dataset.read")
    entry: Dataset = found(work.session.get(Dataset, identifier))
    return entry


def create_upload(
    work: Work, dataset_id: str, period: str, sha256: str, length: int, longest: int
) -> Delivery:
    """Open a delivery that ciphertext can be sent to, piece by piece."""
    entry = work.session.get(Dataset, dataset_id)
    work.demand("upload.create", Thing(organisation=entry.organisation) if entry else ABSENT_THING)
    _refuse_unfit(period, sha256, length, longest)
    standing = _standing(work.session, dataset_id, period)
    if standing is not None:
        raise Problem(
            "already-delivered",
            f"Delivery {standing.id} of this dataset for {period} is {standing.state}.",
            "Nothing has to be sent again; `schakel delivery show` tells how it stands.",
        )
    delivery = Delivery(
        id=new_id("delivery"),
        dataset=dataset_id,
        organisation=entry.organisation if entry else "",
        period=period,
        state="uploading",
        person=work.actor.person,
        declared_sha256=sha256,
        length=length,
        upload=Objects.new_name(),
        created_at=work.now,
        moved_at=work.now,
    )
    work.session.add(delivery)
    work.session.flush()
    work.note(
        "upload.opened", delivery=delivery.id, dataset=dataset_id, period=period, bytes=length
    )
    return delivery


def _refuse_unfit(period: str, sha256: str, length: int, longest: int) -> None:
    """What goes into the ledger and onto a receipt for ever has the form that it should have."""
    if not permits.is_period(period):
        raise Problem(
            "bad-request",
            "This is no reference period.",
            "Write a year, quarter, month or week: 2024, 2024-Q3, 2024-07, 2024-W27.",
        )
    if not SHA256.fullmatch(sha256):
        raise Problem(
            "bad-request",
            "This is no SHA-256.",
            "Give the encrypted file's SHA-256 in 64 hexadecimal digits (`sha256sum`).",
        )
    if length == 0:
        raise Problem("bad-request", "The file is empty.", "Upload the encrypted extract.")
    if length > longest:
        raise Problem(
            "too-large",
            f"An encrypted delivery may have {longest} bytes at most.",
            "Deliver shorter periods, or ask the office for a larger limit.",
        )


def _standing(session: Session, dataset_id: str, period: str) -> Delivery | None:
    """The delivery of a dataset and period that came in whole and wasn't rejected."""
    return session.scalar(
        select(Delivery).where(
            Delivery.dataset == dataset_id,
            Delivery.period == period,
            Delivery.state.in_(("received", "checking", "accepted")),
        )
    )


def upload(work: Work, identifier: str, action: str = "upload.read") -> Delivery:
    """The delivery behind an upload, for its own holder."""
    delivery = work.session.get(Delivery, identifier)
    work.demand(action, _thing(delivery))
    return found(delivery)  # type: ignore[no-any-return]


def plaintext_problem(start: bytes) -> Problem | None:
    """Whether these first bytes can't be the beginning of an age file. The first bytes decide."""
    if any(start[: len(magic)] == magic[: len(start)] for magic in AGE_MAGIC):
        return None
    return Problem(
        "plaintext-upload",
        "These bytes are not an age file, and the front door takes nothing that it could read. "
        "None of them was kept.",
        "Encrypt first: curl -s $SERVER/keys | jq -r .uploads > recipient.txt && "
        "age -R recipient.txt -o extract.csv.age extract.csv; or let `schakel upload` do both.",
    )


def advance_upload(work: Work, identifier: str, expected: int, offset: int) -> Delivery:
    """Acknowledge bytes that are durable by now; offsets never go back."""
    delivery = upload(work, identifier, "upload.append")
    if delivery.offset != expected or offset < expected:
        raise wrong_offset(delivery.offset)
    delivery.offset, delivery.moved_at = offset, work.now
    return delivery


def wrong_offset(offset: int) -> Problem:
    """The answer to bytes that don't begin where the upload stands."""
    return Problem(
        "wrong-offset",
        f"The upload stands at {offset}.",
        "Ask for the offset (HEAD) and go on from there.",
        {"offset": offset},
    )


def finish_upload(work: Work, identifier: str, sha256: str) -> Delivery:
    """Everything came in: compare hashes, give the receipt, enqueue intake; once."""
    delivery = upload(work, identifier)
    if delivery.state != "uploading":
        return delivery  # another request was quicker
    reason = None
    if sha256 != delivery.declared_sha256:
        reason = "ciphertext-mismatch"
    elif _standing(work.session, delivery.dataset, delivery.period) is not None:
        reason = "already-delivered"  # two uploads were open, and the other one was first
    if reason is not None:
        _rejected(work, delivery, reason)
        return delivery
    delivery.state = "received"
    entry = work.note(
        "upload.received",
        delivery=delivery.id,
        dataset=delivery.dataset,
        period=delivery.period,
        sha256=sha256,
        bytes=delivery.length,
    )
    delivery.receipt = work.vault.sign_receipt(
        work.session.connection(),
        {
            "type": "receipt",
            "version": 1,
            "delivery": delivery.id,
            "dataset": delivery.dataset,
            "period": delivery.period,
            "sha256": sha256,
            "bytes": delivery.length,
            "received_at": work.now.isoformat(timespec="seconds"),
            "ledger_position": entry.position,
            "checkpoint": entry.checkpoint,
        },
    )
    jobs.enqueue(work.session, "intake", "intake", {"delivery": delivery.id}, work.actor, work.now)
    return delivery


def deliveries(work: Work) -> list[Delivery]:
    """The deliveries that the actor may know of, oldest first."""
    rows = work.session.scalars(select(Delivery).order_by(Delivery.created_at, Delivery.id))
    return [row for row in rows if access.refusal(work.actor, "delivery.read", _thing(row)) is None]


def _thing(row: Delivery | None) -> Thing:
    return Thing(row.state, row.organisation) if row else ABSENT_THING


def delivery(work: Work, identifier: str) -> Delivery:
    """One delivery with receipt and fault report."""
    return upload(work, identifier, "delivery.read")


# -- the worker's half, with the intake role's key ------------------------------------------------


@dataclass(frozen=True)
class TakenIn:
    """What intake made of a delivery before anything of it is recorded."""

    report: dict[str, Any]
    rows: int
    identifiers: Stored | None
    payload: Stored | None


def take_in(
    engine: Engine, vault: Vault, objects: Objects, identifier: str, progress: Progress
) -> TakenIn:
    """Decrypt, check and seal one delivery; nothing readable touches a disk.

    No row is accepted until the whole file has authenticated: a damaged age file may look like a
    shorter CSV to its reader, and only the decrypting thread knows.
    """
    with reading(engine) as session:
        row = found(session.get(Delivery, identifier))
        declared = datasets.Dataset.from_mapping(session.get(Dataset, row.dataset).declaration)  # type: ignore[union-attr]
        role = vault.role("intake")
        connection = session.connection()
        sealed_identities = vault.intake_identities(connection)
        identities = [role.open_identity(sealed) for sealed in sealed_identities]
        sealer = vault.sealer(connection)
    progress("decrypt and check", 0.0)
    with objects.open(row.upload) as ciphertext:
        checked, sha256 = _decrypted(ciphertext, row, identities, declared, progress)
    if sha256 != row.declared_sha256:
        raise Problem(
            "ciphertext-mismatch",
            "The stored upload is not the one that was received.",
            "Send the extract again.",
        )
    if not checked.accepted:
        return TakenIn(checked.report(), checked.records, None, None)
    progress("seal", 0.5)
    random = pa.py_buffer(secrets.token_bytes(16 * checked.records))
    keys = pa.Array.from_buffers(pa.binary(16), checked.records, [None, random])
    identifiers, payload = extracts.split(checked, declared, keys)
    sealed = []
    for opener, purpose, table in (
        ("linkage", "identifiers", identifiers),
        ("release", "payload", payload),
    ):
        key, sealed_key = sealer.new_key(opener, purpose, identifier)
        name, digest = objects.put(write_table(table, key, f"{purpose}|{identifier}|1"))
        sealed.append(Stored(name, digest, sealed_key))
    return TakenIn(checked.report(), checked.records, sealed[0], sealed[1])


def _decrypted(
    ciphertext: BinaryIO,
    row: Delivery,
    identities: list[Any],
    declared: datasets.Dataset,
    progress: Progress,
) -> tuple[extracts.Checked, str]:
    """Stream age plaintext through a pipe into the checker; both ends have to agree."""
    read_end, write_end = os.pipe()
    source = _Counted(ciphertext, row.length, progress)
    broken: list[Exception] = []

    def decrypt() -> None:
        with os.fdopen(write_end, "wb") as sink:
            try:
                pyrage.decrypt_io(source, sink, identities)
            except BrokenPipeError:
                pass  # the checker gave up on the file and said why
            except Exception as error:
                broken.append(error)

    thread = threading.Thread(target=decrypt, name="decrypt", daemon=True)
    thread.start()
    try:
        with os.fdopen(read_end, "rb") as plaintext:
            checked = checking.check(plaintext, declared, period=row.period)
            for _rest in iter(lambda: plaintext.read(1 << 20), b""):
                pass
    finally:
        thread.join()
    if broken:
        raise Problem(
            "damaged-delivery",
            "The delivery can't be decrypted: it is damaged, or it was encrypted to another key.",
            "Encrypt the extract again to the recipient that the service publishes (GET /keys).",
        )
    return checked, source.sha256()


class _Counted(io.RawIOBase):
    """The ciphertext, hashed and counted on its way to the decrypting thread."""

    def __init__(self, source: BinaryIO, length: int, progress: Progress) -> None:
        self._source, self._length, self._progress = source, max(length, 1), progress
        self._digest, self._count = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        self._count += len(data)
        self._progress("decrypt and check", self._count / self._length)
        return len(data)

    def sha256(self) -> str:
        """Hash of everything, the part that the decrypter had no need of included."""
        for piece in iter(lambda: self._source.read(1 << 20), b""):
            self._digest.update(piece)
        return self._digest.hexdigest()


def record_intake(work: Work, identifier: str, taken: TakenIn) -> Delivery:
    """Commit what intake made: state, objects and ledger entry in one transaction."""
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    delivery.report, delivery.rows = taken.report, taken.rows
    delivery.state = "accepted" if taken.identifiers and taken.payload else "rejected"
    for kind, stored in (("identifiers", taken.identifiers), ("payload", taken.payload)):
        if stored is not None:
            setattr(delivery, kind, work.recorded(stored, kind))
    work.note(
        f"delivery.{delivery.state}",
        delivery=delivery.id,
        dataset=delivery.dataset,
        period=delivery.period,
        rows=taken.rows,
    )
    return delivery


def start_checking(work: Work, identifier: str) -> bool:
    """Intake begins; False when an earlier attempt finished already."""
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    if delivery.state not in ("received", "checking"):
        return False
    delivery.state = "checking"
    return True


def uploads_under_way(session: Session) -> list[str]:
    """Names of the ciphertext objects that uploads and intake still need."""
    names = session.scalars(select(Delivery.upload).where(Delivery.upload.is_not(None)))
    return [str(name) for name in names]


def expire_uploads(work: Work, before: datetime) -> list[str]:
    """Give up uploads that got no byte since then; names of objects to delete come back."""
    abandoned = work.session.scalars(
        select(Delivery).where(Delivery.state == "uploading", Delivery.moved_at < before)
    )
    names = [_rejected(work, delivery, "upload-expired") for delivery in abandoned.all()]
    return [name for name in names if name is not None]


def unusable(work: Work, identifier: str, problem: Problem) -> str | None:
    """A delivery that intake couldn't even read: rejected, and its holder is told why.

    The ciphertext's object name comes back: to be deleted once this is committed.
    """
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    return _rejected(work, delivery, problem.type)


def _rejected(work: Work, delivery: Delivery, reason: str) -> str | None:
    delivery.state, delivery.report = "rejected", {"problem": reason}
    work.note("delivery.rejected", delivery=delivery.id, reason=reason)
    return release_upload(work, delivery.id)


def release_upload(work: Work, identifier: str) -> str | None:
    """Forget the ciphertext of a delivery that has been dealt with; its object name comes back."""
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    name, delivery.upload = delivery.upload, None
    return name
