"""Global ids, and what each type of them is found by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from graphql_api.accounts import load_account, load_reservation
from graphql_api.blobs import load_blob, load_blob_object
from graphql_api.context import Info
from graphql_api.epochs import load_committee, load_epoch
from graphql_api.events import load_event
from graphql_api.ids import Node, bytes_key, int_key, read_global_id
from graphql_api.nodes import load_node
from graphql_api.operations import find_operation
from graphql_api.proofs import AvailabilityCertificate
from graphql_api.stakes import Stake, StakingPool
from haulout.errors import InvalidField

Finder = Callable[[Info, str], Awaitable[Node | None]]


async def find_by_id(info: Info, id: str) -> Node | None:
    """Anything by its global id.

    Raises:
        InvalidField: no id of this API.
    """
    type_name, key = read_global_id(id)
    find = FINDERS.get(type_name)
    if find is None:
        raise InvalidField(field="id", problem="is not an id of this API")
    return await find(info, key)


async def _find_certificate(info: Info, key: str) -> Node | None:
    row = await info.context.loaders.certificate.load(int_key(key))
    n_shards = info.context.services.params.n_shards
    return None if row is None else AvailabilityCertificate.of(row, n_shards)


async def _find_pool(info: Info, key: str) -> Node | None:
    row = await info.context.loaders.node.load(bytes_key(key))
    return None if row is None else StakingPool.of(row)


async def _find_stake(info: Info, key: str) -> Node | None:
    row = await info.context.loaders.stake.load(bytes_key(key))
    return None if row is None else Stake.of(row, await info.context.epoch())


FINDERS: Mapping[str, Finder] = {
    "Account": lambda info, key: load_account(info, bytes_key(key)),
    "AvailabilityCertificate": _find_certificate,
    "Blob": lambda info, key: load_blob(info, bytes_key(key)),
    "BlobObject": lambda info, key: load_blob_object(info, bytes_key(key)),
    "Committee": lambda info, key: load_committee(info, int_key(key)),
    "Epoch": lambda info, key: load_epoch(info, int_key(key)),
    "Event": lambda info, key: load_event(info, int_key(key)),
    "Operation": find_operation,
    "Stake": _find_stake,
    "StakingPool": _find_pool,
    "StorageNode": lambda info, key: load_node(info, bytes_key(key)),
    "StorageReservation": lambda info, key: load_reservation(info, bytes_key(key)),
}
