"""What recipients hold already, and what they know of their own."""

from typing import Any

import pytest

from api import cli
from api.client import read_identities
from api.demo.cast import ADMINISTRATORS
from api.profiles import Profile
from tests.api.house import House, refusal_of


@pytest.fixture(scope="module")
def delivered(house: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    """The house with three datasets in it."""
    file = tmp_path_factory.mktemp("identity") / "identity.txt"
    assert cli.run(["identity", str(file)]) == 0
    house.identities["researcher-2"] = read_identities(file)[0]
    house.delivered("child-benefit", "employment-service", "social-security", "conversions")
    return house


def _aged(house: House, project: str, researcher: str, breaks: list[int], **changes: Any) -> str:
    """A permit with these age classes, of which fifteen of a kind have to be there."""
    document = house.application(project, researcher, **changes)
    document["thresholds"] = {"k": 15, "suppression": 0.0}
    for dataset in document["datasets"]:
        for variable in dataset["variables"]:
            if variable.get("as") == "age_class":
                variable["rule"][0]["age_class"]["breaks"] = breaks
    return house.story.granted(house, researcher, document)


def test_projects_that_share_a_recipient_organisation_are_tested_together(
    delivered: House,
) -> None:
    """S08: two sets of age classes, each fine, give years of birth together: refused for the
    organisation that has the other one, though it was built before, with what would mend it."""
    first = _aged(delivered, "classes-of-one-kind", "researcher-2", [22])
    second = _aged(delivered, "classes-of-another", "researcher-2", [24])
    early = delivered.built(second)
    assert early["state"] == "built", early["refusal"]
    delivered.cleared(first)
    too_late = refusal_of(lambda: delivered.story.clear(delivered, early))
    assert too_late.type == "history-moved-on"
    refused = delivered.built(second)
    assert refused["state"] == "refused"
    problem = refused["refusal"]
    assert problem["only_together"]
    assert "others of its recipients received before" in problem["detail"]
    assert "age_class >=22 → <24" in problem["detail"]
    mend = problem["mend"]
    assert problem["next_step"].startswith("The mildest change that passes: show ")
    assert [f"--coarser '{key}={name}'" in problem["next_step"] for key, name in
            mend["coarser"].items()] == [True]  # fmt: skip
    mended = delivered.built(second, coarser=mend["coarser"])
    assert mended["state"] == "built", mended["refusal"]
    report = mended["report"]["disclosure"]
    assert (report["releases"], report["releases_elsewhere"]) == (1, 1)
    assert report["coarser"] == mend["coarser"]
    assert report["all_releases"]["smallest_cell"] >= 15


def test_a_key_is_shown_coarser_and_no_other_way(delivered: House) -> None:
    """What is asked for has to be coarser than permitted, and of a key."""
    permit = delivered.granted("coarser-than-permitted", "researcher-2")

    def asked(**changes: Any) -> str:
        refusal = refusal_of(lambda: delivered.built(permit, **changes))
        return f"{refusal.problem['detail']} {refusal.problem['next_step']}"

    assert "wage can't be shown coarser: only keys can" in asked(coarser={"wage": "withheld"})
    both = {"coarser": {"age_class": "withheld"}, "only": {"age_class": ["15-19"]}}
    assert "Units are chosen by age_class" in asked(**both)
    finer = delivered.built(permit, coarser={"arrondissement": "province"})
    assert finer["refusal"]["type"].endswith("bad-request")
    assert "coarser than permitted are: withheld" in finer["refusal"]["detail"]
    hidden = delivered.built(permit, coarser={"arrondissement": "withheld", "age_class": "20,25"})
    assert hidden["state"] == "built", hidden["refusal"]


def _for_a_holder(house: House, project: str, **changes: Any) -> dict[str, Any]:
    """A request of which somebody at the employment service, a holder, is a recipient too."""
    person = "researcher-3"
    house.profiles[person] = Profile.new(person, "Somebody at the employment service", "")
    enrolment = house.enrolment(person, "vdab", ["researcher"])
    signatures = [house.profiles[signer].sign(enrolment) for signer in ADMINISTRATORS]
    house[ADMINISTRATORS[0]].post("/people", {"document": enrolment, "signatures": signatures})
    document = house.application(project, "researcher-2", **changes)
    recipient = house.recipient("researcher-2")
    document["recipients"].append({"person": person, "age_recipient": recipient})
    return document


def test_a_recipient_that_is_a_holder_doesnt_find_its_own_people(delivered: House) -> None:
    """S39: the employment service receives what it delivered: its own columns point out fewer than
    k; the refusal says which columns to leave out, and without them it is built."""
    permit = delivered.story.granted(
        delivered, "researcher-2", _for_a_holder(delivered, "for-a-holder")
    )
    refused = delivered.built(permit)
    assert refused["state"] == "refused"
    problem = refused["refusal"]
    assert problem["type"].endswith("disclosure")
    assert "vdab receives the release and delivered employment-service" in problem["detail"]
    assert "For instance" in problem["detail"]
    told = problem["recipient_is_holder"]
    assert 0 < told["smallest"] < told["k"] == 5
    columns = [name for name in told["leave_out"] if "." in name]
    keys = {name: "withheld" for name in told["leave_out"] if "." not in name}
    assert all(f"--leave-out {name}" in problem["next_step"] for name in columns)
    assert all(f"--coarser {key}=withheld" in problem["next_step"] for key in keys)
    member = delivered["researcher-2"].get(f"/releases/{refused['id']}")["refusal"]
    assert "For instance" not in member["detail"]

    mended = delivered.built(permit, leave_out=columns, coarser=keys)
    assert mended["state"] == "built", mended["refusal"]
    found = mended["report"]["disclosure"]["recipients_that_are_holders"]
    assert [(one["organisation"], one["passes"]) for one in found] == [("vdab", True)]
    assert found[0]["smallest"] >= 5


def test_what_is_left_out_was_permitted(delivered: House) -> None:
    permit = delivered.granted("going-without", "researcher-2")
    refusal = refusal_of(lambda: delivered.built(permit, leave_out=["units.age_class"]))
    assert "units.age_class can't be left out" in refusal.problem["detail"]
    assert "social-security.wage" in refusal.problem["next_step"]
