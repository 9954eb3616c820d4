"""Reading without a node, from a real ledger and nodes in memory."""

from __future__ import annotations

from haulout.client.network import NOWHERE
from haulout.primitives import blob_id_text
from haulout_operator.sample import SAMPLE_BLOBS, WithoutNode, read_sample
from tests.unit.client.conftest import FakeNode
from tests.unit.client.conftest import world as world

LEFT_OUT = 2


def network_without(world, index: int):
    nobody = world.by_address.setdefault(NOWHERE, FakeNode(world, 0))
    nobody.is_dead = True
    address = next(address for address, node in world.by_address.items() if node is world.nodes[index])
    network = world.make_network(proven=True)
    network.transport = WithoutNode(world, address)
    return network


async def test_blobs_are_read_and_the_node_is_not_asked(world) -> None:
    for size in (10, 3_000, 40_000, 5):
        await world.store(bytes([size % 251]) * size)
    for node in world.nodes:
        node.calls.clear()
    told = await world.run(read_sample(network_without(world, LEFT_OUT), world.sequencer))
    assert (told.n_read, told.failed) == (SAMPLE_BLOBS, ())
    assert world.nodes[LEFT_OUT].calls == []
    assert sum(len(node.calls) for node in world.nodes) > 0


async def test_a_blob_that_cannot_be_read_without_it_is_named(world) -> None:
    stored = await world.store(b"x" * 3_000)
    world.only(LEFT_OUT, 4)  # enough together, not without the one
    told = await world.run(read_sample(network_without(world, LEFT_OUT), world.sequencer))
    assert told.n_read == 0
    assert told.failed == (f"{blob_id_text(stored.blob_id)} (BLOB_UNAVAILABLE)",)


async def test_a_network_without_blobs_has_nothing_that_could_be_lost(world) -> None:
    told = await world.run(read_sample(network_without(world, LEFT_OUT), world.sequencer))
    assert (told.n_read, told.failed) == (0, ())
