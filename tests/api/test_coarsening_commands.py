"""`schakel suggest` and `schakel coarsen` on the files of examples/disclosure: what they find,
write, tell, and refuse. Rows S08 to S12."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from api.cli import run
from tests import disclosure_example

Cli = Callable[..., tuple[int, str, str]]
SUGGEST = "suggest people.csv --hierarchies hierarchies --keys age,sex,municipality,activity"


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in a copy of the example; exit code, output and errors come back."""
    shutil.copytree(disclosure_example.FOLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(line.split())
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def read(path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.csv.read_csv(
        path, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=False)
    ).to_pylist()
    return rows


def test_the_example_is_what_its_script_makes() -> None:
    for name, text in disclosure_example.files().items():
        assert (disclosure_example.FOLDER / name).read_text(encoding="utf-8") == text, (
            f"{name} differs: run python -m tests.disclosure_example"
        )


def test_suggest_finds_and_writes(cli: Cli) -> None:
    """S08: after it, no combination has fewer than k people but those that are suppressed."""
    code, out, _ = cli(f"{SUGGEST} --k 5 --suppression 0.05 --out coarse.csv --json")
    assert code == 0
    told = json.loads(out)
    assert set(told["levels"]) == {"age", "sex", "municipality", "activity"}
    assert told["nodes_total"] == 4 * 2 * 5 * 4
    assert 0 < told["nodes_checked"] <= told["nodes_total"]
    assert told["loss"] < told["runner_up"]["loss"]
    assert [one["k"] for one in told["larger_k"]] == [10, 20]

    before, after = read("people.csv"), read("coarse.csv")
    keys = list(told["levels"])
    classes = Counter(tuple(row[key] for key in keys) for row in after)
    gone = tuple("_suppressed" for _ in keys)
    assert classes.pop(gone) == told["suppressed"] <= 0.05 * len(before)
    assert min(classes.values()) >= 5
    assert [row["person"] for row in after] == [row["person"] for row in before]


def test_single_cells_instead_of_rows(cli: Cli) -> None:
    """S08: fewer cells go, and each combination of what is left, empty cells as they are, has k
    people still."""
    line = f"{SUGGEST} --k 5 --suppression 0.05 --unit person --json --out coarse.csv"
    rows = json.loads(cli(line)[1])
    cells = json.loads(cli(f"{line} --cells")[1])
    assert cells["levels"] == rows["levels"]
    assert set(rows["suppressed_cells"].values()) == {rows["suppressed"]}
    assert 0 < sum(cells["suppressed_cells"].values()) < sum(rows["suppressed_cells"].values())
    keys = list(rows["levels"])
    classes = Counter(tuple(row[key] for key in keys) for row in read("coarse.csv"))
    classes.pop(tuple("_suppressed" for _ in keys), None)
    assert min(classes.values()) >= 5


def test_suggest_reads_parquet_and_is_the_same(cli: Cli) -> None:
    texts = pyarrow.csv.ConvertOptions(column_types={"activity": pa.string()})
    table = pyarrow.csv.read_csv("people.csv", convert_options=texts)
    assert pa.types.is_integer(table["age"].type)  # looked up by how it is written
    pq.write_table(table, "people.parquet")
    line = "--hierarchies hierarchies --keys age,sex,activity --suppression 0.02 --json"
    first = json.loads(cli(f"suggest people.csv {line}")[1])
    assert json.loads(cli(f"suggest people.parquet {line} --out x.parquet")[1]) == first | {
        "out": "x.parquet"
    }
    assert pq.read_table("x.parquet").num_rows == 2_000


def test_every_threshold_can_be_asked(cli: Cli) -> None:
    """S08: households and estimated populations; sensitive values; weights of importance."""
    line = f"{SUGGEST} --k 3 --suppression 0.05 --json"
    plain = json.loads(cli(line)[1])["loss"]
    for more in (
        "--household household --household-k 6",
        "--weights weight --weighted-k 400",
        "--sensitive diagnosis --l 3",
        "--sensitive diagnosis --t 0.2",
        "--allowed age=2,3 --allowed municipality=4",
    ):
        code, out, _ = cli(f"{line} --unit person {more}")
        assert code == 0
        assert json.loads(out)["loss"] > plain
    assert json.loads(cli(f"{line} --mean geometric")[1])["loss"] < plain  # as means are
    levels = json.loads(cli(f"{line} --importance activity=9")[1])["levels"]
    assert levels["activity"] < json.loads(cli(line)[1])["levels"]["activity"]


def test_suggest_tells_people(cli: Cli) -> None:
    code, out, _ = cli(f"{SUGGEST} --suppression 0.05")
    assert code == 0
    assert "coarsenings; no other is better" in out
    assert "k = 10" in out


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("suggest no.csv --hierarchies hierarchies --keys age", 2, "no file no.csv"),
        ("suggest people.csv --hierarchies hierarchies --keys age,height", 2, "no column height"),
        ("suggest people.csv --hierarchies hierarchies --keys age,", 2, "names of columns"),
        ("suggest people.csv --hierarchies hierarchies --keys age,age", 2, "names age twice"),
        ("suggest people.csv --hierarchies nowhere --keys age", 2, "no folder nowhere"),
        ("suggest people.csv --hierarchies hierarchies --keys wage", 2, "no hierarchy for wage"),
        (f"{SUGGEST} --k 0", 2, "k, l and the number of households are 1 or more"),
        (f"{SUGGEST} --suppression 7", 2, "from 0 to 1"),
        (f"{SUGGEST} --importance age", 2, "--importance age=2"),
        (f"{SUGGEST} --importance age=much", 2, "--importance age=2"),
        (f"{SUGGEST} --allowed age=top", 2, "--allowed age=0,1"),
        (f"{SUGGEST} --allowed age=7", 2, "age has the levels 0 to 3"),
        (f"{SUGGEST} --l 2", 2, "sensitive variable"),
        (f"{SUGGEST} --unit wage", 2, "rows have no unit"),
        (f"{SUGGEST} --weights diagnosis", 2, "weights are"),
        (f"{SUGGEST} --out people.csv", 2, "is read too"),
        (f"{SUGGEST} --cells --sensitive diagnosis --l 2", 2, "--cells looks at k alone"),
        (f"{SUGGEST} --k 3000", 1, "allow coarser levels"),
    ],
)
def test_suggest_refuses_in_one_sentence(cli: Cli, line: str, code: int, says: str) -> None:
    found, out, err = cli(line)
    assert (found, out) == (code, "")
    assert says in err
    assert err.strip().count("\n") == 0


def test_suggest_needs_a_row_for_every_value(cli: Cli) -> None:
    Path("hierarchies/sex.csv").write_text("F;*\n")
    code, _, err = cli(SUGGEST)
    assert code == 2
    assert "(1 distinct values) of sex are not in it" in err
    Path("empty.csv").write_text("")
    assert cli("suggest empty.csv --hierarchies hierarchies --keys age")[0] == 2
    Path("header.csv").write_text("age\n")
    code, _, err = cli("suggest header.csv --hierarchies hierarchies --keys age")
    assert (code, "no rows" in err) == (2, True)


# --- coarsen --------------------------------------------------------------------------------------

COARSEN = "coarsen people.csv --rules rules.yaml"


def test_coarsen_does_what_the_rules_say(cli: Cli) -> None:
    """S09 to S12, on CSV and on Parquet alike; a column without a rule doesn't leave."""
    code, out, _ = cli(f"{COARSEN} --out coarse.csv --json")
    assert code == 0
    told = json.loads(out)
    assert told["left_out"] == ["household", "age", "diagnosis", "weight"]
    assert told["rules"]["age_class"]["nl"].startswith("Leeftijdsklasse op 2025-01-01")
    rows, before = read("coarse.csv"), read("people.csv")
    assert list(rows[0]) == [
        "person", "age_class", "province", "activity", "wage", "wage_status", "sex",
    ]  # fmt: skip
    for row, was in zip(rows, before, strict=True):
        low = 0 if row["age_class"].startswith("<") else int(row["age_class"].strip(">=")[:2])
        assert low <= was["age"]
        assert (row["wage"] in (None, "")) == (row["wage_status"] == "_not_in_source")
        if row["wage_status"] == "observed":
            assert row["wage"] == min(6000, (float(was["wage"]) + 50) // 100 * 100)
    cli(f"{COARSEN} --out coarse.parquet")
    first = pq.read_table("coarse.parquet").to_pylist()
    texts = {name: pa.string() for name in ("municipality", "activity")}
    typed = pyarrow.csv.read_csv(
        "people.csv", convert_options=pyarrow.csv.ConvertOptions(column_types=texts)
    )
    assert pa.types.is_date(typed["birth_date"].type)
    pq.write_table(typed, "people.parquet")
    cli("coarsen people.parquet --rules rules.yaml --out again.parquet")
    assert pq.read_table("again.parquet").to_pylist() == first


def test_why_a_value_is_missing_stays_told(cli: Cli) -> None:
    """Not in the source, not linked and suppressed are three things, before and after."""
    why = ["_suppressed", "_not_linked", "_not_in_source", "", "100"]
    Path("x.csv").write_text("place,wage\n" + "\n".join(f"{code},{code}" for code in why[:4]))
    Path("x.yaml").write_text(
        "variables:\n"
        "  - {name: place, type: municipality, rule: [{geography: {level: region}}]}\n"
        "  - {name: wage, type: amount, rule: [{round: {to: 10}}]}\n"
    )
    assert cli("coarsen x.csv --rules x.yaml --out y.csv")[0] == 0
    rows = read("y.csv")
    expected = [*why[:3], "_not_in_source"]
    assert [row["place"] for row in rows] == [row["wage_status"] for row in rows] == expected


def test_postcodes_that_straddle_are_reported(cli: Cli) -> None:
    """S10: 1040 is in Brussels and in Etterbeek, by the published table itself."""
    Path("x.csv").write_text("home\n1040\n1000\n1040\n")
    Path("x.yaml").write_text(
        "variables: [{name: home, type: postcode, rule: [{geography: {level: region}}]}]"
    )
    told = json.loads(cli("coarsen x.csv --rules x.yaml --out y.csv --json")[1])
    assert told["straddling_postcodes"] == {"home": 2}
    assert "2 values of home are postcodes of several" in cli(
        "coarsen x.csv --rules x.yaml --out y.csv"
    )[2].replace("\n", " ")


def test_percentiles_of_a_file(cli: Cli) -> None:
    """S11: on the units of the file, and no group of fewer than k."""
    Path("p.yaml").write_text(
        "unit: person\nk: 3\nvariables:\n"
        "  - {name: wage, type: amount, rule: [{percentile: {groups: 4, over: delivery}}]}\n"
    )
    assert cli("coarsen people.csv --rules p.yaml --out p.csv")[0] == 0
    counts = Counter(row["wage"] for row in read("p.csv"))
    missing = counts.pop("_not_in_source")
    assert len(counts) == 4
    assert max(counts.values()) - min(counts.values()) <= 1
    assert missing + sum(counts.values()) == 2_000


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("variables: []", "name the `variables`"),
        ("colour: red", "colour is no setting"),
        ("k: 0\nvariables: [{name: sex, type: code, rule: [{keep: {}}]}]", "k has to be"),
        ("variables: [{name: sex}]", "a name, a type, a rule"),
        (
            "variables: [{name: sex, type: code, rule: [{mix: {}}]}]",
            "the rule of sex: no such step",
        ),
        (
            "variables: [{name: sex, type: code, rule: [{keep: {}}]},"
            " {name: age, as: sex, type: code, rule: [{keep: {}}]}]",
            "two variables would be written as sex",
        ),
        (
            "variables: [{name: wage, type: amount,"
            " rule: [{percentile: {groups: 4, over: universe}}]}]",
            "name the column of the `unit`",
        ),
        ("variables: [{name: height, type: code, rule: [{keep: {}}]}]", "no column height"),
        (
            "variables: [{name: sex, type: date, rule: [{year: {}}]}]",
            "2 distinct values of sex are no days",
        ),
        (
            "variables: [{name: sex, type: amount, rule: [{round: {to: 1}}]}]",
            "2 distinct values of sex are no numbers",
        ),
        (
            "variables: [{name: diagnosis, type: nace,"
            " rule: [{nace: {level: A10, version: 2025}}]}]",
            "diagnosis: 2000 values (4 distinct)",
        ),
        (
            "variables: [{name: sex, type: code, rule: [{round: {to: 1}}]}]",
            "sex: round needs a number",
        ),
    ],
)
def test_coarsen_refuses_in_one_sentence(cli: Cli, rules: str, says: str) -> None:
    Path("r.yaml").write_text(rules)
    code, out, err = cli("coarsen people.csv --rules r.yaml --out x.csv")
    assert (code, out) == (2, "")
    assert says in err.replace("\n", " ")
    assert not Path("x.csv").exists()


def test_coarsen_never_overwrites_what_it_reads(cli: Cli) -> None:
    assert cli(f"{COARSEN} --out people.csv")[0] == 2
    assert cli(f"{COARSEN} --out rules.yaml")[0] == 2
