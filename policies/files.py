"""Rules for a file that somebody coarsens without the service.

The document names every column that leaves, what its values are and what is done to them, in the
language of permits (`policies.coarsening`)::

    period: "2025"       # for rules with a reference date for each period
    unit: person         # whom a row is about, where percentiles are computed
    k: 5                 # units that a group of percentiles has at least
    variables:
      - {name: birth_date, type: birth_date, as: age_class, rule: [{age_class: …}]}
      - {name: person, type: code, rule: [{keep: {}}]}

A column that isn't named doesn't leave. A value that isn't there is null or an empty text; one that
says already why it is missing (`_not_in_source`, `_not_linked`, `_suppressed`) goes on saying so.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError
from policies.classifications import straddles
from policies.coarsening import (
    MISSING_CODES,
    NOT_IN_SOURCE,
    Rule,
    RuleError,
    kind_of,
    parse_rule,
    shown,
)

_SETTINGS = {"period", "unit", "k", "variables"}
_VARIABLE = {"name", "type", "as", "rule"}


@dataclass(frozen=True)
class Variable:
    """A column: its name in the file and in what is written, its semantic type, and its rule."""

    name: str
    type: str
    as_: str
    rule: Rule


@dataclass(frozen=True)
class FileRules:
    """What is done to the columns of a file; made by `from_mapping`."""

    variables: tuple[Variable, ...]
    unit: str | None
    k: int

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> "FileRules":
        """Read the document; `RuleError` says what is wrong, and of which variable."""
        if unknown := sorted(document.keys() - _SETTINGS):
            raise RuleError(f"{unknown[0]} is no setting of rules for a file; leave it out")
        listed = document.get("variables")
        if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
            raise RuleError("name the `variables` that leave, each with name, type and rule")
        period, k = document.get("period"), document.get("k", 5)
        if type(k) is not int or k < 1:
            raise RuleError("k has to be a whole number of 1 or more")
        variables = tuple(_variable(item, period) for item in listed)
        written = [variable.as_ for variable in variables]
        if twice := [name for name in written if written.count(name) > 1]:
            raise RuleError(f"two variables would be written as {twice[0]}; give one another `as`")
        unit = document.get("unit")
        if unit is None and any(variable.rule.computed_on for variable in variables):
            raise RuleError("percentiles are computed on units; name the column of the `unit`")
        return cls(variables, None if unit is None else str(unit), k)

    @property
    def named(self) -> list[str]:
        """The columns that leave, as the file names them."""
        return [variable.name for variable in self.variables]

    @property
    def reads(self) -> list[str]:
        """The columns that are needed."""
        return list(dict.fromkeys([*self.named, *([self.unit] if self.unit else [])]))

    @property
    def rules(self) -> dict[str, Rule]:
        """Each written column's rule."""
        return {variable.as_: variable.rule for variable in self.variables}

    def apply(self, table: pa.Table) -> pa.Table:
        """The coarsened table: a column for each variable, and `<name>_status` beside numbers."""
        units = None if self.unit is None else table[self.unit].combine_chunks()
        columns: dict[str, Any] = {}
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for made in pool.map(
                lambda one: self._made(one, table[one.name], units), self.variables
            ):
                if taken := made.keys() & columns.keys():
                    raise RuleError(f"{min(taken)} would be written twice; give one another `as`")
                columns |= made
        return pa.table(columns)

    def straddling(self, table: pa.Table) -> dict[str, int]:
        """By column of postcodes, how many values lie in several municipalities by the published
        table, which names one of them."""
        places = [one.name for one in self.variables if one.type == "postcode"]
        counts = {name: straddles(_typed(name, table[name], "postcode")[0]) for name in places}
        return {name: count for name, count in counts.items() if count}

    def _made(self, variable: Variable, column: Any, units: Any) -> dict[str, Any]:
        """What is written of one variable."""
        values, missing = _typed(variable.name, column, variable.type)
        rule = variable.rule
        try:
            if rule.computed_on:
                rule = rule.fit(values, variable.type, units, self.k)
            done = rule.coarsen(values, variable.type)
        except PolicyError as error:
            raise RuleError(f"{variable.name}: {error}") from None
        return shown(variable.as_, done, missing, encoded=True)


def _variable(item: Any, period: Any) -> Variable:
    if not isinstance(item, Mapping) or not {"name", "type", "rule"} <= item.keys() <= _VARIABLE:
        raise RuleError("each variable has a name, a type, a rule, and `as` if it gets a new name")
    name = str(item["name"])
    try:
        rule = parse_rule(item["rule"])
        if period is not None:
            rule = rule.resolve(str(period))
    except RuleError as error:
        raise RuleError(f"the rule of {name}: {error}") from None
    return Variable(name, str(item["type"]), str(item.get("as", name)), rule)


def _typed(name: str, column: Any, semantic_type: str) -> tuple[Any, Any]:
    """A column's values in the kind that its type has, and why those that are missing are."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind, missing = kind_of(semantic_type), None
    texts = whole.type.value_type if pa.types.is_dictionary(whole.type) else whole.type
    if pa.types.is_string(texts) or pa.types.is_large_string(texts):
        encoded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
        values = encoded.dictionary.cast(pa.string())
        codes = pc.is_in(values, value_set=pa.array(list(MISSING_CODES)))
        if pc.any(codes).as_py():
            missing = pc.if_else(codes, values, NOT_IN_SOURCE).take(encoded.indices)
        gone = pc.or_(codes, pc.equal(values, ""))
        values = _read(name, pc.if_else(gone, pa.scalar(None, pa.string()), values), kind)
        return pa.DictionaryArray.from_arrays(encoded.indices, values), missing
    if kind in ("place", "NACE code", "text"):
        return _as_texts(whole), missing
    if (kind == "date") != pa.types.is_temporal(texts):
        raise RuleError(f"{name} holds no {kind}s; give it the type that its values have")
    return whole, missing


def _as_texts(whole: Any) -> Any:
    values = whole.dictionary if pa.types.is_dictionary(whole.type) else whole
    if not pa.types.is_integer(values.type):
        return whole
    texts = values.cast(pa.string())
    if not pa.types.is_dictionary(whole.type):
        return texts
    return pa.DictionaryArray.from_arrays(whole.indices, texts)


def _read(name: str, texts: Any, kind: str) -> Any:
    """Texts as dates or numbers; what is neither is counted, never shown."""
    if kind not in ("date", "number"):
        return texts
    shape = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$" if kind == "date" else r"^-?[0-9]+([.][0-9]+)?$"
    odd = pc.sum(pc.invert(pc.match_substring_regex(texts, shape))).as_py()
    whole = kind == "number" and not pc.any(pc.match_substring(texts, ".")).as_py()
    to = pa.date32() if kind == "date" else pa.int64() if whole else pa.float64()
    try:
        if not odd:
            return texts.cast(to)
    except pa.ArrowInvalid:
        odd = "some"
    what = "days, written as 2024-12-31" if kind == "date" else "numbers, written as 1234.56"
    raise RuleError(f"{odd} distinct values of {name} are no {what}; correct them, or its type")
