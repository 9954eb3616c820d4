"""Pieces of RS8 slivers: proven against the metadata stripe by stripe, decoded stripe by stripe.

A piece (`SliverStripes`) is some consecutive stripes of one sliver with the proof of their roots, so whoever gets it
needs nothing but the blob's metadata to trust it::

    verify   expand each stripe, hash, root of the stripe ── proof ──► hash of the sliver in the metadata
    decode   the same stripes of any k1 primary (or k2 secondary) slivers give these stripes of the blob

Whether a blob was encoded as its id says can only be told from all of its stripes: `RowCheck` collects what they show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from haulout.codec import sizes
from haulout.codec.errors import (
    InconsistentBlob,
    NotEnoughSlivers,
    NotEnoughSymbols,
    ProofMismatch,
    SliverHashMismatch,
    SliverSizeMismatch,
    StripesOutOfRange,
    SymbolSizeMismatch,
)
from haulout.codec.lanes import Symbols
from haulout.codec.metadata import BlobMetadata, RecoverySymbol, SliverStripes
from haulout.codec.rs8 import (
    Striping,
    as_parts,
    expand_and_hash,
    hash_stripe,
    metadata_of,
    sliver_hashes,
    stripe_roots,
    striping_of_blob,
)
from haulout.codec.symbols import position_on
from haulout.codec.verify import check_index
from haulout.crypto import merkle
from haulout.crypto.batch import DIGEST_BYTES, Digests, compute_roots, hash_leaves
from haulout.crypto.merkle import MerkleProof
from haulout.crypto.merkle_range import build_range_proof, compute_root_of_range, narrow_range_proof
from haulout.errors import InvalidField
from haulout.primitives import Axis, blob_id_text

# --- proving and verifying ----------------------------------------------------------------------------------


def build_stripe_proof(roots: Digests, stripes: range) -> tuple[bytes, ...]:
    """The proof of consecutive stripes of a sliver whose stripe roots (T, 32) are all known."""
    return build_range_proof(leaves_of(roots), stripes.start, stripes.stop)


class SliverTrees:
    """The trees of all slivers of a blob over their stripes: who encodes cuts the proofs of all pieces out of them."""

    def __init__(self, roots: Digests) -> None:
        """`roots` (2, n, T, 32) of all stripes."""
        self._n_stripes = roots.shape[2]
        self._levels = [[_joined_levels(leaves_of(of_sliver)) for of_sliver in of_axis] for of_axis in roots]

    def proof(self, axis: Axis, sliver_index: int, stripes: range) -> tuple[bytes, ...]:
        """The proof of consecutive stripes of a sliver."""
        start, stop, n_nodes = stripes.start, stripes.stop, self._n_stripes
        siblings = []
        for level in self._levels[axis][sliver_index][:-1]:
            if start & 1:
                siblings.append(level[DIGEST_BYTES * (start - 1) : DIGEST_BYTES * start])
            if stop & 1 and stop != n_nodes:
                siblings.append(level[DIGEST_BYTES * stop : DIGEST_BYTES * (stop + 1)])
            start, stop, n_nodes = start >> 1, (stop + 1) >> 1, (n_nodes + 1) >> 1
        return tuple(siblings)


def _joined_levels(leaves: list[bytes]) -> list[bytes]:
    return [b"".join(level) for level in merkle.build_levels(leaves)]


def leaves_of(roots: Digests) -> list[bytes]:
    """Stripe roots (count, 32) as leaf hashes of the sliver's tree."""
    return _leaf_hashes(roots)


def _leaf_hashes(rows: Symbols) -> list[bytes]:
    leaves = np.empty((1, len(rows), DIGEST_BYTES), np.uint8)
    hash_leaves(np.ascontiguousarray(rows)[None], leaves)
    return [leaf.tobytes() for leaf in leaves[0]]


def stripes_of(striping: Striping, axis: Axis, piece: SliverStripes) -> range:
    """The stripes of a piece.

    Raises:
        SliverIndexOutOfRange, SymbolSizeMismatch, SliverSizeMismatch, StripesOutOfRange: its shape is wrong.
    """
    check_index(axis, piece.index, striping.n_shards)
    if piece.symbol_size_bytes != striping.symbol_size_bytes:
        raise SymbolSizeMismatch(size_bytes=piece.symbol_size_bytes, expected_bytes=striping.symbol_size_bytes)
    part_bytes, size_bytes = striping.part_bytes(axis), memoryview(piece.data).nbytes
    count, rest = divmod(size_bytes, part_bytes)
    if rest or not count:
        expected = max(count, 1) * part_bytes
        raise SliverSizeMismatch(
            axis=axis.name.lower(), index=piece.index, size_bytes=size_bytes, expected_bytes=expected
        )
    stripes = range(piece.first_stripe, piece.first_stripe + count)
    if stripes.stop > striping.n_stripes:
        raise StripesOutOfRange(first=stripes.start, count=count, n_stripes=striping.n_stripes)
    return stripes


def verify_stripes(metadata: BlobMetadata, axis: Axis, piece: SliverStripes) -> Digests:
    """Check a piece against metadata that is itself verified.

    Returns:
        The roots (count, 32) of its stripes.

    Raises:
        UnsupportedEncodingType, ShardCountOutOfRange: the metadata's blob cannot be.
        SliverIndexOutOfRange, SymbolSizeMismatch, SliverSizeMismatch, StripesOutOfRange: its shape is wrong.
        SliverHashMismatch: its stripes and its proof do not lead to the hash in the metadata.
    """
    striping = striping_of_blob(metadata)
    stripes = stripes_of(striping, axis, piece)
    roots = stripe_roots(striping, axis, as_parts(striping, axis, piece.data))
    try:
        root = compute_root_of_range(leaves_of(roots), stripes.start, piece.proof, striping.n_stripes)
    except InvalidField:
        root = None
    if root is None or root != metadata.sliver_hash(axis, piece.index):
        raise SliverHashMismatch(axis=axis.name.lower(), index=piece.index)
    return roots


def cut_stripes(
    striping: Striping, axis: Axis, piece: SliverStripes, leaves: Sequence[bytes], wanted: range
) -> SliverStripes:
    """Some stripes of a verified piece as a piece of its own.

    Args:
        leaves: the leaf hashes of the piece's stripes.
        wanted: within it, not empty.
    """
    first, part_bytes = piece.first_stripe, striping.part_bytes(axis)
    if wanted == range(first, first + len(leaves)):
        return piece
    proof = narrow_range_proof(leaves, first, piece.proof, striping.n_stripes, wanted.start, wanted.stop)
    data = memoryview(piece.data)[(wanted.start - first) * part_bytes : (wanted.stop - first) * part_bytes]
    return SliverStripes(data, piece.symbol_size_bytes, piece.index, wanted.start, proof)


# --- decoding -----------------------------------------------------------------------------------------------


def decode_stripes(
    metadata: BlobMetadata,
    pieces: Iterable[SliverStripes],
    axis: Axis,
    stripes: range,
    out: Symbols | None = None,
    *,
    keep_padding: bool = False,
) -> Symbols:
    """Consecutive stripes of the blob, from the same stripes of enough slivers of one axis.

    Args:
        metadata: verified against the blob id.
        pieces: of at least k1 primary or k2 secondary slivers. Those of other stripes or sizes and duplicates are
            dropped.
        out: where to decode to, (at least len(stripes), k1, k2, s).
        keep_padding: leave what is behind the end of the blob as the slivers have it, so that others can be made as the
            metadata commits to them, even if their writer put something there.

    Returns:
        (stripes, k1, k2, s); what is behind the end of the blob is zero, unless it is kept.

    Raises:
        NotEnoughSlivers: with `got` and `needed`; nothing was written.
    """
    striping = striping_of_blob(metadata)
    expected_bytes = len(stripes) * striping.part_bytes(axis)
    usable: dict[int, SliverStripes] = {}
    for piece in pieces:
        fits = piece.index < striping.n_shards and piece.symbol_size_bytes == striping.symbol_size_bytes
        if fits and piece.first_stripe == stripes.start and memoryview(piece.data).nbytes == expected_bytes:
            usable.setdefault(piece.index, piece)
    needed = sizes.n_source_symbols(axis, striping.n_shards)
    if len(usable) < needed:
        raise NotEnoughSlivers(axis=axis.name.lower(), got=len(usable), needed=needed)
    chosen = [usable[index] for index in sorted(usable)[:needed]]
    shape = (len(stripes), striping.n_rows, striping.n_columns, striping.symbol_size_bytes)
    matrices = np.empty(shape, np.uint8) if out is None else out[: len(stripes)]
    parts = [as_parts(striping, axis, piece.data) for piece in chosen]
    decoder = striping.code(axis).decoder([piece.index for piece in chosen])
    for i in range(len(stripes)):
        lines = matrices[i] if axis is Axis.PRIMARY else matrices[i].transpose(1, 0, 2)
        for piece, part in zip(chosen, parts, strict=True):
            if piece.index < len(lines):
                lines[piece.index] = part[i]
        decoder.decode_symbols([part[i] for part in parts], [lines[index] for index in decoder.missing])
    if not keep_padding:
        matrices.reshape(-1)[len(striping.bytes_of(stripes)) :] = 0
    return matrices


class RowCheck:
    """Whether a blob that is decoded stripe by stripe is the one that its metadata commits to.

    The hashes of the k1 systematic primary slivers hold all of the blob's bytes. Rows that came verified and reach into
    no padding show their stripe roots as they come, the others are expanded and hashed here; after the last stripe the
    k1 trees are compared with the metadata. So the verdict does not depend on which slivers a reader decoded from.
    """

    def __init__(self, metadata: BlobMetadata) -> None:
        self._metadata = metadata
        self._striping = striping_of_blob(metadata)
        self._roots = np.empty((self._striping.n_rows, self._striping.n_stripes, DIGEST_BYTES), np.uint8)
        self._rebuilt = np.zeros(self._striping.n_rows, bool)

    def add(self, stripes: range, matrices: Symbols, verified: dict[int, Digests]) -> None:
        """Take the next decoded stripes (stripes, k1, k2, s), and the roots of rows that came verified by index."""
        striping = self._striping
        for i, stripe in enumerate(stripes):
            is_whole = (stripe + 1) * striping.stripe_bytes <= striping.size_bytes
            row_bytes = striping.part_bytes(Axis.PRIMARY)
            n_whole = (
                striping.n_rows if is_whole else (striping.size_bytes - stripe * striping.stripe_bytes) // row_bytes
            )
            known = [index for index in verified if index < n_whole]
            for index in known:
                self._roots[index, stripe] = verified[index][i]
            others = sorted(set(range(striping.n_rows)).difference(known))
            if others:
                leaves = expand_and_hash(striping.code(Axis.SECONDARY), matrices[i][others])
                self._roots[others, stripe] = compute_roots(leaves)
                self._rebuilt[others] = True

    def finish(self) -> None:
        """Compare after the last stripe.

        Raises:
            InconsistentBlob: its writer encoded it wrongly.
        """
        rows = np.flatnonzero(self._rebuilt)
        if not len(rows):
            return
        hashes = sliver_hashes(self._roots[rows])
        expected = [self._metadata.sliver_hash(Axis.PRIMARY, int(row)) for row in rows]
        if [found.tobytes() for found in hashes] != expected:
            raise InconsistentBlob(blob_id=blob_id_text(self._metadata.blob_id()), check="default")


class IdCheck:
    """The strongest check: every stripe is encoded again, and the blob id has to come out."""

    def __init__(self, metadata: BlobMetadata) -> None:
        self._metadata = metadata
        self._striping = striping_of_blob(metadata)
        self._roots = np.empty((2, metadata.n_shards, self._striping.n_stripes, DIGEST_BYTES), np.uint8)

    def add(self, stripes: range, matrices: Symbols, verified: dict[int, Digests]) -> None:
        """Take the next decoded stripes (stripes, k1, k2, s)."""
        for matrix, stripe in zip(matrices, stripes, strict=True):
            self._roots[:, :, stripe] = hash_stripe(self._striping, matrix)

    def finish(self) -> None:
        """Compare after the last stripe.

        Raises:
            InconsistentBlob: its writer encoded it wrongly.
        """
        if metadata_of(self._striping, self._roots).blob_id() != self._metadata.blob_id():
            raise InconsistentBlob(blob_id=blob_id_text(self._metadata.blob_id()), check="strict")


# --- single symbols -----------------------------------------------------------------------------------------


def recovery_symbol(
    metadata: BlobMetadata, axis: Axis, piece: SliverStripes, leaves: Sequence[bytes], stripe: int, target_index: int
) -> RecoverySymbol:
    """The symbol of one stripe of a sliver that helps to rebuild that stripe of a sliver of the other axis.

    Its proof is the path in the stripe's tree, then that of the stripe's root in the sliver's tree.

    Args:
        axis: of `piece`, which is verified; the target is on the other one.
        leaves: the leaf hashes of the piece's stripes.
        stripe: one of them.

    Raises:
        SliverIndexOutOfRange: no such target.
    """
    striping = striping_of_blob(metadata)
    check_index(axis.other, target_index, striping.n_shards)
    one = cut_stripes(striping, axis, piece, leaves, range(stripe, stripe + 1))
    code, symbols = striping.code(axis.other), as_parts(striping, axis, one.data)[0]
    word = np.empty((striping.n_shards, striping.symbol_size_bytes), np.uint8)
    word[: code.n_source] = symbols
    rows = [word[i : i + 1] for i in range(striping.n_shards)]
    code.encode_symbols(rows[: code.n_source], rows[code.n_source :])
    in_stripe = merkle.build_proof(_leaf_hashes(word), target_index)
    path = MerkleProof((*in_stripe.siblings, *_with_empty(one.proof, stripe, striping.n_stripes)))
    return RecoverySymbol(axis.other, one.index, word[target_index].tobytes(), target_index, path)


def verify_recovery_symbol(metadata: BlobMetadata, symbol: RecoverySymbol, stripe: int) -> None:
    """Check a proven symbol of a stripe before it is used.

    Raises:
        SliverIndexOutOfRange, StripesOutOfRange, SymbolSizeMismatch: it cannot be of this blob.
        ProofMismatch: the path does not lead to the hash of its source sliver.
    """
    striping = striping_of_blob(metadata)
    source_axis = symbol.axis.other
    check_index(source_axis, symbol.source_index, striping.n_shards)
    check_index(symbol.axis, symbol.target_index, striping.n_shards)
    if not 0 <= stripe < striping.n_stripes:
        raise StripesOutOfRange(first=stripe, count=1, n_stripes=striping.n_stripes)
    size_bytes = memoryview(symbol.data).nbytes
    if size_bytes != striping.symbol_size_bytes:
        raise SymbolSizeMismatch(size_bytes=size_bytes, expected_bytes=striping.symbol_size_bytes)
    siblings, height = symbol.proof.siblings, merkle.proof_length(striping.n_shards)
    expected = height + merkle.proof_length(striping.n_stripes)
    is_right = len(siblings) == expected
    if is_right:
        root = _climb(merkle.hash_leaf(symbol.data), symbol.target_index, siblings[:height])
        root = _climb(merkle.hash_leaf(root), stripe, siblings[height:])
        is_right = root == metadata.sliver_hash(source_axis, symbol.source_index)
    if not is_right:
        raise ProofMismatch(
            symbol_id=str(symbol.symbol_id), axis=source_axis.name.lower(), source_index=symbol.source_index
        )


def recover_stripe(metadata: BlobMetadata, symbols: Iterable[RecoverySymbol], target_index: int, axis: Axis) -> Symbols:
    """One stripe of a sliver (symbols, s) from symbols of it; not verified.

    Raises:
        SliverIndexOutOfRange: no such target.
        NotEnoughSymbols: with `got` and `needed`, counting usable ones.
    """
    striping = striping_of_blob(metadata)
    check_index(axis, target_index, striping.n_shards)
    needed = sizes.n_sliver_symbols(axis, striping.n_shards)
    usable: dict[int, Symbols] = {}
    for symbol in symbols:
        position = position_on(symbol, target_index, axis)
        data = np.frombuffer(symbol.data, np.uint8)
        if position is not None and position < striping.n_shards and data.size == striping.symbol_size_bytes:
            usable.setdefault(position, data.reshape(1, -1))
    if len(usable) < needed:
        raise NotEnoughSymbols(axis=axis.name.lower(), target_index=target_index, got=len(usable), needed=needed)
    received = sorted(usable)[:needed]
    found = np.empty((needed, striping.symbol_size_bytes), np.uint8)
    for position in received:
        if position < needed:
            found[position] = usable[position]
    decoder = striping.code(axis.other).decoder(received)
    missing = [found[index : index + 1] for index in decoder.missing]
    decoder.decode_symbols([usable[position] for position in received], missing)
    return found


def _climb(node: bytes, index: int, siblings: Sequence[bytes | None]) -> bytes:
    for sibling in siblings:
        other = merkle.EMPTY if sibling is None else sibling
        node = merkle.hash_pair(other, node) if index & 1 else merkle.hash_pair(node, other)
        index >>= 1
    return node


def _with_empty(proof: Sequence[bytes], index: int, n_leaves: int) -> list[bytes | None]:
    """A proof of one leaf with the empty nodes that range proofs leave out."""
    siblings = iter(proof)
    path: list[bytes | None] = []
    while n_leaves > 1:
        path.append(None if index ^ 1 == n_leaves else next(siblings))
        index, n_leaves = index >> 1, (n_leaves + 1) >> 1
    return path
