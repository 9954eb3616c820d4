"""The ledger's state rebuilt from its events alone: the proof that events suffice, and the reference for read models.

Whoever follows events needs no more than this to know every account, object, node, pool, committee and hand-over. It
holds everything in memory, so it is for tests and simulations; `graphql_api.read_model` does the same with tables.
Receipts, the sums in `BlobRecord` and derived indexes are left out: nobody projects them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from haulout import bcs
from haulout.ledger import events as e
from haulout.ledger import keys, queries
from haulout.ledger.committee import insert_active
from haulout.ledger.hand_overs import EPOCHS_REMEMBERED
from haulout.ledger.state import (
    NOBODY,
    STATE_VERSION,
    Account,
    Blob,
    Bucket,
    Committee,
    ExchangeRate,
    HandOver,
    Member,
    NextEpoch,
    Node,
    Phase,
    PoolSchedule,
    SharedBlob,
    StakedWal,
    Staking,
    Storage,
    Subsidies,
    System,
    View,
)

_ROWS: Mapping[bytes, Any] = {
    keys.SYSTEM: System,
    keys.STAKING: Staking,
    keys.NEXT: NextEpoch,
    keys.SUBSIDIES: Subsidies,
    keys.BUCKET: Bucket,
    keys.COMMITTEE: Committee,
    keys.ACCOUNT: Account,
    keys.STORAGE: Storage,
    keys.BLOB: Blob,
    keys.SHARED_BLOB: SharedBlob,
    keys.INVALID_BLOB: None,  # four bytes
    keys.NODE: Node,
    keys.STAKED_WAL: StakedWal,
    keys.HAND_OVER: HandOver,
    keys.POOL_SCHEDULE: PoolSchedule,
    keys.EXCHANGE_RATE: ExchangeRate,
}


class Projection:
    """Rows of the state as events tell them. `rows` maps keys to decoded values."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Any] = {}
        self.sequence = 0
        self._system = System(STATE_VERSION, 0, 0, None, 0, 0, 0, 0, 0, 0)
        self._staking = Staking(STATE_VERSION, Phase.DONE, False, 0, 0, None, ())
        self._schedules: dict[bytes, PoolSchedule] = {}

    def follow(self, event: e.Event) -> None:
        """Apply the next event."""
        if event.sequence != self.sequence:
            raise AssertionError(f"event {event.sequence} came where {self.sequence} belongs")
        self.sequence += 1
        _HANDLERS[type(event.body)](self, event, event.body)

    def find_differences(self, view: View) -> list[str]:
        """What the projected rows and a state's do not agree on; empty when events suffice.

        The supply and the first protocol version are genesis's: no event tells them.
        """
        real = queries.system(view)
        mine = replace(
            self._system,
            next_sequence=self.sequence,
            supply_frost=real.supply_frost,
            protocol_version=self._system.protocol_version or real.protocol_version,
        )
        projected = {**self.rows, keys.SYSTEM: mine, keys.STAKING: self._staking}
        for node_id, schedule in self._schedules.items():
            if schedule != queries.empty_schedule(projected[keys.node(node_id)]):
                projected[keys.pool_schedule(node_id)] = schedule
        actual: dict[bytes, Any] = {}
        for prefix, row in _ROWS.items():
            for key, raw in view.scan(*keys.table_range(prefix)):
                actual[key] = raw if row is None else bcs.decode(row, raw)
        return [
            f"row {key.hex()}: events say {projected.get(key)}, the state {actual.get(key)}"
            for key in sorted(projected.keys() | actual.keys())
            if projected.get(key) != actual.get(key)
        ]

    # --- accounts, storage, blobs ---------------------------------------------------------------------------

    def _put(self, key: bytes, row: Any) -> None:
        self.rows[key] = row

    def _change(self, key: bytes, **changes: Any) -> None:
        self.rows[key] = replace(self.rows[key], **changes)

    def _balance_changed(self, _: e.Event, body: e.BalanceChanged) -> None:
        if body.balance_frost:
            self._put(keys.account(body.address), Account(STATE_VERSION, body.balance_frost))
        else:
            self.rows.pop(keys.account(body.address), None)

    def _storage_is(self, _: e.Event, body: e.StorageReserved | e.StorageChanged) -> None:
        row = Storage(STATE_VERSION, body.owner, body.start_epoch, body.end_epoch, body.size_bytes)
        self._put(keys.storage(body.object_id), row)

    def _storage_destroyed(self, _: e.Event, body: e.StorageDestroyed) -> None:
        del self.rows[keys.storage(body.object_id)]

    def _blob_registered(self, _: e.Event, body: e.BlobRegistered) -> None:
        row = Blob(
            version=STATE_VERSION,
            owner=body.owner,
            blob_id=body.blob_id,
            size_bytes=body.size_bytes,
            encoding_type=body.encoding_type,
            registered_epoch=body.registered_epoch,
            certified_epoch=None,
            deletable=body.deletable,
            storage_id=body.storage_id,
            start_epoch=body.start_epoch,
            end_epoch=body.end_epoch,
            storage_size_bytes=body.storage_size_bytes,
            attributes={},
        )
        self._put(keys.blob(body.object_id), row)

    def _blob_certified(self, _: e.Event, body: e.BlobCertified) -> None:
        self._change(
            keys.blob(body.object_id),
            certified_epoch=body.certified_epoch,
            end_epoch=body.end_epoch,
            storage_size_bytes=body.storage_size_bytes,
        )

    def _blob_gone(self, _: e.Event, body: e.BlobDeleted | e.BlobBurned) -> None:
        del self.rows[keys.blob(body.object_id)]

    def _blob_transferred(self, _: e.Event, body: e.BlobTransferred) -> None:
        self._change(keys.blob(body.object_id), owner=body.owner)

    def _blob_shared(self, _: e.Event, body: e.BlobShared) -> None:
        self._change(keys.blob(body.object_id), owner=NOBODY)
        self._put(keys.shared_blob(body.object_id), SharedBlob(STATE_VERSION, body.funds_frost))

    def _shared_funds_changed(self, _: e.Event, body: e.SharedBlobFunded | e.SharedBlobExtended) -> None:
        self._change(keys.shared_blob(body.object_id), funds_frost=body.funds_frost)

    def _blob_attributes_changed(self, _: e.Event, body: e.BlobAttributesChanged) -> None:
        self._change(keys.blob(body.object_id), attributes=body.attributes)

    def _blob_invalidated(self, _: e.Event, body: e.BlobInvalidated) -> None:
        self._put(keys.invalid_blob(body.blob_id), body.epoch.to_bytes(4, "little"))

    # --- nodes, pools, stake --------------------------------------------------------------------------------

    def _node_registered(self, event: e.Event, body: e.NodeRegistered) -> None:
        row = Node(
            version=STATE_VERSION,
            name=body.name,
            addresses=body.addresses,
            public_key=body.public_key,
            next_public_key=None,
            network_public_key=body.network_public_key,
            governance=body.governance,
            capability=body.capability,
            registered_epoch=event.epoch,
            activation_epoch=body.activation_epoch,
            leaving=False,
            last_sync_done_epoch=event.epoch if event.height == 0 else 0,
            storage_price_frost=body.storage_price_frost,
            write_price_frost=body.write_price_frost,
            node_capacity_bytes=body.node_capacity_bytes,
            commission_rate_bps=body.commission_rate_bps,
            commission_frost=0,
            commission_blocked_frost=0,
            balance_frost=0,
            n_shares=0,
            rewards_frost=0,
            pending_stake={},
        )
        self._put(keys.node(body.node_id), row)
        self._schedules[body.node_id] = queries.empty_schedule(row)

    def _pool_changed(self, _: e.Event, body: e.PoolChanged) -> None:
        self._change(
            keys.node(body.node_id),
            balance_frost=body.balance_frost,
            n_shares=body.n_shares,
            rewards_frost=body.rewards_frost,
            commission_rate_bps=body.commission_rate_bps,
            commission_frost=body.commission_frost,
            commission_blocked_frost=body.commission_blocked_frost,
            pending_stake=body.pending_stake,
        )
        self._schedules[body.node_id] = replace(
            self._schedules[body.node_id],
            latest_epoch=body.latest_epoch,
            pending_shares=body.pending_shares,
            pre_active_withdrawals=body.pre_active_withdrawals,
            pending_commission_rates=body.pending_commission_rates,
        )

    def _exchange_rate_set(self, _: e.Event, body: e.ExchangeRateSet) -> None:
        rate = ExchangeRate(STATE_VERSION, body.balance_frost, body.n_shares)
        self._put(keys.exchange_rate(body.node_id, body.epoch), rate)

    def _active_set_changed(self, _: e.Event, body: e.ActiveSetChanged) -> None:
        active = insert_active(self._staking.active_set, body.node_id, body.stake_frost)
        self._staking = replace(self._staking, active_set=active)

    def _stake_changed(self, _: e.Event, body: e.StakeChanged) -> None:
        if body.principal_frost == 0:
            del self.rows[keys.staked_wal(body.object_id)]
            return
        row = StakedWal(
            version=STATE_VERSION,
            owner=body.owner,
            node_id=body.node_id,
            principal_frost=body.principal_frost,
            activation_epoch=body.activation_epoch,
            withdraw_epoch=body.withdraw_epoch,
        )
        self._put(keys.staked_wal(body.object_id), row)

    def _node_addresses_changed(self, _: e.Event, body: e.NodeAddressesChanged) -> None:
        self._change(keys.node(body.node_id), addresses=body.addresses)

    def _node_votes_changed(self, _: e.Event, body: e.NodeVotesChanged) -> None:
        self._change(
            keys.node(body.node_id),
            storage_price_frost=body.storage_price_frost,
            write_price_frost=body.write_price_frost,
            node_capacity_bytes=body.node_capacity_bytes,
        )

    def _node_leave_requested(self, _: e.Event, body: e.NodeLeaveRequested) -> None:
        self._change(keys.node(body.node_id), leaving=True)

    def _node_leave_cancelled(self, _: e.Event, body: e.NodeLeaveCancelled) -> None:
        self._change(keys.node(body.node_id), leaving=False)

    def _node_accounts_changed(self, _: e.Event, body: e.NodeAccountsChanged) -> None:
        self._change(keys.node(body.node_id), governance=body.governance, capability=body.capability)
        schedule = self._schedules[body.node_id]
        self._schedules[body.node_id] = replace(schedule, commission_receiver=body.commission_receiver)

    def _node_key_chosen(self, _: e.Event, body: e.NodeKeyChosen) -> None:
        self._change(keys.node(body.node_id), next_public_key=body.next_public_key)

    def _node_key_rotated(self, _: e.Event, body: e.NodeKeyRotated) -> None:
        chosen = self.rows[keys.node(body.node_id)].next_public_key
        left = None if chosen == body.public_key else chosen
        self._change(keys.node(body.node_id), public_key=body.public_key, next_public_key=left)

    # --- epochs ---------------------------------------------------------------------------------------------

    def _voting_ended(self, _: e.Event, body: e.VotingEnded) -> None:
        self._put(keys.committee(body.next_epoch), _committee(body.next_epoch, body.members))
        self._put(keys.NEXT, NextEpoch(STATE_VERSION, body.total_capacity_bytes))
        self._staking = replace(self._staking, phase=Phase.VOTED)

    def _epoch_started(self, event: e.Event, body: e.EpochStarted) -> None:
        previous = self._system.epoch
        self._put(keys.committee(body.epoch), _committee(body.epoch, body.members))
        self.rows.pop(keys.committee(previous - 1) if previous else b"", None)
        self.rows.pop(keys.bucket(previous), None)
        self.rows.pop(keys.NEXT, None)
        for key in [key for key in self.rows if key[:1] == keys.HAND_OVER]:
            if int.from_bytes(key[1:5], "big") < body.epoch - EPOCHS_REMEMBERED and self.rows[key].done:
                del self.rows[key]
        self._system = replace(
            self._system,
            epoch=body.epoch,
            total_capacity_bytes=body.total_capacity_bytes,
            storage_price_frost=body.storage_price_frost,
            write_price_frost=body.write_price_frost,
        )
        self._staking = replace(
            self._staking,
            phase=Phase.SYNC,
            forced=False,
            phase_since_ms=event.time_ms,
            sync_weight=0,
            previous_epoch=previous or None,
        )

    def _hand_overs_opened(self, _: e.Event, body: e.HandOversOpened) -> None:
        for move in body.moves:
            row = HandOver(STATE_VERSION, move.from_node, move.to_node, False)
            self._put(keys.hand_over(body.epoch, move.shard_index), row)

    def _shards_received(self, _: e.Event, body: e.ShardsReceived) -> None:
        for shard_index in body.shards:
            of_shard = [
                key
                for key, row in sorted(self.rows.items())
                if key[:1] == keys.HAND_OVER and key[5:] == shard_index.to_bytes(2, "big") and not row.done
            ]
            mine = [at for at, key in enumerate(of_shard) if self.rows[key].to_node == body.node_id]
            for key in of_shard[: mine[-1] + 1] if mine else ():
                self._change(key, done=True)
        if body.counted:
            self._change(keys.node(body.node_id), last_sync_done_epoch=body.epoch)
        self._staking = replace(self._staking, sync_weight=body.sync_weight)

    def _epoch_done(self, event: e.Event, body: e.EpochDone) -> None:
        self._staking = replace(self._staking, phase=Phase.DONE, forced=body.forced, phase_since_ms=event.time_ms)

    def _rewards_distributed(self, _: e.Event, body: e.RewardsDistributed) -> None:
        self._system = replace(self._system, burned_frost=self._system.burned_frost + body.burned_frost)

    def _prices_updated(self, _: e.Event, body: e.PricesUpdated) -> None:
        self._system = replace(
            self._system,
            storage_price_frost=body.storage_price_frost,
            write_price_frost=body.write_price_frost,
        )

    def _ring_changed(self, _: e.Event, body: e.RingChanged) -> None:
        self._put(keys.bucket(body.epoch), Bucket(STATE_VERSION, body.used_bytes, body.rewards_frost))

    def _protocol_version_chosen(self, _: e.Event, body: e.ProtocolVersionChosen) -> None:
        self._system = replace(self._system, next_protocol=(body.protocol_version, body.from_epoch))

    def _protocol_version_activated(self, _: e.Event, body: e.ProtocolVersionActivated) -> None:
        self._system = replace(self._system, protocol_version=body.protocol_version, next_protocol=None)

    def _subsidies_changed(self, _: e.Event, body: e.SubsidiesChanged) -> None:
        row = Subsidies(
            version=STATE_VERSION,
            admin=body.admin,
            usage_rate_bps=body.usage_rate_bps,
            base_frost=body.base_frost,
            per_shard_frost=body.per_shard_frost,
            balance_frost=body.balance_frost,
            latest_epoch=body.latest_epoch,
            already_frost=body.already_frost,
        )
        self._put(keys.SUBSIDIES, row)

    def _tells_nothing_new(self, _: e.Event, body: Any) -> None:
        """What other events of the same transaction say as well."""


def _committee(epoch: int, members: tuple[e.CommitteeMemberRecord, ...]) -> Committee:
    return Committee(STATE_VERSION, epoch, tuple(Member(m.node_id, m.public_key, m.shards) for m in members))


_HANDLERS: Mapping[type, Callable[[Projection, e.Event, Any], None]] = {
    e.BalanceChanged: Projection._balance_changed,
    e.StorageReserved: Projection._storage_is,
    e.StorageChanged: Projection._storage_is,
    e.StorageDestroyed: Projection._storage_destroyed,
    e.BlobRegistered: Projection._blob_registered,
    e.BlobCertified: Projection._blob_certified,
    e.BlobDeleted: Projection._blob_gone,
    e.BlobBurned: Projection._blob_gone,
    e.BlobTransferred: Projection._blob_transferred,
    e.BlobAttributesChanged: Projection._blob_attributes_changed,
    e.BlobInvalidated: Projection._blob_invalidated,
    e.NodeRegistered: Projection._node_registered,
    e.NodeAddressesChanged: Projection._node_addresses_changed,
    e.StakeChanged: Projection._stake_changed,
    e.EpochStarted: Projection._epoch_started,
    e.EpochDone: Projection._epoch_done,
    e.RingChanged: Projection._ring_changed,
    e.VotingEnded: Projection._voting_ended,
    e.CommitteeKept: Projection._tells_nothing_new,
    e.HandOversOpened: Projection._hand_overs_opened,
    e.ShardsReceived: Projection._shards_received,
    e.RewardsDistributed: Projection._rewards_distributed,
    e.NodeRewarded: Projection._tells_nothing_new,
    e.PoolChanged: Projection._pool_changed,
    e.ExchangeRateSet: Projection._exchange_rate_set,
    e.ActiveSetChanged: Projection._active_set_changed,
    e.NodeVotesChanged: Projection._node_votes_changed,
    e.PricesUpdated: Projection._prices_updated,
    e.NodeLeaveRequested: Projection._node_leave_requested,
    e.NodeLeaveCancelled: Projection._node_leave_cancelled,
    e.NodeAccountsChanged: Projection._node_accounts_changed,
    e.NodeKeyChosen: Projection._node_key_chosen,
    e.NodeKeyRotated: Projection._node_key_rotated,
    e.CommissionCollected: Projection._tells_nothing_new,
    e.ProtocolVersionChosen: Projection._protocol_version_chosen,
    e.ProtocolVersionActivated: Projection._protocol_version_activated,
    e.SubsidiesChanged: Projection._subsidies_changed,
    e.BlobShared: Projection._blob_shared,
    e.SharedBlobFunded: Projection._shared_funds_changed,
    e.SharedBlobExtended: Projection._shared_funds_changed,
}
