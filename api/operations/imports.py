"""The pseudonyms that a running project has from before it came here.

Whoever kept them delivers a list: what identifies a unit, and the pseudonym it has. Intake parts
the two: linkage sees who is meant and never the pseudonym; release sees subject and pseudonym, as
it does of every unit, and never who is meant. Linked to the project's scope, the list says which
subject has an old pseudonym; such a unit keeps it, and all others get a computed one.

The list is one project's: its declaration names it, two people approved the permit that does, and
its one variable is of a type that no rule lets leave. A list that contradicts itself is refused as
a whole: two units under one pseudonym would be one person to the researcher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from api.problems import Problem
from api.store import Release
from linkage.datasets import Dataset
from policies.permits import Terms

_COMPUTED = "^[PHE][0-9A-HJKMNP-TV-Z]{28}$"
"""The form of a pseudonym that this service computes (`keyvault.pseudonyms`), of any project."""


@dataclass(frozen=True)
class Imported:
    """Subjects that have a pseudonym from before, and which."""

    delivery: str
    unit_type: str
    subjects: Any
    names: Any
    unknown: int
    """Old pseudonyms whose row identifies nobody."""

    def instead(self, kind: str, subjects: Any, computed: Any) -> tuple[Any, int]:
        """Pseudonyms of subjects of a kind: the old one where there is one, else the computed one;
        and how many are old."""
        if kind != self.unit_type:
            return computed, 0
        old = self.names.take(pc.index_in(subjects, value_set=self.subjects))
        return pc.coalesce(old, computed), len(old) - old.null_count


def read(terms: Terms, declared: Dataset, delivery: str, payload: Any, links: Any) -> Imported:
    """The imported pseudonyms of a project from a delivery's payload and its links to the project's
    scope; a Problem when they are another's, or contradict one another."""
    refuse_others(terms, declared)
    [variable] = declared.payload
    places = pc.index_in(_whole(payload["row_key"]), value_set=_whole(links["row_key"]))
    stated = pa.table({"subject": _whole(links["subject"]).take(places), "name": payload[variable]})
    pairs = (
        stated.filter(pc.is_valid(stated["subject"])).group_by(["subject", "name"]).aggregate([])
    )
    _refuse_contradictions(pairs)
    return Imported(
        delivery=delivery,
        unit_type=declared.references[0].unit_type,
        subjects=_whole(pairs["subject"]),
        names=_whole(pairs["name"]),
        unknown=places.null_count,
    )


def refuse_others(terms: Terms, declared: Dataset) -> None:
    """A list of old pseudonyms serves the project that its holder declared it for, and no other."""
    if declared.kind != "pseudonyms" or declared.project != terms.project:
        raise Problem(
            "unknown-dataset",
            f"Dataset {declared.id} holds no pseudonyms of project {terms.project} from before.",
            "Its holder declares them with `kind: pseudonyms` and this `project`.",
        )


def _refuse_contradictions(pairs: pa.Table) -> None:
    """Counts, never a pseudonym."""
    computed = pc.match_substring_regex(pairs["name"], _COMPUTED)
    faults = {
        "old pseudonyms stand for more than one unit": _repeated(pairs, "name"),
        "units have more than one old pseudonym": _repeated(pairs, "subject"),
        "old pseudonyms look like computed ones": pc.sum(computed).as_py() or 0,
    }
    told = [f"{count} {what}" for what, count in faults.items() if count]
    if told:
        raise Problem(
            "pseudonyms-contradict",
            f"The imported pseudonyms can't be used: {'; '.join(told)}.",
            "Their holder corrects the list; pairs that linkage left open are in its review.",
        )


def _repeated(pairs: pa.Table, column: str) -> int:
    counted = pairs.group_by(column).aggregate([([], "count_all")])
    return int(pc.sum(pc.greater(counted["count_all"], 1)).as_py() or 0)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def refuse_change(earlier: Sequence[Release], imported: Imported | None) -> None:
    """Whoever left under a pseudonym keeps it: all releases of a project rest on one list, or all
    on none (rows S15, V07)."""
    delivery = imported and imported.delivery
    if any((release.history or {}).get("imported") != delivery for release in earlier):
        raise Problem(
            "pseudonyms-contradict",
            "What this project received before has other pseudonyms: they were imported from "
            "another list, or not at all.",
            "Build it under a permit that names the list that the earlier releases rest on.",
        )
