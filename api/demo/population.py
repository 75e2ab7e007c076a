"""A made-up population: young people, their parents, homes, studies and work over two years.

Everything follows from (persons, seed). The young were born between 1995 and 2010, so that those
aged 15 to 29 on 31 December are some `persons` in 2024 and again in 2025: one cohort leaves, one
enters. What holders know about these people, and get wrong, is made in `api.demo.extracts`.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from api.demo import names
from api.demo.names import Integers, Texts

Days = npt.NDArray[np.datetime64]
Flags = npt.NDArray[np.bool_]

PERIODS: Final = ("2024", "2025")
YEARS: Final = (2023, 2024, 2025)
"""The years there is something to tell of: those of the waves and the one before."""
BREAKS: Final = (15, 20, 25, 30)
QUARTERS: Final = 4
PAYERS: Final = (0.5, 0.3, 0.2)
"""The child-benefit payers' shares of the families."""

_FIRST_BIRTH: Final = np.datetime64("1995-01-01")
_WINDOW: Final = int((np.datetime64("2011-01-01") - _FIRST_BIRTH).astype(int))
_LEAD: Final = 3 * 1700  # days between an eldest and a fourth child at most
_COHORTS: Final = 16
_FAMILY_SIZES: Final = (0.60, 0.30, 0.08, 0.02)
_TWIN: Final = 0.044  # of later-born siblings; makes some 3% of the young twins
_FATHER_UNKNOWN: Final = 0.04
_MOTHER_UNKNOWN: Final = 0.005
_FATHER_ELSEWHERE: Final = 0.25
_MOVES: Final = 0.03
_CHANGES_PAYER: Final = 0.06  # families in a year
_SECOND_JOB: Final = 0.11
_STAFF: Final = 20  # employees of an enterprise on average
_BIS: Final = {"young": 0.01, "parent": 0.04}
_TURNED: Final = 0.01

ACTIVITIES: Final = {
    "01130": 0.02, "10710": 0.06, "25110": 0.04, "41000": 0.06, "43210": 0.05, "47110": 0.20,
    "47710": 0.08, "49410": 0.06, "55100": 0.03, "56110": 0.14, "62100": 0.05, "69200": 0.04,
    "78200": 0.05, "81210": 0.04, "87300": 0.05, "96210": 0.03,
}  # fmt: skip
"""Activities (NACE-BEL 2025) in which the young find work, and how often."""

# Share in education at ages 15 to 29 (and 14, 30 at the edges), and in work once out of it.
_IN_EDUCATION: Final = np.interp(
    np.arange(100),
    [15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 29],
    [0.995, 0.98, 0.88, 0.75, 0.68, 0.58, 0.42, 0.27, 0.17, 0.10, 0.06, 0.02],
)
_IN_WORK: Final = np.interp(
    np.arange(100), [15, 17, 18, 20, 22, 24, 27], [0.2, 0.25, 0.45, 0.68, 0.80, 0.85, 0.88]
)
_STUDENT_JOB: Final = np.interp(np.arange(100), [14, 16, 18, 22], [0.0, 0.08, 0.2, 0.3])
_OUT_OF_WORK_BY_REGION: Final = np.array([0.8, 1.3, 1.5])


@dataclass(frozen=True)
class Homes:
    """Addresses; people and enterprises hold positions here."""

    place: Integers
    street: Texts
    house: Texts


@dataclass(frozen=True)
class Enterprises:
    """Employers as columns: number, name, seat (a position in homes), activity, employees."""

    number: Integers
    name: Texts
    home: Integers
    activity: Texts
    employees: Integers


@dataclass(frozen=True)
class Population:
    """People as columns: the young at 0 … young-1, then mothers, then fathers.

    `number` is the national (or bis) number, `former` the bis number of those who turned national
    in the year `turned`, 0 for others; `mother` and `father` (young only) are -1 when unknown.
    `home` and the other yearly columns are keyed by year; 2023 stands for "before". `payer` is the
    child-benefit payer of each young person's family, a position in PAYERS. Work is a young ×
    quarter matrix of enterprise positions, -1 for none, and gross wages in cents.
    """

    seed: int
    young: int
    female: Flags
    birth: Days
    first_name: Texts
    last_name: Texts
    number: Integers
    former: Integers
    turned: Integers
    family: Integers
    mother: Integers
    father: Integers
    homes: Homes
    home: dict[int, Integers]
    in_education: dict[int, Flags]
    employer: dict[int, Integers]
    second_employer: dict[int, Integers]
    wage: dict[int, Integers]
    payer: dict[int, Integers]
    speaks_french: Flags
    enterprises: Enterprises

    def ages(self, year: int) -> Integers:
        """Completed years of the young on 31 December."""
        return year - self.birth[: self.young].astype("datetime64[Y]").astype(np.int64) - 1970

    def present(self, year: int) -> Integers:
        """The young who are 15 to 29 on 31 December."""
        ages = self.ages(year)
        return np.flatnonzero((ages >= BREAKS[0]) & (ages < BREAKS[-1]))

    def numbers_in(self, year: int) -> Integers:
        """Everybody's own number at the end of a year: bis until they turned."""
        return np.where(self.turned > year, self.former, self.number)

    def statuses(self, period: str, situation: int = 2025) -> Any:
        """The truth per young person present: an Arrow table.

        Columns person, age, age_class (`15-19`), arrondissement (code in the `situation` 2019 or
        2025), in_education, employed (in the period's last quarter), neet (neither).
        """
        year = int(period)
        people = self.present(year)
        ages = self.ages(year)[people]
        low = ages // 5 * 5
        in_education = self.in_education[year][people]
        employed = self.employer[year][people, -1] >= 0
        place = self.homes.place[self.home[year][people]]
        return pa.table(
            {
                "person": people,
                "age": ages,
                "age_class": [f"{age}-{age + 4}" for age in low.tolist()],
                "arrondissement": names.places().arrondissement[situation][place].tolist(),
                "in_education": in_education,
                "employed": employed,
                "neet": ~in_education & ~employed,
            }
        )


def population(persons: int, seed: int) -> Population:
    """Some `persons` young people aged 15 to 29 at each wave, with their parents."""
    rng = np.random.default_rng(seed)
    young = max(2, round(persons * _COHORTS / (_COHORTS - 1)))
    family, birth = _siblings(rng, young)
    families = int(family[-1]) + 1
    mother_birth, father_birth = _parents(rng, family, birth, families)
    births = np.concatenate([birth, mother_birth, father_birth])
    female = np.concatenate(
        [rng.random(young) < 0.49, np.ones(families, np.bool_), np.zeros(families, np.bool_)]
    )
    homes = _HomeBuilder(rng)
    family_place = homes.places(families)
    region = names.places().region[family_place][
        np.concatenate([family, np.arange(families), np.arange(families)])
    ]
    first, last = _names(rng, young, family, female, region)
    number, former, turned = _numbers(rng, births, female, young)
    enterprises = _enterprises(rng, homes, max(3, persons // 12))
    in_education, work = _careers(rng, births[:young], region[:young], len(enterprises.number))
    ages = 2024 - birth.astype("datetime64[Y]").astype(np.int64) - 1970
    home = _homes(rng, homes, family, family_place, ages, in_education[2024])
    mother = np.where(rng.random(families) < _MOTHER_UNKNOWN, -1, young + np.arange(families))
    father = np.where(
        rng.random(families) < _FATHER_UNKNOWN, -1, young + families + np.arange(families)
    )
    french = rng.random(families)
    return Population(
        seed=seed,
        young=young,
        female=female,
        birth=births,
        first_name=first,
        last_name=last,
        number=number,
        former=former,
        turned=turned,
        family=family,
        mother=mother[family],
        father=father[family],
        homes=homes.built(),
        home=home,
        in_education=in_education,
        payer=_payers(rng, family),
        speaks_french=(region[:young] == 1) | ((region[:young] == 2) & (french < 0.75)[family]),
        enterprises=enterprises,
        **work,
    )


def _siblings(rng: np.random.Generator, young: int) -> tuple[Integers, Days]:
    """Family and date of birth of each young person; siblings are neighbours, eldest first.

    Families begin long before the window, and brothers and sisters born outside of it are left
    out: so as many are born in its first year as in its last.
    """
    size = 3 * young + 64
    family = np.repeat(np.arange(size), rng.choice([1, 2, 3, 4], size=size, p=_FAMILY_SIZES))
    family = family[:size]
    later = np.concatenate([[False], family[1:] == family[:-1]])
    gap = 300 + rng.gamma(2.5, 320, size).clip(0, 1400).astype(np.int64)
    gap[rng.random(size) < _TWIN] = 0
    total = np.cumsum(np.where(later, gap, 0))
    since_eldest = total - total[np.flatnonzero(~later)][family]
    eldest = (rng.random(family[-1] + 1) * (_WINDOW + _LEAD)).astype(np.int64) - _LEAD
    day = eldest[family] + since_eldest
    inside = np.flatnonzero((day >= 0) & (day < _WINDOW))[:young]
    _, family = np.unique(family[inside], return_inverse=True)
    return family.astype(np.int64), _FIRST_BIRTH + day[inside]


def _parents(
    rng: np.random.Generator, family: Integers, birth: Days, families: int
) -> tuple[Days, Days]:
    """Dates of birth of each family's mother and father."""
    eldest = birth[np.searchsorted(family, np.arange(families))]
    mother_age = rng.normal(29.5, 4.8, families).clip(17.5, 45)
    father_age = (mother_age + rng.normal(2.3, 3.5, families)).clip(17.5, 62)
    days = [(age * 365.25).astype(np.int64) for age in (mother_age, father_age)]
    return eldest - days[0], eldest - days[1]


def _names(
    rng: np.random.Generator, young: int, family: Integers, female: Flags, region: Integers
) -> tuple[Texts, Texts]:
    everybody = len(female)
    parents = np.arange(everybody) >= young
    first = np.empty(everybody, dtype=object)
    _draw_first_names(rng, first, np.arange(everybody), parents, female, region)
    while len(again := _same_name_as_sibling(first[:young], family)):
        _draw_first_names(rng, first, again, parents, female, region)
    last = np.empty(everybody, dtype=object)
    for position, code in enumerate(names.REGIONS):
        there = np.flatnonzero(region == position)
        drawn = names.surnames(code)
        last[there] = drawn.texts[drawn.pick(rng, len(there))]
    families = (everybody - young) // 2
    mothers, fathers = last[young : young + families], last[young + families :]
    which = rng.random(families)
    of_children = np.where(which < 0.88, fathers, mothers)
    both = which > 0.96
    of_children[both] = fathers[both] + " " + mothers[both]
    last[:young] = of_children[family]
    return first, last


def _draw_first_names(
    rng: np.random.Generator,
    first: Texts,
    people: Integers,
    parents: Flags,
    female: Flags,
    region: Integers,
) -> None:
    for generation in ("child", "parent"):
        for sex in ("F", "M"):
            for position, code in enumerate(names.REGIONS):
                group = people[
                    (parents[people] == (generation == "parent"))
                    & (female[people] == (sex == "F"))
                    & (region[people] == position)
                ]
                drawn = names.first_names(generation, code, sex)
                first[group] = drawn.texts[drawn.pick(rng, len(group))]


def _same_name_as_sibling(first: Texts, family: Integers) -> Integers:
    """Later-born siblings whose first name an elder one has already."""
    _, name = np.unique(first.astype(str), return_inverse=True)
    key = family * (int(name.max()) + 1) + name
    _, earliest = np.unique(key, return_index=True)
    return np.setdiff1d(np.arange(len(first)), earliest)


def _numbers(
    rng: np.random.Generator, birth: Days, female: Flags, young: int
) -> tuple[Integers, Integers, Integers]:
    """Own number, former bis number (0: none) and the year in which it was replaced (0: never)."""
    everybody = len(birth)
    is_young = np.arange(everybody) < young
    kind = rng.random(everybody)
    bis = kind < np.where(is_young, _BIS["young"], _BIS["parent"])
    turning = np.flatnonzero(is_young & (kind > 1 - _TURNED))
    drawn = national_numbers(
        rng,
        np.concatenate([birth, birth[turning]]),
        np.concatenate([female, female[turning]]),
        np.concatenate([bis, np.ones(len(turning), np.bool_)]),
    )
    former = np.zeros(everybody, np.int64)
    turned = np.zeros(everybody, np.int64)
    former[turning] = drawn[everybody:]
    turned[turning] = rng.choice([2023, 2024, 2025], size=len(turning), p=[0.4, 0.3, 0.3])
    return drawn[:everybody], former, turned


def national_numbers(rng: np.random.Generator, birth: Days, female: Flags, bis: Flags) -> Integers:
    """Distinct valid numbers: yymmdd (month + 40 for bis), a serial odd for men, check digits."""
    order = np.lexsort((rng.random(len(birth)), bis, female, birth))
    group = np.stack([birth.astype(np.int64), female, bis])[:, order]
    first = np.concatenate([[True], (group[:, 1:] != group[:, :-1]).any(axis=0)])
    starts = np.flatnonzero(first)
    sizes = np.diff([*starts, len(order)])
    offset = (rng.random(len(starts)) * (498 - sizes)).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(starts, sizes) + np.repeat(offset, sizes)
    serial = np.empty(len(order), np.int64)
    serial[order] = rank
    serial = 2 * serial + np.where(female, 2, 1)
    year = birth.astype("datetime64[Y]").astype(np.int64) + 1970
    months = birth.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1 + np.where(bis, 40, 0)
    day = (birth - months).astype(np.int64) + 1
    body = ((year % 100 * 100 + month) * 100 + day) * 1000 + serial
    check = 97 - (body + np.where(year >= 2000, 2 * 10**9, 0)) % 97
    return np.asarray(body * 100 + check, np.int64)


def enterprise_numbers(rng: np.random.Generator, size: int) -> Integers:
    """Distinct valid enterprise numbers: ten digits, of which the first is a 0."""
    body = 2_000_000 + rng.choice(5_900_000, size=size, replace=False)
    return body * 100 + 97 - body % 97


def _enterprises(rng: np.random.Generator, homes: "_HomeBuilder", size: int) -> Enterprises:
    """Employers with a seat where people live, most of them called after a family."""
    home = homes.at(homes.places(size))
    region = names.places().region[homes.place_of(home)]
    name = np.empty(size, dtype=object)
    for position, code in enumerate(names.REGIONS):
        there = np.flatnonzero(region == position)
        family = names.surnames(code)
        trades, forms = names.TRADES[code], names.LEGAL_FORMS[code]
        name[there] = (
            names.texts(trades)[rng.integers(len(trades), size=len(there))]
            + " "
            + family.texts[family.pick(rng, len(there))]
            + " "
            + names.texts(forms)[rng.integers(len(forms), size=len(there))]
        )
    drawn = names.pick(rng, np.array([*ACTIVITIES.values()]), size)
    activity = names.texts(ACTIVITIES)[drawn]
    luck = rng.spawn(1)[0].lognormal(0, 0.3, size)
    employees = 1 + (_shares(size) * size * _STAFF * luck).astype(np.int64)
    return Enterprises(enterprise_numbers(rng, size), name, home, activity, employees)


def _shares(enterprises: int) -> npt.NDArray[np.float64]:
    """The share of the young's jobs that each enterprise has: a few are large, most small."""
    size = 1 / (np.arange(enterprises) + 5.0)
    return np.asarray(size / size.sum())


def _payers(rng: np.random.Generator, family: Integers) -> dict[int, Integers]:
    """The payer of each family's children at the end of each year; a few families change."""
    families = int(family[-1]) + 1
    shares = np.array(PAYERS)
    payer = names.pick(rng, shares, families)
    found = {}
    for year in YEARS:
        found[year] = payer[family]
        other = (payer + rng.integers(1, len(PAYERS), families)) % len(PAYERS)
        payer = np.where(rng.random(families) < _CHANGES_PAYER, other, payer)
    return found


class _HomeBuilder:
    """Draws addresses, in the proportions in which people live in places."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._parts: list[Homes] = []
        self._built = 0

    def places(self, size: int) -> Integers:
        residents = names.places().residents
        return names.pick(self._rng, residents, size)

    def place_of(self, home: Integers) -> Integers:
        """The places of homes drawn so far."""
        return np.concatenate([part.place for part in self._parts])[home]

    def at(self, place: Integers) -> Integers:
        """A new home in each of these places."""
        size = len(place)
        region = names.places().region[place]
        french = (region == 1) | ((region == 2) & (self._rng.random(size) < 0.75))
        street = np.empty(size, dtype=object)
        for language, there in (("nl", ~french), ("fr", french)):
            drawn = names.streets(language)
            street[there] = drawn.texts[drawn.pick(self._rng, int(there.sum()))]
        house = _houses(self._rng, french)
        self._parts.append(Homes(place, street, house))
        self._built += size
        return np.arange(self._built - size, self._built)

    def built(self) -> Homes:
        return Homes(
            *(
                np.concatenate([getattr(part, field) for part in self._parts])
                for field in ("place", "street", "house")
            )
        )


def _houses(rng: np.random.Generator, french: Flags) -> Texts:
    size = len(french)
    house = (1 + rng.gamma(1.2, 40, size)).astype(np.int64).astype(str).astype(object)
    kind = rng.random(size)
    flat = kind < 0.12
    box = rng.integers(1, 25, size).astype(str).astype(object)
    house[flat] = house[flat] + np.where(french[flat], " bte ", " bus ").astype(object) + box[flat]
    lettered = kind > 0.96
    house[lettered] = house[lettered] + rng.choice(names.texts("ABCD"), int(lettered.sum()))
    return house


def _homes(
    rng: np.random.Generator,
    homes: _HomeBuilder,
    family: Integers,
    family_place: Integers,
    ages: Integers,
    in_education: Flags,
) -> dict[int, Integers]:
    """Where everybody lives at the end of 2024 and 2025, and lived before."""
    families, young = len(family_place), len(family)
    nearby = np.where(rng.random(families) < 0.4, family_place, homes.places(families))
    before, house = homes.at(nearby), homes.at(family_place)
    moving = rng.random(families) < _MOVES
    next_house = house.copy()
    next_house[moving] = homes.at(homes.places(int(moving.sum())))

    alone = ~in_education & (
        rng.random(young) < np.interp(ages, [18, 22, 25, 29], [0, 0.3, 0.6, 0.8])
    )
    place = np.where(rng.random(young) < 0.5, family_place[family], homes.places(young))[alone]
    flat = homes.at(place)
    next_flat = flat.copy()
    moving = rng.random(len(flat)) < _MOVES
    next_flat[moving] = homes.at(homes.places(int(moving.sum())))

    elsewhere = rng.random(families) < _FATHER_ELSEWHERE
    fathers_house = homes.at(homes.places(families))
    home = {}
    for year, parents, own in (
        (2023, before, None),
        (2024, house, flat),
        (2025, next_house, next_flat),
    ):
        of_young = parents[family]
        if own is not None:
            of_young[alone] = own
        of_father = np.where(elsewhere, fathers_house, parents)
        home[year] = np.concatenate([of_young, parents, of_father])
    return home


def _careers(
    rng: np.random.Generator, birth: Days, region: Integers, enterprises: int
) -> tuple[dict[int, Flags], dict[str, Any]]:
    """Studies at the end of each year; employers and wages in each quarter."""
    young = len(birth)
    born = birth.astype("datetime64[Y]").astype(np.int64) + 1970
    studious, lucky, able = rng.random(young), rng.normal(size=young), rng.normal(size=young)
    regular, spare = _employers(rng, young, enterprises, len(PERIODS) * QUARTERS)
    in_education = {year: studious < _IN_EDUCATION[year - born] for year in YEARS}
    work: dict[str, Any] = {"employer": {}, "second_employer": {}, "wage": {}}
    shock = rng.normal(size=young)
    for position, year in enumerate(YEARS[1:]):
        age = year - born
        out = (1 - _IN_WORK[age]) * _OUT_OF_WORK_BY_REGION[region]
        bound = _quantile(np.where(in_education[year], _STUDENT_JOB[age], 1 - out))
        employed = np.empty((young, QUARTERS), np.bool_)
        for quarter in range(QUARTERS):
            shock = 0.6 * shock + 0.8 * rng.normal(size=young)
            employed[:, quarter] = np.sqrt(0.85) * lucky + np.sqrt(0.15) * shock < bound
        span = slice(position * QUARTERS, (position + 1) * QUARTERS)
        work["employer"][year] = np.where(employed, regular[:, span], -1)
        work["second_employer"][year] = np.where(employed, spare[:, span], -1)
        work["wage"][year] = _wages(rng, able, age, in_education[year])
    return in_education, work


def _quantile(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The normal quantile, once per distinct value."""
    distinct, codes = np.unique(share.clip(0.001, 0.999), return_inverse=True)
    inverse = NormalDist().inv_cdf
    return np.array([inverse(value) for value in distinct.tolist()])[codes]


def _employers(
    rng: np.random.Generator, young: int, enterprises: int, quarters: int
) -> tuple[Integers, Integers]:
    """Main employer by quarter (a few change), and a second one where there is one (else -1)."""
    size = _shares(enterprises)
    change = np.where(rng.random(young) < 0.35, rng.integers(1, quarters, young), quarters)
    later = np.arange(quarters) >= change[:, None]
    first, then = (names.pick(rng, size, young)[:, None] for _ in range(2))
    second = np.broadcast_to(names.pick(rng, size, young)[:, None], (young, quarters))
    return np.where(later, then, first), np.where(
        rng.random((young, quarters)) < _SECOND_JOB, second, -1
    )


def _wages(
    rng: np.random.Generator, able: npt.NDArray[np.float64], age: Integers, student: Flags
) -> Integers:
    """Gross wage of a quarter in cents, for each quarter."""
    full = 6_900 * np.exp(0.25 * able + 0.035 * (age - 18).clip(0, 12))
    base = np.where(student, 0.18, 1.0) * full
    noise = np.exp(0.08 * rng.normal(size=(len(able), QUARTERS)))
    return np.asarray(base[:, None] * noise * 100).astype(np.int64)
