"""Telephone numbers and e-mail addresses in one form."""

from typing import Any, Final

import pyarrow.compute as pc

from linkage.folding import only, patched

_EXTENSION: Final = r"(?i)[ ,;/]*(?:\b(?:ext|extension|poste|toestel|tst|intern|app)\b|\bx|#).*$"
_SHORTEST, _LONGEST = 6, 15


def phones(values: Any) -> Any:
    """Belgian numbers as +32 and eight or nine digits, foreign ones with + and their country.

    `0` in front, `00`, `+32 (0)` and an extension are written away; a number that has no country
    and isn't Belgian by its length stays as its digits. Null for fewer than six digits, more than
    fifteen (ITU-T E.164), or one digit over and over.
    """
    bare = patched(values, pc.invert(pc.ascii_is_decimal(values)), _bare)
    plus, zeros = pc.starts_with(bare, "+"), pc.starts_with(bare, "00")
    abroad = pc.or_(plus, zeros)
    number = pc.if_else(plus, _from(bare, 1), pc.if_else(zeros, _from(bare, 2), bare))
    rest = pc.if_else(pc.starts_with(number, "32"), _from(number, 2), number)
    home = pc.if_else(abroad, pc.starts_with(number, "32"), True)
    # Somebody may write 32 without a plus; the number that follows tells it from a trunk's 32.
    bare_country = pc.and_(pc.invert(abroad), pc.greater_equal(pc.binary_length(number), 10))
    national = pc.if_else(pc.or_(abroad, bare_country), rest, number)
    national = pc.if_else(pc.starts_with(national, "0"), _from(national, 1), national)
    long = pc.binary_length(national)
    belgian = pc.and_(home, pc.and_(pc.greater_equal(long, 8), pc.less_equal(long, 9)))
    belgian = pc.and_(belgian, pc.invert(pc.starts_with(national, "0")))
    written = pc.if_else(
        belgian,
        pc.binary_join_element_wise("+32", national, ""),
        pc.if_else(abroad, pc.binary_join_element_wise("+", number, ""), number),
    )
    long = pc.binary_length(number)
    fits = pc.and_(pc.greater_equal(long, _SHORTEST), pc.less_equal(long, _LONGEST))
    return only(pc.and_(fits, pc.invert(_monotonous(national))), written)


def _bare(values: Any) -> Any:
    """Digits, and the plus in front."""
    values = patched(
        values,
        pc.match_substring_regex(values, "[A-Za-z#]"),
        lambda some: pc.replace_substring_regex(some, _EXTENSION, ""),
    )
    plus = pc.starts_with(pc.ascii_ltrim(values, " ("), "+")
    digits = pc.replace_substring_regex(values, "[^0-9]+", "")
    return pc.if_else(plus, pc.binary_join_element_wise("+", digits, ""), digits)


def _from(values: Any, start: int) -> Any:
    return pc.utf8_slice_codeunits(values, start, None)


def _monotonous(digits: Any) -> Any:
    return pc.match_substring_regex(digits, "^(?:" + "|".join(f"{d}+" for d in range(10)) + ")$")


def emails(values: Any) -> Any:
    """Lower case, without `mailto:`; null for what isn't one thing, @, and another thing."""
    lower = pc.utf8_trim_whitespace(pc.utf8_lower(values))
    lower = patched(
        lower,
        pc.starts_with(lower, "mailto:"),
        lambda some: pc.utf8_slice_codeunits(some, 7, None),
    )
    return only(pc.match_substring_regex(lower, r"^[^@\s]+@[^@\s]+$"), lower)
