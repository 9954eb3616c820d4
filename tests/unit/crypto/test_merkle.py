"""Merkle trees: proofs of every leaf, and everything that must not verify."""

import pytest

from haulout import bcs
from haulout.crypto import merkle
from haulout.crypto.merkle import MerkleProof
from haulout.errors import UndecodableBytes


def leaves(count: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(count)]


def tree(count: int) -> list[bytes]:
    return [merkle.hash_leaf(leaf) for leaf in leaves(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 100])
def test_proof_of_every_leaf_verifies_at_its_index_only(count: int) -> None:
    hashes = tree(count)
    root = merkle.compute_root(hashes)
    for index, leaf in enumerate(leaves(count)):
        proof = merkle.build_proof(hashes, index)
        assert len(proof.siblings) == merkle.proof_length(count)
        assert merkle.verify_proof(root, count, leaf, index, proof)
        assert not merkle.verify_proof(root, count, leaf + b"!", index, proof)
        for other in (-1, index ^ 1, index + 1, index + (1 << len(proof.siblings))):
            assert not merkle.verify_proof(root, count, leaf, other, proof)


def test_levels_end_in_the_root_and_are_padded_once_each() -> None:
    levels = merkle.build_levels(tree(9))
    assert [len(level) for level in levels] == [10, 6, 4, 2, 1]
    assert levels[-1][0] == merkle.compute_root(tree(9))
    assert levels[0][9] == levels[1][5] == levels[2][3] == merkle.EMPTY
    assert merkle.build_levels([]) == []


def test_refuses_a_path_longer_than_the_tree() -> None:
    hashes = tree(4)
    proof = merkle.build_proof(hashes, 0)
    longer = MerkleProof((*proof.siblings, None))
    grown_root = merkle.hash_pair(merkle.compute_root(hashes), merkle.EMPTY)
    assert not merkle.verify_proof(grown_root, 4, leaves(4)[0], 0, longer)
    assert merkle.verify_proof(grown_root, 8, leaves(4)[0], 0, longer)


def test_refuses_a_path_shorter_than_the_index_needs() -> None:
    hashes = tree(4)
    assert not merkle.verify_proof(hashes[2], 4, leaves(4)[2], 2, MerkleProof(()))


def test_an_inner_node_is_no_leaf() -> None:
    hashes = tree(4)
    pair = hashes[0] + hashes[1]
    upper = merkle.build_proof(hashes, 0).siblings[1:]
    assert not merkle.verify_proof(merkle.compute_root(hashes), 4, pair, 0, MerkleProof(upper))


def test_empty_siblings_are_one_byte() -> None:
    proof = MerkleProof((None, b"\x07" * 32))
    raw = bcs.encode(proof)
    assert raw == b"\x02\x00\x01" + b"\x07" * 32
    assert bcs.decode(MerkleProof, raw) == proof
    for damaged in (raw[:-1], raw + b"\x00", b"\x01\x02" + bytes(32)):
        with pytest.raises(UndecodableBytes):
            bcs.decode(MerkleProof, damaged)
