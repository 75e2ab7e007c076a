"""A file as its groups: each combination of values once, with what has to be known about its rows.

The search for the least loss looks at hundreds of coarsenings, and none of them needs the rows:
whatever it asks about a coarser combination follows from the finer ones that it joins. So the rows
are read once, and each table of groups makes the coarser ones. Codes are kept in the narrowest
integers that hold them.

Numbers of rows and sums of amounts add up. Distinct units don't when a unit has rows in several
groups: then the pairs of group and unit are kept, and joined with the groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from policies.disclosure.cells import DisclosureError, Integers
from policies.disclosure.hierarchies import Hierarchy

Numbers = np.ndarray[Any, Any]
Node = tuple[int, ...]
"""A level for each key."""

_ROOM = 2**62


@dataclass(frozen=True)
class Pairs:
    """Which ids (units, households, values of a sensitive variable) a table's groups hold.

    A line per group and id, in the order of the groups; `amount` is what the id counts for in the
    group: itself, its weight, or (`adds`) its rows.
    """

    group: Integers
    id: Integers
    amount: Numbers
    ids: int
    adds: bool

    def joined(self, becomes: Integers, groups: int) -> "Pairs":
        """The same when group g has become part of group `becomes[g]` of `groups`."""
        if groups * self.ids >= _ROOM:
            raise DisclosureError("the table is too large to search in one piece")
        pair, number, first = number_groups(
            becomes[self.group] * self.ids + self.id, groups * self.ids
        )
        group, who = becomes[self.group][first], self.id[first]
        amount = np.bincount(pair, self.amount, number) if self.adds else self.amount[first]
        return Pairs(group, who, amount, self.ids, self.adds)


@dataclass(frozen=True)
class Groups:
    """The groups of a file at a node.

    `codes` has for each key the value of each group at the node's level; `rows` how many rows it
    has. `tallies` are amounts by name that add up, `pairs` those that don't.
    """

    node: Node
    codes: tuple[Numbers, ...]
    rows: Numbers
    tallies: Mapping[str, Numbers]
    pairs: Mapping[str, Pairs]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def bytes(self) -> int:
        """What it takes in memory."""
        other = [tally for tally in self.tallies.values() if tally is not self.rows]
        plain = [*self.codes, self.rows, *other]
        paired = [part for one in self.pairs.values() for part in (one.group, one.id, one.amount)]
        return sum(part.nbytes for part in (*plain, *paired))

    def tally(self, name: str) -> Numbers:
        """For each group, what its distinct ids count for."""
        if name in self.tallies:
            return self.tallies[name]
        pairs = self.pairs[name]
        return np.bincount(pairs.group, pairs.amount, len(self))

    def distinct(self, name: str) -> Integers:
        """For each group, its distinct ids."""
        return np.bincount(self.pairs[name].group, minlength=len(self))

    def distance(self, name: str, shares: Numbers) -> Numbers:
        """For each group, how far its rows' ids are distributed from `shares`: half the sum of the
        absolute differences."""
        pairs = self.pairs[name]
        own, all_ = pairs.amount / self.rows[pairs.group], shares[pairs.id]
        # ids that a group lacks differ by their whole share
        found: Numbers = 0.5 * (1 + np.bincount(pairs.group, np.abs(own - all_) - all_, len(self)))
        return found

    def part(self, which: Integers) -> "Groups":
        """Some of the groups."""
        becomes = np.full(len(self), -1, np.int64)
        becomes[which] = np.arange(len(which))
        pairs = {}
        for name, all_ in self.pairs.items():
            group = becomes[all_.group]
            here = group >= 0
            pairs[name] = replace(
                all_, group=group[here], id=all_.id[here], amount=all_.amount[here]
            )
        rows = self.rows[which]
        tallies = {
            name: rows if tally is self.rows else tally[which]
            for name, tally in self.tallies.items()
        }
        codes = tuple(codes[which] for codes in self.codes)
        return Groups(self.node, codes, rows, tallies, pairs)

    def coarser(self, node: Node, hierarchies: Sequence[Hierarchy]) -> "Groups":
        """The groups at a node that is nowhere finer."""
        return self.joined(node, hierarchies)[0]

    def joined(self, node: Node, hierarchies: Sequence[Hierarchy]) -> tuple["Groups", Integers]:
        """The same, and which of them each group here becomes part of."""
        packed, room = np.zeros(len(self), np.int64), 1
        ups = []
        for codes, hierarchy, low, high in zip(
            self.codes, hierarchies, self.node, node, strict=True
        ):
            size = len(hierarchy.labels[high])
            if room * size >= _ROOM:
                packed, room = _renumbered(packed, room)
            up = hierarchy.up(low, high)
            ups.append(up.astype(narrowest(size)))
            if size > 1:
                packed += (up * room)[codes]
                room *= size
        group, number, first = number_groups(packed, room)
        joined = Groups(
            node,
            tuple(up[codes[first]] for up, codes in zip(ups, self.codes, strict=True)),
            rows := _summed(group, self.rows, number),
            {
                name: rows if tally is self.rows else _summed(group, tally, number)
                for name, tally in self.tallies.items()
            },
            {name: pairs.joined(group, number) for name, pairs in self.pairs.items()},
        )
        return joined, group


def number_groups(packed: Integers, room: int) -> tuple[Numbers, int, Numbers]:
    """A dense number for each value below `room`, in their order; how many there are; and where
    one row of each is."""
    rows = len(packed)
    if room <= 4 * rows + 1024:
        where = np.full(room, -1, np.int32)
        where[packed] = np.arange(rows, dtype=np.int32)
        present = np.flatnonzero(where >= 0)
        first = where[present]
        where[present] = np.arange(len(present), dtype=np.int32)
        return where[packed], len(present), first
    bits = rows.bit_length()
    if room.bit_length() + bits < 63:
        order = np.sort((packed << bits) | np.arange(rows))
        row, value = order & ((1 << bits) - 1), order >> bits
    else:
        row = np.argsort(packed, kind="stable")
        value = packed[row]
    new = np.concatenate((np.ones(min(rows, 1), bool), value[1:] != value[:-1]))
    dense = np.empty(rows, np.int32)
    dense[row] = np.cumsum(new) - 1
    first = row[new]
    return dense, len(first), first


def narrowest(size: int) -> Any:
    """The narrowest integers for codes below `size`."""
    return np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32


def _renumbered(packed: Integers, room: int) -> tuple[Integers, int]:
    dense, number, _ = number_groups(packed, room)
    return dense.astype(np.int64), number


def _summed(group: Integers, amounts: Numbers, groups: int) -> Numbers:
    # sums of whole numbers below 2^53 are exact in floats
    sums = np.bincount(group, amounts, groups)
    return sums.astype(amounts.dtype) if amounts.dtype.kind == "i" else sums


@dataclass(frozen=True)
class Counted:
    """Ids of the rows of a file, 0 … `ids` − 1, and what each distinct one counts for in a group:
    its `amount`, or its rows where that is None."""

    of_row: Integers
    ids: int
    amount: Numbers | None


def group_rows(
    leaves: Sequence[Integers], hierarchies: Sequence[Hierarchy], counted: Mapping[str, Counted]
) -> tuple[Groups, Integers]:
    """The finest groups of a file, at level 0 of each key; and the group of each row.

    `leaves` has a column of codes per key, of equal length.
    """
    rows = len(leaves[0])
    packed, room = np.zeros(rows, np.int64), 1
    for codes, hierarchy in zip(leaves, hierarchies, strict=True):
        if room * hierarchy.size >= _ROOM:
            packed, room = _renumbered(packed, room)
        packed += np.multiply(codes, room, dtype=np.int64)
        room *= hierarchy.size
    group, number, first = number_groups(packed, room)
    tallies: dict[str, Numbers] = {}
    pairs: dict[str, Pairs] = {}
    held = np.bincount(group, minlength=number).astype(np.int32)
    for name, one in counted.items():
        if one.ids == rows and one.amount is not None and (one.amount == 1).all():
            tallies[name] = held
            continue
        if one.amount is not None and one.ids == rows:
            tallies[name] = np.bincount(group, one.amount[one.of_row], number)
            continue
        amount = np.ones(rows) if one.amount is None else one.amount[one.of_row]
        found = Pairs(np.arange(rows), one.of_row, amount, one.ids, one.amount is None).joined(
            group, number
        )
        if one.amount is not None and len(found.id) == one.ids:  # each id in one group only
            tallies[name] = np.bincount(found.group, found.amount, number)
        else:
            pairs[name] = found
    finest = Groups(
        tuple(0 for _ in hierarchies),
        tuple(
            codes[first].astype(narrowest(hierarchy.size))
            for codes, hierarchy in zip(leaves, hierarchies, strict=True)
        ),
        held,
        tallies,
        pairs,
    )
    return finest, group
