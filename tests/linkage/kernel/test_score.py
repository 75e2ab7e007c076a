"""Pruning loses nothing (S26), and neither workers nor chunks change a pair."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linkage.kernel import blocks
from linkage.kernel.blocks import block, pairs_of
from linkage.kernel.columns import Encoded, Side, Vocabulary
from linkage.kernel.levels import LastName, Pairs
from linkage.kernel.score import _ENOUGH, Scored, Scorer, _InOrder, _Letters, weigh
from tests.linkage.kernel.country import RULES, Learned, learned

FLOOR = float(np.log(0.02))


@pytest.fixture(scope="module")
def small() -> Learned:
    return learned(3000)


def in_order(scored: Scored) -> tuple[Any, ...]:
    order = np.lexsort((scored.right, scored.left))
    return tuple(
        getattr(scored, name)[order] for name in ("left", "right", "odds", "strangers", "levels")
    )


def everything(small: Learned) -> Scored:
    """All candidates compared in full, each once; those above the floor."""
    left, right = [], []
    for one in small.blocked:
        at, place = pairs_of(one, 0, len(one.a))
        left.append(one.a[at])
        right.append(one.b[place])
    pairs = np.unique(np.column_stack([np.concatenate(left), np.concatenate(right)]), axis=0)
    both = Pairs(small.encoded, pairs[:, 0], pairs[:, 1])
    scored = weigh(small.weights, small.rarities, both)
    return scored.some(np.flatnonzero(scored.odds >= FLOOR))


def run(small: Learned, workers: int) -> Scored:
    scorer = Scorer(small.encoded, RULES, small.weights, small.rarities, FLOOR)
    return scorer.run(small.blocked, workers)


def test_pruned_pairs_are_those_of_comparing_everything(small: Learned) -> None:
    pruned, whole = in_order(run(small, 1)), in_order(everything(small))
    assert len(whole[0]) > 2000
    for one, other in zip(pruned, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


MANY_RULES = (("head", "last"), ("birth_date", "last"), ("birth_date",), RULES[2])
GAPS = {"postcode": 0.2, "birth_date": 0.1, "last": 0.1, "street": 0.1, "sex": 0.3}


def test_bounds_lose_no_pair_where_much_is_missing() -> None:
    """Bounds were too low once for streets without a postcode, and for names as alike as can be."""
    some = learned(12_000)
    generator = np.random.default_rng(5)
    sides = []
    for side in (some.encoded.a, some.encoded.b):
        codes = {
            part: np.where(generator.random(side.rows) < GAPS.get(part, 0.0), -1, column)
            for part, column in side.codes.items()
        }
        sides.append(Side(side.rows, codes))
    encoded = replace(some.encoded, a=sides[0], b=sides[1])
    blocked = [block(encoded, rule) for rule in MANY_RULES]
    patchy = replace(some, encoded=encoded, blocked=blocked)
    scorer = Scorer(encoded, MANY_RULES, some.weights, some.rarities, FLOOR)
    modes = [_InOrder(scorer, rule, one)._copied for rule, one in enumerate(blocked)]
    assert True in modes
    assert False in modes
    pruned, whole = in_order(scorer.run(blocked, 2)), in_order(everything(patchy))
    assert len(whole[0]) > 5000
    for one, other in zip(pruned, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_short_name_in_a_very_long_one_is_not_pruned() -> None:
    """What was a part of another name had too few of its letters once."""
    short, long = "MAES", "MAESVANDERVLEUGENHOUTTEGEM"
    words = Vocabulary(pa.array([short, long]))
    part, whole = Side(1, {"last": np.array([0])}), Side(1, {"last": np.array([1])})
    encoded = Encoded(part, whole, {"last": words}, {}, 2, ("last",))
    pairs = Pairs(encoded, np.array([0]), np.array([0]))
    assert LastName().glance(pairs)[0].tolist() == [LastName.words.index("part")]
    one, other = (_Letters.of(side, encoded, "last_name") for side in (part, whole))
    common = np.bitwise_count(one.letters & other.letters) + other.others
    assert (common * (one.inverse + other.inverse) >= _ENOUGH).all()


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_change_nothing(small: Learned, workers: int) -> None:
    one, other = run(small, 1), run(small, workers)
    for name in ("left", "right", "odds", "levels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_size_of_chunks_changes_nothing(
    small: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small, 1)
    monkeypatch.setattr(blocks, "CHUNK", 1000)
    parts = run(small, 1)
    np.testing.assert_array_equal(whole.left, parts.left)
    np.testing.assert_array_equal(whole.odds, parts.odds)


def test_progress_ends_at_one(small: Learned) -> None:
    told: list[float] = []
    Scorer(small.encoded, RULES, small.weights, small.rarities, FLOOR).run(
        small.blocked, 2, told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_block_holds_every_pair_that_agrees(small: Learned) -> None:
    encoded = small.encoded
    one = block(encoded, ("head", "last"))
    at, place = pairs_of(one, 0, len(one.a))
    found = set(zip(one.a[at].tolist(), one.b[place].tolist(), strict=True))
    left = {}
    for row in range(encoded.a.rows):
        name = (int(encoded.a.codes["head"][row]), int(encoded.a.codes["last"][row]))
        if min(name) >= 0:
            left.setdefault(name, []).append(row)
    expected = {
        (row, other)
        for other in range(encoded.b.rows)
        for row in left.get(
            (int(encoded.b.codes["head"][other]), int(encoded.b.codes["last"][other])), []
        )
    }
    assert found == expected
    assert one.candidates == len(at) == len(expected)


def test_within_one_file_each_pair_comes_once(small: Learned) -> None:
    from dataclasses import replace

    encoded = replace(small.encoded, b=small.encoded.a)
    one = block(encoded, ("birth_date",))
    at, place = pairs_of(one, 0, len(one.a))
    pairs = np.sort(np.column_stack([one.a[at], one.b[place]]), axis=1)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    dates = encoded.a.codes["birth_date"]
    counts = np.unique(dates[dates >= 0], return_counts=True)[1]
    assert len(pairs) == (counts * (counts - 1) // 2).sum()
