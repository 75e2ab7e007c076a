"""Make the tables of this folder from the published ones: `python build.py INPUT_FOLDER`.

INPUT_FOLDER holds `be_municipalities_2019.csv`, `be_municipalities_2025.csv`,
`be_nis_2019_to_2025.csv`, `be_postcode_nis.csv` and `be_refnis_history.csv`; `PROVENANCE.md` says
where they come from. Only what the rules of `policies.coarsening` need is kept, in this layout:

- `areas.csv`: level, code, parent, nl, fr, de — arrondissements, provinces and regions. Brussels
  has no province: at that level it stands under the code of its region, 04000.
- `municipalities.csv`: code, since, until, successor, arrondissement_2019, arrondissement_2025,
  nl, fr, de — `since` and `until` are 2019 or 2025: the first and last situation with this code.
- `postcodes.csv`: postcode, municipality_2019, municipality_2025, several (1 where the published
  table names more than one municipality: they lie in one arrondissement, and the last is kept).
"""

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
BRUSSELS = "04000"
FOREVER = "9999-12-31"

Row = dict[str, str]


def _read(folder: Path, name: str) -> list[Row]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(name: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with (HERE / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))


def areas(municipalities: list[Row], german: Mapping[str, str]) -> set[tuple[str, ...]]:
    """Arrondissements, provinces and regions of one situation, each with its parent."""
    found: set[tuple[str, ...]] = set()
    for row in municipalities:
        region, province = row["region_code"], row["prov_code"] or BRUSSELS
        arrondissement = row["arr_code"]
        if province == BRUSSELS:
            found.add(_area("province", BRUSSELS, region, row, "region", german))
        else:
            found.add(_area("province", province, region, row, "prov", german))
        found.add(_area("arrondissement", arrondissement, province, row, "arr", german))
        found.add(_area("region", region, "", row, "region", german))
    return found


def _area(
    level: str, code: str, parent: str, row: Row, prefix: str, german: Mapping[str, str]
) -> tuple[str, ...]:
    return (level, code, parent, row[f"{prefix}_nl"], row[f"{prefix}_fr"], german[code])


def municipalities(
    before: list[Row], after: list[Row], moves: list[Row]
) -> Iterable[tuple[str, ...]]:
    """Every code of either situation, with its successor in 2025."""
    old = {row["nis_code"]: row for row in before}
    new = {row["nis_code"]: row for row in after}
    successor = {row["nis_2019"]: row["nis_2025"] for row in moves}
    for code in old.keys() & new.keys():
        if successor[code] != code:
            raise ValueError(f"code {code} means two different places in 2019 and 2025")
    for code in old.keys() | new.keys():
        row = new.get(code) or old[code]
        since = "2019" if code in old else "2025"
        until = "2025" if code in new else "2019"
        next_code = code if code in new else successor[code]
        then = old[code]["arr_code"] if code in old else ""
        now = new[next_code]["arr_code"]
        names = (row["name_nl"], row["name_fr"], row["name_de"])
        yield (code, since, until, next_code, then, now, *names)


def postcodes(rows: list[Row], arrondissements: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    """Every postcode once, with its municipality in both situations."""
    places: dict[str, list[Row]] = {}
    for row in rows:
        places.setdefault(row["postcode"], []).append(row)
    for code, named in places.items():
        if len({arrondissements[row["nis_2025"]] for row in named}) > 1:
            raise ValueError(f"postcode {code} lies in several arrondissements")
        kept = named[-1]
        yield (code, kept["nis_2019"], kept["nis_2025"], "1" if len(named) > 1 else "")


def build(folder: Path) -> None:
    """Write the three tables beside this file."""
    before = _read(folder, "be_municipalities_2019.csv")
    after = _read(folder, "be_municipalities_2025.csv")
    history = _read(folder, "be_refnis_history.csv")
    moves = _read(folder, "be_nis_2019_to_2025.csv")
    german = {row["code"]: row["name_de"] for row in history if row["valid_to"] == FOREVER}
    _write(
        "areas.csv",
        ("level", "code", "parent", "nl", "fr", "de"),
        areas(before, german) | areas(after, german),
    )
    places = ("code", "since", "until", "successor", "arrondissement_2019", "arrondissement_2025")
    _write(
        "municipalities.csv",
        (*places, "nl", "fr", "de"),
        municipalities(before, after, moves),
    )
    _write(
        "postcodes.csv",
        ("postcode", "municipality_2019", "municipality_2025", "several"),
        postcodes(
            _read(folder, "be_postcode_nis.csv"),
            {row["nis_code"]: row["arr_code"] for row in after},
        ),
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
