"""Values as their semantic types: each distinct value of a block is checked and typed once."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import Dataset, Variable, date_pattern
from linkage.findings import Findings, Rows
from linkage.reading import TRIMMED
from linkage.standardise import enterprise_numbers, national_numbers, sex

Mask = npt.NDArray[np.bool_]

_OLDEST = 120


Exists = Callable[[Any], Any]
"""Says of an array of distinct texts (nulls among them) which stand for something real."""


class Column:
    """One variable: checks the values of each block and gives them their type."""

    def __init__(
        self,
        variable: Variable,
        dataset: Dataset,
        faults: Findings,
        period: str | None,
        exists: Exists | None,
    ) -> None:
        self.variable = variable
        self._exists = exists
        self._faults = faults
        self._missing = pa.array(dataset.missing, pa.string())
        self._last_year = int(period[:4]) if period and period[:4].isdecimal() else None

    def read(
        self, values: Any, numbers: Rows, amounts: "Amounts"
    ) -> tuple[Any, npt.NDArray[np.uint64]]:
        """Check a block (an Arrow dictionary of texts): values as their type, a hash of each.

        A missing value is one of the declared texts, or null among the dictionary's values.
        """
        codes = values.indices.to_numpy()
        distinct = pc.utf8_trim(values.dictionary, TRIMMED)
        missing = pc.or_(pc.is_null(distinct), pc.is_in(distinct, self._missing))
        present = pc.if_else(missing, pa.scalar(None, pa.string()), distinct)
        typed, bad = self._typed(present, amounts)
        if self.variable.required:
            bad["missing_value"] = missing
        for reason, mask in bad.items():
            wrong = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
            if wrong.any():
                self._faults.note(reason, self.variable.name, numbers[wrong[codes]])
        hashes = [hash(text) & 0xFFFFFFFFFFFFFFFF for text in distinct.to_pylist()]
        return typed.take(values.indices), np.array(hashes, np.uint64)[codes]

    def _typed(self, present: Any, amounts: "Amounts") -> tuple[Any, dict[str, Any]]:
        """Distinct values (null: missing) as their type, and a mask of the bad ones per reason."""
        breaks = "line_break_in_text" if self.variable.type == "text" else "line_break"
        bad = {
            "null_byte": pc.match_substring(present, "\0"),
            breaks: pc.match_substring_regex(present, "[\r\n]"),
            "lost_character": pc.match_substring(present, "\ufffd"),
        }
        if self.variable.codes is not None:
            bad["not_in_code_list"] = pc.and_(
                pc.is_valid(present), _not(pc.is_in(present, pa.array(list(self.variable.codes))))
            )
        if self.variable.type in ("birth_date", "date"):
            typed, found = self._dates(present)
        elif self.variable.type == "amount":
            typed, found = amounts.read(present)
        elif self.variable.type == "weight":
            typed, found = amounts.read(present)
            found["negative_weight"] = pc.less(typed, 0)
        elif self.variable.type == "pseudonym":
            typed, found = _as_old_pseudonym(self.variable.format or "")(present)
        elif self.variable.type == "sex" and self.variable.codes is not None:
            typed, found = present, {}
        else:
            typed, found = _TYPED.get(self.variable.type, _as_text)(present)
        if self._exists is not None:
            nowhere = _not(pc.fill_null(self._exists(present), True))
            for misshapen in found.values():
                nowhere = pc.and_(nowhere, _not(pc.fill_null(misshapen, False)))
            bad["unknown_place"] = nowhere
        return typed, {**bad, **found}

    def _dates(self, present: Any) -> tuple[Any, dict[str, Any]]:
        """ISO text. A birth date may lack its day, or day and month, as zeros: yyyy-00-00."""
        birth = self.variable.type == "birth_date"
        parts = pc.extract_regex(present, date_pattern(self.variable.format or "%Y-%m-%d"))
        year, month, day = (
            pc.fill_null(pc.cast(pc.struct_field(parts, name), pa.int64()), -1).to_numpy()
            for name in ("year", "month", "day")
        )
        known = (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
        known &= day <= _days_in_month(year, month)
        partial = birth & (year >= 0) & (day == 0) & (month >= 0) & (month <= 12) & ~known
        present_here = pc.is_valid(present).to_numpy(zero_copy_only=False)
        bad = {"not_a_date": pa.array(present_here & ~known & ~partial)}
        if birth:
            bad["partial_date"] = pa.array(partial)
            bad["implausible_date"] = pa.array(known & self._implausible(year))
        iso = pc.binary_join_element_wise(
            *(pc.struct_field(parts, name) for name in ("year", "month", "day")), "-"
        )
        return iso, bad

    def _implausible(self, year: Rows) -> Mask:
        if self._last_year is None:
            return np.zeros(len(year), np.bool_)
        return (year > self._last_year) | (year < self._last_year - _OLDEST)


def _days_in_month(year: Rows, month: Rows) -> Rows:
    days = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return np.asarray(days[np.clip(month, 0, 12)] + ((month == 2) & leap), np.int64)


class Amounts:
    """Amounts of a whole file: one decimal mark, declared or shown by the first clear value."""

    def __init__(self, decimal: str | None, thousands: str | None) -> None:
        self.decimal = decimal
        self._thousands = thousands

    def read(self, present: Any) -> tuple[Any, dict[str, Any]]:
        if self.decimal is None:
            self.decimal = _decimal_mark(present)
        if self.decimal is None:
            ambiguous = pc.match_substring_regex(present, r"^-?\d+[.,]\d+$")
            return self._numbers(
                present, r"^-?\d{1,15}([.,]\d+)?$", {"ambiguous_amount": ambiguous}
            )
        return self._numbers(present, self._pattern(self.decimal), {})

    def _pattern(self, decimal: str) -> str:
        whole = r"\d{1,15}"
        if self._thousands is not None:
            whole = rf"({whole}|\d{{1,3}}([{self._thousands}]\d{{3}}){{1,4}})"
        return rf"^-?{whole}([{decimal}]\d+)?$"

    def _numbers(
        self, present: Any, pattern: str, bad: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        fits = pc.match_substring_regex(present, pattern)
        plain = pc.if_else(fits, present, pa.scalar(None, pa.string()))
        if self._thousands is not None:
            plain = pc.replace_substring(plain, self._thousands, "")
        plain = pc.replace_substring(plain, ",", ".")
        return pc.cast(plain, pa.float64()), {"not_an_amount": _not(fits), **bad}


def _decimal_mark(present: Any) -> str | None:
    """The mark of an amount that can't be read otherwise; None when every value leaves it open.

    Three digits after a mark may be thousands. Two clear values that differ: the first one counts,
    and the other is then a fault.
    """
    clear = present.filter(
        pc.fill_null(pc.match_substring_regex(present, r"^-?\d+[.,](\d{1,2}|\d{4,})$"), False)
    )
    return None if not len(clear) else ("," if "," in clear[0].as_py() else ".")


def _not(mask: Any) -> Any:
    return pc.invert(mask)


def _as_text(present: Any) -> tuple[Any, dict[str, Any]]:
    return present, {}


def _matching(reason: str, pattern: str) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    def typed(present: Any) -> tuple[Any, dict[str, Any]]:
        return present, {reason: _not(pc.match_substring_regex(present, pattern))}

    return typed


def _as_old_pseudonym(form: str) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    """One word of at most 64 characters that as a whole has the declared form."""

    def typed(present: Any) -> tuple[Any, dict[str, Any]]:
        word = pc.match_substring_regex(present, "^[A-Za-z0-9][A-Za-z0-9.:/-]{0,63}$")
        fits = pc.and_(word, pc.match_substring_regex(present, f"^(?:{form})$"))
        return present, {"not_in_form": _not(fits)}

    return typed


def _as_integer(present: Any) -> tuple[Any, dict[str, Any]]:
    fits = pc.match_substring_regex(present, r"^-?\d{1,18}$")
    plain = pc.if_else(fits, present, pa.scalar(None, pa.string()))
    return pc.cast(plain, pa.int64()), {"not_an_integer": _not(fits)}


_YES = ("1", "yes", "y", "ja", "j", "oui", "o", "true", "t")
_NO = ("0", "no", "n", "nee", "neen", "non", "nein", "false", "f")


def _as_yes_or_no(present: Any) -> tuple[Any, dict[str, Any]]:
    lower = pc.utf8_lower(present)
    yes = pc.and_(pc.is_valid(lower), pc.is_in(lower, pa.array(_YES)))
    no = pc.and_(pc.is_valid(lower), pc.is_in(lower, pa.array(_NO)))
    known = pc.or_(yes, no)
    typed = pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
    return typed, {"not_yes_or_no": pc.and_(pc.is_valid(present), _not(known))}


def _as_national_number(present: Any) -> tuple[Any, dict[str, Any]]:
    shape = pc.match_substring_regex(present, r"^[ ./-]*([0-9][ ./-]*){11}$")
    return present, _number_faults(shape, national_numbers(pc.fill_null(present, "")))


def _as_enterprise_number(present: Any) -> tuple[Any, dict[str, Any]]:
    shape = pc.match_substring_regex(present, r"^(?i:be)?[ .]*([0-9][ .]*){9,10}$")
    return present, _number_faults(shape, enterprise_numbers(pc.fill_null(present, "")))


def _number_faults(shape: Any, valid: Any) -> dict[str, Any]:
    return {"number_shape": _not(shape), "check_digit": pc.and_(shape, pc.is_null(valid))}


def _as_sex(present: Any) -> tuple[Any, dict[str, Any]]:
    known = [text is None or sex(text) is not None for text in present.to_pylist()]
    return present, {"not_a_sex": _not(pa.array(known, pa.bool_()))}


_TYPED: Final[dict[str, Callable[[Any], tuple[Any, dict[str, Any]]]]] = {
    "national_number": _as_national_number,
    "enterprise_number": _as_enterprise_number,
    "integer": _as_integer,
    "employees": _as_integer,
    "yes_no": _as_yes_or_no,
    "sex": _as_sex,
    "postcode": _matching("not_a_postcode", "^[1-9][0-9]{3}$"),
    "municipality": _matching("not_a_municipality", "^[0-9]{5}$"),
    "nace": _matching("not_a_nace", r"^([A-V]|[0-9]{2}([.]?[0-9]{1,3}|[.]?[0-9]{5})?)$"),
    "quarter": _matching("not_a_quarter", "^[0-9]{4}Q[1-4]$"),
    "year": _matching("not_a_year", "^[0-9]{4}$"),
    "email": _matching("not_an_email", "^[^@]+@[^@]+$"),
}
