"""What the gateway remembers: verified metadata and, up to a number of bytes, whole blobs.

Ids are hashes of contents, so nothing here goes stale; whether a blob still *exists* is asked of the ledger at every
request.
"""

from __future__ import annotations

from collections import OrderedDict

from haulout.codec.metadata import BlobMetadata
from haulout.primitives import BlobId

METADATA_MAX = 1_024  # entries
METADATA_PAIRS_MAX = 256 * 1_024  # pairs of hashes in all of them, some 300 bytes each in memory
SHARE_OF_ONE_BLOB = 4  # a blob larger than a quarter of the cache is not kept


class BlobCache:
    """Least recently used entries go first."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._metadata: OrderedDict[BlobId, BlobMetadata] = OrderedDict()
        self._n_pairs = 0
        self._blobs: OrderedDict[BlobId, bytes] = OrderedDict()
        self.size_bytes = 0

    def metadata(self, blob_id: BlobId) -> BlobMetadata | None:
        if blob_id in self._metadata:
            self._metadata.move_to_end(blob_id)
        return self._metadata.get(blob_id)

    def keep_metadata(self, blob_id: BlobId, metadata: BlobMetadata) -> None:
        if blob_id in self._metadata:
            return
        self._metadata[blob_id] = metadata
        self._n_pairs += metadata.n_shards
        while len(self._metadata) > METADATA_MAX or self._n_pairs > METADATA_PAIRS_MAX:
            _, dropped = self._metadata.popitem(last=False)
            self._n_pairs -= dropped.n_shards

    def blob(self, blob_id: BlobId) -> bytes | None:
        if blob_id in self._blobs:
            self._blobs.move_to_end(blob_id)
        return self._blobs.get(blob_id)

    def takes(self, size_bytes: int) -> bool:
        """Whether a blob of this size would be kept."""
        return 0 < size_bytes <= self._capacity_bytes // SHARE_OF_ONE_BLOB

    def keep_blob(self, blob_id: BlobId, data: bytes) -> None:
        if not self.takes(len(data)) or blob_id in self._blobs:
            return
        self._blobs[blob_id] = data
        self.size_bytes += len(data)
        while self.size_bytes > self._capacity_bytes:
            _, dropped = self._blobs.popitem(last=False)
            self.size_bytes -= len(dropped)
