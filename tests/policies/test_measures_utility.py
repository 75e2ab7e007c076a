"""What protection cost: by hand, and against scipy."""

from math import log2, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association, crosstab

from policies.disclosure.encoding import DisclosureError, Keys, coded
from policies.disclosure.utility import cramers_v, il1s, utility

AGES = {"age": ["15", "16", "20", "20"], "sex": ["f", "m", "f", "m"]}
CLASSES = {"age": ["15-19", "15-19", "20-24", "20-24"], "sex": ["f", "m", "f", ""]}


def test_by_hand() -> None:
    """Two of three ages become one class: (2 - 1)/(3 - 1) for two of four rows. Of two sexes one
    is withheld once: 1 for one of four rows."""
    found = utility(Keys.of(AGES), Keys.of(CLASSES))
    assert found.loss == {"age": 0.25, "sex": 0.25}
    assert found.mean_loss == 0.25
    whole = -(log2(1 / 4) + log2(1 / 4) + 2 * log2(2 / 4))
    assert found.entropy["age"] == pytest.approx(-2 * log2(1 / 2) / whole)
    assert found.distributions == {"age": 1.0, "sex": 0.25}
    assert set(found.associations) == {"age, sex"}


def test_an_unchanged_file_lost_nothing() -> None:
    found = utility(Keys.of(AGES), Keys.of(AGES))
    zero = {"age": 0, "sex": 0}
    assert (found.loss, found.entropy, found.distributions) == (zero, zero, zero)
    assert found.associations == {"age, sex": 0}
    gone = {"age": ["", "", None, ""], "sex": AGES["sex"]}
    assert utility(Keys.of(gone), Keys.of(gone)).mean_loss == 0
    lost = utility(Keys.of(AGES), Keys.of(gone))
    assert (lost.loss["age"], lost.entropy["age"], lost.mean_entropy) == (1, 1, 0.5)


columns = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=40)


@given(columns)
def test_association_is_scipys(rows: list[tuple[int, int]]) -> None:
    a, b = (np.array(one) for one in zip(*rows, strict=True))
    table = crosstab(a, b).count
    if min(table.shape) < 2:
        assert cramers_v(coded(a), coded(b)) == 0
    else:
        assert cramers_v(coded(a), coded(b)) == pytest.approx(association(table), abs=1e-9)


@given(columns)
def test_coarser_never_loses_less(rows: list[tuple[int, int]]) -> None:
    """Joining released values further raises loss and entropy, which stay between 0 and 1."""
    original = [one for one, _ in rows]
    fine, coarse = [one // 2 for one in original], [0 for _ in original]
    table = [Keys.of({"x": one}) for one in (original, fine, coarse)]
    losses = [utility(table[0], one) for one in table]
    for name in ("loss", "entropy"):
        found = [getattr(one, name)["x"] for one in losses]
        assert found[0] == 0
        assert -1e-12 <= found[1] <= found[2] + 1e-12 <= 1 + 1e-9


def test_il1s() -> None:
    """|1 - 2| over sqrt(2) times the deviation of 1, 2, 3, which is 1; two columns, three rows, one
    changed value."""
    original = {"a": [1.0, 2.0, 3.0], "b": [5.0, 5.0, 5.0]}
    released = {"a": [2.0, 2.0, 3.0], "b": [5.0, None, 5.0]}
    assert il1s(original, released, ["a", "b"]) == pytest.approx(1 / (3 * 2 * sqrt(2)))
    assert il1s(original, original, ["a"]) == 0
    with pytest.raises(DisclosureError, match="no change can be measured"):
        il1s(original, {"b": [5.0, 6.0, 5.0]}, ["b"])
    with pytest.raises(DisclosureError, match="isn't all numbers"):
        il1s({"a": ["x"]}, {"a": [1]}, ["a"])
    with pytest.raises(DisclosureError, match="name at least one"):
        il1s(original, released, [])
    with pytest.raises(DisclosureError, match="another length"):
        il1s(original, {"a": [1.0]}, ["a"])


def test_rows_that_arent_there_are_refused() -> None:
    with pytest.raises(DisclosureError, match="4 rows and the release 1"):
        utility(Keys.of(AGES), Keys.of({"age": ["15"], "sex": ["f"]}))
