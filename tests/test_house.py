"""The house: what is installed, what is shipped, and what must not stand in any file."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.roles import ROLES, read_users

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    return re.split(r"[<>=\[; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-spark.lock"])
def test_every_dependency_is_locked_with_hashes_and_no_index(
    project: dict[str, Any], name: str
) -> None:
    """A newcomer gets the bytes that were tested, from whatever index is theirs."""
    lock = (ROOT / name).read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    wanted = {
        "requirements.lock": [
            *project["project"]["dependencies"], *project["dependency-groups"]["dev"],
        ],
        "requirements-spark.lock": project["project"]["optional-dependencies"]["spark"],
    }  # fmt: skip
    assert {_name(item) for item in wanted[name]} <= set(locked)
    entries = re.split(r"\n(?=[a-z])", lock)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry.split("\n")[0])
    assert "://" not in lock
    assert "index" not in lock.lower()
    groups = project["dependency-groups"]
    assert groups["spark"] == project["project"]["optional-dependencies"]["spark"]


def test_each_dependency_says_what_it_is_there_for(project: dict[str, Any]) -> None:
    """Beside it in pyproject.toml; and nothing is there that nobody imports."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.split("dependencies = [")[1].split("]")[0]
    assert all("#" in line for line in listed.strip().splitlines())
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("api", "keyvault", "linkage", "policies")
        for path in (ROOT / package).rglob("*.py")
    )
    modules = {
        "argon2-cffi": "argon2",
        "pyyaml": "yaml",
        "pyjwt": "jwt",
        "pydantic-settings": "pydantic_settings",
    }
    for item in project["project"]["dependencies"]:
        module = modules.get(_name(item), _name(item))
        assert re.search(rf"^\s*(import|from) {module}\b", sources, re.MULTILINE), item


def test_the_licence_is_named(project: dict[str, Any]) -> None:
    """EUPL-1.2, in SPDX form and in a notice."""
    assert project["project"]["license"] == "EUPL-1.2"
    assert "SPDX-License-Identifier: EUPL-1.2" in (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert project["project"]["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_container_copies_what_is_there_and_starts_what_exists() -> None:
    """No container engine runs the tests, so the file is followed line by line."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    command = re.search(r'^CMD \["schakel", "serve", (.+)\]', text, re.MULTILINE)
    assert command is not None
    told = subprocess.run(
        [Path(sys.executable).parent / "schakel", "serve", "--help"], capture_output=True, text=True
    ).stdout
    for option in re.findall(r'"(--[a-z-]+)"', command[1]):
        assert option in told
    assert "USER schakel" in text


def test_the_container_for_spark_has_what_its_tests_have() -> None:
    """The same Java, the same locked PySpark, the folder of settings that the page names."""
    text = (ROOT / "docker" / "Dockerfile.spark").read_text(encoding="utf-8")
    outside = (ROOT / "tests" / "outside.sh").read_text(encoding="utf-8")
    assert re.findall(r"openjdk-\S+", text)[0] in outside
    for source in re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert "--require-hashes --no-build-isolation -r /tmp/requirements-spark.lock" in text
    (folder,) = re.findall(r"SPARK_CONF_DIR=(\S+)", text)
    assert f"/spark:{folder}:ro" in (ROOT / "docker" / "README.md").read_text(encoding="utf-8")


def test_each_role_is_a_container_under_its_own_user() -> None:
    """The compose file says for each role what `schakel serve` and the vault are told."""
    held = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    services = held["services"]
    setup = services.pop("setup")
    assert set(services) == set(ROLES)
    users = read_users(services["vault"]["environment"]["SCHAKEL_ROLE_USERS"])
    for role, service in services.items():
        assert service["user"] == f"{users[role].uid}:{users[role].gid}"
        assert service["command"][:4] == ["schakel", "serve", "--roles", role]
        assert (service["network_mode"] == "none") == (role != "api")
        assert service["group_add"] == ["61000"]
    assert len({user.uid for user in users.values()}) == len(ROLES)
    assert "--group 61000" in setup["command"][-1]
    told = subprocess.run(
        [Path(sys.executable).parent / "schakel", "roles", "prepare", "--help"],
        capture_output=True,
        text=True,
    ).stdout
    assert "--users" in told
    assert "--group" in told


def test_ci_runs_what_a_newcomer_runs() -> None:
    """The README's test command, last, so that pytest has the last word."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()
    assert lines[-1] == "make test"


def test_packages_hold_their_data_files() -> None:
    """What the program reads at run time is inside the packages that get installed."""
    for path in (
        "policies/minimum_coarsening.yaml",
        "policies/classifications/municipalities.csv",
        "policies/classifications/activities.csv",
        "linkage/parameters.yaml",
        "linkage/nicknames.csv",
        "api/migrations/script.py.mako",
        "api/demo/datasets/child-benefit.yaml",
    ):
        assert (ROOT / path).is_file()
