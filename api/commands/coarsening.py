"""Coarsening files on this machine: by rules, or the mildest way that meets thresholds.

No service, no keys, nothing leaves the machine.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import BadInput, app, the_screen
from api.show import REFUSED

if TYPE_CHECKING:
    from policies.disclosure.hierarchies import Hierarchy
    from policies.disclosure.lattice import Choice, Suggestion

STEPS = (3, 5, 10, 20, 50, 100)
"""Larger values of k whose price is told: the next two of these."""


class Mean(StrEnum):
    """How the losses of keys are joined."""

    ARITHMETIC = "arithmetic"
    GEOMETRIC = "geometric"


File = Annotated[Path, typer.Argument(help="A CSV or Parquet file.")]
Out = Annotated[Path, typer.Option(help="File to write (.csv or .parquet).")]


@app.command()
def suggest(
    file: File,
    keys: Annotated[str, typer.Option(help="Columns an intruder may know, with commas between.")],
    hierarchies: Annotated[
        Path,
        typer.Option(
            help="Folder with a file for each key (KEY.csv or ..._hierarchy_KEY.csv): a row for "
            "each value, semicolons between, the value first, one coarser level a column."
        ),
    ],
    k: Annotated[int, typer.Option(help="Distinct units that each combination has at least.")] = 5,
    suppression: Annotated[
        float, typer.Option(help="Share of the rows that may lose all their keys.")
    ] = 0.0,
    unit: Annotated[str | None, typer.Option(help="Column that names each row's unit.")] = None,
    sensitive: Annotated[str | None, typer.Option(help="Column nobody is to learn.")] = None,
    l: Annotated[  # noqa: E741 - what everybody calls it
        int | None, typer.Option(help="Distinct sensitive values of each combination.")
    ] = None,
    t: Annotated[
        float | None, typer.Option(help="Distance of their distribution from the file's, at most.")
    ] = None,
    household: Annotated[str | None, typer.Option(help="Column naming the household.")] = None,
    household_k: Annotated[
        int | None, typer.Option(help="Distinct households of each combination; k unless given.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column with sampling weights.")] = None,
    weighted_k: Annotated[
        float | None, typer.Option(help="Estimated population of each combination; k unless given.")
    ] = None,
    importance: Annotated[
        list[str] | None, typer.Option(help="What a key's loss weighs, as age=2 (1 unless given).")
    ] = None,
    allowed: Annotated[
        list[str] | None, typer.Option(help="Levels a key may have, as age=1,2 (all unless given).")
    ] = None,
    mean: Annotated[
        Mean, typer.Option(help="How the losses of keys are joined; geometric is ARX's default.")
    ] = Mean.ARITHMETIC,
    cells: Annotated[
        bool,
        typer.Option(
            "--cells",
            help="Take single cells instead of all keys of a row, where that is enough for k.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Coarsened file to write.")] = None,
) -> None:
    """Find the coarsening that loses least and lets nobody stand out."""
    from linkage import files
    from policies.disclosure.lattice import Demand, Unreachable
    from policies.disclosure.lattice import suggest as find

    names = _listed(keys)
    others = [name for name in (unit, household, weights, sensitive) if name]
    if cells and (l or t or household or weights):
        raise BadInput("--cells looks at k alone; leave --l, --t, --household and --weights out.")
    demand = Demand(
        k=k,
        l=l,
        t=t,
        households=(household_k or k) if household or household_k else None,
        weighted=(weighted_k or k) if weights or weighted_k else None,
        suppression=suppression,
    )
    wanted = [*names, *others]
    columns = files.columns_of(file)
    if out is not None and set(wanted) <= set(columns):
        wanted = columns
        _check_out(out, [file, *_hierarchy_files(hierarchies, names).values()])
    table = files.read(file, wanted)
    ways = _hierarchies(hierarchies, names)
    try:
        found = find(
            {name: (table[name], ways[name]) for name in names},
            demand,
            allowed={key: _levels(key, text) for key, text in _pairs(allowed, "allowed").items()},
            importance={
                key: _number(key, text) for key, text in _pairs(importance, "importance").items()
            },
            steps=[step for step in STEPS if step > k][:2],
            units=_column(table, unit, empty=False),
            households=_column(table, household, empty=False),
            weights=weights and _numbers(table, weights),
            sensitive=_column(table, sensitive),
            mean=mean.value,
        )
    except Unreachable as error:
        raise typer.Exit(the_screen().fail({"detail": str(error)}, REFUSED)) from None
    coarse = _keys_at(table, ways, found)
    gone = _gone(coarse, found, k, _column(table, unit, empty=False) if cells else None, cells)
    if out is not None:
        _write(out, _with_keys(table, coarse, gone))
    told = {"rows": table.num_rows, "k": k, "mean": mean.value} | ({"out": str(out)} if out else {})
    _tell(found, ways, told, {name: int(one.sum()) for name, one in gone.items()})


@app.command()
def coarsen(
    file: File,
    rules: Annotated[Path, typer.Option(help="What is done to which column (YAML).")],
    out: Out,
) -> None:
    """Coarsen a file by rules, as a permit states them."""
    from api.commands import document_in
    from linkage import files
    from policies.coarsening import LANGUAGES
    from policies.files import FileRules

    asked = FileRules.from_mapping(document_in(rules))
    _check_out(out, [file, rules])
    table = files.read(file, asked.reads)
    names = files.columns_of(file)
    made = asked.apply(table)
    _write(out, made)
    told = {
        "out": str(out),
        "rows": made.num_rows,
        "columns": made.column_names,
        "left_out": [name for name in names if name not in asked.named],
        "straddling_postcodes": asked.straddling(table),
        "rules": {
            name: {language: rule.describe(language) for language in LANGUAGES}
            for name, rule in asked.rules.items()
        },
    }
    if the_screen().as_json:
        the_screen().answer(told)
        return
    the_screen().fields({name: rule.describe("en") for name, rule in asked.rules.items()})
    for name, count in told["straddling_postcodes"].items():
        the_screen().note(
            f"{count:,} values of {name} are postcodes of several municipalities; the published "
            "table's last one was taken."
        )
    the_screen().fields(
        {
            "written": f"{made.num_rows:,} rows to {out}",
            "left out": ", ".join(told["left_out"]) or "no column",
        }
    )


def _listed(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise BadInput("--keys needs names of columns with commas between, as age,sex,region.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"--keys names {twice[0]} twice; name each key once.")
    return names


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Options as KEY=VALUE."""
    found = {}
    for item in given or []:
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise BadInput(f"--{option} needs a key and a value, as --{option} age=2.")
        found[key] = value
    return found


def _levels(key: str, text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise BadInput(f"--allowed needs numbers of levels, as --allowed {key}=0,1.") from None


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"--importance needs a number, as --importance {key}=2.") from None


def _column(table: Any, name: str | None, *, empty: bool = True) -> Any:
    """A column that isn't a key; where a field can't be `empty`, that of a CSV file is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name is None:
        return None
    column = table[name]
    if empty or not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), None, column)


def _numbers(table: Any, name: str) -> Any:
    import pyarrow as pa

    try:
        return table[name].cast(pa.float64())
    except pa.ArrowInvalid:
        raise BadInput(f"{name} holds something that is no number; weights are.") from None


def _hierarchy_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise BadInput(f"There is no folder {folder}; name the one with the hierarchies.")
    paths = sorted(folder.iterdir())
    found = {}
    for name in names:
        usual = [f"{name}.csv", f"hierarchy_{name}.csv", f"{name}_hierarchy.csv"]
        there = [path for end in usual for path in paths if path.name == end]
        there += [path for path in paths if path.name.endswith(f"_{usual[1]}")]
        if not there:
            raise BadInput(
                f"{folder} has no hierarchy for {name}; put it into {folder / usual[0]}."
            )
        found[name] = there[0]
    return found


def _hierarchies(folder: Path, names: Sequence[str]) -> dict[str, "Hierarchy"]:
    from policies.disclosure.hierarchies import Hierarchy

    made = {}
    for name, path in _hierarchy_files(folder, names).items():
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        made[name] = Hierarchy.parse(name, text)
    return made


def _check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse, before any work, a name that can't be written to or that is read."""
    from linkage.files import writable

    writable(out)
    if out.resolve() in {path.resolve() for path in inputs}:
        raise BadInput(f"{out} is read too; write to another file.")


def _keys_at(table: Any, ways: Mapping[str, "Hierarchy"], found: "Suggestion") -> dict[str, Any]:
    """The keys at their levels."""
    return {
        name: way.at(found.best.levels[name], way.encode(table[name])) for name, way in ways.items()
    }


def _gone(
    coarse: Mapping[str, Any], found: "Suggestion", k: int, units: Any, cells: bool
) -> dict[str, Any]:
    """For each key, the rows that lose it. Single `cells` are chosen so that an empty cell may be
    taken for a value of its own, which is the stricter reading."""
    from policies.disclosure.suppression import suppress

    if not cells:
        return dict.fromkeys(coarse, found.gone)
    return dict(suppress(coarse, k, units=units, reading="category").gone)


def _with_keys(table: Any, coarse: Mapping[str, Any], gone: Mapping[str, Any]) -> Any:
    """The table with coarse keys, and `_suppressed` where one is taken away."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from policies.coarsening import SUPPRESSED

    for name, labels in coarse.items():
        texts = pc.if_else(pa.array(gone[name]), SUPPRESSED, labels.dictionary_decode())
        table = table.set_column(table.column_names.index(name), name, texts)
    return table


def _write(path: Path, table: Any) -> None:
    """CSV where the name ends in .csv, else Parquet; the file appears whole or not at all."""
    from pyarrow import csv, parquet

    partial = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".csv":
            csv.write_csv(table, partial)
        else:
            parquet.write_table(table, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _tell(
    found: "Suggestion", ways: Mapping[str, "Hierarchy"], asked: Mapping[str, Any],
    cells: Mapping[str, int],
) -> None:  # fmt: skip
    """The suggestion, after what was asked."""
    screen = the_screen()
    if screen.as_json:
        screen.answer(
            _choice(found.best)
            | {
                "losses": dict(found.best.losses),
                "suppressed_cells": dict(cells),
                "nodes_checked": found.nodes_checked,
                "nodes_total": found.nodes_total,
                "runner_up": found.runner_up and _choice(found.runner_up),
                "larger_k": [
                    {"k": step} | (_choice(choice) if choice else {"levels": None})
                    for step, choice in found.steps.items()
                ],
            }
            | dict(asked)
        )
        return
    screen.table(
        [
            {
                "key": name,
                "level": f"{level} of {ways[name].levels - 1}",
                "values": f"{len(ways[name].labels[level])} of {ways[name].size}",
                "loss": f"{found.best.losses[name]:.3f}",
                "runner-up": "" if found.runner_up is None else found.runner_up.levels[name],
            }
            for name, level in found.best.levels.items()
        ],
        ["key", "level", "values", "loss", "runner-up"],
    )
    lines = {
        "loss": f"{found.best.loss:.4f} (0: as it came; 1: nothing left)",
        "suppressed": f"{found.best.suppressed:,} of {asked['rows']:,} rows; "
        f"{sum(cells.values()):,} cells of keys are taken away",
        "runner-up": "there is none"
        if found.runner_up is None
        else f"loss {found.runner_up.loss:.4f}, {found.runner_up.suppressed:,} rows suppressed",
        "looked at": f"{found.nodes_checked:,} of {found.nodes_total:,} coarsenings; no other is "
        "better",
    }
    for step, choice in found.steps.items():
        lines[f"k = {step}"] = f"loss {choice.loss:.4f}" if choice else "can't be reached"
    screen.fields(lines | ({"written": asked["out"]} if "out" in asked else {}))


def _choice(choice: "Choice") -> dict[str, Any]:
    return {
        "levels": dict(choice.levels),
        "suppressed": choice.suppressed,
        "loss": choice.loss,
    }
