"""Intake: from a received upload to two sealed objects, with the intake role's key."""

import hashlib
import io
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyrage
from sqlalchemy import Engine

from api import checking
from api.objects import Objects
from api.operations import Progress, Stored, Work, found
from api.operations.deliveries import rejected
from api.problems import Problem
from api.store import Dataset, Delivery, reading
from keyvault.sealing import write_table
from keyvault.vault import Vault
from linkage import datasets, extracts


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
        name, digest = objects.put(write_table(table, key, f"{purpose}|{identifier}|1"), opener)
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


def unusable(work: Work, identifier: str, problem: Problem) -> str | None:
    """A delivery that intake couldn't even read: rejected, and its holder is told why.

    The ciphertext's object name comes back: to be deleted once this is committed.
    """
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    return rejected(work, delivery, problem.type)
