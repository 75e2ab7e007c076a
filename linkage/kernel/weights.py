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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.columns import NAMES, Encoded, key, runs
from linkage.kernel.levels import EXACT, Comparison, Levels, Pairs

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

UNSEEN: Final = 1000
"""Rows that an average value is reckoned to have behind what was counted: in a small file that a
value was seen once says little about how rare it is."""


@dataclass(frozen=True)
class Weights:
    """The model: per comparison three arrays over its levels, and the expected pairs per class.

    `once`: whether a unit has one row in `a`, so that its rows tell what strangers have in common.
    """

    comparisons: tuple[Comparison, ...]
    m: tuple[Floats, ...]
    h: tuple[Floats, ...]
    u: tuple[Floats, ...]
    matches: float
    household: float
    space: float
    once: bool

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
        twins = self._twins
        if twins is not None:
            born, named, more = twins
            rows = np.flatnonzero(levels[born] == EXACT)
            total[1, rows] += more[levels[named][rows]]
        return total[0], total[1], total[2]

    @cached_property
    def _twins(self) -> tuple[int, int, Floats] | None:
        """Where birth dates and last names are compared, and what a level of the latter adds to h.

        Members of one household who are born on one day are twins, and have one last name; others
        are born on one day no oftener than strangers. Were the fields independent there too, a
        person whose both names changed would rather be two.
        """
        at = {one.name: place for place, one in enumerate(self.comparisons)}
        if not self.household or not {"birth_date", "last_name"} <= set(at):
            return None
        born, named = at["birth_date"], at["last_name"]
        one = self.comparisons[named]
        m, h, _ = self.tables[named]
        more = m - h
        for word in ("other_name", "different"):
            more[one.level(word)] = self.tables[born][2, EXACT] - self.tables[born][1, EXACT]
        return born, named, more

    def odds(self, levels: Sequence[Levels], rarity: Any) -> tuple[Floats, Floats]:
        """Logarithms of the odds for one unit: against strangers only, and against both."""
        m, h, u = self.sums(levels)
        one = m + self.prior
        strangers = one - (u + rarity)
        with np.errstate(over="ignore"):
            against = np.exp(-strangers) + np.exp(h + self.household_prior - one)
        return strangers, -np.log(against)


TOGETHER: Final = {
    ("first_name", "last_name"): ("head", "last"),
    ("first_name", "birth_date"): ("head", "birth_date"),
}
"""Fields whose values go together among strangers: names by origin, first names by generation."""
BINS: Final = 24


def rarities(
    encoded: Encoded, comparisons: Sequence[Comparison], *, once: bool, each: Any = map
) -> Mapping[str, Singles]:
    """By part, for each row of `a`: log of (its value's share / that of a usual agreement).

    With `once` (a unit has one row in `a`), also how much oftener strangers agree on two parts
    together than on each by itself. `each` is a map.
    """
    work: dict[str, Callable[[], Singles]] = {}
    for one in comparisons:
        for word, part in one.rarity.items():
            # what is usual between strangers is known of values that stand for themselves
            usual = one.rates["exact"][2] if word in ("exact", "head") else None
            work.setdefault(part, partial(_rarity, encoded, part, usual))
    if once:
        for pair in TOGETHER.values():
            if set(pair) <= set(encoded.parts):
                work["+".join(pair)] = partial(_together, encoded, pair)
    return dict(zip(work, each(lambda one: one(), work.values()), strict=True))


def _together(encoded: Encoded, parts: tuple[str, str]) -> Singles:
    """For each row of `a`, log of how much oftener its two values occur together than by chance.

    Rows of one file are strangers (or relatives), so that what they agree on tells how often
    strangers do: others with both values, against those expected were they independent, by how rare
    the combination would be.
    """
    share = (encoded.share(parts[0]) * encoded.share(parts[1])).astype(np.float64)
    rows = np.flatnonzero(share > 0)
    result = np.zeros(encoded.a.rows, np.float32)
    if len(rows) < BINS:
        return result
    keys = key(encoded.a, parts)[rows]
    order = np.argsort(keys)
    counts = runs(keys[order])
    others = np.empty(len(rows))
    others[order] = np.repeat(counts - 1, counts)
    expected = share[rows] * len(rows)
    rare = np.log(share[rows])
    edges = np.quantile(rare, np.linspace(0, 1, BINS + 1))
    places = np.clip(np.searchsorted(edges, rare, side="right") - 1, 0, BINS - 1)
    seen, chance = np.bincount(places, others, BINS), np.bincount(places, expected, BINS)
    lift = np.log(np.maximum((seen + 2.0) / (chance + 2.0), 1.0))
    result[rows] = np.interp(rare, (edges[1:] + edges[:-1]) / 2, lift)
    return result


def with_more(share: Any, people: float, usual: float, more: float) -> Any:
    """A share of `people`, as if there were so many `more` with a usual share."""
    return (share * people + more * usual) / (people + more)


def _rarity(encoded: Encoded, part: str, usual: float | None) -> Singles:
    share = encoded.share(part).astype(np.float64)
    present = share[~np.isnan(share)]
    # rows of `a` meet a value of share p with frequency p: the mean of p is the sum of p²
    mean = float(present.mean()) if len(present) else 1.0
    same, pairs = encoded.chances.get(part, (0.0, 0.0))
    mean = same / pairs if same else mean
    if usual is not None:
        mean = with_more(mean, encoded.people, usual, encoded.behind)
    smooth = with_more(share, encoded.people, mean, max(UNSEEN, encoded.behind))
    rarity: Singles = np.nan_to_num(np.log(smooth / mean), nan=0.0).astype(np.float32)
    return rarity


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
    names = [one.name for one in comparisons]
    for (first, second), parts in TOGETHER.items():
        table = tables.get("+".join(parts))
        if table is not None and {first, second} <= set(names):
            both = np.ones(len(pairs), np.bool_)
            for name in (first, second):
                at = names.index(name)
                both &= _agree(comparisons[at], levels[at])
            if pairs.crossed is not None:
                both &= ~pairs.crossed
            rows = np.flatnonzero(both)
            total[rows] += table[pairs.left[rows]]
    return total


def _agree(one: Comparison, levels: Levels) -> Any:
    """Where the values are the same, of a first name the first one at least."""
    return np.isin(levels, [one.level(word) for word in one.rarity])
