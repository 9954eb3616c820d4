"""Commands on shared blobs: blobs that belong to nobody and hold FROST for their own extensions.

    share     the owner gives a blob up; nobody can take it back, delete, burn or transfer it, or set its attributes
    fund      anyone puts FROST in; nobody takes them out
    extend    anyone has it extended, paid from its funds

As in the source nothing else is checked: a blob may be shared before it is certified, and then never will be; one that
is expired or deletable may be shared too, and funded. The funds of an expired blob stay where they are, counted but out
of everybody's reach. Unlike in the source the blob object keeps its id; there is no wrapper with another one.

Source and order of checks: Walrus's contracts, `shared_blob.move`.
"""

from __future__ import annotations

from dataclasses import replace

from haulout.ledger import keys, queries
from haulout.ledger.blobs import check_extension, lengthen
from haulout.ledger.commands import ExtendSharedBlob, FundSharedBlob, ObjectRef, ShareBlob
from haulout.ledger.events import BlobShared, SharedBlobExtended, SharedBlobFunded
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import BlobNotShared, InsufficientSharedFunds, InvalidAmount, ObjectNotFound
from haulout.ledger.state import NOBODY, STATE_VERSION, Blob, ObjectKind, SharedBlob
from haulout.primitives import hex_id_text


def share(run: Execution, command: ShareBlob) -> tuple[bytes, ...]:
    """Give a blob of the sender's up to everybody."""
    object_id, blob = run.own_blob(command.blob)
    if command.amount_frost:
        run.pay(command.amount_frost)
    run.hand_over(ObjectKind.BLOB, object_id, blob, NOBODY)
    run.put(keys.shared_blob(object_id), SharedBlob(STATE_VERSION, command.amount_frost))
    run.emit(BlobShared(object_id, blob.blob_id, run.sender, command.amount_frost))
    return ()


def fund(run: Execution, command: FundSharedBlob) -> tuple[bytes, ...]:
    """Put the sender's FROST into a shared blob."""
    object_id, blob, shared = _find(run, command.blob)
    if command.amount_frost == 0:
        raise InvalidAmount(amount=0, problem="nothing would be given")
    run.pay(command.amount_frost)
    funds = shared.funds_frost + command.amount_frost
    run.put(keys.shared_blob(object_id), replace(shared, funds_frost=funds))
    run.emit(SharedBlobFunded(object_id, blob.blob_id, run.sender, command.amount_frost, funds))
    return ()


def extend(run: Execution, command: ExtendSharedBlob) -> tuple[bytes, ...]:
    """Keep a shared blob longer, at today's price on its storage, paid from its funds."""
    object_id, blob, shared = _find(run, command.blob)
    end = check_extension(run, object_id, blob, command.n_epochs)
    cost = run.storage_cost(blob.storage_size_bytes, command.n_epochs)
    if cost > shared.funds_frost:
        raise InsufficientSharedFunds(
            object_id=hex_id_text(object_id), available_frost=shared.funds_frost, needed_frost=cost
        )
    run.book_paid(blob.storage_size_bytes, blob.end_epoch, end)
    left = shared.funds_frost - cost
    run.put(keys.shared_blob(object_id), replace(shared, funds_frost=left))
    lengthen(run, object_id, blob, replace(blob, end_epoch=end), cost)
    run.emit(SharedBlobExtended(object_id, blob.blob_id, run.sender, command.n_epochs, cost, left))
    return ()


def _find(run: Execution, ref: ObjectRef) -> tuple[bytes, Blob, SharedBlob]:
    object_id = run.resolve(ref)
    blob = queries.blob(run.draft, object_id)
    if blob is None:
        raise ObjectNotFound(noun="shared blob", object_id=hex_id_text(object_id))
    shared = queries.shared_blob(run.draft, object_id)
    if shared is None:
        raise BlobNotShared(object_id=hex_id_text(object_id), owner=hex_id_text(blob.owner))
    return object_id, blob, shared
