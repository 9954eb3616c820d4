"""The epoch driver: each step when it is due, once, whoever else tries."""

from __future__ import annotations

import asyncio

import pytest

from haulout.account.wallet import Wallet
from haulout.crypto.keyed_hash import KeyedHash
from haulout.driver.due_step import find_due_step
from haulout.driver.epoch_driver import EpochDriver
from haulout.errors import Unreachable
from haulout.ledger import queries
from haulout.ledger.commands import ChangeEpoch, EndVoting, ForceDone, ReportSyncDone
from haulout.ledger.genesis import build_development_network
from haulout.ledger.state import Phase
from haulout.sequencer.sequencer import Sequencer
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers
from tests.hand_clock import START_MS, HandClock

EPOCH_MS = 60_000


class Rng:
    def __init__(self) -> None:
        self.count = 0

    def random_bytes(self, n: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(n, "big")

    def below(self, limit: int) -> int:
        return limit - 1


class Town:
    """A ledger whose epochs last a minute."""

    def __init__(self, *, manual: bool = False) -> None:
        self.clock, self.rng = HandClock(), Rng()
        self.network = build_development_network(
            node_addresses={f"node-{n}": (f"127.0.0.1:{n}",) for n in range(4)},
            n_shards=10,
            stake_frost=2_000_000_000_000,
            account_funds_frost={"alice": 10**12},
            genesis_time_ms=START_MS,
            epoch_duration_ms=EPOCH_MS,
            seed=b"\x07" * 32,
            scheme=KeyedHash(),
            manual_epochs=manual,
        )

    async def open(self) -> None:
        self.ledger = await Sequencer.open(
            store=MemoryStore(),
            genesis=self.network.genesis,
            scheme=KeyedHash(),
            clock=self.clock,
            workers=InlineWorkers(),
            engine="memory",
        )
        self.running = asyncio.ensure_future(self.ledger.run())

    async def close(self) -> None:
        self.ledger.stop()
        await self.running

    @property
    def view(self):
        return self.ledger.store.view

    def wallet(self, secret: bytes | None = None, ledger=None) -> Wallet:
        return Wallet(
            secret or self.network.account_secrets["alice"],
            chain_id=self.network.genesis.chain_id,
            ledger=ledger or self.ledger,
            clock=self.clock,
            rng=self.rng,
        )

    def driver(self, *, grace_ms: int = 0, ledger=None) -> EpochDriver:
        async def state():
            return self.view

        return EpochDriver(state, self.wallet(ledger=ledger), clock=self.clock, rng=self.rng, grace_ms=grace_ms)

    async def report_all(self) -> None:
        for node in self.network.nodes:
            epoch = queries.system(self.view).epoch
            await self.wallet(node.capability_secret).execute([ReportSyncDone(node.node_id, epoch, ())])
            if queries.phase(self.view) is Phase.DONE:
                return

    def place(self) -> tuple[int, Phase]:
        return queries.system(self.view).epoch, queries.phase(self.view)


@pytest.fixture
async def town():
    town = Town()
    await town.open()
    yield town
    await town.close()


async def test_every_step_is_taken_when_it_is_due_and_not_before(town) -> None:
    driver = town.driver()
    step = find_due_step(town.view)
    assert (step.command, step.due_ms) == (EndVoting(1), START_MS + EPOCH_MS // 2)
    assert 0 < await driver.run_once() <= 1_000
    assert town.place() == (1, Phase.DONE)

    town.clock.time_ms = START_MS + EPOCH_MS // 2
    await driver.run_once()
    assert town.place() == (1, Phase.VOTED)
    step = find_due_step(town.view)
    assert (step.command, step.due_ms) == (ChangeEpoch(1), START_MS + EPOCH_MS)

    town.clock.time_ms = step.due_ms
    await driver.run_once()
    assert town.place() == (2, Phase.SYNC)
    await town.report_all()
    assert town.place() == (2, Phase.DONE)
    assert driver.n_steps == 2


async def test_an_epoch_whose_shards_do_not_arrive_is_forced_done(town) -> None:
    driver = town.driver()
    for _ in range(2):
        town.clock.time_ms = find_due_step(town.view).due_ms
        await driver.run_once()
    step = find_due_step(town.view)
    assert (step.command, step.due_ms) == (ForceDone(2), town.clock.time_ms + EPOCH_MS // 2)
    await driver.run_once()
    assert town.place() == (2, Phase.SYNC)
    town.clock.time_ms = step.due_ms
    await driver.run_once()
    assert town.place() == (2, Phase.DONE)
    assert queries.staking(town.view).forced


async def test_two_drivers_do_no_harm(town) -> None:
    drivers = [town.driver(), town.driver(), town.driver()]
    town.clock.time_ms = find_due_step(town.view).due_ms
    await asyncio.gather(*(driver.run_once() for driver in drivers))
    assert town.place() == (1, Phase.VOTED)
    assert sum(driver.n_steps for driver in drivers) == 1


async def test_a_fallback_waits_until_the_controller_has_had_its_time(town) -> None:
    fallback = town.driver(grace_ms=5_000)
    town.clock.time_ms = find_due_step(town.view).due_ms + 4_999
    assert await fallback.run_once() > 0
    assert town.place() == (1, Phase.DONE)
    town.clock.time_ms += 1
    await fallback.run_once()
    assert town.place() == (1, Phase.VOTED)


async def test_a_ledger_that_is_away_is_asked_again_with_growing_pauses(town) -> None:
    class Away:
        async def submit(self, transaction: bytes, *, wait_ms: int = 0):
            raise Unreachable(peer="ledger", problem="away")

    driver = town.driver(ledger=Away())
    town.clock.time_ms = find_due_step(town.view).due_ms
    running = asyncio.ensure_future(driver.run())
    for _ in range(2_000):
        await asyncio.sleep(0)
    assert isinstance(driver.problem, Unreachable)
    assert town.clock.time_ms > START_MS + 10 * EPOCH_MS, "pauses grow"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_epochs_by_hand_are_nobodys_business() -> None:
    town = Town(manual=True)
    await town.open()
    assert find_due_step(town.view) is None
    town.clock.time_ms += 100 * EPOCH_MS
    assert await town.driver().run_once() > 0
    assert town.place() == (1, Phase.DONE)
    await town.close()
