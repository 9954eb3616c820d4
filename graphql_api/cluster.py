"""The network's processes and their number: asked of who runs them, the supervisor of `haulout up` or the operator."""

from __future__ import annotations

import strawberry

from graphql_api.context import Info
from graphql_api.diagnosis import Condition
from graphql_api.operation_keeper import ADVANCE_EPOCH, DRAIN_NODE, SCALE_CLUSTER, NoControl
from graphql_api.operations import Operation, OperationPayload
from graphql_api.payloads import CLIENT_ID
from graphql_api.records import operations as kept
from graphql_api.records.operations import Standing
from graphql_api.scalars import ObjectID
from graphql_api.transactions import check_count
from haulout.errors import InvalidField
from haulout.ports import ClusterControl, ClusterReport, ProcessInfo

NODES_MAX = 1_000  # as many as there can be shards


@strawberry.type(description="Where a process can be reached.")
class ProcessAddress:
    kind: str = strawberry.field(description="What is served there: `grpc`, `http`, `graphql`, `metrics`.")
    url: str = strawberry.field(description="The address, as seen from where the processes run.")


@strawberry.type(description="A process of the network.")
class ClusterProcess:
    name: str = strawberry.field(description="Its name; that of its node if it is a storage node.")
    role: str = strawberry.field(description="`ledger`, `node`, `gateway` or `graphql`.")
    state: str = strawberry.field(description="How it is, in the words of who runs it.")
    reasons: list[str] = strawberry.field(description="Why it is not ready; empty when it is.")
    restarts: int = strawberry.field(description="How often it was started again.")
    addresses: list[ProcessAddress] = strawberry.field(description="Where it can be reached.")

    @classmethod
    def of(cls, process: ProcessInfo) -> ClusterProcess:
        return cls(
            name=process.name,
            role=process.role,
            state=process.state,
            reasons=list(process.reasons),
            restarts=process.n_restarts,
            addresses=[ProcessAddress(kind=kind, url=url) for kind, url in sorted(process.urls.items())],
        )


@strawberry.type(description="The processes of the network, and what is being done to them.")
class Cluster:
    place: str = strawberry.field(description="Where they run: a folder, or a namespace and a name.")
    ready: bool = strawberry.field(description="Whether a store would succeed.")
    processes: list[ClusterProcess] = strawberry.field(description="All of them.")
    conditions: list[Condition] = strawberry.field(description="What holds of the network as a whole.")

    @classmethod
    def of(cls, report: ClusterReport) -> Cluster:
        return cls(
            place=report.place,
            ready=report.is_ready,
            processes=[ClusterProcess.of(process) for process in report.processes],
            conditions=[
                Condition(type=fact.type, status=fact.holds, reason=fact.reason, message=fact.message)
                for fact in report.conditions
            ],
        )


@strawberry.input(description="A storage node that is to hand over all it has.")
class DrainNodeInput:
    node_id: ObjectID = strawberry.field(description="The node's id on the ledger.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="How many storage nodes there are to be.")
class ScaleClusterInput:
    nodes: int = strawberry.field(description="The number, nodes on their way out not counted.")
    client_mutation_id: str | None = CLIENT_ID


async def load_cluster(info: Info) -> Cluster | None:
    """The processes as they are now; None when this server does not know who runs them.

    Raises:
        Unavailable: who runs them does not answer.
    """
    control = info.context.services.operations.control
    return None if control is None else Cluster.of(await control.list_processes())


async def drain_node(info: Info, input: DrainNodeInput) -> OperationPayload:
    """Have a node leave with the next epoch, and follow its shards.

    Raises:
        NoControl: nobody to ask.
        InvalidInput, Rejected, Unavailable: as `ClusterControl.drain_node`.
    """
    control = _control(info)
    row = await info.context.loaders.node.load(input.node_id)
    if row is None:
        raise InvalidField(field="nodeId", problem="is not a registered node")
    before = await info.context.reading.snapshot()
    await control.drain_node(row["name"])
    target = {"nodeId": input.node_id.hex(), "epoch": before.epoch, "sequence": before.sequence}
    return await _begun(info, DRAIN_NODE, target, Standing("REQUESTED", 0, row["weight"]))


async def scale_cluster(info: Info, input: ScaleClusterInput) -> OperationPayload:
    """Have so many storage nodes from now on.

    Raises:
        NoControl: nobody to ask.
        InvalidInput, Rejected, Unavailable: as `ClusterControl.scale_nodes`.
    """
    control = _control(info)
    await control.scale_nodes(check_count(input.nodes, "nodes", NODES_MAX))
    await info.context.services.operations.supersede(SCALE_CLUSTER)
    return await _begun(info, SCALE_CLUSTER, {"nodes": input.nodes}, Standing("CHANGING", 0, input.nodes))


async def begin_epoch_operation(info: Info, epoch: int) -> Operation:
    """The operation of an epoch that has just begun."""
    operation = await info.context.services.operations.begin(ADVANCE_EPOCH, {"epoch": epoch}, Standing("MOVING"))
    return await _shown(info, operation)


def _control(info: Info) -> ClusterControl:
    control = info.context.services.operations.control
    if control is None:
        raise NoControl()
    return control


async def _begun(info: Info, kind: str, target: dict[str, object], standing: Standing) -> OperationPayload:
    operation = await info.context.services.operations.begin(kind, target, standing)
    await info.context.renew()
    return OperationPayload(operation=await _shown(info, operation))


async def _shown(info: Info, operation: kept.Operation) -> Operation:
    """An operation with all that is known of it already."""
    return Operation.of(await info.context.services.operations.look(operation, info.context.reading))
