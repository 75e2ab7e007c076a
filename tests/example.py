"""Plays the session and draws the picture of "Linking two files" in linkage/README.md, on the files
of examples/linkage; `python -m tests.example` renews both."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from api.commands.explaining import Case
from linkage.charts import case

ROOT = Path(__file__).parents[1]
FILES = ROOT / "examples" / "linkage"
GUIDE = ROOT / "linkage" / "README.md"
PICTURE = ROOT / "linkage" / "waterfall.svg"
SESSION = re.compile(r"(?<=<!-- example -->\n```console\n).*?(?=```\n<!-- /example -->)", re.DOTALL)
EXPLAIN = re.compile(r"^\$ schakel explain links.parquet (\S+) (\S+)$", re.MULTILINE)
CHANGING = re.compile(r"^(took +).*$", re.MULTILINE)


def played(session: str, folder: Path) -> str:
    """The session's commands run in a copy of the files, each with what it prints."""
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    told = []
    for command in re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)$", session, re.MULTILINE):
        words = command.replace("\\\n", " ").split()
        program = Path(sys.executable).parent / words[0]
        done = subprocess.run(
            [program, *words[1:]], cwd=folder, capture_output=True, text=True, check=True
        )
        told += [f"$ {command}\n", CHANGING.sub(r"\1…", done.stdout)]
    return "".join(told)


def picture(session: str, folder: Path) -> str:
    """The waterfall of the pair that the session explains, as it lies in the folder of links."""
    left, right = EXPLAIN.findall(session)[0]
    return case_of(folder / "links.parquet", left, right)


def case_of(links: Path, left: str, right: str) -> str:
    """The drawing of one pair, a file of its own."""
    return case(*Case.of(links, left, right, [None, None]).drawn()).drawing.svg(alone=True) + "\n"


def made(folder: Path) -> tuple[str, str]:
    """The guide with its session played anew, and the picture."""
    text = GUIDE.read_text(encoding="utf-8")
    session = SESSION.findall(text)[0]
    fresh = played(session, folder)
    return SESSION.sub(lambda _: fresh, text), picture(session, folder)


def main() -> None:
    """Renew both."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text, drawn = made(Path(folder))
    GUIDE.write_text(text, encoding="utf-8")
    PICTURE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
