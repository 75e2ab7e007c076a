"""What a researcher is told beside the data: how well it is linked, whom a sample stands for."""

import csv
import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from api.demo.evaluate import Package
from policies.links import QUALITY
from tests.api.house import House, refusal_of

K = 5
SURVEY = {
    "id": "survey",
    "holder": "vdab",
    "shape": "unit",
    "format": {"delimiter": ";", "decimal": "."},
    "variables": [
        {"name": "insz", "role": "identifier", "type": "national_number"},
        {"name": "voornaam", "role": "identifier", "type": "first_name"},
        {"name": "naam", "role": "identifier", "type": "last_name"},
        {"name": "geboortedatum", "role": "quasi-identifier", "type": "birth_date",
         "format": "%d/%m/%Y"},
        {"name": "gemeente", "role": "quasi-identifier", "type": "municipality"},
        {"name": "gewicht", "role": "other", "type": "weight", "title": {"nl": "Gewicht"}},
    ],
    "references": [
        {"name": "self", "unit_type": "person",
         "columns": {"national_number": "insz", "first_name": "voornaam", "last_name": "naam",
                     "birth_date": "geboortedatum"}}
    ],
}  # fmt: skip


def sample(house: House) -> bytes:
    """The children of the child benefit extract, with calibrated weights; some have none."""
    content = house.story.truths["child-benefit", "2024"].content.decode()
    rows = list(csv.DictReader(io.StringIO(content), delimiter=";"))
    weights = 2 + np.random.default_rng(4).gamma(2.0, 3.0, len(rows))
    columns = [variable["name"] for variable in SURVEY["variables"][:-1]]
    lines = [";".join([*columns, "gewicht"])]
    for number, (row, weight) in enumerate(zip(rows, weights, strict=True)):
        told = "" if number % 20 == 0 else f"{weight:.4f}"
        lines.append(";".join([*(row[column] for column in columns), told]))
    return "\n".join(lines).encode()


def application(house: House, rule: dict[str, Any]) -> dict[str, Any]:
    """Who of the survey's people is at work, by age and region."""
    asked = house.application("survey-project", link_quality=True)
    benefit, employment, social = asked["datasets"]
    keys = [one for one in benefit["variables"] if one["as"] in asked["join"]["keys"]]
    weight = {"name": "gewicht", "as": "weight", "rule": [rule]}
    events = [one for one in employment["variables"] if one["as"] not in asked["join"]["keys"]]
    return {
        **asked,
        "datasets": [
            {"id": "survey", "periods": ["2024"], "variables": [*keys, weight]},
            {**employment, "variables": events},
            social,
        ],
        "universe": {"datasets": ["survey"]},
        "scenario": {**asked["scenario"], "sensitive": ["status", "wage"]},
    }


@pytest.fixture(scope="module")
def surveyed(house: House) -> House:
    """A house with a survey in it."""
    house.delivered("employment-service", "social-security")
    house["holder-vdab"].post("/datasets", SURVEY)
    source = house.folder / "survey.csv"
    source.write_bytes(sample(house))
    delivery = house["holder-vdab"].upload(source, "survey", "2024")
    assert delivery["state"] == "accepted", delivery["report"]
    return house


@pytest.fixture(scope="module")
def package(surveyed: House) -> Package:
    """What was released on it."""
    asked = application(surveyed, {"significant": {"digits": 2}})
    permit = surveyed.story.granted(surveyed, "researcher-1", asked)
    return surveyed.package(surveyed.cleared(permit)["id"])


@pytest.fixture(scope="module")
def report(package: Package) -> dict[str, Any]:
    """Its report."""
    document: dict[str, Any] = json.loads(package.files["report.json"])
    return document


def test_linkage_rates_are_those_of_the_files(package: Package, report: dict[str, Any]) -> None:
    """Bias: every rate told is the share of units with a row, and what isn't told was few."""
    units = package.table("units").to_pandas()
    linkage = report["linkage"]
    assert linkage["units"] == len(units)
    rated = {entry["dataset"]: entry for entry in linkage["datasets"] if "found" in entry}
    assert set(rated) == {"employment-service", "social-security"}
    told = 0
    for name, entry in rated.items():
        units["found"] = units["unit"].isin(set(package.table(name)["unit"].to_pylist()))
        assert entry["found"] == units["found"].sum()
        assert entry["share"] == round(units["found"].mean(), 4)
        assert set(entry["by"]) == {"age_class", "arrondissement"}
        for key, classes in entry["by"].items():
            truth = units.groupby(key)["found"].agg(["size", "sum"])
            assert [one["class"] for one in classes] == sorted(truth.index)
            for one in classes:
                size, found = truth.loc[one["class"]]
                if one["found"] is not None:
                    told += 1
                    assert (one["units"], one["found"]) == (size, found)
                    assert not 0 < found < K
                    assert not 0 < size - found < K
    assert told >= 5
    page = package.files["report.html"].decode()
    assert "Units found in employment-service" in page
    assert "`employment-service`: " in package.files["README.md"].decode()


def test_each_row_says_how_well_it_is_linked(package: Package, report: dict[str, Any]) -> None:
    """A class, described in every language; the report counts them."""
    dictionary = json.loads(package.files["dictionary.json"])
    for entry in report["linkage"]["datasets"]:
        table = package.table(entry["dataset"])
        assert table.column_names[:2] == ["unit", "link_quality"]
        counted = Counter(table["link_quality"].to_pylist())
        assert set(counted) <= set(QUALITY)
        assert entry["links"]["all"] == table.num_rows
        for name, number in entry["links"]["by_quality"].items():
            assert number in (None, counted[name])
        described = next(one for one in dictionary["tables"] if one["name"] == entry["dataset"])
        variable = described["variables"][1]
        assert variable["name"] == "link_quality"
        assert variable["codes"] == {code: dict(texts) for code, texts in QUALITY.items()}
    assert "link_quality" not in package.table("units").column_names
    found = Counter(package.table("employment-service")["link_quality"].to_pylist())
    assert found["number"] > 20  # linked to the survey, which came first


def test_weights_leave_coarse_and_tell_the_population(
    package: Package, report: dict[str, Any]
) -> None:
    """One per unit, two digits; k counts the sample."""
    survey = package.table("survey").to_pandas()
    assert survey["unit"].is_unique
    weights = survey["weight"].dropna()
    assert (weights == weights.map(lambda weight: float(f"{weight:.1e}"))).all()
    assert set(survey.loc[survey["weight"].isna(), "weight_status"]) == {"_not_in_source"}
    [figure] = report["population"]
    assert (figure["dataset"], figure["weight"]) == ("survey", "weight")
    assert figure["units"] == len(weights) < len(survey)
    assert figure["estimated"] == float(f"{weights.sum():.2e}")
    units = package.table("units").to_pandas().merge(survey[["unit", "weight"]], on="unit")
    cells = units.groupby(["age_class", "arrondissement"])["weight"].agg(["sum", "count"])
    least = cells.loc[cells["count"] >= K, "sum"].min()
    assert figure["smallest_combination"] == float(f"{least:.2e}")
    assert report["this_release"]["smallest_cell"] >= K
    assert "population that the weights stand for" in package.files["report.html"].decode()


def test_no_permit_allows_a_finer_weight(surveyed: House) -> None:
    """A calibrated weight is nearly everybody's own."""
    for rule in ({"keep": {}}, {"significant": {"digits": 3}}):
        asked = application(surveyed, rule)
        refusal = refusal_of(lambda a=asked: surveyed.story.apply(surveyed, "researcher-1", a))
        assert refusal.type == "finer-than-minimum"
