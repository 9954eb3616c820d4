"""Every length and limit of the encodings, once. Integers only, no arrays: the ledger prices with this file.

With n shards of which f = (n - 1) // 3 may fail, a blob is a matrix of k1 = n - 2f rows and k2 = n - f columns of
symbols of s bytes::

    n = 4    f = 1   k1 = 2    k2 = 3      12 bytes: s = 2       1 MiB: too large (393,204 at most)
    n = 100  f = 33  k1 = 34   k2 = 67                           1 MiB: s = 462

RS2 has one matrix and makes s as large as needed, up to 65534. RS8 has as many matrices ("stripes") as needed, with
s up to 16384, the same in all of them. Source: `walrus-core`, `encoding/config.rs`, `bft.rs`; RS8 is ours
(`docs/decisions/rs8.md`).
"""

from __future__ import annotations

from haulout.codec.errors import ShardCountOutOfRange
from haulout.errors import BlobTooLarge, BlobTooLargeForEncoding, InvalidField
from haulout.primitives import U64_MAX, Axis, EncodingType, min_correct, min_decodable

RS2_SYMBOL_BYTES_MAX = 65534
RS8_SYMBOL_BYTES_MAX = 16384
SYMBOL_ALIGNMENT = 2  # RS2 codes 16-bit elements; RS8 keeps it
N_SHARDS_MIN = 4
N_SHARDS_MAX = {EncodingType.RS2: 1000, EncodingType.RS8: 255}
DIGEST_BYTES = 32
SEGMENT_BYTES = 1 << 20  # of a primary sliver that travel and are kept together


def n_source_symbols(axis: Axis, n_shards: int) -> int:
    """Source symbols of the code along an axis: k1 for the primary, k2 for the secondary encoding.

    So many slivers of the axis decode a blob, and so many symbols rebuild a sliver of the *other* axis.
    """
    return min_decodable(n_shards) if axis is Axis.PRIMARY else min_correct(n_shards)


def n_sliver_symbols(axis: Axis, n_shards: int) -> int:
    """Symbols that a stored sliver has in a matrix: k2 in a primary, k1 in a secondary one."""
    return n_source_symbols(axis.other, n_shards)


def n_matrix_symbols(n_shards: int) -> int:
    """Symbols of the message matrix: k1 rows times k2 columns."""
    return min_decodable(n_shards) * min_correct(n_shards)


def check_shard_count(n_shards: int, encoding: EncodingType = EncodingType.RS2) -> None:
    """Refuse numbers of shards for which blobs cannot be encoded.

    Below 4 there is no fault to tolerate and hence no repair symbol. Sizes are defined from 1 on all the same.

    Raises:
        ShardCountOutOfRange: with the range.
    """
    if not N_SHARDS_MIN <= n_shards <= N_SHARDS_MAX[encoding]:
        raise ShardCountOutOfRange(n_shards=n_shards, minimum=N_SHARDS_MIN, maximum=N_SHARDS_MAX[encoding])


def n_stripes(size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """Matrices that a blob of `size_bytes` takes; always 1 with RS2.

    Raises:
        InvalidField: a negative or 65-bit size, or no shards.
    """
    _check_arguments(size_bytes, n_shards)
    if encoding is EncodingType.RS2:
        return 1
    return _ceil_div(max(size_bytes, 1), n_matrix_symbols(n_shards) * RS8_SYMBOL_BYTES_MAX)


def segment_stripes(n_shards: int, symbol_bytes: int) -> int:
    """Stripes of an RS8 sliver that travel and are kept together: a segment.

    As many as have `SEGMENT_BYTES` in a primary sliver, rounded down to a power of two, so that a segment is a whole
    branch of the sliver's tree of stripes. A constant of the format: nodes and clients must agree on it.
    """
    n_fitting = max(1, SEGMENT_BYTES // (n_sliver_symbols(Axis.PRIMARY, n_shards) * symbol_bytes))
    return 1 << (n_fitting.bit_length() - 1)


def max_segment_bytes(n_shards: int) -> int:
    """Raw bytes of the largest segment of an RS8 sliver."""
    return max(SEGMENT_BYTES, n_sliver_symbols(Axis.PRIMARY, n_shards) * RS8_SYMBOL_BYTES_MAX)


def choose_encoding(size_bytes: int, n_shards: int, named: EncodingType | None = None) -> EncodingType:
    """The encoding of a blob: RS2 whenever it fits, RS8 beyond, unless the caller names one.

    For given bytes and shards it is always the same one, and so is the blob id.

    Raises:
        BlobTooLarge: neither holds it, as with too many shards for RS8.
    """
    if named is not None:
        return named
    limit = max_blob_size_bytes(n_shards, EncodingType.RS2)
    if size_bytes <= limit:
        return EncodingType.RS2
    if n_shards > N_SHARDS_MAX[EncodingType.RS8]:
        raise BlobTooLarge(size_bytes=size_bytes, limit_bytes=limit, n_shards=n_shards)
    return EncodingType.RS8


def encodings_of(n_shards: int) -> tuple[EncodingType, ...]:
    """The encodings that a network of so many shards takes, that which is preferred first."""
    return tuple(encoding for encoding, most in N_SHARDS_MAX.items() if n_shards <= most)


def max_network_blob_bytes(n_shards: int, limit_bytes: int, named: EncodingType | None = None) -> int:
    """The largest blob that a network stores, with any encoding or the one that is named.

    Args:
        limit_bytes: the network's own limit, a parameter of its genesis.
    """
    encodings = encodings_of(n_shards) if named is None else (named,)
    return min(limit_bytes, max(max_blob_size_bytes(n_shards, encoding) for encoding in encodings))


def check_blob_size(size_bytes: int, n_shards: int, limit_bytes: int, named: EncodingType | None = None) -> None:
    """Raises BlobTooLarge for what the network does not store; arguments as of `max_network_blob_bytes`."""
    if size_bytes > max_network_blob_bytes(n_shards, limit_bytes, named):
        raise too_large(size_bytes, n_shards, named, network_limit_bytes=limit_bytes)


def too_large(
    size_bytes: int, n_shards: int, named: EncodingType | None = None, *, network_limit_bytes: int = U64_MAX
) -> BlobTooLarge:
    """Why a blob cannot be stored: because of the network, or of the encoding that was named for it."""
    limit = max_network_blob_bytes(n_shards, network_limit_bytes)
    if named is None or size_bytes > limit:
        return BlobTooLarge(size_bytes=size_bytes, limit_bytes=limit, n_shards=n_shards)
    limit = max_blob_size_bytes(n_shards, named)
    return BlobTooLargeForEncoding(size_bytes=size_bytes, limit_bytes=limit, n_shards=n_shards, encoding=named.name)


def symbol_size_bytes(size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """Bytes of a symbol, even, at least 2: the smallest with which the blob fits its matrices.

    Raises:
        InvalidField: a negative or 65-bit size, or no shards.
        BlobTooLarge: the symbols would exceed the largest size.
    """
    n_symbols = n_stripes(size_bytes, n_shards, encoding) * n_matrix_symbols(n_shards)
    aligned = _ceil_div(_ceil_div(max(size_bytes, 1), n_symbols), SYMBOL_ALIGNMENT) * SYMBOL_ALIGNMENT
    if encoding is EncodingType.RS2 and aligned > RS2_SYMBOL_BYTES_MAX:
        raise too_large(size_bytes, n_shards, encoding)
    return aligned


def max_blob_size_bytes(n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """The largest blob that the encoding can hold. RS8 has no limit of its own below 64 bits; the network sets one."""
    if encoding is EncodingType.RS2:
        return n_matrix_symbols(n_shards) * RS2_SYMBOL_BYTES_MAX
    return U64_MAX


def sliver_size_bytes(axis: Axis, size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """Raw bytes of a sliver of a blob of `size_bytes`, over all stripes."""
    stripes = n_stripes(size_bytes, n_shards, encoding)
    return stripes * n_sliver_symbols(axis, n_shards) * symbol_size_bytes(size_bytes, n_shards, encoding)


def max_sliver_size_bytes(axis: Axis, n_shards: int) -> int:
    """Raw bytes of the largest RS2 sliver; nothing larger ever travels in one piece."""
    return n_sliver_symbols(axis, n_shards) * RS2_SYMBOL_BYTES_MAX


def slivers_size_bytes(axis: Axis, size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """Raw bytes of all n slivers of an axis: the size of a caller's buffer for them."""
    return n_shards * sliver_size_bytes(axis, size_bytes, n_shards, encoding)


def metadata_price_bytes(n_shards: int) -> int:
    """What metadata counts for in the price, per shard: two digests per pair and the blob id. Not its BCS size."""
    return 2 * DIGEST_BYTES * n_shards + DIGEST_BYTES


def encoded_length(size_bytes: int, n_shards: int, encoding: EncodingType = EncodingType.RS2) -> int:
    """Bytes that a blob occupies on all shards together: what storage is reserved and paid for.

    Raises:
        InvalidField: a negative or 65-bit size, or no shards.
        BlobTooLarge: the encoding cannot hold it.
    """
    per_shard = sum(sliver_size_bytes(axis, size_bytes, n_shards, encoding) for axis in Axis)
    return n_shards * (per_shard + metadata_price_bytes(n_shards))


def _check_arguments(size_bytes: int, n_shards: int) -> None:
    if not 0 <= size_bytes <= U64_MAX:
        raise InvalidField(field="size_bytes", problem=f"{size_bytes} is not a length")
    if n_shards < 1:
        raise InvalidField(field="n_shards", problem="a network has at least one shard")


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
