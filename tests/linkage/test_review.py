"""Pairs for a human and what is decided on them, in the engine (issue 4; rows S07, S16)."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage import LinkageError, review
from linkage.decisions import (
    DECISIONS,
    ContradictionError,
    answered,
    superseded,
    with_decision,
    without,
)
from linkage.deliveries import Delivery
from linkage.engine import FIELDS, Plan, link
from linkage.spine import Spine
from tests.linkage.helpers import Row, delivery, person, subject_ids
from tests.linkage.people import national_number
from tests.linkage.test_laws import ROWS

LUNA = person("Luna", "Peeters", "2004-03-12", national_number=national_number(2004, 3, 12, 2))
TWIN = LUNA | {"national_number": national_number(2004, 3, 12, 14), "house_number": "125"}
"""Her namesake of the same day, or she herself with another's number."""
NOBODY = DECISIONS.empty_table()


class Decided:
    """A spine that grows under decisions."""

    def __init__(self) -> None:
        self.spine = Spine.empty()
        self.decisions = NOBODY
        self.pairs: Any = None
        self.result: Any = None

    def admit(self, coming: Delivery) -> list[bytes]:
        self.result = link(coming, self.spine, Plan.default(), decisions=self.decisions)
        ids = subject_ids(coming, self.result)
        threshold = Plan.default().link_threshold
        self.pairs = review.listed(self.spine, self.result, ids, threshold)
        self.views = review.views(self.pairs, self.spine, self.result, ids, FIELDS)
        self.spine = self.spine.with_segment(self.spine.admit(coming, self.result, ids))
        subjects: list[bytes] = ids.take(self.result.links["group"].combine_chunks()).to_pylist()
        return subjects

    def decide(self, verdict: str) -> None:
        """On the first pair that is listed."""
        pair = {"pair": "pair-1", **self.pairs.to_pylist()[0]}
        self.decisions = with_decision(self.decisions, pair, verdict)

    def counted(self, subject: bytes) -> bytes:
        """Whom a release takes a subject for."""
        table = superseded(self.decisions).to_pylist()
        into: dict[bytes, bytes] = {line["subject"]: line["into"] for line in table}
        return into.get(subject, subject)


@pytest.fixture
def twins() -> tuple[Decided, bytes, bytes]:
    """Two subjects and one pair in review."""
    scope = Decided()
    [one] = scope.admit(delivery([LUNA]))
    [other] = scope.admit(delivery([TWIN], period="2025"))
    assert one != other
    return scope, one, other


def test_a_pair_in_review_says_what_hangs_on_it(twins: tuple[Decided, bytes, bytes]) -> None:
    scope, one, other = twins
    [pair] = scope.pairs.to_pylist()
    assert (pair["subject"], pair["other"]) == (one, other), "the one known first in front"
    assert (pair["since"], pair["other_since"]) == (1, 2)
    assert (pair["references"], pair["hanging"], pair["unit_type"]) == (1, 0, "person")
    assert pair["reason"] == "different_numbers"
    [view] = scope.views
    assert view["house_number"] == {"state": "differs", "one": "··", "other": "··5"}
    assert view["first_name"] == view["birth_date"] == view["street"] == {"state": "same"}
    assert set(view["national_number"]["one"]) == {"·", "×"}
    assert "sex" not in view


def test_without_a_decision_the_pair_comes_back(twins: tuple[Decided, bytes, bytes]) -> None:
    scope, one, other = twins
    assert scope.admit(delivery([TWIN, LUNA], period="2026", unit=False)) == [other, one]
    assert scope.pairs.num_rows == 1
    assert scope.result.quality["review_by_reason"] == {"different_numbers": 1}


def test_decided_never(twins: tuple[Decided, bytes, bytes]) -> None:
    scope, one, other = twins
    scope.decide("never")
    assert scope.admit(delivery([TWIN, LUNA], period="2026", unit=False)) == [other, one]
    assert scope.result.review["reason"].to_pylist() == ["decided"]
    assert scope.pairs.num_rows == 0, "nobody is asked again"
    assert scope.counted(other) == other


def test_decided_same(twins: tuple[Decided, bytes, bytes]) -> None:
    """One person from now on; each record stays recorded where it was, for an undoing."""
    scope, one, other = twins
    scope.decide("same")
    assert scope.admit(delivery([TWIN, LUNA], period="2026", unit=False)) == [other, one]
    rules = scope.result.links["rule"].to_pylist()
    assert rules[0] == "decided" != rules[1]
    assert scope.result.links["probability"].to_pylist()[0] is None
    assert scope.counted(other) == one == scope.counted(one)
    assert scope.pairs.num_rows == 0
    assert scope.result.quality["by_rule"]["decided"] == 1


def test_what_is_like_both_goes_to_them_once_they_are_one() -> None:
    """Two candidates that exclude each other share their probability; one person doesn't."""
    unnumbered = LUNA | {"national_number": None, "house_number": None}
    for verdict in (None, "same"):
        scope = Decided()
        [one] = scope.admit(delivery([LUNA]))
        [other] = scope.admit(delivery([TWIN], period="2025"))
        if verdict is not None:
            scope.decide(verdict)
        [third] = scope.admit(delivery([unnumbered], period="2026"))
        assert (scope.counted(third) == one) is (verdict == "same")
        assert other not in (one, third)


def test_undone_is_as_before(twins: tuple[Decided, bytes, bytes]) -> None:
    scope, one, other = twins
    scope.decide("same")
    scope.admit(delivery([TWIN, LUNA], period="2026", unit=False))
    scope.decisions = without(scope.decisions, "pair-1")
    assert scope.admit(delivery([TWIN, LUNA], period="2027", unit=False)) == [other, one]
    assert scope.result.links["rule"].to_pylist()[0] != "decided"
    assert scope.result.quality["review_by_reason"] == {"different_numbers": 1}
    assert scope.counted(other) == other


def line(pair: str, one: int, other: int, verdict: str) -> Row:
    """A decision on two subjects, numbered by when they were first seen."""
    ids = [bytes([number]) * 16 for number in (one, other)]
    return {
        "pair": pair,
        "subject": ids[0],
        "since": one,
        "other": ids[1],
        "other_since": other,
        "verdict": verdict,
    }


def test_never_holds_against_a_chain_of_same() -> None:
    made = pa.Table.from_pylist(
        [line("a", 1, 2, "never"), line("b", 2, 3, "same")], schema=DECISIONS
    )
    with pytest.raises(ContradictionError, match="undo one"):
        with_decision(made, line("c", 1, 3, "same"), "same")
    made = with_decision(made, line("a", 1, 2, "never"), "same")
    [first, second] = superseded(made).to_pylist()
    assert {first["into"], second["into"]} == {bytes([1]) * 16}
    assert superseded(without(made, "a")).num_rows == 1


def test_what_decisions_answer() -> None:
    """One and two are one, and never three: so neither of them is; four is still a question."""
    made = pa.Table.from_pylist(
        [line("a", 1, 2, "same"), line("b", 2, 3, "never")], schema=DECISIONS
    )
    asked = [line("", one, two, "") for one, two in ((1, 2), (1, 3), (3, 2), (1, 4), (3, 4))]
    pairs = pa.Table.from_pylist(asked, schema=DECISIONS)
    assert answered(made, pairs) == [True, True, True, False, False]
    assert answered(NOBODY, pairs) == [False] * 5


def test_a_decision_about_strangers_is_refused() -> None:
    made = pa.Table.from_pylist([line("a", 1, 2, "same")], schema=DECISIONS)
    with pytest.raises(LinkageError, match="doesn't know"):
        link(delivery([LUNA]), Spine.empty(), Plan.default(), decisions=made)


def test_what_changes_most_comes_first() -> None:
    """Jan, seen three times, and the one that may be him come before a pair seen once."""
    jan = person("Jan", "Claes", "1971-05-06", national_number=national_number(1971, 5, 6, 3))
    jon = jan | {"national_number": national_number(1971, 5, 6, 21)}
    scope = Decided()
    scope.admit(delivery([LUNA, jan], period="2023"))
    scope.admit(delivery([TWIN, jon, jon], period="2024", unit=False))
    reach = scope.pairs["references"].to_pylist()
    assert reach == sorted(reach, reverse=True)
    assert scope.pairs.num_rows == 2
    scope.admit(delivery([jan, jan, jon, LUNA, TWIN], period="2025", unit=False))
    assert scope.pairs["references"].to_pylist() == [3, 2]
    assert scope.views[0]["national_number"]["state"] == "differs"


@settings(max_examples=30)
@given(ROWS, ROWS, st.data())
def test_whatever_is_decided(
    first: list[tuple[Row, ...]], second: list[tuple[Row, ...]], data: st.DataObject
) -> None:
    """What comes again is recorded where it was, a row's units stay apart, and never is never."""
    scope = Decided()
    one, two = delivery(first), delivery(second, period="2025")
    before, after = scope.admit(one), scope.admit(two)
    pairs = scope.pairs.to_pylist()
    verdicts = [data.draw(st.sampled_from(["same", "never", None])) for _ in pairs]
    for place, (pair, verdict) in enumerate(zip(pairs, verdicts, strict=True)):
        if verdict is not None:
            with suppress(ContradictionError):
                decided = {"pair": f"pair-{place}", **pair}
                scope.decisions = with_decision(scope.decisions, decided, verdict)
    assert scope.admit(one) == before
    assert scope.admit(two) == after
    further = scope.admit(replace(one, period="2026", delivery="benefit-2026"))
    keys = one.records["row_key"].to_pylist()
    assert len(set(zip(keys, further, strict=True))) == len(keys)
    for decided in scope.decisions.to_pylist():
        together = scope.counted(decided["subject"]) == scope.counted(decided["other"])
        assert together is (decided["verdict"] == "same")
    groups = scope.result.groups["subject"].drop_null()
    assert pa.compute.count_distinct(groups).as_py() == len(groups)


TEXT = st.text("ABE-", min_size=1, max_size=9)


@given(TEXT, TEXT)
def test_a_masked_value_is_never_whole(one: str, other: str) -> None:
    """No more than a third of a value is shown, and nothing that both have in its place."""
    told = review.masked("last_name", one, other)
    if one == other:
        assert told == {"state": "same"}
        return
    for text, shown in ((one, told["one"]), (other, told["other"])):
        assert len(shown) == len(text)
        open_ = [sign for sign in shown if sign not in (review.SAME, review.DIFFERENT)]
        assert 3 * len(open_) <= len(text)
        assert len(open_) <= 2
    if len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
        at = next(place for place in range(len(one)) if one[place] != other[place])
        assert told["one"][:at] + told["one"][at + 1 :] == review.SAME * (len(one) - 1)


def test_numbers_and_other_names_show_nothing() -> None:
    told = review.masked("national_number", "85073000105", "85073000204")
    assert told == {"state": "differs", "one": "········×·×", "other": "········×·×"}
    assert review.masked("street", "MOLENSTRAAT", "KERKSTRAAT")["one"] == "×××××······"
    assert review.masked("first_name", "JAN", "PIET")["one"].strip("·×") == ""
    assert review.masked("sex", "M", "F") == {"state": "differs", "one": "×", "other": "×"}
    assert review.masked("street", None, "KERKSTRAAT") == {"state": "missing"}
