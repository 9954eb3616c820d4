"""How a replica follows, verifies, stops, waits and resumes."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from haulout.chain.block import Block
from haulout.errors import DeadlineExceeded, Unreachable
from haulout.ledger import queries
from haulout.ports import LedgerStatus
from haulout.replica.errors import BlockNotKept, LedgerDiverged, WrongLedger
from haulout.replica.replica import Replica
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers

WAIT_MS = 5_000


class ForgingLedger:
    """A ledger whose sequencer lies: blocks pass through `forge` before they are handed out."""

    def __init__(self, ledger, forge) -> None:
        self._ledger, self._forge = ledger, forge

    async def status(self) -> LedgerStatus:
        return await self._ledger.status()

    async def blocks(self, from_height):
        async for block in self._ledger.blocks(from_height):
            yield self._forge(block)


class FlakyLedger:
    """A ledger that is away for the first `failures` calls and breaks off its stream after each block."""

    def __init__(self, ledger, failures: int) -> None:
        self._ledger, self.failures = ledger, failures

    async def status(self) -> LedgerStatus:
        if self.failures:
            self.failures -= 1
            raise Unreachable(peer="ledger", problem="connection refused")
        return await self._ledger.status()

    async def blocks(self, from_height):
        async for block in self._ledger.blocks(from_height):
            yield block
            raise Unreachable(peer="ledger", problem="connection reset")


@pytest.fixture
def follow(town):
    """Opens replicas, runs them, and puts them away."""
    running = []

    async def start(ledger, rows=None) -> Replica:
        replica = await Replica.open(
            store=MemoryStore() if rows is None else rows,
            ledger=ledger,
            genesis=town.genesis,
            scheme=town.scheme,
            clock=town.clock,
            workers=InlineWorkers(),
        )
        replica.task = asyncio.ensure_future(replica.run())
        running.append(replica)
        return replica

    yield start
    for replica in running:
        replica.task.cancel()


async def test_follows_and_reaches_the_same_state(ledger, town, follow):
    replica = await follow(ledger)
    for amount in (1, 2, 3):
        await ledger.submit(town.transfer(amount), wait_ms=WAIT_MS)
    await replica.wait_for_height(3, timeout_ms=WAIT_MS)
    assert replica.head == ledger.head
    assert queries.balance(replica.view, town.address("bob")) == 5_006
    assert replica.heard_height == 3 and replica.diverged is None


async def test_catches_up_with_a_long_chain(ledger, town, follow):
    for _ in range(30):
        await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    replica = await follow(ledger)
    assert (await replica.wait_for_height(30, timeout_ms=WAIT_MS)).digest() == ledger.head.digest()


def _other_root(name):
    return lambda block: Block(dataclasses.replace(block.header, **{name: bytes(32)}), block.transactions)


FORGERIES = {
    "state_root": _other_root("state_root"),
    "outcomes_root": _other_root("outcomes_root"),
    "history_root": _other_root("history_root"),
    "transactions_root": _other_root("transactions_root"),
    "previous_digest": _other_root("previous_digest"),
    "chain_id": _other_root("chain_id"),
    "height": lambda block: Block(dataclasses.replace(block.header, height=7), block.transactions),
    "time": lambda block: Block(dataclasses.replace(block.header, time_ms=1), block.transactions),
    "no transactions": lambda block: Block(block.header, ()),
    "doubled": lambda block: Block(block.header, block.transactions * 2),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_stops_for_ever_at_a_block_that_is_not_what_it_claims(ledger, town, follow, forge):
    rows = MemoryStore()
    replica = await follow(ForgingLedger(ledger, forge), rows)
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    with pytest.raises(LedgerDiverged) as caught:
        await replica.wait_for_height(1, timeout_ms=WAIT_MS)
    assert caught.value.height == 1
    await replica.task
    assert replica.head.height == 0, "nothing of it reached the state"
    assert queries.balance(replica.view, town.address("bob")) == 5_000

    honest = await follow(ledger, rows)
    await honest.task
    assert honest.diverged is not None and honest.diverged.problem == caught.value.problem
    with pytest.raises(LedgerDiverged):
        await anext(honest.subscribe())


async def test_a_well_chained_block_with_a_wrong_root_names_what_differs(ledger, town, follow):
    replica = await follow(ForgingLedger(ledger, FORGERIES["state_root"]))
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await replica.task
    assert "state_root is 0000" in replica.diverged.problem


async def test_an_operator_can_let_it_go_on(ledger, town, follow):
    rows = MemoryStore()
    replica = await follow(ForgingLedger(ledger, FORGERIES["state_root"]), rows)
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await replica.task
    await replica.resume()
    again = await follow(ledger, rows)
    assert (await again.wait_for_height(1, timeout_ms=WAIT_MS)) == ledger.head


async def test_a_block_with_an_inadmissible_transaction_is_a_divergence(ledger, town, follow):
    raw = town.transfer()
    forged = raw[:-1] + bytes([raw[-1] ^ 1])

    def forge(block: Block) -> Block:
        from haulout.chain.block import compute_transactions_root

        root = compute_transactions_root((forged,))
        return Block(dataclasses.replace(block.header, transactions_root=root), (forged,))

    replica = await follow(ForgingLedger(ledger, forge))
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await replica.task
    assert "inadmissible" in replica.diverged.problem


async def test_an_unknown_protocol_version_asks_for_an_upgrade_and_is_no_divergence(ledger, town, follow):
    forge = lambda block: Block(dataclasses.replace(block.header, protocol_version=999), block.transactions)  # noqa: E731
    replica = await follow(ForgingLedger(ledger, forge))
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await replica.task
    assert replica.diverged is None
    assert replica.upgrade_required.code == "UPGRADE_REQUIRED"


async def test_keeps_its_state_and_comes_back_while_the_ledger_is_away(ledger, town, follow):
    for _ in range(3):
        await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    flaky = FlakyLedger(ledger, failures=4)
    replica = await follow(flaky)
    await asyncio.sleep(0)
    assert replica.head.height == 0 and queries.balance(replica.view, town.address("bob")) == 5_000
    await replica.wait_for_height(3, timeout_ms=WAIT_MS)
    assert flaky.failures == 0


async def test_resumes_from_its_own_store(ledger, town, follow):
    rows = MemoryStore()
    first = await follow(ledger, rows)
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await first.wait_for_height(1, timeout_ms=WAIT_MS)
    first.task.cancel()
    asked = []

    class Watching(ForgingLedger):
        def blocks(self, from_height):
            asked.append(from_height)
            return super().blocks(from_height)

    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    second = await follow(Watching(ledger, lambda block: block), rows)
    await second.wait_for_height(2, timeout_ms=WAIT_MS)
    assert asked == [2]


async def test_a_quiet_ledger_that_comes_late_is_no_problem_any_more(ledger, town, follow):
    replica = await follow(FlakyLedger(ledger, failures=2))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (replica.problem, replica.heard_height) == (None, 0)  # it answers, and no block has been made


async def test_refuses_a_ledger_that_lost_blocks_and_keeps_asking(ledger, town, follow):
    rows = MemoryStore()
    replica = await follow(ledger, rows)
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    await replica.wait_for_height(1, timeout_ms=WAIT_MS)
    replica.task.cancel()
    empty = await town.sequencer()
    behind = await follow(empty, rows)
    for _ in range(10):
        await asyncio.sleep(0)
    assert isinstance(behind.problem, WrongLedger) and behind.diverged is None
    assert behind.head.height == 1
    await empty.close()


async def test_waiting_has_an_end(ledger, follow):
    replica = await follow(ledger)
    with pytest.raises(DeadlineExceeded):
        await replica.wait_for_height(5, timeout_ms=10)


async def test_a_subscriber_gets_every_block_with_what_it_caused_at_its_own_pace(ledger, town, follow):
    replica = await follow(ledger)
    blocks = replica.subscribe()
    raw = [town.transfer(n) for n in (1, 2, 3)]
    for transaction in raw:
        await ledger.submit(transaction, wait_ms=WAIT_MS)
    await replica.wait_for_height(3, timeout_ms=WAIT_MS)
    seen = [await anext(blocks) for _ in range(3)]
    assert [b.header.height for b in seen] == [1, 2, 3]
    assert [b.transactions for b in seen] == [(t,) for t in raw]
    assert all(b.results[0].is_ok and b.events for b in seen)
    sequences = [event.sequence for b in seen for event in b.events]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    await blocks.aclose()
    assert (await anext(replica.subscribe(2))).header.height == 2


async def test_pruned_blocks_are_gone_and_the_rest_stays(ledger, town, follow):
    replica = await follow(ledger)
    raw = [town.transfer() for _ in range(6)]
    for transaction in raw:
        await ledger.submit(transaction, wait_ms=WAIT_MS)
    await replica.wait_for_height(6, timeout_ms=WAIT_MS)
    store = replica.store
    assert await store.prune(below_height=4, max_blocks=3) == 3
    assert await store.prune(below_height=4, max_blocks=3) == 1
    assert await store.prune(below_height=4, max_blocks=3) == 0
    with pytest.raises(BlockNotKept) as caught:
        store.block(3)
    assert (caught.value.oldest, caught.value.head) == (4, 6)
    assert store.applied(4).transactions == (raw[3],)
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    assert (await replica.wait_for_height(7, timeout_ms=WAIT_MS)) == ledger.head
