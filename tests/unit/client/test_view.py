"""The verified view: the same answers from a replica and from proofs, and no answer without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.client.store import StoreRequest, store_blob
from haulout.client.view import LedgerView, ProvenSource, ReplicaSource
from haulout.errors import Corrupt, HauloutError
from haulout.ledger.commands import ReserveSpace, Transfer
from haulout.ports import StateRead
from haulout.primitives import BlobId, ObjectId


class CrookedLedger:
    """Passes answers on after something has been done to them."""

    def __init__(self, ledger, change) -> None:
        self.ledger, self.change = ledger, change

    async def read(self, wanted):
        return self.change(await self.ledger.read(wanted))

    async def scan(self, start, end, *, limit):
        return await self.ledger.scan(start, end, limit=limit)


@pytest.fixture
async def views(world, make_data):
    """Both kinds, over a ledger in which something has happened."""
    await world.store(make_data(100))
    await world.store(make_data(200), deletable=False)
    await world.run(world.wallet.execute([ReserveSpace(5 << 20, 1, 3), Transfer(world.town.address("other"), 5)]))
    await world.run(world.network.view.reach(world.sequencer.head.height))
    return LedgerView(ReplicaSource(world.replica)), LedgerView(
        ProvenSource(world.sequencer, world.town.genesis.chain_id)
    )


async def test_both_sources_give_the_same_answers(world, make_data, views) -> None:
    me = world.wallet.address
    stored = await world.store(make_data(100))
    answers = []
    for view in views:
        committee = await view.committee()
        answers.append(
            [
                await view.params(),
                await view.system(),
                committee,
                await view.nodes([member.node_id for member in committee.members]),
                await view.nodes([bytes(32)]),
                await view.blob_record(stored.blob_id),
                await view.blob_existence(stored.blob_id),
                await view.blob_existence(BlobId(bytes(32))),
                await view.blob(stored.object_id),
                await view.blob(ObjectId(bytes(32))),
                await view.is_invalid(stored.blob_id),
                await view.balance(me),
                await view.balance(bytes(32)),
                await view.owned_blobs(me),
                await view.owned_storage(me),
                await view.registrations(stored.blob_id, me),
                await view.registrations(stored.blob_id, bytes(32)),
            ]
        )
    assert answers[0] == answers[1]
    assert len(answers[0][13]) == 2
    assert [storage.size_bytes for _, storage in answers[0][14]] == [5 << 20]
    assert [object_id for object_id, _ in answers[0][15]] == [stored.object_id]
    assert answers[0][16] == []


def flip_value(answer: StateRead) -> StateRead:
    entry = answer.entries[0]
    changed = replace(entry, value=None if entry.value is None else entry.value[:-1] + bytes([entry.value[-1] ^ 1]))
    return replace(answer, entries=(changed, *answer.entries[1:]))


def hide_value(answer: StateRead) -> StateRead:
    return replace(answer, entries=tuple(replace(entry, value=None) for entry in answer.entries))


def drop_entry(answer: StateRead) -> StateRead:
    return replace(answer, entries=answer.entries[1:])


def other_root(answer: StateRead) -> StateRead:
    return replace(answer, header=replace(answer.header, state_root=bytes(32)))


def other_chain(answer: StateRead) -> StateRead:
    return replace(answer, header=replace(answer.header, chain_id=bytes(32)))


@pytest.mark.parametrize("change", [flip_value, hide_value, drop_entry, other_root, other_chain])
async def test_what_is_not_proven_is_not_believed(world, views, change) -> None:
    view = LedgerView(ProvenSource(CrookedLedger(world.sequencer, change), world.town.genesis.chain_id))
    with pytest.raises(Corrupt):
        await view.params()


async def test_an_index_cannot_smuggle_in_somebody_elses_objects(world, make_data) -> None:
    """Scans are unproven: what they name is read with proofs and must really be the owner's."""
    other = world.make_wallet("other")
    theirs = await world.run(store_blob(world.network, other, make_data(50), StoreRequest(5)))

    class LyingIndex(CrookedLedger):
        async def scan(self, start, end, *, limit):
            return [(start + theirs.object_id, b"")]

    ledger = LyingIndex(world.sequencer, lambda answer: answer)
    view = LedgerView(ProvenSource(ledger, world.town.genesis.chain_id))
    assert await view.owned_blobs(world.wallet.address) == []
    assert await view.registrations(theirs.blob_id, world.wallet.address) == []


async def test_more_objects_than_one_answer_holds(world) -> None:
    """The ledger hands out at most 256 rows at once."""
    reserve = [ReserveSpace(1 << 20, 1, 2)] * 20
    for _ in range(14):
        await world.run(world.wallet.execute(reserve))
    view = LedgerView(ProvenSource(world.sequencer, world.town.genesis.chain_id))
    owned = await view.owned_storage(world.wallet.address)
    assert len(owned) == len(dict(owned)) == 280


async def test_your_own_writes_are_waited_for(world, make_data) -> None:
    result = await world.run(world.wallet.execute([Transfer(world.town.address("other"), 5)]))
    view = LedgerView(ReplicaSource(world.replica))
    await view.reach(result.height)
    assert await view.balance(world.town.address("other")) == 10**15 + 5


async def test_a_replica_that_does_not_follow_is_not_waited_for_long(world, monkeypatch) -> None:
    monkeypatch.setattr("haulout.client.view.REACH_TIMEOUT_MS", 50)
    with pytest.raises(HauloutError) as late:
        await LedgerView(ReplicaSource(world.replica)).reach(10_000)
    assert late.value.code == "DEADLINE_EXCEEDED"
