"""Both encodings through sources and sinks: the same as in memory; hashes and checks tell right from wrong."""

import random

import pytest

from haulout import codec
from haulout.codec import ConsistencyCheck, large, rs8
from haulout.codec.errors import InconsistentBlob, NotEnoughSlivers, SliverIndexOutOfRange
from haulout.codec.streams import BytesSource
from haulout.primitives import Axis, EncodingType

N = 10
SIZES = {EncodingType.RS2: 100_001, EncodingType.RS8: 4 * 7 * 16384 * 2 + 777}  # RS8: three stripes


class Slivers:
    """Slivers in memory, written and read in pieces."""

    def __init__(self) -> None:
        self.raw: dict[tuple[Axis, int], bytearray] = {}

    def write(self, axis: Axis, sliver_index: int, offset: int, data: memoryview) -> None:
        sliver = self.raw.setdefault((axis, sliver_index), bytearray())
        sliver.extend(bytes(max(0, offset + len(data) - len(sliver))))
        sliver[offset : offset + len(data)] = data

    def read_into(self, axis: Axis, sliver_index: int, offset: int, out: memoryview) -> None:
        out[:] = self.raw[axis, sliver_index][offset : offset + len(out)]


class Blob:
    """A blob that is being decoded."""

    def __init__(self, size: int) -> None:
        self.raw = bytearray(size)

    def write(self, offset: int, data: memoryview) -> None:
        self.raw[offset : offset + len(data)] = data


@pytest.mark.parametrize("batch_bytes", [1, large.BATCH_BYTES])
@pytest.mark.parametrize("encoding", list(SIZES), ids=lambda encoding: encoding.name)
def test_there_and_back(monkeypatch: pytest.MonkeyPatch, encoding: EncodingType, batch_bytes: int) -> None:
    monkeypatch.setattr(large, "BATCH_BYTES", batch_bytes)
    size = SIZES[encoding]
    data = random.Random(size).randbytes(size)
    expected = codec.encode_blob(data, N, encoding=encoding)
    slivers, scratch, done = Slivers(), Slivers(), list[int]()
    source = BytesSource(data)
    metadata = large.encode_to_store(source, size, N, slivers, encoding=encoding, on_progress=done.append)
    assert metadata == expected.metadata and done[-1] == size
    assert large.compute_metadata(source, size, N, scratch, encoding=encoding) == metadata
    for axis in Axis:
        indices = [9, 1, 7, 4, 8, 0, 2][: codec.sizes.n_source_symbols(axis, N)]
        for index, computed in large.compute_sliver_hashes(metadata, axis, indices, slivers):
            assert computed == metadata.sliver_hash(axis, index)
        blob = Blob(size)
        large.decode_to_sink(metadata, axis, indices, slivers, blob)
        assert blob.raw == data
        with pytest.raises(NotEnoughSlivers):
            large.decode_to_sink(metadata, axis, indices[1:], slivers, blob)
        with pytest.raises(SliverIndexOutOfRange):
            large.decode_to_sink(metadata, axis, [*indices, N], slivers, blob)
    with pytest.raises(SliverIndexOutOfRange):
        next(large.compute_sliver_hashes(metadata, Axis.PRIMARY, [N], slivers))
    slivers.raw[Axis.PRIMARY, 1][-1] ^= 1
    [(_, computed)] = large.compute_sliver_hashes(metadata, Axis.PRIMARY, [1], slivers)
    assert computed != metadata.sliver_hash(Axis.PRIMARY, 1)


@pytest.mark.parametrize("check", [ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT])
@pytest.mark.parametrize("encoding", list(SIZES), ids=lambda encoding: encoding.name)
def test_a_blob_that_was_decoded_to_other_bytes_is_noticed(encoding: EncodingType, check: ConsistencyCheck) -> None:
    size = SIZES[encoding]
    data = bytearray(size)
    metadata = large.encode_to_store(BytesSource(data), size, N, Slivers(), encoding=encoding)
    large.check_blob(metadata, BytesSource(data), [], check, Slivers())
    data[-1] ^= 1
    with pytest.raises(InconsistentBlob):
        large.check_blob(metadata, BytesSource(data), [], check, Slivers())
    large.check_blob(metadata, BytesSource(data), [], ConsistencyCheck.SKIP, Slivers())


def test_it_is_rs8_with_several_stripes() -> None:
    assert rs8.striping_of(SIZES[EncodingType.RS8], N).n_stripes == 3
