"""Blocking rules of the engine's own choice: counted before anything is compared.

A rule is worth having when few strangers agree on it. Together the rules must find a pair in spite
of any one error: for each field there is a rule without it, even if that costs more.
"""

from typing import Final

import numpy as np

from linkage.kernel.blocks import FIELDS, block
from linkage.kernel.columns import Encoded, Packed, key

CHEAP: Final = 8.0
"""Candidates per row up to which a rule is taken at once."""
NOTHING: Final = 300_000.0
"""Candidates that are compared in no time: small files can afford wider rules."""
DEAR: Final = 60.0
"""Candidates per row that a rule may cost if nothing else does without some field."""
MANY: Final = 200_000
"""Rows from which candidates are counted on a part of the keys, for the choice."""
CHOICES: Final[tuple[tuple[str, ...], ...]] = (
    ("head", "last"),
    ("last", "birth_date"),
    ("head", "birth_date"),
    ("postcode", "street", "house_number"),
    ("municipality", "street", "house_number"),
    ("phone",),
    ("email",),
    ("company_name",),
    ("company_name", "postcode"),
    ("company_name", "street"),
    ("birth_date", "postcode"),
    ("birth_date", "street"),
    ("birth_date",),
    ("last", "postcode"),
    ("head", "postcode"),
    ("street", "house_number"),
    ("head", "street"),
    ("last", "street"),
    ("last", "birth_year"),
    ("head", "birth_year"),
    ("postcode", "house_number"),
    ("last", "municipality"),
    ("head", "municipality"),
    ("postcode",),
    ("street",),
    ("last",),
)


def named(rule: tuple[str, ...]) -> str:
    """A rule in the words of a plan."""
    return " + ".join(FIELDS.get(part, part) for part in rule)


def possible(encoded: Encoded) -> tuple[tuple[str, ...], ...]:
    """The blocking rules that the fields of these files allow, the likeliest choice first."""
    texts = [part for part in encoded.parts if ":" in part]
    beside = ("postcode", "last", "birth_date", "company_name")
    more = [(part,) for part in texts] + [(part, other) for part in texts for other in beside]
    return tuple(rule for rule in (*CHOICES, *more) if set(rule) <= set(encoded.parts))


def cost(encoded: Encoded, rule: tuple[str, ...]) -> int:
    """How many candidates a blocking rule has, counted without looking at any."""
    return block(encoded, rule).candidates


def expected(encoded: Encoded, rule: tuple[str, ...]) -> float:
    """About how many candidates a rule has: of large files a part of the keys is counted."""
    a = key(encoded.a, rule)
    b = a if encoded.one_file else key(encoded.b, rule)
    part = max(1, max(len(a), len(b)) // MANY)
    left, lefts = np.unique(_part(a, part), return_counts=True)
    if encoded.one_file:
        counts = lefts.astype(np.float64)
        return part * float((counts * (counts - 1)).sum()) / 2
    right, rights = np.unique(_part(b, part), return_counts=True)
    _, one, other = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    return part * float(lefts[one].astype(np.float64) @ rights[other])


def _part(keys: Packed, part: int) -> Packed:
    """Keys of rows that have one, one in `part` of them (whole blocks)."""
    some: Packed = keys[(keys != 0) & ((keys >> np.uint64(40)) % np.uint64(part) == 0)]
    return some


def chosen(encoded: Encoded) -> tuple[tuple[str, ...], ...]:
    """Blocking rules that together find a pair in spite of any one error, and cost little."""
    rows = max(encoded.a.rows, encoded.b.rows)
    cheap = max(CHEAP * rows, NOTHING)
    rules = possible(encoded)
    costs: dict[tuple[str, ...], float] = {}
    found: list[tuple[str, ...]] = []
    for rule in rules:
        if any(set(other) <= set(rule) for other in found):
            continue  # a wider rule finds all that this one would
        costs[rule] = expected(encoded, rule)
        if costs[rule] <= cheap:
            found = [other for other in found if not set(rule) <= set(other)] + [rule]
    for part in sorted({part for rule in rules for part in encoded.atoms(rule)}):
        if all(part in encoded.atoms(rule) for rule in found):
            without = [r for r in costs if part not in encoded.atoms(r) and costs[r] <= DEAR * rows]
            if without:
                found.append(min(without, key=lambda r: (costs[r], r)))
    return tuple(found)
