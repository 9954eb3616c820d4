"""Which height the nodes are asked to sign, and for how long."""

from __future__ import annotations

from haulout.chain.checkpoint import CheckpointSignature
from haulout.ledger import queries
from haulout.ledger.commands import ChangeEpoch, EndVoting
from haulout.primitives import min_correct
from haulout.replica.checkpoints import find_checkpoint
from haulout.sequencer.attestation import INTERVAL_MS, PATIENCE_MS_MAX
from tests.town import EPOCH_MS


async def attest(ledger, town) -> int:
    """Have all nodes sign what is wanted; its height."""
    height = (await ledger.attestation()).wanted_height
    await sign(ledger, town, height, town.nodes)
    return height


async def sign(ledger, town, height: int, nodes) -> None:
    checkpoint = find_checkpoint(ledger.store, height)
    for node in nodes:
        signature = town.scheme.sign(node.bls_secret, checkpoint.message())
        await ledger.attest(CheckpointSignature(node.node_id, checkpoint, signature))


async def next_epoch(ledger, town) -> int:
    """The block that begins it."""
    epoch = queries.system(ledger.store.view).epoch
    for command in (EndVoting(epoch), ChangeEpoch(epoch)):
        town.clock.time_ms += EPOCH_MS // 2
        await ledger.submit(town.signed("alice", command), wait_ms=5_000)
    assert queries.system(ledger.store.view).epoch == epoch + 1
    return ledger.head.height


async def test_a_node_learns_what_is_certified_with_the_next_height_to_sign(ledger, town) -> None:
    await ledger.submit(town.transfer(), wait_ms=5_000)
    assert await attest(ledger, town) == 1
    await ledger.submit(town.transfer(), wait_ms=5_000)
    began_ms = town.clock.time_ms
    told = await ledger.attestation(node_id=town.nodes[0].node_id, wanted=1, attested=0, wait_ms=5_000)
    assert (told.wanted_height, told.latest.checkpoint.height) == (2, 1)
    assert town.clock.time_ms - began_ms == INTERVAL_MS


async def test_a_node_of_a_quiet_ledger_learns_what_is_certified_when_the_interval_is_over(ledger, town) -> None:
    await ledger.submit(town.transfer(), wait_ms=5_000)
    await attest(ledger, town)
    began_ms = town.clock.time_ms
    told = await ledger.attestation(node_id=town.nodes[0].node_id, wanted=1, attested=0, wait_ms=5_000)
    assert (told.wanted_height, told.latest.checkpoint.height) == (0, 1)
    assert town.clock.time_ms - began_ms == INTERVAL_MS


async def test_who_signs_nothing_learns_what_is_certified_at_once_and_nothing_else(ledger, town) -> None:
    await ledger.submit(town.transfer(), wait_ms=5_000)
    began_ms = town.clock.time_ms
    told = await ledger.attestation(wait_ms=100)
    assert (told.wanted_height, told.latest, town.clock.time_ms - began_ms) == (1, None, 100)
    await attest(ledger, town)
    told = await ledger.attestation(wanted=1, attested=0, wait_ms=5_000)
    assert (told.latest.checkpoint.height, town.clock.time_ms - began_ms) == (1, 100)


async def test_a_height_that_finds_no_quorum_gives_way_and_the_next_one_gets_longer(ledger, town) -> None:
    async def wanted() -> int:
        return (await ledger.attestation()).wanted_height

    for height in (1, 2, 3):
        await ledger.submit(town.transfer(), wait_ms=5_000)
        assert ledger.head.height == height
        assert await wanted() == 1, "it is kept to"
    town.clock.time_ms += 3_000
    assert await wanted() == 3
    await ledger.submit(town.transfer(), wait_ms=5_000)
    town.clock.time_ms += 3_000
    assert await wanted() == 3
    town.clock.time_ms += 3_000
    assert await wanted() == 4


async def test_a_height_that_was_given_up_is_taken_up_again_when_there_is_nothing_newer(ledger, town) -> None:
    await ledger.submit(town.transfer(), wait_ms=5_000)
    assert (await ledger.attestation()).wanted_height == 1
    town.clock.time_ms += 3_000
    assert (await ledger.attestation()).wanted_height == 1


async def test_the_shards_behind_the_last_checkpoint_are_told_and_those_behind_one_that_was_given_up(
    ledger, town
) -> None:
    async def signed_shards() -> int:
        return (await ledger.status()).metrics["checkpoint_signed_shards"]

    weights = {member.node_id: member.weight for member in queries.committee(ledger.store.view).members}
    assert await signed_shards() == 0
    await ledger.submit(town.transfer(), wait_ms=5_000)
    await attest(ledger, town)
    n_shards = sum(weights.values())
    assert min_correct(n_shards) <= await signed_shards() <= n_shards
    town.clock.time_ms += INTERVAL_MS
    await ledger.submit(town.transfer(), wait_ms=5_000)
    checkpoint = find_checkpoint(ledger.store, (await ledger.attestation()).wanted_height)
    alone = town.nodes[0]
    signature = town.scheme.sign(alone.bls_secret, checkpoint.message())
    await ledger.attest(CheckpointSignature(alone.node_id, checkpoint, signature))
    town.clock.time_ms += 3_000
    await ledger.attestation()
    assert await signed_shards() == weights[alone.node_id]


async def test_an_end_that_is_signed_after_the_head_does_not_stand_for_what_a_node_has_signed(ledger, town) -> None:
    for _ in range(2):
        await ledger.submit(town.transfer(), wait_ms=5_000)
    node = town.nodes[0]
    signed = [
        CheckpointSignature(node.node_id, checkpoint, town.scheme.sign(node.bls_secret, checkpoint.message()))
        for checkpoint in (find_checkpoint(ledger.store, height) for height in (1, 2))
    ]
    await ledger.store.keep_signature(signed[1])
    await ledger.store.keep_signature(signed[0])
    assert (await ledger.attestation(node_id=node.node_id)).signed == signed[1]


async def test_signatures_of_an_end_that_was_given_up_are_kept_and_added_to(ledger, town) -> None:
    start = await next_epoch(ledger, town)
    assert (await ledger.attestation()).wanted_height == start
    await sign(ledger, town, start, town.nodes[:2])
    await ledger.submit(town.transfer(), wait_ms=5_000)
    town.clock.time_ms += PATIENCE_MS_MAX
    assert (await ledger.attestation()).wanted_height == start + 1
    await sign(ledger, town, start, town.nodes[2:])
    assert ledger.store.is_closed(1), "the others got to it while the head was asked for"
    assert (await ledger.attestation()).wanted_height == start + 1, "which is still wanted"


async def test_a_head_that_was_given_up_is_signed_anew(ledger, town) -> None:
    """The next one proves the same and more: of it nothing is kept."""
    await ledger.submit(town.transfer(), wait_ms=5_000)
    assert (await ledger.attestation()).wanted_height == 1
    await sign(ledger, town, 1, town.nodes[:2])
    await ledger.submit(town.transfer(), wait_ms=5_000)
    town.clock.time_ms += 3_000
    assert (await ledger.attestation()).wanted_height == 2
    await sign(ledger, town, 1, town.nodes)
    assert (await ledger.attestation()).latest is None
