"""Who touched what: the ledger's two questions, and that nothing is left out of an answer."""

import pytest
from sqlalchemy import Connection

from keyvault.ledger import Ledger, entries
from keyvault.questions import Touch, what, who
from tests.keyvault.conftest import NOW, House

STORY = [
    ("holder-1", "upload.opened", {"delivery": "d-1", "dataset": "wages", "period": "2024"}),
    ("holder-1", "upload.received", {"delivery": "d-1", "dataset": "wages", "period": "2024"}),
    (None, "delivery.rejected", {"delivery": "d-1", "reason": "x"}),
    ("holder-2", "upload.opened", {"delivery": "d-2", "dataset": "schools", "period": "2024"}),
    ("director-1", "permit.sealed", {"permit": "p-1", "project": "neet", "scope": "neet"}),
    ("stat-1", "release.requested", {"release": "r-1", "permit": "p-1", "project": "neet"}),
    ("stat-1", "delivery.linked", {"delivery": "d-1", "permit": "p-1", "scope": "neet"}),
    (
        "stat-1",
        "release.built",
        {
            "release": "r-1",
            "permit": "p-1",
            "project": "neet",
            "datasets": ["wages", "schools"],
            "variables": ["wages.amount", "wages.sex", "schools.level"],
        },
    ),
    ("stat-2", "release.cleared", {"release": "r-1"}),
    ("researcher-1", "release.downloaded", {"release": "r-1", "datasets": ["wages", "schools"]}),
    ("stat-1", "release.refused", {"release": "r-2", "permit": "p-2", "project": "other"}),
    ("dpo-1", "permit.suspended", {"permit": "p-1"}),
]


@pytest.fixture
def told(house: House, conn: Connection) -> Ledger:
    """A ledger in which that happened."""
    ledger = house.vault.ledger(conn)
    for actor, kind, facts in STORY:
        ledger.append(conn, kind, facts, actor=actor, now=NOW)
    return ledger


def brief(touches: list[Touch]) -> list[tuple[str | None, str]]:
    return [(touch.actor, touch.kind) for touch in touches]


def test_who_touched_a_dataset(conn: Connection, told: Ledger) -> None:
    """P04: deliveries and releases name what they are about once, and it counts everywhere."""
    touches = list(who(lambda: entries(conn), "wages"))
    assert brief(touches) == [
        ("holder-1", "upload.opened"),
        ("holder-1", "upload.received"),
        (None, "delivery.rejected"),
        ("stat-1", "release.requested"),
        ("stat-1", "delivery.linked"),
        ("stat-1", "release.built"),
        ("stat-2", "release.cleared"),
        ("researcher-1", "release.downloaded"),
    ]
    download = touches[-1]
    assert (download.permit, download.project) == ("p-1", "neet")
    assert download.variables == ("amount", "sex")
    assert download.at == "2025-03-03T12:00:00Z"
    assert download.about == {"release": "r-1"}
    assert touches[4].project == "neet"
    assert touches[4].variables is None


def test_who_touched_a_variable(conn: Connection, told: Ledger) -> None:
    """One that no release held was touched by deliveries as a whole only."""
    held = brief(list(who(lambda: entries(conn), "wages", "sex")))
    assert ("researcher-1", "release.downloaded") in held
    other = brief(list(who(lambda: entries(conn), "wages", "employer")))
    assert other == [
        ("holder-1", "upload.opened"),
        ("holder-1", "upload.received"),
        (None, "delivery.rejected"),
        ("stat-1", "delivery.linked"),
    ]


def test_nobody_touched_what_is_not_there(conn: Connection, told: Ledger) -> None:
    assert list(who(lambda: entries(conn), "nothing")) == []
    assert list(what(lambda: entries(conn), "nobody")) == []


def test_what_a_person_touched(conn: Connection, told: Ledger) -> None:
    """Once for each dataset; acts that are about none as well."""
    touches = list(what(lambda: entries(conn), "researcher-1"))
    assert [(touch.dataset, touch.variables) for touch in touches] == [
        ("wages", ("amount", "sex")),
        ("schools", ("level",)),
    ]
    [suspended] = what(lambda: entries(conn), "dpo-1")
    assert (suspended.dataset, suspended.variables) == (None, None)
    assert (suspended.permit, suspended.project) == ("p-1", "neet")
    kinds = [touch.kind for touch in what(lambda: entries(conn), "stat-1")]
    assert kinds.count("release.built") == 2
    assert kinds[-1] == "release.refused"
