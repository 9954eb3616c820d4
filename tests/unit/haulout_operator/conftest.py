"""A cluster in memory: an API server of dictionaries with the parts of Kubernetes that matter, and a real ledger core.

Only the edge is a fake: the observer, the planner, the executor and the status writer are the ones that run in a Pod,
and so is the sequencer with its engine in memory.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from haulout.account.wallet import Wallet
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import Unreachable
from haulout.ledger import keys, queries
from haulout.ledger.commands import ReportSyncDone
from haulout.ledger.genesis import Genesis
from haulout.ports import Finality
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.rng import SeededRng
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers
from haulout_operator.epochs import EpochController
from haulout_operator.execute import Executor
from haulout_operator.kube import ManifestRefused, ObjectConflict, ObjectMissing
from haulout_operator.ledger import LedgerDesk, Rows, read_facts
from haulout_operator.models.base import API_VERSION
from haulout_operator.names import NODE_LABEL
from haulout_operator.observe import Observer
from haulout_operator.observed import SampleRead
from haulout_operator.planning.plan import plan
from haulout_operator.reconcile import Reconciler

NAMESPACE = "demo"
START_MS = 1_800_000_000_000


class OperatorKilled(BaseException):
    """The operator's process ended here."""


class HandClock:
    """Time that passes when somebody sleeps, and not otherwise."""

    def __init__(self) -> None:
        self.time_ms = START_MS

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_us(self) -> int:
        return self.time_ms * 1000

    async def sleep_ms(self, duration_ms: int) -> None:
        self.time_ms += max(0, duration_ms)
        await asyncio.sleep(0)


class FakeKube:
    """The face of `kube.Kube` over dictionaries: apply and un-apply, finalizers, owners, Pods of StatefulSets."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.kill_after = -1  # effects that the operator still has before its process ends; negative: for ever
        self.refused: set[tuple[str, str]] = set()  # (kind, name) that the API server will not take
        self._applied: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._count = itertools.count(1)

    # --- what the operator calls ----------------------------------------------------------------------------

    async def list(self, api_version: str, kind: str, namespace: str, *, selector: str = "") -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
        found = [body for (its_kind, _), body in sorted(self.objects.items()) if its_kind == kind]
        return [copy.deepcopy(body) for body in found if wanted.items() <= (_labels(body)).items()]

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        key = _key(body)
        self._check(key)
        if key in self.objects:
            raise ObjectConflict(what="/".join(key), problem="already exists")
        self.writes.append(f"create {'/'.join(key)}")
        made = copy.deepcopy(body)
        if made["kind"] == "Secret":
            text = made.pop("stringData", {})
            made["data"] = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
        self._applied[(*key, "haulout-operator")] = copy.deepcopy(body)
        added = copy.deepcopy(self._add(made))
        self.take_effect()
        return added

    async def apply(self, body: dict[str, Any], *, manager: str = "haulout-operator") -> dict[str, Any]:
        key = _key(body)
        self._check(key)
        self.writes.append(f"apply {'/'.join(key)}")
        before = self._applied.get((*key, manager), {})
        self._applied[(*key, manager)] = copy.deepcopy(body)
        live = self.objects.get(key)
        if live is None:
            added = copy.deepcopy(self._add(copy.deepcopy(body)))
            self.take_effect()
            return added
        spec = copy.deepcopy(live.get("spec"))
        _merge(live, body, before)
        if live.get("spec") != spec:
            live["metadata"]["generation"] += 1
        self._touch(live)
        self.take_effect()
        return copy.deepcopy(live)

    async def apply_status(self, body: dict[str, Any]) -> dict[str, Any]:
        key = _key(body)
        if key not in self.objects:
            raise ObjectMissing(what="/".join(key))
        self.writes.append(f"status {'/'.join(key)}")
        self.objects[key]["status"] = copy.deepcopy(dict(body["status"]))
        self._touch(self.objects[key])
        self.take_effect()
        return copy.deepcopy(self.objects[key])

    async def patch(self, api_version: str, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> None:
        live = self.objects.get((kind, name))
        if live is None:
            raise ObjectMissing(what=f"{kind}/{name}")
        metadata = patch.get("metadata", {})
        version = metadata.get("resourceVersion")
        if version is not None and version != live["metadata"]["resourceVersion"]:
            raise ObjectConflict(what=f"{kind}/{name}", problem="the object has been modified")
        self.writes.append(f"patch {kind}/{name}")
        if "finalizers" in metadata:
            live["metadata"]["finalizers"] = list(metadata["finalizers"])
        live["metadata"].setdefault("annotations", {}).update(metadata.get("annotations", {}))
        live["spec"].update(patch.get("spec", {}))
        self._touch(live)
        self._collect()
        self.take_effect()

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        live = self.objects.get((kind, name))
        if live is None or (uid and live["metadata"]["uid"] != uid):
            return
        self.writes.append(f"delete {kind}/{name}")
        live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._touch(live)
        self._collect()
        self.take_effect()

    def take_effect(self) -> None:
        """Something took effect; perhaps the last thing that this process did."""
        self.kill_after -= 1
        if self.kill_after == 0:
            raise OperatorKilled

    # --- what Kubernetes and people do ----------------------------------------------------------------------

    def add(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """A person applies a custom resource."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}
        return self._add({**body, "spec": spec})

    def settle(self) -> None:
        """Controllers and kubelets: Pods for workloads, ready; none for those that are gone or stopped."""
        self.settle_others("")

    def settle_others(self, dead: str) -> None:
        """The same on all machines but that of one workload."""
        for (kind, name), body in list(self.objects.items()):
            if kind not in ("StatefulSet", "Deployment") or name == dead:
                continue
            if not body["spec"]["replicas"]:
                self.objects.pop(("Pod", f"{name}-0"), None)
                continue
            body["status"] = {"readyReplicas": body["spec"]["replicas"]}
            key = ("Pod", f"{name}-0")
            template = body["spec"]["template"]
            if key in self.objects and self.objects[key]["spec"]["template"] == template:
                continue
            self.objects.pop(key, None)
            self._add(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-0",
                        "labels": dict(template["metadata"]["labels"]),
                        "ownerReferences": [{"kind": kind, "name": name, "uid": body["metadata"]["uid"]}],
                    },
                    "spec": {"nodeName": "n1", "template": copy.deepcopy(template)},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                }
            )

    def break_pod(self, node: str) -> None:
        """A node's Pod is no longer ready."""
        ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "it does not answer"}
        self.objects["Pod", f"{node}-0"]["status"]["conditions"] = [ready]

    def names(self, kind: str) -> list[str]:
        return [name for its_kind, name in sorted(self.objects) if its_kind == kind]

    def _add(self, body: dict[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._count)}")
        metadata["generation"] = 1
        self.objects[_key(body)] = body
        self._touch(body)
        return body

    def _touch(self, body: dict[str, Any]) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._count))

    def _check(self, key: tuple[str, str]) -> None:
        if key in self.refused:
            raise ManifestRefused(what="/".join(key), status=422, problem="a policy says no")

    def _collect(self) -> None:
        """Delete what is being deleted and held by nothing, and what has lost its owner."""
        while True:
            uids = {body["metadata"]["uid"] for body in self.objects.values()}
            gone, dying = [], []
            for key, body in self.objects.items():
                metadata = body["metadata"]
                owners = metadata.get("ownerReferences") or []
                is_orphan = bool(owners) and not any(owner["uid"] in uids for owner in owners)
                if is_orphan and not metadata.get("deletionTimestamp"):
                    dying.append(body)
                if (metadata.get("deletionTimestamp") or is_orphan) and not metadata.get("finalizers"):
                    gone.append(key)
            for body in dying:
                body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            for key in gone:
                del self.objects[key]
            if not gone and not dying:
                return


def _key(body: dict[str, Any]) -> tuple[str, str]:
    return body["kind"], body["metadata"]["name"]


def _labels(body: dict[str, Any]) -> dict[str, str]:
    return body["metadata"].get("labels") or {}


def _merge(live: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]) -> None:
    """Server-side apply: take what is wanted, drop what was wanted before and is no more."""
    for name in [name for name in before if name not in wanted]:
        live.pop(name, None)
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(name), dict):
            _merge(live[name], value, before.get(name) if isinstance(before.get(name), dict) else {})
        else:
            live[name] = copy.deepcopy(value)


class Town:
    """A namespace with its operator and its ledger."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.clock = HandClock()
        self.scheme = KeyedHash()
        self.sequencer: Sequencer | None = None
        self.ledger_is_up = True
        self.is_attested = True
        self.holdings: dict[str, tuple[int, ...]] = {}  # what nodes say they hold, where it is not what the ledger says
        self.giving: dict[str, int] = {}  # the same of what they hand over
        self.samples: dict[str, SampleRead | None] = {}  # what reading without a node gives, where it is not all well
        self.sampled: list[str] = []
        self._rng = SeededRng(5)
        self.failures: dict[Any, str] = {}
        self._making: asyncio.Task[None] | None = None
        self.operator = self.new_operator(seed=1)

    def new_operator(self, seed: int) -> Reconciler:
        """Another process of the operator: nothing but the API server and the ledger remembers."""
        rng = SeededRng(seed)
        desk = LedgerDesk(
            connect=self._connect,
            transport=self,
            scheme=self.scheme,
            clock=self.clock,
            rng=rng,
            workers=InlineWorkers(),
        )
        desk.sample_without = self._sample_without  # type: ignore[method-assign] # there are no slivers here
        observer = Observer(self.kube, desk, self.clock, namespace=NAMESPACE, default_image="haulout:1")
        executor = Executor(self.kube, desk, scheme=self.scheme, clock=self.clock, rng=rng)
        registry = CollectorRegistry()
        return Reconciler(
            self.kube,
            observer,
            executor,
            EpochController(clock=self.clock, rng=rng, registry=registry),
            namespace=NAMESPACE,
            clock=self.clock,
            rng=rng,
            registry=registry,
        )

    async def _sample_without(self, network: str, namespace: str, genesis: Genesis, node: str) -> SampleRead | None:
        self.sampled.append(node)
        return self.samples.get(node, SampleRead(3))

    # the ledger's Service, as far as the operator sees it

    def _connect(self, address: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name not in ("submit", "result", "status", "read", "scan"):
            raise AttributeError(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if not self.ledger_is_up or ("Pod", "main-ledger-0") not in self.kube.objects:
                raise Unreachable(peer="ledger", problem="down")
            answer = await getattr(await self._ledger(), name)(*args, **kwargs)
            if name == "submit":
                self.kube.take_effect()
            if name == "status":  # n - f shards of nodes sign what they execute
                head = answer.head.height
                answer = replace(answer, finality=Finality(head, head, head if self.is_attested else head - 1))
            return answer

        return call

    async def _ledger(self) -> Sequencer:
        if self.sequencer is None:
            text = self.kube.objects["ConfigMap", "main-genesis"]["data"]["genesis.json"]
            self.sequencer = await Sequencer.open(
                store=MemoryStore(),
                genesis=Genesis.from_json(text),
                scheme=self.scheme,
                clock=self.clock,
                workers=InlineWorkers(),
                engine="memory",
            )
            self._making = asyncio.create_task(self.sequencer.run())
        return self.sequencer

    def connect(self, address: str) -> Any:
        """A node of the network, which is always at the ledger's head and holds what the ledger says."""

        async def health() -> SimpleNamespace:
            assert self.sequencer is not None
            facts = await read_facts(self, None)
            known = facts.nodes[address.partition(".")[0]]
            giving = tuple(range(self.giving.get(known.name, known.open_hand_overs)))
            return SimpleNamespace(
                node_id=known.node_id,
                height=facts.height,
                epoch=facts.epoch,
                shards=self.holdings.get(known.name, known.shards),
                gaining=(),
                giving=giving,
            )

        return SimpleNamespace(health=health)

    async def advance(self) -> None:
        """The next epoch begins, as `kubectl haulout epoch advance` asks for."""
        facts = await read_facts(self, None)
        metadata = self.kube.objects["StorageNetwork", "main"]["metadata"]
        metadata.setdefault("annotations", {})["haulout.dev/advance-epoch"] = str(facts.epoch)
        await self.round()

    async def sync(self, *, but: Collection[str] = ()) -> None:
        """Every member but some has what it gained and reports it."""
        facts = await read_facts(self, None)
        rows = Rows(dict(await self.scan(*keys.table_range(keys.HAND_OVER), limit=1000)))
        for name, node in facts.nodes.items():
            if not node.shards or name in but:
                continue
            gained = [one for one in queries.open_hand_overs(rows) if one.to_node == node.node_id]
            for epoch in sorted({one.epoch for one in gained} | {facts.epoch}):
                shards = tuple(one.shard_index for one in gained if one.epoch == epoch)
                secret = bytes.fromhex(self.secret(f"{name}-keys", "keys.json")["capabilitySecret"])
                wallet = Wallet(secret, chain_id=facts.chain_id, ledger=self, clock=self.clock, rng=self._rng)
                await wallet.execute([ReportSyncDone(node_id=node.node_id, epoch=epoch, shards=shards)])

    async def close(self) -> None:
        await self.operator.close()
        if self.sequencer is not None:
            self.sequencer.stop()
            assert self._making is not None
            await self._making
            await self.sequencer.close()

    # playing

    async def round(self, operator: Reconciler | None = None) -> bool:
        """One round and what Kubernetes does then; whether anything was done."""
        outcome = await (operator or self.operator).run_round("main", self.failures)
        self.kube.settle()
        self.clock.time_ms += 1000
        if outcome is None:
            self.failures = {}
            return False
        self.failures, acted = outcome
        return acted

    async def round_at_once(self, *operators: Reconciler) -> None:
        """All look at the same moment, and then each does what it has planned."""
        sights = [await operator._observer.look("main", {}) for operator in operators]
        for operator, sight in zip(operators, sights, strict=True):
            assert sight is not None
            await operator._executor.run(sight.observed, plan(sight.observed).actions)
        self.kube.settle()
        self.clock.time_ms += 1000

    async def survive(self) -> bool:
        """Rounds until nothing is left to do, with a new process where one is killed; whether that happened."""
        try:
            await self.play(limit=30)
        except OperatorKilled:
            self.operator = self.new_operator(seed=99)
            self.failures = {}
            self.kube.settle()
            await self.play(limit=30)
            return True
        return False

    async def play(self, limit: int = 20) -> int:
        """Rounds until nothing is left to do; how many did something."""
        for count in range(limit):
            if not await self.round():
                return count
        raise AssertionError(f"still busy after {limit} rounds: {self.kube.writes[-10:]}")

    def leaving(self) -> list[str]:
        """StorageNodes that are being deleted, or leave because their pool has become smaller."""
        bodies = {name: self.kube.objects["StorageNode", name]["metadata"] for name in self.nodes()}
        return [
            name
            for name, metadata in bodies.items()
            if metadata.get("deletionTimestamp") or metadata.get("annotations", {}).get("haulout.dev/leaving") == "true"
        ]

    def found(self, replicas: int = 4, **spec: Any) -> None:
        """A person asks for a network with one pool; its epochs change when they say so."""
        self.kube.add("StorageNetwork", "main", {"epoch": {"manual": True}, **spec})
        self.kube.add("StorageNodePool", "main", {"networkRef": {"name": "main"}, "replicas": replicas})

    def scale(self, replicas: int) -> None:
        body = self.kube.objects["StorageNodePool", "main"]
        body["spec"]["replicas"] = replicas
        body["metadata"]["generation"] += 1

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        conditions = self.kube.objects[kind, name]["status"]["conditions"]
        return next(one for one in conditions if one["type"] == type_)

    def nodes(self) -> list[str]:
        return self.kube.names("StorageNode")

    def images(self) -> set[str]:
        """What the nodes' Pods are made from."""
        sets = [self.kube.objects["StatefulSet", name] for name in self.nodes()]
        return {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in sets}

    def node_pods(self) -> list[str]:
        return [name for name in self.kube.names("Pod") if NODE_LABEL in _labels(self.kube.objects["Pod", name])]

    def secret(self, name: str, file: str) -> dict[str, Any]:
        return json.loads(base64.b64decode(self.kube.objects["Secret", name]["data"][file]))


@pytest.fixture
async def town() -> Iterator[Town]:
    """An empty namespace."""
    made = Town()
    yield made
    await made.close()


@pytest.fixture(scope="session")
def new_town() -> type[Town]:
    """Makes empty namespaces; the caller closes them."""
    return Town
