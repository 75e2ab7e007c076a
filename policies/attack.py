"""An intruder tries to name rows: what really happens, beside what the measures state.

The intruder has a register of everybody with the variables that the scenario lets it know, as
exact as the register is, and looks for each released row who of the register could be it. When
several could, it takes one of them at random; when a single one could, it is sure. What is withheld
in the release excludes nobody.

The shares are expectations over the random choices, computed and not drawn. Errors in the register
are drawn: each value is replaced, with the stated probability, by another row's. (Paass 1988; the
measures beside it are the prosecutor's, of an intruder who knows that somebody is in the file: 1
over the units that look alike, at most and on average.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.matching import Pair, candidates, fit
from policies.panel import UNIT, Displayed

ERRORS = 0.05
"""Share of values that are wrong in the register of the intruder who has one with errors."""


@dataclass(frozen=True)
class Attack:
    """What came of one try."""

    name: str
    knows: tuple[str, ...]
    errors: float
    register: int
    """Units in the register."""
    rows: int
    """Units in the release."""
    right: float
    """Share of the rows that it names rightly."""
    sure: float
    """Share of the rows of which it is sure."""
    right_when_sure: float | None
    """Share of those that it names rightly; None when it is sure of none."""

    def to_doc(self) -> dict[str, Any]:
        """The figures as JSON values, to four decimals."""
        rounded = {"right": round(self.right, 4), "sure": round(self.sure, 4)}
        certain = self.right_when_sure
        return {
            **asdict(self),
            "knows": list(self.knows),
            **rounded,
            "right_when_sure": None if certain is None else round(certain, 4),
        }


def attack(
    name: str,
    released: pa.Table,
    register: pa.Table,
    *,
    errors: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Attack:
    """Try to name the rows of a release with a register.

    Both have `unit` (each once; the same for the same person, which the intruder doesn't see) and
    the same columns of labels. `rng` draws the errors, if there are to be any.
    """
    names = [column for column in released.column_names if column != UNIT]
    known = {column: register.column(column) for column in names}
    if rng is not None and errors:
        known = {column: _with_errors(said, errors, rng) for column, said in known.items()}
    pairs = [Pair.of(released.column(column), known[column]) for column in names]
    rows, size = released.num_rows, register.num_rows
    found = candidates(pairs, rows, size)
    place = pc.index_in(
        released.column(UNIT).combine_chunks(), value_set=register.column(UNIT).combine_chunks()
    )
    fits = fit(pairs, pc.fill_null(place, -1).to_numpy().astype(np.int64)) if size else found > 0
    sure = found == 1
    return Attack(
        name=name,
        knows=tuple(names),
        errors=errors,
        register=size,
        rows=rows,
        right=float((fits / np.maximum(found, 1)).mean()) if rows else 0.0,
        sure=float(sure.mean()) if rows else 0.0,
        right_when_sure=float(fits[sure].mean()) if sure.any() else None,
    )


def _with_errors(column: Any, errors: float, rng: np.random.Generator) -> Any:
    """A column of which some values are another row's."""
    rows = np.arange(len(column))
    wrong = rng.random(len(column)) < errors
    rows[wrong] = rng.integers(0, len(column), int(wrong.sum()))
    return column.take(pa.array(rows))


def over_waves(releases: Sequence[Displayed], changing: Sequence[str], moments: int) -> pa.Table:
    """What several releases show together of the units of the last: `unit` and a column for each
    key and release, `key (release)`; of changing keys those of the last `moments` moments alone.
    Null where a unit isn't in a release."""
    last = releases[-1]
    units = last.table.column(UNIT).combine_chunks()
    times = list(dict.fromkeys(shown.moment for shown in reversed(releases)))[:moments]
    columns: dict[str, Any] = {UNIT: units}
    for shown in releases:
        place = pc.index_in(units, value_set=shown.table.column(UNIT).combine_chunks())
        for key in shown.keys:
            if key not in changing or shown.moment in times:
                text = shown.table.column(key).cast(pa.string()).combine_chunks()
                columns[f"{key} ({shown.release})"] = text.take(place)
    return pa.table(columns)


def simulate(
    history: Sequence[Displayed],
    current: Displayed,
    register: pa.Table,
    changing: Sequence[str],
    moments: int,
    seed: int,
) -> list[Attack]:
    """The tries that a release's report tells of: with this release alone and, where there was one
    before, with all of them; each with an exact register and with one with errors.

    `register` has everybody of the universe: `unit` and the keys as coarse as they are shown, with
    nothing withheld. About earlier releases the intruder knows what they showed.
    """
    # in an order of its own: rows come in any, and the errors drawn are to be the same ones
    register = register.take(pc.sort_indices(register.column(UNIT)))
    rng = np.random.default_rng(seed)
    alone = current.table.select([UNIT, *current.keys])
    known = register.select([UNIT, *current.keys])
    tries: list[tuple[str, pa.Table, pa.Table]] = [("this release", alone, known)]
    if history:
        everybody = current_of(current, register)
        shown = over_waves([*history, current], changing, moments)
        tries.append(("all releases", shown, over_waves([*history, everybody], changing, moments)))
    return [
        made
        for name, released, truth in tries
        for made in (
            attack(f"{name}, exact", released, truth),
            attack(f"{name}, with errors", released, truth, errors=ERRORS, rng=rng),
        )
    ]


def current_of(current: Displayed, register: pa.Table) -> Displayed:
    """The register in the place of what a release shows."""
    return Displayed(current.release, current.moment, register, current.intervals)


def bounds(sizes: Mapping[int, int] | Mapping[str, int]) -> dict[str, float]:
    """What the measures state, from size → number of classes: the prosecutor's risk, at most and
    on average."""
    counts = {int(size): number for size, number in sizes.items()}
    units = sum(size * number for size, number in counts.items())
    return {
        "prosecutor_max": round(1 / min(counts), 4) if counts else 0.0,
        "prosecutor_mean": round(sum(counts.values()) / units, 4) if units else 0.0,
    }
