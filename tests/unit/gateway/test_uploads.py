"""Announced uploads: a link that works once, and what is told of its progress."""

from __future__ import annotations

import json

import pytest

from haulout import codec
from haulout.ledger import queries
from haulout.primitives import blob_id_text, hex_id_text, parse_object_id


async def test_an_announced_upload_is_stored_once_and_tells_what_every_node_said(gateway, world, make_data) -> None:
    announced = await gateway.ask("POST", "/v1/uploads?epochs=3&permanent=true")
    assert announced.status_code == 201
    path = announced.headers["location"]
    assert announced.json()["phase"] == "waiting"
    stored = await gateway.ask("PUT", path, content=make_data(700))
    assert stored.status_code == 200, stored.text
    told = (await gateway.ask("GET", path)).json()
    assert told["result"] == stored.json()
    assert told["result"]["newlyCreated"]["blobObject"]["deletable"] is False
    assert told["result"]["newlyCreated"]["blobObject"]["blobId"] == blob_id_text(
        codec.compute_blob_id(make_data(700), 10)[0]
    )
    assert (told["phase"], told["error"]) == ("done", None)
    assert sum(node["weight"] for node in told["nodes"]) == 10
    assert sum(node["weight"] for node in told["nodes"] if node["hasConfirmed"]) >= 7
    again = await gateway.ask("PUT", path, content=make_data(700))
    assert again.json()["error"]["details"][0]["reason"] == "UPLOAD_USED"


async def test_a_failed_upload_says_what_the_nodes_answered(gateway, world, make_data) -> None:
    path = (await gateway.ask("POST", "/v1/uploads?epochs=3")).headers["location"]
    refused = await gateway.ask("PUT", path, content=make_data(4 << 20))
    assert refused.status_code == 413
    told = (await gateway.ask("GET", path)).json()
    assert (told["phase"], told["error"]["code"], told["error"]["failurePhase"]) == (
        "failed",
        "BLOB_TOO_LARGE",
        "receiving",
    )


async def test_what_is_no_upload_is_refused(gateway) -> None:
    assert (await gateway.ask("POST", "/v1/uploads?epochs=0")).status_code == 400
    assert (await gateway.ask("POST", "/v1/uploads?nonsense=1")).status_code == 400
    for method in ("GET", "PUT"):
        missing = await gateway.ask(method, "/v1/uploads/" + "0" * 32)
        assert missing.status_code == 404
        assert missing.json()["error"]["details"][0]["reason"] == "UPLOAD_NOT_FOUND"


async def test_a_link_ends_after_an_hour(gateway, world, monkeypatch) -> None:
    monkeypatch.setattr("haulout.gateway.uploads.LIFE_MS", -1)
    path = (await gateway.ask("POST", "/v1/uploads?epochs=1")).headers["location"]
    assert (await gateway.ask("GET", path)).status_code == 404


def announcement(**fields) -> str:
    return json.dumps(fields)


async def test_an_announced_blob_has_its_attributes_when_it_is_done(gateway, world, make_data) -> None:
    said = announcement(sizeBytes=700, attributes={"type": "film", "year": "1999"})
    path = (await gateway.ask("POST", "/v1/uploads?epochs=3", content=said)).headers["location"]
    assert (await gateway.ask("PUT", path, content=make_data(700))).status_code == 200
    stored = (await gateway.ask("GET", path)).json()["result"]["newlyCreated"]["blobObject"]
    blob = queries.blob(world.sequencer.store.view, parse_object_id(stored["id"]))
    assert blob.attributes == {"type": "film", "year": "1999"}
    # The same bytes again: nothing is stored, and the object that is there gets what is asked for.
    said = announcement(sizeBytes=700, attributes={"year": "2001"})
    path = (await gateway.ask("POST", "/v1/uploads?epochs=3", content=said)).headers["location"]
    again = await gateway.ask("PUT", path, content=make_data(700))
    assert "alreadyCertified" in again.json()
    blob = queries.blob(world.sequencer.store.view, parse_object_id(stored["id"]))
    assert blob.attributes == {"type": "film", "year": "2001"}


@pytest.mark.parametrize("size", [0, 699, 701])
async def test_what_was_not_announced_is_not_stored(gateway, make_data, size) -> None:
    path = (await gateway.ask("POST", "/v1/uploads?epochs=3", content=announcement(sizeBytes=700))).headers["location"]
    refused = await gateway.ask("PUT", path, content=make_data(size))
    assert refused.status_code == 400
    error = (await gateway.ask("GET", path)).json()["error"]
    assert (error["code"], error["failurePhase"]) == ("UPLOAD_SIZE_DIFFERS", "receiving")
    assert f"700 bytes, {size} came" in error["message"]


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[" * 100_000,
        "[]",
        announcement(size=1),
        announcement(sizeBytes="1"),
        announcement(sizeBytes=True),
        announcement(sizeBytes=-1),
        announcement(attributes=["a"]),
        announcement(attributes={"a": 1}),
        announcement(attributes={"": "a"}),
        announcement(attributes={"a" * 129: "b"}),
        announcement(attributes={"a": "b" * 1_025}),
        announcement(attributes={"\ud800": "b"}),
        announcement(attributes={str(n): "" for n in range(33)}),
        " " * 300_000,
    ],
)
async def test_an_announcement_that_cannot_be_kept_is_refused(gateway, said) -> None:
    refused = await gateway.ask("POST", "/v1/uploads?epochs=3", content=said)
    assert refused.status_code == 400, refused.text


async def test_what_is_handed_over_has_its_attributes_then(gateway, world, make_data) -> None:
    receiver = world.town.address("other")

    async def store(year: str) -> str:
        said = announcement(attributes={"year": year})
        announced = await gateway.ask(
            "POST", f"/v1/uploads?epochs=3&send_object_to={hex_id_text(receiver)}", content=said
        )
        stored = (await gateway.ask("PUT", announced.headers["location"], content=make_data(700))).json()
        if "alreadyCertified" in stored:
            return stored["alreadyCertified"]["object"]
        return stored["newlyCreated"]["blobObject"]["id"]

    first = await store("1999")
    assert await store("1999") == first  # not paid twice: what its new owner has does
    second = await store("2001")  # attributes are the owner's to set, so this takes another object
    blobs = {hex_id_text(object_id): blob for object_id, blob in await gateway.network.view.owned_blobs(receiver)}
    assert {name: blob.attributes for name, blob in blobs.items()} == {
        first: {"year": "1999"},
        second: {"year": "2001"},
    }


async def test_what_is_handed_over_to_the_account_that_pays_gets_what_is_asked_for(gateway, world, make_data) -> None:
    receiver = hex_id_text(world.town.address("client"))
    found = []
    for year in ("1999", "2001"):
        said = announcement(attributes={"year": year})
        announced = await gateway.ask("POST", f"/v1/uploads?epochs=3&send_object_to={receiver}", content=said)
        found.append((await gateway.ask("PUT", announced.headers["location"], content=make_data(700))).json())
    object_id = found[0]["newlyCreated"]["blobObject"]["id"]
    assert found[1]["alreadyCertified"]["object"] == object_id
    blob = queries.blob(world.sequencer.store.view, parse_object_id(object_id))
    assert blob.attributes == {"year": "2001"}


async def test_a_shared_object_has_its_attributes(gateway, world, make_data) -> None:
    said = announcement(attributes={"type": "film"})
    announced = await gateway.ask("POST", "/v1/uploads?epochs=3&permanent=true&share=true", content=said)
    stored = (await gateway.ask("PUT", announced.headers["location"], content=make_data(700))).json()["newlyCreated"]
    blob = queries.blob(world.sequencer.store.view, parse_object_id(stored["sharedBlobObject"]))
    assert blob.attributes == {"type": "film"}


async def test_more_than_can_be_stored_is_not_announced(gateway) -> None:
    too_large = await gateway.ask("POST", "/v1/uploads?epochs=3", content=announcement(sizeBytes=1 << 60))
    assert too_large.status_code == 413
