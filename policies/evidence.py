"""What a release's report tells besides whether it passes.

`measures` and `diversity` are those of `policies.disclosure` on what is shown; `changes` says what
differs from the project's last release. All are JSON values. The report travels further than the
data: counts of changes from 1 to k - 1 are hidden (None), as in `policies.links`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import STATUS, SUPPRESSED
from policies.disclosure.assessment import Question, assess
from policies.disclosure.classes import measure
from policies.disclosure.diversity import Sensitive
from policies.disclosure.encoding import Keys
from policies.panel import UNIT, Displayed


def measures(shown: Displayed, k: int) -> dict[str, Any]:
    """Every measure of the table of units as it leaves; a withheld value is one of its own."""
    table = shown.table
    keys = Keys.of(table, shown.keys)
    return assess(keys, Question(units=table.column(UNIT).combine_chunks(), k=k))


def diversity(
    shown: Displayed, rows: Mapping[str, pa.Table], sensitive: Sequence[str]
) -> list[dict[str, Any]]:
    """What those who look alike have in common: l and t of each sensitive column of each table of
    rows (`unit` and the columns as they leave)."""
    units = shown.table.column(UNIT).combine_chunks()
    found = []
    for name, table in rows.items():
        columns = [column for column in sensitive if column in table.column_names]
        if not columns or not table.num_rows:
            continue
        own = table.column(UNIT).combine_chunks()
        keys = shown.table.select(shown.keys).take(pc.index_in(own, value_set=units))
        asked = {column: Sensitive.of(_said(table, column)) for column in columns}
        _, spread = measure(Keys.of(keys), asked, own)
        found += [
            {
                "dataset": name,
                "variable": column,
                "l_distinct": spread[column].distinct,
                "l_entropy": spread[column].entropy,
                "l_recursive": spread[column].recursive,
                "t": spread[column].t,
            }
            for column in columns
        ]
    return found


def _said(table: pa.Table, column: str) -> Any:
    """Values as texts, with the reason in the place of a missing one."""
    text = table.column(column).cast(pa.string())
    if column + STATUS in table.column_names:
        text = pc.coalesce(text, table.column(column + STATUS))
    return pc.fill_null(text, "")


def changes(previous: Displayed, current: Displayed, k: int) -> dict[str, Any]:
    """What a release shows otherwise than the one before it: units that came and went, labels that
    changed of those who stayed, and values withheld."""
    then, now = (shown.table.column(UNIT).combine_chunks() for shown in (previous, current))
    place = pc.index_in(now, value_set=then)
    stayed = pc.is_valid(place)
    count = int(pc.sum(stayed).as_py() or 0)
    both = [key for key in current.keys if key in previous.keys]
    changed = {
        key: int(
            pc.sum(
                pc.not_equal(
                    _text(current, key).filter(stayed),
                    _text(previous, key).take(place.drop_null()),
                )
            ).as_py()
            or 0
        )
        for key in both
    }
    return {
        "since": previous.release,
        "moments": [previous.moment, current.moment],
        "units": [len(then), len(now)],
        "joined": _told(len(now) - count, k),
        "left": _told(len(then) - count, k),
        "changed": {key: _told(number, k) for key, number in changed.items()},
        "keys_shown_no_more": [key for key in previous.keys if key not in current.keys],
        "keys_shown_first": [key for key in current.keys if key not in previous.keys],
        "withheld": [_told(_withheld(shown), k) for shown in (previous, current)],
    }


def _text(shown: Displayed, key: str) -> Any:
    return shown.table.column(key).cast(pa.string()).combine_chunks()


def _withheld(shown: Displayed) -> int:
    """Units of which a value is withheld."""
    hidden = np.zeros(shown.table.num_rows, bool)
    for key in shown.keys:
        hidden |= pc.equal(_text(shown, key), SUPPRESSED).to_numpy(zero_copy_only=False)
    return int(hidden.sum())


def _told(number: int, k: int) -> int | None:
    return None if 0 < number < k else number
