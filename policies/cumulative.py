"""Does anybody stand out, in everything a project has ever received.

Two releases can each be safe and give somebody away together: who was 15–19 in one year and 20–24
in the next was born in a known year. So the test is taken on what all releases of a project imply.

A project's files are joined on the unit, and so are, for the test, those of other projects with a
recipient of the same organisation. So the keys that count are all that any of these releases
showed, whatever permit it had, with the largest k and the most moments that any was tested with. A
release that doesn't show a key says nothing about it. Where permits differ about whether a key may
change, it counts as never changing: all its labels are then known together and not only those of
the chosen moments, so that somebody whose label did change has to be one of k who share the change.

**What an intruder is taken to know** (the permit's scenario): the exact value of every known
variable that never changes (a date of birth, a sex); the values of the known variables that do
change (a place of residence) at up to `moments` moments of the intruder's choice, and that the
person is in a release about each of them; and that the person is in the release under test. The
intruder knows this program too. The intruder isn't taken to know who is *absent* from a release.

**What is promised** when `assess` passes: whatever moments are chosen, the units of the release
under test that look like the person — same implied interval for each never-changing variable
(all releases intersected), same kind of missing value in this release, same labels at the chosen
moments — are at least k. A suppressed value is a category of its own, so those from whom something
was withheld are also at least k among themselves; but where every one of the units that looked
alike before is silent about its never-changing variables, the release tells nothing new about them
and adds nothing to what they risked already. Those who are no longer in the release are protected
against elimination: every value their interval allows is still shared by k units, unless it wasn't
before this release either.

**What isn't promised**: anything about what the k units have in common (all of them unemployed: see
the scenario's sensitive variables); about an intruder who knows changing variables at more moments
than stated, who knows that somebody is missing from a release, who knows several members of one
household at once, or who holds sensitive variables as knowledge; or that a changing value withheld
at one moment can't be guessed from the same person's value at another, since most people stay where
they are. Events (a quarter of work) aren't keys.

A person whose date of birth was corrected at the source between two releases shows labels that
can't both be true. No day of birth fits, and the pair of labels itself gives the person away: such
a combination is a category of its own, which as a rule leads to suppression in the new release.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.coarsening import SUPPRESSED
from policies.disclosure import Cell
from policies.panel import UNIT, Displayed, Panel, firsts
from policies.permits import Scenario
from policies.withholding import withhold

__all__ = [
    "EXAMPLES",
    "UNIT",
    "Assessment",
    "Displayed",
    "Suppression",
    "assess",
    "suppress",
    "withheld",
]

EXAMPLES = 100
"""Failing cells that an assessment spells out; it counts them all."""


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
    """How many fail; together, a combination counts for each choice of moments it fails at."""
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
                f"{lead} what this project and others of its recipients received before, "
                f"{self.failing_together} combinations have fewer than {self.k} units: "
                + _spell(self.together[:examples])
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
    return _assessment(Panel(history, current, scenario, k))


def suppress(
    history: Sequence[Displayed], current: Displayed, scenario: Scenario, k: int, limit: float
) -> Suppression:
    """Withhold key values of few units in the new release until it passes.

    Greedy and deterministic (`policies.withholding`): fillers are taken from those that are touched
    anyway and from the largest groups, in the order of their ids, which are pseudonymous and tell
    nothing. Where a never-changing value gives somebody away, it is withheld; where a changing one
    does, that one if enough others share the rest, else both. A group from which something is
    withheld is filled up to k. What an earlier release about the same moment withheld stays
    withheld.
    """
    panel = Panel(history, current, scenario, k)
    before = _assessment(panel)
    if not before.passes:
        panel.carry_over()
        withhold(panel)
    after = _assessment(panel)
    units = int(panel.silent().sum())
    return Suppression(
        displayed=panel.displayed(),
        units=units,
        share=units / before.units if before.units else 0.0,
        values=panel.withheld(),
        before=before,
        after=after,
        limit=limit,
    )


def withheld(history: Sequence[Displayed], moment: str, key: str) -> pa.Array:
    """Units of which a release about a moment withheld a key; none twice.

    To choose units by that key at that moment would tell what was withheld.
    """
    found = [
        shown.table.column(UNIT).filter(pc.equal(shown.table.column(key), SUPPRESSED))
        for shown in history
        if shown.moment == moment and key in shown.keys
    ]
    chunks = [chunk for column in found for chunk in column.chunks]
    return pc.unique(pa.chunked_array(chunks)) if chunks else pa.nulls(0)


def _assessment(panel: Panel) -> Assessment:
    alone = panel.alone()
    fails_alone = np.zeros(len(panel.here), bool)
    fails_alone[alone.at_risk] = True
    at_risk = fails_alone.copy()
    sizes: Counter[int] = Counter()
    together: list[tuple[int, int, tuple[int, ...]]] = []
    profile = panel.fixed_profile()
    for choice in panel.choices if len(panel.releases) > 1 else []:
        look = panel.look(choice, profile)
        sizes.update(look.counts[look.live].tolist())
        at_risk[look.at_risk] = True
        new = np.unique(look.group[~fails_alone[look.members]])
        failing = new[look.failing[new]]
        example = firsts(look.group, len(look.counts))
        together += [
            (int(look.counts[group]), int(look.members[example[group]]), choice)
            for group in failing.tolist()
        ]
        gone = panel.eliminations(choice)
        sizes.update(one.units for one in gone)
        together += [(one.units, one.left, one.choice) for one in gone]
    together.sort()
    own = Counter(alone.counts.tolist())
    example = firsts(alone.group, len(alone.counts))
    few = sorted(np.flatnonzero(alone.failing).tolist(), key=lambda one: alone.counts[one])
    return Assessment(
        k=panel.k,
        units=len(alone.members),
        releases=len(panel.releases),
        alone=tuple(
            Cell(panel.describe_alone(int(alone.members[example[one]])), int(alone.counts[one]))
            for one in few[:EXAMPLES]
        ),
        together=tuple(
            Cell(panel.describe(unit, choice), count) for count, unit, choice in together[:EXAMPLES]
        ),
        failing_alone=len(few),
        failing_together=len(together),
        units_at_risk=int(at_risk.sum()),
        smallest_alone=min(own, default=0),
        smallest_together=min(sizes or own, default=0),
        sizes=dict(own),
        sizes_together=dict(sizes or own),
    )
