"""Proofs that a blob was encoded wrongly by whoever wrote it.

The metadata commits to every symbol of the matrix twice, along its row and along its column. If enough symbols of a
sliver, each proven by the slivers that cross it, rebuild another sliver than the metadata names, then the matrix is no
code word, and these symbols show it to anyone. Source: `walrus-core`, `inconsistency.rs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from haulout.codec import sizes
from haulout.codec.errors import NotEnoughSymbols
from haulout.codec.metadata import BlobMetadata, InconsistencyProof, ProvenSymbol, RecoverySymbol
from haulout.codec.symbols import recover_sliver, verify_recovery_symbols
from haulout.codec.verify import compute_sliver_hashes
from haulout.errors import InvalidInput
from haulout.primitives import Axis


@dataclass(eq=False)
class NotInconsistent(InvalidInput):
    """The symbols rebuild exactly the sliver that the metadata names: nothing is proven."""

    code = "NOT_INCONSISTENT"
    template = "the symbols rebuild {axis} sliver {target_index} as the metadata has it"
    axis: str
    target_index: int


@dataclass(eq=False)
class WrongSymbolCount(InvalidInput):
    """An inconsistency proof holds exactly as many symbols as its target."""

    code = "INVALID_INCONSISTENCY_PROOF"
    template = "{count} symbols in the proof, {needed} belong there"
    count: int
    needed: int


def build_inconsistency_proof(
    metadata: BlobMetadata, symbols: Iterable[RecoverySymbol], target_index: int, axis: Axis
) -> InconsistencyProof:
    """A proof from verified symbols that were made for this target; the first ones that suffice are used.

    Raises:
        NotEnoughSymbols: with `got` and `needed`.
    """
    needed = sizes.n_sliver_symbols(axis, metadata.n_shards)
    chosen: dict[int, ProvenSymbol] = {}
    for symbol in symbols:
        if symbol.axis is axis and symbol.target_index == target_index and len(chosen) < needed:
            chosen.setdefault(symbol.source_index, ProvenSymbol(symbol.source_index, symbol.data, symbol.proof))
    if len(chosen) < needed:
        raise NotEnoughSymbols(axis=axis.name.lower(), target_index=target_index, got=len(chosen), needed=needed)
    return InconsistencyProof(target_index, tuple(chosen.values()))


def verify_inconsistency_proof(metadata: BlobMetadata, axis: Axis, proof: InconsistencyProof) -> None:
    """Accept a proof by returning: the blob of this verified metadata is encoded wrongly.

    Raises:
        WrongSymbolCount: not exactly as many as needed.
        SliverIndexOutOfRange, SymbolSizeMismatch, ProofMismatch: of a symbol.
        NotEnoughSymbols: some are doubled.
        NotInconsistent: the sliver comes out as it should.
    """
    needed = sizes.n_sliver_symbols(axis, metadata.n_shards)
    if len(proof.symbols) != needed:
        raise WrongSymbolCount(count=len(proof.symbols), needed=needed)
    symbols = [RecoverySymbol(axis, s.source_index, s.data, proof.target_index, s.proof) for s in proof.symbols]
    verify_recovery_symbols(metadata, symbols, proof.target_index, axis)
    sliver = recover_sliver(symbols, metadata, proof.target_index, axis)
    if compute_sliver_hashes(metadata, axis, [sliver])[0] == metadata.sliver_hash(axis, proof.target_index):
        raise NotInconsistent(axis=axis.name.lower(), target_index=proof.target_index)
