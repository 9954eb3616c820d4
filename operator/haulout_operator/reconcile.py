"""One round for one network: look, plan, act, say. Rounds follow one another until nothing is left to do.

Whatever happens asks for a round by the network's name; a name that waits already is not queued twice, and one whose
round fails comes back after a pause that grows.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from haulout.errors import Forbidden, HauloutError, InvalidInput
from haulout.observability.logs import get_logger
from haulout.observability.metrics import LATENCY_BUCKETS_S
from haulout.ports import Clock, Rng
from haulout_operator.complaints import find_waiting
from haulout_operator.epochs import EpochController
from haulout_operator.events import build_events, find_happenings
from haulout_operator.execute import Executor
from haulout_operator.genesis import problem_of
from haulout_operator.kube import Kube, Manifest, ObjectMissing
from haulout_operator.models.base import API_VERSION
from haulout_operator.observe import Observer, Sight
from haulout_operator.observed import Observed, Subject
from haulout_operator.planning.node import awaits_word
from haulout_operator.planning.plan import Plan, plan
from haulout_operator.statuses.conditions import Fact, merge_conditions
from haulout_operator.statuses.network import compute_network_status, is_paused, missing_services
from haulout_operator.statuses.node import compute_node_status
from haulout_operator.statuses.pool import compute_pool_status
from haulout_operator.statuses.stuck import KINDS, is_stuck
from haulout_operator.statuses.transition import compute_transition_status

SETTLE_MS = 300  # events come in swarms: one round for all of them
AGAIN_MS = 1_000
RESYNC_MS = 60_000
RESYNC_JITTER_MS = 15_000
SOON_MS = 5_000  # while members fetch the shards of a new epoch, or a node is about to join or to go
MOVING_MS = 15_000  # while shards of an earlier change are still on their way
BACKOFF_MS = 1_000
BACKOFF_MS_MAX = 60_000

log = get_logger("operator")


class Reconciler:
    """Rounds for all networks of a namespace."""

    def __init__(
        self,
        kube: Kube,
        observer: Observer,
        executor: Executor,
        epochs: EpochController | None,  # none where they are driven by another process
        *,
        namespace: str,
        clock: Clock,
        rng: Rng,
        registry: CollectorRegistry,
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._executor = executor
        self._epochs = epochs
        self._namespace = namespace
        self._clock = clock
        self._rng = rng
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.installed: set[str] = set()  # networks that were available at some time, with every service
        self._stuck: dict[str, Counts[str]] = {}  # by network: objects that do not get ready, by kind
        self.seen: dict[str, Observed] = {}  # what the last round of each network has looked at
        self._rounds = Counter("haulout_operator_reconcile", "Rounds.", ["result"], registry=registry)
        self._seconds = Histogram(
            "haulout_operator_reconcile_duration_seconds",
            "Time of a round.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        text = "When the last round without an error ended."
        self._success = Gauge("haulout_operator_last_success_timestamp_seconds", text, registry=registry)
        for result in ("ok", "failed"):
            self._rounds.labels(result=result)
        text = "Objects that have not been ready for ten minutes, though nobody meant them not to."
        stuck = Gauge("haulout_operator_stuck_objects", text, ["kind"], registry=registry)
        for kind in KINDS:
            stuck.labels(kind).set_function(functools.partial(self._n_stuck, kind))

    def _n_stuck(self, kind: str) -> int:
        return sum(of_network[kind] for of_network in self._stuck.values())

    def wake(self, network: str) -> None:
        """Ask for a round."""
        if not network:
            return
        if network not in self._wakes:
            self._wakes[network] = asyncio.Event()
            self._tasks[network] = asyncio.create_task(self._serve(network), name=f"reconcile {network}")
        self._wakes[network].set()

    def _nudge(self, network: str) -> None:
        """Ask for a round if the network is served: its ledger has changed, which nothing in Kubernetes tells."""
        if network in self._wakes:
            self._wakes[network].set()

    async def close(self) -> None:
        """End all rounds."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._epochs is not None:
            await self._epochs.close()

    async def _serve(self, network: str) -> None:
        """Rounds of one network for as long as it exists."""
        wake = self._wakes[network]
        failures: dict[Subject, str] = {}
        backoff_ms = BACKOFF_MS
        pause_ms = 0
        while True:
            await self._wait(wake, pause_ms)
            wake.clear()
            await self._clock.sleep_ms(SETTLE_MS)
            started_us = self._clock.monotonic_us()
            try:
                outcome = await self.run_round(network, failures)
            except HauloutError as e:
                log.warning("round failed", network=network, code=e.code, problem=str(e))
                await self._tell_failed(network, e)
                result, pause_ms = "failed", backoff_ms
                backoff_ms = min(2 * backoff_ms, BACKOFF_MS_MAX)
            except Exception as e:
                log.exception("round broken", network=network)
                await self._tell_failed(network, e)
                result, pause_ms, backoff_ms = "failed", BACKOFF_MS_MAX, BACKOFF_MS_MAX
            else:
                if outcome is None and wake.is_set():  # it was made again while others were told that it is gone
                    failures, pause_ms = {}, 0
                    continue
                if outcome is None:
                    del self._wakes[network], self._tasks[network]
                    return
                failures, has_acted = outcome
                result = "failed" if any(failures.values()) else "ok"
                pause_ms = self._pause_ms(network, failures, has_acted, backoff_ms)
                backoff_ms = min(2 * backoff_ms, BACKOFF_MS_MAX) if failures else BACKOFF_MS
                if not failures and not has_acted:
                    self._success.set(self._clock.now_ms() / 1000)
            self._rounds.labels(result=result).inc()
            self._seconds.observe((self._clock.monotonic_us() - started_us) / 1e6)

    def _pause_ms(self, network: str, failures: Mapping[Subject, str], has_acted: bool, backoff_ms: int) -> int:
        """How long until the next round: what fails is tried less and less often, and holds up nothing else."""
        if has_acted:
            return AGAIN_MS
        rest_ms = self._rest_ms(network)
        return min(rest_ms, backoff_ms) if failures else rest_ms

    def _rest_ms(self, network: str) -> int:
        """How long nobody needs to look: nothing in Kubernetes tells when shards or words have arrived."""
        observed = self.seen[network]
        ledger = observed.ledger
        if any(awaits_word(observed, node) for node in observed.nodes):
            return SOON_MS
        if ledger is not None and ledger.phase == "Sync":
            return SOON_MS
        if ledger is not None and ledger.moving:
            return MOVING_MS
        if find_waiting(observed.children, observed.pods):
            return MOVING_MS  # events tell why, and those are not watched
        return RESYNC_MS + self._rng.below(RESYNC_JITTER_MS)

    async def _wait(self, wake: asyncio.Event, pause_ms: int) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep_ms(pause_ms))
        waking = asyncio.ensure_future(wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def run_round(self, network: str, failures: Mapping[Subject, str]) -> tuple[dict[Subject, str], bool] | None:
        """Look, plan, act, say; returns what failed and whether anything was done, None when the network is gone.

        What somebody else was faster at is done as well: the next round sees it.

        Raises:
            HauloutError: nothing could be seen, so nothing was done.
        """
        sight = await self._observer.look(network, failures)
        if sight is None:
            self.seen.pop(network, None)
            self._stuck.pop(network, None)
            if self._epochs is not None:
                await self._epochs.stop(network)
            await self._release_orphans(network)
            await self._tell_networkless(network)
            return None
        observed = sight.observed
        self.seen[network] = observed
        planned = plan(observed)
        actions = () if is_paused(observed) else planned.actions
        failed = await self._executor.run(observed, actions)
        if self._epochs is not None:
            await self._epochs.keep(observed, self._executor, functools.partial(self._nudge, network))
        await self._tell(sight, planned)
        return failed, any(not failed.get(action.subject) for action in actions)

    async def _release_orphans(self, network: str) -> None:
        """A StorageNode whose network is gone has nothing to wait for."""
        for body in await self._kube.list(API_VERSION, "StorageNode", self._namespace):
            reference = (body.get("spec") or {}).get("networkRef") or {}
            metadata = body["metadata"]
            if reference.get("name") == network and metadata.get("deletionTimestamp") and metadata.get("finalizers"):
                patch = {"metadata": {"finalizers": [], "resourceVersion": metadata["resourceVersion"]}}
                await self._kube.patch(API_VERSION, "StorageNode", self._namespace, metadata["name"], patch)

    async def _tell_networkless(self, network: str) -> None:
        """Pools and nodes of a network that is not there say what they wait for; everything else they said stands."""
        problem = (
            f"there is no StorageNetwork {network} in namespace {self._namespace}. Next: make it, or delete this; "
            "networkRef cannot be changed."
        )
        for kind in ("StorageNodePool", "StorageNode"):
            for body in await self._kube.list(API_VERSION, kind, self._namespace):
                metadata, old = body["metadata"], body.get("status") or {}
                reference = (body.get("spec") or {}).get("networkRef") or {}
                if reference.get("name") != network or metadata.get("deletionTimestamp"):
                    continue
                generation = int(metadata.get("generation", 0))
                facts = [Fact("Ready", False, "NetworkMissing", problem)]
                merged = merge_conditions(old, facts, now_ms=self._clock.now_ms(), generation=generation)
                status = {**old, "observedGeneration": generation, "conditions": merged}
                await self._write_and_announce(Subject(kind, metadata["name"]), metadata.get("uid", ""), old, status)

    async def _tell(self, sight: Sight, planned: Plan) -> None:
        observed = sight.observed
        statuses: list[tuple[Subject, Mapping[str, Any], Mapping[str, Any]]] = []
        for node in observed.nodes:
            statuses.append((node.subject, node.status, compute_node_status(observed, node)))
        for pool in observed.pools:
            blocked = planned.blocked.get(pool.name)
            statuses.append((pool.subject, pool.status, compute_pool_status(observed, pool, blocked)))
        for body in observed.transitions:
            status = compute_transition_status(observed, body)
            if status is not None:
                subject = Subject("EpochTransition", body["metadata"]["name"])
                statuses.append((subject, body.get("status") or {}, status))
        network = observed.network
        status = compute_network_status(observed, planned.blocked)
        statuses.append((network.subject, network.status, status))
        for subject, one in sight.unreadable.items():
            statuses.append((subject, *self._unready_status(one.body, *spec_unreadable(one.problem))))
        told = [(subject.kind, status) for subject, _, status in statuses if subject.kind in KINDS]
        self._stuck[network.name] = Counts(kind for kind, status in told if is_stuck(status, now_ms=observed.now_ms))
        uids = {network.subject: network.uid}
        uids |= {pool.subject: pool.uid for pool in observed.pools}
        uids |= {node.subject: node.uid for node in observed.nodes}
        uids |= {subject: one.body["metadata"].get("uid", "") for subject, one in sight.unreadable.items()}
        for body in observed.transitions:
            uids[Subject("EpochTransition", body["metadata"]["name"])] = body["metadata"].get("uid", "")
        for subject, live, wanted in statuses:
            await self._write_and_announce(subject, uids.get(subject, ""), live, wanted)
        is_available = any(one["type"] == "Available" and one["status"] == "True" for one in status["conditions"])
        if is_available and not missing_services(observed):
            self.installed.add(network.name)

    async def _write_and_announce(
        self, subject: Subject, uid: str, live: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        if await self._write(subject, live, wanted):
            found = find_happenings(live, wanted)
            await self._announce(build_events(subject, uid, self._namespace, found, self._clock.now_ms()))

    async def _announce(self, events: Sequence[Manifest]) -> None:
        """Events are for people: one that cannot be written keeps nobody waiting, and is in the log."""
        for event in events:
            if event["type"] == "Warning":
                log.warning("event", subject=event["involvedObject"]["name"], reason=event["reason"])
            try:
                await self._kube.create(event)
            except HauloutError as e:
                log.info("event not written", reason=event["reason"], problem=problem_of(e))

    async def _write(self, subject: Subject, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        """The one place where statuses are written; silent when nothing is new. Whether it was written."""
        if live == wanted:
            return False
        body: Manifest = {
            "apiVersion": API_VERSION,
            "kind": subject.kind,
            "metadata": {"name": subject.name, "namespace": self._namespace},
            "status": wanted,
        }
        try:
            await self._kube.apply_status(body)
        except ObjectMissing:
            return False  # it was let go of in this round
        except HauloutError as e:
            log.warning("status not written", subject=f"{subject.kind}/{subject.name}", problem=problem_of(e))
            return False
        return True

    async def _tell_failed(self, network: str, error: Exception) -> None:
        """What keeps all rounds of a network from anything, where that does not pass by itself: on the network, since
        nobody reads a log first."""
        told = why_no_round(error)
        if told is None:
            return
        subject = Subject("StorageNetwork", network)
        try:
            body = await self._kube.get(API_VERSION, subject.kind, self._namespace, network)
        except HauloutError:
            return  # the next round says so
        if body is not None:
            old, status = self._unready_status(body, *told)
            await self._write_and_announce(subject, body["metadata"].get("uid", ""), old, status)

    def _unready_status(self, body: Manifest, reason: str, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The status of an object that is not looked at any further, as it is and as it is to be: the rest stands."""
        old, generation = body.get("status") or {}, int(body["metadata"].get("generation", 0))
        facts = [Fact("Ready", False, reason, text)]
        merged = merge_conditions(old, facts, now_ms=self._clock.now_ms(), generation=generation)
        others = [one for one in old.get("conditions") or () if one["type"] != "Ready"]
        return old, {**old, "observedGeneration": generation, "conditions": [*merged, *others]}


def spec_unreadable(problem: str) -> tuple[str, str]:
    """Reason and message of a spec that this release cannot read."""
    text = f"{problem}. Next: correct that field, or run the release that knows it; until then it is left alone."
    return "SpecUnreadable", text


def why_no_round(error: Exception) -> tuple[str, str] | None:
    """Reason and message of what keeps rounds from anything; None of what a machine tries again."""
    if isinstance(error, InvalidInput):
        return spec_unreadable(str(error))
    if isinstance(error, Forbidden):
        return "AccessRefused", (
            f"{problem_of(error)}. Next: give the operator that permission, as helm does with rbac.create=true; "
            "nothing is done until then."
        )
    if isinstance(error, HauloutError):
        return None
    return "RoundBroken", (
        f"the operator does not know how to go on ({type(error).__name__}: {error}); nothing is done for this network "
        "until it does. Next: kubectl haulout report, and hand it on; Pods and data go on as they are."
    )
