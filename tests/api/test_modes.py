"""Deliveries that replace, append to and correct earlier ones, and what releases make of them."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api import store
from api.client import Client
from api.demo.evaluate import Package
from api.operations import NOBODY, Work, standing
from api.operations.linkage import conversions
from api.operations.standing import MODES, ONCE_ACCEPTED, WHOLE, Part
from api.store import Delivery, new_id
from keyvault.pseudonyms import Origins, subject_ids
from keyvault.secret import FileKey
from linkage.engine import Plan, link
from linkage.spine import Spine
from tests.api.house import REGIONS, House, refusal_of
from tests.linkage.helpers import Row, delivery, person

HOLDER = "holder-vdab"
AMOUNT = [{"round": {"to": 100}}, {"top_code": {"at": 15000}}]


def declaration(name: str, shape: str = "unit") -> dict[str, Any]:
    """A dataset with a number, a name, a birth date, a place and an amount."""
    return {
        "id": name,
        "title": {"en": name},
        "holder": "vdab",
        "shape": shape,
        "format": {"delimiter": ";", "decimal": "."},
        "variables": [
            {"name": "nn", "role": "identifier", "type": "national_number"},
            {"name": "first", "role": "identifier", "type": "first_name"},
            {"name": "born", "role": "quasi-identifier", "type": "birth_date"},
            {"name": "place", "role": "quasi-identifier", "type": "municipality"},
            {"name": "amount", "role": "sensitive", "type": "amount"},
        ],
        "references": [
            {
                "name": "self",
                "unit_type": "person",
                "columns": {"national_number": "nn", "first_name": "first", "birth_date": "born"},
            }
        ],
    }


def number(place: int) -> str:
    """A valid national number of somebody born on 30 July 1985."""
    text = f"{850730 * 1000 + place:09d}"
    return text + f"{97 - int(text) % 97:02d}"


def rows(people: Iterable[tuple[int, int]]) -> bytes:
    """An extract: (who, amount in hundreds)."""
    lines = [f"{number(who)};Naam{who};1985-07-30;21004;{amount}00" for who, amount in people]
    return ("nn;first;born;place;amount\n" + "\n".join(lines) + "\n").encode()


@dataclass
class Sender:
    """A holder with one dataset."""

    house: House
    folder: Path
    dataset: str

    @property
    def client(self) -> Client:
        return self.house[HOLDER]

    def send(
        self, people: Iterable[tuple[int, int]] | bytes, mode: str = "new", period: str = "2024"
    ) -> dict[str, Any]:
        """Deliver and wait for intake."""
        source = self.folder / "extract.csv"
        source.write_bytes(people if isinstance(people, bytes) else rows(people))
        return self.client.upload(source, self.dataset, period, mode=mode)

    def opened(self, mode: str, period: str = "2024") -> tuple[str, Path]:
        """An upload that is open, and what is to be sent there."""
        source = self.folder / "open.csv"
        sealed = self.folder / f"{new_id('open')}.age"
        source.write_bytes(rows([(90, 1)]))
        self.client.encrypt(source, sealed)
        return self.client.open_upload(sealed, self.dataset, period, mode), sealed

    def states(self) -> dict[str, str]:
        """The state of every delivery of the dataset."""
        listed = self.client.get("/deliveries")
        return {row["id"]: row["state"] for row in listed if row["dataset"] == self.dataset}

    def permit(self, project: str) -> str:
        """A permit for the dataset alone."""
        document = self.asking(self.house.application(project))
        return self.house.story.granted(self.house, "researcher-1", document)

    def asking(self, document: dict[str, Any]) -> dict[str, Any]:
        """An application for the dataset alone."""
        age = document["datasets"][0]["variables"][0]["rule"]
        document["datasets"] = [
            {
                "id": self.dataset,
                "periods": ["2024"],
                "variables": [
                    {"name": "born", "as": "age_class", "rule": age},
                    {"name": "place", "as": "arrondissement", "rule": REGIONS},
                    {"name": "amount", "as": "amount", "rule": AMOUNT},
                ],
            }
        ]
        document["universe"] = {"datasets": [self.dataset], "reference": "self"}
        document["scenario"]["sensitive"] = ["amount"]
        return document

    def release(self, permit: str) -> tuple[dict[str, Any], Package]:
        """What the researcher gets now."""
        cleared = self.house.cleared(permit)
        return cleared, self.house.package(cleared["id"])

    def amounts(self, package: Package) -> dict[str, int]:
        """Amount in hundreds by pseudonym; one row for each."""
        table = package.table(self.dataset).to_pylist()
        found = {row["unit"]: round(row["amount"] / 100) for row in table}
        assert len(found) == len(table)
        return found


@pytest.fixture
def sender(house: House, tmp_path: Path, request: pytest.FixtureRequest) -> Sender:
    """A holder with a dataset of its own for this test."""
    name = f"modes-{crc32(request.node.name.encode())}"
    house[HOLDER].post("/datasets", declaration(name))
    return Sender(house, tmp_path, name)


def people(start: int, count: int, amount: int | None = None) -> list[tuple[int, int]]:
    """(who, amount); by default everybody's own amount, so that it tells who is who."""
    return [(who, amount if amount is not None else who) for who in range(start, start + count)]


# -- what may be sent when -------------------------------------------------------------------------


def test_a_mode_says_what_becomes_of_what_stands(sender: Sender) -> None:
    """A replacement supersedes all; further rows and corrections stand beside what they change."""
    first = sender.send(people(1, 12))
    assert (first["mode"], first["generation"], first["state"]) == ("new", 1, "accepted")
    more, mended = sender.send(people(13, 3), "append"), sender.send([(2, 7)], "correct")
    assert {first["id"], more["id"], mended["id"]} == set(sender.states())
    assert set(sender.states().values()) == {"accepted"}
    anew = sender.send(people(1, 15), "replace")
    assert (anew["generation"], anew["receipt"]["mode"]) == (4, "replace")
    assert anew["receipt"]["generation"] == 4
    assert sender.states() == {
        first["id"]: "superseded",
        more["id"]: "superseded",
        mended["id"]: "superseded",
        anew["id"]: "accepted",
    }
    shown = sender.client.get(f"/deliveries/{more['id']}")
    assert shown["superseded_by"] == anew["id"]
    entries = sender.house["auditor-1"].get("/ledger?most=10000")["entries"]
    told = [json.loads(entry["leaf"]) for entry in entries]
    gone = [
        entry["facts"]["delivery"]
        for entry in told
        if entry["kind"] == "delivery.superseded" and entry["facts"]["by"] == anew["id"]
    ]
    assert gone == [first["id"], more["id"], mended["id"]]


@pytest.mark.parametrize("mode", ["replace", "append", "correct"])
def test_what_changes_something_needs_something_that_stands(sender: Sender, mode: str) -> None:
    """Refused before a byte is sent, and what to do instead is said."""
    refusal = refusal_of(lambda: sender.opened(mode))
    assert (refusal.status, refusal.type) == (409, "nothing-stands")
    assert "new delivery" in refusal.problem["next_step"]


def test_a_second_new_delivery_is_told_which_modes_there_are(sender: Sender) -> None:
    """`new` never changes what stands."""
    sender.send(people(1, 3))
    refusal = refusal_of(lambda: sender.opened("new"))
    assert refusal.type == "already-delivered"
    assert "replace" in refusal.problem["next_step"]


def test_an_unknown_mode_is_refused(sender: Sender) -> None:
    """A typing error changes nothing."""
    refusal = refusal_of(lambda: sender.opened("repalce"))
    assert (refusal.status, refusal.type) == (400, "bad-request")
    assert "correct" in refusal.problem["next_step"]


def test_a_bad_file_supersedes_nothing(sender: Sender) -> None:
    """Nothing is lost by a replacement that is rejected."""
    first = sender.send(people(1, 5))
    bad = sender.send(b"something;else\n1;2\n", "replace")
    assert bad["state"] == "rejected"
    assert sender.states() == {first["id"]: "accepted", bad["id"]: "rejected"}


def test_while_the_first_is_being_checked_nothing_can_be_changed(sender: Sender) -> None:
    """It isn't known yet whether there will be anything."""
    location, sealed = sender.opened("new")
    sender.house.working = False
    try:
        sender.client.send(location, sealed)
        refusal = refusal_of(lambda: sender.opened("append"))
        assert refusal.type == "nothing-stands"
        assert "Wait" in refusal.problem["next_step"]
    finally:
        sender.house.working = True
    sender.client.wait_delivery(location.rpartition("/")[2])
    assert sender.opened("append")


def test_two_uploads_open_at_once_count_in_the_order_of_receipt(sender: Sender) -> None:
    """Opened first, received last: the later receipt is the later word."""
    sender.send(people(1, 5))
    first, second = sender.opened("replace"), sender.opened("replace")
    sender.client.send(*second)
    sender.client.send(*first)
    ids = [location.rpartition("/")[2] for location, _ in (second, first)]
    ended = [sender.client.wait_delivery(one) for one in ids]
    assert [row["generation"] for row in ended] == [2, 3]
    assert [sender.client.get(f"/deliveries/{one}")["state"] for one in ids] == [
        "superseded",
        "accepted",
    ]


def test_replacements_that_become_whole_at_once_are_put_in_one_order(sender: Sender) -> None:
    """Receipts are given under the write lock: no number twice, and one of them stands."""
    sender.send(people(1, 5))
    waiting = [sender.opened("replace") for _ in range(4)]
    sender.client.token()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: sender.client.send(*one), waiting))
    ended = [sender.client.wait_delivery(one.rpartition("/")[2]) for one, _ in waiting]
    ended.sort(key=lambda row: row["generation"])
    assert [row["generation"] for row in ended] == [2, 3, 4, 5]
    states = sender.states()
    assert [states[row["id"]] for row in ended] == ["superseded"] * 3 + ["accepted"]


def test_rows_received_while_a_replacement_is_checked_belong_to_the_replacement(
    sender: Sender,
) -> None:
    """An append that arrives after the replacement isn't superseded by it."""
    base = sender.send(people(1, 5))
    replacing, adding = sender.opened("replace"), sender.opened("append")
    sender.house.working = False
    try:
        sender.client.send(*replacing)
        sender.client.send(*adding)
    finally:
        sender.house.working = True
    for location, _ in (replacing, adding):
        sender.client.wait_delivery(location.rpartition("/")[2])
    states = sender.states()
    assert states.pop(base["id"]) == "superseded"
    assert set(states.values()) == {"accepted"}


# -- the order, whatever ends first ----------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.sampled_from(MODES)),
        st.tuples(st.just("end"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("withdraw"), st.integers(0, 5)),
    ),
    max_size=14,
)

BOTH_REPLACED = (
    ("receive", "new"),
    ("end", 0, True),
    *(("receive", mode) for mode in ("replace", "append", "replace")),
)
"""Two replacements and further rows between them, all being checked at once."""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(EVENTS)
@example([*BOTH_REPLACED, ("end", 2, True), ("end", 1, True), ("end", 0, True)])
@example([*BOTH_REPLACED, ("end", 2, True), ("withdraw", 0), ("end", 0, True)])
@example([*BOTH_REPLACED, ("end", 2, False), ("end", 1, True), ("end", 0, True)])
def test_the_outcome_is_that_of_the_order_of_receipt(sender: Sender, events: list[Any]) -> None:
    """However receipts and intake results are mixed, what stands is what the order comes to."""
    dataset, period = sender.dataset, new_id("p")[:10]
    with sender.house.service.work(NOBODY) as work:
        waiting: list[Delivery] = []
        for event in [*events, *[("end", 0, True)] * len(events)]:
            if event[0] == "receive":
                if standing.unfit(work.session, dataset, period, event[1]) is None:
                    waiting.append(_received(work, dataset, period, event[1]))
            elif event[0] == "withdraw":
                _withdrawn(work, dataset, period, event[1])
            elif waiting:
                row = waiting.pop(event[1] % len(waiting))
                row.state = "accepted" if event[2] else "rejected"
                if event[2]:
                    standing.accept(work, row)
                work.session.flush()
        found = [row.id for row in standing.standing(work.session, dataset, period)]
        expected: list[str] = []
        here = work.session.query(Delivery).filter_by(dataset=dataset, period=period)
        rows = here.order_by(Delivery.generation).all()
        assert [row.generation for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            if row.state in ONCE_ACCEPTED:
                expected = [row.id] if row.mode in WHOLE else [*expected, row.id]
        withdrawn = {row.id for row in rows if row.state == "withdrawn"}
        assert found == [one for one in expected if one not in withdrawn]
        work.session.rollback()


def _withdrawn(work: Work, dataset: str, period: str, which: int) -> None:
    accepted = standing.standing(work.session, dataset, period)
    if accepted:
        accepted[which % len(accepted)].state = "withdrawn"
        work.session.flush()


def _received(work: Work, dataset: str, period: str, mode: str) -> Delivery:
    row = Delivery(
        id=new_id("delivery"),
        dataset=dataset,
        organisation="vdab",
        period=period,
        mode=mode,
        state="received",
        person=HOLDER,
        declared_sha256="0" * 64,
        length=1,
        created_at=work.now,
        moved_at=work.now,
    )
    work.session.add(row)
    standing.receive(work.session, row)
    work.session.flush()
    return row


# -- which rows count ------------------------------------------------------------------------------


def _part(number: int, mode: str, units: list[int | None]) -> Part:
    keys = [f"{number}-{place}".ljust(16).encode() for place in range(len(units))]
    seen = [(key, unit) for key, unit in zip(keys, units, strict=True) if unit is not None]
    links = pa.table(
        {
            "row_key": pa.array([key for key, _ in seen], pa.binary(16)),
            "reference": pa.array(["self"] * len(seen), pa.string()),
            "subject": pa.array([b"%016d" % unit for _, unit in seen], pa.binary(16)),
        }
    )
    return Part(number, mode, pa.table({"row_key": pa.array(keys, pa.binary(16))}), links)


UNITS = st.lists(st.one_of(st.none(), st.integers(1, 6)), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["append", "correct"]), UNITS), max_size=4), UNITS)
def test_what_counts_is_what_one_would_work_out_by_hand(
    changes: list[tuple[str, list[int | None]]], first: list[int | None]
) -> None:
    """Row by row: a correction sets aside earlier rows about whom it names, and no others."""
    parts = [_part(1, "new", first)]
    parts += [_part(n, mode, units) for n, (mode, units) in enumerate(changes, start=2)]
    counted = standing.resolve(parts)
    expected: list[tuple[bytes, int | None]] = []
    added = []
    for part, (mode, units) in zip(parts, [("new", first), *changes], strict=True):
        named = {unit for unit in units if unit is not None}
        if mode == "correct":
            added.append(len(named - {unit for _, unit in expected}))
            expected = [(key, unit) for key, unit in expected if unit not in named]
        expected += zip(part.payload["row_key"].to_pylist(), units, strict=True)
    assert counted.payload["row_key"].to_pylist() == [key for key, _ in expected]
    assert counted.links["row_key"].to_pylist() == [key for key, unit in expected if unit]
    told = counted.told
    assert [one["units_added"] for one in told if one["mode"] == "correct"] == added
    assert sum(one["rows"] for one in told) == len(expected)
    total = sum(part.payload.num_rows for part in parts)
    assert sum(one["rows_set_aside"] for one in told) == total - len(expected)


def test_a_release_is_made_of_everything_that_stands(sender: Sender) -> None:
    """S15, V14: appended rows count, corrected ones replace, and the package says of what it is."""
    base = sender.send(people(1, 12))
    more = sender.send(people(12, 4, amount=50), "append")  # 12 is there twice
    permit = sender.permit("several-deliveries")
    cleared, package = sender.release(permit)
    before = sender.amounts(package)
    assert sorted(before.values()) == sorted([*range(1, 13), 50, 50, 50])
    assert cleared["summary"]["units_delivered_twice"] == {sender.dataset: 1}
    mended = sender.send([(3, 70), *people(80, 6)], "correct")  # one new unit would stand out
    cleared, package = sender.release(permit)
    after = sender.amounts(package)
    added = {unit: value for unit, value in after.items() if unit not in before}
    assert sorted(added.values()) == list(range(80, 86))
    [third] = [unit for unit, value in before.items() if value == 3]
    assert after == {**before, **added, third: 70}
    manifest = json.loads(package.files["manifest.json"])
    assert manifest["deliveries"] == {
        sender.dataset: [
            {"generation": base["generation"], "mode": "new"},
            {"generation": more["generation"], "mode": "append"},
            {"generation": mended["generation"], "mode": "correct"},
        ]
    }
    told = json.loads(package.files["report.json"])["deliveries"][sender.dataset]
    assert told[0] == {"generation": 1, "mode": "new", "rows": 11, "rows_set_aside": 1}
    assert (told[2]["units_corrected"], told[2]["units_added"]) == (1, 6)


def test_in_a_replaced_file_everybody_keeps_a_pseudonym_and_nobody_gets_anothers(
    sender: Sender,
) -> None:
    """S15: the old file's places are other people's in the new one."""
    sender.send(people(1, 12))
    permit = sender.permit("replaced-file")
    _, package = sender.release(permit)
    before = sender.amounts(package)
    sender.send([(who, who) for who in range(20, 3, -1)], "replace")
    _, package = sender.release(permit)
    after = sender.amounts(package)
    assert sorted(after.values()) == list(range(4, 21))
    old, new = ({value: unit for unit, value in one.items()} for one in (before, after))
    assert all(old[who] == new[who] for who in range(4, 13))
    assert not {new[who] for who in range(13, 21)} & set(old.values())


def test_a_release_takes_what_stood_when_it_was_asked_for(sender: Sender) -> None:
    """Superseded while it is built: the request says what it is made of."""
    first = sender.send(people(1, 12))
    permit = sender.permit("superseded-meanwhile")
    house = sender.house
    replacing = sender.opened("replace")
    house.working = False
    try:
        sender.client.send(*replacing)
        builder = house["statistician-1"]
        asked = builder.post("/releases", {"permit": permit, "period": "2024"})
    finally:
        house.working = True
    built = builder.wait_release(asked["id"])
    assert sender.states()[first["id"]] == "superseded"
    assert built["state"] == "built", built["refusal"]
    assert built["request"]["deliveries"] == {sender.dataset: [first["id"]]}
    assert built["summary"]["units"] == 12
    shown = builder.get(f"/releases/{asked['id']}")["deliveries"]
    assert [(row["delivery"], row["state"]) for row in shown] == [(first["id"], "superseded")]


def test_a_withdrawn_delivery_is_used_no_more(sender: Sender) -> None:
    """Its holder takes it back, with a reason; what stood under it counts again."""
    sender.send(people(1, 12))
    mended = sender.send([(1, 70)], "correct")
    permit, house = sender.permit("withdrawn-delivery"), sender.house
    cleared, package = sender.release(permit)
    assert 70 in sender.amounts(package).values()
    waiting = house.built(permit)
    path = f"/deliveries/{mended['id']}/withdraw"
    for other in ("holder-rsz", "statistician-1"):
        assert refusal_of(lambda other=other: house[other].post(path, {"reason": "x"})).status in (
            403,
            404,
        )
    answer = sender.client.post(path, {"reason": "It was about somebody else."})
    assert answer["state"] == "withdrawn"
    assert [one["text"] for one in answer["reasons"]] == ["It was about somebody else."]
    refusal = refusal_of(lambda: house.story.clear(house, waiting))
    assert (refusal.status, refusal.type) == (409, "delivery-withdrawn")
    assert house.package(cleared["id"]).pseudonyms(), "what was cleared stays"
    _, package = sender.release(permit)
    assert sorted(sender.amounts(package).values()) == list(range(1, 13))
    assert refusal_of(lambda: sender.client.post(path, {"reason": "x"})).type == "wrong-state"
    assert house.ledger_kinds().count("delivery.withdrawn") >= 1


def test_an_append_alone_is_no_dataset(sender: Sender) -> None:
    """Its base was withdrawn: a release of what is left would pass for the whole."""
    first = sender.send(people(1, 12))
    sender.send(people(13, 20), "append")
    permit = sender.permit("append-alone")
    sender.client.post(f"/deliveries/{first['id']}/withdraw", {"reason": "a mistake"})
    refusal = refusal_of(lambda: sender.house.built(permit))
    assert refusal.type == "nothing-delivered"
    assert "withdrew" in str(refusal)
    sender.send(people(1, 20), "replace")
    assert len(sender.amounts(sender.release(permit)[1])) == 20


def test_a_delivery_withdrawn_while_a_release_is_built_stops_it(sender: Sender) -> None:
    """Neither linked nor opened by anybody any more; a superseded one can be withdrawn too."""
    first = sender.send(people(1, 12))
    permit, house = sender.permit("withdrawn-while-built"), sender.house
    sender.send(people(1, 13), "replace")
    builder = house["statistician-1"]
    house.working = False
    try:
        asked = builder.post("/releases", {"permit": permit, "period": "2024"})
        [standing_now] = [row for row in sender.states().items() if row[1] == "accepted"]
        for one in (first["id"], standing_now[0]):
            sender.client.post(f"/deliveries/{one}/withdraw", {"reason": "both"})
    finally:
        house.working = True
    ended = builder.wait_release(asked["id"])
    assert ended["refusal"]["type"].endswith("delivery-withdrawn")
    assert refusal_of(lambda: house.built(permit)).type == "nothing-delivered"
    assert refusal_of(lambda: sender.opened("replace")).type == "nothing-stands"
    assert sender.send(people(1, 12))["generation"] == 3


def test_an_upload_whose_ground_was_withdrawn_is_rejected_when_it_is_whole(sender: Sender) -> None:
    """What stood when it was opened may stand no more; nothing half-done is left."""
    first = sender.send(people(1, 5))
    location, sealed = sender.opened("append")
    sender.client.post(f"/deliveries/{first['id']}/withdraw", {"reason": "a mistake"})
    refusal = refusal_of(lambda: sender.client.send(location, sealed))
    assert (refusal.status, refusal.type) == (409, "nothing-stands")
    ended = sender.client.get(f"/deliveries/{location.rpartition('/')[2]}")
    assert (ended["state"], ended["generation"]) == ("rejected", None)


# -- ids -------------------------------------------------------------------------------------------

KEY = FileKey(b"k" * 32, "subject-id", "neet")
WHO = st.lists(st.integers(1, 9), min_size=1, max_size=7, unique=True)
FIRST = ("An", "Bart", "Carla", "Dirk", "Els", "Filip", "Greet", "Hugo", "Ine")


def _identity(who: int) -> Row:
    born = f"19{60 + who}-0{who}-1{who}"
    return person(FIRST[who - 1], f"Achternaam{who * 37}", born, national_number=_number(born, who))


def _number(born: str, who: int) -> str:
    text = born[2:].replace("-", "") + f"{who:03d}"
    return text + f"{97 - int(text) % 97:02d}"


@settings(max_examples=25, deadline=None)
@given(WHO, st.lists(st.tuples(st.sampled_from(["replace", "append", "correct"]), WHO), max_size=4))
def test_no_two_persons_share_an_id_and_nobody_known_loses_theirs(
    first: list[int], later: list[tuple[str, list[int]]]
) -> None:
    """S15: whatever comes after the first file of one dataset and period."""
    spine, known = Spine.empty(), dict[int, bytes]()
    for generation, (mode, whom) in enumerate([("new", first), *later], start=1):
        coming = delivery([_identity(who) for who in whom], whole=mode in WHOLE)
        result = link(coming, spine, Plan.default())
        groups = result.groups.sort_by("group")
        fresh = subject_ids(
            KEY,
            Origins(
                coming.dataset,
                coming.period,
                generation,
                groups["first_record"],
                groups["first_reference"],
            ),
        )
        segment = spine.admit(coming, result, fresh)
        again = spine.admit(coming, link(coming, spine, Plan.default()), fresh)
        assert segment.seen.equals(again.seen), "a repeated job gives the same ids"
        spine = spine.with_segment(segment)
        for who, subject in zip(whom, segment.seen["subject"].to_pylist(), strict=True):
            assert known.setdefault(who, subject) == subject
        assert len(set(known.values())) == len(known)


def test_who_says_too_little_is_told_apart_by_place_in_whole_files_only() -> None:
    """Line 1 of further rows is nobody that line 1 of the file was, whatever little both say."""
    thin = {"first_name": "Jan"}
    spine = Spine.empty()
    subjects = []
    for generation, whole in enumerate((True, False, True), start=1):
        coming = delivery([thin], whole=whole)
        result = link(coming, spine, Plan.default())
        made = subject_ids(KEY, ("benefit", "2024", generation, pa.array([1]), "self"))
        segment = spine.admit(coming, result, made)
        spine = spine.with_segment(segment)
        subjects += segment.seen["subject"].to_pylist()
    assert subjects[0] == subjects[2] != subjects[1]


def test_conversion_lists_are_appended_and_replaced(house: House, tmp_path: Path) -> None:
    """Pairs of all that stand count; a unit by unit correction makes no sense there."""
    client = house["holder-rsz"]
    house.delivered("conversions")
    truth = house.story.truths["conversions", "2024"]
    client.post("/datasets", {**truth.dataset.to_mapping(), "id": "more-conversions"})
    header, *lines = truth.content.splitlines(keepends=True)
    sender = Sender(house, tmp_path, "more-conversions")
    source = tmp_path / "list.csv"

    def send(part: list[bytes], mode: str) -> dict[str, Any]:
        source.write_bytes(header + b"".join(part))
        return client.upload(source, sender.dataset, "2024", mode=mode)

    assert send(lines[:1], "new")["state"] == "accepted"
    assert send(lines[1:2], "append")["state"] == "accepted"
    refusal = refusal_of(lambda: send(lines[:1], "correct"))
    assert refusal.type == "bad-request"
    house.delivered("child-benefit", "employment-service", "social-security")
    permit = house.granted("with-conversions")
    assert _pairs(house, sender.dataset, permit) == 2
    send(lines[:1], "replace")
    assert _pairs(house, sender.dataset, permit) == 1


def _pairs(house: House, dataset: str, permit: str) -> int:
    """How many pairs of this list a project's linkage hears of."""
    service = house.service
    with store.reading(service.engine) as session:
        granted = service.vault.permit(
            session.connection(), permit, "link", now=service.clock.now()
        )
        lists = conversions(session, service.vault, service.objects, granted)
        return sum(
            table.num_rows
            for one, table in lists.items()
            if session.get_one(Delivery, one).dataset == dataset
        )
