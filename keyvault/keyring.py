"""Which keys live, who may open them, and since when.

Each process role has a hybrid HPKE key pair (ML-KEM-768 with X25519, so that either of the two may
fall: HPKE of RFC 9180 in base mode with X-Wing, HKDF-SHA256 and AES-256-GCM). Every other key is
sealed to the public half of the role that may open it: a `Sealer` needs no secret, so that intake
can write what only linkage can read. Purpose and owner are bound into the seal (HPKE `info`), so
a sealed key moved to another place doesn't open.

    Sealer      public halves               makes and seals new keys
    SealedKey   what is stored              opened by one role
    RoleKeys    private half of one role    opens what was sealed to it
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from sqlalchemy import Connection, func, insert, select

from keyvault import tables
from keyvault.errors import KeyringError, SealError, SignatureError
from keyvault.primitives import hkdf
from keyvault.secret import (
    AGE_PURPOSE,
    MAC_PURPOSES,
    SIGNING_PURPOSES,
    FileKey,
    Secret,
    reveal,
)
from keyvault.signing import (
    canonical,
    from_base64url,
    instant,
    read_canonical,
    to_base64url,
    utc_text,
)

ROLES = ("intake", "linkage", "release", "identified", "vault")
"""Process roles with a key pair; each holds the private half of its own and no other."""

STATES = ("pending", "active", "decrypt-only", "destroyed")
"""`pending`: known, not yet written with. `decrypt-only`: opens what it sealed, seals no more."""

VAULT_PURPOSES = MAC_PURPOSES | {"spine", AGE_PURPOSE, *SIGNING_PURPOSES}
"""Purposes of keys that only the vault makes."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_SEED = 64  # ML-KEM-768 private half as its seed (FIPS 203); 32 bytes of X25519 follow
_ENCAPSULATION = 1184


@dataclass(frozen=True)
class SealedKey:
    """A key as it is stored: sealed to one version of a role's key pair, for one purpose."""

    role: str
    role_version: int
    purpose: str
    owner: str
    ciphertext: bytes

    @property
    def info(self) -> bytes:
        """What the seal is bound to: canonical JSON of everything but the ciphertext."""
        return canonical(self._header())

    def to_bytes(self) -> bytes:
        """Canonical JSON, the ciphertext in base64url."""
        return canonical({**self._header(), "ciphertext": to_base64url(self.ciphertext)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "SealedKey":
        """Read what `to_bytes` wrote; KeyringError for anything else."""
        try:
            held = read_canonical(data)
            sealed = cls(
                role=held["role"],
                role_version=held["role_version"],
                purpose=held["purpose"],
                owner=held["owner"],
                ciphertext=from_base64url(held["ciphertext"]),
            )
            sound = sealed.to_bytes() == data
        except (SignatureError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise KeyringError("These bytes are no sealed key; restore the row from a backup.")
        return sealed

    def _header(self) -> dict[str, Any]:
        return {
            "type": "sealed-key",
            "version": 1,
            "role": self.role,
            "role_version": self.role_version,
            "purpose": self.purpose,
            "owner": self.owner,
        }


class RoleKeys:
    """The private half of one role, in all versions that still open something.

    Its `credential` is for handing over to a child process, through a pipe, which then holds
    this role's key and no other.
    """

    __slots__ = ("_halves", "_raw", "role")

    def __init__(self, role: str, halves: Mapping[int, bytes]) -> None:
        self.role = role
        self._raw = {version: Secret(half) for version, half in halves.items()}
        self._halves = {version: _private(half) for version, half in halves.items()}

    def __repr__(self) -> str:
        return f"<RoleKeys {self.role}, versions {sorted(self._raw)}, bytes hidden>"

    __reduce_ex__ = Secret.__reduce_ex__

    def open(self, sealed: SealedKey) -> FileKey:
        """Open a key sealed to this role; KeyringError or SealError when it isn't for us."""
        key = FileKey(self._decrypt(sealed), sealed.purpose, sealed.owner)
        if len(reveal(key)) != 32:
            raise SealError("The sealed key has another length than 32 bytes; don't use it.")
        return key

    def open_identity(self, sealed: SealedKey) -> Any:
        """Open the age identity that uploads are encrypted to (`pyrage.x25519.Identity`)."""
        if sealed.purpose != AGE_PURPOSE:
            raise KeyringError(f"This is a key for {sealed.purpose}, not an age identity.")
        try:
            return pyrage.x25519.Identity.from_str(self._decrypt(sealed).decode())
        except (pyrage.IdentityError, UnicodeDecodeError):
            raise SealError("What was sealed is no age identity; don't use it.") from None

    def reseal(self, sealed: SealedKey, sealer: "Sealer") -> SealedKey:
        """The same key, sealed to the present version of this role."""
        return sealer.seal(sealed.role, sealed.purpose, sealed.owner, self._decrypt(sealed))

    def credential(self) -> bytes:
        """The private half itself, secret: for the standard input of one child process."""
        halves = {str(version): to_base64url(reveal(raw)) for version, raw in self._raw.items()}
        return canonical(
            {"type": "role-credential", "version": 1, "role": self.role, "halves": halves}
        )

    @classmethod
    def from_credential(cls, data: bytes) -> "RoleKeys":
        """What a child process makes of the credential it was given."""
        try:
            held = read_canonical(data)
            halves = {int(number): from_base64url(half) for number, half in held["halves"].items()}
            if held["type"] != "role-credential" or held["role"] not in ROLES or not halves:
                raise ValueError
            return cls(held["role"], halves)
        except (SignatureError, ValueError, KeyError, TypeError, AttributeError):
            raise KeyringError(
                "This is no credential of a process role; ask the vault for one."
            ) from None

    def derived(self, use: str) -> dict[int, Secret]:
        """A secret for another use from each version, by HKDF-SHA256."""
        info = f"schakel/1 {use}".encode()
        return {version: Secret(hkdf(reveal(raw), info)) for version, raw in self._raw.items()}

    def _decrypt(self, sealed: SealedKey) -> bytes:
        if sealed.role != self.role:
            raise KeyringError(
                f"This key is sealed to the role {sealed.role}; this process has only the role "
                f"{self.role}. Let a worker of the role {sealed.role} do it."
            )
        half = self._halves.get(sealed.role_version)
        if half is None:
            raise KeyringError(
                f"This key is sealed to version {sealed.role_version} of the role {self.role}, "
                "which this process wasn't given; restart it to get the present versions."
            )
        try:
            return _SUITE.decrypt(sealed.ciphertext, half, info=sealed.info)
        except InvalidTag:
            raise SealError(
                "The sealed key doesn't open: it was changed, or moved from another place. "
                "Restore the row from a backup."
            ) from None


class Sealer:
    """The public halves of the roles: makes keys that only a named role opens afterwards."""

    def __init__(self, publics: Mapping[str, tuple[int, bytes]]) -> None:
        self._publics = {role: (version, half) for role, (version, half) in publics.items()}
        self._keys = {role: _public(half) for role, (_, half) in publics.items()}

    def __repr__(self) -> str:
        return f"<Sealer for {', '.join(sorted(self._publics))}>"

    def new_key(self, role: str, purpose: str, owner: str) -> tuple[FileKey, SealedKey]:
        """A fresh 256-bit key: to use now and drop, and sealed to keep."""
        data = secrets.token_bytes(32)
        return FileKey(data, purpose, owner), self.seal(role, purpose, owner, data)

    def new_identity(self, owner: str) -> tuple[str, SealedKey]:
        """A fresh age identity for uploads: its recipient to publish, and sealed to intake."""
        identity = pyrage.x25519.Identity.generate()
        sealed = self.seal("intake", AGE_PURPOSE, owner, str(identity).encode())
        return str(identity.to_public()), sealed

    def seal(self, role: str, purpose: str, owner: str, data: bytes) -> SealedKey:
        """Seal given bytes; `new_key` is what callers outside keyvault want."""
        if role not in self._publics:
            raise KeyringError(f"There is no process role {role}; use one of {', '.join(ROLES)}.")
        version, _ = self._publics[role]
        header = SealedKey(role, version, purpose, owner, b"")
        return replace(header, ciphertext=_SUITE.encrypt(data, self._keys[role], info=header.info))

    def version(self, role: str) -> int:
        """The version of a role's key pair that is sealed to."""
        return self._publics[role][0]

    def to_json(self) -> str:
        """The public halves as JSON, for a process without the database."""
        roles = {
            role: {"version": version, "public": to_base64url(half)}
            for role, (version, half) in self._publics.items()
        }
        return canonical({"type": "role-keys", "version": 1, "roles": roles}).decode()

    @classmethod
    def from_json(cls, text: str) -> "Sealer":
        """The inverse; take it from the vault only: who swaps a half reads what is sealed."""
        try:
            held = json.loads(text)
            if held["type"] != "role-keys" or held["version"] != 1:
                raise ValueError
            return cls(
                {
                    role: (int(half["version"]), from_base64url(half["public"]))
                    for role, half in held["roles"].items()
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise KeyringError("These are no public halves of roles; ask the vault.") from None


LIFETIMES = {
    "root": timedelta(days=730),
    "role": timedelta(days=730),
    AGE_PURPOSE: timedelta(days=365),
    "token": timedelta(days=90),
    **dict.fromkeys(("permit", "receipt", "ledger", "job"), timedelta(days=365)),
}
"""How long a key is used before its rotation is due: within what NIST SP 800-57 part 1 (revision 5,
5.3.6) has for keys of these uses. Keys of data and pseudonyms last as long as what they are for."""


@dataclass(frozen=True)
class KeyInfo:
    """One line of the list of keys: everything but the bytes. `id` only for sealed keys."""

    purpose: str
    owner: str
    version: int
    state: str
    role: str
    created_at: datetime
    id: str | None = None

    def age(self, now: datetime) -> timedelta:
        """How long the key has existed."""
        return now - self.created_at

    @property
    def due(self) -> datetime | None:
        """When its rotation is due; None for what isn't rotated by the calendar, or is over."""
        lifetime = LIFETIMES.get(self.purpose)
        return self.created_at + lifetime if lifetime and self.state == "active" else None


def new_halves() -> tuple[bytes, bytes]:
    """A fresh role key pair: (private half, public half), raw."""
    encapsulation, exchange = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    private = encapsulation.private_bytes_raw() + exchange.private_bytes_raw()
    return private, public_half(private)


def public_half(private: bytes) -> bytes:
    """The public half that belongs to a private one."""
    encapsulation = MLKEM768PrivateKey.from_seed_bytes(private[:_SEED])
    exchange = X25519PrivateKey.from_private_bytes(private[_SEED:])
    return encapsulation.public_key().public_bytes_raw() + exchange.public_key().public_bytes_raw()


def _private(raw: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(raw[:_SEED]),
        X25519PrivateKey.from_private_bytes(raw[_SEED:]),
    )


def _public(raw: bytes) -> MLKEM768X25519PublicKey:
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_ENCAPSULATION]),
        X25519PublicKey.from_public_bytes(raw[_ENCAPSULATION:]),
    )


def new_key_id() -> str:
    """An opaque id for a row of a sealed key."""
    return f"key-{secrets.token_hex(12)}"


def store_key(conn: Connection, sealed: SealedKey, *, now: datetime) -> str:
    """Keep a sealed key; the id that comes back is what the object's row refers to.

    Another key for the same purpose and owner becomes its next version. Purposes of keys that the
    vault itself makes are refused: a row of those needs its proof. So is a key sealed to a version
    of its role that was destroyed meanwhile: nothing would open it.
    """
    if sealed.purpose in VAULT_PURPOSES:
        raise KeyringError(f"Keys for {sealed.purpose} are the vault's to make; ask it for one.")
    pair = tables.role_key.c
    state = select(pair.state).where(pair.role == sealed.role, pair.version == sealed.role_version)
    if conn.scalar(state) not in ("active", "decrypt-only"):
        raise KeyringError(
            f"That version of the role {sealed.role} is over; begin again, with its present one."
        )
    key_id = new_key_id()
    conn.execute(
        insert(tables.sealed_key).values(
            id=key_id,
            purpose=sealed.purpose,
            owner=sealed.owner,
            version=next_version(conn, sealed.purpose, sealed.owner),
            state="active",
            role=sealed.role,
            sealed=sealed.to_bytes(),
            created_at=utc_text(now),
        )
    )
    return key_id


def stored_key(conn: Connection, key_id: str) -> SealedKey:
    """The sealed key of an id; KeyringError when there is none or it was destroyed."""
    row = conn.execute(select(tables.sealed_key).where(tables.sealed_key.c.id == key_id)).first()
    if row is None:
        raise KeyringError("There is no key of that id; restore the key backup that has it.")
    if row.state == "destroyed":
        raise KeyringError("That key was destroyed; what it sealed can't be read any more.")
    return SealedKey.from_bytes(row.sealed)


def next_version(conn: Connection, purpose: str, owner: str) -> int:
    """The version that a new key of this purpose and owner gets, from 1."""
    column = tables.sealed_key.c
    highest = conn.scalar(
        select(func.max(column.version)).where(column.purpose == purpose, column.owner == owner)
    )
    return (highest or 0) + 1


def list_keys(conn: Connection) -> list[KeyInfo]:
    """Every key there is or was, root versions and role keys first; no bytes."""
    roots = conn.execute(select(tables.root).order_by(tables.root.c.version))
    pairs = conn.execute(
        select(tables.role_key).order_by(tables.role_key.c.role, tables.role_key.c.version)
    )
    column = tables.sealed_key.c
    sealed = conn.execute(
        select(tables.sealed_key).order_by(column.purpose, column.owner, column.version)
    )
    return [
        *(
            KeyInfo("root", "service", row.version, row.state, "custody", instant(row.created_at))
            for row in roots
        ),
        *(
            KeyInfo("role", row.role, row.version, row.state, row.role, instant(row.created_at))
            for row in pairs
        ),
        *(
            KeyInfo(
                row.purpose,
                row.owner,
                row.version,
                row.state,
                row.role,
                instant(row.created_at),
                row.id,
            )
            for row in sealed
        ),
    ]
