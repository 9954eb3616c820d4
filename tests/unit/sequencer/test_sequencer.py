"""How the sequencer admits, groups, answers and restarts."""

from __future__ import annotations

import asyncio

import pytest

from haulout import bcs
from haulout.chain import proof
from haulout.errors import DiskFull, InvalidField, InvalidInput
from haulout.ledger import keys, queries
from haulout.ledger.transactions import SignedTransaction, digest_of_bytes
from haulout.replica import reads
from haulout.replica.errors import WrongGenesis
from haulout.sequencer import sequencer as module
from haulout.sequencer.errors import LedgerBusy, LedgerStopping
from haulout.world.memory_store import MemoryStore

WAIT_MS = 5_000


async def test_answers_with_the_result_once_the_block_is_durable(ledger, town):
    result = await ledger.submit(town.transfer(5), wait_ms=WAIT_MS)
    assert (result.is_ok, result.height, result.index) == (True, 1, 0)
    assert queries.balance(ledger.store.view, town.address("bob")) == 5_005
    assert ledger.head.height == 1


async def test_a_refused_transaction_is_in_the_block_with_its_reason(ledger, town):
    result = await ledger.submit(town.transfer(10**15), wait_ms=WAIT_MS)
    assert result.reason == "INSUFFICIENT_FUNDS" and result.height == 1
    status = await ledger.status()
    assert status.refusals == {"INSUFFICIENT_FUNDS": 1}
    assert status.commands == {("Transfer", False): 1}
    assert queries.balance(ledger.store.view, town.address("bob")) == 5_000


async def test_without_waiting_the_answer_comes_later_by_digest(ledger, town):
    raw = town.transfer()
    assert await ledger.submit(raw) is None
    result = await ledger.result(digest_of_bytes(raw), wait_ms=WAIT_MS)
    assert result.is_ok
    assert await ledger.result(digest_of_bytes(raw)) == result


async def test_a_result_that_never_comes_is_none_after_the_wait(ledger, town):
    assert await ledger.result(digest_of_bytes(town.transfer()), wait_ms=0) is None


async def test_what_gathers_while_a_block_is_made_shares_the_next_one(town):
    ledger = await town.sequencer()
    waiting = [asyncio.ensure_future(ledger.submit(town.transfer(), wait_ms=WAIT_MS)) for _ in range(50)]
    await asyncio.sleep(0)
    running = asyncio.ensure_future(ledger.run())
    results = await asyncio.gather(*waiting)
    assert {result.height for result in results} == {1}
    assert sorted(result.index for result in results) == list(range(50))
    ledger.stop()
    await running
    await ledger.close()


async def test_blocks_are_bounded(town, monkeypatch):
    monkeypatch.setattr(module, "MAX_BLOCK_TRANSACTIONS", 20)
    ledger = await town.sequencer()
    for _ in range(50):
        await ledger.submit(town.transfer())
    ledger.stop()
    await ledger.run()
    assert [len(ledger.store.block(height).transactions) for height in (1, 2, 3)] == [20, 20, 10]
    await ledger.close()


async def test_blocks_are_bounded_in_bytes(town, monkeypatch):
    raw = [town.transfer() for _ in range(4)]
    monkeypatch.setattr(module, "MAX_BLOCK_BYTES", 2 * len(raw[0]) + 1)
    ledger = await town.sequencer()
    for transaction in raw:
        await ledger.submit(transaction)
    ledger.stop()
    await ledger.run()
    assert ledger.head.height == 2
    assert (await ledger.status()).metrics["pending_bytes"] == 0
    await ledger.close()


async def test_blocks_are_bounded_in_commands_so_that_refusals_cannot_make_them_slow(town, monkeypatch):
    monkeypatch.setattr(module, "MAX_BLOCK_COMMANDS", 5)
    ledger = await town.sequencer()
    for n_commands in (2, 3, 1, 7, 1):
        await ledger.submit(town.transfer(n_commands=n_commands))
    ledger.stop()
    await ledger.run()
    sizes = [len(ledger.store.block(height).transactions) for height in range(1, ledger.head.height + 1)]
    assert sizes == [2, 1, 1, 1], "one that is over the bound by itself has a block of its own"
    await ledger.close()


async def test_a_full_queue_takes_nothing_more_and_says_when_to_come_back(town, monkeypatch):
    monkeypatch.setattr(module, "MAX_PENDING_TRANSACTIONS", 2)
    ledger = await town.sequencer()
    first = town.transfer()
    for raw in (first, town.transfer()):
        await ledger.submit(raw)
    with pytest.raises(LedgerBusy) as caught:
        await ledger.submit(town.transfer())
    assert caught.value.retry_after_ms > 0
    assert await ledger.submit(first) is None, "what waits already is not refused"
    await ledger.close()


async def test_makes_no_block_when_there_is_nothing_to_order(ledger):
    for _ in range(20):
        await asyncio.sleep(0)
    assert ledger.head.height == 0


async def test_a_forged_signature_is_answered_and_left_out_of_the_block(ledger, town):
    good = town.transfer()
    forged = good[:-1] + bytes([good[-1] ^ 1])
    outcomes = await asyncio.gather(
        ledger.submit(forged, wait_ms=WAIT_MS), ledger.submit(good, wait_ms=WAIT_MS), return_exceptions=True
    )
    assert isinstance(outcomes[0], InvalidInput) and outcomes[0].code == "BAD_SIGNATURE"
    assert outcomes[1].is_ok, "a forged copy does not stand in the way of the real transaction"
    assert ledger.store.block(1).transactions == (good,)


async def test_only_inadmissible_transactions_make_no_block(ledger, town):
    raw = town.transfer()
    with pytest.raises(InvalidInput):
        await ledger.submit(raw[:-1] + bytes([raw[-1] ^ 1]), wait_ms=WAIT_MS)
    assert ledger.head.height == 0


@pytest.mark.parametrize("raw", [b"", b"\x00", b"not a transaction", bytes(100_000)])
async def test_malformed_bytes_are_refused_at_the_door(ledger, raw):
    with pytest.raises(InvalidInput):
        await ledger.submit(raw, wait_ms=WAIT_MS)
    assert (await ledger.status()).pending_transactions == 0


async def test_another_networks_transaction_is_refused(ledger, town):
    signed: SignedTransaction = bcs.decode(SignedTransaction, town.transfer())
    assert signed.transaction.chain_id == town.genesis.chain_id
    other = bytearray(town.transfer())
    other[1] ^= 1
    with pytest.raises(InvalidInput) as caught:
        await ledger.submit(bytes(other), wait_ms=WAIT_MS)
    assert caught.value.code == "WRONG_CHAIN"


async def test_an_expired_transaction_is_refused(ledger, town):
    raw = town.transfer()
    town.clock.time_ms += 500_001
    with pytest.raises(InvalidInput) as caught:
        await ledger.submit(raw, wait_ms=WAIT_MS)
    assert caught.value.code == "TRANSACTION_EXPIRED"


async def test_the_same_bytes_again_give_the_recorded_result_and_no_second_effect(ledger, town):
    raw = town.transfer(7)
    first = await ledger.submit(raw, wait_ms=WAIT_MS)
    again = await asyncio.gather(*(ledger.submit(raw, wait_ms=WAIT_MS) for _ in range(3)))
    assert again == [first] * 3
    assert queries.balance(ledger.store.view, town.address("bob")) == 5_007
    assert ledger.head.height == 1


async def test_the_same_bytes_at_once_are_ordered_once(ledger, town):
    raw = town.transfer(7)
    results = await asyncio.gather(*(ledger.submit(raw, wait_ms=WAIT_MS) for _ in range(5)))
    assert len(set(results)) == 1
    assert queries.balance(ledger.store.view, town.address("bob")) == 5_007


async def test_time_in_headers_never_goes_back(ledger, town):
    await ledger.submit(town.transfer(), wait_ms=WAIT_MS)
    first_ms = ledger.head.time_ms
    raw = town.transfer()
    town.clock.time_ms -= 60_000
    await ledger.submit(raw, wait_ms=WAIT_MS)
    assert ledger.head.time_ms == first_ms


async def test_restarting_continues_the_chain_exactly(town):
    rows = MemoryStore()
    ledger = await town.sequencer(rows)
    running = asyncio.ensure_future(ledger.run())
    raw = town.transfer(3)
    first = await ledger.submit(raw, wait_ms=WAIT_MS)
    head = ledger.head
    ledger.stop()
    await running

    again = await town.sequencer(rows)
    running = asyncio.ensure_future(again.run())
    assert again.head == head
    assert await again.submit(raw, wait_ms=WAIT_MS) == first
    await again.submit(town.transfer(), wait_ms=WAIT_MS)
    assert again.store.block(2).header.previous_digest == head.digest()
    again.stop()
    await running
    await again.close()


async def test_another_networks_genesis_is_refused(town):
    rows = MemoryStore()
    await town.sequencer(rows)
    other = type(town)(seed=b"\x08" * 32)
    with pytest.raises(WrongGenesis):
        await other.sequencer(rows)


async def test_stopping_finishes_what_waits_and_takes_nothing_more(town):
    ledger = await town.sequencer()
    raw = town.transfer()
    await ledger.submit(raw)
    ledger.stop()
    with pytest.raises(LedgerStopping):
        await ledger.submit(town.transfer())
    await ledger.run()
    assert (await ledger.result(digest_of_bytes(raw))).is_ok
    await ledger.close()


class FullStore(MemoryStore):
    """A volume that fills up and is made free again."""

    is_full = False

    async def commit(self, writes, *, durable=True):
        if self.is_full:
            raise DiskFull(path="ledger")
        await super().commit(writes, durable=durable)


async def test_a_full_disk_is_answered_and_the_ledger_goes_on_when_there_is_space(town):
    rows = FullStore()
    ledger = await town.sequencer(rows)
    running = asyncio.ensure_future(ledger.run())
    rows.is_full = True
    raw = town.transfer(9)
    with pytest.raises(DiskFull):
        await ledger.submit(raw, wait_ms=WAIT_MS)
    assert ledger.head.height == 0
    rows.is_full = False
    assert (await ledger.submit(raw, wait_ms=WAIT_MS)).is_ok
    assert queries.balance(ledger.store.view, town.address("bob")) == 5_009
    ledger.stop()
    await running
    await ledger.close()


async def test_rows_come_with_proofs_against_the_head(ledger, town):
    await ledger.submit(town.transfer(5), wait_ms=WAIT_MS)
    present, absent = keys.account(town.address("bob")), keys.account(bytes(32))
    read = await ledger.read([present, absent])
    assert read.header == ledger.head
    assert read.entries[0].value is not None and read.entries[1].value is None
    for entry in read.entries:
        assert proof.verify(read.header.state_root, entry.key, entry.value, entry.proof)
        assert not proof.verify(read.header.state_root, entry.key, b"something else", entry.proof)


@pytest.mark.parametrize("key", [b"", b"\x80index", b"\xe8head", b"\xf0\x00"])
async def test_rows_that_no_root_covers_are_not_read(ledger, key):
    with pytest.raises(InvalidField):
        await ledger.read([key])


async def test_requests_have_bounds(ledger):
    with pytest.raises(InvalidField):
        await ledger.read([b"\x01params"] * (reads.MAX_READ_KEYS + 1))
    for limit in (0, -1, reads.MAX_SCAN_ROWS + 1):
        with pytest.raises(InvalidField):
            await ledger.scan(b"", b"\xff", limit=limit)


async def test_a_scan_does_not_leave_the_state(ledger):
    rows = await ledger.scan(b"", b"\xff\xff", limit=1000)
    assert rows and max(key[0] for key, _ in rows) < 0xE0
