"""The operator behind the `ClusterControl` port: GraphQL and commands ask here and need no API token of their own.

Nothing is done here that `kubectl` could not do: sizes, desired states and marks are written into the custom resources,
and the rounds do the rest. A caller is admitted to the network whose token it has (`secret/<network>-control`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haulout.errors import DeadlineExceeded, Forbidden, InvalidField, Rejected, TooFewNodes, Unavailable
from haulout.ports import Clock, ClusterControl, ClusterReport, Condition, ProcessInfo, ReviewedToken
from haulout.primitives import ObjectId, frost_text, hex_id_text, max_faulty, smallest_committee
from haulout_operator.genesis import stake_of
from haulout_operator.identity import read_token
from haulout_operator.kube import Kube, Manifest, ObjectMissing
from haulout_operator.models.base import API_VERSION
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import (
    FORCE_REMOVE_ANNOTATION,
    GRPC_PORT,
    HTTP_PORT,
    LEAVING_ANNOTATION,
    METRICS_PORT,
    ROLE_LABEL,
    control_name,
)
from haulout_operator.observed import Observed, PodFacts, Resource
from haulout_operator.planning.budget import is_up
from haulout_operator.planning.leaving import LEAVE_FIRST, counts_toward_replicas
from haulout_operator.token_review import TokenReviewer, TokenReviewOff

ADD_PATIENCE_MS = 80_000
LOOK_AGAIN_MS = 500
URL_KINDS = {"gateway": ("http", HTTP_PORT), "graphql": ("graphql", HTTP_PORT)}

Pool = Resource[StorageNodePoolSpec]
Node = Resource[StorageNodeSpec]
Look = Callable[[], Observed | None]


@dataclass(eq=False)
class WrongToken(Forbidden):
    """The caller may control no network here."""

    code = "WRONG_TOKEN"
    template = "this token controls no network here"
    hint = "it is in the Secret <network>-control"


@dataclass(eq=False)
class NothingSeenYet(Unavailable):
    """The operator has just started."""

    code = "NOTHING_SEEN_YET"
    template = "network {network} has not been looked at yet"
    network: str


@dataclass(eq=False)
class LeavesByItself(Rejected):
    """In a cluster a node is let go with proof, not by a command."""

    code = "NODE_NEEDED"
    template = "{name} is let go as soon as there is proof that nothing needs it"
    hint = "kubectl describe sn says what it waits for"
    name: str


@dataclass(eq=False)
class RunsStill(Rejected):
    """A node that was called dead is up."""

    code = "NODE_ALIVE"
    template = "{name} is alive: its Pod is ready"
    hint = "drain it instead, or stop it first"
    name: str


@dataclass(eq=False)
class NotEndedThisWay(Rejected):
    """A cluster's network outlives the operator."""

    code = "NOT_ENDED_THIS_WAY"
    template = "network {network} is not ended by a command"
    hint = "helm uninstall ends it and keeps its data"
    network: str


class NetworkControl:
    """Implements `ClusterControl` for one network of a namespace."""

    def __init__(
        self,
        kube: Kube,
        look: Look,
        clock: Clock,
        *,
        network: str,
        namespace: str,
        reviewer: TokenReviewer | None = None,
    ) -> None:
        """`look` gives what the last round has seen; without a reviewer no token of the cluster is accepted."""
        self._kube = kube
        self._look = look
        self._clock = clock
        self._network = network
        self._namespace = namespace
        self._reviewer = reviewer

    async def list_processes(self) -> ClusterReport:
        """Every Pod and how it is, and the network's conditions."""
        observed = self._seen()
        body = await self._kube.get(API_VERSION, "StorageNetwork", self._namespace, self._network)
        told = ((body or {}).get("status") or {}).get("conditions") or ()
        conditions = [Condition(o["type"], o["status"] == "True", o["reason"], o.get("message", "")) for o in told]
        for pool in observed.pools:
            conditions += [
                Condition(one["type"], one["status"] == "True", one["reason"], f"snp/{pool.name}: {one['message']}")
                for one in pool.status.get("conditions") or ()
                if one["type"] == "ScalingBlocked"
            ]
        is_ready = any(one.type == "Available" and one.holds for one in conditions)
        pods = sorted(observed.pods, key=lambda pod: (pod.labels.get(ROLE_LABEL, ""), pod.name))
        processes = tuple(self._process(pod) for pod in pods)
        return ClusterReport(f"{self._namespace}/{self._network}", is_ready, processes, tuple(conditions))

    async def stop_node(self, name: str) -> None:
        """Stop a node's Pod as soon as the others bear that."""
        self._node(name)
        await self._patch("StorageNode", name, {"spec": {"desiredState": "Maintenance"}})

    async def start_node(self, name: str) -> None:
        """Start a node's Pod again."""
        self._node(name)
        await self._patch("StorageNode", name, {"spec": {"desiredState": "Active"}})

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """One node more; returns when the ledger knows it. Its stake is the pool's.

        Raises:
            InvalidField: another stake than the pool's is asked for, or there are several pools.
            DeadlineExceeded: it goes on, and is not registered yet.
        """
        pool = self._pool()
        stake = stake_of(pool.spec.template.stake)
        if stake_frost not in (0, stake):
            problem = f"snp/{pool.name} stakes {frost_text(stake)} on each of its nodes (template.stake)"
            raise InvalidField(field="stake_frost", problem=problem)
        before = {node.name for node in self._seen().nodes}
        await self._grow(pool, 1)
        deadline_us = self._clock.monotonic_us() + ADD_PATIENCE_MS * 1000
        while self._clock.monotonic_us() < deadline_us:
            observed = self._seen()
            for node in observed.nodes_of(pool.name):
                known = observed.ledger_node(node.name)
                if node.name not in before and known is not None:
                    return node.name, ObjectId(known.node_id)
            await self._clock.sleep_ms(LOOK_AGAIN_MS)
        raise DeadlineExceeded(operation="registering a node", timeout_ms=ADD_PATIENCE_MS)

    async def drain_node(self, name: str) -> ObjectId:
        """Make the pool smaller by this node; asking again changes nothing."""
        node = self._node(name)
        node_id = self._id_of(node)
        if not counts_toward_replicas(node):
            return node_id
        pool = self._pool_of(node)
        replicas = (await self._live("StorageNodePool", pool.name))["spec"].get("replicas", pool.spec.replicas)
        marks = (await self._live("StorageNode", name))["metadata"].get("annotations") or {}
        staying = sum(counts_toward_replicas(one) for one in self._seen().nodes_of(pool.name))
        if marks.get(LEAVING_ANNOTATION) == LEAVE_FIRST and staying > replicas:
            return node_id  # the next round lets it go
        self._check_size(pool, replicas - 1)
        await self._patch("StorageNode", name, {"metadata": {"annotations": {LEAVING_ANNOTATION: LEAVE_FIRST}}})
        await self._grow(pool, -1)
        return node_id

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """Let go of a dead node without its own word.

        Raises:
            InvalidField: no such node.
            LeavesByItself: it is not dead.
            RunsStill: it is to be dead, and its Pod is ready.
        """
        observed = self._seen()
        known = observed.ledger_node(name)
        if not is_dead and known is not None and all(node.name != name for node in observed.nodes):
            return ObjectId(known.node_id)  # it is gone
        node = self._node(name)
        if not is_dead:
            raise LeavesByItself(name=name)
        if is_up(observed, name):
            raise RunsStill(name=name)
        node_id = self._id_of(node)
        marks = {FORCE_REMOVE_ANNOTATION: hex_id_text(node_id)}
        await self._patch("StorageNode", name, {"metadata": {"annotations": marks}})
        await self._kube.delete(API_VERSION, "StorageNode", self._namespace, name, uid=node.uid)
        return node_id

    async def scale_nodes(self, n_nodes: int) -> None:
        """Set the size of the network's pool."""
        pool = self._pool()
        self._check_size(pool, n_nodes)
        await self._patch("StorageNodePool", pool.name, {"spec": {"replicas": n_nodes}})

    async def review_token(self, token: str) -> ReviewedToken:
        """Whose a token of the cluster is, and what they may do with this network.

        Raises:
            TokenReviewOff: the chart was not told to accept any.
            TokenRefused, ApiServerUnavailable: as `TokenReviewer.review`.
        """
        if self._reviewer is None:
            raise TokenReviewOff
        return await self._reviewer.review(token)

    async def shutdown(self) -> None:
        """Nothing that a command ends."""
        raise NotEndedThisWay(network=self._network)

    # --- what was seen --------------------------------------------------------------------------------------

    def _seen(self) -> Observed:
        observed = self._look()
        if observed is None:
            raise NothingSeenYet(network=self._network)
        return observed

    def _pool(self) -> Pool:
        pools = self._seen().pools
        if len(pools) != 1:
            names = ", ".join(f"snp/{pool.name}" for pool in pools) or "none"
            problem = f"which pool is meant is not said; there are: {names}. Next: kubectl scale one of them"
            raise InvalidField(field="pool", problem=problem)
        return pools[0]

    def _pool_of(self, node: Node) -> Pool:
        name = None if node.spec.pool_ref is None else node.spec.pool_ref.name
        for pool in self._seen().pools:
            if pool.name == name:
                return pool
        raise InvalidField(field="name", problem=f"{node.name} is in no pool. Next: kubectl delete sn/{node.name}")

    def _node(self, name: str) -> Node:
        nodes = self._seen().nodes
        for node in nodes:
            if node.name == name:
                return node
        raise InvalidField(field="name", problem=f"{name!r} is not one of {', '.join(one.name for one in nodes)}")

    def _id_of(self, node: Node) -> ObjectId:
        known = self._seen().ledger_node(node.name)
        if known is None:
            raise InvalidField(field="name", problem=f"the ledger does not know {node.name} yet")
        return ObjectId(known.node_id)

    def _check_size(self, pool: Pool, wanted: int) -> None:
        observed = self._seen()
        n_shards = observed.network.spec.shards
        others = sum(
            counts_toward_replicas(node)
            for other in observed.pools
            if other.name != pool.name
            for node in observed.nodes_of(other.name)
        )
        smallest = smallest_committee(n_shards)
        if wanted + others < smallest:
            raise TooFewNodes(n_nodes=wanted + others, cap=max_faulty(n_shards), n_shards=n_shards, smallest=smallest)

    def _process(self, pod: PodFacts) -> ProcessInfo:
        role = pod.labels.get(ROLE_LABEL, "")
        name = pod.node or pod.name
        service = pod.node or f"{self._network}-{role}"
        host = f"{service}.{self._namespace}.svc"
        kind, port = URL_KINDS.get(role, ("grpc", GRPC_PORT))
        where = {"http": f"http://{host}:{port}", "graphql": f"http://{host}:{port}/graphql"}.get(
            kind, f"{host}:{port}"
        )
        urls = {kind: where, "metrics": f"http://{host}:{METRICS_PORT}/metrics"}
        reasons = (pod.problem,) if pod.problem else ()
        return ProcessInfo(name, role, None, "ready" if pod.is_ready else "not ready", reasons, pod.n_restarts, urls)

    async def _grow(self, pool: Pool, by: int) -> None:
        """Change a pool's size by some; two callers at once cannot take the same step."""
        body = await self._live("StorageNodePool", pool.name)
        version = {"resourceVersion": body["metadata"]["resourceVersion"]}
        replicas = int(body["spec"].get("replicas", pool.spec.replicas)) + by
        await self._patch("StorageNodePool", pool.name, {"metadata": version, "spec": {"replicas": replicas}})

    async def _live(self, kind: str, name: str) -> Manifest:
        """The object as it is now, not as the last round has seen it."""
        body = await self._kube.get(API_VERSION, kind, self._namespace, name)
        if body is None:
            raise ObjectMissing(what=f"{kind}/{name}")
        return body

    async def _patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> None:
        await self._kube.patch(API_VERSION, kind, self._namespace, name, patch)


class Gatekeeper:
    """Admits callers by token."""

    def __init__(
        self,
        kube: Kube,
        networks: Callable[[], Sequence[str]],
        control_of: Callable[[str], ClusterControl],
        *,
        namespace: str,
    ) -> None:
        self._kube = kube
        self._networks = networks
        self._control_of = control_of
        self._namespace = namespace
        self._tokens: dict[str, str] = {}

    async def admit(self, token: str) -> ClusterControl:
        """The network that a token opens.

        Raises:
            WrongToken: none.
            Unavailable: the API server does not answer.
        """
        for network in self._networks():
            if token and hmac.compare_digest(token.encode(), (await self._token_of(network)).encode()):
                return self._control_of(network)
        raise WrongToken

    async def _token_of(self, network: str) -> str:
        if network not in self._tokens:
            body = await self._kube.get("v1", "Secret", self._namespace, control_name(network))
            if body is None:
                return ""
            try:
                self._tokens[network] = read_token(body)
            except InvalidField:
                return ""  # it opens nothing, and keeps nobody out of other networks
        return self._tokens[network]
