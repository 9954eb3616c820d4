"""Shared blobs: blob objects that belong to nobody, and are extended from what anybody has put into them.

The ledger lets everything happen that can, as its source does. What would only lose a blob or money is refused here.
"""

from __future__ import annotations

from haulout.account.wallet import Wallet
from haulout.chain.block import TransactionResult
from haulout.client.errors import NotShareable, ObjectNotFound, SharedBlobExpired
from haulout.client.network import Network
from haulout.ledger.commands import Command, Existing, ExtendSharedBlob, FundSharedBlob, ShareBlob
from haulout.ledger.state import Blob
from haulout.primitives import ObjectId, hex_id_text


async def share_blob(network: Network, wallet: Wallet, object_id: ObjectId, amount_frost: int) -> TransactionResult:
    """Give a blob of the account up to everybody, with FROST for extensions, or none.

    Raises:
        ObjectNotFound, NotShareable: before anything is given up.
        Rejected: the ledger refuses, under its code.
    """
    blob = await _find(network, object_id)
    problem = _why_not_shareable(blob, (await network.view.system()).epoch)
    if problem:
        raise NotShareable(object_id=hex_id_text(object_id), problem=problem)
    return await _execute(network, wallet, ShareBlob(Existing(object_id), amount_frost))


async def fund_shared_blob(
    network: Network, wallet: Wallet, object_id: ObjectId, amount_frost: int
) -> TransactionResult:
    """Put FROST into a shared blob.

    Raises:
        ObjectNotFound, SharedBlobExpired: before anything is paid.
        Rejected: the ledger refuses, under its code.
    """
    blob = await _find(network, object_id)
    if blob.end_epoch <= (await network.view.system()).epoch:
        raise SharedBlobExpired(object_id=hex_id_text(object_id), end_epoch=blob.end_epoch)
    return await _execute(network, wallet, FundSharedBlob(Existing(object_id), amount_frost))


async def extend_shared_blob(network: Network, wallet: Wallet, object_id: ObjectId, n_epochs: int) -> Blob:
    """Keep a shared blob longer, at today's price, from its own funds.

    Raises:
        Rejected: the ledger refuses, under its code.
    """
    await _execute(network, wallet, ExtendSharedBlob(Existing(object_id), n_epochs))
    return await _find(network, object_id)


def _why_not_shareable(blob: Blob, epoch: int) -> str:
    """What a blob lacks that nobody could give it once it is shared; empty when it lacks nothing."""
    if blob.deletable:
        return "it is deletable"
    if blob.certified_epoch is None:
        return "it is not certified"
    if blob.end_epoch <= epoch:
        return f"it expired with epoch {blob.end_epoch}"
    return ""


async def _find(network: Network, object_id: ObjectId) -> Blob:
    blob = await network.view.blob(object_id)
    if blob is None:
        raise ObjectNotFound(object_id=hex_id_text(object_id))
    return blob


async def _execute(network: Network, wallet: Wallet, command: Command) -> TransactionResult:
    result = await wallet.execute([command])
    await network.view.reach(result.height)
    return result
