"""What a comparison weighs: Fellegi and Sunter's model with a class for members of one household.

A pair of records belongs to one unit (m), to two members of one household (h), or to two units with
nothing in common (u). With the expected number of pairs of each class before anything is looked at,

    p = M m / (M m + H h + U u)

where m, h and u are products over fields of how often their level occurs in the class. Where two
records agree on a value, u also counts how rare it is: M/U gains a factor (sum of p²)/p for a value
that the share p of all rows has. I. P. Fellegi and A. B. Sunter, A Theory for Record Linkage,
Journal of the American Statistical Association 64 (1969); for the rarity of values W. E. Winkler,
Frequency-Based Matching in Fellegi-Sunter Model of Record Linkage (2000).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.columns import NAMES, Encoded
from linkage.kernel.levels import Comparison, Levels, Pairs

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

UNSEEN: Final = 1000
"""Rows that an average value is reckoned to have behind what was counted: in a small file that a
value was seen once says little about how rare it is."""


@dataclass(frozen=True)
class Weights:
    """The model: per comparison three arrays over its levels, and the expected pairs per class."""

    comparisons: tuple[Comparison, ...]
    m: tuple[Floats, ...]
    h: tuple[Floats, ...]
    u: tuple[Floats, ...]
    matches: float
    household: float
    space: float

    @cached_property
    def tables(self) -> tuple[Floats, ...]:
        """Per comparison: natural logarithms of m, h and u by level; 0 for missing."""
        with np.errstate(divide="ignore"):
            return tuple(
                np.log(np.vstack(rates)) for rates in zip(self.m, self.h, self.u, strict=True)
            )

    @property
    def prior(self) -> float:
        """Logarithm of the odds that two rows are one unit before anything is known."""
        return float(np.log(self.matches / self.space))

    @property
    def household_prior(self) -> float:
        """Logarithm of the odds that two rows are members of one household."""
        return float(np.log(self.household / self.space)) if self.household else -np.inf

    def sums(self, levels: Sequence[Levels]) -> tuple[Floats, Floats, Floats]:
        """Logarithms of m, h and u of pairs, `levels` being an array per comparison."""
        total = np.zeros((3, len(levels[0])))
        for table, level in zip(self.tables, levels, strict=True):
            total += table[:, level]
        return total[0], total[1], total[2]

    def odds(self, levels: Sequence[Levels], rarity: Any) -> tuple[Floats, Floats]:
        """Logarithms of the odds for one unit: against strangers only, and against both."""
        m, h, u = self.sums(levels)
        one = m + self.prior
        strangers = one - (u + rarity)
        with np.errstate(over="ignore"):
            against = np.exp(-strangers) + np.exp(h + self.household_prior - one)
        return strangers, -np.log(against)


def rarities(encoded: Encoded, comparisons: Sequence[Comparison]) -> Mapping[str, Singles]:
    """By part, for each row of `a`: log of (its value's share / that of a usual agreement)."""
    parts = {part for one in comparisons for part in one.rarity.values()}
    return {part: _rarity(encoded, part) for part in sorted(parts)}


def _rarity(encoded: Encoded, part: str) -> Singles:
    share = encoded.share(part).astype(np.float64)
    present = share[~np.isnan(share)]
    # rows of `a` meet a value of share p with frequency p: the mean of p is the sum of p²
    usual = float(present.mean()) if len(present) else 1.0
    smooth = (share * encoded.people + UNSEEN * usual) / (encoded.people + UNSEEN)
    return np.nan_to_num(np.log(smooth / usual), nan=0.0).astype(np.float32)


def rarity_of(
    comparisons: Sequence[Comparison],
    tables: Mapping[str, Singles],
    levels: Sequence[Levels],
    pairs: Pairs,
) -> Singles:
    """What the rarity of the values agreed on adds to log u, per pair.

    Names that stand across are counted as usual ones: how rare a first name is among last names
    says nothing.
    """
    total = np.zeros(len(pairs), np.float32)
    for one, level in zip(comparisons, levels, strict=True):
        for word, part in one.rarity.items():
            agrees = level == one.level(word)
            if pairs.crossed is not None and part in NAMES:
                agrees &= ~pairs.crossed
            rows = np.flatnonzero(agrees)
            total[rows] += tables[part][pairs.left[rows]]
    return total
