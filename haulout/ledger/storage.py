"""Commands on storage resources: encoded bytes bought for a period, not bound to a blob.

Source and order of checks: Walrus's contracts, `storage_resource.move`, `system_state_inner.move`.
"""

from __future__ import annotations

from dataclasses import replace

from haulout.ledger.commands import DestroyStorage, FuseStorage, ReserveSpace, SplitStorageByEpoch, SplitStorageBySize
from haulout.ledger.events import StorageChanged, StorageDestroyed, StorageReserved
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import (
    IncompatibleAmount,
    IncompatibleEpochs,
    InvalidEpoch,
    InvalidEpochsAhead,
    InvalidResourceSize,
    SameObject,
)
from haulout.ledger.state import STATE_VERSION, ObjectKind, Storage
from haulout.primitives import U64_MAX, hex_id_text


def reserve_space(run: Execution, command: ReserveSpace) -> tuple[bytes, ...]:
    """Buy storage; a start in the past means now."""
    start = max(command.start_epoch, run.epoch)
    check_period(run, start, command.end_epoch)
    if command.size_bytes == 0:
        raise InvalidResourceSize()
    cost = run.book(command.size_bytes, start, command.end_epoch)
    return (
        create_storage(run, Storage(STATE_VERSION, run.sender, start, command.end_epoch, command.size_bytes), cost),
    )


def split_by_epoch(run: Execution, command: SplitStorageByEpoch) -> tuple[bytes, ...]:
    """Cut a resource in time; it keeps the earlier part."""
    object_id, storage = run.own_storage(command.storage)
    if not storage.start_epoch < command.epoch < storage.end_epoch:
        raise InvalidEpoch(epoch=command.epoch, start_epoch=storage.start_epoch, end_epoch=storage.end_epoch)
    change_storage(run, object_id, replace(storage, end_epoch=command.epoch))
    return (create_storage(run, replace(storage, start_epoch=command.epoch), 0),)


def split_by_size(run: Execution, command: SplitStorageBySize) -> tuple[bytes, ...]:
    """Cut a resource in size; either part may be empty, as in the source."""
    object_id, storage = run.own_storage(command.storage)
    if command.keep_bytes > storage.size_bytes:
        raise IncompatibleAmount(size_bytes=storage.size_bytes, other_size_bytes=command.keep_bytes)
    change_storage(run, object_id, replace(storage, size_bytes=command.keep_bytes))
    return (create_storage(run, replace(storage, size_bytes=storage.size_bytes - command.keep_bytes), 0),)


def fuse(run: Execution, command: FuseStorage) -> tuple[bytes, ...]:
    """Merge two resources: their sizes where they start together, else their periods."""
    object_id, storage = run.own_storage(command.storage)
    other_id, other = run.own_storage(command.other)
    if object_id == other_id:
        raise SameObject(object_id=hex_id_text(object_id))
    merged = fuse_amounts(storage, other) if storage.start_epoch == other.start_epoch else fuse_periods(storage, other)
    destroy_storage(run, other_id, other.owner)
    change_storage(run, object_id, merged)
    return ()


def destroy(run: Execution, command: DestroyStorage) -> tuple[bytes, ...]:
    """Give a resource up; what is booked stays booked."""
    object_id, storage = run.own_storage(command.storage)
    destroy_storage(run, object_id, storage.owner)
    return ()


def check_period(run: Execution, start_epoch: int, end_epoch: int) -> None:
    """Refuse periods that are empty or reach beyond the ring.

    Raises:
        InvalidEpochsAhead: with the limit.
    """
    if end_epoch <= start_epoch or end_epoch - run.epoch > run.params.max_epochs_ahead:
        raise InvalidEpochsAhead(
            start_epoch=start_epoch,
            end_epoch=end_epoch,
            epoch=run.epoch,
            max_epochs_ahead=run.params.max_epochs_ahead,
        )


def fuse_amounts(storage: Storage, other: Storage) -> Storage:
    """One resource of both sizes.

    Raises:
        IncompatibleEpochs: their periods differ.
    """
    if (storage.start_epoch, storage.end_epoch) != (other.start_epoch, other.end_epoch):
        raise _incompatible_epochs(storage, other)
    if storage.size_bytes + other.size_bytes > U64_MAX:
        raise IncompatibleAmount(size_bytes=storage.size_bytes, other_size_bytes=other.size_bytes)
    return replace(storage, size_bytes=storage.size_bytes + other.size_bytes)


def fuse_periods(storage: Storage, other: Storage) -> Storage:
    """One resource over both periods.

    Raises:
        IncompatibleAmount: their sizes differ.
        IncompatibleEpochs: their periods do not touch.
    """
    if storage.size_bytes != other.size_bytes:
        raise IncompatibleAmount(size_bytes=storage.size_bytes, other_size_bytes=other.size_bytes)
    if storage.end_epoch == other.start_epoch:
        return replace(storage, end_epoch=other.end_epoch)
    if storage.start_epoch == other.end_epoch:
        return replace(storage, start_epoch=other.start_epoch)
    raise _incompatible_epochs(storage, other)


def create_storage(run: Execution, storage: Storage, cost_frost: int, *, object_id: bytes | None = None) -> bytes:
    """Make a storage resource, under a new id unless one is given."""
    created = run.new_object_id() if object_id is None else object_id
    run.insert(ObjectKind.STORAGE, created, storage)
    run.emit(
        StorageReserved(created, storage.owner, storage.start_epoch, storage.end_epoch, storage.size_bytes, cost_frost)
    )
    return created


def change_storage(run: Execution, object_id: bytes, storage: Storage) -> None:
    """Give a storage resource another period or size."""
    run.replace(ObjectKind.STORAGE, object_id, storage)
    run.emit(StorageChanged(object_id, storage.owner, storage.start_epoch, storage.end_epoch, storage.size_bytes))


def destroy_storage(run: Execution, object_id: bytes, owner: bytes) -> None:
    """End a storage resource: given up, merged, or bound to a blob."""
    run.remove(ObjectKind.STORAGE, object_id, owner)
    run.emit(StorageDestroyed(object_id))


def _incompatible_epochs(storage: Storage, other: Storage) -> IncompatibleEpochs:
    return IncompatibleEpochs(
        start_epoch=storage.start_epoch,
        end_epoch=storage.end_epoch,
        other_start_epoch=other.start_epoch,
        other_end_epoch=other.end_epoch,
    )
