"""Shards change owner: pulled, verified, rebuilt where that fails, reported when complete, and only then deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from haulout.client.view import LedgerView, ReplicaSource
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.messages import SyncShardsRequest, parse, sync_shard_request, sync_shards_request
from haulout.errors import InvalidField, Unreachable, WrongEpoch
from haulout.ledger import queries
from haulout.ledger.commands import AdvanceEpoch, ForceDone, ReportSyncDone, Stake
from haulout.ledger.state import Phase
from haulout.node.errors import ShardSyncForbidden
from haulout.node.repair_plan import Way
from haulout.ports import SignedMessage, SyncedSliver
from haulout.primitives import Axis, BlobId, max_faulty, pair_of_shard
from tests.unit.node.conftest import N_SHARDS, SETTINGS, World

FIRST = bytes(32)


async def move_shards(world, gainer: int = 0) -> None:
    """A stake that makes one node gain shards, and the epoch that follows."""
    await world.submit(Stake(world.nodes[gainer].secrets.node_id, 10**12))
    await world.submit(AdvanceEpoch(world.epoch))


async def sync_all(world, *, rounds: int = 1) -> None:
    for _ in range(rounds):
        for node in world.nodes:
            if node.tasks:
                await node.api.shard_sync.run_once()
                await node.api.blob_sync.run_once()
        await world.settle()


def view_of(world):
    return world.sequencer.store.view


def open_moves(world) -> list[tuple[int, bytes, bytes]]:
    return [(r.shard_index, r.from_node, r.to_node) for r in queries.open_hand_overs(view_of(world))]


def node_of(world, node_id: bytes):
    return next(node for node in world.nodes if node.secrets.node_id == node_id)


@pytest.fixture
async def moved(world):
    """Blobs, and shards on their way to node-0."""
    world.blobs = [(await world.store(b"%d" % i * 300))[0] for i in range(6)]
    await move_shards(world)
    world.moves = open_moves(world)
    assert world.moves
    assert {to for _, _, to in world.moves} == {world.nodes[0].secrets.node_id}
    return world


async def test_a_gainer_pulls_reports_and_the_epoch_is_done(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    assert gainer.api.vault.duty().gaining == tuple(shard for shard, _, _ in world.moves)
    assert queries.phase(view_of(world)) is Phase.SYNC
    await sync_all(world)
    assert queries.phase(view_of(world)) is Phase.DONE
    assert open_moves(world) == []
    assert gainer.counter("sync_done_reports_total") == 1
    duty = gainer.api.vault.duty()
    for blob in world.blobs:
        held = gainer.api.vault.slivers.held_mask(blob.blob_id, durable_only=True)
        assert held & duty.mask == duty.mask
    assert gainer.counter("shard_sync_slivers_total") == 2 * len(world.moves) * len(world.blobs)
    assert gainer.counter("repair_received_bytes_total") == 0
    assert gainer.api.vault.tables.n_incomplete == 0
    progress = gainer.api.vault.progress
    expected = sum(blob.metadata.sliver_size_bytes(axis) for blob in world.blobs for axis in Axis) * len(world.moves)
    assert progress.moved_bytes == progress.moving_bytes == expected


async def test_a_giver_serves_what_it_gave_until_the_hand_over_is_attested_and_then_lets_go(moved) -> None:
    world = moved
    shard, from_node, _ = world.moves[0]
    giver = node_of(world, from_node)
    blob = world.blobs[0]
    pair = (shard - int.from_bytes(blob.blob_id, "big")) % 10
    targets = [(pair, Axis.PRIMARY)]
    assert shard in giver.api.vault.duty().giving

    async def read() -> int:
        return len([u async for u in giver.api.read_slivers(epoch=world.epoch, blob_id=blob.blob_id, targets=targets)])

    await world.attest()
    assert await giver.api.garbage.drop_shards() == 0
    assert await read() == 1
    await sync_all(world)
    assert await giver.api.garbage.drop_shards() == 0, "its being done is not attested yet"
    assert await read() == 1
    await world.attest()
    assert await giver.api.garbage.drop_shards() == len([m for m in world.moves if m[1] == from_node])
    assert giver.api.vault.slivers.drop_shard_page(shard) == []
    duty = giver.api.vault.duty()
    assert giver.api.vault.held(blob.blob_id) == duty.mask


async def test_a_giver_does_not_let_go_on_the_word_of_its_taker_alone(moved) -> None:
    """A taker that lies is one of few: what it does not have is elsewhere once a quorum has said that it has its own,
    be it after a forced Done."""
    world, liar = moved, moved.nodes[0]
    giver = node_of(world, world.moves[0][1])
    shards = tuple(shard for shard, _, _ in world.moves)
    report = ReportSyncDone(liar.secrets.node_id, world.epoch, shards)
    await liar.api.shard_sync._wallet.execute([report])
    await world.settle()
    assert open_moves(world) == []
    await world.attest()
    assert await giver.api.garbage.drop_shards() == 0
    await world.submit(ForceDone(world.epoch))
    assert queries.phase(view_of(world)) is Phase.DONE
    await world.attest()
    assert await giver.api.garbage.drop_shards() == 0
    standing = await LedgerView(ReplicaSource(giver.replica)).standing(giver.secrets.node_id)
    assert standing.n_giving == len([m for m in world.moves if m[1] == giver.secrets.node_id])
    await sync_all(world)
    assert queries.is_settled(view_of(world))
    await world.attest()
    assert await giver.api.garbage.drop_shards() == standing.n_giving
    standing = await LedgerView(ReplicaSource(giver.replica)).standing(giver.secrets.node_id)
    assert standing.n_giving == 0


async def test_without_its_giver_a_shard_is_rebuilt_from_the_others(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    giver = node_of(world, world.moves[0][1])
    await giver.kill()

    async def run() -> None:
        await gainer.api.shard_sync.run_once()

    running = asyncio.ensure_future(run())
    for _ in range(200):
        await world.clock.advance(1_000)
        if running.done():
            break
    await running
    assert gainer.api.vault.duty().gaining, "not complete yet"
    for _ in range(20):
        await gainer.api.blob_sync.run_once()
        await world.clock.advance(5_000)
    await gainer.api.shard_sync.run_once()
    await world.settle()
    assert gainer.api.vault.duty().gaining == ()
    assert gainer.counter("repair_received_bytes_total") > 0
    for blob in world.blobs:
        assert gainer.api.vault.slivers.held_mask(blob.blob_id, durable_only=True) & gainer.api.vault.duty().mask


async def test_nothing_is_reported_while_one_sliver_is_missing(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    shard = gainer.api.vault.duty().gaining[0]
    sync = gainer.api.shard_sync
    blob_sync = gainer.api.blob_sync
    await sync._enrol(gainer.api.vault.duty())
    await sync._pull_all(gainer.api.vault.duty())
    await gainer.api.vault.slivers.discard_sliver(world.blobs[3].blob_id, shard, Axis.SECONDARY)
    await sync._report()
    assert gainer.counter("sync_done_reports_total") == 0
    assert gainer.api.vault.tables.is_incomplete(world.blobs[3].blob_id)
    await blob_sync.run_once()
    await sync._report()
    assert gainer.counter("sync_done_reports_total") == 1


async def test_a_liar_is_not_believed_and_what_it_owes_is_rebuilt(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    giver = node_of(world, world.moves[0][1])
    inner = giver.api.sync_shards

    async def lying(**asked):
        async for synced in inner(**asked):
            bcs = bytearray(synced.upload.bcs)
            bcs[2] ^= 1
            yield SyncedSliver(synced.blob_id, replace(synced.upload, bcs=bytes(bcs)))

    giver.api.sync_shards = lying
    await gainer.api.shard_sync.run_once()
    assert gainer.counter("peer_lies_total", node=giver.secrets.name) == 1
    assert gainer.api.vault.duty().gaining
    await gainer.api.blob_sync.run_once()
    await gainer.api.shard_sync.run_once()
    await world.settle()
    assert gainer.api.vault.duty().gaining == ()


async def test_symbols_of_a_shard_come_from_whoever_it_goes_to_when_its_giver_has_none(moved, monkeypatch) -> None:
    """A primary sliver takes n - f symbols: with f shards away, those of the shard on its way are needed too."""
    monkeypatch.setattr("haulout.node.blob_sync.plan_repair", lambda *_, **__: Way.SYMBOLS)
    world, taker = moved, moved.nodes[0]
    duty = taker.api.vault.duty()
    await taker.api.shard_sync._enrol(duty)
    await taker.api.shard_sync._pull_all(duty)
    await taker.api.blob_sync.run_once()
    away = [node_of(world, world.moves[0][1])]
    away += [node for node in world.nodes[1:] if node not in away and len(node.shards()) == 2][:1]
    assert sum(len(node.shards()) for node in away) == max_faulty(N_SHARDS), "no more are lost than may be"
    for node in away:
        await node.kill()

    mender = next(node for node in world.nodes[1:] if node not in away)
    blob_id = world.blobs[0].blob_id
    shard_index = mender.shards()[0]
    await mender.api.vault.slivers.discard_sliver(blob_id, shard_index, Axis.PRIMARY)
    await mender.api.vault.tables.add_all_incomplete([blob_id])
    await mender.api.blob_sync.run_once()
    assert mender.api.vault.tables.n_incomplete == 0
    pair = pair_of_shard(shard_index, blob_id, N_SHARDS)
    rebuilt = await mender.api.vault.sliver(blob_id, shard_index, Axis.PRIMARY)
    assert bytes(rebuilt) == world.sliver(world.blobs[0], pair, Axis.PRIMARY)


async def test_a_right_sliver_under_the_name_of_another_is_a_lie(moved) -> None:
    """It matches its own hash, and would stand where another belongs."""
    world, gainer = moved, moved.nodes[0]
    giver = node_of(world, world.moves[0][1])
    inner = giver.api.sync_shards
    wrong = giver.shards()[-1]  # not on its way

    async def lying(**asked):
        async for synced in inner(**asked):
            pair = pair_of_shard(wrong, synced.blob_id, N_SHARDS)
            other = next(upload for upload in world.uploads(blobs[synced.blob_id], giver) if upload.pair_index == pair)
            named = replace(other, pair_index=synced.upload.pair_index)
            yield SyncedSliver(synced.blob_id, named if synced.upload.axis is other.axis else synced.upload)

    blobs = {blob.blob_id: blob for blob in world.blobs}
    giver.api.sync_shards = lying
    await gainer.api.shard_sync.run_once()
    assert gainer.counter("peer_lies_total", node=giver.secrets.name) == 1
    await gainer.api.blob_sync.run_once()
    await gainer.api.shard_sync.run_once()
    await world.settle()
    assert gainer.api.vault.duty().gaining == ()
    for blob in world.blobs:
        for shard_index in gainer.api.vault.duty().shards:
            pair = pair_of_shard(shard_index, blob.blob_id, N_SHARDS)
            for axis in Axis:
                stored = await gainer.api.vault.sliver(blob.blob_id, shard_index, axis)
                assert bytes(stored) == world.sliver(blob, pair, axis)


async def test_a_giver_that_sends_for_ever_what_nobody_wants_is_given_up(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    giver = node_of(world, world.moves[0][1])
    piece = world.uploads(world.blobs[0], giver)[0]

    async def endless(**_):
        for number in range(1, 1 << 64):
            await world.clock.sleep_ms(1_000)
            yield SyncedSliver(BlobId(number.to_bytes(32, "big")), piece)

    giver.api.sync_shards = endless
    pulling = asyncio.ensure_future(gainer.api.shard_sync.run_once())
    for _ in range(2 * SETTINGS.sync_patience_ms // 1_000):
        await world.clock.advance(1_000)
    assert pulling.done(), "its stream alone would never end"
    await pulling
    assert gainer.counter("peer_failures_total", node=giver.secrets.name) == 1
    await gainer.api.blob_sync.run_once()
    await gainer.api.shard_sync.run_once()
    await world.settle()
    assert gainer.api.vault.duty().gaining == ()


async def test_a_pull_that_is_cut_off_goes_on_where_it_was(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    asked_from: list[bytes] = []
    for _, from_node, _ in world.moves:
        giver = node_of(world, from_node)
        inner = type(giver.api).sync_shards.__get__(giver.api)
        cuts = [True]

        def cutting(inner=inner, cuts=cuts, **asked):
            async def stream():

                asked_from.append(parse(asked["requests"][0].message).body.starting_blob_id)
                n = 0
                async for synced in inner(**asked):
                    yield synced
                    n += 1
                    if cuts and n == 8:
                        cuts.pop()
                        raise Unreachable(peer="giver", problem="cut off")

            return stream()

        giver.api.sync_shards = cutting
    gainer.api.shard_sync._settings = replace(world.settings, sync_slivers=2)
    running = asyncio.ensure_future(gainer.api.shard_sync.run_once())
    while not running.done():
        await world.clock.advance(1_000)
    await running
    assert gainer.api.vault.duty().gaining == ()
    givers = {from_node for _, from_node, _ in world.moves}
    assert asked_from.count(FIRST) == len(givers), "no giver was asked from the beginning twice"


async def test_a_limit_on_bytes_holds_for_all_that_come_at_once() -> None:
    limit = 500  # bytes a second
    world = await World(replace(SETTINGS, sync_bytes_per_s=limit)).start()
    try:
        for i in range(6):
            await world.store(b"%d" % i * 300)
        await move_shards(world)
        gainer = world.nodes[0]
        started_ms = world.clock.now_ms()
        pulling = asyncio.ensure_future(gainer.api.shard_sync.run_once())
        while not pulling.done():
            await world.clock.advance(100)
        await pulling
        took_ms = world.clock.now_ms() - started_ms
        due_ms = 1000 * gainer.counter("shard_sync_received_bytes_total") / limit
        assert due_ms <= took_ms <= 1.2 * due_ms + 500
    finally:
        await world.stop()


async def test_a_restart_in_mid_sync_goes_on(moved) -> None:
    world, gainer = moved, moved.nodes[0]
    duty = gainer.api.vault.duty()
    await gainer.api.shard_sync._enrol(duty)
    assert gainer.api.vault.tables.n_incomplete == 6
    await gainer.kill()
    await gainer.start()
    await world.settle()
    await gainer.api.shard_sync.run_once()
    await world.settle()
    assert gainer.api.vault.duty().gaining == ()
    assert gainer.api.vault.tables.n_incomplete == 0


async def test_new_blobs_are_stored_on_the_new_owners_at_once(moved) -> None:
    world = moved
    blob, _ = await world.store(b"in the middle of it")
    gainer = world.nodes[0]
    assert gainer.api.vault.held(blob.blob_id) == gainer.api.vault.duty().mask
    await sync_all(world)
    assert queries.phase(view_of(world)) is Phase.DONE


class TestRequests:
    def sign(self, world, node, shard: int, *, epoch: int | None = None, start: bytes = FIRST, count: int = 10, axis=0):
        epoch = world.epoch if epoch is None else epoch
        message = sync_shard_request(
            epoch, shard_index=shard, axis=Axis(axis), starting_blob_id=start, sliver_count=count
        )
        return SignedMessage(message, KeyedHash().sign(node.secrets.bls_secret, message))

    async def ask(self, giver, node, *requests):
        key = KeyedHash().public_key(node.secrets.bls_secret)
        return [synced async for synced in giver.api.sync_shards(public_key=key, requests=requests)]

    async def test_the_new_owner_gets_its_shard_in_order_and_no_more_than_it_asked_for(self, moved) -> None:
        shard, from_node, _ = moved.moves[0]
        giver, gainer = node_of(moved, from_node), moved.nodes[0]
        found = await self.ask(giver, gainer, self.sign(moved, gainer, shard, count=4))
        ids = [synced.blob_id for synced in found]
        assert ids == sorted(blob.blob_id for blob in moved.blobs)[:4]
        rest = await self.ask(giver, gainer, self.sign(moved, gainer, shard, start=ids[-1]))
        assert [synced.blob_id for synced in rest] == sorted(blob.blob_id for blob in moved.blobs)[3:]
        assert {synced.upload.axis for synced in rest} == {Axis.PRIMARY}

    def sign_many(self, world, node, shards, *, start: bytes = FIRST, count: int = 10, chain_id: bytes | None = None):
        chain_id = chain_id or world.nodes[0].replica.head.chain_id
        message = sync_shards_request(
            world.epoch, chain_id=chain_id, shards=shards, starting_blob_id=start, blob_count=count
        )
        return SignedMessage(message, KeyedHash().sign(node.secrets.bls_secret, message))

    async def test_one_signature_asks_for_both_axes_of_many_shards(self, moved) -> None:
        from_node = moved.moves[0][1]
        shards = [shard for shard, giver, _ in moved.moves if giver == from_node]
        giver, gainer = node_of(moved, from_node), moved.nodes[0]
        at_once = await self.ask(giver, gainer, self.sign_many(moved, gainer, shards, count=3))
        each = [self.sign(moved, gainer, shard, axis=axis, count=3) for shard in shards for axis in Axis]
        assert at_once == await self.ask(giver, gainer, *each)
        assert len(at_once) == 3 * 2 * len(shards)

    async def test_one_request_for_many_shards_is_checked_as_the_others_are(self, moved) -> None:
        shard, from_node, _ = moved.moves[0]
        giver, gainer = node_of(moved, from_node), moved.nodes[0]
        other = next(node for node in moved.nodes[1:] if node is not giver)
        not_moving = next(s for s in range(10) if s not in {shard for shard, _, _ in moved.moves})
        for node, shards, signer in ((other, [shard], other), (gainer, [shard], other)):
            with pytest.raises(ShardSyncForbidden):
                await self.ask(giver, node, self.sign_many(moved, signer, shards))
        if not_moving not in gainer.api.vault.duty().shards:
            with pytest.raises(ShardSyncForbidden):
                await self.ask(giver, gainer, self.sign_many(moved, gainer, [shard, not_moving]))
        one = self.sign_many(moved, gainer, [shard])
        for requests in (
            [one, one],
            [one, self.sign(moved, gainer, shard)],
            [self.sign_many(moved, gainer, [])],
            [self.sign_many(moved, gainer, [shard, 10])],
            [self.sign_many(moved, gainer, [shard], count=0)],
            [self.sign_many(moved, gainer, [shard], chain_id=bytes(32))],
        ):
            with pytest.raises(InvalidField):
                await self.ask(giver, gainer, *requests)

    async def test_a_giver_of_an_earlier_release_is_asked_as_it_knows_it(self, moved) -> None:
        gainer = moved.nodes[0]
        for node in moved.nodes[1:]:

            def old(inner=node.api.sync_shards, **asked):
                if any(isinstance(parse(request.message).body, SyncShardsRequest) for request in asked["requests"]):
                    raise InvalidField(field="message", problem="unknown intent")
                return inner(**asked)

            node.api.sync_shards = old
        await sync_all(moved)
        assert gainer.api.vault.duty().gaining == ()
        assert gainer.counter("repair_received_bytes_total") == 0

    async def test_others_and_forgers_get_nothing(self, moved) -> None:
        shard, from_node, _ = moved.moves[0]
        giver, gainer = node_of(moved, from_node), moved.nodes[0]
        other = next(node for node in moved.nodes[1:] if node is not giver)
        with pytest.raises(ShardSyncForbidden):
            await self.ask(giver, other, self.sign(moved, other, shard))
        with pytest.raises(ShardSyncForbidden):
            await self.ask(giver, gainer, self.sign(moved, other, shard))

    async def test_requests_must_be_alike_and_of_this_epoch(self, moved) -> None:
        shard, from_node, _ = moved.moves[0]
        giver, gainer = node_of(moved, from_node), moved.nodes[0]
        with pytest.raises(WrongEpoch):
            await self.ask(giver, gainer, self.sign(moved, gainer, shard, epoch=1))
        unlike = [self.sign(moved, gainer, shard), self.sign(moved, gainer, shard, axis=1, count=11)]
        for requests in (unlike, [self.sign(moved, gainer, 10)], [self.sign(moved, gainer, shard, count=0)], []):
            with pytest.raises(InvalidField):
                await self.ask(giver, gainer, *requests)
