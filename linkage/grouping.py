"""Working with groups of records in whole columns: pairs inside groups, connected components."""

import numpy as np
import numpy.typing as npt

from linkage.identities import ABSENT, Ints


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The integers of all half-open ranges [start, start + length), one after the other."""
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    steps = np.arange(total) - np.repeat(ends - lengths, lengths)
    return np.repeat(starts, lengths) + steps


class Groups:
    """Records with the same key; records whose key is ABSENT are in no group."""

    def __init__(self, keys: Ints) -> None:
        order = np.argsort(keys, kind="stable").astype(np.int64)
        self.members = order[np.searchsorted(keys[order], ABSENT, side="right") :]
        """Record numbers, group by group."""
        sorted_keys = keys[self.members]
        new = np.append(True, sorted_keys[1:] != sorted_keys[:-1])[: len(sorted_keys)]
        self.starts = np.flatnonzero(new)
        self.keys = sorted_keys[self.starts]
        self.sizes = np.diff(np.append(self.starts, len(sorted_keys)))

    def having(self, keys: Ints) -> tuple[Ints, Ints]:
        """Where in `members` the group of each key starts, and how many it has (0: no group)."""
        if not len(self.keys):
            nothing = np.zeros(len(keys), np.int64)
            return nothing, nothing
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = self.keys[place] == keys
        return self.starts[place], np.where(found, self.sizes[place], 0)

    def partners(self, keys: Ints) -> tuple[Ints, Ints]:
        """For each of `keys` all members of its group: positions in `keys`, and record numbers."""
        starts, sizes = self.having(keys)
        return np.repeat(np.arange(len(keys)), sizes), self.members[ranges(starts, sizes)]


def pairs_within(keys: Ints, largest: int) -> tuple[Ints, Ints]:
    """All pairs (i < j) of records with the same key, in groups of at most `largest`."""
    groups = Groups(keys)
    small = np.repeat(groups.sizes <= largest, groups.sizes)
    rows = groups.members[small]
    at, partner = groups.partners(keys[rows])
    left = rows[at]
    ordered = left < partner
    return left[ordered], partner[ordered]


def components(size: int, left: Ints, right: Ints) -> Ints:
    """For each of `size` nodes the smallest node it is connected with over the edges."""
    label = np.arange(size)
    while len(left):
        low = np.minimum(label[left], label[right])
        new = label.copy()
        np.minimum.at(new, label[left], low)
        np.minimum.at(new, label[right], low)
        while True:
            shorter = new[new]
            if np.array_equal(shorter, new):
                break
            new = shorter
        if np.array_equal(new, label):
            break
        label = new
        open_edges = label[left] != label[right]
        left, right = left[open_edges], right[open_edges]
    return label


def any_by(labels: Ints, flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Per record, whether the flag is set for any record with its label (labels are >= 0)."""
    result = np.zeros(int(labels.max(initial=-1)) + 1, np.bool_)
    result[labels[flags]] = True
    return result[labels]


def largest_by(labels: Ints, values: Ints) -> Ints:
    """Per record, the largest value among records with its label (labels are >= 0)."""
    result = np.full(int(labels.max(initial=-1)) + 1, np.iinfo(np.int64).min)
    np.maximum.at(result, labels, values)
    return result[labels]
