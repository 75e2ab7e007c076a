"""`make mutation`: does some test notice when permits, access or pseudonyms are wrong?

Each mutant runs its module's tests in a forked child that has the libraries loaded already, two at
a time. Survivors are held against `explained.yaml`; one that nobody explained ends with an error.
"""

import argparse
import ast
import gc
import importlib.abc
import importlib.util
import math
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

import pytest
import yaml
from hypothesis import Phase, settings
from rich.console import Console
from rich.progress import track

from tests import conftest  # noqa: F401 - sets how examples are made
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "policies.permits": ["tests/policies/test_permits.py"],
    "policies.access": ["tests/policies/test_access.py"],
    "keyvault.pseudonyms": ["tests/keyvault/test_pseudonyms.py"],
}
"""Each module with the tests that are meant to pin it down by themselves."""
EXPLAINED = Path(__file__).with_name("explained.yaml")
PATIENCE = 5
"""How many times the processor's seconds of the tests a mutant may take; then it counts as one that
never ends. Seconds on the wall would depend on what else the machine does."""
MEMORY = 6 << 30


def main() -> int:
    """Run all mutants, or those of one module; the exit code says whether all is explained."""
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("--module", choices=TESTS, action="append")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.chdir(ROOT)
    _load_libraries()
    gc.freeze()  # children needn't look through all of it
    console = Console(highlight=False)
    explained = explanations()
    unexplained = 0
    for module in given.module or TESTS:
        begun = time.monotonic()
        made = list(mutants(file_of(module).read_text()))
        _, status, used = os.wait4(_start(module, None), 0)
        if status:
            console.print(f"{module}: its tests fail as it is; mend that first.")
            return 1
        limit = math.ceil(PATIENCE * (used.ru_utime + used.ru_stime)) + 1
        fates = _run(module, made, given.workers, limit, console)
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
            soft_wrap=True,
        )
        for mutant in open_ones:
            told = f"  {mutant.line}: {mutant.text}   [{mutant.change}]"
            console.print(told, markup=False, soft_wrap=True)
    return 1 if unexplained else 0


def explanations() -> dict[tuple[str, str, str], str]:
    """Survivors that harm nobody: (module, line, change) → why."""
    return {
        (entry["module"], entry["line"], change): entry["why"]
        for entry in yaml.safe_load(EXPLAINED.read_text())
        for change in entry["changes"]
    }


def file_of(module: str) -> Path:
    """Where a module's source lies."""
    return ROOT / (module.replace(".", "/") + ".py")


def _load_libraries() -> None:
    """What children would otherwise import each for itself; nothing of the project's own."""
    for name in ("cryptography.hazmat.primitives.ciphers", "cryptography.hazmat.primitives.cmac",
                 "numpy", "pyarrow.compute", "pydantic", "rfc8785"):  # fmt: skip
        importlib.import_module(name)


def _run(
    module: str, made: Sequence[Mutant], workers: int, limit: int, console: Console
) -> list[str]:
    """The fate of each mutant: noticed, survived or endless (`limit`: seconds of processor)."""
    fates = [""] * len(made)
    running: dict[int, int] = {}

    def collect() -> None:
        child, status = os.wait()
        signalled = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
        fate = "endless" if signalled else "noticed" if status else "survived"
        fates[running.pop(child)] = fate

    for place in track(range(len(made)), description=module, console=console, transient=True):
        if len(running) == workers:
            collect()
        running[_start(module, made[place], limit)] = place
    while running:
        collect()
    return fates


def _start(module: str, mutant: Mutant | None, limit: int = resource.RLIM_INFINITY) -> int:
    """A child in which the module is the mutant; it exits with pytest's code.

    Examples that fail aren't made smaller: that they fail is all that is asked."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if mutant is not None:
            sys.meta_path.insert(0, _Instead(module, mutant.tree()))
        flags = ["-x", "-q", "--assert=plain", "--tb=no", "--noconftest", "-p", "no:cacheprovider"]
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
