"""Stored objects that are sealed under a role's key: their records, and opening them."""

import pyarrow as pa
from sqlalchemy.orm import Session

from api.objects import Objects
from api.operations import found
from api.store import StoredObject
from keyvault.keyring import RoleKeys, stored_key
from keyvault.sealing import read_table


def sealed_object(session: Session, name: str) -> StoredObject:
    """The record of a stored object."""
    return found(session.get(StoredObject, name))  # type: ignore[no-any-return]


def open_object(
    session: Session, objects: Objects, role: RoleKeys, name: str, binding: str
) -> pa.Table:
    """Read a sealed table with a role's key; another role's key fails here."""
    stored: StoredObject = sealed_object(session, name)
    key = role.open(stored_key(session.connection(), found(stored.key)))
    return read_table(objects.get(name, stored.sha256), key, binding)
