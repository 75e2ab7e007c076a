"""What a value really says: one text per meaning, computed once per distinct value.

`standardise(field, column, latest_birth_year=…)` turns a column as delivered into a column in which
equal things are equal texts and everything that says nothing (an invalid number, an impossible
date, the word for "unknown") is null. Standardising a second time changes nothing.

Sources: the national number and its check are laid down in the Royal Decree of 3 April 1984
(97 minus the first nine digits modulo 97, the digit 2 put in front for births from 2000 on), bis
numbers in the Royal Decree of 8 February 1991 (month raised by 20, or by 40 when the sex is known),
enterprise numbers in the Royal Decree of 24 June 2003 (97 minus the first eight digits modulo 97).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]

PARTICLES: Final = frozenset(
    {
        "VAN",
        "DE",
        "DEN",
        "DER",
        "VANDE",
        "VANDEN",
        "VANDER",
        "VON",
        "TE",
        "TEN",
        "TER",
        "T",
        "DU",
        "DES",
        "LE",
        "LA",
        "LES",
        "D",
        "DI",
        "DA",
        "DELLA",
        "EL",
        "AL",
    }
)
"""Words in front of a surname that some registers put behind it, or glue to it."""

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
DEFAULT_DATES: Final = frozenset({"1900-01-01", "1901-01-01", "1970-01-01", "9999-12-31"})
"""What systems write when they must write a date and have none."""

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
_LETTERS: Final = str.maketrans({"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Þ": "TH"})
_SURNAME_PREFIX: Final = re.compile(
    r"^(?:VANDEN|VANDER|VANDE|VAN|DEN|DER|DES|DE|DU|TER|TEN|TE|LE|LA|VD)(?=.{3})"
)
_HOUSE: Final = re.compile(
    r"^0*(?P<number>[1-9]\d*)\s*(?P<letter>[A-Z](?![A-Z0-9]))?"
    r"[\s/,.-]*(?:(?:BUS|BTE|BOITE|BOX|BT|B)(?![A-Z]))?[\s/,.:-]*0*(?P<box>[0-9A-Z]+)?"
)
_POSTCODE: Final = re.compile(r"^(?:BE?[\s-]*)?([1-9]\d{3})(?:\.0+)?$")
_DATE: Final = re.compile(r"^(\d{4})-(\d{2})-(\d{2})$")

FIRST_BIRTH_YEAR: Final = 1850
LAST_BIRTH_YEAR: Final = 2099


def _folded(text: str) -> str:
    """Upper case without accents; letters of other scripts stay as they are."""
    apart = unicodedata.normalize("NFKD", text.strip().upper().translate(_LETTERS))
    return "".join(c for c in apart if not unicodedata.combining(c)).upper().translate(_LETTERS)


def _words(text: str) -> list[str]:
    """The words of a name: an apostrophe joins, anything else that is no letter parts."""
    joined = re.sub(r"['’‘`´ʼ]", "", _folded(text))
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
    words = re.findall(r"[^\W_]+", re.sub(r"['’‘`´ʼ]", " ", _folded(text)))
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
    found = _HOUSE.match(_folded(text))
    if found is None:
        return None
    number = found["number"] + (found["letter"] or "")
    return f"{number}/{found['box']}" if found["box"] else number


def sex(text: str) -> str | None:
    """M or F from the codes and words in use (M/V, M/F, H/F, 1/2), else None."""
    return _SEX.get(_folded(text))


def postcode(text: str) -> str | None:
    """Four digits from 1000 on, with or without `B-` in front."""
    found = _POSTCODE.match(_folded(text))
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


def _digits(texts: Any, pattern: str, length: int) -> tuple[Any, npt.NDArray[np.bool_], Ints]:
    """The texts stripped of `pattern`, whether `length` digits are left, and those as integers."""
    bare = pc.replace_substring_regex(pc.fill_null(texts, ""), pattern, "")
    fits = pc.match_substring_regex(bare, f"^[0-9]{{{length}}}$")
    numbers = pc.cast(pc.if_else(fits, bare, "0"), pa.int64())
    return bare, np.asarray(fits), np.asarray(numbers).astype(np.int64)


def national_numbers(texts: Any, latest_birth_year: int = LAST_BIRTH_YEAR) -> Any:
    """Eleven digits for every valid national or bis number, null for anything else."""
    bare, fits, numbers = _digits(texts, r"[\s./-]", 11)
    valid = fits & number_facts(numbers, latest_birth_year).valid
    return pc.if_else(pa.array(valid), bare, pa.scalar(None, pa.string()))


def enterprise_numbers(texts: Any) -> Any:
    """Ten digits for every valid enterprise number (old nine-digit ones get their 0), else null."""
    bare = pc.replace_substring_regex(texts, r"(?i)^\s*be", "")
    bare = pc.replace_substring_regex(bare, r"[\s./()-]", "")
    bare = pc.if_else(pc.match_substring_regex(bare, "^[0-9]{9}$"), _with_zero(bare), bare)
    bare, fits, numbers = _digits(bare, r"\s", 10)
    base = numbers // 100
    valid = fits & (numbers < 2 * 10**9) & (base > 0) & (97 - base % 97 == numbers % 100)
    return pc.if_else(pa.array(valid), bare, pa.scalar(None, pa.string()))


def _with_zero(texts: Any) -> Any:
    return pc.binary_join_element_wise("0", texts, "")


_BY_VALUE: Final[dict[str, Callable[[str], str | None]]] = {
    "first_name": name,
    "last_name": name,
    "birth_date": birth_date,
    "sex": sex,
    "street": street,
    "house_number": house_number,
    "postcode": postcode,
}


def standardise(field: str, column: Any, *, latest_birth_year: int = LAST_BIRTH_YEAR) -> Any:
    """A column of texts as delivered → the same length, standardised, null where it says nothing.

    `field` is one of the identity fields; `latest_birth_year` bounds what a national number
    may say.
    """
    encoded = _encoded(column)
    values = encoded.dictionary
    if field == "national_number":
        standard = national_numbers(values, latest_birth_year)
    elif field == "enterprise_number":
        standard = enterprise_numbers(values)
    else:
        standard = pa.array(_each(_BY_VALUE[field], values.to_pylist()), pa.string())
    return standard.take(encoded.indices)


def _each(function: Callable[[str], str | None], values: Iterable[str]) -> list[str | None]:
    return [function(value) for value in values]


def _encoded(column: Any) -> Any:
    """The column as one dictionary array of strings."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column.cast(pa.string()).dictionary_encode()
