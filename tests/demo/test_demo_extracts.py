"""The demo's extracts: readable, faulty in the planted way; the truth lines up with the rows."""

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pytest
from rapidfuzz.distance import Levenshtein
from stdnum.be import vat

from api.demo import faults
from api.demo.examples import UNIVERSE
from api.demo.extracts import (
    AGENCIES,
    AT_60000,
    CONVERSIONS,
    PAYERS,
    ExtractFile,
    declarations,
    extracts,
    names_numbers_addresses,
)
from api.demo.population import PERIODS, Population, population
from linkage.extracts import check
from linkage.standardise import national_numbers
from tests.linkage.helpers import halves

PERSONS = 6_000
Whole = tuple[Population, dict[str, dict[str, ExtractFile]]]
NUMBER_COLUMNS = {
    (dataset.id, reference.name): reference.columns["national_number"]
    for dataset in declarations().values()
    for reference in dataset.references
    if reference.unit_type == "person"
}


@pytest.fixture(scope="module")
def people() -> Population:
    return population(PERSONS, seed=11)


@pytest.fixture(scope="module")
def sent(people: Population) -> dict[str, dict[str, ExtractFile]]:
    return {period: extracts(people, period) for period in PERIODS}


@pytest.fixture(scope="module")
def whole() -> Whole:
    """The population of the real case and everything that is sent about it."""
    people = population(60_000, seed=2026)
    return people, {period: extracts(people, period) for period in PERIODS}


def read(file: ExtractFile) -> pd.DataFrame:
    """A file's rows as texts, by pandas; the first row has index 0."""
    if file.content.startswith(b"PAR1"):
        table = pd.read_parquet(io.BytesIO(file.content))
        return table.astype(object).where(table.notna(), "").astype(str)
    encoding = "cp1252" if file.dataset.id in ("education", PAYERS[2]) else "utf-8-sig"
    text = file.content.decode(encoding)
    delimiter = max(";,|\t", key=text.partition("\n")[0].count)
    return pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def rows(sent: dict[str, dict[str, ExtractFile]]) -> Callable[[str, str], list[dict[str, str]]]:
    """The rows of a file."""

    def rows_of(period: str, dataset: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = read(sent[period][dataset]).to_dict("records")
        return found

    return rows_of


def test_the_same_seed_gives_the_same_files(people: Population) -> None:
    again = extracts(population(PERSONS, seed=11), "2024")
    for name, file in extracts(people, "2024").items():
        assert file.content == again[name].content
        assert file.truth.equals(again[name].truth)


def test_an_unknown_period_is_refused(people: Population) -> None:
    with pytest.raises(ValueError, match="2024, 2025"):
        extracts(people, "2023")


def test_datasets_by_period(sent: dict[str, dict[str, ExtractFile]]) -> None:
    """Seven holders send seven extracts; the last joins in the later wave, one keeps the list."""
    assert set(sent["2025"]) - set(sent["2024"]) == {"education-fr"}
    assert set(sent["2025"]) == set(declarations())
    extracts_alone = [d for d in declarations().values() if d.kind == "extract"]
    assert len(extracts_alone) == len({d.holder for d in extracts_alone}) == 7
    assert declarations()[CONVERSIONS].holder == declarations()["social-security"].holder


def test_sizes_at_60000_persons(whole: Whole) -> None:
    """The real case's sizes, from the generator alone; a year's rows within 3% of them."""
    people, files = whole
    for period in PERIODS:
        assert abs(len(people.present(int(period))) - 60_000) < 600
        counted: Counter[str] = Counter()
        for name, file in files[period].items():
            kind = next((kind for kind in AT_60000 if name.startswith(kind)), name)
            counted[kind] += len(read(file))
        if period == PERIODS[0]:
            del counted["education"]  # one of the two agencies isn't there yet
        del counted[CONVERSIONS]
        for kind, rows in counted.items():
            assert abs(rows / AT_60000[kind] - 1) < 0.03, (period, kind, rows)


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
    assert {format_.delimiter for format_ in found.values()} == {";", ",", "|", None}
    assert found["education-fr"].kind == "parquet"
    assert {format_.encoding for format_ in found.values()} == {
        *("utf-8", "utf-8-sig", "cp1252"),
        None,
    }
    assert found["child-benefit"].decimal == ","
    assert found["social-security"].decimal == "."


@pytest.mark.parametrize("period", PERIODS)
def test_the_universe_covers_nearly_everybody(
    people: Population, sent: dict[str, dict[str, ExtractFile]], period: str
) -> None:
    seen: set[int] = set()
    for name in UNIVERSE:
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
        if (period, column[0]) != ("2024", "education-fr")
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
    declared = next(r for r in declarations()[name].references if r.name == reference)
    name_column = declared.columns["first_name"]
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


def assert_as_often(rows: Any, rate: float, kind: str) -> None:
    """Within a fifth of the rate, or four standard deviations where there are few."""
    expected = rate * len(rows)
    assert abs(rows.sum() - expected) < max(0.2 * expected, 4 * expected**0.5), (kind, rows.mean())


@pytest.mark.parametrize("name", ["child-benefit", "social-security", "education"])
def test_faults_strike_as_often_as_said(whole: Whole, name: str) -> None:
    """Each planted kind, counted in one source's rows about the young at the real case's size."""
    people, files = whole
    file = files[PERIODS[0]][name]
    truth = file.truth.to_pandas().query("reference == 'self'").set_index("record")
    columns = next(r for r in file.dataset.references if r.name == "self").columns
    table = read(file).loc[truth.index - 1].reset_index(drop=True)
    row = {field: table[column] for field, column in columns.items()}
    person = truth["person"].to_numpy()
    number = row["national_number"].str.replace(r"\D", "", regex=True).replace("", "0").astype(int)
    own = (number == people.number[person]) | (number == people.former[person])
    valid = pa.compute.is_valid(national_numbers(pa.array(row["national_number"]))).to_pandas()
    told = [row[field].map(_fold) for field in ("first_name", "last_name")]
    real = [pd.Series(names[person]).map(_fold) for names in (people.first_name, people.last_name)]
    day_first = columns["birth_date"] == "geboortedatum" and name != "employment-service"
    born = pd.to_datetime(row["birth_date"], dayfirst=day_first, format="mixed")
    true = pd.Series(people.birth[person])
    turned = (born.dt.day == true.dt.month) & (born.dt.month == true.dt.day) & (born != true)
    struck = {
        "missing number": row["national_number"] == "",
        "wrong check digit": (number > 0) & ~own & ~valid,
        "number of another": ~own & valid,
        "names swapped": (told[0] == real[1]) & (told[1] == real[0]) & (real[0] != real[1]),
        "first name typo": (told[0] != real[0]) & (told[1] == real[1]),
        "last name typo": (told[0] == real[0]) & (told[1] != real[1]),
        "day and month swapped": turned,
        "digit of date": (born != true) & ~turned,
    }
    for kind, rows in struck.items():
        assert_as_often(rows, faults.RATES[kind], kind)
    again = len(truth) - len(truth["person"].unique())
    if file.dataset.shape == "unit":
        assert abs(again / len(truth) / faults.RATES["duplicate"] - 1) < 0.2


def test_employers_are_written_wrong_as_often_as_said(whole: Whole) -> None:
    """Wrong, missing and others' numbers, and typing errors in names."""
    people, files = whole
    file = files[PERIODS[0]]["social-security"]
    truth = file.truth.to_pandas().query("reference == 'employer'")
    table = read(file).loc[truth["record"] - 1]
    number = table["entreprise"]
    own = truth["own_number"].to_numpy()
    valid = number.map(lambda text: vat.is_valid(text) if text else False)
    wrong_name = table["employeur"].map(_fold).to_numpy() != np.array(
        [_fold(name) for name in people.enterprises.name[truth["person"]]]
    )
    struck = {
        "missing number": number == "",
        "wrong check digit": (number != "") & ~valid,
        "number of another": valid & ~own,
        "name typo": wrong_name,
    }
    for kind, rows in struck.items():
        assert_as_often(rows, faults.OF_ENTERPRISES[kind], kind)


def test_a_hundredth_of_the_young_have_turned_national(whole: Whole) -> None:
    people = whole[0]
    assert abs((people.turned[: people.young] > 0).mean() / 0.01 - 1) < 0.15


def test_payers_divide_the_families_and_some_move(whole: Whole) -> None:
    """V07: children that change payers, and children whom two payers send for one year."""
    people, files = whole
    at = {
        period: [set(_truth(files[period][name], "self")["person"]) for name in PAYERS]
        for period in PERIODS
    }
    for period in PERIODS:
        everybody = set().union(*at[period])
        twice = sum(map(len, at[period])) - len(everybody)
        assert 0.02 < twice / len(everybody) < 0.04
        assert not set.intersection(*at[period])
        for payer, share in zip(at[period], (0.5, 0.3, 0.2), strict=True):
            assert abs(len(payer) / len(everybody) - share) < 0.05
    for payer, later in zip(at["2024"], at["2025"], strict=True):
        assert payer - later, "some leave"
    family = people.family[sorted(at["2024"][0] - at["2024"][1] - at["2024"][2])]
    assert not set(family) & set(
        people.family[sorted(at["2024"][1] - at["2024"][0] - at["2024"][2])]
    ), "brothers and sisters are with one payer"


def test_agencies_divide_the_enrolled(whole: Whole) -> None:
    """One language each; some are enrolled for two school years in one file."""
    files = whole[1]["2025"]
    dutch, french = (_truth(files[name], "self")["person"] for name in AGENCIES)
    assert not set(dutch) & set(french)
    assert 0.3 < len(french) / (len(dutch) + len(french)) < 0.5
    assert len(set(dutch)) < 0.7 * len(dutch)
    assert set(read(files["education"])["schooljaar"]) == {"2024", "2025"}


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
        assert (number == people.enterprises.number[enterprise]) == own


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
    assert f"{people.enterprises.number[0]:010d}" in texts
    assert people.enterprises.name[0] in texts
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
