"""Checksums of bytes at rest."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from haulout.crypto.checksum import checksum, is_intact


def _in_lanes(data: bytes) -> bytes:
    part = len(data) // 8
    parts = [data[i * part : (i + 1) * part] for i in range(8)]
    leaves = b"".join(blake2b(b"\x00" + one, digest_size=32).digest() for one in parts)
    return blake2b(leaves + data[8 * part :], digest_size=16).digest()


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # xxhsum -H2 and PHP's hash("xxh128")
        (b"", "99aa06d3014798d86001c324468d497f"),
        (b"abc", "06b05ab6733a618578af5f94892f3950"),
        (b"a" * 1000, "b01da365eddaa29cb3e7af627147db7c"),
        (b"ab" * 5000, "38cd9b860c3ded0e9543313ee06988c8"),
    ],
)
def test_is_the_hash_that_others_compute_too(data: bytes, expected: str) -> None:
    assert checksum(data).hex() == expected


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20, 1000, 8 * 128, 100_003])
def test_does_not_care_where_bytes_stand(size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    assert checksum(data) == checksum(bytearray(data)) == checksum(memoryview(b"." + data)[1:])
    assert is_intact(memoryview(data), checksum(data))


def test_notices_a_flipped_bit_anywhere() -> None:
    data = bytes(range(100))
    expected = checksum(data)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert not is_intact(damaged, expected)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20, 1000, 100_003])
def test_knows_what_earlier_releases_wrote(size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    for expected in (blake2b(data, digest_size=16).digest(), _in_lanes(data)):
        assert is_intact(data, expected) and is_intact(memoryview(data), expected)
        assert not is_intact(data + b".", expected)
