"""Faults in a service's processes, on a test's command; Python runs this first of all.

`SCHAKEL_TEST_FAULTS` names a folder. A file in it, named after one of `SITES`, arms that place: the
next time that it is passed there, the file is taken away and what its first line names is raised,
with the rest of the file in the exception's text and in local variables. `wait` holds the process
there for as long as the folder has a file `held`.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

FAULTS = Path(os.environ["SCHAKEL_TEST_FAULTS"])


class Panic(BaseException):
    """What an extension written in Rust raises: no `except Exception` stops it."""


def passed(site):
    armed = FAULTS / site
    try:
        kind, _, data = armed.read_text(encoding="utf-8").partition("\n")
        armed.unlink()
    except OSError:
        return
    rows = [data.splitlines(), {"data": data}]
    if kind == "wait":
        (FAULTS / "held").write_text(str(os.getpid()))
        while (FAULTS / "held").exists():
            time.sleep(0.05)
        return
    raise {"Panic": Panic, "KeyError": KeyError, "ValueError": ValueError}[kind](data, rows)


def before(module, name, site_of):
    """Pass a site each time that a function or method is about to run."""
    *owners, last = name.split(".")
    owner = module
    for each in owners:
        owner = getattr(owner, each)
    static = isinstance(vars(owner)[last], staticmethod)
    real = getattr(owner, last)

    def wrapped(*arguments, **named):
        passed(site_of(*arguments, **named))
        return real(*arguments, **named)

    setattr(owner, last, staticmethod(wrapped) if static else wrapped)


SITES = {
    "api.objects": ("Objects.new_name", lambda reader: f"object-for-{reader}"),
    "linkage.engine": ("link", lambda *_a, **_k: "link"),
    "api.app": ("_note_refusal", lambda *_a, **_k: "answer"),
}


class Patching(importlib.abc.MetaPathFinder):
    """Patches a module when it has been loaded, whoever imports it and however early."""

    def find_spec(self, name, *_path_and_target):
        if name not in SITES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            before(module, *SITES[name])

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Patching())
