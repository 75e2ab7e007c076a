"""Does anybody stand out, in everything a project has ever received.

Two releases can each be safe and give somebody away together: who was 15–19 in one year and 20–24
in the next was born in a known year. So the test is taken on what all releases of a project imply.

**What an intruder is taken to know** (the permit's scenario): the exact value of every known
variable that never changes (a date of birth, a sex), and the values of the known variables that do
change (a place of residence) at `moments` moments of the intruder's choice; which releases the
person is in at those moments, and that the person is in the release under test. The intruder knows
this program too. The intruder isn't taken to know who is *absent* from a release.

**What is promised** when `assess` passes: whatever moments are chosen, the units of the release
under test that look like the person — same implied interval for each never-changing variable
(all releases intersected), same kind of missing value in this release, same labels at the chosen
moments — are at least k. A suppressed value is a category of its own, so those from whom something
was withheld are also at least k among themselves; but where every one of the units that looked
alike before is silent about its never-changing variables, the release tells nothing new about them
and adds nothing to what they risked already. Those who are no longer in the release are protected
against elimination: every value their interval allows is still shared by k units, unless it wasn't
before this release either.

**What isn't promised**: nothing about what the k units have in common (all of them unemployed: see
the scenario's sensitive variables), about an intruder who knows changing variables at more moments
than stated, who knows that somebody is missing from a release, or who holds sensitive variables as
knowledge. Events (a quarter of work) aren't keys.

A person whose date of birth was corrected at the source between two releases shows labels that
can't both be true. No day of birth fits, and the pair of labels itself gives the person away: such
a combination is a category of its own, which as a rule leads to suppression in the new release.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import (
    EARLIEST,
    LATEST,
    MISSING_CODES,
    SUPPRESSED,
    Interval,
    Rule,
)
from policies.disclosure import Cell, DisclosureError, Integers, encode, pack
from policies.permits import Scenario

UNIT = "unit"
EXAMPLES = 100
"""Failing cells that an assessment spells out; it counts them all."""
_METADATA = b"schakel.displayed"
_MISSING = list(MISSING_CODES)
_SHOWN, _ABSENT = 0, len(_MISSING) + 1
_HIDDEN = _MISSING.index(SUPPRESSED) + 1
"""Status of a value: shown, one of the missing codes (1 …), or of a unit that isn't there."""

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Displayed:
    """What one release shows about whom.

    `table` has one row per unit: a column `unit` (pseudonyms or subject ids, the same in every
    release of the project) and one text column per key, without nulls. `moment` says when its
    changing variables were true; releases about the same moment share it. `intervals` gives, for
    never-changing keys made from dates of birth, the days that each label implies; other
    never-changing keys are compared by label.
    """

    release: str
    moment: str
    table: pa.Table
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)

    @classmethod
    def under(
        cls, release: str, moment: str, table: pa.Table, rules: Mapping[str, Rule]
    ) -> "Displayed":
        """The same, with the intervals that the resolved rules of the key columns imply."""
        implied = {key: rule.intervals() for key, rule in rules.items()}
        found = {key: labels for key, labels in implied.items() if labels is not None}
        return cls(release, moment, table, found)

    def to_table(self) -> pa.Table:
        """One table that holds everything, to be kept (sealed) as the project's history."""
        facts = {"release": self.release, "moment": self.moment, "intervals": self.intervals}
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
        return cls(facts["release"], facts["moment"], table, intervals)


@dataclass(frozen=True)
class Assessment:
    """What the test found. Cells come smallest first; `alone` are those of this release by itself,
    `together` those that fail only with what was released before."""

    k: int
    units: int
    """Units in the release under test."""
    releases: int
    """How many releases were looked at, this one included."""
    alone: tuple[Cell, ...]
    together: tuple[Cell, ...]
    """At most `EXAMPLES` of each."""
    failing_alone: int
    failing_together: int
    units_at_risk: int
    """Units of this release in any failing cell."""
    smallest_alone: int
    smallest_together: int
    sizes: Mapping[int, int]
    """Size → how many cells of this release, by itself, have it."""
    sizes_together: Mapping[int, int]
    """The same over every combination that all releases together allow."""

    @property
    def passes(self) -> bool:
        return not self.failing_alone and not self.failing_together

    @property
    def fails_only_together(self) -> bool:
        return not self.failing_alone and bool(self.failing_together)

    def reason(self, examples: int = 3) -> str:
        """Why the release is refused, with its smallest cells; what would mend it comes from
        `suppress`."""
        if self.passes:
            return f"Every combination holds at least {self.k} units."
        parts = []
        if self.alone:
            parts.append(
                f"{self.failing_alone} combinations of known values have fewer than {self.k} "
                "units: " + _spell(self.alone[:examples])
            )
        if self.together:
            lead = "Together with" if self.alone else "It is fine alone, but together with"
            parts.append(
                f"{lead} what this project received before, {self.failing_together} combinations "
                f"have fewer than {self.k} units: " + _spell(self.together[:examples])
            )
        return ". ".join(parts) + "."

    def to_doc(self, cells: int = 10) -> dict[str, Any]:
        """The figures as JSON values, with the smallest cells."""
        return {
            "k": self.k,
            "passes": self.passes,
            "units": self.units,
            "releases": self.releases,
            "units_at_risk": self.units_at_risk,
            "alone": {
                "smallest_cell": self.smallest_alone,
                "failing": self.failing_alone,
                "examples": [asdict(cell) for cell in self.alone[:cells]],
                "sizes": _by_size(self.sizes),
            },
            "together": {
                "smallest_cell": self.smallest_together,
                "failing": self.failing_together,
                "examples": [asdict(cell) for cell in self.together[:cells]],
                "sizes": _by_size(self.sizes_together),
            },
        }


def _by_size(sizes: Mapping[int, int]) -> dict[str, int]:
    return {str(size): sizes[size] for size in sorted(sizes)}


def _spell(cells: Sequence[Cell]) -> str:
    return "; ".join(
        ", ".join(f"{key} {label}" for key, label in cell.labels.items()) + f": {cell.units}"
        for cell in cells
    )


@dataclass(frozen=True)
class Suppression:
    """A release with the fewest values withheld that `suppress` could find."""

    displayed: Displayed
    """What may be shown, `SUPPRESSED` where a value is withheld (also when not `allowed`)."""
    units: int
    """Units of which at least one value is withheld."""
    share: float
    values: Mapping[str, int]
    """Withheld values by key."""
    before: Assessment
    after: Assessment
    limit: float

    @property
    def allowed(self) -> bool:
        return self.after.passes and self.share <= self.limit

    def reason(self) -> str:
        """Why it isn't allowed, and what would help."""
        if self.allowed:
            return f"Passes with {self.units} units ({self.share:.1%}) suppressed."
        if self.after.passes:
            mend = (
                f"Suppression would have to touch {self.units} units ({self.share:.1%}); the "
                f"permit allows {self.limit:.1%}."
            )
        else:
            mend = "Suppression of values can't mend it."
        wider = "Ask for a larger universe, coarser classes or areas, or a higher limit."
        return f"{self.before.reason()} {mend} {wider}"


def assess(
    history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int
) -> Assessment:
    """Test a release by itself and together with everything its project received before."""
    return _Panel(history, current, scenario, k).assessment()


def suppress(
    history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int, limit: float
) -> Suppression:
    """Withhold key values of few units in the new release until it passes.

    Greedy and deterministic: units are taken from the largest groups in the order of their ids,
    which are pseudonymous and tell nothing. Where a never-changing value gives somebody away, it
    is withheld; where a changing one does, that one if enough others share the rest, else both.
    A group from which something is withheld is filled up to k. What an earlier release about the
    same moment withheld stays withheld.
    """
    panel = _Panel(history, current, scenario, k)
    before = panel.assessment()
    if not before.passes:
        panel.carry_over()
        while panel.mend():
            pass
    after = panel.assessment()
    units = panel.touched()
    return Suppression(
        displayed=panel.displayed(),
        units=units,
        share=units / before.units if before.units else 0.0,
        values=panel.withheld(),
        before=before,
        after=after,
        limit=limit,
    )


# --- the panel: everything displayed, as numbers --------------------------------------------------


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
    """Label in this release; 0 where there is none."""
    status: Integers
    hidden: Flags

    @property
    def shown(self) -> Flags:
        shown: Flags = (self.status == _SHOWN) & ~self.hidden
        return shown

    @property
    def narrowed(self) -> Flags:
        """Units about whom this release says more than history does."""
        narrowed: Flags = self.shown & ((self.now_low > self.low) | (self.now_high < self.high))
        return narrowed

    def implied(self) -> tuple[Integers, Integers, Integers]:
        """Low, high and odd with this release counted in."""
        low = np.where(self.shown, np.maximum(self.low, self.now_low), self.low)
        high = np.where(self.shown, np.minimum(self.high, self.now_high), self.high)
        clash = low >= high
        if not clash.any():
            return low, high, self.odd
        sizes = [self.edges, self.edges, int(self.label.max()) + 1]
        pair, _ = pack([self.low, self.high, self.label], sizes, len(low))
        odd = np.where(clash, int(self.odd.max()) + 1 + pair, self.odd)
        return np.where(clash, 0, low), np.where(clash, self.edges - 1, high), odd


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


@dataclass(frozen=True)
class _Look:
    """Units that look alike to somebody who knows the moments `choice`.

    `group` and `pool` number the members: alike with this release, and alike before it.
    """

    choice: tuple[int, ...]
    members: Integers
    group: Integers
    counts: Integers
    pool: Integers
    live: Flags
    """By group: this release adds something to its pool, so its size counts."""
    failing: Flags
    """By group."""

    @property
    def at_risk(self) -> Integers:
        return self.members[self.failing[self.group]]


@dataclass(frozen=True)
class _Elimination:
    """Somebody who left, of whom too few candidates remain: `units`; `donors` would help by
    having a value withheld."""

    choice: tuple[int, ...]
    left: int
    units: int
    donors: Integers


class _Panel:
    """All units of all releases in one numbering (by id), and the tests on them.

    Arrays run over all units; `here` marks those of the release under test. Hiding a value of that
    release is the only change a panel knows.
    """

    def __init__(
        self, history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int
    ) -> None:
        self.k = k
        self.releases = [*history, current]
        self.current = current
        absent = set(scenario.known) - set(current.table.column_names)
        if absent:
            raise DisclosureError(
                f"the scenario's keys {', '.join(sorted(absent))} aren't columns of the units"
            )
        self.keys = list(scenario.known)
        self.rows = _rows_of_units(self.releases)
        self.here: Flags = self.rows[-1] >= 0
        self.moments = list(dict.fromkeys(shown.moment for shown in self.releases))
        self.now = self.moments.index(current.moment)
        self.fixed = {key: self._fixed(key) for key in self.keys if key not in scenario.changing}
        self.changing = self._changing(scenario.changing)
        chosen = min(scenario.moments, len(self.moments)) if scenario.changing else 1
        self.choices = list(combinations(range(len(self.moments)), chosen))
        columns = [part for it in self.fixed.values() for part in (it.low, it.high, it.odd)]
        self.before, _ = _pack(columns, len(self.here))

    # -- reading

    def _codes(self, shown: Displayed, rows: Integers, key: str) -> tuple[Integers, Integers, Any]:
        """For every unit its label (0 … of the names given) and status; 0 and ABSENT if absent."""
        column = shown.table.column(key)
        if column.null_count:
            raise DisclosureError(f"{key} has values without a label; say why they are missing")
        codes, names = encode(column.cast(pa.string()))
        statuses = np.array([_status(name) for name in names.to_pylist()], np.int64)
        label, status = np.zeros(len(rows), np.int64), np.full(len(rows), _ABSENT)
        there = rows >= 0
        label[there] = codes[rows[there]]
        status[there] = statuses[label[there]]
        return label, status, names

    def _numbers(self, key: str) -> dict[str, int]:
        """A number from 1 on for each label that any release shows for a key."""
        texts = [
            pc.unique(shown.table.column(key).cast(pa.string())).to_pylist()
            for shown in self.releases
            if key in shown.table.column_names
        ]
        labels = {label for text in texts for label in text} | {SUPPRESSED}
        return {label: number for number, label in enumerate(sorted(labels), 1)}

    def _changing(self, keys: Sequence[str]) -> list[list[_Changing]]:
        """For each release its changing keys."""
        numbers = {key: self._numbers(key) for key in keys}
        found: list[list[_Changing]] = []
        for shown, rows in zip(self.releases, self.rows, strict=True):
            found.append([])
            for key in [key for key in keys if key in shown.table.column_names]:
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
            if key in shown.table.column_names
        ]
        if len({key in shown.intervals for shown, _ in releases}) > 1:
            raise DisclosureError(f"{key} has intervals in some releases and not in others")
        numbers = self._numbers(key)
        ends: dict[str, Interval] = {label: (at, at) for label, at in numbers.items()}
        everything = [*ends.values(), (EARLIEST, LATEST)]
        everything += [span for s, _ in releases for span in s.intervals.get(key, {}).values()]
        edges = np.unique([[low, high + 1] for low, high in everything])
        count = len(self.here)
        low, high = np.zeros(count, np.int64), np.full(count, len(edges) - 1)
        odd, labels = np.zeros(count, np.int64), []
        for shown, rows in releases:
            codes, status, names = self._codes(shown, rows, key)
            spans = [_span(shown.intervals.get(key, ends), name, key) for name in names.to_pylist()]
            there = status == _SHOWN
            first = np.searchsorted(edges, _spread([span[0] for span in spans], codes))
            last = np.searchsorted(edges, _spread([span[1] + 1 for span in spans], codes))
            first, last = np.where(there, first, 0), np.where(there, last, len(edges) - 1)
            label = _spread([numbers[name] for name in names.to_pylist()], codes)
            label[status == _ABSENT] = 0
            if shown is not self.current:
                low, high = np.maximum(low, first), np.minimum(high, last)
                labels.append(label)
        if (low >= high).any():
            category, _ = _pack(labels, count)
            odd = np.where(low >= high, category + 1, 0)
            low, high = np.where(odd, 0, low), np.where(odd, len(edges) - 1, high)
        hidden = np.zeros(count, bool)
        return _Fixed(len(edges), low, high, odd, first, last, label, status, hidden)

    # -- looking alike

    def _fixed_profile(self) -> Integers:
        """Numbers units by what all releases imply about their never-changing keys, and by what is
        missing about them in this one."""
        columns = []
        for it in self.fixed.values():
            columns += [*it.implied(), np.where(it.hidden, _HIDDEN, it.status)]
        return _pack(columns, len(self.here))[0]

    def _labels(self, choice: tuple[int, ...], *, now: bool) -> list[Integers]:
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

    def _narrowed(self) -> Flags:
        return self._any([it.narrowed for it in self.fixed.values()])

    def _any(self, flags: Sequence[Flags]) -> Flags:
        """Units with any of the flags; none where there are no flags."""
        found: Flags = np.logical_or.reduce([np.zeros(len(self.here), bool), *flags])
        return found

    def _columns(self) -> list[_Fixed | _Changing]:
        """The keys of the release under test."""
        return [*self.fixed.values(), *self.changing[-1]]

    def _speaking(self) -> Flags:
        """Units of which this release shows any key."""
        return self._any([column.shown for column in self._columns()])

    def _look(self, choice: tuple[int, ...], profile: Integers) -> _Look:
        members = np.flatnonzero(self.here & self._present(choice))
        telling = self._speaking() if self.now in choice else self._narrowed()
        labels = [column[members] for column in self._labels(choice, now=True)]
        earlier = [column[members] for column in self._labels(choice, now=False)]
        group, groups = _pack([profile[members], *labels], len(members))
        pool, pools = _pack([self.before[members], *earlier], len(members))
        adds = np.bincount(pool[telling[members]], minlength=pools) > 0
        counts = np.bincount(group, minlength=groups)
        live = np.bincount(group[adds[pool]], minlength=groups) > 0
        return _Look(choice, members, group, counts, pool, live, live & (counts < self.k))

    def _alone(self) -> _Look:
        """The cells of this release by itself."""
        members = np.flatnonzero(self.here)
        columns = []
        for it in self.fixed.values():
            columns += [np.where(it.hidden, 0, it.label), np.where(it.hidden, _HIDDEN, it.status)]
        columns += [column.labels for column in self.changing[-1]]
        group, groups = _pack([column[members] for column in columns], len(members))
        counts = np.bincount(group, minlength=groups)
        every = np.ones(groups, bool)
        none = np.zeros(len(members), np.int64)
        return _Look((self.now,), members, group, counts, none, every, counts < self.k)

    # -- those who left

    def _eliminations(self, choice: tuple[int, ...]) -> list[_Elimination]:
        """Units no longer here for whom this release leaves fewer than k candidates."""
        members = np.flatnonzero(self._present(choice))
        left, narrowed = ~self.here[members], self._narrowed()[members]
        if self.now in choice or not left.any() or not narrowed.any():
            return []
        labels = [column[members] for column in self._labels(choice, now=True)]
        group, groups = _pack(labels, len(members))
        both = (np.bincount(group[left], minlength=groups) > 0) & (
            np.bincount(group[narrowed], minlength=groups) > 0
        )
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(groups + 1))
        found: list[_Elimination] = []
        for number in np.flatnonzero(both).tolist():
            found += self._eliminated(choice, members[order[starts[number] : starts[number + 1]]])
        return found

    def _eliminated(self, choice: tuple[int, ...], alike: Integers) -> list[_Elimination]:
        """The same among units that show the same labels at the chosen moments."""
        attributes = list(self.fixed.values())
        shape = [it.edges - 1 for it in attributes]
        before = np.stack([part[alike] for it in attributes for part in (it.low, it.high)], 1)
        now = [it.implied() for it in attributes]
        after = np.stack([part[alike] for low, high, _ in now for part in (low, high)], 1)
        was_odd = np.logical_or.reduce([it.odd[alike] > 0 for it in attributes])
        is_odd = np.logical_or.reduce([odd[alike] > 0 for _, _, odd in now])
        covered, remaining = _cover(before[~was_odd], shape), _cover(after[~is_odd], shape)
        here = self.here[alike]
        found = []
        spans, first = np.unique(before[~here & ~was_odd], axis=0, return_index=True)
        for span, unit in zip(spans, np.flatnonzero(~here & ~was_odd)[first], strict=True):
            region = _region(span)
            few = (remaining[region] < self.k) & (remaining[region] < covered[region])
            if few.any():
                offsets = np.argwhere(few)[np.argmin(remaining[region][few])]
                atom = offsets + span[::2]
                kept = ((after[:, ::2] <= atom) & (atom < after[:, 1::2])).all(1) & ~is_odd
                was = ((before[:, ::2] <= atom) & (atom < before[:, 1::2])).all(1) & ~was_odd
                units = int(remaining[tuple(atom)])
                donors = alike[here & was & ~kept]
                found.append(_Elimination(choice, int(alike[unit]), units, donors))
        return found

    # -- reporting

    def assessment(self) -> Assessment:
        alone = self._alone()
        fails_alone = np.zeros(len(self.here), bool)
        fails_alone[alone.at_risk] = True
        at_risk = fails_alone.copy()
        sizes: Counter[int] = Counter()
        together: list[tuple[int, int, tuple[int, ...]]] = []
        profile = self._fixed_profile()
        for choice in self.choices if len(self.releases) > 1 else []:
            look = self._look(choice, profile)
            sizes.update(look.counts[look.live].tolist())
            at_risk[look.at_risk] = True
            new = np.unique(look.group[~fails_alone[look.members]])
            failing = new[look.failing[new]]
            example = _firsts(look.group, len(look.counts))
            together += [
                (int(look.counts[group]), int(look.members[example[group]]), choice)
                for group in failing.tolist()
            ]
            gone = self._eliminations(choice)
            sizes.update(one.units for one in gone)
            together += [(one.units, one.left, one.choice) for one in gone]
        together.sort()
        own = Counter(alone.counts.tolist())
        example = _firsts(alone.group, len(alone.counts))
        few = sorted(np.flatnonzero(alone.failing).tolist(), key=lambda one: alone.counts[one])
        return Assessment(
            k=self.k,
            units=len(alone.members),
            releases=len(self.releases),
            alone=tuple(
                Cell(self._describe_alone(int(alone.members[example[one]])), int(alone.counts[one]))
                for one in few[:EXAMPLES]
            ),
            together=tuple(
                Cell(self._describe(unit, choice), count)
                for count, unit, choice in together[:EXAMPLES]
            ),
            failing_alone=len(few),
            failing_together=len(together),
            units_at_risk=int(at_risk.sum()),
            smallest_alone=min(own, default=0),
            smallest_together=min(sizes or own, default=0),
            sizes=dict(own),
            sizes_together=dict(sizes or own),
        )

    def _label(self, release: int, key: str, unit: int) -> str | None:
        """What a release shows of a unit, hidden values as such; None where it shows nothing."""
        shown, row = self.releases[release], int(self.rows[release][unit])
        if row < 0 or key not in shown.table.column_names:
            return None
        if shown is self.current and self._hidden(key)[unit]:
            return SUPPRESSED
        return str(shown.table.column(key)[row].as_py())

    def _hidden(self, key: str) -> Flags:
        if key in self.fixed:
            return self.fixed[key].hidden
        return next(column.hidden for column in self.changing[-1] if column.key == key)

    def _describe_alone(self, unit: int) -> dict[str, str]:
        last = len(self.releases) - 1
        return {key: self._label(last, key, unit) or "" for key in self.keys}

    def _describe(self, unit: int, choice: tuple[int, ...]) -> dict[str, str]:
        """A cell of several releases, by one of its units: `15-19 → 20-24` is what was shown in
        one release and the next; changing keys carry their moment."""
        found = {}
        for key in self.fixed:
            labels = [self._label(number, key, unit) for number in range(len(self.releases))]
            found[key] = " → ".join(label for label in labels if label is not None)
        for number, shown in enumerate(self.releases):
            if self.moments.index(shown.moment) in choice:
                for column in self.changing[number]:
                    label = self._label(number, column.key, unit)
                    if label is not None:
                        found[f"{column.key} ({shown.moment})"] = label
        return found

    # -- mending

    def carry_over(self) -> None:
        """Withhold again what an earlier release about the same moment withheld."""
        for shown, rows in zip(self.releases[:-1], self.rows[:-1], strict=True):
            if shown.moment == self.current.moment:
                for key in [key for key in self.keys if key in shown.table.column_names]:
                    _, status, _ = self._codes(shown, rows, key)
                    self._hidden(key)[self.here & (status == _HIDDEN)] = True

    def mend(self) -> bool:
        """Hide some more values for the first fault found; False when there is none left, or
        nothing left to hide."""
        profile = self._fixed_profile()
        earlier = [choice for choice in self.choices if self.now not in choice]
        for choice in earlier:
            look = self._look(choice, profile)
            if look.failing.any() and self._mend_earlier(look):
                return True
        for choice in earlier:
            gone = self._eliminations(choice)
            if gone:
                return sum(self._hide_narrowing(self._pick(e.donors, self.k)) for e in gone) > 0
        for choice in self.choices:
            if self.now in choice:
                look = self._look(choice, profile)
                if look.failing.any() and self._mend_now(look, profile):
                    return True
        alone = self._alone()
        return bool(alone.failing.any()) and self._mend_alone(alone)

    def _mend_earlier(self, look: _Look) -> bool:
        """Somebody known at an earlier moment: withhold never-changing keys."""
        risky = look.at_risk
        if self._hide_narrowing(risky):
            return True
        unsaid = [it for it in self.fixed.values() if (~it.shown & ~it.hidden)[risky].any()]
        if unsaid:
            return sum(_hide(it.hidden, risky[~it.shown[risky]]) for it in unsaid) > 0
        return self._fill(look, look.pool, self._narrowed(), self._hide_narrowing)

    def _mend_now(self, look: _Look, profile: Integers) -> bool:
        """Somebody known at this moment: withhold changing keys where enough others share the
        rest, never-changing ones where not."""
        members = look.members
        earlier = [column[members] for column in self._labels(look.choice, now=False)]
        rest, rests = _pack([profile[members], *earlier], len(members))
        enough = (np.bincount(rest, minlength=rests) >= self.k)[rest]
        placed = self._any([column.shown for column in self.changing[-1]])[members]
        failing, narrowed = look.failing[look.group], self._narrowed()[members]
        if self._hide_changing(members[failing & enough & placed]):
            return True
        rare = self._hide_narrowing(members[failing & ~enough & narrowed])
        if self._hide_changing(members[failing & ~enough & ~narrowed & placed]) or rare:
            return True
        if (failing & enough).any():
            few = look.failing & (np.bincount(look.group[enough], minlength=len(look.failing)) > 0)
            donors = np.ones(len(self.here), bool)
            if self._fill(replace(look, failing=few), rest, donors, self._hide_changing):
                return True
        if self._hide_all(look.at_risk):
            return True
        return self._fill(look, look.pool, np.ones(len(self.here), bool), self._hide_all)

    def _mend_alone(self, alone: _Look) -> bool:
        if self._hide_all(alone.at_risk):
            return True
        return self._fill(alone, alone.pool, self._speaking(), self._hide_all)

    def _fill(
        self, look: _Look, pool: Integers, donors: Flags, hide: Callable[[Integers], bool]
    ) -> bool:
        """Let each failing group be joined by as many donors of its pool as it lacks."""
        order = np.argsort(pool, kind="stable")
        starts = np.searchsorted(pool[order], np.arange(int(pool.max(initial=-1)) + 2))
        example = _firsts(look.group, len(look.counts))
        changed = False
        for group in np.flatnonzero(look.failing).tolist():
            at = pool[example[group]]
            others = order[starts[at] : starts[at + 1]]
            others = look.members[others[look.group[others] != group]]
            missing = self.k - int(look.counts[group])
            changed |= hide(self._pick(others[donors[others]], missing))
        return changed

    def _pick(self, candidates: Integers, number: int) -> Integers:
        """The first units of the largest groups that look alike at every moment together."""
        everything = self._labels(tuple(range(len(self.moments))), now=True)
        profile, profiles = _pack([self._fixed_profile(), *everything], len(self.here))
        size = np.bincount(profile[self.here], minlength=profiles)[profile]
        order = np.lexsort((candidates, profile[candidates], -size[candidates]))
        return candidates[order[:number]]

    def _hide_narrowing(self, units: Integers) -> bool:
        return sum(_hide(it.hidden, units[it.narrowed[units]]) for it in self.fixed.values()) > 0

    def _hide_changing(self, units: Integers) -> bool:
        return sum(_hide(column.hidden, units) for column in self.changing[-1]) > 0

    def _hide_all(self, units: Integers) -> bool:
        return sum(_hide(column.hidden, units) for column in self._columns()) > 0

    # -- the outcome

    def touched(self) -> int:
        """Units of which a value is withheld."""
        return int(self._any([column.hidden for column in self._columns()]).sum())

    def withheld(self) -> dict[str, int]:
        return {key: int(self._hidden(key).sum()) for key in self.keys}

    def displayed(self) -> Displayed:
        table, rows = self.current.table, self.rows[-1]
        for key in self.keys:
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


def _pack(columns: Sequence[Integers], rows: int) -> tuple[Integers, int]:
    return pack(columns, [int(column.max(initial=0)) + 1 for column in columns], rows)


def _firsts(group: Integers, groups: int) -> Integers:
    """The first member of each group."""
    first = np.zeros(groups, np.int64)
    first[group[::-1]] = np.arange(len(group) - 1, -1, -1)
    return first


def _hide(hidden: Flags, units: Integers) -> bool:
    """Mark values as hidden; whether anything changed."""
    changed = bool((~hidden[units]).any())
    hidden[units] = True
    return changed


def _region(span: Integers) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in span.reshape(-1, 2).tolist())


def _cover(spans: Integers, shape: Sequence[int]) -> Integers:
    """How many of the spans cover each atom."""
    cover = np.zeros(shape, np.int64)
    for span, number in zip(*np.unique(spans, axis=0, return_counts=True), strict=True):
        cover[_region(span)] += number
    return cover
