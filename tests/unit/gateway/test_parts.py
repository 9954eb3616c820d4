"""The cache, the load limit and the table from errors to HTTP, each by itself."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from starlette.responses import Response

from haulout.errors import BlobTooLarge, Corrupt, DiskFull, Forbidden, HauloutError, Unreachable, WrongEpoch
from haulout.gateway.cache import METADATA_MAX, BlobCache
from haulout.gateway.errors import TooManyRequests, error_response, status_of
from haulout.gateway.limits import LoadLimit
from haulout.ledger.refusals import InsufficientFunds


def test_the_blob_used_longest_ago_goes_first_and_the_bytes_are_counted() -> None:
    cache = BlobCache(100)
    for name in (b"a", b"b", b"c", b"d"):
        cache.keep_blob(name, bytes(25))
    cache.blob(b"a")
    cache.keep_blob(b"e", bytes(20))
    assert [name for name in (b"a", b"b", b"c", b"d", b"e") if cache.blob(name) is not None] == [b"a", b"c", b"d", b"e"]
    assert cache.size_bytes == 95


def test_keeping_a_blob_twice_counts_it_once() -> None:
    cache = BlobCache(100)
    cache.keep_blob(b"a", bytes(20))
    cache.keep_blob(b"a", bytes(20))
    assert cache.size_bytes == 20


@pytest.mark.parametrize(("size", "takes"), [(0, False), (1, True), (25, True), (26, False)])
def test_a_blob_may_have_a_quarter_of_the_cache(size, takes) -> None:
    cache = BlobCache(100)
    cache.keep_blob(b"a", bytes(size))
    assert (cache.blob(b"a") is not None) is takes is cache.takes(size)


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache = BlobCache(0)
    cache.keep_blob(b"a", b"x")
    assert cache.blob(b"a") is None
    assert cache.size_bytes == 0


@pytest.mark.parametrize(("n_shards", "n_kept"), [(4, METADATA_MAX), (1_000, 262)])
def test_metadata_is_bounded_by_number_and_by_size(n_shards, n_kept) -> None:
    cache = BlobCache(0)
    for number in range(METADATA_MAX + 1):
        cache.keep_metadata(number.to_bytes(2, "big"), SimpleNamespace(n_shards=n_shards))
    kept = [number for number in range(METADATA_MAX + 1) if cache.metadata(number.to_bytes(2, "big")) is not None]
    assert kept == list(range(METADATA_MAX + 1 - n_kept, METADATA_MAX + 1))


async def test_beyond_served_and_waiting_requests_are_sent_away_at_once() -> None:
    limit = LoadLimit("publisher", served=1, admitted=2)
    inside, release = asyncio.Event(), asyncio.Event()

    async def request() -> None:
        async with limit.admit():
            inside.set()
            await release.wait()

    first, second = asyncio.create_task(request()), asyncio.create_task(request())
    await inside.wait()
    with pytest.raises(TooManyRequests, match="the publisher is receiving too many requests"):
        async with limit.admit():
            pass
    second.cancel()  # a client that stops waiting gives its place back
    await asyncio.gather(second, return_exceptions=True)
    assert limit.admitted == 1
    release.set()
    await first
    assert limit.admitted == 0


async def test_a_slot_is_taken_until_the_answer_was_sent() -> None:
    limit = LoadLimit("aggregator", served=1, admitted=1)

    async def handle() -> Response:
        return Response(b"x")

    async def broken() -> Response:
        raise DiskFull(path="x")

    async def send(message) -> None:
        assert limit.admitted == 1
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    with pytest.raises(DiskFull):
        await limit.serve(broken)
    assert limit.admitted == 0
    response = await limit.serve(handle)
    with pytest.raises(OSError, match="gone"):
        await response({"type": "http"}, None, send)
    assert limit.admitted == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BlobTooLarge(size_bytes=2, limit_bytes=1, n_shards=4), ("SIZE_EXCEEDED", 413)),
        (DiskFull(path="x"), ("UNAVAILABLE", 503)),
        (InsufficientFunds(address="0x1", available_frost=1, needed_frost=2), ("FAILED_PRECONDITION", 402)),
        (WrongEpoch(request_epoch=1, server_epoch=2), ("FAILED_PRECONDITION", 400)),
        (Unreachable(peer="x", problem="y"), ("UNAVAILABLE", 503)),
        (TooManyRequests(role="publisher"), ("RESOURCE_EXHAUSTED", 429)),
        (Forbidden("x"), ("PERMISSION_DENIED", 403)),
        (Corrupt("x"), ("INTERNAL", 500)),
        (HauloutError("x"), ("INTERNAL", 500)),
    ],
)
def test_each_error_has_its_status(error, status) -> None:
    assert status_of(error) == status
    response = error_response(error)
    assert response.status_code == status[1]
    document = json.loads(response.body)["error"]
    assert (document["status"], document["code"]) == status
    assert ("retry-after" in response.headers) is (status[1] in (429, 503))
