"""What the console sends to the gateway through this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from haulout.primitives import hex_id_text

UPLOAD = "ab" * 16
PIECE = b"walrus" * 1_000


def put_in_place_of_the_gateway(net: Any, route: Route) -> None:
    transport = httpx.ASGITransport(Starlette(routes=[route]))
    net.services.gateway._http = httpx.AsyncClient(transport=transport)


async def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["details"][0]["reason"])


async def test_an_upload_is_announced_with_what_was_asked_for(net: Any) -> None:
    asked: list[dict[str, str]] = []

    async def announce(request: Request) -> Response:
        asked.append(dict(request.query_params))
        upload = {"id": UPLOAD, "phase": "waiting", "doneBytes": 0, "totalBytes": 0}
        return JSONResponse({**upload, "nodes": [], "result": None, "error": None}, 201)

    put_in_place_of_the_gateway(net, Route("/v1/uploads", announce, methods=["POST"]))
    query = "mutation ($input: CreateUploadInput!) { createUpload(input: $input) { uploadUrl userErrors { code } } }"
    headers = await net.token("WRITE_BLOB")
    for wanted in ({"epochs": 2}, {"epochs": 3, "persistence": "PERMANENT", "encoding": "RS8"}):
        body = {"query": query, "variables": {"input": wanted}}
        made = (await net.http.post("/graphql", json=body, headers=headers)).json()["data"]["createUpload"]
        assert made == {"uploadUrl": f"http://127.0.0.1:31415/v1/uploads/{UPLOAD}", "userErrors": []}
    assert asked == [
        {"epochs": "2", "deletable": "true"},
        {"epochs": "3", "permanent": "true", "encoding_type": "RS8"},
    ]
    address = hex_id_text(bytes([7] * 32))
    object.__setattr__(net.services, "wallet", SimpleNamespace(address=bytes([7] * 32)))
    await net.http.post("/graphql", json={"query": query, "variables": {"input": {"epochs": 2}}}, headers=headers)
    assert asked[-1] == {"epochs": "2", "deletable": "true", "send_object_to": address}
    viewer = {"query": "{ viewer { account { address walBalance } } }"}
    account = (await net.http.post("/graphql", json=viewer, headers=headers)).json()["data"]["viewer"]["account"]
    assert account == {"address": address, "walBalance": "0"}


async def test_a_body_goes_on_piece_by_piece_and_the_answer_comes_back(net: Any) -> None:
    log: list[str] = []

    async def put(request: Request) -> Response:
        assert request.path_params["upload_id"] == UPLOAD
        assert request.headers["content-length"] == str(3 * len(PIECE))
        async for piece in request.stream():
            log.append(f"took {len(piece)}")
        return JSONResponse({"newlyCreated": 1}, 200)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            log.append(f"gave {len(PIECE)}")
            yield PIECE

    put_in_place_of_the_gateway(net, Route("/v1/uploads/{upload_id}", put, methods=["PUT"]))
    headers = {"content-length": str(3 * len(PIECE))}
    response = await net.http.put(f"/console/uploads/{UPLOAD}", content=body(), headers=headers)
    assert (response.status_code, response.json()) == (200, {"newlyCreated": 1})
    assert response.headers["cache-control"] == "no-store"
    assert log[:4] == ["gave 6000", "took 6000", "gave 6000", "took 6000"]


async def test_what_the_gateway_refuses_is_refused_in_its_words(net: Any) -> None:
    refusal = {"error": {"status": "SIZE_EXCEEDED", "message": "too large", "details": [{"reason": "BLOB_TOO_LARGE"}]}}

    async def put(_: Request) -> Response:
        return JSONResponse(refusal, 413)

    put_in_place_of_the_gateway(net, Route("/v1/uploads/{upload_id}", put, methods=["PUT"]))
    response = await net.http.put(f"/console/uploads/{UPLOAD}", content=b"x")
    assert (response.status_code, response.json()) == (413, refusal)


async def test_a_gateway_that_is_away_is_said_to_be(net: Any) -> None:
    response = await net.http.put(f"/console/uploads/{UPLOAD}", content=b"x")
    assert (response.status_code, await code_of(response)) == (503, "UNREACHABLE")


async def test_nothing_but_an_upload_is_passed_on(net: Any) -> None:
    for name in ("abc", "z" * 32, f"{UPLOAD}00", "..%2f..%2fv1%2fblobs"):
        response = await net.http.put(f"/console/uploads/{name}", content=b"x")
        assert response.status_code in (400, 404), json.dumps(response.text)
    assert (await net.http.post(f"/console/uploads/{UPLOAD}", content=b"x")).status_code == 405


async def test_a_page_of_another_site_may_not_send_anything(net: Any) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "PUT"}
    assert (await net.http.options(f"/console/uploads/{UPLOAD}", headers=asked)).status_code == 400
