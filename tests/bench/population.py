"""A made-up country, and two files about it, with the truth: what `make bench-linkage` links.

    .venv/bin/python -m tests.bench.population var/pop --left 1000000 --right 1000000 --seed 1

People live in households at addresses; parents give their children names, twins share a birth date,
some sons are named after their father. File A tells of 1 January 2020, file B of 1 January 2024:
in between people moved, paired, parted, died and were born. Both files have the errors of
`tests.bench.errors`. Everything follows from (recipe, seed).

It is made and written in chunks of `CHUNK` persons or so, each a random part of the whole country,
so that memory doesn't depend on the number of persons. It was written without looking at the
engine, and knows nothing of it.

Files, in the folder named (`.parquet`; with `--csv` also `.csv`):

- `a`: rec_id, nn, first_name, last_name, birth_date (ISO, 00 for an unknown part), sex (M, F),
  street, house_no, postcode, municipality, occupation;
- `b`: record (a number), insz, voornaam, naam, geboortedatum (day/month/year), geslacht (1, 2),
  straat, nummer, postcode, gemeente, beroep;
- `truth_a` (rec_id, person), `truth_b` (record, person);
- `hard`: one row per true pair (person, rec_id, record) with a flag per hard case (`CASES`).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from api.demo import names as country
from tests.bench import pools
from tests.bench.errors import Errors, Luck, file_b, plain, slip

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

CHUNK: Final = 500_000
CASES: Final = (
    "swapped_names", "moved", "moved_birth_date_differs", "moved_last_name_differs",
    "partner_name", "birth_date_default_or_missing", "birth_date_differs", "last_name_differs",
    "first_name_differs", "twin", "namesake_at_address", "bis_became_national",
    "nickname_or_initial",
)  # fmt: skip
"""The flags of `hard`. `*_differs`: both known and unlike, whatever the case and accents; `moved`:
the two rows tell of different homes; `twin`: the other one is in a file too; `namesake_at_address`:
somebody of the same first and last name lives there, as father and son do."""


def _day(text: str) -> int:
    return int(np.datetime64(text).astype(np.int64))


A_DAY: Final = _day("2020-01-01")
B_DAY: Final = _day("2024-01-01")
_FIRST_DAY: Final = _day("1915-01-01")
_PROVINCIAL = 80_000


@dataclass(frozen=True)
class Life:
    """What happens to people in the four years between the files; shares.

    One Belgian in ten moves in a year, half of them within the municipality (Statbel); a third of
    the mothers' children born now get both parents' names or the mother's.
    """

    household_moves: float = 0.22
    leaves_home: float = 0.4
    """Of grown children."""
    parts: float = 0.05
    pairs: float = 0.4
    """Of those who leave home: with somebody else who does."""
    same_municipality: float = 0.45
    same_arrondissement: float = 0.3
    new_last_name: float = 0.003
    turns_national: float = 0.35
    """Of those with a bis number."""


@dataclass(frozen=True)
class Recipe:
    """What to make: rows of either file, the share of the smaller one's persons in both."""

    left: int
    right: int
    overlap: float = 0.8
    households: Literal["families", "alone"] = "families"
    spells: float = 1.0
    """Rows per person of file B on average; `right` counts persons."""
    twins: float = 0.017
    """Of births."""
    named_after_parent: float = 0.012
    bis: float = 0.12
    """Of those whose family came from elsewhere."""
    life: Life = field(default_factory=Life)
    errors_a: Errors = field(default_factory=Errors)
    errors_b: Errors = field(default_factory=file_b)

    @property
    def common(self) -> int:
        """Persons in both files."""
        return round(self.overlap * min(self.left, self.right))

    @property
    def persons(self) -> int:
        """Persons in at least one file."""
        return self.left + self.right - self.common


@dataclass(frozen=True)
class Chunk:
    """A part of the two files: `a`, `b`, `truth_a`, `truth_b`, `hard`; and what was done to rows.

    `marks_a` and `marks_b` have a column of flags per error, row by row beside `a` and `b`.
    """

    tables: dict[str, pa.Table]
    marks_a: dict[str, Flags]
    marks_b: dict[str, Flags]


def population(recipe: Recipe, seed: int, *, chunk: int = CHUNK) -> Iterator[Chunk]:
    """The files in parts."""
    parts = max(1, round(recipe.persons / (chunk * 1.25)))
    land = _Land(np.random.default_rng([seed, 0]), max(recipe.persons, 1_000_000))
    given: npt.NDArray[np.int32] = np.zeros((B_DAY - _FIRST_DAY + 1) * 2, np.int32)
    shares = [_share(total, parts) for total in (recipe.left, recipe.right, recipe.common)]
    first = np.zeros(3, np.int64)  # persons, rows of A and rows of B so far
    for part, (left, right, common) in enumerate(zip(*shares, strict=True)):
        rng = np.random.default_rng([seed, 1, part])
        people = _People(rng, recipe, land, left + right - common, given)
        in_a, in_b = _covered(rng, people, left, right, common)
        yield _chunk(rng, recipe, people, in_a, in_b, first)


def _share(total: int, parts: int) -> list[int]:
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


class _Land:
    """Streets in postcodes; a street's weight is how many live there."""

    def __init__(self, rng: np.random.Generator, persons: int) -> None:
        places = country.places()
        residents = places.residents * rng.lognormal(0, 0.3, len(places.residents))
        count = np.maximum(3, np.round(persons / 110 * residents / residents.sum())).astype(int)
        self.municipality = np.array([int(code) for code in places.municipality[2019]])
        self.postcode = np.array([int(code) for code in places.postcode])
        arrondissement = np.array([int(code) for code in places.arrondissement[2019]])
        german = (self.municipality // 1000 == 63) & (places.postcode.astype(str) >= "4700")
        german &= np.isin(self.municipality, _GERMAN)
        place = np.repeat(np.arange(len(count)), count)
        group = np.where(german, 3, places.region)[place]
        drawn = pools.streets().draw.pick(rng, group)
        place, name = np.unique(np.stack([place, drawn]), axis=1)  # a name once in a postcode
        weight = rng.lognormal(0, 1, len(place))
        weight *= residents[place] / np.bincount(place, weight)[place]
        self.place, self.name, self.region = place, name, places.region[place]
        self.length = np.maximum(6, weight / weight.sum() * persons / 2.2 * 1.6).astype(int)
        town = np.bincount(np.unique(self.municipality, return_inverse=True)[1], places.residents)[
            np.unique(self.municipality, return_inverse=True)[1]
        ]
        self.urban = ((town > _PROVINCIAL) | (places.region == 2))[place]
        self._everywhere = np.cumsum(weight)
        self._by_area = {
            kind: self._area(code, weight)
            for kind, code in (
                ("municipality", self.municipality),
                ("arrondissement", arrondissement),
            )
        }
        native = np.where(places.region == 1, 1, 0)
        local = np.repeat(native, _LOCAL)
        self.local = pools.last_names().pick(rng, local).reshape(-1, _LOCAL)

    def _area(self, code: Integers, weight: Any) -> tuple[Integers, Any, Integers]:
        """Streets ordered by area, their cumulated weights, and each place's area."""
        _, area = np.unique(code, return_inverse=True)
        order = np.argsort(area[self.place], kind="stable")
        total = np.bincount(area[self.place], weight)
        within = weight[order] / total[area[self.place]][order]
        return order, np.cumsum(within), area

    def anywhere(self, rng: np.random.Generator, size: int) -> Integers:
        """Streets, drawn by how many live there."""
        point = rng.random(size) * self._everywhere[-1]
        at = np.searchsorted(self._everywhere, point)
        return np.asarray(np.minimum(at, len(self.place) - 1))

    def near(self, rng: np.random.Generator, street: Integers, kind: str) -> Integers:
        """Streets in the same municipality or arrondissement."""
        order, cumulated, area = self._by_area[kind]
        point = area[self.place[street]] + rng.random(len(street))
        return np.asarray(order[np.minimum(np.searchsorted(cumulated, point), len(order) - 1)])


_GERMAN: Final = (63001, 63012, 63013, 63023, 63040, 63048, 63061, 63067, 63087)
_LOCAL: Final = 40
"""Last names that a postcode has more of than the country."""


class _People:
    """Everybody of one chunk as columns, at the two dates.

    Names are positions in the pools, -1 for none; homes are positions in `street`, `number`, `box`
    (0 for none), `letter`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        recipe: Recipe,
        land: _Land,
        wanted: int,
        given: npt.NDArray[np.int32],
    ) -> None:
        self.land = land
        self._families(rng, recipe, max(20, int(wanted * 1.12)))
        self._homes(rng, int(self.household.max()) + 1)
        self._names(rng, recipe)
        self._live(rng, recipe.life)
        self._numbers(rng, recipe, given)
        self.job = rng.integers(0, len(pools.jobs()), len(self.birth))
        self.dutch = rng.random(len(self.birth)) < 0.12

    # --- who there is -----------------------------------------------------------------------

    def _families(self, rng: np.random.Generator, recipe: Recipe, persons: int) -> None:
        """Households, and who is in them: heads, partners, children, grandparents, housemates."""
        alone = recipe.households == "alone"
        kinds = (1.0, 0, 0, 0, 0, 0) if alone else (0.345, 0.215, 0.29, 0.105, 0.02, 0.025)
        households = int(persons if alone else persons / 2.15) + 8
        kind = rng.choice(len(kinds), households, p=kinds)
        everyone = np.arange(households)
        paired = everyone[(kind == 1) | (kind == 2) | (kind == 4)]
        parents = everyone[(kind == 2) | (kind == 3) | (kind == 4)]
        eldest = rng.integers(_day("1990-01-01"), B_DAY, len(parents))
        mother = np.full(households, 0.0)
        mother[parents] = eldest - 365.25 * np.clip(rng.normal(29.3, 4.8, len(parents)), 17, 44)
        for value, quantiles in ((0, _ALONE), (1, _COUPLE), (5, _MATES)):
            here = kind == value
            mother[here] = B_DAY - 365.25 * np.interp(rng.random(here.sum()), *quantiles)
        child_of, child_birth, co_twin = _children(rng, recipe.twins, parents, eldest)
        head_female = np.where(
            np.isin(kind, (1, 2, 4)), rng.random(households) < 0.015, rng.random(households) < 0.53
        )
        head_female = np.where(kind == 3, rng.random(households) < 0.82, head_female)
        partner_female = np.where(rng.random(households) < 0.03, head_female, ~head_female)[paired]
        head_birth = mother + np.where(
            np.isin(kind, (1, 2, 4)) | ((kind == 3) & ~head_female),
            -365.25 * np.clip(rng.normal(2.3, 3.8, households), -8, 18), 0,
        )  # fmt: skip
        elders, mates = everyone[kind == 4], everyone[kind == 5]
        elder_birth = head_birth[elders] - 365.25 * rng.uniform(21, 38, len(elders))
        mate_birth = mother[mates] + 365.25 * rng.normal(0, 4, len(mates))
        sizes = [households, len(paired), len(child_of), len(elders), len(mates)]
        self.household = np.concatenate([everyone, paired, child_of, elders, mates])
        self.role = np.repeat(np.arange(5), sizes)
        birth = np.concatenate([head_birth, mother[paired], child_birth, elder_birth, mate_birth])
        self.birth = np.clip(birth.astype(np.int64), _FIRST_DAY, B_DAY - 1)
        self.female = np.concatenate(
            [head_female, partner_female, rng.random(len(child_of)) < 0.488]
            + [rng.random(size) < 0.6 for size in sizes[3:]]
        )
        self.twin = np.full(len(self.birth), -1)
        first_child = households + len(paired)
        self.twin[first_child : first_child + len(child_of)] = np.where(
            co_twin >= 0, co_twin + first_child, -1
        )
        self.partner = np.full(len(self.birth), -1)
        self.partner[paired] = households + np.arange(len(paired))
        self.partner[households + np.arange(len(paired))] = paired

    def _homes(self, rng: np.random.Generator, households: int) -> None:
        self.street = self.number = self.box = self.letter = np.zeros(0, np.int64)
        self.home_a = self._build(rng, self.land.anywhere(rng, households))[self.household]

    def _build(self, rng: np.random.Generator, street: Integers) -> Integers:
        """New homes in these streets: houses, and flats in buildings that share a number."""
        size, length = len(street), self.land.length[street]
        flat = rng.random(size) < np.where(self.land.urban[street], 0.55, 0.12)
        buildings = np.maximum(1, length // 9)
        at_building = (np.floor(rng.random(size) * buildings) + 0.5) * length / buildings
        number = 1 + np.floor(np.where(flat, at_building, rng.random(size) * length)).astype(int)
        first = len(self.street)
        self.street = np.concatenate([self.street, street])
        self.number = np.concatenate([self.number, number])
        self.box = np.concatenate([self.box, np.where(flat, rng.integers(1, 16, size), 0)])
        self.letter = np.concatenate([self.letter, np.where(rng.random(size) < 0.03, 1, 0)])
        return np.arange(first, first + size)

    # --- what they are called ---------------------------------------------------------------

    def _names(self, rng: np.random.Generator, recipe: Recipe) -> None:
        count, land = len(self.birth), self.land
        heads = int(self.household.max()) + 1
        place = land.place[self.street[self.home_a]]
        region = land.region[self.street[self.home_a]]
        from_elsewhere = rng.random(heads) < np.array([0.13, 0.16, 0.45])[region[:heads]]
        elsewhere = rng.choice(np.arange(3, 8), heads, p=[0.3, 0.17, 0.23, 0.18, 0.12])
        origin = np.where(from_elsewhere, elsewhere, region[:heads])[self.household]
        mixed = (self.role == 1) & (rng.random(count) < 0.12) | (self.role == 4)
        other = pools.NATIVE + rng.integers(0, 5, mixed.sum())
        origin[mixed] = np.where(rng.random(mixed.sum()) < 0.25, other, region[mixed])
        self.origin = origin
        last = pools.last_names().pick(rng, origin)
        local = (origin < pools.NATIVE) & (rng.random(count) < 0.25)
        last[local] = land.local[place[local], rng.integers(0, _LOCAL, local.sum())]
        self.last, self.second_last = last, np.full(count, -1)
        self._inherit(rng, heads)
        self._first_names(rng, recipe.named_after_parent)
        default = (
            (origin >= pools.NATIVE)
            & (self.birth < _day("1995-01-01"))
            & (rng.random(count) < 0.06)
        )
        years = self.birth[default].astype("datetime64[D]").astype("datetime64[Y]")
        self.birth[default] = years.astype("datetime64[D]").astype(np.int64)
        self.birth = np.maximum(self.birth, _FIRST_DAY)

    def _inherit(self, rng: np.random.Generator, heads: int) -> None:
        """Children have their father's last name, some both names or the mother's."""
        child = np.flatnonzero(self.role == 2)
        head = self.household[child]
        mate = self.partner[head]
        father = np.where((mate >= 0) & self.female[head], mate, head)
        other = np.where(father == head, mate, head)
        self.last[child] = self.last[father]
        by_household = rng.random(heads)[self.household[child]]
        young = self.birth[child] >= _day("2014-06-01")
        both = (other >= 0) & young & (by_household < 0.11)
        mothers = (other >= 0) & young & (by_household > 0.95)
        self.second_last[child[both]] = self.last[other[both]]
        self.last[child[mothers]] = self.last[other[mothers]]
        elder = np.flatnonzero(self.role == 3)
        takes = ~self.female[elder] | (rng.random(len(elder)) < 0.1)
        self.last[elder[takes]] = self.last[self.household[elder[takes]]]
        spanish = (
            (self.origin == pools.SOUTHERN)
            & (self.second_last < 0)
            & (rng.random(len(self.origin)) < 0.15)
        )
        second = pools.last_names().pick(rng, np.full(spanish.sum(), pools.SOUTHERN))
        self.second_last[spanish] = second

    def _first_names(self, rng: np.random.Generator, named_after: float) -> None:
        years = self.birth.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
        group = pools.first_name_group(self.origin, self.female, years)
        draw = pools.first_names()
        self.first = draw.pick(rng, group)
        self.second = np.where(
            rng.random(len(group)) < np.where(years < 1970, 0.45, 0.3), draw.pick(rng, group), -1
        )
        child = np.flatnonzero(self.role == 2)
        for _ in range(3):  # brothers and sisters are not called the same
            key = self.household[child] * (len(draw.texts) + 1) + self.first[child]
            _, first_seen = np.unique(key, return_index=True)
            again = np.delete(child, first_seen)
            self.first[again] = draw.pick(rng, group[again])
        head = self.household[child]
        mate = self.partner[head]
        alike = np.where(self.female[head] == self.female[child], head, mate)
        after = (alike >= 0) & (rng.random(len(child)) < named_after)
        after[after] = self.female[alike[after]] == self.female[child[after]]
        self.first[child[after]] = self.first[alike[after]]
        elder = np.flatnonzero(self.role == 3)
        same = elder[rng.random(len(elder)) < 3 * named_after]
        same = same[self.female[same] == self.female[self.household[same]]]
        self.first[same] = self.first[self.household[same]]
        self.second = np.where(self.second == self.first, -1, self.second)

    # --- four years later -------------------------------------------------------------------

    def _live(self, rng: np.random.Generator, life: Life) -> None:
        heads = int(self.household.max()) + 1
        home = self.home_a.copy()
        moving = np.flatnonzero(rng.random(heads) < life.household_moves)
        new = np.arange(heads)
        new[moving] = self._build(rng, self._destination(rng, life, self.street[moving]))
        home = new[self.household]
        age = (B_DAY - self.birth) / 365.25
        grown = (self.role == 2) & (age > 19) & (age < 34)
        leaving = grown & (rng.random(len(home)) < life.leaves_home)
        leaving |= (self.role == 1) & (rng.random(len(home)) < life.parts)
        who = rng.permutation(np.flatnonzero(leaving))
        home[who] = self._build(rng, self._destination(rng, life, self.street[self.home_a[who]]))
        together = who[: int(len(who) * life.pairs) // 2 * 2].reshape(-1, 2)
        home[together[:, 1]] = home[together[:, 0]]
        self.partner_b = self.partner.copy()
        left = self.partner[who]
        self.partner_b[left[left >= 0]] = self.partner_b[who] = -1
        self.partner_b[together[:, 0]], self.partner_b[together[:, 1]] = together.T[::-1]
        self.home_b = home
        self.last_b = self.last.copy()
        changed = np.flatnonzero(rng.random(len(home)) < life.new_last_name)
        self.last_b[changed] = pools.last_names().pick(rng, self.origin[changed])

    def _destination(self, rng: np.random.Generator, life: Life, street: Integers) -> Integers:
        how = rng.random(len(street))
        near = life.same_municipality
        return np.where(
            how < near,
            self.land.near(rng, street, "municipality"),
            np.where(
                how < near + life.same_arrondissement,
                self.land.near(rng, street, "arrondissement"),
                self.land.anywhere(rng, len(street)),
            ),
        )

    # --- national and bis numbers -----------------------------------------------------------

    def _numbers(
        self, rng: np.random.Generator, recipe: Recipe, given: npt.NDArray[np.int32]
    ) -> None:
        """National numbers, each once in the whole country; `given` counts those of each day."""
        bis = (self.origin >= pools.NATIVE) & (rng.random(len(self.birth)) < recipe.bis)
        self.turned = bis & (rng.random(len(bis)) < recipe.life.turns_national)
        serial = _serials(rng, (self.birth - _FIRST_DAY) * 2 + self.female, given)
        number = _national(self.birth, self.female, serial, np.zeros(len(serial), np.int64))
        as_bis = _national(self.birth, self.female, serial, np.where(bis, 40, 0))
        self.number_a = np.where(bis, as_bis, number)
        self.number_b = np.where(bis & ~self.turned, as_bis, number)
        relatives = np.lexsort((rng.random(len(bis)), self.household))
        following = np.roll(relatives, -1)
        self.relative = np.full(len(bis), -1)
        same = self.household[relatives] == self.household[following]
        self.relative[relatives[same]] = following[same]


_ALONE: Final = (
    [0, 0.1, 0.2, 0.36, 0.5, 0.65, 0.8, 0.93, 1],
    [19, 25, 30, 40, 50, 60, 70, 82, 102],
)
_COUPLE: Final = ([0, 0.14, 0.22, 0.32, 0.56, 0.82, 0.96, 1], [21, 30, 40, 50, 60, 70, 80, 97])
_MATES: Final = ([0, 0.7, 1], [19, 30, 70])


def _children(
    rng: np.random.Generator, twins: float, parents: Integers, eldest: Integers
) -> tuple[Integers, Integers, Integers]:
    """Households of children, their birth days, and the position of each one's twin or -1."""
    count = rng.choice([1, 2, 3, 4, 5], len(parents), p=[0.40, 0.40, 0.145, 0.04, 0.015])
    order = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    gap = np.where(order == 0, 0, 365.25 * np.clip(rng.gamma(4, 0.75, len(order)), 1.0, 9))
    double = (order > 0) & (rng.random(len(order)) < 2 * twins)
    gap = np.where(double, 0, gap).astype(np.int64)
    total = np.cumsum(gap)
    start = np.repeat((np.cumsum(count) - count), count)
    birth = np.repeat(eldest, count) + total - total[start]
    mate = np.full(len(order), -1)
    second = np.flatnonzero(double)
    mate[second], mate[second - 1] = second - 1, second
    born = birth < B_DAY
    where = np.cumsum(born) - 1
    return (
        np.repeat(parents, count)[born],
        birth[born],
        np.where(mate >= 0, where[mate], -1)[born],
    )


def _serials(rng: np.random.Generator, key: Integers, given: npt.NDArray[np.int32]) -> Integers:
    """Each one's place among those born on a day of a sex, going on from `given`, in no order."""
    order = np.lexsort((rng.random(len(key)), key))
    ordered = key[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    starts = np.flatnonzero(new)
    within = np.arange(len(key)) - np.repeat(starts, np.diff(np.r_[starts, len(key)]))
    serial = np.empty(len(key), np.int64)
    serial[order] = within + given[ordered]
    given += np.bincount(key, minlength=len(given)).astype(np.int32)
    return serial


def _national(birth: Integers, female: Flags, serial: Integers, offset: Integers) -> Integers:
    """Eleven digits as a number: birth date, serial (odd for men), check digits.

    A day has 499 serials of a sex; the register goes on with month 0 and days that don't exist.
    """
    year, month, day = _parts(birth)
    over = serial // 499
    day = np.where(over > 0, (np.where(over > 0, over, 1) + day) % 100, day)
    month = np.where(over > 0, 0, month) + offset
    nine = ((year % 100) * 10_000 + month * 100 + day) * 1000
    nine += 2 * (serial % 499) + np.where(female, 2, 1)
    check = 97 - np.where(year >= 2000, nine + 2_000_000_000, nine) % 97
    return np.asarray(nine * 100 + check, np.int64)


def _parts(days: Integers) -> tuple[Integers, Integers, Integers]:
    """Years, months and days of days since 1970."""
    date = days.astype("datetime64[D]")
    year, month = date.astype("datetime64[Y]"), date.astype("datetime64[M]")
    return (
        year.astype(np.int64) + 1970,
        (month - year).astype(np.int64) + 1,
        (date - month).astype(np.int64) + 1,
    )


def _covered(
    rng: np.random.Generator, people: _People, left: int, right: int, common: int
) -> tuple[Integers, Integers]:
    """Who is in file A and who in file B: some households and some persons are in one only.

    Those born in between are in B only, as far as there is room; the oldest sooner in A only.
    """
    count = len(people.birth)
    shared = rng.random(int(people.household.max()) + 1)[people.household]
    luck = shared + rng.random(count)
    luck += np.where(
        rng.random(count) < np.clip((B_DAY - people.birth) / 365.25 - 75, 0, 25) / 40, 2, 0
    )
    newborn = people.birth >= A_DAY
    older = np.flatnonzero(~newborn)[np.argsort(luck[~newborn], kind="stable")]
    new = rng.permutation(np.flatnonzero(newborn))[: right - common]
    came = older[common : right - len(new)]
    gone = older[len(older) - (left - common) :]
    assert len(older) >= len(came) + left, "too few people were made"
    return np.concatenate([older[:common], gone]), np.concatenate([older[:common], came, new])


# --- the two files ------------------------------------------------------------------------------


@dataclass
class _Texts:
    """A column under construction: positions in a list of texts, which grows with every slip."""

    codes: npt.NDArray[np.int32]
    texts: list[str]

    def slip(self, rng: np.random.Generator, rows: Flags) -> None:
        """One error in the texts of these rows."""
        where = np.flatnonzero(rows)
        chances = rng.random((len(where), 3)).tolist()
        first = len(self.texts)
        self.texts += [
            slip(self.texts[code], (kind, at, to))
            for code, (kind, at, to) in zip(self.codes[where].tolist(), chances, strict=True)
        ]
        self.codes[where] = np.arange(first, len(self.texts))

    def column(self, missing: Flags | None = None) -> Any:
        """As Arrow texts."""
        codes = pa.array(self.codes, mask=missing)
        return pa.array(self.texts, pa.string()).take(codes)


def _texts(key: Integers, build: Callable[[int], str]) -> _Texts:
    """A text per key, built once per distinct key."""
    encoded = pa.array(key).dictionary_encode()
    texts = [build(one) for one in encoded.dictionary.to_pylist()]
    return _Texts(encoded.indices.to_numpy().astype(np.int32), texts)


class _Rows:
    """The rows of one file: who, as they were on its day, with its errors; `b`: the second one."""

    def __init__(
        self, rng: np.random.Generator, people: _People, who: Integers, late: Flags, errors: Errors,
        b: bool,
    ) -> None:  # fmt: skip
        self.rng, self.people, self.who, self.late = rng, people, who, late
        self.errors, self.b = errors, b
        self.luck = Luck(rng, len(who), errors)
        self.marks: dict[str, Flags] = {}

    def hits(self, error: str, among: Flags | None = None) -> Flags:
        """Rows on which an error falls, remembered in `marks`."""
        hit = self.luck.hits(getattr(self.errors, error))
        hit = hit if among is None else hit & among
        self.marks[error] = hit
        return hit

    def shown(self, text: str) -> str:
        """As this file writes names and streets: the second one in capitals."""
        return text.upper() if self.b else text

    def columns(self) -> list[Any]:
        """Number, first and last name, birth date, sex, address, municipality, job."""
        first, last = self.names()
        return [self.national(), first, last, self.birth(), self.sex(), *self.address(), self.job()]

    def names(self) -> tuple[Any, Any]:
        """First and last names, now and then in each other's place."""
        first, last = self.first_name(), self.last_name()
        swapped = pa.array(self.hits("swapped"))
        first, last = pc.if_else(swapped, last, first), pc.if_else(swapped, first, last)
        no_first, no_last = self.hits("missing_first"), self.hits("missing_last")
        return _without(first, no_first), _without(last, no_last)

    def first_name(self) -> Any:
        people, who, size = self.people, self.who, len(self.who)
        start, names = _with_nicknames()
        first, second = people.first[who], people.second[who]
        called = self.hits("called_second", second >= 0)
        first, second = np.where(called, second, first), np.where(called, first, second)
        second = np.where(self.luck.hits(self.errors.second_shown), second, -1)
        choice = start[first + 1] - start[first]
        nick = self.hits("nickname", choice > 0)
        chosen = start[first] + np.floor(self.rng.random(size) * choice).astype(int)
        first = np.where(nick, chosen, first)
        initial = self.hits("initial")
        parted = self.hits("hyphen_lost", _has("-")[people.first[who]] & ~nick)
        bare = self.luck.hits(self.errors.accents_lost)
        form = initial * 4 + parted * 2 + bare
        key = (first * (len(names) + 1) + second + 1) * 8 + form
        texts = _texts(key, lambda one: self.shown(_given(names, one)))
        texts.slip(self.rng, self.hits("typo_first") & ~initial)
        return texts.column()

    def last_name(self) -> Any:
        people, who, rng, size = self.people, self.who, self.rng, len(self.who)
        names = pools.last_names().texts
        last = np.where(self.late, people.last_b[who], people.last[who])
        second = people.second_last[who].copy()
        lost = self.hits("part_lost", second >= 0)
        other = lost & (rng.random(size) < 0.3)
        last = np.where(other, second, last)
        second = np.where(lost, -1, second)
        partner = np.where(self.late, people.partner_b[who], people.partner[who])
        theirs = self.hits("partner_name", (partner >= 0) & people.female[who])
        theirs_last = np.where(self.late, people.last_b[partner], people.last[partner])
        how = rng.random(size)
        second = np.where(
            theirs, np.where(how < 0.5, -1, np.where(how < 0.8, theirs_last, last)), second
        )
        last = np.where(theirs & ((how < 0.5) | (how >= 0.8)), theirs_last, last)
        particle = self.hits("particle", _particles()[last])
        form = np.where(particle, np.where(rng.random(size) < 0.75, 1, 2), 0) * 4
        form += 2 * (theirs | (rng.random(size) < 0.3)) + self.luck.hits(self.errors.accents_lost)
        key = (last * (len(names) + 1) + second + 1) * 16 + form
        texts = _texts(key, lambda one: self.shown(_family(names, one)))
        texts.slip(rng, self.hits("typo_last"))
        return texts.column()

    def birth(self) -> Any:
        """The birth date as text, with zeros for what isn't known."""
        rng = self.rng
        year, month, day = _parts(self.people.birth[self.who])
        swap = self.hits("day_month", (day <= 12) & (day != month))
        month, day = np.where(swap, day, month), np.where(swap, month, day)
        digit = self.hits("digit", ~swap)
        year, month, day = _one_digit(rng, year, month, day, digit)
        default, no_month = self.hits("first_january"), self.hits("unknown_month")
        no_day = self.hits("unknown_day") | no_month
        month, day = np.where(default, 1, month), np.where(default, 1, day)
        month, day = np.where(no_month, 0, month), np.where(no_day, 0, day)
        missing = self.hits("missing_birth")
        self.date = np.where(missing, 0, year * 10_000 + month * 100 + day)
        self.marks["uncertain_birth"] = default | no_day | missing
        return _texts(self.date, _date_b if self.b else _date_a).column(missing)

    def sex(self) -> Any:
        female = self.people.female[self.who] ^ self.hits("wrong_sex")
        texts = _Texts(female.astype(np.int32), ["1", "2"] if self.b else ["M", "F"])
        return texts.column(self.hits("missing_sex"))

    def address(self) -> list[Any]:
        """Street, house number with box, postcode, municipality code."""
        people, land, rng, size = self.people, self.people.land, self.rng, len(self.who)
        before, after = people.home_a[self.who], people.home_b[self.who]
        stale = self.hits("stale", self.late & (before != after))
        self.home = home = np.where(self.late & ~stale, after, before)
        street = people.street[home]
        name, other = land.name[street], pools.streets().other[land.name[street]]
        bilingual = (land.region[street] == 2) & (other >= 0)
        wants = people.dutch[self.who] ^ self.hits("other_language", bilingual)
        name = np.where(bilingual & wants, other, name)
        form = self.hits("type_lost") * 8 + self.luck.hits(self.errors.accents_lost) * 4
        form += np.where(self.hits("abbreviated"), rng.integers(1, 3, size), 0)
        texts = _texts(name * 16 + form, lambda one: self.shown(_street(one)))
        texts.slip(rng, self.hits("typo_street"))
        number = people.number[home]
        wrong = self.hits("wrong_number")
        number = np.where(
            wrong, np.abs(number + rng.choice([-10, -2, -1, 1, 2, 10], size)) + 1, number
        )
        box = np.where(self.hits("box_lost", people.box[home] > 0), 0, people.box[home])
        french = (land.region[street] == 1) | ((land.region[street] == 2) & ~wants)
        style = np.where(
            rng.random(size) < (0.6 if self.b else 0.02), rng.integers(2, 4, size), french
        )
        houses = _texts(((number * 32 + box) * 2 + people.letter[home]) * 4 + style, _house)
        place = land.place[street]
        astray = self.hits("wrong_postcode")
        near = np.clip(place + rng.choice([-2, -1, 1, 2], size), 0, len(land.postcode) - 1)
        mistyped = land.postcode[place] + rng.choice([-100, -20, -10, 10, 20, 100], size)
        postcode = np.where(rng.random(size) < 0.5, land.postcode[near], mistyped)
        postcode = np.where(astray, np.clip(postcode, 1000, 9999), land.postcode[place])
        return [
            texts.column(self.hits("missing_street")),
            houses.column(self.hits("missing_number")),
            _texts(postcode, str).column(self.hits("missing_postcode")),
            _texts(land.municipality[place], str).column(),
        ]

    def national(self) -> Any:
        """The national number: of this person, of a relative, mistyped, or none."""
        people, rng, size = self.people, self.rng, len(self.who)
        relative = people.relative[self.who]
        astray = self.hits("relative_nn", relative >= 0)
        whose = np.where(astray, relative, self.who)
        number = np.where(self.late, people.number_b[whose], people.number_a[whose])
        power = 10 ** rng.integers(0, 9, size)
        digit = number // power % 10
        mistyped = number + ((digit + rng.integers(1, 10, size)) % 10 - digit) * power
        number = np.where(self.hits("wrong_nn", ~astray), mistyped, number)
        text = pc.utf8_lpad(pc.cast(pa.array(number), pa.string()), 11, "0")
        if not self.b:
            cuts = ((0, 2), (2, 4), (4, 6), (6, 9), (9, 11))
            yy, mm, dd, serial, check = (pc.utf8_slice_codeunits(text, *cut) for cut in cuts)
            date = pc.binary_join_element_wise(yy, mm, dd, ".")
            text = pc.binary_join_element_wise(
                date, pc.binary_join_element_wise(serial, check, "."), "-"
            )
        return _without(text, self.hits("missing_nn"))

    def job(self) -> Any:
        """What they do for a living; another one now and then."""
        people, rng, size = self.people, self.rng, len(self.who)
        job = people.job[self.who]
        job = np.where(
            self.late & (rng.random(size) < 0.2), rng.integers(0, len(pools.jobs()), size), job
        )
        working = people.birth[self.who] < _day("2002-01-01")
        return _Texts(job.astype(np.int32), pools.jobs()).column(
            self.hits("missing_job") | ~working
        )


def _without(column: Any, missing: Flags) -> Any:
    return pc.if_else(pa.array(missing), pa.scalar(None, column.type), column)


def _one_digit(
    rng: np.random.Generator, year: Integers, month: Integers, day: Integers, rows: Flags
) -> tuple[Integers, Integers, Integers]:
    """One wrong digit in these rows: in the day (half of them), the month or the year."""
    size = len(rows)
    which = np.where(rows, rng.integers(0, 8, size), 8)
    step = rng.choice([-10, -3, -2, -1, 1, 2, 3, 10], size)
    days, months = day + step, month + step
    days = np.where((days >= 1) & (days <= 28), days, day % 28 + 1)
    months = np.where((months >= 1) & (months <= 12), months, month % 12 + 1)
    years = np.where(year + step < 2024, year + step, year - 10)
    wrong_month = (which >= 4) & (which < 6)
    day = np.where(which < 4, days, np.where(wrong_month, np.minimum(day, 28), day))
    year_wrong = (which >= 6) & (which < 8)
    day = np.where(year_wrong & (month == 2), np.minimum(day, 28), day)
    return np.where(year_wrong, years, year), np.where(wrong_month, months, month), day


def _date_a(date: int) -> str:
    return f"{date // 10_000:04d}-{date // 100 % 100:02d}-{date % 100:02d}"


def _date_b(date: int) -> str:
    return f"{date % 100:02d}/{date // 100 % 100:02d}/{date // 10_000:04d}"


def _with_nicknames() -> tuple[Integers, list[str]]:
    """First names followed by nicknames; those of name i are at start[i] up to start[i + 1]."""
    names = pools.first_names().texts
    informal = pools.nicknames()
    counts = np.zeros(len(names) + 1, np.int64)
    for name, others in informal.items():
        counts[name + 1] = len(others)
    start = len(names) + np.cumsum(counts)
    return start, names + [other for name in sorted(informal) for other in informal[name]]


def _has(sign: str) -> Flags:
    return np.array([sign in name for name in pools.first_names().texts])


_GLUED: Final = (
    "Vanden", "Vander", "Vande", "Op de ", "Van den ", "Van der ", "Van de ", "Van 't ", "De la ",
    "De ", "Van ", "Den ", "El ", "Di ", "La ", "Ben ",
)  # fmt: skip
_APART: Final = {"Vanden": "Van den ", "Vander": "Van der ", "Vande": "Van de "}


def _particles() -> Flags:
    return np.array([name.startswith(_GLUED) for name in pools.last_names().texts])


def _given(names: list[str], key: int) -> str:
    """First names of a key: (first, second or none, form)."""
    pair, form = divmod(key, 8)
    first, second = divmod(pair, len(names) + 1)
    text = names[first]
    if form & 2:
        text = text.replace("-", " ")
    if form & 4:
        text = text[0] + "."
    if second:
        text += " " + names[second - 1]
    return plain(text) if form & 1 else text


def _family(names: list[str], key: int) -> str:
    """Last names of a key: (first, second or none, form)."""
    pair, form = divmod(key, 16)
    first, second = divmod(pair, len(names) + 1)
    text = _otherwise(names[first], form // 4)
    if second:
        text += ("-" if form & 2 else " ") + names[second - 1]
    return plain(text) if form & 1 else text


def _otherwise(name: str, form: int) -> str:
    """A last name with its particle written together or apart (1) or left out (2)."""
    prefix = next((prefix for prefix in _GLUED if name.startswith(prefix)), "")
    rest = name[len(prefix) :]
    if form == 0 or not prefix or len(rest) < 3:
        return name
    if form == 2:
        return rest[0].upper() + rest[1:]
    if prefix in _APART:
        return _APART[prefix] + rest[0].upper() + rest[1:]
    return prefix.replace(" ", "").capitalize() + rest.lower()


_ABBREVIATED: Final = (
    ("straat", "str.", "str"), ("steenweg", "stwg", "stw."), ("laan", "ln.", "ln"),
    ("plein", "pl.", "pln"), ("Avenue ", "Av. ", "Ave "), ("Boulevard ", "Bd ", "Boul. "),
    ("Chaussée ", "Ch. ", "Chée "), ("Rue ", "R. ", "R "), ("Place ", "Pl. ", "Pl "),
    ("Chemin ", "Ch. ", "Chem. "), ("Square ", "Sq. ", "Sq "), ("Sint-", "St.-", "St "),
    ("Saint-", "St-", "St "), ("Sainte-", "Ste-", "Ste "), ("Onze-Lieve-Vrouw", "O.L.V.", "OLV"),
    ("Burgemeester ", "Burg. ", "Bgm "), ("Koningin ", "Kon. ", "Kgin "), ("straße", "str.", "str"),
)  # fmt: skip


def _street(key: int) -> str:
    """A street name of a key: (name, form)."""
    name, form = divmod(key, 16)
    text = pools.streets().texts[name]
    if form & 3:
        for full, *short in _ABBREVIATED:
            text = text.replace(full, short[(form & 3) - 1])
    if form & 8 and " " in text:
        text = text.split(" ", 1)[1]
    return plain(text) if form & 4 else text


def _house(key: int) -> str:
    """A house number with its box, of a key: (number, box or 0, letter, style)."""
    rest, style = divmod(key, 4)
    rest, letter = divmod(rest, 2)
    number, box = divmod(rest, 32)
    text = f"{number}{'A' * letter}"
    return text + (" bus ", " bte ", "/", " b")[style] + str(box) if box else text


_NAMES_A: Final = (
    "rec_id", "nn", "first_name", "last_name", "birth_date", "sex", "street", "house_no",
    "postcode", "municipality", "occupation",
)  # fmt: skip
_NAMES_B: Final = (
    "record", "insz", "voornaam", "naam", "geboortedatum", "geslacht", "straat", "nummer",
    "postcode", "gemeente", "beroep",
)  # fmt: skip


def _chunk(
    rng: np.random.Generator, recipe: Recipe, people: _People, in_a: Integers, in_b: Integers,
    first: Integers,
) -> Chunk:  # fmt: skip
    """Both files' rows about these people; `first` counts persons and rows and goes on."""
    times = np.ones(len(in_b), np.int64)
    if recipe.spells > 1:
        times += rng.poisson(recipe.spells - 1, len(in_b))
    rows_a, rows_b = rng.permutation(in_a), rng.permutation(np.repeat(in_b, times))
    late = np.ones(len(rows_b), np.bool_)
    if recipe.spells > 1:  # some spells are of before
        late = (rng.random(len(rows_b)) < 0.6) | (people.birth[rows_b] >= A_DAY)
    a = _Rows(rng, people, rows_a, np.zeros(len(rows_a), np.bool_), recipe.errors_a, b=False)
    b = _Rows(rng, people, rows_b, late, recipe.errors_b, b=True)
    numbers_a = _scattered(first[1] + np.arange(len(rows_a)), 387_420_489)
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers_a), pa.string()), 9, "0")
    id_a = pc.binary_join_element_wise("A", digits, "")
    id_b = pa.array(_scattered(first[2] + np.arange(len(rows_b)), 618_033_989))
    table_a = pa.table([id_a, *a.columns()], names=list(_NAMES_A))
    table_b = pa.table([id_b, *b.columns()], names=list(_NAMES_B))
    person_a, person_b = first[0] + rows_a, first[0] + rows_b
    hard = _hard(people, a, b, table_a, table_b)
    pairs = hard.pop("left"), hard.pop("right")
    tables = {
        "a": table_a,
        "b": table_b,
        "truth_a": pa.table({"rec_id": id_a, "person": person_a}),
        "truth_b": pa.table({"record": id_b, "person": person_b}),
        "hard": pa.table(
            {
                "person": person_a[pairs[0]],
                "rec_id": id_a.take(pairs[0]),
                "record": id_b.take(pairs[1]),
            }
            | {case: hard[case] for case in CASES}
        ),
    }
    first += [len(people.birth), len(rows_a), len(rows_b)]
    return Chunk(tables, a.marks, b.marks)


def _scattered(numbers: Integers, step: int) -> Integers:
    """Other numbers below 10⁹, each once, in no order: a row's id says nothing of its place."""
    return np.asarray((numbers * step + 12_345) % 1_000_000_000, np.int64)


def _hard(
    people: _People, a: _Rows, b: _Rows, table_a: pa.Table, table_b: pa.Table
) -> dict[str, Any]:
    """True pairs as row numbers `left` and `right`, and their flags."""
    at = np.full(len(people.birth), -1)
    at[a.who] = np.arange(len(a.who))
    right = np.flatnonzero(at[b.who] >= 0)
    left = at[b.who[right]]
    who = a.who[left]
    met = np.zeros(len(at), np.bool_)
    met[a.who] = met[b.who] = True

    def either(mark: str) -> Flags:
        return np.asarray(a.marks[mark][left] | b.marks[mark][right])

    def one(mark: str) -> Flags:
        return np.asarray(a.marks[mark][left] ^ b.marks[mark][right])

    def differs(ours: str, theirs: str) -> Flags:
        unlike = pc.not_equal(
            _folded(table_a[ours]).take(left), _folded(table_b[theirs]).take(right)
        )
        return np.asarray(pc.fill_null(unlike, False).to_numpy(zero_copy_only=False))

    moved = a.home[left] != b.home[right]
    dates = a.date[left], b.date[right]
    birth = (dates[0] != dates[1]) & (dates[0] > 0) & (dates[1] > 0)
    last = differs("last_name", "naam")
    twin = people.twin[who]
    return {
        "left": left,
        "right": right,
        "swapped_names": one("swapped"),
        "moved": moved,
        "moved_birth_date_differs": moved & birth,
        "moved_last_name_differs": moved & last,
        "partner_name": one("partner_name"),
        "birth_date_default_or_missing": either("uncertain_birth"),
        "birth_date_differs": birth,
        "last_name_differs": last,
        "first_name_differs": differs("first_name", "voornaam"),
        "twin": (twin >= 0) & met[twin],
        "namesake_at_address": _namesakes(people, met)[who],
        "bis_became_national": people.turned[who] & b.late[right],
        "nickname_or_initial": either("nickname") | either("initial"),
    }


def _namesakes(people: _People, met: Flags) -> Flags:
    """Persons who share home, first and last name with another one who is in a file."""
    alike = np.zeros(len(met), np.bool_)
    here = np.flatnonzero(met)
    for home in (people.home_a, people.home_b):
        key = np.stack([home[here], people.first[here], people.last[here]])
        _, inverse, counts = np.unique(key, axis=1, return_inverse=True, return_counts=True)
        alike[here] |= counts[inverse.ravel()] > 1
    return alike


def _folded(column: Any) -> Any:
    """Texts without accents, case and signs."""
    encoded = column.combine_chunks().dictionary_encode()
    folded = [
        "".join(filter(str.isalpha, plain(text).upper())) for text in encoded.dictionary.to_pylist()
    ]
    return pa.array(folded, pa.string()).take(encoded.indices)


_PLAIN: Final = {"rec_id", "record", "nn", "insz", "person"}
"""Columns whose values are all different: no dictionary helps."""


def write(folder: Path, recipe: Recipe, seed: int, *, csv: bool = False) -> None:
    """Write the files of a recipe into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, list[Any]] = {}
    try:
        for chunk in population(recipe, seed):
            for name, table in chunk.tables.items():
                if name not in writers:
                    kept = [column for column in table.column_names if column not in _PLAIN]
                    to = folder / f"{name}.parquet"
                    writers[name] = [pq.ParquetWriter(to, table.schema, use_dictionary=kept)]
                    if csv:
                        writers[name].append(pa.csv.CSVWriter(folder / f"{name}.csv", table.schema))
                for writer in writers[name]:
                    writer.write_table(table)
    finally:
        for opened in writers.values():
            for writer in opened:
                writer.close()


def main() -> None:
    """Write files from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--left", type=int, default=100_000)
    parser.add_argument("--right", type=int, default=100_000)
    parser.add_argument("--overlap", type=float, default=0.8)
    parser.add_argument("--households", choices=("families", "alone"), default="families")
    parser.add_argument("--spells", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--csv", action="store_true")
    given = vars(parser.parse_args())
    folder, seed, csv = given.pop("folder"), given.pop("seed"), given.pop("csv")
    write(folder, Recipe(**given), seed, csv=csv)


if __name__ == "__main__":
    main()
