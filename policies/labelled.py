"""Tables as Stata and SPSS files, with labels.

Both are written by ReadStat (through pyreadstat) from the same columns:

- Text whose codes are known beforehand (a declared code list, the labels of a rule) and yes/no are
  numbers with value labels `code: title`. A code of digits keeps its number; of other lists the
  first code is 1, the second 2, in the order of the list. Other text stays text.
- A missing number says why. Stata has extended missing values: `.a` not in source, `.b` not linked,
  `.c` suppressed. SPSS has user-defined missing values: -1, -2 and -3 in coded columns, and
  -999999991 to -999999993 in others (ten times as far where a column has such a value itself). The
  column `<name>_status` would say the same again, and is left out.
- A missing text has the code in its place (`_not_linked`), as in the other formats: text has no
  extended missing values.
- Names that a format doesn't allow are changed; `Plan.names` says how.

The writer wants a path. It is given one of a file that lives in memory only, since what leaves is
personal data and no plaintext touches a disk. Both formats hold the time of writing: it is replaced
by a fixed one, so that the same table is the same bytes.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError
from policies.coarsening import MISSING_CODES, STATUS

Texts = Mapping[str, str]
"""The same text by language."""

FORMATS: Mapping[str, int] = {"dta": 32, "sav": 64}
"""Ending of a file → the longest name of a variable."""
_LABEL, _VALUE_LABEL = 80, 120
"""Longest label of a variable (Stata: characters) and of a value (SPSS: bytes)."""
_MOST_CODES = 10_000
_EXACT = 2**53
"""Whole numbers beyond this aren't exact as the doubles that both formats hold."""

_RESERVED = frozenset(
    {
        *("_all", "_b", "byte", "_coef", "_cons", "double", "float", "if", "in", "int", "long"),
        *("_n", "_pi", "_pred", "_rc", "_skip", "strl", "using", "with"),
        *("all", "and", "by", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "to"),
    }
)
"""Words that Stata or SPSS keep for themselves, in small letters (and str1, str2 …)."""
_YES_NO: Mapping[str, Texts] = {
    "false": {"en": "no", "nl": "nee", "fr": "non", "de": "nein"},
    "true": {"en": "yes", "nl": "ja", "fr": "oui", "de": "ja"},
}


@dataclass(frozen=True)
class Described:
    """What a column of a table means: title and, where they are known beforehand, its codes."""

    title: Texts
    codes: Mapping[str, Texts]


@dataclass(frozen=True)
class _Column:
    """One column as both formats have it: numbers (NaN where missing) or text."""

    name: str
    label: str
    values: Any
    missing: Any
    """Of a column of numbers: place of the reason among `MISSING_CODES`, -1 where a value is."""
    numbers: Mapping[str, int]
    """Code → number, of a coded column."""
    value_labels: Mapping[int, str]
    whole: bool


@dataclass(frozen=True)
class Plan:
    """A table ready to be written; `names` gives each column's name by format."""

    columns: Sequence[_Column]
    title: str
    reasons: Sequence[str]
    """Labels of the missing codes, in their order."""
    names: Mapping[str, Mapping[str, str]]

    def of(self, name: str) -> dict[str, Any]:
        """What the data dictionary says of a column in these formats: names that differ, and the
        number of each code."""
        column = next((column for column in self.columns if column.name == name), None)
        if column is None:
            return {}
        names = {ending: named[name] for ending, named in self.names.items()}
        renamed = {ending: other for ending, other in names.items() if other != name}
        return {"names": renamed, "numbers": dict(column.numbers)}


def plan(table: pa.Table, described: Mapping[str, Described], title: Texts, language: str) -> Plan:
    """How a table (as `coarsening.shown` makes its columns) is written: the columns that are
    described (a status column isn't), with labels in a language; a text that isn't there in it is
    taken from another."""
    names = [name for name in table.column_names if name in described]
    columns = [_column(name, table, described[name], language) for name in names]
    reasons = [
        _said({str(at): text for at, text in texts.items()}, language)
        for texts in MISSING_CODES.values()
    ]
    by_format = {ending: _names(names, longest) for ending, longest in FORMATS.items()}
    return Plan(columns, _said(title, language), reasons, by_format)


def _said(texts: Texts, language: str) -> str:
    """A text in a language, or in the first there is."""
    return next((texts[at] for at in (language, "en", "nl", "fr", "de") if texts.get(at)), "")


def _bytes(text: str) -> int:
    return len(text.encode())


def _cut(text: str, most: int, size: Callable[[str], int] = len) -> str:
    if size(text) <= most:
        return text
    while size(text) > most - 3:
        text = text[:-1]
    return text + "…"


def _column(name: str, table: pa.Table, about: Described, language: str) -> _Column:
    values, codes = table[name].combine_chunks(), about.codes
    status = table[name + STATUS].combine_chunks() if name + STATUS in table.column_names else None
    label = _cut(_said(about.title, language), _LABEL)
    if pa.types.is_boolean(values.type):
        values, codes = values.cast(pa.string()), _YES_NO
    whole = pa.types.is_integer(values.type)
    if whole and (pc.max(pc.abs(values)).as_py() or 0) > _EXACT:
        values = pc.coalesce(values.cast(pa.string()), status)
    if not pa.types.is_string(values.type):
        missing = None if status is None else _reasons(status)
        found = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        return _Column(name, label, found, missing, {}, {}, whole)
    numbers = _numbers(codes)
    said = values if status is None else pc.coalesce(values, status)
    known = [*numbers, *MISSING_CODES]
    all_known = pc.all(pc.is_in(said, value_set=pa.array(known)), min_count=0)  # of none as well
    if not numbers or not all_known.as_py():
        return _Column(name, label, said, None, {}, {}, whole=False)
    coded = np.array([*numbers.values(), *(np.nan for _ in MISSING_CODES)], np.float64)
    found = coded[pc.index_in(said, value_set=pa.array(known)).to_numpy(zero_copy_only=False)]
    shown = {code: "" if codes is _YES_NO else code for code in numbers}
    labels = {
        number: _value_label(shown[code], _said(codes[code], language))
        for code, number in numbers.items()
    }
    return _Column(name, label, found, _reasons(said), numbers, labels, whole=True)


def _value_label(code: str, title: str) -> str:
    return _cut(": ".join(filter(None, [code, title])), _VALUE_LABEL, _bytes)


def _numbers(codes: Mapping[str, Texts]) -> dict[str, int]:
    """A number for each code of a list: its own if all are digits, else its place."""
    if not codes or len(codes) > _MOST_CODES:
        return {}
    if codes is _YES_NO:
        return {"false": 0, "true": 1}
    if all(re.fullmatch("[0-9]{1,9}", code) for code in codes):
        own = {code: int(code) for code in codes}
        if len(set(own.values())) == len(own):
            return own
    return {code: place for place, code in enumerate(codes, 1)}


def _reasons(texts: Any) -> Any:
    """Place of each text among the missing codes, -1 where it is none."""
    found = pc.index_in(texts, value_set=pa.array(list(MISSING_CODES)))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False)


def _names(names: Sequence[str], longest: int) -> dict[str, str]:
    """Names that both programs allow: a letter first, then letters, digits and underscores, no
    reserved word, no two alike but for capitals."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not re.match("[A-Za-z]", plain):
            plain = f"v{plain}"
        if name.lower() in _RESERVED or plain.lower() in _RESERVED or _is_type(plain):
            plain = f"{plain}_v"
        plain = plain[:longest].rstrip("_")
        number = 1
        chosen = plain
        while chosen.lower() in taken:
            number += 1
            chosen = f"{plain[: longest - len(str(number)) - 1]}_{number}"
        taken.add(chosen.lower())
        found[name] = chosen
    return found


def _is_type(name: str) -> bool:
    """Stata's names of string types."""
    return re.fullmatch("str[0-9]+", name.lower()) is not None


# --- writing -------------------------------------------------------------------------------------


def stata(planned: Plan) -> bytes:
    """A Stata file, format 118 (Stata 14 and later, UTF-8)."""
    import pyreadstat  # brings pandas in: half a second that no other command should wait for

    names = planned.names["dta"]
    letters = np.array([*"abc", None], object)
    columns: dict[str, Any] = {}
    labels: dict[str, dict[Any, str]] = {}
    missing: dict[str, Any] = {}
    for column in planned.columns:
        name, values = names[column.name], column.values
        labels[name] = dict(column.value_labels)
        if column.missing is not None:
            labels[name] |= dict(zip("abc", planned.reasons, strict=True))
            missing[name] = list("abc")
            values = np.where(column.missing >= 0, letters[column.missing], values)
        columns[name] = values
    made = _in_memory(
        lambda path: pyreadstat.write_dta(
            _frame(columns),
            path,
            version=14,
            file_label=_cut(planned.title, _LABEL),
            column_labels=_labels(planned, names),
            variable_value_labels={name: known for name, known in labels.items() if known},
            missing_user_values=missing,
        )
    )
    place = made.find(b"<timestamp>\x11") + len(b"<timestamp>\x11")
    return _dated(made, place, b"01 Jan 1970 00:00")


def spss(planned: Plan) -> bytes:
    """An SPSS system file (.sav, UTF-8, compressed by rows)."""
    import pyreadstat

    names = planned.names["sav"]
    columns: dict[str, Any] = {}
    labels: dict[str, dict[Any, str]] = {}
    missing: dict[str, Any] = {}
    formats, measures = {}, {}
    for column in planned.columns:
        name, values = names[column.name], column.values
        labels[name] = dict(column.value_labels)
        if column.missing is not None:
            stands = _stand_ins(column)
            labels[name] |= dict(zip(stands, planned.reasons, strict=True))
            missing[name] = stands
            values = np.where(column.missing >= 0, np.array([*stands, 0])[column.missing], values)
        if not isinstance(values, pa.Array):
            formats[name] = "F12.0" if column.whole else "F12.2"
            measures[name] = "nominal" if column.numbers else "scale"
        columns[name] = values
    made = _in_memory(
        lambda path: pyreadstat.write_sav(
            _frame(columns),
            path,
            row_compress=True,
            file_label=_cut(planned.title, 60, _bytes),
            column_labels=_labels(planned, names),
            variable_value_labels={name: known for name, known in labels.items() if known},
            missing_ranges=missing,
            variable_format=formats,
            variable_measure=measures,
        )
    )
    # header: $FL2, product (60 bytes), four integers, the number of cases and a bias of 8 bytes
    return _dated(made, 92 if made.startswith(b"$FL2") else -1, b"01 Jan 7000:00:00")


def _stand_ins(column: _Column) -> list[int]:
    """Numbers that stand for the missing codes in SPSS; none is a value of the column."""
    stands = [-1, -2, -3] if column.numbers else [-999_999_991, -999_999_992, -999_999_993]
    while np.isin(column.values, stands).any():
        stands = [number * 10 for number in stands]
    return stands


def _labels(planned: Plan, names: Mapping[str, str]) -> dict[str, str | None]:
    return {names[column.name]: column.label for column in planned.columns}


def _frame(columns: Mapping[str, Any]) -> Any:
    """What the writer takes: columns of numbers, of objects, or of text."""
    import pandas as pd

    plain = {
        name: pd.Series(
            values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values,
            dtype=object if isinstance(values, pa.Array) else None,
        )
        for name, values in columns.items()
    }
    return pd.DataFrame(plain)


def _in_memory(write: Callable[[str], None]) -> bytes:
    """What `write` puts into a file at the path it is given; the file has no place on a disk."""
    descriptor = os.memfd_create("table", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        write(f"/proc/self/fd/{descriptor}")
        file.seek(0)
        return file.read()


_TIMES = re.compile(rb"[0-9]{2} [A-Z][a-z]{2} ([0-9]{4} [0-9]{2}:[0-9]{2}|[0-9]{2}[0-9:]{8})")


def _dated(made: bytes, place: int, fixed: bytes) -> bytes:
    """The file with a fixed time of writing where the writer put the clock's."""
    until = place + len(fixed)
    if place < 0 or not _TIMES.fullmatch(made[place:until]):
        raise PolicyError(
            "the writer of Stata and SPSS files has changed where it puts the time; this version "
            "can't be used, since the same release would give other bytes"
        )
    return made[:place] + fixed + made[until:]
