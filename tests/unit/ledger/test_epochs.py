"""The steps of an epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.chain.block import TransactionResult
from haulout.crypto import messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import commands, invariants, queries
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import (
    AdvanceEpoch,
    CancelLeave,
    ChangeEpoch,
    Command,
    EndVoting,
    ForceDone,
    JoinActiveSet,
    ReportSyncDone,
    RequestLeave,
    SetNextPublicKey,
    SetVotes,
    Transfer,
    UpdatePrices,
    UpdateProtocolVersion,
)
from haulout.ledger.events import (
    ActiveSetChanged,
    CommitteeKept,
    EpochDone,
    EpochStarted,
    HandOversOpened,
    PricesUpdated,
    ProtocolVersionActivated,
    VotingEnded,
)
from haulout.ledger.genesis import DevelopmentNetwork, NodeSecrets, build_development_network
from haulout.ledger.plan import plan_next_committee
from haulout.ledger.refusals import UpgradeRequired
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Phase

WAL = 10**9
DURATION_MS = 100_000


def refusal(result: TransactionResult) -> str:
    assert not result.is_ok
    return result.reason


def run_at(world: Sandbox, account: str, command: Command, time_ms: int) -> TransactionResult:
    out = world.apply([world.sign(account, command, valid_until_ms=time_ms + 1000)], time_ms=time_ms)
    return out.results[0]


def last(world: Sandbox, kind: type) -> object:
    return next(event.body for event in reversed(world.events) if isinstance(event.body, kind))


def network_of(n_nodes: int, **changes: object) -> DevelopmentNetwork:
    return build_development_network(
        **{  # type: ignore[arg-type]
            "node_addresses": {f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(n_nodes)},
            "n_shards": 10,
            "stake_frost": 2000 * WAL,
            "account_funds_frost": {"alice": 100_000 * WAL, "poor": 10},
            "genesis_time_ms": 1_000_000,
            "seed": bytes(32),
            "scheme": KeyedHash(),
            "epoch_duration_ms": DURATION_MS,
            **changes,
        }
    )


@pytest.fixture
def timed() -> Sandbox:
    """Five nodes; epochs of 100 s that nobody can hurry."""
    return Sandbox(network_of(5), KeyedHash())


def shards_of(world: Sandbox, node: NodeSecrets) -> tuple[int, ...]:
    return next((m.shards for m in queries.committee(world.state).members if m.node_id == node.node_id), ())


# --- the way of an epoch ------------------------------------------------------------------------------------


def test_an_epoch_goes_its_way(timed: Sandbox) -> None:
    start, duration = timed.head.time_ms, DURATION_MS
    assert refusal(timed.run("poor", EndVoting(1))) == "NOT_DUE_YET"
    assert refusal(timed.run("poor", EndVoting(2))) == "UNEXPECTED_EPOCH"
    assert refusal(timed.run("poor", ChangeEpoch(1))) == "NEXT_COMMITTEE_IS_EMPTY"
    assert run_at(timed, "poor", EndVoting(1), start + duration // 2).is_ok
    assert queries.phase(timed.state) is Phase.VOTED
    assert refusal(run_at(timed, "poor", ChangeEpoch(1), start + duration - 1)) == "NOT_DUE_YET"
    assert run_at(timed, "poor", ChangeEpoch(1), start + duration).is_ok
    assert (queries.system(timed.state).epoch, queries.phase(timed.state)) == (2, Phase.SYNC)
    for node in timed.network.nodes[:4]:
        assert queries.phase(timed.state) is Phase.SYNC
        assert timed.run_with(node.capability_secret, ReportSyncDone(node.node_id, 2, ())).is_ok
    assert queries.phase(timed.state) is Phase.DONE
    invariants.check(timed.state)


def test_a_quorum_that_does_not_come_is_waited_for_half_an_epoch(timed: Sandbox) -> None:
    start = timed.head.time_ms
    run_at(timed, "poor", EndVoting(1), start + DURATION_MS)
    run_at(timed, "poor", ChangeEpoch(1), start + DURATION_MS)
    changed = timed.head.time_ms
    assert refusal(run_at(timed, "poor", ForceDone(2), changed + DURATION_MS // 2 - 1)) == "NOT_DUE_YET"
    assert run_at(timed, "poor", ForceDone(2), changed + DURATION_MS // 2).is_ok
    assert last(timed, EpochDone) == EpochDone(2, True)
    staking = queries.staking(timed.state)
    assert (staking.phase, staking.forced, staking.phase_since_ms) == (
        Phase.DONE,
        True,
        timed.head.time_ms,
    )
    assert refusal(timed.run("poor", ForceDone(2))) == "WRONG_EPOCH_STATE"
    assert refusal(timed.run("poor", AdvanceEpoch(2))) == "EPOCHS_NOT_MANUAL"
    invariants.check(timed.state)


def test_a_second_caller_does_no_harm(timed: Sandbox) -> None:
    due = timed.head.time_ms + DURATION_MS
    steps = [EndVoting(1), EndVoting(1), ChangeEpoch(1), ChangeEpoch(1), EndVoting(1)]
    out = timed.apply([timed.sign("poor", step, valid_until_ms=due) for step in steps], time_ms=due)
    assert [result.reason for result in out.results] == [
        "",
        "WRONG_EPOCH_STATE",
        "",
        "UNEXPECTED_EPOCH",
        "UNEXPECTED_EPOCH",
    ]


def test_an_epoch_by_hand_waits_for_the_shards_of_the_last(world: Sandbox) -> None:
    assert world.run("poor", AdvanceEpoch(1)).is_ok
    assert refusal(world.run("poor", AdvanceEpoch(2))) == "WRONG_EPOCH_STATE"
    assert refusal(world.run("poor", AdvanceEpoch(1))) == "UNEXPECTED_EPOCH"
    assert world.run("poor", ForceDone(2)).is_ok  # by hand there is no deadline
    assert world.run("poor", AdvanceEpoch(2)).is_ok


def test_one_transaction_may_end_the_vote_and_change_the_epoch(timed: Sandbox) -> None:
    due = timed.head.time_ms + DURATION_MS
    steps = timed.sign("poor", EndVoting(1), ChangeEpoch(1), Transfer(bytes(32), 1), valid_until_ms=due)
    out = timed.apply([steps, timed.sign("alice", Transfer(bytes(32), 1), valid_until_ms=due)], time_ms=due)
    assert all(result.is_ok for result in out.results)
    epochs = [(type(event.body).__name__, event.epoch) for event in out.events]
    assert ("VotingEnded", 1) in epochs and ("EpochStarted", 2) in epochs and epochs[-1] == ("BalanceChanged", 2)


# --- committees ---------------------------------------------------------------------------------------------


def test_three_nodes_keep_their_committee_and_say_so() -> None:
    """With f = 3 of 10 shards each, three nodes hold nine: the committee of four stays when one has no stake."""
    world = Sandbox(network_of(4, manual_epochs=True, n_shards=10), KeyedHash())
    assert refusal(world.run_with(world.nodes[0].governance_secret, RequestLeave(world.nodes[0].node_id, 1))) == (
        "COMMITTEE_TOO_SMALL"
    )
    before = queries.committee(world.state)
    stake = next(iter(queries.owned_ids(world.state, governor_of(world, 0), queries.ObjectKind.STAKED_WAL)))
    request = commands.RequestWithdraw(commands.Existing(stake))
    assert world.run_with(world.nodes[0].governance_secret, request).is_ok
    assert world.run("poor", AdvanceEpoch(1)).is_ok
    assert last(world, CommitteeKept) == CommitteeKept(2, "COMMITTEE_TOO_SMALL", 3, 4)
    assert not [event for event in world.events if isinstance(event.body, HandOversOpened)]
    after = queries.committee(world.state)
    assert replace(after, epoch=1) == before
    world.report_sync_done()
    withdraw = commands.Withdraw(commands.Existing(stake))
    assert world.run_with(world.nodes[0].governance_secret, withdraw).is_ok
    assert world.run("poor", AdvanceEpoch(2)).is_ok  # a member without stake is paid and kept
    invariants.check(world.state)


def test_without_any_stake_the_committee_stays() -> None:
    world = Sandbox(network_of(4, manual_epochs=True), KeyedHash())
    for index, node in enumerate(world.nodes):
        stake = next(iter(queries.owned_ids(world.state, governor_of(world, index), queries.ObjectKind.STAKED_WAL)))
        request = commands.RequestWithdraw(commands.Existing(stake))
        assert world.run_with(node.governance_secret, request).is_ok
    assert queries.staking(world.state).active_set == ()
    assert world.run("poor", AdvanceEpoch(1)).is_ok
    assert last(world, CommitteeKept) == CommitteeKept(2, "NO_STAKE", 0, 4)
    invariants.check(world.state)


def governor_of(world: Sandbox, index: int) -> bytes:
    return world.network.genesis.nodes[index].governance


def test_a_leaving_node_is_in_no_later_committee_and_may_come_back(manual: Sandbox) -> None:
    node = manual.network.nodes[0]
    manual.add_node("other", "alice", 2000 * WAL)
    run = manual.run_with
    assert refusal(run(node.capability_secret, RequestLeave(node.node_id, 1))) == "AUTHORIZATION_FAILURE"
    assert refusal(run(node.governance_secret, RequestLeave(node.node_id, 2))) == "UNEXPECTED_EPOCH"
    assert refusal(run(node.governance_secret, CancelLeave(node.node_id, 1))) == "NODE_NOT_LEAVING"
    assert run(node.governance_secret, RequestLeave(node.node_id, 1)).is_ok
    assert refusal(run(node.governance_secret, RequestLeave(node.node_id, 1))) == "POOL_ALREADY_WITHDRAWING"
    assert refusal(run(node.capability_secret, JoinActiveSet(node.node_id))) == "POOL_IS_NOT_ACTIVE"
    assert run(node.governance_secret, CancelLeave(node.node_id, 1)).is_ok
    assert run(node.governance_secret, RequestLeave(node.node_id, 1)).is_ok
    due = manual.network.genesis.genesis_time_ms + manual.network.genesis.epoch_duration_ms
    assert run_at(manual, "poor", EndVoting(1), due).is_ok
    assert refusal(run(node.governance_secret, CancelLeave(node.node_id, 1))) == "COMMITTEE_SELECTED"
    assert run_at(manual, "poor", ChangeEpoch(1), due).is_ok
    assert shards_of(manual, node) == ()
    assert run(node.governance_secret, CancelLeave(node.node_id, 2)).is_ok
    manual.report_sync_done()
    assert manual.run("poor", AdvanceEpoch(2)).is_ok
    assert len(shards_of(manual, node)) >= 1
    invariants.check(manual.state)


def test_too_many_leaves_are_refused_one_by_one(manual: Sandbox) -> None:
    """Of five nodes at most three shards each, one may go; four hold ten shards, three do not."""
    first, second = manual.network.nodes[:2]
    assert manual.run_with(first.governance_secret, RequestLeave(first.node_id, 1)).is_ok
    refused = manual.run_with(second.governance_secret, RequestLeave(second.node_id, 1))
    assert refusal(refused) == "COMMITTEE_TOO_SMALL"
    assert "4 nodes are needed" in refused.message


def test_the_plan_is_what_the_vote_decides(manual: Sandbox) -> None:
    newcomer = manual.add_node("fresh", "alice", 3000 * WAL)
    plan = plan_next_committee(manual.state)
    assert plan.is_possible and plan.epoch == 2
    assert newcomer.node_id in plan.assignment
    manual.run("poor", AdvanceEpoch(1))
    committee = queries.committee(manual.state)
    assert {m.node_id: m.shards for m in committee.members} == plan.assignment
    opened = last(manual, HandOversOpened)
    assert isinstance(opened, HandOversOpened)
    assert opened.moves == plan.moves


def test_a_plan_after_the_vote_begins_with_the_committee_that_was_chosen(timed: Sandbox) -> None:
    first = timed.network.nodes[0]
    assert plan_next_committee(timed.state).before[first.node_id] == shards_of(timed, first)
    assert timed.run_with(first.governance_secret, RequestLeave(first.node_id, 1)).is_ok
    assert run_at(timed, "poor", EndVoting(1), 1_000_000 + DURATION_MS).is_ok
    planned = plan_next_committee(timed.state)
    chosen = queries.next_committee(timed.state)
    assert shards_of(timed, first) and first.node_id not in planned.before
    assert planned.before == {member.node_id: member.shards for member in chosen.members}
    assert (planned.epoch, planned.moves, planned.assignment) == (3, (), planned.before)


def test_a_plan_of_what_might_be_changes_nothing(manual: Sandbox) -> None:
    root = manual.head.state_root
    first, second = (node.node_id for node in manual.network.nodes[:2])
    assert plan_next_committee(manual.state).moves == ()
    without = plan_next_committee(manual.state, leaving=[first])
    assert first not in without.assignment and len(without.moves) == 2
    assert not plan_next_committee(manual.state, leaving=[first, second]).is_possible
    more = plan_next_committee(manual.state, stake_changes={first: 90_000 * WAL})
    assert len(more.assignment[first]) == 3  # f, whatever the stake
    joined = plan_next_committee(manual.state, joining={bytes(32): 2000 * WAL})
    assert len(joined.assignment[bytes(32)]) >= 1
    assert manual.apply([]).header.state_root == root


def test_a_little_stake_moves_no_shard(manual: Sandbox) -> None:
    """Ten shards, five nodes of 2,000 WAL: 0.5 % more is not enough to take a third shard, but much more is."""
    first = manual.network.nodes[0].node_id
    assert plan_next_committee(manual.state, stake_changes={first: 9 * WAL}).moves == ()
    assert len(plan_next_committee(manual.state, stake_changes={first: 1_100 * WAL}).moves) == 1


# --- hand-overs ---------------------------------------------------------------------------------------------


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


def test_a_shard_that_moves_on_before_it_arrived_has_a_holder_for_every_age(manual: Sandbox) -> None:
    second = manual.add_node("second", "alice", 2000 * WAL)
    manual.run("poor", AdvanceEpoch(1))
    shard = shards_of(manual, second)[0]
    giver = next(iter(queries.open_hand_overs(manual.state, shard_index=shard))).from_node
    manual.run("poor", ForceDone(2))
    manual.run("alice", RequestLeave(second.node_id, 2))
    manual.run("poor", AdvanceEpoch(2))
    chain = list(queries.open_hand_overs(manual.state, shard_index=shard))
    taker = chain[-1].to_node
    assert [(r.epoch, r.from_node, r.to_node) for r in chain] == [
        (2, giver, second.node_id),
        (3, second.node_id, taker),
    ]
    holders = [queries.shard_holder(manual.state, shard, epoch) for epoch in (1, 2, 3)]
    assert holders == [giver, second.node_id, taker]
    # The one in the middle completes the shard late: its giver is free, it is not.
    assert manual.run_with(second.capability_secret, ReportSyncDone(second.node_id, 3, (shard,))).is_ok
    assert [r.epoch for r in queries.open_hand_overs(manual.state, shard_index=shard)] == [3]
    assert queries.shard_holder(manual.state, shard, 1) == second.node_id
    manual.report_sync_done()
    assert not list(queries.open_hand_overs(manual.state, shard_index=shard))
    assert queries.hand_over(manual.state, 2, shard) is not None
    for epoch in (3, 4, 5):
        manual.run("poor", AdvanceEpoch(epoch))
        manual.report_sync_done()
    assert queries.hand_over(manual.state, 2, shard) is None
    invariants.check(manual.state)


def test_a_taker_completes_all_hand_overs_of_a_shard(manual: Sandbox) -> None:
    second = manual.add_node("second", "alice", 2000 * WAL)
    manual.run("poor", AdvanceEpoch(1))
    manual.run("poor", ForceDone(2))
    manual.run("alice", RequestLeave(second.node_id, 2))
    manual.run("poor", AdvanceEpoch(2))
    manual.report_sync_done()
    assert not list(queries.open_hand_overs(manual.state))
    assert queries.is_handed_over(manual.state, 2) and queries.is_handed_over(manual.state, 3)


def test_a_node_counts_when_its_last_shard_has_arrived(manual: Sandbox) -> None:
    newcomer = manual.add_node("fresh", "alice", 6000 * WAL)
    manual.run("poor", AdvanceEpoch(1))
    gained = shards_of(manual, newcomer)
    assert len(gained) > 1
    run, secret = manual.run_with, newcomer.capability_secret
    assert run(secret, ReportSyncDone(newcomer.node_id, 2, ())).is_ok
    assert run(secret, ReportSyncDone(newcomer.node_id, 2, gained[:1])).is_ok
    assert queries.staking(manual.state).sync_weight == 0
    other = next(shard for shard in range(10) if shard not in gained)
    assert refusal(run(secret, ReportSyncDone(newcomer.node_id, 2, (other,)))) == "SHARD_NOT_ASSIGNED"
    assert run(secret, ReportSyncDone(newcomer.node_id, 2, gained[1:])).is_ok
    assert queries.staking(manual.state).sync_weight == len(gained)
    outsider = manual.add_node("outsider", "alice")
    report = ReportSyncDone(outsider.node_id, 2, ())
    assert refusal(run(outsider.capability_secret, report)) == "NOT_IN_COMMITTEE"


# --- votes, keys, rules -------------------------------------------------------------------------------------


def test_prices_follow_two_thirds_of_the_shards_at_once(world: Sandbox) -> None:
    """Weights 2 of 10 each: the lowest price that 7 shards accept is the fourth lowest of five."""
    for price, node in enumerate(world.network.nodes):
        vote = SetVotes(node.node_id, 100 + price, None, None)
        assert world.run_with(node.capability_secret, vote).is_ok
    assert queries.system(world.state).storage_price_frost == 100_000
    assert world.run("poor", UpdatePrices()).is_ok
    assert last(world, PricesUpdated) == PricesUpdated(1, 103, 20_000)
    assert queries.system(world.state).storage_price_frost == 103
    n_events = len(world.events)
    assert world.run("poor", UpdatePrices()).is_ok
    assert len(world.events) == n_events
    refused = world.run("bob", SetVotes(world.network.nodes[0].node_id, 1, 1, 1))
    assert refusal(refused) == "AUTHORIZATION_FAILURE"


def test_a_key_rotates_to_what_the_vote_has_fixed(world: Sandbox) -> None:
    node, scheme = world.network.nodes[0], KeyedHash()

    def choose(number: int) -> SetNextPublicKey:
        secret = scheme.generate(bytes([number]) * 32)
        key = scheme.public_key(secret)
        world.bls_secrets[key] = secret
        capability = next(n.capability for n in world.network.genesis.nodes if n.name == node.name)
        epoch = queries.system(world.state).epoch
        return SetNextPublicKey(
            node.node_id, key, scheme.sign(secret, messages.proof_of_possession(epoch, capability, key))
        )

    def key_in_use() -> bytes:
        return next(m.public_key for m in queries.committee(world.state).members if m.node_id == node.node_id)

    first, second = choose(1), choose(2)
    genesis_key = key_in_use()
    taken = replace(first, public_key=world.network.genesis.nodes[1].public_key)
    assert refusal(world.run_with(node.capability_secret, taken)) == "KEY_TAKEN"
    forged = replace(first, proof_of_possession=bytes(96))
    assert refusal(world.run_with(node.capability_secret, forged)) == "INVALID_PROOF_OF_POSSESSION"
    assert refusal(world.run("bob", first)) == "AUTHORIZATION_FAILURE"
    nonsense = replace(first, public_key=bytes(48))
    assert refusal(world.run_with(node.capability_secret, nonsense)) == "INVALID_PUBLIC_KEY"
    assert world.run_with(node.capability_secret, first).is_ok
    due = world.network.genesis.genesis_time_ms + world.network.genesis.epoch_duration_ms
    assert run_at(world, "poor", EndVoting(1), due).is_ok
    assert world.run_with(node.capability_secret, second).is_ok  # too late for epoch 2
    assert key_in_use() == genesis_key
    assert run_at(world, "poor", ChangeEpoch(1), due).is_ok
    row = queries.node(world.state, node.node_id)
    assert row is not None
    assert key_in_use() == row.public_key == first.public_key
    assert row.next_public_key == second.public_key
    world.report_sync_done()
    assert world.run("poor", AdvanceEpoch(2)).is_ok
    assert key_in_use() == second.public_key
    invariants.check(world.state)


def test_a_quorum_moves_an_old_network_to_todays_rules() -> None:
    network = network_of(5, manual_epochs=True)
    genesis = replace(network.genesis, protocol_version=1)
    nodes = tuple(replace(node, node_id=genesis.node_id(i)) for i, node in enumerate(network.nodes))
    world = Sandbox(replace(network, genesis=genesis, nodes=nodes), KeyedHash())
    out = world.apply([world.sign("poor", AdvanceEpoch(1))])
    assert out.inadmissible == ((0, "COMMAND_NOT_ACTIVE"),)
    message = messages.protocol_version(1, start_epoch=1, version=2)
    assert refusal(world.run("poor", UpdateProtocolVersion(message, *world.certify(message, signers=[0])))) == (
        "NOT_ENOUGH_STAKE"
    )
    assert world.run("poor", UpdateProtocolVersion(message, *world.certify(message))).is_ok
    assert world.head.protocol_version == 1  # the block that decides follows the old rules
    assert world.run("poor", AdvanceEpoch(1)).is_ok
    assert world.head.protocol_version == 2
    world.report_sync_done()
    assert queries.phase(world.state) is Phase.DONE
    invariants.check(world.state)


def test_a_version_waits_for_its_epoch_and_then_stops_builds_that_do_not_know_it(world: Sandbox) -> None:
    def vote(start_epoch: int, version: int) -> UpdateProtocolVersion:
        message = messages.protocol_version(1, start_epoch=start_epoch, version=version)
        return UpdateProtocolVersion(message, *world.certify(message))

    coming = PROTOCOL_VERSION + 1
    assert refusal(world.run("poor", vote(0, coming))) == "WRONG_VERSION"
    assert refusal(world.run("poor", vote(2, coming + 1))) == "WRONG_VERSION"
    assert refusal(world.run("poor", vote(2, PROTOCOL_VERSION))) == "WRONG_VERSION"
    assert world.run("poor", vote(2, coming)).is_ok
    assert queries.system(world.state).next_protocol == (coming, 2)
    assert world.run("poor", AdvanceEpoch(1)).is_ok
    assert last(world, ProtocolVersionActivated) == ProtocolVersionActivated(coming)
    assert world.head.protocol_version == PROTOCOL_VERSION
    with pytest.raises(UpgradeRequired):
        world.apply([])


def test_a_vote_names_what_is_fixed(world: Sandbox) -> None:
    due = world.network.genesis.genesis_time_ms + world.network.genesis.epoch_duration_ms
    run_at(world, "poor", EndVoting(1), due)
    ended = last(world, VotingEnded)
    assert isinstance(ended, VotingEnded)
    assert (ended.next_epoch, ended.total_capacity_bytes) == (2, 5 << 30)
    following = queries.next_committee(world.state)
    assert following is not None
    assert [m.node_id for m in ended.members] == [m.node_id for m in following.members]


def test_a_node_asks_for_its_place(world: Sandbox) -> None:
    node, n_events = world.network.nodes[0], len(world.events)
    assert refusal(world.run("bob", JoinActiveSet(node.node_id))) == "AUTHORIZATION_FAILURE"
    assert refusal(world.run("bob", JoinActiveSet(bytes(32)))) == "POOL_NOT_FOUND"
    assert world.run_with(node.capability_secret, JoinActiveSet(node.node_id)).is_ok
    assert [event.body for event in world.events[n_events:]] == [ActiveSetChanged(node.node_id, 2000 * WAL)]


def test_the_certificate_of_an_epoch_is_worth_nothing_in_the_next(manual: Sandbox) -> None:
    """The shards moved: a quorum of the old committee says nothing about who has the blob now."""
    blob_id = derive_blob_id(1, 1, bytes(32))
    register = commands.RegisterBlob(commands.Created(0, 0), blob_id, bytes(32), 1, 1, False)
    blob = manual.run("alice", commands.ReserveSpace(6_940, 0, 5), register).created[1][0]
    old = manual.certify_blob(commands.Existing(blob), blob_id)
    manual.add_node("fresh", "alice", 2000 * WAL)
    manual.run("poor", AdvanceEpoch(1))
    assert refusal(manual.run("alice", old)) == "INCORRECT_EPOCH"
    assert manual.run("alice", manual.certify_blob(commands.Existing(blob), blob_id)).is_ok
    existence = queries.blob_existence(manual.state, blob_id)
    assert existence is not None and existence.certified_epoch == 2
