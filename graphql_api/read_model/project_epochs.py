"""The projection of epochs, hand-overs, pools and what nodes decide: a part of `project`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, insert, select, update

from graphql_api.read_model import schema as t
from graphql_api.read_model.statements import insert_row, update_rows
from haulout.ledger import events as e
from haulout.ledger.state import Phase

if TYPE_CHECKING:
    from graphql_api.read_model.project import Batch

# --- phases -------------------------------------------------------------------------------------------------


def _voting_ended(batch: Batch, body: e.VotingEnded) -> None:
    values = {"voted_height": batch.event.height, "voted_time_ms": batch.event.time_ms}
    batch.set(t.epochs, body.next_epoch - 1, phase=Phase.VOTED.name, **values)
    batch.record()


def _committee_kept(batch: Batch, body: e.CommitteeKept) -> None:
    batch.set(t.epochs, body.next_epoch - 1, kept_because=body.reason)
    batch.record()


def _epoch_started(batch: Batch, body: e.EpochStarted) -> None:
    batch.epoch = body.epoch
    values = {
        "phase": Phase.SYNC.name,
        "forced": False,
        "started_height": batch.event.height,
        "started_sequence": batch.event.sequence,
        "started_time_ms": batch.event.time_ms,
        "total_capacity_bytes": body.total_capacity_bytes,
        "storage_price_frost": body.storage_price_frost,
        "write_price_frost": body.write_price_frost,
        "total_stake_frost": 0,
        "sync_weight": 0,
    }
    insert_row(batch.sql, t.epochs, {"epoch": body.epoch, **values})
    rows: list[dict[str, Any]] = [
        {
            "epoch": body.epoch,
            "node_id": member.node_id,
            "position": position,
            "public_key": member.public_key,
            "shards": json.dumps(member.shards),
            "weight": len(member.shards),
            "stake_frost": 0,
        }
        for position, member in enumerate(body.members)
    ]
    batch.sql.execute(update(t.nodes).where(t.nodes.c.weight > 0).values(weight=0))
    if rows:
        batch.sql.execute(insert(t.committee_members), rows)
    for row in rows:
        batch.set(t.nodes, row["node_id"], weight=row["weight"])
    # The ring holds what is booked from now on; what an epoch earned is told by the one that distributed it.
    batch.sql.execute(delete(t.ring).where(t.ring.c.epoch < body.epoch))
    batch.bookings = {epoch: booked for epoch, booked in batch.bookings.items() if epoch >= body.epoch}
    batch.summaries.started_epochs[body.epoch] = None
    batch.record()


def _epoch_done(batch: Batch, body: e.EpochDone) -> None:
    values: dict[str, Any] = {"phase": Phase.DONE.name, "forced": body.forced}
    values.update(done_height=batch.event.height, done_time_ms=batch.event.time_ms)
    batch.set(t.epochs, body.epoch, **values)
    batch.record()


def _prices_updated(batch: Batch, body: e.PricesUpdated) -> None:
    prices = {"storage_price_frost": body.storage_price_frost, "write_price_frost": body.write_price_frost}
    batch.set(t.epochs, body.epoch, **prices)
    batch.record()


def _ring_changed(batch: Batch, body: e.RingChanged) -> None:
    batch.bookings[body.epoch] = {"used_bytes": body.used_bytes, "rewards_frost": body.rewards_frost}
    batch.record()


# --- shards -------------------------------------------------------------------------------------------------


def _hand_overs_opened(batch: Batch, body: e.HandOversOpened) -> None:
    rows = [
        {
            "epoch": body.epoch,
            "shard_index": move.shard_index,
            "from_node": move.from_node,
            "to_node": move.to_node,
            "opened_height": batch.event.height,
        }
        for move in body.moves
    ]
    batch.sql.execute(insert(t.hand_overs), rows)
    batch.record()


def _shards_received(batch: Batch, body: e.ShardsReceived) -> None:
    c = t.hand_overs.c
    for shard_index in body.shards:
        still_open = and_(c.shard_index == shard_index, c.done_height.is_(None))
        taken = select(c.epoch).where(still_open, c.to_node == body.node_id).order_by(c.epoch.desc()).limit(1)
        last = batch.sql.execute(taken).scalar()
        if last is not None:
            arrived = update(t.hand_overs).where(still_open, c.epoch <= last)
            batch.sql.execute(arrived.values(done_height=batch.event.height))
    batch.set(t.epochs, body.epoch, sync_weight=body.sync_weight)
    if body.counted:
        batch.set(t.nodes, body.node_id, last_sync_done_epoch=body.epoch)
    batch.record(node=body.node_id)


# --- money --------------------------------------------------------------------------------------------------


def _rewards_distributed(batch: Batch, body: e.RewardsDistributed) -> None:
    batch.set(
        t.epochs,
        body.epoch,
        income_frost=body.income_frost,
        burned_frost=body.burned_frost,
        paid_frost=body.paid_frost,
        rolled_over_frost=body.rolled_over_frost,
    )
    batch.record()


def _node_rewarded(batch: Batch, body: e.NodeRewarded) -> None:
    amounts = {"reward_frost": body.reward_frost, "commission_frost": body.commission_frost}
    insert_row(batch.sql, t.epoch_rewards, {"epoch": body.epoch, "node_id": body.node_id, **amounts})
    batch.record(node=body.node_id)


def _pool_changed(batch: Batch, body: e.PoolChanged) -> None:
    values = {
        "latest_epoch": body.latest_epoch,
        "balance_frost": body.balance_frost,
        "n_shares": body.n_shares,
        "rewards_frost": body.rewards_frost,
        "commission_frost": body.commission_frost,
        "commission_blocked_frost": body.commission_blocked_frost,
        "pending_stake": _by_epoch(body.pending_stake),
        "pending_shares": _by_epoch(body.pending_shares),
        "pre_active_withdrawals": _by_epoch(body.pre_active_withdrawals),
        "pending_commission_rates": _by_epoch(body.pending_commission_rates),
    }
    batch.put(t.pools, {"node_id": body.node_id}, values)
    batch.set(t.nodes, body.node_id, commission_rate_bps=body.commission_rate_bps)
    batch.summaries.stale_pools[body.node_id] = None
    batch.record(node=body.node_id)


def _by_epoch(amounts: Mapping[int, int]) -> str:
    return json.dumps({str(epoch): amount for epoch, amount in sorted(amounts.items())})


def _exchange_rate_set(batch: Batch, body: e.ExchangeRateSet) -> None:
    rate = {"balance_frost": body.balance_frost, "n_shares": body.n_shares}
    insert_row(batch.sql, t.exchange_rates, {"node_id": body.node_id, "epoch": body.epoch, **rate})
    batch.record(node=body.node_id)


def _commission_collected(batch: Batch, body: e.CommissionCollected) -> None:
    batch.record(node=body.node_id, account=body.receiver)


# --- nodes --------------------------------------------------------------------------------------------------


def _node_votes_changed(batch: Batch, body: e.NodeVotesChanged) -> None:
    batch.set(
        t.nodes,
        body.node_id,
        storage_price_frost=body.storage_price_frost,
        write_price_frost=body.write_price_frost,
        node_capacity_bytes=body.node_capacity_bytes,
    )
    batch.record(node=body.node_id)


def _node_leave_requested(batch: Batch, body: e.NodeLeaveRequested) -> None:
    batch.set(t.nodes, body.node_id, leaving=True)
    batch.record(node=body.node_id)


def _node_leave_cancelled(batch: Batch, body: e.NodeLeaveCancelled) -> None:
    batch.set(t.nodes, body.node_id, leaving=False)
    batch.record(node=body.node_id)


def _node_accounts_changed(batch: Batch, body: e.NodeAccountsChanged) -> None:
    accounts = {"governance": body.governance, "capability": body.capability}
    batch.set(t.nodes, body.node_id, commission_receiver=body.commission_receiver, **accounts)
    batch.record(node=body.node_id, account=body.governance)


def _node_key_chosen(batch: Batch, body: e.NodeKeyChosen) -> None:
    batch.set(t.nodes, body.node_id, next_public_key=body.next_public_key)
    batch.record(node=body.node_id)


def _node_key_rotated(batch: Batch, body: e.NodeKeyRotated) -> None:
    batch.set(t.nodes, body.node_id, public_key=body.public_key)
    chosen = {"node_id": body.node_id, "next_public_key": body.public_key}
    update_rows(batch.sql, t.nodes, chosen, {"next_public_key": None})
    batch.record(node=body.node_id)


# --- what is only told --------------------------------------------------------------------------------------


def _of_node(batch: Batch, body: e.ActiveSetChanged) -> None:
    batch.record(node=body.node_id)


def _of_network(batch: Batch, body: Any) -> None:
    batch.record()


EPOCH_HANDLERS: Mapping[type, Callable[[Batch, Any], None]] = {
    e.EpochStarted: _epoch_started,
    e.EpochDone: _epoch_done,
    e.RingChanged: _ring_changed,
    e.VotingEnded: _voting_ended,
    e.CommitteeKept: _committee_kept,
    e.HandOversOpened: _hand_overs_opened,
    e.ShardsReceived: _shards_received,
    e.RewardsDistributed: _rewards_distributed,
    e.NodeRewarded: _node_rewarded,
    e.PoolChanged: _pool_changed,
    e.ExchangeRateSet: _exchange_rate_set,
    e.ActiveSetChanged: _of_node,
    e.NodeVotesChanged: _node_votes_changed,
    e.PricesUpdated: _prices_updated,
    e.NodeLeaveRequested: _node_leave_requested,
    e.NodeLeaveCancelled: _node_leave_cancelled,
    e.NodeAccountsChanged: _node_accounts_changed,
    e.NodeKeyChosen: _node_key_chosen,
    e.NodeKeyRotated: _node_key_rotated,
    e.CommissionCollected: _commission_collected,
    e.ProtocolVersionChosen: _of_network,
    e.ProtocolVersionActivated: _of_network,
    e.SubsidiesChanged: _of_network,
}
