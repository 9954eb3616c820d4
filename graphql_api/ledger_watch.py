"""What is heard of the ledger besides its blocks: how far the nodes have attested it, and when it last answered."""

from __future__ import annotations

import asyncio
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

from haulout.chain.checkpoint import CertifiedCheckpoint
from haulout.crypto.certificate import InvalidBitmap, NotEnoughStake, SignatureInvalid
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Ledger, Workers
from haulout.replica.checkpoints import verify_checkpoint
from haulout.replica.errors import CheckpointConflict
from haulout.replica.replica import Replica

WATCH_MS = 5_000
LATE_MS = 2_000  # after that: a ledger that hangs, or whose machine is cut off, answers nothing, not even an error
PAUSE_MS = 1_000
CATCH_UP_MS = 5_000

log = get_logger("ledger_watch")


class Finality(Protocol):
    """What an answer says of the ledger beside its own snapshot."""

    @property
    def attested_height(self) -> int:
        """The highest block that n - f of shard weight have signed, as far as it was verified here."""

    def silence_ms(self) -> int:
        """For how long the ledger has not answered; 0 while it does."""


class LedgerWatch:
    """Believes a certified checkpoint once its signatures hold and its block is the one executed here.

    Attributes:
        attested_height: as in `Finality`.
    """

    def __init__(
        self,
        replica: Replica,
        ledger: Ledger,
        scheme: SignatureScheme,
        *,
        clock: Clock,
        workers: Workers,
        registry: CollectorRegistry,
    ) -> None:
        self._replica = replica
        self._ledger = ledger
        self._scheme = scheme
        self._clock = clock
        self._workers = workers
        self._heard_ms = clock.now_ms()
        self._is_heard = True
        kept = replica.store.checkpoint()
        self.attested_height = 0 if kept is None else kept.checkpoint.height
        gauge = Gauge("haulout_graphql_attested_height", "Highest block known to be attested.", registry=registry)
        gauge.set_function(lambda: self.attested_height)

    def silence_ms(self) -> int:
        """As in `Finality`."""
        return 0 if self._is_heard else max(0, self._clock.now_ms() - self._heard_ms)

    async def run(self) -> None:
        """Watch until cancelled, or until the replica may not go on."""
        wanted = attested = 0
        while self._replica.diverged is None:
            try:
                async with asyncio.timeout((WATCH_MS + LATE_MS) / 1000):
                    news = await self._ledger.attestation(wanted=wanted, attested=attested, wait_ms=WATCH_MS)
            except (HauloutError, TimeoutError) as e:
                self._is_heard = False
                log.debug("the ledger does not answer", problem=str(e))
                await self._clock.sleep_ms(PAUSE_MS)
                continue
            self._is_heard, self._heard_ms = True, self._clock.now_ms()
            if news.latest is None or await self._learn(news.latest):
                wanted = news.wanted_height
                attested = 0 if news.latest is None else news.latest.checkpoint.height
            else:
                await self._clock.sleep_ms(PAUSE_MS)  # this replica is behind: look again

    async def _learn(self, certified: CertifiedCheckpoint) -> bool:
        """Whether all is said about a checkpoint; False when this replica is not as far yet."""
        height = certified.checkpoint.height
        if height <= self.attested_height:
            return True
        try:
            await self._replica.wait_for_height(height, timeout_ms=CATCH_UP_MS)
            known = await self._workers.run(verify_checkpoint, self._replica.store, self._scheme, certified)
        except CheckpointConflict as e:
            await self._replica.distrust(e)
            return True
        except (InvalidBitmap, NotEnoughStake, SignatureInvalid) as e:
            log.warning("the ledger handed out a checkpoint that is not certified", height=height, code=e.code)
            return True
        except HauloutError:
            return False
        if known:
            await self._replica.store.keep_checkpoint(certified, durable=False)
            self.attested_height = height
        return known
