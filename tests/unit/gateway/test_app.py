"""What every route has: health, documents about the network, CORS, JSON errors, metrics."""

from __future__ import annotations

import asyncio

import pytest

from haulout.client import documents
from haulout.errors import Unreachable
from haulout.gateway import metrics
from haulout.gateway.errors import status_of
from haulout.gateway.metrics import NO_CONTENT

DURATION_COUNT = "haulout_http_request_duration_seconds_count"


async def test_status_and_ready(gateway, reason_of) -> None:
    alive = await gateway.get("/status")
    assert (alive.status_code, alive.text) == (200, "OK")
    assert (await gateway.get("/ready")).status_code == 200
    gateway.not_ready.append("CATCHING_UP: block 3 of 9")
    response = await gateway.get("/ready")
    assert (response.status_code, response.json()["reasons"]) == (503, ["CATCHING_UP: block 3 of 9"])


async def test_a_view_that_is_behind_does_not_say_what_does_not_exist(gateway, reason_of) -> None:
    unknown, path = "/v1/blobs/" + "A" * 43, await gateway.stored(b"known")
    assert reason_of(await gateway.get(unknown)) == "BLOB_NOT_FOUND"
    gateway.not_ready.append("CATCHING_UP: block 3 of 9")
    response = await gateway.get(unknown)
    assert (response.status_code, reason_of(response)) == (503, "NOT_READY")
    assert "block 3 of 9" in response.text
    assert (await gateway.get(path)).content == b"known"


async def test_info_tells_what_a_client_has_to_know(gateway, world) -> None:
    info = (await gateway.get("/v1/info")).json()
    assert info["epochInfo"]["currentEpoch"] == 1
    assert info["epochInfo"]["startOfCurrentEpoch"] == "2027-01-15T08:00:00Z"
    assert info["epochInfo"]["epochDuration"] == {"secs": 14 * 86_400, "nanos": 0}
    assert info["storageInfo"] == {"nShards": 10, "nNodes": 5}
    assert info["sizeInfo"]["maxBlobSize"] == 3 << 20
    assert info["sizeInfo"]["encodingTypes"] == ["RS2", "RS8"]
    committee = info["committeeInfo"]
    assert (committee["nPrimarySourceSymbols"], committee["nSecondarySourceSymbols"]) == (4, 7)
    nodes = {node["name"]: node for node in committee["currentStorageNodes"]}
    assert sorted(nodes) == [f"node-{index}" for index in range(5)]
    assert sorted(shard for node in nodes.values() for shard in node["shardIds"]) == list(range(10))
    assert nodes["node-3"]["networkAddress"] == "node-3:1"
    assert info["bftInfo"] == {
        "maxFaultyShards": 3,
        "minCorrectShards": 7,
        "quorumThreshold": 7,
        "minNodesAbove": 2,
        "shardsAbove": 4,
    }
    assert info["finality"] == {"sequenced": 0, "committed": 0, "attested": 0}


async def test_info_without_a_ledger_lacks_only_what_the_ledger_alone_knows(make_gateway, monkeypatch) -> None:
    whole = (await make_gateway().get("/v1/info")).json()

    class DeadLedger:
        async def status(self):
            raise Unreachable(peer="ledger", problem="it is down")

    assert (await make_gateway(ledger=DeadLedger()).get("/v1/info")).json() == {**whole, "finality": None}

    class DeafLedger:
        async def status(self):
            await asyncio.Event().wait()

    monkeypatch.setattr(documents, "FINALITY_TIMEOUT_S", 0.05)
    assert (await documents.network_info(make_gateway().network.view, DeafLedger()))["finality"] is None


async def test_blob_status(gateway, make_data) -> None:
    unknown = "A" * 43
    assert (await gateway.get(f"/v1/blobs/{unknown}/status")).json() == {"blobId": unknown, "status": "nonexistent"}
    await gateway.put(make_data(10), "epochs=2")
    path = (await gateway.put(make_data(10), "epochs=3&permanent=true")).headers["location"]
    status = (await gateway.get(f"{path}/status")).json()["status"]["permanent"]
    event = status.pop("statusEvent")
    assert status == {
        "endEpoch": 4,
        "isCertified": True,
        "deletableCounts": {"count_deletable_total": 1, "count_deletable_certified": 1},
        "initialCertifiedEpoch": 1,
    }
    assert set(event) == {"txDigest", "eventSeq"}
    deletable = (await gateway.put(make_data(11), "epochs=2")).headers["location"]
    assert (await gateway.get(f"{deletable}/status")).json()["status"] == {
        "deletable": {
            "initialCertifiedEpoch": 1,
            "deletableCounts": {"count_deletable_total": 1, "count_deletable_certified": 1},
        }
    }


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/blobs/a/b/c", "/v1/blobs/", "/v1/info/", "/v2/blobs"])
async def test_unknown_paths_are_404(gateway, reason_of, path) -> None:
    response = await gateway.get(path)
    assert (response.status_code, reason_of(response)) == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/blobs/" + "A" * 43), ("GET", "/v1/blobs"), ("PUT", "/v1/info")]
)
async def test_other_methods_are_405_and_say_which_are_allowed(gateway, reason_of, method, path) -> None:
    response = await gateway.ask(method, path)
    assert (response.status_code, reason_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"]


async def test_browsers_of_any_origin_may_ask(gateway, make_data) -> None:
    preflight = await gateway.ask(
        "OPTIONS",
        "/v1/blobs",
        headers={
            "origin": "https://example.org",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "x-anything",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-max-age"] == "86400"
    for path in ("/v1/info", "/v1/nothing"):
        response = await gateway.get(path, origin="https://example.org")
        assert response.headers["access-control-allow-origin"] == "*"
        assert "ETag" in response.headers["access-control-expose-headers"]


async def test_our_own_mistakes_leak_nothing_but_a_trace_id(gateway, monkeypatch, reason_of) -> None:
    async def broken(*_):
        raise RuntimeError("secret details")

    monkeypatch.setattr(gateway.network.view, "blob_existence", broken)
    response = await gateway.get("/v1/blobs/" + "A" * 43)
    assert (response.status_code, reason_of(response)) == (500, "INTERNAL_ERROR")
    assert "secret" not in response.text
    assert response.json()["error"]["details"][1]["detail"].startswith("TraceID: ")


async def test_requests_are_counted_by_route_and_code(gateway, make_data) -> None:
    path = await gateway.stored(make_data(10))
    await gateway.get(path)
    await gateway.get("/v1/blobs/" + "A" * 43)
    await gateway.get("/v1/nothing")
    count = {"blob": ("GET", "200"), "store": ("PUT", "200")}
    for route, (method, code) in count.items():
        assert gateway.metric("haulout_http_requests_total", route=route, method=method, code=code) == 1
    assert gateway.metric("haulout_http_requests_total", route="blob", method="GET", code="404") == 1
    for route, size_class in (("store", "64KiB"), ("blob", "64KiB"), ("blob", "none")):
        assert gateway.metric(DURATION_COUNT, route=route, size_class=size_class) == 1
    assert gateway.metric("haulout_store_phase_seconds_count", phase="uploading") == 1


async def test_durations_are_told_apart_by_what_is_brought_or_sent(gateway, make_data, monkeypatch) -> None:
    def count(route: str) -> dict[str, float]:
        names = (NO_CONTENT, *metrics.SIZE_CLASSES, metrics.LARGER)
        counted = {name: gateway.metric(DURATION_COUNT, route=route, size_class=name) for name in names}
        return {name: value for name, value in counted.items() if value}

    monkeypatch.setattr(metrics, "SIZE_CLASSES", {"64KiB": 100, "1MiB": 200})
    path = await gateway.stored(make_data(200))
    striped = await gateway.put(make_data(201), "epochs=5&encoding_type=RS8")
    assert count("store") == {"1MiB": 1, "larger": 1}
    await gateway.get(path, range="bytes=0-99")  # a share of the blob
    await gateway.get(path)
    await gateway.get(path, if_none_match=f'"{path.rpartition("/")[2]}"')
    await gateway.ask("HEAD", path)
    assert count("blob") == {"none": 2, "64KiB": 1, "1MiB": 1}
    await gateway.get(striped.headers["location"])
    assert count("blob")["larger"] == 1
    await gateway.ask("PUT", "/v1/blobs?epochs=0", content=make_data(10))  # refused before it was read
    assert count("store")["none"] == 1


def test_every_error_of_this_package_has_a_status() -> None:
    from haulout.client import errors as client_errors
    from haulout.gateway import errors as gateway_errors

    for module in (client_errors, gateway_errors):
        for name, cls in vars(module).items():
            if isinstance(cls, type) and cls.__module__ == module.__name__:
                fields = getattr(cls, "__dataclass_fields__", {})
                error = cls(**dict.fromkeys(fields, 1))
                assert 400 <= status_of(error)[1] <= 504, name
