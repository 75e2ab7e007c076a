"""How fine may a value leave.

A rule is a list of steps as a permit states them, for example::

    [{"age_class": {"reference_date": {"2024": "2024-12-31"}, "breaks": [15, 20, 25, 30]}}]
    [{"geography": {"level": "arrondissement", "situation": 2025}}]
    [{"round": {"to": 100}}, {"top_code": {"at": 20000}}]
    [{"percentile": {"groups": 10, "over": "universe"}}]

`parse_rule` reads it, `Rule.resolve` fixes the period, `Rule.fit` computes what a rule needs of its
population, `Rule.apply` coarsens a column, and `fault_against_minimum` holds it against
`minimum_coarsening.yaml`, which no permit undercuts. The steps themselves are in `policies.steps`.

A missing value stays null through `Rule.apply`; `shown`, the last step before a column leaves,
says why it is missing: `NOT_IN_SOURCE`, `NOT_LINKED` or `SUPPRESSED`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from policies.classifications import UnmappedCodeError
from policies.steps import LANGUAGES, Interval, Language, Names, Population, RuleError
from policies.steps.codes import Geography, Keep, Nace, Nationality, Urbanisation, YesNo
from policies.steps.dates import EARLIEST, LATEST, Age, AgeClass, Dated, Quarter, Week, Year
from policies.steps.numbers import (
    BottomCode,
    Classes,
    Round,
    Significant,
    SizeClass,
    TopCode,
    fault_of_bounds,
)
from policies.steps.percentiles import Percentile

__all__ = [
    "EARLIEST",
    "LANGUAGES",
    "LATEST",
    "MISSING_CODES",
    "NOT_IN_SOURCE",
    "NOT_LINKED",
    "OBSERVED",
    "STATUS",
    "STEPS",
    "SUPPRESSED",
    "Interval",
    "Language",
    "Rule",
    "RuleError",
    "fault_against_minimum",
    "kind_of",
    "parse_rule",
    "shown",
]

NOT_IN_SOURCE = "_not_in_source"
NOT_LINKED = "_not_linked"
SUPPRESSED = "_suppressed"
MISSING_CODES: Mapping[str, Mapping[Language, str]] = {
    NOT_IN_SOURCE: {
        "en": "the holder's file has no value",
        "nl": "het bestand van de houder heeft geen waarde",
        "fr": "le fichier du détenteur ne contient pas de valeur",
        "de": "die Datei des Inhabers enthält keinen Wert",
    },
    NOT_LINKED: {
        "en": "no record of this unit was found in the dataset",
        "nl": "geen record van deze eenheid gevonden in de dataset",
        "fr": "aucun enregistrement de cette unité n'a été trouvé dans le jeu de données",
        "de": "kein Datensatz dieser Einheit im Datenbestand gefunden",
    },
    SUPPRESSED: {
        "en": "left out to protect the people concerned",
        "nl": "weggelaten om de betrokkenen te beschermen",
        "fr": "omis afin de protéger les personnes concernées",
        "de": "zum Schutz der Betroffenen weggelassen",
    },
}
"""Why a value is missing, by the code that stands in its place. The underscore keeps the codes
apart from every label a rule makes; `shown` refuses delivered values that look like one."""

OBSERVED = "observed"
STATUS = "_status"
"""A number can't hold a code: it is null, and the column `<name>_status` beside it holds the code,
or `OBSERVED`."""


Step = (
    Age | AgeClass | Week | Quarter | Year | Geography | Urbanisation | Nationality | Nace
    | Round | TopCode | BottomCode | Classes
    | SizeClass | Significant | Percentile | YesNo | Keep
)  # fmt: skip
STEPS: Mapping[str, type[Step]] = {step.name: step for step in get_args(Step)}

_KINDS: Mapping[str, str] = {
    "birth_date": "date",
    "date": "date",
    "municipality": "place",
    "postcode": "place",
    "amount": "number",
    "weight": "number",
    "integer": "number",
    "employees": "number",
    "nace": "NACE code",
}
"""What the values of a semantic type are; every other type is text."""


@dataclass(frozen=True)
class Rule:
    """What is done to a variable before it leaves; made by `parse_rule`."""

    steps: tuple[Step, ...]

    def resolve(self, period: str) -> "Rule":
        """The rule with the reference dates of one period; `RuleError` when it has none."""
        dated = (step.resolve(period) if isinstance(step, Dated) else step for step in self.steps)
        return Rule(tuple(dated))

    @property
    def computed_on(self) -> Population | None:
        """The population that `fit` has yet to be given; None when the rule needs none."""
        found = (step.computed_on for step in self.steps if isinstance(step, Percentile))
        return next(found, None)

    def fit(self, column: Any, semantic_type: str, units: Any, k: int) -> "Rule":
        """The rule with what it needs of its population (`computed_on`).

        `column` holds the population's values as delivered, `units` the unit of each (null where
        a row names none). No group that is made holds fewer than `k` distinct units; `RuleError`
        when that can't be. What is computed stays in the rule: nothing that it shows, names or
        describes holds it.
        """
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, Percentile):
                values = Rule(tuple(steps)).apply(column, semantic_type)
                steps.append(step.fit(values, _whole(units), k))
            else:
                steps.append(step)
        return Rule(tuple(steps))

    def apply(self, column: Any, semantic_type: str) -> Any:
        """Coarsen an Arrow array (or chunked array) of the type's values, nulls staying null.

        Gives labels (string), numbers (the column's own type) or, with `keep`, the values
        themselves. Raises `RuleError` when a step doesn't fit the type, and
        `classifications.UnmappedCodeError` for a code that isn't in the tables.
        """
        return _whole(self.coarsen(column, semantic_type))

    def coarsen(self, column: Any, semantic_type: str) -> Any:
        """The same, and labels come as a dictionary array: each distinct value is worked on once,
        and a dictionary array (or chunked array of some) is never spread out."""
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if _KINDS.get(semantic_type) == "number":
            return self._stepped(_whole(whole), semantic_type)
        encoded = _encoded(whole)
        try:
            values = self._stepped(encoded.dictionary, semantic_type)
        except UnmappedCodeError:  # its counts are of rows, and a value that no row has is no fault
            return self._stepped(encoded.dictionary_decode(), semantic_type)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if not pa.types.is_string(values.type):
            return values.take(encoded.indices)
        labels = values.dictionary_encode()
        if len(labels.dictionary) == len(values):  # each value has a label of its own
            return pa.DictionaryArray.from_arrays(encoded.indices, values)
        return pa.DictionaryArray.from_arrays(
            labels.indices.take(encoded.indices), labels.dictionary
        )

    def _stepped(self, values: Any, semantic_type: str) -> Any:
        kind = _KINDS.get(semantic_type, "text")
        for step in self.steps:
            if step.takes not in ("any", kind):
                raise RuleError(f"{step.name} needs a {step.takes}; {semantic_type} is a {kind}")
            if isinstance(step, Geography | Urbanisation):
                values = step.apply(values, semantic_type)
            else:
                values = step.apply(values)
            kind = kind if step.gives == "any" else step.gives
        return values

    def intervals(self) -> dict[str, Interval] | None:
        """What each label says about the value that was delivered, where a rule is one step that
        can tell: days of birth, hundredths of a number. Else None."""
        return self.steps[0].intervals() if len(self.steps) == 1 else None

    def names(self) -> Names:
        """Names by language of the codes this rule makes; empty where labels speak for
        themselves."""
        return self.steps[-1].names()

    def describe(self, language: Language) -> str:
        """The rule as one sentence."""
        text = "; ".join(step.describe(language) for step in self.steps)
        return text[0].upper() + text[1:] + "."


def _whole(column: Any) -> Any:
    """One array, of plain values."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


_MOST_DAYS = 1_000_000


def _encoded(values: Any) -> Any:
    """Values as a dictionary array. For days every day of their span stands in the dictionary,
    which takes no looking up."""
    if pa.types.is_dictionary(values.type):
        return values
    span = pc.min_max(values).as_py() if pa.types.is_date32(values.type) else {"min": None}
    if span["min"] is None or (span["max"] - span["min"]).days >= _MOST_DAYS:
        return values.dictionary_encode()
    numbers = values.cast(pa.int32())
    first = pc.min(numbers)
    days = pa.array(np.arange(first.as_py(), pc.max(numbers).as_py() + 1, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(pc.subtract(numbers, first), days.cast(pa.date32()))


def kind_of(semantic_type: str) -> str:
    """What the values of a semantic type are: `date`, `place`, `number`, `NACE code` or `text`."""
    return _KINDS.get(semantic_type, "text")


def parse_rule(doc: Any) -> Rule:
    """Read a permit's rule: a list of steps, each a mapping of its name to its settings."""
    if not isinstance(doc, Sequence) or isinstance(doc, str) or not doc:
        raise RuleError("a rule is a list of at least one step, as [{keep: {}}]")
    rule = Rule(tuple(_parse_step(item) for item in doc))
    for before, after in zip(rule.steps, rule.steps[1:], strict=False):
        if after.takes != before.gives:
            raise RuleError(f"{after.name} can't follow {before.name}; it needs a {after.takes}")
    if fault := fault_of_bounds(rule.steps):
        raise RuleError(fault)
    return rule


def _parse_step(item: Any) -> Step:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise RuleError("a step is a mapping of one name to its settings, as {round: {to: 100}}")
    [(name, settings)] = item.items()
    if name not in STEPS:
        raise RuleError(f"no such step; there are {', '.join(STEPS)}")
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise RuleError(f"the settings of {name} have to be a mapping")
    try:
        return STEPS[name].parse(**settings)
    except TypeError:
        raise RuleError(f"the settings of {name} are not the ones it has") from None


# --- the minimum -------------------------------------------------------------------------------


@cache
def _minimum() -> dict[str, list[dict[str, dict[str, Any]]]]:
    text = (Path(__file__).parent / "minimum_coarsening.yaml").read_text(encoding="utf-8")
    document: dict[str, list[dict[str, dict[str, Any]]]] = yaml.safe_load(text)
    return document


def _spell(alternative: Mapping[str, Mapping[str, Any]]) -> str:
    return " and ".join(
        " ".join([name, *(STEPS[name].limits[at].format(value) for at, value in limits.items())])
        for name, limits in alternative.items()
    )


def fault_against_minimum(semantic_type: str, rule: Rule) -> str | None:
    """Why a rule is finer than any permit may allow, with what would be allowed; None if it isn't.

    The limits are `minimum_coarsening.yaml`'s; a type that isn't there never leaves.
    """
    alternatives = _minimum().get(semantic_type, [])
    if not alternatives:
        return f"a variable of type {semantic_type} never leaves; take it out of the request"
    steps = {step.name: step for step in rule.steps}
    for alternative in alternatives:
        same = len(rule.steps) == len(steps) and steps.keys() == alternative.keys()
        if same and all(steps[name].within(limits) for name, limits in alternative.items()):
            return None
    allowed = ", or ".join(map(_spell, alternatives))
    asked = " and ".join(step.name for step in rule.steps)
    return f"{semantic_type} may leave as {allowed}; the rule ({asked}) is not within that"


# --- what stands in a missing value's place ----------------------------------------------------


def shown(name: str, values: Any, missing: Any = None, *, encoded: bool = False) -> dict[str, Any]:
    """The column or columns under which coarsened values leave; no null is left unexplained.

    `missing` is a text array of the same length with the code that stands for a null
    (`NOT_IN_SOURCE` where it is null or absent). Text takes the code itself, and a dictionary array
    of text stays one. Other types stay null and get a second column `<name>_status`: text, or a
    dictionary array of it where `encoded` is asked for.
    """
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(values.type):
        if pa.types.is_string(values.type.value_type):
            return {name: _shown_once(name, values, missing)}
        values = values.cast(values.type.value_type)
    if not pa.types.is_string(values.type):
        status = _status(values, missing)
        return {name: values, name + STATUS: status if encoded else status.dictionary_decode()}
    nowhere = pa.nulls(len(values), pa.string())
    codes = pc.fill_null(nowhere if missing is None else missing, NOT_IN_SOURCE)
    _refuse_reserved(name, values)
    return {name: pc.coalesce(values, codes)}


def _refuse_reserved(name: str, values: Any) -> None:
    if pc.any(pc.is_in(values, value_set=pa.array(list(MISSING_CODES)))).as_py():
        raise RuleError(
            f"{name} has delivered values that look like a code for a missing value; have the "
            "holder declare them as missing"
        )


def _reasons(missing: Any) -> Any:
    """For each row, which of the codes stands for its value if that is missing."""
    if missing is None:
        return pa.scalar(0, pa.int32())
    return pc.index_in(
        pc.fill_null(missing, NOT_IN_SOURCE), value_set=pa.array(list(MISSING_CODES))
    )


def _status(values: Any, missing: Any) -> Any:
    """Whether each value is there, or why it isn't, as a dictionary array."""
    if not values.null_count:
        places = pa.array(np.zeros(len(values), np.int32))
    else:
        why = pc.add(_reasons(missing), pa.scalar(1, pa.int32()))
        places = pc.if_else(pc.is_valid(values), pa.scalar(0, pa.int32()), why)
    return pa.DictionaryArray.from_arrays(places, pa.array([OBSERVED, *MISSING_CODES]))


def _shown_once(name: str, encoded: Any, missing: Any) -> Any:
    """Labels as a dictionary array, with the codes for missing values in the dictionary."""
    _refuse_reserved(name, encoded.dictionary)
    place = encoded.indices.cast(pa.int32())
    if place.null_count:
        why = pc.add(_reasons(missing), pa.scalar(len(encoded.dictionary), pa.int32()))
        place = pc.coalesce(place, why)
    return pa.DictionaryArray.from_arrays(
        place, pa.concat_arrays([encoded.dictionary, pa.array(list(MISSING_CODES))])
    )
