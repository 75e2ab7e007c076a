"""What the root wraps, and how it gets rewrapped.

That is little: the private halves of the role key pairs, with their public halves as associated
data (a swapped public half is noticed), and the founding administrators' enrolments. So a rotation
of the root rewrites a handful of rows and no file. Three steps, each of which may be the last
before a crash:

    1. custody gets a new version            durable; nothing refers to it yet
    2. one transaction rewraps all rows      either all of them name the new version, or none
    3. custody drops the old version         in a later transaction, when no row names it, and when
                                             every row opens from the custody read anew

`rotate` first drops a version that a crash after step 1 left over; `finish` does step 3, again if
need be. Moving to another custody is the same with a new version there. All begin by writing the
root's row, so that they wait for each other.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from keyvault import tables
from keyvault.custody import Custody
from keyvault.errors import KeyringError, SealError
from keyvault.keyring import ROLES, RoleKeys, new_halves
from keyvault.signing import canonical, read_canonical, to_base64url, utc_text

_FOUNDERS_AAD = b'{"type":"founders","version":1}'


class Wrapped:
    """The rows wrapped by the root; keeps what it unwrapped in memory."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._founders: dict[bytes, tuple[dict[str, Any], ...]] = {}
        self._rotation: Any = None

    def found(self, conn: Connection, founders: Sequence[Mapping[str, Any]], now: datetime) -> int:
        """Make the role key pairs and seal the founders; the root version comes back."""
        if conn.scalar(select(tables.root.c.version).limit(1)) is not None:
            raise KeyringError("This database has its keys already; open the vault instead.")
        version = self._custody.versions()[-1]
        at = utc_text(now)
        conn.execute(insert(tables.root).values(version=version, state="active", created_at=at))
        for role in ROLES:
            private, public = new_halves()
            aad = _pair_aad(role, 1, public)
            conn.execute(
                insert(tables.role_key).values(
                    role=role,
                    version=1,
                    state="active",
                    public=public,
                    root_version=version,
                    wrapped=self._custody.wrap(version, private, aad),
                    created_at=at,
                )
            )
        document = canonical({"founders": [dict(founder) for founder in founders]})
        wrapped = self._custody.wrap(version, document, _FOUNDERS_AAD)
        conn.execute(insert(tables.founders).values(id=1, root_version=version, wrapped=wrapped))
        return version

    def role_keys(
        self, conn: Connection
    ) -> tuple[dict[str, RoleKeys], dict[str, tuple[int, bytes]]]:
        """Every role's private halves, and the active public one with its version."""
        halves: dict[str, dict[int, bytes]] = {}
        publics: dict[str, tuple[int, bytes]] = {}
        column = tables.role_key.c
        living = select(tables.role_key).where(column.state != "destroyed")
        for row in conn.execute(living.order_by(column.version)):
            private = self._custody.unwrap(row.root_version, row.wrapped, _row_aad(row))
            halves.setdefault(row.role, {})[row.version] = private
            if row.state == "active":
                publics[row.role] = (row.version, row.public)
        if set(publics) != set(ROLES):
            raise KeyringError(
                "This database has no keys of every process role; found the vault first "
                "(`schakel init`), or restore the key backup."
            )
        return {role: RoleKeys(role, versions) for role, versions in halves.items()}, publics

    def founders(self, conn: Connection) -> tuple[dict[str, Any], ...]:
        """The founding enrolments."""
        row = conn.execute(select(tables.founders)).first()
        if row is None:
            raise SealError("The sealed founders are gone; restore the key backup.")
        if row.wrapped not in self._founders:
            data = self._custody.unwrap(row.root_version, row.wrapped, _FOUNDERS_AAD)
            self._founders = {row.wrapped: tuple(read_canonical(data)["founders"])}
        return self._founders[row.wrapped]

    def rotate(self, conn: Connection, now: datetime) -> tuple[int, int]:
        """Step 1 and 2; (old version, new version)."""
        old = _lock(conn)
        for leftover in set(self._custody.versions()) - _referred(conn):
            self._custody.drop(leftover)
        new = self._custody.add()
        self._rewrap(conn, self._custody, old, new, now)
        return old, new

    def move(self, conn: Connection, to: Custody, now: datetime) -> tuple[int, int]:
        """The same under the last version of another custody, which is ours from then on."""
        old, new = _lock(conn), to.versions()[-1]
        self._rewrap(conn, to, old, new, now)
        self._custody = to
        return old, new

    def _rewrap(self, conn: Connection, to: Custody, old: int, new: int, now: datetime) -> None:
        column = tables.role_key.c
        for row in conn.execute(select(tables.role_key).where(column.state != "destroyed")).all():
            this = (column.role == row.role) & (column.version == row.version)
            values = self._rewrapped(to, row, new, _row_aad(row))
            conn.execute(update(tables.role_key).where(this).values(values))
        founders = conn.execute(select(tables.founders)).one()
        values = self._rewrapped(to, founders, new, _FOUNDERS_AAD)
        conn.execute(update(tables.founders).values(values))
        _set_state(conn, old, "decrypt-only")
        at = utc_text(now)
        conn.execute(insert(tables.root).values(version=new, state="active", created_at=at))
        self._rotation = conn.get_transaction()

    def finish(self, conn: Connection) -> tuple[int, ...]:
        """Step 3; the root versions that are no more."""
        if self._rotation is not None and self._rotation is conn.get_transaction():
            raise KeyringError(
                "The rotation isn't committed yet; commit it, then finish it in a new transaction."
            )
        _lock(conn)
        referred = _referred(conn)
        spare = set(self._custody.versions()) - referred
        column = tables.root.c
        superseded = conn.scalars(
            select(column.version).where(column.state == "decrypt-only").order_by(column.version)
        ).all()
        if spare or superseded:
            Wrapped(self._custody.afresh()).open_all(conn)
        for version in spare:
            self._custody.drop(version)
        gone = tuple(version for version in superseded if version not in referred)
        for version in gone:
            _set_state(conn, version, "destroyed")
        return gone

    def open_all(self, conn: Connection) -> None:
        """Open everything wrapped: what can't be opened any more is an error now, not later."""
        self.role_keys(conn)
        self.founders(conn)

    def _rewrapped(self, to: Custody, row: Row[Any], new: int, aad: bytes) -> dict[str, Any]:
        secret = self._custody.unwrap(row.root_version, row.wrapped, aad)
        return {"root_version": new, "wrapped": to.wrap(new, secret, aad)}

    # A role's key pair

    def add_pair(self, conn: Connection, role: str, now: datetime) -> int:
        """The next version of a role's key pair, pending: known to its role, not yet sealed to."""
        root = _lock(conn)
        column = tables.role_key.c
        last = conn.scalar(select(func.max(column.version)).where(column.role == role))
        version = int(last or 0) + 1
        private, public = new_halves()
        conn.execute(
            insert(tables.role_key).values(
                role=role,
                version=version,
                state="pending",
                public=public,
                root_version=root,
                wrapped=self._custody.wrap(root, private, _pair_aad(role, version, public)),
                created_at=utc_text(now),
            )
        )
        return version


def _pair_aad(role: str, version: int, public: bytes) -> bytes:
    """What a wrapped private half is bound to."""
    return canonical(
        {
            "type": "role-key",
            "version": 1,
            "role": role,
            "role_version": version,
            "public": to_base64url(public),
        }
    )


def _row_aad(row: Row[Any]) -> bytes:
    return _pair_aad(row.role, row.version, row.public)


def _lock(conn: Connection) -> int:
    """Wait for any other rotation to end; the active version."""
    active = tables.root.c.state == "active"
    conn.execute(update(tables.root).where(active).values(state="active"))
    return active_root(conn)


def active_root(conn: Connection) -> int:
    """The root version in use; KeyringError when this database has no keys."""
    version = conn.scalar(select(tables.root.c.version).where(tables.root.c.state == "active"))
    if version is None:
        raise KeyringError("This database has no keys yet; found the vault (`schakel init`).")
    return int(version)


def _referred(conn: Connection) -> set[int]:
    """The root versions that some row is wrapped under."""
    column = tables.role_key.c
    living = select(column.root_version).where(column.state != "destroyed")
    return set(conn.scalars(living.union(select(tables.founders.c.root_version))))


def _set_state(conn: Connection, version: int, state: str) -> None:
    this = tables.root.c.version == version
    conn.execute(update(tables.root).where(this).values(state=state))
