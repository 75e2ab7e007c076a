"""The hard cases of linking persons, one by one: who is linked, who stays apart, and why."""

from typing import Any

import pyarrow as pa
import pytest

from tests.linkage.helpers import ADDRESS, Scope, admitted, delivery, person
from tests.linkage.people import national_number

ELSEWHERE = {"street": "Molenstraat", "house_number": "7", "postcode": "2000"}
LUNA = national_number(2004, 3, 12, 102)
LINA = national_number(2004, 3, 12, 104)
EMMA = national_number(2001, 5, 6, 22)
JAN = national_number(2004, 3, 12, 101)
FATHER = national_number(1974, 3, 12, 51)
BIS = national_number(2004, 23, 12, 102)


def luna(**more: Any) -> dict[str, Any]:
    return person("Luna", "Peeters", "2004-03-12", **{"national_number": LUNA, "sex": "F", **more})


def lina(**more: Any) -> dict[str, Any]:
    return person("Lina", "Peeters", "2004-03-12", **{"national_number": LINA, "sex": "F", **more})


def later(scope: Scope, *rows: Any, unit: bool = True) -> list[bytes]:
    return scope.admit(delivery(rows, period="2025", unit=unit))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"birth_date": "2004-12-03"}, id="day and month swapped"),
        pytest.param({"birth_date": "2004-03-17"}, id="a digit wrong"),
        pytest.param({"birth_date": "2014-03-12"}, id="the decade wrong"),
        pytest.param({"birth_date": "2004-01-01"}, id="1 January"),
        pytest.param({"birth_date": "1900-01-01"}, id="a default date"),
        pytest.param({"birth_date": None}, id="no birth date"),
        pytest.param({"birth_date": "2004-00-00"}, id="the year only"),
        pytest.param({"birth_date": "2007-11-28"}, id="all of the birth date wrong"),
        pytest.param(ELSEWHERE, id="moved"),
        pytest.param({"last_name": "Vandenbroeck"}, id="another last name"),
        pytest.param({"last_name": "Vandenbroeck", **ELSEWHERE}, id="married and moved"),
        pytest.param(
            {"first_name": "LUNA", "national_number": "04.03.12-102-" + LUNA[-2:]}, id="dress"
        ),
        pytest.param({"first_name": "Peeters", "last_name": "Luna"}, id="names swapped"),
        pytest.param(
            {"first_name": "Peeters-Claes", "last_name": "Luna"}, id="swapped, a partner's name"
        ),
        pytest.param(
            {"first_name": "Peters", "last_name": "Luna"}, id="names swapped and misspelt"
        ),
        pytest.param({"sex": "M"}, id="the sex wrong"),
        pytest.param({"first_name": "Lunaa"}, id="first name misspelt"),
        pytest.param({"first_name": None}, id="no first name"),
        pytest.param({"first_name": "L."}, id="an initial"),
    ],
)
def test_own_number_and_agreeing_name_always_link(change: dict[str, Any]) -> None:
    """S15, V07: the same person keeps the same subject in the next wave, whatever else changed."""
    scope, [first] = admitted(luna())
    assert later(scope, luna(**change)) == [first]
    assert scope.rules == ["national_number"]
    assert not scope.reasons
    back, [second] = admitted(luna(**change))
    assert later(back, luna()) == [second]


def test_two_different_mistakes_in_the_birth_date_of_one_person() -> None:
    """Each alone is near what the number tells, though they are far from each other."""
    scope, [first] = admitted(luna(birth_date="2004-12-03"))
    assert later(scope, luna(birth_date="2004-03-17")) == [first]


def test_two_persons_with_their_own_numbers_are_never_one() -> None:
    """However much they are alike, different numbers go to a human."""
    scope, [first, second] = admitted(luna(), luna(national_number=LINA))
    assert first != second
    assert scope.reasons == ["different_numbers"]


@pytest.mark.parametrize("known", [True, False], ids=["both known before", "all at once"])
def test_a_twins_number_with_names_one_letter_apart(known: bool) -> None:
    """Luna's row has Lina's number: name and birth date would pass, Luna's own record doesn't."""
    if known:
        scope, [one, other] = admitted(luna(), lina())
        assert later(scope, luna(national_number=LINA), lina()) == [one, other]
        assert scope.rules == ["fuzzy", "national_number"]
    else:
        scope, [one, other] = admitted(luna(), lina())
        rows = [luna(), luna(national_number=LINA, house_number="12 bus 1"), lina()]
        scope = Scope()
        one, wrong, other = scope.admit(delivery(rows, unit=False))
        assert wrong == one != other
    assert scope.reasons == ["number_contradicted"]


def test_a_twins_number_before_the_twin_is_known() -> None:
    """Luna comes under Lina's number first. It doesn't poison: both find themselves later."""
    scope, [wrong] = admitted(luna(national_number=LINA))
    one, other = later(scope, luna(), lina())
    assert one == wrong
    assert other != wrong
    assert scope.rules == ["fuzzy", "new"]
    assert scope.admit(delivery([luna(), lina()], period="2026")) == [one, other]
    assert scope.rules == ["national_number"] * 2


def test_a_twins_number_while_the_twin_is_unknown_is_left_to_a_human() -> None:
    scope, [wrong] = admitted(luna(national_number=LINA))
    [one] = later(scope, luna())
    assert one != wrong
    assert scope.reasons == ["different_numbers"]


def test_a_sisters_number() -> None:
    """The birth date shows that it isn't hers; her other fields find her."""
    emma = person("Emma", "Peeters", "2001-05-06", national_number=EMMA)
    scope, [one, sister] = admitted(luna(), emma)
    assert later(scope, luna(national_number=EMMA), emma) == [one, sister]
    assert scope.rules == ["fuzzy", "national_number"]
    assert scope.reasons == ["number_contradicted"]


def test_a_parents_number_that_nobody_else_states() -> None:
    """The number tells a birth thirty years before: it isn't the child's, whoever's it is."""
    scope, [one] = admitted(luna())
    assert later(scope, luna(national_number=FATHER)) == [one]
    assert scope.rules == ["fuzzy"]


def test_father_and_son_of_one_name_at_one_address() -> None:
    """The father's number on the son's row: their birth dates are far apart."""
    son = person("Jan", "Peeters", "2004-03-12", national_number=JAN)
    father = person("Jan", "Peeters", "1974-03-12", national_number=FATHER)
    scope, [one, two] = admitted(son, father)
    assert one != two
    assert later(scope, son | {"national_number": FATHER}, father) == [one, two]
    scope, [alone] = admitted(father)
    [wrong] = later(scope, son | {"national_number": FATHER})
    assert wrong != alone
    assert scope.reasons == ["number_contradicted"]


def test_father_and_son_of_one_name_without_number_or_birth_date() -> None:
    """Two candidates that are equally good are nobody's."""
    son = person("Jan", "Peeters", "2004-03-12", national_number=JAN)
    father = person("Jan", "Peeters", "1974-06-30", national_number=FATHER)
    scope, known = admitted(son, father)
    [who] = later(scope, person("Jan", "Peeters", None))
    assert who not in known
    assert set(scope.reasons) == {"uncertain"}


def test_a_child_and_a_parent_in_one_row_are_never_one() -> None:
    """Even if the same words stand in the columns of both."""
    entry = person("Jan", "Peeters", "2004-03-12", national_number=JAN)
    scope, [self_, father] = admitted((entry, entry | {"reference": "father"}))
    assert self_ != father
    assert later(scope, entry) == [self_]


def test_a_fathers_columns_with_the_number_of_the_son_of_the_same_name() -> None:
    """Without a birth date of the father nothing but the age that the number tells shows it."""
    son = person("Jan", "Peeters", "2004-03-12", national_number=JAN)
    father = person("Jan", "Peeters", None, reference="father")
    scope = Scope()
    one, his = scope.admit(delivery([(son, father | {"national_number": JAN})]))
    assert one != his
    sister = luna()
    _, again = later(scope, (sister, father | {"national_number": JAN}))
    assert again != one


def test_parents_are_persons_and_meet_themselves_elsewhere() -> None:
    mother = person("An", "Maes", "1975-02-03", national_number=national_number(1975, 2, 3, 6))
    child = luna(), mother | {"reference": "mother"}
    sister = lina(), mother | {"reference": "mother"}
    scope = Scope()
    _, one, _, two = scope.admit(delivery([child, sister]))
    assert one == two
    assert later(scope, mother) == [one]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"national_number": None}, id="missing"),
        pytest.param(
            {"national_number": LUNA[:-1] + str((int(LUNA[-1]) + 1) % 10)}, id="wrong check"
        ),
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="all else agrees"),
        pytest.param({"first_name": "Lunna"}, id="first name misspelt"),
        pytest.param({"last_name": "Peters"}, id="last name misspelt"),
        pytest.param({"last_name": "Claes"}, id="another last name"),
        pytest.param({"first_name": "Peeters", "last_name": "Luna"}, id="names swapped"),
        pytest.param({"birth_date": "2004-12-03"}, id="day and month swapped"),
        pytest.param({"birth_date": "2004-03-13"}, id="a digit of the birth date wrong"),
        pytest.param({"birth_date": None}, id="no birth date"),
        pytest.param(
            {"street": "Kerkstr", "house_number": "12 bus 4"}, id="address written otherwise"
        ),
        pytest.param(ELSEWHERE, id="moved"),
        pytest.param({**ELSEWHERE, "birth_date": "2004-12-03"}, id="moved, day and month swapped"),
    ],
)
def test_without_a_number_the_rest_finds_her(change: dict[str, Any], more: dict[str, Any]) -> None:
    scope, [one, sister] = admitted(
        luna(), person("Emma", "Peeters", "2001-05-06", national_number=EMMA)
    )
    assert later(scope, luna(**change, **more)) == [one] != [sister]
    assert scope.rules == ["fuzzy"]


def test_members_of_a_household_without_numbers_stay_apart() -> None:
    """Same address, same last name; twins even the same birth date."""
    names = ["Luna", "Victor", "Emma", "Jan"]
    family = [person(name, "Peeters", f"200{n}-03-12") for n, name in enumerate(names)]
    twins = [person("Lore", "Peeters", "2004-06-01"), person("Stan", "Peeters", "2004-06-01")]
    _, subjects = admitted(*family, *twins)
    assert len(set(subjects)) == 6


def test_a_nameless_record_of_one_of_twins_is_nobodys() -> None:
    scope, known = admitted(luna(), lina())
    nameless = person(None, "Peeters", "2004-03-12")
    [without] = later(scope, nameless)
    assert without not in known
    [numbered] = scope.admit(delivery([nameless | {"national_number": LINA}], period="2026"))
    assert numbered != known[0]
    assert "national_number" not in scope.rules


def test_two_rows_of_a_delivery_with_one_row_per_unit_are_two_unless_all_agrees() -> None:
    """Duplicates occur: exact ones are one unit, and so are those with the same number."""
    rows = [luna(), luna(), luna(street="Kerkstr."), luna(birth_date="2004-03-13")]
    _, subjects = admitted(*rows)
    assert len(set(subjects)) == 1
    numberless = [person("Luna", "Peeters", "2004-03-12"), person("Luna", "Peeters", "2004-03-13")]
    scope, [one, two] = admitted(*numberless)
    assert one != two
    assert scope.reasons == ["uncertain"]
    _, [one, two] = admitted(numberless[0], numberless[0] | {"street": None, "postcode": None})
    assert one == two
    one, two = Scope().admit(delivery(numberless, unit=False))
    assert one == two, "spells may say it differently"


def test_two_subjects_of_the_spine_are_never_merged() -> None:
    """What comes later may show that two were one: a human decides."""
    scope, [one] = admitted(luna(national_number=None, **ELSEWHERE, last_name="Claes"))
    [two] = later(scope, luna())
    assert one != two
    three = scope.admit(
        delivery([luna(last_name="Claes"), luna(**ELSEWHERE)], period="2026", unit=False)
    )
    assert set(three) == {two}
    assert "two_subjects" in scope.reasons


def test_a_bis_number_that_became_a_national_number() -> None:
    """With the list it links, corroborated like any number; without, it goes to a human."""
    before, after = luna(national_number=BIS), luna(national_number=LUNA)
    conversions = pa.table({"bis": [BIS], "national": [LUNA]})
    scope = Scope(conversions=conversions)
    [one] = scope.admit(delivery([before]))
    assert later(scope, after) == [one]
    assert scope.rules == ["conversion"]
    assert scope.admit(delivery([after], period="2026")) == [one]
    assert scope.rules == ["national_number"]
    scope = Scope()
    [one] = scope.admit(delivery([before]))
    assert later(scope, after) != [one]
    assert scope.reasons == ["different_numbers"]
    scope = Scope(conversions=conversions)
    [one] = scope.admit(delivery([before]))
    stranger = person("Victor", "Claes", "1999-01-02", **ELSEWHERE, national_number=LUNA)
    assert later(scope, stranger) != [one]
    assert scope.reasons == ["number_contradicted"]


def test_a_number_stated_by_a_crowd_is_nobodys() -> None:
    """A dummy that passes the check digit links nobody."""
    names = [f"{a}{b}{c}" for a in "abcdefg" for b in "aeiou" for c in "klmnrst"]
    rows = [
        person(name, f"{name}s", f"19{50 + n % 50}-{1 + n % 12:02d}-{1 + n % 28:02d}",
               national_number=LUNA, house_number=str(n + 1))
        for n, name in enumerate(names)
    ]  # fmt: skip
    scope, subjects = admitted(*rows)
    assert len(set(subjects)) == len(names) > 200
    assert "national_number" not in scope.rules


def test_enterprises_link_by_their_number_unless_their_names_differ_clearly() -> None:
    def employer(number: str | None, name: str | None = None) -> dict[str, Any]:
        return {
            "reference": "employer",
            "unit_type": "enterprise",
            "enterprise_number": number,
            "last_name": name,
        }

    scope = Scope()
    one, two, three, four = scope.admit(
        delivery(
            [
                employer("0403.019.261", "Bakkerij Maes"),
                employer("BE0403019261", "Bakkerij Maes nv"),
                employer("0403019262"),
                employer("0403019262"),
            ],
            unit=False,
        )
    )
    assert one == two
    assert len({one, three, four}) == 3, "a wrong number says nothing, and nothing isn't a unit"
    assert later(scope, employer("403019261")) == [one]
    assert scope.rules == ["enterprise_number"]
    [other] = scope.admit(delivery([employer("0403019261", "Quincaillerie")], period="2026"))
    assert other != one


def test_another_enterprise_s_number_is_told_by_a_name_that_only_begins_alike() -> None:
    """Half of all names begin with what the enterprise does; elsewhere that is no agreement."""

    def employer(name: str, **where: Any) -> dict[str, Any]:
        return {"unit_type": "enterprise", "enterprise_number": "0403019261",
                "last_name": name, **where}  # fmt: skip

    rows = [employer("Bakkerij Maes", **ADDRESS)] * 3
    rows += [
        employer("Bakkerij Vandenberghe", **ELSEWHERE),
        employer("Bakkerij Mertens", **ADDRESS),
    ]
    rows += [
        employer("Bakkerij Maes NV", street="Stationsplein", house_number="1", postcode="3000")
    ]
    scope = Scope()
    one, _, _, other, partly, moved = scope.admit(delivery(rows, unit=False))
    assert other != one == partly == moved


def test_households_are_linked_as_units() -> None:
    def household(**fields: Any) -> dict[str, Any]:
        return {"unit_type": "household", "last_name": "Peeters", **ADDRESS, **fields}

    scope, [one, neighbour] = admitted(household(), household(house_number="14", last_name="Maes"))
    assert later(scope, household(street="Kerkstr."), household(**ELSEWHERE))[0] == one
    assert one != neighbour


def test_a_person_is_never_an_enterprise() -> None:
    scope = Scope()
    one, two = scope.admit(
        delivery([{"last_name": "Maes"}, {"last_name": "Maes", "unit_type": "enterprise"}])
    )
    assert one != two


def test_what_says_too_little_is_a_unit_of_its_own_each_time() -> None:
    scope, subjects = admitted(
        {"last_name": "Peeters"}, {"last_name": "Peeters"}, {"sex": "F"}, {"first_name": "?"}
    )
    assert len(set(subjects)) == 4
    assert scope.rules == ["new"] * 4
    assert scope.results[-1].quality["too_little"] == 4
