"""Commands on blobs: register, certify, extend, delete, burn, attributes, invalidate.

Source and order of checks: Walrus's contracts, `blob.move`, `system_state_inner.move`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from haulout.codec.metadata import compute_id
from haulout.codec.sizes import N_SHARDS_MAX, encoded_length, max_network_blob_bytes
from haulout.crypto import messages
from haulout.crypto.certificate import Signer, check_certificate
from haulout.errors import BlobTooLarge, UndecodableBytes
from haulout.ledger import blob_records, keys, queries
from haulout.ledger.commands import (
    BurnBlob,
    CertifyBlob,
    DeleteBlob,
    ExtendBlob,
    ExtendBlobWithStorage,
    InvalidateBlobId,
    RegisterBlob,
    RemoveBlobAttribute,
    SetBlobAttribute,
)
from haulout.ledger.events import (
    BlobAttributesChanged,
    BlobBurned,
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
)
from haulout.ledger.execution import Execution
from haulout.ledger.refusals import (
    AlreadyCertified,
    AlreadyInvalid,
    BlobIsInvalid,
    BlobNotDeletable,
    IncompatibleEpochs,
    IncorrectEpoch,
    InvalidAttribute,
    InvalidBlobId,
    InvalidBlobObject,
    InvalidBlobPersistenceType,
    InvalidEncodingType,
    InvalidEpochsAhead,
    InvalidMessage,
    MissingAttribute,
    NotCertified,
    ResourceBounds,
    ResourceSize,
)
from haulout.ledger.state import STATE_VERSION, Blob, ObjectKind, Params, Storage
from haulout.ledger.storage import create_storage, destroy_storage, fuse_periods
from haulout.primitives import (
    Digest,
    EncodingType,
    blob_id_text,
    hex_id_text,
    is_one_correct,
    is_quorum,
    storage_units,
)

T = TypeVar("T")
MAX_ATTRIBUTES: Final = 32
MAX_ATTRIBUTE_KEY_BYTES: Final = 128
MAX_ATTRIBUTE_VALUE_BYTES: Final = 1024


def derive_blob_id(encoding_type: int, size_bytes: int, root_hash: bytes) -> bytes:
    """The id that binds encoding, size and content, for the code of a known encoding."""
    return compute_id(EncodingType(encoding_type), size_bytes, Digest(root_hash))


def encoded_size(params: Params, size_bytes: int, encoding_type: int) -> int:
    """Bytes that a blob takes on all nodes together.

    Raises:
        InvalidEncodingType: not RS2, nor RS8 on a network small enough for it.
        BlobTooLarge: beyond the encoding or the network's limit.
    """
    n_shards = params.n_shards
    if encoding_type not in N_SHARDS_MAX or n_shards > N_SHARDS_MAX[EncodingType(encoding_type)]:
        raise InvalidEncodingType(encoding_type=encoding_type, n_shards=n_shards)
    encoding = EncodingType(encoding_type)
    limit = max_network_blob_bytes(n_shards, params.max_blob_bytes, encoding)
    if size_bytes > limit:
        raise BlobTooLarge(size_bytes=size_bytes, limit_bytes=limit, n_shards=n_shards)
    return encoded_length(size_bytes, n_shards, encoding)


def register(run: Execution, command: RegisterBlob) -> tuple[bytes, ...]:
    """Bind storage to a blob id."""
    storage_id, storage = run.own_storage(command.storage)
    check_bounds(run, storage)
    encoded = encoded_size(run.params, command.size_bytes, command.encoding_type)
    if encoded > storage.size_bytes:
        raise ResourceSize(encoded_bytes=encoded, size_bytes=storage.size_bytes)
    derived = derive_blob_id(command.encoding_type, command.size_bytes, command.root_hash)
    if derived != command.blob_id:
        raise InvalidBlobId(blob_id=blob_id_text(command.blob_id), expected=blob_id_text(derived))
    check_not_invalid(run, command.blob_id)
    cost = storage_units(encoded) * run.system.write_price_frost
    run.pay(cost)
    run.collect(run.epoch, cost)
    destroy_storage(run, storage_id, storage.owner)
    blob = Blob(
        version=STATE_VERSION,
        owner=run.sender,
        blob_id=command.blob_id,
        size_bytes=command.size_bytes,
        encoding_type=command.encoding_type,
        registered_epoch=run.epoch,
        certified_epoch=None,
        deletable=command.deletable,
        storage_id=storage_id,
        start_epoch=storage.start_epoch,
        end_epoch=storage.end_epoch,
        storage_size_bytes=storage.size_bytes,
        attributes={},
    )
    object_id = run.new_object_id()
    run.insert(ObjectKind.BLOB, object_id, blob)
    blob_records.record_registration(run, object_id, blob, command.root_hash)
    run.emit(
        BlobRegistered(
            object_id=object_id,
            owner=run.sender,
            blob_id=blob.blob_id,
            root_hash=command.root_hash,
            size_bytes=blob.size_bytes,
            encoding_type=blob.encoding_type,
            registered_epoch=blob.registered_epoch,
            start_epoch=blob.start_epoch,
            end_epoch=blob.end_epoch,
            storage_id=storage_id,
            storage_size_bytes=blob.storage_size_bytes,
            deletable=blob.deletable,
            cost_frost=cost,
        )
    )
    return (object_id,)


def certify(run: Execution, command: CertifyBlob) -> tuple[bytes, ...]:
    """Prove that the current committee stores the blob."""
    object_id, blob = run.own_blob(command.blob)
    weight = check_quorum(run, command.message, command.signature, command.signers, is_quorum)
    confirmed = parse_body(run, command.message, messages.StorageConfirmation, "storage confirmation")
    if confirmed.blob_id != blob.blob_id:
        raise InvalidBlobId(blob_id=blob_id_text(confirmed.blob_id), expected=blob_id_text(blob.blob_id))
    if blob.certified_epoch is not None:
        raise AlreadyCertified(object_id=hex_id_text(object_id), certified_epoch=blob.certified_epoch)
    if run.epoch >= blob.end_epoch:
        raise _out_of_bounds(run, blob)
    if (confirmed.object_id is not None) != blob.deletable:
        raise InvalidBlobPersistenceType(object_id=hex_id_text(object_id), deletable=int(blob.deletable))
    if confirmed.object_id is not None and confirmed.object_id != object_id:
        raise InvalidBlobObject(object_id=hex_id_text(object_id), certified_object_id=hex_id_text(confirmed.object_id))
    check_not_invalid(run, blob.blob_id)
    after = replace(blob, certified_epoch=run.epoch)
    run.replace(ObjectKind.BLOB, object_id, after)
    sequence = run.emit(
        _certified_event(
            object_id, after, weight, message=command.message, signature=command.signature, signers=command.signers
        )
    )
    blob_records.record_certification(run, object_id, blob, after, sequence)
    return ()


def extend(run: Execution, command: ExtendBlob) -> tuple[bytes, ...]:
    """Keep a certified blob longer, at today's price on its storage."""
    object_id, blob = run.own_blob(command.blob)
    end = check_extension(run, object_id, blob, command.n_epochs)
    cost = run.book(blob.storage_size_bytes, blob.end_epoch, end)
    lengthen(run, object_id, blob, replace(blob, end_epoch=end), cost)
    return ()


def extend_with_storage(run: Execution, command: ExtendBlobWithStorage) -> tuple[bytes, ...]:
    """Keep a certified blob longer with storage that follows its own."""
    object_id, blob = run.own_blob(command.blob)
    storage_id, storage = run.own_storage(command.storage)
    check_certified(run, object_id, blob)
    own = storage_of(blob)
    if storage.end_epoch <= blob.end_epoch:
        raise IncompatibleEpochs(
            start_epoch=own.start_epoch,
            end_epoch=own.end_epoch,
            other_start_epoch=storage.start_epoch,
            other_end_epoch=storage.end_epoch,
        )
    fused = fuse_periods(own, storage)
    destroy_storage(run, storage_id, storage.owner)
    lengthen(run, object_id, blob, replace(blob, end_epoch=fused.end_epoch), 0)
    return ()


def delete(run: Execution, command: DeleteBlob) -> tuple[bytes, ...]:
    """Delete a deletable blob; its storage is free again under its old id."""
    object_id, blob = run.own_blob(command.blob)
    if not blob.deletable:
        raise BlobNotDeletable(object_id=hex_id_text(object_id))
    if blob.end_epoch <= run.epoch:
        raise _out_of_bounds(run, blob)
    run.remove(ObjectKind.BLOB, object_id, blob.owner)
    blob_records.record_deletion(run, object_id, blob)
    run.emit(BlobDeleted(object_id, blob.blob_id, blob.end_epoch, blob.certified_epoch is not None, blob.storage_id))
    return (create_storage(run, storage_of(blob), 0, object_id=blob.storage_id),)


def burn(run: Execution, command: BurnBlob) -> tuple[bytes, ...]:
    """Destroy a blob object and its storage; nodes keep the bytes until they expire."""
    object_id, blob = run.own_blob(command.blob)
    run.remove(ObjectKind.BLOB, object_id, blob.owner)
    blob_records.record_burn(run, object_id, blob)
    run.emit(BlobBurned(object_id, blob.blob_id, blob.end_epoch))
    return ()


def check_attribute(key: str, value: str) -> None:
    """Refuse what no blob can have.

    Raises:
        InvalidAttribute: its key is empty or too long, or its value is too long.
    """
    if not 1 <= len(key.encode()) <= MAX_ATTRIBUTE_KEY_BYTES:
        raise InvalidAttribute(key=key[:40], problem=f"a key has 1 to {MAX_ATTRIBUTE_KEY_BYTES} bytes")
    if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
        raise InvalidAttribute(key=key, problem=f"a value has at most {MAX_ATTRIBUTE_VALUE_BYTES} bytes")


def check_attribute_count(attributes: Mapping[str, str]) -> None:
    """Refuse more than a blob can have.

    Raises:
        InvalidAttribute: the last one is too many.
    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidAttribute(key=list(attributes)[-1], problem=f"a blob has at most {MAX_ATTRIBUTES} attributes")


def set_attribute(run: Execution, command: SetBlobAttribute) -> tuple[bytes, ...]:
    """Add or replace an attribute."""
    object_id, blob = run.own_blob(command.blob)
    check_attribute(command.key, command.value)
    attributes = {**blob.attributes, command.key: command.value}
    check_attribute_count(attributes)
    _put_attributes(run, object_id, blob, attributes)
    return ()


def remove_attribute(run: Execution, command: RemoveBlobAttribute) -> tuple[bytes, ...]:
    """Remove an attribute."""
    object_id, blob = run.own_blob(command.blob)
    if command.key not in blob.attributes:
        raise MissingAttribute(object_id=hex_id_text(object_id), key=command.key[:MAX_ATTRIBUTE_KEY_BYTES])
    _put_attributes(run, object_id, blob, {k: v for k, v in blob.attributes.items() if k != command.key})
    return ()


def invalidate(run: Execution, command: InvalidateBlobId) -> tuple[bytes, ...]:
    """Mark a blob id as inconsistently encoded; anyone may submit the proof."""
    check_quorum(run, command.message, command.signature, command.signers, is_one_correct)
    blob_id = parse_body(run, command.message, messages.InvalidBlobId, "attestation of an invalid blob id").blob_id
    earlier = queries.invalidated_epoch(run.draft, blob_id)
    if earlier is not None:
        raise AlreadyInvalid(blob_id=blob_id_text(blob_id), epoch=earlier)
    run.draft.put(keys.invalid_blob(blob_id), run.epoch.to_bytes(4, "little"))
    run.emit(BlobInvalidated(blob_id, run.epoch))
    return ()


# --- checks -------------------------------------------------------------------------------------------------


def check_bounds(run: Execution, storage: Storage) -> None:
    """Refuse storage that does not cover the current epoch."""
    if not storage.start_epoch <= run.epoch < storage.end_epoch:
        raise ResourceBounds(start_epoch=storage.start_epoch, end_epoch=storage.end_epoch, epoch=run.epoch)


def check_certified(run: Execution, object_id: bytes, blob: Blob) -> None:
    """Refuse what is not certified or has expired."""
    if blob.certified_epoch is None:
        raise NotCertified(object_id=hex_id_text(object_id))
    if blob.end_epoch <= run.epoch:
        raise _out_of_bounds(run, blob)


def check_extension(run: Execution, object_id: bytes, blob: Blob, n_epochs: int) -> int:
    """The end that a blob would have `n_epochs` later; refuses what cannot be extended so far.

    Raises:
        NotCertified, ResourceBounds, InvalidEpochsAhead: in this order.
    """
    check_certified(run, object_id, blob)
    end = blob.end_epoch + n_epochs
    if n_epochs == 0 or end - run.epoch > run.params.max_epochs_ahead:
        raise InvalidEpochsAhead(
            start_epoch=blob.end_epoch,
            end_epoch=end,
            epoch=run.epoch,
            max_epochs_ahead=run.params.max_epochs_ahead,
        )
    return end


def check_not_invalid(run: Execution, blob_id: bytes) -> None:
    """Refuse blob ids that were proven inconsistent."""
    if queries.invalidated_epoch(run.draft, blob_id) is not None:
        raise BlobIsInvalid(blob_id=blob_id_text(blob_id))


def check_quorum(
    run: Execution, message: bytes, signature: bytes, signers: bytes, is_enough: Callable[[int, int], bool]
) -> int:
    """The weight of the current committee behind a message.

    Raises:
        IncorrectEpoch, InvalidBitmap, NotEnoughStake, SignatureInvalid: in this order.
    """
    if run.protocol_version > 1:
        _check_epoch_of(run, message)
    members = [Signer(m.public_key, m.weight) for m in queries.committee(run.draft, run.epoch).members]
    return check_certificate(
        run.scheme, members, message=message, signature=signature, bitmap=signers, is_enough=is_enough
    )


def _check_epoch_of(run: Execution, message: bytes) -> None:
    """Refuse a message of another epoch before anything else: its signers are not this committee's members.

    Whoever collected it has to know that new confirmations are needed, and not that the old ones look forged. Under
    protocol version 1 the committee never changed, so the order did not matter.
    """
    try:
        epoch = messages.parse(message).epoch
    except UndecodableBytes:
        return  # what is wrong with it is said where its body is needed
    if epoch != run.epoch:
        raise IncorrectEpoch(message_epoch=epoch, epoch=run.epoch)


def parse_body(run: Execution, message: bytes, expected: type[T], noun: str) -> T:
    """The body of a certified message of the current epoch.

    Raises:
        InvalidMessage: other bytes, or another type of message.
        IncorrectEpoch: of another epoch.
    """
    try:
        parsed = messages.parse(message)
    except UndecodableBytes as e:
        raise InvalidMessage(expected=noun, problem=e.problem) from e
    if not isinstance(parsed.body, expected):
        raise InvalidMessage(expected=noun, problem=f"it is a {type(parsed.body).__name__}")
    if parsed.epoch != run.epoch:
        raise IncorrectEpoch(message_epoch=parsed.epoch, epoch=run.epoch)
    return parsed.body


def storage_of(blob: Blob) -> Storage:
    """The storage that is bound to a blob."""
    return Storage(STATE_VERSION, blob.owner, blob.start_epoch, blob.end_epoch, blob.storage_size_bytes)


def _out_of_bounds(run: Execution, blob: Blob) -> ResourceBounds:
    return ResourceBounds(start_epoch=blob.start_epoch, end_epoch=blob.end_epoch, epoch=run.epoch)


def lengthen(run: Execution, object_id: bytes, before: Blob, after: Blob, cost_frost: int) -> None:
    """Give a certified blob object the later end that is booked for it."""
    run.replace(ObjectKind.BLOB, object_id, after)
    blob_records.record_extension(run, object_id, before, after)
    run.emit(_certified_event(object_id, after, 0, cost_frost=cost_frost, is_extension=True))


def _certified_event(
    object_id: bytes,
    blob: Blob,
    weight: int,
    *,
    message: bytes = b"",
    signature: bytes = b"",
    signers: bytes = b"",
    cost_frost: int = 0,
    is_extension: bool = False,
) -> BlobCertified:
    return BlobCertified(
        object_id=object_id,
        blob_id=blob.blob_id,
        certified_epoch=blob.certified_epoch or 0,
        end_epoch=blob.end_epoch,
        storage_size_bytes=blob.storage_size_bytes,
        deletable=blob.deletable,
        is_extension=is_extension,
        weight=weight,
        message=message,
        signature=signature,
        signers=signers,
        cost_frost=cost_frost,
    )


def _put_attributes(run: Execution, object_id: bytes, blob: Blob, attributes: Mapping[str, str]) -> None:
    run.replace(ObjectKind.BLOB, object_id, replace(blob, attributes=attributes))
    run.emit(BlobAttributesChanged(object_id, attributes))
