"""BLAKE2b-256, the only hash of the protocol, and the list of all tags that keep its uses apart."""

from __future__ import annotations

import hashlib
from typing import Final

from haulout.primitives import Buffer, Digest

# One list, so that no two uses share a tag. Walrus's own hashes (Merkle nodes, blob ids) have one-byte prefixes.
TAG_STATE_LEAF: Final = b"haulout/state/leaf/1"
TAG_STATE_INNER: Final = b"haulout/state/inner/1"
TAG_STATE_KEY: Final = b"haulout/state/key/1"
TAG_HISTORY_LEAF: Final = b"haulout/history/leaf/1"
TAG_HISTORY_INNER: Final = b"haulout/history/inner/1"
TAG_OBJECT_ID: Final = b"haulout/object/1"
TAG_GENESIS: Final = b"haulout/genesis/1"
TAG_CHECKPOINT: Final = b"haulout/checkpoint/1"
TAG_COMMITTEE: Final = b"haulout/committee/1"

ED25519_FLAG: Final = b"\x00"


def blake2b256(data: Buffer) -> Digest:
    """BLAKE2b with a digest length of 32: not a truncated BLAKE2b-512."""
    return Digest(hashlib.blake2b(data, digest_size=32).digest())
