"""GraphQL over HTTP as others define it: its audit suite, documents by hash, what browsers are told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from graphql_api.records.tokens import list_tokens
from graphql_api.view import MEDIA_GRAPHQL
from haulout.observability.http_server import serve_http
from haulout.primitives import blob_id_text

AUDITS = Path(__file__).with_name("graphql_http")
BLOBS = "query Blobs($n: Int) { blobs(first: $n) { nodes { blobId } } }"


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def run(*command: str) -> str:
    """What a command printed, which must succeed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("http_proxy", "HTTP_PROXY")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=AUDITS, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
async def audits() -> Path:
    """The audit suite, installed as its lock file says; Node comes with any distribution."""
    assert shutil.which("node") and shutil.which("npm"), "install node and npm: apt-get install nodejs npm"
    lock, installed = AUDITS / "package-lock.json", AUDITS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        await run("npm", "ci", "--no-fund", "--no-audit")
    return AUDITS / "audit.mjs"


async def test_the_audit_suite_has_no_error_and_no_warning(net: Any, audits: Path) -> None:
    async with serve_http(net.app, "127.0.0.1:0") as address:
        lines = (await run("node", str(audits), f"http://{address}/graphql")).splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) > 50
    # A "notice" is what the specification leaves open: documents are not taken from a URL.
    assert [audit for audit in found if audit["status"] not in ("ok", "notice")] == []
    assert sum(audit["status"] == "ok" for audit in found) > 50


async def test_who_leaves_before_the_end_of_a_request_is_no_error_of_ours(net: Any) -> None:
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    await net.app({**scope, "client": ("127.0.0.1", 1), "scheme": "http", "server": ("api", 80)}, receive, send)
    assert sent[0]["status"] == 400


async def test_one_of_several_operations_is_named(net: Any) -> None:
    two = "query A { system { accounts } } query B { __typename }"
    assert await net.refused(two) == ("INVALID_ARGUMENT", "say in operationName which of the operations is meant")
    named = await net.http.post("/graphql", json={"query": two, "operationName": "B"})
    assert named.json()["data"] == {"__typename": "Query"}


class TestPersisted:
    """Documents by hash."""

    async def get(self, net: Any, **parameters: str) -> Any:
        return await net.http.get("/graphql", params=parameters)

    async def post(self, net: Any, **body: Any) -> Any:
        return await net.http.post("/graphql", json=body)

    async def test_a_document_is_sent_once_and_named_from_then_on(self, net: Any) -> None:
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(BLOBS)}}
        missed = await self.post(net, extensions=named, variables={"n": 1})
        error = missed.json()["errors"][0]
        assert (missed.status_code, error["message"]) == (200, "PersistedQueryNotFound")
        assert error["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
        sent = await self.post(net, query=BLOBS, extensions=named, variables={"n": 1})
        assert sent.headers["cache-control"] == "no-store"
        by_post = await self.post(net, extensions=named, variables={"n": 1})
        by_get = await self.get(net, extensions=json.dumps(named), variables='{"n": 1}')
        by_id = await self.get(net, documentId=f"sha256:{digest_of(BLOBS)}", variables='{"n": 1}')
        by_posted_id = await self.post(net, documentId=f"sha256:{digest_of(BLOBS)}", variables={"n": 1})
        for answer in (by_post, by_get, by_id, by_posted_id):
            assert answer.json() == sent.json()
        assert len(sent.json()["data"]["blobs"]["nodes"]) == 1

    async def test_only_good_answers_to_a_get_may_be_cached(self, net: Any) -> None:
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(BLOBS)}}
        await self.post(net, query=BLOBS, extensions=named, variables={"n": 1})
        document_id = f"sha256:{digest_of(BLOBS)}"
        good = await self.get(net, documentId=document_id, variables='{"n": 1}')
        assert (good.status_code, good.headers["cache-control"]) == (200, "public, max-age=5")
        assert good.headers["vary"].startswith("Accept, X-Min-Sequence")
        bad = await self.get(net, documentId=document_id, variables='{"n": 1000}')
        assert bad.json()["errors"][0]["extensions"]["code"] == "PAGE_TOO_LARGE"
        assert bad.headers["cache-control"] == "no-store"
        missed = await self.get(net, documentId=f"sha256:{'0' * 64}")
        assert missed.headers["cache-control"] == "no-store"

    async def test_who_has_an_answer_already_is_sent_no_other_while_nothing_has_happened(self, net: Any) -> None:
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(BLOBS)}}
        await self.post(net, query=BLOBS, extensions=named, variables={"n": 1})
        asked = {"documentId": f"sha256:{digest_of(BLOBS)}", "variables": '{"n": 1}'}
        tag = (await self.get(net, **asked)).headers["etag"]
        for sent in (tag, f'"other", W/{tag}', "*"):
            same = await net.http.get("/graphql", params=asked, headers={"if-none-match": sent})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            assert same.headers["cache-control"] == "public, max-age=5"
        for headers in ({"if-none-match": '"other"'}, {"if-none-match": tag, "accept": MEDIA_GRAPHQL}):
            other = await net.http.get("/graphql", params=asked, headers=headers)
            assert (other.status_code, len(other.json()["data"]["blobs"]["nodes"])) == (200, 1)
        private = await net.http.get("/graphql", params=asked, headers={"if-none-match": tag, **await net.token()})
        assert (private.status_code, "etag" in private.headers) == (200, False)

    @pytest.mark.parametrize(
        ("fields", "age_s"),
        [
            ("certificate(blobId: $b) { message signature signers weight }", 3_600),
            ("a: certificate(blobId: $b) { verified } b: certificate(blobId: $b, epoch: 1) { epoch }", 3_600),
            ("certificate(blobId: $b) { message blob { state } }", 5),
            ("certificate(blobId: $b) { message } system { accounts }", 5),
            ("certificate(blobId: $b) { message } gone: certificate(blobId: $b, epoch: 9) { epoch }", 5),
            ("certificate(blobId: $b) { ...F }", 5),
        ],
    )
    async def test_what_is_certified_may_be_cached_for_long(self, net: Any, ids: Any, fields: str, age_s: int) -> None:
        query = f"query ($b: BlobID!) {{ {fields} }}"
        if "...F" in fields:
            query += " fragment F on AvailabilityCertificate { message }"
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(query)}}
        variables = {"b": blob_id_text(ids("blob", 1))}
        await self.post(net, query=query, extensions=named, variables=variables)
        answer = await self.get(net, documentId=f"sha256:{digest_of(query)}", variables=json.dumps(variables))
        assert "errors" not in answer.json(), answer.json()
        assert answer.headers["cache-control"] == f"public, max-age={age_s}"

    async def test_a_get_changes_nothing_even_with_a_document_that_was_sent_before(self, net: Any) -> None:
        query = 'mutation { createToken(input: {name: "x", scopes: []}) { secret } }'
        headers = await net.token("ADMIN")
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(query)}}
        body = {"query": query, "extensions": named}
        sent = await net.http.post("/graphql", json=body, headers=headers)
        assert sent.json()["data"]["createToken"]["secret"]
        tokens = await net.services.records.read(list_tokens)
        parameters = {"documentId": f"sha256:{digest_of(query)}"}
        refused = await net.http.get("/graphql", params=parameters, headers=headers)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
        assert refused.headers.get("cache-control") != "public, max-age=5"
        assert await net.services.records.read(list_tokens) == tokens

    async def test_a_get_with_the_text_itself_is_refused(self, net: Any) -> None:
        for parameters in ({"query": "{ __typename }"}, {}):
            response = await self.get(net, **parameters)
            assert response.status_code == 400
            assert response.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_REQUIRED"

    async def test_a_hash_of_something_else_keeps_nothing(self, net: Any) -> None:
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of("{ other }")}}
        response = await self.post(net, query=BLOBS, extensions=named)
        assert response.status_code == 400
        assert "another document" in response.json()["errors"][0]["message"]
        missed = await self.post(net, extensions=named)
        assert missed.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"

    @pytest.mark.parametrize("digest", ["", "abc", "Z" * 64, digest_of(BLOBS).upper(), None, 7])
    async def test_what_is_no_hash_is_refused(self, net: Any, digest: Any) -> None:
        response = await self.post(net, query=BLOBS, extensions={"persistedQuery": {"sha256Hash": digest}})
        assert response.status_code == 400
        assert response.json()["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"

    async def test_a_refused_document_is_not_kept(self, net: Any) -> None:
        wrong = "{ nonsense }"
        named = {"persistedQuery": {"version": 1, "sha256Hash": digest_of(wrong)}}
        await self.post(net, query=wrong, extensions=named)
        missed = await self.post(net, extensions=named)
        assert missed.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"


async def test_every_answer_tells_browsers_to_run_nothing_of_it(net: Any) -> None:
    for response in (await net.post("{ __typename }"), await net.http.get("/nonsense"), await net.http.get("/status")):
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_schema_can_be_had_as_a_document(net: Any) -> None:
    response = await net.http.get("/graphql/schema.graphql")
    assert "type Query @requires" in response.text
    assert response.headers["content-type"].startswith("text/plain")


async def test_what_a_form_or_an_image_tag_can_send_is_refused(net: Any) -> None:
    body = json.dumps({"query": "{ __typename }"})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = await net.http.post("/graphql", content=body, headers={"content-type": content_type})
        assert response.status_code == 400
