"""How alike two texts can be at most, from a few integers; and how alike they are.

The likeness is that of Jaro (1989) with Winkler's prefix (1990): M. A. Jaro, Advances in
record-linkage methodology as applied to matching the 1985 census of Tampa, Florida, JASA 84; W. E.
Winkler, String comparator metrics and enhanced decision rules, ASA 1990. With c characters matched,
none of them transposed, it is at most (c/|a| + c/|b| + 1)/3, and c is at most the number of
characters that the texts have in common wherever they stand.
"""

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.process import cpdist

from linkage.kernel.columns import Bools, Codes, Vocabulary

Likeness = npt.NDArray[np.float32]

SHORT = 4
"""Letters up to which one slip is looked for beside likeness."""

_PREFIX = np.float32(0.1)
_ROUNDED = np.float32(1e-6)
"""What single precision may take off a bound: LAURA and LAURY are alike by 0.92 exactly."""


def ceiling(words: Vocabulary, left: Codes, right: Codes) -> Likeness:
    """An upper bound on `likeness`, for codes that aren't missing.

    `letters` tells of each letter whether it occurs once, twice; what it doesn't tell (a third
    occurrence, a rare character) is taken to agree.
    """
    common = np.bitwise_count(words.letters[left] & words.letters[right]).astype(np.float32)
    common += np.minimum(words.others[left], words.others[right])
    one, other = words.lengths[left].astype(np.float32), words.lengths[right].astype(np.float32)
    jaro = (common / one + common / other + np.float32(1)) / np.float32(3)
    np.minimum(jaro, np.float32(1), out=jaro)
    bound: Likeness = jaro + _prefix(words, left, right) * _PREFIX * (np.float32(1) - jaro)
    return bound + _ROUNDED


def _prefix(words: Vocabulary, left: Codes, right: Codes) -> Likeness:
    """How many of the first four characters agree before the first that doesn't."""
    differ = words.starts[left] ^ words.starts[right]
    length = np.zeros(len(left), np.float32)
    for mask in (0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF):
        length += (differ & np.uint32(mask)) == 0
    return length


def likeness(words: Vocabulary, left: Codes, right: Codes) -> Likeness:
    """Jaro and Winkler's likeness, 0 to 1, for codes that aren't missing."""
    if not len(left):
        return np.zeros(0, np.float32)
    texts = words.objects
    result: Likeness = cpdist(
        texts[left], texts[right], scorer=JaroWinkler.similarity, dtype=np.float32, workers=1
    )
    return result


def may_be_slip(words: Vocabulary, left: Codes, right: Codes) -> Bools:
    """Whether short texts have letters enough in common to be a slip apart; see `slip`."""
    one, other = words.lengths[left], words.lengths[right]
    longest = np.maximum(one, other)
    may: Bools = (longest <= SHORT) & (longest > 2) & (np.minimum(one, other) > 1)
    rows = np.flatnonzero(may)
    common = np.bitwise_count(words.letters[left[rows]] & words.letters[right[rows]])
    common = common + np.minimum(words.others[left[rows]], words.others[right[rows]])
    may[rows] = common >= longest[rows] - 1
    return may


def slip(words: Vocabulary, left: Codes, right: Codes) -> Bools:
    """Whether one letter added, dropped, replaced or moved by a place makes short texts equal.

    In a name of three letters likeness leaves nothing of a slip.
    """
    result = np.zeros(len(left), np.bool_)
    rows = np.flatnonzero(may_be_slip(words, left, right))
    if len(rows):
        texts = words.objects
        distance = cpdist(
            texts[left[rows]], texts[right[rows]], scorer=OSA.distance, dtype=np.int32, workers=1
        )
        result[rows] = distance <= 1
    return result


def contained(words: Vocabulary, left: Codes, right: Codes) -> Bools:
    """Whether a text of four characters or more begins or ends the other (a partner's name)."""
    may = (words.starts[left] == words.starts[right]) | (words.ends[left] == words.ends[right])
    short = np.minimum(words.lengths[left], words.lengths[right])
    may &= (np.abs(words.lengths[left] - words.lengths[right]) > 2) & (short > 3)
    result = np.zeros(len(left), np.bool_)
    texts = words.objects
    for row in np.flatnonzero(may):
        one, other = texts[left[row]], texts[right[row]]
        brief, long = (one, other) if len(one) < len(other) else (other, one)
        result[row] = long.startswith(brief) or long.endswith(brief)
    return result
