"""`GET /v1/blobs/…`: bytes, ranges, conditions, headers, and errors that name the reason."""

from __future__ import annotations

import pytest
from starlette.requests import ClientDisconnect

from haulout.ledger.commands import DeleteBlob, Existing, SetBlobAttribute
from haulout.primitives import hex_id_text, parse_blob_id

SIZE = 5_000
COMMON = {
    "x-content-type-options": "nosniff",
    "cache-control": "public, max-age=86400, stale-while-revalidate=3600",
    "accept-ranges": "bytes",
}


@pytest.fixture
async def path(gateway, make_data) -> str:
    return await gateway.stored(make_data(SIZE))


async def object_path(gateway, path: str) -> tuple[str, bytes]:
    [(object_id, _)] = await gateway.network.view.registrations(
        parse_blob_id(path.rpartition("/")[2]), gateway.world.wallet.address
    )
    return f"/v1/blobs/by-object-id/{hex_id_text(object_id)}", object_id


async def set_attributes(gateway, object_id: bytes, **attributes: str) -> None:
    commands = [
        SetBlobAttribute(Existing(object_id), name.replace("_", "-"), text) for name, text in attributes.items()
    ]
    result = await gateway.world.run(gateway.world.wallet.execute(commands))
    await gateway.world.run(gateway.network.view.reach(result.height))


async def test_a_whole_blob(gateway, path, make_data) -> None:
    response = await gateway.get(path)
    assert (response.status_code, response.content) == (200, make_data(SIZE))
    assert response.headers["etag"] == f'"{path.rpartition("/")[2]}"'
    assert response.headers["content-length"] == str(SIZE)
    assert {name: response.headers[name] for name in COMMON} == COMMON
    assert "Accept" in response.headers["vary"]
    assert "content-type" not in response.headers
    assert gateway.metric("haulout_http_inflight_bytes") == 0
    assert list(gateway.spill.iterdir()) == []


async def test_head_has_the_headers_of_get_and_asks_no_node(gateway, path) -> None:
    get, calls = await gateway.get(path), gateway.node_calls()
    head = await gateway.ask("HEAD", path)
    assert (head.status_code, head.content, gateway.node_calls()) == (200, b"", calls)
    ours = {"access-control-expose-headers"}
    assert {k: v for k, v in head.headers.items() if k not in ours} == {
        k: v for k, v in get.headers.items() if k not in ours
    }


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=4990-", 4_990, SIZE), ("bytes=-7", SIZE - 7, SIZE),
     ("bytes=4000-99999", 4_000, SIZE), ("bytes=1-4998", 1, 4_999), ("bytes=-99999", 0, SIZE)],
)  # fmt: skip
async def test_ranges(gateway, path, make_data, header, start, stop) -> None:
    response = await gateway.get(path, range=header)
    assert (response.status_code, response.content) == (206, make_data(SIZE)[start:stop])
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert response.headers["content-length"] == str(stop - start)
    assert list(gateway.spill.iterdir()) == []


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=0-1,3-4", "pages=1-2", "bytes"])
async def test_ranges_that_do_not_read_give_the_whole(gateway, path, header) -> None:
    assert (await gateway.get(path, range=header)).status_code == 200


async def test_a_range_outside_is_416_with_the_size(gateway, path, reason_of) -> None:
    response = await gateway.get(path, range=f"bytes={SIZE}-")
    assert (response.status_code, reason_of(response)) == (416, "INVALID_BYTE_RANGE")
    assert response.headers["content-range"] == f"bytes */{SIZE}"


async def test_an_empty_blob_has_no_range(gateway, reason_of) -> None:
    path = await gateway.stored(b"")
    whole = await gateway.get(path)
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", "0")
    assert reason_of(await gateway.get(path, range="bytes=0-0")) == "INVALID_BYTE_RANGE"


async def test_if_range_gives_the_part_only_of_the_same_blob(gateway, path) -> None:
    etag = f'"{path.rpartition("/")[2]}"'
    assert (await gateway.get(path, range="bytes=0-9", if_range=etag)).status_code == 206
    assert (await gateway.get(path, range="bytes=0-9", if_range='"other"')).status_code == 200
    assert (await gateway.get(path, range="bytes=0-9", if_range="Wed, 21 Oct 2015 07:28:00 GMT")).status_code == 200


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', '"x", "{}"', "*"])
async def test_a_known_tag_is_304_without_asking_a_node(gateway, path, form) -> None:
    calls = gateway.node_calls()
    response = await gateway.get(path, if_none_match=form.format(path.rpartition("/")[2]))
    assert (response.status_code, response.content, gateway.node_calls()) == (304, b"", calls)
    assert response.headers["etag"] == f'"{path.rpartition("/")[2]}"'


async def test_the_content_type_is_what_the_request_accepts(gateway, path) -> None:
    assert (await gateway.get(path, accept="video/mp4")).headers["content-type"] == "video/mp4"
    assert "content-type" not in (await gateway.get(path, accept="video/*")).headers
    mirrored = await gateway.get(path, accept="*/*", content_type="image/png")
    assert mirrored.headers["content-type"] == "image/png"


# --- by object ----------------------------------------------------------------------------------------------


async def test_attributes_on_the_list_become_headers_and_never_replace_ours(gateway, path, make_data) -> None:
    by_object, object_id = await object_path(gateway, path)
    await set_attributes(
        gateway,
        object_id,
        Content_Type="video/mp4",
        content_disposition="inline",
        etag="mine",
        x_secret="hidden",
        content_language="a\r\nset-cookie: b",
        link="ünsafe",
    )
    for headers in ({}, {"range": "bytes=0-9"}):
        response = await gateway.get(by_object, **headers)
        assert response.content == make_data(SIZE)[: 10 if headers else None]
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["content-disposition"] == "inline"
        assert response.headers["etag"] == f'"{path.rpartition("/")[2]}"'
        assert not {"x-secret", "content-language", "link", "set-cookie"} & set(response.headers)
    accepted = await gateway.get(by_object, accept="text/plain")
    assert accepted.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("object_id", ["0x1", "0x" + "0" * 64])
async def test_an_unknown_object_is_404(gateway, reason_of, object_id) -> None:
    response = await gateway.get(f"/v1/blobs/by-object-id/{object_id}")
    assert (response.status_code, reason_of(response)) == (404, "BLOB_NOT_FOUND")


# --- what is not there, and what cannot be had --------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["short", "A" * 42 + "B", "A" * 44, "A" * 42 + "+", "%00", "by-object-id", "by-object-id/7"]
)
async def test_refuses_ids_that_do_not_read(gateway, reason_of, text) -> None:
    response = await gateway.get(f"/v1/blobs/{text}")
    assert (response.status_code, reason_of(response)) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize("alive", [(), (0, 1, 2, 3, 4)])
async def test_an_unknown_id_is_404_however_many_nodes_are_down(gateway, world, reason_of, alive) -> None:
    world.only(*alive)
    response = await gateway.get("/v1/blobs/" + "A" * 43)
    assert (response.status_code, reason_of(response)) == (404, "BLOB_NOT_FOUND")
    assert gateway.node_calls() == 0


async def test_too_few_nodes_are_503_with_the_counts(gateway, world, path, reason_of) -> None:
    world.only(2)
    response = await gateway.get(path)
    assert (response.status_code, reason_of(response)) == (503, "BLOB_UNAVAILABLE")
    metadata = response.json()["error"]["details"][0]["metadata"]
    assert (metadata["got"], metadata["needed"]) == ("2", "4")
    assert int(response.headers["retry-after"]) >= 1
    world.only(0, 2)
    assert (await gateway.get(path)).status_code == 200


async def test_a_liar_is_named_in_the_metrics(gateway, world, path, make_data) -> None:
    world.nodes[0].lies_about_slivers = True
    world.only(0, 2)  # so that it is asked
    assert (await gateway.get(path)).status_code == 503
    assert gateway.metric("haulout_client_bad_slivers_total", node="node-0")
    assert not gateway.metric("haulout_client_bad_slivers_total", node="node-2")
    world.only(0, 2, 3)
    assert (await gateway.get(path)).content == make_data(SIZE)


@pytest.mark.parametrize("check", ["strict_consistency_check=true", "skip_consistency_check=true", "v=7"])
async def test_consistency_checks_and_unknown_parameters(gateway, path, make_data, check) -> None:
    assert (await gateway.get(f"{path}?{check}")).content == make_data(SIZE)


async def test_both_consistency_checks_are_refused(gateway, path, reason_of) -> None:
    response = await gateway.get(f"{path}?strict_consistency_check=true&skip_consistency_check=true")
    assert (response.status_code, reason_of(response)) == (400, "INVALID_CONSISTENCY_CHECK")


@pytest.mark.parametrize("name", ["strict_consistency_check", "skip_consistency_check"])
async def test_a_check_that_does_not_read_is_refused_rather_than_left_out(gateway, path, reason_of, name) -> None:
    response = await gateway.get(f"{path}?{name}=maybe")
    assert (response.status_code, reason_of(response)) == (400, "MALFORMED_REQUEST")
    assert f"{name}: 'maybe' is neither true nor false" in response.json()["error"]["message"]


# --- the cache ----------------------------------------------------------------------------------------------


async def test_a_cached_blob_needs_no_node_but_has_to_exist(make_gateway, world, make_data, reason_of) -> None:
    gateway = make_gateway(cache_bytes=1 << 20)
    path = await gateway.stored(make_data(SIZE))
    await gateway.get(path)
    world.only()
    assert (await gateway.get(path)).content == make_data(SIZE)
    assert (await gateway.get(path, range="bytes=5-9")).content == make_data(SIZE)[5:10]
    assert gateway.metric("haulout_cache_requests_total", result="hit") == 2
    _, object_id = await object_path(gateway, path)
    result = await world.run(world.wallet.execute([DeleteBlob(Existing(object_id))]))
    await world.run(gateway.network.view.reach(result.height))
    assert reason_of(await gateway.get(path)) == "BLOB_NOT_FOUND"


async def test_a_strict_check_never_comes_from_the_cache(make_gateway, world, make_data, reason_of) -> None:
    gateway = make_gateway(cache_bytes=1 << 20)
    path = await gateway.stored(make_data(SIZE))
    await gateway.get(path)
    world.only()
    for headers in ({}, {"range": "bytes=0-1"}):
        response = await gateway.get(f"{path}?strict_consistency_check=true", **headers)
        assert reason_of(response) == "BLOB_UNAVAILABLE"


# --- clients that go away -----------------------------------------------------------------------------------


async def test_a_reader_that_leaves_early_leaves_nothing_behind(gateway, world, path) -> None:
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "http_version": "1.1",
             "scheme": "http", "server": ("gateway", 80), "root_path": "", "asgi": {"spec_version": "2.4"}}  # fmt: skip

    with pytest.raises(ClientDisconnect):
        await world.run(gateway.app(scope, receive, send))
    assert gateway.metric("haulout_http_inflight_bytes") == 0
    assert list(gateway.spill.iterdir()) == []
    assert gateway.network.reads.used_bytes == 0
