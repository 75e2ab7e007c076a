"""What came out of the demo, as a page to look at."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(report: dict[str, Any], folder: Path, console: Console) -> None:
    """Print the figures that matter, and say where all of them are."""
    links, pseudonyms = report["links"], report["pseudonyms"]
    employers, movers = report["enterprises"], report["moved_between_payers"]
    disclosure, fuzzy = report["disclosure"], links["fuzzy"]
    table = Table(title="What came out", box=None, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    rows = [
        ("false deterministic links", links["deterministic"]["false_matches"]),
        ("fuzzy precision", f"{fuzzy['precision']:.4f}"),
        ("fuzzy recall", f"{fuzzy['recall']:.4f}"),
        ("pairs left for review", links["review"]),
        ("employers, precision", f"{employers['precision']:.4f}"),
        ("employers, recall", f"{employers['recall']:.4f}"),
        ("children at two payers in one year", movers["in_one_year"]["children"]),
        ("… of them seen as one", f"{movers['in_one_year']['one_pseudonym']:.4f}"),
        ("pseudonyms stable across waves", f"{pseudonyms['stable_across_waves']:.4f}"),
        ("… over everybody, faults and all", f"{pseudonyms['stable_all']:.4f}"),
        ("pseudonyms shared between projects", pseudonyms["shared_between_projects"]),
        (f"smallest cell (k = {disclosure['k']})", disclosure["smallest_cell"]),
        (
            f"smallest cell of employers (k = {employers['disclosure']['k']})",
            employers["disclosure"]["smallest_cell"],
        ),
        *(
            (f"rows named by an intruder: {one['name']}", f"{one['right']:.2%}")
            for one in report["attack"]
        ),
        (
            "… which the measures allow at most",
            f"{1 / disclosure['smallest_cell']:.2%}",
        ),
        ("refused second wave, mended", report["cumulative_test"]["mended"]["state"]),
        ("units with a suppressed value, at most", f"{disclosure['suppressed_share']:.1%}"),
        ("identifiers found in the releases", report["identifiers_found_in_release"]),
        ("planted ones found (of 3)", report["planted_found"]),
        ("NEET rate 2025, from the release", f"{report['neet_rate']['2025']['overall']:.3f}"),
        ("NEET rate 2025, truth", f"{report['neet_rate']['2025']['overall_truth']:.3f}"),
        ("refused on the way", len(report["refusals"])),
        ("ledger entries, none edited", report["ledger"]["entries"]),
        (f"rows from {report['holders']} holders, three waves", report["rows"]),
        ("most memory of the service, MiB", round(report["memory_mb"]["service"])),
        ("most memory of its worker, MiB", round(report["memory_mb"]["worker"])),
        ("seconds", report["seconds"]["total"]),
    ]
    for name, value in rows:
        table.add_row(name, str(value))
    console.print()
    console.print(table)
    console.print(f"\nEvery figure: {folder / 'report.json'}", markup=False)
