"""Pairs that linkage left to a human: listed masked, decided, undone; and decisions put in force.

Who decides works through the front door, which can't open what a person is known by. So a linkage
worker makes what is shown while it has both records open (`linkage.review`: where two values
differ, never what they are), and that text, which names nobody, is all that the database keeps.
Which two subjects a pair is stands in the review list of an admission, sealed to linkage.

A decision is a job in linkage's queue, signed by the vault as all are: the linkage process looks up
whom it is about and seals anew all that is in force in the scope, once for itself (the next
delivery is linked by it) and once for release (which subject counts as which). Rows that somebody
adds to the tables here decide nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from api import jobs
from api.objects import Objects
from api.operations import Progress, Stored, Work, found
from api.operations.projects import keep_reason, reasons
from api.operations.sealed import open_object
from api.problems import Problem
from api.store import Admission, ReviewDecision, ReviewPair, Settlement, new_id, reading
from keyvault.keyring import RoleKeys
from keyvault.sealing import write_table
from keyvault.vault import Vault
from linkage import decisions, review
from linkage.decisions import DECISIONS
from policies.access import Thing

State = Literal["open", "waiting", "same", "never", "implied"]


# -- for people ------------------------------------------------------------------------------------


History = list[ReviewDecision]


def _histories(session: Session, *which: ColumnElement[bool]) -> dict[str, History]:
    """All that was decided on these pairs, by pair, in the order in which it was."""
    rows = select(ReviewDecision).where(*which)
    histories: dict[str, History] = {}
    for row in session.scalars(rows.order_by(ReviewDecision.decided_at, ReviewDecision.id)):
        histories.setdefault(row.pair, []).append(row)
    return histories


def _history(session: Session, pair: str) -> History:
    return _histories(session, ReviewDecision.pair == pair).get(pair, [])


def _state(history: History) -> str:
    standing = [row for row in history if row.state != "refused"]
    if not standing:
        return "open"
    return "waiting" if standing[-1].state == "waiting" else standing[-1].verdict


def _state_of(row: ReviewPair, history: History) -> str:
    state = _state(history)
    return "implied" if state == "open" and row.implied else state


def _described(row: ReviewPair, history: History) -> dict[str, Any]:
    return {
        "pair": row.id,
        "scope": row.scope,
        "state": _state_of(row, history),
        "unit_type": row.unit_type,
        "reason": row.reason,
        "probability": row.probability,
        "references": row.references,
        "hanging": row.hanging,
        "fields": row.view,
        "found_at": row.found_at.isoformat(),
        "decisions": [
            {
                "decision": one.id,
                "verdict": one.verdict,
                "state": one.state,
                "problem": one.problem,
                "person": one.person,
                "decided_at": one.decided_at.isoformat(),
            }
            for one in history
        ],
    }


def pairs(work: Work, scope: str | None, state: State, most: int) -> list[dict[str, Any]]:
    """The pairs in a state, those first on which most depends; of one scope, or of all."""
    work.demand("review.read")
    rows = select(ReviewPair).order_by(
        ReviewPair.references.desc(),
        ReviewPair.hanging.desc(),
        ReviewPair.closeness.desc(),
        ReviewPair.id,
    )
    if scope is not None:
        rows = rows.where(ReviewPair.scope == scope)
    histories = _histories(work.session)
    states = {name: _state(history) for name, history in histories.items()}
    if state in ("open", "implied"):
        decided = [name for name, one in states.items() if one != "open"]
        rows = rows.where(ReviewPair.id.not_in(decided), ReviewPair.implied == (state != "open"))
    else:
        rows = rows.where(ReviewPair.id.in_([name for name, one in states.items() if one == state]))
    found_now = work.session.scalars(rows.limit(most))
    return [_described(row, histories.get(row.id, [])) for row in found_now]


def pair(work: Work, identifier: str) -> dict[str, Any]:
    """One pair, with all that was decided on it and why."""
    work.demand("review.read")
    row: ReviewPair = found(work.session.get(ReviewPair, identifier))
    told = _described(row, _history(work.session, identifier))
    return {**told, "reasons": reasons(work, identifier)}


def decide(work: Work, identifier: str, verdict: str, reason: str) -> dict[str, Any]:
    """Decide that the two are the same, or never are."""
    return _take_down(work, identifier, "review.decide", verdict, reason)


def undo(work: Work, identifier: str, reason: str) -> dict[str, Any]:
    """Put a pair that was decided in review again."""
    return _take_down(work, identifier, "review.undo", "open", reason)


def _take_down(
    work: Work, identifier: str, action: str, verdict: str, reason: str
) -> dict[str, Any]:
    work.demand("review.read")
    row: ReviewPair = found(work.session.get(ReviewPair, identifier))
    work.demand(action, Thing(_state_of(row, _history(work.session, identifier))))
    decision = ReviewDecision(
        id=new_id("decision"),
        pair=identifier,
        verdict=verdict,
        state="waiting",
        person=work.actor.person,
        decided_at=work.now,
    )
    work.session.add(decision)
    work.session.flush()
    work.note(
        "review.undone" if verdict == "open" else "review.decided",
        decision=decision.id,
        pair=identifier,
        scope=row.scope,
        verdict=verdict,
    )
    keep_reason(work, identifier, reason)
    arguments = {"decision": decision.id, "pair": identifier, "verdict": verdict}
    arguments["scope"] = row.scope
    jobs.enqueue(work, "decide", "linkage", arguments, f"scope:{row.scope}")
    return pair(work, identifier)


# -- for workers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """What is in force in a scope after a decision, before any of it is recorded."""

    scope: str
    version: int
    decision: str
    answered: dict[str, bool]
    """Of every pair of the scope, whether that answers it."""
    decisions: Stored
    superseded: Stored


def in_force(session: Session, objects: Objects, role: RoleKeys, scope: str) -> pa.Table:
    """The decisions in force in a scope (`DECISIONS`), read with the linkage role's key."""
    row = _last(session, scope)
    if row is None:
        return DECISIONS.empty_table()
    binding = f"decisions|{scope}|{row.version}"
    return open_object(session, objects, role, row.decisions, binding)


def as_decided(
    session: Session, objects: Objects, role: RoleKeys, scope: str, links: pa.Table
) -> pa.Table:
    """A scope's links under what is decided now, read with the release role's key: whoever was
    decided to be somebody else counts as that, by the rule `decided`."""
    row = _last(session, scope)
    if row is None:
        return links
    binding = f"superseded|{scope}|{row.version}"
    table = open_object(session, objects, role, row.superseded, binding)
    subject = links["subject"].combine_chunks()
    places = pc.index_in(subject, value_set=table["subject"].combine_chunks().cast(subject.type))
    into = table["into"].combine_chunks().cast(subject.type).take(places)
    moved = pc.is_valid(places)
    columns = {
        "subject": pc.coalesce(into, subject),
        "rule": pc.if_else(moved, "decided", links["rule"]),
        "probability": pc.if_else(moved, pa.scalar(None, pa.float64()), links["probability"]),
    }
    for name, column in columns.items():
        links = links.set_column(links.column_names.index(name), name, column)
    return links


def _last(session: Session, scope: str) -> Settlement | None:
    rows = select(Settlement).where(Settlement.scope == scope)
    return session.scalar(rows.order_by(Settlement.version.desc()).limit(1))


def listed(
    session: Session, objects: Objects, role: RoleKeys, scope: str, position: int
) -> pa.Table:
    """The review list of one admission: `review.PAIRS` and the pairs' ids."""
    where = (Admission.scope == scope, Admission.position == position)
    admission: Admission = found(session.scalar(select(Admission).where(*where)))
    return open_object(session, objects, role, admission.review, f"review|{scope}|{position}")


def named(found_now: pa.Table, before: list[pa.Table]) -> pa.Table:
    """Pairs with their ids: the one that the same two had in an earlier list, or a new one."""
    known = {
        (line["subject"], line["other"]): line["pair"]
        for table in before
        for line in table.select(["subject", "other", "pair"]).to_pylist()
    }
    both = zip(found_now["subject"].to_pylist(), found_now["other"].to_pylist(), strict=True)
    ids = [known.get(one) or new_id("pair") for one in both]
    return found_now.append_column("pair", pa.array(ids, pa.string()))


def record_pairs(work: Work, scope: str, table: pa.Table, views: list[review.View]) -> None:
    """Keep what is shown of the pairs of an admission; one that was there before is renewed."""
    columns = ["unit_type", "reason", "probability", "references", "hanging", "closeness"]
    shown = table.select(["pair", *columns]).to_pylist()
    rows = work.session.scalars(select(ReviewPair).where(ReviewPair.scope == scope))
    known = {row.id: row for row in rows}
    for line, view in zip(shown, views, strict=True):
        row = known.get(line["pair"])
        if row is None:
            row = ReviewPair(id=line["pair"], scope=scope, found_at=work.now)
            work.session.add(row)
        row.view = dict(view)
        for name in columns:
            setattr(row, name, line[name])


def settle(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    arguments: dict[str, Any],
    progress: Progress,
) -> Settled | None:
    """Put a decision in force, as its (signed) job says; None when that was done before."""
    role, scope = vault.role("linkage"), str(arguments["scope"])
    with reading(engine) as session:
        row: ReviewDecision = found(session.get(ReviewDecision, arguments["decision"]))
        if row.state != "waiting":
            return None
        progress("read the decisions", 0.0)
        before = in_force(session, objects, role, scope)
        last = _last(session, scope)
        where = select(Admission.position).where(Admission.scope == scope)
        lists = [
            listed(session, objects, role, scope, position) for position in session.scalars(where)
        ]
        sealer = vault.sealer(session.connection())
    table = pa.concat_tables(lists)
    line = table.filter(pc.equal(table["pair"], arguments["pair"])).to_pylist()[0]
    after = decisions.without(before, arguments["pair"])
    if arguments["verdict"] != "open":
        try:
            after = decisions.with_decision(after, line, arguments["verdict"])
        except decisions.ContradictionError as error:
            raise Problem(
                "review-contradicts", str(error), "See `schakel review list --state never`."
            ) from None
    version = last.version + 1 if last else 1
    binding, stored = f"{scope}|{version}", {}
    for purpose, owner_role, content in (
        ("decisions", "linkage", after),
        ("superseded", "release", decisions.superseded(after)),
    ):
        key, sealed_key = sealer.new_key(owner_role, purpose, binding)
        name, digest = objects.put(write_table(content, key, f"{purpose}|{binding}"), owner_role)
        stored[purpose] = Stored(name, digest, sealed_key)
    answers = decisions.answered(after, table)
    answered = dict(zip(table["pair"].to_pylist(), answers, strict=True))
    return Settled(scope, version, row.id, answered, **stored)


def record_settled(work: Work, settled: Settled) -> None:
    """Commit what is in force now, with its ledger entry."""
    row: ReviewDecision = found(work.session.get(ReviewDecision, settled.decision))
    row.state = "in_force"
    for pair in work.session.scalars(select(ReviewPair).where(ReviewPair.scope == settled.scope)):
        pair.implied = settled.answered.get(pair.id, False)
    work.session.add(
        Settlement(
            scope=settled.scope,
            version=settled.version,
            decisions=work.recorded(settled.decisions, "decisions"),
            superseded=work.recorded(settled.superseded, "superseded"),
        )
    )
    work.session.flush()
    work.note(
        "review.settled",
        decision=row.id,
        pair=row.pair,
        scope=settled.scope,
        verdict=row.verdict,
        version=settled.version,
    )


def refuse(work: Work, decision: str, problem: Problem) -> None:
    """A decision that can't be put in force; what held before it holds."""
    row: ReviewDecision = found(work.session.get(ReviewDecision, decision))
    if row.state != "waiting":
        return
    row.state, row.problem = "refused", problem.document()
    work.note("review.refused", decision=row.id, pair=row.pair, reason=problem.type)
