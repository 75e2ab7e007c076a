"""How well rows are linked: classes for the researcher, rates by subgroup, nobody singled out."""

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PolicyError, documents, links, weights

K = 5


def release(classes: list[tuple[str, int, int]]) -> tuple[pa.Table, pa.Table]:
    """Units with one key, and a row for each that was found: (class, units, found)."""
    names = [name for name, size, _ in classes for _ in range(size)]
    hit = [number < found for _, size, found in classes for number in range(size)]
    ids = [number.to_bytes(16) for number in range(len(names))]
    units = pa.table({"unit": pa.array(ids, pa.binary(16)), "class": names})
    rows = units.filter(pa.array(hit)).select(["unit"])
    return units, rows.append_column("quality", pa.array(["number"] * rows.num_rows, pa.string()))


def rates(classes: list[tuple[str, int, int]]) -> dict[str, Any]:
    units, rows = release(classes)
    return links.rates(units, {"work": rows}, [], ["class"], K)["datasets"][0]


def test_rates_are_told_by_subgroup() -> None:
    """Bias: who is found less often can be seen."""
    found = rates([("15-19", 100, 20), ("20-24", 200, 150), ("_suppressed", 10, 0)])
    assert (found["units"], found["found"], found["share"]) == (310, 170, 0.5484)
    assert found["by"]["class"] == [
        {"class": "15-19", "units": 100, "found": 20, "share": 0.2},
        {"class": "20-24", "units": 200, "found": 150, "share": 0.75},
        {"class": "_suppressed", "units": 10, "found": 0, "share": 0.0},
    ]


@pytest.mark.parametrize("few", [(3, 100), (97, 100)], ids=["few found", "few missed"])
def test_few_are_hidden_with_a_class_that_would_give_them_back(few: tuple[int, int]) -> None:
    """The total is told, so one hidden class alone would be no secret."""
    found, size = few
    told = rates([("a", size, found), ("b", 60, 30), ("c", 200, 100)])
    shares = {entry["class"]: entry["found"] for entry in told["by"]["class"]}
    assert shares == {"a": None, "b": None, "c": 100}
    assert told["found"] == found + 130


def test_where_no_class_can_hide_another_nothing_is_told() -> None:
    """A single class is the total; few of all are hidden with everything; a class that itself is
    small says nothing, not even its size."""
    for classes in ([("a", 100, 4)], [("a", 100, 97)], [("a", 100, 3), ("b", 10, 1)]):
        told = rates(classes)
        assert told["found"] is None
        assert all(entry["found"] is entry["share"] is None for entry in told["by"]["class"])
    told = rates([("a", 3, 1), ("b", 100, 50)])
    assert told["found"] == 51
    assert all(entry["units"] is entry["found"] is None for entry in told["by"]["class"])


def test_the_number_of_rows_does_not_give_back_how_many_were_found() -> None:
    """With a row for each unit found they are one number; with few rows it bounds the other."""
    told = rates([("a", 60, 40), ("b", 100, 98)])
    assert (told["found"], told["links"]["all"]) == (138, 138)
    hidden = {"all": None, "by_quality": dict.fromkeys(links.QUALITY)}
    for found in (3, 97):
        assert rates([("a", 100, found)])["links"] == hidden
    units, rows = release([("a", 100, 97)])
    often = links.rates(units, {"work": pa.concat_tables([rows, rows])}, [], ["class"], K)
    assert often["datasets"][0]["links"]["all"] == 194
    assert rates([("a", 100, 0)])["links"]["all"] == 0


CLASSES = st.lists(
    st.integers(K, 14).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    min_size=1,
    max_size=4,
)


@given(CLASSES)
def test_an_intruder_who_does_the_sums_learns_no_small_count(sizes: list[tuple[int, int]]) -> None:
    """A law: every way to fill what is hidden that fits what is told is tried, and each small count
    could be k + 1 numbers at least."""
    told = rates([(str(place), *pair) for place, pair in enumerate(sizes)])
    entries = told["by"]["class"]
    if told["found"] is None:
        assert all(entry["found"] is None for entry in entries)
        return
    options = [
        range(entry["units"] + 1) if entry["found"] is None else [entry["found"]]
        for entry in entries
    ]
    worlds = [world for world in product(*options) if sum(world) == told["found"]]
    for place, (size, found) in enumerate(sizes):
        if 0 < found < K or 0 < size - found < K:
            assert len({world[place] for world in worlds}) > K
    assert tuple(found for _, found in sizes) in worlds


def test_links_are_counted_by_how_they_were_decided() -> None:
    """A class with few units is hidden, with the next one; zeros are told where that is safe."""
    ids = pa.array([number.to_bytes(16) for number in range(60)], pa.binary(16))
    classes = pa.array(["number"] * 40 + ["similar"] * 17 + ["new"] * 3)
    units = pa.table({"unit": ids})
    work = pa.table({"unit": ids, "quality": classes})

    def told(rows: pa.Table) -> dict[str, Any]:
        counted = links.rates(units, {"work": rows}, ["work"], [], K)["datasets"][0]
        assert "found" not in counted  # in the universe everybody is found
        return counted["links"]

    hidden = {"number": 40, "very_similar": 0, "similar": None, "new": None}
    assert told(work) == {"all": 60, "by_quality": hidden}
    assert told(work.slice(0, 57))["by_quality"] == {**hidden, "similar": 17, "new": 0}
    assert told(work.slice(0, 3)) == {"all": 3, "by_quality": dict.fromkeys(links.QUALITY)}
    assert told(work.slice(0, 0))["all"] == 0
    often = pa.concat_tables([work.slice(0, 57), *[work.slice(57, 3)] * 7])  # 21 rows of 3 units
    assert told(often)["by_quality"] == hidden
    rare = pa.array(["number"] * 40 + ["similar"] * 17 + ["new", "very_similar", "new"])
    three = {**hidden, "very_similar": None}  # two and one would be known to be three
    assert told(pa.table({"unit": ids, "quality": rare}))["by_quality"] == three


def test_classes_are_no_finer_than_they_say() -> None:
    """Never a probability: it would be nearly everybody's own."""
    rules = pa.chunked_array(
        [["national_number", "enterprise_number", "conversion", "fuzzy", "fuzzy", "new", None]]
    )
    probability = pa.chunked_array([[None, None, None, 0.99, 0.9899, None, None]], pa.float64())
    classes = links.quality(rules, probability).to_pylist()
    named = ["number", "number", "number", "very_similar", "similar", "new", None]
    assert classes == named
    with pytest.raises(PolicyError, match="no class"):
        links.quality(pa.chunked_array([["guessed"]]), pa.chunked_array([[0.5]]))
    assert all(set(texts) == {"nl", "fr", "de", "en"} for texts in links.QUALITY.values())


def test_the_report_shows_rates_as_tables() -> None:
    """Readable, with what is hidden said to be hidden."""
    units, rows = release([("<15>", 100, 3), ("b", 60, 30), ("c", 200, 100)])
    linkage = links.rates(units, {"work": rows, "own": rows}, ["own"], ["class"], K)
    page = "".join(documents._linkage(linkage))
    assert page.count("<table>") == 2
    assert "&lt;15&gt;</td><td>100</td><td>hidden</td><td>hidden</td>" in page
    assert "<td>200</td><td>100</td><td>50.0%</td>" in page
    readme = documents.readme({}, {"en": "T"}, "p", "2024", [], "en", linkage)
    assert "`work`: 36.9% of the units" in readme
    assert "`own`" not in readme
    assert "How many units" not in documents.readme({}, {"en": "T"}, "p", "2024", [], "en", {})


def test_a_weight_tells_the_population_and_no_weight() -> None:
    """V07 and the issue: k counts the sample; the report estimates whom it stands for."""
    ids = pa.array([number.to_bytes(16) for number in range(30)], pa.binary(16))
    units = pa.table({"unit": ids, "area": ["a"] * 10 + ["b"] * 20})
    order = np.random.default_rng(1).permutation(30)
    known = pa.array([float(number) for number in range(1, 31)], mask=np.arange(30) < 7)
    given = pa.table({"unit": ids, "weight": known}).take(pa.array(order))
    figures = weights.estimates(units, ["area"], given, K)
    assert figures["units"] == 23
    assert figures["estimated"] == 437.0  # 8 + … + 30
    assert figures["smallest_combination"] == 410.0  # b: the three of a would tell a weight
    few = weights.estimates(units, ["area"], given.filter(pa.array([False] * 30)), K)
    assert few == {"units": 0, "estimated": None, "smallest_combination": None}
    for number, told in ((4, None), (5, 5), (25, 25), (26, None), (30, 30)):
        some = pa.table({"unit": ids, "weight": pa.repeat(2.0, 30)}).slice(0, number)
        assert weights.estimates(units, ["area"], some, K)["units"] == told
    page = "".join(documents._population([{"dataset": "s<", "weight": "w", **figures}]))
    assert "<td>s&lt;, w</td><td>23</td><td>437</td><td>410</td>" in page
    assert documents._population([]) == []
