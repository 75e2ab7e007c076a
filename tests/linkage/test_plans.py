"""Plan files: what is read from them, and one clear sentence for what can't be."""

from typing import Any

import pytest
import yaml

from linkage.plans import ASSIGNMENTS, Field, FilePlan, PlanError

ISSUE = """
unit: person
id: {a: rec_id, b: record}
fields:
  - {type: national_number, a: nn, b: insz}
  - {type: first_name, a: first_name, b: voornaam}
  - {type: last_name, a: last_name, b: naam}
  - {type: birth_date, a: birth_date, b: geboortedatum, format: "%d/%m/%Y"}
  - {type: text, a: occupation, b: beroep}
  - {type: text, a: hobby, b: hobby}
blocking: [[first_name, last_name], [birth_date]]
assignment: many-to-one
thresholds: {link: 0.9, review: 0.6}
"""


def _plan(*, dedupe: bool = False, **changes: Any) -> FilePlan:
    doc = yaml.safe_load(ISSUE) | changes
    doc = {key: value for key, value in doc.items() if value is not ...}
    return FilePlan.from_mapping(doc, dedupe=dedupe)


def _fields(*fields: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(("type", "a", "b", "format"), field, strict=False)) for field in fields]


def test_a_plan_in_full() -> None:
    plan = _plan()
    assert (plan.unit, plan.id_a, plan.id_b) == ("person", "rec_id", "record")
    assert plan.fields[3] == Field("birth_date", "birth_date", "geboortedatum", "%d/%m/%Y")
    assert plan.blocking == (("first_name", "last_name"), ("birth_date",))
    assert (plan.assignment, plan.link, plan.review) == ("many-to-one", 0.9, 0.6)


def test_id_and_fields_are_enough() -> None:
    rest = dict.fromkeys(("unit", "blocking", "assignment", "thresholds"), ...)
    plan = _plan(**rest)
    assert (plan.unit, plan.blocking, plan.assignment) == ("person", None, "one-to-one")
    assert (plan.link, plan.review) == (0.95, 0.5)


@pytest.mark.parametrize("id_", ["rec_id", {"a": "rec_id"}])
def test_one_file_has_only_side_a(id_: Any) -> None:
    plan = _plan(dedupe=True, id=id_, fields=_fields(("sex", "g")), blocking=..., assignment=...)
    assert (plan.id_a, plan.id_b, plan.assignment) == ("rec_id", None, "group")
    assert plan.fields == (Field("sex", "g", None),)


def test_rules_name_what_a_field_is_made_of() -> None:
    plan = _plan(
        fields=_fields(("full_name", "n", "n"), ("address", "l", "l"), ("postcode", "p", "p")),
        blocking=[["full_name"], ["last_name", "postcode"], ["address"]],
    )
    assert plan.blocking == (
        ("first_name", "last_name"),
        ("last_name", "postcode"),
        ("street", "house_number", "postcode"),
    )


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_assignments(assignment: str) -> None:
    assert _plan(assignment=assignment).assignment == assignment


SEX = ("sex", "g", "g")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, "unknown key colour"),
        ({"unit": "cow"}, "the unit cow is unknown"),
        ({"id": ...}, "has no id"),
        ({"id": "rec_id"}, "which side"),
        ({"id": {"a": "x"}}, "b of id names no column"),
        ({"id": {"a": 1, "b": "x"}}, "quotes"),
        ({"fields": ...}, "has no fields"),
        ({"fields": []}, "has no fields"),
        ({"fields": ["sex"]}, "field 1 is not a mapping"),
        ({"fields": _fields((None, "a", "b"))}, "field 1 has no type"),
        ({"fields": _fields(SEX, ("nam", "a", "b"))}, "type of field 2, nam is unknown"),
        ({"fields": [{"type": "sex", "c": "a"}]}, "unknown key c"),
        ({"fields": _fields(("sex", "g"))}, r"b of field 1 \(sex\) names no column"),
        ({"fields": _fields(("sex", True, "g"))}, "quotes"),
        ({"fields": _fields(SEX, SEX)}, "several fields have the type sex"),
        ({"fields": _fields(("full_name", "a", "a"), ("last_name", "b", "b"))}, "both say"),
        ({"fields": _fields(("address", "a", "a"), ("street", "b", "b"))}, "both say"),
        ({"fields": _fields(("sex", "g", "g", "%d"))}, "only a birth_date"),
        ({"fields": _fields(("birth_date", "g", "g", "%d"))}, "names %d, %m and %Y once"),
        ({"fields": _fields(("birth_date", "g", "g", 8))}, "is no text"),
        ({"blocking": []}, "no list of rules"),
        ({"blocking": ["last_name"]}, "blocking rule 1 is no list"),
        ({"blocking": [["last_name"], ["email"]]}, "blocking rule 2 names email"),
        ({"blocking": [["text"]]}, "type of one field"),
        ({"assignment": "many"}, "the assignment many is unknown"),
        ({"thresholds": {"low": 0.1}}, "unknown key low"),
        ({"thresholds": {"link": 0.5, "review": 0.6}}, "review is above link"),
        ({"thresholds": {"link": 95}}, "between 0 and 1"),
        ({"thresholds": {"link": True}}, "between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said) as refusal:
        _plan(**changes)
    assert "\n" not in str(refusal.value)


def test_a_plan_for_two_files_is_not_one_for_one() -> None:
    with pytest.raises(PlanError, match="leave b out"):
        _plan(dedupe=True)
    with pytest.raises(PlanError, match="leave b out"):
        _plan(dedupe=True, id="x")
    with pytest.raises(PlanError, match="leave assignment out"):
        _plan(dedupe=True, id="x", fields=_fields(("sex", "g")), blocking=...)
    with pytest.raises(PlanError, match="not a mapping"):
        FilePlan.from_mapping([])
