"""S15, V07: a running project keeps the pseudonyms it has from before it came here."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from api.operations import imports
from api.problems import Problem
from keyvault.pseudonyms import check
from linkage.datasets import Dataset
from policies import permits
from tests.api.house import House, refusal_of

WAVE = ("child-benefit", "employment-service", "social-security", "conversions")
FORM = "OLD-[0-9]{5}"


def declaration(project: str, identifier: str = "old-names") -> dict[str, Any]:
    """What whoever kept the pseudonyms declares."""
    names = {"national_number": "insz", "first_name": "voornaam", "last_name": "naam"}
    return {
        "id": identifier,
        "holder": "rsz",
        "kind": "pseudonyms",
        "project": project,
        "format": {"delimiter": ";"},
        "variables": [
            *({"name": name, "role": "identifier", "type": kind} for kind, name in names.items()),
            {"name": "geboortedatum", "role": "quasi-identifier", "type": "birth_date",
             "format": "%d/%m/%Y"},
            {"name": "old", "role": "other", "type": "pseudonym", "format": FORM, "required": True},
        ],
        "references": [
            {"name": "self", "unit_type": "person",
             "columns": {**names, "birth_date": "geboortedatum"}}
        ],
    }  # fmt: skip


def people(house: House, period: str = "2024") -> list[dict[str, str]]:
    """Rows of the child benefit extract about whom a list is written, each person once."""
    content = house.story.truths["child-benefit", period].content.decode()
    rows = list(csv.DictReader(io.StringIO(content), delimiter=";"))
    seen = {row["insz"]: row for row in reversed(rows)}
    return [seen[number] for number in sorted(seen)][:200]


def written(rows: list[dict[str, str]], old: list[str]) -> bytes:
    """The list as its keeper sends it."""
    columns = ("insz", "voornaam", "naam", "geboortedatum")
    lines = [";".join([*columns, "old"])]
    for row, name in zip(rows, old, strict=True):
        lines.append(";".join([*(row[column] for column in columns), name]))
    return "\n".join(lines).encode()


def send(house: House, identifier: str, content: bytes, period: str = "2023") -> dict[str, Any]:
    source = house.folder / f"{identifier}.csv"
    source.write_bytes(content)
    delivery: dict[str, Any] = house["holder-rsz"].upload(source, identifier, period)
    return delivery


def numbered(rows: list[Any]) -> list[str]:
    return [f"OLD-{number:05}" for number in range(len(rows))]


@pytest.fixture(scope="module")
def delivered(house: House) -> House:
    """Two waves, and the project's list of old pseudonyms."""
    house.delivered(*WAVE)
    house.delivered("child-benefit", "employment-service", "social-security", period="2025")
    house["holder-rsz"].post("/datasets", declaration("running"))
    rows = people(house)
    assert send(house, "old-names", written(rows, numbered(rows)))["state"] == "accepted"
    return house


@pytest.fixture(scope="module")
def permit(delivered: House) -> str:
    """The project's permit, which names the list."""
    named = {"dataset": "old-names", "period": "2023"}
    return delivered.granted("running", imported_pseudonyms=named)


def names_of(house: House, release: str) -> set[str]:
    return set(house.package(release).table("units")["unit"].to_pylist())


def test_units_keep_their_old_pseudonyms_and_others_get_computed_ones(
    delivered: House, permit: str
) -> None:
    """In every table, in every release; the ledger counts them, and no name is in it."""
    first = delivered.cleared(permit)
    package = delivered.package(first["id"])
    units = package.table("units")["unit"].to_pylist()
    old = {name for name in units if name.startswith("OLD-")}
    assert 150 < len(old) <= 200
    assert all(check(name).version == 1 for name in units if name not in old)
    assert set(package.table("child-benefit")["unit"].to_pylist()) >= old
    assert first["summary"]["imported_pseudonyms"] >= len(old)

    second = delivered.cleared(permit, "2025")
    later = names_of(delivered, second["id"])
    stayed = {name for name in later if name.startswith("OLD-")}
    assert stayed <= set(numbered(people(delivered)))
    assert len(stayed & old) > 0.6 * len(old)
    assert len(later & set(units)) > 0.5 * len(units)  # the computed ones line up as well

    entries = delivered["auditor-1"].get("/ledger?most=10000")["entries"]
    built = [entry["leaf"] for entry in entries if "imported_pseudonyms" in entry["leaf"]]
    assert len(built) == 2
    assert not any("OLD-0" in entry["leaf"] for entry in entries)


def test_another_project_cant_have_them(delivered: House, permit: str) -> None:
    """Neither as a variable nor in place of its own: the list is one project's."""
    named = {"dataset": "old-names", "period": "2023"}
    story = delivered.story
    stolen = delivered.application("thief", "researcher-2", imported_pseudonyms=named)
    refusal = refusal_of(lambda: story.apply(delivered, "researcher-2", stolen))
    assert refusal.type == "unknown-dataset"
    for project in ("running", "thief"):
        person = {"running": "researcher-1", "thief": "researcher-2"}[project]
        asked = delivered.application(project, person)
        asked["datasets"].append(
            {"id": "old-names", "periods": ["2023"],
             "variables": [{"name": "old", "rule": [{"keep": {}}]}]}
        )  # fmt: skip
        refusal = refusal_of(lambda a=asked, p=person: story.apply(delivered, p, a))
        assert refusal.type == "unknown-dataset"
    absent = delivered.application("thief", "researcher-2")
    absent["imported_pseudonyms"] = {"dataset": "none-such", "period": "2023"}
    refusal = refusal_of(lambda: story.apply(delivered, "researcher-2", absent))
    assert refusal.type == "unknown-dataset"
    plain = delivered.cleared(delivered.granted("another", "researcher-2"))
    theirs = delivered.package(plain["id"], "researcher-2").table("units")["unit"].to_pylist()
    assert all(check(name) for name in theirs)


def test_intake_parts_identity_and_pseudonym(delivered: House, permit: str) -> None:
    """The payload, which release may open, holds the pseudonym alone; identifiers hold none."""
    declared = Dataset.from_mapping(declaration("running"))
    assert declared.payload == ("old",)
    assert "old" not in declared.identifying


def test_a_project_that_received_others_cant_change_over(delivered: House, permit: str) -> None:
    """A permit without the list, after releases with it: refused before anything is built."""
    delivered.cleared(permit)
    other = delivered.granted("running")
    refused = delivered.built(other)
    assert refused["state"] == "refused"
    assert refused["refusal"]["type"].endswith("pseudonyms-contradict")


def test_a_list_that_breaks_its_form_is_rejected_at_intake(delivered: House) -> None:
    """By row and reason, never by value; nothing of it is kept."""
    delivered["holder-rsz"].post("/datasets", declaration("broken", "broken-names"))
    rows = people(delivered)[:5]
    old = ["OLD-00001", "old-00002", "OLD-00003x", "", "OLD-00005 "]
    delivery = send(delivered, "broken-names", written(rows, old))
    assert delivery["state"] == "rejected"
    faults = {fault["reason"]: fault["rows"] for fault in delivery["report"]["faults"]}
    assert faults == {"not_in_form": [2, 3], "missing_value": [4]}
    assert "old-00002" not in json.dumps(delivery)


def test_a_list_that_contradicts_itself_is_refused_by_count(delivered: House) -> None:
    """One pseudonym for two people, two for one: the release is refused and says how many."""
    delivered["holder-rsz"].post("/datasets", declaration("torn", "torn-names"))
    rows = people(delivered)[:40]
    old = numbered(rows)
    old[1] = old[0]
    content = written([*rows, rows[7]], [*old, "OLD-99999"])
    assert send(delivered, "torn-names", content)["state"] == "accepted"
    permit = delivered.granted(
        "torn", imported_pseudonyms={"dataset": "torn-names", "period": "2023"}
    )
    refused = delivered.built(permit)
    assert refused["state"] == "refused"
    detail = refused["refusal"]["detail"]
    assert "1 old pseudonyms stand for more than one unit" in detail
    assert "1 units have more than one old pseudonym" in detail
    assert "OLD-" not in json.dumps(refused)


# -- the pairs by themselves -----------------------------------------------------------------------


def table(**columns: list[Any]) -> pa.Table:
    return pa.table(
        {
            name: pa.array(values, pa.binary(16) if name != "old" else pa.string())
            for name, values in columns.items()
        }
    )


def terms(project: str = "running") -> Any:
    """All that is looked at of a permit."""
    return permits.Terms.model_construct(project=project)


def key(number: int) -> bytes:
    return number.to_bytes(16)


def test_subjects_of_the_kind_are_given_their_old_names() -> None:
    """Others, and other kinds of unit, keep the computed ones; order and nulls stay."""
    declared = Dataset.from_mapping(declaration("running"))
    rows = table(row_key=[key(1), key(2), key(3)], old=["OLD-00001", "OLD-00002", "OLD-00003"])
    links = table(row_key=[key(3), key(1)], subject=[key(13), key(11)])
    imported = imports.read(terms(), declared, "delivery-1", rows, links)
    assert imported.unknown == 1
    subjects = pa.array([key(13), key(12), key(11)], pa.binary(16))
    computed = pa.array(["P1", "P2", "P3"])
    names, old = imported.instead("person", subjects, computed)
    assert (names.to_pylist(), old) == (["OLD-00003", "P2", "OLD-00001"], 2)
    assert imported.instead("enterprise", subjects, computed) == (computed, 0)


@pytest.mark.parametrize(
    ("names", "subjects", "words"),
    [
        (["a", "a"], [1, 2], "1 old pseudonyms stand for more"),
        (["a", "b"], [1, 1], "1 units have more"),
        (["P1" + "0" * 27, "b"], [1, 2], "1 old pseudonyms look like computed"),
        (["P00FAKE0DATA0" + "Z" * 16, "b"], [1, 2], "1 old pseudonyms look like computed"),
    ],
)
def test_what_contradicts_itself_is_counted(
    names: list[str], subjects: list[int], words: str
) -> None:
    """And told without a pseudonym."""
    declared = Dataset.from_mapping(declaration("running"))
    rows = table(row_key=[key(1), key(2)], old=names)
    links = table(row_key=[key(1), key(2)], subject=[key(n) for n in subjects])
    with pytest.raises(Problem, match=words) as raised:
        imports.read(terms(), declared, "delivery-1", rows, links)
    assert not any(name in str(raised.value).split() for name in names)
    same = table(row_key=[key(1), key(2)], old=["a", "a"])
    twice = table(row_key=[key(1), key(2)], subject=[key(1), key(1)])
    assert len(imports.read(terms(), declared, "delivery-1", same, twice).subjects) == 1
    with pytest.raises(Problem, match="no pseudonyms of project other"):
        imports.read(terms("other"), declared, "delivery-1", rows, links)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("project"), "names its `project`"),
        (lambda d: d.update(kind="extract", shape="spells"), "kind pseudonyms only"),
        (lambda d: d.update(shape="unit"), "the shape spells"),
        (lambda d: d["variables"][4].pop("format"), "`format` is missing"),
        (lambda d: d["variables"][4].update(format="("), "regular expression"),
        (lambda d: d["variables"][4].update(role="sensitive"), "role of old must be other"),
        (lambda d: d["variables"][4].update(required=False), "one required variable"),
        (lambda d: d["variables"][4].update(type="code", format=...), "one required variable"),
        (lambda d: d["references"][0].update(name="mother"), "must be called self"),
        (
            lambda d: d["references"].append(
                {"name": "other", "unit_type": "person", "columns": {"last_name": "naam"}}
            ),
            "the one reference self",
        ),
        (lambda d: d.update(conversion={"from": "a", "to": "b"}), "kind conversion only"),
    ],
)
def test_a_declaration_of_old_pseudonyms_is_strict(
    change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    """So that the column is never one among others."""
    from linkage.datasets import DatasetFault

    declared = declaration("running")
    assert Dataset.from_mapping(Dataset.from_mapping(declared).to_mapping()).project == "running"
    change(declared)
    for variable in declared["variables"]:
        if variable.get("format") is ...:
            del variable["format"]
    with pytest.raises(DatasetFault, match=words):
        Dataset.from_mapping(declared)


def test_a_list_is_a_file_like_any_other(tmp_path: Path) -> None:
    """`schakel check` reads it on the holder's machine."""
    from api.checking import check as look

    rows = [dict.fromkeys(("insz", "voornaam", "naam", "geboortedatum"), "")]
    found = look(io.BytesIO(written(rows, ["OLD-00001"])), Dataset.from_mapping(declaration("p")))
    assert found.accepted
