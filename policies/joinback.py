"""What a recipient that is itself a holder finds with its own file (row S39).

An organisation that delivered a dataset has it still, with names and exact values. When it receives
a release made of it, it can coarsen its own rows by the rules in the data dictionary and look which
released units could be each of its own. Everything it delivered is compared at once: the rows of
one unit hang together by the pseudonym, so that twelve rounded wages are one profile; the keys as
it would show them itself; and that a unit is in its datasets at all. A released value that is
missing or withheld excludes nobody; a key of which its own file knows nothing isn't compared.

The release passes when each of its units that is still found at all has at least k candidates.
What the organisation learns besides, from the other holders' columns, is what the release is for;
this says that it can't be told about whom of fewer than k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import STATUS
from policies.disclosure import Cell, Integers, encode, pack
from policies.matching import Pair, candidates

UNIT = "unit"
_MOST_TRIES = 128
_SEED = 20130613
"""Of the random numbers that stand for rows in a unit's profile; any would do."""


@dataclass(frozen=True)
class JoinBack:
    """What one organisation finds."""

    organisation: str
    datasets: tuple[str, ...]
    k: int
    units: int
    """Released units that are in its datasets."""
    smallest: int
    """Candidates for the unit with the fewest; 0 when no unit is found at all."""
    failing: int
    """Units with 1 to k − 1 candidates."""
    example: Cell | None
    """One of those with the fewest, as it is shown: for the office's eyes."""
    leave_out: tuple[str, ...] | None
    """The fewest of its own columns (`dataset.column`) and of the keys without which it passes;
    None when it passes, or when nothing would do."""

    @property
    def passes(self) -> bool:
        return not self.failing

    def reason(self) -> str:
        """Why the release is refused, without the example."""
        return (
            f"{self.organisation} receives the release and delivered {', '.join(self.datasets)}: "
            f"with its own exact values it finds fewer than {self.k} candidates for "
            f"{self.failing} of {self.units} units."
        )

    def spelled(self) -> str:
        """The example as a sentence."""
        if self.example is None:
            return ""
        labels = ", ".join(f"{name} {label}" for name, label in self.example.labels.items())
        return f"For instance, {self.example.units} of them: {labels}."

    def next_step(self) -> str:
        """What would mend it."""
        others = f"or name no recipient of {self.organisation}"
        if self.leave_out is None:
            return (
                f"Leaving out what {self.organisation} knows doesn't mend it: leave out its "
                f"datasets, {others}."
            )
        options = " ".join(
            f"--leave-out {name}" if "." in name else f"--coarser {name}=withheld"
            for name in self.leave_out
        )
        return (
            f"Leave out {' and '.join(self.leave_out)}, which {self.organisation} knows itself "
            f"(build it again with {options}), ask for it coarser in an amendment, {others}."
        )

    def to_doc(self) -> dict[str, Any]:
        """The figures as JSON values, without the example."""
        document = asdict(self)
        del document["example"]
        return {**document, "datasets": list(self.datasets), "passes": self.passes}


def join_back(
    organisation: str,
    shown: pa.Table,
    own: Mapping[str, pa.Table],
    knows: pa.Table,
    k: int,
) -> JoinBack:
    """Let an organisation look for its own units in a release.

    `shown` is the table of units: `unit` and the keys as they leave. `own` has, for each of its
    datasets, `unit` and the columns as they leave, a row per released row. `knows` has `unit` (each
    once) and, for keys that its file tells of, the labels by which it would show them itself, null
    where it doesn't know.
    """
    units = shown.column(UNIT).combine_chunks()
    keys = [name for name in knows.column_names if name != UNIT]
    columns = [
        f"{name}.{column}"
        for name, table in own.items()
        for column in table.column_names
        if column != UNIT and not column.endswith(STATUS)
    ]
    places = {
        name: pc.index_in(table.column(UNIT).combine_chunks(), value_set=units).to_numpy()
        for name, table in own.items()
    }
    inside = np.zeros(len(units), bool)
    for place in places.values():
        inside[place] = True

    def found_without(without: Sequence[str]) -> Integers:
        profile = [
            part
            for name, table in own.items()
            for part in _profile(table, places[name], len(units), name, without)
        ]
        return _candidates(
            shown, knows, [key for key in keys if key not in without], profile, inside
        )

    found = found_without(())
    failing = inside & (found > 0) & (found < k)
    seen = found[inside & (found > 0)]
    return JoinBack(
        organisation=organisation,
        datasets=tuple(own),
        k=k,
        units=int(inside.sum()),
        smallest=int(seen.min()) if len(seen) else 0,
        failing=int(failing.sum()),
        example=_example(shown, own, places, keys, found, failing) if failing.any() else None,
        leave_out=_fewest([*columns, *keys], found_without, inside, k) if failing.any() else None,
    )


def _fewest(
    columns: Sequence[str], found_without: Any, inside: Any, k: int
) -> tuple[str, ...] | None:
    """The smallest choice of columns and keys without which everybody has k candidates; of two as
    small, the one with fewer keys."""
    every = (chosen for size in range(1, len(columns)) for chosen in combinations(columns, size))
    for without in (*islice(every, _MOST_TRIES), tuple(columns)):
        found = found_without(without)
        if not (inside & (found > 0) & (found < k)).any():
            return without
    return None


def _profile(
    table: pa.Table, place: Integers, units: int, name: str, without: Sequence[str]
) -> list[Integers]:
    """Two numbers for each unit that are equal for units with the same rows, in any order: sums of
    random numbers that stand for the rows. That two profiles coincide by chance has a probability
    of one in 2^64 for any pair."""
    names = [
        column
        for column in table.column_names
        if column != UNIT and f"{name}.{column.removesuffix(STATUS)}" not in without
    ]
    codes = [encode(_text(table.column(column)))[0] for column in names]
    sizes = [int(code.max(initial=0)) + 1 for code in codes]
    row, rows = pack(codes, sizes, table.num_rows)
    rng = np.random.default_rng(_SEED)
    found = []
    for _ in range(2):
        drawn = rng.integers(1, 2**63 - 1, max(rows, 1), dtype=np.int64)[row]
        total = np.zeros(units, np.int64)
        np.add.at(total, place, drawn)  # wraps around, which is as good
        found.append(np.unique(total, return_inverse=True)[1])
    return found


def _text(column: Any) -> Any:
    return pc.fill_null(column.cast(pa.string()), "")


def _candidates(
    shown: pa.Table, knows: pa.Table, keys: Sequence[str], profile: list[Integers], inside: Any
) -> Integers:
    """For each released unit how many could be it, of those in the same datasets; 0 outside."""
    units = shown.column(UNIT).combine_chunks()
    own = knows.take(pc.index_in(units, value_set=knows.column(UNIT).combine_chunks()))
    there = pa.array(inside)
    pairs = [Pair.known(part[inside], part[inside]) for part in profile]
    pairs += [
        Pair.of(own.column(key).filter(there), shown.column(key).filter(there)) for key in keys
    ]
    found = np.zeros(len(units), np.int64)
    within = int(inside.sum())
    found[inside] = candidates(pairs, within, within)
    return found


def _example(
    shown: pa.Table,
    own: Mapping[str, pa.Table],
    places: Mapping[str, Integers],
    keys: Sequence[str],
    found: Integers,
    failing: Any,
) -> Cell:
    """One unit with the fewest candidates as it is shown: the keys, and its own rows' values."""
    which = np.flatnonzero(failing)
    unit = int(which[np.argmin(found[which])])
    labels = {key: str(shown.column(key)[unit].as_py()) for key in keys}
    for name, table in own.items():
        rows = np.flatnonzero(places[name] == unit)[:3]
        for column in table.column_names:
            if column != UNIT and not column.endswith(STATUS):
                values = [str(table.column(column)[int(row)].as_py()) for row in rows]
                labels[f"{name}.{column}"] = ", ".join(values)
    return Cell(labels, int(found[unit]))
