"""Percentiles, deciles, quartiles: which of some equally large groups a value falls in.

The groups are those of a declared population (row S11): everybody in the delivered file, or the
units of the release. So the step has to be fitted before it can be applied, and what it then knows
(the cut-offs) stays in the process: no description, name or document holds one.

With N values in ascending order, cut-off j of g groups is value number ⌈j·N/g⌉ (the inverse of the
empirical distribution, type 1 of Hyndman and Fan, "Sample Quantiles in Statistical
Packages", 1996).
A value is in group 1 + (the number of cut-offs below it). So equal values are always in one group,
a group may stay empty where many are equal, and the order of rows doesn't matter. Missing values
aren't counted and stay missing. Every row with a value counts once.

A group with values of fewer than k distinct units is joined with the next one up, the highest with
the one below, and its label says so: `09-10`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import numpy as np
import pyarrow.compute as pc

from policies.steps import LANGUAGES, Language, Names, Population, RuleError, Step
from policies.steps.numbers import Numbers, labelled, there

GROUPS = (100, 20, 10, 5, 4)


@dataclass(frozen=True)
class _Fitted:
    """Cut-offs, and the label of each group. Neither is ever shown or written."""

    cutoffs: Numbers = field(repr=False)
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Percentile(Step):
    """The group of a value among `groups` equally large ones of a population, from low to high."""

    groups: int
    over: Population
    fitted: _Fitted | None = field(default=None, repr=False, compare=False)
    name: ClassVar[str] = "percentile"
    takes: ClassVar[str] = "number"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "one of {groups} equally large groups, from low to high, computed on {over}; equal "
        "values stay together, missing ones aren't counted, and a group of too few units is "
        "joined with the next",
        "nl": "een van {groups} even grote groepen, van laag naar hoog, berekend over {over}; "
        "gelijke waarden blijven samen, ontbrekende tellen niet mee, en een groep met te weinig "
        "eenheden wordt samengevoegd met de volgende",
        "fr": "un des {groups} groupes de même taille, du plus bas au plus haut, calculés sur "
        "{over} ; les valeurs égales restent ensemble, les valeurs manquantes ne sont pas "
        "comptées, et un groupe de trop peu d'unités est joint au suivant",
        "de": "eine von {groups} gleich großen Gruppen, von niedrig bis hoch, berechnet über "
        "{over}; gleiche Werte bleiben zusammen, fehlende zählen nicht, und eine Gruppe mit zu "
        "wenigen Einheiten wird mit der nächsten vereint",
    }
    limits: ClassVar[Mapping[str, str]] = {"at_most": "with {} groups or fewer"}

    @classmethod
    def parse(cls, groups: Any, over: Any) -> "Percentile":
        if type(groups) is not int or groups not in GROUPS:
            raise RuleError(f"percentile makes {', '.join(map(str, GROUPS))} groups")
        if over not in get_args(Population):
            raise RuleError(
                "percentile needs `over`, the population it is computed on: `delivery` (all that "
                "was delivered for the period) or `universe` (the units of the release)"
            )
        return cls(groups, over)

    @property
    def computed_on(self) -> Population | None:
        """The population that its cut-offs have yet to be computed on."""
        return None if self.fitted else self.over

    def fit(self, values: Any, units: Any, k: int) -> "Percentile":
        """With cut-offs from a population's values and the unit of each; see `Rule.fit`."""
        present = there(values)
        numbers = values.filter(present).to_numpy(zero_copy_only=False)
        who = units.filter(present).dictionary_encode()
        ids = pc.fill_null(who.indices, -1).to_numpy(zero_copy_only=False)
        if not len(numbers):
            return replace(self, fitted=_Fitted(numbers, self._labels([(0, self.groups - 1)])))
        places = (np.arange(1, self.groups) * len(numbers) + self.groups - 1) // self.groups - 1
        cutoffs = np.partition(numbers, np.unique(places))[places]
        runs = _runs(np.searchsorted(cutoffs, numbers), ids, k)
        return replace(self, fitted=_Fitted(cutoffs, self._labels(runs)))

    def _labels(self, runs: list[tuple[int, int]]) -> tuple[str, ...]:
        """The label of each group, from the first and last group of each run of joined ones; a
        group without values in the population belongs to the run above it."""
        wide = len(str(self.groups))
        labels: list[str] = []
        for first, last in runs:
            low, high = f"{first + 1:0{wide}d}", f"{last + 1:0{wide}d}"
            label = low if low == high else f"{low}-{high}"
            labels += [label] * (last + 1 - len(labels))
        return tuple(labels + labels[-1:] * (self.groups - len(labels)))

    def apply(self, column: Any) -> Any:
        fitted = self.fitted
        if fitted is None:
            raise RuleError(f"percentile has to be computed on the {self.over}: fit it first")
        return labelled(
            column, fitted.labels, lambda values: np.searchsorted(fitted.cutoffs, values)
        )

    def describe(self, language: Language) -> str:
        over = _POPULATIONS[self.over][language]
        return self.says[language].format(groups=self.groups, over=over)

    def names(self) -> Names:
        each = [(one, one) for one in range(self.groups)]
        codes = self.fitted.labels if self.fitted else self._labels(each)
        return {
            code: {at: _GROUP[at].format(code=code, groups=self.groups) for at in LANGUAGES}
            for code in dict.fromkeys(codes)
        }

    def within(self, limits: Mapping[str, Any]) -> bool:
        return self.groups <= int(limits.get("at_most", max(GROUPS)))


def _runs(groups: Numbers, ids: Numbers, k: int) -> list[tuple[int, int]]:
    """First and last group of each run of neighbours that together have k distinct units or more.

    `ids` are numbers of units, -1 where a row names none, which counts for nobody.
    """
    order = np.argsort(groups, kind="stable")
    occupied, firsts = np.unique(groups[order], return_index=True)
    pieces = np.split(ids[order], firsts[1:])
    runs: list[tuple[int, int]] = []
    first, gathered = int(occupied[0]), np.array([], ids.dtype)
    for place, (group, piece) in enumerate(zip(occupied.tolist(), pieces, strict=True), 1):
        gathered = np.union1d(gathered, piece[piece >= 0])
        if len(gathered) >= k:
            runs.append((first, group))
            first, gathered = int(occupied[min(place, len(occupied) - 1)]), gathered[:0]
    if not runs:
        raise RuleError(
            f"fewer than {k} units have a value, too few for percentiles; take a larger "
            "population, or leave the variable out"
        )
    return [*runs[:-1], (runs[-1][0], int(occupied[-1]))]


_POPULATIONS: Mapping[Population, Mapping[Language, str]] = {
    "delivery": {
        "en": "everybody in the file delivered for the period",
        "nl": "iedereen in het voor de periode aangeleverde bestand",
        "fr": "tous ceux du fichier fourni pour la période",
        "de": "alle in der für den Zeitraum gelieferten Datei",
    },
    "universe": {
        "en": "the units of this release",
        "nl": "de eenheden van dit pakket",
        "fr": "les unités de ce paquet",
        "de": "die Einheiten dieses Pakets",
    },
}
_GROUP: Mapping[Language, str] = {
    "en": "group {code} of {groups}, from low to high",
    "nl": "groep {code} van {groups}, van laag naar hoog",
    "fr": "groupe {code} sur {groups}, du plus bas au plus haut",
    "de": "Gruppe {code} von {groups}, von niedrig bis hoch",
}
