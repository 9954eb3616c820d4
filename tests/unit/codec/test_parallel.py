"""Parts of a computation in threads give the bytes of one thread, and buffers are shared by nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from haulout import codec
from haulout.codec import parallel
from haulout.codec.scratch import KEPT_BYTES_MAX, borrow, fresh
from haulout.primitives import Axis
from haulout.world.workers import Helpers


@pytest.fixture
def threads() -> Iterator[None]:
    """Three threads for every call."""
    parallel.use(Helpers(2).run)
    yield
    parallel.use(None)


@pytest.mark.parametrize(("n_shards", "size"), [(4, 100_000), (31, 1_000_000), (100, 2_000_000)])
def test_threads_encode_and_decode_the_same_bytes(n_shards: int, size: int, threads: None) -> None:
    data = np.random.default_rng(size).bytes(size)
    parallel.use(None)
    alone = codec.encode_blob(data, n_shards)
    parallel.use(Helpers(2).run)
    with ThreadPoolExecutor(2) as callers:  # two blobs at once, each in threads
        for encoded in callers.map(lambda _: codec.encode_blob(data, n_shards), range(4)):
            assert encoded == alone
    lost = codec.sizes.n_source_symbols(Axis.PRIMARY, n_shards)
    slivers = [alone.sliver(Axis.PRIMARY, index) for index in range(n_shards - lost, n_shards)]
    codec.verify_slivers(alone.metadata, Axis.PRIMARY, slivers)
    assert codec.decode_blob(alone.metadata, slivers, Axis.PRIMARY, check=codec.ConsistencyCheck.STRICT) == data


def test_borrowed_memory_is_lent_to_one_at_a_time() -> None:
    with borrow(3, 1000) as first, borrow(3, 1000) as second:
        assert first.shape == second.shape == (3, 1000)
        assert not np.shares_memory(first, second)
        kept = first.ctypes.data, second.ctypes.data
    with borrow(2999) as again:
        assert again.ctypes.data in kept
    with borrow(KEPT_BYTES_MAX + 1) as large:
        assert large.size == KEPT_BYTES_MAX + 1
    with borrow(0, 7) as nothing:
        assert nothing.size == 0


@pytest.mark.parametrize("size", [0, 1, 63, 64, 100_000])
def test_fresh_memory_begins_at_a_cache_line(size: int) -> None:
    memory = fresh(size)
    assert len(memory) == size and not memory.readonly
    assert np.frombuffer(memory, np.uint8).ctypes.data % 64 == 0 or not size
