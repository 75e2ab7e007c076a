"""Measures that follow from classes: against published figures, and against plain Python."""

from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.disclosure import frequencies as frequency_module
from policies.disclosure.classes import k_of_subsets, measure, per_row, sizes
from policies.disclosure.diversity import Sensitive
from policies.disclosure.encoding import DisclosureError, Keys, coded
from policies.disclosure.frequencies import Missing
from tests.policies import plain

RESIDENCE = ["Urban"] * 4 + ["Rural"] + ["Urban"] * 5
GENDER = ["F", "F", "F", "M", "F", "M", "F", "M", "F", "F"]
EDUCATION = [
    "Secondary incomplete", "Secondary incomplete", "Primary incomplete", "Secondary complete",
    "Secondary complete", "Secondary complete", "Primary complete", "Post-secondary",
    "Secondary incomplete", "Secondary incomplete",
]  # fmt: skip
LABOUR = [
    "Employed", "Employed", "Non-LF", "Employed", "Unemployed", "Employed", "Non-LF", "Unemployed",
    "Non-LF", "Non-LF",
]  # fmt: skip
HEALTH = ["yes"] * 5 + ["no", "no", "yes", "no", "yes"]
GUIDE = {"residence": RESIDENCE, "gender": GENDER, "education": EDUCATION, "labour": LABOUR}
"""The example of the SDC Practice Guide (World Bank, "Measuring Risk"): tables 4.1, 4.3 and 4.5."""

values = st.sampled_from(["a", "b", "c", None])
tables = st.integers(1, 3).flatmap(
    lambda keys: st.lists(
        st.tuples(st.tuples(*[values] * keys), st.integers(0, 5), st.sampled_from([1, 2, 3, 5])),
        min_size=1,
        max_size=25,
    )
)
Table = list[tuple[tuple[str | None, ...], int, int]]


def keys_of(rows: list[tuple[Hashable, ...]]) -> Keys:
    return Keys.of(
        {f"k{at}": pa.array(column) for at, column in enumerate(zip(*rows, strict=True))}
    )


def test_frequencies_of_the_practice_guide() -> None:
    """Table 4.1 of the SDC Practice Guide: f, and four of ten that violate 2-anonymity."""
    keys = Keys.of(GUIDE)
    assert per_row(keys).tolist() == [2, 2, 1, 2, 1, 2, 1, 1, 2, 2]
    found = sizes(keys)
    assert (found.k, found.sample_uniques, found.below(2), found.below(3)) == (1, 4, 4, 10)


def test_l_diversity_of_the_practice_guide() -> None:
    """Table 4.3 of the SDC Practice Guide: 1 where both share their health, 2 where they don't."""
    for wanted, rows in ((1, [0, 1]), (2, [3, 5]), (2, [8, 9])):
        keys = Keys.of({name: [column[row] for row in rows] for name, column in GUIDE.items()})
        health = Sensitive.of([HEALTH[row] for row in rows])
        assert measure(keys, {"health": health})[1]["health"].distinct == wanted


def test_inpatients() -> None:
    """Machanavajjhala et al. (2007), figures 2 and 3: 4-anonymous with a class of cancer alone, and
    the 3-diverse version of it."""
    four = {"zip": ["130**"] * 4 + ["1485*"] * 4 + ["130**"] * 4, "age": ["<30"] * 4 + [">=40"] * 4 + ["3*"] * 4}  # fmt: skip # noqa: E501
    condition = ["heart", "heart", "viral", "viral", "cancer", "heart", "viral", "viral"]
    found, spread = measure(Keys.of(four), {"c": Sensitive.of([*condition, *["cancer"] * 4])})
    assert (found.k, found.number) == (4, 3)
    assert (spread["c"].distinct, spread["c"].entropy, spread["c"].recursive) == (1, 1.0, 1)
    three = {"zip": ["1305*"] * 4 + ["1485*"] * 4 + ["1306*"] * 4}
    mixed = ["heart", "viral", "cancer", "cancer"]
    condition = [*mixed, "cancer", "heart", "viral", "viral", *mixed]
    _, spread = measure(Keys.of(three), {"c": Sensitive.of(condition)})
    assert spread["c"].distinct == 3
    assert spread["c"].entropy == pytest.approx(2**1.5)  # 1/2, 1/4, 1/4
    assert spread["c"].recursive == 2  # 2 < 2 (1 + 1), and not 2 < 2 · 1


@pytest.mark.parametrize(
    ("salaries", "t"),
    [
        ([3, 4, 5, 6, 11, 8, 7, 9, 10], 0.375),  # table 3 of the paper: the class {3k, 4k, 5k}
        ([3, 5, 9, 6, 11, 8, 4, 7, 10], 0.167),  # table 5
    ],
)
def test_salaries(salaries: list[int], t: float) -> None:
    """Li, Li and Venkatasubramanian (2007): the distances of {3k, 4k, 5k} and of table 5."""
    keys = Keys.of({"class": ["1"] * 3 + ["2"] * 3 + ["3"] * 3})
    for given_as in (salaries, [str(one) for one in salaries]):
        _, spread = measure(keys, {"salary": Sensitive.of(given_as, ordered=True)})
        assert spread["salary"].t_ordered == pytest.approx(t, abs=0.0005)
        assert spread["salary"].t == pytest.approx(6 / 9)


@given(tables, st.sampled_from([0.5, 1.0, 2.0, 3.5]))
def test_classes_are_what_the_definitions_say(table: Table, c: float) -> None:
    """S08: every measure of classes, where units have several rows and keys are missing."""
    rows, units, sensitive = (list(part) for part in zip(*table, strict=True))
    keys = keys_of(rows)
    found, spread = measure(keys, {"s": Sensitive.of(sensitive, ordered=True)}, units, c)
    wanted = [len(held) for held in plain.classes(rows, units).values()]
    records = sum(wanted)
    hidden = 0 if not any(map(plain.shown, rows)) else sum(not plain.shown(row) for row in rows)
    assert (found.k, found.number, found.records) == (min(wanted), len(wanted), records)
    assert (found.units, found.suppressed) == (len(set(units)), hidden)
    assert found.sample_uniques == wanted.count(1)
    assert found.below(3) == sum(f for f in wanted if f < 3)
    assert found.prosecutor_max == pytest.approx(max(1 / f for f in wanted))
    assert found.prosecutor_mean == pytest.approx(sum(f * (1 / f) for f in wanted) / records)
    assert found.average_class_size == pytest.approx(records / len(wanted))
    assert found.discernibility == sum(f * f for f in wanted) + hidden * len(rows)
    by_class, whole = plain.spreads(rows, units, sensitive)
    order = sorted(whole)
    each = by_class.values()
    assert spread["s"].distinct == min(len(one) for one in each)
    assert spread["s"].entropy == pytest.approx(min(plain.entropy(one) for one in each))
    assert spread["s"].recursive == min(plain.recursive(one, c) for one in each)
    assert spread["s"].t == pytest.approx(max(plain.t_equal(one, whole) for one in each))
    assert spread["s"].t_ordered == pytest.approx(
        max(plain.t_ordered(one, whole, order) for one in each)
    )
    assert per_row(keys, units).tolist() == plain.per_row(rows, units, wildcard=False)


@given(tables, st.sampled_from([0.5, 1.0, 2.0, 3.5]))
def test_crowds_are_what_the_definitions_say(table: Table, c: float) -> None:
    """S08: the same measures where a missing key matches every value, as in sdcMicro's freqCalc."""
    rows, units, sensitive = (list(part) for part in zip(*table, strict=True))
    keys = keys_of(rows)
    wanted = plain.per_row(rows, units, wildcard=True)
    assert per_row(keys, units, Missing.WILDCARD).tolist() == wanted
    held = Sensitive.of(sensitive, ordered=True)
    found, spread = measure(keys, {"s": held}, units, c, Missing.WILDCARD)
    if not any(None in row for row in rows):
        plainly, spread_plainly = measure(keys, {"s": held}, units, c)
        assert (found.size.tolist(), found.at.tolist(), spread) == (
            plainly.size.tolist(), plainly.at.tolist(), spread_plainly
        )  # fmt: skip
    f = [one for (one, _, _) in {(*x,) for x in zip(wanted, rows, units, strict=True)}]
    assert (found.k, found.number) == (min(f), len(set(rows)))
    assert found.sample_uniques == f.count(1)
    assert found.below(3) == sum(one < 3 for one in f)
    assert found.prosecutor_mean == pytest.approx(sum(1 / one for one in f) / len(f))
    assert found.average_class_size == pytest.approx(len(f) / sum(1 / one for one in f))
    if any(None in row for row in rows):
        assert found.discernibility == sum(f)
    each, whole = plain.crowd_spreads(rows, units, sensitive), Counter(
        value for value, _ in set(zip(sensitive, units, strict=True))
    )  # fmt: skip
    order = sorted(whole)
    if any(None in row for row in rows):
        assert spread["s"].distinct == min(len(one) for one in each)
        assert spread["s"].entropy == pytest.approx(min(plain.entropy(one) for one in each))
        assert spread["s"].recursive == min(plain.recursive(one, c) for one in each)
        assert spread["s"].t == pytest.approx(max(plain.t_equal(one, whole) for one in each))
        assert spread["s"].t_ordered == pytest.approx(
            max(plain.t_ordered(one, whole, order) for one in each)
        )


@pytest.mark.parametrize("least", [0, 10**9])
def test_crowds_of_many(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    """Whether or not those without a counterpart leave first, all crowds are the same."""
    monkeypatch.setattr(frequency_module, "_FILTERED", least)
    rng = np.random.default_rng(4)
    columns = rng.integers(0, 9, (4, 1_500))
    gone = rng.random(columns.shape) < 0.1
    keys = Keys.of({str(at): pa.array(one, mask=gone[at]) for at, one in enumerate(columns)})
    agree = np.ones((1_500, 1_500), bool)
    for at, one in enumerate(columns):
        agree &= (one[:, None] == one) | gone[at][:, None] | gone[at]
    assert per_row(keys, missing=Missing.WILDCARD).tolist() == agree.sum(1).tolist()
    _, spread = measure(keys, {"s": Sensitive.of(columns[0])}, missing=Missing.WILDCARD)
    fewest = min(len(set(columns[0][who])) for who in agree)
    assert spread["s"].distinct == fewest


def test_sensitive_values_in_order() -> None:
    """Numbers as numbers, whatever they are written as, others as texts; missing comes last."""
    for given_as, wanted in (
        (["10", "9", "", "-1.5"], ["-1.5", "9", "10", ""]),
        (["b", "10", None, "9"], ["10", "9", "b", None]),
        ([3, 200, -70_000, 3], [-70_000, 3, 200]),
    ):
        column = Sensitive.of(given_as, ordered=True).column
        assert column.values.to_pylist() == wanted
        assert [wanted[code] for code in column.codes] == given_as


def test_a_missing_key_matches_every_value() -> None:
    """Table 4.2 of the SDC Practice Guide: 2, 2 and 3."""
    table = {
        "gender": ["Male"] * 3,
        "education": ["Secondary complete", "Secondary incomplete", None],
        "labour": ["Employed"] * 3,
    }
    assert per_row(Keys.of(table), missing=Missing.WILDCARD).tolist() == [2, 2, 3]
    assert per_row(Keys.of(table)).tolist() == [1, 1, 1]


def test_a_million_rows_in_two_threads_are_what_one_sees() -> None:
    """The work is split by value above half a million rows; nothing may fall between."""
    rng = np.random.default_rng(5)
    columns = {"a": rng.integers(0, 40, 600_000), "b": rng.integers(0, 900, 600_000)}
    sensitive, units = rng.integers(0, 4, 600_000), rng.integers(0, 300_000, 600_000)
    frame = pd.DataFrame({**columns, "s": sensitive, "unit": units})
    found, spread = measure(Keys.of(columns), {"s": Sensitive.of(sensitive)}, units)
    groups = frame.groupby(["a", "b"])
    assert found.k == groups["unit"].nunique().min()
    assert found.records == groups["unit"].nunique().sum()
    assert spread["s"].distinct == groups["s"].nunique().min()
    assert per_row(Keys.of(columns)).tolist() == groups["s"].transform("size").tolist()


def test_a_suppressed_record_is_no_class_of_its_own() -> None:
    """A row that shows nothing singles nobody out: it isn't a class of one."""
    keys = Keys.of({"age": ["30", "30", "", None], "sex": ["f", "f", "", ""]})
    found = sizes(keys)
    assert (found.k, found.number, found.suppressed, found.sample_uniques) == (2, 1, 2, 0)
    assert found.discernibility == 4 + 2 * 4
    assert per_row(keys).tolist() == [2, 2, 4, 4]
    nothing = sizes(Keys.of({"age": ["", ""], "sex": [None, None]}))
    assert (nothing.k, nothing.number, nothing.suppressed) == (2, 1, 0)


def test_levels_that_no_row_has_change_nothing() -> None:
    """Unused levels of a dictionary don't make k zero, nor l or t anything else."""
    level = pd.Categorical(["x", "x", "y", "y"], categories=["v", "w", "x", "y", "z"])
    frame = pd.DataFrame({"a": level, "b": [1, 1, 300, 300]})
    held = Sensitive.of(pd.Categorical(["p", "q", "p", "q"], ["n", "p", "q", "r"]), ordered=True)
    found, spread = measure(Keys.of(frame), {"s": held})
    assert (found.k, found.number) == (2, 2)
    assert (spread["s"].distinct, spread["s"].t, spread["s"].t_ordered) == (2, 0.0, 0.0)


def test_an_index_changes_nothing() -> None:
    """A frame whose index isn't 0 … n - 1, or repeats, has the classes of its columns."""
    frame = pd.DataFrame({"a": ["x", "x", "y"], "b": [1, 1, 2]})
    other = frame.set_index(pd.Index([7, 7, 3], name="b2"))
    for one in (frame, other, frame.iloc[[0, 1, 2]]):
        assert per_row(Keys.of(one)).tolist() == [2, 2, 1]
    assert per_row(Keys.of(frame.iloc[::-1])).tolist() == [1, 2, 2]


def test_subsets_are_counted_themselves() -> None:
    """k on all keys says nothing of subsets where others drop rows with a missing key: there this
    file has k = 2, and one woman of 90 on a subset."""
    frame = pd.DataFrame(
        {"age": ["30", "30", "90"], "sex": ["f", "f", "f"], "area": ["1", "1", None]}
    )
    assert frame.groupby(["age", "sex", "area"]).size().min() == 2
    keys = Keys.of(frame)
    found = {subset: one.k for subset, one in k_of_subsets(keys, [["age", "sex"], ["sex"]])}
    assert found == {("age", "sex"): 1, ("sex",): 3}
    assert sizes(keys).k == 1


@given(tables)
def test_fewer_keys_never_single_out_more(table: Table) -> None:
    """Every class of a subset is a union of classes of the whole key."""
    rows, units, _ = (list(part) for part in zip(*table, strict=True))
    keys = keys_of(rows)
    fewer = keys.only(keys.names[:-1] or keys.names)
    assert (per_row(fewer, units) >= per_row(keys, units)).all()


@pytest.mark.parametrize(
    "column",
    [
        np.array([5, 5, 7], np.uint8),
        np.array([-(2**62), -(2**62), 2**62]),
        pa.array([1.5, 1.5, float("nan")]),
        pa.chunked_array([["a"], ["a", None]]),
        pa.chunked_array(
            [pa.array(["a", "a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]
        ),
        pd.Series(["a", "a", None]),
        pd.Series([True, True, False]),
        ["a", "a", ""],
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "a", "b"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), pa.array(["a", None])),
        pa.chunked_array(
            [pa.DictionaryArray.from_arrays(pa.array([0, 0, 1]), pa.array(["a", None]))]
        ),
    ],
)
def test_every_kind_of_column_is_coded(column: Any) -> None:
    """Equal values have equal codes, whatever holds them, repeated levels of a dictionary too."""
    found = coded(column)
    first, second, third = found.codes.tolist()
    assert first == second != third
    assert len(coded(found.codes).values) >= 2
    assert found.used().size == 2


def test_what_cant_be_measured_is_refused() -> None:
    with pytest.raises(DisclosureError, match="no column b"):
        Keys.of({"a": [1]}, ["b"])
    with pytest.raises(DisclosureError, match="given twice"):
        Keys.of({"a": [1]}, ["a", "a"])
    with pytest.raises(DisclosureError, match="at least one key"):
        Keys.of({"a": [1]}, [])
    with pytest.raises(DisclosureError, match="different lengths"):
        Keys.of({"a": [1], "b": [1, 2]})
    with pytest.raises(DisclosureError, match="one unit for each row"):
        sizes(Keys.of({"a": [1]}), ["P1", "P2"])
    with pytest.raises(DisclosureError, match="without a unit"):
        sizes(Keys.of({"a": [1, 2]}), ["P1", None])
    with pytest.raises(DisclosureError, match="lists or records"):
        Keys.of({"a": pa.array([[1], [2]])})
    with pytest.raises(DisclosureError, match="no key c"):
        Keys.of({"a": [1]}).only(["c"])


def test_adult(vectors: Path) -> None:
    """ARX's Adult (30,162 rows): its classes on eight keys as pandas counts them."""
    frame = pd.read_csv(vectors / "adult" / "adult.csv", sep=";", dtype=str)
    names = list(frame.columns[:-1])
    found, spread = measure(Keys.of(frame, names), {"s": Sensitive.of(frame["salary-class"])})
    counts = frame.groupby(names).size()
    assert (found.rows, found.number, found.k) == (30162, len(counts), counts.min())
    assert found.sample_uniques == (counts == 1).sum()
    assert found.discernibility == (counts**2).sum()
    assert spread["s"].distinct == 1
    share = (frame["salary-class"] == ">50K").mean()
    assert spread["s"].t == pytest.approx(max(share, 1 - share))
