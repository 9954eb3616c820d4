"""One seed played to its end: load and troubles together, then calm, then the verdict.

    run = play(draw_plan(7))
    run.violation      None, or what happened that may never happen

During the troubles an operation may fail with an error of ours; in the calm none may. Same plan, same trace.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from haulout.client.errors import BlobNotFound
from haulout.client.store import StoreRequest
from haulout.crypto.bls import Bls12381
from haulout.crypto.keyed_hash import KeyedHash
from haulout.node.identity import NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.node.store_layout import Layout
from haulout.ports import StorageNodeApi
from haulout.sim import loop
from haulout.sim.changes import Changes
from haulout.sim.clock import VirtualClock
from haulout.sim.faults import Troubles
from haulout.sim.liars import Liar, claim_shards
from haulout.sim.load import MESSY, N_EPOCHS, READER, WRITER, Load
from haulout.sim.oracle import Oracle
from haulout.sim.plan import WAL, Plan
from haulout.sim.rng import SeededRng
from haulout.sim.sharing import Sharing
from haulout.sim.trace import Trace
from haulout.sim.witness import Truth, WitnessedScheme
from haulout.sim.world import World

TREASURY: Final = "trent"
GRACE_MS: Final = 500
FUNDS_FROST: Final = 1_000_000 * WAL
CALM_MS: Final = 600_000
LIMIT_S: Final = 7_200.0
KEEP_MS: Final = 5_000
SMALL_FILES: Final = Layout(inline_bytes=400, inline_piece_bytes=1_000, pack_bytes=4_000, own_file_bytes=8_000)


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
            settings=NodeSettings(
                sync_bytes_per_s=plan.sync_bytes_per_s,
                scrub_pause_ms=60_000,
                file_watch_pause_ms=60_000,
                repair_memory_bytes=0 if plan.rebuilds_by_symbols else NodeSettings().repair_memory_bytes,
                layout=SMALL_FILES if plan.has_small_files else Layout(),
            ),
            seen_checkpoint=self._scheme.note_checkpoint,
            keep_ms=KEEP_MS if "pruned blocks" in plan.kinds else None,
        )
        self._troubles = Troubles(self._world, plan, self._rng.fork("troubles"), TREASURY, run.faults)
        self._changes = Changes(self._world, plan, TREASURY, run.faults, self._rng.fork("changes"))
        self._load = Load(
            self._world,
            plan,
            self._truth,
            self._rng.fork("load"),
            operations=run.operations,
            happened=run.faults,
        )
        self._sharing = Sharing(self._world, plan, self._truth, self._load, run.faults, self._rng.fork("sharing"))
        self._oracle = Oracle(self._world, plan, self._truth, self._scheme, self._troubles)

    async def tell(self) -> None:
        async with self._world:
            try:
                await self._be_troubled()
                await self._calm_down()
            finally:
                self._run.n_blobs = len(self._truth.certified)
                self._run.n_epochs = self._oracle.n_epochs
                if n_snapshots := self._world.processes.n_snapshots:
                    self._run.operations["begin with a snapshot: ok"] = n_snapshots

    # --- troubles -------------------------------------------------------------------------------------------

    async def _be_troubled(self) -> None:
        """Load, faults and the oracle, until the time is over; the first violation ends all of it."""
        load = self._load
        work = [
            load.write,
            load.read,
            load.ask,
            load.make_a_mess,
            self._sharing.run,
            self._changes.run,
            self._troubles.run,
            self._oracle.watch,
        ]
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

    # --- calm -----------------------------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """Mend what can be mended; then everything has to become well, and stay so."""
        following = asyncio.create_task(self._oracle.follow())
        try:
            await self._troubles.end()
            await self._become_well()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if not following.cancelled():
            following.result()
        await self._oracle.judge()

    async def _become_well(self) -> None:
        await self._until_complete()
        await self._store_all()
        await self._oracle.find_damage()
        if "lost ledger" in self._plan.kinds:
            await self._world.lose_ledger(self._oracle.look)
            self._run.faults["lost ledger"] += 1
        await self._until_complete()
        for name in (WRITER, READER):
            for blob_id in (*self._truth.promised(), *self._truth.inconsistent):
                try:
                    await self._load.read_once(name, blob_id)
                except BlobNotFound:
                    if blob_id not in self._truth.inconsistent:
                        raise
        await self._until_complete()  # an epoch may have begun while they read
        self._run.faults["pruned blocks"] += self._world.has_pruned

    async def _store_all(self) -> None:
        """What could not be stored in the troubles can be stored now."""
        for blob_id, encoding in self._truth.encodings.items():
            if blob_id not in self._truth.certified and blob_id not in self._truth.forgotten:
                request = StoreRequest(n_epochs=N_EPOCHS, deletable=False, encoding=encoding)
                await self._load.store_once(blob_id, request)

    async def _until_complete(self) -> None:
        """Everybody is at the ledger's head, has every shard that is on its way, and lacks nothing."""
        await self._world.until(self._is_all_complete, "all are complete", within_ms=CALM_MS)

    def _is_all_complete(self) -> bool:
        names = (*self._world.node_names, WRITER, READER)
        return self._oracle.is_settled() and all(self._is_complete(name) for name in names)

    def _is_complete(self, name: str) -> bool:
        """It has followed the ledger to its end and lacks nothing but what nobody can rebuild."""
        return self._world.is_complete(name, beside=self._truth.inconsistent)

    # --- who answers ----------------------------------------------------------------------------------------

    def _served(self, name: str, node: StorageNode) -> StorageNodeApi:
        if name not in self._plan.liars:
            return node
        if "false sync-done" in self._plan.kinds:
            claim_shards(node, self._world.wallet_of_node(name), self._run.faults)
        rng = self._rng.fork(f"{name}'s lies")
        return Liar(node, self._plan.lies, scheme=self._scheme, rng=rng, told=self._run.faults)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
