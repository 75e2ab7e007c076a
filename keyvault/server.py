"""The vault's process: who may ask it for what, and what it checks for itself before.

It believes no caller. Who speaks is told by the kernel (SO_PEERCRED of the Unix socket), and each
user may take certain process roles and no other. What a call is about (permits, people, key rows,
the ledger) it reads itself, on a connection of its own that sees what is committed, by its own
clock. What it gives to whom:

    custodian   takes what its custodians say, as long as it is sealed; nothing else is done then
    everybody   public halves, founding enrolments, whether it made a key row, the checkpoint of the
                committed ledger grown by the caller's leaves
    own role    its private half
    api         tokens for people enrolled, receipts, permits two people decided on, jobs of people
                enrolled, first keys of scopes and projects, rotations that two people signed
    linkage     first keys of scopes
    release     pseudonyms and manifests under a permit in force
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from keyvault.calls import CREDENTIALS, Broken, begun, rest, send
from keyvault.custody import Custody, Lock
from keyvault.errors import (
    CustodyError,
    KeyringError,
    KeyvaultError,
    NotForYouError,
    PermitError,
    SignatureError,
    VaultAwayError,
    VaultSealedError,
)
from keyvault.keyring import next_version
from keyvault.ledger import Watch, grow
from keyvault.ownkeys import PROVED, Values
from keyvault.pseudonyms import LENGTH
from keyvault.safe import Begin, Safe
from keyvault.signing import from_base64url, to_base64url

log = logging.getLogger("schakel")

CALLERS = ("api", "intake", "linkage", "release", "identified")
"""Process roles that ask the vault; what has no key pair of its own among them is the api."""

CUSTODIAN = "custodian"
"""What the vault's own user and root may do besides: open it."""

QUEUES = {"api": frozenset({"intake", "linkage", "release"})}
"""Whose jobs a role may have signed. `identified` has a queue, and nothing is enqueued there yet:
its operations aren't built."""

JOB = frozenset(
    {"type", "version", "id", "kind", "queue", "arguments", "exclusive", "actor", "organisation",
     "created_at"}
)  # fmt: skip
"""Members of the document that says what a job is to do."""

MOST_CONNECTIONS = 64
"""Open connections of one user."""

MOST_CALLS = 4
"""Calls of one user that are read and answered at a time: no user has all of the memory, or of the
time. More than one, since a rotation of the root waits for writers who may be asking meanwhile."""

_WHILE_SEALED = ("state", "open")
Answer = tuple[dict[str, Any], bytes]


@dataclass(frozen=True)
class Call:
    """One call: what it holds, and the process roles that its caller may take."""

    held: Mapping[str, Any]
    data: bytes
    roles: frozenset[str]


def listen(path: Path) -> socket.socket:
    """A socket at a path, for its owner and the folder's group; a dead one there is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            if other.connect_ex(str(path)) == 0:
                raise VaultAwayError(f"Another vault listens at {path}; stop that one first.")
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(0o660)
        listening.listen(MOST_CONNECTIONS)
    except BaseException:
        listening.close()
        raise
    return listening


class Gate:
    """The safe, once its custodians have opened the custody; until then the vault is sealed.

    `make` gets the opened custody and gives the safe.
    """

    def __init__(self, custody: Custody | Lock, make: Callable[[Custody], Safe]) -> None:
        self._make, self._turn = make, threading.Lock()
        self._lock = custody if isinstance(custody, Lock) else None
        self._made = None if isinstance(custody, Lock) else make(custody)

    @property
    def safe(self) -> Safe:
        """What is behind; VaultSealedError as long as it is sealed."""
        if self._made is None:
            raise VaultSealedError(
                "The vault is sealed, so nothing was done: its custodians open it one after "
                "another (`schakel custody open`)."
            )
        return self._made

    def state(self) -> dict[str, Any]:
        """Whether it is sealed, by what, and how many have said something and must."""
        lock = self._lock
        if lock is None:
            return {"sealed": False, "custody": "file", "held": 0, "needed": 0}
        sealed = self._made is None
        held = lock.held if sealed else lock.needed
        return {"sealed": sealed, "custody": lock.kind, "held": held, "needed": lock.needed}

    def offer(self, words: str) -> None:
        """Take what one custodian says; CustodyError when it won't do."""
        with self._turn:
            if self._lock is None or self._made is not None:
                raise CustodyError("The vault is open; nothing more is needed.")
            custody = self._lock.offer(words)
            if custody is not None:
                self._made = self._make(custody)
                log.warning("the vault is open")


class Server:
    """Answers calls to the safe behind a gate.

    `roles_of` says which process roles a user (uid) may take.
    """

    def __init__(
        self,
        gate: Gate,
        reading: Begin,
        writing: Begin,
        roles_of: Callable[[int], frozenset[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._gate, self._reading, self._writing = gate, reading, writing
        self._roles_of, self._now = roles_of, now
        self._watch, self._ledger = Watch(), threading.Lock()
        self._open: dict[socket.socket, int] = {}
        self._turns: dict[int, threading.BoundedSemaphore] = {}
        self._counting = threading.Lock()
        self._calls: Mapping[str, tuple[frozenset[str], Callable[[Call], Answer]]] = {
            "state": (frozenset({*CALLERS, CUSTODIAN}), self._state),
            "open": (frozenset({CUSTODIAN}), self._open_gate),
            "publics": (frozenset(CALLERS), self._publics),
            "founders": (frozenset(CALLERS), self._founders),
            "endorse": (frozenset(CALLERS), self._endorse),
            "prove": (frozenset(CALLERS), self._prove),
            "vouch": (frozenset(CALLERS), self._vouch),
            "role": (frozenset(CALLERS) - {"api"}, self._role),
            "make_first": (frozenset({"api", "linkage"}), self._make_first),
            "make_next": (frozenset({"api"}), self._make_next),
            "sign_token": (frozenset({"api"}), self._sign_token),
            "sign_job": (frozenset({"api"}), self._sign_job),
            "seal_permit": (frozenset({"api"}), self._seal_permit),
            "rotate_root": (frozenset({"api"}), self._rotate_root),
            "rotate_role": (frozenset({"api"}), self._rotate_role),
            "sign_document": (frozenset({"api", "release"}), self._sign_document),
            "pseudonyms": (frozenset({"release"}), self._pseudonyms),
        }

    def run(self, listening: socket.socket, wanted: Callable[[], bool]) -> None:
        """Answer as long as it is wanted, each connection in a thread of its own."""
        listening.settimeout(0.2)
        try:
            while wanted():
                with suppress(TimeoutError):
                    connection, _ = listening.accept()
                    threading.Thread(target=self._attend, args=(connection,), daemon=True).start()
        finally:
            with self._counting:
                for connection in self._open:
                    with suppress(OSError):  # it has gone by itself
                        connection.shutdown(socket.SHUT_RDWR)

    def _attend(self, connection: socket.socket) -> None:
        with connection:
            option = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            _, user, _ = CREDENTIALS.unpack(option)
            roles = self._roles_of(user)
            turns = self._enters(connection, user) if roles else None
            if turns is None:
                log.warning("the vault shows user %d out", user)
                return
            try:
                self._converse(connection, roles, turns)
            finally:
                with self._counting:
                    del self._open[connection]

    def _enters(self, connection: socket.socket, user: int) -> threading.BoundedSemaphore | None:
        """The turns of a user that has room for another connection; None where it hasn't."""
        with self._counting:
            if list(self._open.values()).count(user) >= MOST_CONNECTIONS:
                return None
            self._open[connection] = user
            return self._turns.setdefault(user, threading.BoundedSemaphore(MOST_CALLS))

    def _converse(
        self, connection: socket.socket, roles: frozenset[str], turns: threading.BoundedSemaphore
    ) -> None:
        with suppress(Broken):
            while True:
                connection.settimeout(None)
                lengths = begun(connection)
                with turns:
                    held, data = rest(connection, lengths)
                    send(connection, *self.answer(held, data, roles))

    def answer(self, held: Mapping[str, Any], data: bytes, roles: frozenset[str]) -> Answer:
        """Answer one call of a process that may take these roles."""
        try:
            call = self._calls.get(str(held.get("call")))
            if call is None or not call[0] & roles:
                raise NotForYouError("The vault doesn't do this for your process role.")
            if held["call"] not in _WHILE_SEALED:
                self._gate.safe  # noqa: B018 - says that it is sealed
            return call[1](Call(held, data, roles))
        except KeyvaultError as error:
            return {"error": type(error).__name__, "text": str(error)}, b""
        except Exception as error:  # the text could hold what the call held
            log.warning("vault: %s in answering a call", type(error).__name__)
            text = "The vault couldn't do that; its log has the kind of fault. Try again."
            return {"error": VaultAwayError.__name__, "text": text}, b""

    @property
    def _safe(self) -> Safe:
        return self._gate.safe

    # For its custodians

    def _state(self, _call: Call) -> Answer:
        return self._gate.state(), b""

    def _open_gate(self, call: Call) -> Answer:
        self._gate.offer(str(call.held["words"]))
        return self._gate.state(), b""

    # For everybody

    def _publics(self, _call: Call) -> Answer:
        with self._reading() as conn:
            publics = self._safe.publics(conn)
        halves = {
            role: {"version": version, "public": to_base64url(public)}
            for role, (version, public) in publics.items()
        }
        return {"roles": halves}, b""

    def _founders(self, _call: Call) -> Answer:
        with self._reading() as conn:
            return {"founders": list(self._safe.founders(conn))}, b""

    def _endorse(self, _call: Call) -> Answer:
        with self._reading() as conn:
            return {"endorsements": self._safe.endorse(conn)}, b""

    def _prove(self, call: Call) -> Answer:
        row = call.held["row"]
        values = {name: row[name] for name in PROVED}
        values["sealed"] = from_base64url(values["sealed"])
        self._safe.prove(values, from_base64url(call.held["proof"]))
        return {}, b""

    def _vouch(self, call: Call) -> Answer:
        leaves = [str(leaf).encode() for leaf in call.held["leaves"]]
        with self._ledger, self._reading() as conn:
            frontier = self._watch.look(conn)
            if call.held["start"] != frontier.size:
                return {"from": frontier.size}, b""
            row = self._safe.keys.current(conn, "ledger", owner=None)
        grow(frontier, leaves)
        return {"checkpoint": self._safe.vouch(row)(frontier, leaves)}, b""

    # For one role

    def _role(self, call: Call) -> Answer:
        name = call.held["role"]
        if name not in call.roles:
            raise NotForYouError("A process role's private half is for its own process only.")
        return {"credential": to_base64url(self._safe.role(name).credential())}, b""

    def _make_first(self, call: Call) -> Answer:
        purpose, owner = str(call.held["purpose"]), str(call.held["owner"])
        if "api" not in call.roles and purpose == "pseudonym":
            raise NotForYouError("A project's pseudonym key is made with its permit.")
        with self._reading() as conn:
            if next_version(conn, purpose, owner) > 1:
                raise KeyringError("It has its first key already; look at `keys list`.")
            return _row(self._safe.make_first(conn, purpose, owner)), b""

    def _make_next(self, call: Call) -> Answer:
        purpose, owner = str(call.held["purpose"]), str(call.held["owner"])
        with self._reading() as conn:
            actor, signed = _ceremony(call)
            return _row(self._safe.make_next(conn, purpose, owner, actor, signed)), b""

    def _sign_token(self, call: Call) -> Answer:
        held = call.held
        with self._reading() as conn:
            self._safe.authority.people.person(conn, str(held["subject"]))
            token = self._safe.sign_token(
                conn,
                issuer=str(held["issuer"]),
                audience=str(held["audience"]),
                subject=str(held["subject"]),
                lifetime=timedelta(seconds=held["seconds"]),
                now=self._now(),
                claims=held["claims"],
            )
        return {"token": token}, b""

    def _sign_job(self, call: Call) -> Answer:
        document = call.held["document"]
        if set(document) != JOB or document["version"] != 1:
            raise SignatureError(f"A job's document has these members: {', '.join(sorted(JOB))}.")
        queues = frozenset[str]().union(*(QUEUES.get(role, ()) for role in call.roles))
        if document["queue"] not in queues:
            raise NotForYouError("Your process role enqueues nothing in that queue.")
        with self._reading() as conn:
            actor = self._safe.authority.people.person(conn, str(document["actor"]))
            if actor.organisation != document["organisation"]:
                raise SignatureError("The job's actor is enrolled with another organisation.")
            return {"signature": self._safe.sign_job(conn, document)}, b""

    def _seal_permit(self, call: Call) -> Answer:
        held = call.held
        with self._reading() as conn:
            signed = self._safe.seal_permit(
                conn,
                held["permit"],
                application=held["application"],
                advice=held["advice"],
                approval=held["approval"],
            )
        return {
            "body": to_base64url(signed.body),
            "signature": signed.signature,
            "key_version": signed.key_version,
        }, b""

    def _sign_document(self, call: Call) -> Answer:
        document = call.held["document"]
        manifest = document["type"] == "manifest"
        if ("release" if manifest else "api") not in call.roles:
            raise NotForYouError("Receipts are signed for api, manifests for release.")
        with self._reading() as conn:
            if manifest:
                permit = self._safe.authority.permit(
                    conn, str(document["permit"]), "release", self._now()
                )
                if document["project"] != permit.project:
                    raise PermitError("The manifest names another project than its permit.")
            return {"document": self._safe.sign_document(conn, document)}, b""

    def _pseudonyms(self, call: Call) -> Answer:
        if len(call.data) % 16:
            raise KeyringError("Subject ids have 16 bytes each.")
        count = len(call.data) // 16
        ids = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(call.data)])
        with self._reading() as conn:
            spoken = self._safe.pseudonyms(
                conn, str(call.held["permit"]), str(call.held["unit_type"]), ids, now=self._now()
            )
        text = spoken.column.buffers()[2]
        answer = {"project": spoken.project, "key_version": spoken.key_version}
        return answer, bytes(text)[: count * LENGTH] if text else b""

    def _rotate_root(self, call: Call) -> Answer:
        actor, signed = _ceremony(call)
        version = self._safe.rotate_root(self._writing, now=self._now(), actor=actor, signed=signed)
        return {"version": version}, b""

    def _rotate_role(self, call: Call) -> Answer:
        actor, signed = _ceremony(call)
        progress = self._safe.rotate_role(
            self._writing, str(call.held["role"]), now=self._now(), actor=actor, signed=signed
        )
        return asdict(progress), b""


def _ceremony(call: Call) -> tuple[str, Mapping[str, Any]]:
    """Who asks, and what two administrators signed: never the process's own leave."""
    return str(call.held["actor"]), dict(call.held["signed"] or {})


def _row(made: Values) -> dict[str, Any]:
    row = {name: made[name] for name in PROVED}
    row["sealed"] = to_base64url(made["sealed"])
    return {"row": row, "proof": to_base64url(made["proof"])}


def own_user_only(user: int) -> frozenset[str]:
    """The default: this process's own user takes any role, and nobody else is let in."""
    return frozenset({*CALLERS, CUSTODIAN}) if user == os.geteuid() else frozenset()
