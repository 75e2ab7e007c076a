"""May this person do this to that: the whole matrix of roles, actions, states and relations."""

from itertools import product

import pytest

from policies import access
from policies.access import ACTIONS, ROLES, STAFF, Actor, Thing

STATES = sorted({state for rule in ACTIONS.values() for state in rule.states or ()} | {""})


def actor(role: str, *, person: str = "somebody-1", organisation: str = "here") -> Actor:
    """Somebody with one role."""
    return Actor(person, organisation, frozenset({role}))


RELATIONS = {
    "member of own organisation": Thing(organisation="here", members=frozenset({"somebody-1"})),
    "own organisation's": Thing(organisation="here", members=frozenset({"another-1"})),
    "own project's": Thing(organisation="elsewhere", members=frozenset({"somebody-1"})),
    "others'": Thing(organisation="elsewhere", members=frozenset({"another-1"})),
}


def expected(role: str, action: str, state: str, relation: str) -> bool:
    """The table in words, written apart from the function."""
    rule = ACTIONS[action]
    owns, belongs = "own organisation" in relation, "member" in relation or "project" in relation
    stands = {
        "anybody": True,
        "organisation": owns,
        "member": belongs,
        "member-or-staff": belongs or role in STAFF,
        "organisation-or-staff": owns or role in STAFF,
    }[rule.relation]
    return role in rule.roles and stands and (rule.states is None or state in rule.states)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_role_state_and_relation(action: str) -> None:
    """S16 and the rest: allowed exactly where the table says so, refused everywhere else."""
    for role, state, (relation, thing) in product(ROLES, STATES, RELATIONS.items()):
        about = Thing(state, thing.organisation, thing.members)
        answer = access.refusal(actor(role), action, about)
        assert (answer is None) == expected(role, action, state, relation), (role, state, relation)


def test_the_default_is_refusal() -> None:
    """Nobody may do what the table doesn't name, whatever their roles."""
    everybody = Actor("somebody-1", "here", frozenset(ROLES))
    answer = access.refusal(everybody, "database.drop", Thing())
    assert answer is not None
    assert answer.type == "unknown-action"
    nobody = Actor("somebody-1", "here", frozenset())
    assert all(access.refusal(nobody, action, Thing()) is not None for action in ACTIONS)


def test_whoever_may_not_know_hears_nothing() -> None:
    """A stranger's refusal is marked as one that must look like absence."""
    theirs = Thing("built", "elsewhere", frozenset({"another-1"}))
    for role in set(ROLES) - STAFF:
        for action in ("release.read", "release.download", "delivery.read", "application.read"):
            answer = access.refusal(actor(role), action, theirs)
            assert answer is not None
            assert not answer.visible


def test_staff_and_members_hear_the_reason() -> None:
    """Those who are entitled to know are told what to do next."""
    mine = Thing("built", "elsewhere", frozenset({"somebody-1"}))
    answer = access.refusal(actor("researcher"), "release.download", mine)
    assert answer is not None
    assert answer.visible
    assert "cleared" in answer.reason
    staff = access.refusal(actor("dpo"), "release.clear", Thing("built", members=frozenset({"x"})))
    assert staff is not None
    assert (staff.visible, staff.type) == (True, "wrong-role")


def test_nobody_clears_their_own_work_and_everybody_may_look_at_it() -> None:
    """Two people for each release (S25's second eye)."""
    built = Thing("built", makers=frozenset({"somebody-1"}))
    answer = access.refusal(actor("statistician"), "release.clear", built)
    assert answer is not None
    assert answer.type == "own-work"
    assert access.refusal(actor("statistician"), "release.read", built) is None
    another = actor("statistician", person="another-1")
    assert access.refusal(another, "release.clear", built) is None


def test_the_table_names_every_action() -> None:
    """Generated from the same data; see README.md of policies."""
    assert all(f"| {action} |" in access.table() for action in ACTIONS)
    assert all(rule.roles <= set(ROLES) for rule in ACTIONS.values())
