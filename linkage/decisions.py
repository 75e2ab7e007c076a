"""What people decided about pairs: that two subjects are one, or never are.

A decision is about two subjects of a spine, which keep their ids whatever is delivered. Two
subjects are never merged in the spine itself, whose segments don't change: a subject that was
decided to be another one *counts as* it from then on, in linkage and in releases. What comes in
later is still recorded under the one of them that it is most alike, so that a decision that is
undone leaves nothing behind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import LinkageError
from linkage.identities import ABSENT, FIELDS, Ints
from linkage.spine import SUBJECT, Spine
from linkage.verdicts import RULES, Verdicts

VERDICTS: Final = ("same", "never")
DECISIONS: Final = pa.schema(
    [
        ("pair", pa.string()),
        ("subject", SUBJECT),
        ("since", pa.int64()),
        ("other", SUBJECT),
        ("other_since", pa.int64()),
        ("verdict", pa.string()),
    ]
)
"""A decision a line: its pair's id, both subjects, each with the version of the spine that it came
with, and one of VERDICTS."""
SUPERSEDED: Final = pa.schema([("subject", SUBJECT), ("into", SUBJECT)])

_NUMBERS: Final = [FIELDS.index(name) for name in ("national_number", "enterprise_number")]


class ContradictionError(LinkageError):
    """Two subjects would be one through others, and were decided never to be."""


def superseded(decisions: Any) -> Any:
    """Which subjects count as which other one (SUPERSEDED): the one the spine knew first.

    Raises ContradictionError when a pair that is never one would become one.
    """
    home: dict[bytes, bytes] = {}
    since: dict[bytes, int] = {}

    def find(subject: bytes) -> bytes:
        while home.setdefault(subject, subject) != subject:
            subject = home[subject]
        return subject

    lines = decisions.to_pylist()
    for line in lines:
        since |= {line["subject"]: line["since"], line["other"]: line["other_since"]}
    for line in lines:
        if line["verdict"] == "same":
            first, second = sorted(
                (find(line["subject"]), find(line["other"])), key=lambda one: (since[one], one)
            )
            home[second] = first
    for line in lines:
        if line["verdict"] == "never" and find(line["subject"]) == find(line["other"]):
            raise ContradictionError(
                "Two subjects would become one that were decided never to be; undo one of the "
                "decisions that lead there."
            )
    moved = sorted(subject for subject in home if find(subject) != subject)
    return pa.table([moved, [find(subject) for subject in moved]], schema=SUPERSEDED)


def answered(decisions: Any, pairs: Any) -> list[bool]:
    """Whether decisions answer each pair (subject, other), be it through other pairs: the two count
    as one, or as two that never are."""
    into = {line["subject"]: line["into"] for line in superseded(decisions).to_pylist()}

    def counted(table: Any) -> list[frozenset[bytes]]:
        both = zip(table["subject"].to_pylist(), table["other"].to_pylist(), strict=True)
        return [frozenset((into.get(one, one), into.get(two, two))) for one, two in both]

    never = set(counted(decisions.filter(pc.equal(decisions["verdict"], "never"))))
    return [len(both) == 1 or both in never for both in counted(pairs)]


@dataclass(frozen=True)
class Decided:
    """Decisions in the terms of one linkage, in which a subject is a place among the spine's.

    `into` has for each subject the one that it counts as, `never` a line for each pair that stays
    apart, of such subjects.
    """

    into: Ints
    never: Ints

    @classmethod
    def of(cls, decisions: Any, everyone: Any) -> "Decided":
        """Those decisions (DECISIONS, or None) that are about subjects of a list."""
        into = np.arange(len(everyone))
        if decisions is None:
            return cls(into, np.empty((0, 2), np.int64))
        moved, root = _sides(superseded(decisions), ("subject", "into"), everyone)
        into[moved] = root
        apart = decisions.filter(pc.equal(decisions["verdict"], "never"))
        sides = _sides(apart, ("subject", "other"), everyone)
        return cls(into, np.column_stack([into[side] for side in sides]).astype(np.int64))

    def counted_as(self, subject: Ints) -> Ints:
        """The subject that each one counts as; ABSENT stays."""
        return np.where(subject == ABSENT, ABSENT, np.append(self.into, ABSENT)[subject])

    def apart(self, local: Ints) -> frozenset[tuple[int, int]]:
        """The pairs that stay apart, as places in `local` (sorted), the lower first."""
        known = self.never[np.isin(self.never, local).all(axis=1)]
        pairs = np.sort(np.searchsorted(local, known), axis=1)
        return frozenset((low, high) for low, high in pairs.tolist())


def _sides(table: Any, names: tuple[str, str], everyone: Any) -> tuple[Ints, Ints]:
    """The places of both sides of those lines whose subjects are in a list."""
    one, other = (places(table[name], everyone) for name in names)
    here = (one != ABSENT) & (other != ABSENT)
    return one[here], other[here]


def places(ids: Any, among: Any) -> Ints:
    """Where each id stands in a list; ABSENT for the others and for none."""
    found = pc.fill_null(pc.index_in(_whole(ids), value_set=among), ABSENT)
    return np.asarray(found).astype(np.int64)


def subjects_of(decisions: Any, known: Any) -> Any:
    """The subjects that decisions (DECISIONS, or None) are about, of those of identity records.

    Raises LinkageError when there is one among them that the records don't know.
    """
    if decisions is None:
        return pa.array([], SUBJECT)
    sides = [decisions[side].chunks for side in ("subject", "other")]
    named = pc.unique(pa.chunked_array([chunk for side in sides for chunk in side], SUBJECT))
    met = known["subject"].filter(pc.is_in(known["subject"], value_set=named))
    if pc.count_distinct(met).as_py() < len(named):
        raise LinkageError("A decision is about a subject that this spine doesn't know.")
    return named


def told_apart(
    told: Verdicts, decided: Decided, local: Ints, spine: Any, subject: Ints, again: Ints
) -> tuple[Verdicts, Ints]:
    """Verdicts in which what came to a superseded subject is recorded under that subject itself.

    `local` leads from a cluster below `told.subjects` to a subject; `spine` are identity records,
    `subject` whose they are, and `again` the subject whose an entry was in the same place of an
    earlier file. Comes back with the verdicts: `local`, longer by the superseded subjects met.
    """
    moved = np.flatnonzero(decided.into != np.arange(len(decided.into)))
    roots = np.flatnonzero(np.isin(local, decided.into[moved]))
    at = np.flatnonzero(np.isin(told.cluster, roots))
    if not len(at):
        return told, local
    known = _said_by(spine, subject, decided.into[subject], local[roots])
    said = told.entries.table.take(pa.array(at))
    lines = zip(*(said[field].to_pylist() for field in FIELDS), strict=True)
    whose = np.array(
        [
            before
            if before != ABSENT and decided.into[before] == root
            else _most_alike(line, known[root], root)
            for line, before, root in zip(
                lines, again[at].tolist(), local[told.cluster[at]].tolist(), strict=True
            )
        ],
        np.int64,
    )
    met = np.unique(whose[whose != local[told.cluster[at]]])
    if not len(met):
        return told, local
    cluster = _shifted(told.cluster, told.subjects, len(met))
    review = replace(told.review, other=_shifted(told.review.other, told.subjects, len(met)))
    own = np.isin(whose, met)
    cluster[at[own]] = told.subjects + np.searchsorted(met, whose[own])
    rule, probability = told.rule.copy(), told.probability.copy()
    rule[at[own]], probability[at[own]] = RULES.index("decided"), np.nan
    told = replace(
        told,
        cluster=cluster,
        founder=_founders(told, cluster, at),
        rule=rule,
        probability=probability,
        review=review,
        subjects=told.subjects + len(met),
    )
    return told, np.concatenate([local, met])


def _shifted(cluster: Ints, subjects: int, by: int) -> Ints:
    """Room for that many more subjects before the clusters that are none."""
    return np.where(cluster >= subjects, cluster + by, cluster)


def _said_by(
    spine: Any, subject: Ints, root: Ints, roots: Ints
) -> dict[int, list[tuple[int, tuple[Any, ...]]]]:
    """For each of these subjects the records that count as its, with whose they are."""
    rows = np.flatnonzero(np.isin(root, roots))
    result: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}
    said = zip(*(spine[field].take(pa.array(rows)).to_pylist() for field in FIELDS), strict=True)
    for to, whose, line in zip(root[rows].tolist(), subject[rows].tolist(), said, strict=True):
        result.setdefault(to, []).append((whose, line))
    return result


def _most_alike(
    line: tuple[Any, ...], known: Iterable[tuple[int, tuple[Any, ...]]], root: int
) -> int:
    """Whose record says most of what this one says, its number above all; the root's when equal."""

    def likeness(said: tuple[int, tuple[Any, ...]]) -> tuple[bool, int, bool, int]:
        whose, record = said
        both = zip(line, record, strict=True)
        equal = [mine is not None and mine == theirs for mine, theirs in both]
        return (any(equal[at] for at in _NUMBERS), sum(equal), whose == root, -whose)

    return max(known, key=likeness)[0]


def _founders(told: Verdicts, cluster: Ints, at: Ints) -> Ints:
    """Where each unit was first seen, anew for entries that went to other ones than before."""
    founder = told.founder.copy()
    first: dict[int, int] = {}
    entries = told.entries
    for entry in at[np.lexsort((entries.reference[at], entries.record[at]))].tolist():
        founder[entry] = first.setdefault(int(cluster[entry]), entry)
    return founder


def first_seen(spine: Spine, subjects: Any) -> Ints:
    """The version of the spine that each subject came with; the next one for who is new."""
    since = np.full(len(subjects), spine.version + 1)
    for version, segment in reversed(list(enumerate(spine.segments, start=1))):
        there = pc.is_in(subjects, value_set=_whole(segment.records["subject"]))
        since[np.asarray(there)] = version
    return since


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def without(decisions: Any, pair: str) -> Any:
    """Decisions without those on a pair."""
    return decisions.filter(pc.not_equal(decisions["pair"], pair))


def with_decision(decisions: Any, pair: Mapping[str, Any], verdict: str) -> Any:
    """Decisions with one on a pair (a line of `review.PAIRS`) in the place of any before.

    Raises ContradictionError.
    """
    names = [name for name in DECISIONS.names if name != "verdict"]
    line = {**{name: pair[name] for name in names}, "verdict": verdict}
    rest = without(decisions, pair["pair"])
    made = pa.concat_tables([rest, pa.Table.from_pylist([line], schema=DECISIONS)])
    superseded(made)
    return made
