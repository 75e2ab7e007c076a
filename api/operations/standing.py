"""Which deliveries of a dataset and period count, and which rows of them.

Deliveries of one dataset and period are numbered in the order in which they were received whole
(their `generation`, given under the write lock); intake may finish with them in any order. What
counts is what the accepted ones among them come to, one after the other:

    new       the first; there is none yet
    replace   the whole file anew: everything before it is superseded, once it has been accepted
    append    further rows, beside those that are there
    correct   for each unit (`self`) that it names, earlier rows about that unit are set aside and
              its own count; other units stay, and a unit that wasn't there is added

A correction is resolved where somebody is somebody: on a scope's links, when a release is built.
It removes nobody; a unit that should be gone is left out of a file that replaces. What was rejected
changes nothing. Of a dataset with one row per unit, a unit that stands in several deliveries is
shown by the earliest one's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from api.objects import Objects
from api.operations import Work, found, review
from api.operations.assembly import GENERATION
from api.operations.sealed import open_object
from api.problems import Problem
from api.store import Admission, Delivery, Release
from keyvault.keyring import RoleKeys

MODES = ("new", "replace", "append", "correct")
WHOLE = ("new", "replace")
"""Modes of a file that is all of its dataset for the period."""
RECEIVED = ("received", "checking", "accepted")
ONCE_ACCEPTED = ("accepted", "superseded", "withdrawn")


# -- the order of deliveries -----------------------------------------------------------------------


def _of(dataset: str, period: str, *states: str) -> tuple[ColumnElement[bool], ...]:
    here = (Delivery.dataset == dataset, Delivery.period == period)
    return (*here, Delivery.state.in_(states)) if states else here


def standing(session: Session, dataset: str, period: str) -> list[Delivery]:
    """The deliveries that count now, by generation."""
    rows = select(Delivery).where(*_of(dataset, period, "accepted")).order_by(Delivery.generation)
    return list(session.scalars(rows))


def unfit(session: Session, dataset: str, period: str, mode: str) -> Problem | None:
    """Why no delivery of this mode can be taken now.

    Asked when an upload is opened, and again when it is whole: what stands may have changed.
    """
    here = session.scalars(select(Delivery).where(*_of(dataset, period, *RECEIVED))).all()
    accepted = any(row.state == "accepted" for row in here)
    if mode == "new" and here:
        return Problem(
            "already-delivered",
            f"Delivery {here[0].id} of this dataset for {period} is {here[0].state}.",
            "Nothing has to be sent again; to change it, name a mode: replace, append or correct.",
        )
    if mode != "new" and not accepted:
        return Problem(
            "nothing-stands",
            f"No accepted delivery of this dataset for {period} is there to {mode}"
            + (" to." if mode == "append" else "."),
            "Wait until the one that is being checked has been accepted."
            if here
            else "Send the file as a new delivery.",
        )
    return None


def receive(session: Session, delivery: Delivery) -> None:
    """Give a delivery that came in whole its place in the order. In a writing transaction."""
    last = select(func.max(Delivery.generation)).where(*_of(delivery.dataset, delivery.period))
    delivery.generation = (session.scalar(last) or 0) + 1


def accept(work: Work, delivery: Delivery) -> None:
    """Work out what an accepted delivery supersedes, or what it is superseded by already.

    Whichever intake ends first, the outcome is that of the generations' order.
    """
    here = _of(delivery.dataset, delivery.period, *ONCE_ACCEPTED)
    later = work.session.scalar(
        select(Delivery)
        .where(*here, Delivery.mode.in_(WHOLE), Delivery.generation > delivery.generation)
        .order_by(Delivery.generation)
        .limit(1)
    )
    if later is not None:
        _supersede(work, delivery, later)
    elif delivery.mode in WHOLE:
        for row in standing(work.session, delivery.dataset, delivery.period):
            if found(row.generation) < found(delivery.generation):
                _supersede(work, row, delivery)


def _supersede(work: Work, delivery: Delivery, by: Delivery) -> None:
    delivery.state, delivery.superseded_by = "superseded", by.id
    work.note(
        "delivery.superseded",
        delivery=delivery.id,
        dataset=delivery.dataset,
        period=delivery.period,
        by=by.id,
    )


# -- what a release is made of ---------------------------------------------------------------------


def counting(session: Session, dataset: str, period: str) -> list[Delivery]:
    """What a release asked for now is made of; a Problem when nothing is there."""
    deliveries = standing(session, dataset, period)
    if deliveries and not any(row.mode in WHOLE for row in deliveries):
        raise Problem(
            "nothing-delivered",
            f"What stands of {dataset} for {period} adds to a delivery that its holder withdrew.",
            "Ask its holder to replace it by the whole file.",
        )
    if not deliveries:
        raise Problem(
            "nothing-delivered",
            f"No accepted delivery of {dataset} for {period} is here.",
            "Ask its holder to upload it, or leave the dataset out.",
        )
    return deliveries


def named(session: Session, release: Release, dataset: str) -> list[Delivery]:
    """What a release is made of: what stood when it was asked for, superseded since or not."""
    chosen = release.request["deliveries"][dataset]
    deliveries = [found(session.get(Delivery, identifier)) for identifier in chosen]
    for delivery in deliveries:
        refuse_withdrawn(delivery)
    return deliveries


def refuse_withdrawn(delivery: Delivery) -> None:
    """What its holder took back is opened by nobody any more."""
    if delivery.state == "withdrawn":
        raise Problem(
            "delivery-withdrawn",
            f"Delivery {delivery.id} of {delivery.dataset} was withdrawn by its holder.",
            "Ask for the release again; it is then made of what stands now.",
        )


@dataclass(frozen=True)
class Part:
    """The opened payload and links of one delivery, and what becomes of its rows."""

    generation: int
    mode: str
    payload: pa.Table
    links: pa.Table
    set_aside: int = 0
    """Rows that a later correction took the place of."""
    corrected: int = 0
    """Units that this correction names and that were there."""
    added: int = 0
    """Units that this correction names and that were not there."""

    def subjects(self) -> Any:
        """The unit (`self`) that each payload row is about; null where it names none."""
        own = self.links.filter(pc.equal(self.links["reference"], "self"))
        places = pc.index_in(
            self.payload["row_key"].combine_chunks(), value_set=own["row_key"].combine_chunks()
        )
        return own["subject"].combine_chunks().take(places)

    def without(self, units: Any) -> "Part":
        """The part without the rows about these units."""
        kept = pc.invert(pc.is_in(self.subjects(), value_set=units))
        payload = self.payload.filter(kept)
        keys = payload["row_key"].combine_chunks()
        return replace(
            self,
            payload=payload,
            links=self.links.filter(pc.is_in(self.links["row_key"], value_set=keys)),
            set_aside=self.set_aside + self.payload.num_rows - payload.num_rows,
        )

    def numbered(self) -> pa.Table:
        """The payload, each row with its delivery's generation."""
        return self.payload.append_column(
            GENERATION, pa.repeat(self.generation, self.payload.num_rows)
        )

    def told(self) -> dict[str, Any]:
        """What a release's report says about it.

        The generation names a delivery of a dataset and period, on its receipt too; unlike its id,
        it is the same whenever the same is delivered, and with it the package.
        """
        facts = {"generation": self.generation, "mode": self.mode, "rows": self.payload.num_rows}
        if self.mode == "correct":
            facts |= {"units_corrected": self.corrected, "units_added": self.added}
        return {**facts, "rows_set_aside": self.set_aside}


@dataclass(frozen=True)
class Counted:
    """The rows that count of a dataset, whom they are about, and where they come from."""

    payload: pa.Table
    links: pa.Table
    told: list[dict[str, Any]]


def resolve(parts: Sequence[Part]) -> Counted:
    """Put deliveries together, in the order of their generations; corrections take effect."""
    kept: list[Part] = []
    for part in parts:
        if part.mode == "correct":
            units = pc.unique(part.subjects().drop_null())
            there = pa.chunked_array([one.subjects() for one in kept], units.type)
            corrected = pc.sum(pc.is_in(units, value_set=there.combine_chunks())).as_py() or 0
            kept = [one.without(units) for one in kept]
            part = replace(part, corrected=corrected, added=len(units) - corrected)
        kept.append(part)
    return Counted(
        pa.concat_tables([part.numbered() for part in kept]).combine_chunks(),
        pa.concat_tables([part.links for part in kept]).combine_chunks(),
        [part.told() for part in kept],
    )


def opened(
    session: Session,
    objects: Objects,
    role: RoleKeys,
    scope: str,
    deliveries: Sequence[Delivery],
) -> Counted:
    """The rows that count of these deliveries and their links, as people decided, read with the
    release role's key."""
    return resolve([_part(session, objects, role, scope, row) for row in deliveries])


def _part(
    session: Session, objects: Objects, role: RoleKeys, scope: str, delivery: Delivery
) -> Part:
    where = (Admission.scope == scope, Admission.delivery == delivery.id)
    admission: Admission = found(session.scalar(select(Admission).where(*where)))
    links = open_object(session, objects, role, admission.links, f"links|{scope}|{delivery.id}")
    return Part(
        found(delivery.generation),
        delivery.mode,
        open_object(session, objects, role, found(delivery.payload), f"payload|{delivery.id}|1"),
        review.as_decided(session, objects, role, scope, links),
    )
