"""A service whose root key people hold: founded, sealed, opened, one process per role."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

MAIN = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "SCHAKEL_PROFILES": str(tmp_path / "profiles"), "HOME": str(tmp_path)}


def ended(
    environment: dict[str, str], *arguments: str, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """One command, with what is said at its standard input."""
    return subprocess.run(
        [*MAIN, *arguments],
        text=True,
        input=said,
        capture_output=True,
        env=environment,
        check=False,
    )


def found_with_shares(environment: dict[str, str], data: Path) -> list[str]:
    """Two of three: each share is read from the screen, and said again by its custodian."""
    command = [*MAIN, "init", "--custody", "shares", "--shares", "2 of 3", "--data", str(data)]
    command += ["--administrator", "admin-1=One", "--administrator", "admin-2=Two"]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        shares = [process.stdout.readline().strip() for _ in range(3)]
        process.stdin.write("".join(f"{share}\n" for share in shares))
        process.stdin.close()
        told = process.stdout.read()
        assert process.wait(timeout=60) == 0
    assert "locked" in told
    return shares


@contextmanager
def serving(environment: dict[str, str], data: Path) -> Iterator[tuple[str, Any]]:
    """Vault, API and a worker; the API's address, and the lines they say."""
    command = [*MAIN, "serve", "--roles", "vault,api,intake", "--data", str(data), "--port", "0"]
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("Schakel listens on "):
                    yield line.rpartition(" ")[2].strip(), process.stdout
                    break
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_two_of_three_custodians_open_a_sealed_service(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """S14: sealed after every start; it says so, and no share is written anywhere."""
    data = tmp_path / "service"
    shares = found_with_shares(environment, data)
    assert not any(
        share.encode() in path.read_bytes()
        for share in shares
        for path in tmp_path.rglob("*")
        if path.is_file()
    )
    refused = ended(environment, "serve", "--data", str(data), "--port", "0")
    assert refused.returncode == 1
    assert "--roles" in refused.stderr
    with serving(environment, data) as (address, lines):
        sealed = httpx.get(f"{address}/keys")
        assert sealed.status_code == 503
        assert sealed.json()["type"].endswith("vault-sealed")
        assert "custody open" in sealed.json()["detail"]
        state = json.loads(
            ended(environment, "--json", "custody", "show", "--data", str(data)).stdout
        )
        assert state == {"sealed": True, "custody": "shares", "held": 0, "needed": 2}
        opening = ("custody", "open", "--data", str(data))
        wrong = shares[0].rsplit(" ", 1)[0] + " academic"
        told = ended(environment, *opening, said=wrong + "\n")
        assert told.returncode == 1
        assert "no share" in told.stderr
        assert not any(word in told.stderr.split() for word in wrong.split()[4:])
        assert ended(environment, *opening).returncode == 1, "nobody said anything"
        assert "1 more" in ended(environment, *opening, said=shares[2] + "\n").stdout
        assert "is open" in ended(environment, *opening, said=shares[0] + "\n").stdout
        assert httpx.get(f"{address}/keys").status_code == 200
        said = next(line for line in lines if line.startswith("Schakel's intake"))
        assert said == "Schakel's intake works\n"
        verify = ended(environment, "ledger", "verify", "--data", str(data))
        assert verify.returncode == 0, verify.stderr
