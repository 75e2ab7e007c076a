"""The mutation run itself: it makes the mutants it should, and its explanations aren't stale."""

from tests.mutation.__main__ import TESTS, explanations, file_of
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


def test_what_only_a_type_checker_reads_is_left_alone() -> None:
    """And what a model checks is not, whether it stands in the class or has a name of its own."""
    source = """
Relation = Literal["own", "any"]
Kind = Literal["person", "house"]
class Rule:
    relation: Relation
    about: dict[str, int]
class Document(BaseModel):
    kind: Kind
    size: Annotated[int, Field(ge=1)] = 1
    unit: Literal["euro", "cent"] = "euro"
def f(rule: Literal["own"]) -> None:
    found: dict[str, Literal["own"]] = g(next_step="Ask the office.", visible=True)
    raise ValueError("k is too small")
"""
    assert {mutant.line for mutant in mutants(source)} == {3, 9, 10, 12, 13}
    made = {(mutant.line, mutant.change) for mutant in mutants(source)}
    assert {change for line, change in made if line == 12} == {
        "without visible=",
        "True → False",
    }
    assert {change for line, change in made if line == 13} == {"without raise"}


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
    assert not explanations().keys() - made
    assert all(explanations().values())
