"""The steps of an epoch (`spec/ledger.md` 3, 12.4)."""

from __future__ import annotations

from haulout.chain.block import TransactionResult
from haulout.ledger import invariants, queries
from haulout.ledger.commands import AdvanceEpoch, ChangeEpoch, Command, EndVoting, ReportSyncDone
from haulout.ledger.events import EpochStarted, HandOversOpened
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Phase

WAL = 10**9


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def run_at(world: Sandbox, account: str, command: Command, time_ms: int) -> TransactionResult:
    out = world.apply([world.sign(account, command, valid_until_ms=time_ms + 1000)], time_ms=time_ms)
    return out.results[0]


def test_an_epoch_goes_its_way(world: Sandbox) -> None:
    start, duration = world.head.time_ms, world.network.genesis.epoch_duration_ms
    assert refusal(world.run("poor", EndVoting(1))) == "NOT_DUE_YET"
    assert refusal(world.run("poor", EndVoting(2))) == "UNEXPECTED_EPOCH"
    assert refusal(world.run("poor", ChangeEpoch(1))) == "NEXT_COMMITTEE_IS_EMPTY"
    assert run_at(world, "poor", EndVoting(1), start + duration // 2).is_ok
    assert queries.phase(world.state) is Phase.VOTED
    assert refusal(run_at(world, "poor", ChangeEpoch(1), start + duration - 1)) == "NOT_DUE_YET"
    assert run_at(world, "poor", ChangeEpoch(1), start + duration).is_ok
    assert (queries.system(world.state).epoch, queries.phase(world.state)) == (2, Phase.SYNC)
    for node in world.network.nodes[:4]:
        assert queries.phase(world.state) is Phase.SYNC
        assert world.run_with(node.capability_secret, ReportSyncDone(node.node_id, 2, ())).is_ok
    assert queries.phase(world.state) is Phase.DONE
    invariants.check(world.state)


def test_shards_of_a_new_node_are_handed_over(manual: Sandbox) -> None:
    newcomer = manual.add_node("fresh", "alice", 2000 * WAL)
    assert manual.run("alice", AdvanceEpoch(1)).is_ok
    events = [event.body for event in manual.events]
    started = next(body for body in reversed(events) if isinstance(body, EpochStarted))
    opened = next(body for body in reversed(events) if isinstance(body, HandOversOpened))
    assert started.epoch == opened.epoch == 2
    gained = next(member.shards for member in started.members if member.node_id == newcomer.node_id)
    assert {move.shard_index for move in opened.moves if move.to_node == newcomer.node_id} == set(gained)
    first = opened.moves[0]
    assert queries.shard_holder(manual.state, first.shard_index, 1) == first.from_node
    assert queries.shard_holder(manual.state, first.shard_index, 2) == first.to_node == newcomer.node_id
    assert [r.shard_index for r in queries.open_hand_overs(manual.state, to_node=newcomer.node_id)] == sorted(gained)
    for node in manual.network.nodes:
        assert manual.run_with(node.capability_secret, ReportSyncDone(node.node_id, 2, ())).is_ok
    assert queries.phase(manual.state) is Phase.DONE
    assert not queries.is_handed_over(manual.state, 2)
    assert manual.run_with(newcomer.capability_secret, ReportSyncDone(newcomer.node_id, 2, gained)).is_ok
    assert queries.is_handed_over(manual.state, 2)
    assert queries.shard_holder(manual.state, first.shard_index, 1) == newcomer.node_id
    invariants.check(manual.state)
