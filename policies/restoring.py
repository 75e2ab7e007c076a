"""Giving values back.

What `policies.withholding` did for one fault may have become needless by what it did for the next.
`give_back` returns values where every test keeps passing. A `_Tally` keeps the sizes of all groups,
so that a change costs no more than the groups that it moves units between.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from policies.disclosure import Integers
from policies.panel import Cover, Flags, Look, Panel, firsts

MOST = 5_000
"""With more units than this touched, what little could be given back isn't worth the time."""

_Key = tuple[int, ...] | None
_Change = tuple[int, int]
"""A column of the release under test, and a unit, of which the value is withheld or given back."""


def give_back(panel: Panel, kept: Sequence[Flags]) -> None:
    """Give back values of a panel that passes, but for those in `kept` (by column).

    First to units that are then touched no more, next value by value; to all at once that would
    look alike in some test, and then to one unit at a time, in the order of their ids.
    """
    if panel.silent().sum() > MOST:
        return
    tally = _Tally(panel)
    every = range(len(kept))
    for columns in [every, *([column] for column in every)]:
        for test in range(len(tally.tests)):
            alike: dict[_Key, list[_Change]] = defaultdict(list)
            for changes in _possible(tally, kept, columns):
                tally.turn(changes)
                alike[tally.key(test, changes[0][1])] += changes
                tally.turn(changes)
            for together in alike.values():
                tally.change(together)
        for changes in _possible(tally, kept, columns):
            tally.change(changes)


def _possible(
    tally: "_Tally", kept: Sequence[Flags], columns: Iterable[int]
) -> list[list[_Change]]:
    """For each unit the values of some columns that are withheld and needn't be kept so."""
    values = [(column, tally.hidden[column] & ~kept[column]) for column in columns]
    units = np.flatnonzero(np.logical_or.reduce([flags for _, flags in values]))
    return [[(column, unit) for column, flags in values if flags[unit]] for unit in units.tolist()]


@dataclass(frozen=True)
class _Test:
    """One way in which units have to look alike: what it compares of each unit, by column of the
    release under test, where its value is shown and where it is withheld, and what it compares
    besides."""

    look: Look
    members: Flags
    shown: Sequence[Sequence[Integers]]
    hidden: Sequence[Sequence[Integers]]
    besides: Sequence[Integers]


@dataclass(frozen=True)
class _Seen:
    """What a unit looks like in each test (None where it takes no part), and which never-changing
    values it may have (None where its labels contradict each other)."""

    keys: Sequence[_Key]
    span: Integers | None


class _Tally:
    """Sizes of the groups of a panel that passes, kept while values are withheld and given back.

    Where the release tells nothing about those who looked alike, `assess` lets their groups be.
    Here their size counts all the same, and no value is given back that would tell the first thing.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self.hidden = [column.hidden for column in panel.columns()]
        self._movable = panel.here.copy()
        self.tests = [*(self._together(choice) for choice in panel.choices), self._alone()]
        self._sizes = [self._counted(test) for test in range(len(self.tests))]
        fixed = list(panel.fixed.values())
        self._flags = [it.hidden for it in fixed]
        self._shown = [it.said() for it in fixed]
        self._silent = [(it.low, it.high, it.odd) for it in fixed]
        self._leavers = [groups for groups in map(panel.leavers, panel.choices) if groups]
        self._among = [self._numbered(groups) for groups in self._leavers]
        self._covers: dict[tuple[int, int], Cover] = {}

    def _together(self, choice: tuple[int, ...]) -> _Test:
        panel = self._panel
        look = panel.look(choice, panel.fixed_profile())
        untold = look.members[~look.told]
        self._movable[untold[panel.telling(choice)[untold]]] = False
        members = np.zeros(len(panel.here), bool)
        members[look.members] = True
        known = panel.columns() if panel.now in choice else panel.own_fixed()
        unknown: list[list[Integers]] = [[]] * (len(self.hidden) - len(known))
        shown = [column.compared(hidden=False) for column in known] + unknown
        hidden = [column.compared(hidden=True) for column in known] + unknown
        others = [it for key, it in panel.fixed.items() if key not in panel.own]
        besides = [bound for it in others for bound in (it.low, it.high, it.odd)]
        return _Test(look, members, shown, hidden, [*besides, *panel.labels(choice, now=False)])

    def _alone(self) -> _Test:
        columns = self._panel.columns()
        shown = [column.compared_alone(hidden=False) for column in columns]
        hidden = [column.compared_alone(hidden=True) for column in columns]
        return _Test(self._panel.alone(), self._panel.here, shown, hidden, [])

    def _counted(self, test: int) -> dict[_Key, int]:
        look = self.tests[test].look
        examples = look.members[firsts(look.group, len(look.counts))].tolist()
        keys = [self.key(test, unit) for unit in examples]
        return dict(zip(keys, look.counts.tolist(), strict=True))

    def _numbered(self, groups: Sequence[Integers]) -> Integers:
        number = np.full(len(self._panel.here), -1)
        for at, units in enumerate(groups):
            number[units] = at
        return number

    def key(self, test: int, unit: int) -> _Key:
        """What a unit looks like in a test; None where it takes no part."""
        it = self.tests[test]
        if not it.members[unit]:
            return None
        parts = [
            hidden if flags[unit] else shown
            for shown, hidden, flags in zip(it.shown, it.hidden, self.hidden, strict=True)
        ]
        return tuple(int(column[unit]) for column in chain(*parts, it.besides))

    def turn(self, changes: Iterable[_Change]) -> None:
        """Withhold these values where they are shown, show them where they are withheld."""
        for column, unit in changes:
            self.hidden[column][unit] = not self.hidden[column][unit]

    def change(self, changes: Sequence[_Change]) -> bool:
        """Turn all these values if every test still passes, else none."""
        units = list(dict.fromkeys(unit for _, unit in changes))
        if not self._movable[units].all():
            return False
        covers = self._covering(units)
        before = [self._seen(unit) for unit in units]
        self.turn(changes)
        after = [self._seen(unit) for unit in units]
        if self._move(before, after) & self._replace(covers, before, after):
            return True
        self.turn(changes)
        self._move(after, before)
        self._replace(covers, after, before)
        return False

    def _seen(self, unit: int) -> _Seen:
        keys = [self.key(test, unit) for test in range(len(self.tests))]
        bounds = []
        for silent, shown, flags in zip(self._silent, self._shown, self._flags, strict=True):
            low, high, odd = silent if flags[unit] else shown
            if odd[unit]:
                return _Seen(keys, None)
            bounds += [low[unit], high[unit]]
        return _Seen(keys, np.array(bounds, np.int64))

    def _move(self, before: Sequence[_Seen], after: Sequence[_Seen]) -> bool:
        """Move units between groups; whether those that they left and joined are safe."""
        met = set()
        for was, now in zip(before, after, strict=True):
            for test, (old, new) in enumerate(zip(was.keys, now.keys, strict=True)):
                if old != new:
                    sizes = self._sizes[test]
                    sizes[old] -= 1
                    sizes[new] = sizes.get(new, 0) + 1
                    met |= {(test, old), (test, new)}
        return not any(0 < self._sizes[test][key] < self._panel.k for test, key in met)

    def _covering(self, units: Sequence[int]) -> list[list[Cover]]:
        """For each unit the counts of those who could be somebody who left, it among them."""
        found: list[list[Cover]] = []
        for unit in units:
            found.append([])
            for at, number in enumerate(self._among):
                group = int(number[unit])
                if group >= 0 and (at, group) not in self._covers:
                    cover = self._panel.cover(self._leavers[at][group])
                    self._covers[at, group] = cover
                if group >= 0:
                    found[-1].append(self._covers[at, group])
        return found

    @staticmethod
    def _replace(
        covers: Sequence[Sequence[Cover]], before: Sequence[_Seen], after: Sequence[_Seen]
    ) -> bool:
        """Move units among those counts; whether enough remain."""
        lost = []
        for around, was, now in zip(covers, before, after, strict=True):
            for cover in around:
                if was.span is not None:
                    cover.add(was.span, -1)
                    lost.append((cover, was.span))
                if now.span is not None:
                    cover.add(now.span, 1)
        return all(cover.enough(span) for cover, span in lost)
