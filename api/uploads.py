"""Uploads by tus 1.0 (creation, checksum, termination, expiration): existing clients work.

The protocol is ours because the server libraries fsync nothing. What arrives is ciphertext that
this process can't read; the first bytes decide, and a plaintext upload leaves no byte on the disk.
Bytes are durable before their offset is acknowledged; offsets never go back. The hash of the whole
is declared by whoever sends it, at creation or before the last byte, and compared before there is a
receipt. One request at a time writes to an upload, whichever of several API processes it came to:
it holds the object's lock from before it looks at the offset until the new one is committed.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import auth, idempotency, store
from api.objects import Growing, ObjectBusy
from api.operations import Work, deliveries
from api.operations.deliveries import MAGIC_LENGTH, plaintext_problem
from api.problems import Problem
from api.service import Service
from api.store import Delivery
from policies.access import Actor

router = APIRouter(tags=["uploads"])

TUS = {"Tus-Resumable": "1.0.0"}
ABILITIES = {
    **TUS,
    "Tus-Version": "1.0.0",
    "Tus-Extension": "creation,checksum,termination,expiration",
    "Tus-Checksum-Algorithm": "sha256,sha1",
}
PIECE = 1 << 20
IDLE = 30.0
"""Seconds that a request may send no byte; a dead line would keep the upload to itself."""

COUNT = re.compile(r"[0-9]{1,18}")


class Manners:
    """What tus wants of every request and answer, refusals included.

    A client behind a proxy that knows no PATCH sends POST and names the method that it means; every
    answer says which tus is spoken.
    """

    MEANT = ("PATCH", "DELETE", "HEAD")

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave everything alone that is no upload's."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith("/uploads/"):
            await self._app(scope, receive, send)
            return
        meant = Headers(scope=scope).get("x-http-method-override")
        if scope["method"] == "POST" and meant in self.MEANT:
            scope = {**scope, "method": meant}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(TUS)
                if message["status"] == 412:
                    headers["Tus-Version"] = ABILITIES["Tus-Version"]
            await send(message)

        await self._app(scope, receive, told)


def _patience(service: Service) -> timedelta:
    return timedelta(days=service.settings.upload_days)


def _expires(service: Service, row: Delivery) -> dict[str, str]:
    """tus expiration: an unfinished upload says when it is given up."""
    if row.state != "uploading":
        return {}
    moment = deliveries.expires_at(row, _patience(service))
    return {"Upload-Expires": format_datetime(moment, usegmt=True)}


@router.options("/uploads", status_code=204, summary="What this tus server can do")
def abilities(request: Request) -> Response:
    """Version, extensions and largest size (tus: OPTIONS)."""
    service: Service = request.app.state.service
    request.app.state.actor(request)
    return Response(
        status_code=204,
        headers={**ABILITIES, "Tus-Max-Size": str(service.settings.longest_upload)},
    )


def _speaks_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != "1.0.0":
        raise Problem(
            "tus-version",
            "Uploads are tus 1.0.0.",
            "Send the header Tus-Resumable: 1.0.0; `schakel upload` and any tus client do.",
        )


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not COUNT.fullmatch(text):
        raise Problem(
            "bad-request", f"The header {header} has to be a number.", "Use a tus client."
        )
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """tus: comma-separated `key base64value` pairs."""
    try:
        pairs = (item.split() for item in text.split(",") if item.strip())
        return {
            pair[0]: base64.b64decode(pair[1], validate=True).decode() if pair[1:] else ""
            for pair in pairs
        }
    except ValueError:
        raise Problem(
            "bad-request",
            "The header Upload-Metadata can't be read.",
            "Each value is base64 of UTF-8 text (tus 1.0, creation).",
        ) from None


@router.post("/uploads", status_code=201, summary="Open an upload (tus creation)")
def create(request: Request) -> Response:
    """Metadata: dataset, period, mode (`new` unless named), sha256 of the whole ciphertext.

    Who sends while the file is still being encrypted declares its hash later: see `append`.
    """
    service: Service = request.app.state.service
    actor = request.app.state.actor(request)
    _speaks_tus(request)
    metadata = _metadata(request.headers.get("upload-metadata", ""))
    missing = [name for name in ("dataset", "period") if not metadata.get(name)]
    if missing:
        raise Problem(
            "bad-request",
            f"Upload-Metadata lacks {', '.join(missing)}.",
            "Name dataset and period, and mode and the SHA-256 of the encrypted file besides.",
        )

    def do(work: Work) -> dict[str, str]:
        deliveries.refuse_too_many(work, service.settings.open_uploads, _patience(service))
        delivery = deliveries.create_upload(
            work,
            metadata["dataset"],
            metadata["period"],
            metadata.get("mode") or "new",
            metadata.get("sha256", "").lower(),
            _number(request, "upload-length"),
            service.settings.longest_upload,
        )
        return {"Location": f"/uploads/{delivery.id}", **_expires(service, delivery)}

    said = (request.headers.get(name, "") for name in ("upload-metadata", "upload-length"))
    asked = idempotency.asked_of(request, *(text.encode() for text in said))
    change = idempotency.Change(service, actor, idempotency.key_of(request), asked)
    return Response(status_code=201, headers=change(do))


@router.head("/uploads/{delivery}", summary="Where an upload stands")
def offset(request: Request, delivery: str) -> Response:
    """tus: the offset from which to go on."""
    service: Service = request.app.state.service
    actor = request.app.state.actor(request)
    _speaks_tus(request)
    with service.look(actor) as work:
        row = deliveries.open_upload(work, delivery, "upload.read", _patience(service))
    if row.state == "uploading" and row.offset == row.length:
        row = _finish_unless_busy(service, actor, row)
    headers = {
        "Upload-Offset": str(row.offset),
        "Upload-Length": str(row.length),
        "Upload-Metadata": _as_metadata(row),
        "Cache-Control": "no-store",
        **_expires(service, row),
    }
    return Response(status_code=200, headers=headers)


def _as_metadata(row: Delivery) -> str:
    """What was kept of the metadata at creation; other keys and their values never were."""
    kept = {
        "dataset": row.dataset,
        "period": row.period,
        "mode": row.mode,
        "sha256": row.declared_sha256,
    }
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in kept.items() if value
    )


def _finish_unless_busy(service: Service, actor: Actor, row: Delivery) -> Delivery:
    """Asked at HEAD too, for the case that a process was killed between last byte and receipt."""
    try:
        file = service.objects.append(str(row.upload))
    except ObjectBusy:
        return row  # the request that wrote the last bytes is finishing it
    try:
        return _finish_if_complete(service, actor, row)
    finally:
        file.abandon()
        file.close()


@router.delete("/uploads/{delivery}", status_code=204, summary="Give an upload up")
def withdraw(request: Request, delivery: str) -> Response:
    """tus termination: the bytes are gone when the answer comes, and a writer's request ends."""
    service: Service = request.app.state.service
    actor = request.app.state.actor(request)
    _speaks_tus(request)
    with service.work(actor) as work:
        name = deliveries.withdraw_upload(work, delivery, _patience(service))
    service.objects.delete(name)
    return Response(status_code=204)


def _checksum(request: Request) -> tuple[Any, bytes] | None:
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    name, _, digest = text.partition(" ")
    if name not in ("sha256", "sha1"):
        raise Problem(
            "bad-request", "This checksum algorithm isn't known.", "Use sha256 (or sha1)."
        )
    try:
        expected = base64.b64decode(digest, validate=True)
    except ValueError:
        raise Problem("bad-request", "The checksum is not base64.", "Use a tus client.") from None
    return hashlib.new(name, usedforsecurity=False), expected


@router.patch("/uploads/{delivery}", status_code=204, summary="Send bytes")
async def append(request: Request, delivery: str) -> Response:
    """tus: bytes from an offset on. What arrived before a broken line stays.

    Upload-Metadata may hold the sha256 of the whole, if it wasn't declared at creation; it has to
    with the request that brings the last byte.
    """
    service: Service = request.app.state.service
    actor = await run_in_threadpool(request.app.state.actor, request)
    _speaks_tus(request)
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise Problem(
            "wrong-media-type",
            "An upload's bytes are application/offset+octet-stream.",
            "Use a tus client, or `schakel upload`.",
        )
    start, checksum = _number(request, "upload-offset"), _checksum(request)
    sha256 = _metadata(request.headers.get("upload-metadata", "")).get("sha256", "").lower()
    row = await _receive(service, actor, request, delivery, start, checksum, sha256)
    headers = {"Upload-Offset": str(row.offset), **_expires(service, row)}
    return Response(status_code=204, headers=headers)


async def _receive(
    service: Service,
    actor: Actor,
    request: Request,
    delivery: str,
    start: int,
    checksum: tuple[Any, bytes] | None,
    sha256: str,
) -> Delivery:
    file, row = await run_in_threadpool(_held, service, actor, delivery, start, sha256)
    stalled = False
    try:
        try:
            await _write_body(request, file, start, row, checksum)
        except (ClientDisconnect, TimeoutError) as broken:
            stalled = isinstance(broken, TimeoutError)
            if checksum is not None:  # the rest never came, so the checksum can't hold
                file.cut(start)
        except Problem:
            file.cut(start)
            raise
        row = await run_in_threadpool(_acknowledge, service, actor, delivery, start, file)
    finally:
        file.close()
    if stalled:
        raise STALLED
    return row


UNDECLARED = Problem(
    "bad-request",
    "The last bytes came in, and the SHA-256 of the whole was never declared. They were not kept.",
    "Send them again with Upload-Metadata: sha256, and the hexadecimal digits in base64.",
)
STALLED = Problem(
    "upload-stalled",
    f"No byte came for {IDLE:.0f} seconds, so this request was ended.",
    "Ask for the offset (HEAD) and go on from there.",
)


BUSY = Problem(
    "upload-busy",
    "Another request is writing to this upload.",
    "Wait until it has ended, ask for the offset (HEAD) and go on from there.",
)
WITHDRAWN = Problem(
    "upload-over",
    "This upload was given up while its bytes came in; none of them was kept.",
    "Open another one and send the encrypted file again.",
)


def _held(
    service: Service, actor: Actor, delivery: str, start: int, sha256: str
) -> tuple[Growing, Delivery]:
    """The object, locked, and the upload. The offset is looked at under the lock.

    Looked at before it, the offset could be another writer's past: cutting the file there would
    lose bytes that were acknowledged.
    """
    with service.look(actor) as work:
        row = deliveries.open_upload(work, delivery, "upload.append", _patience(service))
    try:
        file = service.objects.append(str(row.upload))
    except ObjectBusy:
        raise BUSY from None
    try:
        with service.work(actor) as work:
            row = deliveries.advance_upload(work, delivery, start, start, _patience(service))
            if sha256:
                deliveries.declare(row, sha256)
        file.begin(start)
    except BaseException:
        file.abandon()
        file.close()
        raise
    return file, row


async def _write_body(
    request: Request,
    file: Growing,
    start: int,
    row: Delivery,
    checksum: tuple[Any, bytes] | None,
) -> None:
    """Write pieces as they come; the first bytes are looked at before any is kept."""
    begun = bytearray(file.start(MAGIC_LENGTH) if start < MAGIC_LENGTH else b"?" * MAGIC_LENGTH)
    room = row.length - start
    digest = checksum[0] if checksum else None

    def write(data: bytes) -> None:
        if digest is not None:
            digest.update(data)
        if file.removed:
            raise WITHDRAWN
        file.write(data)

    async with _Behind(write) as keep:
        async for piece in _pieces(request):
            room -= len(piece)
            if room < 0:
                raise Problem(
                    "too-large",
                    "More bytes came than the upload was declared with.",
                    "Declare the length of the encrypted file (Upload-Length).",
                )
            if len(begun) < MAGIC_LENGTH:
                begun += piece[:MAGIC_LENGTH]
                refused = plaintext_problem(bytes(begun[:MAGIC_LENGTH]))
                if refused is not None:
                    raise refused
            await keep(piece)
    if room == 0 and not row.declared_sha256:
        raise UNDECLARED
    if checksum is not None and digest is not None and digest.digest() != checksum[1]:
        raise Problem(
            "checksum-mismatch",
            "The bytes of this request arrived damaged and were not kept.",
            "Send them again from the same offset.",
        )


class _Behind:
    """Does something with each piece in a thread, while the next one is received.

    Leaving the block waits for the last: the file is nobody else's before.
    """

    def __init__(self, work: Callable[[bytes], None]) -> None:
        self._work = work
        self._last: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Callable[[bytes], Awaitable[None]]:
        return self._next

    async def __aexit__(self, *_: object) -> None:
        await self._done()

    async def _next(self, data: bytes) -> None:
        await self._done()
        self._last = asyncio.ensure_future(run_in_threadpool(self._work, data))

    async def _done(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await last


async def _pieces(request: Request) -> Any:
    """The body in pieces of a mebibyte or so: fewer trips to the disk.

    One clock is wound up again for each bit that comes; a new one for each would cost more than
    receiving it.
    """
    held, now = bytearray(), asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(IDLE) as patience:
            async for data in request.stream():
                held += data
                if len(held) >= PIECE:
                    patience.reschedule(None)
                    yield bytes(held)
                    held.clear()
                patience.reschedule(now() + IDLE)
    except (ClientDisconnect, TimeoutError):
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


def _acknowledge(
    service: Service, actor: Actor, delivery: str, start: int, file: Growing
) -> Delivery:
    reached = file.sync()
    with service.work(actor) as work:
        row = deliveries.advance_upload(work, delivery, start, reached, _patience(service))
    file.acknowledged()
    return _finish_if_complete(service, actor, row)


def _finish_if_complete(service: Service, actor: Actor, row: Delivery) -> Delivery:
    """Everything is there: compare hashes and give the receipt."""
    if row.state != "uploading" or row.offset < row.length:
        return row
    name = str(row.upload)
    try:
        sha256 = service.objects.sha256(name)
    except FileNotFoundError:
        sha256 = ""  # another request finished it meanwhile; if none did, the bytes are lost
    with service.work(actor) as work:
        row = deliveries.finish_upload(work, row.id, sha256)
    if row.state != "rejected":
        return row
    service.objects.delete(name)
    reason = (row.report or {})["problem"]
    if reason in REJECTED:
        raise Problem(reason, *REJECTED[reason])
    return row


REJECTED = {
    "ciphertext-mismatch": (
        "All bytes came in, but they are not the ones that were declared.",
        "Upload the encrypted file again; encrypting anew gives another file and another hash.",
    ),
    "already-delivered": (
        "Another upload of this dataset for this period came in whole before this one.",
        "Nothing has to be sent again; `schakel delivery list` tells how it stands.",
    ),
    "nothing-stands": (
        "What this upload was to change was withdrawn before it was whole.",
        "Send the file as a new delivery.",
    ),
}


def actor_of(service: Service) -> Callable[[Request], Actor]:
    """What finds out who sends a request; refusals of strangers are counted."""

    def find(request: Request) -> Actor:
        now = service.clock.now()
        try:
            with store.reading(service.engine) as session:
                known = auth.actor(
                    session,
                    service.vault,
                    service.settings,
                    request.headers.get("authorization"),
                    now,
                )
        except Problem as problem:
            with store.writing(service.engine) as session:
                auth.count_stranger(session, problem.type, now)
            raise
        request.state.actor = known
        return known

    return find
