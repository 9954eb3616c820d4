"""What comes back over HTTP: bytes, headers, and for everything that is wrong a coded error."""

from __future__ import annotations

import base64
import errno

import pytest
from starlette.requests import ClientDisconnect

from haulout import codec
from haulout.codec import sizes
from haulout.errors import Unreachable
from haulout.gateway import aggregator, publisher
from haulout.primitives import blob_id_text

UNKNOWN = "/v1/blobs/" + blob_id_text(bytes(32))
LIMIT = sizes.max_blob_size_bytes(10)


async def test_what_is_put_can_be_had_with_the_headers_of_a_cacheable_thing(gateway, make_data) -> None:
    data = make_data(3_000)
    answer = await gateway.put(data)
    assert answer.status_code == 200
    created = answer.json()["newlyCreated"]
    blob_id = blob_id_text(codec.compute_blob_id(data, 10)[0])
    assert created["blobObject"]["blobId"] == blob_id
    assert created["blobObject"]["certifiedEpoch"] == 1
    assert answer.headers["location"] == f"/v1/blobs/{blob_id}"
    got = await gateway.get(f"/v1/blobs/{blob_id}")
    assert (got.status_code, got.content) == (200, data)
    assert got.headers["etag"] == f'"{blob_id}"'
    assert got.headers["content-length"] == "3000"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"].startswith("public")
    assert "content-type" not in got.headers
    by_object = await gateway.get(f"/v1/blobs/by-object-id/{created['blobObject']['id']}")
    assert by_object.content == data
    assert gateway.inflight_bytes == 0


async def test_the_second_put_of_the_same_pays_nothing(gateway, make_data) -> None:
    await gateway.store(make_data(100))
    balance = gateway.world.balance()
    answer = await gateway.put(make_data(100))
    assert list(answer.json()) == ["alreadyCertified"]
    assert gateway.world.balance() == balance


async def test_an_empty_body_is_a_blob(gateway) -> None:
    path = await gateway.store(b"")
    got = await gateway.get(path)
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "0")
    assert (await gateway.get(path, range="bytes=0-0")).status_code == 416


async def test_a_body_in_chunks_of_unknown_length(gateway, make_data) -> None:
    data = make_data(5_000)

    async def chunks():
        for at in range(0, len(data), 700):
            yield data[at : at + 700]

    answer = await gateway.put(chunks())
    assert answer.status_code == 200
    assert (await gateway.get(answer.headers["location"])).content == data


async def test_a_body_that_spills_to_disk_leaves_nothing_there(gateway, make_data, monkeypatch) -> None:
    monkeypatch.setattr(publisher, "SPILL_THRESHOLD_BYTES", 1_000)
    monkeypatch.setattr("haulout.client.network.SPILL_THRESHOLD_BYTES", 1_000)
    data = make_data(50_000)
    path = await gateway.store(data)
    assert (await gateway.get(path)).content == data
    assert list(gateway.spill.iterdir()) == []


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_over_the_networks_largest_blob(gateway, refusal, is_chunked) -> None:
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(LIMIT // (1 << 16) + 1_000):
            sent += 1 << 16
            yield bytes(1 << 16)

    if is_chunked:
        answer = await gateway.put(chunks())
        assert sent <= LIMIT + (2 << 16)
    else:
        answer = await gateway.put(b"x", headers={"content-length": str(LIMIT + 1)})
    assert refusal(answer) == (413, "BLOB_TOO_LARGE")
    assert str(LIMIT) in answer.json()["error"]["message"]
    assert gateway.inflight_bytes == 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("epochs=0", "INVALID_EPOCHS"),
        ("epochs=99999", "INVALID_EPOCHS"),
        ("epochs=-1", "MALFORMED_REQUEST"),
        ("epochs=five", "MALFORMED_REQUEST"),
        ("epochs=1&epochs=2", "MALFORMED_REQUEST"),
        ("epoch=5", "MALFORMED_REQUEST"),
        ("deletable=maybe", "MALFORMED_REQUEST"),
        ("deletable=true&permanent=true", "INVALID_BLOB_PERSISTENCE"),
        ("encoding_type=RS9", "MALFORMED_REQUEST"),
        ("encoding_type=RS8", "UNSUPPORTED_ENCODING_TYPE"),
        ("send_object_to=bob", "MALFORMED_REQUEST"),
        ("share=true", "SHARE_NOT_SUPPORTED"),
    ],
)
async def test_what_a_store_refuses(gateway, refusal, query, reason) -> None:
    balance = gateway.world.balance()
    answer = await gateway.put(b"hello", query)
    assert refusal(answer) == (400, reason)
    assert gateway.world.balance() == balance


@pytest.mark.parametrize(
    ("query", "is_deletable"), [("permanent=true", False), ("permanent", False), ("deletable=true", True), ("", True)]
)
async def test_blobs_are_deletable_unless_they_are_to_be_permanent(gateway, query, is_deletable) -> None:
    answer = await gateway.put(b"hello", query)
    assert answer.json()["newlyCreated"]["blobObject"]["deletable"] is is_deletable


async def test_an_account_without_funds(make_gateway, refusal) -> None:
    assert refusal(await make_gateway(account="pauper").put(b"hello")) == (402, "INSUFFICIENT_FUNDS")


async def test_a_store_while_the_ledger_is_down_ends_with_503(make_gateway, world, refusal) -> None:
    class DeadLedger:
        async def submit(self, raw, *, wait_ms=0):
            raise Unreachable(peer="ledger", problem="it is down")

    gateway = make_gateway(ledger=DeadLedger())
    before_us = world.clock.us
    assert refusal(await gateway.put(b"hello")) == (503, "UNREACHABLE")
    assert world.clock.us - before_us < 25_000_000
    assert gateway.inflight_bytes == 0


async def test_a_store_without_a_quorum_ends_with_504_in_time(gateway, world, refusal) -> None:
    world.only(0, 1, 2)
    before_us = world.clock.us
    answer = await gateway.put(b"hello")
    assert refusal(answer) == (504, "INSUFFICIENT_CONFIRMATIONS")
    assert world.clock.us - before_us < 20_000_000
    assert "node-3: unreachable" in answer.json()["error"]["message"]


async def test_a_full_disk_under_the_spill_folder(gateway, refusal, monkeypatch) -> None:
    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(publisher.tempfile, "SpooledTemporaryFile", lambda **_: FullFile())
    answer = await gateway.put(b"hello")
    assert refusal(answer) == (503, "DISK_FULL")
    assert answer.headers["retry-after"] == "1"
    assert gateway.inflight_bytes == 0


async def test_a_full_disk_under_the_encoded_slivers(gateway, refusal, monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("haulout.client.network.SPILL_THRESHOLD_BYTES", 1_000)
    monkeypatch.setattr("os.posix_fallocate", full)
    balance = gateway.world.balance()
    assert refusal(await gateway.put(bytes(5_000))) == (503, "DISK_FULL")
    assert gateway.world.balance() == balance
    assert list(gateway.spill.iterdir()) == []


async def test_a_range(gateway, make_data) -> None:
    data = make_data(20_000)
    path = await gateway.store(data)
    for header, first, last in (("bytes=5-14", 5, 14), ("bytes=19990-", 19_990, 19_999), ("bytes=1-19998", 1, 19_998)):
        got = await gateway.get(path, range=header)
        assert (got.status_code, got.content) == (206, data[first : last + 1])
        assert got.headers["content-range"] == f"bytes {first}-{last}/20000"
        assert got.headers["content-length"] == str(last - first + 1)


async def test_a_range_outside_tells_the_size(gateway, make_data, refusal) -> None:
    path = await gateway.store(make_data(100))
    got = await gateway.get(path, range="bytes=100-")
    assert refusal(got) == (416, "INVALID_BYTE_RANGE")
    assert got.headers["content-range"] == "bytes */100"


async def test_if_range_with_another_etag_gets_the_whole(gateway, make_data) -> None:
    path = await gateway.store(make_data(100))
    etag = path.rpartition("/")[2]
    assert (await gateway.get(path, range="bytes=0-1", if_range='"other"')).status_code == 200
    assert (await gateway.get(path, range="bytes=0-1", if_range=f'"{etag}"')).status_code == 206


async def test_if_none_match_is_answered_without_the_nodes(gateway, make_data) -> None:
    path = await gateway.store(make_data(100))
    gateway.world.only()
    got = await gateway.get(path, if_none_match=f'"{path.rpartition("/")[2]}"')
    assert (got.status_code, got.content) == (304, b"")


async def test_head_has_the_headers_of_get_and_asks_no_node(gateway, make_data) -> None:
    path = await gateway.store(make_data(100))
    whole = await gateway.get(path)
    gateway.world.only()
    head = await gateway.call("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)


async def test_content_type_mirrors_accept_and_never_a_wildcard(gateway, make_data) -> None:
    path = await gateway.store(make_data(100))
    assert (await gateway.get(path, accept="image/png")).headers["content-type"] == "image/png"
    assert "content-type" not in (await gateway.get(path, accept="image/*")).headers


async def test_a_read_from_the_cache_needs_no_node_and_still_asks_whether_the_blob_exists(gateway, make_data) -> None:
    data = make_data(100)
    path = await gateway.store(data)
    await gateway.get(path)
    gateway.world.only()
    assert (await gateway.get(path)).content == data
    assert (await gateway.get(path, range="bytes=1-2")).content == data[1:3]
    hits = gateway.registry.get_sample_value("haulout_cache_requests_total", {"result": "hit"})
    assert hits == 2
    assert (await gateway.get(f"{path}?strict_consistency_check=true", range="bytes=1-2")).status_code == 503


async def test_too_few_nodes(gateway, make_data, refusal) -> None:
    path = await gateway.store(make_data(100))
    gateway.world.only(0)
    got = await gateway.get(path)
    assert refusal(got) == (503, "BLOB_UNAVAILABLE")
    assert "retry-after" in got.headers


@pytest.mark.parametrize("alive", [(), (0, 1, 2, 3, 4)])
async def test_an_unknown_id_is_404_however_many_nodes_are_down(gateway, refusal, alive) -> None:
    gateway.world.only(*alive)
    assert refusal(await gateway.get(UNKNOWN)) == (404, "BLOB_NOT_FOUND")
    assert (await gateway.call("HEAD", UNKNOWN)).status_code == 404
    assert refusal(await gateway.get("/v1/blobs/by-object-id/0x01")) == (404, "BLOB_NOT_FOUND")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/blobs/short",
        "/v1/blobs/" + "A" * 42 + "B",
        "/v1/blobs/" + "A" * 44,
        "/v1/blobs/%00",
        "/v1/blobs/" + base64.b64encode(b"\xff" * 32).decode().rstrip("=").replace("/", "%2F"),
        "/v1/blobs/short/status",
        "/v1/blobs/by-object-id/xyz",
        "/v1/blobs/by-object-id/0x" + "1" * 65,
    ],
)
async def test_ids_that_do_not_read(gateway, refusal, path) -> None:
    answer = await gateway.get(path)
    assert refusal(answer) in ((400, "MALFORMED_REQUEST"), (404, "ROUTE_NOT_FOUND"))
    assert answer.status_code == 400 or "%2F" in path


async def test_two_opposite_consistency_checks(gateway, refusal) -> None:
    query = "?strict_consistency_check=true&skip_consistency_check=true"
    assert refusal(await gateway.get(UNKNOWN + query)) == (400, "INVALID_CONSISTENCY_CHECK")


async def test_paths_and_methods_that_are_not_there(gateway, refusal) -> None:
    assert refusal(await gateway.get("/v2/blobs")) == (404, "ROUTE_NOT_FOUND")
    answer = await gateway.call("DELETE", UNKNOWN)
    assert refusal(answer) == (405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_errors_too_may_be_read_by_a_browser(gateway) -> None:
    for path in (UNKNOWN, "/v1/blobs/short", "/nowhere"):
        answer = await gateway.get(path, origin="http://page.example")
        assert answer.headers["access-control-allow-origin"] == "*"
    preflight = await gateway.call(
        "OPTIONS", "/v1/blobs", headers={"origin": "http://page.example", "access-control-request-method": "PUT"}
    )
    assert (preflight.status_code, preflight.headers["access-control-max-age"]) == (200, "86400")


async def test_our_own_mistake_tells_nothing_but_a_trace_id(gateway, monkeypatch) -> None:
    async def broken(*_):
        raise KeyError("a secret place")

    monkeypatch.setattr(aggregator, "require_existence", broken)
    answer = await gateway.get(UNKNOWN)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "TraceID: " in answer.text


async def test_the_status_of_a_blob(gateway) -> None:
    async def status(path):
        answer = await gateway.get(path + "/status")
        assert answer.status_code == 200
        return answer.json()

    assert await status(UNKNOWN) == {"blobId": UNKNOWN.rpartition("/")[2], "status": "nonexistent"}
    deletable = await status(await gateway.store(b"deletable"))
    assert deletable["status"]["deletable"]["deletableCounts"] == {
        "count_deletable_total": 1,
        "count_deletable_certified": 1,
    }
    permanent = (await status(await gateway.store(b"permanent", "epochs=3&permanent=true")))["status"]["permanent"]
    assert (permanent["endEpoch"], permanent["isCertified"], permanent["initialCertifiedEpoch"]) == (4, True, 1)


async def test_info_alive_and_ready(gateway) -> None:
    info = (await gateway.get("/v1/info")).json()
    assert info["storageInfo"] == {"nShards": 10, "nNodes": 5}
    assert info["sizeInfo"]["maxBlobSize"] == LIMIT
    assert sum(node["nShards"] for node in info["committeeInfo"]["currentStorageNodes"]) == 10
    assert (await gateway.get("/status")).text == "OK"
    assert (await gateway.get("/ready")).json() == {"ok": True, "reasons": []}
    gateway.not_ready.append("CATCHING_UP: block 1 of 2")
    assert (await gateway.get("/ready")).status_code == 503


async def test_a_client_that_goes_away_while_it_is_sent_to_leaves_nothing_behind(gateway, make_data) -> None:
    path = await gateway.store(make_data(3_000))
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [], "client": None, "server": ("gateway", 80),
    }  # fmt: skip

    with pytest.raises(ClientDisconnect):
        await gateway.world.run(gateway.app(scope, receive, send))
    assert sent[0]["status"] == 200
    assert gateway.inflight_bytes == 0


async def test_a_client_that_goes_away_while_it_sends_stores_nothing(gateway) -> None:
    balance = gateway.world.balance()
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
        "path": "/v1/blobs", "raw_path": b"/v1/blobs", "query_string": b"epochs=1", "root_path": "",
        "headers": [(b"content-length", b"8")], "client": None, "server": ("gateway", 80),
    }  # fmt: skip
    await gateway.world.run(gateway.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert gateway.world.balance() == balance
    assert gateway.inflight_bytes == 0
