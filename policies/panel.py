"""Everything that a project's releases show, as numbers.

A `Panel` holds all units of all releases in one numbering and says which of them look alike to
somebody who knows certain moments. `policies.cumulative` says what that means and what is done
about it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import EARLIEST, LATEST, MISSING_CODES, SUPPRESSED, Interval, Rule
from policies.disclosure import DisclosureError, Integers, encode, pack
from policies.permits import Scenario

UNIT = "unit"
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_Implied = tuple[Integers, Integers, Integers]
"""Of every unit: low, high and odd, as in `_Fixed`."""

_METADATA = b"schakel.displayed"
_MISSING = list(MISSING_CODES)
_SHOWN, _ABSENT = 0, len(_MISSING) + 1
_HIDDEN = _MISSING.index(SUPPRESSED) + 1
"""Status of a value: shown, one of the missing codes (1 …), or not in the release at all: the unit
isn't there, or the key isn't."""

_MOST_ATOMS = 2**25
"""Combinations of never-changing values that are counted one by one."""


@dataclass(frozen=True)
class Displayed:
    """What one release shows about whom.

    `table` has one row per unit: a column `unit` (pseudonyms or subject ids, the same in every
    release of the project) and one text column per key, without nulls. `moment` says when its
    changing variables were true; releases about the same moment share it. `intervals` gives, for
    never-changing keys made from dates of birth, the days that each label implies; other
    never-changing keys are compared by label.

    `changing`, `moments` and `k` are what the release was tested with: the keys that its permit
    says may change, how many moments an intruder was taken to know, and the units that every
    combination had to hold. Later releases of the project are tested with no less.
    """

    release: str
    moment: str
    table: pa.Table = field(repr=False)
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    changing: tuple[str, ...] = ()
    moments: int = 1
    k: int = 0

    @classmethod
    def under(
        cls,
        release: str,
        moment: str,
        table: pa.Table,
        rules: Mapping[str, Rule],
        scenario: Scenario,
        k: int,
    ) -> "Displayed":
        """The same under a permit's scenario and `k`, with the intervals that the resolved rules of
        the key columns imply."""
        implied = {key: rule.intervals() for key, rule in rules.items()}
        found = {key: labels for key, labels in implied.items() if labels is not None}
        return cls(release, moment, table, found, tuple(scenario.changing), scenario.moments, k)

    @property
    def keys(self) -> list[str]:
        """The keys shown."""
        return [name for name in self.table.column_names if name != UNIT]

    def to_table(self) -> pa.Table:
        """One table that holds everything, to be kept (sealed) as the project's history."""
        facts = {
            "release": self.release,
            "moment": self.moment,
            "intervals": self.intervals,
            "changing": self.changing,
            "moments": self.moments,
            "k": self.k,
        }
        return self.table.replace_schema_metadata({_METADATA: json.dumps(facts).encode()})

    @classmethod
    def from_table(cls, table: pa.Table) -> "Displayed":
        """What `to_table` kept."""
        facts = json.loads((table.schema.metadata or {}).get(_METADATA, b"null"))
        if facts is None:
            raise DisclosureError("this table isn't the history of a release")
        intervals = {
            key: {label: (low, high) for label, (low, high) in labels.items()}
            for key, labels in facts["intervals"].items()
        }
        table = table.replace_schema_metadata(None)
        return cls(
            facts["release"],
            facts["moment"],
            table,
            intervals,
            tuple(facts["changing"]),
            facts["moments"],
            facts["k"],
        )


@dataclass
class _Fixed:
    """One never-changing key over all units: what history says, and what this release would.

    Bounds are ranks among the key's edges, so that an interval covers the atoms low … high − 1.
    """

    edges: int
    low: Integers
    high: Integers
    odd: Integers
    """0, or a category of labels that can't all be true."""
    now_low: Integers
    now_high: Integers
    label: Integers
    """Label in this release; 0 where there is none. A key that this release doesn't show has no
    label, the widest bounds and the status `_ABSENT` for every unit alike."""
    status: Integers
    hidden: Flags

    @property
    def shown(self) -> Flags:
        shown: Flags = (self.status == _SHOWN) & ~self.hidden
        return shown

    @property
    def narrowed(self) -> Flags:
        """Units about whom this release says more than history does."""
        narrowed: Flags = self.telling & ~self.hidden
        return narrowed

    @property
    def telling(self) -> Flags:
        """The same if nothing were withheld."""
        more = (self.now_low > self.low) | (self.now_high < self.high)
        telling: Flags = (self.status == _SHOWN) & more
        return telling

    def implied(self) -> _Implied:
        """Low, high and odd with this release counted in."""
        return self._narrowed_to(self.shown)

    def said(self) -> _Implied:
        """The same if nothing were withheld."""
        return self._narrowed_to(self.status == _SHOWN)

    def _narrowed_to(self, shown: Flags) -> _Implied:
        low = np.where(shown, np.maximum(self.low, self.now_low), self.low)
        high = np.where(shown, np.minimum(self.high, self.now_high), self.high)
        clash = low >= high
        if not clash.any():
            return low, high, self.odd
        sizes = [self.edges, self.edges, int(self.label.max()) + 1]
        pair, _ = pack([self.low, self.high, self.label], sizes, len(low))
        odd = np.where(clash, int(self.odd.max()) + 1 + pair, self.odd)
        return np.where(clash, 0, low), np.where(clash, self.edges - 1, high), odd

    def span(self, units: Integers, *, now: bool) -> tuple[Integers, Integers, Flags]:
        """Low and high of some units, and whether they are odd, with this release or before it."""
        low, high, odd = self.low[units], self.high[units], self.odd[units] > 0
        if now:
            shown = (self.status[units] == _SHOWN) & ~self.hidden[units]
            low = np.where(shown, np.maximum(low, self.now_low[units]), low)
            high = np.where(shown, np.minimum(high, self.now_high[units]), high)
            odd = odd | (low >= high)
        return low, high, odd

    def compared(self, *, hidden: bool) -> list[Integers]:
        """What tests compare of units in all releases, were their values withheld or were none."""
        if hidden:
            return [self.low, self.high, self.odd, np.full(len(self.low), _HIDDEN)]
        return [*self.said(), self.status]

    def compared_alone(self, *, hidden: bool) -> list[Integers]:
        """The same in this release by itself."""
        if hidden:
            return [np.zeros(len(self.low), np.int64), np.full(len(self.low), _HIDDEN)]
        return [self.label, self.status]


@dataclass
class _Changing:
    """One changing key of one release: label numbers over all releases, 0 for absent units."""

    key: str
    numbers: Mapping[str, int]
    label: Integers
    status: Integers
    hidden: Flags

    @property
    def labels(self) -> Integers:
        return np.where(self.hidden, self.numbers[SUPPRESSED], self.label)

    @property
    def shown(self) -> Flags:
        shown: Flags = (self.status == _SHOWN) & ~self.hidden
        return shown

    def compared(self, *, hidden: bool) -> list[Integers]:
        """What tests compare of units, were their values withheld or were none."""
        return [np.full(len(self.label), self.numbers[SUPPRESSED]) if hidden else self.label]

    compared_alone = compared


@dataclass(frozen=True)
class Look:
    """Units that look alike to somebody who knows the moments `choice`.

    `group` and `pool` number the members: alike with this release, and alike before it.
    """

    choice: tuple[int, ...]
    members: Integers
    group: Integers
    counts: Integers
    pool: Integers
    told: Flags
    """By member: this release adds something to its pool."""
    live: Flags
    """By group: that is so of some member, so its size counts."""
    failing: Flags
    """By group."""

    @property
    def at_risk(self) -> Integers:
        return self.members[self.failing[self.group]]


@dataclass(frozen=True)
class Elimination:
    """Somebody who left, of whom too few candidates remain: `units`; `donors` would help by
    having a value withheld."""

    choice: tuple[int, ...]
    left: int
    units: int
    donors: Integers


@dataclass(frozen=True)
class Cover:
    """Units that look alike but for never-changing keys. Atoms are the combinations of the smallest
    intervals of those keys."""

    remaining: Integers
    """By atom: how many could have it, with this release."""
    least: Integers
    """By atom: how many should; 0 where nobody who left could have it."""

    def add(self, span: Integers, units: int) -> None:
        """Count more units (or fewer) in the intervals of a span."""
        self.remaining[_region(span)] += units

    def enough(self, span: Integers) -> bool:
        """Whether enough remain in a span."""
        region = _region(span)
        return bool((self.remaining[region] >= self.least[region]).all())


class Panel:
    """All units of all releases in one numbering (by id), and the tests on them.

    Arrays run over all units; `here` marks those of the release under test. Hiding a value of that
    release is the only change a panel knows.

    Tests are on all keys that any release of the project shows, under the strictest of what the
    releases were tested with: the largest k and the most moments. `own` are the keys of the release
    under test, the only ones that can be withheld in it. A key changes if all releases that show it
    say so; where they differ it counts as never changing, since an intruder is taken to know all
    labels of such a key, and those of a changing one only at the moments of choice.
    """

    def __init__(
        self, history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int
    ) -> None:
        self.k = max([k, *(shown.k for shown in history)])
        self.releases = [*history, current]
        self.current = current
        absent = set(scenario.known) - set(current.table.column_names)
        if absent:
            raise DisclosureError(
                f"the scenario's keys {', '.join(sorted(absent))} aren't columns of the units"
            )
        self.own = list(dict.fromkeys([*scenario.known, *current.keys]))
        keys = list(dict.fromkeys([*self.own, *(key for shown in history for key in shown.keys)]))
        said = [(current.keys, scenario.changing), *((one.keys, one.changing) for one in history)]
        never = {key for shown, changing in said for key in shown if key not in changing}
        changing = [key for key in keys if key not in never]
        self.rows = _rows_of_units(self.releases)
        self.here: Flags = self.rows[-1] >= 0
        self.moments = list(dict.fromkeys(shown.moment for shown in self.releases))
        self.now = self.moments.index(current.moment)
        self.fixed = {key: self._fixed(key) for key in keys if key in never}
        self.changing = self._changing(changing)
        moments = max([scenario.moments, *(shown.moments for shown in history)])
        most = min(moments, len(self.moments)) if changing else 1
        every = range(len(self.moments))
        self.choices = [one for size in range(1, most + 1) for one in combinations(every, size)]
        columns = [part for it in self.fixed.values() for part in (it.low, it.high, it.odd)]
        self.before, _ = numbered(columns, len(self.here))

    # -- reading

    def _codes(self, shown: Displayed, rows: Integers, key: str) -> tuple[Integers, Integers, Any]:
        """For every unit its label (0 … of the names given) and status; 0 and ABSENT if absent."""
        codes, names = encode(shown.table.column(key).cast(pa.string()))
        statuses = np.array([_status(name) for name in names.to_pylist()], np.int64)
        label, status = np.zeros(len(rows), np.int64), np.full(len(rows), _ABSENT)
        there = rows >= 0
        label[there] = codes[rows[there]]
        status[there] = statuses[label[there]]
        return label, status, names

    def _numbers(self, key: str) -> dict[str, int]:
        """A number from 1 on for each label that any release shows for a key."""
        labels = {SUPPRESSED}
        for shown in [shown for shown in self.releases if key in shown.keys]:
            column = shown.table.column(key)
            if column.null_count:
                raise DisclosureError(f"{key} has values without a label; say why they are missing")
            labels.update(pc.unique(column.cast(pa.string())).to_pylist())
        return {label: number for number, label in enumerate(sorted(labels), 1)}

    def _changing(self, keys: Sequence[str]) -> list[list[_Changing]]:
        """For each release its changing keys."""
        numbers = {key: self._numbers(key) for key in keys}
        found: list[list[_Changing]] = []
        for shown, rows in zip(self.releases, self.rows, strict=True):
            found.append([])
            for key in [key for key in keys if key in shown.keys]:
                codes, status, names = self._codes(shown, rows, key)
                label = _spread([numbers[key][name] for name in names.to_pylist()], codes)
                label[status == _ABSENT] = 0
                found[-1].append(
                    _Changing(key, numbers[key], label, status, np.zeros(len(rows), bool))
                )
        return found

    def _fixed(self, key: str) -> _Fixed:
        releases = [
            (shown, rows)
            for shown, rows in zip(self.releases, self.rows, strict=True)
            if key in shown.keys
        ]
        numbers = self._numbers(key)
        by_label: dict[str, Interval] = {label: (at, at) for label, at in numbers.items()}
        # what has intervals in some releases alone means two things: then all labels count as such
        spoken = all(key in shown.intervals for shown, _ in releases)
        meaning = [shown.intervals[key] if spoken else by_label for shown, _ in releases]
        spans = [(EARLIEST, LATEST), *(span for spans in meaning for span in spans.values())]
        edges = np.unique([[low, high + 1] for low, high in spans])
        count = len(self.here)
        low, high = np.zeros(count, np.int64), np.full(count, len(edges) - 1)
        odd, labels = np.zeros(count, np.int64), []
        now = low, high, odd, np.full(count, _ABSENT)
        for (shown, rows), intervals in zip(releases, meaning, strict=True):
            codes, status, names = self._codes(shown, rows, key)
            spans = [_span(intervals, name, key) for name in names.to_pylist()]
            there = status == _SHOWN
            first = np.searchsorted(edges, _spread([span[0] for span in spans], codes))
            last = np.searchsorted(edges, _spread([span[1] + 1 for span in spans], codes))
            first, last = np.where(there, first, 0), np.where(there, last, len(edges) - 1)
            label = _spread([numbers[name] for name in names.to_pylist()], codes)
            label[status == _ABSENT] = 0
            if shown is self.current:
                now = first, last, label, status
            else:
                low, high = np.maximum(low, first), np.minimum(high, last)
                labels.append(label)
        if (low >= high).any():
            category, _ = numbered(labels, count)
            odd = np.where(low >= high, category + 1, 0)
            low, high = np.where(odd, 0, low), np.where(odd, len(edges) - 1, high)
        return _Fixed(len(edges), low, high, odd, *now, hidden=np.zeros(count, bool))

    # -- looking alike

    def fixed_profile(self) -> Integers:
        """Numbers units by what all releases imply about their never-changing keys, and by what is
        missing about them in this one."""
        columns = []
        for it in self.fixed.values():
            columns += [*it.implied(), np.where(it.hidden, _HIDDEN, it.status)]
        return numbered(columns, len(self.here))[0]

    def labels(self, choice: tuple[int, ...], *, now: bool) -> list[Integers]:
        """Labels of the changing keys at some moments; without `now`, in earlier releases only."""
        releases = zip(self.releases, self.changing, strict=True)
        return [
            column.labels
            for shown, columns in releases
            if self.moments.index(shown.moment) in choice and (now or shown is not self.current)
            for column in columns
        ]

    def _present(self, choice: tuple[int, ...]) -> Flags:
        """Units that are in some release about each of the moments."""
        present = np.ones(len(self.here), bool)
        for moment in choice:
            rows = zip(self.releases, self.rows, strict=True)
            at = [row >= 0 for s, row in rows if s.moment == self.moments[moment]]
            present &= np.logical_or.reduce(at)
        return present

    def narrowed(self) -> Flags:
        return self.any_of([it.narrowed for it in self.fixed.values()])

    def any_of(self, flags: Sequence[Flags]) -> Flags:
        """Units with any of the flags; none where there are no flags."""
        found: Flags = np.logical_or.reduce([np.zeros(len(self.here), bool), *flags])
        return found

    def columns(self) -> list[_Fixed | _Changing]:
        """The keys of the release under test."""
        return [*self.own_fixed(), *self.changing[-1]]

    def own_fixed(self) -> list[_Fixed]:
        """Those of them that never change."""
        return [it for key, it in self.fixed.items() if key in self.own]

    def speaking(self) -> Flags:
        """Units of which this release shows any key."""
        return self.any_of([column.shown for column in self.columns()])

    def look(self, choice: tuple[int, ...], profile: Integers) -> Look:
        members = np.flatnonzero(self.here & self._present(choice))
        telling = self.speaking() if self.now in choice else self.narrowed()
        labels = [column[members] for column in self.labels(choice, now=True)]
        earlier = [column[members] for column in self.labels(choice, now=False)]
        group, groups = numbered([profile[members], *labels], len(members))
        pool, pools = numbered([self.before[members], *earlier], len(members))
        adds = np.bincount(pool[telling[members]], minlength=pools) > 0
        counts = np.bincount(group, minlength=groups)
        live = np.bincount(group[adds[pool]], minlength=groups) > 0
        failing = live & (counts < self.k)
        return Look(choice, members, group, counts, pool, adds[pool], live, failing)

    def telling(self, choice: tuple[int, ...]) -> Flags:
        """Units about whom this release would say something to who knows these moments, if nothing
        were withheld."""
        if self.now in choice:
            return self.any_of([column.status == _SHOWN for column in self.columns()])
        return self.any_of([it.telling for it in self.fixed.values()])

    def looks(self, profile: Integers) -> Iterator[Look]:
        """What is seen at each choice of moments."""
        return (self.look(choice, profile) for choice in self.choices)

    def passes(self) -> bool:
        """Whether nothing fails, alone or together."""
        return not (
            any(look.failing.any() for look in self.looks(self.fixed_profile()))
            or any(self.eliminations(choice) for choice in self.choices)
            or self.alone().failing.any()
        )

    def alone(self) -> Look:
        """The cells of this release by itself."""
        members = np.flatnonzero(self.here)
        columns = []
        for it in self.own_fixed():
            columns += [np.where(it.hidden, 0, it.label), np.where(it.hidden, _HIDDEN, it.status)]
        columns += [column.labels for column in self.changing[-1]]
        group, groups = numbered([column[members] for column in columns], len(members))
        counts = np.bincount(group, minlength=groups)
        told, every = np.ones(len(members), bool), np.ones(groups, bool)
        none = np.zeros(len(members), np.int64)
        return Look((self.now,), members, group, counts, none, told, every, counts < self.k)

    # -- those who left

    def leavers(self, choice: tuple[int, ...]) -> list[Integers]:
        """Groups of units with the same labels at the chosen moments, those of which somebody left;
        none if the moment of this release is chosen, or if no key never changes."""
        members = np.flatnonzero(self._present(choice))
        left = ~self.here[members]
        if self.now in choice or not self.fixed or not left.any():
            return []
        labels = [column[members] for column in self.labels(choice, now=True)]
        group, groups = numbered(labels, len(members))
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(groups + 1))
        return [
            members[order[starts[number] : starts[number + 1]]]
            for number in np.unique(group[left]).tolist()
        ]

    def eliminations(self, choice: tuple[int, ...]) -> list[Elimination]:
        """Units no longer here for whom this release leaves fewer than k candidates."""
        narrowed = self.narrowed()
        if not narrowed.any():
            return []
        groups = [alike for alike in self.leavers(choice) if narrowed[alike].any()]
        return [one for alike in groups for one in self._eliminated(choice, alike)]

    def _eliminated(self, choice: tuple[int, ...], alike: Integers) -> list[Elimination]:
        """The same among units that show the same labels at the chosen moments."""
        here = self.here[alike]
        before, was_odd = self._spans(alike, now=False)
        after, is_odd = self._spans(alike, now=True)
        cover = self._cover(before[~was_odd], after[~is_odd], before[~was_odd & ~here])
        found = []
        left = np.flatnonzero(~here & ~was_odd)
        for unit in left[_distinct(before[left])[0]].tolist():
            span = before[unit]
            region = _region(span)
            few = cover.remaining[region] < cover.least[region]
            if few.any():
                offsets = np.argwhere(few)[np.argmin(cover.remaining[region][few])]
                atom = offsets + span[::2]
                kept = ((after[:, ::2] <= atom) & (atom < after[:, 1::2])).all(1) & ~is_odd
                was = ((before[:, ::2] <= atom) & (atom < before[:, 1::2])).all(1) & ~was_odd
                units = int(cover.remaining[tuple(atom)])
                donors = alike[here & was & ~kept]
                found.append(Elimination(choice, int(alike[unit]), units, donors))
        return found

    def _spans(self, units: Integers, *, now: bool) -> tuple[Integers, Flags]:
        """The never-changing values that some units may have, low and high of each key, and whose
        labels contradict each other; with this release counted in, or before it."""
        spans = [it.span(units, now=now) for it in self.fixed.values()]
        odd = np.logical_or.reduce([odd for _, _, odd in spans])
        return np.stack([bound for low, high, _ in spans for bound in (low, high)], 1), odd

    def cover(self, alike: Integers) -> Cover:
        """How many of these units could have each combination of never-changing values."""
        before, was_odd = self._spans(alike, now=False)
        after, is_odd = self._spans(alike, now=True)
        left = before[~was_odd & ~self.here[alike]]
        return self._cover(before[~was_odd], after[~is_odd], left)

    def _cover(self, before: Integers, after: Integers, left: Integers) -> Cover:
        """The same from spans: of all of them before and after this release, and of those who
        left."""
        shape = [it.edges - 1 for it in self.fixed.values()]
        if math.prod(shape) > _MOST_ATOMS:
            raise DisclosureError(
                "the never-changing keys of this project's releases have too many combinations to "
                "look for those who left; ask for coarser classes"
            )
        covered, least = _covered(before, shape), np.zeros(shape, np.int64)
        for span in left[_distinct(left)[0]]:
            region = _region(span)
            least[region] = np.minimum(covered[region], self.k)
        return Cover(_covered(after, shape), least)

    # -- describing

    def _label(self, release: int, key: str, unit: int) -> str | None:
        """What a release shows of a unit, hidden values as such; None where it shows nothing."""
        shown, row = self.releases[release], int(self.rows[release][unit])
        if row < 0 or key not in shown.keys:
            return None
        if shown is self.current and self._hidden(key)[unit]:
            return SUPPRESSED
        return str(shown.table.column(key)[row].as_py())

    def _hidden(self, key: str) -> Flags:
        if key in self.fixed:
            return self.fixed[key].hidden
        return next(column.hidden for column in self.changing[-1] if column.key == key)

    def describe_alone(self, unit: int) -> dict[str, str]:
        """A cell of the release under test by itself, by one of its units."""
        last = len(self.releases) - 1
        return {key: self._label(last, key, unit) or "" for key in self.own}

    def describe(self, unit: int, choice: tuple[int, ...]) -> dict[str, str]:
        """A cell of several releases, by one of its units: `15-19 → 20-24` is what was shown in
        one release and the next; changing keys carry their moment."""
        found = {}
        for key in self.fixed:
            labels = [self._label(number, key, unit) for number in range(len(self.releases))]
            if any(label is not None for label in labels):
                found[key] = " → ".join(label for label in labels if label is not None)
        for number, shown in enumerate(self.releases):
            if self.moments.index(shown.moment) in choice:
                for column in self.changing[number]:
                    label = self._label(number, column.key, unit)
                    if label is not None:
                        found[f"{column.key} ({shown.moment})"] = label
        return found

    # -- hiding

    def carry_over(self) -> None:
        """Withhold again what an earlier release about the same moment withheld."""
        for shown, rows in zip(self.releases[:-1], self.rows[:-1], strict=True):
            if shown.moment == self.current.moment:
                for key in [key for key in self.own if key in shown.keys]:
                    _, status, _ = self._codes(shown, rows, key)
                    self._hidden(key)[self.here & (status == _HIDDEN)] = True

    def hide_narrowing(self, units: Integers) -> bool:
        return sum(hide(it.hidden, units[it.narrowed[units]]) for it in self.fixed.values()) > 0

    def hide_changing(self, units: Integers) -> bool:
        return sum(hide(column.hidden, units) for column in self.changing[-1]) > 0

    def hide_all(self, units: Integers) -> bool:
        return sum(hide(column.hidden, units) for column in self.columns()) > 0

    # -- the outcome

    def silent(self) -> Flags:
        """Units of which a value is withheld."""
        return self.any_of([column.hidden for column in self.columns()])

    def hidden(self) -> list[Flags]:
        """What is withheld, by column."""
        return [column.hidden.copy() for column in self.columns()]

    def restore(self, hidden: Sequence[Flags]) -> None:
        """Withhold what was `hidden` once, and nothing else."""
        for column, flags in zip(self.columns(), hidden, strict=True):
            column.hidden = flags.copy()

    def withheld(self) -> dict[str, int]:
        return {key: int(self._hidden(key).sum()) for key in self.own}

    def displayed(self) -> Displayed:
        table, rows = self.current.table, self.rows[-1]
        for key in self.own:
            hidden = np.zeros(table.num_rows, bool)
            hidden[rows[self.here]] = self._hidden(key)[self.here]
            column = table.column(key).cast(pa.string())
            shown = pc.if_else(pa.array(hidden), pa.scalar(SUPPRESSED), column)
            table = table.set_column(table.column_names.index(key), key, shown)
        return replace(self.current, table=table)


def _rows_of_units(releases: Sequence[Displayed]) -> list[Integers]:
    """For each release the row of every unit of any release, -1 where it is absent; units are
    numbered in the order of their ids."""
    columns = [shown.table.column(UNIT).combine_chunks() for shown in releases]
    codes, names = encode(pa.chunked_array(columns))
    rank = np.empty(len(names), np.int64)
    rank[pc.sort_indices(names).to_numpy()] = np.arange(len(names))
    rows: list[Integers] = []
    for part in np.split(rank[codes], np.cumsum([len(column) for column in columns])[:-1]):
        row = np.full(len(names), -1, np.int64)
        row[part] = np.arange(len(part))
        if np.count_nonzero(row >= 0) != len(part):
            raise DisclosureError("a unit stands twice in one release's table of units")
        rows.append(row)
    return rows


def _status(label: str) -> int:
    return _MISSING.index(label) + 1 if label in MISSING_CODES else _SHOWN


def _span(intervals: Mapping[str, Interval], label: str, key: str) -> Interval:
    if _status(label) != _SHOWN:
        return (EARLIEST, LATEST)
    if label not in intervals:
        raise DisclosureError(f"{key} shows a label whose interval isn't known")
    return intervals[label]


def _spread(values: Sequence[int], codes: Integers) -> Integers:
    """Each code's value; zeros when there are no values, as in an empty release."""
    return np.array(values or [0], np.int64)[codes]


def numbered(columns: Sequence[Integers], rows: int) -> tuple[Integers, int]:
    return pack(columns, [int(column.max(initial=0)) + 1 for column in columns], rows)


def firsts(group: Integers, groups: int) -> Integers:
    """The first member of each group."""
    first = np.zeros(groups, np.int64)
    first[group[::-1]] = np.arange(len(group) - 1, -1, -1)
    return first


def hide(hidden: Flags, units: Integers) -> bool:
    """Mark values as hidden; whether anything changed."""
    changed = bool((~hidden[units]).any())
    hidden[units] = True
    return changed


def _region(span: Integers) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in span.reshape(-1, 2).tolist())


def _covered(spans: Integers, shape: Sequence[int]) -> Integers:
    """How many of the spans cover each atom."""
    cover = np.zeros(shape, np.int64)
    first, counts = _distinct(spans)
    for span, number in zip(spans[first], counts.tolist(), strict=True):
        cover[_region(span)] += number
    return cover


def _distinct(spans: Integers) -> tuple[Integers, Integers]:
    """The first place of each distinct span, in their order, and how often it is there."""
    group, groups = numbered(list(spans.T), len(spans))
    return firsts(group, groups), np.bincount(group, minlength=groups)
