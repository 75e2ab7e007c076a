"""How a process speaks to the vault's: one call, one answer, over a Unix socket.

A message is two lengths of 4 bytes (big-endian), canonical JSON of the first length, and as many
bytes of data as the second says: columns of ids travel there as they are, everything else is in the
JSON, bytes in base64url. Nothing in it is code or names a type; both lengths have a limit, and so
has the time between the first byte of a message and its last. Memory is taken as bytes come, not as
they are announced.

    call     {"call": name, …}
    answer   {…}, or {"error": class in `errors`, "text": …}
"""

import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from keyvault.errors import SignatureError
from keyvault.signing import canonical, read_canonical

LONGEST_DOCUMENT = 4 << 20
LONGEST_DATA = 32 << 20
PATIENCE = 60.0
"""Seconds that either side waits for the other to take or to finish a message."""

CREDENTIALS = struct.Struct("3i")
"""Process, user and group of the other side, as the kernel tells them (SO_PEERCRED, unix(7))."""

_LENGTHS = struct.Struct(">II")
_PIECE = 1 << 20


class Broken(Exception):  # noqa: N818 - what became of the connection
    """The other side has gone, or doesn't speak like this."""


def send(to: socket.socket, document: Mapping[str, Any], data: bytes = b"") -> None:
    """Send one message."""
    text = canonical(document)
    if len(text) > LONGEST_DOCUMENT or len(data) > LONGEST_DATA:
        raise Broken("The message is longer than one may be.")
    try:
        to.settimeout(PATIENCE)
        to.sendall(_LENGTHS.pack(len(text), len(data)) + text)
        if data:
            to.sendall(data)
    except OSError:
        raise Broken("The other side took no more.") from None


def receive(source: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The next message's document and data."""
    return rest(source, begun(source))


def begun(source: socket.socket) -> tuple[int, int]:
    """Wait, as long as the socket's own patience is, for a message; its two lengths."""
    first = _exactly(source, 1)
    others = _exactly(source, _LENGTHS.size - 1, time.monotonic() + PATIENCE)
    length, more = _LENGTHS.unpack(first + others)
    if length > LONGEST_DOCUMENT or more > LONGEST_DATA:
        raise Broken("The message is longer than one may be.")
    return length, more


def rest(source: socket.socket, lengths: tuple[int, int]) -> tuple[dict[str, Any], bytes]:
    """The document and data of a message that has begun; all of it within PATIENCE."""
    until = time.monotonic() + PATIENCE
    try:
        document = read_canonical(_exactly(source, lengths[0], until))
    except SignatureError:
        raise Broken("The message is no canonical JSON.") from None
    return document, _exactly(source, lengths[1], until)


def _exactly(source: socket.socket, count: int, until: float | None = None) -> bytes:
    """That many bytes, until a moment of the monotonic clock if one is given."""
    data = bytearray()
    while len(data) < count:
        try:
            if until is not None:
                source.settimeout(max(until - time.monotonic(), 0.001))
            got = source.recv(min(count - len(data), _PIECE))
        except OSError:
            raise Broken("The other side is silent.") from None
        if not got:
            raise Broken("The other side has gone.")
        data += got
    return bytes(data)
