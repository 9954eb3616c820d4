"""What `helm test` does: a blob goes in and comes out again, GraphQL knows it, metrics count it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from haulout.errors import HauloutError, Unavailable
from haulout.ports import Clock, Rng

BLOB_BYTES = 200_000
PATIENCE_MS = 60_000
PAUSE_MS = 1_000
TIMEOUT_S = 30.0

T = TypeVar("T")


@dataclass(eq=False)
class FirstBlobFailed(Unavailable):
    """A step of the test did not give what it should."""

    code = "FIRST_BLOB_FAILED"
    template = "{step}: {problem}"
    hint = "kubectl describe snet says what is missing"
    step: str
    problem: str


@dataclass(frozen=True, slots=True)
class Places:
    """Base URLs of the services."""

    gateway: str
    graphql: str
    metrics: str


async def try_first_blob(places: Places, *, clock: Clock, rng: Rng) -> str:
    """Store, read, ask and look; returns the blob id.

    Raises:
        FirstBlobFailed: with the step that failed for longer than a minute.
    """
    content = rng.random_bytes(BLOB_BYTES)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
        blob_id = await _again(clock, "store", lambda: _store(client, places, content))
        await _again(clock, "read", lambda: _read(client, places, blob_id, content))
        await _again(clock, "graphql", lambda: _ask(client, places, blob_id))
        await _again(clock, "metrics", lambda: _look(client, places))
    return blob_id


async def _again(clock: Clock, step: str, attempt: Callable[[], Awaitable[T]]) -> T:
    deadline_us = clock.monotonic_us() + PATIENCE_MS * 1000
    while True:
        try:
            return await attempt()
        except (httpx.HTTPError, KeyError, TypeError, ValueError, HauloutError) as e:
            if clock.monotonic_us() > deadline_us:
                problem = str(e) or type(e).__name__
                raise FirstBlobFailed(step=step, problem=problem) from e
        await clock.sleep_ms(PAUSE_MS)


async def _store(client: httpx.AsyncClient, places: Places, content: bytes) -> str:
    answer = await client.put(f"{places.gateway}/v1/blobs", params={"epochs": "1"}, content=content)
    if answer.is_error:
        raise FirstBlobFailed(step="store", problem=f"{answer.status_code} {answer.text[:500]}")
    document = answer.json()
    if "newlyCreated" in document:
        return str(document["newlyCreated"]["blobObject"]["blobId"])
    return str(document["alreadyCertified"]["blobId"])


async def _read(client: httpx.AsyncClient, places: Places, blob_id: str, content: bytes) -> None:
    answer = await client.get(f"{places.gateway}/v1/blobs/{blob_id}")
    if answer.content != content:
        raise FirstBlobFailed(step="read", problem=f"{answer.status_code}, and not the bytes that were stored")


async def _ask(client: httpx.AsyncClient, places: Places, blob_id: str) -> None:
    query = {"query": "query($id: BlobID!) { blob(blobId: $id) { blobId } }", "variables": {"id": blob_id}}
    answer = (await client.post(f"{places.graphql}/graphql", json=query)).json()
    if answer["data"]["blob"]["blobId"] != blob_id:
        raise FirstBlobFailed(step="graphql", problem=f"answered {str(answer)[:300]}")


async def _look(client: httpx.AsyncClient, places: Places) -> None:
    text = (await client.get(f"{places.metrics}/metrics")).text
    if "haulout_build_info" not in text:
        raise FirstBlobFailed(step="metrics", problem="no haulout_build_info there")


def run_first_blob(places: Places, *, clock: Clock, rng: Rng) -> str:
    """`try_first_blob` for a command line."""
    return asyncio.run(try_first_blob(places, clock=clock, rng=rng))
