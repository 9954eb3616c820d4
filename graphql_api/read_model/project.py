"""The projection: ledger events into rows.

A batch of blocks is applied in one SQL transaction together with the cursor, so a crash leaves all of it or nothing.
What a row says follows from the events alone and not from how they were cut into batches: running sums are made by
difference, summaries are recomputed from the rows they sum up. So a database that was interrupted anywhere equals
one that was not, and one that is built again from genesis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, insert

from graphql_api.read_model import schema as t
from graphql_api.read_model.project_blobs import BLOB_HANDLERS
from graphql_api.read_model.project_epochs import EPOCH_HANDLERS
from graphql_api.read_model.rows import Rows
from graphql_api.read_model.statements import insert_row, update_rows
from graphql_api.read_model.summaries import Summaries
from haulout import bcs
from haulout.crypto.certificate import Signer
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Corrupt
from haulout.ledger import events as e

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BlockEvents:
    """A block as the projection sees it: verified elsewhere, events in order."""

    height: int
    time_ms: int
    digest: bytes
    previous_digest: bytes
    events: tuple[e.Event, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a database is; `sequence` is the last event applied, -1 before the first."""

    height: int
    sequence: int
    epoch: int
    time_ms: int
    block_digest: bytes
    n_accounts: int
    n_blobs: int
    n_nodes: int


NOTHING = Progress(
    height=-1, sequence=-1, epoch=0, time_ms=0, block_digest=bytes(32), n_accounts=0, n_blobs=0, n_nodes=0
)


@dataclass(eq=False)
class EventGap(Corrupt):
    """The feed skipped or repeated something: nothing of the batch was applied."""

    code = "READ_MODEL_GAP"
    template = "the read model stands at height {height}, sequence {sequence}, and was handed {got}"
    hint = "restart; when it happens again, rebuild the read model"
    height: int
    sequence: int
    got: str


@dataclass(eq=False)
class OtherHistory(Corrupt):
    """The database was filled from a history that is not the ledger's: it lost blocks that were seen here."""

    code = "READ_MODEL_OTHER_HISTORY"
    template = "block {height} of the ledger does not follow the block that the read model holds below it"
    hint = "start once with --rebuild: everything in it is made again from the ledger"
    height: int


@dataclass(frozen=True, slots=True)
class Projector:
    """Applies blocks to a database; `scheme` checks certificates again, whoever handed them over."""

    n_shards: int
    scheme: SignatureScheme

    def apply_blocks(self, connection: Connection, progress: Progress, blocks: Sequence[BlockEvents]) -> Progress:
        """Apply blocks that follow `progress` without a gap; the caller holds the SQL transaction.

        Returns:
            The new progress, which is in the database too.

        Raises:
            EventGap: a height or a sequence number is not the next one.
            OtherHistory: a block that does not continue the one before.
        """
        batch = Batch(self, connection, progress)
        batch.expect(event.body for block in blocks for event in block.events)
        for block in blocks:
            batch.apply(block)
        return batch.finish()


class Batch:
    """Work on one SQL transaction: rows written as events come, summaries once at its end."""

    def __init__(self, projector: Projector, connection: Connection, progress: Progress) -> None:
        self.n_shards = projector.n_shards
        self.scheme = projector.scheme
        self.sql = connection
        self.height = progress.height
        self.sequence = progress.sequence
        self.epoch = progress.epoch
        self.time_ms = progress.time_ms
        self.digest = progress.block_digest
        self.n_accounts = progress.n_accounts
        self.n_blobs = progress.n_blobs
        self.n_nodes = progress.n_nodes
        self.is_first = progress.height < 0
        self.event: e.Event
        self.event_rows: list[Row] = []
        self.certificate_rows: list[Row] = []
        self.balances: dict[bytes, tuple[int, Row]] = {}  # by address, with what a new account's row also says
        self.bookings: dict[int, Row] = {}  # by epoch
        self.signers: dict[int, list[Signer]] = {}  # by epoch
        self.objects = Rows(connection, t.blob_objects)
        self.storage = Rows(connection, t.storage)
        self.summaries = Summaries(connection, projector.n_shards)

    # --- blocks -------------------------------------------------------------------------------------------

    def expect(self, bodies: Iterable[Any]) -> None:
        """Read the rows that these events speak of, together."""
        objects: list[bytes] = []
        storage: list[bytes] = []
        for body in bodies:
            if isinstance(body, STORAGE_EVENTS):
                storage.append(body.object_id)
            elif isinstance(body, e.BlobRegistered):
                storage.append(body.storage_id)
            elif isinstance(body, OBJECT_EVENTS):
                objects.append(body.object_id)
        self.objects.expect(objects)
        found = (self.objects.find(object_id) for object_id in objects)
        self.storage.expect([*storage, *(row["storage_id"] for row in found if row is not None)])

    def apply(self, block: BlockEvents) -> None:
        if block.height != self.height + 1:
            raise EventGap(height=self.height, sequence=self.sequence, got=f"height {block.height}")
        if block.height > 0 and block.previous_digest != self.digest:
            raise OtherHistory(height=block.height)
        self.height, self.time_ms, self.digest = block.height, block.time_ms, block.digest
        for event in block.events:
            if event.sequence != self.sequence + 1 or event.height != block.height:
                got = f"sequence {event.sequence} of height {event.height}"
                raise EventGap(height=self.height, sequence=self.sequence, got=got)
            self.sequence = event.sequence
            self.event = event
            HANDLERS[type(event.body)](self, event.body)
        self.summaries.end_block(self.epoch)

    def finish(self) -> Progress:
        if self.event_rows:
            self.sql.execute(insert(t.events), self.event_rows)
        if self.certificate_rows:
            self.sql.execute(insert(t.certificates), self.certificate_rows)
        self.objects.write()
        self.storage.write()
        self.write_latest()
        self.n_blobs += self.summaries.end_batch()
        progress = Progress(
            height=self.height,
            sequence=self.sequence,
            epoch=self.epoch,
            time_ms=self.time_ms,
            block_digest=self.digest,
            n_accounts=self.n_accounts,
            n_blobs=self.n_blobs,
            n_nodes=self.n_nodes,
        )
        values = {name: getattr(progress, name) for name in Progress.__slots__}
        if self.is_first:
            insert_row(self.sql, t.progress, {"id": 1, **values})
        else:
            update_rows(self.sql, t.progress, {"id": 1}, values)
        return progress

    # --- small verbs --------------------------------------------------------------------------------------

    def record(
        self,
        *,
        blob: bytes | None = None,
        obj: bytes | None = None,
        account: bytes | None = None,
        node: bytes | None = None,
    ) -> None:
        """Put the current event into the log, with what it can be found by."""
        event = self.event
        self.event_rows.append(
            {
                "sequence": event.sequence,
                "height": event.height,
                "tx_index": event.tx_index,
                "time_ms": event.time_ms,
                "epoch": event.epoch,
                "kind": type(event.body).__name__,
                "payload": bcs.encode(event.body, e.EventBody),
                "blob_id": blob,
                "object_id": obj,
                "account": account,
                "node_id": node,
            }
        )

    def born(self) -> Row:
        return {"registered_height": self.event.height, "registered_sequence": self.event.sequence}

    def put(self, table: Table, key: Row, values: Row, *, born: Row | None = None) -> bool:
        """Update a row or make it; says whether it was made. `born` is added to a new row."""
        if update_rows(self.sql, table, key, values):
            return False
        insert_row(self.sql, table, {**key, **values, **(born or {})})
        return True

    def write_latest(self) -> None:
        """Balances and bookings as the batch left them: nearly every transaction changes the same few rows."""
        for address, (balance_frost, born) in self.balances.items():
            self.n_accounts += self.put(t.accounts, {"address": address}, {"balance_frost": balance_frost}, born=born)
        for epoch, booked in self.bookings.items():
            self.put(t.ring, {"epoch": epoch}, booked)

    def set(self, table: Table, key: bytes | int, **values: Any) -> None:
        column = next(iter(table.primary_key.columns))
        if not update_rows(self.sql, table, {column.name: key}, values):
            raise AssertionError(f"{type(self.event.body).__name__} speaks of {key!r}, which {table.name} lacks")

    def set_row(self, rows: Rows, key: bytes, **values: Any) -> None:
        """Change a row that an earlier event has made."""
        if not rows.set(key, values):
            raise AssertionError(f"{type(self.event.body).__name__} speaks of {key.hex()}, which never came to be")

    def object_row(self, object_id: bytes) -> Mapping[str, Any]:
        """A blob object as the batch has left it so far."""
        row = self.objects.find(object_id)
        if row is None:
            raise AssertionError(f"{type(self.event.body).__name__} speaks of an object that never came to be")
        return row

    def set_bound_storage(self, storage_id: bytes, object_id: bytes, **values: Any) -> None:
        """Change the storage of an object, unless its own event said before this one that it is so no more."""
        storage = self.storage.find(storage_id)
        if storage is not None and storage["blob_object_id"] == object_id:
            self.storage.set(storage_id, values)

    # --- accounts and storage -----------------------------------------------------------------------------

    def _balance_changed(self, body: e.BalanceChanged) -> None:
        _, born = self.balances.get(body.address) or (0, self.born())
        self.balances[body.address] = body.balance_frost, born
        self.record(account=body.address)

    def _storage_reserved(self, body: e.StorageReserved) -> None:
        self._storage_is(body)

    def _storage_changed(self, body: e.StorageChanged) -> None:
        self._storage_is(body)

    def _storage_is(self, body: e.StorageReserved | e.StorageChanged) -> None:
        values = {
            "owner": body.owner,
            "start_epoch": body.start_epoch,
            "end_epoch": body.end_epoch,
            "size_bytes": body.size_bytes,
            "blob_object_id": None,
            "deleted_height": None,
        }
        self.put_storage(body.object_id, values)
        self.record(obj=body.object_id, account=body.owner)

    def put_storage(self, storage_id: bytes, values: Row) -> None:
        """Change a storage resource, or make it."""
        if not self.storage.set(storage_id, values):
            self.storage.add(storage_id, {**values, **self.born()})

    def _storage_destroyed(self, body: e.StorageDestroyed) -> None:
        self.set_row(self.storage, body.object_id, deleted_height=self.event.height)
        storage = self.storage.find(body.object_id)
        self.record(obj=body.object_id, account=storage["owner"] if storage else None)

    # --- nodes and stake ----------------------------------------------------------------------------------

    def _node_registered(self, body: e.NodeRegistered) -> None:
        row = {
            "node_id": body.node_id,
            "name": body.name,
            "addresses": json.dumps(body.addresses),
            "governance": body.governance,
            "capability": body.capability,
            "public_key": body.public_key,
            "network_public_key": body.network_public_key,
            "commission_rate_bps": body.commission_rate_bps,
            "storage_price_frost": body.storage_price_frost,
            "write_price_frost": body.write_price_frost,
            "node_capacity_bytes": body.node_capacity_bytes,
            "leaving": False,
            "last_sync_done_epoch": self.event.epoch if self.event.height == 0 else 0,
            "registered_epoch": self.event.epoch,
            "activation_epoch": body.activation_epoch,
            "stake_frost": 0,
            "next_stake_frost": 0,
            "weight": 0,
            **self.born(),
        }
        insert_row(self.sql, t.nodes, row)
        self.n_nodes += 1
        self.record(node=body.node_id, account=body.governance)

    def _node_addresses_changed(self, body: e.NodeAddressesChanged) -> None:
        self.set(t.nodes, body.node_id, addresses=json.dumps(body.addresses))
        self.record(node=body.node_id)

    def _stake_changed(self, body: e.StakeChanged) -> None:
        values = {
            "owner": body.owner,
            "node_id": body.node_id,
            "principal_frost": body.principal_frost,
            "activation_epoch": body.activation_epoch,
            "withdraw_epoch": body.withdraw_epoch,
            "deleted_height": None if body.principal_frost else self.event.height,
        }
        self.put(t.stakes, {"object_id": body.object_id}, values, born=self.born())
        self.summaries.stale_pools[body.node_id] = None
        self.record(obj=body.object_id, account=body.owner, node=body.node_id)


STORAGE_EVENTS = (e.StorageReserved, e.StorageChanged, e.StorageDestroyed)
OBJECT_EVENTS = (
    e.BlobCertified,
    e.BlobDeleted,
    e.BlobBurned,
    e.BlobTransferred,
    e.BlobAttributesChanged,
    e.BlobShared,
    e.SharedBlobFunded,
    e.SharedBlobExtended,
)

# One handler per kind of event; a test holds this to the ledger's list.
HANDLERS: Mapping[type, Callable[[Batch, Any], None]] = {
    e.BalanceChanged: Batch._balance_changed,
    e.StorageReserved: Batch._storage_reserved,
    e.StorageChanged: Batch._storage_changed,
    e.StorageDestroyed: Batch._storage_destroyed,
    e.NodeRegistered: Batch._node_registered,
    e.NodeAddressesChanged: Batch._node_addresses_changed,
    e.StakeChanged: Batch._stake_changed,
    **BLOB_HANDLERS,
    **EPOCH_HANDLERS,
}
