"""Links held against the truth about who is who."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.linkage.helpers import Scope
from tests.linkage.people import Extract, Told

NUMBER_RULES = ("national_number", "conversion")


@dataclass(frozen=True)
class Outcome:
    """What became of one (record, reference): the truth, its subject, and the rule."""

    told: Told
    subject: bytes
    rule: str


def admit_all(scope: Scope, extracts: Iterable[Extract]) -> list[Outcome]:
    """Admit deliveries one after the other and tell what became of every line."""
    outcomes = []
    for extract in extracts:
        subjects = scope.admit(extract.delivery)
        records = extract.delivery.records
        places = zip(records["record"].to_pylist(), records["reference"].to_pylist(), strict=True)
        outcomes += [
            Outcome(extract.truth[place], subject, rule)
            for place, subject, rule in zip(places, subjects, scope.rules, strict=True)
        ]
    return outcomes


@dataclass(frozen=True)
class Figures:
    """How good links are.

    A subject is the person that most of its entries with their own number are. `false_by_number`:
    entries that a number put with another person. Precision and recall are those of entries
    without their own valid number: of the ones put with others, how many are right; of the ones
    whose person is met elsewhere, how many were found. `unstable`: persons whose own number and
    first name lead to more than one subject.
    """

    false_by_number: int
    by_number: int
    precision: float
    recall: float
    numberless: int
    unstable: int
    compared: int


def judge(outcomes: Sequence[Outcome]) -> Figures:
    """Figures for everything that was admitted to one scope."""
    votes: dict[bytes, Counter[int]] = defaultdict(Counter)
    for one in outcomes:
        votes[one.subject][one.told.person] += 1 + 1000 * one.told.own_number
    stands_for = {subject: counted.most_common(1)[0][0] for subject, counted in votes.items()}
    right = [stands_for[one.subject] == one.told.person for one in outcomes]
    met = Counter(one.told.person for one in outcomes)
    together = Counter(one.subject for one in outcomes)
    by_number = [ok for one, ok in zip(outcomes, right, strict=True) if one.rule in NUMBER_RULES]
    linked = [
        ok
        for one, ok in zip(outcomes, right, strict=True)
        if not one.told.own_number and together[one.subject] > 1
    ]
    linkable = [
        ok and together[one.subject] > 1
        for one, ok in zip(outcomes, right, strict=True)
        if not one.told.own_number and met[one.told.person] > 1
    ]
    sure = defaultdict(set)
    for one in outcomes:
        if one.told.own_number and one.told.agreeing:
            sure[one.told.person].add(one.subject)
    return Figures(
        false_by_number=by_number.count(False),
        by_number=len(by_number),
        precision=sum(linked) / len(linked),
        recall=sum(linkable) / len(linkable),
        numberless=len(linkable),
        unstable=sum(len(subjects) > 1 for subjects in sure.values()),
        compared=len(sure),
    )


def partition(outcomes: Sequence[Outcome], places: Sequence[object]) -> set[frozenset[object]]:
    """The sets of places that are one subject."""
    groups = defaultdict(set)
    for one, place in zip(outcomes, places, strict=True):
        groups[one.subject].add(place)
    return {frozenset(group) for group in groups.values()}
