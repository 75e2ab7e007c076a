"""`schakel assess`: what it says of files, in JSON and for people, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from api.cli import run
from tests.policies.test_measures import EDUCATION, GENDER, HEALTH, LABOUR, RESIDENCE
from tests.policies.test_measures_individual import WEIGHTS

Cli = Callable[[str], tuple[int, str, str]]
GUIDE = pa.table(
    {
        "person": [f"{number:02d}" for number in range(10)],
        "residence": RESIDENCE,
        "gender": GENDER,
        "education": EDUCATION,
        "labour": LABOUR,
        "health": HEALTH,
        "weight": [str(one) for one in WEIGHTS],
        "house": ["1", "1", "1", "2", "2", "3", "3", "3", "4", ""],
    }
)
KEYS = "--keys residence,gender,education,labour"


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command beside the SDC Practice Guide's example, as CSV and as Parquet."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(GUIDE, "guide.parquet")
    pa.csv.write_csv(GUIDE, "guide.csv")

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(line.split())
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def told(cli: Cli, line: str) -> dict[str, Any]:
    code, out, err = cli(f"assess {line} --json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_practice_guide(cli: Cli, suffix: str) -> None:
    """S08: the figures of the SDC Practice Guide's tables 4.1, 4.3 and 4.5, from a file."""
    found = told(
        cli,
        f"guide.{suffix} {KEYS} --unit person --sensitive health --weights weight "
        "--household house --k 2",
    )
    wanted = {"rows": 10, "units": 10, "classes": 7, "k": 1, "sample_uniques": 4, "below_k": 4}
    assert {name: found[name] for name in wanted} == wanted
    assert (found["l_distinct"], found["l_entropy"], found["l_recursive"]) == (1, 1.0, 1)
    assert found["t"] == pytest.approx(0.7)  # a class of "no" alone: 1 - 3/10
    assert found["prosecutor_risk"] == {"max": 1.0, "mean": 0.7}
    assert found["individual_risk"]["mean"] == pytest.approx(0.01582, abs=0.000006)
    assert found["individual_risk"]["max"] == pytest.approx(0.0290, abs=0.00005)
    assert found["individual_risk"]["global"] == pytest.approx(0.1582, abs=0.00006)
    assert found["journalist_risk"]["max"] == pytest.approx(1 / 152)
    marketer = (2 / 360 + 1 / 215 + 2 / 152 + 1 / 186 + 1 / 180 + 1 / 215 + 2 / 262) / 10
    assert found["marketer_risk"] == pytest.approx(marketer)
    assert found["journalist_risk"]["mean"] == pytest.approx(max(7 / 1570, marketer))
    risks = [0.0054, 0.0054, 0.0251]
    house = 1 - (1 - risks[0]) * (1 - risks[1]) * (1 - risks[2])
    assert found["household_risk"]["max"] >= house - 0.0001
    assert found["household_risk"]["households"] == 5
    assert found["suda"]["max"] == 12
    assert found["suda"]["mean"] == 3.4
    assert set(found["suda"]["contributions"]) == {"residence", "gender", "education", "labour"}
    assert found["average_class_size"] == pytest.approx(10 / 7)
    assert found["discernibility"] == 4 * 1 + 3 * 4


def test_both_kinds_of_file_and_ways_to_give_it_agree(cli: Cli) -> None:
    line = f"{KEYS} --sensitive health --weights weight --ordered --subset residence,gender"
    assert told(cli, f"guide.csv {line}") == told(cli, f"guide.parquet {line}")


def test_units_are_counted_and_not_rows(cli: Cli, tmp_path: Path) -> None:
    """Five quarters of one person are one person; leading zeros are part of a value."""
    rows = ["person,area,age", *["007,01,30"] * 5, "7,1,30", "8,1,30"]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    found = told(cli, "rows.csv --keys area,age --unit person")
    assert (found["rows"], found["units"], found["k"], found["classes"]) == (7, 3, 1, 2)
    assert (found["sample_uniques"], found["average_class_size"]) == (1, 1.5)
    assert told(cli, "rows.csv --keys area,age")["k"] == 2


def test_missing_keys_by_choice(cli: Cli, tmp_path: Path) -> None:
    """Empty, a star and our own mark are missing: a category, or a match for everything; a row that
    shows nothing is no class of its own."""
    rows = ["sex,age", "m,30", "m,30", "m,", "m,*", "*,_suppressed"]
    (tmp_path / "holes.csv").write_text("\n".join(rows) + "\n")
    found = told(cli, "holes.csv --keys sex,age")
    assert (found["k"], found["classes"], found["suppressed"]) == (2, 2, 1)
    found = told(cli, "holes.csv --keys sex,age --missing wildcard")
    assert (found["k"], found["sample_uniques"], found["missing"]) == (5, 0, "wildcard")


def test_a_population_file(cli: Cli, tmp_path: Path) -> None:
    """k-map and the journalist's risk: against everybody, not against the file."""
    (tmp_path / "sample.csv").write_text("area,sex\n1,f\n1,m\n2,m\n")
    (tmp_path / "all.csv").write_text("sex,area,more\n" + "f,1,x\n" * 4 + "m,1,x\n" * 8)
    found = told(cli, "sample.csv --keys area,sex --population all.csv")
    assert (found["k"], found["k_map"], found["not_in_population"]) == (1, 0, 1)
    assert found["journalist_risk"] == {
        "max": 1.0, "mean": pytest.approx((1 / 4 + 1 / 8 + 1) / 3), "from": "population",
    }  # fmt: skip
    code, out, _ = cli("assess sample.csv --keys area,sex --population all.csv")
    assert code == 0
    assert "k-map 0; 1 aren't there" in " ".join(out.split())


def test_dominance_and_what_protection_cost(cli: Cli, tmp_path: Path) -> None:
    """S34: an enterprise that is nearly all of its cell; and the release beside its original."""
    rows = ["nace,turnover", "A,80", "A,10", "A,6", "A,4", "B,5", "B,5", "B,5", "B,"]
    (tmp_path / "firms.csv").write_text("\n".join(rows) + "\n")
    fine = [row.replace("A,", "A1,", 1).replace(",80", ",90") for row in rows]
    (tmp_path / "fine.csv").write_text("\n".join(fine).replace("A1", "A2", 1) + "\n")
    line = "firms.csv --keys nace --amount turnover --dominance 1,75 --original fine.csv"
    found = told(cli, line)
    assert found["dominance"] == {
        "n": 1, "percent": 75, "p": 10, "cells": 2, "dominated": 1, "within_p": 0,
        "largest_share": 80, "closest": 12.5,
    }  # fmt: skip
    assert found["utility"]["loss"] == {
        "nace": 0.25
    }  # A1 and A2 of three became one: half the file
    amounts = [90, 10, 6, 4, 5, 5, 5]
    assert found["utility"]["il1s"] == pytest.approx(10 / 7 / 2**0.5 / np.std(amounts, ddof=1))
    _, out, _ = cli(f"assess {line}")
    said = " ".join(out.split())
    assert "of 2 combinations 1 where 1 have more than 75%, 0 where the second" in said
    assert "lost 25%;" in said


def test_for_people(cli: Cli) -> None:
    """A line for each thing, units and rows named, nothing of any row."""
    code, out, _ = cli(
        f"assess guide.csv {KEYS} --sensitive health --household house --weights weight --ordered "
        "--subset gender"
    )
    assert code == 0
    out = " ".join(out.split())
    assert "k 1; 4 alone, 10 with fewer than 5" in out
    assert "k of gender 3; 0 alone, 3 with fewer than 5" in out
    assert "l-diversity of health 1 distinct, 1.00 by entropy, 1 recursive (c = 2)" in out
    assert "household risk" in out
    assert "Rural" not in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("guide.csv --keys residence,grade", "guide.csv has no column grade; it has person,"),
        ("guide.csv --keys residence,", "--keys needs the names of columns with a comma between"),
        ("guide.csv --keys gender,gender", "the key gender is given twice; give it once"),
        ("guide.csv --keys gender --sensitive gender", "gender is among the keys and something"),
        ("guide.csv --keys gender --weights labour", "The column labour isn't all numbers"),
        ("guide.csv --keys gender --unit house", "a row without a unit can't be tested"),
        ("guide.csv --keys gender --subset labour", "there is no key labour among gender"),
        ("guide.csv --keys gender --fraction 2", "a sampling fraction is above 0 and at most 1"),
        ("guide.csv --keys gender --dominance 2", "--dominance needs two numbers, n and k"),
        ("guide.csv --keys gender --original one.csv", "has 1 rows and the release 10"),
        ("empty.csv --keys gender", "empty.csv is empty; name a file with a header and rows"),
        ("header.csv --keys gender", "header.csv has no rows; name a file with something in it"),
        ("nothing.csv --keys gender", "there is no file nothing.csv"),
        ("guide.csv --keys gender --population header.csv", "header.csv has no rows"),
    ],
)
def test_what_is_refused(cli: Cli, tmp_path: Path, line: str, said: str) -> None:
    """One sentence on what is wrong and what to do, and exit code 2."""
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("gender\n")
    (tmp_path / "one.csv").write_text("gender\nF\n")
    code, out, err = cli(f"assess {line}")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_weights_must_be_above_zero(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("a,w\n1,2\n1,0\n")
    code, _, err = cli("assess weights.csv --keys a --weights w")
    assert code == 2
    assert "a weight is missing or isn't above zero" in err
