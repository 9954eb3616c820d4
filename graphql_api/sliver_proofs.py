"""Proofs that a sliver, or a range of bytes, belongs to a blob id: all that a verifier needs, alone.

leaf  = BLAKE2b-256(0x00 ‖ primaryHash ‖ secondaryHash)            the pair's leaf
up    = BLAKE2b-256(0x01 ‖ left ‖ right) along merklePath           at `pair`, least significant bit first
root  = metadataRoot
id    = BLAKE2b-256(encoding type ‖ unencodedSize as 8 bytes, little-endian ‖ root)
"""

from __future__ import annotations

import strawberry

from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.inspection import NotInOneMatrix
from graphql_api.proofs import Axis
from graphql_api.scalars import Base64, BigInt, BlobID
from haulout.codec.metadata import BlobMetadata
from haulout.crypto import merkle
from haulout.errors import InvalidField
from haulout.primitives import Axis as CodecAxis
from haulout.primitives import BlobId, EncodingType

PROOF_BYTES_MAX = 256 << 10  # of slivers in one proof of a range


@strawberry.type(
    description="Proof that a sliver is part of a blob. Check it alone: the leaf is BLAKE2b-256(0x00, primaryHash, "
    "secondaryHash); each node of `merklePath` joins it as BLAKE2b-256(0x01, left, right), on the left where the bit "
    "of `pair` is 1; the end is `metadataRoot`; BLAKE2b-256(encodingCode, unencodedSize in 8 bytes little-endian, "
    "metadataRoot) is `blobId`. A sliver's hash is the Merkle root over the n symbols of its expansion."
)
class SliverProof:
    blob_id: BlobID = strawberry.field(description="The blob.")
    pair: int = strawberry.field(description="Index of the sliver pair: the leaf's place.")
    axis: Axis = strawberry.field(description="Which sliver of the pair.")
    sliver_hash: Base64 = strawberry.field(description="Hash of the sliver, 32 bytes: one of the next two.")
    primary_hash: Base64 = strawberry.field(description="Hash of the pair's primary sliver, 32 bytes.")
    secondary_hash: Base64 = strawberry.field(description="Hash of the pair's secondary sliver, 32 bytes.")
    merkle_path: list[Base64] = strawberry.field(
        description="Siblings from the leaf up; 32 zero bytes where a level has none."
    )
    metadata_root: Base64 = strawberry.field(description="Merkle root over all pairs, 32 bytes.")
    encoding_code: int = strawberry.field(description="The encoding as it is hashed: 1 for RS2, 8 for RS8.")
    unencoded_size: BigInt = strawberry.field(description="Size of the content, in bytes.")
    n_shards: int = strawberry.field(description="Pairs in the tree.")

    @resolved(
        "The sliver itself, fetched from its holder and verified: its symbols one after another. Given for RS2 blobs."
    )
    async def sliver(self, info: Info) -> Base64:
        axis = CodecAxis[self.axis.name]
        return Base64(bytes((await info.context.services.inspector.sliver(BlobId(self.blob_id), self.pair, axis)).data))

    @classmethod
    def of(cls, metadata: BlobMetadata, blob_id: BlobId, pair: int, axis: Axis) -> SliverProof:
        hashes = [(p.primary or merkle.EMPTY, p.secondary or merkle.EMPTY) for p in metadata.pairs]
        leaves = [merkle.hash_leaf(primary + secondary) for primary, secondary in hashes]
        proof = merkle.build_proof(leaves, pair)
        primary, secondary = hashes[pair]
        return cls(
            blob_id=BlobID(blob_id),
            pair=pair,
            axis=axis,
            sliver_hash=Base64(primary if axis is Axis.PRIMARY else secondary),
            primary_hash=Base64(primary),
            secondary_hash=Base64(secondary),
            merkle_path=[Base64(sibling or merkle.EMPTY) for sibling in proof.siblings],
            metadata_root=Base64(merkle.compute_root(leaves)),
            encoding_code=int(metadata.encoding_type),
            unencoded_size=BigInt(metadata.unencoded_length),
            n_shards=metadata.n_shards,
        )


@strawberry.type(
    description="Proof of some bytes of a blob: the primary slivers that they stand in. The rows of the matrix follow "
    "each other in the content, so byte i of the blob is byte i mod `rowBytes` of primary sliver i div `rowBytes`."
)
class RangeProof:
    start: BigInt = strawberry.field(description="The first byte.")
    length: BigInt = strawberry.field(description="How many bytes.")
    row_bytes: BigInt = strawberry.field(description="Bytes of the content in each primary sliver.")
    slivers: list[SliverProof] = strawberry.field(description="Proofs of these slivers, by index.")


async def sliver_proof(info: Info, blob_id: BlobId, pair: int, axis: Axis) -> SliverProof:
    """The proof of one sliver of a certified blob.

    Raises:
        InvalidField: there is no such pair.
    """
    services = info.context.services
    if not 0 <= pair < services.params.n_shards:
        raise InvalidField(field="pair", problem=f"is from 0 to {services.params.n_shards - 1}")
    metadata = await services.inspector.metadata(blob_id)
    return SliverProof.of(metadata, blob_id, pair, axis)


async def range_proof(info: Info, blob_id: BlobId, start: int, length: int) -> RangeProof:
    """The proof of some bytes of a certified blob.

    Raises:
        InvalidField: not within the blob, or more slivers than one answer holds.
        NotInOneMatrix: the blob is encoded with RS8.
    """
    metadata = await info.context.services.inspector.metadata(blob_id)
    if metadata.encoding_type is not EncodingType.RS2:
        raise NotInOneMatrix(what="the proof of a range")
    end = start + length
    if length < 1 or end > metadata.unencoded_length:
        size = metadata.unencoded_length
        raise InvalidField(field="length", problem=f"bytes {start} to {end - 1} are not within the blob's {size}")
    row_bytes = metadata.sliver_size_bytes(CodecAxis.PRIMARY)
    rows = range(start // row_bytes, (end - 1) // row_bytes + 1)
    if len(rows) * row_bytes > PROOF_BYTES_MAX and len(rows) > 1:
        most = max(1, PROOF_BYTES_MAX // row_bytes) * row_bytes
        raise InvalidField(field="length", problem=f"one proof holds {most} bytes; ask for parts")
    proofs = [SliverProof.of(metadata, blob_id, row, Axis.PRIMARY) for row in rows]
    return RangeProof(start=BigInt(start), length=BigInt(length), row_bytes=BigInt(row_bytes), slivers=proofs)
