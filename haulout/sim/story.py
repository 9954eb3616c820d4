"""One seed played to its end: load and troubles together, then calm, then the verdict.

    run = play(draw_plan(7))
    run.violation      None, or what happened that may never happen

During the troubles an operation may fail with an error of ours; in the calm none may. Same plan, same trace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final

from haulout.client.errors import BlobNotFound, BlobUnavailable
from haulout.client.holders import COMMITTEES
from haulout.client.read import read_range
from haulout.client.store import AlreadyCertified, StoreRequest
from haulout.codec.errors import InconsistentBlob
from haulout.codec.red_stuff import EncodedBlob
from haulout.crypto.bls import Bls12381
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import HauloutError
from haulout.ledger.commands import DeleteBlob, Existing, ExtendBlob
from haulout.node.identity import NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.ports import StorageNodeApi
from haulout.primitives import BlobId
from haulout.sim import loop
from haulout.sim.changes import Changes
from haulout.sim.clock import VirtualClock
from haulout.sim.faults import Troubles
from haulout.sim.liars import Liar
from haulout.sim.oracle import Oracle, Violation
from haulout.sim.plan import WAL, Plan
from haulout.sim.rng import SeededRng
from haulout.sim.trace import Trace
from haulout.sim.witness import Truth, WitnessedScheme
from haulout.sim.world import SimClient, World
from haulout.sim.writers import contradict, register_only, store_inconsistent

WRITER: Final = "alice"
READER: Final = "bob"
MESSY: Final = "mallory"
TREASURY: Final = "trent"
GRACE_MS: Final = 500
FUNDS_FROST: Final = 1_000_000 * WAL
N_EPOCHS: Final = 40
CALM_MS: Final = 600_000
LIMIT_S: Final = 7_200.0
LARGEST_BLOB_BYTES: Final = 40_000


@dataclass
class Run:
    """What became of a seed.

    Attributes:
        violation: what happened that may never happen, or None.
        faults: how often each kind happened.
        operations: how the clients' operations ended, by kind and outcome.
        trace: hash of everything that happened.
    """

    plan: Plan
    violation: str | None = None
    faults: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    n_blobs: int = 0
    n_epochs: int = 0
    trace: str = ""
    lines: list[str] = field(default_factory=list)


def play(plan: Plan) -> Run:
    """Play a plan. Never raises: what goes wrong is in `violation`."""
    run = Run(plan)
    trace = Trace()
    try:
        loop.run(_Story(plan, run, trace).tell(), plan.seed, limit_s=LIMIT_S)
    except AssertionError as e:
        run.violation = str(e) or repr(e)
    except BaseExceptionGroup as group:
        run.violation = "; ".join(str(e) or repr(e) for e in _leaves(group))
    except Exception as e:  # noqa: BLE001 - whatever an actor lets through is found here
        run.violation = f"{type(e).__name__}: {e}"
    run.trace, run.lines = trace.digest(), trace.lines
    return run


class _Story:
    def __init__(self, plan: Plan, run: Run, trace: Trace) -> None:
        self._plan = plan
        self._run = run
        self._rng = SeededRng(plan.seed, "story")
        self._truth = Truth(plan.n_shards)
        self._scheme = WitnessedScheme(Bls12381() if plan.has_real_signatures else KeyedHash())
        self._world = World(
            plan.seed,
            n_nodes=len(plan.stakes_frost),
            n_shards=plan.n_shards,
            accounts=(WRITER, READER, MESSY, TREASURY),
            weather=plan.weather,
            stake_frost=plan.stakes_frost,
            scheme=self._scheme,
            served=self._served,
            trace=trace,
            epoch_ms=plan.epoch_ms,
            grace_ms=GRACE_MS,
            funds_frost=FUNDS_FROST,
            settings=NodeSettings(sync_bytes_per_s=plan.sync_bytes_per_s),
            seen_checkpoint=self._scheme.note_checkpoint,
        )
        self._troubles = Troubles(self._world, plan, self._rng.fork("troubles"), TREASURY, run.faults)
        self._changes = Changes(self._world, plan, TREASURY, run.faults, self._rng.fork("changes"))
        self._oracle = Oracle(self._world, plan, self._truth, self._scheme, self._troubles)

    async def tell(self) -> None:
        async with self._world:
            try:
                await self._be_troubled()
                await self._calm_down()
            finally:
                self._run.n_blobs = len(self._truth.certified)
                self._run.n_epochs = self._oracle.n_epochs

    # --- troubles -------------------------------------------------------------------------------------------

    async def _be_troubled(self) -> None:
        """Load, faults and the oracle, until the time is over; the first violation ends all of it."""
        work = [self._write, self._read, self._make_a_mess, self._changes.run, self._troubles.run, self._oracle.watch]
        tasks = [asyncio.create_task(part()) for part in work]
        try:
            timer = asyncio.create_task(VirtualClock().sleep_ms(self._plan.duration_ms))
            waiting: set[asyncio.Task[None]] = {timer, *tasks}
            while not timer.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self) -> None:
        rng, clock = self._rng.fork("writer"), VirtualClock()
        pause_ms = max(1, 2 * self._plan.duration_ms // self._plan.n_blobs)
        writes: set[asyncio.Task[None]] = set()
        try:
            for _ in range(self._plan.n_blobs):
                data = rng.random_bytes(_size_bytes(rng))
                writes.add(asyncio.create_task(self._store(data, rng.below(2) == 0)))
                await clock.sleep_ms(rng.below(pause_ms))
                if rng.below(6) == 0:
                    writes.add(asyncio.create_task(self._change_something(rng.fork(f"change {len(writes)}"))))
            await asyncio.gather(*writes)
        finally:
            for task in writes:
                task.cancel()
            await asyncio.gather(*writes, return_exceptions=True)

    async def _store(self, data: bytes, deletable: bool) -> None:
        blob_id = self._truth.note_begun(data)
        request = StoreRequest(n_epochs=N_EPOCHS, deletable=deletable)
        await self._attempt("store", self._store_once(self._client(WRITER), blob_id, data, request))

    async def _store_once(self, client: SimClient, blob_id: BlobId, data: bytes, request: StoreRequest) -> None:
        result = await client.store(data, request)
        if result.blob_id != blob_id:
            raise Violation("D-3", f"{result.blob_id.hex()} was stored, {blob_id.hex()} was meant")
        object_id = None if isinstance(result, AlreadyCertified) or not request.deletable else result.object_id
        self._truth.note_stored(blob_id, object_id)

    async def _change_something(self, rng: SeededRng) -> None:
        """Extend a blob, or delete one."""
        owned = [blob_id for blob_id in self._truth.objects if blob_id not in self._truth.forgotten]
        if not owned:
            return
        blob_id = owned[rng.below(len(owned))]
        target = Existing(self._truth.objects[blob_id])
        client = self._client(WRITER)
        if rng.below(2):
            await self._attempt("extend", client.wallet.execute([ExtendBlob(target, 1)]))
        else:
            self._truth.forgotten[blob_id] = None  # whether or not it comes to that
            await self._attempt("delete", client.wallet.execute([DeleteBlob(target)]))

    async def _read(self) -> None:
        rng, clock = self._rng.fork("reader"), VirtualClock()
        while True:
            await clock.sleep_ms(rng.below(4_000))
            known = [*self._truth.promised(), *self._truth.inconsistent]
            if not known:
                continue
            blob_id = known[rng.below(len(known))]
            name = (WRITER, READER)[rng.below(2)]
            if blob_id in self._truth.data and self._truth.data[blob_id] and rng.below(3) == 0:
                await self._attempt("read range", self._read_part(name, blob_id, rng))
            else:
                await self._attempt("read", self._read_once(name, blob_id))

    async def _read_once(self, name: str, blob_id: BlobId) -> None:
        try:
            data = await self._client(name).read(blob_id)
        except InconsistentBlob as e:
            if blob_id in self._truth.data:
                raise Violation("D-5", f"{name} calls {blob_id.hex()} inconsistent, which it is not") from None
            if e.check != COMMITTEES:  # that one stands for all from then on, whatever was read before
                self._truth.verdicts[blob_id].add("inconsistent")
            return
        expected = self._truth.data.get(blob_id)
        if expected is None:
            self._truth.verdicts[blob_id].add(f"{len(data)} bytes")
        elif data != expected:
            raise Violation("D-3", f"{name} read other bytes than {blob_id.hex()} has")

    async def _read_part(self, name: str, blob_id: BlobId, rng: SeededRng) -> None:
        expected = self._truth.data[blob_id]
        start = rng.below(len(expected))
        length = 1 + rng.below(len(expected) - start)
        client = self._client(name)

        async def read() -> bytes:
            with await read_range(client.network, blob_id, start, length) as part:
                return bytes(part.data)

        if await client.host.machine.start(read(), name="read range") != expected[start : start + length]:
            raise Violation("D-3", f"{name} read other bytes than {blob_id.hex()} has from {start} on")

    async def _make_a_mess(self) -> None:
        """What bad writers do, from an account of their own."""
        rng, clock = self._rng.fork("mess"), VirtualClock()
        kinds = [
            kind for kind in ("half upload", "abandoned registration", "inconsistent blob") if kind in self._plan.kinds
        ]
        while kinds:
            await clock.sleep_ms(1_000 + rng.below(20_000))
            kind = kinds[rng.below(len(kinds))]
            client = self._client(MESSY)
            size_bytes = 1 + _size_bytes(rng)
            data, other = rng.random_bytes(size_bytes), rng.random_bytes(size_bytes)
            encoded = contradict(data, other, self._plan.n_shards)
            self._run.faults[kind] += 1
            if kind == "abandoned registration":
                await self._attempt(kind, register_only(client.network, client.wallet, encoded))
            elif kind == "half upload":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rng.below(300) / 1000):
                        await self._attempt(kind, client.store(data, StoreRequest(n_epochs=2)))
            else:
                await self._attempt(kind, self._store_inconsistent(client, encoded))

    async def _store_inconsistent(self, client: SimClient, encoded: EncodedBlob) -> None:
        self._truth.inconsistent[encoded.blob_id] = None  # it may be certified although that is not heard of
        await client.host.machine.start(store_inconsistent(client.network, client.wallet, encoded))

    async def _attempt(self, what: str, action: Awaitable[object]) -> None:
        """Do something that may fail while there are troubles."""
        try:
            await action
        except HauloutError as e:
            if self._plan.is_fair and isinstance(e, BlobUnavailable):
                raise Violation("read", f"{what} failed although nobody but liars was in its way: {e}") from e
            self._run.operations[f"{what}: {e.code}"] += 1
            self._world.fabric.note(f"{what}: {e.code}")
        else:
            self._run.operations[f"{what}: ok"] += 1

    # --- calm -----------------------------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """Mend what can be mended; then everything has to become well, and stay so."""
        await self._troubles.end()
        await self._until_complete()
        await self._store_all()
        await self._oracle.find_damage()
        await self._until_complete()
        for name in (WRITER, READER):
            for blob_id in (*self._truth.promised(), *self._truth.inconsistent):
                try:
                    await self._read_once(name, blob_id)
                except BlobNotFound:
                    if blob_id not in self._truth.inconsistent:
                        raise
        await self._until_complete()  # an epoch may have begun while they read
        await self._oracle.judge()

    async def _store_all(self) -> None:
        """What could not be stored in the troubles can be stored now."""
        client = self._client(WRITER)
        for blob_id, data in self._truth.data.items():
            if blob_id not in self._truth.certified and blob_id not in self._truth.forgotten:
                await self._store_once(client, blob_id, data, StoreRequest(n_epochs=N_EPOCHS, deletable=False))

    async def _until_complete(self) -> None:
        """Everybody is at the ledger's head, has every shard that is on its way, and lacks nothing."""
        await self._world.until(self._is_all_complete, "all are complete", within_ms=CALM_MS)

    def _is_all_complete(self) -> bool:
        names = (*self._world.node_names, WRITER, READER)
        return self._oracle.is_settled() and all(self._is_complete(name) for name in names)

    def _is_complete(self, name: str) -> bool:
        """It has followed the ledger to its end and lacks nothing but what nobody can rebuild."""
        return self._world.is_complete(name, beside=self._truth.inconsistent)

    # --- who is there ---------------------------------------------------------------------------------------

    def _client(self, name: str) -> SimClient:
        return self._world.client(name)

    def _served(self, name: str, node: StorageNode) -> StorageNodeApi:
        if "liar" not in self._plan.kinds or name not in self._plan.bad_nodes:
            return node
        rng = self._rng.fork(f"{name}'s lies")
        return Liar(node, self._plan.lies, scheme=self._scheme, rng=rng, told=self._run.faults)


def _size_bytes(rng: SeededRng) -> int:
    """Mostly small, now and then large: what goes into rows, into packs and into files of its own."""
    return rng.below(LARGEST_BLOB_BYTES >> rng.below(12))


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
