"""A line that breaks: a proxy that does something each time so many bytes went up through it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable

PIECE = 4096


class BadLine:
    """Carries connections to a port; at each of `cuts` (bytes upwards, in all) it hangs up.

    `broken` is called before the line is cut, with nothing being carried meanwhile: a server can
    be killed in the middle of a request that way.
    """

    def __init__(
        self, port: int, cuts: Iterable[int] = (), broken: Callable[[], None] = lambda: None
    ) -> None:
        self._target, self._cuts, self._broken = port, sorted(cuts), broken
        self._carried, self._lock = 0, threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "BadLine":
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    @property
    def server(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def cuts_left(self) -> int:
        """How many times it will still break."""
        return len(self._cuts)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: nobody wants the line any more
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._target))
            back = threading.Thread(target=_pour, args=(server, caller), daemon=True)
            back.start()
            with server, contextlib.suppress(OSError):
                while (piece := caller.recv(PIECE)) and self._passed(piece, server):
                    pass
                for end in (caller, server):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                back.join()

    def _passed(self, piece: bytes, server: socket.socket) -> bool:
        """Send on what may still pass; whether the line holds."""
        with self._lock:
            room = self._cuts[0] - self._carried if self._cuts else len(piece) + 1
            server.sendall(piece[:room])
            self._carried += min(room, len(piece))
            if len(piece) < room:
                return True
            self._cuts.pop(0)
            self._broken()
            return False


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
