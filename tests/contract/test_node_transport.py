"""What every `NodeTransport` promises: a node behind it looks as it does when called directly.

Values arrive as they are, errors as the class they were raised as, slivers of any size in order; an upload or a
download that ends early ends on both sides.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from haulout import errors
from haulout.errors import Corrupt, HauloutError, InvalidInput, NotFound, Rejected, Unavailable
from haulout.node.errors import (
    MetadataNotFound,
    MissingSlivers,
    NodeStopping,
    NotRegistered,
    ShardSyncForbidden,
)
from haulout.ports import (
    IncompleteBlob,
    IncompletePage,
    Outcome,
    PartialSliver,
    ProofUpload,
    SignedMessage,
    SliverUpload,
    StorageNodeApi,
)
from haulout.primitives import Axis, BlobId, ObjectId, SliverIndex, SliverPairIndex
from tests.contract.memory_node import BLOB, EPOCH, HEALTH, OTHER, MemoryNode, stream

N_SHARDS = 200  # its largest sliver has 8.8 MB
OBJECT = ObjectId(b"\x33" * 32)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def sliver(pair: int, axis: Axis, size_bytes: int) -> SliverUpload:
    """A sliver whose bytes tell where they belong."""
    seed = bytes((i * 131 + pair * 7 + axis) % 251 for i in range(251))
    return SliverUpload(SliverPairIndex(pair), axis, (seed * (size_bytes // 251 + 1))[:size_bytes])


async def until(condition: Any) -> None:
    """Wait for something that the other side does on its own."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


@pytest.fixture
def node() -> MemoryNode:
    return MemoryNode()


class Scene:
    """Runs a story with the node as the transport shows it."""

    def __init__(self, case: Any, node: MemoryNode) -> None:
        self.case = case
        self.node = node

    def play(self, story: Any) -> None:
        async def played() -> None:
            async with self.case.open(self.node, N_SHARDS) as opened:
                await story(opened.transport.connect(opened.address), opened)

        self.case.run(played())


@pytest.fixture
def scene(transport_case: Any, node: MemoryNode) -> Scene:
    return Scene(transport_case, node)


# --- values -------------------------------------------------------------------------------------------------


def test_metadata_is_stored_once_and_read_back(scene: Scene) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        metadata = bytes(range(256)) * 300
        assert await api.store_metadata(epoch=EPOCH, blob_id=BLOB, metadata=metadata) is Outcome.STORED
        assert await api.store_metadata(epoch=EPOCH, blob_id=BLOB, metadata=metadata) is Outcome.ALREADY_STORED
        assert await api.read_metadata(epoch=EPOCH, blob_id=BLOB) == BLOB + metadata

    scene.play(story)


def test_shards_are_handed_over_blob_by_blob(scene: Scene, node: MemoryNode) -> None:
    sizes = {(BLOB, 1, Axis.PRIMARY): 10, (BLOB, 1, Axis.SECONDARY): 3_000_000, (OTHER, 4, Axis.PRIMARY): 20}
    for (blob_id, pair, axis), size in sizes.items():
        node.slivers[blob_id, SliverPairIndex(pair), axis] = bytes(sliver(pair, axis, size).bcs)
    signed = (SignedMessage(b"first", b"s" * 96), SignedMessage(b"second", b"t" * 96))

    async def story(api: StorageNodeApi, _: object) -> None:
        found = [synced async for synced in api.sync_shards(public_key=b"k" * 48, requests=signed)]
        assert [(s.blob_id, s.upload.pair_index, s.upload.axis) for s in found] == sorted(sizes)
        for synced in found:
            name = (synced.blob_id, synced.upload.pair_index, synced.upload.axis)
            assert bytes(synced.upload.bcs) == node.slivers[name]
        node.failure = ShardSyncForbidden(shard_index=3, problem="not its owner")
        with pytest.raises(ShardSyncForbidden) as refused:
            _ = [synced async for synced in api.sync_shards(public_key=b"k" * 48, requests=signed)]
        assert refused.value.shard_index == 3

    scene.play(story)
    assert node.asked[0] == (b"k" * 48, signed)


def test_whoever_stops_taking_a_shard_stops_its_giver(scene: Scene, node: MemoryNode) -> None:
    for pair in range(20):
        node.slivers[BLOB, SliverPairIndex(pair), Axis.PRIMARY] = bytes(2_000_000)

    async def story(api: StorageNodeApi, _: object) -> None:
        stream_of = api.sync_shards(public_key=b"k" * 48, requests=[SignedMessage(b"m", b"s" * 96)])
        assert (await anext(stream_of)).blob_id == BLOB
        await stream_of.aclose()  # type: ignore[attr-defined]
        await until(lambda: node.endings)

    scene.play(story)


def test_small_and_large_slivers_arrive_in_order_and_whole(scene: Scene, node: MemoryNode) -> None:
    sent = [
        sliver(3, Axis.PRIMARY, 10),
        sliver(1, Axis.SECONDARY, 5_000_000),
        sliver(2, Axis.PRIMARY, 1),
        sliver(2, Axis.SECONDARY, (1 << 20) + 1),
        sliver(199, Axis.PRIMARY, 700_000),
        sliver(0, Axis.PRIMARY, 1 << 20),
    ]

    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        outcomes = await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(*sent))
        assert list(outcomes) == [Outcome.STORED] * len(sent)
        again = await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(sent[1], sliver(4, Axis.PRIMARY, 9)))
        assert list(again) == [Outcome.ALREADY_STORED, Outcome.STORED]

    scene.play(story)
    assert node.taken[: len(sent)] == [(one.pair_index, one.axis) for one in sent]
    for one in sent:
        assert node.slivers[BLOB, one.pair_index, one.axis] == one.bcs


@pytest.mark.parametrize("object_id", [None, OBJECT])
def test_all_of_a_small_blob_travels_in_one_request(scene: Scene, node: MemoryNode, object_id: ObjectId | None) -> None:
    whole = bytearray(sliver(5, Axis.SECONDARY, 2_000_000).bcs)
    sent = [
        sliver(3, Axis.PRIMARY, 10),
        SliverUpload(SliverPairIndex(5), Axis.SECONDARY, memoryview(whole)[1_000:]),
        sliver(199, Axis.PRIMARY, 1),
    ]

    async def story(api: StorageNodeApi, _: object) -> None:
        signed = await api.store_and_confirm(
            epoch=EPOCH, blob_id=BLOB, object_id=object_id, metadata=b"m" * 60_000, slivers=sent, wait_ms=700
        )
        assert signed == SignedMessage(message=b"message" + BLOB + (object_id or b""), signature=b"s" * 96)
        whole[:] = bytes(len(whole))  # what was sent is the other side's by now

    scene.play(story)
    assert node.asked == [(object_id, 700)]
    assert node.metadata == {BLOB: b"m" * 60_000}
    assert node.taken == [(3, Axis.PRIMARY), (5, Axis.SECONDARY), (199, Axis.PRIMARY)]
    assert node.slivers[BLOB, SliverPairIndex(5), Axis.SECONDARY] == sliver(5, Axis.SECONDARY, 2_000_000).bcs[1_000:]


def test_buffers_that_are_not_bytes_can_be_sent(scene: Scene, node: MemoryNode) -> None:
    whole = bytearray(sliver(5, Axis.PRIMARY, 3_000_000).bcs)
    view = memoryview(whole)[1_000_000:]

    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        upload = SliverUpload(SliverPairIndex(5), Axis.PRIMARY, view)
        await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(upload))

    scene.play(story)
    assert node.slivers[BLOB, SliverPairIndex(5), Axis.PRIMARY] == whole[1_000_000:]


def test_no_slivers_are_an_upload_too(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        assert list(await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream())) == []

    scene.play(story)


def test_asked_slivers_come_back_and_lacking_ones_are_left_out(scene: Scene, node: MemoryNode) -> None:
    kept = [sliver(pair, axis, size) for pair, axis, size in ((0, Axis.PRIMARY, 30), (7, Axis.SECONDARY, 5_000_000))]

    async def story(api: StorageNodeApi, _: object) -> None:
        for one in kept:
            node.slivers[BLOB, one.pair_index, one.axis] = bytes(one.bcs)
        targets = [(one.pair_index, one.axis) for one in kept] + [(SliverPairIndex(9), Axis.PRIMARY)]
        found = {
            (got.pair_index, got.axis): bytes(got.bcs)
            async for got in api.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=targets)
        }
        assert found == {(one.pair_index, one.axis): one.bcs for one in kept}
        assert [got async for got in api.read_slivers(epoch=EPOCH, blob_id=OTHER, targets=targets)] == []

    scene.play(story)


def test_stripes_travel_with_where_they_begin(scene: Scene, node: MemoryNode) -> None:
    pieces = [
        dataclasses.replace(sliver(2, Axis.SECONDARY, size), first_stripe=first)
        for first, size in ((0, 30), (8, 2_100_000), (16, 1))
    ]

    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        outcomes = await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(*pieces))
        assert list(outcomes) == [Outcome.STORED] * 3
        assert node.pieces == pieces
        targets = [(SliverPairIndex(2), Axis.SECONDARY)]
        found = api.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=targets, stripes=range(8, 17))
        assert [dataclasses.replace(got, bcs=bytes(got.bcs)) async for got in found] == pieces[1:]
        partial = (await api.holdings(epoch=EPOCH, blob_id=BLOB)).partial
        assert partial[0] == PartialSliver(SliverPairIndex(2), Axis.SECONDARY, (range(9, 12), range(20, 21)))

    scene.play(story)


def test_small_answers_arrive_as_they_are(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        assert await api.health() == HEALTH
        node.slivers[BLOB, SliverPairIndex(1), Axis.PRIMARY] = b"x"
        holdings = await api.holdings(epoch=EPOCH, blob_id=BLOB)
        assert holdings.is_registered and not holdings.has_metadata
        assert holdings.missing == (
            (0, Axis.PRIMARY),
            (0, Axis.SECONDARY),
            (1, Axis.SECONDARY),
            (2, Axis.PRIMARY),
            (2, Axis.SECONDARY),
        )
        permanent = await api.confirm_blob(epoch=EPOCH, blob_id=BLOB, object_id=None, wait_ms=0)
        assert permanent == SignedMessage(message=b"message" + BLOB, signature=b"s" * 96)
        deletable = await api.confirm_blob(epoch=EPOCH, blob_id=BLOB, object_id=OBJECT, wait_ms=1500)
        assert deletable.message == b"message" + BLOB + OBJECT
        assert node.asked == [(None, 0), (OBJECT, 1500)]
        assert await api.blob_status(blob_id=BLOB) == b"record"
        assert await api.blob_status(blob_id=OTHER) is None
        assert await api.blob_status(blob_id=BlobId(bytes(32))) == b""

    scene.play(story)


def test_incomplete_blobs_are_paged(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        page = await api.list_incomplete(after=None, limit=2)
        assert page == IncompletePage(7, (IncompleteBlob(BLOB, True, 40), IncompleteBlob(OTHER, False, 1)), OTHER)
        assert await api.list_incomplete(after=page.next_after, limit=2) == IncompletePage(8, (), None)
        assert node.asked == [(None, 2), (OTHER, 2)]

    scene.play(story)


def test_six_megabytes_of_recovery_symbols_arrive(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        symbols = await api.read_recovery_symbols(
            epoch=EPOCH, blob_id=BLOB, target=SliverIndex(42), target_axis=Axis.SECONDARY, with_proofs=True
        )
        assert list(symbols) == [bytes([i]) * 60_000 for i in range(100)]
        assert node.asked == [(42, Axis.SECONDARY, True)]

    scene.play(story)


@pytest.mark.parametrize("size_bytes", [0, 1, 2_500_000])
def test_a_proof_of_a_wrong_encoding_is_attested(scene: Scene, node: MemoryNode, size_bytes: int) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        proof = bytes(i % 251 for i in range(size_bytes))
        upload = ProofUpload(size_bytes, chunks(proof[:1000], proof[1000:]))
        signed = await api.attest_inconsistency(epoch=EPOCH, blob_id=BLOB, axis=Axis.SECONDARY, proof=upload)
        assert signed == SignedMessage(message=b"it is wrong" + BLOB, signature=b"s" * 96)
        assert node.asked == [(Axis.SECONDARY, proof)]

    scene.play(story)


def test_an_owner_agrees_and_a_node_votes(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        consent = SignedMessage(message=b"consent", signature=b"e" * 64)
        await api.agree_to_protocol(consent=consent, public_key=b"k" * 32)
        signed = await api.sign_protocol_vote(epoch=EPOCH, version=8, start_epoch=1 << 31)
        assert signed == SignedMessage(message=b"it may begin", signature=b"s" * 96)
        assert node.asked == [(consent, b"k" * 32), (8, 1 << 31)]

    scene.play(story)


def test_many_calls_at_once_do_not_mix_up(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        blobs = [BlobId(bytes([i]) * 32) for i in range(20)]

        async def store(blob_id: BlobId) -> bytes:
            await api.store_metadata(epoch=EPOCH, blob_id=blob_id, metadata=bytes(blob_id) * 2)
            upload = SliverUpload(SliverPairIndex(blob_id[0]), Axis.PRIMARY, bytes(blob_id) * 40_000)
            await api.store_slivers(epoch=EPOCH, blob_id=blob_id, slivers=stream(upload))
            return await api.read_metadata(epoch=EPOCH, blob_id=blob_id)

        assert await asyncio.gather(*map(store, blobs)) == [bytes(blob_id) * 3 for blob_id in blobs]
        for blob_id in blobs:
            assert node.slivers[blob_id, SliverPairIndex(blob_id[0]), Axis.PRIMARY] == bytes(blob_id) * 40_000

    scene.play(story)


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (errors.InvalidField(field="targets", problem="two of them"), InvalidInput),
        (errors.WrongEpoch(request_epoch=3, server_epoch=7), Rejected),
        (MissingSlivers(blob_id="abc", missing=12), Rejected),
        (MetadataNotFound(blob_id="ébène"), NotFound),
        (errors.DiskFull(path="/data"), Unavailable),
        (errors.DeadlineExceeded(operation="something", timeout_ms=5), Unavailable),
        (NodeStopping(name="node-3"), Unavailable),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_errors_arrive_as_what_they_are(
    scene: Scene, node: MemoryNode, failure: HauloutError, kind: type[HauloutError]
) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        node.failure = failure
        calls = [
            api.holdings(epoch=EPOCH, blob_id=BLOB),
            api.store_and_confirm(
                epoch=EPOCH,
                blob_id=BLOB,
                object_id=None,
                metadata=b"m",
                slivers=[sliver(0, Axis.PRIMARY, 3)],
                wait_ms=0,
            ),
            api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(sliver(0, Axis.PRIMARY, 3_000_000))),
            anext(api.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=[(SliverPairIndex(0), Axis.PRIMARY)])),
        ]
        for call in calls:
            with pytest.raises(type(failure)) as caught:
                await call
            assert isinstance(caught.value, kind)
            assert caught.value.code == failure.code
            assert caught.value.details() == failure.details()
            assert str(caught.value) == str(failure)

    scene.play(story)


def test_the_same_code_of_two_kinds_stays_two_kinds(scene: Scene, node: MemoryNode) -> None:
    """METADATA_NOT_FOUND is a refusal where slivers come too early, and an absence where it is read."""

    async def story(api: StorageNodeApi, _: object) -> None:
        with pytest.raises(Rejected) as refused:
            await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(sliver(0, Axis.PRIMARY, 3)))
        with pytest.raises(NotFound) as absent:
            await api.read_metadata(epoch=EPOCH, blob_id=BLOB)
        assert refused.value.code == absent.value.code == "METADATA_NOT_FOUND"

    scene.play(story)


def test_every_request_carries_its_epoch(scene: Scene) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        target = (SliverPairIndex(0), Axis.PRIMARY)
        for call in (
            api.store_metadata(epoch=6, blob_id=BLOB, metadata=b"m"),
            api.store_slivers(epoch=6, blob_id=BLOB, slivers=stream()),
            api.holdings(epoch=6, blob_id=BLOB),
            api.confirm_blob(epoch=6, blob_id=BLOB, object_id=None, wait_ms=0),
            api.store_and_confirm(
                epoch=6, blob_id=BLOB, object_id=None, metadata=b"m", slivers=[sliver(0, Axis.PRIMARY, 3)], wait_ms=0
            ),
            api.read_metadata(epoch=6, blob_id=BLOB),
            anext(api.read_slivers(epoch=6, blob_id=BLOB, targets=[target])),
            api.read_recovery_symbols(
                epoch=6, blob_id=BLOB, target=SliverIndex(0), target_axis=Axis.PRIMARY, with_proofs=False
            ),
            api.attest_inconsistency(epoch=6, blob_id=BLOB, axis=Axis.PRIMARY, proof=ProofUpload(1, chunks(b"p"))),
            api.sign_protocol_vote(epoch=6, version=8, start_epoch=9),
        ):
            with pytest.raises(errors.WrongEpoch) as caught:
                await call
            assert (caught.value.request_epoch, caught.value.server_epoch) == (6, EPOCH)

    scene.play(story)


def test_the_first_refused_sliver_ends_the_upload_and_those_before_it_are_kept(scene: Scene, node: MemoryNode) -> None:
    closed = False

    async def many() -> AsyncIterator[SliverUpload]:
        nonlocal closed
        try:
            for pair in range(200):
                yield sliver(pair, Axis.PRIMARY, 600_000)
        finally:
            closed = True

    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        node.refuse_pair = 2
        with pytest.raises(NotRegistered) as caught:
            await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=many())
        assert caught.value.height == 12

    scene.play(story)
    assert node.taken == [(0, Axis.PRIMARY), (1, Axis.PRIMARY)]
    assert closed


def test_an_error_of_the_source_is_raised_and_ends_the_upload(scene: Scene, node: MemoryNode) -> None:
    class SourceBroke(Corrupt):
        code = "SOURCE_BROKE"

    async def breaking() -> AsyncIterator[SliverUpload]:
        yield sliver(0, Axis.PRIMARY, 2_000_000)
        yield sliver(1, Axis.PRIMARY, 2_000_000)
        await until(lambda: node.taken)  # a call that breaks before it has begun leaves no trace at the node
        raise SourceBroke

    async def story(api: StorageNodeApi, _: object) -> None:
        node.metadata[BLOB] = b"m"
        with pytest.raises(SourceBroke):
            await api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=breaking())
        await until(lambda: node.endings)

    scene.play(story)
    assert node.endings != []  # the node's call did not end as a whole upload


def test_an_address_where_nobody_listens_is_unavailable(scene: Scene) -> None:
    async def story(_: StorageNodeApi, opened: Any) -> None:
        nobody = opened.transport.connect("127.0.0.1:1")
        with pytest.raises(Unavailable):
            await nobody.health()
        with pytest.raises(Unavailable):
            await nobody.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=stream(sliver(0, Axis.PRIMARY, 9)))
        with pytest.raises(Unavailable):
            await anext(nobody.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=[(SliverPairIndex(0), Axis.PRIMARY)]))

    scene.play(story)


def test_a_node_that_vanishes_in_the_middle_of_an_answer_is_unavailable(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, opened: Any) -> None:
        for pair in range(3):
            node.slivers[BLOB, SliverPairIndex(pair), Axis.PRIMARY] = bytes(2_000_000)
        node.gate = asyncio.Event()
        targets = [(SliverPairIndex(pair), Axis.PRIMARY) for pair in range(3)]
        arriving = api.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=targets)
        reading = asyncio.ensure_future(anext(arriving))
        await until(lambda: node.waiting)
        await opened.cut()
        with pytest.raises(Unavailable):
            await reading

    scene.play(story)


def test_a_node_that_vanishes_in_the_middle_of_an_upload_is_unavailable(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, opened: Any) -> None:
        node.metadata[BLOB] = b"m"
        pulled = asyncio.Event()

        async def pausing() -> AsyncIterator[SliverUpload]:
            yield sliver(0, Axis.PRIMARY, 2_000_000)
            await pulled.wait()
            for pair in range(1, 50):
                yield sliver(pair, Axis.PRIMARY, 2_000_000)

        storing = asyncio.ensure_future(api.store_slivers(epoch=EPOCH, blob_id=BLOB, slivers=pausing()))
        await until(lambda: not storing.done())
        await asyncio.sleep(0.05)
        await opened.cut()
        pulled.set()
        with pytest.raises(Unavailable):
            await storing

    scene.play(story)


# --- ending early -------------------------------------------------------------------------------------------


def test_a_reader_that_stops_early_stops_the_node(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        for pair in range(60):
            node.slivers[BLOB, SliverPairIndex(pair), Axis.PRIMARY] = bytes(2_000_000)
        targets = [(SliverPairIndex(pair), Axis.PRIMARY) for pair in range(60)]
        arriving = api.read_slivers(epoch=EPOCH, blob_id=BLOB, targets=targets)
        assert (await anext(arriving)).pair_index == 0
        await arriving.aclose()  # type: ignore[attr-defined]
        await until(lambda: node.endings)

    scene.play(story)


def test_a_cancelled_call_is_cancelled_at_the_node(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, _: object) -> None:
        node.gate = asyncio.Event()
        calling = asyncio.ensure_future(api.confirm_blob(epoch=EPOCH, blob_id=BLOB, object_id=None, wait_ms=3_000))
        await until(lambda: node.waiting)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await until(lambda: node.endings)
        assert node.endings == ["CancelledError"]
        assert node.waiting == 0

    scene.play(story)


def test_a_closed_transport_is_unavailable_also_for_calls_under_way(scene: Scene, node: MemoryNode) -> None:
    async def story(api: StorageNodeApi, opened: Any) -> None:
        node.gate = asyncio.Event()
        calling = asyncio.ensure_future(api.confirm_blob(epoch=EPOCH, blob_id=BLOB, object_id=None, wait_ms=3_000))
        await until(lambda: node.waiting)
        await opened.transport.close()
        with pytest.raises(Unavailable):
            await calling
        with pytest.raises(Unavailable):
            await api.health()
        with pytest.raises(Unavailable):
            await opened.transport.connect(opened.address).health()

    scene.play(story)
