"""Numbers read in whole columns are those that the slow way reads (S25)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage.kernel.blocks import block, pairs_of
from linkage.kernel.columns import Encoded, Side, number_codes
from linkage.standardise import enterprise_numbers, national_numbers

VALID = st.sampled_from(["85073003328", "00012556777", "85.07.30-033.28", "85 07 30 033 28"])
WRITTEN = VALID | st.text("0123456789. -/xBE٣", max_size=22)


@pytest.mark.parametrize(
    ("kind", "slowly"),
    [("national_number", national_numbers), ("enterprise_number", enterprise_numbers)],
)
@given(texts=st.lists(st.none() | WRITTEN | st.just("0403.170.701"), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_columns_are_read_as_single_values_are(
    kind: str, slowly: object, texts: list[str | None]
) -> None:
    column = pa.array(texts, pa.string())
    expected = pc.cast(slowly(pc.fill_null(column, "")), pa.int64())  # type: ignore[operator]
    assert number_codes(kind, column).tolist() == pc.fill_null(expected, -1).to_pylist()
    assert number_codes(kind, column.dictionary_encode()).tolist() == (
        pc.fill_null(expected, -1).to_pylist()
    )


def test_few_rows_find_their_candidates_among_many() -> None:
    generator = np.random.default_rng(4)
    few = generator.integers(0, 5000, 40).astype(np.int32)
    many = generator.integers(0, 5000, 20_000).astype(np.int32)
    for a, b in ((few, many), (many, few)):
        encoded = Encoded(Side(len(a), {"code": a}), Side(len(b), {"code": b}), {}, {}, 1)
        found = block(encoded, ("code",))
        at, place = pairs_of(found, 0, len(found.a))
        pairs = {(int(x), int(y)) for x, y in zip(found.a[at], found.b[place], strict=True)}
        assert pairs == {(x, y) for x in range(len(a)) for y in np.flatnonzero(b == a[x]).tolist()}
