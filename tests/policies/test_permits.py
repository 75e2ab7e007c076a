"""What a permit may say, and when it allows something."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policies import permits

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RECIPIENT = "age1" + "q" * 58


def application(**changes: Any) -> dict[str, Any]:
    """A complete application."""
    return {
        "project": "neet",
        "title": "Young people",
        "purpose": "scientific",
        "motivation": "To know.",
        "necessity": "No table tells.",
        "legal_basis": "GDPR, article 89",
        "datasets": [
            {
                "id": "benefit",
                "periods": ["2024"],
                "variables": [
                    {"name": "born", "as": "age_class", "rule": [{"age_class": {}}]},
                    {"name": "place", "as": "area", "rule": [{"geography": {}}]},
                    {"name": "amount", "rule": [{"round": {"to": 100}}]},
                ],
                "references": ["self", "mother"],
            },
            {
                "id": "work",
                "periods": ["2024", "2025"],
                "variables": [{"name": "wage", "rule": [{"round": {"to": 100}}]}],
            },
        ],
        "universe": {"datasets": ["benefit"]},
        "join": {"keys": ["age_class", "area"]},
        "linkage_keys": ["national_number"],
        "scenario": {"known": ["age_class", "area"], "changing": ["area"]},
        "thresholds": {"k": 5, "suppression": 0.1},
        "recipients": [{"person": "researcher-1", "age_recipient": RECIPIENT}],
        "valid_from": "2026-01-01",
        "valid_until": "2027-01-01",
        "retention_until": "2028-01-01",
        **changes,
    }


def permit(**changes: Any) -> permits.Permit:
    """A permit for it."""
    terms = permits.Application.from_document(application()).terms()
    return permits.Permit.from_document(
        {
            **terms,
            "type": "permit",
            "version": 1,
            "id": "permit-1",
            "application": "application-1",
            "scope": "neet",
            "signatures": {},
            **changes,
        }
    )


def test_a_permit_grants_the_terms_word_for_word() -> None:
    """P05: plan, contract and access are one document."""
    asked = permits.Application.from_document(application())
    granted = permit()
    assert (
        granted.model_dump(by_alias=True, include=set(permits.Terms.model_fields)) == asked.terms()
    )
    assert permits.Permit.from_document(granted.document()) == granted
    assert granted.periods() == ["2024", "2025"]
    assert granted.dataset("work") is not None
    assert granted.dataset("other") is None
    assert granted.recipient("researcher-1") is not None
    assert granted.recipient("researcher-2") is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"purpose": "tax"}, "purpose"),
        ({"necessity": ""}, "necessity"),
        ({"unknown": 1}, "unknown"),
        ({"valid_until": "2025-01-01"}, "valid_from"),
        ({"valid_from": "soon"}, "valid_from"),
        ({"thresholds": {"k": 2}}, "thresholds.k"),
        ({"thresholds": {"k": 5, "suppression": 0.9}}, "suppression"),
        ({"universe": {"datasets": ["elsewhere"]}}, "universe"),
        ({"join": {"keys": ["age_class"]}}, "known"),
        ({"join": {"keys": ["age_class", "wage"]}}, "wage"),
        ({"scenario": {"known": ["age_class", "area"], "changing": ["sex"]}}, "changing"),
        ({"recipients": [{"person": "r", "age_recipient": "age1x"}]}, "age_recipient"),
        (
            {"recipients": [{"person": "r-1", "age_recipient": RECIPIENT}] * 2},
            "recipient is named twice",
        ),
    ],
    ids=str,
)
def test_what_does_not_hold_together_is_named(changes: dict[str, Any], named: str) -> None:
    """S01, S02 and the rest: each fault is one place with one reason."""
    with pytest.raises(permits.PermitFault, match=named.replace(".", r"\.")):
        permits.Application.from_document(application(**changes))


def test_a_dataset_named_twice_or_a_name_taken_is_refused() -> None:
    """Two variables can't leave under one name, nor under a pseudonym's."""
    twice = application()
    twice["datasets"] = [*twice["datasets"], twice["datasets"][1]]
    with pytest.raises(permits.PermitFault, match="named twice"):
        permits.Application.from_document(twice)
    same = application()
    same["datasets"][0]["variables"][2]["as"] = "area"
    with pytest.raises(permits.PermitFault, match="under one name"):
        permits.Application.from_document(same)
    taken = application()
    taken["datasets"][0]["variables"][2]["as"] = "mother"
    with pytest.raises(permits.PermitFault, match="pseudonym"):
        permits.Application.from_document(taken)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a["datasets"][0].update(id="units"), "table of units"),
        (lambda a: a["datasets"][0]["variables"][2].update({"as": "pay_status"}), "_status"),
        (lambda a: a["datasets"][0]["variables"][2].update(name="born"), "asked for twice"),
        (
            lambda a: a["datasets"][1]["variables"].append(
                {"name": "x", "as": "area", "rule": [{"geography": {}}]}
            ),
            "outside the universe",
        ),
        (
            lambda a: (
                a["universe"].update(datasets=["benefit", "work"]),
                a["datasets"][1]["variables"].append(
                    {"name": "x", "as": "area", "rule": [{"keep": {}}]}
                ),
            ),
            "different rules",
        ),
        (lambda a: a["thresholds"].update(k=3), "k is 5 at least"),
    ],
    ids=["units", "status", "twice", "outside", "two rules", "k"],
)
def test_two_views_of_one_value_and_names_of_ours_are_refused(
    change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    """Two coarse views of one date of birth make a fine one; k is never below the least."""
    document = json.loads(json.dumps(application()))
    if words == "table of units":
        document["universe"]["datasets"] = ["units"]
    change(document)
    with pytest.raises(permits.PermitFault, match=words):
        permits.Application.from_document(document)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A complete application in which one place holds something else."""
    document: Any = json.loads(json.dumps(application()))
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place = document
    for part in way:
        place = place[part]
    place[last] = value
    return document


VARIABLE = "datasets.0.variables.2"


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        *((path, "") for path in ("title", "motivation", "necessity", "legal_basis")),
        ("title", "x" * 4001),
        *(("project", bad) for bad in ("", "Neet", "neet 2", "-neet", "n" * 64, "neet/..")),
        *(("datasets.0.id", bad) for bad in ("Benefit", "../benefit")),
        *((f"{VARIABLE}.name", bad) for bad in ("", "1st", "a b", "a-b", "n" * 64, "a;--")),
        (f"{VARIABLE}.as", "a b"),
        (f"{VARIABLE}.rule", []),
        (f"{VARIABLE}.rule", "keep"),
        *(("recipients.0.person", bad) for bad in ("", "Rita", ".rita", "rita/..", "r" * 64)),
        *(("unit_type", bad) for bad in ("dog", "Person")),
        ("purpose", "enforcement"),
        *(
            (path, [])
            for path in (
                *("datasets", "datasets.0.periods", "datasets.0.references", "universe.datasets"),
                *("join.keys", "scenario.known", "linkage_keys", "recipients"),
            )
        ),
        *(("scenario.moments", bad) for bad in (0, 13)),
        *(("thresholds.k", bad) for bad in (2, 1001)),
        *(("thresholds.suppression", bad) for bad in (-0.1, 0.6)),
        *(
            (path, bad)
            for path in ("valid_from", "valid_until", "retention_until")
            for bad in ("2026-02-30", "2026-1-1", "20260101", "2026-W01-1", "soon", 20260101)
        ),
    ],
)
def test_every_field_has_bounds_and_a_fault_names_it(path: str, bad: Any) -> None:
    """S22's blocks are none of them empty; ids go into paths and pages and hold nothing odd. A day
    in a basic or week form would compare wrongly with the others, which are compared as texts."""
    with pytest.raises(permits.PermitFault, match=rf"can't be used: ([^;]*; )*{path}: "):
        permits.Application.from_document(changed(path, bad))


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("title", "x"),
        ("title", "x" * 4000),
        ("project", "2"),
        ("project", "n" * 63),
        (f"{VARIABLE}.name", "_Name_2"),
        ("recipients.0.person", "r.2_t-a"),
        ("unit_type", "household"),
        ("purpose", "statistical"),
        ("purpose", "policy-preparatory"),
        ("scenario.changing", ["area", "age_class"]),
        ("scenario.moments", 1),
        ("scenario.moments", 12),
        ("thresholds.k", 1000),
        ("thresholds.suppression", 0),
        ("thresholds.suppression", 0.5),
        ("retention_until", "2027-01-01"),
        ("valid_from", "2026-12-31"),
    ],
)
def test_what_lies_on_a_bound_is_allowed(path: str, good: Any) -> None:
    """S01, S35 and the rest: what the rules leave room for can be asked for."""
    asked = permits.Application.from_document(changed(path, good))
    assert permits.Application.from_document(asked.document()) == asked


def test_one_dataset_and_one_key_are_enough() -> None:
    """The smallest request."""
    document = changed("join.keys", ["age_class"])
    document["scenario"] = {"known": ["age_class"]}
    del document["datasets"][1]
    assert permits.Application.from_document(document).join.keys == ["age_class"]


def test_what_is_not_said_is_the_careful_choice() -> None:
    """Read once and signed in full: the person itself, k of 5, nothing suppressed, one moment."""
    document = changed("thresholds", {})
    asked = permits.Application.from_document(document).document()
    assert asked["thresholds"] == {"k": 5, "suppression": 0.0}
    assert asked["unit_type"] == "person"
    assert asked["universe"]["reference"] == "self"
    assert asked["datasets"][1]["references"] == ["self"]
    assert asked["scenario"] == {
        "known": ["age_class", "area"],
        "changing": ["area"],
        "moments": 1,
        "sensitive": [],
    }
    signed = permit().document()
    bare = {name: value for name, value in signed.items() if name not in ("type", "version")}
    assert permits.Permit.from_document(bare).document() == signed
    assert (signed["type"], signed["version"], signed["conditions"]) == ("permit", 1, [])


def test_least_k() -> None:
    """S08: persons and households by five at least, enterprises by three."""
    assert permits.LEAST_K == {"person": 5, "household": 5, "enterprise": 3}
    for unit_type, least in permits.LEAST_K.items():
        fits = application(unit_type=unit_type, thresholds={"k": least})
        assert permits.Application.from_document(fits).thresholds.k == least
        with pytest.raises(permits.PermitFault, match=r"k is \d at least|thresholds\.k"):
            permits.Application.from_document({**fits, "thresholds": {"k": least - 1}})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("universe.datasets", ["benefit", "elsewhere"], r"not asked for: \['elsewhere'\]"),
        ("valid_until", "2026-01-01", "valid_from < valid_until"),
        ("retention_until", "2026-12-31", "retention_until doesn't hold"),
        ("datasets.0.variables.2.as_", "pay", r"variables\.2\.as_: "),
    ],
)
def test_what_is_half_right_is_refused(path: str, value: Any, words: str) -> None:
    """One unknown dataset beside a known one; a permit of no days; a name of the program's own."""
    with pytest.raises(permits.PermitFault, match=words):
        permits.Application.from_document(changed(path, value))


def test_a_key_has_to_come_from_somewhere() -> None:
    """A key that no dataset gives."""
    document = changed("join.keys", ["age_class", "sex"])
    document["scenario"] = {"known": ["age_class", "sex"]}
    with pytest.raises(permits.PermitFault, match="join key sex comes from no dataset"):
        permits.Application.from_document(document)


def test_a_rules_dates_are_read_as_the_text_they_are() -> None:
    """As YAML reads them, at any depth, so that the rule has one canonical form to sign."""
    rule = [{"age_class": {"reference_date": {2024: date(2024, 12, 31)}}}]
    asked = permits.Application.from_document(changed("datasets.0.variables.2.rule", rule))
    assert asked.datasets[0].variables[2].rule == [
        {"age_class": {"reference_date": {"2024": "2024-12-31"}}}
    ]


def test_a_permit_is_not_changed_once_read() -> None:
    """P05: what was verified is what is used."""
    granted = permit()
    for document, name in (
        (granted, "valid_until"),
        (granted.thresholds, "k"),
        (granted.datasets[0], "periods"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(document, name, getattr(document, name))


@pytest.mark.parametrize("period", [True, [2024], "soon", 2024.5])
def test_what_is_no_period_is_refused(period: object) -> None:
    """A YAML reader's truth or list is no year."""
    document = json.loads(json.dumps(application()))
    document["datasets"][0]["periods"] = [period]
    with pytest.raises(permits.PermitFault, match=r"periods\.0"):
        permits.Application.from_document(document)


def test_an_application_comes_back_as_it_was_read() -> None:
    """What advice and approval are about is the whole of it, defaults included."""
    asked = permits.Application.from_document(application())
    document = asked.document()
    assert permits.Application.from_document(document) == asked
    assert (document["link_quality"], document["imported_pseudonyms"]) == (False, None)


def test_imported_pseudonyms_are_named_apart() -> None:
    """S15: a dataset of old pseudonyms may be linked and read for its period, and only by a permit
    that names it; no variable of it can be asked for."""
    named = {"dataset": "old-names", "period": 2023}
    granted = permit(imported_pseudonyms=named, link_quality=True)
    assert granted.allows("old-names", "2023")
    assert not granted.allows("old-names", "2024")
    assert granted.allows("work", "2025")
    assert not granted.allows("work", "2026")
    assert not permit().allows("old-names", "2023")
    assert not permit().link_quality
    with pytest.raises(permits.PermitFault, match=r"no variable of theirs can be asked for\.$"):
        permit(imported_pseudonyms={**named, "dataset": "work"})


def test_the_column_of_link_quality_is_nobodys() -> None:
    """Whether a permit asks for it or not, so that an amendment may."""
    for name in ("link_quality", "unit"):
        taken = application()
        taken["datasets"][0]["variables"][2]["as"] = name
        with pytest.raises(permits.PermitFault, match="link's quality"):
            permits.Application.from_document(taken)


def test_enterprises_may_be_three() -> None:
    """The least k depends on the kind of unit."""
    document = application(unit_type="enterprise", thresholds={"k": 3})
    assert permits.Application.from_document(document).thresholds.k == 3


@pytest.mark.parametrize("text", ["2024", "2024-Q3", "2024-W07", "2024-11"])
def test_a_period_is_a_year_or_a_part_of_one(text: str) -> None:
    """And nothing else gets into a receipt or the ledger."""
    assert permits.is_period(text)
    assert not permits.is_period(text + "x")
    assert not any(permits.is_period(other) for other in ("banana", "", "٢٠٢٤", "24", "2024-13-1"))
    assert permits.is_slug("neet-2")
    assert not any(permits.is_slug(other) for other in ("", "A", "a b", "-a", None, "a" * 64))


def test_yaml_days_and_years_are_read_as_the_text_they_are() -> None:
    """A YAML reader makes dates and numbers of them; what is signed is text."""
    document = application(valid_from=date(2026, 1, 1))
    document["datasets"][0]["periods"] = [2024]
    read = permits.Application.from_document(document)
    assert read.valid_from == "2026-01-01"
    assert read.datasets[0].periods == ["2024"]
    assert permits.plain({2024: date(2026, 1, 1), "a": (1, [2])}) == {
        "2024": "2026-01-01",
        "a": [1, [2]],
    }


@pytest.mark.parametrize(
    ("now", "state", "words"),
    [
        (NOW, "in_force", None),
        (datetime(2025, 12, 31, 22, 59, tzinfo=UTC), "in_force", "before 2026-01-01"),
        (datetime(2025, 12, 31, 23, tzinfo=UTC), "in_force", None),  # midnight in Brussels
        (datetime(2026, 12, 31, 23, tzinfo=UTC), "in_force", "expired on 2027-01-01"),
        (NOW, "suspended", "suspended"),
        (NOW, "draft", "not in force"),
    ],
)
@pytest.mark.parametrize("purpose", ["link", "pseudonymise", "release", "download"])
def test_a_permit_allows_in_its_time_and_while_in_force(
    now: datetime, state: str, words: str | None, purpose: permits.Purpose
) -> None:
    """S36: at expiry access is off by itself; boundaries belong to the day they name."""
    reason = permits.refusal(permit(), purpose=purpose, now=now, state=state)
    assert reason is None if words is None else words in str(reason)


def test_a_state_is_what_is_stored_until_time_is_over() -> None:
    """in_force, suspended, expired."""
    assert permits.state(permit(), "in_force", NOW) == "in_force"
    assert permits.state(permit(), "suspended", NOW) == "suspended"
    assert permits.state(permit(), "suspended", datetime(2030, 1, 1, tzinfo=UTC)) == "expired"
    over = datetime(2026, 12, 31, 23, tzinfo=UTC)  # midnight in Brussels
    assert permits.state(permit(), "in_force", over) == "expired"
    assert permits.state(permit(), "in_force", over - timedelta.resolution) == "in_force"


ADVICE = {
    "type": "advice",
    "application": "application-1",
    "application_sha256": "a" * 64,
    "opinion": "favourable",
    "by": "dpo-1",
}


def _approval(**changes: Any) -> dict[str, Any]:
    return {
        "type": "approval",
        "application": "application-1",
        "advice_sha256": permits.sha256(ADVICE),
        "decision": "approved",
        "by": "director-1",
        **changes,
    }


def test_an_approval_of_the_very_advice_stands() -> None:
    """S26."""
    assert permits.approval_fault("a" * 64, ADVICE, _approval()) is None


@pytest.mark.parametrize(
    ("advice", "approval", "reason"),
    [
        ({"type": "note"}, {}, "another type"),
        ({}, {"type": "note"}, "another type"),
        ({"application_sha256": "b" * 64}, {}, "another text of the application"),
        ({"opinion": "unfavourable"}, {}, "not favourable"),
        ({}, {"application": "application-2"}, "two applications"),
        ({}, {"advice_sha256": "c" * 64}, "another text of the advice"),
        ({}, {"decision": "refused"}, "not an approval"),
        ({}, {"by": "dpo-1"}, "two different people"),
        ({"by": ""}, {}, "two different people"),
    ],
    ids=str,
)
def test_any_other_pair_of_documents_is_no_decision(
    advice: dict[str, Any], approval: dict[str, Any], reason: str
) -> None:
    """S26: unfavourable advice, another application, one person; the approval names the advice as
    it is here, so that each fault is told for itself."""
    advised = {**ADVICE, **advice}
    decided = _approval(**{"advice_sha256": permits.sha256(advised), **approval})
    assert reason in str(permits.approval_fault("a" * 64, advised, decided))


def test_an_advice_changed_afterwards_carries_no_approval() -> None:
    """S26: by one word more."""
    changed_advice = {**ADVICE, "text": "another"}
    fault = permits.approval_fault("a" * 64, changed_advice, _approval())
    assert fault == "The approval was given to another text of the advice."


@given(st.permutations(list(application().items())))
def test_the_hash_does_not_depend_on_the_order_of_writing(items: list[tuple[str, Any]]) -> None:
    """Canonical JSON: what is signed is what is said, not how it was typed."""
    assert permits.sha256(dict(items)) == permits.sha256(application())
