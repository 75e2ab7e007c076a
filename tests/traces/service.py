"""The demo's people around `schakel serve`; every word it says and every answer is kept."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx

from api.client import Client
from api.settings import Clock
from tests.api.house import House

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Watched(House):
    """A house whose service is a program of its own; `disk` holds all that it may write.

    `outside` is everybody else's: extracts, profiles, captured output, armed faults. `roles` are
    the processes that it is made of, where it isn't everything in two.
    """

    def __init__(self, disk: Path, outside: Path, roles: str = "") -> None:
        super().__init__(disk)
        self.roles = ["--roles", roles] if roles else []
        self.story.folder = outside
        self.outside, self.faults = outside, outside / "faults"
        self.service_temp, self.caller_temp = disk / "tmp", outside / "tmp"
        self.log = outside / "service.log"
        self.answers: list[tuple[str, bytes]] = []
        for folder in (self.faults, self.service_temp, self.caller_temp, outside / "profiles"):
            folder.mkdir()

    def start(self, days: int = 0) -> None:
        """Start the service and wait until it listens."""
        assert not days
        self.clock = Clock()
        with self.log.open("ab") as log:
            self._program = subprocess.Popen(
                [sys.executable, "-c", "from api.cli import main; main()", "serve",
                 "--data", str(self.settings.data), "--port", "0", *self.roles],
                stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.service_temp,
                env={
                    **os.environ, "TMPDIR": str(self.service_temp), "PYTHONUNBUFFERED": "1",
                    "PYTHONPATH": f"{HERE / 'injected'}:{ROOT}", "SCHAKEL_LEASE_SECONDS": "3",
                    "SCHAKEL_TEST_FAULTS": str(self.faults),
                },
            )  # fmt: skip
        assert self._program.stdout is not None
        for line in self._program.stdout:  # each process says that it works
            address = line.rpartition(" ")[2].strip()
            if address.startswith("http"):
                break
        self._clients = {}
        for person, profile in self.profiles.items():
            client = Client(replace(profile, server=address), clock=self.clock)
            client._http.event_hooks["response"].append(self._heard)
            self._clients[person] = client
        self.server = address

    def _heard(self, response: httpx.Response) -> None:
        response.read()
        asked = response.request
        template = asked.url.path.partition("/")[2].partition("/")[0]
        self.answers.append(
            (f"{asked.method} /{template} {response.status_code}", _whole(response))
        )

    def stop(self) -> None:
        """End it in good order; what it said goes to the log."""
        for client in self._clients.values():
            client.close()
        self._clients = {}
        self._program.send_signal(signal.SIGTERM)
        told, _ = self._program.communicate(timeout=60)
        with self.log.open("a") as log:
            log.write(told)

    # -- faults -----------------------------------------------------------------------------------

    def arm(self, site: str, kind: str, data: str) -> None:
        """The next one who passes this place of the program fails (or waits) with the data."""
        waiting = self.faults / "arming"
        waiting.write_text(f"{kind}\n{data}", encoding="utf-8")
        waiting.rename(self.faults / site)

    def armed(self, site: str) -> bool:
        """Whether nobody passed there yet."""
        return (self.faults / site).exists()

    @property
    def held(self) -> int | None:
        """The process that waits, if one does."""
        try:
            return int((self.faults / "held").read_text() or 0) or None
        except FileNotFoundError:
            return None

    # -- callers ----------------------------------------------------------------------------------

    def terminal(self, person: str, *arguments: str, code: int = 0) -> str:
        """A command of somebody's; what it prints is kept too."""
        kept = self.outside / "profiles" / f"{person}.json"
        if not kept.exists():
            kept.write_text(json.dumps(asdict(self[person].profile)))
        ended = subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()",
             "--profile", person, *arguments],
            capture_output=True, text=True, cwd=self.outside,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.caller_temp),
                "SCHAKEL_PROFILES": str(self.outside / "profiles"),
            },
        )  # fmt: skip
        assert ended.returncode == code, ended.stdout + ended.stderr
        self.answers.append(("terminal", (ended.stdout + ended.stderr).encode()))
        return ended.stdout

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None,
        person: str | None = "statistician-1",
    ) -> httpx.Response:  # fmt: skip
        """Any request at all, as somebody or as a stranger; the answer is kept."""
        known = {"Authorization": f"Bearer {self[person].token()}"} if person else {}
        given = {
            name.encode("latin-1", "replace"): text.encode("utf-8")
            for name, text in {**known, **(headers or {})}.items()
        }
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        response = httpx.request(
            method, self.server + path, headers=list(given.items()), content=content, timeout=30
        )
        self._heard(response)
        return response


def _whole(response: httpx.Response) -> bytes:
    """Status line, headers and body."""
    lines: Sequence[tuple[bytes, bytes]] = response.headers.raw
    return b"\n".join([*(name + b": " + text for name, text in lines), response.content])
