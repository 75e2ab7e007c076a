"""An extract becomes an age file, in threads of its own; what there is of it can be sent already.

The length of the whole is known as soon as age's header is written (https://age-encryption.org/v1):
after it come 16 bytes, and 16 more for each 64 KiB of the extract or part of them. Its hash is
known at the end.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pyrage

from api.flow import Flow

PIECE = 1 << 20
AHEAD = 16
"""Pieces that encryption may be ahead of hashing and writing."""
READ = 256 << 10
CHUNK, TAG, NONCE = 64 << 10, 16, 16
LAST_LINE = b"\n--- "


class ExtractChanged(Exception):  # noqa: N818 - what happened to it
    """The extract was written to while it was being encrypted."""


class _Stopped(Exception):  # noqa: N818 - what was asked for
    """Nobody wants the rest."""


class Sealing:
    """The encryption of one file into another. Leaving the block stops what is still under way."""

    def __init__(
        self,
        source: Path,
        target: Path,
        recipient: str,
        tell: Callable[[int, int], None],
        *,
        at_end: Callable[[str], object] = lambda _sha256: None,
    ) -> None:
        """`tell` hears how many bytes of how many there are, `at_end` the hex SHA-256.

        `at_end` is called once everything is durable, in a thread of the encryption's own.
        """
        self._source, self._target = source, target
        self._recipient = pyrage.x25519.Recipient.from_str(recipient)
        self._tell, self._at_end = tell, at_end
        self._size = source.stat().st_size
        self._changed = threading.Condition()
        self._length = 0
        self._reached = 0
        self._stopped = False
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Sealing":
        self._whole = self._thread.submit(self._seal)
        self._whole.add_done_callback(lambda _whole: self._wake())
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.shutdown()

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._whole.done()

    def length(self) -> int:
        """Bytes of the whole age file, once that is known."""
        self._wait(lambda: self._length > 0)
        return self._length

    def reached(self, beyond: int) -> int:
        """How many bytes are in the file, once there are more than `beyond`."""
        self._wait(lambda: self._reached > beyond)
        return self._reached

    def sha256(self) -> str:
        """Hex SHA-256 of the whole, once it is there and durable.

        Raises `ExtractChanged` and whatever reading and writing files can raise, as the others do.
        """
        return self._whole.result()

    def _wait(self, there: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: there() or self.over)
        if self.over:
            self._whole.result()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- in its own thread ------------------------------------------------------------------------

    def _seal(self) -> str:
        with (
            self._source.open("rb", buffering=READ) as plain,
            self._target.open("wb") as file,
            _Behind(file, self._kept) as behind,
        ):
            try:
                pyrage.encrypt_io(plain, _Heads(behind, self._headed), [self._recipient])
            except pyrage.EncryptError as error:  # of a fault in writing it holds the text only
                raise behind.fault or error from None
            behind.finish()
            if file.tell() != self._length:
                raise ExtractChanged(
                    f"{self._source} changed while it was being encrypted. Give the command again "
                    "when nothing writes to it any more."
                )
            os.fsync(file.fileno())
        sha256 = behind.digest.hexdigest()
        self._at_end(sha256)
        return sha256

    def _headed(self, header: int) -> None:
        chunks = max(1, -(-self._size // CHUNK))
        self._length = header + NONCE + self._size + chunks * TAG
        self._wake()

    def _kept(self, reached: int) -> None:
        """More is in the file; called in the thread that writes it."""
        if self._stopped:
            raise _Stopped
        self._reached = reached
        self._wake()
        self._tell(reached, self._length)


class _Heads:
    """Where age writes to: finds out where its header ends."""

    def __init__(self, behind: "_Behind", found: Callable[[int], None]) -> None:
        self._behind, self._found = behind, found
        self._header = bytearray()
        self.write = self._look

    def _look(self, data: bytes) -> int:
        self._header += data
        last = self._header.find(LAST_LINE)
        end = self._header.find(b"\n", last + len(LAST_LINE)) if last >= 0 else -1
        if end >= 0:
            self._found(end + 1)
            self.write = self._behind.write
        return self._behind.write(data)

    def flush(self) -> None:
        """Nothing: the end of it writes what is held."""


class _Behind:
    """A file that another thread hashes and writes, while the next bytes are made."""

    def __init__(self, file: BinaryIO, kept: Callable[[int], None]) -> None:
        self._file, self._flow, self._kept = file, Flow(file.fileno()), kept
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        self._held: list[bytes] = []
        self._size = 0
        self.digest = hashlib.sha256()
        self.fault: BaseException | None = None

    def __enter__(self) -> "_Behind":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def write(self, data: bytes) -> int:
        """Take bytes; an error of writing is raised at one of the next calls."""
        self._held.append(data)
        self._size += len(data)
        if self._size >= PIECE:
            self._pass_on()
        return len(data)

    def finish(self) -> None:
        """Wait until everything is hashed and written."""
        self._pass_on()
        while self._pending:
            self._pending.popleft().result()

    def _pass_on(self) -> None:
        if len(self._pending) == AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._keep, self._held))
        self._held, self._size = [], 0

    def _keep(self, pieces: list[bytes]) -> None:
        if self.fault is not None:
            return  # what comes after a gap is of no use
        try:
            data = b"".join(pieces)
            self.digest.update(data)
            self._file.write(data)
            self._file.flush()
            self._flow.written(self._file.tell())
            self._kept(self._file.tell())
        except BaseException as error:
            self.fault = error
            raise
