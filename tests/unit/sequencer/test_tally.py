"""What is counted of the blocks that are durable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import queries
from haulout.ledger.commands import AdvanceEpoch, Command, ForceDone, ReportSyncDone, Transfer
from haulout.ledger.genesis import build_development_network
from haulout.ledger.sandbox import Sandbox
from haulout.sequencer.tally import BlockTally


@pytest.fixture
def world() -> Sandbox:
    town = build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{n}",) for n in range(4)},
        n_shards=10,
        stake_frost=2_000_000_000_000,
        account_funds_frost={"alice": 1_000_000},
        genesis_time_ms=1_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
        manual_epochs=True,
    )
    return Sandbox(town, KeyedHash())


@pytest.fixture
def tally(world) -> BlockTally:
    return BlockTally(queries.staking(world.state))


def count(tally: BlockTally, world: Sandbox, signed: Sequence[bytes], kinds: Sequence[str], after_ms: int = 1) -> None:
    tally.note(world.apply(signed, time_ms=world.head.time_ms + after_ms), [kinds] * len(signed))


def report(tally: BlockTally, world: Sandbox, *, after_ms: int) -> None:
    """The members report in one block each."""
    epoch = queries.system(world.state).epoch
    secrets = {node.node_id: node.capability_secret for node in world.nodes}
    for member in queries.committee(world.state).members:
        command = ReportSyncDone(member.node_id, epoch, member.shards)
        signed = world.sign_with(secrets[member.node_id], command)
        count(tally, world, [signed], ["ReportSyncDone"], after_ms)


def command(tally: BlockTally, world: Sandbox, what: Command, after_ms: int) -> None:
    count(tally, world, [world.sign("alice", what)], [type(what).__name__], after_ms)


def test_commands_are_counted_by_kind_and_by_what_became_of_their_transaction(world, tally) -> None:
    affordable = Transfer(world.address("alice"), 1)
    beyond = Transfer(world.address("alice"), 10**15)
    signed = [world.sign("alice", affordable, affordable), world.sign("alice", affordable, beyond)]
    count(tally, world, signed, ["Transfer", "Transfer"])
    assert tally.commands == {("Transfer", True): 2, ("Transfer", False): 2}
    assert tally.refusals == {"INSUFFICIENT_FUNDS": 1}
    assert tally.epoch_change_ms is None


def test_a_change_of_epoch_lasts_from_its_committee_until_a_quorum_has_its_shards(world, tally) -> None:
    command(tally, world, AdvanceEpoch(1), 5_000)
    assert tally.epoch_change_ms is None
    report(tally, world, after_ms=300)
    assert tally.epoch_change_ms == 900, "three of four members make a quorum; the fourth comes later"
    command(tally, world, AdvanceEpoch(2), 8_000)
    assert tally.epoch_change_ms == 900, "the last one that has ended"
    command(tally, world, ForceDone(2 + 1), 4_000)
    assert tally.epoch_change_ms == 4_000


def test_a_change_that_began_before_the_process_did_is_counted_whole(world, tally) -> None:
    command(tally, world, AdvanceEpoch(1), 5_000)
    report_after = BlockTally(queries.staking(world.state))
    report(report_after, world, after_ms=200)
    assert report_after.epoch_change_ms == 600
