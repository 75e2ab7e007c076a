"""The vault's process, as the others see it.

A `Proxy` does what a `Safe` does, by asking. What its callers hand over to read from it passes by:
the vault's process reads for itself, with its own clock. A vault that was started anew is found
again by itself; one that stays away is a `VaultAwayError`, and nothing was done. So is a listener
who isn't the vault's user.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select

from keyvault import errors, tables
from keyvault.calls import CREDENTIALS, PATIENCE, Broken, receive, send
from keyvault.ceremonies import Signed
from keyvault.errors import KeyringError, KeyvaultError, PseudonymError, VaultAwayError
from keyvault.keyring import RoleKeys
from keyvault.ledger import Ledger, Vouch
from keyvault.merkle import Frontier
from keyvault.ownkeys import KeyRows, Values
from keyvault.pairs import Progress
from keyvault.pseudonyms import LENGTH, MOST
from keyvault.safe import Begin, Publics, SignedPermit, Spoken
from keyvault.signing import from_base64url, to_base64url

AWAY = 5.0
"""Seconds that a vault may be away, while it is started anew say, before that is an error."""
PIECE = 1 << 20
"""Subject ids in one call."""
_PAUSE = 0.05
_ID = 16


class Proxy:
    """Asks the vault's process; connections are kept and used again, by any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[socket.socket] = []
        self._founders: dict[bytes | None, tuple[dict[str, Any], ...]] = {}

    def __repr__(self) -> str:
        return f"<Proxy to {self._path}>"

    # What its custodians do

    def state(self) -> dict[str, Any]:
        """{sealed, custody, held, needed}: whether it is sealed, and how many have to open it."""
        return self._call("state")[0]

    def offer(self, words: str) -> dict[str, Any]:
        """Say what one custodian holds; the state afterwards. CustodyError when it won't do."""
        return self._call("open", words=words)[0]

    # What a safe does

    def publics(self, _conn: Connection) -> Publics:
        """The public halves as they stand now."""
        answer, _ = self._call("publics")
        return {
            role: (int(half["version"]), from_base64url(half["public"]))
            for role, half in answer["roles"].items()
        }

    def founders(self, conn: Connection) -> tuple[dict[str, Any], ...]:
        """The founding enrolments, as the vault unwrapped them; asked for once."""
        wrapped = conn.scalar(select(tables.founders.c.wrapped))
        if wrapped not in self._founders:
            answer, _ = self._call("founders")
            self._founders = {wrapped: tuple(answer["founders"])}
        return self._founders[wrapped]

    def role(self, name: str) -> RoleKeys:
        """The private half of this process's own role; no other is given."""
        answer, _ = self._call("role", role=name)
        return RoleKeys.from_credential(from_base64url(answer["credential"]))

    def prove(self, values: Mapping[str, Any], proof: bytes) -> None:
        """SealError unless the vault made this key row."""
        row = {**values, "sealed": to_base64url(values["sealed"])}
        self._call("prove", row=row, proof=to_base64url(proof))

    def make_first(self, _conn: Connection, purpose: str, owner: str) -> Values:
        """The first key of a scope or project, as a row with its proof."""
        return _values(self._call("make_first", purpose=purpose, owner=owner)[0])

    def make_next(
        self,
        _conn: Connection,
        purpose: str,
        owner: str,
        actor: str | None,
        signed: Signed | None,
    ) -> Values:
        """The next version of a key that rotates, as a row with its proof."""
        answer, _ = self._call(
            "make_next", purpose=purpose, owner=owner, actor=actor, signed=signed
        )
        return _values(answer)

    def pen(self, conn: Connection, keys: KeyRows) -> Ledger:
        """The pen for the ledger, which the vault's process signs."""
        row = keys.current(conn, "ledger", owner=None)
        return Ledger(row.owner, row.public, self.vouch())

    def vouch(self) -> Vouch:
        """What has checkpoints signed: the vault wants every leaf that isn't committed yet."""

        def ask(grown: Frontier, leaves: Sequence[bytes]) -> str | int:
            texts = [leaf.decode() for leaf in leaves]
            answer, _ = self._call("vouch", start=grown.size - len(leaves), leaves=texts)
            return answer["checkpoint"] if "checkpoint" in answer else int(answer["from"])

        return ask

    def sign_document(self, _conn: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """A receipt or a manifest with the service's signature in it."""
        answer, _ = self._call("sign_document", document=dict(document))
        return dict(answer["document"])

    def endorse(self, _conn: Connection) -> list[dict[str, str]]:
        """What every standing receipt key says to the list of public keys."""
        answer, _ = self._call("endorse")
        return list(answer["endorsements"])

    def sign_token(
        self,
        _conn: Connection,
        *,
        issuer: str,
        audience: str,
        subject: str,
        lifetime: timedelta,
        now: datetime,  # noqa: ARG002 - the vault goes by its own clock
        claims: Mapping[str, Any],
    ) -> str:
        """An access token for somebody enrolled."""
        answer, _ = self._call(
            "sign_token",
            issuer=issuer,
            audience=audience,
            subject=subject,
            seconds=int(lifetime.total_seconds()),
            claims=dict(claims),
        )
        return str(answer["token"])

    def sign_job(self, _conn: Connection, document: Mapping[str, Any]) -> str:
        """A signature on what a job is to do."""
        answer, _ = self._call("sign_job", document=dict(document))
        return str(answer["signature"])

    def seal_permit(
        self,
        _conn: Connection,
        permit: Mapping[str, Any],
        *,
        application: Mapping[str, Any],
        advice: Mapping[str, Any],
        approval: Mapping[str, Any],
    ) -> SignedPermit:
        """Sign a permit that two people decided on."""
        answer, _ = self._call(
            "seal_permit",
            permit=dict(permit),
            application=dict(application),
            advice=dict(advice),
            approval=dict(approval),
        )
        body = from_base64url(answer["body"])
        return SignedPermit(body, str(answer["signature"]), int(answer["key_version"]))

    def pseudonyms(
        self,
        _conn: Connection,
        permit_id: str,
        unit_type: str,
        subject_ids: Any,
        *,
        now: datetime,  # noqa: ARG002 - the vault goes by its own clock
    ) -> Spoken:
        """Pseudonyms for a column of subject ids, in pieces; null stays null."""
        column = subject_ids
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if column.type != pa.binary(_ID) or len(column) > MOST:
            raise PseudonymError(
                f"Subject ids are a column of 16 bytes each, at most {MOST} at a time."
            )
        known = column.is_valid()
        ids = pc.drop_null(column)
        raw = memoryview(ids.buffers()[1])[ids.offset * _ID : (ids.offset + len(ids)) * _ID]
        told: set[tuple[str, int]] = set()
        texts = []
        for start in range(0, max(len(raw), 1), PIECE * _ID):
            piece = bytes(raw[start : start + PIECE * _ID])
            answer, data = self._call("pseudonyms", piece, permit=permit_id, unit_type=unit_type)
            told.add((str(answer["project"]), int(answer["key_version"])))
            texts.append(data)
        if len(told) > 1:
            raise KeyringError("The pseudonym key was rotated meanwhile; ask again.")
        [(project, version)] = told
        spoken = _strings(b"".join(texts), len(ids))
        if len(ids) < len(column):
            place = pc.subtract(pc.cumulative_sum(known.cast(pa.int64())), 1)
            spoken = spoken.take(pc.if_else(known, place, None))
        return Spoken(project, version, spoken)

    def rotate_root(
        self,
        _begin: Begin,
        *,
        now: datetime,  # noqa: ARG002 - the vault goes by its own clock
        actor: str | None,
        signed: Signed | None,
    ) -> int:
        """Have the root rotated, both halves; the new version."""
        answer, _ = self._call("rotate_root", actor=actor, signed=signed)
        return int(answer["version"])

    def rotate_role(
        self,
        _begin: Begin,
        role: str,
        *,
        now: datetime,  # noqa: ARG002 - the vault goes by its own clock
        actor: str | None,
        signed: Signed | None,
    ) -> Progress:
        """Have the next step of a role's rotation done."""
        answer, _ = self._call("rotate_role", role=role, actor=actor, signed=signed)
        return Progress(int(answer["version"]), str(answer["step"]), int(answer["left"]))

    # Asking

    def wait(self, seconds: float) -> None:
        """Come back when the vault answers, sealed or not; VaultAwayError when it doesn't."""
        self._call("state", patience=seconds)

    def close(self) -> None:
        """Let go of connections that nobody uses; the next call opens another."""
        while self._idle:
            with suppress(IndexError):  # another thread took it
                self._idle.pop().close()

    def _call(
        self, call: str, data: bytes = b"", *, patience: float = AWAY, **held: Any
    ) -> tuple[dict[str, Any], bytes]:
        """One call and its answer; tried again while the vault is being started anew.

        Nothing the vault does by a call has to be undone when its answer is lost.
        """
        until = time.monotonic() + patience
        while True:
            try:
                connection = self._connected()
                try:
                    send(connection, {"call": call, **held}, data)
                    answer, more = receive(connection)
                except BaseException:
                    connection.close()
                    raise
                self._idle.append(connection)
                break
            except (OSError, Broken):
                self.close()
                if time.monotonic() > until:
                    raise VaultAwayError(
                        "The vault's process doesn't answer; nothing was done. See that it runs "
                        "(`schakel serve --roles vault`) and try again."
                    ) from None
            time.sleep(_PAUSE)
        if "error" in answer:
            raise _ERRORS.get(answer["error"], VaultAwayError)(answer["text"])
        return answer, more

    def _connected(self) -> socket.socket:
        with suppress(IndexError):
            return self._idle.pop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(PATIENCE)
            connection.connect(str(self._path))
            _refuse_stranger(connection, self._path.parent)
        except BaseException:
            connection.close()
            raise
        return connection


def _refuse_stranger(connection: socket.socket, folder: Path) -> None:
    """Whoever owns the folder is the vault's user: nobody else is told anything, or believed."""
    option = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(option)
    if user != folder.stat().st_uid:
        raise VaultAwayError(
            f"Another user than the owner of {folder} listens there and may be passing for the "
            "vault; nothing was said to it. Find out who put the socket there."
        )


_ERRORS: Mapping[str, type[KeyvaultError]] = {
    name: held
    for name, held in vars(errors).items()
    if isinstance(held, type) and issubclass(held, KeyvaultError)
}


def _values(answer: Mapping[str, Any]) -> Values:
    row, proof = dict(answer["row"]), from_base64url(answer["proof"])
    return {**row, "sealed": from_base64url(row["sealed"]), "proof": proof}


def _strings(text: bytes, count: int) -> pa.Array:
    """A string column of texts of the one length that pseudonyms have."""
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(LENGTH)
    return pa.Array.from_buffers(
        pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    )
