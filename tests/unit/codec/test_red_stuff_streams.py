"""Streams give what buffers give: slivers, ids and blobs, whatever the size of a batch; and they can be ended."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout import codec
from haulout.codec import red_stuff_streams as streams
from haulout.codec.errors import InconsistentBlob, NotEnoughSlivers, ShardCountOutOfRange, SliverIndexOutOfRange
from haulout.codec.streams import BytesSource
from haulout.errors import BlobTooLarge
from haulout.primitives import Axis


class Slivers:
    """Slivers in memory, written and read in pieces."""

    def __init__(self) -> None:
        self.raw: dict[tuple[Axis, int], bytearray] = {}

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        sliver = self.raw.setdefault((axis, sliver_index), bytearray())
        sliver.extend(bytes(max(0, offset + len(data) - len(sliver))))
        sliver[offset : offset + len(data)] = data

    def read_into(self, axis: Axis, sliver_index: int, offset: int, out: memoryview) -> None:
        piece = self.raw[axis, sliver_index][offset : offset + len(out)]
        out[:] = piece  # raises if there is less

    def of(self, axis: Axis) -> dict[int, bytes]:
        return {index: bytes(raw) for (on, index), raw in self.raw.items() if on is axis}


class Blob:
    """A blob that is being decoded."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def write(self, offset: int, data: memoryview) -> None:
        self.raw.extend(bytes(max(0, offset + len(data) - len(self.raw))))
        self.raw[offset : offset + len(data)] = data


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(st.integers(4, 40), st.integers(0, 20_000), st.integers(1, 40_000), st.integers(0, 1 << 32))
def test_streams_are_encoded_and_decoded_as_buffers_are(n: int, size: int, batch_bytes: int, seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(size)
    expected = codec.encode_blob(data, n)
    slivers, scratch, progress = Slivers(), Slivers(), list[int]()
    metadata = streams.encode_to_store(
        BytesSource(data), size, n, slivers, on_progress=progress.append, batch_bytes=batch_bytes
    )
    assert metadata == expected.metadata
    assert progress == sorted(progress) and progress[-1] == size
    for axis in Axis:
        assert slivers.of(axis) == {index: bytes(expected.sliver_data(axis, index)) for index in range(n)}
    assert streams.compute_metadata(BytesSource(data), size, n, scratch, batch_bytes=batch_bytes) == metadata
    for axis in Axis:
        indices = chance.sample(range(n), codec.sizes.n_source_symbols(axis, n))
        blob, progress = Blob(), list[int]()
        streams.decode_to_sink(
            metadata, axis, indices, slivers, blob, on_progress=progress.append, batch_bytes=batch_bytes
        )
        assert blob.raw == data
        assert progress == sorted(progress) and progress[-1] == size
        known = indices if axis is Axis.PRIMARY else []
        streams.check_rows(metadata, BytesSource(blob.raw), known, batch_bytes=batch_bytes)


def test_a_wrong_blob_is_noticed() -> None:
    data = bytes(range(250)) * 3
    metadata = codec.encode_blob(data, 10).metadata
    wrong = bytearray(data)
    wrong[-1] ^= 1
    with pytest.raises(InconsistentBlob):
        streams.check_rows(metadata, BytesSource(wrong), [])
    with pytest.raises(InconsistentBlob):
        streams.check_rows(metadata, BytesSource(wrong), range(4))  # the last row has padding
    streams.check_rows(metadata, BytesSource(data), range(4))


def test_too_few_slivers_and_wrong_ones_are_refused() -> None:
    metadata = codec.encode_blob(b"x" * 100, 10).metadata
    with pytest.raises(NotEnoughSlivers) as caught:
        streams.decode_to_sink(metadata, Axis.PRIMARY, [1, 1, 2, 3], Slivers(), Blob())
    assert (caught.value.got, caught.value.needed) == (3, 4)
    with pytest.raises(SliverIndexOutOfRange):
        streams.decode_to_sink(metadata, Axis.PRIMARY, [1, 2, 3, 10], Slivers(), Blob())
    with pytest.raises(ShardCountOutOfRange):
        streams.encode_to_store(BytesSource(b""), 0, 3, Slivers())
    with pytest.raises(BlobTooLarge):
        streams.encode_to_store(BytesSource(b""), 1 << 40, 10, Slivers())


def test_whoever_watches_may_end_it() -> None:
    class Cancelled(Exception):
        pass

    def cancel(done_bytes: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        streams.encode_to_store(BytesSource(b"x" * 5000), 5000, 10, Slivers(), on_progress=cancel)
