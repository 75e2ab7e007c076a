"""The mutation run itself: it makes the mutants it should, and its explanations aren't stale."""

from tests.mutation.__main__ import TESTS, explanations, file_of, key
from tests.mutation.mutants import mutants

TOY = '''
"""A docstring."""
LIMITS = {"person": 5, "enterprise": 3}


def allowed(kind: str, count: int) -> bool:
    """Another."""
    if not kind:
        raise ValueError("Name a kind.")
    return kind in LIMITS and count >= LIMITS[kind]
'''


def test_every_kind_of_mutant_is_made() -> None:
    made = {(mutant.line, mutant.change) for mutant in mutants(TOY)}
    assert {
        (3, "'person' → other text"), (3, "5 → 6"), (3, "5 → 4"), (3, "without entry 0"),
        (8, "condition → True"), (8, "condition → False"), (8, "not dropped"),
        (9, "without raise"), (10, "returns None"), (10, "And → Or"), (10, "In → NotIn"),
        (10, "GtE → Lt"), (10, "GtE → Gt"),
    } <= made  # fmt: skip
    assert not [line for line, _ in made if line in (2, 7)], "docstrings are left alone"
    assert not [change for _, change in made if "Name a kind" in change], "wording is left alone"


def test_each_mutant_is_a_module_that_differs_in_one_place() -> None:
    results = set()
    for mutant in mutants(TOY):
        names: dict[str, object] = {}
        exec(compile(mutant.tree(), "toy", "exec"), names)  # noqa: S102
        results.add(mutant.change)
        assert callable(names["allowed"])
    assert len(results) >= 10


def test_explanations_are_about_mutants_that_are_still_made() -> None:
    made = {
        (module, mutant.text, mutant.change)
        for module in TESTS
        for mutant in mutants(file_of(module).read_text())
    }
    stale = [entry for entry in explanations() if key(entry) not in made]
    assert not stale
    assert all(entry["why"] for entry in explanations())
