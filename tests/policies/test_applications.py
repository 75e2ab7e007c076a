"""Where a request stands and who may move it: every command in every state by everybody."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import applications, permits
from policies.applications import ENDED, STATES, STEPS, Application, Command, Event
from policies.refusals import Refusal
from tests.policies.test_permits import application as document

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PEOPLE = {
    "researcher-1": frozenset({"researcher"}),
    "researcher-2": frozenset({"researcher"}),
    "dpo-1": frozenset({"dpo"}),
    "director-1": frozenset({"director"}),
    "both-1": frozenset({"dpo", "director"}),
    "admin-1": frozenset({"administrator"}),
}


def advice(of: Application, by: str = "dpo-1", **changes: Any) -> dict[str, Any]:
    """Advice on an application as it reads."""
    return {
        "type": "advice",
        "application": of.id,
        "application_sha256": of.sha256,
        "opinion": "favourable",
        "by": by,
        **changes,
    }


def decision(of: Application, by: str = "director-1", **changes: Any) -> dict[str, Any]:
    """A decision on its advice."""
    return {
        "type": "approval",
        "application": of.id,
        "advice_sha256": permits.sha256(of.advice or {}),
        "decision": "approved",
        "reason": "The advice is followed.",
        "by": by,
        **changes,
    }


def at(state: applications.State) -> Application:
    """An application in some state."""
    start = Application("application-1", "researcher-1", "draft", document())
    given_advice = advice(start)
    return Application(
        "application-1",
        "researcher-1",
        state,
        document(),
        advice=given_advice if state in ("advised", "approved", "refused") else None,
    )


def _brought(name: applications.CommandName, to: Application, by: str) -> dict[str, Any] | None:
    match name:
        case "edit":
            return document(title="Another title")
        case "advise":
            return advice(to, by)
        case "approve":
            return decision(to, by)
        case "refuse":
            return decision(to, by, decision="refused")
        case _:
            return None


@pytest.mark.parametrize(
    ("state", "name", "person"), list(product(STATES, [step.name for step in STEPS], PEOPLE))
)
def test_the_whole_matrix(
    state: applications.State, name: applications.CommandName, person: str
) -> None:
    """Every state × command × person: allowed exactly where the table says so."""
    standing = at(state)
    step = next(step for step in STEPS if step.name == name)
    entitled = person == "researcher-1" if step.by == "applicant" else step.by in PEOPLE[person]
    allowed = entitled and state in step.sources
    command = Command(name, _brought(name, standing, person))
    outcome = applications.decide(standing, command, person, PEOPLE[person], NOW)
    assert isinstance(outcome, list) == allowed
    if isinstance(outcome, list):
        assert applications.apply(standing, outcome[0]).state == step.target
    else:
        assert outcome.reason
        assert outcome.next_step


def test_what_has_ended_stays_ended() -> None:
    """Approved, refused and withdrawn are final; a change is a new request."""
    assert {state for state in STATES if not any(state in step.sources for step in STEPS)} == ENDED


@pytest.mark.parametrize(
    ("state", "command", "kind"),
    [
        ("draft", Command("edit", {"purpose": "tax"}), "incomplete"),
        ("submitted", Command("advise", {"application": "other"}), "advice-on-another-text"),
        (
            "advised",
            Command("approve", decision(at("advised"), advice_sha256="0" * 64)),
            "decision-on-another-advice",
        ),
        ("advised", Command("approve", decision(at("advised"), by="dpo-1")), "same-person"),
        ("advised", Command("approve", decision(at("advised"), reason="")), "decision-incomplete"),
        ("advised", Command("refuse", decision(at("advised"))), "decision-incomplete"),
        (
            "advised",
            Command("approve", decision(at("advised"), by="somebody-else")),
            "signed-by-another",
        ),
    ],
    ids=lambda item: str(item)[:30],
)
def test_a_document_that_does_not_belong_is_refused(
    state: applications.State, command: Command, kind: str
) -> None:
    """S26, S33: the documents fit this application, this advice, this person."""
    roles = frozenset({"dpo", "director"})
    actor = "researcher-1" if command.name == "edit" else "director-1"
    outcome = applications.decide(at(state), command, actor, roles, NOW)
    assert isinstance(outcome, Refusal)
    assert outcome.type == kind


def test_an_unfavourable_advice_is_not_approved() -> None:
    """The director approves by signing the advice; against it there is only refusing."""
    standing = at("submitted")
    unfavourable = advice(standing, opinion="unfavourable")
    advised = applications.apply(standing, Event("advise", "dpo-1", NOW, unfavourable))
    approve = Command("approve", decision(advised))
    outcome = applications.decide(advised, approve, "director-1", PEOPLE["director-1"], NOW)
    assert isinstance(outcome, Refusal)
    assert outcome.type == "no-favourable-advice"
    refuse = Command("refuse", decision(advised, decision="refused"))
    assert isinstance(
        applications.decide(advised, refuse, "director-1", PEOPLE["director-1"], NOW), list
    )


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(sorted(PEOPLE))), max_size=12))
def test_no_sequence_of_commands_approves_without_two_people(
    tried: list[tuple[applications.Step, str]],
) -> None:
    """S26, whatever anybody tries in whatever order."""
    standing = Application("application-1", "researcher-1", "draft", document())
    for step, person in tried:
        command = Command(step.name, _brought(step.name, standing, person))
        outcome = applications.decide(standing, command, person, PEOPLE[person], NOW)
        if isinstance(outcome, list):
            standing = applications.apply(standing, outcome[0])
    if standing.state == "approved":
        assert standing.advice is not None
        assert standing.approval is not None
        assert standing.advice["by"] != standing.approval["by"]


def test_the_diagram_shows_every_step() -> None:
    """Generated from the same data; see README.md of policies."""
    drawn = applications.diagram()
    for step in STEPS:
        for source in step.sources:
            assert f"{source} --> {step.target}: {step.name}" in drawn
    assert all(f"| {state} |" in applications.table() for state in STATES)
