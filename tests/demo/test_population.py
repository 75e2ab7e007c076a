"""The demo's people: plausible, valid by somebody else's rules, the same for the same seed."""

import numpy as np
import pytest
from stdnum.be import bis, nn, vat

from api.demo import names
from api.demo.evaluate import true_rates
from api.demo.population import PERIODS, Population, population


@pytest.fixture(scope="module")
def people() -> Population:
    return population(6_000, seed=7)


def test_the_same_seed_gives_the_same_people() -> None:
    first, second, other = population(300, 1), population(300, 1), population(300, 2)
    assert first.number.tolist() == second.number.tolist()
    assert first.last_name.tolist() == second.last_name.tolist()
    assert first.home[2025].tolist() == second.home[2025].tolist()
    assert first.wage[2025].tolist() == second.wage[2025].tolist()
    assert first.number.tolist() != other.number.tolist()


@pytest.mark.parametrize("persons", [2, 50])
def test_small_populations_exist(persons: int) -> None:
    few = population(persons, seed=3)
    assert few.young >= persons
    assert few.statuses("2024").num_rows <= few.young


@pytest.mark.parametrize("period", PERIODS)
def test_about_as_many_persons_as_asked_stand_in_each_wave(people: Population, period: str) -> None:
    assert 0.97 < len(people.present(int(period))) / 6_000 < 1.03


def test_a_year_later_one_cohort_has_left_and_one_has_entered(people: Population) -> None:
    before, after = set(people.present(2024).tolist()), set(people.present(2025).tolist())
    assert 0.04 < len(before - after) / len(before) < 0.1
    assert 0.04 < len(after - before) / len(after) < 0.1


def test_numbers_are_valid_distinct_and_say_birth_and_sex(people: Population) -> None:
    everybody = [f"{number:011d}" for number in people.number.tolist()]
    former = [f"{number:011d}" for number in people.former[people.former > 0].tolist()]
    assert len({*everybody, *former}) == len(everybody) + len(former)
    assert all(bis.is_valid(number) for number in former)
    national = 0
    for number, birth, female in zip(everybody, people.birth, people.female, strict=True):
        if nn.is_valid(number):
            national += 1
            assert nn.get_birth_date(number) == birth.astype(object)
            assert nn.get_gender(number) == ("F" if female else "M")
        else:
            assert bis.is_valid(number)
    assert 0.94 < national / len(everybody) < 0.99


def test_enterprise_numbers_are_valid_and_distinct(people: Population) -> None:
    numbers = [f"{number:010d}" for number in people.enterprises.number.tolist()]
    assert len(set(numbers)) == len(numbers)
    assert all(vat.is_valid(number) for number in numbers)


def test_families(people: Population) -> None:
    young = people.young
    family, birth = people.family, people.birth[:young]
    sibling = family[1:] == family[:-1]
    twin = sibling & (birth[1:] == birth[:-1])
    assert 0.02 < 2 * twin.sum() / young < 0.045
    assert 0.3 < 2 * sibling.sum() / young < 0.8
    assert 0.02 < (people.father < 0).mean() < 0.06
    assert (people.mother < 0).mean() < 0.02
    homes = zip(family.tolist(), people.first_name[:young], strict=True)
    assert len(set(homes)) == young, "siblings with the same first name"


def test_parents_are_old_enough(people: Population) -> None:
    for parent in (people.mother, people.father):
        known = parent >= 0
        years = (people.birth[: people.young][known] - people.birth[parent[known]]).astype(int)
        assert years.min() > 17 * 365
        assert years.max() < 80 * 365
        assert people.female[parent[known]].all() == (parent is people.mother)


def test_some_move_within_the_year(people: Population) -> None:
    moved = people.home[2024] != people.home[2025]
    assert 0.02 < moved[: people.young].mean() < 0.045


def test_people_live_where_people_live(people: Population) -> None:
    """Shares of arrondissements follow the residents within a percentage point or so."""
    places = names.places()
    place = people.homes.place[people.home[2024][: people.young]]
    codes, lived = np.unique(places.arrondissement[2025][place], return_counts=True)
    expected = {code: places.residents[places.arrondissement[2025] == code].sum() for code in codes}
    whole = places.residents.sum()
    assert len(codes) == 43
    for code, count in zip(codes, lived, strict=True):
        assert abs(count / people.young - expected[code] / whole) < 0.02


@pytest.mark.parametrize("period", PERIODS)
def test_the_rate_neither_in_work_nor_in_education_is_plausible(
    people: Population, period: str
) -> None:
    statuses = people.statuses(period)
    assert 0.08 < np.mean(statuses["neet"]) < 0.12
    by_age = {
        row["age_class"]: row
        for row in statuses.group_by("age_class")
        .aggregate([("neet", "mean"), ("in_education", "mean")])
        .to_pylist()
    }
    assert set(by_age) == {"15-19", "20-24", "25-29"}
    assert by_age["15-19"]["neet_mean"] < by_age["25-29"]["neet_mean"]
    assert by_age["15-19"]["in_education_mean"] > 0.8
    assert by_age["25-29"]["in_education_mean"] < 0.1


def test_rates_per_cell_count_everybody_once(people: Population) -> None:
    statuses = people.statuses("2024")
    rates = true_rates(statuses.to_pandas(), ["age_class", "arrondissement"])
    assert rates["persons"].sum() == statuses.num_rows
    assert rates["neet"].sum() == sum(statuses["neet"].to_pylist())
    assert [*rates.columns] == ["age_class", "arrondissement", "persons", "neet", "rate"]
    assert rates["rate"].to_list() == pytest.approx((rates["neet"] / rates["persons"]).to_list())


def test_people_who_left_education_stay_out(people: Population) -> None:
    """Nobody flickers: who studies in 2025 and was of age to, studied in 2024."""
    again = people.in_education[2025] & ~people.in_education[2024]
    assert not again.any()
    assert people.in_education[2024].sum() > people.in_education[2025].sum()
