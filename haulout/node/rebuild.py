"""Making symbols and rebuilding slivers from them: CPU work for `Workers`, pure.

Everything that comes from another node may be a lie. A symbol without a proof is only checked for its shape and for
standing on a sliver that its sender owns, so that no peer can speak for another; the rebuilt sliver is then verified
as a whole, and once it is right it tells which symbols were not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from haulout import bcs, codec
from haulout.codec.metadata import BlobMetadata, DecodingSymbol, InconsistencyProof, RecoverySymbol, Sliver
from haulout.crypto import merkle
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

GivenSymbol = RecoverySymbol | DecodingSymbol


def sliver_indices(shards: Iterable[int], blob_id: BlobId, axis: Axis, n_shards: int) -> frozenset[int]:
    """Indices of the slivers of an axis that stand on these shards."""
    pairs = (pair_of_shard(ShardIndex(shard_index), blob_id, n_shards) for shard_index in shards)
    return frozenset(sliver_index_of_pair(pair_index, axis, n_shards) for pair_index in pairs)


def expand_slivers(metadata: BlobMetadata, axis: Axis, slivers: Sequence[bytes]) -> list[bytes]:
    """All n symbols of each sliver (BCS, verified) of an axis, one after the other: its *word*."""
    shape = codec.verify.shape_of(metadata)
    words = []
    for raw in slivers:
        sliver = Sliver.view(raw)
        words.append(codec.words.expand_word(shape.code(axis.other), codec.verify.symbols_of(sliver, shape)).tobytes())
    return words


def make_symbols(
    metadata: BlobMetadata, words: Sequence[tuple[int, bytes]], target: SliverIndex, axis: Axis, *, with_proofs: bool
) -> list[bytes]:
    """One symbol of a target sliver of `axis` from each word of the other axis, given with its sliver's index.

    Returns:
        General recovery symbols (BCS) with proofs, decoding symbols (BCS, either axis) without.
    """
    import numpy as np

    size = metadata.symbol_size_bytes
    symbols = []
    for source, word in words:
        data = word[target * size : (target + 1) * size]
        if with_proofs:
            leaves = codec.words.leaf_hashes(np.frombuffer(word, np.uint8).reshape(-1, size))
            proof = merkle.build_proof(leaves, target)
            symbols.append(bcs.encode(RecoverySymbol(axis, source, data, target, proof)))
        else:
            symbols.append(bcs.encode(DecodingSymbol(axis, source, data)))
    return symbols


def check_symbols(
    metadata: BlobMetadata,
    target: SliverIndex,
    axis: Axis,
    symbols: Sequence[bytes],
    sources: Collection[int] | None,
    *,
    with_proofs: bool,
) -> tuple[dict[int, GivenSymbol], bool]:
    """The symbols that may be used, by source index, and whether all may.

    Args:
        sources: indices of the source slivers that the sender speaks for, others are left aside; None for our own
            symbols.
    """
    good: dict[int, GivenSymbol] = {}
    all_good = True
    for raw in symbols:
        try:
            symbol: GivenSymbol = bcs.decode(RecoverySymbol if with_proofs else DecodingSymbol, raw)
            if isinstance(symbol, RecoverySymbol):
                codec.verify_recovery_symbol(metadata, symbol, target, axis)
        except HauloutError:
            all_good = False
            continue
        if symbol.axis is not axis or len(symbol.data) != metadata.symbol_size_bytes:
            all_good = False
            continue
        if sources is not None and symbol.source_index not in sources:
            continue  # of a shard that was never its own, or is no more
        good[symbol.source_index] = symbol
    return good, all_good


def rebuild_sliver(
    metadata: BlobMetadata, target: SliverIndex, axis: Axis, symbols: Sequence[tuple[int, bytes]]
) -> bytes | None:
    """The sliver (BCS) that the symbols give, or None when it is not the one that the metadata commits to."""
    given = [DecodingSymbol(axis, source, data) for source, data in symbols]
    try:
        sliver = codec.recover_sliver(given, metadata, target, axis)
        codec.verify_sliver(metadata, axis, sliver)
    except HauloutError:
        return None
    return bcs.encode(sliver)


def wrong_sources(
    metadata: BlobMetadata, axis: Axis, sliver: bytes, symbols: Sequence[tuple[int, bytes]]
) -> frozenset[int]:
    """Sources whose symbols are not those of the verified sliver (BCS): where they cross, it says what is right."""
    word = expand_slivers(metadata, axis, (sliver,))[0]
    size = metadata.symbol_size_bytes
    return frozenset(source for source, data in symbols if word[source * size : (source + 1) * size] != data)


def rebuild_all(
    metadata: BlobMetadata, primaries: Sequence[bytes], missing: Sequence[tuple[SliverPairIndex, Axis]]
) -> list[SliverUpload] | None:
    """The missing slivers from verified primary ones (BCS), or None when the blob is not encoded as its id says."""
    slivers = [Sliver.view(raw) for raw in primaries]
    try:
        encoded = codec.decode_and_reencode(metadata, slivers, Axis.PRIMARY)
    except HauloutError:
        return None
    return [
        SliverUpload(
            pair_index,
            axis,
            bcs.encode(encoded.sliver(axis, sliver_index_of_pair(pair_index, axis, metadata.n_shards))),
        )
        for pair_index, axis in missing
    ]


# --- blobs that cannot be rebuilt: their writer encoded them wrongly ------------------------------------------


def build_proof(
    metadata: BlobMetadata, axis: Axis, target: SliverIndex, symbols: Sequence[GivenSymbol]
) -> InconsistencyProof | None:
    """A proof from verified symbols of a sliver, or None when they rebuild what the metadata names."""
    proven = [symbol for symbol in symbols if isinstance(symbol, RecoverySymbol)]
    try:
        proof = codec.build_inconsistency_proof(metadata, proven, target, axis)
        codec.verify_inconsistency_proof(metadata, axis, proof)
    except HauloutError:
        return None
    return proof


def prove_by_columns(metadata: BlobMetadata, primaries: Sequence[bytes]) -> InconsistencyProof | None:
    """A proof from verified primary slivers (BCS, exactly k1) that give a secondary one otherwise than the metadata.

    None when all columns come out right: then other rows are wrong, or the padding, and these rows prove nothing.
    """
    rows = [Sliver.view(raw) for raw in primaries]
    words = [
        (row.index, word) for row, word in zip(rows, expand_slivers(metadata, Axis.PRIMARY, primaries), strict=True)
    ]
    size = metadata.symbol_size_bytes
    for column in map(SliverIndex, range(metadata.n_shards)):
        symbols = [(source, word[column * size : (column + 1) * size]) for source, word in words]
        if rebuild_sliver(metadata, column, Axis.SECONDARY, symbols) is None:
            raw = make_symbols(metadata, words, column, Axis.SECONDARY, with_proofs=True)
            return build_proof(metadata, Axis.SECONDARY, column, [bcs.decode(RecoverySymbol, one) for one in raw])
    return None


def check_proof(metadata: BlobMetadata, axis: Axis, raw: bytes) -> None:
    """Accept a proof of a wrong encoding (BCS) by returning. Raises as `codec.verify_inconsistency_proof`, and what
    decoding raises."""
    proof: InconsistencyProof = bcs.decode(InconsistencyProof, raw)
    codec.verify_inconsistency_proof(metadata, axis, proof)
