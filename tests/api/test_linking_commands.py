"""`schakel link` and `schakel dedupe` on real files: what they write, tell, and refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from api.cli import run
from tests.bench.population import Recipe, write

Cli = Callable[..., tuple[int, str, str]]

PLAN: dict[str, Any] = {
    "unit": "person",
    "id": {"a": "rec_id", "b": "record"},
    "fields": [
        {"type": "first_name", "a": "first_name", "b": "voornaam"},
        {"type": "last_name", "a": "last_name", "b": "naam"},
        {"type": "birth_date", "a": "birth_date", "b": "geboortedatum", "format": "%d/%m/%Y"},
        {"type": "sex", "a": "sex", "b": "geslacht"},
        {"type": "street", "a": "street", "b": "straat"},
        {"type": "house_number", "a": "house_no", "b": "nummer"},
        {"type": "postcode", "a": "postcode", "b": "postcode"},
    ],
}
NUMBER = {"type": "national_number", "a": "nn", "b": "insz"}


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files about a small made-up country, with the truth, as CSV and as Parquet."""
    folder = tmp_path_factory.mktemp("country")
    write(folder, Recipe(left=2_000, right=2_000), 5, csv=True)
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    return folder


@pytest.fixture
def cli(country: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in the folder of the files; exit code, output and errors come back."""
    monkeypatch.chdir(country)

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(line.split())
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_two_files_are_linked_and_judged_by_the_truth(cli: Cli, country: Path) -> None:
    """One row per link and per pair for review, in the order of columns that the contract names."""
    code, out, err = cli(
        "link a.parquet b.csv --plan plan.yaml --out links.parquet "
        "--truth-a truth_a.csv --truth-b truth_b.parquet --json"
    )
    assert code == 0, err
    told = json.loads(out)
    links = pq.read_table(country / "links.parquet")
    assert links.column_names == ["left_id", "right_id", "weight", "probability", "rule"]
    rules = links["rule"].to_pylist()
    assert told["links"] == rules.count("fuzzy") > 1000
    assert told["review"] == rules.count("review") > 0
    truth = {
        side: dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
        for side, table in (
            ("a", pq.read_table(country / "truth_a.parquet")),
            ("b", pa.csv.read_csv(country / "truth_b.csv")),
        )
    }
    both = set(truth["a"].values()) & set(truth["b"].values())
    right = sum(
        truth["a"][row["left_id"]] == truth["b"][int(row["right_id"])]
        for row in links.to_pylist()
        if row["rule"] == "fuzzy"
    )
    quality = told["quality"]["at_threshold"]
    assert told["quality"]["true_pairs"] == len(both)
    assert quality["precision"] == right / told["links"]
    assert quality["recall"] == right / len(both) > 0.9
    assert told["quality"]["best"]["f1"] >= quality["f1"]
    assert told["candidates"]["all"] == sum(told["candidates"]["by_rule"].values()) > 0
    assert set(told["stages"]) >= {"read", "encode", "block", "estimate", "score", "write"}
