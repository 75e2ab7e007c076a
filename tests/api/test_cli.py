"""The command line: what it says, what it answers to programs, and how it ends."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api import founding, profiles
from api.cli import run
from api.client import Client
from api.demo import examples
from api.demo.extracts import declarations, extracts
from api.demo.population import population
from api.settings import Settings
from keyvault.checkpoints import Checkpoint, write_checkpoint
from policies import permits
from tests.api.house import House
from tests.api.test_modes import Sender, declaration, people, rows
from tests.keyvault.conftest import ledger_key

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """Run a command as somebody of the house; exit code, output and errors come back."""
    monkeypatch.setenv("SCHAKEL_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.chdir(tmp_path)
    for person in house.profiles:
        profiles.save(person, house[person].profile)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def _json(answer: tuple[int, str, str]) -> Any:
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


def test_a_whole_day_at_the_terminal(house: House, cli: Cli, tmp_path: Path) -> None:
    """Declare, check, deliver, apply, decide, build, clear, download: every role's command."""
    recipient = house.recipient("researcher-1")
    identity = tmp_path / "identity.txt"
    identity.write_text(f"{house.identities['researcher-1']}\n")
    assert cli("example", "files", "--recipient", recipient, "--persons", "1500")[0] == 0
    dataset = "files/employment-service.yaml"
    extract = "files/employment-service-2024.csv"
    assert cli("--profile", "holder-vdab", "dataset", "add", dataset)[0] == 0
    code, out, _ = cli("check", extract, "--dataset", dataset, "--period", "2024")
    assert code == 0
    assert "accepted" in out
    delivery = _json(
        cli("upload", extract, "--dataset", "employment-service", "--period", "2024",
            "--profile", "holder-vdab", "--json")
    )  # fmt: skip
    assert delivery["state"] == "accepted"
    receipt = json.loads(Path(extract + ".employment-service.2024.receipt.json").read_text())
    assert receipt == delivery["receipt"]
    assert profiles.load("holder-vdab").checkpoint == receipt["checkpoint"]
    asked = _json(cli("--json", "--profile", "researcher-1", "apply", "files/application.yaml"))
    application = asked["id"]
    assert (
        cli("--profile", "dpo-1", "sign", "advice", application, "--text", "Fine.", "--yes")[0] == 0
    )
    decided = _json(
        cli(
            "--json",
            "--profile",
            "director-1",
            "sign",
            "approval",
            application,
            "--reason",
            "Yes.",
            "--yes",
        )
    )
    permit = decided["permit"]
    shown = _json(cli("--json", "--profile", "researcher-1", "permit", "show", permit))
    assert shown["state"] == "in_force"
    built = _json(
        cli("--json", "--profile", "statistician-1", "release", "build", permit, "--period", "2024")
    )
    release = built["id"]
    code, _, err = cli("--profile", "statistician-1", "release", "clear", release, "--yes")
    assert code == 1
    assert "second statistician" in err
    assert cli("--profile", "statistician-2", "release", "clear", release, "--yes")[0] == 0
    code, out, _ = cli(
        "--profile",
        "researcher-1",
        "download",
        release,
        "--identity",
        str(identity),
        "--out",
        "got",
    )
    assert code == 0
    assert (tmp_path / "got" / "data" / "units.csv").exists()
    assert "units.parquet" in out
    for listing in (
        ("delivery", "list", "--profile", "holder-vdab"),
        ("dataset", "list", "--profile", "researcher-1"),
        ("dataset", "show", "employment-service", "--profile", "researcher-1"),
        ("application", "list", "--profile", "researcher-1"),
        ("application", "show", application, "--profile", "dpo-1"),
        ("release", "list", "--profile", "researcher-1"),
        ("release", "show", release, "--profile", "researcher-1"),
        ("job", "list", "--profile", "statistician-1"),
        ("keys", "list", "--profile", "admin-1"),
        ("person", "list", "--profile", "auditor-1"),
        ("organisation", "list", "--profile", "auditor-1"),
        ("ledger", "list", "--profile", "auditor-1"),
        ("profile", "list"),
    ):
        code, out, err = cli(*listing)
        assert code == 0, (listing, err)
        assert out.strip()
        assert json.loads(cli("--json", *listing)[1])
    assert cli("--profile", "dpo-1", "permit", "suspend", permit, "--reason", "breach")[0] == 0
    assert cli("--profile", "director-1", "permit", "resume", permit)[0] == 0
    assert cli("--profile", "dpo-1", "release", "withdraw", release, "--reason", "error")[0] == 0


def test_an_auditor_verifies_over_http_and_takes_a_pack_along(
    house: House, cli: Cli, tmp_path: Path
) -> None:
    """P07: what was verified can be kept, and verified again where nobody asks the service."""
    code, out, _ = cli("--profile", "auditor-1", "ledger", "verify")
    assert code == 0
    assert "nothing edited" in out
    written = _json(cli("--json", "--profile", "auditor-1", "ledger", "pack", "--out", "pack"))
    [verifier] = house["auditor-1"].public()["ledger"]
    whole = ("ledger", "verify", "--pack", "pack")
    told = _json(cli("--json", *whole, "--verifier", verifier))
    assert told["entries"] == written["entries"] > 10
    kept = tmp_path / "kept"
    kept.write_text((tmp_path / "pack" / "checkpoint").read_text())
    code, _, err = cli(*whole, "--checkpoint", "kept")
    assert (code, "own word" in err) == (0, True)
    entries = next((tmp_path / "pack" / "tile" / "entries").rglob("*.p/*"))
    entries.write_bytes(entries.read_bytes().replace(b"admin-1", b"admin-2"))
    code, out, _ = cli(*whole, "--checkpoint", "kept")
    assert (code, "rewritten" in out) == (1, True)
    assert cli("--profile", "auditor-1", "ledger", "pack", "--out", "pack")[0] == 2
    assert cli("--profile", "holder-vdab", "ledger", "pack", "--out", "other")[0] == 1


def test_who_and_what(house: House, cli: Cli) -> None:
    """P04: who touched the variables of a dataset, under which permit; what a person touched."""
    house.delivered("employment-service", "child-benefit", "social-security", period="2025")
    permit = house.granted("who-and-what")
    release = house.cleared(permit, "2025")["id"]
    house.package(release)
    asked = ("ledger", "who", "employment-service")
    rows = _json(cli("--json", "--profile", "auditor-1", *asked))
    [download] = [row for row in rows if row["about"].get("release") == release
                  and row["kind"] == "release.downloaded"]  # fmt: skip
    assert (download["actor"], download["permit"]) == ("researcher-1", permit)
    assert download["project"] == "who-and-what"
    variable = download["variables"][0]
    fewer = _json(cli("--json", "--profile", "holder-vdab", *asked, "--variable", variable))
    assert download in fewer
    assert len(_json(cli("--json", "--profile", "holder-vdab", *asked))) == len(rows)
    code, _, err = cli("--profile", "holder-rsz", *asked)
    assert (code, "nothing here" in err) == (1, True), "another holder's dataset isn't theirs"
    assert cli("--profile", "researcher-1", *asked)[0] == 1
    done = _json(cli("--json", "--profile", "auditor-1", "ledger", "what", "researcher-1"))
    assert {row["dataset"] for row in done if row["kind"] == "release.downloaded"} >= {
        "employment-service", "child-benefit",
    }  # fmt: skip
    assert cli("--profile", "holder-vdab", "ledger", "what", "researcher-1")[0] == 1
    code, out, _ = cli("--profile", "dpo-1", "ledger", "what", "researcher-1")
    assert (code, out.startswith("at ")) == (0, True)


def test_an_entry_is_proven_to_be_there(house: House, cli: Cli, tmp_path: Path) -> None:
    """P07: a holder has its own delivery's entry proven, and reads it; of others' only the hash."""
    house.delivered("social-security")
    receipt = house["holder-rsz"].get("/deliveries")[-1]["receipt"]
    position = str(receipt["ledger_position"])
    told = _json(cli("--json", "--profile", "holder-rsz", "ledger", "prove", position))
    assert json.loads(told["leaf"])["facts"]["sha256"] == receipt["sha256"]
    code, out, _ = cli("--profile", "holder-vdab", "ledger", "prove", position)
    assert (code, "for those who read the ledger" in out) == (0, True)
    assert cli("--profile", "auditor-1", "ledger", "prove", position)[0] == 0
    code, _, err = cli("--profile", "holder-rsz", "ledger", "prove", "100000")
    assert (code, "entries" in err) == (1, True)


@pytest.mark.parametrize("purpose", ["root", "role", "token", "intake-identity"])
def test_keys_are_rotated_while_the_service_runs(house: House, cli: Cli, purpose: str) -> None:
    """Proposed by one administrator, signed by another; everything opens afterwards."""
    before = house["holder-vdab"].get("/deliveries")
    owner = ("--owner", "intake") if purpose == "role" else ()
    propose = ("keys", "propose", "rotate", purpose, *owner, "--reason", "Due.", "--out", "c.json")
    assert cli("--profile", "admin-1", *propose)[0] == 0
    rotate = ("--profile", "admin-1", "keys", "rotate", purpose, "c.json")
    code, _, err = cli(*rotate)
    assert (code, "two different administrators" in err) == (1, True)
    assert cli("--profile", "admin-2", "sign", "ceremony", "c.json", "--yes")[0] == 0
    code, out, err = cli(*rotate)
    assert code == 0, err
    assert "version 2" in out
    code, _, err = cli(*rotate)
    assert (code, "doesn't stand any more" in err) == (1, True), "a ceremony is good once"
    assert house["holder-vdab"].get("/deliveries") == before
    rows = _json(cli("--json", "--profile", "admin-1", "keys", "list"))
    states = {(row["version"], row["state"]) for row in rows if row["purpose"] == purpose
              and (not owner or row["owner"] == "intake")}  # fmt: skip
    assert (2, "active") in states
    assert all(row["age"] == "0 d" for row in rows if row["state"] == "active")
    assert all(row["due"] for row in rows if row["purpose"] == purpose and row["state"] == "active")


def test_a_key_is_destroyed_when_nothing_needs_it(house: House, cli: Cli) -> None:
    """V24: refused with the name of what needs it; afterwards nobody reads what it sealed."""
    house.delivered("education", period="2025")
    holder = house[f"holder-{declarations()['education'].holder}"]
    delivery = next(row["id"] for row in holder.get("/deliveries") if row["dataset"] == "education")
    rows = _json(cli("--json", "--profile", "admin-1", "keys", "list"))
    owner = next(row["owner"] for row in rows if row["purpose"] == "payload"
                 and row["owner"].startswith(delivery))  # fmt: skip
    propose = ("keys", "propose", "destroy", "payload", "--owner", owner, "--reason", "Over.")
    assert cli("--profile", "admin-1", *propose, "--out", "c.json")[0] == 0
    _, out, _ = cli("--profile", "admin-2", "sign", "ceremony", "c.json", "--yes")
    assert "keys destroy c.json" in out
    destroy = ("--profile", "admin-1", "keys", "destroy", "c.json")
    code, _, err = cli(*destroy)
    assert (code, f"needed by delivery {delivery}" in err) == (1, True)
    code, _, err = cli("--profile", "statistician-1", "keys", "destroy", "c.json")
    assert (code, "role of administrator" in err) == (1, True)
    holder.post(f"/deliveries/{delivery}/withdraw", {"reason": "wrong file"})
    code, out, err = cli(*destroy)
    assert code == 0, err
    assert "is destroyed" in out
    assert cli(*destroy)[0] == 1
    assert "key.destroyed" in house.ledger_kinds()


def test_a_person_is_enrolled_by_passing_a_file_round(house: House, cli: Cli) -> None:
    """Request, first signature, second signature, sent in."""
    server = house["admin-1"].profile.server
    assert cli("profile", "new", "auditor-9", "--name", "New", "--request", "r.json",
               "--server", server)[0] == 0  # fmt: skip
    enrol = ("person", "enrol", "r.json", "--organisation", "office", "--role", "auditor",
             "--out", "e.json")  # fmt: skip
    assert cli("--profile", "admin-1", *enrol)[0] == 0
    code, _, err = cli("--profile", "admin-1", "person", "add", "e.json")
    assert code == 1
    assert "two" in err
    assert cli("--profile", "admin-2", "sign", "enrolment", "e.json")[0] == 0
    assert cli("--profile", "admin-1", "person", "add", "e.json")[0] == 0
    assert cli("--profile", "auditor-9", "ledger", "list")[0] == 0


def test_a_refused_application_is_kept_and_says_where(house: House, cli: Cli) -> None:
    """Nothing that somebody wrote is lost, and nothing lies about unnoticed."""
    document = house.application("kept-as-draft")
    document["recipients"][0]["person"] = "nobody-9"
    Path("a.yaml").write_text(yaml.safe_dump(document))
    code, _, err = cli("--profile", "researcher-1", "apply", "a.yaml")
    assert code == 1
    assert "no enrolled researcher" in err
    draft = re.search(r"kept as draft (application-\w+)", err)
    assert draft is not None
    drafts = _json(cli("--json", "--profile", "researcher-1", "application", "list"))
    assert drafts[-1]["id"] == draft[1]


def test_a_token_for_programs_by_others(house: House, cli: Cli) -> None:
    """Printed, and good for what its owner may do."""
    _, out, _ = cli("--profile", "auditor-1", "token")
    server = house["auditor-1"].profile.server
    answer = httpx.get(f"{server}/people/me", headers={"Authorization": f"Bearer {out.strip()}"})
    assert answer.json() == _json(cli("--json", "--profile", "auditor-1", "whoami"))


def test_a_place_that_is_nowhere_is_found_before_anything_is_sent(cli: Cli) -> None:
    """No release could coarsen it, and by then the delivery would stand."""
    file = extracts(population(300, 1), "2024")["employment-service"]
    Path("d.yaml").write_text(yaml.safe_dump(file.dataset.to_mapping()))
    lines = file.content.decode().splitlines()
    column = next(i for i, name in enumerate(lines[0].split(",")) if "gemeente" in name)
    cells = lines[3].split(",")
    cells[column] = cells[column].replace(cells[column].strip('"'), "99999")
    lines[3] = ",".join(cells)
    Path("x.csv").write_text("\n".join(lines) + "\n")
    answer = json.loads(cli("--json", "check", "x.csv", "--dataset", "d.yaml")[1])
    (fault,) = [fault for fault in answer["report"]["faults"] if fault["severity"] == "error"]
    assert (fault["reason"], fault["variable"], fault["rows"]) == ("unknown_place", "gemeente", [3])


def test_nobody_signs_what_cannot_be_taken(house: House, cli: Cli) -> None:
    """Said before anything is shown to be signed."""
    document = house.application("not-yet")
    row = house["researcher-1"].post("/applications", document)
    for words in (("advice", row["id"], "--text", "x"), ("approval", row["id"], "--reason", "x")):
        code, _, err = cli("--profile", "both-1", "sign", *words, "--yes")
        assert code == 2
        assert "is draft" in err


def test_what_is_encrypted_already_is_not_encrypted_again(cli: Cli, tmp_path: Path) -> None:
    """It would arrive as no table at all."""
    (tmp_path / "x.age").write_bytes(b"age-encryption.org/v1\n-> X25519 x\n")
    code, _, err = cli("upload", "x.age", "--dataset", "d", "--period", "2024",
                       "--profile", "holder-vdab")  # fmt: skip
    assert code == 2
    assert "encrypted already" in err


def test_a_faulty_extract_is_shown_by_row_variable_and_reason(cli: Cli, tmp_path: Path) -> None:
    """Exit code 1, and never a value."""
    declared = declarations()["employment-service"].to_mapping()
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(declared))
    names = [variable["name"] for variable in declared["variables"]]
    secret = "93051822361"
    row = [secret, *["?"] * (len(names) - 1)]
    (tmp_path / "x.csv").write_text(",".join(names) + "\n" + ",".join(row) + "\n")
    code, out, _ = cli("check", "x.csv", "--dataset", "d.yaml")
    assert code == 1
    assert "not accepted" in out
    assert "postcode" in out
    assert secret not in out
    answer = json.loads(cli("--json", "check", "x.csv", "--dataset", "d.yaml")[1])
    assert answer["accepted"] is False
    assert secret not in json.dumps(answer)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("check", "nowhere.csv", "--dataset", "nowhere.yaml"), 2, "There is no file"),
        (("check", "bad.yaml", "--dataset", "bad.yaml"), 2, "not YAML"),
        (("apply", "list.yaml"), 2, "one object"),
        (("apply", "empty.yaml"), 2, "application"),
        (("dataset", "add", "empty.yaml"), 2, ""),
        (("--profile", "nobody", "person", "list"), 2, "no profile"),
        (("--profile", "../x", "person", "list"), 2, "one word"),
        (("frobnicate",), 2, "frobnicate"),
        (("upload", "nowhere.csv"), 2, "--dataset"),
        (("--profile", "far-away", "person", "list"), 1, "No service answers"),
        (("--profile", "researcher-1", "keys", "list"), 1, "role"),
        (("sign", "enrolment", "empty.yaml", "--profile", "admin-1"), 2, "no enrolment"),
        (
            ("release", "build", "p", "--period", "2024", "--only", "x", "--profile", "admin-1"),
            2,
            "KEY=VALUE",
        ),
        (("init", "--administrator", "one=One", "--data", "d"), 1, "two"),
        (("serve", "--data", "empty-folder"), 1, "schakel init"),
        (("serve", "--roles", "courier"), 2, "no process role courier"),
        (("roles", "prepare", "--users", "courier=1", "--group", "1"), 2, "ROLE=USER"),
        (("identity", "bad.yaml"), 2, "never overwritten"),
        (("profile", "new", "admin-1", "--name", "x", "--request", "r"), 2, "already"),
        (("check", ".", "--dataset", "good.yaml"), 2, "is a folder"),
        (("apply", "."), 2, "is a folder"),
        (("identity", "no/such/file"), 2, "no/such/file: No such file"),
        (("profile", "new", "late", "--name", "x", "--request", "no/r"), 2, "no/r: No such file"),
        (("sign", "enrolment", "unsigned.yaml", "--profile", "admin-1"), 2, "whose it is"),
        (("--profile", "broken", "person", "list"), 2, "broken can't be read"),
        (("ledger", "verify", "--checkpoint", "bad.json"), 2, "no JSON"),
        (("ledger", "verify", "--checkpoint", "binary"), 2, "no checkpoint"),
        (("ledger", "verify", "--checkpoint", "."), 2, "is a folder"),
        (("ledger", "verify", "--data", "nosuch"), 2, "no folder nosuch"),
        (("ledger", "verify", "--data", "."), 1, "no service"),
        (("ledger", "verify", "--profile", "holder-rsz"), 2, "nothing to compare"),
        (
            ("download", "r", "--identity", "bad.yaml", "--out", "o", "--profile", "researcher-1"),
            2,
            "no age identity",
        ),
        (("release", "show", "a\x01b", "--profile", "researcher-1"), 2, "address"),
    ],
    ids=lambda item: " ".join(item)[:40] if isinstance(item, tuple) else None,
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """2 is bad input, 1 is refused or failed; programs get the same as JSON."""
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "empty.yaml").write_text("{}\n")
    (tmp_path / "good.yaml").write_text(
        yaml.safe_dump(declarations()["child-benefit"].to_mapping())
    )
    (tmp_path / "unsigned.yaml").write_text("{document: {}, signatures: [{}]}\n")
    (tmp_path / "bad.json").write_text("{a")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    profiles.path("broken").write_text('{"person": "x"')
    profiles.save("far-away", profiles.Profile.new("x", "x", "http://127.0.0.1:9"))
    ended, _, err = cli(*arguments)
    assert ended == code
    assert words in err
    assert "Traceback" not in err
    ended, _, err = cli("--json", *arguments)
    assert ended == code
    assert json.loads(err)["detail"]


def test_a_profile_that_is_broken_hides_no_other(cli: Cli) -> None:
    """It is listed as what it is, and nothing is left behind by one that couldn't be made."""
    for content in ("{", "{}", "[]", json.dumps({"person": "x", "name": "x", "server": "x",
                    "signing_key": "x", "authentication_key": 3})):  # fmt: skip
        profiles.path("broken").write_text(content)
        code, out, err = cli("profile", "list")
        assert code == 0
        assert "admin-1" in out
        assert "broken can't be read" in " ".join(err.split())
    listed = _json(cli("--json", "profile", "list"))
    assert [row["profile"] for row in listed if "fault" in row] == ["broken"]
    assert cli("profile", "new", "late", "--name", "x", "--request", "no/r")[0] == 2
    assert "late" not in profiles.names()


def test_what_others_wrote_is_shown_and_never_obeyed(house: House, cli: Cli) -> None:
    """Markup and control characters in a name are text like any other."""
    name = "[/x] [red]Rose[/red] :smile: \x1b[2J\u202e"
    house["admin-1"].post("/organisations", {"id": "odd", "name": name})
    code, out, err = cli("--profile", "auditor-1", "organisation", "list")
    assert code == 0, err
    assert "[/x] [red]Rose[/red] :smile: \ufffd[2J\ufffd" in out
    assert _json(cli("--json", "--profile", "auditor-1", "organisation", "list"))


def _applied(house: House, project: str) -> dict[str, Any]:
    """A request that was handed in, with the datasets that it asks for declared."""
    document = house.application(project)
    known = {row["id"] for row in house["auditor-1"].get("/datasets")}
    for dataset in {one["id"] for one in document["datasets"]} - known:
        declared = declarations()[dataset]
        house[f"holder-{declared.holder}"].post("/datasets", declared.to_mapping())
    return house.story.apply(house, "researcher-1", document)


class _Terminal(io.StringIO):
    """Somebody at a terminal who types this."""

    def isatty(self) -> bool:
        return True


def test_nobody_signs_unseen(house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """S06: title, figures and hash are shown, and without a yes nothing is signed."""
    row = _applied(house, "unseen")
    advise = ("--profile", "dpo-1", "sign", "advice", row["id"], "--text", "Fine.")

    def state() -> str:
        return str(house["dpo-1"].get(f"/applications/{row['id']}")["state"])

    code, out, err = cli(*advise)
    assert code == 2
    assert "--yes" in err
    assert out == ""
    for part in (row["document"]["title"], "unseen", "child-benefit 2024", "researcher-1",
                 permits.sha256(row["document"])):  # fmt: skip
        assert part in err
    code, _, err = cli("--json", *advise)
    assert code == 2
    monkeypatch.setattr("sys.stdin", _Terminal("n\n"))
    code, _, err = cli(*advise)
    assert code == 1
    assert "Sign this?" in err
    assert state() == "submitted"
    monkeypatch.setattr("sys.stdin", _Terminal("y\n"))
    assert cli(*advise)[0] == 0
    advised = house["dpo-1"].get(f"/applications/{row['id']}")
    assert advised["state"] == "advised"
    approve = ("--profile", "director-1", "sign", "approval", row["id"], "--reason", "Yes.")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = cli(*approve)
    assert code == 2
    for part in (row["document"]["title"], "favourable, by dpo-1: Fine.",
                 permits.sha256(advised["advice"]["document"])):  # fmt: skip
        assert part in err
    assert state() == "advised"
    code, _, err = cli("--json", *approve, "--yes")
    assert code == 0
    assert err == ""


def test_an_approval_is_of_advice_on_the_text_that_was_shown(
    house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that shows one application and has another one's advice signed gets nothing."""
    row = _applied(house, "swapped")
    house.story.advise(house, row)
    true_get = Client.get

    def other_text(client: Client, path: str) -> Any:
        answer = true_get(client, path)
        if path.startswith("/applications/"):
            answer["document"]["title"] = "Something harmless"
        return answer

    monkeypatch.setattr(Client, "get", other_text)
    approve = ("sign", "approval", row["id"], "--reason", "Yes.", "--yes")
    code, _, err = cli("--profile", "director-1", *approve)
    assert code == 1
    assert "another text" in err
    monkeypatch.undo()
    assert house["dpo-1"].get(f"/applications/{row['id']}")["state"] == "advised"


def test_a_clearance_shows_figures_and_hash_first(
    house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a yes the release stays where it is."""
    manifest = "ab" * 32
    row = {
        "id": "release-1", "project": "p", "permit": "permit-1", "period": "2024",
        "builder": "statistician-1", "manifest_sha256": manifest,
        "summary": {"units": 123456, "smallest_cell": 7},
    }  # fmt: skip
    posted: list[str] = []
    monkeypatch.setattr(Client, "get", lambda _client, _path: row)
    monkeypatch.setattr(Client, "post", lambda _client, path, _body=None: posted.append(path))
    code, _, err = cli("--profile", "statistician-2", "release", "clear", "release-1")
    assert code == 2
    for part in ("release-1", "statistician-1", "123456", "smallest cell", manifest):
        assert part in err
    assert posted == []


def test_a_profile_keeps_the_keys_of_its_service(house: House, cli: Cli) -> None:
    """Learned at first use; others are refused until somebody says that they are meant."""
    fresh = replace(house["holder-rsz"].profile, service=None, checkpoint=None)
    profiles.save("fresh", fresh)
    listing = ("--profile", "fresh", "delivery", "list")
    assert cli(*listing)[0] == 0
    known = profiles.load("fresh")
    assert known.service is not None
    other = {**known.service, "receipt": ["another"]}
    profiles.save("fresh", replace(known, service=other, checkpoint="kept"))
    code, _, err = cli(*listing)
    assert code == 1
    assert "schakel profile trust" in err
    trust = ("--profile", "fresh", "profile", "trust")
    code, _, err = cli(*trust)
    assert code == 2
    assert "another" in err
    assert profiles.load("fresh").service == other
    assert cli(*trust, "--yes")[0] == 0
    assert profiles.load("fresh") == replace(known, checkpoint="kept")
    assert cli(*listing)[0] == 0
    ledger = {**known.service, "ledger": ["another"]}
    profiles.save("fresh", replace(known, service=ledger, checkpoint="of the former"))
    code, out, _ = cli(*trust, "--yes")
    assert code == 0
    assert "of the former" in out  # of no use to this profile any more, and perhaps evidence
    assert profiles.load("fresh").checkpoint is None


def test_a_holder_verifies_the_ledger_without_reading_it(
    house: House, cli: Cli, tmp_path: Path
) -> None:
    """P07: the profile's checkpoint and the service's proof that it only grew since."""
    old = house["auditor-1"].get("/ledger")["checkpoint"]
    profiles.save("holder-rsz", replace(house["holder-rsz"].profile, checkpoint=old))
    house["admin-1"].post("/organisations", {"id": "later", "name": "Later"})
    verify = ("--profile", "holder-rsz", "ledger", "verify")
    code, out, err = cli(*verify)
    assert code == 0, err
    assert "proved" in out
    newer = profiles.load("holder-rsz").checkpoint
    assert newer is not None
    assert int(newer.split("\n")[1]) > int(old.split("\n")[1])
    (tmp_path / "old.txt").write_text(old)
    assert _json(cli("--json", *verify, "--checkpoint", "old.txt"))["checkpoints"] == 2
    origin, size = newer.split("\n")[:2]
    with house.service.engine.begin() as connection:
        private = ledger_key(house.service.vault, connection)
    rewritten = write_checkpoint(Checkpoint(origin, int(size), bytes(32)), private)
    profiles.save("holder-rsz", replace(house["holder-rsz"].profile, checkpoint=rewritten))
    code, _, err = cli(*verify)
    assert code == 1
    assert "show them and this to an auditor" in err
    assert profiles.load("holder-rsz").checkpoint == rewritten


def test_a_folder_that_others_could_look_into_is_closed(tmp_path: Path) -> None:
    """The service's folder may be there before the service is."""
    settings = Settings(data=tmp_path / "data")
    settings.root_key.parent.mkdir(parents=True)
    settings.data.chmod(0o755)
    requests = [profiles.Profile.new(name, name, "").request() for name in ("a-1", "b-1")]
    founding.found(settings, requests, datetime.now(UTC))
    assert settings.data.stat().st_mode & 0o777 == 0o700
    assert settings.root_key.parent.stat().st_mode & 0o777 == 0o700


def test_keys_of_a_profile_are_nobody_elses_to_read(cli: Cli, tmp_path: Path) -> None:
    """0600, and never in a repr."""
    stored = profiles.path("admin-1")
    assert stored.stat().st_mode & 0o077 == 0
    profile = profiles.load("admin-1")
    assert profile.signing_key not in repr(profile)
    assert profile.authentication_key not in repr(profile)


def test_the_example_application_is_a_good_one(tmp_path: Path) -> None:
    """What newcomers start from passes the checks that it will meet."""
    from datetime import date

    from policies import permits

    written = examples.write(tmp_path, 200, "researcher-1", "age1" + "q" * 58, date(2026, 1, 1))
    application = yaml.safe_load(written[2].read_text())
    assert permits.Application.from_document(application).project == "first-project"


def test_a_dummy_can_be_had_at_the_terminal(house: House, cli: Cli, tmp_path: Path) -> None:
    """As soon as a request is handed in; it is said to be one."""
    recipient = house.recipient("researcher-1")
    assert cli("example", "more", "--recipient", recipient, "--persons", "50")[0] == 0
    known = {row["id"] for row in house["auditor-1"].get("/datasets")}
    if "employment-service" not in known:
        declared = "more/employment-service.yaml"
        assert cli("--profile", "holder-vdab", "dataset", "add", declared)[0] == 0
    asked = _json(cli("--json", "--profile", "researcher-1", "apply", "more/application.yaml"))
    code, out, err = cli(
        "--profile", "researcher-1", "dummy", asked["id"], "--out", "dummy", "--units", "30"
    )
    assert code == 0
    assert "data/units.csv" in out
    assert "about nobody" in err
    assert "DUMMY" in (tmp_path / "dummy" / "README.md").read_text()
    code, _, err = cli(
        "--profile", "researcher-2", "dummy", asked["id"], "--out", "elsewhere", "--units", "30"
    )
    assert code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_holder_corrects_withdraws_and_consents_at_the_terminal(
    house: House, cli: Cli, tmp_path: Path
) -> None:
    """S05, V10: each mode, each receipt kept; terms are read before they are signed."""
    name, who = "at-the-terminal", ("--profile", "holder-vdab")
    conditions = {"consent": True, "text": {"en": "For science alone."}}
    house["holder-vdab"].post("/datasets", {**declaration(name), "conditions": conditions})
    extract = tmp_path / "extract.csv"
    to = ("--dataset", name, "--period", "2024")
    for mode in ("new", "append", "correct", "replace"):
        extract.write_bytes(rows(people(1, 12)))
        assert cli(*who, "upload", str(extract), *to, "--mode", mode)[0] == 0
    assert len(list(tmp_path.glob("extract.csv.*.receipt.json"))) == 4
    code, _, err = cli(*who, "upload", str(extract), *to)
    assert code == 1
    assert "replace" in err
    listed = [
        row for row in _json(cli("--json", *who, "delivery", "list")) if row["dataset"] == name
    ]
    assert [row["state"] for row in listed] == ["superseded"] * 3 + ["accepted"]
    document = Sender(house, tmp_path, name).asking(house.application("told-at-the-terminal"))
    (tmp_path / "application.json").write_text(json.dumps(document))
    applied = _json(cli("--json", "--profile", "researcher-1", "apply", "application.json"))
    decide = (applied["id"], "--dataset", name)
    assert "missing" in cli(*who, "consent", "list")[1]
    cases = _json(cli("--json", *who, "consent", "list"))
    assert applied["id"] in [case["application"] for case in cases]
    assert "round" in cli(*who, "consent", "show", *decide)[1]
    code, _, err = cli(*who, "consent", "give", *decide)
    assert code == 2, "without a terminal nobody signs unasked"
    code, out, err = cli(*who, "consent", "give", *decide, "--yes")
    assert code == 0, err
    assert "is given" in out
    for told in ("university-a", "variable amount", "For science alone.", "consent is given"):
        assert told in err
    code, _, err = cli(
        "--profile", "dpo-1", "sign", "advice", applied["id"], "--text", "Fine.", "--yes"
    )
    assert f"{name} (vdab): given" in err
    code, out, _ = cli(*who, "consent", "withhold", *decide, "--reason", "No more.", "--yes")
    assert "is withheld" in out
    code, out, _ = cli(*who, "delivery", "withdraw", listed[-1]["id"], "--reason", "A mistake.")
    assert "is withdrawn" in out
    assert cli("--profile", "holder-rsz", "consent", "show", *decide)[0] == 1
