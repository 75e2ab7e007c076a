"""Generated documents can't drift: each is made again and compared with what is in the tree.

`python -m tests.documents` renews them.
"""

import pytest

from policies.coarsening import STEPS
from tests import documents


@pytest.mark.parametrize("name", sorted(documents.GENERATED))
def test_the_document_is_what_the_program_says(name: str) -> None:
    """State diagram, role table, rules, error table, command line help."""
    path, parts = documents.GENERATED[name]
    text = path.read_text(encoding="utf-8")
    assert documents.filled(text, parts) == text, "run `python -m tests.documents`"


def test_an_outdated_document_is_noticed() -> None:
    """So that the test above is known to bite."""
    outdated = "<!-- a -->\nold\n<!-- /a -->"
    renewed = documents.filled(outdated, {"a": lambda: "new\n"})
    assert renewed == "<!-- a -->\nnew\n<!-- /a -->"


def test_every_step_of_a_rule_has_its_example() -> None:
    """A step that isn't in the table is a step that nobody finds."""
    assert [line.split(":")[0] for line in documents.RULES.strip().splitlines()] == sorted(
        STEPS, key=lambda name: documents.RULES.find(f"\n{name}:")
    )
    assert all(f"\n{name}:" in documents.RULES for name in STEPS)
