"""Trees and proofs, beside the vectors by others in test_outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.errors import LedgerError
from keyvault.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    over,
    tree_root,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from tests.keyvault.vectors import plain

HASHES = st.lists(st.binary(max_size=3).map(leaf_hash), min_size=1, max_size=40)


@given(HASHES, st.data())
def test_proofs_hold_for_every_tree(hashes: list[bytes], data: st.DataObject) -> None:
    root, size = tree_root(hashes), len(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(over(hashes), index, size)
    verify_inclusion(hashes[index], index, size, proof, root)
    verify_subtree_inclusion(hashes[index], index, 0, size, proof, root)
    old = data.draw(st.integers(1, size))
    steps = consistency_proof(over(hashes), old, size)
    verify_consistency(old, size, steps, tree_root(hashes[:old]), root)
    for broken in ([*proof, root], proof[:-1] if proof else [root]):
        with pytest.raises(LedgerError):
            verify_inclusion(hashes[index], index, size, broken, root)
    with pytest.raises(LedgerError):
        verify_consistency(old, size, [*steps, root], tree_root(hashes[:old]), root)


@given(HASHES)
def test_the_frontier_is_the_definition(hashes: list[bytes]) -> None:
    leaves = [bytes([number]) for number in range(len(hashes))]
    frontier = Frontier()
    for leaf in leaves:
        frontier.push(leaf_hash(leaf))
        again = Frontier.from_bytes(frontier.size, frontier.to_bytes())
        assert again.root() == frontier.root()
    assert frontier.root() == plain.merkle_root(leaves)


def test_proofs_of_what_is_not_there() -> None:
    hashes = [leaf_hash(b"a"), leaf_hash(b"b")]
    for index in (-1, 2):
        with pytest.raises(LedgerError, match="no entry"):
            inclusion_proof(over(hashes), index, 2)
    for size in (0, 3):
        with pytest.raises(LedgerError, match="one entry or more"):
            consistency_proof(over(hashes), size, 2)


def test_subtree_proofs_of_nonsense() -> None:
    one = leaf_hash(b"a")
    for place in ((1, 3, 4), (0, 5, 4), (-1, 1, 4), (2, 1, 4)):
        with pytest.raises(LedgerError):
            verify_subtree_consistency(*place, [], one, one)
    with pytest.raises(LedgerError):
        verify_subtree_inclusion(one, 0, 1, 2, [], one)
