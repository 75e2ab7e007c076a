"""Bare tus requests as no client of ours would send them, and API processes beside the house's."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from api.client import TUS, Client

BYTES = {"Content-Type": "application/offset+octet-stream"}


def send(
    client: Client, method: str, path: str, data: bytes = b"", server: str = "", **headers: str
) -> httpx.Response:
    """One request of a person to an upload, at their own server or at another's door."""
    return httpx.request(
        method,
        (server or client.profile.server) + path,
        content=data,
        headers={**TUS, "Authorization": f"Bearer {client.token()}", **headers},
        timeout=30,
    )


def patch(
    client: Client, location: str, offset: int, data: bytes, server: str = "", **headers: Any
) -> httpx.Response:
    """Bytes at an offset."""
    told = {**BYTES, "Upload-Offset": str(offset), **headers}
    return send(client, "PATCH", location, data, server, **told)


@contextlib.contextmanager
def half_sent(
    client: Client, location: str, offset: int, data: bytes, announced: int, server: str = ""
) -> Iterator[socket.socket]:
    """A PATCH over a bare socket that announced more than came; the line is cut at the end."""
    address = urlsplit(server or client.profile.server)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Tus-Resumable: 1.0.0\r\nAuthorization: Bearer {client.token()}\r\n"
        f"Upload-Offset: {offset}\r\nContent-Type: {BYTES['Content-Type']}\r\n"
        f"Content-Length: {announced}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(head.encode() + data)
        yield line


class Door:
    """An API process of its own over a data folder; it can be killed and opened again."""

    def __init__(self, data: Path, port: int = 0) -> None:
        self._command = [sys.executable, "-m", "tests.api.tus", str(data)]
        self._open(port)

    def _open(self, port: int) -> None:
        self._process = subprocess.Popen(
            [*self._command, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def server(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """`kill -9`: nothing in it gets a chance to tidy up."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def again(self) -> None:
        """Killed, and open again at the same address."""
        self.kill()
        self._open(self.port)


def main(data: str, port: str) -> None:
    """The API over a founded service, without a worker; its port is told first."""
    import uvicorn

    from api.app import create_app
    from api.service import Service
    from api.settings import Settings

    app = create_app(Service.open(Settings(data=Path(data))))
    config = uvicorn.Config(app, port=int(port), log_config=None, lifespan="off")
    listening = config.bind_socket()
    listening.listen()  # whoever reads the port may come at once
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
