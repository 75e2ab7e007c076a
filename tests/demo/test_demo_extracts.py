"""The demo's extracts: readable, faulty in the planted way; the truth lines up with the rows."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rapidfuzz.distance import Levenshtein

from api.demo import faults
from api.demo.extracts import ExtractFile, declarations, extracts, names_numbers_addresses
from api.demo.population import PERIODS, Population, population
from linkage.extracts import check
from linkage.standardise import national_numbers
from tests.linkage.helpers import halves

PERSONS = 6_000
NUMBER_COLUMNS = {
    ("child-benefit", "self"): "insz",
    ("child-benefit", "mother"): "moeder_insz",
    ("child-benefit", "father"): "vader_insz",
    ("employment-service", "self"): "rijksregisternummer",
    ("social-security", "self"): "niss",
    ("education", "self"): "insz",
}
FIRST_NAME_COLUMNS = {
    "child-benefit": "voornaam",
    "employment-service": "voornaam",
    "social-security": "prenom",
    "education": "voornamen",
}


@pytest.fixture(scope="module")
def people() -> Population:
    return population(PERSONS, seed=11)


@pytest.fixture(scope="module")
def sent(people: Population) -> dict[str, dict[str, ExtractFile]]:
    return {period: extracts(people, period) for period in PERIODS}


@pytest.fixture(scope="module")
def rows(sent: dict[str, dict[str, ExtractFile]]) -> Callable[[str, str], list[dict[str, str]]]:
    """The rows of a file, read by Python's csv module."""

    def read(period: str, dataset: str) -> list[dict[str, str]]:
        encoding = "cp1252" if dataset == "education" else "utf-8-sig"
        delimiter = {"employment-service": ",", "conversions": ",", "education": "|"}
        text = sent[period][dataset].content.decode(encoding)
        return list(csv.DictReader(io.StringIO(text), delimiter=delimiter.get(dataset, ";")))

    return read


def test_the_same_seed_gives_the_same_files(people: Population) -> None:
    again = extracts(population(PERSONS, seed=11), "2024")
    for name, file in extracts(people, "2024").items():
        assert file.content == again[name].content
        assert file.truth.equals(again[name].truth)


def test_an_unknown_period_is_refused(people: Population) -> None:
    with pytest.raises(ValueError, match="2024, 2025"):
        extracts(people, "2023")


def test_datasets_by_period(sent: dict[str, dict[str, ExtractFile]]) -> None:
    """The new holder joins in the later wave."""
    assert set(sent["2025"]) - set(sent["2024"]) == {"education"}
    assert set(sent["2025"]) == set(declarations())
    assert {d.holder for d in declarations().values()} == {
        "groeipakket",
        "vdab",
        "rsz",
        "onderwijs",
        "ksz",
    }


def test_declarations_speak_four_languages() -> None:
    for declared in declarations().values():
        assert set(declared.title) == {"nl", "fr", "de", "en"}
        for variable in declared.variables:
            assert set(variable.title) == {"nl", "fr", "de", "en"}
            for titles in (variable.codes or {}).values():
                assert set(titles) == {"nl", "fr", "de", "en"}


@pytest.mark.parametrize("period", PERIODS)
def test_every_extract_is_accepted_with_warnings_only(
    sent: dict[str, dict[str, ExtractFile]], period: str
) -> None:
    for name, file in sent[period].items():
        checked = check(io.BytesIO(file.content), file.dataset, period=period)
        assert checked.accepted, (name, checked.report()["faults"])
        assert checked.records > 0
        assert {fault.reason for fault in checked.faults} <= {"check_digit", "duplicate_row"}
        identifiers, _ = halves(io.BytesIO(file.content), file.dataset)
        assert identifiers.num_rows == checked.records


def test_formats_differ_between_holders(sent: dict[str, dict[str, ExtractFile]]) -> None:
    found = {
        name: check(io.BytesIO(file.content), file.dataset).format
        for name, file in sent["2025"].items()
    }
    assert {format_.delimiter for format_ in found.values()} == {";", ",", "|"}
    assert {format_.encoding for format_ in found.values()} == {"utf-8", "utf-8-sig", "cp1252"}
    assert found["child-benefit"].decimal == ","
    assert found["social-security"].decimal == "."


@pytest.mark.parametrize("period", PERIODS)
def test_the_universe_covers_nearly_everybody(
    people: Population, sent: dict[str, dict[str, ExtractFile]], period: str
) -> None:
    seen: set[int] = set()
    for name in ("child-benefit", "employment-service"):
        seen.update(_truth(sent[period][name], "self")["person"])
    present = set(people.present(int(period)).tolist())
    assert seen <= present
    assert len(seen) / len(present) > 0.97


def _truth(file: ExtractFile, reference: str) -> dict[str, list[Any]]:
    table = file.truth
    about: dict[str, list[Any]] = table.filter(
        pa.array([r == reference for r in table["reference"].to_pylist()])
    ).to_pydict()
    return about


def _digits(text: str) -> int:
    return int("".join(c for c in text if c.isdigit()) or "0")


@pytest.mark.parametrize(
    ("period", "name", "reference"),
    [
        (period, *column)
        for column in NUMBER_COLUMNS
        for period in PERIODS
        if (period, column[0]) != ("2024", "education")
    ],
)
def test_truth_lines_up_with_rows(
    people: Population,
    sent: dict[str, dict[str, ExtractFile]],
    rows: Callable[[str, str], list[dict[str, str]]],
    period: str,
    name: str,
    reference: str,
) -> None:
    """`own_number` and `name_agrees` say what stands in the row."""
    truth = _truth(sent[period][name], reference)
    written = rows(period, name)
    first = {"mother": "moeder_voornaam", "father": "vader_voornaam"}
    name_column = first.get(reference, FIRST_NAME_COLUMNS[name])
    for record, person, own, agrees in zip(
        truth["record"], truth["person"], truth["own_number"], truth["name_agrees"], strict=True
    ):
        row = written[record - 1]
        number = _digits(row[NUMBER_COLUMNS[name, reference]])
        owned = number in (people.number[person], people.former[person]) and number > 0
        assert owned == own
        told, real = row[name_column], people.first_name[person]
        assert (_fold(told) == _fold(real)) == agrees


def _fold(text: str) -> str:
    return faults.without_accents(text).casefold()


def test_absent_parents_leave_no_truth_and_no_text(
    sent: dict[str, dict[str, ExtractFile]],
    rows: Callable[[str, str], list[dict[str, str]]],
) -> None:
    written = rows("2024", "child-benefit")
    known = set(_truth(sent["2024"]["child-benefit"], "father")["record"])
    without = [row for record, row in enumerate(written, 1) if record not in known]
    assert without
    for row in without:
        assert not any(text for key, text in row.items() if key.startswith("vader_"))


def test_faults_strike_as_often_as_said(
    people: Population,
    sent: dict[str, dict[str, ExtractFile]],
    rows: Callable[[str, str], list[dict[str, str]]],
) -> None:
    """Each planted kind, counted over the persons of the largest single-row files."""
    counted: Counter[str] = Counter()
    total = 0
    for period, name in (
        ("2024", "child-benefit"),
        ("2025", "child-benefit"),
        ("2025", "education"),
    ):
        written, truth = rows(period, name), _truth(sent[period][name], "self")
        last_name = "naam" if name == "child-benefit" else "familienaam"
        total += len(written)
        for record, person in zip(truth["record"], truth["person"], strict=True):
            row = written[record - 1]
            told = (_fold(row[FIRST_NAME_COLUMNS[name]]), _fold(row[last_name]))
            real = (_fold(people.first_name[person]), _fold(people.last_name[person]))
            counted["swapped"] += told == real[::-1]
            counted["first name"] += told[0] != real[0] and told[1] == real[1]
            counted["last name"] += told[0] == real[0] and told[1] != real[1]
            day, month, year = row["geboortedatum"].split("/")
            born = people.birth[person].astype(object)
            if (int(day), int(month), int(year)) != (born.day, born.month, born.year):
                turned = (int(day), int(month)) == (born.month, born.day)
                counted["date turned" if turned else "date digit"] += 1
            number = row["insz"]
            counted["missing"] += number == ""
            if number and _digits(number) not in (people.number[person], people.former[person]):
                valid = national_numbers(pa.array([number])).null_count == 0
                counted["number of another" if valid else "wrong check digit"] += 1
    expected = {
        "missing": faults.RATES["missing number"],
        "wrong check digit": faults.RATES["wrong check digit"],
        "number of another": faults.RATES["number of another"],
        "swapped": faults.RATES["names swapped"],
        "first name": faults.RATES["first name typo"],
        "last name": faults.RATES["last name typo"],
        "date turned": faults.RATES["day and month swapped"],
        "date digit": faults.RATES["digit of date"],
    }
    for kind, rate in expected.items():
        assert 0.5 * rate < counted[kind] / total < 1.7 * rate, (kind, counted[kind] / total)


def test_anothers_number_is_a_relatives(people: Population) -> None:
    """Twins, then siblings, then parents: the numbers that check digits can't catch."""
    near, twin = faults.relatives(people)
    young = people.young
    family = np.concatenate([people.family, *[np.arange(people.family[-1] + 1)] * 2])
    alone = (people.mother < 0) & (people.father < 0)
    assert (family[near[:young]] == people.family[:, None])[~alone].all()
    birth = people.birth
    assert (birth[near[:young][twin[:young]]] == birth[:young][twin[:young], None]).all()
    assert twin[young:].sum() == 0
    assert (near != np.arange(len(near))[:, None]).all()


def test_some_errors_last_and_some_pass(
    people: Population, sent: dict[str, dict[str, ExtractFile]]
) -> None:
    """A share belongs to the source's file on a person: the same next year, unlike elsewhere."""

    def wrong(period: str, name: str) -> dict[int, bool]:
        truth = _truth(sent[period][name], "self")
        return dict(zip(truth["person"], (not own for own in truth["own_number"]), strict=True))

    before, after = wrong("2024", "child-benefit"), wrong("2025", "child-benefit")
    both = [person for person in before if person in after]
    lasting = np.mean([after[person] for person in both if before[person]])
    elsewhere = wrong("2025", "education")
    alike = np.mean([elsewhere[p] for p in before if before[p] and p in elsewhere])
    assert 0.4 < lasting < 0.85
    assert alike < 0.2


def test_duplicates_are_planted(
    sent: dict[str, dict[str, ExtractFile]],
    rows: Callable[[str, str], list[dict[str, str]]],
) -> None:
    """Some persons stand twice in a file of one row per person, a few of them word for word."""
    truth = _truth(sent["2024"]["child-benefit"], "self")
    twice = len(truth["person"]) - len(set(truth["person"]))
    assert 0.002 < twice / len(truth["person"]) < 0.009
    exact = Counter(tuple(row.values()) for row in rows("2024", "child-benefit"))
    assert 0 < sum(count - 1 for count in exact.values()) < twice


def test_spells_lie_in_order(rows: Callable[[str, str], list[dict[str, str]]]) -> None:
    spells = rows("2024", "employment-service")
    for row in spells:
        assert row["einde"] == "" or row["begin"] <= row["einde"] <= "2024-12-31"
        assert row["begin"] <= "2024-12-31"
    assert {row["categorie"] for row in spells} == {"01", "02", "03", "04"}
    assert any(row["einde"] for row in spells)


def test_quarters_of_work_are_the_truths(
    people: Population,
    sent: dict[str, dict[str, ExtractFile]],
    rows: Callable[[str, str], list[dict[str, str]]],
) -> None:
    """Who is in work in the last quarter has a row for it, and nobody else."""
    written = rows("2024", "social-security")
    truth = _truth(sent["2024"]["social-security"], "self")
    last = {
        person
        for record, person in zip(truth["record"], truth["person"], strict=True)
        if written[record - 1]["trimestre"] == "2024Q4"
    }
    statuses = people.statuses("2024").to_pydict()
    assert last == {
        p for p, employed in zip(statuses["person"], statuses["employed"], strict=True) if employed
    }
    employers = _truth(sent["2024"]["social-security"], "employer")
    for record, enterprise, own in zip(
        employers["record"], employers["person"], employers["own_number"], strict=True
    ):
        number = _digits(written[record - 1]["entreprise"])
        assert (number == people.enterprises[enterprise]) == own


def test_conversions_name_everybody_who_turned(
    people: Population, rows: Callable[[str, str], list[dict[str, str]]]
) -> None:
    listed = {
        (int(r["bisnummer"]), int(r["rijksregisternummer"])) for r in rows("2025", "conversions")
    }
    turned = people.turned > 0
    assert listed == set(
        zip(people.former[turned].tolist(), people.number[turned].tolist(), strict=True)
    )
    assert 0.005 < turned[: people.young].mean() < 0.02


def test_old_bis_numbers_are_still_in_use_somewhere(
    people: Population, sent: dict[str, dict[str, ExtractFile]]
) -> None:
    """A source goes on with a number that another has replaced: only the list can join them."""
    truth = _truth(sent["2025"]["employment-service"], "self")
    turned = people.turned[np.array(truth["person"])] > 0
    assert 0 < turned.sum() < 0.03 * len(turned)


def test_texts_to_search_for_hold_names_numbers_and_addresses(people: Population) -> None:
    """S07: what a search of a release looks for."""
    texts = set(names_numbers_addresses(people))
    someone = 5
    home = people.home[2024][someone]
    assert people.first_name[someone] in texts
    assert f"{people.first_name[someone]} {people.last_name[someone]}" in texts
    assert f"{people.number[someone]:011d}" in texts
    assert f"{people.homes.street[home]} {people.homes.house[home]}" in texts
    assert f"{people.enterprises[0]:010d}" in texts
    assert "" not in texts


def test_a_typo_is_one_slip() -> None:
    """At most two edits (a swap of neighbours is two), and hardly ever none."""
    slips = [
        Levenshtein.distance(faults.typo("Vandenbroeck", how), "Vandenbroeck")
        for how in range(2_000)
    ]
    assert max(slips) == 2
    assert slips.count(0) < 0.05 * len(slips)
    assert faults.typo("A", 3) == "A"
