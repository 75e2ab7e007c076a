"""The page of charts: what is drawn is what was counted, it names nobody, and it stands alone."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage import charts, figures, plots
from linkage.explained import LEVELS, Step, explain, said
from linkage.kernel.levels import comparisons
from linkage.matching import Matched, match
from linkage.plans import FilePlan
from linkage.truth import BIN, Truth, calibration
from tests.bench.population import Recipe, population

FIELDS = {
    "first_name": "voornaam",
    "last_name": "naam",
    "birth_date": "geboortedatum",
    "street": "straat",
    "postcode": "postcode",
    "occupation": "beroep",
}
PLAN = FilePlan.from_mapping(
    {
        "id": {"a": "rec_id", "b": "record"},
        "fields": [
            {"type": "text" if a == "occupation" else a, "a": a, "b": b} for a, b in FIELDS.items()
        ],
    }
)


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Two files about a small country."""
    (chunk,) = population(Recipe(left=1_500, right=1_500), 8)
    return dict(chunk.tables)


@pytest.fixture(scope="module")
def matched(tables: dict[str, pa.Table]) -> Matched:
    """Their linkage."""
    return match(tables["a"], tables["b"], PLAN)


@pytest.fixture(scope="module")
def truth(tables: dict[str, pa.Table]) -> Truth:
    """Who is who in them: rows stand in the order of the truth."""
    one, other = tables["truth_a"], tables["truth_b"]
    assert one["rec_id"] == tables["a"]["rec_id"]
    assert other["record"] == tables["b"]["record"]
    persons = [table["person"].combine_chunks().cast(pa.string()) for table in (one, other)]
    return Truth.of(*persons)


class _Page(HTMLParser):
    """Tags with their attributes, all ids, and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_stands_alone(matched: Matched, truth: Truth) -> None:
    """No script, nothing from elsewhere, one style sheet that its own policy names by hash."""
    text = charts.page(matched, PLAN, truth)
    page = _Page(text)
    assert not page.open
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "use", "image", "a", "form"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("style", "href", "src")]
    assert "url(" not in text
    assert "@import" not in text
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert len(style) == 1
    assert f"style-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_every_chart_can_be_read_without_seeing_it(matched: Matched, truth: Truth) -> None:
    """WCAG 1.1.1: a name, a description, and the figures in a table."""
    page = _Page(charts.page(matched, PLAN, truth))
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(drawings) == 7
    assert len(set(ids)) == len(ids) == 14
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set((drawing["aria-labelledby"] or "").split()) <= set(ids)
    assert sum(tag == "table" for tag, _ in page.tags) == 7
    assert ("html", {"lang": "en"}) in page.tags


def test_the_page_names_nobody(matched: Matched, truth: Truth, tables: dict[str, pa.Table]) -> None:
    """V24: no name, date or street of any row, and no row's id."""
    text = charts.page(matched, PLAN, truth).upper()
    for side, place in (("a", 0), ("b", 1)):
        for column in ([*FIELDS] if place == 0 else [*FIELDS.values()])[:4]:
            values = {str(value).upper() for value in tables[side][column].to_pylist() if value}
            found = {value for value in values if len(value) > 4 and f">{value}<" in text}
            assert not found
    assert "A0000" not in text


def test_the_page_of_a_pair_has_what_it_is_given_and_no_markup() -> None:
    """Values are other people's: nothing in them is markup."""
    steps = [Step("prior", "two rows taken blindly", -10.0), Step("last_name", "the same", 12.0)]
    page = charts.case_page("1 and 2", "linked", steps, {"last_name": "<b>O'Hara</b> | O'Hara"})
    assert "&lt;b&gt;O&#x27;Hara&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "probability 0.8000" in page
    assert "…" in charts.case_page("", "", steps, {"prior": "x" * 60})


def test_every_level_has_words_for_people() -> None:
    """So that no chart says `other_name`."""
    parts = (
        "national_number", "given", "head", "joined", "second", "last", "birth_date", "birth_year",
        "sex", "street", "house_number", "box", "postcode", "municipality", "phone", "email",
        "company_name", "legal_form", "text:x", "code:y",
    )  # fmt: skip
    without = tuple(part for part in parts if part != "birth_date")
    words = {w for one in (*comparisons(parts), *comparisons(without)) for w in one.words}
    assert words <= set(LEVELS)
    assert set(LEVELS) <= words


def test_scores_count_each_pair_once(matched: Matched) -> None:
    """By what became of it."""
    scores = figures.scores(matched)
    assert int(scores.linked.sum()) == int((matched.rule == 1).sum())
    assert int(scores.review.sum()) == int((matched.rule == 2).sum())
    every = scores.linked + scores.review + scores.neither
    assert int(every.sum()) == len(matched.pairs)
    sure = np.log2(PLAN.link / (1 - PLAN.link)) - figures.LIMITS[0]
    assert not scores.linked[: int(sure)].any()


def test_blocking_rules_are_judged_by_true_pairs(matched: Matched, truth: Truth) -> None:
    """Each true pair is found by some rules, by one alone, or by none."""
    assert matched.model is not None
    pairs = figures.to_be_found(matched, truth)
    told, missed = figures.blocking(matched, matched.model, *pairs)
    a, b = matched.encoded.a.codes, matched.encoded.b.codes
    found = [
        [all(a[part][one] == b[part][other] >= 0 for part in rule) for rule in matched.model.rules]
        for one, other in zip(*(side.tolist() for side in pairs), strict=True)
    ]
    assert [one.found for one in told] == [sum(column) for column in zip(*found, strict=True)]
    assert sum(one.alone for one in told) == sum(sum(row) == 1 for row in found)
    assert missed == sum(not any(row) for row in found)
    assert [one.candidates for one in told] == list(matched.candidates.values())


def test_a_row_at_its_best_is_beside_its_double(tables: dict[str, pa.Table]) -> None:
    """What is drawn of unlinkable rows is what a pair of the same rows gets."""
    columns = [*FIELDS, "rec_id"]
    twin = tables["a"].select(columns)
    plan = FilePlan.from_mapping(
        {
            "id": {"a": "rec_id", "b": "rec_id"},
            "fields": [
                {"type": "text" if a == "occupation" else a, "a": a, "b": a} for a in FIELDS
            ],
        }
    )
    result = match(twin, twin, plan)
    assert result.model is not None
    best = figures.best_possible(result.encoded, result.model)
    for row in range(0, 1_500, 100):
        why = explain(result.encoded, result.model, row, row)
        assert best[0][row] == pytest.approx(why.weight + why.household, abs=1e-4)
        assert best[1][row] == pytest.approx(best[0][row], abs=1e-4)


def test_a_linkage_by_numbers_alone_has_a_page_without_charts(
    tables: dict[str, pa.Table],
) -> None:
    """There is nothing that was weighed."""
    plan = FilePlan.from_mapping(
        {
            "id": {"a": "rec_id", "b": "record"},
            "fields": [{"type": "national_number", "a": "nn", "b": "insz"}],
        }
    )
    page = charts.page(match(tables["a"], tables["b"], plan), plan)
    assert "by number" in page
    assert "<svg" not in page


def test_a_waterfall_says_its_sum() -> None:
    """In its description too."""
    steps = [Step("prior", "x", -3.0), Step("sex", "y", 1.0), Step("text:job", "z", 2.0)]
    chart = plots.waterfall(steps, {}, "")
    assert "in all +0.0 bits, probability 0.5000" in chart.drawing.svg()
    assert chart.rows[-1] == ("job (text)", "z", "+2.00", "+0.00")


persons = st.lists(st.integers(-1, 5), min_size=1, max_size=30)


def _codes(values: list[int]) -> Any:
    return np.array(values, np.int64)


@given(persons, persons)
def test_true_pairs_are_all_pairs_of_one_person(a: list[int], b: list[int]) -> None:
    """And -1 is nobody."""
    truth = Truth(_codes(a), _codes(b))
    pairs = set(zip(*(side.tolist() for side in truth.all_pairs()), strict=True))
    wanted = {
        (i, j) for i, j in product(range(len(a)), range(len(b))) if a[i] == b[j] and a[i] >= 0
    }
    assert pairs == wanted
    assert truth.pairs == len(wanted)


@given(persons)
def test_within_one_file_each_true_pair_is_there_once(a: list[int]) -> None:
    """In one of its two orders."""
    truth = Truth(_codes(a), None)
    pairs = [tuple(sorted(pair)) for pair in zip(*truth.all_pairs(), strict=True)]
    wanted = {(i, j) for i in range(len(a)) for j in range(i + 1, len(a)) if a[i] == a[j] >= 0}
    assert len(pairs) == len(wanted) == truth.pairs
    assert set(pairs) == wanted


@given(st.lists(st.sampled_from([0.01, 0.3, 0.5, 0.52, 0.9, 0.97, 1.0]), max_size=8), st.data())
def test_bins_of_a_calibration_are_large_enough(shares: list[float], data: Any) -> None:
    """Every pair is in one bin, and a bin has BIN pairs or is the only one."""
    counts = data.draw(
        st.lists(st.integers(1, 2 * BIN), min_size=len(shares), max_size=len(shares))
    )
    probability = np.repeat(np.array(shares), counts) if shares else np.zeros(0)
    right = np.arange(len(probability)) % 3 == 0
    told = calibration(probability, right)
    sizes = [one["pairs"] for one in told["bins"]]
    assert sum(sizes) == len(probability)
    assert len(sizes) <= 1 or min(sizes) >= BIN
    assert all(one["from"] <= one["stated"] <= one["to"] for one in told["bins"])


@given(persons, st.data())
def test_the_best_threshold_is_the_best_of_all(a: list[int], data: Any) -> None:
    """Compared with every threshold tried by hand; and groups with all their pairs."""
    truth = Truth(_codes(a), _codes(a[::-1]))
    size = len(a)
    rule = _codes(data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)))
    chance = np.array(
        data.draw(st.lists(st.sampled_from([0.5, 0.7, 0.9]), min_size=size, max_size=size))
    )
    left = np.arange(size)
    right = truth.right(left, left)
    told = truth.figures(right, rule, chance)["best"]
    tried = []
    for threshold in (0.5, 0.7, 0.9, 2.0):
        taken = (rule == 0) | (chance >= threshold)
        if taken.any() and truth.pairs:
            tried.append(2 * int(right[taken].sum()) / (int(taken.sum()) + truth.pairs))
    if tried:
        assert told["f1"] == pytest.approx(max(tried))


@given(st.floats(0, 1))
def test_no_probability_is_rounded_to_certainty(probability: float) -> None:
    """What isn't certain is never said to be."""
    told = said(probability)
    if told.startswith("nearly"):
        assert min(probability, 1 - probability) < 1e-8
    else:
        assert 0 < float(told) < 1
        assert float(told) == pytest.approx(probability, abs=1e-4)
