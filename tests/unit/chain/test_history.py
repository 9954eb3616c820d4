"""The history tree against the recursive definition of RFC 9162."""

from __future__ import annotations

import hashlib

import pytest

from haulout.chain import history
from haulout.chain.merkle_log import verify_consistency, verify_inclusion
from haulout.chain.rows import TreeCorrupt

N = 40
DIGESTS = [bytes([i]) * 32 for i in range(N)]


def naive_root(digests: list[bytes]) -> bytes:
    if not digests:
        return bytes(32)
    if len(digests) == 1:
        return hashlib.blake2b(b"haulout/history/leaf/1" + digests[0], digest_size=32).digest()
    k = 1
    while 2 * k < len(digests):
        k *= 2
    pair = naive_root(digests[:k]) + naive_root(digests[k:])
    return hashlib.blake2b(b"haulout/history/inner/1" + pair, digest_size=32).digest()


@pytest.fixture(scope="module")
def rows() -> dict[bytes, bytes]:
    stored: dict[bytes, bytes] = {}
    for size, digest in enumerate(DIGESTS):
        root, writes = history.append(stored, size, digest)
        assert root == naive_root(DIGESTS[: size + 1])
        assert not writes.keys() & stored.keys()
        stored |= writes
    return stored


def test_old_roots_are_still_there(rows: dict[bytes, bytes]) -> None:
    for size in range(N + 1):
        assert history.read_root(rows, size) == naive_root(DIGESTS[:size])


def test_two_rows_a_block_on_average(rows: dict[bytes, bytes]) -> None:
    assert len(rows) < 2 * N


def test_every_block_is_proven_in_every_later_root(rows: dict[bytes, bytes]) -> None:
    for size in range(1, N + 1):
        root = naive_root(DIGESTS[:size])
        for index in range(size):
            path = history.prove_inclusion(rows, size, index)
            assert verify_inclusion(root, size, index, DIGESTS[index], path)
            assert not verify_inclusion(root, size, index, bytes(32) if index else bytes(31) + b"x", path)
            assert size == 1 or not verify_inclusion(root, size, index, DIGESTS[index], path[:-1])
            assert not verify_inclusion(root, size, (index + 1) % size, DIGESTS[index], path) or size == 1
            assert not verify_inclusion(root, size, size, DIGESTS[index], path)


def test_every_root_is_proven_to_extend_every_earlier_one(rows: dict[bytes, bytes]) -> None:
    for new in range(N + 1):
        for old in range(new + 1):
            path = history.prove_consistency(rows, old, new)
            old_root, new_root = naive_root(DIGESTS[:old]), naive_root(DIGESTS[:new])
            assert verify_consistency(old_root, old, new_root, new, path)
            assert not verify_consistency(b"x" * 32, old, new_root, new, path)
            if old not in (0, new):
                assert not verify_consistency(old_root, old, b"x" * 32, new, path)
                assert not verify_consistency(old_root, old, new_root, new, path[:-1])
            assert not verify_consistency(new_root, new + 1, old_root, old, path)


def test_a_missing_row_is_noticed(rows: dict[bytes, bytes]) -> None:
    with pytest.raises(TreeCorrupt):
        history.append({}, 5, DIGESTS[5])
