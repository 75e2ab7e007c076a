"""What a human must decide: pairs ranked by what a decision would change, shown masked.

Whoever decides sees where two records differ and never what they say: fields that agree are only
said to agree, and of one that differs no more than the characters that do, and those only where
they are two at most and a third of the value at most (MOLEN before six letters that a KERK····· has
too is a whole street). Of numbers none is shown: the digits that tell twins apart would, with the
check digits, narrow down the ones that don't.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz.distance import Levenshtein

from linkage.decisions import first_seen
from linkage.deliveries import LinkResult
from linkage.identities import FIELDS, Ints, distinct_rows
from linkage.spine import RECORDS, SUBJECT, Spine

PAIRS: Final = pa.schema(
    [
        ("subject", SUBJECT),
        ("since", pa.int64()),
        ("other", SUBJECT),
        ("other_since", pa.int64()),
        ("unit_type", pa.string()),
        ("reason", pa.string()),
        ("probability", pa.float64()),
        ("references", pa.int64()),
        ("hanging", pa.int64()),
        ("closeness", pa.float64()),
    ]
)
"""Pairs of subjects, that which the spine knew first in front. `since` is the version of the spine
that a subject came with. `references` counts the (row, reference) of everything linked so far that
are the other's, and would be the subject's if the two were one; `hanging` the other pairs that
either of the two is in; `closeness` is how near the probability is to the threshold (1 there, 0
where nothing is known)."""

View = dict[str, dict[str, str]]
"""By field: `state` (same, differs, or missing on one side), and where it differs both values
masked, as `one` and `other`."""

SAME: Final = "·"
DIFFERENT: Final = "×"
_NEVER_SHOWN: Final = ("national_number", "enterprise_number")
_MOST_SHOWN: Final = 2
_SHARE_SHOWN: Final = 3  # one in so many
_MOST_RECORDS: Final = 8  # of either subject, when the two that are most alike are looked for


def listed(spine: Spine, result: LinkResult, subjects: Any, threshold: float) -> Any:
    """The pairs that a linkage leaves to a human (PAIRS), those that change most first.

    `spine` is the one before the delivery is admitted, `subjects` has the id of each group of the
    result, `threshold` is the probability from which pairs are links. What was decided already is
    left out.
    """
    pairs = result.review.filter(pc.not_equal(result.review["reason"], "decided"))
    here = subjects.take(_groups(pairs, result.links))
    there = pc.coalesce(
        _whole(pairs["other_subject"]), subjects.take(_whole(pairs["other_group"]))
    ).cast(SUBJECT)
    everyone = pc.unique(pa.concat_arrays([here.cast(SUBJECT), there]))
    one, other = (_places(side, everyone) for side in (here, there))
    since = first_seen(spine, everyone)
    age = np.empty(len(everyone), np.int64)
    ids = pa.table({"since": since, "id": everyone.cast(pa.binary())})
    age[np.asarray(pc.sort_indices(ids, [("since", "ascending"), ("id", "ascending")]))] = (
        np.arange(len(everyone))
    )
    turn = age[one] > age[other]
    one, other = np.where(turn, other, one), np.where(turn, one, other)
    met = _references(spine, result, subjects, everyone)
    pending = np.bincount(np.concatenate([one, other]), minlength=len(everyone))
    probability = np.asarray(pc.fill_null(pairs["probability"], np.nan), np.float64)
    closeness = np.nan_to_num(1.0 - np.abs(probability - threshold), nan=0.0)
    references = met[other]
    hanging = pending[one] + pending[other] - 2
    order = pa.array(np.lexsort((age[other], age[one], -closeness, -hanging, -references)))
    types = {**_unit_types(result.groups, subjects)}
    columns = [
        everyone.take(pa.array(one)),
        since[one],
        everyone.take(pa.array(other)),
        since[other],
        pa.array([types[subject] for subject in here.to_pylist()], pa.string()),
        pairs["reason"],
        pairs["probability"],
        references,
        hanging,
        closeness,
    ]
    return pa.table([_whole(pa.array(c) if isinstance(c, np.ndarray) else c) for c in columns],
                    schema=PAIRS).take(order)  # fmt: skip


def views(
    pairs: Any, spine: Spine, result: LinkResult, subjects: Any, fields: Collection[str]
) -> list[View]:
    """What is shown of each pair (PAIRS): of all that the two are known under, the two records
    that are most alike, masked; of `fields` only."""
    wanted = pc.unique(pa.concat_arrays([_whole(pairs["subject"]), _whole(pairs["other"])]))
    said = result.identities
    new = said.append_column("subject", subjects.take(_whole(said["group"])).cast(SUBJECT))
    records: dict[bytes, list[Sequence[str | None]]] = {}
    for table in (*(segment.records for segment in spine.segments), new.select(RECORDS.names)):
        chosen = table.filter(pc.is_in(table["subject"], value_set=wanted))
        lines = zip(*(chosen[field].to_pylist() for field in FIELDS), strict=True)
        for subject, line in zip(chosen["subject"].to_pylist(), lines, strict=True):
            records.setdefault(subject, []).append(line)
    return [
        _view(records[one][-_MOST_RECORDS:], records[other][-_MOST_RECORDS:], fields)
        for one, other in zip(pairs["subject"].to_pylist(), pairs["other"].to_pylist(), strict=True)
    ]


def _view(
    one: Sequence[Sequence[str | None]],
    other: Sequence[Sequence[str | None]],
    fields: Collection[str],
) -> View:
    def likeness(both: tuple[Sequence[str | None], Sequence[str | None]]) -> int:
        return sum(a is not None and a == b for a, b in zip(*both, strict=True))

    first, second = max(product(one, other), key=likeness)
    values = zip(FIELDS, first, second, strict=True)
    return {
        field: masked(field, a, b)
        for field, a, b in values
        if field in fields and (a, b) != (None, None)
    }


def masked(field: str, one: str | None, other: str | None) -> dict[str, str]:
    """How two values of a field differ; `·` stands for a character that both have in its place, `×`
    for one that differs and isn't shown."""
    if one is None or other is None:
        return {"state": "missing"}
    if one == other:
        return {"state": "same"}
    differs: tuple[set[int], set[int]] = (set(), set())
    for step in Levenshtein.opcodes(one, other):
        if step.tag != "equal":
            differs[0].update(range(step.src_start, step.src_end))
            differs[1].update(range(step.dest_start, step.dest_end))
    sides = tuple(zip((one, other), differs, strict=True))
    shown = field not in _NEVER_SHOWN and all(
        len(at) <= min(_MOST_SHOWN, len(text) // _SHARE_SHOWN) for text, at in sides
    )
    first, second = (
        "".join(
            (sign if shown else DIFFERENT) if place in at else SAME
            for place, sign in enumerate(text)
        )
        for text, at in sides
    )
    return {"state": "differs", "one": first, "other": second}


def _groups(pairs: Any, links: Any) -> Any:
    """The group of each pair's own entry."""
    columns = ["row_key", "reference"]
    place = distinct_rows(pa.concat_tables([links.select(columns), pairs.select(columns)]), columns)
    group = np.empty(int(place.max(initial=-1)) + 1, np.int64)
    group[place[: links.num_rows]] = np.asarray(links["group"])
    return pa.array(group[place[links.num_rows :]])


def _references(spine: Spine, result: LinkResult, subjects: Any, everyone: Any) -> Ints:
    """How many (row, reference) of all that was linked are about each of these subjects."""
    coming = subjects.take(_whole(result.links["group"]))
    count = np.zeros(len(everyone), np.int64)
    for column in (*(segment.seen["subject"] for segment in spine.segments), coming):
        places = pc.index_in(_whole(column), value_set=everyone.cast(column.type)).drop_null()
        count += np.bincount(np.asarray(places), minlength=len(everyone))
    return count


def _unit_types(groups: Any, subjects: Any) -> Mapping[bytes, str]:
    whose = subjects.take(_whole(groups["group"]))
    return dict(zip(whose.to_pylist(), groups["unit_type"].to_pylist(), strict=True))


def _places(column: Any, everyone: Any) -> Ints:
    return np.asarray(pc.index_in(column.cast(SUBJECT), value_set=everyone)).astype(np.int64)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
