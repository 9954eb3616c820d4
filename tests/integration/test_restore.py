"""A lost ledger is put together over real wires from nodes that have pruned their blocks, as the command does it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from haulout.cli.restore import RestoreOptions, restore_from_nodes, was_restored
from haulout.crypto.bls import Bls12381
from haulout.errors import HauloutError
from haulout.ledger.commands import AdvanceEpoch, Transfer
from haulout.replica.errors import NotRestorable
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.pruning import Pruner
from haulout.replica.serving import ReplicaLedger
from haulout.wire.serving import Guard, Limits, build_server, serving
from haulout.wire.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from haulout.wire.v1.storage_pb2_grpc import add_StorageNodeServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from node_grpc.ledger_servicer import LedgerServicer
from node_grpc.storage_servicer import StorageServicer

_spec = importlib.util.spec_from_file_location("node_world", Path(__file__).parents[1] / "unit/node/conftest.py")
assert _spec is not None and _spec.loader is not None
node_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_world)
node_world.SCHEME = Bls12381()  # what the command believes

BOB = b"\x05" * 32
EPOCHS = 4


@pytest.fixture
async def pruned():
    """A network whose fifth epoch began just now, so nobody has closed the fourth; the first blocks are pruned."""
    world = await node_world.World().start()
    for epoch in range(EPOCHS):
        await world.submit(Transfer(BOB, 1))
        await world.clock.advance(5_000)
        if epoch == EPOCHS - 1:
            await world.attest()
        await world.submit(AdvanceEpoch(world.epoch))
        for node in world.nodes:
            await node.api.shard_sync.run_once()
        await world.settle()
        if epoch < EPOCHS - 1:
            await world.attest()
    for node in world.nodes:
        pruner = Pruner(node.replica.store, world.clock, keep_ms=-1)
        while await pruner.run_once():
            pass
        assert node.replica.store.oldest_height > 1
    yield world
    await world.stop()


@contextlib.asynccontextmanager
async def served(world, *indices: int) -> AsyncIterator[tuple[str, ...]]:
    """Addresses at which nodes answer as their processes do."""
    async with contextlib.AsyncExitStack() as stack:
        addresses = []
        for index in indices:
            node = world.nodes[index]
            guard = Guard(clock=SystemClock(), rng=SystemRng(), limits=Limits(), registry=CollectorRegistry())
            server = build_server(guard)
            add_StorageNodeServicer_to_server(StorageServicer(node.api, n_shards=node_world.N_SHARDS), server)
            add_LedgerServicer_to_server(LedgerServicer(ReplicaLedger(node.replica)), server)
            addresses.append(await stack.enter_async_context(serving(server, "127.0.0.1:0", drain_s=0.2)))
        yield tuple(addresses)


async def test_a_lost_ledger_comes_back_from_nodes_that_have_pruned(pruned, tmp_path: Path) -> None:
    world, head = pruned, pruned.sequencer.head
    genesis_file = tmp_path / "genesis.json"
    genesis_file.write_text(world.network.genesis.to_json())
    async with served(world, *range(5)) as addresses:
        few = RestoreOptions(addresses[:3], tmp_path, genesis_file, None)
        with pytest.raises(NotRestorable):
            await restore_from_nodes(few)
        assert not was_restored(tmp_path)
        restored = await restore_from_nodes(RestoreOptions(addresses, tmp_path, genesis_file, None))
    assert was_restored(tmp_path)
    assert (restored.height, restored.weight) == (head.height, node_world.N_SHARDS)
    assert restored.attested_height == world.sequencer.store.checkpoint().checkpoint.height
    rows = SqliteStore(tmp_path / "ledger.sqlite")
    try:
        store = await LedgerStore.open(rows, world.network.genesis, node_world.SCHEME)
        assert store.head == head and store.oldest_height == head.height + 1
        assert list(store.view.scan(b"\x00", b"\xe0")) == list(world.sequencer.store.view.scan(b"\x00", b"\xe0"))
        await world.stop_ledger()
        await world.start_ledger(rows)
        for node in world.nodes:
            node.api.signer._ledger = world.sequencer
        await world.attest()
        assert world.sequencer.store.is_closed(EPOCHS), "whoever begins later can follow the committees"
    finally:
        with contextlib.suppress(HauloutError):
            await rows.close()
