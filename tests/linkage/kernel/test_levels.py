"""How pairs of names compare that stand across: what helps in register data (S15, S26)."""

import numpy as np
import pyarrow as pa
import pytest

from linkage.kernel.columns import encode
from linkage.kernel.levels import Pairs, compared, comparisons
from linkage.plans import FilePlan

PLAN = FilePlan.from_mapping(
    {
        "unit": "person",
        "id": {"a": "id"},
        "fields": [{"type": kind, "a": kind} for kind in ("first_name", "last_name")],
    },
    dedupe=True,
)


def levels(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """The levels of first and last names of two records."""
    first, last = zip(one, other, strict=True)
    table = pa.table({"id": ["1", "2"], "first_name": first, "last_name": last})
    encoded = encode(table, None, PLAN)
    which = comparisons(encoded.parts)
    pairs = Pairs(encoded, np.array([0]), np.array([1]))
    found = [one.words[level[0]] for one, level in zip(which, compared(pairs, which), strict=True)]
    return found[0], found[1]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (("Peeters", "Luna"), ("exact", "exact")),
        (("Peters", "Luna"), ("exact", "similar")),
        (("Peeters", "L."), ("initial", "exact")),
        (("Peeters-Claes", "Luna"), ("exact", "part")),
        (("Peeters", "Jan"), ("different", "different")),
        (("Peeters", "J."), ("different", "different")),
    ],
)
def test_names_that_stand_across(other: tuple[str, str], expected: tuple[str, str]) -> None:
    assert levels(("Luna", "Peeters"), other) == expected


def test_a_nickname_stands_across() -> None:
    assert levels(("Philippe", "Barbier"), ("Barbier", "Flip")) == ("nickname", "exact")
