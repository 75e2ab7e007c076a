"""What the recipients of a release hold already, and what they know of their own.

A project's releases speak of the same people under the same pseudonyms. Two projects don't, but an
organisation that receives both can lay the files beside each other, and what it knows of somebody
then is what both say. So everything that was cleared for a project with a recipient of the same
organisation is tested together with a release, as if the pseudonyms had been joined: subjects of
the other scope are followed to this one's where both linked the same row of the same delivery. That
is worked out in memory, for the test, and kept nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.objects import Objects
from api.operations import found, review
from api.operations.sealed import open_object
from api.store import Admission, Release
from keyvault.keyring import RoleKeys
from keyvault.vault import Vault
from policies.cumulative import UNIT, Displayed
from policies.permits import Permit

_ROW = ["row_key", "reference"]


def organisations(session: Session, vault: Vault, permit: Permit) -> set[str]:
    """The organisations of a permit's recipients."""
    connection = session.connection()
    return {vault.person(connection, one.person).organisation for one in permit.recipients}


def received(session: Session, project: str) -> list[Release]:
    """What a project has received: everything that was ever cleared for it."""
    return [row for row in _cleared(session) if row.project == project]


def everything(session: Session, vault: Vault, permit: Permit) -> list[Release]:
    """The same with what other projects received about the same kind of unit, where they share a
    recipient's organisation; in the order of clearance."""
    own = organisations(session, vault, permit)
    known: dict[str, bool] = {}
    rows = []
    for row in _cleared(session):
        if row.project != permit.project and row.permit not in known:
            other = _permit(session, vault, row)
            shares = bool(own & organisations(session, vault, other))
            known[row.permit] = shares and other.unit_type == permit.unit_type
        if row.project == permit.project or known[row.permit]:
            rows.append(row)
    return rows


def _cleared(session: Session) -> Sequence[Release]:
    rows = select(Release).where(Release.cleared_at.is_not(None))
    return session.scalars(rows.order_by(Release.cleared_at, Release.id)).all()


def _permit(session: Session, vault: Vault, release: Release) -> Permit:
    envelope = vault.permit_envelope(session.connection(), release.permit)
    return Permit.from_document(envelope["permit"])


def displayed(
    session: Session,
    vault: Vault,
    objects: Objects,
    role: RoleKeys,
    permit: Permit,
    rows: Sequence[Release],
) -> list[Displayed]:
    """What each of these releases showed, about this permit's subjects."""
    shown = []
    followed: dict[str, Mapping[bytes, bytes]] = {}
    for row in rows:
        table = open_object(session, objects, role, found(row.profile), f"profile|{row.id}|1")
        one = Displayed.from_table(table)
        if row.project != permit.project:
            scope = _permit(session, vault, row).scope
            if scope != permit.scope and scope not in followed:
                followed[scope] = _followed(session, objects, role, scope, permit.scope)
            one = _from_elsewhere(one, row.project, followed.get(scope))
        shown.append(one)
    return shown


def _followed(
    session: Session, objects: Objects, role: RoleKeys, theirs: str, ours: str
) -> dict[bytes, bytes]:
    """Subject of their scope → subject of ours, by rows that both linked; where rows disagree the
    one that most of them say, and of two the one that sorts first."""
    pieces = []
    for other in _admissions(session, theirs):
        same = (Admission.scope == ours, Admission.delivery == other.delivery)
        own = session.scalar(select(Admission).where(*same))
        if own is not None:
            left = _links(session, objects, role, other).rename_columns([*_ROW, "theirs"])
            right = _links(session, objects, role, own).rename_columns([*_ROW, "ours"])
            pieces.append(left.join(right, _ROW, join_type="inner").select(["theirs", "ours"]))
    if not pieces:
        return {}
    counted = pa.concat_tables(pieces).group_by(["theirs", "ours"]).aggregate([([], "count_all")])
    ordered = counted.sort_by(
        [("count_all", "descending"), ("theirs", "ascending"), ("ours", "ascending")]
    )
    return _one_to_one(ordered["theirs"].to_pylist(), ordered["ours"].to_pylist())


def _one_to_one(theirs: Sequence[bytes], ours: Sequence[bytes]) -> dict[bytes, bytes]:
    """The first pair of each; nobody of ours stands for two of theirs."""
    found_: dict[bytes, bytes] = {}
    taken: set[bytes] = set()
    for one, other in zip(theirs, ours, strict=True):
        if one not in found_ and other not in taken:
            found_[one] = other
            taken.add(other)
    return found_


def _admissions(session: Session, scope: str) -> Sequence[Admission]:
    rows = select(Admission).where(Admission.scope == scope)
    return session.scalars(rows.order_by(Admission.position)).all()


def _links(session: Session, objects: Objects, role: RoleKeys, admission: Admission) -> pa.Table:
    binding = f"links|{admission.scope}|{admission.delivery}"
    links = open_object(session, objects, role, admission.links, binding)
    decided = review.as_decided(session, objects, role, admission.scope, links)
    columns = decided.select([*_ROW, "subject"])
    return columns.set_column(2, "subject", columns["subject"].cast(pa.binary()))


def _from_elsewhere(
    shown: Displayed, project: str, followed: Mapping[bytes, bytes] | None
) -> Displayed:
    """Another project's release, about our subjects where they were followed."""
    table = shown.table
    if followed is not None:
        units = table.column(UNIT).combine_chunks()
        names = units.cast(pa.binary()).to_pylist()
        ours: Any = pa.array([followed.get(name, name) for name in names], pa.binary())
        table = table.set_column(table.column_names.index(UNIT), UNIT, ours.cast(units.type))
    return replace(shown, release=f"{shown.release} ({project})", table=table)
