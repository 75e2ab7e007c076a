"""Which records are worth comparing: those that share one of these keys."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from linkage.identities import ABSENT, Ints
from linkage.kernel.columns import Packed, Side, Vocabulary, date_parts, key

Rule = tuple[str, ...]

RULES: Final[tuple[Rule, ...]] = (
    ("head", "last"),
    ("names",),
    ("birth", "last2"),
    ("birth", "head2"),
    ("postcode", "street", "house_number"),
    ("company_name",),
)
"""`names` are first and last name in either order and `birth` has day and month in either order, so
that what was swapped is still found; `head2` and `last2` are two letters, so that a typing error
further on does no harm."""
WIDE: Final[tuple[Rule, ...]] = (("birth_date",), ("last", "postcode"), ("head", "street"))
"""Keys that the others can do without, for where they cost little."""
CHEAP: Final = 32.0
"""Candidates per record in need of one that a wide key may cost."""
_MADE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "names": ("joined", "last"),
    "birth": ("birth_date",),
    "head2": ("head",),
    "last2": ("last",),
}


def possible(codes: Mapping[str, Any], rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Those rules for which there are codes."""
    made = {part for part, atoms in _MADE_OF.items() if set(atoms) <= set(codes)}
    return tuple(rule for rule in rules if set(rule) <= set(codes) | made)


def atoms(rule: Rule) -> tuple[str, ...]:
    """The parts of a record that a key is made of."""
    return tuple(atom for part in rule for atom in _MADE_OF.get(part, (part,)))


def keys(
    codes: Mapping[str, Any], vocabularies: Mapping[str, Vocabulary], rule: Rule, rows: int
) -> Packed:
    """A rule's key for each row, 0 where something is missing."""
    made = {part: _made(codes, vocabularies, part) for part in rule if part in _MADE_OF}
    return key(Side(rows, {**codes, **made}), rule)


def meaning(part: str, size: int, vocabularies: Mapping[str, Vocabulary]) -> Ints:
    """What each of `size` codes of its atom means to a part; `names` take both as they are."""
    codes = np.arange(size)
    if part not in _MADE_OF or part == "names":
        return codes
    (atom,) = _MADE_OF[part]
    return _made({atom: codes.astype(np.int32)}, vocabularies, part)


def _made(codes: Mapping[str, Any], vocabularies: Mapping[str, Vocabulary], part: str) -> Ints:
    if part == "names":
        one, other = codes["joined"], codes["last"]
        both = Side(len(one), {"low": np.minimum(one, other), "high": np.maximum(one, other)})
        whole = key(both, ("low", "high"))
        return np.where(whole == 0, ABSENT, (whole >> np.uint64(1)).astype(np.int64))
    if part == "birth":
        year, month, day = date_parts(codes["birth_date"])
        low, high = np.minimum(month, day), np.maximum(month, day)
        full = (codes["birth_date"] != ABSENT) & (low > 0)
        return np.where(full, year * 10_000 + high * 100 + low, ABSENT)
    (of,) = _MADE_OF[part]
    starts = np.append(vocabularies[of].starts & np.uint32(0xFFFF), 0)
    return np.where(codes[of] == ABSENT, ABSENT, starts[codes[of]])
