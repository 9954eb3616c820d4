"""Announced uploads: a link that works once, and what is told of its progress."""

from __future__ import annotations

from haulout import codec
from haulout.primitives import blob_id_text


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
