"""Does anybody stand out: in one file, and what would mend it.

cells         distinct units of every combination of values, and what the combinations are
encoding      columns as numbers, on which every measure works
classes       what combinations tell: k, the risks that follow from it, l-diversity, t-closeness
frequencies   how many share a combination, here and in the population; missing as a wildcard
individual    the risk of a record of a sample, of a household, of the file
suda          records that few values suffice to single out
assessment    all of it in one call
hierarchies   what a value becomes, level by level
groups        a file as its groups, and the coarser ones they join into
lattice       the coarsening with the least loss that meets thresholds
suppression   the fewest cells to take away
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
