"""Shards are handed over: their slivers in order of the blobs, to whoever proves to be their new owner.

A request is one signed message for all shards, or a message of type 3 (`crypto.messages`) for each shard and axis,
as earlier releases ask. All requests of a call begin at the same blob, so that a blob's slivers travel together and are
made durable together at the other end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from haulout.crypto.messages import Message, SyncShardRequest, SyncShardsRequest, parse
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import InvalidField
from haulout.ledger import queries
from haulout.ledger.state import View
from haulout.node import rules
from haulout.node.errors import ShardSyncForbidden, TooManyTargets
from haulout.node.identity import NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.vault import Vault
from haulout.ports import SignedMessage, SliverUpload, SyncedSliver, Workers
from haulout.primitives import Axis, BlobId, EncodingType, ShardIndex, pair_of_shard

PAGE = 64


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """What a call asks for, after its checks."""

    epoch: int
    shards: tuple[tuple[ShardIndex, Axis], ...]
    start: BlobId
    blob_count: int


class ShardServer:
    """Hands over shards out of a vault."""

    def __init__(
        self, vault: Vault, scheme: SignatureScheme, workers: Workers, metrics: NodeMetrics, settings: NodeSettings
    ) -> None:
        self._vault = vault
        self._scheme = scheme
        self._workers = workers
        self._metrics = metrics
        self._settings = settings

    async def serve(self, public_key: bytes, requests: Sequence[SignedMessage]) -> AsyncIterator[SyncedSliver]:
        """The slivers that are here of blobs certified before the epoch, of at most `blob_count` blobs.

        Raises:
            InvalidField, TooManyTargets: the requests are not alike, or too many.
            WrongEpoch: for another epoch than this node's.
            ShardSyncForbidden: a shard that does not go to the sender, or a signature that is not its own.
        """
        duty = self._vault.duty()
        order = read_order(
            requests,
            chain_id=self._vault.replica.head.chain_id,
            n_shards=duty.n_shards,
            count_max=self._settings.sync_slivers_max,
        )
        rules.check_epoch(duty, order.epoch)
        check_taker(self._vault.view, public_key, order)
        messages = [request.message for request in requests]
        signatures = [request.signature for request in requests]
        if not await self._workers.run(_all_signed, self._scheme, public_key, messages, signatures):
            raise ShardSyncForbidden(shard_index=order.shards[0][0], problem="the signature is not the sender's")
        n_blobs = 0
        after = _before(order.start)
        while page := self._vault.slivers.blob_ids(after=after, limit=PAGE):
            after = page[-1]
            for blob_id in page:
                n_sent = 0
                async for sliver in self._slivers(blob_id, order, duty.n_shards):
                    n_sent += 1
                    yield sliver
                n_blobs += n_sent > 0
                if n_blobs == order.blob_count:
                    return

    async def _slivers(self, blob_id: BlobId, order: SyncOrder, n_shards: int) -> AsyncIterator[SyncedSliver]:
        record = queries.blob_record(self._vault.view, blob_id)
        if record is None or record.initial_certified_epoch is None or record.initial_certified_epoch >= order.epoch:
            return
        if not rules.is_wanted(self._vault.view, blob_id, order.epoch):
            return
        if record.encoding_type == EncodingType.RS8:
            return  # in stripes, which may be larger than memory: its slivers are asked for piece by piece
        async for (shard_index, axis), sliver in self._vault.slivers_of(blob_id, order.shards):
            self._metrics.handed_over_bytes.inc(len(sliver))
            pair_index = pair_of_shard(ShardIndex(shard_index), blob_id, n_shards)
            yield SyncedSliver(blob_id, SliverUpload(pair_index, axis, sliver))


def read_order(requests: Sequence[SignedMessage], *, chain_id: bytes, n_shards: int, count_max: int) -> SyncOrder:
    """What signed requests ask for together; their signatures are checked elsewhere.

    Raises:
        TooManyTargets: more than a blob has slivers.
        InvalidField: none, no requests for shards, for another network, or not alike.
    """
    if len(requests) > 2 * n_shards:
        raise TooManyTargets(count=len(requests), limit=2 * n_shards)
    messages = [parse(request.message) for request in requests]
    if len(messages) == 1 and isinstance(messages[0].body, SyncShardsRequest):
        order = _order_of_many(messages[0].epoch, messages[0].body, chain_id)
    else:
        order = _order_of_each(messages)
    if not 1 <= order.blob_count <= count_max:
        raise InvalidField(field="requests", problem=f"{order.blob_count} slivers, must be 1 to {count_max}")
    if not order.shards or order.shards[-1][0] >= n_shards:
        raise InvalidField(field="requests", problem=f"must be for shards below {n_shards}")
    return order


def _order_of_many(epoch: int, body: SyncShardsRequest, chain_id: bytes) -> SyncOrder:
    if body.chain_id != chain_id:
        raise InvalidField(field="requests", problem=f"signed for the network {body.chain_id.hex()}")
    shards = tuple((ShardIndex(shard_index), axis) for shard_index in sorted(set(body.shards)) for axis in Axis)
    return SyncOrder(epoch, shards, BlobId(body.starting_blob_id), body.blob_count)


def _order_of_each(messages: Sequence[Message]) -> SyncOrder:
    bodies: list[SyncShardRequest] = []
    for message in messages:
        if not isinstance(message.body, SyncShardRequest) or message.epoch != message.body.epoch:
            raise InvalidField(field="requests", problem="not a request for a shard in the signer's epoch")
        bodies.append(message.body)
    alike = {(body.epoch, body.starting_blob_id, body.sliver_count) for body in bodies}
    if len(alike) != 1:
        raise InvalidField(field="requests", problem="they must be alike in epoch, first blob and count")
    epoch, start, count = alike.pop()
    shards = tuple(sorted({(ShardIndex(body.shard_index), body.axis) for body in bodies}))
    return SyncOrder(epoch, shards, BlobId(start), count)


def check_taker(view: View, public_key: bytes, order: SyncOrder) -> None:
    """The sender owns every shard it asks for in this epoch, or is on the way of becoming complete in it.

    Raises:
        ShardSyncForbidden: with the first that it does not.
    """
    members = {member.public_key: member for member in queries.committee(view).members}
    member = members.get(public_key)
    node_id = queries.node_id_of_key(view, public_key) if member is None else member.node_id
    if node_id is None:
        raise ShardSyncForbidden(shard_index=order.shards[0][0], problem="no node has this key")
    allowed = set() if member is None else set(member.shards)
    allowed.update(record.shard_index for record in queries.open_hand_overs(view, to_node=node_id))
    for shard_index, _ in order.shards:
        if shard_index not in allowed:
            raise ShardSyncForbidden(shard_index=shard_index, problem=f"not its owner in epoch {order.epoch}")


def _all_signed(
    scheme: SignatureScheme, public_key: bytes, messages: Sequence[bytes], signatures: Sequence[bytes]
) -> bool:
    return all(scheme.verify(public_key, *pair) for pair in zip(messages, signatures, strict=True))


def _before(blob_id: BlobId) -> BlobId | None:
    """The id behind which a scan begins with this one; None from the start."""
    number = int.from_bytes(blob_id, "big")
    return BlobId((number - 1).to_bytes(32, "big")) if number else None
