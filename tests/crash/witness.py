"""What a client was told, kept to be held against what is there in the end."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

DELIVERY = ("uploading", "received", "checking", "accepted")
RELEASE = ("building", "built", "cleared")


class Witness:
    """Hears every answer that clients get, and notices when the service goes back on one.

    `faults` are sentences about broken promises; `under_way` the requests that wait for an answer.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.under_way: dict[int, str] = {}
        self.offsets: dict[str, int] = {}
        self.things: dict[str, dict[str, Any]] = {}
        self.rotations: list[int] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def line(self) -> httpx.BaseTransport:
        """A connection on which the witness listens."""
        return _Line(self)

    @contextmanager
    def asking(self, request: str) -> Iterator[None]:
        """A request that waits for its answer."""
        number = next(self._numbers)
        self.under_way[number] = request
        try:
            yield
        finally:
            del self.under_way[number]

    def heard(self, method: str, path: str, headers: httpx.Headers, content: bytes) -> None:
        """An answer that said yes: it may never be taken back."""
        with self._lock:
            if "upload-offset" in headers:
                self._offset(path.rpartition("/")[2], int(headers["upload-offset"]))
            if not content or "json" not in headers.get("content-type", ""):
                return
            body = json.loads(content)
            if path == "/vault/root" and method == "POST":
                self.rotations.append(body["root_version"])
            for thing in body if isinstance(body, list) else [body]:
                if isinstance(thing, dict) and "state" in thing:
                    self._thing(thing)

    def _offset(self, delivery: str, offset: int) -> None:
        if offset < self.offsets.get(delivery, 0):
            self.faults.append(f"the offset of {delivery} went back to {offset}")
        self.offsets[delivery] = offset

    def _thing(self, thing: dict[str, Any]) -> None:
        identifier = str(thing["id"])
        states = {"delivery": DELIVERY, "release": RELEASE}.get(identifier.partition("-")[0])
        if states is None:
            return
        before = self.things.get(identifier, {})
        if thing["state"] not in states:
            self.faults.append(f"{identifier} became {thing['state']}")
            return
        if before and states.index(thing["state"]) < states.index(before["state"]):
            self.faults.append(f"{identifier} was {before['state']} and is {thing['state']}")
        for name in ("receipt", "manifest_sha256", "clearance"):
            if before.get(name) is not None and thing.get(name) != before[name]:
                self.faults.append(f"the {name} of {identifier} is another one than before")
        if "offset" in thing:
            self._offset(identifier, int(thing["offset"]))
        self.things[identifier] = thing


class _Line(httpx.BaseTransport):
    def __init__(self, witness: Witness) -> None:
        self._witness, self._inner = witness, httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        with self._witness.asking(f"{method} {path}"):
            answer = self._inner.handle_request(request)
            content = answer.read()
        if answer.is_success:
            self._witness.heard(method, path, answer.headers, content)
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self) -> None:
        self._inner.close()
