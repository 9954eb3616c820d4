"""The epoch controller: takes each step of an epoch when it is due, for every network of the namespace.

It is the driver that every node carries as a fallback, without the fallback's delay. The ledger decides when a step is
due and refuses a second one, so that two controllers, or a controller and the nodes, do no harm to one another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from haulout.account.wallet import Wallet
from haulout.chain.block import TransactionResult
from haulout.driver.epoch_driver import EpochDriver
from haulout.ledger import keys
from haulout.ledger.commands import Command
from haulout.ledger.genesis import Genesis
from haulout.ledger.state import View
from haulout.ports import Clock, Ledger, Rng
from haulout_operator.failpoints import Failpoints, around_step
from haulout_operator.ledger import Rows, read_rows


@dataclass(slots=True)
class _Running:
    driver: EpochDriver
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The treasury as it takes steps: each passes its failpoints, and is told when it took effect."""

    wallet: Wallet
    chain_id: bytes
    failpoints: Failpoints
    taken: Callable[[], None]

    async def execute(self, commands: Sequence[Command]) -> TransactionResult:
        around = around_step(commands[0])
        self.failpoints.reach(around.before, self.chain_id)
        result = await self.wallet.execute(commands)
        self.failpoints.reach(around.after, self.chain_id)
        self.taken()
        return result


class EpochController:
    """One driver per network."""

    def __init__(self, *, clock: Clock, rng: Rng, registry: CollectorRegistry, failpoints: Failpoints) -> None:
        self._failpoints = failpoints
        self._clock = clock
        self._rng = rng
        self._running: dict[str, _Running] = {}
        text = "Steps of epochs that took effect because of this controller."
        self._steps = Gauge("haulout_operator_epoch_steps", text, ["network"], registry=registry)

    def drives(self, network: str) -> bool:
        """Whether a driver runs for a network."""
        running = self._running.get(network)
        return running is not None and not running.task.done()

    def start(
        self, network: str, genesis: Genesis, ledger: Ledger, secret: bytes, *, taken: Callable[[], None]
    ) -> None:
        """Drive a network's epochs from now on; steps cost the account nothing, and `taken` is called after each."""

        async def state() -> View:
            return Rows(await read_rows(ledger, [keys.PARAMS, keys.SYSTEM, keys.STAKING]))

        wallet = Wallet(secret, chain_id=genesis.chain_id, ledger=ledger, clock=self._clock, rng=self._rng)
        steps = _Steps(wallet, genesis.chain_id, self._failpoints, taken)
        driver = EpochDriver(state, steps, clock=self._clock, rng=self._rng)
        self._running[network] = _Running(driver, asyncio.create_task(driver.run(), name=f"epochs of {network}"))
        self._steps.labels(network=network).set_function(lambda: float(driver.n_steps))

    async def stop(self, network: str) -> None:
        """Drive a network no longer; its nodes go on, after their delay."""
        running = self._running.pop(network, None)
        if running is not None:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    async def close(self) -> None:
        """Stop all."""
        for network in list(self._running):
            await self.stop(network)
