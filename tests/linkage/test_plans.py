"""Plan files: what is read from them, and one clear sentence for what can't be."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from linkage.datasets import LinkageError
from linkage.plans import ASSIGNMENTS, TYPES, Field, FilePlan, PlanError
from linkage.suggestions import suggest
from tests.linkage.people import FIRST, LAST, STREETS, national_number

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


def test_the_plan_in_the_guide_is_one_and_every_type_is_named() -> None:
    """linkage/README.md says what the program takes."""
    guide = (Path(__file__).parents[2] / "linkage" / "README.md").read_text(encoding="utf-8")
    section = guide.partition("## Plan files")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    plan = FilePlan.from_mapping(yaml.safe_load(example))
    assert (plan.unit, plan.assignment, plan.link) == ("person", "one-to-one", 0.95)
    rows = section.partition("### Types")[2].partition("\n\n|")[2].partition("\n\n")[0]
    named = re.findall(r"^\| ([a-z_, ]+) \|", rows.partition("|---")[2], re.MULTILINE)
    assert sorted(name for cell in named for name in cell.split(", ")) == sorted(TYPES)


def _register(rows: int = 400) -> dict[str, list[Any]]:
    """People as texts, a fifth of them with gaps."""
    rng = np.random.default_rng(7)
    of: dict[str, list[Any]] = {name: [] for name in ("number", "first", "last", "born", "sex")}
    of |= {name: [] for name in ("street", "house", "place", "town", "phone", "job")}
    for _ in range(rows):
        year, month, day = (int(rng.integers(*span)) for span in ((1930, 2009), (1, 13), (1, 29)))
        sex = "MV"[rng.integers(2)]
        of["number"].append(national_number(year, month, day, int(rng.integers(1, 998))))
        of["first"].append(str(rng.choice(FIRST["M" if sex == "M" else "F"])))
        of["last"].append(str(rng.choice(LAST)))
        of["born"].append(f"{day:02d}/{month:02d}/{year}" if rng.random() < 0.8 else None)
        of["sex"].append(sex)
        of["street"].append(str(rng.choice(STREETS)))
        of["house"].append(str(rng.integers(1, 200)) + str(rng.choice(["", "", "A", " bus 2"])))
        of["place"].append(str(rng.integers(1000, 9999)))
        of["town"].append(str(rng.choice(["Gent", "Brussel", "Luik", "Namen", "Aalst"])))
        of["phone"].append(f"04{rng.integers(70, 99)}/{rng.integers(100_000, 999_999)}")
        of["job"].append(str(rng.choice(["bakker", "leraar", "kok", "arts", "boer"])))
    return of


def _table(columns: str, of: dict[str, list[Any]], **others: list[Any]) -> pa.Table:
    """A table with these columns: `name=what` of the register, or of the others."""
    source = of | others
    pairs = [column.split("=") for column in columns.split()]
    return pa.table({name.replace("_", " "): source[what] for name, what in pairs})


DUTCH = """rijksregisternr=number Voornaam=first naam=last geboortedatum=born geslacht=sex
    straat=street huisnr=house postcode=place gemeente=town gsm=phone beroep=job"""
FRENCH = """NISS=number Prénom=first nom=last date_de_naissance=born sexe=sex rue=street n°=house
    code_postal=place commune=town téléphone=phone métier=job"""


def test_a_plan_is_suggested_across_languages() -> None:
    of = _register()
    a = _table(f"id=id {DUTCH}", of, id=[f"a{n}" for n in range(400)])
    b = _table(f"clé=id {FRENCH}", of, id=list(range(400)))
    plan = suggest(a, b)
    assert plan["id"] == {"a": "id", "b": "clé"}
    meant = {field["type"]: (field["a"], field["b"]) for field in plan["fields"]}
    assert meant == {
        "national_number": ("rijksregisternr", "NISS"),
        "first_name": ("Voornaam", "Prénom"),
        "last_name": ("naam", "nom"),
        "birth_date": ("geboortedatum", "date de naissance"),
        "sex": ("geslacht", "sexe"),
        "street": ("straat", "rue"),
        "house_number": ("huisnr", "n°"),
        "postcode": ("postcode", "code postal"),
        "municipality": ("gemeente", "commune"),
        "phone": ("gsm", "téléphone"),
    }
    assert [f["format"] for f in plan["fields"] if "format" in f] == ["%d/%m/%Y"]
    read = FilePlan.from_mapping(yaml.safe_load(yaml.safe_dump(plan)))
    assert (read.unit, read.blocking, len(read.fields)) == ("person", None, 10)


def test_a_format_is_suggested_only_where_both_sides_have_it() -> None:
    days = [f"1985-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29)]
    turned = ["/".join(day.split("-")[::-1]) for day in days]
    for mine, yours, said in ((days, days, True), (turned, days, False), (days, turned, False)):
        a, b = (pa.table({"id": range(len(days)), "dob": column}) for column in (mine, yours))
        (field,) = suggest(a, b)["fields"]
        assert ("format" in field) == said


def test_a_plan_is_suggested_from_contents_where_names_say_nothing() -> None:
    of = _register()
    a = _table(f"id=id {DUTCH} shoe=shoe", of, id=list(range(400)), shoe=[40] * 400)
    b = _table(
        "c1=id c2=number c3=first c4=last c5=born c6=street",
        {name: values[::-1] for name, values in of.items()},
        id=list(range(400)),
    )
    plan = suggest(a, b)
    assert plan["id"] == {"a": "id", "b": "c1"}
    assert {field["type"]: field["b"] for field in plan["fields"]} == {
        "national_number": "c2",
        "first_name": "c3",
        "last_name": "c4",
        "birth_date": "c5",
        "street": "c6",
    }


def test_what_is_unknown_and_shared_is_code_or_text() -> None:
    rng = np.random.default_rng(3)
    card = [f"{n:07d}" for n in rng.integers(0, 10**6, 300)]
    hobby = [f"{w} {n}" for w, n in zip(rng.choice(["chess", "golf"], 300), card, strict=True)]
    a = pa.table({"rec": range(300), "card": card, "hobby": hobby, "kind": ["x"] * 300})
    b = pa.table({"rec": range(300), "pass": card, "pastime": hobby, "kind": ["x"] * 300})
    assert suggest(a, b)["fields"] == [
        {"type": "code", "a": "card", "b": "pass"},
        {"type": "text", "a": "hobby", "b": "pastime"},
    ]


def test_a_name_column_is_what_its_neighbours_leave_it_to_be() -> None:
    of = _register()
    full = [f"{first} {last}" for first, last in zip(of["first"], of["last"], strict=True)]
    firm = [f"{last} {n} NV" for n, last in enumerate(of["last"])]
    for naam, beside, meant in (
        (of["last"], {"voornaam": of["first"]}, "last_name"),
        (full, {}, "full_name"),
        (firm, {"kbo": ["0403019261"] * 400}, "company_name"),
    ):
        table = pa.table({"id": range(400), "naam": naam, **beside})
        plan = suggest(table, table)
        assert {"type": meant, "a": "naam", "b": "naam"} in plan["fields"]
        assert plan["unit"] == ("enterprise" if meant == "company_name" else "person")


def test_columns_of_any_type_are_looked_at() -> None:
    table = pa.table(
        {
            "bytes": [b"a", b"b", b"c"],
            "list": [[1], [2], [3]],
            "nothing": pa.nulls(3),
            "code": pa.array(["x", "y", "z"]).dictionary_encode(),
            "birth": pa.array([100, 8000, None], pa.date32()),
            "share": [0.5, None, 1.5],
            "yes": [True, False, None],
        }
    )
    plan = suggest(table, table)
    assert plan["id"] == {"a": "code", "b": "code"}
    assert plan["fields"][0] == {"type": "birth_date", "a": "birth", "b": "birth"}
    assert [field["a"] for field in plan["fields"]] == ["birth", "share", "yes"]


def test_a_plan_for_one_file() -> None:
    of = _register()
    name = [f"{first} {last}" for first, last in zip(of["first"], of["last"], strict=True)]
    a = _table(f"id=id {DUTCH} full_name=name moeder_naam=last", of, id=range(400), name=name)
    plan = suggest(a, None)
    assert FilePlan.from_mapping(plan, dedupe=True).id_a == "id"
    types = [field["type"] for field in plan["fields"]]
    assert "full_name" not in types, "first and last name say it"
    assert types.count("last_name") == 1
    assert {"type": "text", "a": "moeder naam"} in plan["fields"]
    assert {"type": "text", "a": "beroep"} in plan["fields"]


def test_a_suggestion_refuses_what_it_can_do_nothing_with() -> None:
    twice = pa.table({"x": [1, 1], "name": ["a", "b b"]})
    with pytest.raises(LinkageError, match="no column of the first file") as refusal:
        suggest(twice.select(["x"]), twice)
    assert "number of the row" in str(refusal.value)
    with pytest.raises(LinkageError, match="the second file has no rows"):
        suggest(pa.table({"x": [1, 2]}), twice.slice(0, 0))
    one, other = pa.table({"id": [1, 2], "x": ["a", "b"]}), pa.table({"id": [1, 2], "y": [1, 2]})
    with pytest.raises(LinkageError, match="write the plan's fields yourself"):
        suggest(one, other)
