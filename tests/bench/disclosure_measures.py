"""Rows of `make bench-disclosure`: measures of risk."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from math import log10
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from policies.disclosure.classes import measure, per_row
from policies.disclosure.diversity import Sensitive
from policies.disclosure.encoding import Keys
from policies.disclosure.frequencies import Groups, frequencies
from policies.disclosure.individual import Risk, individual_risk
from policies.disclosure.suda import suda
from tests.bench import peers
from tests.bench.disclosure import Bench, Figure, Prepare

LEVELS: Final = {
    "sex": 2, "age": 18, "area": 43, "education": 8, "status": 6, "branch": 12, "origin": 5,
    "household": 7,
}  # fmt: skip
"""Eight keys, and how many values each has."""
GIB: Final = 1 << 30


def population(rows: int, seed: int = 1) -> dict[str, Any]:
    """Coded keys and one sensitive column `income`: skewed, and with age telling of status,
    branch and household, as people's do."""
    rng = np.random.default_rng(seed)

    def skewed(levels: int) -> Any:
        weight = 1 / np.arange(1, levels + 1) ** 0.8
        return rng.choice(levels, rows, p=weight / weight.sum())

    found = {name: skewed(levels) for name, levels in LEVELS.items()}
    follows = rng.random(rows) < 0.7
    for name in ("status", "branch", "household"):
        found[name] = np.where(follows, found["age"] * 5 % LEVELS[name], found[name])
    found["income"] = skewed(20)
    return {name: codes.astype(np.uint8) for name, codes in found.items()}


def texts(columns: dict[str, Any]) -> dict[str, Any]:
    """The same columns as texts."""
    return {
        name: pa.array([f"{name} {level}" for level in range(256)]).take(pa.array(codes))
        for name, codes in columns.items()
    }


def _classes(rows: int) -> Prepare:
    """All class measures: k to discernibility, l-diversity, t-closeness with both distances."""

    def prepare() -> Callable[[], Any]:
        columns = population(rows)
        income = columns.pop("income")

        def work() -> Any:
            return measure(Keys.of(columns), {"income": Sensitive.of(income, ordered=True)})[0].k

        return work

    return prepare


def _k(*, as_text: bool) -> Callable[[], Any]:
    columns = population(1_000_000)
    columns.pop("income")
    if as_text:
        columns = texts(columns)
    return lambda: per_row(Keys.of(columns))


def _pandas(*, as_text: bool, size: bool) -> Callable[[], Any]:
    columns = population(1_000_000)
    columns.pop("income")
    frame = pa.table(texts(columns)).to_pandas() if as_text else pd.DataFrame(columns)
    names = list(columns)
    if size:
        return lambda: frame.groupby(names).size()
    return lambda: frame.groupby(names)["sex"].transform("size")


def _klt() -> Callable[[], Any]:
    columns = texts(population(100_000))
    income = columns.pop("income")

    def work() -> Any:
        found, spread = measure(Keys.of(columns), {"income": Sensitive.of(income)})
        return {"k": found.k, "l": spread["income"].distinct, "t": spread["income"].t}

    return work


def _weighted() -> Callable[[], Any]:
    columns = population(1_000_000)
    columns.pop("income")
    weights = np.random.default_rng(3).uniform(1, 200, 1_000_000)

    def work() -> float:
        found = frequencies(Groups.of(Keys.of(columns)), weights)
        risk = individual_risk(found.f, found.F)
        return float(risk[found.groups.of_row].sum())  # for every row

    return work


def _everything() -> Callable[[], Any]:
    """All that grows with rows alone: the measures of classes, and individual risk by weights."""
    columns = population(10_000_000)
    income = columns.pop("income")
    weights = np.random.default_rng(3).uniform(1, 200, 10_000_000)

    def work() -> float:
        keys = Keys.of(columns)
        measure(keys, {"income": Sensitive.of(income, ordered=True)})
        found = frequencies(Groups.of(keys), weights)
        return Risk.of(individual_risk(found.f, found.F), found.records).expected

    return work


def _suda(rows: int) -> Prepare:
    def prepare() -> Callable[[], Any]:
        columns = population(rows)
        columns.pop("income")
        return lambda: suda(Groups.of(Keys.of(columns))).mean

    return prepare


SIDES: Final[dict[str, Prepare]] = {
    "k, coded": partial(_k, as_text=False),
    "k, texts": partial(_k, as_text=True),
    "pandas transform, coded": partial(_pandas, as_text=False, size=False),
    "pandas transform, texts": partial(_pandas, as_text=True, size=False),
    "pandas size": partial(_pandas, as_text=False, size=True),
    "classes 100k": _classes(100_000),
    "classes 1M": _classes(1_000_000),
    "classes 10M": _classes(10_000_000),
    "k, l, t 100k": _klt,
    "individual": _weighted,
    "everything 10M": _everything,
    "suda 100k": _suda(100_000),
    "suda 1M": _suda(1_000_000),
}


def _k_rows(bench: Bench) -> list[Figure]:
    what = "k per row, 1M × 8 coded keys"
    [time] = bench.ratio(what, "k, coded", "pandas transform, coded", "pandas", 0.4, 0.3)
    peer = bench.run("pandas transform, coded")
    memory = bench.run("k, coded").extra / max(peer.extra, 1)
    return [
        time,
        Figure("… its memory", None, f"pandas {peer.mib} MiB", memory, "×", 1.0, 0.5),
        *bench.ratio(
            "the same from string columns", "k, texts", "pandas transform, texts", "pandas", 1, 0.8
        ),
    ]


def _class_rows(bench: Bench) -> list[Figure]:
    what = "all class measures in one call, 1M coded"
    return bench.ratio(what, "classes 1M", "pandas size", "one pandas groupby.size", 0.6, 0.4)


def _many(bench: Bench) -> list[Figure]:
    found = []
    for what, side in (
        ("all measures of classes, 10M rows", "classes 10M"),
        ("… and individual risk with weights", "everything 10M"),
    ):
        found += bench.seconds(what, side, "–", 1, 0.6)
        memory = bench.run(side).extra / GIB
        found.append(Figure("… extra memory", None, "–", memory, "GiB", 1.5, 1))
    return found


def _growth(bench: Bench) -> list[Figure]:
    small, large = bench.run("classes 100k"), bench.run("classes 10M")
    exponent = log10(large.seconds / small.seconds) / 2
    beside = f"{small.seconds:.4f} s at 100k"
    return [Figure("growth, 100k to 10M", large, beside, exponent, "", 1.15, 1.05)]


def _pycanon(bench: Bench) -> list[Figure]:
    ours = bench.run("k, l, t 100k")
    columns = texts(population(100_000))
    python = peers.python("pycanon")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "population.csv"
        pyarrow.csv.write_csv(pa.table(columns), path)
        command = [python, peers.HERE / "pycanon_run.py", path, ",".join(LEVELS), "income"]
        said = subprocess.run(
            [str(one) for one in command], check=True, capture_output=True, text=True
        )
    theirs = json.loads(said.stdout.splitlines()[-1])
    agree = "same k, l, t"
    if any(abs(theirs[name] - ours.answer[name]) > 1e-9 for name in "klt"):
        agree = f"DIFFERS: {theirs} and {ours.answer}"
    times = theirs["seconds"] / ours.seconds
    beside = f"pycanon: {theirs['seconds']:.1f} s; {agree}"
    what = "k + l + t, 100k, encoding included"
    return [Figure(what, ours, beside, times, "times", 200, 500, at_least=True)]


def _individual(bench: Bench) -> list[Figure]:
    what = "individual risk with weights, 1M, per row"
    return bench.seconds(what, "individual", "sdcMicro 2.4 to 2.9 s (as given)", 0.3, 0.15)


def _suda_rows(bench: Bench) -> list[Figure]:
    what, given = "SUDA, all sizes, {} × 8 keys", "sdcMicro {} s (as given)"
    return [
        *bench.seconds(what.format("100k"), "suda 100k", given.format(1.37), 0.5, 0.2),
        *bench.seconds(what.format("1M"), "suda 1M", given.format(23.2), 3, 1.5),
    ]


ROWS: Final[dict[str, Callable[[Bench], list[Figure]]]] = {
    "k": _k_rows,
    "classes": _class_rows,
    "pycanon": _pycanon,
    "10m": _many,
    "suda": _suda_rows,
    "individual": _individual,
    "growth": _growth,
}
