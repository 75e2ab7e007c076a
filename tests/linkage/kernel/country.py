"""Two files about one made-up country, with the truth, for tests of the engine."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linkage.kernel.blocks import Blocked, block
from linkage.kernel.columns import Encoded, encode
from linkage.kernel.estimate import Room, estimate
from linkage.kernel.levels import comparisons
from linkage.kernel.weights import Singles, Weights
from linkage.plans import FilePlan
from tests.bench.population import Recipe, population

FIELDS = (
    ("first_name", "first_name", "voornaam"),
    ("last_name", "last_name", "naam"),
    ("birth_date", "birth_date", "geboortedatum"),
    ("sex", "sex", "geslacht"),
    ("street", "street", "straat"),
    ("house_number", "house_no", "nummer"),
    ("postcode", "postcode", "postcode"),
)
NUMBER = ("national_number", "nn", "insz")
RULES = (("head", "last"), ("birth_date",), ("postcode", "street", "house_number"))


@dataclass(frozen=True)
class Country:
    """Two files, the person of each of their rows, and labels of the true pairs."""

    a: Any
    b: Any
    persons_a: npt.NDArray[np.int64]
    persons_b: npt.NDArray[np.int64]
    hard: Any

    @property
    def common(self) -> int:
        """How many persons are in both files."""
        return len(np.intersect1d(self.persons_a, self.persons_b))

    def right(self, left: Any, right: Any) -> npt.NDArray[np.bool_]:
        """Which pairs of rows are one person."""
        same: npt.NDArray[np.bool_] = self.persons_a[left] == self.persons_b[right]
        return same


@cache
def country(rows: int, seed: int = 1, households: str = "families") -> Country:
    """Files of so many rows, made once per process."""
    recipe = Recipe(rows, rows, households=households)  # type: ignore[arg-type]
    parts = [chunk.tables for chunk in population(recipe, seed)]
    whole = {name: pa.concat_tables([part[name] for part in parts]) for name in parts[0]}
    return Country(
        whole["a"],
        whole["b"],
        _persons(whole["truth_a"], whole["a"]["rec_id"]),
        _persons(whole["truth_b"], whole["b"]["record"]),
        whole["hard"],
    )


def _persons(truth: Any, ids: Any) -> npt.NDArray[np.int64]:
    of = dict(zip(truth[0].to_pylist(), truth[1].to_pylist(), strict=True))
    return np.array([of[one] for one in ids.to_pylist()], np.int64)


def plan(*, number: bool = False, **more: Any) -> FilePlan:
    """A plan for the two files, of fields only but for what is asked."""
    fields = [NUMBER, *FIELDS] if number else list(FIELDS)
    return FilePlan.from_mapping(
        {
            "unit": "person",
            "id": {"a": "rec_id", "b": "record"},
            "fields": [{"type": kind, "a": a, "b": b} for kind, a, b in fields],
            **more,
        }
    )


@dataclass(frozen=True)
class Learned:
    """Files encoded and blocked, with the weights learned from them."""

    encoded: Encoded
    blocked: list[Blocked]
    weights: Weights
    rarities: dict[str, Singles]


@cache
def learned(rows: int, seed: int = 1, households: str = "families") -> Learned:
    """What the engine learns of a country by RULES."""
    some = country(rows, seed, households)
    encoded = encode(some.a, some.b, plan())
    blocked = [block(encoded, rule) for rule in RULES]
    weights, rarities = estimate(
        encoded, RULES, blocked, comparisons(encoded.parts), 0,
        households=True, room=Room.of(encoded, float(rows), once=True),
    )  # fmt: skip
    return Learned(encoded, blocked, weights, dict(rarities))
