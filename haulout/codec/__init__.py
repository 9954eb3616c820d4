"""Erasure coding: blobs to sliver pairs and back, byte for byte as Walrus does it.

::

    encoded = encode_blob(data, n_shards)            -> EncodedBlob: blob id, metadata, slivers as views
    blob_id, metadata = compute_blob_id(data, n)     -> the id alone
    verify_metadata(metadata, blob_id, n_shards)     metadata against the id
    verify_sliver(metadata, axis, sliver)            a sliver against verified metadata
    blob = decode_blob(metadata, slivers, axis)      -> memoryview, checked for consistency
    recovery_symbol(metadata, axis, sliver, target)  -> what a sliver gives to rebuild one of the other axis
    recover_sliver(symbols, metadata, target, axis)  -> Sliver, not yet verified

All values of `metadata` have canonical bytes (`bcs.encode`, `bcs.decode`); `sizes` holds every length and limit and
imports no numpy. Everything is pure: values in, values out, safe to call from any thread.

There are two encodings. RS2 is Walrus's, one matrix over GF(2^16); it is what all calls mean by default. RS8 is ours,
in stripes over GF(2^8), for what RS2 cannot hold; blobs larger than memory go through it stripe by stripe (`rs8`,
`stripes`, `streams`). Single symbols (`symbols`, `inconsistency`) are of RS2, those of RS8 are in `stripes` and
`striped_inconsistency`.

The names below are loaded when they are first used, so that who needs `codec.sizes` only, like the ledger and the
command line, does not pay for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from haulout.codec import sizes

if TYPE_CHECKING:
    from haulout.codec import rs8 as rs8
    from haulout.codec import striped_inconsistency as striped_inconsistency
    from haulout.codec import stripes as stripes
    from haulout.codec import verify as verify
    from haulout.codec import words as words
    from haulout.codec.consistency import ConsistencyCheck
    from haulout.codec.encodings import (
        compute_blob_id,
        decode_and_reencode,
        decode_blob,
        encode_blob,
        padded_size_bytes,
        verify_sliver,
        verify_slivers,
    )
    from haulout.codec.inconsistency import build_inconsistency_proof, verify_inconsistency_proof
    from haulout.codec.metadata import (
        BlobMetadata,
        BlobMetadataWithId,
        DecodingSymbol,
        InconsistencyProof,
        RecoverySymbol,
        Sliver,
        SliverOnAxis,
        SliverPair,
        SliverPairHashes,
        SliverStripes,
        SymbolId,
    )
    from haulout.codec.red_stuff import EncodedBlob, SliverBuffers
    from haulout.codec.symbols import recover_sliver, recovery_symbol, verify_recovery_symbol, verify_recovery_symbols
    from haulout.codec.verify import verify_metadata

_HOMES = {
    "ConsistencyCheck": "consistency",
    "decode_and_reencode": "encodings",
    "decode_blob": "encodings",
    "padded_size_bytes": "encodings",
    "build_inconsistency_proof": "inconsistency",
    "verify_inconsistency_proof": "inconsistency",
    "BlobMetadata": "metadata",
    "BlobMetadataWithId": "metadata",
    "DecodingSymbol": "metadata",
    "InconsistencyProof": "metadata",
    "RecoverySymbol": "metadata",
    "Sliver": "metadata",
    "SliverOnAxis": "metadata",
    "SliverPair": "metadata",
    "SliverPairHashes": "metadata",
    "SliverStripes": "metadata",
    "SymbolId": "metadata",
    "EncodedBlob": "red_stuff",
    "SliverBuffers": "red_stuff",
    "compute_blob_id": "encodings",
    "encode_blob": "encodings",
    "recover_sliver": "symbols",
    "recovery_symbol": "symbols",
    "verify_recovery_symbol": "symbols",
    "verify_recovery_symbols": "symbols",
    "verify_metadata": "verify",
    "verify_sliver": "encodings",
    "verify_slivers": "encodings",
}
# For those who must not load numpy when they start.
_MODULES = frozenset(("rs8", "striped_inconsistency", "stripes", "verify", "words"))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


__all__ = [
    "BlobMetadata",
    "BlobMetadataWithId",
    "ConsistencyCheck",
    "DecodingSymbol",
    "EncodedBlob",
    "InconsistencyProof",
    "RecoverySymbol",
    "Sliver",
    "SliverBuffers",
    "SliverOnAxis",
    "SliverPair",
    "SliverPairHashes",
    "SliverStripes",
    "SymbolId",
    "build_inconsistency_proof",
    "compute_blob_id",
    "decode_and_reencode",
    "decode_blob",
    "encode_blob",
    "padded_size_bytes",
    "recover_sliver",
    "recovery_symbol",
    "sizes",
    "verify_inconsistency_proof",
    "verify_metadata",
    "verify_recovery_symbol",
    "verify_recovery_symbols",
    "verify_sliver",
    "verify_slivers",
]
