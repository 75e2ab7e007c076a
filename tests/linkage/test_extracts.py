"""Reading an extract: what is well-formed comes back as it was, what isn't is named by record."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage import extracts, findings, reading
from linkage.extracts import Dataset, ExtractError, check, split
from tests.linkage.helpers import Extract, halves, read_extract

TEXTS = Dataset.from_mapping(
    {
        "id": "texts",
        "holder": "somebody",
        "shape": "spells",
        "format": {"delimiter": ";", "encoding": "utf-8"},
        "variables": [
            {"name": "number", "role": "identifier", "type": "national_number"},
            {"name": "first", "role": "identifier", "type": "first_name"},
            {"name": "last", "role": "identifier", "type": "last_name"},
        ],
        "references": [
            {"name": "self", "unit_type": "person", "columns": {"first_name": "first"}},
        ],
    }
)

TYPES = {
    "number": "national_number",
    "firm": "enterprise_number",
    "first": "first_name",
    "born": "birth_date",
    "day": "date",
    "sex": "sex",
    "post": "postcode",
    "place": "municipality",
    "branch": "nace",
    "wage": "amount",
    "stands_for": "weight",
    "count": "integer",
    "state": "code",
    "quarter": "quarter",
    "year": "year",
    "note": "text",
    "studies": "yes_no",
    "mail": "email",
}


def dataset(*names: str, file: dict[str, str] | None = None, **more: Any) -> Dataset:
    """A dataset with these of TYPES; `more` adds to a variable of that name, or to the whole."""
    direct = {"national_number", "enterprise_number", "first_name", "email"}
    variables = [
        {
            "name": name,
            "type": TYPES[name],
            "role": "identifier" if TYPES[name] in direct else "other",
            **more.get(name, {}),
        }
        for name in names
    ]
    anyone = {"name": "whoever", "type": "last_name", "role": "identifier"}
    doc = {
        "id": "wide",
        "holder": "somebody",
        "shape": "unit" if "stands_for" in names else "spells",
        "variables": [*variables, anyone],
        "references": [
            {"name": "self", "unit_type": "person", "columns": {"last_name": "whoever"}}
        ],
    }
    if file:
        doc["format"] = file
    if "missing" in more:
        doc["missing"] = more["missing"]
    return Dataset.from_mapping(doc)


def read(data: bytes | str, declared: Dataset, **options: Any) -> Extract:
    source = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return read_extract(source, declared, **options)


def values(name: str, *texts: str, declared: Dataset | None = None, **options: Any) -> Extract:
    """One column of these values (and one of names), written without quotation marks."""
    lines = [f"{name};whoever", *(f"{text};x" for text in texts)]
    return read("\n".join(lines) + "\n", declared or dataset(name), **options)


def reasons(checked: Extract) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for fault in checked.faults:
        found.setdefault(fault.reason, []).append(fault.row)
    return found


# ---------------------------------------------------------------------- what is written is read

LINES = st.text(
    st.characters(exclude_characters="\r\n\0\ufffd", exclude_categories=["Cs"]), max_size=12
).map(lambda text: text.strip(reading.TRIMMED))


@given(
    st.lists(st.tuples(LINES, LINES), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([";", ",", "\t", "|"]),
)
def test_what_csv_writes_is_read_back(
    rows: list[tuple[str, str]], quoting: Any, ending: str, encoding: str, delimiter: str
) -> None:
    """Any text without line breaks comes back identical, whoever quoted it and however."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow(["first", "last", "number"])
    writer.writerows([first, last, ""] for first, last in rows)
    doc = {**TEXTS.to_mapping(), "format": {"encoding": encoding}}
    checked = read(out.getvalue().encode(encoding), Dataset.from_mapping(doc))
    assert checked.accepted
    assert checked.format.delimiter == delimiter
    assert checked.columns["first"].to_pylist() == [first or None for first, _ in rows]
    assert checked.columns["last"].to_pylist() == [last or None for _, last in rows]


CELLS = st.text(st.sampled_from('ab"\r\n \t\ufeff\u00e9\0\x0b\x85\u2028'), max_size=4)


@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=3).map(";".join), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
def test_the_quick_reader_and_the_careful_one_agree(lines: list[str], ending: str) -> None:
    """Where Arrow's reader is used, Python's csv module would have said the same."""
    body = "".join(line + ending for line in lines)
    faults = findings.Findings()
    quick = reading.Records(";", 2, "\n", faults)._quick(body)
    if quick is None:
        return
    rows = list(csv.reader(io.StringIO(body, newline=""), delimiter=";", strict=True))
    assert all(len(row) == 2 for row in rows)
    assert list(zip(*(column.to_pylist() for column in quick), strict=True)) == [
        tuple(row) for row in rows
    ]


def test_the_quick_reader_is_used_for_plain_files() -> None:
    """Otherwise the test above would compare nothing."""
    assert reading.Records(";", 2, "\n", findings.Findings())._quick("a;b\n01;NA\n") is not None


def test_leading_zeros_and_na_survive() -> None:
    """Nothing is guessed to be a number or missing."""
    body = "number;first;last\n01019912345;NA;null\n00000000000;NaN;007\n"
    columns = read(body, TEXTS).columns
    assert columns["number"].to_pylist() == ["01019912345", "00000000000"]
    assert columns["first"].to_pylist() == ["NA", "NaN"]
    assert columns["last"].to_pylist() == ["null", "007"]


def test_na_is_missing_where_declared() -> None:
    """And then the empty text isn't, unless it is listed too."""
    declared = dataset("note", missing=["NA"])
    checked = read('note;whoever\nNA;x\n"";x\nna;x\n', declared)
    assert checked.columns["note"].to_pylist() == [None, "", "na"]


def test_spaces_around_values_do_not_count() -> None:
    columns = read("first;last;number\n  Jan\t; \u00a0De Smet ;\n", TEXTS).columns
    assert columns["first"].to_pylist() == ["Jan"]
    assert columns["last"].to_pylist() == ["De Smet"]


def test_columns_may_come_in_another_order() -> None:
    """They are found by name, and given in the declared order."""
    checked = read("last;number;first\nDe Smet;;Jan\n", TEXTS)
    assert checked.columns.column_names == ["number", "first", "last"]
    assert checked.columns.to_pylist() == [{"number": None, "first": "Jan", "last": "De Smet"}]


@pytest.mark.parametrize("size", [4, 5, 7, 23, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_blocks_may_end_anywhere(size: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gives what it has; characters, lines and quoted values may be cut by the pieces."""
    monkeypatch.setattr(reading, "_BLOCK", size)
    body = 'first;last;number\r\nJosé;"De ""Smet""; jr";\r\nÀlix;Ünal;01019912345\r\n'
    doc = TEXTS.to_mapping()
    del doc["format"]
    checked = read_extract(_Trickle(body.encode(encoding)), Dataset.from_mapping(doc))
    assert checked.accepted
    assert checked.format.encoding == encoding
    assert checked.columns["first"].to_pylist() == ["José", "Àlix"]
    assert checked.columns["last"].to_pylist() == ['De "Smet"; jr', "Ünal"]


class _Trickle(io.RawIOBase):
    """A pipe that gives at most three bytes at a time, and can't go back."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def read(self, size: int = -1) -> bytes:
        piece, self._rest = self._rest[: min(size, 3)], self._rest[min(size, 3) :]
        return piece

    def seek(self, *_: int) -> int:
        raise OSError("a pipe can't seek")


def test_progress_tells_bytes() -> None:
    heard: list[int] = []
    body = b"first;last;number\nJan;De Smet;\n"
    check(io.BytesIO(body), TEXTS, progress=heard.append)
    assert heard == [len(body)]


# ------------------------------------------------------------------------------ the file's format


def test_format_is_detected_and_shown() -> None:
    declared = dataset("wage", "first")
    data = "whoever|first|wage\nMüller|Zoë|12,50\n".encode("cp1252")
    checked = read(data, declared)
    report = checked.report()["format"]
    assert report["delimiter"] == "|"
    assert report["encoding"] == "cp1252"
    assert report["decimal"] == ","
    assert report["detected"] == ["delimiter", "encoding", "decimal"]
    assert checked.columns["first"].to_pylist() == ["Zoë"]
    assert checked.columns["wage"].to_pylist() == [12.5]


def test_declared_format_is_not_called_detected() -> None:
    declared = dataset("wage", file={"delimiter": ";", "encoding": "utf-8", "decimal": "."})
    assert values("wage", "12.50", declared=declared).detected == ()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-16", b"first;last;number\n"),
        ("cp1252", "first;last;number\n".encode("utf-8-sig")),
        ("utf-8", "first;last;number\n".encode("utf-16")),
    ],
)
def test_first_bytes_contradict_the_declared_encoding(encoding: str, data: bytes) -> None:
    doc = {**TEXTS.to_mapping(), "format": {"encoding": encoding}}
    assert reasons(read(data, Dataset.from_mapping(doc))) == {"encoding_contradicted": [None]}


def test_undecodable_bytes_name_their_record() -> None:
    data = b"first;last;number\nJan;Smet;\nJos\xe9;Smet;\nPiet;Smet;\n"
    assert reasons(read(data, TEXTS)) == {"undecodable": [2]}


def test_damaged_utf16_is_refused() -> None:
    data = "first;last;number\nJan;Smet;\n".encode("utf-16") + b"\x00\xd8\x41"
    doc = {**TEXTS.to_mapping(), "format": {}}
    assert "undecodable" in reasons(read(data, Dataset.from_mapping(doc)))


def test_replacement_characters_are_told() -> None:
    checked = read("first;last;number\nJos\ufffd;Smet;\n", TEXTS)
    assert checked.accepted
    assert reasons(checked) == {"lost_character": [1]}


# ----------------------------------------------------------------------------------- structure

HEADER = "first;last;number\n"
BROKEN = {
    "empty file": ("", "empty_file", [None]),
    "byte order mark only": ("\ufeff", "empty_file", [None]),
    "header only": (HEADER, "no_records", [None]),
    "header and blank lines": (HEADER + "\n\n", "no_records", [None]),
    "blank header": ("\nJan;Smet;\n", "unreadable_header", [None]),
    "open quote in the header": ('"first;last;number\nJan;Smet;\n', "unreadable_header", [None]),
    "column twice": ("first;last;first;number\na;b;c;\n", "duplicate_column", [None]),
    "unknown column": ("first;last;number;age\na;b;;3\n", "unknown_column", [None]),
    "missing column": ("first;last\na;b\n", "missing_column", [None]),
    "no header": ("Jan;Smet;01019912345\n", "unknown_column", [None, None, None]),
    "field too many": (HEADER + "a;b;\na;b;;d\na;b;\n", "too_many_fields", [2]),
    "field too few": (HEADER + "a;b;\na;b\na;b;\n", "too_few_fields", [2]),
    "blank line between": (HEADER + "a;b;\n\n\na;c;\n", "too_few_fields", [2, 3]),
    "quote never closed": (HEADER + 'a;b;\na;"b;\nc;d;\n', "unterminated_quote", [2]),
    "text after a quote": (HEADER + 'a;b;\n"a"x;b;\n', "text_after_quote", [2]),
    "another line end": ("first;last;number\na;b;\ra;c;\n", "stray_line_break", [1]),
    "line break in a value": (HEADER + 'a;"b\nc";\n', "line_break", [1]),
    "NUL byte": (HEADER + "a;b\0c;\n", "null_byte", [1]),
    "endless value, unquoted": (HEADER + f"a;{'b' * 200_000};\n", "field_too_long", [1]),
    "endless value": (HEADER + f'a;"{"b" * 200_000}";\n', "field_too_long", [1]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_and_say_where(case: str) -> None:
    body, reason, rows = BROKEN[case]
    checked = read(body, TEXTS)
    assert not checked.accepted
    assert checked.columns is None
    assert reasons(checked)[reason] == rows


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory."""
    monkeypatch.setattr(reading, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(reading, "_BLOCK", 100)
    assert reasons(read(HEADER + "a" * 5000, TEXTS)) == {"field_too_long": [None]}


def test_blank_lines_at_the_end_do_not_count() -> None:
    checked = read(HEADER + "a;b;\n\r\n\n", TEXTS)
    assert checked.accepted
    assert checked.records == 1


def test_a_last_line_may_lack_its_end() -> None:
    assert read(HEADER + "a;b;\nc;d;", TEXTS).records == 2


def test_an_unknown_column_is_not_named() -> None:
    """S16: without a header the first line is somebody."""
    report = json.dumps(read("Jan;De Smet;85073003328\nAn;Peeters;\n", TEXTS).report())
    assert "column 1" in report
    assert not any(text in report for text in ("Jan", "Smet", "85073003328"))


def test_an_extra_field_never_shifts_columns() -> None:
    """The row is a fault, its neighbours keep their numbers."""
    checked = read(HEADER + "a;b;\nx;a;b;\n;;12\n", TEXTS)
    assert reasons(checked) == {"too_many_fields": [2], "number_shape": [3]}


def test_a_fault_after_many_blocks_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BLOCK", 64)
    body = HEADER + 'a;b;\n"q""q";b;\n' * 500 + "a;b\n" + "a;b;\n" * 20
    assert reasons(read(body, TEXTS))["too_few_fields"] == [1001]


# -------------------------------------------------------------------------------------- types

BAD = {
    ("number", "8507300332"): "number_shape",
    ("number", "850730033281"): "number_shape",
    ("number", "85O73003328"): "number_shape",
    ("firm", "12345678"): "number_shape",
    ("born", "2001-02-29"): "not_a_date",
    ("born", "29/02/2000"): "not_a_date",
    ("born", "1985-00-12"): "not_a_date",
    ("day", "2024-01-00"): "not_a_date",
    ("day", "2024-13-01"): "not_a_date",
    ("day", "0000-01-01"): "not_a_date",
    ("sex", "Q"): "not_a_sex",
    ("post", "0900"): "not_a_postcode",
    ("post", "90000"): "not_a_postcode",
    ("place", "4402"): "not_a_municipality",
    ("branch", "6.2"): "not_a_nace",
    ("wage", "12 euro"): "not_an_amount",
    ("wage", "1.234,50"): "not_an_amount",
    ("wage", "1e5"): "not_an_amount",
    ("wage", "1.234"): "ambiguous_amount",
    ("stands_for", "-0,5"): "negative_weight",
    ("stands_for", "many"): "not_an_amount",
    ("count", "1.0"): "not_an_integer",
    ("count", "9" * 19): "not_an_integer",
    ("quarter", "2024-1"): "not_a_quarter",
    ("quarter", "2024Q5"): "not_a_quarter",
    ("year", "24"): "not_a_year",
    ("studies", "maybe"): "not_yes_or_no",
    ("mail", "nobody"): "not_an_email",
}
GOOD: dict[str, dict[str, Any]] = {
    "number": {"85073003328": "85073003328", "85.07.30-033.28": "85.07.30-033.28"},
    "firm": {"0202239951": "0202239951", "BE 0202.239.951": "BE 0202.239.951"},
    "born": {"2000-02-29": "2000-02-29"},
    "sex": {"M": "M", "v": "v", "2": "2"},
    "post": {"9000": "9000"},
    "place": {"02000": "02000"},
    "branch": {"62.01": "62.01", "0111": "0111", "A": "A", "62": "62"},
    "wage": {"12,5": 12.5, "-3": -3.0, "0": 0.0, "1234567,89": 1234567.89},
    "stands_for": {"0": 0.0, "12,5": 12.5},
    "count": {"-7": -7, "007": 7},
    "quarter": {"2024Q4": "2024Q4"},
    "year": {"1999": "1999"},
    "studies": {"ja": True, "OUI": True, "1": True, "nee": False, "n": False},
    "mail": {"a@b.be": "a@b.be"},
}


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_value_of_another_type_is_an_error(name: str, text: str) -> None:
    checked = values(name, "", text)
    assert not checked.accepted
    assert reasons(checked) == {BAD[name, text]: [2]}
    assert checked.faults[0].variable == name


@pytest.mark.parametrize("name", GOOD)
def test_values_are_typed(name: str) -> None:
    checked = values(name, *GOOD[name], "")
    assert checked.accepted, checked.faults
    assert checked.columns[name].to_pylist() == [*GOOD[name].values(), None]


@pytest.mark.parametrize("name", [*GOOD, "first", "day", "state", "note"])
def test_a_required_value_is_missed(name: str) -> None:
    checked = values(name, "", declared=dataset(name, **{name: {"required": True}}))
    assert reasons(checked) == {"missing_value": [1]}


def test_code_lists_allow_nothing_else() -> None:
    declared = dataset(
        "state", state={"codes": {"01": {"en": "seeks work"}, "02": {"en": "works"}}}
    )
    assert values("state", "01", "02", "", declared=declared).accepted
    assert reasons(values("state", "01", "1", declared=declared)) == {"not_in_code_list": [2]}


def test_declared_codes_of_a_sex_replace_the_known_ones() -> None:
    declared = dataset("sex", sex={"codes": {"3": {"en": "male"}, "4": {"en": "female"}}})
    assert values("sex", "3", "4", declared=declared).accepted
    assert reasons(values("sex", "M", declared=declared)) == {"not_in_code_list": [1]}


def test_dates_are_read_in_their_declared_format() -> None:
    declared = dataset("born", born={"format": "%d/%m/%Y"})
    assert (
        values("born", "03/04/1999", declared=declared).columns["born"][0].as_py() == "1999-04-03"
    )
    assert reasons(values("born", "3/4/1999", declared=declared)) == {"not_a_date": [1]}


def test_amounts_with_declared_thousands() -> None:
    declared = dataset("wage", file={"decimal": ",", "thousands": "."})
    checked = values("wage", "1.234,50", "1234,50", "12.345.678", declared=declared)
    assert checked.columns["wage"].to_pylist() == [1234.5, 1234.5, 12345678.0]
    assert reasons(values("wage", "12.34", declared=declared)) == {"not_an_amount": [1]}


def test_one_decimal_mark_in_a_file() -> None:
    """The first clear amount decides, whatever column and block it is in."""
    assert reasons(values("wage", "12", "12.50", "12,50")) == {"not_an_amount": [3]}
    assert values("wage", "1.234", "1.50").columns["wage"].to_pylist() == [1.234, 1.5]


# ------------------------------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("number", "85073003329", "check_digit"),
        ("number", "85.07.30-033.29", "check_digit"),
        ("firm", "0202239952", "check_digit"),
        ("born", "1985-07-00", "partial_date"),
        ("born", "1985-00-00", "partial_date"),
        ("born", "2025-01-01", "implausible_date"),
        ("born", "1900-01-01", "implausible_date"),
    ],
)
def test_doubtful_values_are_accepted_and_told(name: str, text: str, reason: str) -> None:
    checked = values(name, "", text, period="2024")
    assert checked.accepted
    assert reasons(checked) == {reason: [2]}
    assert checked.columns[name].to_pylist() == [None, text]


def test_equal_rows_are_told_from_the_second_on() -> None:
    checked = read(HEADER + "a;b;\nb;a;\na ;b;\na;b;\n", TEXTS)
    assert checked.accepted
    assert reasons(checked) == {"duplicate_row": [3, 4]}


def test_a_line_break_in_a_text_is_told() -> None:
    checked = read('note;whoever\n"two\nlines";x\n', dataset("note"))
    assert checked.accepted
    assert reasons(checked) == {"line_break_in_text": [1]}
    assert checked.columns["note"].to_pylist() == ["two\nlines"]


# -------------------------------------------------------------------------------------- report


def test_counts_are_exact_and_lists_are_not_endless() -> None:
    checked = values("post", *(["1"] * 1500))
    (group,) = checked.report()["faults"]
    assert group["count"] == 1500
    assert group["rows"] == list(range(1, findings.LISTED + 1))
    assert checked.report()["errors"] == 1500
    assert checked.faults[-1].count == 500


def test_every_reason_has_a_sentence_that_ends() -> None:
    for severity, sentence in findings.REASONS.values():
        assert severity in ("error", "warning")
        assert sentence.endswith((".", "?"))


def test_no_value_reaches_a_report() -> None:
    """S16: a report names records, variables and reasons only."""
    planted = ["Xqzjan", "99887766554", "Zzyzxstraat", "31/31/1931", "Wqvplaats", "QX-77"]
    declared = dataset("first", "number", "born", "state", state={"codes": {"01": {"en": "x"}}})
    lines = ["first;number;born;state;whoever"]
    lines += [";".join(planted[i % 6 :] + planted[: i % 6])[: 40 + i] for i in range(60)]
    for body in ("\n".join(lines), "\n".join(lines[1:]), "\n".join(lines) + '\n"' + planted[0]):
        told = json.dumps(read(body, declared).report()) + repr(read(body, declared).faults)
        assert not any(value in told for value in planted)


# --------------------------------------------------------------------------------- two tables


def _keys(count: int, seed: int = 1) -> pa.Array:
    rng = np.random.default_rng(seed)
    return pa.array([rng.bytes(16) for _ in range(count)], pa.binary(16))


def _split() -> tuple[Dataset, pa.Table, pa.Table]:
    declared = Dataset.from_mapping(
        {
            "id": "wages",
            "holder": "somebody",
            "shape": "spells",
            "variables": [
                {"name": "number", "role": "identifier", "type": "national_number"},
                {"name": "phone", "role": "identifier", "type": "phone"},
                {"name": "born", "role": "quasi-identifier", "type": "birth_date"},
                {"name": "wage", "role": "sensitive", "type": "amount"},
                {"name": "studies", "role": "other", "type": "yes_no"},
            ],
            "references": [
                {
                    "name": "self",
                    "unit_type": "person",
                    "columns": {"national_number": "number", "birth_date": "born"},
                }
            ],
        }
    )
    body = (
        "number,phone,born,wage,studies\n"
        "85073003328,02/5551234,1985-07-30,12.50,ja\n"
        ",,1985-07-00,,nee\n"
        "00010100105,,2000-01-01,7,\n"
    )
    return declared, *halves(io.BytesIO(body.encode()), declared, _keys(3))


def test_identifiers_and_payload_share_nothing_but_key_and_two_sided_columns() -> None:
    """S16: a phone goes nowhere, a birth date both ways; no identifier is in the payload."""
    _, identifiers, payload = _split()
    assert identifiers.column_names == ["row_key", "record", "number", "born"]
    assert payload.column_names == ["row_key", "born", "wage", "studies"]
    assert identifiers.schema.types == [pa.binary(16), pa.int64(), pa.string(), pa.string()]
    assert payload.schema.types == [pa.binary(16), pa.date32(), pa.float64(), pa.bool_()]


def test_row_order_tells_nothing() -> None:
    """Both tables are sorted by a random key; the record number says which line it was."""
    _, identifiers, payload = _split()
    keys = identifiers["row_key"].to_pylist()
    assert keys == sorted(keys) == payload["row_key"].to_pylist()
    by_record = dict(
        zip(identifiers["record"].to_pylist(), identifiers["born"].to_pylist(), strict=True)
    )
    assert by_record == {1: "1985-07-30", 2: "1985-07-00", 3: "2000-01-01"}
    wages = dict(zip(identifiers["record"].to_pylist(), payload["wage"].to_pylist(), strict=True))
    assert wages == {1: 12.5, 2: None, 3: 7.0}


def test_a_partial_birth_date_is_text_for_linking_and_missing_for_release() -> None:
    _, identifiers, payload = _split()
    where = identifiers["born"].to_pylist().index("1985-07-00")
    assert payload["born"].to_pylist()[where] is None


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([None, b"x" * 16, b"y" * 16], pa.binary(16)),
        pa.array([b"x" * 16] * 3, pa.binary(16)),
        pa.array([b"x"] * 3, pa.binary()),
    ],
    ids=["one is missing", "not distinct", "another type"],
)
def test_row_keys_must_fit(keys: pa.Array) -> None:
    rows = read(HEADER + "a;b;\nc;d;\ne;f;\n", TEXTS).columns
    with pytest.raises(ExtractError, match=r"[Kk]ey"):
        split(rows.append_column("row_key", keys), TEXTS)


def test_conversion_lists_give_pairs() -> None:
    declared = Dataset.from_mapping(
        {
            "id": "turned",
            "holder": "somebody",
            "kind": "conversion",
            "variables": [
                {"name": "new", "role": "identifier", "type": "national_number"},
                {"name": "old", "role": "identifier", "type": "national_number"},
            ],
            "conversion": {"from": "old", "to": "new"},
        }
    )
    body = b"old,new\n03412643735,03012636521\n04433073144,\n"
    identifiers, payload = halves(io.BytesIO(body), declared)
    assert extracts.conversions(identifiers, declared).to_pylist() == [
        {"bis": "03412643735", "national": "03012636521"}
    ]
    assert payload.column_names == ["row_key"]
    with pytest.raises(ExtractError, match="conversion"):
        extracts.conversions(identifiers, TEXTS)


def test_a_large_file_is_read_in_blocks(tmp_path: Path) -> None:
    """What is held while reading is one block and what came out, not the file."""
    path = tmp_path / "large.csv"
    lines = 'first;last;number\n"Jan";De Smet;85073003328\n' + "An;Peeters;\n" * 400_000
    path.write_text(lines, "utf-8")
    sizes: list[int] = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            sizes.append(size or 0)
            return super().read(size) or b""

    with Watched(path) as file:
        checked = check(file, TEXTS)
    assert checked.records == 400_001
    assert min(sizes) > 0
    assert max(sizes) <= reading._BLOCK
