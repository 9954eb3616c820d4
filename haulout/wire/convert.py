"""Domain values to protobuf messages and back.

Reading checks lengths, ranges and presence, so that what comes out is a value of the domain and nothing else; a
field that is not raises `InvalidField` with its name. Unknown fields are tolerated, as protobuf has it: a newer peer
may send them. Bytes that are canonical encodings pass unread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from haulout.errors import InvalidField
from haulout.ports import (
    BlobHoldings,
    IncompleteBlob,
    IncompletePage,
    NodeHealth,
    Outcome,
    PartialSliver,
    SignedMessage,
    SliverUpload,
)
from haulout.primitives import U16_MAX, U32_MAX, Axis, BlobId, Digest, ObjectId, SliverIndex, SliverPairIndex
from haulout.wire.v1 import storage_pb2 as pb

ID_BYTES = 32
SIGNATURE_BYTES = 96
Target = tuple[SliverPairIndex, Axis]

_AXIS_TO_WIRE = {Axis.PRIMARY: pb.AXIS_PRIMARY, Axis.SECONDARY: pb.AXIS_SECONDARY}
_AXIS_FROM_WIRE: dict[int, Axis] = {wire: axis for axis, wire in _AXIS_TO_WIRE.items()}
_OUTCOME_TO_WIRE = {Outcome.STORED: pb.OUTCOME_STORED, Outcome.ALREADY_STORED: pb.OUTCOME_ALREADY_STORED}
_OUTCOME_FROM_WIRE: dict[int, Outcome] = {wire: outcome for outcome, wire in _OUTCOME_TO_WIRE.items()}


# --- fields -------------------------------------------------------------------------------------------------


def read_fixed(value: bytes, size: int, field: str) -> bytes:
    """Bytes of exactly this length.

    Raises:
        InvalidField: with the length it has.
    """
    if len(value) != size:
        raise InvalidField(field=field, problem=f"{len(value)} bytes, must be {size}")
    return value


def read_blob_id(value: bytes, field: str = "blob_id") -> BlobId:
    """A blob id."""
    return BlobId(read_fixed(value, ID_BYTES, field))


def read_object_id(value: bytes, field: str = "object_id") -> ObjectId:
    """An object or node id."""
    return ObjectId(read_fixed(value, ID_BYTES, field))


def read_digest(value: bytes, field: str = "digest") -> Digest:
    """A digest."""
    return Digest(read_fixed(value, ID_BYTES, field))


def read_index(value: int, field: str) -> int:
    """An index of a sliver, pair or shard: 16 bits."""
    if value > U16_MAX:
        raise InvalidField(field=field, problem=f"{value} is above {U16_MAX}")
    return value


def read_pair_index(value: int) -> SliverPairIndex:
    """Index of a sliver pair."""
    return SliverPairIndex(read_index(value, "pair_index"))


def read_sliver_index(value: int, field: str) -> SliverIndex:
    """Index of a sliver on its axis."""
    return SliverIndex(read_index(value, field))


def write_axis(axis: Axis) -> pb.Axis.ValueType:
    return _AXIS_TO_WIRE[axis]


def read_axis(value: int, field: str = "axis") -> Axis:
    """An axis; it is never left out."""
    axis = _AXIS_FROM_WIRE.get(value)
    if axis is None:
        raise InvalidField(field=field, problem=f"{value} is not an axis; 1 is primary, 2 is secondary")
    return axis


def write_outcome(outcome: Outcome) -> pb.Outcome.ValueType:
    return _OUTCOME_TO_WIRE[outcome]


def read_outcome(value: int) -> Outcome:
    """An outcome; it is never left out."""
    outcome = _OUTCOME_FROM_WIRE.get(value)
    if outcome is None:
        raise InvalidField(field="outcome", problem=f"{value} is not an outcome")
    return outcome


# --- messages of a storage node -----------------------------------------------------------------------------


def write_targets(targets: Iterable[Target]) -> list[pb.SliverTarget]:
    return [pb.SliverTarget(pair_index=pair, axis=write_axis(axis)) for pair, axis in targets]


def read_targets(targets: Iterable[pb.SliverTarget], field: str = "targets") -> tuple[Target, ...]:
    """Slivers of a blob, none twice."""
    found = tuple((read_pair_index(target.pair_index), read_axis(target.axis)) for target in targets)
    if len(set(found)) != len(found):
        raise InvalidField(field=field, problem="a sliver is named twice")
    return found


def write_stripes(stripes: range) -> pb.StripeRange:
    return pb.StripeRange(first=stripes.start, count=len(stripes))


def read_stripes(message: pb.StripeRange) -> range:
    """Consecutive stripes, at least one."""
    if not message.count or message.first + message.count > U32_MAX:
        raise InvalidField(field="stripes", problem=f"{message.count} from {message.first} on")
    return range(message.first, message.first + message.count)


def write_holdings(holdings: BlobHoldings) -> pb.HoldingsResponse:
    return pb.HoldingsResponse(
        is_registered=holdings.is_registered,
        has_metadata=holdings.has_metadata,
        missing=write_targets(holdings.missing),
        partial=[
            pb.PartialSliver(
                pair_index=part.pair_index, axis=write_axis(part.axis), missing=map(write_stripes, part.missing)
            )
            for part in holdings.partial
        ],
        checked_ms=holdings.checked_ms,
    )


def read_holdings(message: pb.HoldingsResponse) -> BlobHoldings:
    """What a node has and lacks of a blob."""
    return BlobHoldings(
        is_registered=message.is_registered,
        has_metadata=message.has_metadata,
        missing=read_targets(message.missing, "missing"),
        partial=tuple(
            PartialSliver(
                read_pair_index(part.pair_index),
                read_axis(part.axis),
                tuple(read_stripes(stripes) for stripes in part.missing),
            )
            for part in message.partial
        ),
        checked_ms=message.checked_ms,
    )


def write_whole_sliver(sliver: SliverUpload) -> pb.WholeSliver:
    return pb.WholeSliver(pair_index=sliver.pair_index, axis=write_axis(sliver.axis), data=bytes(sliver.bcs))


def read_whole_sliver(message: pb.WholeSliver) -> SliverUpload:
    """A sliver that travels as a whole; its bytes are not looked at."""
    return SliverUpload(read_pair_index(message.pair_index), read_axis(message.axis), message.data)


def write_signed(signed: SignedMessage) -> pb.ConfirmBlobResponse:
    return pb.ConfirmBlobResponse(message=signed.message, signature=signed.signature)


def write_vote(signed: SignedMessage) -> pb.SignProtocolVoteResponse:
    return pb.SignProtocolVoteResponse(message=signed.message, signature=signed.signature)


def write_attestation(signed: SignedMessage) -> pb.AttestInconsistencyResponse:
    return pb.AttestInconsistencyResponse(message=signed.message, signature=signed.signature)


def read_signed(
    message: pb.ConfirmBlobResponse
    | pb.StoreAndConfirmResponse
    | pb.AttestInconsistencyResponse
    | pb.SignProtocolVoteResponse
    | pb.AgreeToProtocolRequest,
) -> SignedMessage:
    """A signed message; neither its content nor its signature has been checked."""
    if not message.message:
        raise InvalidField(field="message", problem="missing")
    if not 0 < len(message.signature) <= SIGNATURE_BYTES:  # the keyed hash of tests is shorter than BLS
        raise InvalidField(
            field="signature", problem=f"{len(message.signature)} bytes, must be at most {SIGNATURE_BYTES}"
        )
    return SignedMessage(message=message.message, signature=message.signature)


def write_incomplete(page: IncompletePage) -> pb.ListIncompleteResponse:
    return pb.ListIncompleteResponse(
        height=page.height,
        blobs=[
            pb.IncompleteBlob(
                blob_id=blob.blob_id, lacks_metadata=blob.lacks_metadata, missing_slivers=blob.missing_slivers
            )
            for blob in page.blobs
        ],
        next_after=page.next_after,
    )


def read_incomplete(message: pb.ListIncompleteResponse) -> IncompletePage:
    """A page of incomplete blobs, in the order of their ids."""
    blobs = tuple(
        IncompleteBlob(
            blob_id=read_blob_id(blob.blob_id),
            lacks_metadata=blob.lacks_metadata,
            missing_slivers=blob.missing_slivers,
        )
        for blob in message.blobs
    )
    ids = [blob.blob_id for blob in blobs]
    if any(before >= after for before, after in itertools.pairwise(ids)):
        raise InvalidField(field="blobs", problem="not in the order of their ids")
    next_after = read_blob_id(message.next_after, "next_after") if message.HasField("next_after") else None
    return IncompletePage(height=message.height, blobs=blobs, next_after=next_after)


def write_health(health: NodeHealth) -> pb.HealthResponse:
    return pb.HealthResponse(
        node_id=health.node_id,
        name=health.name,
        epoch=health.epoch,
        status=health.status,
        uptime_ms=health.uptime_ms,
        height=health.height,
        block_digest=health.block_digest,
        head_height=health.head_height,
        shards=health.shards,
        incomplete_blobs=health.incomplete_blobs,
        corrupt_slivers=health.corrupt_slivers,
        stored_slivers=health.stored_slivers,
        stored_bytes=health.stored_bytes,
        attested_height=health.attested_height,
        gaining=health.gaining,
        moving_bytes=health.moving_bytes,
        moved_bytes=health.moved_bytes,
        giving=health.giving,
        release=health.release,
        protocol_version=health.protocol_version,
        agreed_version=health.agreed_version,
        agreed_epoch=health.agreed_epoch,
    )


def read_health(message: pb.HealthResponse) -> NodeHealth:
    """How a node says that it is."""
    return NodeHealth(
        node_id=read_object_id(message.node_id, "node_id"),
        name=message.name,
        epoch=message.epoch,
        status=message.status,
        uptime_ms=message.uptime_ms,
        height=message.height,
        block_digest=read_digest(message.block_digest, "block_digest"),
        head_height=message.head_height,
        shards=tuple(read_index(shard, "shards") for shard in message.shards),
        incomplete_blobs=message.incomplete_blobs,
        corrupt_slivers=message.corrupt_slivers,
        stored_slivers=message.stored_slivers,
        stored_bytes=message.stored_bytes,
        attested_height=message.attested_height,
        gaining=tuple(read_index(shard, "gaining") for shard in message.gaining),
        moving_bytes=message.moving_bytes,
        moved_bytes=message.moved_bytes,
        giving=tuple(read_index(shard, "giving") for shard in message.giving),
        release=message.release,
        protocol_version=message.protocol_version,
        agreed_version=message.agreed_version,
        agreed_epoch=message.agreed_epoch,
    )


def read_outcomes(message: pb.StoreSliversResponse, n_sent: int) -> Sequence[Outcome]:
    """One outcome per sliver sent."""
    if len(message.outcomes) != n_sent:
        raise InvalidField(field="outcomes", problem=f"{len(message.outcomes)} outcomes for {n_sent} slivers")
    return [read_outcome(outcome) for outcome in message.outcomes]
