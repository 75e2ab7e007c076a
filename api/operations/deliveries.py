"""Datasets and deliveries, from a declaration to the receipt for an upload.

The front door handles ciphertext that it can't read; what becomes of it is `intake`'s work.
"""

import base64
import re
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api import jobs
from api.objects import Objects
from api.operations import ABSENT_THING, Work, found, standing
from api.operations.projects import keep_reason
from api.problems import Problem
from api.store import Dataset, Delivery, new_id
from linkage import datasets
from policies import access, permits
from policies.access import Thing

SHA256 = re.compile(r"[0-9a-f]{64}")
_ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOURED = base64.b64encode(b"age-encryption.org/v1\n->")
AGE_MAGIC = (
    b"age-encryption.org/v1\n-> ",
    _ARMOUR + b"\n" + _ARMOURED,
    _ARMOUR + b"\r\n" + _ARMOURED,
)
"""How age files begin, up to the first recipient: a bare first line could stand above anything."""
MAGIC_LENGTH = max(len(magic) for magic in AGE_MAGIC)


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
    work: Work, dataset_id: str, period: str, mode: str, sha256: str, length: int, longest: int
) -> Delivery:
    """Open a delivery that ciphertext can be sent to, piece by piece.

    The hash of the whole may be empty; then it is declared before the last byte (`declare`).
    """
    row = work.session.get(Dataset, dataset_id)
    work.demand("upload.create", Thing(organisation=row.organisation) if row else ABSENT_THING)
    entry: Dataset = found(row)
    _refuse_unfit(period, sha256, length, longest)
    _refuse_mode(entry, mode)
    problem = standing.unfit(work.session, dataset_id, period, mode)
    if problem is not None:
        raise problem
    delivery = Delivery(
        id=new_id("delivery"),
        dataset=dataset_id,
        organisation=entry.organisation,
        period=period,
        mode=mode,
        state="uploading",
        person=work.actor.person,
        declared_sha256=sha256,
        length=length,
        upload=Objects.new_name("intake"),
        created_at=work.now,
        moved_at=work.now,
    )
    work.session.add(delivery)
    work.session.flush()
    work.note(
        "upload.opened",
        delivery=delivery.id,
        dataset=dataset_id,
        period=period,
        mode=mode,
        bytes=length,
    )
    return delivery


def refuse_too_many(work: Work, most: int, patience: timedelta) -> None:
    """Uploads under way are counted by organisation: nobody fills the disk with beginnings."""
    under_way = work.session.scalar(
        select(func.count()).where(
            Delivery.organisation == work.actor.organisation,
            Delivery.state == "uploading",
            Delivery.moved_at > work.now - patience,
        )
    )
    if (under_way or 0) >= most:
        raise Problem(
            "too-many-uploads",
            f"Your organisation has {under_way} uploads under way; {most} are the most at a time.",
            "Finish one, or give it up (DELETE; see `schakel delivery list`), and open this again.",
        )


def _refuse_unfit(period: str, sha256: str, length: int, longest: int) -> None:
    """What goes into the ledger and onto a receipt for ever has the form that it should have."""
    if not permits.is_period(period):
        raise Problem(
            "bad-request",
            "This is no reference period.",
            "Write a year, quarter, month or week: 2024, 2024-Q3, 2024-07, 2024-W27.",
        )
    if sha256:
        _refuse_no_sha256(sha256)
    if length == 0:
        raise Problem("bad-request", "The file is empty.", "Upload the encrypted extract.")
    if length > longest:
        raise Problem(
            "too-large",
            f"An encrypted delivery may have {longest} bytes at most.",
            "Deliver shorter periods, or ask the office for a larger limit.",
        )


def _refuse_no_sha256(sha256: str) -> None:
    if not SHA256.fullmatch(sha256):
        raise Problem(
            "bad-request",
            "This is no SHA-256.",
            "Give the encrypted file's SHA-256 in 64 hexadecimal digits (`sha256sum`).",
        )


def _refuse_mode(dataset: Dataset, mode: str) -> None:
    if mode not in standing.MODES:
        raise Problem(
            "bad-request",
            "There is no such mode of delivering.",
            f"A mode is one of {', '.join(standing.MODES)}.",
        )
    if mode == "correct" and dataset.declaration["kind"] == "conversion":
        raise Problem(
            "bad-request",
            "A conversion list names no units, so there is nothing to correct one by one.",
            "Append to it, or replace it.",
        )


def upload(work: Work, identifier: str, action: str = "upload.read") -> Delivery:
    """The delivery behind an upload, for its own holder."""
    delivery = work.session.get(Delivery, identifier)
    work.demand(action, _thing(delivery))
    return found(delivery)  # type: ignore[no-any-return]


def expires_at(delivery: Delivery, patience: timedelta) -> datetime:
    """When an upload is given up unless bytes come in; in whole seconds, as HTTP tells it."""
    return (delivery.moved_at + patience).replace(microsecond=0)


def open_upload(work: Work, identifier: str, action: str, patience: timedelta) -> Delivery:
    """The upload for its own holder, unless it is over: expired ones are, before any sweep."""
    delivery = upload(work, identifier)
    report = delivery.report or {}
    stood_still = delivery.state == "uploading" and expires_at(delivery, patience) <= work.now
    if stood_still or report.get("problem") == "upload-expired":
        raise Problem(
            "upload-expired",
            f"No byte came for {patience.days} days, so this upload was given up.",
            "Open another one and send the encrypted file again.",
        )
    if delivery.state in ("withdrawn", "rejected") and delivery.receipt is None:
        raise Problem(
            "upload-over",
            "This upload was withdrawn or refused, and its bytes are gone.",
            "Open another one and send the encrypted file again.",
        )
    work.demand(action, _thing(delivery))
    return delivery


def withdraw_upload(work: Work, identifier: str, patience: timedelta) -> str:
    """End an upload before its receipt; the name of the object to delete comes back."""
    delivery = open_upload(work, identifier, "upload.withdraw", patience)
    delivery.state = "withdrawn"
    work.note("upload.withdrawn", delivery=delivery.id, bytes=delivery.offset)
    return str(release_upload(work, identifier))


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


def advance_upload(
    work: Work, identifier: str, expected: int, offset: int, patience: timedelta
) -> Delivery:
    """Acknowledge bytes that are durable by now; offsets never go back.

    With the same offset twice it tells that a writer has come, and the upload lives longer for it.
    """
    delivery = open_upload(work, identifier, "upload.append", patience)
    if delivery.offset != expected or offset < expected:
        raise wrong_offset(delivery.offset)
    delivery.offset, delivery.moved_at = offset, work.now
    return delivery


def declare(delivery: Delivery, sha256: str) -> None:
    """Say which hash the whole upload will have; said once, it stands."""
    _refuse_no_sha256(sha256)
    if delivery.declared_sha256 not in ("", sha256):
        raise Problem(
            "bad-request",
            "Another SHA-256 was declared for this upload before.",
            "Send the file that was declared, or open another upload.",
        )
    delivery.declared_sha256 = sha256


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
    if sha256 != delivery.declared_sha256:
        rejected(work, delivery, "ciphertext-mismatch")
        return delivery
    problem = standing.unfit(work.session, delivery.dataset, delivery.period, delivery.mode)
    if problem is not None:  # two uploads were open, or what stood was withdrawn meanwhile
        rejected(work, delivery, problem.type)
        return delivery
    standing.receive(work.session, delivery)
    delivery.state = "received"
    entry = work.note(
        "upload.received",
        delivery=delivery.id,
        dataset=delivery.dataset,
        period=delivery.period,
        mode=delivery.mode,
        generation=delivery.generation,
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
            "mode": delivery.mode,
            "generation": delivery.generation,
            "sha256": sha256,
            "bytes": delivery.length,
            "received_at": work.now.isoformat(timespec="seconds"),
            "ledger_position": entry.position,
            "checkpoint": entry.checkpoint,
        },
    )
    jobs.enqueue(work, "intake", "intake", {"delivery": delivery.id})
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


def withdraw(work: Work, identifier: str, reason: str) -> Delivery:
    """Take an accepted delivery back: nothing that isn't cleared yet uses it from now on.

    What it superseded stays superseded; a delivery that isn't there any more can be sent anew.
    """
    row = upload(work, identifier, "delivery.withdraw")
    row.state = "withdrawn"
    work.note("delivery.withdrawn", delivery=row.id, dataset=row.dataset, period=row.period)
    keep_reason(work, row.id, reason)
    return row


def uploads_under_way(session: Session) -> list[str]:
    """Names of the ciphertext objects that uploads and intake still need."""
    names = session.scalars(select(Delivery.upload).where(Delivery.upload.is_not(None)))
    return [str(name) for name in names]


def expire_uploads(work: Work, before: datetime) -> list[str]:
    """Give up uploads that got no byte since then; names of objects to delete come back."""
    abandoned = work.session.scalars(
        select(Delivery).where(Delivery.state == "uploading", Delivery.moved_at < before)
    )
    names = [rejected(work, delivery, "upload-expired") for delivery in abandoned.all()]
    return [name for name in names if name is not None]


def rejected(work: Work, delivery: Delivery, reason: str) -> str | None:
    """End a delivery that can't be used; the name of its ciphertext, to be deleted, comes back."""
    delivery.state, delivery.report = "rejected", {"problem": reason}
    work.note("delivery.rejected", delivery=delivery.id, reason=reason)
    return release_upload(work, delivery.id)


def release_upload(work: Work, identifier: str) -> str | None:
    """Forget the ciphertext of a delivery that has been dealt with; its object name comes back."""
    delivery: Delivery = found(work.session.get(Delivery, identifier))
    name, delivery.upload = delivery.upload, None
    return name
