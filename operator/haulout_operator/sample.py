"""The third proof that a node is not needed: blobs that it had slivers of can be read while it is not asked.

A few certified blobs are picked by chance, wherever in the index of ends the dice fall; every blob has slivers on every
shard, so the node had some of each of them. What is read is verified against the blob id as for any reader.
"""

from __future__ import annotations

import asyncio

from haulout.client.errors import BlobNotFound
from haulout.client.network import NOWHERE, Network
from haulout.client.read import read_blob, read_metadata, read_range
from haulout.errors import HauloutError
from haulout.ledger import keys
from haulout.ports import Ledger, NodeTransport, StorageNodeApi
from haulout.primitives import BlobId, blob_id_text
from haulout_operator.observed import SampleRead

SAMPLE_BLOBS = 3
PAGE = 50
WHOLE_BYTES_MAX = 4 << 20  # of larger blobs a part is read
READ_TIMEOUT_S = 30.0


class WithoutNode:
    """A `NodeTransport` that never reaches one node."""

    def __init__(self, transport: NodeTransport, address: str) -> None:
        self._transport = transport
        self._address = address

    def connect(self, address: str) -> StorageNodeApi:
        """The node at an address; nobody, at the one that is left out."""
        return self._transport.connect(NOWHERE if address == self._address else address)

    async def close(self) -> None:
        """The connections belong to whoever made them."""


async def read_sample(network: Network, ledger: Ledger) -> SampleRead:
    """Read a few blobs.

    Args:
        network: reaches all nodes but the one whose absence is tried.
        ledger: where the index of blobs is.

    Raises:
        HauloutError: the ledger does not answer.
    """
    n_read, failed = 0, []
    for blob_id in await pick_blobs(network, ledger):
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await _read(network, blob_id)
        except BlobNotFound:  # it expired, or was deleted, since it was picked
            continue
        except HauloutError as e:
            failed.append(f"{blob_id_text(blob_id)} ({e.code})")
        except TimeoutError:
            failed.append(f"{blob_id_text(blob_id)} (no answer in {READ_TIMEOUT_S:.0f} s)")
        else:
            n_read += 1
    return SampleRead(n_read, tuple(failed))


async def pick_blobs(network: Network, ledger: Ledger) -> list[BlobId]:
    """A few certified blobs that live on, from a random place of the index on; all when there are no more."""
    epoch = (await network.view.system()).epoch
    ahead = (await network.view.params()).max_epochs_ahead
    first, end = keys.blob_end_range(epoch + 1, epoch + ahead + 2)
    middle = keys.blob_end(epoch + 1 + network.rng.below(ahead + 1), network.rng.random_bytes(32))
    rows = [*await ledger.scan(middle, end, limit=PAGE)]
    if len(rows) < SAMPLE_BLOBS:
        rows += await ledger.scan(first, middle, limit=PAGE)
    found = [BlobId(key[-32:]) for key, _ in rows]
    return network.rng.shuffled(found)[:SAMPLE_BLOBS]


async def _read(network: Network, blob_id: BlobId) -> None:
    metadata = await read_metadata(network, blob_id)
    size = metadata.unencoded_length
    if size <= WHOLE_BYTES_MAX:
        blob = await read_blob(network, blob_id, metadata=metadata)
    else:
        blob = await read_range(network, blob_id, network.rng.below(size), 1, metadata=metadata)
    blob.close()
