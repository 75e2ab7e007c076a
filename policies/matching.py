"""Who could be whom, when some values aren't known.

Two lists are compared by columns of labels: rows fit when every column that both know is equal. A
value that is missing on either side excludes nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import MISSING_CODES
from policies.disclosure import Integers, encode, pack

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Pair:
    """One column of both lists, in the same codes: whether each value is missing, and what it
    is."""

    asked: Integers
    said: Integers
    asked_missing: Flags
    said_missing: Flags

    @classmethod
    def of(cls, asked: Any, said: Any) -> "Pair":
        """From two columns of texts; null and the codes for missing values are missing."""
        both = pa.concat_arrays([_whole(asked), _whole(said)])
        codes, names = encode(both)
        missing = [name is None or name in MISSING_CODES for name in names.to_pylist()]
        hidden = np.array(missing or [False], bool)[codes]
        at = len(asked)
        return cls(codes[:at], codes[at:], hidden[:at], hidden[at:])

    @classmethod
    def known(cls, asked: Integers, said: Integers) -> "Pair":
        """From two columns of codes of which none is missing."""
        return cls(asked, said, np.zeros(len(asked), bool), np.zeros(len(said), bool))


def _whole(column: Any) -> Any:
    text = pc.cast(column, pa.string())
    return text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text


def candidates(pairs: Sequence[Pair], asked: int, said: int) -> Integers:
    """For each row of the first list, how many of the second fit it. `asked` and `said` are their
    lengths."""
    found = np.zeros(asked, np.int64)
    for blank, who in _patterns([pair.asked_missing for pair in pairs], asked):
        for covered, others in _patterns([pair.said_missing for pair in pairs], said):
            compared = [
                np.concatenate([pair.asked[who], pair.said[others]])
                for pair, one, other in zip(pairs, blank, covered, strict=True)
                if not (one or other)
            ]
            sizes = [int(part.max(initial=0)) + 1 for part in compared]
            alike, kinds = pack(compared, sizes, len(who) + len(others))
            counts = np.bincount(alike[len(who) :], minlength=kinds)
            found[who] += counts[alike[: len(who)]]
    return found


def fit(pairs: Sequence[Pair], place: Integers) -> Flags:
    """Whether each row of the first list fits the row of the second at its place; not where the
    place is negative."""
    fits: Flags = place >= 0
    for pair in pairs:
        equal = pair.asked == pair.said[place]
        fits = fits & (equal | pair.asked_missing | pair.said_missing[place])
    return fits


def _patterns(flags: Sequence[Flags], rows: int) -> list[tuple[tuple[bool, ...], Integers]]:
    """Every combination of flags that some rows have, with those rows."""
    code: Integers = np.zeros(rows, np.int64)
    for flag in flags:
        code = np.where(flag, 2 * code + 1, 2 * code)
    return [
        (tuple(bool(flag[who[0]]) for flag in flags), who)
        for who in (np.flatnonzero(code == one) for one in np.unique(code))
    ]
