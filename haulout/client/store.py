"""Storing a blob, in order: encode, see whether it is there already, register, upload, certify.

Whatever stops it, nothing is paid twice: a registration that was paid for is found on the ledger and used again, and
each node says what it has, so the next try sends only what is missing. Source: `spec/client-api.md` 10.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from haulout.client.errors import EpochsOutOfRange
from haulout.client.network import Network, open_buffer
from haulout.client.upload import Upload, is_worth_restarting
from haulout.client.wallet import Wallet
from haulout.codec import sizes
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, encode_blob
from haulout.errors import HauloutError, Rejected
from haulout.ledger.commands import (
    CertifyBlob,
    Command,
    Created,
    Existing,
    ExtendBlob,
    RegisterBlob,
    ReserveSpace,
    TransferObject,
)
from haulout.ledger.state import Blob
from haulout.ports import Buffer
from haulout.primitives import Address, Axis, BlobId, EncodingType, ObjectId

MAX_ROUNDS = 5

Phase = Literal["encoding", "registering", "uploading", "certifying"]
Operation = Literal["registerFromScratch", "reuseStorage", "reuseRegistration", "reuseAndExtend"]


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """How a blob is to be kept."""

    n_epochs: int
    deletable: bool = True
    force: bool = False  # register anew even when it is stored already
    reuse_storage: bool = False  # use storage that the account owns
    encoding: EncodingType | None = None
    send_object_to: Address | None = None


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
    n_epochs: int
    cost_frost: int


@dataclass(frozen=True, slots=True)
class AlreadyCertified:
    """The blob is kept for long enough already; nothing was paid."""

    blob_id: BlobId
    object_id: ObjectId | None  # the account's own, or None when the blob is somebody's permanent one
    certified_height: int
    certified_sequence: int
    end_epoch: int


StoreResult = NewlyCreated | AlreadyCertified
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Registration:
    object_id: ObjectId
    operation: Operation
    cost_frost: int


async def store_blob(
    network: Network,
    wallet: Wallet,
    data: Buffer,
    request: StoreRequest,
    *,
    on_progress: OnProgress = lambda _: None,
) -> StoreResult:
    """Store a blob; returns once n - f shards hold it durably and the ledger has certified that.

    Args:
        data: the blob; may be empty, may be a map of a file.
        on_progress: called in order of the phases, often while uploading.

    Raises:
        EpochsOutOfRange, BlobTooLarge, UnsupportedEncodingType: before anything is paid.
        Rejected: the ledger refuses, under its code, e.g. INSUFFICIENT_FUNDS.
        InsufficientConfirmations: too few nodes; the next try resumes.
    """
    params = await network.view.params()
    if not 1 <= request.n_epochs <= params.max_epochs_ahead:
        raise EpochsOutOfRange(n_epochs=request.n_epochs, limit=params.max_epochs_ahead)
    encoding = request.encoding or EncodingType.RS2
    sizes.check_shard_count(params.n_shards, encoding)
    sizes.symbol_size_bytes(len(data), params.n_shards, encoding)
    with contextlib.ExitStack() as stack:
        on_progress(Progress("encoding", 0, len(data)))
        with network.metrics.store_phase.labels("encoding").time():
            out = SliverBuffers(
                *(
                    open_buffer(
                        network.spill, sizes.slivers_size_bytes(axis, len(data), params.n_shards, encoding), stack
                    )
                    for axis in (Axis.PRIMARY, Axis.SECONDARY)
                )
            )
            encoded = await network.workers.run(encode_blob, data, params.n_shards, encoding=encoding, out=out)
        on_progress(Progress("encoding", len(data), len(data)))
        async with network.storing(encoded.blob_id):
            return await _store_encoded(network, wallet, encoded, request, on_progress)


async def _store_encoded(
    network: Network, wallet: Wallet, encoded: EncodedBlob, request: StoreRequest, on_progress: OnProgress
) -> StoreResult:
    round_number = 1
    while True:
        try:
            existing = None if request.force else await find_certified(network, wallet.address, encoded, request)
            if existing is not None:
                return existing
            on_progress(Progress("registering", 0, 0))
            with network.metrics.store_phase.labels("registering").time():
                registration = await _register(network, wallet, encoded, request)
            return await _upload_and_certify(network, wallet, encoded, request, registration, on_progress)
        except HauloutError as e:
            if round_number == MAX_ROUNDS or not is_worth_restarting(e):
                raise
            round_number += 1
            await network.clock.sleep_ms(1_000 + network.rng.below(4_000))


async def find_certified(
    network: Network, owner: Address, encoded: EncodedBlob, request: StoreRequest
) -> AlreadyCertified | None:
    """What makes a store needless: the account's own object of this kind, or anybody's permanent blob."""
    existence = await network.view.blob_existence(encoded.blob_id)
    if existence is None:
        return None
    record = existence.record
    wanted_end = (await network.view.system()).epoch + request.n_epochs
    where = (record.certified_height or 0, record.certified_sequence or 0)
    is_permanent = record.permanent_certified and record.permanent_end_epoch is not None
    if not request.deletable and is_permanent and (record.permanent_end_epoch or 0) >= wanted_end:
        return AlreadyCertified(encoded.blob_id, None, *where, record.permanent_end_epoch or 0)
    if request.send_object_to is not None:
        return None
    for object_id, blob in await network.view.registrations(encoded.blob_id, owner):
        if blob.certified_epoch is not None and blob.deletable == request.deletable and blob.end_epoch >= wanted_end:
            return AlreadyCertified(encoded.blob_id, object_id, *where, blob.end_epoch)
    return None


async def _register(network: Network, wallet: Wallet, encoded: EncodedBlob, request: StoreRequest) -> _Registration:
    """Get a blob object to certify: one that an earlier try has paid for, else a new one."""
    system = await network.view.system()
    wanted_end = system.epoch + request.n_epochs
    if not request.force:
        for object_id, blob in await network.view.registrations(encoded.blob_id, wallet.address):
            if blob.certified_epoch is None and blob.deletable == request.deletable and blob.end_epoch >= wanted_end:
                return _Registration(object_id, "reuseRegistration", 0)
    metadata = encoded.metadata
    encoded_bytes = sizes.encoded_length(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)
    commands: list[Command] = []
    operation: Operation = "registerFromScratch"
    owned = (
        await _fitting_storage(network, wallet.address, encoded_bytes, wanted_end) if request.reuse_storage else None
    )
    if owned is None:
        commands.append(ReserveSpace(size_bytes=encoded_bytes, start_epoch=system.epoch, end_epoch=wanted_end))
        storage: Existing | Created = Created(0, 0)
    else:
        operation, storage = "reuseStorage", Existing(owned)
    commands.append(
        RegisterBlob(
            storage=storage,
            blob_id=encoded.blob_id,
            root_hash=metadata.root_hash(),
            size_bytes=metadata.unencoded_length,
            encoding_type=int(metadata.encoding_type),
            deletable=request.deletable,
        )
    )
    before = await network.view.system()
    result = await wallet.execute(commands)
    await network.view.reach(result.height)
    units = -(-encoded_bytes // (1 << 20))
    cost = units * before.write_price_frost
    if owned is None:
        cost += units * before.storage_price_frost * request.n_epochs
    return _Registration(ObjectId(result.created[-1][0]), operation, cost)


async def _fitting_storage(network: Network, owner: Address, size_bytes: int, wanted_end: int) -> ObjectId | None:
    """The smallest storage of the account that is large and lasts long enough."""
    epoch = (await network.view.system()).epoch
    fitting = [
        (storage.size_bytes, storage.end_epoch, object_id)
        for object_id, storage in await network.view.owned_storage(owner)
        if storage.start_epoch <= epoch and storage.end_epoch >= wanted_end and storage.size_bytes >= size_bytes
    ]
    return min(fitting)[2] if fitting else None


async def _upload_and_certify(
    network: Network,
    wallet: Wallet,
    encoded: EncodedBlob,
    request: StoreRequest,
    registration: _Registration,
    on_progress: OnProgress,
) -> StoreResult:
    metadata = encoded.metadata
    total = sum(metadata.n_shards * metadata.sliver_size_bytes(axis) for axis in Axis)
    sent = 0

    def on_bytes(count: int) -> None:
        nonlocal sent
        sent = min(sent + count, total)
        on_progress(Progress("uploading", sent, total))

    on_progress(Progress("uploading", 0, total))
    epoch, members = await network.current_links()
    upload = Upload(
        network,
        encoded,
        epoch=epoch,
        members=members,
        object_id=registration.object_id if request.deletable else None,
        on_bytes=on_bytes,
    )
    with network.metrics.store_phase.labels("uploading").time():
        certificate = await upload.run()
    on_progress(Progress("certifying", total, total))
    blob = Existing(registration.object_id)
    commands: list[Command] = [CertifyBlob(blob, certificate.message, certificate.signature, certificate.bitmap)]
    if request.send_object_to is not None:
        commands.append(TransferObject(blob, request.send_object_to))
    with network.metrics.store_phase.labels("certifying").time():
        try:
            result = await wallet.execute(commands)
            await network.view.reach(result.height)
        except Rejected as e:
            if e.code != "ALREADY_CERTIFIED":  # another process of this account was quicker
                raise
    stored = await network.view.blob(registration.object_id)
    if stored is None:
        raise AssertionError("a blob object vanished between its certification and now")
    encoded_bytes = sizes.encoded_length(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)
    return NewlyCreated(
        blob_id=encoded.blob_id,
        object_id=registration.object_id,
        blob=stored,
        operation=registration.operation,
        encoded_bytes=encoded_bytes,
        n_epochs=request.n_epochs,
        cost_frost=registration.cost_frost,
    )


async def extend_blob(network: Network, wallet: Wallet, object_id: ObjectId, n_epochs: int) -> Blob:
    """Keep a certified blob longer, at today's price.

    Raises:
        Rejected: the ledger refuses, under its code.
    """
    result = await wallet.execute([ExtendBlob(Existing(object_id), n_epochs)])
    await network.view.reach(result.height)
    blob = await network.view.blob(object_id)
    if blob is None:
        raise AssertionError("an extended blob is on the ledger")
    return blob
