"""What accounts store, and what they have paid in an epoch: summed up from their rows, of which there is a bound.

Sums are made here and not in SQL: SQLite has unsigned numbers of 64 bits as text (`schema.Unsigned`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from graphql_api.read_model import schema as t
from graphql_api.read_model.blob_queries import OBJECTS_ORDER, ObjectQuery, objects_statement
from graphql_api.read_model.event_queries import EVENTS_ORDER, EventQuery, events_statement
from graphql_api.read_model.paging import Window, fetch_first_pages
from graphql_api.read_model.queries import EpochRange
from haulout import bcs
from haulout.ledger import events as e

OBJECTS_MAX = 10_000
PAYMENTS_MAX = 1_000

# What an account pays with each event that is recorded as its own. Extensions of shared blobs are paid by their funds.
PAYMENTS: Mapping[type[Any], Callable[[Any], int]] = {
    e.StorageReserved: lambda body: body.cost_frost,
    e.BlobRegistered: lambda body: body.cost_frost,
    e.BlobCertified: lambda body: body.cost_frost,
    e.BlobShared: lambda body: body.funds_frost,
    e.SharedBlobFunded: lambda body: body.amount_frost,
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What an account stores: blob objects whose end has not come, and the encoded bytes bound to them."""

    n_objects: int
    encoded_bytes: int


def stored_by_owner(connection: Connection, owners: Sequence[bytes], epoch: int) -> dict[bytes, Stored | None]:
    """What many accounts store in an epoch; None for those with more than `OBJECTS_MAX` objects."""
    c = t.blob_objects.c
    statement = objects_statement(ObjectQuery(ends=EpochRange(after=epoch)), epoch)
    columns, window = (c.owner, c.registered_sequence, c.storage_size_bytes), Window(OBJECTS_MAX)
    pages = fetch_first_pages(connection, statement, OBJECTS_ORDER, c.owner, owners, window, columns)
    return {
        owner: None if page.has_next else Stored(len(page.rows), sum(row["storage_size_bytes"] for row in page.rows))
        for owner, page in pages.items()
    }


def paid_by_account(connection: Connection, accounts: Sequence[bytes], epoch: int) -> dict[bytes, int | None]:
    """FROST that many accounts have paid since an epoch began; None for more than `PAYMENTS_MAX` payments."""
    c = t.events.c
    begun = connection.execute(select(t.epochs.c.started_sequence).where(t.epochs.c.epoch == epoch)).scalar()
    query = EventQuery(kinds=tuple(kind.__name__ for kind in PAYMENTS), after_sequence=begun)
    columns, window = (c.account, c.sequence, c.payload), Window(PAYMENTS_MAX)
    statement = events_statement(query)
    pages = fetch_first_pages(connection, statement, EVENTS_ORDER, c.account, accounts, window, columns)
    return {
        account: None if page.has_next else sum(_paid(row["payload"]) for row in page.rows)
        for account, page in pages.items()
    }


def _paid(payload: bytes) -> int:
    body: Any = bcs.decode(e.EventBody, payload)
    return PAYMENTS[type(body)](body)
