"""Commands on accounts: moving FROST and objects."""

from __future__ import annotations

from haulout.ledger import queries
from haulout.ledger.commands import Transfer, TransferObject
from haulout.ledger.events import BlobTransferred, StorageChanged
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import InvalidAmount, ObjectNotFound
from haulout.ledger.staking import stake_changed
from haulout.ledger.state import ObjectKind
from haulout.primitives import hex_id_text


def transfer(run: Execution, command: Transfer) -> tuple[bytes, ...]:
    """Move FROST to another account."""
    if command.amount_frost == 0:
        raise InvalidAmount(amount=0, problem="nothing would be moved")
    run.pay(command.amount_frost)
    run.credit(command.to, command.amount_frost)
    return ()


def transfer_object(run: Execution, command: TransferObject) -> tuple[bytes, ...]:
    """Hand an object over, whatever kind it is."""
    object_id, to = run.resolve(command.object), command.to
    if (storage := queries.storage(run.draft, object_id)) is not None:
        run.check_owner(object_id, storage.owner)
        storage = run.hand_over(ObjectKind.STORAGE, object_id, storage, to)
        run.emit(StorageChanged(object_id, to, storage.start_epoch, storage.end_epoch, storage.size_bytes))
    elif (blob := queries.blob(run.draft, object_id)) is not None:
        run.check_owner(object_id, blob.owner)
        blob = run.hand_over(ObjectKind.BLOB, object_id, blob, to)
        run.emit(BlobTransferred(object_id, blob.blob_id, to))
    elif (staked := queries.staked_wal(run.draft, object_id)) is not None:
        run.check_owner(object_id, staked.owner)
        run.emit(stake_changed(run, object_id, run.hand_over(ObjectKind.STAKED_WAL, object_id, staked, to)))
    else:
        raise ObjectNotFound(noun="storage, blob or stake", object_id=hex_id_text(object_id))
    return ()
