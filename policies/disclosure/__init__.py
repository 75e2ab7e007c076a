"""Does anybody stand out: in one file, and what would mend it.

`cells` counts the distinct units of every combination of values; the measures, the search for the
least-loss coarsening and local suppression rest on it.
"""

from policies.disclosure.cells import (
    Cell,
    Cells,
    DisclosureError,
    Integers,
    cells,
    count_units,
    encode,
    encode_units,
    pack,
)

__all__ = [
    "Cell",
    "Cells",
    "DisclosureError",
    "Integers",
    "cells",
    "count_units",
    "encode",
    "encode_units",
    "pack",
]
