"""Proofs that a blob in stripes was encoded wrongly by whoever wrote it.

As for other blobs (`inconsistency.py`), enough symbols of a sliver, each true to the sliver that crosses it there, give
another sliver than the metadata names. A sliver in stripes may be larger than memory, so its proof is made, sent and
checked stripe by stripe::

    head       u16 index of the target, then the u16 indices of the slivers that cross it, ascending
    stripe 0   of each of these in turn: its symbol on the target, then that symbol's siblings in the stripe's tree
    stripe 1   …

A symbol and its siblings lead to the root of one stripe of a crossing sliver. When all stripes came, these roots make
that sliver's own tree, whose root has to be its hash in the metadata: then every symbol was true. From the same symbols
the target's stripes come out, and their tree has another root than the metadata names.

All sizes follow from the metadata, so a proof has exactly one length: about that of the sliver.
The proof of RS2, and why this one is another: `inconsistency.py`, `docs/decisions/inconsistent-blobs.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from haulout.codec import sizes
from haulout.codec.errors import ProofMismatch
from haulout.codec.inconsistency import NotInconsistent, WrongSymbolCount
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata, SliverStripes, SymbolId
from haulout.codec.rs8 import Striping, as_parts, hash_stripe, sliver_hashes, stripe_roots, striping_of_blob
from haulout.codec.stripes import decode_stripes
from haulout.codec.verify import check_index
from haulout.crypto import merkle
from haulout.crypto.batch import DIGEST_BYTES, Digests, hash_leaves
from haulout.errors import InvalidField
from haulout.primitives import Axis

INDEX_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class ProofShape:
    """How the bytes of a proof about a sliver of `axis` lie."""

    striping: Striping
    axis: Axis

    @property
    def n_sources(self) -> int:
        """Slivers that cross the target in a proof: as many as it has symbols in a stripe."""
        return sizes.n_sliver_symbols(self.axis, self.striping.n_shards)

    @property
    def head_bytes(self) -> int:
        return INDEX_BYTES * (1 + self.n_sources)

    @property
    def n_siblings(self) -> int:
        return merkle.proof_length(self.striping.n_shards)

    @property
    def symbol_bytes(self) -> int:
        """A symbol with its siblings."""
        return self.striping.symbol_size_bytes + DIGEST_BYTES * self.n_siblings

    @property
    def stripe_bytes(self) -> int:
        return self.n_sources * self.symbol_bytes

    @property
    def size_bytes(self) -> int:
        """The whole proof."""
        return self.head_bytes + self.striping.n_stripes * self.stripe_bytes


def shape_of_proof(metadata: BlobMetadata, axis: Axis) -> ProofShape:
    """The shape of a proof about a sliver of `axis`.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange: the blob is not in stripes, or cannot be.
    """
    return ProofShape(striping_of_blob(metadata), axis)


# --- finding what is wrong ----------------------------------------------------------------------------------


class StripeSurvey:
    """Computes the hashes of all slivers that some rows of a blob give, to find one that the metadata has otherwise."""

    def __init__(self, metadata: BlobMetadata) -> None:
        self._metadata = metadata
        self._striping = striping_of_blob(metadata)
        self._roots = np.empty((2, metadata.n_shards, self._striping.n_stripes, DIGEST_BYTES), np.uint8)

    def add(self, pieces: Sequence[SliverStripes], stripes: range) -> None:
        """Take the next stripes of exactly k1 verified primary slivers, always the same ones."""
        matrices = decode_stripes(self._metadata, pieces, Axis.PRIMARY, stripes, keep_padding=True)
        for matrix, stripe in zip(matrices, stripes, strict=True):
            self._roots[:, :, stripe] = hash_stripe(self._striping, matrix)

    def first_wrong(self) -> tuple[Axis, int] | None:
        """A secondary sliver that the rows prove to be wrong; if there is none, a primary one that the columns do."""
        hashes = sliver_hashes(self._roots)
        for axis in (Axis.SECONDARY, Axis.PRIMARY):
            for index, found in enumerate(hashes[axis]):
                if found.tobytes() != self._metadata.sliver_hash(axis, index):
                    return axis, index
        return None


# --- proving ------------------------------------------------------------------------------------------------


def write_head(target_index: int, sources: Sequence[int]) -> bytes:
    """The beginning of a proof. Of a secondary target the sources are the surveyed rows, of a primary one columns."""
    return np.array([target_index, *sources], "<u2").tobytes()


def prove_stripes(
    metadata: BlobMetadata, axis: Axis, target_index: int, pieces: Sequence[SliverStripes], stripes: range
) -> bytes:
    """The next stripes of a proof, from the pieces of exactly k1 verified primary slivers in order of their indices.

    A primary target is crossed by the first k2 columns that these rows give, which the survey found to be right.
    """
    shape = shape_of_proof(metadata, axis)
    striping = shape.striping
    if axis is Axis.SECONDARY:
        parts = np.stack([as_parts(striping, Axis.PRIMARY, piece.data) for piece in pieces], axis=1)
    else:
        matrices = decode_stripes(metadata, pieces, Axis.PRIMARY, stripes, keep_padding=True)
        parts = matrices.transpose(0, 2, 1, 3)
    out = np.empty((len(stripes), shape.n_sources, shape.symbol_bytes), np.uint8)
    for records, of_sources in zip(out, parts, strict=True):
        for record, part in zip(records, of_sources, strict=True):
            _write_symbol(shape, part, target_index, record)
    return out.tobytes()


def _write_symbol(shape: ProofShape, part: Symbols, target_index: int, record: Symbols) -> None:
    """One stripe of a crossing sliver (symbols, s) as its symbol on the target with the siblings."""
    striping = shape.striping
    code, size = striping.code(shape.axis), striping.symbol_size_bytes
    word = np.empty((striping.n_shards, size), np.uint8)
    word[: code.n_source] = part
    rows = [word[i : i + 1] for i in range(striping.n_shards)]
    code.encode_symbols(rows[: code.n_source], rows[code.n_source :])
    leaves = [leaf.tobytes() for leaf in _hash_symbols(word)]
    siblings = merkle.build_proof(leaves, target_index).siblings
    record[:size] = word[target_index]
    record[size:] = np.frombuffer(b"".join(node or merkle.EMPTY for node in siblings), np.uint8)


# --- checking -----------------------------------------------------------------------------------------------


class StripedProofCheck:
    """Checks a proof as it comes; what it keeps is a digest per stripe and crossing sliver."""

    def __init__(self, metadata: BlobMetadata, axis: Axis, head: bytes) -> None:
        """Begin with the head of a proof about a blob whose metadata is verified.

        Raises:
            UnsupportedEncodingType, ShardCountOutOfRange: the blob is not in stripes, or cannot be.
            SliverIndexOutOfRange: there is no such sliver.
            InvalidField: the crossing slivers are not ascending.
            WrongSymbolCount: the head is not as long as it has to be.
        """
        self._metadata = metadata
        self._shape = shape_of_proof(metadata, axis)
        needed, indices = self._shape.n_sources, [int(index) for index in np.frombuffer(head, "<u2")]
        if len(indices) != 1 + needed:
            raise WrongSymbolCount(count=len(indices) - 1, needed=needed)
        self._target, self._sources = indices[0], indices[1:]
        n_shards = metadata.n_shards
        check_index(axis, self._target, n_shards)
        for source in self._sources:
            check_index(axis.other, source, n_shards)
        if self._sources != sorted(set(self._sources)):
            raise InvalidField(field="proof", problem="the crossing slivers are not in ascending order")
        striping = self._shape.striping
        self._decoder = striping.code(axis.other).decoder(self._sources)
        self._roots = np.empty((1 + needed, striping.n_stripes, DIGEST_BYTES), np.uint8)  # the target's are the first
        self._n_stripes = 0

    def add(self, data: bytes) -> None:
        """Take the next whole stripes.

        Raises:
            InvalidField: more than the blob has.
        """
        shape = self._shape
        size, needed = shape.striping.symbol_size_bytes, shape.n_sources
        stripes = np.frombuffer(data, np.uint8).reshape(-1, needed, shape.symbol_bytes)
        if self._n_stripes + len(stripes) > shape.striping.n_stripes:
            raise InvalidField(field="proof", problem=f"more than the blob's {shape.striping.n_stripes} stripes")
        for records in stripes:
            symbols = np.ascontiguousarray(records[:, :size])
            for i, leaf in enumerate(_hash_symbols(symbols)):
                root = _climb(leaf.tobytes(), self._target, records[i, size:].tobytes())
                self._roots[1 + i, self._n_stripes] = np.frombuffer(root, np.uint8)
            part = self._rebuild(symbols)
            self._roots[0, self._n_stripes] = stripe_roots(shape.striping, shape.axis, part[None])[0]
            self._n_stripes += 1

    def _rebuild(self, symbols: Symbols) -> Symbols:
        """One stripe of the target (symbols, s)."""
        found = np.empty_like(symbols)
        for source, symbol in zip(self._sources, symbols, strict=True):
            if source < len(found):
                found[source] = symbol
        missing = [found[index : index + 1] for index in self._decoder.missing]
        self._decoder.decode_symbols(list(symbols[:, None]), missing)
        return found

    def finish(self) -> None:
        """Accept the proof by returning: the blob is encoded wrongly.

        Raises:
            InvalidField: stripes are lacking.
            ProofMismatch: a crossing sliver is not the one that the metadata names.
            NotInconsistent: the target comes out as it should.
        """
        shape, target = self._shape, self._target
        if self._n_stripes != shape.striping.n_stripes:
            problem = f"{self._n_stripes} of the blob's {shape.striping.n_stripes} stripes"
            raise InvalidField(field="proof", problem=problem)
        of_target, *of_sources = (root.tobytes() for root in sliver_hashes(self._roots))
        crossing = shape.axis.other
        for source, found in zip(self._sources, of_sources, strict=True):
            if found != self._metadata.sliver_hash(crossing, source):
                symbol = SymbolId(target, source) if shape.axis is Axis.PRIMARY else SymbolId(source, target)
                raise ProofMismatch(symbol_id=str(symbol), axis=crossing.name.lower(), source_index=source)
        if of_target == self._metadata.sliver_hash(shape.axis, target):
            raise NotInconsistent(axis=shape.axis.name.lower(), target_index=target)


def _climb(node: bytes, index: int, siblings: bytes) -> bytes:
    for at in range(0, len(siblings), DIGEST_BYTES):
        sibling = siblings[at : at + DIGEST_BYTES]
        node = merkle.hash_pair(sibling, node) if index & 1 else merkle.hash_pair(node, sibling)
        index >>= 1
    return node


def _hash_symbols(symbols: Symbols) -> Digests:
    """Symbols (count, s) as leaf hashes (count, 32)."""
    leaves = np.empty((1, len(symbols), DIGEST_BYTES), np.uint8)
    hash_leaves(symbols[None], leaves)
    found: Digests = leaves[0]
    return found
