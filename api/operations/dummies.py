"""A dummy of a release: its exact shape before anything is released, and not one real value in it.

It is made from an application's terms and the declarations of the datasets it asks for. No delivery
is looked at and no role's key is asked for, so that the API's own process makes it, and a
researcher can write the analysis while people still decide. What a declaration allows is invented
(`invention`) and goes through the very functions that a release goes through, so that files,
tables, columns, types and code lists can't differ.

It can't be taken for a release. Its manifest is of a type of its own, which the vault doesn't sign;
every document begins with saying so; pseudonyms have a key version that no key has, and read FAKE.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.operations import Work, assembly, found, invention, shape
from api.operations.assembly import Rows, Source
from api.operations.projects import thing
from api.operations.standing import Part
from api.problems import Problem
from api.store import Application, Dataset
from keyvault import pseudonyms
from linkage.datasets import Dataset as Declaration
from policies import PolicyError, coarsening, cumulative, permits
from policies import releases as packages
from policies.coarsening import MISSING_CODES, STATUS, SUPPRESSED
from policies.cumulative import Displayed, Suppression
from policies.permits import LINK_QUALITY, UNITS, Terms

FEWEST, MOST = 10, 10_000
"""Units that a dummy may have."""
PLANTED = 0.01
"""Share of rows in which each code for a missing value stands; one row at least."""


def dummy(
    work: Work,
    identifier: str,
    units: int,
    period: str | None = None,
    language: coarsening.Language = "en",
) -> bytes:
    """The archive of a dummy for a period (the first asked for, unless another is said), the same
    every time; `language` is that of labels inside Stata and SPSS files. For the applicant and the
    office's staff, once the application is complete."""
    row = work.session.get(Application, identifier)
    work.demand("application.dummy", thing(row))
    application: Application = found(row)
    asked = permits.Application.from_document(application.document)
    chosen = period or asked.periods()[0]
    wanted = [entry.id for entry in asked.datasets if chosen in entry.periods]
    universe = [name for name in asked.universe.datasets if name in wanted]
    if not universe:
        raise Problem(
            "bad-request",
            "The application asks for no universe in this period.",
            f"Its periods are {', '.join(asked.periods())}.",
        )
    declared = {
        name: Declaration.from_mapping(found(work.session.get(Dataset, name)).declaration)
        for name in wanted
    }
    try:
        files = package(application.id, asked, declared, universe, chosen, units, language)
    except PolicyError as fault:  # percentiles, say, need so many units
        raise Problem("bad-request", str(fault), "Ask for a dummy of more units.") from None
    return packages.archive(files)


def package(
    application: str,
    asked: permits.Application,
    declared: Mapping[str, Declaration],
    universe: Sequence[str],
    period: str,
    units: int,
    language: coarsening.Language = "en",
) -> dict[str, bytes]:
    """Every file of a dummy by its path. Pure: terms and declarations in, files out."""
    seed = f"{permits.sha256(asked.document())}|{period}|{units}".encode()
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest()))
    crowd = invention.Crowd.of(units, random)
    sources = [_source(asked, declared[name], universe, period, crowd, random) for name in declared]
    sources = [source.fitted(asked) for source in sources]
    shown = _shown(application, asked, sources, universe, period)
    inside = shown.table["unit"].combine_chunks()
    sources = [source.fitted(asked, inside) for source in sources]
    rows = {source.permitted.id: assembly.dataset_rows(source, asked, inside) for source in sources}
    tables = {
        name: _with_codes(table, random)
        for name, table in _spoken(sources, asked, shown, rows, random).items()
    }
    made_of = {
        source.permitted.id: [Part(1, "new", source.payload, source.links).told()]
        for source in sources
    }
    report = packages.report(
        unit_type=asked.unit_type,
        scenario=asked.scenario,
        suppression=_suppression(asked, shown, tables[UNITS]),
        findings={},
        deliveries=made_of,
    )
    report |= shape.figures(sources, asked, universe, shown, rows)
    return packages.package(
        permit=application,
        project=asked.project,
        period=period,
        title=dict.fromkeys(coarsening.LANGUAGES, asked.title),
        tables=tables,
        variables=shape.variables(sources, asked, universe),
        deliveries=made_of,
        report=report,
        language=language,
        dummy=True,
    )


def _source(
    asked: Terms,
    declared: Declaration,
    universe: Sequence[str],
    period: str,
    crowd: invention.Crowd,
    random: invention.Random,
) -> Source:
    """One dataset; everybody is in the first of the universe, most in the others."""
    permitted = found(asked.dataset(declared.id))
    share = 1.0 if declared.id == universe[0] else 0.7
    payload, links = invention.delivery(
        declared, permitted, period, asked.universe.reference, crowd, share, random
    )
    return Source.of(declared, permitted, period, payload, links)


def _shown(
    application: str, asked: Terms, sources: Sequence[Source], universe: Sequence[str], period: str
) -> Displayed:
    units = assembly.key_table(sources, asked, universe)
    units = units.rename_columns(["unit", *asked.join.keys])
    rules = {key: rule for source in sources for key, rule in source.rules.items()}
    keys = {key: rules[key] for key in asked.join.keys}
    return Displayed.under(application, period, units, keys, asked.scenario, asked.thresholds.k)


def _spoken(
    sources: Sequence[Source],
    asked: Terms,
    shown: Displayed,
    rows: Mapping[str, Rows],
    random: invention.Random,
) -> dict[str, pa.Table]:
    named = shape.subjects(sources, asked, shown.table, rows)
    spoken = {
        kind: (subjects, pseudonyms.dummies(kind, random.bytes(16 * len(subjects))))
        for kind, subjects in named.items()
    }
    return shape.tables(sources, asked, shown.table, rows, spoken)


def _with_codes(table: pa.Table, random: invention.Random) -> pa.Table:
    """Each code for a missing value in some rows of every column that can hold one: what a release
    may say, a script has to understand."""
    for place, name in enumerate(table.column_names):
        if name in ("unit", LINK_QUALITY) or name.endswith(STATUS):
            continue
        order = random.permutation(table.num_rows)
        each = max(1, int(PLANTED * table.num_rows))
        codes = np.full(table.num_rows, None, object)
        for number, code in enumerate(MISSING_CODES):
            codes[order[number * each : (number + 1) * each]] = code
        planted = pa.array(codes, pa.string())
        column = table[name]
        if pa.types.is_string(column.type):
            table = table.set_column(place, name, pc.coalesce(planted, column))
            continue
        gone = pc.is_valid(planted)
        column = pc.if_else(gone, pa.scalar(None, column.type), column)
        status = table.column_names.index(name + STATUS)
        told = pc.coalesce(planted, table[name + STATUS])
        table = table.set_column(place, name, column).set_column(status, name + STATUS, told)
    return table


def _suppression(asked: Terms, shown: Displayed, units: pa.Table) -> Suppression:
    """The outcome of a test of the dummy, for a report of the same shape; nothing rests on it."""
    tested = cumulative.assess([], shown, asked.scenario, asked.thresholds.k)
    hidden = {key: pc.equal(units[key], SUPPRESSED) for key in asked.join.keys}
    silent = np.logical_or.reduce([flags.to_numpy() for flags in hidden.values()])
    return Suppression(
        displayed=shown,
        units=int(silent.sum()),
        share=float(silent.mean()),
        values={key: int(pc.sum(flags).as_py()) for key, flags in hidden.items()},
        before=tested,
        after=tested,
        limit=asked.thresholds.suppression,
    )
