"""Making symbols and rebuilding slivers from them: CPU work for `Workers`, pure.

Everything that comes from another node may be a lie. A symbol without a proof is only checked for its shape and for
standing on a sliver that its sender owns, so that no peer can speak for another; the rebuilt sliver is then verified
as a whole, and once it is right it tells which symbols were not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from haulout import bcs, codec
from haulout.codec.metadata import BlobMetadata, DecodingSymbol, RecoverySymbol, Sliver
from haulout.errors import HauloutError
from haulout.ports import SliverUpload
from haulout.primitives import (
    Axis,
    BlobId,
    ShardIndex,
    SliverIndex,
    SliverPairIndex,
    pair_of_shard,
    sliver_index_of_pair,
)


def sliver_indices(shards: Iterable[int], blob_id: BlobId, axis: Axis, n_shards: int) -> frozenset[int]:
    """Indices of the slivers of an axis that stand on these shards."""
    pairs = (pair_of_shard(ShardIndex(shard_index), blob_id, n_shards) for shard_index in shards)
    return frozenset(sliver_index_of_pair(pair_index, axis, n_shards) for pair_index in pairs)


def make_symbols(
    metadata: BlobMetadata, sources: Sequence[bytes], target: SliverIndex, axis: Axis, *, with_proofs: bool
) -> list[bytes]:
    """One symbol of a target sliver of `axis` from each source sliver (BCS) of the other axis.

    Returns:
        General recovery symbols (BCS) with proofs, decoding symbols (BCS, either axis) without.
    """
    symbols = []
    for raw in sources:
        sliver = bcs.decode(Sliver, raw)
        if with_proofs:
            symbols.append(bcs.encode(codec.recovery_symbol(metadata, axis.other, sliver, target)))
        else:
            symbols.append(bcs.encode(codec.decoding_symbol(metadata, axis.other, sliver, target)))
    return symbols


def check_symbols(
    metadata: BlobMetadata,
    target: SliverIndex,
    axis: Axis,
    symbols: Sequence[bytes],
    sources: Collection[int] | None,
    *,
    with_proofs: bool,
) -> tuple[dict[int, bytes], bool]:
    """The symbols that may be used, by source index, and whether all may.

    Args:
        sources: indices of the source slivers that the sender owns; None for our own symbols.
    """
    good: dict[int, bytes] = {}
    all_good = True
    for raw in symbols:
        try:
            symbol = bcs.decode(RecoverySymbol if with_proofs else DecodingSymbol, raw)
            if isinstance(symbol, RecoverySymbol):
                codec.verify_recovery_symbol(metadata, axis, target, symbol)
        except HauloutError:
            all_good = False
            continue
        fits = symbol.axis is axis and len(symbol.data) == metadata.symbol_size_bytes
        if not fits or (sources is not None and symbol.source_index not in sources):
            all_good = False
            continue
        good[symbol.source_index] = bytes(symbol.data)
    return good, all_good


def rebuild_sliver(
    metadata: BlobMetadata, target: SliverIndex, axis: Axis, symbols: Sequence[tuple[int, bytes]]
) -> bytes | None:
    """The sliver (BCS) that the symbols give, or None when it is not the one that the metadata commits to."""
    given = [DecodingSymbol(axis, source, data) for source, data in symbols]
    try:
        sliver = codec.recover_sliver(metadata, axis, target, given)
        codec.verify_sliver(metadata, axis, sliver)
    except HauloutError:
        return None
    return bcs.encode(sliver)


def wrong_sources(
    metadata: BlobMetadata, axis: Axis, sliver: bytes, symbols: Sequence[tuple[int, bytes]]
) -> frozenset[int]:
    """Sources whose symbols are not those of the verified sliver (BCS): where they cross, it says what is right."""
    right = bcs.decode(Sliver, sliver)
    wrong = set()
    for source, data in symbols:
        if bytes(codec.decoding_symbol(metadata, axis, right, SliverIndex(source)).data) != data:
            wrong.add(source)
    return frozenset(wrong)


def rebuild_all(
    metadata: BlobMetadata,
    blob_id: BlobId,
    primaries: Sequence[bytes],
    missing: Sequence[tuple[SliverPairIndex, Axis]],
) -> list[SliverUpload] | None:
    """The missing slivers from verified primary ones (BCS), or None when the blob is not encoded as its id says."""
    slivers = [bcs.decode(Sliver, raw) for raw in primaries]
    try:
        data = codec.decode_blob(metadata, slivers, Axis.PRIMARY, check=codec.Check.SKIP)
        encoded = codec.encode_blob(data, metadata.n_shards, encoding=metadata.encoding_type)
    except HauloutError:
        return None
    if encoded.blob_id != blob_id:
        return None
    return [
        SliverUpload(
            pair_index,
            axis,
            bcs.encode(encoded.sliver(axis, sliver_index_of_pair(pair_index, axis, metadata.n_shards))),
        )
        for pair_index, axis in missing
    ]
