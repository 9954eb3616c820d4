"""Storing a blob, in order: encode, see whether it is there already, register, upload, certify.

Whatever stops it, nothing is paid twice: a registration that was paid for is found on the ledger and used again, and
each node says what it has, so the next try sends only what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from haulout import codec
from haulout.account.wallet import Wallet
from haulout.client.blob_file import BlobFile, buffer_of
from haulout.client.confirmations import OnNode
from haulout.client.errors import DeletableShare, DeletedMeanwhile, EpochsOutOfRange
from haulout.client.network import Network, open_buffer
from haulout.client.registration import (
    Operation,
    Plan,
    StoreRequest,
    encoded_bytes_of,
    extend_blob,
    propose,
    register,
)
from haulout.client.striped_blob import StripedBlob, prepare_striped
from haulout.client.striped_upload import StripedUpload
from haulout.client.upload import Upload, is_worth_restarting
from haulout.codec import sizes
from haulout.errors import HauloutError, Rejected
from haulout.ledger.blobs import check_attribute, check_attribute_count
from haulout.ledger.commands import (
    CertifyBlob,
    Command,
    Existing,
    ExtendBlob,
    SetBlobAttribute,
    ShareBlob,
    TransferObject,
)
from haulout.ledger.state import Blob, Params
from haulout.primitives import Address, Axis, BlobId, Buffer, EncodingType, ObjectId, blob_id_text

if TYPE_CHECKING:
    from haulout.codec import EncodedBlob

__all__ = [
    "AlreadyCertified",
    "NewlyCreated",
    "Progress",
    "StoreRequest",
    "StoreResult",
    "check_request",
    "extend_blob",
    "store_blob",
]

MAX_ROUNDS = 5

Phase = Literal["encoding", "registering", "uploading", "certifying"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a store stands; bytes are of the phase."""

    phase: Phase
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class NewlyCreated:
    """A blob object that this store registered, extended or certified."""

    blob_id: BlobId
    object_id: ObjectId
    blob: Blob
    operation: Operation
    encoded_bytes: int
    n_epochs: int  # bought, or extended by
    cost_frost: int
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class AlreadyCertified:
    """The blob is kept for long enough already; nothing was paid."""

    blob_id: BlobId
    object_id: ObjectId | None  # its receiver's, or None when the blob is somebody's permanent one
    certified_height: int
    certified_sequence: int
    end_epoch: int


StoreResult = NewlyCreated | AlreadyCertified
OnProgress = Callable[[Progress], None]


async def store_blob(
    network: Network,
    wallet: Wallet,
    data: Buffer | BlobFile,
    request: StoreRequest,
    *,
    on_progress: OnProgress = lambda _: None,
    on_node: OnNode = lambda _: None,
) -> StoreResult:
    """Store a blob; returns once n - f shards hold it durably and the ledger has certified that.

    Args:
        data: the blob; may be empty. One in stripes is read piece by piece, so a large one should be a file.
        on_progress: called in order of the phases, often while uploading.
        on_node: called for every member of the committee when its upload begins, and again with what it answers.

    Raises:
        DeletableShare, EpochsOutOfRange, InvalidAttribute, BlobTooLarge, ShardCountOutOfRange: before anything is paid.
        Rejected: the ledger refuses, under its code, e.g. INSUFFICIENT_FUNDS.
        InsufficientConfirmations: too few nodes; the next try resumes.
    """
    params = await network.view.params()
    check_request(request, params)
    size_bytes, n_shards = len(data), params.n_shards
    encoding = sizes.choose_encoding(size_bytes, n_shards, request.encoding)
    sizes.check_blob_size(size_bytes, n_shards, params.max_blob_bytes, request.encoding)
    if encoding is EncodingType.RS8:
        return await _store_striped(network, wallet, data, n_shards, request, on_progress, on_node)
    with contextlib.ExitStack() as stack:
        on_progress(Progress("encoding", 0, size_bytes))
        with network.phase("encoding"):
            out = codec.SliverBuffers(
                *(
                    open_buffer(network.spill, sizes.slivers_size_bytes(axis, size_bytes, n_shards, encoding), stack)
                    for axis in (Axis.PRIMARY, Axis.SECONDARY)
                )
            )
            with buffer_of(data) as buffer:
                encoded = await network.workers.run(codec.encode_blob, buffer, n_shards, encoding=encoding, out=out)
        on_progress(Progress("encoding", size_bytes, size_bytes))
        async with network.storing(encoded.blob_id):
            return await _store_encoded(network, wallet, encoded, request, on_progress, on_node)


async def identify(
    network: Network, data: Buffer | BlobFile, n_shards: int, named: EncodingType | None = None
) -> tuple[BlobId, EncodingType]:
    """The id that a blob would be stored under, and with which encoding.

    Raises:
        BlobTooLarge, ShardCountOutOfRange: it could not be.
    """
    encoding = sizes.choose_encoding(len(data), n_shards, named)
    if encoding is EncodingType.RS8:
        return (await prepare_striped(network, data, n_shards, lambda _: None)).blob_id, encoding
    with buffer_of(data) as buffer:
        blob_id, _ = await network.workers.run(codec.compute_blob_id, buffer, n_shards)
    return blob_id, encoding


def check_request(request: StoreRequest, params: Params) -> None:
    """Refuse what no data could be stored with, so that none needs to be taken in first.

    Raises:
        DeletableShare, EpochsOutOfRange, InvalidAttribute, ShardCountOutOfRange: in this order.
    """
    if request.share and request.deletable:
        raise DeletableShare()
    if not 1 <= request.n_epochs <= params.max_epochs_ahead:
        raise EpochsOutOfRange(n_epochs=request.n_epochs, limit=params.max_epochs_ahead)
    for key, value in request.attributes:
        check_attribute(key, value)
    check_attribute_count(dict(request.attributes))
    sizes.check_shard_count(params.n_shards, request.encoding or EncodingType.RS2)


async def _store_striped(
    network: Network,
    wallet: Wallet,
    data: Buffer | BlobFile,
    n_shards: int,
    request: StoreRequest,
    on_progress: OnProgress,
    on_node: OnNode,
) -> StoreResult:
    """Store a blob in stripes: its slivers are not kept anywhere, but made when they are sent."""
    on_progress(Progress("encoding", 0, len(data)))
    with network.phase("encoding"):
        striped = await prepare_striped(
            network, data, n_shards, lambda done: on_progress(Progress("encoding", done, len(data)))
        )
    async with network.storing(striped.blob_id):
        return await _store_encoded(network, wallet, striped, request, on_progress, on_node)


async def _store_encoded(
    network: Network,
    wallet: Wallet,
    encoded: EncodedBlob | StripedBlob,
    request: StoreRequest,
    on_progress: OnProgress,
    on_node: OnNode,
) -> StoreResult:
    round_number = 1
    while True:
        try:
            existing = None if request.force else await find_certified(network, wallet.address, encoded, request)
            if existing is not None:
                return existing
            on_progress(Progress("registering", 0, 0))
            with network.phase("registering"):
                encoded_bytes = encoded_bytes_of(encoded.metadata)
                plan = await propose(network.view, wallet.address, encoded.blob_id, encoded_bytes, request)
                object_id = await register(network, wallet, encoded.blob_id, encoded.metadata, request, plan)
            commands: list[Command] = []
            if plan.operation != "reuseAndExtend":
                is_new = plan.object_id is None
                commands.append(await _upload(network, encoded, request, object_id, is_new, on_progress, on_node))
            return await _certify(network, wallet, encoded, request, plan, object_id, commands, on_progress)
        except HauloutError as e:
            if round_number == MAX_ROUNDS or not is_worth_restarting(e):
                raise
            round_number += 1
            await network.clock.sleep_ms(1_000 + network.rng.below(4_000))


async def find_certified(
    network: Network, owner: Address, encoded: EncodedBlob | StripedBlob, request: StoreRequest
) -> AlreadyCertified | None:
    """What makes a store needless: an object of this kind that is its receiver's already, or anybody's permanent blob.

    Attributes are their owner's to set: an object of another account counts when it has what is asked for.
    """
    existence = await network.view.blob_existence(encoded.blob_id)
    if existence is None:
        return None
    record = existence.record
    wanted_end = (await network.view.system()).epoch + request.n_epochs
    where = (record.certified_height or 0, record.certified_sequence or 0)
    receiver = request.send_object_to or owner
    wanted = {} if receiver == owner else dict(request.attributes)
    for object_id, blob in () if request.share else await network.view.registrations(encoded.blob_id, receiver):
        is_kept = blob.certified_epoch is not None and blob.deletable == request.deletable
        if is_kept and blob.end_epoch >= wanted_end and wanted.items() <= blob.attributes.items():
            return AlreadyCertified(encoded.blob_id, object_id, *where, blob.end_epoch)
    if record.permanent_certified and (record.permanent_end_epoch or 0) >= wanted_end:
        return AlreadyCertified(encoded.blob_id, None, *where, record.permanent_end_epoch or 0)
    return None


async def _upload(
    network: Network,
    encoded: EncodedBlob | StripedBlob,
    request: StoreRequest,
    object_id: ObjectId,
    is_new: bool,
    on_progress: OnProgress,
    on_node: OnNode,
) -> CertifyBlob:
    """Bring the slivers to the nodes; the command that proves it."""
    total = sum(encoded.metadata.n_shards * encoded.metadata.sliver_size_bytes(axis) for axis in Axis)
    sent = 0

    def on_bytes(count: int) -> None:
        nonlocal sent
        sent += count
        on_progress(Progress("uploading", sent, total))

    on_progress(Progress("uploading", 0, total))
    epoch, members = await network.current_links()
    of_object = object_id if request.deletable else None
    upload: Upload | StripedUpload
    if isinstance(encoded, StripedBlob):
        upload = StripedUpload(
            network, encoded, epoch=epoch, members=members, object_id=of_object, on_bytes=on_bytes, on_node=on_node
        )
    else:
        upload = Upload(
            network,
            encoded,
            epoch=epoch,
            members=members,
            object_id=of_object,
            is_new=is_new,
            on_bytes=on_bytes,
            on_node=on_node,
        )
    with network.phase("uploading"):
        certificate = await upload.run()
    return CertifyBlob(Existing(object_id), certificate.message, certificate.signature, certificate.bitmap)


async def _certify(
    network: Network,
    wallet: Wallet,
    encoded: EncodedBlob | StripedBlob,
    request: StoreRequest,
    plan: Plan,
    object_id: ObjectId,
    commands: list[Command],
    on_progress: OnProgress,
) -> NewlyCreated:
    """Have the ledger certify the blob, and in the same transaction what else is to become of the object."""
    on_progress(Progress("certifying", 0, 0))
    if plan.extends:
        commands.append(ExtendBlob(Existing(object_id), plan.n_epochs))
    commands += [SetBlobAttribute(Existing(object_id), *pair) for pair in request.attributes]
    if request.send_object_to is not None:
        commands.append(TransferObject(Existing(object_id), request.send_object_to))
    if request.share:
        commands.append(ShareBlob(Existing(object_id), 0))
    with network.phase("certifying"):
        try:
            result = await wallet.execute(commands)
            await network.view.reach(result.height)
        except Rejected as e:
            if e.code != "ALREADY_CERTIFIED" or len(commands) > 1:  # else another process of this account was quicker
                raise
    blob = await network.view.blob(object_id)
    if blob is None:
        raise DeletedMeanwhile(blob_id=blob_id_text(encoded.blob_id))
    return NewlyCreated(
        blob_id=encoded.blob_id,
        object_id=object_id,
        blob=blob,
        operation=plan.operation,
        encoded_bytes=encoded_bytes_of(encoded.metadata),
        n_epochs=plan.n_epochs,
        cost_frost=plan.cost_frost,
        is_shared=request.share,
    )
