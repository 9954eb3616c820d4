"""Checksums of bytes at rest."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from haulout.crypto.checksum import checksum, is_intact


def _as_described(data: bytes) -> bytes:
    part = len(data) // 8
    parts = [data[i * part : (i + 1) * part] for i in range(8)]
    leaves = b"".join(blake2b(b"\x00" + one, digest_size=32).digest() for one in parts)
    return blake2b(leaves + data[8 * part :], digest_size=16).digest()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20, 1000, 8 * 128, 100_003])
def test_is_the_hash_of_eight_hashes_and_the_rest(size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    assert checksum(data) == checksum(bytearray(data)) == checksum(memoryview(data)) == _as_described(data)
    assert is_intact(data, checksum(data))


def test_native_kernels_give_the_same() -> None:
    from haulout.codec.kernels import choice

    data = bytes(i * 11 % 253 for i in range(30_011))
    plain = checksum(data)
    before = choice.describe().kernels
    choice.warm_up()
    try:
        assert checksum(data) == plain
        assert checksum(b"abc") == _as_described(b"abc")
    finally:
        if before is choice.Kernels.NUMPY:
            choice.use_numpy()


def test_notices_a_flipped_bit_anywhere() -> None:
    data = bytes(range(100))
    expected = checksum(data)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert not is_intact(damaged, expected)


def test_knows_what_earlier_releases_wrote() -> None:
    data = b"as it was kept before" * 10
    assert is_intact(data, blake2b(data, digest_size=16).digest())
    assert not is_intact(data + b".", blake2b(data, digest_size=16).digest())
