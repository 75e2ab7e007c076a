"""May this person do this to that: the whole matrix of roles, actions, states and relations.

What is expected stands here once more, written from the design and the requirement rows and not
read from the table under test: who may widen a right has to write it down twice.
"""

from dataclasses import FrozenInstanceError, fields
from itertools import product
from typing import Any

import pytest

from policies import access
from policies.access import Actor, Thing

ROLES = ["administrator", "statistician", "dpo", "director", "researcher", "holder", "auditor"]
STAFF = {"administrator", "statistician", "dpo", "director", "auditor"}
"""The office's own; researchers and holders come from elsewhere."""

# yes: to anything. own: to what they are a member of. org: to what their organisation owns.
# 2nd: to what somebody else made. A star: in any state.
MATRIX = """
                      admin stat dpo  dir  res  hold aud
organisation.add      yes   -    -    -    -    -    -    *
person.enrol          yes   -    -    -    -    -    -    *
person.list           yes   yes  yes  yes  -    -    yes  *
dataset.add           -     -    -    -    -    org  -    *
dataset.read          yes   yes  yes  yes  yes  yes  yes  *
upload.create         -     -    -    -    -    org  -    *
upload.append         -     -    -    -    -    org  -    uploading
upload.withdraw       -     -    -    -    -    org  -    uploading
upload.read           -     -    -    -    -    org  -    *
delivery.read         -     yes  -    -    -    org  yes  *
delivery.withdraw     -     -    -    -    -    org  -    accepted superseded
application.create    -     -    -    -    yes  -    -    *
application.read      -     yes  yes  yes  own  -    yes  *
application.dummy     -     yes  yes  yes  own  -    yes  submitted advised approved
application.edit      -     -    -    -    own  -    -    draft
application.submit    -     -    -    -    own  -    -    draft
application.withdraw  -     -    -    -    own  -    -    draft submitted advised
application.advise    -     -    yes  -    -    -    -    submitted
application.decide    -     -    -    yes  -    -    -    advised
consent.read          -     yes  yes  yes  -    org  yes  submitted advised approved refused \
withdrawn
consent.decide        -     -    -    -    -    org  -    submitted advised approved
review.read           -     yes  yes  -    -    -    yes  *
review.decide         -     yes  -    -    -    -    -    open
review.undo           -     yes  -    -    -    -    -    same never
permit.read           -     yes  yes  yes  own  -    yes  *
permit.suspend        yes   -    yes  yes  -    -    -    in_force
permit.resume         -     -    -    yes  -    -    -    suspended
release.build         -     yes  -    -    -    -    -    *
release.read          -     yes  yes  yes  own  -    yes  *
release.clear         -     2nd  -    -    -    -    -    built
release.withdraw      -     yes  yes  yes  -    -    -    built cleared
release.download      -     -    -    -    own  -    -    cleared
job.read              yes   yes  -    -    -    org  -    *
keys.list             yes   -    -    -    -    -    yes  *
keys.rotate           yes   -    -    -    -    -    -    *
keys.destroy          yes   -    -    -    -    -    -    *
ledger.read           yes   -    yes  yes  -    -    yes  *
ledger.checkpoint     yes   yes  yes  yes  yes  yes  yes  *
ledger.who            yes   -    yes  yes  -    org  yes  *
"""
CELLS: dict[str, dict[str, str]] = {}
"""action → role → cell"""
WHILE: dict[str, set[str] | None] = {}
"""action → states; None is any."""
for _line in MATRIX.splitlines()[2:]:
    _action, *_rest = _line.split()
    CELLS[_action] = dict(zip(ROLES, _rest, strict=False))
    WHILE[_action] = None if _rest[7:] == ["*"] else set(_rest[7:])

STATES = [
    "",  # what has none: an organisation, the ledger
    *("draft", "submitted", "advised", "approved", "refused", "withdrawn"),  # an application
    *("in_force", "suspended", "expired"),  # a permit
    *("uploading", "received", "checking", "accepted", "rejected", "superseded"),  # a delivery
    *("built", "cleared"),  # a release
    *("queued", "running", "done", "failed", "cancelled"),  # a job
]
THINGS = {
    (True, True): Thing(organisation="here", members=frozenset({"somebody-1"})),
    (True, False): Thing(organisation="here", members=frozenset({"another-1"})),
    (False, True): Thing(organisation="elsewhere", members=frozenset({"somebody-1"})),
    (False, False): Thing(organisation="elsewhere", members=frozenset({"another-1"})),
}
"""(of one's own organisation, a member) → thing"""


def actor(*roles: str, person: str = "somebody-1", organisation: str = "here") -> Actor:
    """Somebody with these roles."""
    return Actor(person, organisation, frozenset(roles))


def in_state(thing: Thing, state: str) -> Thing:
    """The same thing later or earlier."""
    return Thing(state, thing.organisation, thing.members)


def expected(role: str, action: str, state: str, owns: bool, belongs: bool) -> str | None:
    """The type of refusal that the matrix above asks for."""
    cell, states = CELLS[action][role], WHILE[action]
    if cell == "-":
        return "wrong-role"
    if (cell == "org" and not owns) or (cell == "own" and not belongs):
        return "not-yours"
    return "wrong-state" if states is not None and state not in states else None


@pytest.mark.parametrize("action", CELLS)
def test_every_role_state_and_relation(action: str) -> None:
    """S16 and the rest: allowed exactly where the matrix says so, refused everywhere else."""
    for role, state, ((owns, belongs), thing) in product(ROLES, STATES, THINGS.items()):
        answer = access.refusal(actor(role), action, in_state(thing, state))
        found = answer and answer.type
        assert found == expected(role, action, state, owns, belongs), (role, state, thing)


def test_nothing_else_can_be_done() -> None:
    """An action that is added to the table has to be added here."""
    assert set(access.ACTIONS) == set(CELLS)


def test_the_default_is_refusal() -> None:
    """Nobody may do what the table doesn't name, whatever their roles; nor anything without one."""
    answer = access.refusal(actor(*ROLES), "database.drop", Thing())
    assert answer is not None
    assert (answer.type, answer.visible) == ("unknown-action", True)
    for action, thing in product(CELLS, THINGS.values()):
        refused = access.refusal(actor(), action, thing)
        assert refused is not None
        assert refused.type == "wrong-role"


def test_a_role_of_the_office_opens_only_what_it_is_named_for() -> None:
    """S16: an administrator who does research sees no more projects than another researcher."""
    theirs = THINGS[False, False]
    for action in ("application.read", "permit.read", "release.read"):
        answer = access.refusal(actor("researcher", "administrator"), action, theirs)
        assert answer is not None
        assert answer.type == "not-yours"
        assert access.refusal(actor("researcher", "dpo"), action, theirs) is None
    both = actor("holder", "administrator")
    assert access.refusal(both, "delivery.read", theirs) is not None
    assert access.refusal(both, "job.read", theirs) is None


def test_what_nobody_owns_belongs_to_nobody() -> None:
    """Having no organisation isn't having the same one."""
    nowhere = actor("holder", organisation="")
    for action in ("upload.read", "delivery.read", "job.read"):
        answer = access.refusal(nowhere, action, Thing())
        assert answer is not None
        assert (answer.type, answer.visible) == ("not-yours", False)


@pytest.mark.parametrize("action", CELLS)
def test_who_hears_the_reason(action: str) -> None:
    """The office, owners and members are told; to a stranger it must look like absence (the same
    whether it's there or not), unless the thing is nobody's and anybody could be allowed."""
    public = not {"own", "org"} & set(CELLS[action].values())
    states = ["", *sorted(WHILE[action] or ())]
    for role, state, ((owns, belongs), thing) in product(ROLES, states, THINGS.items()):
        answer = access.refusal(actor(role), action, in_state(thing, state))
        if answer is not None:
            assert answer.visible == (role in STAFF or owns or belongs), (role, state, thing)
    for role in ROLES:
        for thing, nobodys in (
            (Thing(), True),
            (Thing(members=frozenset({"another-1"})), False),
            (Thing(organisation="elsewhere"), False),
        ):
            answer = access.refusal(actor(role), action, thing)
            if answer is not None:
                assert answer.visible == (role in STAFF or (public and nobodys)), (role, thing)


def test_a_reason_names_the_states_and_the_roles_it_takes() -> None:
    """Whoever is refused can go and find them."""
    draft = Thing("draft", members=frozenset({"somebody-1"}))
    answer = access.refusal(actor("researcher"), "release.download", draft)
    assert answer is not None
    assert answer.reason == "This is draft, and has to be cleared first."
    answer = access.refusal(actor("dpo"), "release.withdraw", Thing())
    assert answer is not None
    assert answer.reason == "This is in no state, and has to be built or cleared first."
    answer = access.refusal(actor("holder"), "keys.list", Thing())
    assert answer is not None
    assert answer.reason == "This takes the role of administrator or auditor."
    assert "administrator of the office" in answer.next_step


def test_nobody_clears_their_own_work_and_everybody_may_look_at_it() -> None:
    """Two people for each release (S25's second eye); the rest is open to those who made it."""
    for action, role in product(CELLS, ROLES):
        state = min(WHILE[action] or {""})
        mine = Thing(state, "here", frozenset({"somebody-1"}), frozenset({"somebody-1"}))
        answer = access.refusal(actor(role), action, mine)
        wanted = {"-": "wrong-role", "2nd": "own-work"}.get(CELLS[action][role])
        assert (answer and answer.type) == wanted, (action, role)
        another = access.refusal(actor(role, person="another-1"), action, mine)
        assert CELLS[action][role] != "2nd" or another is None


def test_what_is_decided_on_cannot_change_meanwhile() -> None:
    """An actor that gained a role between two questions would be somebody else."""
    for value in (actor("holder"), Thing(), access.ACTIONS["keys.rotate"]):
        for field in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, field.name, frozenset(ROLES))


PUBLISHED = {"-": "–", "own": "own", "org": "own organisation's", "2nd": "others' work"}


def test_the_published_table_is_the_matrix() -> None:
    """What policies/README.md shows; staff are never shown as confined to what is theirs."""
    text = access.table()
    head, rule, *rows = [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in text.splitlines()
    ]
    assert text.endswith("|\n")
    assert head == ["action", *ROLES, "while it is"]
    assert rule == ["---"] * len(head)
    wanted: list[list[Any]] = [
        [
            action,
            *(PUBLISHED.get(cell, cell) for cell in cells.values()),
            ", ".join(sorted(WHILE[action] or {"any state"})),
        ]
        for action, cells in CELLS.items()
    ]
    assert rows == wanted
