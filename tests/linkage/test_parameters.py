"""The parameter file: what it must say, and what is refused."""

from collections.abc import Callable
from copy import deepcopy
from importlib.resources import files
from typing import Any

import pytest
import yaml

from linkage import LinkageError
from linkage.parameters import KEYS, Plan, PlanError

DOC = yaml.safe_load(files("linkage").joinpath("parameters.yaml").read_text(encoding="utf-8"))


def test_the_default_plan_reads_its_own_file() -> None:
    plan = Plan.default()
    assert plan == Plan.from_mapping(DOC)
    assert set(plan.keys) == set(KEYS)
    assert 0 < plan.review_threshold < plan.link_threshold < 1


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
        (lambda d: d.pop("blocking"), "`blocking` must be a mapping"),
        (lambda d: d["blocking"].update(largest=0), "`largest` must be a number above 0"),
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
