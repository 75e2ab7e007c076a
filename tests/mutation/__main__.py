"""`make mutation`: does some test notice when permits, access or pseudonyms are wrong?

Each mutant runs its module's tests in a forked child that has the libraries loaded already, two at
a time. Survivors are held against `explained.yaml`; one that nobody explained ends with an error.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import yaml
from rich.console import Console
from rich.progress import track

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "policies.permits": ["tests/policies/test_permits.py"],
    "policies.access": ["tests/policies/test_access.py"],
    "keyvault.pseudonyms": ["tests/keyvault/test_pseudonyms.py", "tests/keyvault/test_vectors.py"],
}
"""Each module with the tests that are meant to pin it down by themselves."""
EXPLAINED = Path(__file__).with_name("explained.yaml")
PATIENCE = 60.0
"""Seconds until a mutant that doesn't end counts as noticed."""
MEMORY = 6 << 30


def main() -> int:
    """Run all mutants, or those of one module; the exit code says whether all is explained."""
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("--module", choices=TESTS, action="append")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.chdir(ROOT)
    _load_libraries()
    console = Console(highlight=False)
    explained = {key(entry) for entry in explanations()}
    unexplained = 0
    for module in given.module or TESTS:
        begun = time.monotonic()
        made = list(mutants(file_of(module).read_text()))
        if not _survives(module, None):
            console.print(f"{module}: its tests fail as it is; mend that first.")
            return 1
        fates = _run(module, made, given.workers, console)
        alive = [mutant for mutant, fate in zip(made, fates, strict=True) if fate == "survived"]
        counts = Counter(fates)
        open_ones = [
            mutant for mutant in alive if (module, mutant.text, mutant.change) not in explained
        ]
        open_ones.sort(key=lambda mutant: mutant.line)
        unexplained += len(open_ones)
        console.print(
            f"{module}: {len(made)} mutants, {counts['noticed']} noticed, "
            f"{counts['endless']} never ended, {len(alive)} survived, {len(open_ones)} of them "
            f"unexplained; {time.monotonic() - begun:.0f} s",
            markup=False,
        )
        for mutant in open_ones:
            told = f"  {mutant.line}: {mutant.text}   [{mutant.change}]"
            console.print(told, markup=False, soft_wrap=True)
    return 1 if unexplained else 0


def explanations() -> list[dict[str, str]]:
    """Survivors that harm nobody: module, line, change, and why."""
    return yaml.safe_load(EXPLAINED.read_text()) or []


def key(entry: dict[str, str]) -> tuple[str, str, str]:
    """What an explanation is about."""
    return entry["module"], entry["line"], entry["change"]


def file_of(module: str) -> Path:
    """Where a module's source lies."""
    return ROOT / (module.replace(".", "/") + ".py")


def _load_libraries() -> None:
    """What children would otherwise import each for itself; nothing of the project's own."""
    for name in ("cryptography.x509", "hypothesis", "numpy", "pyarrow.compute", "pydantic",
                 "pytest", "sqlalchemy.orm", "xdist", "rfc8785", "pyrage"):  # fmt: skip
        importlib.import_module(name)


def _run(module: str, made: Sequence[Mutant], workers: int, console: Console) -> list[str]:
    """The fate of each mutant: noticed, survived or endless."""
    fates = [""] * len(made)
    running: dict[int, tuple[int, float]] = {}
    for place in track(range(len(made)), description=module, console=console, transient=True):
        while len(running) >= workers:
            _collect(running, fates)
        running[_start(module, made[place].tree)] = (place, time.monotonic())
    while running:
        _collect(running, fates)
    return fates


def _collect(running: dict[int, tuple[int, float]], fates: list[str]) -> None:
    """Note what became of children that ended, or for too long didn't."""
    for child, (place, begun) in list(running.items()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            fates[place] = "survived" if status == 0 else "noticed"
            del running[child]
        elif time.monotonic() - begun > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            fates[place] = "endless"
            del running[child]
    time.sleep(0.01)


def _survives(module: str, tree: ast.Module | None) -> bool:
    return os.waitpid(_start(module, tree), 0)[1] == 0


def _start(module: str, tree: ast.Module | None) -> int:
    """A child in which the module is the mutant; it exits with pytest's code."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if tree is not None:
            sys.meta_path.insert(0, _Instead(module, tree))
        import pytest

        flags = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
        code = int(pytest.main([*flags, *TESTS[module]]))
    finally:
        os._exit(code)


@dataclass
class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a syntax tree in the place of a module."""

    module: str
    tree: ast.Module

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(file_of(name)))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(file_of(self.module))
        exec(compile(self.tree, module.__file__, "exec"), module.__dict__)  # noqa: S102


if __name__ == "__main__":
    sys.exit(main())
