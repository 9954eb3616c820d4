"""Proofs of values and absences, and everything that must not pass for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout import bcs
from haulout.chain import tree
from haulout.chain.proof import OtherLeaf, StateProof, prove, verify

ROWS = {str(i).encode(): str(i * i).encode() for i in range(300)}
ROOT, PAGES = tree.update({}, ROWS)
STORED = {key: value for key, value in PAGES.items() if value is not None}


@pytest.mark.parametrize("key", [b"0", b"7", b"299"])
def test_a_value_is_proven_and_no_other_value_is(key: bytes) -> None:
    proof = prove(STORED, key)
    assert verify(ROOT, key, ROWS[key], proof)
    assert not verify(ROOT, key, b"other", proof)
    assert not verify(ROOT, key, None, proof)
    assert not verify(ROOT, b"8", ROWS[key], proof)
    assert not verify(bytes(32), key, ROWS[key], proof)


@pytest.mark.parametrize("key", [b"absent", b"-1", b"300", b"301", b"302", b"303"])
def test_an_absence_is_proven_and_no_value_is(key: bytes) -> None:
    proof = prove(STORED, key)
    assert verify(ROOT, key, None, proof)
    assert not verify(ROOT, key, b"", proof)
    assert not verify(ROOT, b"7", None, proof)


def test_absences_are_proven_by_empty_places_and_by_other_leaves() -> None:
    proofs: list[StateProof] = [bcs.decode(StateProof, prove(STORED, b"x%d" % i)) for i in range(50)]
    assert any(proof.other is None for proof in proofs)
    assert any(proof.other is not None for proof in proofs)


def test_everything_is_absent_from_an_empty_tree() -> None:
    assert verify(tree.EMPTY_ROOT, b"key", None, prove({}, b"key"))
    assert not verify(tree.EMPTY_ROOT, b"key", b"value", prove({}, b"key"))


def test_a_single_row_needs_no_sibling() -> None:
    root, pages = tree.update({}, {b"key": b"value"})
    stored = {key: value for key, value in pages.items() if value is not None}
    assert verify(root, b"key", b"value", prove(stored, b"key"))
    assert verify(root, b"other", None, prove(stored, b"other"))


def test_a_present_row_cannot_be_denied_by_its_own_leaf() -> None:
    honest: StateProof = bcs.decode(StateProof, prove(STORED, b"7"))
    denial = replace(honest, other=OtherLeaf(tree.hash_key(b"7"), tree.hash_value(ROWS[b"7"])))
    assert not verify(ROOT, b"7", None, bcs.encode(denial))


def test_a_present_row_cannot_be_denied_by_a_leaf_from_elsewhere() -> None:
    for other in range(20, 60):
        key = str(other).encode()
        honest: StateProof = bcs.decode(StateProof, prove(STORED, key))
        denial = replace(honest, other=OtherLeaf(tree.hash_key(key), tree.hash_value(ROWS[key])))
        assert not verify(ROOT, b"7", None, bcs.encode(denial))


def test_a_present_row_cannot_be_denied_by_a_shorter_path() -> None:
    honest: StateProof = bcs.decode(StateProof, prove(STORED, b"7"))
    for length in range(len(honest.siblings)):
        assert not verify(ROOT, b"7", None, bcs.encode(replace(honest, siblings=honest.siblings[:length])))


def test_an_unknown_version_is_no_proof() -> None:
    honest: StateProof = bcs.decode(StateProof, prove(STORED, b"7"))
    assert not verify(ROOT, b"7", ROWS[b"7"], bcs.encode(replace(honest, version=2)))


def test_proofs_of_a_large_tree_are_short() -> None:
    assert max(len(prove(STORED, key)) for key in ROWS) < 800


@settings(max_examples=4 * settings.default.max_examples)
@given(st.binary(max_size=80), st.none() | st.binary(max_size=4))
def test_no_bytes_make_it_raise(proof: bytes, value: bytes | None) -> None:
    assert not verify(ROOT, b"7", value, proof)


@settings(max_examples=2 * settings.default.max_examples)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_flipped_byte_passes(at: int, flip: int) -> None:
    proof = bytearray(prove(STORED, b"7"))
    at %= len(proof)
    if flip:
        proof[at] ^= flip
        assert not verify(ROOT, b"7", ROWS[b"7"], bytes(proof))


def test_a_leaf_in_a_place_that_is_not_its_own_proves_nothing() -> None:
    """Even under a root that somebody made up: a leaf belongs where its key's bits lead."""
    first_bit = {tree.hash_key(key)[0] >> 7: key for key in ROWS}
    here, elsewhere = first_bit[0], first_bit[1]
    misplaced = OtherLeaf(tree.hash_key(elsewhere), tree.hash_value(b"x"))
    made_up = tree.hash_inner(tree.hash_leaf(misplaced.key_hash + misplaced.value_hash), b"s" * 32)
    assert not verify(made_up, here, None, bcs.encode(StateProof(1, (b"s" * 32,), misplaced)))
