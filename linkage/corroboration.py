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

from linkage.comparison import (
    DATE,
    NAME,
    SEX,
    SURNAME,
    Levels,
    Pairs,
    compare,
    dates,
    likeness,
)
from linkage.grouping import Groups, any_by, components, largest_by, pairs_within
from linkage.identities import ABSENT, Bools, Identities, Ints, combine

CROWD: Final = {"person": 200, "enterprise": 2000}
"""A number stated with more different identity records than this is a dummy, and nobody's."""

GENERATION: Final = 12
"""Years between a parent and a child at the least: two records of one number, first name and
surname that are closer in age are one person with a wrong birth date, not father and son."""

ALIKE: Final = 0.6
"""Likeness from which two names of an enterprise don't clearly differ, at one address."""

NEARLY_EQUAL: Final = 0.9
"""The same at two addresses: half of all names begin with what the enterprise does."""

MAJORITY: Final = 3
"""Of two claims alike in all else, one that was met this many times as often is the owner's."""

Pairwise = tuple[Ints, Ints]


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

    `uses` tells for each name code how many families use it as a first name; `single` whether a
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


def uses_as_first_name(identities: Identities) -> Ints:
    """By name code: how many surnames it is met with as a first name; 0 for what is a surname.

    Swapped names make every surname look like a first name now and then. What is met as a first
    name less often than as a surname is one only if that is often, and not that much less.
    """
    first, last = identities.first_name, identities.last_name
    both = (first != ABSENT) & (last != ABSENT)
    pairs = np.unique(combine(first[both], last[both]), return_index=True)[1]
    size = len(identities.names)
    as_first = np.bincount(first[both][pairs], minlength=size)
    as_last = np.bincount(last[both][pairs], minlength=size)
    both_kinds = (as_first >= 10) & (as_first >= as_last / 5)
    return np.where((as_first > as_last) | both_kinds, as_first, 0)


def _persons(
    identities: Identities, left: Ints, right: Ints, uses: Ints, single: Bools
) -> _Relations:
    # Here any name met twice is a name in its own right, however rare.
    compared = compare(identities, identities.values(), left, right, np.minimum(uses, 2))
    first, last = compared.levels["first_name"], compared.levels["last_name"]
    perhaps = _among(first, NAME, "similar", "other_name", "initial", "missing")
    sexes_differ = compared.levels["sex"] == SEX.index("different")
    agree = _birth_dates_agree(identities, left, right)

    same = _equal_first_names(compared, uses) & (agree | _mistaken(identities, compared))
    born_equal = compared.levels["birth_date"] == DATE.index("exact")
    same |= _crosswise(identities, left, right, uses) & born_equal

    rivalled = np.zeros(len(left), np.bool_)
    unsure = np.flatnonzero(perhaps & ~same)
    rivalled[unsure] = _described_elsewhere(identities, left[unsure], right[unsure])

    misspelt = _among(first, NAME, "similar", "initial")
    family = _among(last, SURNAME, "exact", "similar", "part")
    nameless = (first == NAME.index("missing")) & family
    likely = (misspelt & (family | (last == SURNAME.index("missing")))) | nameless
    likely &= born_equal & ~same & ~rivalled & ~sexes_differ & ~(single[left] & single[right])

    unlike = _among(first, NAME, "different", "other_name")
    doubtful = misspelt & (sexes_differ | rivalled)
    contradicting = (unlike | doubtful | ~agree) & ~same & ~likely
    weak = perhaps & agree & ~rivalled & ~sexes_differ & ~same & ~likely
    return _Relations(left, right, same, likely, contradicting, weak)


def _equal_first_names(compared: Pairs, uses: Ints) -> Bools:
    """Whether the first names are equal and are first names.

    Two records with their names turned have an equal surname where the first name should stand:
    what isn't in use as a first name counts only when the name beside it agrees as well.
    """
    equal = compared.levels["first_name"] == NAME.index("exact")
    in_use = uses[compared.values["first_name"]] > 0
    beside = compared.levels["last_name"] != SURNAME.index("different")
    result: Bools = equal & (in_use | beside)
    return result


def _mistaken(identities: Identities, compared: Pairs) -> Bools:
    """Whether birth dates that don't agree are rather one person's mistake than two namesakes'.

    They are when the surnames agree, the dates are less than a generation apart, and nobody of that
    name and either date has another number.
    """
    left, right = compared.left, compared.right
    year = identities.born.otherwise(identities.implied).year
    elsewhere = _described_by_other_numbers(identities)
    family = _among(compared.levels["last_name"], SURNAME, "exact", "similar", "part")
    near = np.abs(year[left] - year[right]) < GENERATION
    result: Bools = family & near & ~elsewhere[left] & ~elsewhere[right]
    return result


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


def _among(levels: Levels, words: tuple[str, ...], *which: str) -> Bools:
    return np.isin(levels, [words.index(word) for word in which])


def _birth_dates_agree(identities: Identities, left: Ints, right: Ints) -> Bools:
    """Whether the birth dates may be one person's: alike, or each alike to what the number tells.

    A record without birth date is taken to have the one that its number tells.
    """
    born = identities.born.otherwise(identities.implied)
    alike = dates(born.take(left), born.take(right)) != DATE.index("different")
    fits = _fit(identities) == 2
    agree: Bools = alike | (fits[left] & fits[right])
    return agree


def _fit(identities: Identities) -> Ints:
    """Does the stated birth date fit the number: 2 if so, 1 when one can't tell, 0 if not."""
    level = dates(identities.born, identities.implied)
    fit = np.where(level == DATE.index("different"), 0, 2)
    return np.where(level == DATE.index("missing"), 1, fit)


def _described_elsewhere(identities: Identities, left: Ints, right: Ints) -> Bools:
    """Whether a third record with another number and the same birth date may be one of the two.

    It may be when its surname is one of theirs and its first name is as much like one of theirs as
    theirs are like each other: the twin who was given the other one's number.
    """
    result = np.zeros(len(left), np.bool_)
    family = combine(
        identities.born.otherwise(identities.implied).packed,
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
        identities.first_name, identities.last_name, identities.born.packed, absent_if_any=True
    )
    by_address = combine(
        identities.first_name, identities.last_name, identities.address, absent_if_any=True
    )
    by_address = np.where(identities.born.year > 0, ABSENT, by_address)
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
