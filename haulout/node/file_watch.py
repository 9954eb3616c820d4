"""Files that vanish are missed within seconds, long before a round of scrubbing comes to them.

Only names are looked at: folder by folder, what the rows name is compared with what the disk lists. What is not there
is read, so that it counts as damaged (`Vault.sliver`), is listed as lacking and rebuilt from the others.
"""

from __future__ import annotations

from haulout.node.identity import NodeSettings
from haulout.node.scrubber import Scrubber
from haulout.node.sliver_store import SliverStore
from haulout.ports import Clock
from haulout.primitives import BlobId

SHARE = 50  # of the time, one part is for looking: a large store is looked through less often


class FileWatch:
    """Looks whether all files are still there."""

    def __init__(self, slivers: SliverStore, scrubber: Scrubber, clock: Clock, settings: NodeSettings) -> None:
        self._slivers = slivers
        self._scrubber = scrubber
        self._clock = clock
        self._pause_ms = settings.file_watch_pause_ms

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self._clock.sleep_ms(self._pause_ms)
            await self.run_once()

    async def run_once(self) -> list[BlobId]:
        """Look once for every file; returns the blobs that have lost one."""
        found: list[BlobId] = []
        after: BlobId | None = None
        while following := self._slivers.blob_ids(after=after, limit=1):
            first_byte = following[0][:1]
            started_us = self._clock.monotonic_us()
            for blob_id in await self._slivers.find_lost_files(first_byte):
                await self._scrubber.read_blob(blob_id)
                found.append(blob_id)
            after = BlobId(first_byte + b"\xff" * 31)
            rest_ms = (self._clock.monotonic_us() - started_us) * SHARE // 1000
            if rest_ms:
                await self._clock.sleep_ms(rest_ms)
        return found
