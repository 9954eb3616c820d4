"""StorageNodePool: nodes made alike; the thing that is scaled."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from haulout_operator.models.base import (
    Conditions,
    Duration,
    EnvironmentVariable,
    Model,
    Reference,
    Resources,
    StakeAmount,
    Storage,
    Text,
    Time,
    Toleration,
    Word,
    rule,
    rules,
)


class NodeTemplate(Model):
    """What each node of the pool gets."""

    stake: StakeAmount = Field(
        "2000WAL", description="Staked from the treasury for each new node, at least 1WAL; a bare number is FROST."
    )
    storage: Storage = Storage()
    image: Text = Field("", description="Image of these nodes, for a pool that goes ahead; the network's when empty.")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "2Gi"})
    extra_env: list[EnvironmentVariable] = Field(
        default_factory=list,
        max_length=32,
        description="More variables of the process, as HAULOUT_LOG_LEVEL.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    scrub_bytes_per_second: int | None = Field(
        None,
        ge=0,
        le=1073741824,
        description="What a node reads again each second to find damage: 2 MiB when absent, 0 for none.",
    )
    node_selector: dict[str, Word] = Field(
        default_factory=dict, max_length=16, description="Labels of the machines that Pods may run on."
    )
    tolerations: list[Toleration] = Field(default_factory=list, max_length=16, description="Taints that Pods bear.")
    affinity: dict[str, Any] | None = Field(None, description="Where Pods should run, as Kubernetes has it.")
    topology_spread_constraints: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=8,
        description="How Pods are spread, as Kubernetes has it; over zones and machines when there are none.",
    )
    priority_class_name: Word | None = Field(None, description="How important Pods are beside others.")
    pod_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=16, description="More labels of Pods; ours cannot be changed."
    )
    pod_annotations: dict[str, Text] = Field(
        default_factory=dict, max_length=16, description="More annotations of Pods."
    )


class PvcRetentionSpec(Model):
    """What becomes of a node's volume."""

    when_scaled: Literal["Delete", "Retain"] = Field(
        "Delete", description="When the ledger has let its node go: Retain keeps it for people, no node takes it up."
    )
    when_deleted: Literal["Retain"] = Field("Retain", description="When pool or network are deleted.")


class UpdateSpec(Model):
    """How a new image or template reaches the nodes."""

    paused: bool = Field(False, description="Whether all nodes keep what they run.")
    partition: int = Field(0, ge=0, le=10000, description="Nodes with a serial below this one keep what they run.")


class ReplacementSpec(Model):
    """What happens to a member that stays down."""

    enabled: bool = Field(True, description="Whether it is replaced without being asked.")
    after: Duration = Field(
        "1h", description="How long it may be down before a substitute is made and it leaves the committee."
    )


class StorageNodePoolSpec(Model):
    """What a pool should be."""

    network_ref: Annotated[
        Reference,
        Field(
            json_schema_extra=rules(
                rule("self == oldSelf", "networkRef cannot be changed: a node's identity belongs to one network")
            )
        ),
    ]
    replicas: int = Field(4, ge=0, le=150, description="How many nodes there are to be; kubectl scale sets it.")
    template: NodeTemplate = NodeTemplate()
    pvc_retention: PvcRetentionSpec = PvcRetentionSpec()
    update: UpdateSpec = UpdateSpec()
    replacement: ReplacementSpec = ReplacementSpec()


class StorageNodePoolStatus(Model):
    """What a pool is."""

    observed_generation: int = 0
    replicas: int = Field(0, description="Nodes that exist, those on their way out included.")
    ready_replicas: int = 0
    updated_replicas: int = Field(0, description="Nodes that stay and are made from updateRevision.")
    draining_replicas: int = 0
    update_revision: Word = Field("", description="What Pods made from the template now are made from.")
    current_revision: Word = Field(
        "", description="What the node that is updated last is made from; updateRevision once all are."
    )
    selector: Text = Field("", description="Selects exactly the Pods of this pool's nodes.")
    conditions: Conditions = Field(default_factory=list)


class StorageNodeSpec(Model):
    """What one node should be; a pool writes it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "oldSelf.desiredState != 'Drained' || self.desiredState == 'Drained'",
                "a drained identity is not used again: scale the pool for a new one",
            ),
            rule("!has(oldSelf.poolRef) || (has(self.poolRef) && self.poolRef == oldSelf.poolRef)", "poolRef stays"),
        )
    )

    network_ref: Annotated[
        Reference,
        Field(
            json_schema_extra=rules(
                rule("self == oldSelf", "networkRef cannot be changed: a node's identity belongs to one network")
            )
        ),
    ]
    pool_ref: Reference | None = None
    serial: Annotated[
        int,
        Field(
            ge=0,
            le=1000000,
            description="Its number in the pool, which its name is made from; never used again.",
            json_schema_extra=rules(rule("self == oldSelf", "serial cannot be changed")),
        ),
    ] = 0
    desired_state: Literal["Active", "Drained", "Maintenance"] = Field(
        "Active", description="Maintenance stops its Pod for a while; Drained makes it leave the committee for good."
    )
    template: NodeTemplate = NodeTemplate()


class CommitteeStatus(Model):
    """The node in the committee of the ledger's epoch."""

    epoch: int = 0
    shard_count: int = 0
    shards: Text = Field("", description="Ranges, as in 0-24,50.")


class VolumeStatus(Model):
    """How full a node's volume is."""

    used_bytes: int = Field(
        0,
        description="Of slivers, as the node tells; written anew once it is off by more than a sixteenth.",
        json_schema_extra={"format": "int64"},
    )
    capacity_bytes: int = Field(
        0, description="What the volume has by its claim; 0 until it has one.", json_schema_extra={"format": "int64"}
    )
    summary: Word = ""


class StorageNodeStatus(Model):
    """What one node is."""

    observed_generation: int = 0
    phase: Word = ""
    ledger_node_id: Word = ""
    stake_frost: int = Field(0, json_schema_extra={"format": "int64"})
    stake: Word = ""
    committee: CommitteeStatus | None = None
    address: Text = ""
    pod_name: Word = ""
    kubernetes_node: Text = ""
    volume: Word = ""
    revision: Word = Field("", description="What its Pod is made from; the pool's updateRevision is the newest.")
    version: Word = Field("", description="The release that it runs, as it tells itself.")
    protocol_version: int = Field(0, description="The newest protocol version that this release knows.")
    storage: VolumeStatus | None = None
    last_seen: Time = Field("", description="When it last answered; absent as long as it answers.")
    conditions: Conditions = Field(default_factory=list)
