"""Splink on two files, in an environment of its own: `python splink_run.py JOB.json`.

JOB is what `tests.bench.linkage` writes: files, plan, threads, memory. What is printed is one JSON
object: seconds on the wall, by stage and of the processors, peak memory in bytes, candidates.
`links.parquet` in the job's folder has the links, `all.parquet` those at the threshold `keep`, to
look for the best one.

Set up as Splink's documentation recommends: cleaned columns, first and last name in one comparison
with term frequencies on the full name, a date-of-birth comparison, correlated columns (the address)
in one comparison, the prior from deterministic rules, u from random pairs, m by EM on several
blocking rules without term frequencies, no columns retained, a threshold at predict, and one record
of each file per cluster where both sides have one row per unit.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import splink.comparison_level_library as cll
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

Fields = list[dict[str, Any]]

_FOLDED = "nullif(regexp_replace(upper(strip_accents({})), '[^A-Z0-9]', '', 'g'), '')"
_STREETS = [
    (r"(STR|STR\.|STRASSE)$", "STRAAT"), (r"(STWG|STW\.?)$", "STEENWEG"), (r"LN\.?$", "LAAN"),
    (r"(PLN|PL\.)$", "PLEIN"), (r"^(R\.|R) ", "RUE "), (r"^(AVE?\.?) ", "AVENUE "),
    (r"^(BD|BOUL\.) ", "BOULEVARD "), (r"^(CH\.|CHEE) ", "CHAUSSEE "), (r"^PL\.? ", "PLACE "),
    (r"\bST\.?[ -]", "SINT-"), (r"\bSAINT-", "SINT-"),
]  # fmt: skip
_DATES = {  # where year, month and day stand in a text of this form
    "%Y-%m-%d": ((1, 4), (6, 2), (9, 2)),
    "%d/%m/%Y": ((7, 4), (4, 2), (1, 2)),
    "%Y%m%d": ((1, 4), (5, 2), (7, 2)),
}


class Clock:
    """Seconds by stage since the bench started this process."""

    def __init__(self, begun: float) -> None:
        self.stages: dict[str, float] = {}
        self._last = begun
        self.lap("start")

    def lap(self, stage: str) -> None:
        """A stage is over."""
        now = time.monotonic()
        self.stages[stage] = round(now - self._last, 3)
        self._last = now


def cleaned(kind: str, column: str, form: str | None) -> dict[str, str]:
    """Columns that Splink gets for a field, as SQL."""
    folded = _FOLDED.format(f'"{column}"')
    if kind == "first_name":
        first = _FOLDED.format(f"""split_part(trim("{column}"), ' ', 1)""")
        return {"first_name": folded, "forename": first}
    if kind == "birth_date":  # ISO dates are read as such, whatever the plan's form
        iso, other = (dated(column, one) for one in ("%Y-%m-%d", form or "%Y-%m-%d"))
        date = f"""case when "{column}" like '____-__-__' then {iso} else {other} end"""
        return {"birth_date": f"case when {date} not like '%-00%' then {date} end"}
    if kind == "street":
        text = f'upper(strip_accents("{column}"))'
        for pattern, full in _STREETS:
            text = f"regexp_replace({text}, '{pattern}', '{full}')"
        return {"street": _FOLDED.format(text)}
    if kind == "house_number":
        number = f"""nullif(regexp_extract("{column}", '[0-9]+'), '')"""
        return {"house_number": number}
    if kind == "sex":
        return {
            "sex": f"""case when "{column}" in ('1', 'M') then 'M'
                           when "{column}" in ('2', 'F', 'V') then 'F' end"""
        }
    return {kind: folded}


def dated(column: str, form: str) -> str:
    """A date of this form as yyyy-mm-dd, as SQL."""
    return " || '-' || ".join(f'substr("{column}", {at}, {size})' for at, size in _DATES[form])


def load(connection: Any, fields: Fields, side: str, identifier: str, path: str) -> set[str]:
    """One file as a table with the cleaned columns, whose names are given back.

    Each field is cleaned once per distinct value.
    """
    reader = f"read_csv('{path}', all_varchar=true)" if path.endswith(".csv") else f"'{path}'"
    raw = ", ".join(f'"{field[side]}"' for field in fields)
    connection.execute(
        f"""create or replace temp table raw as
            select cast("{identifier}" as varchar) as unique_id, {raw} from {reader}"""
    )
    selected, joined = ["raw.unique_id"], ["raw"]
    for number, field in enumerate(fields):
        name = field[side]
        columns = cleaned(field["type"], name, field.get("format"))
        listed = ", ".join(f"{sql} as {column}" for column, sql in columns.items())
        distinct = f"""(select distinct "{name}" from raw)"""
        values = f"""(select "{name}" as as_given, {listed} from {distinct})"""
        joined.append(f"""{values} v{number} on v{number}.as_given = raw."{name}" """)
        selected += [f"v{number}.{column}" for column in columns]
        if field["type"] == "first_name":
            first = f"v{number}.forename"
        elif field["type"] == "last_name":
            selected.append(f"{first} || ' ' || v{number}.last_name as full_name")
    query = f"select {', '.join(selected)} from {' left join '.join(joined)}"
    connection.execute(f"create table file_{side} as {query}")
    connection.execute("drop table raw")
    return {row[0] for row in connection.execute(f"describe file_{side}").fetchall()}


def comparisons(kinds: set[str], together: bool) -> list[Any]:
    """What is compared, by the types there are; `together`: the address as one."""
    chosen: list[Any] = []
    rest = set(kinds)
    if {"first_name", "last_name"} <= kinds:
        chosen.append(
            cl.ForenameSurnameComparison(
                "forename", "last_name", forename_surname_concat_col_name="full_name"
            )
        )
        rest -= {"first_name", "last_name"}
    if "birth_date" in kinds:
        chosen.append(
            cl.DateOfBirthComparison(
                "birth_date",
                input_is_string=True,
                datetime_format="%Y-%m-%d",
                invalid_dates_as_null=True,
            )
        )
        rest.discard("birth_date")
    if "sex" in kinds:
        chosen.append(cl.ExactMatch("sex"))
        rest.discard("sex")
    if together and {"street", "house_number", "postcode"} <= kinds:
        chosen.append(address())
        rest -= {"street", "house_number", "postcode"}
    for kind in sorted(rest):
        if kind in ("code", "national_number", "phone"):
            chosen.append(cl.DamerauLevenshteinAtThresholds(kind, [1, 2]))
        else:
            chosen.append(
                cl.JaroWinklerAtThresholds(kind, [0.92, 0.8]).configure(
                    term_frequency_adjustments=True
                )
            )
    return chosen


def address() -> Any:
    """Street, number and postcode in one comparison: each says much of the others."""
    street, number, postcode = (
        cll.ExactMatchLevel(name) for name in ("street", "house_number", "postcode")
    )
    similar = cll.JaroWinklerLevel("street", 0.9)
    missing = cll.And(*(cll.NullLevel(name) for name in ("street", "house_number", "postcode")))
    return cl.CustomComparison(
        output_column_name="address",
        comparison_levels=[
            missing,
            cll.And(street, number, postcode).configure(label_for_charts="All of it"),
            cll.And(similar, number, postcode).configure(label_for_charts="Street similar"),
            cll.And(street, number).configure(label_for_charts="Street and number"),
            cll.And(number, postcode).configure(label_for_charts="Number and postcode"),
            cll.And(similar, postcode).configure(label_for_charts="Street and postcode"),
            postcode.configure(tf_adjustment_column="postcode"),
            cll.CustomLevel("substr(postcode_l, 1, 2) = substr(postcode_r, 1, 2)", "Near"),
            cll.ElseLevel(),
        ],
    )


def trained(linker: Any, job: dict[str, Any], columns: set[str], clock: Clock) -> None:
    """The parameters, each in the way that the documentation recommends."""
    rules = [
        rule
        for rule in (
            ["forename", "last_name", "birth_date"],
            ["last_name", "birth_date", "postcode"],
            ["forename", "birth_date", "street", "house_number"],
        )
        if set(rule) <= columns
    ]
    linker.training.estimate_probability_two_random_records_match(
        [block_on(*rule) for rule in rules], recall=0.85
    )
    clock.lap("prior")
    linker.training.estimate_u_using_random_sampling(max_pairs=job["u_pairs"], seed=job["seed"])
    clock.lap("u")
    for rule in job["train"]:
        linker.training.estimate_parameters_using_expectation_maximisation(
            block_on(*rule), estimate_without_term_frequencies=True, max_pairs=1e6
        )
    clock.lap("m")


def links(linker: Any, predicted: Any, threshold: float, assignment: str) -> str:
    """SQL of the links that an assignment makes of the pairs from a threshold on."""
    if assignment == "group":  # every pair of a cluster, whether it was predicted or not
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(
            predicted, threshold_match_probability=threshold
        ).physical_name
        return f"""
            select l.unique_id as left_id, r.unique_id as right_id,
                   cast({threshold} as double) as probability
            from {clusters} l join {clusters} r using (cluster_id)
            where l.unique_id < r.unique_id"""
    pairs = f"""
        select unique_id_l as left_id, unique_id_r as right_id, match_probability as probability
        from {predicted.physical_name} p where match_probability >= {threshold}"""
    if assignment != "one-to-one":
        return pairs
    clusters = linker.clustering.cluster_using_single_best_links(
        predicted, duplicate_free_datasets=["a", "b"], threshold_match_probability=threshold
    ).physical_name
    return f"""
        select p.* from ({pairs}) p
        join {clusters} l on l.source_dataset = 'a' and l.unique_id = p.left_id
        join {clusters} r on r.source_dataset = 'b' and r.unique_id = p.right_id
        where l.cluster_id = r.cluster_id"""


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Link, and say what it took."""
    clock = Clock(job["begun"])
    connection = duckdb.connect()
    connection.execute(f"set threads={job['threads']}")
    connection.execute(f"set memory_limit='{job['memory']}'")
    connection.execute(f"set temp_directory='{job['folder']}/spill'")
    connection.execute(f"set max_temp_directory_size='{job['spill']}'")
    plan = job["plan"]
    fields, identifiers = plan["fields"], plan["id"]
    dedupe = job.get("b") is None
    api = DuckDBAPI(connection)
    tables: list[Any] = []
    columns: set[str] = set()
    for side in ("a",) if dedupe else ("a", "b"):
        columns = load(connection, fields, side, identifiers[side], job[side])
        tables.append(api.register(f"file_{side}", dataset_display_name=side))
    clock.lap("read")
    kinds = {field["type"] for field in fields}
    rules = [["forename" if name == "first_name" else name for name in r] for r in plan["blocking"]]
    settings = SettingsCreator(
        link_type="dedupe_only" if dedupe else "link_only",
        comparisons=comparisons(kinds, job["together"]),
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in rules],
        retain_matching_columns=False,
    )
    linker = Linker(tables[0] if dedupe else tables, settings)
    trained(linker, job, columns, clock)
    predicted = linker.inference.predict(threshold_match_probability=job["keep"])
    clock.lap("predict")
    found = links(linker, predicted, job["threshold"], plan["assignment"])
    connection.execute(f"copy ({found}) to '{job['folder']}/links.parquet'")
    clock.lap("assign")
    done = {
        "seconds": round(time.monotonic() - job["begun"], 3),
        "processor": round(time.process_time(), 3),
        "stages": clock.stages,
        "peak": peak(),
    }
    below = "pairs" if plan["assignment"] == "group" else plan["assignment"]
    found = links(linker, predicted, job["keep"], below)  # to look for the best threshold
    connection.execute(f"copy ({found}) to '{job['folder']}/all.parquet'")
    return done | {"candidates": {"all": counted(connection, rules, dedupe)}}


def counted(connection: Any, rules: list[list[str]], dedupe: bool) -> int:
    """Distinct pairs of the blocking rules."""
    right = "file_a" if dedupe else "file_b"
    conditions = [" and ".join(f"l.{name} = r.{name}" for name in rule) for rule in rules]
    total = 0
    for number, condition in enumerate(conditions):
        earlier = "".join(f" and not coalesce({other}, false)" for other in conditions[:number])
        order = " and l.unique_id < r.unique_id" if dedupe else ""
        total += connection.execute(
            f"select count(*) from file_a l join {right} r on {condition}{order}{earlier}"
        ).fetchone()[0]
    return total


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    report = main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(report))
