"""Storing: what is paid, sent and certified, with every kind of bad node and at every place to stop."""

from __future__ import annotations

import asyncio
import mmap

import pytest

from haulout import codec
from haulout.client.errors import EpochsOutOfRange, InsufficientConfirmations
from haulout.client.read import read_blob
from haulout.client.store import AlreadyCertified, NewlyCreated, Progress, StoreRequest, store_blob
from haulout.errors import BlobTooLarge, DiskFull, Rejected
from haulout.ledger import queries
from haulout.ledger.events import BlobCertified
from haulout.primitives import EncodingType, storage_units


async def read(world, blob_id):
    with await world.run(read_blob(world.make_network(), blob_id)) as blob:
        return bytes(blob.data)


async def test_a_stored_blob_is_certified_and_reads_back(world, make_data) -> None:
    data = make_data(5_000)
    result = await world.store(data)
    assert isinstance(result, NewlyCreated)
    assert result.blob_id == codec.compute_blob_id(data, 10)[0]
    assert result.blob.certified_epoch == 1
    assert result.blob.end_epoch == 6
    assert result.blob.deletable
    assert await read(world, result.blob_id) == data


@pytest.mark.parametrize("size", [0, 1, 55, 56, 57, 10_000])
async def test_blobs_of_odd_sizes(world, make_data, size) -> None:
    result = await world.store(make_data(size))
    assert await read(world, result.blob_id) == make_data(size)


async def test_the_cost_told_is_what_the_account_lost(world, make_data) -> None:
    before = world.balance()
    result = await world.store(make_data(300_000), n_epochs=3)
    system = queries.system(world.sequencer.store.view)
    units = storage_units(result.encoded_bytes)
    assert units > 1
    assert before - world.balance() == result.cost_frost
    assert result.cost_frost == units * (3 * system.storage_price_frost + system.write_price_frost)


async def test_storing_again_pays_nothing_and_sends_nothing(world, make_data) -> None:
    first = await world.store(make_data(1_000))
    balance, sent = world.balance(), [node.sent for node in world.nodes]
    again = await world.store(make_data(1_000))
    assert again == AlreadyCertified(
        first.blob_id, first.object_id, again.certified_height, again.certified_sequence, 6
    )
    assert (balance, sent) == (world.balance(), [node.sent for node in world.nodes])


async def test_storing_again_finds_the_accounts_own_permanent_object(world, make_data) -> None:
    first = await world.store(make_data(1_000), deletable=False)
    again = await world.store(make_data(1_000), deletable=False)
    assert isinstance(again, AlreadyCertified)
    assert again.object_id == first.object_id


async def test_an_object_has_its_attributes_when_it_is_certified(world, make_data) -> None:
    result = await world.store(make_data(1_000), attributes=(("type", "film"),))
    assert result.blob.attributes == {"type": "film"}


async def test_attributes_that_no_blob_can_have_are_refused_before_anything_is_paid(world, make_data) -> None:
    before = world.balance()
    too_many = tuple((str(n), "film") for n in range(33))
    for pairs in ((("", "film"),), (("k" * 129, "film"),), (("type", "v" * 1_025),), too_many):
        with pytest.raises(Rejected) as refused:
            await world.store(make_data(1_000), attributes=pairs)
        assert refused.value.code == "INVALID_ATTRIBUTE"
    assert world.balance() == before


async def test_two_stores_of_the_same_bytes_at_once_pay_once(world, make_data) -> None:
    before = world.balance()
    request = StoreRequest(5)

    async def both():
        return await asyncio.gather(
            *(store_blob(world.network, world.wallet, make_data(1_000), request) for _ in range(2))
        )

    first, second = await world.run(both())
    assert isinstance(first, NewlyCreated)
    assert isinstance(second, AlreadyCertified)
    assert before - world.balance() == first.cost_frost


async def test_somebody_elses_permanent_blob_is_enough(world, make_data) -> None:
    other = world.make_wallet("other")
    await world.run(store_blob(world.network, other, make_data(1_000), StoreRequest(5, deletable=False)))
    before = world.balance()
    result = await world.store(make_data(1_000), n_epochs=4)
    assert isinstance(result, AlreadyCertified)
    assert (result.object_id, result.end_epoch, world.balance()) == (None, 6, before)


async def test_somebody_elses_deletable_blob_is_not(world, make_data) -> None:
    other = world.make_wallet("other")
    await world.run(store_blob(world.network, other, make_data(1_000), StoreRequest(5)))
    assert isinstance(await world.store(make_data(1_000)), NewlyCreated)


async def test_force_registers_anew(world, make_data) -> None:
    first = await world.store(make_data(1_000))
    second = await world.store(make_data(1_000), force=True)
    assert isinstance(second, NewlyCreated)
    assert second.object_id != first.object_id
    assert second.operation == "registerFromScratch"


async def test_the_object_goes_to_the_receiver(world, make_data) -> None:
    result = await world.store(make_data(1_000), send_object_to=world.town.address("other"))
    assert result.blob.owner == world.town.address("other")
    assert result.blob.certified_epoch == 1


async def test_what_its_receiver_has_already_is_not_paid_again(world, make_data) -> None:
    other = world.town.address("other")
    first, before = await world.store(make_data(1_000), send_object_to=other), world.balance()
    again = await world.store(make_data(1_000), send_object_to=other)
    assert isinstance(again, AlreadyCertified)
    assert (again.object_id, world.balance()) == (first.object_id, before)
    assert isinstance(await world.store(make_data(1_000)), NewlyCreated)  # this account has none of its own


async def test_a_longer_store_extends_with_leave_to_reuse(world, make_data) -> None:
    first = await world.store(make_data(1_000), n_epochs=2)
    before, sent = world.balance(), [node.sent for node in world.nodes]
    result = await world.store(make_data(1_000), n_epochs=5, reuse_resources=True)
    assert (result.operation, result.n_epochs, result.object_id) == ("reuseAndExtend", 3, first.object_id)
    assert result.blob.end_epoch == 6
    assert before - world.balance() == result.cost_frost
    assert [node.sent for node in world.nodes] == sent


async def test_a_longer_store_registers_without_leave_to_reuse(world, make_data) -> None:
    await world.store(make_data(1_000), n_epochs=2)
    result = await world.store(make_data(1_000), n_epochs=5)
    assert result.operation == "registerFromScratch"


async def test_owned_storage_is_used_with_leave_to(world, make_data) -> None:
    from haulout.ledger.commands import DeleteBlob, Existing

    first = await world.store(make_data(1_000), n_epochs=5)
    await world.run(world.wallet.execute([DeleteBlob(Existing(first.object_id))]))
    before = world.balance()
    result = await world.store(make_data(900, seed=1), n_epochs=4, reuse_resources=True)
    price = queries.system(world.sequencer.store.view).write_price_frost
    assert (result.operation, result.cost_frost, before - world.balance()) == ("reuseStorage", price, price)


# --- in one request, or step by step ------------------------------------------------------------------------

STEPS = ["holdings", "store_metadata", "store_slivers", "confirm_blob"]


async def test_a_small_blob_costs_every_node_one_request(world, make_data) -> None:
    await world.store(make_data(1_000))
    assert [node.calls for node in world.nodes] == [["store_and_confirm"]] * 5


@pytest.mark.parametrize("limit", ["AT_ONCE_BYTES", "SMALL_BLOB_BYTES"])
async def test_a_larger_one_goes_step_by_step(world, make_data, monkeypatch, limit) -> None:
    monkeypatch.setattr(f"haulout.client.upload.{limit}", 1_000)
    await world.store(make_data(1_000))
    assert [node.calls for node in world.nodes] == [STEPS] * 5


async def test_what_was_paid_for_before_goes_step_by_step(world, make_data) -> None:
    world.only(0, 1, 2)
    with pytest.raises(InsufficientConfirmations):
        await world.store(make_data(1_000))
    world.only(0, 1, 2, 3, 4)
    for node in world.nodes:
        node.calls.clear()
    await world.store(make_data(1_000))
    assert [node.calls for node in world.nodes] == [["holdings", "confirm_blob"]] * 3 + [STEPS] * 2


async def test_a_request_that_fails_is_taken_up_again_step_by_step(world, make_data) -> None:
    world.nodes[0].is_dead = True
    world.nodes[1].fails_at_once = DiskFull(path="/data")
    await world.store(make_data(1_000))
    assert world.nodes[1].calls == ["store_and_confirm", *STEPS]
    assert world.counter("node_failures", node="node-1") == 1


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_epochs", [0, 54])
async def test_refuses_epochs_that_cannot_be_bought(world, n_epochs) -> None:
    with pytest.raises(EpochsOutOfRange):
        await world.store(b"x", n_epochs=n_epochs)


async def test_refuses_a_blob_over_the_maximum_before_it_is_encoded(world) -> None:
    for limit, encoding in ((3 << 20, None), (codec.sizes.max_blob_size_bytes(10), EncodingType.RS2)):
        with pytest.raises(BlobTooLarge) as refused:
            await world.store(bytes(limit + 1), encoding=encoding)
        assert refused.value.limit_bytes == limit
    assert world.nodes[0].calls == []


async def test_an_account_without_funds_is_told_so(world, make_data) -> None:
    with pytest.raises(Rejected) as refused:
        await world.run(store_blob(world.network, world.make_wallet("pauper"), make_data(100), StoreRequest(5)))
    assert refused.value.code == "INSUFFICIENT_FUNDS"


# --- bad nodes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", range(5))
async def test_one_dead_node_does_not_matter(world, make_data, dead) -> None:
    world.only(*(index for index in range(5) if index != dead))
    result = await world.store(make_data(1_000))
    assert await read(world, result.blob_id) == make_data(1_000)


async def test_two_dead_nodes_are_one_too_many_and_are_named(world, make_data) -> None:
    world.only(0, 1, 2)
    started_us = world.clock.us
    with pytest.raises(InsufficientConfirmations) as refused:
        await world.store(make_data(1_000))
    assert (refused.value.weight, refused.value.needed) == (6, 7)
    assert refused.value.reasons == "node-3: unreachable, node-4: unreachable"
    assert world.clock.us - started_us < 20_000_000


async def test_a_store_goes_on_when_the_nodes_are_back(world, make_data) -> None:
    world.only(0, 1, 2)
    with pytest.raises(InsufficientConfirmations):
        await world.store(make_data(1_000))
    balance, sent = world.balance(), [node.sent for node in world.nodes]
    world.only(0, 1, 2, 3, 4)
    result = await world.store(make_data(1_000))
    assert (result.operation, result.cost_frost) == ("reuseRegistration", 0)
    assert world.balance() == balance
    assert [node.sent for node in world.nodes[:3]] == sent[:3], "what nodes had was sent again"


async def test_hanging_nodes_are_given_up_within_20_seconds(world, make_data) -> None:
    world.nodes[1].hangs = world.nodes[2].hangs = True
    started_us = world.clock.us
    with pytest.raises(InsufficientConfirmations) as refused:
        await world.store(make_data(1_000))
    assert refused.value.reasons == "node-1: no answer, node-2: no answer"
    assert 10_000_000 < world.clock.us - started_us < 20_000_000


async def test_one_hanging_node_costs_only_the_tail(world, make_data) -> None:
    world.nodes[1].hangs = True
    started_us = world.clock.us
    await world.store(make_data(1_000))
    assert world.clock.us - started_us < 2_000_000


async def test_a_slow_node_still_gets_its_slivers(world, make_data) -> None:
    world.nodes[4].delay_ms = 100
    result = await world.store(make_data(1_000))
    assert len([key for key in world.nodes[4].slivers if key[0] == result.blob_id]) == 4


async def test_full_disks_do_not_count_as_progress_for_ever(world, make_data) -> None:
    for node in world.nodes[:2]:
        node.refuses_slivers = DiskFull(path="/data")
    started_us = world.clock.us
    with pytest.raises(InsufficientConfirmations) as refused:
        await world.store(make_data(1_000))
    assert refused.value.reasons == "node-0: DISK_FULL, node-1: DISK_FULL"
    assert world.clock.us - started_us < 25_000_000


async def test_a_node_that_dies_in_the_middle_gets_only_the_rest(world, make_data) -> None:
    node = world.nodes[0]
    node.dies_after_slivers = 3

    async def revive() -> None:
        while not node.is_dead:
            await world.clock.sleep_ms(1)
        node.dies_after_slivers, node.is_dead = None, False

    reviving = asyncio.ensure_future(revive())
    world.nodes[1].is_dead = True  # so that the first one is needed
    await world.store(make_data(1_000))
    await reviving
    assert node.sent == 3 + 1 + 1  # three kept, one lost with the node, and that one again


async def test_forged_confirmations_do_not_count_and_are_counted(world, make_data) -> None:
    world.nodes[2].forges = True
    result = await world.store(make_data(1_000))
    assert world.counter("bad_confirmations", node="node-2") == 1
    assert world.nodes[2].calls == ["store_and_confirm"], "a liar was asked again"
    assert result.blob.certified_epoch == 1


async def test_without_forged_confirmations_there_may_not_be_enough(world, make_data) -> None:
    world.nodes[0].forges = world.nodes[3].forges = True
    with pytest.raises(InsufficientConfirmations) as refused:
        await world.store(make_data(1_000))
    assert (refused.value.weight, refused.value.needed) == (6, 7)
    assert refused.value.reasons == "node-0: FORGED_CONFIRMATION, node-3: FORGED_CONFIRMATION"
    assert [node.calls for node in world.nodes] == [["store_and_confirm"]] * 5, "a liar was asked again"


async def test_a_late_confirmation_stands_in_for_a_forged_one(world, make_data) -> None:
    world.nodes[0].forges, world.nodes[1].delay_ms = True, 3_000  # beyond what the tail waits
    await world.store(make_data(1_000))
    [certified] = [event.body for event in await world.events() if isinstance(event.body, BlobCertified)]
    assert certified.weight == 8


async def test_the_certificate_carries_all_who_confirmed(world, make_data) -> None:
    world.nodes[0].is_dead = True
    await world.store(make_data(1_000))
    [certified] = [event.body for event in await world.events() if isinstance(event.body, BlobCertified)]
    assert certified.weight == 8


async def test_one_node_that_speaks_of_a_later_epoch_changes_nothing(world, make_data) -> None:
    world.nodes[0].epoch = 9
    result = await world.store(make_data(1_000))
    assert result.blob.certified_epoch == 1


# --- progress and memory ------------------------------------------------------------------------------------


async def test_progress_goes_through_the_phases_and_ends_full(world, make_data) -> None:
    seen: list[Progress] = []
    data = make_data(20_000)
    await world.run(store_blob(world.network, world.wallet, data, StoreRequest(5), on_progress=seen.append))
    assert list(dict.fromkeys(progress.phase for progress in seen)) == [
        "encoding",
        "registering",
        "uploading",
        "certifying",
    ]
    uploading = [progress for progress in seen if progress.phase == "uploading"]
    assert [progress.done_bytes for progress in uploading] == sorted(progress.done_bytes for progress in uploading)
    assert uploading[0].done_bytes == 0
    assert (
        uploading[-1].done_bytes
        == uploading[-1].total_bytes
        == sum(codec.sizes.slivers_size_bytes(axis, len(data), 10) for axis in codec.red_stuff.Axis)
    )


async def test_a_resumed_upload_counts_what_is_there(world, make_data) -> None:
    world.only(0, 1, 2)
    with pytest.raises(InsufficientConfirmations):
        await world.store(make_data(1_000))
    world.only(0, 1, 2, 3, 4)
    seen: list[Progress] = []
    await world.run(store_blob(world.network, world.wallet, make_data(1_000), StoreRequest(5), on_progress=seen.append))
    last = [progress for progress in seen if progress.phase == "uploading"][-1]
    assert last.done_bytes == last.total_bytes


async def test_large_buffers_are_files_that_are_gone_afterwards(world, make_data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("haulout.client.network.SPILL_THRESHOLD_BYTES", 1_000)
    monkeypatch.setattr("haulout.client.read.READ_SPILL_THRESHOLD_BYTES", 1_000)
    world.network = world.make_network(spill=tmp_path / "spill")
    data = make_data(100_000)
    result = await world.store(data)
    with await world.run(read_blob(world.network, result.blob_id)) as blob:
        assert isinstance(blob.data.obj, mmap.mmap)
        assert bytes(blob.data) == data
    assert list((tmp_path / "spill").iterdir()) == []


# --- cancelling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["registering", "uploading", "certifying"])
async def test_a_cancelled_store_pays_nothing_twice(world, make_data, phase) -> None:
    before = world.balance()
    task: asyncio.Task[object]

    def stop(progress: Progress) -> None:
        if progress.phase == phase:
            task.cancel()

    task = asyncio.ensure_future(
        store_blob(world.network, world.wallet, make_data(1_000), StoreRequest(5), on_progress=stop)
    )

    async def cancelled() -> None:
        with pytest.raises(asyncio.CancelledError):
            await task

    await world.run(cancelled())
    result = await world.store(make_data(1_000))
    system = queries.system(world.sequencer.store.view)
    assert before - world.balance() == 5 * system.storage_price_frost + system.write_price_frost
    assert await read(world, result.blob_id) == make_data(1_000)
