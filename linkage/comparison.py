"""How alike two values are: small integers, a level per field, for many pairs at a time.

Everything here is symmetric: comparing a with b gives what comparing b with a gives. Levels are the
words of `parameters.yaml`; what likeness weighs is the model's business.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA, JaroWinkler

from linkage.identities import ABSENT, Bools, Dates, Identities, Ints, Texts

Levels = npt.NDArray[np.int8]
Likeness = npt.NDArray[np.float32]
Sides = tuple[Ints, Ints]

# The order of the words is the number of the level.
NAME: Final = ("missing", "exact", "similar", "other_name", "initial", "different")
SURNAME: Final = ("missing", "exact", "similar", "part", "different")
DATE: Final = ("missing", "exact", "swapped", "digit", "near", "same_year", "different")
SEX: Final = ("missing", "equal", "different")
ADDRESS: Final = ("missing", "same", "same_street", "same_postcode", "different")
NUMBER: Final = ("missing", "equal")
LEVELS: Final = {
    "first_name": NAME,
    "last_name": SURNAME,
    "birth_date": DATE,
    "sex": SEX,
    "address": ADDRESS,
    "number": NUMBER,
}
EXACT: Final = {
    "first_name": NAME.index("exact"),
    "last_name": SURNAME.index("exact"),
    "birth_date": DATE.index("exact"),
    "address": ADDRESS.index("same"),
}
"""The level at which two records have the very same value, which may be a rare one."""

SIMILAR: Final = 0.85
"""Jaro-Winkler similarity (Winkler 1990, prefix weight 0.1) from which two names are alike."""

RARE: Final = 0.05
"""A form of a name used this much less often than one that is much alike is a misspelling of it."""


def likeness(texts: Texts, left: Ints, right: Ints) -> Likeness:
    """Jaro-Winkler similarity of texts by code; 1 when equal, 0 when either is missing."""
    result = np.zeros(len(left), np.float32)
    present = (left != ABSENT) & (right != ABSENT)
    result[present & (left == right)] = 1.0
    rows = np.flatnonzero(present & (left != right))
    if len(rows):
        # Which text comes first matters in rare cases: it is always the one of the lower code.
        low, high = np.minimum(left[rows], right[rows]), np.maximum(left[rows], right[rows])
        result[rows] = process.cpdist(
            texts[low], texts[high], scorer=JaroWinkler.similarity, dtype=np.float32
        )
    return result


def one_slip(texts: Texts, left: Ints, right: Ints) -> Bools:
    """Whether one letter added, dropped, replaced or moved by one place makes them equal."""
    result = np.zeros(len(left), np.bool_)
    rows = np.flatnonzero((left != ABSENT) & (right != ABSENT))
    if len(rows):
        distance = process.cpdist(
            texts[left[rows]], texts[right[rows]], scorer=OSA.distance, dtype=np.int32
        )
        result[rows] = distance <= 1
    return result


def begins(texts: Texts, left: Ints, right: Ints, score: Likeness) -> Bools:
    """Whether the shorter text begins the longer (an initial, a second name written or not).

    `score` is their likeness; a text that begins another has two thirds at least.
    """
    result = np.zeros(len(left), np.bool_)
    for row in np.flatnonzero((score > 0.66) & (left != right)):
        a, b = texts[left[row]], texts[right[row]]
        result[row] = a.startswith(b) or b.startswith(a)
    return result


def dates(left: Dates, right: Dates) -> Levels:
    """How alike two birth dates are.

    `swapped`: day and month changed places. `digit`: one digit differs, or two neighbours changed
    places. `near`: two of year, month and day agree and the years are at most ten apart.
    `same_year`: the year agrees and one of them says no more than that (a part unknown, 1 January).
    """
    years = left.year == right.year
    months = left.month == right.month
    days = left.day == right.day
    full = left.full & right.full
    turned = (left.month == right.day) & (left.day == right.month)
    vague = ((left.month == 1) & (left.day == 1)) | ((right.month == 1) & (right.day == 1))
    part = (months | (left.month == 0) | (right.month == 0)) & (
        days | (left.day == 0) | (right.day == 0)
    )
    agreeing = years.astype(np.int8) + months + days
    conditions = [
        (left.year == 0) | (right.year == 0),
        full & years & months & days,
        full & years & turned,
        full & _one_digit(left.packed, right.packed),
        years & (vague | (~full & part)),
        full & (agreeing == 2) & (np.abs(left.year - right.year) <= 10),
    ]
    words = ("missing", "exact", "swapped", "digit", "same_year", "near")
    return np.select(
        conditions, [np.int8(DATE.index(word)) for word in words], np.int8(DATE.index("different"))
    )


def _one_digit(left: Ints, right: Ints) -> Bools:
    """Whether eight-digit integers differ in one digit, or in two exchanged neighbours."""
    powers = 10 ** np.arange(8)
    a = left[:, None] // powers % 10
    b = right[:, None] // powers % 10
    differs = a != b
    count = differs.sum(axis=1)
    crossed = (a[:, :-1] == b[:, 1:]) & (a[:, 1:] == b[:, :-1])
    neighbours = (differs[:, :-1] & differs[:, 1:] & crossed).any(axis=1)
    result: Bools = (count == 1) | ((count == 2) & neighbours)
    return result


@dataclass(frozen=True)
class Pairs:
    """Pairs of identity records: the level of each field, and the value both agree on exactly.

    `values` holds codes as `Identities.values` gives them, ABSENT where the two don't agree.
    """

    left: Ints
    right: Ints
    levels: dict[str, Levels]
    values: dict[str, Ints]


def compare(
    identities: Identities, values: dict[str, Ints], left: Ints, right: Ints, uses: Ints
) -> Pairs:
    """Levels of all fields but the number for the pairs (left, right) of records.

    First and last names are compared crosswise where they were swapped. `values` is
    `identities.values()`. `uses` tells for each name code how many families use it as a first name:
    of two names much alike, both are names in their own right (`other_name`) unless one is so rare
    beside the other that it is rather a typing error (`similar`).
    """
    first, last = _name_codes(identities, left, right, uses)
    alike = likeness(identities.names, *first), likeness(identities.names, *last)
    swapped = _swapped(identities.names, first, last, alike)
    rows = np.flatnonzero(swapped)
    _cross(identities.names, first, last, rows, uses)
    for scores, sides in zip(alike, (first, last), strict=True):
        scores[rows] = likeness(identities.names, sides[0][rows], sides[1][rows])
    levels = {
        "first_name": _first_names(identities.names, *first, alike[0], uses),
        "last_name": _last_names(identities, *last, alike[1]),
        "birth_date": dates(identities.born.take(left), identities.born.take(right)),
        "sex": _sexes(identities.sex[left], identities.sex[right]),
        "address": addresses(identities, left, right),
    }
    agreed = {
        "first_name": first[0],
        "last_name": last[0],
        "birth_date": values["birth_date"][left],
        "address": np.where(
            values["address"][left] == values["address"][right], values["address"][left], ABSENT
        ),
    }
    exact = {field: levels[field] == EXACT[field] for field in agreed}
    return Pairs(left, right, levels, {f: np.where(exact[f], agreed[f], ABSENT) for f in agreed})


def _name_codes(identities: Identities, left: Ints, right: Ints, uses: Ints) -> tuple[Sides, Sides]:
    """The first names and the last names of both sides.

    Where both records have them turned (what stands as first name is no first name, what stands as
    last name is one), they are read the right way: an equal surname is no equal first name.
    """
    first, last = identities.first_name, identities.last_name
    turned = (uses[first] == 0) & (uses[last] > 0) & (first != ABSENT)
    both = turned[left] & turned[right]
    return (
        (np.where(both, last[left], first[left]), np.where(both, last[right], first[right])),
        (np.where(both, first[left], last[left]), np.where(both, first[right], last[right])),
    )


def _cross(names: Texts, first: Sides, last: Sides, rows: Ints, uses: Ints) -> None:
    """Put the names of swapped pairs across, the given names under `first`.

    Which two are given names shows in what is used as a first name. Where that doesn't show, it is
    the two that are less alike, so that nothing is taken for an equal first name that may not be.
    """
    one = first[0][rows], last[1][rows]
    other = last[0][rows], first[1][rows]
    usual = [np.maximum(uses[sides[0]], uses[sides[1]]) for sides in (one, other)]
    score = [likeness(names, *sides) for sides in (one, other)]
    lower = np.minimum(*one) < np.minimum(*other)
    unclear = (score[0] < score[1]) | ((score[0] == score[1]) & lower)
    given = np.where(usual[0] == usual[1], unclear, usual[0] > usual[1])
    for side in range(2):
        first[side][rows] = np.where(given, one[side], other[side])
        last[side][rows] = np.where(given, other[side], one[side])


def _swapped(names: Texts, first: Sides, last: Sides, alike: tuple[Likeness, Likeness]) -> Bools:
    """Whether first and last name of one stand in the other's last and first name.

    One must agree exactly and the other be alike, and the names in their places must fit worse.
    """
    result = np.zeros(len(first[0]), np.bool_)
    one, other = (first[0], last[1]), (last[0], first[1])
    rows = np.flatnonzero((_agree(one) | _agree(other)) & (alike[0] + alike[1] < 2.0))
    if len(rows):
        one, other = (one[0][rows], one[1][rows]), (other[0][rows], other[1][rows])
        cross, back = likeness(names, *one), likeness(names, *other)
        slip = one_slip(names, *one) & one_slip(names, *other)
        result[rows] = ((np.minimum(cross, back) >= SIMILAR) | slip) & (
            cross + back > alike[0][rows] + alike[1][rows]
        )
    return result


def _first_names(names: Texts, left: Ints, right: Ints, score: Likeness, uses: Ints) -> Levels:
    result = np.full(len(left), NAME.index("different"), np.int8)
    close = score >= SIMILAR
    rows = np.flatnonzero(~close & (score > 0.6))
    close[rows] = one_slip(names, left[rows], right[rows])
    result[close] = NAME.index("similar")
    rarer, other = np.minimum(uses[left], uses[right]), np.maximum(uses[left], uses[right])
    result[close & (rarer > 1) & (rarer >= RARE * other)] = NAME.index("other_name")
    result[begins(names, left, right, score)] = NAME.index("initial")
    result[left == right] = NAME.index("exact")
    result[(left == ABSENT) | (right == ABSENT)] = NAME.index("missing")
    return result


def _last_names(identities: Identities, left: Ints, right: Ints, score: Likeness) -> Levels:
    result = np.full(len(left), SURNAME.index("different"), np.int8)
    same_core = identities.cores[left] == identities.cores[right]
    result[score >= 0.9] = SURNAME.index("similar")
    result[same_core | _contains(identities.names, left, right)] = SURNAME.index("part")
    result[left == right] = SURNAME.index("exact")
    result[(left == ABSENT) | (right == ABSENT)] = SURNAME.index("missing")
    return result


def _contains(texts: Texts, left: Ints, right: Ints) -> Bools:
    """Whether a surname of four letters or more is a part of the other (a partner's name added)."""
    ends = np.array([(ord(text[0]), ord(text[-1])) if text else (0, 0) for text in texts])
    may = (left != ABSENT) & (right != ABSENT) & (left != right)
    may &= (ends[left] == ends[right]).any(axis=1)
    result = np.zeros(len(left), np.bool_)
    for row in np.flatnonzero(may):
        a, b = texts[left[row]], texts[right[row]]
        short, long = (a, b) if len(a) < len(b) else (b, a)
        added = len(long) - len(short) > 2
        result[row] = added and len(short) > 3 and (long.startswith(short) or long.endswith(short))
    return result


def _sexes(left: Ints, right: Ints) -> Levels:
    result = np.where(left == right, SEX.index("equal"), SEX.index("different")).astype(np.int8)
    result[(left == ABSENT) | (right == ABSENT)] = SEX.index("missing")
    return result


def addresses(identities: Identities, left: Ints, right: Ints) -> Levels:
    """`same`: postcode, street and number agree (the street may be misspelt, no boxes differ)."""
    postcode, street, house, box = (
        (column[left], column[right])
        for column in (identities.postcode, identities.street, identities.house, identities.box)
    )
    postcodes = _agree(postcode)
    streets = _agree(street)
    rows = np.flatnonzero(postcodes & ~streets)
    streets[rows] = likeness(identities.streets, street[0][rows], street[1][rows]) >= 0.9
    houses = _agree(house) & ~_differ(box)
    no_postcode = (postcode[0] == ABSENT) | (postcode[1] == ABSENT)
    no_street = (street[0] == ABSENT) | (street[1] == ABSENT)
    conditions = [
        postcodes & streets & houses,
        (postcodes & streets) | (no_postcode & streets & houses),
        postcodes,
        no_postcode & (no_street | streets),
    ]
    words = ("same", "same_street", "same_postcode", "missing")
    return np.select(
        conditions,
        [np.int8(ADDRESS.index(word)) for word in words],
        np.int8(ADDRESS.index("different")),
    )


def _agree(sides: Sides) -> Bools:
    agree: Bools = (sides[0] == sides[1]) & (sides[0] != ABSENT)
    return agree


def _differ(sides: Sides) -> Bools:
    differ: Bools = (sides[0] != sides[1]) & (sides[0] != ABSENT) & (sides[1] != ABSENT)
    return differ
