"""Everything that is stored is read again at a set rate, so that damage is found while others can still repair it.

A sliver that does not match its checksum is forgotten and listed as lacking (`Vault.sliver`); `BlobSync` rebuilds it.
The round goes blob by blob and starts over at the end; where it stands is not kept, since a round that a restart cut
off has done its work up to there.
"""

from __future__ import annotations

from haulout.node.identity import NodeSettings
from haulout.node.metrics import NodeMetrics
from haulout.node.records import names_in
from haulout.node.vault import Vault
from haulout.ports import Clock
from haulout.primitives import BlobId

PAGE = 64
LAST = BlobId(b"\xff" * 32)
SLICE_MS = 250  # of reading, then a rest as long as the rate asks for
READ_BYTES_MIN = 4_096  # that a read counts for: many small slivers take time, too


class Scrubber:
    """Reads again what a vault holds."""

    def __init__(self, vault: Vault, clock: Clock, metrics: NodeMetrics, settings: NodeSettings) -> None:
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._bytes_per_s = settings.scrub_bytes_per_s
        self._pause_ms = settings.scrub_pause_ms
        self._round_ms = 0  # when the round began that goes on, or that has ended
        self._round_before_ms = 0
        self._position: BlobId | None = None  # read in this round up to here

    def checked_ms(self, blob_id: BlobId) -> int:
        """Since when everything that is held of a blob has been read again and compared; 0 when it has not been."""
        is_done = self._position is not None and blob_id <= self._position
        return self._round_ms if is_done else self._round_before_ms

    async def run(self) -> None:
        """Scrub round after round until cancelled; a rate of 0 means never."""
        self._metrics.last_scrub.set(self._clock.now_ms() / 1000)
        while self._bytes_per_s:
            await self._clock.sleep_ms(self._pause_ms)
            await self.run_once()

    async def run_once(self) -> int:
        """One round over everything; returns the bytes read."""
        total = due = 0
        after: BlobId | None = None
        self._round_before_ms, self._round_ms, self._position = self._round_ms, self._clock.now_ms(), None
        while page := self._vault.slivers.blob_ids(after=after, limit=PAGE):
            after = page[-1]
            for blob_id in page:
                n_reads, n_bytes = await self.read_blob(blob_id)
                self._position = blob_id
                total += n_bytes
                due += max(n_bytes, n_reads * READ_BYTES_MIN)
                if self._bytes_per_s and due >= self._bytes_per_s * SLICE_MS // 1000:
                    await self._clock.sleep_ms(1000 * due // self._bytes_per_s)
                    due = 0
        self._position = LAST
        self._metrics.scrub_rounds.inc()
        self._metrics.last_scrub.set(self._clock.now_ms() / 1000)
        return total

    async def read_blob(self, blob_id: BlobId) -> tuple[int, int]:
        """Read all of a blob and list what is damaged; returns the number of reads and of bytes."""
        n_reads = 1
        metadata = await self._vault.metadata_bytes(blob_id)
        n_bytes = 0 if metadata is None else len(metadata)
        slivers = self._vault.slivers
        # What is there is told by the rows of what is there: the metadata may be what is damaged.
        in_pieces = slivers.pieces.segments_held(blob_id, durable_only=True)
        for shard_index in sorted({shard for shard, _ in in_pieces}):
            for name in slivers.pieces.names_on_shard(blob_id, shard_index):
                piece = await self._vault.piece(blob_id, name)
                n_reads += 1
                n_bytes += 0 if piece is None else len(piece.data)
        whole = [name for name in names_in(slivers.held_mask(blob_id, durable_only=True)) if name not in in_pieces]
        n_reads += len(whole)
        async for _, sliver in self._vault.slivers_of(blob_id, whole):
            n_bytes += len(sliver)
        self._metrics.scrubbed_bytes.inc(n_bytes)
        return n_reads, n_bytes
