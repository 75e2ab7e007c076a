"""Bounds on likeness (S26): never below the likeness itself, whatever the texts."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import JaroWinkler

from linkage.kernel.alike import ceiling, contained, likeness
from linkage.kernel.columns import Vocabulary

NAMES = st.text("ABCDEÉ -'19", min_size=1, max_size=9) | st.text(min_size=1, max_size=40)


def both(one: str, other: str) -> tuple[Vocabulary, np.ndarray, np.ndarray]:
    words = Vocabulary(pa.array([one, other]))
    return words, np.array([0], np.int32), np.array([1], np.int32)


@given(NAMES, NAMES)
@settings(max_examples=400, deadline=None)
def test_the_bound_is_never_below_the_likeness(one: str, other: str) -> None:
    words, left, right = both(one, other)
    exact = JaroWinkler.similarity(one, other)
    assert likeness(words, left, right)[0] == np.float32(exact)
    assert ceiling(words, left, right)[0] >= exact - 1e-6


def test_the_bound_tells_most_names_apart() -> None:
    """A bound that is always 1 would hold too."""
    generator = np.random.default_rng(5)
    letters = generator.choice(list("ABCDEFGHIKLMNOPRSTUVWZ"), (2000, 7))
    words = Vocabulary(pa.array(["".join(row) for row in letters]))
    left, right = np.arange(1000, dtype=np.int32), np.arange(1000, 2000, dtype=np.int32)
    assert (ceiling(words, left, right) < 0.84).mean() > 0.9


def test_a_partners_name_added_is_a_part() -> None:
    words = Vocabulary(pa.array(["PEETERS", "PEETERSJANSSENS", "JANSSENSPEETERS", "PEETERSON"]))
    left = np.zeros(3, np.int32)
    assert contained(words, left, np.array([1, 2, 3], np.int32)).tolist() == [True, True, False]
