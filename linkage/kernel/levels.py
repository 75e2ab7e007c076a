"""How a pair of records compares, field by field: each comparison ends in one of a few levels.

A level is the place of a word in `Comparison.words`; 0 is always `missing` (no evidence) and 1
always `exact`. Levels come in three steps, each dearer than the one before and needed by fewer
pairs: `possible` tells from nothing but equality of codes which levels there can be, `glance`
works with integers and gives of each text the best level that it can still reach, `settle` compares
texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linkage.kernel.alike import ceiling, contained, likeness, may_be_slip, slip
from linkage.kernel.columns import MISSING, Bools, Codes, Encoded, Vocabulary, date_parts

Levels = npt.NDArray[np.int8]
Rates = tuple[float, float, float]
"""How often a level occurs between records of one unit (m), of two members of one household (h),
of two units with nothing in common (u)."""

COMMON: Final = 0.02
"""A name this much rarer than the one it resembles is rather a typing error than another name."""
CLOSE: Final = 0.92
SIMILAR: Final = 0.84
EXACT: Final = 1
GENERATION: Final = 15
"""Years between births from which two of one name are rather parent and child."""


class Pairs:
    """Pairs of rows and, on demand, what their parts say; some have their names across."""

    def __init__(self, encoded: Encoded, left: Any, right: Any) -> None:
        self.encoded, self.left, self.right = encoded, left, right
        self._crossed: Bools | None = None
        self._known = not {"head", "last"} <= set(encoded.parts)

    def may_be_crossed(self, which: Bools) -> None:
        """Say of which pairs a first name stands in the other's last name: no others are."""
        rows = np.flatnonzero(which)
        self._known = True
        if len(rows):
            crossed = _crossed(self.some(rows))
            if crossed is not None:
                self._crossed = np.zeros(len(self), np.bool_)
                self._crossed[rows] = crossed

    @property
    def crossed(self) -> Bools | None:
        """Which pairs have first and last name across; None if none has."""
        if not self._known:
            self._crossed, self._known = _crossed(self), True
        return self._crossed

    def __len__(self) -> int:
        return len(self.left)

    def straight(self, part: str) -> tuple[Codes, Codes]:
        """The codes of a part on both sides."""
        encoded = self.encoded
        return encoded.a.codes[part][self.left], encoded.b.codes[part][self.right]

    def codes(self, part: str) -> tuple[Codes, Codes]:
        """The same, names put across where first and last name changed places."""
        left, right = self.straight(part)
        if self.crossed is not None and part in _ACROSS:
            for side, (codes, other) in enumerate(zip((left, right), _ACROSS[part], strict=True)):
                rows, place = (
                    (self.encoded.a, self.left) if side == 0 else (self.encoded.b, self.right)
                )
                codes[self.crossed] = rows.codes[other][place[self.crossed]]
        return left, right

    def some(self, rows: Any) -> "Pairs":
        """A few of the pairs."""
        some = Pairs.__new__(Pairs)
        some.encoded = self.encoded
        some.left, some.right = self.left[rows], self.right[rows]
        some._known = self._known
        some._crossed = None if self._crossed is None else self._crossed[rows]
        return some


_ACROSS: Final = {
    "given": ("joined", "last"),
    "head": ("joined", "last"),
    "last": ("last", "joined"),
}
"""What is compared, left and right, where names are across."""


def _crossed(pairs: Pairs) -> Bools | None:
    """Whether first and last name of one stand in the other's last and first name.

    One of them must agree exactly across, none straight, and the other must be alike, a nickname,
    an initial, or a part of the other (a partner's name).
    """
    first, last = pairs.straight("joined"), pairs.straight("last")
    one = (first[0] == last[1]) & (first[0] >= 0)
    other = (last[0] == first[1]) & (last[0] >= 0)
    crossed: Bools = (one | other) & (first[0] != first[1]) & (last[0] != last[1])
    rows = np.flatnonzero(crossed & ~(one & other))
    if not len(rows):
        return crossed if crossed.any() else None
    words = pairs.encoded.vocabularies["last"]
    left = np.where(one[rows], last[0][rows], first[0][rows])
    right = np.where(one[rows], first[1][rows], last[1][rows])
    present = (left >= 0) & (right >= 0)
    crossed[rows[~present]] = False
    rows, left, right = rows[present], left[present], right[present]
    nick = words.nicknames[left]
    fits = (nick >= 0) & (nick == words.nicknames[right])
    fits |= _initial(words, left, right) | contained(words, left, right)
    alike = np.flatnonzero(~fits & (ceiling(words, left, right) >= SIMILAR))
    fits[alike] = likeness(words, left[alike], right[alike]) >= SIMILAR
    crossed[rows[~fits]] = False
    return crossed


def _initial(words: Vocabulary, left: Codes, right: Codes) -> Bools:
    """Whether one text is a single letter, with which the other begins."""
    one: Bools = np.minimum(words.lengths[left], words.lengths[right]) == 1
    one &= words.starts[left] & 0xFF == words.starts[right] & 0xFF
    return one


class Comparison(ABC):
    """One field, or several that only make sense together."""

    name: str
    words: tuple[str, ...]
    rates: Mapping[str, Rates]
    """What is usual in registers: where the estimation starts, and what it falls back on."""
    rarity: Mapping[str, str]
    """Levels at which u is the share of rows with that very value of a part."""
    atoms: tuple[str, ...]
    """Parts whose equality tells which levels are possible."""
    rare: Mapping[str, tuple[str, float]] = {}
    """Levels that an error hardly makes: how often at most beside another level, for one unit."""
    hints: Mapping[str, str] = {}
    """Coarser codes made of atoms, whose equality says more about which levels are possible."""
    cost: int = 4
    """How dear a glance is beside others: the cheap come first."""

    def level(self, word: str) -> int:
        """The number of a level."""
        return self.words.index(word)

    @abstractmethod
    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        """Levels that a pair can have whose atoms and hints are so far known."""

    def hinted(self, codes: Codes, words: Vocabulary | None) -> Mapping[str, Codes]:  # noqa: ARG002
        """The hints of rows whose atom has these codes; MISSING where it is."""
        return {}

    @abstractmethod
    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        """Levels, and which of them are only the best that can still be reached."""

    def settle(self, pairs: Pairs, levels: Levels, rows: Any) -> None:
        """Give the open `rows` their level, comparing texts."""
        raise NotImplementedError  # a comparison with nothing open isn't asked


class _One(Comparison):
    """A comparison of a single part, whose equality is the level `exact`."""

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        (atom,) = self.atoms
        if missing[atom]:
            return ("missing",)
        return ("exact",) if equal[atom] else self.words[2:]


class Text(_One):
    """A text with nothing to know about it but its letters."""

    words = ("missing", "exact", "close", "similar", "different")

    def __init__(self, name: str, part: str, rates: Mapping[str, Rates]) -> None:
        self.name, self.rates = name, rates
        self.atoms, self.rarity = (part,), {"exact": part}

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        (part,) = self.atoms
        left, right = pairs.codes(part)
        levels = np.full(len(left), self.level("different"), np.int8)
        levels[left == right] = EXACT
        absent = (left < 0) | (right < 0)
        levels[absent] = 0
        rows = np.flatnonzero((left != right) & ~absent)
        best = ceiling(pairs.encoded.vocabularies[part], left[rows], right[rows])
        levels[rows] = self._graded(best)
        open_ = np.zeros(len(left), np.bool_)
        open_[rows[best >= SIMILAR]] = True
        return levels, open_

    def settle(self, pairs: Pairs, levels: Levels, rows: Any) -> None:
        (part,) = self.atoms
        left, right = pairs.some(rows).codes(part)
        levels[rows] = self._graded(likeness(pairs.encoded.vocabularies[part], left, right))

    def _graded(self, score: Any) -> Any:
        far, near, close = (self.level(word) for word in ("different", "similar", "close"))
        return np.where(score >= CLOSE, close, np.where(score >= SIMILAR, near, far)).astype(
            np.int8
        )


class Code(_One):
    """Equal or not; nothing in between."""

    cost = 0

    words = ("missing", "exact", "different")

    def __init__(self, name: str, part: str, rates: Mapping[str, Rates]) -> None:
        self.name, self.rates = name, rates
        self.atoms, self.rarity = (part,), {"exact": part}

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        left, right = pairs.codes(self.atoms[0])
        levels = np.where(left == right, np.int8(EXACT), np.int8(2))
        levels[(left < 0) | (right < 0)] = 0
        return levels, None


class Number(_One):
    """A national or enterprise number: equal, one digit wrong or two exchanged, another."""

    words = ("missing", "exact", "digit", "different")
    rarity: Mapping[str, str] = {}

    def __init__(self, name: str) -> None:
        self.name, self.atoms = name, (name,)
        self.rates = {
            "exact": (0.97, 0.001, 1e-7),
            "digit": (0.010, 0.001, 1e-6),
            "different": (0.020, 0.998, 1.0),
        }

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        left, right = pairs.codes(self.name)
        levels = np.full(len(left), self.level("different"), np.int8)
        rows = np.flatnonzero((left != right) & (left >= 0) & (right >= 0))
        levels[rows[one_slip(left[rows], right[rows], 11)]] = self.level("digit")
        levels[left == right] = EXACT
        levels[(left < 0) | (right < 0)] = 0
        return levels, None


def one_slip(left: Any, right: Any, digits: int) -> Bools:
    """Whether integers differ in one decimal digit, or in two exchanged neighbours."""
    gap = np.abs(left.astype(np.int64) - right.astype(np.int64))
    result = np.zeros(len(left), np.bool_)
    for place in range(digits):
        power = 10**place
        one = (gap % power == 0) & (gap // power < 10) & (gap > 0)
        # one digit at this place: all above it agree
        one &= left // (power * 10) == right // (power * 10)
        result |= one
        if place:
            low, rest = power // 10, power * 10
            swap = left // rest == right // rest
            swap &= (left // power % 10 == right // low % 10) & (
                left // low % 10 == right // power % 10
            )
            result |= swap & (left % low == right % low) & (gap > 0)
    return result


class FirstName(Comparison):
    """Given names: the whole, the first one, a nickname, an initial, likeness."""

    name = "first_name"
    cost = 2
    words = (
        "missing",
        "exact",
        "head",
        "second",
        "nickname",
        "initial",
        "close",
        "similar",
        "other_name",
        "different",
    )
    rates: Mapping[str, Rates] = {
        "exact": (0.860, 0.004, 0.004),
        "head": (0.040, 0.002, 0.002),
        "second": (0.010, 0.003, 0.003),
        "nickname": (0.020, 0.003, 0.003),
        "initial": (0.015, 0.005, 0.005),
        "close": (0.030, 0.001, 0.001),
        "similar": (0.010, 0.003, 0.003),
        "other_name": (0.005, 0.020, 0.015),
        "different": (0.020, 0.962, 0.967),
    }
    rarity: Mapping[str, str] = {"exact": "given", "head": "head"}
    atoms = ("head",)

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        if missing["head"]:
            return ("missing",)
        return ("exact", "head") if equal["head"] else self.words[3:]

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        words = pairs.encoded.vocabularies["head"]
        head, other = pairs.codes("head")
        levels = np.full(len(head), self.level("different"), np.int8)
        absent = (head < 0) | (other < 0)
        equal = head == other
        rows = np.flatnonzero(~(equal | absent))
        one, two = head[rows], other[rows]
        nick = words.nicknames[one]
        best = self._graded(ceiling(words, one, two))
        best[may_be_slip(words, one, two)] = self.level("close")
        best[_initial(words, one, two)] = self.level("initial")
        best[(nick >= 0) & (nick == words.nicknames[two])] = self.level("nickname")
        best[self._called_by_second(pairs, rows, one, two)] = self.level("second")
        levels[rows] = best
        levels[equal] = self.level("head")
        rows = np.flatnonzero(equal)
        left, right = pairs.some(rows).codes("given")
        levels[rows[left == right]] = EXACT
        levels[self._written_as_one(pairs)] = EXACT
        levels[absent] = 0
        return levels, (levels == self.level("close")) | (levels == self.level("similar"))

    @staticmethod
    def _written_as_one(pairs: Pairs) -> Bools:
        """Whether all given names are the same but for spaces (ANNE MARIE, ANNEMARIE)."""
        left, right = pairs.straight("joined")
        same: Bools = (left == right) & (left >= 0)
        if pairs.crossed is not None:
            same &= ~pairs.crossed
        return same

    @staticmethod
    def _called_by_second(pairs: Pairs, rows: Any, one: Codes, two: Codes) -> Bools:
        """Whether the first name of one is the second of the other, by which one may be called."""
        left = pairs.encoded.a.codes["second"][pairs.left[rows]]
        right = pairs.encoded.b.codes["second"][pairs.right[rows]]
        called: Bools = (left == two) | (right == one)
        return called

    def settle(self, pairs: Pairs, levels: Levels, rows: Any) -> None:
        words = pairs.encoded.vocabularies["head"]
        left, right = pairs.some(rows).codes("head")
        found = self._graded(likeness(words, left, right))
        slipped = slip(words, left, right) & (found == self.level("different"))
        found[slipped] = self.level("similar")
        both = _both_common(pairs.encoded.counts["head"], left, right)
        found[both & (found != self.level("different"))] = self.level("other_name")
        levels[rows] = found

    def _graded(self, score: Any) -> Any:
        far, near, close = (self.level(word) for word in ("different", "similar", "close"))
        return np.where(score >= CLOSE, close, np.where(score >= SIMILAR, near, far)).astype(
            np.int8
        )


def _both_common(counts: Any, left: Codes, right: Codes) -> Bools:
    """Whether both values are names in their own right, and not one the other's misspelling."""
    rarer = np.minimum(counts[left], counts[right])
    both: Bools = (rarer > 2) & (rarer >= COMMON * np.maximum(counts[left], counts[right]))
    return both


class LastName(Comparison):
    """Family names: equal, a part of the other (particle, partner's name), likeness."""

    name = "last_name"
    cost = 3
    words = ("missing", "exact", "part", "close", "similar", "other_name", "different")
    rates: Mapping[str, Rates] = {
        "exact": (0.900, 0.700, 0.0010),
        "part": (0.020, 0.020, 0.0010),
        "close": (0.035, 0.003, 0.0006),
        "similar": (0.010, 0.003, 0.0015),
        "other_name": (0.003, 0.010, 0.0100),
        "different": (0.032, 0.264, 0.9859),
    }
    rarity: Mapping[str, str] = {"exact": "last"}
    atoms = ("last",)

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        if missing["last"]:
            return ("missing",)
        return ("exact",) if equal["last"] else self.words[2:]

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        words = pairs.encoded.vocabularies["last"]
        left, right = pairs.codes("last")
        levels = np.full(len(left), self.level("different"), np.int8)
        absent = (left < 0) | (right < 0)
        rows = np.flatnonzero((left != right) & ~absent)
        one, two = left[rows], right[rows]
        best = self._graded(ceiling(words, one, two))
        best[contained(words, one, two)] = self.level("part")
        bare = (
            words.bare[one] | words.bare[two]
        )  # DE SMET is a part of neither VAN SMET nor LE SMET
        best[bare & (words.cores[one] == words.cores[two])] = self.level("part")
        levels[rows] = best
        levels[left == right] = EXACT
        levels[absent] = 0
        return levels, (levels == self.level("close")) | (levels == self.level("similar"))

    def settle(self, pairs: Pairs, levels: Levels, rows: Any) -> None:
        words = pairs.encoded.vocabularies["last"]
        left, right = pairs.some(rows).codes("last")
        found = self._graded(likeness(words, left, right))
        both = _both_common(pairs.encoded.counts["last"], left, right)
        found[both & (found != self.level("different"))] = self.level("other_name")
        levels[rows] = found

    def _graded(self, score: Any) -> Any:
        far, near, close = (self.level(word) for word in ("different", "similar", "close"))
        return np.where(score >= CLOSE, close, np.where(score >= SIMILAR, near, far)).astype(
            np.int8
        )


class BirthDate(_One):
    """Dates: day and month exchanged, one digit wrong, no more than the year told, near."""

    name = "birth_date"
    cost = 1
    # who has the name and address of somebody a generation apart is rather their child
    rare: Mapping[str, tuple[str, float]] = {"generation": ("different", 0.3)}
    words = (
        "missing",
        "exact",
        "swapped",
        "digit",
        "vague",
        "near",
        "year",
        "different",
        "generation",
    )
    rates: Mapping[str, Rates] = {
        "exact": (0.930, 0.012, 0.00005),
        "swapped": (0.010, 0.0003, 0.00005),
        "digit": (0.022, 0.006, 0.0040),
        "vague": (0.014, 0.004, 0.0030),
        "near": (0.006, 0.015, 0.0100),
        "year": (0.004, 0.0120, 0.0120),
        "different": (0.011, 0.4507, 0.3709),
        "generation": (0.003, 0.5000, 0.6000),
    }
    rarity: Mapping[str, str] = {"exact": "birth_date"}
    atoms = ("birth_date",)
    hints: Mapping[str, str] = {"year": "birth_date", "day": "birth_date"}

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        if missing["birth_date"] or equal["birth_date"]:
            return ("missing" if missing["birth_date"] else "exact",)
        if equal["year"]:
            return self.words[2:]
        # two figures exchanged may belong to the year and to the month
        return ("digit", "near", *self.words[-2:]) if equal["day"] else self.words[-2:]

    def hinted(self, codes: Codes, words: Vocabulary | None) -> Mapping[str, Codes]:  # noqa: ARG002
        year, _, day = date_parts(codes)
        there = codes >= 0
        return {"year": np.where(there, year, MISSING), "day": np.where(there, day, MISSING)}

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        return self.between(*pairs.codes("birth_date")), None

    def between(self, left: Codes, right: Codes) -> Levels:
        """The levels of two columns of dates."""
        levels = np.full(len(left), self.level("different"), np.int8)
        absent = (left < 0) | (right < 0)
        rows = np.flatnonzero((left != right) & ~absent)
        levels[rows] = self._unequal(left[rows], right[rows])
        levels[left == right] = EXACT
        levels[absent] = 0
        return levels

    def _unequal(self, left: Codes, right: Codes) -> Levels:
        (year, month, day), (years, months, days) = date_parts(left), date_parts(right)
        full = (month > 0) & (day > 0) & (months > 0) & (days > 0)
        same = year == years
        vague = ((month <= 1) & (day <= 1)) | ((months <= 1) & (days <= 1))
        part = ((month == months) | (month == 0) | (months == 0)) & (
            (day == days) | (day == 0) | (days == 0)
        )
        agreeing = same.astype(np.int8) + (month == months) + (day == days)
        packed = (year * 10_000 + month * 100 + day).astype(np.int32)
        others = (years * 10_000 + months * 100 + days).astype(np.int32)
        slip = full & (agreeing > 0)
        at = np.flatnonzero(slip)
        slip[at] = one_slip(packed[at], others[at], 8)
        levels = np.full(len(left), self.level("different"), np.int8)
        levels[np.abs(year - years) >= GENERATION] = self.level("generation")
        levels[full & same] = self.level("year")
        levels[full & (agreeing == 2) & (np.abs(year - years) <= 10)] = self.level("near")
        levels[same & (vague | (~full & part))] = self.level("vague")
        levels[slip] = self.level("digit")
        levels[full & same & (month == days) & (day == months)] = self.level("swapped")
        return levels


class BirthYear(_One):
    """Years of birth."""

    name = "birth_year"
    cost = 1
    words = ("missing", "exact", "near", "different")
    rates: Mapping[str, Rates] = {
        "exact": (0.960, 0.050, 0.012),
        "near": (0.020, 0.070, 0.024),
        "different": (0.020, 0.880, 0.964),
    }
    rarity: Mapping[str, str] = {"exact": "birth_year"}
    atoms = ("birth_year",)

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        left, right = pairs.codes("birth_year")
        apart = np.abs(date_parts(left)[0] - date_parts(right)[0])
        levels = np.where(apart <= 1, self.level("near"), self.level("different")).astype(np.int8)
        levels[left == right] = EXACT
        levels[(left < 0) | (right < 0)] = 0
        return levels, None


class Sex(_One):
    """Sex, where the first name doesn't tell it already."""

    name = "sex"
    words = ("missing", "exact", "different")
    rates: Mapping[str, Rates] = {"exact": (0.985, 0.45, 0.5), "different": (0.015, 0.55, 0.5)}
    # of another first name and of the other sex is rather a brother or sister, a twin perhaps
    rare: Mapping[str, tuple[str, float]] = {"different": ("exact", 0.03)}
    rarity: Mapping[str, str] = {}
    atoms = ("sex",)

    def __init__(self, *, names: bool) -> None:
        """`names`: whether first names are compared too."""
        self._names = names

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        if missing["sex"]:
            return ("missing",)
        return ("missing", "exact") if equal["sex"] else ("different",)

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        left, right = pairs.codes("sex")
        levels = np.where(left == right, np.int8(EXACT), np.int8(2))
        levels[(left < 0) | (right < 0)] = 0
        if self._names:
            one, other = pairs.codes("head")
            levels[(one == other) & (one >= 0) & (levels == EXACT)] = 0
        return levels, None


class Address(Comparison):
    """Where somebody lives: the parts of an address, which agree and differ together."""

    name = "address"
    words = (
        "missing",
        "exact",
        "building",
        "elsewhere",
        "street",
        "postcode",
        "municipality",
        "region",
        "different",
    )
    rates: Mapping[str, Rates] = {
        "exact": (0.780, 0.850, 0.0000005),
        "building": (0.020, 0.020, 0.000002),
        "elsewhere": (0.010, 0.010, 0.000003),
        "street": (0.030, 0.010, 0.00005),
        "postcode": (0.040, 0.020, 0.003),
        "municipality": (0.010, 0.010, 0.004),
        "region": (0.030, 0.020, 0.030),
        "different": (0.080, 0.060, 0.963),
    }

    def __init__(self, parts: tuple[str, ...]) -> None:
        """`parts`: those of street, house_number, box, postcode, municipality that there are."""
        self._parts = tuple(part for part in ADDRESS_PARTS if part in parts)
        self.atoms = tuple(part for part in self._parts if part != "box")
        area = "postcode" if "postcode" in parts else "municipality"
        self._area = area if area in parts else None
        self.hints = {"region": "postcode"} if "postcode" in self.atoms else {}
        self.rarity = {"exact": "address"} | {
            part: part for part in ("street", "postcode", "municipality") if part in parts
        }

    def possible(self, equal: Mapping[str, bool], missing: Mapping[str, bool]) -> tuple[str, ...]:
        def agrees(part: str) -> bool:
            return part in equal and equal[part]

        if all(missing[part] for part in self.atoms):
            return ("missing",)
        found = ["missing"] if any(missing.values()) else []
        # streets that differ in one area may turn out to be one street misspelt
        street = agrees("street") or agrees("postcode") or agrees("municipality")
        street |= all(missing[part] for part in ("postcode", "municipality") if part in self.atoms)
        if street and ("house_number" not in equal or equal["house_number"]):
            found += ["exact", "building", "elsewhere"]
        if street:
            found.append("street")
        if agrees("postcode"):
            found.append("postcode")
        if agrees("municipality"):
            found.append("municipality")
        if agrees("region"):
            found.append("region")
        return (*found, "different")

    def hinted(self, codes: Codes, words: Vocabulary | None) -> Mapping[str, Codes]:
        if words is None:
            return {}
        regions = np.unique(_regions(words), return_inverse=True)[1]
        of_rows: Codes = np.append(regions, MISSING).astype(np.int32)[np.maximum(codes, MISSING)]
        return {"region": of_rows}

    def glance(self, pairs: Pairs) -> tuple[Levels, Bools | None]:
        states = self._states(pairs)
        open_ = self._open(pairs, states)
        return self._levels(pairs, states), open_

    def settle(self, pairs: Pairs, levels: Levels, rows: Any) -> None:
        some = pairs.some(rows)
        states = self._states(some)
        left, right = some.codes("street")
        words = pairs.encoded.vocabularies["street"]
        alike = likeness(words, left, right) >= 0.9
        alike |= contained(words, left, right)
        states["street"] = (alike, states["street"][1])
        levels[rows] = self._levels(some, states)

    def _states(self, pairs: Pairs) -> dict[str, tuple[Bools, Bools]]:
        """By part: whether it agrees, and whether it is missing on a side."""
        states = {}
        nothing = np.zeros(len(pairs), np.bool_)
        for part in ADDRESS_PARTS:
            if part not in self._parts:
                states[part] = (nothing, ~nothing)
                continue
            left, right = pairs.codes(part)
            absent = (left < 0) | (right < 0)
            states[part] = ((left == right) & ~absent, absent)
        return states

    def _open(self, pairs: Pairs, states: Mapping[str, tuple[Bools, Bools]]) -> Bools | None:
        """Streets that differ in one and the same area may be one street misspelt."""
        if "street" not in self.atoms:
            return None
        (street, no_street), (area, no_area) = states["street"], states[self._area or "street"]
        open_ = ~street & ~no_street & (area | no_area if self._area else ~street)
        rows = np.flatnonzero(open_)
        left, right = pairs.some(rows).codes("street")
        words = pairs.encoded.vocabularies["street"]
        part = words.starts[left] == words.starts[right]
        part |= words.ends[left] == words.ends[right]
        open_[rows] = (ceiling(words, left, right) >= 0.9) | part
        # the best that these can be is worked out as if the streets agreed
        states["street"][0][open_] = True
        return open_

    def _levels(self, pairs: Pairs, states: Mapping[str, tuple[Bools, Bools]]) -> Levels:
        (street, no_street), (house, no_house) = states["street"], states["house_number"]
        (postcode, no_postcode), (box, no_box) = states["postcode"], states["box"]
        municipality, no_municipality = states["municipality"]
        area = postcode | (no_postcode & municipality)
        no_area = no_postcode & no_municipality
        # without streets, the house number and the area are all there is
        named = street | (no_street & house & area if "street" not in self.atoms else False)
        door = named & (house | (no_house & ("house_number" not in self.atoms)))
        levels = np.full(len(pairs), self.level("different"), np.int8)
        levels[(no_area & no_street) | (no_area & ~named & no_house)] = 0
        region = self._region(pairs, ~area & ~no_area)
        levels[region] = self.level("region")
        levels[municipality] = self.level("municipality")
        levels[postcode] = self.level("postcode")
        levels[named & (area | no_area)] = self.level("street")
        levels[door & ~area & ~no_area] = self.level("elsewhere")
        here = door & (area | no_area) & ("street" in self.atoms)
        levels[here] = self.level("building")
        levels[here & (box | no_box)] = EXACT
        return levels

    def _region(self, pairs: Pairs, which: Bools) -> Bools:
        """Other postcodes that begin with the same two figures: the same district or the next."""
        result = np.zeros(len(pairs), np.bool_)
        if "postcode" not in self.atoms:
            return result
        rows = np.flatnonzero(which)
        left, right = pairs.some(rows).codes("postcode")
        starts = _regions(pairs.encoded.vocabularies["postcode"])
        result[rows] = (starts[left] == starts[right]) & (left >= 0) & (right >= 0)
        return result


def _regions(words: Vocabulary) -> Any:
    """What postcodes begin with: two figures."""
    return words.starts & np.uint32(0xFFFF)


ADDRESS_PARTS: Final = ("street", "house_number", "box", "postcode", "municipality")

_TEXT: Final[dict[str, Mapping[str, Rates]]] = {
    "phone": {"exact": (0.70, 0.30, 1e-6), "different": (0.30, 0.70, 1.0)},
    "email": {
        "exact": (0.70, 0.05, 1e-6),
        "close": (0.03, 0.01, 1e-5),
        "similar": (0.02, 0.04, 1e-3),
        "different": (0.25, 0.90, 0.999),
    },
    "company_name": {
        "exact": (0.80, 0.01, 1e-5),
        "close": (0.08, 0.01, 2e-5),
        "similar": (0.05, 0.01, 5e-4),
        "different": (0.07, 0.97, 0.9995),
    },
    "legal_form": {"exact": (0.90, 0.5, 0.4), "different": (0.10, 0.5, 0.6)},
    "text": {
        "exact": (0.70, 0.10, 0.02),
        "close": (0.07, 0.01, 0.003),
        "similar": (0.04, 0.02, 0.01),
        "different": (0.19, 0.87, 0.967),
    },
    "code": {"exact": (0.85, 0.15, 0.05), "different": (0.15, 0.85, 0.95)},
}


def comparisons(parts: tuple[str, ...]) -> tuple[Comparison, ...]:
    """The comparisons that the parts of two files allow."""
    found: list[Comparison] = []
    if "head" in parts:
        found.append(FirstName())
    if "last" in parts:
        found.append(LastName())
    if "birth_date" in parts:
        found.append(BirthDate())
    elif "birth_year" in parts:
        found.append(BirthYear())
    if "sex" in parts:
        found.append(Sex(names="head" in parts))
    if set(parts) & set(ADDRESS_PARTS):
        found.append(Address(parts))
    for part in parts:
        kind = part.split(":")[0]
        if kind in ("national_number", "enterprise_number"):
            found.append(Number(part))
        elif kind in ("email", "company_name", "text"):
            found.append(Text(part, part, _TEXT[kind]))
        elif kind in ("phone", "legal_form", "code"):
            found.append(Code(part, part, _TEXT[kind]))
    return tuple(found)


def compared(pairs: Pairs, which: Sequence[Comparison]) -> list[Levels]:
    """The exact level of every comparison."""
    result = []
    for one in which:
        levels, open_ = one.glance(pairs)
        if open_ is not None:
            rows = np.flatnonzero(open_)
            if len(rows):
                one.settle(pairs, levels, rows)
        result.append(levels)
    return result
