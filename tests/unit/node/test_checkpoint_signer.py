"""Checkpoints: what a node signs, what it never signs again, and what it believes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from haulout.chain.checkpoint import CertifiedCheckpoint, CheckpointSignature
from haulout.ledger.commands import AdvanceEpoch, Transfer
from haulout.replica.checkpoints import find_checkpoint
from haulout.world.memory_store import MemoryStore

BOB = b"\x05" * 32


class Recorder:
    """The world's ledger, with every signature that a node hands in; may hide what it knows of a node."""

    def __init__(self, ledger) -> None:
        self._ledger = ledger
        self.given: list[CheckpointSignature] = []
        self.wanted: int | None = None
        self.latest: CertifiedCheckpoint | None = None

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    async def attestation(self, **asked):
        answer = await self._ledger.attestation(**{**asked, "wait_ms": 0})
        if self.wanted is not None:
            answer = replace(answer, wanted_height=self.wanted)
        return answer if self.latest is None else replace(answer, latest=self.latest)

    async def attest(self, signature):
        self.given.append(signature)
        await self._ledger.attest(signature)


async def pass_time(world, ms: int) -> None:
    for _ in range(ms // 250):
        await world.clock.advance(250)


def watch(node) -> Recorder:
    signer = node.api.signer
    recorder = Recorder(signer._ledger)
    signer._ledger = recorder
    return recorder


async def test_blocks_that_all_nodes_executed_are_attested(world) -> None:
    runs = [asyncio.ensure_future(node.api.signer.run()) for node in world.nodes]
    await world.submit(Transfer(BOB, 5))
    await pass_time(world, 3_000)
    assert (await world.sequencer.status()).finality.attested == 1
    assert [node.api.signer.attested_height for node in world.nodes] == [1] * 5
    assert (await world.nodes[0].api.health()).attested_height == 1
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)


async def test_the_mark_is_durable_before_the_signature_is_given(world) -> None:
    node = world.nodes[0]
    recorder = watch(node)
    commits: list[tuple[bool, int]] = []
    inner = node.store.commit

    async def commit(writes, *, durable=True):
        commits.append((durable, len(recorder.given)))
        await inner(writes, durable=durable)

    node.store.commit = commit
    await world.submit(Transfer(BOB, 5))
    assert await node.api.signer._sign(1, None)
    assert commits == [(True, 0)]
    assert [given.checkpoint.height for given in recorder.given] == [1]


async def test_nothing_below_the_mark_is_signed_and_the_same_height_only_the_same(world) -> None:
    node = world.nodes[0]
    recorder = watch(node)
    await world.submit(Transfer(BOB, 5))
    await world.submit(Transfer(BOB, 6))
    signer = node.api.signer
    assert await signer._sign(2, None)
    assert await signer._sign(1, None)
    assert await signer._sign(2, None)
    assert [given.checkpoint.height for given in recorder.given] == [2, 2]
    assert recorder.given[0] == recorder.given[1]
    assert node.counter("checkpoint_refusals_total", reason="below_mark") == 1


async def test_a_disk_that_was_set_back_makes_the_node_silent(world) -> None:
    node = world.nodes[0]
    await world.submit(Transfer(BOB, 5))
    recorder = watch(node)
    await node.api.signer._sign(1, None)
    last = recorder.given[0]
    await node.kill()
    node.store = MemoryStore()  # another disk; the key and the replica are the old ones
    await node.start()
    recorder = watch(node)
    await world.submit(Transfer(BOB, 6))
    assert await node.api.signer._sign(2, last)
    assert recorder.given == []
    assert node.api.signer.is_barred
    assert node.counter("checkpoint_refusals_total", reason="set_back") == 1
    await node.kill()
    await node.start()  # a restart does not make it forget
    recorder = watch(node)
    assert await node.api.signer._sign(2, None)
    assert recorder.given == []


async def test_a_node_that_forgot_what_it_signed_never_signs_anything_new_of_that_epoch(world) -> None:
    """Not even when it may sign again, and is asked once more for the block that ended the epoch."""
    node = world.nodes[0]
    await world.submit(Transfer(BOB, 5))
    await world.submit(AdvanceEpoch(world.epoch))
    await world.submit(Transfer(BOB, 6))
    recorder = watch(node)
    for height in (2, 3):
        await node.api.signer._sign(height, None)
    end, head = recorder.given
    assert (end.checkpoint.epoch, head.checkpoint.epoch) == (world.epoch - 1, world.epoch)
    await node.kill()
    node.store = MemoryStore()
    await node.start()
    await node.api.signer._sign(3, head)
    assert node.api.signer.is_barred
    for other in world.nodes:
        await other.api.shard_sync.run_once()
    await world.settle()
    assert not node.api.signer.is_barred, "the epoch is Done"
    recorder = watch(node)
    assert await node.api.signer._sign(2, None)
    assert recorder.given == []
    assert await node.api.signer._sign(world.sequencer.head.height, None)
    assert len(recorder.given) == 1


async def test_a_ledger_cannot_silence_a_node_with_a_forged_signature(world) -> None:
    node = world.nodes[0]
    recorder = watch(node)
    await world.submit(Transfer(BOB, 5))
    checkpoint = find_checkpoint(node.replica.store, 1)
    forged = CheckpointSignature(node.secrets.node_id, replace(checkpoint, height=9), bytes(96))
    assert await node.api.signer._sign(1, forged)
    assert len(recorder.given) == 1
    assert node.counter("checkpoint_refusals_total", reason="forged") == 1


async def test_a_quorum_for_another_block_stops_the_node(world) -> None:
    node = world.nodes[0]
    await world.submit(Transfer(BOB, 5))
    own = find_checkpoint(node.replica.store, 1)
    other = replace(own, state_root=bytes(32))
    signatures = [world.scheme.sign(n.secrets.bls_secret, other.message()) for n in world.nodes]
    certified = CertifiedCheckpoint(other, world.scheme.aggregate(signatures), b"\x1f")
    assert await node.api.signer._learn(certified)
    assert node.replica.diverged is not None
    assert node.api.unready_reason() == "LEDGER_DIVERGED"


@pytest.mark.parametrize("bitmap", [b"\x01", b"\x1f"])
async def test_what_is_not_certified_is_not_believed(world, bitmap) -> None:
    node = world.nodes[0]
    await world.submit(Transfer(BOB, 5))
    own = find_checkpoint(node.replica.store, 1)
    signature = world.scheme.sign(node.secrets.bls_secret, own.message())
    assert await node.api.signer._learn(CertifiedCheckpoint(own, signature, bitmap))
    assert node.api.signer.attested_height == 0
    assert node.counter("checkpoint_refusals_total", reason="not_certified") == 1
    assert node.replica.diverged is None
