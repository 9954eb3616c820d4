"""A blob that its writer encoded wrongly is proven to be so, attested, invalid for all, and deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout import bcs, codec
from haulout.codec.inconsistency import NotInconsistent, WrongSymbolCount
from haulout.codec.metadata import InconsistencyProof, RecoverySymbol, SliverPairHashes
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, encode_blob
from haulout.crypto.messages import InvalidBlobId, parse
from haulout.errors import InvalidField, UndecodableBytes, WrongEpoch
from haulout.ledger import queries
from haulout.node.errors import InvalidBlob, NotRegistered
from haulout.node.inconsistency import whole_proof
from haulout.node.repair_plan import Way
from haulout.ports import ProofUpload, SignedMessage
from haulout.primitives import Axis
from haulout.sim.writers import contradict

EPOCH, N_SHARDS = 1, 10
DATA, OTHER = bytes(range(200)), bytes(reversed(range(200)))


@pytest.fixture(params=list(Way), ids=[way.value for way in Way])
def way(request, monkeypatch) -> Way:
    monkeypatch.setattr("haulout.node.blob_sync.plan_repair", lambda *_, **__: request.param)
    return request.param


async def store_as_it_is(world, blob: EncodedBlob, *indices: int) -> None:
    """Each sliver is true to its own hash, so nobody refuses anything."""
    object_id = await world.register(blob)
    await world.upload(blob, *indices)
    await world.certify(object_id, await world.confirm(blob.blob_id, None, *indices))


async def late_node(world, blob: EncodedBlob, *, index: int = 4):
    """A node that was away while the blob was stored, and is to complete it now."""
    node = world.nodes[index]
    await node.kill()
    await store_as_it_is(world, blob, *(i for i in range(5) if i != index))
    await node.start()
    await world.settle()
    await world.clock.advance(world.settings.repair_delay_ms)
    return node


def invalidated(world, blob: EncodedBlob) -> int | None:
    return queries.invalidated_epoch(world.sequencer.store.view, blob.blob_id)


def with_one_wrong_column(column: int) -> EncodedBlob:
    """A right blob but for one secondary sliver, which is that of another blob."""
    right, other = encode_blob(DATA, N_SHARDS), encode_blob(OTHER, N_SHARDS)
    pairs = list(right.metadata.pairs)
    pair = N_SHARDS - 1 - column
    pairs[pair] = SliverPairHashes(pairs[pair].primary, other.metadata.pairs[pair].secondary)
    metadata = replace(right.metadata, pairs=tuple(pairs))
    columns = memoryview(right.buffers.secondary).cast("B")
    size = len(columns) // N_SHARDS
    columns[column * size : (column + 1) * size] = memoryview(other.buffers.secondary).cast("B")[
        column * size : (column + 1) * size
    ]
    return EncodedBlob(metadata.blob_id(), metadata, right.buffers)


def with_padding_that_is_not_zero() -> EncodedBlob:
    whole = encode_blob(b"x" * 12 * 28, N_SHARDS)
    metadata = replace(whole.metadata, unencoded_length=12 * 28 - 5)
    assert metadata.symbol_size_bytes == whole.metadata.symbol_size_bytes
    return EncodedBlob(metadata.blob_id(), metadata, SliverBuffers(whole.buffers.primary, whole.buffers.secondary))


async def test_who_cannot_rebuild_proves_it_and_the_blob_is_gone_for_all(world, way) -> None:
    blob = contradict(DATA, OTHER, N_SHARDS)
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH
    assert node.counter("inconsistent_blobs_total") >= 1
    await world.clock.advance(world.settings.repair_backoff_ms)
    await node.api.blob_sync.run_once()
    for one in world.nodes:
        assert one.api.vault.tables.n_incomplete == 0
        with pytest.raises(InvalidBlob):
            await one.api.read_metadata(epoch=EPOCH, blob_id=blob.blob_id)
    await world.attest()
    await world.clock.advance(world.settings.garbage_delay_ms)
    for one in world.nodes:
        await one.api.garbage.collect_due()
        assert one.api.vault.held(blob.blob_id) == 0


async def test_one_wrong_column_is_proven_by_whoever_decodes(world, monkeypatch) -> None:
    monkeypatch.setattr("haulout.node.blob_sync.plan_repair", lambda *_, **__: Way.DECODE)
    blob = with_one_wrong_column(3)
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH


async def test_padding_that_is_not_zero_is_no_wrong_encoding_of_slivers(world, monkeypatch) -> None:
    monkeypatch.setattr("haulout.node.blob_sync.plan_repair", lambda *_, **__: Way.DECODE)
    blob = with_padding_that_is_not_zero()
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None
    assert node.api.vault.tables.n_incomplete == 0
    targets = [(upload.pair_index, upload.axis) for upload in world.uploads(blob, node)]
    found = [u async for u in node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)]
    assert found == world.uploads(blob, node)


async def test_too_few_who_attest_are_asked_again_later(world, way) -> None:
    blob = contradict(DATA, OTHER, N_SHARDS)
    node = await late_node(world, blob)
    refusing = []
    for other in world.nodes[:4]:
        refusing.append(other.api.attest_inconsistency)

        async def refuse(**_: object) -> SignedMessage:
            return SignedMessage(b"something else", bytes(32))

        other.api.attest_inconsistency = refuse
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None, "its own two shards are not f + 1"
    world.nodes[1].api.attest_inconsistency = refusing[1]
    await world.clock.advance(world.settings.repair_backoff_ms_max)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH


async def test_a_signature_that_does_not_verify_counts_for_nothing(world, way) -> None:
    blob = contradict(DATA, OTHER, N_SHARDS)
    node = await late_node(world, blob)
    for other in world.nodes[:4]:
        inner = other.api.attest_inconsistency

        async def forge(inner=inner, **asked: object) -> SignedMessage:
            return replace(await inner(**asked), signature=bytes(32))

        other.api.attest_inconsistency = forge
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None


def proof_of(blob: EncodedBlob, target: int, axis: Axis) -> InconsistencyProof:
    sources = (blob.sliver(axis.other, index) for index in range(N_SHARDS))
    symbols: list[RecoverySymbol] = [
        codec.recovery_symbol(blob.metadata, axis.other, source, target) for source in sources
    ]
    return codec.build_inconsistency_proof(blob.metadata, symbols, target, axis)


class TestAttesting:
    @pytest.mark.parametrize("axis", list(Axis))
    async def test_a_proof_is_checked_and_signed(self, world, axis: Axis) -> None:
        blob = contradict(DATA, OTHER, N_SHARDS)
        await store_as_it_is(world, blob, *range(5))
        node = world.nodes[2]
        signed = await node.api.attest_inconsistency(
            epoch=EPOCH, blob_id=blob.blob_id, axis=axis, proof=whole_proof(bcs.encode(proof_of(blob, 4, axis)))()
        )
        assert parse(signed.message).body == InvalidBlobId(blob.blob_id)
        public_key = world.scheme.public_key(node.secrets.bls_secret)
        assert world.scheme.verify(public_key, signed.message, signed.signature)

    async def test_what_proves_nothing_is_not_signed(self, world) -> None:
        right, _ = await world.store(DATA)
        wrong = contradict(DATA, OTHER, N_SHARDS)
        node = world.nodes[2].api
        proof = proof_of(right, 4, Axis.PRIMARY)
        asked = {"epoch": EPOCH, "blob_id": right.blob_id, "axis": Axis.PRIMARY}
        with pytest.raises(NotInconsistent):
            await node.attest_inconsistency(**asked, proof=whole_proof(bcs.encode(proof))())
        with pytest.raises(WrongSymbolCount):
            short = replace(proof, symbols=proof.symbols[1:])
            await node.attest_inconsistency(**asked, proof=whole_proof(bcs.encode(short))())
        with pytest.raises(UndecodableBytes):
            await node.attest_inconsistency(**asked, proof=whole_proof(b"\x01")())
        with pytest.raises(InvalidField, match="announced"):
            await node.attest_inconsistency(**asked, proof=ProofUpload(9, whole_proof(b"only 8 b")().chunks))
        with pytest.raises(InvalidField, match="at most"):
            await node.attest_inconsistency(**asked, proof=whole_proof(bytes(1 << 20))())
        with pytest.raises(WrongEpoch):
            await node.attest_inconsistency(**{**asked, "epoch": EPOCH + 1}, proof=whole_proof(bcs.encode(proof))())
        with pytest.raises(NotRegistered):
            await node.attest_inconsistency(
                **{**asked, "blob_id": wrong.blob_id}, proof=whole_proof(bcs.encode(proof_of(wrong, 4, Axis.PRIMARY)))()
            )
