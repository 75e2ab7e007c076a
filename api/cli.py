"""`schakel`: every job from a terminal, for every role.

Each command reads what it is given, asks the service (or, for `check`, works on this machine alone)
and shows the answer: a table for people, `--json` for programs. Exit codes: 0 done, 1 refused or
failed, 2 bad input.
"""

import sys

import typer
from typer.exceptions import TyperException

from api.commands import (
    BadInput,
    Chosen,
    app,
    assessing,
    coarsening,
    custody,
    holders,
    judges,
    keys,
    linking,
    people,
    records,
    releases,
    researchers,
    reviewers,
    service,
    the_screen,
)
from api.show import BAD_INPUT, DONE, REFUSED, Screen

COMMANDS = (
    service,
    custody,
    people,
    holders,
    researchers,
    judges,
    reviewers,
    releases,
    records,
    keys,
    linking,
    assessing,
    coarsening,
)
"""Imported for what they add to `app`."""


def main() -> None:
    """The console script: run a command, turn errors into sentences and exit codes."""
    sys.exit(run(sys.argv[1:]))


def _options_first(arguments: list[str]) -> list[str]:
    """`--json` and `--profile NAME` may stand anywhere on the line."""
    first, rest, coming = [], [], list(arguments)
    while coming:
        item = coming.pop(0)
        if item == "--json" or item.startswith("--profile="):
            first.append(item)
        elif item == "--profile" and coming:
            first += [item, coming.pop(0)]
        else:
            rest.append(item)
    return first + rest


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code comes back."""
    Chosen.screen = Screen(as_json="--json" in arguments)
    arguments = _options_first(arguments)
    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except TyperException as error:
        text = f"{error.format_message()} `schakel --help` shows what there is."
        return the_screen().fail({"detail": text}, BAD_INPUT)
    except (typer.Abort, KeyboardInterrupt):
        return the_screen().fail({"detail": "Stopped."}, REFUSED)
    except BadInput as error:
        return the_screen().fail({"detail": str(error)}, BAD_INPUT)
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """The exit code for an error of ours, said as a sentence; a fault is nobody's to hide."""
    from httpx import InvalidURL
    from pydantic import ValidationError

    from api.client import Distrust, IdentityFault, PackageFault, ServiceRefusal, Unreachable
    from api.founding import Founded
    from api.profiles import ProfileFault
    from api.roles import BadUsers
    from api.sealing import ExtractChanged
    from api.service import NotFounded
    from api.serving import UnknownRole, Unsafe
    from api.store import StorageGone, Unconfirmed
    from keyvault.errors import KeyvaultError
    from linkage import LinkageError
    from policies import PolicyError

    match error:
        case ServiceRefusal():
            return the_screen().fail(error.problem, REFUSED)
        case ProfileFault() | IdentityFault() | LinkageError() | PolicyError():
            return the_screen().fail({"detail": str(error)}, BAD_INPUT)
        case BadUsers() | UnknownRole():
            return the_screen().fail({"detail": str(error)}, BAD_INPUT)
        case Unreachable() | Distrust() | ExtractChanged() | PackageFault() | KeyvaultError():
            return the_screen().fail({"detail": str(error)}, REFUSED)
        case Unconfirmed() | StorageGone():
            return the_screen().fail({"detail": str(error) or error.__doc__}, REFUSED)
        case NotFounded() | Founded() | Unsafe():
            return the_screen().fail({"detail": str(error)}, REFUSED)
        case ValidationError():  # of the settings; documents have errors of their own
            names = ", ".join(f"SCHAKEL_{str(one['loc'][0]).upper()}" for one in error.errors())
            return the_screen().fail({"detail": f"The setting {names} can't be used."}, BAD_INPUT)
        case InvalidURL():
            text = "What was given can't stand in an address; check the ids on the command line."
            return the_screen().fail({"detail": text}, BAD_INPUT)
        case OSError():
            text = f"{error.filename or 'A file or line'}: {error.strerror or 'it failed'}."
            return the_screen().fail({"detail": text}, BAD_INPUT if _misnamed(error) else REFUSED)
    raise error


def _misnamed(error: OSError) -> bool:
    """Whether another file or folder on the command line would mend it."""
    return isinstance(
        error,
        FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
        | PermissionError,
    )  # fmt: skip
