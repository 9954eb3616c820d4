"""Writers who leave a mess: half an upload, a registration and nothing more, a blob whose slivers contradict it."""

from __future__ import annotations

from dataclasses import replace

from haulout.account.wallet import Wallet
from haulout.client.network import Network
from haulout.client.registration import StoreRequest, encoded_bytes_of, propose, register
from haulout.client.upload import Upload
from haulout.codec.metadata import SliverPairHashes
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, encode_blob
from haulout.ledger.commands import CertifyBlob, Existing
from haulout.primitives import BlobId, ObjectId

REQUEST = StoreRequest(n_epochs=3, deletable=False)


async def register_only(network: Network, wallet: Wallet, encoded: EncodedBlob) -> ObjectId:
    """Pay for a blob and bring nothing of it. Raises as `registration.register`."""
    plan = await propose(network.view, wallet.address, encoded.blob_id, encoded_bytes_of(encoded.metadata), REQUEST)
    return await register(network, wallet, encoded.blob_id, encoded.metadata, REQUEST, plan)


async def store_inconsistent(network: Network, wallet: Wallet, encoded: EncodedBlob) -> BlobId:
    """Store slivers as they are, each true to its own hash, and have that certified.

    Raises:
        HauloutError: as `client.store_blob`.
    """
    object_id = await register_only(network, wallet, encoded)
    epoch, members = await network.current_links()
    upload = Upload(network, encoded, epoch=epoch, members=members, object_id=None, on_bytes=lambda _: None)
    certificate = await upload.run()
    command = CertifyBlob(Existing(object_id), certificate.message, certificate.signature, certificate.bitmap)
    result = await wallet.execute([command])
    await network.view.reach(result.height)
    return encoded.blob_id


def contradict(data: bytes, other: bytes, n_shards: int) -> EncodedBlob:
    """The rows of one blob with the columns of another of the same length: no reader can make sense of both."""
    assert len(data) == len(other) and data != other, "two blobs of one length"
    rows, columns = encode_blob(data, n_shards), encode_blob(other, n_shards)
    pairs = tuple(
        SliverPairHashes(row.primary, column.secondary)
        for row, column in zip(rows.metadata.pairs, columns.metadata.pairs, strict=True)
    )
    metadata = replace(rows.metadata, pairs=pairs)
    buffers = SliverBuffers(rows.buffers.primary, columns.buffers.secondary)
    return EncodedBlob(metadata.blob_id(), metadata, buffers)
