"""What all events have in common."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any

import strawberry

from graphql_api.ids import Node
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt
from haulout import bcs
from haulout.ledger import events as e


@strawberry.interface(description="Something that happened on the ledger.")
class Event(Node):
    sequence: BigInt = strawberry.field(description="Its number among all events, from 0; the cursor to resume from.")
    height: BigInt = strawberry.field(description="The block that it happened in.")
    epoch: int = strawberry.field(description="The epoch that it happened in.")
    timestamp: datetime = strawberry.field(description="The block's time.")
    row: strawberry.Private[Row]

    @functools.cached_property
    def body(self) -> Any:
        """What the ledger says of it; most answers ask only when it was."""
        return bcs.decode(e.EventBody, self.row["payload"])
