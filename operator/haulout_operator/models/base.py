"""What the specs and statuses of all kinds are made of.

Every string, list and map has a maximum: the API server estimates what a CEL rule costs from declared sizes and
refuses rules over unbounded ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from haulout_operator.quantities import UNITS

GROUP = "haulout.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "haulout"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NUMBER_OR_TEXT = "x-kubernetes-int-or-string"

AMOUNT_OF_RESOURCE_PATTERN = r"^[0-9]{1,12}([.][0-9]{1,6})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
# Sizes, amounts and stakes fit the 64 bits that the ledger counts in, so that no spec that is taken stops a round.
QUANTITY_PATTERN = (
    r"^([1-9][0-9]{0,14}|[1-9][0-9]{0,11}(k|Ki)|[1-9][0-9]{0,8}(M|Mi)|[1-9][0-9]{0,5}(G|Gi)|[1-9][0-9]{0,3}(T|Ti))$"
)
DURATION_PATTERN = r"^[1-9][0-9]{0,5}(s|m|h|d)$"
AMOUNT_PATTERN = r"^([0-9]{1,10}WAL|[0-9]{1,19}(FROST)?)$"
STAKE_PATTERN = r"^(0(WAL|FROST)?|[1-9][0-9]{0,9}WAL|[1-9][0-9]{9,18}(FROST)?)$"  # none, or at least 1 WAL
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
# What a node's process is told by the operator and nobody else.
FIXED_VARIABLES = (
    "HAULOUT_ALLOW_PLAINTEXT",
    "HAULOUT_DATA",
    "HAULOUT_GENESIS",
    "HAULOUT_KEYS",
    "HAULOUT_LEDGER",
    "HAULOUT_LISTEN",
    "HAULOUT_METRICS",
    "HAULOUT_NODE_ID",
    "HAULOUT_PROCESS",
    "HAULOUT_SCRUB_RATE",
    "HOME",
    "NUMBA_CACHE_DIR",
)

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=NAME_PATTERN)]
Text = Annotated[str, Field(max_length=1024)]
Word = Annotated[str, Field(max_length=128)]
Quantity = Annotated[str, Field(max_length=24, pattern=QUANTITY_PATTERN)]
Duration = Annotated[str, Field(max_length=16, pattern=DURATION_PATTERN)]
Amount = Annotated[str, Field(max_length=24, pattern=AMOUNT_PATTERN)]
StakeAmount = Annotated[str, Field(max_length=24, pattern=STAKE_PATTERN)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One CEL rule, as the API server takes it; the message is what a person reads."""
    return {"rule": expression, "message": message, **more}


def rules(*all_of: dict[str, str]) -> dict[str, Any]:
    """CEL rules of a field or of a model."""
    return {"x-kubernetes-validations": list(all_of)}


def immutable(field: str) -> dict[str, Any]:
    """A required field that stays as it was when the object was created."""
    return rules(rule("self == oldSelf", f"{field} cannot be changed: the network was founded with it"))


def bytes_of(size: str) -> str:
    """CEL for the bytes of a field with a `Quantity`, of what each API server knows: `quantity()` came with 1.29."""
    unit = "".join(f"{size}.endsWith('{name}') ? {factor} : " for name, factor in UNITS.items() if name)
    return f"int({size}.find('^[0-9]+')) * ({unit}1)"


class Model(BaseModel):
    """A part of a spec or status: camel case outside, unknown fields are ignored as a newer version may have them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Reference(Model):
    """An object of the same namespace by name."""

    name: Name = Field(description="Its name; it stands in the same namespace.")


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


ResourceAmount = Annotated[
    str,
    Field(max_length=24, pattern=AMOUNT_OF_RESOURCE_PATTERN, json_schema_extra={NUMBER_OR_TEXT: True}),
    BeforeValidator(_as_text),
]


class Resources(Model):
    """What a container asks for, as Kubernetes takes it."""

    requests: dict[str, ResourceAmount] = Field(
        default_factory=dict, max_length=8, description="What is kept free for it on its machine: cpu, memory."
    )
    limits: dict[str, ResourceAmount] = Field(
        default_factory=dict, max_length=8, description="What it may not exceed: memory."
    )


class Toleration(Model):
    """A taint that Pods bear, as Kubernetes has it."""

    key: Annotated[str, Field(max_length=317, description="The taint's key; every taint when absent.")] | None = None
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="Whether its value matters; Equal when absent."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(None, description="The taint's value, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint's effect; every one when absent."
    )
    toleration_seconds: Annotated[int, Field(ge=0)] | None = Field(
        None, description="How long it bears a taint of NoExecute; for ever when absent."
    )


class KeyReference(Model):
    """A value in a Secret or ConfigMap of the same namespace."""

    name: Word = Field(description="The Secret's or ConfigMap's name.")
    key: Word = Field(description="The key whose value is taken.")


class ValueSource(Model):
    """Where a variable's value is read from when a Pod starts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.secretKeyRef) != has(self.configMapKeyRef)", "name one: secretKeyRef or configMapKeyRef")
        )
    )

    secret_key_ref: KeyReference | None = Field(None, description="A key of a Secret.")
    config_map_key_ref: KeyReference | None = Field(None, description="A key of a ConfigMap.")


class EnvironmentVariable(Model):
    """A variable of a process, as Kubernetes has it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.value) != has(self.valueFrom)", "a variable has either value or valueFrom"),
            rule(
                f"!(self.name in {list(FIXED_VARIABLES)})",
                "a variable that the operator sets: addresses, identity and files follow from the spec",
            ),
        )
    )

    name: Annotated[str, Field(max_length=128, pattern=VARIABLE_PATTERN)] = Field(description="Its name.")
    value: Text | None = Field(None, description="Its value.")
    value_from: ValueSource | None = Field(None, description="Where its value is read from.")


class Storage(Model):
    """A volume of a process; the size may grow and never shrink."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"{bytes_of('self.size')} >= {bytes_of('oldSelf.size')}",
                "storage.size cannot shrink: volumes only grow. Next: add nodes with smaller volumes in another pool.",
            )
        )
    )

    size: Quantity = Field("10Gi", description="How much it holds, as 10Gi.")
    storage_class_name: Word | None = Field(
        None, description="Where volumes that are made from now on come from; the cluster's default when absent."
    )


class Condition(Model):
    """A fact about an object, why it holds, and what to do next."""

    type: Annotated[str, Field(max_length=64)]
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]}, max_length=8)]
    reason: Annotated[str, Field(min_length=1, max_length=128)]
    message: Annotated[str, Field(max_length=4096)] = ""
    last_transition_time: Time = ""
    observed_generation: int = Field(0, ge=0)


Conditions = Annotated[
    list[Condition],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
