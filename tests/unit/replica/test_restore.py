"""A lost ledger is put together from the nodes' replicas, or not at all."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from haulout.errors import Unreachable
from haulout.ledger.apply import apply_block
from haulout.ledger.commands import Transfer
from haulout.ports import Attestation
from haulout.replica.errors import NotRestorable, ReadOnlyLedger
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.restore import restore_ledger
from haulout.replica.serving import ReplicaLedger
from haulout.world.memory_store import MemoryStore

_spec = importlib.util.spec_from_file_location("node_world", Path(__file__).parents[1] / "node" / "conftest.py")
assert _spec is not None and _spec.loader is not None
node_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_world)

BOB = b"\x05" * 32


class Away:
    """A node that does not answer."""

    async def status(self):
        raise Unreachable(peer="node", problem="away")


@pytest.fixture
async def world():
    world = await node_world.World().start()
    for amount in range(1, 6):
        await world.submit(Transfer(BOB, amount))
    await world.attest()
    yield world
    await world.stop()


def sources_of(world, *indices: int):
    return {world.nodes[i].secrets.name: ReplicaLedger(world.nodes[i].replica) for i in indices}


async def open_store(world, rows: MemoryStore) -> LedgerStore:
    return await LedgerStore.open(rows, world.network.genesis, world.scheme)


async def restore(world, rows: MemoryStore, sources):
    genesis = world.network.genesis
    return await restore_ledger(rows, sources, genesis=genesis, scheme=world.scheme, workers=world.workers)


async def test_the_whole_chain_comes_back_with_its_last_checkpoint(world) -> None:
    rows = MemoryStore()
    restored = await restore(world, rows, sources_of(world, *range(5)))
    store = await open_store(world, rows)
    assert store.head == world.sequencer.head
    assert (restored.height, restored.attested_height, restored.weight, restored.n_shards) == (5, 5, 10, 10)
    assert store.checkpoint() == world.sequencer.store.checkpoint()
    assert [store.block(h) for h in range(1, 6)] == [world.sequencer.store.block(h) for h in range(1, 6)]


async def test_too_few_nodes_prove_nothing(world) -> None:
    for indices in ((0, 1, 2), ()):
        with pytest.raises(NotRestorable):
            await restore(world, MemoryStore(), sources_of(world, *indices))


async def test_nodes_that_are_away_are_left_out(world) -> None:
    sources = {**sources_of(world, 0, 1, 2, 3), "node-4": Away()}
    assert (await restore(world, MemoryStore(), sources)).weight == 8


async def test_a_node_ahead_of_the_others_keeps_what_was_answered_for(world) -> None:
    for node in world.nodes[1:]:
        node.tasks[0].cancel()
        await asyncio.gather(node.tasks[0], return_exceptions=True)
    await world.submit(Transfer(BOB, 9))
    assert [node.replica.head.height for node in world.nodes] == [6, 5, 5, 5, 5]
    restored = await restore(world, MemoryStore(), sources_of(world, *range(5)))
    assert (restored.height, restored.attested_height) == (6, 5)


async def test_what_was_attested_is_never_left_out(world) -> None:
    sources = sources_of(world, *range(5))
    behind = await open_store(world, MemoryStore())
    for height in (1, 2, 3):
        block = world.sequencer.store.block(height)
        out = apply_block(behind.view, behind.head, block.header.time_ms, block.transactions, world.scheme)
        await behind.commit(out)
    for source in sources.values():
        checkpoint = source._replica.store.checkpoint
        view = type("Short", (), {"head": behind.head, "store": behind})()
        source._replica = view
        behind.checkpoint = checkpoint
    with pytest.raises(NotRestorable, match="was attested"):
        await restore(world, MemoryStore(), sources)


class Forger(ReplicaLedger):
    """A node that says that another checkpoint is the latest."""

    def __init__(self, replica, **changes) -> None:
        super().__init__(replica)
        latest = replica.store.checkpoint()
        checkpoint = replace(latest.checkpoint, block_digest=b"\x66" * 32, **changes)
        self.forged = replace(latest, checkpoint=checkpoint)

    async def attestation(self, **_):
        return Attestation(0, self.forged)


@pytest.mark.parametrize(
    "changes",
    [{"height": 10**9}, {"height": 10**9, "epoch": 77}, {"height": 5}, {"height": 3}, {"chain_id": bytes(32)}],
    ids=["above all", "of an epoch to come", "the same block", "below", "of another network"],
)
async def test_a_forged_checkpoint_stops_nothing_and_its_forger_is_named(world, changes) -> None:
    sources = sources_of(world, *range(5))
    sources["node-4"] = Forger(world.nodes[4].replica, **changes)
    rows = MemoryStore()
    restored = await restore(world, rows, sources)
    assert (restored.height, restored.attested_height, restored.weight) == (5, 5, 10)
    assert list(restored.not_believed) == ["node-4"]
    assert "attest" in restored.not_believed["node-4"]
    assert (await open_store(world, rows)).checkpoint() == world.sequencer.store.checkpoint()


async def test_nobody_is_doubted_who_tells_the_truth(world) -> None:
    assert (await restore(world, MemoryStore(), sources_of(world, *range(5)))).not_believed == {}


class Branch(ReplicaLedger):
    """A node that has executed other blocks from some height on, more of them than there are."""

    def __init__(self, replica, store: LedgerStore) -> None:
        super().__init__(replica)
        self._replica = type("Other", (), {"head": store.head, "store": store, "view": store.view})()


async def test_a_longer_branch_that_one_node_made_up_is_not_taken(world) -> None:
    branch = await open_store(world, MemoryStore())
    for height in range(1, 9):
        block = world.sequencer.store.block(min(height, 3))
        transactions = block.transactions if height < 3 else ()
        out = apply_block(branch.view, branch.head, branch.head.time_ms + 1_000, transactions, world.scheme)
        if height < 3:
            out = apply_block(branch.view, branch.head, block.header.time_ms, transactions, world.scheme)
        await branch.commit(out)
    assert branch.head.height == 8
    sources = sources_of(world, *range(5))
    sources["node-4"] = Branch(world.nodes[4].replica, branch)
    rows = MemoryStore()
    restored = await restore(world, rows, sources)
    assert (restored.height, restored.attested_height, restored.weight) == (5, 5, 8)
    assert (await open_store(world, rows)).head == world.sequencer.head


async def test_a_restore_that_was_cut_off_goes_on(world) -> None:
    rows = MemoryStore()
    with pytest.raises(NotRestorable):
        await restore(world, rows, sources_of(world, 0))
    assert (await open_store(world, rows)).head.height == 5
    assert (await restore(world, rows, sources_of(world, *range(5)))).weight == 10


async def test_a_replica_orders_nothing(world) -> None:
    ledger = ReplicaLedger(world.nodes[0].replica)
    with pytest.raises(ReadOnlyLedger):
        await ledger.submit(b"x")
    with pytest.raises(ReadOnlyLedger):
        await ledger.attest(None)
