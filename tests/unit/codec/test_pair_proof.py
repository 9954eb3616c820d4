"""From a sliver to the blob id by the hashes of its pair alone, in both encodings; and nothing else passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from haulout import codec
from haulout.codec import stripes
from haulout.codec.errors import PairProofMismatch, SliverHashMismatch, SliverIndexOutOfRange
from haulout.codec.metadata import SliverPairHashes, SliverStripes
from haulout.codec.pair_proof import PairProof, build_pair_proof, verify_pair_proof
from haulout.codec.red_stuff import EncodedBlob
from haulout.crypto.merkle import MerkleProof
from haulout.primitives import Axis, BlobId, EncodingType

P, S = Axis.PRIMARY, Axis.SECONDARY
N = 7
DATA = np.random.default_rng(3).integers(0, 256, 3 * 5 * 16384 + 1, dtype=np.uint8).tobytes()  # two stripes with RS8


@pytest.fixture(scope="module", params=list(EncodingType))
def blob(request: pytest.FixtureRequest) -> EncodedBlob:
    return codec.encode_blob(DATA, N, encoding=request.param)


def test_every_sliver_follows_from_its_pair_alone(blob: EncodedBlob) -> None:
    for index in range(N):
        proof = build_pair_proof(blob.metadata, index)
        verify_pair_proof(proof, blob.blob_id)
        assert proof.root_hash() == blob.metadata.root_hash()
        pair = blob.pair(index)
        for axis in Axis:
            codec.verify_sliver(proof.metadata(), axis, pair.of(axis))
        other = blob.pair((index + 1) % N)
        with pytest.raises(SliverHashMismatch):
            codec.verify_sliver(proof.metadata(), P, other.primary)


def test_stripes_follow_from_the_pair_alone() -> None:
    blob = codec.encode_blob(DATA, N, encoding=EncodingType.RS8)
    proof = build_pair_proof(blob.metadata, 2)
    verify_pair_proof(proof, blob.blob_id)
    striping = codec.rs8.striping_of_blob(proof.metadata())
    data = bytes(blob.pair(2).primary.data)
    half = striping.part_bytes(P)
    roots = codec.rs8.stripe_roots(striping, P, codec.rs8.as_parts(striping, P, data))
    path = stripes.build_stripe_proof(roots, range(1, 2))
    piece = SliverStripes(data[half:], striping.symbol_size_bytes, 2, 1, path)
    stripes.verify_stripes(proof.metadata(), P, piece)
    for wrong in (
        {"data": data[:half]},
        {"first_stripe": 0},
        {"proof": ()},
        {"proof": (bytes(32),)},
        {"index": 3},
    ):
        with pytest.raises(SliverHashMismatch):
            stripes.verify_stripes(proof.metadata(), P, dataclasses.replace(piece, **wrong))


def test_what_is_not_of_the_blob_is_refused(blob: EncodedBlob) -> None:
    proof = build_pair_proof(blob.metadata, 4)
    swapped = SliverPairHashes(proof.hashes.secondary, proof.hashes.primary)
    other = EncodingType.RS8 if proof.encoding_type is EncodingType.RS2 else EncodingType.RS2
    wrong: list[PairProof] = [
        dataclasses.replace(proof, hashes=swapped),
        dataclasses.replace(proof, pair_index=5),
        dataclasses.replace(proof, unencoded_length=len(DATA) + 1),
        dataclasses.replace(proof, encoding_type=other),
        dataclasses.replace(proof, path=MerkleProof(proof.path.siblings[:-1])),
        dataclasses.replace(proof, path=MerkleProof((*proof.path.siblings, None))),
        dataclasses.replace(proof, path=MerkleProof((None, *proof.path.siblings[1:]))),
    ]
    for one in wrong:
        with pytest.raises(PairProofMismatch):
            verify_pair_proof(one, blob.blob_id)
    with pytest.raises(PairProofMismatch):
        verify_pair_proof(proof, BlobId(bytes(32)))
    for index in (-1, N):
        with pytest.raises(SliverIndexOutOfRange):
            build_pair_proof(blob.metadata, index)
        with pytest.raises(SliverIndexOutOfRange):
            verify_pair_proof(dataclasses.replace(proof, pair_index=index), blob.blob_id)
