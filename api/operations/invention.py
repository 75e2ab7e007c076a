"""Payloads and links of the form that a delivery has, made up from its declaration alone.

Nothing here has ever seen a row of data. Values are of the type that intake gives them, evenly
drawn from what a declaration allows; the same random generator gives the same values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import Dataset, Reference, Variable
from linkage.verdicts import RULES
from policies import classifications
from policies.classifications import activities
from policies.permits import PermittedDataset

Random = np.random.Generator
Chosen = npt.NDArray[np.int64]

MISSING = 0.05
"""Share of values that a holder's file has none of, unless they are required."""
NOT_NAMED = 0.1
"""Share of rows that don't name the unit of a reference, such as a father."""
LONGEST_AGO = 100
"""Years before the period in which dates of birth lie."""


@dataclass(frozen=True)
class Crowd:
    """The subjects of a dummy: the units it is about, and others that rows mention, by kind."""

    units: Any
    others: Mapping[str, Any]

    @classmethod
    def of(cls, units: int, random: Random) -> "Crowd":
        """So many units; fewer mothers and households, few employers."""
        sizes = {
            "person": 1 + units // 3,
            "household": 1 + units // 2,
            "enterprise": 1 + units // 9,
        }
        others = {kind: ids(number, random) for kind, number in sizes.items()}
        return cls(ids(units, random), others)


def ids(number: int, random: Random) -> Any:
    """Random 16-byte ids."""
    data = pa.py_buffer(random.bytes(16 * number))
    return pa.Array.from_buffers(pa.binary(16), number, [None, data])


def delivery(
    declared: Dataset,
    permitted: PermittedDataset,
    period: str,
    reference: str,
    crowd: Crowd,
    share: float,
    random: Random,
) -> tuple[pa.Table, pa.Table]:
    """Payload and links of one dataset, about a share of the crowd's units.

    The payload has the permitted variables; the links tell for each row the unit that `reference`
    names, and some unit for every other reference permitted.
    """
    about = np.sort(random.permutation(len(crowd.units))[: max(1, round(share * len(crowd.units)))])
    if declared.shape == "spells":
        about = np.repeat(about, random.geometric(0.4, len(about)))
    row_key = ids(len(about), random)
    columns = {
        variable.name: values(declared.variable(variable.name), period, len(about), random)
        for variable in permitted.variables
    }
    named = {item.name: item for item in declared.references}
    links = [_links(row_key, reference, crowd.units.take(pa.array(about)), random)]
    for name in permitted.references:
        if name != reference:
            links.append(_mentioned(row_key, named[name], crowd, random))
    return pa.table({"row_key": row_key, **columns}), pa.concat_tables(links)


def _mentioned(row_key: Any, reference: Reference, crowd: Crowd, random: Random) -> pa.Table:
    rows = np.flatnonzero(random.random(len(row_key)) >= NOT_NAMED)
    others = crowd.others[reference.unit_type]
    whom = others.take(pa.array(random.integers(0, len(others), len(rows))))
    return _links(row_key.take(pa.array(rows)), reference.name, whom, random)


def _links(row_key: Any, reference: str, subject: Any, random: Random) -> pa.Table:
    """As a linkage gives them; every rule occurs."""
    rules = pa.array(list(RULES)).take(pa.array(random.integers(0, len(RULES), len(row_key))))
    fuzzy = np.array(rules.to_pylist(), object) == "fuzzy"
    return pa.table(
        {
            "row_key": row_key,
            "reference": pa.repeat(reference, len(row_key)),
            "rule": rules,
            "probability": pa.array(random.uniform(0.95, 1.0, len(row_key)), mask=~fuzzy),
            "subject": subject,
        }
    )


# --- values by semantic type -----------------------------------------------------------------


def values(variable: Variable, period: str, rows: int, random: Random) -> Any:
    """A column of a variable as intake types it; some are missing unless it is required."""
    made = _made(variable, int(period[:4]), rows, random)
    if variable.required:
        return made
    missing = pa.array(random.random(rows) < MISSING)
    return pc.if_else(missing, pa.scalar(None, made.type), made)


def _made(variable: Variable, year: int, rows: int, random: Random) -> Any:
    if variable.codes is not None and variable.type not in _NUMBERS:
        return _one_of(list(variable.codes), rows, random)
    if variable.type in ("birth_date", "date"):
        first = date(year - (LONGEST_AGO if variable.type == "birth_date" else 1), 1, 1)
        days = (date(year, 12, 31) - first).days + 1
        start = (first - date(1970, 1, 1)).days
        return pa.array(start + random.integers(0, days, rows), pa.int32()).cast(pa.date32())
    if variable.type in _NUMBERS:
        return pa.array(_NUMBERS[variable.type](random, rows))
    return _one_of(_choices(variable.type, year), rows, random)


def _one_of(choices: list[str], rows: int, random: Random) -> Any:
    return pa.array(choices, pa.string()).take(pa.array(random.integers(0, len(choices), rows)))


_NUMBERS: Mapping[str, Callable[[Random, int], Any]] = {
    "amount": lambda random, rows: np.round(random.gamma(2.0, 1500.0, rows), 2),
    "weight": lambda random, rows: np.round(1 + random.gamma(2.0, 50.0, rows), 4),
    "integer": lambda random, rows: random.integers(0, 10, rows),
    "employees": lambda random, rows: np.floor(random.lognormal(2.0, 1.5, rows)).astype(np.int64),
    "yes_no": lambda random, rows: random.random(rows) < 0.5,
}


def _choices(semantic_type: str, year: int) -> list[str]:
    """Texts that a type without a code list may have."""
    match semantic_type:
        case "municipality" | "postcode":
            return classifications.lasting(semantic_type)
        case "sex":
            return ["F", "M"]
        case "nace":
            return activities.lasting()
        case "quarter":
            return [f"{year}Q{quarter}" for quarter in range(1, 5)]
        case "year":
            return [str(year)]
        case "code":
            return [f"dummy-{number}" for number in range(1, 6)]
    raise ValueError(f"a {semantic_type} never leaves, so that no dummy has one")
