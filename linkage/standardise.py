"""What a value really says: one text per meaning, computed once per distinct value.

`standardise(field, column, latest_birth_year=…)` turns a column as delivered into a column in which
equal things are equal texts and everything that says nothing (an invalid number, an impossible
date, the word for "unknown") is null. Standardising a second time changes nothing.

`standard_columns(type, column, format=…)` does the same for columns of any file: every type that a
plan of `schakel link` knows, in any notation, each as dictionaries ready for comparing.

A rule is written once, for one value (`name`, `street` …). Beside it stands its fast path for an
array: what is plain is done by Arrow, what is odd by the rule itself, so that both say the same.

Sources: the national number and its check are laid down in the Royal Decree of 3 April 1984
(97 minus the first nine digits modulo 97, the digit 2 put in front for births from 2000 on), bis
numbers in the Royal Decree of 8 February 1991 (month raised by 20, or by 40 when the sex is known),
enterprise numbers in the Royal Decree of 24 June 2003 (97 minus the first eight digits modulo 97).
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_uppercase, digits
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.companies import companies
from linkage.contacts import emails, phones
from linkage.dates import DEFAULT_DATES, FIRST_BIRTH_YEAR, LAST_BIRTH_YEAR, birth_dates, birth_years
from linkage.folding import each, encoded, fold, folded, kept, only, patched, recoded, texts, whole
from linkage.lines import PARTICLES, addresses, names
from linkage.plans import MOSTLY_DISTINCT

Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]

UNKNOWN_NAMES: Final = frozenset(
    {
        "ONBEKEND",
        "INCONNU",
        "INCONNUE",
        "UNBEKANNT",
        "UNKNOWN",
        "NN",
        "XX",
        "XXX",
        "NEANT",
        "NVT",
        "SANSNOM",
    }
)
_SEXES: Final = {
    "M": ("M", "1", "MAN", "MALE", "MANNELIJK", "H", "HOMME", "MASCULIN", "MANN", "MAENNLICH"),
    "F": ("F", "V", "2", "VROUW", "VROUWELIJK", "FEMALE", "FEMME", "FEMININ", "FRAU", "WEIBLICH"),
}
_SEX: Final = {code: sex for sex, codes in _SEXES.items() for code in codes}

# Some abbreviations mean one thing in front (`pl. Royale`), another behind (`Sint-Jansplein`).
_STREET_WORDS: Final = {
    "STR": "STRAAT",
    "STRT": "STRAAT",
    "LN": "LAAN",
    "STWG": "STEENWEG",
    "STW": "STEENWEG",
    "STEENW": "STEENWEG",
    "AV": "AVENUE",
    "AVE": "AVENUE",
    "BD": "BOULEVARD",
    "BLD": "BOULEVARD",
    "BLV": "BOULEVARD",
    "BLVD": "BOULEVARD",
    "BVD": "BOULEVARD",
    "BOUL": "BOULEVARD",
    "CHEE": "CHAUSSEE",
    "RTE": "ROUTE",
    "IMP": "IMPASSE",
    "SQ": "SQUARE",
    "ST": "SINT",
    "SAINT": "SINT",
    "STE": "SAINTE",
    "BURG": "BURGEMEESTER",
    "KON": "KONING",
    "DR": "DOKTER",
    "DOCTEUR": "DOKTER",
    "PROF": "PROFESSOR",
    "PROFESSEUR": "PROFESSOR",
    "GEN": "GENERAAL",
    "GENERAL": "GENERAAL",
}
_STREET_FIRST: Final = {"R": "RUE", "CH": "CHAUSSEE", "PL": "PLACE", "ALL": "ALLEE"}
_STREET_LAST: Final = {"PL": "PLEIN", "PLN": "PLEIN", "DR": "DREEF", "ST": "STRAAT", "W": "WEG"}
_SURNAME_PREFIX: Final = re.compile(
    r"^(?:VANDEN|VANDER|VANDE|VAN|DEN|DER|DES|DE|DU|TER|TEN|TE|LE|LA|VD)(?=.{3})"
)
_HOUSE: Final = re.compile(
    r"^0*(?P<number>[1-9]\d*)\s*(?P<letter>[A-Z](?![A-Z0-9]))?"
    r"[\s/,.-]*(?:(?:BUS|BTE|BOITE|BOX|BT|B)(?![A-Z]))?[\s/,.:-]*0*(?P<box>[0-9A-Z]+)?"
)
_POSTCODE: Final = re.compile(r"^(?:BE?[\s-]*)?([1-9]\d{3})(?:\.0+)?$")
_DATE: Final = re.compile(r"^(\d{4})-(\d{2})-(\d{2})$")


def _words(text: str) -> list[str]:
    """The words of a name: an apostrophe joins, anything else that is no letter parts."""
    joined = re.sub(r"['’‘`´ʼ]", "", fold(text))
    return re.findall(r"[^\W\d_]+", joined)


def name(text: str) -> str | None:
    """A first or last name in capitals, without accents, spaces and hyphens; particles in front.

    `Broeck, Van den`, `van den Broeck` and `Vandenbroeck` all give VANDENBROECK. None when there
    are no letters, or when the text is a word for "unknown".
    """
    words = _words(text)
    behind = 0
    while behind < len(words) - 1 and words[-1 - behind] in PARTICLES:
        behind += 1
    if behind:
        words = words[-behind:] + words[:-behind]
    whole = "".join(words)
    return None if not whole or whole in UNKNOWN_NAMES else whole


def surname_core(standard: str) -> str:
    """A standardised surname without its glued particle: VANDENBROECK gives BROECK."""
    return _SURNAME_PREFIX.sub("", standard)


def street(text: str) -> str | None:
    """A street name in capitals without spaces, its type written out (`Kerkstr.`, `Av. Louise`)."""
    words = re.findall(r"[^\W_]+", re.sub(r"['’‘`´ʼ]", " ", fold(text)))
    if len(words) > 1:
        first = _STREET_FIRST.get(words[0]) or _STREET_WORDS.get(words[0], words[0])
        last = _STREET_LAST.get(words[-1]) or _STREET_WORDS.get(words[-1], words[-1])
        words = [first, *(_STREET_WORDS.get(word, word) for word in words[1:-1]), last]
    whole = "".join(words)
    if len(whole) > 5 and whole.endswith("STR"):
        whole = whole.removesuffix("STR") + "STRAAT"
    return whole if any(c.isalpha() for c in whole) and whole not in UNKNOWN_NAMES else None


def house_number(text: str) -> str | None:
    """`12 A bus 3` gives 12A/3: the number with its letter, then the box when there is one."""
    found = _HOUSE.match(fold(text))
    if found is None:
        return None
    number = found["number"] + (found["letter"] or "")
    return f"{number}/{found['box']}" if found["box"] else number


def sex(text: str) -> str | None:
    """M or F from the codes and words in use (M/V, M/F, H/F, 1/2), else None."""
    return _SEX.get(fold(text))


def postcode(text: str) -> str | None:
    """Four digits from 1000 on, with or without `B-` in front."""
    found = _POSTCODE.match(fold(text))
    return found[1] if found else None


def birth_date(text: str) -> str | None:
    """ISO yyyy-mm-dd with 00 for an unknown month or day; None when it can't be a birth date.

    A month above 12 with a day up to 12 was written the other way round, and is turned.
    """
    found = _DATE.match(text.strip())
    if found is None or text.strip() in DEFAULT_DATES:
        return None
    year, month, day = (int(part) for part in found.groups())
    if month > 12 >= day > 0:
        month, day = day, month
    if not FIRST_BIRTH_YEAR <= year <= LAST_BIRTH_YEAR or month > 12 or day > 31:
        return None
    standard = f"{year:04d}-{month:02d}-{day if month else 0:02d}"
    return None if standard in DEFAULT_DATES else standard


@dataclass(frozen=True)
class NumberFacts:
    """What national and bis numbers say by themselves, an array entry per number.

    `year`, `month`, `day` are 0 where the number doesn't tell; `sex` is 0 for a man, 1 for a woman,
    -1 where it doesn't tell; `valid` says whether it can have been given out at all.
    """

    valid: npt.NDArray[np.bool_]
    year: Ints
    month: Ints
    day: Ints
    sex: Ints


def number_facts(numbers: Ints, latest_birth_year: int = LAST_BIRTH_YEAR) -> NumberFacts:
    """Read eleven-digit numbers. One whose holder is born after `latest_birth_year` isn't valid."""
    base, check = numbers // 100, numbers % 100
    before = 97 - base % 97 == check
    since = 97 - (base + 2_000_000_000) % 97 == check
    year = np.where(before, 1900, 2000) + base // 10_000_000
    month_part, day, serial = base // 100_000 % 100, base // 1000 % 100, base % 1000
    month = month_part % 20
    valid = (
        (before | since)
        & (base > 0)
        & (numbers < 10**11)
        & (month_part < 60)
        & (month <= 12)
        & (day <= 31)
        & (year <= latest_birth_year)
    )
    # Without a month the day only counts on; 00.00.01 stands for a birth date nobody knows.
    nobody_knows = (base // 10_000_000 == 0) & (month == 0) & (day == 1)
    known_month = valid & (month > 0)
    told = (month_part < 20) | (month_part >= 40)
    return NumberFacts(
        valid=valid,
        year=np.where(valid & ~nobody_knows, year, 0),
        month=np.where(known_month, month, 0),
        day=np.where(known_month, day, 0),
        sex=np.where(valid & told, 1 - serial % 2, -1),
    )


def _digits(bare: Any, length: int) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Whether each text (none null) is `length` digits, and those as integers."""
    fits = pc.and_(pc.ascii_is_decimal(bare), pc.equal(pc.binary_length(bare), length))
    numbers = pc.cast(pc.if_else(fits, bare, "0"), pa.int64())
    return np.asarray(fits), np.asarray(numbers).astype(np.int64)


def _without(texts: Any, *patterns: str) -> Any:
    """Texts ("" for null) without what the patterns say, unless they are digits already."""

    def cut(some: Any) -> Any:
        for pattern in patterns:
            some = pc.replace_substring_regex(some, pattern, "")
        return some

    texts = pc.fill_null(texts, "")
    return patched(texts, pc.invert(pc.ascii_is_decimal(texts)), cut)


def national_numbers(texts: Any, latest_birth_year: int = LAST_BIRTH_YEAR) -> Any:
    """Eleven digits for every valid national or bis number, null for anything else."""
    bare = _without(texts, r"[\s./-]")
    fits, numbers = _digits(bare, 11)
    return only(pa.array(fits & number_facts(numbers, latest_birth_year).valid), bare)


def enterprise_numbers(texts: Any) -> Any:
    """Ten digits for every valid enterprise number (old nine-digit ones get their 0), else null."""
    bare = _without(texts, r"(?i)^\s*be", r"[\s./()-]")
    bare = patched(bare, pc.equal(pc.binary_length(bare), 9), lambda nine: _zeros(nine, 10))
    fits, numbers = _digits(bare, 10)
    base = numbers // 100
    valid = fits & (numbers < 2 * 10**9) & (base > 0) & (97 - base % 97 == numbers % 100)
    return only(pa.array(valid), bare)


def _zeros(texts: Any, length: int) -> Any:
    return pc.ascii_lpad(texts, length, "0")


def _quickly(
    fast: Callable[[Any], tuple[Any, Any]], rule: Callable[[str], str | None]
) -> Callable[[Any], Any]:
    """`rule` for arrays; `fast` makes the most of folded texts, and says where it is sure."""

    def standard(values: Any) -> Any:
        quick, sure = fast(folded(values))
        unsure = pc.and_(pc.is_valid(values), pc.invert(pc.fill_null(sure, False)))
        return patched(quick, unsure, lambda odd: each(rule, odd), values)

    return standard


def _known(standard: Any) -> Any:
    """Null for what is empty or a word for "unknown"."""
    return only(pc.invert(pc.is_in(standard, _NOBODY)), standard)


def _fast_name(text: Any) -> tuple[Any, Any]:
    glued = kept(text, ascii_uppercase)
    joined = kept(text, _NO_APOSTROPHE)
    sure = pc.invert(pc.match_substring_regex(joined, _PARTICLE_BEHIND))
    return _known(glued), pc.and_(sure, pc.string_is_ascii(text))


def _fast_given_names(text: Any) -> tuple[Any, Any]:
    words = kept(kept(text, _NO_APOSTROPHE), ascii_uppercase, spaced=True)
    return only(pc.is_valid(_known(kept(words, ascii_uppercase))), words), pc.string_is_ascii(text)


def _fast_words(text: Any) -> tuple[Any, Any]:
    words = kept(text, _LETTERS_AND_DIGITS, spaced=True)
    glued = _known(kept(words, _LETTERS_AND_DIGITS))
    return only(pc.is_valid(glued), words), pc.string_is_ascii(text)


def _fast_street(text: Any) -> tuple[Any, Any]:
    abbreviated = pc.match_substring_regex(text, _ABBREVIATED)
    glued = _known(kept(text, _LETTERS_AND_DIGITS))
    sure = pc.and_(pc.string_is_ascii(text), pc.invert(abbreviated))
    return only(pc.match_substring_regex(glued, "[A-Z]"), glued), sure


def _fast_municipality(text: Any) -> tuple[Any, Any]:
    by_code = pc.match_substring_regex(text, "^[1-9][0-9]{4}$")
    named, sure = _fast_street(text)
    return pc.if_else(by_code, text, named), pc.or_(by_code, pc.and_(sure, pc.is_valid(named)))


def _codes(values: Any) -> Any:
    """`code` of every text."""
    quick = pc.ascii_upper(pc.ascii_trim(values, " "))
    sure = pc.and_(
        pc.match_substring_regex(quick, "^[ -~]*[A-Z0-9][ -~]*$"),
        pc.invert(pc.is_in(quick, _NOBODY)),
    )
    return patched(quick, pc.invert(sure), lambda odd: each(code, odd), values)


def _fast_house_number(text: Any) -> tuple[Any, Any]:
    return text, pc.match_substring_regex(text, "^[1-9][0-9]*$")


def _fast_postcode(text: Any) -> tuple[Any, Any]:
    return text, pc.match_substring_regex(text, "^[1-9][0-9]{3}$")


def given_names(text: str) -> str | None:
    """All first names in capitals without accents, a space between them: `Anne-Marie J.` gives
    ANNE MARIE J. None as for `name`."""
    return _spaced(_words(text))


def words(text: str) -> str | None:
    """Free text in capitals without accents, its words and numbers with one space between them."""
    return _spaced(re.findall(r"[^\W_]+", re.sub(r"['`´]", " ", fold(text))))


def _spaced(found: list[str]) -> str | None:
    return None if "".join(found) in UNKNOWN_NAMES | {""} else " ".join(found)


def any_postcode(text: str) -> str | None:
    """A postcode of any country: the Belgian one, else its letters and digits (`SW1A 1AA`)."""
    upper = re.sub(r"\.0+$", "", fold(text))
    belgian = _POSTCODE.match(re.sub(r"(?<=\d) +[A-Z]{3}.*$", "", upper))
    bare = belgian[1] if belgian else "".join(re.findall(r"[^\W_]+", upper))
    return bare if bare.strip("0") and any(c.isdigit() for c in bare) else None


def municipality(text: str) -> str | None:
    """A NIS code of five digits, or a name as `street` writes names (SINTNIKLAAS)."""
    code = re.match(r"^([1-9]\d{4})(?:\.0+)?$", text.strip())
    return code[1] if code else street(text)


def code(text: str) -> str | None:
    """Trimmed and in capitals; None for marks alone and for words that say nothing."""
    upper = text.strip().upper()
    nothing = upper in UNKNOWN_NAMES and len(upper) > 3
    return None if nothing or not any(c.isalnum() for c in upper) else upper


_LETTERS_AND_DIGITS: Final = ascii_uppercase + digits
_NO_APOSTROPHE: Final = "".join(chr(c) for c in range(128) if chr(c) not in "'`")
_NOBODY: Final = pa.array(["", *sorted(UNKNOWN_NAMES)])
_PARTICLE_BEHIND: Final = "[^A-Z](?:" + "|".join(sorted(PARTICLES)) + ")[^A-Z]*$"
_ABBREVIATED: Final = (
    "(?:^|[^A-Z0-9])(?:"
    + "|".join(sorted({*_STREET_WORDS, *_STREET_FIRST, *_STREET_LAST}))
    + ")(?:[^A-Z0-9]|$)|STR[^A-Z0-9]*$"
)
MISSING: Final = frozenset(
    {"nan", "NaN", "NaT", "None", "null", "NULL", "<NA>", "N/A", "n/a", "#N/A", "n.a.", "N.A."}
)
"""How programs write that there is nothing, exactly so: Nan and Null are names."""


def _by_rule(rule: Callable[[str], str | None]) -> Callable[[Any], Any]:
    return lambda values: each(rule, values)


def _iso_birth_dates(values: Any) -> Any:
    """`birth_date` of every text."""
    iso = pc.match_substring_regex(values, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    quick = only(iso, birth_dates(only(iso, values)))
    unsure = pc.and_(pc.is_valid(values), pc.invert(iso))
    return patched(quick, unsure, lambda odd: each(birth_date, odd), values)


def _whole_companies(values: Any) -> Any:
    """Names of companies with their legal form behind."""
    bare, form = _companies(values).values()
    whole = pc.binary_join_element_wise(bare, form, " ", null_handling="skip")
    return only(pc.is_valid(bare), whole)


_names: Final = _quickly(_fast_name, name)
_given_names: Final = _quickly(_fast_given_names, given_names)
_streets: Final = _quickly(_fast_street, street)
_house_numbers: Final = _quickly(_fast_house_number, house_number)
_BY_ARRAY: Final[dict[str, Callable[[Any], Any]]] = {
    "enterprise_number": enterprise_numbers,
    "first_name": _given_names,
    "last_name": _names,
    "company_name": _whole_companies,
    "birth_date": _iso_birth_dates,
    "sex": _by_rule(sex),
    "street": _streets,
    "house_number": _house_numbers,
    "postcode": _quickly(_fast_postcode, postcode),
}


def standardise(field: str, column: Any, *, latest_birth_year: int = LAST_BIRTH_YEAR) -> Any:
    """A column of texts as delivered → the same length, standardised, null where it says nothing.

    `field` is one of the identity fields, or company_name for the last name of a company, which
    keeps its legal form; `latest_birth_year` bounds what a national number
    may say.
    """
    codes, values = encoded(column)
    if field == "national_number":
        standard = national_numbers(values, latest_birth_year)
    else:
        standard = _BY_ARRAY[field](values)
    return standard.take(codes)


def _one(name: str, function: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda values: {name: function(values)}


def _padded_national_numbers(values: Any) -> Any:
    """Also numbers that lost the zeros in front, as spreadsheets do to those born after 1999."""
    long = pc.binary_length(values)
    short = pc.and_(pc.greater_equal(long, 9), pc.less_equal(long, 10))
    short = pc.and_(short, pc.ascii_is_decimal(values))
    return national_numbers(patched(values, short, lambda some: _zeros(some, 11)))


def _houses(values: Any) -> dict[str, Any]:
    standard = _house_numbers(values)
    parts = pc.split_pattern(standard, "/")
    number = pc.list_element(parts, 0) if len(parts) else standard
    box = pc.replace_substring_regex(standard, "^[^/]*/", "")
    return {
        "house_number": number,
        "box": only(pc.match_substring(standard, "/"), box),
    }


def _companies(values: Any) -> dict[str, Any]:
    bare, form = companies(values)
    glued = pc.replace_substring(bare, " ", "")
    return {"company_name": only(pc.is_valid(_known(glued)), bare), "legal_form": form}


_STANDARD: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "national_number": _one("national_number", _padded_national_numbers),
    "enterprise_number": _one("enterprise_number", enterprise_numbers),
    "first_name": _one("first_name", _given_names),
    "last_name": _one("last_name", _names),
    "birth_date": _one("birth_date", birth_dates),
    "birth_year": _one("birth_year", birth_years),
    "sex": _one("sex", _by_rule(lambda text: sex(text.removesuffix(".0")))),
    "street": _one("street", _streets),
    "house_number": _houses,
    "postcode": _one("postcode", _quickly(_fast_postcode, any_postcode)),
    "municipality": _one("municipality", _quickly(_fast_municipality, municipality)),
    "phone": _one("phone", phones),
    "email": _one("email", emails),
    "company_name": _companies,
    "code": _one("code", _codes),
    "text": _one("text", _quickly(_fast_words, words)),
}
_PARTS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "full_name": names,
    "address": addresses,
}


def standard_columns(type: str, column: Any, *, format: str | None = None) -> dict[str, Any]:  # noqa: A002  (the words of a plan)
    """One column of a file, of any Arrow type → its standardised columns, by name.

    `type` is one of `linkage.plans.TYPES`; `format` a birth date's (`%d/%m/%Y`). Each result is a
    dictionary array of texts as long as the column, every text once, null where it says nothing.
    Most types give one column of their own name; house_number gives house_number and box,
    company_name company_name and legal_form, full_name first_name and last_name, address street,
    house_number, box and postcode. Raises LinkageError for a column that holds no single values.
    """
    column = whole(column)
    if type in MOSTLY_DISTINCT and not pa.types.is_dictionary(column.type):
        codes, values = None, texts(column)
    else:
        codes, values = encoded(column)
    values = only(pc.invert(pc.is_in(values, pa.array(sorted(MISSING)))), values)
    if type in _PARTS:
        return _parted(_PARTS[type](values), codes)
    if type == "birth_date":
        return {"birth_date": recoded(codes, birth_dates(values, format))}
    return {name: recoded(codes, standard) for name, standard in _STANDARD[type](values).items()}


def _parted(parts: dict[str, Any], codes: Any | None) -> dict[str, Any]:
    """The standardised columns of the parts of a line, each distinct part done once."""
    columns: dict[str, Any] = {}
    for type_, part in parts.items():
        once = part.dictionary_encode()
        rows = once.indices if codes is None else once.indices.take(codes)
        for name_, standard in _STANDARD[type_](once.dictionary).items():
            columns[name_] = recoded(rows, standard)
    return columns


@cache
def nicknames() -> Mapping[str, int]:
    """First names as `given_names` writes them → the number of the group whose names one person
    goes by: full forms, short forms, spellings and what other languages make of them.

    Every name is in one group, and a group is so tight that two children of one family hardly ever
    fall into it; what two names merely have in common (Jan and Jean, Willem and Guy) is no reason.
    """
    groups: dict[str, int] = {}
    with Path(__file__).with_name("nicknames.csv").open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            for written in (row["name"], *row["variants"].split()):
                groups[given_names(written) or ""] = number
    return MappingProxyType(groups)
