"""Getting a blob object to certify, as cheaply as the account allows.

What an account has decides: a registration that an earlier try has paid for is used again; with leave to, a certified
object that ends too early is extended, and storage that the account owns is taken; else storage is bought. The choice
is pure (`plan_registration`), so it can be shown before anything is paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from haulout.account.wallet import Wallet
from haulout.client.network import Network
from haulout.client.view import LedgerView
from haulout.codec import sizes
from haulout.codec.metadata import BlobMetadata
from haulout.ledger.commands import Command, Created, Existing, ExtendBlob, RegisterBlob, ReserveSpace
from haulout.ledger.state import Blob, Storage, System
from haulout.primitives import Address, BlobId, EncodingType, ObjectId, storage_units

Operation = Literal[
    "registerFromScratch", "reuseStorage", "reuseRegistration", "reuseAndExtend", "reuseAndExtendNonCertified"
]


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """How a blob is to be kept."""

    n_epochs: int
    deletable: bool = True
    force: bool = False  # also when it is stored already
    reuse_resources: bool = False  # extend objects and use storage that the account owns
    encoding: EncodingType | None = None
    send_object_to: Address | None = None
    attributes: tuple[tuple[str, str], ...] = ()  # what a new object has from its certification on
    share: bool = False  # give the object up to everybody, once it is certified


@dataclass(frozen=True, slots=True)
class Plan:
    """How to come by a blob object, and what that costs."""

    operation: Operation
    object_id: ObjectId | None  # the blob object that is there already
    storage_id: ObjectId | None  # the storage to register in
    n_epochs: int  # to buy or to extend by
    cost_frost: int

    @property
    def extends(self) -> bool:
        return self.operation in ("reuseAndExtend", "reuseAndExtendNonCertified")


def plan_registration(
    request: StoreRequest,
    *,
    system: System,
    encoded_bytes: int,
    blobs: Sequence[tuple[ObjectId, Blob]],
    storages: Sequence[tuple[ObjectId, Storage]],
) -> Plan:
    """Choose where a blob object comes from.

    Args:
        encoded_bytes: what the blob takes on all nodes together.
        blobs: the account's objects of this blob id.
        storages: the account's free storage.
    """
    epoch, end = system.epoch, system.epoch + request.n_epochs
    live = [(i, blob) for i, blob in blobs if blob.deletable == request.deletable and blob.end_epoch > epoch]
    begun = [(i, blob) for i, blob in live if blob.certified_epoch is None]
    for object_id, blob in begun:
        if blob.end_epoch >= end:
            return Plan("reuseRegistration", object_id, None, 0, 0)
    if request.reuse_resources:
        certified = [] if request.force else [(i, blob) for i, blob in live if blob.certified_epoch is not None]
        for operation, candidates in (("reuseAndExtend", certified), ("reuseAndExtendNonCertified", begun)):
            if candidates:
                object_id, blob = max(candidates, key=lambda item: (item[1].end_epoch, item[0]))
                missing = end - blob.end_epoch
                cost = storage_units(blob.storage_size_bytes) * missing * system.storage_price_frost
                return Plan(operation, object_id, None, missing, cost)  # type: ignore[arg-type]
    write_frost = storage_units(encoded_bytes) * system.write_price_frost
    if request.reuse_resources:
        fitting = [
            (storage.size_bytes, storage.end_epoch, storage_id)
            for storage_id, storage in storages
            if storage.start_epoch <= epoch and storage.end_epoch >= end and storage.size_bytes >= encoded_bytes
        ]
        if fitting:
            return Plan("reuseStorage", None, min(fitting)[2], 0, write_frost)
    storage_frost = storage_units(encoded_bytes) * request.n_epochs * system.storage_price_frost
    return Plan("registerFromScratch", None, None, request.n_epochs, storage_frost + write_frost)


def encoded_bytes_of(metadata: BlobMetadata) -> int:
    """What a blob takes on all nodes together; what is paid for."""
    return sizes.encoded_length(metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)


async def propose(view: LedgerView, owner: Address, blob_id: BlobId, encoded_bytes: int, request: StoreRequest) -> Plan:
    """`plan_registration` with what the account has now."""
    return plan_registration(
        request,
        system=await view.system(),
        encoded_bytes=encoded_bytes,
        blobs=await view.registrations(blob_id, owner),
        storages=await view.owned_storage(owner) if request.reuse_resources else (),
    )


async def register(
    network: Network, wallet: Wallet, blob_id: BlobId, metadata: BlobMetadata, request: StoreRequest, plan: Plan
) -> ObjectId:
    """Carry a plan out as far as it comes before the upload; the blob object to certify.

    Raises:
        Rejected: the ledger refuses, under its code.
    """
    if plan.object_id is not None:
        return plan.object_id
    commands: list[Command] = []
    storage: Existing | Created
    if plan.storage_id is not None:
        storage = Existing(plan.storage_id)
    else:
        epoch = (await network.view.system()).epoch
        commands.append(
            ReserveSpace(size_bytes=encoded_bytes_of(metadata), start_epoch=epoch, end_epoch=epoch + request.n_epochs)
        )
        storage = Created(0, 0)
    commands.append(
        RegisterBlob(
            storage=storage,
            blob_id=blob_id,
            root_hash=metadata.root_hash(),
            size_bytes=metadata.unencoded_length,
            encoding_type=int(metadata.encoding_type),
            deletable=request.deletable,
        )
    )
    result = await wallet.execute(commands)
    await network.view.reach(result.height)
    return ObjectId(result.created[-1][0])


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
