"""The package: repeatable, described, honest about what is missing, safe to unpack."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest
import rfc8785

from policies import evidence, releases
from policies.attack import simulate
from policies.coarsening import LANGUAGES, NOT_IN_SOURCE, SUPPRESSED, parse_rule, shown
from policies.cumulative import Suppression, suppress
from policies.joinback import join_back
from policies.releases import PackageError, Variable
from policies.scanner import Finding, scan
from tests.policies.population import BREAKS, SCENARIO, young_people
from tests.policies.test_cumulative import FIRST, SECOND

TITLE = {"en": "Young people <15–29>", "nl": "Jongeren", "fr": "Jeunes", "de": "Jugendliche"}
AGE = parse_rule([{"age_class": {"reference_date": "2024-12-31", "breaks": BREAKS}}])
PLACE = parse_rule([{"geography": {"level": "arrondissement"}}])
WAGE = parse_rule([{"round": {"to": 100}}, {"top_code": {"at": 20000}}])
KEEP = parse_rule([{"keep": {}}])


def variables() -> list[Variable]:
    status = {"W": {"en": "at <work>", "nl": "aan het werk"}, "N": {"en": "not"}}
    return [
        Variable("units", "unit", TITLE, "pseudonym"),
        Variable("units", "age_class", TITLE, "birth_date", "benefit", "geboren", AGE),
        Variable("units", "arrondissement", TITLE, "postcode", "benefit", "post", PLACE),
        Variable("work", "unit", TITLE, "pseudonym"),
        Variable("work", "status", TITLE, "code", "work", "toestand", KEEP, status),
        Variable("work", "wage", TITLE, "amount", "work", "loon", WAGE),
    ]


def suppression() -> Suppression:
    people = young_people(np.random.default_rng(1), 5000)
    first = suppress([], people.displayed("first", FIRST), SCENARIO, 5, 0.1)
    return suppress([first.displayed], people.displayed("second", SECOND), SCENARIO, 5, 0.1)


MADE = suppression()


def tables() -> dict[str, pa.Table]:
    units = MADE.displayed.table
    wages = np.random.default_rng(2).gamma(2, 3000, units.num_rows)
    paid = pa.array(wages, mask=wages > 15000)
    status = pa.array(["W" if wage > 4000 else None for wage in wages])
    columns = {"unit": units["unit"], **shown("status", status)}
    return {
        "units": units,
        "work": pa.table({**columns, **shown("wage", WAGE.apply(paid, "amount"))}),
    }


DELIVERIES = {"work": [{"generation": 1, "mode": "new", "rows": 3, "rows_set_aside": 0}]}


def report(findings: dict[str, list[Finding]] | None = None) -> dict[str, Any]:
    return releases.report(
        unit_type="person",
        scenario=SCENARIO,
        suppression=MADE,
        findings=findings or {name: scan(table) for name, table in tables().items()},
        deliveries=DELIVERIES,
    )


def package(**changes: Any) -> dict[str, bytes]:
    parts: dict[str, Any] = {
        "permit": "permit-1",
        "project": "neet",
        "period": "2025",
        "title": TITLE,
        "tables": tables(),
        "variables": variables(),
        "report": report(),
        "deliveries": DELIVERIES,
    }
    return releases.package(**{**parts, **changes})


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return package()


# --- repeatable ----------------------------------------------------------------------------------


def test_the_same_release_is_the_same_bytes(files: dict[str, bytes]) -> None:
    """V14: byte for byte, whatever order rows and tables come in and however columns are stored."""
    order = np.random.default_rng(9).permutation(5000)

    def another(table: pa.Table) -> pa.Table:
        mixed = table.take(pa.array(order))
        return pa.table(
            {
                name: column.dictionary_encode() if pa.types.is_string(column.type) else column
                for name, column in zip(mixed.column_names, mixed.columns, strict=True)
            }
        ).replace_schema_metadata({"pandas": "{}"})

    mixed = {name: another(table) for name, table in reversed(tables().items())}
    again = package(tables=mixed, variables=variables()[::-1])
    assert again == files
    assert releases.archive(again) == releases.archive(dict(reversed(files.items())))


def test_rows_come_in_the_order_of_pseudonyms(files: dict[str, bytes]) -> None:
    """The order of the source tells nothing."""
    for name in ("units", "work"):
        table = pyarrow.parquet.read_table(io.BytesIO(files[f"data/{name}.parquet"]))
        assert table["unit"].to_pylist() == sorted(table["unit"].to_pylist())


def test_no_file_holds_a_time_or_arrow_metadata(files: dict[str, bytes]) -> None:
    schema = pyarrow.parquet.read_schema(io.BytesIO(files["data/units.parquet"]))
    assert schema.metadata is None
    with tarfile.open(fileobj=io.BytesIO(releases.archive(files))) as tar:
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) == (
                0,
                0,
                0,
                "",
                0o644,
            )


def test_csv_and_parquet_say_the_same(files: dict[str, bytes]) -> None:
    for name in ("units", "work"):
        parquet = pandas.read_parquet(io.BytesIO(files[f"data/{name}.parquet"]))
        text = pandas.read_csv(io.BytesIO(files[f"data/{name}.csv"]), dtype={"arrondissement": str})
        pandas.testing.assert_frame_equal(parquet, text, check_dtype=False)


# --- manifest ------------------------------------------------------------------------------------


def test_the_manifest_lists_every_file(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["manifest.json"])
    assert rfc8785.dumps(manifest) == files["manifest.json"]
    assert (manifest["permit"], manifest["project"], manifest["period"]) == (
        "permit-1",
        "neet",
        "2025",
    )
    assert {entry["path"] for entry in manifest["files"]} == files.keys() - {"manifest.json"}
    for entry in manifest["files"]:
        data = files[entry["path"]]
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["tables"][0] == {
        "name": "units",
        "rows": 5000,
        "columns": ["unit", "age_class", "arrondissement"],
    }
    assert releases.faults({**files, "manifest.sig": b"{}"}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files: {**files, "README.md": b"other"}, ["README.md was changed"]),
        (lambda files: {**files, "extra": b""}, ["extra is not in the manifest"]),
        (
            lambda files: {path: data for path, data in files.items() if path != "report.json"},
            ["report.json is missing"],
        ),
        (lambda files: {"README.md": files["README.md"]}, ["manifest.json is missing"]),
        (lambda files: {**files, "manifest.json": b"{"}, ["manifest.json can't be read"]),
        (lambda files: {**files, "manifest.json": b"[]"}, ["manifest.json can't be read"]),
    ],
)
def test_what_differs_from_the_manifest_is_named(
    files: dict[str, bytes], change: Callable[[dict[str, bytes]], dict[str, bytes]], says: list[str]
) -> None:
    assert releases.faults(change(files)) == says


# --- dictionary ----------------------------------------------------------------------------------


def test_the_dictionary_describes_every_column(files: dict[str, bytes]) -> None:
    """S12, V05: title, source, rule in four languages, codes, and where the places come from."""
    dictionary = json.loads(files["dictionary.json"])
    columns = {
        (table["name"], item["name"]): item
        for table in dictionary["tables"]
        for item in table["variables"]
    }
    for name, table in tables().items():
        assert {column for one, column in columns if one == name} == set(table.column_names)
    place = columns["units", "arrondissement"]
    assert place["source"] == {"dataset": "benefit", "variable": "post"}
    assert set(place["rule"]) == set(LANGUAGES)
    assert place["codes"]["44000"]["fr"] == "Arrondissement de Gand"
    assert columns["work", "status"]["codes"]["W"]["nl"] == "aan het werk"
    assert columns["work", "wage_status"]["status_of"] == "wage"
    assert "2024-12-31" in columns["units", "age_class"]["rule"]["de"]
    assert set(dictionary["missing"]) == {NOT_IN_SOURCE, "_not_linked", SUPPRESSED}
    assert "Statbel" in dictionary["classifications"]


def test_every_column_has_to_be_described() -> None:
    with pytest.raises(PackageError, match=r"work\.wage stands in no dictionary"):
        package(variables=variables()[:-1])


# --- what a table has to be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"age_class": ["a"], "unit": ["P1"]}), "first column"),
        (pa.table({}), "first column"),
        (pa.table({"unit": ["P1", "P1"]}), "unit twice"),
        (pa.table({"unit": ["P1", None]}), "missing values without a reason"),
        (pa.table({"unit": ["P1"], "wage": [None]}), "missing values without a reason"),
        (pa.table({"unit": ["P1"], "wage": pa.array([None], pa.float64())}), "without a reason"),
    ],
)
def test_missing_is_never_silent(table: pa.Table, says: str) -> None:
    """S35: a unit stands once in the table of units; a gap is always explained."""
    with pytest.raises(PackageError, match=says):
        package(tables={"units": table})


@pytest.mark.parametrize("name", ["../up", "a/b", "A", "", "-x", "ünits"])
def test_names_of_tables_are_safe_paths(name: str) -> None:
    with pytest.raises(PackageError, match="name has to be"):
        package(tables={name: tables()["units"]})


# --- pages ---------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects tags and text; fails on tags that don't close in order."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(data.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("page", ["dictionary.html", "report.html"])
def test_pages_stand_alone_and_escape_texts(files: dict[str, bytes], page: str) -> None:
    """V32: languages are marked; nothing is loaded; a title can't bring in markup."""
    hostile = dict.fromkeys(LANGUAGES, '"><script>alert(1)</script>')
    changed = [replace(v, title=hostile, source=hostile["en"]) for v in variables()]
    data = package(title=hostile, variables=changed)[page]
    assert b"<script" not in data
    assert b"&lt;script&gt;" in data
    parsed = Page(files[page])
    tags = [tag for tag, _ in parsed.seen]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert {attributes.get("lang") for _, attributes in parsed.seen} >= set(LANGUAGES)
    assert tags.count("h1") == 1
    assert tags.count("caption") == tags.count("table") > 0


def test_the_report_shows_figures_and_a_picture_in_words(files: dict[str, bytes]) -> None:
    """S08: a report with each release."""
    page = Page(files["report.html"])
    text = " ".join(page.text)
    assert [a.get("role") for tag, a in page.seen if tag == "svg"] == ["img"]
    assert "desc" in [tag for tag, _ in page.seen]
    assert "0 with 1–4 units" in text
    assert "arrondissement (changes)" in text
    assert "minstens 5 personen" in text
    figures = json.loads(files["report.json"])
    assert figures["k"] == 5
    assert figures["passes"]
    assert figures["units"] == 5000
    assert figures["this_release"]["smallest_cell"] >= 5
    assert figures["all_releases"]["smallest_cell"] >= 5
    assert figures["suppressed"]["units"] == MADE.units > 0
    assert figures["before_suppression"]["failing_together"] > 0
    assert figures["scanner"]["findings"] == 0


def test_the_report_tells_what_an_intruder_a_holder_and_the_last_release_come_to() -> None:
    """S08, S39: each figure in words, the second picture with its text, languages marked; all of it
    is a file of the manifest that gets signed."""
    people = young_people(np.random.default_rng(1), 5000)
    first = suppress([], people.displayed("first", FIRST), SCENARIO, 5, 0.1).displayed
    tries = simulate([first], MADE.displayed, people.displayed("x", SECOND).table, [], 1, seed=1)
    found = join_back("vdab", MADE.displayed.table, {"work": tables()["work"]}, first.table, 1)
    made = releases.report(
        unit_type="person",
        scenario=SCENARIO,
        suppression=MADE,
        findings={},
        deliveries=DELIVERIES,
        own=1,
        coarser={"arrondissement": "province"},
        holders=[found.to_doc()],
        attacks=[one.to_doc() for one in tries],
        changes=[evidence.changes(first, MADE.displayed, 5)],
        diversity=evidence.diversity(MADE.displayed, tables(), ["status"]),
    )
    assert (made["releases"], made["releases_elsewhere"]) == (1, 1)
    files = package(report=made)
    page = Page(files["report.html"])
    text = " ".join(page.text)
    assert [a.get("role") for tag, a in page.seen if tag == "svg"] == ["img", "img"]
    assert "script" not in [tag for tag, _ in page.seen]
    for words in (
        "An intruder tries to name rows", "Een indringer met een exact register",
        "Un intrus disposant", "Ein Angreifer", "all releases, with errors: ", "sure of none",
        "Recipients that delivered data themselves", "What changed since the last release",
        "Shown coarser than permitted: arrondissement",
        "Units that stayed and show another age_class",
        "Prosecutor's risk, at most", "work.status",
    ):  # fmt: skip
        assert words in text
    listed = {entry["path"] for entry in json.loads(files[releases.MANIFEST])["files"]}
    assert {"report.html", "report.json"} <= listed
    assert json.loads(files["report.json"])["measures"]["k"] >= 5


def test_the_report_doesnt_give_back_what_was_withheld(files: dict[str, bytes]) -> None:
    """The small cells that suppression hid are for whoever clears, not for the package."""
    assert MADE.before.together[0].units < 5
    text = files["report.json"].decode() + files["report.html"].decode()
    for cell in MADE.before.together[:20]:
        assert cell.labels["age_class"] not in text
    assert "→" not in text


def test_findings_of_the_scanner_fail_the_report() -> None:
    found = report({"units": [Finding("status", "email", 2)]})
    assert not found["passes"]
    assert found["scanner"] == {
        "tables": {"units": [{"column": "status", "kind": "email", "count": 2}]},
        "findings": 1,
    }


def test_the_readme_names_files_and_codes(files: dict[str, bytes]) -> None:
    text = files["README.md"].decode()
    assert text.startswith("# Young people <15–29>, 2025\n")
    assert "`data/work` (`.parquet`, `.csv`, `.dta`, `.sav`): 5000 rows, 4 columns" in text
    assert "Their labels are in English" in text
    plain = package(formats=["csv"])["README.md"].decode()
    assert "Stata 14" not in plain
    assert "labels" not in plain
    assert SUPPRESSED in text


# --- archive -------------------------------------------------------------------------------------


def test_an_archive_comes_back_as_it_went(files: dict[str, bytes], tmp_path: Path) -> None:
    archived = releases.archive(files)
    assert releases.contents(archived) == files
    written = releases.extract(archived, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == files.keys()
    assert (tmp_path / "out" / "README.md").read_bytes() == files["README.md"]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out" / "data").stat().st_mode & 0o777 == 0o700


def test_unpacking_again_mends_and_writes_nothing_over(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    """What is there already and the same stays; what differs stops it before a byte is written."""
    archived, out = releases.archive(files), tmp_path / "out"
    written = releases.extract(archived, out)
    kept, lost = out / "README.md", out / "manifest.json"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert releases.extract(archived, out) == written
    assert lost.read_bytes() == files["manifest.json"]
    assert kept.stat().st_mtime_ns == before
    lost.unlink()
    kept.write_text("mine")
    with pytest.raises(PackageError, match=r"README\.md"):
        releases.extract(archived, out)
    assert kept.read_text() == "mine"
    assert not lost.exists()
    kept.unlink()
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError):
        releases.extract(archived, out)
    assert not (tmp_path / "elsewhere").exists()


def tar_of(*entries: tuple[str, bytes, str]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, kind, target in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry, io.BytesIO())
    return sink.getvalue()


@pytest.mark.parametrize(
    "archived",
    [
        tar_of(("../evil", tarfile.REGTYPE, "")),
        tar_of(("/etc/evil", tarfile.REGTYPE, "")),
        tar_of(("data/../../evil", tarfile.REGTYPE, "")),
        tar_of(("data//twice", tarfile.REGTYPE, "")),
        tar_of((".hidden", tarfile.REGTYPE, "")),
        tar_of(("a\\b", tarfile.REGTYPE, "")),
        tar_of(("link", tarfile.SYMTYPE, "/etc/passwd")),
        tar_of(("hard", tarfile.LNKTYPE, "/etc/passwd")),
        tar_of(("pipe", tarfile.FIFOTYPE, "")),
        tar_of(("folder", tarfile.DIRTYPE, "")),
        tar_of(("same", tarfile.REGTYPE, ""), ("same", tarfile.REGTYPE, "")),
        b"no tar at all" * 100,
    ],
)
def test_an_archive_cant_write_outside_its_folder(archived: bytes, tmp_path: Path) -> None:
    with pytest.raises(PackageError):
        releases.extract(archived, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_was_cut_short_is_noticed(files: dict[str, bytes]) -> None:
    archived = releases.archive(files)
    with pytest.raises(PackageError):
        releases.contents(archived[: len(archived) // 2])
