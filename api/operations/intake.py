"""Intake: from a received upload to two sealed objects, with the intake role's key."""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import pyrage
from sqlalchemy import Engine

from api import checking
from api.objects import Objects, Writing
from api.operations import Progress, Stored, Work, found, standing
from api.operations.deliveries import rejected
from api.operations.shuffling import Shuffle
from api.problems import Problem
from api.store import Dataset, Delivery, reading
from keyvault.keyring import SealedKey, Sealer
from keyvault.sealing import TableWriter
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
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    progress: Progress,
    limits: extracts.Limits | None = None,
) -> TakenIn:
    """Decrypt, check and seal one delivery; nothing readable touches a disk.

    No row is accepted until the whole file has authenticated: a damaged age file may look like a
    shorter CSV to its reader, and only the decrypting thread knows. Memory doesn't grow with the
    delivery, but for the eight bytes per record of `linkage.extracts`.
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
    with closing(Shuffle(partial(objects.scratch, "intake"))) as shuffle:
        with objects.open(row.upload) as ciphertext:
            source = _Counted(ciphertext, row.length, progress)
            check = partial(
                checking.check, dataset=declared, period=row.period, sink=shuffle.add, limits=limits
            )
            checked = _decrypted(source, identities, check)
            sha256 = source.sha256()
        if sha256 != row.declared_sha256:
            raise Problem(
                "ciphertext-mismatch",
                "The stored upload is not the one that was received.",
                "Send the extract again.",
            )
        if not checked.accepted:
            return TakenIn(checked.report(), checked.records, None, None)
        tables = _told(shuffle.tables(), checked.records, progress)
        identifiers, payload = _sealed(objects, sealer, identifier, declared, tables)
    return TakenIn(checked.report(), checked.records, identifiers, payload)


def _told(tables: Iterator[Any], records: int, progress: Progress) -> Iterator[Any]:
    done = 0
    for table in tables:
        progress("seal", done / records)
        yield table
        done += table.num_rows


def _sealed(
    objects: Objects,
    sealer: Sealer,
    identifier: str,
    declared: datasets.Dataset,
    tables: Iterator[Any],
) -> tuple[Stored, Stored]:
    """Identifiers and payload, each under a key of its own, written side by side."""
    files: list[Writing] = []
    writers: list[TableWriter] = []
    keys: list[SealedKey] = []
    with ExitStack() as all_whole:
        for table in tables:
            halves = extracts.split(table, declared)
            if not writers:
                for half, (opener, purpose) in zip(halves, _HALVES, strict=True):
                    key, sealed_key = sealer.new_key(opener, purpose, identifier)
                    file = all_whole.enter_context(objects.writing(opener))
                    binding = f"{purpose}|{identifier}|1"
                    writer = TableWriter(file, half.schema, key, binding)
                    writers.append(all_whole.enter_context(writer))
                    files.append(file)
                    keys.append(sealed_key)
            for writer, half in zip(writers, halves, strict=True):
                writer.write(half)
    first, second = (
        Stored(file.name, file.sha256, key) for file, key in zip(files, keys, strict=True)
    )
    return first, second


_HALVES = (("linkage", "identifiers"), ("release", "payload"))
"""Who opens each half, and what it is."""


def _decrypted(
    source: "_Counted", identities: list[Any], check: Callable[[BinaryIO], extracts.Checked]
) -> extracts.Checked:
    """Stream age plaintext through a pipe into the checker; both ends have to agree."""
    read_end, write_end = os.pipe()
    broken: list[BaseException] = []

    def decrypt() -> None:
        try:
            with os.fdopen(write_end, "wb") as sink:
                pyrage.decrypt_io(source, sink, identities)
        except BrokenPipeError:
            pass  # the checker gave up on the file and said why
        except BaseException as error:  # a panic in the library is no Exception
            broken.append(error)

    thread = threading.Thread(target=decrypt, name="decrypt", daemon=True)
    thread.start()
    try:
        with os.fdopen(read_end, "rb") as plaintext:
            checked = check(plaintext)
            for _rest in iter(lambda: plaintext.read(1 << 20), b""):
                pass
    finally:
        thread.join()
        _raise_ours(broken)
    if broken:
        raise Problem(
            "damaged-delivery",
            "The delivery can't be decrypted: it is damaged, or it was encrypted to another key.",
            "Encrypt the extract again to the recipient that the service publishes (GET /keys).",
        )
    return checked


def _raise_ours(broken: list[BaseException]) -> None:
    """A disk that can't be read is our trouble and passes: nobody's delivery is refused for it.

    The system's own errors have a number; those of the library about the file haven't.
    """
    for error in broken:
        if isinstance(error, OSError) and error.errno is not None:
            raise error


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
    if delivery.state == "accepted":
        standing.accept(work, delivery)
    return delivery


CHECKED = ("received", "checking")
"""States of a delivery that intake has yet to end."""


def start_checking(work: Work, identifier: str) -> bool:
    """Intake begins; False when an earlier attempt finished already."""
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    if delivery.state not in CHECKED:
        return False
    delivery.state = "checking"
    return True


def unusable(work: Work, identifier: str, problem: Problem) -> str | None:
    """A delivery that intake couldn't even read: rejected, and its holder is told why.

    The ciphertext's object name comes back: to be deleted once this is committed.
    """
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    if delivery.state not in CHECKED:
        return None  # its job was put back after it had been done
    return rejected(work, delivery, problem.type)
