"""From a request to a file in the right hands: permits, releases, and what is refused."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pandas
import pyarrow.compute as pc
import pyrage
import pytest

from api import cli, store
from api.client import Client, PackageFault, read_identities
from api.demo.evaluate import PSEUDONYM, Package, Search
from api.demo.extracts import names_numbers_addresses
from api.operations import building
from api.problems import Problem
from api.store import Release
from keyvault.pseudonyms import check
from policies import permits
from policies import releases as packages
from policies.coarsening import NOT_IN_SOURCE
from tests.api.house import House, refusal_of

WAVE = ("child-benefit", "employment-service", "social-security", "conversions")


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `schakel identity` made for the researcher."""
    file = tmp_path_factory.mktemp("identity") / "identity.txt"
    assert cli.run(["identity", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def delivered(house: House, identity: Path) -> House:
    """The house with the first wave in it."""
    house.identities["researcher-1"] = read_identities(identity)[0]
    house.delivered(*WAVE)
    return house


@pytest.fixture(scope="module")
def permit(delivered: House) -> str:
    """A permit of the project `neet`."""
    return delivered.granted("neet")


@pytest.fixture(scope="module")
def release(delivered: House, permit: str) -> dict[str, Any]:
    """Its first release, cleared."""
    return delivered.cleared(permit)


@pytest.fixture(scope="module")
def package(delivered: House, release: dict[str, Any]) -> Package:
    """What the researcher downloaded."""
    return delivered.package(release["id"])


# -- what is in the file ---------------------------------------------------------------------------


def test_no_identity_and_no_exact_date_leaves(delivered: House, package: Package) -> None:
    """S07, S09: not a name, number, address or date of birth in any cell or byte."""
    search = Search(names_numbers_addresses(delivered.people))
    assert search.count(package.data_files) == 0
    for table in package.tables().values():
        assert not any(str(kind).startswith(("date", "timestamp")) for kind in table.schema.types)


def test_every_cell_of_the_keys_holds_k_units(package: Package) -> None:
    """S08, S35: counted anew from the file: distinct units, one row for each."""
    units = package.table("units").to_pandas()
    assert units["unit"].is_unique
    assert units.groupby(["age_class", "arrondissement"])["unit"].nunique().min() >= 5


def test_pseudonyms_are_well_formed_and_kinds_are_apart(package: Package) -> None:
    """Persons are P…, enterprises E…; each text carries its own check character."""
    benefit, work = package.table("child-benefit"), package.table("social-security")
    for column, letter in ((benefit["mother"], "P"), (work["employer"], "E"), (work["unit"], "P")):
        spoken = [text for text in pc.unique(column).to_pylist() if not text.startswith("_")]
        assert spoken
        assert all(PSEUDONYM.match(text) and text[0] == letter for text in spoken)
        assert check(spoken[0]).version == 1


def test_missing_values_say_why(package: Package) -> None:
    """S11 and the design: never a silent blank."""
    for table in package.tables().values():
        for name in table.column_names:
            explained = name + "_status" in table.column_names
            assert table[name].null_count == 0 or explained


def test_wages_are_rounded_and_top_coded(package: Package) -> None:
    """S11: nothing finer than the permit says."""
    wages = package.table("social-security")["wage"].drop_null().to_pylist()
    assert all(wage % 500 == 0 and wage <= 15000 for wage in wages)


def test_the_package_explains_itself(package: Package) -> None:
    """Dictionary, report with a picture, manifest and README are all there and agree."""
    assert packages.faults(package.files) == []
    dictionary = json.loads(package.files["dictionary.json"])
    assert "arrondissement" in json.dumps(dictionary)
    assert b"<svg" in package.files["report.html"]
    assert b"What isn't promised" in package.files["report.html"]
    report = json.loads(package.files["report.json"])
    assert (report["k"], report["passes"]) == (5, True)


def test_who_cleared_a_release_can_be_shown_for_ever(
    delivered: House, release: dict[str, Any]
) -> None:
    """The clearance stands beside the release: document, and signature of a second person."""
    clearance = delivered["auditor-1"].get(f"/releases/{release['id']}")["clearance"]
    assert clearance["document"]["manifest_sha256"] == release["manifest_sha256"]
    assert clearance["signature"]["person"] == "statistician-2" != release["builder"]


def test_what_was_withheld_is_not_told_to_the_researcher(
    delivered: House, release: dict[str, Any]
) -> None:
    """Naming the cells that suppression hid would give them back; staff who clear see them."""
    staff = delivered["statistician-2"].get(f"/releases/{release['id']}")
    member = delivered["researcher-1"].get(f"/releases/{release['id']}")
    assert "before" in staff["report"]
    assert "before" not in member["report"]
    assert member["report"]["summary"] == staff["report"]["summary"]


def test_the_same_recipe_gives_the_same_package(delivered: House) -> None:
    """The plaintext package is reproducible byte for byte."""
    permit = delivered.granted("twice")
    first, second = delivered.cleared(permit), delivered.cleared(permit)
    one, two = delivered.package(first["id"]).files, delivered.package(second["id"]).files
    differing = {path for path in one if one[path] != two.get(path)}
    assert differing <= {"report.json", "report.html", "manifest.json", "manifest.sig"}
    assert {path for path in differing if path.startswith("data/")} == set()


@pytest.mark.age
def test_a_release_is_opened_by_debians_age(
    delivered: House, release: dict[str, Any], age_program: str, identity: Path, tmp_path: Path
) -> None:
    """Recipients need no program of ours; an identity that `schakel identity` made will do."""
    client, sealed = delivered["researcher-1"], tmp_path / "release.tar.age"
    answer = httpx.get(
        f"{client.profile.server}/releases/{release['id']}/package",
        headers={"Authorization": f"Bearer {client.token()}"},
    )
    sealed.write_bytes(answer.content)
    opened = subprocess.run(
        [age_program, "-d", "-i", identity, sealed], check=True, capture_output=True
    ).stdout
    assert "manifest.json" in packages.contents(opened)
    assert packages.faults(packages.contents(opened)) == []


@pytest.mark.age
@pytest.mark.parametrize("armour", [[], ["-a"]])
def test_identities_are_those_of_debians_age(
    age_program: str, identity: Path, tmp_path: Path, armour: list[str]
) -> None:
    """Both ways: ours opens with theirs and theirs with ours, among several recipients too."""
    theirs = tmp_path / "theirs.txt"
    subprocess.run([f"{age_program}-keygen", "-o", theirs], check=True, capture_output=True)
    told = [
        subprocess.run([f"{age_program}-keygen", "-y", file], check=True, capture_output=True)
        for file in (identity, theirs)
    ]
    recipients = [each.stdout.decode().strip() for each in told]
    assert recipients == [str(read_identities(file)[0].to_public()) for file in (identity, theirs)]
    to = [option for recipient in recipients for option in ("-r", recipient)]
    sealed = subprocess.run(
        [age_program, *armour, *to], input=b"a package", check=True, capture_output=True
    ).stdout
    for file in (identity, theirs):
        assert pyrage.decrypt(sealed, read_identities(file)) == b"a package"
    ours = pyrage.encrypt(
        b"a package",
        [pyrage.x25519.Recipient.from_str(each) for each in recipients],
        armored=bool(armour),
    )
    for file in (identity, theirs):
        opened = subprocess.run(
            [age_program, "-d", "-i", file], input=ours, check=True, capture_output=True
        )
        assert opened.stdout == b"a package"


def test_a_package_that_was_changed_is_noticed(
    delivered: House, release: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is checked against the manifest, and the manifest against the service's key."""
    client = delivered["researcher-1"]
    identities = [delivered.identities["researcher-1"]]
    archive = client.fetch(release["id"], identities)
    files = packages.contents(archive)
    for changed in (
        {**files, "data/units.csv": files["data/units.csv"] + b"x"},
        {**files, "manifest.json": files["manifest.json"].replace(b"2024", b"2025", 1)},
        {**files, "manifest.sig": b"{}"},
    ):
        monkeypatch.setattr("api.client._open", lambda *_, c=changed: packages.archive(c))
        with pytest.raises(PackageFault):
            client.fetch(release["id"], identities)


def test_another_identity_opens_nothing(delivered: House, release: dict[str, Any]) -> None:
    """One envelope for each recipient."""
    with pytest.raises(PackageFault, match="doesn't open"):
        delivered["researcher-1"].fetch(release["id"], [pyrage.x25519.Identity.generate()])


# -- who gets it -----------------------------------------------------------------------------------


def test_nobody_clears_what_they_built(delivered: House, permit: str) -> None:
    """Two people for each release; the builder is not the second."""
    built = delivered.built(permit)
    own = refusal_of(lambda: delivered.story.clear(delivered, built, "statistician-1"))
    assert (own.status, own.type) == (403, "own-work")
    for person in ("researcher-1", "director-1", "admin-1"):
        other = refusal_of(lambda person=person: delivered.story.clear(delivered, built, person))
        assert other.type == "wrong-role"


def test_a_clearance_signed_by_somebody_else_or_for_something_else_is_none(
    delivered: House, permit: str
) -> None:
    """The signature is the clearing person's own, over this very package."""
    built = delivered.built(permit)
    path = f"/releases/{built['id']}/clearance"
    signed = delivered.sign(
        "statistician-1", "clearance", release=built["id"], manifest_sha256=built["manifest_sha256"]
    )
    refusal = refusal_of(lambda: delivered["statistician-2"].post(path, signed))
    assert refusal.type == "signed-by-another"
    other = delivered.sign(
        "statistician-2", "clearance", release=built["id"], manifest_sha256="0" * 64
    )
    assert refusal_of(lambda: delivered["statistician-2"].post(path, other)).type == "bad-signature"
    forged = delivered.sign(
        "statistician-2", "clearance", release=built["id"], manifest_sha256=built["manifest_sha256"]
    )
    forged["document"]["at"] = "2020-01-01T00:00:00+00:00"
    refusal = refusal_of(lambda: delivered["statistician-2"].post(path, forged))
    assert (refusal.status, refusal.type) == (403, "bad-signature")


def test_a_row_that_says_cleared_is_no_clearance(delivered: House, permit: str) -> None:
    """P09, S17: whoever captured API or database gets no envelope: the release's own process holds
    the second statistician's signature against the package that it is about to seal."""
    built, another = delivered.built(permit), delivered.built(permit)
    service = delivered.service

    def sealed(state: str, person: str, about: dict[str, Any]) -> Any:
        clearance = delivered.sign(
            person, "clearance", release=about["id"], manifest_sha256=about["manifest_sha256"]
        )
        with store.writing(service.engine) as session:
            row = session.get_one(Release, built["id"])
            row.state, row.clearance = state, clearance
        tools = (service.engine, service.vault, service.objects)
        return building.seal_envelopes(
            *tools, built["id"], service.clock.now(), lambda _stage, _share: None
        )

    for person, about in (
        ("statistician-1", built),
        ("researcher-1", built),
        ("statistician-2", another),
        ("statistician-2", {**built, "manifest_sha256": "0" * 64}),
    ):
        with pytest.raises(Problem, match="second statistician"):
            sealed("cleared", person, about)
    with store.writing(service.engine) as session:
        session.get_one(Release, built["id"]).clearance = None
    assert sealed("withdrawn", "statistician-2", built) is None
    assert set(sealed("cleared", "statistician-2", built)) == {"researcher-1"}
    with store.writing(service.engine) as session:
        row = session.get_one(Release, built["id"])
        row.state, row.clearance = "built", None


def test_a_release_nobody_cleared_is_not_downloaded(delivered: House, permit: str) -> None:
    """Row S17: before clearance there is no envelope at all."""
    built = delivered.built(permit)
    refusal = refusal_of(lambda: delivered.package(built["id"]))
    assert (refusal.status, refusal.type) == (409, "wrong-state")


def test_others_hear_that_there_is_nothing(delivered: House, release: dict[str, Any]) -> None:
    """Somebody outside the project can't tell a release from none."""
    stranger = delivered["researcher-2"]
    real = refusal_of(lambda: stranger.get(f"/releases/{release['id']}/package"))
    none = refusal_of(lambda: stranger.get("/releases/release-0000000000000000/package"))
    assert real.problem == none.problem
    assert real.status == 404
    holder = refusal_of(lambda: delivered["holder-rsz"].get(f"/releases/{release['id']}"))
    assert holder.problem == none.problem


def test_an_applicant_who_is_no_recipient_gets_no_file(delivered: House) -> None:
    """S17: only persons named in the permit download; the applicant isn't one by nature."""
    recipients = [{"person": "researcher-2", "age_recipient": delivered.recipient("researcher-2")}]
    permit = delivered.granted("for-others", recipients=recipients)
    cleared = delivered.cleared(permit)
    refusal = refusal_of(lambda: delivered.package(cleared["id"], "researcher-1"))
    assert (refusal.status, refusal.type) == (403, "not-a-recipient")
    assert delivered.package(cleared["id"], "researcher-2").pseudonyms()


def test_every_download_is_in_the_ledger_by_person(
    delivered: House, release: dict[str, Any]
) -> None:
    """S17, P04: downloads are recorded per named person."""
    before = len(delivered.ledger_kinds())
    delivered.package(release["id"])
    assert delivered.ledger_kinds()[before:] == ["release.downloaded"]
    last = delivered["auditor-1"].get(f"/ledger?start={before}")["entries"][0]
    entry = json.loads(last["leaf"])
    assert entry["actor"] == "researcher-1"
    assert entry["facts"]["release"] == release["id"]


def test_a_withdrawn_release_is_gone_and_still_counts(delivered: House) -> None:
    """What was received stays received: a later release is tested together with it."""
    permit = delivered.granted("taken-back")
    cleared = delivered.cleared(permit)
    delivered["statistician-1"].post(f"/releases/{cleared['id']}/withdraw", {"reason": "a mistake"})
    assert refusal_of(lambda: delivered.package(cleared["id"])).type == "wrong-state"
    again = delivered.built(permit)
    assert again["report"]["disclosure"]["releases"] == 2


def test_two_releases_tested_apart_are_not_cleared_both(delivered: House) -> None:
    """Each was fine with what had been received; together they might not be."""
    permit = delivered.granted("at-once")
    first, second = delivered.built(permit), delivered.built(permit)
    delivered.story.clear(delivered, first)
    refusal = refusal_of(lambda: delivered.story.clear(delivered, second))
    assert (refusal.status, refusal.type) == (409, "history-moved-on")


# -- under a permit --------------------------------------------------------------------------------


def test_a_suspended_permit_stops_everything_at_once(
    delivered: House, permit: str, release: dict[str, Any]
) -> None:
    """S37: downloads check the permit at that very moment."""
    delivered["dpo-1"].post(f"/permits/{permit}/suspend", {"reason": "a breach is looked into"})
    assert refusal_of(lambda: delivered.package(release["id"])).type == "permit-not-in-force"
    assert refusal_of(lambda: delivered.built(permit)).type == "permit-not-in-force"
    assert refusal_of(lambda: delivered["dpo-1"].post(f"/permits/{permit}/resume")).status == 403
    delivered["director-1"].post(f"/permits/{permit}/resume")
    assert delivered.package(release["id"]).pseudonyms()


def test_without_a_permit_nothing_is_built(delivered: House) -> None:
    """Default is refusal."""
    refusal = refusal_of(lambda: delivered.built("permit-0000000000000000"))
    assert (refusal.status, refusal.type) == (403, "no-permit")
    assert "apply" in refusal.problem["next_step"]


def test_a_permit_changed_by_one_byte_allows_nothing(delivered: House) -> None:
    """The vault signed canonical bytes; any other bytes are no permit."""
    permit = delivered.granted("tampered")
    with store.writing(delivered.service.engine) as session:
        connection = session.connection().connection
        cursor = connection.cursor()
        cursor.execute("SELECT body FROM vault_permit WHERE id = ?", (permit,))
        (body,) = cursor.fetchone()
        changed = bytes(body).replace(b'"k":5', b'"k":3')
        assert changed != bytes(body)
        cursor.execute("UPDATE vault_permit SET body = ? WHERE id = ?", (changed, permit))
    refusal = refusal_of(lambda: delivered.built(permit))
    assert (refusal.status, refusal.type) == (403, "permit-changed")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"period": "1999"}, "no-permit"),
        ({"datasets": ["education"]}, "no-permit"),
        ({"universe": ["social-security"]}, "no-permit"),
        ({"only": {"shoe_size": ["42"]}}, "bad-request"),
        ({"period": "2025"}, "nothing-delivered"),
    ],
    ids=str,
)
def test_no_release_goes_beyond_its_permit(
    delivered: House, permit: str, asked: dict[str, Any], kind: str
) -> None:
    """Periods, datasets and universe are the permit's; what isn't there can't be released."""
    refusal = refusal_of(lambda: delivered.built(permit, **{"period": "2024", **asked}))
    assert refusal.type == kind


def test_an_empty_selection_is_refused_with_a_reason(delivered: House, permit: str) -> None:
    """Nobody in it: said so, not an empty file."""
    built = delivered.built(permit, only={"arrondissement": ["nowhere"]})
    assert built["state"] == "refused"
    assert "universe" in built["refusal"]["detail"]


def test_without_suppression_small_cells_refuse_with_the_smallest_named(delivered: House) -> None:
    """S08: the refusal names the smallest cells and what would help."""
    document = delivered.story.application(delivered, "fine-areas", "researcher-1")
    document["thresholds"] = {"k": 5, "suppression": 0.0}
    permit = delivered.story.granted(delivered, "researcher-1", document)
    built = delivered.built(permit)
    assert built["state"] == "refused"
    problem = built["refusal"]
    assert problem["type"].endswith("disclosure")
    assert "fewer than 5 units" in problem["detail"]
    smallest = problem["assessment"]["alone"]["examples"][0]
    assert smallest["units"] < 5
    assert set(smallest["labels"]) == {"age_class", "arrondissement"}
    told = delivered["researcher-1"].get(f"/releases/{built['id']}")["refusal"]
    assert "assessment" not in told
    assert smallest["labels"]["arrondissement"] not in json.dumps(told)
    assert "fewer than 5 units" in told["detail"]


def test_identifiers_left_in_a_column_stop_the_release(delivered: House, tmp_path: Path) -> None:
    """S07: a number in a harmless-looking column is found before anything leaves."""
    holder = delivered["holder-onderwijs"]
    declaration = {
        "id": "enrolment-notes",
        "title": {"en": "Enrolments with a note"},
        "holder": "onderwijs",
        "shape": "unit",
        "format": {"delimiter": ";"},
        "variables": [
            {"name": "nn", "role": "identifier", "type": "national_number"},
            {"name": "first", "role": "identifier", "type": "first_name"},
            {"name": "born", "role": "quasi-identifier", "type": "birth_date"},
            {"name": "place", "role": "quasi-identifier", "type": "municipality"},
            {"name": "note", "role": "other", "type": "code"},
        ],
        "references": [
            {
                "name": "self",
                "unit_type": "person",
                "columns": {"national_number": "nn", "first_name": "first", "birth_date": "born"},
            }
        ],
    }
    holder.post("/datasets", declaration)
    numbers = [f"{850730 * 1000 + place:09d}" for place in range(1, 41)]
    numbers = [text + f"{97 - int(text) % 97:02d}" for text in numbers]
    rows = [
        f"{number};Jan{place};1985-07-30;21004;{number}" for place, number in enumerate(numbers)
    ]
    source = tmp_path / "notes.csv"
    source.write_text("nn;first;born;place;note\n" + "\n".join(rows) + "\n")
    assert holder.upload(source, "enrolment-notes", "2024")["state"] == "accepted"
    document = delivered.application("notes")
    age = document["datasets"][0]["variables"][0]["rule"]
    document["datasets"] = [
        {
            "id": "enrolment-notes",
            "periods": ["2024"],
            "variables": [
                {"name": "born", "as": "age_class", "rule": age},
                {
                    "name": "place",
                    "as": "arrondissement",
                    "rule": [{"geography": {"level": "region", "situation": 2025}}],
                },
                {"name": "note", "as": "note", "rule": [{"keep": {}}]},
            ],
        }
    ]
    document["universe"] = {"datasets": ["enrolment-notes"], "reference": "self"}
    permit = delivered.story.granted(delivered, "researcher-1", document)
    built = delivered.built(permit)
    assert built["state"] == "refused"
    assert built["refusal"]["type"].endswith("identifiers-found")
    assert "note" in built["refusal"]["detail"]
    assert not any(number in json.dumps(built["refusal"]) for number in numbers)


# -- asking ----------------------------------------------------------------------------------------


def _drafted(client: Client, document: dict[str, Any]) -> str:
    return str(client.post("/applications", document)["id"])


def _changed(document: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


RULE = ("datasets", 0, "variables", 0, "rule")
PLACE = ("datasets", 0, "variables", 1, "rule")


def _asking(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The document with one place changed; a key's rule is changed in both its datasets."""
    document = _changed(document, *path, value=value)
    if path[: len(RULE)] in (RULE, PLACE):
        document = _changed(document, "datasets", 1, *path[2:], value=value)
    return document


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ((*RULE, 0, "age_class", "breaks"), [15, 16, 17], "finer-than-minimum"),
        (RULE, [{"keep": {}}], "finer-than-minimum"),
        (PLACE, [{"geography": {"level": "municipality"}}], "finer-than-minimum"),
        (("datasets", 0, "variables", 0, "name"), "insz", "finer-than-minimum"),
        (("datasets", 2, "variables", 1, "rule"), [{"round": {"to": 1}}], "finer-than-minimum"),
        (("datasets", 0, "variables", 0, "name"), "shoe_size", "unknown-dataset"),
        (("datasets", 0, "references"), ["self", "aunt"], "unknown-dataset"),
        ((*RULE, 0), {"guess": {}}, "incomplete"),
        (("purpose",), "marketing", "incomplete"),
        (("necessity",), "", "incomplete"),
        (("valid_until",), "2001-01-01", "incomplete"),
        (("recipients", 0, "age_recipient"), "age1nonsense", "incomplete"),
        (("recipients", 0, "age_recipient"), "age1" + "q" * 58, "incomplete"),
        (("recipients", 0, "person"), "researcher-99", "incomplete"),
        (("recipients", 0, "person"), "holder-rsz", "incomplete"),
        (("linkage_keys",), ["national_number", "shoe_size"], "incomplete"),
        (("universe", "reference"), "mother", "unknown-dataset"),
        (("unit_type",), "enterprise", "unknown-dataset"),
        (("datasets", 2, "variables", 1), {"name": "sexe", "rule": [{"keep": {}}]}, "incomplete"),
        (
            ("datasets", 2, "variables", 1),
            {"name": "entreprise", "rule": [{"keep": {}}]},
            "finer-than-minimum",
        ),
        (
            ("datasets", 2),
            {"id": "conversions", "periods": ["2024"], "variables": []},
            "unknown-dataset",
        ),
    ],
    ids=lambda item: str(item)[:40],
)
def test_a_request_that_asks_too_much_or_says_too_little_stays_a_draft(
    delivered: House, path: tuple[Any, ...], value: Any, kind: str
) -> None:
    """S01, S02, S05, S07, S09–S11: refused at submission, with what to do about it."""
    client = delivered["researcher-1"]
    document = _asking(delivered.application("asking-too-much"), path, value)
    identifier = _drafted(client, document)
    refusal = refusal_of(lambda: client.post(f"/applications/{identifier}/submit"))
    assert refusal.type == kind
    assert refusal.problem["next_step"]
    assert client.get(f"/applications/{identifier}")["state"] == "draft"


def test_a_draft_can_be_mended_and_handed_in(delivered: House) -> None:
    """A draft is the applicant's to change; what is handed in isn't."""
    client = delivered["researcher-1"]
    good = delivered.application("mended")
    identifier = _drafted(client, {**good, "purpose": "marketing"})
    client.call("PUT", f"/applications/{identifier}", good)
    assert client.post(f"/applications/{identifier}/submit")["state"] == "submitted"
    later = refusal_of(lambda: client.call("PUT", f"/applications/{identifier}", good))
    assert later.type == "wrong-state"


def test_a_draft_stays_in_its_project(delivered: House) -> None:
    """Edited into somebody else's project, it would have been built in theirs."""
    client = delivered["researcher-2"]
    identifier = _drafted(client, delivered.application("my-own", "researcher-2"))
    other = delivered.application("neet", "researcher-2")
    refusal = refusal_of(lambda: client.call("PUT", f"/applications/{identifier}", other))
    assert refusal.type == "incomplete"
    assert client.get(f"/applications/{identifier}")["document"]["project"] == "my-own"


@pytest.mark.parametrize("name", ["", "A project", "../x", "a" * 100, 7])
def test_a_project_has_a_name_that_can_stand_anywhere(delivered: House, name: Any) -> None:
    """It goes into ids and the ledger: small letters, digits and hyphens."""
    document = {**delivered.application("x"), "project": name}
    refusal = refusal_of(lambda: delivered["researcher-1"].post("/applications", document))
    assert refusal.type == "incomplete"


def test_why_something_was_stopped_is_kept_and_only_promised_in_the_ledger(
    delivered: House,
) -> None:
    """The text can be erased; the ledger holds a salted commitment, so that it can't be guessed."""
    permit = delivered.granted("stopped")
    delivered["dpo-1"].post(f"/permits/{permit}/suspend", {"reason": "a breach is looked into"})
    shown = delivered["director-1"].get(f"/permits/{permit}")
    assert [reason["text"] for reason in shown["reasons"]] == ["a breach is looked into"]
    entries = delivered["auditor-1"].get("/ledger?most=10000")["entries"]
    assert "breach" not in json.dumps(entries)
    assert "reason.given" in delivered.ledger_kinds()


def test_a_permit_suspended_between_clearing_and_sealing_is_sealed_when_resumed(
    delivered: House,
) -> None:
    """Cleared and never sealed would be cleared for ever and received by nobody."""
    permit = delivered.granted("interrupted")
    built = delivered.built(permit)
    delivered.working = False
    signed = delivered.sign(
        "statistician-2", "clearance", release=built["id"], manifest_sha256=built["manifest_sha256"]
    )
    delivered["statistician-2"].post(f"/releases/{built['id']}/clearance", signed)
    delivered["dpo-1"].post(f"/permits/{permit}/suspend", {"reason": "wait"})
    delivered.working = True
    stuck = delivered["statistician-2"].wait_release(built["id"])
    assert stuck["refusal"]["type"].endswith("permit-not-in-force")
    delivered["director-1"].post(f"/permits/{permit}/resume")
    delivered["statistician-2"].wait_release(built["id"])
    assert delivered.package(built["id"]).pseudonyms()


def test_choosing_units_by_a_key_gives_no_withheld_value_back(delivered: House) -> None:
    """Whoever's area was withheld isn't found by asking area by area."""
    document = delivered.story.application(delivered, "area-by-area", "researcher-1")
    document["thresholds"] = {"k": 5, "suppression": 0.5}
    permit = delivered.story.granted(delivered, "researcher-1", document)
    first = delivered.cleared(permit)
    shown = delivered.package(first["id"]).table("units").to_pandas()
    hidden = set(shown.loc[shown["arrondissement"] == "_suppressed", "unit"])
    assert hidden
    for area in shown["arrondissement"].value_counts().index[:4]:
        if area.startswith("_"):
            continue
        built = delivered.built(permit, only={"arrondissement": [area]})
        if built["state"] == "built":
            delivered.story.clear(delivered, built)
            again = delivered.package(built["id"]).table("units").to_pandas()
            assert not hidden & set(again["unit"])
            assert not again["arrondissement"].str.startswith("_").any()


def test_members_see_figures_of_what_was_cleared_only(delivered: House, permit: str) -> None:
    """Before a second person has looked, figures are the office's."""
    built = delivered.built(permit)
    seen = delivered["researcher-1"].get(f"/releases/{built['id']}")
    assert (seen["summary"], seen["report"]) == (None, {})
    assert delivered["statistician-2"].get(f"/releases/{built['id']}")["summary"]["k"] == 5


def test_a_job_tells_no_cells(delivered: House) -> None:
    """Jobs are read by more people than releases are."""
    document = delivered.story.application(delivered, "told-by-jobs", "researcher-1")
    document["thresholds"] = {"k": 5, "suppression": 0.0}
    permit = delivered.story.granted(delivered, "researcher-1", document)
    refused = delivered.built(permit)
    smallest = refused["refusal"]["assessment"]["alone"]["examples"][0]["labels"]
    jobs = [job for job in delivered["admin-1"].get("/jobs") if job["problem"]]
    assert jobs
    assert smallest["arrondissement"] not in json.dumps(jobs)


def test_a_project_is_its_applicants(delivered: House, permit: str) -> None:
    """Nobody else asks for more in a project's name."""
    document = delivered.application("neet", "researcher-2")
    refusal = refusal_of(lambda: delivered["researcher-2"].post("/applications", document))
    assert refusal.type == "already-there"


def test_a_changed_advice_carries_no_approval(delivered: House) -> None:
    """S26: the director signs the very advice; another text is another document."""
    client, story = delivered["director-1"], delivered.story
    row = story.advise(
        delivered,
        story.apply(delivered, "researcher-1", delivered.application("advice-changed")),
    )
    other = {**row["advice"]["document"], "text": "something else"}
    signed = delivered.sign(
        "director-1",
        "approval",
        application=row["id"],
        advice_sha256=permits.sha256(other),
        decision="approved",
        reason="x",
    )
    refusal = refusal_of(lambda: client.post(f"/applications/{row['id']}/decision", signed))
    assert refusal.type == "decision-on-another-advice"


def test_advice_and_approval_are_two_peoples(delivered: House) -> None:
    """Somebody who holds both roles still can't do both."""
    story = delivered.story
    row = story.apply(delivered, "researcher-1", delivered.application("one-person"))
    advised = story.advise(delivered, row, "both-1")
    refusal = refusal_of(lambda: story.approve(delivered, advised, "both-1"))
    assert (refusal.status, refusal.type) == (403, "same-person")
    assert story.approve(delivered, advised, "director-1")["state"] == "approved"


def test_a_refusal_needs_its_reason(delivered: House) -> None:
    """S33: refused is a state of its own, with a reason."""
    story = delivered.story
    row = story.advise(
        delivered, story.apply(delivered, "researcher-1", delivered.application("declined"))
    )

    def decide(reason: str) -> Any:
        signed = delivered.sign(
            "director-1",
            "approval",
            application=row["id"],
            advice_sha256=permits.sha256(row["advice"]["document"]),
            decision="refused",
            reason=reason,
        )
        return delivered["director-1"].post(f"/applications/{row['id']}/decision", signed)

    assert refusal_of(lambda: decide("")).type == "decision-incomplete"
    decided = decide("Public tables answer this question.")
    assert (decided["state"], decided["permit"]) == ("refused", None)


def test_an_applicant_sees_own_requests_only(delivered: House, permit: str) -> None:
    """Members of a project hear about it; others hear that there is nothing."""
    mine = delivered["researcher-1"].get("/applications")
    theirs = delivered["researcher-2"].get("/applications")
    assert mine
    assert not {row["id"] for row in mine} & {row["id"] for row in theirs}
    refusal = refusal_of(lambda: delivered["researcher-2"].get(f"/applications/{mine[0]['id']}"))
    assert refusal.status == 404


def test_a_permit_is_readable_by_its_project_and_says_what_was_asked(
    delivered: House, permit: str
) -> None:
    """P05: what was asked, what was signed and what is checked are one document."""
    shown = delivered["researcher-1"].get(f"/permits/{permit}")
    assert shown["state"] == "in_force"
    granted = permits.Permit.from_document(shown["permit"])
    asked = permits.Application.from_document(
        delivered["researcher-1"].get(f"/applications/{granted.application}")["document"]
    )
    assert granted.model_dump(include=set(permits.Terms.model_fields)) == asked.model_dump(
        include=set(permits.Terms.model_fields)
    )
    assert refusal_of(lambda: delivered["researcher-2"].get(f"/permits/{permit}")).status == 404


def test_the_service_refuses_with_problem_details(delivered: House) -> None:
    """RFC 9457: type, title, status, detail, and what to do next."""
    problem = refusal_of(lambda: delivered["researcher-1"].post("/vault/root")).problem
    assert set(problem) >= {"type", "title", "status", "detail", "next_step"}
    assert problem["type"].startswith("urn:schakel:problem:")


# -- rules that look at a population ---------------------------------------------------------------


@pytest.mark.parametrize("over", ["universe", "delivery"])
def test_wages_in_deciles(delivered: House, over: str) -> None:
    """S11: computed on the declared population; k units in each group; named in every format."""
    document = _wage_in_deciles(delivered, f"deciles-{over}", over)
    permit = delivered.story.granted(delivered, "researcher-1", document)
    package = delivered.package(delivered.cleared(permit)["id"])
    work = package.table("social-security").to_pandas()
    groups = work[work["wage"] != NOT_IN_SOURCE].groupby("wage")
    assert len(groups) > 1
    assert groups["unit"].nunique().min() >= 5
    if over == "universe":
        assert groups.size().max() <= 2 * len(work) / 10  # even, but for ties and joined groups
    described = json.loads(package.files["dictionary.json"])["tables"]
    columns = next(table for table in described if table["name"] == "social-security")["variables"]
    wage = next(column for column in columns if column["name"] == "wage")
    assert set(groups.groups) <= set(wage["codes"]) == set(wage["numbers"])
    numbered = pandas.read_stata(
        io.BytesIO(package.files["data/social-security.dta"]), convert_categoricals=False
    )
    back = {number: code for code, number in wage["numbers"].items()}
    assert numbered["wage"].map(back).fillna(NOT_IN_SOURCE).tolist() == work["wage"].tolist()


def test_a_key_is_no_percentile_of_the_units_it_chooses(delivered: House) -> None:
    """S11: the population has to be known before the keys are."""
    document = _wage_in_deciles(delivered, "circular", "universe")
    document["join"]["keys"].append("wage")
    document["universe"]["datasets"].append("social-security")
    document["scenario"]["known"].append("wage")
    document["scenario"]["sensitive"].remove("wage")
    refusal = refusal_of(lambda: delivered.story.granted(delivered, "researcher-1", document))
    assert refusal.type == "incomplete"
    assert "percentile" in refusal.problem["detail"]


def test_a_key_of_percentiles_comes_from_one_dataset(delivered: House) -> None:
    """S11: the tenth decile of one file isn't that of another, and one label can't say both."""
    document = _wage_in_deciles(delivered, "two-deciles", "delivery")
    document["join"]["keys"].append("wage")
    document["scenario"]["known"].append("wage")
    document["scenario"]["sensitive"].remove("wage")
    document["universe"]["datasets"] = [entry["id"] for entry in document["datasets"]]
    rule = [{"percentile": {"groups": 10, "over": "delivery"}}]
    benefit = next(entry for entry in document["datasets"] if entry["id"] == "child-benefit")
    benefit["variables"].append({"name": "bedrag", "as": "wage", "rule": rule})
    refusal = refusal_of(lambda: delivered.story.granted(delivered, "researcher-1", document))
    assert refusal.type == "incomplete"
    assert "one label" in refusal.problem["detail"]


def _wage_in_deciles(house: House, project: str, over: str) -> dict[str, Any]:
    document = house.application(project)
    for dataset in document["datasets"]:
        for variable in dataset["variables"]:
            if variable["as"] == "wage":
                variable["rule"] = [{"percentile": {"groups": 10, "over": over}}]
    return document


def test_a_release_is_written_in_the_formats_asked_for(delivered: House, permit: str) -> None:
    """Stata and SPSS files beside Parquet and CSV, unless fewer are asked for."""
    files = delivered.package(delivered.cleared(permit, formats=["csv", "sav"])["id"]).files
    data = {path.rpartition(".")[2] for path in files if path.startswith("data/")}
    assert data == {"csv", "sav"}
    assert packages.faults(files) == []
