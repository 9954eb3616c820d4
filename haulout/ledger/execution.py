"""One transaction while it runs: what its commands may read, write, pay and announce.

Handlers check everything before their first write, although nothing would be lost otherwise: a refused
transaction's draft is dropped. Each keeps to this: rows through the draft, money through `pay`, `credit` and
`collect`, objects through `insert`, `replace` and `remove`, which keep the index of owners right.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from haulout import bcs
from haulout.crypto.hashing import TAG_OBJECT_ID, blake2b256
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import keys, queries
from haulout.ledger.commands import Existing, ObjectRef
from haulout.ledger.draft import Draft
from haulout.ledger.events import BalanceChanged, EventBody, PoolChanged, RingChanged
from haulout.ledger.refusals import (
    BlobIsShared,
    InsufficientFunds,
    NotOwner,
    ObjectNotFound,
    StorageExceeded,
    UnknownOutput,
)
from haulout.ledger.state import (
    NOBODY,
    STATE_VERSION,
    Account,
    Blob,
    Bucket,
    ObjectKind,
    Params,
    StakedWal,
    Storage,
    System,
)
from haulout.primitives import U64_MAX, ObjectId, hex_id_text, storage_units

T = TypeVar("T")
OwnedObject = Storage | Blob | StakedWal
_ROWS: dict[ObjectKind, type[OwnedObject]] = {
    ObjectKind.STORAGE: Storage,
    ObjectKind.BLOB: Blob,
    ObjectKind.STAKED_WAL: StakedWal,
}
NOUNS = {ObjectKind.STORAGE: "storage", ObjectKind.BLOB: "blob", ObjectKind.STAKED_WAL: "stake"}


@dataclass(slots=True)
class Execution:
    """The workbench of one transaction."""

    draft: Draft
    params: Params
    system: System
    protocol_version: int  # of the rules that this block follows; `system` may name the next block's already
    scheme: SignatureScheme
    digest: bytes
    sender: bytes
    height: int
    time_ms: int
    first_sequence: int  # number of the transaction's first event
    events: list[tuple[int, EventBody]] = field(default_factory=list)  # with the epoch in which each happened
    outputs: list[tuple[bytes, ...]] = field(default_factory=list)  # objects made, per command so far
    n_objects: int = 0
    touched_accounts: dict[bytes, None] = field(default_factory=dict)
    touched_epochs: set[int] = field(default_factory=set)
    touched_pools: dict[bytes, None] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self.system.epoch

    def put(self, key: bytes, row: Any) -> None:
        """Set a row to a value."""
        self.draft.put(key, bcs.encode(row))

    def update_system(self, **changes: Any) -> None:
        """Set fields of the system's row: for this transaction's later commands, and for later transactions."""
        self.system = dataclasses.replace(self.system, **changes)
        self.put(keys.SYSTEM, self.system)

    def emit(self, body: EventBody) -> int:
        """Announce an event; returns the sequence number it will have."""
        self.events.append((self.epoch, body))
        return self.first_sequence + len(self.events) - 1

    # --- objects --------------------------------------------------------------------------------------------

    def new_object_id(self) -> ObjectId:
        """An id nobody could have known before: it follows from the transaction's digest and a counter."""
        object_id = blake2b256(TAG_OBJECT_ID + self.digest + self.n_objects.to_bytes(8, "little"))
        self.n_objects += 1
        return ObjectId(object_id)

    def resolve(self, ref: ObjectRef) -> bytes:
        """The id behind a reference."""
        if isinstance(ref, Existing):
            return ref.object_id
        if ref.command_index >= len(self.outputs) or ref.output_index >= len(self.outputs[ref.command_index]):
            raise UnknownOutput(command_index=ref.command_index, output_index=ref.output_index)
        return self.outputs[ref.command_index][ref.output_index]

    def own_storage(self, ref: ObjectRef) -> tuple[bytes, Storage]:
        """A storage resource of the sender's."""
        object_id = self.resolve(ref)
        return object_id, self._own(ObjectKind.STORAGE, object_id, queries.storage(self.draft, object_id))

    def own_blob(self, ref: ObjectRef) -> tuple[bytes, Blob]:
        """A blob of the sender's."""
        object_id = self.resolve(ref)
        return object_id, self._own(ObjectKind.BLOB, object_id, queries.blob(self.draft, object_id))

    def own_stake(self, ref: ObjectRef) -> tuple[bytes, StakedWal]:
        """A stake of the sender's."""
        object_id = self.resolve(ref)
        return object_id, self._own(ObjectKind.STAKED_WAL, object_id, queries.staked_wal(self.draft, object_id))

    def _own(self, kind: ObjectKind, object_id: bytes, found: T | None) -> T:
        if found is None:
            raise ObjectNotFound(noun=NOUNS[kind], object_id=hex_id_text(object_id))
        self.check_owner(object_id, found.owner)  # type: ignore[attr-defined]
        return found

    def check_owner(self, object_id: bytes, owner: bytes) -> None:
        """Refuse what is not the sender's."""
        if owner != self.sender:
            if owner == NOBODY and queries.shared_blob(self.draft, object_id) is not None:
                raise BlobIsShared(object_id=hex_id_text(object_id))
            raise NotOwner(object_id=hex_id_text(object_id), owner=hex_id_text(owner), sender=hex_id_text(self.sender))

    def insert(self, kind: ObjectKind, object_id: bytes, value: OwnedObject) -> None:
        """A new object."""
        self.put(keys.owned_object(kind, object_id), value)
        self.draft.put(keys.owned(value.owner, kind, object_id), b"")

    def replace(self, kind: ObjectKind, object_id: bytes, value: OwnedObject) -> None:
        """An object with new content and the same owner."""
        self.put(keys.owned_object(kind, object_id), value)

    def hand_over(self, kind: ObjectKind, object_id: bytes, value: T, to: bytes) -> T:
        """Give an object of the sender's to another account; returns it with its new owner."""
        moved: T = dataclasses.replace(value, owner=to)  # type: ignore[type-var]
        self.put(keys.owned_object(kind, object_id), moved)
        self.draft.put(keys.owned(self.sender, kind, object_id), None)
        self.draft.put(keys.owned(to, kind, object_id), b"")
        return moved

    def remove(self, kind: ObjectKind, object_id: bytes, owner: bytes) -> None:
        """An object that is gone."""
        self.draft.put(keys.owned_object(kind, object_id), None)
        self.draft.put(keys.owned(owner, kind, object_id), None)

    # --- money ----------------------------------------------------------------------------------------------

    def pay(self, amount_frost: int) -> None:
        """Take FROST from the sender; the caller says where they go.

        Raises:
            InsufficientFunds: the sender has less.
        """
        available = queries.balance(self.draft, self.sender)
        if amount_frost > available:
            raise InsufficientFunds(
                address=hex_id_text(self.sender), available_frost=available, needed_frost=amount_frost
            )
        self._set_balance(self.sender, available - amount_frost)

    def credit(self, address: bytes, amount_frost: int) -> None:
        """Give FROST to an account."""
        self._set_balance(address, queries.balance(self.draft, address) + amount_frost)

    def _set_balance(self, address: bytes, balance_frost: int) -> None:
        row = Account(STATE_VERSION, balance_frost) if balance_frost else None
        self.draft.put(keys.account(address), None if row is None else bcs.encode(row))
        self.touched_accounts[address] = None

    def collect(self, epoch: int, reward_frost: int) -> None:
        """Add paid FROST to what the committee of an epoch earns."""
        booked = queries.bucket(self.draft, epoch)
        self._set_bucket(epoch, booked.used_bytes, booked.rewards_frost + reward_frost)

    def book(self, size_bytes: int, start_epoch: int, end_epoch: int) -> int:
        """Sell storage for epochs [start, end) at today's price; returns the cost.

        Raises:
            InsufficientFunds, StorageExceeded: in this order, as in the source.
        """
        cost = self.storage_cost(size_bytes, end_epoch - start_epoch)
        self.pay(cost)
        self.book_paid(size_bytes, start_epoch, end_epoch)
        return cost

    def storage_cost(self, size_bytes: int, n_epochs: int) -> int:
        """FROST for storage at today's price."""
        return storage_units(size_bytes) * self.system.storage_price_frost * n_epochs

    def book_paid(self, size_bytes: int, start_epoch: int, end_epoch: int) -> None:
        """Book storage for epochs [start, end) and give its price, which the caller has taken, to their committees.

        Raises:
            StorageExceeded: an epoch is sold out.
        """
        per_epoch = self.storage_cost(size_bytes, 1)
        for epoch in range(start_epoch, end_epoch):
            booked = queries.bucket(self.draft, epoch)
            used = booked.used_bytes + size_bytes
            if used > self.system.total_capacity_bytes or used > U64_MAX:
                raise StorageExceeded(
                    epoch=epoch,
                    capacity_bytes=self.system.total_capacity_bytes,
                    free_bytes=max(0, self.system.total_capacity_bytes - booked.used_bytes),
                    needed_bytes=size_bytes,
                )
            self._set_bucket(epoch, used, booked.rewards_frost + per_epoch)

    def _set_bucket(self, epoch: int, used_bytes: int, rewards_frost: int) -> None:
        self.put(keys.bucket(epoch), Bucket(STATE_VERSION, used_bytes, rewards_frost))
        self.touched_epochs.add(epoch)

    def end_bucket(self, epoch: int) -> Bucket:
        """Take the booking of an epoch that is over out of the ring."""
        booked = queries.bucket(self.draft, epoch)
        self.draft.put(keys.bucket(epoch), None)
        self.touched_epochs.discard(epoch)
        return booked

    def announce_changes(self) -> None:
        """The last events of a transaction: balances, bookings and pools as they are now."""
        for address in self.touched_accounts:
            self.emit(BalanceChanged(address, queries.balance(self.draft, address)))
        for epoch in sorted(self.touched_epochs):
            booked = queries.bucket(self.draft, epoch)
            self.emit(RingChanged(epoch, booked.used_bytes, booked.rewards_frost))
        for node_id in self.touched_pools if self.protocol_version > 1 else ():
            self.emit(self._pool_changed(node_id))

    def _pool_changed(self, node_id: bytes) -> PoolChanged:
        node = queries.node(self.draft, node_id)
        if node is None:
            raise queries.StateIncomplete(row="Node")
        schedule = queries.pool_schedule(self.draft, node_id, node)
        return PoolChanged(
            node_id=node_id,
            latest_epoch=schedule.latest_epoch,
            balance_frost=node.balance_frost,
            n_shares=node.n_shares,
            rewards_frost=node.rewards_frost,
            commission_rate_bps=node.commission_rate_bps,
            commission_frost=node.commission_frost,
            commission_blocked_frost=node.commission_blocked_frost,
            pending_stake=node.pending_stake,
            pending_shares=schedule.pending_shares,
            pre_active_withdrawals=schedule.pre_active_withdrawals,
            pending_commission_rates=schedule.pending_commission_rates,
        )
