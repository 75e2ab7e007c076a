"""What two files say, as columns of small integers into common vocabularies.

Every standardised column becomes an array of codes; equal values have equal codes on both sides,
and a negative code is a missing value. Everything that is looked up per value (letters, rarity, the
group of nicknames) is an array over the vocabulary, so that it is worked out once per distinct
value.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.plans import Field, FilePlan
from linkage.standardise import (
    enterprise_numbers,
    national_numbers,
    nicknames,
    number_facts,
    standard_columns,
)

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.uint64]
Singles = npt.NDArray[np.float32]

MISSING: Final = -1
NAMES: Final = ("given", "joined", "head", "second", "last")
"""Columns of personal names share one vocabulary, so that a swapped name shows as equality.

`given` are all given names with spaces, `joined` the same without (as `last` is written), `head`
and `second` the first two of them.
"""
NUMBERS: Final = ("national_number", "enterprise_number")
WIDTH: Final = 24
"""Letters of a text that take part in the cheap bound; what stands behind them counts as alike."""

_PREFIX: Final = r"^(?:VANDEN|VANDER|VANDE|VAN|DEN|DER|DES|DE|DU|TER|TEN|TE|LE|LA|VD)(.{3}.*)$"
_FIRST_YEAR: Final = 1840
_YEAR_DAYS: Final = 13 * 32


@dataclass(frozen=True)
class Vocabulary:
    """Distinct values of one or more columns; arrays have one entry per value."""

    texts: Any

    def __len__(self) -> int:
        return len(self.texts)

    def prepare(self) -> None:
        """Work out what a comparison of names looks up, once for all threads."""
        _ = self.objects, self.letters, self.others, self.starts, self.ends
        _ = self.bare, self.cores, self.nicknames

    @cached_property
    def objects(self) -> npt.NDArray[np.object_]:
        """The texts as Python strings, for the exact comparison."""
        return np.asarray(self.texts.to_numpy(zero_copy_only=False), dtype=object)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int16]:
        """Characters per text."""
        return np.asarray(pc.utf8_length(self.texts)).astype(np.int16)

    @cached_property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        """The first characters, one byte each; what isn't ASCII is one and the same byte."""
        ascii_ = pc.replace_substring_regex(self.texts, r"[^\x20-\x7E]", "?")
        fixed = pc.utf8_rpad(pc.utf8_slice_codeunits(ascii_, 0, WIDTH), WIDTH, "\0")
        joined = pc.cast(fixed, pa.large_binary())
        joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
        data = np.frombuffer(b"".join(joined.to_pylist()), np.uint8)
        return data.reshape(-1, WIDTH)

    @cached_property
    def letters(self) -> Packed:
        """Which letters occur once and twice, as bits; see `alike.ceiling`."""
        masks = np.zeros(len(self), np.uint64)
        once, twice = _letter_bits()
        for place in range(WIDTH):
            letter = self._bytes[:, place]
            seen = (masks & once[letter]) != 0
            masks |= np.where(seen, twice[letter], once[letter])
        return masks

    @cached_property
    def others(self) -> npt.NDArray[np.int16]:
        """Characters that `letters` doesn't hold: a third of the same, rare ones, the tail."""
        return (self.lengths - np.bitwise_count(self.letters)).astype(np.int16)

    @cached_property
    def starts(self) -> npt.NDArray[np.uint32]:
        """The first four characters in one integer, the first one lowest."""
        return np.ascontiguousarray(self._bytes[:, :4]).view(np.uint32).ravel()

    @cached_property
    def ends(self) -> Codes:
        """A code for the last four characters."""
        tails = pc.utf8_slice_codeunits(self.texts, -4, None)
        return np.asarray(tails.dictionary_encode().indices).astype(np.int32)

    @cached_property
    def cores(self) -> Codes:
        """A code for the surname without its glued particle (VANDENBROECK: BROECK)."""
        return np.asarray(self._cores.dictionary_encode().indices).astype(np.int32)

    @cached_property
    def bare(self) -> Bools:
        """Whether a surname has no particle."""
        bare: Bools = np.asarray(pc.equal(self._cores, self.texts))
        return bare

    @cached_property
    def _cores(self) -> Any:
        return pc.replace_substring_regex(self.texts, _PREFIX, r"\1")

    @cached_property
    def nicknames(self) -> Codes:
        """The group of given names that are used for one another, MISSING where there is none."""
        groups = nicknames()
        names = pa.array(list(groups), pa.string())
        numbers = np.append(np.fromiter(groups.values(), np.int64, len(groups)), MISSING)
        at = np.asarray(pc.fill_null(pc.index_in(self.texts, value_set=names), MISSING))
        grouped: Codes = numbers[at].astype(np.int32)
        return grouped


def _letter_bits() -> tuple[Packed, Packed]:
    """By byte: the bit for its first occurrence, and for its second (digits have only one)."""
    once, twice = np.zeros(256, np.uint64), np.zeros(256, np.uint64)
    for place, letter in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        once[letter], twice[letter] = np.uint64(1 << 2 * place), np.uint64(2 << 2 * place)
    for place, digit in enumerate(b"0123456789 @"):
        once[digit] = np.uint64(1 << 52 + place)
    return once, twice


@dataclass(frozen=True)
class Side:
    """One file: `codes` by part, an entry per row."""

    rows: int
    codes: Mapping[str, npt.NDArray[Any]]

    def take(self, rows: Ints | Codes) -> "Side":
        """Some of the rows."""
        return Side(len(rows), {part: codes[rows] for part, codes in self.codes.items()})


@dataclass(frozen=True)
class Encoded:
    """Two files in common codes; for finding doubles in one file both sides are the same object.

    `counts` says per part how many rows of both files have each code, `people` how many rows there
    are in all. How rare values are in a small file says little: `behind` it are reckoned to stand
    so many rows in which they are as rare as is usual. `chances` says by part how many pairs of
    rows agree, of how many, where that isn't counted from the rows at hand. Beside `parts`, which
    are compared, the sides may have codes for blocking alone; `made_of` says of which parts such a
    code is made.
    """

    a: Side
    b: Side
    vocabularies: Mapping[str, Vocabulary]
    counts: Mapping[str, Ints]
    people: int
    parts: tuple[str, ...] = field(default=())
    made_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    behind: int = 0
    chances: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def share(self, part: str) -> Singles:
        """For each row of `a`, the share of all rows that have its very value; NaN where missing.

        `address` is what street, house number and area say together, where it has no codes of its
        own.
        """
        if part == "address" and part not in self.a.codes:
            return self._address
        codes = self.a.codes[part]
        share: Singles = np.append(self.counts[part] / self.people, np.nan).astype(np.float32)
        of_rows: Singles = share[np.maximum(codes, MISSING)]
        return of_rows

    @cached_property
    def _address(self) -> Singles:
        parts = address_parts(self.parts)
        keys = key(self.a, parts)
        everyone = keys if self.one_file else np.concatenate([keys, key(self.b, parts)])
        ordered = np.sort(everyone)
        order = np.argsort(keys)  # looked up in order, which is many times as fast
        asked = keys[order]
        sizes = np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")
        share = np.empty(len(keys), np.float32)
        share[order] = sizes / self.people
        share[keys == 0] = np.nan
        return share

    @property
    def one_file(self) -> bool:
        """Whether rows are compared with rows of the same file."""
        return self.a is self.b

    def atoms(self, rule: Sequence[str]) -> frozenset[str]:
        """The parts that a blocking rule is about."""
        return frozenset(part for one in rule for part in self.made_of.get(one, (one,)))


def encode(a: Any, b: Any | None, plan: FilePlan, *, workers: int = 1) -> Encoded:
    """Encode the columns that a plan names; `b` is None for one file."""
    tables = [a] if b is None else [a, b]
    rows = [table.num_rows for table in tables]
    with ThreadPoolExecutor(workers) as pool:
        # the longest columns first, so that no worker is left with them at the end
        columns = [(n, one) for one in plan.fields for n in range(len(tables))]
        parts_of = list(pool.map(lambda c: _parts_of(tables[c[0]], c[1], c[0]), columns))
        sides: list[dict[str, Any]] = [{} for _ in tables]
        for (n, _), found in zip(columns, parts_of, strict=True):
            sides[n] = {**found, **sides[n]}
        return _encoded(sides, rows, pool.map)


def encode_standard(columns: Mapping[str, Any], rows: int) -> Encoded:
    """Encode one file whose columns, texts by type, are standardised already."""
    side: dict[str, Any] = {}
    for name, column in columns.items():
        side |= _as_parts(name, column.dictionary_encode())
    return _encoded([side], [rows], map)


def _encoded(sides: list[dict[str, Any]], rows: list[int], each: Callable[..., Any]) -> Encoded:
    """Standardised columns of one file or two in common codes; `each` is a map."""
    codes: list[dict[str, Any]] = [{} for _ in sides]
    vocabularies: dict[str, Vocabulary] = {}
    parts = list(sides[0])
    groups = _groups(parts)
    unified = each(lambda g: _unified([[side[part] for part in g] for side in sides], g), groups)
    for group, (vocabulary, indices) in zip(groups, unified, strict=True):
        for place, part in enumerate(group):
            for side, of in zip(codes, indices, strict=True):
                side[part] = of[place]
            if vocabulary is not None:
                vocabularies[part] = vocabulary
    counts = {
        part: _counted([side[part] for side in codes], _size(part, vocabularies))
        for part in parts
        if part not in NUMBERS
    }
    ends = [Side(count, side) for count, side in zip(rows, codes, strict=True)]
    return Encoded(ends[0], ends[-1], vocabularies, counts, sum(rows), tuple(parts))


def _counted(columns: Sequence[Codes], size: int) -> Ints:
    """How often each code occurs."""
    counts = np.zeros(size, np.int64)
    for codes in columns:
        counts += np.bincount(codes[codes >= 0], minlength=size)
    return counts


def _size(part: str, vocabularies: Mapping[str, Vocabulary]) -> int:
    return len(vocabularies[part]) if part in vocabularies else 300 * _YEAR_DAYS


def _groups(parts: Sequence[str]) -> list[list[str]]:
    names = [part for part in parts if part in NAMES]
    return ([names] if names else []) + [[part] for part in parts if part not in NAMES]


def _parts_of(table: Any, one: Field, side: int) -> dict[str, Any]:
    """The parts of one column: dictionary arrays, and of numbers integers."""
    column = table[one.b if side and one.b is not None else one.a]
    if one.type in NUMBERS:
        return {one.type: number_codes(one.type, column)}
    found: dict[str, Any] = {}
    for name, values in _read_column(one, column).items():
        free = one.type in ("text", "code")
        found |= {f"{one.type}:{one.a}": values} if free else _as_parts(name, values)
    return found


def _as_parts(name: str, values: Any) -> dict[str, Any]:
    """A standardised column in the ways in which it is compared."""
    if name == "first_name":
        return _given(values)
    return {"last" if name == "last_name" else name: values}


def _read_column(one: Field, column: Any) -> dict[str, Any]:
    """The standardised parts of a column.

    A plan states one format for two files; a side that is written otherwise is read as it is.
    """
    columns = standard_columns(one.type, column, format=one.format)
    if one.format is not None and columns["birth_date"].null_count > 0.2 * len(column):
        other = standard_columns(one.type, column)
        if other["birth_date"].null_count < columns["birth_date"].null_count:
            return dict(other)
    return dict(columns)


def number_codes(kind: str, column: Any) -> Ints:
    """National or enterprise numbers as integers, MISSING where they aren't valid.

    Digits are read character by character in whole columns; only what is written otherwise than
    most is standardised as text.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.DictionaryArray):
        codes = np.append(number_codes(kind, whole.dictionary), MISSING)
        of_rows: Ints = codes[np.asarray(pc.fill_null(whole.indices, -1))]
        return of_rows
    texts = pc.fill_null(pc.cast(whole, pa.large_string()), "")
    read = _digits(texts, 11 if kind == "national_number" else 10)
    numbers = np.where(_valid(kind, np.maximum(read, 0)), read, MISSING)
    rows = np.flatnonzero((read < 0) & (np.asarray(pc.binary_length(texts)) > 0))
    if len(rows):
        standard = national_numbers if kind == "national_number" else enterprise_numbers
        some = pc.cast(texts.take(pa.array(rows)), pa.string())
        numbers[rows] = np.asarray(pc.fill_null(pc.cast(standard(some), pa.int64()), MISSING))
    return numbers


_BETWEEN: Final = b" ./-"
"""What may stand between the digits of a number."""
_LONGEST: Final = 20
_AT_ONCE: Final = 200_000


def _digits(texts: Any, digits: int) -> Ints:
    """The number in each text of exactly so many digits and nothing but separators; else -1.

    Texts of one length are read together, and where digits stand in the same places in nearly all
    of them (a register writes its numbers in one way) only those are; the others are left.
    """
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    result = np.full(len(texts), MISSING, np.int64)
    for length in np.flatnonzero(np.bincount(np.minimum(lengths, _LONGEST + 1))):
        if digits <= length <= _LONGEST:
            rows = np.flatnonzero(lengths == length)
            for some in np.array_split(rows, max(len(rows) // _AT_ONCE, 1)):
                result[some] = _read(data, offsets[some], int(length), digits)
    return result


def _read(data: Any, starts: Ints, length: int, digits: int) -> Ints:
    """Numbers of texts of one length that have their digits where the first one has them."""
    letters = [data[starts + place] for place in range(length)]
    first = [int(letter[0]) for letter in letters]
    places = [place for place, letter in enumerate(first) if 48 <= letter <= 57]
    number = np.full(len(starts), MISSING, np.int64)
    if len(places) != digits:
        return number
    good = np.ones(len(starts), np.bool_)
    value = np.zeros(len(starts), np.int64)
    for place, letter in enumerate(letters):
        if place in places:
            digit = letter - np.uint8(48)
            good &= digit <= 9
            value = value * 10 + digit
        else:
            good &= letter == first[place]
            if first[place] not in _BETWEEN:
                return number
    number[good] = value[good]
    return number


def _valid(kind: str, numbers: Ints) -> Bools:
    if kind == "national_number":
        return number_facts(numbers).valid
    base = numbers // 100
    valid: Bools = (numbers < 2 * 10**9) & (base > 0) & (97 - base % 97 == numbers % 100)
    return valid


def _given(values: Any) -> dict[str, Any]:
    """Given names in the ways in which they are compared."""
    whole = values.dictionary
    several = pc.match_substring(whole, " ")
    second = pc.replace_substring_regex(whole, r"^[^ ]+ ([^ ]+).*$", r"\1")
    return {
        "given": values,
        "joined": _mapped(values, pc.replace_substring(whole, " ", "")),
        "head": _mapped(values, pc.replace_substring_regex(whole, r"[ ].*$", "")),
        "second": _mapped(values, pc.if_else(several, second, pa.scalar(None, pa.string()))),
    }


def _mapped(column: Any, values: Any) -> Any:
    """A dictionary column with other words for its values; words may come twice."""
    encoded = values.dictionary_encode()
    indices = pc.take(encoded.indices, column.indices)
    return pa.DictionaryArray.from_arrays(indices, encoded.dictionary)


def _unified(
    sides: list[list[Any]], group: list[str]
) -> tuple[Vocabulary | None, list[list[npt.NDArray[Any]]]]:
    """Codes of both sides' columns into one vocabulary (none for numbers and dates)."""
    if group[0] in NUMBERS:
        return None, sides
    if group[0] in ("birth_date", "birth_year"):
        return None, [[_days(column) for column in side] for side in sides]
    columns = [column for side in sides for column in side]
    # one pass gives every distinct text its code, whichever column it stands in
    chunks = [column.dictionary for column in columns]
    together = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    at = np.asarray(pc.fill_null(together.indices, MISSING)).astype(np.int32)
    ends = np.cumsum([len(chunk) for chunk in chunks])
    pieces = np.split(at, ends[:-1])
    codes = iter([_recoded(c, piece) for c, piece in zip(columns, pieces, strict=True)])
    return Vocabulary(together.dictionary), [[next(codes) for _ in side] for side in sides]


def _recoded(column: Any, at: Codes) -> Codes:
    """The column's rows in the codes `at` that its distinct texts have."""
    recoded: Codes = np.append(at, np.int32(MISSING))[np.asarray(pc.fill_null(column.indices, -1))]
    return recoded


def _days(column: Any) -> Codes:
    """Dates as one integer that sorts like them: 416 a year, 32 a month; 0 parts are unknown."""
    texts = column.dictionary
    nulls = np.asarray(pc.is_null(texts))
    padded = pc.utf8_rpad(pc.fill_null(texts, "1840"), 10, "0")  # a year alone: months unknown
    year, month, day = (
        np.asarray(pc.cast(pc.utf8_slice_codeunits(padded, *span), pa.int32()))
        for span in ((0, 4), (5, 7), (8, 10))
    )
    codes = (year - _FIRST_YEAR) * _YEAR_DAYS + month * 32 + day
    codes[nulls] = MISSING
    codes = np.append(codes, MISSING).astype(np.int32)
    days: Codes = codes[np.asarray(pc.fill_null(column.indices, -1))]
    return days


def address_parts(parts: Sequence[str]) -> list[str]:
    """The parts that say together where somebody lives."""
    area = "postcode" if "postcode" in parts else "municipality"
    return [part for part in ("street", "house_number", area) if part in parts]


def key(side: Side, parts: Sequence[str]) -> Packed:
    """One integer per row for the values of several parts together; 0 where one is missing.

    Equal values have equal keys; that different ones do happens once in 2^64 pairs.
    """
    whole = np.full(side.rows, 0x9E3779B97F4A7C15, np.uint64)
    missing = np.zeros(side.rows, np.bool_)
    for part in parts:
        codes = side.codes[part]
        missing |= codes < 0
        whole ^= codes.astype(np.uint64)
        whole ^= whole >> np.uint64(30)
        whole *= np.uint64(0xBF58476D1CE4E5B9)
        whole ^= whole >> np.uint64(27)
        whole *= np.uint64(0x94D049BB133111EB)
        whole ^= whole >> np.uint64(31)
    whole |= np.uint64(1)
    whole[missing] = 0
    return whole


def runs(ordered: Packed) -> Ints:
    """How many times each value comes, of values in order."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return np.diff(np.append(starts, len(ordered)))


def date_codes(year: Ints, month: Ints, day: Ints) -> Codes:
    """Codes of dates by part, month and day 0 where unknown; MISSING where the year is 0."""
    codes = (year - _FIRST_YEAR) * _YEAR_DAYS + month * 32 + day
    return np.where(year > 0, codes, MISSING).astype(np.int32)


def date_parts(codes: Codes) -> tuple[Codes, Codes, Codes]:
    """Year, month and day of a date's code; month and day are 0 where unknown."""
    year, rest = np.divmod(codes, np.int32(_YEAR_DAYS))
    return year + np.int32(_FIRST_YEAR), rest >> 5, rest & 31
