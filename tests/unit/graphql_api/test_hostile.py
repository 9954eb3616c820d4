"""Forty ways to hurt the API: each is refused with a code, in under 50 ms of CPU, and costs no memory that stays."""

from __future__ import annotations

import base64
import gc
import itertools
import json
import time
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

REFUSED_WITHIN_CPU_S = 0.05
MEMORY_BYTES_MAX = 4 * 1024 * 1024

JSON = {"content-type": "application/json"}


def deep(levels: int) -> str:
    return "{ blobs { nodes { " + "objects { nodes { blob { " * levels + "id" + " } } }" * levels + " } } }"


def cursor(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def listed(after: str) -> str:
    return "{ blobs(after: " + quoted(after) + ") { nodes { id } } }"


def found(id: str) -> str:
    return "{ node(id: " + quoted(id) + ") { id } }"


def quoted(text: str) -> str:
    return f'"{text}"'


TOO_COMPLEX = "QUERY_TOO_COMPLEX"
INVALID = "INVALID_ARGUMENT"
MALFORMED = "GRAPHQL_VALIDATION_FAILED"
UNREADABLE = "GRAPHQL_PARSE_FAILED"

# Name: query, variables, code.
QUERIES: Mapping[str, tuple[str, Any, str]] = {
    "deep": (deep(6), None, "QUERY_TOO_DEEP"),
    "very deep": (deep(60), None, "QUERY_TOO_DEEP"),
    "deep in fragments": (
        "{ blobs { nodes { ...A } } } fragment A on Blob { objects { nodes { blob { ...B } } } } "
        "fragment B on Blob { objects { nodes { blob { ...C } } } } "
        "fragment C on Blob { objects { nodes { blob { objects { totalCount } } } } }",
        None,
        "QUERY_TOO_DEEP",
    ),
    "wide": ("{ " + " ".join(f"a{i}: system {{ accounts }}" for i in range(200)) + " }", None, TOO_COMPLEX),
    "repeated field": ("{ system { " + "accounts " * 300 + "} }", None, TOO_COMPLEX),
    "too many tokens": ("{ " + "a " * 3_000 + "}", None, TOO_COMPLEX),
    "too many bytes": ("{ __typename } #" + "x" * 11_000, None, TOO_COMPLEX),
    "aliases of introspection": (
        "{ " + " ".join(f"a{i}: __schema {{ types {{ name }} }}" for i in range(40)) + " }",
        None,
        TOO_COMPLEX,
    ),
    "aliases in a fragment": (
        "{ system { ...F } } fragment F on SystemStats { " + " ".join(f"a{i}: accounts" for i in range(50)) + " }",
        None,
        TOO_COMPLEX,
    ),
    "fragment cycle": (
        "{ blobs { nodes { ...A } } } fragment A on Blob { ...B } fragment B on Blob { ...A }",
        None,
        MALFORMED,
    ),
    "fragment of itself": ("{ ...A } fragment A on Query { ...A }", None, MALFORMED),
    "fragment bomb": (
        "{ ...F0 } " + " ".join(f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(55)),
        None,
        TOO_COMPLEX,
    ),
    "unused fragments": (
        "{ __typename } " + " ".join(f"fragment U{i} on Blob {{ id }}" for i in range(150)),
        None,
        TOO_COMPLEX,
    ),
    "many spreads": ("{ blobs { nodes { " + "...A " * 100 + "} } } fragment A on Blob { id }", None, TOO_COMPLEX),
    "introspection loop": (
        "{ __schema { types { " + "fields { type { " * 10 + "name" + " } }" * 10 + " } } }",
        None,
        "QUERY_TOO_DEEP",
    ),
    "dear page": ("{ blobs(first: 100) { nodes { objects(first: 100) { nodes { cost } } } } }", None, TOO_COMPLEX),
    "dear page by variable": (
        "query ($n: Int) { blobs(first: $n) { nodes { objects(first: $n) { nodes { cost } } } } }",
        {"n": 100},
        TOO_COMPLEX,
    ),
    "page too large": ("{ blobs(first: 1000) { nodes { id } } }", None, "PAGE_TOO_LARGE"),
    "page beyond an int": ("{ blobs(first: 99999999999) { nodes { id } } }", None, MALFORMED),
    "negative page": ("{ blobs(first: -5) { nodes { id } } }", None, INVALID),
    "both ends": ("{ blobs(first: 5, last: 5) { nodes { id } } }", None, INVALID),
    "foreign cursor": (listed(cursor(b"arrayconnection:5")), None, INVALID),
    "tampered cursor": (listed(cursor(b"\x01" + bytes(16) + b'["x",5]')), None, INVALID),
    "cursor of nothing": (listed(""), None, INVALID),
    "cursor that is no base64": (listed("%%%%"), None, INVALID),
    "huge literal": ("{ blob(blobId: " + quoted("A" * 9_000) + ") { id } }", None, INVALID),
    "huge number": ("{ blobs(filter: {size: {min: " + "9" * 5_000 + "}}) { nodes { id } } }", None, INVALID),
    "id of another type": (found(cursor(b"Blob:zz")), None, INVALID),
    "id without end": (found(cursor(b"Blob:" + b"00" * 3_000)), None, INVALID),
    "id of a number without end": (found(cursor(b"Epoch:" + b"9" * 60)), None, INVALID),
    "many values": (
        "query ($t: [StakeChangeInput!]!) { simulateAssignment(stakeChanges: $t) { possible } }",
        {"t": [{"node": "x", "delta": "1"}] * 3_000},
        TOO_COMPLEX,
    ),
    "many sizes": (
        "query ($t: [BigInt!]!) { estimateCost(epochs: 1, sizes: $t) { total } }",
        {"t": ["1"] * 1_000},
        INVALID,
    ),
    "huge text": ("query ($t: String!) { search(text: $t) { __typename } }", {"t": "x" * 200_000}, INVALID),
    "directives": ("{ __typename " + "@a " * 900 + "}", None, MALFORMED),
    "unused variables": ("query (" + " ".join(f"$v{i}: Int" for i in range(400)) + ") { __typename }", None, MALFORMED),
    "nested input": ("{ blobs(filter: " + "{a: " * 600 + "1" + "}" * 600 + ") { nodes { id } } }", None, UNREADABLE),
    "unclosed": ("{" * 500, None, "GRAPHQL_PARSE_FAILED"),
    "unclosed lists": ("{ node(id: " + "[" * 1_900, None, "GRAPHQL_PARSE_FAILED"),
    "subscription by post": ("subscription { events { id } }", None, INVALID),
    "unknown mutation": ("mutation { dropEverything }", None, MALFORMED),
    "many attributes": (
        "{ blobs(filter: {attributes: [" + '{key: "a"}, ' * 9 + "]}) { nodes { id } } }",
        None,
        INVALID,
    ),
}

# Name: body, headers, code.
BODIES: Mapping[str, tuple[bytes, Mapping[str, str], str]] = {
    "invalid UTF-8": (b'{"query": "\xff\xfe"}', JSON, INVALID),
    "nested JSON": (b"[" * 100_000, JSON, INVALID),
    "batch": (json.dumps([{"query": "{ __typename }"}] * 100).encode(), JSON, INVALID),
    "half a character": (b'{"query": "{ a(b: \\"\\ud800\\") }"}', JSON, INVALID),
    "wrong content type": (b'{"query": "{ __typename }"}', {"content-type": "text/plain"}, INVALID),
    "no object": (b"null", JSON, INVALID),
    "a number": (b"3", JSON, INVALID),
    "a text": (b'"{ __typename }"', JSON, INVALID),
    "nothing": (b"", JSON, INVALID),
    "a number of 6,000 digits": (
        b'{"query": "{ __typename }", "variables": {"n": ' + b"9" * 6_000 + b"}}",
        JSON,
        INVALID,
    ),
    "NUL": (b'{"query": "{ system\x00 { accounts } }"}', JSON, INVALID),
}


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(QUERIES) + len(BODIES) >= 40


async def send(net: Any, content: bytes, headers: Mapping[str, str]) -> tuple[float, Any]:
    """CPU time of the quickest of three attempts, so that a busy machine does not count; and the answer."""
    fastest = float("inf")
    for _ in range(3):
        started = time.process_time()
        response = await net.http.post("/graphql", content=content, headers=dict(headers))
        fastest = min(fastest, time.process_time() - started)
    return fastest, response.json()


def check_extensions(answer: Any, code: str) -> None:
    found = answer["errors"][0]["extensions"]
    assert (found["code"], found["http"], found["retry"]) == (code, 400, "NEVER"), answer["errors"][0]
    assert len(found["traceId"]) == 32


@pytest.mark.parametrize("name", QUERIES)
async def test_a_hostile_query_is_refused_quickly(net: Any, name: str) -> None:
    query, variables, code = QUERIES[name]
    seconds, answer = await send(net, json.dumps({"query": query, "variables": variables}).encode(), JSON)
    check_extensions(answer, code)
    assert not any((answer.get("data") or {}).values())
    assert seconds < REFUSED_WITHIN_CPU_S


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_is_refused_quickly(net: Any, name: str) -> None:
    content, headers, code = BODIES[name]
    seconds, answer = await send(net, content, headers)
    check_extensions(answer, code)
    assert seconds < REFUSED_WITHIN_CPU_S


async def test_nothing_of_it_stays_in_memory_and_good_clients_do_not_notice(net: Any) -> None:
    bodies = [json.dumps({"query": query, "variables": v}).encode() for query, v, _ in QUERIES.values()]

    rounds = itertools.count()

    async def send_all(times: int) -> int:
        """Bytes in use after some rounds, each of texts that no cache has seen."""
        for i in itertools.islice(rounds, times):
            for body in bodies:
                content = body.replace(b'{"query": "', b'{"query": "#%d\\n' % i)
                await net.http.post("/graphql", content=content, headers=JSON)
            assert (await net.ask("{ system { accounts } }"))["system"] == {"accounts": "2"}
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = await send_all(2)  # more documents than are remembered
        assert await send_all(2) - full < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
