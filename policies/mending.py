"""What is the mildest change that lets a refused release pass.

A release may show its keys coarser than the permit says, never finer. `views` lists how: classes
put together, areas and activities of a higher level, and nothing at all of a key (`WITHHELD`).
`mildest` looks for the choice of views, with the suppression that it then takes, that passes the
test on everything the recipients have received, and that loses least.

Loss is non-uniform entropy (Gionis and Tassa, *k-anonymization with minimal loss of information*,
2009): what a unit's coarser label leaves open about the finer one, in bits, as a share of what
withholding every value would cost; a suppressed value costs all it had. Coarsening alone is a lower
bound of what a choice costs, so that the search, which takes the cheapest first, can stop as soon
as nothing better can come; and a view that doesn't pass while nothing of the other keys is shown
never does. Deterministic.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError, classifications
from policies.classifications import activities
from policies.coarsening import MISSING_CODES, SUPPRESSED, Rule
from policies.cumulative import Suppression, assess, suppress
from policies.disclosure import encode
from policies.panel import Displayed
from policies.permits import Scenario
from policies.steps.codes import Geography, Nace
from policies.steps.dates import AgeClass
from policies.steps.numbers import Classes

WITHHELD = "withheld"
"""The name of the view that shows nothing of a key."""
MOST = 128
"""Choices that are tested, cheapest first, of those whose views could pass by themselves."""
_MOST_BREAKS = 5
"""With more breaks than this, only every second, fourth … is kept instead of any choice of them."""
_PLACES: Sequence[classifications.Level] = ("municipality", "arrondissement", "province", "region")


class NoSuchViewError(PolicyError):
    """A key can't be shown so; the message says how it can."""


@dataclass(frozen=True)
class View:
    """One way to show a key coarser: the rule that does it, and what becomes of each label.

    `labels` is None where nothing is shown.
    """

    name: str
    rule: Rule
    labels: Mapping[str, str] | None

    def apply(self, column: Any) -> Any:
        """A column of labels as this view shows it; codes for missing values stay."""
        if self.labels is None:
            return pa.array([SUPPRESSED] * len(column), pa.string())
        codes, names = encode(column.cast(pa.string()))
        shown = [name if name in MISSING_CODES else self.labels[name] for name in names.to_pylist()]
        return pa.array(shown, pa.string()).take(pa.array(codes))

    def describe(self) -> str:
        """What it shows, in words."""
        return "nothing" if self.labels is None else self.rule.describe("en").rstrip(".")


def views(rule: Rule) -> list[View]:
    """Every coarser way to show what a resolved rule shows, finest first, `WITHHELD` last."""
    found: list[View] = []
    if len(rule.steps) == 1:
        step = rule.steps[0]
        if isinstance(step, AgeClass | Classes):
            found = _fewer_breaks(step)
        elif isinstance(step, Geography):
            found = _wider_areas(step)
        elif isinstance(step, Nace):
            found = _wider_activities(step)
    return [*found, View(WITHHELD, rule, None)]


def _fewer_breaks(step: AgeClass | Classes) -> list[View]:
    breaks = step.breaks
    kept: list[tuple[Any, ...]] = []
    if len(breaks) <= _MOST_BREAKS:
        for size in range(len(breaks) - 1, 0, -1):
            kept += combinations(breaks, size)
    else:
        kept = [breaks[start :: 2**power] for power in range(1, 4) for start in (0, 1)]
    found = []
    for some in dict.fromkeys(kept):
        wider = replace(step, breaks=some)
        place = np.searchsorted(np.array(some), np.array(breaks), side="right")
        labels = [wider.labels[at] for at in (0, *place.tolist())]
        name = ",".join(map(str, some))
        found.append(View(name, Rule((wider,)), dict(zip(step.labels, labels, strict=True))))
    return found


def _wider_areas(step: Geography) -> list[View]:
    codes = list(classifications.labels(step.level))
    found = []
    for level in _PLACES[_PLACES.index(step.level) + 1 :]:
        known = pa.array([code for code in codes if _exists(code, step)], pa.string())
        areas = classifications.level(known, step.level, level, step.situation)
        labels = dict(zip(known.to_pylist(), areas.to_pylist(), strict=True))
        found.append(View(level, Rule((replace(step, level=level),)), labels))
    return found


def _exists(code: str, step: Geography) -> bool:
    try:
        classifications.level(pa.array([code]), step.level, "region", step.situation)
    except PolicyError:
        return False
    return True


def _wider_activities(step: Nace) -> list[View]:
    codes = pa.array(list(activities.labels(step.level, step.version)), pa.string())
    found = []
    for level in activities.LEVELS[activities.LEVELS.index(step.level) + 1 :]:
        try:
            wider = activities.level(codes, level, step.version)
        except PolicyError:  # codes of an aggregation aren't delivered, and can't be mapped on
            continue
        labels = dict(zip(codes.to_pylist(), wider.to_pylist(), strict=True))
        found.append(View(str(level), Rule((replace(step, level=level),)), labels))
    return found


@dataclass(frozen=True)
class Mend:
    """A change that passes: how each key is shown (None: as permitted), and what is suppressed."""

    shown: Mapping[str, View | None]
    suppression: Suppression
    loss: float
    """Share of what withholding everything would lose."""
    checked: int
    """Tests that the search took; there are `choices`."""
    choices: int

    @property
    def coarser(self) -> dict[str, str]:
        """Key → name of the view that shows it coarser."""
        return {key: view.name for key, view in self.shown.items() if view is not None}

    def describe(self, lead: str = "The mildest change that passes") -> str:
        """The change as a sentence."""
        parts = [
            f"show {key} as “{view.describe()}”" if view.labels is not None
            else f"show nothing of {key}"
            for key, view in self.shown.items()
            if view is not None
        ]  # fmt: skip
        made = self.suppression
        if made.units:
            values = sum(made.values.values())
            parts.append(
                f"suppress {values} values of {made.units} units ({made.share:.1%}; allowed: "
                f"{made.limit:.1%})"
            )
        return f"{lead}: {' and '.join(parts or ['none is needed'])}."

    def to_doc(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "coarser": self.coarser,
            "suppressed": {
                "units": self.suppression.units,
                "share": round(self.suppression.share, 6),
                "values": dict(self.suppression.values),
            },
            "loss": round(self.loss, 6),
            "checked": self.checked,
            "choices": self.choices,
            "says": self.describe(),
        }


def mildest(
    history: Sequence[Displayed],
    current: Displayed,
    rules: Mapping[str, Rule],
    scenario: Scenario,
    k: int,
    limit: float,
) -> Mend | None:
    """The change of least loss that lets a release pass with at most `limit` of its units touched
    by suppression; None when none of the `MOST` cheapest does.

    `rules` are the resolved rules of the keys. `current` is the release as the permit would show
    it.
    """
    search = _Search(history, current, rules, scenario, k, limit)
    by_key = _views_of(current, rules)
    choices = math.prod(map(len, by_key.values()))
    possible = {
        key: [option for option in options if search.alone(key, option[0], rules)]
        for key, options in by_key.items()
    }
    best: Mend | None = None
    for least, shown in islice(_cheapest_first(possible), MOST):
        if best is not None and least >= best.loss:
            break
        outcome = search.tried(shown)
        if outcome is not None and outcome.allowed:
            loss = _loss(current.table, outcome.displayed.table, current.keys)
            if best is None or loss < best.loss:
                best = Mend(shown, outcome, loss, search.checked, choices)
    return best


@dataclass
class _Search:
    """Tries choices of views on one release."""

    history: Sequence[Displayed]
    current: Displayed
    rules: Mapping[str, Rule]
    scenario: Scenario
    k: int
    limit: float
    checked: int = 0

    def alone(self, key: str, view: View | None, rules: Mapping[str, Rule]) -> bool:
        """Whether a view of one key could pass if nothing of the others were shown: if not, it
        doesn't with more of them."""
        others = {other: View(WITHHELD, rules[other], None) for other in self.current.keys}
        return self._hopeful(self._asked({**others, key: view}))

    def tried(self, shown: Mapping[str, View | None]) -> Suppression | None:
        """What suppression makes of a choice; None where it would take more than is allowed."""
        asked = self._asked(shown)
        if not self._hopeful(asked):
            return None
        return suppress(self.history, asked, self.scenario, self.k, self.limit)

    def _hopeful(self, asked: Displayed) -> bool:
        self.checked += 1
        found = assess(self.history, asked, self.scenario, self.k)
        # each unit at risk would have to be touched
        return found.passes or found.units_at_risk <= self.limit * found.units

    def _asked(self, shown: Mapping[str, View | None]) -> Displayed:
        names = {key: view.name for key, view in shown.items() if view is not None}
        table, coarser = shown_as(self.current.table, self.rules, names)
        now = self.current
        return Displayed.under(now.release, now.moment, table, coarser, self.scenario, self.k)


def shown_as(
    table: pa.Table, rules: Mapping[str, Rule], names: Mapping[str, str]
) -> tuple[pa.Table, dict[str, Rule]]:
    """A table of units and its keys' rules with some keys shown by a view of that name.

    Raises NoSuchViewError for a name that no view of the key's rule has.
    """
    rules = dict(rules)
    for key, name in names.items():
        possible = {view.name: view for view in views(rules[key])}
        if name not in possible:
            raise NoSuchViewError(
                f"{key} can't be shown as {name}; coarser than permitted are: "
                f"{'; '.join(possible)}."
            )
        place = table.column_names.index(key)
        table = table.set_column(place, key, possible[name].apply(table.column(key)))
        rules[key] = possible[name].rule
    return table, rules


def _views_of(
    current: Displayed, rules: Mapping[str, Rule]
) -> dict[str, list[tuple[View | None, float]]]:
    """For each key its views with what they lose; those that show this release's units alike are
    one."""
    found = {}
    for key in current.keys:
        column = current.table.column(key)
        options: dict[tuple[bool, bytes], tuple[View | None, float]] = {}
        for view in [None, *views(rules[key])]:
            seen = column if view is None else view.apply(column)
            codes, _ = encode(seen.cast(pa.string()))
            # a class that everybody is in still tells something of those it wasn't told of before
            nothing = view is not None and view.labels is None
            options.setdefault((nothing, codes.tobytes()), (view, _lost(column, seen)))
        found[key] = list(options.values())
    return found


def _cheapest_first(
    by_key: Mapping[str, Sequence[tuple[View | None, float]]],
) -> list[tuple[float, dict[str, View | None]]]:
    """Every choice of views with what it loses by coarsening alone."""
    found = []
    for chosen in product(*by_key.values()):
        shown = {key: view for key, (view, _) in zip(by_key, chosen, strict=True)}
        loss = sum(lost for _, lost in chosen) / max(len(chosen), 1)
        found.append((loss, shown))
    return sorted(found, key=lambda one: one[0])


def _loss(fine: pa.Table, shown: pa.Table, keys: Sequence[str]) -> float:
    """Mean over the keys of the share of bits lost."""
    lost = [_lost(fine.column(key), shown.column(key)) for key in keys]
    return sum(lost) / max(len(lost), 1)


def _lost(fine: Any, shown: Any) -> float:
    """Non-uniform entropy of a column, as a share of what withholding all of it would lose."""
    before, _ = encode(fine.cast(pa.string()))
    after, names = encode(shown.cast(pa.string()))
    if not len(before):
        return 0.0
    own = np.bincount(before)[before]
    wider = np.bincount(after)[after]
    hidden = pc.equal(names, SUPPRESSED).to_numpy(zero_copy_only=False)[after]
    wider = np.where(hidden, len(before), np.maximum(wider, own))
    most = float(np.log2(len(before) / own).sum())
    return float(np.log2(wider / own).sum()) / most if most else 0.0
