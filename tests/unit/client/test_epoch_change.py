"""Reads and writes while shards change owner: nobody sees an error."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from haulout.account.wallet import Wallet
from haulout.client.read import read_blob
from haulout.client.store import NewlyCreated
from haulout.client.view import LedgerView, ProvenSource
from haulout.ledger import queries
from haulout.ledger.commands import AdvanceEpoch, ReportSyncDone, Stake
from haulout.ledger.state import Phase

_spec = importlib.util.spec_from_file_location("client_world", Path(__file__).parent / "conftest.py")
assert _spec is not None and _spec.loader is not None
client_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client_world)


@pytest.fixture
async def world():
    world = await client_world.World(manual_epochs=True).start()
    yield world
    await world.stop()


async def change_epoch(world: Any) -> None:
    """A stake that moves a shard to node-0, and the epoch that follows; nodes see it at once."""
    await world.run(world.wallet.execute([Stake(world.nodes[0].secrets.node_id, 10**12)]))
    epoch = (await world.network.view.system()).epoch
    result = await world.run(world.wallet.execute([AdvanceEpoch(epoch)]))
    await world.run(world.network.view.reach(result.height))
    for node in world.nodes:
        node.epoch = epoch + 1


async def test_both_views_tell_the_same_of_shards_on_their_way(world) -> None:
    assert await world.network.view.open_hand_overs() == []
    await change_epoch(world)
    proven = LedgerView(ProvenSource(world.sequencer, world.town.genesis.chain_id))
    moving = await world.network.view.open_hand_overs()
    assert moving == await proven.open_hand_overs()
    [move] = moving
    assert (move.epoch, move.to_node, move.done) == (2, world.nodes[0].secrets.node_id, False)

    taker, giver = await proven.standing(move.to_node), await proven.standing(move.from_node)
    assert (taker.n_shards, taker.n_gaining, taker.n_giving, taker.is_needed) == (3, 1, 0, True)
    assert (giver.n_shards, giver.n_gaining, giver.n_giving, giver.is_needed) == (1, 0, 1, True)
    assert giver.phase is Phase.SYNC and giver.n_shards_next is None
    assert await proven.standing(bytes(32)) is None

    gainer = world.nodes[0].secrets
    report = ReportSyncDone(gainer.node_id, 2, (move.shard_index,))
    wallet = Wallet(
        gainer.capability_secret,
        chain_id=world.town.genesis.chain_id,
        ledger=world.sequencer,
        clock=world.clock,
        rng=client_world.SeededRng(9),
    )
    await world.run(wallet.execute([report]))
    assert await proven.open_hand_overs() == []


class Interrupted(ProvenSource):
    """Between its first answer and the next one an epoch begins."""

    def __init__(self, world: Any) -> None:
        super().__init__(world.sequencer, world.town.genesis.chain_id)
        self._world = world
        self._n_answers = 0

    async def fetch(self, wanted: Any) -> Any:
        rows = await super().fetch(wanted)
        self._n_answers += 1
        if self._n_answers == 1:
            await change_epoch(self._world)
        return rows


async def test_the_standing_of_a_node_is_of_one_epoch(world) -> None:
    standing = await LedgerView(Interrupted(world)).standing(world.nodes[0].secrets.node_id)
    assert (standing.epoch, standing.n_shards, standing.n_gaining, standing.n_shards_next) == (2, 3, 1, None)


async def test_what_the_next_committee_is_planned_from_is_of_one_epoch(world) -> None:
    state = await LedgerView(Interrupted(world)).plan_state()
    assert queries.system(state).epoch == 2
    assert queries.committee(state).epoch == 2
    assert queries.next_committee(state) is None


async def test_an_older_blob_is_read_from_whoever_hands_its_shard_over(world, make_data) -> None:
    stored = await world.store(make_data(5_000))
    await change_epoch(world)
    [move] = await world.network.view.open_hand_overs()
    _, members, is_moving = await world.network.holder_links(1)
    assert is_moving
    shards = {member.node_id: member.shards for member in members}
    assert move.shard_index in shards[move.from_node]
    assert move.shard_index not in shards[move.to_node]
    for node in world.nodes:
        node.calls.clear()
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(5_000)


async def test_a_new_blob_is_written_to_and_read_from_the_new_owners(world, make_data) -> None:
    await change_epoch(world)
    stored = await world.store(make_data(5_000))
    assert isinstance(stored, NewlyCreated)
    _, members, is_moving = await world.network.holder_links(2)
    assert not is_moving
    assert {m.node_id: m.shards for m in members} == {
        m.node_id: tuple(sorted(m.shards)) for m in (await world.network.view.committee()).members
    }
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(5_000)


async def test_a_giver_that_is_gone_costs_a_read_nothing_but_its_shards(world, make_data) -> None:
    stored = await world.store(make_data(5_000))
    await change_epoch(world)
    [move] = await world.network.view.open_hand_overs()
    next(node for node in world.nodes if node.secrets.node_id == move.from_node).is_dead = True
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(5_000)


async def test_a_store_in_the_middle_of_which_the_epoch_changes_ends_in_the_new_one(world, make_data) -> None:
    inner, is_first = world.nodes[2].store_and_confirm, [True]

    async def confirm(**asked: Any):
        if is_first:
            is_first.clear()
            epoch = (await world.network.view.system()).epoch
            result = await world.wallet.execute([Stake(world.nodes[0].secrets.node_id, 10**12), AdvanceEpoch(epoch)])
            await world.network.view.reach(result.height)
            for node in world.nodes:
                node.epoch = epoch + 1
        return await inner(**asked)

    world.nodes[2].store_and_confirm = confirm
    for node in world.nodes:
        node.delay_ms = 50 if node is not world.nodes[2] else 1
    stored = await world.store(make_data(5_000))
    assert stored.blob.certified_epoch == 2
    with await world.run(read_blob(world.network, stored.blob_id)) as blob:
        assert bytes(blob.data) == make_data(5_000)


async def test_one_member_in_a_later_epoch_is_believed_when_the_ledger_says_so_too(world, make_data) -> None:
    """Three have confirmed for the old epoch, one will never: too few, and nobody else can tell of the new one."""
    inner, liar = world.nodes[2].store_and_confirm, world.nodes[4]
    is_first = [True]

    async def confirm(**asked: Any):
        if is_first:
            is_first.clear()
            await world.clock.sleep_ms(50)
            result = await world.wallet.execute([AdvanceEpoch(1)])
            await world.network.view.reach(result.height)
            for node in world.nodes:
                node.epoch = 2
        return await inner(**asked)

    world.nodes[2].store_and_confirm = confirm
    liar.forges = True
    stored = await world.store(make_data(5_000))
    assert stored.blob.certified_epoch == 2
