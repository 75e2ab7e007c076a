"""What a release looks like: its tables, their dictionary, and the figures about them.

Pure: subjects and values in, tables out. A release and the dummy of it are given their shape here,
so that what runs on the one runs on the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from api.operations.assembly import Rows, Source
from policies import coarsening, links, weights
from policies import releases as packages
from policies.cumulative import Displayed
from policies.permits import LINK_QUALITY, UNITS, Terms

Spoken = Mapping[str, tuple[Any, Any]]
"""By kind of unit: subjects, and the pseudonym of each."""


def subjects(
    sources: Sequence[Source], terms: Terms, units: pa.Table, rows: Mapping[str, Rows]
) -> dict[str, Any]:
    """The subjects that need a pseudonym, each once, by kind of unit."""
    named: dict[str, list[Any]] = {terms.unit_type: [units["unit"].combine_chunks()]}
    for source in sources:
        for reference, column in rows[source.permitted.id].subjects.items():
            named.setdefault(source.unit_type(reference), []).append(column.drop_null())
    return {
        kind: pc.unique(pa.chunked_array(pieces, pa.binary(16)).combine_chunks())
        for kind, pieces in named.items()
    }


def tables(
    sources: Sequence[Source],
    terms: Terms,
    units: pa.Table,
    rows: Mapping[str, Rows],
    spoken: Spoken,
) -> dict[str, pa.Table]:
    """The tables as they leave: pseudonyms in place of subjects."""

    def of(kind: str, named: Any) -> Any:
        known, names = spoken[kind]
        return names.take(pc.index_in(named, value_set=known))

    own_units = units["unit"].combine_chunks()
    made = {UNITS: units.set_column(0, "unit", of(terms.unit_type, own_units))}
    reference = terms.universe.reference
    for source in sources:
        part = rows[source.permitted.id]
        columns: dict[str, Any] = {"unit": of(terms.unit_type, part.subjects[reference])}
        if terms.link_quality:
            columns[LINK_QUALITY] = part.quality
        for name in source.permitted.references:
            if name != reference:
                pseudonyms = of(source.unit_type(name), part.subjects[name])
                columns |= coarsening.shown(name, pseudonyms)
        made[source.permitted.id] = pa.table({**columns, **part.columns})
    return made


def figures(
    sources: Sequence[Source],
    terms: Terms,
    universe: Sequence[str],
    shown: Displayed,
    rows: Mapping[str, Rows],
) -> dict[str, Any]:
    """What the report says besides disclosure: how well rows are linked, and the population that
    the weights stand for."""
    reference, keys, k = terms.universe.reference, terms.join.keys, terms.thresholds.k
    linked, populations = {}, []
    for source in sources:
        name, part = source.permitted.id, rows[source.permitted.id]
        unit = part.subjects[reference]
        linked[name] = pa.table({"unit": unit, "quality": part.quality})
        for leaves_as in set(source.of_type("weight")) - set(keys):
            weighted = pa.table({"unit": unit, "weight": part.columns[leaves_as]})
            figure = weights.estimates(shown.table, keys, weighted, k)
            populations.append({"dataset": name, "weight": leaves_as, **figure})
    rates = links.rates(shown.table, linked, universe, keys, k)
    return {"linkage": rates, "population": populations}


UNIT_TITLE = {
    "nl": "Pseudoniem, alleen geldig in dit project",
    "fr": "Pseudonyme, valable dans ce projet seulement",
    "de": "Pseudonym, nur in diesem Projekt gültig",
    "en": "Pseudonym, valid in this project only",
}
QUALITY_TITLE = {
    "nl": "Hoe goed de rij aan haar eenheid gekoppeld is",
    "fr": "Qualité de l'appariement de la ligne à son unité",
    "de": "Wie gut die Zeile mit ihrer Einheit verknüpft ist",
    "en": "How well the row is linked to its unit",
}


def _columns(source: Source, table: str, names: Sequence[str]) -> Iterator[packages.Variable]:
    """The dictionary's entries for a dataset's variables that stand in a table."""
    declared = {variable.name: variable for variable in source.declared.variables}
    for variable in source.permitted.variables:
        if variable.as_ in names:
            origin = declared[variable.name]
            yield packages.Variable(
                table=table,
                name=variable.as_,
                title=origin.title,
                semantic_type=origin.type,
                dataset=source.permitted.id,
                source=variable.name,
                rule=source.rules[variable.as_],
                codes=origin.codes or {},
            )


def variables(
    sources: Sequence[Source], terms: Terms, universe: Sequence[str]
) -> list[packages.Variable]:
    """What each column of each table is, for the data dictionary."""
    own = packages.Variable(UNITS, "unit", UNIT_TITLE, terms.unit_type)
    entries = {(UNITS, "unit"): own}
    for source in sources:
        name = source.permitted.id
        if name in universe:  # the first dataset of the universe that has a key describes it
            for variable in _columns(source, UNITS, terms.join.keys):
                entries.setdefault((UNITS, variable.name), variable)
        entries[name, "unit"] = packages.Variable(name, "unit", UNIT_TITLE, terms.unit_type)
        if terms.link_quality:
            entries[name, LINK_QUALITY] = packages.Variable(
                name, LINK_QUALITY, QUALITY_TITLE, "code", codes=links.QUALITY
            )
        for reference in source.permitted.references:
            if reference != terms.universe.reference:
                title = {language: f"{text} ({reference})" for language, text in UNIT_TITLE.items()}
                entries[name, reference] = packages.Variable(
                    name, reference, title, source.unit_type(reference)
                )
        others = [name for name in source.rules if name not in terms.join.keys]
        for variable in _columns(source, name, others):
            entries[name, variable.name] = variable
    return list(entries.values())
