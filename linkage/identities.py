"""Identity records as columns of small integers: what everything else in this package works on.

An identity record is what somebody was seen under: number, names, birth date, sex, address. Records
that say exactly the same are one. Texts become codes into vocabularies of distinct values, as the
kernel has them, so that comparing is comparing integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.companies import companies
from linkage.datasets import IDENTITY_FIELDS
from linkage.kernel.columns import Codes, Encoded, Side, Vocabulary, date_codes, encode_standard
from linkage.kernel.levels import Comparison, Levels, Pairs, compared, comparisons
from linkage.standardise import number_facts

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FIELDS: Final = IDENTITY_FIELDS
NUMBER_FIELDS: Final = {"person": "national_number", "enterprise": "enterprise_number"}
"""Which number each unit type has; the others have none."""
COMPANIES: Final = frozenset({"enterprise"})
"""Unit types whose last name is a company's name, with its legal form."""

ABSENT: Final = -1

_HARDLY: Final[Mapping[str, Mapping[str, tuple[str, float]]]] = {
    "first_name": {"different": ("exact", 0.1)},
    "birth_date": {"different": ("exact", 0.1)},
}
"""Levels that errors in a register hardly make (see `Comparison.rare`): in a large population so
many are called alike that namesakes would else be taken for people whose birth date is wrong."""
_LARGEST: Final = 2**62
_SEXES: Final = ("M", "F")


@dataclass(frozen=True)
class Identities:
    """Distinct identity records of one unit type; every array has one entry per record.

    `number` is the number as stated and `canonical` the one it counts as after conversions, both
    codes into `numbers`; `encoded` has what else a record says, `implied` and `implied_sex` the
    birth date and sex that its number tells. `subject` is the position of the spine's subject,
    ABSENT for records of the delivery, which come last.
    """

    subject: Ints
    number: Ints
    canonical: Ints
    numbers: Ints
    encoded: Encoded
    implied: Codes
    implied_sex: Codes

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def delivered(self) -> Bools:
        """Whether a record comes from the delivery (and not from the spine)."""
        delivered: Bools = self.subject == ABSENT
        return delivered

    def codes(self, part: str) -> Ints:
        """What each record says, ABSENT where it says nothing; parts are the kernel's."""
        codes = self.encoded.a.codes.get(part)
        return np.full(len(self), ABSENT) if codes is None else codes.astype(np.int64)

    @property
    def first_name(self) -> Ints:
        """Codes of given names, written as one word."""
        return self.codes("joined")

    @property
    def last_name(self) -> Ints:
        """Codes of last names, or names of companies."""
        return self.codes("company_name" if "company_name" in self.encoded.parts else "last")

    @property
    def names(self) -> Vocabulary:
        """What the codes of names mean."""
        for part in ("last", "company_name", "joined"):
            if part in self.encoded.vocabularies:
                return self.encoded.vocabularies[part]
        return Vocabulary(pa.array([], pa.string()))

    @property
    def born(self) -> Ints:
        """Birth dates as the kernel's codes."""
        return self.codes("birth_date")

    @property
    def born_or_implied(self) -> Ints:
        """Birth dates, and where none is stated the one that the number tells."""
        return np.where(self.born == ABSENT, self.implied, self.born)

    @property
    def address(self) -> Ints:
        """Codes of whole addresses: postcode, street and house number."""
        return self.codes("address")

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """How the records can be compared."""
        found = comparisons(self.encoded.parts)
        for one in found:
            one.rare = {**one.rare, **_HARDLY.get(one.name, {})}
        return found

    def compare(self, left: Ints, right: Ints) -> dict[str, Levels]:
        """The levels of pairs of records, by comparison."""
        found = compared(Pairs(self.encoded, left, right), self.comparisons)
        return {one.name: levels for one, levels in zip(self.comparisons, found, strict=True)}

    def across(self, left: Ints, right: Ints) -> Bools:
        """Which pairs of records have their names across: first and last changed places."""
        crossed = Pairs(self.encoded, left, right).crossed
        return np.zeros(len(left), np.bool_) if crossed is None else crossed

    def with_codes(self, codes: Mapping[str, Any]) -> "Identities":
        """The records saying something else in some parts."""
        codes = {
            part: said.astype(np.int32)
            for part, said in codes.items()
            if part in self.encoded.parts or said.max(initial=ABSENT) != ABSENT
        }
        side = Side(len(self), {**self.encoded.a.codes, **codes})
        parts = (*self.encoded.parts, *(part for part in codes if part not in self.encoded.parts))
        return replace(self, encoded=replace(self.encoded, a=side, b=side, parts=parts))


def encode(columns: Sequence[Any]) -> tuple[list[Ints], Any]:
    """String columns → codes into one vocabulary of their distinct values."""
    arrays = [_array(column) for column in columns]
    together = pa.chunked_array(arrays, pa.string()).combine_chunks().dictionary_encode()
    codes = np.asarray(pc.fill_null(together.indices, ABSENT)).astype(np.int64)
    ends = np.cumsum([len(array) for array in arrays])[:-1]
    return list(np.split(codes, ends)), together.dictionary


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def combine(*codes: Any, absent_if_any: bool = False) -> Ints:
    """One dense code per distinct combination, in the order of the combinations.

    With `absent_if_any`, a combination of which a part is ABSENT is ABSENT itself.
    """
    whole, room = np.zeros(len(codes[0]), np.int64), 1
    for part in codes:
        size = int(part.max(initial=ABSENT)) + 2
        if room * size > _LARGEST:  # as many parts as an integer holds are told apart at once
            whole = _dense(whole)
            room = int(whole.max(initial=ABSENT)) + 1
        whole, room = whole * size + part + 1, room * size
    whole = _dense(whole)
    if absent_if_any:
        missing = np.zeros(len(whole), np.bool_)
        for part in codes:
            missing |= part == ABSENT
        whole = np.where(missing, ABSENT, whole)
    return whole


def _dense(values: Ints) -> Ints:
    """The place of each value among the distinct ones."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def distinct_rows(table: Any, columns: Sequence[str]) -> Ints:
    """One code per distinct combination of the columns' values (missing is a value too)."""
    codes = []
    for column in columns:
        indices = _array(table[column]).dictionary_encode().indices
        codes.append(np.asarray(pc.fill_null(indices, ABSENT)).astype(np.int64))
    return combine(*codes)


def build(table: Any, subject: Ints, unit_type: str, conversions: Mapping[int, int]) -> Identities:
    """Identity records from a table with the standardised FIELDS, one line each.

    `conversions` leads from a number to the one that took its place.
    """
    number = NUMBER_FIELDS.get(unit_type)
    numbers, stated, canonical = _numbers(table, number, conversions)
    implied, implied_sex = told_by(numbers, number)
    return Identities(
        subject=subject,
        number=stated,
        canonical=canonical,
        numbers=numbers,
        encoded=_encoded(table, unit_type),
        implied=implied[stated],
        implied_sex=implied_sex[stated],
    )


def _encoded(table: Any, unit_type: str) -> Encoded:
    """The fields that anybody says something in, and codes of whole addresses."""
    columns = {
        name: column
        for field in FIELDS
        if field not in NUMBER_FIELDS.values()
        for name, column in _columns(field, _array(table[field]), unit_type).items()
        if column.null_count < len(column)
    }
    encoded = encode_standard(columns, table.num_rows)
    codes = dict(encoded.a.codes)
    vocabularies = dict(encoded.vocabularies)
    sexes = pa.array(_SEXES)
    if "sex" in codes:
        places = pc.fill_null(pc.index_in(vocabularies["sex"].texts, value_set=sexes), ABSENT)
        codes["sex"] = np.append(np.asarray(places), ABSENT).astype(np.int32)[codes["sex"]]
    vocabularies["sex"] = Vocabulary(sexes)
    whole = [part for part in ("postcode", "street", "house_number") if part in codes]
    if len(whole) == 3:
        codes["address"] = combine(*(codes[part] for part in whole), absent_if_any=True)
    side = Side(table.num_rows, codes)
    return replace(encoded, a=side, b=side, vocabularies=vocabularies)


def _columns(field: str, column: Any, unit_type: str) -> dict[str, Any]:
    """A standardised field as the columns that are compared."""
    if field == "house_number":
        parts = pc.replace_substring_regex(column, "/.*$", "")
        box = pc.replace_substring_regex(column, "^[^/]*/?", "")
        return {name: pc.if_else(pc.not_equal(some, ""), some, pa.scalar(None, pa.string()))
                for name, some in (("house_number", parts), ("box", box))}  # fmt: skip
    if field == "last_name" and unit_type in COMPANIES:
        values = column.dictionary_encode()
        name, form = companies(values.dictionary)
        return {"company_name": name.take(values.indices), "legal_form": form.take(values.indices)}
    return {field: column}


def birth_dates(column: Any) -> Codes:
    """Standardised birth dates as the kernel's codes."""
    array = _array(column)
    encoded = encode_standard({"birth_date": array}, len(array))
    codes: Codes = encoded.a.codes["birth_date"]
    return codes


def told_by(numbers: Ints, field: str | None) -> tuple[Codes, Codes]:
    """Birth dates and sexes that national and bis numbers tell, and one nothing more at the end.

    Other numbers tell nothing.
    """
    if field != "national_number":
        nothing = np.full(len(numbers) + 1, ABSENT, np.int32)
        return nothing, nothing
    facts = number_facts(np.append(numbers, 0))
    return date_codes(facts.year, facts.month, facts.day), facts.sex.astype(np.int32)


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
    distinct, place = np.unique(values, return_inverse=True)
    counts_as = np.array([conversions.get(int(n), int(n)) for n in distinct], np.int64)
    numbers = np.unique(np.concatenate([values[present], counts_as[counts_as != ABSENT]]))
    stated = np.where(present, np.searchsorted(numbers, values), ABSENT)
    canonical = np.where(present, np.searchsorted(numbers, counts_as[place]), ABSENT)
    return numbers, stated, canonical
