"""The Merkle tree of RFC 6962, section 2.1, and its proofs.

A leaf's hash is SHA-256(0x00 ‖ leaf), an inner node's SHA-256(0x01 ‖ left ‖ right). Proofs of
inclusion and of consistency are made of subtree roots, however those are come by (`tiles` reads
them), and checked without.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from keyvault.errors import LedgerError

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees of a growing tree, largest first."""

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)
        if len(self._roots) != size.bit_count():
            raise LedgerError("The ledger's head doesn't fit its size; run the ledger check.")

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` gave."""
        return cls(size, (data[start : start + 32] for start in range(0, len(data), 32)))

    def to_bytes(self) -> bytes:
        """32 bytes per subtree."""
        return b"".join(self._roots)

    def push(self, hashed: bytes) -> None:
        """Add a leaf's hash on the right."""
        size = self.size
        while size & 1:
            hashed = _node(self._roots.pop(), hashed)
            size >>= 1
        self._roots.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = _node(left, root)
        return root


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over some leaf hashes."""
    frontier = Frontier()
    for hashed in hashes:
        frontier.push(hashed)
    return frontier.root()


Subroot = Callable[[int, int], bytes]
"""Gives the root over the leaves start … end - 1."""


def over(hashes: Sequence[bytes]) -> Subroot:
    """The subtree roots of a tree whose leaf hashes are at hand."""
    return lambda start, end: tree_root(hashes[start:end])


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(subroot: Subroot, index: int, size: int) -> list[bytes]:
    """RFC 6962, section 2.1.1: that leaf `index` is in the tree of `size` leaves."""
    if not 0 <= index < size:
        raise LedgerError("There is no entry at that position.")
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(subroot(middle, end))
            end = middle
        else:
            proof.append(subroot(start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(subroot: Subroot, old: int, size: int) -> list[bytes]:
    """RFC 6962, section 2.1.2: that the tree of the first `old` leaves only grew to this size."""
    if not 0 < old <= size:
        raise LedgerError("Consistency is between a tree of one entry or more and a later one.")
    proof, start, end = [], 0, size
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(subroot(middle, end))
            end = middle
        else:
            proof.append(subroot(start, middle))
            start = middle
    return [*([subroot(start, end)] if start else []), *proof[::-1]]


def verify_inclusion(
    hashed: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2); LedgerError when it fails."""
    if not 0 <= index < size or any(len(item) != 32 for item in (hashed, root, *proof)):
        raise LedgerError(_BROKEN)
    first, last = index, size - 1
    for sibling in proof:
        if last == 0:
            raise LedgerError(_BROKEN)
        if first & 1 or first == last:
            hashed = _node(sibling, hashed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            hashed = _node(hashed, sibling)
        first, last = first >> 1, last >> 1
    if last or hashed != root:
        raise LedgerError(_BROKEN)


def verify_consistency(
    old_size: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes
) -> None:
    """Check a consistency proof (RFC 9162, section 2.1.4.2); LedgerError when it fails."""
    if old_size < 1:
        raise LedgerError("Every tree is consistent with an empty one; compare with a later one.")
    verify_subtree_consistency(0, old_size, size, proof, old_root, root)


def verify_subtree_inclusion(
    hashed: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf `index` is in the subtree [start, end) of that root; LedgerError if not."""
    if not _is_subtree(start, end) or index < start:
        raise LedgerError(_BROKEN)
    verify_inclusion(hashed, index - start, end - start, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Check that the subtree [start, end) is part of the tree of `size` leaves; LedgerError if not.

    The procedure is that of draft-ietf-plants-merkle-tree-certs; with start 0 it is RFC 9162's
    consistency proof.
    """
    if start == end <= size and not proof and subtree_root == EMPTY_ROOT:
        return
    if not _is_subtree(start, end) or end > size or any(len(item) != 32 for item in proof):
        raise LedgerError(_BROKEN)
    first, last, top = start, end - 1, size - 1
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    rest = list(proof)
    if first != last and not rest:
        raise LedgerError(_BROKEN)
    old = new = subtree_root if first == last else rest.pop(0)
    for sibling in rest:
        if top == 0:
            raise LedgerError(_BROKEN)
        if last & 1 or last == top:
            old = _node(sibling, old) if first < last else old
            new = _node(sibling, new)
            while not last & 1:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            new = _node(new, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top or old != subtree_root or new != root:
        raise LedgerError(_BROKEN)


def _is_subtree(start: int, end: int) -> bool:
    """Whether [start, end) is a subtree at all: it starts at a multiple of its rounded-up size."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


_BROKEN = "The proof doesn't hold: it belongs to another entry or tree, or one of them was changed."
