"""Who goes with whom: rival pairs share their chances, and no row is given away twice."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from linkage.kernel.columns import Ints
from linkage.kernel.weights import Floats

PROVEN: Final = 30.0
"""Logarithm of the odds that a link by number counts for, where likeness is weighed against it."""
APART: Final = -2.0
"""The same for two rows that were never found worth weighing."""
MATCHED: Final = 0.9
"""The largest share of rows with a partner that is reckoned with: that all have one isn't known."""
MESSAGES: Final = 30
STILL: Final = 1e-4
LIMIT: Final = 30.0
"""Logarithm of odds beyond which nothing is surer: sums of odds must not lose the small ones."""
LARGEST: Final = 400
"""Rows of a side in one tangle of rivals up to which the best assignment is worked out exactly."""
FEW: Final = 10
"""Pairs of a tangle up to which every way out is tried: nearly all. Loading scipy for the others
takes as long as linking thousands of rows."""


def rivalled(
    left: Any, right: Any, odds: Floats, *, lefts: float | None, rights: float | None
) -> Floats:
    """Chances of pairs of which a row can be in one at most.

    `lefts` is the share of rows on the left that have a partner, None where a row may have several;
    `rights` the same on the right. Against a pair stand all ways in which its rows go with others
    or with nobody; the more rows have a partner, the less likely it is that two rows for which
    nobody else was found belong to nobody. A rival that has a better partner itself counts for
    little: twins who fit each other a little, and themselves well, are sure. Summed over all ways
    by passing messages along the pairs (the Bethe approximation of B. Huang and T. Jebara,
    Approximating the Permanent with Belief Propagation, 2009), exactly where rivals form no rings.
    """
    own = np.exp(np.clip(odds, -LIMIT, LIMIT))
    for share in (lefts, rights):
        if share is not None:
            own /= 1.0 - min(share, MATCHED)
    weight = own.copy()
    rows = np.flatnonzero(_several(left, lefts) | _several(right, rights))
    if len(rows):
        sides = [
            None if share is None else np.unique(side[rows], return_inverse=True)[1]
            for side, share in ((left, lefts), (right, rights))
        ]
        weight[rows] *= _passed(own[rows], sides[0], sides[1])
    chance: Floats = weight / (1.0 + weight)
    return chance


def _several(side: Any, share: float | None) -> Any:
    """Pairs whose row on this side, being in one of them at most, has others too."""
    if share is None or not len(side):
        return np.zeros(len(side), np.bool_)
    several: Any = np.bincount(side)[side] > 1
    return several


def _passed(own: Floats, left: Any, right: Any) -> Floats:
    """What the messages from both rows of each pair leave of its odds."""
    from_left, from_right = np.ones(len(own)), np.ones(len(own))
    for _ in range(MESSAGES):
        before = from_left, from_right
        if left is not None:
            others = np.bincount(left, own * before[1])[left] - own * before[1]
            from_left = 1.0 / (1.0 + np.maximum(others, 0.0))
        if right is not None:
            others = np.bincount(right, own * before[0])[right] - own * before[0]
            from_right = 1.0 / (1.0 + np.maximum(others, 0.0))
        moved = max(np.abs(from_left - before[0]).max(), np.abs(from_right - before[1]).max())
        if moved < STILL:
            break
        # half way, since messages around a ring would swing for ever
        from_left, from_right = (from_left + before[0]) / 2, (from_right + before[1]) / 2
    passed: Floats = from_left * from_right
    return passed


def one_to_one(left: Any, right: Any, odds: Floats) -> Any:
    """Which pairs to take so that no row is in two, and the sum of their weights is largest.

    Pairs whose rows have no other pair, or none that could make up for it, are taken at once; the
    rest falls into small tangles that are solved exactly (a tangle of more than LARGEST rows a side
    is solved best pair first).
    """
    taken = np.zeros(len(left), np.bool_)
    free = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1) if len(left) else taken
    taken[free] = True
    rows = np.flatnonzero(~taken)
    sure = rows[odds[rows] > _instead(left[rows], odds[rows]) + _instead(right[rows], odds[rows])]
    taken[sure] = True
    gone = np.isin(left[rows], left[sure]) | np.isin(right[rows], right[sure])
    rows = rows[~gone]
    if not len(rows):
        return taken
    _, one = np.unique(left[rows], return_inverse=True)
    _, other = np.unique(right[rows], return_inverse=True)
    size = int(one.max()) + 1
    label = _connected(size + int(other.max()) + 1, one, size + other)[one]
    order = np.argsort(label, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(label[order])) + 1, len(order))
    begin = 0
    for end in ends.tolist():
        some = rows[order[begin:end]]
        taken[some[_best(left[some], right[some], odds[some])]] = True
        begin = end
    return taken


def _instead(side: Any, odds: Floats) -> Floats:
    """For each pair the most that its row on this side can have in another pair, 0 at least."""
    order = np.lexsort((-odds, side))
    new = np.append(True, side[order][1:] != side[order][:-1])[: len(order)]
    first = np.flatnonzero(new)
    row = np.cumsum(new) - 1
    best = odds[order][first]
    second = np.zeros(len(first))
    several = np.diff(np.append(first, len(order))) > 1
    second[several] = odds[order][first[several] + 1]
    instead = np.empty(len(order))
    instead[order] = np.where(new, second[row], best[row])
    most: Floats = np.maximum(instead, 0.0)
    return most


def _best(left: Any, right: Any, odds: Floats) -> Any:
    """The places of the best set of pairs in one tangle."""
    if len(left) <= FEW:
        return np.array(_tried(left.tolist(), right.tolist(), odds.tolist()), np.int64)
    from scipy.optimize import linear_sum_assignment

    lefts, one = np.unique(left, return_inverse=True)
    rights, other = np.unique(right, return_inverse=True)
    if min(len(lefts), len(rights)) > LARGEST:
        return _greedy(one, other, odds)
    value = np.zeros((len(lefts), len(rights)))
    place = np.full(value.shape, -1)
    value[one, other] = np.maximum(odds, 1e-6)
    place[one, other] = np.arange(len(left))
    chosen = place[linear_sum_assignment(value, maximize=True)]
    return chosen[chosen >= 0]


def _tried(left: Sequence[int], right: Sequence[int], odds: Sequence[float]) -> list[int]:
    """The places of the best set of few pairs: each is taken or left, as long as more can come."""
    order = sorted(range(len(odds)), key=lambda place: -odds[place])
    rest = [0.0]
    for place in reversed(order):
        rest.append(rest[-1] + odds[place])
    rest.reverse()
    best: list[int] = []
    most = -1.0

    def go(at: int, taken: list[int], total: float) -> None:
        nonlocal best, most
        if total > most:
            best, most = taken, total
        if at == len(order) or total + rest[at] <= most:
            return
        place = order[at]
        if all(left[place] != left[one] and right[place] != right[one] for one in taken):
            go(at + 1, [*taken, place], total + odds[place])
        go(at + 1, taken, total)

    go(0, [], 0.0)
    return best


def _connected(size: int, left: Any, right: Any) -> Ints:
    """A number for each of so many nodes, the same for those that edges connect: the least of them.

    Each node takes the least number around it, and then the number of that one, until nothing
    changes: a chain is halved each time.
    """
    label = np.arange(size)
    while True:
        before = label.copy()
        least = np.minimum(label[left], label[right])
        np.minimum.at(label, left, least)
        np.minimum.at(label, right, least)
        label = label[label]
        if np.array_equal(label, before):
            return label


def _greedy(left: Ints, right: Ints, odds: Floats) -> Any:
    gone: tuple[set[int], set[int]] = (set(), set())
    chosen = []
    for at in np.argsort(-odds, kind="stable").tolist():
        if int(left[at]) not in gone[0] and int(right[at]) not in gone[1]:
            gone[0].add(int(left[at]))
            gone[1].add(int(right[at]))
            chosen.append(at)
    return np.array(chosen, np.int64)


def best_of(side: Any, odds: Floats) -> Any:
    """For each row of a side its best pair alone (of equals the first)."""
    order = np.lexsort((np.arange(len(side)), -odds, side))
    first = np.append(True, side[order][1:] != side[order][:-1])[: len(order)]
    taken = np.zeros(len(side), np.bool_)
    taken[order[first]] = True
    return taken


def groups(rows: int, left: Any, right: Any, odds: Floats | None = None) -> Any:
    """A number per row, the same for rows of one unit: what the pairs connect.

    A chain is no proof that its ends are one: where not every pair of a group is linked, its rows
    are merged best first, for as long as the mean odds between two parts are above even.
    """
    label = _connected(rows, left, right)
    if odds is None or not len(left):
        return label
    sizes = np.bincount(label)
    held = np.bincount(label[left], minlength=len(sizes))
    loose = (sizes > 2) & (held < sizes * (sizes - 1) // 2)
    members = np.flatnonzero(loose[label])
    members = members[np.argsort(label[members], kind="stable")]
    pairs = np.flatnonzero(loose[label[left]])
    pairs = pairs[np.argsort(label[left[pairs]], kind="stable")]
    rows_end = np.cumsum(sizes[loose])
    pairs_end = np.cumsum(held[loose])
    begin, at, fresh = 0, 0, int(label.max(initial=-1)) + 1
    for end, upto in zip(rows_end.tolist(), pairs_end.tolist(), strict=True):
        some, edge = members[begin:end], pairs[at:upto]
        parts = _parts(some, left[edge], right[edge], odds[edge])
        label[some] = np.where(parts == 1, label[some], fresh + parts)
        fresh += int(parts.max()) + 1
        begin, at = end, upto
    return label


def _parts(rows: Any, left: Any, right: Any, odds: Floats) -> Any:
    """The parts (from 1) that a loose group falls into."""
    if len(rows) > LARGEST:
        return np.ones(len(rows), np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    far = np.full((len(rows), len(rows)), -APART)
    one, other = np.searchsorted(rows, left), np.searchsorted(rows, right)
    np.minimum.at(far, (one, other), -np.minimum(odds, PROVEN))
    far = np.minimum(far, far.T) + PROVEN
    merged = linkage(far[np.triu_indices(len(rows), 1)], method="average")
    return fcluster(merged, PROVEN, criterion="distance")
