"""A small invented population of young people, for tests of disclosure: seeded, no outside data.

Arrondissements have sizes as unequal as the real ones (the largest some twenty times the smallest).
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from policies.classifications import labels
from policies.coarsening import parse_rule
from policies.cumulative import Displayed
from policies.permits import Scenario

BREAKS = [15, 20, 25, 30]
SCENARIO = Scenario(known=["age_class", "arrondissement"], changing=["arrondissement"])


@dataclass(frozen=True)
class Population:
    """Who lives where: parallel arrays by person."""

    ids: Any
    birth: Any
    home: Any
    """Numbers of arrondissements."""

    def moved(self, rng: np.random.Generator, share: float) -> "Population":
        home = np.where(rng.random(len(self.home)) < share, _homes(rng, len(self.home)), self.home)
        return replace(self, home=home)

    def only(self, which: Any) -> "Population":
        return Population(self.ids[which], self.birth[which], self.home[which])

    def displayed(self, release: str, moment: date) -> Displayed:
        """What a release of all of them shows, before any suppression."""
        rule = parse_rule([{"age_class": {"reference_date": moment, "breaks": BREAKS}}])
        places = np.array(sorted(labels("arrondissement")))
        table = pa.table(
            {
                "unit": pa.array([f"P{number:06d}" for number in self.ids]),
                "age_class": rule.apply(pa.array(self.birth), "birth_date"),
                "arrondissement": pa.array(places[self.home]),
            }
        )
        rules = {"age_class": rule}
        return Displayed.under(release, moment.isoformat(), table, rules, SCENARIO, 3)


def _homes(rng: np.random.Generator, number: int) -> Any:
    weights = np.exp(rng.permutation(np.linspace(0, 3, 43)) * 0 + np.linspace(0, 3, 43))
    return rng.choice(43, number, p=weights / weights.sum())


def young_people(
    rng: np.random.Generator, number: int, *, at: date = date(2024, 12, 31)
) -> Population:
    """People aged 15 to 29 at a day, evenly over the days of birth."""
    last = date(at.year - 15, at.month, at.day)
    days = rng.integers(0, 15 * 365 + 3, number)
    birth = np.array([last - timedelta(days=int(day)) for day in days], "datetime64[D]")
    ids = rng.permutation(10 * number)[:number]
    return Population(ids, birth, _homes(rng, number))
