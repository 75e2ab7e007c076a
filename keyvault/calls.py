"""How a process speaks to the vault's: one call, one answer, over a Unix socket.

A message is two lengths of 4 bytes (big-endian), canonical JSON of the first length, and as many
bytes of data as the second says: columns of ids travel there as they are, everything else is in the
JSON, bytes in base64url. Nothing in it is code or names a type; both lengths have a limit, and so
has the time between the first byte of a message and its last.

    call     {"call": name, …}
    answer   {…}, or {"error": class in `errors`, "text": …}
"""

import socket
import struct
from collections.abc import Mapping
from typing import Any

from keyvault.errors import SignatureError
from keyvault.signing import canonical, read_canonical

LONGEST_DOCUMENT = 16 << 20
LONGEST_DATA = 64 << 20
PATIENCE = 60.0
"""Seconds that either side waits for the other's next bytes within a call."""

_LENGTHS = struct.Struct(">II")


class Broken(Exception):  # noqa: N818 - what became of the connection
    """The other side has gone, or doesn't speak like this."""


def send(to: socket.socket, document: Mapping[str, Any], data: bytes = b"") -> None:
    """Send one message."""
    text = canonical(document)
    if len(text) > LONGEST_DOCUMENT or len(data) > LONGEST_DATA:
        raise Broken("The message is longer than one may be.")
    try:
        to.sendall(_LENGTHS.pack(len(text), len(data)) + text)
        if data:
            to.sendall(data)
    except OSError:
        raise Broken("The other side took no more.") from None


def receive(source: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The next message's document and data."""
    first = _exactly(source, _LENGTHS.size)
    length, more = _LENGTHS.unpack(first)
    if length > LONGEST_DOCUMENT or more > LONGEST_DATA:
        raise Broken("The message is longer than one may be.")
    try:
        document = read_canonical(_exactly(source, length))
    except SignatureError:
        raise Broken("The message is no canonical JSON.") from None
    return document, _exactly(source, more)


def _exactly(source: socket.socket, count: int) -> bytes:
    """That many bytes; after the first of a message, the rest follow within PATIENCE."""
    data = bytearray(count)
    view, filled = memoryview(data), 0
    while filled < count:
        try:
            got = source.recv_into(view[filled:])
        except OSError:
            raise Broken("The other side is silent.") from None
        if not got:
            raise Broken("The other side has gone.")
        source.settimeout(PATIENCE)
        filled += got
    return bytes(data)
