"""The folder listing is the architecture: data flows one way between the four packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("linkage", "policies", "keyvault", "api")
MAY = {
    "linkage": {"linkage"},
    "policies": {"policies"},
    "keyvault": {"keyvault", "policies"},
    "api": set(PACKAGES),
}
OF_POLICIES = ("policies", "policies.permits")
"""What keyvault may use of policies: permits, and the error they share."""


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Every module that a source imports, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
                continue
            module = node.module or ""
            yield node.lineno, module
            for alias in node.names:
                if (ROOT / module.replace(".", "/") / f"{alias.name}.py").exists():
                    yield node.lineno, f"{module}.{alias.name}"


def violations(package: str, source: str) -> list[str]:
    """Sentences that say what is wrong and what to do."""
    found = []
    for line, module in imports(source):
        top = module.split(".")[0]
        if module.startswith("."):
            found.append(f"line {line}: write {package}.… in full instead of a relative import")
        elif top in PACKAGES and top not in MAY[package]:
            found.append(
                f"line {line}: {package} must not import {module}; pass what is needed as an "
                f"argument, or move this code to api"
            )
        elif package == "keyvault" and top == "policies" and module not in OF_POLICIES:
            found.append(
                f"line {line}: keyvault knows of policies only permits, not {module}; decide it in "
                "api and hand the outcome over"
            )
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    """api → keyvault → policies.permits; api → linkage, policies; nothing imports api."""
    wrong = [
        f"{path.relative_to(ROOT)}, {sentence}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for sentence in violations(package, path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("linkage", "import keyvault"),
        ("linkage", "def f():\n    from policies import access"),
        ("policies", "from linkage.engine import link"),
        ("policies", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import api.store"),
        ("keyvault", "from policies.coarsening import parse_rule"),
        ("keyvault", "from policies import access"),
        ("keyvault", "from api import store"),
        ("api", "from . import store"),
    ],
)
def test_a_planted_violation_is_found(package: str, source: str) -> None:
    """So that the test above is known to bite."""
    assert violations(package, source)


def test_nothing_happens_at_import_time() -> None:
    """No engine, no settings, no clock at a module's top level: they are passed in."""
    forbidden = {"create_engine", "connect", "Settings", "now", "FileCustody"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name in ("migrations", "versions"):
                continue  # alembic runs env.py as a script
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                calls = [
                    getattr(call.func, "attr", getattr(call.func, "id", ""))
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call)
                    and not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
                ]
                assert not forbidden & set(calls), f"{path.relative_to(ROOT)}:{node.lineno}"


def test_migrations_do_not_know_the_rest_of_the_program() -> None:
    """A migration outlives the classes of today."""
    for path in (ROOT / "api" / "migrations" / "versions").glob("*.py"):
        tops = {module.split(".")[0] for _, module in imports(path.read_text(encoding="utf-8"))}
        assert tops <= {"sqlalchemy", "alembic"}
