"""Every measure of a file in one call, as one document.

`assess` says of a file what it tells about its units: how many share each combination of keys, what
an intruder can conclude, and with which chance. What each figure means, its formula and its source
stand with the measure it comes from: `classes`, `frequencies`, `individual`, `suda`, `dominance`,
`utility`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from policies.disclosure.classes import Sizes, k_of_subsets, measure
from policies.disclosure.diversity import RECURSION, Diversity, Sensitive
from policies.disclosure.dominance import dominance
from policies.disclosure.encoding import Coded, DisclosureError, Floats, Integers, Keys, starts
from policies.disclosure.frequencies import (
    Frequencies,
    Groups,
    Missing,
    frequencies,
    in_population,
)
from policies.disclosure.individual import Method, Risk, household_risk, individual_risk
from policies.disclosure.suda import FRACTION, Scores, suda
from policies.disclosure.utility import il1s, utility

_ALL_SIZES: Final = 10
"""Keys up to which special uniques of every size are looked for; of more keys, those of up to
`_FEW`."""
_FEW: Final = 3
_NOBODY: Final = {
    "journalist_risk": {"max": 0.0, "mean": 0.0, "from": "file"},
    "marketer_risk": 0.0,
}
"""What a table without rows tells."""


@dataclass(frozen=True)
class Population:
    """A population file: its keys, under the names of the file's, and the unit of each row (each
    row is one unless given)."""

    keys: Keys
    units: Any = None


@dataclass(frozen=True)
class Question:
    """What is asked besides the keys.

    `units` names the unit of each row (each row is one unless given); `sensitive` has the sensitive
    columns; `weights` a sampling weight for each row; `household` the household of each row. `k` is
    the threshold of `below_k`; `subsets` are sets of keys to count by themselves; `c` is that of
    recursive (c, l)-diversity, `fraction` the sampling fraction of DIS, `largest` the largest set
    of keys in which special uniques are looked for. `amounts` has a number for each row, by which
    an enterprise could dominate its combination, under the (`n`, `percent`) and the `p`% rule.
    `original` are the keys of the file that this one was made from, row by row, and
    `original_amounts` its amounts.
    """

    units: Any = None
    sensitive: Mapping[str, Sensitive] = field(default_factory=dict)
    weights: Any = None
    household: Coded | None = None
    population: Population | None = None
    missing: Missing = Missing.CATEGORY
    k: int = 5
    subsets: Sequence[Sequence[str]] = ()
    c: float = RECURSION
    method: Method = Method.APPROXIMATE
    fraction: float = FRACTION
    scores: Scores = Scores.ELLIOT
    largest: int | None = None
    amounts: Any = None
    n: int = 2
    percent: float = 85.0
    p: float = 10.0
    original: Keys | None = None
    original_amounts: Any = None


def assess(keys: Keys, asked: Question) -> dict[str, Any]:
    """Every measure that can be taken, as JSON values; null where what it needs wasn't given, and 0
    for a table without rows.

    Raises DisclosureError for a table that can't be tested.
    """
    if asked.k < 1:
        raise DisclosureError("k is how many units share a combination at least; give 1 or more")
    sizes, spread = measure(keys, asked.sensitive, asked.units, asked.c, asked.missing)
    groups = Groups.of(keys, asked.units)
    counted = frequencies(groups, asked.weights, asked.missing)
    return {
        "rows": sizes.rows,
        "units": sizes.units,
        "records": sizes.records,
        "suppressed": len(keys.suppressed),
        "keys": list(keys.names),
        "missing": asked.missing.value,
        **_of_sizes(sizes, asked.k),
        **_of_spread(spread, asked.c),
        "prosecutor_risk": {"max": sizes.prosecutor_max, "mean": sizes.prosecutor_mean},
        **_in_population(keys, counted, asked),
        **_individual(counted, asked),
        "suda": _suda(groups, asked),
        "dominance": None if asked.amounts is None else _dominance(groups, asked),
        "utility": None if asked.original is None else _utility(asked.original, keys, asked),
        "subsets": [
            {"keys": list(names), **_of_sizes(one, asked.k)}
            for names, one in k_of_subsets(keys, asked.subsets, asked.units, asked.missing)
        ],
    }


def _of_sizes(sizes: Sizes, k: int) -> dict[str, Any]:
    """What follows from how many share a combination."""
    return {
        "classes": sizes.number,
        "k": sizes.k,
        "sample_uniques": sizes.sample_uniques,
        "below": k,
        "below_k": sizes.below(k),
        "average_class_size": sizes.average_class_size,
        "discernibility": sizes.discernibility,
    }


def _of_spread(spread: Mapping[str, Diversity], c: float) -> dict[str, Any]:
    """l and t: of the worst sensitive variable, and of each."""
    names = ("l_distinct", "l_entropy", "l_recursive", "t", "t_ordered")
    if not spread:
        return {**dict.fromkeys(names), "sensitive": {}}

    def told(one: Diversity) -> dict[str, Any]:
        figures = (one.distinct, one.entropy, one.recursive, one.t, one.t_ordered)
        return {**dict(zip(names, figures, strict=True)), "c": c}

    each = {name: told(one) for name, one in spread.items()}
    return {**told(Diversity.worst(list(spread.values()))), "sensitive": each}


def _taking_part(counted: Frequencies, missing: Missing) -> Any:
    """Which combinations are records: all but that of suppressed rows, unless there is no other or
    it is a crowd like others."""
    shown = counted.groups.shown != 0
    if missing is Missing.WILDCARD or not shown.any():
        return np.ones(len(shown), bool)
    return shown


def _in_population(keys: Keys, counted: Frequencies, asked: Question) -> dict[str, Any]:
    """The risk from an intruder who doesn't know who is in the file (journalist), and from one who
    wants to name as many as can be (marketer). F is known from a population file, else estimated
    by weights, else the file is the population; it is never taken below f.

    Journalist: max 1/F, and as the mean the larger of J / sum F over classes and the marketer's
    risk, which is the mean of 1/F over records. (El Emam, 2013: jRb, jRc, mR.) k-map: min F.
    (Sweeney, 2001.)
    """
    part = _taking_part(counted, asked.missing)
    F, source, k_map, absent = counted.F, "file", None, None  # noqa: N806
    if asked.population is not None:
        people = asked.population
        F = in_population(keys, people.keys, people.units, asked.missing)  # noqa: N806
        F, source = F[counted.groups.first], "population"  # noqa: N806
        k_map = int(F[part].min()) if len(keys) else 0
        absent = int(counted.records[part & (F < 1)].sum())
    elif asked.weights is not None:
        source = "weights"
    if not len(keys):
        return _NOBODY | {"k_map": k_map, "not_in_population": absent}
    F = np.maximum(F, counted.f)[part]  # noqa: N806
    records = counted.records[part]
    marketer = float((records / F).sum() / records.sum())
    mean = marketer
    if asked.missing is Missing.CATEGORY or (counted.f == counted.records).all():
        mean = max(marketer, float(len(F) / F.sum()))
    return {
        "journalist_risk": {"max": float(1 / F.min()), "mean": mean, "from": source},
        "marketer_risk": marketer,
        "k_map": k_map,
        "not_in_population": absent,
    }


def _individual(counted: Frequencies, asked: Question) -> dict[str, Any]:
    """Individual, global and household risk; without weights the sample is the population, and the
    risk of a record 1/f."""
    risk = individual_risk(counted.f, counted.F, asked.method)
    part = _taking_part(counted, asked.missing)
    whole = Risk.of(risk[part], counted.records[part])
    found: dict[str, Any] = {
        "individual_risk": {
            "max": whole.max,
            "mean": whole.mean,
            "global": whole.expected,
            "method": asked.method.value,
            "weighted": asked.weights is not None,
        },
        "household_risk": None,
    }
    if asked.household is not None:
        found["household_risk"] = _of_households(risk, counted.groups, asked.household)
    return found


def _of_households(risk: Floats, groups: Groups, household: Coded) -> dict[str, Any]:
    """The risk of households: the largest, the mean of households, and the mean of their members
    (the expected share of people whose household is found, sdcMicro's hierarchical risk)."""
    if len(household) != len(groups.row):
        raise DisclosureError("give one household for each row of the keys")
    of_row = risk[groups.of_row]
    if groups.unit is not None:  # a unit with several rows is as much at risk as in the worst
        rows = _worst_rows(of_row, groups.unit)
        of_row = of_row[rows]
        household = replace(household, codes=household.codes[rows])
    found, members = household_risk(of_row, household)
    return {
        "max": float(found.max(initial=0)),
        "mean": float(found.sum() / max(len(found), 1)),
        "mean_of_members": float((found * members).sum() / max(members.sum(), 1)),
        "households": len(found),
    }


def _worst_rows(risk: Floats, unit: Coded) -> Integers:
    """For each unit the row of its largest risk."""
    order = np.lexsort((-risk, unit.codes))
    return order[starts(unit.codes[order])]


def _suda(groups: Groups, asked: Question) -> dict[str, Any]:
    """Special uniques: the largest and the mean score, keys' contributions in percent, how many
    there are of each size, and DIS of the file and of records."""
    keys = len(groups.keys.names)
    largest = asked.largest or (keys if keys <= _ALL_SIZES else _FEW)
    found = suda(groups, asked.missing, asked.scores, largest)
    dis = found.dis(asked.fraction)
    return {
        "max": found.max,
        "mean": found.mean,
        "contributions": found.contributions,
        "sizes": list(found.sizes),
        "scores": asked.scores.value,
        "dis": {
            "file": found.file_dis(asked.fraction),
            "max": float(dis.max(initial=0)),
            "mean": float((dis * found.records).sum() / max(found.records.sum(), 1)),
            "fraction": asked.fraction,
        },
    }


def _dominance(groups: Groups, asked: Question) -> dict[str, Any]:
    """Combinations in which few enterprises are nearly all of an amount."""
    found = dominance(groups, asked.amounts, asked.n)
    return {
        "n": asked.n,
        "percent": asked.percent,
        "p": asked.p,
        "cells": len(found.cell),
        "dominated": int(found.dominated(asked.percent).sum()),
        "within_p": int(found.within(asked.p).sum()),
        "largest_share": found.share,
        "closest": found.closest,
    }


def _utility(original: Keys, released: Keys, asked: Question) -> dict[str, Any]:
    """What is left of the original."""
    found = utility(original, released)
    amounts = None
    if asked.original_amounts is not None and asked.amounts is not None:
        before, after = {"amounts": asked.original_amounts}, {"amounts": asked.amounts}
        amounts = il1s(before, after, ["amounts"])
    return {
        "mean_loss": found.mean_loss,
        "mean_entropy": found.mean_entropy,
        "loss": found.loss,
        "entropy": found.entropy,
        "distributions": found.distributions,
        "associations": found.associations,
        "il1s": amounts,
    }
