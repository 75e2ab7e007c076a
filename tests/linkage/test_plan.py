"""The parameter file: what it must say, and what the probabilities made of it are."""

from collections.abc import Callable
from copy import deepcopy
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import yaml

from linkage import LinkageError
from linkage.comparison import LEVELS, Pairs
from linkage.identities import ABSENT
from linkage.model import KEYS, Frequencies, Model, Plan, PlanError

DOC = yaml.safe_load(files("linkage").joinpath("parameters.yaml").read_text(encoding="utf-8"))


def test_the_default_plan_reads_its_own_file() -> None:
    plan = Plan.default()
    assert plan == Plan.from_mapping(DOC)
    assert set(plan.keys) == set(KEYS)
    assert 0 < plan.review_threshold < plan.link_threshold < 1


def test_the_rates_of_a_field_are_those_of_one_thing() -> None:
    """Between records that both have a value some level must occur: rates sum to about one."""
    for field, levels in Plan.default().levels.items():
        if field != "number":
            for kind in ("m", "h"):
                total = sum(getattr(rates, kind) for rates in levels.values())
                assert total == pytest.approx(1.0, abs=0.03), (field, kind)


def test_a_plan_can_be_restricted_and_never_widened() -> None:
    plan = Plan.default().restricted(["first_name", "sex"])
    assert plan.keys == ("first_name", "sex")
    assert plan.restricted(["first_name", "postcode"]).keys == ("first_name",)
    with pytest.raises(PlanError, match="'eye_colour' is not known here"):
        plan.restricted(["eye_colour"])


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(speed=1), "`speed` is not known here"),
        (lambda d: d.pop("keys"), "`keys` must be a list"),
        (lambda d: d["keys"].append("eye_colour"), "`keys`: 'eye_colour' is not known"),
        (lambda d: d.pop("thresholds"), "`thresholds` must be a mapping"),
        (
            lambda d: d["thresholds"].update(link=1.5),
            "`link` must be a number above 0 and at most 1",
        ),
        (lambda d: d["thresholds"].update(link=True), "`link` must be a number"),
        (lambda d: d["thresholds"].update(review=0.99), "`review` can't be above `link`"),
        (lambda d: d["blocking"].update(keys=[]), "`blocking`: `keys` must be a list of lists"),
        (lambda d: d["blocking"].update(keys=[["sex"]]), "`blocking`: 'sex' is not known"),
        (lambda d: d["levels"].pop("sex"), "`levels`, sex must be a mapping"),
        (lambda d: d["levels"]["sex"].pop("equal"), "`levels`, sex, equal must be a mapping"),
        (lambda d: d["levels"]["sex"].update(other={}), "`levels`, sex: `other` is not known"),
        (lambda d: d["levels"]["sex"]["equal"].update(m=0), "`m` must be a number above 0"),
        (lambda d: d["population"].update(smallest="many"), "`smallest` must be a number"),
    ],
)
def test_what_is_unclear_is_refused_in_one_sentence(change: Change, message: str) -> None:
    doc = deepcopy(DOC)
    change(doc)
    with pytest.raises(PlanError, match=message):
        Plan.from_mapping(doc)


def test_a_plan_fault_is_a_linkage_error() -> None:
    with pytest.raises(LinkageError, match="A plan must be a mapping"):
        Plan.from_mapping([])


def probability(
    levels: dict[str, str], counts: dict[str, int] | None = None, *, households: bool = True
) -> float:
    """The probability of a pair at these levels; `counts`: how many have the value agreed on."""
    counts = counts or {}
    fields = ("first_name", "last_name", "birth_date", "address")
    pairs = Pairs(
        left=np.array([0]),
        right=np.array([1]),
        levels={f: np.array([w.index(levels.get(f, "missing"))]) for f, w in LEVELS.items()},
        values={field: np.array([0 if field in counts else ABSENT]) for field in fields},
    )
    frequencies = Frequencies(
        100_000, {field: np.array([counts.get(field, 0)]) for field in fields}
    )
    return float(Model(Plan.default(), frequencies, households=households).probability(pairs)[0])


SAME_HOME = {"last_name": "exact", "address": "same"}


def test_a_rare_value_proves_more_than_a_common_one() -> None:
    agree = {"first_name": "exact", "last_name": "exact"}
    common = probability(agree, {"first_name": 2000, "last_name": 1000})
    rare = probability(agree, {"first_name": 2, "last_name": 3})
    assert common < 0.1 < rare


def test_what_a_household_shares_is_no_proof() -> None:
    twin = SAME_HOME | {"birth_date": "exact", "first_name": "different"}
    assert probability(twin) < 0.5 < probability(twin, households=False)
    assert probability(twin | {"first_name": "other_name"}) < 0.95
    assert probability(twin | {"first_name": "exact"}) > 0.99
    assert probability(SAME_HOME | {"first_name": "different"}) < 0.1


def test_missing_is_no_evidence() -> None:
    agree = SAME_HOME | {"first_name": "exact", "birth_date": "exact"}
    assert probability(agree | {"sex": "missing"}) == probability(agree)
    assert probability(agree | {"sex": "equal"}) > probability(agree | {"sex": "different"})
    assert probability({}) == pytest.approx(1 / 100_000, rel=0.01, abs=1e-4)
