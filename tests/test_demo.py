"""The main job as `make demo` plays it, at a smaller size, with every figure that was asked for."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api.demo.extracts import AT_60000

ROOT = Path(__file__).parents[1]

TRIED = {
    "a plaintext upload": ("plaintext-upload", 415),
    "a token with one character changed": ("bad-token", 401),
    "an expired token": ("bad-token", 401),
    "a token signed by somebody else's key": ("bad-token", 401),
    "another holder's upload": ("not-found", 404),
    "building a release without a permit": ("no-permit", 403),
    "downloading a release that nobody cleared": ("wrong-state", 409),
    "downloading after the permit expired": ("permit-not-in-force", 403),
    "downloading as somebody who is no recipient": ("not-found", 404),
    "building under a permit changed by one byte": ("permit-changed", 403),
    "advice and approval signed by one person": ("same-person", 403),
    "enrolling a director with one administrator's signature": ("needs-two-administrators", 403),
    "asking for age in single years, finer than the minimum": ("finer-than-minimum", 422),
    "clearing one's own release": ("own-work", 403),
    "a release that is fine alone and not fine together with the first": ("disclosure", 422),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Report and story of a demo of 5,000 with a seed that nobody tuned anything on."""
    out = tmp_path_factory.mktemp("demo")
    ended = subprocess.run(
        [sys.executable, "-m", "api.demo", "--persons", "5000", "--seed", "31", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return json.loads((out / "report.json").read_text()), ended.stdout


@pytest.fixture(scope="module")
def report(played: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """The report."""
    return played[0]


def test_the_readme_shows_what_the_demo_prints(played: tuple[dict[str, Any], str]) -> None:
    """The same lines; the figures are those of another population."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- demo -->")[1].split("<!-- /demo -->")[0]
    names = [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines()[2:-1]]
    assert len(names) > 10
    assert all(name in played[1] for name in names)


def test_links_agree_with_the_truth(report: dict[str, Any]) -> None:
    """No false deterministic match; fuzzy links right and nearly all found; review apart."""
    links = report["links"]
    assert links["deterministic"]["links"] > 10_000
    assert links["deterministic"]["false_matches"] == 0
    assert links["fuzzy"]["row_references"] > 500
    assert links["fuzzy"]["precision"] >= 0.995
    assert links["fuzzy"]["recall"] >= 0.97
    assert isinstance(links["review"], int)


def test_seven_holders_send_seven_extracts(report: dict[str, Any]) -> None:
    """V26: three payers and two agencies of one kind each; the list of conversions is an eighth
    file, kept by one of the seven."""
    assert report["holders"] == 7
    assert len(report["sources"]) == 8
    assert list(report["sources"]["education-fr"]) == ["2025"], "it joins in the third wave"
    kinds = ("child-benefit", "education", "employment-service", "social-security")
    at_5000 = {kind: rows / 12 for kind, rows in AT_60000.items()}
    for kind in kinds:
        rows = sum(by["2025"] for name, by in report["sources"].items() if name.startswith(kind))
        assert abs(rows / at_5000[kind] - 1) < 0.12


def test_dummy_data_came_before_the_permit(report: dict[str, Any]) -> None:
    """The same tables, columns and types as the release that was built afterwards."""
    assert report["dummy_has_the_shape_of_the_release"] is True


def test_employers_are_units_of_their_own(report: dict[str, Any]) -> None:
    """S35: linked by number, name and address; three of a kind at least where they are shown."""
    employers = report["enterprises"]
    assert employers["row_references"] > 20_000
    assert employers["precision"] >= 0.995
    assert employers["recall"] >= 0.97
    assert employers["without_number"]["row_references"] > 500
    assert employers["disclosure"]["smallest_cell"] >= employers["disclosure"]["k"] == 3


def test_a_child_that_changes_payers_stays_one(report: dict[str, Any]) -> None:
    """V07: met at two payers in one year, or at another one a year later."""
    for met in report["moved_between_payers"].values():
        assert met["children"] > 50
        assert met["one_pseudonym"] > 0.98


def test_a_second_wave_lines_up_with_the_first(report: dict[str, Any]) -> None:
    """S15, V07: the same person, the same pseudonym, a year and a root rotation later."""
    pseudonyms = report["pseudonyms"]
    assert pseudonyms["persons_compared"] > 3_000
    assert pseudonyms["stable_across_waves"] == 1.0
    assert pseudonyms["stable_all"] > 0.99
    assert pseudonyms["shared_between_projects"] == 0


def test_nobody_stands_out(report: dict[str, Any]) -> None:
    """S08: counted from the downloaded files, every release by itself."""
    disclosure = report["disclosure"]
    assert disclosure["smallest_cell"] >= disclosure["k"] == 5
    assert 0 < disclosure["suppressed_share"] <= 0.10
    assert len(disclosure["by_release"]) == 3


def test_no_identifier_leaves_and_a_planted_one_is_found(report: dict[str, Any]) -> None:
    """S07: the search that finds nothing is known to find something."""
    assert report["identifiers_found_in_release"] == 0
    assert report["planted_found"] == 3


def test_the_researcher_can_answer_the_question(report: dict[str, Any]) -> None:
    """V25: a rate per cell, called a proxy, with the truth's beside it."""
    for period in ("2024", "2025"):
        rate = report["neet_rate"][period]
        assert "proxy" in rate["note"]
        assert abs(rate["overall"] - rate["overall_truth"]) < 0.03
        assert len(rate["cells"]) > 50


def test_everything_that_must_be_refused_was(report: dict[str, Any]) -> None:
    """Each try with its type and status."""
    refused = {entry["tried"]: (entry["type"], entry["status"]) for entry in report["refusals"]}
    assert {tried: refused.get(tried) for tried in TRIED} == TRIED


def test_a_refused_second_wave_is_mended_as_it_says(report: dict[str, Any]) -> None:
    """S08: with an example cell and the mildest change; what is then built passes with what was
    released before, with as many values suppressed as it said."""
    told = report["cumulative_test"]
    assert "It is fine alone, but together with" in told["refused"]["detail"]
    assert "The mildest change that passes" in told["refused"]["next_step"]
    assert told["mend"]["suppressed"]["share"] <= 0.12
    mended = told["mended"]
    assert mended["state"] == "built"
    assert mended["coarser"] == told["mend"]["coarser"]
    assert mended["suppressed_units"] == told["mend"]["suppressed"]["units"]
    assert mended["smallest_cell_with_earlier_releases"] >= 5
    assert told["mend_without_suppression"]["coarser"]


def test_an_intruder_with_the_true_population_names_no_more_than_the_measures_allow(
    report: dict[str, Any],
) -> None:
    """S08: everybody's true age class and place in a register, at both moments: shares named
    rightly are below 1/k, and what the intruder is sure of is next to nothing."""
    most = 1 / report["disclosure"]["smallest_cell"]
    assert len(report["attack"]) == 4
    for one in report["attack"]:
        assert 0 < one["right"] < most
        assert one["sure"] < 0.01


def test_the_report_tells_what_it_cost(report: dict[str, Any]) -> None:
    """Seconds per stage, rows per second, memory."""
    assert report["seconds"]["total"] >= report["seconds"]["first_release"] > 0
    assert report["rows_per_second"] > 0
    assert report["peak_rss_mb"] >= max(report["memory_mb"].values()) > 100
    assert {"service", "worker"} <= set(report["memory_mb"])
    assert report["ledger"]["problems"] == 0
