"""How much a reader checks."""

from __future__ import annotations

import enum


class ConsistencyCheck(enum.Enum):
    """What a reader checks of a decoded blob."""

    SKIP = "skip"  # nothing
    DEFAULT = "default"  # hashes of the systematic primary slivers, which hold all of the blob's bytes
    STRICT = "strict"  # the blob id, from encoding it again
