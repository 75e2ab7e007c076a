"""Laws of linking: what may never matter, and what must always hold."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage import LinkageError
from linkage.deliveries import RECORDS, Delivery
from linkage.engine import FIELDS, Plan, link
from linkage.spine import Spine
from tests.linkage.helpers import Row, Scope, delivery, person, subject_ids
from tests.linkage.judge import admit_all, partition
from tests.linkage.people import Clerk, Extract, Town, national_number


@pytest.fixture(scope="module")
def extracts() -> list[Extract]:
    return list(Clerk(Town(120, 5), 5).waves())


def shuffled(coming: Delivery, seed: int) -> Delivery:
    order = np.random.default_rng(seed).permutation(coming.records.num_rows)
    return replace(coming, records=coming.records.take(pa.array(order)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_rows_changes_nothing(extracts: list[Extract], seed: int) -> None:
    """Row order tells nothing, so it may decide nothing: groups, rules, review are the same."""
    spine, scope = Spine.empty(), Scope()
    for extract in extracts:
        coming = extract.delivery
        ours = link(coming, spine, scope.plan)
        theirs = link(shuffled(coming, seed), spine, scope.plan)
        keys = [("row_key", "ascending"), ("reference", "ascending")]
        assert ours.links.sort_by(keys).equals(theirs.links.sort_by(keys))
        assert ours.groups.equals(theirs.groups)
        everything = [(name, "ascending") for name in ours.review.column_names]
        assert ours.review.sort_by(everything).equals(theirs.review.sort_by(everything))
        spine = spine.with_segment(spine.admit(coming, ours, subject_ids(coming, ours)))


def test_a_repeated_delivery_changes_nobody(extracts: list[Extract]) -> None:
    """S15: whoever came before comes back as themselves, whatever their record says."""
    scope = Scope()
    first = [scope.admit(extract.delivery) for extract in extracts]
    records = scope.spine.records().num_rows
    assert [scope.admit(extract.delivery) for extract in extracts] == first
    assert "new" not in scope.rules
    assert scope.spine.records().num_rows == records, "nothing new was learnt"


def test_nothing_is_random(extracts: list[Extract]) -> None:
    ours, theirs = Scope(), Scope()
    for extract in extracts:
        assert ours.admit(extract.delivery) == theirs.admit(extract.delivery)
        assert ours.results[-1].review.equals(theirs.results[-1].review)


def test_workers_change_nothing(extracts: list[Extract]) -> None:
    scope = Scope()
    for extract in extracts[:3]:
        scope.admit(extract.delivery)
    one, three = (
        link(extracts[3].delivery, scope.spine, scope.plan, workers=workers) for workers in (1, 3)
    )
    for name in ("links", "groups", "review", "identities"):
        assert getattr(one, name).equals(getattr(three, name))
    assert one.quality["models"] == three.quality["models"]


def test_the_order_of_deliveries_changes_only_what_was_uncertain(extracts: list[Extract]) -> None:
    """Measured: of all units, the share that is the same set of entries either way."""
    forth, back = (
        partition(outcomes, places)
        for outcomes, places in (_admitted(extracts), _admitted(extracts[::-1]))
    )
    assert len(forth & back) / len(forth | back) >= 0.98


def _admitted(extracts: Sequence[Extract]) -> tuple[list, list]:  # type: ignore[type-arg]
    outcomes = admit_all(Scope(), extracts)
    places = [
        (extract.delivery.delivery, place)
        for extract in extracts
        for place in zip(
            extract.delivery.records["record"].to_pylist(),
            extract.delivery.records["reference"].to_pylist(),
            strict=True,
        )
    ]
    return outcomes, places


def test_no_two_units_of_one_row_are_one(extracts: list[Extract]) -> None:
    scope = Scope()
    for extract in extracts:
        subjects = scope.admit(extract.delivery)
        keys = extract.delivery.records["row_key"].to_pylist()
        assert len(set(zip(keys, subjects, strict=True))) == len(keys)


def test_tables_fit_together(extracts: list[Extract]) -> None:
    scope = Scope()
    for extract in extracts:
        scope.admit(extract.delivery)
    result, records = scope.results[2], extracts[2].delivery.records
    assert result.links["row_key"].equals(records["row_key"])
    assert result.links["group"].type == pa.int32()
    groups = result.groups
    assert groups["group"].to_pylist() == list(range(groups.num_rows))
    assert set(result.links["group"].to_pylist()) == set(groups["group"].to_pylist())
    firsts = list(
        zip(groups["first_record"].to_pylist(), groups["first_reference"].to_pylist(), strict=True)
    )
    assert firsts == sorted(firsts, key=lambda first: (first[0], first[1] != "self", first[1]))
    rules, chances = result.links["rule"].to_pylist(), result.links["probability"].to_pylist()
    for rule, chance in zip(rules, chances, strict=True):
        assert (chance is not None) == (rule == "fuzzy")
        assert chance is None or 0.9 <= chance <= 1.0
    met_before = [subject is not None for subject in groups["subject"].to_pylist()]
    first_of = dict(zip(firsts, met_before, strict=True))
    for place, rule in zip(
        zip(records["record"].to_pylist(), records["reference"].to_pylist(), strict=True),
        rules,
        strict=True,
    ):
        assert (rule == "new") == (first_of.get(place) is False)
    review = result.review
    assert review.num_rows > 0
    for row in review.to_pylist():
        assert row["other_subject"] is not None or row["other_group"] is not None


def test_quality_counts(extracts: list[Extract]) -> None:
    heard: list[tuple[str, float]] = []
    records = extracts[0].delivery.records
    result = link(
        extracts[0].delivery,
        Spine.empty(),
        Plan.default(),
        progress=lambda stage, share: heard.append((stage, share)),
    )
    quality = result.quality
    assert sum(quality["by_rule"].values()) == quality["references"] == records.num_rows
    assert quality["by_rule"]["new"] == quality["units"] == result.groups.num_rows
    assert quality["units_known"] == 0
    assert quality["review"] == result.review.num_rows == sum(quality["review_by_reason"].values())
    assert quality["candidates"] > 0
    assert quality["taking_part"] == 0
    assert quality["by_rule"]["fuzzy"] > 0
    assert 0.95 < quality["expected"]["precision"] < 1.0
    assert 0.8 < quality["expected"]["recall"] < 1.0
    model = quality["models"]["person"]
    assert model["candidates"] == quality["candidates"]
    assert 0 < model["matches"] < model["pairs"]
    for levels in model["levels"].values():
        for kind in ("m", "h", "u"):
            assert sum(level[kind] for level in levels.values()) == pytest.approx(1.0)
    assert json.loads(json.dumps(quality)) == quality
    assert set(quality["seconds"]) == {stage for stage, _ in heard}
    shares = [share for _, share in heard]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0


def test_an_empty_delivery() -> None:
    scope = Scope()
    assert scope.admit(delivery([])) == []
    assert scope.spine.version == 1
    result = scope.results[-1]
    assert result.links.num_rows == result.groups.num_rows == result.review.num_rows == 0
    assert result.quality["linkage_rate"] == 0.0
    assert result.quality["expected"] == {"precision": None, "recall": None}
    assert scope.admit(delivery([person("Luna", "Peeters", "2004-03-12")])) != []


def test_a_single_record_and_one_that_says_nothing() -> None:
    scope = Scope()
    assert len(scope.admit(delivery([person("Luna", "Peeters", "2004-03-12")]))) == 1
    assert len(set(scope.admit(delivery([{}, {}, {"national_number": "1"}], period="2025")))) == 3


def test_a_permit_may_allow_fewer_fields() -> None:
    """What isn't among the keys is not looked at, neither in the delivery nor in the spine."""
    luna = person("Luna", "Peeters", "2004-03-12", national_number=national_number(2004, 3, 12, 2))
    other = luna | {"first_name": "Victor", "last_name": "Claes", "birth_date": "1999-01-02"}
    scope = Scope()
    [one] = scope.admit(delivery([luna]))
    scope.plan = Plan.default().restricted(["national_number"])
    assert scope.admit(delivery([other], period="2025")) == [one]
    assert scope.results[-1].identities["first_name"].to_pylist() == [None]
    scope.plan = Plan.default().restricted(["first_name", "last_name", "birth_date", "conversion"])
    assert scope.admit(delivery([other], period="2026")) != [one]


def test_a_delivery_without_a_needed_column_is_refused() -> None:
    coming = delivery([person("Luna", "Peeters", "2004-03-12")])
    short = replace(coming, records=coming.records.drop_columns(["reference"]))
    with pytest.raises(LinkageError, match="reference"):
        link(short, Spine.empty(), Plan.default())


def test_fields_nobody_delivered_may_be_absent() -> None:
    coming = delivery([person("Luna", "Peeters", "2004-03-12")])
    fewer = replace(coming, records=coming.records.drop_columns(["sex", "enterprise_number"]))
    assert link(fewer, Spine.empty(), Plan.default()).links.num_rows == 1


NAMES = st.sampled_from(["Luna", "Lina", "Peeters", "Maes", "Jan", None])
ANYBODY = st.fixed_dictionaries(
    {
        "national_number": st.sampled_from(
            [None, "1", *(national_number(2004, 3, 12, serial) for serial in (1, 2, 4))]
        ),
        "first_name": NAMES,
        "last_name": NAMES,
        "birth_date": st.sampled_from(
            ["2004-03-12", "2004-12-03", "2004-01-01", "1974-03-12", None]
        ),
        "sex": st.sampled_from(["M", "F", None]),
        "street": st.sampled_from(["Kerkstraat", None]),
        "house_number": st.sampled_from(["1", "2", None]),
        "postcode": st.sampled_from(["9000", None]),
    }
)
ROWS = st.lists(
    st.tuples(ANYBODY) | st.tuples(ANYBODY, ANYBODY.map(lambda row: row | {"reference": "father"})),
    max_size=6,
)


@settings(max_examples=100)
@given(ROWS, ROWS, st.booleans(), st.randoms(use_true_random=False))
def test_whatever_comes(
    first: list[tuple[Row, ...]], second: list[tuple[Row, ...]], unit: bool, random: object
) -> None:
    """Any few records: a row's units differ, order and repetition change nothing."""
    scope = Scope()
    one = delivery(first, unit=unit)
    two = delivery(second, period="2025", unit=unit)
    before = scope.admit(one)
    after = scope.admit(two)
    for coming, subjects in ((one, before), (two, after)):
        keys = coming.records["row_key"].to_pylist()
        assert len(set(zip(keys, subjects, strict=True))) == len(keys)
    assert scope.admit(one) == before
    order = list(range(len(after)))
    random.shuffle(order)  # type: ignore[attr-defined]
    turned = replace(two, records=two.records.take(pa.array(order, pa.int64())))
    again = Scope()
    assert again.admit(one) == before
    assert again.admit(turned) == [after[place] for place in order]


def test_the_fields_are_those_of_the_design() -> None:
    assert tuple(name for name in RECORDS.names if name in FIELDS) == FIELDS
