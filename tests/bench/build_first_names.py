"""Make `first_names.csv` from the published table: `python build_first_names.py INPUT.csv`.

The input (Statbel, first names of the population of 2013 by sex, region and age group, at least
five bearers; columns first_name, sex, region, age_group, frequency) is kept outside the project;
ours is of 20 November 2026.
Our layout: name, sex, then the number of bearers per region (V Flanders, W Wallonia, B Brussels)
and age group (0: 0 to 17 years, 1: 18 to 64, 2: 65 and over). Names of fewer than `BEARERS` are
left out.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

BEARERS = 50
REGIONS = {"Flanders": "V", "Wallonia": "W", "Brussels": "B"}
AGES = {"0-17": "0", "18-64": "1", "65+": "2"}
COLUMNS = [region + age for region in REGIONS.values() for age in AGES.values()]


def main(source: Path) -> None:
    """Write the table beside this script."""
    names: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    with source.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            column = REGIONS[row["region"]] + AGES[row["age_group"]]
            names[row["first_name"], row["sex"]][column] = int(row["frequency"])
    kept = {
        name: counts
        for name, counts in names.items()
        if name[0].replace("-", "").isalpha() and sum(counts.values()) >= BEARERS
    }
    target = Path(__file__).with_name("first_names.csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "sex", *COLUMNS])
        for name, counts in sorted(kept.items()):
            writer.writerow([*name, *(counts.get(column, "") for column in COLUMNS)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
