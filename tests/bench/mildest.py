"""Rows of `make bench-disclosure`: the mildest change, and coarsening by rules."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from linkage import files
from policies import classifications
from policies.classifications import activities
from policies.disclosure.hierarchies import Hierarchy
from policies.disclosure.lattice import Demand, Suggestion, suggest
from policies.disclosure.suppression import suppress
from policies.files import FileRules
from tests.bench.disclosure import Bench, Figure, Prepare

ARX: Final = "ARX: 1.7 to 2.8 s as a process, 0.37 to 0.41 s warm"
MILLION: Final = 1_000_000
DEMAND: Final = Demand(5, suppression=0.05)
ADULT: Final = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "adult"
ADULT_SHAPE: Final = {
    "sex": (2, 1), "age": (74, 20, 10, 5, 1), "race": (5, 1), "marital-status": (7, 2, 1),
    "education": (16, 8, 3, 1), "native-country": (41, 5, 1), "workclass": (8, 3, 1),
    "occupation": (14, 3, 1),
}  # fmt: skip
"""The eight keys of ARX's example, values at each level: 6,480 nodes."""
SHAPE = {
    "municipality": (565, 43, 11, 3, 1),
    "birth_year": (100, 50, 20, 10, 4, 1),
    "activity": (88, 38, 21, 10, 1),
    "nationality": (120, 12, 4, 1),
    "education": (24, 9, 3, 1),
    "household_type": (16, 8, 3, 1),
    "marital_status": (6, 3, 1),
    "sex": (2, 1),
}
"""Values of each of eight keys at each level: 6 × 5 × 5 × 4 × 4 × 4 × 3 × 2 = 57,600 nodes."""


def levels(sizes: tuple[int, ...]) -> list[list[str]]:
    """Rows of a hierarchy: values `0` … at the lowest level; each level joins neighbours of the one
    before, evenly."""
    rows = []
    for leaf in range(sizes[0]):
        row, value = [f"{leaf}"], leaf
        for level, (before, size) in enumerate(pairwise(sizes), 1):
            value = value * size // before
            row.append("*" if size == 1 else f"{level}:{value}")
        rows.append(row)
    return rows


def hierarchy(key: str, sizes: tuple[int, ...]) -> Hierarchy:
    return Hierarchy.of(key, levels(sizes))


def told(found: Suggestion) -> dict[str, Any]:
    """What a row prints of a suggestion."""
    return {"checked": found.nodes_checked, "total": found.nodes_total, "loss": found.best.loss}


def _adult() -> Callable[[], Any]:
    """Reading the file and its hierarchies, and the search: ARX's files where they are at hand,
    else random ones of their shape."""
    folder = ADULT
    if not ADULT.is_dir():
        folder = Path(tempfile.mkdtemp())
        rng = np.random.default_rng(3)
        lines = [";".join(ADULT_SHAPE)]
        skewed = {key: 1 / np.arange(1, sizes[0] + 1) for key, sizes in ADULT_SHAPE.items()}
        drawn = [rng.choice(len(p), 30_162, p=p / p.sum()) for p in skewed.values()]
        lines += [";".join(map(str, row)) for row in zip(*drawn, strict=True)]
        (folder / "adult.csv").write_text("\n".join(lines))
        for key, sizes in ADULT_SHAPE.items():
            text = "\n".join(";".join(row) for row in levels(sizes))
            (folder / f"adult_hierarchy_{key}.csv").write_text(text)

    def work() -> dict[str, Any]:
        table = files.read(folder / "adult.csv", list(ADULT_SHAPE))
        keys = {
            key: (
                table[key],
                Hierarchy.parse(key, (folder / f"adult_hierarchy_{key}.csv").read_text("utf-8")),
            )
            for key in ADULT_SHAPE
        }
        return told(suggest(keys, DEMAND))

    return work


def _million() -> Callable[[], Any]:
    columns = people(MILLION)
    keys = {key: (column, hierarchy(key, SHAPE[key])) for key, column in columns.items()}
    return lambda: told(suggest(keys, DEMAND))


def _suppression() -> Callable[[], Any]:
    """100,000 rows and five keys, few values common and many rare."""
    rng = np.random.default_rng(1)
    keys = {}
    for values, skew in ((2, 0.0), (7, 0.5), (10, 1.0), (25, 1.0), (60, 1.0)):
        chances = 1 / np.arange(1, values + 1) ** skew
        drawn = rng.choice(values, 100_000, p=chances / chances.sum())
        keys[f"key{values}"] = pa.array([str(one) for one in range(values)]).take(pa.array(drawn))
    return lambda: {"cells": suppress(keys, 3).cells}


RULES: Final = {
    "period": "2025",
    "variables": [
        {"name": "born", "type": "birth_date", "as": "age_class",
         "rule": [{"age_class": {"reference_date": "2025-01-01", "breaks": [18, 25, 45, 65]}}]},
        {"name": "died", "type": "date", "as": "quarter", "rule": [{"quarter": {}}]},
        {"name": "place", "type": "municipality", "as": "province",
         "rule": [{"geography": {"level": "province", "situation": 2025}}]},
        {"name": "work", "type": "postcode", "as": "work_region",
         "rule": [{"geography": {"level": "region", "situation": 2025}}]},
        {"name": "activity", "type": "nace", "rule": [{"nace": {"level": "A38", "version": 2025}}]},
        {"name": "wage", "type": "amount",
         "rule": [{"round": {"to": 100}}, {"top_code": {"at": 10_000}}]},
        {"name": "benefit", "type": "amount", "as": "benefit_class",
         "rule": [{"classes": {"breaks": [0, 1000, 2500]}}]},
        {"name": "staff", "type": "employees", "rule": [{"size_class": {"scheme": "rsz"}}]},
        {"name": "status", "type": "code", "as": "works", "rule": [{"yes_no": {"codes": ["W"]}}]},
        {"name": "sex", "type": "code", "rule": [{"keep": {}}]},
    ],
}  # fmt: skip


def _ten_columns(rows: int) -> Path:
    """A Parquet file of `rows` people, ten columns."""
    rng = np.random.default_rng(9)

    def some(values: list[str]) -> Any:
        return pa.DictionaryArray.from_arrays(
            pa.array(rng.integers(0, len(values), rows, np.int32)), pa.array(values)
        )

    first = date(1925, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
    table = pa.table(
        {
            "born": pa.array(first + rng.integers(0, 36_500, rows, np.int32)).cast(pa.date32()),
            "died": pa.array(18_000 + rng.integers(0, 2_000, rows, np.int32)).cast(pa.date32()),
            "place": some(classifications.lasting("municipality")),
            "work": some(classifications.lasting("postcode")),
            "activity": some(activities.lasting()),
            "wage": pa.array(rng.integers(100_000, 1_500_000, rows) / 100),
            "benefit": pa.array(rng.integers(0, 400_000, rows) / 100),
            "staff": pa.array(rng.integers(0, 1_500, rows)),
            "status": some(["W", "Z", "U", "P"]),
            "sex": some(["F", "M"]),
        }
    )
    plain = [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    path = Path(tempfile.mkdtemp()) / "people.parquet"
    parquet.write_table(table.cast(pa.schema(plain)), path)
    return path


def _reading(rows: int) -> Callable[[], Any]:
    path = _ten_columns(rows)
    return lambda: files.read(path, FileRules.from_mapping(RULES).reads).num_rows


def _coarsening(rows: int) -> Callable[[], Any]:
    path, rules = _ten_columns(rows), FileRules.from_mapping(RULES)
    table = files.read(path, rules.reads)
    path.unlink()
    return lambda: rules.apply(table).num_rows


SIDES: Final[Mapping[str, Prepare]] = {
    "mildest-adult": _adult,
    "mildest-1m": _million,
    "suppression-100k": _suppression,
    "reading-10m": partial(_reading, 10 * MILLION),
    "coarsening-10m": partial(_coarsening, 10 * MILLION),
}


def _adult_row(bench: Bench) -> list[Figure]:
    ran = bench.run("mildest-adult")
    what = "optimum, k = 5, 5% suppression, Adult, 8 keys, with loading"
    nodes = f"nodes looked at, of {ran.answer['total']:,}; second best proven too"
    return [
        Figure(what, ran, ARX, ran.seconds, "s", 0.4, 0.25),
        Figure(nodes, None, "ARX: 844", ran.answer["checked"], "nodes", 844, 281),
    ]  # fmt: skip


def _million_row(bench: Bench) -> list[Figure]:
    ran = bench.run("mildest-1m")
    what = (
        f"the same, 1M × 8 keys ({ran.answer['total']:,} nodes, {ran.answer['checked']} looked at)"
    )
    return [
        Figure(what, ran, "ARX: 80 s", ran.seconds, "s", 20, 10),
        Figure("its memory on top of the data", ran, "", ran.extra / (1 << 30), "GiB", 1.5, 1.5),
    ]


def _suppression_row(bench: Bench) -> list[Figure]:
    ran = bench.run("suppression-100k")
    given = "sdcMicro (on its own data): 52 s, 6,244 cells"
    return [
        Figure(
            "local suppression to k = 3, 100k × 5 keys", ran, given, ran.seconds, "s", 0.2, 0.05
        ),
        Figure("cells suppressed", None, given, ran.answer["cells"], "cells", 6244, 6244),
    ]


def _coarsening_row(bench: Bench) -> list[Figure]:
    return bench.ratio(
        "coarsening of ten columns, 10M rows", "coarsening-10m", "reading-10m",
        "reading them (Parquet)", 2.0, 1.0,
    )  # fmt: skip


ROWS: Final[Mapping[str, Callable[[Bench], list[Figure]]]] = {
    "mildest-adult": _adult_row,
    "mildest-1m": _million_row,
    "suppression": _suppression_row,
    "coarsening": _coarsening_row,
}


def people(rows: int, seed: int = 5) -> dict[str, Any]:
    """A column for each key of `SHAPE`: few common values, many rare ones; nationality goes with
    the place, marital status and household with the age."""
    rng = np.random.default_rng(seed)

    def drawn(size: int, skew: float) -> Any:
        chances = 1 / np.arange(1, size + 1) ** skew
        return rng.permutation(size)[rng.choice(size, rows, p=chances / chances.sum())]

    sizes = {key: levels[0] for key, levels in SHAPE.items()}
    codes = {
        "municipality": drawn(sizes["municipality"], 0.5),
        "birth_year": np.minimum(rng.binomial(99, 0.4, rows) + rng.integers(-39, 40, rows), 99)
        % 100,
        "activity": drawn(sizes["activity"], 0.8),
        "nationality": drawn(sizes["nationality"], 2.2),
        "education": drawn(sizes["education"], 0.7),
        "household_type": drawn(sizes["household_type"], 0.9),
        "marital_status": drawn(sizes["marital_status"], 1.0),
        "sex": drawn(2, 0.0),
    }
    old = codes["birth_year"] < 20
    codes["marital_status"] = np.where(old & (rng.random(rows) < 0.8), 5, codes["marital_status"])
    codes["activity"] = np.where(old, 87, codes["activity"])
    near = codes["municipality"] % 7 == 0
    codes["nationality"] = np.where(near & (rng.random(rows) < 0.3), 11, codes["nationality"])
    return {
        key: pa.DictionaryArray.from_arrays(
            pa.array(values.astype(np.int32)), pa.array([str(one) for one in range(sizes[key])])
        )
        for key, values in codes.items()
    }
