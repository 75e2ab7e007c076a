"""Damaged files: a report each, no crash, and no row that silently becomes another."""

import csv
import io
import json
import random

import pytest

from linkage.extracts import Dataset
from linkage.findings import REASONS
from linkage.reading import TRIMMED
from tests.linkage.helpers import read_extract

NAMES = ["Jan", "Zoë", "An-Sofie", "Öykü", "Mohamed", "Jean-Luc", "d'Artagnan", "Noor"]
DECLARED = Dataset.from_mapping(
    {
        "id": "persons",
        "holder": "somebody",
        "shape": "unit",
        "variables": [
            {"name": "insz", "role": "identifier", "type": "national_number"},
            {"name": "naam", "role": "identifier", "type": "last_name"},
            {"name": "geboren", "role": "quasi-identifier", "type": "birth_date"},
            {"name": "loon", "role": "sensitive", "type": "amount"},
            {"name": "nota", "role": "other", "type": "text"},
        ],
        "references": [
            {"name": "self", "unit_type": "person", "columns": {"national_number": "insz"}}
        ],
    }
)
ROWS = [
    (
        f"{85073003328 + i * 997}",
        NAMES[i % 8],
        f"19{i % 90 + 10}-0{i % 9 + 1}-17",
        f"{i},50",
        f"n{i}",
    )
    for i in range(12)
]
INSERTED = [
    b'"',
    b";",
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b'""',
    b" ",
    b"\t",
]


def written(quoted: bool) -> bytes:
    quote = '"' if quoted else ""
    lines = [
        "insz;naam;geboren;loon;nota",
        *(f"{quote};{quote}".join(row).join([quote] * 2) for row in ROWS),
    ]
    return ("\n".join(lines) + "\n").encode()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One to three times a byte changed, added, left out or doubled, a piece moved, the end cut."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + chance.choice(INSERTED) + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + chance.randint(1, 4) :]
        elif kind == 3:
            data = data[: at + 1] + data[at:]
        elif kind == 4:
            data = data[: max(at, 1)]
        else:
            data = data[at:] + data[:at]
    return data


@pytest.mark.parametrize("quoted", [False, True])
def test_mutations_end_in_a_report(quoted: bool) -> None:
    """1,000 damaged files: each is reported on, and what is accepted is what csv reads.

    So no row is merged with its neighbour and none is shifted, unless the reference reader and we
    were deceived together; then the line break inside the free text is told.
    """
    chance = random.Random(20241231)
    whole, accepted = written(quoted), 0
    for _ in range(500):
        data = damaged(whole, chance)
        checked = read_extract(io.BytesIO(data), DECLARED, period="2024")
        report = checked.report()
        assert json.loads(json.dumps(report)) == report
        assert all(group["reason"] in REASONS for group in report["faults"])
        assert report["accepted"] == (report["errors"] == 0)
        if checked.accepted:
            accepted += 1
            rows = reference(data, checked.format.encoding or "", checked.format.delimiter or "")
            texts = checked.columns.select(["insz", "naam", "nota"]).to_pylist()
            assert texts == [
                {key: row[key] or None for key in ("insz", "naam", "nota")} for row in rows
            ]
            broken = any("\n" in row["nota"] or "\r" in row["nota"] for row in rows)
            assert broken == ("line_break_in_text" in {g["reason"] for g in report["faults"]})
    assert 20 < accepted < 400


def reference(data: bytes, encoding: str, delimiter: str) -> list[dict[str, str]]:
    """The file as Python's csv module reads it, blank lines at the end left out."""
    text = io.StringIO(data.decode(encoding), newline="")
    header, *rows = list(csv.reader(text, delimiter=delimiter, strict=True))
    assert all(len(row) == len(header) for row in rows if row)
    return [
        {name.strip(TRIMMED): value.strip(TRIMMED) for name, value in zip(header, row, strict=True)}
        for row in rows
        if row
    ]
