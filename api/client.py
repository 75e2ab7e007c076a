"""The outside view: what the command line and other programs use to talk to a service.

`Client` gets its tokens by itself. `upload` encrypts on this machine first, keeps the ciphertext
until the receipt is there, and goes on where a broken line left off; `download` opens the envelope
here and checks every file against the signed manifest.
"""

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx
import pyrage

from api.profiles import Profile, private_key
from api.settings import Clock
from keyvault.errors import SignatureError
from keyvault.signing import verify_receipt
from keyvault.tokens import ASSERTION_TYPE, sign_assertion

PIECE = 1 << 20
REQUEST_PIECE = 8 << 20
TUS = {"Tus-Resumable": "1.0.0"}
PASSING = ("wrong-offset", "upload-busy", "checksum-mismatch")
"""Refusals of a piece that go away when it's sent again from where the upload stands."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and of how much."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """No progress wanted."""


class ServiceRefusal(Exception):  # noqa: N818 - the service's answer, not a fault of the client
    """The service said no; its problem details tell why and what to do next."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(f"{problem.get('detail', '')} {problem.get('next_step', '')}".strip())

    @property
    def type(self) -> str:
        """The problem's type without its prefix."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Unreachable(Exception):  # noqa: N818 - what it is
    """No service answers at the profile's address."""


@dataclass(frozen=True)
class Token:
    """An access token and the moment (seconds) from which a new one is wanted."""

    text: str
    renew_at: float


class Client:
    """A person's connection to a service."""

    def __init__(
        self,
        profile: Profile,
        *,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.profile = profile
        self._clock = clock or Clock()
        self._http = httpx.Client(base_url=profile.server, timeout=60.0, transport=transport)
        self._token: Token | None = None
        self._public: dict[str, Any] | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    # -- talking ----------------------------------------------------------------------------------

    def public(self) -> dict[str, Any]:
        """The service's public keys and name."""
        if self._public is None:
            self._public = self._answer(self._send("GET", "/keys"))
        return self._public

    def assertion(self) -> str:
        """A client assertion (RFC 7523): a minute long, for one use."""
        return sign_assertion(
            private_key(self.profile.authentication_key),
            subject=self.profile.person,
            audience=self.public()["issuer"],
            now=self._clock.now(),
        )

    def token(self) -> str:
        """A token that is good for a while yet."""
        now = time.monotonic()
        if self._token is None or now >= self._token.renew_at:
            answer = self._answer(
                self._send(
                    "POST",
                    "/token",
                    data={
                        "grant_type": "client_credentials",
                        "client_assertion_type": ASSERTION_TYPE,
                        "client_assertion": self.assertion(),
                    },
                )
            )
            self._token = Token(answer["access_token"], now + answer["expires_in"] * 0.8)
        return self._token.text

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request in the profile's name; a refusal is raised, an answer's JSON comes back."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self._answer(self._send(method, path, headers=headers, json=body))

    def get(self, path: str) -> Any:
        """Look something up."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """Ask for something to be done."""
        return self.call("POST", path, body)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        if arguments.get("json", 0) is None:
            del arguments["json"]
        try:
            return self._http.request(method, path, **arguments)
        except httpx.TransportError:
            raise Unreachable(
                f"No service answers at {self.profile.server}. Is it running (`schakel serve`)?"
            ) from None

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        if response.is_success:
            return response.json() if response.content else None
        try:
            problem = response.json()
        except ValueError:
            problem = {"detail": "The answer can't be read.", "next_step": "Is this the service?"}
        raise ServiceRefusal(response.status_code, problem)

    # -- uploads ----------------------------------------------------------------------------------

    def encrypt(self, source: Path, target: Path, progress: Progress = silent) -> None:
        """Encrypt an extract to the service's published recipient, on this machine."""
        recipient = pyrage.x25519.Recipient.from_str(self.public()["uploads"])
        size = source.stat().st_size
        with source.open("rb") as plain, target.open("wb") as sealed:
            pyrage.encrypt_io(_Told(plain, size, "encrypting", progress), sealed, [recipient])
            sealed.flush()
            os.fsync(sealed.fileno())

    def open_upload(self, ciphertext: Path, dataset: str, period: str) -> str:
        """Open an upload; the path under which its bytes are sent comes back."""
        digest = hashlib.sha256()
        with ciphertext.open("rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                digest.update(piece)
        metadata = {
            "dataset": dataset,
            "period": period,
            "mode": "new",
            "sha256": digest.hexdigest(),
        }
        response = self._send(
            "POST",
            "/uploads",
            headers={
                **TUS,
                "Authorization": f"Bearer {self.token()}",
                "Upload-Length": str(ciphertext.stat().st_size),
                "Upload-Metadata": ",".join(
                    f"{key} {base64.b64encode(value.encode()).decode()}"
                    for key, value in metadata.items()
                ),
            },
        )
        self._answer(response)
        return response.headers["Location"]

    def offset(self, location: str) -> int:
        """Where an upload stands."""
        response = self._send(
            "HEAD", location, headers={**TUS, "Authorization": f"Bearer {self.token()}"}
        )
        if not response.is_success:
            # HEAD answers carry no body, so the same is asked again in a way that does
            return int(self.get(f"/deliveries/{location.rpartition('/')[2]}")["offset"])
        return int(response.headers["Upload-Offset"])

    def send(self, location: str, ciphertext: Path, progress: Progress = silent) -> None:
        """Send what is still missing, each request with its checksum; broken lines are mended."""
        size = ciphertext.stat().st_size
        failures = 0
        offset = self.offset(location)
        with ciphertext.open("rb") as file:
            while offset < size:
                file.seek(offset)
                piece = file.read(REQUEST_PIECE)
                try:
                    offset = self._send_piece(location, offset, piece)
                    failures = 0
                except (Unreachable, ServiceRefusal) as error:
                    failures += 1
                    lasting = isinstance(error, ServiceRefusal) and error.type not in PASSING
                    if failures > 5 or lasting:
                        raise
                    time.sleep(0.2 * 2**failures)
                    offset = self.offset(location)
                progress("sending", offset, size)

    def _send_piece(self, location: str, offset: int, piece: bytes) -> int:
        checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        response = self._send(
            "PATCH",
            location,
            content=piece,
            headers={
                **TUS,
                "Authorization": f"Bearer {self.token()}",
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
                "Upload-Checksum": f"sha256 {checksum}",
            },
        )
        self._answer(response)
        return int(response.headers["Upload-Offset"])

    def upload(
        self, source: Path, dataset: str, period: str, progress: Progress = silent
    ) -> dict[str, Any]:
        """Encrypt, send and wait for intake; the delivery with receipt and report comes back.

        The ciphertext stays beside the extract until the receipt is there: age is randomised, so
        encrypting again would make another file, and a broken upload could not go on.
        """
        ciphertext, notes = _beside(source, ".age"), _beside(source, ".upload.json")
        location = self._resumable(source, ciphertext, notes, dataset, period)
        if location is None:
            self.encrypt(source, ciphertext, progress)
            location = self.open_upload(ciphertext, dataset, period)
            notes.write_text(
                json.dumps({**_fingerprint(source), "location": location,
                            "dataset": dataset, "period": period, "server": self.profile.server})
            )  # fmt: skip
        self.send(location, ciphertext, progress)
        delivery = self.wait_delivery(location.rpartition("/")[2], progress)
        if delivery["receipt"] is not None:
            ciphertext.unlink()
        notes.unlink(missing_ok=True)
        return delivery

    def _resumable(
        self, source: Path, ciphertext: Path, notes: Path, dataset: str, period: str
    ) -> str | None:
        """The location of an upload of this very file that was begun before."""
        if not notes.exists() or not ciphertext.exists():
            return None
        begun = json.loads(notes.read_text())
        same = {**_fingerprint(source), "dataset": dataset, "period": period,
                "server": self.profile.server}  # fmt: skip
        if any(begun.get(key) != value for key, value in same.items()):
            return None
        try:
            self.offset(begun["location"])
        except ServiceRefusal:
            return None
        return str(begun["location"])

    def wait_delivery(self, identifier: str, progress: Progress = silent) -> dict[str, Any]:
        """Wait until intake has dealt with a delivery."""
        for wait in _waits():
            delivery: dict[str, Any] = self.get(f"/deliveries/{identifier}")
            if delivery["state"] not in ("uploading", "received", "checking"):
                return delivery
            progress("checking", 0, 0)
            time.sleep(wait)
        raise AssertionError("unreachable")

    # -- releases ---------------------------------------------------------------------------------

    def wait_release(self, identifier: str, progress: Progress = silent) -> dict[str, Any]:
        """Wait until a release has been built or refused, and its envelopes are there."""
        for wait in _waits():
            release: dict[str, Any] = self.get(f"/releases/{identifier}")
            if release["state"] != "building" and not release["sealing"]:
                return release
            progress(release.get("stage") or "building", int(100 * release.get("share", 0)), 100)
            time.sleep(wait)
        raise AssertionError("unreachable")

    def download(
        self, release: str, identity: Path, out: Path, progress: Progress = silent
    ) -> list[Path]:
        """Fetch the envelope, open it here, check it against the signed manifest, unpack it."""
        from policies import releases

        opened = self.fetch(release, read_identities(identity), progress)
        out.mkdir(parents=True, exist_ok=True)
        return releases.extract(opened, out)

    def fetch(self, release: str, identities: list[Any], progress: Progress = silent) -> bytes:
        """The package's archive, opened and verified; nothing is written."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        with self._http.stream("GET", f"/releases/{release}/package", headers=headers) as response:
            if not response.is_success:
                response.read()
                self._answer(response)
            total = int(response.headers.get("Content-Length", 0))
            sealed = bytearray()
            for piece in response.iter_bytes(PIECE):
                sealed += piece
                progress("downloading", len(sealed), total)
        from policies import releases

        archive = _open(bytes(sealed), identities)
        _check_package(releases.contents(archive), self.public()["receipt"])
        return archive


def _open(sealed: bytes, identities: list[Any]) -> bytes:
    try:
        return bytes(pyrage.decrypt(sealed, identities))
    except pyrage.DecryptError:
        raise PackageFault(
            "The envelope doesn't open with this identity. It was sealed to the recipient that the "
            "permit names for you; use the identity that belongs to it."
        ) from None


def _check_package(files: Mapping[str, bytes], keys: list[str]) -> None:
    """Every file is the one in the manifest, and the manifest is the service's."""
    from policies import releases

    faults = releases.faults(files)
    if not faults:
        manifest = json.loads(files[releases.MANIFEST])
        signature = json.loads(files.get(releases.SIGNATURE, b"{}"))
        try:
            key = next((key for key in keys if key == signature.get("key")), "")
            verify_receipt({**manifest, "signature": signature}, key)
        except SignatureError as fault:
            faults = [str(fault)]
    if faults:
        raise PackageFault(
            f"The package is not as it left the service: {'; '.join(faults)}. Download it again."
        )


class PackageFault(Exception):  # noqa: N818 - what is wrong with it
    """A downloaded package can't be opened or isn't the one that was signed."""


def read_identities(file: Path) -> list[Any]:
    """age identities from a file, in the form that `age-keygen` writes."""
    lines = [line.strip() for line in file.read_text().splitlines()]
    return [
        pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")
    ]


def _waits() -> Iterator[float]:
    """How long to wait between two looks: soon at first, then less often."""
    wait = 0.05
    while True:
        yield wait
        wait = min(wait * 1.5, 1.0)


def _beside(source: Path, ending: str) -> Path:
    return source.with_name(source.name + ending)


def _fingerprint(source: Path) -> dict[str, Any]:
    """Whether a file is still the one whose upload was begun."""
    stat = source.stat()
    return {"size": stat.st_size, "changed": stat.st_mtime_ns}


class _Told:
    """A file whose reading is told."""

    def __init__(self, file: BinaryIO, size: int, stage: str, progress: Progress) -> None:
        self._file, self._size, self._stage, self._progress = file, size, stage, progress

    def read(self, count: int = -1) -> bytes:
        """Bytes, as asked."""
        data = self._file.read(count)
        self._progress(self._stage, self._file.tell(), self._size)
        return data
