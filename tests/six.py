"""The service as six processes, one per role: under one user, or as root under six of them."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.client import Client
from api.demo.cast import Cast
from api.serving import ROLES
from api.settings import Clock

USERS = {role: 61001 + number for number, role in enumerate(ROLES)}
GROUP = 61000
STRANGER = 61099

ROOT = Path(__file__).parents[1]


def users_text(users: Mapping[str, int]) -> str:
    """As the setting `role_users` takes it."""
    return ",".join(f"{role}={uid}" for role, uid in users.items())


class Python:
    """An interpreter with the packages that any user of the machine can run.

    Where this one lies behind a closed folder (somebody's home), what it needs is linked into an
    open one.
    """

    def __init__(self, open_folder: Path) -> None:
        base, site = Path(sys.base_prefix), Path(sysconfig.get_paths()["purelib"])
        self.program, self.environment = sys.executable, {"PYTHONPATH": str(ROOT)}
        if all(_reachable(path) for path in (Path(sys.executable).resolve(), base, site, ROOT)):
            return
        home = _linked(base, open_folder / "python", "site-packages", "test")
        site = site if _reachable(site) else _linked(site, open_folder / "site")
        here = ROOT if _reachable(ROOT) else _linked(ROOT, open_folder / "here", ".*", "var")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.program = str(home / "bin" / version)
        self.environment = {
            "PYTHONHOME": str(home),
            "PYTHONPATH": f"{here}:{site}",
            "LD_LIBRARY_PATH": str(home / "lib"),
        }


def _reachable(path: Path) -> bool:
    """Whether anybody may go there."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _linked(source: Path, to: Path, *without: str) -> Path:
    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:  # another file system
            shutil.copy2(one, other)

    shutil.copytree(
        source, to, copy_function=link, symlinks=True, ignore=shutil.ignore_patterns(*without)
    )
    return to


class Six(Cast):
    """The demo's people around six processes; `users` says which uid each role runs as."""

    def __init__(
        self, folder: Path, users: Mapping[str, int] | None = None, python: Python | None = None
    ) -> None:
        super().__init__(folder)
        self.users = users
        self.python = python or Python(folder)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.port = 0

    def found(self) -> None:
        """Found the service, and give its files to the six users if there are any."""
        super().found()
        if self.users:
            subprocess.run(
                [sys.executable, "-c", "from api.cli import main; main()", "roles", "prepare",
                 "--users", users_text(self.users), "--group", str(GROUP),
                 "--data", str(self.settings.data)],
                check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def start(self, days: int = 0) -> None:
        """Start all six at once; they find each other."""
        assert not days
        self.clock = Clock()
        for role in ROLES:
            self.begin(role)
        for role in ROLES:
            self.ready(role)

    def begin(self, role: str) -> None:
        """Start (or start anew) the process of a role, without waiting for it."""
        self.processes[role] = self.run(
            role,
            "-c", "from api.cli import main; main()", "serve", "--roles", role,
            "--data", str(self.settings.data), "--port", str(self.port),
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def ready(self, role: str) -> None:
        """Wait until a role's process says that it works."""
        out = self.processes[role].stdout
        assert out is not None
        line = out.readline()
        assert line, f"the process of {role} didn't start"
        if role == "api":
            address = line.rpartition(" ")[2].strip()
            self.port = int(address.rpartition(":")[2])  # the same when it is started anew
            self._clients = {
                person: Client(replace(profile, server=address), clock=self.clock)
                for person, profile in self.profiles.items()
            }

    def run(self, role: str | int, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start Python as a role's user, or another's, in the service's group."""
        environment = {**os.environ, **self.python.environment, "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONUNBUFFERED"] = "1"
        if self.users:
            environment["SCHAKEL_ROLE_USERS"] = users_text(self.users)
            uid = role if isinstance(role, int) else self.users[role]
            more |= {"user": uid, "group": uid, "extra_groups": [GROUP]}
        return subprocess.Popen(
            [self.python.program, *arguments], text=True, env=environment, cwd="/", **more
        )

    def kill(self, role: str) -> None:
        """SIGKILL the process of a role."""
        process = self.processes.pop(role)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def stop(self) -> None:
        """Stop all six, the vault's last."""
        for role in reversed(list(self.processes)):
            process = self.processes.pop(role)
            process.terminate()
            process.wait(timeout=30)
            if process.stdout is not None:
                process.stdout.close()
        Cast.stop(self)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter; pytest's are its own user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="schakel-six-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
