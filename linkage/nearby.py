"""What a spine has that can matter to a delivery, found without looking at everybody.

A scope may know ten million people when a few thousand records come. Those whom these may be, or
who may tell whom they are, share a number or a key with them; the rest takes no part. What is
counted over everybody (how common a name is, which words are first names) is counted here once, in
whole columns of integers.

Taking part is decided generously: a record too many changes nothing, one too few would.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage import rules
from linkage.companies import companies
from linkage.corroboration import CROWD
from linkage.identities import ABSENT, COMPANIES, NUMBER_FIELDS, Bools, Ints, birth_dates, told_by
from linkage.kernel.columns import Packed, Side, Vocabulary, key
from linkage.rules import Rule

COUNTED: Final = (
    "given", "head", "last", "birth_date", "street", "postcode", "address", "company_name",
    "legal_form",
)  # fmt: skip
"""Parts of which it matters how rare a value is."""

MANY: Final = 50_000
"""Records from which the work is given to several threads."""

_HOME: Final = ("postcode", "street", "house_number")
_SUBJECT_BITS: Final = np.uint64(40)


@dataclass(frozen=True)
class Nearby:
    """The records of a spine that take part in a linkage, and what was counted over all.

    `known` has the records, of all `records` that there are, and `numberless` of these; `keys` are
    the keys by which records are compared. `tallies` has for each record, and after them for each
    line of the delivery, how many of the spine's `people` have its very value of a part; `uses` how
    many last names its first name, and its last name, is met with as a first name. `sums` has by
    part the sum of all values' counts and that of their squares.
    """

    known: Any
    records: int
    numberless: int
    keys: tuple[Rule, ...]
    people: int
    tallies: Mapping[str, Ints]
    uses: Mapping[str, Ints]
    sums: Mapping[str, tuple[float, float]]


def nearby(
    spine: Any,
    delivered: Any,
    unit_type: str,
    conversions: Mapping[int, int],
    always: Any,
    merged: Any,
    workers: int,
) -> Nearby:
    """What matters of `spine` (its records, standardised) to the lines of a delivery.

    `conversions` leads from a number to the one that took its place. `always` are ids of subjects
    that take part in any case, `merged` says which subjects count as which other one
    (`decisions.SUPERSEDED`).
    """
    mask = pc.equal(spine["unit_type"], unit_type)
    if not pc.all(mask).as_py():
        spine = spine.filter(mask)
    with ThreadPoolExecutor(workers) as pool:
        each = pool.map if spine.num_rows + delivered.num_rows > MANY else map
        every = _Everybody.of(spine, delivered, unit_type, conversions, merged, each)
        counts = _Counts.of(every, each)
        uses = every.uses()
        every = every.turned(uses)
        rows, keys = _taking_part(every, always, merged, each)
    chosen = np.zeros(every.known, np.bool_)
    chosen[rows] = True
    both = np.concatenate([rows, np.arange(every.known, every.rows)])
    return Nearby(
        known=spine.filter(pa.array(chosen)).combine_chunks(),
        records=every.known,
        numberless=int((every.number[: every.known] == ABSENT).sum()),
        keys=keys,
        people=counts.people,
        tallies=counts.of_rows(every, both),
        uses={name: uses[every.stated[part][both]] for name, part in every.names.items()},
        sums=counts.sums,
    )


@dataclass(frozen=True)
class _Everybody:
    """The spine's records and then the delivery's lines, as codes by part, ABSENT where missing.

    `stated` are names as they stand, in `codes` those that changed places are put right.
    """

    known: int
    rows: int
    subject: Packed
    number: Ints
    codes: dict[str, Any]
    stated: dict[str, Any]
    vocabularies: dict[str, Vocabulary]
    unit_type: str

    @classmethod
    def of(
        cls,
        spine: Any,
        delivered: Any,
        unit_type: str,
        conversions: Mapping[int, int],
        merged: Any,
        each: Callable[..., Iterable[Any]],
    ) -> "_Everybody":
        def column(field: str) -> Any:
            return pa.chunked_array([*spine[field].chunks, *delivered[field].chunks], pa.string())

        number = NUMBER_FIELDS.get(unit_type)
        rows = spine.num_rows + delivered.num_rows
        fields = ["last_name", "first_name", "street", "birth_date", "postcode", "house_number"]
        encoded = dict(zip(fields, each(lambda f: _encoded(column(f)), fields), strict=True))
        codes, vocabularies = _parts(encoded, unit_type)
        return cls(
            known=spine.num_rows,
            rows=rows,
            subject=_subjects(spine["subject"], merged),
            number=_numbers(column(number), conversions) if number else np.full(rows, ABSENT),
            codes=codes,
            stated=codes,
            vocabularies=vocabularies,
            unit_type=unit_type,
        )

    @property
    def names(self) -> dict[str, str]:
        """Where the names of persons stand."""
        both = {"first_name": "joined", "last_name": "last"}
        return {name: part for name, part in both.items() if part in self.codes}

    def uses(self) -> Ints:
        """By code of a name, with how many last names it is in use as a first name; 0 at the end.

        Swapped names make every last name look like a first name now and then. What is met as a
        first name less often than as a last name is one only if that is often, and not that much
        less.
        """
        size = max((len(self.vocabularies[part]) for part in self.names.values()), default=0)
        if len(self.names) < 2:
            return np.zeros(size + 1, np.int64)
        first, last = self.codes["joined"], self.codes["last"]
        both = (first != ABSENT) & (last != ABSENT)
        pairs = _distinct(first[both].astype(np.int64) * size + last[both])
        firsts, lasts = np.divmod(pairs, size)
        as_first = np.bincount(firsts, minlength=size + 1)
        as_last = np.bincount(lasts, minlength=size + 1)
        both_kinds = (as_first >= 10) & (as_first >= as_last / 5)
        return np.where((as_first > as_last) | both_kinds, as_first, 0)

    def turned(self, uses: Ints) -> "_Everybody":
        """The same, with names that changed places put right."""
        if len(self.names) < 2:
            return self
        first, last = self.codes["joined"], self.codes["last"]
        rows = np.flatnonzero(turned(first, last, uses))
        if not len(rows):
            return self
        codes = {part: self.codes[part].copy() for part in ("given", "joined", "head", "last")}
        codes["given"][rows] = ABSENT
        codes["joined"][rows] = codes["head"][rows] = last[rows]
        codes["last"][rows] = first[rows]
        return replace(self, codes={**self.codes, **codes})

    @cached_property
    def born(self) -> Any:
        """Birth dates, and where none is stated the one that the number tells."""
        stated = self.codes.get("birth_date", np.full(self.rows, ABSENT, np.int32))
        rows = np.flatnonzero((stated == ABSENT) & (self.number != ABSENT))
        born = stated.copy()
        told, _ = told_by(self.number[rows], NUMBER_FIELDS.get(self.unit_type))
        born[rows] = told[:-1]
        return born

    def keys(self, rule: Rule, rows: Any) -> Packed:
        """A rule's key for some rows, 0 where something is missing."""
        wanted = rules.atoms(rule)
        codes = {atom: self._of(atom)[rows] for atom in wanted}
        return rules.keys(codes, self.vocabularies, rule, len(rows))

    def _of(self, part: str) -> Any:
        return self.born if part == "birth_date" else self.codes[part]

    def with_values_of(self, rule: Rule, lines: Ints) -> Ints:
        """The spine's records each part of which says what one of `lines` says.

        A first sieve for a rule's key, which a small spine doesn't need: whether it is one and the
        same line is left open.
        """
        if self.known < MANY:
            return np.arange(self.known)
        there = np.ones(self.known, np.bool_)
        for part in rule:
            one_of = rules.atoms((part,))
            said = [self._of(atom) for atom in one_of]
            size = max(int(codes.max(initial=ABSENT)) for codes in said) + 1
            means = rules.meaning(part, size, self.vocabularies)
            wanted = np.zeros(size + 1, np.bool_)
            for codes in said:
                wanted[:-1] |= np.isin(means, means[codes[lines][codes[lines] != ABSENT]])
            for codes in said:
                there &= wanted[codes[: self.known]]
        return np.flatnonzero(there)


def turned(first: Any, last: Any, uses: Ints) -> Bools:
    """Whether names changed places: the first name is in use as none, and the last name is."""
    across: Bools = (uses[first] == 0) & (uses[last] > 0) & (first != ABSENT)
    return across


def _encoded(column: Any) -> tuple[Any, Any]:
    """A column's codes, ABSENT where it says nothing, and what they stand for."""
    encoded = column.dictionary_encode()
    if not encoded.num_chunks:
        return np.zeros(0, np.int32), pa.array([], pa.string())
    codes = np.empty(len(column), np.int32)
    at = 0
    for chunk in encoded.chunks:
        codes[at : at + len(chunk)] = np.asarray(pc.fill_null(chunk.indices, ABSENT))
        at += len(chunk)
    return codes, encoded.chunk(encoded.num_chunks - 1).dictionary


def _recoded(codes: Any, values: Any) -> tuple[Any, Any]:
    """The same rows with other words for their values: their codes, and the distinct words."""
    encoded = values.dictionary_encode()
    places = np.append(np.asarray(pc.fill_null(encoded.indices, ABSENT)), ABSENT).astype(np.int32)
    return places[codes], encoded.dictionary


def _parts(
    encoded: Mapping[str, tuple[Any, Any]], unit_type: str
) -> tuple[dict[str, Any], dict[str, Vocabulary]]:
    """Identity fields as the parts that keys are made of."""
    codes: dict[str, Any] = {}
    vocabularies: dict[str, Vocabulary] = {}
    for field, (rows, values) in encoded.items():
        if not len(values):
            continue  # nobody says anything
        if field in ("street", "postcode"):
            codes[field] = rows
        elif field == "birth_date":
            codes[field] = np.append(birth_dates(values), ABSENT).astype(np.int32)[rows]
        elif field == "house_number":
            codes[field], _ = _recoded(rows, pc.replace_substring_regex(values, "/.*$", ""))
        elif field == "last_name" and unit_type in COMPANIES:
            name, form = companies(values)
            codes["company_name"], _ = _recoded(rows, name)
            codes["legal_form"], _ = _recoded(rows, form)
    if unit_type not in COMPANIES:
        names = _names(encoded["first_name"], encoded["last_name"])
        codes |= {part: rows for part, (rows, _) in names.items()}
        if "joined" in codes:
            codes["given"] = encoded["first_name"][0]
        vocabularies = {part: words for part, (_, words) in names.items()}
    return codes, vocabularies


def _names(first: tuple[Any, Any], last: tuple[Any, Any]) -> dict[str, tuple[Any, Vocabulary]]:
    """Names in one vocabulary: given names written as one, the first of them, last names."""
    texts = {}
    if len(first[1]):
        texts["joined"] = pc.replace_substring(first[1], " ", "")
        texts["head"] = pc.replace_substring_regex(first[1], " .*$", "")
    if len(last[1]):
        texts["last"] = last[1]
    codes, words = _encoded(pa.chunked_array([*texts.values()], pa.string()))
    vocabulary, found, begin = Vocabulary(words), {}, 0
    for part, values in texts.items():
        places = np.append(codes[begin : begin + len(values)], np.int32(ABSENT))
        found[part] = places[last[0] if part == "last" else first[0]], vocabulary
        begin += len(values)
    return found


def _subjects(column: Any, merged: Any) -> Packed:
    """A well mixed integer per id for its subject, or the one that it counts as.

    Two subjects share one in 2^64 pairs.
    """
    subjects = _mixed(column)
    if not merged.num_rows:
        return subjects
    moved, into = _mixed(merged["subject"]), _mixed(merged["into"])
    order = np.argsort(moved)
    place = np.minimum(np.searchsorted(moved[order], subjects), len(moved) - 1)
    return np.where(moved[order][place] == subjects, into[order][place], subjects)


def _mixed(column: Any) -> Packed:
    return np.concatenate([np.zeros(0, np.uint64), *(_mixed_up(chunk) for chunk in column.chunks)])


def _mixed_up(chunk: Any) -> Packed:
    _, data = chunk.buffers()
    whole = np.frombuffer(data, np.uint64, count=2 * (chunk.offset + len(chunk)))
    halves = whole.reshape(-1, 2)[chunk.offset :]
    mixed: Packed = halves[:, 0] * _ODD
    mixed ^= halves[:, 1]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _ODD
    return mixed


def _numbers(column: Any, conversions: Mapping[int, int]) -> Ints:
    """Numbers as integers, those that were replaced as what took their place."""
    numbers = np.concatenate(
        [
            np.zeros(0, np.int64),
            *(np.asarray(pc.fill_null(pc.cast(c, pa.int64()), ABSENT)) for c in column.chunks),
        ]
    )
    if conversions:
        old = np.array(sorted(conversions), np.int64)
        new = np.array([conversions[number] for number in old.tolist()], np.int64)
        place = np.minimum(np.searchsorted(old, numbers), len(old) - 1)
        numbers = np.where(old[place] == numbers, new[place], numbers)
    return numbers


def _distinct(values: Any) -> Any:
    """Distinct integers, in order: sorting is much faster than numpy's table of values."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


class _Among:
    """A set of integers, and which of very many are in it."""

    def __init__(self, values: Any) -> None:
        self._values = _distinct(values.astype(np.uint64))
        bits = int(np.clip((16 * len(self._values)).bit_length(), 10, 26))
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(1 << bits, np.bool_)
        self._seen[(self._values * _ODD) >> self._shift] = True

    def __call__(self, values: Any) -> Ints:
        """The places of those that are in the set."""
        values = values.astype(np.uint64, copy=False)
        places = np.flatnonzero(self._seen[(values * _ODD) >> self._shift])
        return places[self.at(values[places]) >= 0]

    def at(self, values: Any) -> Ints:
        """The place of each value in the set, in order; ABSENT for others."""
        if not len(self._values):
            return np.full(len(values), ABSENT)
        place = np.searchsorted(self._values, values)
        place = np.minimum(place, len(self._values) - 1)
        return np.where(self._values[place] == values, place, ABSENT)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class _Counts:
    """How many subjects of the spine have each value."""

    people: int
    counts: Mapping[str, Any]
    homes: tuple[Packed, Ints]
    sums: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, every: _Everybody, each: Callable[..., Iterable[Any]]) -> "_Counts":
        """Values are counted once per subject: somebody met often makes no name common."""
        some = every.subject & ((np.uint64(1) << _SUBJECT_BITS) - np.uint64(1))
        people = len(_distinct(every.subject))
        repeated = people < every.known
        parts = [part for part in COUNTED if part in every.codes]
        found = each(lambda p: _counted(every.codes[p][: every.known], some, repeated), parts)
        counts = dict(zip(parts, found, strict=True))
        homes = _homes(every, some) if set(_HOME) <= set(every.codes) else None
        nothing = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        if homes is not None:
            counts["address"] = homes[1]
        sums = {
            part: (float(one.sum()), float((one.astype(np.float64) ** 2).sum()))
            for part, one in counts.items()
        }
        return cls(people, counts, homes or nothing, sums)

    def of_rows(self, every: _Everybody, rows: Any) -> dict[str, Ints]:
        """For each row how many subjects have its value; 0 where it has none."""
        found = {
            part: np.append(counts, 0)[np.minimum(every.codes[part][rows], len(counts))]
            for part, counts in self.counts.items()
            if part != "address"
        }
        if "address" in self.counts:
            keys = _home_keys(every, rows)
            place = np.searchsorted(self.homes[0], keys)
            place = np.minimum(place, max(len(self.homes[0]) - 1, 0))
            known = self.homes[0][place] == keys if len(self.homes[0]) else keys < 0
            found["address"] = np.where(known, np.append(self.homes[1], 0)[place], 0)
        return found


def _counted(codes: Any, subjects: Packed, repeated: bool) -> Ints:
    present = codes != ABSENT
    size = int(codes.max(initial=ABSENT)) + 1
    if not repeated:
        return np.bincount(codes[present], minlength=size)
    both = _distinct(codes[present].astype(np.uint64) << _SUBJECT_BITS | subjects[present])
    return np.bincount((both >> _SUBJECT_BITS).astype(np.int64), minlength=size)


def _home_keys(every: _Everybody, rows: Any) -> Packed:
    """An integer of 40 bits for each row's address, 0 where a part of it is missing."""
    side = Side(0, {part: every.codes[part][rows] for part in _HOME})
    whole = key(Side(len(side.codes[_HOME[0]]), side.codes), _HOME)
    return np.where(whole == 0, np.uint64(0), whole >> np.uint64(64 - 40) | np.uint64(1))


def _homes(every: _Everybody, subjects: Packed) -> tuple[Packed, Ints]:
    """The distinct addresses of the spine, in order, and how many subjects live at each."""
    keys = _home_keys(every, slice(0, every.known))
    some = keys != 0
    low = subjects[some] & np.uint64((1 << 24) - 1)
    both = _distinct(keys[some] << np.uint64(24) | low) >> np.uint64(24)
    fresh = np.append(True, both[1:] != both[:-1])[: len(both)]
    starts = np.flatnonzero(fresh)
    return both[starts], np.diff(np.append(starts, len(both)))


def _taking_part(
    every: _Everybody, always: Any, merged: Any, each: Callable[..., Iterable[Any]]
) -> tuple[Ints, tuple[Rule, ...]]:
    """The spine's records that take part, in order, and the keys by which records are compared."""
    known = every.known
    new = np.arange(known, every.rows)
    part = np.zeros(known, np.bool_)
    numbered = new[every.number[new] != ABSENT]
    part[_sharing_number(every, numbered)] = True
    sure = _certain(every, np.concatenate([np.flatnonzero(part), numbered]))
    needy = new[sure.at(every.number[new].astype(np.uint64)) == ABSENT]
    wanted = [
        *rules.possible(every.codes, rules.RULES),
        *rules.possible(every.codes, rules.WIDE),
    ]
    found = list(each(lambda rule: _sharing_key(every, rule, new, needy), wanted))
    chosen = tuple(
        rule
        for rule, one in zip(wanted, found, strict=True)
        if rule not in rules.WIDE or one.cost <= rules.CHEAP * len(needy)
    )
    others = np.zeros(known, np.bool_)
    for rule, one in zip(wanted, found, strict=True):
        if rule in chosen:
            part[one.with_needy] = True
            others[one.with_others] = True
    part[_of_one_description(every, new)] = True
    part[_in_need(every, np.flatnonzero(others & ~part))] = True
    part[_Among(_subjects(always.drop_null(), merged))(every.subject)] = True
    part[_Among(every.subject[part])(every.subject)] = True
    part[_sharing_number(every, np.flatnonzero(part))] = True
    part[_described_elsewhere(every, np.concatenate([np.flatnonzero(part), new]))] = True
    return np.flatnonzero(part), chosen


def _sharing_number(every: _Everybody, rows: Ints) -> Ints:
    """The spine's records that have a number of `rows`."""
    numbers = every.number[rows]
    return _Among(numbers[numbers != ABSENT])(every.number[: every.known])


def _certain(every: _Everybody, rows: Ints) -> _Among:
    """Numbers of which all `rows` that have one say the same, so that each is their own.

    For persons the same first name, and the birth date that the number tells.
    """
    rows = rows[every.number[rows] != ABSENT]
    rows = rows[np.argsort(every.number[rows], kind="stable")]
    number = every.number[rows]
    name = every.codes.get("joined" if every.unit_type == "person" else "company_name")
    if name is None or not len(rows):
        return _Among(number[:0])
    fresh = np.append(True, number[1:] != number[:-1])
    start = np.flatnonzero(fresh)
    group = np.cumsum(fresh) - 1
    doubt = (name[rows] == ABSENT) | (name[rows] != name[rows[start]][group])
    if every.unit_type == "person":
        told, _ = told_by(number[start], NUMBER_FIELDS[every.unit_type])
        stated = every.codes.get("birth_date", np.full(every.rows, ABSENT))[rows]
        doubt |= (stated == ABSENT) | (stated != told[group])
    doubted = np.zeros(len(start), np.bool_)
    doubted[group[doubt]] = True
    doubted |= np.diff(np.append(start, len(rows))) > CROWD.get(every.unit_type, 0)
    return _Among(number[start[~doubted]])


def _in_need(every: _Everybody, rows: Ints) -> Ints:
    """Those of the spine's `rows` whose number perhaps isn't their own, or who have none."""
    numbered = rows[every.number[rows] != ABSENT]
    sure = _certain(every, _sharing_number(every, numbered))
    needy: Ints = rows[sure.at(every.number[rows].astype(np.uint64)) == ABSENT]
    return needy


@dataclass(frozen=True)
class _Sharing:
    """The spine's records that share a key with a needy line, or with others; how many pairs."""

    with_needy: Ints
    with_others: Ints
    cost: int


def _sharing_key(every: _Everybody, rule: Rule, new: Ints, needy: Ints) -> _Sharing:
    keys = every.keys(rule, new)
    among = _Among(keys[keys != 0])
    places = every.with_values_of(rule, new)
    theirs = every.keys(rule, places)
    kept = among(theirs)
    at, rows = among.at(theirs[kept]), places[kept]
    lines = among.at(keys)
    needed = np.bincount(lines[(lines != ABSENT) & np.isin(new, needy)], minlength=len(among))
    there = np.bincount(at, minlength=len(among))
    there += np.bincount(lines[lines != ABSENT], minlength=len(among))
    return _Sharing(rows[needed[at] > 0], rows[needed[at] == 0], int(needed @ there))


def _of_one_description(every: _Everybody, new: Ints) -> Ints:
    """The spine's records with a number that have the names and the birth date of a new one."""
    rule = ("names", "birth_date")
    if not rules.possible(every.codes, (rule,)):
        return np.zeros(0, np.int64)
    return _numbered(every, [_sharing_key(every, rule, new, new).with_needy])


def _numbered(every: _Everybody, parts: Sequence[Ints]) -> Ints:
    """Those of some records that have a number."""
    rows = np.concatenate([np.zeros(0, np.int64), *parts])
    numbered: Ints = rows[every.number[rows] != ABSENT]
    return numbered


def _described_elsewhere(every: _Everybody, rows: Ints) -> Ints:
    """The spine's records with another number that describe somebody whose number is in doubt."""
    if every.unit_type != "person" or len(every.names) < 2:
        return np.zeros(0, np.int64)
    sure = _certain(every, rows)
    number = every.number[rows]
    doubtful = rows[(number != ABSENT) & (sure.at(number.astype(np.uint64)) == ABSENT)]
    return _numbered(
        every,
        [
            _sharing_key(every, rule, doubtful, doubtful).with_needy
            for rule in rules.possible(every.codes, DESCRIPTIONS)
        ],
    )


DESCRIPTIONS: Final[tuple[Rule, ...]] = (
    ("last", "birth_date"),
    ("joined", "last", *_HOME),
)
"""What a number's corroboration looks for under other numbers; see `corroboration`."""
