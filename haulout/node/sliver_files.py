"""Files that slivers stand in: their names, how bytes get there with their checksums, and are read back and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from haulout.crypto.checksum import checksum, is_intact
from haulout.errors import NotFound
from haulout.node.errors import CorruptRecord
from haulout.node.records import InFile
from haulout.ports import Disk, Workers
from haulout.primitives import BlobId, Buffer
from haulout.world.errors import StorageFailed

FOLDER = "slivers"
HASH_INLINE_BYTES = 256 * 1024  # more than this is hashed by a worker


def path_of(blob_id: bytes, name: bytes) -> str:
    """A file of slivers: `slivers/ab/<blob id>-<name>`, in hex."""
    text = blob_id.hex()
    return f"{FOLDER}/{text[:2]}/{text}-{name.hex()}"


def split_path(path: str) -> tuple[BlobId, bytes] | None:
    """Inverse of `path_of`; None for a file that is none of ours."""
    stem = path.rsplit("/", 1)[-1]
    try:
        blob_text, name_text = stem.split("-")
        return BlobId(bytes.fromhex(blob_text)), bytes.fromhex(name_text)
    except ValueError:
        return None


class SliverFiles:
    """Writes files of a blob, and reads what rows say stands in them."""

    def __init__(self, disk: Disk, workers: Workers) -> None:
        self._disk = disk
        self._workers = workers

    async def write(self, blob_id: BlobId, name: bytes, contents: Sequence[Buffer]) -> list[InFile]:
        """Make a file out of contents one after the other, not yet durable; returns where each stands.

        Raises:
            DiskFull: there is no file.
        """
        digests: list[bytes] = []
        await self._disk.write(path_of(blob_id, name), _noting_checksums(contents, digests))
        places: list[InFile] = []
        offset = 0
        for data, digest in zip(contents, digests, strict=True):
            places.append(InFile(name, offset, len(data), digest))
            offset += len(data)
        return places

    async def read(self, blob_id: BlobId, place: InFile) -> Buffer:
        """The bytes of one place.

        Raises:
            CorruptRecord: they are damaged or gone.
        """
        (found,) = await self.read_all(blob_id, [place])
        if isinstance(found, CorruptRecord):
            raise found
        return found

    async def read_all(self, blob_id: BlobId, places: Sequence[InFile]) -> list[Buffer | CorruptRecord]:
        """The bytes of each place, or what is wrong with it; neighbours are read at once, and all checked together."""
        found: list[Buffer | CorruptRecord] = []
        for run in _runs(places):
            found += await self._read_run(blob_id, run)
        given = [
            (data, place) for data, place in zip(found, places, strict=True) if not isinstance(data, CorruptRecord)
        ]
        if sum(len(data) for data, _ in given) <= HASH_INLINE_BYTES:
            damaged = _damaged(given)
        else:
            damaged = await self._workers.run(_damaged, given)
        for index, place in enumerate(places):
            if place in damaged:
                found[index] = CorruptRecord(what=f"file {path_of(blob_id, place.name)} at {place.offset}")
        return found

    async def _read_run(self, blob_id: BlobId, run: Sequence[InFile]) -> list[Buffer | CorruptRecord]:
        path = path_of(blob_id, run[0].name)
        start, size = run[0].offset, sum(place.size_bytes for place in run)
        try:
            data = await self._disk.read(path, offset=start, length=size)
        except NotFound:
            return [CorruptRecord(what=f"file {path} (gone)") for _ in run]
        except StorageFailed as e:
            if len(run) == 1:
                return [CorruptRecord(what=f"file {path} ({e.problem})")]
            # A bad sector costs what it is in, neither its neighbours nor the node.
            return [found for place in run for found in await self._read_run(blob_id, [place])]
        if len(run) == 1:
            return [data]
        view = memoryview(data)
        return [view[place.offset - start :][: place.size_bytes] for place in run]


def _noting_checksums(contents: Sequence[Buffer], digests: list[bytes]) -> Iterator[Buffer]:
    """Contents as they are; each is hashed where it is written next, so that it comes out of memory once."""
    for data in contents:
        digests.append(checksum(data))
        yield data


def _runs(places: Sequence[InFile]) -> Iterator[list[InFile]]:
    """Places one after the other in one file."""
    run: list[InFile] = []
    for place in places:
        if run and (place.name, place.offset) != (run[-1].name, run[-1].offset + run[-1].size_bytes):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _damaged(given: Sequence[tuple[Buffer, InFile]]) -> list[InFile]:
    return [place for data, place in given if len(data) != place.size_bytes or not is_intact(data, place.checksum)]
