"""Runs the README's session and writes down what it prints; `python -m tests.readme` renews it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)

CHANGING = [
    (re.compile(r"\b(application|permit|delivery|release|job)-[0-9a-hjkmnp-tv-z]{16}\b"), r"\1-…"),
    (re.compile(r"\bage1[02-9ac-hj-np-z]{58}\b"), "age1…"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "…"),
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "…"),
    (re.compile(r"\b[PHE]1[0-9A-HJKMNP-TV-Z]{27}\b"), "P1…"),
    (re.compile(r'^"P1….*$', re.MULTILINE), '"P1…,…'),
    (re.compile(r"\b\d+ bytes\b"), "… bytes"),
    (re.compile(r"^(package/\S+) +\d+ *$", re.MULTILINE), r"\1 …"),
    (re.compile(r"^(suppressed \w+ +)\S+$", re.MULTILINE), r"\1…"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
]
"""What differs from run to run: ids, keys, hashes, sizes, dates; and which of several units a value
is withheld from, which follows from their ids."""


def commands(block: str) -> list[str]:
    """The commands of a block, continued lines joined."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> "):
            found[-1] += "\n" + line[2:]
    return found


def normal(text: str) -> str:
    """The text without what changes from run to run."""
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text


def play(blocks: list[str], folder: Path) -> list[str]:
    """Run all blocks in one shell in a folder with the examples; each with what it printed."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    script = ["set +m"]
    for block in blocks:
        script.append("echo '@@block'")
        for command in commands(block):
            script.append(f"echo '@@command'; {{ {command}\n}} 2>&1")
    script += ["kill $(jobs -p)", "wait"]
    with socket.socket() as free:  # somebody may be running a service of their own
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "SCHAKEL_PORT": str(port),
        "SCHAKEL_SERVER": f"http://127.0.0.1:{port}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SCHAKEL_PROFILES": str(folder / "profiles"),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = shell.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        raise
    return [
        _told(block, output)
        for block, output in zip(blocks, printed.split("@@block\n")[1:], strict=True)
    ]


def _told(block: str, printed: str) -> str:
    """Commands with their output under them, as the README shows them."""
    outputs = printed.split("@@command\n")[1:]
    lines = []
    for command, output in zip(commands(block), outputs, strict=True):
        first, *more = command.split("\n")
        lines.append(f"$ {first}\n" + "".join(f"> {line}\n" for line in more) + output)
    return "".join(lines)


def main() -> None:
    """Renew the session in README.md."""
    import tempfile

    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        blocks = BLOCK.findall(text)
        fresh = iter(play(blocks, Path(folder)))
    README.write_text(
        BLOCK.sub(lambda _match: f"```console\n{next(fresh)}```", text), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
