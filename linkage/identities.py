"""Identity records as columns of small integers: what everything else in this package works on.

An identity record is what somebody was seen under: number, names, birth date, sex, address. Records
that say exactly the same are one. Texts become codes into sorted lists of distinct values, so that
comparing is comparing integers and the order in which rows came changes no code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import IDENTITY_FIELDS
from linkage.standardise import number_facts, surname_core

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

FIELDS: Final = IDENTITY_FIELDS

ABSENT: Final = -1


@dataclass(frozen=True)
class Dates:
    """Birth dates by part; 0 where a part isn't known."""

    year: Ints
    month: Ints
    day: Ints

    def take(self, rows: Ints) -> "Dates":
        """The dates of these rows, in this order."""
        return Dates(self.year[rows], self.month[rows], self.day[rows])

    def otherwise(self, other: "Dates") -> "Dates":
        """These dates, and the other's where nothing is known here."""
        known = self.year > 0
        return Dates(
            np.where(known, self.year, other.year),
            np.where(known, self.month, other.month),
            np.where(known, self.day, other.day),
        )

    @property
    def full(self) -> Bools:
        """Whether year, month and day are all known."""
        full: Bools = (self.year > 0) & (self.month > 0) & (self.day > 0)
        return full

    @property
    def packed(self) -> Ints:
        """yyyymmdd as one integer, ABSENT when nothing is known."""
        packed = self.year * 10_000 + self.month * 100 + self.day
        return np.where(self.year > 0, packed, ABSENT)


@dataclass(frozen=True)
class Identities:
    """Distinct identity records of one unit type; every array has one entry per record.

    Texts are codes (ABSENT when missing): `first_name` and `last_name` index `names` and
    `cores` (a code per name without its particle), `number` indexes `numbers`. `number` is the
    number as stated, `canonical` the one it counts as after conversions. `subject` is the position
    of the spine's subject, ABSENT for records of the delivery, which come last.
    """

    subject: Ints
    number: Ints
    canonical: Ints
    numbers: Ints
    first_name: Ints
    last_name: Ints
    names: Texts
    cores: Ints
    born: Dates
    implied: Dates
    sex: Ints
    implied_sex: Ints
    street: Ints
    streets: Texts
    house: Ints
    box: Ints
    postcode: Ints
    address: Ints

    def __len__(self) -> int:
        return len(self.subject)

    def values(self) -> dict[str, Ints]:
        """A dense code per value for the fields whose rarity counts; ABSENT when missing."""
        return {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "birth_date": combine(self.born.packed, absent_if_any=True),
            "address": self.address,
        }

    @property
    def delivered(self) -> Bools:
        """Whether a record comes from the delivery (and not from the spine)."""
        delivered: Bools = self.subject == ABSENT
        return delivered


def encode(columns: Sequence[Any]) -> tuple[list[Ints], Texts]:
    """String columns → codes into one sorted list of their distinct values."""
    arrays = [_array(column) for column in columns]
    together = pa.chunked_array(arrays, pa.string()).combine_chunks().dictionary_encode()
    order = np.asarray(pc.sort_indices(together.dictionary)).astype(np.int64)
    rank = np.empty(len(order) + 1, np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = ABSENT
    codes = rank[np.asarray(pc.fill_null(together.indices, -1)).astype(np.int64)]
    values = np.array([*together.dictionary.take(pa.array(order)).to_pylist(), ""], dtype=object)
    ends = np.cumsum([len(array) for array in arrays])[:-1]
    return list(np.split(codes, ends)), values


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def combine(*codes: Ints, absent_if_any: bool = False) -> Ints:
    """One dense code per distinct combination, in the order of the combinations.

    With `absent_if_any`, a combination of which a part is ABSENT is ABSENT itself.
    """
    whole = np.zeros(len(codes[0]), np.int64)
    for part in codes:
        packed = whole * (int(part.max(initial=ABSENT)) + 2) + part + 1
        whole = np.unique(packed, return_inverse=True)[1].astype(np.int64)
    if absent_if_any:
        missing = np.zeros(len(whole), np.bool_)
        for part in codes:
            missing |= part == ABSENT
        whole = np.where(missing, ABSENT, whole)
    return whole


def distinct_rows(table: Any, columns: Sequence[str]) -> Ints:
    """One code per distinct combination of the columns' values (missing is a value too)."""
    codes = []
    for column in columns:
        indices = _array(table[column]).dictionary_encode().indices
        codes.append(np.asarray(pc.fill_null(indices, ABSENT)).astype(np.int64))
    return combine(*codes)


def build(
    table: Any, subject: Ints, *, number: str | None, conversions: Mapping[int, int]
) -> Identities:
    """Identity records from a table with the standardised FIELDS, one line each.

    `number` names the field that holds this unit type's number, None when it has none.
    `conversions` leads from a number to the one that took its place.
    """
    (first, last), names = encode([table["first_name"], table["last_name"]])
    (street,), streets = encode([table["street"]])
    (postcode,), _ = encode([table["postcode"]])
    house, box = _house(table["house_number"])
    numbers, stated, canonical = _numbers(table, number, conversions)
    implied, implied_sex = _implied(numbers, stated, number)
    cores = np.unique([surname_core(text) for text in names], return_inverse=True)[1]
    return Identities(
        subject=subject,
        number=stated,
        canonical=canonical,
        numbers=numbers,
        first_name=first,
        last_name=last,
        names=names,
        cores=cores.astype(np.int64),
        born=birth_dates(table["birth_date"]),
        implied=implied,
        sex=_sex(table["sex"]),
        implied_sex=implied_sex,
        street=street,
        streets=streets,
        house=house,
        box=box,
        postcode=postcode,
        address=combine(postcode, street, house, absent_if_any=True),
    )


def _house(column: Any) -> tuple[Ints, Ints]:
    (codes,), values = encode([column])
    parts = [value.partition("/") for value in values]
    (house, box), _ = encode(
        [
            pa.array([number or None for number, _, _ in parts], pa.string()),
            pa.array([box or None for _, _, box in parts], pa.string()),
        ]
    )
    return house[codes], box[codes]


def birth_dates(column: Any) -> Dates:
    """Standardised birth dates by part."""
    (codes,), values = encode([column])
    parts = np.array([_date_parts(value) for value in values], np.int64).reshape(-1, 3)
    return Dates(*(parts[codes, part] for part in range(3)))


def _date_parts(value: str) -> tuple[int, int, int]:
    return (int(value[:4]), int(value[5:7]), int(value[8:])) if value else (0, 0, 0)


def _sex(column: Any) -> Ints:
    (codes,), values = encode([column])
    return np.array([{"M": 0, "F": 1}.get(value, ABSENT) for value in values], np.int64)[codes]


def _numbers(
    table: Any, field: str | None, conversions: Mapping[int, int]
) -> tuple[Ints, Ints, Ints]:
    """Distinct numbers, the stated one's code, and the code of the one it counts as."""
    rows = table.num_rows
    if field is None:
        nothing = np.full(rows, ABSENT, np.int64)
        return np.zeros(0, np.int64), nothing, nothing
    column = pc.fill_null(pc.cast(_array(table[field]), pa.int64()), ABSENT)
    values = np.asarray(column).astype(np.int64)
    present = values != ABSENT
    counts_as = np.array([conversions.get(int(n), int(n)) for n in np.unique(values)], np.int64)
    numbers = np.unique(np.concatenate([values[present], counts_as[counts_as != ABSENT]]))
    stated = np.where(present, np.searchsorted(numbers, values), ABSENT)
    became = counts_as[np.unique(values, return_inverse=True)[1]]
    canonical = np.where(present, np.searchsorted(numbers, became), ABSENT)
    return numbers, stated, canonical


def _implied(numbers: Ints, stated: Ints, field: str | None) -> tuple[Dates, Ints]:
    """Birth date and sex that a national or bis number tells; nothing for other numbers."""
    if field != "national_number":
        nothing = np.zeros(len(stated), np.int64)
        return Dates(nothing, nothing, nothing), np.full(len(stated), ABSENT, np.int64)
    facts = number_facts(np.append(numbers, 0))
    dates = Dates(facts.year, facts.month, facts.day)
    return dates.take(stated), facts.sex[stated]
