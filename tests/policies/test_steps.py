"""Rules on amounts, counts, activities and codes: bottom coding, classes, percentiles, NACE."""

import time
from datetime import date
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.coarsening import LANGUAGES, RuleError, parse_rule
from policies.cumulative import assess
from policies.panel import Displayed
from policies.permits import Scenario
from policies.scanner import scan
from policies.steps.percentiles import GROUPS

amounts = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: round(x, 2)))
columns = st.lists(amounts, min_size=1, max_size=60)


def applied(doc: Any, values: list[Any], kind: str = "amount") -> list[Any]:
    types = {"amount": pa.float64(), "integer": pa.int64(), "employees": pa.int64()}
    column = pa.array(values, types.get(kind, pa.string()))
    found: list[Any] = parse_rule(doc).apply(column, kind).to_pylist()
    return found


# --- bottom coding -------------------------------------------------------------------------------

ALL_BOUNDS = [{"bottom_code": {"at": -500}}, {"round": {"to": 100}}, {"top_code": {"at": 20000}}]


@given(columns)
def test_bounds_and_rounding_in_any_order_are_the_same(values: list[float | None]) -> None:
    """S11: bottom coding with top coding and rounding; bounded, idempotent, monotone."""
    once = applied(ALL_BOUNDS, values)
    assert all(applied(list(order), values) == once for order in permutations(ALL_BOUNDS))
    assert applied(ALL_BOUNDS, once) == once
    assert all(value is None or -500 <= value <= 20000 for value in once)
    ordered = [
        b for a, b in sorted((a, b) for a, b in zip(values, once, strict=True) if b is not None)
    ]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("step", ["top_code", "bottom_code"])
def test_whole_numbers_are_bounded_by_whole_numbers(step: str) -> None:
    """S11: 10.5 can't stand in a column of whole numbers; large ones aren't rounded on the way."""
    numbers = pa.array([1, 30, 2**53 + 1])
    with pytest.raises(RuleError, match="whole number"):
        parse_rule([{step: {"at": 10.5}}]).apply(numbers, "integer")
    bounded = parse_rule([{step: {"at": 30.0}}]).apply(numbers, "integer").to_pylist()
    assert bounded == ([1, 30, 30] if step == "top_code" else [30, 30, 2**53 + 1])


@pytest.mark.parametrize(
    "doc",
    [
        [{"bottom_code": {"at": 100}}, {"top_code": {"at": 100}}],
        [{"top_code": {"at": 100}}, {"bottom_code": {"at": 200}}],
        [{"bottom_code": {"at": 50}}, {"round": {"to": 100}}],
        [{"bottom_code": {"at": "low"}}],
        [{"classes": {"breaks": []}}],
        [{"classes": {"breaks": [1, 1]}}],
        [{"classes": {"breaks": [2, 1]}}],
        [{"classes": {"breaks": "12"}}],
        [{"classes": {"breaks": [0.001]}}],
        [{"classes": {"breaks": [float("inf")]}}],
        [{"classes": {"breaks": [10**13]}}],
        [{"classes": {"breaks": list(range(1001))}}],
        [{"classes": {"breaks": [0], "titles": [{"en": "low"}]}}],
        [{"classes": {"breaks": [0], "titles": [{"en": "low"}, {"xx": "high"}]}}],
        [{"classes": {"breaks": [0], "titles": [{"en": "low"}, {"en": "x" * 101}]}}],
        [{"percentile": {"groups": 10}}],
        [{"percentile": {"groups": 7, "over": "delivery"}}],
        [{"percentile": {"groups": True, "over": "delivery"}}],
        [{"percentile": {"groups": 10, "over": "country"}}],
        [{"percentile": {"groups": 10, "over": "delivery"}}, {"round": {"to": 5}}],
        [{"size_class": {"scheme": "mine"}}],
        [{"nace": {"level": "A39", "version": 2008}}],
        [{"nace": {"level": "section", "version": 2003}}],
        [{"nace": {"level": "section"}}],
        [{"yes_no": {"codes": []}}],
        [{"yes_no": {"codes": "W"}}],
    ],
)
def test_nonsense_is_refused(doc: Any) -> None:
    with pytest.raises(RuleError):
        parse_rule(doc)


# --- classes -------------------------------------------------------------------------------------

breaks = st.lists(st.integers(-1000, 1000), min_size=1, max_size=8, unique=True).map(sorted)


@given(columns, breaks)
def test_a_class_holds_what_its_label_says(values: list[float | None], at: list[int]) -> None:
    """S11: closed below, open above; the interval of a label holds exactly the values it gets."""
    rule = parse_rule([{"classes": {"breaks": at}}])
    intervals = rule.intervals()
    assert intervals is not None
    for value, label in zip(values, applied([{"classes": {"breaks": at}}], values), strict=True):
        if value is None:
            assert label is None
            continue
        cents = round(value * 100)
        assert [name for name, (a, b) in intervals.items() if a <= cents <= b] == [label]
        low, high = [-np.inf, *at], [*at, np.inf]
        place = list(intervals).index(label)
        assert low[place] <= value < high[place]


def test_labels_of_classes_say_where_they_end_and_have_names() -> None:
    """S11"""
    doc = [{"classes": {"breaks": [0, 1000, 2500.5]}}]
    assert applied(doc, [-0.01, 0, 999.99, 1000, 2500.5, None, float("nan")]) == [
        "<0",
        "0..<1000",
        "0..<1000",
        "1000..<2500.5",
        ">=2500.5",
        None,
        None,
    ]
    names = parse_rule(doc).names()
    assert names["0..<1000"]["nl"] == "van 0 tot minder dan 1000"
    own = [
        {"classes": {"breaks": [0], "titles": [{"fr": "dette"}, {"fr": "avoir", "en": "asset"}]}}
    ]
    assert parse_rule(own).names() == {"<0": {"fr": "dette"}, ">=0": {"fr": "avoir", "en": "asset"}}


@given(columns, breaks, st.data())
def test_fewer_breaks_never_split_what_more_joined(
    values: list[float | None], at: list[int], data: st.DataObject
) -> None:
    """S11"""
    fewer = sorted(data.draw(st.lists(st.sampled_from(at), min_size=1, unique=True)))
    fine = applied([{"classes": {"breaks": at}}], values)
    coarse = applied([{"classes": {"breaks": fewer}}], values)
    above: dict[Any, Any] = {}
    assert all(above.setdefault(f, c) == c for f, c in zip(fine, coarse, strict=True))


def test_size_classes_of_enterprises() -> None:
    """Schemes by name: RSZ/ONSS, and the headcounts of Recommendation 2003/361/EC."""
    staff = [0, 1, 4, 5, 9, 10, 49, 50, 199, 200, 249, 250, 999, 1000, None]
    assert applied([{"size_class": {"scheme": "rsz"}}], staff, "employees") == [
        "0", "1-4", "1-4", "5-9", "5-9", "10-19", "20-49", "50-99", "100-199", "200-499",
        "200-499", "200-499", "500-999", ">=1000", None,
    ]  # fmt: skip
    rule = parse_rule([{"size_class": {"scheme": "eu"}}])
    found = rule.apply(pa.array(staff), "employees").to_pylist()
    assert found[:6] == ["0-9"] * 5 + ["10-49"]
    assert rule.names()[">=250"]["fr"] == "grande (>=250)"
    with pytest.raises(RuleError, match="2 numbers of employees are below zero"):
        rule.apply(pa.array([-3, -1, 7]), "employees")


def test_classes_shown_twice_are_taken_together() -> None:
    """S15: two releases whose classes overlap imply the overlap, also for numbers."""
    units = [f"P{number:02d}" for number in range(20)]
    values = [12.0] * 2 + [5.0] * 9 + [25.0] * 9
    scenario = Scenario(known=["size"], changing=[], moments=1, sensitive=[])

    def shown(name: str, at: list[int]) -> Displayed:
        rule = parse_rule([{"classes": {"breaks": at}}])
        labels = rule.apply(pa.array(values), "integer")
        table = pa.table({"unit": units, "size": labels})
        return Displayed.under(name, name, table, {"size": rule}, scenario, 5)

    first, second = shown("2023", [20]), shown("2024", [10])
    assert assess([], second, scenario, 5).passes
    together = assess([first], second, scenario, 5)
    assert together.fails_only_together
    assert together.smallest_together == 2


# --- percentiles ---------------------------------------------------------------------------------


def fitted(values: list[Any], groups: int, k: int = 1, units: list[Any] | None = None) -> Any:
    rule = parse_rule([{"percentile": {"groups": groups, "over": "delivery"}}])
    column = pa.array(values, pa.float64())
    who = pa.array(units if units is not None else list(range(len(values))))
    return rule.fit(column, "amount", who, k)


@given(
    st.lists(amounts, min_size=1, max_size=300),
    st.sampled_from(GROUPS),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_percentile_groups(values: list[Any], groups: int, k: int, random: Any) -> None:
    """S11: monotone, equal values together, no group under k units, row order irrelevant."""
    present = [value for value in values if value is not None]
    if 0 < len(present) < k:
        with pytest.raises(RuleError, match="too few for percentiles"):
            fitted(values, groups, k)
        return
    rule = fitted(values, groups, k)
    labels = rule.apply(pa.array(values, pa.float64()), "amount").to_pylist()
    assert [label is None for label in labels] == [value is None for value in values]
    pairs = sorted((v, lab) for v, lab in zip(values, labels, strict=True) if v is not None)
    assert [label for _, label in pairs] == sorted(label for _, label in pairs)
    assert len(set(pairs)) == len(set(present))
    counts = {label: [lab for _, lab in pairs].count(label) for _, label in pairs}
    assert all(count >= k for count in counts.values())
    assert counts.keys() <= rule.names().keys()
    mixed = list(range(len(values)))
    random.shuffle(mixed)
    again = fitted([values[at] for at in mixed], groups, k, mixed)
    assert again.apply(pa.array(values, pa.float64()), "amount").to_pylist() == labels


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200), st.sampled_from(GROUPS))
def test_a_percentile_is_the_first_cut_off_that_reaches_it(values: list[int], groups: int) -> None:
    """S11: against the definition, counted one by one: cut-off j is the smallest value that at
    least j of g parts of the population don't exceed."""
    ordered, total = sorted(values), len(values)
    cutoffs = [
        next(v for v in ordered if groups * sum(w <= v for w in ordered) >= j * total)
        for j in range(1, groups)
    ]
    expected = [1 + sum(cutoff < value for cutoff in cutoffs) for value in values]
    labels = fitted(values, groups).apply(pa.array(values, pa.float64()), "amount").to_pylist()
    assert [int(label) for label in labels] == expected


def test_units_are_counted_and_not_rows() -> None:
    """S11: nine quarters of one person make no group of their own; the label tells of the join."""
    values = [float(n) for n in range(20)]
    units = [f"u{n}" for n in range(11)] + ["rich"] * 9
    rule = fitted(values, 10, 2, units)
    labels = rule.apply(pa.array(values), "amount").to_pylist()
    assert labels[:2] == ["01", "01"]
    assert labels[-1] == "06-10"
    assert rule.names()["06-10"]["nl"] == "groep 06-10 van 10, van laag naar hoog"
    nobody = fitted([*values, 99.0], 4, 2, [*units, None])
    assert nobody.apply(pa.array([99.0]), "amount")[0].as_py() == "2-4"


def test_heavy_ties_leave_groups_empty() -> None:
    values = [0.0] * 60 + [float(n) for n in range(1, 41)]
    labels = fitted(values, 10, 5).apply(pa.array(values), "amount").to_pylist()
    assert set(labels[:60]) == {"01"}
    assert sorted(set(labels)) == ["01", "07", "08", "09", "10"]


def test_cut_offs_stay_inside() -> None:
    """S11: nothing that a fitted rule shows, names or describes holds a value of the population."""
    values = [1234.5 + 7 * n for n in range(200)]
    rule = fitted(values, 10, 5)
    text = repr(rule) + repr(rule.names()) + "".join(map(rule.describe, LANGUAGES))
    assert not any(str(int(value)) in text for value in values)
    assert rule.computed_on is None
    assert rule.intervals() is None


def test_an_unfitted_percentile_says_what_it_needs() -> None:
    rule = parse_rule([{"percentile": {"groups": 4, "over": "universe"}}])
    assert rule.computed_on == "universe"
    assert list(rule.names()) == ["1", "2", "3", "4"]
    assert "computed on the units of this release" in rule.describe("en")
    with pytest.raises(RuleError, match="computed on the universe"):
        rule.apply(pa.array([1.0]), "amount")
    empty = rule.fit(pa.nulls(3, pa.float64()), "amount", pa.array(["a", "b", "c"]), 5)
    assert empty.apply(pa.nulls(3, pa.float64()), "amount").to_pylist() == [None] * 3


def test_a_rule_is_fitted_on_what_its_other_steps_leave() -> None:
    doc = [{"round": {"to": 100}}, {"percentile": {"groups": 4, "over": "delivery"}}]
    values = pa.array([101.0, 99.0, 210.0, 330.0, 420.0])
    rule = parse_rule(doc).fit(values, "amount", pa.array(range(5)), 1)
    labels = rule.apply(values, "amount").to_pylist()
    assert labels[0] == labels[1]


# --- codes ---------------------------------------------------------------------------------------


def test_a_condition_on_codes() -> None:
    doc = [{"yes_no": {"codes": ["A", "B"]}}]
    assert applied(doc, ["A", "C", None, "B"], "code") == ["yes", "no", None, "yes"]
    assert parse_rule(doc).names()["no"]["de"] == "nein"


NACE = {"level": "division", "version": 2008}


def test_activities_in_a_rule() -> None:
    """S12"""
    assert applied([{"nace": NACE}], ["62.01", "6201", "62010", "62", None], "nace") == [
        "62", "62", "62", "62", None,
    ]  # fmt: skip
    rule = parse_rule([{"nace": {**NACE, "level": "A10"}}])
    assert rule.describe("fr") == "Activité économique : A10 de la NACE Rev. 2 (NACE-BEL 2008)."
    assert "CONSTRUCTION" in rule.names()["F"]["en"]
    with pytest.raises(RuleError, match="nace needs a NACE code; code is a text"):
        rule.apply(pa.array(["62"]), "code")


# --- all of them ---------------------------------------------------------------------------------

EVERY = {
    "amount": [
        ALL_BOUNDS,
        [{"classes": {"breaks": [0, 1000, 20000]}}],
        [{"percentile": {"groups": 20, "over": "delivery"}}],
    ],
    "employees": [[{"size_class": {"scheme": "rsz"}}]],
    "nace": [[{"nace": {"level": "A38", "version": 2025}}]],
    "code": [[{"yes_no": {"codes": ["W"]}}]],
}
CASES = [(kind, doc) for kind, docs in EVERY.items() for doc in docs]


def sample(kind: str, rows: int) -> Any:
    draw = np.random.default_rng(5)
    gone = draw.random(rows) < 0.05
    if kind == "amount":
        return pa.array(np.round(draw.gamma(2, 3000, rows) - 500, 2), mask=gone)
    if kind == "employees":
        return pa.array(draw.integers(0, 3000, rows), mask=gone)
    choice = ["62.10", "0111", "G", "47"] if kind == "nace" else ["W", "N", "X"]
    return pa.array(np.array(choice, object)[draw.integers(0, len(choice), rows)], mask=gone)


def ready(doc: Any, kind: str, column: Any) -> Any:
    return parse_rule(doc).fit(column, kind, pa.array(np.arange(len(column))), 5)


@pytest.mark.parametrize(("kind", "doc"), CASES)
def test_order_encoding_and_chunks_make_no_difference(kind: str, doc: Any) -> None:
    """S10, S11, S12: a value's label depends on the value, however the column is stored."""
    column = sample("nace" if kind == "nace" else kind, 500)
    if kind == "nace":
        column = pa.array([None if value == "G" else value for value in column.to_pylist()])
    rule = ready(doc, kind, column)
    plain = rule.apply(column, kind)
    assert rule.apply(column.dictionary_encode(), kind).equals(plain)
    assert rule.apply(pa.chunked_array([column[:200], column[200:]]), kind).equals(plain)
    order = pa.array(np.random.default_rng(6).permutation(500))
    assert rule.apply(column.take(order), kind).equals(plain.take(order))
    assert ready(doc, kind, column.dictionary_encode()).apply(column, kind).equals(plain)
    assert not scan(pa.table({"value": plain}))


@pytest.mark.parametrize(("kind", "doc"), CASES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_describes_itself_in_every_language(kind: str, doc: Any, language: Any) -> None:
    """V05"""
    rule = parse_rule(doc)
    text = rule.describe(language)
    assert text.endswith(".")
    assert "{" not in text
    assert {rule.describe(other) for other in LANGUAGES} - {text}


@pytest.mark.parametrize(("kind", "doc"), CASES)
def test_a_million_rows_take_no_time(kind: str, doc: Any) -> None:
    """Columns, not rows: generous limits, to notice a loop."""
    column = sample(kind, 1_000_000)
    if kind == "nace":
        column = pa.array(np.array(["62.10", "0111"], object)[np.arange(1_000_000) % 2])
    started = time.perf_counter()
    ready(doc, kind, column).apply(column, kind)
    taken = time.perf_counter() - started
    print(f"{kind} {next(iter(doc[0]))}: 1,000,000 rows in {taken:.2f} s")
    assert taken < 20


def test_weeks_are_those_of_the_standard() -> None:
    """ISO 8601: the year of a week is that of its Thursday."""
    days = [date(2024, 12, 30), date(2021, 1, 3), date(2024, 2, 14), None]
    rule = parse_rule([{"week": {}}])
    assert rule.apply(pa.array(days), "date").to_pylist() == [
        f"{day.isocalendar().year}-W{day.isocalendar().week:02}" if day else None for day in days
    ]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"urbanisation": {"situation": 2020}}, "knows the situations 2018, 2019, 2025"),
        ({"urbanisation": {"override": ["11002"]}}, "degrees by municipality"),
        ({"urbanisation": {"override": {"11001": 1}}}, "have none in 2025"),
        ({"urbanisation": {"override": {"11002": 4}}}, "a degree of 1, 2 or 3"),
        ({"nationality": {"groups": "skin"}}, "the groups origin"),
    ],
)
def test_codes_of_steps_that_are_not(step: dict[str, object], says: str) -> None:
    with pytest.raises(RuleError, match=says):
        parse_rule([step])


@pytest.mark.parametrize(
    ("step", "semantic_type", "value", "label"),
    [
        ({"urbanisation": {"situation": 2025}}, "municipality", "11002", "mixed"),
        ({"urbanisation": {"override": {"11002": 1}}}, "municipality", "11002", "1"),
        ({"urbanisation": {}}, "postcode", "2000", "mixed"),
        ({"nationality": {}}, "code", "FR", "NEIGHBOUR"),
        ({"nationality": {"groups": "member"}}, "code", "POL", "EU13"),
    ],
)
def test_labels_have_names_in_four_languages(
    step: dict[str, object], semantic_type: str, value: str, label: str
) -> None:
    """S10: the data dictionary names every label, and an override is told in each language."""
    rule = parse_rule([step])
    assert rule.apply(pa.array([value, None]), semantic_type).to_pylist() == [label, None]
    assert set(rule.names()[label]) == set(LANGUAGES)
    said = [rule.describe(language) for language in LANGUAGES]
    assert len(set(said)) == 4
    assert all(("11002 = 1" in text) == ("override" in str(step)) for text in said)
