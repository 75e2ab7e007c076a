"""The cumulative test once more, in plain Python on dicts and sets: slow, and easy to check.

Written from the promise in `policies.cumulative`, not from its code.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

from policies.coarsening import EARLIEST, LATEST, MISSING_CODES
from policies.cumulative import Displayed
from policies.permits import Scenario

Row = Mapping[str, str]


class Naive:
    def __init__(
        self, history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int
    ) -> None:
        self.k = max([k] + [shown.k for shown in history])
        self.own = list(scenario.known)
        claims: dict[str, list[bool]] = defaultdict(list)  # by key: does it change
        for key in scenario.known:
            claims[key].append(key in scenario.changing)
        for shown in history:
            for key in set(shown.table.column_names) - {"unit"}:
                claims[key].append(key in shown.changing)
        self.fixed = [key for key, changes in claims.items() if not all(changes)]
        self.changing = [key for key, changes in claims.items() if all(changes)]
        self.releases = [
            (shown, {row["unit"]: row for row in shown.table.to_pylist()})
            for shown in [*history, current]
        ]
        self.earlier, self.current = self.releases[:-1], self.releases[-1]
        self.moments = sorted({shown.moment for shown, _ in self.releases})
        most = max([scenario.moments] + [shown.moments for shown in history])
        count = min(most, len(self.moments)) if self.changing else 1
        self.choices = [
            choice for size in range(1, count + 1) for choice in combinations(self.moments, size)
        ]

    def interval(self, shown: Displayed, key: str, label: str) -> Any:
        if label in MISSING_CODES:
            return (EARLIEST, LATEST)
        return shown.intervals[key][label] if key in shown.intervals else {label}

    def known(self, unit: str, key: str, *, now: bool) -> Any:
        """What releases say of a fixed key: an interval, or the labels that contradict."""
        releases = self.releases if now else self.earlier
        rows = [(shown, rows[unit]) for shown, rows in releases if unit in rows]
        labels = [
            (shown, row[key]) for shown, row in rows if key in row and row[key] not in MISSING_CODES
        ]
        if not labels:
            return None
        if key not in labels[0][0].intervals:
            values = {label for _, label in labels}
            return next(iter(values)) if len(values) == 1 else ("odd", *sorted(values))
        spans = [shown.intervals[key][label] for shown, label in labels]
        low, high = max(low for low, _ in spans), min(high for _, high in spans)
        return (low, high) if low <= high else ("odd", *[label for _, label in labels])

    def missing(self, unit: str) -> tuple[str, ...]:
        row = self.current[1][unit]
        fixed = [key for key in self.own if key in self.fixed]
        return tuple(row[key] if row[key] in MISSING_CODES else "" for key in fixed)

    def labels(self, unit: str, choice: tuple[str, ...], *, now: bool) -> Any:
        """Labels of changing keys at the moments; None for a unit that isn't there."""
        found: list[Any] = []
        for moment in choice:
            at = [(s, rows) for s, rows in self.releases if s.moment == moment]
            if not any(unit in rows for _, rows in at):
                return None
            for shown, rows in at:
                if now or shown is not self.current[0]:
                    row = rows.get(unit, {})
                    found.append(tuple(row.get(key) for key in self.changing))
        return tuple(found)

    def profile(self, unit: str, *, now: bool) -> Any:
        return tuple(self.known(unit, key, now=now) for key in self.fixed)

    def tells(self, unit: str, choice: tuple[str, ...]) -> bool:
        """Whether this release adds something about the unit for who knows these moments."""
        if self.current[0].moment in choice:
            row = self.current[1][unit]
            return any(row[key] not in MISSING_CODES for key in self.own)
        return self.profile(unit, now=True) != self.profile(unit, now=False)

    def failing(self) -> tuple[set[frozenset[str]], set[frozenset[str]]]:
        """Groups of units that fail alone, and together (those gone by elimination included)."""
        alone: dict[Any, set[str]] = defaultdict(set)
        for unit, row in self.current[1].items():
            alone[tuple(row[key] for key in self.own)].add(unit)
        few = {frozenset(units) for units in alone.values() if len(units) < self.k}
        together: set[frozenset[str]] = set()
        for choice in self.choices if self.earlier else []:
            groups: dict[Any, set[str]] = defaultdict(set)
            pools: dict[Any, set[str]] = defaultdict(set)
            pool_of = {}
            for unit in self.current[1]:
                labels = self.labels(unit, choice, now=True)
                if labels is None:
                    continue
                groups[self.profile(unit, now=True), self.missing(unit), labels].add(unit)
                pool_of[unit] = (
                    self.profile(unit, now=False),
                    self.labels(unit, choice, now=False),
                )
                pools[pool_of[unit]].add(unit)
            for units in groups.values():
                live = any(self.tells(one, choice) for u in units for one in pools[pool_of[u]])
                if live and len(units) < self.k:
                    together.add(frozenset(units))
            if self.current[0].moment not in choice:
                together |= self.eliminated(choice)
        return few, together

    def eliminated(self, choice: tuple[str, ...]) -> set[frozenset[str]]:
        """Those who left, for whom a possible value lost candidates and has fewer than k."""
        everybody = {unit for _, rows in self.releases for unit in rows}
        there = {u: self.labels(u, choice, now=True) for u in everybody}
        points = {key: self.points(key) for key in self.fixed}
        found = set()
        for unit in everybody - set(self.current[1]):
            if there[unit] is None:
                continue
            alike = [other for other in everybody if there[other] == there[unit]]
            for point in product(*points.values()):
                if not self.fits(unit, point, now=False):
                    continue
                before = sum(self.fits(other, point, now=False) for other in alike)
                after = sum(self.fits(other, point, now=True) for other in alike)
                if after < before and after < self.k:
                    found.add(frozenset({unit}))
        return found

    def points(self, key: str) -> list[Any]:
        if any(key in shown.intervals for shown, _ in self.releases):
            spans = [s.intervals[key].values() for s, _ in self.releases if key in s.intervals]
            return sorted({low for span in spans for low, _ in span} | {EARLIEST})
        labels = {row[key] for _, rows in self.releases for row in rows.values() if key in row}
        return [*sorted(labels - set(MISSING_CODES)), "a value that nobody was shown with"]

    def fits(self, unit: str, point: tuple[Any, ...], *, now: bool) -> bool:
        for known, value in zip(self.profile(unit, now=now), point, strict=True):
            if isinstance(known, tuple) and known[0] == "odd":
                return False
            if isinstance(known, tuple) and not known[0] <= value <= known[1]:
                return False
            if isinstance(known, str) and known != value:
                return False
        return True
