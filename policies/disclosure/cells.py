"""Does anybody stand out, in this file.

A *cell* is a combination of values of the variables an intruder may know, and its size is the
number of **distinct units** in it, never of rows: a person with four quarters of work is one
person. A missing or suppressed value is a category of its own. A file passes when no cell has
between 1 and k − 1 units (k-anonymity: Samarati and Sweeney 1998, on units instead of rows).

The kernel packs each row's values into one integer and sorts: at a million rows and eight keys a
few hundredths of a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from policies.disclosure.encoding import (
    ROOM,
    DisclosureError,
    Integers,
    Keys,
    coded,
    dense,
    packed,
    side_by_side,
    starts,
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


@dataclass(frozen=True)
class Cell:
    """One combination of values and how many distinct units have it."""

    labels: dict[str, str]
    units: int


@dataclass(frozen=True)
class Cells:
    """The cells of a table of keys.

    `keys` has one line per cell and one column per key; `counts` the distinct units of each cell;
    `of_row` the cell of each row of the tested table; `units` all distinct units.
    """

    keys: pa.Table
    counts: Integers
    of_row: Integers
    units: int

    @property
    def smallest(self) -> int:
        """Units in the smallest cell; 0 for a table without rows."""
        return int(self.counts.min()) if len(self.counts) else 0

    @property
    def k_of_row(self) -> Integers:
        """For each row, the distinct units that share its combination."""
        return self.counts[self.of_row]

    def below(self, k: int) -> list[Cell]:
        """Every cell with fewer than k units, smallest first."""
        return self._described(np.flatnonzero(self.counts < k))

    def lowest(self, number: int) -> list[Cell]:
        """The smallest cells, smallest first."""
        return self._described(np.argsort(self.counts, kind="stable")[:number])

    def _described(self, which: Integers) -> list[Cell]:
        rows = self.keys.take(pa.array(which)).to_pylist()
        found = [
            Cell({name: "" if value is None else str(value) for name, value in row.items()}, units)
            for row, units in zip(rows, self.counts[which].tolist(), strict=True)
        ]
        return sorted(found, key=lambda cell: (cell.units, sorted(cell.labels.items())))


def cells(keys: pa.Table, units: pa.Array) -> Cells:
    """Count the distinct units of every combination of the columns of `keys`.

    `units` names the unit of each row (any hashable Arrow type, no nulls). Null is a
    category of its own.
    """
    rows = len(units)
    if not keys.num_columns or keys.num_rows != rows:
        raise DisclosureError("give at least one key, and one unit for each row of the keys")
    if units.null_count:
        raise DisclosureError("a row without a unit can't be tested; give each row its unit")
    if not rows:
        return Cells(keys, np.empty(0, np.int64), np.empty(0, np.int64), 0)
    work: list[Callable[[], Any]] = [
        lambda: dense(*Keys.of(keys, absent=()).packed),
        lambda: coded(units, absent=()).used(),
    ]
    (group, number), unit = side_by_side(work, worth=rows)
    first = np.empty(number, np.int64)
    first[group[::-1]] = np.arange(rows - 1, -1, -1)
    return Cells(
        keys=keys.take(pa.array(first)),
        counts=count_units(group, number, unit.codes, unit.size),
        of_row=group,
        units=unit.size,
    )


def encode(column: Any) -> tuple[Integers, Any]:
    """Codes 0 … n − 1 of a column, and its n distinct values; null is a value like any other."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode(null_encoding="encode")
    codes: Integers = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary


def encode_units(units: Any) -> tuple[Integers, int]:
    """A number 0 … n − 1 for each row's unit, and n."""
    codes, names = encode(units)
    return codes, len(names)


def pack(columns: Sequence[Integers], sizes: Sequence[int], rows: int) -> tuple[Integers, int]:
    """One dense group number for each row from several columns of codes, and how many groups.

    `columns[i]` holds codes below `sizes[i]`. Groups are numbered in the order of the codes, the
    first column leading, so that equal input gives equal numbers.
    """
    if not columns:
        return np.zeros(rows, np.int64), min(rows, 1)
    return dense(*packed(columns, sizes))


def count_units(group: Integers, groups: int, unit: Any, units: int) -> Integers:
    """Distinct units in each group, for the group and the unit of each row."""
    if units == len(unit):
        return np.bincount(group, minlength=groups)
    if groups * max(units, 1) >= ROOM:
        raise DisclosureError("the table is too large to test in one piece")
    pairs = group * units
    pairs += unit
    pairs.sort()
    return np.bincount(pairs[starts(pairs)] // max(units, 1), minlength=groups)
