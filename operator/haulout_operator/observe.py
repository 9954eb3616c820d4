"""Looks at everything of one network: a dozen requests, whatever the number of nodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import ValidationError

from haulout.errors import HauloutError, InvalidField
from haulout.ledger.genesis import Genesis
from haulout.ports import Clock
from haulout_operator.complaints import find_waiting, read_events, read_failed_deployments
from haulout_operator.identity import address_of, read_wallet
from haulout_operator.kube import AccessRefused, Kube, Manifest
from haulout_operator.ledger import LedgerDesk, read_facts
from haulout_operator.manifests.ledger import GENESIS_FILE
from haulout_operator.models.base import API_VERSION, Model
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.models.pool import StorageNodePoolSpec, StorageNodeSpec
from haulout_operator.names import (
    NETWORK_LABEL,
    ROLE_LABEL,
    ZONE_LABEL,
    component_name,
    control_name,
    genesis_name,
    keys_name,
    treasury_name,
    volume_name,
)
from haulout_operator.observed import (
    LedgerFacts,
    NodeReport,
    Observed,
    PodFacts,
    Resource,
    SampleRead,
    Subject,
    labels_of,
)
from haulout_operator.planning.leaving import counts_toward_replicas
from haulout_operator.planning.network import is_destroyed, wallet_names
from haulout_operator.pods import read_pod

CHILDREN = (
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
)
SECRET_MEMORY_MS = 60_000
MACHINE_MEMORY_MS = 3_600_000

S = TypeVar("S", bound=Model)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object with a spec that no schema of this release admits: it harms nobody else."""

    body: Manifest
    problem: str


@dataclass(slots=True)
class Sight:
    """What was seen, and what could not be read."""

    observed: Observed
    unreadable: Mapping[Subject, Unreadable]


@dataclass(slots=True)
class Memory:
    """What need not be asked every time: Secrets that exist, and the treasury's address; and when nodes answered."""

    secrets_seen_ms: dict[str, int] = field(default_factory=dict)
    nodes_answered_ms: dict[str, int] = field(default_factory=dict)
    treasury: bytes | None = None

    def note_answers(self, nodes: Iterable[str], answered: Collection[str], now_ms: int) -> None:
        """Remember when each of the nodes answered last; those that are gone are forgotten."""
        before = self.nodes_answered_ms
        self.nodes_answered_ms = {
            name: now_ms if name in answered else before[name] for name in nodes if name in answered or name in before
        }


class Observer:
    """Looks, and remembers what does not change."""

    def __init__(
        self,
        kube: Kube,
        desk: LedgerDesk,
        clock: Clock,
        *,
        namespace: str,
        default_image: str,
        control_address: str = "",
    ) -> None:
        self._kube = kube
        self._desk = desk
        self._clock = clock
        self._namespace = namespace
        self._default_image = default_image
        self._control_address = control_address
        self._memory: dict[str, Memory] = {}
        self._machines_seen_ms: dict[str, int] = {}
        self._zones: dict[str, str] = {}  # by machine

    async def look(self, name: str, failures: Mapping[Subject, str]) -> Sight | None:
        """Everything of a network; None when there is no such network.

        Raises:
            HauloutError: the API server does not answer, or the network's own spec cannot be read.
        """
        body = await self._kube.get(API_VERSION, "StorageNetwork", self._namespace, name)
        if body is None:
            self._memory.pop(name, None)
            return None
        network = read_resource(body, StorageNetworkSpec)
        selector = f"{NETWORK_LABEL}={name}"
        custom = ("StorageNodePool", "StorageNode", "EpochTransition")
        pools, nodes, transitions = await asyncio.gather(
            *(self._kube.list(API_VERSION, kind, self._namespace) for kind in custom)
        )
        found = await asyncio.gather(
            *(self._kube.list(api, kind, self._namespace, selector=selector) for api, kind in CHILDREN)
        )
        bodies = await self._kube.list("v1", "Pod", self._namespace, selector=selector)
        pods = await self._find_zones([read_pod(body) for body in bodies])
        children = {(one["kind"], one["metadata"]["name"]): one for some in found for one in some}
        unreadable: dict[Subject, Unreadable] = {}
        my_pools = list(_read_all(pools, StorageNodePoolSpec, name, unreadable))
        my_nodes = list(_read_all(nodes, StorageNodeSpec, name, unreadable))
        memory = self._memory.setdefault(name, Memory())
        genesis, genesis_problem = _read_genesis(children.get(("ConfigMap", genesis_name(name))))
        names = [control_name(name), *wallet_names(name).values(), *(keys_name(node.name) for node in my_nodes)]
        secrets = await self._find_secrets(memory, names, doubted=find_doubted(name, my_nodes, pods))
        ledger, ledger_problem = await self._ask_ledger(name, memory, genesis, genesis_problem)
        if is_destroyed(network):
            secrets += await self._find_keys_of_former(name, memory, my_nodes, ledger)
        reports = await self._ask_nodes(my_nodes, pods, ledger)
        memory.note_answers([node.name for node in my_nodes], reports, self._clock.now_ms())
        samples = await self._read_samples(name, my_nodes, ledger, genesis)
        observed = Observed(
            namespace=self._namespace,
            default_image=self._default_image,
            control_address=self._control_address,
            now_ms=self._clock.now_ms(),
            network=network,
            pools=my_pools,
            nodes=my_nodes,
            unread_nodes=_names_by_pool(unreadable),
            transitions=[body for body in transitions if _network_of(body) == name],
            children=children,
            pods=pods,
            secrets=frozenset(secrets),
            genesis=genesis,
            genesis_problem=genesis_problem,
            ledger=ledger,
            ledger_problem=ledger_problem,
            reports=reports,
            answered_ms=dict(memory.nodes_answered_ms),
            samples=samples,
            complaints=await self._find_complaints(children, pods),
            failures=failures,
        )
        return Sight(observed, unreadable)

    async def _find_zones(self, pods: Sequence[PodFacts]) -> Sequence[PodFacts]:
        """Pods with the zones of their machines, where the API server has not written them on the Pods itself: it does
        from Kubernetes 1.35 on. Machines are cluster-wide, so whether we may look at them is up to people."""
        unknown = {pod.machine for pod in pods if pod.machine and not pod.zone}
        for machine in sorted(unknown):
            seen_ms = self._machines_seen_ms.get(machine)
            if seen_ms is not None and self._clock.now_ms() - seen_ms < MACHINE_MEMORY_MS:
                continue
            self._machines_seen_ms[machine] = self._clock.now_ms()
            try:
                body = await self._kube.get("v1", "Node", "", machine)
            except AccessRefused:
                continue
            self._zones[machine] = "" if body is None else labels_of(body).get(ZONE_LABEL, "")
        return [pod if pod.zone else replace(pod, zone=self._zones.get(pod.machine, "")) for pod in pods]

    async def _find_complaints(
        self, children: Mapping[tuple[str, str], Manifest], pods: Sequence[PodFacts]
    ) -> dict[tuple[str, str], str]:
        """What Kubernetes says of children that wait for a Pod or a volume; events are not looked at otherwise."""
        complaints = read_failed_deployments(children)
        waiting = find_waiting(children, pods)
        if waiting:
            with contextlib.suppress(AccessRefused):  # a role that people have made themselves
                events = await self._kube.list("v1", "Event", self._namespace, fields="type=Warning")
                complaints |= read_events(events, waiting)
        return complaints

    async def _find_secrets(self, memory: Memory, names: Sequence[str], *, doubted: Collection[str]) -> list[str]:
        """Those that exist; what was seen a while ago is believed, but not of a process that does not run."""
        now_ms = self._clock.now_ms()
        for name in names:
            if name not in doubted and now_ms - memory.secrets_seen_ms.get(name, -SECRET_MEMORY_MS) < SECRET_MEMORY_MS:
                continue
            memory.secrets_seen_ms.pop(name, None)
            if await self._kube.get("v1", "Secret", self._namespace, name) is not None:
                memory.secrets_seen_ms[name] = now_ms
        return [name for name in names if name in memory.secrets_seen_ms]

    async def _find_keys_of_former(
        self,
        network: str,
        memory: Memory,
        nodes: Iterable[Resource[StorageNodeSpec]],
        ledger: LedgerFacts | None,
    ) -> list[str]:
        """Secrets of nodes that left long ago, by the ledger's word: those that the treasury has registered, since
        anybody may register a node under any name, and that say themselves that they are this network's."""
        if ledger is None:
            return []
        present = {node.name for node in nodes}
        found = []
        for name, node in ledger.nodes.items():
            if name in present or node.governance != memory.treasury:
                continue
            body = await self._kube.get("v1", "Secret", self._namespace, keys_name(name))
            if body is not None and labels_of(body).get(NETWORK_LABEL) == network:
                found.append(keys_name(name))
        return found

    async def _ask_ledger(
        self, name: str, memory: Memory, genesis: Genesis | None, genesis_problem: str
    ) -> tuple[LedgerFacts | None, str]:
        if genesis is None:
            return None, genesis_problem or f"configmap/{genesis_name(name)} is not there"
        try:
            if memory.treasury is None:
                secret = await self._kube.get("v1", "Secret", self._namespace, treasury_name(name))
                memory.treasury = None if secret is None else address_of(read_wallet(secret))
            facts = await read_facts(self._desk.of(name, self._namespace), memory.treasury)
        except HauloutError as e:
            return None, f"{e.code}: {e}"
        if facts.chain_id != genesis.chain_id:
            claim = volume_name(component_name(name, "ledger"))
            return None, (
                "FOREIGN_LEDGER: the ledger that answers was founded from another genesis. Next: restore "
                f"pvc/{claim} or configmap/{genesis_name(name)}, whichever was changed: they belong together."
            )
        return facts, ""

    async def _ask_nodes(
        self, nodes: Iterable[Resource[StorageNodeSpec]], pods: Sequence[PodFacts], ledger: LedgerFacts | None
    ) -> dict[str, NodeReport]:
        """Reports of registered nodes whose Pods are ready; one that does not answer has none."""
        if ledger is None:
            return {}
        ready = {pod.node for pod in pods if pod.is_ready}
        asked = [node.name for node in nodes if node.name in ready and node.name in ledger.nodes]
        told = await asyncio.gather(*(self._desk.report_of(name, self._namespace) for name in asked))
        return {name: report for name, report in zip(asked, told, strict=True) if report is not None}

    async def _read_samples(
        self,
        network: str,
        nodes: Iterable[Resource[StorageNodeSpec]],
        ledger: LedgerFacts | None,
        genesis: Genesis | None,
    ) -> dict[str, SampleRead]:
        """For each node that has left by the ledger's word: blobs that are read without it."""
        if ledger is None or genesis is None:
            return {}
        samples: dict[str, SampleRead] = {}
        for node in nodes:
            known = ledger.nodes.get(node.name)
            if known is not None and known.is_leaving and known.is_unneeded and not counts_toward_replicas(node):
                told = await self._desk.sample_without(network, self._namespace, genesis, node.name)
                if told is not None:
                    samples[node.name] = told
        return samples


def find_doubted(network: str, nodes: Iterable[Resource[StorageNodeSpec]], pods: Sequence[PodFacts]) -> frozenset[str]:
    """Secrets of processes without a ready Pod: perhaps they are gone, and that is why."""
    up = {pod.node or component_name(network, pod.labels.get(ROLE_LABEL, "")) for pod in pods if pod.is_ready}
    keys = {keys_name(node.name) for node in nodes if node.name not in up}
    accounts = {name for name in wallet_names(network).values() if name not in up} - {treasury_name(network)}
    token = set() if component_name(network, "graphql") in up else {control_name(network)}
    return frozenset(keys | accounts | token)


def read_resource(body: Manifest, spec: type[S]) -> Resource[S]:
    """A custom resource as a type.

    Raises:
        InvalidField: its spec is not one.
    """
    metadata = body["metadata"]
    try:
        parsed = spec.model_validate(body.get("spec") or {})
    except ValidationError as e:
        first = e.errors()[0]
        field_name = "spec." + ".".join(str(part) for part in first["loc"])
        raise InvalidField(field=field_name, problem=str(first["msg"])) from e
    return Resource(
        kind=body["kind"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=int(metadata.get("generation", 0)),
        spec=parsed,
        status=body.get("status") or {},
        annotations=metadata.get("annotations") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        is_deleting=bool(metadata.get("deletionTimestamp")),
    )


def _read_all(
    bodies: Iterable[Manifest], spec: type[S], network: str, unreadable: dict[Subject, Unreadable]
) -> Iterable[Resource[S]]:
    for body in bodies:
        if _network_of(body) != network:
            continue
        try:
            yield read_resource(body, spec)
        except InvalidField as e:
            unreadable[Subject(body["kind"], body["metadata"]["name"])] = Unreadable(body, str(e))


def _names_by_pool(unreadable: Mapping[Subject, Unreadable]) -> dict[str, str]:
    """StorageNodes that cannot be read, and the pools they are of."""
    return {
        subject.name: str(((one.body.get("spec") or {}).get("poolRef") or {}).get("name", ""))
        for subject, one in unreadable.items()
        if subject.kind == "StorageNode"
    }


def _network_of(body: Manifest) -> str:
    reference = (body.get("spec") or {}).get("networkRef") or {}
    return str(reference.get("name", ""))


def _read_genesis(body: Manifest | None) -> tuple[Genesis | None, str]:
    if body is None:
        return None, ""
    try:
        return Genesis.from_json((body.get("data") or {}).get(GENESIS_FILE, "")), ""
    except InvalidField as e:
        name = body["metadata"]["name"]
        return None, f"configmap/{name}: {e}. Next: restore it from a backup; it is immutable, so delete it first."
