"""Who holds which keys: two administrators for every enrolment, back to the sealed founders."""

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, insert, update

from keyvault import tables
from keyvault.errors import EnrolmentError, SignatureError
from keyvault.ledger import entries
from keyvault.people import read_enrolment
from keyvault.signing import canonical, public_text, sign
from keyvault.vault import Vault
from tests.keyvault.conftest import NOW, House, Someone, someone

LATER = NOW + timedelta(hours=1)
DOCUMENT = {"type": "advice", "version": 1, "by": "dora"}


def slip_in(conn: Connection, document: dict[str, Any], signatures: list[Any]) -> None:
    """What somebody with the database, and not the vault, can do."""
    conn.execute(
        insert(tables.enrolment).values(
            person=document["person"],
            at=document["at"],
            document=canonical(document),
            signatures=canonical({"signatures": signatures}),
        )
    )


def test_founders_and_enrolled(house: House, conn: Connection) -> None:
    people = {person.id: person for person in house.vault.people(conn)}
    assert set(people) == {"ann", "bob", "dora", "dirk", "rita"}
    assert people["dora"].roles == ("dpo",)
    assert people["dora"].signing_key == public_text(house.others["dora"].signing)
    assert "Name of" not in repr(people["dora"]), "names stay out of logs"
    kinds = [(entry.kind, entry.facts.get("person")) for entry in entries(conn)]
    assert kinds[:2] == [("vault.founded", None), ("person.enrolled", "dora")]


def test_verify_gives_the_signer(house: House, conn: Connection) -> None:
    dora = house.others["dora"]
    assert house.vault.verify(conn, DOCUMENT, dora.sign(DOCUMENT)).id == "dora"


def test_verify_refuses(house: House, conn: Connection) -> None:
    dora, dirk = house.others["dora"], house.others["dirk"]
    with pytest.raises(SignatureError, match="by another person"):
        house.vault.verify(conn, DOCUMENT, dirk.sign(DOCUMENT))
    with pytest.raises(SignatureError, match="another key"):
        house.vault.verify(conn, DOCUMENT, {**dirk.sign(DOCUMENT), "person": "dora"})
    with pytest.raises(EnrolmentError, match="Nobody"):
        house.vault.verify(conn, DOCUMENT, {**dora.sign(DOCUMENT), "person": "nobody"})
    with pytest.raises(EnrolmentError, match="Nobody"):
        house.vault.verify(conn, DOCUMENT, {})
    # The key for logging in signs nothing.
    signature = sign(DOCUMENT, dora.authentication, person="dora")
    with pytest.raises(SignatureError, match="another key"):
        house.vault.verify(conn, DOCUMENT, signature)


def test_enrolment_takes_two_administrators(house: House, conn: Connection) -> None:
    newcomer = someone("nora", "director")
    document = newcomer.enrolment(LATER)
    ann, bob, dora = house.ann, house.bob, house.others["dora"]
    other_document = bob.sign({**document, "roles": ["auditor"]})
    for signatures in (
        [],
        [ann.sign(document)],
        [ann.sign(document), ann.sign(document)],
        [ann.sign(document), dora.sign(document)],
        [ann.sign(document), newcomer.sign(document)],
        [ann.sign(document), other_document],
        [ann.sign(document), {**ann.sign(document), "person": "bob"}],
        [ann.sign(document), "bob"],
        [ann.sign(document), {"person": None}],
    ):
        with pytest.raises(EnrolmentError, match="two different administrators"):
            house.vault.enrol(conn, document, signatures, now=LATER)  # type: ignore[arg-type]
    assert "nora" not in {person.id for person in house.vault.people(conn)}
    house.vault.enrol(conn, document, [bob.sign(document), ann.sign(document)], now=LATER)
    assert house.vault.person(conn, "nora").roles == ("director",)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_row_slipped_into_the_table_is_not_believed(house: House, fresh: bool) -> None:
    """A captured database can't make a director, whether or not the vault runs already."""
    mallory = someone("mallory", "director")
    helper = someone("helper", "administrator")
    second = someone("second", "administrator")
    with house.engine.begin() as conn:
        for forged in (helper, second):
            document = forged.enrolment(LATER)
            slip_in(conn, document, [helper.sign(document), second.sign(document)])
        document = mallory.enrolment(LATER + timedelta(hours=1))
        slip_in(conn, document, [helper.sign(document), second.sign(document)])
        # Signatures that exist, of real administrators, on something else.
        other = Someone("other", ("director",), mallory.signing, mallory.authentication)
        genuine = [house.ann.sign(DOCUMENT), house.bob.sign(DOCUMENT)]
        slip_in(conn, other.enrolment(LATER), genuine)
        slip_in(conn, someone("third", "director").enrolment(LATER), ["nonsense", 7, None])
    with house.engine.begin() as conn:
        vault = Vault.open(conn, house.custody) if fresh else house.vault
        for person in ("mallory", "helper", "second", "other", "third"):
            with pytest.raises(EnrolmentError, match="Nobody"):
                vault.person(conn, person)
        signed = {"type": "approval", "version": 1, "by": "mallory"}
        with pytest.raises(EnrolmentError):
            vault.verify(conn, signed, mallory.sign(signed))
        assert len(vault.people(conn)) == 5


def test_a_changed_row_is_not_believed(house: House, conn: Connection) -> None:
    """The row is read each time: what was believed before it was changed isn't believed after."""
    house.vault.person(conn, "rita")
    document = house.others["rita"].enrolment(NOW + timedelta(seconds=1), roles=["director"])
    row = tables.enrolment.c.person == "rita"
    for change in (
        {"document": canonical(document)},
        {"document": b"nonsense"},
        {"signatures": b"{}"},
        {"signatures": canonical({"signatures": 7})},
        {"at": "nonsense"},
    ):
        with conn.begin_nested() as savepoint:
            conn.execute(update(tables.enrolment).where(row).values(change))
            with pytest.raises(EnrolmentError):
                house.vault.person(conn, "rita")
            savepoint.rollback()
    assert house.vault.person(conn, "rita").roles == ("researcher",)


def test_one_persons_row_is_not_anothers(house: House, conn: Connection) -> None:
    dirk = tables.enrolment.c.person == "dirk"
    conn.execute(delete(tables.enrolment).where(dirk))
    rita = tables.enrolment.c.person == "rita"
    conn.execute(update(tables.enrolment).where(rita).values(person="dirk"))
    with pytest.raises(EnrolmentError):
        house.vault.person(conn, "dirk")


def test_the_latest_enrolment_counts(house: House, conn: Connection) -> None:
    rita = house.others["rita"]
    new = Someone("rita", ("auditor",), Ed25519PrivateKey.generate(), rita.authentication)
    house.enrol(conn, new, LATER)
    assert house.vault.person(conn, "rita").roles == ("auditor",)
    signed = {"type": "clearance", "version": 1}
    with pytest.raises(SignatureError, match="another key"):
        house.vault.verify(conn, signed, rita.sign(signed))
    house.vault.verify(conn, signed, new.sign(signed))
    house.enrol(conn, new, LATER + timedelta(hours=1), roles=[])
    assert house.vault.person(conn, "rita").roles == ()


def test_an_old_enrolment_can_not_be_played_again(house: House, conn: Connection) -> None:
    dirk = house.others["dirk"]
    old = dirk.enrolment(NOW + timedelta(seconds=1))
    signatures = [house.ann.sign(old), house.bob.sign(old)]
    house.enrol(conn, dirk, LATER, roles=[])
    with pytest.raises(EnrolmentError, match="after the person's last one"):
        house.vault.enrol(conn, old, signatures, now=LATER)
    # Nor by way of the table: under another time it isn't the document that was signed.
    slipped = {**old, "at": "2025-04-01T00:00:00Z"}
    slip_in(conn, slipped, signatures)
    assert house.vault.person(conn, "dirk").roles == ()


def test_the_future_is_not_enrolled(house: House, conn: Connection) -> None:
    document = someone("nora").enrolment(LATER + timedelta(hours=1))
    signatures = [house.ann.sign(document), house.bob.sign(document)]
    with pytest.raises(EnrolmentError, match="not in the future"):
        house.vault.enrol(conn, document, signatures, now=LATER)


def test_a_key_belongs_to_one_person(house: House, conn: Connection) -> None:
    dora = house.others["dora"]
    fresh = Ed25519PrivateKey.generate()
    for double in (
        Someone("nora", ("director",), dora.signing, fresh),
        Someone("nora", ("director",), fresh, dora.authentication),
        Someone("nora", ("director",), fresh, dora.signing),
    ):
        with pytest.raises(EnrolmentError, match="Somebody else"):
            house.enrol(conn, double, LATER)


def test_administrators_of_that_moment(house: House, conn: Connection) -> None:
    """Later administrators vouch for nobody's past; former ones for nobody's present."""
    carl = someone("carl", "administrator")
    house.enrol(conn, carl, LATER)
    early = someone("early", "auditor").enrolment(NOW + timedelta(minutes=1))
    signatures = [house.ann.sign(early), carl.sign(early)]
    with pytest.raises(EnrolmentError, match="now, and at"):
        house.vault.enrol(conn, early, signatures, now=LATER)
    slip_in(conn, early, signatures)
    with pytest.raises(EnrolmentError, match="Nobody"):
        house.vault.person(conn, "early")

    house.enrol(conn, house.ann, LATER + timedelta(hours=1), roles=["auditor"])
    for at in (LATER + timedelta(minutes=30), LATER + timedelta(hours=2)):
        document = someone("late", "auditor").enrolment(at)
        signatures = [house.ann.sign(document), carl.sign(document)]
        with pytest.raises(EnrolmentError, match="now, and at"):
            house.vault.enrol(conn, document, signatures, now=LATER + timedelta(hours=2))
    # What she vouched for while she was one stays vouched for, in a fresh process too.
    assert Vault.open(conn, house.custody).person(conn, "carl").roles == ("administrator",)


def test_a_chain_of_administrators(house: House, conn: Connection) -> None:
    """Founders enrol carl and cora, who enrol the next; a fresh vault follows it all back."""
    carl, cora = someone("carl", "administrator"), someone("cora", "administrator")
    house.enrol(conn, carl, LATER)
    house.enrol(conn, cora, LATER)
    at = LATER + timedelta(hours=1)
    document = someone("nora", "director").enrolment(at)
    house.vault.enrol(conn, document, [carl.sign(document), cora.sign(document)], now=at)
    assert Vault.open(conn, house.custody).person(conn, "nora").roles == ("director",)
    conn.execute(delete(tables.enrolment).where(tables.enrolment.c.person == "cora"))
    with pytest.raises(EnrolmentError):
        Vault.open(conn, house.custody).person(conn, "nora")


@pytest.mark.parametrize("role", ["statistician", "administrator", "director", "dpo", "auditor"])
def test_who_receives_files_has_no_hand_in_making_them(role: str) -> None:
    """S16: a researcher holds no role inside the house."""
    with pytest.raises(EnrolmentError, match="researcher can't also be"):
        read_enrolment(someone("nora", "researcher", role).enrolment())
    read_enrolment(someone("nora", "researcher", "holder").enrolment())


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "advice"},
        {"version": 2},
        {"more": 1},
        {"person": ""},
        {"name": None},
        {"organisation": 7},
        {"roles": ["king"]},
        {"roles": "dpo"},
        {"roles": [["dpo"]]},
        {"person": "Nora"},
        {"person": "n" * 64},
        {"signing_key": "AA"},
        {"authentication_key": None},
        {"at": "2025-03-03T12:00:00"},
        {"at": "yesterday"},
    ],
)
def test_what_is_no_enrolment(changes: dict[str, Any]) -> None:
    with pytest.raises(EnrolmentError):
        read_enrolment({**someone("nora", "dpo").enrolment(), **changes})


def test_signing_and_logging_in_take_two_keys() -> None:
    key = Ed25519PrivateKey.generate()
    with pytest.raises(EnrolmentError, match="two different keys"):
        read_enrolment(Someone("nora", (), key, key).enrolment())


def test_members_are_needed() -> None:
    document = someone("nora").enrolment()
    del document["organisation"]
    with pytest.raises(EnrolmentError, match="exactly these members"):
        read_enrolment(json.loads(json.dumps(document)))
