"""Columns of texts, whatever Arrow type they come in: once per distinct value, folded alike.

What is plain (ASCII, or letters with the accents of Europe's languages) is folded by Arrow; only
what is odd goes through Python, one distinct value at a time. Both give the same.
"""

import unicodedata
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from linkage.datasets import LinkageError

_LETTERS: Final = str.maketrans(
    {"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Þ": "TH"} | dict.fromkeys("’‘ʼ", "'")
)
# Letters that are a Latin letter once their accents are off, in capitals or not.
_ACCENTED: Final = "À-ÅÇ-ÏÑ-ÖÙ-Ýà-åç-ïñ-öù-ýÿĀ-ďĒ-ĥĨ-ıĴ-ķĹ-ľŃ-ňŌ-őŔ-ťŨ-ž"
_PLAIN: Final = "^[ -~]*$"
_NEARLY_PLAIN: Final = f"^[ -~’‘{_ACCENTED}]*$"
NOTHING: Final = pa.scalar(None, pa.string())


def fold(text: str) -> str:
    """Upper case without accents; letters of other scripts stay as they are."""
    if text.isascii():
        return text.strip().upper()
    apart = unicodedata.normalize("NFKD", text.strip().upper().translate(_LETTERS))
    return "".join(c for c in apart if not unicodedata.combining(c)).upper().translate(_LETTERS)


def folded(values: Any) -> Any:
    """`fold` of every text of an array of texts; null stays null."""
    upper = pc.ascii_upper(values)
    return patched(upper, pc.invert(pc.ascii_is_alpha(values)), _trimmed)


def _trimmed(upper: Any) -> Any:
    """The same for texts that aren't just letters."""
    trimmed = pc.ascii_trim(upper, " ")
    return patched(
        trimmed, pc.invert(pc.match_substring_regex(upper, _PLAIN)), _without_accents, upper
    )


def _without_accents(upper: Any) -> Any:
    straight = pc.replace_substring_regex(pc.utf8_upper(upper), "[’‘]", "'")
    apart = pc.utf8_normalize(straight, "NFKD")
    bare = pc.ascii_trim(pc.replace_substring_regex(apart, r"\p{Mn}", ""), " ")
    return patched(
        bare,
        pc.invert(pc.match_substring_regex(upper, _NEARLY_PLAIN)),
        lambda odd: each(fold, odd),
        upper,
    )


def kept(values: Any, characters: str, *, spaced: bool = False) -> Any:
    """Texts with nothing but these ASCII characters; `spaced`: runs of others become one space.

    The same as replacing by a regular expression, byte by byte over the whole array at once.
    """
    offsets, data = _bytes(values)
    wanted = np.zeros(256, np.bool_)
    wanted[np.frombuffer(characters.encode("ascii"), np.uint8)] = True
    keep = wanted[data]
    if spaced:
        # A space stands for the first of a run, unless the text starts with it.
        before = np.ones(len(data) + 1, np.bool_)
        before[1:] = keep
        before[offsets] = False
        gap = ~keep & before[:-1]
        data, keep = np.where(gap, np.uint8(ord(" ")), data), keep | gap
    ends = np.zeros(len(data) + 1, np.int32)
    np.cumsum(keep, out=ends[1:])
    left = pa.StringArray.from_buffers(
        len(values), pa.py_buffer(ends[offsets]), pa.py_buffer(data[keep])
    )
    left = pc.ascii_rtrim(left, " ") if spaced else left
    return only(pc.is_valid(values), left) if values.null_count else left


def _bytes(values: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Where each text of an array starts and ends, and the bytes of all."""
    _, ends, data = values.buffers()
    if not len(values) or data is None:
        return np.zeros(len(values) + 1, np.int32), np.zeros(0, np.uint8)
    offsets = np.frombuffer(ends, np.int32)[values.offset : values.offset + len(values) + 1]
    return offsets - offsets[0], np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def patched(
    values: Any, mask: Any, function: Callable[[Any], Any], originals: Any | None = None
) -> Any:
    """The array with `function` of its texts (or of `originals`) where the mask says so."""
    mask = pc.fill_null(mask, False)
    if not pc.any(mask).as_py():
        return values
    return pc.replace_with_mask(
        values, mask, function((values if originals is None else originals).filter(mask))
    )


def each(function: Callable[[str], str | None], values: Any) -> Any:
    """An array of `function` of every text; null stays null."""
    return pa.array(
        [None if value is None else function(value) for value in values.to_pylist()], pa.string()
    )


def only(mask: Any, values: Any) -> Any:
    """The texts where the mask is true, null elsewhere."""
    return pc.if_else(pc.fill_null(mask, False), values, NOTHING)


def single_values(kind: Any) -> bool:
    """Whether a column of this Arrow type holds texts, numbers or dates, one a row."""
    if kinds.is_dictionary(kind):
        return single_values(kind.value_type)
    holds_others = (
        kinds.is_nested,
        kinds.is_binary,
        kinds.is_large_binary,
        kinds.is_binary_view,
        kinds.is_fixed_size_binary,
    )
    return not any(is_such(kind) for is_such in holds_others)


def whole(column: Any) -> Any:
    """A column as one array. Raises LinkageError when it holds no single values."""
    if not single_values(column.type):
        raise LinkageError(f"a column of type {column.type} holds no texts, numbers or dates")
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def texts(values: Any) -> Any:
    """An array of single values as texts: whole numbers without a point, ISO dates."""
    kind = values.type
    if kinds.is_floating(kind):
        values = _whole_numbers(values)
    elif kinds.is_timestamp(kind):
        local = pc.local_timestamp(values) if kind.tz else values
        values = local.cast(pa.date32(), safe=False)
    elif kinds.is_date64(kind):
        values = values.cast(pa.date32())
    return values if kinds.is_string(kind) else values.cast(pa.string())


def _whole_numbers(values: Any) -> Any:
    """Doubles as whole numbers where every one is (a column of integers with gaps, as pandas)."""
    numbers = values.cast(pa.float64())
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    whole_ones = pc.all(pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(numbers, 1e18)))
    return numbers.cast(pa.int64()) if whole_ones.as_py() is not False else numbers


def encoded(column: Any) -> tuple[Any, Any]:
    """A column's codes and the array of texts they stand for; the texts of a Parquet dictionary
    are taken as they are, so the same one may stand there twice."""
    column = whole(column)
    if not kinds.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.indices, texts(column.dictionary)


def recoded(codes: Any | None, standard: Any) -> Any:
    """A dictionary array of standard texts, each with one code.

    `standard` has an entry per code of `codes`, or per row when that is None.
    """
    once = standard.dictionary_encode()
    if codes is None:
        return once
    rows = once.indices.take(codes)
    return pa.DictionaryArray.from_arrays(rows.cast(pa.int32()), once.dictionary)


def split(values: Any, pattern: str, *names: str) -> tuple[Any, ...]:
    """The named groups of a pattern (RE2) as arrays; null where it doesn't match."""
    found = pc.extract_regex(values, pattern)
    return tuple(pc.if_else(pc.is_valid(found), found.field(n), NOTHING) for n in names)


def integers(values: Any) -> Any:
    """Texts of digits as numpy integers, 0 for null and for the empty text."""
    filled = pc.if_else(pc.equal(pc.fill_null(values, ""), ""), "0", pc.fill_null(values, "0"))
    return np.asarray(filled.cast(pa.int64()))
