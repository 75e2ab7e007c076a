"""A holder's consent, for each project, where its conditions ask for it (rows S05, V10)."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from sqlalchemy import update

from api import store
from api.operations import consents, linkage
from api.store import Consent, Dataset
from policies import consents as rules
from policies import permits
from tests.api.house import House, refusal_of
from tests.api.test_modes import Sender, declaration, people

TEXT = {"en": "No commercial use.", "nl": "Geen commercieel gebruik."}
HOLDER = "holder-vdab"


@pytest.fixture
def sender(house: House, tmp_path: Path, request: pytest.FixtureRequest) -> Sender:
    """A holder whose dataset may be used with its consent only; twelve persons are delivered."""
    name = f"consent-{crc32(request.node.name.encode())}"
    conditions = {"consent": True, "text": TEXT}
    house[HOLDER].post("/datasets", {**declaration(name), "conditions": conditions})
    sender = Sender(house, tmp_path, name)
    sender.send(people(1, 12))
    return sender


def application_of(sender: Sender, permit: str) -> str:
    shown = sender.house["director-1"].get(f"/permits/{permit}")
    return str(shown["permit"]["application"])


def case(sender: Sender, application: str, person: str = HOLDER) -> dict[str, Any]:
    found: dict[str, Any] = sender.house[person].get(
        f"/applications/{application}/consents/{sender.dataset}"
    )
    return found


def signed(
    sender: Sender, application: str, person: str = HOLDER, **content: Any
) -> dict[str, Any]:
    """A decision on what the holder is shown."""
    terms = case(sender, application)["terms"]
    document = {
        **{name: terms[name] for name in ("application", "application_sha256", "project")},
        "dataset": sender.dataset,
        "terms_sha256": permits.sha256(terms),
        "given": True,
        **content,
    }
    return sender.house.sign(person, "consent", **document)


def send(
    sender: Sender, application: str, body: dict[str, Any], person: str = HOLDER
) -> dict[str, Any]:
    path = f"/applications/{application}/consents/{sender.dataset}"
    answer: dict[str, Any] = sender.house[person].post(path, body)
    return answer


def later(sender: Sender, seconds: int) -> str:
    """A moment that is later than an earlier signature, and not too far ahead."""
    moment = sender.house.clock.now() + timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds")


def decided(sender: Sender, application: str, seconds: int, **content: Any) -> dict[str, Any]:
    """Sign and send a decision that much later."""
    body = signed(sender, application, **content)
    document = {**body["document"], "at": later(sender, seconds)}
    signature = sender.house.profiles[HOLDER].sign(document)
    return send(sender, application, {"document": document, "signature": signature})


def test_without_consent_nothing_is_linked_or_released(sender: Sender) -> None:
    """S05, V10: refused until the holder has said yes, and the refusal says whom to ask."""
    house, permit = sender.house, sender.permit("asks-for-consent")
    refusal = refusal_of(lambda: house.built(permit))
    assert (refusal.status, refusal.type) == (403, "no-consent")
    assert "Ask vdab" in refusal.problem["next_step"]
    application = application_of(sender, permit)
    for person in ("researcher-1", "dpo-1", "director-1", "statistician-1"):
        shown = house[person].get(f"/applications/{application}")["consents"]
        assert shown == [{"dataset": sender.dataset, "holder": "vdab", "state": "missing"}]
    answer = send(sender, application, signed(sender, application))
    assert answer["state"] == "given"
    cleared, package = sender.release(permit)
    assert len(sender.amounts(package)) == 12
    assert house["researcher-1"].get(f"/applications/{application}")["consents"][0]["state"] == (
        "given"
    )
    entries = house["auditor-1"].get("/ledger?most=10000")["entries"]
    told = [json.loads(entry["leaf"]) for entry in entries]
    [entry] = [
        one
        for one in told
        if one["kind"] == "consent.given" and one["facts"]["dataset"] == sender.dataset
    ]
    assert entry["actor"] == HOLDER
    assert entry["facts"]["application"] == application
    assert cleared["state"] == "cleared"


def test_the_holder_sees_what_is_asked_of_its_own_dataset(sender: Sender) -> None:
    """V10: purpose, variables with their rules, and the recipients' organisations."""
    application = application_of(sender, sender.permit("shows-its-terms"))
    [shown] = [one for one in sender.client.get("/consents") if one["application"] == application]
    assert shown == case(sender, application)
    terms = shown["terms"]
    assert shown["conditions"] == {"consent": True, "text": TEXT}
    assert terms["recipients_of"] == ["university-a"]
    asked = sender.house["director-1"].get(f"/applications/{application}")["document"]
    assert terms["dataset"] == asked["datasets"][0]
    assert terms["purpose"] == asked["purpose"]
    assert terms["application_sha256"] == permits.sha256(asked)


def test_other_holders_and_researchers_decide_and_see_nothing(sender: Sender) -> None:
    """S16: others can't tell the case from none; staff may look and not decide."""
    application = application_of(sender, sender.permit("mine-alone"))
    body = signed(sender, application)
    for person in ("holder-rsz", "researcher-1", "researcher-2"):
        real = refusal_of(lambda person=person: case(sender, application, person))
        none = refusal_of(
            lambda person=person: sender.house[person].get(
                "/applications/application-0000000000000000/consents/none"
            )
        )
        assert real.problem == none.problem
        assert refusal_of(lambda person=person: send(sender, application, body, person)).type == (
            "not-found"
        )
        if person == "holder-rsz":
            listed = sender.house[person].get("/consents")
            assert application not in [one["application"] for one in listed]
    assert case(sender, application, "auditor-1")["state"] == "missing"
    refusal = refusal_of(lambda: send(sender, application, body, "director-1"))
    assert refusal.type == "wrong-role"


def test_a_draft_is_nobodys_to_consent_to(sender: Sender) -> None:
    """A holder hears of a request when it has been handed in."""
    document = sender.house.application("still-a-draft")
    asked = sender.asking(document)
    asked["linkage_keys"] = ["national_number", "first_name", "birth_date"]
    empty = sender.house["researcher-1"].post("/applications", {"project": "still-a-draft"})
    assert empty["consents"] == []
    draft = sender.house["researcher-1"].post("/applications", asked)
    listed = [one["application"] for one in sender.client.get("/consents")]
    assert draft["id"] not in listed
    sender.house["researcher-1"].post(f"/applications/{draft['id']}/submit")
    assert case(sender, draft["id"])["application_state"] == "submitted"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"application": "application-0000000000000000"}, "consent-unfit"),
        ({"application_sha256": "0" * 64}, "consent-unfit"),
        ({"terms_sha256": "0" * 64}, "consent-unfit"),
        ({"dataset": "another"}, "consent-unfit"),
        ({"project": "another"}, "consent-unfit"),
        ({"given": "yes"}, "consent-unfit"),
        ({"given": False}, "consent-unfit"),
        ({"given": False, "reason": ""}, "consent-unfit"),
        ({"given": False, "reason": "x" * 2001}, "consent-unfit"),
        ({"at": "2099-01-01T00:00:00+00:00"}, "consent-unfit"),
        ({"at": "2024-01-01T00:00:00"}, "consent-unfit"),
        ({"at": "yesterday"}, "consent-unfit"),
        ({"type": "approval"}, "consent-unfit"),
        ({"version": 2}, "consent-unfit"),
        ({"by": "holder-rsz"}, "bad-signature"),
    ],
    ids=str,
)
def test_what_is_no_consent_is_not_taken(
    sender: Sender, changed: dict[str, Any], kind: str
) -> None:
    """The signature is on this dataset, this text and these terms, and says yes or why not."""
    application = application_of(sender, sender.permit(f"unfit-{crc32(str(changed).encode())}"))
    document = {**signed(sender, application)["document"], **changed}
    body = {"document": document, "signature": sender.house.profiles[HOLDER].sign(document)}
    assert refusal_of(lambda: send(sender, application, body)).type == kind
    assert case(sender, application)["state"] == "missing"


def test_a_consent_signed_by_somebody_else_is_none(sender: Sender) -> None:
    """Everybody signs with a key of their own."""
    application = application_of(sender, sender.permit("signed-by-another"))
    body = signed(sender, application, "holder-rsz")
    assert refusal_of(lambda: send(sender, application, body)).type == "signed-by-another"
    mine = signed(sender, application)
    mine["document"]["given"] = False
    assert refusal_of(lambda: send(sender, application, mine)).type == "bad-signature"


def test_withdrawn_consent_stops_building_clearing_and_downloading(sender: Sender) -> None:
    """Nothing new is made, and what was cleared is frozen; given again, it goes on."""
    house, permit = sender.house, sender.permit("taken-back-later")
    application = application_of(sender, permit)
    decided(sender, application, 0)
    cleared, _ = sender.release(permit)
    waiting = house.built(permit)
    no = decided(sender, application, 1, given=False, reason="The purpose has changed.")
    assert no["state"] == "withheld"
    attempts = (
        lambda: house.built(permit),
        lambda: house.story.clear(house, waiting),
        lambda: house.package(cleared["id"]),
    )
    for attempt in attempts:
        refusal = refusal_of(attempt)
        assert (refusal.type, refusal.problem["consent"]) == ("no-consent", "withheld")
    assert house.ledger_kinds().count("consent.withdrawn") >= 1
    decided(sender, application, 2)
    assert house.package(cleared["id"]).pseudonyms()
    house.story.clear(house, waiting)


def test_a_no_that_is_told_at_the_moment_of_a_yes_counts(sender: Sender) -> None:
    """Of two decisions of one second the no is heard, and an older yes can't come back."""
    application = application_of(sender, sender.permit("same-second"))
    yes = signed(sender, application)
    send(sender, application, yes)
    moment = yes["document"]["at"]
    document = {**yes["document"], "given": False, "reason": "no", "at": moment}
    body = {"document": document, "signature": sender.house.profiles[HOLDER].sign(document)}
    assert send(sender, application, body)["state"] == "withheld"
    assert refusal_of(lambda: send(sender, application, yes)).type == "consent-unfit"
    assert case(sender, application)["state"] == "withheld"


def test_consent_withdrawn_while_a_release_is_built_stops_it(sender: Sender) -> None:
    """Linking and building ask again: the job is refused, and says why."""
    house, permit = sender.house, sender.permit("withdrawn-meanwhile")
    application = application_of(sender, permit)
    decided(sender, application, 0)
    house.working = False
    try:
        builder = house["statistician-1"]
        asked = builder.post("/releases", {"permit": permit, "period": "2024"})
        decided(sender, application, 1, given=False, reason="no more")
    finally:
        house.working = True
    ended = builder.wait_release(asked["id"])
    assert ended["state"] == "refused"
    assert ended["refusal"]["type"].endswith("no-consent")


def test_consent_withdrawn_between_clearing_and_sealing_stops_the_envelopes(
    sender: Sender,
) -> None:
    """Nothing is sealed meanwhile; given again, what was cleared goes on to its recipients."""
    house, permit = sender.house, sender.permit("withdrawn-before-sealing")
    application = application_of(sender, permit)
    decided(sender, application, 0)
    built = house.built(permit)
    house.working = False
    try:
        signature = house.sign(
            "statistician-2",
            "clearance",
            release=built["id"],
            manifest_sha256=built["manifest_sha256"],
        )
        house["statistician-2"].post(f"/releases/{built['id']}/clearance", signature)
        decided(sender, application, 1, given=False, reason="no more")
    finally:
        house.working = True
    stuck = house["statistician-2"].wait_release(built["id"])
    assert stuck["refusal"]["type"].endswith("no-consent")
    decided(sender, application, 2)
    house["statistician-2"].wait_release(built["id"])
    assert house.package(built["id"]).pseudonyms()


def test_consent_is_given_to_one_application_and_no_other(sender: Sender) -> None:
    """An extension of the same project asks again."""
    first = sender.permit("extended-project")
    application = application_of(sender, first)
    decided(sender, application, 0)
    assert sender.house.built(first)["state"] == "built"
    second = sender.permit("extended-project")
    assert refusal_of(lambda: sender.house.built(second)).type == "no-consent"


def test_rows_put_into_the_database_are_no_consent(sender: Sender) -> None:
    """Whoever captured the database adds what they like: it has to be the holder's signature."""
    house, permit = sender.house, sender.permit("captured-database")
    application = application_of(sender, permit)
    for person in ("researcher-1", "holder-rsz"):
        forged = signed(sender, application, person)
        with store.writing(house.service.engine) as session:
            session.add(
                Consent(
                    id=f"consent-forged-{person}",
                    application=application,
                    dataset=sender.dataset,
                    given_at=house.clock.now(),
                    **forged,
                )
            )
        refusal = refusal_of(lambda: house.built(permit))
        assert (refusal.type, refusal.problem["consent"]) == ("no-consent", "void")
    decided(sender, application, 1)
    assert house.built(permit)["state"] == "built"
    with store.writing(house.service.engine) as session:
        altered = {**signed(sender, application)["document"], "at": later(sender, 5)}
        session.execute(
            update(Consent)
            .where(Consent.application == application, Consent.id.not_like("%forged%"))
            .values(document=altered)
        )
    assert refusal_of(lambda: house.built(permit)).problem["consent"] == "void"


def test_a_dataset_without_that_condition_asks_nobody(house: House) -> None:
    """Only where the conditions say so."""
    plain = Dataset(id="x", organisation="o", declaration={"conditions": {"consent": False}})
    assert not consents.asks_consent(plain)
    refusal = refusal_of(
        lambda: house["auditor-1"].get("/applications/application-1/consents/child-benefit")
    )
    assert refusal.status == 404


def test_a_conversion_list_without_its_holders_consent_is_left_aside(house: House) -> None:
    """It is named by no permit; its holder is asked by every project that may link by it."""
    house.delivered("child-benefit", "employment-service", "social-security")
    truth = house.story.truths["conversions", "2024"]
    holder, name = house["holder-rsz"], "conversions-on-terms"
    declared = {**truth.dataset.to_mapping(), "id": name, "conditions": {"consent": True}}
    holder.post("/datasets", declared)
    source = house.folder / "list.csv"
    source.write_bytes(truth.content)
    delivered = holder.upload(source, name, "2024")
    permit = house.granted("links-by-conversions")
    assert _lists(house, permit) == []
    [case] = [
        one
        for one in holder.get("/consents")
        if one["terms"]["project"] == ("links-by-conversions")
    ]
    assert case["terms"]["dataset"] == {"id": name, "variables": []}
    body = house.sign(
        "holder-rsz",
        "consent",
        application=case["application"],
        application_sha256=case["terms"]["application_sha256"],
        terms_sha256=permits.sha256(case["terms"]),
        dataset=name,
        project="links-by-conversions",
        given=True,
    )
    holder.post(f"/applications/{case['application']}/consents/{name}", body)
    assert _lists(house, permit) == [delivered["id"]]


def _lists(house: House, permit: str) -> list[str]:
    service = house.service
    with store.reading(service.engine) as session:
        now = service.clock.now()
        granted = service.vault.permit(session.connection(), permit, "link", now=now)
        return list(linkage.conversions(session, service.vault, service.objects, granted))


def test_what_names_no_moment_is_later_than_everything_and_no_yes() -> None:
    """So that a damaged row stops things, and never lets them go on."""
    nameless = {"at": None, "given": True}
    assert rules.order(nameless) > rules.order({"at": "2024-01-01T00:00:00+00:00", "given": True})
