"""Places: the real tables, and the laws that hold over all of them."""

import csv
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PolicyError, classifications
from policies.classifications import LEVELS, SITUATIONS, UnmappedCodeError, build, labels, level

FOLDER = Path(classifications.__file__).parent


def codes(source: str, situation: int) -> list[str]:
    if source == "postcode":
        with (FOLDER / "postcodes.csv").open(encoding="utf-8") as file:
            return [row["postcode"] for row in csv.DictReader(file)]
    with (FOLDER / "municipalities.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {2018: "arrondissement_2018", 2019: "in_2019", 2025: "successor"}[situation]
    return [row["code"] for row in rows if row[known]]


EVERY = [
    (source, year)
    for source in ("municipality", "postcode")
    for year in classifications.situations_of(source)
]


def test_places_that_last_have_a_region_in_every_situation() -> None:
    """What dummies draw from: any rule maps them."""
    for source, number in (("municipality", 581), ("postcode", 1100)):
        codes = classifications.lasting(source)
        assert len(codes) >= number * 0.9
        for situation in classifications.situations_of(source):
            places = classifications.level(pa.array(codes), source, "region", situation)
            assert places.null_count == 0


def test_counts_are_the_published_ones() -> None:
    """S10: 589 municipalities before 2019, 581 then, 565 in 2025; 43 arrondissements each time, 10
    provinces, 3 regions."""
    for year, number in ((2018, 589), (2019, 581), (2025, 565)):
        places = level(pa.array(codes("municipality", year)), level="municipality", situation=year)
        assert len(set(places.to_pylist())) == number
        areas = level(pa.array(codes("municipality", year)), situation=year)
        assert len(set(areas.to_pylist())) == 43
    assert len(labels("arrondissement")) == 43 + 1  # Mouscron was one until 2018
    assert len(labels("province")) == 10 + 1  # Brussels stands under its region
    assert set(labels("region")) == {"02000", "03000", "04000"}


@pytest.mark.parametrize(("source", "situation"), EVERY)
def test_a_coarser_level_never_separates_what_a_finer_one_joined(
    source: str, situation: int
) -> None:
    """S10: over every code there is, in both situations."""
    everything = pa.array(codes(source, situation))
    columns = [level(everything, source, at, situation).to_pylist() for at in LEVELS]
    for finer, coarser in pairwise(columns):
        above: dict[str, str] = {}
        for fine, coarse in zip(finer, coarser, strict=True):
            assert above.setdefault(fine, coarse) == coarse


@pytest.mark.parametrize(("source", "situation"), EVERY)
@pytest.mark.parametrize("at", LEVELS)
def test_levels_are_idempotent(source: str, situation: int, at: str) -> None:
    """S10: coarsening again to the same level changes nothing, and every code gets a named area."""
    once = level(pa.array(codes(source, situation)), source, at, situation)
    assert level(once, at, at, situation).equals(once)
    assert set(once.to_pylist()) <= labels(at).keys()
    assert once.null_count == 0


@given(st.lists(st.sampled_from([*codes("municipality", 2025), None])), st.sampled_from(LEVELS))
def test_each_value_is_mapped_by_itself(chosen: list[str | None], at: str) -> None:
    """Rows don't influence each other; chunked and dictionary-encoded columns say the same."""
    column = pa.array(chosen, pa.string())
    places = level(column, level=at)
    alone = [level(pa.array([c], pa.string()), level=at)[0].as_py() for c in chosen]
    assert places.to_pylist() == alone
    assert level(pa.chunked_array([column, column]), level=at).to_pylist() == alone * 2
    assert level(column.dictionary_encode(), level=at).to_pylist() == alone


def test_mergers_are_followed_by_reference_year() -> None:
    """S10: Zwijndrecht (11056) merged across an arrondissement border in 2025."""
    old = pa.array(["11056"])
    assert level(old, level="arrondissement", situation=2019).to_pylist() == ["11000"]
    assert level(old, level="arrondissement", situation=2025).to_pylist() == ["46000"]
    assert level(old, level="municipality", situation=2025).to_pylist() == ["46030"]


def test_codes_from_before_2019_are_followed() -> None:
    """S10: Sint-Amands (12034) became a part of Puurs-Sint-Amands (12041); Mouscron (54007) lost
    its arrondissement and its code."""
    old = pa.array(["12034", "54007"])
    for year, places, areas in (
        (2018, ["12034", "54007"], ["12000", "54000"]),
        (2019, ["12041", "57096"], ["12000", "57000"]),
        (2025, ["12041", "57096"], ["12000", "57000"]),
    ):
        assert level(old, level="municipality", situation=year).to_pylist() == places
        assert level(old, situation=year).to_pylist() == areas
    with pytest.raises(PolicyError, match="known in the situations 2019 and 2025"):
        level(pa.array(["1000"]), "postcode", "region", 2018)


@pytest.mark.parametrize(("source", "situation"), EVERY)
def test_every_place_has_a_degree_of_urbanisation(source: str, situation: int) -> None:
    """S10: or the documented class `mixed`, which a rule can override, and nothing else."""
    places = pa.array(codes(source, situation))
    degrees = classifications.degree(places, source, situation, {})
    assert set(degrees.to_pylist()) <= set(classifications.DEGREES)
    assert degrees.null_count == 0
    mixed = classifications.without_degree(situation)
    assert len(mixed) == {2018: 0, 2019: 4, 2025: 10}[situation]
    decided = classifications.degree(places, source, situation, dict.fromkeys(mixed, "1"))
    assert "mixed" not in decided.to_pylist()
    unchanged = [
        was == now or was == "mixed"
        for was, now in zip(degrees.to_pylist(), decided.to_pylist(), strict=True)
    ]
    assert all(unchanged)


def test_antwerp_has_no_degree_in_2025_and_is_a_city_before() -> None:
    antwerp = pa.array(["11002", None])
    found = [classifications.degree(antwerp, "municipality", year, {}) for year in SITUATIONS]
    assert [one.to_pylist() for one in found] == [["1", None], ["1", None], ["mixed", None]]


def test_nationalities() -> None:
    """Every country of the standard has a group; letters are read, and what isn't a country is an
    error with counts."""
    rows = classifications.table("countries.csv")
    for code in ("alpha_2", "alpha_3"):
        every = pa.array([row[code] for row in rows])
        for grouping in classifications.GROUPINGS:
            groups = classifications.nationality(every, grouping)
            assert groups.null_count == 0
            assert len(set(groups.to_pylist())) == 4
    some = pa.array(["BE", "NLD", "SE", "GB", "MA", None, "PL"])
    assert classifications.nationality(some, "origin").to_pylist() == [
        "BE", "NEIGHBOUR", "EU27_OTHER", "NEIGHBOUR", "NON_EU27", None, "EU27_OTHER",
    ]  # fmt: skip
    assert classifications.nationality(some, "member").to_pylist() == [
        "BE", "EU14", "EU14", "NON_EU27", "NON_EU27", None, "EU13",
    ]  # fmt: skip
    with pytest.raises(UnmappedCodeError, match=r"2 values \(1 distinct\) are no country code"):
        classifications.nationality(pa.array(["BE", "XK", "XK"]), "origin")


def test_brussels_has_no_province_but_has_a_code() -> None:
    at = {name: level(pa.array(["1000"]), "postcode", name).to_pylist() for name in LEVELS[1:]}
    assert at == {"arrondissement": ["21000"], "province": ["04000"], "region": ["04000"]}


@pytest.mark.parametrize(
    ("source", "situation"), [("municipality", 2025), ("municipality", 2019), ("postcode", 2025)]
)
def test_a_code_without_mapping_is_an_error_with_counts_and_no_value(
    source: str, situation: int
) -> None:
    """A value without a mapping is never a silent blank."""
    column = pa.array(["9999x", "9999x", None, "1000" if source == "postcode" else "11002"])
    with pytest.raises(UnmappedCodeError) as caught:
        level(column, source, "region", situation)
    assert (caught.value.values, caught.value.distinct) == (2, 1)
    assert "9999x" not in str(caught.value)
    assert "2 values (1 distinct)" in str(caught.value)


def test_a_merged_municipality_cant_be_taken_apart() -> None:
    with pytest.raises(UnmappedCodeError, match="situation of 2019"):
        level(pa.array(["46030"]), situation=2019)


@pytest.mark.parametrize(
    ("source", "at", "situation"),
    [("region", "province", 2025), ("street", "region", 2025), ("postcode", "region", 2018)],
)
def test_what_isnt_there_is_refused(source: str, at: str, situation: int) -> None:
    with pytest.raises(PolicyError):
        level(pa.array(["1000"]), source, at, situation)


def test_the_tables_are_what_build_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the published tables are at hand, building again gives the files that are here."""
    published = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not published.is_dir():
        pytest.skip("the published tables are not here")
    monkeypatch.setattr(build, "HERE", tmp_path)
    build.build(published)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (FOLDER / made.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


def test_build_refuses_a_code_with_two_meanings() -> None:
    row = {"nis_code": "1", "name_nl": "", "name_fr": "", "name_de": "", "arr_code": "9"}
    with pytest.raises(ValueError, match="two different places"):
        list(build.municipalities([], [row], [row], [], [{"nis_2019": "1", "nis_2025": "2"}]))
    first, moves = [{"nis_pre2019": "1", "nis_2019": "2"}], [{"nis_2019": "1", "nis_2025": "1"}]
    with pytest.raises(ValueError, match="two different places"):
        list(build.municipalities([{"code": "1"}], [row], [row], first, moves))


def test_postcodes_that_straddle_are_reported() -> None:
    assert classifications.straddling() == 3
    assert classifications.straddles(pa.array(["1040", "1000", "1804", "1040", None])) == 3


def test_provenance_names_publisher_and_date() -> None:
    page = (FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")
    assert "Statbel" in page
    assert "20 November 2026" in page
