"""Special uniques: sdcMicro's own cases, the Practice Guide's, and plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.disclosure.encoding import DisclosureError, Keys
from policies.disclosure.frequencies import Groups, Missing, frequencies
from policies.disclosure.suda import Scores, Suda, suda
from tests.policies import plain
from tests.policies.test_measures import GUIDE, keys_of


def found(table: dict[str, list[object]], scores: Scores = Scores.ELLIOT) -> Suda:
    return suda(Groups.of(Keys.of(table)), scores=scores)


def test_the_practice_guide() -> None:
    """Table 4.5 of the SDC Practice Guide, worked out there for record 5: one MSU of one key and
    three of two. Its DIS-SUDA scores are those of the IHSN's weights, for a sample of 1%."""
    scored = found(GUIDE)
    assert scored.per_row.tolist() == [0, 0, 6, 0, 12, 0, 6, 10, 0, 0]
    other = found(GUIDE, Scores.IHSN)
    published = [0, 0, 0.0051, 0, 0.0107, 0, 0.0051, 0.0088, 0, 0]
    assert other.dis(0.01)[other.groups.of_row] == pytest.approx(published, abs=0.00005)


def test_the_book() -> None:
    """sdcMicro's test "suda2 book example" (Templ, Statistical Disclosure Control for Microdata,
    2017): scores 4, 2, 6 and 8 of the last four records."""
    scored = found(
        {
            "age": ["20s"] * 7 + ["60s"],
            "gender": ["male"] * 4 + ["female"] * 3 + ["male"],
            "income": ["50k+"] * 2 + ["50k-"] * 6,
            "education": ["highschool"] * 4 + ["university", "highschool", "middle", "university"],
        }
    )
    assert scored.per_row.tolist()[4:] == [4, 2, 6, 8]


@pytest.mark.parametrize("order", ["abc", "acb", "cab", "cba"])
def test_contributions(order: str) -> None:
    """sdcMicro's four tests "suda2 simple example": a 50%, b and c 37.5%, in whatever order."""
    table: dict[str, list[object]] = {"a": [2, 1, 1], "b": [0, 3, 0], "c": [0, 6, 0]}
    scored = found({key: table[key] for key in order})
    assert scored.contributions == pytest.approx({"a": 50, "b": 37.5, "c": 37.5})


def test_by_hand() -> None:
    """Three keys: (1,1,1), (1,2,1), (2,1,1), (2,2,1), (2,2,2). Of the last only the third key is
    unique; of the first no key is, and the pair of the first two is."""
    scored = found({"a": [1, 1, 2, 2, 2], "b": [1, 2, 1, 2, 2], "c": [1, 1, 1, 1, 2]})
    assert scored.per_row.tolist() == [1, 1, 1, 1, 2]  # {a,b} three times; {a,b,c}; {c}
    assert scored.sizes == (1, 3, 1)
    assert (scored.max, scored.mean) == (2, 6 / 5)


def test_the_largest_size_searched() -> None:
    """With M = 2 an MSU of three keys isn't looked for, and one of s keys weighs
    prod (n - i), i = s … 2."""
    groups = Groups.of(Keys.of({"a": [1, 1, 2, 2, 2], "b": [1, 2, 1, 2, 2], "c": [1, 1, 1, 1, 2]}))
    assert suda(groups, largest=2).per_row.tolist() == [1, 1, 1, 0, 2]
    assert suda(groups, largest=1).per_row.tolist() == [0, 0, 0, 0, 2]


values = st.sampled_from(["a", "b", None])
tables = st.integers(1, 4).flatmap(
    lambda keys: st.lists(
        st.tuples(st.tuples(*[values] * keys), st.integers(0, 12)), min_size=1, max_size=14
    )
)
Rows = list[tuple[tuple[str | None, ...], int]]


@given(tables, st.sampled_from(Missing), st.booleans())
def test_minimal_uniques_are_what_the_definition_says(
    table: Rows, missing: Missing, own: bool
) -> None:
    """Every MSU of every row, units with several rows and missing keys included; and a record has a
    score exactly if it is a sample unique."""
    rows = [row for row, _ in table]
    units = list(range(len(rows))) if own else [unit for _, unit in table]
    groups = Groups.of(keys_of(rows), units)
    scored = suda(groups, missing)
    minimal = plain.minimal_uniques(rows, units, wildcard=missing is Missing.WILDCARD)
    keys = len(rows[0])
    weights = [[Scores.ELLIOT.weight(len(one), keys, keys) for one in each] for each in minimal]
    assert scored.per_row == pytest.approx([sum(each) for each in weights])
    parts = scored.parts[:, groups.of_row]
    for key in range(keys):
        wanted = [
            sum(w for w, one in zip(weight, each, strict=True) if key in one)
            for weight, each in zip(weights, minimal, strict=True)
        ]
        assert parts[key] == pytest.approx(wanted)
    alone = [
        len(plain.crowd(rows, units, row, wildcard=missing is Missing.WILDCARD)) for row in rows
    ]
    shows = [plain.shown(row) for row in rows]
    assert [score > 0 for score in scored.per_row] == [
        f == 1 and there for f, there in zip(alone, shows, strict=True)
    ]


def test_many_rows_sort_as_few_do() -> None:
    """Counting, packed sort and stable sort find the same uniques."""
    rng = np.random.default_rng(8)
    small = {f"k{at}": rng.integers(0, 12, 3_000) for at in range(4)}
    wide = {name: codes * 2**40 + 7 for name, codes in small.items()}
    for key in wide:  # so many levels that nothing is counted, and packed values don't fit
        wide[key] = np.concatenate(
            [wide[key], np.arange(40_000) + 2**50, np.arange(40_000) + 2**50]
        )
    scored, other = found({**small}), found({**wide})
    assert scored.sizes == other.sizes
    assert scored.per_row.tolist() == other.per_row[:3_000].tolist()
    assert scored.sizes[2] + scored.sizes[3] > 100


def test_too_much_is_refused() -> None:
    with pytest.raises(DisclosureError, match="2,097,151 sets of keys"):
        found({f"k{at}": [1, 2] for at in range(21)})
    with pytest.raises(DisclosureError, match="name 62 at most"):
        found({f"k{at}": [1, 2] for at in range(63)})
    rng = np.random.default_rng(6)
    many = Groups.of(Keys.of({f"k{at}": rng.integers(0, 4, 400_000) for at in range(16)}))
    with pytest.raises(DisclosureError, match="those of fewer keys"):
        suda(many)
    with pytest.raises(DisclosureError, match="fraction"):
        found({"a": [1, 2]}).dis(0)


def test_nobody_is_unique() -> None:
    scored = found({"a": [1, 1], "b": [2, 2]})
    assert (scored.max, scored.mean, scored.file_dis()) == (0, 0, 0)
    assert scored.dis().tolist() == [0]
    assert scored.contributions == {"a": 0, "b": 0}


def test_dis_of_a_file() -> None:
    """U π / (U π + P (1 - π)), four unique records and six in pairs, of a tenth."""
    groups = Groups.of(Keys.of(GUIDE))
    assert frequencies(groups).records.tolist().count(1) == 4
    assert suda(groups).file_dis(0.1) == pytest.approx(0.4 / (0.4 + 5.4))
