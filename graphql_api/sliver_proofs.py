"""Proofs that a sliver, or a range of bytes, belongs to a blob id: all that a verifier needs, alone.

leaf  = BLAKE2b-256(0x00 ‖ primaryHash ‖ secondaryHash)            the pair's leaf
up    = BLAKE2b-256(0x01 ‖ left ‖ right) along merklePath           at `pair`, least significant bit first
root  = metadataRoot
id    = BLAKE2b-256(encoding type ‖ unencodedSize as 8 bytes, little-endian ‖ root)

A sliver's hash is the root over the n symbols of its expansion; of an RS8 blob there is one such root for each stripe,
and the sliver's hash is the root over these. `haulout.codec.pair_proof` checks all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import strawberry

from graphql_api.context import Info
from graphql_api.fields import resolved
from graphql_api.proofs import Axis
from graphql_api.scalars import Base64, BigInt, BlobID
from haulout.codec import sizes
from haulout.codec.metadata import BlobMetadata
from haulout.codec.pair_proof import build_pair_proof
from haulout.crypto import merkle
from haulout.errors import InvalidField
from haulout.primitives import Axis as CodecAxis
from haulout.primitives import BlobId, EncodingType

PROOF_BYTES_MAX = 256 << 10  # of slivers in one proof of a range, and of parts of one that is in stripes


@strawberry.type(
    description="Consecutive stripes of a sliver of an RS8 blob, proven. Check them alone: expand each stripe's "
    "symbols to n, hash each as a leaf, and the root over these is the stripe's. The stripes' roots, hashed as leaves "
    "again, stand from `firstStripe` on in a tree over `nStripes` leaves, whose root is the sliver's hash."
)
class SliverStripes:
    first_stripe: int = strawberry.field(description="The first of the stripes.")
    count: int = strawberry.field(description="How many stripes.")
    data: Base64 = strawberry.field(description="Their symbols, stripe by stripe.")
    siblings: list[Base64] = strawberry.field(
        description="What these stripes lack for the root: level by level from the leaves up, the sibling on the left "
        "before the one on the right, and none where a level's last node has no sibling (32 zero bytes stand for it)."
    )


@strawberry.type(
    description="Proof that a sliver is part of a blob. Check it alone: the leaf is BLAKE2b-256(0x00, primaryHash, "
    "secondaryHash); each node of `merklePath` joins it as BLAKE2b-256(0x01, left, right), on the left where the bit "
    "of `pair` is 1; the end is `metadataRoot`; BLAKE2b-256(encodingCode, unencodedSize in 8 bytes little-endian, "
    "metadataRoot) is `blobId`. A sliver's hash is the Merkle root over the n symbols of its expansion; of an RS8 "
    "blob, the Merkle root over such roots of all its stripes."
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
    symbol_size: int = strawberry.field(description="Size of one symbol, in bytes.")
    n_stripes: int = strawberry.field(description="Stripes of the blob; 1 for RS2.")
    wanted: strawberry.Private[range]  # stripes that the proof is about, unless others are asked for

    @resolved(
        "The sliver itself, fetched from its holder and verified: its symbols one after another. Of an RS8 blob it is "
        "given whole up to 256 KiB; ask for `stripes` beyond."
    )
    async def sliver(self, info: Info) -> Base64:
        size_bytes = self.n_stripes * self._part_bytes
        if self._is_striped and size_bytes > PROOF_BYTES_MAX:
            raise InvalidField(
                field="sliver", problem=f"has {size_bytes} bytes: ask for some of its {self.n_stripes} stripes"
            )
        sliver = await info.context.services.inspector.sliver(
            BlobId(self.blob_id), self.pair, CodecAxis[self.axis.name]
        )
        return Base64(bytes(sliver.data))

    @resolved(
        "Stripes of the sliver, fetched from its holder and verified: in order, in one piece or more, each with its "
        "own proof. Null for RS2, whose slivers are not in stripes. At most 256 KiB, or one stripe, at a time."
    )
    async def stripes(
        self,
        info: Info,
        first_stripe: Annotated[
            int | None, strawberry.argument(description="The first; that of the range, or 0, if left out.")
        ] = None,
        count: Annotated[
            int | None, strawberry.argument(description="How many; those of the range, or 1, if left out.")
        ] = None,
    ) -> list[SliverStripes] | None:
        if not self._is_striped:
            return None
        start = self.wanted.start if first_stripe is None else first_stripe
        stop = start + count if count is not None else self.wanted.stop if first_stripe is None else start + 1
        if not 0 <= start < stop <= self.n_stripes:
            raise InvalidField(field="stripes", problem=f"are from 0 to {self.n_stripes - 1}, and at least one")
        if (stop - start) * self._part_bytes > PROOF_BYTES_MAX and stop - start > 1:
            most = max(1, PROOF_BYTES_MAX // self._part_bytes)
            raise InvalidField(field="count", problem=f"is at most {most} of this blob at a time")
        axis, wanted = CodecAxis[self.axis.name], range(start, stop)
        pieces = await info.context.services.inspector.stripes(BlobId(self.blob_id), self.pair, axis, wanted)
        return [
            SliverStripes(
                first_stripe=piece.first_stripe,
                count=len(piece.data) // self._part_bytes,
                data=Base64(bytes(piece.data)),
                siblings=[Base64(sibling) for sibling in piece.proof],
            )
            for piece in pieces
        ]

    @property
    def _is_striped(self) -> bool:
        return self.encoding_code == EncodingType.RS8

    @property
    def _part_bytes(self) -> int:
        """Of the sliver in one stripe."""
        return sizes.n_sliver_symbols(CodecAxis[self.axis.name], self.n_shards) * self.symbol_size

    @classmethod
    def of(
        cls, metadata: BlobMetadata, blob_id: BlobId, pair: int, axis: Axis, wanted: range = range(1)
    ) -> SliverProof:
        proof = build_pair_proof(metadata, pair)
        primary, secondary = (proof.hashes.of(one) or merkle.EMPTY for one in CodecAxis)
        return cls(
            blob_id=BlobID(blob_id),
            pair=pair,
            axis=axis,
            sliver_hash=Base64(primary if axis is Axis.PRIMARY else secondary),
            primary_hash=Base64(primary),
            secondary_hash=Base64(secondary),
            merkle_path=[Base64(sibling or merkle.EMPTY) for sibling in proof.path.siblings],
            metadata_root=Base64(proof.root_hash() or merkle.EMPTY),
            encoding_code=int(metadata.encoding_type),
            unencoded_size=BigInt(metadata.unencoded_length),
            n_shards=metadata.n_shards,
            symbol_size=metadata.symbol_size_bytes,
            n_stripes=sizes.n_stripes(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type),
            wanted=wanted,
        )


@strawberry.type(
    description="Proof of some bytes of a blob: the primary slivers that they stand in. The rows of a stripe's matrix "
    "follow each other in the content, and so do the stripes, of which an RS2 blob is one: byte i of the blob is in "
    "stripe i div `stripeBytes`, there in primary sliver j div `rowBytes` with j = i mod `stripeBytes`, as byte "
    "j mod `rowBytes` of the sliver's part of that stripe."
)
class RangeProof:
    start: BigInt = strawberry.field(description="The first byte.")
    length: BigInt = strawberry.field(description="How many bytes.")
    row_bytes: BigInt = strawberry.field(description="Bytes of the content in each primary sliver, in each stripe.")
    stripe_bytes: BigInt = strawberry.field(description="Bytes of the content in each stripe.")
    slivers: list[SliverProof] = strawberry.field(
        description="Proofs of these slivers, by index; of an RS8 blob, `stripes` gives what the range needs of each."
    )


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
    """
    metadata = await info.context.services.inspector.metadata(blob_id)
    end = start + length
    if length < 1 or start < 0 or end > metadata.unencoded_length:
        size = metadata.unencoded_length
        raise InvalidField(field="length", problem=f"bytes {start} to {end - 1} are not within the blob's {size}")
    n_shards = metadata.n_shards
    row_bytes = sizes.n_sliver_symbols(CodecAxis.PRIMARY, n_shards) * metadata.symbol_size_bytes
    stripe_bytes = sizes.n_matrix_symbols(n_shards) * metadata.symbol_size_bytes
    n_parts = (end - 1) // row_bytes - start // row_bytes + 1
    if n_parts * row_bytes > PROOF_BYTES_MAX and n_parts > 1:
        most = max(1, PROOF_BYTES_MAX // row_bytes) * row_bytes
        raise InvalidField(field="length", problem=f"one proof holds {most} bytes; ask for parts")
    slivers = [
        SliverProof.of(metadata, blob_id, row, Axis.PRIMARY, stripes)
        for row, stripes in rows_of(start, end, row_bytes, stripe_bytes)
    ]
    return RangeProof(
        start=BigInt(start),
        length=BigInt(length),
        row_bytes=BigInt(row_bytes),
        stripe_bytes=BigInt(stripe_bytes),
        slivers=slivers,
    )


def rows_of(start: int, end: int, row_bytes: int, stripe_bytes: int) -> Iterator[tuple[int, range]]:
    """The rows that bytes stand in, each with the stripes in which it holds some of them."""
    first_stripe, first_row = start // stripe_bytes, start % stripe_bytes // row_bytes
    last_stripe, last_row = (end - 1) // stripe_bytes, (end - 1) % stripe_bytes // row_bytes
    for row in range(stripe_bytes // row_bytes):
        stripes = range(first_stripe + (row < first_row), last_stripe + (row <= last_row))
        if stripes:
            yield row, stripes
