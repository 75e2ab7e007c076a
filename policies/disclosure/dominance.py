"""Who stands out by size: an enterprise that is nearly the whole of its cell.

In a cell of amounts x1 >= x2 >= … with the sum X, whoever knows the sum knows the largest well when
little is left beside it. Two rules say when that is too well (the ESSnet Handbook on Statistical
Disclosure Control, 2010, 4.2.2; Hundepool et al., Statistical Disclosure Control, 2012, 5.2):

- **(n, k) rule**: the cell is unsafe if x1 + … + xn > k/100 X: its n largest are more than k% of
  it;
- **p% rule**: the cell is unsafe if X - x1 - x2 < p/100 x1: the second largest, who knows what is
  its own, comes within p% of the largest.

An amount is a unit's: those of its rows in a cell are added up first. Amounts below zero count as
their distance from it. A cell of nothing but zeros tells no amount.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.disclosure.encoding import DisclosureError, Floats, Integers, lengths, starts
from policies.disclosure.frequencies import Groups


@dataclass(frozen=True)
class Dominance:
    """Cells and their largest contributors, one entry for each combination of the keys that shows
    any.

    `cell` numbers the combination in `Groups`; `units` its contributors, `total` their sum, `top`
    the sum of the `n` largest, `first` the largest and `rest` what is left without the two largest.
    """

    cell: Integers
    units: Integers
    total: Floats
    top: Floats
    first: Floats
    rest: Floats
    n: int

    def dominated(self, k: float) -> Any:
        """Cells that the (n, k) rule finds unsafe: the n largest are more than k% of the total."""
        return self.top > k / 100 * self.total

    def within(self, p: float) -> Any:
        """Cells that the p% rule finds unsafe: X - x1 - x2 < p/100 x1."""
        return self.rest < p / 100 * self.first

    @property
    def share(self) -> float:
        """The largest share of a total, in percent, that n units make up."""
        some = self.total > 0
        return float((100 * self.top[some] / self.total[some]).max()) if some.any() else 0.0

    @property
    def closest(self) -> float | None:
        """The least distance, in percent of the largest, at which the second largest can guess it:
        the least p for which some cell just passes. None without an amount."""
        some = self.first > 0
        return float((100 * self.rest[some] / self.first[some]).min()) if some.any() else None


def dominance(groups: Groups, amounts: Any, n: int = 2) -> Dominance:
    """The largest contributors of every cell; `amounts` has a number for each row (missing: none).

    Cells are combinations of keys, missing being a value like any other.
    """
    try:
        given = np.asarray(amounts, np.float64)
    except (TypeError, ValueError):
        raise DisclosureError("an amount is no number; give each row one or none") from None
    if len(given) != len(groups.row):
        raise DisclosureError("give one amount for each row of the keys")
    if np.isinf(given).any():
        raise DisclosureError("an amount isn't finite; give each row a number, or leave it out")
    if n < 1:
        raise DisclosureError("the rule counts the n largest; give an n of 1 or more")
    cell, amount = _of_units(groups, np.nan_to_num(given))
    order = np.lexsort((-amount, cell))
    cell, amount = cell[order], amount[order]
    begins = starts(cell)
    units = lengths(begins, len(cell))
    place = np.arange(len(cell)) - np.repeat(begins, units)
    largest = amount[begins]
    shown = groups.shown[cell[begins]] != 0
    columns = [
        np.add.reduceat(np.where(chosen, amount, 0), begins)
        for chosen in (place >= 0, place < n, place >= 2)
    ]
    total, top, rest = (one[shown] for one in columns)
    return Dominance(cell[begins][shown], units[shown], total, top, largest[shown], rest, n)


def _of_units(groups: Groups, amounts: Floats) -> tuple[Integers, Floats]:
    """Cell and amount of every unit in every cell."""
    if groups.unit is None:
        return groups.of_row, np.abs(amounts)
    bits = (groups.unit.size - 1).bit_length()
    pair = (groups.of_row << bits) | groups.unit.codes
    order = np.argsort(pair, kind="stable")
    begins = starts(pair[order])
    return pair[order][begins] >> bits, np.abs(np.add.reduceat(amounts[order], begins))
