"""What the gateway remembers, and how many it serves."""

from __future__ import annotations

import asyncio

import pytest

from haulout import codec
from haulout.gateway.cache import METADATA_MAX, BlobCache
from haulout.gateway.errors import TooManyRequests
from haulout.gateway.limits import LoadLimit
from haulout.primitives import BlobId


def blob_id(number: int) -> BlobId:
    return BlobId(number.to_bytes(32, "big"))


def test_the_cache_stays_below_its_size_and_forgets_the_oldest() -> None:
    cache = BlobCache(100)
    for number in range(5):
        cache.keep_blob(blob_id(number), bytes([number]) * 25)
        cache.blob(blob_id(0))  # is used again and again
    assert cache.size_bytes == 100
    assert [number for number in range(5) if cache.blob(blob_id(number)) is not None] == [0, 2, 3, 4]
    assert cache.blob(blob_id(4)) == bytes([4]) * 25


def test_one_blob_may_not_push_out_everything() -> None:
    cache = BlobCache(100)
    assert cache.takes(25)
    assert not cache.takes(26)
    cache.keep_blob(blob_id(1), bytes(26))
    assert (cache.blob(blob_id(1)), cache.size_bytes) == (None, 0)


def test_a_blob_kept_twice_counts_once() -> None:
    cache = BlobCache(100)
    for _ in range(2):
        cache.keep_blob(blob_id(1), bytes(20))
    assert cache.size_bytes == 20


def test_a_cache_of_nothing_keeps_no_blob_but_metadata() -> None:
    cache = BlobCache(0)
    _, metadata = codec.compute_blob_id(b"x", 4)
    cache.keep_blob(blob_id(1), b"x")
    for number in range(METADATA_MAX + 1):
        cache.keep_metadata(blob_id(number), metadata)
    assert cache.blob(blob_id(1)) is None
    assert cache.metadata(blob_id(0)) is None
    assert cache.metadata(blob_id(1)) is metadata


async def test_so_many_are_served_so_many_wait_and_the_rest_is_sent_away() -> None:
    limit = LoadLimit("publisher", served=2, admitted=3)
    running, done = 0, asyncio.Event()

    async def request() -> None:
        nonlocal running
        async with limit.admit():
            running += 1
            await done.wait()

    tasks = [asyncio.ensure_future(request()) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert running == 2
    with pytest.raises(TooManyRequests) as refused:
        await tasks[3]
    assert str(refused.value) == "the publisher is receiving too many requests; please try again later"
    done.set()
    await asyncio.gather(*tasks[:3])
    assert (running, limit.admitted) == (3, 0)
