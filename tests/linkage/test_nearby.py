"""Who takes part in a linkage: leaving the others out changes nothing."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linkage import nearby
from linkage.deliveries import LinkResult
from linkage.engine import link
from linkage.spine import Spine
from tests.linkage.helpers import Scope, delivery, person, subject_ids
from tests.linkage.people import Clerk, Extract, Faults, Town, national_number


@pytest.fixture(autouse=True)
def as_if_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the spine, it is sieved, by several threads."""
    monkeypatch.setattr(nearby, "MANY", 0)


def everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all records of a spine take part; keys are chosen as before."""
    chosen = nearby._taking_part

    def all_of_them(every: Any, *more: Any) -> Any:
        return np.arange(every.known), chosen(every, *more)[1]

    monkeypatch.setattr(nearby, "_taking_part", all_of_them)


def same(one: LinkResult, other: LinkResult) -> None:
    assert one.groups.equals(other.groups)
    assert one.identities.equals(other.identities)
    for ours, theirs in ((one.links, other.links), (one.review, other.review)):
        assert ours.drop_columns("probability").equals(theirs.drop_columns("probability"))
        np.testing.assert_allclose(
            *(table["probability"].fill_null(-1.0).to_numpy() for table in (ours, theirs)),
            rtol=1e-9,
        )


@pytest.mark.parametrize(
    "clerk",
    [
        pytest.param(lambda: Clerk(Town(150, 41), 41), id="as usual"),
        pytest.param(lambda: Clerk(Town(150, 42), 42, Faults(foreign_number=0.1)), id="relatives"),
        pytest.param(lambda: Clerk(Town(120, 43), 43, parent_dates=False), id="no birth dates"),
    ],
)
def test_who_takes_no_part_changes_nothing(clerk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wave after wave: links, groups, review and chances are those of comparing with everybody."""
    scope, left_out = Scope(), 0
    extracts: list[Extract] = list(clerk().waves())
    for extract in extracts:
        records = extract.delivery.records
        for n, part in enumerate((records.slice(0, 60), records.slice(60))):
            coming = replace(
                extract.delivery, delivery=f"{extract.delivery.delivery}-{n}", records=part,
                whole=False,
            )  # fmt: skip
            ours = link(coming, scope.spine, scope.plan)
            with monkeypatch.context() as patched:
                everybody(patched)
                same(ours, link(coming, scope.spine, scope.plan))
            left_out += scope.spine.records().num_rows - ours.quality["taking_part"]
            ids = subject_ids(coming, ours)
            scope.spine = scope.spine.with_segment(scope.spine.admit(coming, ours, ids))
    assert left_out > 0


def test_a_few_that_come_to_many_are_compared_with_a_few() -> None:
    """Of a spine's thousands only those that share a number or a key take part."""
    street = [
        person(
            f"F{n % 40}irst{n % 7}",
            f"La{n % 90}st",
            f"19{50 + n % 50}-{1 + n % 12:02d}-17",
            house_number=str(n),
            national_number=national_number(1950 + n % 50, 1 + n % 12, 17, n),
        )
        for n in range(1, 990)
    ]
    scope = Scope()
    scope.admit(delivery(street))
    luna = person("Luna", "Peeters", "2004-03-12", house_number="0")
    scope.admit(delivery([luna, street[7]], period="2025"))
    assert scope.rules == ["new", "national_number"]
    assert scope.results[-1].quality["taking_part"] < 20


def test_an_empty_spine_and_an_empty_delivery() -> None:
    scope = Scope()
    assert scope.admit(delivery([])) == []
    [luna] = scope.admit(delivery([person("Luna", "Peeters", "2004-03-12")]))
    assert scope.admit(delivery([], period="2025")) == []
    assert scope.admit(delivery([person("Luna", "Peeters", "2004-03-12")], period="2026")) == [luna]


def test_segments_in_pieces_are_one_spine() -> None:
    """A segment's table may come in several chunks, as a file is read."""
    rows = [person(f"Luna{n}", "Peeters", "2004-03-12", house_number=str(n)) for n in range(9)]
    scope = Scope()
    subjects = scope.admit(delivery(rows))
    [segment] = scope.spine.segments
    pieces = pa.concat_tables([segment.records.slice(0, 4), segment.records.slice(4)])
    spine = Spine((type(segment)(pieces, segment.seen, "a", "other", "2023"),))
    result = link(delivery(rows[2:6], period="2025"), spine, scope.plan)
    assert result.groups.sort_by("group")["subject"].to_pylist() == subjects[2:6]


def test_a_twin_who_shares_nothing_with_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Luna's number with an L. may be of her twin Lina, who is known and so must be heard."""
    number = [national_number(2004, 3, 12, serial) for serial in range(1, 60)]
    born_that_day = [
        person(f"{a}{b}rt", f"M{a}{b}ns", "2004-03-12", house_number=f"{n}", national_number=given)
        for n, (a, b, given) in enumerate(
            ((a, b, number[10 + 6 * i + j]) for i, a in enumerate("aeiouhy")
             for j, b in enumerate("bdgkmn")), start=20,
        )
    ]  # fmt: skip
    twins = [
        person(first, "Peeters", "2004-03-12", national_number=given)
        for first, given in (("Luna", number[1]), ("Lina", number[3]))
    ]
    some = {"first_name": "L.", "national_number": number[1]}
    for spine, reasons in ((twins, ["number_contradicted"]), (twins[:1], [])):
        scope = Scope()
        known = scope.admit(delivery([*spine, *born_that_day]))
        coming = delivery([some], period="2025")
        ours = link(coming, scope.spine, scope.plan)
        with monkeypatch.context() as patched:
            everybody(patched)
            same(ours, link(coming, scope.spine, scope.plan))
        assert ours.review["reason"].to_pylist() == reasons
        assert (ours.groups["subject"].to_pylist() == known[:1]) == (not reasons)


def test_a_name_is_as_rare_as_it_is_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside hundreds called Audrey an Audery is a slip, however few of them take part."""
    others = [
        person("Audrey", f"{a}{b}{c}kens", f"19{50 + n % 50}-02-17", house_number=str(n))
        for n, (a, b, c) in enumerate(product("bdfghjklmnprst", "aeiou", "bdgt"), start=50)
    ]
    number = national_number(2004, 3, 12, 2)
    homes = [{"street": street} for street in ("Molenstraat", "Hoogstraat", "Nieuwstraat")]
    audrey = person("Audrey", "Peeters", "2004-03-12", national_number=number)
    scope = Scope()
    known = scope.admit(delivery([*(audrey | home for home in homes), *others], unit=False))
    coming = delivery(
        [audrey | home | {"first_name": "Audery"} for home in homes], period="2025", unit=False
    )
    ours = link(coming, scope.spine, scope.plan)
    with monkeypatch.context() as patched:
        everybody(patched)
        same(ours, link(coming, scope.spine, scope.plan))
    assert ours.quality["taking_part"] < 10
    assert ours.links["rule"].to_pylist() == ["national_number"] * 3
    assert ours.groups["subject"].to_pylist() == known[:1]
