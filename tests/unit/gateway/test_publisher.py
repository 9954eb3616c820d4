"""`PUT /v1/blobs`: shapes of answers, every parameter, every refusal."""

from __future__ import annotations

import asyncio
import errno

import pytest

from haulout import codec
from haulout.errors import Unreachable
from haulout.gateway import publisher
from haulout.ledger import queries
from haulout.primitives import blob_id_text, hex_id_text, parse_object_id

LIMIT = 3 << 20  # of the network; RS2 holds less


async def test_a_new_blob_is_answered_in_walruses_shape(gateway, world, make_data) -> None:
    response = await gateway.put(make_data(700))
    blob_id = blob_id_text(codec.compute_blob_id(make_data(700), 10)[0])
    system = queries.system(world.sequencer.store.view)
    created = response.json()["newlyCreated"]
    assert response.json() == {
        "newlyCreated": {
            "blobObject": {
                "id": created["blobObject"]["id"],
                "registeredEpoch": 1,
                "blobId": blob_id,
                "size": 700,
                "encodingType": "RS2",
                "certifiedEpoch": 1,
                "storage": {
                    "id": created["blobObject"]["storage"]["id"],
                    "startEpoch": 1,
                    "endEpoch": 6,
                    "storageSize": codec.sizes.encoded_length(700, 10),
                },
                "deletable": True,
            },
            "resourceOperation": {
                "registerFromScratch": {"encodedLength": codec.sizes.encoded_length(700, 10), "epochsAhead": 5}
            },
            "cost": 5 * system.storage_price_frost + system.write_price_frost,
        }
    }
    assert len(created["blobObject"]["id"]) == 66
    assert response.headers["location"] == f"/v1/blobs/{blob_id}"
    assert response.headers["cache-control"] == "no-store"


async def test_what_is_stored_already_names_the_object(gateway, make_data) -> None:
    first = (await gateway.put(make_data(700))).json()["newlyCreated"]["blobObject"]
    again = await gateway.put(make_data(700), "epochs=3")
    assert again.json() == {"alreadyCertified": {"blobId": first["blobId"], "object": first["id"], "endEpoch": 6}}


async def test_somebody_elses_permanent_blob_names_the_event(make_gateway, make_data) -> None:
    await make_gateway(account="other").put(make_data(700), "epochs=5&permanent=true")
    answer = (await make_gateway().put(make_data(700), "epochs=5")).json()["alreadyCertified"]
    assert set(answer) == {"blobId", "event", "endEpoch"}
    assert set(answer["event"]) == {"txDigest", "eventSeq"}
    assert answer["event"]["eventSeq"].isdigit()


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001, 30_000])
async def test_bodies_in_memory_and_in_files_are_stored_alike(gateway, make_data, size) -> None:
    path = await gateway.stored(make_data(size))
    assert (await gateway.get(path)).content == make_data(size)
    assert list(gateway.spill.iterdir()) == []
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_a_body_of_unknown_length_and_a_post(gateway, make_data) -> None:
    async def chunks():
        for start in range(0, 5_000, 700):
            yield make_data(5_000)[start : start + 700]

    response = await gateway.ask("POST", "/v1/blobs?epochs=2", content=chunks())
    assert response.status_code == 200
    assert (await gateway.get(response.headers["location"])).content == make_data(5_000)


async def test_epochs_default_to_one(gateway) -> None:
    created = (await gateway.ask("PUT", "/v1/blobs", content=b"x")).json()["newlyCreated"]
    assert created["blobObject"]["storage"]["endEpoch"] == 2


@pytest.mark.parametrize(
    ("query", "deletable"),
    [("", True), ("&permanent=true", False), ("&permanent", False), ("&permanent=false", True),
     ("&deletable=true", True), ("&deletable=true&permanent=false", True), ("&encoding_type=RS2", True),
     ("&quilt_version=v1", True)],
)  # fmt: skip
async def test_persistence(gateway, query, deletable) -> None:
    created = (await gateway.put(b"x", "epochs=1" + query)).json()["newlyCreated"]
    assert created["blobObject"]["deletable"] is deletable


async def test_force_registers_anew(gateway) -> None:
    await gateway.put(b"x")
    assert "newlyCreated" in (await gateway.put(b"x", "epochs=5&force=true")).json()


async def test_leave_to_reuse_extends(gateway) -> None:
    await gateway.put(b"x", "epochs=2")
    answer = (await gateway.put(b"x", "epochs=5&reuse_resources=true")).json()["newlyCreated"]
    encoded = codec.sizes.encoded_length(1, 10)
    assert answer["resourceOperation"] == {"reuseAndExtend": {"encodedLength": encoded, "epochsExtended": 3}}


async def test_the_object_is_sent_to_an_address(gateway, world) -> None:
    receiver = hex_id_text(world.town.address("other"))
    created = (await gateway.put(b"x", f"epochs=5&send_object_to={receiver}")).json()["newlyCreated"]
    owned = await gateway.network.view.owned_blobs(world.town.address("other"))
    assert [hex_id_text(object_id) for object_id, _ in owned] == [created["blobObject"]["id"]]


async def test_the_object_is_shared(gateway, world) -> None:
    created = (await gateway.put(b"x", "epochs=5&permanent=true&share=true")).json()["newlyCreated"]
    assert created["sharedBlobObject"] == created["blobObject"]["id"]
    assert await gateway.network.view.owned_blobs(world.wallet.address) == []
    object_id = parse_object_id(created["sharedBlobObject"])
    assert await gateway.network.view.shared_funds([object_id]) == {object_id: 0}
    assert (await gateway.get(f"/v1/blobs/by-object-id/{created['sharedBlobObject']}")).content == b"x"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("epochs=0", "INVALID_EPOCHS"),
        ("epochs=54", "INVALID_EPOCHS"),
        ("epochs=-1", "MALFORMED_REQUEST"),
        ("epochs=5.0", "MALFORMED_REQUEST"),
        ("epochs=five", "MALFORMED_REQUEST"),
        ("epochs=%D9%A5", "MALFORMED_REQUEST"),  # five, in Arabic
        ("epochs=99999999999", "MALFORMED_REQUEST"),
        ("epochs=", "MALFORMED_REQUEST"),
        ("epochs=1&epochs=2", "MALFORMED_REQUEST"),
        ("colour=red", "MALFORMED_REQUEST"),
        ("permanent=yes", "MALFORMED_REQUEST"),
        ("permanent=true&deletable=true", "INVALID_BLOB_PERSISTENCE"),
        ("encoding_type=RS9", "MALFORMED_REQUEST"),
        ("send_object_to=0xzz", "MALFORMED_REQUEST"),
        ("share=true", "INVALID_BLOB_PERSISTENCE"),
        ("share=true&send_object_to=0x1", "MALFORMED_REQUEST"),
    ],
)
async def test_refuses_what_it_does_not_understand(gateway, world, reason_of, query, reason) -> None:
    before = world.balance()
    response = await gateway.put(b"x", query)
    assert (response.status_code, reason_of(response)) == (400, reason)
    assert world.balance() == before


@pytest.mark.parametrize("query", ["epochs=54", "epochs=x", "share=true"])
async def test_what_the_query_says_is_refused_before_the_body_is_read(gateway, query) -> None:
    taken = 0

    async def body():
        nonlocal taken
        taken += 1
        yield b"x"

    assert (await gateway.put(body(), query)).status_code == 400
    assert taken == 0


async def test_the_largest_blob_is_stored_and_one_byte_more_is_not(gateway, make_data, reason_of) -> None:
    data = make_data(LIMIT)
    path = await gateway.stored(data)
    assert (await gateway.get(path, range=f"bytes={LIMIT - 3}-")).content == data[-3:]
    refused = await gateway.put(data + b"!")
    assert (refused.status_code, reason_of(refused)) == (413, "BLOB_TOO_LARGE")
    assert str(LIMIT) in refused.json()["error"]["message"]


async def test_a_named_encoding_has_its_own_maximum(gateway, reason_of) -> None:
    most = codec.sizes.max_blob_size_bytes(10)
    refused = await gateway.put(bytes(most + 1), "epochs=5&encoding_type=RS2")
    assert (refused.status_code, reason_of(refused)) == (413, "BLOB_TOO_LARGE")
    message = refused.json()["error"]["message"]
    assert f"the largest of encoding RS2 on 10 shards is {most}" in message
    assert "name no encoding" in message


async def test_a_stream_over_the_maximum_is_cut_off(gateway, reason_of) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 100_000
            yield bytes(100_000)

    refused = await gateway.put(endless())
    assert (refused.status_code, reason_of(refused)) == (413, "BLOB_TOO_LARGE")
    assert sent < LIMIT + 300_000
    assert list(gateway.spill.iterdir()) == []
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_an_account_without_funds_is_402(make_gateway, reason_of) -> None:
    response = await make_gateway(account="pauper").put(b"x")
    assert (response.status_code, reason_of(response)) == (402, "INSUFFICIENT_FUNDS")


async def test_without_a_quorum_it_is_504_and_says_how_far_it_came(gateway, world, make_data, reason_of) -> None:
    world.only(0, 1, 2)
    started_us = world.clock.us
    response = await gateway.put(make_data(700))
    assert (response.status_code, reason_of(response)) == (504, "INSUFFICIENT_CONFIRMATIONS")
    metadata = response.json()["error"]["details"][0]["metadata"]
    assert (metadata["weight"], metadata["needed"], metadata["failurePhase"]) == ("6", "7", "uploading")
    assert metadata["reasons"] == "node-3: unreachable, node-4: unreachable"
    assert world.clock.us - started_us < 20_000_000
    world.only(0, 1, 2, 3, 4)
    answer = (await gateway.put(make_data(700))).json()["newlyCreated"]
    assert "reuseRegistration" in answer["resourceOperation"]
    assert answer["cost"] == 0


async def test_a_ledger_that_is_down_is_503_in_time(make_gateway, world, reason_of) -> None:
    class DeadLedger:
        async def submit(self, transaction, *, wait_ms=0):
            raise Unreachable(peer="ledger", problem="it is down")

    gateway = make_gateway(ledger=DeadLedger())
    started_us = world.clock.us
    response = await gateway.put(b"hello")
    assert (response.status_code, reason_of(response)) == (503, "UNREACHABLE")
    assert world.clock.us - started_us < 25_000_000
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_a_full_disk_under_the_body_is_503(gateway, monkeypatch, reason_of) -> None:
    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(publisher.tempfile, "SpooledTemporaryFile", lambda **_: FullFile())
    response = await gateway.put(b"hello")
    assert (response.status_code, reason_of(response)) == (503, "DISK_FULL")
    assert response.headers["retry-after"] == "1"
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_a_full_disk_under_the_encoded_slivers_is_503(gateway, world, monkeypatch, reason_of) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    before = world.balance()
    response = await gateway.put(bytes(5_000))
    assert (response.status_code, reason_of(response)) == (503, "DISK_FULL")
    assert world.balance() == before
    assert list(gateway.spill.iterdir()) == []


async def test_an_upload_that_breaks_off_leaves_nothing(gateway, world) -> None:
    """Two chunks, then the client is gone."""
    parts = [
        {"type": "http.request", "body": bytes(1_500), "more_body": True},
        {"type": "http.request", "body": bytes(10), "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers = []

    async def receive():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "PUT", "path": "/v1/blobs", "query_string": b"epochs=5", "headers": [],
             "http_version": "1.1", "scheme": "http", "server": ("gateway", 80), "root_path": ""}  # fmt: skip
    before = world.balance()
    await world.run(gateway.app(scope, receive, send))
    assert answers[0]["status"] == 400
    assert world.balance() == before
    assert list(gateway.spill.iterdir()) == []
    assert gateway.metric("haulout_http_inflight_bytes") == 0


async def test_a_body_that_stops_coming_is_408(gateway, monkeypatch, reason_of) -> None:
    monkeypatch.setattr(publisher, "BODY_IDLE_S", 0)

    async def stuck():
        yield b"x"
        await asyncio.Event().wait()

    response = await gateway.http.put("/v1/blobs?epochs=5", content=stuck())
    assert (response.status_code, reason_of(response)) == (408, "BODY_TIMEOUT")
    assert list(gateway.spill.iterdir()) == []


async def test_more_stores_than_are_admitted_are_told_to_come_again(gateway, reason_of) -> None:
    go_on = asyncio.Event()

    async def slow_body():
        await go_on.wait()
        yield b"x"

    waiting = [asyncio.ensure_future(gateway.http.put("/v1/blobs?epochs=5", content=slow_body())) for _ in range(16)]
    for _ in range(100):
        await asyncio.sleep(0)
    refused = await gateway.http.put("/v1/blobs?epochs=5", content=b"y")
    assert reason_of(refused) == "TOO_MANY_REQUESTS"
    assert int(refused.headers["retry-after"]) >= 1
    go_on.set()

    async def everybody():
        return await asyncio.gather(*waiting)

    assert {response.status_code for response in await gateway.world.run(everybody())} == {200}
