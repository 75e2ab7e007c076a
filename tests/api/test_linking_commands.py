"""`schakel link` and `schakel dedupe` on real files: what they write, tell, and refuse."""

import html
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from api.cli import run
from linkage.kernel.score import Scorer
from linkage.spark import SparkFailed, SparkMissing
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
    assert told["quality"]["unknown_rows"] == 0
    assert told["candidates"]["all"] == sum(told["candidates"]["by_rule"].values()) > 0
    assert all(case["right"] <= case["links"] for case in told["hard_cases"].values())
    assert told["hard_cases"]["names swapped"]["links"] > 0
    assert set(told["stages"]) >= {"read", "encode", "block", "estimate", "score", "write"}


LINK = "link a.parquet b.csv --plan plan.yaml --out links.parquet"


def _changed(plan: dict[str, Any], **parts: Any) -> str:
    return yaml.safe_dump(plan | parts)


@pytest.mark.parametrize(
    ("line", "plan", "says"),
    [
        (LINK.replace("a.parquet", "nowhere.csv"), None, "no file nowhere.csv"),
        (LINK.replace("a.parquet", "empty.csv"), None, "empty.csv is empty"),
        (LINK.replace("a.parquet", "header.csv"), None, "header.csv has no rows"),
        (
            LINK.replace("a.parquet", "twice.csv"),
            None,
            "rows 1 and 3 of twice.csv have the same id",
        ),
        (LINK.replace("a.parquet", "without.csv"), None, "row 2 of without.csv has no id"),
        (LINK.replace("a.parquet", "ragged.csv"), None, "ragged.csv has"),
        (LINK.replace("a.parquet", "binary.csv"), None, "neither CSV nor Parquet"),
        (LINK.replace("a.parquet", "torn.parquet"), None, "torn.parquet is no Parquet file"),
        (LINK.replace("a.parquet", "."), None, "is a folder"),
        (LINK.replace("plan.yaml", "nowhere.yaml"), None, "no file nowhere.yaml"),
        (
            LINK.replace("links.parquet", "nowhere/links.parquet"),
            None,
            "there is no folder nowhere",
        ),
        (LINK, _changed(PLAN, fields=[NUMBER | {"a": "shoe"}]), "a.parquet has no column shoe"),
        (LINK, _changed(PLAN, fields=[NUMBER | {"type": "shoe"}]), "the type of field 1, shoe"),
        (LINK, _changed(PLAN, id={"a": "rec_id"}), "b of id names no column"),
        (LINK, "- a list", "should hold one object"),
        (LINK.replace("links.parquet", "a.parquet"), None, "a.parquet is read too"),
        (LINK + " --charts links.parquet", None, "would overwrite the links"),
        (LINK + " --truth-a truth_a.csv", None, "give --truth-a and --truth-b"),
        (LINK + " --truth-a b.csv --truth-b b.csv", None, "b.csv knows none of the rows"),
        (LINK + " --truth-a thin.csv --truth-b thin.csv", None, "thin.csv needs two columns"),
        (LINK + " --workers 0", None, "workers"),
        (LINK.replace("link ", "dedupe ").replace("b.csv ", ""), None, "names a column b"),
        ("explain a.parquet A1 B1", None, "a.parquet doesn't say how it was made"),
        ("explain b.csv A1 B1", None, "b.csv doesn't say how it was made"),
        ("plan suggest thin.csv", None, "write the plan's fields yourself"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    cli: Cli, country: Path, line: str, plan: str | None, says: str
) -> None:
    """Exit code 2, nothing written, and no value of any row told."""
    head = "rec_id,first_name,last_name,birth_date,sex,street,house_no,postcode"
    row = "{},Secretia,Hidden,1990-01-01,F,Kerkstraat,1,9000"
    bad = {
        "empty.csv": "",
        "header.csv": f"{head}\n",
        "twice.csv": "\n".join([head, row.format("x"), row.format("y"), row.format("x")]),
        "without.csv": "\n".join([head, row.format("x"), row.format("")]),
        "ragged.csv": "\n".join([head, row.format("x"), row.format("y") + ",9"]),
        "binary.csv": "\0\1\2",
        "thin.csv": "id\n1\n",
    }
    for name, text in bad.items():
        (country / name).write_text(text)
    torn = (country / "a.parquet").read_bytes()
    (country / "torn.parquet").write_bytes(torn[: len(torn) // 2])
    if plan is not None:
        (country / "bad.yaml").write_text(plan)
        line = line.replace("plan.yaml", "bad.yaml")
    (country / "links.parquet").unlink(missing_ok=True)
    code, out, err = cli(line)
    assert code == 2
    assert says in err
    assert not out
    assert len(err.strip().splitlines()) == 1
    assert "Secretia" not in err
    assert not (country / "links.parquet").exists()


def _links(country: Path, name: str = "links.parquet") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(country / name).to_pylist()
    return rows


def test_csv_and_parquet_say_the_same(cli: Cli, country: Path) -> None:
    """In and out: ids are texts in CSV, otherwise nothing differs."""
    for line in (
        "link a.parquet b.parquet --plan plan.yaml --out one.parquet",
        "link a.csv b.csv --plan plan.yaml --out other.parquet",
        "link a.csv b.csv --plan plan.yaml --out links.csv",
    ):
        assert cli(line)[0] == 0
    one = [{**row, "right_id": str(row["right_id"])} for row in _links(country, "one.parquet")]
    assert one == _links(country, "other.parquet")
    text = pa.csv.read_csv(
        country / "links.csv",
        convert_options=pa.csv.ConvertOptions(column_types={"right_id": pa.string()}),
    )
    assert text.column_names == ["left_id", "right_id", "weight", "probability", "rule"]
    assert text["right_id"].to_pylist() == [row["right_id"] for row in one]


@pytest.mark.parametrize(
    ("delimiter", "encoding"),
    [(";", "utf-8"), ("\t", "latin-1"), ("|", "utf-8-sig"), (",", "utf-16")],
)
def test_csv_is_read_as_it_was_written(
    cli: Cli, country: Path, delimiter: str, encoding: str
) -> None:
    """Delimiter, encoding and quoted line ends are found out."""
    rows = (country / "a.csv").read_text().splitlines()[:200]
    cells = [[cell.strip('"') for cell in row.split(",")] for row in rows]
    cells[1][-1] = "écrivain\nà ses heures"
    text = "\n".join(
        delimiter.join(f'"{cell}"' if "\n" in cell or cell == "rec_id" else cell for cell in row)
        for row in cells
        if all(sign < "\u0100" for sign in "".join(row))  # which is what Latin-1 has
    )
    (country / "odd.csv").write_text(text, encoding=encoding)
    plan = PLAN | {"fields": [*PLAN["fields"], {"type": "text", "a": "occupation", "b": "beroep"}]}
    (country / "odd.yaml").write_text(yaml.safe_dump(plan))
    code, out, err = cli("link odd.csv b.csv --plan odd.yaml --out odd.parquet --json")
    assert code == 0, err
    assert json.loads(out)["rows"]["a"] == text.count(delimiter) // (len(cells[0]) - 1) - 1


def test_a_seed_gives_the_same_links_with_any_number_of_workers(cli: Cli, country: Path) -> None:
    """Byte for byte."""
    for workers in (1, 3):
        assert cli(f"{LINK} --workers {workers} --seed 7")[0] == 0
        (country / "links.parquet").rename(country / f"{workers}.parquet")
    assert (country / "1.parquet").read_bytes() == (country / "3.parquet").read_bytes()


def test_another_process_gives_the_same_links(cli: Cli, country: Path) -> None:
    """Byte for byte: nothing hangs on the order of a set."""
    assert cli(LINK)[0] == 0
    here = (country / "links.parquet").read_bytes()
    program = [Path(sys.executable).parent / "schakel", *LINK.split()]
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    subprocess.run(program, cwd=country, env=environment, check=True, capture_output=True)
    assert (country / "links.parquet").read_bytes() == here


def test_spark_takes_the_place_of_this_process(
    cli: Cli, country: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Spark itself does is tested where it is; here a stand-in that weighs in this process."""
    asked: list[str] = []

    @contextmanager
    def stand_in() -> Iterator[Any]:
        asked.append("came")
        yield partial(Scorer.run, workers=1)
        asked.append("went")

    monkeypatch.setattr("linkage.spark.cluster", stand_in)
    assert cli(LINK)[0] == 0
    here = (country / "links.parquet").read_bytes()
    assert not asked
    code, out, err = cli(f"{LINK} --engine spark --json")
    assert code == 0, err
    assert asked == ["came", "went"]
    assert "spark" in json.loads(out)["stages"]
    assert (country / "links.parquet").read_bytes() == here


@pytest.mark.parametrize(("fault", "code"), [(SparkMissing, 2), (SparkFailed, 1)])
def test_a_spark_that_does_not_come_is_told_of(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, fault: type[Exception], code: int
) -> None:
    """Not being there can be mended on this machine; failing is a failure."""

    @contextmanager
    def stand_in() -> Iterator[Any]:
        raise fault("Spark is ill.")
        yield

    monkeypatch.setattr("linkage.spark.cluster", stand_in)
    found, out, err = cli(f"{LINK} --engine spark")
    assert (found, out, err.strip()) == (code, "", "Spark is ill.")


def test_a_number_links_without_weight(cli: Cli, country: Path) -> None:
    """A number that is borne out is proof, and comes before likeness."""
    (country / "number.yaml").write_text(_changed(PLAN, fields=[NUMBER, *PLAN["fields"]]))
    assert cli("link a.parquet b.parquet --plan number.yaml --out number.parquet")[0] == 0
    rows = _links(country, "number.parquet")
    proven = [row for row in rows if row["rule"] == "national_number"]
    assert len(proven) > 500
    assert all(row["weight"] is None and row["probability"] == 1.0 for row in proven)
    assert {row["rule"] for row in rows} == {"national_number", "fuzzy", "review"}


def test_a_number_alone_makes_links(cli: Cli, country: Path) -> None:
    """Nothing to weigh; explaining such a pair says what there is."""
    (country / "alone.yaml").write_text(_changed(PLAN, fields=[NUMBER]))
    code, out, err = cli("link a.csv b.csv --plan alone.yaml --out alone.parquet --json")
    assert code == 0, err
    assert json.loads(out)["candidates"]["all"] == 0
    for row in _links(country, "alone.parquet")[:1]:
        code, out, _ = cli(f"explain alone.parquet {row['left_id']} {row['right_id']}")
        assert code == 0
        assert "the same number" in out


def test_an_explanation_adds_up(cli: Cli, country: Path) -> None:
    """Prior and fields to the weight in the file; households and rivals to its probability."""
    assert cli(LINK)[0] == 0
    rows = _links(country)
    some = [rows[0], rows[len(rows) // 2], rows[-1]]
    for row in some:
        code, out, err = cli(f"explain links.parquet {row['left_id']} {row['right_id']} --json")
        assert code == 0, err
        told = json.loads(out)
        assert told["rule"] == row["rule"]
        total = told["prior"] + sum(one["weight"] for one in told["fields"])
        assert total == pytest.approx(row["weight"], abs=1e-3)
        assert told["fields"][-1]["sum"] == pytest.approx(total)
        bits = total + told["household"] + told["rivals"]
        assert 1 / (1 + 2**-bits) == pytest.approx(row["probability"], abs=1e-6)
    code, out, _ = cli(f"explain links.parquet {some[0]['left_id']} {some[0]['right_id']}")
    assert code == 0
    assert all(one["field"] in out for one in told["fields"])


def test_a_pair_that_is_not_in_the_file_is_explained_too(cli: Cli, country: Path) -> None:
    """Why two rows were not linked is asked more often than why they were."""
    assert cli(LINK)[0] == 0
    one, other = _links(country)[:2]
    code, out, _ = cli(f"explain links.parquet {one['left_id']} {other['right_id']} --json")
    told = json.loads(out)
    assert code == 0
    assert told["rule"] is None
    assert told["probability"] < 0.5


def test_an_explanation_needs_the_files_that_were_linked(cli: Cli, country: Path) -> None:
    """Another file, or one that changed, would give reasons that aren't."""
    assert cli(LINK)[0] == 0
    row = _links(country)[0]
    pair = f"{row['left_id']} {row['right_id']}"
    lines = (country / "b.csv").read_text().splitlines(keepends=True)
    (country / "short.csv").write_text("".join(lines[:-1]))
    code, _, err = cli(f"explain links.parquet {pair} --b short.csv")
    assert code == 2
    assert "short.csv has 1999 rows and had 2000" in err
    place = next(n for n, line in enumerate(lines) if str(row["right_id"]) in line)
    cells = lines[place].split(",")
    lines[place] = ",".join([cells[0], cells[1], '"Someone"', '"Else"', *cells[4:]])
    (country / "other.csv").write_text("".join(lines))
    code, _, err = cli(f"explain links.parquet {pair} --b other.csv")
    assert code == 2
    assert "has changed since it was linked" in err
    assert cli(f"explain links.parquet {pair} --b b.parquet")[0] == 0
    code, _, err = cli(f"explain links.parquet {row['left_id']} nobody")
    assert code == 2
    assert "no row with the id nobody" in err


def test_a_file_of_links_holds_no_value_of_a_row(cli: Cli, country: Path) -> None:
    """V24: names and dates stay in the files they came in."""
    assert cli(LINK)[0] == 0
    held = json.dumps(
        {
            k.decode(): v.decode()
            for k, v in pq.read_schema(country / "links.parquet").metadata.items()
        }
    )
    a = pq.read_table(country / "a.parquet")
    for column in ("first_name", "last_name", "birth_date", "street"):
        values = {value for value in a[column].to_pylist() if value and len(value) > 5}
        assert not [value for value in values if value in held]


def test_rows_of_one_file_are_put_into_groups(cli: Cli, country: Path) -> None:
    """Each link lies within a group, each pair for review between two."""
    a = pq.read_table(country / "a.parquet")
    again = a.slice(0, 300).set_column(0, "rec_id", pa.array([f"again{n}" for n in range(300)]))
    truth = pq.read_table(country / "truth_a.parquet")
    more = truth.slice(0, 300).set_column(0, "rec_id", again["rec_id"])
    pq.write_table(pa.concat_tables([a, again]), country / "both.parquet")
    pq.write_table(pa.concat_tables([truth, more]), country / "truth.parquet")
    plan = {"id": "rec_id", "fields": [{"type": f["type"], "a": f["a"]} for f in PLAN["fields"]]}
    (country / "one.yaml").write_text(yaml.safe_dump(plan))
    code, out, err = cli(
        "dedupe both.parquet --plan one.yaml --out groups.parquet --truth truth.parquet --json"
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["quality"]["at_threshold"]["recall"] > 0.95
    assert told["quality"]["true_pairs"] == 300
    rows = _links(country, "groups.parquet")
    assert list(rows[0]) == ["left_id", "right_id", "weight", "probability", "rule", "group"]
    group: dict[str, int] = {}
    for row in rows:
        if row["rule"] == "review":
            assert row["group"] is None
            continue
        for side in ("left_id", "right_id"):
            assert group.setdefault(row[side], row["group"]) == row["group"]
    assert len(set(group.values())) == told["groups"]
    sizes = Counter(group.values()).values()
    assert told["quality"]["groups"]["links"] == sum(size * (size - 1) // 2 for size in sizes)
    row = rows[0]
    code, out, _ = cli(f"explain groups.parquet {row['right_id']} {row['left_id']} --json")
    assert code == 0
    assert json.loads(out)["weight"] == pytest.approx(row["weight"], abs=1e-3)


def test_a_suggested_plan_is_one_that_links(cli: Cli, country: Path) -> None:
    """With what each blocking rule costs, counted before anything is compared."""
    code, out, err = cli("plan suggest a.parquet b.csv")
    assert code == 0, err
    (country / "suggested.yaml").write_text(out)
    assert {field["type"] for field in yaml.safe_load(out)["fields"]} >= {
        field["type"] for field in PLAN["fields"]
    }
    told = json.loads(cli("plan suggest a.parquet b.csv --json")[1])
    assert told["plan"] == yaml.safe_load(out)
    costs = {tuple(rule["fields"]): rule["candidates"] for rule in told["blocking"]}
    assert f"{costs['birth_date',]:,}  [birth_date]" in out
    code, out, err = cli("link a.parquet b.csv --plan suggested.yaml --out links.parquet --json")
    assert code == 0, err
    by_rule = json.loads(out)["candidates"]["by_rule"]
    assert by_rule["birth_date"] == costs["birth_date",]
    assert len(by_rule) == sum(rule["chosen"] for rule in told["blocking"])


def test_linking_starts_without_the_service() -> None:
    """What a linkage on one's own machine doesn't need isn't waited for."""
    script = "import sys; import api.cli, linkage.matching; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"fastapi", "sqlalchemy", "httpx", "pydantic", "cryptography"} & set(loaded)


def test_pages_of_charts_are_written_where_they_are_asked_for(cli: Cli, country: Path) -> None:
    """That of a linkage names nobody; that of a pair says what the two rows hold."""
    assert cli(f"{LINK} --charts page.html")[0] == 0
    page = (country / "page.html").read_text()
    assert page.count("<svg") == 6  # without the truth nothing to calibrate by
    row = _links(country)[0]
    pair = f"{row['left_id']} {row['right_id']}"
    assert cli(f"explain links.parquet {pair} --html pair.html")[0] == 0
    name = next(
        a["last_name"]
        for a in pq.read_table(country / "a.parquet").to_pylist()
        if a["rec_id"] == row["left_id"]
    )
    assert html.escape(name) in (country / "pair.html").read_text()
    assert f">{html.escape(name)}" not in page
    code, _, err = cli(f"{LINK} --charts nowhere/page.html")
    assert code == 2
    assert "there is no folder nowhere" in err
