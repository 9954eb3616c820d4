"""The wallet: signs once, sends until it knows, never pays twice."""

from __future__ import annotations

import pytest

from haulout.account.errors import TransactionUnsettled
from haulout.account.wallet import read_secret
from haulout.errors import InvalidField, InvalidInput, Rejected, Unreachable
from haulout.ledger import queries
from haulout.ledger.commands import Transfer


class FlakyLedger:
    """Loses questions or answers a few times."""

    def __init__(self, ledger, *, lost_questions=0, lost_answers=0, silences=0) -> None:
        self.ledger = ledger
        self.lost_questions, self.lost_answers, self.silences = lost_questions, lost_answers, silences
        self.seen: list[bytes] = []

    async def submit(self, transaction: bytes, *, wait_ms: int = 0):
        self.seen.append(transaction)
        if self.lost_questions:
            self.lost_questions -= 1
            raise Unreachable(peer="ledger", problem="lost on the way there")
        result = await self.ledger.submit(transaction, wait_ms=wait_ms)
        if self.silences:
            self.silences -= 1
            return None
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unreachable(peer="ledger", problem="lost on the way back")
        return result


def received(world) -> int:
    return queries.balance(world.sequencer.store.view, world.town.address("other")) - 10**15


@pytest.mark.parametrize("trouble", [{}, {"lost_questions": 3}, {"lost_answers": 3}, {"silences": 2}])
async def test_a_transfer_takes_effect_once_whatever_gets_lost(world, trouble) -> None:
    ledger = FlakyLedger(world.sequencer, **trouble)
    wallet = world.make_wallet("client", ledger)
    result = await world.run(wallet.execute([Transfer(world.town.address("other"), 5)]))
    assert result.is_ok
    assert received(world) == 5
    assert len(ledger.seen) == 1 + sum(trouble.values())
    assert len(set(ledger.seen)) == 1, "the same bytes are sent again"


async def test_two_transfers_of_the_same_amount_are_two(world) -> None:
    for _ in range(2):
        await world.run(world.wallet.execute([Transfer(world.town.address("other"), 5)]))
    assert received(world) == 10


async def test_a_refusal_keeps_the_ledgers_code(world) -> None:
    with pytest.raises(Rejected) as refused:
        await world.run(world.make_wallet("pauper").execute([Transfer(world.town.address("other"), 2)]))
    assert refused.value.code == "INSUFFICIENT_FUNDS"


async def test_what_no_block_may_hold_is_the_callers_mistake(world) -> None:
    with pytest.raises(InvalidInput):
        await world.run(world.wallet.execute([]))


async def test_a_ledger_that_is_away_is_given_up_after_a_while(world) -> None:
    started_us = world.clock.us
    with pytest.raises(Unreachable):
        wallet = world.make_wallet("client", FlakyLedger(world.sequencer, lost_questions=10**6))
        await world.run(wallet.execute([Transfer(world.town.address("other"), 5)]))
    assert 10_000_000 < world.clock.us - started_us < 20_000_000


async def test_a_ledger_that_says_nothing_leaves_it_open(world) -> None:
    with pytest.raises(TransactionUnsettled) as open_:
        wallet = world.make_wallet("client", FlakyLedger(world.sequencer, silences=10**6))
        await world.run(wallet.execute([Transfer(world.town.address("other"), 5)]))
    assert open_.value.digest.startswith("0x")


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[]", '{"secret": 5}', '{"secret": "zz"}', '{"secret": "00"}', "\x00\xff"]
)
def test_refuses_what_is_no_wallet_file(tmp_path, text) -> None:
    path = tmp_path / "wallet.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidField):
        read_secret(path)


def test_reads_a_wallet_file(tmp_path) -> None:
    path = tmp_path / "wallet.json"
    path.write_text('{"version": 1, "secret": "' + "ab" * 32 + '"}')
    assert read_secret(path) == b"\xab" * 32
