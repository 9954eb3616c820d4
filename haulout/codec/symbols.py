"""Single symbols of the expanded matrix: made from one sliver, proven against it, and enough of them rebuild another.

The symbol in row r and column c lies on primary sliver r and on secondary sliver c; whoever holds one of the two can
make it. To rebuild a sliver one takes one symbol from each of enough slivers of the *other* axis::

    target            symbols   from                       stands in the word at   proof leads to
    primary sliver r  k2        secondary slivers c, c' …  c                       hash of secondary sliver c
    secondary sliver c k1       primary slivers r, r' …    r                       hash of primary sliver r

A symbol travels bare (`DecodingSymbol`: small, the rebuilt sliver is verified as a whole) or with its Merkle path
(`RecoverySymbol`: names the liar when that verification fails). Source: `walrus-core`, `symbols.rs`, `slivers.rs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, overload

import numpy as np

from haulout.codec import sizes
from haulout.codec.errors import NotEnoughSymbols, ProofMismatch, SymbolSizeMismatch, WrongTarget
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata, DecodingSymbol, RecoverySymbol, Sliver
from haulout.codec.red_stuff import Geometry
from haulout.codec.verify import check_index, check_sliver_shape, shape_of, symbols_of
from haulout.codec.words import expand_word, leaf_hashes
from haulout.crypto import merkle
from haulout.primitives import Axis


@overload
def recovery_symbol(
    metadata: BlobMetadata, axis: Axis, sliver: Sliver, target_index: int, *, with_proof: Literal[True] = True
) -> RecoverySymbol: ...
@overload
def recovery_symbol(
    metadata: BlobMetadata, axis: Axis, sliver: Sliver, target_index: int, *, with_proof: Literal[False]
) -> DecodingSymbol: ...
@overload
def recovery_symbol(
    metadata: BlobMetadata, axis: Axis, sliver: Sliver, target_index: int, *, with_proof: bool
) -> RecoverySymbol | DecodingSymbol: ...


def recovery_symbol(
    metadata: BlobMetadata, axis: Axis, sliver: Sliver, target_index: int, *, with_proof: bool = True
) -> RecoverySymbol | DecodingSymbol:
    """The symbol of a sliver that helps to rebuild a sliver of the other axis.

    Args:
        axis: of `sliver`, which is verified; the target is on the other one.
        target_index: of the sliver to rebuild.
        with_proof: add the path in the sliver's tree; costs an expansion and n hashes.

    Raises:
        SliverIndexOutOfRange: no such target or source.
        SliverSizeMismatch, SymbolSizeMismatch: the sliver is none of this blob.
    """
    check_sliver_shape(metadata, axis, sliver)
    check_index(axis.other, target_index, metadata.n_shards)
    shape = shape_of(metadata)
    stored = symbols_of(sliver, shape)
    if not with_proof and target_index < len(stored):
        return DecodingSymbol(axis.other, sliver.index, stored[target_index].tobytes())
    word = expand_word(shape.code(axis.other), stored)
    data = word[target_index].tobytes()
    if not with_proof:
        return DecodingSymbol(axis.other, sliver.index, data)
    proof = merkle.build_proof(leaf_hashes(word), target_index)
    return RecoverySymbol(axis.other, sliver.index, data, target_index, proof)


def verify_recovery_symbol(metadata: BlobMetadata, symbol: RecoverySymbol, target_index: int, axis: Axis) -> None:
    """Check a proven symbol before it is used to rebuild the sliver `target_index` of `axis`.

    It may have been made for this target, or for a crossing one with this target as its source.

    Raises:
        SliverIndexOutOfRange: an index is not below the number of shards.
        SymbolSizeMismatch: not of the blob's symbol size.
        WrongTarget: it does not lie on the sliver to rebuild.
        ProofMismatch: the path does not lead to the hash of its source sliver.
    """
    verify_recovery_symbols(metadata, (symbol,), target_index, axis)


def verify_recovery_symbols(
    metadata: BlobMetadata, symbols: Sequence[RecoverySymbol], target_index: int, axis: Axis
) -> None:
    """Check many symbols for one target at once, which is faster than one by one.

    Raises:
        As `verify_recovery_symbol`: the shape of all is looked at first, then the proofs in order.
    """
    n_shards, shape = metadata.n_shards, shape_of(metadata)
    for symbol in symbols:
        check_index(symbol.axis.other, symbol.source_index, n_shards)
        check_index(symbol.axis, symbol.target_index, n_shards)
        _check_symbol_size(symbol, shape)
        if position_on(symbol, target_index, axis) is None:
            raise WrongTarget(symbol_id=str(symbol.symbol_id), axis=axis.name.lower(), target_index=target_index)
    if not symbols:
        return
    leaves = leaf_hashes(np.stack([np.frombuffer(symbol.data, np.uint8) for symbol in symbols]))
    for symbol, leaf in zip(symbols, leaves, strict=True):
        source_axis = symbol.axis.other
        root = metadata.sliver_hash(source_axis, symbol.source_index)
        if root is None or not merkle.verify_path(root, n_shards, leaf, symbol.target_index, symbol.proof):
            raise ProofMismatch(
                symbol_id=str(symbol.symbol_id), axis=source_axis.name.lower(), source_index=symbol.source_index
            )


def position_on(symbol: RecoverySymbol | DecodingSymbol, target_index: int, axis: Axis) -> int | None:
    """Where a symbol stands in the word of a sliver, or None if it does not lie on it.

    A bare symbol does not say which target it was made for; it is taken to be the one that was asked for.
    """
    if symbol.axis is axis and (isinstance(symbol, DecodingSymbol) or symbol.target_index == target_index):
        return symbol.source_index
    if isinstance(symbol, RecoverySymbol) and symbol.axis is axis.other and symbol.source_index == target_index:
        return symbol.target_index
    return None


def recover_sliver(
    symbols: Iterable[RecoverySymbol | DecodingSymbol], metadata: BlobMetadata, target_index: int, axis: Axis
) -> Sliver:
    """Rebuild one sliver from symbols.

    The result is not verified: `verify_sliver` is the caller's next step. If all symbols were verified and that fails,
    they prove that the blob was encoded wrongly.

    Args:
        symbols: at least as many as the sliver has (k2 for a primary, k1 for a secondary one). Symbols of a wrong size,
            beside the target or twice at one position are dropped, surplus ones are not used.
        metadata: verified against the blob id.

    Raises:
        SliverIndexOutOfRange: no such target.
        NotEnoughSymbols: with `got` and `needed`, counting usable ones.
    """
    shape = shape_of(metadata)
    check_index(axis, target_index, metadata.n_shards)
    usable: dict[int, Symbols] = {}
    needed = sizes.n_sliver_symbols(axis, metadata.n_shards)
    for symbol in symbols:
        position = position_on(symbol, target_index, axis)
        if position is None or position >= metadata.n_shards or len(usable) == needed:
            continue
        data = np.frombuffer(symbol.data, np.uint8)
        if data.size == shape.symbol_size_bytes:
            usable.setdefault(position, data)
    if len(usable) < needed:
        raise NotEnoughSymbols(axis=axis.name.lower(), target_index=target_index, got=len(usable), needed=needed)

    received = sorted(usable)
    rows = np.stack([usable[position] for position in received])
    decoder = shape.code(axis.other).decoder(received)
    source = np.empty((needed, shape.symbol_size_bytes), np.uint8)
    for position, row in zip(received, rows, strict=True):
        if position < needed:
            source[position] = row
    if decoder.missing:
        missing = np.empty((len(decoder.missing), shape.symbol_size_bytes), np.uint8)
        decoder.decode_symbols(list(rows[:, None]), list(missing[:, None]))
        source[list(decoder.missing)] = missing
    return Sliver(source.tobytes(), shape.symbol_size_bytes, target_index)


def _check_symbol_size(symbol: RecoverySymbol | DecodingSymbol, shape: Geometry) -> None:
    size_bytes = memoryview(symbol.data).nbytes
    if size_bytes != shape.symbol_size_bytes:
        raise SymbolSizeMismatch(size_bytes=size_bytes, expected_bytes=shape.symbol_size_bytes)
