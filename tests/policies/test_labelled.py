"""Stata and SPSS files: what comes back is what went in, with labels and reasons, and no trace."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyreadstat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PolicyError, labelled
from policies.coarsening import (
    LANGUAGES,
    MISSING_CODES,
    NOT_IN_SOURCE,
    NOT_LINKED,
    SUPPRESSED,
    parse_rule,
    shown,
)
from policies.labelled import Described
from policies.releases import Variable
from tests.conftest import missing as not_here

ROOT = Path(__file__).parents[2]
PLACES = parse_rule([{"geography": {"level": "province"}}]).names()
ROWS = 400


def table(rows: int = ROWS) -> pa.Table:
    """A column of each kind, with every reason for a missing value."""
    draw = np.random.default_rng(3)
    reasons = pa.array(
        [*[None] * 7, NOT_LINKED, SUPPRESSED, NOT_IN_SOURCE] * (rows // 10), pa.string()
    )
    gone = np.array([*[False] * 7, *[True] * 3] * (rows // 10), bool)

    def chosen(values: list[Any], kind: Any) -> Any:
        picked = np.array(values, object)[draw.integers(0, len(values), rows)]
        return pa.array(picked, kind, mask=gone)

    columns = {
        "unit": pa.array([f"P1{number:024d}" for number in range(rows)], pa.string()),
        **shown("age_class", chosen(["<15", "15-19", ">=20"], pa.string()), reasons),
        **shown("province", chosen(["10000", "04000", "20001"], pa.string()), reasons),
        **shown("statut_été", chosen(["W", "N"], pa.string()), reasons),
        **shown("wage", chosen([0.0, -500.0, 2500.5], pa.float64()), reasons),
        **shown("if", chosen([True, False], pa.bool_()), reasons),
        **shown("_n", chosen([0, 3, -1], pa.int64()), reasons),
        **shown("quarter", chosen(["2024Q3", "2024Q4"], pa.string()), reasons),
        **shown("note", chosen(["œuvre à Liège", "Größe"], pa.string()), reasons),
    }
    return pa.table(columns)


DESCRIBED = {
    "unit": Described({"en": "Pseudonym", "nl": "Pseudoniem"}, {}),
    "age_class": Described({"nl": "Leeftijdsklasse"}, {"<15": {}, "15-19": {}, ">=20": {}}),
    "province": Described({"fr": "Province", "de": "Provinz"}, PLACES),
    "statut_été": Described({"fr": "Statut d'été"}, {"N": {"fr": "non"}, "W": {"fr": "occupé"}}),
    "wage": Described({"en": "Wage " * 40}, {}),
    "if": Described({"en": "Condition"}, {}),
    "_n": Described({"en": "Number"}, {}),
    "quarter": Described({"en": "Quarter"}, {}),
    "note": Described({"en": "Note"}, {"something else": {}}),
}


def planned(language: str = "en", **changes: Any) -> labelled.Plan:
    parts: dict[str, Any] = {
        "table": table(),
        "described": DESCRIBED,
        "title": {"nl": "Jongeren é"},
    }
    return labelled.plan(**{**parts, **changes}, language=language)


def read(data: bytes, how: Any, **settings: Any) -> tuple[pandas.DataFrame, Any]:
    descriptor = os.memfd_create("read")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        return how(f"/proc/self/fd/{descriptor}", **settings)  # type: ignore[no-any-return]


STATA, SPSS = labelled.stata(planned()), labelled.spss(planned())


def originals() -> dict[str, list[Any]]:
    """Every column with its codes in the place of what is missing, status columns apart."""
    found = {}
    source = table()
    for name in DESCRIBED:
        values = source[name].to_pylist()
        if name + "_status" in source.column_names:
            reasons = source[name + "_status"].to_pylist()
            values = [r if v is None else v for v, r in zip(values, reasons, strict=True)]
        found[name] = values
    return found


def decoded(
    frame: pandas.DataFrame, names: Mapping[str, str], numbers: Any, reasons: Any
) -> dict[str, list[Any]]:
    """The columns of a file that was read back, in the codes of the release."""
    found = {}
    for name, other in names.items():
        back = {number: code for code, number in numbers(name).items()}
        back |= reasons(other)
        found[name] = [back.get(value, value) for value in frame[other].tolist()]
    return found


def numbers_of(name: str) -> dict[Any, int]:
    known = planned().of(name)["numbers"]
    return {True: 1, False: 0} if name == "if" else known


def test_a_stata_file_comes_back_as_it_went() -> None:
    """S11: every value, and why a number is missing, as Stata's extended missing values."""
    frame, meta = read(STATA, pyreadstat.read_dta, user_missing=True)
    names = planned().names["dta"]
    assert list(frame.columns) == list(names.values())
    letters = dict(zip("abc", MISSING_CODES, strict=True))
    assert decoded(frame, names, numbers_of, lambda _: letters) == originals()
    assert meta.missing_user_values["wage"] == ["a", "b", "c"]
    assert meta.variable_value_labels["wage"]["c"] == MISSING_CODES[SUPPRESSED]["en"]
    with_pandas = pandas.read_stata(
        io.BytesIO(STATA), convert_missing=True, convert_categoricals=False
    )
    assert {str(value) for value in with_pandas["v_n_v"]} == {
        "0.0",
        "3.0",
        "-1.0",
        ".a",
        ".b",
        ".c",
    }


def test_an_spss_file_comes_back_as_it_went() -> None:
    """S11: the same with user-defined missing values, which analyses leave out."""
    frame, meta = read(SPSS, pyreadstat.read_sav, user_missing=True)
    names = planned().names["sav"]

    def stands(name: str) -> dict[float, str]:
        lows = [one["lo"] for one in meta.missing_ranges.get(name, [])]
        return dict(zip(lows, MISSING_CODES, strict=bool(lows)))

    assert stands("age_class") == {-1: NOT_IN_SOURCE, -2: NOT_LINKED, -3: SUPPRESSED}
    assert list(stands("wage")) == [-999999991, -999999992, -999999993]
    assert decoded(frame, names, numbers_of, stands) == originals()
    analysed, _ = read(SPSS, pyreadstat.read_sav)
    assert analysed["wage"].min() == -500
    assert analysed["age_class"].isna().sum() == ROWS * 3 // 10
    assert meta.variable_value_labels["age_class"][-2] == MISSING_CODES[NOT_LINKED]["en"]


@pytest.mark.parametrize(("data", "how"), [(STATA, "read_dta"), (SPSS, "read_sav")])
def test_variables_and_values_have_labels(data: bytes, how: str) -> None:
    """V05: titles and codes; accents survive; what is too long is cut and says so."""
    _, meta = read(data, getattr(pyreadstat, how))
    assert meta.file_label == "Jongeren é"
    titles = meta.column_names_to_labels
    assert (titles["unit"], titles["statut__t"]) == ("Pseudonym", "Statut d'été")
    assert titles["wage"].startswith("Wage Wage")
    assert titles["wage"].endswith("…")
    labels = meta.variable_value_labels
    assert labels["province"][4000].startswith("04000: ")
    assert labels["age_class"][2] == "15-19"
    assert labels["statut__t"][2] == "W: occupé"
    assert (labels["if_v"][0], labels["if_v"][1]) == ("no", "yes")
    assert "note" not in labels


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_are_in_the_language_asked_for(language: str) -> None:
    """V05: in its own words where there are any, else in another language's."""
    _, meta = read(labelled.spss(planned(language)), pyreadstat.read_sav)
    assert (
        meta.variable_value_labels["wage"][-999999992]
        == ({str(at): text for at, text in MISSING_CODES[NOT_LINKED].items()}[language])
    )
    title = {"fr": "Province", "de": "Provinz"}.get(language, "Province")
    assert meta.column_names_to_labels["province"] == title
    assert meta.column_names_to_labels["unit"] == (
        "Pseudoniem" if language == "nl" else "Pseudonym"
    )


# --- repeatable, and without a trace -------------------------------------------------------------


def test_the_same_table_is_the_same_bytes_whenever_it_is_written() -> None:
    """V14: both formats hold the time of writing; theirs is always the same."""
    time.sleep(1.1)  # the SPSS writer's clock counts seconds
    assert labelled.stata(planned()) == STATA
    assert labelled.spss(planned()) == SPSS
    assert b"<timestamp>\x1101 Jan 1970 00:00</timestamp>" in STATA[:300]
    assert SPSS[92:109] == b"01 Jan 7000:00:00"
    year = str(time.gmtime().tm_year).encode()
    assert year not in STATA[:300] + SPSS[:200]


def test_a_writer_that_moves_its_clock_is_refused() -> None:
    """So that a new version of the library can't make packages differ in silence."""
    for data, place in ((b"", -1), (b"x" * 200, 92)):
        with pytest.raises(PolicyError, match="where it puts the time"):
            labelled._dated(data, place, b"01 Jan 1970 00:00")


WRITE = """
from tests.policies.test_labelled import STATA, SPSS
print(len(STATA), len(SPSS))
"""


def test_no_plaintext_touches_a_disk() -> None:
    """K: the writer is watched by the kernel: nothing is opened for writing but memory."""
    strace = shutil.which("strace")
    if strace is None:
        not_here("strace is not installed")
    watched = "trace=open,openat,creat,rename,mkdir,memfd_create"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(strace), "-f", "-e", watched, sys.executable, "-c", WRITE],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(len(STATA)), str(len(SPSS))]
    calls = re.findall(r'^.*?(?:open|openat|creat|rename|mkdir)\(.*"(.+?)".*$', done.stderr, re.M)
    assert len(calls) > 50
    lines = [
        line for line in done.stderr.splitlines() if re.search(r"O_WRONLY|O_RDWR|O_CREAT", line)
    ]
    paths = {found[1] for line in lines if (found := re.search(r'"(.+?)"', line))}
    assert paths
    assert all(re.fullmatch(r"/proc/self/fd/\d+|/dev/null", path) for path in paths)
    assert "memfd_create(" in done.stderr


# --- names and numbers ---------------------------------------------------------------------------

STATA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
SPSS_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_]{0,62}[A-Za-z0-9])?")


@given(
    st.lists(
        st.one_of(
            st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True),
            st.sampled_from(
                ["if", "IF", "_n", "str20", "with", "été", "x" * 40 + "a", "x" * 40 + "b"]
            ),
        ),
        unique=True,
        min_size=1,
    )
)
def test_names_are_ones_that_the_programs_take(names: list[str]) -> None:
    """Limits of 32 and 64 characters, reserved words, capitals that don't tell names apart."""
    for longest, pattern in ((32, STATA_NAME), (64, SPSS_NAME)):
        found = labelled._names(names, longest)
        assert list(found) == names
        assert len({other.lower() for other in found.values()}) == len(names)
        for other in found.values():
            assert pattern.fullmatch(other)
            assert other.lower() not in labelled._RESERVED
            assert not re.fullmatch(r"str\d+", other.lower())
    plain = [name for name in names if re.fullmatch("[a-z]{8,20}", name)]
    assert all(labelled._names(plain, 32)[name] == name for name in plain)


def test_the_dictionary_tells_what_was_renamed_and_numbered() -> None:
    plan = planned()
    assert plan.of("if") == {
        "names": {"dta": "if_v", "sav": "if_v"},
        "numbers": {"false": 0, "true": 1},
    }
    assert plan.of("age_class") == {"names": {}, "numbers": {"<15": 1, "15-19": 2, ">=20": 3}}
    assert plan.of("wage_status") == {}
    assert plan.of("province")["numbers"]["04000"] == 4000


def test_a_number_that_stands_for_missing_is_no_value() -> None:
    """SPSS: a column that holds the usual stand-ins itself gets others."""
    values = pa.array([-999_999_991.0, None])
    columns = {"unit": pa.array(["a", "b"]), **shown("x", values, pa.array([None, NOT_LINKED]))}
    made = labelled.plan(
        pa.table(columns), {"unit": Described({}, {}), "x": Described({}, {})}, {}, "en"
    )
    frame, meta = read(labelled.spss(made), pyreadstat.read_sav, user_missing=True)
    assert frame["x"].tolist() == [-999_999_991, -9_999_999_920]
    assert meta.missing_ranges["x"][0]["lo"] == -9_999_999_910


def test_whole_numbers_too_large_for_a_double_are_text() -> None:
    columns = {
        "unit": pa.array(["a", "b"]),
        **shown("x", pa.array([2**53 + 1, None]), pa.array([None, NOT_LINKED])),
    }
    made = labelled.plan(
        pa.table(columns), {"unit": Described({}, {}), "x": Described({}, {})}, {}, "en"
    )
    for data, how in (
        (labelled.stata(made), pyreadstat.read_dta),
        (labelled.spss(made), pyreadstat.read_sav),
    ):
        assert read(data, how)[0]["x"].tolist() == [str(2**53 + 1), NOT_LINKED]


def test_an_empty_table_can_be_written() -> None:
    """Its columns are of the same kind, with the same labels; `note` has codes of no list."""
    for write, how in (
        (labelled.stata, pyreadstat.read_dta),
        (labelled.spss, pyreadstat.read_sav),
    ):
        frame, empty = read(write(planned(table=table(0))), how)
        assert frame.shape == (0, len(DESCRIBED))
        _, full = read(write(planned()), how)
        for name in {*full.column_names} - {"note"}:
            kinds = [about.readstat_variable_types[name] for about in (empty, full)]
            assert kinds[0] == kinds[1], name
            labels = [about.variable_value_labels.get(name) for about in (empty, full)]
            assert labels[0] == labels[1], name


def test_codes_of_a_variable_are_in_the_order_of_its_rule() -> None:
    """The same rule gives the same numbers in every release."""
    rule = parse_rule([{"age_class": {"reference_date": "2024-12-31", "breaks": [15, 20]}}])
    born = Variable("units", "age", {}, "birth_date", rule=rule)
    assert list(born.known) == ["<15", "15-19", ">=20"]
    declared = Variable("units", "s", {}, "code", rule=rule, codes={"W": {}, "A": {}})
    assert list(declared.known) == ["A", "W"]
    assert list(Variable("units", "unit", {}, "pseudonym").known) == []
