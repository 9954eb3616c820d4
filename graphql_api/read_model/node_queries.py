"""What is asked of nodes, their pools and stakes, and of storage that nothing is bound to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.paging import Order
from graphql_api.read_model.queries import Rare
from graphql_api.read_model.text_search import holds

NODE_ORDERS: Mapping[str, tuple[ColumnElement[Any], ...]] = {
    "STAKE": (t.nodes.c.stake_frost, t.nodes.c.node_id),
    "WEIGHT": (t.nodes.c.weight, t.nodes.c.node_id),
    "NAME": (t.nodes.c.name, t.nodes.c.node_id),
}
STORAGE_ORDER = Order((t.storage.c.registered_sequence, t.storage.c.object_id))
STAKES_ORDER = Order((t.stakes.c.registered_sequence,))
RATES_ORDER = Order((t.exchange_rates.c.epoch,), descending=True)
REWARDS_ORDER = Order((t.epoch_rewards.c.epoch,), descending=True)


@dataclass(frozen=True, slots=True)
class NodeQuery:
    """Which nodes; all conditions hold. What a node is doing is not among them: only the node knows."""

    in_committee: bool | None = None
    name_part: str | None = None


def nodes_statement(query: NodeQuery) -> Select[Any]:
    """All nodes that a query asks for, without order."""
    c = t.nodes.c
    statement = select(t.nodes).where(c.deleted_height.is_(None))
    if query.in_committee is not None:
        statement = statement.where(c.weight > 0 if query.in_committee else c.weight == 0)
    if query.name_part is not None:
        statement = statement.where(holds(c.name, query.name_part))
    return statement


@dataclass(frozen=True, slots=True)
class StakeQuery:
    """Which live stakes; all conditions hold."""

    owner: bytes | None = None
    node_id: bytes | None = None
    states: tuple[str, ...] = ()


def _stake_states(states: Sequence[str], epoch: int) -> list[ColumnElement[bool]]:
    """The states of a stake in an epoch, each with an index of its own; `stakes.stake_state` says the same of a row."""
    c = t.stakes.c
    stays = c.withdraw_epoch.is_(None)
    conditions = {
        "PENDING": and_(stays, c.activation_epoch > epoch),
        "ACTIVE": and_(stays, c.activation_epoch <= epoch),
        "WITHDRAWING": c.withdraw_epoch > epoch,
        "WITHDRAWABLE": c.withdraw_epoch <= epoch,
    }
    return [and_(c.deleted_height.is_(None), conditions[state]) for state in states]


def rare_stakes(query: StakeQuery, epoch: int) -> list[Rare]:
    """What may leave few of all live stakes."""
    found = _stake_states(query.states, epoch)
    return [Rare(t.stakes.c.object_id, tuple(found))] if found else []


def stakes_statement(query: StakeQuery, epoch: int) -> Select[Any]:
    """All live stakes that a query asks for, without order."""
    c = t.stakes.c
    statement = select(t.stakes).where(c.deleted_height.is_(None))
    if query.states:
        statement = statement.where(or_(*_stake_states(query.states, epoch)))
    if query.owner is not None:
        statement = statement.where(c.owner == query.owner)
    if query.node_id is not None:
        statement = statement.where(c.node_id == query.node_id)
    return statement


def free_storage_statement() -> Select[Any]:
    """Storage resources that are neither bound to a blob nor gone."""
    c = t.storage.c
    return select(t.storage).where(c.deleted_height.is_(None), c.blob_object_id.is_(None))
