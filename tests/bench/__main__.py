"""`make bench`: the work that grows with the data, beside the obvious way of doing it, in one run.

Ratios are what counts: both sides run on the same machine, one after the other. Never a timed test.
"""

import hashlib
import hmac
import io
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from api.demo.extracts import extracts
from api.demo.population import population
from keyvault.pseudonyms import pseudonyms
from keyvault.secret import FileKey
from linkage.engine import Delivery, Plan, link, reference_records
from linkage.extracts import check
from linkage.spine import Spine
from policies import disclosure
from tests.linkage.helpers import halves

ROWS = 1_000_000


def seconds(work: Callable[[], Any]) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def bench_pseudonyms() -> tuple[str, float, str, float]:
    """A column of subject ids to texts, against HMAC in a loop."""
    raw = np.random.default_rng(1).bytes(16 * ROWS)
    ids = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), ROWS, [None, pa.py_buffer(raw)])
    key = FileKey(bytes(32), "pseudonym", "bench")
    pieces = [raw[start : start + 16] for start in range(0, len(raw), 16)]
    loop = seconds(lambda: [hmac.digest(bytes(32), piece, hashlib.sha256) for piece in pieces])
    return (
        f"{ROWS:,} pseudonyms as text",
        seconds(lambda: pseudonyms(key, "person", 1, ids)),
        "HMAC in a loop, no text",
        loop,
    )


def bench_cells() -> tuple[str, float, str, float]:
    """Distinct units per combination of keys, against pandas."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "age_class": rng.choice(["15-19", "20-24", "25-29"], ROWS),
            "arrondissement": rng.choice([f"{code}000" for code in range(11, 54)], ROWS),
            "unit": rng.integers(0, ROWS // 2, ROWS),
        }
    )
    keys = pa.Table.from_pandas(frame[["age_class", "arrondissement"]], preserve_index=False)
    units = pa.array(frame["unit"])
    return (
        f"distinct units per cell, {ROWS:,} rows",
        seconds(lambda: disclosure.cells(keys, units)),
        "pandas groupby.nunique",
        seconds(lambda: frame.groupby(["age_class", "arrondissement"])["unit"].nunique()),
    )


def bench_check() -> tuple[str, float, str, float]:
    """Strict reading with a fault report, against pandas reading text without any check."""
    file = extracts(population(60_000, 1), "2024")["social-security"]

    def by_pandas() -> Any:
        return pd.read_csv(
            io.BytesIO(file.content), dtype=str, keep_default_na=False, sep=None, engine="python",
            encoding="latin-1",
        )  # fmt: skip

    rows = file.content.count(b"\n") - 1
    return (
        f"check an extract of {rows:,} rows",
        seconds(lambda: check(io.BytesIO(file.content), file.dataset)),
        "pandas.read_csv (python engine), unchecked",
        seconds(by_pandas),
    )


def bench_link() -> tuple[str, float, str, float]:
    """A first delivery and a second one against its spine; the second is shown beside the first."""
    files = extracts(population(20_000, 1), "2024")

    def coming(name: str) -> Delivery:
        file = files[name]
        identifiers, _ = halves(io.BytesIO(file.content), file.dataset)
        return Delivery(name, name, "2024", reference_records(identifiers, file.dataset))

    first, second = coming("child-benefit"), coming("social-security")
    plan, empty = Plan.default(), Spine.empty()
    result = link(first, empty, plan)
    raw = np.random.default_rng(4).bytes(16 * result.groups.num_rows)
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), result.groups.num_rows, [None, pa.py_buffer(raw)]
    )
    spine = empty.with_segment(empty.admit(first, result, ids))
    return (
        f"link {second.records.num_rows:,} references to a spine of {spine.records().num_rows:,}",
        seconds(lambda: link(second, spine, plan)),
        f"link {first.records.num_rows:,} references to an empty one",
        seconds(lambda: link(first, empty, plan)),
    )


def main() -> None:
    """Print every comparison as a row."""
    table = Table("work", "seconds", "beside", "seconds", "ratio", "peak MiB so far", box=None)
    for bench in (bench_pseudonyms, bench_cells, bench_check, bench_link):
        what, ours, beside, theirs = bench()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        table.add_row(
            what, f"{ours:.3f}", beside, f"{theirs:.3f}", f"{ours / theirs:.2f} ×", str(peak)
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
