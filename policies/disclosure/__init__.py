"""Does anybody stand out: in one file, and what would mend it.

`cells` counts the distinct units of every combination of values, with what the combinations are;
`encoding` has columns as numbers, on which every measure works; `classes` what combinations tell:
k, the risks that follow from it, l-diversity and t-closeness.
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
