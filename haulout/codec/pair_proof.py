"""From a sliver to a blob id without the blob's metadata: the hashes of its pair and their path to the root.

A sliver that is checked against `PairProof.metadata` of a proof that holds is a sliver of the blob::

    verify_pair_proof(proof, blob_id)                        pair ── path ──► metadata root ──► blob id
    verify_sliver(proof.metadata(), axis, sliver)            a whole sliver, as for metadata that is complete
    stripes.verify_stripes(proof.metadata(), axis, piece)    some stripes of one, of a blob in stripes

Nothing here needs numpy: who builds or checks a path alone starts without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from haulout.codec import sizes
from haulout.codec.errors import PairProofMismatch, SliverIndexOutOfRange
from haulout.codec.metadata import METADATA_VERSION, BlobMetadata, SliverPairHashes, compute_id
from haulout.crypto import merkle
from haulout.crypto.merkle import MerkleProof
from haulout.primitives import BlobId, Digest, EncodingType, blob_id_text

UNKNOWN = SliverPairHashes(None, None)


@dataclass(frozen=True, slots=True)
class PairProof:
    """What a blob id commits to about one sliver pair.

    Attributes:
        unencoded_length: bytes of the blob.
        n_shards: of the network: pairs in the tree. No hash holds it, so take it from the network, not from the proof.
        path: the siblings of the pair's leaf up to the root over all pairs.
    """

    encoding_type: EncodingType
    unencoded_length: int
    n_shards: int
    pair_index: int
    hashes: SliverPairHashes
    path: MerkleProof

    def root_hash(self) -> Digest | None:
        """The metadata's root hash that the pair leads to; None for a path that no such pair has."""
        return merkle.root_of_path(self.n_shards, merkle.hash_leaf(_leaf(self.hashes)), self.pair_index, self.path)

    def metadata(self) -> BlobMetadata:
        """Metadata that knows the hashes of this pair alone; slivers of all others are refused by it."""
        pairs = [UNKNOWN] * self.n_shards
        pairs[self.pair_index] = self.hashes
        return BlobMetadata(METADATA_VERSION, self.encoding_type, self.unencoded_length, tuple(pairs))


def build_pair_proof(metadata: BlobMetadata, pair_index: int) -> PairProof:
    """The proof of a pair.

    Raises:
        SliverIndexOutOfRange: there is no such pair.
    """
    _check_pair(pair_index, metadata.n_shards)
    leaves = [merkle.hash_leaf(_leaf(pair)) for pair in metadata.pairs]
    return PairProof(
        encoding_type=metadata.encoding_type,
        unencoded_length=metadata.unencoded_length,
        n_shards=metadata.n_shards,
        pair_index=pair_index,
        hashes=metadata.pairs[pair_index],
        path=merkle.build_proof(leaves, pair_index),
    )


def verify_pair_proof(proof: PairProof, blob_id: BlobId) -> None:
    """Check that a blob id commits to the hashes of a pair.

    Raises:
        ShardCountOutOfRange, BlobTooLarge: there is no such blob.
        SliverIndexOutOfRange: there is no such pair.
        PairProofMismatch: the hashes do not lead to the blob id.
    """
    _check_pair(proof.pair_index, proof.n_shards)
    sizes.check_shard_count(proof.n_shards, proof.encoding_type)
    sizes.symbol_size_bytes(proof.unencoded_length, proof.n_shards, proof.encoding_type)
    root = proof.root_hash()
    if root is None or compute_id(proof.encoding_type, proof.unencoded_length, root) != blob_id:
        raise PairProofMismatch(pair_index=proof.pair_index, blob_id=blob_id_text(blob_id))


def _check_pair(pair_index: int, n_shards: int) -> None:
    if not 0 <= pair_index < n_shards:
        raise SliverIndexOutOfRange(what="sliver pair", index=pair_index, limit=n_shards)


def _leaf(pair: SliverPairHashes) -> bytes:
    return (pair.primary or merkle.EMPTY) + (pair.secondary or merkle.EMPTY)
