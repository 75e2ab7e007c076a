"""The seven flows as acts of a process that is to be disturbed while it does one of them.

`python -m tests.faults.acts` forks a process for each line on its standard input, so that a
thousand of them don't import everything a thousand times. Each opens the service, gets ready, stops
(SIGSTOP) until somebody has attached a tracer, does its act and tells what was acknowledged by a
message on a socket, which is none of the calls that are disturbed.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from api.service import Service
from api.settings import Settings
from api.worker import Worker

UPLOADS = ("create", "append", "finish")
JOBS = {"intake": "intake", "link": "link", "release": "build", "envelopes": "envelopes"}
FLOWS = (*UPLOADS, *JOBS, "rotate", "note")
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}

Act = Callable[[], dict[str, Any]]


class Acts:
    """One process's hold on a service, and what it can be asked for."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._service = Service.open(Settings(data=Path(asked["data"])))
        app: Any = create_app(self._service)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://here")
        self._loop = asyncio.new_event_loop()
        self._headers = {"Authorization": f"Bearer {asked.get('token')}"}

    def ready(self) -> Act:
        """Everything but the act itself."""
        flow = self._asked["flow"]
        if flow in JOBS:
            return self._job
        if flow == "rotate":
            return lambda: self._told(self._post("/vault/root", json=self._asked["ceremony"]))
        if flow == "note":
            body = {"id": "late", "name": "Late"}
            return lambda: self._told(self._post("/organisations", json=body))
        if flow == "create":
            return self._created
        location, half = self._created()["location"], self._asked["length"] // 2
        if flow == "finish":
            self._sent(location, 0, half)
            return lambda: self._sent(location, half, self._asked["length"])
        return lambda: self._sent(location, 0, half)

    def _post(self, path: str, **more: Any) -> httpx.Response:
        headers = {**self._headers, **more.pop("headers", {})}
        return self._loop.run_until_complete(self._http.post(path, headers=headers, **more))

    @staticmethod
    def _told(answer: Any) -> dict[str, Any]:
        content = answer.json() if answer.content else None
        return {"status": answer.status_code, "content": content}

    def _created(self) -> dict[str, Any]:
        headers = {
            **TUS,
            "Upload-Length": str(self._asked["length"]),
            "Upload-Metadata": self._asked["metadata"],
        }
        answer = self._post("/uploads", headers=headers)
        return {**self._told(answer), "location": answer.headers.get("location")}

    def _sent(self, location: str, start: int, end: int) -> dict[str, Any]:
        with Path(self._asked["ciphertext"]).open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        headers = {**self._headers, **BYTES, "Upload-Offset": str(start)}
        asked = self._http.patch(location, content=data, headers=headers)
        answer = self._loop.run_until_complete(asked)
        offset = answer.headers.get("upload-offset") if answer.is_success else None
        return {**self._told(answer), "location": location, "offset": offset}

    def _job(self) -> dict[str, Any]:
        return {"status": 200 if Worker(self._service).step() else 500}


def _live(asked: dict[str, Any]) -> None:
    """A process's life: get ready, stand still, act, tell."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.connect(asked["told"])
    act = Acts(asked).ready()
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        answer = act()
    except Exception as error:
        answer = {"status": 500, "error": type(error).__name__}
    told.send(json.dumps(answer).encode())


def main() -> None:
    """Fork a process for each line, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for target in (1, 2):
                os.dup2(log, target)
            try:
                _live(asked)
            finally:
                os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
