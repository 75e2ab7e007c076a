"""Make the tables of this folder from the published ones: `python build.py INPUT_FOLDER`.

INPUT_FOLDER holds `be_municipalities_2019.csv`, `be_municipalities_2025.csv`,
`be_nis_pre2019_to_2019.csv`, `be_nis_2019_to_2025.csv`, `be_postcode_nis.csv`,
`be_refnis_history.csv`, `be_degurba_lau2018_589.csv`, `be_degurba_2019.csv`,
`be_degurba_2025.csv`, `countries_groups.csv`, `nace_rev2.csv` and `nace_rev21.csv`;
`PROVENANCE.md` says where they come from. Only what the rules of `policies.coarsening` need is
kept, in this layout:

- `areas.csv`: level, code, parent, nl, fr, de — arrondissements, provinces and regions. Brussels
  has no province: at that level it stands under the code of its region, 04000.
- `municipalities.csv`: code, since, until, in_2019, successor, arrondissement_2018,
  arrondissement_2019, arrondissement_2025, nl, fr, de — `since` and `until` are 2018 (before 2019),
  2019 or 2025: the first and last situation with this code; `in_2019` and `successor` its code in
  2019 and in 2025.
- `urbanisation.csv`: situation, municipality, degree — 1, 2, 3 or `mixed`.
- `countries.csv`: alpha_2, alpha_3, origin, member — codes of ISO 3166-1 and groups of nationality.
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
    earlier: list[Row], before: list[Row], after: list[Row], first: list[Row], moves: list[Row]
) -> Iterable[tuple[str, ...]]:
    """Every code of a situation (2018, 2019, 2025), with what became of it in the later ones."""
    oldest = {row["code"]: row for row in earlier}
    old = {row["nis_code"]: row for row in before}
    new = {row["nis_code"]: row for row in after}
    then = {row["nis_pre2019"]: row["nis_2019"] for row in first} | {code: code for code in old}
    successor = {row["nis_2019"]: row["nis_2025"] for row in moves}
    for one, other, map_ in ((oldest, old, {r["nis_pre2019"]: r["nis_2019"] for r in first}),
                             (old, new, successor)):  # fmt: skip
        for code in one.keys() & other.keys():
            if map_[code] != code:
                raise ValueError(f"code {code} means two different places")
    for code in oldest.keys() | old.keys() | new.keys():
        held = [
            year for year, known in zip(YEARS, (oldest, old, new), strict=True) if code in known
        ]
        in_2019 = then.get(code, "")
        next_code = code if code in new else successor[in_2019]
        row = new.get(code) or old.get(code) or oldest[code]
        yield (
            code, held[0], held[-1], in_2019, next_code,
            oldest[code]["parent_code"] if code in oldest else "",
            old[in_2019]["arr_code"] if in_2019 else "",
            new[next_code]["arr_code"],
            *(row[f"name_{at}"] for at in ("nl", "fr", "de")),
        )  # fmt: skip


YEARS = ("2018", "2019", "2025")


def of_2018(history: list[Row], level: str) -> list[Row]:
    """The rows of a level (4: municipalities, 3: arrondissements) in force at the end of 2018."""
    day = "2018-12-31"
    return [
        row for row in history
        if row["level"] == level and row["valid_from"] <= day <= row["valid_to"]
    ]  # fmt: skip


def former(history: list[Row], kept: set[str]) -> set[tuple[str, ...]]:
    """The arrondissements of 2018 that are no more."""
    return {
        ("arrondissement", row["code"], row["parent_code"],
         *(row[f"name_{at}"] for at in ("nl", "fr", "de")))
        for row in of_2018(history, "3") if row["code"] not in kept
    }  # fmt: skip


def urbanisation(tables: Mapping[str, tuple[list[Row], str]]) -> Iterable[tuple[str, ...]]:
    """Every municipality's degree in each situation; `mixed` where parts of several degrees were
    merged and no degree of the whole was published."""
    for year, (rows, column) in tables.items():
        for row in rows:
            yield (year, row[column], row["degurba"] or "mixed")


def countries(rows: list[Row]) -> Iterable[tuple[str, ...]]:
    """Every country's codes and its groups of nationality."""
    for row in rows:
        origin = "BE" if row["iso2"] == "BE" else row["statbel_origin_group"]
        member = "BE" if row["iso2"] == "BE" else row["eu14_eu13_group"]
        yield (row["iso2"], row["iso3"], origin, member)


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
    present = areas(before, german) | areas(after, german)
    _write(
        "areas.csv",
        ("level", "code", "parent", "nl", "fr", "de"),
        present | former(history, {area[1] for area in present}),
    )
    places = ("code", "since", "until", "in_2019", "successor")
    _write(
        "municipalities.csv",
        (*places, *(f"arrondissement_{year}" for year in YEARS), "nl", "fr", "de"),
        municipalities(
            of_2018(history, "4"), before, after, _read(folder, "be_nis_pre2019_to_2019.csv"), moves
        ),
    )
    _write(
        "urbanisation.csv",
        ("situation", "municipality", "degree"),
        urbanisation(
            {
                "2018": (_read(folder, "be_degurba_lau2018_589.csv"), "nis_pre2019"),
                "2019": (_read(folder, "be_degurba_2019.csv"), "nis_2019"),
                "2025": (_read(folder, "be_degurba_2025.csv"), "nis_2025"),
            }
        ),
    )
    _write(
        "countries.csv",
        ("alpha_2", "alpha_3", "origin", "member"),
        countries(_read(folder, "countries_groups.csv")),
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
