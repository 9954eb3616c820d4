"""Tokens: made, used, expired, revoked; what a caller without one may do; who did what."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from graphql_api.access import Access, Scope
from graphql_api.schema import sdl
from haulout.world.clock import SystemClock

CREATE = """mutation ($input: CreateTokenInput!) { createToken(input: $input) {
  clientMutationId secret userErrors { code message path retry } token { id name scopes expiresAt revokedAt } } }"""
REVOKE = """mutation ($id: ID!) { revokeToken(input: {id: $id}) { token { revokedAt } userErrors { code path } } }"""
VIEWER = "{ viewer { scopes token { name } } }"
AUDIT = "{ auditEvents { nodes { mutation code tokenId inputDigest traceId endedAt } } }"


async def answer(net: Any, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Any:
    return (await net.post(query, headers=headers, **variables)).json()


async def code_of(net: Any, query: str, headers: dict[str, str] | None = None, **variables: Any) -> str:
    found = await answer(net, query, headers, **variables)
    return str(found["errors"][0]["extensions"]["code"])


async def test_a_caller_without_a_token_reads_and_changes_nothing(net: Any) -> None:
    assert await net.ask(VIEWER) == {"viewer": {"scopes": ["READ"], "token": None}}
    assert await code_of(net, "{ tokens { name } }") == "UNAUTHENTICATED"
    assert await code_of(net, CREATE, input={"name": "x", "scopes": []}) == "UNAUTHENTICATED"


async def test_reading_without_a_token_can_be_switched_off(net: Any) -> None:
    closed = Access(net.services.records, SystemClock(), anonymous=())
    object.__setattr__(net.services, "access", closed)
    refused = await net.post(VIEWER)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert (await answer(net, VIEWER, await net.token()))["data"]["viewer"]["scopes"] == ["READ"]


async def test_a_token_is_made_used_and_revoked(net: Any) -> None:
    admin = await net.token("ADMIN")
    wanted = {"name": "uploads", "scopes": ["WRITE_BLOB"], "expiresInSeconds": 60, "clientMutationId": "7"}
    made = (await answer(net, CREATE, admin, input=wanted))["data"]["createToken"]
    assert made["clientMutationId"] == "7"
    assert made["userErrors"] == []
    assert made["token"]["scopes"] == ["WRITE_BLOB"]
    assert made["token"]["expiresAt"] is not None
    owner = {"authorization": f"Bearer {made['secret']}"}
    viewer = {"viewer": {"scopes": ["READ", "WRITE_BLOB"], "token": {"name": "uploads"}}}
    assert (await answer(net, VIEWER, owner))["data"] == viewer
    assert await code_of(net, "{ tokens { name } }", owner) == "PERMISSION_DENIED"
    names = (await answer(net, "{ tokens { name } }", admin))["data"]["tokens"]
    assert names == [{"name": "test"}, {"name": "uploads"}]

    revoked = (await answer(net, REVOKE, admin, id=made["token"]["id"]))["data"]["revokeToken"]
    assert revoked["token"]["revokedAt"] is not None
    again = await net.post(VIEWER, headers=owner)
    assert (again.status_code, "revoked" in again.text) == (401, True)


@pytest.mark.parametrize(
    "authorization", ["Basic YTpi", "Bearer", "Bearer x", "Bearer haulout_" + "A" * 43, "Bearer haulout_" + "A" * 9_000]
)
async def test_what_is_no_token_is_refused(net: Any, authorization: str) -> None:
    refused = await net.post(VIEWER, headers={"authorization": authorization})
    assert refused.status_code == 401
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_an_expired_token_is_refused(net: Any) -> None:
    expired = await net.token("ADMIN", expires_ms=1)
    refused = await net.post(VIEWER, headers=expired)
    assert (refused.status_code, "expired" in refused.text) == (401, True)


async def test_a_bad_input_is_a_user_error(net: Any) -> None:
    admin = await net.token("ADMIN")
    made = (await answer(net, CREATE, admin, input={"name": "", "scopes": [], "clientMutationId": "a"}))["data"]
    errors = made["createToken"].pop("userErrors")
    assert made["createToken"] == {"clientMutationId": "a", "secret": None, "token": None}
    assert [(e["code"], e["path"], e["retry"]) for e in errors] == [("INVALID_ARGUMENT", ["input", "name"], "NEVER")]
    missing = (await answer(net, REVOKE, admin, id="QmxvYjowMA"))["data"]["revokeToken"]
    assert missing == {"token": None, "userErrors": [{"code": "INVALID_ARGUMENT", "path": ["input", "id"]}]}


async def test_only_digests_are_kept(net: Any, tmp_path: Any) -> None:
    admin = await net.token("ADMIN")
    made = (await answer(net, CREATE, admin, input={"name": "x", "scopes": []}))["data"]["createToken"]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("records.sqlite*"))
    assert made["secret"].encode() not in kept
    assert hashlib.sha256(made["secret"].encode()).digest() in kept


async def test_every_mutation_leaves_an_audit_event(net: Any) -> None:
    admin = await net.token("ADMIN")
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    await answer(net, CREATE, {**admin, **trace}, input={"name": "x", "scopes": []})
    await answer(net, CREATE, admin, input={"name": "", "scopes": []})
    events = (await answer(net, AUDIT, admin))["data"]["auditEvents"]["nodes"]
    assert [(e["mutation"], e["code"]) for e in events] == [
        ("createToken", "MALFORMED_REQUEST"),
        ("createToken", "OK"),
    ]
    assert events[1]["traceId"] == "ab" * 16
    assert events[0]["inputDigest"] != events[1]["inputDigest"]
    assert all(e["tokenId"] and e["endedAt"] for e in events)


async def test_a_mutation_that_fails_on_our_side_is_masked_and_audited(net: Any) -> None:
    class Broken:
        def random_bytes(self, n: int) -> bytes:
            raise ZeroDivisionError("a secret of ours")

    admin = await net.token("ADMIN")
    object.__setattr__(net.services, "rng", Broken())
    failed = await answer(net, CREATE, admin, input={"name": "x", "scopes": []})
    assert failed["errors"][0]["message"] == "Internal error."
    assert failed["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert len(failed["errors"][0]["extensions"]["traceId"]) == 32
    assert "secret of ours" not in json.dumps(failed)
    events = (await answer(net, AUDIT, admin))["data"]["auditEvents"]["nodes"]
    assert [e["code"] for e in events] == ["INTERNAL"]


async def test_a_page_of_another_site_changes_nothing_without_a_token(net: Any) -> None:
    generous = Access(net.services.records, SystemClock(), anonymous=set(Scope), origins=("*", "https://good.example"))
    object.__setattr__(net.services, "access", generous)
    wanted = {"name": "x", "scopes": []}
    assert await code_of(net, CREATE, {"origin": "https://evil.example"}, input=wanted) == "FORBIDDEN_ORIGIN"
    assert await code_of(net, CREATE, {"origin": "null"}, input=wanted) == "FORBIDDEN_ORIGIN"
    assert await code_of(net, CREATE, {"origin": "http://["}, input=wanted) == "FORBIDDEN_ORIGIN"
    for origin in ("http://api", "https://good.example"):
        made = await answer(net, CREATE, {"origin": origin}, input=wanted)
        assert made["data"]["createToken"]["userErrors"] == []
    with_token = {"origin": "https://evil.example", **await net.token("ADMIN")}
    assert (await answer(net, CREATE, with_token, input=wanted))["data"]["createToken"]["secret"]


async def test_answers_to_a_token_are_in_no_shared_cache(net: Any) -> None:
    digest = hashlib.sha256(VIEWER.encode()).hexdigest()
    named = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    await net.http.post("/graphql", json={"query": VIEWER, "extensions": named})
    parameters = {"documentId": f"sha256:{digest}"}
    public = await net.http.get("/graphql", params=parameters)
    private = await net.http.get("/graphql", params=parameters, headers=await net.token())
    assert public.headers["cache-control"] == "public, max-age=5"
    assert private.headers["cache-control"] == "no-store"
    assert "Authorization" in private.headers["vary"]


def test_scopes_and_costs_stand_in_the_document() -> None:
    assert "type Query @requires(scope: READ)" in sdl()
    assert "TokenPayload! @requires(scope: ADMIN)" in sdl()
    assert "worstDurability: Durability @cost(weight: 50)" in sdl()


async def test_an_upload_without_a_gateway_is_a_user_error(net: Any) -> None:
    query = "mutation { createUpload(input: {epochs: 1}) { uploadUrl userErrors { code retry } } }"
    made = (await answer(net, query, await net.token("WRITE_BLOB")))["data"]["createUpload"]
    assert made == {"uploadUrl": None, "userErrors": [{"code": "UNREACHABLE", "retry": "AFTER_DELAY"}]}
    assert await code_of(net, '{ operation(id: "abc") { phase } }') == "INVALID_ARGUMENT"


async def test_links_go_where_people_reach_the_gateway(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway is asked at http://127.0.0.1:1 here, and people reach it elsewhere."""
    told = {"id": "ab" * 16, "phase": "receiving", "doneBytes": 0, "totalBytes": 0}
    announced = {**told, "error": None, "result": None, "nodes": []}

    async def ask(method: str, path: str, **parameters: str) -> dict[str, Any]:
        return announced

    monkeypatch.setattr(net.services.gateway, "ask", ask)
    query = "mutation { createUpload(input: {epochs: 1}) { uploadUrl userErrors { code } } }"
    made = (await answer(net, query, await net.token("WRITE_BLOB")))["data"]["createUpload"]
    assert made == {"uploadUrl": f"http://127.0.0.1:31415/v1/uploads/{'ab' * 16}", "userErrors": []}
