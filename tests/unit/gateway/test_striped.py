"""Blobs in stripes over HTTP: streamed in and out, by range, checked before the last byte."""

from __future__ import annotations

import itertools

import pytest
from starlette.requests import ClientDisconnect

from haulout.codec import sizes

SYMBOL = 64
STRIPE = 4 * 7 * SYMBOL
SIZE = 19 * STRIPE + 700


@pytest.fixture(autouse=True)
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes of a few hundred bytes, and what is beyond RS2 begins early."""
    monkeypatch.setattr(sizes, "RS8_SYMBOL_BYTES_MAX", SYMBOL)
    monkeypatch.setattr(sizes, "RS2_SYMBOL_BYTES_MAX", SYMBOL)
    monkeypatch.setattr(sizes, "SEGMENT_BYTES", 8 * 7 * SYMBOL)


@pytest.fixture(params=[0, 1 << 20], ids=["streamed", "cached"])
def gateway(make_gateway, request):
    return make_gateway(cache_bytes=request.param)


async def test_comes_back_whole_and_in_ranges(gateway, make_data, monkeypatch) -> None:
    monkeypatch.setattr("haulout.gateway.publisher.SPILL_THRESHOLD_BYTES", 1_000)  # through a file
    data = make_data(SIZE)
    response = await gateway.put(data)
    assert response.json()["newlyCreated"]["blobObject"]["encodingType"] == "RS8"
    path = response.headers["location"]
    whole = await gateway.get(path)
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, data, str(SIZE))
    for start, end in itertools.combinations([0, 1, STRIPE, 9 * STRIPE + 5, SIZE - 1], 2):
        part = await gateway.get(path, range=f"bytes={start}-{end}")
        assert (part.status_code, part.content) == (206, data[start : end + 1])
        assert part.headers["content-range"] == f"bytes {start}-{end}/{SIZE}"
        assert part.headers["content-length"] == str(end + 1 - start)
    for query in ("strict_consistency_check", "skip_consistency_check"):
        assert (await gateway.get(f"{path}?{query}=true")).content == data
    strict = await gateway.get(f"{path}?strict_consistency_check=true", range="bytes=5-9")
    assert strict.content == data[5:10]
    assert list(gateway.spill.iterdir()) == []
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_an_empty_blob_in_stripes(gateway) -> None:
    response = await gateway.put(b"", "epochs=5&encoding_type=RS8")
    assert response.json()["newlyCreated"]["blobObject"]["encodingType"] == "RS8"
    whole = await gateway.get(response.headers["location"])
    assert (whole.status_code, whole.content) == (200, b"")


async def test_too_few_nodes_are_said_before_the_first_byte(make_gateway, world, make_data, reason_of) -> None:
    gateway = make_gateway(cache_bytes=0)
    path = await gateway.stored(make_data(SIZE))
    world.only(3)
    response = await gateway.get(path)
    assert (response.status_code, reason_of(response)) == (503, "BLOB_UNAVAILABLE")


async def test_a_reader_that_hangs_up_leaves_nothing(make_gateway, make_data, monkeypatch) -> None:
    monkeypatch.setattr("haulout.client.spool.CHUNK_BYTES", 100)
    gateway = make_gateway(cache_bytes=0)
    path = await gateway.stored(make_data(SIZE))
    sent = []

    async def receive():
        return {"type": "http.disconnect"} if sent else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)
        if len(sent) > 3:
            raise OSError("the client is gone")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    with pytest.raises((ClientDisconnect, OSError)):
        await gateway.world.run(gateway.app(scope, receive, send))
    assert list(gateway.spill.iterdir()) == []
    assert gateway.network.reads.used_bytes == 0
