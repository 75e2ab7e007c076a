"""How `make bench-linkage` scores links: against small truths that can be counted by hand."""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bench.linkage import FailedError, Figure, Task, _grouped, judged, measured
from tests.bench.population import CASES


def _links(*rows: tuple[str, str, float]) -> pa.Table:
    names = ("left_id", "right_id", "probability")
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})


def _task(folder: Path, *, dedupe: bool = False) -> Task:
    """Four rows against four: persons 1 to 3 in both, of whom 3 has two rows in B."""
    pq.write_table(
        pa.table({"rec_id": ["a", "b", "c", "d"], "person": [1, 2, 3, 4]}),
        folder / "truth_a.parquet",
    )
    pq.write_table(
        pa.table({"record": [10, 20, 30, 31], "person": [1, 2, 3, 3]}), folder / "truth_b.parquet"
    )
    return Task(folder, [], None, dedupe=dedupe)


def test_links_against_the_truth(tmp_path: Path) -> None:
    """One link is wrong, one of four is missing; without the wrong one F1 is best."""
    final = _links(("a", "10", 0.99), ("b", "20", 0.98), ("d", "30", 0.96))
    score = judged(_task(tmp_path), final, pa.concat_tables([final, _links(("c", "31", 0.6))]))
    assert (score.links, score.right, score.true, score.false) == (3, 2, 4, 1)
    assert score.precision == pytest.approx(2 / 3)
    assert score.recall == pytest.approx(1 / 2)
    assert score.f1 == pytest.approx(4 / 7)
    assert score.best == pytest.approx(3 * 2 / 8)  # all four
    assert score.cases == {}


def test_recall_per_hard_case(tmp_path: Path) -> None:
    """Shares of the labelled pairs; a case that doesn't occur has no share."""
    flags: dict[str, Any] = {case: [False] * 4 for case in CASES}
    flags["moved"] = [True, True, False, False]
    pairs = {"person": [1, 2, 3, 3], "rec_id": ["a", "b", "c", "c"], "record": [10, 20, 30, 31]}
    pq.write_table(pa.table(pairs | flags), tmp_path / "hard.parquet")
    final = _links(("a", "10", 0.99), ("c", "30", 0.98), ("b", "31", 0.97))
    cases = judged(_task(tmp_path), final, final).cases
    assert cases["moved"] == (2, 0.5)
    assert cases["none of these"] == (2, 0.5)
    assert cases["twin"][0] == 0


def test_duplicates_are_pairs_of_one_file(tmp_path: Path) -> None:
    """Every pair within a group counts, those that nobody linked directly as well."""
    links = pa.table(
        {
            "left_id": ["r", "s", "u"],
            "right_id": ["s", "t", "v"],
            "probability": [0.99, 0.97, 0.7],
            "rule": ["fuzzy", "fuzzy", "review"],
            "group": [7, 7, 8],
        }
    )
    rows = {(row["left_id"], row["right_id"]): row for row in _grouped(links).to_pylist()}
    assert set(rows) == {("r", "s"), ("r", "t"), ("s", "t"), ("u", "v")}
    assert rows["r", "t"]["probability"] == 0.97
    assert rows["u", "v"]["rule"] == "review"
    task = _task(tmp_path, dedupe=True)
    truth = pa.table({"rec_id": ["r", "s", "t", "x"], "person": [1, 1, 1, 2]})
    pq.write_table(truth, tmp_path / "truth_a.parquet")
    final = _links(("r", "s", 0.9), ("r", "x", 0.9))
    assert judged(task, final, final).true == 3
    assert judged(task, final, final).right == 1


def test_a_process_is_measured_with_its_children() -> None:
    """Seconds, what it printed, and memory that a child of a child held."""
    child = "import time; held = b'x' * (200 << 20); time.sleep(0.5)"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('x')"
    )
    run, said = measured([sys.executable, "-c", parent])
    assert said == "x\n"
    assert run.seconds > 0.5
    assert 200 << 20 < run.peak < 300 << 20
    with pytest.raises(FailedError, match="no such luck"):
        measured([sys.executable, "-c", "raise SystemExit('no such luck')"])


@pytest.mark.parametrize(
    ("value", "reach", "aim", "verdict"),
    [
        (0.1, 0.2, 0.1, "aim met"),
        (0.15, 0.2, 0.1, "yes"),
        (0.3, 0.2, 0.1, "NO"),
        (1, None, None, ""),
    ],
)
def test_a_figure_says_whether_it_is_reached(
    value: float, reach: float | None, aim: float | None, verdict: str
) -> None:
    """Lower is better; at the target is met."""
    assert Figure("what", "here", "there", value, reach, aim).verdict() == verdict
