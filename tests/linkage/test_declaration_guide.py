"""The guide to declarations in linkage/README.md says what the program takes."""

import re
from pathlib import Path

import yaml

from linkage.datasets import ROLES, TYPES, Dataset

GUIDE = (Path(__file__).parents[2] / "linkage" / "README.md").read_text(encoding="utf-8")


def test_the_declaration_in_the_guide_is_one() -> None:
    """It is read as it stands, and comes back equal."""
    section = GUIDE.partition("## Declaring")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    declared = Dataset.from_mapping(yaml.safe_load(example))
    assert Dataset.from_mapping(declared.to_mapping()) == declared


def test_the_guide_names_every_type_and_role() -> None:
    """No more and no fewer than the program knows."""
    lines = GUIDE.partition("| type | values |")[2].partition("\n\n")[0].splitlines()[2:]
    named = [name for line in lines for name in line.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(TYPES)
    assert all(f"`{role}`" in GUIDE for role in ROLES)


def test_the_guide_names_every_module() -> None:
    """And no module that isn't there."""
    table = GUIDE.partition("## Declaring")[0]
    here = {path.name for path in (Path(__file__).parents[2] / "linkage").glob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", table)) == here - {"__init__.py"}
