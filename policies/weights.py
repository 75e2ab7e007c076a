"""How many units of a population the units of a sample stand for.

Where a dataset is a sample, each of its units carries a weight. The disclosure test counts units of
the sample, since whoever is in it may be known to be; the report tells besides how large the
population is estimated to be that the release, and each combination of known values, stands for.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from policies.cumulative import UNIT

_DIGITS = 3


def estimates(units: pa.Table, keys: Sequence[str], weights: pa.Table, k: int) -> dict[str, Any]:
    """The population that a release stands for, as JSON values, to three significant digits.

    `units` has `unit` and the keys as shown; `weights` has `unit`, each once, and `weight` as it
    leaves (null where none was delivered). `smallest_combination` is the least estimate for any
    combination of the keys of which k units or more have a weight (the sum of fewer would tell a
    weight); None when there is none. `units` is None when it, or what it lacks of all, is from 1 to
    k - 1: where everybody who was found has a weight, it is a count that `links` hides.
    """
    places = pc.index_in(units[UNIT], value_set=_whole(weights[UNIT]))
    weighted = units.select(list(keys)).append_column(
        "weight", _whole(weights["weight"]).take(_whole(places))
    )
    cells = weighted.group_by(list(keys)).aggregate([("weight", "sum"), ("weight", "count")])
    enough = cells.filter(pc.greater_equal(cells["weight_count"], k))
    known = int(pc.sum(cells["weight_count"]).as_py() or 0)
    few = 0 < known < k or 0 < units.num_rows - known < k
    return {
        "units": None if few else known,
        "estimated": _rounded(pc.sum(cells["weight_sum"]).as_py()) if known >= k else None,
        "smallest_combination": _rounded(pc.min(enough["weight_sum"]).as_py()),
    }


def _rounded(total: float | None) -> float | None:
    return None if total is None else float(f"{total:.{_DIGITS - 1}e}")


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
