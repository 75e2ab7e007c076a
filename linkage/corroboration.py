"""Whom a number really identifies.

Check digits catch hardly any wrong number: what causes false links is somebody else's valid number,
a twin's, a sister's, a parent's. So a number alone links nothing. The records that state one number
fall into *claims*: sets of records that corroborate one another, by an equal first name with no
contradicting birth date, or by an equal birth date with a first name that is merely misspelt.

Two claims on one number that contradict each other contest it. It is then its owner's: the one
whose birth date the number tells, who isn't described by another number elsewhere, and who was met
more often by far. When that doesn't single out one claim, the number identifies nobody for now. A
record whose number is somebody else's keeps it as a statement, and is linked on its other fields.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from linkage.grouping import Groups, any_by, components, largest_by, pairs_within
from linkage.identities import ABSENT, Bools, Identities, Ints, combine
from linkage.kernel.alike import Likeness
from linkage.kernel.alike import likeness as similarity
from linkage.kernel.columns import Codes, Vocabulary, date_parts
from linkage.kernel.levels import BirthDate, Comparison, FirstName, LastName, Levels, Sex

CROWD: Final = {"person": 200, "enterprise": 2000}
"""A number stated with more different identity records than this is a dummy, and nobody's."""

GENERATION: Final = 12
"""Years between a parent and a child at the least: two records of one number, first name and
surname that are closer in age are one person with a wrong birth date, not father and son."""

ALIKE: Final = 0.6
"""Likeness from which two names of an enterprise don't clearly differ, at one address."""

NEARLY_EQUAL: Final = 0.95
"""The same at two addresses: half of all names begin with what the enterprise does."""

MAJORITY: Final = 3
"""Of two claims alike in all else, one that was met this many times as often is the owner's."""

Pairwise = tuple[Ints, Ints]

_FIRST: Final = FirstName()
_LAST: Final = LastName()
_BORN: Final = BirthDate()
_SEX: Final = Sex(names=True)
_MISSPELT: Final = ("head", "nickname", "initial", "close", "similar")
"""Levels of given names that are one person's unless both are names in their own right."""
_FAMILY: Final = ("exact", "part", "close", "similar")
"""Levels of last names that may be one family's."""
_APART: Final = ("different", "generation")
"""Levels of birth dates that aren't one person's."""


@dataclass(frozen=True)
class Corroboration:
    """What the numbers say, an array entry per identity record.

    `claim` is the smallest record among those that the number shows to be one unit (the record
    itself where there is no number), `sure` the same among those with an equal first name; `own`
    whether the number identifies the record, `disowned` whether it is shown to be somebody else's
    (neither: it may be the record's).
    `contradicted` are pairs (record, owner's record), one per pair of claims; `weak` are pairs with
    one number that it doesn't link by itself, although nothing contradicts it.
    """

    claim: Ints
    sure: Ints
    own: Bools
    disowned: Bools
    contradicted: Pairwise
    weak: Pairwise


@dataclass(frozen=True)
class _Relations:
    """Pairs of records with the same number: corroborated, contradicting, or perhaps the same."""

    left: Ints
    right: Ints
    same: Bools
    likely: Bools
    contradicting: Bools
    weak: Bools

    def pairs(self, which: Bools) -> Pairwise:
        return self.left[which], self.right[which]


def corroborate(
    identities: Identities, uses: Ints, single: Bools, seen: Ints, unit_type: str
) -> Corroboration:
    """Decide for every record what its number proves.

    `uses` tells for each name code, and at the end for a missing one, how many families use it as a
    first name; `single` whether a
    record comes from the delivery's one-row-per-unit reference, where a misspelt name is rather
    another person's; `seen` how often it was met. A person's number must be corroborated by name or
    birth date, another unit's is contradicted only by a clearly different name (at another address,
    by one that isn't nearly equal).
    """
    persons = unit_type == "person"
    crowd = CROWD.get(unit_type, 0)
    left, right = pairs_within(identities.canonical, crowd)
    if persons:
        relations = _persons(identities, left, right, uses, single)
    else:
        relations = _others(identities, left, right)
    sure, claim = _claims(identities, relations)
    differ = claim[relations.left] != claim[relations.right]
    fit = _fit(identities) if persons else np.ones(len(identities), np.int64)
    crowded = _crowded(identities, crowd)
    own, disowned, contested = _standing(identities, claim, fit, seen, relations, differ, crowded)
    return Corroboration(
        claim=claim,
        sure=sure,
        own=own,
        disowned=disowned,
        contradicted=_contradictions(identities, claim, own, relations, differ & contested),
        weak=relations.pairs(relations.weak & differ),
    )


def _persons(
    identities: Identities, left: Ints, right: Ints, uses: Ints, single: Bools
) -> _Relations:
    compared = _Compared.of(identities, left, right, uses)
    agree = _birth_dates_agree(identities, left, right)

    same = compared.equal_first_names(uses)
    same &= agree | _mistaken(identities, left, right, compared.family)
    same |= _crosswise(identities, left, right, uses) & compared.born_equal

    misspelt, perhaps = compared.misspelt, compared.perhaps
    rivalled = np.zeros(len(left), np.bool_)
    unsure = np.flatnonzero(perhaps & ~same)
    rivalled[unsure] = _described_elsewhere(identities, left[unsure], right[unsure])

    nameless = compared.nameless & compared.family
    likely = (misspelt & (compared.family | compared.familyless)) | nameless
    likely &= compared.born_equal & ~same & ~rivalled & ~compared.sexes_differ
    likely &= ~(single[left] & single[right])

    doubtful = misspelt & (compared.sexes_differ | rivalled)
    contradicting = (compared.unlike | doubtful | ~agree) & ~same & ~likely
    weak = perhaps & agree & ~rivalled & ~compared.sexes_differ & ~same & ~likely
    return _Relations(left, right, same, likely, contradicting, weak)


@dataclass(frozen=True)
class _Compared:
    """How pairs of persons' records compare, as far as a number's proof needs it."""

    left: Ints
    right: Ints
    first: Levels
    last: Levels
    born: Levels
    sex: Levels
    given: Ints
    """The given name that two records agree on, ABSENT where they don't."""

    @classmethod
    def of(cls, identities: Identities, left: Ints, right: Ints, uses: Ints) -> "_Compared":
        levels = identities.compare(left, right)
        nothing = np.zeros(len(left), np.int8)
        first = levels.get("first_name", nothing).copy()
        # Here any name met twice is a name in its own right, however rare: of two brothers one may
        # be called SANDER and one ALEXANDER, or JEAN PIERRE and JEAN PAUL.
        one, other = identities.first_name[left], identities.first_name[right]
        both = np.minimum(uses[one], uses[other]) > 1
        alone = identities.codes("second") == ABSENT
        apart = _among(first, _FIRST, "nickname", "close", "similar")
        apart |= _among(first, _FIRST, "head") & ~alone[left] & ~alone[right]
        first[both & apart] = _FIRST.level("other_name")
        last = levels.get("last_name", nothing).copy()
        # a number takes more to be proven than a letter or a nickname in the surname's place
        loose = identities.across(left, right)
        loose &= _among(first, _FIRST, "second", "nickname", "initial")
        first[loose], last[loose] = _FIRST.level("different"), _LAST.level("different")
        exact = _among(first, _FIRST, "exact")
        return cls(
            left, right, first,
            last=last,
            born=levels.get("birth_date", nothing),
            sex=levels.get("sex", nothing),
            given=np.where(exact, one, ABSENT),
        )  # fmt: skip

    def equal_first_names(self, uses: Ints) -> Bools:
        """Whether the first names are equal and are first names.

        Two records with their names turned have an equal surname where the first name should stand:
        what isn't in use as a first name counts only when the name beside it agrees as well.
        """
        equal = _among(self.first, _FIRST, "exact")
        in_use = uses[self.given] > 0
        result: Bools = equal & (in_use | ~_among(self.last, _LAST, "different"))
        return result

    @property
    def misspelt(self) -> Bools:
        return _among(self.first, _FIRST, *_MISSPELT)

    @property
    def unlike(self) -> Bools:
        return _among(self.first, _FIRST, "different", "other_name")

    @property
    def nameless(self) -> Bools:
        return _among(self.first, _FIRST, "missing")

    @property
    def perhaps(self) -> Bools:
        return _among(self.first, _FIRST, *_MISSPELT, "second", "other_name", "missing")

    @property
    def family(self) -> Bools:
        return _among(self.last, _LAST, *_FAMILY)

    @property
    def familyless(self) -> Bools:
        return _among(self.last, _LAST, "missing")

    @property
    def born_equal(self) -> Bools:
        return _among(self.born, _BORN, "exact")

    @property
    def sexes_differ(self) -> Bools:
        return _among(self.sex, _SEX, "different")


def _mistaken(identities: Identities, left: Ints, right: Ints, family: Bools) -> Bools:
    """Whether birth dates that don't agree are rather one person's mistake than two namesakes'.

    They are when the surnames agree, the dates are less than a generation apart, and nobody of that
    name and either date has another number.
    """
    year = _years(identities.born_or_implied)
    elsewhere = _described_by_other_numbers(identities)
    near = np.abs(year[left] - year[right]) < GENERATION
    result: Bools = family & near & ~elsewhere[left] & ~elsewhere[right]
    return result


def _years(dates: Ints) -> Ints:
    return np.where(dates == ABSENT, 0, date_parts(dates.astype(np.int32))[0])


def _crosswise(identities: Identities, left: Ints, right: Ints, uses: Ints) -> Bools:
    """Whether the given name of one stands in the other's surname, whatever became of the surname.

    The name must be one in use as a first name, and what stands beside it on either side must not.
    """
    first, last = identities.first_name, identities.last_name
    result = np.zeros(len(left), np.bool_)
    for one, other in ((left, right), (right, left)):
        given = (first[one] == last[other]) & (uses[first[one]] > 1)
        beside = (uses[last[one]] == 0) & (uses[first[other]] == 0)
        result |= given & beside & (first[one] != ABSENT)
    return result


def _others(identities: Identities, left: Ints, right: Ints) -> _Relations:
    name, address = identities.last_name, identities.address
    unnamed = (name[left] == ABSENT) | (name[right] == ABSENT)
    apart = (address[left] != address[right]) & (address[left] != ABSENT)
    apart &= address[right] != ABSENT
    enough = np.where(apart, NEARLY_EQUAL, ALIKE)
    same = likeness(identities.names, name[left], name[right]) >= enough
    same |= (name[left] == ABSENT) & (name[right] == ABSENT)
    likely = unnamed & ~same
    return _Relations(left, right, same, likely, ~same & ~likely, np.zeros(len(left), np.bool_))


def likeness(names: Vocabulary, left: Ints, right: Ints) -> Likeness:
    """Likeness of names by code; 1 when equal, 0 when either is missing."""
    result = np.zeros(len(left), np.float32)
    present = (left != ABSENT) & (right != ABSENT)
    result[present & (left == right)] = 1.0
    rows = np.flatnonzero(present & (left != right))
    # Which text comes first matters in rare cases: it is always the one of the lower code.
    low, high = np.minimum(left[rows], right[rows]), np.maximum(left[rows], right[rows])
    result[rows] = similarity(names, low.astype(np.int32), high.astype(np.int32))
    return result


def _among(levels: Levels, one: Comparison, *which: str) -> Bools:
    return np.isin(levels, [one.level(word) for word in which])


def _birth_dates_agree(identities: Identities, left: Ints, right: Ints) -> Bools:
    """Whether the birth dates may be one person's: alike, or each alike to what the number tells.

    A record without birth date is taken to have the one that its number tells.
    """
    born = identities.born_or_implied
    alike = ~_among(_dates(born[left], born[right]), _BORN, *_APART)
    fits = _fit(identities) == 2
    agree: Bools = alike | (fits[left] & fits[right])
    return agree


def _fit(identities: Identities) -> Ints:
    """Does the stated birth date fit the number: 2 if so, 1 when one can't tell, 0 if not."""
    level = _dates(identities.born, identities.implied)
    fit = np.where(_among(level, _BORN, *_APART), 0, 2)
    return np.where(level == _BORN.level("missing"), 1, fit)


def _dates(left: Ints, right: Ints | Codes) -> Levels:
    return _BORN.between(left.astype(np.int32), right.astype(np.int32))


def _described_elsewhere(identities: Identities, left: Ints, right: Ints) -> Bools:
    """Whether a third record with another number and the same birth date may be one of the two.

    It may be when its surname is one of theirs and its first name is as much like one of theirs as
    theirs are like each other: the twin who was given the other one's number.
    """
    result = np.zeros(len(left), np.bool_)
    family = combine(
        identities.born_or_implied,
        identities.last_name,
        absent_if_any=True,
    )
    groups = Groups(np.where(identities.canonical == ABSENT, ABSENT, family))
    first = identities.first_name
    between = likeness(identities.names, first[left], first[right])
    for side in (left, right):
        at, third = groups.partners(family[side])
        other = identities.canonical[third] != identities.canonical[side[at]]
        at, third = at[other], third[other]
        closest = np.maximum(
            likeness(identities.names, first[third], first[left[at]]),
            likeness(identities.names, first[third], first[right[at]]),
        )
        result[at[closest >= between[at]]] = True
    return result


def _claims(identities: Identities, relations: _Relations) -> tuple[Ints, Ints]:
    """Records joined by corroborated pairs; likely ones only where no contradiction comes along."""
    size = len(identities)
    sure = components(size, *relations.pairs(relations.same))
    both = components(size, *relations.pairs(relations.same | relations.likely))
    left, right = relations.left, relations.right
    spoilt = relations.contradicting & (both[left] == both[right]) & (sure[left] != sure[right])
    spoilt_components = np.zeros(size, np.bool_)
    spoilt_components[both[left[spoilt]]] = True
    return sure, np.where(spoilt_components[both], sure, both)


def _crowded(identities: Identities, crowd: int) -> Bools:
    """Whether more different records state the number than any one unit can have."""
    number = identities.canonical
    stated = np.bincount(number[number != ABSENT], minlength=len(identities.numbers) + 1)
    crowded: Bools = (stated > crowd)[number]
    return crowded


def _standing(
    identities: Identities,
    claim: Ints,
    fit: Ints,
    seen: Ints,
    relations: _Relations,
    differ: Bools,
    crowded: Bools,
) -> tuple[Bools, Bools, Bools]:
    """Per record whether its number is its own, and whether it is shown to be somebody else's.

    And per pair whether their number is contested.
    """
    number = identities.canonical
    size = len(identities.numbers)
    fighting = relations.contradicting & differ
    contested = np.zeros(size + 1, np.bool_)
    contested[number[relations.left[fighting]]] = True
    party = np.zeros(len(identities), np.bool_)
    party[relations.left[fighting]] = True
    party[relations.right[fighting]] = True
    party = any_by(claim, party)
    elsewhere = any_by(claim, _described_by_other_numbers(identities))
    fits = largest_by(claim, fit)
    score = np.where(party, 2 * fits + ~elsewhere, ABSENT)
    top, best = _winners(number, claim, score, seen, size)
    settled = np.zeros(size + 1, np.bool_)
    settled[number[best]] = True
    uncontested = ~contested[number] & ~crowded
    numbered = number != ABSENT
    own = numbered & ((uncontested & (fits > 0)) | best)
    lost = party & (~top | settled[number])
    disowned = numbered & ~own & (crowded | (uncontested & (fits == 0)) | lost)
    return own, disowned, contested[number[relations.left]]


def _winners(number: Ints, claim: Ints, score: Ints, seen: Ints, size: int) -> tuple[Bools, Bools]:
    """Per record whether its claim has its number's highest score, and whether it is the owner's.

    It is when no other has that score, or none that has it was met nearly as often (`MAJORITY`).
    """
    highest = np.full(size + 1, ABSENT)
    np.maximum.at(highest, number, score)
    top = (score != ABSENT) & (score == highest[number])
    rows = np.flatnonzero(top)
    support = np.bincount(claim[rows], weights=seen[rows], minlength=len(claim))
    claims, first = np.unique(claim[rows], return_index=True)
    numbers = number[rows[first]]
    order = np.lexsort((-support[claims], numbers))
    claims, numbers = claims[order], numbers[order]
    leads = np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)]
    follower = np.append(support[claims[1:]], 0.0)
    followed = np.append(~leads[1:], False)[: len(leads)]
    clear = ~followed | (support[claims] >= MAJORITY * follower[: len(claims)])
    wins = np.zeros(len(claim) + 1, np.bool_)
    wins[claims[leads & clear]] = True
    return top, top & wins[claim]


def _described_by_other_numbers(identities: Identities) -> Bools:
    """Whether the same names and birth date (or address) have another number elsewhere."""
    by_birth = combine(
        identities.first_name, identities.last_name, identities.born, absent_if_any=True
    )
    by_address = combine(
        identities.first_name, identities.last_name, identities.address, absent_if_any=True
    )
    by_address = np.where(identities.born != ABSENT, ABSENT, by_address)
    result = np.zeros(len(identities), np.bool_)
    numbered = identities.canonical != ABSENT
    for key in (by_birth, by_address):
        rows = np.flatnonzero(numbered & (key != ABSENT))
        if len(rows):
            numbers = identities.canonical[rows]
            highest, lowest = largest_by(key[rows], numbers), -largest_by(key[rows], -numbers)
            result[rows] |= highest != lowest
    return result


def _contradictions(
    identities: Identities, claim: Ints, own: Bools, relations: _Relations, contested: Bools
) -> Pairwise:
    """One pair (record, owner's record) for each two claims that contradict each other."""
    left, right = relations.pairs(relations.contradicting & contested)
    turn = own[left] & ~own[right]
    record, owner = np.where(turn, right, left), np.where(turn, left, right)
    delivered = identities.delivered
    seen = delivered[record] | delivered[owner]
    record, owner = record[seen], owner[seen]
    _, first = np.unique(np.stack([claim[record], claim[owner]]), axis=1, return_index=True)
    first = np.sort(first)
    return record[first], owner[first]
