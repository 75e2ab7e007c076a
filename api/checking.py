"""Is an extract well-formed, and do its places exist: the same answer on either side of the wire.

The strict reading is linkage's and the tables of places are policies'; neither knows the other, so
they meet here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow.compute as pc

from linkage import extracts
from linkage.datasets import Dataset
from linkage.extracts import Checked, Fault
from linkage.findings import LISTED
from policies import classifications
from policies.classifications import Source

PLACES: dict[str, Source] = {"municipality": "municipality", "postcode": "postcode"}


def check(
    source: BinaryIO,
    dataset: Dataset,
    *,
    period: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Checked:
    """`extracts.check`, and an error for each code that stands for no place.

    No release could coarsen such a value, and by then the delivery would stand.
    """
    checked = extracts.check(source, dataset, period=period, progress=progress)
    if checked.columns is None:
        return checked
    faults = [
        fault
        for variable in dataset.variables
        if variable.type in PLACES
        for fault in _unknown(checked.columns[variable.name], variable.name, PLACES[variable.type])
    ]
    if not faults:
        return checked
    return replace(checked, faults=(*faults, *checked.faults), columns=None)


def _unknown(column: Any, name: str, source: Source) -> list[Fault]:
    encoded = pc.dictionary_encode(column).combine_chunks()
    exists = classifications.known(encoded.dictionary, source).take(encoded.indices)
    rows = np.flatnonzero(pc.fill_null(pc.invert(exists), False).to_numpy(zero_copy_only=False)) + 1
    faults = [Fault("error", "unknown_place", int(row), name) for row in rows[:LISTED]]
    if len(rows) > LISTED:
        faults.append(Fault("error", "unknown_place", None, name, len(rows) - LISTED))
    return faults
