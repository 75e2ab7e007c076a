"""What is in the package that a project receives.

`package` makes every file of a release from coarsened, tested tables; the same input gives the same
bytes (with the locked versions of the libraries): rows are sorted by pseudonym and then by every
other column, writers have fixed settings, no file holds a time of its own. `archive` puts the files
into one tar that is as repeatable, and `extract` unpacks one without trusting it.

The files::

    README.md          what this is and how to open it
    manifest.json      every other file with size and SHA-256, what permit it came from
    manifest.sig       the service's signature over manifest.json (added by the caller)
    data/<table>.parquet, data/<table>.csv
    data/<table>.dta, data/<table>.sav     the same for Stata and SPSS (`policies.labelled`)
    dictionary.json, dictionary.html
    report.json, report.html      the disclosure report

The report in the package holds no combination that was withheld: naming the cells that suppression
hid would give them back. Whoever clears the release sees those in `Suppression.before`.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import rfc8785

from policies import PolicyError, attack, classifications, documents, evidence, labelled
from policies.coarsening import LANGUAGES, MISSING_CODES, OBSERVED, STATUS, Language, Rule
from policies.cumulative import UNIT, Assessment, Suppression
from policies.permits import Scenario
from policies.scanner import Finding

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
UNITS = "units"
"""The table with one row per unit of the universe."""
SCHEMA_VERSION = 1
FORMATS = ("parquet", "csv", "dta", "sav")
"""What a table may be written as: endings of its files."""


class PackageError(PolicyError):
    """A package can't be made, or one that came in isn't what it says."""


@dataclass(frozen=True)
class Variable:
    """One column of a released table, as the data dictionary tells of it.

    `dataset` and `source` name where it comes from; both are None for a pseudonym. `rule` is the
    resolved rule it was coarsened by. `codes` is the declared code list: code → title by language.
    """

    table: str
    name: str
    title: Mapping[str, str]
    semantic_type: str
    dataset: str | None = None
    source: str | None = None
    rule: Rule | None = None
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def known(self) -> Mapping[str, Mapping[str, str]]:
        """Every code that is known beforehand, in order, with its titles (or none)."""
        if self.codes:
            return dict(sorted(self.codes.items()))
        if self.rule is None:
            return {}
        return self.rule.names() or {label: {} for label in self.rule.intervals() or ()}


def report(
    *,
    unit_type: str,
    scenario: Scenario,
    suppression: Suppression,
    findings: Mapping[str, Sequence[Finding]],
    deliveries: Mapping[str, Sequence[Mapping[str, Any]]],
    own: int | None = None,
    coarser: Mapping[str, str] | None = None,
    holders: Sequence[Mapping[str, Any]] = (),
    attacks: Sequence[Mapping[str, Any]] = (),
    changes: Sequence[Mapping[str, Any]] = (),
    diversity: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The disclosure report as JSON values.

    `findings` are the scanner's, by table name; `deliveries` say by dataset what the release was
    made of: generations, modes, and how many rows and units corrections touched. `own` says how
    many of the releases looked at are the project's own (all unless given), `coarser` how keys are
    shown coarser than permitted, `holders` what recipients find that are holders themselves
    (`policies.joinback`), `attacks` what an intruder makes of it (`policies.attack`), `changes`
    what differs from the release before, and `diversity` what those who look alike have in common
    (`policies.evidence`).
    """
    after = suppression.after
    found = {table: [asdict(one) for one in ones] for table, ones in sorted(findings.items())}
    return {
        "type": "disclosure-report",
        "version": 1,
        "unit_type": unit_type,
        "k": after.k,
        "passes": suppression.allowed and not any(found.values()),
        "scenario": scenario.model_dump(),
        "units": after.units,
        "releases": after.releases if own is None else own,
        "releases_elsewhere": 0 if own is None else after.releases - own,
        "coarser": dict(coarser or {}),
        "this_release": _figures(after.smallest_alone, after.sizes),
        "all_releases": _figures(after.smallest_together, after.sizes_together),
        "suppressed": {
            "units": suppression.units,
            "share": round(suppression.share, 6),
            "limit": suppression.limit,
            "values": dict(suppression.values),
        },
        "before_suppression": _failing(suppression.before),
        "measures": evidence.measures(suppression.displayed, after.k),
        "diversity": [dict(one) for one in diversity],
        "attack": {
            "bounds": attack.bounds(after.sizes),
            "bounds_together": attack.bounds(after.sizes_together),
            "tries": [dict(one) for one in attacks],
        },
        "recipients_that_are_holders": [dict(one) for one in holders],
        "changes": [dict(one) for one in changes],
        "scanner": {"tables": found, "findings": sum(map(len, found.values()))},
        "deliveries": {name: [dict(one) for one in ones] for name, ones in deliveries.items()},
    }


def _figures(smallest: int, sizes: Mapping[int, int]) -> dict[str, Any]:
    by_size = {str(size): sizes[size] for size in sorted(sizes)}
    return {"smallest_cell": smallest, "cells": sum(sizes.values()), "sizes": by_size}


def _failing(before: Assessment) -> dict[str, int]:
    return {
        "failing_alone": before.failing_alone,
        "failing_together": before.failing_together,
        "units_at_risk": before.units_at_risk,
    }


DUMMY: Mapping[str, str] = {
    "en": "DUMMY DATA, invented, about nobody; not a release.",
    "nl": "DUMMYGEGEVENS, verzonnen, over niemand; geen vrijgave.",
    "fr": "DONNÉES FACTICES, inventées, sur personne ; pas une diffusion.",
    "de": "DUMMYDATEN, erfunden, über niemanden; keine Freigabe.",
}
"""What every document of a dummy begins with."""


def package(
    *,
    permit: str,
    project: str,
    period: str,
    title: Mapping[str, str],
    tables: Mapping[str, pa.Table],
    variables: Sequence[Variable],
    report: Mapping[str, Any],
    deliveries: Mapping[str, Sequence[Mapping[str, Any]]],
    formats: Sequence[str] = FORMATS,
    language: Language = "en",
    dummy: bool = False,
) -> dict[str, bytes]:
    """Every file of a release by its path; see the module's text.

    `formats` are endings of `FORMATS`; labels inside Stata and SPSS files are in `language`, where
    there is a text in it. A `dummy` has the same files, and each says what it is (in a CSV its
    pseudonyms do): its manifest is of another type, which is never signed, and what stands in the
    signature's place says so.

    Each table has a column `unit` first; `tables["units"]` has one row per unit. Columns are as
    `coarsening.shown` makes them, and each is described by a variable (a status column by its
    variable's). Raises `PackageError` for a table that isn't so.
    """
    ordered = {name: _sorted(_checked(name, table)) for name, table in sorted(tables.items())}
    if UNITS in ordered and len(pc.unique(ordered[UNITS][UNIT])) != ordered[UNITS].num_rows:
        raise PackageError("the table of units has a unit twice; it may have one row for each")
    said, note = {}, {}
    if dummy:
        title = {lang: f"{DUMMY[lang]} {text}" for lang, text in title.items()}
        said, note = {"dummy": dict(DUMMY)}, {"dummy": " ".join(DUMMY.values())}
    report = {**report, **said}
    planned = {
        name: labelled.plan(table, _described(name, variables), title, language)
        for name, table in ordered.items()
    }
    dictionary = {**_dictionary(ordered, variables, title, planned), **said}
    files = {
        "dictionary.json": _json(dictionary),
        "dictionary.html": documents.dictionary_page(dictionary).encode(),
        "report.json": _json(_rounded(report)),
        "report.html": documents.report_page(report, title).encode(),
    }
    for name, table in ordered.items():
        write: dict[str, Callable[[], bytes]] = {
            "parquet": partial(_parquet, table, note),
            "csv": partial(_csv, table),
            "dta": partial(labelled.stata, planned[name]),
            "sav": partial(labelled.spss, planned[name]),
        }
        files |= {f"data/{name}.{ending}": write[ending]() for ending in formats}
    sizes = {name: (table.num_rows, table.num_columns) for name, table in ordered.items()}
    found = report.get("linkage", {})
    files["README.md"] = documents.readme(
        sizes, title, project, period, formats, language, found, dummy=dummy
    ).encode()
    files[MANIFEST] = _manifest(files, ordered, permit, project, period, deliveries, said)
    if dummy:
        files[SIGNATURE] = _json({"type": "no-signature", **said})
    return dict(sorted(files.items()))


def _json(document: Any) -> bytes:
    """Canonical JSON (RFC 8785)."""
    return rfc8785.dumps(document)


def _rounded(value: Any) -> Any:
    """A document's numbers to nine digits.

    Rows are joined in a random order, which the last digits of a mean follow; a package that is
    made again is the same to the last byte.
    """
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


# --- tables --------------------------------------------------------------------------------------


def _checked(name: str, table: pa.Table) -> pa.Table:
    """The table in plain column types, when nothing in it is missing without a reason."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise PackageError("a table's name has to be of small letters, digits, - and _")
    if not table.num_columns or table.column_names[0] != UNIT:
        raise PackageError(f"the first column of table {name} has to be `{UNIT}`")
    columns = [_plain(column) for column in table.columns]
    for column, content in zip(table.column_names, columns, strict=True):
        explained = not pa.types.is_string(content.type) and column + STATUS in table.column_names
        if content.null_count and not explained:
            raise PackageError(f"{name}.{column} has missing values without a reason; see `shown`")
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _plain(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    return column


def _sorted(table: pa.Table) -> pa.Table:
    """Rows by pseudonym, and then by everything else: the order tells nothing of the source's."""
    return table.sort_by([(name, "ascending") for name in table.column_names]).combine_chunks()


def _parquet(table: pa.Table, note: Mapping[str, str]) -> bytes:
    sink = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(
        sink,
        table.schema,
        version="2.6",
        compression="zstd",
        compression_level=3,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=2**20)
        if note:
            writer.add_key_value_metadata(note)
    return sink.getvalue()


def _csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


# --- the dictionary ------------------------------------------------------------------------------


def _described(table: str, variables: Sequence[Variable]) -> dict[str, labelled.Described]:
    """What `labelled` has to know of a table's columns."""
    return {
        variable.name: labelled.Described(variable.title, variable.known)
        for variable in variables
        if variable.table == table
    }


def _dictionary(
    tables: Mapping[str, pa.Table],
    variables: Sequence[Variable],
    title: Mapping[str, str],
    planned: Mapping[str, labelled.Plan],
) -> dict[str, Any]:
    described = {(variable.table, variable.name): variable for variable in variables}
    listed = []
    for name, table in tables.items():
        columns = [
            {**_column(name, column, table, described), **planned[name].of(column)}
            for column in table.column_names
        ]
        listed.append({"name": name, "rows": table.num_rows, "variables": columns})
    return {
        "type": "data-dictionary",
        "version": 1,
        "title": dict(title),
        "tables": listed,
        "missing": {code: dict(texts) for code, texts in MISSING_CODES.items()},
        "classifications": classifications.PROVENANCE,
    }


def _column(
    table: str, column: str, content: pa.Table, described: Mapping[tuple[str, str], Variable]
) -> dict[str, Any]:
    stem = column.removesuffix(STATUS)
    variable = described.get((table, column))
    if variable is None and stem != column and (table, stem) in described:
        return {
            "name": column,
            "type": "string",
            "status_of": stem,
            "codes": {OBSERVED: dict(_OBSERVED)},
        }
    if variable is None:
        raise PackageError(f"{table}.{column} stands in no dictionary; describe every column")
    rule = variable.rule
    codes = dict(variable.codes) or (rule.names() if rule else {})
    return {
        "name": column,
        "type": str(content.schema.field(column).type),
        "title": dict(variable.title),
        "semantic_type": variable.semantic_type,
        "source": {"dataset": variable.dataset, "variable": variable.source},
        "rule": {lang: rule.describe(lang) for lang in LANGUAGES} if rule else {},
        "codes": {str(code): dict(texts) for code, texts in codes.items()},
    }


_OBSERVED: Mapping[Language, str] = {
    "en": "the value is there",
    "nl": "de waarde is er",
    "fr": "la valeur est présente",
    "de": "der Wert ist vorhanden",
}


# --- manifest and archive ------------------------------------------------------------------------


def _manifest(
    files: Mapping[str, bytes],
    tables: Mapping[str, pa.Table],
    permit: str,
    project: str,
    period: str,
    deliveries: Mapping[str, Sequence[Mapping[str, Any]]],
    said: Mapping[str, Any],
) -> bytes:
    made_of = {
        name: [{key: one[key] for key in ("generation", "mode")} for one in ones]
        for name, ones in deliveries.items()
    }
    return _json(
        {
            "type": "dummy-manifest" if said else "manifest",
            "version": SCHEMA_VERSION,
            **said,
            "permit": permit,
            "project": project,
            "period": period,
            "deliveries": made_of,
            "tables": [
                {"name": name, "rows": table.num_rows, "columns": table.column_names}
                for name, table in tables.items()
            ],
            "files": [
                {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for path, data in sorted(files.items())
            ],
        }
    )


def faults(files: Mapping[str, bytes]) -> list[str]:
    """What in a package differs from its manifest; an empty list when nothing does. The signature
    over the manifest is the vault's to verify."""
    if MANIFEST not in files:
        return [f"{MANIFEST} is missing"]
    try:
        entries = json.loads(files[MANIFEST])["files"]
        listed = {entry["path"]: entry["sha256"] for entry in entries}
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST} can't be read"]
    found = [f"{path} is missing" for path in sorted(listed.keys() - files.keys())]
    extra = files.keys() - listed.keys() - {MANIFEST, SIGNATURE}
    found += [f"{path} is not in the manifest" for path in sorted(extra)]
    for path in sorted(listed.keys() & files.keys()):
        if hashlib.sha256(files[path]).hexdigest() != listed[path]:
            found.append(f"{path} was changed")
    return found


def archive(files: Mapping[str, bytes]) -> bytes:
    """One tar (ustar) of the files: sorted, without owners or times, the same bytes every time."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def manifest_of(archived: bytes) -> bytes:
    """The manifest's bytes, without reading the rest of the archive; empty where there is none."""
    with tarfile.open(fileobj=io.BytesIO(archived), mode="r:") as tar:
        found = [entry for entry in tar if entry.name == MANIFEST]
        source = tar.extractfile(found[0]) if len(found) == 1 else None
        return source.read() if source else b""


def contents(archived: bytes) -> dict[str, bytes]:
    """The files of an archive by path. Anything but plain files under relative paths, and a path
    that stands there twice, is a `PackageError`."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archived), mode="r:") as tar:
            for entry in tar:
                source = tar.extractfile(entry) if entry.isreg() else None
                if source is None or not _is_safe(entry.name) or entry.name in files:
                    raise PackageError("the archive holds something that no release does")
                files[entry.name] = source.read()
    except tarfile.TarError:
        raise PackageError("this is not a release's archive, or it was cut short") from None
    return files


def _is_safe(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", part) for part in parts)
    return plain and bool(parts) and "/".join(parts) == path


def extract(archived: bytes, folder: Path) -> list[Path]:
    """Unpack an archive into a folder, for its owner's eyes only; the folder is made.

    A file that is there already and the same is left alone. Anything else that stands in the way is
    a `PackageError`, and then nothing is written.
    """
    files = contents(archived)
    missing = [path for path, data in files.items() if not _stands(folder / path, data)]
    for parent in dict.fromkeys([folder, *((folder / path).parent for path in missing)]):
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in missing:
        _write_private(folder / path, files[path])
    return [folder / path for path in files]


def _stands(target: Path, data: bytes) -> bool:
    """Whether this very file is there; a PackageError when something else is."""
    if not os.path.lexists(target):
        return False
    if target.is_symlink() or not target.is_file() or target.read_bytes() != data:
        raise PackageError(
            f"{target} exists and is not this package's; nothing was written. Choose another "
            "folder, or move the file away"
        )
    return True


def _write_private(target: Path, data: bytes) -> None:
    with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            target.unlink()  # half a file would stand in the way of the next try
            raise
