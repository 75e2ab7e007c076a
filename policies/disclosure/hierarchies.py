"""The ways up from a value: what it becomes at each level of coarseness.

A hierarchy file has the usual form (ARX's and others'): semicolon-separated, a row for each value
that a column may hold, the value itself first and then what it becomes, one level a column, from
fine to coarse::

    16;15-19;<25;*
    17;15-19;<25;*

A value that two others were joined into never comes apart again at a coarser level: a file where it
does is refused, for no search could then be sure of the least loss (nor would anybody understand
the result). The rows of the file are the *domain*: what a coarser value costs is measured against
it, values that nobody has included.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.cells import DisclosureError, Integers

Shares = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Hierarchy:
    """The levels of one key. Level 0 is the value itself.

    `codes[level][leaf]` is the number of the value that a leaf (a row of the file) has at a level,
    and `labels[level]` holds the texts of those values, by number.
    """

    key: str
    codes: tuple[Integers, ...]
    labels: tuple[pa.Array, ...]

    @classmethod
    def parse(cls, key: str, text: str) -> "Hierarchy":
        """Read a hierarchy file's text; `DisclosureError` says what is wrong with it."""
        rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";")
        return cls.of(key, [row for row in rows if row])

    @classmethod
    def of(cls, key: str, rows: Sequence[Sequence[str]]) -> "Hierarchy":
        """A hierarchy from its rows: leaf first, one level a column."""
        if not rows:
            raise DisclosureError(f"the hierarchy of {key} has no rows; write one for each value")
        if uneven := sum(len(row) != len(rows[0]) for row in rows):
            raise DisclosureError(
                f"{uneven} rows of the hierarchy of {key} have more or fewer levels than its "
                "first; give every row the same number of fields, with semicolons between them"
            )
        encoded = [
            pa.array(column, pa.string()).dictionary_encode() for column in zip(*rows, strict=True)
        ]
        codes = tuple(np.asarray(level.indices).astype(np.int64) for level in encoded)
        labels = tuple(level.dictionary for level in encoded)
        if twice := len(rows) - len(labels[0]):
            raise DisclosureError(
                f"{twice} rows of the hierarchy of {key} are for a value that has one already; "
                "keep one row for each value"
            )
        for level, (fine, coarse) in enumerate(pairwise(codes)):
            if len(np.unique(fine * len(rows) + coarse)) > len(labels[level]):
                raise DisclosureError(
                    f"level {level + 1} of the hierarchy of {key} takes values apart that level "
                    f"{level} joined; make every level a grouping of the one before"
                )
        return cls(key, codes, labels)

    @property
    def levels(self) -> int:
        """How many there are, the value itself included."""
        return len(self.codes)

    @property
    def size(self) -> int:
        """Leaves: the values of the domain."""
        return len(self.codes[0])

    @cached_property
    def leaves(self) -> tuple[Integers, ...]:
        """For each level and value, the leaves that it stands for."""
        return tuple(np.bincount(codes) for codes in self.codes)

    def up(self, low: int, high: int) -> Integers:
        """For each value of the level `low`, its value at the level `high`."""
        found = np.empty(len(self.labels[low]), np.int64)
        found[self.codes[low]] = self.codes[high]
        return found

    def encode(self, column: Any) -> Integers:
        """The leaf of each row of a column; null is looked up as the empty text.

        `DisclosureError`, with counts, when a value has no row in the hierarchy.
        """
        encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        values = encoded.dictionary
        texts = values if pa.types.is_string(values.type) else values.cast(pa.string())
        leaf = pc.fill_null(pc.index_in(texts, value_set=self.labels[0]), -1)
        nothing = pc.fill_null(pc.index(self.labels[0], "").cast(pa.int32()), -1)
        found = pc.fill_null(leaf.take(encoded.indices), nothing)
        codes: Integers = found.to_numpy(zero_copy_only=False)
        self._check(codes, encoded)
        return codes

    def _check(self, codes: Integers, encoded: Any) -> None:
        lost = codes < 0
        if not lost.any():
            return
        values = encoded.filter(pa.array(lost))
        distinct = pc.count_distinct(values.indices, mode="all").as_py()
        empty = pc.all(
            pc.fill_null(pc.equal(values.dictionary_decode().cast(pa.string()), ""), True)
        )
        what = (
            f"{len(values)} rows have no value in {self.key}"
            if empty.as_py()
            else f"{len(values)} rows ({distinct} distinct values) of {self.key} are not in it"
        )
        raise DisclosureError(
            f"the hierarchy of {self.key} lacks a row: {what}; add a row for each such value, its "
            "first field as the data has it"
        )

    def at(self, level: int, leaves: Integers) -> pa.Array:
        """The texts of some rows at a level, as a dictionary array."""
        numbers = pa.array(self.codes[level].astype(np.int32)[leaves])
        return pa.DictionaryArray.from_arrays(numbers, self.labels[level])


def allowed_levels(
    hierarchies: Mapping[str, Hierarchy], allowed: Mapping[str, Sequence[int]]
) -> list[list[int]]:
    """The levels that may be chosen for each key, ascending: all of them where `allowed` names
    none."""
    for key, levels in allowed.items():
        if key not in hierarchies:
            raise DisclosureError(f"levels are allowed for {key}, which is no key; take it out")
        top = hierarchies[key].levels - 1
        if not levels or any(not 0 <= level <= top for level in levels):
            raise DisclosureError(f"{key} has the levels 0 to {top}; allow one or more of them")
    return [
        sorted(set(allowed.get(key, range(hierarchy.levels))))
        for key, hierarchy in hierarchies.items()
    ]
