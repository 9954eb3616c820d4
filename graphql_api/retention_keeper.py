"""Keeps blobs that are to be kept: extends each in the epoch in which too little of its time is left.

Policies are rows of the records, found by the epoch in which they are due, so an epoch in which none is costs one look
at an index. Each is tried once in an epoch; what the ledger refuses stands in the policy until it is tried again. When
the ledger does not answer, it is not known whether the extension takes effect: the policy stays claimed until it cannot
any more, then whoever comes first looks at the blob's end again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection

from graphql_api.guard import OK, digest_of_input
from graphql_api.read_model import queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.follow import Follower
from graphql_api.read_model.queries import Row
from graphql_api.read_model.reading import ReadModel
from graphql_api.records import audit
from graphql_api.records import retentions as kept
from graphql_api.records.database import Records
from graphql_api.records.retentions import Retention, due_epoch
from haulout.account.wallet import LIFE_MS
from haulout.chain.block import TransactionResult
from haulout.errors import HauloutError, Rejected, Unavailable
from haulout.ledger.commands import Command, Existing, ExtendBlob, ExtendSharedBlob
from haulout.ledger.refusals import BlobIsInvalid, NotOwner
from haulout.observability import tracing
from haulout.observability.logs import get_logger
from haulout.ports import Clock, Rng
from haulout.primitives import blob_id_text, hex_id_text

MUTATION = "renewBlob"  # as the audit trail names what nobody has called
BATCH = 16  # transactions on their way at a time
CLAIM_MS = 2 * LIFE_MS  # a transaction lives for half of it; the rest is for clocks that differ
AGAIN_MS = 5_000
TRACE_BYTES = 16

EXTENDED, REFUSED, UNANSWERED, ENDED = "extended", "refused", "unanswered", "ended"

log = get_logger("retention")


@dataclass(eq=False)
class RetentionTooLate(Rejected):
    """The blob has ended before it could be extended."""

    code = "RETENTION_TOO_LATE"
    template = "the blob object was paid for up to epoch {end_epoch}, it is epoch {epoch}"
    hint = "store the blob again; see that the account has funds, and that extendWhenBelow leaves time"
    end_epoch: int
    epoch: int


class Payer(Protocol):
    """What is needed of a wallet."""

    @property
    def address(self) -> bytes:
        """Of the account."""

    async def execute(self, commands: Sequence[Command]) -> TransactionResult:
        """Have commands take effect together; errors as those of `Wallet.execute`."""


@dataclass(frozen=True, slots=True)
class Extend:
    """Pay for so many epochs more, of a shared object from its own funds."""

    n_epochs: int
    end_epoch: int
    is_shared: bool = False

    def command(self, object_id: bytes) -> Command:
        """What the ledger is asked for."""
        cls = ExtendSharedBlob if self.is_shared else ExtendBlob
        return cls(Existing(object_id), self.n_epochs)


@dataclass(frozen=True, slots=True)
class PutOff:
    """Look again in an epoch; None: never, for this reason."""

    epoch: int | None
    error: HauloutError | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """The object is gone, and its policy with it."""


def plan_renewal(
    policy: Retention, blob: Row, *, epoch: int, payer: bytes, is_invalid: bool
) -> Extend | PutOff | Forget:
    """What a policy asks for in an epoch.

    Args:
        blob: the object's row in the read model.
        payer: address of the account that pays for what it owns.
        is_invalid: whether the blob id was proven to be wrongly encoded: nothing is paid for it any more.
    """
    if blob["deleted_height"] is not None:
        return Forget()
    end_epoch = blob["end_epoch"]
    if end_epoch <= epoch:
        return PutOff(None, RetentionTooLate(end_epoch=end_epoch, epoch=epoch))
    if is_invalid:
        return PutOff(None, BlobIsInvalid(blob_id=blob_id_text(blob["blob_id"])))
    if (refused := why_not_payable(policy.object_id, blob, payer)) is not None:
        return PutOff(None, refused)
    next_epoch = due_epoch(end_epoch, policy.extend_when_below)
    if next_epoch > epoch:
        return PutOff(next_epoch)
    wanted = epoch + policy.keep_epochs
    return Extend(wanted - end_epoch, wanted, _is_shared(blob))


def why_not_payable(object_id: bytes, blob: Row, payer: bytes) -> NotOwner | None:
    """Why an account cannot have an object extended: it is neither its own nor shared."""
    if blob["owner"] == payer or _is_shared(blob):
        return None
    names = {"owner": hex_id_text(blob["owner"]), "sender": hex_id_text(payer)}
    return NotOwner(object_id=hex_id_text(object_id), **names)


def _is_shared(blob: Row) -> bool:
    return blob["shared_funds_frost"] is not None


class RetentionKeeper:
    """All policies of an account. Keep `run()` going as a task where the account's key is."""

    def __init__(
        self,
        records: Records,
        read_model: ReadModel,
        follower: Follower,
        payer: Payer | None,
        *,
        clock: Clock,
        rng: Rng,
        registry: CollectorRegistry,
    ) -> None:
        self._records = records
        self._read_model = read_model
        self._follower = follower
        self._payer = payer
        self._clock = clock
        self._rng = rng
        self._wanted = asyncio.Event()
        self._wanted.set()  # what became due while no process ran
        text = "Renewals of blobs under a retention policy, by what came of them."
        name = "haulout_graphql_retention_renewals_total"
        self._renewals = Counter(name, text, labelnames=["outcome"], registry=registry)
        for outcome in (EXTENDED, REFUSED, UNANSWERED, ENDED):
            self._renewals.labels(outcome)

    def look(self) -> None:
        """Have policies looked at now: there is a new one."""
        self._wanted.set()

    async def run(self) -> None:
        """Renew until cancelled; records are read when an epoch begins, and while something is left to do."""
        if self._payer is None:
            return
        watching = asyncio.create_task(self._watch_epochs())
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                if not await self._is_all_done(self._payer):
                    await self._clock.sleep_ms(AGAIN_MS)
                    self._wanted.set()
        finally:
            watching.cancel()

    async def _watch_epochs(self) -> None:
        progress = self._follower.progress
        while True:
            epoch = progress.epoch
            progress = await self._follower.wait_for_news(progress)
            if progress.epoch != epoch:
                self._wanted.set()

    async def _is_all_done(self, payer: Payer) -> bool:
        if not self._follower.is_live:  # an epoch of the past says nothing about what is due
            return False
        try:
            return await self.round(payer)
        except HauloutError as e:
            log.warning("retention policies cannot be followed", code=e.code, problem=str(e))
            return False

    async def round(self, payer: Payer) -> bool:
        """Look at everything that is due; returns whether nothing is left open."""
        while True:
            async with self._read_model.reading() as reading:
                progress = await reading.snapshot()
                epoch, now_ms = progress.epoch, self._clock.now_ms()
                policies = await self._records.read(kept.due, epoch, progress.height, now_ms, BATCH)
                names = [policy.object_id for policy in policies]
                blobs = await reading.run(queries.rows_by, t.blob_objects.c.object_id, names)
                ids = [blob["blob_id"] for blob in blobs.values()]
                invalid = await reading.run(queries.rows_by, t.invalid_blobs.c.blob_id, ids)
            if not blobs:
                return await self._records.read(kept.count_open, epoch) == 0
            wanted: dict[bytes, Extend] = {}
            for policy in policies:
                if policy.object_id not in blobs:  # a read model that is made again has not come to it yet
                    continue
                blob = blobs[policy.object_id]
                is_invalid = blob["blob_id"] in invalid
                plan = plan_renewal(policy, blob, epoch=epoch, payer=payer.address, is_invalid=is_invalid)
                if isinstance(plan, Extend):
                    wanted[policy.object_id] = plan
                else:
                    await self._settle(policy.object_id, plan)
            await self._extend(payer, wanted, epoch)

    async def _settle(self, object_id: bytes, plan: PutOff | Forget) -> None:
        if isinstance(plan, Forget):
            await self._records.write(kept.drop, object_id)
            return
        if plan.error is not None:
            log.warning("a blob is not kept any longer", object_id=hex_id_text(object_id), problem=str(plan.error))
            self._renewals.labels(ENDED).inc()
        problem = None if plan.error is None else (plan.error.code, str(plan.error))
        await self._records.write(kept.put_off, object_id, plan.epoch, problem)

    async def _extend(self, payer: Payer, wanted: Mapping[bytes, Extend], epoch: int) -> None:
        now_ms = self._clock.now_ms()
        mine = await self._records.write(kept.claim, list(wanted), epoch, now_ms, now_ms + CLAIM_MS)
        if self._clock.now_ms() > now_ms + CLAIM_MS - LIFE_MS:
            return  # what is signed now might live longer than the claim
        renewals = (self._renew(payer, name, plan, epoch) for name, plan in wanted.items() if name in mine)
        for failure in await asyncio.gather(*renewals, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _renew(self, payer: Payer, object_id: bytes, plan: Extend, epoch: int) -> None:
        """Extend one, and write down what came of it."""
        trace_id = self._rng.random_bytes(TRACE_BYTES).hex()
        number = await self._records.write(
            lambda connection: audit.begin(
                connection,
                time_ms=self._clock.now_ms(),
                token_number=None,
                mutation=MUTATION,
                digest=digest_of_input({"object_id": object_id, "epochs": plan.n_epochs}),
                trace_id=trace_id,
            )
        )
        error: HauloutError | None = None
        try:
            with tracing.span("renew blob"):
                result = await payer.execute([plan.command(object_id)])
        except HauloutError as e:
            error = e
            name = hex_id_text(object_id)
            log.warning("a blob was not extended", object_id=name, code=e.code, problem=str(e), trace_id=trace_id)

        def write_down(connection: Connection) -> None:
            if error is None:
                kept.renewed(connection, object_id, plan.end_epoch, result.height)
            elif isinstance(error, Unavailable):
                kept.left_open(connection, object_id, (error.code, str(error)))
            else:
                kept.put_off(connection, object_id, epoch + 1, (error.code, str(error)))
            audit.end(connection, number, code=OK if error is None else error.code, time_ms=self._clock.now_ms())

        await self._records.write(write_down)
        outcome = UNANSWERED if isinstance(error, Unavailable) else REFUSED
        self._renewals.labels(EXTENDED if error is None else outcome).inc()
