"""Processes that are born quickly: forked from one that has imported everything already.

Two hundred deaths would otherwise cost two hundred imports. Each line on its standard input is one
command line to run, with where its output goes; the answer is the process id of whoever runs it.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def main() -> None:
    """Fork a process for each line, until there are no more."""
    import api.serving  # noqa: F401 - what there is to import
    from api import cli

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # ends with this one
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - for as long as the process lives
            os._exit(cli.run(asked["arguments"]))
        print(child, flush=True)


if __name__ == "__main__":
    main()
