"""Makes examples/disclosure: made-up people, hierarchies of what is known about them, and rules;
`python -m tests.disclosure_example` renews it."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from policies import classifications
from policies.classifications import activities

FOLDER = Path(__file__).parents[1] / "examples" / "disclosure"
PEOPLE = 2_000
SEED = 2026
TODAY = date(2025, 1, 1)

RULES = """\
# What leaves of people.csv, and how fine, as a permit says it. No other column leaves.
period: "2025"
unit: person        # whom rows are about: percentiles are computed on units
variables:
  - {name: person, type: code, rule: [{keep: {}}]}
  - name: birth_date
    type: birth_date
    as: age_class
    rule: [{age_class: {reference_date: 2025-01-01, breaks: [18, 25, 35, 45, 55, 65, 75]}}]
  - name: municipality
    type: municipality
    as: province
    rule: [{geography: {level: province, situation: 2025}}]
  - {name: activity, type: nace, rule: [{nace: {level: A10, version: 2025}}]}
  - {name: wage, type: amount, rule: [{round: {to: 100}}, {top_code: {at: 6000}}]}
  - {name: sex, type: code, rule: [{keep: {}}]}
"""


def _text(header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def _levels(codes: list[str], above: Sequence[pa.Array]) -> str:
    columns = [level.to_pylist() for level in above]
    rows = [[code, *(column[row] for column in columns), "*"] for row, code in enumerate(codes)]
    return _text([], rows, ";")


def _hierarchies() -> dict[str, str]:
    """Text of a hierarchy file by key; municipalities and activities as the classifications have
    them."""
    places = sorted(classifications.labels("municipality"))
    places = [code for code in places if code in set(classifications.lasting("municipality"))]
    divisions = sorted(activities.labels("division", 2025))
    columns = pa.array(places), pa.array(divisions)
    ages = [
        [age, f"{age // 5 * 5}-{age // 5 * 5 + 4}", f"{age // 20 * 20}-{age // 20 * 20 + 19}", "*"]
        for age in range(100)
    ]
    return {
        "sex": "F;*\nM;*\n",
        "age": _text([], ages, ";"),
        "municipality": _levels(
            places,
            [
                classifications.level(columns[0], "municipality", level)
                for level in ("arrondissement", "province", "region")
            ],
        ),
        "activity": _levels(
            divisions, [activities.level(columns[1], level, 2025) for level in ("A38", "A10")]
        ),
    }


def _people(rng: np.random.Generator) -> str:
    places = list(_leaves("municipality"))
    divisions = list(_leaves("activity"))
    common = 1 / np.arange(1, len(places) + 1)
    usual = 1 / np.arange(1, len(divisions) + 1) ** 1.2
    rng.shuffle(places)
    rng.shuffle(divisions)
    rows = []
    for number in range(PEOPLE):
        born = TODAY - timedelta(days=int(rng.triangular(0, 16_000, 36_000)))
        age = (TODAY - born).days * 100 // 36_525
        rows.append(
            (
                f"p{number:04}",
                f"h{rng.integers(PEOPLE // 2):04}",
                "FM"[rng.integers(2)],
                age,
                born.isoformat(),
                places[rng.choice(len(places), p=common / common.sum())],
                divisions[rng.choice(len(divisions), p=usual / usual.sum())],
                f"{rng.lognormal(7.9, 0.4):.2f}" if age >= 18 else "",
                ["none", "asthma", "diabetes", "depression"][
                    rng.choice(4, p=[0.7, 0.12, 0.1, 0.08])
                ],
                rng.integers(40, 60),
            )
        )
    header = (
        "person", "household", "sex", "age", "birth_date", "municipality", "activity", "wage",
        "diagnosis", "weight",
    )  # fmt: skip
    return _text(header, rows, ",")


def _leaves(key: str) -> Iterable[str]:
    return (line.split(";")[0] for line in _hierarchies()[key].splitlines())


def files() -> dict[str, str]:
    """The text of every file, by its path in the folder."""
    made = {f"hierarchies/{key}.csv": text for key, text in _hierarchies().items()}
    return made | {"people.csv": _people(np.random.default_rng(SEED)), "rules.yaml": RULES}


def main() -> None:
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
