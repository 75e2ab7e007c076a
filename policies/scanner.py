"""Is an identifier left in any column.

The last look at every table before it leaves: numbers that name a person, an enterprise or a SIM
card, ways to reach them, places to find them, names, whole dates, and columns that are as good as a
number (`policies.functional`). It looks at every distinct value of every column once, in text,
inside text, in numbers, and in the labels of categories that no row uses. A finding says which
column and how many rows, never which value.

What it can and can't tell apart:

- National and bis numbers have a date and a check number modulo 97; of arbitrary eleven digits some
  2 in 1,000 pass. One is enough for a finding. In a column of *numbers*, where leading zeros are
  lost, shorter values count too, and then at least one in twenty of the values as long has to be
  valid, so that a column of exact amounts isn't a finding (chance: 1 in 100 at most).
- Enterprise numbers written as bare digits are judged by the same share, since one in a hundred
  ten-digit numbers is valid by chance; written with dots, or inside text, one is enough.
- Telephone numbers are recognised with their leading zero or country code. A number column has lost
  the zero and can't be told from an amount: only the form 32… is found there.
- An IMSI is fifteen digits without a check: those of a Belgian network (206 and a network's code)
  are found alone in text; in numbers, and of other countries, by their share as well.
- Nothing is looked for inside a word, and pseudonyms are passed over. IBANs must have their
  country's length.
- Quarters (2024Q3), years and NIS codes are too short for any of it. Whole days are a finding
  everywhere, since no rule lets one leave.
- Addresses are found by a street word of Dutch, French or German and a house number beside it, or a
  postcode and the name of its place; a column of streets alone when at least half of its texts (and
  five different ones) end or begin with a street word.
- Names are found as `policies.names` says: one name in free text when it is a common one and has
  its capitals.

How often it misses and how often it is wrong is measured on columns made by a generator of their
own: `python -m tests.bench.scanner`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies import classifications, functional, names

_SHARE = 0.05
"""Share of the bare numbers of one length that must have a valid check number."""
_UNIT = "unit"
"""The column that says whose row it is: everybody's own by design."""
_PSEUDONYM = r"^[PHE][0-9A-HJKMNP-TV-Z]{28}$"
_FEWEST_LONG, _COUNTRY_SHARE = 20, 0.9
"""Numbers of fifteen digits in a column, and the share with a country's code, to be SIM cards."""


@dataclass(frozen=True)
class Finding:
    """Something that looks like an identifier: in which column, of which kind, in how many rows
    (at least 1: a label of a category counts although no row uses it)."""

    column: str
    kind: str
    count: int


@dataclass(frozen=True)
class _Kind:
    """How one kind of identifier is found: `sieve` (RE2, over all values) narrows the field,
    `pattern` finds candidates inside a value, `valid` judges one."""

    name: str
    sieve: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]


def _edged(pattern: str) -> re.Pattern[str]:
    """A candidate is no part of a longer word or number."""
    return re.compile(rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])", re.IGNORECASE)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def is_national_number(text: str) -> bool:
    """Eleven digits with a possible date (bis numbers: month + 20 or + 40) and a check number
    modulo 97, for those born before 2000 or since."""
    digits = _digits(text)
    if len(digits) != 11:
        return False
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    if int(digits[2:4]) >= 60 or month > 12 or day > 31:
        return False
    body, check = digits[:9], int(digits[9:])
    return check in (97 - int(body) % 97, 97 - int("2" + body) % 97)


def is_enterprise_number(text: str) -> bool:
    """Ten digits that start with 0 or 1 (or nine, as before 2008), check number modulo 97."""
    digits = _digits(text).rjust(10, "0")
    if len(digits) != 10 or digits[0] not in "01" or int(digits[:8]) == 0:
        return False
    return 97 - int(digits[:8]) % 97 == int(digits[8:])


_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FI NL", "19": "SI", "20": "AT EE LT LU",
        "21": "CH HR LI LV", "22": "BG DE GB IE RS", "24": "CZ ES RO SE SK", "25": "PT",
        "26": "IS TR", "27": "FR GR IT MC SM", "28": "CY HU PL", "31": "MT",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an IBAN by country (the SWIFT registry's figures for Europe)."""


def is_iban(text: str) -> bool:
    """Length of its country and check modulo 97 (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    if _IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def is_day(text: str) -> bool:
    """A day that a calendar has, year first or last."""
    parts = [int(part) for part in re.split(r"[-/.]", text)]
    year, month, day = parts if parts[0] > 31 else parts[::-1]
    return 1850 <= year <= 2150 and 1 <= month <= 12 and 1 <= day <= 31


def _always(text: str) -> bool:
    return bool(text)


_STREET_NL = (
    r"(?:straat|laan|(?:steen)?weg|plein|dreef|lei|kaai|markt|baan|hof|park|dijk|singel|gracht|"
    r"kade|vest|pad|plaats)"
)
_STREET_FR = (
    r"(?:rue|avenue|av\.|boulevard|bd\.?|chaussée|place|quai|impasse|allée|square|clos|drève|route|"
    r"chemin|sentier|venelle)"
)
_STREET_DE = r"(?:straße|strasse|str\.|platz|gasse|allee)"
_STREET_ALONE = (
    rf"(?i)^(?:\p{{L}}[\p{{L}}'’.\- ]*(?:straat|laan|steenweg|plein|dreef|straße|strasse)|"
    rf"{_STREET_FR} \p{{L}}[\p{{L}}'’.\- ]*)$"
)
_PLACE = r"(?:B-)?[1-9]\d{3} [^\W\d_][^\W\d_'’\-]*(?:[ \-'’][^\W\d_]+){0,3}"
_NATIONAL = r"\d{2}[.\-/ ]?\d{2}[.\-/ ]?\d{2}[.\-/ ]?\d{3}[.\-/ ]?\d{2}"
_ENTERPRISE = r"(?:BE ?)?[01]\d{3}[. ]\d{3}[. ]\d{3}|BE ?[01]?\d{9}|[01]\d{9}"
_PHONE = (
    r"(?:(?:\+|00)32[ ./\-]?(?:\(0\))?|0)(?:4\d{2}|[1-9]\d?)"
    r"(?:[ ./\-]?\d{2,3}){2}(?:[ ./\-]?\d{2})?"
)
_IBAN = r"[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?"
_DAY = r"(?:1[89]|20)\d{2}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:1[89]|20)\d{2}"


_IMSI = r"\d{15}"
_BELGIAN = re.compile(r"206(?:0[1-8]|1[05]|2[0-3589]|3[0-4]|40|48|50|60|71|99)")


def is_imsi(text: str) -> bool:
    """Fifteen digits that begin with the code of a Belgian mobile network (ITU-T E.212)."""
    return len(text) == 15 and text.isdigit() and _BELGIAN.match(text) is not None


def is_mobile_country(text: str) -> bool:
    """Fifteen digits that begin with a geographic mobile country code (202 to 750)."""
    return len(text) == 15 and text.isdigit() and 202 <= int(text[:3]) <= 750


@cache
def _places() -> dict[str, frozenset[str]]:
    """Postcode → the first words of the names of its municipality."""
    named = {
        row["code"]: [row[at] for at in ("nl", "fr", "de") if row[at]]
        for row in classifications.table("municipalities.csv")
    }
    found: dict[str, set[str]] = {}
    for row in classifications.table("postcodes.csv"):
        for code in (row["municipality_2019"], row["municipality_2025"]):
            texts = named.get(code, [])
            found.setdefault(row["postcode"], set()).update(
                re.split(r"[ \-]", text.casefold())[0] for text in texts
            )
    return {code: frozenset(words) for code, words in found.items()}


def is_place(text: str) -> bool:
    """A postcode followed by the name of the municipality that it lies in."""
    code, _, name = text.removeprefix("B-").partition(" ")
    return re.split(r"[ \-]", name.casefold())[0] in _places().get(code, frozenset())


def is_phone(text: str) -> bool:
    """Nine digits after a leading zero or country code for a mobile number, eight for a line."""
    digits = _digits(text.replace("(0)", ""))
    national = re.sub(r"^(?:00)?32|^0", "", digits)
    return len(national) == (9 if re.match(r"4[5-9]", national) else 8)


_KINDS = (
    _Kind(
        "national_number",
        r"\d{2}[.\-/ ]?\d{2}[.\-/ ]?\d{2}[.\-/ ]?\d{3}[.\-/ ]?\d{2}",
        _edged(_NATIONAL),
        is_national_number,
    ),
    _Kind(
        "enterprise_number",
        r"\d{9}|\d{3}[. ]\d{3}[. ]\d{3}",
        _edged(_ENTERPRISE),
        is_enterprise_number,
    ),
    _Kind(
        "email",
        r"@",
        re.compile(r"[^\s@<>,;]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}"),
        _always,
    ),
    _Kind(
        "phone",
        r"(?:32|0)[ ./\-()0]*[1-9](?:[ ./\-]?\d){7}",
        re.compile(r"(?<![0-9A-Za-z.+])(?:" + _PHONE + r")(?![0-9A-Za-z])"),
        is_phone,
    ),
    _Kind(
        "iban",
        r"\b[A-Za-z]{2}\d{2} ?[A-Za-z0-9]{4}",
        _edged(_IBAN),
        is_iban,
    ),
    _Kind(
        "address",
        rf"(?i){_STREET_NL}\b|\b{_STREET_FR} |{_STREET_DE}",
        re.compile(
            rf"{_STREET_NL}(?: (?:op|naar|van|te) [^\W\d]+)?,? +(?:nr\.? ?)?\d{{1,4}}(?!\d)|"
            rf"\b{_STREET_FR} +(?:[^\W\d][\w'’.\-]* *){{1,6}},? *(?:n° ?)?\d{{1,4}}(?!\d)|"
            rf"(?<!\d)\d{{1,4}} ?[a-z]?,? +{_STREET_FR} +[^\W\d]|"
            rf"{_STREET_DE},? +(?:nr\.? ?)?\d{{1,4}}(?!\d)",
            re.IGNORECASE,
        ),
        _always,
    ),
    _Kind("address", r"[1-9]\d{3} \p{L}", _edged(_PLACE), is_place),
    _Kind("imsi", r"\d{15}", _edged(_IMSI), is_imsi),
    _Kind("date", r"\d[-/.]\d{1,2}[-/.]\d", _edged(_DAY), is_day),
)
_BY_SHARE = {"enterprise_number"}
"""Kinds whose bare digits in text are judged by their share."""

_PLAINLY: Mapping[str, str] = {
    "national_number": "national register or bis numbers",
    "enterprise_number": "enterprise numbers",
    "email": "e-mail addresses",
    "phone": "telephone numbers",
    "iban": "bank account numbers (IBAN)",
    "imsi": "SIM card numbers (IMSI)",
    "name": "names of people",
    "address": "addresses",
    "date": "whole dates",
    "timestamp": "times of day or exact moments",
    "exact_amount": "exact amounts, of which nearly everybody has their own",
    "near_unique": "values that no other row has",
    "unreadable": "values of a type that can't be looked into",
}
"""What each kind of finding is, in words."""


def scan(table: pa.Table) -> list[Finding]:
    """Everything in a table that looks like an identifier; an empty list when nothing does."""
    found: list[Finding] = []
    for name in table.column_names:
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found += _in_text(name, column)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            found += _in_numbers(name, column)
        elif pa.types.is_temporal(kind):
            rows = len(column) - column.null_count
            timed = pa.types.is_time(kind) or pa.types.is_duration(kind)
            found += [Finding(name, "timestamp" if timed else "date", rows)] if rows else []
        elif not pa.types.is_boolean(kind) and not pa.types.is_null(kind):
            found.append(Finding(name, "unreadable", max(len(column), 1)))
    return found


def _distinct(column: Any) -> tuple[Any, Any]:
    """Distinct values of a column with how many rows have each; labels without rows have 0."""
    if pa.types.is_dictionary(column.type):
        parts = [chunk.dictionary for chunk in column.chunks]
        labels = pc.unique(pa.chunked_array(parts, column.type.value_type))
        column = column.cast(column.type.value_type)
    else:
        labels = None
    counted = pc.value_counts(column)
    values, rows = counted.field("values"), counted.field("counts").to_numpy(zero_copy_only=False)
    if labels is not None:
        unused = labels.filter(pc.invert(pc.is_in(labels, value_set=values)))
        values = pa.concat_arrays([values, unused])
        rows = np.concatenate((rows, np.zeros(len(unused), rows.dtype)))
    known = pc.is_valid(values)
    return values.filter(known), rows[known.to_numpy(zero_copy_only=False)]


def _in_text(name: str, column: Any) -> list[Finding]:
    values, rows = _without_pseudonyms(*_distinct(column))
    found: dict[str, int] = {}
    hits_of: dict[str, Any] = {"name": names.named(values, rows), "address": _streets(values)}
    for kind in _KINDS:
        hits = _of_kind(kind, values)
        hits_of[kind.name] = hits_of.get(kind.name, False) | hits
    hits_of["imsi"] |= _foreign_imsi(values)
    for what, hits in hits_of.items():
        if hits.any():
            found[what] = max(int(rows[hits].sum()), 1)
    if not found and name != _UNIT:
        found = functional.in_text(values, rows)
    return [Finding(name, kind, found[kind]) for kind in _PLAINLY if kind in found]


def _without_pseudonyms(values: Any, rows: Any) -> tuple[Any, Any]:
    """They are meant to be everybody's own, and are words of which no part means anything."""
    others = pc.invert(pc.match_substring_regex(values, _PSEUDONYM))
    return values.filter(others), rows[others.to_numpy(zero_copy_only=False)]


def _of_kind(kind: _Kind, values: Any) -> Any:
    """Which of the distinct texts hold one of a kind."""
    sieved = pc.match_substring_regex(values, kind.sieve).to_numpy(zero_copy_only=False)
    where = np.flatnonzero(sieved)
    texts = values.take(pa.array(where, pa.int64())).to_pylist()
    hits = np.array([_holds(kind, text) for text in texts], bool)
    if kind.name in _BY_SHARE:
        hits = _unless_by_chance(texts, hits)
    found = np.zeros(len(values), bool)
    found[where[hits]] = True
    return found


def _holds(kind: _Kind, text: str) -> bool:
    return any(kind.valid(match.group()) for match in kind.pattern.finditer(text))


def _unless_by_chance(texts: list[str], hits: Any) -> Any:
    """Drop hits among bare numbers when no more of them are valid than chance would have it."""
    bare = np.array([text.isdigit() for text in texts], bool)
    if bare.any() and (hits & bare).sum() < _SHARE * bare.sum():
        return hits & ~bare
    return hits


def _streets(values: Any) -> Any:
    """The streets of a column that is full of them."""
    found = pc.match_substring_regex(values, _STREET_ALONE).to_numpy(zero_copy_only=False)
    enough = found.sum() >= max(5, len(values) / 2)
    return found if enough else np.zeros(len(values), bool)


def _foreign_imsi(values: Any) -> Any:
    """Bare numbers of fifteen digits of which at least nine in ten begin with a country's code (by
    chance: 55 in 100)."""
    long = pc.match_substring_regex(values, r"^\d{15}$").to_numpy(zero_copy_only=False)
    texts = values.filter(pa.array(long)).to_pylist()
    hits = np.array([is_mobile_country(text) for text in texts], bool)
    found = np.zeros(len(values), bool)
    if len(hits) >= _FEWEST_LONG and hits.mean() >= _COUNTRY_SHARE:
        found[np.flatnonzero(long)[hits]] = True
    return found


def _in_numbers(name: str, column: Any) -> list[Finding]:
    """Numbers that lost their leading zeros: national 8 to 11 digits, enterprise 9 or 10, IMSI 15,
    and telephone numbers with a country code."""
    values, rows = _distinct(column)
    every = values.to_numpy(zero_copy_only=False)
    numbers, counts = every, rows
    if every.dtype.kind == "f":
        whole = np.isfinite(every) & (np.floor(every) == every) & (np.abs(every) < 2**53)
        numbers, counts = every[whole].astype(np.int64), rows[whole]
    found = {
        kind: int(counts[hits].sum())
        for kind, hits in _valid_numbers(numbers).items()
        if hits.any()
    }
    if not found:
        found = functional.in_numbers(every, rows)
    return [Finding(name, kind, count) for kind, count in found.items()]


def _valid_numbers(numbers: Any) -> dict[str, Any]:
    """By kind, which of the distinct integers are an identifier more surely than by chance."""
    months, days = numbers // 10**7 % 100, numbers // 10**5 % 100
    dated = (months < 60) & (months % 20 <= 12) & (days <= 31)
    check = 97 - numbers // 100 % 97
    since_2000 = 97 - (numbers // 100 + 2 * 10**9) % 97
    long = (numbers >= 10**7) & (numbers < 10**11)
    national = long & dated & ((numbers % 100 == check) | (numbers % 100 == since_2000))
    ten = (numbers >= 10**8) & (numbers < 2 * 10**9)
    enterprise = ten & (numbers % 100 == check)
    mobile = numbers // 10**8 == 324
    fifteen = (numbers >= 10**14) & (numbers < 10**15)
    country = fifteen & (numbers // 10**12 >= 202) & (numbers // 10**12 <= 750)
    cards = fifteen.sum() >= _FEWEST_LONG and country.sum() >= _COUNTRY_SHARE * fifteen.sum()
    return {
        "national_number": national & (_frequent(national, long) | (numbers >= 10**10)),
        "enterprise_number": enterprise & _frequent(enterprise, ten),
        "phone": mobile & _frequent(mobile, long),
        "imsi": country & (cards | (numbers // 10**12 == 206)),
    }


def _frequent(hits: Any, among: Any) -> bool:
    return bool(hits.sum() >= _SHARE * max(among.sum(), 1))


def told(finding: Finding, table: str) -> str:
    """A finding as part of a sentence."""
    rows = "row" if finding.count == 1 else "rows"
    return f"{table}.{finding.column}: {finding.count} {rows} with {_PLAINLY[finding.kind]}"
