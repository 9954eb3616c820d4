"""How a node rebuilds what it lacks of a blob: sliver by sliver from symbols, or by decoding the blob once.

A missing secondary sliver takes n - 2f symbols and a primary one n - f, one from each of as many slivers of the other
axis; own slivers give theirs for nothing, so secondaries come first and then help with the primaries. Decoding takes
n - 2f primary slivers, which is the blob's size, and then gives every sliver. At n = 100 a node with 20 shards that has
nothing needs 20 x 34 + 20 x (67 - 20) = 1620 symbols, and the blob has 34 x 67 = 2278.

Small blobs are decoded anyway: a request costs as much as `REQUEST_BYTES` travelling, and symbols take one per sliver
and peer. Decoding needs the encoded blob in memory, so the largest go sliver by sliver whatever it costs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from haulout.primitives import Axis, SliverPairIndex, min_correct, min_decodable

REQUEST_BYTES = 64 * 1024


class Way(enum.Enum):
    """How to rebuild."""

    SYMBOLS = "symbols"
    DECODE = "decode"


def symbols_needed(axis: Axis, n_shards: int) -> int:
    """Symbols that rebuild a sliver, which is also how many it consists of."""
    return min_correct(n_shards) if axis is Axis.PRIMARY else min_decodable(n_shards)


def plan_repair(
    missing: Sequence[tuple[SliverPairIndex, Axis]],
    *,
    n_shards: int,
    n_own: int,
    n_peers: int,
    n_reachable: int,
    symbol_size_bytes: int,
    memory_bytes: int,
) -> Way:
    """The cheaper way, within the memory allowed for an encoded blob.

    Args:
        n_own: shards that are the node's.
        n_peers: other nodes that can be asked.
        n_reachable: shards of theirs. Fewer than n - f with our own do not rebuild a primary sliver; n - 2f primary
            ones still decode.
    """
    k1, k2 = min_decodable(n_shards), min_correct(n_shards)
    n_symbols = sum(max(0, k2 - n_own) if axis is Axis.PRIMARY else k1 for _, axis in missing)
    by_symbols = n_symbols * symbol_size_bytes + len(missing) * n_peers * REQUEST_BYTES
    by_decoding = k1 * k2 * symbol_size_bytes + n_peers * REQUEST_BYTES
    encoded_bytes = n_shards * (k1 + k2) * symbol_size_bytes
    if n_own + n_reachable < k2 and any(axis is Axis.PRIMARY for _, axis in missing):
        return Way.DECODE
    return Way.DECODE if by_decoding < by_symbols and encoded_bytes <= memory_bytes else Way.SYMBOLS
