"""`make faults`: each flow with a fault in each class of call, and without power at each moment;
harm to everything that is stored; the tables of what was tried."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from api.service import Service
from tests.faults.acts import FLOWS
from tests.faults.disturbed import FAULTS, Acting, Site
from tests.faults.harness import Harness
from tests.faults.tampering import HARMS, Tampering


def main() -> int:
    """Run it all; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="tests.faults")
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=FLOWS)
    parser.add_argument(
        "--most", type=int, default=3, help="calls of one class in one flow; 0 for every one"
    )
    parser.add_argument("--tries", type=int, default=60, help="of each harm to each stored thing")
    given = parser.parse_args()
    console, begun = Console(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as place, Acting(Path(place)) as acting:
        harness, wrong, moments = Harness(Path(place), acting), list[str](), 0
        for flow in given.flows:
            for sites in harness.classes(flow):
                for site in spread(sites, given.most):
                    for fault in FAULTS:
                        wrong += harness.wrong(flow, site, fault)
            dark = list(harness.without_power(flow))
            wrong += [told for found in dark for told in found]
            moments += len(dark)
            show(console, harness.tried, flow)
            console.print(f"power gone at {len(dark)} moments of {flow}")
        wrong += tampered(console, harness.service(), given.tries)
    for told in wrong:
        console.print(told, markup=False)
    tries, classes = harness.tried.total(), len({key[:3] for key in harness.tried})
    console.print(
        f"{tries} faults in {classes} classes of calls, power gone at {moments} moments, "
        f"{len(wrong)} losses; the slowest restart took {harness.slowest:.2f} s; "
        f"{time.monotonic() - begun:.0f} s in all."
    )
    return int(bool(wrong))


def tampered(console: Console, service: Service, each: int) -> list[str]:
    """Harm to everything that is stored; the table of what was tried, and what went unnoticed."""
    tampering = Tampering(service)
    tampering.run(each)
    service.engine.dispose()
    table = Table("stored", *HARMS, "unnoticed", box=None)
    for kind in dict.fromkeys(kind for kind, _ in tampering.tried):
        counts = [str(tampering.tried[kind, harm]) for harm in HARMS]
        table.add_row(kind, *counts, str(sum(tampering.missed[kind, harm] for harm in HARMS)))
    console.print(table)
    console.print(
        f"{tampering.tried.total()} things changed, {tampering.missed.total()} unnoticed."
    )
    return [f"{key[1]} of {key[0]} went unnoticed" for key, n in tampering.missed.items() if n]


def spread(sites: list[Site], most: int) -> list[Site]:
    """The first, the last and some between; all of them where `most` is 0."""
    if not most or len(sites) <= most:
        return sites
    last = len(sites) - 1
    return [sites[round(n * last / max(most - 1, 1))] for n in range(most)]


def show(console: Console, tried: Counter[tuple[str, str, str, str]], flow: str) -> None:
    """The classes of a flow, and how often each was tried with which fault."""
    table = Table(flow, "on", *FAULTS, box=None)
    for call, target in dict.fromkeys(key[1:3] for key in tried if key[0] == flow):
        counts = [str(tried[flow, call, target, fault]) for fault in FAULTS]
        table.add_row(call, target, *counts)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
