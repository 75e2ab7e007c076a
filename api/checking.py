"""Is an extract well-formed, and do its places exist: the same answer on either side of the wire.

The strict reading is linkage's and the tables of places are policies'; neither knows the other, so
they meet here.
"""

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from linkage import extracts
from linkage.datasets import Dataset
from linkage.extracts import Checked, Limits, Sink
from policies import classifications
from policies.classifications import Source

PLACES: dict[str, Source] = {"municipality": "municipality", "postcode": "postcode"}


def check(
    source: BinaryIO,
    dataset: Dataset,
    *,
    period: str | None = None,
    progress: Callable[[int], None] | None = None,
    sink: Sink | None = None,
    limits: Limits | None = None,
) -> Checked:
    """`extracts.check`, and an error for each code that stands for no place.

    No release could coarsen such a value, and by then the delivery would stand.
    """
    exists = {
        kind: partial(classifications.known, source=places) for kind, places in PLACES.items()
    }
    return extracts.check(
        source,
        dataset,
        period=period,
        progress=progress,
        sink=sink,
        exists=exists,
        limits=limits,
    )
