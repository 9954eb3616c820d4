"""Pruned ledgers, and replicas that begin with a snapshot: what is believed, and what is not."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from haulout.errors import Unreachable
from haulout.ledger import queries
from haulout.ledger.commands import AdvanceEpoch, Transfer
from haulout.ports import Attestation
from haulout.replica import bootstrap
from haulout.replica.bootstrap import bring_near, open_replica
from haulout.replica.errors import BadSnapshot, BlockNotKept, EventNotKept, FellBehind, NotProven, NotRestorable
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.pruning import Pruner
from haulout.replica.reads import read_rows
from haulout.replica.replica import Replica
from haulout.replica.restore import restore_ledger
from haulout.replica.serving import ReplicaLedger
from haulout.world.memory_store import MemoryStore
from haulout.world.sqlite_store import SqliteStore

_spec = importlib.util.spec_from_file_location("node_world", Path(__file__).parents[1] / "node" / "conftest.py")
assert _spec is not None and _spec.loader is not None
node_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_world)

BOB = b"\x05" * 32


class Hasty:
    """A clock on which sleeping takes no time."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_ms(self) -> int:
        return self.us // 1000

    def monotonic_us(self) -> int:
        return self.us

    async def sleep_ms(self, duration_ms: int) -> None:
        self.us += max(duration_ms, 1_000) * 1000
        await asyncio.sleep(0)


class Lying:
    """A ledger that says something else in one place."""

    def __init__(self, ledger, **lies) -> None:
        self._ledger = ledger
        self.__dict__.update(lies)

    def __getattr__(self, name):
        return getattr(self._ledger, name)


async def next_epoch(world, *, attests: bool = True) -> None:
    await world.submit(Transfer(BOB, 1))
    await world.clock.advance(5_000)  # nodes report again after that only
    await world.submit(AdvanceEpoch(world.epoch))
    for node in world.nodes[:4]:
        await node.api.shard_sync.run_once()
    await world.settle()
    if attests:
        await attest(world)


async def attest(world) -> None:
    """Have the nodes that live sign the head, and learn that they have."""
    alive = [node for node in world.nodes if node.tasks]
    while (await world.sequencer.status()).finality.attested < world.sequencer.head.height:
        await world.clock.advance(500)
        if wanted := (await world.sequencer.attestation()).wanted_height:
            for node in alive:
                await node.api.signer._sign(wanted, None)
    for node in alive:
        await node.api.signer._learn((await world.sequencer.attestation()).latest)


async def prune_all(store, clock, **options) -> None:
    pruner = Pruner(store, clock, **{"keep_ms": -1, **options})
    while await pruner.run_once():
        pass


def settings_of(world, clock=None) -> dict:
    return {
        "genesis": world.network.genesis,
        "scheme": world.scheme,
        "clock": clock or world.clock,
        "workers": world.workers,
    }


@pytest.fixture
async def world():
    world = await node_world.World().start()
    for _ in range(3):
        await next_epoch(world)
    yield world
    await world.stop()


@pytest.fixture
async def pruned(world):
    """Epochs 3 and 4 are kept; everyone has forgotten those before."""
    for store in (world.sequencer.store, *(node.replica.store for node in world.nodes)):
        await prune_all(store, world.clock)
    return world


@pytest.fixture
async def rows(tmp_path):
    store = SqliteStore(tmp_path / "replica.sqlite")
    yield store
    await store.close()


async def catch_up(replica: Replica, head) -> None:
    running = asyncio.ensure_future(replica.run())
    async with asyncio.timeout(5):
        await replica.wait_for_height(head.height)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert replica.head == head


class TestPruning:
    async def test_the_blocks_of_two_epochs_stay_and_every_proof(self, world) -> None:
        store = world.sequencer.store
        assert world.epoch == 4
        await prune_all(store, world.clock)
        assert store.oldest_height == store.epoch_start(3) > 1
        assert (await world.sequencer.status()).oldest_height == store.oldest_height
        with pytest.raises(BlockNotKept):
            store.block(store.oldest_height - 1)
        with pytest.raises(EventNotKept):
            store.events(0)
        kept = [store.applied(height) for height in range(store.oldest_height, store.head.height + 1)]
        assert [block.header.height for block in kept][-1] == store.head.height
        assert read_rows(store, [b"\x01system"]).entries[0].proof
        assert all(store.checkpoint(epoch) is not None for epoch in range(1, 4)), "the way from committee to committee"
        await next_epoch(world)
        await prune_all(store, world.clock)
        assert store.oldest_height == store.epoch_start(4)

    async def test_what_is_to_be_kept_is(self, world) -> None:
        store = world.sequencer.store
        await Pruner(store, world.clock, keep_epochs=0, keep_ms=-1).run()
        for keep in ({"keep_epochs": 4}, {"keep_ms": 60_000_000}):
            await prune_all(store, world.clock, **keep)
        assert store.oldest_height == 0
        await prune_all(store, world.clock, needed_from=lambda: 3)
        assert store.oldest_height == 3, "the rest is still followed"

    async def test_an_epoch_that_nobody_closed_stays_where_others_begin_with_it(self, world) -> None:
        for _ in range(3):
            await next_epoch(world, attests=False)
        await attest(world)
        source, other = world.sequencer.store, world.nodes[0].replica.store
        assert source.checkpoint(4) is None or source.checkpoint(4).checkpoint.next_committee is None
        await prune_all(source, world.clock)
        assert source.oldest_height == source.epoch_start(4)
        await prune_all(other, world.clock, is_source=False)
        assert other.oldest_height == other.epoch_start(6)


class TestBeginning:
    async def test_a_new_replica_begins_with_a_snapshot_and_others_with_its_own(self, pruned, rows, tmp_path) -> None:
        replica = await open_replica(rows, pruned.sequencer, **settings_of(pruned))
        assert replica.store.oldest_height == pruned.sequencer.head.height + 1
        await next_epoch(pruned)
        await catch_up(replica, pruned.sequencer.head)
        await replica.store.keep_checkpoint(pruned.sequencer.store.checkpoint(), durable=True)
        await replica.store.keep_checkpoint(pruned.sequencer.store.checkpoint(4), durable=True)
        second = SqliteStore(tmp_path / "second.sqlite")
        header = await bring_near(second, ReplicaLedger(replica), **settings_of(pruned))
        assert header == pruned.sequencer.head
        await second.close()

    async def test_one_that_was_away_for_too_long_begins_anew(self, pruned, rows) -> None:
        kept = await LedgerStore.open(rows, pruned.network.genesis, pruned.scheme)
        assert kept.head.height == 0
        replica = Replica(kept, pruned.sequencer, pruned.scheme, pruned.clock, pruned.workers)
        with pytest.raises(FellBehind):
            await replica.run()
        assert await bring_near(rows, pruned.sequencer, **settings_of(pruned)) == pruned.sequencer.head
        again = await LedgerStore.open(rows, pruned.network.genesis, pruned.scheme)
        assert again.head == pruned.sequencer.head
        assert again.view.get(b"\x01system") == pruned.sequencer.store.view.get(b"\x01system")

    async def test_blocks_are_followed_where_they_are_all_kept(self, world, rows, monkeypatch) -> None:
        assert await bring_near(rows, world.sequencer, **settings_of(world)) is None
        monkeypatch.setattr(bootstrap, "MANY_BLOCKS", 3)
        assert await bring_near(rows, world.sequencer, **settings_of(world)) == world.sequencer.head, "it is quicker"

    async def test_a_ledger_that_is_away_is_waited_for_unless_half_a_snapshot_is_there(self, pruned, rows) -> None:
        async def away():
            raise Unreachable(peer="ledger", problem="away")

        async def breaks_off():
            async for chunk in pruned.sequencer.snapshot():
                yield chunk
                raise Unreachable(peer="ledger", problem="reset")

        gone = Lying(pruned.sequencer, status=away)
        assert await bring_near(rows, gone, **settings_of(pruned)) is None
        with pytest.raises(Unreachable):
            await bring_near(rows, Lying(pruned.sequencer, snapshot=breaks_off), **settings_of(pruned))
        assert await bring_near(rows, pruned.sequencer, **settings_of(pruned)) == pruned.sequencer.head


class TestLies:
    async def refused(self, world, problem: str, error=NotProven, **lies) -> None:
        rows = MemoryStore()
        with pytest.raises(error, match=problem):
            await bring_near(rows, Lying(world.sequencer, **lies), **settings_of(world, Hasty()))
        assert not list(rows.scan(b"", b"\xff")), "nothing of it stays"

    async def test_checkpoints_and_committees_that_are_not_signed(self, pruned) -> None:
        store = pruned.sequencer.store
        latest = store.checkpoint()

        async def unsigned(**_):
            return Attestation(0, replace(latest, signature=bytes(len(latest.signature))))

        async def committee_before(epoch):
            return store.committee(epoch - 1)

        async def closed_by_one(epoch):
            closing = store.checkpoint(epoch)
            return replace(closing, signers=b"\x01") if closing and epoch == 2 else closing

        await self.refused(pruned, "is not attested", attestation=unsigned)
        await self.refused(pruned, "is not the one that epoch 1 named", epoch_committee=committee_before)
        await self.refused(pruned, "is not attested", epoch_checkpoint=closed_by_one)

    async def test_blocks_and_states_that_are_not_attested(self, pruned) -> None:
        other = await node_world.World().start()
        other_chunks = [chunk async for chunk in other.sequencer.snapshot()]
        await other.stop()

        async def mixed():
            first = await anext(pruned.sequencer.snapshot())
            for chunk in [first, *other_chunks[1:]]:
                yield chunk

        async def foreign():
            for chunk in other_chunks:
                yield chunk

        await self.refused(pruned, "its rows have root", BadSnapshot, snapshot=mixed)
        await self.refused(pruned, "block 1 is not here", BlockNotKept, snapshot=foreign)
        latest = pruned.sequencer.store.checkpoint()
        await pruned.submit(Transfer(BOB, 7))

        async def old(**_):
            return Attestation(0, latest)

        await self.refused(pruned, "was certified in time", attestation=old)


class TestNodes:
    async def test_a_node_that_comes_back_finds_in_the_state_what_it_missed(self, world) -> None:
        node = world.nodes[4]
        kept, object_id = await world.store(b"deleted while it was away" * 20, deletable=True)
        await node.kill()
        missed, _ = await world.store(b"stored while it was away" * 20, 0, 1, 2, 3)
        await world.delete(object_id)
        for _ in range(3):
            await next_epoch(world)
        await prune_all(world.sequencer.store, world.clock)
        assert world.sequencer.store.oldest_height > node.replica.head.height + 1
        assert await bring_near(node.ledger_rows, world.sequencer, **settings_of(world)) == world.sequencer.head
        await node.start()
        await world.settle()
        assert node.api.vault.tables.is_incomplete(missed.blob_id)
        await node.api.blob_sync.run_once()
        assert not node.api.vault.tables.n_incomplete
        await node.api.garbage.note_expired()
        assert [blob_id for blob_id, _ in node.api.vault.tables.garbage(after=None, limit=9)] == [kept.blob_id]
        assert node.api.follower.height == world.sequencer.head.height

    async def test_nodes_learn_how_each_epoch_was_closed(self, world) -> None:
        for node in world.nodes:
            for epoch in range(1, 4):
                closing = node.replica.store.checkpoint(epoch)
                assert closing is not None and closing.checkpoint.next_committee is not None


class TestRestoring:
    def sources(self, world, *indices: int):
        return {world.nodes[i].secrets.name: ReplicaLedger(world.nodes[i].replica) for i in indices}

    async def restore(self, world, rows, *indices: int):
        common = {"genesis": world.network.genesis, "scheme": world.scheme, "workers": world.workers}
        return await restore_ledger(rows, self.sources(world, *indices), **common)

    async def test_a_lost_ledger_comes_back_from_nodes_that_have_pruned(self, pruned, rows) -> None:
        head, latest = pruned.sequencer.head, pruned.sequencer.store.checkpoint()
        restored = await self.restore(pruned, rows, *range(5))
        assert (restored.height, restored.attested_height, restored.weight) == (head.height, head.height, 10)
        store = await LedgerStore.open(rows, pruned.network.genesis, pruned.scheme)
        assert store.head == head
        assert store.checkpoint() == latest
        assert queries.system(store.view) == queries.system(pruned.sequencer.store.view)

    async def test_what_most_of_them_have_is_taken_and_what_is_beyond_is_executed(self, pruned, rows) -> None:
        await pruned.submit(Transfer(BOB, 9))
        for node in pruned.nodes[1:]:
            node.tasks[0].cancel()
            await asyncio.gather(node.tasks[0], return_exceptions=True)
        await pruned.submit(Transfer(BOB, 10))
        heights = [node.replica.head.height for node in pruned.nodes]
        assert heights == [heights[1] + 1, *[heights[1]] * 4]
        restored = await self.restore(pruned, rows, *range(5))
        assert (restored.height, restored.attested_height) == (heights[0], heights[1] - 1)

    async def test_an_epoch_that_began_just_now_is_closed_by_the_restored_ledger(self, pruned, rows) -> None:
        """Nobody had signed who the present committee is; later beginners need that signature."""
        await next_epoch(pruned, attests=False)
        await pruned.submit(Transfer(BOB, 9))
        world, head = pruned, pruned.sequencer.head
        assert not world.sequencer.store.is_closed(4)
        restored = await self.restore(world, rows, *range(5))
        assert (restored.height, restored.weight) == (head.height, 10)
        await world.stop_ledger()
        await world.start_ledger(rows)
        for node in world.nodes:
            node.api.signer._ledger = world.sequencer
        assert world.sequencer.store.oldest_height == head.height + 1
        await attest(world)
        assert world.sequencer.store.is_closed(4)
        late = MemoryStore()
        assert await bring_near(late, world.sequencer, **settings_of(world)) == head

    async def test_a_damaged_snapshot_and_a_forged_checkpoint_stop_nothing(self, pruned, rows) -> None:
        head, latest = pruned.sequencer.head, pruned.sequencer.store.checkpoint()
        sources = self.sources(pruned, *range(5))
        whole = [chunk async for chunk in sources["node-0"].snapshot()]

        async def damaged():
            for chunk in whole[:-1]:
                yield chunk
            yield whole[-1][:-1] + bytes([whole[-1][-1] ^ 1])

        async def forged(**_):
            return Attestation(0, replace(latest, checkpoint=replace(latest.checkpoint, block_digest=bytes(32))))

        sources["node-0"].snapshot = damaged
        sources["node-1"].attestation = forged
        common = {"genesis": pruned.network.genesis, "scheme": pruned.scheme, "workers": pruned.workers}
        restored = await restore_ledger(rows, sources, **common)
        assert (restored.height, restored.attested_height) == (head.height, head.height)
        assert sorted(restored.not_believed) == ["node-0", "node-1"]
        store = await LedgerStore.open(rows, pruned.network.genesis, pruned.scheme)
        assert (store.head, store.checkpoint()) == (head, latest)

    async def test_too_few_of_them_prove_nothing(self, pruned, rows) -> None:
        with pytest.raises(NotRestorable):
            await self.restore(pruned, rows, 0, 1, 2)
