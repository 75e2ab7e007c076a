"""The cases in which records of one person are hard to recognise, and what became of them.

Told by how the fields compare, so that each has its figures where nobody knows the truth too: how
many pairs were linked, how many are for review, how many of the links the probabilities expect to
be right.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.levels import Comparison, Pairs, compared, comparisons
from linkage.matching import Matched
from linkage.truth import Truth

Bools = npt.NDArray[np.bool_]

PIECE: Final = 1 << 16
"""Pairs that are looked at together."""

_MOVED: Final = ("street", "postcode", "municipality", "region", "different")
_SAME_NAME: Final = ("exact", "head", "second", "nickname", "initial", "close", "similar")
_BIS: Final = (20, 59)
"""Months of a bis number: raised by 20, or by 40 where the sex is known."""


def hard_cases(
    matched: Matched, truth: Truth | None = None, *, workers: int = 1
) -> dict[str, dict[str, Any]]:
    """By case: pairs linked, for review, links expected to be right; `right` with the truth.

    A pair can be several cases. Cases that the plan's fields can't tell aren't there.
    """
    told = {}
    linked = matched.rule < 2
    chance = np.where(matched.rule == 0, 1.0, matched.probability)
    right = None if truth is None else truth.right(matched.left, matched.right)
    spans = [slice(start, start + PIECE) for start in range(0, max(len(linked), 1), PIECE)]
    every = Pairs(matched.encoded, matched.left, matched.right)
    with ThreadPoolExecutor(workers) as pool:
        pieces = list(pool.map(lambda span: _cases(every.some(span)), spans))
    for case in pieces[0]:
        which = np.concatenate([piece[case] for piece in pieces])
        told[case] = {
            "links": int((which & linked).sum()),
            "review": int((which & ~linked).sum()),
            "expected_right": float(chance[which & linked].sum()),
        }
        if right is not None:
            told[case]["right"] = int((which & linked & right).sum())
    return told


def _cases(pairs: Pairs) -> dict[str, Bools]:
    """Which pairs are which case."""
    which = comparisons(pairs.encoded.parts)
    names = {one.name for one in which}
    levels = {
        one.name: _Of(one, found) for one, found in zip(which, compared(pairs, which), strict=True)
    }
    cases: dict[str, Bools] = {}
    nobody = np.zeros(len(pairs), np.bool_)
    if {"first_name", "last_name"} <= names:
        first, last = levels["first_name"], levels["last_name"]
        cases["names swapped"] = nobody if pairs.crossed is None else pairs.crossed
        cases["first name by a nickname or an initial"] = first.one("nickname", "initial", "second")
        cases["partner's name, or a part of the name"] = last.one("part")
    if "birth_date" in names:
        born = levels["birth_date"]
        cases["birth date missing or by default"] = born.one("missing", "vague")
        cases["day and month exchanged"] = born.one("swapped")
    if {"birth_date", "address"} <= names:
        differs = ~born.one("missing", "exact", "vague")
        cases["moved, and birth date differs"] = levels["address"].one(*_MOVED) & differs
    if {"last_name", "address"} <= names:
        other = ~levels["last_name"].one("missing", "exact")
        cases["moved, and last name differs"] = levels["address"].one(*_MOVED) & other
    if {"first_name", "last_name", "birth_date", "address"} <= names:
        home = levels["address"].one("exact", "building") & last.one("exact")
        twin = first.one("other_name", "different") & born.one("exact")
        cases["twins, or one of them"] = home & twin
        namesake = first.one(*_SAME_NAME) & born.one("generation")
        cases["parent and child of one name"] = home & namesake
    if "national_number" in names:
        cases["a bis number became another number"] = _became(pairs)
    return cases


class _Of:
    """The levels of one comparison, by word."""

    def __init__(self, comparison: Comparison, found: Any) -> None:
        self._comparison, self._found = comparison, found

    def one(self, *words: str) -> Bools:
        """Which pairs have one of these levels; a comparison may lack some."""
        there = [word for word in words if word in self._comparison.words]
        levels = [self._comparison.level(word) for word in there]
        which: Bools = np.isin(self._found, levels)
        return which


def _became(pairs: Pairs) -> Bools:
    """Pairs with two valid numbers, one of them a bis number and the other not."""
    left, right = pairs.straight("national_number")
    bis = [
        (number >= 0) & (month >= _BIS[0]) & (month <= _BIS[1])
        for number in (left, right)
        for month in (number // 10**7 % 100,)
    ]
    became: Bools = (left >= 0) & (right >= 0) & (bis[0] ^ bis[1])
    return became
