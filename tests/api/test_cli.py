"""The command line: what it says, what it answers to programs, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from api import profiles
from api.cli import run
from api.demo import examples
from api.demo.extracts import declarations
from tests.api.house import House

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
    receipt = json.loads(Path(extract + ".receipt.json").read_text())
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


def test_an_auditor_verifies_over_http_and_exports(house: House, cli: Cli, tmp_path: Path) -> None:
    """P07: what was verified can be kept and read by anybody's program."""
    code, out, _ = cli("--profile", "auditor-1", "ledger", "verify", "--export", "pack.json")
    assert code == 0
    assert "nothing edited" in out
    pack = json.loads((tmp_path / "pack.json").read_text())
    assert {"entries", "checkpoint", "ledger", "size"} <= set(pack)


def test_the_root_is_rotated_while_the_service_runs(house: House, cli: Cli) -> None:
    """Everything opens afterwards, and the list of keys says so."""
    before = house["holder-vdab"].get("/deliveries")
    code, out, _ = cli("--profile", "admin-1", "keys", "rotate", "root")
    assert code == 0
    assert "version" in out
    assert house["holder-vdab"].get("/deliveries") == before
    assert "root.dropped" in house.ledger_kinds()


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
        (("identity", "bad.yaml"), 2, "never overwritten"),
        (("profile", "new", "admin-1", "--name", "x", "--request", "r"), 2, "already"),
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
    profiles.save("far-away", profiles.Profile.new("x", "x", "http://127.0.0.1:9"))
    ended, _, err = cli(*arguments)
    assert ended == code
    assert words in err
    assert "Traceback" not in err
    ended, _, err = cli("--json", *arguments)
    assert ended == code
    assert json.loads(err)["detail"]


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
