"""Rules: exact ages, labels, rounding, the minimum that no permit undercuts, missing values."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies import coarsening
from policies.classifications import UnmappedCodeError
from policies.coarsening import (
    EARLIEST,
    LANGUAGES,
    LATEST,
    MISSING_CODES,
    NOT_IN_SOURCE,
    NOT_LINKED,
    OBSERVED,
    STEPS,
    RuleError,
    fault_against_minimum,
    parse_rule,
    shown,
)

CLASSES: dict[str, Any] = {"reference_date": "2024-12-31", "breaks": [15, 20, 25, 30]}
AGE_CLASS = [{"age_class": CLASSES}]
PLACE = [{"geography": {"level": "arrondissement"}}]
WAGE = [{"round": {"to": 100}}, {"top_code": {"at": 20000}}]
RULES = {
    "birth_date": AGE_CLASS,
    "postcode": PLACE,
    "amount": WAGE,
    "date": [{"quarter": {}}],
    "code": [{"keep": {}}],
}

days = st.dates(date(1900, 1, 1), date(2024, 12, 31))


def birthday(born: date, year: int) -> date:
    """The day somebody turns a year older: 1 March where there is no 29 February."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def age(born: date, on: date) -> int:
    """Completed years, counted with the calendar and not with the code under test."""
    return on.year - born.year - (birthday(born, on.year) > on)


# --- ages ----------------------------------------------------------------------------------------


@given(st.lists(days, min_size=1, max_size=20), days)
def test_age_is_exact(born: list[date], on: date) -> None:
    """S09: completed years at a stated reference date."""
    rule = parse_rule([{"age": {"reference_date": on}}])
    assert rule.apply(pa.array(born), "birth_date").to_pylist() == [age(b, on) for b in born]


@pytest.mark.parametrize(
    ("on", "years"),
    [("2025-02-28", 20), ("2025-03-01", 21), ("2024-02-28", 19), ("2024-02-29", 20)],
)
def test_born_on_29_february(on: str, years: int) -> None:
    """S09: a year older on 29 February, or on 1 March where there is none."""
    born = pa.array([date(2004, 2, 29)])
    assert (
        parse_rule([{"age": {"reference_date": on}}]).apply(born, "birth_date")[0].as_py() == years
    )


@given(days, st.dates(date(1996, 1, 1), date(2030, 12, 31)))
def test_a_label_implies_exactly_the_days_that_get_it(born: date, on: date) -> None:
    """S09: the interval of a label holds a day of birth if and only if the day gets that label."""
    rule = parse_rule([{"age_class": {**CLASSES, "reference_date": on}}])
    label = rule.apply(pa.array([born]), "birth_date")[0].as_py()
    intervals = rule.intervals()
    assert intervals is not None
    day = (born - date(1970, 1, 1)).days
    assert [name for name, (low, high) in intervals.items() if low <= day <= high] == [label]


def test_intervals_leave_no_gap_around_a_leap_day() -> None:
    rule = parse_rule([{"age_class": {**CLASSES, "reference_date": "2024-02-29"}}])
    spans = sorted((rule.intervals() or {}).values())
    assert (spans[0][0], spans[-1][1]) == (EARLIEST, LATEST)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(spans))


def test_labels_of_age_classes() -> None:
    """S09: below the first break, between two, from the last one on."""
    on = date(2024, 12, 31)
    born = pa.array([on - timedelta(days=366 * years) for years in (14, 15, 19, 20, 29, 31, 90)])
    found = parse_rule(AGE_CLASS).apply(born, "birth_date").to_pylist()
    assert found == ["<15", "15-19", "15-19", "20-24", "25-29", ">=30", ">=30"]
    single = parse_rule([{"age_class": {"reference_date": on, "breaks": [15, 16]}}])
    assert set(single.intervals() or {}) == {"<15", "15", ">=16"}


def test_a_rule_is_resolved_for_its_period() -> None:
    """S09: the reference date is explicit, one for each period."""
    dates = {"2024": "2024-12-31", "2025": date(2025, 12, 31)}
    rule = parse_rule([{"age_class": {**CLASSES, "reference_date": dates}}])
    born = pa.array([date(2005, 6, 1)])
    assert rule.resolve("2024").apply(born, "birth_date").to_pylist() == ["15-19"]
    assert rule.resolve("2025").apply(born, "birth_date").to_pylist() == ["20-24"]
    with pytest.raises(RuleError, match=r"no reference date for period 2026; it has 2024, 2025"):
        rule.resolve("2026")
    with pytest.raises(RuleError, match="resolve"):
        rule.apply(born, "birth_date")


def test_resolving_leaves_other_rules_alone() -> None:
    for doc in (WAGE, PLACE, AGE_CLASS):
        assert parse_rule(doc).resolve("2031") == parse_rule(doc)


# --- numbers -------------------------------------------------------------------------------------

amounts = st.floats(-1e7, 1e7).map(lambda x: round(x, 2))


@given(st.lists(st.one_of(st.none(), amounts), min_size=1), st.sampled_from([1, 5, 100, 1000]))
def test_rounding_is_idempotent_monotone_and_near(values: list[float | None], to: int) -> None:
    """S11: rounding."""
    rule = parse_rule([{"round": {"to": to}}])
    once = rule.apply(pa.array(values, pa.float64()), "amount")
    assert rule.apply(once, "amount").equals(once)
    pairs = [(a, b) for a, b in zip(values, once.to_pylist(), strict=True) if a is not None]
    assert all(abs(b - a) <= to / 2 and b % to == 0 for a, b in pairs)
    ordered = [b for _, b in sorted(pairs)]
    assert ordered == sorted(ordered)
    assert [b is None for b in once.to_pylist()] == [a is None for a in values]


def test_halves_go_away_from_zero_and_integers_stay_integers() -> None:
    """S11"""
    rule = parse_rule([{"round": {"to": 100}}])
    column = pa.array([149, 150, -149, -150, 0, -50, 49, None])
    rounded = rule.apply(column, "integer")
    assert rounded.to_pylist() == [100, 200, -100, -200, 0, -100, 0, None]
    assert rounded.type == pa.int64()


def test_no_negative_zero() -> None:
    small = parse_rule([{"round": {"to": 100}}]).apply(pa.array([-3.2]), "amount")
    assert str(small[0].as_py()) == "0.0"


@given(st.lists(st.one_of(st.none(), amounts), min_size=1))
def test_top_coding_bounds_and_is_idempotent(values: list[float | None]) -> None:
    """S11: top-coding."""
    rule = parse_rule(WAGE)
    once = rule.apply(pa.array(values, pa.float64()), "amount")
    assert rule.apply(once, "amount").equals(once)
    assert (pc.max(once).as_py() or 0) <= 20000


# --- other steps ---------------------------------------------------------------------------------


def test_year_and_quarter_of_a_date() -> None:
    column = pa.array([date(2024, 9, 30), None, date(2024, 10, 1)])
    assert parse_rule([{"quarter": {}}]).apply(column, "date").to_pylist() == [
        "2024Q3",
        None,
        "2024Q4",
    ]
    assert parse_rule([{"year": {}}]).apply(column, "date").to_pylist() == ["2024", None, "2024"]


def test_geography_of_postcodes_and_municipalities() -> None:
    """S10"""
    rule = parse_rule([{"geography": {"level": "province", "situation": 2025}}])
    assert rule.apply(pa.array(["9000", None, "1000"]), "postcode").to_pylist() == [
        "40000",
        None,
        "04000",
    ]
    assert rule.apply(pa.array(["44021"]), "municipality").to_pylist() == ["40000"]
    with pytest.raises(UnmappedCodeError):
        rule.apply(pa.array(["44021"]), "postcode")
    assert rule.names()["40000"]["nl"] == "Provincie Oost-Vlaanderen"


def test_chunks_make_no_difference() -> None:
    column = pa.chunked_array([[date(2001, 1, 1)], [None, date(2007, 1, 1)]])
    rule = parse_rule(AGE_CLASS)
    assert rule.apply(column, "birth_date").to_pylist() == ["20-24", None, "15-19"]


def test_an_empty_column_stays_empty() -> None:
    types = {"birth_date": pa.date32(), "date": pa.date32(), "amount": pa.float64()}
    for kind, doc in RULES.items():
        column = pa.array([], types.get(kind, pa.string()))
        assert len(parse_rule(doc).apply(column, kind)) == 0


@pytest.mark.parametrize(
    ("doc", "kind", "says"),
    [
        (WAGE, "birth_date", "round needs a number; birth_date is a date"),
        (AGE_CLASS, "amount", "age_class needs a date; amount is a number"),
        (PLACE, "code", "geography needs a place; code is a text"),
    ],
)
def test_a_step_that_doesnt_fit_the_type_is_refused(doc: Any, kind: str, says: str) -> None:
    with pytest.raises(RuleError, match=says):
        parse_rule(doc).apply(pa.array([], pa.string()), kind)


@pytest.mark.parametrize("doc", RULES.values())
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_describes_itself_in_one_sentence(doc: Any, language: Any) -> None:
    text = parse_rule(doc).describe(language)
    assert text.endswith(".")
    assert text[0].isupper()
    assert "{" not in text
    others = {parse_rule(doc).describe(other) for other in LANGUAGES} - {text}
    assert others


def test_a_description_gives_date_and_classes() -> None:
    assert parse_rule(AGE_CLASS).describe("nl") == (
        "Leeftijdsklasse op 2024-12-31: <15, 15-19, 20-24, 25-29, >=30."
    )
    assert parse_rule(WAGE).describe("en") == (
        "Rounded to the nearest multiple of 100; 20000 stands for 20000 or more."
    )
    by_period = parse_rule([{"age": {"reference_date": {"2024": "2024-12-31"}}}])
    assert by_period.describe("en") == "Age in completed years on 2024-12-31 (2024)."


@pytest.mark.parametrize(
    "doc",
    [
        None,
        [],
        "keep",
        [{}],
        [{"keep": {}, "year": {}}],
        ["keep"],
        [{"blur": {}}],
        [{"keep": {"to": 1}}],
        [{"round": {}}],
        [{"round": 100}],
        [{"round": {"to": 0}}],
        [{"round": {"to": 2.5}}],
        [{"round": {"to": True}}],
        [{"top_code": {"at": "x"}}],
        [{"top_code": {"at": float("nan")}}],
        [{"round": {"to": 100}}, {"top_code": {"at": 250}}],
        [{"age": {}}],
        [{"age": {"reference_date": "31/12/2024"}}],
        [{"age": {"reference_date": {}}}],
        [{"age_class": {"reference_date": "2024-12-31"}}],
        [{"age_class": {"reference_date": "2024-12-31", "breaks": []}}],
        [{"age_class": {"reference_date": "2024-12-31", "breaks": [20, 15]}}],
        [{"age_class": {"reference_date": "2024-12-31", "breaks": [0, 15]}}],
        [{"age_class": {"reference_date": "2024-12-31", "breaks": ["15"]}}],
        [{"age_class": {"reference_date": "2024-12-31", "breaks": [15, 200]}}],
        [{"geography": {"level": "street"}}],
        [{"geography": {"level": "region", "situation": 1977}}],
        [{"quarter": {}}, {"round": {"to": 5}}],
        [{"keep": {}}, {"round": {"to": 5}}],
    ],
)
def test_a_rule_that_cant_be_read_is_refused(doc: Any) -> None:
    with pytest.raises(RuleError):
        parse_rule(doc)


# --- the minimum ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "doc"), RULES.items())
def test_the_usual_rules_are_within_the_minimum(kind: str, doc: Any) -> None:
    assert fault_against_minimum(kind, parse_rule(doc)) is None


IDENTIFYING = [
    "national_number",
    "enterprise_number",
    "first_name",
    "last_name",
    "street",
    "house_number",
    "phone",
    "email",
    "text",
]


@pytest.mark.parametrize("kind", [*IDENTIFYING, "a_type_nobody_knows"])
@pytest.mark.parametrize("doc", [*RULES.values(), [{"age": {"reference_date": "2024-12-31"}}]])
def test_identifying_types_never_leave(kind: str, doc: Any) -> None:
    """S07: no number, name, address, telephone or free text under any rule, nor an unknown type."""
    fault = fault_against_minimum(kind, parse_rule(doc))
    assert fault is not None
    assert "never leaves" in fault


@pytest.mark.parametrize(
    ("kind", "doc", "allowed"),
    [
        ("birth_date", [{"keep": {}}], "age_class with classes of at least 5 years"),
        ("birth_date", [{"age": {"reference_date": "2024-12-31"}}], "age_class"),
        (
            "birth_date",
            [{"age": {"reference_date": "2024-12-31"}}, {"round": {"to": 5}}],
            "age_class",
        ),
        ("birth_date", [{"year": {}}], "age_class"),
        ("birth_date", [{"age_class": {**CLASSES, "breaks": [15, 19]}}], "at least 5 years"),
        ("birth_date", [{"age_class": {**CLASSES, "breaks": [3, 20]}}], "at least 5 years"),
        ("date", [{"keep": {}}], "quarter"),
        ("postcode", [{"keep": {}}], "geography at the level of arrondissement or above"),
        ("postcode", [{"geography": {"level": "municipality"}}], "arrondissement"),
        ("municipality", [{"geography": {"level": "municipality"}}], "arrondissement"),
        ("amount", [{"keep": {}}], "round to 100 or more and top_code at 50000 or less"),
        ("amount", [{"round": {"to": 100}}], "top_code"),
        ("amount", [{"round": {"to": 10}}, {"top_code": {"at": 100}}], "round to 100"),
        ("amount", [{"round": {"to": 100}}, {"top_code": {"at": 50100}}], "50000"),
        ("amount", [{"round": {"to": 100}}, {"round": {"to": 1}}], "round"),
        ("code", [{"round": {"to": 100}}], "keep"),
        ("amount", [{"bottom_code": {"at": 0}}], "classes with classes at least 100 wide"),
        ("amount", [{"classes": {"breaks": [0, 99]}}], "the last of them from 50000 or less on"),
        ("amount", [{"classes": {"breaks": [0, 50001]}}], "percentile with 100 groups or fewer"),
        ("amount", [{"round": {"to": 1}}, {"classes": {"breaks": [0, 100]}}], "classes"),
        ("amount", [{"size_class": {"scheme": "rsz"}}], "classes"),
        ("nace", [{"keep": {}}], "nace at the level of division or above"),
        ("nace", [{"nace": {"level": "group", "version": 2008}}], "division"),
        ("nace", [{"nace": {"level": "class", "version": 2025}}], "division"),
        ("employees", [{"keep": {}}], "size_class"),
        ("employees", [{"round": {"to": 5}}], "size_class"),
    ],
)
def test_nothing_finer_than_the_minimum(kind: str, doc: Any, allowed: str) -> None:
    """S09, S10, S11: what is too fine is refused, with what would be allowed."""
    fault = fault_against_minimum(kind, parse_rule(doc))
    assert fault is not None
    assert allowed in fault


@pytest.mark.parametrize(
    ("kind", "doc"),
    [
        ("birth_date", [{"age_class": {**CLASSES, "breaks": [18, 65]}}]),
        ("postcode", [{"geography": {"level": "region"}}]),
        ("municipality", [{"geography": {"level": "province", "situation": 2019}}]),
        ("amount", [{"top_code": {"at": 10000}}, {"round": {"to": 500}}]),
        ("date", [{"year": {}}]),
        ("integer", [{"round": {"to": 5}}]),
        ("integer", [{"top_code": {"at": 5}}]),
        *[(kind, [{"keep": {}}]) for kind in ("sex", "yes_no", "quarter", "year")],
        ("nace", [{"nace": {"level": "A64", "version": 2008}}]),
        ("nace", [{"nace": {"level": "division", "version": 2025}}]),
        ("amount", [{"bottom_code": {"at": 0}}, *WAGE]),
        ("amount", [{"classes": {"breaks": [0, 100, 50000]}}]),
        ("amount", [{"percentile": {"groups": 100, "over": "delivery"}}]),
        ("employees", [{"size_class": {"scheme": "eu"}}]),
        ("code", [{"yes_no": {"codes": ["W"]}}]),
    ],
)
def test_coarser_than_the_minimum_is_allowed(kind: str, doc: Any) -> None:
    assert fault_against_minimum(kind, parse_rule(doc)) is None


@pytest.mark.parametrize(
    ("digits", "value", "told"),
    [
        (2, 0.0, 0.0),
        (2, 3.14, 3.1),
        (2, 0.0678, 0.068),
        (2, 1284.5, 1300.0),
        (2, 99.7, 100.0),
        (1, 1284.5, 1000.0),
        (3, 0.3333, 0.333),
    ],
)
def test_a_weight_keeps_its_first_digits(digits: int, value: float, told: float) -> None:
    """The very number that one would write, and nothing behind it."""
    rule = parse_rule([{"significant": {"digits": digits}}])
    given = rule.apply(pa.array([value, None, value]), "weight")
    assert given.to_pylist() == [told, None, told]


def test_a_weight_never_leaves_finer_than_two_digits() -> None:
    """A calibrated weight is nearly everybody's own."""
    for digits, fault in ((1, False), (2, False), (3, True)):
        rule = parse_rule([{"significant": {"digits": digits}}])
        assert bool(fault_against_minimum("weight", rule)) is fault
    for other in ({"keep": {}}, {"round": {"to": 1}}):
        assert "significant to 2 digits" in str(
            fault_against_minimum("weight", parse_rule([other]))
        )
    for digits in (0, 16, 2.0, "2", None):
        with pytest.raises(RuleError, match="whole number"):
            parse_rule([{"significant": {"digits": digits}}])
    assert fault_against_minimum("pseudonym", parse_rule([{"keep": {}}])) is not None


def test_every_limit_in_the_file_is_one_the_code_knows() -> None:
    """A limit that is misspelled would be no limit."""
    text = (coarsening.Path(coarsening.__file__).parent / "minimum_coarsening.yaml").read_text()
    for alternatives in yaml.safe_load(text).values():
        for alternative in alternatives:
            for step, limits in alternative.items():
                assert step in STEPS
                assert set(limits) <= set(STEPS[step].limits)
                assert step not in ("age_class", "geography", "nace") or limits


# --- missing values ------------------------------------------------------------------------------


def test_text_takes_the_code_of_its_reason() -> None:
    """Missing is never silent, and the reasons stay apart."""
    values = pa.array(["a", None, None])
    why = pa.array([None, NOT_LINKED, None])
    assert shown("status", values, why) == {"status": pa.array(["a", NOT_LINKED, NOT_IN_SOURCE])}
    encoded = shown("status", pa.chunked_array([values]).dictionary_encode())
    assert encoded["status"].to_pylist() == ["a", NOT_IN_SOURCE, NOT_IN_SOURCE]


@pytest.mark.parametrize("values", [[1.0, None, None], [1, None, None], [True, None, None]])
def test_other_types_get_a_status_beside_them(values: list[Any]) -> None:
    columns = shown("wage", pa.array(values), pa.array([None, NOT_LINKED, None]))
    assert columns["wage"].to_pylist() == values
    assert columns["wage_status"].to_pylist() == [OBSERVED, NOT_LINKED, NOT_IN_SOURCE]


def test_a_delivered_value_cant_pose_as_a_missing_one() -> None:
    for code in MISSING_CODES:
        with pytest.raises(RuleError, match="look like a code"):
            shown("status", pa.array(["a", code]))


def test_the_codes_are_distinct_and_said_in_every_language() -> None:
    assert len(MISSING_CODES) == 3
    assert OBSERVED not in MISSING_CODES
    assert all(set(texts) == set(LANGUAGES) for texts in MISSING_CODES.values())
