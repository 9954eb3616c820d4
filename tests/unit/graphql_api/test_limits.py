"""What is refused before anything is executed, and how errors leave the API."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from graphql import parse

from graphql_api import view
from graphql_api.limits import Bounds, Measure, check_document

DEEP = "{ blobs { nodes " + "{ objects { nodes { blob " * 3 + "{ objects { totalCount } }" + " } } }" * 3 + " } }"
FRAGMENT_BOMB = "{ blobs(first: 1) { nodes { ...F0 } } } " + " ".join(
    f"fragment F{i} on Blob {{ ...F{i + 1} ...F{i + 1} }}" for i in range(60)
)
UNUSED = "{ __typename } " + " ".join(f"fragment U{i} on Blob {{ id }}" for i in range(170))
CYCLE = "{ blobs { nodes { ...A } } } fragment A on Blob { ...B } fragment B on Blob { ...A }"


def measure(text: str, **variables: Any) -> Any:
    document = parse(text)
    return Measure(document, variables).of(document.definitions[0].selection_set)  # type: ignore[attr-defined]


def test_lists_multiply_what_stands_inside_of_them() -> None:
    found = measure("{ blobs(first: 50) { nodes { blobId objects { nodes { cost } } } } }")
    assert found.cost == 1 + 50 * (1 + 1 + 1 + 20 * (1 + 1))
    assert found.depth == 5


def test_a_token_may_ask_for_more_at_a_time_and_a_mutation_is_dear() -> None:
    dear = parse("{ blobs(first: 100) { nodes { objects(first: 100) { nodes { cost } } } } }")
    assert check_document(dear, None, {}, Bounds())[1] is not None
    assert check_document(dear, None, {}, Bounds(), has_token=True)[1] is None
    cost, error = check_document(parse("mutation { stake { transaction { height } } }"), None, {}, Bounds())
    assert (cost, error) == (103, None)


def test_page_sizes_from_variables_count() -> None:
    assert measure("query ($n: Int) { blobs(first: $n) { nodes { blobId } } }", n=7).cost == 1 + 7 * 2
    assert measure("query ($n: Int) { blobs(first: $n) { nodes { blobId } } }").cost == 1 + 100 * 2


def test_repeated_fields_count_as_aliases() -> None:
    assert measure("{ a: system { accounts } b: system { accounts accounts } }").aliases == 3


def test_fragments_are_measured_once_even_when_they_explode() -> None:
    started = time.process_time()
    _, error = check_document(parse(FRAGMENT_BOMB), None, {}, Bounds())
    assert error is not None
    assert error.extensions is not None
    assert error.extensions["code"] == "QUERY_TOO_COMPLEX"
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (DEEP, "QUERY_TOO_DEEP"),
        ("{ blobs(first: 100) { nodes { objects(first: 100) { nodes { cost } } } } }", "QUERY_TOO_COMPLEX"),
        ("{ " + " ".join(f"a{i}: system {{ accounts }}" for i in range(21)) + " }", "QUERY_TOO_COMPLEX"),
        (FRAGMENT_BOMB, "QUERY_TOO_COMPLEX"),
        (UNUSED, "QUERY_TOO_COMPLEX"),
        (CYCLE, "GRAPHQL_VALIDATION_FAILED"),
        ("{ blobs { nodes { ...Missing } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ blobs { nodes { nonsense } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ blobs { nodes {", "GRAPHQL_PARSE_FAILED"),
        ("{ system { " + "accounts " * 2_500 + "} }", "QUERY_TOO_COMPLEX"),
        ("# " + "x" * 10_001 + "\n{ system { accounts } }", "QUERY_TOO_COMPLEX"),
        ("{ blobs(first: 101) { totalCount } }", "PAGE_TOO_LARGE"),
        ("{ blobs(first: 1, last: 1) { totalCount } }", "INVALID_ARGUMENT"),
        ("{ blobs(first: -1) { totalCount } }", "INVALID_ARGUMENT"),
        ('{ blobs(after: "AQIDBA") { totalCount } }', "INVALID_ARGUMENT"),
        ('{ blob(blobId: "nonsense") { id } }', "INVALID_ARGUMENT"),
        ("{ storageNode { id } }", "INVALID_ARGUMENT"),
        ("subscription { events { id } }", "INVALID_ARGUMENT"),
        ("mutation { deleteEverything }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ],
)
async def test_hostile_and_wrong_queries_get_a_code_and_quickly(net: Any, query: str, code: str) -> None:
    started = time.process_time()
    answer = (await net.post(query)).json()
    assert time.process_time() - started < 0.5
    assert answer["errors"][0]["extensions"]["code"] == code
    assert not any((answer.get("data") or {}).values())
    assert "Traceback" not in json.dumps(answer)


async def test_nothing_is_executed_when_a_limit_refuses(net: Any) -> None:
    inner = "{ nodes { health { epoch } stakingPool { stakes(first: 100) { nodes { principal } } } } }"
    answer = (await net.post("{ storageNodes(first: 100) " + inner + " }")).json()
    assert answer["errors"][0]["extensions"]["limit"] == 10_000
    assert "data" not in answer
    assert net.nodes.n_calls == 0


async def test_introspection_of_a_playground_is_allowed(net: Any) -> None:
    from graphql import get_introspection_query

    data = await net.ask(get_introspection_query(descriptions=True, input_value_deprecation=True))
    assert any(type_["name"] == "Blob" for type_ in data["__schema"]["types"])


async def test_unexpected_failures_are_masked_with_a_trace_id(net: Any) -> None:
    net.database.readers.dispose()
    net.database.readers = None  # what a resolver does not expect
    answer = (
        await net.post("{ system { blobCount } }", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    ).json()
    error = answer["errors"][0]
    assert error["message"] == "Internal error."
    assert error["extensions"] == {"code": "INTERNAL", "http": 500, "retry": "NEVER", "traceId": "ab" * 16}
    net.database.readers = net.database.writer


async def test_what_fails_before_there_is_a_query_is_masked_too(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(view.View, "_caller_of", fail)
    transport = httpx.ASGITransport(net.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        failed = await http.post("/graphql", json={"query": "{ __typename }"})
    assert failed.status_code == 500
    assert "secret" not in failed.text
    found = failed.json()["errors"][0]["extensions"]
    assert (found["code"], len(found["traceId"])) == ("INTERNAL", 32)


class TestTransport:
    """GraphQL over HTTP."""

    async def test_other_methods_are_answered_with_a_json_error(self, net: Any) -> None:
        response = await net.http.put("/graphql")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
        assert response.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"

    async def test_unknown_paths_are_answered_with_a_json_error(self, net: Any) -> None:
        response = await net.http.get("/nonsense")
        assert response.status_code == 404
        assert response.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"{", "application/json"),
            (b"\xff\xfe", "application/json"),
            (b"[" * 100_000, "application/json"),
            (b"[]", "application/json"),
            (b'[{"query":"{ system { accounts } }"}]', "application/json"),
            (b"{}", "application/json"),
            (b'{"query": 1}', "application/json"),
            (b"query={system{accounts}}", "application/x-www-form-urlencoded"),
            (b"", "text/plain"),
        ],
    )
    async def test_malformed_requests_are_a_400_in_json(self, net: Any, body: bytes, content_type: str) -> None:
        response = await net.http.post("/graphql", content=body, headers={"content-type": content_type})
        assert response.status_code in (400, 415)
        assert response.json()["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"

    async def test_a_body_beyond_the_limit_is_a_413(self, net: Any) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(300):
                yield b" " * 1024

        headers = {"content-type": "application/json"}
        response = await net.http.post("/graphql", content=chunks(), headers=headers)
        assert response.status_code == 413
        assert response.json()["errors"][0]["extensions"]["code"] == "REQUEST_TOO_LARGE"

    async def test_the_graphql_media_type_is_used_when_it_is_asked_for(self, net: Any) -> None:
        plain = await net.post("{ nonsense }")
        assert (plain.status_code, plain.headers["content-type"]) == (200, "application/json; charset=utf-8")
        asked = await net.post("{ nonsense }", headers={"accept": "application/graphql-response+json"})
        assert asked.status_code == 400
        assert asked.headers["content-type"] == "application/graphql-response+json; charset=utf-8"
        assert "data" not in asked.json()

    async def test_browsers_of_any_origin_may_ask(self, net: Any) -> None:
        headers = {"origin": "https://example.org", "access-control-request-method": "POST"}
        response = await net.http.options("/graphql", headers=headers)
        assert response.headers["access-control-allow-origin"] == "*"

    async def test_nul_and_lone_surrogates_break_nothing(self, net: Any) -> None:
        query = "query ($name: String) { storageNode(name: $name) { id } }"
        assert await net.ask(query, name="node\x00") == {"storageNode": None}
        raw = b'{"query": "query ($n: String) { storageNode(name: $n) { id } }", "variables": {"n": "\\ud800"}}'
        response = await net.http.post("/graphql", content=raw, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
