"""Is a text somebody's name.

A first name alone can't be told from a word, and half of the country's surnames are in no list. So
a name is found in one of three ways:

- in any text, a first name with a published surname beside it, both with a capital (or both all
  there is in the value): one is enough;
- a first name beside some other word with a capital, or all there is beside it: when at least one
  in ten of a column's texts of several words is so, and three different ones;
- a column of single first names (half of its rows) or surnames (a quarter of them), five different
  ones at least.
"""

import re
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FEWEST_PAIRS, _SHARE_OF_PAIRS = 3, 0.1
_FEWEST, _SHARE_OF_FIRST, _SHARE_OF_LAST = 5, 0.5, 0.25
_PARTICLES = frozenset(
    ["van", "de", "der", "den", "het", "ten", "ter", "te", "la", "le", "du", "von", "el", "ben"]
)  # fmt: skip
_LONGEST = 4
"""Words that a surname has at most."""
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_TWO_WORDS = r"\p{L}{2,}[ ,]+\p{L}"
_LETTERS = r"^\p{L}[\p{L} '’\-]*$"


def _folded(text: str) -> str:
    """Capitals and accents aside."""
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


@cache
def _listed(file: str) -> frozenset[str]:
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    return frozenset(_folded(name) for name in text.splitlines())


def first_names() -> frozenset[str]:
    """First names with at least five bearers, without capitals and accents."""
    return _listed("first_names.txt")


def surnames() -> frozenset[str]:
    """The most common surnames, without capitals and accents."""
    return _listed("surnames.txt")


def named(values: Any, rows: Any) -> Any:
    """Which of a column's distinct texts name somebody; `rows` says how many rows have each.

    Work is once per distinct value. Returns a flag for each.
    """
    found = np.zeros(len(values), bool)
    where = np.flatnonzero(
        pc.match_substring_regex(values, _TWO_WORDS).to_numpy(zero_copy_only=False)
    )
    texts = values.take(pa.array(where, pa.int64())).to_pylist()
    strength = np.array([_strength(text) for text in texts], np.int64)
    found[where[strength == 2]] = True
    likely = strength > 0
    if likely.sum() >= max(_FEWEST_PAIRS, _SHARE_OF_PAIRS * len(where)):
        found[where[likely]] = True
    return found | _single(values, np.maximum(rows, 1))


def _strength(text: str) -> int:
    """2 where a first name has a published surname beside it, 1 where it has another word that
    looks like one, 0 where it has neither."""
    found = list(_WORD.finditer(text))
    words = [match.group() for match in found]
    folded = [_folded(word) for word in words]
    gaps = [text[one.end() : other.start()] for one, other in pairwise(found)]
    beside = [gap in (" ", ", ", ",", "  ") for gap in gaps]
    whole = (
        len(words) <= _LONGEST + 1 and all(beside) and "".join(words) == re.sub(r"[ ,]+", "", text)
    )
    best = 0
    for place, word in enumerate(folded):
        if word not in first_names() or len(word) < 3 or word in _PARTICLES:
            continue
        if not whole and not words[place][0].isupper():
            continue
        best = max(best, _beside(words, folded, beside, place, whole=whole))
        if best == 2:
            break
    return best


def _beside(
    words: list[str], folded: list[str], beside: list[bool], place: int, *, whole: bool
) -> int:
    """What stands before or after a first name: a published surname 2, what looks like one 1."""
    best = 0
    after, before = [], []
    for size in range(1, _LONGEST + 1):
        if place + size < len(words) and all(beside[place : place + size]):
            after.append((place + 1, place + size + 1))
        if place - size >= 0 and all(beside[place - size : place]):
            before.append((place - size, place))
    for start, stop in (*after, *before):
        head = next((at for at in range(start, stop) if folded[at] not in _PARTICLES), None)
        if head is None or not (whole or words[head][0].isupper()):
            continue
        name = " ".join(folded[start:stop])
        if name in surnames() or name.replace(" ", "") in surnames():
            return 2
        if head == stop - 1 and (whole or start > place) and len(folded[head]) > 2:
            best = 1
    return best


def _single(values: Any, rows: Any) -> Any:
    """Which values are a first name or a surname and nothing else, in columns that are full of
    them."""
    plain = pc.match_substring_regex(values, _LETTERS).to_numpy(zero_copy_only=False)
    where = np.flatnonzero(plain)
    found = np.zeros(len(values), bool)
    if len(where) < _FEWEST:
        return found
    folded = [_folded(text) for text in values.take(pa.array(where, pa.int64())).to_pylist()]
    total = rows.sum()
    for known, share in ((first_names(), _SHARE_OF_FIRST), (surnames(), _SHARE_OF_LAST)):
        hits = where[np.array([text in known for text in folded], bool)]
        if len(hits) >= _FEWEST and rows[hits].sum() >= share * total:
            found[hits] = True
    return found
