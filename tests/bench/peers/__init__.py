"""Engines to compare with, each in an environment of its own that is made when first needed."""

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = Path("var/peers")


def python(name: str) -> Path:
    """The interpreter of the environment that has what `<name>.txt` lists."""
    wanted = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    folder = ENVIRONMENTS / name
    made = folder / "requirements.txt"  # written when all is installed
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        quiet = ["--disable-pip-version-check", "-r", str(HERE / f"{name}.txt")]
        subprocess.run([*pip, *quiet], check=True)
        made.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"
