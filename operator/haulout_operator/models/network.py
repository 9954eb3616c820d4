"""StorageNetwork: one ledger, its gateway and GraphQL, and what genesis fixes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from haulout_operator.models.base import (
    Amount,
    Conditions,
    Duration,
    Model,
    Name,
    Resources,
    Storage,
    Text,
    Time,
    Word,
    immutable,
    rule,
    rules,
)


class EpochSpec(Model):
    """How long an epoch lasts and how far ahead storage is sold; fixed at genesis."""

    duration: Annotated[
        Duration, Field(description="How long an epoch takes, as 24h.", json_schema_extra=immutable("epoch.duration"))
    ] = "24h"
    max_epochs_ahead: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="For how many epochs from now on storage is sold.",
            json_schema_extra=immutable("epoch.maxEpochsAhead"),
        ),
    ] = 53
    manual: Annotated[
        bool,
        Field(
            description="Epochs change only when somebody asks: for development.",
            json_schema_extra=immutable("epoch.manual"),
        ),
    ] = False
    driver_grace: Annotated[
        Duration,
        Field(
            description="How late a due step may be before nodes take it themselves.",
            json_schema_extra=immutable("epoch.driverGrace"),
        ),
    ] = "60s"
    transition_timeout: Duration = Field(
        "10m", description="How long nothing may arrive in a change of epoch until its EpochTransition is Stalled."
    )
    history_limit: int = Field(10, ge=1, le=100, description="Finished EpochTransitions to keep.")


class LedgerSpec(Model):
    """The process that orders transactions."""

    storage: Storage = Storage(size="2Gi")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "1Gi"})


class GatewaySpec(Model):
    """The HTTP service that takes blobs in and hands them out."""

    enabled: bool = Field(True, description="Whether there is one.")
    replicas: int = Field(1, ge=0, le=20, description="How many Pods serve; none stops it and keeps its Service.")
    public_url: Annotated[str, Field(max_length=256, pattern=r"^https?://[^/ ]+(/[^ ]*)?$")] = Field(
        "http://127.0.0.1:31415",
        description="Where people and browsers reach it, as links say; by default the port-forward of the notes.",
    )
    cache_bytes: int = Field(67108864, ge=0, le=68719476736, description="Bytes of blobs each replica keeps in memory.")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "2Gi"})


class GraphqlLimits(Model):
    """What callers of GraphQL may ask for; who asks for more is refused with a code."""

    max_cost: int = Field(
        10_000, ge=100, le=1_000_000_000, description="What one document may cost: fields that it resolves at worst."
    )
    max_cost_with_token: int = Field(
        50_000,
        ge=100,
        le=1_000_000_000,
        description="What one document may cost with a token; never less than without.",
    )
    max_depth: int = Field(12, ge=4, le=50, description="How many levels one document may have.")
    max_aliases: int = Field(
        20, ge=1, le=200, description="How many aliases and repeated fields one document may have."
    )
    max_subscriptions: int = Field(
        20, ge=1, le=1_000, description="How many subscriptions one connection may have at a time."
    )
    query_timeout: Duration = Field("10s", description="How long a query may take.")
    mutation_timeout: Duration = Field("30s", description="How long a mutation may take.")
    points_per_hour: int = Field(
        5_000_000,
        ge=0,
        le=999_999_999_999_999,
        description="What one client may ask of each Pod in an hour, in cost; 0 for everything.",
    )


class GraphqlSpec(Model):
    """The GraphQL service. What the ledger tells is filled in anew at each start; tokens and the audit are kept."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.replicas <= 1 || has(self.recordsSecret)",
                "graphql.replicas above 1 needs graphql.recordsSecret: replicas share tokens and audit in a PostgreSQL",
            )
        )
    )

    enabled: bool = Field(True, description="Whether there is one.")
    replicas: int = Field(1, ge=0, le=20, description="How many Pods serve; more than one share a PostgreSQL.")
    storage: Storage = Field(Storage(size="1Gi"), description="The volume of tokens and audit.")
    records_secret: Name | None = Field(
        None, description="Secret whose key `url` is a postgresql:// URL; tokens and audit go there, not to a volume."
    )
    limits: GraphqlLimits = GraphqlLimits()
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "1Gi"})


class FundsSpec(Model):
    """FROST that accounts hold from genesis on, beside the stake of the first nodes; fixed at genesis."""

    treasury: Annotated[
        Amount,
        Field(description="Stakes new nodes; a bare number is FROST.", json_schema_extra=immutable("funds.treasury")),
    ] = "10000000WAL"
    gateway: Annotated[
        Amount,
        Field(description="Pays for the blobs that the gateway stores.", json_schema_extra=immutable("funds.gateway")),
    ] = "1000000WAL"
    graphql: Annotated[
        Amount,
        Field(
            description="Pays for what GraphQL's mutations ask of the ledger.",
            json_schema_extra=immutable("funds.graphql"),
        ),
    ] = "1000WAL"


class SafetySpec(Model):
    """How much may be down at a time by our own doing."""

    max_unavailable_shards: int | None = Field(
        None, ge=0, le=333, description="At most f, which is the default: a third of the shards, rounded down."
    )


class ProtocolSpec(Model):
    """How the network comes to newer rules."""

    activation: Literal["Automatic", "Manual"] = Field(
        "Automatic",
        description="Whether the next protocol version begins by itself once every process knows it, or when people "
        "annotate the network with haulout.dev/activate-protocol and that version.",
    )


class TlsSpec(Model):
    """Transport security between the processes."""

    mode: Literal["Disabled"] = Field("Disabled", description="gRPC inside the cluster is plaintext so far.")


class NetworkPolicySpec(Model):
    """Who may talk to whom."""

    enabled: bool = Field(True, description="Whether NetworkPolicies are made.")


class TracingSpec(Model):
    """Where the network's processes send their traces."""

    endpoint: Annotated[str, Field(max_length=256, pattern=r"^(https?://[^/ ]+/?)?$")] = Field(
        "",
        description="A collector that speaks OTLP over gRPC, as http://collector.observability:4317; none when empty.",
    )
    sample_percent: int = Field(100, ge=0, le=100, description="How many of the requests that bring no trace have one.")


class MetricsSpec(Model):
    """How the metrics of the network's processes are found."""

    scrape_annotations: bool = Field(
        False, description="Annotate all Pods for a Prometheus that scrapes by annotation (prometheus.io/scrape)."
    )


class DeletionSpec(Model):
    """What happens to data when the network is deleted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.policy == 'Retain' || (has(self.confirm) && size(self.confirm) > 0)",
                "deletion.policy Destroy needs deletion.confirm: write the network's name there",
            )
        )
    )

    policy: Literal["Retain", "Destroy"] = Field(
        "Retain", description="Whether volumes, keys and genesis stay, or are destroyed with the network."
    )
    confirm: Name | None = Field(None, description="The network's name, once more, before anything is destroyed.")


class StorageNetworkSpec(Model):
    """What a network should be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.safety.maxUnavailableShards) || self.safety.maxUnavailableShards <= (self.shards - 1) / 3",
                "safety.maxUnavailableShards is at most f, a third of the shards rounded down: (shards - 1) / 3",
            )
        )
    )

    shards: Annotated[
        int,
        Field(
            ge=4,
            le=1000,
            description="Places of the erasure code; fixed at genesis.",
            json_schema_extra=immutable("shards"),
        ),
    ] = 100
    image: Text = Field("", description="Image of all processes; the operator's own when empty.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When machines pull the image."
    )
    image_pull_secrets: list[Name] = Field(default_factory=list, max_length=8, description="Secrets to pull with.")
    epoch: EpochSpec = EpochSpec()
    funds: FundsSpec = FundsSpec()
    ledger: LedgerSpec = LedgerSpec()
    gateway: GatewaySpec = GatewaySpec()
    graphql: GraphqlSpec = GraphqlSpec()
    safety: SafetySpec = SafetySpec()
    protocol: ProtocolSpec = ProtocolSpec()
    tls: TlsSpec = TlsSpec()
    network_policy: NetworkPolicySpec = NetworkPolicySpec()
    tracing: TracingSpec = TracingSpec()
    metrics: MetricsSpec = MetricsSpec()
    deletion: DeletionSpec = DeletionSpec()


class EpochStatus(Model):
    """Where the ledger stands."""

    number: int = 0
    phase: Word = ""
    ends_at: Time = ""


class ShardsStatus(Model):
    """Shards by how they are."""

    total: int = 0
    available: int = 0
    moving: int = 0


class FaultBudgetStatus(Model):
    """Shards that may be unavailable at once: used by what is down, remaining for what we do ourselves."""

    limit: int = 0
    used: int = 0
    remaining: int = 0
    summary: Word = ""


class NodesStatus(Model):
    """Nodes of all pools."""

    desired: int = 0
    ready: int = 0
    in_committee: int = 0
    summary: Word = ""


class StorageNetworkStatus(Model):
    """What a network is; mirrors the ledger and Kubernetes, and can be lost without loss."""

    observed_generation: int = 0
    chain_id: Word = ""
    protocol_version: int = 0
    epoch: EpochStatus | None = None
    shards: ShardsStatus | None = None
    fault_budget: FaultBudgetStatus | None = None
    nodes: NodesStatus | None = None
    conditions: Conditions = Field(default_factory=list)
