"""The outside view: what the command line and other programs use to talk to a service.

`Client` gets its tokens by itself. `upload` encrypts on this machine, sends the ciphertext while it
grows, keeps it until a receipt is there that holds, and goes on where a broken line left off;
`download` opens the envelope here and checks every file against the signed manifest.

The service isn't believed on its word. Its public keys are kept at first use and may not change
behind one's back; receipts are verified with them, and a checkpoint is kept only when the ledger
is proven to have grown from the one kept before.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx
import pyrage

from api.flow import Flow
from api.profiles import Profile, ProfileFault, private_key
from api.sealing import Sealing
from api.settings import Clock
from keyvault.checkpoints import Checkpoint, read_checkpoint
from keyvault.errors import LedgerError, SignatureError
from keyvault.merkle import leaf_hash, verify_consistency, verify_inclusion
from keyvault.publishing import endorsed
from keyvault.signing import verify_receipt
from keyvault.tokens import ASSERTION_TYPE, sign_assertion

PIECE = 1 << 20
REQUEST_PIECE = 64 << 20
"""Bytes of one request: each is made durable before the next."""
PART = 128 << 10
TUS = {"Tus-Resumable": "1.0.0"}
PASSING = ("wrong-offset", "upload-busy", "upload-stalled")
"""Refusals of a piece that go away when it's sent again from where the upload stands."""
PAUSES = (0.5, 1, 2, 4, 8, 15, 15, 15, 15, 15)
"""Seconds between tries of the same thing: a minute and a half, since the service itself takes half
a minute to notice that a line is dead and its upload free again."""
AGAIN = (0.5, 1, 2, 4, 8)
"""The same for a change whose answer was lost."""
LONG_UNFINISHED = 60.0
"""Seconds after which a service that has every byte is reminded to compare hashes."""
OVER = {
    "type": "urn:schakel:problem:upload-over",
    "title": "The upload is over",
    "status": 410,
    "detail": "This upload was given up, withdrawn or refused.",
    "next_step": "Give the command again: it encrypts and sends the extract anew.",
}
"""What a HEAD that answers 410 means; such answers carry no body."""
PINNED = ("issuer", "uploads", "receipt", "ledger")
"""What of a service's public keys a profile keeps."""

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


class AnswerLost(Unreachable):
    """The line broke after a request was sent: it may have been done or not."""


class Distrust(Exception):  # noqa: N818 - what one is left with
    """The service's answer isn't to be believed; nothing was done on the strength of it."""


class IdentityFault(Exception):  # noqa: N818 - what is wrong with it
    """A file holds no age identity."""


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
        keep: Callable[[Profile], object] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`keep` is handed the profile whenever something was learned that is worth keeping."""
        self.profile = profile
        self._keep = keep
        self._pause = pause
        self._clock = clock or Clock()
        try:
            self._http = httpx.Client(base_url=profile.server, timeout=60.0, transport=transport)
        except httpx.InvalidURL:
            raise ProfileFault(
                "The profile's server is no address; it looks like https://schakel.example.org."
            ) from None
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
        """The service's public keys and name: those that the profile knows it by, or learns now."""
        if self._public is None:
            public = self._answer(self._send("GET", "/keys"))
            if not isinstance(public, dict) or any(name not in public for name in PINNED):
                raise Unreachable(_NO_SERVICE)
            keys = {name: public[name] for name in PINNED}
            known = self.profile.service
            if known is None or (known != keys and self._follows(known, public)):
                self._learn(replace(self.profile, service=keys))
            elif known != keys:
                raise Distrust(_changed([name for name in PINNED if known.get(name) != keys[name]]))
            self._public = public
        return self._public

    @staticmethod
    def _follows(known: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
        """Whether other keys than the known ones are those of the same service after a rotation:
        a receipt key that was known vouches for them, and no key of the ledger went away."""
        same = known["issuer"] == shown["issuer"] and set(known["ledger"]) <= set(shown["ledger"])
        return same and endorsed(shown, known["receipt"])

    def _learn(self, profile: Profile) -> None:
        self.profile = profile
        if self._keep is not None:
            self._keep(profile)

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
        """One request in the profile's name; a refusal is raised, an answer's JSON comes back.

        A change whose answer is lost is asked for again: the service does it once for each key.
        """
        if method == "GET":
            headers = {"Authorization": f"Bearer {self.token()}"}
            return self._answer(self._send(method, path, headers=headers, json=body))
        return self._answer(self._once(method, path, {}, json=body))

    def _once(
        self, method: str, path: str, headers: Mapping[str, str], **arguments: Any
    ) -> httpx.Response:
        """Have something done once, however often it takes to hear of it."""
        key = secrets.token_hex(16)
        pauses, lost = iter(AGAIN), False
        while True:
            try:
                told = {"Authorization": f"Bearer {self.token()}", "Idempotency-Key": key}
                response = self._send(method, path, headers={**headers, **told}, **arguments)
                if response.status_code != 503 or _kind(response) != "commit-unknown":
                    return response
                failure: Unreachable | None = None
            except Unreachable as error:
                if not lost and not isinstance(error, AnswerLost):
                    raise
                failure = error
            lost, pause = True, next(pauses, None)
            if pause is None:
                if failure is not None:
                    raise failure
                return response
            self._pause(pause)

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
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
            raise Unreachable(
                f"No service answers at {self.profile.server}. Is it running (`schakel serve`)?"
            ) from None
        except httpx.TransportError:
            raise AnswerLost(
                f"The line to {self.profile.server} broke before the answer came. Look how it "
                "stands before asking again."
            ) from None

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        try:
            answer = response.json() if response.content else None
        except ValueError:
            answer = None
            if response.is_success:
                raise Unreachable(_NO_SERVICE) from None
        if response.is_success:
            return answer
        if not isinstance(answer, dict):
            answer = {"detail": "The answer can't be read.", "next_step": "Is this the service?"}
        raise ServiceRefusal(response.status_code, answer)

    # -- uploads ----------------------------------------------------------------------------------

    def encrypt(self, source: Path, target: Path, progress: Progress = silent) -> str:
        """Encrypt an extract to the service's published recipient, on this machine.

        The ciphertext's hex SHA-256 comes back; by then it is durable.
        """
        with self._sealing(source, target, progress) as sealing:
            return sealing.sha256()

    def _sealing(
        self,
        source: Path,
        target: Path,
        progress: Progress,
        at_end: Callable[[str], object] = lambda _sha256: None,
    ) -> Sealing:
        def tell(done: int, total: int) -> None:
            progress("encrypting", done, total)

        return Sealing(source, target, self.public()["uploads"], tell, at_end=at_end)

    def open_upload(
        self,
        ciphertext: Path,
        dataset: str,
        period: str,
        mode: str = "new",
        *,
        sha256: str | None = None,
    ) -> str:
        """Open an upload; the path under which its bytes are sent comes back."""
        what = {"dataset": dataset, "period": period, "mode": mode}
        what["sha256"] = sha256 or _sha256(ciphertext)
        return self._open_upload(what, ciphertext.stat().st_size)

    def _open_upload(self, metadata: Mapping[str, str], length: int) -> str:
        headers = {"Upload-Length": str(length), "Upload-Metadata": _metadata(metadata)}
        response = self._once("POST", "/uploads", {**TUS, **headers})
        self._answer(response)
        return response.headers["Location"]

    def offset(self, location: str) -> int:
        """Where an upload stands."""
        response = self._send(
            "HEAD", location, headers={**TUS, "Authorization": f"Bearer {self.token()}"}
        )
        if response.status_code == 410:
            raise ServiceRefusal(410, OVER)
        if not response.is_success:
            # HEAD answers carry no body, so the same is asked again in a way that does
            return int(self._delivery(location)["offset"])
        return int(response.headers["Upload-Offset"])

    def _delivery(self, location: str) -> dict[str, Any]:
        row: dict[str, Any] = self.get(f"/deliveries/{location.rpartition('/')[2]}")
        return row

    def send(self, location: str, ciphertext: Path, progress: Progress = silent) -> None:
        """Send what is still missing; broken lines are mended, and what came through them counts.

        After a failure the delivery itself is asked how it stands: the service compares hashes
        within the last request, which can outlast the line it came on. That comparison covers every
        byte, so the requests carry no checksums of their own.
        """
        self._send_all(location, ciphertext, ciphertext.stat().st_size, progress)

    def _send_all(
        self,
        location: str,
        ciphertext: Path,
        size: int,
        progress: Progress,
        sealing: Sealing | None = None,
        declared: Callable[[], str] | None = None,
    ) -> None:
        """Send a file that may still be growing; `declared` gives its hash, once it is whole."""
        offset, pauses = self.offset(location), iter(PAUSES)
        with ciphertext.open("rb", buffering=0) as file:
            while offset < size:
                length = min(REQUEST_PIECE, size - offset)
                last = {}
                if declared is not None and offset + length == size:
                    last = {"Upload-Metadata": _metadata({"sha256": declared()})}
                file.seek(offset)
                try:
                    offset = self._send_piece(
                        location, offset, length, _parts(file, length, sealing), last
                    )
                    pauses = iter(PAUSES)
                except (Unreachable, ServiceRefusal) as error:
                    offset = self._after(error, location, offset, pauses)
                if sealing is None or sealing.over:
                    progress("sending", offset, size)

    def _after(
        self,
        error: Unreachable | ServiceRefusal,
        location: str,
        offset: int,
        pauses: Iterator[float],
    ) -> int:
        """Where to go on after a failure, having waited; one that will not pass is raised."""
        pause = next(pauses, None)
        if pause is None or not _passes(error):
            raise error
        self._pause(pause)
        with suppress(Unreachable):
            offset = int(self._delivery(location)["offset"])
        return offset

    def _send_piece(
        self,
        location: str,
        offset: int,
        length: int,
        parts: Iterator[bytes],
        more: Mapping[str, str],
    ) -> int:
        response = self._send(
            "PATCH",
            location,
            content=parts,
            headers={
                **TUS,
                **more,
                "Authorization": f"Bearer {self.token()}",
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(length),
                "Upload-Offset": str(offset),
            },
        )
        self._answer(response)
        return int(response.headers["Upload-Offset"])

    def upload(
        self,
        source: Path,
        dataset: str,
        period: str,
        progress: Progress = silent,
        *,
        mode: str = "new",
    ) -> dict[str, Any]:
        """Hand an extract in and wait for intake; the delivery with receipt and report comes back.

        Begun again after an interruption, it goes on where it was. Raises `Distrust` for a receipt
        of something else, or of somebody else.
        """
        location = self.hand_in(source, dataset, period, progress, mode=mode)
        delivery = self.wait_delivery(location.rpartition("/")[2], progress)
        _beside(source, ".upload.json").unlink(missing_ok=True)
        return delivery

    def hand_in(
        self,
        source: Path,
        dataset: str,
        period: str,
        progress: Progress = silent,
        *,
        mode: str = "new",
    ) -> str:
        """Encrypt and send an extract until there is a receipt; the upload's path comes back.

        `mode` says how it stands to earlier deliveries of the dataset and period: `new`,
        `replace`, `append` or `correct`.

        The ciphertext stays beside the extract until there is a receipt that holds: age is
        randomised, so encrypting again would make another file, and a broken upload could not go
        on. A service that rejects the upload at once gives none.
        """
        ciphertext, notes = _beside(source, ".age"), _beside(source, ".upload.json")
        what = {"dataset": dataset, "period": period, "mode": mode}
        begun = self._begun(source, ciphertext, notes, what)
        if begun is None:
            begun = self._begin(source, ciphertext, notes, what, progress)
        elif not begun["received"]:
            sha256, size = str(begun["sha256"]), ciphertext.stat().st_size
            self._send_all(begun["location"], ciphertext, size, progress, declared=lambda: sha256)
        location = str(begun["location"])
        if begun["received"]:
            return location
        delivery = self.wait_delivery(location.rpartition("/")[2], progress, ("uploading",))
        if delivery["receipt"] is not None or delivery["state"] != "rejected":
            sent = {
                "type": "receipt",
                "delivery": location.rpartition("/")[2],
                **what,
                "sha256": begun["sha256"],
                "bytes": ciphertext.stat().st_size,
            }
            self._check_receipt(delivery["receipt"], sent)
            _note(notes, {**begun, "received": True})
            ciphertext.unlink()
        return location

    def _check_receipt(self, receipt: object, sent: Mapping[str, Any]) -> None:
        """A receipt is for what was sent, and signed with the keys that the service is known by."""
        held: Mapping[str, Any] = receipt if isinstance(receipt, Mapping) else {}
        faults = [f"its {name} is another" for name in sent if held.get(name) != sent[name]]
        try:
            _check_signed(held, self.public()["receipt"])
            self._checkpoint(str(held.get("checkpoint")))
        except (SignatureError, LedgerError) as fault:
            faults.append(str(fault))
        if faults:
            raise Distrust(
                f"The service's receipt doesn't hold: {'; '.join(faults)}. The encrypted file was "
                "kept. Show this to whoever runs the service before sending anything else."
            )

    def _begin(
        self,
        source: Path,
        ciphertext: Path,
        notes: Path,
        what: Mapping[str, str],
        progress: Progress,
    ) -> dict[str, Any]:
        """Encrypt and send at the same time; what has to be noted of it comes back.

        What is cut off before the ciphertext is whole can't go on: its notes hold no hash.
        """
        begun = {**_fingerprint(source), **what, "server": self.profile.server, "received": False}
        opened = threading.Event()

        def whole(sha256: str) -> None:
            opened.wait()
            begun["sha256"] = sha256
            if "location" in begun:
                _note(notes, begun)

        with self._sealing(source, ciphertext, progress, whole) as sealing:
            try:
                size = sealing.length()
                begun["location"] = self._open_upload(what, size)
                _note(notes, begun)
            finally:
                opened.set()
            self._send_all(
                str(begun["location"]), ciphertext, size, progress, sealing, sealing.sha256
            )
        return begun

    def _begun(
        self, source: Path, ciphertext: Path, notes: Path, what: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """What was noted of an upload of this very file that was begun before and can go on.

        One that can't is given up: the ciphertext that it began with will be another.
        """
        try:
            begun: dict[str, Any] = json.loads(notes.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if begun.get("server") != self.profile.server or "location" not in begun:
            return None
        same = {**_fingerprint(source), **what}
        try:
            if all(begun.get(key) == value for key, value in same.items()) and (
                begun.get("received") or ("sha256" in begun and ciphertext.exists())
            ):
                self.offset(begun["location"])
                return begun
            if not begun.get("received"):
                self._give_up(begun["location"])
        except ServiceRefusal:
            pass
        return None

    def _give_up(self, location: str) -> None:
        headers = {**TUS, "Authorization": f"Bearer {self.token()}"}
        self._answer(self._send("DELETE", location, headers=headers))

    def wait_delivery(
        self,
        identifier: str,
        progress: Progress = silent,
        during: Sequence[str] = ("uploading", "received", "checking"),
    ) -> dict[str, Any]:
        """Wait until intake has dealt with a delivery, or it left the named states."""
        unfinished, pauses = 0.0, iter(PAUSES)
        for wait in _waits():
            try:
                delivery = self._delivery(identifier)
            except Unreachable:
                pause = next(pauses, None)
                if pause is None:
                    raise
                self._pause(pause)
                continue
            if delivery["state"] not in during:
                return delivery
            progress("checking", 0, 0)
            pauses = iter(PAUSES)
            unfinished += wait
            if delivery["state"] == "uploading" and unfinished > LONG_UNFINISHED:
                unfinished = 0.0
                with suppress(Unreachable, ServiceRefusal):
                    self.offset(f"/uploads/{identifier}")
            self._pause(wait)
        raise AssertionError("unreachable")

    # -- the ledger -------------------------------------------------------------------------------

    def grown_since(self, notes: Sequence[str]) -> str:
        """The present checkpoint, proven to hold everything that these older ones vouch for.

        Raises `Distrust` when it doesn't: history was rewritten, or a checkpoint is another's.
        """
        try:
            olds = [self._checkpoint(note) for note in notes]
        except LedgerError as fault:
            raise Distrust(f"A checkpoint kept elsewhere: {fault}") from None
        for _ in range(20):  # until it doesn't grow between two questions
            answers = [self._growth(old) for old in olds]
            presents = {self._checkpoint(answer) for answer in answers}
            if len(presents) == 1:
                return answers[0]
            if len({present.size for present in presents}) < len(presents):
                raise Distrust(_REWRITTEN)  # two trees of one size
        raise Unreachable("The ledger grows too quickly to be compared just now. Try again.")

    def _growth(self, old: Checkpoint) -> str:
        """The present checkpoint as proven from one older one."""
        try:
            answer = self.get(f"/ledger/checkpoint?since={old.size}")
        except ServiceRefusal as refusal:
            if refusal.type == "ledger-shorter":
                raise Distrust(_REWRITTEN) from None
            raise
        try:
            present = self._checkpoint(answer["checkpoint"])
            proof = [base64.b64decode(item, validate=True) for item in answer["proof"]]
            verify_consistency(old.size, present.size, proof, old.root, present.root)
        except (LedgerError, ValueError, KeyError, TypeError):
            raise Distrust(_REWRITTEN) from None
        return str(answer["checkpoint"])

    def proven(self, position: int) -> dict[str, Any]:
        """An entry's place in the ledger, proven to be in a tree that grew from the one known here.

        {position, leaf or None, leaf_hash, size, checkpoint}. Raises `Distrust` when the proof
        doesn't hold.
        """
        answer = self.get(f"/ledger/inclusion?position={position}")
        try:
            present = self._checkpoint(answer["checkpoint"])
            hashed = base64.b64decode(answer["leaf_hash"], validate=True)
            proof = [base64.b64decode(item, validate=True) for item in answer.pop("proof")]
            verify_inclusion(hashed, position, present.size, proof, present.root)
            leaf = answer["leaf"]
            if leaf is not None and leaf_hash(leaf.encode()) != hashed:
                raise LedgerError("another entry")
        except (LedgerError, ValueError, KeyError, TypeError, AttributeError):
            raise Distrust(_REWRITTEN) from None
        self.remember(answer["checkpoint"])
        return {**answer, "size": present.size}

    def remember(self, note: str) -> None:
        """Keep a checkpoint, if it and the one kept so far are proven to be of one history."""
        known = self.profile.checkpoint
        if known is None:
            self._learn(self.profile.with_checkpoint(note))
        elif known != note:
            self.grown_since([known, note])
            if self._checkpoint(note).size > self._checkpoint(known).size:
                self._learn(self.profile.with_checkpoint(note))

    def _checkpoint(self, note: str) -> Checkpoint:
        return read_checkpoint(note, self.public()["ledger"])

    # -- dummies ----------------------------------------------------------------------------------

    def dummy(
        self,
        application: str,
        out: Path,
        units: int = 1000,
        period: str | None = None,
        language: str = "en",
    ) -> list[Path]:
        """Fetch the dummy of an application's release and unpack it."""
        from policies import releases

        asked: dict[str, Any] = {"units": units, "language": language}
        asked |= {"period": period} if period else {}
        response = self._send(
            "GET",
            f"/applications/{application}/dummy",
            params=asked,
            headers={"Authorization": f"Bearer {self.token()}"},
        )
        if not response.is_success:
            self._answer(response)
        if releases.faults(releases.contents(response.content)):
            raise PackageFault("The dummy arrived damaged. Ask for it again.")
        return releases.extract(response.content, out)

    # -- releases ---------------------------------------------------------------------------------

    def wait_release(self, identifier: str, progress: Progress = silent) -> dict[str, Any]:
        """Wait until a release has been built or refused, and its envelopes are there."""
        for wait in _waits():
            release: dict[str, Any] = self.get(f"/releases/{identifier}")
            if release["state"] != "building" and not release["sealing"]:
                return release
            progress(release.get("stage") or "building", int(100 * release.get("share", 0)), 100)
            self._pause(wait)
        raise AssertionError("unreachable")

    def download(
        self, release: str, identity: Path, out: Path, progress: Progress = silent
    ) -> list[Path]:
        """Fetch the envelope, open it here, check it against the signed manifest, unpack it."""
        from policies import releases

        return releases.extract(self.fetch(release, read_identities(identity), progress), out)

    def fetch(self, release: str, identities: list[Any], progress: Progress = silent) -> bytes:
        """The package's archive, opened and verified; nothing is written."""
        from policies import releases

        try:
            sealed = self._fetch_envelope(f"/releases/{release}/package", progress)
        except httpx.TransportError:
            raise Unreachable(
                "The line broke during the download and nothing was written. Download it again."
            ) from None
        archive = _open(sealed, identities)
        _check_package(releases.contents(archive), self.public()["receipt"])
        return archive

    def _fetch_envelope(self, path: str, progress: Progress) -> bytes:
        headers = {"Authorization": f"Bearer {self.token()}"}
        with self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
                self._answer(response)
            total = int(response.headers.get("Content-Length", 0))
            sealed = bytearray()
            for piece in response.iter_bytes(PIECE):
                sealed += piece
                progress("downloading", len(sealed), total)
        return bytes(sealed)


_NO_SERVICE = (
    "What answers at the profile's address is no Schakel service; `schakel profile list` shows the "
    "address."
)
_REWRITTEN = (
    "The ledger is not the one that a checkpoint kept elsewhere vouches for: entries were changed "
    "or taken away. Keep your receipts, and show them and this to an auditor."
)


def _changed(names: list[str]) -> str:
    return (
        f"The service shows other keys than this profile knows it by ({', '.join(names)}); nothing "
        "was sent. Ask whoever runs it, by another way than this one, whether they were changed. "
        "If so, `schakel profile trust` takes the new ones on."
    )


def _kind(response: httpx.Response) -> str:
    """The type of a refusal, without its prefix."""
    try:
        return str(response.json()["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return ""


def _passes(error: Unreachable | ServiceRefusal) -> bool:
    """Whether a failure may pass by itself."""
    return isinstance(error, Unreachable) or error.type in PASSING or error.status >= 500


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_signed(document: Mapping[str, Any], keys: list[str]) -> None:
    """One of the service's keys signed it; SignatureError otherwise."""
    signature = document.get("signature")
    named = signature.get("key") if isinstance(signature, Mapping) else None
    verify_receipt(document, next((key for key in keys if key == named), ""))


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
        try:
            manifest = json.loads(files[releases.MANIFEST])
            signature = json.loads(files.get(releases.SIGNATURE, b"{}"))
            _check_signed({**manifest, "signature": signature}, keys)
        except SignatureError as fault:
            faults = [str(fault)]
        except ValueError:
            faults = [f"{releases.SIGNATURE} can't be read"]
    if faults:
        raise PackageFault(
            f"The package is not as it left the service: {'; '.join(faults)}. Download it again."
        )


class PackageFault(Exception):  # noqa: N818 - what is wrong with it
    """A downloaded package can't be opened or isn't the one that was signed."""


def read_identities(file: Path) -> list[Any]:
    """age identities from a file, in the form that `age-keygen` writes."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        found = [
            pyrage.x25519.Identity.from_str(line)
            for line in lines
            if line and not line.startswith("#")
        ]
    except (UnicodeDecodeError, pyrage.IdentityError):
        found = []
    if not found:  # said here: the library's message could hold a piece of the key
        raise IdentityFault(
            f"{file} holds no age identity, or something beside it. A line that begins with "
            "AGE-SECRET-KEY-1 is expected; `schakel identity` and `age-keygen` write one."
        )
    return found


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


def _metadata(pairs: Mapping[str, str]) -> str:
    """tus: comma-separated `key base64value` pairs."""
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
    )


def _note(notes: Path, begun: Mapping[str, Any]) -> None:
    """Keep notes: the old ones or the new ones are there, whatever happens meanwhile."""
    unfinished = notes.with_name(notes.name + ".new")
    unfinished.write_text(json.dumps(begun))
    unfinished.replace(notes)


def _parts(file: BinaryIO, length: int, sealing: Sealing | None) -> Iterator[bytes]:
    """So many bytes in small parts, as soon as they are there.

    Small ones, since a socket takes no more at a time and the rest would be copied.
    """
    here = ready = file.tell()
    end, flow = here + length, Flow(file.fileno(), here)
    while here < end:
        if here == ready:
            ready = min(end, sealing.reached(here)) if sealing else end
        part = file.read(min(PART, ready - here))
        if not part:
            return
        yield part
        here += len(part)
        flow.passed(here)
