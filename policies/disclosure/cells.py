"""Does anybody stand out, in this file.

A *cell* is a combination of values of the variables an intruder may know, and its size is the
number of **distinct units** in it, never of rows: a person with four quarters of work is one
person. A missing or suppressed value is a category of its own. A file passes when no cell has
between 1 and k − 1 units (k-anonymity: Samarati and Sweeney 1998, on units instead of rows).

The kernel packs each row's values into one integer and sorts: at a million rows and eight keys a
few hundredths of a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError

Integers = np.ndarray[Any, np.dtype[np.int64]]

_ROOM = 2**62
"""Packed values stay below this, so that nothing overflows a signed 64-bit integer."""


class DisclosureError(PolicyError):
    """A table can't be tested: a column is absent, or lengths differ."""


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
    if pc.any(pc.is_null(units)).as_py():
        raise DisclosureError("a row without a unit can't be tested; give each row its unit")
    coded = [encode(keys.column(name)) for name in keys.column_names]
    group, number = pack([codes for codes, _ in coded], [len(names) for _, names in coded], rows)
    unit, distinct = encode_units(units)
    first = np.empty(number, np.int64)
    first[group[::-1]] = np.arange(rows - 1, -1, -1)
    return Cells(
        keys=keys.take(pa.array(first)),
        counts=count_units(group, number, unit, distinct),
        of_row=group,
        units=distinct,
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
    packed, room = np.zeros(rows, np.int64), 1
    for codes, size in zip(columns, sizes, strict=True):
        if room * max(size, 1) >= _ROOM:
            packed, room = _dense(packed, room)
        packed, room = packed * max(size, 1) + codes, room * max(size, 1)
    return _dense(packed, room)


def _dense(packed: Integers, room: int) -> tuple[Integers, int]:
    """Renumber values below `room` as 0 … n − 1, in order."""
    if not len(packed):
        return packed, 0
    if room <= 8 * len(packed) + 1024:
        present = np.zeros(room, bool)
        present[packed] = True
        number = np.cumsum(present)
        return number[packed] - 1, int(number[-1])
    bits = len(packed).bit_length()
    if room.bit_length() + bits < 63:
        order = np.sort((packed << bits) | np.arange(len(packed)))
        row, value = order & ((1 << bits) - 1), order >> bits
    else:
        row = np.argsort(packed, kind="stable")
        value = packed[row]
    rank = np.cumsum(np.concatenate(([False], value[1:] != value[:-1])))
    dense = np.empty(len(packed), np.int64)
    dense[row] = rank
    return dense, int(rank[-1]) + 1


def count_units(group: Integers, groups: int, unit: Integers, units: int) -> Integers:
    """Distinct units in each group."""
    if units == len(unit):
        return np.bincount(group, minlength=groups)
    if groups * max(units, 1) >= _ROOM:
        raise DisclosureError("the table is too large to test in one piece")
    pairs = np.sort(group * units + unit)
    new = np.concatenate((np.ones(min(len(pairs), 1), bool), pairs[1:] != pairs[:-1]))
    return np.bincount(pairs[new] // units, minlength=groups)
