"""The made-up country of `make bench-linkage`: the same for a seed, true to its truth and rates."""

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.bench.errors import Errors, Luck, file_b
from tests.bench.population import CASES, Chunk, Recipe, population, write

SMALL = Recipe(left=6_000, right=5_000)
PERFECT = Errors(
    **{one.name: 1.0 if one.name == "worse" else 0.0 for one in fields(Errors)}  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    """The small country, made in one piece."""
    (only,) = population(SMALL, 3)
    return only


def _side_by_side(chunk: Chunk) -> pa.Table:
    """True pairs with both rows' columns."""
    tables = chunk.tables
    return tables["hard"].join(tables["a"], "rec_id").join(tables["b"], "record", right_suffix="_b")


def _where(table: pa.Table, flag: str) -> list[dict[str, Any]]:
    return table.filter(table[flag]).to_pylist()


def test_the_same_seed_gives_the_same_files(chunk: Chunk) -> None:
    """And another seed others."""
    (again,), (other,) = population(SMALL, 3), population(SMALL, 4)
    assert again.tables == chunk.tables
    assert other.tables["a"] != chunk.tables["a"]


def test_sizes_overlap_and_truth_agree(chunk: Chunk) -> None:
    """Each row has one id and one person; so many persons are in both files."""
    tables = chunk.tables
    assert (tables["a"].num_rows, tables["b"].num_rows) == (6_000, 5_000)
    for file, column in (("a", "rec_id"), ("b", "record")):
        assert tables[f"truth_{file}"][column].equals(tables[file][column])
        assert pc.count_distinct(tables[file][column]).as_py() == tables[file].num_rows
    persons = [set(tables[truth]["person"].to_pylist()) for truth in ("truth_a", "truth_b")]
    both = persons[0] & persons[1]
    assert len(both) == SMALL.common == 4_000
    assert set(tables["hard"]["person"].to_pylist()) == both
    assert tables["hard"].column_names == ["person", "rec_id", "record", *CASES]


def test_chunks_are_one_country() -> None:
    """Made in parts, ids and national numbers still occur once; the totals are those asked for."""
    parts = list(population(replace(SMALL, errors_a=PERFECT), 5, chunk=2_000))
    assert len(parts) > 2
    a = pa.concat_tables(part.tables["a"] for part in parts)
    assert a.num_rows == 6_000
    assert pc.count_distinct(a["rec_id"]).as_py() == 6_000
    assert pc.count_distinct(a["nn"]).as_py() == 6_000
    persons = pa.concat_tables(part.tables["truth_a"] for part in parts)["person"]
    assert pc.count_distinct(persons).as_py() == 6_000


def test_rates_of_errors_are_near_their_parameters(chunk: Chunk) -> None:
    """Marks of file B, a habit or an error, within four standard deviations (clusters included)."""
    errors, rows = file_b(), 5_000
    for name in (
        "typo_first", "typo_last", "typo_street", "initial", "swapped", "first_january",
        "missing_birth", "missing_sex", "wrong_number", "missing_street", "missing_nn",
        "abbreviated",
    ):  # fmt: skip
        rate = getattr(errors, name)
        found = chunk.marks_b[name].mean()
        assert abs(found - rate) < 4 * np.sqrt(2 * rate / rows) + 0.02 * rate, name


def test_errors_pile_up_in_the_same_rows() -> None:
    """A row with one slip has another one twice as often as the rest, at the rate asked for."""
    luck = Luck(np.random.default_rng(1), 400_000, file_b())
    one, other = luck.hits(0.02), luck.hits(0.03)
    assert abs(one.mean() - 0.02) < 0.002
    assert abs(other.mean() - 0.03) < 0.002
    assert 1.6 < other[one].mean() / other[~one].mean() < 2.4


def test_without_errors_and_without_life_both_files_say_the_same() -> None:
    """So every difference comes from a parameter."""
    still = {one.name: 0.0 for one in fields(Recipe(1, 1).life)}
    recipe = replace(
        SMALL, errors_a=PERFECT, errors_b=PERFECT, life=replace(SMALL.life, **still), bis=0.0
    )
    (made,) = population(recipe, 6)
    pairs = _side_by_side(made)
    rows = pairs.to_pylist()
    assert len(rows) == 4_000
    for row in rows:
        assert row["first_name"].upper() == row["voornaam"]
        assert row["last_name"].upper().replace("-", " ") == row["naam"].replace("-", " ")
        assert row["birth_date"] == "-".join(reversed(row["geboortedatum"].split("/")))
        assert row["nn"].replace(".", "").replace("-", "") == row["insz"]
        assert (row["sex"], row["geslacht"]) in {("M", "1"), ("F", "2")}
        assert row["street"].upper() == row["straat"]
        assert row["postcode"] == row["postcode_b"]
        assert not row["moved"]
        assert not row["birth_date_differs"]


def test_labels_of_hard_cases_say_what_can_be_seen(chunk: Chunk) -> None:
    """Each flag against the rows themselves."""
    pairs = _side_by_side(chunk)
    swapped = [row for row in _where(pairs, "swapped_names") if row["naam"] and row["last_name"]]
    crossed = sum(row["voornaam"] == row["last_name"].upper() for row in swapped)
    assert swapped
    assert crossed > len(swapped) / 3  # slips and accents blur the others
    for row in _where(pairs, "birth_date_differs"):
        assert row["birth_date"] != "-".join(reversed(row["geboortedatum"].split("/")))
    for row in _where(pairs, "birth_date_default_or_missing"):
        dates = row["birth_date"] or "", row["geboortedatum"] or ""
        assert not all(dates) or any("00" in d or "01-01" in d or "01/01" in d for d in dates)
    for row in _where(pairs, "bis_became_national"):
        if row["nn"] and row["insz"]:
            assert row["nn"].replace(".", "").replace("-", "") != row["insz"]
    assert len(_where(pairs, "partner_name")) > 20
    moved = pc.sum(pairs["moved"]).as_py() / pairs.num_rows
    assert 0.15 < moved < 0.35


def test_families_live_together() -> None:
    """Twins, parents and children, and sons named after their father, at one address."""
    recipe = replace(SMALL, errors_a=PERFECT, named_after_parent=0.05)
    (made,) = population(recipe, 7)
    a, hard = made.tables["a"].to_pylist(), made.tables["hard"].to_pylist()
    homes = Counter((row["postcode"], row["street"], row["house_no"]) for row in a)
    assert 1.5 < len(a) / len(homes) < 2.6
    full = Counter(
        (row["first_name"].split()[0], row["last_name"], row["street"], row["house_no"])
        for row in a
    )
    assert sum(count - 1 for count in full.values()) > 10
    births = Counter(
        (row["birth_date"], row["last_name"], row["street"], row["house_no"]) for row in a
    )
    twins = sum(count == 2 for count in births.values())
    assert twins > 10
    assert sum(row["namesake_at_address"] for row in hard) > 10
    assert sum(row["twin"] for row in hard) > 10


def test_alone_there_are_no_families() -> None:
    """One person per household: no twin, no namesake, hardly two of one last name at an address."""
    (made,) = population(replace(SMALL, households="alone", errors_a=PERFECT), 8)
    assert not pc.any(made.tables["hard"]["twin"]).as_py()
    rows = made.tables["a"].to_pylist()
    shared = Counter((row["street"], row["house_no"], row["last_name"]) for row in rows)
    assert sum(count > 1 for count in shared.values()) < 10


def test_spells_are_several_rows_of_a_person() -> None:
    """File B counts persons; each has a row or more, and every true pair is labelled."""
    (made,) = population(replace(SMALL, spells=3.0), 9)
    rows = made.tables["b"].num_rows
    assert 14_000 < rows < 16_000
    assert pc.count_distinct(made.tables["truth_b"]["person"]).as_py() == 5_000
    counts = Counter(made.tables["truth_b"]["person"].to_pylist())
    known = set(made.tables["truth_a"]["person"].to_pylist())
    pairs = sum(count for person, count in counts.items() if person in known)
    assert made.tables["hard"].num_rows == pairs


def test_files_are_written_in_both_forms(tmp_path: Path) -> None:
    """Parquet and CSV say the same."""
    write(tmp_path, Recipe(left=300, right=300), 1, csv=True)
    assert len(list(tmp_path.iterdir())) == 10
    parquet = pq.read_table(tmp_path / "b.parquet")
    options = pyarrow.csv.ConvertOptions(
        column_types={**dict.fromkeys(parquet.column_names, pa.string()), "record": pa.int64()},
        strings_can_be_null=True,
    )
    read = pyarrow.csv.read_csv(tmp_path / "b.csv", convert_options=options)
    assert read.equals(parquet)
