"""Dummy data: a release's exact shape before there is a release, and nothing real in it."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pyreadstat
import pytest

from api import store
from api.client import PackageFault, _check_package
from api.demo.evaluate import PSEUDONYM, Package
from api.demo.extracts import declarations
from api.objects import Objects
from api.operations import Work, dummies, invention
from keyvault.errors import PseudonymError, SignatureError
from keyvault.pseudonyms import check
from linkage.datasets import TYPES, Dataset
from policies import coarsening, permits, releases
from policies.access import Actor
from policies.coarsening import MISSING_CODES
from tests.api.house import House, refusal_of
from tests.linkage.helpers import halves

WAVE = ("child-benefit", "employment-service", "social-security", "conversions")

SCRIPT = """
import json, sys, pandas as pd
folder = sys.argv[1]
units = pd.read_parquet(f"{folder}/data/units.parquet")
work = pd.read_csv(f"{folder}/data/social-security.csv")
spells = pd.read_parquet(f"{folder}/data/employment-service.parquet")
titles = {v["name"]: v["codes"] for t in json.load(open(f"{folder}/dictionary.json"))["tables"]
          for v in t["variables"]}
work = work[work["wage_status"] == "observed"]
known = units[~units["age_class"].str.startswith("_")].merge(
    work.groupby("unit")["wage"].mean(), on="unit", how="left")
known["looking"] = known["unit"].isin(spells.loc[spells["link_quality"] != "similar", "unit"])
known["area"] = known["arrondissement"].map(lambda code: titles["arrondissement"].get(code))
table = known.groupby(["age_class", "arrondissement"])[["wage", "looking"]].mean()
assert len(table) and table["wage"].notna().any()
print(len(table))
"""
"""What a researcher might write: three tables, codes for missing values, titles of codes."""


@pytest.fixture(scope="module")
def application(house: House) -> dict[str, Any]:
    """A request that was handed in, before anybody delivered anything."""
    house.story.declare(house)
    asked = house.application("neet", link_quality=True)
    return house.story.apply(house, "researcher-1", asked)


@pytest.fixture(scope="module")
def folder(house: House, application: dict[str, Any], tmp_path_factory: Any) -> Path:
    """The dummy as a researcher has it on the disk."""
    with store.reading(house.service.engine) as session:
        assert not session.query(store.Delivery).count()
    out: Path = tmp_path_factory.mktemp("dummy")
    house["researcher-1"].dummy(application["id"], out)
    return out


def package_of(folder: Path) -> Package:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Package({str(path.relative_to(folder)): path.read_bytes() for path in files})


@pytest.fixture(scope="module")
def dummy(folder: Path) -> Package:
    """Its files."""
    return package_of(folder)


@pytest.fixture(scope="module")
def release(house: House, application: dict[str, Any], dummy: Package) -> Package:
    """The release of the same application, made after the dummy."""
    story = house.story
    permit = story.approve(house, story.advise(house, application))["permit"]
    story.deliver(house, "2024", WAVE)
    return house.package(house.cleared(permit)["id"])


# -- the same shape --------------------------------------------------------------------------------


def test_files_tables_columns_and_types_are_the_releases(dummy: Package, release: Package) -> None:
    """The same files; in each table the same columns in the same order, of the same types."""
    assert set(dummy.files) == set(release.files)
    for path in release.files:
        if path.endswith(".parquet"):
            made, real = (
                pyarrow.parquet.read_schema(io.BytesIO(package.files[path]))
                for package in (dummy, release)
            )
            assert made.equals(real), path
        if path.endswith(".csv"):
            headers = [package.files[path].split(b"\n", 1)[0] for package in (dummy, release)]
            assert headers[0] == headers[1]


def test_stata_and_spss_files_have_the_releases_labels(
    dummy: Package, release: Package, tmp_path: Path
) -> None:
    """Names, labels, value labels and types of both."""
    paths = [path for path in release.files if path.endswith((".dta", ".sav"))]
    assert len(paths) == 2 * len(release.tables())
    for path in paths:
        read = pyreadstat.read_dta if path.endswith(".dta") else pyreadstat.read_sav
        told = []
        for package in (dummy, release):
            file = tmp_path / path.rpartition("/")[2]
            file.write_bytes(package.files[path])
            about = read(str(file), metadataonly=True)[1]
            told.append(
                (
                    about.column_names_to_labels,
                    about.variable_value_labels,
                    about.readstat_variable_types,
                    about.missing_ranges,
                )
            )
        assert told[0] == told[1], path


def test_the_dictionary_is_the_releases(dummy: Package, release: Package) -> None:
    """Titles, rules, code lists and codes for missing values, word for word."""
    made, real = (json.loads(package.files["dictionary.json"]) for package in (dummy, release))
    assert made.pop("dummy") == dict(releases.DUMMY)
    assert set(made) == set(real)
    assert (made["missing"], made["classifications"]) == (real["missing"], real["classifications"])
    for ours, theirs in zip(made["tables"], real["tables"], strict=True):
        assert ours["name"] == theirs["name"]
        assert ours["variables"] == theirs["variables"]


def test_the_report_has_the_releases_form(dummy: Package, release: Package) -> None:
    """The same fields, down to linkage rates by subgroup."""

    def form(value: Any, depth: int = 0) -> Any:
        if isinstance(value, dict) and depth < 4:
            return {key: form(item, depth + 1) for key, item in value.items() if key != "sizes"}
        return type(value).__name__ if isinstance(value, dict | list) else "value"

    made, real = (json.loads(package.files["report.json"]) for package in (dummy, release))
    assert made.pop("dummy")
    assert form({**made, "suppressed": 0}) == form({**real, "suppressed": 0})
    assert [entry["dataset"] for entry in made["linkage"]["datasets"]] == [
        entry["dataset"] for entry in real["linkage"]["datasets"]
    ]


def test_codes_that_a_release_shows_are_shown_by_its_dummy(
    dummy: Package, release: Package
) -> None:
    """A script meets no code on the release that it didn't meet before; and all for missing."""
    described = json.loads(release.files["dictionary.json"])["tables"]
    coded = [
        (table["name"], variable["name"])
        for table in described
        for variable in table["variables"]
        if variable.get("semantic_type") != "person" and variable["type"] == "string"
        and variable["name"] not in ("employer", "begin")
    ]  # fmt: skip
    assert {name for _, name in coded} >= {"age_class", "arrondissement", "status", "link_quality"}
    for table, column in coded:
        made = set(dummy.table(table)[column].to_pylist())
        assert set(release.table(table)[column].to_pylist()) <= made, (table, column)
        if column != "link_quality":
            assert set(MISSING_CODES) <= made


def test_spells_have_rows_and_references_are_filled(dummy: Package) -> None:
    """S35: a row per unit in `units`; several where a dataset has spells."""
    units = dummy.table("units")["unit"].to_pylist()
    assert len(units) == len(set(units)) == 1000
    work = dummy.table("social-security")
    assert work.num_rows > 1.5 * len(set(work["unit"].to_pylist()))
    assert set(work["unit"].to_pylist()) < set(units)
    benefit = dummy.table("child-benefit")
    mothers = [text for text in benefit["mother"].to_pylist() if not text.startswith("_")]
    assert len(mothers) > 800
    assert {text[0] for text in mothers} == {"P"}
    employers = set(work["employer"].to_pylist()) - set(MISSING_CODES)
    assert {text[0] for text in employers} == {"E"}
    wages = work["wage"].drop_null().to_pylist()
    assert all(wage % 500 == 0 and wage <= 15000 for wage in wages)


def test_a_script_written_on_the_dummy_runs_on_the_release(
    folder: Path, release: Package, tmp_path: Path
) -> None:
    """What it is for."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    real = tmp_path / "release"
    releases.extract(releases.archive(dict(release.files)), real)
    for place in (folder, real):
        done = subprocess.run([sys.executable, script, place], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 0


# -- and no release --------------------------------------------------------------------------------


def test_every_file_says_that_it_is_a_dummy(dummy: Package) -> None:
    """Documents in words, tables in their metadata and in every row's pseudonym."""
    for path, data in dummy.files.items():
        if path.endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(data.decode())))
            assert all("FAKE0DATA" in row["unit"] for row in rows)
        elif path.endswith(".parquet"):
            metadata = pyarrow.parquet.read_schema(io.BytesIO(data)).metadata
            assert b"DUMMY DATA" in metadata[b"dummy"]
        else:
            assert b"DUMMY DATA" in data, path
    assert dummy.files["README.md"].startswith(b"# DUMMY DATA, invented, about nobody")
    assert b"are for the people named" not in dummy.files["README.md"]


def test_no_dummy_is_ever_signed_or_believed(house: House, dummy: Package) -> None:
    """Its manifest is of a type that the vault doesn't sign, and the client believes none."""
    manifest = json.loads(dummy.files["manifest.json"])
    assert manifest["type"] == "dummy-manifest"
    assert releases.faults(dummy.files) == []
    with (
        store.writing(house.service.engine) as session,
        pytest.raises(SignatureError, match="manifest"),
    ):
        house.service.vault.sign_manifest(session.connection(), manifest)
    with pytest.raises(PackageFault):
        _check_package(dummy.files, house["researcher-1"].public()["receipt"])


def test_its_pseudonyms_are_no_projects(dummy: Package) -> None:
    """In every table, of every unit that is named."""
    for table, column in (("units", "unit"), ("child-benefit", "mother")):
        spoken = set(dummy.table(table)[column].to_pylist()) - set(MISSING_CODES)
        assert all(PSEUDONYM.match(text) for text in spoken)
        for text in spoken:
            with pytest.raises(PseudonymError, match="no key"):
                check(text)


def test_it_is_made_without_any_key_or_object(house: House, application: dict[str, Any]) -> None:
    """Neither a vault nor stored objects are there to be opened: terms and declarations suffice."""
    row = application["document"]
    with store.reading(house.service.engine) as session:
        actor = Actor("researcher-1", "university-a", frozenset({"researcher"}))
        nothing: Any = None
        work = Work(session, nothing, nothing, actor, house.clock.now())
        archive = dummies.dummy(work, application["id"], 50)
    assert releases.contents(archive)["manifest.json"]
    assert isinstance(house.service.objects, Objects)
    assert permits.Application.from_document(row).project == "neet"


def test_the_same_request_gives_the_same_dummy(
    house: House, application: dict[str, Any], dummy: Package, tmp_path: Path
) -> None:
    """Seeded by the application's text; another period or size is another dummy."""
    client = house["researcher-1"]
    client.dummy(application["id"], tmp_path / "again", 1000, "2024")
    assert package_of(tmp_path / "again").files == dummy.files
    client.dummy(application["id"], tmp_path / "later", 1000, "2025")
    later = package_of(tmp_path / "later")
    assert json.loads(later.files["manifest.json"])["period"] == "2025"
    assert later.table("units")["unit"].to_pylist() != dummy.table("units")["unit"].to_pylist()
    client.dummy(application["id"], tmp_path / "small", 10)
    small = package_of(tmp_path / "small")
    assert small.table("units").num_rows == 10


def test_who_may_ask_and_when(house: House, application: dict[str, Any], tmp_path: Path) -> None:
    """Applicant and staff, of what was handed in; others hear what they hear of absent things."""
    path = f"/applications/{application['id']}/dummy"
    for person in ("statistician-1", "dpo-1"):
        house[person].dummy(application["id"], tmp_path / person, 20)
    for person in ("researcher-2", "holder-vdab"):
        refusal = refusal_of(lambda person=person: house[person].get(f"{path}?units=20"))
        assert refusal.type == "not-found"
    draft = house["researcher-1"].post("/applications", house.application("neet"))
    refusal = refusal_of(lambda: house["researcher-1"].dummy(draft["id"], tmp_path / "draft", 20))
    assert refusal.type == "wrong-state"
    for query in ("units=9", "units=10001", "period=1999"):
        refusal = refusal_of(lambda query=query: house["researcher-1"].get(f"{path}?{query}"))
        assert refusal.type == "bad-request"


# -- values ----------------------------------------------------------------------------------------

SAMPLES = {
    "birth_date": "1990-05-01", "date": "2024-02-03", "sex": "F", "postcode": "9000",
    "municipality": "44021", "nace": "4711", "amount": "12.50", "weight": "3.25", "integer": "4",
    "employees": "12", "code": "a", "quarter": "2024Q1", "year": "2024", "yes_no": "yes",
}  # fmt: skip


def may_leave() -> set[str]:
    return {kind for kind in TYPES if coarsening._minimum().get(kind)}


def test_every_type_that_may_leave_is_invented_as_intake_types_it() -> None:
    """The column types of a dummy's payload are those of a delivery's; codes are the declared."""
    assert may_leave() == set(SAMPLES)
    shapes: Callable[[Any], dict[str, Any]] = lambda table: {  # noqa: E731
        name: table.schema.field(name).type for name in table.column_names
    }
    declared = Dataset.from_mapping(
        {
            "id": "all", "holder": "h", "shape": "unit",
            "variables": [
                {"name": "insz", "role": "identifier", "type": "national_number"},
                *({"name": kind, "role": "other", "type": kind} for kind in SAMPLES),
            ],
            "references": [
                {"name": "self", "unit_type": "person", "columns": {"national_number": "insz"}}
            ],
        }
    )  # fmt: skip
    lines = [",".join(["insz", *SAMPLES]), ",".join(["85073003328", *SAMPLES.values()])]
    _, payload = halves(io.BytesIO("\n".join(lines).encode()), declared)
    random = np.random.default_rng(1)
    invented = pa.table(
        {name: invention.values(declared.variable(name), "2024", 300, random) for name in SAMPLES}
    )
    assert shapes(invented) == {name: payload.schema.field(name).type for name in SAMPLES}
    assert all(0 < column.null_count < 60 for column in invented.columns)
    born = invented["birth_date"]
    assert pc.min(born).as_py() > date(1923, 12, 31)
    assert pc.max(born).as_py() < date(2025, 1, 1)


def test_declared_codes_and_required_values_are_kept_to() -> None:
    """Nothing outside the list; nothing missing where nothing may be."""
    place = declarations()["child-benefit"].variable("gemeente")
    sex = declarations()["child-benefit"].variable("geslacht")
    random = np.random.default_rng(1)
    assert invention.values(place, "2024", 500, random).null_count == 0
    assert set(invention.values(sex, "2024", 500, random).to_pylist()) == {"M", "V", None}


def enterprises() -> tuple[dict[str, Any], Dataset]:
    """A request about enterprises with one of every kind of rule, and the declaration it is on."""
    rules: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "sector": ("nace", [{"nace": {"level": "A10", "version": 2008}}]),
        "place": ("postcode", [{"geography": {"level": "region", "situation": 2019}}]),
        "size": ("employees", [{"size_class": {"scheme": "eu"}}]),
        "turnover": ("amount", [{"percentile": {"groups": 4, "over": "universe"}}]),
        "profit": ("amount", [{"classes": {"breaks": [0, 1000, 5000]}}]),
        "branches": ("integer", [{"bottom_code": {"at": 1}}, {"top_code": {"at": 5}}]),
        "weight": ("weight", [{"significant": {"digits": 1}}]),
        "founded": ("date", [{"year": {}}]),
        "exports": ("yes_no", [{"keep": {}}]),
    }
    declared = Dataset.from_mapping(
        {
            "id": "firms", "holder": "h", "shape": "unit",
            "variables": [
                {"name": "number", "role": "identifier", "type": "enterprise_number"},
                {"name": "mother", "role": "identifier", "type": "enterprise_number"},
                *({"name": n, "role": "other", "type": kind} for n, (kind, _) in rules.items()),
            ],
            "references": [
                {"name": "self", "unit_type": "enterprise",
                 "columns": {"enterprise_number": "number"}},
                {"name": "parent", "unit_type": "enterprise",
                 "columns": {"enterprise_number": "mother"}},
            ],
        }
    )  # fmt: skip
    variables = [{"name": name, "rule": rule} for name, (_, rule) in rules.items()]
    asked = {
        "project": "firms", "title": "Firms", "purpose": "statistical", "motivation": "To know.",
        "necessity": "No table tells.", "legal_basis": "Law.", "unit_type": "enterprise",
        "datasets": [{"id": "firms", "periods": ["2024-Q3"], "variables": variables,
                      "references": ["self", "parent"]}],
        "universe": {"datasets": ["firms"]}, "join": {"keys": ["sector", "place"]},
        "linkage_keys": ["enterprise_number"], "scenario": {"known": ["sector", "place"]},
        "thresholds": {"k": 3},
        "recipients": [{"person": "r", "age_recipient": "age1" + "q" * 58}],
        "valid_from": "2026-01-01", "valid_until": "2027-01-01", "retention_until": "2028-01-01",
    }  # fmt: skip
    return asked, declared


def test_any_rule_and_kind_of_unit_has_its_dummy() -> None:
    """S35: enterprises, and each step of a rule on the type it is for."""
    document, declared = enterprises()
    asked = permits.Application.from_document(document)
    files = dummies.package("application-1", asked, {"firms": declared}, ["firms"], "2024-Q3", 400)
    made = Package(files)
    units, firms = made.table("units"), made.table("firms")
    assert {text[:13] for text in units["unit"].to_pylist()} == {"E00FAKE0DATA0"}
    assert set(units["place"].to_pylist()) == {"02000", "03000", "04000", *MISSING_CODES}
    assert len(set(units["sector"].to_pylist())) > 8
    assert set(firms["turnover"].to_pylist()) >= {"1", "2", "3", "4"}
    assert set(firms["branches"].drop_null().to_pylist()) == {1, 2, 3, 4, 5}
    assert set(firms["founded"].to_pylist()) == {"2023", "2024", *MISSING_CODES}
    assert set(firms["parent"].to_pylist()) >= set(MISSING_CODES)
    few = dummies.package("application-1", asked, {"firms": declared}, ["firms"], "2024-Q3", 10)
    assert Package(few).table("units").num_rows == 10
