"""A cluster in memory: an API server of dictionaries with the parts of Kubernetes that matter, and a real ledger core.

Only the edge is a fake: the observer, the planner, the executor and the status writer are the ones that run in a Pod,
and so is the sequencer with its engine in memory.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from haulout.account.wallet import Wallet
from haulout.crypto import ed25519, messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import Unreachable
from haulout.ledger import keys, queries
from haulout.ledger.commands import ReportSyncDone
from haulout.ledger.genesis import Genesis
from haulout.node.errors import NotAgreed
from haulout.ports import Finality, SignedMessage
from haulout.sequencer.sequencer import Sequencer
from haulout.sim.rng import SeededRng
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers
from haulout_operator.epochs import EpochController, EpochWatch
from haulout_operator.execute import Executor
from haulout_operator.failpoints import Armed, Failpoint, Failpoints
from haulout_operator.identity import make_node_keys
from haulout_operator.ledger import LedgerDesk, Rows, read_facts
from haulout_operator.names import NODE_LABEL
from haulout_operator.observe import Observer
from haulout_operator.observed import SampleRead
from haulout_operator.planning.plan import plan
from haulout_operator.reconcile import Reconciler
from tests.hand_clock import HandClock
from tests.unit.haulout_operator.fake_kube import NAMESPACE, FakeKube, OperatorKilled, labels_of


class StandingClock:
    """The same time, for whoever only acts when it is due: it passes when the test says so."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic_us(self) -> int:
        return self._clock.monotonic_us()

    async def sleep_ms(self, duration_ms: int) -> None:
        until_ms = self._clock.time_ms + max(0, duration_ms)
        await asyncio.sleep(0)
        while self._clock.time_ms < until_ms:
            await self._moved.wait()

    async def pass_ms(self, duration_ms: int) -> None:
        """Let time pass, and everybody who waited for that do what they do then."""
        self._clock.time_ms += duration_ms
        self._moved.set()
        self._moved = asyncio.Event()
        for _ in range(200):
            await asyncio.sleep(0)


class Town:
    """A namespace with its operator and its ledger."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.client: Any = self.kube  # what operators ask; the objects are the same
        self.clock = HandClock()
        self.epoch_clock = StandingClock(self.clock)
        self.armed: Armed | None = None  # where the next operator ends
        self.is_killed = False  # the present operator's process has ended
        self.ends: list[Failpoint] = []  # where operators have ended
        self.scheme = KeyedHash()
        self.sequencer: Sequencer | None = None
        self.ledger_is_up = True
        self.is_attested = True
        self.holdings: dict[str, tuple[int, ...]] = {}  # what nodes say they hold, where it is not what the ledger says
        self.giving: dict[str, int] = {}  # the same of what they hand over
        self.identities: dict[str, bytes] = {}  # as whom nodes answer, where it is not as themselves
        self.moving_bytes: dict[str, tuple[int, int]] = {}  # of shards on their way to a node: all, and what has come
        self.stored_bytes: dict[str, int] = {}  # of slivers on a node's volume
        self.releases: dict[str, str] = {}  # what a node runs, where it is not the first release
        self.knows: dict[str, int] = {}  # the newest protocol version that a node's build knows, where it is not 2
        self.agreed: dict[str, tuple[int, int]] = {}  # version and first epoch that nodes are let vote for
        self.refusing: set[str] = set()  # nodes that do not vote all the same
        self.height_lag = 0  # blocks that every node is behind
        self.full: set[str] = set()  # nodes whose volume is full
        self.samples: dict[str, SampleRead | None] = {}  # what reading without a node gives, where it is not all well
        self.sampled: list[str] = []
        self._rng = SeededRng(5)
        self.failures: dict[Any, str] = {}
        self._making: asyncio.Task[None] | None = None
        self.operator = self.new_operator(seed=1)

    def new_operator(self, seed: int, *, drives_epochs: bool = True) -> Reconciler:
        """Another process of the operator: nothing but the API server and the ledger remembers."""
        observer, executor, epochs, rng = self._new_parts(seed)
        self.registry = CollectorRegistry()  # of the operator that was made last
        return Reconciler(
            self.client,
            observer,
            executor,
            epochs if drives_epochs else None,
            namespace=NAMESPACE,
            clock=self.clock,
            rng=rng,
            registry=self.registry,
        )

    def new_epoch_watch(self, seed: int) -> EpochWatch:
        """A process of the epoch controller alone."""
        observer, executor, epochs, _ = self._new_parts(seed)
        return EpochWatch(self.client, observer, executor, epochs, namespace=NAMESPACE, clock=self.clock)

    def _new_parts(self, seed: int) -> tuple[Observer, Executor, EpochController, SeededRng]:
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
        observer = Observer(self.client, desk, self.clock, namespace=NAMESPACE, default_image="haulout:1")
        failpoints = Failpoints(self.armed, self._end)
        executor = Executor(self.client, desk, scheme=self.scheme, clock=self.clock, rng=rng, failpoints=failpoints)
        epochs = EpochController(clock=self.epoch_clock, rng=rng, registry=CollectorRegistry(), failpoints=failpoints)
        return observer, executor, epochs, rng

    def _end(self, point: Failpoint) -> None:
        self.is_killed = True
        self.ends.append(point)
        for running in self.operator._epochs._running.values():
            running.task.cancel()  # all of a process ends at once
        raise OperatorKilled

    async def restart(self, armed: Armed | None = None) -> None:
        """The operator's process is gone, and there is a new one."""
        await self.operator.close()
        self.armed, self.is_killed, self.failures = armed, False, {}
        self.operator = self.new_operator(seed=99)
        self.kube.settle()

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
                node_id=self.identities.get(known.name, known.node_id),
                status="Active DiskFull" if known.name in self.full else "Active",
                height=facts.height - self.height_lag,
                epoch=facts.epoch,
                shards=self.holdings.get(known.name, known.shards),
                gaining=(),
                giving=giving,
                moving_bytes=self.moving_bytes.get(known.name, (0, 0))[0],
                moved_bytes=self.moving_bytes.get(known.name, (0, 0))[1],
                stored_bytes=self.stored_bytes.get(known.name, 0),
                release=self.releases.get(known.name, "0.1.0"),
                protocol_version=self.knows.get(known.name, 2),
                agreed_version=0,
                agreed_epoch=0,
            )

        async def agree_to_protocol(*, consent: SignedMessage, public_key: bytes) -> None:
            body = messages.parse(consent.message).body
            assert isinstance(body, messages.ProtocolConsent)
            assert ed25519.verify(public_key, consent.message, consent.signature)
            self.agreed[address.partition(".")[0]] = (body.protocol_version, body.start_epoch)

        async def sign_protocol_vote(*, epoch: int, version: int, start_epoch: int) -> SignedMessage:
            name = address.partition(".")[0]
            if self.agreed.get(name) != (version, start_epoch) or name in self.refusing:
                raise NotAgreed(name=name, protocol_version=version, start_epoch=start_epoch)
            message = messages.protocol_version(epoch, start_epoch=start_epoch, version=version)
            secret = bytes.fromhex(self.secret(f"{name}-keys", "keys.json")["blsSecret"])
            return SignedMessage(message, self.scheme.sign(secret, message))

        return SimpleNamespace(
            health=health, agree_to_protocol=agree_to_protocol, sign_protocol_vote=sign_protocol_vote
        )

    async def advance(self) -> None:
        """The next epoch begins, as `kubectl haulout epoch advance` asks for."""
        facts = await read_facts(self, None)
        metadata = self.kube.objects["StorageNetwork", "main"]["metadata"]
        metadata.setdefault("annotations", {})["haulout.dev/advance-epoch"] = str(facts.epoch)
        await self.round()

    async def register_stranger(self, name: str) -> None:
        """Somebody who is not the operator registers a node of their own on the ledger."""
        genesis = Genesis.from_json(self.kube.objects["ConfigMap", "main-genesis"]["data"]["genesis.json"])
        keys, wallet = make_node_keys(name, self._rng, self.scheme), self.secret("main-gateway", "wallet.json")
        desk = self.operator._executor._desk
        where = f"{name}.example:9000"
        await desk.register(self, genesis, bytes.fromhex(wallet["secret"]), keys, address=where, capacity_bytes=1 << 30)

    async def sync(self, *, but: Collection[str] = ()) -> None:
        """Every member but some has what it gained and reports it."""
        facts = await read_facts(self, None)
        rows = Rows(dict(await self.scan(*keys.table_range(keys.HAND_OVER), limit=1000)))
        for name, node in facts.nodes.items():
            if not node.shards or name in but:
                continue
            shards = tuple(one.shard_index for one in queries.open_hand_overs(rows) if one.to_node == node.node_id)
            secret = bytes.fromhex(self.secret(f"{name}-keys", "keys.json")["capabilitySecret"])
            wallet = Wallet(secret, chain_id=facts.chain_id, ledger=self, clock=self.clock, rng=self._rng)
            await wallet.execute([ReportSyncDone(node_id=node.node_id, epoch=facts.epoch, shards=shards)])

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

    async def rounds_alone(self, limit: int) -> int:
        """Rounds until nothing is left to do, while all others stand still; how many did something."""
        for count in range(limit + 1):
            outcome = await self.operator.run_round("main", self.failures)
            assert outcome is not None
            self.clock.time_ms += 1000
            self.failures, acted = outcome
            if not acted:
                return count
        raise AssertionError(f"still busy after {limit} rounds: {self.kube.writes[-10:]}")

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

    async def check_whole(self, size: int) -> None:
        """As if nobody had been killed: the size that was asked for, all of it members, nothing left to do or say."""
        facts = await read_facts(self, None)
        assert len(self.nodes()) == size
        assert self.leaving() == []
        assert sum(len(node.shards) for node in facts.nodes.values()) == 100
        assert {name for name, node in facts.nodes.items() if node.shards} == set(self.nodes())
        assert len(self.kube.names("PersistentVolumeClaim")) == size + 2  # the ledger's, and GraphQL's records
        self.kube.writes.clear()
        assert not await self.round()
        assert self.kube.writes == []

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

    def warnings(self) -> set[str]:
        """Reasons of Warning events."""
        events = [body for (kind, _), body in self.kube.objects.items() if kind == "Event"]
        return {one["reason"] for one in events if one["type"] == "Warning"}

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
        return [name for name in self.kube.names("Pod") if NODE_LABEL in labels_of(self.kube.objects["Pod", name])]

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
