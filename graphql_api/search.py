"""One box for everything: what a text that somebody has in hand may name."""

from __future__ import annotations

from typing import Annotated

import strawberry

from graphql_api.accounts import Account, StorageReservation, load_account, load_reservation
from graphql_api.blob_filters import blob_ids_from, is_beginning
from graphql_api.blobs import Blob, BlobObject, load_blob, load_blob_object
from graphql_api.context import Info
from graphql_api.epochs import Epoch, load_epoch
from graphql_api.nodes import StorageNode, find_node, load_node
from graphql_api.read_model import blob_queries, node_queries, queries
from graphql_api.read_model.blob_queries import BlobQuery
from graphql_api.read_model.node_queries import NodeQuery
from graphql_api.read_model.paging import Order, Window, check_count, fetch_page
from haulout.errors import InvalidField, InvalidInput
from haulout.primitives import parse_blob_id, parse_object_id

TEXT_MAX = 128
BEGINNING_MIN = 4  # characters: fewer begin too many ids
EPOCH_DIGITS_MAX = 9
BLOB_ID_LIMIT = 1 << 256
DECIMAL_DIGITS_MAX = 78  # of the largest blob id

SearchHit = Annotated[
    Blob | BlobObject | StorageReservation | StorageNode | Account | Epoch,
    strawberry.union("SearchHit", description="Something that a text can name."),
]


async def search(info: Info, text: str, first: int) -> list[SearchHit]:
    """What a text names: a blob id in either form, the id of an object, node or account, a node's name, an epoch.

    When nothing has this name, what has it as a part: the beginning of blob ids, a part of nodes' names.

    Raises:
        InvalidField: empty, or longer than any name.
        BadPage, PageTooLarge: no number of hits, or too many.
    """
    wanted = text.strip()
    if not 0 < len(wanted) <= TEXT_MAX:
        raise InvalidField(field="text", problem=f"has 1 to {TEXT_MAX} characters")
    check_count(first)
    hits = await _named(info, wanted) or await _named_in_part(info, wanted, first)
    return hits[:first]


async def _named(info: Info, wanted: str) -> list[SearchHit]:
    """What has exactly this name."""
    found: list[SearchHit | None] = [await find_node(info, None, wanted)]
    if wanted.isascii() and wanted.isdigit():
        number = int(wanted)
        if len(wanted) <= EPOCH_DIGITS_MAX:
            found.append(await load_epoch(info, number))
        if number < BLOB_ID_LIMIT:
            found.append(await load_blob(info, number.to_bytes(32, "little")))
    elif wanted.startswith("0x"):
        found += await _named_by_hex(info, wanted)
    else:
        blob_id = _parsed_blob_id(wanted)
        if blob_id is not None:
            found.append(await load_blob(info, blob_id))
    return [hit for hit in found if hit is not None]


async def _named_in_part(info: Info, wanted: str, first: int) -> list[SearchHit]:
    """Nodes whose name holds a text, and the oldest blobs whose id begins with it; not more than `first` of each."""
    reading, window = info.context.reading, Window(first)
    statement = node_queries.nodes_statement(NodeQuery(name_part=wanted))
    page = await reading.run(fetch_page, statement, Order(node_queries.NODE_ORDERS["NAME"]), window)
    hits: list[SearchHit] = [StorageNode.of(row) for row in page.rows]
    if is_beginning(wanted) and len(wanted) >= BEGINNING_MIN:
        epoch = await info.context.epoch()
        query = BlobQuery(ids=blob_ids_from(wanted))
        statement = await reading.run(
            queries.narrowed, blob_queries.blobs_statement(query, epoch), blob_queries.rare_blobs(query, epoch)
        )
        page = await reading.run(fetch_page, statement, Order(blob_queries.BLOB_ORDERS["CREATED_AT"]), window)
        hits += [Blob.of(row, info.context, epoch) for row in page.rows]
    return hits


async def find_blob(info: Info, blob_id: bytes | None, decimal_id: str | None, object_id: bytes | None) -> Blob | None:
    """A blob by one of its names.

    Raises:
        InvalidField: none or several are given, or the number is no blob's.
    """
    if [blob_id, decimal_id, object_id].count(None) != 2:
        raise InvalidField(field="blob", problem="pass one of blobId, decimalId and objectId")
    if decimal_id is not None:
        if not decimal_id.isascii() or not decimal_id.isdigit() or len(decimal_id) > DECIMAL_DIGITS_MAX:
            raise InvalidField(field="decimalId", problem="is not a whole number below 2^256")
        number = int(decimal_id)
        blob_id = number.to_bytes(32, "little") if number < BLOB_ID_LIMIT else None
    elif object_id is not None:
        row = await info.context.loaders.blob_object.load(object_id)
        blob_id = None if row is None else row["blob_id"]
    return None if blob_id is None else await load_blob(info, blob_id)


async def _named_by_hex(info: Info, text: str) -> list[SearchHit | None]:
    try:
        key = parse_object_id(text, field="text")
    except InvalidInput:
        return []
    account = await info.context.loaders.account.load(key)
    return [
        await load_blob_object(info, key),
        await load_reservation(info, key),
        await load_node(info, key),
        None if account is None else await load_account(info, key),
    ]


def _parsed_blob_id(text: str) -> bytes | None:
    try:
        return parse_blob_id(text, field="text")
    except InvalidInput:
        return None
