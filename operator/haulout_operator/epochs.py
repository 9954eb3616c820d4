"""The epoch controller: takes each step of an epoch when it is due, for every network of the namespace.

It is the driver that every node carries as a fallback, without the fallback's delay. The ledger decides when a step is
due and refuses a second one, so that two controllers, or a controller and the nodes, do no harm to one another. The
operator carries it along in its rounds; `haulout-operator epochs` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from haulout.account.wallet import Wallet
from haulout.chain.block import TransactionResult
from haulout.driver.epoch_driver import EpochDriver
from haulout.errors import HauloutError
from haulout.ledger import keys
from haulout.ledger.commands import Command
from haulout.ledger.genesis import Genesis
from haulout.ledger.state import View
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Ledger, Rng
from haulout_operator.execute import Executor
from haulout_operator.failpoints import Failpoints, around_step
from haulout_operator.genesis import problem_of
from haulout_operator.kube import Kube
from haulout_operator.ledger import Rows, read_rows
from haulout_operator.models.base import API_VERSION
from haulout_operator.observe import Observer
from haulout_operator.observed import Observed

LOOK_MS = 15_000  # between two looks for networks that are new or gone

log = get_logger("epochs")


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

    async def keep(self, observed: Observed, executor: Executor, taken: Callable[[], None]) -> None:
        """Drive a network whose epochs are not left to people; pausing the operator does not pause them."""
        network = observed.network.name
        if observed.ledger is None or observed.genesis is None or observed.ledger.is_manual or self.drives(network):
            return
        try:
            treasury = await executor.treasury_of(observed)
        except HauloutError as e:
            log.warning("nobody to drive epochs as", network=network, problem=problem_of(e))
            return
        self.start(network, observed.genesis, executor.ledger_of(observed), treasury, taken=taken)

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

    async def stop_all_but(self, networks: Collection[str]) -> None:
        """Stop those of networks that are gone."""
        for network in [one for one in self._running if one not in networks]:
            await self.stop(network)

    async def close(self) -> None:
        """Stop all."""
        await self.stop_all_but(())


class EpochWatch:
    """The controller in a process of its own: finds the networks of a namespace by itself, and writes nothing there."""

    def __init__(
        self,
        kube: Kube,
        observer: Observer,
        executor: Executor,
        epochs: EpochController,
        *,
        namespace: str,
        clock: Clock,
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._executor = executor
        self._epochs = epochs
        self._namespace = namespace
        self._clock = clock

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except HauloutError as e:
                log.warning("networks cannot be seen", code=e.code, problem=str(e))
            await self._clock.sleep_ms(LOOK_MS)

    async def look(self) -> None:
        """Begin with networks that are new, end with those that are gone.

        Raises:
            HauloutError: the API server does not answer.
        """
        bodies = await self._kube.list(API_VERSION, "StorageNetwork", self._namespace)
        networks = [body["metadata"]["name"] for body in bodies]
        await self._epochs.stop_all_but(networks)
        for network in networks:
            if not self._epochs.drives(network):
                await self._begin(network)

    async def _begin(self, network: str) -> None:
        """One that cannot be read keeps no other from its epochs."""
        try:
            sight = await self._observer.look(network, {})
        except HauloutError as e:
            log.warning("network cannot be read", network=network, code=e.code, problem=str(e))
            return
        if sight is not None:
            await self._epochs.keep(sight.observed, self._executor, _tell_nobody)


def _tell_nobody() -> None:
    """Rounds of an operator elsewhere see a step when they look at the ledger."""
