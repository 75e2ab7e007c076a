"""Columns as small numbers, and combinations of them as one.

Every measure works on *coded* columns: one unsigned number per row, in as few bytes as the column
has values, and for a combination of columns one 64-bit integer. Texts are looked at once per
distinct value. Levels that no row has take part in nothing, and neither does an index.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from math import prod
from os import sched_getaffinity
from typing import Any, Final, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[Any]]
"""Unsigned integers of any width."""

_T = TypeVar("_T")

ROOM: Final = 2**62
"""Packed values stay below this, so that nothing overflows a signed 64-bit integer."""
_PIECE: Final = 1 << 16
"""Rows that are packed at a time: they stay in the processor's cache."""
_ALONE: Final = 200_000
"""Rows below which a second thread costs more than it brings."""


class DisclosureError(PolicyError):
    """A table can't be tested: a column is absent, or lengths differ."""


@dataclass(frozen=True)
class Coded:
    """A column as numbers: `codes[i] < size` for each row; `missing` is the code of a missing
    value, -1 where there is none; `values[code]` what a code stands for (an Arrow array)."""

    codes: Codes
    size: int
    missing: int
    values: Any

    def __len__(self) -> int:
        return len(self.codes)

    def used(self) -> "Coded":
        """Without the levels that no row has."""
        if self.size <= 8 * len(self) + 1024:
            seen = np.zeros(self.size, bool)
            seen[self.codes] = True
            if seen.all():
                return self
        renumbered, size = dense(self.codes.astype(np.int64, copy=False), self.size)
        there = np.empty(size, np.int64)
        there[renumbered] = self.codes
        missing = np.flatnonzero(there == self.missing)
        code = int(missing[0]) if len(missing) else -1
        narrow = renumbered.astype(_width(size), copy=False)
        return Coded(narrow, size, code, self.values.take(pa.array(there)))


@dataclass(frozen=True)
class Keys:
    """The columns that an intruder may know, coded."""

    names: tuple[str, ...]
    columns: tuple[Coded, ...]

    @classmethod
    def of(
        cls, table: Any, names: Sequence[str] | None = None, absent: Sequence[str] = ("",)
    ) -> Self:
        """Code columns of a table (Arrow, pandas, or any mapping of names to columns).

        `names` chooses columns (all unless given); a text in `absent` counts as missing, like
        null and NaN. An index of pandas is no column and changes nothing.
        """
        there = list(table.column_names) if isinstance(table, pa.Table) else list(table.keys())
        wanted = tuple(there if names is None else names)
        if not wanted:
            raise DisclosureError("give at least one key")
        for name in wanted:
            if name not in there:
                raise DisclosureError(f"there is no column {name}; name one of the table's")
            if wanted.count(name) > 1:
                raise DisclosureError(f"the key {name} is given twice; give it once")
        columns = [table[name] for name in wanted]
        if len({len(column) for column in columns}) > 1:
            raise DisclosureError("the keys have columns of different lengths")
        made = side_by_side(
            [partial(coded, column, absent) for column in columns],
            worth=len(columns[0]),
        )
        return cls(wanted, tuple(made))

    def __len__(self) -> int:
        return len(self.columns[0])

    def only(self, names: Iterable[str]) -> "Keys":
        """Some of the keys."""
        chosen = tuple(names)
        for name in chosen:
            if name not in self.names:
                raise DisclosureError(f"there is no key {name} among {', '.join(self.names)}")
        return Keys(chosen, tuple(self.columns[self.names.index(name)] for name in chosen))

    @cached_property
    def packed(self) -> tuple[Integers, int]:
        """One number per row that is equal where all keys are, and what it stays below."""
        return packed([one.codes for one in self.columns], [one.size for one in self.columns])

    @cached_property
    def suppressed(self) -> Integers:
        """Rows of which every key is missing."""
        if any(one.missing < 0 for one in self.columns):
            return np.empty(0, np.int64)
        found = self.columns[0].codes == self.columns[0].missing
        for one in self.columns[1:]:
            found &= one.codes == one.missing
        return np.flatnonzero(found)


def coded(column: Any, absent: Sequence[str] = ("",)) -> Coded:
    """Code a column: numpy, pandas or Arrow, dictionaries included.

    Missing are null, NaN, and texts in `absent`. Codes follow the values' order for whole numbers
    of a narrow range, else the order in which they appear.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
        found = _narrow(column)
        if found is not None:
            return found
    array = column
    if isinstance(array, pa.ChunkedArray):
        if any(
            pa.types.is_dictionary(one.type) and one.dictionary.null_count for one in array.chunks
        ):
            array = array.cast(array.type.value_type)  # Arrow doesn't unify these
        array = array.unify_dictionaries().combine_chunks()
    elif not isinstance(array, pa.Array):
        array = pa.array(array, from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
    if pa.types.is_integer(array.type) and not array.null_count:
        found = _narrow(array.to_numpy())
        if found is not None:
            return found
    if pa.types.is_nested(array.type):
        raise DisclosureError("a column holds lists or records, which aren't values; leave it out")
    if not pa.types.is_dictionary(array.type):
        encoded = array.dictionary_encode(null_encoding="encode")
        return _merged(encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary, absent)
    levels = array.dictionary.dictionary_encode(null_encoding="encode")
    into = levels.indices.to_numpy(zero_copy_only=False)
    values = levels.dictionary
    if array.null_count:
        values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    into = np.append(into, len(values) - 1)
    indices = array.indices.fill_null(len(into) - 1).to_numpy(zero_copy_only=False)
    return _merged(into[indices], values, absent)


def _merged(codes: Any, values: Any, absent: Sequence[str]) -> Coded:
    """All values that mean missing under one code."""
    gone = pc.is_null(values, nan_is_null=pa.types.is_floating(values.type))
    if absent and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        gone = pc.or_(gone, pc.is_in(values, value_set=pa.array(list(absent), values.type)))
    lost = np.flatnonzero(gone.to_numpy(zero_copy_only=False))
    if len(lost) > 1:
        into = np.arange(len(values))
        into[lost] = lost[0]
        codes = into[codes]
    missing = int(lost[0]) if len(lost) else -1
    size = max(len(values), 1)
    return Coded(codes.astype(_width(size), copy=False), size, missing, values)


def _narrow(numbers: Codes) -> Coded | None:
    """Whole numbers as their distance from the least, where few values are possible."""
    if not len(numbers):
        return Coded(np.empty(0, np.uint8), 1, -1, pa.array([], pa.int64()))
    low, high = int(numbers.min()), int(numbers.max())
    size = high - low + 1
    if size > 4 * len(numbers) + (1 << 16):
        return None
    codes = numbers if low == 0 else numbers - numbers.dtype.type(low)
    values = pa.array(np.arange(low, high + 1))
    return Coded(codes.astype(_width(size), copy=False), size, -1, values)


def _width(size: int) -> Any:
    """The narrowest type for codes below `size`."""
    return next(
        (kind for kind in (np.uint8, np.uint16, np.uint32) if size <= np.iinfo(kind).max + 1),
        np.int64,
    )


def packed(columns: Sequence[Codes], sizes: Sequence[int]) -> tuple[Integers, int]:
    """One number per row from columns of codes, the first leading, and what it stays below.

    Where more combinations are possible than 62 bits hold, those of the first columns are
    renumbered on the way.
    """
    held: list[Codes] = []
    widths: list[int] = []
    room = 1
    for codes, size in zip(columns, sizes, strict=True):
        width = max(size, 1)
        if room * width >= ROOM:
            values, room = dense(*_together(held, widths))
            room = max(room, 1)
            held, widths = [values], [room]
            if room * width >= ROOM:
                raise DisclosureError("the table is too large to test in one piece")
        held.append(codes)
        widths.append(width)
        room *= width
    return _together(held, widths)


def _together(columns: Sequence[Codes], sizes: Sequence[int]) -> tuple[Integers, int]:
    """Columns of which all combinations fit in one number."""
    found = np.empty(len(columns[0]), np.int64)
    in_pieces(len(found), _packer(columns, sizes, found))
    return found, prod(sizes)


def _packer(
    columns: Sequence[Codes], sizes: Sequence[int], out: Integers
) -> Callable[[int, int], None]:
    """Pack rows of a range; narrow numbers as long as they hold what is packed so far."""

    def pack(begin: int, end: int) -> None:
        for start in range(begin, end, _PIECE):
            piece = slice(start, min(end, start + _PIECE))
            held, room = columns[0][piece], sizes[0]
            for codes, size in zip(columns[1:], sizes[1:], strict=True):
                kind = _width(room * size)
                if room == 1:
                    held = codes[piece].astype(kind, copy=False)
                else:
                    held = held.astype(kind, copy=False) * kind(size)
                    held += codes[piece].astype(kind, copy=False)
                room *= size
            out[piece] = held

    return pack


def dense(values: Integers, room: int) -> tuple[Integers, int]:
    """Renumber values below `room` as 0 … n - 1, in order, and n."""
    if not len(values):
        return values, 0
    if room <= 8 * len(values) + 1024:
        present = np.zeros(room, bool)
        present[values] = True
        number = np.cumsum(present)
        return number[values] - 1, int(number[-1])
    row, value = ordered_rows(values, room)
    rank = np.cumsum(np.concatenate(([False], value[1:] != value[:-1])))
    found = np.empty(len(values), np.int64)
    found[row] = rank
    return found, int(rank[-1]) + 1


def ordered_rows(values: Integers, room: int) -> tuple[Integers, Integers]:
    """Rows in the order of their values (below `room`), and the values in that order."""
    bits = len(values).bit_length()
    if room.bit_length() + bits < 64:
        order = values << bits
        order |= np.arange(len(values))
        order.sort()
        return order & ((1 << bits) - 1), order >> bits
    row = np.argsort(values, kind="stable")
    return row, values[row]


def starts(values: Codes) -> Integers:
    """Where runs of equal values begin."""
    if not len(values):
        return np.empty(0, np.int64)
    new = np.empty(len(values), bool)
    new[0] = True
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return np.flatnonzero(new)


def lengths(begins: Integers, total: int) -> Integers:
    """How long runs are that begin there."""
    return np.diff(begins, append=total)


def cores() -> int:
    """Processors that this process may use."""
    return len(sched_getaffinity(0))


def side_by_side(work: Sequence[Callable[[], _T]], worth: int) -> list[_T]:
    """Do several things, in threads if it is `worth` it (rows)."""
    if len(work) < 2 or worth < _ALONE or cores() < 2:
        return [one() for one in work]
    with ThreadPoolExecutor(min(cores(), len(work))) as pool:
        return [one.result() for one in [pool.submit(one) for one in work]]


def in_pieces(rows: int, work: Callable[[int, int], None]) -> None:
    """Do work on ranges of rows, in threads where it is worth it."""
    parts = cores() if rows >= _ALONE else 1
    edges = [rows * part // parts for part in range(parts + 1)]
    side_by_side([partial(work, begin, end) for begin, end in pairwise(edges)], worth=rows)


def gathered(values: Any, at: Integers) -> Any:
    """`values[at]`, which waits for memory more than for the processor: on all cores."""
    found = np.empty(len(at), values.dtype)

    def gather(begin: int, end: int) -> None:
        np.take(values, at[begin:end], out=found[begin:end], mode="clip")

    in_pieces(len(at), gather)
    return found


def of_units(units: Any, rows: int) -> Coded | None:
    """The units of rows, coded; None where each row is a unit of its own."""
    if units is None:
        return None
    found = units if isinstance(units, Coded) else coded(units, absent=())
    if len(found) != rows:
        raise DisclosureError("give one unit for each row of the keys")
    if found.missing >= 0:
        raise DisclosureError("a row without a unit can't be tested; give each row its unit")
    found = found.used()
    return None if found.size == rows else found
