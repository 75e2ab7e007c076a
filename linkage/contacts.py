"""Telephone numbers and e-mail addresses in one form."""

from string import digits
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.folding import integers, kept, only, patched

_EXTENSION: Final = r"(?i)[ ,;/]*(?:\b(?:ext|extension|poste|toestel|tst|intern|app)\b|\bx|#).*$"
_SHORTEST, _LONGEST = 6, 15
_ONES: Final = np.array([int("1" * max(size, 1)) for size in range(_LONGEST + 1)])
"""One, eleven, a hundred and eleven …: they divide what is one digit over and over."""


def phones(values: Any) -> Any:
    """Belgian numbers as +32 and eight or nine digits, foreign ones with + and their country.

    `0` in front, `00`, `+32 (0)` and an extension are written away; a number that has no country
    and isn't Belgian by its length stays as its digits. Null for fewer than six digits, more than
    fifteen (ITU-T E.164), or one digit over and over.
    """
    bare = patched(values, pc.match_substring_regex(values, "[A-Za-z#]"), _without_extension)
    figures = kept(bare, digits)
    length = np.asarray(pc.fill_null(pc.binary_length(figures), 0)).astype(np.int64)
    fits = (length >= _SHORTEST) & (length <= _LONGEST + 2)
    number = integers(only(pa.array(fits), figures))
    plus = _mask(pc.starts_with(pc.ascii_ltrim(bare, " ("), "+"))
    zeros = _mask(pc.starts_with(figures, "00")) & ~plus
    length = length - 2 * zeros
    fits &= (length >= _SHORTEST) & (length <= _LONGEST)
    rest = 10 ** np.clip(length - 2, 0, _LONGEST)
    # Some write 32 without a plus; a Belgian number by itself has nine digits at most.
    country = (plus | zeros | (length >= 10)) & (number // rest == 32)
    national = np.where(country, number % rest, number)
    size = np.searchsorted(10 ** np.arange(_LONGEST + 1), national, side="right")
    trunk_zeros = np.where(country, length - 2, length) - size
    belgian = (country | ~(plus | zeros)) & (size >= 8) & (size <= 9) & (trunk_zeros <= 1)
    worldwide = np.where(belgian, 32 * 10 ** np.clip(size, 0, 9) + national, number)
    fits &= national % _ONES[size] > 0
    with_country = pc.binary_join_element_wise("+", pa.array(worldwide).cast(pa.string()), "")
    return only(pa.array(fits), pc.if_else(pa.array(belgian | plus | zeros), with_country, figures))


def _without_extension(values: Any) -> Any:
    return pc.replace_substring_regex(values, _EXTENSION, "")


def _mask(values: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False))


def emails(values: Any) -> Any:
    """Lower case, without `mailto:`; null for what isn't one thing, @, and another thing."""
    lower = pc.utf8_trim_whitespace(pc.ascii_lower(values))
    lower = patched(lower, pc.invert(pc.string_is_ascii(lower)), pc.utf8_lower)
    lower = patched(
        lower,
        pc.starts_with(lower, "mailto:"),
        lambda some: pc.utf8_slice_codeunits(some, 7, None),
    )
    return only(pc.match_substring_regex(lower, r"^[^@\s]+@[^@\s]+$"), lower)
