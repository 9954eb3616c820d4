"""What the codec refuses. Codes are those of Walrus's node API where it has one."""

from __future__ import annotations

from dataclasses import dataclass

from haulout.errors import Corrupt, InvalidInput, NotFound

# --- malformed: the caller fixes it -------------------------------------------------------------------------


@dataclass(eq=False)
class UnsupportedEncodingType(InvalidInput):
    """An encoding that this build cannot compute."""

    code = "UNSUPPORTED_ENCODING_TYPE"
    template = "encoding type {encoding_type} is not supported"
    hint = "RS2 (1) and RS8 (8) are"
    encoding_type: int


@dataclass(eq=False)
class ShardCountOutOfRange(InvalidInput):
    """A number of shards for which the encoding is not defined."""

    code = "SHARD_COUNT_OUT_OF_RANGE"
    template = "{n_shards} shards; the encoding needs {minimum} to {maximum}"
    n_shards: int
    minimum: int
    maximum: int


@dataclass(eq=False)
class SliverIndexOutOfRange(InvalidInput):
    """An index of a sliver or a sliver pair that is not below the number of shards."""

    code = "INDEX_OUT_OF_RANGE"
    template = "{what} index {index} is not below {limit}"
    what: str
    index: int
    limit: int


@dataclass(eq=False)
class SliverSizeMismatch(InvalidInput):
    """A sliver of another length than the blob's slivers have."""

    code = "INVALID_SLIVER"
    template = "{axis} sliver {index} has {size_bytes} bytes, the blob's have {expected_bytes}"
    axis: str
    index: int
    size_bytes: int
    expected_bytes: int


@dataclass(eq=False)
class SymbolSizeMismatch(InvalidInput):
    """A symbol, or what a sliver says of its symbols, of another size than the blob's."""

    code = "INVALID_SLIVER"
    template = "symbols of {size_bytes} bytes, the blob's have {expected_bytes}"
    size_bytes: int
    expected_bytes: int


@dataclass(eq=False)
class StripesOutOfRange(InvalidInput):
    """Stripes that the blob does not have."""

    code = "INDEX_OUT_OF_RANGE"
    template = "{count} stripes from {first} on are not among the blob's {n_stripes}"
    first: int
    count: int
    n_stripes: int


@dataclass(eq=False)
class PairCountMismatch(InvalidInput):
    """Metadata with another number of sliver pairs than there are shards."""

    code = "INVALID_METADATA"
    template = "the metadata lists {n_pairs} sliver pairs, the network has {n_shards} shards"
    n_pairs: int
    n_shards: int


@dataclass(eq=False)
class MetadataMismatch(InvalidInput):
    """Metadata that does not hash to the blob id."""

    code = "INVALID_METADATA"
    template = "the metadata is that of blob {computed_blob_id}, not of {blob_id}"
    blob_id: str
    computed_blob_id: str


@dataclass(eq=False)
class PairProofMismatch(InvalidInput):
    """Hashes of a sliver pair that do not lead to the blob id."""

    code = "INVALID_PAIR_PROOF"
    template = "hashes and path of sliver pair {pair_index} do not lead to blob {blob_id}"
    pair_index: int
    blob_id: str


@dataclass(eq=False)
class WrongTarget(InvalidInput):
    """A recovery symbol that does not lie on the sliver to rebuild."""

    code = "SYMBOL_NOT_ON_TARGET"
    template = "symbol {symbol_id} does not lie on {axis} sliver {target_index}"
    symbol_id: str
    axis: str
    target_index: int


@dataclass(eq=False)
class BufferSizeMismatch(InvalidInput):
    """A caller's buffer that does not fit the blob."""

    code = "BUFFER_SIZE_MISMATCH"
    template = "the buffer for {what} has {size_bytes} bytes, {expected_bytes} are needed"
    what: str
    size_bytes: int
    expected_bytes: int


@dataclass(eq=False)
class UnknownKernels(InvalidInput):
    """A choice of kernels that there is not."""

    code = "UNKNOWN_KERNELS"
    template = "there are no {name!r} kernels"
    hint = "HAULOUT_KERNELS is numpy or native"
    name: str


# --- it is not there ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class NotEnoughSlivers(NotFound):
    """Fewer usable slivers than decoding needs; duplicates and those of a wrong size do not count."""

    code = "NOT_ENOUGH_SLIVERS"
    template = "{got} usable {axis} slivers, {needed} are needed to decode the blob"
    axis: str
    got: int
    needed: int


@dataclass(eq=False)
class NotEnoughSymbols(NotFound):
    """Fewer usable symbols than rebuilding a sliver needs; duplicates and those of a wrong size do not count."""

    code = "NOT_ENOUGH_SYMBOLS"
    template = "{got} usable symbols, {needed} are needed to rebuild {axis} sliver {target_index}"
    axis: str
    target_index: int
    got: int
    needed: int


# --- bytes are not what they claim --------------------------------------------------------------------------


@dataclass(eq=False)
class SliverHashMismatch(Corrupt):
    """A sliver whose expanded symbols do not hash to what the metadata says."""

    code = "SLIVER_HASH_MISMATCH"
    template = "{axis} sliver {index} does not match its hash in the metadata"
    axis: str
    index: int


@dataclass(eq=False)
class ProofMismatch(Corrupt):
    """A symbol whose Merkle proof does not lead to the hash in the metadata."""

    code = "INVALID_PROOF"
    template = "the proof of symbol {symbol_id} does not lead to the hash of {axis} sliver {source_index}"
    symbol_id: str
    axis: str
    source_index: int


@dataclass(eq=False)
class InconsistentBlob(Corrupt):
    """Decoding worked, but the result is not what the metadata commits to: its writer encoded it wrongly."""

    code = "BLOB_INCONSISTENT"
    template = "blob {blob_id} was not encoded as its id says: the {check} check failed"
    hint = "no correct reader can give it back; its writer has to store it again"
    blob_id: str
    check: str


@dataclass(eq=False)
class KernelsDisagree(Corrupt):
    """A native kernel computed something else than the plain version: it is not used."""

    code = "KERNELS_DISAGREE"
    template = "the native {kernel} kernel gives wrong results on this machine"
    hint = "set HAULOUT_KERNELS=numpy, and tell us which CPU this is"
    kernel: str
