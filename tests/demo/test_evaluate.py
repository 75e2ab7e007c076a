"""The judge itself is judged: a search that can't find is no search, a share is what it says."""

import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.demo.evaluate import Package, Search, judge_links, plant
from policies import labelled

TEXTS = ["An", "Zoë", "Peeters", "Zoë Peeters", "Kerkstraat 12", "85073003328", "85.07.30-033.28"]


def parquet(*values: str) -> bytes:
    """A Parquet file with one text column."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": list(values)}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"x\nPEETERS\n"),
        ("a.csv", b"x\nzoe\n"),
        ("a.csv", b"x\nlives at Kerkstraat 12 now\n"),
        ("a.csv", b"x\n85.07.30-033.28\n"),
        ("a.csv", b"x\n85073003328\n"),
        ("a.csv", b"x,y\n1,An\n"),
        ("a.parquet", parquet("nobody", "Peeters")),
        ("a.parquet", parquet("nobody") + b"\x00Peeters\x00"),
    ],
)
def test_what_names_somebody_is_found(name: str, data: bytes) -> None:
    """In a cell, whole or as words of it, case and accents aside; and in the bytes of a file."""
    if name.endswith(".parquet") and data.endswith(b"\x00"):
        assert Search(TEXTS)._in_bytes(data)
    else:
        assert Search(TEXTS).count({name: data}) >= 1


@pytest.mark.parametrize("cell", [b"PANAMA", b"Peetersen", b"P1AN0000", b"850730033281", b"15-19"])
def test_what_only_holds_the_letters_is_not(cell: bytes) -> None:
    """A name inside a longer word or pseudonym is nobody's name."""
    assert Search(TEXTS).count({"a.csv": b"x\n" + cell + b"\n"}) == 0


@pytest.mark.parametrize(("name", "write"), [("a.dta", labelled.stata), ("a.sav", labelled.spss)])
def test_the_cells_of_labelled_files_are_searched(name: str, write: Any) -> None:
    """Texts and numbers of every format that a package has; a label names a place, not a person."""

    def file(text: str, number: int) -> dict[str, bytes]:
        table = pa.table({"x": [text], "n": [number], "n_status": ["observed"]})
        about = {
            "x": labelled.Described({"en": "Peeters"}, {}),
            "n": labelled.Described({"en": "n"}, {}),
        }
        files = {name: write(labelled.plan(table, about, {"en": "T"}, "en"))}
        assert Package(files).data_files == files
        return files

    assert Search(TEXTS).count(file("nobody", 1)) == 0
    assert Search(TEXTS).count(file("Peeters", 1)) == 1
    assert Search(TEXTS).count(file("nobody", 85073003328)) == 1


def test_a_planted_text_is_found_wherever_it_is_put() -> None:
    """The same search, on a copy with one text in it."""
    files = {"data/units.csv": b'"unit","age"\n"P1","15-19"\n"P2","20-24"\n'}
    search = Search(TEXTS)
    assert search.count(files) == 0
    for text in TEXTS:
        assert search.count(plant(files, text)) >= 1, text


def test_links_are_judged_by_whom_a_subject_mostly_is() -> None:
    """A wrong number link counts as false; a fuzzy one put with somebody else costs precision."""
    rows = pd.DataFrame(
        [
            # subject a is person 1, b is person 2; the last two rows have no number of their own
            ("d", "2024", 1, b"a", 1, True, "national_number"),
            ("d", "2024", 2, b"a", 1, True, "national_number"),
            ("d", "2024", 3, b"b", 2, True, "new"),
            ("e", "2024", 1, b"b", 2, True, "national_number"),
            ("e", "2024", 2, b"b", 1, False, "national_number"),
            ("e", "2024", 3, b"a", 1, False, "fuzzy"),
        ],
        columns=["dataset", "period", "record", "subject", "person", "own_number", "rule"],
    ).assign(unit_type="person", reference="self")
    judged = judge_links(rows)
    assert judged["deterministic"] == {"links": 4, "false_matches": 1}
    assert judged["fuzzy"]["linked"] == 2
    assert judged["fuzzy"]["precision"] == 0.5
    assert judged["fuzzy"]["recall"] == 0.5
    strangers = rows.assign(person=[1, 1, 2, 2, 3, 4], subject=[*rows["subject"][:4], b"c", b"c"])
    judged = judge_links(pd.concat([rows[:4], strangers[4:]]))
    assert (judged["fuzzy"]["linked"], judged["fuzzy"]["precision"]) == (2, 0.0)


def test_pseudonyms_are_read_from_every_column() -> None:
    """Persons and enterprises, in whatever column they stand; codes for missing are none."""
    spoken = ["P1" + "0" * 27, "E1" + "A" * 27]
    table = pa.table({"unit": [spoken[0]], "employer": [spoken[1]], "mother": ["_not_in_source"]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert Package({"data/units.parquet": sink.getvalue()}).pseudonyms() == set(spoken)
