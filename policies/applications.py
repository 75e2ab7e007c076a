"""Where a request stands, and who may move it.

The procedure is data: `STEPS` says for each command from which states it leads where, and who may
give it. `decide` and `apply` are pure: a command and a state in, events or a refusal out. The
diagram in README.md beside this file is generated from the same data.

Rows S26 (the director approves by signing the advice), S33 (refused needs a reason) stand here.
Signatures are verified by the vault before a command is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from policies import permits
from policies.refusals import Refusal

State = Literal["draft", "submitted", "advised", "approved", "refused", "withdrawn"]
STATES: tuple[State, ...] = ("draft", "submitted", "advised", "approved", "refused", "withdrawn")
ENDED: frozenset[State] = frozenset({"approved", "refused", "withdrawn"})

CommandName = Literal["edit", "submit", "advise", "approve", "refuse", "withdraw"]


@dataclass(frozen=True)
class Step:
    """One command: where it leads from where, and who gives it (`applicant` or a role)."""

    name: CommandName
    by: str
    sources: tuple[State, ...]
    target: State


STEPS: tuple[Step, ...] = (
    Step("edit", "applicant", ("draft",), "draft"),
    Step("submit", "applicant", ("draft",), "submitted"),
    Step("advise", "dpo", ("submitted",), "advised"),
    Step("approve", "director", ("advised",), "approved"),
    Step("refuse", "director", ("advised",), "refused"),
    Step("withdraw", "applicant", ("draft", "submitted", "advised"), "withdrawn"),
)

NEXT_STEP: dict[State, str] = {
    "draft": "The applicant submits it when it is complete.",
    "submitted": "The data protection officer gives advice.",
    "advised": "The director decides.",
    "approved": "Its permit is what counts now.",
    "refused": "A new application may be made that answers the reason given.",
    "withdrawn": "A new application may be made.",
}


@dataclass(frozen=True)
class Application:
    """One request as it stands: the document asked for and the documents decided on it."""

    id: str
    applicant: str
    state: State
    document: Mapping[str, Any]
    advice: Mapping[str, Any] | None = None
    approval: Mapping[str, Any] | None = None

    @property
    def sha256(self) -> str:
        """What advice names this text of the application by."""
        return permits.sha256(self.document)


@dataclass(frozen=True)
class Command:
    """What somebody asks to do: the step's name and the document it brings (if any)."""

    name: CommandName
    document: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """What happened: the step taken, by whom, when, and the document it brought."""

    name: CommandName
    actor: str
    at: datetime
    document: Mapping[str, Any] | None = None


def _refuse(kind: str, reason: str, next_step: str) -> Refusal:
    return Refusal(kind, reason, next_step)


def _wrong_document(application: Application, command: Command, actor: str) -> Refusal | None:
    """Why the document that a command brings doesn't belong to this application."""
    document = command.document or {}
    if command.name in ("edit", "submit"):
        try:
            permits.Application.from_document(
                document if command.name == "edit" else application.document
            )
        except permits.PermitFault as fault:
            return _refuse("incomplete", str(fault), "Fill in or correct what is named.")
    if command.name == "advise" and (
        document.get("application") != application.id
        or document.get("application_sha256") != application.sha256
    ):
        return _refuse(
            "advice-on-another-text",
            "The advice names another application or another text of it.",
            "Read the application again and sign an advice on that text.",
        )
    if command.name in ("approve", "refuse"):
        advice = application.advice or {}
        if document.get("by") == advice.get("by"):
            return _refuse(
                "same-person",
                "Advice and decision must come from two different people.",
                "Another person with the director's role decides.",
            )
        if document.get("advice_sha256") != permits.sha256(advice):
            return _refuse(
                "decision-on-another-advice",
                "The decision was signed on another text of the advice.",
                "Read the advice again and sign a decision on it.",
            )
        wanted = "approved" if command.name == "approve" else "refused"
        if document.get("decision") != wanted or not document.get("reason"):
            return _refuse(
                "decision-incomplete",
                "A decision says approved or refused, and gives its reason.",
                "Sign a decision with both.",
            )
    if command.name == "approve":
        why_not = permits.approval_fault(application.sha256, application.advice or {}, document)
        if why_not is not None:
            return _refuse(
                "no-favourable-advice", why_not, "Refuse it, or ask for a new application."
            )
    if document.get("by", actor) != actor:
        return _refuse(
            "signed-by-another",
            "The document names somebody else as its signer.",
            "Everybody signs with a key of their own.",
        )
    return None


def decide(
    application: Application, command: Command, actor: str, roles: frozenset[str], now: datetime
) -> list[Event] | Refusal:
    """What a command leads to, or why it may not be given. Pure."""
    step = next(step for step in STEPS if step.name == command.name)
    entitled = actor == application.applicant if step.by == "applicant" else step.by in roles
    if not entitled:
        return _refuse(
            "not-yours",
            f"Only the {step.by} can {step.name} an application.",
            NEXT_STEP[application.state],
        )
    if application.state not in step.sources:
        return _refuse(
            "wrong-state",
            f"An application that is {application.state} can't be met with {step.name}.",
            NEXT_STEP[application.state],
        )
    if wrong := _wrong_document(application, command, actor):
        return wrong
    return [Event(command.name, actor, now, command.document)]


def apply(application: Application, event: Event) -> Application:
    """The application after an event. Pure."""
    target = next(step.target for step in STEPS if step.name == event.name)
    moved = replace(application, state=target)
    match event.name:
        case "edit":
            return replace(moved, document=event.document or {})
        case "advise":
            return replace(moved, advice=event.document)
        case "approve" | "refuse":
            return replace(moved, approval=event.document)
        case _:
            return moved


def diagram() -> str:
    """The states and commands as a Mermaid diagram, generated from `STEPS`."""
    lines = ["stateDiagram-v2", "    [*] --> draft"]
    for step in STEPS:
        for source in step.sources:
            lines.append(f"    {source} --> {step.target}: {step.name} ({step.by})")
    lines += [f"    {state} --> [*]" for state in STATES if state in ENDED]
    return "\n".join(lines) + "\n"


def table() -> str:
    """State × who may do what, as a Markdown table, generated from `STEPS`."""
    givers = list(dict.fromkeys(step.by for step in STEPS))
    lines = ["| state | " + " | ".join(givers) + " |", "|---" * (len(givers) + 1) + "|"]
    for state in STATES:
        cells = [
            ", ".join(step.name for step in STEPS if step.by == giver and state in step.sources)
            or "–"
            for giver in givers
        ]
        lines.append(f"| {state} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
