"""Disclosure measures once more, in plain Python: slow, and easy to check against their papers.

Written from the definitions, not from the code. A row is a tuple of keys; None is missing.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations, count
from math import exp, log

Row = tuple[Hashable, ...]


def matches(a: Row, b: Row, *, wildcard: bool) -> bool:
    """Whether two rows could be of one person."""
    return all(x == y or (wildcard and (x is None or y is None)) for x, y in zip(a, b, strict=True))


def shown(row: Row) -> bool:
    """Whether a row shows anything."""
    return any(value is not None for value in row)


def crowd(
    rows: Sequence[Row], units: Sequence[Hashable], row: Row, *, wildcard: bool
) -> set[Hashable]:
    """The units that a row could be of."""
    if not shown(row):
        return set(units)
    return {
        unit
        for other, unit in zip(rows, units, strict=True)
        if matches(row, other, wildcard=wildcard)
    }


def per_row(rows: Sequence[Row], units: Sequence[Hashable], *, wildcard: bool) -> list[int]:
    """f of every row."""
    return [len(crowd(rows, units, row, wildcard=wildcard)) for row in rows]


def classes(rows: Sequence[Row], units: Sequence[Hashable]) -> dict[Row, set[Hashable]]:
    """Units by combination; rows that show nothing form none, unless there is nothing else."""
    found: dict[Row, set[Hashable]] = defaultdict(set)
    some = any(shown(row) for row in rows)
    for row, unit in zip(rows, units, strict=True):
        if shown(row) or not some:
            found[row].add(unit)
    return found


def spreads(
    rows: Sequence[Row], units: Sequence[Hashable], values: Sequence[Hashable]
) -> tuple[dict[Row, Counter[Hashable]], Counter[Hashable]]:
    """How often each sensitive value occurs, a unit counting once: by class, and in the file."""
    there = classes(rows, units)
    pairs = {(row, value, unit) for row, value, unit in zip(rows, values, units, strict=True)}
    found: dict[Row, Counter[Hashable]] = defaultdict(Counter)
    for row, value, _ in pairs:
        if row in there:
            found[row][value] += 1
    return found, Counter(value for value, _ in {(value, unit) for _, value, unit in pairs})


def crowd_spreads(
    rows: Sequence[Row], units: Sequence[Hashable], values: Sequence[Hashable]
) -> list[Counter[Hashable]]:
    """The same by record's crowd, where missing keys match everything."""
    found = []
    for row in rows:
        pairs = {
            (value, unit)
            for other, value, unit in zip(rows, values, units, strict=True)
            if matches(row, other, wildcard=True)
        }
        found.append(Counter(value for value, _ in pairs))
    return found


def entropy(spread: Counter[Hashable]) -> float:
    n = sum(spread.values())
    return exp(-sum(many / n * log(many / n) for many in spread.values()))


def recursive(spread: Counter[Hashable], c: float) -> int:
    r = sorted(spread.values(), reverse=True)
    return max([1] + [i + 1 for i in range(len(r)) if r[0] < c * sum(r[i:])])


def t_equal(spread: Counter[Hashable], whole: Counter[Hashable]) -> float:
    n, m = sum(spread.values()), sum(whole.values())
    return sum(abs(spread[value] / n - whole[value] / m) for value in whole) / 2


def t_ordered(
    spread: Counter[Hashable], whole: Counter[Hashable], order: Sequence[Hashable]
) -> float:
    n, m = sum(spread.values()), sum(whole.values())
    moved = total = 0.0
    for value in order[:-1]:
        moved += spread[value] / n - whole[value] / m
        total += abs(moved)
    return total / max(len(order) - 1, 1)


def minimal_uniques(
    rows: Sequence[Row], units: Sequence[Hashable], *, wildcard: bool
) -> list[list[tuple[int, ...]]]:
    """For each row the smallest sets of keys on which its unit is alone."""
    found = []
    for row, unit in zip(rows, units, strict=True):
        own: list[tuple[int, ...]] = []
        for size in range(1, len(row) + 1):
            for chosen in combinations(range(len(row)), size):
                part = tuple(row[at] for at in chosen)
                if any(set(smaller) <= set(chosen) for smaller in own):
                    continue
                if (wildcard and None in part) or not shown(part):
                    continue
                others = [tuple(other[at] for at in chosen) for other in rows]
                alone = {
                    u
                    for other, u in zip(others, units, strict=True)
                    if matches(part, other, wildcard=wildcard)
                }
                if alone == {unit}:
                    own.append(chosen)
        found.append(own)
    return found


def alone(rows: Sequence[Row]) -> list[Hashable]:
    """A unit for each row."""
    return [number for number, _ in zip(count(), rows, strict=False)]
