"""Economic activities: the real tables, and the laws that hold over all of them."""

from itertools import pairwise

import pyarrow as pa
import pytest

from policies import PolicyError
from policies.classifications import UnmappedCodeError, build, table
from policies.classifications.activities import LEVELS, VERSIONS, labels, level


def codes(at: str, version: int) -> list[str]:
    return [
        row["code"]
        for row in table("activities.csv")
        if (row["level"], row["version"]) == (at, str(version))
    ]


def test_counts_are_the_published_ones() -> None:
    """S12: NACE Rev. 2 and 2.1, and the aggregations of ESA 2010."""
    found = {version: {at: len(codes(at, version)) for at in LEVELS} for version in VERSIONS}
    common = {"A38": 38, "A21": 21, "A10": 10}
    assert found[2008] == {
        "class": 615, "group": 272, "division": 88, "A64": 64, "section": 21, **common,
    }  # fmt: skip
    # division 45 is gone, and J was split into J and K
    assert found[2025] == {
        "class": 651, "group": 287, "division": 87, "A64": 63, "section": 22, **common,
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("source", ["class", "group", "division", "section"])
def test_a_coarser_level_never_separates_what_a_finer_one_joined(source: str, version: int) -> None:
    """S12: over every code there is; every code gets a named activity at each level above it."""
    everything = pa.array(codes(source, version))
    reached = LEVELS[LEVELS.index(source) :]
    columns = [level(everything, at, version).to_pylist() for at in reached]
    assert columns[0] == everything.to_pylist()
    for at, found in zip(reached, columns, strict=True):
        assert set(found) == set(codes(at, version)) or source == "section"
        assert set(found) <= labels(at, version).keys()
    for finer, coarser in pairwise(columns):
        above: dict[str, str] = {}
        assert all(above.setdefault(f, c) == c for f, c in zip(finer, coarser, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_forms_of_a_code_mean_the_same(version: int) -> None:
    """S12: with or without the dot, with the Belgian digits after the fourth."""
    for code in codes("class", version):
        plain = code.replace(".", "")
        forms = pa.array([code, plain, f"{code}0", f"{plain}0", f"{code}123", None])
        assert level(forms, "class", version).to_pylist() == [code] * 5 + [None]


def test_the_same_code_in_two_versions() -> None:
    """S12: 62 was in section J, and is in K; A10 keeps information and communication together."""
    software = pa.array(["62", "58"])
    assert level(software, "section", 2008).to_pylist() == ["J", "J"]
    assert level(software, "section", 2025).to_pylist() == ["K", "J"]
    assert level(software, "A10", 2025).to_pylist() == ["J-K", "J-K"]
    assert level(software, "A64", 2008).to_pylist() == ["J62-63", "J58"]


def test_titles_are_there_in_four_languages() -> None:
    for version in VERSIONS:
        for at in LEVELS:
            assert all(all(texts.values()) for texts in labels(at, version).values())
    assert labels("A64", 2008)["C31-32"]["en"] == "Manufacture of furniture; Other manufacturing"
    assert "U0ND" not in labels("section", 2008)["T"]["en"]


@pytest.mark.parametrize("wrong", ["99999x", "34", "6", "62,01", "J", "62.0.1", "45.11"])
def test_an_unknown_code_is_told_without_its_value(wrong: str) -> None:
    """S12: nothing is silently blank; a section can't be taken apart."""
    with pytest.raises(UnmappedCodeError) as caught:
        level(pa.array([wrong, wrong, None, "62.10"]), "division", 2025)
    assert (caught.value.values, caught.value.distinct) == (2, 1)
    assert "2 values (1 distinct)" in str(caught.value)
    assert wrong not in str(caught.value).replace("NACE", "")


def test_what_isnt_there_is_refused() -> None:
    for at, version in (("A39", 2008), ("section", 2003)):
        with pytest.raises(PolicyError, match="no level"):
            level(pa.array(["62"]), at, version)


def test_build_refuses_groups_that_overlap_or_leave_out() -> None:
    """So that a slip in the aggregations is noticed where they are made."""
    section = {"01": "A", "02": "A", "05": "B"}
    assert build._grouped("01 02 05", section) == {"01": "A01", "02": "A02", "05": "B"}
    assert build._grouped("01-05", section) == dict.fromkeys(section, "A-B")
    with pytest.raises(ValueError, match="in no group"):
        build._grouped("01-02", section)


def test_a_code_of_the_other_version_says_so() -> None:
    """S12: 45.11 (trade of cars) is Rev. 2 only; the error counts such codes, and names none."""
    with pytest.raises(UnmappedCodeError) as caught:
        level(pa.array(["45.11", "45110", "99.99", None, "01.11"]), "A38", 2025)
    assert (caught.value.values, caught.value.distinct) == (3, 3)
    assert "but 2 of them are of NACE Rev. 2 (NACE-BEL 2008)" in str(caught.value)
    assert "45" not in str(caught.value)
    with pytest.raises(UnmappedCodeError) as caught:
        level(pa.array(["99.99"]), "A38", 2025)
    assert "but" not in str(caught.value)


def test_longer_national_codes_are_cut_to_their_class() -> None:
    """S12: NACE-BEL has five to seven digits."""
    codes = pa.array(["01110", "0111001", "01.110", "01.11"])
    assert set(level(codes, "class", 2025).to_pylist()) == {"01.11"}
