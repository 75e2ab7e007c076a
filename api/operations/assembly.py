"""From sealed payloads and links to the tables of a release: join, coarsen, choose one row a unit.

Pure apart from what it is handed: Arrow tables in, Arrow tables out, subjects in place of people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import Dataset
from policies import PolicyError, coarsening, links
from policies.coarsening import NOT_IN_SOURCE, Rule
from policies.permits import PermittedDataset, Terms

SUBJECT = "subject"
GENERATION = "_generation"
"""Column of a payload that was put together from deliveries; no variable's name begins so."""


@dataclass(frozen=True)
class Source:
    """One dataset of a release: what was delivered, whom it is about, what may leave."""

    declared: Dataset
    permitted: PermittedDataset
    payload: pa.Table
    links: pa.Table
    rules: Mapping[str, Rule] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        declared: Dataset,
        permitted: PermittedDataset,
        period: str,
        payload: pa.Table,
        links: pa.Table,
    ) -> "Source":
        """With the rules of the permit, resolved for the period; by the name values leave under."""
        rules = {
            variable.as_: coarsening.parse_rule(variable.rule).resolve(period)
            for variable in permitted.variables
        }
        return cls(declared, permitted, payload, links, rules)

    def subjects(self, reference: str) -> Any:
        """The subject that each payload row names by a reference; null where it names none."""
        return self._by_row(reference, [SUBJECT])[SUBJECT].combine_chunks()

    def coarsened(self, leaves_as: str) -> Any:
        """A permitted variable's values, as coarse as the permit says."""
        return self.rules[leaves_as].apply(*self._delivered(leaves_as))

    def shown_by(self, rules: Mapping[str, Rule]) -> "Source":
        """With other rules for those keys that it has."""
        own = {name: rules.get(name, rule) for name, rule in self.rules.items()}
        return replace(self, rules=own)

    def fitted(self, terms: Terms, inside: Any = None) -> "Source":
        """With what rules need of their population: everything that was delivered or, given the
        units of the release, these. S11."""
        over = "delivery" if inside is None else "universe"
        unfitted = [name for name, rule in self.rules.items() if rule.computed_on == over]
        if not unfitted:
            return self
        every = np.arange(self.payload.num_rows)
        rows = pa.array(every if inside is None else _chosen(self, terms, inside)[0])
        units = self.subjects(terms.universe.reference).take(rows)
        rules = dict(self.rules)
        for name in unfitted:
            values, kind = self._delivered(name)
            rules[name] = rules[name].fit(values.take(rows), kind, units, terms.thresholds.k)
        return replace(self, rules=rules)

    def _delivered(self, leaves_as: str) -> tuple[Any, str]:
        """Values and semantic type of the variable that leaves under a name."""
        variable = next(item for item in self.permitted.variables if item.as_ == leaves_as)
        kind = next(item.type for item in self.declared.variables if item.name == variable.name)
        return self.payload[variable.name], kind

    def quality(self, reference: str) -> Any:
        """The class of link quality of each payload row's link by a reference."""
        decided = self._by_row(reference, ["rule", "probability"])
        return links.quality(decided["rule"], decided["probability"]).combine_chunks()

    def _by_row(self, reference: str, columns: Sequence[str]) -> pa.Table:
        """Columns of the links by a reference, a row per payload row; null where it has none."""
        chosen = self.links.filter(pc.equal(self.links["reference"], reference))
        places = pc.index_in(
            self.payload["row_key"].combine_chunks(),
            value_set=chosen["row_key"].combine_chunks(),
        )
        return chosen.select(columns).take(places)

    def of_type(self, semantic_type: str) -> list[str]:
        """The names under which variables of a type leave."""
        types = {variable.name: variable.type for variable in self.declared.variables}
        return [v.as_ for v in self.permitted.variables if types[v.name] == semantic_type]

    def unit_type(self, reference: str) -> str:
        """Kind of unit that a reference names."""
        return next(item.unit_type for item in self.declared.references if item.name == reference)


def key_table(sources: Sequence[Source], terms: Terms, universe: Sequence[str]) -> pa.Table:
    """One row per unit of the universe: subject and the join keys, coarsened.

    Where several rows say different things about a unit (it moved, a source is wrong), the first
    dataset of the universe that says anything is heard, and in it the value said most often; of
    two said equally often the one that sorts first, so that the same data give the same release.
    """
    heard = []
    by_name = {source.permitted.id: source for source in sources}
    for rank, name in enumerate(universe):
        source = by_name[name]
        subjects = source.subjects(terms.universe.reference)
        columns = {
            key: pc.cast(source.coarsened(key), pa.string())
            if key in source.rules
            else pa.nulls(len(subjects), pa.string())
            for key in terms.join.keys
        }
        rows = pa.table({SUBJECT: subjects, **columns, "rank": np.full(len(subjects), rank)})
        heard.append(rows.filter(pc.is_valid(rows[SUBJECT])))
    said = pa.concat_tables(heard)
    units = pc.unique(said[SUBJECT].combine_chunks())
    units = units.take(pc.sort_indices(units.cast(pa.binary())))
    columns = {
        key: pc.fill_null(_most_said(said, key, units), NOT_IN_SOURCE) for key in terms.join.keys
    }
    return pa.table({SUBJECT: units, **columns})


def _most_said(said: pa.Table, key: str, units: Any) -> Any:
    """For each unit the value of the best-placed dataset that was said most often."""
    counted = (
        said.filter(pc.is_valid(said[key]))
        .group_by([SUBJECT, "rank", key])
        .aggregate([([], "count_all")])
    )
    ordered = counted.sort_by(
        [("rank", "ascending"), ("count_all", "descending"), (key, "ascending")]
    )
    # index_in gives the first place of a subject, which is its best one
    places = pc.index_in(units, value_set=ordered[SUBJECT].combine_chunks())
    return ordered[key].combine_chunks().take(places)


def own_keys(
    own: Sequence[Source], sources: Sequence[Source], terms: Terms, shown: pa.Table
) -> pa.Table:
    """How the holder of some of a release's sources would show the keys of its units itself: from
    the variables that the keys are made of or, where a key comes from others, from a variable of
    its own of the same semantic type. `unit` and the keys that its sources tell of.

    Where its rows say several things about a unit, what is shown of it is taken if any of them says
    so: the holder would find that.
    """
    heard: dict[str, list[pa.Table]] = {}
    for key in terms.join.keys:
        rule, kind = _made_by(sources, key)
        for source in own:
            values = _own_values(source, key, rule, kind)
            if values is not None:
                subjects = source.subjects(terms.universe.reference)
                said = pa.table({"unit": subjects, "label": pc.cast(values, pa.string())})
                heard.setdefault(key, []).append(said.drop_null())
    units = shown["unit"].combine_chunks()
    columns = {}
    for key, tables in heard.items():
        said = pa.concat_tables(tables).group_by(["unit", "label"]).aggregate([])
        place = pc.index_in(said["unit"].combine_chunks(), value_set=units)
        as_shown = pc.equal(said["label"].combine_chunks(), shown[key].combine_chunks().take(place))
        said = said.append_column("rank", pc.if_else(pc.fill_null(as_shown, False), 0, 1))
        said = said.sort_by([("rank", "ascending"), ("label", "ascending")])
        first = pc.index_in(units, value_set=said["unit"].combine_chunks())
        columns[key] = said["label"].combine_chunks().take(first)
    return pa.table({"unit": units, **columns})


def _made_by(sources: Sequence[Source], key: str) -> tuple[Rule, str]:
    """The rule of a key and the semantic type that it is made of."""
    source = next(source for source in sources if key in source.rules)
    return source.rules[key], source._delivered(key)[1]


def _own_values(source: Source, key: str, rule: Rule, kind: str) -> Any:
    """A key's labels by a source's rows; None where it tells nothing of the key."""
    if key in source.rules:
        return source.coarsened(key)
    named = [one.name for one in source.declared.variables if one.type == kind]
    if len(named) != 1 or named[0] not in source.payload.column_names:
        return None
    try:
        return rule.apply(source.payload[named[0]], kind)
    except PolicyError:  # of another version of the codes: it can't be compared
        return None


def restrict(units: pa.Table, only: Mapping[str, Sequence[str]]) -> pa.Table:
    """Only the units whose keys have one of the values asked for."""
    for key, values in only.items():
        units = units.filter(pc.is_in(units[key], value_set=pa.array(values, pa.string())))
    return units


@dataclass(frozen=True)
class Rows:
    """One dataset's table before pseudonyms: subject columns by reference, and values."""

    subjects: Mapping[str, Any]
    columns: Mapping[str, Any]
    quality: Any
    """The class of link quality of each row's link to its unit."""
    outside: int
    """Rows left out because their unit isn't in the universe."""
    repeated: int
    """Rows left out because the unit has one already, where the dataset has one row per unit."""


def dataset_rows(source: Source, terms: Terms, units: Any) -> Rows:
    """A dataset's rows about the units of the release, without the keys (they're in `units`)."""
    reference = terms.universe.reference
    chosen, total = _chosen(source, terms, units)
    rows = pa.array(chosen)
    columns: dict[str, Any] = {}
    for variable in source.permitted.variables:
        if variable.as_ not in terms.join.keys:
            columns |= coarsening.shown(variable.as_, source.coarsened(variable.as_).take(rows))
    subjects = {
        name: source.subjects(name).take(rows)
        for name in {reference: 0, **dict.fromkeys(source.permitted.references)}
    }
    quality = source.quality(reference).take(rows)
    outside = source.payload.num_rows - total
    return Rows(subjects, columns, quality, outside, total - len(chosen))


def _chosen(source: Source, terms: Terms, units: Any) -> tuple[Any, int]:
    """Numbers of the rows about the units of the release, and how many there were before a unit's
    second row was left out."""
    own = source.subjects(terms.universe.reference)
    chosen = np.flatnonzero(pc.is_in(own, value_set=units).to_numpy(zero_copy_only=False))
    total = len(chosen)
    if source.declared.shape == "unit":
        chosen = _one_per_unit(source, terms.universe.reference, own, chosen)
    return chosen, total


def _one_per_unit(source: Source, reference: str, own: Any, rows: Any) -> Any:
    """S35: one row per unit. A unit delivered twice is shown once, by the earliest delivery's row;
    of two in one delivery by the one that is linked best, and of two linked equally well by the one
    whose values sort first. Where a row stands decides nothing: intake draws that, and the same
    data give the same release."""
    whose, count = np.unique(
        _integers(own.take(pa.array(rows))), return_inverse=True, return_counts=True
    )[1:]
    several = rows[count[whose] > 1]
    taken = pa.array(several)
    quality = source.quality(reference).take(taken)
    columns = [
        *(source.payload[name].take(taken)
          for name in source.payload.column_names if name == GENERATION),
        pc.index_in(quality, value_set=pa.array([*links.QUALITY])),
        *(source.payload[item.name].take(taken) for item in source.permitted.variables),
        *(source.subjects(name).take(taken).cast(pa.binary())
          for name in source.permitted.references),
    ]  # fmt: skip
    names = [str(number) for number in range(len(columns))]
    best_first = several[
        pc.sort_indices(
            pa.table(columns, names=names), sort_keys=[(name, "ascending") for name in names]
        )
    ]
    _, first = np.unique(_integers(own.take(pa.array(best_first))), return_index=True)
    return np.sort(np.concatenate([rows[count[whose] == 1], best_first[first]]))


def _integers(subjects: Any) -> Any:
    """16-byte ids as a numpy array that sorts and compares fast."""
    return np.frombuffer(subjects.cast(pa.binary(16)).buffers()[1], dtype="S16")[
        subjects.offset : subjects.offset + len(subjects)
    ]
