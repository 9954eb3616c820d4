"""EpochTransition: one change of epoch, mirrored from the ledger; people read it and wait for it."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from haulout_operator.models.base import Conditions, Model, Reference, Time, Word, rule, rules


class EpochTransitionSpec(Model):
    """Which change; made by the operator."""

    model_config = ConfigDict(json_schema_extra=rules(rule("self == oldSelf", "an EpochTransition cannot be changed")))

    network_ref: Reference
    from_epoch: int = Field(ge=1, description="The epoch that ends.")
    to_epoch: int = Field(ge=2, description="The epoch that begins.")


class MovesStatus(Model):
    """Shards that change owner."""

    total: int = 0
    done: int = 0
    bytes: int = Field(
        0,
        description="Of slivers on them, as far as their new owners have counted them.",
        json_schema_extra={"format": "int64"},
    )
    bytes_done: int = Field(0, description="What has arrived of these.", json_schema_extra={"format": "int64"})


class EpochTransitionStatus(Model):
    """How far it is."""

    observed_generation: int = 0
    phase: Word = Field("", description="The ledger's: Voted, Sync or Done; Waiting of one that is yet to come.")
    forced: bool = False
    moves: MovesStatus | None = None
    synced_weight: int = Field(0, description="Shards of members that have reported their sync done.")
    started_at: Time = ""
    progressed_at: Time = Field("", description="When shards, bytes or reports of a sync arrived last.")
    completed_at: Time = ""
    conditions: Conditions = Field(default_factory=list)
