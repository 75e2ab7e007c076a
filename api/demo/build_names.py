"""Make the tables of this folder from the published ones: `python build_names.py INPUT_FOLDER`.

INPUT_FOLDER holds `be_first_names_2013.csv`, `be_surnames_2022_top500.csv`,
`be_postcode_nis.csv`, `be_degurba_2019.csv` and the two `be_municipalities_*.csv`; `PROVENANCE.md`
says where they come from. Only what the generator draws from is kept, in this layout:

- `first_names.csv`: name, sex (M, F), then one column of frequencies per generation (child, parent)
  and region (V Flanders, W Wallonia, B Brussels); blank where the name isn't among the
  `MOST_COMMON` of that group.
- `surnames.csv`: name, V, W.
- `places.csv`: postcode, region, municipality and arrondissement in the situations of 2019 and
  2025, residents (the municipality's residents divided by its number of postcodes).
"""

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_COMMON = 500
REGIONS = {"Flanders": "V", "Wallonia": "W", "Brussels": "B"}
REGION_CODES = {"02000": "V", "03000": "W", "04000": "B"}
GENERATIONS = {"0-17": "child", "18-64": "parent"}

Row = dict[str, str]


def _read(folder: Path, name: str) -> list[Row]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(name: str, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with (HERE / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))


def _plain(name: str) -> bool:
    return name.replace("-", "").replace(" ", "").isalpha()


def first_names(rows: list[Row]) -> None:
    """The most common names of each sex, region and generation."""
    groups: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in rows:
        if row["age_group"] in GENERATIONS and _plain(row["first_name"]):
            column = GENERATIONS[row["age_group"]] + "_" + REGIONS[row["region"]]
            name = (row["first_name"], row["sex"])
            groups[column, row["sex"]][name] = int(row["frequency"])
    columns = sorted({column for column, _ in groups})
    table: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for (column, _), counted in groups.items():
        for name, frequency in counted.most_common(MOST_COMMON):
            table[name][column] = frequency
    _write(
        "first_names.csv",
        ("name", "sex", *columns),
        (
            (*name, *(counts.get(column, "") for column in columns))
            for name, counts in table.items()
        ),
    )


def surnames(rows: list[Row]) -> None:
    """Every surname of the table, with its frequency in Flanders and Wallonia."""
    table: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        table[row["surname"]][REGIONS[row["region"]]] = row["frequency"]
    _write(
        "surnames.csv",
        ("name", "V", "W"),
        ((name, found.get("V", ""), found.get("W", "")) for name, found in table.items()),
    )


def places(folder: Path) -> None:
    """One line per postcode; of several municipalities, the one that has fewest other postcodes."""
    listed = _read(folder, "be_postcode_nis.csv")
    others = Counter(row["nis_2019"] for row in listed)
    codes: dict[str, Row] = {}
    for row in sorted(listed, key=lambda row: others[row["nis_2019"]]):
        codes.setdefault(row["postcode"], row)
    postcodes = Counter(row["nis_2019"] for row in codes.values())
    residents = {
        row["nis_2019"]: int(row["population_lau2020"])
        for row in _read(folder, "be_degurba_2019.csv")
    }
    old = {row["nis_code"]: row for row in _read(folder, "be_municipalities_2019.csv")}
    new = {row["nis_code"]: row for row in _read(folder, "be_municipalities_2025.csv")}
    _write(
        "places.csv",
        (
            "postcode",
            "region",
            "municipality_2019",
            "municipality_2025",
            "arrondissement_2019",
            "arrondissement_2025",
            "residents",
        ),
        (
            (
                postcode,
                REGION_CODES[old[row["nis_2019"]]["region_code"]],
                row["nis_2019"],
                row["nis_2025"],
                old[row["nis_2019"]]["arr_code"],
                new[row["nis_2025"]]["arr_code"],
                residents[row["nis_2019"]] // postcodes[row["nis_2019"]],
            )
            for postcode, row in codes.items()
        ),
    )


def main(folder: Path) -> None:
    """Write all three tables."""
    first_names(_read(folder, "be_first_names_2013.csv"))
    surnames(_read(folder, "be_surnames_2022_top500.csv"))
    places(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
