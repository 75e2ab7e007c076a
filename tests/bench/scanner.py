"""How often the scanner misses and how often it is wrong: `python -m tests.bench.scanner`.

Columns of 500 rows from `tests.policies.planted`, with the processor time that a million rows take.
"""

import sys
import time

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from policies.scanner import scan
from tests.policies import planted

ROWS = 1_000_000


def main(columns: int = 25, seed: int = 11) -> None:
    """Measure and print."""
    measured = planted.measure(seed, columns)
    table = Table("what", "form", "columns", "missed", "false alarms", box=None)
    for row in measured.rows:
        table.add_row(row.kind, row.form, str(row.columns), str(row.wrong), "")
    for row in measured.alarms:
        table.add_row(row.kind, row.form, str(row.columns), "", str(row.wrong))
    table.add_row(
        "together", "", str(measured.planted + measured.clean),
        f"{measured.missed} of {measured.planted}", f"{measured.false_alarms} of {measured.clean}",
    )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    rng = np.random.default_rng(seed)
    names = [f"P1{number:027d}" for number in rng.permutation(ROWS)]
    million = pa.table(
        {
            "unit": names,
            "place": rng.integers(11000, 99999, ROWS).astype(str),
            "wage": rng.integers(0, 500, ROWS) * 100.0,
            "status": pa.array(["at work", "in school", "neither"]).take(
                pa.array(rng.integers(0, 3, ROWS))
            ),
        }
    )
    begun, wall = time.process_time(), time.perf_counter()
    findings = scan(million)
    used, passed = time.process_time() - begun, time.perf_counter() - wall
    console.print(
        f"{ROWS:,} rows × {million.num_columns} columns: {used:.2f} s of processor, "
        f"{passed:.2f} s by the clock; {len(findings)} findings"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
