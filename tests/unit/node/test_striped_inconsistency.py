"""A wrongly encoded blob in stripes: proven by whoever cannot rebuild it, attested, invalid for all, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from haulout import codec
from haulout.codec import EncodedBlob, SliverPairHashes, sizes
from haulout.codec.errors import ProofMismatch
from haulout.codec.red_stuff import SliverBuffers
from haulout.crypto.messages import InvalidBlobId, parse
from haulout.errors import InvalidField, Unreachable
from haulout.ledger import queries
from haulout.node.errors import InvalidBlob
from haulout.node.inconsistency import whole_proof
from haulout.ports import ProofUpload
from haulout.primitives import Axis, EncodingType, pair_of_shard

EPOCH, N_SHARDS, SYMBOL = 1, 10, 64
STRIPE = 4 * 7 * SYMBOL
SIZE = 9 * STRIPE + 700
AXES = tuple(Axis)


@pytest.fixture(scope="module", autouse=True)
def small_stripes() -> Iterator[None]:
    """Stripes and segments of a few hundred bytes, so that some of them take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "RS8_SYMBOL_BYTES_MAX", SYMBOL)
        patch.setattr(sizes, "SEGMENT_BYTES", 4 * 7 * SYMBOL)
        yield


def encode(seed: int, size_bytes: int = SIZE) -> EncodedBlob:
    data = np.random.default_rng(seed).integers(0, 256, size_bytes, dtype=np.uint8).tobytes()
    return codec.encode_blob(data, N_SHARDS, encoding=EncodingType.RS8)


def contradict() -> EncodedBlob:
    """The rows of one blob with the columns of another."""
    rows, columns = encode(1), encode(2)
    pairs = tuple(
        SliverPairHashes(row.primary, column.secondary)
        for row, column in zip(rows.metadata.pairs, columns.metadata.pairs, strict=True)
    )
    metadata = replace(rows.metadata, pairs=pairs)
    return EncodedBlob(metadata.blob_id(), metadata, SliverBuffers(rows.buffers.primary, columns.buffers.secondary))


def with_foreign_row(row: int) -> EncodedBlob:
    """A right blob but for one primary sliver, which is that of another blob."""
    right, other = encode(1), encode(2)
    pairs = list(right.metadata.pairs)
    pairs[row] = SliverPairHashes(other.metadata.pairs[row].primary, pairs[row].secondary)
    metadata = replace(right.metadata, pairs=tuple(pairs))
    rows = memoryview(right.buffers.primary).cast("B")
    rows[row * len(rows) // N_SHARDS : (row + 1) * len(rows) // N_SHARDS] = memoryview(other.buffers.primary).cast("B")[
        row * len(rows) // N_SHARDS : (row + 1) * len(rows) // N_SHARDS
    ]
    return EncodedBlob(metadata.blob_id(), metadata, right.buffers)


def with_padding_that_is_not_zero() -> EncodedBlob:
    whole = encode(1, 2 * STRIPE)
    metadata = replace(whole.metadata, unencoded_length=2 * STRIPE - 5)
    assert metadata.symbol_size_bytes == whole.metadata.symbol_size_bytes
    return EncodedBlob(metadata.blob_id(), metadata, whole.buffers)


async def late_node(world, blob: EncodedBlob, *, index: int = 4):
    """A node that was away while the blob was stored, each sliver true to its own hash, and is to complete it now."""
    node = world.nodes[index]
    shards = node.shards()
    others = [i for i in range(5) if i != index]
    await node.kill()
    object_id = await world.register(blob)
    await world.upload(blob, *others)
    await world.certify(object_id, await world.confirm(blob.blob_id, None, *others))
    await node.start()
    await world.settle()
    await world.clock.advance(world.settings.repair_delay_ms)
    assert node.shards() == shards
    return node


def invalidated(world, blob: EncodedBlob) -> int | None:
    return queries.invalidated_epoch(world.sequencer.store.view, blob.blob_id)


async def test_who_cannot_rebuild_proves_it_and_the_blob_is_gone_for_all(world) -> None:
    blob = contradict()
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH
    assert node.counter("inconsistent_blobs_total") == 1
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
        assert not one.api.vault.slivers.pieces.segments_held(blob.blob_id)


async def test_a_row_that_no_column_agrees_with_is_proven_from_the_columns(world) -> None:
    """Whoever has it believes it; its owner lost it, and the others' rows give another one."""
    for row in range(N_SHARDS):
        blob = with_foreign_row(row)
        if row in {pair_of_shard(shard, blob.blob_id, N_SHARDS) for shard in world.nodes[4].shards()}:
            break
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH


async def test_padding_that_is_not_zero_is_kept_as_the_metadata_has_it(world) -> None:
    blob = with_padding_that_is_not_zero()
    node = await late_node(world, blob)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None
    assert node.api.vault.tables.n_incomplete == 0
    targets = [(pair_of_shard(shard, blob.blob_id, N_SHARDS), axis) for shard in node.shards() for axis in AXES]
    found = [u async for u in node.api.read_slivers(epoch=EPOCH, blob_id=blob.blob_id, targets=targets)]
    assert {(u.pair_index, u.axis, u.first_stripe): u.bcs for u in found} == {
        (u.pair_index, u.axis, u.first_stripe): u.bcs for u in world.uploads(blob, node)
    }


async def test_rows_that_went_away_are_asked_again_later(world) -> None:
    blob = contradict()
    node = await late_node(world, blob)
    gone = {other.address for other in world.nodes[:3]}  # two of ten rows are left, and four are needed
    world.transport.dead |= gone
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None
    assert node.api.vault.tables.n_incomplete == 1
    world.transport.dead -= gone
    await world.clock.advance(world.settings.peer_backoff_ms_max)
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) == EPOCH


async def test_only_a_whole_proof_is_signed(world) -> None:
    blob = contradict()
    node = await late_node(world, blob)
    asked: list[tuple[Axis, bytes]] = []

    async def note(*, axis: Axis, proof: ProofUpload, **_: object) -> None:
        asked.append((axis, b"".join([chunk async for chunk in proof.chunks])))
        raise Unreachable(peer="a member", problem="it only takes notes")

    witness = world.nodes[2]
    attest = witness.api.attest_inconsistency
    for other in world.nodes[:4]:
        other.api.attest_inconsistency = note
    await node.api.blob_sync.run_once()
    await world.settle()
    assert invalidated(world, blob) is None, "its own two shards are not f + 1"
    axis, raw = asked[0]
    about = {"epoch": EPOCH, "blob_id": blob.blob_id, "axis": axis}
    for wrong in (raw[:-1], raw + b"x"):
        with pytest.raises(InvalidField, match="a proof about this blob has"):
            await attest(**about, proof=whole_proof(wrong)())
    with pytest.raises(InvalidField, match="it ends within"):
        await attest(**about, proof=ProofUpload(len(raw), whole_proof(raw[:-1])().chunks))
    with pytest.raises(ProofMismatch):
        await attest(**about, proof=whole_proof(raw[:-1] + bytes([raw[-1] ^ 1]))())
    signed = await attest(**about, proof=whole_proof(raw)())
    assert parse(signed.message).body == InvalidBlobId(blob.blob_id)
    public_key = world.scheme.public_key(witness.secrets.bls_secret)
    assert world.scheme.verify(public_key, signed.message, signed.signature)
