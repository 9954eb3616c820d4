"""Whether a blob exists, and work with those who have its slivers."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from haulout.client.errors import BlobNotFound, BlobUnavailable
from haulout.client.network import MemberLink, Network
from haulout.codec.errors import InconsistentBlob
from haulout.errors import WrongEpoch
from haulout.ledger.queries import BlobExistence
from haulout.primitives import BlobId, blob_id_text, min_decodable

MAX_ROUNDS = 5
ROUND_PAUSE_MS = 200
COMMITTEES = "committee's"  # the check that the ledger's word stands for

T = TypeVar("T")


async def with_holders(
    network: Network, blob_id: BlobId, work: Callable[[int, Sequence[MemberLink]], Awaitable[T]]
) -> T:
    """Do work with those who have the blob: the committee, and for shards on their way whoever hands them over. When
    that fails because shards have moved meanwhile, it is done again with those who have it then."""
    for round_number in range(MAX_ROUNDS):
        existence = await require_existence(network, blob_id)
        epoch, members, is_moving = await network.holder_links(existence.certified_epoch)
        try:
            return await work(epoch, members)
        except WrongEpoch:
            pass
        except BlobUnavailable:
            if not is_moving and (await network.view.system()).epoch == epoch:
                raise
            epoch, members = await network.current_links()
            if round_number == MAX_ROUNDS - 1:
                return await work(epoch, members)
            with contextlib.suppress(BlobUnavailable, WrongEpoch):
                return await work(epoch, members)  # the new owners may have it by now
        await network.clock.sleep_ms(ROUND_PAUSE_MS << round_number)
    n_shards = sum(member.weight for member in members)
    raise BlobUnavailable(
        blob_id=blob_id_text(blob_id),
        got=0,
        needed=min_decodable(n_shards),
        reasons=f"the nodes are beyond epoch {epoch}, and the ledger that is followed here is not",
    )


async def require_existence(network: Network, blob_id: BlobId) -> BlobExistence:
    """What the ledger says of a blob; refuses ids that it does not know as certified and live.

    Raises:
        InconsistentBlob: proven to be encoded wrongly.
        BlobNotFound: otherwise.
    """
    existence = await network.view.blob_existence(blob_id)
    if existence is None:
        if await network.view.is_invalid(blob_id):
            raise InconsistentBlob(blob_id=blob_id_text(blob_id), check=COMMITTEES)
        raise BlobNotFound(blob_id=blob_id_text(blob_id))
    return existence
