"""Checksums of bytes at rest: XXH3, 128 bits, against damage and not against forgery.

What stands on a node's disk was verified against its blob's metadata before it came there, and is again wherever it
goes. In between, the disk has to be caught at losing bits, not an attacker at work: a hash that runs at the speed of
memory is enough. Whoever compares checksums knows the length.

Earlier releases used BLAKE2b, over all bytes at once at first and then in eight lanes::

    20 bytes:   01|23|45|67|89|ab|cd|ef|ghij        eight parts of 20 // 8 bytes, and the 4 that are left
    in lanes    BLAKE2b-128( H(01) H(23) … H(ef) ghij )        H: the hash of a Merkle leaf

What they wrote is still read.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from xxhash import xxh3_128_digest

from haulout.crypto.merkle import hash_leaf
from haulout.primitives import Buffer

CHECKSUM_BYTES: Final = 16
LANES: Final = 8


def checksum(data: Buffer) -> bytes:
    """Sixteen bytes that another content of the same length does not have by chance."""
    return xxh3_128_digest(data)


def is_intact(data: Buffer, expected: bytes) -> bool:
    """Whether data has a checksum, of this release or of an earlier one."""
    return checksum(data) == expected or _in_lanes(data) == expected or _in_one(data) == expected


def _in_lanes(data: Buffer) -> bytes:
    view = memoryview(data)
    part_bytes = len(view) // LANES
    parts = [view[i * part_bytes :][:part_bytes] for i in range(LANES)]
    digests = b"".join(hash_leaf(part) for part in parts)
    return blake2b(digests + view[LANES * part_bytes :], digest_size=CHECKSUM_BYTES).digest()


def _in_one(data: Buffer) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()
