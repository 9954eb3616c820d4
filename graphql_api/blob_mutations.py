"""Mutations of blobs, paid and owned by the server's account."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

import strawberry

from graphql_api.blobs import Blob, BlobObject, load_blob, load_blob_object
from graphql_api.context import Info
from graphql_api.payloads import CLIENT_ID, Payload
from graphql_api.proofs import Persistence
from graphql_api.scalars import Address, Base64, BigInt, BlobID, ObjectID
from graphql_api.transactions import Transaction, TransactionPayload, check_count, created, execute, see, wallet_of
from haulout.account.wallet import Wallet
from haulout.chain.block import TransactionResult
from haulout.client import shared
from haulout.client.network import Network
from haulout.client.store import AlreadyCertified, NewlyCreated, StoreRequest, store_blob
from haulout.codec import sizes
from haulout.crypto.certificate import bitmap_of
from haulout.errors import InvalidField
from haulout.ledger.blobs import MAX_ATTRIBUTES
from haulout.ledger.commands import (
    BurnBlob,
    CertifyBlob,
    Command,
    Created,
    DeleteBlob,
    Existing,
    ExtendBlob,
    ExtendBlobWithStorage,
    ExtendSharedBlob,
    RegisterBlob,
    RemoveBlobAttribute,
    ReserveSpace,
    SetBlobAttribute,
    TransferObject,
)
from haulout.ledger.transactions import MAX_COMMANDS
from haulout.primitives import EncodingType, ObjectId

INLINE_BYTES_MAX = 64 * 1024
SIGNERS_MAX = 1_000
ROOT_BYTES = 32
SIGNATURE_BYTES = 96


@strawberry.enum(description="How a blob is encoded.")
class Encoding(enum.Enum):
    RS2 = strawberry.enum_value("RS2", description="Red Stuff with two-byte symbols: byte for byte Walrus's.")
    RS8 = strawberry.enum_value("RS8", description="In stripes, for what RS2 cannot hold.")


@strawberry.input(description="An attribute of a blob object.")
class AttributeInput:
    key: str = strawberry.field(description="The key, at most 128 bytes.")
    value: str = strawberry.field(description="The value, at most 1,024 bytes.")


@strawberry.input(description="A blob to register, by whoever has encoded it.")
class RegisterBlobInput:
    blob_id: BlobID = strawberry.field(description="Its id.")
    metadata_root: Base64 = strawberry.field(description="Merkle root over its slivers' hashes, 32 bytes.")
    size: BigInt = strawberry.field(description="Its size before encoding, in bytes.")
    encoding: Encoding = strawberry.field(default=Encoding.RS2, description="How it is encoded.")
    persistence: Persistence = strawberry.field(
        default=Persistence.DELETABLE, description="Whether it can be deleted before its end."
    )
    epochs: int | None = strawberry.field(
        default=None, description="For how many epochs to buy storage, the current one included; not with `storage`."
    )
    storage: ObjectID | None = strawberry.field(default=None, description="Storage of the account to use instead.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="The proof that a blob is stored.")
class CertifyBlobInput:
    object_id: ObjectID = strawberry.field(description="The registered object.")
    message: Base64 = strawberry.field(description="Exactly the bytes that were signed.")
    signature: Base64 = strawberry.field(description="Aggregate signature, 96 bytes.")
    signers: list[int] = strawberry.field(description="Positions of the signers in the current committee.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A blob object to give up to everybody, for good: permanent, certified, not expired.")
class ShareBlobInput:
    object_id: ObjectID = strawberry.field(description="The object.")
    amount: BigInt = strawberry.field(default=BigInt(0), description="What it gets for extensions, in FROST.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A shared blob object to put tokens into; nobody gets them back.")
class FundSharedBlobInput:
    object_id: ObjectID = strawberry.field(description="The object, which has not expired.")
    amount: BigInt = strawberry.field(description="How much, in FROST.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A blob object to keep longer: exactly one of `epochs` and `storage`.")
class ExtendBlobInput:
    object_id: ObjectID = strawberry.field(description="The certified object.")
    epochs: int | None = strawberry.field(default=None, description="How many epochs more, at today's price.")
    storage: ObjectID | None = strawberry.field(default=None, description="Storage of the account to use instead.")
    shared: bool = strawberry.field(
        default=False, description="It is shared and pays from its own funds, whoever asks; with `epochs` only."
    )
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="Objects to be rid of, all or none.")
class ObjectsInput:
    object_ids: list[ObjectID] = strawberry.field(description="Their ids, 1 to 64.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A blob object to hand over.")
class TransferBlobInput:
    object_id: ObjectID = strawberry.field(description="The object.")
    to: Address = strawberry.field(description="Who owns it from then on.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="Attributes to set and to remove, all or none; at most 32 altogether.")
class SetBlobAttributesInput:
    object_id: ObjectID = strawberry.field(description="The object.")
    set: list[AttributeInput] = strawberry.field(default_factory=list, description="To add, or to replace.")
    remove: list[str] = strawberry.field(default_factory=list, description="Keys to remove; each must be there.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.input(description="A small blob to store; larger ones go to the gateway.")
class StoreInlineInput:
    data: Base64 = strawberry.field(description="Its content, at most 64 KiB.")
    epochs: int = strawberry.field(description="For how many epochs, the current one included.")
    persistence: Persistence = strawberry.field(
        default=Persistence.DELETABLE, description="Whether it can be deleted before its end."
    )
    attributes: list[AttributeInput] = strawberry.field(default_factory=list, description="Attributes to give it.")
    client_mutation_id: str | None = CLIENT_ID


@strawberry.type(description="A blob object as the transaction left it.")
class BlobObjectPayload(TransactionPayload):
    object: BlobObject | None = strawberry.field(
        default=None, description="The object; null when something was refused, and while it is not read back yet."
    )


@strawberry.type(description="Objects that are gone.")
class DeletePayload(TransactionPayload):
    deleted_ids: list[ObjectID] = strawberry.field(default_factory=list, description="Their ids.")


@strawberry.type(description="A stored blob.")
class StorePayload(Payload):
    blob: Blob | None = strawberry.field(default=None, description="The blob.")
    object: BlobObject | None = strawberry.field(
        default=None, description="The account's object of it; null when the blob is somebody's permanent one."
    )
    already_certified: bool = strawberry.field(
        default=False, description="Whether it was kept for long enough already, and nothing was paid."
    )


async def register_blob(info: Info, input: RegisterBlobInput) -> BlobObjectPayload:
    """Bind storage, bought for it or owned already, to a blob id."""
    _check_length(input.metadata_root, "metadataRoot", ROOT_BYTES)
    if (input.epochs is None) == (input.storage is None):
        raise InvalidField(field="epochs", problem="give either epochs or storage")
    params, encoding = info.context.services.params, EncodingType[input.encoding.name]
    commands: list[Command] = []
    storage: Existing | Created = Created(0, 0)
    if input.storage is not None:
        storage = Existing(input.storage)
    elif input.epochs is not None:
        epoch = await info.context.epoch()
        size_bytes = sizes.encoded_length(input.size, params.n_shards, encoding)
        end = epoch + check_count(input.epochs, "epochs", params.max_epochs_ahead)
        commands.append(ReserveSpace(size_bytes, epoch, end))
    is_deletable = input.persistence is Persistence.DELETABLE
    commands.append(RegisterBlob(storage, input.blob_id, input.metadata_root, input.size, int(encoding), is_deletable))
    result = await execute(info, commands)
    return BlobObjectPayload(transaction=Transaction.of(result), object=await load_blob_object(info, created(result)))


async def certify_blob(info: Info, input: CertifyBlobInput) -> BlobObjectPayload:
    """Prove that a blob is stored."""
    _check_length(input.signature, "signature", SIGNATURE_BYTES)
    if not all(0 <= signer < SIGNERS_MAX for signer in input.signers):
        raise InvalidField(field="signers", problem=f"are positions from 0 to {SIGNERS_MAX - 1}")
    certify = CertifyBlob(Existing(input.object_id), input.message, input.signature, bitmap_of(input.signers))
    return await _change(info, input.object_id, [certify])


async def extend_blob(info: Info, input: ExtendBlobInput) -> BlobObjectPayload:
    """Keep a blob longer."""
    if (input.epochs is None) == (input.storage is None):
        raise InvalidField(field="epochs", problem="give either epochs or storage")
    blob = Existing(input.object_id)
    if input.storage is not None:
        if input.shared:
            raise InvalidField(field="storage", problem="a shared blob is extended from its funds alone")
        return await _change(info, input.object_id, [ExtendBlobWithStorage(blob, Existing(input.storage))])
    epochs = check_count(input.epochs or 0, "epochs", info.context.services.params.max_epochs_ahead)
    command = ExtendSharedBlob(blob, epochs) if input.shared else ExtendBlob(blob, epochs)
    return await _change(info, input.object_id, [command])


async def share_blob(info: Info, input: ShareBlobInput) -> BlobObjectPayload:
    """Give a blob up to everybody."""
    return await _of_shared(info, shared.share_blob, input.object_id, input.amount)


async def fund_shared_blob(info: Info, input: FundSharedBlobInput) -> BlobObjectPayload:
    """Put tokens into a shared blob."""
    return await _of_shared(info, shared.fund_shared_blob, input.object_id, input.amount)


async def delete_blobs(info: Info, input: ObjectsInput) -> DeletePayload:
    """Delete deletable blob objects; their storage is free again."""
    return await _destroy(info, input, DeleteBlob)


async def burn_blobs(info: Info, input: ObjectsInput) -> DeletePayload:
    """Destroy blob objects with their storage."""
    return await _destroy(info, input, BurnBlob)


async def transfer_blob(info: Info, input: TransferBlobInput) -> BlobObjectPayload:
    """Hand a blob object over."""
    return await _change(info, input.object_id, [TransferObject(Existing(input.object_id), input.to)])


async def set_blob_attributes(info: Info, input: SetBlobAttributesInput) -> BlobObjectPayload:
    """Add, replace and remove attributes."""
    blob = Existing(input.object_id)
    commands: list[Command] = [RemoveBlobAttribute(blob, key) for key in input.remove]
    commands += _attributes(blob, input.set)
    check_count(len(commands), "set", MAX_ATTRIBUTES)
    return await _change(info, input.object_id, commands)


async def store_inline(info: Info, input: StoreInlineInput) -> StorePayload:
    """Encode a small blob here and bring it to the nodes."""
    services, data = info.context.services, input.data
    wallet = wallet_of(info)
    if len(data) > INLINE_BYTES_MAX:
        raise InvalidField(field="data", problem=f"has {len(data)} bytes, at most {INLINE_BYTES_MAX} go through here")
    if len(input.attributes) > MAX_ATTRIBUTES:
        raise InvalidField(field="attributes", problem=f"a blob has at most {MAX_ATTRIBUTES} attributes")
    attributes = {attribute.key: attribute.value for attribute in input.attributes}
    if len(attributes) < len(input.attributes):
        raise InvalidField(field="attributes", problem="a key is given twice")
    request = StoreRequest(
        n_epochs=input.epochs,
        deletable=input.persistence is Persistence.DELETABLE,
        attributes=tuple(attributes.items()),
    )
    result = await store_blob(services.network, wallet, data, request)
    height = services.follower.verified_height
    if input.attributes and isinstance(result, AlreadyCertified) and result.object_id is not None:
        named = await wallet.execute(_attributes(Existing(result.object_id), input.attributes))
        height = named.height
    await see(info, height)
    return StorePayload(
        blob=await load_blob(info, result.blob_id),
        object=None if result.object_id is None else await load_blob_object(info, result.object_id),
        already_certified=not isinstance(result, NewlyCreated),
    )


async def _change(info: Info, object_id: bytes, commands: list[Command]) -> BlobObjectPayload:
    return await _changed(info, object_id, await execute(info, commands))


async def _of_shared(
    info: Info,
    step: Callable[[Network, Wallet, ObjectId, int], Awaitable[TransactionResult]],
    object_id: bytes,
    amount_frost: int,
) -> BlobObjectPayload:
    result = await step(info.context.services.network, wallet_of(info), ObjectId(object_id), amount_frost)
    await see(info, result.height)
    return await _changed(info, object_id, result)


async def _changed(info: Info, object_id: bytes, result: TransactionResult) -> BlobObjectPayload:
    return BlobObjectPayload(transaction=Transaction.of(result), object=await load_blob_object(info, object_id))


async def _destroy(info: Info, input: ObjectsInput, command: type[DeleteBlob | BurnBlob]) -> DeletePayload:
    check_count(len(input.object_ids), "objectIds", MAX_COMMANDS)
    result = await execute(info, [command(Existing(object_id)) for object_id in input.object_ids])
    return DeletePayload(transaction=Transaction.of(result), deleted_ids=input.object_ids)


def _attributes(blob: Existing, attributes: list[AttributeInput]) -> list[Command]:
    return [SetBlobAttribute(blob, attribute.key, attribute.value) for attribute in attributes]


def _check_length(value: bytes, field: str, length: int) -> None:
    if len(value) != length:
        raise InvalidField(field=field, problem=f"has {len(value)} bytes, not {length}")
