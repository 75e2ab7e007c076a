"""Linking files on this machine: no service, no keys, nothing leaves it."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.commands import BadInput, app, document_in, plan_app, the_screen
from api.show import REFUSED

if TYPE_CHECKING:
    from linkage.matching import Matched
    from linkage.plans import FilePlan
    from linkage.spark import OnSpark
    from linkage.truth import Truth


class Engine(StrEnum):
    """Where candidates are weighed."""

    LOCAL = "local"
    SPARK = "spark"


FileA = Annotated[Path, typer.Argument(help="A CSV or Parquet file.")]
FileB = Annotated[Path, typer.Argument(help="Another one.")]
Plan = Annotated[Path, typer.Option(help="Which columns mean what (YAML).")]
Out = Annotated[Path, typer.Option(help="File for the links (.parquet or .csv).")]
Where = Annotated[
    Engine, typer.Option(help="Where candidates are weighed: on this machine, or by Spark.")
]
Seed = Annotated[int, typer.Option(help="Where chance begins: the same seed, the same links.")]
Charts = Annotated[Path | None, typer.Option(help="Page of charts to write (HTML).")]
Workers = Annotated[
    int | None, typer.Option(help="Threads; as many as there are cores unless given.", min=1)
]


@app.command()
def link(
    a: FileA,
    b: FileB,
    plan: Plan,
    out: Out,
    truth_a: Annotated[
        Path | None, typer.Option(help="Who each row of A is: its id, and the person's.")
    ] = None,
    truth_b: Annotated[Path | None, typer.Option(help="The same for B.")] = None,
    charts: Charts = None,
    engine: Where = Engine.LOCAL,
    seed: Seed = 0,
    workers: Workers = None,
) -> None:
    """Find who is who in two files."""
    if (truth_a is None) != (truth_b is None):
        raise BadInput("The truth is needed for both files: give --truth-a and --truth-b.")
    truths = [path for path in (truth_a, truth_b) if path is not None]
    _run(_Job([a, b], plan, out, truths, charts, engine, seed, workers))


@app.command()
def dedupe(
    a: FileA,
    plan: Plan,
    out: Out,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", "--truth-a", help="Who each row is: its id, and the person's."),
    ] = None,
    charts: Charts = None,
    engine: Where = Engine.LOCAL,
    seed: Seed = 0,
    workers: Workers = None,
) -> None:
    """Find the rows of one file that are about the same."""
    _run(_Job([a], plan, out, [truth] if truth else [], charts, engine, seed, workers))


@plan_app.command("suggest")
def plan_suggest(
    a: FileA,
    b: Annotated[Path | None, typer.Argument(help="Another one; none to look in A alone.")] = None,
) -> None:
    """Write a first plan for files nobody described: read it, put it right, use it."""
    from linkage import files
    from linkage.suggestions import suggest

    tables = [files.read_all(path) for path in (a, b) if path is not None]
    plan = suggest(tables[0], tables[1] if b else None)
    rules = _rules(plan, tables)
    the_screen().answer({"plan": plan, "blocking": rules}, text=_as_yaml(plan, rules))


def _rules(plan: Mapping[str, Any], tables: list[Any]) -> list[dict[str, Any]]:
    """Every blocking rule that a plan allows: its fields, what it costs, whether it is chosen."""
    from linkage.kernel.blocks import FIELDS
    from linkage.kernel.columns import encode
    from linkage.kernel.rules import chosen, cost, possible
    from linkage.plans import FilePlan

    encoded = encode(
        tables[0],
        tables[1] if len(tables) > 1 else None,
        FilePlan.from_mapping(plan, dedupe=len(tables) == 1),
    )
    taken = chosen(encoded)
    types = [field["type"] for field in plan["fields"]]
    names = dict(FIELDS)
    names |= {part: kind for part in encoded.parts if types.count(kind := part.split(":")[0]) == 1}
    found = [
        {
            "fields": [names.get(part, part) for part in rule],
            "candidates": cost(encoded, rule),
            "chosen": rule in taken,
        }
        for rule in possible(encoded)
    ]
    return sorted(found, key=lambda one: (not one["chosen"], one["candidates"]))


def _as_yaml(plan: Mapping[str, Any], rules: list[dict[str, Any]]) -> str:
    """A plan as people write it, with what blocking rules cost in comments."""

    def inline(value: Any) -> str:
        return yaml.safe_dump(
            value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
        ).strip()

    lines = [f"unit: {plan['unit']}", f"id: {inline(plan['id'])}", "fields:"]
    lines += [f"  - {inline(field)}" for field in plan["fields"]]
    lines.append("# blocking: without rules here the engine takes those with a star; each costs as")
    lines.append("# many candidates as the figure says (pairs of rows that are compared)")
    for rule in rules:
        star = "*" if rule["chosen"] else " "
        lines.append(f"# {star} {rule['candidates']:>13,}  {inline(rule['fields'])}")
    return "\n".join(lines)


@app.command()
def explain(
    links: Annotated[Path, typer.Argument(help="What `schakel link` or `dedupe` wrote (Parquet).")],
    left_id: Annotated[str, typer.Argument(help="A row's id in the first file.")],
    right_id: Annotated[str, typer.Argument(help="A row's id in the other (or the same) file.")],
    a: Annotated[
        Path | None, typer.Option(help="The first file, where it isn't where it was.")
    ] = None,
    b: Annotated[Path | None, typer.Option(help="The same for the other file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page to write, with what the two rows say (HTML).")
    ] = None,
) -> None:
    """Say why two rows were linked, or weren't: field by field, what it weighs."""
    from api.commands.explaining import Case

    case = Case.of(links, left_id, right_id, [a, b])
    if html:
        from linkage.files import writable

        writable(html)
        html.write_text(case.page(), encoding="utf-8")
    if the_screen().as_json:
        the_screen().answer(case.told())
        return
    for line in case.lines():
        the_screen().line(line)


@dataclass
class _Job:
    """One linkage of files, from their names to what is told about it."""

    files: list[Path]
    plan_file: Path
    out: Path
    truths: list[Path]
    charts: Path | None
    engine: Engine
    seed: int
    workers: int | None
    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)

    def check_names(self) -> None:
        """Refuse names that can't be written to, or that would overwrite what is read."""
        from linkage.files import writable

        inputs = {path.resolve() for path in (*self.files, *self.truths, self.plan_file)}
        outputs = [path for path in (self.out, self.charts) if path is not None]
        for path in outputs:
            writable(path)
            if path.resolve() in inputs:
                raise BadInput(f"{path} is read too; write to another file.")
        if len({path.resolve() for path in outputs}) < len(outputs):
            raise BadInput(
                f"The charts would overwrite the links in {self.out}; name another file."
            )

    @property
    def threads(self) -> int:
        """How many are asked for, or as many as there are processors."""
        return self.workers or len(os.sched_getaffinity(0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start


def _run(job: _Job) -> None:
    """Read, link, write, tell."""
    _keep_memory()
    with job.stage("start"):
        from linkage import files
        from linkage.plans import FilePlan

        document = document_in(job.plan_file)
        plan = FilePlan.from_mapping(document, dedupe=len(job.files) == 1)
        job.check_names()
    with the_screen().progress() as tell:
        tell("read", 0, 0)
        with job.stage("read"):
            tables, ids = _read(job, plan)
            truth = _truth(job, ids)
        from linkage.matching import match

        with _weighing(job) as engine:
            matched = match(
                tables.pop(0),  # nothing holds the files any more once they are encoded
                tables.pop() if tables else None,
                plan,
                seed=job.seed,
                workers=job.threads,
                progress=lambda stage, share: tell(stage, round(1000 * share), 1000),
                engine=engine,
            )
        job.seconds.update(matched.seconds)
        tell("write", 0, 0)
        with job.stage("write"):
            files.write(job.out, _links(matched, ids), _about(job, document, matched, ids))
        if job.charts:
            from linkage.charts import page

            with job.stage("charts"):
                job.charts.write_text(page(matched, plan, truth), encoding="utf-8")
    _tell(job, plan, matched, truth)


def _keep_memory() -> None:
    """Have memory that was freed used again, in large pages.

    Columns come and go by the hundred. Giving each back to the system and asking for the next takes
    a sixth of the processor's time at a million rows; finding pages of four kilobytes half of it at
    ten million. mallopt(3) has the numbers; another C library than glibc may not know them.
    """
    os.environ.setdefault("MIMALLOC_ALLOW_LARGE_OS_PAGES", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 32 << 20)
        mallopt(arena_max, 1)


@contextmanager
def _weighing(job: _Job) -> Iterator["OnSpark | None"]:
    """What weighs candidates in the place of this process."""
    if job.engine is Engine.LOCAL:
        yield None
        return
    from linkage.spark import SparkFailed, cluster

    try:
        with ExitStack() as stack:
            with job.stage("spark"):
                spark = stack.enter_context(cluster())
            yield spark
    except SparkFailed as error:
        raise typer.Exit(the_screen().fail({"detail": str(error)}, REFUSED)) from None


def _read(job: _Job, plan: "FilePlan") -> tuple[list[Any], list[Any]]:
    """What the plan names of every file, and their rows' ids.

    Loading the engine takes about as long as reading, and is done meanwhile.
    """
    from concurrent.futures import ThreadPoolExecutor

    from linkage import files

    def read(side: str, path: Path) -> tuple[Any, Any]:
        table = files.read_for(plan, side, path)
        return table, files.ids(table, files.id_on(plan, side), path)

    with ThreadPoolExecutor(len(job.files)) as pool:
        coming = [pool.submit(read, *one) for one in zip("ab", job.files, strict=False)]
        import_module("linkage.matching")
        found = [one.result() for one in coming]
    return [table for table, _ in found], [ids for _, ids in found]


def _truth(job: _Job, ids: list[Any]) -> "Truth | None":
    if not job.truths:
        return None
    from linkage import files
    from linkage.truth import Truth

    known = [files.units(path, rows) for path, rows in zip(job.truths, ids, strict=True)]
    return Truth.of(known[0], known[1] if len(known) > 1 else None)


def _links(matched: "Matched", ids: list[Any]) -> Any:
    """The table that is written: a row per link and per pair for review."""
    import numpy as np
    import pyarrow as pa

    from linkage.matching import RULES

    proven = matched.rule == 0
    columns = {
        "left_id": ids[0].take(pa.array(matched.left)),
        "right_id": ids[-1].take(pa.array(matched.right)),
        "weight": pa.array(matched.weight, from_pandas=True),
        "probability": pa.array(np.where(proven, 1.0, matched.probability), from_pandas=True),
        "rule": pa.DictionaryArray.from_arrays(pa.array(matched.rule), pa.array(RULES)),
    }
    if matched.group is not None:
        review = matched.rule == 2
        columns["group"] = pa.array(_numbered(matched.group)[matched.left], mask=review)
    return pa.table(columns)


def _numbered(group: Any) -> Any:
    """Groups by the order of their first rows, from 1."""
    import numpy as np

    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    return number[inverse]


def _about(
    job: _Job, document: Mapping[str, Any], matched: "Matched", ids: list[Any]
) -> dict[str, Any]:
    """What the file of links says about how it came about; no value of any row."""
    from linkage.explained import as_document

    return {
        "files": [
            {"path": os.path.relpath(path, job.out.parent), "rows": len(rows)}
            for path, rows in zip(job.files, ids, strict=True)
        ],
        "plan": document,
        "seed": job.seed,
        "model": as_document(matched.model) if matched.model else None,
    }


def _tell(job: _Job, plan: "FilePlan", matched: "Matched", truth: "Truth | None") -> None:
    """What was done, in JSON or for people."""
    import numpy as np

    from linkage.hardcases import hard_cases
    from linkage.matching import RULES

    counts = np.bincount(matched.rule, minlength=len(RULES)).tolist()
    told: dict[str, Any] = {
        "out": str(job.out),
        "rows": {"a": matched.encoded.a.rows}
        | ({} if matched.encoded.one_file else {"b": matched.encoded.b.rows}),
        "links": counts[0] + counts[1],
        "review": counts[2],
        "rules": dict(zip(RULES, counts, strict=True)),
        "thresholds": {"link": plan.link, "review": plan.review},
        "candidates": {
            "all": sum(matched.candidates.values()),
            "by_rule": dict(matched.candidates),
        },
        "stages": job.seconds,
        "peak_memory_mib": _peak(),
        "seed": job.seed,
    }
    if plan.unit == "person":
        told["hard_cases"] = hard_cases(matched, truth, workers=job.threads)
    if matched.group is not None:
        told["groups"] = int((np.bincount(matched.group) > 1).sum())
    if truth is not None:
        told["quality"] = _quality(matched, truth)
        told["quality"]["unknown_rows"] = truth.unknown
    told["seconds"] = perf_counter() - job.began
    if the_screen().as_json:
        the_screen().answer(told)
        return
    the_screen().fields(_short(told))


def _quality(matched: "Matched", truth: "Truth") -> dict[str, Any]:
    from linkage.truth import calibration

    right = truth.right(matched.left, matched.right)
    weighed = matched.pairs
    return (
        truth.figures(right, matched.rule, matched.probability)
        | ({} if matched.group is None else {"groups": truth.of_groups(matched.group)})
        | {
            "calibration": calibration(matched.chances, truth.right(weighed.left, weighed.right)),
        }
    )


def _short(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same for people: a few lines, rounded."""
    shown = {
        "links": f"{told['links']:,} in {told['out']}",
        "for review": f"{told['review']:,}, from probability {told['thresholds']['review']} on",
        "candidates": f"{told['candidates']['all']:,}",
        "took": f"{told['seconds']:.1f} s, {told['peak_memory_mib']:,} MiB",
    }
    if "groups" in told:
        shown["groups"] = f"{told['groups']:,} of two rows or more"
    if "quality" in told:
        for name in ("at_threshold", "best"):
            rates = told["quality"][name]
            shown[name] = ", ".join(
                f"{what} {_share(rates[what])}" for what in ("precision", "recall", "f1")
            )
    return shown


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _peak() -> int | None:
    """The most memory that this process ever had, in MiB; None where the system doesn't say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "")
    return int(line.split()[1]) // 1024 if line else None
