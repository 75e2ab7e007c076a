"""Every custody, made and opened the way that people do; and a token of one's own to try."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyvault.custody import Custody, FileCustody, Lock, custody_at, hsm, passphrase, shares
from keyvault.custody.passphrase import Cost
from tests.conftest import missing

LIBRARIES = tuple(
    Path(folder) / "softhsm" / "libsofthsm2.so"
    for folder in ("/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
)
PASSPHRASE = "correct horse battery staple"
PIN = "271828"
TOKEN = "schakel-tests"
CHEAP = Cost(memory=64, passes=1, lanes=1)


@dataclass
class Kept:
    """One custody at a path, and what its people hold."""

    kind: str
    path: Path
    library: str = ""
    words: list[str] = field(default_factory=list)
    opened: list[Any] = field(default_factory=list)

    def create(self, *, first: int = 1) -> Custody:
        """Make it, and have its people open it."""
        match self.kind:
            case "file":
                FileCustody.create(self.path, first=first)
            case "passphrase":
                passphrase.create(self.path, PASSPHRASE, first=first, cost=CHEAP)
                self.words = [PASSPHRASE]
            case "shares":
                self.words = shares.create(self.path, 2, 3, first=first)
            case "hsm":
                hsm.create(self.path, self.library, TOKEN, PIN, first=first).close()
                self.words = [PIN]
        return self.open()

    def open(self) -> Custody:
        """A new start: whoever held the token before is gone."""
        self.close()
        custody: Custody | Lock | None = custody_at(self.path)
        if isinstance(custody, Lock):
            lock, custody = custody, None
            for words in self.words[: lock.needed]:
                custody = lock.offer(words)
        assert custody is not None
        self.opened.append(custody)
        return custody  # type: ignore[return-value]

    def close(self) -> None:
        """Only a token has to be let go of, and only once."""
        while self.opened:
            close: Callable[[], None] | None = getattr(self.opened.pop(), "close", None)
            if close is not None:
                close()


@contextmanager
def token(folder: Path) -> Iterator[str]:
    """A token of SoftHSM2 in a folder; the library's path."""
    library = next((path for path in LIBRARIES if path.exists()), None)
    if library is None:
        missing("SoftHSM2 is not installed (Debian package softhsm2)")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN]
    subprocess.run([*command, "--so-pin", "31415926"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield str(library)
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before
