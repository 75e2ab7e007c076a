"""Pairs in review, from the list to a decision and back (issue 4; rows S07, S16, S39)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api import profiles, store
from api.cli import run
from api.operations import linkage, review
from api.store import Admission, ReviewDecision, ReviewPair, new_id
from keyvault.errors import KeyvaultError
from tests.api.house import House, refusal_of
from tests.api.test_modes import HOLDER, Sender, declaration, number

FIRST = ["Amber", "Bram", "Cato", "Daan", "Elif", "Femke", "Gust", "Hanne", "Imre", "Jef", "Kaat",
         "Lotte"]  # fmt: skip
LAST = ["Aerts", "Baert", "Claes", "Devos", "Elsen", "Faes", "Goris", "Hendrix", "Ilsen", "Jacobs",
        "Kuyper", "Lemmens"]  # fmt: skip
STATISTICIAN = "statistician-1"


def line(who: int, serial: int, amount: int) -> str:
    """A row about somebody, with the number of that serial and an amount in hundreds."""
    name, last = FIRST[who - 1], LAST[who - 1]
    return f"{number(serial)};{name};{last};1985-07-30;Kerkstraat;{who};21004;{amount}00"


def extract(*lines: str) -> bytes:
    return "\n".join(["nn;first;last;born;street;house;place;amount", *lines, ""]).encode()


def declared(name: str) -> dict[str, Any]:
    """The dataset of `test_modes`, with last names and addresses."""
    made = declaration(name)
    more = {"last": "last_name", "street": "street", "house": "house_number"}
    made["variables"][2:2] = [
        {"name": column, "role": "identifier", "type": kind} for column, kind in more.items()
    ]
    made["references"][0]["columns"] |= {kind: column for column, kind in more.items()}
    return made


class Case(Sender):
    """A holder's dataset, a permit for it, and the pairs in review of its scope."""

    permission: str
    project: str

    def amounts_now(self) -> list[int]:
        """The amounts, in hundreds, of all units of a release that is built now."""
        _, package = self.release(self.permission)
        return sorted(self.amounts(package).values())

    def units_now(self) -> int:
        """How many units a release has that is built now; nobody receives it."""
        release = self.house.built(self.permission)
        assert release["state"] == "built", release["refusal"]
        units: int = release["summary"]["units"]
        return units

    def pairs(self, state: str = "open", person: str = STATISTICIAN) -> list[dict[str, Any]]:
        path = f"/review?scope={self.project}&state={state}"
        listed: list[dict[str, Any]] = self.house[person].get(path)
        return listed

    def settled(self, pair: str) -> dict[str, Any]:
        """The pair once the linkage process has taken a decision over."""
        for _ in range(400):
            shown: dict[str, Any] = self.house[STATISTICIAN].get(f"/review/{pair}")
            if shown["state"] != "waiting":
                return shown
            time.sleep(0.05)
        raise AssertionError("no worker took the decision over")

    def decide(self, pair: str, verdict: str) -> dict[str, Any]:
        body = {"verdict": verdict, "reason": "They live in two places at once."}
        self.house[STATISTICIAN].post(f"/review/{pair}/decision", body)
        return self.settled(pair)

    def undo(self, pair: str) -> dict[str, Any]:
        self.house[STATISTICIAN].post(f"/review/{pair}/undo", {"reason": "A civil registrar rang."})
        return self.settled(pair)

    def quality(self) -> dict[str, Any]:
        """The figures of the last linkage."""
        with store.reading(self.house.service.engine) as session:
            rows = select(Admission).where(Admission.scope == self.project)
            last = session.scalars(rows.order_by(Admission.position.desc())).first()
            assert last is not None
            return last.quality


def opened(house: House, folder: Path, project: str, *lines: str) -> Case:
    """A case whose first delivery has twelve people and these lines."""
    house[HOLDER].post("/datasets", declared(project))
    case = Case(house, folder, project)
    case.project = project
    everybody = [line(who, who, who) for who in range(1, 13)]
    case.send(extract(*everybody, *lines))
    case.permission = case.permit(project)
    return case


def test_a_pair_from_the_list_to_a_decision_and_back(house: House, tmp_path: Path) -> None:
    """Kept apart as decided, linked as decided, undone: as before; all of it in the ledger."""
    case = opened(house, tmp_path, "review-story")
    case.send(extract(line(1, 61, 61)), "append")
    assert case.units_now() == 13
    [pair] = case.pairs()
    assert (pair["reason"], pair["unit_type"], pair["references"]) == (
        "different_numbers", "person", 1,
    )  # fmt: skip

    never = case.decide(pair["pair"], "never")
    assert (never["state"], case.pairs()) == ("never", [])
    case.send(extract(line(1, 61, 62)), "append")
    assert case.units_now() == 13
    assert case.quality()["review_by_reason"] == {"decided": 1}
    assert case.pairs() == [], "nobody is asked again"

    assert case.undo(pair["pair"])["state"] == "open"
    same = case.decide(pair["pair"], "same")
    assert same["state"] == "same"
    assert case.units_now() == 12, "what was linked before counts as decided too"
    case.send(extract(line(1, 61, 63)), "append")
    assert case.units_now() == 12
    assert case.quality()["by_rule"]["decided"] == 1
    assert case.quality()["review_by_reason"] == {}

    undone = case.undo(pair["pair"])
    assert [one["verdict"] for one in undone["decisions"]] == ["never", "open", "same", "open"]
    assert {one["state"] for one in undone["decisions"]} == {"in_force"}
    assert [one["person"] for one in undone["reasons"]] == [STATISTICIAN] * 4
    case.send(extract(line(1, 61, 64)), "append")
    assert case.units_now() == 13
    [again] = case.pairs()
    assert again["pair"] == pair["pair"], "the same two are the same pair"
    assert again["references"] > pair["references"]
    kinds = house.ledger_kinds()
    for kind, times in {"review.decided": 2, "review.undone": 2, "review.settled": 4}.items():
        assert kinds.count(kind) == times


def test_a_correction_by_either_number_corrects_the_one_person(
    house: House, tmp_path: Path
) -> None:
    """Who was decided to be one is one in everything that a release works out."""
    case = opened(house, tmp_path, "review-correct")
    case.send(extract(line(2, 62, 62)), "append")
    assert case.amounts_now() == sorted([*range(1, 13), 62])
    case.decide(case.pairs()[0]["pair"], "same")
    case.send(extract(line(2, 62, 70)), "correct")
    assert case.amounts_now() == sorted([1, *range(3, 13), 70])


def test_what_decisions_imply_needs_none_and_what_contradicts_them_is_refused(
    house: House, tmp_path: Path
) -> None:
    """A human's never holds against a chain of same; what held before goes on holding."""
    case = opened(house, tmp_path, "review-chain", line(3, 63, 63), line(3, 64, 64))
    assert case.units_now() == 14
    first, second, third = (pair["pair"] for pair in case.pairs())
    case.decide(first, "never")
    case.decide(second, "same")
    assert case.settled(third)["state"] == "implied"
    assert case.pairs() == []
    assert [pair["pair"] for pair in case.pairs("implied")] == [third]
    assert case.units_now() == 13
    case.undo(second)
    assert {pair["pair"] for pair in case.pairs()} == {second, third}
    house.working = False
    for pair in (second, third):  # both before the linkage process looks at either
        body = {"verdict": "same", "reason": "In a hurry."}
        house[STATISTICIAN].post(f"/review/{pair}/decision", body)
    assert {pair["pair"] for pair in case.pairs("waiting")} == {second, third}
    house.working = True
    assert case.settled(second)["state"] == "same"
    refused = case.settled(third)
    assert refused["state"] == "implied"
    [decision] = refused["decisions"]
    assert decision["state"] == "refused"
    assert decision["problem"]["type"].endswith("review-contradicts")
    assert case.units_now() == 13
    assert "review.refused" in house.ledger_kinds()


def test_a_decision_that_is_put_in_force_twice_is_once(house: House, tmp_path: Path) -> None:
    """A worker may die between its last write and the end of its job."""
    case = opened(house, tmp_path, "review-twice", line(5, 66, 66))
    assert case.units_now() == 13
    [pair] = case.pairs()
    [decision] = case.decide(pair["pair"], "same")["decisions"]
    service = house.service
    arguments = {
        "decision": decision["decision"],
        "pair": pair["pair"],
        "verdict": "same",
        "scope": case.project,
    }
    tools = (service.engine, service.vault, service.objects)
    assert review.settle(*tools, arguments, lambda _stage, _share: None) is None


@pytest.fixture(scope="module")
def case(house: House, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One pair that stays open."""
    case = opened(house, tmp_path_factory.mktemp("case"), "review-case", line(4, 65, 65))
    case.built_once = case.amounts_now()  # type: ignore[attr-defined]
    return case


def test_whoever_decides_sees_no_value(case: Case) -> None:
    """Neither in what is listed, nor in what the database keeps of it (S07)."""
    [pair] = case.pairs()
    assert pair["fields"]["last_name"] == {"state": "same"}
    assert pair["fields"]["national_number"]["state"] == "differs"
    with store.reading(case.house.service.engine) as session:
        kept = [row.view for row in session.scalars(select(ReviewPair))]
    text = json.dumps([pair, kept], ensure_ascii=False).upper()
    for value in (number(4), number(65), FIRST[3], LAST[3], "KERKSTRAAT", "1985-07-30"):
        assert value.upper() not in text
    assert not any(sign.isdigit() for sign in str(pair["fields"]))


def test_only_the_offices_own_people_may_look_and_a_statistician_decide(case: Case) -> None:
    """S16: a researcher or holder learns nothing here, and others of the office don't decide."""
    house, [pair] = case.house, case.pairs()
    body = {"verdict": "same", "reason": "So it seems."}
    for person in ("researcher-1", HOLDER):
        for attempt in (
            lambda person=person: house[person].get("/review"),
            lambda person=person: house[person].get(f"/review/{pair['pair']}"),
            lambda person=person: house[person].post(f"/review/{pair['pair']}/decision", body),
        ):
            assert refusal_of(attempt).problem["type"].endswith("wrong-role")
    assert house["auditor-1"].get(f"/review/{pair['pair']}")["state"] == "open"
    for person in ("auditor-1", "dpo-1"):
        assert (
            refusal_of(
                lambda person=person: house[person].post(f"/review/{pair['pair']}/decision", body)
            )
            .problem["type"]
            .endswith("wrong-role")
        )
    assert (
        refusal_of(
            lambda: house[STATISTICIAN].post(f"/review/{pair['pair']}/undo", {"reason": "None."})
        )
        .problem["type"]
        .endswith("wrong-state")
    )
    assert refusal_of(lambda: house[STATISTICIAN].get("/review/pair-0")).problem["status"] == 404
    assert case.pairs() == [pair]


def test_at_the_terminal(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`schakel review list|decide|undo`, for people and for programs."""
    monkeypatch.setenv("SCHAKEL_PROFILES", str(tmp_path / "profiles"))
    profiles.save(STATISTICIAN, case.house[STATISTICIAN].profile)

    def call(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["review", *arguments, "--profile", STATISTICIAN]) == 0
        return capsys.readouterr().out

    [row] = json.loads(call("list", "--scope", case.project, "--json"))
    told = call("list", "--scope", case.project)
    assert row["pair"] in told
    assert "different_numbers" in told
    assert "    last_name        same\n" in told
    assert "linkage process" in call("decide", row["pair"], "never", "--reason", "Two people.")
    assert case.settled(row["pair"])["state"] == "never"
    assert json.loads(call("list", "--scope", case.project, "--json")) == []
    [decided] = json.loads(call("list", "--state", "never", "--scope", case.project, "--json"))
    assert decided["pair"] == row["pair"]
    shown = json.loads(call("undo", row["pair"], "--reason", "Not sure.", "--json"))
    assert [one["text"] for one in shown["reasons"]] == ["Two people.", "Not sure."]
    assert case.settled(row["pair"])["state"] == "open"


def test_a_row_in_the_database_decides_nothing(case: Case) -> None:
    """What is in force was sealed by the linkage process after a job that the vault signed."""
    [pair] = case.pairs()
    engine = case.house.service.engine
    forged = ReviewDecision(
        id=new_id("decision"),
        pair=pair["pair"],
        verdict="same",
        state="in_force",
        person=STATISTICIAN,
        decided_at=case.house.clock.now(),
    )
    with store.writing(engine) as session:
        session.add(forged)
    assert case.amounts_now() == case.built_once  # type: ignore[attr-defined]
    with store.writing(engine) as session:
        session.delete(session.get(ReviewDecision, forged.id))


def test_who_a_pair_is_opens_for_linkage_alone(case: Case) -> None:
    house = case.house
    with store.reading(house.service.engine) as session:
        place = linkage.admissions(session, case.project)[0].position
        for name, opens in (("linkage", True), ("release", False)):
            role = house.service.vault.role(name)
            if opens:
                table = review.listed(session, house.service.objects, role, case.project, place)
                assert table.num_rows == 1
            else:
                with pytest.raises(KeyvaultError):
                    review.listed(session, house.service.objects, role, case.project, place)
