"""The risk of each record of a sample: how likely is it that who fits is really the one.

Of a combination that f units of the sample have, the population has F. An intruder who finds it in
the file and knows somebody with it is right with probability 1/F. F isn't known, but the weights w
of the sample estimate it by their sum, and with p = f / F the number in the population is taken to
be negative binomial, given f (Benedetti and Franconi, 1998; Franconi and Polettini, Individual risk
estimation in mu-Argus, 2004; the ESSnet Handbook on Statistical Disclosure Control, 2010, 3.3.1).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from scipy.special import hyp2f1

from policies.disclosure.encoding import Coded, Floats, Integers

_SERIES: Final = 12
"""f from which on sixty terms of the series are exact to the last digits."""


class Method(StrEnum):
    """How the expectation of 1/F is worked out for f of 3 or more (for 1 and 2 it is always
    exact)."""

    APPROXIMATE = "approximate"
    EXACT = "exact"


def individual_risk(f: Integers, F: Floats, method: Method = Method.APPROXIMATE) -> Floats:  # noqa: N803
    """r = E(1/F | f) for combinations with f units in the sample and F estimated in the population.

    Exactly r = (p^f / f) 2F1(f, f; f + 1; q) = (p / f) 2F1(1, 1; f + 1; q), with p = f/F and
    q = 1 - p: (p/q) log(1/p) for f = 1, p/q - (p/q)^2 log(1/p) for f = 2. `APPROXIMATE` takes
    p / (f - q) for f of 3 or more, which is never below the exact value; that is sdcMicro's default
    (indivRisk, method "approx"). Where F isn't above f the sample is the population, and r = 1/f.
    """
    p = np.minimum(f / F, 1.0)
    q = 1 - p
    found: Floats = p / np.maximum(f - q, p)
    whole = q <= 0
    found[whole] = 1 / f[whole]
    one = (f == 1) & ~whole
    found[one] = p[one] / q[one] * -np.log(p[one])
    if method is Method.EXACT:
        few = (f >= 2) & (f < _SERIES) & ~whole
        found[few] = p[few] / f[few] * hyp2f1(1.0, 1.0, f[few] + 1.0, q[few])
        many = (f >= _SERIES) & ~whole
        found[many] = p[many] / f[many] * _series(f[many], q[many])
        return found
    two = (f == 2) & ~whole
    found[two] = _pairs(p[two], q[two])
    return found


def _pairs(p: Floats, q: Floats) -> Floats:
    """The risk for f = 2; for q near 0 its terms cancel, and the series is taken."""
    odds = p / q
    found: Floats = odds - odds**2 * -np.log(p)
    near = q < 0.01
    found[near] = p[near] / 2 * _series(np.full(int(near.sum()), 2), q[near])
    return found


def _series(f: Integers, q: Floats) -> Floats:
    """2F1(1, 1; f + 1; q) = 1 + q/(f + 1) + 2 q^2/((f + 1)(f + 2)) + …, the terms of which the
    Handbook gives the first seven."""
    found = np.ones(len(f))
    for term in range(60, 0, -1):
        found = 1 + found * (q * term / (f + term))
    return found


@dataclass(frozen=True)
class Risk:
    """Risks of records, taken together."""

    max: float
    mean: float
    """The re-identification rate: the expected share of records that are named rightly (global
    risk as a share; Handbook 3.3.1)."""
    expected: float
    """Global risk: the expected number of records that are named rightly, the sum of r."""

    @classmethod
    def of(cls, risk: Floats, records: Integers) -> "Risk":
        """From the risk of combinations, and how many records have each."""
        number = int(records.sum())
        expected = float((risk * records).sum())
        return cls(
            float(risk.max()) if len(risk) else 0.0, expected / number if number else 0.0, expected
        )


def household_risk(risk: Floats, household: Coded) -> tuple[Floats, Integers]:
    """The risk that at least one member is named: 1 - prod (1 - r) over a household's members, and
    how many members it has; a record without a household is one by itself.

    (Handbook 3.3.1, "household risk"; the SDC Practice Guide, "Household risk".)
    """
    codes = household.codes.astype(np.int64)
    size = household.size
    if household.missing >= 0:
        alone = np.flatnonzero(codes == household.missing)
        codes[alone] = size + np.arange(len(alone))
        size += len(alone)
    with np.errstate(divide="ignore"):  # a risk of 1 is certain
        safe = np.log1p(-np.minimum(risk, 1.0))
    members = np.bincount(codes, minlength=size)
    there = members > 0
    return -np.expm1(np.bincount(codes, safe, minlength=size)[there]), members[there]
