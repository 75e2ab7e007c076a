"""May this person do this to that, now.

One function, one table. A page uses `refusal` to grey out a button with the reason; an operation
raises it. Default is refusal: an action that the table doesn't name, a role it doesn't list, a
state it doesn't allow. Members of a project, the organisation that owns a thing and the office's
own staff hear the reason; anybody else hears the same answer whether a thing is forbidden or
absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from policies.refusals import Refusal

ROLES = ("administrator", "statistician", "dpo", "director", "researcher", "holder", "auditor")
STAFF = frozenset({"administrator", "statistician", "dpo", "director", "auditor"})

Relation = Literal["anybody", "organisation", "member", "member-or-staff", "organisation-or-staff"]


@dataclass(frozen=True)
class Actor:
    """Somebody who proved who they are."""

    person: str
    organisation: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Thing:
    """What an action is about, as far as access is concerned.

    `organisation` owns it; `members` are the people it concerns (a project's team, a release's
    recipients); `makers` made it, and can't do what takes another person's eyes.
    """

    state: str = ""
    organisation: str = ""
    members: frozenset[str] = frozenset()
    makers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """Who may do one action, how they must stand to the thing, and in which of its states.

    `by_another` shuts out those who made the thing.
    """

    roles: frozenset[str]
    relation: Relation
    states: frozenset[str] | None
    by_another: bool
    next_step: str


def _rule(
    roles: str,
    relation: Relation = "anybody",
    states: str = "",
    next_step: str = "Ask an administrator of the office who can do it for you.",
    *,
    by_another: bool = False,
) -> Rule:
    named = frozenset(ROLES) if roles == "everybody" else frozenset(roles.split())
    return Rule(named, relation, frozenset(states.split()) or None, by_another, next_step)


ACTIONS: Mapping[str, Rule] = {
    "organisation.add": _rule("administrator"),
    "person.enrol": _rule(
        "administrator", next_step="An enrolment carries the signatures of two administrators."
    ),
    "person.list": _rule(" ".join(STAFF)),
    "dataset.add": _rule(
        "holder",
        "organisation",
        next_step="A dataset is declared by the organisation that owns it.",
    ),
    "dataset.read": _rule("everybody"),
    "upload.create": _rule(
        "holder", "organisation", next_step="Deliveries come from the dataset's own holder."
    ),
    "upload.append": _rule("holder", "organisation", "uploading"),
    "upload.withdraw": _rule(
        "holder",
        "organisation",
        "uploading",
        next_step="What came in whole has a receipt, and stays.",
    ),
    "upload.read": _rule("holder", "organisation"),
    "delivery.read": _rule("holder statistician auditor", "organisation-or-staff"),
    "delivery.withdraw": _rule(
        "holder",
        "organisation",
        "accepted superseded",
        "An accepted delivery is withdrawn by its own holder.",
    ),
    "application.create": _rule("researcher"),
    "application.read": _rule("researcher dpo director statistician auditor", "member-or-staff"),
    "application.dummy": _rule(
        "researcher dpo director statistician auditor",
        "member-or-staff",
        "submitted advised approved",
        "A dummy of its release can be made once the request is complete and handed in.",
    ),
    "application.edit": _rule("researcher", "member", "draft"),
    "application.submit": _rule("researcher", "member", "draft"),
    "application.withdraw": _rule("researcher", "member", "draft submitted advised"),
    "application.advise": _rule("dpo", states="submitted"),
    "application.decide": _rule("director", states="advised"),
    "consent.read": _rule(
        "holder statistician dpo director auditor",
        "organisation-or-staff",
        "submitted advised approved refused withdrawn",
        "A request is seen by holders once it has been handed in.",
    ),
    "consent.decide": _rule(
        "holder",
        "organisation",
        "submitted advised approved",
        "The dataset's own holder decides, on a request that has been handed in and still stands.",
    ),
    "review.read": _rule("statistician dpo auditor"),
    "review.decide": _rule(
        "statistician",
        states="open",
        next_step="A pair is decided once; to decide otherwise, undo what was decided first.",
    ),
    "review.undo": _rule(
        "statistician",
        states="same never",
        next_step="Only what was decided can be undone; a decision that waits for the linkage "
        "process is in force in a moment.",
    ),
    "permit.read": _rule("researcher dpo director statistician auditor", "member-or-staff"),
    "permit.suspend": _rule("dpo director administrator", states="in_force"),
    "permit.resume": _rule("director", states="suspended"),
    "release.build": _rule(
        "statistician", next_step="A statistician of the office builds releases under a permit."
    ),
    "release.read": _rule("researcher statistician dpo director auditor", "member-or-staff"),
    "release.clear": _rule(
        "statistician",
        states="built",
        next_step="A second statistician reads the disclosure report and clears or withdraws it.",
        by_another=True,
    ),
    "release.withdraw": _rule("statistician dpo director", states="built cleared"),
    "release.download": _rule(
        "researcher", "member", "cleared", "A release can be downloaded once it has been cleared."
    ),
    "job.read": _rule("holder statistician administrator", "organisation-or-staff"),
    "keys.list": _rule("administrator auditor"),
    "keys.rotate": _rule("administrator"),
    "keys.destroy": _rule("administrator"),
    "ledger.read": _rule("administrator auditor dpo director"),
    "ledger.checkpoint": _rule("everybody"),
    "ledger.who": _rule("holder administrator auditor dpo director", "organisation-or-staff"),
}


def _stands_right(actor: Actor, rule: Rule, thing: Thing) -> bool:
    owns = bool(thing.organisation) and actor.organisation == thing.organisation
    belongs = actor.person in thing.members
    staff = bool(actor.roles & rule.roles & STAFF)
    stands: Mapping[Relation, bool] = {
        "anybody": True,
        "organisation": owns,
        "member": belongs,
        "member-or-staff": belongs or staff,
        "organisation-or-staff": owns or staff,
    }
    return stands[rule.relation]


def _may_hear(actor: Actor, rule: Rule, thing: Thing) -> bool:
    """Whether this actor is entitled to know that the thing exists and why it's refused."""
    owns = bool(thing.organisation) and actor.organisation == thing.organisation
    public = rule.relation == "anybody" and not thing.members and not thing.organisation
    return public or owns or actor.person in thing.members or bool(actor.roles & STAFF)


def refusal(actor: Actor, action: str, thing: Thing) -> Refusal | None:
    """Why `actor` may not do `action` to `thing`, or None when they may. Pure; default is no."""
    rule = ACTIONS.get(action)
    if rule is None:
        return Refusal("unknown-action", "No such action exists.", "See the list of commands.")
    found = _found_wrong(actor, rule, thing)
    if found is None:
        return None
    return Refusal(*found, rule.next_step, visible=_may_hear(actor, rule, thing))


def _found_wrong(actor: Actor, rule: Rule, thing: Thing) -> tuple[str, str] | None:
    """The type of a refusal and its reason."""
    if not actor.roles & rule.roles:
        return "wrong-role", f"This takes the role of {' or '.join(sorted(rule.roles))}."
    if not _stands_right(actor, rule, thing):
        return "not-yours", "This belongs to somebody else."
    if rule.states is not None and thing.state not in rule.states:
        wanted = " or ".join(sorted(rule.states))
        state = thing.state or "in no state"
        return "wrong-state", f"This is {state}, and has to be {wanted} first."
    if rule.by_another and actor.person in thing.makers:
        return "own-work", "Nobody decides on what they made themselves."
    return None


def table() -> str:
    """Every action × role as a Markdown table, generated from `ACTIONS`."""
    lines = [
        "| action | " + " | ".join(ROLES) + " | while it is |",
        "|---" * (len(ROLES) + 2) + "|",
    ]
    marks: dict[Relation, str] = {
        "anybody": "yes",
        "organisation": "own organisation's",
        "member": "own",
        "member-or-staff": "own",
        "organisation-or-staff": "own organisation's",
    }
    for action, rule in ACTIONS.items():
        cells = []
        for role in ROLES:
            if role not in rule.roles:
                cells.append("–")
            elif rule.by_another:
                cells.append("others' work")
            elif role in STAFF and rule.relation.endswith("-or-staff"):
                cells.append("yes")
            else:
                cells.append(marks[rule.relation])
        states = ", ".join(sorted(rule.states)) if rule.states else "any state"
        lines.append(f"| {action} | " + " | ".join(cells) + f" | {states} |")
    return "\n".join(lines) + "\n"
