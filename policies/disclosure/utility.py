"""What protection cost: a released file beside the file it was made from, row by row.

Both have the same rows in the same order; a row that was left out of the release stands in it with
missing values. A value is missing where nothing stands. What coarsening costs is measured on the
values that the original file has; a hierarchy may know more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from policies.disclosure.encoding import Coded, DisclosureError, Floats, Integers, Keys, packed
from policies.disclosure.encoding import starts as begins_of


@dataclass(frozen=True)
class Utility:
    """What is left of each column, and of how they go together; every loss is 0 for an unchanged
    file, and 1 at most."""

    loss: dict[str, float]
    """For each column the mean over rows of (M - 1)/(N - 1): the released value stands for M of the
    original's N values; 1 where it is missing and wasn't. (Iyengar, Transforming data to satisfy
    privacy constraints, 2002; ARX's "Loss".)"""
    entropy: dict[str, float]
    """For each column non-uniform entropy, as a share of its largest value: the sum over rows of
    -log2(n(original) / n(released)), where n counts rows with the original value and rows whose
    originals became this released value (all rows for a missing one), over what it is if all become
    one. (De Waal and Willenborg, 1999; Gionis and Tassa, 2008; ARX.)"""
    distributions: dict[str, float]
    """For each column how far the shares of its values moved: 1/2 sum |p - q|, missing being a
    value too. It is large where values got other names."""
    associations: dict[str, float]
    """For each pair of columns ("a, b") by how much Cramér's V changed: |V' - V|."""

    @property
    def mean_loss(self) -> float:
        """The mean loss of columns."""
        return float(np.mean(list(self.loss.values())))

    @property
    def mean_entropy(self) -> float:
        """The mean non-uniform entropy of columns."""
        return float(np.mean(list(self.entropy.values())))


def utility(original: Keys, released: Keys) -> Utility:
    """Compare the columns of two files that have the same names."""
    if len(original) != len(released):
        raise DisclosureError(
            f"the original has {len(original):,} rows and the release {len(released):,}; give both "
            "the same rows in the same order, those left out as rows of missing values"
        )
    pairs = {
        name: (one.used(), released.only([name]).columns[0].used())
        for name, one in zip(original.names, original.columns, strict=True)
    }
    together = combinations(original.names, 2)
    return Utility(
        {name: _loss(*pair) for name, pair in pairs.items()},
        {name: _entropy(*pair) for name, pair in pairs.items()},
        {name: _moved(*pair) for name, pair in pairs.items()},
        {
            f"{a}, {b}": abs(
                cramers_v(pairs[a][1], pairs[b][1]) - cramers_v(pairs[a][0], pairs[b][0])
            )
            for a, b in together
        },
    )


def _became(original: Coded, released: Coded) -> tuple[Integers, Integers, Integers]:
    """Which original values became which released ones, and in how many rows."""
    values, _ = packed([released.codes, original.codes], [released.size, original.size])
    values.sort()
    first = begins_of(values)
    there = values[first]
    return there % original.size, there // original.size, np.diff(first, append=len(values))


def _loss(original: Coded, released: Coded) -> float:
    """Iyengar's loss of a column."""
    if original.size < 2:
        return 0.0
    _, into, rows = _became(original, released)
    each = (np.bincount(into, minlength=released.size) - 1) / (original.size - 1)
    if released.missing >= 0:
        each[released.missing] = 1.0
    counts = np.bincount(into, rows, minlength=released.size)
    lost = float((each * counts).sum())
    if released.missing >= 0 and original.missing >= 0:  # missing before: nothing was lost
        both = (original.codes == original.missing) & (released.codes == released.missing)
        lost -= float(both.sum())
    return lost / len(original)


def _entropy(original: Coded, released: Coded) -> float:
    """Non-uniform entropy of a column, as a share of what it is when all values become one."""
    before, into, rows = _became(original, released)
    own = np.bincount(original.codes, minlength=original.size)
    # the rows whose originals became this released value somewhere: all of these originals' rows
    group = np.bincount(into, own[before], minlength=released.size)
    if released.missing >= 0:
        group[released.missing] = len(original)
        stayed = (into == released.missing) & (before == original.missing)
        before, into, rows = before[~stayed], into[~stayed], rows[~stayed]
    most = float(-(own * np.log2(own / len(original))).sum())
    lost = float(-(rows * np.log2(own[before] / group[into])).sum())
    return lost / most if most > 0 else 0.0


def _moved(original: Coded, released: Coded) -> float:
    """Half the sum of the differences of shares."""
    shares: dict[Any, float] = {}
    for column, sign in ((original, 1.0), (released, -1.0)):
        counts = np.bincount(column.codes, minlength=column.size) / len(column)
        for code, (value, share) in enumerate(zip(column.values.to_pylist(), counts, strict=True)):
            name = None if code == column.missing else str(value)
            shares[name] = shares.get(name, 0.0) + sign * float(share)
    return sum(abs(one) for one in shares.values()) / 2


def cramers_v(a: Coded, b: Coded) -> float:
    """Cramér's V of two columns: the root of chi squared over n times the lesser of their numbers
    of values less one (Cramér, 1946); 0 where one of them has one value only."""
    a, b = a.used(), b.used()
    least = min(a.size, b.size) - 1
    if least < 1:
        return 0.0
    values, _ = packed([a.codes, b.codes], [a.size, b.size])
    values.sort()
    first = begins_of(values)
    there, rows = values[first], np.diff(first, append=len(values)).astype(np.float64)
    of_a = np.bincount(a.codes, minlength=a.size)
    of_b = np.bincount(b.codes, minlength=b.size)
    squared = (rows**2 / (of_a[there // b.size] * of_b[there % b.size])).sum() - 1
    return float(np.sqrt(max(squared, 0.0) / least))


def il1s(original: Mapping[str, Any], released: Mapping[str, Any], names: Sequence[str]) -> float:
    """IL1s of numeric columns: 1/(p n) sum |x - z| / (sqrt(2) S), with S the standard deviation of
    the original column, over the values that both have.

    (Yancey, Winkler and Creecy, 2002; Mateo-Sanz, Sebé and Domingo-Ferrer, 2004; SDC Practice
    Guide, "Measuring utility": sdcMicro's dUtility multiplies by the root where these divide.) A
    column of one value counts as 0 if it is unchanged; changed it can't be measured.
    """
    if not names:
        raise DisclosureError("IL1s is of numeric columns; name at least one")
    sums = 0.0
    for name in names:
        x, z = (_numeric(name, table[name]) for table in (original, released))
        if len(x) != len(z):
            raise DisclosureError(f"the column {name} has another length in the release")
        both = ~(np.isnan(x) | np.isnan(z))
        spread = float(np.std(x[~np.isnan(x)], ddof=1)) if (~np.isnan(x)).sum() > 1 else 0.0
        apart = float(np.abs(x[both] - z[both]).sum())
        if apart and not spread:
            raise DisclosureError(f"all of {name} is one value, by which no change can be measured")
        sums += apart / (np.sqrt(2) * spread) / max(int(both.sum()), 1) if apart else 0.0
    return sums / len(names)


def _numeric(name: str, column: Any) -> Floats:
    try:
        return np.asarray(column, np.float64)
    except (TypeError, ValueError):
        raise DisclosureError(f"the column {name} isn't all numbers") from None
