"""Storing, promising and serving at one node, against a real ledger and real slivers."""

from __future__ import annotations

import asyncio

import pytest

import haulout
from haulout import bcs
from haulout.codec.errors import SliverIndexOutOfRange, UnsupportedEncodingType
from haulout.crypto import messages
from haulout.errors import DiskFull, WrongEpoch
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.state import BlobRecord
from haulout.node.errors import (
    InvalidMetadata,
    InvalidSliver,
    MetadataNotFound,
    MetadataNotStored,
    MissingSlivers,
    NodeStopping,
    NotRegistered,
    ShardNotAssigned,
    SliverIndexMismatch,
    SliverNotFound,
    SliverTooLarge,
)
from haulout.ports import BlobHoldings, Outcome, SliverUpload
from haulout.primitives import Axis, ObjectId, pair_of_shard
from haulout.replica.errors import LedgerDiverged
from haulout.world.errors import StorageFailed

SMALL, MEDIUM, LARGE = bytes(range(100)), b"medium " * 1_000, b"large " * 30_000  # in rows, in packs, in own files
EPOCH = 1


async def read_all(world, blob, node) -> list[SliverUpload]:
    targets = [(upload.pair_index, upload.axis) for upload in world.uploads(blob, node)]
    found = node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)
    return [upload async for upload in found]


def store_and_confirm(world, blob, *, node: int = 0, **changed):
    """All of a blob in one request, or something else instead of a part of it."""
    request = {
        "epoch": EPOCH,
        "blob_id": blob.blob_id,
        "object_id": None,
        "metadata": blob.metadata.to_bcs(),
        "slivers": world.uploads(blob, world.nodes[node]),
        "wait_ms": 0,
    }
    return world.nodes[node].api.store_and_confirm(**{**request, **changed})


def count_commits(store) -> list[bool]:
    """Whether each commit from now on is durable."""
    found: list[bool] = []
    commit = store.commit

    async def counted(writes, *, durable: bool = True) -> None:
        found.append(durable)
        await commit(writes, durable=durable)

    store.commit = counted
    return found


@pytest.mark.parametrize("data", [b"", SMALL, MEDIUM, LARGE], ids=["empty", "small", "medium", "large"])
async def test_stores_confirms_and_serves_a_blob_also_after_a_restart(world, data: bytes) -> None:
    node = world.nodes[0]
    blob = world.encode(data)
    await world.register(blob)
    outcome = await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
    assert outcome is Outcome.STORED
    uploads = world.uploads(blob, node)
    outcomes = await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(uploads))
    assert list(outcomes) == [Outcome.STORED] * 4  # two shards
    confirmation = await node.api.confirm_blob(epoch=EPOCH, blob_id=blob.blob_id, object_id=None, wait_ms=0)
    assert confirmation.message == bytes([1, 0, 3]) + EPOCH.to_bytes(4, "little") + blob.blob_id + b"\x00"
    assert world.scheme.verify(node.api.identity.public_key, confirmation.message, confirmation.signature)

    for _ in range(2):
        assert await node.api.read_metadata(epoch=EPOCH, blob_id=blob.blob_id) == blob.blob_id + blob.metadata.to_bcs()
        assert await read_all(world, blob, node) == uploads
        assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()
        health = await node.api.health()
        assert health.stored_slivers == 4
        assert health.stored_bytes == sum(len(upload.bcs) for upload in uploads)
        assert health.release == haulout.__version__
        assert health.protocol_version == PROTOCOL_VERSION
        await node.kill()
        await node.start()


@pytest.mark.parametrize("data", [b"", SMALL, MEDIUM, LARGE], ids=["empty", "small", "medium", "large"])
async def test_all_in_one_request_is_stored_confirmed_and_served_also_after_a_restart(world, data: bytes) -> None:
    node = world.nodes[0]
    blob = world.encode(data)
    await world.register(blob)
    commits = count_commits(node.store)
    confirmation = await store_and_confirm(world, blob)
    assert commits == [True], "more than one commit, or one that is not durable"
    assert confirmation.message == bytes([1, 0, 3]) + EPOCH.to_bytes(4, "little") + blob.blob_id + b"\x00"
    assert world.scheme.verify(node.api.identity.public_key, confirmation.message, confirmation.signature)
    assert await store_and_confirm(world, blob) == confirmation
    assert (await world.confirm(blob.blob_id, None, 0))[0] == confirmation
    assert commits == [True], "asking again costs a commit"
    counted = [node.counter(f"{name}_total") for name in ("metadata_stored", "storage_confirmations_issued")]
    assert counted == [1, 3]
    assert [node.counter("slivers_stored_total", axis=axis.name.lower()) for axis in Axis] == [2, 2]
    await node.kill()
    await node.start()
    assert await node.api.read_metadata(epoch=EPOCH, blob_id=blob.blob_id) == blob.blob_id + blob.metadata.to_bcs()
    assert await read_all(world, blob, node) == world.uploads(blob, node)


async def test_one_request_completes_what_came_before(world) -> None:
    blob = world.encode(MEDIUM)
    node = world.nodes[0]
    await world.register(blob)
    await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
    uploads = world.uploads(blob, node)
    await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(uploads[:2]))
    await store_and_confirm(world, blob, metadata=b"not looked at, it is known")
    assert await read_all(world, blob, node) == uploads


async def test_a_blob_costs_one_durable_commit_and_one_sync_of_its_files(world) -> None:
    blob = world.encode(MEDIUM)
    await world.register(blob)
    node = world.nodes[0]
    await world.upload(blob, 0)
    assert node.disk.syncs == 0
    await world.confirm(blob.blob_id, None, 0)
    await world.confirm(blob.blob_id, None, 0)
    assert node.disk.syncs == 1


async def test_what_is_stored_already_is_said_so(world) -> None:
    blob, _ = await world.store(SMALL)
    node = world.nodes[0]
    metadata = blob.metadata.to_bcs()
    outcome = await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=metadata)
    assert outcome is Outcome.ALREADY_STORED
    outcomes = await node.api.store_slivers(
        epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(world.uploads(blob, node))
    )
    assert list(outcomes) == [Outcome.ALREADY_STORED] * 4


async def test_an_upload_resumes_where_it_stopped(world) -> None:
    blob = world.encode(MEDIUM)
    node = world.nodes[0]
    await world.register(blob)
    pairs = [pair_of_shard(shard, blob.blob_id, 10) for shard in node.shards()]
    every = tuple((pair, axis) for pair in pairs for axis in Axis)
    assert await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id) == BlobHoldings(True, False, every)
    await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
    first = world.uploads(blob, node)[:1]
    await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(first))
    assert await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id) == BlobHoldings(True, True, every[1:])
    with pytest.raises(MissingSlivers) as refusal:
        await world.confirm(blob.blob_id, None, 0)
    assert refusal.value.missing == 3


async def test_unconfirmed_bytes_do_not_survive_a_kill_but_a_stop(world) -> None:
    blob = world.encode(MEDIUM)
    node = world.nodes[0]
    await world.register(blob)
    await world.upload(blob, 0)
    await node.kill()
    await node.start()
    assert len((await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing) == 4
    await world.upload(blob, 0)
    await node.api.stop()
    with pytest.raises(NodeStopping):
        await world.upload(blob, 0)
    assert node.api.unready_reason() == "NODE_STOPPING"
    await node.kill()
    await node.start()
    assert (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing == ()


SPOILT_METADATA = pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda raw: raw[:-1], InvalidMetadata),
        (lambda raw: raw + b"\x00", InvalidMetadata),
        (lambda raw: raw[:2] + bytes([raw[2] ^ 1]) + raw[3:], InvalidMetadata),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), InvalidMetadata),
        (lambda raw: b"", InvalidMetadata),
        (lambda raw: raw[:1] + b"\x00" + raw[2:], UnsupportedEncodingType),
        (lambda raw: raw[:1] + b"\x08" + raw[2:], InvalidMetadata),
    ],
    ids=["truncated", "trailing", "other length", "other hash", "empty", "raptor", "other encoding"],
)
SPOILT_SLIVERS = pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (
            lambda u: SliverUpload(u.pair_index, u.axis, u.bcs[:5] + bytes([u.bcs[5] ^ 1]) + u.bcs[6:]),
            InvalidSliver,
        ),
        (lambda u: SliverUpload(u.pair_index, u.axis, b"\x05" + u.bcs[1:]), InvalidSliver),
        (lambda u: SliverUpload(u.pair_index, u.axis, b""), InvalidSliver),
        (lambda u: SliverUpload(10, u.axis, u.bcs), SliverIndexOutOfRange),
        (lambda u: SliverUpload((u.pair_index + 1) % 10, u.axis, u.bcs), SliverIndexMismatch),
        (lambda u: SliverUpload(u.pair_index, u.axis, bytes(7 * 65_534 + 129)), SliverTooLarge),
    ],
    ids=["flipped bit", "wrong length", "empty", "index out of range", "other pair", "too large"],
)


async def holdings(world, blob) -> tuple[bool, int]:
    """Whether the first node has the metadata, and how many slivers it lacks."""
    found = await world.nodes[0].api.holdings(epoch=EPOCH, blob_id=blob.blob_id)
    return found.has_metadata, len(found.missing)


class TestRefusals:
    async def test_every_request_must_name_this_epoch(self, world) -> None:
        blob, _ = await world.store(SMALL)
        api = world.nodes[0].api
        named = {"epoch": 2, "blob_id": blob.blob_id}
        with pytest.raises(WrongEpoch):
            await api.store_metadata(**named, metadata=b"")
        with pytest.raises(WrongEpoch):
            await api.store_slivers(**named, slivers=world.stream([]))
        with pytest.raises(WrongEpoch):
            await api.confirm_blob(**named, object_id=None, wait_ms=0)
        with pytest.raises(WrongEpoch):
            await api.holdings(**named)

    async def test_a_read_may_be_an_epoch_early_or_late_and_no_more(self, world) -> None:
        blob, _ = await world.store(SMALL)
        api = world.nodes[0].api
        for near in (0, 2):
            assert await api.read_metadata(epoch=near, blob_id=blob.blob_id)
        named = {"epoch": 3, "blob_id": blob.blob_id}
        with pytest.raises(WrongEpoch):
            await api.read_metadata(**named)
        with pytest.raises(WrongEpoch):
            await api.read_recovery_symbols(**named, target=0, target_axis=Axis.PRIMARY, with_proofs=False)
        with pytest.raises(WrongEpoch):
            _ = [upload async for upload in api.read_slivers(**named, targets=[])]

    async def test_an_unregistered_blob_is_neither_taken_nor_confirmed_nor_found(self, world) -> None:
        blob = world.encode(SMALL)
        api = world.nodes[0].api
        named = {"epoch": EPOCH, "blob_id": blob.blob_id}
        with pytest.raises(NotRegistered):
            await api.store_metadata(**named, metadata=blob.metadata.to_bcs())
        with pytest.raises(MetadataNotStored):
            await api.store_slivers(**named, slivers=world.stream(world.uploads(blob, world.nodes[0])))
        with pytest.raises(NotRegistered):
            await api.confirm_blob(**named, object_id=None, wait_ms=0)
        with pytest.raises(MetadataNotFound):
            await api.read_metadata(**named)
        with pytest.raises(SliverNotFound):
            await read_all(world, blob, world.nodes[0])
        assert await api.blob_status(blob_id=blob.blob_id) is None
        assert world.nodes[0].disk.files == {}

    @SPOILT_METADATA
    async def test_refuses_metadata_that_is_not_the_blobs(self, world, spoil, error) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        api = world.nodes[0].api
        with pytest.raises(error):
            await api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=spoil(blob.metadata.to_bcs()))
        assert not (await api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).has_metadata

    @SPOILT_METADATA
    async def test_one_request_with_metadata_that_is_not_the_blobs_leaves_nothing(self, world, spoil, error) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        with pytest.raises(error):
            await store_and_confirm(world, blob, metadata=spoil(blob.metadata.to_bcs()))
        assert await holdings(world, blob) == (False, 4)

    @SPOILT_SLIVERS
    async def test_one_request_with_a_bad_sliver_leaves_nothing(self, world, spoil, error) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        uploads = world.uploads(blob, world.nodes[0])
        with pytest.raises(error):
            await store_and_confirm(world, blob, slivers=[*uploads[:2], spoil(uploads[2]), uploads[3]])
        assert await holdings(world, blob) == (False, 4)

    async def test_one_request_without_all_slivers_is_not_confirmed_and_can_be_resumed(self, world) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        with pytest.raises(MissingSlivers) as refusal:
            await store_and_confirm(world, blob, slivers=world.uploads(blob, world.nodes[0])[1:])
        assert refusal.value.missing == 1
        assert await holdings(world, blob) == (True, 1)

    async def test_one_request_of_another_epoch_or_for_others_shards_leaves_nothing(self, world) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        with pytest.raises(WrongEpoch):
            await store_and_confirm(world, blob, epoch=2)
        with pytest.raises(ShardNotAssigned):
            await store_and_confirm(world, blob, slivers=world.uploads(blob, world.nodes[1]))
        with pytest.raises(NotRegistered):
            await store_and_confirm(world, blob, object_id=ObjectId(bytes(32)))
        assert await holdings(world, blob) == (False, 4)

    @SPOILT_SLIVERS
    async def test_the_first_bad_sliver_ends_the_upload_and_those_before_are_kept(self, world, spoil, error) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        node = world.nodes[0]
        await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
        uploads = world.uploads(blob, node)
        bad = [uploads[0], uploads[1], spoil(uploads[2]), uploads[3]]
        with pytest.raises(error):
            await node.api.store_slivers(epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(bad))
        missing = (await node.api.holdings(epoch=EPOCH, blob_id=blob.blob_id)).missing
        assert missing == tuple((upload.pair_index, upload.axis) for upload in uploads[2:])

    async def test_refuses_slivers_of_shards_of_other_nodes(self, world) -> None:
        blob = world.encode(SMALL)
        await world.register(blob)
        api = world.nodes[0].api
        await api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
        with pytest.raises(ShardNotAssigned):
            await api.store_slivers(
                epoch=EPOCH, blob_id=blob.blob_id, slivers=world.stream(world.uploads(blob, world.nodes[1]))
            )

    async def test_a_deletable_blob_is_confirmed_for_its_object_only(self, world) -> None:
        blob = world.encode(SMALL)
        object_id = await world.register(blob, deletable=True)
        await world.upload(blob, 0)
        with pytest.raises(NotRegistered):
            await world.confirm(blob.blob_id, None, 0)
        with pytest.raises(NotRegistered):
            await world.confirm(blob.blob_id, ObjectId(bytes(32)), 0)
        confirmation = (await world.confirm(blob.blob_id, object_id, 0))[0]
        body = messages.parse(confirmation.message).body
        assert isinstance(body, messages.StorageConfirmation)
        assert body.object_id == object_id


class TestWaiting:
    async def test_a_confirmation_waits_for_the_registration(self, world) -> None:
        blob, _ = await world.store(SMALL)
        other = world.encode(b"another")
        asking = asyncio.ensure_future(
            world.nodes[0].api.confirm_blob(epoch=EPOCH, blob_id=other.blob_id, object_id=None, wait_ms=1_000)
        )
        await world.settle()
        assert not asking.done()
        await world.register(other)
        with pytest.raises(MissingSlivers):  # registered now, but nothing is here
            await asking
        assert blob.blob_id != other.blob_id

    async def test_and_gives_up_after_the_time_it_was_given(self, world) -> None:
        other = world.encode(b"another")
        asking = asyncio.ensure_future(
            world.nodes[0].api.confirm_blob(epoch=EPOCH, blob_id=other.blob_id, object_id=None, wait_ms=1_000)
        )
        await world.settle()
        await world.clock.advance(999)
        assert not asking.done()
        await world.clock.advance(1)
        with pytest.raises(NotRegistered):
            await asking

    async def test_one_request_waits_for_the_registration_and_is_then_confirmed(self, world) -> None:
        blob = world.encode(SMALL)
        asking = asyncio.ensure_future(store_and_confirm(world, blob, wait_ms=1_000))
        await world.settle()
        assert not asking.done()
        await world.register(blob)
        assert (await asking).message.endswith(blob.blob_id + b"\x00")

    async def test_one_request_gives_up_after_its_time_and_leaves_nothing(self, world) -> None:
        blob = world.encode(SMALL)
        asking = asyncio.ensure_future(store_and_confirm(world, blob, wait_ms=1_000))
        await world.settle()
        await world.clock.advance(1_000)
        with pytest.raises(NotRegistered):
            await asking
        assert await holdings(world, blob) == (False, 4)


class TestTrouble:
    async def test_a_diverged_node_signs_nothing_and_goes_on_serving(self, world) -> None:
        blob, _ = await world.store(SMALL)
        node = world.nodes[0]
        node.replica.diverged = LedgerDiverged(height=9, problem="planted")
        with pytest.raises(LedgerDiverged):
            await world.confirm(blob.blob_id, None, 0)
        with pytest.raises(LedgerDiverged):
            await world.upload(blob, 0)
        assert len(await read_all(world, blob, node)) == 4
        assert (await node.api.health()).status == "Diverged"
        assert node.api.unready_reason() == "LEDGER_DIVERGED"

    async def test_a_full_disk_refuses_uploads_serves_reads_and_recovers(self, world) -> None:
        stored, _ = await world.store(MEDIUM)
        node = world.nodes[0]
        blob = world.encode(LARGE)
        await world.register(blob)
        node.disk.free = 2_000  # above the reserve, but too little for a sliver
        await node.api.store_metadata(epoch=EPOCH, blob_id=blob.blob_id, metadata=blob.metadata.to_bcs())
        with pytest.raises(DiskFull):
            await world.upload(blob, 0)
        assert node.counter("read_only") == 1
        assert len(await read_all(world, stored, node)) == 4
        with pytest.raises(MissingSlivers):
            await world.confirm(blob.blob_id, None, 0)
        assert node.api.unready_reason() is None
        assert (await node.api.health()).status == "Active DiskFull"
        node.disk.free = 1 << 30
        await world.clock.advance(1_000)
        assert (await node.api.health()).status == "Active"
        await world.upload(blob, 0)
        await world.confirm(blob.blob_id, None, 0)

    async def test_a_failed_sync_ends_all_promises(self, world) -> None:
        blob = world.encode(MEDIUM)
        await world.register(blob)
        await world.upload(blob, 0)
        node = world.nodes[0]

        async def fail(paths) -> None:
            raise StorageFailed(path=paths[0], operation="sync", problem="I/O error")

        node.disk.sync = fail
        for _ in range(2):
            with pytest.raises(StorageFailed):
                await world.confirm(blob.blob_id, None, 0)
        assert (await node.api.health()).status == "StorageFailed"
        assert node.api.unready_reason() == "STORAGE_FAILED"

    async def test_a_failed_sync_leaves_one_request_without_a_signature(self, world) -> None:
        blob = world.encode(MEDIUM)
        await world.register(blob)

        async def fail(writes, *, durable: bool = True) -> None:
            raise StorageFailed(path="rows", operation="commit", problem="I/O error")

        world.nodes[0].store.commit = fail
        for _ in range(2):
            with pytest.raises(StorageFailed):
                await store_and_confirm(world, blob)

    async def test_a_full_disk_refuses_one_request_and_recovers(self, world) -> None:
        blob = world.encode(LARGE)
        await world.register(blob)
        world.nodes[0].disk.free = 2_000  # above the reserve, but too little for a sliver
        with pytest.raises(DiskFull):
            await store_and_confirm(world, blob)
        world.nodes[0].disk.free = 1 << 30
        await world.clock.advance(1_000)
        await store_and_confirm(world, blob)

    async def test_a_damaged_sliver_is_not_served_is_counted_and_listed(self, world) -> None:
        blob, _ = await world.store(LARGE)
        node = world.nodes[0]
        node.disk.flip(blob.blob_id, at=50)
        assert await read_all(world, blob, node) == []
        assert node.counter("corrupt_slivers_total") == 4
        page = await node.api.list_incomplete(after=None, limit=10)
        assert [(item.blob_id, item.missing_slivers, item.lacks_metadata) for item in page.blobs] == [
            (blob.blob_id, 4, False)
        ]
        health = await node.api.health()
        assert (health.corrupt_slivers, health.incomplete_blobs, health.stored_slivers) == (4, 1, 0)
        with pytest.raises(MissingSlivers):
            await world.confirm(blob.blob_id, None, 0)


async def test_the_status_of_a_blob_is_the_nodes_own_record(world) -> None:
    blob, _ = await world.store(SMALL)
    raw = await world.nodes[0].api.blob_status(blob_id=blob.blob_id)
    record = bcs.decode(BlobRecord, raw)
    assert record.permanent_certified
    assert record.size_bytes == 100


async def test_incomplete_blobs_come_in_pages(world) -> None:
    await world.nodes[4].kill()
    blobs = sorted([(await world.store(b"blob %d" % number, 0, 1, 2, 3))[0].blob_id for number in range(5)])
    node = world.nodes[4]
    await node.start()
    await world.settle()
    found = []
    after = None
    while True:
        page = await node.api.list_incomplete(after=after, limit=2)
        assert len(page.blobs) <= 2
        assert page.height == world.sequencer.head.height
        found += [item.blob_id for item in page.blobs]
        after = page.next_after
        if after is None:
            break
    assert found == blobs
