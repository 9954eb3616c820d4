"""What a giver streams, in batches that are verified and made durable as one, and how many of them are held at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from haulout.ports import SliverUpload, SyncedSliver
from haulout.primitives import Axis, BlobId


class OutOfOrder(Exception):
    """Blobs do not come in order of their ids, or a sliver comes twice."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Slivers of one blob that came one after the other."""

    blob_id: BlobId
    slivers: tuple[SliverUpload, ...]
    size_bytes: int


async def in_batches(stream: AsyncIterator[SyncedSliver], *, start: BlobId, batch_bytes: int) -> AsyncIterator[Batch]:
    """A blob's slivers together, or as many of them as reach `batch_bytes`; the blobs are `start` and later ones.

    Raises:
        OutOfOrder: as no giver sends them.
    """
    blob_id = start
    slivers: list[SliverUpload] = []
    size = 0
    seen: set[tuple[int, Axis]] = set()
    async for synced in stream:
        name = (synced.upload.pair_index, synced.upload.axis)
        if synced.blob_id < blob_id or (synced.blob_id == blob_id and name in seen):
            raise OutOfOrder
        if synced.blob_id != blob_id or size >= batch_bytes:
            if slivers:
                yield Batch(blob_id, tuple(slivers), size)
            slivers, size = [], 0
        if synced.blob_id != blob_id:
            blob_id = synced.blob_id
            seen.clear()
        seen.add(name)
        slivers.append(synced.upload)
        size += len(synced.upload.bcs)
    if slivers:
        yield Batch(blob_id, tuple(slivers), size)


class ByteBudget:
    """Bytes that several may hold at once. What is larger than all of it is held when nothing else is."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._freed = asyncio.Event()

    async def take(self, n_bytes: int) -> None:
        """Wait until there is room."""
        while self._held and self._held + n_bytes > self._limit:
            self._freed.clear()
            await self._freed.wait()
        self._held += n_bytes

    def give_back(self, n_bytes: int) -> None:
        """Room for others."""
        self._held -= n_bytes
        self._freed.set()
