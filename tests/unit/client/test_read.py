"""Reading: any k1 honest slivers suffice, liars and the silent change nothing but the time it takes."""

from __future__ import annotations

import asyncio

import pytest

from haulout.client.errors import (
    BlobNotFound,
    BlobUnavailable,
    InsufficientConfirmations,
    RangeOutOfBlob,
)
from haulout.client.read import read_blob, read_metadata, read_range
from haulout.client.store import StoreRequest, store_blob
from haulout.codec import ConsistencyCheck
from haulout.codec.errors import InconsistentBlob
from haulout.ledger import keys
from haulout.ledger.commands import DeleteBlob, Existing
from haulout.primitives import BlobId, parse_blob_id

SIZE = 3_000


@pytest.fixture
async def stored(world, make_data):
    """A blob that is complete on every node."""
    return await world.store(make_data(SIZE))


@pytest.fixture
def read(world):
    async def read(blob_id, *, network=None, **options):
        with await world.run(read_blob(network or world.make_network(), blob_id, **options)) as blob:
            return bytes(blob.data)

    return read


@pytest.mark.parametrize("alive", [(0, 1), (1, 4), (2, 3), (0, 2, 4)])
async def test_any_two_of_five_nodes_suffice(world, stored, read, make_data, alive) -> None:
    world.only(*alive)
    assert await read(stored.blob_id) == make_data(SIZE)


async def test_with_one_node_left_the_answer_says_how_much_is_missing(world, stored, read) -> None:
    world.only(3)
    with pytest.raises(BlobUnavailable) as refused:
        await read(stored.blob_id)
    assert (refused.value.got, refused.value.needed) == (2, 4)
    assert refused.value.reasons == ", ".join(f"node-{index}: unreachable" for index in (0, 1, 2, 4))


async def test_an_unknown_id_is_not_found_and_no_node_is_asked(world, read) -> None:
    world.only()
    with pytest.raises(BlobNotFound):
        await read(BlobId(bytes(32)))
    assert all(node.calls == [] for node in world.nodes)


async def test_a_registered_blob_does_not_exist_before_it_is_certified(world, make_data, read) -> None:
    world.only(0, 1)
    with pytest.raises(InsufficientConfirmations) as refused:
        await world.store(make_data(SIZE))
    with pytest.raises(BlobNotFound):
        await read(parse_blob_id(refused.value.blob_id))


async def test_a_deleted_blob_does_not_exist(world, stored, read) -> None:
    result = await world.run(world.wallet.execute([DeleteBlob(Existing(stored.object_id))]))
    await world.run(world.network.view.reach(result.height))
    with pytest.raises(BlobNotFound):
        await read(stored.blob_id)


async def test_a_blob_marked_invalid_is_refused_as_such(world, stored, read) -> None:
    await world.rows.commit({keys.invalid_blob(stored.blob_id): (1).to_bytes(4, "little")})  # past all rules
    with pytest.raises(InconsistentBlob, match="the committee's check failed"):
        await read(stored.blob_id)


# --- liars --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", list(ConsistencyCheck))
async def test_liars_are_outvoted_and_named(world, stored, make_data, check) -> None:
    for node in world.nodes[:3]:
        node.lies_about_slivers = True
    world.network = world.make_network()
    with await world.run(read_blob(world.network, stored.blob_id, check=check)) as blob:
        assert bytes(blob.data) == make_data(SIZE)
    lied = {node.name for node in world.nodes[:3] if "read_slivers" in node.calls}
    assert lied
    for node in world.nodes:
        assert world.counter("bad_slivers", node=node.name) == (node.name in lied)
        assert node.name not in lied or node.calls.count("read_slivers") == 1, "a liar was asked again"


async def test_only_liars_left_is_unavailable_never_wrong_bytes(world, stored, read) -> None:
    for node in world.nodes[1:]:
        node.lies_about_slivers = True
    with pytest.raises(BlobUnavailable) as refused:
        await read(stored.blob_id)
    assert refused.value.got == 2
    assert refused.value.reasons == ", ".join(f"node-{index}: WRONG_BYTES" for index in (1, 2, 3, 4))


async def test_what_is_right_of_a_liars_answer_counts(world, stored, make_data) -> None:
    """Two nodes are left, with just as many slivers as are needed, and a third with one good and one bad."""
    world.only(1, 2)
    world.nodes[1].lies_about_pairs = {min(pair for _, pair, axis in world.nodes[1].slivers if axis == 0)}
    world.network = world.make_network()
    with pytest.raises(BlobUnavailable) as refused:
        await world.run(read_blob(world.network, stored.blob_id))
    assert refused.value.got == 3
    assert world.counter("bad_slivers", node="node-1") == 1
    world.only(1, 2, 3)
    with await world.run(read_blob(world.make_network(), stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(SIZE)


@pytest.mark.parametrize("trick", ["answers_twice", "answers_others"])
async def test_answers_that_were_not_asked_for_are_lies(world, stored, make_data, trick) -> None:
    for node in world.nodes:
        setattr(node, trick, True)
    world.network = world.make_network()
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(SIZE), "what is right counts all the same"
    assert sum(world.counter("bad_slivers", node=node.name) for node in world.nodes) >= 1


async def test_one_honest_node_suffices_for_the_metadata(world, stored) -> None:
    for node in world.nodes[:4]:
        node.lies_about_metadata = True
    world.network = world.make_network()
    metadata = await world.run(read_metadata(world.network, stored.blob_id))
    assert metadata.unencoded_length == SIZE


async def test_without_honest_metadata_nothing_is_read(world, stored, read) -> None:
    for node in world.nodes:
        node.lies_about_metadata = True
    with pytest.raises(BlobUnavailable):
        await read(stored.blob_id)


async def test_a_node_that_lacks_slivers_is_no_liar(world, stored, make_data) -> None:
    lacking = world.nodes[:3]
    for node in lacking:
        node.slivers.clear()
    world.network = world.make_network()
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(SIZE)
    assert all(world.counter("bad_slivers", node=node.name) == 0 for node in world.nodes)


# --- the slow and the silent --------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [(0,), (1, 2), (0, 3, 4)])
async def test_silent_nodes_are_hedged(world, stored, make_data, silent) -> None:
    for index in silent:
        world.nodes[index].hangs = True
    world.network = world.make_network()
    started_us = world.clock.us
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(SIZE)
    assert world.clock.us - started_us < 8_000_000


async def test_a_silent_node_is_asked_last_the_next_time(world, stored) -> None:
    world.network = world.make_network()
    # The node that has the first systematic sliver is silent.
    silent = next(node for node in world.nodes if any(key[1:] == (0, 0) for key in node.slivers))
    silent.hangs = True
    with await world.run(read_blob(world.network, stored.blob_id)):
        assert world.counter("hedges") >= 1
    hedges, calls = world.counter("hedges"), silent.calls.count("read_slivers")
    with await world.run(read_blob(world.network, stored.blob_id)):
        assert world.counter("hedges") == hedges
    assert silent.calls.count("read_slivers") == calls


async def test_a_whole_network_is_read_without_decoding(world, stored) -> None:
    """All systematic slivers are asked for first, and nobody else is."""
    for node in world.nodes:
        node.calls.clear()
    with await world.run(read_blob(world.make_network(), stored.blob_id)):
        pass
    systematic = {node.name for node in world.nodes for key in node.slivers if key[1] < 4 and key[2] == 0}
    assert {node.name for node in world.nodes if "read_slivers" in node.calls} == systematic


# --- epochs -------------------------------------------------------------------------------------------------


async def test_nodes_beyond_the_readers_epoch_make_it_wait_for_its_ledger(world, stored, make_data) -> None:
    for node in world.nodes:
        node.epoch = 2

    async def come_back() -> None:
        await world.clock.sleep_ms(500)
        for node in world.nodes:
            node.epoch = 1

    coming = asyncio.ensure_future(come_back())
    with await world.run(read_blob(world.make_network(), stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(SIZE)
    await coming


async def test_a_ledger_that_stays_behind_is_unavailable_not_the_callers_mistake(world, stored, read) -> None:
    for node in world.nodes:
        node.epoch = 2
    with pytest.raises(BlobUnavailable):
        await read(stored.blob_id)


# --- ranges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, SIZE), (SIZE - 1, 1), (700, 900), (1_499, 2)])
async def test_a_range_is_that_part_of_the_blob(world, stored, make_data, start, length) -> None:
    with await world.run(read_range(world.make_network(), stored.blob_id, start, length)) as part:
        assert bytes(part.data) == make_data(SIZE)[start : start + length]


async def test_a_range_touches_only_the_node_that_has_it(world, stored) -> None:
    for node in world.nodes:
        node.calls.clear()
    with await world.run(read_range(world.make_network(), stored.blob_id, 10, 20)):
        pass
    assert sum(node.calls.count("read_slivers") for node in world.nodes) == 1


async def test_a_range_whose_node_is_gone_is_cut_out_of_the_whole(world, stored, make_data) -> None:
    holder = next(node for node in world.nodes if any(key[1:] == (0, 0) for key in node.slivers))
    for broken in ({"is_dead": True}, {"is_dead": False, "lies_about_slivers": True}, {"hangs": True}):
        for name, value in broken.items():
            setattr(holder, name, value)
        with await world.run(read_range(world.make_network(), stored.blob_id, 10, 20)) as part:
            assert bytes(part.data) == make_data(SIZE)[10:30]


@pytest.mark.parametrize(("start", "length"), [(0, SIZE + 1), (SIZE, 1), (-1, 5), (5, 0)])
async def test_refuses_a_range_outside_the_blob(world, stored, start, length) -> None:
    with pytest.raises(RangeOutOfBlob):
        await world.run(read_range(world.make_network(), stored.blob_id, start, length))


async def test_a_reader_of_the_ledgers_proofs_reads_the_same(world, make_data, read) -> None:
    network = world.make_network(proven=True)
    result = await world.run(store_blob(network, world.wallet, make_data(SIZE), StoreRequest(5)))
    assert await read(result.blob_id, network=world.make_network(proven=True)) == make_data(SIZE)
