"""match(): who is whom in two files, or one, judged by the truth (S25, S26)."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linkage.matching import RULES, Matched, match
from linkage.plans import FilePlan
from tests.linkage.kernel.country import Country, country, plan

SIZE = 20_000
RECALL = {
    "swapped_names": 0.75,
    "moved": 0.96,
    "moved_birth_date_differs": 0.75,
    "moved_last_name_differs": 0.80,
    "partner_name": 0.84,
    "birth_date_default_or_missing": 0.86,
    "twin": 0.88,
    "namesake_at_address": 0.88,
    "bis_became_national": 0.95,
    "nickname_or_initial": 0.90,
}
"""What is linked of each hard case at least; without numbers, by a plan of fields only."""


@pytest.fixture(scope="module")
def some() -> Country:
    return country(SIZE)


@pytest.fixture(scope="module")
def matched(some: Country) -> Matched:
    return match(some.a, some.b, plan())


def links(found: Matched) -> set[tuple[int, int]]:
    which = found.rule < RULES.index("review")
    return set(zip(found.left[which].tolist(), found.right[which].tolist(), strict=True))


def test_a_plan_of_fields_only_links_nearly_everybody(some: Country, matched: Matched) -> None:
    which = matched.rule == RULES.index("fuzzy")
    right = some.right(matched.left[which], matched.right[which])
    assert right.mean() > 0.999
    assert right.sum() / some.common > 0.98


@pytest.mark.parametrize("case", RECALL)
def test_hard_cases_are_linked(some: Country, matched: Matched, case: str) -> None:
    hard = some.hard.filter(some.hard[case])
    persons = set(hard["person"].to_pylist())
    assert persons, f"the files have nobody of the case {case}"
    linked = {int(some.persons_a[left]) for left, right in links(matched)
              if some.persons_a[left] == some.persons_b[right]}  # fmt: skip
    assert len(persons & linked) / len(persons) >= RECALL[case]


def test_what_is_stated_is_true(some: Country, matched: Matched) -> None:
    """Calibration: in bins of 500 pairs, stated and true share differ by 2 points on average."""
    true = some.right(matched.pairs.left, matched.pairs.right)
    order = np.argsort(matched.chances)
    bins = np.array_split(order, max(len(order) // 500, 1))
    gaps = [abs(matched.chances[one].mean() - true[one].mean()) for one in bins]
    assert np.mean(gaps) < 0.02


def test_nobody_is_linked_twice(matched: Matched) -> None:
    which = matched.rule < RULES.index("review")
    for side in (matched.left[which], matched.right[which]):
        assert len(np.unique(side)) == len(side)


def test_review_shows_only_rows_that_are_free(matched: Matched) -> None:
    review = matched.rule == RULES.index("review")
    assert review.any()
    assert not set(matched.left[review]) & set(matched.left[~review])
    assert not set(matched.right[review]) & set(matched.right[~review])


def test_workers_and_runs_change_nothing(some: Country, matched: Matched) -> None:
    again = match(some.a, some.b, plan(), workers=1)
    for name in ("left", "right", "rule", "probability"):
        np.testing.assert_array_equal(getattr(again, name), getattr(matched, name))


def test_the_order_of_rows_changes_hardly_anything(some: Country, matched: Matched) -> None:
    """Only the sample that the weights are learned from is another."""
    generator = np.random.default_rng(8)
    a, b = (generator.permutation(table.num_rows) for table in (some.a, some.b))
    other = match(some.a.take(a), some.b.take(b), plan())
    moved = {(int(a[left]), int(b[right])) for left, right in links(other)}
    sure = {
        (int(left), int(right))
        for left, right, chance in zip(
            matched.left, matched.right, matched.probability, strict=True
        )
        if chance > 0.99
    }
    assert len(moved ^ links(matched)) < 0.005 * len(moved)
    assert len(sure - moved) < 0.001 * len(sure)


def test_a_number_links_where_a_name_corroborates_it(some: Country) -> None:
    found = match(some.a, some.b, plan(number=True))
    number = found.rule == RULES.index("national_number")
    assert some.right(found.left[number], found.right[number]).mean() > 0.9999
    fuzzy = found.rule == RULES.index("fuzzy")
    assert some.right(found.left[fuzzy], found.right[fuzzy]).mean() > 0.999
    assert (number.sum() + fuzzy.sum()) / some.common > 0.975


def rows(**columns: list[Any]) -> Any:
    """A small file with ids."""
    size = len(next(iter(columns.values())))
    return pa.table({"id": [f"r{n}" for n in range(size)], **columns})


def simple(assignment: str = "one-to-one", *fields: str) -> FilePlan:
    kinds = fields or ("national_number", "first_name", "last_name", "birth_date")
    return FilePlan.from_mapping(
        {
            "unit": "person",
            "id": {"a": "id", "b": "id"},
            "fields": [{"type": kind, "a": kind, "b": kind} for kind in kinds],
            "assignment": assignment,
        }
    )


TWINS = {
    "national_number": ["85073003328", "85073003427"],
    "first_name": ["Anna", "Bert"],
    "last_name": ["Peeters", "Peeters"],
    "birth_date": ["1985-07-30", "1985-07-30"],
}


def test_a_twins_number_is_contradicted_and_shown() -> None:
    a = rows(**{name: values[:1] for name, values in TWINS.items()})
    wrong = {**TWINS, "national_number": [TWINS["national_number"][0]] * 2}
    b = rows(**{name: values[1:] for name, values in wrong.items()})
    found = match(a, b, simple())
    assert found.rule.tolist() == [RULES.index("review")]


def test_a_number_that_stands_twice_in_a_file_proves_nothing() -> None:
    a = rows(**{name: values[:1] for name, values in TWINS.items()})
    b = rows(**{name: [values[0]] * 2 for name, values in TWINS.items()})
    found = match(a, b, simple())
    assert not (found.rule == RULES.index("national_number")).any()


def test_many_rows_of_one_side_go_with_one_of_the_other() -> None:
    a = rows(**{name: [values[0]] * 3 for name, values in TWINS.items()})
    b = rows(**TWINS)
    found = match(a, b, simple("many-to-one"))
    linked = found.rule == RULES.index("national_number")
    assert sorted(found.left[linked].tolist()) == [0, 1, 2]
    assert set(found.right[linked].tolist()) == {0}


def test_numbers_alone_link_where_there_is_nothing_else() -> None:
    number = {"national_number": TWINS["national_number"]}
    found = match(rows(**number), rows(**number), simple("one-to-one", "national_number"))
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_doubles_of_one_file_get_one_group() -> None:
    some = country(3000)
    twice = pa.concat_tables([some.a, some.a.slice(0, 500)])
    fields = [
        {"type": kind, "a": column}
        for kind, column in (
            ("first_name", "first_name"),
            ("last_name", "last_name"),
            ("birth_date", "birth_date"),
            ("sex", "sex"),
            ("street", "street"),
            ("house_number", "house_no"),
            ("postcode", "postcode"),
        )
    ]
    document = {"unit": "person", "id": "rec_id", "fields": fields}
    found = match(twice, None, FilePlan.from_mapping(document, dedupe=True))
    assert (found.group[:500] == found.group[3000:]).mean() > 0.99
    assert len(np.unique(found.group)) > 0.98 * 3000


def test_progress_names_the_stages() -> None:
    told: list[str] = []
    match(rows(**TWINS), rows(**TWINS), simple(), progress=lambda stage, _: told.append(stage))
    assert list(dict.fromkeys(told)) == [
        "encode", "numbers", "block", "estimate", "score", "assign",
    ]  # fmt: skip
