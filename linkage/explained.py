"""Why a pair of rows weighs what it weighs: the model field by field, kept and read again.

A weight is a logarithm (base 2) of odds: 1 doubles them. It starts from the prior, two rows taken
blindly; each field adds log2(m/u) for its level, and more where the rows agree on a rare value.
Members of one household agree as easily as one person does on much of that; what they take off, and
what other pairs that the rows could be in make of it, comes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from linkage.datasets import LinkageError
from linkage.kernel.columns import Encoded
from linkage.kernel.levels import Comparison, Pairs, compared, comparisons
from linkage.kernel.weights import Weights, rarities, rarity_of
from linkage.matching import Model
from linkage.plans import Field, FilePlan

BIT: Final = float(np.log(2.0))
SURE: Final = 1.0 - 1e-9
"""Above this, one probability is as good as another."""
TOLD: Final = 0.005
"""Bits that are worth a line."""
MARKED: Final = 0.5
"""Bits from which on a value is called rare or common."""

LEVELS: Final[Mapping[str, str]] = {
    "missing": "missing on a side: says nothing",
    "exact": "the same",
    "head": "the same first given name",
    "second": "called by the second given name",
    "generation": "a generation apart",
    "nickname": "a nickname of the other",
    "initial": "an initial of the other",
    "part": "one is a part of the other",
    "close": "nearly the same letters",
    "similar": "much the same letters",
    "other_name": "alike, but both are names in their own right",
    "different": "different",
    "swapped": "day and month exchanged",
    "digit": "one digit wrong or two exchanged",
    "vague": "the same as far as told",
    "near": "near",
    "year": "the same year, and no more",
    "building": "the same door, another box",
    "elsewhere": "the same street and number in another place",
    "street": "the same street",
    "postcode": "the same postcode",
    "municipality": "the same municipality",
    "region": "the same district or the next",
}
"""What levels of agreement mean, for people."""


class Unexplained(LinkageError):  # noqa: N818  (as in DatasetFault)
    """A file of links doesn't fit the files or the program that shall explain it."""


@dataclass(frozen=True)
class Term:
    """What one field adds, in bits: `usual` for its level, `rarity` for the value agreed on.

    `known` says whether both rows have it.
    """

    name: str
    level: str
    usual: float
    rarity: float
    known: bool

    @property
    def weight(self) -> float:
        """All that the field adds."""
        return self.usual + self.rarity

    @property
    def words(self) -> str:
        """How the values compare."""
        if self.level == "missing" and self.known:
            return "says nothing beside the others"
        words = LEVELS.get(self.level, self.level)
        if abs(self.rarity) < MARKED:
            return words
        return f"{words}, and {'rare' if self.rarity > 0 else 'common'}"


@dataclass(frozen=True)
class Step:
    """A step of the waterfall: what, in words, and how many bits it adds."""

    name: str
    words: str
    bits: float


@dataclass(frozen=True)
class Explanation:
    """A pair's weight, piece by piece: `prior` and the terms add up to `weight`.

    `household` (0 or less) is what the likeness of members of one household takes off; `crossed`
    says that first and last name changed places on one side.
    """

    prior: float
    terms: tuple[Term, ...]
    weight: float
    household: float
    crossed: bool

    @property
    def probability(self) -> float:
        """Before rivals: were this the only pair that either row could be in."""
        return float(1.0 / (1.0 + np.exp2(-(self.weight + self.household))))

    def rivals(self, probability: float) -> float:
        """What rival pairs add (or take off), in bits, where the probability in the end is this."""
        own = self.weight + self.household
        if min(probability, self.probability) > SURE:
            return 0.0
        inside = float(np.clip(probability, 1.0 - SURE, SURE))
        return float(np.log2(inside / (1.0 - inside))) - own

    def steps(self, probability: float | None) -> list[Step]:
        """From two rows taken blindly to the probability in the end (None: before rivals)."""
        found = [Step("prior", "two rows taken blindly", self.prior)]
        found += [Step(one.name, one.words, one.weight) for one in self.terms]
        if self.household < -TOLD:
            found.append(Step("household", "members of one household may agree so", self.household))
        rivals = 0.0 if probability is None else self.rivals(probability)
        if abs(rivals) > TOLD:
            others = "other pairs" if rivals < 0 else "no other pair in sight"
            found.append(Step("rivals", f"{others} that these rows could be in", rivals))
        return found


def said(probability: float) -> str:
    """A probability with as many digits as it takes to tell it from 0 and 1."""
    rest = min(probability, 1.0 - probability)
    if rest < 1.0 - SURE:
        return "nearly 0" if probability < 0.5 else "nearly 1"
    return f"{probability:.{max(4, 2 - int(np.floor(np.log10(rest))))}f}"


def explain(encoded: Encoded, model: Model, left: int, right: int) -> Explanation:
    """Why row `left` of the first file and row `right` of the other weigh what they weigh."""
    weights = model.weights
    pairs = Pairs(encoded, np.array([left]), np.array([right]))
    levels = compared(pairs, weights.comparisons)
    terms = []
    rarity = np.zeros(1, np.float32)
    for n, (one, table) in enumerate(zip(weights.comparisons, weights.tables, strict=True), 1):
        place = int(levels[n - 1][0])
        # values that go together count with the second of them
        upto = rarity_of(weights.comparisons[:n], model.rarities, levels[:n], pairs)
        usual, rare = float(table[0, place] - table[2, place]), float(upto[0] - rarity[0])
        known = all(code[0] >= 0 for part in one.atoms for code in pairs.straight(part))
        terms.append(Term(one.name, one.words[place], usual / BIT, -rare / BIT, known))
        rarity = upto
    strangers, odds = weights.odds(levels, rarity)
    return Explanation(
        prior=weights.prior / BIT,
        terms=tuple(terms),
        weight=float(strangers[0]) / BIT,
        household=float(odds[0] - strangers[0]) / BIT,
        crossed=pairs.crossed is not None and bool(pairs.crossed[0]),
    )


def fields_of(one: Comparison, plan: FilePlan) -> tuple[Field, ...]:
    """The fields of a plan that a comparison looks at."""
    return tuple(field for field in plan.fields if _parts(field) & set(one.atoms))


def _parts(field: Field) -> set[str]:
    if field.type in ("text", "code"):
        return {f"{field.type}:{field.a}"}
    more = {
        "first_name": {"head"},
        "last_name": {"last"},
        "full_name": {"head", "last"},
        "house_number": {"house_number", "box"},
        "address": {"street", "house_number", "box", "postcode"},
        "company_name": {"company_name", "legal_form"},
    }
    return more.get(field.type, {field.type})


def as_document(model: Model) -> dict[str, Any]:
    """The model as JSON can hold it: no value of any row is in it."""
    weights = model.weights
    return {
        "comparisons": [
            {"name": one.name, "levels": list(one.words), "m": list(m), "h": list(h), "u": list(u)}
            for one, m, h, u in zip(
                weights.comparisons, weights.m, weights.h, weights.u, strict=True
            )
        ],
        "matches": weights.matches,
        "household": weights.household,
        "space": weights.space,
        "once": weights.once,
        "rules": [list(rule) for rule in model.rules],
    }


def from_document(document: Mapping[str, Any], encoded: Encoded) -> Model:
    """The model that `as_document` wrote, for the files it was learned from.

    Raises Unexplained where they have other fields or levels.
    """
    which = comparisons(encoded.parts)
    told = document["comparisons"]
    if [(one["name"], one["levels"]) for one in told] != [(o.name, list(o.words)) for o in which]:
        raise Unexplained(
            "these links were made with other fields or by another version of schakel; link the "
            "files again"
        )
    weights = Weights(
        comparisons=which,
        m=_rates(told, "m"),
        h=_rates(told, "h"),
        u=_rates(told, "u"),
        matches=document["matches"],
        household=document["household"],
        space=document["space"],
        once=document["once"],
    )
    rules = tuple(tuple(rule) for rule in document["rules"])
    return Model(weights, rarities(encoded, which, once=weights.once), rules)


def _rates(told: Sequence[Mapping[str, Any]], kind: str) -> tuple[Any, ...]:
    return tuple(np.array(one[kind], np.float64) for one in told)
