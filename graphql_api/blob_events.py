"""Events about blobs and their objects."""

from __future__ import annotations

import strawberry

from graphql_api.accounts import Account, load_account
from graphql_api.blobs import Attribute, Blob, BlobObject, load_blob, load_blob_object
from graphql_api.context import Info
from graphql_api.event import Event
from graphql_api.fields import resolved
from graphql_api.proofs import AvailabilityCertificate
from graphql_api.read_model.queries import Row
from graphql_api.scalars import BigInt, BlobID


class _OfBlob:
    """Resolvers that events about a blob share."""

    row: Row

    async def _blob(self, info: Info) -> Blob:
        blob = await load_blob(info, self.row["blob_id"])
        if blob is None:
            raise AssertionError("an event names a blob without a row")
        return blob

    async def _object(self, info: Info) -> BlobObject:
        found = await load_blob_object(info, self.row["object_id"])
        if found is None:
            raise AssertionError("an event names a blob object without a row")
        return found


@strawberry.type(description="A blob object came to be.")
class BlobRegistered(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The new object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)


@strawberry.type(description="A blob object was certified, or its certified life was extended.")
class BlobCertified(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Whether it was certified before and lives longer now.")
    async def is_extension(self) -> bool:
        return bool(self.body.is_extension)

    @resolved("First epoch in which the object is gone, from this event on.")
    async def end_epoch(self) -> int:
        return int(self.body.end_epoch)

    @resolved("The certificate; null on an extension.")
    async def certificate(self, info: Info) -> AvailabilityCertificate | None:
        row = await info.context.loaders.certificate.load(self.row["sequence"])
        return None if row is None else AvailabilityCertificate.of(row, info.context.services.params.n_shards)


@strawberry.type(description="A deletable blob object was deleted by its owner; its storage is free again.")
class BlobDeleted(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The deleted object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Whether it had been certified.")
    async def was_certified(self) -> bool:
        return bool(self.body.was_certified)


@strawberry.type(description="A blob object was destroyed; the nodes keep its bytes until its end.")
class BlobBurned(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The burned object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)


@strawberry.type(description="A blob object has a new owner.")
class BlobTransferred(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who owns it from this event on.")
    async def new_owner(self, info: Info) -> Account:
        return await load_account(info, self.body.owner)


@strawberry.type(
    description="A blob object was given up by its owner: anyone funds it, anyone extends it from its funds."
)
class BlobShared(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object, which belongs to nobody from this event on.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who owned it until this event.")
    async def former_owner(self, info: Info) -> Account:
        return await load_account(info, self.body.former_owner)

    @resolved("What it was given for extensions, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="Somebody put tokens into a shared blob.")
class SharedBlobFunded(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who did.")
    async def sender(self, info: Info) -> Account:
        return await load_account(info, self.body.sender)

    @resolved("What was put in, in FROST.")
    async def amount(self) -> BigInt:
        return BigInt(self.body.amount_frost)

    @resolved("What it holds from this event on, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="Somebody had a shared blob pay for its extension, which a `BlobCertified` tells.")
class SharedBlobExtended(Event, _OfBlob):
    @resolved("The blob.")
    async def blob(self, info: Info) -> Blob:
        return await self._blob(info)

    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("Who did.")
    async def sender(self, info: Info) -> Account:
        return await load_account(info, self.body.sender)

    @resolved("For how many epochs more.")
    async def epochs(self) -> int:
        return int(self.body.n_epochs)

    @resolved("What it paid, in FROST.")
    async def cost(self) -> BigInt:
        return BigInt(self.body.cost_frost)

    @resolved("What it holds from this event on, in FROST.")
    async def funds(self) -> BigInt:
        return BigInt(self.body.funds_frost)


@strawberry.type(description="The attributes of a blob object were changed.")
class BlobAttributesChanged(Event, _OfBlob):
    @resolved("The object.")
    async def object(self, info: Info) -> BlobObject:
        return await self._object(info)

    @resolved("All its attributes from this event on.")
    async def attributes(self) -> list[Attribute]:
        return [Attribute(key=key, value=value) for key, value in sorted(self.body.attributes.items())]


@strawberry.type(description="A blob id was proven to be wrongly encoded: nobody stores or serves it any more.")
class BlobMarkedInvalid(Event):
    @resolved("The id.")
    async def blob_id(self) -> BlobID:
        return BlobID(self.body.blob_id)

    @resolved("The blob; null when nobody had registered it.")
    async def blob(self, info: Info) -> Blob | None:
        return await load_blob(info, self.body.blob_id)
