"""Lists that belong to a parent, such as the events of a blob: read for many parents at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.blob_queries import OBJECTS_ORDER, objects_statement
from graphql_api.read_model.epoch_queries import MOVES_ORDER, moves_statement
from graphql_api.read_model.event_queries import EVENTS_ORDER, events_statement
from graphql_api.read_model.node_queries import (
    RATES_ORDER,
    REWARDS_ORDER,
    STAKES_ORDER,
    STORAGE_ORDER,
    free_storage_statement,
    stakes_statement,
)
from graphql_api.read_model.paging import Order, Page, Window, fetch_first_pages
from graphql_api.read_model.queries import Row


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is read for many parents at once."""

    table: Table
    order: Order
    statement: Callable[[Any, int], Select[Any]]


LISTS: Mapping[str, Listing] = {
    "objects": Listing(t.blob_objects, OBJECTS_ORDER, objects_statement),
    "storage": Listing(t.storage, STORAGE_ORDER, lambda _query, _epoch: free_storage_statement()),
    "stakes": Listing(t.stakes, STAKES_ORDER, stakes_statement),
    "moves": Listing(t.hand_overs, MOVES_ORDER, lambda query, _epoch: moves_statement(query)),
    "rates": Listing(t.exchange_rates, RATES_ORDER, lambda _query, _epoch: select(t.exchange_rates)),
    "rewards": Listing(t.epoch_rewards, REWARDS_ORDER, lambda _query, _epoch: select(t.epoch_rewards)),
    "events": Listing(t.events, EVENTS_ORDER, lambda query, _epoch: events_statement(query)),
}


def pages_by_parent(
    connection: Connection,
    list_name: str,
    column_name: str,
    parents: Sequence[Any],
    query: Any,
    epoch: int,
    window: Window,
) -> dict[Any, Page[Row]]:
    """The first page of a list for each of many parents."""
    listing = LISTS[list_name]
    statement = listing.statement(query, epoch)
    return fetch_first_pages(connection, statement, listing.order, listing.table.c[column_name], parents, window)
