"""Make the tables of this folder from the published ones: `python build.py INPUT_FOLDER`.

INPUT_FOLDER holds `be_municipalities_2019.csv`, `be_municipalities_2025.csv`,
`be_nis_2019_to_2025.csv`, `be_postcode_nis.csv`, `be_refnis_history.csv`, `nace_rev2.csv` and
`nace_rev21.csv`; `PROVENANCE.md` says where they come from. Only what the rules of
`policies.coarsening` need is kept, in this layout:

- `areas.csv`: level, code, parent, nl, fr, de — arrondissements, provinces and regions. Brussels
  has no province: at that level it stands under the code of its region, 04000.
- `municipalities.csv`: code, since, until, successor, arrondissement_2019, arrondissement_2025,
  nl, fr, de — `since` and `until` are 2019 or 2025: the first and last situation with this code.
- `postcodes.csv`: postcode, municipality_2019, municipality_2025, several (1 where the published
  table names more than one municipality: they lie in one arrondissement, and the last is kept).
- `activities.csv`: version (2008, 2025), level, code, parent, en, nl, fr, de — NACE from class to
  section, and the aggregations A64, A38, A21 and A10, each with its parent at the next level up.
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


# Aggregations of the European system of accounts (ESA 2010: Regulation (EU) No 549/2013, annex A,
# chapter 23), written as divisions of NACE Rev. 2; from fine to coarse.
A64 = (
    "01 02 03 05-09 10-12 13-15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31-32 33 35 36 37-39 "
    "41-43 45 46 47 49 50 51 52 53 55-56 58 59-60 61 62-63 64 65 66 68 69-70 71 72 73 74-75 77 78 "
    "79 80-82 84 85 86 87-88 90-92 93 94 95 96 97-98 99"
)
A38 = (
    "01-03 05-09 10-12 13-15 16-18 19 20 21 22-23 24-25 26 27 28 29-30 31-33 35 36-39 41-43 45-47 "
    "49-53 55-56 58-60 61 62-63 64-66 68 69-71 72 73-75 77-82 84 85 86 87-88 90-93 94-96 97-98 99"
)
A21 = (
    "01-03 05-09 10-33 35 36-39 41-43 45-47 49-53 55-56 58-63 64-66 68 69-75 77-82 84 85 86-88 "
    "90-93 94-96 97-98 99"
)
A10 = "01-03 05-39 41-43 45-56 58-63 64-66 68 69-82 84-88 90-99"
LANGUAGES = ("en", "nl", "fr", "de")
MISPRINTS = {"U0NDIFFERENTIATED": "UNDIFFERENTIATED"}


def activities(version: str, rows: list[Row]) -> Iterable[tuple[str, ...]]:
    """Every code of a version of NACE and of its aggregations, with its parent and titles."""
    section = {row["code"]: row["section"] for row in rows if row["level"] == "division"}
    titles = {row["code"]: [_title(row[f"title_{at}"]) for at in LANGUAGES] for row in rows}
    groups = {name: _grouped(spec, section) for name, spec in _SPECS.items()}
    for name, above in (("A64", "A38"), ("A38", "section"), ("A21", "A10"), ("A10", "")):
        coarser = section if above == "section" else groups.get(above, {})
        for code in sorted(set(groups[name].values())):
            held = [division for division in section if groups[name][division] == code]
            parents = {coarser.get(division, "") for division in held}
            if len(parents) > 1:
                raise ValueError(f"{code} of {name} lies in several groups of {above}")
            yield (version, name, code, parents.pop(), *_titles(held, section, titles))
    for row in rows:
        code, parent = row["code"], row["parent_code"]
        if row["level"] == "division":
            parent = groups["A64"][code]
        elif row["level"] == "section":
            parent = groups["A21"][next(one for one in section if section[one] == code)]
        yield (version, row["level"], code, parent, *titles[code])


_SPECS = {"A64": A64, "A38": A38, "A21": A21, "A10": A10}


def _title(text: str) -> str:
    for wrong, right in MISPRINTS.items():
        text = text.replace(wrong, right)
    return text


def _grouped(spec: str, section: Mapping[str, str]) -> dict[str, str]:
    """Division → code of its group."""
    found: dict[str, str] = {}
    for part in spec.split():
        first, last = part.split("-") if "-" in part else (part, part)
        held = [division for division in section if first <= division <= last]
        found |= dict.fromkeys(held, _code(held, section) if held else "")
    if found.keys() != section.keys():
        raise ValueError("a division lies in no group")
    return found


def _code(held: list[str], section: Mapping[str, str]) -> str:
    """The letters of whole sections, or a letter and divisions."""
    letters = sorted({section[division] for division in held})
    if held == [division for division in section if section[division] in letters]:
        return letters[0] if len(letters) == 1 else f"{letters[0]}-{letters[-1]}"
    [letter] = letters
    return letter + (held[0] if len(held) == 1 else f"{held[0]}-{held[-1]}")


def _titles(
    held: list[str], section: Mapping[str, str], titles: Mapping[str, list[str]]
) -> list[str]:
    """The titles of the whole sections a group holds, or of its divisions, one after the other."""
    letters = sorted({section[division] for division in held})
    whole = held == [division for division in section if section[division] in letters]
    parts = [titles[code] for code in (letters if whole else held)]
    return ["; ".join(texts) for texts in zip(*parts, strict=True)]


def build(folder: Path) -> None:
    """Write the tables beside this file."""
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
    _write(
        "activities.csv",
        ("version", "level", "code", "parent", *LANGUAGES),
        (
            *activities("2008", _read(folder, "nace_rev2.csv")),
            *activities("2025", _read(folder, "nace_rev21.csv")),
        ),
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
