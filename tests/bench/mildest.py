"""Data for the rows of `make bench-disclosure` about the mildest change."""

from typing import Any

import numpy as np
import pyarrow as pa

from policies.disclosure.hierarchies import Hierarchy

SHAPE = {
    "municipality": (565, 43, 11, 3, 1),
    "birth_year": (100, 50, 20, 10, 4, 1),
    "activity": (88, 38, 21, 10, 1),
    "nationality": (120, 12, 4, 1),
    "education": (24, 9, 3, 1),
    "household_type": (16, 8, 3, 1),
    "marital_status": (6, 3, 1),
    "sex": (2, 1),
}
"""Values of each of eight keys at each level: 6 × 5 × 5 × 4 × 4 × 4 × 3 × 2 = 57,600 nodes."""


def hierarchy(key: str, sizes: tuple[int, ...]) -> Hierarchy:
    """Values `0` … at the lowest level; each level joins neighbours, evenly."""
    rows = [
        [
            f"{leaf}",
            *(f"{level}:{leaf * size // sizes[0]}" for level, size in enumerate(sizes[1:-1], 1)),
            "*",
        ]
        for leaf in range(sizes[0])
    ]
    # neighbours of neighbours: a level is cut from the one before, not from the leaves
    for level in range(2, len(sizes) - 1):
        for row in rows:
            before = int(row[level - 1].split(":")[1])
            row[level] = f"{level}:{before * sizes[level] // sizes[level - 1]}"
    return Hierarchy.of(key, rows)


def people(rows: int, seed: int = 5) -> dict[str, Any]:
    """A column for each key of `SHAPE`: few common values, many rare ones; nationality goes with
    the place, marital status and household with the age."""
    rng = np.random.default_rng(seed)

    def drawn(size: int, skew: float) -> Any:
        chances = 1 / np.arange(1, size + 1) ** skew
        return rng.permutation(size)[rng.choice(size, rows, p=chances / chances.sum())]

    sizes = {key: levels[0] for key, levels in SHAPE.items()}
    codes = {
        "municipality": drawn(sizes["municipality"], 0.5),
        "birth_year": np.minimum(rng.binomial(99, 0.4, rows) + rng.integers(-39, 40, rows), 99)
        % 100,
        "activity": drawn(sizes["activity"], 0.8),
        "nationality": drawn(sizes["nationality"], 2.2),
        "education": drawn(sizes["education"], 0.7),
        "household_type": drawn(sizes["household_type"], 0.9),
        "marital_status": drawn(sizes["marital_status"], 1.0),
        "sex": drawn(2, 0.0),
    }
    old = codes["birth_year"] < 20
    codes["marital_status"] = np.where(old & (rng.random(rows) < 0.8), 5, codes["marital_status"])
    codes["activity"] = np.where(old, 87, codes["activity"])
    near = codes["municipality"] % 7 == 0
    codes["nationality"] = np.where(near & (rng.random(rows) < 0.3), 11, codes["nationality"])
    return {
        key: pa.DictionaryArray.from_arrays(
            pa.array(values.astype(np.int32)), pa.array([str(one) for one in range(sizes[key])])
        )
        for key, values in codes.items()
    }
