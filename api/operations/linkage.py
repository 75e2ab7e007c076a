"""Admitting deliveries to a scope's spine: a worker's work, with the linkage role's key."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.objects import Objects
from api.operations import Progress, Stored, Work, consents, found, review, standing
from api.operations.sealed import open_object
from api.problems import Problem
from api.store import Admission, Dataset, Delivery, reading
from keyvault.keyring import RoleKeys
from keyvault.pseudonyms import Origins, subject_ids
from keyvault.sealing import write_table
from keyvault.vault import Vault
from linkage import engine as linking
from linkage import extracts
from linkage import review as pairing
from linkage.datasets import Dataset as Declaration
from linkage.review import View
from linkage.spine import Segment, Spine
from policies.permits import Permit


@dataclass(frozen=True)
class Admitted:
    """What a linkage run made before anything of it is recorded."""

    scope: str
    position: int
    delivery: str
    permit: str
    objects: dict[str, Stored]
    quality: dict[str, Any]
    pairs: pa.Table
    """Those that a human must decide about, with their ids."""
    views: list[View]
    conversions: list[str]
    """The conversion lists that were used."""


def identifiers_of(
    session: Session, objects: Objects, role: RoleKeys, delivery: Delivery
) -> pa.Table:
    """The identifiers of an accepted delivery."""
    return open_object(
        session, objects, role, found(delivery.identifiers), f"identifiers|{delivery.id}|1"
    )


def admissions(session: Session, scope: str) -> list[Admission]:
    """A scope's admissions in the order of its spine."""
    return list(
        session.scalars(
            select(Admission).where(Admission.scope == scope).order_by(Admission.position)
        )
    )


def spine(session: Session, objects: Objects, role: RoleKeys, scope: str) -> Spine:
    """Everyone a scope knows, read with the linkage role's key."""
    return Spine(tuple(_segments(session, objects, role, scope)))


def _segments(session: Session, objects: Objects, role: RoleKeys, scope: str) -> Iterator[Segment]:
    for admission in admissions(session, scope):
        delivery: Delivery = found(session.get(Delivery, admission.delivery))
        where = f"{scope}|{admission.position}"
        yield Segment(
            records=open_object(
                session, objects, role, admission.records, f"spine-records|{where}"
            ),
            seen=open_object(session, objects, role, admission.seen, f"spine-seen|{where}"),
            delivery=delivery.id,
            dataset=delivery.dataset,
            period=delivery.period,
            whole=delivery.mode in standing.WHOLE,
        )


def conversions(
    session: Session, vault: Vault, objects: Objects, permit: Permit
) -> dict[str, pa.Table]:
    """The bis-to-national pairs of every conversion list that stands, by delivery.

    A list is used by whoever may link by it, and named by no permit; where its holder's consent is
    asked for and isn't given, the list is left aside.
    """
    role = vault.role("linkage")
    tables = {}
    for delivery in session.scalars(
        select(Delivery)
        .where(Delivery.state == "accepted")
        .order_by(Delivery.dataset, Delivery.period, Delivery.generation)
    ):
        dataset: Dataset = found(session.get(Dataset, delivery.dataset))
        declared = Declaration.from_mapping(dataset.declaration)
        if declared.kind != "conversion":
            continue
        if consents.under(session, vault, permit, dataset) == "given":
            identifiers = identifiers_of(session, objects, role, delivery)
            tables[delivery.id] = extracts.conversions(identifiers, declared)
    return tables


def admit(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    permit_id: str,
    delivery_id: str,
    now: datetime,
    progress: Progress,
) -> Admitted | None:
    """Link one delivery with everyone the permit's scope knows; None when it stands there already.

    Every delivery, first or tenth, is admitted the same way: later additions are no special case.
    """
    role = vault.role("linkage")
    with reading(engine) as session:
        connection = session.connection()
        permit = vault.permit(connection, permit_id, "link", now=now)
        delivery: Delivery = found(session.get(Delivery, delivery_id))
        if not permit.allows(delivery.dataset, delivery.period):
            raise Problem(
                "no-permit",
                "The permit doesn't name this dataset for its period.",
                "Ask for it in an extension of the project's permit.",
            )
        before = admissions(session, permit.scope)
        if any(admission.delivery == delivery_id for admission in before):
            return None
        standing.refuse_withdrawn(delivery)
        consents.demand(session, vault, permit, [delivery.dataset])
        progress("read the spine", 0.0)
        known = spine(session, objects, role, permit.scope)
        declared = Declaration.from_mapping(
            found(session.get(Dataset, delivery.dataset)).declaration
        )
        identifiers = identifiers_of(session, objects, role, delivery)
        wanted = "conversion" in permit.linkage_keys
        lists = conversions(session, vault, objects, permit) if wanted else {}
        decided = review.in_force(session, objects, role, permit.scope)
        earlier = [
            review.listed(session, objects, role, permit.scope, one.position) for one in before
        ]
        sealed = vault.scope_keys(connection, permit.scope, now=now)
        sealer = vault.sealer(connection)
    coming = linking.Delivery(
        delivery=delivery.id,
        dataset=delivery.dataset,
        period=delivery.period,
        records=linking.reference_records(identifiers, declared),
        whole=delivery.mode in standing.WHOLE,
    )
    plan = linking.Plan.default().restricted(permit.linkage_keys)
    result = linking.link(
        coming,
        known,
        plan,
        conversions=pa.concat_tables(lists.values()) if lists else None,
        decisions=decided,
        progress=progress,
    )
    progress("seal", 0.0)
    ids = _group_subjects(coming, found(delivery.generation), result, role.open(sealed.subject_id))
    segment = known.admit(coming, result, ids)
    pairs = pairing.listed(known, result, ids, plan.link_threshold)
    views = pairing.views(pairs, known, result, ids, plan.keys)
    pairs = review.named(pairs, earlier)
    position = len(before) + 1
    links = result.links.append_column("subject", pc.take(ids, result.links["group"])).drop_columns(
        ["group"]
    )
    where = f"{permit.scope}|{position}"
    stored = {}
    for kind, owner_role, table, binding in (
        ("records", "linkage", segment.records, f"spine-records|{where}"),
        ("seen", "linkage", segment.seen, f"spine-seen|{where}"),
        ("review", "linkage", pairs, f"review|{where}"),
        ("links", "release", links, f"links|{permit.scope}|{delivery.id}"),
    ):
        key, sealed_key = sealer.new_key(owner_role, binding.split("|")[0], where)
        name, digest = objects.put(write_table(table, key, binding), owner_role)
        stored[kind] = Stored(name, digest, sealed_key)
    return Admitted(
        permit.scope,
        position,
        delivery.id,
        permit.id,
        stored,
        result.quality,
        pairs,
        views,
        list(lists),
    )


def _group_subjects(
    coming: linking.Delivery, generation: int, result: linking.LinkResult, key: Any
) -> pa.Array:
    """One subject id for each group: the one it had, or a new one from where it was first seen."""
    groups = result.groups.sort_by("group")
    fresh = subject_ids(
        key,
        Origins(
            coming.dataset,
            coming.period,
            generation,
            groups["first_record"],
            groups["first_reference"],
        ),
    )
    return pc.coalesce(groups["subject"].combine_chunks(), fresh)


def record_admission(work: Work, admitted: Admitted) -> None:
    """Commit a linkage run: spine segment, links, review list and ledger entry together."""
    names = {
        kind: work.recorded(stored, f"spine-{kind}") for kind, stored in admitted.objects.items()
    }
    work.session.add(
        Admission(
            scope=admitted.scope,
            position=admitted.position,
            delivery=admitted.delivery,
            quality=admitted.quality,
            admitted_at=work.now,
            **names,
        )
    )
    review.record_pairs(work, admitted.scope, admitted.pairs, admitted.views)
    work.session.flush()
    work.note(
        "delivery.linked",
        delivery=admitted.delivery,
        scope=admitted.scope,
        permit=admitted.permit,
        spine_version=admitted.position,
        review=admitted.pairs.num_rows,
        conversions=admitted.conversions,
    )
