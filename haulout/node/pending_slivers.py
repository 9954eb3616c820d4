"""Slivers that came and are not durable yet: in memory until they fill a file, then in files that nobody has synced."""

from __future__ import annotations

from dataclasses import dataclass, field

from haulout.node.records import FileRow, InFile, Inline, SliverName, bit_of
from haulout.node.sliver_files import SliverFiles, path_of
from haulout.node.store_layout import Layout
from haulout.ports import Clock, Rng
from haulout.primitives import BlobId, Buffer


@dataclass(slots=True)
class Pending:
    """What came for one blob."""

    touched_us: int
    metadata: bytes | None = None
    buffered: dict[SliverName, Buffer] = field(default_factory=dict)
    buffered_bytes: int = 0
    placed: dict[SliverName, InFile] = field(default_factory=dict)
    files: dict[bytes, FileRow] = field(default_factory=dict)

    def mask(self) -> int:
        """Its slivers, as bits `records.bit_of`."""
        mask = 0
        for shard_index, axis in (*self.buffered, *self.placed):
            mask |= bit_of(shard_index, axis)
        return mask

    def find(self, name: SliverName) -> Inline | InFile | None:
        """Where a sliver is, if it came."""
        if name in self.buffered:
            return Inline(bytes(self.buffered[name]))
        return self.placed.get(name)

    def places(self) -> dict[SliverName, Inline | InFile]:
        """Where all of its slivers are; what is in memory stands in its row."""
        return {**self.placed, **{name: Inline(bytes(data)) for name, data in self.buffered.items()}}

    def paths(self, blob_id: BlobId) -> list[str]:
        """Of its files."""
        return [path_of(blob_id, name) for name in self.files]


class PendingSlivers:
    """What is pending of all blobs. All methods that change a blob are called under its lock."""

    def __init__(self, files: SliverFiles, *, clock: Clock, rng: Rng, layout: Layout) -> None:
        self._files = files
        self._clock = clock
        self._rng = rng
        self._layout = layout
        self._blobs: dict[BlobId, Pending] = {}
        self.buffered_bytes = 0  # of all blobs, in memory

    def __contains__(self, blob_id: BlobId) -> bool:
        return blob_id in self._blobs

    def get(self, blob_id: BlobId) -> Pending | None:
        """What is pending of a blob."""
        return self._blobs.get(blob_id)

    def blob_ids(self) -> list[BlobId]:
        """Blobs with something pending."""
        return list(self._blobs)

    def idle_blobs(self, limit_us: int) -> list[BlobId]:
        """Of these, those that nothing was put to since."""
        return [blob_id for blob_id, pending in self._blobs.items() if pending.touched_us <= limit_us]

    def put_metadata(self, blob_id: BlobId, metadata: bytes) -> None:
        """Keep metadata."""
        self._touch(blob_id).metadata = metadata

    async def put(self, blob_id: BlobId, name: SliverName, sliver: Buffer) -> None:
        """Keep a sliver, unless it is pending already.

        Raises:
            DiskFull: it is not kept, those before it are.
        """
        pending = self._touch(blob_id)
        if name in pending.buffered or name in pending.placed:
            return
        if len(sliver) >= self._layout.own_file_bytes:
            await self._write_file(blob_id, pending, {name: sliver})
            return
        pending.buffered[name] = sliver
        self._count_buffered(pending, len(sliver))
        if pending.buffered_bytes >= self._layout.pack_bytes or self.buffered_bytes >= self._layout.buffer_limit_bytes:
            try:
                await self._write_pack(blob_id, pending)
            except BaseException:
                if pending.buffered.pop(name, None) is not None:
                    self._count_buffered(pending, -len(sliver))
                raise

    async def settle(self, blob_id: BlobId) -> Pending:
        """What came for a blob, in the places where it is to stay: a file takes what is too much for rows.

        Raises:
            DiskFull: it is where it was.
        """
        pending = self._blobs.get(blob_id) or Pending(self._clock.monotonic_us())
        if pending.buffered_bytes > self._layout.inline_bytes:
            await self._write_pack(blob_id, pending)
        return pending

    def pop(self, blob_id: BlobId) -> Pending | None:
        """Forget what is pending of a blob: it is durable now, or nobody wants it. Its files stay."""
        pending = self._blobs.pop(blob_id, None)
        if pending is not None:
            self.buffered_bytes -= pending.buffered_bytes
        return pending

    async def _write_pack(self, blob_id: BlobId, pending: Pending) -> None:
        slivers = dict(pending.buffered)
        await self._write_file(blob_id, pending, slivers)
        for name, data in slivers.items():
            if pending.buffered.pop(name, None) is not None:
                self._count_buffered(pending, -len(data))

    async def _write_file(self, blob_id: BlobId, pending: Pending, slivers: dict[SliverName, Buffer]) -> None:
        name = self._rng.random_bytes(8)
        places = await self._files.write(blob_id, name, list(slivers.values()))
        pending.placed.update(zip(slivers, places, strict=True))
        pending.files[name] = FileRow(name, len(places), sum(place.size_bytes for place in places))

    def _touch(self, blob_id: BlobId) -> Pending:
        now = self._clock.monotonic_us()
        pending = self._blobs.get(blob_id)
        if pending is None:
            pending = self._blobs[blob_id] = Pending(now)
        pending.touched_us = now
        return pending

    def _count_buffered(self, pending: Pending, change: int) -> None:
        pending.buffered_bytes += change
        self.buffered_bytes += change
